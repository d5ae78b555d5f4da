"""Run a layer rule to a depth and record metrics."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import _draws, _validate
from ._blas import on_one_thread
from ._callers import in_callers_library
from ._cloud import copies_for, gather, state_of
from ._double import of as pair_of
from ._double import sliced
from ._engines import blocks, closed, doubled, iterate, large, small
from ._evaluate import choose, tolerances
from ._exact import vanishes
from ._namespace import Array, exponent_of, namespace, on_device_of, to_backend, to_host
from ._parallel import in_parallel, pieces
from ._recorded import Job, Recorded, filled, first_of, merged, missing, record, sharper
from ._split import KINDS, choose_split, row_split
from ._state import Split, State, decompose, scaled, shifted
from .attention import FromTokens
from .block import Block
from .errors import InvalidTypeError, InvalidValueError, ShapeError
from .rules import Layered, Linear, MultiHead, RandomWeights, Rule
from .theory.spectra import meant
from .trajectory import RunInfo, Trajectory

__all__ = ["each_alone", "recorded_layers", "simulate"]

#: names of ``method``
METHODS = ("auto", "iterate", "modal")

# more operations than this, and the work is done where it can be interrupted
_LONG = 3e7
# the most operations that are spent on more digits for values that rounding hides: some seconds
_MORE_DIGITS = 1e11
# where systems of a batch belong to nobody's call in particular: as much as that for each, whatever their
# number, so that a result does not depend on which systems share a batch
_EACH_ALONE = 1e9
_each_alone: contextvars.ContextVar[float | None] = contextvars.ContextVar("_each_alone", default=None)
# bytes of a user's draws that are kept for a second pass, for each piece of the work
_TAPE = 2**27
# a cut that enlarges roundings by more than this is measured beside a plainer one
_ENLARGED = 20.0
# relative spacing of float32
_SINGLE = float(np.finfo(np.float32).eps)
# a token that is exactly zero at every layer
_FOREVER = 2**62


@contextlib.contextmanager
def each_alone() -> Iterator[None]:
    """Let no system's result depend on which others are in its batch, while the block runs."""
    token = _each_alone.set(_EACH_ALONE)
    try:
        yield
    finally:
        _each_alone.reset(token)


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
) -> Trajectory:
    """Iterate a layer rule and record metrics, gaps accurate at any depth.

    Parameters
    ----------
    rule : Linear, MultiHead, Layered, RandomWeights or Block
        One layer, or one per depth.
    x0 : array, shape (..., n, d)
        Input tokens, not all zero in any system.  Batch axes broadcast with
        the rule's.
    depth : int
        Number of layers, >= 0.
    layers : iterable of int, optional
        Layers to record, from 0 (the input) to depth; None records all.
    metrics : str or iterable of str, optional
        Names from ``linsim.metrics.METRICS``, or "plain" or "gaps" for all those whose names do
        not begin, or begin, with ``log``; None records all.
    method : {"auto", "iterate", "modal"}
        How to reach a layer: one after the other, or at once from the modes of A
        and H at a cost that does not depend on depth (``Linear`` only, up to layer
        2**30; systems whose eigenvectors hold no digits go by powers of matrices, or
        layer by layer).  "auto" chooses by shape, depth and recorded layers;
        ``run.info`` says what, and why.
    backend : {None, "numpy", "cupy"}
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
    conditioned modes: about 1e-10 at depth 1,200.  Derived in the README.  A
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
    if not isinstance(rule, Rule):
        raise _validate.refusal(
            InvalidTypeError,
            "rule",
            type(rule).__name__,
            "Linear, MultiHead, Layered, RandomWeights or Block",
            "Wrap A and H: Linear(A, H).",
        )
    depth = _validate.count(depth, "depth")
    if rule.max_depth is not None and depth > rule.max_depth:
        raise _validate.refusal(
            InvalidValueError, "depth", depth, f"at most {rule.max_depth}, one rule per layer", "Add rules."
        )
    wanted = recorded_layers(layers, depth)
    names = choose(metrics)
    _validate.choice(method, "method", METHODS)
    _refuse_closed(method, rule, depth)
    _refuse_endless(method, int(wanted[-1]))
    if resolution is not None:
        resolution = _validate.number(resolution, "resolution", low=0.0, low_open=True)
    if backend is not None:
        _validate.choice(backend, "backend", ("numpy", "cupy"))
    _validate.generator(rng)
    x0 = _tokens(rule, x0)
    batch = _validate.broadcast_batches(rule=rule.batch_shape, x0=tuple(x0.shape[:-2]))
    precision = _precision(dtype, x0, rule)
    with np.errstate(over="ignore"):  # refused in the next line
        start = _flat(to_backend(x0, backend), batch, precision)
    _survives(start, precision)
    size = int(np.prod(batch, dtype=int))
    stop = np.zeros(1, dtype=bool)
    reason = "the only engine for this rule"
    # how far states are known is told by their norm
    measured = choose([*names, "log_norm"]) if keep_states else names
    allowed = tolerances(measured, precision == "float32", resolution)
    plan = _Plan(
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
        each=_each_alone.get(),
    )
    if isinstance(rule, RandomWeights) and isinstance(rule.A, FromTokens):
        # layers that depend on the state are no product of matrices: blocks with nothing else
        block = Block(rule.A, weights=rule.kind, std=rule.std, norm=None)
        jobs = _block_jobs(block, plan, rng)
    elif isinstance(rule, RandomWeights):
        jobs = _random_jobs(rule, plan, rng)
    elif isinstance(rule, Block):
        jobs = _block_jobs(rule, plan, rng)
    else:
        jobs, reason = _fixed_jobs(plan, method)

    def abandon() -> None:
        stop[0] = True

    long = size * int(wanted[-1]) * float(np.prod(start.shape[-2:])) * sum(start.shape[-2:]) > _LONG
    found = in_parallel(lambda job: job(), jobs, abandon if long else None)
    xp = namespace(start)

    def each(name: str) -> np.ndarray[Any, Any]:
        own = [np.broadcast_to(getattr(part, name), part.size) for part in found]
        return np.array(np.broadcast_to(np.concatenate(own), size))

    def joined(parts: Sequence[Array]) -> Array:
        whole = xp.concat(list(parts)) if len(parts) > 1 else parts[0]
        return xp.broadcast_to(whole, (size, *whole.shape[1:]))

    methods = each("methods")
    whole = Recorded(
        {name: joined([part.values[name] for part in found]) for name in measured},
        {name: joined([part.errors[name] for part in found]) for name in measured},
        methods,
        each("kinds"),
        each("rounding"),
        {
            name: sum(part.fallbacks.get(name, 0) for part in found)
            for name in sorted({name for part in found for name in part.fallbacks})
        },
        size,
        joined([part.states for part in found]) if keep_states else None,
        joined([part.log_scale for part in found]) if keep_states else None,
        each("refused"),
    )
    if not isinstance(rule, RandomWeights | Block):
        whole = _fixed_with_more_digits(plan, whole)
    gone = missing(whole, allowed)

    def collect(x: Array) -> Array:
        x = xp.reshape(x, (*batch, *x.shape[1:]))
        return x if backend is None else to_host(x)

    info = RunInfo(
        method=_most_common(methods),
        methods=methods.reshape(batch),
        reason=reason,
        split=whole.kinds.reshape(batch),
        refused=whole.refused.reshape(batch),
        error_estimate=float(np.max(whole.rounding)),
        resolution=max(allowed.values(), default=resolution or 0.0),
        fallbacks=whole.fallbacks,
        unmeasured_from={name: first_of(to_host(gone[name]), wanted).reshape(batch) for name in names},
    )
    recorded = {
        name: collect(xp.where(gone[name], xp.full_like(whole.values[name], xp.nan), whole.values[name]))
        for name in names
    }
    errors = {name: collect(whole.errors[name]) for name in names}
    if not keep_states:
        return Trajectory(wanted, recorded, info, errors=errors)
    return Trajectory(wanted, recorded, info, collect(whole.states), collect(whole.log_scale), errors)


# goes again through the first layers (their number comes second) of some systems
_Again = Callable[[np.ndarray[Any, Any], int], Recorded]


def _with_more_digits(
    plan: _Plan,
    found: Recorded,
    in_float64: _Again | None,
    in_pairs: _Again | None,
    heads: int,
) -> Recorded:
    """Go again, with more digits, through systems with values that rounding hides and a plain loop shows."""
    counts = dict(found.fallbacks)
    wanted = _hidden(found, plan.allowed)
    if in_float64 is not None and plan.precision == "float32" and wanted.any():
        numbers, last = np.flatnonzero(np.any(wanted, axis=-1)), _last(wanted)
        found = filled(found, numbers, in_float64(numbers, last + 1), plan.allowed)
        counts["float64"] = len(numbers)
        wanted = _hidden(found, plan.allowed)
    if in_pairs is not None and wanted.any():
        n, d = (int(extent) for extent in plan.start.shape[-2:])
        numbers = np.flatnonzero(np.any(wanted, axis=-1))
        # the shallower first, while there is time
        last = plan.layers[wanted.shape[-1] - 1 - np.argmax(wanted[numbers, ::-1], axis=-1)]
        order = np.argsort(last, kind="stable")
        spent = doubled.cost(n, d, heads, 1) * np.maximum(last[order], 1) * np.arange(1, len(order) + 1)
        if plan.each is not None:  # whether one goes again may not depend on how many others do
            spent = doubled.cost(n, d, heads, 1) * np.maximum(last[order], 1) * (_MORE_DIGITS / plan.each)
        numbers = np.sort(numbers[order[spent <= _MORE_DIGITS]])
        if numbers.size:
            again = in_pairs(numbers, _last(wanted[numbers]) + 1)
            found = filled(found, numbers, again, plan.allowed)
            counts["double-double"] = len(numbers)
    return replace(found, fallbacks=counts)


def _last(wanted: np.ndarray[Any, Any]) -> int:
    return int(np.flatnonzero(np.any(wanted, axis=0))[-1])


def _hidden(found: Recorded, allowed: Mapping[str, float]) -> np.ndarray[Any, Any]:
    """Whether some value of a system and layer (b, k) is hidden that a plain loop may show."""
    gone = missing(found, allowed)
    out = None
    for name, x in gone.items():
        hidden = to_host(x)
        if name in _REACH and bool(np.any(hidden)):
            values = to_host(found.values[name])
            hidden = hidden & ~(values < _REACH[name])
        out = hidden if out is None else out | hidden
    return np.zeros((found.size, 1), dtype=bool) if out is None else out


# ln of gaps that a plain loop in double precision, or one with pairs of doubles, can still show
_REACH = {
    "log_token_diversity": -60.0,
    "log_hfc_lfc": -30.0,
    "log_cosine_gap": -28.0,
    "log_abs_cosine_gap": -28.0,
    "log_effective_rank_gap": -24.0,
    "log_rank_gap": -26.0,
}


def _fixed_with_more_digits(plan: _Plan, found: Recorded) -> Recorded:
    def in_float64(numbers: np.ndarray[Any, Any], count: int) -> Recorded:
        finer = plan.picked(numbers, "float64", count)
        jobs, _ = _fixed_jobs(finer, "auto")
        return merged_jobs([job() for job in jobs], finer.size)

    def in_pairs(numbers: np.ndarray[Any, Any], count: int) -> Recorded:
        finer = plan.picked(numbers, "float64", count)
        heads = finer.heads

        @functools.cache
        def host(layer: int) -> list[tuple[Array, Array]]:
            return [(to_host(A), to_host(H)) for A, H in heads(layer)]

        return _doubled(finer, lambda layer: host(0 if finer.different == 1 else layer))

    hidden = _hidden(found, plan.allowed)
    compiled = np.isin(np.broadcast_to(found.methods, found.size), ("lanes", "bands"))
    numbers = np.flatnonzero(np.any(hidden, axis=-1) & compiled)
    if numbers.size:
        # kernels bound what the engine of whole arrays measures
        finer = plan.picked(numbers, plan.precision, _last(hidden[numbers]) + 1)
        jobs = _split_jobs(finer, _refuse_growth(finer))
        found = filled(found, numbers, merged_jobs([job() for job in jobs], finer.size), plan.allowed)
        found = replace(found, fallbacks={**found.fallbacks, "iterate": len(numbers)})
    heads = max(len(plan.rule.heads(layer)) for layer in range(plan.different))  # type: ignore[union-attr]
    return _with_zeros(plan, _with_more_digits(plan, found, in_float64, in_pairs, heads))


def _with_zeros(plan: _Plan, found: Recorded) -> Recorded:
    """Know of states that came out as zero whether they are: then their size has no error."""
    sizes = [name for name in ("log_norm", "log_spread") if name in found.values]
    if not sizes:
        return found
    zero = np.ones(1, dtype=bool)
    for name in sizes:
        zero = zero & (to_host(found.values[name]) == -np.inf) & (to_host(found.errors[name]) == np.inf)
    values, errors = dict(found.values), dict(found.errors)
    for system in np.flatnonzero(np.any(zero, axis=-1)):
        one = plan.picked(np.asarray([system]), plan.precision, len(plan.layers))

        def heads(layer: int, one: _Plan = one) -> list[tuple[Array, Array]]:
            return [(A[0, ...], H[0, ...]) for A, H in one.heads(layer)]

        first = vanishes(one.start[0, ...], heads, int(plan.layers[zero[system]][0]))
        if first is None:
            continue
        for name in errors:
            # of the zero state only sizes are known, all else is no number, and that without an error
            for held, known in ((values, -np.inf if name in sizes else np.nan), (errors, 0.0)):
                host = np.array(to_host(held[name]))
                host[system, plan.layers >= first] = known
                held[name] = on_device_of(host, held[name])
    return replace(found, values=values, errors=errors)


def _doubled(plan: _Plan, heads: Callable[[int], list[tuple[Array, Array]]]) -> Recorded:
    """The systems of a plan with pairs of doubles, on the host; ``heads``: float64 arrays of a layer."""
    x0 = to_host(plan.start).astype(np.float64)
    n, d = x0.shape[-2:]
    inner = max(n, d)
    last: list[Any] = [None, None]

    def cut(layer: int) -> Any:
        _go_on(plan.stop)
        pairs = heads(layer)
        if last[0] is not pairs:
            last[:] = pairs, []
            for A, H in pairs:
                exact = doubled.stochastic(A)
                largest = np.max(np.abs(exact[0]), axis=-1, keepdims=True)
                last[1].append((sliced(exact, inner, -1), pair_of(H), largest))
        return last[1]

    at = [int(k) for k in plan.layers]
    walked = doubled.states(np.broadcast_to(x0, (plan.size, n, d)), cut, at)
    until = plan.zero_until.astype(np.float64)[:, :, None]
    return record(
        walked, at, plan.names, x0, until, plan.keep_states, "double-double", KINDS[0], doubled.ROUNDING
    )


def _most_common(methods: np.ndarray[Any, Any]) -> str:
    found, counts = np.unique(methods, return_counts=True)
    return str(found[np.argmax(counts)])


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is asked of a rule, for some of its systems.

    ``start``: their tokens, flattened; ``batch``: the batch shape of the rule and x0 together;
    ``numbers``: which of its systems these are, None for all; ``allowed``: the largest error of each
    metric; ``rounded_from_single``: matrices were float32 and stand for exactly stochastic ones; ``each``:
    the most operations that are spent on more digits for one system, None where all share ``_MORE_DIGITS``.
    """

    rule: Rule
    depth: int
    start: Array
    batch: tuple[int, ...]
    backend: str | None
    layers: np.ndarray[Any, Any]
    names: tuple[str, ...]
    keep_states: bool
    stop: np.ndarray[Any, Any]
    allowed: Mapping[str, float]
    numbers: np.ndarray[Any, Any] | None = None
    rounded_from_single: bool = False
    each: float | None = None

    @property
    def size(self) -> int:
        """Number of systems."""
        return int(np.prod(self.batch, dtype=int)) if self.numbers is None else len(self.numbers)

    @property
    def precision(self) -> str:
        """Name of the dtype of the states."""
        return "float64" if self.start.dtype == namespace(self.start).float64 else "float32"

    def picked(self, numbers: np.ndarray[Any, Any], precision: str, count: int) -> _Plan:
        """The same for some of the systems and the first ``count`` recorded layers."""
        xp, start = namespace(self.start), self.start
        if start.shape[0] > 1:
            start = _rows(start, numbers)
        return replace(
            self,
            start=xp.astype(start, getattr(xp, precision), copy=False),
            layers=self.layers[:count],
            numbers=numbers if self.numbers is None else self.numbers[numbers],
            rounded_from_single=self.rounded_from_single or precision != self.precision,
        )

    @functools.cached_property
    def zero_until(self) -> np.ndarray[Any, Any]:
        """The layer up to which each token is exactly zero, (b or 1, n), -1 for never; on the host.

        A token that is zero stays so while it attends to none that is not.
        """
        zero = ~np.any(to_host(self.start) != 0, axis=-1)
        until = np.where(zero, 0, -1).astype(np.int64)
        if not zero.any() or not isinstance(self.rule, Linear | MultiHead | Layered | RandomWeights):
            return until
        if isinstance(self.rule, RandomWeights) and not self.rule.fixed:
            return until
        for layer in range(int(self.layers[-1])):
            seen = np.zeros(1, dtype=bool)
            if isinstance(self.rule, RandomWeights):
                attentions = [self._placed(self.rule.A)]
            else:
                attentions = [A for A, _ in self.heads(layer)]
            for A in attentions:
                seen = seen | np.any((to_host(A) != 0) & ~zero[:, None, :], axis=-1)
            stays = zero & ~seen
            if until.shape != stays.shape:
                until = np.array(np.broadcast_to(until, stays.shape))
            until[stays] = layer + 1
            if not stays.any() or (self.different == 1 and np.array_equal(stays, zero)):
                until[stays] = _FOREVER
                break
            zero = stays
        return until

    @functools.cached_property  # looks at every layer, and is asked at every layer
    def different(self) -> int:
        """How many layers have matrices of their own."""
        if not isinstance(self.rule, Layered) or all(r is self.rule.rules[0] for r in self.rule.rules):
            return 1
        return max(self.depth, 1)

    def heads(self, layer: int) -> list[tuple[Array, Array]]:
        """The pairs (A_h, H_h), each (b or 1, ., .), where the states live."""
        pairs = self.rule.heads(layer if self.different > 1 else 0)  # type: ignore[union-attr]
        return [(self._attention(A), self._placed(H)) for A, H in pairs]

    def _attention(self, A: Array) -> Array:
        A = self._placed(A)
        if not self.rounded_from_single:
            return A
        return on_device_of(meant(to_host(A), _SINGLE), A)

    def _placed(self, M: Array) -> Array:
        precision = "float32" if self.rounded_from_single else self.precision
        M = _flat(to_backend(M, self.backend), self.batch, precision)
        if self.numbers is not None and M.shape[0] > 1:
            M = _rows(M, self.numbers)
        return namespace(M).astype(M, getattr(namespace(M), self.precision), copy=False)


