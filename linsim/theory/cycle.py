"""Several heads, and layers repeated as a cycle: one linear map on states, and its modes.

``X -> X + sum_h A_h X H_h`` has no eigenvalues lambda_i mu_j to offer, but it
keeps span{1} (x) R^d: every ``A_h 1 = 1``.  Turned by a reflection that takes
1/sqrt(n) to the first unit vector, each A_h is block triangular,
``[[1, g_h], [0, B_h]]``, so row 0 of a turned state (its mean) is driven by
``I + sum_h H_h`` alone, and the other rows drive themselves, through the B_h.
The two diagonal blocks are cycles of the same form, with n = 1 and n - 1
tokens, and together they hold every eigenvalue.  A cycle of k layers is the
product of its layers; its eigenvalues are factors per k layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._eigen import EPS, B, C, F, I, doubly_stochastic, weight_eigensystem
from ..errors import NotCoveredError
from .dominance import DOUBLE, NOISE, Precision, tie
from .verdicts import SILENT

__all__ = ["REST", "Cycle", "Heads", "Modes", "coefficients", "modes_of", "simplest", "unseparated"]

#: one layer: its attentions (..., h, n, n) and its weights (..., h, d, d)
Heads = tuple[F, F]

# Up to this many unknowns LAPACK finds every mode; beyond, ARPACK the leading ones
# (on one core they cost the same near 250; at 400 LAPACK takes 0.2 s, ARPACK 0.1 s).
DENSE = 400
MODES = 10  # asked of ARPACK
KRYLOV = 48  # vectors it keeps
RESTARTS = 300
BLURRED = 1e-6  # nothing is read from an eigenvector below this where it is nearly defective
ILL = 1e7  # an eigenvalue of larger condition number is called defective
LONGEST = 500.0  # ln of the largest quotient of two parts of a product of layers


# --- rules that are simpler than they look -----------------------------------------------


def simplest(layers: Sequence[Heads]) -> tuple[Heads, ...]:
    """The shortest cycle with the same dynamics, heads that share A or H summed into one."""
    merged = [_one_head(*layer) for layer in layers]
    for period in range(1, len(merged)):
        if len(merged) % period == 0 and all(
            _same(p, q) for p, q in zip(merged, merged[period:], strict=False)
        ):
            return tuple(merged[:period])
    return tuple(merged)


def _one_head(A: F, H: F) -> Heads:
    if np.all(A[..., :1, :, :] == A):
        return A[..., :1, :, :], np.sum(H, axis=-3, keepdims=True)
    if np.all(H[..., :1, :, :] == H):
        return np.mean(A, axis=-3, keepdims=True), A.shape[-3] * H[..., :1, :, :]
    return A, H


def _same(p: Heads, q: Heads) -> bool:
    return all(np.array_equal(M, N) for M, N in zip(p, q, strict=True))


# --- the map and its spectrum ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cycle:
    """The layers of one system: attentions (h, n, n) and weights (h, d, d) each.

    ``scales`` are powers of two that divide each layer, so that long cycles
    neither overflow nor underflow.  ``eps`` is the relative spacing of the
    numbers that the entries were given in.
    """

    layers: tuple[Heads, ...]
    scales: tuple[float, ...]
    eps: float = EPS

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d) of a state."""
        A, H = self.layers[0]
        return int(A.shape[-1]), int(H.shape[-1])

    @property
    def size(self) -> int:
        """Number of entries of a state."""
        n, d = self.shape
        return n * d

    @property
    def log_scale(self) -> float:
        """ln of what the eigenvalues must be multiplied by."""
        return float(np.sum(np.log(self.scales)))

    def apply(self, X: Any) -> Any:
        """Send states (..., n, d) through all layers."""
        for (A, H), scale in zip(self.layers, self.scales, strict=True):
            X = (X + sum(a @ (X @ h) for a, h in zip(A, H, strict=True))) / scale
        return X

    @property
    def transposed(self) -> Cycle:
        """The cycle of the transposed map: transposed layers in opposite order."""
        layers = ((np.swapaxes(A, -1, -2), np.swapaxes(H, -1, -2)) for A, H in reversed(self.layers))
        return Cycle(tuple(layers), self.scales[::-1], self.eps)

    def block(self, part: slice) -> Cycle:
        """The diagonal block of some rows of a block triangular cycle."""
        return Cycle(tuple((A[:, part, part], H) for A, H in self.layers), self.scales, self.eps)

    def growths(self) -> F:
        """ln of the factor by which each layer enlarges a generic state; -inf where it erases it."""
        X, out = np.random.default_rng(0).standard_normal(self.shape), []
        for layer in self.layers:
            X = Cycle((layer,), (1.0,)).apply(X / (np.linalg.norm(X) or 1.0))
            with np.errstate(divide="ignore"):
                out.append(float(np.log(np.linalg.norm(X))))
        return np.array(out)

    def rescaled(self, growths: F) -> Cycle:
        """The same layers, divided by powers of two near exp(growths)."""
        finite = np.where(np.isfinite(growths), growths, 0.0)
        return Cycle(self.layers, tuple((2.0 ** np.round(finite / np.log(2))).tolist()), self.eps)

    def rounding(self) -> float:
        """Relative error that rounding leaves, that of the entries too: large where a layer cancels."""
        bounds = [
            1 + sum(np.linalg.norm(a, 2) * np.linalg.norm(h, 2) for a, h in zip(A, H, strict=True))
            for A, H in self.layers
        ]
        with np.errstate(divide="ignore"):
            cancelled = np.array(bounds) / np.exp(self.growths())
        return float(np.sum(np.minimum(self.eps * cancelled, 1.0)))

    def matrix(self) -> tuple[F, float]:
        """The map on row-major states as a matrix, and the size of its error.

        Layers multiplied from the first and from the last round differently,
        so the two products show what is lost between layers.
        """
        units = np.eye(self.size).reshape(self.size, *self.shape)
        first = self.apply(units).reshape(self.size, self.size).T
        last = self.transposed.apply(units).reshape(self.size, self.size)
        norm = float(np.linalg.norm(first))
        return first, float(np.linalg.norm(first - last)) + 4 * self.rounding() * norm


