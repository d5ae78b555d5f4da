"""What a simulation recorded, with its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _html, _validate
from ._named import named
from ._namespace import Array, to_host
from ._types import HostArray
from .errors import InvalidValueError
from .metrics._metric import is_logarithm
from .metrics._registry import REGISTRY, metric_of

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

__all__ = ["Line", "RunInfo", "Slope", "Trajectory", "line", "sharpest", "worst"]


@dataclass(frozen=True, eq=False)
class Slope:
    """A least-squares slope and how far it can be trusted, arrays of batch shape.

    Attributes
    ----------
    value : ndarray of float
        Natural logarithm per layer; NaN where fewer than two values are finite.
    uncertainty : ndarray of float
        How far bounded perturbations about a line may have turned it, also per
        layer; infinite where fewer than three values leave nothing to judge by.
    first, last : ndarray of int
        Layers of the first and last value used; -1 where there is none.
    count : ndarray of int
        How many finite values were used.
    """

    value: HostArray
    uncertainty: HostArray
    first: HostArray
    last: HostArray
    count: HostArray


@dataclass(frozen=True, eq=False)
class Line:
    """A straight line through values over layers, arrays of batch shape (see :func:`line`)."""

    slope: HostArray
    leverage: HostArray
    residual: HostArray
    first: HostArray
    last: HostArray
    count: HostArray

    def uncertainty(self, rounding: float | HostArray) -> HostArray:
        """Return the bound on the slope's error, from residuals and the rounding of the values."""
        judged = self.count > 2
        return np.where(judged, np.where(judged, self.leverage, 0.0) * self.perturbation(rounding), np.inf)

    def perturbation(self, rounding: float | HostArray) -> HostArray:
        """Return the estimate of max |e|; 2 and count / (count - 2) are derived at Trajectory.slope."""
        spare = np.maximum(self.count - 2, 1)
        return rounding + 2 * self.residual * self.count / spare


def line(layers: HostArray, values: HostArray, used: HostArray) -> Line:
    """Fit values (..., k) over layers (k,) by least squares where ``used`` (..., k) is true.

    ``leverage`` is sum |dx| / sum dx^2, the largest change of the slope when no
    value changes by more than 1; ``residual`` the largest distance from the line.
    """
    count = np.sum(used, axis=-1)
    share = 1 / np.maximum(count, 1)[..., None]
    x = np.where(used, layers.astype(float), 0)
    y = np.where(used, values, 0)
    dx = np.where(used, x - share * np.sum(x, axis=-1, keepdims=True), 0)
    dy = np.where(used, y - share * np.sum(y, axis=-1, keepdims=True), 0)
    square = np.sum(dx * dx, axis=-1)
    some = square > 0
    safe = np.where(some, square, 1)
    slope = np.sum(dx * dy, axis=-1) / safe
    residual = np.max(np.abs(dy - slope[..., None] * dx), axis=-1, initial=0)
    ends = [np.argmax(used, axis=-1), used.shape[-1] - 1 - np.argmax(used[..., ::-1], axis=-1)]
    first, last = (np.where(count > 0, layers[end], -1) for end in ends)
    leverage = np.where(some, np.sum(np.abs(dx), axis=-1) / safe, np.inf)
    return Line(np.where(some, slope, np.nan), leverage, residual, first, last, count)


#: error up to which logarithms are told apart from the rounding that a gap ends in
SHARP = 1e-5


def sharpest(layers: HostArray, errors: HostArray, used: HostArray) -> HostArray:
    """Leave out of ``used`` (..., k) what is not sharp, where the sharp reach over half of its layers.

    A gap that ends in rounding does so gradually: its last values are known to a few digits
    only, and would blur the slope of all.
    """
    sharp = used & (errors <= SHARP)
    first = layers[np.argmax(used, axis=-1)]
    ends = [layers[used.shape[-1] - 1 - np.argmax(which[..., ::-1], axis=-1)] for which in (sharp, used)]
    enough = np.any(sharp, axis=-1) & (ends[0] >= (first + ends[1]) / 2)
    return np.where(enough[..., None], sharp, used)


