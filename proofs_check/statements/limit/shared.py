r"""What the tokens tend to: rank, angles and frequencies, decided by the eigenvalues of largest modulus.

Notation: A and H diagonalizable, X_l the sum of (rho_ij)^l c_ij v_i z_j^T, rho_ij = 1 + lambda_i mu_j. The
dominant set D holds the pairs (i, j) of largest |rho_ij| among those with c_ij != 0. Divided by that modulus
to the power l, X_l is a leading part V C_l Z^T, where C_l holds c_ij times the phase of rho_ij^l for (i, j)
in D and zeros elsewhere, plus a rest of norm at most B q^l with 0 < q < 1. The columns of V and those of Z
are independent, so the leading part has the rank of C_l. "Rank collapse" means sigma_2/sigma_1 -> 0.
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Ne, Rational

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..dominance.shared import closing, closing_second, deep, ratio, ratio_second

__all__ = ["STATEMENTS"]

h, p, s, q, l = sympy.symbols("h p s q l", real=True)  # noqa: E741
B, E, L, H, P = sympy.symbols("B E L H P", real=True)
x1, x2, x3, y1, y2, y3 = sympy.symbols("x_1 x_2 x_3 y_1 y_2 y_3", real=True)
q1, q2, e1, e2, f1, f2 = sympy.symbols("q_1 q_2 e_1 e_2 f_1 f_2", real=True)
v1, v2, w1, w2 = sympy.symbols("v_1 v_2 w_1 w_2", real=True)
r1, s1, d1, d2 = sympy.symbols("r_1 s_1 d_1 d_2", real=True)
g1, g2 = sympy.symbols("g_1 g_2", real=True)
x11, x12, x21, x22 = sympy.symbols("x_11 x_12 x_21 x_22", real=True)
y11, y12, y21, y22 = sympy.symbols("y_11 y_12 y_21 y_22", real=True)
c11, c12, c21, c22 = sympy.symbols("c_11 c_12 c_21 c_22", real=True)
GEOMETRIC = {"0 < q": q > 0, "q < 1": q < 1}
_RATIO = (
    "Divided by the largest modulus to the power l, X_l is the leading part, of norm at least P > 0 at every "
    "layer, plus a rest of norm at most B q^l; power = q^l. "
)

# ---------------------------------------------------------------------------------------------------------
# rank

_ENTRIES = {
    "x_11 = v_1 g_1": Eq(x11, v1 * g1),
    "x_12 = v_1 g_2": Eq(x12, v1 * g2),
    "x_21 = v_2 g_1": Eq(x21, v2 * g1),
    "x_22 = v_2 g_2": Eq(x22, v2 * g2),
}


def _rank_one(z: Any) -> dict[str, Query]:
    x11, x12, x21, x22, v1, v2, g1, g2 = z.Reals("x_11 x_12 x_21 x_22 v_1 v_2 g_1 g_2")
    entries = {
        "x_11 = v_1 g_1": x11 - g1 * v1 == 0,
        "x_12 = v_1 g_2": x12 - g2 * v1 == 0,
        "x_21 = v_2 g_1": x21 - g1 * v2 == 0,
        "x_22 = v_2 g_2": x22 - g2 * v2 == 0,
    }
    return {
        "every minor": Query(entries, x11 * x22 - x12 * x21 == 0),
        "sigma_2 / sigma_1": ratio_second(z),
        "the limit": closing_second(z),
    }


RANK_ONE = Statement(
    "limit.rank_one",
    "If the dominant set lies inside one row i or one column j (one eigenvector of A or one of H; ties and "
    "phases of the other may be many), the leading part of X_l has rank 1 at every layer, and "
    "sigma_2/sigma_1 -> 0: the rank collapses.",
    r"D \subset \{i\} \times \{1..d\} \;\Longrightarrow\; "
    r"|\rho|^{-l} X_l = v_i g_l^T + O(q^l),\quad \frac{\sigma_2}{\sigma_1} \le \frac{B q^l}{P - B q^l} \to 0",
    "rank collapse for one dominant pair: arXiv 2401.04301; ties and phases derived here",
    (
        Claim(
            "every minor",
            _ENTRIES,
            [Eq(x11 * x22, x12 * x21)],
            [
                Identity(
                    "the two products are one product in two orders",
                    x11 * x22 - x12 * x21 + 1,
                    sympy.Integer(1),
                )
            ],
            "D inside row i: lambda_i is real, since with (lambda, mu) also the conjugate pair is dominant, "
            "so v = v_i is real and the leading part is v g^T, with g real: the sum over j of the modes of "
            "D, each z_j times its coefficient and its phase at this layer, whatever these are. All 2x2 "
            "minors of v g^T vanish: the four entries are any two rows and any two columns. One column j is "
            "the transpose.",
        ),
        ratio(
            "sigma_2 / sigma_1",
            _RATIO
            + "P > 0: g^T w_j is c_ij times a phase, so |g| >= |c_ij| / |w_j|, and the leading part has norm "
            "|v| |g|. Singular values move by at most the norm of the rest (Weyl): h = sigma_2 <= 0 + B q^l "
            "and p = sigma_1 >= P - Q B q^l with Q = 1.",
        ),
        closing("the limit", "As in dominance.global, where Bernoulli's inequality is proved."),
    ),
    _rank_one,
)

_re = {name: sympy.Symbol(f"a_{name}", real=True) for name in ("11", "12", "21", "22")}
_im = {name: sympy.Symbol(f"b_{name}", real=True) for name in ("11", "12", "21", "22")}
#: real and imaginary part of the minor of four complex coefficients a + ib
_minor_re = (_re["11"] * _re["22"] - _im["11"] * _im["22"]) - (_re["12"] * _re["21"] - _im["12"] * _im["21"])
_minor_im = (_re["11"] * _im["22"] + _im["11"] * _re["22"]) - (_re["12"] * _im["21"] + _im["12"] * _re["21"])


def _empty(name: str, first: str, second: str, reduction: str = "") -> Claim:
    given = {f"c_{n} = 0, {w} part": Eq(part[n], 0) for n in (first, second) for w, part in _PARTS}
    return Claim(
        name,
        given,
        [Eq(_minor_re, 0), Eq(_minor_im, 0)],
        [
            Sign("the real part is zero", _minor_re, "==", _minor_re),
            Sign("the imaginary part is zero", _minor_im, "==", _minor_im),
        ],
        reduction,
    )


_PARTS = (("real", _re), ("imaginary", _im))


def _rank_needs(z: Any) -> dict[str, Query]:
    names = ("11", "12", "21", "22")
    a = dict(zip(names, z.Reals("a_11 a_12 a_21 a_22"), strict=True))
    b = dict(zip(names, z.Reals("b_11 b_12 b_21 b_22"), strict=True))
    zero = z.And(
        a["11"] * a["22"] + b["12"] * b["21"] == b["11"] * b["22"] + a["12"] * a["21"],
        a["11"] * b["22"] + b["11"] * a["22"] == a["12"] * b["21"] + b["12"] * a["21"],
    )

    def empty(*pair: str) -> Query:
        given = {
            f"c_{n} = 0, {w} part": part[n] == 0 for n in pair for w, part in (("real", a), ("imaginary", b))
        }
        return Query(given, zero)

    return {
        "one row outside D": empty("21", "22"),
        "the other row outside D": empty("11", "12"),
        "one column outside D": empty("12", "22"),
        "the other column outside D": empty("11", "21"),
    }


RANK_NEEDS = Statement(
    "limit.rank_needs",
    "A leading part of rank larger than 1 needs ties: at least two lambda and two mu, counted with "
    "multiplicity, in the dominant set.",
    r"\operatorname{rank} C_l > 1 \;\Longrightarrow\; \exists\, (i,j), (k,m) \in D:\; i \ne k,\; j \ne m",
    "derived here",
    (
        _empty(
            "one row outside D",
            "21",
            "22",
            "rank C_l > 1 means that some 2x2 minor, of rows 1, 2 and columns 1, 2 after renaming, is not "
            "zero. A coefficient off D is zero, phases included. If one of the rows or columns had no pair "
            "in D the minor would be zero: that is what the four claims say, with c = a + ib. So both rows "
            "and both columns have one. Rows are eigenvectors: a multiple lambda, as lambda = 0 of uniform "
            "attention, counts as often as it occurs.",
        ),
        _empty("the other row outside D", "11", "12"),
        _empty("one column outside D", "12", "22"),
        _empty("the other column outside D", "11", "21"),
    ),
    _rank_needs,
)

x, y, u, v, n = sympy.symbols("x y u v n", real=True)
m1, m2, h11, h12, h21, h22 = sympy.symbols("m_1 m_2 h_11 h_12 h_21 h_22", real=True)
x31, x32 = sympy.symbols("x_31 x_32", real=True)
_three = Matrix([[x11, x12], [x21, x22], [x31, x32]])
_weights = Matrix([[h11, h12], [h21, h22]])
_mean = sympy.ones(3, 3) / 3
_off = sympy.eye(3) - _mean
_step = {
    "y = x + m H, first feature": Eq(y1, x1 + m1 * h11 + m2 * h21),
    "y = x + m H, second feature": Eq(y2, x2 + m1 * h12 + m2 * h22),
    "d = m + m H, first feature": Eq(d1, m1 + m1 * h11 + m2 * h21),
    "d = m + m H, second feature": Eq(d2, m2 + m1 * h12 + m2 * h22),
}
_turned = ((1 + x) * u - y * v) ** 2 + ((1 + x) * v + y * u) ** 2
_decays = Tends("geometric", x1 + B * q**l, l, sympy.oo, x1)


def _tie_uniform(z: Any) -> dict[str, Query]:
    x1, x2, y1, y2, m1, m2, d1, d2 = z.Reals("x_1 x_2 y_1 y_2 m_1 m_2 d_1 d_2")
    h11, h12, h21, h22, x, y, u, v, q0, n, B = z.Reals("h_11 h_12 h_21 h_22 x y u v q n B")
    step = {
        "y = x + m H, first feature": y1 - x1 == h11 * m1 + h21 * m2,
        "y = x + m H, second feature": y2 - x2 == h12 * m1 + h22 * m2,
        "d = m + m H, first feature": d1 - m1 == h11 * m1 + h21 * m2,
        "d = m + m H, second feature": d2 - m2 == h12 * m1 + h22 * m2,
    }
    re, im = u + x * u - y * v, v + x * v + y * u
    shrinks = {"|1 + mu| <= q": 1 + 2 * x + x * x + y * y <= q0 * q0}
    given, layer, (q, depth, power, eps) = deep(z)
    layer += [B >= 0, depth * (1 - q) * eps == q * B]
    return {
        "rows keep their distance from the mean": Query(step, z.And(y1 + m1 == x1 + d1, y2 + m2 == x2 + d2)),
        "the mean shrinks": Query(shrinks, re * re + im * im <= q0 * q0 * (u * u + v * v)),
        "the limit": Query(given, z.Implies(z.And(*layer), B * power < eps), same_symbols=False),
        "a minor that does not vanish": Query({"n >= 3": n >= 3}, n * n - 2 * n > 0),
    }


TIE_UNIFORM = Statement(
    "limit.tie_uniform",
    "Uniform attention, n >= 3, d >= 2, all |1 + mu_j| < 1: X_l tends to X_0 less its mean row, "
    "geometrically, and for generic X_0 its rank is at least 2: lambda = 0 ties all mu, and the rank does "
    "not collapse.",
    r"A = \tfrac1n 11^T,\; \max_j |1+\mu_j| < q < 1 \;\Longrightarrow\; "
    r"\|X_l - \Pi_\perp X_0\| \le B q^l,\quad \operatorname{rank} \Pi_\perp X_0 \ge 2",
    "derived here",
    (
        Claim(
            "rows keep their distance from the mean",
            _step,
            [Eq(y1 - d1, x1 - m1), Eq(y2 - d2, x2 - m2)],
            [
                Identity(
                    "n = 3: the part off the mean does not move",
                    _off * (_three + _mean * _three * _weights),
                    _off * _three,
                ),
                Identity(
                    "n = 3: the mean is multiplied by 1 + H",
                    _mean * (_three + _mean * _three * _weights),
                    _mean * _three * (sympy.eye(2) + _weights),
                ),
            ],
            "Uniform attention gives every token the mean row m, so a layer adds m H to each row x and to "
            "their mean m; y and d are the new row and the new mean. Written for two features, each feature "
            "alone for more. So X_l less its mean row is X_0 less its own, at every layer, and the mean row "
            "is m (1 + H)^l.",
        ),
        Claim(
            "the mean shrinks",
            {"|1 + mu| <= q": (1 + x) ** 2 + y**2 <= q**2},
            [_turned <= q**2 * (u**2 + v**2)],
            [
                Identity("a product of moduli", _turned, ((1 + x) ** 2 + y**2) * (u**2 + v**2)),
                Sign(
                    "the modulus of the factor is at most q",
                    _turned - q**2 * (u**2 + v**2),
                    "<=",
                    times(u**2 + v**2, (1 + x) ** 2 + y**2 - q**2),
                ),
            ],
            "u + iv is m w_j for an eigenvector w_j of H, mu_j = x + iy; a layer multiplies it by 1 + mu_j. "
            "So |m_l w_j| <= q^l |m_0 w_j| for q = max_j |1 + mu_j|, and the norm of the mean row, repeated "
            "n times, is at most B q^l with B the sum of sqrt(n) |m_0 w_j| |z_j|. If H is not "
            "diagonalizable: any larger q, and some B.",
        ),
        Claim(
            "the limit",
            GEOMETRIC,
            [_decays],
            [_decays],
            "An entry of X_l is that of the limit, x_1, up to B q^l. In the second form B q^l < eps from a "
            "layer on that is named.",
        ),
        Claim(
            "a minor that does not vanish",
            {"n >= 3": n >= 3},
            [(n - 1) ** 2 - 1 > 0],
            [
                Sign("n is positive", n, ">", plus(n - 3, 3)),
                Sign("n - 2 is positive", n - 2, ">", plus(n - 3, 1)),
                Sign("so is the product", (n - 1) ** 2 - 1, ">", n * (n - 2)),
            ],
            "For X_0 with x_11 = x_22 = 1 and zeros elsewhere the limit has 1 - 1/n, -1/n; -1/n, 1 - 1/n in "
            "its first two rows and columns; n^2 times this minor is (n - 1)^2 - 1. A minor is a polynomial "
            "in X_0, so not zero at one X_0 means not zero at generic X_0. n = 2 has rank 1.",
        ),
    ),
    _tie_uniform,
)

_column = {"x_11 = s c_11 + c_21": Eq(x11, s * c11 + c21), "x_21 = s c_11 - c_21": Eq(x21, s * c11 - c21)}
_layer = _column | {"x_12 = c_12 + c_22": Eq(x12, c12 + c22), "x_22 = c_12 - c_22": Eq(x22, c12 - c22)}
_minor = x11 * x22 - x12 * x21
_even = Matrix([[3, 4], [1, -2]])
_odd = Matrix([[-1, 4], [-3, -2]])
_half = Matrix([[Rational(1, 2), Rational(1, 2)], [Rational(1, 2), Rational(1, 2)]])
_minus_two = Matrix([[-2, 0], [0, 0]])
_numbers = {
    "c_11 = 2": Eq(c11, 2),
    "c_12 = 1": Eq(c12, 1),
    "c_21 = 1": Eq(c21, 1),
    "c_22 = 3": Eq(c22, 3),
}
_EVEN, _ODD = {"s = 1": Eq(s, 1)}, {"s = -1": Eq(s, -1)}


def _rank_alternates(z: Any) -> dict[str, Query]:
    x11, x12, x21, x22, c11, c12, c21, c22, s = z.Reals("x_11 x_12 x_21 x_22 c_11 c_12 c_21 c_22 s")
    column = {"x_11 = s c_11 + c_21": x11 - c21 == s * c11, "x_21 = s c_11 - c_21": x21 + c21 == s * c11}
    layer = column | {"x_12 = c_12 + c_22": x12 - c22 == c12, "x_22 = c_12 - c_22": x22 + c22 == c12}
    even, odd = {"s = 1": s == 1}, {"s = -1": s == -1}
    numbers = {"c_11 = 2": c11 == 2, "c_12 = 1": c12 == 1, "c_21 = 1": c21 == 1, "c_22 = 3": c22 == 3}
    # a layer takes from the first column twice its mean
    step = z.And(-x21 == -s * c11 + c21, -x11 == -s * c11 - c21)
    same = {"c_11 c_22 = c_12 c_21": c11 * c22 - c12 * c21 == 0}
    nonzero = {"c_11 c_22 != 0": z.And(z.Not(c11 == 0), z.Not(c22 == 0))}
    zero, full = x11 * x22 == x12 * x21, x11 * x22 != x12 * x21
    return {
        "one more layer": Query(column, step),
        "even layers have rank 2": Query(layer | even | numbers, full),
        "odd layers have rank 2": Query(layer | odd | numbers, full),
        "generic coefficients, even layers": Query(
            layer | even | {"c_11 c_22 != c_12 c_21": c11 * c22 != c12 * c21}, full
        ),
        "generic coefficients, odd layers": Query(
            layer | odd | {"c_11 c_22 != -c_12 c_21": c11 * c22 + c12 * c21 != 0}, full
        ),
        "from rank 1, even layers": Query(layer | even | same, zero),
        "from rank 1, odd layers": Query(layer | odd | same | nonzero, full),
    }


_by_minor = -2 * (s * c11 * c22 - c12 * c21)
_RANK_ONE = {"c_11 c_22 = c_12 c_21": Eq(c11 * c22, c12 * c21)}

RANK_ALTERNATES = Statement(
    "limit.rank_alternates",
    "For A = 11^T/2 and H = diag(-2, 0) the rank of the leading part alternates between 1 and 2 for generic "
    "X_0.",
    r"C_l = \begin{pmatrix} (-1)^l c_{11} & c_{12} \\ c_{21} & c_{22} \end{pmatrix},\quad "
    r"\operatorname{rank} C_l = 1, 2, 1, 2, \dots",
    "derived here",
    (
        Claim(
            "one more layer",
            _column,
            [Eq(x11 - (x11 + x21), -s * c11 + c21), Eq(x21 - (x11 + x21), -s * c11 - c21)],
            [
                Identity("X_1 of the system", _even + _half * _even * _minus_two, _odd),
                Identity("X_2 of the system is X_0", _odd + _half * _odd * _minus_two, _even),
            ],
            "lambda = 1 has v = (1, 1), lambda = 0 has v = (1, -1), and rho is -1 for lambda = 1, mu = -2 "
            "and 1 for the other three pairs. X_l is written with s = (-1)^l; a layer takes twice its mean "
            "from the first column and leaves the second, which turns s to -s: induction on l, X_0 with s = "
            "1. All four pairs tie, so the leading part is X_l itself.",
        ),
        Claim(
            "even layers have rank 2",
            _EVEN | _numbers | _layer,
            [Ne(_minor, 0)],
            [Identity("the determinant", _even.det(), -10), Sign("it is not zero", _minor, "!=", _by_minor)],
            "The counterexample at even depth.",
        ),
        Claim(
            "odd layers have rank 2",
            _ODD | _numbers | _layer,
            [Ne(_minor, 0)],
            [Identity("the determinant", _odd.det(), 14), Sign("it is not zero", _minor, "!=", _by_minor)],
            "And at odd depth: rank 2 throughout.",
        ),
        Claim(
            "generic coefficients, even layers",
            _EVEN | _layer | {"c_11 c_22 != c_12 c_21": Ne(c11 * c22, c12 * c21)},
            [Ne(_minor, 0)],
            [Sign("-2 times the minor of C_l", _minor, "!=", times(-2, c11 * c22 - c12 * c21))],
            "Generic coefficients meet both this inequality and the next, so generic X_0 has rank 2 at every "
            "layer.",
        ),
        Claim(
            "generic coefficients, odd layers",
            _ODD | _layer | {"c_11 c_22 != -c_12 c_21": Ne(c11 * c22, -c12 * c21)},
            [Ne(_minor, 0)],
            [Sign("2 times another combination", _minor, "!=", times(2, c11 * c22 + c12 * c21))],
        ),
        Claim(
            "from rank 1, even layers",
            _EVEN | _layer | _RANK_ONE,
            [Eq(_minor, 0)],
            [Sign("the minor of C_l is that of C_0", _minor, "==", times(-2, c11 * c22 - c12 * c21))],
            "What is true: an X_0 of rank 1 with no coefficient zero has rank 1 at even and 2 at odd layers.",
        ),
        Claim(
            "from rank 1, odd layers",
            _ODD | _layer | _RANK_ONE | {"c_11 c_22 != 0": Ne(c11 * c22, 0)},
            [Ne(_minor, 0)],
            [
                Sign("both products are equal", c11 * c22 - c12 * c21, "=="),
                Sign("one product is not zero", 4 * c11 * c22, "!="),
                Sign(
                    "so neither is their sum",
                    _minor,
                    "!=",
                    plus(times(-2, c11 * c22 - c12 * c21), 4 * c11 * c22),
                ),
            ],
        ),
    ),
    _rank_alternates,
    counterexample=r"X_0 = \begin{pmatrix} 3 & 4 \\ 1 & -2 \end{pmatrix}:\quad "
    r"X_1 = \begin{pmatrix} -1 & 4 \\ -3 & -2 \end{pmatrix},\; X_2 = X_0,\; \det X_l = -10, 14, -10, \dots",
)

# ---------------------------------------------------------------------------------------------------------
# angles

X, Y, S = sympy.symbols("X Y S", real=True)
_TOP = E * (w1 + w2 + E)
_lagrange_left = (x1**2 + x2**2 + x3**2) * (y1**2 + y2**2 + y3**2) - (x1 * y1 + x2 * y2 + x3 * y3) ** 2
_lagrange_right = (x1 * y2 - x2 * y1) ** 2 + (x1 * y3 - x3 * y1) ** 2 + (x2 * y3 - x3 * y2) ** 2
_ROWS = {
    "x_1 = v_1 q_1 + e_1": Eq(x1, v1 * q1 + e1),
    "x_2 = v_1 q_2 + e_2": Eq(x2, v1 * q2 + e2),
    "y_1 = v_2 q_1 + f_1": Eq(y1, v2 * q1 + f1),
    "y_2 = v_2 q_2 + f_2": Eq(y2, v2 * q2 + f2),
}
_PIECES = {
    "S <= (w_1 + w_2) E + E^2": S <= _TOP,
    "|x| >= w_1 - E": w1 - E <= X,
    "|y| >= w_2 - E": w2 - E <= Y,
    "E < w_1": w1 > E,
    "E < w_2": w2 > E,
    "E >= 0": E >= 0,
}
_small = B * q**l
_sine_limit = Tends(
    "every factor B q^l closes",
    _small * (w1 + w2 + _small) / ((w1 - _small) * (w2 - _small)),
    l,
    sympy.oo,
    0,
)
f, g, k = sympy.symbols("f g k", real=True)
_INNER = {"q.f >= -E": f >= -E, "k >= -E^2": k >= -(E**2)}
_SAME = _INNER | {
    "q.e >= -E": g >= -E,
    "v_1 > 0": v1 > 0,
    "v_2 > 0": v2 > 0,
    "deep": (v1 + v2) * E + E**2 < v1 * v2,
}
_OPPOSITE = {
    "q.f <= E": f <= E,
    "q.e >= -E": g >= -E,
    "k <= E^2": k <= E**2,
    "v_1 > 0": v1 > 0,
    "v_2 < 0": v2 < 0,
    "deep": (v1 - v2) * E + E**2 < -v1 * v2,
}
_dot = v1 * v2 + v1 * f + v2 * g + k


def _angle(z: Any) -> dict[str, Query]:
    x1, x2, x3, y1, y2, y3 = z.Reals("x_1 x_2 x_3 y_1 y_2 y_3")
    v1, v2, q1, q2, e1, e2, f1, f2 = z.Reals("v_1 v_2 q_1 q_2 e_1 e_2 f_1 f_2")
    X, Y, S, E, w1, w2, B, f, g, k = z.Reals("X Y S E w_1 w_2 B f g k")
    rows = {
        "x_1 = v_1 q_1 + e_1": x1 - e1 == q1 * v1,
        "x_2 = v_1 q_2 + e_2": x2 - e2 == q2 * v1,
        "y_1 = v_2 q_1 + f_1": y1 - f1 == q1 * v2,
        "y_2 = v_2 q_2 + f_2": y2 - f2 == q2 * v2,
    }
    wedge = v1 * (q1 * f2 - q2 * f1) + v2 * (e1 * q2 - e2 * q1) + (e1 * f2 - e2 * f1)
    minors = [x1 * y2 - x2 * y1, x1 * y3 - x3 * y1, x2 * y3 - x3 * y2]
    dot = x1 * y1 + x2 * y2 + x3 * y3
    norms = (x1 * x1 + x2 * x2 + x3 * x3) * (y1 * y1 + y2 * y2 + y3 * y3)
    top = w1 * E + w2 * E + E * E
    pieces = {
        "S <= (w_1 + w_2) E + E^2": top - S >= 0,
        "|x| >= w_1 - E": w1 <= X + E,
        "|y| >= w_2 - E": w2 <= Y + E,
        "E < w_1": w1 - E > 0,
        "E < w_2": w2 - E > 0,
        "E >= 0": E >= 0,
    }
    given, layer, (q, depth, power, eps) = deep(z)
    rest = B * power
    layer += [B >= 0, eps <= 1, depth * (1 - q) * eps * w1 * w2 == 8 * q * B * (w1 + w2)]
    closes = z.And(rest < w1, rest < w2, rest * (w1 + w2 + rest) < eps * (w1 - rest) * (w2 - rest))
    product = v1 * v2 + v1 * f + v2 * g + k
    same = {
        "q.f >= -E": f + E >= 0,
        "q.e >= -E": g + E >= 0,
        "k >= -E^2": k + E * E >= 0,
        "v_1 > 0": v1 > 0,
        "v_2 > 0": v2 > 0,
        "deep": v1 * v2 - v1 * E - v2 * E - E * E > 0,
    }
    opposite = {
        "q.f <= E": E - f >= 0,
        "q.e >= -E": g + E >= 0,
        "k <= E^2": E * E - k >= 0,
        "v_1 > 0": v1 > 0,
        "v_2 < 0": v2 < 0,
        "deep": v1 * v2 + v1 * E - v2 * E + E * E < 0,
    }
    return {
        "area of two rows": Query({}, norms == dot * dot + sum(m * m for m in minors)),
        "area of two rows near a line": Query(rows, minors[0] == wedge),
        "the sine": Query(pieces, S * (w1 * w2 - w1 * E - w2 * E + E * E) <= top * X * Y),
        "the sine closes": Query(
            given | {"w_1 > 0": w1 > 0, "w_2 > 0": w2 > 0},
            z.Implies(z.And(*layer), closes),
            same_symbols=False,
        ),
        "the cosine, equal signs": Query(same, product > 0),
        "the cosine, opposite signs": Query(opposite, product < 0),
    }


ANGLE = Statement(
    "limit.angle",
    "If all rows follow one real mode without zero entries (the dominant set inside one row k, v = v_k "
    "real), then |cos| -> 1 between every two rows, geometrically, and cos -> +1 or -1 by the signs of v. "
    "For lambda_k = 1 all entries of v are equal and cos -> 1.",
    r"x = v_1 q + e,\; y = v_2 q + f,\; |q| = 1,\; |e|, |f| \le E = B q^l:\quad "
    r"\sqrt{1 - \cos^2(x, y)} \le \frac{E (|v_1| + |v_2| + E)}{(|v_1| - E)(|v_2| - E)} \to 0,\quad "
    r"\operatorname{sign}\cos(x, y) = \operatorname{sign} v_1 v_2",
    "the distinction of input, angle and rank: arXiv 2401.04301; the bound derived here",
    (
        Claim(
            "area of two rows",
            {},
            [Eq(_lagrange_left, _lagrange_right)],
            [Identity("Lagrange's identity", _lagrange_left, _lagrange_right)],
            "|x|^2 |y|^2 - (x.y)^2 is the squared area S^2 of the parallelogram of two rows x and y, so "
            "1 - cos^2 = S^2 / (|x| |y|)^2. Written in three coordinates; "
            "in d the sum runs over all pairs of coordinates. In particular S <= |x| |y|.",
        ),
        Claim(
            "area of two rows near a line",
            _ROWS,
            [
                Eq(
                    x1 * y2 - x2 * y1,
                    v1 * (q1 * f2 - q2 * f1) + v2 * (e1 * q2 - e2 * q1) + (e1 * f2 - e2 * f1),
                )
            ],
            [
                Identity(
                    "the terms with q twice cancel",
                    x1 * y2 - x2 * y1,
                    v1 * (q1 * f2 - q2 * f1) + v2 * (e1 * q2 - e2 * q1) + (e1 * f2 - e2 * f1),
                )
            ],
            "For each pair of coordinates, so for the vector of all minors, whose norm is the area: by the "
            "triangle inequality and the claim before, S <= |v_1| |q| |f| + |v_2| |e| |q| + |e| |f|. Both "
            "rows are divided by the norm of the leading direction, which stays above a positive constant, "
            "so that |q| = 1 and |e|, |f| <= E = B q^l.",
        ),
        Claim(
            "the sine",
            _PIECES,
            [S * (w1 - E) * (w2 - E) <= _TOP * X * Y],
            [
                Sign("w_1 - E is positive", w1 - E, ">"),
                Sign("w_2 - E is positive", w2 - E, ">"),
                Sign("|y| is positive", Y, ">", plus(Y - (w2 - E), w2 - E)),
                Sign("w_1 is positive", w1, ">", plus(w1 - E, E)),
                Sign("w_2 is positive", w2, ">", plus(w2 - E, E)),
                Sign(
                    "each bound costs a term that is not negative",
                    _TOP * X * Y - S * (w1 - E) * (w2 - E),
                    ">=",
                    plus(
                        times(E, plus(w1, w2, E), plus(times(X - w1 + E, Y), times(w1 - E, Y - w2 + E))),
                        times(w1 - E, w2 - E, _TOP - S),
                    ),
                ),
            ],
            "w_1 = |v_1| and w_2 = |v_2|, X = |x| >= w_1 - E and Y = |y| >= w_2 - E by the triangle "
            "inequality; S / (X Y) is the sine, and 1 - |cos| <= 1 - cos^2, the squared sine. Denominators "
            "cleared.",
        ),
        Claim(
            "the sine closes",
            GEOMETRIC | {"w_1 > 0": w1 > 0, "w_2 > 0": w2 > 0},
            [_sine_limit],
            [Sign("what the denominator tends to is positive", w1 * w2, ">"), _sine_limit],
            "A mode without zero entries: w_1 and w_2 are positive. In the second form the bound is below "
            "eps (at most 1) from a layer on that is named; Bernoulli's inequality is proved in "
            "dominance.global.",
        ),
        Claim(
            "the cosine, equal signs",
            _SAME,
            [_dot > 0],
            [
                Sign(
                    "what is lost, piece by piece",
                    _dot,
                    ">",
                    plus(v1 * v2 - (v1 + v2) * E - E**2, times(v1, f + E), times(v2, g + E), k + E**2),
                ),
            ],
            "x.y = v_1 v_2 + v_1 (q.f) + v_2 (q.e) + e.f, here f, g and k stand for q.f, q.e and e.f, of "
            "moduli at most E, E and E^2 (Cauchy-Schwarz). Deep layers have (|v_1| + |v_2|) E + E^2 < |v_1 "
            "v_2|. Both entries positive; both negative is the same with -q.",
        ),
        Claim(
            "the cosine, opposite signs",
            _OPPOSITE,
            [_dot < 0],
            [
                Sign(
                    "what is gained, piece by piece",
                    _dot,
                    "<",
                    plus(v1 * v2 + (v1 - v2) * E + E**2, times(v1, f - E), times(v2, g + E), k - E**2),
                ),
            ],
            "v_1 > 0 > v_2, the other case is the same with -q.",
        ),
    ),
    _angle,
)

#: symmetric positive attention with the eigenvalues 1, 1/4, -1/2; (1, 0, -1) belongs to -1/2
SYMMETRIC = Matrix(3, 3, [Rational(e, 8) for e in (1, 2, 5, 2, 4, 2, 5, 2, 1)])
_DIAGONAL = Matrix([[-Rational(4, 5), 0], [0, Rational(1, 5)]])
_ones, _ends, _middle = Matrix([1, 1, 1]), Matrix([1, 0, -1]), Matrix([1, -2, 1])
_first = sympy.symbols("a_1 b_1 c_1", real=True)
_second = sympy.symbols("a_2 b_2 c_2", real=True)
#: what a layer multiplies the coefficient of (1, 1, 1), (1, 0, -1), (1, -2, 1) by, in each feature
_RHO = (
    (Rational(1, 5), Rational(7, 5), Rational(4, 5)),
    (Rational(6, 5), Rational(9, 10), Rational(21, 20)),
)


def _modes(columns: Any) -> Any:
    """Return the tokens whose features have these coefficients of the three modes."""
    return Matrix.hstack(*(a * _ones + b * _ends + c * _middle for a, b, c in columns))


def _once(columns: Any) -> Any:
    """Return the coefficients one layer later."""
    return [tuple(r * c for r, c in zip(*pair, strict=True)) for pair in zip(_RHO, columns, strict=True)]


_entries = sympy.symbols("x_11 x_12 x_21 x_22 x_31 x_32", real=True)
_tokens = _modes((_first, _second))
_names = ("x_11", "x_12", "x_21", "x_22", "x_31", "x_32")
_MODES = {f"{name} of the modes": Eq(e, m) for name, e, m in zip(_names, _entries, _tokens, strict=True)}
_symbols = Matrix(3, 2, _entries)
_later = _symbols + SYMMETRIC * _symbols * _DIAGONAL
_once_later = _modes(_once((_first, _second)))
(a1, b1, c1), (a2, b2, c2) = _first, _second
r, t, D = sympy.symbols("r t D", real=True)
mu1, mu2 = sympy.symbols("mu_1 mu_2", real=True)
_COSINE = {
    "|x.y| <= |x_1 y_1| + |x_2 y_2|": x1 * y1 + x2 * y2 >= D,
    "|x_2| <= r |x_1|": x2 <= r * x1,
    "|y_1| <= t |y_2|": y1 <= t * y2,
    "|x| >= |x_1|": x1 <= X,
    "|y| >= |y_2|": y2 <= Y,
    "x_1 >= 0": x1 >= 0,
    "y_2 > 0": y2 > 0,
    "r >= 0": r >= 0,
    "t >= 0": t >= 0,
}
_ROW_1 = {
    "a_2 = r b_1": Eq(r * b1, a2),
    "x_11 = a_1 + b_1 + c_1": Eq(x11, a1 + b1 + c1),
    "x_12 = a_2 + b_2 + c_2": Eq(x12, a2 + b2 + c2),
    "b_2 <= a_2": b2 <= a2,
    "c_2 <= a_2": c2 <= a2,
    "a_1 > 0": a1 > 0,
    "c_1 > 0": c1 > 0,
    "r > 0": r > 0,
}
_ROW_2 = {
    "c_1 = t a_2": Eq(c1, t * a2),
    "x_21 = a_1 - 2 c_1": Eq(x21, a1 - 2 * c1),
    "x_22 = a_2 - 2 c_2": Eq(x22, a2 - 2 * c2),
    "4 c_2 <= a_2": 4 * c2 <= a2,
    "a_1 > 0": a1 > 0,
    "t > 0": t > 0,
}
_cosine_limit = Tends(
    "both powers close", 3 * Rational(6, 7) ** l + 4 * Rational(2, 3) ** l, l, sympy.oo, sympy.Integer(0)
)


def _zero_entry(z: Any) -> dict[str, Query]:
    x = z.Reals("x_11 x_12 x_21 x_22 x_31 x_32")
    a1, b1, c1, a2, b2, c2 = z.Reals("a_1 b_1 c_1 a_2 b_2 c_2")
    x1, x2, y1, y2, X, Y, D, r, t, mu1, mu2 = z.Reals("x_1 x_2 y_1 y_2 X Y D r t mu_1 mu_2")
    modes = {
        "x_11 of the modes": x[0] == a1 + b1 + c1,
        "x_12 of the modes": x[1] == a2 + b2 + c2,
        "x_21 of the modes": x[2] == a1 - c1 - c1,
        "x_22 of the modes": x[3] == a2 - c2 - c2,
        "x_31 of the modes": x[4] == a1 - b1 + c1,
        "x_32 of the modes": x[5] == a2 - b2 + c2,
    }
    # 8 A has the rows (1, 2, 5), (2, 4, 2), (5, 2, 1); times 40 and 20
    first = (x[0] + 2 * x[2] + 5 * x[4], 2 * x[0] + 4 * x[2] + 2 * x[4], 5 * x[0] + 2 * x[2] + x[4])
    second = (x[1] + 2 * x[3] + 5 * x[5], 2 * x[1] + 4 * x[3] + 2 * x[5], 5 * x[1] + 2 * x[3] + x[5])
    step = z.And(
        10 * x[0] - first[0] == 2 * a1 + 14 * b1 + 8 * c1,
        10 * x[2] - first[1] == 2 * a1 - 16 * c1,
        10 * x[4] - first[2] == 2 * a1 - 14 * b1 + 8 * c1,
        40 * x[1] + second[0] == 48 * a2 + 36 * b2 + 42 * c2,
        40 * x[3] + second[1] == 48 * a2 - 84 * c2,
        40 * x[5] + second[2] == 48 * a2 - 36 * b2 + 42 * c2,
    )
    mus = {"mu_1 = -4/5": 5 * mu1 == -4, "mu_2 = 1/5": 5 * mu2 == 1}
    largest = (2 - mu1) * (2 - mu1)
    others = [2 + 2 * mu1, 2 + 2 * mu2, 2 - mu2]
    quarters = [4 + mu1, 4 + mu2]
    dominant = [largest > o * o for o in others] + [4 * largest > o * o for o in quarters]
    row1 = {
        "x_11 = a_1 + b_1 + c_1": x[0] - a1 - b1 - c1 == 0,
        "x_12 = a_2 + b_2 + c_2": x[1] - a2 - b2 - c2 == 0,
        "a_2 = r b_1": a2 == b1 * r,
        "b_2 <= a_2": a2 - b2 >= 0,
        "c_2 <= a_2": a2 - c2 >= 0,
        "a_1 > 0": a1 > 0,
        "c_1 > 0": c1 > 0,
        "r > 0": r > 0,
    }
    row2 = {
        "x_21 = a_1 - 2 c_1": x[2] + 2 * c1 == a1,
        "x_22 = a_2 - 2 c_2": x[3] + 2 * c2 == a2,
        "c_1 = t a_2": c1 == a2 * t,
        "4 c_2 <= a_2": a2 - 4 * c2 >= 0,
        "a_1 > 0": a1 > 0,
        "t > 0": t > 0,
    }
    cosine = {
        "|x.y| <= |x_1 y_1| + |x_2 y_2|": x1 * y1 + x2 * y2 - D >= 0,
        "|x_2| <= r |x_1|": r * x1 - x2 >= 0,
        "|y_1| <= t |y_2|": t * y2 - y1 >= 0,
        "|x| >= |x_1|": X - x1 >= 0,
        "|y| >= |y_2|": Y - y2 >= 0,
        "x_1 >= 0": x1 >= 0,
        "y_2 > 0": y2 > 0,
        "r >= 0": r >= 0,
        "t >= 0": t >= 0,
    }
    _, layer, (q, depth, power, eps) = deep(z)
    layer += [7 * q == 6, t <= power, depth * (1 - q) * eps == 7 * q]
    return {
        "one dominant mode": Query(mus, z.And(*dominant)),
        "one more layer": Query(modes, step),
        "row 1 turns to the first feature": Query(row1, x[1] < 3 * r * x[0]),
        "row 2 turns to the second feature": Query(row2, -x[2] < 4 * t * x[3]),
        "the cosine": Query(cosine, X * Y * r + X * Y * t >= D),
        "the limit": Query({}, z.Implies(z.And(*layer), 3 * power + 4 * t < eps), same_symbols=False),
    }


ANGLE_ZERO_ENTRY = Statement(
    "limit.angle_zero_entry",
    "If the dominant set is a single real mode, |cos| -> 1 between every two rows, whatever X_0.",
    r"D = \{(k, j)\},\; v_k \text{ real} \;\Longrightarrow\; |\cos(x_a, x_b)| \to 1 \text{ for all } a \ne b",
    "derived here",
    (
        Claim(
            "one dominant mode",
            {"mu_1 = -4/5": Eq(mu1, -Rational(4, 5)), "mu_2 = 1/5": Eq(mu2, Rational(1, 5))},
            [
                (1 - mu1 / 2) ** 2 > (1 + mu1) ** 2,
                (1 - mu1 / 2) ** 2 > (1 + mu1 / 4) ** 2,
                (1 - mu1 / 2) ** 2 > (1 + mu2) ** 2,
                (1 - mu1 / 2) ** 2 > (1 + mu2 / 4) ** 2,
                (1 - mu1 / 2) ** 2 > (1 - mu2 / 2) ** 2,
            ],
            [
                Identity("lambda = 1: rows sum to one", SYMMETRIC * _ones, _ones),
                Identity("lambda = -1/2 has a zero entry", SYMMETRIC * _ends, -_ends / 2),
                Identity("lambda = 1/4", SYMMETRIC * _middle, _middle / 4),
                Sign("7/5 against 1/5", (1 - mu1 / 2) ** 2 - (1 + mu1) ** 2, ">"),
                Sign("7/5 against 6/5", (1 - mu1 / 2) ** 2 - (1 + mu2) ** 2, ">"),
            ],
            "A is symmetric and positive, H = diag(mu_1, mu_2). The largest |rho| is 7/5, at lambda = -1/2 "
            "and mu_1 only.",
        ),
        Claim(
            "one more layer",
            _MODES,
            [Eq(one, other) for one, other in zip(_later, _once_later, strict=True)],
            [Identity("X + A X H in modes", _tokens + SYMMETRIC * _tokens * _DIAGONAL, _once_later)],
            "Coefficients a, b, c of (1, 1, 1), (1, 0, -1), (1, -2, 1) in each of the two features; a layer "
            "multiplies them by 1/5, 7/5, 4/5 in the first and by 6/5, 9/10, 21/20 in the second. From X_0 "
            "with all six equal to 1 (none vanishes), induction gives their powers at layer l.",
        ),
        Claim(
            "row 1 turns to the first feature",
            _ROW_1,
            [x12 < 3 * r * x11],
            [
                Sign(
                    "three second features, each at most a_2",
                    3 * r * x11 - x12,
                    ">",
                    plus(times(3, r * b1 - a2), a2 - b2, a2 - c2, times(3, r, a1), times(3, r, c1)),
                )
            ],
            "r = (6/7)^l: a_2 = (6/5)^l is r times b_1 = (7/5)^l, and b_2, c_2 are smaller powers. All are "
            "positive.",
        ),
        Claim(
            "row 2 turns to the second feature",
            _ROW_2,
            [-x21 < 4 * t * x22],
            [
                Sign(
                    "half of a_2 is left in the second feature",
                    4 * t * x22 + x21,
                    ">",
                    plus(a1, times(2, t, a2 - 4 * c2)),
                )
            ],
            "t = (2/3)^l: c_1 = (4/5)^l is t times a_2 = (6/5)^l. From layer 11 on c_2 = (21/20)^l is at "
            "most a_2/4, so x_22 > 0. As a_1 < c_1, x_21 = a_1 - 2 c_1 is negative and |x_21| = -x_21.",
        ),
        Claim(
            "the cosine",
            _COSINE,
            [(r + t) * X * Y >= D],
            [
                Sign("Y is not negative", Y, ">=", plus(Y - y2, y2)),
                Sign(
                    "each bound costs a term that is not negative",
                    (r + t) * X * Y - D,
                    ">=",
                    plus(
                        times(r + t, plus(times(X - x1, Y), times(x1, Y - y2))),
                        times(x1, t * y2 - y1),
                        times(y2, r * x1 - x2),
                        plus(x1 * y1 + x2 * y2, -D),
                    ),
                ),
            ],
            "Moduli of the entries of two rows of two features, X and Y the norms of the rows and D = |x.y|. "
            "With r = 3 (6/7)^l for row 1 and t = 4 (2/3)^l for row 2, |cos| <= r + t from layer 11 on.",
        ),
        Claim(
            "the limit",
            {},
            [_cosine_limit],
            [_cosine_limit],
            "So cos -> 0 between rows 1 and 2, not +-1. No coefficient of this X_0 vanishes; another X_0 of "
            "this kind only changes the constants, by bounds on its six coefficients.",
        ),
    ),
    _zero_entry,
    counterexample=r"A = \tfrac18 \begin{pmatrix} 1 & 2 & 5 \\ 2 & 4 & 2 \\ 5 & 2 & 1 \end{pmatrix},\quad "
    r"H = \begin{pmatrix} -4/5 & 0 \\ 0 & 1/5 \end{pmatrix},\quad "
    r"X_0 = \begin{pmatrix} 3 & 3 \\ -1 & -1 \\ 1 & 1 \end{pmatrix}",
)

# ---------------------------------------------------------------------------------------------------------
# frequencies

alpha = sympy.Symbol("alpha", real=True)
_POSITIVE = {"alpha > 0": alpha > 0, "p > 0": p > 0}
_above = Tends("from above", (alpha * h + B * q**l) / (alpha * p - B * q**l), l, sympy.oo, h / p)
_below = Tends("from below", (alpha * h - B * q**l) / (alpha * p + B * q**l), l, sympy.oo, h / p)


def _input(z: Any) -> dict[str, Query]:
    alpha, h, p, E, H, L, B = z.Reals("alpha h p E H L B")
    above = {
        "H <= alpha h + E": alpha * h + E - H >= 0,
        "L >= alpha p - E": alpha * p <= L + E,
        "alpha p > E": alpha * p - E > 0,
        "alpha > 0": alpha > 0,
        "h >= 0": h >= 0,
        "E >= 0": E >= 0,
    }
    below = {
        "H >= alpha h - E": alpha * h <= H + E,
        "L <= alpha p + E": alpha * p + E - L >= 0,
        "alpha h >= E": alpha * h - E >= 0,
        "alpha > 0": alpha > 0,
        "p > 0": p > 0,
        "E >= 0": E >= 0,
    }
    given, layer, (q, depth, power, eps) = deep(z)
    rest = B * power
    layer += [B >= 0, h >= 0, depth * (1 - q) * eps * p * p * alpha == q * B * (p + h + eps * p)]
    close = z.And(
        alpha * p > rest,
        p * (alpha * h + rest) < (h + eps * p) * (alpha * p - rest),
        p * (alpha * h - rest) > (h - eps * p) * (alpha * p + rest),
    )
    return {
        "from above": Query(above, H * alpha * p - H * E <= L * alpha * h + L * E),
        "from below": Query(below, H * alpha * p + H * E >= L * alpha * h - L * E),
        "the limit": Query(
            given | {"alpha > 0": alpha > 0, "p > 0": p > 0},
            z.Implies(z.And(*layer), close),
            same_symbols=False,
        ),
        "no constant part": ratio_second(z),
        "no constant part: the limit": closing_second(z),
    }


INPUT = Statement(
    "limit.input",
    "If the dominant set lies inside one row k with v = v_k real, then HFC/LFC tends to |Pi_perp v| / |Pi "
    "v|, geometrically: 0 for lambda_k = 1, a finite number where Pi v is not 0, and infinity where it is "
    "(as for every symmetric A and lambda_k other than 1).",
    r"\frac{\alpha h - B q^l}{\alpha p + B q^l} \le \frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \le "
    r"\frac{\alpha h + B q^l}{\alpha p - B q^l} \to \frac{h}{p},\quad h = \|\Pi_\perp v\|,\; p = \|\Pi v\|",
    "the distinction of input, angle and rank: arXiv 2401.04301; limit and bound derived here",
    (
        Claim(
            "from above",
            {
                "H <= alpha h + E": alpha * h + E >= H,
                "L >= alpha p - E": alpha * p - E <= L,
                "alpha p > E": alpha * p > E,
                "alpha > 0": alpha > 0,
                "h >= 0": h >= 0,
                "E >= 0": E >= 0,
            },
            [H * (alpha * p - E) <= L * (alpha * h + E)],
            [
                Sign("the larger numerator", alpha * h + E, ">="),
                Sign("the smaller denominator is positive", alpha * p - E, ">"),
                Sign(
                    "each bound costs a term that is not negative",
                    L * (alpha * h + E) - H * (alpha * p - E),
                    ">=",
                    plus(times(L - alpha * p + E, alpha * h + E), times(alpha * p - E, alpha * h + E - H)),
                ),
            ],
            "Divided by the largest modulus to the power l, X_l is v g_l^T plus a rest of norm at most E = B "
            "q^l, and alpha = |g_l| > 0, constant for one pair; otherwise it stays above a positive "
            "constant, which may take its place in the final bounds, as they are widest there. So H = HFC is "
            "within E of alpha h and L = LFC within E of alpha p. Denominators cleared.",
        ),
        Claim(
            "from below",
            {
                "H >= alpha h - E": alpha * h - E <= H,
                "L <= alpha p + E": alpha * p + E >= L,
                "alpha h >= E": alpha * h >= E,
                "alpha > 0": alpha > 0,
                "p > 0": p > 0,
                "E >= 0": E >= 0,
            },
            [H * (alpha * p + E) >= L * (alpha * h - E)],
            [
                Sign("the smaller numerator", alpha * h - E, ">="),
                Sign("the larger denominator", alpha * p + E, ">="),
                Sign(
                    "each bound costs a term that is not negative",
                    H * (alpha * p + E) - L * (alpha * h - E),
                    ">=",
                    plus(times(H - alpha * h + E, alpha * p + E), times(alpha * h - E, alpha * p + E - L)),
                ),
            ],
            "Where alpha h < E the lower bound is negative and says nothing that needs a proof.",
        ),
        Claim(
            "the limit",
            GEOMETRIC | _POSITIVE,
            [_above, _below],
            [Sign("what the denominators tend to is positive", alpha * p, ">"), _above, _below],
            "Both bounds tend to h/p. In the second form both are within eps of it from a layer on that is "
            "named.",
        ),
        ratio(
            "no constant part",
            "Pi v = 0, as where A is symmetric and v orthogonal to the constant vector: then LFC is part of "
            "the rest. Here h = LFC <= B q^l, p = HFC >= P - Q B q^l with P = min |g_l| |v| and Q = 1: "
            "LFC/HFC closes.",
        ),
        closing("no constant part: the limit", "So HFC/LFC tends to infinity."),
    ),
    _input,
)

# ---------------------------------------------------------------------------------------------------------
# complex modes

c, d = sympy.symbols("c d", real=True)
_TURN = {"r_1^2 + s_1^2 = 1": Eq(r1**2 + s1**2, 1)}
_TURNING = _TURN | {"sin(theta) != 0": Ne(d, 0), "y and w independent": Ne(y1 * w2 - y2 * w1, 0)}
_now = (r1 * y1 - s1 * w1, r1 * y2 - s1 * w2)
_then = tuple((r1 * c - s1 * d) * e - (r1 * d + s1 * c) * o for e, o in ((y1, w1), (y2, w2)))
_TURNS = _now[0] * _then[1] - _now[1] * _then[0]


def _turning(name: str, reduction: str) -> Claim:
    return Claim(
        name,
        _TURNING,
        [Ne(_TURNS, 0)],
        [
            Sign(
                "the phase is on the unit circle",
                r1**2 + s1**2,
                ">",
                plus(r1**2 + s1**2 - 1, sympy.Integer(1)),
            ),
            Sign("no factor is zero", _TURNS, "!=", times(-1, d, r1**2 + s1**2, y1 * w2 - y2 * w1)),
        ],
        reduction,
    )


def _pair_entries(weights: bool) -> dict[str, Any]:
    """Return entries of the leading part: v g^T if the weights have the complex pair, else g z^T."""
    entries = {}
    for i, j, entry in ((1, 1, x11), (1, 2, x12), (2, 1, x21), (2, 2, x22)):
        real, turning = (i, j) if weights else (j, i)
        value = (v1, v2)[real - 1] * _now[turning - 1]
        entries[f"x_{i}{j} = v_{real} g_{turning}"] = Eq(sympy.Symbol(f"x_{i}{j}", real=True), value)
        assert entry.name == f"x_{i}{j}"
    return entries


def _rank_claim(weights: bool, reduction: str) -> Claim:
    zero = x11 * x22 - x12 * x21 + 1
    return Claim(
        "rank 1",
        _pair_entries(weights),
        [Eq(x11 * x22, x12 * x21)],
        [Identity("the two products are one product in two orders", zero, sympy.Integer(1))],
        reduction,
    )


def _complex_pair(z: Any, weights: bool) -> dict[str, Query]:
    x11, x12, x21, x22, v1, v2 = z.Reals("x_11 x_12 x_21 x_22 v_1 v_2")
    r1, s1, y1, y2, w1, w2, c, d = z.Reals("r_1 s_1 y_1 y_2 w_1 w_2 c d")
    g1, g2 = r1 * y1 - s1 * w1, r1 * y2 - s1 * w2
    if weights:
        names = ("x_11 = v_1 g_1", "x_12 = v_1 g_2", "x_21 = v_2 g_1", "x_22 = v_2 g_2")
        values = (v1 * g1, v1 * g2, v2 * g1, v2 * g2)
    else:
        names = ("x_11 = v_1 g_1", "x_12 = v_2 g_1", "x_21 = v_1 g_2", "x_22 = v_2 g_2")
        values = (v1 * g1, v2 * g1, v1 * g2, v2 * g2)
    entries = {k: e == value for k, e, value in zip(names, (x11, x12, x21, x22), values, strict=True)}
    turning = {
        "r_1^2 + s_1^2 = 1": r1 * r1 + s1 * s1 == 1,
        "sin(theta) != 0": z.Or(d < 0, d > 0),
        "y and w independent": z.Not(y1 * w2 == y2 * w1),
    }
    r2, s2 = c * r1 - d * s1, c * s1 + d * r1
    return {
        "rank 1": Query(entries, x11 * x22 - x12 * x21 == 0),
        "the direction keeps turning": Query(
            turning,
            z.Not((r1 * y1 - s1 * w1) * (r2 * y2 - s2 * w2) == (r1 * y2 - s1 * w2) * (r2 * y1 - s2 * w1)),
        ),
    }


_NO_LIMIT = (
    "the area between the directions of two layers, one after the other, has a fixed size |sin(theta)| |y_1 "
    "w_2 - y_2 w_1|, theta the argument of rho and (c, d) = (cos(theta), sin(theta)), while their norms are "
    "bounded: the angle between them stays above a positive constant. sin(theta) is not 0 as rho is not "
    "real; y and w, real and imaginary part of the eigenvector of a complex eigenvalue, are independent in "
    "some pair of coordinates."
)


def _complex_weights_second(z: Any) -> dict[str, Query]:
    return _complex_pair(z, True)


def _complex_attention_second(z: Any) -> dict[str, Query]:
    return _complex_pair(z, False)


COMPLEX_WEIGHTS = Statement(
    "limit.complex_weights",
    "A dominant conjugate pair of mu at one real lambda, not 0: the leading part has rank 1 at every layer, "
    "and the feature direction that all rows share keeps turning, without a limit.",
    r"|\rho|^{-l} X_l \approx 2\,\Re\left(c\, e^{i\theta l}\, v z^T\right) = v g_l^T,\quad "
    r"g_l = r_l y - s_l w,\quad g_l \wedge g_{l+1} = -\sin\theta\; y \wedge w",
    "derived here",
    (
        _rank_claim(
            True,
            "v is real, c z = |c| (y + i w)/2 and the phase at layer l is r_1 + i s_1: the leading part is v "
            "g^T with g = r_1 y - s_1 w. The four entries are any two rows and any two columns.",
        ),
        _turning("the direction keeps turning", "Of g, a row vector: " + _NO_LIMIT),
    ),
    _complex_weights_second,
)

COMPLEX_ATTENTION = Statement(
    "limit.complex_attention",
    "A dominant conjugate pair of lambda at one real mu, not 0: the leading part has rank 1 at every layer, "
    "all rows lie along one fixed direction, but their sizes and signs keep turning, without a limit.",
    r"|\rho|^{-l} X_l \approx 2\,\Re\left(c\, e^{i\theta l}\, v z^T\right) = g_l z^T,\quad "
    r"g_l = r_l y - s_l w,\quad g_l \wedge g_{l+1} = -\sin\theta\; y \wedge w",
    "derived here",
    (
        _rank_claim(
            False,
            "The transpose: z is real, with entries v_1 and v_2 in any two columns, c v = |c| (y + i w)/2 "
            "and the leading part is g z^T with g = r_1 y - s_1 w, in any two rows.",
        ),
        _turning("the direction keeps turning", "Of g, a column vector: " + _NO_LIMIT),
    ),
    _complex_attention_second,
)

beta, m = sympy.symbols("beta m", real=True)
_determinant = (2 * alpha) * (-2 * alpha) - (-2 * beta) * (-2 * beta)
_one, _crossed = ((1 + u * x - v * w) ** 2 + (u * w + v * x) ** 2 for w in (y, -y))


def _complex_both(z: Any) -> dict[str, Query]:
    alpha, beta, m, c, d, x, y, u, v = z.Reals("alpha beta m c d x y u v")
    a, b, g, k, e = z.Reals("a b g k e")
    re, im = a * g - b * k, a * k + b * g
    return {
        "the crossed pair does not tie": Query(
            {"Im lambda != 0": z.Not(v == 0), "Im mu != 0": z.Not(y == 0)},
            z.Not(2 * u * x - 2 * v * y == 2 * u * x + 2 * v * y),
        ),
        "real bases": Query(
            {"e = 2 Re(gamma v z)": e == 2 * (alpha * re - beta * im)},
            e == a * (2 * alpha * g - 2 * beta * k) + b * (-2 * beta * g - 2 * alpha * k),
        ),
        "one more layer": Query(
            {"c^2 + d^2 = 1": c * c + d * d == 1, "|gamma| = m": alpha * alpha + beta * beta == m * m},
            (c * alpha - d * beta) * (c * alpha - d * beta) + (d * alpha + c * beta) * (d * alpha + c * beta)
            == m * m,
        ),
        "the determinant": Query(
            {"|gamma| = m": alpha * alpha + beta * beta == m * m, "m > 0": m > 0},
            z.And(-4 * alpha * alpha - 4 * beta * beta == -4 * m * m, alpha * alpha + beta * beta > 0),
        ),
    }


a, b, e = sympy.symbols("a b e", real=True)
_real_bases = a * (2 * alpha * g - 2 * beta * k) + b * (-2 * beta * g - 2 * alpha * k)
_next_size = (alpha * c - beta * d) ** 2 + (alpha * d + beta * c) ** 2
_SIZE = {"|gamma| = m": Eq(alpha**2 + beta**2, m**2)}

COMPLEX_BOTH = Statement(
    "limit.complex_both",
    "A dominant pair of rho, conj(rho) with both lambda and mu complex: the leading part has rank 2 at every "
    "layer, with sigma_2/sigma_1 above a positive constant: the rank does not collapse.",
    r"2\,\Re\left(\gamma_l (a + i b)(g + i k)^T\right) = (a, b) \begin{pmatrix} 2\alpha & -2\beta \\ "
    r"-2\beta & -2\alpha \end{pmatrix} (g, k)^T,\quad \det = -4 |c|^2 \ne 0,\quad "
    r"\gamma_l = c\, e^{i\theta l} = \alpha + i\beta",
    "derived here",
    (
        Claim(
            "the crossed pair does not tie",
            {"Im lambda != 0": Ne(v, 0), "Im mu != 0": Ne(y, 0)},
            [Ne(_one, _crossed)],
            [Sign("the difference is a product", _one - _crossed, "!=", times(-4, v, y))],
            "lambda = u + iv and mu = x + iy: |1 + lambda mu| and |1 + lambda conj(mu)| differ, so the "
            "dominant set is the pair (lambda, mu) and its conjugate, without the crossed ones.",
        ),
        Claim(
            "real bases",
            {"e = 2 Re(gamma v z)": Eq(e, 2 * (alpha * (a * g - b * k) - beta * (a * k + b * g)))},
            [Eq(e, _real_bases)],
            [
                Identity(
                    "real part of the product",
                    2 * sympy.re((alpha + sympy.I * beta) * (a + sympy.I * b) * (g + sympy.I * k)),
                    _real_bases,
                )
            ],
            "One entry e of the leading part: a + ib an entry of the eigenvector v of A, g + ik one of the "
            "row z of H, gamma = alpha + i beta = c e^{i theta l}. In the real bases (a, b) of columns and "
            "(g, k) of rows, both independent, the coefficients are 2 alpha, -2 beta; -2 beta, -2 alpha.",
        ),
        Claim(
            "one more layer",
            {"c^2 + d^2 = 1": Eq(c**2 + d**2, 1)} | _SIZE,
            [Eq(_next_size, m**2)],
            [
                Sign(
                    "turning keeps the modulus",
                    _next_size - m**2,
                    "==",
                    plus(times(c**2 + d**2 - 1, alpha**2 + beta**2), alpha**2 + beta**2 - m**2),
                )
            ],
            "A layer multiplies gamma by the phase c + i d of rho: |gamma| = m = |c_ij| at every layer, by "
            "induction.",
        ),
        Claim(
            "the determinant",
            _SIZE | {"m > 0": m > 0},
            [Eq(_determinant, -4 * m**2), _determinant < 0],
            [
                Sign("-4 |gamma|^2", _determinant + 4 * m**2, "==", times(-4, alpha**2 + beta**2 - m**2)),
                Sign("it is negative", _determinant, "<", plus(_determinant + 4 * m**2, -4 * m**2)),
            ],
            "The coefficient matrix is 2m times an orthogonal one, so sigma_2 of the leading part is at "
            "least 2m times the smallest singular values of both bases, at every layer.",
        ),
    ),
    _complex_both,
)

STATEMENTS = (
    RANK_ONE,
    RANK_NEEDS,
    TIE_UNIFORM,
    RANK_ALTERNATES,
    ANGLE,
    ANGLE_ZERO_ENTRY,
    INPUT,
    COMPLEX_WEIGHTS,
    COMPLEX_ATTENTION,
    COMPLEX_BOTH,
)