CONSTANT, REST = slice(0, 1), slice(1, None)


def _turned(layers: Sequence[Heads], precision: Precision) -> tuple[Cycle, F]:
    """The cycle in the basis whose first token vector is 1/sqrt(n), and the reflection to it."""
    n = layers[0][0].shape[-1]
    normal = np.full(n, 1 / np.sqrt(n))
    normal[0] += 1  # to -e_0, whose sign says nothing: no cancellation
    reflection = np.eye(n) - 2 * np.outer(normal, normal) / (normal @ normal)
    turned = []
    for A, H in layers:
        T = reflection @ A @ reflection
        T[:, :, 0] = np.eye(n)[0]
        # what is meant to be zero, or symmetric, is so exactly
        T[doubly_stochastic(A, precision.attention), 0, 1:] = 0
        mirrored = np.swapaxes(A, -1, -2)
        within = 8 * precision.attention * (A + mirrored) if precision.attention > EPS else 0.0
        symmetric = np.all(np.abs(mirrored - A) <= within, axis=(-1, -2))
        T[symmetric] = (T[symmetric] + np.swapaxes(T[symmetric], -1, -2)) / 2
        turned.append((T, H))
    cycle = Cycle(tuple(turned), (1.0,) * len(turned), max(precision[:2]))
    if len(turned) == 1:
        return cycle, reflection
    parts = [cycle.block(part).growths() for part in (CONSTANT, REST)[: min(n, 2)]]
    spread = np.abs(np.cumsum(parts[0]) - np.cumsum(parts[-1])) if np.all(np.isfinite(parts)) else 0.0
    if np.max(spread) > LONGEST:
        raise NotCoveredError(
            f"rule: found a cycle of {len(turned)} layers in which the constant and the other part differ by "
            f"e^{np.max(spread):.0f}; expected less than e^{LONGEST:.0f}. Use linsim.simulate to measure."
        )
    return cycle.rescaled(np.max(parts, axis=0)), reflection


