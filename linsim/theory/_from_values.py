"""What eigenvalues alone decide of one head with stochastic attention, for many systems at once.

:func:`linsim.predict` finds eigenvectors and condition numbers, to say how far a verdict can be trusted and
to bound what happens at finite depth.  A sweep keeps only verdicts and rates, and these follow from the
moduli |1 + lambda_i mu_j| wherever no two of the leading ones are nearly equal: the law's own tolerance,
never above 1e-9 of the largest, then decides nothing.  Here the margin is 1e-4, so that eigenvalues would
have to be wrong by more than that, a condition number of 1e11, to change a verdict.  Whatever is nearer or
badly scaled, and where an eigenvalue that decides may be defective, is left to :func:`linsim.predict`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _kernels
from .._blas import on_one_thread
from .._eigen import doubly_stochastic
from .._namespace import to_host
from .._parallel import in_parallel, pieces
from .._types import EPS, BoolArray, ComplexArray, FloatArray
from ..rules import Linear

__all__ = ["Brief", "from_values"]

#: moduli that are nearer than this to the largest, relatively, are left to the full law
NEAR = 1e-4
#: eigenvalues nearer than this, relative to the norm, might be a Jordan block's: rounding parts those of
#: two by at most twice the 1e-3 that the full law allows for
_APART = 2.5e-3
#: an entry of an eigenvector above this, relative to the largest, is there for certain
_HEARD = 1e-5
#: rows and columns of sizes within this factor need no scaling before their eigenvalues are found
_SCALED = 100.0


@dataclass(frozen=True, eq=False)
class Brief:
    """The verdicts of a :class:`linsim.theory.Prediction` that a sweep keeps, one entry a system.

    ``certain`` (b,): where they count; ``rates`` as there.
    """

    certain: BoolArray
    regime: Any
    input_convergence: BoolArray
    angle_convergence: BoolArray
    rank_collapse: BoolArray
    limit_rank: Any
    margin: FloatArray
    rates: dict[str, FloatArray]

    def picked(self, which: Any) -> Brief:
        """Return some of the systems."""
        fields = {name: x[which] for name, x in vars(self).items() if name != "rates"}
        return Brief(**fields, rates={name: x[which] for name, x in self.rates.items()})


class _Spectrum(NamedTuple):
    """Eigenvalues (b, m); where they can be trusted, (b,), and which are too near to others, (b, m); what has
    the eigenvectors ``right`` = those of ``matrix`` over ``scale``."""

    values: ComplexArray
    sound: BoolArray
    close: BoolArray
    matrix: FloatArray
    scale: FloatArray


@on_one_thread
def from_values(rule: Any) -> Brief | None:
    """Judge a rule of batch shape () or (b,); None where another law has to.

    None for anything but :class:`linsim.Linear` in double precision, with stochastic attention and without
    bias, scale or factors, and where compiled kernels cannot be used.  A verdict depends on its own system
    alone, if kernels are compiled before they are used (:func:`linsim._kernels.first_use.wait`).

    Examples
    --------
    >>> import numpy as np, linsim
    >>> A = np.array([[0.6, 0.4], [0.4, 0.6]])
    >>> brief = from_values(linsim.Linear(A, [[[0.5]], [[-0.5]]]))
    >>> brief.certain.tolist(), brief.regime.tolist(), brief.rates["token_diversity"].round(4).tolist()
    ([True, True], ['smoothing', 'sharpening'], [0.5378, 1.0])
    """
    if not isinstance(rule, Linear) or len(rule.batch_shape) > 1 or not rule.stochastic or rule.general:
        return None
    if rule.bias is not None or rule.scale is not None or rule.factors is not None or not _kernels.usable():
        return None
    A, H = to_host(rule.A), to_host(rule.H)
    if A.dtype != np.float64 or H.dtype != np.float64 or A.shape[-1] < 2:
        return None
    if max(A.shape[-1], H.shape[-1]) > _kernels.LARGEST:
        return None
    _compiled()
    A, H = (M.reshape(-1, *M.shape[-2:]) for M in (A, H))
    size = max(len(A), len(H))

    # what all share is decomposed once
    attention = _attention(A) if len(A) == 1 else None
    weights = _weights(H) if len(H) == 1 else None

    def judged(part: slice) -> FloatArray:
        of_A = attention or _attention(A[part])
        of_H = weights or _weights(H[part])
        return _judged(of_A, of_H, part.stop - part.start)

    found = np.concatenate(in_parallel(judged, pieces(size, 20 * (A.shape[-1] ** 2 + H.shape[-1] ** 2), A)))
    return _brief(found)


@functools.cache
def _compiled() -> None:
    """Use once what only some systems need, so that a sweep that measures its own speed meets it compiled."""
    from .._kernels.leading import spread

    _attention(np.array([[[0.6, 0.4], [0.3, 0.7]], [[0.5, 0.5], [0.5, 0.5]]]))
    _general(np.array([[[0.0, 1.0], [2.0, 0.0]]]))
    for dtype in (np.float64, np.complex128):
        values, work, vector = np.ones(1, dtype), np.empty((2, 2), dtype), np.empty(2, dtype)
        spread(np.ones((1, 2, 2)), values, np.ones((1, 2)), work, vector, np.empty(1))


def _judged(attention: _Spectrum, weights: _Spectrum, size: int) -> FloatArray:
    """The fields of :data:`linsim._kernels.leading.FIELDS` of each system, (size, 7)."""
    from .._kernels.leading import FIELDS, leading

    out = np.empty((size, len(FIELDS)))
    leading(attention.values, weights.values, attention.close, weights.close, NEAR, out)
    out[:, 0] *= attention.sound & weights.sound
    certain, constant, other, rank, row = out[:, 0], out[:, 1], out[:, 2], out[:, 3], out[:, 6]
    # where other modes lead, tokens follow their vector, if it has an entry for each
    asked = np.flatnonzero((certain > 0) & (other > constant) & (rank == 1))
    certain[asked] *= _heard(attention, asked, row[asked].astype(np.int64))
    return out


def _heard(attention: _Spectrum, systems: Any, rows: Any) -> BoolArray:
    """Whether the eigenvectors ``rows`` of ``systems`` have an entry for every token, for certain."""
    shared = len(attention.values) == 1
    if shared:  # every vector once
        rows, back = np.unique(rows, return_inverse=True)
        systems = np.zeros(len(rows), dtype=np.int64)
    good = rows >= 0
    at, row = systems[good], rows[good]
    value = attention.values[at, row]
    distance = np.abs(attention.values[at] - value[:, None])
    distance[np.arange(len(at)), row] = np.inf
    least = np.zeros(len(at))
    for kind, cast in ((value.imag == 0, np.real), (value.imag != 0, np.asarray)):
        least[kind] = _least(attention, at[kind], cast(value[kind]))
    size = np.linalg.norm(attention.matrix[at], axis=(-1, -2))
    heard = np.zeros(len(rows), dtype=bool)
    heard[good] = (least > _HEARD) & (np.min(distance, axis=-1) > NEAR * size)
    return heard[back] if shared else heard


def _least(attention: _Spectrum, at: Any, values: Any) -> FloatArray:
    from .._kernels.leading import spread

    out = np.empty(len(at))
    n = attention.values.shape[-1]
    if len(at):
        work, vector = np.empty((n, n), values.dtype), np.empty(n, values.dtype)
        spread(attention.matrix[at], np.ascontiguousarray(values), attention.scale[at], work, vector, out)
    return out


def _brief(found: FloatArray) -> Brief:
    certain, constant, other, rank, token, minor, _ = found.T
    smooth = constant > other
    collapse = rank == 1
    # of what was not found, which nothing is certain of, nothing is left
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.log(constant) - np.log(other)
    return Brief(
        certain=certain > 0,
        regime=np.where(smooth, "smoothing", "sharpening"),
        input_convergence=smooth,
        angle_convergence=collapse,
        rank_collapse=collapse,
        limit_rank=rank.astype(np.int64),
        margin=margin,
        rates={
            "token_diversity": np.where(smooth, token**2, 1.0),
            "cosine_gap": np.where(collapse, minor**2, 1.0),
            "rank_gap": np.where(collapse, minor, 1.0),
        },
    )


# --- eigenvalues -------------------------------------------------------------------------


def _general(M: FloatArray) -> tuple[ComplexArray, BoolArray, BoolArray]:
    """Eigenvalues of (b, m, m) matrices, where they need no scaling, and which may be a Jordan block's."""
    from .._kernels.hessenberg import general_values
    from .._kernels.leading import suited

    values, sound = np.empty(M.shape[:2], dtype=np.complex128), np.empty(len(M), dtype=np.bool_)
    close = np.empty(M.shape[:2], dtype=np.bool_)
    scale = np.max(np.abs(M), axis=(-1, -2))
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
    general_values(M / scale[:, None, None], values)
    values *= scale[:, None]
    suited(M, values, _SCALED, _APART, sound, close)
    return values, sound, close


