"""Pretrained checkpoints: what their spectra say, and whether it is true of their tokens.

:func:`load` opens a checkpoint; its ``spectra`` need nothing else, ``run`` takes an input through the
exact forward pass and holds each layer against one exact linear step and the asymptotic law.
"""

from ._columns import LayerReport
from ._curves import CURVES, Curves
from ._model import Model, ModelRun, load, names
from ._spectra import LayerSpectra, Spectrum
from ._whatif import WHAT_IF

__all__ = [
    "CURVES",
    "WHAT_IF",
    "Curves",
    "LayerReport",
    "LayerSpectra",
    "Model",
    "ModelRun",
    "Spectrum",
    "load",
    "names",
]
