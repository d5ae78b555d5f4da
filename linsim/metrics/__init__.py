"""What a state of tokens looks like: similarity, angles, rank, and their gaps.

A gap is the distance of a metric from its oversmoothed limit.  Gaps are
reported as natural logarithms and keep *relative* accuracy however small they
are.  Every function works on stacks, in the array library of its input.

Edge values
-----------
n = 1: there is no pair of tokens; cosine and |cosine| are 1, their gaps 0
(log -inf).  d = 1 or n = 1: sigma_2 = 0, effective rank 1, gaps 0.  A zero row
has no direction: its cosine with every other row counts as 0.  The zero state
has a norm of 0 (log -inf), a spread of 0, and no other metric: NaN.
"""

from ._measure import measure
from ._metric import Metric
from ._registry import METRICS, REGISTRY

__all__ = ["METRICS", "REGISTRY", "Metric", "measure"]
