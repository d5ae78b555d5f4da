"""A complex pair of attention: rank 1 at every layer, and sizes that keep turning."""

from __future__ import annotations

from typing import Any

from ...statement import Query, Statement
from .shared import NO_LIMIT, complex_pair_second, keeps_turning, rank_claim

PLACE = 90


def second(z: Any) -> dict[str, Query]:
    return complex_pair_second(z, False)


STATEMENT = Statement(
    "limit.complex_attention",
    "A dominant conjugate pair of lambda at one real mu, not 0: the leading part has rank 1 at every layer, "
    "all rows lie along one fixed direction, but their sizes and signs keep turning, without a limit.",
    r"|\rho|^{-l} X_l \approx 2\,\Re\left(c\, e^{i\theta l}\, v z^T\right) = g_l z^T,\quad "
    r"g_l = r_l y - s_l w,\quad g_l \wedge g_{l+1} = -\sin\theta\; y \wedge w",
    "derived here",
    (
        rank_claim(
            False,
            "The transpose: z is real, with entries v_1 and v_2 in any two columns, c v = |c| (y + i w)/2 "
            "and the leading part is g z^T with g = r_1 y - s_1 w, in any two rows.",
        ),
        keeps_turning("the direction keeps turning", "Of g, a column vector: " + NO_LIMIT),
    ),
    second,
)
