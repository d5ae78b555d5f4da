r"""Jordan blocks: what replaces a mode when A or H has fewer eigenvectors than dimensions.

A block of size p of A at lambda and one of size q of H at mu carry a p x q matrix Y of coefficients, with X =
V Y Z: the columns of V are a chain of A (A v_1 = lambda v_1, A v_2 = lambda v_2 + v_1), the rows of Z one of
H (z_1 H = mu z_1, z_2 H = mu z_2 + z_1). A layer is Y <- Y + (lambda + N) Y (mu + N^T), N the shift. In all
of it rho = 1 + lambda mu is not zero, k = 1/rho, and what is written is Y divided by rho^l.

>>> CHAIN
(a + b*k*l*lambda, b)
>>> BLOCK[1, 0], MINOR
(c + d*k*l*lambda, a*d - b*c + d**2*k**2*l)
>>> SLOPE
(2*G1*P12 - 2*G12*P1)/(G1**2*k*mu)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Ne, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times

__all__ = ["BLOCK", "CHAIN", "MINOR", "SLOPE", "STATEMENTS", "near", "quotient", "size"]

a, b, c, d, e, f, k, s, w, y, lam, mu = sympy.symbols("a b c d e f k s w y lambda mu", real=True)
depth = sympy.Symbol("l", real=True)
RHO = 1 + lam * mu

#: coefficients of z_1 and z_2 after l layers, over rho^l: lambda simple, mu with a block of size two
CHAIN = (a + depth * k * lam * b, b)
#: coefficients of v_i z_j after l layers, over rho^l: two blocks of size two
BLOCK = Matrix(
    [
        [
            a + depth * k * (lam * b + mu * c + d) + depth * (depth - 1) * k**2 * lam * mu * d,
            b + depth * k * mu * d,
        ],
        [c + depth * k * lam * d, d],
    ]
)
#: its determinant
MINOR = a * d - b * c + depth * k**2 * d**2


def equal(left: Any, right: Any) -> Any:
    """Return the relation left = right as it is written.

    >>> equal(a + a, 2 * a)
    Eq(2*a, 2*a)
    """
    return Eq(left, right, evaluate=False)


def size(s: Any, x: Any) -> Any:
    """Return \\|x\\| for a solver.

    >>> from .smt import load, truth
    >>> truth(size(load(), load().RealVal(-2)) == 2, {})
    True
    """
    return s.If(x >= 0, x, -x)


def near(s: Any, x: Any, y: Any, eps: Any) -> Any:
    """Return \\|x - y\\| < eps for a solver.

    >>> from .smt import load, truth
    >>> z3 = load()
    >>> truth(near(z3, z3.RealVal(1), z3.RealVal(2), z3.RealVal(1)), {})
    False
    """
    return s.And(x - y < eps, y - x < eps)


def quotient(s: Any) -> Any:
    """Return, for a solver: E = u/f is within eps of A where \\|u - A f\\| <= w < eps c and f >= c > 0.

    With f = G + t f', u = A G + t u', G > 0 and a t that tends to zero, f' and u' bounded,
    u - A f = t (u' - A f').

    >>> from .smt import ask, load
    >>> ask("z3", [], quotient(load())).verdict
    'proved'
    """
    E, A, u, f, w, c, eps = s.Reals("E_ A_ u_ f_ w_ c_ eps_")
    premises = s.And(E * f == u, u - A * f <= w, A * f - u <= w, f >= c, c > 0, w < eps * c, eps > 0)
    return s.Implies(premises, near(s, E, A, eps))


# --- chain_weights: lambda simple, mu with a block of size two

_K = {"k (1 + lambda mu) = 1": Eq(k * RHO, 1)}


def _divided(reduction: str) -> Claim:
    """Return the claim that dividing by rho turns a gain w into k w."""
    return Claim(
        "divided by rho",
        _K,
        [equal(RHO * y + w, RHO * (y + k * w))],
        [Sign("rho k = 1", RHO * y + w - RHO * (y + k * w), "==", w * (1 - k * RHO))],
        reduction,
    )


def _divided_second(s: Any) -> dict[str, Query]:
    k, lam, mu, y, w = s.Reals("k lambda mu y w")
    rho = 1 + lam * mu
    return {
        "divided by rho": Query(
            {"k (1 + lambda mu) = 1": k + k * lam * mu == 1}, rho * y + w == rho * (y + k * w)
        )
    }


_next_chain = _divided(
    "The part of X along v is v r with the row r = a z_1 + b z_2, and r H = (mu a + b) z_1 + mu b z_2; so a "
    "layer maps (a, b) to (rho a + lambda b, rho b). With w = lambda b and y = a + l k lambda b, the "
    "coefficients rho^l (y, b) at layer l become rho^(l+1) (y + k lambda b, b), which is the same form with "
    "l + 1: induction from (a, b) at layer 0. As v times one row it has rank one at every layer."
)
_B = {"lambda != 0": Ne(lam, 0), "k != 0": Ne(k, 0), "b != 0": Ne(b, 0)}
_lead = Sign("the coefficient of l is not zero", k * lam * b, "!=")
_chain_growth = Claim(
    "growth",
    _B,
    [Tends("it grows like l rho^l", CHAIN[0] / depth, depth, oo, k * lam * b), Ne(k * lam * b, 0)],
    [
        _lead,
        Identity("divide by l", CHAIN[0] / depth, plus(k * lam * b, a / depth)),
        Tends("the second term vanishes", CHAIN[0] / depth, depth, oo, k * lam * b),
    ],
    "b is what X_0 has of z_2, not zero for generic X_0.",
)
_chain_direction = Claim(
    "direction",
    _B,
    [Tends("it turns towards z_1 like 1/l", depth * CHAIN[1] / CHAIN[0], depth, oo, 1 / (k * lam))],
    [
        _lead,
        Identity(
            "distance to the limit",
            depth * b / CHAIN[0] - 1 / (k * lam),
            -a / (k * lam * (a + depth * k * lam * b)),
        ),
        Tends("which closes", depth * CHAIN[1] / CHAIN[0], depth, oo, 1 / (k * lam)),
    ],
    "rho^l cancels in b_l/a_l, the coefficient of z_2 over that of z_1; the tangent of the angle to z_1 is "
    "this times a factor with a finite limit that is not zero, |z_2|/|z_1| times the sine of the angle "
    "between z_1 and z_2.",
)


def _chain_second(s: Any) -> dict[str, Query]:
    a, b, k, lam, depth, eps, t, limit, g = s.Reals("a b k lambda l eps t A g")
    given = {"lambda != 0": lam != 0, "k != 0": k != 0, "b != 0": b != 0}
    first = a + depth * k * lam * b
    return _divided_second(s) | {
        "growth": Query(
            given,
            s.And(
                k * lam * b != 0,
                s.Implies(
                    s.And(eps > 0, depth > 0, depth * eps > size(s, a)),
                    near(s, first, depth * k * lam * b, eps * depth),
                ),
            ),
            same_symbols=False,
        ),
        # b over g b + t a, with t = 1/l and g = k lambda; both times the sign of g b
        "direction": Query(
            given,
            s.And(
                k * lam * b != 0,
                s.Implies(limit * g == 1, b - limit * (g * b + t * a) == t * (0 - limit * a)),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


# --- growth: blocks of size two in both

y11, y12, y21, y22 = sympy.symbols("y11 y12 y21 y22", real=True)
_Y = Matrix([[y11, y12], [y21, y22]])
_LAYER = _Y + Matrix([[lam, 1], [0, lam]]) * _Y * Matrix([[mu, 0], [1, mu]])
_GAIN = Matrix([[lam * y12 + mu * y21 + y22, mu * y22], [lam * y22, 0]])
_AFTER = BLOCK.subs(depth, depth + 1)
_GAIN_OF_BLOCK = _GAIN.subs(dict(zip(_Y, BLOCK, strict=True)), simultaneous=True)
_G = k**2 * lam * mu * d
_FROBENIUS = sum(entry**2 for entry in BLOCK)
g, h = sympy.symbols("g h", real=True)
_SQUARES = (g * depth**2 + e * depth + a) ** 2 + (f * depth + b) ** 2 + (h * depth + c) ** 2 + d**2
_BLOCKS = {"k != 0": Ne(k, 0), "lambda != 0": Ne(lam, 0), "mu != 0": Ne(mu, 0), "d != 0": Ne(d, 0)}
_CLOSES = k**2 / (k**2 * lam * mu) ** 2
_g_not_zero = Sign("the leading coefficient is not zero", _G, "!=")


def _block_second(s: Any) -> dict[str, Query]:
    a, b, c, d, k, lam, mu, depth = s.Reals("a b c d k lambda mu l")
    y11, y12, y21, y22 = s.Reals("y11 y12 y21 y22")
    eps, t, big, e, f, g, h, rest = s.Reals("eps t K e f g h rest")
    low, u1, f1, limit = s.Reals("D u1 f1 A")
    rho = 1 + lam * mu

    def at(n: Any) -> tuple[Any, Any, Any, Any]:
        top = a + n * k * (lam * b + mu * c + d - k * lam * mu * d) + n * n * k * k * lam * mu * d
        return top, b + n * k * mu * d, c + n * k * lam * d, d

    x11, x12, x21, x22 = at(depth)
    z11, z12, z21, z22 = at(depth + 1)
    given = {"k != 0": k != 0, "lambda != 0": lam != 0, "mu != 0": mu != 0, "d != 0": d != 0}
    step = k * (lam * b + mu * c + d - k * lam * mu * d)
    lead = k * k * lam * mu * d
    return _divided_second(s) | {
        # rows of (lambda + N) Y, then columns times (mu, 0; 1, mu)
        "a layer": Query(
            {},
            s.And(
                y11 + mu * (lam * y11 + y21) + (lam * y12 + y22) == rho * y11 + lam * y12 + mu * y21 + y22,
                y12 + mu * (lam * y12 + y22) == rho * y12 + mu * y22,
                y21 + mu * lam * y21 + lam * y22 == rho * y21 + lam * y22,
                y22 + mu * lam * y22 == rho * y22,
            ),
        ),
        "closed form": Query(
            {},
            s.And(
                z11 == x11 + k * lam * x12 + k * mu * x21 + k * x22,
                z12 == x12 + k * mu * x22,
                z21 == x21 + k * lam * x22,
                z22 == x22,
            ),
        ),
        "minor": Query(
            {"k (1 + lambda mu) = 1": k + k * lam * mu == 1},
            x11 * x22 == x12 * x21 + a * d - b * c + depth * k * k * d * d,
        ),
        # y11 = a + l step + l^2 g
        "growth": Query(
            given,
            s.And(
                lead != 0,
                x11 == a + depth * step + depth * depth * lead,
                s.Implies(
                    s.And(eps > 0, depth >= 1, depth * eps > size(s, a) + size(s, rest)),
                    near(s, a + depth * rest + f, f, eps * depth * depth),
                ),
            ),
            same_symbols=False,
        ),
        # entries over l^2: g + t (e + t a), t (f + t b), t (h + t c), t^2 d with t = 1/l
        "size": Query(
            {},
            s.And(
                (g + t * (e + t * a)) * (g + t * (e + t * a))
                + t * (f + t * b) * t * (f + t * b)
                + t * (h + t * c) * t * (h + t * c)
                + t * t * d * t * t * d
                == g * g
                + t
                * (
                    2 * g * (e + t * a)
                    + t
                    * (
                        (e + t * a) * (e + t * a)
                        + (f + t * b) * (f + t * b)
                        + (h + t * c) * (h + t * c)
                        + t * t * d * d
                    )
                ),
                s.Implies(
                    s.And(t > 0, size(s, rest) <= big, t * big < eps, u1 == low + t * rest),
                    near(s, u1, low, eps),
                ),
            ),
            same_symbols=False,
        ),
        # the quotient of D + t u1, D = k^2 d^2, and g^2 + t f1
        "rank gap": Query(
            given,
            s.And(
                lead != 0,
                s.Implies(limit * g == low, low + t * u1 - limit * (g + t * f1) == t * (u1 - limit * f1)),
                s.Implies(limit * k * lam * mu * k * lam * mu == 1, limit * lead * lead == k * k * d * d),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


# --- similarity_limit: a block of size two in A, mu simple

t_div = t_sim = sympy.Symbol("t", real=True)
P1, P12, P2, G1, G12, G2 = sympy.symbols("P1 P12 P2 G1 G12 G2", real=True)
_W = c + depth * k * mu
_BELOW = _W**2 * G1 + 2 * _W * G12 + G2
_ABOVE = _W**2 * P1 + 2 * _W * P12 + P2
#: limit of l (t_div - its limit)
SLOPE = 2 * (P12 * G1 - P1 * G12) / (k * mu * G1**2)
_GRAM = {"k != 0": Ne(k, 0), "mu != 0": Ne(mu, 0), "G1 > 0": G1 > 0}
_m_not_zero = Sign("the coefficient of l^2 below is not zero", k**2 * mu**2 * G1, ">")
J, K = sympy.symbols("J K", real=True)
_DISTANCE = depth * (2 * _W * J + K) / (G1 * _BELOW)


def _similarity_second(s: Any) -> dict[str, Query]:
    b, k, mu = s.Reals("b k mu")
    c, P1, P12, P2, G1, G12, G2, J, K = s.Reals("c P1 P12 P2 G1 G12 G2 J K")
    t, m, limit = s.Reals("t m A")  # m = k mu
    given = {"k != 0": k != 0, "mu != 0": mu != 0, "G1 > 0": G1 > 0}
    lead = k * mu * k * mu * G1 > 0
    w = m + c * t  # t (c + l m) with t = 1/l
    below = w * w * G1 + 2 * t * w * G12 + t * t * G2
    above = w * w * P1 + 2 * t * w * P12 + t * t * P2
    of_below = c * (m + w) * G1 + 2 * w * G12 + t * G2
    of_above = c * (m + w) * P1 + 2 * w * P12 + t * P2
    return _divided_second(s) | {
        "limit": Query(
            given,
            s.And(
                lead,
                below == m * m * G1 + t * of_below,
                above == m * m * P1 + t * of_above,
                s.Implies(limit * G1 == P1, m * m * G1 * limit == m * m * P1),
                quotient(s),
            ),
            same_symbols=False,
        ),
        # over l^2: (above G1 - P1 below) / (G1 below), times l
        "like 1/l": Query(
            given
            | {
                "P12 G1 - P1 G12 = J": P12 * G1 == P1 * G12 + J,
                "P2 G1 - P1 G2 = K": P2 * G1 == P1 * G2 + K,
                "J != 0": J != 0,
            },
            s.And(
                k * mu * J != 0,
                lead,
                above * G1 - P1 * below == t * (2 * w * J + t * K),
                2 * w * J + t * K == 2 * m * J + t * (2 * c * J + K),
                below * G1 == m * m * G1 * G1 + t * of_below * G1,
                s.Implies(limit * m * G1 * G1 == 2 * J, m * m * G1 * G1 * limit == 2 * m * J),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "without a mean": Query(
            given | {"P1 = G1": P1 == G1, "P12 = G12": P12 == G12, "G2 - P2 = K": G2 == P2 + K},
            s.And(
                lead,
                below - above == t * t * K,
                below == m * m * G1 + t * of_below,
                s.Implies(limit * m * m * G1 == K, K - limit * (m * m * G1 + t * b) == t * (0 - limit * b)),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


_SQUARE_A = Matrix([[3, 11, 18], [9, 1, 22], [10, 10, 12]]) / 32
_SQUARE_X = Matrix([2 - depth / 10, depth / 10, -1])
_SQUARE_SIZE = sum(entry**2 for entry in _SQUARE_X)


def _square_second(s: Any) -> dict[str, Query]:
    depth, t, eps, w, mu = s.Reals("l t eps w mu")
    # ten times the state: (20 - l, l, -10); 1280 times a layer
    x, y, z = 20 - depth, depth, s.RealVal(-10)
    return {
        "one more layer": Query(
            {"mu = -1": mu + 1 == 0},
            s.And(
                4 * (32 * x + mu * (3 * x + 11 * y + 18 * z)) == 160 * (19 - depth),
                4 * (32 * y + mu * (9 * x + y + 22 * z)) == 160 * (1 + depth),
                4 * (32 * z + mu * (10 * x + 10 * y + 12 * z)) == 160 * z,
            ),
        ),
        "token similarity": Query(
            {"t |X|^2 = |Pi X|^2": 3 * t * (x * x + y * y + z * z) == (x + y + z) * (x + y + z)},
            3 * t * (depth * depth - 20 * depth + 250) == 50,
        ),
        # 3 l^2 t is within eps of 50, and 3 l t below any eps
        "faster": Query(
            {},
            s.And(
                depth * depth - 20 * depth + 250 > 0,
                s.Implies(
                    s.And(
                        w * (depth * depth - 20 * depth + 250) == 50, depth >= 40, depth * eps > 2000, eps > 0
                    ),
                    s.And(near(s, w * depth * depth, s.RealVal(50), eps), w * depth < eps),
                ),
            ),
            same_symbols=False,
        ),
    }


# --- still_geometric: lambda = 1 simple, mu with a block of size two

D, N, C, c0, small, large, x, p, T, lead, rest, s1, s2 = sympy.symbols(
    "D N C c0 r_l R_l x p T lead rest sigma1 sigma2", real=True
)


def _cubic(n: Any) -> Any:
    return 1 + n * p + n * (n - 1) * p**2 / 2 + n * (n - 1) * (n - 2) * p**3 / 6


r, R = sympy.symbols("r R", real=True)
#: two tokens, symmetric A, H = (mu, 0; 1, mu): the diverse part over r^(2l) and the mean over R^(2l)
_DIVERSE = (c + depth * lam * d / r) ** 2 + d**2
_MEAN = (a + depth * b / R) ** 2 + b**2
_GEOMETRIC = {
    "D >= 0": D >= 0,
    "D <= C (1 + l) r^l": C * (1 + depth) * small >= D,
    "c0 R^l > 0": c0 * large > 0,
    "N >= c0 R^l": c0 * large <= N,
}
_RANKS = {
    "sigma2 <= rest": s2 <= rest,
    "sigma1 >= lead - rest": s1 >= lead - rest,
    "2 rest < lead": 2 * rest < lead,
    "rest >= 0": rest >= 0,
}
_SAME_BLOCK = {
    "lambda != 0": Ne(lam, 0),
    "d != 0": Ne(d, 0),
    "r != 0": Ne(r, 0),
    "b != 0": Ne(b, 0),
    "R != 0": Ne(R, 0),
}


def _geometric_second(s: Any) -> dict[str, Query]:
    D, N, C, c0, small, large, depth, p, T, W = s.Reals("D N C c0 r_l R_l l p T W")
    eps, lead, rest, s1, s2, x = s.Reals("eps lead rest sigma1 sigma2 x")
    a, b, c, d, lam, r, R, t, limit = s.Reals("a b c d lambda r R t A")
    cubic = 6 + 6 * depth * p + 3 * depth * (depth - 1) * p * p
    cubic = cubic + depth * (depth - 1) * (depth - 2) * p * p * p
    further = 6 + 6 * (depth + 1) * p + 3 * (depth + 1) * depth * p * p
    further = further + (depth + 1) * depth * (depth - 1) * p * p * p
    # t^2 r^2 times the diverse part, t^2 R^2 times the mean, t = 1/l
    diverse = (c * r * t + lam * d) * (c * r * t + lam * d) + d * d * r * r * t * t
    mean = (a * R * t + b) * (a * R * t + b) + b * b * R * R * t * t
    return {
        "bound": Query(
            {
                "D >= 0": D >= 0,
                "D <= C (1 + l) r^l": C * small + C * depth * small >= D,
                "c0 R^l > 0": c0 * large > 0,
                "N >= c0 R^l": c0 * large <= N,
            },
            (D * c0 * large) * (D * c0 * large)
            <= (C * small * (1 + depth)) * (C * small * (1 + depth)) * N * N,
        ),
        "cubic Bernoulli": Query(
            {"p > 0": p > 0, "l >= 2": depth >= 2, "T >= cubic": cubic <= 6 * T},
            6 * T * (1 + p) >= further,
        ),
        # W = x^l with x = 1/(1+p), T = (1+p)^l
        "limit": Query(
            {"x > 0": x > 0, "x < 1": x < 1},
            s.And(
                s.Implies(x * (1 + p) == 1, p > 0),
                s.Implies(
                    s.And(p > 0, depth >= 4),
                    cubic > 6 + depth * (depth - 1) * (depth - 2) * p * p * p,
                ),
                s.Implies(depth >= 4, 25 * (depth - 1) * (depth - 2) >= 6 * (1 + depth) * (1 + depth)),
                # a for (1 + l)^2, b for l p^3 and c for (l-1) (l-2)
                s.Implies(s.And(6 + b * c < 6 * T, 25 * c >= 6 * a, b > 0), a * b < 25 * T),
                s.Implies(s.And(W > 0, W * T == 1, b > 0, a * b < 25 * T, b * eps > 25), a * W < eps),
            ),
            same_symbols=False,
        ),
        "rank gap": Query(
            {
                "sigma2 <= rest": s2 <= rest,
                "sigma1 >= lead - rest": s1 + rest >= lead,
                "2 rest < lead": rest + rest < lead,
                "rest >= 0": rest >= 0,
            },
            s.And(s1 > 0, s2 * lead <= rest * s1 + rest * s1),
        ),
        "two tokens": Query(
            {
                "lambda != 0": lam != 0,
                "d != 0": d != 0,
                "r != 0": r != 0,
                "b != 0": b != 0,
                "R != 0": R != 0,
            },
            s.And(
                lam * d * R * lam * d * R > 0,
                b * r * b * r > 0,
                diverse == lam * d * lam * d + t * (2 * c * r * lam * d + t * r * r * (c * c + d * d)),
                mean == b * b + t * (2 * a * R * b + t * R * R * (a * a + b * b)),
                # the limit A of (mean r^2) / (diverse R^2)
                s.Implies(limit * lam * d * R * lam * d * R == b * r * b * r, limit > 0),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


# --- zero_block and zero_block_uniform: mu = 0, a block of size two, two tokens

al, be, ga, de = sympy.symbols("alpha beta gamma delta", real=True)
_ZERO = Matrix([[al, ga + depth * al], [be, de + depth * lam * be]])
_ZERO_SIZE = al**2 + (ga + depth * al) ** 2 + be**2 + (de + depth * lam * be) ** 2
_ZERO_T = (be**2 + (de + depth * lam * be) ** 2) / _ZERO_SIZE
_ZERO_MINOR = al * de - be * ga - depth * al * be * (1 - lam)
_ZERO_SQUARE = al**2 + lam**2 * be**2


def _zero_second(s: Any) -> dict[str, Query]:
    al, be, ga, de, lam, depth, t, limit = s.Reals("alpha beta gamma delta lambda l t A")
    low, g, h = s.Reals("D g h")
    square = al * al + lam * lam * be * be
    # t^2 times the squares of the four coefficients, t = 1/l
    diverse = t * t * be * be + (t * de + lam * be) * (t * de + lam * be)
    whole = diverse + t * t * al * al + (t * ga + al) * (t * ga + al)
    of_diverse = t * be * be + t * de * de + 2 * de * lam * be
    of_whole = of_diverse + t * al * al + t * ga * ga + 2 * ga * al
    return {
        "one more layer": Query(
            {},
            s.And(
                ga + depth * al + al == ga + (depth + 1) * al,
                de + depth * lam * be + lam * be == de + lam * (depth + 1) * be,
            ),
        ),
        "token diversity": Query(
            {"beta != 0": be != 0, "lambda != 0": lam != 0},
            s.And(
                lam * lam * be * be > 0,
                square > 0,
                diverse == lam * lam * be * be + t * of_diverse,
                whole == square + t * of_whole,
                s.Implies(limit * square == lam * lam * be * be, limit > 0),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "minor": Query(
            {},
            al * (de + depth * lam * be) + depth * al * be * (1 - lam)
            == be * (ga + depth * al) + al * de - be * ga,
        ),
        "rank gap": Query(
            {"alpha != 0": al != 0, "beta != 0": be != 0, "lambda != 1": lam != 1},
            s.And(
                al * be * (1 - lam) != 0,
                square > 0,
                whole == square + t * of_whole,
                # l times the minor over l^2
                al * de - be * ga - depth * al * be * (1 - lam)
                == depth * (0 - al * be * (1 - lam)) + (al * de - be * ga),
                s.Implies(
                    limit * low == g, t * h + g - limit * (low + t * of_whole) == t * (h - limit * of_whole)
                ),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


x11, x12, x21, x22 = sympy.symbols("x11 x12 x21 x22", real=True)
_HALVES = Matrix([[Rational(1, 2)] * 2] * 2)
_NILPOTENT = Matrix([[0, 1], [0, 0]])
_UNIFORM = Matrix([[1, depth / 2], [0, 1 + depth / 2]])
_UNIFORM_SIZE = sum(entry**2 for entry in _UNIFORM)
_UNIFORM_DIVERSE = sum(entry**2 for entry in (sympy.eye(2) - _HALVES) * _UNIFORM)


def _uniform_second(s: Any) -> dict[str, Query]:
    depth, t, eps, x11, x12, x21, x22 = s.Reals("l t eps x11 x12 x21 x22")
    # rows (1, l/2) and (0, 1 + l/2): twice the diverse square is the squared distance of the rows
    twice = 2 + depth
    apart = 4 + (depth - twice) * (depth - twice)
    whole = 4 + depth * depth + twice * twice
    return {
        "one more layer": Query(
            {
                "x11 = 1": x11 == 1,
                "x21 = 0": x21 == 0,
                "x12 = l/2": 2 * x12 == depth,
                "x22 = 1 + l/2": 2 * x22 == 2 + depth,
            },
            s.And(2 * x12 + x11 + x21 == depth + 1, 2 * x22 + x11 + x21 == 2 + depth + 1),
        ),
        # four times the whole is 4 + l^2 + (2 + l)^2; eight times the diverse part is ``apart``
        "token diversity": Query(
            {"t |X|^2 = |Pi_perp X|^2": 2 * t * whole == apart}, t * (depth * depth + 2 * depth + 4) == 2
        ),
        "it closes": Query(
            {},
            s.Implies(
                s.And(eps > 0, depth >= 1, depth * eps > 12, t * (depth * depth + 2 * depth + 4) == 2),
                near(s, depth * depth * t, s.RealVal(2), eps),
            ),
            same_symbols=False,
        ),
    }


# --- tied: a block of size two at lambda = 1 and a simple pair of the same modulus

c1, c2, c3, e1, e2, e3, power, turned = sympy.symbols("c1 c2 c3 e1 e2 e3 P S", real=True)
_TIED_H = Matrix([[2, 1, 0], [0, 2, 0], [0, 0, -4]])
_TIED_A = Matrix([[1, 3], [3, 1]]) / 4
_MEAN_ROW = Matrix([[power * c1, power * (c2 + depth * c1 / 3), turned * c3]])
_MEAN_NEXT = Matrix([[3 * power * c1, 3 * power * (c2 + (depth + 1) * c1 / 3), -3 * turned * c3]])
_TIED_SUM = c1**2 + (c2 + depth * c1 / 3) ** 2 + c3**2 + e3**2
_TIED_WHOLE = power**2 * (c1**2 + (c2 + depth * c1 / 3) ** 2 + e3**2) + turned**2 * c3**2
_ANY_SUM = (a + depth * s * b) ** 2 + f


def _tied_second(s: Any) -> dict[str, Query]:
    c1, c2, c3, e1, e2, e3, power, turned, depth = s.Reals("c1 c2 c3 e1 e2 e3 P S l")
    tau, limit, a, b, shift, e, f, lam = s.Reals("tau A a b s e f lambda")
    second = 3 * c2 + depth * c1  # three times the second coefficient
    # 9 tau^2 times the sum of squares, tau = 1/l
    in_tau = 9 * tau * tau * (c1 * c1 + c3 * c3 + e3 * e3) + (3 * c2 * tau + c1) * (3 * c2 * tau + c1)
    of_tau = 6 * c1 * c2 + 9 * tau * (c1 * c1 + c2 * c2 + c3 * c3 + e3 * e3)
    return {
        "the mean": Query(
            {"lambda = 1": lam == 1},
            s.And(
                power * c1 + 2 * lam * power * c1 == 3 * power * c1,
                power * second + lam * (3 * power * c1 + 2 * power * second) == 3 * power * (second + c1),
                turned * c3 - 4 * lam * turned * c3 == 0 - 3 * turned * c3,
            ),
        ),
        "the rest": Query(
            {"lambda = -1/2": 2 * lam + 1 == 0},
            s.And(
                e1 + 2 * lam * e1 == 0,
                2 * e2 + 2 * lam * (e1 + 2 * e2) == 0 - e1,
                e2 + 2 * lam * e2 == 0,
                e3 - 4 * lam * e3 == 3 * e3,
            ),
        ),
        "same size": Query(
            {"S^2 = P^2": turned * turned == power * power},
            power * power * (9 * c1 * c1 + second * second + 9 * e3 * e3) + 9 * turned * c3 * turned * c3
            == power * power * (9 * c1 * c1 + second * second + 9 * e3 * e3 + 9 * c3 * c3),
        ),
        "powers of l": Query(
            {"c1 != 0": c1 != 0},
            s.And(
                c1 * c1 > 0,
                in_tau == c1 * c1 + tau * of_tau,
                s.Implies(
                    limit * c1 * c1 == 9 * e3 * e3,
                    9 * e3 * e3 - limit * (c1 * c1 + tau * f) == tau * (0 - limit * f),
                ),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "any such tie": Query(
            {"s != 0": shift != 0, "b != 0": b != 0},
            s.And(
                shift * b * shift * b > 0,
                (a * tau + shift * b) * (a * tau + shift * b) + f * tau * tau
                == shift * b * shift * b + tau * (2 * a * shift * b + tau * (a * a + f)),
                s.Implies(limit * c1 == e * e, e * e - limit * (c1 + tau * f) == tau * (0 - limit * f)),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENTS = (
    Statement(
        "defective.chain_weights",
        "A simple eigenvalue lambda != 0 of A and a Jordan block of size two of H at mu, rho = 1 + lambda "
        "mu != 0: the part grows like l |rho|^l, has rank one at every layer, and its direction moves like "
        "1/l.",
        r"v\,\rho^l\left((a + l\tfrac{\lambda}{\rho} b)\, z_1 + b\, z_2\right)^{\!\top},\quad "
        r"l\,\tfrac{b}{a + l\lambda b/\rho} \to \tfrac{\rho}{\lambda}",
        "derived here; arXiv 2401.04301 takes A diagonalizable",
        (_next_chain, _chain_growth, _chain_direction),
        _chain_second,
    ),
    Statement(
        "defective.growth",
        "Jordan blocks of size two of A at lambda and of H at mu, lambda mu != 0, rho = 1 + lambda mu != 0: "
        "the part grows like l^2 |rho|^l (l^(p+q-2) for sizes p and q), its rank gap sigma_2/sigma_1 closes "
        "like l^-3.",
        r"\det Y_l = \rho^{2l}\left(\det Y_0 + l\, y_{22}^2/\rho^2\right),\quad "
        r"l^3\, \frac{\det Y_l}{\|Y_l\|_F^2} \to \frac{\rho^2}{(\lambda\mu)^2}",
        "derived here",
        (
            Claim(
                "a layer",
                {},
                [equal(left, right) for left, right in zip(_LAYER, RHO * _Y + _GAIN, strict=True)],
                [Identity("the two shifts, one after the other", _LAYER, RHO * _Y + _GAIN)],
                "X = V Y Z with A V = V (lambda + N) and Z H = (mu + N^T) Z, so a layer maps Y to Y + "
                "(lambda + N) Y (mu + N^T). For sizes p and q this map is rho + M, M = mu L + lambda R + L "
                "R, where L Y = N Y and R Y = Y N^T commute and L^p = R^q = 0. Counting factors L and R, "
                "M^(p+q-1) = 0 and M^(p+q-2) = binomial(p+q-2, p-1) mu^(p-1) lambda^(q-1) L^(p-1) R^(q-1); "
                "so (rho + M)^l Y = sum_i binomial(l, i) rho^(l-i) M^i Y is rho^l times a polynomial in l, "
                "of degree p+q-2 exactly if lambda mu and the last coefficient of X_0 are not zero.",
            ),
            _divided(
                "Each entry y of Y_l/rho^l gains k times its entry w of the matrix of the claim before."
            ),
            Claim(
                "closed form",
                {},
                [equal(left, right) for left, right in zip(_AFTER, BLOCK + k * _GAIN_OF_BLOCK, strict=True)],
                [
                    Identity("at layer 0", sympy.Subs(BLOCK[0, 0], depth, 0), a),
                    Identity(
                        "the first entry: l (l + 1) - l (l - 1) = 2 l, from both neighbours",
                        _AFTER[0, 0] - BLOCK[0, 0],
                        plus(k * lam * BLOCK[0, 1], k * mu * BLOCK[1, 0], k * d),
                    ),
                    Identity("its neighbour in the row", _AFTER[0, 1] - BLOCK[0, 1], k * mu * d),
                    Identity("and the one below", _AFTER[1, 0] - BLOCK[1, 0], k * lam * d),
                ],
                "The gains of a layer take the form at l to the form at l + 1: induction.",
            ),
            Claim(
                "minor",
                _K,
                [equal(BLOCK[0, 0] * BLOCK[1, 1] - BLOCK[0, 1] * BLOCK[1, 0], MINOR)],
                [
                    Sign(
                        "the quadratic terms cancel, and k - k^2 lambda mu = k^2",
                        BLOCK[0, 0] * BLOCK[1, 1] - BLOCK[0, 1] * BLOCK[1, 0] - MINOR,
                        "==",
                        depth * d**2 * k * (1 - k * RHO),
                    )
                ],
                "The product of the two singular values of Y_l/rho^l, up to sign.",
            ),
            Claim(
                "growth",
                _BLOCKS,
                [Tends("y11 leads", BLOCK[0, 0] / depth**2, depth, oo, _G), Ne(_G, 0)],
                [_g_not_zero, Tends("y11 over l^2", BLOCK[0, 0] / depth**2, depth, oo, _G)],
                "d is the coefficient of v_2 z_2 in X_0, not zero for generic X_0. The three other "
                "coefficients are of degree one at most.",
            ),
            Claim(
                "size",
                {},
                [Tends("the squares over l^4", _SQUARES / depth**4, depth, oo, g**2)],
                [
                    Identity(
                        "only the first has degree two",
                        (b + f * depth) / depth**2,
                        plus(b / depth**2, f / depth),
                    ),
                    Tends("the squares over l^4", _SQUARES / depth**4, depth, oo, g**2),
                ],
                "The four coefficients with g = k^2 lambda mu d, e = k (lambda b + mu c + d) - g, f = k mu "
                "d, h = k lambda d: the sum of their squares is |Y_l|_F^2/rho^(2l).",
            ),
            Claim(
                "rank gap",
                _BLOCKS,
                [Tends("it closes like l^-3", depth**3 * MINOR / _FROBENIUS, depth, oo, _CLOSES)],
                [
                    _g_not_zero,
                    Identity("k^2/(k^2 lambda mu)^2", _CLOSES, 1 / (k * lam * mu) ** 2),
                    Tends("the quotient", depth**3 * MINOR / _FROBENIUS, depth, oo, _CLOSES),
                ],
                "1/(k lambda mu)^2 is rho^2/(lambda mu)^2. sigma_2/sigma_1 = |det Y|/sigma_1^2 and "
                "sigma_1^2/|Y|_F^2 = 1/(1 + (sigma_2/sigma_1)^2) -> 1, so in orthonormal chains l^3 "
                "sigma_2/sigma_1 has this limit. In others sigma_1 sigma_2 = |v_1 ^ v_2| |z_1 ^ z_2| |det "
                "Y| and sigma_1 ~ |y11| |v_1| |z_1|: the limit times |v_1 ^ v_2| |z_1 ^ z_2| / (|v_1| "
                "|z_1|)^2. Modes of smaller |rho| move singular values by at most their norm (Weyl), "
                "geometrically less than sigma_2.",
            ),
        ),
        _block_second,
    ),
    Statement(
        "defective.similarity_limit",
        "A dominant Jordan block of size two of A at lambda != 1, mu simple and not zero: token diversity "
        "tends to |Pi_perp v|^2/|v|^2, v the eigenvector, like 1/l in general; where Pi v = 0, as l^-2.",
        r"l\left(t_{\mathrm{div}} - \tfrac{\|\Pi_\perp v_1\|^2}{\|v_1\|^2}\right) \to "
        r"\frac{2\rho}{\mu}\,\frac{\langle\Pi_\perp v_1, \Pi_\perp v_2\rangle\|v_1\|^2 - \|\Pi_\perp "
        r"v_1\|^2\langle v_1, v_2\rangle}{\|v_1\|^4}",
        "derived here",
        (
            _divided(
                "The part of X is (a v_1 + b v_2) z, and A (a v_1 + b v_2) = (lambda a + b) v_1 + lambda b "
                "v_2: a layer maps (a, b) to (rho a + mu b, rho b). With w = mu b and y = a + l k mu b, X_l "
                "= rho^l ((a + l k mu b) v_1 + b v_2) z by induction. Divided by b, not zero for generic "
                "X_0, and with c = a/b, this is along (c + l k mu) v_1 + v_2."
            ),
            Claim(
                "limit",
                _GRAM,
                [Tends("the leading coefficients", _ABOVE / _BELOW, depth, oo, P1 / G1)],
                [_m_not_zero, Tends("the leading coefficients", _ABOVE / _BELOW, depth, oo, P1 / G1)],
                "t_div = |Pi_perp x|^2/|x|^2 with x = w v_1 + v_2, w = c + l k mu: a quotient of quadratic "
                "polynomials of w with P1 = |Pi_perp v_1|^2, P12 = <Pi_perp v_1, Pi_perp v_2>, P2 = "
                "|Pi_perp v_2|^2 and G1, G12, G2 the same without Pi_perp. Modes of smaller |rho| add what "
                "vanishes geometrically.",
            ),
            Claim(
                "like 1/l",
                _GRAM
                | {
                    "P12 G1 - P1 G12 = J": Eq(P12 * G1 - P1 * G12, J),
                    "P2 G1 - P1 G2 = K": Eq(P2 * G1 - P1 * G2, K),
                    "J != 0": Ne(J, 0),
                },
                [
                    equal(_ABOVE * G1 - P1 * _BELOW, 2 * _W * J + K),
                    Tends("the distance", _DISTANCE, depth, oo, 2 * J / (k * mu * G1**2)),
                    Ne(2 * J / (k * mu * G1**2), 0),
                ],
                [
                    Sign("the leading coefficient below", k**2 * mu**2 * G1**2, ">"),
                    Sign(
                        "what is of degree two cancels",
                        _ABOVE * G1 - P1 * _BELOW - 2 * _W * J - K,
                        "==",
                        plus(times(2 * _W, P12 * G1 - P1 * G12 - J), P2 * G1 - P1 * G2 - K),
                    ),
                    Sign("the limit is not zero", 2 * J / (k * mu * G1**2), "!="),
                    Tends("the distance", _DISTANCE, depth, oo, 2 * J / (k * mu * G1**2)),
                ],
                "t_div - P1/G1 is the difference shown first over G1 |x|^2, and l times it is what has the "
                "limit, ``SLOPE``; k mu = mu/rho. The limit is zero only if P12 G1 = P1 G12.",
            ),
            Claim(
                "without a mean",
                _GRAM | {"P1 = G1": Eq(P1, G1), "P12 = G12": Eq(P12, G12), "G2 - P2 = K": Eq(G2 - P2, K)},
                [
                    equal(_BELOW - _ABOVE, K),
                    Tends("token similarity", depth**2 * K / _BELOW, depth, oo, K / (k**2 * mu**2 * G1)),
                ],
                [
                    Sign("only the last terms differ", _BELOW - _ABOVE - K, "==", G2 - P2 - K),
                    _m_not_zero,
                    Tends("over a square", depth**2 * K / _BELOW, depth, oo, K / (k**2 * mu**2 * G1)),
                ],
                "Pi v_1 = 0 makes P1 = G1 and <Pi v_1, Pi v_2> = G12 - P12 = 0; K = |Pi v_2|^2, and t_sim = "
                "1 - t_div is K over |x|^2. If that is zero as well (A doubly stochastic), the block leaves "
                "no mean at all and t_sim closes geometrically.",
            ),
        ),
        _similarity_second,
    ),
    Statement(
        "defective.similarity_limit_square",
        "A dominant Jordan block of size two of A makes token diversity tend to its limit like 1/l, whatever "
        "A and X_0.",
        r"l\,(t_{\mathrm{div}} - \lim t_{\mathrm{div}}) \to C \ne 0",
        "derived here",
        (
            Claim(
                "one more layer",
                {"mu = -1": Eq(mu, -1)},
                [
                    equal(left, right)
                    for left, right in zip(
                        _SQUARE_X + mu * _SQUARE_A * _SQUARE_X,
                        Rational(5, 4) * _SQUARE_X.subs(depth, depth + 1),
                        strict=True,
                    )
                ],
                [
                    Identity("rows of A sum to 1", _SQUARE_A * Matrix([1, 1, 1]), Matrix([1, 1, 1])),
                    Identity(
                        "v_1 has the eigenvalue -1/4", _SQUARE_A * Matrix([1, -1, 0]), -Matrix([1, -1, 0]) / 4
                    ),
                    Identity(
                        "v_2 completes the block",
                        _SQUARE_A * Matrix([1, 1, -1]),
                        -Matrix([1, 1, -1]) / 4 + Matrix([1, -1, 0]) / 8,
                    ),
                    Identity(
                        "X_0 holds all three", Matrix([3, 1, 0]), Matrix([1, 1, 1]) + _SQUARE_X.subs(depth, 0)
                    ),
                    Identity(
                        "a layer",
                        _SQUARE_X + mu * _SQUARE_A * _SQUARE_X,
                        Rational(5, 4) * _SQUARE_X.subs(depth, depth + 1),
                    ),
                ],
                "mu = -1: rho = 0 at lambda = 1, so the constant part is gone after one layer, and rho = "
                "5/4 at the block of size two at lambda = -1/4. X_l = (5/4)^l (2 - l/10, l/10, -1) for l >= "
                "1 by induction.",
            ),
            Claim(
                "token similarity",
                {"t |X|^2 = |Pi X|^2": Eq(t_sim * _SQUARE_SIZE, sum(_SQUARE_X) ** 2 / 3)},
                [equal(3 * t_sim * (depth**2 - 20 * depth + 250), 50)],
                [
                    Identity("the sum of the tokens stays", sum(_SQUARE_X), 1),
                    Sign(
                        "150 times the relation",
                        3 * t_sim * (depth**2 - 20 * depth + 250) - 50,
                        "==",
                        times(150, plus(t_sim * _SQUARE_SIZE, -(sum(_SQUARE_X) ** 2) / 3)),
                    ),
                ],
                "(5/4)^(2l) cancels.",
            ),
            Claim(
                "faster",
                {},
                [
                    Tends("l^-2", depth**2 * 50 / (depth**2 - 20 * depth + 250), depth, oo, 50),
                    Tends("the limit of l t", depth * 50 / (depth**2 - 20 * depth + 250), depth, oo, 0),
                ],
                [
                    Identity("it is positive", depth**2 - 20 * depth + 250, plus((depth - 10) ** 2, 150)),
                    Tends("l^-2", depth**2 * 50 / (depth**2 - 20 * depth + 250), depth, oo, 50),
                    Tends("the limit of l t", depth * 50 / (depth**2 - 20 * depth + 250), depth, oo, 0),
                ],
                "3 t_sim is 50 over this polynomial, so t_div tends to 1 and l (t_div - 1) to 0; see "
                "similarity_limit, without a mean. The same holds for every X_0 with another coefficient of "
                "v_1.",
            ),
        ),
        _square_second,
        counterexample=r"A = \tfrac1{32}\begin{pmatrix}3&11&18\\9&1&22\\10&10&12\end{pmatrix},\; H = (-1),\; "
        r"X_0 = (3, 1, 0)^\top:\; t_{\mathrm{sim}} = \frac{50}{3 (l^2 - 20 l + 250)}",
    ),
    Statement(
        "defective.still_geometric",
        "If lambda = 1 dominates with a Jordan block of H alone (A diagonalizable), token diversity still "
        "closes geometrically up to powers of l; so does the rank gap wherever A or H has no block at the "
        "dominant pair.",
        r"t_{\mathrm{div}}(l) \le \left(\tfrac{C}{c_0}\right)^2 (1+l)^2 q^{2l} \to 0",
        "derived here",
        (
            Claim(
                "bound",
                _GEOMETRIC,
                [D**2 * (c0 * large) ** 2 <= (C * (1 + depth) * small) ** 2 * N**2],
                [
                    Sign("N is positive", N, ">", plus(N - c0 * large, c0 * large)),
                    Sign(
                        "both chains of bounds",
                        C * (1 + depth) * small * N - D * c0 * large,
                        ">=",
                        plus(times(C * (1 + depth) * small - D, N), times(D, N - c0 * large)),
                    ),
                    Sign("the smaller is not negative", D * c0 * large, ">=", times(D, c0 * large)),
                    Sign(
                        "nor is the larger",
                        C * (1 + depth) * small * N,
                        ">=",
                        plus(C * (1 + depth) * small * N - D * c0 * large, D * c0 * large),
                    ),
                    Sign(
                        "squares",
                        (C * (1 + depth) * small) ** 2 * N**2 - D**2 * (c0 * large) ** 2,
                        ">=",
                        times(
                            C * (1 + depth) * small * N - D * c0 * large,
                            plus(C * (1 + depth) * small * N, D * c0 * large),
                        ),
                    ),
                ],
                "D = |Pi_perp X_l|, N = |X_l|, r_l = r^l and R_l = R^l with R = |1 + mu| and r the largest "
                "other modulus, q = r/R; t_div = D^2/N^2. D <= |Z_l| for Z = X - 1 pi^T X, a sum of modes "
                "lambda != 1, each at most a constant times (1 + l) r^l (by the closed form of "
                "chain_weights; r > 0 may be taken); blocks of size q give (1 + l)^(q-1) in the same way. N "
                ">= c_0 R^l: pi^T X_l has the coefficient b R^l of z_2 exactly, in modulus, and |pi^T X_l| "
                "<= |pi| |X_l|.",
            ),
            Claim(
                "cubic Bernoulli",
                {"p > 0": p > 0, "l >= 2": depth >= 2, "T >= cubic": _cubic(depth) <= T},
                [T * (1 + p) >= _cubic(depth + 1)],
                [
                    Identity(
                        "times 1 + p: the form at l + 1, and a remainder",
                        _cubic(depth) * (1 + p),
                        _cubic(depth + 1) + depth * (depth - 1) * (depth - 2) * p**4 / 6,
                    ),
                    Sign("l is positive", depth, ">", plus(depth - 2, 2)),
                    Sign("so is l - 1", depth - 1, ">", plus(depth - 2, 1)),
                    Sign(
                        "the remainder is not negative",
                        T * (1 + p) - _cubic(depth + 1),
                        ">=",
                        plus(
                            times(T - _cubic(depth), 1 + p),
                            times(Rational(1, 6), depth, depth - 1, depth - 2, p**4),
                        ),
                    ),
                ],
                "(1+p)^l is at least 1 + l p + l (l-1)/2 p^2 + l (l-1) (l-2)/6 p^3: with equality at l = 2, "
                "and if at l, then at l + 1.",
            ),
            Claim(
                "limit",
                {"x > 0": x > 0, "x < 1": x < 1},
                [Tends("a square times a geometric sequence", (1 + depth) ** 2 * x**depth, depth, oo, 0)],
                [Tends("a square times a geometric sequence", (1 + depth) ** 2 * x**depth, depth, oo, 0)],
                "x = q^2, and 1/x = 1 + p: for l >= 4 the cubic bound makes (1+l)^2 x^l < 25/(l p^3).",
            ),
            Claim(
                "rank gap",
                _RANKS,
                [s1 > 0, s2 * lead <= 2 * rest * s1],
                [
                    Sign("the leading part wins", lead - rest, ">", plus(lead - 2 * rest, rest)),
                    Sign("sigma_1 is positive", s1, ">", plus(s1 - (lead - rest), lead - rest)),
                    Sign("lead is positive", lead, ">", plus(lead - 2 * rest, 2 * rest)),
                    Sign(
                        "at least half of the leading part is in sigma_1",
                        2 * s1 - lead,
                        ">",
                        plus(2 * (s1 - lead + rest), lead - 2 * rest),
                    ),
                    Sign(
                        "clear the denominators",
                        2 * rest * s1 - s2 * lead,
                        ">=",
                        plus(times(rest, 2 * s1 - lead), times(rest - s2, lead)),
                    ),
                ],
                "X = L + E with L = v r of rank one and norm lead, E of norm rest: |sigma_i(X) - "
                "sigma_i(L)| <= |E| (Weyl), sigma_2(L) = 0. lead >= c R^l and rest <= C (1 + l)^k r^l, so "
                "sigma_2/sigma_1 <= 2 (C/c) (1 + l)^k q^l as soon as this is below 1. 1 - |cos| between "
                "rows is at most 1 - cos^2 = (minor of the two rows)^2 over the squares of their norms, and "
                "closes in the same way where v has no zero entry.",
            ),
            Claim(
                "two tokens",
                _SAME_BLOCK,
                [
                    Tends(
                        "both grow like l^2", _MEAN / _DIVERSE, depth, oo, (b * r) ** 2 / (lam * d * R) ** 2
                    ),
                    (b * r) ** 2 / (lam * d * R) ** 2 > 0,
                ],
                [
                    Sign("what grows below", (lam * d * R) ** 2, ">"),
                    Sign("the limit is positive", (b * r) ** 2 / (lam * d * R) ** 2, ">"),
                    Tends(
                        "both grow like l^2", _MEAN / _DIVERSE, depth, oo, (b * r) ** 2 / (lam * d * R) ** 2
                    ),
                ],
                "n = d = 2, A symmetric with eigenvalues 1 and lambda, H = (mu, 0; 1, mu), r = 1 + lambda "
                "mu, R = 1 + mu, x = (r/R)^2 = q^2. By chain_weights the mean part is R^l (a + l b/R, b), "
                "the diverse part r^l (c + l lambda d/r, d), so x^l/t_div is their quotient and x^l, which "
                "vanishes: t_div/q^(2l) has a limit and no power of l is left, because the block of H is "
                "shared by both lambda.",
            ),
        ),
        _geometric_second,
    ),
    Statement(
        "defective.zero_block",
        "If mu = 0 with a Jordan block of size two of H dominates and A has another eigenvalue that is not "
        "zero, all lambda tie, token diversity does not close, and sigma_2/sigma_1 closes like 1/l.",
        r"X_l = X_0 + l\,A X_0 H,\quad t_{\mathrm{div}} \to \frac{\lambda^2\beta^2}{\alpha^2 + "
        r"\lambda^2\beta^2},\quad l\,\tfrac{\sigma_2}{\sigma_1} \to "
        r"\frac{|\alpha\beta|(1-\lambda)}{\alpha^2 + \lambda^2\beta^2}",
        "derived here",
        (
            Claim(
                "one more layer",
                {},
                [
                    equal(ga + depth * al + al, ga + (depth + 1) * al),
                    equal(de + depth * lam * be + lam * be, de + (depth + 1) * lam * be),
                ],
                [
                    Identity(
                        "H moves the first column to the second, A multiplies by its eigenvalues",
                        _ZERO + sympy.diag(1, lam) * _ZERO * _NILPOTENT,
                        _ZERO.subs(depth, depth + 1),
                    )
                ],
                "H = (0, 1; 0, 0), H^2 = 0: X_l = X_0 + l A X_0 H for every A and every size, by induction. "
                "For two tokens and symmetric A = ((1+lambda)/2, (1-lambda)/2; ...), the first column of "
                "X_0 is alpha (1,1) + beta (1,-1), the second gamma (1,1) + delta (1,-1). For any A, the "
                "first column being sum_i beta_i v_i, X_l/l tends to (sum_i lambda_i beta_i v_i) z: t_div "
                "tends to that of this vector, positive if some lambda_i != 0 besides lambda = 1; other mu "
                "only add what vanishes geometrically.",
            ),
            Claim(
                "token diversity",
                {"beta != 0": Ne(be, 0), "lambda != 0": Ne(lam, 0)},
                [
                    Tends("it has a limit", _ZERO_T, depth, oo, lam**2 * be**2 / _ZERO_SQUARE),
                    lam**2 * be**2 / _ZERO_SQUARE > 0,
                ],
                [
                    Sign("what grows in the diverse part", lam**2 * be**2, ">"),
                    Sign("what grows in all", _ZERO_SQUARE, ">"),
                    Sign("the limit is positive", lam**2 * be**2 / _ZERO_SQUARE, ">"),
                    Tends("terms with l^2", _ZERO_T, depth, oo, lam**2 * be**2 / _ZERO_SQUARE),
                ],
                "t_div = |Pi_perp X|^2/|X|^2; (1,1) and (1,-1) are orthogonal and of one length, which "
                "cancels.",
            ),
            Claim(
                "minor",
                {},
                [equal(_ZERO[0, 0] * _ZERO[1, 1] - _ZERO[0, 1] * _ZERO[1, 0], _ZERO_MINOR)],
                [
                    Identity(
                        "l alpha beta lambda - l alpha beta",
                        _ZERO[0, 0] * _ZERO[1, 1] - _ZERO[0, 1] * _ZERO[1, 0],
                        _ZERO_MINOR,
                    )
                ],
                "In the orthonormal basis (1,1)/sqrt 2, (1,-1)/sqrt 2 the coefficients are these times sqrt "
                "2: sigma_1 sigma_2 = 2 |minor| and |X|_F^2 = 2 (sum of squares).",
            ),
            Claim(
                "rank gap",
                {"alpha != 0": Ne(al, 0), "beta != 0": Ne(be, 0), "lambda != 1": Ne(lam, 1)},
                [
                    Tends(
                        "it closes like 1/l",
                        depth * _ZERO_MINOR / _ZERO_SIZE,
                        depth,
                        oo,
                        -al * be * (1 - lam) / _ZERO_SQUARE,
                    ),
                    Ne(al * be * (1 - lam), 0),
                ],
                [
                    Sign("what grows in all", _ZERO_SQUARE, ">"),
                    Sign("what grows in the minor", al * be * (1 - lam), "!="),
                    Tends(
                        "one power of l against two",
                        depth * _ZERO_MINOR / _ZERO_SIZE,
                        depth,
                        oo,
                        -al * be * (1 - lam) / _ZERO_SQUARE,
                    ),
                ],
                "sigma_2/sigma_1 = sigma_1 sigma_2/|X|_F^2 times |X|_F^2/sigma_1^2, and the last factor "
                "tends to 1. lambda < 1 as lambda = 1 is a simple eigenvalue of A.",
            ),
        ),
        _zero_second,
    ),
    Statement(
        "defective.zero_block_uniform",
        "If mu = 0 with a Jordan block of H dominates, token diversity does not close.",
        r"t_{\mathrm{div}} \not\to 0",
        "derived here",
        (
            Claim(
                "one more layer",
                {
                    "x11 = 1": Eq(x11, 1),
                    "x21 = 0": Eq(x21, 0),
                    "x12 = l/2": Eq(x12, depth / 2),
                    "x22 = 1 + l/2": Eq(x22, 1 + depth / 2),
                },
                [
                    equal(x12 + (x11 + x21) / 2, (depth + 1) / 2),
                    equal(x22 + (x11 + x21) / 2, 1 + (depth + 1) / 2),
                ],
                [
                    Identity("at layer 0", sympy.Subs(1 + depth / 2, depth, 0), 1),
                    Identity(
                        "a layer",
                        _UNIFORM + _HALVES * _UNIFORM * _NILPOTENT,
                        _UNIFORM.subs(depth, depth + 1),
                    ),
                ],
                "A has both rows (1/2, 1/2) and H moves the first column to the second: X_l = (1, l/2; 0, 1 "
                "+ l/2) by induction. mu = 0 is the only weight eigenvalue, with a block of size two, and "
                "every rho is 1: all modes tie. In (1,1), (1,-1) the coefficients of X_0 are 1/2, 1/2; 1/2, "
                "-1/2, none of them zero.",
            ),
            Claim(
                "token diversity",
                {"t |X|^2 = |Pi_perp X|^2": Eq(t_div * _UNIFORM_SIZE, _UNIFORM_DIVERSE)},
                [equal(t_div * (depth**2 + 2 * depth + 4), 2)],
                [
                    Identity("the diverse part stays", _UNIFORM_DIVERSE, 1),
                    Identity("the whole grows", _UNIFORM_SIZE, (depth**2 + 2 * depth + 4) / 2),
                    Sign(
                        "twice the relation",
                        t_div * (depth**2 + 2 * depth + 4) - 2,
                        "==",
                        times(2, plus(t_div * _UNIFORM_SIZE, -_UNIFORM_DIVERSE)),
                    ),
                ],
                "Rows (1, l/2) and (0, 1 + l/2); Pi_perp X has the rows (1/2, -1/2) and (-1/2, 1/2).",
            ),
            Claim(
                "it closes",
                {},
                [Tends("like l^-2", depth**2 * 2 / (depth**2 + 2 * depth + 4), depth, oo, 2)],
                [Tends("like l^-2", depth**2 * 2 / (depth**2 + 2 * depth + 4), depth, oo, 2)],
                "t_div = 2/(l^2 + 2 l + 4) tends to zero.",
            ),
        ),
        _uniform_second,
        counterexample=r"A = \tfrac12\begin{pmatrix}1&1\\1&1\end{pmatrix},\; H = "
        r"\begin{pmatrix}0&1\\0&0\end{pmatrix},\; X_0 = \begin{pmatrix}1&0\\0&1\end{pmatrix}:\; "
        r"t_{\mathrm{div}} = \frac{2}{l^2+2l+4}",
    ),
    Statement(
        "defective.tied",
        "A Jordan block of H at a dominant pair with lambda = 1 that ties in modulus with a simple pair at "
        "another lambda: tokens converge, and token diversity closes like a power of l, l^-2 for a block of "
        "size two.",
        r"\lambda \in \{1, -\tfrac12\},\; H = J_2(2) \oplus (-4):\quad l^2\, t_{\mathrm{div}} \to 9\, "
        r"e_3^2/c_1^2",
        "derived here",
        (
            Claim(
                "the mean",
                {"lambda = 1": Eq(lam, 1)},
                [
                    equal(left, right)
                    for left, right in zip(_MEAN_ROW + lam * _MEAN_ROW * _TIED_H, _MEAN_NEXT, strict=True)
                ],
                [Identity("c <- c (1 + H)", _MEAN_ROW + lam * _MEAN_ROW * _TIED_H, _MEAN_NEXT)],
                "Two tokens, A = (1, 3; 3, 1)/4 with eigenvalues 1 and -1/2 at (1,1) and (1,-1): X_l = "
                "(1,1)^T c_l + (1,-1)^T e_l, a layer is c <- c (1 + H) and e <- e (1 - H/2). With P = 3^l, "
                "S = (-3)^l, c_l = (P c1, P (c2 + l c1/3), S c3) by induction from l = 0.",
            ),
            Claim(
                "the rest",
                {"lambda = -1/2": Eq(lam, -Rational(1, 2))},
                [
                    equal(e1 + lam * 2 * e1, 0),
                    equal(e2 + lam * (e1 + 2 * e2), -e1 / 2),
                    equal(e2 + lam * 2 * e2, 0),
                    equal(e3 - lam * 4 * e3, 3 * e3),
                ],
                [
                    Identity(
                        "the eigenvalues of A",
                        _TIED_A * Matrix([[1, 1], [1, -1]]),
                        Matrix([[1, 1], [1, -1]]) * sympy.diag(1, lam),
                    ),
                    Identity(
                        "e <- e (1 - H/2)",
                        Matrix([[e1, e2, e3]]) * (sympy.eye(3) + lam * _TIED_H),
                        Matrix([[0, -e1 / 2, 3 * e3]]),
                    ),
                    Identity(
                        "and once more",
                        Matrix([[0, -e1 / 2, 3 * e3]]) * (sympy.eye(3) + lam * _TIED_H),
                        Matrix([[0, 0, 9 * e3]]),
                    ),
                ],
                "1 - H/2 has a nilpotent block beside 3: from the second layer on e_l = (0, 0, 3^l e3).",
            ),
            Claim(
                "same size",
                {"S^2 = P^2": Eq(turned**2, power**2)},
                [equal(_TIED_WHOLE, power**2 * _TIED_SUM)],
                [
                    Sign(
                        "(-3)^l and 3^l have one modulus",
                        _TIED_WHOLE - power**2 * _TIED_SUM,
                        "==",
                        c3**2 * (turned**2 - power**2),
                    )
                ],
                "(1,1) and (1,-1) are orthogonal and of one length: t_div = |e_l|^2/(|c_l|^2 + |e_l|^2), "
                "where 9^l cancels: t_div = e3^2/(c1^2 + (c2 + l c1/3)^2 + c3^2 + e3^2) for l >= 2.",
            ),
            Claim(
                "powers of l",
                {"c1 != 0": Ne(c1, 0)},
                [Tends("l^-2", depth**2 * e3**2 / _TIED_SUM, depth, oo, 9 * e3**2 / c1**2)],
                [
                    Sign("the coefficient of l^2", c1**2 / 9, ">"),
                    Tends("l^-2", depth**2 * e3**2 / _TIED_SUM, depth, oo, 9 * e3**2 / c1**2),
                ],
                "c1 and e3 are not zero for generic X_0.",
            ),
            Claim(
                "any such tie",
                {"s != 0": Ne(s, 0), "b != 0": Ne(b, 0)},
                [Tends("l^-2", depth**2 * e**2 / _ANY_SUM, depth, oo, e**2 / (s * b) ** 2)],
                [
                    Sign("the coefficient of l^2", (s * b) ** 2, ">"),
                    Tends("l^-2", depth**2 * e**2 / _ANY_SUM, depth, oo, e**2 / (s * b) ** 2),
                ],
                "In general the mean is R^l (a + l s b, b, ...) with s = 1/rho by chain_weights, the "
                "diverse part R^l e with e the norm of the tied modes (between two positive constants if "
                "several turn against each other), and f gathers the squares that do not grow. A block of "
                "size q gives l^(-2(q-1)).",
            ),
        ),
        _tied_second,
    ),
)
