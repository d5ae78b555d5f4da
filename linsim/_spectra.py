"""Symmetric stochastic matrices with given eigenvalues: the search behind ``attention.from_spectrum``.

A = 11ᵀ/n + V Λ Vᵀ, with V an orthonormal basis of the complement of 1, has the wanted
eigenvalues, rows and columns; only its signs depend on V.  A Haar V gives
negative entries unless ‖Λ‖ is of order n^(-1/2), so the search alternates
between the two sets: the matrices with these eigenvalues (replace the
eigenvalues, keep the eigenvectors) and the matrices with entries above a
margin (reflect what is below).  Starts are random, so the answer is generic.
The quick search is compiled, many systems at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _kernels, _validate
from ._blas import on_one_thread
from ._namespace import to_host
from ._parallel import in_parallel, pieces
from .errors import InvalidValueError, SpectrumError
from .streams import philox

__all__ = [
    "TURNED",
    "FloatArray",
    "check_stochastic_spectrum",
    "haar",
    "parameter",
    "symmetric_stochastic",
    "turned",
]

FloatArray = NDArray[np.float64]

# The margin that entries are pushed to, as a fraction of the largest possible
# one, and the share of it that is accepted.
_ACCEPTED = 0.02

# (reflection, margin) of one search each: 2 reflects fully and is by far the
# fastest, but can circle; the others settle where it does.
_QUICK = (2.0, 0.1)
_QUICK_STEPS = 60
# the compiled one goes on with a share of its last step, which halves the steps of tight spectra
_COMPILED, _MEMORY = (2.0, 0.2), 0.4
_PATIENT_STEPS = 400
# (noise, reflection, margin): None starts from Gaussian noise alone, a number
# adds that much noise to a Soules matrix, which is near enough to finish what a
# random start leaves, and 0 takes the Soules matrix itself.
_PATIENT = [
    *((None, 2.0, 0.1), (None, 1.5, 0.1), (0.5, 2.0, 0.1), (0.2, 2.0, 0.1)),
    *((None, 1.9, 0.03), (None, 2.0, 0.05), (None, 1.5, 0.03), (None, 2.0, 0.1), (None, 1.9, 0.01)),
    *((0.5, 1.5, 0.1), (0.05, 2.0, 0.1), (0.0, 2.0, 0.1)),
]
_SOULES_TREES = 40
_CHUNK_ENTRIES = 2048
#: larger matrices are turned faster by LAPACK, one at a time
TURNED = 64


def parameter(
    value: Any,
    argument: str,
    shape: tuple[int, ...],
    *,
    low: float,
    high: float = np.inf,
    low_open: bool = False,
) -> tuple[FloatArray, tuple[int, ...]]:
    """Return one number, or one a system, and the batch shape it makes with ``shape``."""
    if np.ndim(value) == 0:
        return np.asarray(_validate.number(value, argument, low=low, high=high, low_open=low_open)), shape
    found = np.asarray(to_host(_validate.array(value, argument)), dtype=np.float64)
    outside = (found <= low if low_open else found < low) | (found > high)
    if outside.any():
        interval = f"{'(' if low_open else '['}{low}, {high}{')' if high == np.inf else ']'}"
        raise _validate.refusal(
            InvalidValueError, argument, found[outside][0], f"numbers in {interval}", "Choose values inside."
        )
    return found, _validate.broadcast_batches(**{argument: found.shape, "size": shape})


def haar(gaussian: FloatArray) -> FloatArray:
    """Turn (..., d, d) Gaussian matrices into Haar orthogonal ones.

    QR alone is not Haar: LAPACK fixes the signs of R; these make them positive.
    """
    q, r = np.linalg.qr(gaussian)
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.asarray(q * signs[..., None, :])


def turned(diagonal: FloatArray, coupling: FloatArray, seeds: NDArray[np.int64]) -> FloatArray:
    """Return Q B Qᵀ (..., d, d) with Haar orthogonal Q, each drawn from its own seed (...).

    B has ``diagonal`` (..., d), ``coupling`` (..., d-1) above and minus that below.  The result is an exactly
    symmetric plus an exactly antisymmetric matrix.
    """
    *batch, d = diagonal.shape
    flat, seeds = diagonal.reshape(-1, d), seeds.reshape(-1)
    above = coupling.reshape(len(flat), d - 1)
    out = np.empty((len(flat), d, d))
    if d <= TURNED and _kernels.importable():
        from ._kernels.bases import turned as across_lanes

        _kernels.announce(across_lanes, out.dtype)

        def turn(part: slice) -> None:
            across_lanes(flat[part], above[part], seeds[part], out[part])

        in_parallel(turn, pieces(len(flat), 4 * d * d, flat))
    else:
        for k, seed in enumerate(seeds):
            q = haar(philox(int(seed), 0).standard_normal((d, d)))
            even = (q * flat[k]) @ q.T
            odd = (q[:, :-1] * above[k]) @ q[:, 1:].T
            out[k] = (even + even.T) / 2 + (odd - odd.T)
    return out.reshape(*batch, d, d)


# --- which spectra are refused -------------------------------------------------------


def _refuse(index: tuple[int, ...], found: str, expected: str, remedy: str) -> SpectrumError:
    where = f" in spectrum {index}" if index else ""
    error = _validate.refusal(SpectrumError, "eigenvalues", found + where, expected, remedy)
    assert isinstance(error, SpectrumError)
    return error


def check_stochastic_spectrum(eigenvalues: FloatArray) -> FloatArray:
    """Return the (..., n-1) eigenvalues other than 1, ascending, or refuse with the violated condition.

    Necessary for a symmetric stochastic matrix with entries > 0: 1 is simple,
    the others lie in (-1, 1) (Perron), and every power has a positive trace;
    for n = 3 also 2 + λ_2 + 3λ_3 > 0, which is then sufficient (Perfect and
    Mirsky 1965).
    """
    eigenvalues = np.sort(eigenvalues, axis=-1)
    n = eigenvalues.shape[-1]
    is_one = np.abs(eigenvalues - 1) <= 1e-12

    def first(bad: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(int(i) for i in np.argwhere(bad)[0])

    ones = is_one.sum(axis=-1)
    if (bad := ones == 0).any():
        index = first(bad)
        raise _refuse(
            index,
            f"no eigenvalue 1 (largest {eigenvalues[index][-1]:.6g})",
            "one eigenvalue 1",
            "Rows sum to 1, so 1 is an eigenvalue: add it, or divide by the largest.",
        )
    outside = (np.abs(eigenvalues) >= 1) & ~is_one
    if outside.any():
        index = first(outside)
        raise _refuse(
            index[:-1],
            f"eigenvalue {eigenvalues[index]:.6g}",
            "the other eigenvalues in (-1, 1)",
            "With entries > 0 no other modulus reaches 1 (Perron); shrink it.",
        )
    if (bad := ones > 1).any():
        index = first(bad)
        raise _refuse(
            index,
            f"eigenvalue 1 repeated {ones[index]} times",
            "eigenvalue 1 once",
            "With entries > 0 it is simple (Perron); use 1 - small for the others.",
        )
    others = eigenvalues[..., :-1]
    # Odd powers only (even ones are positive); by 99 the eigenvalue 1 has won
    # unless another is within 1 % of -1, and then the larger ones are the same condition.
    for power, powers in _odd_powers(others):
        trace = 1 + np.sum(powers, axis=-1)
        if (bad := trace <= 0).any():
            index = first(bad)
            what = "sum" if power == 1 else f"sum of powers {power}"
            raise _refuse(
                index,
                f"{what} {trace[index]:.6g}",
                f"a positive {what}",
                "It is the trace of a matrix with entries > 0; raise the negative eigenvalues.",
            )
    if n == 3 and (bad := 2 + others[..., 1] + 3 * others[..., 0] <= 0).any():
        index = first(bad)
        raise _refuse(
            index,
            f"2 + λ_2 + 3 λ_3 = {2 + others[index][1] + 3 * others[index][0]:.6g}",
            "a positive value, which n = 3 needs (Perfect and Mirsky 1965)",
            "Raise the smallest eigenvalue.",
        )
    return np.asarray(others)


def _odd_powers(x: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Some odd powers, by products of earlier ones."""
    square = x * x
    fifth = square * square * x
    ninth = fifth * square * square
    nineteenth = ninth * ninth * x
    yield from ((1, x), (3, square * x), (5, fifth), (9, ninth), (19, nineteenth))
    x49 = nineteenth * nineteenth * ninth * square
    yield from ((49, x49), (99, x49 * x49 * x))


