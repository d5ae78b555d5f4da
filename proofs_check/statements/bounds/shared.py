r"""Upper and lower bounds of every gap at a finite depth, with each of their constants.

A state is X_l = V Y_l Z: unit columns v_i of V, rows z_j of Z, duals u_i (rows of U = V^-1) and w_j
(columns of W = Z^-1), and coefficients Y_l = rho^l o (U X_0 W) entry by entry.  ||.|| is the norm of
Frobenius, |.| that of a vector or a modulus, |.|_2 the largest singular value.  Everything is reduced to
a few numbers in the same way: norms do not change under orthonormal (unitary) changes of basis, two
vectors span a plane, complex vectors are real ones of twice the dimension with the same norms, and two
matrices of one size are two vectors.  Where a length of zero would be divided by, it is taken positive:
the other case follows by continuity.

>>> TERM
N**2/(2*a*q)
>>> COST
b*g + b + g
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times

__all__ = ["COST", "STATEMENTS", "TERM"]

a, b, c, d, e, f, g, h, j, k, m, n = sympy.symbols("a b c d e f g h j k m n", real=True)
p, q, r, s, t, u, v, w, x, y, z = sympy.symbols("p q r s t u v w x y z", real=True)
a1, a2, b1, b2, p1, p2, p3, p4, q1, q2, q3, q4 = sympy.symbols(
    "a1 a2 b1 b2 p1 p2 p3 p4 q1 q2 q3 q4", real=True
)
g1, g2, k1, k2, r1, r2, s1, s2, u1, u2, u3 = sympy.symbols("g1 g2 k1 k2 r1 r2 s1 s2 u1 u2 u3", real=True)
w1, w2, w3, x1, x2, x3, y1, y2, y3, y4 = sympy.symbols("w1 w2 w3 x1 x2 x3 y1 y2 y3 y4", real=True)
h_up, h_low, p_up, p_low = sympy.symbols("h_up h_low p_up p_low", real=True)
B, C, D, F, G, K, L, M, N, P, T, Y = sympy.symbols("B C D F G K L M N P T Y", real=True)
depth = sympy.Symbol("l", real=True)

#: ||(Sq)(alpha^T S (I - P_q))|| / (|q|^2 |alpha|^2) at most, for a = |alpha|, q = |q|, N = ||S||
TERM = N**2 / (2 * a * q)
#: cost, in units of ||S||, of exchanging two projections for others at distances b and g
COST = b + g + b * g


def _root(says: str, larger: sympy.Expr, smaller: sympy.Expr) -> Sign:
    """Take roots: of two numbers the one with the larger square is larger if it is positive."""
    form = times(plus((larger - smaller) ** 2, larger**2 - smaller**2), 1 / (2 * larger))
    return Sign(says, larger - smaller, ">=", form)


def _over(z3: Any, bottom: Any, left: Any, right: Any) -> Any:
    """Say left/bottom <= right/bottom without dividing, for a bottom of either sign; nothing for 0."""
    return z3.Or(bottom == 0, z3.And(bottom > 0, left <= right), z3.And(bottom < 0, left >= right))


# ---------------------------------------------------------------- norms


def _norms(z3: Any) -> dict[str, Query]:
    p, x, y, e, m, a, b, s, t = z3.Reals("p x y e m a b s t")
    side = x * x + y * y <= e * e
    return {
        "triangle": Query(
            {
                "p >= 0": p >= 0,
                "e > 0": e > 0,
                "x^2 + y^2 <= e^2": side,
                "m^2 <= (p+x)^2 + y^2": m * m <= p * p + 2 * p * x + x * x + y * y,
            },
            z3.Not(m > p + e),
        ),
        "reverse triangle": Query(
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": side,
                "(p+x)^2 + y^2 <= m^2": m * m >= p * p + 2 * p * x + x * x + y * y,
            },
            m + e >= p,
        ),
        "Cauchy-Schwarz": Query(
            {},
            a * a * x * x + 2 * a * b * x * y + b * b * y * y
            <= a * a * x * x + a * a * y * y + b * b * x * x + b * b * y * y,
        ),
        "operator norm": Query(
            {"0 <= t": t >= 0, "t <= s": s - t >= 0},
            s * s * a * a + t * t * b * b <= s * s * a * a + s * s * b * b,
        ),
    }


NORMS = Statement(
    "bounds.norms",
    "Norms, as all bounds use them: |p + e| lies between |p| - |e| and |p| + |e|, |x.y| <= |x| |y|, and "
    "|M x| <= |M|_2 |x|, so |M N|_2 <= |M|_2 |N|_2 and ||M N K|| <= |M|_2 ||N|| |K|_2; a projection "
    "makes nothing longer.",
    r"|p| - |e| \le |p + e| \le |p| + |e|,\quad (x \cdot y)^2 \le |x|^2 |y|^2,\quad |Mx| \le |M|_2 |x|",
    "derived here (classical)",
    (
        Claim(
            "triangle",
            {
                "p >= 0": p >= 0,
                "e > 0": e > 0,
                "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2,
                "m^2 <= (p+x)^2 + y^2": m**2 <= (p + x) ** 2 + y**2,
            },
            [m <= p + e],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                _root("take roots", e, x),
                Sign(
                    "compare the squares",
                    (p + e) ** 2 - m**2,
                    ">=",
                    plus((p + x) ** 2 + y**2 - m**2, e**2 - x**2 - y**2, 2 * p * (e - x)),
                ),
                Sign("the sum of the lengths is positive", p + e, ">"),
                _root("take roots", p + e, m),
            ],
            "Two vectors lie in a plane; its first axis along the first of them, they are (p, 0) with "
            "p >= 0 and (x, y). e is the length of the second, m that of the sum. Longer sums: one "
            "vector at a time. Frobenius' norm is the length of the list of all entries (real and "
            "imaginary parts), so the same holds for matrices.",
        ),
        Claim(
            "reverse triangle",
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2,
                "(p+x)^2 + y^2 <= m^2": (p + x) ** 2 + y**2 <= m**2,
            },
            [m >= p - e],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                _root("take roots", e, -x),
                Sign(
                    "the same for the sum",
                    m**2 - (p + x) ** 2,
                    ">=",
                    plus(m**2 - (p + x) ** 2 - y**2, y**2),
                ),
                _root("take roots", m, p + x),
                Sign("add the two", m - p + e, ">=", plus(m - p - x, e + x)),
            ],
            "In the same plane.",
        ),
        Claim(
            "Cauchy-Schwarz",
            {},
            [(a * x + b * y) ** 2 <= (a**2 + b**2) * (x**2 + y**2)],
            [
                Sign(
                    "Lagrange's identity in the plane",
                    (a**2 + b**2) * (x**2 + y**2) - (a * x + b * y) ** 2,
                    ">=",
                    (a * y - b * x) ** 2,
                )
            ],
            "(a, b) and (x, y) are two vectors in the plane that they span. For complex ones turn the "
            "phase of the first until their product is real: then it is the product of the real vectors.",
        ),
        Claim(
            "operator norm",
            {"0 <= t": t >= 0, "t <= s": t <= s},
            [(s * a) ** 2 + (t * b) ** 2 <= s**2 * (a**2 + b**2)],
            [
                Sign("the larger one is not negative", s, ">=", plus(s - t, t)),
                Sign(
                    "what is lost along the second direction",
                    s**2 * (a**2 + b**2) - (s * a) ** 2 - (t * b) ** 2,
                    ">=",
                    b**2 * (s - t) * (s + t),
                ),
            ],
            "In its two orthonormal bases of singular vectors M multiplies coordinate k by sigma_k; all "
            "coordinates but the first lose as the second one here. So |M x| <= |M|_2 |x|; applied to "
            "N x, |M N|_2 <= |M|_2 |N|_2; to every column of N, ||M N|| <= |M|_2 ||N||; transposed, the "
            "same for K on the right. M = diag(rho): |M|_2 = max |rho|. A projection has s = 1, t = 0, "
            "and a vector u, as a matrix of one row, has |u|_2 = |u|.",
        ),
    ),
    _norms,
)


# ---------------------------------------------------------------- symmetric

_ENTRY = (a1 * p1 - a2 * p2 + b1 * q1 - b2 * q2) ** 2 + (a1 * p2 + a2 * p1 + b1 * q2 + b2 * q1) ** 2
_PARTS = (
    (a1**2 + a2**2) * (p1**2 + p2**2)
    + (b1**2 + b2**2) * (q1**2 + q2**2)
    + 2 * (a1 * b1 + a2 * b2) * (p1 * q1 + p2 * q2)
    - 2 * (a2 * b1 - a1 * b2) * (p2 * q1 - p1 * q2)
)
_SUMMED = (
    (a1**2 + a2**2) * P + (b1**2 + b2**2) * G + 2 * (a1 * b1 + a2 * b2) * x - 2 * (a2 * b1 - a1 * b2) * y
)


def _symmetric(z3: Any) -> dict[str, Query]:
    a1, a2, b1, b2, p1, p2, q1, q2 = z3.Reals("a1 a2 b1 b2 p1 p2 q1 q2")
    x, y, u, v, h, p, a, b, c, d, P, G = z3.Reals("x y u v h p a b c d P G")

    def product(one: Any, other: Any) -> tuple[Any, Any]:
        return one[0] * other[0] - one[1] * other[1], one[0] * other[1] + one[1] * other[0]

    def square(one: Any) -> Any:
        return one[0] * one[0] + one[1] * one[1]

    first, second = product((a1, a2), (p1, p2)), product((b1, b2), (q1, q2))
    # a conj(b), p conj(q), and the product of both
    coefficients, vectors = product((a1, a2), (b1, -b2)), product((p1, p2), (q1, -q2))
    return {
        "one entry": Query(
            {},
            square((first[0] + second[0], first[1] + second[1]))
            == square((a1, a2)) * square((p1, p2))
            + square((b1, b2)) * square((q1, q2))
            + 2 * product(coefficients, vectors)[0],
        ),
        "two modes": Query(
            {
                "|p|^2 = 1": P - 1 == 0,
                "|q|^2 = 1": G - 1 == 0,
                "Re <q, p> = 0": -x == 0,
                "Im <q, p> = 0": -y == 0,
            },
            square((a1, a2)) * P + square((b1, b2)) * G + 2 * product(coefficients, (x, y))[0]
            == a1 * a1 + a2 * a2 + b1 * b1 + b2 * b2,
        ),
        "one more layer": Query(
            {},
            square(product((x, y), (u, v))) == x * x * u * u + x * x * v * v + y * y * u * u + y * y * v * v,
        ),
        "token diversity": Query(
            {
                "h^2 = a^2 + b^2": a * a + b * b == h * h,
                "p^2 = c^2 + d^2": c * c + d * d == p * p,
                "h > 0": h > 0,
            },
            (h * h + p * p) * (a * a + b * b) == (a * a + b * b + c * c + d * d) * h * h,
        ),
    }


SYMMETRIC = Statement(
    "bounds.symmetric",
    "Orthonormal modes (symmetric A, normal H): ||Pi_perp X_l||^2 is exactly the sum of |rho_ij|^(2l) "
    "|c_ij|^2 over i >= 2, so the bound of token diversity is token diversity itself.",
    r"\|\Pi_\perp X_l\|^2 = \sum_{i \ge 2, j} |\rho_{ij}|^{2l} |c_{ij}|^2",
    "derived here",
    (
        Claim(
            "one entry",
            {},
            [sympy.Eq(_ENTRY, _PARTS)],
            [Identity("multiply out", _ENTRY, _PARTS)],
            "The modes v_i z_j^T are orthonormal, since <v_i z_j^T, v_k z_m^T> = <v_i, v_k><z_j, z_m>. "
            "p1 + i p2 and q1 + i q2 are one and the same entry of two of them, a1 + i a2 and b1 + i b2 "
            "their coefficients: the squared modulus of this entry of their sum.",
        ),
        Claim(
            "two modes",
            {
                "|p|^2 = 1": sympy.Eq(P, 1),
                "|q|^2 = 1": sympy.Eq(G, 1),
                "Re <q, p> = 0": sympy.Eq(x, 0),
                "Im <q, p> = 0": sympy.Eq(y, 0),
            },
            [sympy.Eq(_SUMMED, a1**2 + a2**2 + b1**2 + b2**2)],
            [Identity("the cross terms vanish", _SUMMED, a1**2 + a2**2 + b1**2 + b2**2)],
            "The claim before, summed over all entries: P and G are the sums of |p|^2 and |q|^2, x + iy "
            "that of p conj(q). More modes add a square each and cross terms with each of the others. v_1 = "
            "1/sqrt(n), so Pi_perp removes the modes with i = 1 and leaves the others as they are.",
        ),
        Claim(
            "one more layer",
            {},
            [sympy.Eq((x * u - y * v) ** 2 + (x * v + y * u) ** 2, (x**2 + y**2) * (u**2 + v**2))],
            [
                Identity(
                    "the modulus of a product",
                    (x * u - y * v) ** 2 + (x * v + y * u) ** 2,
                    (x**2 + y**2) * (u**2 + v**2),
                )
            ],
            "A layer multiplies the coefficient x + iy by rho = u + iv; by induction on the depth "
            "|rho^l c|^2 = |rho|^(2l) |c|^2.",
        ),
        Claim(
            "token diversity",
            {
                "h^2 = a^2 + b^2": sympy.Eq(h**2, a**2 + b**2),
                "p^2 = c^2 + d^2": sympy.Eq(p**2, c**2 + d**2),
                "h > 0": h > 0,
            },
            [sympy.Eq((a**2 + b**2) / (a**2 + b**2 + c**2 + d**2), h**2 / (h**2 + p**2))],
            [
                Sign(
                    "the norm is positive",
                    a**2 + b**2 + c**2 + d**2,
                    ">",
                    plus(h**2, p**2, -(h**2 - a**2 - b**2), -(p**2 - c**2 - d**2)),
                ),
                Sign(
                    "clear the denominators",
                    (a**2 + b**2) / (a**2 + b**2 + c**2 + d**2) - h**2 / (h**2 + p**2),
                    "==",
                    times(
                        plus((a**2 + b**2) * (p**2 - c**2 - d**2), -(c**2 + d**2) * (h**2 - a**2 - b**2)),
                        1 / ((a**2 + b**2 + c**2 + d**2) * (h**2 + p**2)),
                    ),
                ),
            ],
            "a, b are moduli of coefficients of rows i >= 2 and c, d of row 1; more coefficients, more "
            "squares. Both Gram matrices are the identity, so the bound h of bounds.gram is the length of "
            "the rows i >= 2; |W|_2 = 1 and v_1 is orthogonal to the other v_i, so the bound p of "
            "bounds.lead is the length of row 1. Hence h^2/(h^2 + p^2) is the share of the diverse part in "
            "||X||^2. (h = 0: both sides are 0.)",
        ),
    ),
    _symmetric,
)


# ---------------------------------------------------------------- condition


def _condition(z3: Any) -> dict[str, Query]:
    r, t, K, a, b, x, s, y, c, d = z3.Reals("r t K a b x s y c d")
    w1, w2, w3, x1, x2, x3, m = z3.Reals("w1 w2 w3 x1 x2 x3 m")
    f, e, g, B, w, F = z3.Reals("f e g B w F")
    weighted = w1 * x1 + w2 * x2 + w3 * x3
    rest = (1 - 3 * w1) * (x1 - m) + (1 - 3 * w2) * (x2 - m) + (1 - 3 * w3) * (x3 - m)
    return {
        "largest factor": Query(
            {"0 <= r": r >= 0, "r <= K": r <= K, "0 <= t": t >= 0, "t <= K": t <= K},
            r * r * a * a + t * t * b * b <= K * K * a * a + K * K * b * b,
        ),
        "condition numbers": Query(
            {
                "0 <= s": s >= 0,
                "0 <= r": r >= 0,
                "x <= s y": s * y >= x,
                "y <= r c": r * c >= y,
                "c <= t d": t * d >= c,
            },
            x <= s * t * r * d,
        ),
        "row mean": Query(
            {"w1 + w2 + w3 = 1": 1 - w1 - w2 == w3},
            x1 + x2 + x3 == 3 * weighted + rest,
        ),
        "constant part": Query(
            {
                "w > 0": w > 0,
                "r > 0": r > 0,
                "F <= f w": f * w >= F,
                "f - e <= m": m + e >= f,
                "e <= g B": g * B >= e,
            },
            _over(z3, w, r * F, r * m * w + r * g * B * w),
        ),
    }


CONDITION = Statement(
    "bounds.condition",
    "Diagonalizable A and H: ||Pi_perp X_l|| <= B_l := kappa_2(V) kappa_2(W) max_(i >= 2, j) |rho_ij|^l "
    "||X_0 - 1 pi^T X_0||, and ||Pi X_l|| >= sqrt(n) max_j |rho_1j|^l |pi^T X_0 w_j| / |w_j| - "
    "sqrt(n) |1/n - pi| B_l.",
    r"\|\Pi_\perp X_l\| \le B_l = \kappa_2(V) \kappa_2(W) \max_{i \ge 2, j} |\rho_{ij}|^l"
    r"\, \|X_0 - 1 \pi^T X_0\|,\quad \|\Pi X_l\| \ge \sqrt{n} \max_j |\rho_{1j}|^l"
    r" \frac{|\pi^T X_0 w_j|}{|w_j|} - \sqrt{n}\, |1/n - \pi|\, B_l",
    "derived here",
    (
        Claim(
            "largest factor",
            {"0 <= r": r >= 0, "r <= K": r <= K, "0 <= t": t >= 0, "t <= K": t <= K},
            [(r * a) ** 2 + (t * b) ** 2 <= K**2 * (a**2 + b**2)],
            [
                Sign("the largest factor is not negative", K, ">=", plus(K - r, r)),
                Sign(
                    "entry by entry",
                    K**2 * (a**2 + b**2) - (r * a) ** 2 - (t * b) ** 2,
                    ">=",
                    plus(a**2 * (K - r) * (K + r), b**2 * (K - t) * (K + t)),
                ),
            ],
            "a, b are moduli of two coefficients of X_0 - 1 pi^T X_0, r and t the l-th powers of the moduli "
            "of their factors, K the largest; more entries, more terms. So ||Y_l|| <= K ||Y_0||.",
        ),
        Claim(
            "condition numbers",
            {
                "0 <= s": s >= 0,
                "0 <= r": r >= 0,
                "x <= s y": x <= s * y,
                "y <= r c": y <= r * c,
                "c <= t d": c <= t * d,
            },
            [x <= s * t * r * d],
            [
                Sign(
                    "put one into the other",
                    s * t * r * d - x,
                    ">=",
                    plus(s * y - x, s * (r * c - y), s * r * (t * d - c)),
                )
            ],
            "X_l - 1 pi^T X_l = V Y_l Z, where Y_l = rho^l o Y_0 and Y_0 = U (X_0 - 1 pi^T X_0) W is zero in "
            "its first row, since u_1 is a multiple of pi. x = ||Pi_perp X_l|| = ||Pi_perp V Y_l Z|| <= "
            "||V Y_l Z||; y = ||Y_l||, c = ||Y_0||, d = ||X_0 - 1 pi^T X_0||; s = |V|_2 |Z|_2 and "
            "t = |U|_2 |W|_2 by bounds.norms, r the largest factor. s t = |V|_2 |V^-1|_2 |W|_2 |W^-1|_2 is "
            "the product of the two condition numbers.",
        ),
        Claim(
            "row mean",
            {"w1 + w2 + w3 = 1": sympy.Eq(w1 + w2 + w3, 1)},
            [
                sympy.Eq(
                    (x1 + x2 + x3) / 3,
                    w1 * x1
                    + w2 * x2
                    + w3 * x3
                    + (sympy.Rational(1, 3) - w1) * (x1 - m)
                    + (sympy.Rational(1, 3) - w2) * (x2 - m)
                    + (sympy.Rational(1, 3) - w3) * (x3 - m),
                )
            ],
            [
                Sign(
                    "a vector common to all tokens drops out",
                    (x1 + x2 + x3) / 3
                    - (w1 * x1 + w2 * x2 + w3 * x3)
                    - (sympy.Rational(1, 3) - w1) * (x1 - m)
                    - (sympy.Rational(1, 3) - w2) * (x2 - m)
                    - (sympy.Rational(1, 3) - w3) * (x3 - m),
                    "==",
                    times(-m, w1 + w2 + w3 - 1),
                )
            ],
            "One feature of three tokens, w = pi, m the mean of the tokens (any m will do): the row mean is "
            "pi^T X + (1/n - pi)^T Pi_perp X. More tokens, more terms of the same form.",
        ),
        Claim(
            "constant part",
            {
                "w > 0": w > 0,
                "r > 0": r > 0,
                "F <= f w": f * w >= F,
                "f - e <= m": f - e <= m,
                "e <= g B": e <= g * B,
            },
            [r * m >= r * F / w - r * g * B],
            [
                Sign(
                    "put one into the other",
                    r * m - r * F / w + r * g * B,
                    ">=",
                    plus(r * (m - f + e), r * (f * w - F) / w, r * (g * B - e)),
                )
            ],
            "r = sqrt(n), m the length of the row mean, so ||Pi X|| = r m. F = |pi^T X_l w_j| = |rho_1j|^l "
            "|pi^T X_0 w_j|, since pi^T A = pi^T and H w_j = mu_j w_j; f = |pi^T X_l|, w = |w_j|, and "
            "F <= f w by Cauchy-Schwarz. By the claim before and the reverse triangle inequality m >= f - e "
            "with e = |(1/n - pi)^T Pi_perp X_l| <= g B, g = |1/n - pi| and B any bound of ||Pi_perp X_l||. "
            "For symmetric A, g = 0. Any j may be taken, hence the largest. The bound without a basis of "
            "eigenvectors of A or H ends in the same way: H has an eigenvector w_j at every eigenvalue.",
        ),
    ),
    _condition,
)


# ---------------------------------------------------------------- gram

_V, _Z = sympy.Matrix([[p1, p2], [p3, p4]]), sympy.Matrix([[q1, q2], [q3, q4]])
_Y = sympy.Matrix([[y1, y2], [y3, y4]])
_PRODUCT = _V * _Y * _Z
_TRACE = (_Y.T * (_V.T * _V) * _Y * (_Z * _Z.T)).trace()
_NORM = sum(entry**2 for entry in _PRODUCT)


def _gram(z3: Any) -> dict[str, Query]:
    p1, p2, p3, p4, q1, q2, q3, q4 = z3.Reals("p1 p2 p3 p4 q1 q2 q3 q4")
    y1, y2, y3, y4, x, y, m = z3.Reals("y1 y2 y3 y4 x y m")
    g1, g2, k1, k2, a, b, c, d = z3.Reals("g1 g2 k1 k2 a b c d")
    columns, rows, Y = ((p1, p3), (p2, p4)), ((q1, q2), (q3, q4)), ((y1, y2), (y3, y4))
    pairs = [(i, j) for i in (0, 1) for j in (0, 1)]
    size = 0
    for i, j in pairs:  # token i, feature j
        entry = sum(columns[k][i] * Y[k][o] * rows[o][j] for k, o in pairs)
        size += entry * entry
    four = 0
    for i, j in pairs:
        for k, o in pairs:
            of_rows = columns[i][0] * columns[k][0] + columns[i][1] * columns[k][1]
            four += Y[i][j] * of_rows * Y[k][o] * (rows[o][0] * rows[j][0] + rows[o][1] * rows[j][1])
    return {
        "expansion": Query({}, size == four),
        "one term": Query({"m > 0": m > 0, "x^2 + y^2 <= m^2": m * m - x * x - y * y >= 0}, m >= x),
        "largest eigenvalues": Query(
            {"0 <= g2": g2 >= 0, "g2 <= g1": g1 >= g2, "0 <= k2": k2 >= 0, "k2 <= k1": k1 >= k2},
            g1 * k1 * a * a + g1 * k2 * b * b + g2 * k1 * c * c + g2 * k2 * d * d
            <= g1 * k1 * a * a + g1 * k1 * b * b + g1 * k1 * c * c + g1 * k1 * d * d,
        ),
    }


GRAM = Statement(
    "bounds.gram",
    "With the Gram matrices G = V^* V and K = Z Z^*, ||V Y Z||^2 is at most the sum of "
    "(|G| |Y|)_ij (|Y| |K|)_ij over all entries, and at most |G|_2 |K|_2 ||Y||^2; with a projection before V "
    "or behind Z the Gram matrix of the projected vectors takes its place.",
    r"\|V Y Z\|^2 = \mathrm{tr}\, Y^* G Y K \le \min\Big(\sum_{ij} (|G||Y|)_{ij} (|Y||K|)_{ij},\;"
    r" |G|_2 |K|_2 \|Y\|^2\Big)",
    "derived here",
    (
        Claim(
            "expansion",
            {},
            [sympy.Eq(_NORM, _TRACE)],
            [Identity("multiply out", _NORM, _TRACE)],
            "V Y Z for 2 x 2 matrices: ||V Y Z||^2 = tr (V Y Z)^* (V Y Z) = tr Y^* (V^* V) Y (Z Z^*), "
            "because a trace does not change when factors go round; so for every size, and with stars for "
            "complex matrices. As a sum over four indices it has the terms conj(Y_ij) G_ik Y_km K_mj.",
        ),
        Claim(
            "one term",
            {"m > 0": m > 0, "x^2 + y^2 <= m^2": x**2 + y**2 <= m**2},
            [x <= m],
            [
                Sign("a leg is no longer than its side", m**2 - x**2, ">=", plus(m**2 - x**2 - y**2, y**2)),
                _root("take roots", m, x),
            ],
            "The sum is real, so it is the sum of the real parts x of its terms x + iy; each is at most the "
            "modulus m = |Y_ij| |G_ik| |Y_km| |K_mj|. The sum of the moduli is the sum over i, m of "
            "(|G| |Y|)_im (|Y| |K|)_im, |G| and |K| being symmetric.",
        ),
        Claim(
            "largest eigenvalues",
            {"0 <= g2": g2 >= 0, "g2 <= g1": g2 <= g1, "0 <= k2": k2 >= 0, "k2 <= k1": k2 <= k1},
            [
                g1 * k1 * a**2 + g1 * k2 * b**2 + g2 * k1 * c**2 + g2 * k2 * d**2
                <= g1 * k1 * (a**2 + b**2 + c**2 + d**2)
            ],
            [
                Sign("the largest of G is not negative", g1, ">=", plus(g1 - g2, g2)),
                Sign("nor that of K", k1, ">=", plus(k1 - k2, k2)),
                Sign(
                    "entry by entry",
                    g1 * k1 * (a**2 + b**2 + c**2 + d**2)
                    - (g1 * k1 * a**2 + g1 * k2 * b**2 + g2 * k1 * c**2 + g2 * k2 * d**2),
                    ">=",
                    plus(
                        b**2 * g1 * (k1 - k2),
                        c**2 * k1 * (g1 - g2),
                        d**2 * plus(g1 * (k1 - k2), k2 * (g1 - g2)),
                    ),
                ),
            ],
            "In orthonormal eigenvectors of G and K (both have eigenvalues >= 0) tr Y^* G Y K is the sum of "
            "g_i k_j |Y_ij|^2, with ||Y|| unchanged; a, b, c, d are the moduli of four of its entries.",
        ),
    ),
    _gram,
)


# ---------------------------------------------------------------- row_split

_UP = {"h >= 0": h >= 0, "h <= h_up": h <= h_up, "p_low > 0": p_low > 0, "p >= p_low": p >= p_low}
_UPPER = [
    Sign("p is positive", p, ">", plus(p - p_low, p_low)),
    Sign("h_up is not negative", h_up, ">=", plus(h_up - h, h)),
    Sign("cross-multiply", h_up * p - h * p_low, ">=", plus(h_up * (p - p_low), p_low * (h_up - h))),
]


def _row_split(z3: Any) -> dict[str, Query]:
    h, p, h_up, p_low = z3.Reals("h p h_up p_low")
    r1, r2, s1, s2, x, y = z3.Reals("r1 r2 s1 s2 x y")
    up = {"h >= 0": h >= 0, "h <= h_up": h_up - h >= 0, "p_low > 0": p_low > 0, "p >= p_low": p - p_low >= 0}
    along = x * r1 + y * r2
    return {
        "token diversity": Query(up, h * h * p_low * p_low <= h_up * h_up * p * p),
        "quotient": Query(up, _over(z3, p * p_low, h * p_low, h_up * p)),
        "rank one": Query(
            {"0 <= s2": s2 >= 0, "s2 <= s1": s1 >= s2, "r1^2 + r2^2 <= 1": 1 - r1 * r1 - r2 * r2 >= 0},
            s1 * s1 * r1 * r1 + s2 * s2 * r2 * r2 <= s1 * s1,
        ),
        "what is left": Query(
            {"r1^2 + r2^2 = 1": 1 - r1 * r1 == r2 * r2},
            x * x + y * y
            == along * along + (x - along * r1) * (x - along * r1) + (y - along * r2) * (y - along * r2),
        ),
    }


_ALONG = x * r1 + y * r2
ROW_SPLIT = Statement(
    "bounds.row_split",
    "P the projection on one v_i, h >= ||(I - P) X|| and 0 < p <= ||P X||: t_div <= h^2/(h^2 + p^2) and "
    "HFC/LFC <= h/p where v_i is constant, and always sigma_2/sigma_1 <= h/p, even "
    "(sum_(k >= 2) sigma_k^2)^(1/2) / sigma_1 <= h/p.",
    r"t_{div} \le \frac{h^2}{h^2 + p^2},\quad \frac{HFC}{LFC} \le \frac{h}{p},\quad"
    r" \frac{\sigma_2}{\sigma_1} \le \frac{1}{\sigma_1} \Big(\sum_{k \ge 2} \sigma_k^2\Big)^{1/2}"
    r" \le \frac{h}{p}",
    "derived here",
    (
        Claim(
            "token diversity",
            _UP,
            [h**2 / (h**2 + p**2) <= h_up**2 / (h_up**2 + p_low**2)],
            [
                *_UPPER,
                Sign(
                    "the difference as a product",
                    h_up**2 / (h_up**2 + p_low**2) - h**2 / (h**2 + p**2),
                    ">=",
                    (h_up * p - h * p_low) * (h_up * p + h * p_low) / ((h**2 + p**2) * (h_up**2 + p_low**2)),
                ),
            ],
            "h = ||Pi_perp X||, p = ||Pi X|| and h_up, p_low their bounds. h_up is bounds.gram for the rows "
            "k != i of Y, the vectors v_k without their part along v_i. P X is the row |v_i| y_i Z plus "
            "sum_(k != i) (v_i^* v_k / |v_i|) y_k Z, times a unit column, so p_low is a lower bound of "
            "|y_i Z| (bounds.lead) less the bound of ||P V' Y' Z|| (reverse triangle, bounds.gram).",
        ),
        Claim(
            "quotient",
            _UP,
            [h / p <= h_up / p_low],
            [*_UPPER, Sign("divide", h_up / p_low - h / p, ">=", (h_up * p - h * p_low) / (p * p_low))],
            "The same for HFC/LFC = h/p, and for the singular values: h = (sum_(k >= 2) sigma_k^2)^(1/2) or "
            "sigma_2, which is not larger, p = sigma_1, by the claims below.",
        ),
        Claim(
            "rank one",
            {"0 <= s2": s2 >= 0, "s2 <= s1": s2 <= s1, "r1^2 + r2^2 <= 1": r1**2 + r2**2 <= 1},
            [s1**2 * r1**2 + s2**2 * r2**2 <= s1**2],
            [
                Sign("sigma_1 is not negative", s1, ">=", plus(s1 - s2, s2)),
                Sign(
                    "no direction is stretched more than the first",
                    s1**2 - s1**2 * r1**2 - s2**2 * r2**2,
                    ">=",
                    plus(s1**2 * (1 - r1**2 - r2**2), r2**2 * (s1 - s2) * (s1 + s2)),
                ),
            ],
            "|X r|^2 <= sigma_1^2 for every r with |r| <= 1, in coordinates along the singular vectors (r2^2 "
            "gathers all from the second on). So sigma_1 >= |X^* v| = ||P X||, v the unit vector of P. And, "
            "with the next claim, for any R = a r^* of rank one with |r| = 1: sum_(k >= 2) sigma_k^2 = "
            "||X||^2 - sigma_1^2 <= ||X||^2 - |X r|^2 = ||X (I - r r^*)||^2 = ||(X - R)(I - r r^*)||^2 <= "
            "||X - R||^2, since R (I - r r^*) = 0 and a projection makes nothing longer. Here R = P X.",
        ),
        Claim(
            "what is left",
            {"r1^2 + r2^2 = 1": sympy.Eq(r1**2 + r2**2, 1)},
            [sympy.Eq(x**2 + y**2, _ALONG**2 + (x - _ALONG * r1) ** 2 + (y - _ALONG * r2) ** 2)],
            [
                Sign(
                    "Pythagoras",
                    x**2 + y**2 - _ALONG**2 - (x - _ALONG * r1) ** 2 - (y - _ALONG * r2) ** 2,
                    "==",
                    times(-(_ALONG**2), r1**2 + r2**2 - 1),
                )
            ],
            "A row (x, y) of X in the plane of r and that row: its part along r and the rest. Summed over "
            "the rows, ||X||^2 = |X r|^2 + ||X (I - r r^*)||^2. (Complex rows: the phase of r changes "
            "neither.)",
        ),
    ),
    _row_split,
)


# ---------------------------------------------------------------- lead

_DOT = x1 * w1 + x2 * w2


def _lead(z3: Any) -> dict[str, Query]:
    m, k, x1, x2, w1, w2, a, b, s, t, Y = z3.Reals("m k x1 x2 w1 w2 a b s t Y")
    p, x, y, e, r1, r2 = z3.Reals("p x y e r1 r2")
    dot = x1 * w1 + x2 * w2
    return {
        "one coefficient": Query(
            {
                "m > 0": m > 0,
                "k > 0": k > 0,
                "x1^2 + x2^2 <= m^2": m * m >= x1 * x1 + x2 * x2,
                "w1^2 + w2^2 <= k^2": k * k >= w1 * w1 + w2 * w2,
            },
            z3.And(_over(z3, k, dot, m * k), _over(z3, k, -dot, m * k)),
        ),
        "all coefficients": Query(
            {
                "m > 0": m > 0,
                "s > 0": s > 0,
                "0 <= t": t >= 0,
                "t <= s": s >= t,
                "a^2 + b^2 <= m^2": m * m >= a * a + b * b,
                "Y^2 <= (s a)^2 + (t b)^2": s * s * a * a + t * t * b * b >= Y * Y,
            },
            _over(z3, s, Y, m * s),
        ),
        "one against the rest": Query(
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": x * x + y * y <= e * e,
                "(p+x)^2 + y^2 <= m^2": m * m >= p * p + 2 * p * x + x * x + y * y,
                "e <= r1 + r2": e - r1 <= r2,
            },
            p <= m + r1 + r2,
        ),
    }


LEAD = Statement(
    "bounds.lead",
    "The norm of y Z, for a row y of coefficients, is at least |y_j| / |w_j| for every j, at least "
    "|y| / |W|_2, and at least |y_j| |z_j| minus the sum of |y_k| |z_k| over k != j.",
    r"|yZ| \ge \max\Big(\frac{|y_j|}{|w_j|},\; \frac{|y|}{|W|_2},\;"
    r" |y_j||z_j| - \sum_{k \ne j} |y_k||z_k|\Big)",
    "derived here",
    (
        Claim(
            "one coefficient",
            {
                "m > 0": m > 0,
                "k > 0": k > 0,
                "x1^2 + x2^2 <= m^2": x1**2 + x2**2 <= m**2,
                "w1^2 + w2^2 <= k^2": w1**2 + w2**2 <= k**2,
            },
            [_DOT / k <= m, -_DOT / k <= m],
            [
                Sign(
                    "Lagrange's identity",
                    (m * k) ** 2 - _DOT**2,
                    ">=",
                    plus(
                        k**2 * (m**2 - x1**2 - x2**2),
                        (x1**2 + x2**2) * (k**2 - w1**2 - w2**2),
                        (x1 * w2 - x2 * w1) ** 2,
                    ),
                ),
                _root("take roots", m * k, _DOT),
                _root("and for the other sign", m * k, -_DOT),
                Sign("divide", m - _DOT / k, ">=", (m * k - _DOT) / k),
                Sign("divide", m + _DOT / k, ">=", (m * k + _DOT) / k),
            ],
            "y_j = (y Z) w_j because Z W = I. x = yZ, m its length, and w = w_j, k its length, in the plane "
            "that they span (complex: turned so that the product is real).",
        ),
        Claim(
            "all coefficients",
            {
                "m > 0": m > 0,
                "s > 0": s > 0,
                "0 <= t": t >= 0,
                "t <= s": t <= s,
                "a^2 + b^2 <= m^2": a**2 + b**2 <= m**2,
                "Y^2 <= (s a)^2 + (t b)^2": (s * a) ** 2 + (t * b) ** 2 >= Y**2,
            },
            [Y / s <= m],
            [
                Sign(
                    "compare the squares",
                    (s * m) ** 2 - Y**2,
                    ">=",
                    plus(
                        s**2 * (m**2 - a**2 - b**2),
                        b**2 * (s - t) * (s + t),
                        (s * a) ** 2 + (t * b) ** 2 - Y**2,
                    ),
                ),
                _root("take roots", s * m, Y),
                Sign("divide", m - Y / s, ">=", (s * m - Y) / s),
            ],
            "y = (yZ) W. In the singular vectors of W, s = |W|_2 and t any other singular value; (a, b) is "
            "yZ, m its length, Y = |y|. The same proof gives |v + beta| >= (1 + sum |b_k|^2)^(1/2) / |U|_2 "
            "and >= 1/|u_i| for the sum v + beta of bounds.minors, whose coefficients are 1 and b_k.",
        ),
        Claim(
            "one against the rest",
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2,
                "(p+x)^2 + y^2 <= m^2": (p + x) ** 2 + y**2 <= m**2,
                "e <= r1 + r2": e <= r1 + r2,
            },
            [m >= p - r1 - r2],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                _root("take roots", e, -x),
                Sign(
                    "the same for the sum", m**2 - (p + x) ** 2, ">=", plus(m**2 - (p + x) ** 2 - y**2, y**2)
                ),
                _root("take roots", m, p + x),
                Sign(
                    "add all three",
                    m - p + r1 + r2,
                    ">=",
                    plus(m - p - x, e + x, r1 + r2 - e),
                ),
            ],
            "yZ = y_j z_j + the rest: p = |y_j z_j|, the rest is (x, y) of length e, at most the sum of the "
            "lengths r1, r2, ... of its terms (triangle). Likewise |v + beta| >= |v| - |beta|.",
        ),
    ),
    _lead,
)


# ---------------------------------------------------------------- from_below


def _from_below(z3: Any) -> dict[str, Query]:
    u1, u2, u3, x1, x2, x3, m = z3.Reals("u1 u2 u3 x1 x2 x3 m")
    Y, T, u, w, h, p, h_low, p_up = z3.Reals("Y T u w h p h_low p_up")
    low = {"h_low >= 0": h_low >= 0, "h_low <= h": h - h_low >= 0}
    low |= {"p > 0": p > 0, "p <= p_up": p_up - p >= 0}
    return {
        "constant not seen": Query(
            {"u1 + u2 + u3 = 0": u1 + u2 == -u3},
            u1 * (x1 - m) + u2 * (x2 - m) + u3 * (x3 - m) == u1 * x1 + u2 * x2 + u3 * x3,
        ),
        "diverse part": Query(
            {"u > 0": u > 0, "w > 0": w > 0, "Y <= T w": T * w >= Y, "T <= u h": u * h >= T},
            _over(z3, u * w, Y, h * u * w),
        ),
        "token diversity": Query(low, h_low * h_low * p * p <= h * h * p_up * p_up),
        "quotient": Query(low, _over(z3, p * p_up, h_low * p, h * p_up)),
    }


_LOW = {
    "h_low >= 0": h_low >= 0,
    "h_low <= h": h_low <= h,
    "p > 0": p > 0,
    "p <= p_up": p <= p_up,
}
_LOWER = [
    Sign("h is not negative", h, ">=", plus(h - h_low, h_low)),
    Sign("p_up is positive", p_up, ">", plus(p_up - p, p)),
    Sign("cross-multiply", h * p_up - h_low * p, ">=", plus(h * (p_up - p), p * (h - h_low))),
]
FROM_BELOW = Statement(
    "bounds.from_below",
    "||Pi_perp X|| >= |Y_ij| / (|u_i| |w_j|) for every i >= 2 and j, and t_div and HFC/LFC are bounded from "
    "below by putting in this and ||Pi X|| <= ||y_1 Z|| + ||Pi V' Y' Z||.",
    r"\|\Pi_\perp X\| \ge \max_{i \ge 2, j} \frac{|Y_{ij}|}{|u_i||w_j|},\quad"
    r" t_{div} \ge \frac{h'^2}{h'^2 + p'^2}",
    "derived here",
    (
        Claim(
            "constant not seen",
            {"u1 + u2 + u3 = 0": sympy.Eq(u1 + u2 + u3, 0)},
            [sympy.Eq(u1 * x1 + u2 * x2 + u3 * x3, u1 * (x1 - m) + u2 * (x2 - m) + u3 * (x3 - m))],
            [
                Sign(
                    "the mean drops out",
                    u1 * x1 + u2 * x2 + u3 * x3 - (u1 * (x1 - m) + u2 * (x2 - m) + u3 * (x3 - m)),
                    "==",
                    times(m, u1 + u2 + u3),
                )
            ],
            "u_i 1 = 0 for i >= 2, as u_i v_1 = 0; so u_i X = u_i Pi_perp X: one feature of three tokens, m "
            "their mean. More tokens, more terms.",
        ),
        Claim(
            "diverse part",
            {"u > 0": u > 0, "w > 0": w > 0, "Y <= T w": T * w >= Y, "T <= u h": u * h >= T},
            [h >= Y / (u * w)],
            [
                Sign(
                    "put one into the other",
                    h - Y / (u * w),
                    ">=",
                    plus(w * (u * h - T), T * w - Y) / (u * w),
                )
            ],
            "Y = |Y_ij| = |u_i Pi_perp X w_j| <= T w with T = |u_i Pi_perp X| and w = |w_j| "
            "(Cauchy-Schwarz), and T <= |u_i| ||Pi_perp X|| (bounds.norms). The same with X itself: "
            "sigma_1(X) >= |X|_2 >= |Y_ij| / (|u_i| |w_j|), for every i and j.",
        ),
        Claim(
            "token diversity",
            _LOW,
            [h**2 / (h**2 + p**2) >= h_low**2 / (h_low**2 + p_up**2)],
            [
                *_LOWER,
                Sign(
                    "the difference as a product",
                    h**2 / (h**2 + p**2) - h_low**2 / (h_low**2 + p_up**2),
                    ">=",
                    (h * p_up - h_low * p) * (h * p_up + h_low * p) / ((h**2 + p**2) * (h_low**2 + p_up**2)),
                ),
            ],
            "h = ||Pi_perp X||, p = ||Pi X||, h_low their bounds. p_up: Pi X = v_1 y_1 Z + Pi V' Y' Z, "
            "triangle, |v_1| = 1, and bounds.gram for both.",
        ),
        Claim(
            "quotient",
            _LOW,
            [h / p >= h_low / p_up],
            [*_LOWER, Sign("divide", h / p - h_low / p_up, ">=", (h * p_up - h_low * p) / (p * p_up))],
            "HFC/LFC = h/p.",
        ),
    ),
    _from_below,
)


# ---------------------------------------------------------------- minors


def _minors(z3: Any) -> dict[str, Query]:
    a, q, x1, x2, x3, x4, k, j, N = z3.Reals("a q y1 y2 y3 y4 k j N")
    x, y, m, b, r, w, f, g, h = z3.Reals("x y m b r w f g h")
    return {
        "coefficients": Query(
            {"y1 != 0": z3.Or(x1 > 0, x1 < 0)},
            # the three quotients by y1, and what is left of the last one
            z3.Implies(
                z3.And(r * x1 == x2, b * x1 == x3, w * x1 == x4),
                (w - b * r) * x1 * x1 == x1 * x4 - x2 * x3,
            ),
            same_symbols=False,
        ),
        "difference": Query(
            {"a != 0": z3.Or(a > 0, a < 0), "q != 0": z3.Or(q > 0, q < 0)},
            # R is the column (f, g) times the row (q, h)
            z3.Implies(
                z3.And(f * q == a * q + x1, g * q == x3, h * a == x2),
                z3.And(
                    a * q + x1 - f * q == 0,
                    (x2 - f * h) * a * q == -x1 * x2,
                    x3 - g * q == 0,
                    (x4 - g * h) * a * q == a * q * x4 - x3 * x2,
                ),
            ),
            same_symbols=False,
        ),
        "second term": Query(
            {"a > 0": a > 0, "q > 0": q > 0, "N > 0": N > 0, "k^2 + j^2 <= N^2": k * k + j * j <= N * N},
            z3.And(
                _over(z3, a * q, 2 * k * j, N * N),
                z3.Or(a * q == 0, z3.And(a * q > 0, k * j < N * N), z3.And(a * q < 0, k * j > N * N)),
            ),
        ),
        "largest singular value": Query(
            {
                "N > 0": N > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= N^2": x * x + y * y <= N * N,
                "(a q + x)^2 + y^2 <= m^2": m * m >= a * a * q * q + 2 * a * q * x + x * x + y * y,
            },
            m + N >= a * q,
        ),
    }


_S11, _S12, _S21, _S22 = y1, y2, y3, y4
_X = sympy.Matrix([[a * q + _S11, _S12], [_S21, _S22]])
_R = sympy.Matrix([a + _S11 / q, _S21 / q]) * sympy.Matrix([[q, _S12 / a]])
_LEFT = sympy.Matrix([[0, 0], [0, _S22]]) - sympy.Matrix([_S11, _S21]) * sympy.Matrix([[0, _S12]]) / (a * q)
MINORS = Statement(
    "bounds.minors",
    "X / Y_ij = alpha q^T + S with alpha = v_i + beta, q = z_j + gamma and minors S. The matrix R = (alpha "
    "+ S q/|q|^2)(q + (I - P_q) S^T alpha/|alpha|^2)^T of rank one leaves X - R = (I - P_alpha) S (I - P_q) "
    "- (S q)(alpha^T S (I - P_q)) / (|q|^2 |alpha|^2), whose second term is at most ||S||^2 / (2 |alpha| "
    "|q|), so below ||S||^2 / (|alpha| |q|); and sigma_1 >= |alpha| |q| - ||S||.",
    r"\sigma_2 \le \|X - R\| \le \|(I - P_\alpha) S (I - P_q)\| + \frac{\|S\|^2}{2 |\alpha||q|},\quad"
    r" \sigma_1 \ge |\alpha||q| - \|S\|",
    "derived here",
    (
        Claim(
            "coefficients",
            {"y1 != 0": sympy.Ne(y1, 0)},
            [sympy.Eq(y4 / y1 - (y3 / y1) * (y2 / y1), (y1 * y4 - y2 * y3) / y1**2)],
            [
                Identity(
                    "rank one and a minor",
                    sympy.Matrix([[y1, y2], [y3, y4]]) / y1,
                    sympy.Matrix([1, y3 / y1]) * sympy.Matrix([[1, y2 / y1]])
                    + sympy.Matrix([[0, 0], [0, (y1 * y4 - y2 * y3) / y1**2]]),
                ),
                Identity(
                    "the entry that is left",
                    y4 / y1 - (y3 / y1) * (y2 / y1),
                    (y1 * y4 - y2 * y3) / y1**2,
                ),
            ],
            "Coefficients of the rows i, k and the columns j, m: y1 = Y_ij, y2 = Y_im, y3 = Y_kj, y4 = "
            "Y_km. Beside the product of (1, b) and (1, r), b = y3/y1, r = y2/y1, only S_km is left; so for "
            "every k and m. Hence X / Y_ij = (v_i + sum b_k v_k)(z_j + sum r_m z_m)^T + V' S Z', with "
            "|S_km| <= |Y_km|/|Y_ij| + |b_k| |r_m| (triangle).",
        ),
        Claim(
            "difference",
            {"a != 0": sympy.Ne(a, 0), "q != 0": sympy.Ne(q, 0)},
            [sympy.Eq((_X - _R)[i, o], _LEFT[i, o], evaluate=False) for i in (0, 1) for o in (0, 1)],
            [Identity("multiply out", _X - _R, _LEFT)],
            "Both sides keep their form under orthonormal (unitary) changes of basis on the left and on the "
            "right. Choose bases whose first vectors are alpha/|alpha| and q/|q| (complex: its conjugate): "
            "a = |alpha|, q = |q|, P_alpha and P_q project on the first coordinate, S = (y1, y2; y3, y4), "
            "S q/|q|^2 = (y1, y3)/q, (I - P_q) S^T alpha/|alpha|^2 = (0, y2)/a. More tokens and features "
            "repeat the second row and column. The identity is rational, so it holds for complex S too, and "
            "the pair (i, j) need not be real.",
        ),
        Claim(
            "second term",
            {"a > 0": a > 0, "q > 0": q > 0, "N > 0": N > 0, "k^2 + j^2 <= N^2": k**2 + j**2 <= N**2},
            [k * j / (a * q) <= TERM, k * j / (a * q) < N**2 / (a * q)],
            [
                Identity(
                    "the norm of a product of a column and a row",
                    (x1**2 + x2**2) * (w1**2 + w2**2),
                    (x1 * w1) ** 2 + (x1 * w2) ** 2 + (x2 * w1) ** 2 + (x2 * w2) ** 2,
                ),
                Sign(
                    "a column and a row of S that share no entry",
                    TERM - k * j / (a * q),
                    ">=",
                    times(plus(N**2 - k**2 - j**2, (k - j) ** 2), 1 / (2 * a * q)),
                ),
                Sign(
                    "half of it is to spare",
                    N**2 / (a * q) - k * j / (a * q),
                    ">",
                    plus(TERM - k * j / (a * q), TERM),
                ),
            ],
            "In the same bases: k = |S q|/|q| is the length of the first column of S and j = |alpha^T S (I - "
            "P_q)|/|alpha| that of its first row without the first entry. They share no entry, so k^2 + j^2 "
            "<= ||S||^2 = N^2, and the norm of the second term is k j / (a q).",
        ),
        Claim(
            "largest singular value",
            {
                "N > 0": N > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= N^2": x**2 + y**2 <= N**2,
                "(a q + x)^2 + y^2 <= m^2": (a * q + x) ** 2 + y**2 <= m**2,
            },
            [m >= a * q - N],
            [
                Sign("a leg is no longer than its side", N**2 - x**2, ">=", plus(N**2 - x**2 - y**2, y**2)),
                _root("take roots", N, -x),
                Sign(
                    "the same for the first column of X",
                    m**2 - (a * q + x) ** 2,
                    ">=",
                    plus(m**2 - (a * q + x) ** 2 - y**2, y**2),
                ),
                _root("take roots", m, a * q + x),
                Sign("add the two", m - a * q + N, ">=", plus(m - a * q - x, N + x)),
            ],
            "m = sigma_1 is at least the length of the first column of X, (a q + x, y) where (x, y) is that "
            "of S and y gathers all entries but the first. Also sigma_1(X / Y_ij) >= 1/(|u_i| |w_j|), by "
            "bounds.from_below. R = alpha q^T leaves ||S||, which may be less.",
        ),
    ),
    _minors,
)


# ---------------------------------------------------------------- projections


def _projections(z3: Any) -> dict[str, Query]:
    c, s, p, x, y = z3.Reals("c s p x y")
    d, k, t, b, g, s1, s2, N = z3.Reals("d k t b g s1 s2 N")
    u, v = z3.Reals("u v")
    corner, side, last = 1 - c * c, -c * s, -s * s
    return {
        "two lines": Query(
            {"c^2 + s^2 = 1": 1 - s * s == c * c},
            z3.And(
                corner * corner + side * side == s * s,
                corner * side + side * last == 0,
                side * side + last * last == s * s,
            ),
        ),
        "sine": Query(
            {"p > 0": p > 0, "(p+x)^2 + y^2 > 0": p * p + 2 * p * x + x * x + y * y > 0},
            p * p * y * y <= (x * x + y * y) * (p * p + 2 * p * x + x * x + y * y),
        ),
        "exchange": Query(
            {
                "N >= 0": N >= 0,
                "s1 >= 0": s1 >= 0,
                "s1 <= b": b >= s1,
                "s2 >= 0": s2 >= 0,
                "s2 <= g": g >= s2,
                "t <= s2 N": s2 * N >= t,
                "u <= s1 N": s1 * N >= u,
                "v <= s1 s2 N": s1 * s2 * N >= v,
                "d <= k + t + u + v": d - k - t - u <= v,
            },
            d <= k + b * N + g * N + b * g * N,
        ),
    }


_DISTANCE = sympy.Matrix([[1 - c**2, -c * s], [-c * s, -(s**2)]])
_UNIT = c**2 + s**2 - 1
PROJECTIONS = Statement(
    "bounds.projections",
    "Two lines whose sine is s have projections at distance s. So exchanging P_alpha, P_q for the fixed "
    "projections on v_i (a unit vector) and z_j costs at most (|beta| + |gamma|/|z_j| + |beta| "
    "|gamma|/|z_j|) ||S||.",
    r"(P_u - P_v)^2 = s^2 I,\quad \|(I - P_\alpha) S (I - P_q)\| \le \|(I - P_v) S (I - P_z)\|"
    r" + \Big(|\beta| + \frac{|\gamma|}{|z|} + \frac{|\beta||\gamma|}{|z|}\Big) \|S\|",
    "derived here",
    (
        Claim(
            "two lines",
            {"c^2 + s^2 = 1": sympy.Eq(c**2 + s**2, 1)},
            [
                sympy.Eq((1 - c**2) ** 2 + (c * s) ** 2, s**2),
                sympy.Eq(-c * s * (1 - c**2) + c * s * s**2, 0),
                sympy.Eq((c * s) ** 2 + s**4, s**2),
            ],
            [
                Identity(
                    "the difference of the projections",
                    sympy.Matrix([[1, 0], [0, 0]]) - sympy.Matrix([c, s]) * sympy.Matrix([[c, s]]),
                    _DISTANCE,
                ),
                Identity(
                    "its square, entry by entry",
                    _DISTANCE**2,
                    sympy.Matrix(
                        [
                            [(1 - c**2) ** 2 + (c * s) ** 2, -c * s * (1 - c**2) + c * s * s**2],
                            [-c * s * (1 - c**2) + c * s * s**2, (c * s) ** 2 + s**4],
                        ]
                    ),
                ),
                Sign("first entry", (1 - c**2) ** 2 + (c * s) ** 2 - s**2, "==", times(_UNIT, _UNIT - s**2)),
                Sign("off the diagonal", -c * s * (1 - c**2) + c * s * s**2, "==", times(c * s, _UNIT)),
                Sign("last entry", (c * s) ** 2 + s**4 - s**2, "==", times(s**2, _UNIT)),
            ],
            "In the plane of the two lines, u = (1, 0) and v = (c, s); outside it both projections vanish. "
            "(In complex space choose the phases of v and of the second axis so that c and s are real.) A "
            "symmetric matrix with square s^2 I has both singular values |s|.",
        ),
        Claim(
            "sine",
            {"p > 0": p > 0, "(p+x)^2 + y^2 > 0": (p + x) ** 2 + y**2 > 0},
            [y**2 / ((p + x) ** 2 + y**2) <= (x**2 + y**2) / p**2],
            [
                Sign(
                    "the difference is a square",
                    (x**2 + y**2) / p**2 - y**2 / ((p + x) ** 2 + y**2),
                    ">=",
                    (x**2 + y**2 + p * x) ** 2 / (p**2 * ((p + x) ** 2 + y**2)),
                )
            ],
            "v = (p, 0) and alpha = v + beta, beta = (x, y): the squared sine of their angle is at most "
            "|beta|^2/|v|^2, and |v_i| = 1. Likewise for q = z_j + gamma, and for f = z_j + gamma + mean of "
            "T in bounds.angles.",
        ),
        Claim(
            "exchange",
            {
                "N >= 0": N >= 0,
                "s1 >= 0": s1 >= 0,
                "s1 <= b": s1 <= b,
                "s2 >= 0": s2 >= 0,
                "s2 <= g": s2 <= g,
                "t <= s2 N": t <= s2 * N,
                "u <= s1 N": u <= s1 * N,
                "v <= s1 s2 N": v <= s1 * s2 * N,
                "d <= k + t + u + v": d <= k + t + u + v,
            },
            [d <= k + COST * N],
            [
                Sign("b is not negative", b, ">=", plus(b - s1, s1)),
                Sign(
                    "put the distances in",
                    k + COST * N - d,
                    ">=",
                    plus(
                        k + t + u + v - d,
                        s2 * N - t,
                        s1 * N - u,
                        s1 * s2 * N - v,
                        N * (g - s2),
                        N * (b - s1),
                        N * plus(b * (g - s2), s2 * (b - s1)),
                    ),
                ),
            ],
            "I - P_alpha = (I - P_v) + D with |D|_2 = s1 <= b = |beta|, and I - P_q = (I - P_z) + E with "
            "|E|_2 = s2 <= g = |gamma|/|z_j|. Multiplied out, (I - P_alpha) S (I - P_q) = (I - P_v) S (I - "
            "P_z) + (I - P_v) S E + D S (I - P_z) + D S E; d is the norm of the left side, k, t, u, v at "
            "most those on the right, N = ||S||, and projections make nothing longer.",
        ),
    ),
    _projections,
)


# ---------------------------------------------------------------- best_reference

_MEAN = 1 - (t - n) / (n * (n - 1))
_UNITS = [(p1, p2), (q1, q2), (r1, r2)]
_ONES = {f"|{name}| = 1": sympy.Eq(i**2 + o**2, 1) for name, (i, o) in zip("pqr", _UNITS, strict=True)}
_PAIRS = 1 - (p1 * q1 + p2 * q2 + p1 * r1 + p2 * r2 + q1 * r1 + q2 * r2) / 3
_SPREAD = sum(
    (i - (p1 + q1 + r1) / 3) ** 2 + (o - (p2 + q2 + r2) / 3) ** 2 for i, o in _UNITS
)  # of three vectors about their mean


def _best_reference(z3: Any) -> dict[str, Query]:
    p1, p2, q1, q2, r1, r2 = z3.Reals("p1 p2 q1 q2 r1 r2")
    n, q, t, f, F = z3.Reals("n q t f F")
    vectors = ((p1, p2), (q1, q2), (r1, r2))
    x, y = p1 + q1 + r1, p2 + q2 + r2
    # nine times the squared distances to the mean
    spread = sum((3 * i - x) * (3 * i - x) + (3 * o - y) * (3 * o - y) for i, o in vectors)
    products = p1 * q1 + p2 * q2 + p1 * r1 + p2 * r2 + q1 * r1 + q2 * r2
    units = {f"|{name}| = 1": 1 - i * i == o * o for name, (i, o) in zip("pqr", vectors, strict=True)}
    return {
        "three vectors": Query(units, 18 - 6 * products == spread),
        "mean over pairs": Query({"n > 1": n > 1}, n * n - n - t + n == n * n - t),
        "mean is best": Query({"n > 0": n > 0}, _over(z3, n, q * n - t * t, n * (q - 2 * f * t + n * f * f))),
        "any reference": Query(
            {"n > 1": n > 1, "n^2 - t <= n F": n * F + t >= n * n},
            _over(z3, n * (n - 1), n * (n - 1) - t + n, n * F),
        ),
    }


BEST_REFERENCE = Statement(
    "bounds.best_reference",
    "For unit vectors u_k, k = 1..n, the mean over pairs of 1 - cos is exactly sum |u_k - mean|^2 / (n - "
    "1), and at most sum |u_k - f|^2 / (n - 1) for every other reference f.",
    r"\mathrm{mean}_{k \ne m} (1 - u_k \cdot u_m) = \frac{1}{n-1} \sum_k |u_k - \bar u|^2 \le"
    r" \frac{1}{n-1} \sum_k |u_k - f|^2",
    "derived here",
    (
        Claim(
            "three vectors",
            _ONES,
            [sympy.Eq(_PAIRS, _SPREAD / 2)],
            [
                Sign(
                    "put the lengths in",
                    _PAIRS - _SPREAD / 2,
                    "==",
                    times(
                        -sympy.Rational(1, 3),
                        plus(p1**2 + p2**2 - 1, q1**2 + q2**2 - 1, r1**2 + r2**2 - 1),
                    ),
                )
            ],
            "Three tokens in the plane, written out; the next claim is for any number, in any dimension.",
        ),
        Claim(
            "mean over pairs",
            {"n > 1": n > 1},
            [sympy.Eq(_MEAN, (n - t / n) / (n - 1))],
            [
                Sign("n is positive", n, ">", plus(n - 1, 1)),
                Identity("a common denominator", _MEAN, (n - t / n) / (n - 1)),
            ],
            "t = |sum of the u_k|^2. The n (n - 1) products of different vectors add up to t - n, so the "
            "left side is the mean over pairs of 1 - cos; sum |u_k - mean|^2 = sum |u_k|^2 - n |mean|^2 = n "
            "- t/n.",
        ),
        Claim(
            "mean is best",
            {"n > 0": n > 0},
            [q - 2 * f * t + n * f**2 >= q - t**2 / n],
            [
                Sign(
                    "complete the square",
                    (q - 2 * f * t + n * f**2) - (q - t**2 / n),
                    ">=",
                    n * (f - t / n) ** 2,
                )
            ],
            "One coordinate: q is the sum of its squares over the n vectors, t its sum, f that of the "
            "reference. Left the sum of (u - f)^2, right that of (u - mean)^2; add the coordinates.",
        ),
        Claim(
            "any reference",
            {"n > 1": n > 1, "n^2 - t <= n F": n**2 - t <= n * F},
            [F / (n - 1) >= _MEAN],
            [
                Sign("n is positive", n, ">", plus(n - 1, 1)),
                Sign(
                    "put one into the other",
                    F / (n - 1) - _MEAN,
                    ">=",
                    times(n * F - n**2 + t, 1 / (n * (n - 1))),
                ),
            ],
            "F = sum |u_k - f|^2, at least n - t/n by the claims before. With |cos| for cos the mean over "
            "pairs of 1 - |cos| is not larger.",
        ),
    ),
    _best_reference,
)


# ---------------------------------------------------------------- tangent


def _tangent(z3: Any) -> dict[str, Query]:
    c, s, F, x, y, e = z3.Reals("c s F x y e")
    return {
        "tangent": Query({"0 < c": c > 0}, 2 * c * c - 2 * c * c * c <= 1 - c * c),
        "distance": Query({"c^2 + s^2 = 1": 1 - c * c == s * s}, c * c - 2 * c + 1 + s * s == 2 - 2 * c),
        "angle to the reference": Query(
            {
                "y >= 0": y >= 0,
                "e > 0": e > 0,
                "e < F": F - e > 0,
                "x^2 + y^2 <= e^2": e * e >= x * x + y * y,
            },
            z3.And(F + x > 0, _over(z3, (F + x) * (F - e), y * F - y * e, y * F + y * x)),
        ),
    }


TANGENT = Statement(
    "bounds.tangent",
    "A unit vector at an angle theta < pi/2 to the unit vector of f has |u - f/|f||^2 = 2 (1 - cos theta) <= "
    "tan^2 theta; for u along f + e with |e| < |f|, tan theta <= |e_perp| / (|f| - |e|).",
    r"|u - f/|f||^2 = 2 (1 - \cos\theta) \le \tan^2\theta,\quad \tan\theta \le \frac{|e_\perp|}{|f| - |e|}",
    "derived here",
    (
        Claim(
            "tangent",
            {"0 < c": c > 0},
            [2 * (1 - c) <= (1 - c**2) / c**2],
            [
                Sign(
                    "the factors of the difference",
                    (1 - c**2) / c**2 - 2 * (1 - c),
                    ">=",
                    (1 - c) ** 2 * (1 + 2 * c) / c**2,
                )
            ],
            "c = cos theta, tan^2 = (1 - c^2)/c^2.",
        ),
        Claim(
            "distance",
            {"c^2 + s^2 = 1": sympy.Eq(c**2 + s**2, 1)},
            [sympy.Eq((c - 1) ** 2 + s**2, 2 * (1 - c))],
            [Sign("put the length in", (c - 1) ** 2 + s**2 - 2 * (1 - c), "==", c**2 + s**2 - 1)],
            "In the plane of u and f, f/|f| = (1, 0) and u = (c, s).",
        ),
        Claim(
            "angle to the reference",
            {"y >= 0": y >= 0, "e > 0": e > 0, "e < F": e < F, "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2},
            [F + x > 0, y / (F + x) <= y / (F - e)],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                _root("take roots", e, -x),
                Sign("so the angle is below pi/2", F + x, ">", plus(F - e, e + x)),
                Sign(
                    "divide",
                    y / (F - e) - y / (F + x),
                    ">=",
                    times(y, e + x, 1 / ((F + x) * (F - e))),
                ),
            ],
            "f = (F, 0), e = (x, y) with y = |e_perp|, in the plane of the two: tan theta = y / (F + x).",
        ),
    ),
    _tangent,
    witnesses={
        ("angle to the reference", "e > 0"): {"F": "-1/2", "e": -1, "x": 0, "y": 0},
        ("angle to the reference", "e < F"): {"F": 0, "e": 2, "x": 1, "y": 1},
    },
)


# ---------------------------------------------------------------- angles


def _angles(z3: Any) -> dict[str, Query]:
    F, N, x, y, z, t, T, n, M = z3.Reals("F N x y z t T n M")
    y1, y2, p1, p2, d = z3.Reals("y1 y2 p1 p2 d")
    return {
        "one row": Query(
            {
                "N > 0": N > 0,
                "N < F": F - N > 0,
                "x^2 + y^2 + z^2 <= N^2": x * x + y * y + z * z <= N * N,
            },
            z3.Or(F == N, F + x == 0, y * y * (F - N) * (F - N) <= y * y * (F + x) * (F + x)),
        ),
        "all rows": Query(
            {
                "n > 1": n > 1,
                "d > 0": d > 0,
                "(n-1) M <= p1 + p2": n * M - M <= p1 + p2,
                "p1 d^2 <= y1^2": y1 * y1 >= p1 * d * d,
                "p2 d^2 <= y2^2": y2 * y2 >= p2 * d * d,
            },
            _over(z3, n - 1, (n - 1) * M * d * d, y1 * y1 + y2 * y2),
        ),
        "tilted rows": Query(
            {"-T <= t": t + T >= 0, "t <= T": T - t >= 0, "T < 1": 1 - T > 0},
            z3.And(
                1 + t > 0,
                _over(z3, (1 + t) * (1 - T), t * (1 - T), T * (1 + t)),
                _over(z3, (1 + t) * (1 - T), -t * (1 - T), T * (1 + t)),
            ),
        ),
    }


ANGLES = Statement(
    "bounds.angles",
    "Rows x_k = alpha_k (q + g_k), any reference f, E the matrix of the rows e_k = q + g_k - f, ||E|| < "
    "|f|: the mean over pairs of 1 - |cos| is at most ||E (I - P_f)||^2 / ((n - 1) (|f| - ||E||)^2), and so "
    "is that of 1 - cos where all alpha_k have one sign, as they have at the constant mode while every "
    "|beta_k/v_k| < 1.",
    r"\mathrm{mean}_{k \ne m} (1 - |\cos|) \le \frac{1}{n-1} \sum_k \tan^2\theta_k \le"
    r" \frac{\|E (I - P_f)\|^2}{(n-1)(|f| - \|E\|)^2}",
    "derived here",
    (
        Claim(
            "one row",
            {"N > 0": N > 0, "N < F": N < F, "x^2 + y^2 + z^2 <= N^2": x**2 + y**2 + z**2 <= N**2},
            [y**2 / (F + x) ** 2 <= y**2 / (F - N) ** 2],
            [
                Sign(
                    "a row is no longer than all of E",
                    N**2 - x**2,
                    ">=",
                    plus(N**2 - x**2 - y**2 - z**2, y**2, z**2),
                ),
                _root("take roots", N, -x),
                Sign("the angle is below pi/2", F + x, ">", plus(F - N, N + x)),
                Sign(
                    "compare the squares",
                    y**2 / (F - N) ** 2 - y**2 / (F + x) ** 2,
                    ">=",
                    times(y**2, N + x, plus(F + x, F - N), 1 / ((F + x) ** 2 * (F - N) ** 2)),
                ),
            ],
            "e_k = (x, y) with x along f and y across, z the length of all other rows of E, N at least "
            "||E||, F = |f| or a lower bound of it (a smaller F only enlarges the right side, whose N and y "
            "stay).",
        ),
        Claim(
            "all rows",
            {
                "n > 1": n > 1,
                "d > 0": d > 0,
                "(n-1) M <= p1 + p2": (n - 1) * M <= p1 + p2,
                "p1 d^2 <= y1^2": p1 * d**2 <= y1**2,
                "p2 d^2 <= y2^2": p2 * d**2 <= y2**2,
            },
            [(y1**2 + y2**2) / ((n - 1) * d**2) >= M],
            [
                Sign(
                    "add the rows",
                    (y1**2 + y2**2) / ((n - 1) * d**2) - M,
                    ">=",
                    times(
                        plus(y1**2 - p1 * d**2, y2**2 - p2 * d**2, d**2 * (p1 + p2 - (n - 1) * M)),
                        1 / ((n - 1) * d**2),
                    ),
                )
            ],
            "M is the mean over pairs, (n - 1) M <= sum |u_k - f/|f||^2 <= sum tan^2 theta_k by "
            "bounds.best_reference and bounds.tangent; p_k = tan^2 theta_k, d = |f| - ||E||, y_k = |e_k "
            "across f|, the sum of y_k^2 is ||E (I - P_f)||^2. Rows that point the other way (alpha_k < 0) "
            "do not change |cos|. Three uses: f = the mean row, E = Pi_perp X, |f| = ||Pi X||/sqrt(n); f = "
            "q + mean of T, E = T less its mean, T = S with row k divided by v_k, from the row split at a "
            "real lambda; and the next.",
        ),
        Claim(
            "tilted rows",
            {"-T <= t": t >= -T, "t <= T": t <= T, "T < 1": T < 1},
            [1 + t > 0, t / (1 + t) <= T / (1 - T), -t / (1 + t) <= T / (1 - T)],
            [
                Sign("the row keeps its sign", 1 + t, ">", plus(1 - T, t + T)),
                Sign("T is not negative", T, ">=", times(plus(t + T, T - t), sympy.Rational(1, 2))),
                Sign(
                    "for positive t",
                    T / (1 - T) - t / (1 + t),
                    ">=",
                    times(plus(T * (T + t), (T - t) * (1 - T)), 1 / ((1 - T) * (1 + t))),
                ),
                Sign("for negative t", T / (1 - T) + t / (1 + t), ">=", (T + t) / ((1 - T) * (1 + t))),
            ],
            "At a real pair alpha_k = v_k (1 + t), t = beta_k/v_k, |t| <= T = max_k sum_m |V_km/v_k| |b_m|. "
            "Row k of X / alpha_k is q + T_k / (1 + t), where T_k is row k of S divided by v_k; it differs "
            "from q + T_k by |t/(1 + t)| |T_k| <= T/(1 - T) |T_k|. So ||E|| is at most the norm of T less "
            "its mean, plus T/(1 - T) times the norm of T, and across f at most that of (T less its mean)(I "
            "- P_z), plus |f - z|/|z| times that of T less its mean (bounds.projections), plus the same "
            "last term. v_k > 0 at the constant mode, so there all alpha_k > 0.",
        ),
    ),
    _angles,
)


# ---------------------------------------------------------------- trivial


def _trivial(z3: Any) -> dict[str, Query]:
    n, t, s1, s2, c, d = z3.Reals("n t s1 s2 c d")
    return {
        "mean cosine": Query({"n > 1": n > 1, "t >= 0": t >= 0}, _over(z3, n * (n - 1), n * n - t, n * n)),
        "absolute values": Query({"c >= 0": c >= 0, "d >= 0": d >= 0}, 2 - c - d <= 2),
        "singular values": Query({"s1 > 0": s1 > 0, "s2 <= s1": s1 >= s2}, _over(z3, s1, s2, s1)),
    }


TRIVIAL = Statement(
    "bounds.trivial",
    "Whatever the state: the mean over pairs of 1 - cos is at most n/(n - 1), that of 1 - |cos| at most 1, "
    "and sigma_2/sigma_1 at most 1.",
    r"1 - \overline{\cos} \le \frac{n}{n-1},\quad 1 - \overline{|\cos|} \le 1,\quad"
    r" \frac{\sigma_2}{\sigma_1} \le 1",
    "derived here",
    (
        Claim(
            "mean cosine",
            {"n > 1": n > 1, "t >= 0": t >= 0},
            [n / (n - 1) >= _MEAN],
            [
                Sign("n is positive", n, ">", plus(n - 1, 1)),
                Sign("what is missing", n / (n - 1) - _MEAN, ">=", t / (n * (n - 1))),
            ],
            "t = |sum of the unit vectors|^2, the mean over pairs as in bounds.best_reference; attained by "
            "any unit vectors that add up to 0.",
        ),
        Claim(
            "absolute values",
            {"c >= 0": c >= 0, "d >= 0": d >= 0},
            [1 - (c + d) / 2 <= 1],
            [Sign("a mean of numbers that are not negative", 1 - (1 - (c + d) / 2), ">=", (c + d) / 2)],
            "c, d are |cos| of two pairs; more pairs, more terms.",
        ),
        Claim(
            "singular values",
            {"s1 > 0": s1 > 0, "s2 <= s1": s2 <= s1},
            [s2 / s1 <= 1],
            [Sign("they are in order", 1 - s2 / s1, ">=", (s1 - s2) / s1)],
            "sigma_1 is the largest.",
        ),
    ),
    _trivial,
)


# ---------------------------------------------------------------- effective_rank


def _effective_rank(z3: Any) -> dict[str, Query]:
    x, y, l1, l2, l3, l4 = z3.Reals("x y x1 x2 y1 y2")
    M, s, t, r, u, q, N, P, L, E, H, T = z3.Reals("M s t r u q N P L B h T")
    lm = z3.Real("m")
    return {
        "averaging": Query(
            {
                "ln m - ln x <= m/x - 1": 2 * x * lm - 2 * x * l1 <= y - x,
                "ln m - ln y <= m/y - 1": 2 * y * lm - 2 * y * l2 <= x - y,
            },
            x * l1 + y * l2 >= (x + y) * lm,
        ),
        "share": Query(
            {"M > 0": M > 0, "s >= 0": s >= 0, "s <= t": t >= s},
            _over(z3, (1 + M * s) * (1 + M * t), M * s * (1 + M * t), M * t * (1 + M * s)),
        ),
        "more even": Query(
            {
                "x <= y": y >= x,
                "y2 <= y1": l3 >= l4,
                "first entry": l3 - x * l3 <= x - y + l1 - x * l1,
                "other entries": x * l4 - x * l2 <= y - x,
            },
            l3 - y * l3 + y * l4 <= l1 - x * l1 + x * l2,
        ),
        "mean": Query(
            {
                "r > 0": r > 0,
                "u > 0": u > 0,
                "N > 0": N > 0,
                "q - 2 s (r^2 s) + r^2 s^2 >= 0": q >= r * r * s * s,
                "q <= N^2": N * N - q >= 0,
            },
            _over(z3, u * r, s * r, N),
        ),
        "small": Query(
            {"T >= 0": T >= 0, "P <= T": T - P >= 0, "L <= 0": -L >= 0},
            _over(z3, 1 + T, P + P * T - T * L, T + T * T - T * L - T * T * L),
        ),
        "exponential": Query({"(1 - h) B <= 1": E - H * E <= 1}, E <= 1 + H * E),
    }


EFFECTIVE_RANK = Statement(
    "bounds.effective_rank",
    "With s the mean of sigma_k/sigma_1 over k >= 2, or anything between it and 1, the effective rank is at "
    "most that of singular values (1, s, ..., s); and s <= ||X - R|| / (sigma_1 sqrt(m - 1)) for every R of "
    "rank one.",
    r"\mathrm{erank} \le \exp\Big(\ln(1 + T) - \frac{T \ln s}{1 + T}\Big),\; T = (m-1) s,\quad"
    r" s \le \frac{\|X - R\|}{\sigma_1 \sqrt{m-1}}",
    "derived here",
    (
        Claim(
            "averaging",
            {
                "ln m - ln x <= m/x - 1": x * (m - x1) <= (x + y) / 2 - x,
                "ln m - ln y <= m/y - 1": y * (m - x2) <= (x + y) / 2 - y,
            },
            [-x * x1 - y * x2 <= -(x + y) * m],
            [
                Sign(
                    "add the two tangents: their right sides cancel",
                    -(x + y) * m + x * x1 + y * x2,
                    ">=",
                    plus((x + y) / 2 - x - x * (m - x1), (x + y) / 2 - y - y * (m - x2)),
                )
            ],
            "x, y > 0 are two shares sigma_k/sum with logarithms x1, x2, and m is the logarithm of their "
            "mean. The tangent ln v <= v - 1 at v = mean/x, times x (and 0 ln 0 = 0, where it holds too). "
            "For all shares from the second on the same sum has m - 1 such terms and right sides that "
            "cancel: making them equal, with their sum and the first share unchanged, does not lower the "
            "entropy.",
        ),
        Claim(
            "share",
            {"M > 0": M > 0, "s >= 0": s >= 0, "s <= t": s <= t},
            [M * s / (1 + M * s) <= M * t / (1 + M * t)],
            [
                Sign("t is not negative", t, ">=", plus(t - s, s)),
                Sign(
                    "a common denominator",
                    M * t / (1 + M * t) - M * s / (1 + M * s),
                    ">=",
                    M * (t - s) / ((1 + M * s) * (1 + M * t)),
                ),
            ],
            "M = m - 1. The share of all entries but the first of (1, s, ..., s) increases with s.",
        ),
        Claim(
            "more even",
            {
                "x <= y": x <= y,
                "y2 <= y1": y2 <= y1,
                "first entry": (1 - x) * (y1 - x1) <= x - y,
                "other entries": x * (y2 - x2) <= y - x,
            },
            [-(1 - x) * x1 - x * x2 <= -(1 - y) * y1 - y * y2],
            [
                Sign(
                    "Gibbs' inequality, and a share that moves to smaller entries",
                    -(1 - y) * y1 - y * y2 + (1 - x) * x1 + x * x2,
                    ">=",
                    plus(
                        x - y - (1 - x) * (y1 - x1),
                        y - x - x * (y2 - x2),
                        (y - x) * (y1 - y2),
                    ),
                )
            ],
            "x, y are the shares of the claim before for s <= t <= 1; x1 = ln(1 - x), x2 = ln(x/M), and y1, "
            "y2 likewise: logarithms of the first and of any other entry. y2 <= y1 because t <= 1. The two "
            "tangents ln v <= v - 1 are taken at v = (1 - y)/(1 - x), times 1 - x, and at v = y/x, times x. "
            "The sides of the conclusion are the two entropies: that of (1, s, ..., s) increases with s up "
            "to s = 1.",
        ),
        Claim(
            "mean",
            {
                "r > 0": r > 0,
                "u > 0": u > 0,
                "N > 0": N > 0,
                "q - 2 s (r^2 s) + r^2 s^2 >= 0": q - 2 * s * (r**2 * s) + r**2 * s**2 >= 0,
                "q <= N^2": q <= N**2,
            },
            [s / u <= N / (u * r)],
            [
                Sign(
                    "compare the squares",
                    N**2 - (r * s) ** 2,
                    ">=",
                    plus(N**2 - q, q - 2 * s * (r**2 * s) + r**2 * s**2),
                ),
                _root("take roots", N, r * s),
                Sign("divide", N / (u * r) - s / u, ">=", (N - r * s) / (u * r)),
            ],
            "r = sqrt(m - 1), u = sigma_1, q the sum of sigma_k^2 over k >= 2 and s the mean of these "
            "sigma_k, so that their sum is r^2 s. The fourth assumption says that the sum of (sigma_k - "
            "s)^2 is not negative; the fifth is bounds.row_split, q <= ||X - R||^2, N = ||X - R||.",
        ),
        Claim(
            "small",
            {"T >= 0": T >= 0, "P <= T": P <= T, "L <= 0": L <= 0},
            [P - T * L / (1 + T) <= T * (1 - L)],
            [
                Sign(
                    "two terms that are not negative",
                    T * (1 - L) - P + T * L / (1 + T),
                    ">=",
                    plus(T - P, times(-L, T**2, 1 / (1 + T))),
                )
            ],
            "P = ln(1 + T) <= T, L = ln s <= 0: the entropy is at most T (1 - ln s), which has a logarithm "
            "however small s is.",
        ),
        Claim(
            "exponential",
            {"(1 - h) B <= 1": (1 - h) * B <= 1},
            [h * B >= B - 1],
            [Sign("rearrange", h * B - B + 1, ">=", 1 - (1 - h) * B)],
            "B = e^h for an entropy h, e^(-h) >= 1 - h: so ln(e^h - 1) <= ln h + h, and h <= e^(-40) < "
            "1e-17.",
        ),
    ),
    _effective_rank,
)


# ---------------------------------------------------------------- henrici


def _henrici(z3: Any) -> dict[str, Query]:
    a, b, c, d, g, p, q, u = z3.Reals("a b c d g p q u")
    k, m, x, y, depth, v, t, w = z3.Reals("k m x y l v t w")
    return {
        "one more layer": Query(
            {
                "d >= 0": d >= 0,
                "g >= 0": g >= 0,
                "a <= p u g": p * u * g - a >= 0,
                "b <= q u d": q * u * d - b >= 0,
                "c <= d a + g b": d * a + g * b - c >= 0,
            },
            c <= p * u * d * g + q * u * d * g,
        ),
        "Pascal": Query(
            {"p = v (l - k + 1)": v * depth - v * k + v == p, "q = v k": v * k == q},
            v + v * depth == p + q,
        ),
        "long words": Query(
            {"x >= 0": x >= 0, "y >= x + k": y - x - k >= 0, "k >= m": k - m >= 0},
            z3.Not(m > y),
        ),
        "nilpotent part": Query(
            {
                "u <= a q": a * q - u >= 0,
                "v <= p b": p * b - v >= 0,
                "w <= p q": p * q - w >= 0,
                "t <= u + v + w": u + v - t >= -w,
            },
            z3.Not(t > a * q + p * b + p * q),
        ),
    }


_N1, _N2, _N3, _D1, _D2, _D3, _D4, _D5, _D6 = sympy.symbols("N1:4 D1:7", real=True)
_NIL = sympy.Matrix([[0, _N1, _N2], [0, 0, _N3], [0, 0, 0]])
HENRICI = Statement(
    "bounds.henrici",
    "The l-th power of a diagonal D plus a strictly triangular N of size m has norm at most the sum over k "
    "< m of binom(l, k) delta^(l-k) nu^k, delta = |D|_2, nu = |N|_2. For layers in the Schur forms of A' "
    "(size n - 1) and H (size d) k stays below n + d - 2, and nu <= |D_A| |N_H| + |N_A| |D_H| + |N_A| |N_H|.",
    r"\|(D + N)^l\|_2 \le \sum_{k < m} \binom{l}{k} \delta^{l-k} \nu^k,\quad"
    r" \nu \le |D_A||N_H| + |N_A||D_H| + |N_A||N_H|",
    "derived here (after Henrici 1962)",
    (
        Claim(
            "one more layer",
            {
                "d >= 0": d >= 0,
                "g >= 0": g >= 0,
                "a <= p u g": a <= p * u * g,
                "b <= q u d": b <= q * u * d,
                "c <= d a + g b": c <= d * a + g * b,
            },
            [c <= (p + q) * u * d * g],
            [
                Sign(
                    "put one into the other",
                    (p + q) * u * d * g - c,
                    ">=",
                    plus(d * a + g * b - c, d * (p * u * g - a), g * (q * u * d - b)),
                )
            ],
            "Multiply (D + N)^l out into words of D and N; a is at least the sum of the norms of the words "
            "with k letters N, b of those with k - 1, c of the words of length l + 1 with k letters N. Such "
            "a word ends in D or in N, so c <= delta a + nu b. With d = delta, g = nu, u = delta^(l-k) "
            "nu^(k-1), p = binom(l, k) and q = binom(l, k-1), the bounds at depth l give that at l + 1, and "
            "l = 0 has the one empty word of norm 1. (k = 0: only D^l; k = l + 1: only N^(l+1).)",
        ),
        Claim(
            "Pascal",
            {"p = v (l - k + 1)": sympy.Eq(p - v * (depth - k + 1), 0), "q = v k": sympy.Eq(q - v * k, 0)},
            [sympy.Eq(p + q, v * (depth + 1))],
            [
                Sign(
                    "add",
                    p + q - v * (depth + 1),
                    "==",
                    plus(p - v * (depth - k + 1), q - v * k),
                )
            ],
            "v = l! / (k! (l - k + 1)!): then p = binom(l, k), q = binom(l, k-1), and v (l + 1) = binom(l + "
            "1, k).",
        ),
        Claim(
            "long words",
            {"x >= 0": x >= 0, "y >= x + k": y >= x + k, "k >= m": k >= m},
            [y >= m],
            [
                Identity(
                    "for size three",
                    _NIL * sympy.diag(_D1, _D2, _D3) * _NIL * sympy.diag(_D4, _D5, _D6) * _NIL,
                    sympy.zeros(3, 3),
                ),
                Sign("add up", y - m, ">=", plus(y - x - k, x, k - m)),
            ],
            "An entry of a word is a sum over paths from a grade x >= 0 to a grade y: D stays at its grade, "
            "N goes up by one at least. Grades run from 0 to m - 1, so a word with k >= m letters N has no "
            "path and is zero. The grade is the row number for a triangular N; for A' and H together it is "
            "the sum of two row numbers, of at most n - 2 and d - 1, hence m = n + d - 2.",
        ),
        Claim(
            "nilpotent part",
            {
                "u <= a q": u <= a * q,
                "v <= p b": v <= p * b,
                "w <= p q": w <= p * q,
                "t <= u + v + w": t <= u + v + w,
            },
            [t <= a * q + p * b + p * q],
            [
                Identity(
                    "a diagonal part and the rest",
                    (a + p) * (b + q),
                    a * b + (a * q + p * b + p * q),
                ),
                Sign(
                    "put one into the other",
                    a * q + p * b + p * q - t,
                    ">=",
                    plus(u + v + w - t, a * q - u, p * b - v, p * q - w),
                ),
            ],
            "The layer is I + A' (x) H^T. In Schur forms A' = D_A + N_A, H^T likewise, the product is "
            "diagonal plus N = D_A (x) N_H + N_A (x) D_H + N_A (x) N_H, a step up in one row number at "
            "least. a = |D_A|_2, b = |D_H|_2, p = |N_A|_2, q = |N_H|_2; u, v, w the norms of the three "
            "terms, |K (x) M|_2 <= |K|_2 |M|_2 since K (x) M = (K (x) I)(I (x) M); t = |N|_2 = nu. The "
            "diagonal has the entries rho, delta = max |rho|. Where A is diagonalizable, Pi_perp X_l = sum "
            "Pi_perp v_i u_i X_0 (I + lambda_i H)^l, each power bounded with A' = (lambda_i), so k < d; "
            "where H is, the same with rows and columns exchanged.",
        ),
    ),
    _henrici,
)


# ---------------------------------------------------------------- quotient_layer

_ROWS = [sympy.symbols(f"a{i}1 a{i}2 a{i}3", real=True) for i in (1, 2, 3)]
_SUMS = {f"row {i + 1} sums to 1": sympy.Eq(sum(row), 1) for i, row in enumerate(_ROWS)}
_TOKENS = (x1, x2, x3)


def _centred(shift: sympy.Expr) -> list[sympy.Expr]:
    """Return Pi_perp A (x - shift 1) for three tokens."""
    mixed = [sum(entry * (token - shift) for entry, token in zip(row, _TOKENS, strict=True)) for row in _ROWS]
    return [entry - sum(mixed) / 3 for entry in mixed]


def _quotient_layer(z3: Any) -> dict[str, Query]:
    rows = [z3.Reals(f"a{i}1 a{i}2 a{i}3") for i in (1, 2, 3)]
    tokens = z3.Reals("x1 x2 x3")
    c, p, q, h = z3.Reals("c p q h")
    x1, x2, _ = tokens

    def across(shift: Any) -> list[Any]:
        """Three times Pi_perp A (x - shift 1)."""
        mixed = [sum(o * (token - shift) for o, token in zip(row, tokens, strict=True)) for row in rows]
        return [
            2 * mixed[0] - mixed[1] - mixed[2],
            2 * mixed[1] - mixed[0] - mixed[2],
            2 * mixed[2] - mixed[0] - mixed[1],
        ]

    whole, diverse = across(0), across(c)
    first, second = x1 - p * x1 + p * x2, q * x1 + x2 - q * x2
    return {
        "constant part stays out": Query(
            {f"row {i + 1} sums to 1": 1 - row[0] - row[1] == row[2] for i, row in enumerate(rows)},
            z3.And(*(one == other for one, other in zip(whole, diverse, strict=True))),
        ),
        "two tokens": Query(
            {},
            (x1 + first * h) - (x2 + second * h) == x1 - x2 + (x1 - x2) * h * (1 - p - q),
        ),
    }


QUOTIENT_LAYER = Statement(
    "bounds.quotient_layer",
    "For every row-stochastic A, Pi_perp A Pi = 0: the diverse part obeys the layer alone, Pi_perp X_{l+1} "
    "= Pi_perp X_l + Pi_perp A (Pi_perp X_l) H, and in an orthonormal basis Q of the complement of 1 it is "
    "the layer with A' = Q^T A Q.",
    r"\Pi_\perp A \Pi = 0,\quad Q^T X_{l+1} = Q^T X_l + (Q^T A Q)(Q^T X_l) H",
    "derived here",
    (
        Claim(
            "constant part stays out",
            _SUMS,
            [
                sympy.Eq(whole, diverse, evaluate=False)
                for whole, diverse in zip(_centred(sympy.Integer(0)), _centred(c), strict=True)
            ],
            [
                Sign(
                    "a vector common to all tokens comes out as c times the row sums, and these are equal",
                    _centred(sympy.Integer(0))[i] - _centred(c)[i],
                    "==",
                    times(
                        c / 3,
                        plus(
                            2 * (sum(_ROWS[i]) - 1),
                            -(sum(_ROWS[i - 1]) - 1),
                            -(sum(_ROWS[i - 2]) - 1),
                        ),
                    ),
                )
                for i in (0, 1, 2)
            ],
            "One feature x of three tokens, c its mean, so x - c 1 = Pi_perp x: Pi_perp A x = Pi_perp A "
            "Pi_perp x. H acts on features and commutes with all of it; more tokens, more terms. With "
            "Pi_perp = Q Q^T and Q^T Q = I, Q^T A X = Q^T A Q Q^T X, and ||Pi_perp X|| = ||Q^T X||.",
        ),
        Claim(
            "two tokens",
            {},
            [
                sympy.Eq(
                    (x1 + ((1 - p) * x1 + p * x2) * h) - (x2 + (q * x1 + (1 - q) * x2) * h),
                    (x1 - x2) * (1 + (1 - p - q) * h),
                )
            ],
            [
                Identity(
                    "for two tokens A' is the number 1 - p - q, the second eigenvalue",
                    (x1 + ((1 - p) * x1 + p * x2) * h) - (x2 + (q * x1 + (1 - q) * x2) * h),
                    (x1 - x2) * (1 + (1 - p - q) * h),
                )
            ],
            "A = (1 - p, p; q, 1 - q) and one feature with H = (h): the difference of the tokens is "
            "multiplied by 1 + lambda mu.",
        ),
    ),
    _quotient_layer,
)


# ---------------------------------------------------------------- rounding


def _rounding(z3: Any) -> dict[str, Query]:
    D, L, M, e, f, u, g, h = z3.Reals("D L M e f u g h")
    x, y, r, s = z3.Reals("x y r s")
    return {
        "error of rho": Query(
            {
                "L >= 0": L >= 0,
                "M >= 0": M >= 0,
                "e >= 0": e >= 0,
                "f >= 0": f >= 0,
                "u >= 0": u >= 0,
                "e <= u g": u * g - e >= 0,
                "f <= u h": u * h - f >= 0,
                "u g h <= 1": 1 - u * g * h >= 0,
                "D <= L f + M e + e f": L * f + M * e - D >= -e * f,
            },
            z3.Not(u + u * g * M + u * h * L < D),
        ),
        "products": Query(
            {"0 <= x": x >= 0, "x <= y": y - x >= 0, "0 <= r": r >= 0, "r <= s": s - r >= 0},
            z3.Not(x * r > y * s),
        ),
    }


ROUNDING = Statement(
    "bounds.rounding",
    "With errors of computed eigenvalues at most u times condition times norm, the error of rho = 1 + "
    "lambda mu is at most u (1 + kappa_A ||A|| |mu| + kappa_H ||H|| |lambda|), the term of second order "
    "included, as long as u kappa_A ||A|| kappa_H ||H|| <= 1; and a bound is still one when moduli in it "
    "are moved to the safe side.",
    r"|\tilde\rho - \rho| \le u (1 + \kappa_A \|A\| |\mu| + \kappa_H \|H\| |\lambda|)",
    "derived here",
    (
        Claim(
            "error of rho",
            {
                "L >= 0": L >= 0,
                "M >= 0": M >= 0,
                "e >= 0": e >= 0,
                "f >= 0": f >= 0,
                "u >= 0": u >= 0,
                "e <= u g": e <= u * g,
                "f <= u h": f <= u * h,
                "u g h <= 1": u * g * h <= 1,
                "D <= L f + M e + e f": L * f + M * e + e * f >= D,
            },
            [u * (1 + g * M + h * L) >= D],
            [
                Sign("u g is not negative", u * g, ">=", plus(u * g - e, e)),
                Sign(
                    "put the errors in",
                    u * (1 + g * M + h * L) - D,
                    ">=",
                    plus(
                        L * f + M * e + e * f - D,
                        L * (u * h - f),
                        M * (u * g - e),
                        u * (1 - u * g * h),
                        times(u * g, u * h - f),
                        f * (u * g - e),
                    ),
                ),
            ],
            "lambda and mu with errors of moduli e, f: the product changes by lambda x + mu y + x y, D at "
            "most in modulus (triangle, moduli of products), L = |lambda|, M = |mu|. g and h are condition "
            "number times norm. The 1 covers the product of the errors. That an error is at most u times "
            "condition times norm is the first-order theory of eigenvalues and of the algorithm; it is "
            "assumed here, not proved.",
        ),
        Claim(
            "products",
            {"0 <= x": x >= 0, "x <= y": x <= y, "0 <= r": r >= 0, "r <= s": r <= s},
            [x * r <= y * s],
            [
                Sign("y is not negative", y, ">=", plus(y - x, x)),
                Sign("one factor at a time", y * s - x * r, ">=", plus(y * (s - r), r * (y - x))),
            ],
            "So |rho|^l and |c| |rho|^l increase with |rho| and |c| (induction on l), the sums of "
            "bounds.gram with every |Y_ij|; the lower bounds of bounds.lead and bounds.from_below increase "
            "with the moduli that lead and decrease with those that are subtracted, and quotients are in "
            "bounds.row_split. A computed modulus lies within its error of the exact one (bounds.norms).",
        ),
    ),
    _rounding,
)


# ---------------------------------------------------------------- closes

_FALLS = {"0 < q": q > 0, "q < 1": q < 1}
_QUOTIENT = C * q**depth / (1 - K * q**depth)
_BOTH = _QUOTIENT**2 / (1 + _QUOTIENT**2)
_ENTROPY = sympy.log(1 + M * s) - M * s * sympy.log(s) / (1 + M * s)


def _closes(z3: Any) -> dict[str, Query]:
    p, depth, B = z3.Reals("p l B")
    q, C, K, Q, eps, V, W = z3.Reals("q C K Q eps V W")
    M, r, L, P, H, E = z3.Reals("M r L P H E")
    falls = {"0 < q": q > 0, "q < 1": q < 1}
    # Q = q^l; l is the depth from which on the quotient h / low is below eps
    power = z3.And(eps > 0, Q > 0, Q * (q + depth * (1 - q)) <= q)
    deep = z3.And(C >= 0, K >= 0, depth * (1 - q) * eps > q * (C + eps * K))
    h, low = C * Q, 1 - K * Q
    # q here is a (k+1)-th root, Q = q^l: V = (l Q)^k, W = (q / (1 - q))^k, and V Q is the sequence
    chain = z3.And(V >= 0, V <= W, depth * (1 - q) * eps > q * W)
    # r = sqrt(s), L = -ln s <= 2 (1/r - 1), P = ln(1 + T) <= T = M s, H the entropy, E = e^H, e^-H >= 1 - H
    T = M * r * r
    logs = z3.And(r > 0, r <= 1, M >= 0, L >= 0, L * r <= 2 - 2 * r, P <= T)
    entropy = z3.And(H * (1 + T) == P * (1 + T) + T * L, E - H * E <= 1, E > 0)
    return {
        "Bernoulli": Query(
            {"p > 0": p > 0, "l >= 0": depth >= 0, "B >= 1 + l p": depth * p <= B - 1},
            B + B * p >= 1 + depth * p + p,
        ),
        "quotient": Query(
            falls,
            z3.Implies(z3.And(power, deep), z3.And(low > 0, h < eps * low)),
            same_symbols=False,
        ),
        "token diversity": Query(
            falls,
            z3.Implies(z3.And(power, deep, eps < 1), z3.And(low > 0, h * h < eps * (h * h + low * low))),
            same_symbols=False,
        ),
        "Jordan blocks": Query(falls, z3.Implies(z3.And(power, chain), V * Q - eps < 0), same_symbols=False),
        "effective rank": Query(
            {},
            z3.Implies(z3.And(logs, entropy, 4 * M * r <= 1, 4 * M * r < eps), eps > E - 1),
            same_symbols=False,
        ),
    }


CLOSES = Statement(
    "bounds.closes",
    "Every upper bound closes as the depth grows when one mode dominates alone: token diversity and HFC/LFC "
    "when it is at lambda = 1, the angles and the rank at any real one (angles: v without zero entries); "
    "also, at lambda = 1, with Jordan blocks.",
    r"\frac{C q^l}{1 - K q^l} \to 0,\quad l^k q^l \to 0 \quad (0 < q < 1),\quad"
    r" \exp\Big(\ln(1 + Ms) - \frac{Ms \ln s}{1 + Ms}\Big) - 1 \to 0 \quad (s \to 0)",
    "derived here",
    (
        Claim(
            "Bernoulli",
            {"p > 0": p > 0, "l >= 0": depth >= 0, "B >= 1 + l p": 1 + depth * p <= B},
            [B * (1 + p) >= 1 + (depth + 1) * p],
            [
                Sign(
                    "one more factor",
                    B * (1 + p) - 1 - (depth + 1) * p,
                    ">=",
                    plus((1 + p) * (B - 1 - depth * p), depth * p**2),
                )
            ],
            "Induction on l: (1 + p)^l >= 1 + l p. With q = 1/(1 + p) this says q^l (q + l (1 - q)) <= q, "
            "which is all that the second forms of the limits use.",
        ),
        Claim(
            "quotient",
            _FALLS,
            [Tends("a geometric sequence", _QUOTIENT, depth, sympy.oo, 0)],
            [
                Sign("ln q is negative, so q^l tends to 0", sympy.log(q), "<"),
                Tends("a geometric sequence", _QUOTIENT, depth, sympy.oo, 0),
            ],
            "Divide by |rho|^l of the dominant mode. Every other |Y_km| is then at most a constant times "
            "q^l, q < 1 the largest quotient of moduli, and so are b, r and the minors (a product of two "
            "such is smaller still), hence h, ||S|| and ||E||. p, |alpha| |q| and |f| are at least a "
            "positive constant (from bounds.lead, for instance 1/|w_j|) less a constant times q^l. Divide "
            "by the first constant: bounds.row_split, bounds.minors and bounds.angles give quotients of "
            "this kind, and squares, products and sums of them.",
        ),
        Claim(
            "token diversity",
            _FALLS,
            [Tends("x^2/(1 + x^2) with x = h/p", _BOTH, depth, sympy.oo, 0)],
            [Tends("x^2/(1 + x^2) with x = h/p", _BOTH, depth, sympy.oo, 0)],
            "t_div <= h^2/(h^2 + p^2) = x^2/(1 + x^2) with the x = h/p of the claim before.",
        ),
        Claim(
            "Jordan blocks",
            _FALLS,
            [Tends("powers lose against geometric sequences", depth**k * q**depth, depth, sympy.oo, 0)],
            [Tends("powers lose against geometric sequences", depth**k * q**depth, depth, sympy.oo, 0)],
            "The bound of bounds.henrici over |rho|^l of the dominant mode of lambda = 1: finitely many "
            "terms binom(l, k) <= l^k times a constant times q^l. The lead is that of an eigenvector w_j of "
            "H, pi^T X_0 w_j != 0, as in bounds.condition.",
        ),
        Claim(
            "effective rank",
            {},
            [Tends("s ln s tends to 0", sympy.exp(_ENTROPY) - 1, s, 0, 0)],
            [Tends("s ln s tends to 0", sympy.exp(_ENTROPY) - 1, s, 0, 0)],
            "s is at most a quotient of the second claim, M = m - 1.",
        ),
    ),
    _closes,
    witnesses={
        (claim, name): why
        for claim in ("quotient", "token diversity", "Jordan blocks")
        for name, why in (
            ("0 < q", "q = -2: the terms grow and change sign"),
            ("q < 1", "q = 2: the terms grow, or tend to another limit"),
        )
    },
)


STATEMENTS = (
    NORMS,
    SYMMETRIC,
    CONDITION,
    GRAM,
    ROW_SPLIT,
    LEAD,
    FROM_BELOW,
    MINORS,
    PROJECTIONS,
    BEST_REFERENCE,
    TANGENT,
    ANGLES,
    TRIVIAL,
    EFFECTIVE_RANK,
    HENRICI,
    QUOTIENT_LAYER,
    ROUNDING,
    CLOSES,
)
