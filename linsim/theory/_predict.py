"""The one entrance to the theory: which law fits the rule, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from .._callers import in_callers_library
from .._namespace import to_host
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..rules import Layered, Linear, MultiHead
from .cycle import Heads, simplest
from .cycle_verdicts import cycle_verdicts, repeated
from .dominance import dominance
from .prediction import Prediction
from .spectra import attention_eigensystem, weight_eigensystem
from .verdicts import verdicts

__all__ = ["predict"]


@in_callers_library
@on_one_thread
def predict(rule: Any, H: Any = None, *, x0: Any = None) -> Prediction:
    """Predict the limit behaviour of linear layers from their spectra alone.

    Parameters
    ----------
    rule : Linear, MultiHead, Layered, or array (..., n, n)
        The layer, or its attention A with ``H`` given.  The k layers of a
        Layered are read as one cycle, repeated for ever.
    H : array, shape (..., d, d), optional
        Weights, when ``rule`` is an array.
    x0 : array, shape (..., n, d), optional
        Judge this input; by default a generic one, which misses no mode (of
        Linear: no coefficient c_ij = u_i^T x0 w_j vanishes).

    Returns
    -------
    Prediction
        Margin, rates and relaxations are per layer: of a cycle, the factor of
        all its layers to the power 1/k.  Heads that share A or H, and layers
        that are equal, are summed up first: what remains a Linear is judged
        as one.  Otherwise a dominant mode is an eigenvalue of the layer or
        cycle, ``value``, with lambda and mu nan; a constant mode of a single
        layer has lambda = 1 and mu = value - 1.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If matrices are refused as by :class:`linsim.Linear`, or x0 does not fit.
    NotCoveredError
        For MultiHead and Layered: where x0 lies in an invariant subspace, so
        that other modes decide than a generic input's; where a leading
        eigenvalue is shared by constant and other modes that are coupled; and
        where there are more than 400 modes, of which only some are computed,
        if the leading ones have equal moduli.  Simulate these.

    Notes
    -----
    Input convergence, angle convergence and rank collapse are the notions of
    arXiv 2401.04301; the boundary -2/(1+a), complex spectra, ties and rates
    are derived here.  A symmetric or reversible A has a real spectrum and is
    decomposed as such.

    Several heads, derived here: A_h 1 = 1 makes the constant states 1 c^T
    invariant, with the d eigenvalues of I + sum_h H_h (of a cycle, of the
    product over its layers); with Q an orthonormal basis of the complement of
    1, the other (n - 1) d eigenvalues are those of
    Y -> Y + sum_h Q^T A_h Q Y H_h.  The regime compares the largest moduli of
    the two parts.  The limit is a combination of the dominant eigenmatrices
    M_k, so its rank is the generic rank of their real span (singular values
    above 1e-10 of the largest count).  sigma_2/sigma_1 closes with the
    largest |rho_p rho_q| / |rho_1|^2 for which M_p and M_q make a 2x2 minor:
    minors of a sum of modes are sums over pairs, and for generic coefficients
    no two terms cancel.  Where other than constant modes lead, the margin is
    that of a generic input even if x0 is given.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> law = linsim.predict(linsim.attention.uniform(4), np.diag([1.0, 0.5]))
    >>> law.regime, law.limit_rank, law.rates["token_diversity"]
    ('smoothing', 1, 0.25)
    >>> heads = linsim.MultiHead([np.eye(2), linsim.attention.uniform(2)], [[[0.5]], [[1.0]]])
    >>> law = linsim.predict(heads)
    >>> law.regime, law.dominant[0].value, law.rates["token_diversity"]
    ('smoothing', 2.5, 0.36)
    """
    if H is not None and isinstance(rule, Linear | MultiHead | Layered):
        raise _validate.refusal(
            InvalidTypeError,
            "H",
            f"{type(H).__name__} beside a {type(rule).__name__}",
            "nothing: the rule holds its weights",
            "An input goes by keyword, x0=...",
        )
    if H is not None:
        rule = Linear(rule, H)
    if not isinstance(rule, Linear | MultiHead | Layered):
        raise _validate.refusal(
            InvalidTypeError,
            "rule",
            type(rule).__name__,
            "Linear, MultiHead or Layered, or A and H",
            "Call predict(A, H).",
        )
    batch, X = rule.batch_shape, None
    if x0 is not None:
        X = _tokens(x0, rule)
        batch = _validate.broadcast_batches(rule=batch, x0=X.shape[:-2])
        X = _flat(X, batch, 2)
    layers = simplest([_heads(layer) for layer in (rule.rules if isinstance(rule, Layered) else [rule])])
    layers = tuple((_flat(A, batch, 3), _flat(W, batch, 3)) for A, W in layers)
    A, W = (M[:, 0] for M in layers[0])
    if len(layers) == 1 and layers[0][0].shape[1] == 1:
        attention, weights = attention_eigensystem(A), weight_eigensystem(W)
        law = verdicts(A, W, X, attention, weights, dominance(attention, weights, X), batch)
    else:
        law = cycle_verdicts(layers, X, batch)
    return repeated(law, len(layers), batch) if isinstance(rule, Layered) else law


def _heads(rule: Linear | MultiHead) -> Heads:
    """Attentions (..., h, n, n) and weights (..., h, d, d) of one layer, on the host in float64."""
    A, H = to_host(rule.A), to_host(rule.H).astype(np.float64)
    if A.dtype != np.float64:
        # its rows sum to 1 in its own precision only
        A = A.astype(np.float64)
        A = A / np.sum(A, axis=-1, keepdims=True)
    return (A, H) if isinstance(rule, MultiHead) else (A[..., None, :, :], H[..., None, :, :])


def _tokens(x0: Any, rule: Linear | MultiHead | Layered) -> Any:
    """Return x0 on the host in float64, refused if it does not fit the rule."""
    X = to_host(_validate.array(x0, "x0", ndim=2, shape="(..., n, d)")).astype(np.float64)
    if X.shape[-2:] != (rule.n, rule.d):
        raise _validate.refusal(
            ShapeError, "x0", f"shape {X.shape}", f"shape (..., {rule.n}, {rule.d})", "Rows are tokens."
        )
    if not np.all(np.any(X != 0, axis=(-1, -2))):
        raise _validate.refusal(
            InvalidValueError, "x0", "an all-zero system", "tokens that are not all zero", "Drop that system."
        )
    return X


def _flat(M: Any, batch: tuple[int, ...], core: int) -> Any:
    """Reshape (..., core axes) to (b, core axes); b is 1 where one serves the whole batch."""
    lead, tail = M.shape[:-core], M.shape[-core:]
    one = int(np.prod(lead, dtype=int)) == 1
    return M.reshape(1, *tail) if one else np.broadcast_to(M, (*batch, *tail)).reshape(-1, *tail)
