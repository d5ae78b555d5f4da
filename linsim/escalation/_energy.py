"""Expected energies E||Pi X_l||^2 and E||Pi_perp X_l||^2 under fresh random weights, exact at any depth.

E X_l X_l^T =: K obeys K <- K + s^2 P K P^T, because E W = 0 and E W W^T = s^2 I given the layers before.
X = 1 c + Z with c = pi^T X, pi^T P = pi^T, splits K into three parts that are closed, and each is carried
with its own exponent, so that the diverse part never drowns in the constant one:

    E|c|^2 <- (1 + s^2) E|c|^2,   E[Z c^T] <- (I + s^2 P) E[Z c^T],   E[Z Z^T] <- E[ZZ^T] + s^2 P E[ZZ^T] P^T.

Then n ||mean||^2 = n E|c|^2 + 2 1^T E[Z c^T] + 1^T E[ZZ^T] 1 / n: the last two are what Pi P Pi_perp feeds
into the constant part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _spectra, _validate
from .._ask import recorded_layers
from .._blas import on_one_thread
from .._eigen import doubly_stochastic, perron_vector
from .._namespace import exponent_of, to_host
from .._types import FloatArray
from ..errors import InvalidValueError, NotCoveredError, ShapeError
from ._arguments import MOST
from ._attention import centred

__all__ = ["ExpectedEnergy", "expected_energy"]


_DEEPEST = 10**18
_LONGEST_LOOP = 10**6


@dataclass(frozen=True, eq=False)
class ExpectedEnergy:
    """What :func:`expected_energy` found, natural logarithms.

    Attributes
    ----------
    layers : (k,) int array
        Increasing; 0 is the input.
    log_low, log_high : (..., k) float64 arrays
        ln E||Pi X_l||^2 and ln E||Pi_perp X_l||^2; -inf where the energy is 0.
    """

    layers: np.ndarray[Any, Any]
    log_low: FloatArray
    log_high: FloatArray

    @property
    def log_diversity(self) -> FloatArray:
        """ln of the share of Pi_perp X in the expected energy, (..., k); accurate however small."""
        return self.log_high - np.logaddexp(self.log_low, self.log_high)

    @property
    def similarity(self) -> FloatArray:
        """Share of Pi X in the expected energy, (..., k)."""
        return np.exp(self.log_low - np.logaddexp(self.log_low, self.log_high))

    @property
    def rate(self) -> FloatArray:
        """Escalation rate of each layer as a ratio of expectations, (..., k-1); NaN from diversity 0.

        An error unless the layers are consecutive.
        """
        if len(self.layers) < 2 or np.any(np.diff(self.layers) != 1):
            raise _validate.refusal(
                InvalidValueError,
                "layers",
                f"{len(self.layers)} layers that are not consecutive"
                if len(self.layers) > 1
                else "one layer",
                "consecutive layers",
                "A rate is from one layer to the next: ask for both.",
            )
        with np.errstate(invalid="ignore"):  # -inf minus -inf, documented
            return -np.expm1(np.diff(self.log_diversity, axis=-1))


@on_one_thread
def expected_energy(P: Any, x0: Any, layers: Iterable[int] | int, *, std: Any = 1.0) -> ExpectedEnergy:
    """Return the expected energies of X + P X W with fresh W: exact for every attention, at any depth.

    Parameters
    ----------
    P : (..., n, n) array
        Attention: entries >= 0, rows summing to 1.
    x0 : (..., n, d) array
        Input tokens, not all zero in any system; batch axes broadcast with ``P``'s.
    layers : int or iterable of int
        Layers wanted, 0 is the input; ``range(depth + 1)`` for all.  Any depth up to 1e18 for symmetric
        P, which needs no loop; up to a million otherwise.
    std : float or array that broadcasts with the batch
        s in [0, 1e15], E W = 0 and E W W^T = s^2 I; nothing else about W matters.

    Returns
    -------
    ExpectedEnergy
        NumPy arrays (computed on the host): ``log_low`` and ``log_high`` (..., k), and from them
        ``similarity``, ``log_diversity`` and ``rate``.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is out of range or not finite, or shapes do not fit.
    NotCoveredError
        If masks cut the tokens of a non-symmetric P into several groups that never look out (the split
        that keeps the digits has no unique direction then).

    Notes
    -----
    Derived here.  With Pi P = Pi the constant part is E||Pi X_l||^2 = (1+s^2)^l ||Pi X_0||^2; for
    symmetric P also E||Pi_perp X_l||^2 = sum over i >= 2 of (1 + s^2 lambda_i^2)^l ||v_i^T X_0||^2.
    Otherwise K = E X X^T is iterated in three parts: K <- K + s^2 P K P^T.  Proved as
    ``escalation.expectation`` in proofs_check.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> x0 = np.eye(64)  # similarity 1/64; the odds of expectations double per layer
    >>> found = expected_energy(linsim.attention.uniform(64), x0, [0, 6, 12, 10**9])
    >>> found.similarity.round(3)
    array([0.016, 0.504, 0.985, 1.   ])
    >>> float(found.log_diversity[-1] / -np.log(2)).__round__()
    999999994
    """
    P = _validate.attention_matrix(P, "P")
    x0 = _validate.array(x0, "x0", ndim=2, shape="(..., n, d)")
    n, d = int(P.shape[-1]), int(x0.shape[-1])
    if x0.shape[-2] != n:
        raise _validate.refusal(
            ShapeError, "x0", f"shape {tuple(x0.shape)}", f"shape (..., {n}, d) to fit P", "Rows are tokens."
        )
    wanted = recorded_layers([layers] if layers is None or isinstance(layers, int) else layers, _DEEPEST)
    batch = _validate.broadcast_batches(P=tuple(P.shape[:-2]), x0=tuple(x0.shape[:-2]))
    strength, batch = _spectra.parameter(std, "std", batch, low=0.0, high=MOST)
    p = np.broadcast_to(np.asarray(to_host(P), dtype=np.float64), (*batch, n, n)).reshape(-1, n, n)
    x = np.broadcast_to(np.asarray(to_host(x0), dtype=np.float64), (*batch, n, d)).reshape(-1, n, d)
    square = np.broadcast_to(strength**2, batch).reshape(-1)
    top = exponent_of(np.max(np.abs(x), axis=(-1, -2)))
    if np.any(top == -np.inf):
        raise _validate.refusal(
            InvalidValueError, "x0", "an all-zero system", "tokens that are not all zero", "Drop that system."
        )
    half = np.floor(-top / 2)  # in two steps: 2**-top alone could overflow
    x = np.ldexp(np.ldexp(x, half.astype(int)[:, None, None]), (-top - half).astype(int)[:, None, None])

    eps = float(np.finfo(np.float32 if "float32" in str(P.dtype) else np.float64).eps)
    symmetric = np.all(np.abs(p - np.swapaxes(p, -1, -2)) <= 4 * eps, axis=(-1, -2))
    low, high = np.empty((len(p), len(wanted))), np.empty((len(p), len(wanted)))
    if np.any(symmetric):
        low[symmetric], high[symmetric] = _modal(p[symmetric], x[symmetric], wanted, square[symmetric])
    if np.any(~symmetric):
        others = ~symmetric
        low[others], high[others] = _iterated(p[others], x[others], wanted, square[others], eps)
    scale = 2 * np.log(2.0) * top[:, None]
    shape = (*batch, len(wanted))
    return ExpectedEnergy(wanted, (low + scale).reshape(shape), (high + scale).reshape(shape))


def _log(x: FloatArray) -> FloatArray:
    """ln x, -inf where x <= 0 (a rounding below 0 is 0)."""
    positive = x > 0
    return np.where(positive, np.log(np.where(positive, x, 1.0)), -np.inf)


def _parts(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ||Pi X||^2 and Pi_perp X."""
    mean = np.mean(x, axis=-2, keepdims=True)
    return x.shape[-2] * np.sum(mean * mean, axis=(-1, -2)), x - mean