def _fixed_jobs(plan: _Plan, method: str) -> tuple[list[Job], str]:
    """Choose an engine for a rule whose matrices are known beforehand; say why."""
    growth = _refuse_growth(plan)
    n, d = (int(extent) for extent in plan.start.shape[-2:])
    if method == "modal":
        return _closed_jobs(plan, growth), "asked for; closed forms where they hold"
    linear = isinstance(plan.rule, Linear)
    if method == "auto" and linear and closed.worthwhile(n, d, int(plan.layers[-1]), len(plan.layers)):
        return _closed_jobs(plan, growth), "few layers are recorded, far apart: jumping is cheaper"
    jobs, why = _walking_jobs(plan, growth)
    return jobs, why if method == "auto" else f"asked for; {why}"


def _walking_jobs(plan: _Plan, growth: np.ndarray[Any, Any]) -> tuple[list[Job], str]:
    """Choose among the engines that go layer by layer; say why."""
    n, d = (int(extent) for extent in plan.start.shape[-2:])
    host = namespace(plan.start) is np and not plan.keep_states
    rules = [plan.rule.heads(layer) for layer in range(plan.different)]  # type: ignore[union-attr]
    alike = len({len(pairs) for pairs in rules}) == 1
    engines: Any = ((small, "that stay in the cache"), (large, "too large for the cache"))
    for engine, which in engines:
        if host and alike and engine.applies(plan.names, n, d):
            A, H = _stacks(plan)
            jobs = engine.jobs(
                A, H, plan.start, plan.zero_until, plan.size, plan.layers, plan.names, growth,
                _budget(plan.start), plan.stop,
            )  # fmt: skip
            return jobs, f"metrics that need no eigenvectors, of systems {which}"
    return _split_jobs(plan, growth), "layer by layer, along the dominant modes"


