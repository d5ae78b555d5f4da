"""Random designs: points that fill a box evenly, for more axes than a product of grids can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError

__all__ = ["box_of", "design"]

_KINDS = ("sobol", "latin_hypercube")


def design(
    box: Mapping[str, Any], count: int, *, kind: str = "sobol", seed: int = 0
) -> dict[str, np.ndarray[Any, Any]]:
    """Draw points that fill a box evenly, as zipped axes for :func:`linsim.sweep`.

    Parameters
    ----------
    box : mapping of str to (low, high)
        The interval of each axis.
    count : int
        Number of points; of "sobol" best a power of two.
    kind : {"sobol", "latin_hypercube"}
        A scrambled Sobol sequence, or a Latin hypercube (one point in each of ``count`` slices of
        every axis).
    seed : int
        Same seed, same points.

    Returns
    -------
    dict of str to (count,) float64 array
        To be given under the name of their dim: ``{"point": design(...)}``.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For an empty box, an interval that is none, an unknown kind.

    Notes
    -----
    Source: ``scipy.stats.qmc`` (Owen 1998 for the scrambling).

    Examples
    --------
    >>> points = design({"mu": (-3.0, 1.0), "temperature": (0.1, 2.0)}, 8)
    >>> bool((points["mu"] > -3).all()), points["temperature"].shape
    (True, (8,))
    """
    from scipy.stats import qmc

    bounds = box_of(box)
    count = _validate.count(count, "count", minimum=1)
    _validate.choice(kind, "kind", _KINDS)
    rng = np.random.default_rng(_validate.count(seed, "seed"))
    if kind == "sobol":
        # all points of the next power of two: a part of them is what SciPy warns of
        power = int(np.ceil(np.log2(count)))
        unit = qmc.Sobol(len(bounds), rng=rng).random_base2(power)[:count]
    else:
        unit = qmc.LatinHypercube(len(bounds), rng=rng).random(count)
    low, high = np.array(list(bounds.values())).T
    return dict(zip(bounds, np.ascontiguousarray((low + unit * (high - low)).T), strict=True))


def box_of(box: Any) -> dict[str, tuple[float, float]]:
    """Return the interval of each axis of a box, or refuse it."""
    if not isinstance(box, Mapping) or not box:
        raise _validate.refusal(
            InvalidTypeError if not isinstance(box, Mapping) else InvalidValueError,
            "box",
            repr(box) if box == {} else type(box).__name__,
            "a non-empty mapping of names to (low, high)",
            "Name at least one axis.",
        )
    out = {}
    for name, interval in box.items():
        ends = _validate.array(interval, f"box[{name!r}]", ndim=1, shape="(2,)", dtype="float64")
        if tuple(ends.shape) != (2,) or not float(ends[0]) < float(ends[1]):
            raise _validate.refusal(
                InvalidValueError,
                f"box[{name!r}]",
                interval,
                "(low, high) with low < high",
                "Turn them round.",
            )
        out[name] = (float(ends[0]), float(ends[1]))
    return out
