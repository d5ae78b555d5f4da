"""What a state of tokens looks like: similarity, angles, rank, and their gaps.

A gap is the distance of a metric from its oversmoothed limit.  Gaps are
reported as natural logarithms and keep *relative* accuracy however small they
are.  Every function works on stacks, in the array library of its input.

Which ones
----------
Fourteen are recorded by default: those that the theory has laws for, and that stored sweeps hold.  The
others are measured where they are named, or with "all"; those that look at attention are NaN where
tokens go into none (``measure(x, attention=A)`` gives it).  :func:`interaction_energy` and
:func:`clusters` make metrics with parameters of your choice, :func:`normalised` measures any of them on
tokens of length 1, and :func:`of_states` makes one of a function of the tokens.

Tokens that count
-----------------
With ``tokens=``, a mask, metrics are of the rows that it leaves, as if there were no others (padding,
attention sinks).  A weight w_i says how often token i counts: means, norms and singular values are
those of rows x_i sqrt(w_i), the pair i, j counts w_i w_j, an edge of attention A_ij w_i w_j, a row of
attention w_i.  Layers see all tokens.

Edge values
-----------
n = 1: there is no pair of tokens; cosine and |cosine| are 1, mad and Dirichlet energies 0, their gaps
log -inf; one cluster.  d = 1 or n = 1: sigma_2 = 0, every rank is 1, its gap log -inf; the centred rank
has no value for n = 1 or where all tokens are one: NaN.  A zero row has no direction: its cosine with
every other row counts as 0.  The zero state has a norm of 0 (log -inf), a spread and an energy of 0,
and no other metric: NaN.
"""

from ._crowd import clusters, interaction_energy
from ._measure import measure
from ._metric import Metric
from ._normalised import normalised
from ._own import of_states
from ._registry import METRICS, REGISTRY

__all__ = [
    "METRICS",
    "REGISTRY",
    "Metric",
    "clusters",
    "interaction_energy",
    "measure",
    "normalised",
    "of_states",
]