# --- the search ----------------------------------------------------------------------


def _complement(n: int) -> FloatArray:
    """Return an (n, n-1) orthonormal basis of the complement of 1: a Householder reflection."""
    w = np.full(n, -1 / np.sqrt(n))
    w[0] += 1
    if n > 1:
        w /= np.sqrt(np.sum(w * w))
    return np.asarray((np.eye(n) - 2 * np.outer(w, w))[:, 1:])


class _Search:
    """Spectra (b, n-1) still without a matrix, and the matrices (b, n, n) found."""

    def __init__(
        self, others: FloatArray, seeds: NDArray[np.int64], batch: tuple[int, ...], first: int = 0
    ) -> None:
        self.others = others
        self.first = first  # the place in the batch of the first of these
        self.batch = batch
        self.seeds = seeds
        self.n = others.shape[-1] + 1
        self.basis = _complement(self.n)
        self.found = np.empty((len(others), self.n, self.n))
        self.trees: dict[int, FloatArray] = {}
        self.best = np.full(len(others), -np.inf)  # smallest entry times n, of the best attempt
        # n * (smallest entry) exceeds neither 1 - max|λ| (else A minus that much
        # of 11ᵀ/n would be a stochastic matrix with an eigenvalue above 1) nor the trace
        self.room = np.minimum(1 - np.abs(others).max(axis=-1), 1 + others.sum(axis=-1))

    def noise(self, rows: NDArray[np.intp], attempt: int) -> FloatArray:
        """Symmetric Gaussian matrices (r, n-1, n-1), from the rows' own streams."""
        m = self.n - 1
        g = np.stack([philox(int(self.seeds[row]), attempt).standard_normal((m, m)) for row in rows])
        return np.asarray(g + np.swapaxes(g, -1, -2))

    def run(
        self, rows: NDArray[np.intp], start: FloatArray, reflection: float, margin: float, steps: int
    ) -> NDArray[np.intp]:
        """Search from ``start`` (r, n-1, n-1); return the rows that are still without a matrix."""
        n, basis = self.n, self.basis
        active, state = rows, start
        stuck = []
        for step in range(steps):
            v = basis @ np.linalg.eigh(state)[1]
            a = (v * self.others[active][:, None, :]) @ np.swapaxes(v, -1, -2) + 1 / n
            smallest = a.min(axis=(-2, -1)) * n
            target = margin * self.room[active]
            self.best[active] = np.maximum(self.best[active], smallest)
            done = smallest > np.maximum(_ACCEPTED * target, 1e-14 * n)
            self.found[active[done]] = (a[done] + np.swapaxes(a[done], -1, -2)) / 2
            active, a, target = active[~done], a[~done], target[~done]
            if not active.size or step == steps - 1:
                stuck = list(active)
                break
            a += reflection * np.maximum(target[:, None, None] / n - a, 0)
            state = basis.T @ a @ basis
        return np.asarray(stuck, dtype=np.intp)

    def soules(self, row: int) -> FloatArray:
        """Return the best of several random Soules-type matrices with the row's eigenvalues.

        Blocks of tokens are split in two, eigenvalues assigned in descending
        order: entries off the diagonal are then at least (1 - λ_2)/n, and only
        the diagonal can be negative (Soules 1983, and the trees that
        generalise it).
        """
        if row in self.trees:
            return self.trees[row]
        n = self.n
        stream = philox(int(self.seeds[row]), 1_000_000)
        best, best_smallest = np.empty((n, n)), -np.inf
        for tree in range(_SOULES_TREES):
            a = np.full((n, n), 1 / n)
            blocks = [stream.permutation(n)]
            for value in self.others[row][::-1]:
                splittable = [i for i, block in enumerate(blocks) if len(block) > 1]
                widest = max(splittable, key=lambda i: len(blocks[i]))
                pick = widest if tree % 2 else int(stream.choice(splittable))
                block = blocks.pop(pick)
                half = [1, len(block) // 2, int(stream.integers(1, len(block)))][tree % 3]
                left, right = block[:half], block[half:]
                u = np.zeros(n)
                u[left], u[right] = 1 / len(left), -1 / len(right)
                a += value * np.outer(u, u) / np.sum(u * u)
                blocks += [left, right]
            if (smallest := float(a.min())) > best_smallest:
                best, best_smallest = a, smallest
        self.best[row] = max(self.best[row], best_smallest * n)
        self.trees[row] = best
        return best


# the search amplifies rounding: the number of cores must not change the order of a sum
@on_one_thread
def symmetric_stochastic(others: FloatArray, seeds: NDArray[np.int64]) -> FloatArray:
    """Return (..., n, n) symmetric stochastic matrices with entries > 0.

    ``others`` (..., n-1) are the eigenvalues other than 1, ascending, ``seeds``
    (...) one number for each.  A matrix depends on its own eigenvalues and
    seed alone, not on the rest of the batch.
    """
    *batch, m = others.shape
    if m == 0:
        return np.ones((*batch, 1, 1))
    others, seeds = others.reshape(-1, m), seeds.reshape(-1)

    def search(part: slice) -> FloatArray:
        found = _found(_Search(others[part], seeds[part], tuple(batch), part.start))
        return _finish(found, others[part])

    # decompositions let go of the interpreter; about 4 of them, and as many products, for each system
    found = in_parallel(search, pieces(len(others), 8 * (m + 1) ** 2, others))
    return np.concatenate(found).reshape(*batch, m + 1, m + 1)


def _found(search: _Search) -> FloatArray:
    rows = np.arange(len(search.others))
    if search.n <= TURNED and _kernels.importable():
        rows = _search_across_lanes(search)
    else:
        rows = search.run(rows, search.noise(rows, 0), *_QUICK, _QUICK_STEPS)
    # A few rows at a time: one hopeless row refuses the whole batch, so stop early.
    chunk = max(1, _CHUNK_ENTRIES // search.n**2)
    for begin in range(0, len(rows), chunk):
        _search_patiently(search, rows[begin : begin + chunk])
    return search.found


def _search_across_lanes(search: _Search) -> NDArray[np.intp]:
    """Search all rows in compiled code; return those that are still without a matrix.

    In single precision first, twice as many side by side.  What that finds has the wanted eigenvalues to six
    digits: a step in double precision mends the rest, and searches on where it must.
    """
    from ._kernels.isospectral import isospectral

    _kernels.announce(isospectral, search.others.dtype)
    b, n = len(search.others), search.n
    rough, found = np.empty((b, n, n), dtype=np.float32), np.zeros(b, dtype=np.bool_)
    drawn = np.empty((0, 0, 0), dtype=np.float32)
    for starts, matrices, share, tolerance in (
        (drawn, rough, 1.5 * _ACCEPTED, 1e-3),
        (rough, search.found, _ACCEPTED, 1e-6),
    ):
        isospectral(
            *(search.others, search.room, search.seeds, starts),
            *(_QUICK_STEPS, *_COMPILED, share, _MEMORY, tolerance),
            *(matrices, found),
        )
    return np.flatnonzero(~found)


def _search_patiently(search: _Search, rows: NDArray[np.intp]) -> None:
    scale = np.sqrt(np.mean(search.others**2, axis=-1) / (2 * search.n))[:, None, None]
    for attempt, (level, reflection, margin) in enumerate(_PATIENT, start=1):
        start = search.noise(rows, attempt)
        if level is not None:
            trees = np.stack([search.soules(int(row)) for row in rows])
            start = search.basis.T @ trees @ search.basis + level * scale[rows] * start
        rows = search.run(rows, start, reflection, margin, 1 if level == 0 else _PATIENT_STEPS)
        if not rows.size:
            return
    row = int(rows[0])
    spectrum = np.array2string(search.others[row], precision=3, threshold=8, separator=", ")
    raise _refuse(
        tuple(int(i) for i in np.unravel_index(search.first + row, search.batch)) if search.batch else (),
        f"1 and {spectrum}, for which no construction was found (least entry of the best attempt "
        f"{search.best[row] / search.n:.3g})",
        "the spectrum of a symmetric stochastic matrix with entries > 0",
        "No simple necessary condition is violated, so it may exist; shrink the eigenvalues other than 1 "
        "towards 0, or raise the most negative ones.",
    )


def _finish(a: FloatArray, others: FloatArray) -> FloatArray:
    """Make sums exact to rounding; verify everything that is promised."""
    n = a.shape[-1]
    if n <= TURNED and _kernels.importable():
        from ._kernels.isospectral import settled

        _kernels.announce(settled, "float64")
        least, worst = np.empty(len(a)), np.empty(len(a))
        settled(a, least, worst)
        smallest, sums = float(least.min()), float(worst.max())
    else:
        error = a.sum(axis=-1) - 1
        a -= (error[..., :, None] + error[..., None, :]) / n - error.mean(axis=-1)[..., None, None] / n
        smallest, sums = float(a.min()), float(np.abs(a.sum(axis=-1) - 1).max())
    realised = _kernels.symmetric_eigenvalues(a)[..., :0:-1]
    off = float(np.abs(realised - others).max())
    if not (off <= 1e-12 and sums <= 1e-14 * max(1.0, n / 64) and smallest > 0):
        raise _refuse(
            (),
            f"a spectrum realised within {off:.3g}, row sums within {sums:.3g}, least entry {smallest:.3g}",
            "1e-12, 1e-14 and > 0",
            "Rounding exceeds the room this spectrum leaves; move it away from ±1, or use fewer tokens.",
        )
    return a
