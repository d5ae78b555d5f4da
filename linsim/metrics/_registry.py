"""Every metric, in the order in which runs report them; tables, groups and kernel slots are read off it."""

from __future__ import annotations

from collections.abc import Iterable

from .. import _validate
from ..errors import InvalidTypeError
from ._angle import ANGLE
from ._metric import Metric, is_logarithm
from ._rank import RANK
from ._similarity import SIMILARITY, SIZES

__all__ = ["METRICS", "REGISTRY", "choose", "measured_by", "needing", "tolerances"]

#: every metric by its name
REGISTRY: dict[str, Metric] = {metric.name: metric for metric in (*SIMILARITY, *ANGLE, *RANK, *SIZES)}

#: name of every metric, with what it says
METRICS: dict[str, str] = {name: metric.meaning for name, metric in REGISTRY.items()}

#: largest error of what is reported: of a plain metric in float64 and in float32 (relative to it
#: where it is above 1), and of a logarithm
PLAIN, PLAIN_SINGLE, LOGARITHM = 1e-3, 1e-2, 1e-2


def choose(metrics: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return metric names in the order of :data:`REGISTRY`.

    None means all that tokens alone determine, "plain" and "gaps" halves of them.  What needs attention is
    measured where it is named: it may have to be drawn for, and tokens at hand have none.
    """
    of_tokens = [name for name, metric in REGISTRY.items() if "attention" not in metric.needs]
    if metrics is None:
        return tuple(of_tokens)
    if not isinstance(metrics, str | Iterable):
        raise _validate.refusal(
            InvalidTypeError,
            "metrics",
            repr(metrics),
            "names of metrics, or None for all",
            "Pass a list of names.",
        )
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    halves = {
        "plain": {name for name in of_tokens if not is_logarithm(name)},
        "gaps": {name for name in of_tokens if is_logarithm(name)},
    }
    wanted: set[str] = set()
    for name in names:
        known = _validate.choice(name, "metrics", [*REGISTRY, *halves])
        wanted |= halves.get(known, {known})
    return tuple(name for name in REGISTRY if name in wanted)


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
    return [name for name in names if need in REGISTRY[name].needs]
