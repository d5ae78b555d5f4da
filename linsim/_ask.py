"""What a user asks for, checked before any work starts, as a task for the engines."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from . import _validate
from ._engines.closed import DEEPEST
from ._engines.task import Task, budget, in_batch
from ._namespace import Array, cupy_status, namespace, to_backend
from ._rule import Rule
from .errors import InvalidTypeError, InvalidValueError, ShapeError
from .metrics._registry import choose, tolerances
from .metrics._tokens import token_weights

__all__ = ["each_alone", "recorded_layers", "refuse_endless", "task_of"]


# the most operations that are spent on more digits for one system where no system may depend on others
_EACH_ALONE = 1e9
_each_alone: contextvars.ContextVar[float | None] = contextvars.ContextVar("_each_alone", default=None)


#: operations from which ``backend="auto"`` takes a GPU: about a second of two cores, beside which what a GPU
#: takes to begin (tenths of a second, predicted) is little
WORTH_A_GPU = 3e10


@contextlib.contextmanager
def each_alone() -> Iterator[None]:
    """Let no system's result depend on which others are in its batch, while the block runs."""
    token = _each_alone.set(_EACH_ALONE)
    try:
        yield
    finally:
        _each_alone.reset(token)


def task_of(
    rule: Rule,
    x0: Any,
    depth: int,
    *,
    layers: Iterable[int] | None = None,
    metrics: str | Iterable[str] | None = None,
    backend: str | None = None,
    dtype: Any = None,
    keep_states: bool = False,
    rng: Any = None,
    resolution: float | None = None,
    tokens: Any = None,
) -> Task:
    """Check the arguments of :func:`linsim.simulate`, and return what is asked of an engine.

    ``names`` of the task are the metrics asked for and, where states are kept, ``log_norm``,
    which tells how far they are known.
    """
    if not isinstance(rule, Rule):
        raise _validate.refusal(
            InvalidTypeError,
            "rule",
            type(rule).__name__,
            "Linear, MultiHead, Layered, RandomWeights, Block or another linsim.Rule",
            "Wrap A and H: Linear(A, H).",
        )
    depth = _validate.count(depth, "depth")
    if rule.max_depth is not None and depth > rule.max_depth:
        raise _validate.refusal(
            InvalidValueError, "depth", depth, f"at most {rule.max_depth}, one rule per layer", "Add rules."
        )
    wanted = recorded_layers(layers, depth)
    names = choose(metrics)
    if resolution is not None:
        resolution = _validate.number(resolution, "resolution", low=0.0, low_open=True)
    backend = _validate.backend(backend, auto=True)
    if rng is not None:
        _validate.generator(rng)
    x0 = _tokens(rule, x0)
    batches = {"rule": rule.batch_shape, "x0": tuple(x0.shape[:-2])}
    weights = None if tokens is None else token_weights(tokens, int(x0.shape[-2]))
    if weights is not None:
        batches["tokens"] = weights.shape[:-1]
    batch = _validate.broadcast_batches(**batches)
    precision = _precision(dtype, x0, rule)
    where = ""
    if backend == "auto":
        backend, where = _here_or_on_a_gpu(rule, x0, batch, int(wanted[-1]))
    with np.errstate(over="ignore"):  # refused in the next line
        start = in_batch(to_backend(x0, backend), batch, precision)
    _survives(start, precision)
    if weights is not None:
        weights = in_batch(weights[..., None], batch, "float64")
        if len(weights) > 1:  # systems that are measured differently are as many, whatever they share
            start = namespace(start).broadcast_to(start, (len(weights), *start.shape[1:]))
    # how far states are known is told by their norm
    measured = choose([*names, "log_norm"]) if keep_states else names
    allowed = tolerances(measured, precision == "float32", resolution)
    stop = np.zeros(1, dtype=bool)
    rule = rule.as_run()
    task = Task(
        rule,
        depth,
        start,
        batch,
        backend,
        wanted,
        measured,
        keep_states,
        stop,
        allowed,
        rng,
        each=_each_alone.get(),
        tokens=weights,
        where=where,
    )
    if rule.moves_by == "matrices":
        _refuse_growth(task)
    return task