def _refuse_closed(method: str, rule: Rule, depth: int) -> None:
    if method != "modal":
        return
    if not isinstance(rule, Linear):
        raise _validate.refusal(
            InvalidValueError,
            "method",
            f"'modal' for {type(rule).__name__}",
            "a Linear rule: modes are those of one A and one H",
            "Leave method out.",
        )
    if depth > closed.DEEPEST:
        raise _validate.refusal(
            InvalidValueError,
            "depth",
            depth,
            f"at most {closed.DEEPEST} for method='modal', where phases keep their digits",
            "Record a shallower layer: the law of a slope does not change.",
        )


def _refuse_endless(method: str, last: int) -> None:
    if method != "auto" or last <= closed.DEEPEST:
        return
    raise _validate.refusal(
        InvalidValueError,
        "layers",
        f"layer {last}",
        f"layers up to {closed.DEEPEST}: beyond, no closed form keeps its digits, and walking takes days",
        "Record a shallower layer: the law of a slope does not change; or walk, with method='iterate'.",
    )


def _closed_jobs(plan: _Plan, growth: np.ndarray[Any, Any]) -> list[Job]:
    """The closed form on the host, in pieces; what it cannot do is walked."""
    xp = namespace(plan.start)
    A, H = (to_host(M).astype(np.float64) for M in plan.heads(0)[0])
    if plan.precision == "float32":
        A = meant(A, _SINGLE)
    x0, zero_until = to_host(plan.start).astype(np.float64), plan.zero_until
    n, d = x0.shape[-2:]

    def run(part: slice) -> Recorded:
        def own(M: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return M if M.shape[0] == 1 else M[part]

        size = part.stop - part.start

        def walk(numbers: np.ndarray[Any, Any]) -> Recorded:
            # sorted out by the closed form: systems that must go layer by layer
            def picked(M: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
                M = np.broadcast_to(own(M), (size, *M.shape[1:]))[numbers]
                return M.astype(plan.precision)

            rest = replace(
                plan,
                rule=Linear(picked(A), picked(H)),
                start=picked(x0),
                batch=(len(numbers),),
                backend=None,
                numbers=None,
                rounded_from_single=False,
            )
            jobs, _ = _walking_jobs(rest, growth if growth.size == 1 else growth[part][numbers])
            return merged_jobs([job() for job in jobs], len(numbers))

        found = closed.run(
            own(A),
            own(H),
            own(x0),
            own(zero_until),
            size,
            plan.layers,
            plan.names,
            plan.keep_states,
            _started,
            walk,
            plan.stop,
        )
        return found if xp is np else _moved(found, plan.start)

    parts = [slice(0, plan.size)]
    if any(M.shape[0] > 1 for M in (A, H, x0)):
        parts = pieces(plan.size, 40 * n * d + 20 * n * n + 20 * d * d, np.empty(0))
    return [functools.partial(run, part) for part in parts]


def merged_jobs(done: Sequence[Recorded], size: int) -> Recorded:
    """Put what jobs recorded together, in their order, NumPy arrays."""
    if len(done) == 1:
        return done[0]
    edges = np.cumsum([0, *(one.size for one in done)])
    places = [np.arange(a, b) for a, b in itertools.pairwise(edges)]
    return merged(list(zip(places, done, strict=True)), size, {})


def _moved(found: Recorded, like: Array) -> Recorded:
    """What was recorded on the host, in the library and on the device of ``like``."""

    def move(x: Any) -> Any:
        return None if x is None else on_device_of(np.ascontiguousarray(x), like)

    return replace(
        found,
        values={name: move(x) for name, x in found.values.items()},
        errors={name: move(x) for name, x in found.errors.items()},
        states=move(found.states),
        log_scale=move(found.log_scale),
    )


def _stacks(plan: _Plan) -> tuple[Array, Array]:
    """All matrices as (layers or 1, heads, b or 1, ., .) arrays."""

    def stack(side: int) -> Array:
        layers = [[pair[side] for pair in plan.heads(layer)] for layer in range(plan.different)]
        if len(layers) == 1 and len(layers[0]) == 1:
            return layers[0][0][None, None]
        b = max(M.shape[0] for head in layers for M in head)
        return np.stack([np.stack([np.broadcast_to(M, (b, *M.shape[1:])) for M in head]) for head in layers])

    return stack(0), stack(1)


def _refuse_growth(plan: _Plan) -> np.ndarray[Any, Any]:
    """log2 of a bound on how much one layer enlarges an entry, (b or 1,), if it is within range."""
    growth = np.zeros(1)
    for layer in range(plan.different):
        growth = np.maximum(growth, _growth(plan.heads(layer)))
    budget, worst = _budget(plan.start), float(np.max(growth))
    if worst > budget:
        raise _validate.refusal(
            InvalidValueError,
            "H",
            f"entries that let a layer grow by 2^{worst:.0f}",
            f"growth below 2^{budget} in {plan.precision}",
            "Scale H down, or use float64.",
        )
    return growth


def _split_jobs(plan: _Plan, growth: np.ndarray[Any, Any]) -> list[Job]:
    """Layer by layer on whole arrays, cut along the dominant modes, in any array library."""
    start = plan.start
    n, d = (int(extent) for extent in start.shape[-2:])
    heads = functools.cache(plan.heads)  # every matrix moves once
    repeats = plan.different == 1
    error = _rounding(start, plan.layers)
    budget = _budget(start)
    until = on_device_of(plan.zero_until[:, :, None].astype(np.float64), start)

    def run(part: slice) -> Recorded:
        def own(M: Array) -> Array:
            return M if M.shape[0] == 1 else M[part, ...]

        here = own(start)
        split, kinds, enlarged = _split(plan, own)
        pace = float(np.max(growth if growth.size == 1 else growth[part]))

        @functools.cache
        def matrices(layer: int) -> Sequence[tuple[Array, Array]]:
            return [(own(A), own(H)) for A, H in heads(layer)]

        def steps(layer: int) -> Sequence[tuple[Array, Array]]:
            _go_on(plan.stop)
            return matrices(0 if repeats else layer)

        at = [int(k) for k in plan.layers]

        def walk(split: Split) -> Recorded:
            walked = iterate.states(_started(here, split), steps, at, pace, budget)
            keep = plan.keep_states
            return record(walked, at, plan.names, here, own(until), keep, "iterate", kinds, error)

        found = walk(split)
        if float(np.max(enlarged)) <= _ENLARGED:
            return found
        # vectors far from orthogonal cost digits of what does not need them: cut off the mean alone as well
        plain = row_split([to_host(own(A)).astype(np.float64) for A, _ in heads(0)], d, _eps(here))
        other, xp = walk(_placed(plain, here)), namespace(here)
        # of those alone: what is found of a system may not depend on the others of its batch
        far = on_device_of((enlarged > _ENLARGED)[:, None], start)
        errors = {name: xp.where(far, x, xp.full_like(x, xp.inf)) for name, x in other.errors.items()}
        return sharper(found, replace(other, errors=errors))

    parts = [slice(0, plan.size)]
    if any(M.shape[0] > 1 for pair in heads(0) for M in pair) or start.shape[0] > 1:
        parts = pieces(plan.size, 6 * n * d + 2 * n * n + 2 * d * d, start)
    return [functools.partial(run, part) for part in parts]


class _StoppedError(Exception):
    """Ends a piece of work whose result nobody waits for any more."""


def _go_on(stop: np.ndarray[Any, Any]) -> None:
    if stop[0]:
        raise _StoppedError


def _eps(x: Array) -> float:
    return float(namespace(x).finfo(x.dtype).eps)


def _rounding(start: Array, layers: np.ndarray[Any, Any]) -> float:
    """Relative rounding that the layers add to a part up to the last recorded one."""
    eps = float(namespace(start).finfo(start.dtype).eps)
    return eps * float(np.sqrt(sum(start.shape[-2:]))) * (int(layers[-1]) + 1)


class _Tape:
    """What a user's samplers returned, so that a second pass sees the same matrices.

    Samplers may hold a state of their own and cannot be asked again.  They draw from the streams
    that the library draws from, so where there is one all of a layer's draws are kept; else the
    streams are begun anew.
    """

    def __init__(self, taped: bool) -> None:
        self.taped, self.bytes = taped, 0
        self.drawn: list[np.ndarray[Any, Any]] = []
        self.place = 0

    def __call__(self, draw: Callable[[], np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Return ``draw()``, and keep it."""
        out = draw()
        if self.taped and self.bytes <= _TAPE:
            self.bytes += out.nbytes
            self.drawn.append(out)
        return out

    @property
    def complete(self) -> bool:
        """Whether all can be seen again."""
        return not self.taped or self.bytes <= _TAPE

    def again(self, rows: np.ndarray[Any, Any]) -> Callable[[Any], np.ndarray[Any, Any]]:
        """Return what hands out the kept matrices of some of the systems, in order; else draws."""
        kept = iter(self.drawn)
        return (lambda draw: next(kept)[rows]) if self.taped else (lambda draw: draw())


def _random_jobs(rule: RandomWeights, plan: _Plan, rng: Any) -> list[Job]:
    """Return the work on chunks of systems, each system with its own stream."""
    xp = namespace(plan.start)
    precision, size = plan.precision, plan.size
    n, d = (int(extent) for extent in plan.start.shape[-2:])
    generator = _draws.streams(rng, size)
    std = np.broadcast_to(rule.std, plan.batch).reshape(size, 1, 1)
    A = plan._placed(rule.A) if rule.fixed else None
    known = [to_host(A).astype(np.float64)] if rule.fixed else [np.tril(np.ones((1, n, n)))]
    every = xp.broadcast_to(plan.start, (size, n, d))
    until = np.broadcast_to(plan.zero_until, (size, n))
    at = [int(k) for k in plan.layers]
    taped = callable(rule.kind) or not rule.fixed

    def run(piece: slice) -> Recorded:
        own, tape = _draws.piece(generator, piece), _Tape(taped)
        before = _draws.copied(own)
        fixed = A if A is None or A.shape[0] == 1 else A[piece, ...]
        here = replace(plan, start=every[piece, ...], numbers=np.arange(size)[piece])

        def drawn(streams: Any, rows: Any, see: Any) -> Callable[[int], list[tuple[Any, Any]]]:
            def heads(layer: int) -> list[tuple[Any, Any]]:
                _go_on(plan.stop)
                attention = fixed
                if attention is None:
                    attention = see(lambda: _draws.attention(rule.A, n, streams, precision))
                elif attention.shape[0] > 1:
                    attention = _rows(attention, rows)
                W = see(lambda: _draws.weights(rule.kind, d, std[piece][rows], streams, precision))
                return [(attention, W)]

            return heads

        def walk(start: Array, count: int, matrices: Any, rows: Any) -> Recorded:
            eps = float(xp.finfo(start.dtype).eps)
            split = _placed(row_split(known, d, eps), start)
            split = split.map(lambda x: x if x.shape[0] == 1 else _rows(x[piece, ...], rows))
            single = start.dtype != xp.float64

            def heads(layer: int) -> Sequence[tuple[Array, Array]]:
                out = []
                for attention, W in matrices(layer):
                    attention, W = (on_device_of(M, start) for M in (attention, W))
                    if not single and precision == "float32":
                        attention = on_device_of(meant(to_host(attention).astype(np.float64), _SINGLE), start)
                    out.append(tuple(xp.astype(M, start.dtype, copy=False) for M in (attention, W)))
                return out

            state = _started(start, split)
            # every layer may use the whole budget, so every layer is rescaled
            walked = iterate.states(state, heads, at[:count], _budget(start), _budget(start))
            zero = on_device_of(until[piece][rows][:, :, None].astype(np.float64), start)
            keep = plan.keep_states
            error = _rounding(start, plan.layers)
            return record(walked, at[:count], plan.names, start, zero, keep, "iterate", KINDS[0], error)

        every_row = np.arange(piece.stop - piece.start)
        found = walk(here.start, len(at), drawn(own, every_row, tape), every_row)

        def again(rows: Any) -> Any:
            return drawn(_draws.copied(before, rows), rows, tape.again(rows))

        def in_float64(rows: Any, count: int) -> Recorded:
            start = xp.astype(_rows(here.start, rows), xp.float64)
            return walk(start, count, again(rows), rows)

        def in_pairs(rows: Any, count: int) -> Recorded:
            matrices = again(rows)

            def heads(layer: int) -> list[tuple[Array, Array]]:
                found = [tuple(to_host(M).astype(np.float64) for M in pair) for pair in matrices(layer)]
                return [(meant(M, _SINGLE), W) if precision == "float32" else (M, W) for M, W in found]

            return _doubled(here.picked(rows, "float64", count), heads)

        if not tape.complete:
            return found
        return _with_more_digits(here, found, in_float64, in_pairs, 1)

    return [functools.partial(run, piece) for piece in pieces(size, 3 * n * d + n * n + d * d, plan.start)]


def _block_jobs(rule: Block, plan: _Plan, rng: Any) -> list[Job]:
    """Return the work on chunks of systems through Transformer blocks."""
    xp, start, batch = namespace(plan.start), plan.start, plan.batch
    precision, size = plan.precision, plan.size
    n, d = (int(extent) for extent in start.shape[-2:])
    generator = _draws.streams(rng, size)
    std = np.broadcast_to(rule.std, batch).reshape(size, 1, 1)

    def place(M: Array | None, *, row: bool = False) -> Array | None:
        if M is None:
            return None
        M = to_backend(M, plan.backend)
        return _flat(M[..., None, :] if row else M, batch, precision)

    A = place(rule.A) if rule.attention_fixed else None
    W = place(rule.weights) if rule.weights_fixed else None
    gain, bias = place(rule.gain, row=True), place(rule.bias, row=True)
    steps: Any = rule.deescalation
    strengths = [step.similarity if step.tau is None else step.tau for step in steps]
    taus = [
        None if x is None else on_device_of(np.broadcast_to(x, batch).reshape(size, 1, 1), start)
        for x in strengths
    ]
    masked = isinstance(rule.A, FromTokens) and rule.A.mask is not None
    mask = on_device_of(to_host(rule.A.mask), start) if masked else None  # type: ignore[union-attr]
    every = xp.broadcast_to(start, (size, n, d))
    at = [int(k) for k in plan.layers]
    taped = any(callable(x) for x in (rule.weights, rule.A))

    def run(part: slice) -> Recorded:
        own_streams, tape = _draws.piece(generator, part), _Tape(taped)
        before = _draws.copied(own_streams)
        here = replace(plan, start=every[part, ...], numbers=np.arange(size)[part])

        def walk(begin: Array, count: int, rows: Any, streams: Any, see: Any) -> Recorded:
            def own(M: Array | None) -> Array | None:
                if M is None:
                    return None
                M = M if M.shape[0] == 1 else _rows(M[part, ...], rows)
                # matrices have the dtype of the tokens; strengths and moduli are float64 always
                return xp.astype(M, begin.dtype) if M.dtype == start.dtype else M

            attend = own(A)
            if attend is not None and begin.dtype != start.dtype:
                attend = on_device_of(meant(to_host(attend), _SINGLE), begin)
            piece = blocks.Piece(
                rule,
                attend,
                own(W),
                std[part][rows],
                own(gain),
                own(bias),
                tuple(own(tau) for tau in taus),
                mask,
                streams,
                precision,
                see,
            )
            split = row_split([np.full((1, n, n), 1 / n)], d, float(xp.finfo(begin.dtype).eps))
            split = _placed(split, begin)
            half, top = _scale(begin)
            cloud = gather(scaled(scaled(begin, half), -top - half), top)
            clouds = blocks.clouds(cloud, piece, at[:count], lambda: _go_on(plan.stop))
            walked = (state_of(current, split) for current in clouds)
            zero = on_device_of(here.zero_until[rows][:, :, None].astype(np.float64), begin)
            keep = plan.keep_states
            error = _rounding(begin, plan.layers)
            return record(walked, at[:count], plan.names, begin, zero, keep, "iterate", KINDS[0], error)

        every_row = np.arange(part.stop - part.start)
        found = walk(here.start, len(at), every_row, own_streams, tape)

        def in_float64(rows: Any, count: int) -> Recorded:
            begin = xp.astype(_rows(here.start, rows), xp.float64)
            return walk(begin, count, rows, _draws.copied(before, rows), tape.again(rows))

        # a hook was written for the dtype of the run, and may remember what it has seen
        again = in_float64 if tape.complete and all(x is not None for x in strengths) else None
        return _with_more_digits(here, found, again, None, 1)

    width = 0 if rule.feed_forward is None else 2 * (4 * d if rule.width is None else rule.width)
    numbers = 4 * n * d + n * n + d * d + width * (n + d)
    parts = pieces(size, (1 + copies_for(d)) * numbers, start)
    return [functools.partial(run, part) for part in parts]


def _budget(start: Array) -> int:
    return 400 if start.dtype == namespace(start).float64 else 50


def _started(start: Array, split: Split) -> State:
    """Cut the input into parts, at a scale where nothing overflows."""
    half, top = _scale(start)
    return shifted(decompose(scaled(scaled(start, half), -top - half), split), top)


def _scale(start: Array) -> tuple[Array, Array]:
    """Return half of minus the exponent of the largest entry (2**-top could overflow), and that exponent."""
    xp = namespace(start)
    top = exponent_of(xp.max(xp.abs(start), axis=(-1, -2), keepdims=True))
    return xp.floor(-top / 2), top


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
    if isinstance(rule, Block):
        rule.refuse_heads(tuple(x0.shape[:-2]))
    matrices = _matrices(rule)
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
    return "float64" if any(M.dtype == xp.float64 for M in [x0, *_matrices(rule)]) else "float32"


def _matrices(rule: Rule) -> list[Array]:
    """Return what a rule holds of its first layer, before anything is drawn."""
    if isinstance(rule, RandomWeights):
        return [rule.A] if rule.fixed else []
    if isinstance(rule, Block):
        held = [rule.A if rule.attention_fixed else None, rule.weights if rule.weights_fixed else None]
        return [M for M in (*held, rule.gain, rule.bias) if M is not None]
    return [M for pair in rule.heads(0) for M in pair]


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


def _rows(x: Array, numbers: np.ndarray[Any, Any]) -> Array:
    """Some of the systems of (b, ...); the standard has no index of arrays beside an ellipsis."""
    return namespace(x).take(x, on_device_of(numbers, x), axis=0)


def _flat(x: Array, batch: tuple[int, ...], precision: str) -> Array:
    """Reshape (..., p, q) to (b, p, q); b is 1 where one matrix serves the whole batch."""
    xp = namespace(x)
    x = xp.astype(x, getattr(xp, precision), copy=False)
    lead, tail = tuple(x.shape[:-2]), tuple(x.shape[-2:])
    if all(extent == 1 for extent in lead):
        return xp.reshape(x, (1, *tail))
    return xp.reshape(xp.broadcast_to(x, (*batch, *tail)), (-1, *tail))


def _growth(pairs: Sequence[tuple[Array, Array]]) -> np.ndarray[Any, Any]:
    """log2 of a bound on how much one layer enlarges an entry (attention rows sum to 1), (b or 1,)."""
    total = np.zeros(1)
    for _, H in pairs:
        xp = namespace(H)
        with np.errstate(over="ignore"):  # beyond the range is beyond any budget
            columns = xp.max(xp.sum(xp.abs(H), axis=-2, dtype=xp.float64), axis=-1)
        found = to_host(columns)
        safe = np.log2(np.where(found > 0, found, 1))
        total = np.logaddexp2(total, np.where(found > 0, safe, -np.inf))
    return total


def _split(
    plan: _Plan, own: Callable[[Array], Array]
) -> tuple[Split, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Choose the split on the host, from the inputs where they are, and place it beside the states."""
    start, rule = plan.start, plan.rule
    eps = _eps(start)

    def host(M: Array) -> np.ndarray[Any, Any]:
        return to_host(own(M)).astype(np.float64)

    if isinstance(rule, Linear):
        ((A, H),) = plan.heads(0)
        split, kinds, enlarged = choose_split(host(A), host(H), host(start), eps)
    else:
        attentions = [host(A) for layer in range(plan.different) for A, _ in plan.heads(layer)]
        split, kinds = row_split(attentions, int(start.shape[-1]), eps), np.asarray([KINDS[0]])
        enlarged = np.ones(1)
    return _placed(split, start), kinds, enlarged


def _placed(split: Split, start: Array) -> Split:
    xp = namespace(start)

    def place(x: np.ndarray[Any, Any]) -> Array:
        return on_device_of(np.ascontiguousarray(x), start, xp.bool if x.dtype == bool else start.dtype)

    return split.map(place)
