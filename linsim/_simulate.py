"""Run a layer rule to a depth and record metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _validate
from ._ask import refuse_endless, task_of
from ._blas import on_one_thread
from ._callers import in_callers_library
from ._engines.choose import ENGINES, METHODS, choose
from ._engines.execute import execute
from ._engines.rescue import rescued
from ._engines.task import Task
from ._namespace import Array, namespace, to_host
from ._recorded import Recorded, at_home, first_of, missing
from ._rule import Rule
from .errors import InvalidTypeError
from .metrics._registry import choose as metric_names
from .trajectory import RunInfo, Trajectory

__all__ = ["METHODS", "Engines", "Offer", "engines", "simulate"]


@in_callers_library
@on_one_thread
def simulate(
    rule: Rule,
    x0: Any,
    depth: int,
    *,
    layers: Iterable[int] | None = None,
    metrics: str | Iterable[str] | None = None,
    method: str = "auto",
    backend: str | None = None,
    dtype: Any = None,
    keep_states: bool = False,
    rng: Any = None,
    resolution: float | None = None,
    tokens: Any = None,
) -> Trajectory:
    """Iterate a layer rule and record metrics, gaps accurate at any depth.

    Parameters
    ----------
    rule : Linear, MultiHead, Layered, RandomWeights, Block, or a :class:`linsim.Rule` of your own
        One layer, or one per depth.
    x0 : array, shape (..., n, d)
        Input tokens, not all zero in any system.  Batch axes broadcast with
        the rule's.
    depth : int
        Number of layers, >= 0.
    layers : iterable of int, optional
        Layers to record, from 0 (the input) to depth; None records all.
    metrics : str, Metric, or iterable of them, optional
        Names from ``linsim.metrics.METRICS``; "plain" or "gaps" for those of the fourteen default
        metrics whose names do not begin, or begin, with ``log``; None for these fourteen; "all" for
        every one; or a :class:`linsim.metrics.Metric` of your own (``linsim.metrics.of_states``).
    method : {"auto", "modal", "squaring", "device", "lanes", "bands", "parts", "forward", "iterate"}
        The engine.  "modal" and "squaring" reach any layer up to 2**30 at once, from the
        modes of A and H or of H alone, at a cost that does not depend on depth (rules X + A X H
        that repeat; systems whose eigenvectors hold no digits go layer by layer).  "device", a
        CUDA kernel, takes systems with n, d <= 64 layer by layer on a GPU.  "lanes" and
        "bands", compiled, go layer by layer through small and through large systems, for metrics
        that need no eigenvectors; "parts", compiled as well, measures all; "forward" runs Blocks
        on plain numbers, for plain metrics; "iterate" goes through everything else, in whole arrays.
        "auto" chooses by shape, depth, metrics and recorded layers; ``run.info`` says what, and why;
        :func:`linsim.engines` says it beforehand.
    backend : {None, "numpy", "cupy", "auto"}
        "auto" takes a GPU where CuPy can use one and the work is worth the way (3e10
        operations), else the CPU; ``run.info.reason`` says which, and why.
        None computes in the library of x0, and answers there: tensors of PyTorch
        and arrays of JAX are computed with by NumPy (a CUDA tensor by CuPy, where that
        works), gradients dropped, and results go to the library and the device they
        came from; without ``jax_enable_x64`` JAX holds results as float32, infinite
        beyond 3.4e38 (logarithms fit).  Otherwise
        inputs move there once and results come back once, as NumPy arrays.
    dtype : {None, "float64", "float32"}
        Precision of the states; None takes the widest of the inputs.
    keep_states : bool
        Also return the recorded states.  Without it at most two layers of
        states are alive at a time.
    rng : None, seed or Generator
        For rules that draw (Linear, MultiHead and Layered do not).  Every system has a
        stream of its own, so that a result depends neither on the backend nor on how the
        work is cut up.
    resolution : float, optional
        The largest error with which a value is reported; one that may be further off is NaN.
        Absolute in the logarithm for metrics whose name begins with ``log``, else absolute (and
        relative where the metric is above 1).  None: 0.01 for logarithms, 1e-3 for plain metrics
        (1e-2 where the states are float32).
    tokens : array, shape (n,) or (..., n), optional
        Which tokens are measured: booleans, or weights >= 0 that say how often each counts
        (see :mod:`linsim.metrics`).  The layers see all tokens.  Batch axes broadcast with the rule's.

    Returns
    -------
    Trajectory
        ``layers`` (k,), ``metrics[name]`` (..., k), ``errors[name]`` (..., k), ``info``.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError, BackendError
        Before any work starts; the message names the argument.

    Notes
    -----
    States are held as invariant parts with their own exponents, so gaps keep
    relative accuracy below any power of ten while their rate is set by well
    conditioned modes: about 1e-10 at depth 1,200.  Derived in docs/trust.md.  A
    symmetric A is taken as exactly symmetric with exact row sums.

    Inputs are taken as exact in their dtype.  Every value comes with an estimate of its error.
    Systems with a value that rounding hides, though a plain loop could show it, go through the
    layers again with more digits: float32 in float64, and float64 in pairs of doubles
    (for rules that are linear in the tokens, while that takes seconds);
    ``run.info.fallbacks`` counts them.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> A = linsim.attention.uniform(4)
    >>> run = linsim.simulate(linsim.Linear(A, np.eye(2)), np.eye(4, 2), 1000, layers=[0, 1000])
    >>> run.layers
    array([   0, 1000])
    >>> run.metrics["log_token_diversity"]  # (1 + mu)^-2 per layer, down to 1e-602
    array([-2.87682072e-01, -1.38519575e+03])
    """
    _validate.method(method, METHODS)
    task = task_of(
        rule,
        x0,
        depth,
        layers=layers,
        metrics=metrics,
        backend=backend,
        dtype=dtype,
        keep_states=keep_states,
        rng=rng,
        resolution=resolution,
        tokens=tokens,
    )
    if method == "auto":
        refuse_endless(task.last)
    choice = choose(task, method)
    found = execute(task, choice.engines)
    if task.backend is not None:
        found = at_home(found)
    if task.rule.moves_by == "matrices":
        found = rescued(task, found)
    reason = _reason(choice.reason, choice.engines[0].name, found)
    if task.where:
        reason += f"; backend='auto': {task.where}"
    return _labelled(task, found, reason, metric_names(metrics))


def _reason(reason: str, asked: str, found: Recorded) -> str:
    """Why the engines ran that did: the choice, and what became of it."""
    others = sorted(set(found.methods.tolist()) - {asked})
    if not others:
        return reason
    count = int(np.sum(np.broadcast_to(found.methods, found.size) != asked))
    why = ", ".join(sorted(set(map(str, found.refused)) - {""}))
    return f"{reason}; {count} of {found.size} systems by {' and '.join(others)} after all ({why})"


def _labelled(task: Task, found: Recorded, reason: str, names: tuple[str, ...]) -> Trajectory:
    """Give what was recorded the batch shape back, and say how it came about."""
    batch = task.batch
    xp = namespace(next(iter(found.values.values()), task.start))
    gone = missing(found, task.allowed)
    lost = to_host(gone)
    first = dict(zip(found.errors, first_of(lost, task.layers), strict=True))

    def collect(x: Array) -> Array:
        x = xp.reshape(x, (*batch, *x.shape[1:]))
        return x if task.backend is None else to_host(x)

    some = [bool(one.any()) for one in lost]

    def known(name: str, k: int) -> Array:
        value = found.values[name]
        return xp.where(gone[k, ...], xp.full_like(value, xp.nan), value) if some[k] else value

    ((most, _),) = Counter(sorted(found.methods.tolist())).most_common(1)
    info = RunInfo(
        method=most,
        methods=found.methods.reshape(batch),
        reason=reason,
        split=found.kinds.reshape(batch),
        refused=found.refused.reshape(batch),
        error_estimate=float(np.max(found.rounding)),
        resolution=max(task.allowed.values(), default=0.0),
        fallbacks=found.fallbacks,
        unmeasured_from={name: first[name].reshape(batch) for name in names},
    )
    recorded = {name: collect(known(name, k)) for k, name in enumerate(found.errors) if name in names}
    errors = {name: collect(found.errors[name]) for name in names}
    if not task.keep_states:
        return Trajectory(task.layers, recorded, info, errors=errors)
    return Trajectory(task.layers, recorded, info, collect(found.states), collect(found.log_scale), errors)


@dataclass(frozen=True)
class Offer:
    """What one engine would do with a run.

    Attributes
    ----------
    name, about : str
        The engine, and what it does.
    obstacle : str
        Why it cannot; "" where it can.
    operations : float
        About how many floating-point operations it would take; NaN where it cannot.
    """

    name: str
    about: str
    obstacle: str
    operations: float


@dataclass(frozen=True)
class Engines:
    """Which engine :func:`linsim.simulate` would take, why, and what each of them would cost.

    Attributes
    ----------
    chosen, reason : str
        The engine that ``method="auto"`` takes, and why.
    fallbacks : tuple of str
        Which take over systems that it has to give up.
    offers : tuple of Offer
        All engines, in the order in which they are considered.
    """

    chosen: str
    reason: str
    fallbacks: tuple[str, ...]
    offers: tuple[Offer, ...]

    def __str__(self) -> str:
        lines = [f"{self.chosen}: {self.reason}"]
        for offer in self.offers:
            cost = offer.obstacle or f"{offer.operations:.2g} operations"
            lines.append(f"  {offer.name:9} {cost}")
        return "\n".join(lines)


def engines(
    rule: Rule,
    depth: int,
    *,
    x0: Any = None,
    metrics: str | Iterable[str] | None = None,
    layers: Iterable[int] | None = None,
    backend: str | None = None,
    dtype: Any = None,
    keep_states: bool = False,
) -> Engines:
    """Say which engine a run would take, why, and what it costs, without running.

    Parameters
    ----------
    rule, depth, metrics, layers, backend, dtype, keep_states
        As in :func:`linsim.simulate`.
    x0 : array, shape (..., n, d), optional
        The tokens; only their shape, dtype and library count.  None: one system of the rule's
        own batch shape, n and d, NumPy's.

    Returns
    -------
    Engines

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        As :func:`linsim.simulate`; without x0 also where the rule leaves n or d open.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> rule = linsim.Linear(linsim.attention.uniform(4), np.eye(2))
    >>> linsim.engines(rule, 10**6, layers=[10**6]).chosen
    'modal'
    >>> print(linsim.engines(rule, 2, keep_states=True))  # once its kernels are compiled
    parts: metrics that need the dominant modes kept apart
      modal     9.4e+04 operations
      squaring  1.1e+04 operations
      device    arrays that are not CuPy's
      lanes     log_cosine_gap, ...
      bands     log_cosine_gap, ...
      parts     1.7e+03 operations
      forward   Linear is no Block
      iterate   1.7e+03 operations
    """
    if x0 is None and isinstance(rule, Rule):
        if rule.n is None or rule.d is None:
            raise _validate.refusal(
                InvalidTypeError,
                "x0",
                "nothing",
                f"tokens: {type(rule).__name__} leaves n or d open",
                "Pass x0, for example np.ones((n, d)).",
            )
        x0 = np.ones((rule.n, rule.d), dtype=np.float32 if _single(rule) else np.float64)
    task = task_of(
        rule, x0, depth, layers=layers, metrics=metrics, backend=backend, dtype=dtype, keep_states=keep_states
    )
    choice = choose(task)
    offers = []
    for engine in ENGINES:
        obstacle = engine.covers(task)
        cost = float("nan") if obstacle else engine.operations(task)
        offers.append(Offer(engine.name, engine.about, obstacle, cost))
    first, *others = (engine.name for engine in choice.engines)
    return Engines(first, choice.reason, tuple(others), tuple(offers))


def _single(rule: Rule) -> bool:
    return bool(rule.arrays()) and all("float32" in str(M.dtype) for M in rule.arrays())
