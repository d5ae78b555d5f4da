"""Complex on both sides: rank 2 at every layer."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Ne

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times

PLACE = 100

x, y, u, v, g, k, alpha, c, d, beta, m, a = sympy.symbols("x y u v g k alpha c d beta m a", real=True)
b, e = sympy.symbols("b e", real=True)

_determinant = (2 * alpha) * (-2 * alpha) - (-2 * beta) * (-2 * beta)
_one, _crossed = ((1 + u * x - v * w) ** 2 + (u * w + v * x) ** 2 for w in (y, -y))


def second(z: Any) -> dict[str, Query]:
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


_real_bases = a * (2 * alpha * g - 2 * beta * k) + b * (-2 * beta * g - 2 * alpha * k)
_next_size = (alpha * c - beta * d) ** 2 + (alpha * d + beta * c) ** 2
_SIZE = {"|gamma| = m": Eq(alpha**2 + beta**2, m**2)}

STATEMENT = Statement(
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
    second,
)
