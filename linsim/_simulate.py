"""Run a layer rule to a depth and record metrics."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from . import _draws, _validate
from ._blas import on_one_thread
from ._callers import in_callers_library
from ._cloud import copies_for, gather, state_of
from ._engines import blocks, closed, iterate, large, small
from ._evaluate import choose, resolution_of
from ._namespace import Array, exponent_of, namespace, on_device_of, to_backend, to_host
from ._parallel import in_parallel, pieces
from ._recorded import Job, Recorded, first_unresolved, merged, record
from ._split import KINDS, choose_split, row_split
from ._state import Split, State, decompose, scaled, shifted
from .attention import FromTokens
from .block import Block
from .errors import InvalidTypeError, InvalidValueError, ShapeError
from .rules import Layered, Linear, MultiHead, RandomWeights, Rule
from .theory.spectra import doubly_stochastic
from .trajectory import RunInfo, Trajectory

__all__ = ["recorded_layers", "simulate"]

#: names of ``method``
METHODS = ("auto", "iterate", "modal")

# more operations than this, and the work is done where it can be interrupted
_LONG = 3e7


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
        Names from ``linsim.metrics.METRICS``; None records all.
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

    Returns
    -------
    Trajectory
        ``layers`` (k,), ``metrics[name]`` (..., k), ``info``.

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
    if isinstance(rule, RandomWeights) and isinstance(rule.A, FromTokens):
        # layers that depend on the state are no product of matrices: blocks with nothing else
        block = Block(rule.A, weights=rule.kind, std=rule.std, norm=None)
        jobs = _block_jobs(block, start, batch, backend, rng, wanted, names, keep_states, stop)
    elif isinstance(rule, RandomWeights):
        jobs = _random_jobs(rule, start, batch, backend, rng, wanted, names, keep_states, stop)
    elif isinstance(rule, Block):
        jobs = _block_jobs(rule, start, batch, backend, rng, wanted, names, keep_states, stop)
    else:
        plan = _Plan(rule, depth, x0, start, batch, backend, wanted, names, keep_states, stop)
        jobs, reason = _fixed_jobs(plan, method)

    def abandon() -> None:
        stop[0] = True

    long = size * int(wanted[-1]) * float(np.prod(start.shape[-2:])) * sum(start.shape[-2:]) > _LONG
    found = in_parallel(lambda job: job(), jobs, abandon if long else None)
    xp = namespace(start)

    def collect(parts: Sequence[Array]) -> Array:
        whole = xp.concat(list(parts)) if len(parts) > 1 else parts[0]
        whole = xp.reshape(xp.broadcast_to(whole, (size, *whole.shape[1:])), (*batch, *whole.shape[1:]))
        return whole if backend is None else to_host(whole)

    def each(name: str) -> np.ndarray[Any, Any]:
        own = [np.broadcast_to(getattr(part, name), part.size) for part in found]
        return np.array(np.broadcast_to(np.concatenate(own), size)).reshape(batch)

    methods = each("methods")
    info = RunInfo(
        method=_most_common(methods),
        methods=methods,
        reason=reason,
        split=each("kinds"),
        refused=each("refused"),
        error_estimate=float(np.max(each("errors"))),
        resolution=resolution_of(start),
        fallbacks={
            name: sum(part.fallbacks.get(name, 0) for part in found)
            for name in sorted({name for part in found for name in part.fallbacks})
        },
        unmeasured_from={
            name: first_unresolved(collect([part.resolved[name] for part in found]), wanted) for name in names
        },
    )
    recorded = {name: collect([part.values[name] for part in found]) for name in names}
    if not keep_states:
        return Trajectory(wanted, recorded, info)
    states = collect([part.states for part in found])
    return Trajectory(wanted, recorded, info, states, collect([part.log_scale for part in found]))


def _most_common(methods: np.ndarray[Any, Any]) -> str:
    found, counts = np.unique(methods, return_counts=True)
    return str(found[np.argmax(counts)])


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is asked of a rule whose matrices are known beforehand."""

    rule: Linear | MultiHead | Layered
    depth: int
    x0: Array
    start: Array
    batch: tuple[int, ...]
    backend: str | None
    layers: np.ndarray[Any, Any]
    names: tuple[str, ...]
    keep_states: bool
    stop: np.ndarray[Any, Any]

    @property
    def size(self) -> int:
        """Number of systems."""
        return int(np.prod(self.batch, dtype=int))

    @property
    def precision(self) -> str:
        """Name of the dtype of the states."""
        return "float64" if self.start.dtype == namespace(self.start).float64 else "float32"

    @functools.cached_property  # looks at every layer, and is asked at every layer
    def different(self) -> int:
        """How many layers have matrices of their own."""
        if not isinstance(self.rule, Layered) or all(r is self.rule.rules[0] for r in self.rule.rules):
            return 1
        return max(self.depth, 1)

    def heads(self, layer: int) -> list[tuple[Array, Array]]:
        """The pairs (A_h, H_h), each (b or 1, ., .), where the states live."""
        pairs = self.rule.heads(layer if self.different > 1 else 0)
        return [(self._placed(A), self._placed(H)) for A, H in pairs]

    def _placed(self, M: Array) -> Array:
        return _flat(to_backend(M, self.backend), self.batch, self.precision)


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
    alike = len({len(plan.rule.heads(layer)) for layer in range(plan.different)}) == 1
    engines: Any = ((small, "that stay in the cache"), (large, "too large for the cache"))
    for engine, which in engines:
        if host and alike and engine.applies(plan.names, n, d):
            A, H = _stacks(plan)
            jobs = engine.jobs(
                A, H, plan.start, plan.size, plan.layers, plan.names, growth, _budget(plan.start), plan.stop
            )
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
        A = _meant(A)
    x0 = to_host(plan.start).astype(np.float64)
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
                x0=picked(x0),
                start=picked(x0),
                batch=(len(numbers),),
                backend=None,
            )
            jobs, _ = _walking_jobs(rest, growth if growth.size == 1 else growth[part][numbers])
            done = [job() for job in jobs]
            edges = np.cumsum([0, *(one.size for one in done)])
            places = [np.arange(a, b) for a, b in itertools.pairwise(edges)]
            return merged(list(zip(places, done, strict=True)), len(numbers), {})

        found = closed.run(
            own(A),
            own(H),
            own(x0),
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


def _meant(A: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Attention that was rounded to float32, as float64 matrices whose rows sum to 1.

    Columns that sum to 1 as well as float32 can tell mean to.
    """
    keeps = doubly_stochastic(A, float(np.finfo(np.float32).eps))[:, None, None]
    for _ in range(4):  # Sinkhorn: each pass squares what is left of float32's rounding, or nearly
        A = np.where(keeps, A / np.sum(A, axis=-2, keepdims=True), A)
        A = A / np.sum(A, axis=-1, keepdims=True)
    return A


def _moved(found: Recorded, like: Array) -> Recorded:
    """What was recorded on the host, in the library and on the device of ``like``."""

    def move(x: Any) -> Any:
        return None if x is None else on_device_of(np.ascontiguousarray(x), like)

    return replace(
        found,
        values={name: move(x) for name, x in found.values.items()},
        resolved={name: move(x) for name, x in found.resolved.items()},
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
    start, rule = plan.start, plan.rule
    n, d = (int(extent) for extent in start.shape[-2:])
    heads = functools.cache(plan.heads)  # every matrix moves once
    repeats = plan.different == 1
    error = _rounding(start, plan.layers)
    budget = _budget(start)

    def run(part: slice) -> Recorded:
        def own(M: Array) -> Array:
            return M if M.shape[0] == 1 else M[part, ...]

        here = own(start)
        split, kinds = _split(plan, own)
        state = _started(here, split)
        probe = None if isinstance(rule, Linear) else decompose(_generic(here), split)
        pace = float(np.max(growth if growth.size == 1 else growth[part]))

        @functools.cache
        def matrices(layer: int) -> Sequence[tuple[Array, Array]]:
            return [(own(A), own(H)) for A, H in heads(layer)]

        def steps(layer: int) -> Sequence[tuple[Array, Array]]:
            _go_on(plan.stop)
            return matrices(0 if repeats else layer)

        at = [int(k) for k in plan.layers]
        walked = iterate.states(state, steps, at, pace, budget, probe)
        return record(
            walked, at, plan.names, _zero_rows(here), plan.keep_states,
            "iterate", kinds, error,
        )  # fmt: skip

    parts = [slice(0, plan.size)]
    if any(M.shape[0] > 1 for pair in heads(0) for M in pair) or start.shape[0] > 1:
        parts = pieces(plan.size, 6 * n * d + 2 * n * n + 2 * d * d, start)
    return [functools.partial(run, part) for part in parts]


class _StoppedError(Exception):
    """Ends a piece of work whose result nobody waits for any more."""


def _go_on(stop: np.ndarray[Any, Any]) -> None:
    if stop[0]:
        raise _StoppedError


def _rounding(start: Array, layers: np.ndarray[Any, Any]) -> float:
    """Relative rounding that the layers add to a part up to the last recorded one."""
    eps = float(namespace(start).finfo(start.dtype).eps)
    return eps * float(np.sqrt(sum(start.shape[-2:]))) * (int(layers[-1]) + 1)


def _random_jobs(
    rule: RandomWeights,
    start: Array,
    batch: tuple[int, ...],
    backend: str | None,
    rng: Any,
    wanted: np.ndarray[Any, Any],
    names: tuple[str, ...],
    keep_states: bool,
    stop: np.ndarray[Any, Any],
) -> list[Job]:
    """Return the work on chunks of systems, each system with its own stream."""
    xp = namespace(start)
    precision = "float64" if start.dtype == xp.float64 else "float32"
    size = int(np.prod(batch, dtype=int))
    n, d = (int(extent) for extent in start.shape[-2:])
    generator = _draws.streams(rng, size)
    std = np.broadcast_to(rule.std, batch).reshape(size, 1, 1)
    A = _flat(to_backend(rule.A, backend), batch, precision) if rule.fixed else None
    known = [to_host(A).astype(np.float64)] if rule.fixed else [np.tril(np.ones((1, n, n)))]
    split = _placed(row_split(known, d, float(xp.finfo(start.dtype).eps)), start)
    start = xp.broadcast_to(start, (size, n, d))

    at = [int(k) for k in wanted]
    error = _rounding(start, wanted)

    def run(piece: slice) -> Recorded:
        own = _draws.piece(generator, piece)
        fixed = A if A is None or A.shape[0] == 1 else A[piece, ...]
        here = split.map(lambda x: x if x.shape[0] == 1 else x[piece, ...])

        def heads(layer: int) -> Sequence[tuple[Array, Array]]:
            _go_on(stop)
            attention = fixed
            if attention is None:
                attention = on_device_of(_draws.attention(rule.A, n, own, precision), start)
            W = _draws.weights(rule.kind, d, std[piece], own, precision)
            return [(attention, on_device_of(W, start))]

        state = _started(start[piece, ...], here)
        probe = decompose(_generic(start), here)

        # every layer may use the whole budget, so every layer is rescaled
        walked = iterate.states(state, heads, at, _budget(start), _budget(start), probe)
        zero = _zero_rows(start[piece, ...])
        return record(walked, at, names, zero, keep_states, "iterate", KINDS[0], error)

    return [functools.partial(run, piece) for piece in pieces(size, 3 * n * d + n * n + d * d, start)]


def _block_jobs(
    rule: Block,
    start: Array,
    batch: tuple[int, ...],
    backend: str | None,
    rng: Any,
    wanted: np.ndarray[Any, Any],
    names: tuple[str, ...],
    keep_states: bool,
    stop: np.ndarray[Any, Any],
) -> list[Job]:
    """Return the work on chunks of systems through Transformer blocks."""
    xp = namespace(start)
    precision = "float64" if start.dtype == xp.float64 else "float32"
    size = int(np.prod(batch, dtype=int))
    n, d = (int(extent) for extent in start.shape[-2:])
    generator = _draws.streams(rng, size)
    std = np.broadcast_to(rule.std, batch).reshape(size, 1, 1)

    def place(M: Array | None, *, row: bool = False) -> Array | None:
        if M is None:
            return None
        M = to_backend(M, backend)
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
    split = _placed(row_split([np.full((1, n, n), 1 / n)], d, float(xp.finfo(start.dtype).eps)), start)
    start = xp.broadcast_to(start, (size, n, d))

    at = [int(k) for k in wanted]
    error = _rounding(start, wanted)

    def run(part: slice) -> Recorded:
        def own(M: Array | None) -> Array | None:
            return M if M is None or M.shape[0] == 1 else M[part, ...]

        piece = blocks.Piece(
            rule,
            own(A),
            own(W),
            std[part],
            own(gain),
            own(bias),
            tuple(own(tau) for tau in taus),
            mask,
            _draws.piece(generator, part),
            precision,
        )
        here = start[part, ...]
        half, top = _scale(here)
        cloud = gather(scaled(scaled(here, half), -top - half), top)

        walked = (
            state_of(current, split) for current in blocks.clouds(cloud, piece, at, lambda: _go_on(stop))
        )
        return record(walked, at, names, _zero_rows(here), keep_states, "iterate", KINDS[0], error)

    width = 0 if rule.feed_forward is None else 2 * (4 * d if rule.width is None else rule.width)
    numbers = 4 * n * d + n * n + d * d + width * (n + d)
    parts = pieces(size, (1 + copies_for(d)) * numbers, start)
    return [functools.partial(run, part) for part in parts]


def _budget(start: Array) -> int:
    return 400 if start.dtype == namespace(start).float64 else 50


def _zero_rows(start: Array) -> Array:
    return ~namespace(start).any(start != 0, axis=-1, keepdims=True)


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


def _split(plan: _Plan, own: Callable[[Array], Array]) -> tuple[Split, np.ndarray[Any, Any]]:
    """Choose the split on the host, from the inputs where they are, and place it beside the states."""
    start, rule = plan.start, plan.rule
    eps = float(namespace(start).finfo(start.dtype).eps)

    def host(M: Array) -> np.ndarray[Any, Any]:
        return to_host(own(_flat(M, plan.batch, plan.precision))).astype(np.float64)

    if isinstance(rule, Linear):
        split, kinds = choose_split(host(rule.A), host(rule.H), host(plan.x0), eps)
    else:
        attentions = [host(A) for layer in range(plan.different) for A, _ in rule.heads(layer)]
        split, kinds = row_split(attentions, rule.d, eps), np.asarray([KINDS[0]])
    return _placed(split, start), kinds


def _placed(split: Split, start: Array) -> Split:
    xp = namespace(start)

    def place(x: np.ndarray[Any, Any]) -> Array:
        return on_device_of(np.ascontiguousarray(x), start, xp.bool if x.dtype == bool else start.dtype)

    return split.map(place)


def _generic(like: Array) -> Array:
    """Return one (1, n, d) state that misses no mode of a rule, on the device of ``like``."""
    xp = namespace(like)
    values = np.random.default_rng(0).standard_normal((1, *like.shape[1:]))
    return xp.asarray(values, dtype=like.dtype, device=array_api_compat.device(like))
