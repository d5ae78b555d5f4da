"""linsim: what must happen in a deep linear Transformer, and what does.

Build the parts (:mod:`~linsim.attention`, :mod:`~linsim.weights`,
:mod:`~linsim.tokens`), put them in a layer rule (:class:`Linear`,
:class:`MultiHead`, :class:`Layered`), :func:`simulate` it to any depth,
:func:`predict` its limit from spectra alone, :func:`compare` the two, :func:`sweep`
over grids; :mod:`linsim.testing` (imported apart) attacks claims of your own, and
:mod:`~linsim.models` opens pretrained checkpoints.

>>> import numpy as np, linsim
>>> A = linsim.attention.softmax(6, 4, rng=0)
>>> H = linsim.weights.from_spectrum([-0.9, -0.5, -0.2], rng=0)
>>> linsim.predict(A, H).regime
'sharpening'
"""

from . import attention, errors, escalation, masks, metrics, models, theory, tokens, weights
from ._compare import Compared, Comparison, compare
from ._rule import Rule
from ._simulate import METHODS, Engines, engines, simulate
from .block import Block, Deescalation
from .errors import LinsimError
from .lyapunov import LyapunovExponents, lyapunov_exponents
from .rules import Layered, Linear, MultiHead, RandomWeights
from .sweeps import sweep, trace
from .theory import predict
from .trajectory import RunInfo, Slope, Trajectory

__all__ = [
    "METHODS",
    "Block",
    "Compared",
    "Comparison",
    "Deescalation",
    "Engines",
    "Layered",
    "Linear",
    "LinsimError",
    "LyapunovExponents",
    "MultiHead",
    "RandomWeights",
    "Rule",
    "RunInfo",
    "Slope",
    "Trajectory",
    "attention",
    "compare",
    "engines",
    "errors",
    "escalation",
    "lyapunov_exponents",
    "masks",
    "metrics",
    "models",
    "predict",
    "simulate",
    "sweep",
    "theory",
    "tokens",
    "trace",
    "weights",
]

__version__ = "0.1.0"
