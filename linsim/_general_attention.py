"""Attention beyond the simplex: any real square matrix, declared as such, and the published variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _validate
from ._callers import in_callers_library
from ._namespace import Array, namespace, on_device_of
from .errors import InvalidValueError, ShapeError

__all__ = [
    "General",
    "attnscale",
    "centred",
    "differential",
    "gcn",
    "general",
    "laplacian",
    "shaped",
    "sigmoid",
    "taken",
]


@dataclass(frozen=True, eq=False)
class General:
    """A matrix that mixes tokens and is not meant to be stochastic; made by :func:`general`.

    Attributes
    ----------
    matrix : array (..., n, n)
        As checked: finite real numbers, in the library it was given in.
    """

    matrix: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., n, n)."""
        return tuple(self.matrix.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.matrix, dtype=dtype) if copy else np.asarray(self.matrix, dtype=dtype)


def general(A: Array) -> General:
    """Declare a real square matrix as attention, whatever its entries and row sums are.

    Rules then take it where they take a stochastic matrix: ``Linear(general(A), H)``.

    Parameters
    ----------
    A : array (..., n, n)
        Finite real numbers, float64 or float32.

    Returns
    -------
    General
        Rows (and columns) that sum to one number s within rounding are taken to do so exactly:
        then A 1 = s 1, and gaps from the constant state keep their digits.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``A`` is no finite real square matrix.

    Source: derived here; builders of this module name the papers.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> swap = linsim.attention.general([[0.0, -1.0], [-1.0, 0.0]])
    >>> run = linsim.simulate(linsim.Linear(swap, [[0.5]]), [[1.0], [2.0]], 1, metrics="log_norm")
    >>> np.exp(run.metrics["log_norm"]).round(6)  # (1, 2) to (1 - 2/2, 2 - 1/2)
    array([2.236068, 1.5     ])
    """
    if isinstance(A, General):
        return A
    checked = _validate.square(A, "A")
    return General(_validate.kept(A, namespace(checked).asarray(checked, copy=True)))


def taken(A: Any, argument: str = "A", **shape: Any) -> tuple[Any, Array, bool]:
    """Return attention as it was given, as checked, and whether it was declared general."""
    if isinstance(A, General):
        return A.matrix, _validate.square(A.matrix, argument, **shape), True
    return A, _validate.attention_matrix(A, argument, declarable=True, **shape), False


@in_callers_library
def centred(A: Array) -> General:
    """Attention without its mean over tokens: A - 11^T/n; rows sum to 0.

    Parameters
    ----------
    A : array (..., n, n)
        Stochastic attention.

    Returns
    -------
    General
        The constant direction has eigenvalue 0: the layer leaves equal tokens as they are.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        As for attention of :class:`linsim.Linear`.

    Source: Ali, Galanti, Wolf 2023 (arXiv 2306.01610), centred self-attention.

    Examples
    --------
    >>> centred([[0.75, 0.25], [0.25, 0.75]]).matrix
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    A = _validate.attention_matrix(A)
    return General(A - 1 / A.shape[-1])


@in_callers_library
def laplacian(A: Array) -> General:
    """I - A, the random-walk Laplacian of attention; rows sum to 0.

    Parameters
    ----------
    A : array (..., n, n)
        Stochastic attention.

    Returns
    -------
    General

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        As for attention of :class:`linsim.Linear`.

    Source: graph Laplacian of attention, as in arXiv 2303.06562 (contranorm) and the Laplacian heads of
    later work.

    Examples
    --------
    >>> laplacian([[0.75, 0.25], [0.25, 0.75]]).matrix
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    A = _validate.attention_matrix(A)
    return General(_identity(A) - A)


@in_callers_library
def shaped(
    A: Array, *, alpha: float = 1.0, beta: float = 1.0, gamma: float = 1.0, at_zero: Any = None
) -> General:
    """Shaped attention alpha I + beta A - gamma P, P what attention is where all scores are 0.

    Parameters
    ----------
    A : array (..., n, n)
        Stochastic attention.
    alpha, beta, gamma : float, keyword-only
        Dimensionless; rows sum to alpha + beta - gamma.
    at_zero : array (..., n, n), optional, keyword-only
        P; None: 11^T/n.  With a mask it is the mask over its row sums.

    Returns
    -------
    General

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        As for attention of :class:`linsim.Linear`, or where a factor is no number.

    Source: Noci et al. 2023 (arXiv 2306.17759), He and Hofmann 2023 (arXiv 2311.01906).

    Examples
    --------
    >>> shaped([[0.75, 0.25], [0.25, 0.75]]).matrix
    array([[ 1.25, -0.25],
           [-0.25,  1.25]])
    """
    A = _validate.attention_matrix(A)
    factors = [_validate.number(x, name) for name, x in (("alpha", alpha), ("beta", beta), ("gamma", gamma))]
    return General(factors[0] * _identity(A) + factors[1] * A - factors[2] * _zero_scores(A, at_zero))


