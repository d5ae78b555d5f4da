"""The state grows like the largest modulus."""

from ...statement import Statement
from .shared import bernoulli, deep_enough, leading, leading_second, slope_claims, slope_second

PLACE = 100


STATEMENT = Statement(
    "rates.norm",
    "The state grows like |rho_*| per layer, rho_* the dominant one, or decays like it: ln|X_l|/l tends "
    "to ln|rho_*|.",
    r"\tfrac1l \ln \|X_l\| \to \ln |\rho_*|",
    "derived here",
    (
        bernoulli,
        deep_enough,
        leading,
        *slope_claims(
            1,
            "L = ln|X_l|, m = ln|rho_*|: |X_l|/|rho_*|^l is between d1/2 and 3 d2/2 from an explicit "
            "layer on, and k0, k1 are the logarithms of these.",
        ),
    ),
    lambda s: leading_second(s) | slope_second(s, 1),
)