def worst(errors: HostArray, used: HostArray) -> HostArray:
    """Return the largest error of what is used, (...), from (..., k)."""
    return np.max(np.where(used, errors, 0.0), axis=-1, initial=0.0)


#: how to get a metric that a run does not hold
_RECORD = "Record it: simulate(..., metrics=[{}])."


@dataclass(frozen=True, eq=False)
class RunInfo:
    """How a trajectory was computed and how far it can be trusted.

    Attributes
    ----------
    method : str
        The engine that ran, for most systems where it differs.  "device" (a CUDA kernel
        for small systems on a GPU), "lanes" and "bands"
        (compiled kernels for small and for large systems), "parts" (compiled, every
        metric), "forward" (Blocks on plain numbers) and "iterate" (whole arrays, in any
        library) go layer by layer; "modal" and "squaring" (modes of A and H, or of H alone)
        reach any layer at once.
    reason : str
        Why this one.
    split : ndarray of str, batch shape
        Along which invariant directions each state was split.
    error_estimate : float
        Relative rounding of a part at the last recorded layer, the worst of the
        batch: eps * sqrt(n + d) * (layer + 1) layer by layer; for a closed form what
        it misses of the first layers, plus depth times the error of its slowest log.
    resolution : float
        The largest error of any value that is reported (see ``Trajectory.errors``).
    methods : ndarray of str, batch shape
        The engine of each system.
    refused : ndarray of str, batch shape
        Why a closed form was tried on a system and not used; else "".
    fallbacks : dict of str to int
        How often something had to be done another way: "lapack", matrices whose
        singular values a kernel did not find; "iterate", systems that went layer by layer
        after all, or again where errors are measured and not only bounded; "clouds", those of
        blocks that went again where errors did not stay small; "float64" and
        "double-double", systems that went through the layers again with more digits for
        values that rounding hid.
    unmeasured_from : dict of str to ndarray of int, batch shape
        For each metric, the first recorded layer at which its error is beyond the
        resolution (its value there is NaN); -1 where there is none.
    """

    method: str
    reason: str
    split: np.ndarray[Any, Any]
    error_estimate: float
    resolution: float
    unmeasured_from: Mapping[str, np.ndarray[Any, Any]]
    methods: np.ndarray[Any, Any] | None = None
    refused: np.ndarray[Any, Any] | None = None
    fallbacks: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named(self, "run.info", "unmeasured_from", others=REGISTRY, how=_RECORD)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The recorded layers of one :func:`linsim.simulate`.

    Attributes
    ----------
    layers : ndarray, shape (k,)
        Recorded layers, increasing; 0 is the input.
    metrics : dict of str to array, shape (..., k)
        float64, in the array library of the input.  Names that begin with
        ``log`` are natural logarithms.  NaN: ``errors`` is beyond the resolution of the run,
        nobody knows the value; or the metric of a zero state, which has none.
    errors : dict of str to array, shape (..., k)
        Estimated error of every value, also where that is NaN: absolute for plain metrics, absolute
        in the logarithm for those whose names begin with ``log``; infinite where nothing is known.
        It counts the rounding of the layers and of measuring, and takes inputs as exact.
    info : RunInfo
        Method, split, error estimate, and where gaps end to be measurable.
    states : array, shape (..., k, n, d), or None
        With ``keep_states=True``: states scaled to largest entry in [1, 2).
        Where ``log_norm`` is NaN they are rounding: a mode that the input
        lacks has outgrown the rest.
    state_log_scale : array, shape (..., k), or None
        ``X = states * exp(state_log_scale)``.
    """

    layers: np.ndarray[Any, Any]
    metrics: Mapping[str, Array]
    info: RunInfo
    states: Array | None = None
    state_log_scale: Array | None = None
    errors: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named(self, "run", "metrics", "errors", others=REGISTRY, how=_RECORD)

    def __repr__(self) -> str:
        shape = next((value.shape[:-1] for value in self.metrics.values()), ())
        systems = f"{int(np.prod(shape))} systems of batch shape {tuple(shape)}, " if shape else ""
        layers = f"layers {self.layers[0]} to {self.layers[-1]}" if self.layers.size else "no layers"
        return (
            f"Trajectory: {systems}{layers} ({self.layers.size} recorded), by {self.info.method}; "
            f"metrics {', '.join(self.metrics)}."
        )

    def _repr_html_(self) -> str:
        return _html.trajectory(self)

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
        return np.asarray(np.exp(self.slope(metric).value))

    def slope(self, metric: str, *, first: int | None = None) -> Slope:
        """Return the least-squares slope of a log metric and a bound on its error.

        Parameters
        ----------
        metric : str
            A recorded metric whose name begins with ``log``.
        first : int, optional
            First layer used; by default the second half of the recorded layers.

        Returns
        -------
        Slope
            Natural logarithm per layer.  Only finite values are used: neither
            an exact zero (-inf) nor a gap that cannot be measured (NaN).

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If the metric is no logarithm or was not recorded, or ``first`` is
            no layer.

        Notes
        -----
        Derived here.  Let y_l = c + s l + e_l with |e_l| <= E.  The fitted
        slope is s + sum dx e / sum dx^2, so it is off by at most
        E sum |dx| / sum dx^2, about 3 E / width for evenly spaced layers, and
        e_l = E sign(dx) attains that.  This is proven; E is not known, it is
        *estimated* as twice the largest residual (times count / (count - 2),
        the degrees of freedom two fitted numbers take), plus rounding.

        Twice, because residuals are e less what the line absorbs of it.  Of an
        oscillation of angular frequency w over a window of half-width h it
        absorbs at most sqrt(j0^2 + 9 j1^2)(w h) E (spherical Bessel functions),
        which is at most 0.478 E from two periods in the window on; so
        E <= 1.92 residuals.  Of a transient r^l it absorbs at most 0.46 E once
        r^width <= 1e-3, and turns the line by less than a fifth of the bound.
        No residual shows a perturbation slower than that: where one is to be
        expected, start later (``first``), or ask :func:`linsim.compare`, which
        knows from the law how long transients last.

        Rounding: the largest error (``errors``) of the values used.  Those known to 1e-5 are
        used alone where they reach over half of the layers.

        Examples
        --------
        >>> import numpy as np, linsim
        >>> run = linsim.simulate(linsim.Linear(linsim.attention.uniform(4), np.eye(2)), np.eye(4, 2), 20)
        >>> slope = run.slope("log_token_diversity")
        >>> abs(float(slope.value) + 2 * np.log(2)) < float(slope.uncertainty) < 1e-5
        True
        """
        logarithms = [m for m in self.metrics if is_logarithm(m)]
        if not logarithms:
            raise _validate.refusal(
                InvalidValueError,
                "metric",
                repr(metric),
                "a recorded metric whose name begins with log",
                "Record one, for example metrics=['log_norm'].",
            )
        values = to_host(self.metrics[_validate.choice(metric, "metric", logarithms)])
        start = (self.layers[0] + self.layers[-1]) / 2 if first is None else _validate.count(first, "first")
        errors = self.known_to(metric)
        used = sharpest(self.layers, errors, np.isfinite(values) & (self.layers >= start))
        fit = line(self.layers, values, used)
        return Slope(fit.slope, fit.uncertainty(worst(errors, used)), fit.first, fit.last, fit.count)

    def known_to(self, metric: str) -> HostArray:
        """Return the errors of a recorded metric as a NumPy array; 0 where none were recorded."""
        if metric in self.errors:
            return to_host(self.errors[metric])
        return np.zeros(np.shape(to_host(self.metrics[metric])))

    def to_xarray(self) -> xarray.Dataset:
        """Return the metrics as a labelled dataset with dims (batch_0, ..., layer).

        Returns
        -------
        xarray.Dataset
            One float64 variable per metric, with its description as
            ``long_name``, and ``<metric>_error``; ``<metric>_unmeasured_from`` where
            errors began to exceed the resolution; method and reason in the attributes.

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
            variables[name] = ([*dims, "layer"], host, {"long_name": metric_of(name).meaning})
            if name in self.errors:
                scale = "absolute" + " in the natural logarithm" * is_logarithm(name)
                label = {"long_name": f"estimated error of {name}, {scale}"}
                variables[f"{name}_error"] = ([*dims, "layer"], to_host(self.errors[name]), label)
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