def _weights(H: FloatArray) -> _Spectrum:
    scale = np.max(np.abs(H), axis=(-1, -2))
    allowed = 8 * EPS * scale[:, None]
    # the first row and column first, since that is cheap
    symmetric = np.all(np.abs(H[:, 0] - H[:, :, 0]) <= allowed, axis=-1)
    some = H[symmetric]
    off = np.abs(some - np.swapaxes(some, -1, -2)) <= allowed[symmetric][:, :, None]
    symmetric[symmetric] = np.all(off, axis=(-1, -2))
    values, close = np.empty(H.shape[:2], dtype=np.complex128), np.zeros(H.shape[:2], dtype=np.bool_)
    sound = np.array(scale < 1e100)
    if symmetric.any():
        values[symmetric] = _kernels.symmetric_eigenvalues(H[symmetric])
    if not symmetric.all():
        values[~symmetric], fine, close[~symmetric] = _general(H[~symmetric])
        sound[~symmetric] &= fine
    return _Spectrum(values, sound, close, H, np.ones((1, 1)))


def _attention(A: FloatArray) -> _Spectrum:
    """The spectrum of stochastic attention, the constant mode first; symmetrised where A is reversible."""
    from .._kernels.leading import stationary

    b, n = A.shape[:2]
    matrix, scale = A, np.ones((b, n))
    real = np.all(np.swapaxes(A, -1, -2) == A, axis=(-1, -2))
    sound = np.ones(b, dtype=bool)
    other = np.flatnonzero(~real)
    if len(other):
        some = A if len(other) == b else A[other]
        pi = np.empty((len(other), n))
        stationary(some, pi, np.empty((n, n)))
        pi = np.where(doubly_stochastic(some)[:, None], 1 / n, pi)
        least = np.min(pi, axis=-1)
        sound[other] = least > 1e-30  # else not every token is reached from all, or hardly
        # what flows one way is what flows back: between token 0 and the others first, since that is cheap
        first = np.flatnonzero(_same(pi[:, :1] * some[:, 0], pi * some[:, :, 0], -1) & (least > 1e-30))
        flow = pi[first][:, :, None] * some[first]
        balanced = first[_same(flow, np.swapaxes(flow, -1, -2), (-1, -2))]
        root = np.sqrt(pi[balanced])
        S = root[:, :, None] * some[balanced] / root[:, None, :]
        matrix = np.array(A)
        matrix[other[balanced]] = (S + np.swapaxes(S, -1, -2)) / 2
        scale[other[balanced]] = root
        real[other[balanced]] = True
    values, close = np.empty((b, n), dtype=np.complex128), np.zeros((b, n), dtype=np.bool_)
    if real.any():
        values[real] = _kernels.symmetric_eigenvalues(matrix[real])
    if not real.all():
        values[~real], fine, close[~real] = _general(A[~real])
        sound[~real] &= fine
    distance = np.abs(values - 1)
    first = np.argmin(distance, axis=-1)
    sound &= (np.sum(distance < 1e-6, axis=-1) == 1) & (np.min(distance, axis=-1) < 1e-9)
    order = np.argsort(np.arange(n) != first[:, None], axis=-1, kind="stable")
    values, close = (np.take_along_axis(x, order, axis=-1) for x in (values, close))
    values[:, 0] = 1
    return _Spectrum(values, sound, close, matrix, scale)


def _same(x: FloatArray, y: FloatArray, axis: int | tuple[int, int]) -> BoolArray:
    """Whether numbers that are not negative are equal to rounding, all along ``axis``."""
    return np.asarray(np.all(np.abs(x - y) <= 1e-12 * (x + y), axis=axis))