@in_callers_library
def attnscale(A: Array, w: Any, *, at_zero: Any = None) -> General:
    """AttnScale (1 + w) A - w P: the part of attention that is no mean, enlarged; rows sum to 1.

    Parameters
    ----------
    A : array (..., n, n)
        Stochastic attention.
    w : float
        Dimensionless, any sign.
    at_zero : array (..., n, n), optional, keyword-only
        P; None: 11^T/n.

    Returns
    -------
    General

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        As for attention of :class:`linsim.Linear`, or where w is no number.

    Source: Wang et al. 2022 (arXiv 2203.05962).

    Examples
    --------
    >>> attnscale([[0.75, 0.25], [0.25, 0.75]], 1.0).matrix
    array([[1., 0.],
           [0., 1.]])
    """
    A = _validate.attention_matrix(A)
    w = _validate.number(w, "w")
    return General((1 + w) * A - w * _zero_scores(A, at_zero))


@in_callers_library
def differential(A: Array, B: Array, factor: float) -> General:
    """Differential attention A - factor B; rows sum to 1 - factor.

    Parameters
    ----------
    A, B : array (..., n, n)
        Stochastic attention of the two groups of queries and keys; batch axes broadcast.
    factor : float
        lambda of the paper, dimensionless.

    Returns
    -------
    General

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        As for attention of :class:`linsim.Linear`, or where the two do not fit.

    Source: Ye et al. 2024 (arXiv 2410.05258).

    Examples
    --------
    >>> differential([[0.75, 0.25], [0.25, 0.75]], [[0.5, 0.5], [0.5, 0.5]], 0.5).matrix
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    A = _validate.attention_matrix(A)
    return General(A - _validate.number(factor, "factor") * _beside(B, A, "B"))


@in_callers_library
def sigmoid(scores: Array, *, bias: float | None = None) -> General:
    """Sigmoid attention: 1 / (1 + exp(-(scores + bias))), entry by entry; rows sum to anything.

    Parameters
    ----------
    scores : array (..., n, n)
        Scaled scores q k^T / sqrt(d_key).
    bias : float, optional, keyword-only
        None: -ln n, with which a row sums to about 1.

    Returns
    -------
    General
        Entries in (0, 1).

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If scores are no finite real square matrix.

    Source: Ramapuram et al. 2024 (arXiv 2409.04431).

    Examples
    --------
    >>> sigmoid([[0.0, 0.0], [0.0, 0.0]], bias=0.0).matrix
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    scores = _validate.square(scores, "scores")
    shift = -float(np.log(scores.shape[-1])) if bias is None else _validate.number(bias, "bias")
    xp = namespace(scores)
    # exp of minus the size alone: never beyond the range
    x = scores + shift
    small = xp.exp(-xp.abs(x))
    return General(xp.where(x >= 0, 1 / (1 + small), small / (1 + small)))


@in_callers_library
def gcn(adjacency: Array, *, self_loops: bool = True) -> General:
    """Normalised adjacency D^-1/2 (W + I) D^-1/2 of a graph network; D the row sums.

    Parameters
    ----------
    adjacency : array (..., n, n)
        W >= 0, symmetric where the graph is undirected.
    self_loops : bool, keyword-only
        Whether I is added.

    Returns
    -------
    General
        For a symmetric W symmetric, with eigenvalue 1 at the vector sqrt(D), which is the constant one
        only where all degrees are equal.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If W is no finite square matrix, has a negative entry, or a row without any.

    Source: Kipf and Welling 2017 (arXiv 1609.02907).

    Examples
    --------
    >>> gcn([[0.0, 1.0], [1.0, 0.0]]).matrix.round(3)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    W = _validate.square(adjacency, "adjacency")
    xp = namespace(W)
    if float(xp.min(W)) < 0:
        raise _validate.refusal(
            InvalidValueError,
            "adjacency",
            f"a negative entry ({float(xp.min(W)):.3g})",
            "entries >= 0",
            "Pass weights of edges; any other matrix goes by linsim.attention.general.",
        )
    if self_loops:
        W = W + _identity(W)
    degree = xp.sum(W, axis=-1)
    if not bool(xp.all(degree > 0)):
        raise _validate.refusal(
            InvalidValueError,
            "adjacency",
            "a node without edges",
            "a positive degree",
            "Use self_loops=True.",
        )
    root = xp.sqrt(degree)
    return General(W / (root[..., :, None] * root[..., None, :]))


def _identity(A: Array) -> Array:
    return on_device_of(np.eye(A.shape[-1]), A, A.dtype)


def _zero_scores(A: Array, at_zero: Any) -> Any:
    """P, or 1/n for every entry."""
    return 1 / A.shape[-1] if at_zero is None else _beside(at_zero, A, "at_zero")


def _beside(B: Any, A: Array, argument: str) -> Array:
    """Return another stochastic matrix, refused if it does not fit."""
    B = _validate.attention_matrix(B, argument)
    if B.shape[-1] != A.shape[-1]:
        raise _validate.refusal(
            ShapeError,
            argument,
            f"shape {tuple(B.shape)} with A {tuple(A.shape)}",
            f"shape (..., {A.shape[-1]}, {A.shape[-1]})",
            "Both need the same number of tokens.",
        )
    _validate.broadcast_batches(A=tuple(A.shape[:-2]), **{argument: tuple(B.shape[:-2])})
    return B
