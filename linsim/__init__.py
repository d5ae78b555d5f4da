"""linsim: what must happen in a deep linear Transformer, and what does."""

from . import metrics
from .errors import LinsimError
from .rules import Layered, Linear, MultiHead
from ._simulate import simulate
from .trajectory import RunInfo, Trajectory
