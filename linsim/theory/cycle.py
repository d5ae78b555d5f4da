"""Several heads, and layers repeated as a cycle: one linear map on states, and its modes.

``X -> X + sum_h A_h X H_h`` has no eigenvalues lambda_i mu_j to offer, but it
keeps span{1} (x) R^d: every ``A_h 1 = 1``.  Turned by a reflection that takes
1/sqrt(n) to the first unit vector, each A_h is block triangular,
``[[1, g_h], [0, B_h]]``, so row 0 of a turned state (its mean) is driven by
``I + sum_h H_h`` alone, and the other rows drive themselves, through the B_h.
The two diagonal blocks are cycles of the same form, with n = 1 and n - 1
tokens, and together they hold every eigenvalue.  A cycle of k layers is the
product of its layers; its eigenvalues are factors per k layers.

Attention beyond the simplex keeps that form where the rows of each head sum to
one number, ``A_h 1 = s_h 1``: the constant part then obeys ``I + sum_h s_h H_h``.
Where they do not in some head or layer, no state 1 c^T stays one: there is one block, the whole map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._eigen import weight_eigensystem
from .._general_eigen import column_sums, row_sums
from .._types import EPS, BoolArray, ComplexArray, FloatArray, IntArray
from ..errors import NotCoveredError
from ._arnoldi import Ritz, Work, leading
from ._cycle_map import Cycle, Heads
from ._heads import stacked
from .dominance import DOUBLE, NOISE, Precision, tie
from .verdicts import SILENT

__all__ = [
    "BLURRED",
    "FREELY",
    "ILL",
    "Effort",
    "Modes",
    "modes_of",
    "unseparated",
]

# Up to this many unknowns LAPACK finds every mode; beyond, ARPACK the leading ones
# (on one core they cost the same near 250; at 400 LAPACK takes 0.2 s, ARPACK 0.1 s).
DENSE = 400
LARGEST_MATRIX = 1500  # the same for the constant modes, d of them: one matrix, in a few seconds
STATES = 2**22  # numbers that eigenmatrices of constant modes may take: leading ones, where not all fit
LARGE = 5000  # above this many unknowns digits of eigenvalues are weighed against what they cost
ARITHMETIC = 5e11  # multiplications that may be spent there, some ten seconds on two processors
PRODUCTS = (300, 20000)  # but at least and at most so many products with the map
MODES = 10  # asked of ARPACK
KRYLOV = 48  # vectors it keeps
RESTARTS = 300
BLURRED = 1e-6  # nothing is read from an eigenvector below this where it is nearly defective
ILL = 1e7  # an eigenvalue of larger condition number is called defective
LONGEST = 500.0  # ln of the largest quotient of two parts of a product of layers


# --- the map and its spectrum ------------------------------------------------------------


def _turned(layers: Sequence[Heads], precision: Precision) -> tuple[Cycle, FloatArray, int]:
    """The cycle in the basis whose first token vector is 1/sqrt(n), the reflection to it, and 1.

    The same basis, the unit matrix and 0 where constant states do not stay constant.
    """
    n = layers[0][0].shape[-1]
    sums = [row_sums(A, precision.attention) for A, _ in layers]
    first = int(all(np.all(np.isfinite(each)) for each in sums))
    normal = np.full(n, 1 / np.sqrt(n))
    normal[0] += 1  # to -e_0, whose sign says nothing: no cancellation
    reflection = np.eye(n) - 2 * np.outer(normal, normal) / (normal @ normal)
    if not first:
        reflection = np.eye(n)
    turned = []
    for (A, H), each in zip(layers, sums, strict=True):
        T = reflection @ A @ reflection
        # what is meant to be zero, or symmetric, is so exactly
        if first:
            T[:, :, 0] = each[:, None] * np.eye(n)[0]
            T[np.isfinite(column_sums(A, precision.attention)), 0, 1:] = 0
        mirrored = np.swapaxes(A, -1, -2)
        within = 8 * precision.attention * np.abs(A + mirrored) if precision.attention > EPS else 0.0
        symmetric = np.all(np.abs(mirrored - A) <= within, axis=(-1, -2))
        T[symmetric] = (T[symmetric] + np.swapaxes(T[symmetric], -1, -2)) / 2
        turned.append((T, H))
    large = n * layers[0][1].shape[-1] > LARGE
    thin = tuple(stacked(H) for _, H in turned) if large else ()
    cycle = Cycle(tuple(turned), (1.0,) * len(turned), max(precision[:2]), thin)
    if len(turned) == 1:
        return cycle, reflection, first
    parts = [cycle.block(part).growths() for part in (slice(0, first), slice(first, None))]
    parts = [part for part, rows in zip(parts, (first, n - first), strict=True) if rows]
    spread = np.abs(np.cumsum(parts[0]) - np.cumsum(parts[-1])) if np.all(np.isfinite(parts)) else 0.0
    if np.max(spread) > LONGEST:
        raise NotCoveredError(
            f"rule: found a cycle of {len(turned)} layers in which the constant and the other part differ by "
            f"e^{np.max(spread):.0f}; expected less than e^{LONGEST:.0f}. Use linsim.simulate to measure."
        )
    return cycle.rescaled(np.max(parts, axis=0)), reflection, first


class Spectrum(NamedTuple):
    """Modes of one diagonal block, by falling modulus.

    ``left @ right = I``; ``error`` is that of each value, ``growth`` as in
    :class:`Eigensystem`.  ``unknown`` bounds the moduli of modes that are not
    listed, because ARPACK stopped or rounding hides them; 0: all are listed.
    Where an iteration was stopped early: how far a vector may be off (``vague``), what is ``missing`` of
    the values, relatively, beside rounding, and the ``products`` that were spent.
    """

    values: ComplexArray
    right: ComplexArray
    left: ComplexArray
    condition: FloatArray
    growth: IntArray
    error: FloatArray
    unknown: float
    vague: float = 0.0
    products: int = 0
    missing: float = 0.0


class Effort(NamedTuple):
    """What leading modes of a large map may cost: products with it (None: as its size suggests).

    ``bar``: show how many; ``left``: find left vectors even of what has not settled.  ``found``: what
    was found, by the place in memory of the weights, for when the same law is asked for in fewer digits.
    """

    products: int | None = None
    bar: bool = False
    left: bool = False
    found: dict[Any, tuple[Ritz, Ritz | None, int]] | None = None

    def of(self, block: Cycle) -> int:
        """Products that one block may cost: about as much arithmetic for every size."""
        if self.products is not None:
            return self.products
        return int(np.clip(ARITHMETIC / block.work, *PRODUCTS))


FREELY = Effort()


def _spectrum(block: Cycle, effort: Effort) -> Spectrum:
    """The modes of a block, found at its own scale: ARPACK and sums of squares need values near 1."""
    if block.size == 0:
        none, empty = np.zeros(0), np.zeros((0, 0), dtype=np.complex128)
        return Spectrum(none.astype(np.complex128), empty, empty, none, none.astype(np.int64), none, 0.0)
    own = block.rescaled(block.growths())
    if block.size <= (DENSE if block.shape[0] > 1 else LARGEST_MATRIX):
        found = _all_modes(own)
    elif block.size <= LARGE:
        found = _leading_modes(own)
    else:
        found = _approximate_modes(own, effort)
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


def _approximate_modes(block: Cycle, effort: Effort) -> Spectrum:
    """The leading modes of a block so large that every product with it counts."""
    key = tuple(H.__array_interface__["data"][0] for _, H in block.layers)
    known = effort.found if effort.found is not None else {}
    if key not in known:
        known[key] = _iterated(block, effort)
    right, left, spent = known[key]
    settled = right.reached <= BLURRED
    modulus = np.abs(right.values)
    gaps = np.flatnonzero(modulus[1:] < (1 - BLURRED) * modulus[:-1])
    if not gaps.size:
        raise unseparated(block, f"at least {modulus.size} of them have the same modulus")
    kept = int(gaps[-1]) + 1
    values, vectors, residual = right.values[:kept], right.vectors[:, :kept], right.residual
    # without left vectors the error is that of the map of which the values are exact
    condition, dual, share = np.full(kept, np.inf), np.conj(vectors.T), np.ones(kept)
    if left is not None:
        gram = left.vectors.T @ right.vectors
        if gram.shape[0] == gram.shape[1] and np.linalg.cond(gram) < 1 / (1e3 * EPS):
            dual = np.linalg.solve(gram, left.vectors.T)[:kept]
            condition = np.linalg.norm(dual, axis=1)
    if settled:
        share = np.minimum(condition, 1 / EPS)
        # quotients of both vectors are off by the product of their errors
        both = np.einsum("ij,ji->i", dual, right.images[:, :kept])
        values = np.where(values.imag == 0, both.real, both)
    modulus = np.abs(np.append(values, right.values[kept:]))
    apart = np.abs(right.values[:kept, None] - right.values[None, :])
    apart[np.arange(kept), np.arange(kept)] = np.inf
    vague = float(np.max(share * residual[:kept] / np.min(apart, axis=1)))
    if settled and vague <= BLURRED:
        # a Krylov space of one vector may hold one vector of a multiple eigenvalue
        rest, _ = _arpack(block, 2, 1, (values, vectors, dual), 1e-4 / float(np.max(condition)))
        if np.abs(rest[0]) > (1 + 1e-3) * modulus[kept]:
            raise unseparated(block, "a leading eigenvalue is multiple")
    rounding = 4 * block.rounding() * np.sqrt(block.size) * modulus[0]
    error = (rounding + residual[:kept]) * share
    missing = float(np.max(residual[:kept] * share) / modulus[0])
    # what is not listed is smaller than what is, if only by less than either is known
    unknown = float(min(modulus[kept] + residual[kept], (1 - BLURRED) * modulus[kept - 1]))
    growth = np.zeros(kept, dtype=np.int64)
    return Spectrum(values, vectors, dual, condition, growth, error, unknown, vague, spent, missing)


def _iterated(block: Cycle, effort: Effort) -> tuple[Ritz, Ritz | None, int]:
    """Right modes, left ones where they are of use, and the products spent."""
    allowed = effort.of(block)
    with Work(allowed, effort.bar) as work:
        right = leading(block.map, block.size, 0, work, allowed)
        if right is None:
            raise unseparated(block, "ARPACK found none")
        left = None
        if right.reached <= BLURRED or effort.left:
            left = leading(block.transposed.map, block.size, 1, work, work.spent + allowed, right.reached)
        return right, left, work.spent


def _arpack(
    block: Cycle,
    count: int,
    seed: int,
    without: tuple[ComplexArray, ComplexArray, ComplexArray] | None = None,
    tolerance: float = 0.0,
) -> tuple[ComplexArray, ComplexArray]:
    """Eigenvalues of largest modulus and their vectors, those of known modes taken out."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

    def apply(x: FloatArray) -> FloatArray:
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
    vague : (m,), how far an eigenmatrix may be off where an iteration was stopped early
    resonant : (m,) bool, no eigenmatrix: a constant mode of equal value grows beside it
    noise : smaller coefficients, relatively, count as absent
    first : 1 where constant states stay constant, and are row 0 of turned ones; else 0
    unknown : bound of the moduli that are not listed
    """

    cycle: Cycle
    reflection: FloatArray
    blocks: tuple[Spectrum, Spectrum]
    values: ComplexArray
    states: ComplexArray
    stretch: FloatArray
    constant: BoolArray
    index: IntArray
    condition: FloatArray
    growth: IntArray
    error: FloatArray
    blur: FloatArray
    vague: FloatArray
    resonant: BoolArray
    noise: float
    first: int

    @property
    def rest(self) -> Cycle:
        """The block of all modes that are not constant."""
        return self.cycle.block(slice(self.first, None))

    @property
    def unknown(self) -> float:
        """Bound of the moduli that are not listed."""
        return max(block.unknown for block in self.blocks)


def modes_of(layers: Sequence[Heads], precision: Precision = DOUBLE, effort: Effort = FREELY) -> Modes:
    cycle, reflection, first = _turned(layers, precision)
    n, d = cycle.shape
    means, rest = cycle.block(slice(0, first)), cycle.block(slice(first, None))
    constant, other = _spectrum(means, effort), _spectrum(rest, effort)
    every, constant = constant, _first(constant, max(STATES // (n * d), MODES))
    states = np.zeros((constant.values.size + other.values.size, n, d), dtype=np.complex128)
    low, high = states[: constant.values.size], states[constant.values.size :]
    high[:, first:, :] = other.right.T.reshape(other.values.size, n - first, d)
    resonant = np.zeros(other.values.size, dtype=bool)
    if first:
        low[:, 0, :] = constant.right.T
        fed = cycle.apply(high)[:, 0, :]
        matrix = means.matrix()[0]
        if d > DENSE and every.values.size == d:  # a Schur form takes longer than a few solutions
            high[:, 0, :], resonant = _lift_few(matrix, other.values, other.error, fed, every.values)
        else:
            high[:, 0, :], resonant = _lift(matrix, other.values, other.error, fed)
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
        both(np.zeros(constant.values.size), np.full(other.values.size, other.vague))[order],
        both(np.zeros(constant.values.size, dtype=bool), resonant)[order],
        # NOISE is far more than the rounding of doubles
        max(NOISE, 16 * precision.coarsest if precision.coarsest > EPS else 0.0),
        first,
    )


def _first(spectrum: Spectrum, count: int) -> Spectrum:
    """The leading modes of a block, near ``count`` of them, cut where moduli differ."""
    modulus = np.abs(spectrum.values)
    gaps = np.flatnonzero(modulus[1:] < (1 - BLURRED) * modulus[:-1]) + 1
    gaps = gaps[gaps <= count]
    if modulus.size <= count or not gaps.size:
        return spectrum
    kept = int(gaps[-1])
    return spectrum._replace(
        values=spectrum.values[:kept],
        right=spectrum.right[:, :kept],
        left=spectrum.left[:kept],
        condition=spectrum.condition[:kept],
        growth=spectrum.growth[:kept],
        error=spectrum.error[:kept],
        unknown=max(spectrum.unknown, float(modulus[kept])),
    )


def _lift(
    matrix: FloatArray, values: ComplexArray, error: FloatArray, fed: ComplexArray
) -> tuple[ComplexArray, BoolArray]:
    """Constant rows c of eigenmatrices, (value - matrix) c = fed, and where there is none."""
    from scipy.linalg import schur
    from scipy.linalg.lapack import ztrsyl

    if not np.any(fed):
        return fed, np.zeros(values.size, dtype=bool)
    R, Z = schur(matrix.astype(np.complex128), output="complex")
    rows, scale, _ = ztrsyl(-R, np.diag(values), Z.conj().T @ fed.T)
    return _without_poles(matrix, values, error, fed, (Z @ (rows / scale)).T, np.diag(R))


def _lift_few(
    matrix: FloatArray, values: ComplexArray, error: FloatArray, fed: ComplexArray, known: ComplexArray
) -> tuple[ComplexArray, BoolArray]:
    """The same for a few values and a matrix whose eigenvalues are known."""
    if not np.any(fed):
        return fed, np.zeros(values.size, dtype=bool)
    unit = np.eye(len(matrix))
    rows = np.stack([_solved(value * unit - matrix, b) for value, b in zip(values, fed, strict=True)])
    return _without_poles(matrix, values, error, fed, rows, known)


def _without_poles(
    matrix: FloatArray,
    values: ComplexArray,
    error: FloatArray,
    fed: ComplexArray,
    rows: ComplexArray,
    own: ComplexArray,
) -> tuple[ComplexArray, BoolArray]:
    """Rows again where a value is an eigenvalue of the matrix, and whether there is one."""
    resonant = np.zeros(values.size, dtype=bool)
    nearest = np.min(np.abs(values[:, None] - own[None, :]), axis=1)
    for k in np.flatnonzero(nearest <= np.maximum(error, 1e3 * EPS * np.linalg.norm(matrix))):
        shifted = values[k] * np.eye(len(matrix)) - matrix
        rows[k] = np.linalg.lstsq(shifted, fed[k], rcond=BLURRED)[0]
        missed = np.linalg.norm(shifted @ rows[k] - fed[k])
        resonant[k] = missed > BLURRED * np.linalg.norm(fed[k])
    return rows, resonant


def _solved(M: ComplexArray, b: ComplexArray) -> ComplexArray:
    """The solution, or nothing where M is singular: the caller looks there again."""
    try:
        return np.asarray(np.linalg.solve(M, b), dtype=np.complex128)
    except np.linalg.LinAlgError:
        return np.zeros_like(b)