class Spectrum(NamedTuple):
    """Modes of one diagonal block, by falling modulus.

    ``left @ right = I``; ``error`` is that of each value, ``growth`` as in
    :class:`Eigensystem`.  ``unknown`` bounds the moduli of modes that are not
    listed, because ARPACK stopped or rounding hides them; 0: all are listed.
    """

    values: C
    right: C
    left: C
    condition: F
    growth: I
    error: F
    unknown: float


def _spectrum(block: Cycle) -> Spectrum:
    """The modes of a block, found at its own scale: ARPACK and sums of squares need values near 1."""
    if block.size == 0:
        none, empty = np.zeros(0), np.zeros((0, 0), dtype=np.complex128)
        return Spectrum(none.astype(np.complex128), empty, empty, none, none.astype(np.int64), none, 0.0)
    own = block.rescaled(block.growths())
    found = _all_modes(own) if block.size <= DENSE else _leading_modes(own)
    factor = float(np.exp(own.log_scale - block.log_scale))
    return found._replace(
        values=found.values * factor, error=found.error * factor, unknown=found.unknown * factor
    )


def _all_modes(block: Cycle) -> Spectrum:
    """Every mode of a block that rounding leaves visible; none where the block is nilpotent."""
    T, rounding = block.matrix()
    system = weight_eigensystem(T[None], block.eps)
    order = np.argsort(-np.abs(system.values[0]), kind="stable")
    values, condition, growth = system.values[0, order], system.condition[0, order], system.growth[0, order]
    error = np.minimum(condition, 1 / EPS) * (rounding + 4 * block.eps * system.norm[0])
    modulus = np.abs(values)
    # the mean of a Jordan chain is far more accurate than its members were
    hidden = modulus <= np.where(growth > 0, rounding + BLURRED * system.norm[0], error)
    keep = ~np.maximum.accumulate(hidden)
    unknown = 0.0
    if np.any(keep) and not np.all(keep):
        unknown = float(min(np.max(modulus[~keep] + error[~keep]), modulus[keep][-1]))
    kept = order[keep]
    return Spectrum(
        values[keep],
        system.right[0][:, kept],
        system.left[0][kept],
        condition[keep],
        growth[keep],
        error[keep],
        unknown,
    )


def _leading_modes(block: Cycle) -> Spectrum:
    """The leading modes of a large block, by ARPACK, without forming it."""
    every, vectors = _arpack(block, MODES, 0)
    others, left = _arpack(block.transposed, MODES, 0)
    # cut where moduli differ: never inside a conjugate pair
    modulus = np.abs(every)
    gaps = np.flatnonzero(modulus[1:] < (1 - BLURRED) * modulus[:-1])
    kept = int(gaps[-1]) + 1 if gaps.size else 0
    unknown = float(modulus[kept])
    if not kept or int(np.sum(np.abs(others) > np.sqrt(modulus[kept - 1] * unknown))) != kept:
        raise unseparated(block, f"at least {MODES} of them have the same modulus")
    values, right, dual = every[:kept], vectors[:, :kept], left[:, :kept].T
    gram = dual @ right
    defective = np.linalg.cond(gram) > 1 / (1e3 * EPS)
    condition = np.full(kept, 1 / EPS)
    if not defective:
        dual = np.linalg.inv(gram) @ dual
        condition = np.linalg.norm(dual, axis=1) * np.linalg.norm(right, axis=0)
        # A Krylov space of one vector may hold one vector of a multiple
        # eigenvalue: what remains when all that was found is removed is smaller.
        # A missed one shows long before it is accurate.
        rest, _ = _arpack(block, 2, 1, (values, right, dual), 1e-4 / float(np.max(condition)))
        if np.abs(rest[0]) > (1 + 1e-3) * unknown:
            raise unseparated(block, "a leading eigenvalue is multiple")
    error = 4 * block.rounding() * np.sqrt(block.size) * modulus[0] * condition
    return Spectrum(values, right, dual, condition, np.zeros(kept, dtype=np.int64), error, unknown)


