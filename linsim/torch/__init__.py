"""In your own PyTorch model: watch it smooth its tokens, see its spectra, build layers that control them.

Import it apart (extra ``torch``): nothing else in linsim does.

>>> import linsim.torch
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as _error:
    from .._validate import refusal as _refusal
    from ..errors import MissingExtraError as _MissingExtraError

    raise _refusal(
        _MissingExtraError,
        "torch",
        "PyTorch not installed",
        "it, for linsim.torch",
        "Run pip install 'linsim[torch]'.",
    ) from _error

from ._deescalation import Deescalation, EncoderLayer, TokenMeanCentre
from ._live import as_model, spectra
from ._spectral_ov import SpectralOV
from ._watch import Watch, watch

__all__ = [
    "Deescalation",
    "EncoderLayer",
    "SpectralOV",
    "TokenMeanCentre",
    "Watch",
    "as_model",
    "spectra",
    "watch",
]
