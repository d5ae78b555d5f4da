"""Verdicts for several heads, and for layers repeated as a cycle: from their modes to every limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._types import BoolArray, ComplexArray, FloatArray
from ..errors import NotCoveredError
from ._cycle_inputs import coefficients
from ._cycle_map import Heads
from .cycle import BLURRED, FREELY, ILL, Effort, Modes, modes_of, unseparated
from .dominance import DOUBLE, TIE, Precision, tie
from .prediction import Assumption, Mode, Prediction

__all__ = ["cycle_verdicts", "repeated"]

FRAMES = 4  # random compressions that look at a minor
VAGUEST = 0.05  # of generic eigenmatrices no compression gives less
EXACT = 1e-6  # a relative error of leading eigenvalues beyond which rates are not called known


class Minor(NamedTuple):
    """The largest product of two moduli whose modes make a 2x2 minor, the next one, and the two modes."""

    largest: float
    following: float
    pair: tuple[int, int]


def _minors(modes: Modes, size: FloatArray, frames: FloatArray) -> Minor:
    """Find which pairs of modes give the rows seen through ``frames`` (t, 2, n) two directions.

    The second compound of sum_p c_p rho_p^l M_p is a sum over pairs of
    c_p c_q (rho_p rho_q)^l M_p ^ M_q, and generic c let no two terms cancel.
    A random compression of M_p ^ M_q to one number is zero iff it is.
    """
    across = np.random.default_rng(1).standard_normal((len(frames), modes.states.shape[-1], 2))
    seen = np.swapaxes(frames[:, None] @ modes.states @ across[:, None], 0, 1)  # (m, t, 2, 2)
    largest, following, pair = 0.0, 0.0, (0, 0)
    unseen = np.maximum(modes.blur, np.minimum(modes.vague, VAGUEST))
    for p in range(size.size):
        if size[p] ** 2 <= following:
            break
        a, b = seen[p], seen[p:]
        minor = a[:, 0, 0] * b[..., 1, 1] + b[..., 0, 0] * a[:, 1, 1]
        minor = minor - a[:, 0, 1] * b[..., 1, 0] - b[..., 0, 1] * a[:, 1, 0]
        there = np.max(np.abs(minor), axis=-1) > np.maximum(unseen[p], unseen[p:])
        products = np.where(there, size[p] * size[p:], 0.0)
        top = int(np.argmax(products))
        if products[top] > (1 + TIE) * largest:
            pair = (p, p + top)
        largest, following = _two(np.append(products, [largest, following]))
    return Minor(largest, following, pair)


def _two(values: FloatArray) -> tuple[float, float]:
    """Largest of some values, and the largest of those that do not tie with it; 0 where none."""
    first = float(np.max(values, initial=0.0))
    return first, float(np.max(values[values < (1 - TIE) * first], initial=0.0))


def _frames(n: int, rows: BoolArray) -> FloatArray:
    """Random pairs of combinations of some rows of a state."""
    return np.random.default_rng(2).standard_normal((FRAMES, 2, n)) * rows


class Gap(NamedTuple):
    """Factor per cycle of a gap (nan where unknown modes decide it), a bound, and its relaxation."""

    factor: float
    bound: float
    relaxation: float
    pair: tuple[int, int]


def _gap(modes: Modes, size: FloatArray, unknown: float, frames: FloatArray, reach: float = 1.0) -> Gap:
    minor = _minors(modes, size, frames)
    if min(modes.states.shape[1:]) == 1:
        unknown = 0.0  # no minors
    # a pair with an unlisted mode makes at most the product with the leading one
    most = max(minor.largest, unknown)
    return Gap(
        minor.largest / reach if minor.largest >= unknown else np.nan,
        most / reach,
        max(minor.following, unknown) / (most or 1.0),
        minor.pair,
    )


def _unlisted_pairs(modes: Modes, size: FloatArray, top: float) -> float:
    """Bound of the products with an unlisted mode that may make a minor: two constant modes make none."""
    constant, other = (block.unknown / (top or 1.0) for block in modes.blocks)
    reach = float(np.max(size[~modes.constant], initial=0.0))
    return max(other * float(np.max(size, initial=0.0)), constant * max(reach, other))


def _silent_gaps(
    modes: Modes, size: FloatArray, unknown: float, entries: BoolArray, heard: BoolArray
) -> list[Gap]:
    """Gaps of the angles: among tokens in the dominant modes, and of each other token to these.

    A token outside follows the strongest mode that has an entry for it.
    """
    n = heard.size
    gaps = [_gap(modes, size, unknown, _frames(n, heard))] if np.sum(heard) > 1 else []
    for token in np.flatnonzero(~heard):
        reach = float(np.max(size[entries[:, token]], initial=0.0))
        if reach < unknown:
            raise NotCoveredError(
                f"rule: found a token ({token}) that none of the leading modes reaches, and more modes than "
                "are computed; expected tokens that follow them. Use linsim.simulate to measure."
            )
        frames = _frames(n, heard)
        frames[:, 0] = np.eye(n)[token]
        gaps.append(_gap(modes, size, unknown, frames, reach or 1.0))
        if reach == 0:  # zero for ever: no direction
            gaps.append(Gap(1.0, 1.0, 0.0, (0, 0)))
    return gaps


def _limit_rank(modes: Modes, dominant: BoolArray, weights: ComplexArray | None = None) -> tuple[int, bool]:
    """Rank of generic (or these) combinations of dominant modes; whether rounding leaves no doubt.

    Singular values above ``blur``, relatively, count: at least 1e-10.  Real
    and imaginary parts enter on their own: the phases of a pair take every value.
    """
    chosen = modes.states[dominant]
    if weights is None:
        parts = np.concatenate([chosen.real, chosen.imag])
        draws = np.random.default_rng(3).standard_normal((FRAMES, len(parts)))
        combined = np.tensordot(draws, parts, axes=1)
    else:
        combined = np.tensordot(weights, chosen, axes=1)
    singular = np.linalg.svd(combined, compute_uv=False)
    share = np.max(singular / singular[:, :1], axis=0)
    threshold = np.max(modes.blur[dominant])
    counted = share > threshold
    sure = not np.any((share < 100 * threshold) & (share > threshold / 3))
    return int(np.sum(counted)), sure and bool(np.all(modes.vague[dominant] <= BLURRED))


def _require_single_chains(modes: Modes, dominant: BoolArray) -> None:
    """Of several Jordan chains at one eigenvalue, eigenvectors do not tell which is longest."""
    for p in np.flatnonzero(dominant & ~modes.constant & (modes.growth > 0)):
        chain = modes.growth[~modes.constant & (modes.values == modes.values[p])]
        if not np.array_equal(np.sort(chain), np.arange(chain.size)):
            raise NotCoveredError(
                "rule: found several Jordan chains at the leading eigenvalue; expected one. "
                "Use linsim.simulate to measure."
            )


class Judged(NamedTuple):
    """One system: its law, its modes, the dominant ones, and all that the law rests on."""

    law: Prediction
    modes: Modes
    dominant: BoolArray
    needed: tuple[int, ...]


def _judge(
    layers: Sequence[Heads],
    precision: Precision = DOUBLE,
    effort: Effort = FREELY,
    stochastic: bool = True,
) -> Judged:
    """Read every verdict off the modes of one system."""
    modes, k = modes_of(layers, precision, effort), len(layers)
    close = tie(max(precision[:2]))
    n, d = modes.cycle.shape
    modulus, constant = np.abs(modes.values), modes.constant
    top = float(np.max(modulus, initial=0.0))
    vanishes = top == 0
    size, unknown = modulus / (top or 1.0), modes.unknown / (top or 1.0)
    pairs = _unlisted_pairs(modes, size, top)

    tied = top - modulus <= np.minimum(modes.error + np.max(modes.error[:1], initial=0.0), close * top)
    dominant = tied & (modes.growth == np.max(modes.growth[tied], initial=0))
    if np.any(tied & modes.resonant):
        raise NotCoveredError(
            "rule: found a leading eigenvalue that the constant modes share with the others, where a "
            "power of depth decides between the regimes; expected distinct ones. "
            "Use linsim.simulate to measure."
        )
    _require_single_chains(modes, dominant)
    smooth = not vanishes and not np.any(dominant & ~constant)
    if vanishes or (np.any(tied & constant) and np.any(tied & ~constant)):
        regime = "balanced"
    else:
        regime = "smoothing" if np.any(tied & constant) else "sharpening"

    constant_first, constant_next = _two(size[constant])
    other_first, other_next = _two(size[~constant])
    with np.errstate(divide="ignore"):
        margin = 0.0 if vanishes else float(np.log(constant_first) - np.log(other_first)) / k
    q_token = other_first / constant_first if constant_first else np.inf
    # how far the two moduli are known, relatively
    unsure = sum(
        float(modes.error[part][0] / modulus[part][0])
        for part in (constant, ~constant)
        if np.any(modulus[part])
    )

    rank, clear = (0, True) if vanishes else _limit_rank(modes, dominant)
    collapse = rank == 1
    rows = np.linalg.norm(modes.states, axis=-1)
    entries = rows > modes.blur[:, None] * np.max(rows, axis=-1, keepdims=True)
    heard = np.any(entries[dominant], axis=0) if not vanishes else np.ones(n, dtype=bool)
    whole = _gap(modes, size, pairs, _frames(n, np.ones(n, dtype=bool)))
    gaps = [whole] if np.all(heard) or not collapse else _silent_gaps(modes, size, unknown, entries, heard)
    if not np.all(heard) and any(np.isnan(gap.factor) and gap.bound >= 1 - close for gap in gaps):
        raise unseparated(modes.rest, "some tokens follow weaker ones")
    angle = collapse and (bool(np.all(heard)) or all(gap.bound < 1 - close for gap in gaps))

    def factor(q: float, power: float) -> float:
        return 1.0 if q > 1 - close else float(q ** (power / k))

    q_angle = float(np.max([gap.factor for gap in gaps]))
    rates = {
        "token_diversity": factor(q_token, 2) if smooth else 1.0,
        "cosine_gap": factor(q_angle, 2) if angle else 1.0,
        "rank_gap": factor(whole.factor, 1) if collapse else 1.0,
    }
    other = modes.blocks[1]
    known = other.missing <= EXACT
    cost = f", moduli to {other.missing:.1g} after {other.products} products" if other.products else ""
    undecided = [name for name, q in rates.items() if np.isnan(q)]
    chained = bool(np.any(modes.growth > 0) or np.any(modes.resonant))
    # unlisted modes settle no slower than the largest that they could be
    beyond = [block.unknown / (top or 1.0) for block in modes.blocks]
    within = max(
        max(constant_next, min(beyond[0], constant_first)) / (constant_first or 1.0),
        max(other_next, min(beyond[1], other_first)) / (other_first or 1.0),
        q_token if q_token < 1 - close else 0.0,
    )
    across = max(whole.relaxation, _two(size)[1], unknown)
    settling = {"token_diversity": within, "cosine_gap": across, "rank_gap": across}

    first = [int(np.flatnonzero(part)[0]) for part in (constant, ~constant) if np.any(part)]
    condition = float(np.max(modes.condition[first], initial=1.0))
    settled = bool(np.all(np.isfinite(modes.condition[first])))
    smallest = min(float(np.min(A)) for A, _ in layers)
    polynomial = (smooth and factor(q_token, 1) == 1) or (collapse and rates["rank_gap"] == 1)
    largest = 0.0 if vanishes else float(np.exp((np.log(top) + modes.cycle.log_scale) / k))
    assumptions = (
        Assumption(
            "attention has positive entries",
            smallest > 0 or not stochastic,  # declared: entries of either sign are meant
            f"smallest entry {smallest:.3g}",
        ),
        Assumption(
            "operator is diagonalizable near its leading modes",
            condition < ILL and not np.any(modes.growth[first] > 0),
            f"condition of the leading eigenvalues {condition:.3g}" if settled else "unsettled, not computed",
        ),
        Assumption(
            "regime boundary is resolved",
            abs(margin) * k > max(TIE, unsure),
            f"ln ratio of moduli {margin:.3g}",
        ),
        Assumption(
            "every token is in the dominant modes",
            bool(np.all(heard)),
            f"{np.sum(~heard)} of {n} tokens follow weaker modes",
        ),
        Assumption(
            "gaps close geometrically, if at all",
            not polynomial,
            f"modes up to l^{np.max(modes.growth[tied], initial=0)} |rho|^l",
        ),
        Assumption("state does not vanish", not vanishes, f"largest modulus {largest:.3g}"),
        Assumption("limit rank is clear of rounding", clear, f"rank {rank} of at most {min(n, d)}"),
        Assumption(
            "the modes that decide the rates are known",
            not undecided and known,
            f"unknown: {', '.join(undecided)}" if undecided else f"{modulus.size} of {n * d} modes{cost}",
        ),
    )
    law = Prediction(
        regime=regime,
        input_convergence=smooth,
        angle_convergence=angle,
        rank_collapse=collapse,
        limit_rank=rank,
        dominant=tuple(_named(modes, p, k, stochastic) for p in np.flatnonzero(dominant).tolist()),
        margin=margin,
        rates=rates,
        relaxations={name: 1.0 if chained else float(q ** (1 / k)) for name, q in settling.items()},
        assumptions=assumptions,
    )
    # where others lead, nothing but the margin rests on the constant modes
    needed = {
        p for p in np.flatnonzero(dominant).tolist() + first if smooth or dominant[p] or not constant[p]
    }
    if collapse:
        needed |= {p for gap in (whole, *gaps) for p in gap.pair}
    return Judged(law, modes, dominant, tuple(sorted(needed)))


def _named(modes: Modes, p: int, k: int, stochastic: bool) -> Mode:
    """A mode of a cycle; only a constant one of a single layer of stochastic heads has a lambda and a mu."""
    with np.errstate(over="ignore"):  # a long cycle's: inf
        scale = float(np.exp(modes.cycle.log_scale))
    value = complex(modes.values[p])
    shown = value.real * scale if value.imag == 0 else complex(value.real * scale, value.imag * scale)
    if not (modes.constant[p] and stochastic):
        return Mode(np.nan, np.nan, shown)
    return Mode(1.0, shown - 1 if k == 1 else np.nan, shown)


def _check_generic(judged: Judged, x0: FloatArray) -> None:
    """Refuse an x0 that misses a mode on which a generic law rests."""
    modes = judged.modes
    c = coefficients(modes, judged.needed, x0 / np.max(np.abs(x0)))
    fits = bool(np.all(c != 0))
    leading = np.flatnonzero(judged.dominant)
    if fits and leading.size:
        share = np.array([c[judged.needed.index(p)] for p in leading])
        phase = modes.values[leading] / np.abs(modes.values[leading])
        weights = share * phase ** np.array([[0], [1], [2], [3], [5], [8], [13], [21]])
        fits = _limit_rank(modes, judged.dominant, weights)[0] == judged.law.limit_rank
    if not fits:
        raise NotCoveredError(
            "x0: found an input in an invariant subspace, where other modes than a generic input's decide; "
            "expected a generic one. Use linsim.simulate to measure, or leave x0 out."
        )


def repeated(law: Prediction, period: int, batch: tuple[int, ...]) -> Prediction:
    """The same law with the reading of ``period`` layers as a cycle among its assumptions."""
    detail = f"{period} layer{'s' if period > 1 else ''} repeated for ever, rates per layer"
    entry = Assumption(
        "layers repeat as a cycle",
        np.ones(batch, dtype=bool) if batch else True,
        np.full(batch, detail) if batch else detail,
    )
    return replace(law, assumptions=(*law.assumptions, entry))


def cycle_verdicts(
    layers: Sequence[Heads],
    x0: FloatArray | None,
    batch: tuple[int, ...],
    precision: Precision = DOUBLE,
    effort: Effort = FREELY,
    stochastic: bool = True,
) -> Prediction:
    """Judge b systems, layers (b or 1, h, ., .) and x0 (b or 1, n, d) or None, known to a ``precision``.

    ``stochastic``: rows of all attention are probabilities.
    """
    count = max(M.shape[0] for layer in layers for M in layer)

    def of(stack: FloatArray, s: int) -> FloatArray:
        return stack[s if stack.shape[0] > 1 else 0]

    systems = [
        _judge([(of(A, s), of(H, s)) for A, H in layers], precision, effort, stochastic) for s in range(count)
    ]
    total = int(np.prod(batch, dtype=int))
    judged = [systems[s if count > 1 else 0] for s in range(total)]
    if x0 is not None:
        for s, system in enumerate(judged):
            _check_generic(system, of(x0, s))
    laws = [system.law for system in judged]
    return laws[0] if batch == () else _stacked(laws, batch)


def _stacked(laws: Sequence[Prediction], batch: tuple[int, ...]) -> Prediction:
    """One prediction with every field of the batch shape."""

    def stack(values: Iterable[Any]) -> Any:
        return np.array(list(values)).reshape(batch)

    def mapping(name: str) -> dict[str, Any]:
        return {key: stack(getattr(law, name)[key] for law in laws) for key in getattr(laws[0], name)}

    dominant = np.empty(len(laws), dtype=object)
    dominant[:] = [law.dominant for law in laws]
    entries = zip(*(law.assumptions for law in laws), strict=True)
    return Prediction(
        regime=stack(law.regime for law in laws),
        input_convergence=stack(law.input_convergence for law in laws),
        angle_convergence=stack(law.angle_convergence for law in laws),
        rank_collapse=stack(law.rank_collapse for law in laws),
        limit_rank=stack(law.limit_rank for law in laws),
        dominant=dominant.reshape(batch),
        margin=stack(law.margin for law in laws),
        rates=mapping("rates"),
        relaxations=mapping("relaxations"),
        assumptions=tuple(
            Assumption(each[0].name, stack(a.holds for a in each), stack(a.detail for a in each))
            for each in entries
        ),
    )
