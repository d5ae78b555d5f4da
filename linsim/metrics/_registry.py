"""Every metric, in the order in which runs report them; tables, groups and kernel slots are read off it."""

from __future__ import annotations

from collections.abc import Iterable

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError
from ._angle import ANGLE
from ._crowd import CROWD
from ._graph import GRAPH
from ._metric import Metric, is_logarithm
from ._rank import RANK
from ._similarity import SIMILARITY, SIZES
from ._spectrum import SPECTRUM

__all__ = ["METRICS", "REGISTRY", "choose", "measured_by", "metric_of", "needing", "tolerances"]

#: every metric by its name
REGISTRY: dict[str, Metric] = {
    metric.name: metric for metric in (*SIMILARITY, *ANGLE, *RANK, *SIZES, *SPECTRUM, *GRAPH, *CROWD)
}

#: what is recorded where nothing is named: what the theory has laws for, and what stored sweeps hold
DEFAULT = tuple(metric.name for metric in (*SIMILARITY, *ANGLE, *RANK, *SIZES))

#: name of every metric, with what it says
METRICS: dict[str, str] = {name: metric.meaning for name, metric in REGISTRY.items()}

#: largest error of what is reported: of a plain metric in float64 and in float32 (relative to it
#: where it is above 1), and of a logarithm
PLAIN, PLAIN_SINGLE, LOGARITHM = 1e-3, 1e-2, 1e-2


class _Own(str):
    """The name of a metric that is not in :data:`REGISTRY`, with the metric."""

    metric: Metric


def metric_of(name: str) -> Metric:
    """Return the metric of a name that :func:`choose` returned."""
    return name.metric if isinstance(name, _Own) else REGISTRY[name]


def choose(metrics: str | Metric | Iterable[str | Metric] | None) -> tuple[str, ...]:
    """Return metric names in the order of :data:`REGISTRY`, then those of metrics that are not in it.

    None means :data:`DEFAULT`, "plain" and "gaps" halves of it, "all" all that there are.  What needs
    attention may have to be drawn for, so it is never among the default.
    """
    if metrics is None:
        return tuple(name for name in REGISTRY if name in DEFAULT)
    if not isinstance(metrics, str | Metric | Iterable):
        raise _validate.refusal(
            InvalidTypeError,
            "metrics",
            repr(metrics),
            "names of metrics, or None for the default ones",
            "Pass a list of names.",
        )
    names = [metrics] if isinstance(metrics, str | Metric) else list(metrics)
    several = {
        "plain": {name for name in DEFAULT if not is_logarithm(name)},
        "gaps": {name for name in DEFAULT if is_logarithm(name)},
        "all": set(REGISTRY),
    }
    wanted: set[str] = set()
    own: dict[str, _Own] = {}
    for name in names:
        if isinstance(name, _Own):
            name = name.metric
        if isinstance(name, Metric) and REGISTRY.get(name.name) is not name:
            if name.name in REGISTRY or own.get(name.name, _named(name)).metric is not name:
                raise _validate.refusal(
                    InvalidValueError,
                    "metrics",
                    f"two metrics of the name {name.name!r}",
                    "names of which no two are alike",
                    "Give yours a name of its own.",
                )
            own[name.name] = _named(name)
            continue
        known = name.name if isinstance(name, Metric) else name
        known = _validate.choice(known, "metrics", [*REGISTRY, *several])
        wanted |= several.get(known, {known})
    return (*(name for name in REGISTRY if name in wanted), *own.values())


def _named(metric: Metric) -> _Own:
    name = _Own(metric.name)
    name.metric = metric
    return name


def tolerances(names: Iterable[str], single: bool, resolution: float | None) -> dict[str, float]:
    """Return the largest error with which each metric is reported."""
    plain = PLAIN_SINGLE if single else PLAIN
    return {
        name: resolution if resolution is not None else LOGARITHM if is_logarithm(name) else plain
        for name in names
    }


def measured_by(law: str, smooth: bool) -> str:
    """Return the metric that a law's gap is measured by, where the constant mode dominates or does not."""
    (name,) = (m.name for m in REGISTRY.values() if m.law == law and m.smoothing in (None, smooth))
    return name


def needing(need: str, names: Iterable[str]) -> list[str]:
    """Return those of the metrics that ask for one of :data:`linsim.metrics._metric.NEEDS`."""
    return [name for name in names if need in metric_of(name).needs]