def _here_or_on_a_gpu(rule: Rule, x0: Array, batch: tuple[int, ...], last: int) -> tuple[str | None, str]:
    """Return where ``backend="auto"`` computes, and why there, in a few words."""
    if namespace(x0) is not np:
        return None, "where the inputs are"
    n, d = (int(extent) for extent in x0.shape[-2:])
    work = 8.0 * int(np.prod(batch, dtype=int)) * last * n * d * (n + d)
    if rule.moves_by != "matrices":
        return "numpy", f"on the CPU, {type(rule).__name__} is not faster elsewhere"
    if work < WORTH_A_GPU:
        return "numpy", f"on the CPU, {work:.1g} operations are soon done"
    reason = cupy_status()
    return (
        ("cupy", f"on the GPU, {work:.1g} operations")
        if reason is None
        else ("numpy", f"on the CPU, {reason}")
    )


def recorded_layers(layers: Iterable[int] | None, depth: int) -> np.ndarray[Any, Any]:
    """Return the distinct layers to record, increasing; None means all of them."""
    if layers is None:
        if depth > 10**8:
            raise _validate.refusal(
                InvalidValueError,
                "layers",
                f"None at depth {depth}",
                "a list of layers to record beyond 10^8 of them",
                "Name some, for example layers=[depth].",
            )
        return np.arange(depth + 1)
    several: list[Any]
    try:
        several = [layers] if isinstance(layers, str) else list(layers)
    except TypeError:  # one number, or an array without axes
        several = [layers]
    numbers = sorted({_validate.count(layer, "layers") for layer in several})
    if not numbers or numbers[-1] > depth:
        raise _validate.refusal(
            InvalidValueError,
            "layers",
            f"layer {numbers[-1]}" if numbers else "no layer",
            f"layers from 0 to depth = {depth}",
            "Raise depth, or leave layers out to record all.",
        )
    return np.asarray(numbers)


def _tokens(rule: Rule, x0: Any) -> Array:
    x0 = _validate.array(x0, "x0", ndim=2, shape="(..., n, d)")
    expected = ["n" if rule.n is None else rule.n, "d" if rule.d is None else rule.d]
    if any(isinstance(e, int) and e != found for e, found in zip(expected, x0.shape[-2:], strict=True)):
        raise _validate.refusal(
            ShapeError,
            "x0",
            f"shape {tuple(x0.shape)}",
            f"shape (..., {expected[0]}, {expected[1]}) to fit the rule",
            "Rows are tokens, columns features.",
        )
    xp = namespace(x0)
    if not bool(xp.all(xp.any(x0 != 0, axis=(-1, -2)))):
        raise _validate.refusal(
            InvalidValueError, "x0", "an all-zero system", "tokens that are not all zero", "Drop that system."
        )
    rule.refuse_tokens(tuple(x0.shape[:-2]), int(x0.shape[-2]))
    matrices = rule.arrays()
    if matrices and namespace(matrices[0]) is not xp:
        # plain NumPy inputs follow the other side's library and device
        raise _validate.refusal(
            InvalidTypeError,
            "x0",
            f"an array of {xp.__name__.split('.')[-1]}",
            f"the library of the rule ({namespace(matrices[0]).__name__.split('.')[-1]})",
            "Convert one of them.",
        )
    _validate.one_library("rule and x0", *matrices[:1], x0)  # on one device, too
    return x0


def _precision(dtype: Any, x0: Array, rule: Rule) -> str:
    if dtype is not None:
        name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
        return _validate.choice(name, "dtype", ("float64", "float32"))
    xp = namespace(x0)
    return "float64" if any(M.dtype == xp.float64 for M in [x0, *rule.arrays()]) else "float32"


def _survives(start: Array, precision: str) -> None:
    """Refuse tokens that the precision of the run turns into infinity or into nothing."""
    xp = namespace(start)
    seen = xp.all(xp.isfinite(start)) & xp.all(xp.any(start != 0, axis=(-1, -2)))
    if not bool(seen):
        raise _validate.refusal(
            InvalidValueError,
            "x0",
            f"tokens outside the range of {precision}",
            "entries that it can hold",
            "Scale the tokens, or use float64.",
        )


def refuse_endless(last: int) -> None:
    """Refuse layers that no closed form reaches, and that nobody asked to walk to."""
    if last <= DEEPEST:
        return
    raise _validate.refusal(
        InvalidValueError,
        "layers",
        f"layer {last}",
        f"layers up to {DEEPEST}: beyond, no closed form keeps its digits, and walking takes days",
        "Record a shallower layer: the law of a slope does not change; or walk, with method='iterate'.",
    )


def _refuse_growth(task: Task) -> None:
    bits, worst = budget(task.start), float(np.max(task.growth))
    if worst > bits:
        raise _validate.refusal(
            InvalidValueError,
            "H",
            f"entries that let a layer grow by 2^{worst:.0f}",
            f"growth below 2^{bits} in {task.precision}",
            "Scale H down, or use float64.",
        )
