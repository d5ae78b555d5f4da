"""The variables of a sweep's dataset: their types, names, and what stands where there is no value."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..metrics import METRICS
from ..metrics._registry import metric_of
from ..theory import REGIMES, Prediction

__all__ = [
    "DONE",
    "FAILED",
    "MEASURED_ONLY",
    "PENDING",
    "PREDICTED",
    "RESERVED",
    "STATUS",
    "Variable",
    "measured",
    "status_attributes",
]


@dataclass(frozen=True)
class Variable:
    """One array of a dataset; ``read`` takes a prediction to its values; ``missing`` stands for none."""

    dtype: Any
    long_name: str
    missing: Any
    units: str = ""
    layered: bool = False
    read: Callable[[Prediction], Any] = lambda law: law

    def attributes(self, name: str) -> dict[str, Any]:
        """Return what Zarr and netCDF keep beside the values."""
        attrs: dict[str, Any] = {"long_name": self.long_name}
        if self.units:
            attrs["units"] = self.units
        if name == "predicted_regime":
            attrs |= {"flag_values": list(REGIMES.values()), "flag_meanings": " ".join(REGIMES)}
        return attrs


#: what a prediction adds
PREDICTED: Mapping[str, Variable] = {
    "predicted_regime": Variable(
        np.int8, "regime", -128, read=lambda law: np.vectorize(REGIMES.get, otypes=[np.int8])(law.regime)
    ),
    "predicted_input_convergence": Variable(
        np.bool_, "HFC/LFC -> 0", False, read=lambda law: law.input_convergence
    ),
    "predicted_angle_convergence": Variable(
        np.bool_, "mean |cosine| -> 1", False, read=lambda law: law.angle_convergence
    ),
    "predicted_rank_collapse": Variable(
        np.bool_, "sigma_2/sigma_1 -> 0", False, read=lambda law: law.rank_collapse
    ),
    "predicted_limit_rank": Variable(
        np.int64, "rank of the normalised limit", -1, read=lambda law: law.limit_rank
    ),
    "predicted_margin": Variable(
        np.float64, "ln(constant / largest other modulus), per layer", np.nan, read=lambda law: law.margin
    ),
    "predicted_token_diversity_rate": Variable(
        np.float64, "factor per layer", np.nan, read=lambda law: law.rates["token_diversity"]
    ),
    "predicted_cosine_gap_rate": Variable(
        np.float64, "factor per layer", np.nan, read=lambda law: law.rates["cosine_gap"]
    ),
    "predicted_rank_gap_rate": Variable(
        np.float64, "factor per layer", np.nan, read=lambda law: law.rates["rank_gap"]
    ),
}

#: codes of ``status``: not computed yet; measured and predicted; failed; measured, covered by no law
PENDING, DONE, FAILED, MEASURED_ONLY = 0, 1, 2, 3
STATUS = Variable(np.int8, "how far a system is", PENDING)

#: names that no axis may have
RESERVED = {"replicate", "layer", "status", *METRICS, *PREDICTED}


def measured(name: str) -> Variable:
    """Return what is known of a metric's variable."""
    # every metric is a ratio, a count or a logarithm (natural) of one
    return Variable(np.float64, metric_of(name).meaning, np.nan, units="1", layered=True)


def status_attributes(reasons: Mapping[int, str]) -> dict[str, Any]:
    """Return the attributes of ``status``; ``reasons``: text by flat number of the system."""
    attrs: dict[str, Any] = {
        "long_name": STATUS.long_name,
        "flag_values": [PENDING, DONE, FAILED, MEASURED_ONLY],
        "flag_meanings": "pending done failed done_without_prediction",
    }
    if reasons:
        attrs["reasons"] = json.dumps({str(k): reasons[k] for k in sorted(reasons)})
    return attrs
