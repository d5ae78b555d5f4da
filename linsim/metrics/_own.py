"""A metric of the user's own, as a function of the tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _validate
from .._namespace import Array, namespace, on_device_of, to_host
from .._state import EMPTY, add_log2, log2, norm, scaled
from ..errors import InvalidTypeError, InvalidValueError
from ._arithmetic import LN2, by_part, rounding_of
from ._metric import Measured, Metric
from ._view import View

__all__ = ["of_states"]

# how often the tokens are disturbed, and how much larger an error may be than what that shows
_TRIALS, _SAFETY = 4, 8.0


def of_states(
    name: str,
    meaning: str,
    function: Callable[[Array], Any],
    *,
    degree: int | None = None,
) -> Metric:
    """Make a metric of a function of the recorded states.

    Parameters
    ----------
    name : str
        Begins with ``log`` if and only if the values are natural logarithms; no name of
        :data:`linsim.metrics.METRICS`.
    meaning : str
        One line, the label in datasets.
    function : callable
        Takes states (b, n, d), float64, in the array library of the run, and returns b numbers.  With
        ``tokens=`` those that do not count are rows of zeros, and each other row is
        multiplied by the root of its weight.
    degree : int, keyword-only
        The power of its size in which the state enters (0: a ratio).  Then the function sees states of size
        about 1, and the size is put back, at any depth.  None: it sees states as they are; one
        beyond the range of doubles has no value (NaN).

    Returns
    -------
    Metric
        To be passed in ``metrics=[...]`` of :func:`linsim.simulate` and :func:`linsim.metrics.measure`.
        Its errors are estimated: how much it changes where tokens do by what they may be off, four times at
        random, times eight.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        If the function cannot be called, the name is taken, or (in a run) it does not return b numbers.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> top = linsim.metrics.of_states("top", "largest entry", lambda x: abs(x).max(axis=(1, 2)), degree=1)
    >>> linsim.metrics.measure([[1.0, -2.0], [0.0, 1.0]], [top])["top"]
    array(2.)
    """
    from ._registry import REGISTRY  # which is built from metrics

    if not callable(function):
        raise _validate.refusal(
            InvalidTypeError,
            "function",
            type(function).__name__,
            "a callable of (b, n, d) states",
            "Pass one.",
        )
    if not isinstance(name, str) or not name or name in REGISTRY:
        raise _validate.refusal(
            InvalidValueError, "name", repr(name), "a name that no metric of linsim has", "Choose another."
        )
    if degree is not None:
        degree = _validate.count(degree, "degree")
    of = functools.partial(_measured, name=name, function=function, degree=degree)
    return Metric(name, meaning, of, group="own", degree=degree or 0)


def _measured(view: View, name: str, function: Callable[[Array], Any], degree: int | None) -> Measured:
    counted = view.counted
    full, exponent = counted.full
    xp, top = namespace(full), view.top
    if view.ln_largest is not None:  # the first weight may be any number, the largest counts 1
        full = full * xp.astype(xp.exp(view.ln_largest / 2), full.dtype)
    x = xp.astype(full, xp.float64, copy=False)
    n, d = x.shape[-2:]
    noise_a, noise_r, noise_b, noise_R, _ = by_part(counted.state.noise)
    of_row = add_log2(noise_a, noise_r) + log2(norm(counted.state.split.v))
    noise = add_log2(of_row, add_log2(noise_b, noise_R))
    rows = noise if counted.state.rows is None else counted.state.rows
    # what the size of the state is brought to: 1, or its own
    unit = top if degree is not None else xp.zeros_like(top)
    shift = xp.where(exponent > EMPTY / 2, exponent, xp.zeros_like(exponent)) - unit
    fits = (shift < 1000.0) & (shift > -900.0)
    shift = xp.where(fits, shift, xp.zeros_like(shift))
    x = scaled(x, shift)
    share = 1.0 if counted.state.rows is not None else float(n) ** -0.5
    off = xp.where(rows <= EMPTY / 2, xp.zeros_like(rows), xp.exp(LN2 * xp.clip(rows - unit, -1e3, 1e3)))
    off = off * (share / float(d) ** 0.5) + rounding_of(full) * xp.abs(x)
    value = _called(name, function, x)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_TRIALS, 1, n, d))
    change = xp.zeros_like(value)
    for sign in signs:
        moved = _called(name, function, x + off * on_device_of(sign, x))
        both = xp.isfinite(moved) & xp.isfinite(value)
        step = xp.where(
            both, xp.abs(moved - xp.where(both, value, xp.zeros_like(value))), xp.zeros_like(value)
        )
        step = xp.where(both | (moved == value), step, xp.full_like(step, xp.inf))
        change = xp.maximum(change, step)
    value = xp.where(fits, value, xp.full_like(value, xp.nan))
    return Measured(value, _SAFETY * change)


def _called(name: str, function: Callable[[Array], Any], x: Array) -> Array:
    """What a user's function says of states (b, n, d), as (b, 1, 1) float64."""
    b = x.shape[0]
    found = function(x)
    try:
        value = np.asarray(to_host(found) if hasattr(found, "shape") else found, dtype=np.float64)
    except (TypeError, ValueError):
        value = np.empty(0)
    if value.shape == () and b == 1:
        value = value.reshape(1)
    if value.shape != (b,):
        raise _validate.refusal(
            InvalidValueError,
            f"metric {name!r}",
            f"shape {value.shape} of {b} states" if value.size else type(found).__name__,
            "one number for each of (b, n, d) states, shape (b,)",
            "Reduce over the last two axes: axis=(-1, -2).",
        )
    return on_device_of(value.reshape(b, 1, 1), x)
