"""What must happen, from the spectra alone."""

from .dominance import boundary, disk
from .prediction import Assumption, Mode, Prediction, predict

__all__ = ["Assumption", "Mode", "Prediction", "boundary", "disk", "predict"]
