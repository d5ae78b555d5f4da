"""Where the constant part goes along an eigenvector that does not stand still."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times

PLACE = 10

m, f, d, s, mu, r, c, q = sympy.symbols("m f d s mu r c q", real=True)

_FIXED = {"f s mu = d": sympy.Eq(f * s * mu, d)}
_rho = 1 + s * mu


def second(z3: Any) -> dict[str, Query]:
    m, f, d, s, mu, c, q = z3.Reals("m f d s mu c q")
    fixed = {"f s mu = d": f * s * mu - d == 0}
    return {
        "one layer": Query(fixed, m + s * mu * m + d + f == (m + f) * (1 + s * mu)),
        "at rest": Query(fixed, -f - s * mu * f + d == -f),
        "all layers": Query(
            fixed | {"m = q (c + f) - f": m + f == q * c + q * f},
            m + s * mu * m + d == (q + q * s * mu) * (c + f) - f,
        ),
    }


STATEMENT = Statement(
    "affine.fixed_point",
    "Along an eigenvector of H with s mu != 0 the constant part, counted from -f with f = d / (s mu), is "
    "multiplied by rho = 1 + s mu in each layer: m_l = rho^l (m_0 + f) - f, and -f stays where it is.",
    r"m_{l+1} + f = (1 + s\mu)(m_l + f),\quad f = \frac{d}{s\mu},\qquad m_l = (1+s\mu)^l (m_0 + f) - f",
    "derived here",
    (
        Claim(
            "one layer",
            _FIXED,
            [sympy.Eq(_rho * m + d + f, _rho * (m + f))],
            [
                Sign(
                    "the two sides differ by d - s mu f",
                    _rho * m + d + f - _rho * (m + f),
                    "==",
                    -(f * s * mu - d),
                )
            ],
            "u (X + A X H + 1 b^T) w = m + s m mu + d, because u A = s u, H w = mu w and u 1 = 1.",
        ),
        Claim(
            "at rest",
            _FIXED,
            [sympy.Eq(-_rho * f + d, -f)],
            [Sign("the same at m = -f", -_rho * f + d + f, "==", -(f * s * mu - d))],
            "All components together: the fixed point of the constant part is -b (s H)^-1.",
        ),
        Claim(
            "all layers",
            _FIXED | {"m = q (c + f) - f": sympy.Eq(m, q * (c + f) - f)},
            [sympy.Eq(_rho * m + d, _rho * q * (c + f) - f)],
            [
                Sign(
                    "one layer, from what holds before it",
                    _rho * m + d - _rho * q * (c + f) + f,
                    "==",
                    plus(times(_rho, m - q * (c + f) + f), -(f * s * mu - d)),
                )
            ],
            "Induction over layers: q = rho^l and c = m_0; at l = 0, q = 1 and m = c.",
        ),
    ),
    second,
)