def _arpack(
    block: Cycle, count: int, seed: int, without: tuple[C, C, C] | None = None, tolerance: float = 0.0
) -> tuple[C, C]:
    """Eigenvalues of largest modulus and their vectors, those of known modes taken out."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

    def apply(x: F) -> F:
        y = block.apply(x.reshape(block.shape)).ravel()
        if without is not None:
            values, right, left = without
            y = y - np.real((right * values) @ (left @ x.ravel()))
        return y

    operator = LinearOperator((block.size, block.size), matvec=apply, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(block.size)
    try:
        values, vectors = eigs(
            operator, k=count, v0=start, ncv=min(KRYLOV, block.size), maxiter=RESTARTS, tol=tolerance
        )
    except ArpackError as error:
        raise unseparated(block, f"ARPACK: {error}") from None
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], vectors[:, order]


def unseparated(block: Cycle, why: str) -> NotCoveredError:
    return NotCoveredError(
        f"rule: found {block.size} modes whose leading ones cannot be told apart ({why}); "
        "expected a few leading eigenvalues of distinct modulus. Use linsim.simulate to measure."
    )


# --- modes of the whole map --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Modes:
    """What is known of one system's modes, by falling modulus.

    Attributes
    ----------
    values : (m,), eigenvalues of the cycle, scales taken out
    states : (m, n, d), their eigenmatrices, of unit norm
    stretch : (m,), what that normalisation divided by
    constant : (m,) bool, of the form 1 z^T
    index : (m,) int, position within its block
    condition, growth, error : (m,), as in :class:`Spectrum`
    blur : (m,), smaller entries of an eigenmatrix are not told from zero
    resonant : (m,) bool, no eigenmatrix: a constant mode of equal value grows beside it
    noise : smaller coefficients, relatively, count as absent
    unknown : bound of the moduli that are not listed
    """

    cycle: Cycle
    reflection: F
    blocks: tuple[Spectrum, Spectrum]
    values: C
    states: C
    stretch: F
    constant: B
    index: I
    condition: F
    growth: I
    error: F
    blur: F
    resonant: B
    noise: float

    @property
    def unknown(self) -> float:
        """Bound of the moduli that are not listed."""
        return max(block.unknown for block in self.blocks)


def modes_of(layers: Sequence[Heads], precision: Precision = DOUBLE) -> Modes:
    cycle, reflection = _turned(layers, precision)
    n, d = cycle.shape
    means, rest = cycle.block(CONSTANT), cycle.block(REST)
    constant, other = _spectrum(means), _spectrum(rest)
    states = np.zeros((constant.values.size + other.values.size, n, d), dtype=np.complex128)
    low, high = states[: constant.values.size], states[constant.values.size :]
    low[:, 0, :] = constant.right.T
    high[:, 1:, :] = other.right.T.reshape(other.values.size, n - 1, d)
    fed = cycle.apply(high)[:, 0, :]
    high[:, 0, :], resonant = _lift(means.matrix()[0], other.values, other.error, fed)
    stretch = np.linalg.norm(states, axis=(-1, -2))

    def both(p: Any, q: Any) -> Any:
        return np.concatenate([p, q])

    values, error = both(constant.values, other.values), both(constant.error, other.error)
    condition, growth = both(constant.condition, other.condition), both(constant.growth, other.growth)
    # To first order an eigenvector is off by rounding over the distance to
    # other eigenvalues; any basis serves for those that count as equal.
    apart = np.abs(values[:, None] - values[None, :])
    apart = np.where(apart <= error[:, None] + error[None, :], np.inf, apart)
    quiet, blurred = tie(precision.coarsest, SILENT), tie(precision.coarsest, BLURRED)
    blur = 16 * np.max(error, initial=0.0) / np.min(apart, axis=1, initial=np.inf)
    blur = np.where((condition > ILL) | (growth > 0), blurred, np.clip(blur, quiet, blurred))

    order = np.argsort(-np.abs(values), kind="stable")
    return Modes(
        cycle,
        reflection,
        (constant, other),
        values[order],
        (reflection @ (states / stretch[:, None, None]))[order],
        stretch[order],
        (np.arange(values.size) < constant.values.size)[order],
        both(np.arange(constant.values.size), np.arange(other.values.size))[order],
        condition[order],
        growth[order],
        error[order],
        blur[order],
        both(np.zeros(constant.values.size, dtype=bool), resonant)[order],
        # NOISE is far more than the rounding of doubles
        max(NOISE, 16 * precision.coarsest if precision.coarsest > EPS else 0.0),
    )


def _lift(matrix: F, values: C, error: F, fed: C) -> tuple[C, B]:
    """Constant rows c of eigenmatrices, (value - matrix) c = fed, and where there is none."""
    from scipy.linalg import schur
    from scipy.linalg.lapack import ztrsyl

    resonant = np.zeros(values.size, dtype=bool)
    if not np.any(fed):
        return fed, resonant
    R, Z = schur(matrix.astype(np.complex128), output="complex")
    rows, scale, _ = ztrsyl(-R, np.diag(values), Z.conj().T @ fed.T)
    rows = (Z @ (rows / scale)).T
    nearest = np.min(np.abs(values[:, None] - np.diag(R)[None, :]), axis=1)
    for k in np.flatnonzero(nearest <= np.maximum(error, 1e3 * EPS * np.linalg.norm(matrix))):
        shifted = values[k] * np.eye(len(matrix)) - matrix
        rows[k] = np.linalg.lstsq(shifted, fed[k], rcond=BLURRED)[0]
        missed = np.linalg.norm(shifted @ rows[k] - fed[k])
        resonant[k] = missed > BLURRED * np.linalg.norm(fed[k])
    return rows, resonant


def coefficients(modes: Modes, wanted: Sequence[int], x0: F) -> C:
    """Coefficients of x0 in some modes, 0 where rounding alone could have put them there."""
    turned = modes.reflection @ x0
    # what all tokens share must leave no rounding in the others
    turned[1:] = (modes.reflection @ (x0 - x0[:1]))[1:]
    rest, apart = turned[1:].ravel(), np.linalg.norm(x0 - x0[:1])
    out = np.zeros(len(wanted), dtype=np.complex128)
    for at, p in enumerate(wanted):
        constant, other = modes.blocks
        if modes.constant[p]:
            low, high = constant.left[modes.index[p]], _left_of_rest(modes, p)
        else:
            low, high = np.zeros(turned.shape[1]), other.left[modes.index[p]]
        value = low @ turned[0] + high @ rest
        noise = np.linalg.norm(low) * np.linalg.norm(x0) + np.linalg.norm(high) * apart
        out[at] = value * modes.stretch[p] if abs(value) > modes.noise * noise else 0
    return out


def _left_of_rest(modes: Modes, p: int) -> C:
    """How a constant mode reads the other rows: b with b (value - T_rest) = a T_coupling."""
    row = np.zeros(modes.cycle.shape, dtype=np.complex128)
    row[0] = modes.blocks[0].left[modes.index[p]]
    fed = modes.cycle.transposed.apply(row)[1:].ravel()
    block, value = modes.cycle.block(REST).transposed, modes.values[p]
    if not np.any(fed):
        return fed
    if block.size <= DENSE:
        return np.linalg.lstsq(value * np.eye(block.size) - block.matrix()[0], fed, rcond=EPS)[0]
    from scipy.sparse.linalg import LinearOperator, gmres

    def apply(y: C) -> C:
        return value * y.ravel() - block.apply(y.reshape(block.shape)).ravel()

    operator = LinearOperator((block.size, block.size), matvec=apply, dtype=np.complex128)
    solution, failed = gmres(operator, fed, rtol=1e-11, restart=KRYLOV, maxiter=20)
    if failed:
        raise NotCoveredError(
            "x0: found an input whose share of the constant modes cannot be computed; expected a rule with "
            "better separated eigenvalues. Leave x0 out for a generic one."
        )
    return solution
