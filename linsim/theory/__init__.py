"""What must happen, from the spectra alone."""

from ._predict import predict
from .dominance import boundary, disk
from .prediction import Assumption, Mode, Prediction

__all__ = ["Assumption", "Mode", "Prediction", "boundary", "disk", "predict"]
