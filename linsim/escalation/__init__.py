"""Token similarity escalation: how fast tokens become alike under attention with fresh random weights.

A layer is Y = X + P X W (:class:`linsim.RandomWeights`): attention P, fresh W with E W = 0 and
E W W^T = s^2 I.  Pi averages over tokens; t = ||Pi X||^2/||X||^2 is the token similarity, t_div = 1 - t,
u = t/t_div the odds and r = 1 - t_div(Y)/t_div(X) the escalation rate.  Three different numbers are called
its rate, and each has its own law here:

- the **expectation of the ratio** E[r]: :class:`OddsFactor` (uniform attention, any t),
  :func:`expected_local_rate` (any attention, t -> 1);
- the **ratio of expectations**, with E||Pi_perp Y||^2 and E||Pi Y||^2 in t_div: :func:`expected_energy`
  (exact), :func:`local_rate`, :func:`rate_bound`, :func:`similarity_after`;
- the **typical** rate, how ln t_div falls almost surely: ``OddsFactor.log_mean``, :func:`typical_rate`.

:func:`rate` and :func:`odds_growth` measure a run; :func:`interval`, :func:`ratio_interval` and
:func:`law_pvalue` say how far samples can be trusted; :func:`experiment` lays all of it side by side.
:func:`deescalate` takes similarity away again.

>>> law = OddsFactor(8)
>>> round(law.expected_rate(), 4), local_rate(1.0, 0.0), round(law.log_mean, 4)  # ln 2 = 0.6931
(0.3773, 0.5, 0.5935)
"""

from ._attention import preserves_mean, sigma
from ._bounds import local_rate, rate_bound, similarity_after
from ._deescalation import deescalate, deescalated_similarity, tau_for
from ._energy import ExpectedEnergy, expected_energy
from ._estimate import Estimate, interval, law_pvalue, ratio_interval
from ._experiment import Experiment, Row, experiment
from ._factor import OddsFactor
from ._local import expected_local_rate
from ._measured import odds_growth, rate
from ._typical import TypicalExponents, typical_exponents, typical_rate

__all__ = [
    "Estimate",
    "ExpectedEnergy",
    "Experiment",
    "OddsFactor",
    "Row",
    "TypicalExponents",
    "deescalate",
    "deescalated_similarity",
    "expected_energy",
    "expected_local_rate",
    "experiment",
    "interval",
    "law_pvalue",
    "local_rate",
    "odds_growth",
    "preserves_mean",
    "rate",
    "rate_bound",
    "ratio_interval",
    "sigma",
    "similarity_after",
    "tau_for",
    "typical_exponents",
    "typical_rate",
]
