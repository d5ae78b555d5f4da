"""What is timed: random systems that anyone can draw again, and the work that they cannot avoid.

Each workload is X <- X + A X H for ``systems`` systems of n tokens and d features, with metrics at
each recorded layer.  A is the softmax of independent Gaussian scores times a sharpness, H is a
Gaussian matrix of spectral radius near 0.3 plus a multiple of the identity (the strength of H), the
tokens are Gaussian.  Systems lie on a grid of sharpness x strength.

The floor
---------
A time that no program which does the same arithmetic can beat::

    floor = max(flops / GEMM rate, bytes / bandwidth)

with the rates that :mod:`linsim.bench.machine` measures on all threads, in float64.  Counted, for each
system, with k = min(n, d) and m = max(n, d):

updates
    2 n^2 d + 2 n d^2 flops for the two products of a layer; n^2 d + 2 n d^2 where A is triangular.  A
    state deep down may also come from the eigenvectors of A and H, by two products of the same size at
    each recorded layer, so min(depth, recorded layers) of them are counted.
singular values
    at each recorded layer, the fewest flops of

    - 4 m k^2 - 4/3 k^3, Householder bidiagonalisation (8/3 k^3 where n = d);
    - 2 m k^2 + 2 k^3, the same after a QR factorisation;
    - m k^2 + 4/3 k^3, tridiagonalisation of the Gram matrix, only where m >= 2 k: squares lose half of
      the digits, and only where they are much cheaper is it worth to prove that nothing was lost.
bytes
    A, H and the tokens are read once and the metrics written once, 8 bytes a number.

Left out: sums, norms and angles (order n d), the search for the singular values of a bidiagonal
matrix (order k^2), eigenvectors (once for each system), and what falls out of the cache.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "FIVE",
    "QUICK",
    "THREE",
    "TOLERANCE",
    "WORKLOADS",
    "Floor",
    "Grid",
    "Part",
    "Problem",
    "Workload",
    "as_json",
    "checked",
    "floor",
    "from_json",
    "timed",
]

HostArray = np.ndarray[Any, Any]


FIVE = ("token_similarity", "hfc_lfc", "cosine", "effective_rank", "log_norm")
THREE = ("token_similarity", "cosine", "effective_rank")


@dataclass(frozen=True)
class Grid:
    """Values ``low`` to ``high`` on an axis of the grid of systems."""

    low: float
    high: float
    count: int

    def values(self) -> HostArray:
        """Return the values; a single one is the middle."""
        if self.count == 1:
            return np.array([(self.low + self.high) / 2])
        return np.linspace(self.low, self.high, self.count)


@dataclass(frozen=True)
class Part:
    """How much of a workload runs: all systems and layers where None."""

    systems: int | None = None
    depth: int | None = None


@dataclass(frozen=True)
class Workload:
    """A set of systems, how deep they run, and what is measured where.

    Attributes
    ----------
    n, d, depth : int
        Tokens, features, layers.
    recorded : int, optional
        Number of recorded layers, from 1 to ``depth`` with logarithmic spacing; None: all of 0..depth.
    sharpness, strength : Grid
        Of attention and of H.
    causal : bool
        Each token attends to itself and the tokens before it.
    looped, batched : Part
        What is timed of a peer that goes through the systems one by one, or takes them all at once; the
        time is scaled to the whole, in proportion to systems and to layers (recorded ones thin out alike).
    check_systems, check_recorded : int
        Systems (None: all) and layers on which the values of every peer are compared with linsim's.
    single : bool
        Time linsim also in float32.
    deeper : int, optional
        Time linsim also at this depth.
    everything : bool
        linsim records all its metrics, gaps included, as it does where none are named; the others have
        ``metrics`` alone.
    """

    name: str
    title: str
    n: int
    d: int
    depth: int
    recorded: int | None
    metrics: tuple[str, ...]
    sharpness: Grid = Grid(1.5, 1.5, 1)
    strength: Grid = Grid(0.0, 0.0, 1)
    causal: bool = False
    looped: Part = Part()
    batched: Part = Part()
    check_systems: int | None = None
    check_recorded: int = 40
    single: bool = False
    deeper: int | None = None
    everything: bool = False

    @property
    def systems(self) -> int:
        """Number of systems."""
        return self.sharpness.count * self.strength.count

    @property
    def rescale(self) -> bool:
        """Whether a state would leave the range of doubles if it were not scaled back at each layer."""
        return self.depth > 150

    def layers(self) -> HostArray:
        """Return the recorded layers."""
        if self.recorded is None:
            return np.arange(self.depth + 1)
        return log_spaced(self.depth, self.recorded)

    def scale(self, part: Part) -> float:
        """Return the factor from the time of a part to the time of all."""
        return (self.systems / (part.systems or self.systems)) * (self.depth / (part.depth or self.depth))

    def describe(self) -> str:
        """Return one line: sizes, depth, recorded layers and metrics."""
        count = "1 system" if self.systems == 1 else f"{self.systems:,} systems"
        return (
            f"{count} of {self.n} tokens and {self.d} features, {self.depth:,} layers, "
            f"{len(self.layers())} recorded"
        )


def log_spaced(depth: int, count: int) -> HostArray:
    """Return ``count`` layers, from 1 to ``depth``, no two alike, in geometric steps where there is room."""
    layers, last = [], 0
    for exponent in np.linspace(0, 1, count):
        last = max(last + 1, round(depth**exponent))
        layers.append(last)
    return np.array(layers)


@dataclass(frozen=True, eq=False)
class Problem:
    """What a peer is given.

    Attributes
    ----------
    A, H, x0 : arrays (systems, n, n), (systems, d, d), (systems, n, d)
    depth : int
    layers : array (k,)
        Layers to record, ascending.
    metrics : tuple of str
        Names as in :data:`linsim.metrics.METRICS`.
    rescale : bool
        States grow beyond doubles unless they are scaled back.
    dtype, method : str
        For linsim alone.
    resolution : float, optional
        The largest error with which linsim reports a value, its own choice where None.
    everything : bool
        linsim records all its metrics.
    """

    A: HostArray
    H: HostArray
    x0: HostArray
    depth: int
    layers: HostArray
    metrics: tuple[str, ...]
    rescale: bool
    dtype: str = "float64"
    method: str = "auto"
    resolution: float | None = None
    everything: bool = False


def timed(workload: Workload, part: Part, dtype: str = "float64", method: str = "auto") -> Problem:
    """Return the problem of a part of a workload, to be timed."""
    A, H, x0 = _systems(workload, part.systems)
    layers = workload.layers()
    depth = part.depth or workload.depth
    if depth < workload.depth:
        count = max(1, round(len(layers) * depth / workload.depth))
        layers = np.unique(np.round(np.linspace(depth / count, depth, count)).astype(int))
    return Problem(
        A, H, x0, depth, layers, workload.metrics, workload.rescale, dtype, method,
        everything=workload.everything,
    )  # fmt: skip


#: a peer whose values are further from linsim's than this computes something else (float32: its rounding);
#: linsim's own errors are smaller where values are compared
TOLERANCE = {"float64": 1e-6, "float32": 1e-3}


def checked(workload: Workload, dtype: str = "float64") -> Problem:
    """Return the problem whose values are compared: a few systems and layers, but the whole depth."""
    A, H, x0 = _systems(workload, workload.check_systems)
    layers = workload.layers()
    few = np.linspace(0, len(layers) - 1, min(workload.check_recorded, len(layers)))
    layers = layers[np.round(few).astype(int)]
    return Problem(
        A, H, x0, workload.depth, layers, workload.metrics, workload.rescale, dtype,
        resolution=TOLERANCE[dtype], everything=workload.everything,
    )  # fmt: skip


def as_json(workload: Workload) -> dict[str, Any]:
    """Return a workload as what JSON can hold."""
    return asdict(workload)


def from_json(value: dict[str, Any]) -> Workload:
    """Return the workload of :func:`as_json`.

    >>> from_json(as_json(WORKLOADS["W2"])) == WORKLOADS["W2"]
    True
    """
    kinds: dict[str, Any] = {"sharpness": Grid, "strength": Grid, "looped": Part, "batched": Part}
    fields: dict[str, Any] = {name: kinds[name](**v) if name in kinds else v for name, v in value.items()}
    return Workload(**fields | {"metrics": tuple(value["metrics"])})


def _systems(workload: Workload, count: int | None, seed: int = 0) -> tuple[HostArray, HostArray, HostArray]:
    """Draw all systems, then take ``count`` of them, evenly spread over the grid."""
    rng = np.random.default_rng(seed)
    n, d, size = workload.n, workload.d, workload.systems
    sharpness, strength = (
        axis.reshape(-1, 1, 1)
        for axis in np.meshgrid(workload.sharpness.values(), workload.strength.values(), indexing="ij")
    )
    scores = rng.standard_normal((size, n, n)) * sharpness
    weights = rng.standard_normal((size, d, d)) * (0.3 / math.sqrt(d))
    x0 = rng.standard_normal((size, n, d))
    if count is not None and count < size:
        kept = np.round(np.linspace(0, size - 1, count)).astype(int)
        scores, weights, x0, strength = scores[kept], weights[kept], x0[kept], strength[kept]
    if workload.causal:
        scores = np.where(np.tril(np.ones((n, n), dtype=bool)), scores, -np.inf)
    A = np.exp(scores - scores.max(axis=-1, keepdims=True))
    A /= A.sum(axis=-1, keepdims=True)
    return A, weights + strength * np.eye(d), x0


@dataclass(frozen=True)
class Floor:
    """The work that a workload cannot avoid (see the module's docstring)."""

    flops: float
    bytes: float

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Return the least time on a machine of these rates."""
        return max(self.flops / flops_per_second, self.bytes / bytes_per_second)

    def bound(self, flops_per_second: float, bytes_per_second: float) -> str:
        """Return which of the two rates the floor comes from."""
        computing = self.flops / flops_per_second >= self.bytes / bytes_per_second
        return "arithmetic" if computing else "memory"


def floor(workload: Workload) -> Floor:
    """Count the operations and the bytes of a workload.

    >>> wide = Workload("w", "", 1, 2, 10, None, THREE)
    >>> floor(wide).flops == 10 * (2 * 2 + 2 * 4) + 11 * (2 + 4 / 3)
    True
    """
    n, d = workload.n, workload.d
    k, m = min(n, d), max(n, d)
    recorded = len(workload.layers())
    update = (1 if workload.causal else 2) * n * n * d + 2 * n * d * d
    values = [4 * m * k * k - 4 / 3 * k**3, 2 * m * k * k + 2 * k**3]
    if m >= 2 * k:
        values.append(m * k * k + 4 / 3 * k**3)
    flops = min(workload.depth, recorded) * update + recorded * min(values)
    numbers = n * n + d * d + n * d + recorded * len(workload.metrics)
    return Floor(workload.systems * flops, 8.0 * workload.systems * numbers)


_PHASES = Workload(
    "W2",
    "phase diagram",
    n=32,
    d=32,
    depth=64,
    recorded=None,
    metrics=THREE,
    sharpness=Grid(0.1, 3.0, 64),
    strength=Grid(-1.5, 1.0, 64),
    looped=Part(systems=256),
    batched=Part(systems=512),
    check_systems=64,
    check_recorded=65,
    single=True,
)
_DEEP = Workload(
    "W3",
    "asymptotics",
    n=64,
    d=64,
    depth=100_000,
    recorded=200,
    metrics=FIVE,
    strength=Grid(-0.5, 0.5, 64),
    # two recorded layers in a thousand, as in the whole
    looped=Part(systems=4, depth=1000),
    batched=Part(depth=1000),
    check_systems=2,
    deeper=1_000_000_000,
)

_RUN = Workload("W1", "one deep run", n=197, d=768, depth=100, recorded=None, metrics=FIVE, check_recorded=11)
_SMALL = Workload("small", "one small system", n=32, d=32, depth=64, recorded=None, metrics=THREE)

WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        replace(_SMALL, name="default", title="what a first call records", metrics=FIVE, everything=True),
        _RUN,
        replace(_RUN, name="W1-all", title="one deep run, every metric", everything=True),
        _PHASES,
        replace(_PHASES, name="W2-all", title="phase diagram, every metric", everything=True, single=False),
        _DEEP,
        replace(_DEEP, name="W3-causal", title="asymptotics, causal attention", causal=True, deeper=None),
        _SMALL,
    )
}

_RUN_QUICK: dict[str, Any] = {"n": 12, "d": 32, "depth": 10}
_PHASES_QUICK: dict[str, Any] = {
    "n": 8,
    "d": 8,
    "depth": 12,
    "sharpness": replace(_PHASES.sharpness, count=4),
    "strength": replace(_PHASES.strength, count=4),
    "looped": Part(systems=4),
    "batched": Part(systems=8),
    "check_systems": 4,
}
_DEEP_QUICK: dict[str, Any] = {
    "n": 8,
    "d": 8,
    "depth": 200,
    "recorded": 20,
    "strength": Grid(-0.5, 0.5, 4),
    "looped": Part(systems=2, depth=100),
    "batched": Part(depth=100),
}

#: the same shapes at sizes that take no time; the numbers say nothing about speed
QUICK: dict[str, Workload] = {
    "default": replace(WORKLOADS["default"], n=8, d=8, depth=12),
    "W1": replace(WORKLOADS["W1"], **_RUN_QUICK),
    "W1-all": replace(WORKLOADS["W1-all"], **_RUN_QUICK),
    "W2": replace(_PHASES, **_PHASES_QUICK),
    "W2-all": replace(WORKLOADS["W2-all"], **_PHASES_QUICK),
    "W3": replace(_DEEP, **_DEEP_QUICK, deeper=2000),
    "W3-causal": replace(WORKLOADS["W3-causal"], **_DEEP_QUICK),
    "small": replace(WORKLOADS["small"], n=8, d=8, depth=12),
}
