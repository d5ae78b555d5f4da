"""A pair of complex weights: rank 1 at every layer, and a direction that keeps turning."""

from __future__ import annotations

from typing import Any

from ...statement import Query, Statement
from .shared import NO_LIMIT, complex_pair_second, keeps_turning, rank_claim

PLACE = 80


def second(z: Any) -> dict[str, Query]:
    return complex_pair_second(z, True)


STATEMENT = Statement(
    "limit.complex_weights",
    "A dominant conjugate pair of mu at one real lambda, not 0: the leading part has rank 1 at every layer, "
    "and the feature direction that all rows share keeps turning, without a limit.",
    r"|\rho|^{-l} X_l \approx 2\,\Re\left(c\, e^{i\theta l}\, v z^T\right) = v g_l^T,\quad "
    r"g_l = r_l y - s_l w,\quad g_l \wedge g_{l+1} = -\sin\theta\; y \wedge w",
    "derived here",
    (
        rank_claim(
            True,
            "v is real, c z = |c| (y + i w)/2 and the phase at layer l is r_1 + i s_1: the leading part is v "
            "g^T with g = r_1 y - s_1 w. The four entries are any two rows and any two columns.",
        ),
        keeps_turning("the direction keeps turning", "Of g, a row vector: " + NO_LIMIT),
    ),
    second,
)