def _modal(
    P: FloatArray, x: FloatArray, layers: np.ndarray[Any, Any], square: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Logarithms of both energies for symmetric P, (b, k): one geometric growth a mode."""
    constant, Z = _parts(x)
    M = centred(P)
    values, vectors = np.linalg.eigh((M + np.swapaxes(M, -1, -2)) / 2)
    weight = np.sum((np.swapaxes(vectors, -1, -2) @ Z) ** 2, axis=-1)
    total = np.sum(weight, axis=-1, keepdims=True)
    # modes that X lacks carry rounding, which would outgrow the rest at great depth
    weight = np.where(weight > (64 * P.shape[-1] * np.finfo(float).eps) ** 2 * total, weight, 0.0)
    depth = layers.astype(np.float64)
    each = _log(weight)[:, None, :] + depth[:, None] * np.log1p(
        square[:, None, None] * values[:, None, :] ** 2
    )
    return _log(constant)[:, None] + depth * np.log1p(square)[:, None], np.logaddexp.reduce(each, axis=-1)


def _iterated(
    P: FloatArray, x: FloatArray, layers: np.ndarray[Any, Any], square: FloatArray, eps: float
) -> tuple[FloatArray, FloatArray]:
    """Logarithms of both energies for any P with one stationary vector, (b, k)."""
    pi, unique = perron_vector(P, eps)
    if np.any(~unique & ~doubly_stochastic(P, eps)):
        raise _validate.refusal(
            NotCoveredError,
            "P",
            "masks that cut the tokens into groups that never look out",
            "one group that all tokens reach, or symmetric P",
            "Take the groups one by one.",
        )
    if layers[-1] > _LONGEST_LOOP:
        raise _validate.refusal(
            InvalidValueError,
            "layers",
            int(layers[-1]),
            f"at most {_LONGEST_LOOP} for a P that is not symmetric",
            "The law is iterated layer by layer.",
        )
    n = P.shape[-1]
    c = pi[:, None, :] @ x
    Z = x - c
    Z = Z - pi[:, None, :] @ Z
    strength = square[:, None, None]
    cross, spread = Z @ np.swapaxes(c, -1, -2), Z @ np.swapaxes(Z, -1, -2)
    e_cross, e_spread = np.zeros(len(P)), np.zeros(len(P))
    log_c = _log(np.sum(c * c, axis=(-1, -2)))
    low, high = [], []
    recorded = set(layers.tolist())
    for layer in range(int(layers[-1]) + 1):
        if layer > 0:
            # what rounding leaves of 1 in it grows like E|c|^2 and is no larger than the rounding of c
            cross, e_cross = _scaled(cross + strength * (P @ cross), e_cross)
            moved = P @ spread @ np.swapaxes(P, -1, -2)
            spread = _without(pi, spread + strength * moved)
            spread = _without(pi, np.swapaxes(spread, -1, -2))
            spread, e_spread = _scaled(spread, e_spread)
        if layer not in recorded:
            continue
        if layer == 0:  # pi is not uniform: the parts may cancel in what the input has
            constant, diverse = _parts(x)
            low.append(_log(constant))
            high.append(_log(np.sum(diverse * diverse, axis=(-1, -2))))
            continue
        columns = np.sum(spread, axis=-2)
        diverse = np.trace(spread, axis1=-2, axis2=-1) - np.sum(columns, axis=-1) / n
        pieces = np.stack([2 * np.sum(cross, axis=(-1, -2)), np.sum(columns, axis=-1) / n])
        logs = np.log(2.0) * np.stack([e_cross, e_spread])
        whole = np.log(n) + log_c + layer * np.log1p(square)
        top = np.maximum(whole, np.max(logs, axis=0))
        low.append(top + _log(np.exp(whole - top) + np.sum(pieces * np.exp(logs - top), axis=0)))
        high.append(np.log(2.0) * e_spread + _log(diverse))
    return np.stack(low, axis=-1), np.stack(high, axis=-1)


def _without(pi: FloatArray, M: FloatArray) -> FloatArray:
    """Take out of every column of M the multiple of 1 that pi sees."""
    return M - pi[:, None, :] @ M


def _scaled(M: FloatArray, exponent: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return M with its largest entry in [1, 2), and the exponents of 2 taken out."""
    e = exponent_of(np.max(np.abs(M), axis=(-1, -2)))
    e = np.where(e == -np.inf, 0.0, e)
    return np.ldexp(M, -e.astype(int)[:, None, None]), exponent + e
