"""What must happen, from the spectra alone."""

from ._predict import predict
from .dominance import boundary, disk
from .gain import pre_norm_ratio, real_regime, swap_ratios
from .initialisation import BlockPrediction
from .mixture import Mixture, mixture
from .one_spectrum import OneSpectrum
from .one_step import Step, step
from .prediction import REGIMES, Assumption, Mode, Prediction

__all__ = [
    "REGIMES",
    "Assumption",
    "BlockPrediction",
    "Mixture",
    "Mode",
    "OneSpectrum",
    "Prediction",
    "Step",
    "boundary",
    "disk",
    "mixture",
    "pre_norm_ratio",
    "predict",
    "real_regime",
    "step",
    "swap_ratios",
]
