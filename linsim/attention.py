"""Attention matrices: row-stochastic (..., n, n) arrays, from a spectrum or from a distribution.

Matrices that are not stochastic are declared by :func:`general`; builders of published ones stand beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import is_numpy_array
from numpy.typing import ArrayLike

from . import _spectra, _validate
from ._callers import in_callers_library
from ._from_tokens import FromTokens
from ._general_attention import (
    General,
    attnscale,
    centred,
    differential,
    gcn,
    general,
    laplacian,
    shaped,
    sigmoid,
)
from ._namespace import Array, namespace, on_device_of, to_host
from ._positions import Rotary, alibi
from ._spectra import FloatArray
from .errors import InvalidTypeError, InvalidValueError, ShapeError

__all__ = [
    "FromTokens",
    "General",
    "Rotary",
    "alibi",
    "attnscale",
    "centred",
    "differential",
    "dirichlet",
    "doubly_stochastic",
    "from_spectrum",
    "gcn",
    "general",
    "laplacian",
    "masked",
    "shaped",
    "sigmoid",
    "softmax",
    "uniform",
]


def from_spectrum(eigenvalues: ArrayLike, *, rng: Any = None) -> FloatArray:
    """Draw symmetric attention matrices with given eigenvalues.

    Parameters
    ----------
    eigenvalues : (..., n) array of real numbers
        In any order; one of them is 1, the others lie in (-1, 1).  Dimensionless.
    rng : anything ``numpy.random.default_rng`` takes
        One draw a system; each matrix depends on its own draw and eigenvalues alone.

    Returns
    -------
    (..., n, n) float64 array
        Exactly symmetric, entries > 0, rows and columns summing to 1 within 1e-14, the
        eigenvalues realised within 1e-12 (verified before returning).  The eigenvectors are
        random and dense, except for spectra so tight that only a block structure realises them.

    Raises
    ------
    SpectrumError
        If 1 is missing or repeated, another modulus reaches 1, the trace of an odd power is
        not positive, n = 3 and 2 + λ_2 + 3λ_3 <= 0, or no construction is found.
    InvalidTypeError, InvalidValueError, ShapeError
        For complex numbers or text, for NaN, and for an empty array.

    Notes
    -----
    Which spectra are possible is an open problem beyond n = 4, so a spectrum that only
    fails the search may still exist.  The search alternates projections from a Haar basis
    (Orsi 2006), then tries Soules bases (Soules 1983).  It serves experiments on the least
    eigenvalue of attention in arXiv 2401.04301 (dominance of the end points).

    Examples
    --------
    >>> import numpy as np
    >>> A = from_spectrum([1, 0.5, 0.1, -0.4], rng=0)
    >>> bool((A == A.T).all()), bool((A > 0).all()), bool(np.allclose(A.sum(axis=1), 1))
    (True, True, True)
    >>> np.linalg.eigvalsh(A).round(12)
    array([-0.4,  0.1,  0.5,  1. ])
    """
    values = np.asarray(
        to_host(_validate.array(eigenvalues, "eigenvalues", ndim=1, shape="(..., n)")), dtype=np.float64
    )
    generator = _validate.generator(rng)
    others = _spectra.check_stochastic_spectrum(values)
    seeds = np.asarray(generator.integers(2**63, size=values.shape[:-1], dtype=np.int64))
    return _spectra.symmetric_stochastic(others, seeds)


def softmax(
    n: int,
    d_key: int,
    *,
    temperature: float | ArrayLike = 1.0,
    symmetric: bool = False,
    size: int | tuple[int, ...] = (),
    rng: Any = None,
) -> FloatArray:
    """Draw softmax attention with Gaussian queries and keys.

    Row-wise softmax of Q Kᵀ / (sqrt(d_key) * temperature), Q and K of shape (n, d_key) with
    independent N(0, 1) entries.

    Parameters
    ----------
    n, d_key : int
        Tokens, and features of a query.
    temperature : float or array that broadcasts with ``size``
        Positive, dimensionless.
    symmetric : bool
        Take K = Q: then A = D⁻¹S with S symmetric, so A is reversible and its spectrum real.
    size : int or tuple
        Batch shape.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (*size, n, n) float64 array
        Rows sum to 1.  Entries are > 0 unless a score lies 745 below the largest of its row,
        where exp underflows to 0.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n``, ``d_key`` or ``size`` is not a positive integer, or ``temperature`` not positive.
    ShapeError
        If ``temperature`` does not broadcast with ``size``.

    Source: standard (scaled dot-product attention).

    Examples
    --------
    >>> A = softmax(3, 8, symmetric=True, size=2, rng=0)
    >>> A.shape, A.sum(axis=-1).round(12).tolist()
    ((2, 3, 3), [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    """
    n = _validate.count(n, "n", minimum=1)
    d_key = _validate.count(d_key, "d_key", minimum=1)
    scale, batch = _spectra.parameter(temperature, "temperature", _validate.size(size), low=0, low_open=True)
    generator = _validate.generator(rng)
    q = np.asarray(generator.standard_normal((*batch, n, d_key)))
    # S must be symmetric to the last bit, or the spectrum is only nearly real.
    k = q if symmetric else np.asarray(generator.standard_normal((*batch, n, d_key)))
    scores = q @ np.swapaxes(k, -1, -2)
    if symmetric:
        scores = (scores + np.swapaxes(scores, -1, -2)) / 2
    return _normalised_exponential(scores / (np.sqrt(d_key) * scale[..., None, None]))


def _normalised_exponential(scores: FloatArray) -> FloatArray:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def dirichlet(
    n: int,
    concentration: float | ArrayLike = 1.0,
    *,
    size: int | tuple[int, ...] = (),
    rng: Any = None,
) -> FloatArray:
    """Draw attention whose rows are independent symmetric Dirichlet vectors.

    Parameters
    ----------
    n : int
        Tokens.
    concentration : float or array that broadcasts with ``size``
        Positive; 1 is uniform on the simplex, large is near 1/n, small is near one-hot.
    size : int or tuple
        Batch shape.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (*size, n, n) float64 array
        Rows sum to 1.  Entries are > 0 unless a weight underflows (concentration below 0.05 or so).

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` or ``size`` is not a positive integer, or ``concentration`` not positive.
    ShapeError
        If ``concentration`` does not broadcast with ``size``.

    Source: standard.

    Examples
    --------
    >>> A = dirichlet(4, 0.5, rng=0)
    >>> bool((A > 0).all()), A.sum(axis=1).round(12).tolist()
    (True, [1.0, 1.0, 1.0, 1.0])
    """
    n = _validate.count(n, "n", minimum=1)
    alpha, batch = _spectra.parameter(
        concentration, "concentration", _validate.size(size), low=0, low_open=True
    )
    generator = _validate.generator(rng)
    alpha = np.broadcast_to(alpha, batch)[..., None, None]
    shape = (*batch, n, n)
    # ln Gamma(α) = ln Gamma(α + 1) - Exponential/α in law: no row of small
    # concentration underflows to all zeros before it is normalised.
    gamma = np.log(generator.standard_gamma(np.broadcast_to(alpha + 1, shape), size=shape))
    return _normalised_exponential(gamma - np.asarray(generator.standard_exponential(shape)) / alpha)


def doubly_stochastic(n: int, *, size: int | tuple[int, ...] = (), rng: Any = None) -> FloatArray:
    """Draw doubly stochastic attention: exponential entries, balanced to row and column sums 1.

    Parameters
    ----------
    n : int
        Tokens.
    size : int or tuple
        Batch shape.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (*size, n, n) float64 array
        Entries > 0, rows and columns summing to 1 within 1e-14.  Not symmetric.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` or ``size`` is not a positive integer.

    Source: Sinkhorn and Knopp 1967 (the balanced matrix exists and is unique); found by
    Newton steps on the convex potential, since plain alternation crawls for uneven matrices.

    Examples
    --------
    >>> A = doubly_stochastic(3, rng=0)
    >>> A.sum(axis=0).round(12).tolist(), A.sum(axis=1).round(12).tolist()
    ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    """
    n = _validate.count(n, "n", minimum=1)
    shape = (*_validate.size(size), n, n)
    # an exponential draw can be 0, which no scaling balances
    draws = np.maximum(_validate.generator(rng).standard_exponential(shape), np.finfo(float).tiny)
    return _balanced(np.asarray(draws).reshape(-1, n, n)).reshape(shape)


def _balanced(a: FloatArray) -> FloatArray:
    """Return D a E with unit row and column sums, for (b, n, n) positive ``a``."""
    n = a.shape[-1]
    for _ in range(4):
        a = a / a.sum(axis=-2, keepdims=True)
        a = a / a.sum(axis=-1, keepdims=True)
    out = np.empty_like(a)
    active = np.arange(len(a))
    previous = np.full(len(a), np.inf)
    for _ in range(100):
        columns = a.sum(axis=-2)
        error = np.abs(columns - 1).max(axis=-1)
        # Near 1e-12 Newton squares the error away; afterwards only rounding moves it.
        done = (error < 1e-15) | ((error < 1e-13) & (error >= previous / 4))
        out[active[done]] = a[done]
        active, a, columns, previous = active[~done], a[~done], columns[~done], error[~done]
        if not active.size:
            break
        # Hessian of the potential in ln E, with rows already 1; its null vector is 1
        hessian = -np.swapaxes(a, -1, -2) @ a + 1 / n
        hessian[:, np.arange(n), np.arange(n)] += columns
        step = np.linalg.solve(hessian, (1 - columns)[..., None])[..., 0]
        step -= step.mean(axis=-1, keepdims=True)
        # The potential is self-concordant-like: steps of length 1 never overshoot.
        step /= np.maximum(1.0, np.abs(step).max(axis=-1, keepdims=True))
        a = a * np.exp(step)[:, None, :]
        a = a / a.sum(axis=-1, keepdims=True)
    out[active] = a
    return out


def uniform(n: int) -> FloatArray:
    """Return uniform attention 11ᵀ/n: every token attends equally to all.

    Parameters
    ----------
    n : int
        Tokens.

    Returns
    -------
    (n, n) float64 array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer.

    Source: standard; the exactly solvable case of arXiv 2312.06182.

    Examples
    --------
    >>> uniform(2)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    n = _validate.count(n, "n", minimum=1)
    return np.full((n, n), 1 / n)


@in_callers_library
def masked(A: Array, mask: Array) -> Array:
    """Keep the entries of attention where ``mask`` is True, and renormalise each row.

    For softmax attention this is the softmax of the scores that the mask keeps.

    Parameters
    ----------
    A : (..., n, n) array
        Entries >= 0, rows summing to 1.
    mask : (..., n, n) bool array
        True where a token may attend (:mod:`linsim.masks`).  Batch axes broadcast with
        those of ``A``; a NumPy mask fits an array of any library.

    Returns
    -------
    (..., n, n) array
        Exactly 0 where ``mask`` is False; rows sum to 1.  Of the library, device and dtype of ``A``.

    Raises
    ------
    InvalidValueError
        If a row of ``mask`` is empty, or the entries that it keeps are 0 or so small (below
        1e-292 in float64) that their ratios are lost.
    InvalidTypeError, ShapeError
        If ``mask`` is not boolean, of another library, or does not fit ``A``.

    Source: standard.

    Examples
    --------
    >>> from linsim import masks
    >>> masked(uniform(3), masks.causal(3)).round(3)
    array([[1.   , 0.   , 0.   ],
           [0.5  , 0.5  , 0.   ],
           [0.333, 0.333, 0.333]])
    """
    A = _validate.attention_matrix(A)
    kept = _validate.mask(mask)
    if not is_numpy_array(A) and is_numpy_array(kept):
        kept = on_device_of(kept, A)
    if kept.shape[-1] != A.shape[-1]:
        raise _validate.refusal(
            ShapeError,
            "mask",
            f"shape {tuple(kept.shape)} with A {tuple(A.shape)}",
            f"shape (..., {A.shape[-1]}, {A.shape[-1]})",
            "Mask and attention need the same number of tokens.",
        )
    _validate.broadcast_batches(A=tuple(A.shape[:-2]), mask=tuple(kept.shape[:-2]))
    try:
        xp = namespace(A, kept)
    except TypeError:
        raise _validate.refusal(
            InvalidTypeError,
            "mask",
            f"an array of {type(kept).__module__} with A of {type(A).__module__}",
            "arrays of one library",
            "Convert one of them; a NumPy mask fits all.",
        ) from None
    weights = xp.where(kept, A, xp.zeros_like(A))
    sums = xp.sum(weights, axis=-1, keepdims=True)
    limits = xp.finfo(A.dtype)
    # below this, entries that count have lost digits already
    lost = sums[..., 0] < float(limits.smallest_normal) / float(limits.eps)
    if bool(xp.any(lost)):
        *system, row = (int(i) for i in np.argwhere(to_host(lost))[0])
        raise _validate.refusal(
            InvalidValueError,
            "mask",
            f"no weight left in row {row}{f' of matrix {tuple(system)}' if system else ''}: "
            "the sum of the kept entries underflows",
            "a kept entry that is not negligible in each row",
            "Mask the scores before the softmax, or raise its temperature.",
        )
    # a row that keeps all stays as it is, to the last bit
    return xp.where(xp.abs(sums - 1) > A.shape[-1] * float(limits.eps), weights / sums, weights)
