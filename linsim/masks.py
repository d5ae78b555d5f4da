"""Masks: which token may attend to which.

Every mask is a boolean array, True at (i, j) where token i may attend to token
j.  :func:`linsim.attention.masked` applies one to an attention matrix.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validate
from ._callers import in_callers_library
from ._namespace import Array, namespace
from .errors import InvalidTypeError, InvalidValueError

__all__ = ["axial", "causal", "closed_groups", "local", "padding", "ring", "sparse", "strided"]

Mask = NDArray[np.bool_]


def causal(n: int) -> Mask:
    """Let each token see itself and the tokens before it.

    Parameters
    ----------
    n : int
        Tokens.

    Returns
    -------
    (n, n) bool array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer.

    Source: standard (decoders).

    Examples
    --------
    >>> causal(3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    back = _steps_back(n)
    return np.asarray(back >= 0)


def local(n: int, radius: int, *, causal: bool = False) -> Mask:
    """Let each token see the tokens at most ``radius`` places away, and itself.

    Parameters
    ----------
    n : int
        Tokens.
    radius : int
        0 leaves each token alone.
    causal : bool
        Look back only.

    Returns
    -------
    (n, n) bool array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer, ``radius`` not a non-negative one, or ``causal`` not a bool.

    Source: standard (sliding windows).

    Examples
    --------
    >>> local(4, 1).astype(int)
    array([[1, 1, 0, 0],
           [1, 1, 1, 0],
           [0, 1, 1, 1],
           [0, 0, 1, 1]])
    """
    back = _steps_back(n)
    radius = _validate.count(radius, "radius")
    return np.asarray((np.abs(back) <= radius) & _allowed(back, causal))


def ring(n: int, radius: int) -> Mask:
    """Let each token of a ring see the tokens at most ``radius`` places away, and itself.

    Parameters
    ----------
    n : int
        Tokens; the last is a neighbour of the first.
    radius : int
        0 leaves each token alone.

    Returns
    -------
    (n, n) bool array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer, or ``radius`` not a non-negative one.

    Source: standard; uniform attention under this mask is solved in
    :func:`linsim.theory.mask_laws.ring_eigenvalues`.

    Examples
    --------
    >>> ring(5, 1)[0].astype(int)
    array([1, 1, 0, 0, 1])
    """
    back = _steps_back(n) % n
    radius = _validate.count(radius, "radius")
    return np.asarray(np.minimum(back, n - back) <= radius)


def axial(height: int, width: int) -> Mask:
    """Let each token of a grid see its row and its column.

    Parameters
    ----------
    height, width : int
        Of the grid; token i sits in row i // width and column i % width.

    Returns
    -------
    (height * width, height * width) bool array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``height`` or ``width`` is not a positive integer.

    Source: Ho et al. 2019 (arXiv 1912.12180), both axes at once.

    Examples
    --------
    >>> axial(2, 2).astype(int)
    array([[1, 1, 1, 0],
           [1, 1, 0, 1],
           [1, 0, 1, 1],
           [0, 1, 1, 1]])
    """
    height = _validate.count(height, "height", minimum=1)
    width = _validate.count(width, "width", minimum=1)
    row, column = np.divmod(np.arange(height * width), width)
    return np.asarray((row[:, None] == row) | (column[:, None] == column))


def strided(n: int, stride: int, *, causal: bool = False) -> Mask:
    """Let each token see the ``stride`` tokens next to it, and every stride-th token.

    Parameters
    ----------
    n : int
        Tokens.
    stride : int
        Token i sees j if \\|i - j\\| <= stride, or if stride divides i - j.
    causal : bool
        Look back only, as in the source.

    Returns
    -------
    (n, n) bool array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` or ``stride`` is not a positive integer, or ``causal`` not a bool.

    Source: Child et al. 2019 (arXiv 1904.10509), the union of both heads.

    Examples
    --------
    >>> strided(7, 3, causal=True)[-1].astype(int)
    array([1, 0, 0, 1, 1, 1, 1])
    """
    back = _steps_back(n)
    stride = _validate.count(stride, "stride", minimum=1)
    near = (np.abs(back) <= stride) | (back % stride == 0)
    return np.asarray(near & _allowed(back, causal))


def padding(keep: ArrayLike, *, causal: bool = False) -> Mask:
    """Let nobody attend to padding, each sequence with its own.

    Parameters
    ----------
    keep : (..., n) booleans
        False for padding; some token of every sequence is kept.
    causal : bool
        Look back only.

    Returns
    -------
    (..., n, n) bool array
        Tokens of padding see themselves as well, so that no row is empty.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        If ``keep`` is not boolean or has no axis, a sequence keeps no token, or ``causal`` is not a bool.

    Source: standard (batches of sequences of different lengths).

    Examples
    --------
    >>> padding([[True, True, False]]).astype(int)
    array([[[1, 1, 0],
            [1, 1, 0],
            [1, 1, 1]]])
    """
    kept = np.asarray(keep)
    if kept.dtype != np.bool_ or kept.ndim == 0:
        raise _validate.refusal(
            InvalidTypeError,
            "keep",
            f"shape {kept.shape}, dtype {kept.dtype}",
            "booleans (..., n), False for padding",
            "From lengths: np.arange(n) < lengths[:, None].",
        )
    if not kept.any(axis=-1).all():
        raise _validate.refusal(
            InvalidValueError, "keep", "a sequence of padding alone", "some token kept", "Drop that sequence."
        )
    n = kept.shape[-1]
    return np.asarray((kept[..., None, :] & _allowed(_steps_back(n), causal)) | np.eye(n, dtype=np.bool_))


def sparse(n: int, degree: int, *, size: int | tuple[int, ...] = (), rng: Any = None) -> Mask:
    """Let each token see itself and ``degree`` - 1 others, drawn at random.

    Parameters
    ----------
    n : int
        Tokens.
    degree : int
        True entries in each row, at most ``n``; every set of others is equally likely.
    size : int or tuple
        Batch shape.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (*size, n, n) bool array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n``, ``degree`` or ``size`` is not a positive integer, or ``degree`` exceeds ``n``.

    Source: standard (random regular out-degree).

    Examples
    --------
    >>> mask = sparse(5, 3, rng=0)
    >>> mask.sum(axis=1), mask.diagonal().all()
    (array([3, 3, 3, 3, 3]), np.True_)
    """
    n = _validate.count(n, "n", minimum=1)
    degree = _validate.count(degree, "degree", minimum=1)
    if degree > n:
        raise _validate.refusal(
            InvalidValueError, "degree", degree, f"at most n = {n}", "A row has n entries; choose fewer."
        )
    shape = (*_validate.size(size), n, n)
    draws = np.asarray(_validate.generator(rng).random(shape))
    # draws lie in [0, 1): the token itself comes first
    draws[..., np.arange(n), np.arange(n)] = -1.0
    chosen = np.argsort(draws, axis=-1)[..., :degree]
    mask = np.zeros(shape, dtype=np.bool_)
    np.put_along_axis(mask, chosen, True, axis=-1)
    return mask


@in_callers_library
def closed_groups(mask: Array) -> Array:
    """Count the groups of tokens that see each other and nobody outside.

    Parameters
    ----------
    mask : (..., n, n) bool array
        True where a token may attend; no row is empty.

    Returns
    -------
    (...) int64 array (NumPy without a batch: a scalar)
        At least 1, in the library and on the device of ``mask``.

    Raises
    ------
    InvalidTypeError, ShapeError, InvalidValueError
        If ``mask`` is not boolean or not square, or a row is empty.

    Notes
    -----
    For every A with entries > 0 exactly where ``mask`` is True, the count is the
    multiplicity of the eigenvalue 1 (Perron and Frobenius, block by block of the
    Frobenius normal form).  So pure attention, X -> A X, can bring all tokens together
    from every start **only if the count is 1**: each closed group keeps an average of
    its own.  If every token sees itself, as under all masks of this module, no other
    eigenvalue has modulus 1, and a count of 1 is sufficient too; without, a ring of tokens
    that each see only the next one has one group and never settles.  A count of 1 says that some token
    is heard by every token, directly or through others: the graph is quasi-strongly
    connected, the condition of Wu et al. 2024 (arXiv 2405.18781).

    Examples
    --------
    >>> import numpy as np
    >>> closed_groups(np.stack([causal(3), local(3, 0)]))
    array([1, 3])
    """
    mask = _validate.mask(mask)
    xp = namespace(mask)
    n = mask.shape[-1]
    eye = xp.eye(n, dtype=xp.float32, device=array_api_compat.device(mask))
    reach = xp.where(mask, xp.ones_like(eye), eye)
    # after k squarings: walks of up to 2**k steps
    for _ in range(max(n - 1, 1).bit_length()):
        reach = xp.astype(reach @ reach > 0, xp.float32)
    there = reach > 0
    back = xp.matrix_transpose(there)
    closed = xp.all(~there | back, axis=-1)
    members = xp.sum(xp.astype(there & back, xp.float64), axis=-1)
    groups = xp.sum(xp.where(closed, 1 / members, xp.zeros_like(members)), axis=-1)
    return xp.astype(xp.round(groups), xp.int64)


def _steps_back(n: int) -> NDArray[np.int64]:
    """How far token j lies before token i, (n, n)."""
    position = np.arange(_validate.count(n, "n", minimum=1))
    return np.asarray(position[:, None] - position)


def _allowed(back: NDArray[np.int64], causal: bool) -> Mask:
    if not isinstance(causal, bool | np.bool_):
        raise _validate.refusal(
            InvalidTypeError, "causal", repr(causal), "True or False", "Pass a truth value."
        )
    return np.asarray(back >= 0) if causal else np.ones(back.shape, dtype=np.bool_)
