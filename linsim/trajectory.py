"""What a simulation recorded, with its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _validate
from ._evaluate import METRICS
from ._namespace import Array, to_host
from .errors import InvalidValueError

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

__all__ = ["RunInfo", "Trajectory"]


@dataclass(frozen=True, eq=False)
class RunInfo:
    """How a trajectory was computed and how far it can be trusted.

    Attributes
    ----------
    method : str
        The engine that ran.
    reason : str
        Why this one.
    split : ndarray of str, batch shape
        Along which invariant directions each state was split.
    error_estimate : float
        Relative rounding that the layers add to a part up to the last recorded
        one, eps * sqrt(n + d) * (layer + 1).  A gap is reported where its own
        bound, cancellation included, is at most 1e-6 (float32: 1e-2).
    unmeasured_from : dict of str to ndarray of int, batch shape
        For each metric, the first recorded layer at which its gap is below
        what can be measured (its value there is NaN); -1 where there is none.
    """

    method: str
    reason: str
    split: np.ndarray[Any, Any]
    error_estimate: float
    unmeasured_from: Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The recorded layers of one :func:`linsim.simulate`.

    Attributes
    ----------
    layers : ndarray, shape (k,)
        Recorded layers, increasing; 0 is the input.
    metrics : dict of str to array, shape (..., k)
        float64, in the array library of the input.  Names that begin with
        ``log`` are natural logarithms.  NaN: see :class:`RunInfo`.
    info : RunInfo
        Method, split, error estimate, and where gaps end to be measurable.
    states : array, shape (..., k, n, d), or None
        With ``keep_states=True``: states scaled to largest entry in [1, 2).
    state_log_scale : array, shape (..., k), or None
        ``X = states * exp(state_log_scale)``.
    """

    layers: np.ndarray[Any, Any]
    metrics: Mapping[str, Array]
    info: RunInfo
    states: Array | None = None
    state_log_scale: Array | None = None

    def rate(self, metric: str) -> np.ndarray[Any, Any]:
        """Return the measured factor per layer of a gap: exp of its least-squares slope.

        Parameters
        ----------
        metric : str
            A recorded metric whose name begins with ``log``.

        Returns
        -------
        ndarray, batch shape
            Fitted over the second half of the recorded layers, where the
            leading mode is alone; NaN where fewer than two of them are finite.

        Raises
        ------
        InvalidValueError
            If the metric is no logarithm or was not recorded.

        Examples
        --------
        >>> import numpy as np, linsim
        >>> run = linsim.simulate(linsim.Linear(linsim.attention.uniform(4), np.eye(2)), np.eye(4, 2), 20)
        >>> round(float(run.rate("log_token_diversity")), 6)  # (1 / (1 + mu))^2
        0.25
        """
        logarithms = [m for m in self.metrics if m.startswith("log")]
        if not logarithms:
            raise _validate.refusal(
                InvalidValueError,
                "metric",
                repr(metric),
                "a recorded metric whose name begins with log",
                "Record one, for example metrics=['log_norm'].",
            )
        name = _validate.choice(metric, "metric", logarithms)
        values = to_host(self.metrics[name])
        chosen = self.layers >= (self.layers[0] + self.layers[-1]) / 2
        x = np.broadcast_to(self.layers[chosen].astype(float), values[..., chosen].shape)
        y = values[..., chosen]
        good = np.isfinite(y)
        count = np.sum(good, axis=-1)
        safe = np.maximum(count, 1)
        dx = np.where(good, x - np.sum(np.where(good, x, 0), axis=-1, keepdims=True) / safe[..., None], 0)
        slope = np.sum(dx * np.where(good, y, 0), axis=-1)
        square = np.sum(dx * dx, axis=-1)
        slope = np.where(square > 0, slope / np.where(square > 0, square, 1), np.nan)
        return np.asarray(np.exp(slope))

    def to_xarray(self) -> xarray.Dataset:
        """Return the metrics as a labelled dataset with dims (batch_0, ..., layer).

        Returns
        -------
        xarray.Dataset
            One float64 variable per metric, with its description as
            ``long_name``; ``<metric>_unmeasured_from`` where a gap ended to be
            measurable; method and reason in the attributes.

        Examples
        --------
        >>> import numpy as np, linsim
        >>> run = linsim.simulate(linsim.Linear(linsim.attention.uniform(4), np.eye(2)), np.eye(4, 2), 3)
        >>> run.to_xarray().sizes["layer"]
        4
        """
        import xarray as xr

        variables: dict[str, Any] = {}
        for name, value in self.metrics.items():
            host = to_host(value)
            dims = [f"batch_{i}" for i in range(host.ndim - 1)]
            variables[name] = ([*dims, "layer"], host, {"long_name": METRICS[name]})
            first = self.info.unmeasured_from[name]
            if np.any(first >= 0):
                variables[f"{name}_unmeasured_from"] = (
                    dims,
                    first,
                    {"long_name": "first unmeasurable layer, -1: none"},
                )
        attrs = {"method": self.info.method, "reason": self.info.reason}
        return xr.Dataset(variables, coords={"layer": self.layers}, attrs=attrs)

    def plot(self, metric: str = "log_token_diversity", *, ax: Axes | None = None) -> Axes:
        """Draw one metric over depth, one line per system.

        Parameters
        ----------
        metric : str
            A recorded metric.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        InvalidValueError
            If the metric was not recorded.

        Examples
        --------
        >>> import numpy as np, linsim
        >>> run = linsim.simulate(linsim.Linear(linsim.attention.uniform(4), np.eye(2)), np.eye(4, 2), 3)
        >>> run.plot("cosine").get_ylabel()
        'cosine'
        """
        name = _validate.choice(metric, "metric", self.metrics)
        values = to_host(self.metrics[name])
        if not np.any(np.isfinite(values)):
            raise _validate.refusal(
                InvalidValueError,
                "metric",
                f"no finite value of {name}",
                "something to draw",
                "Choose another metric.",
            )
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(3.5, 2.6), layout="constrained").add_subplot()
        ax.plot(self.layers, values.reshape(-1, values.shape[-1]).T, linewidth=1.2)
        ax.set_xlabel("layer")
        ax.set_ylabel(name)
        return ax
