"""The one entrance to the theory: which law fits the rule, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from .._namespace import to_host
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError
from ..rules import Layered, Linear, MultiHead
from .dominance import dominance
from .prediction import Prediction
from .spectra import attention_eigensystem, weight_eigensystem
from .verdicts import verdicts

__all__ = ["predict"]


@on_one_thread
def predict(rule: Any, H: Any = None, *, x0: Any = None) -> Prediction:
    """Predict the limit behaviour of linear layers from their spectra alone.

    Parameters
    ----------
    rule : Linear, or array (..., n, n)
        The layer, or its attention A with ``H`` given.
    H : array, shape (..., d, d), optional
        Weights, when ``rule`` is an array.
    x0 : array, shape (..., n, d), optional
        Judge this input; by default a generic one, where no coefficient
        c_ij = u_i^T x0 w_j vanishes.

    Returns
    -------
    Prediction

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If matrices are refused as by :class:`linsim.Linear`, or x0 does not fit.
    NotCoveredError
        For MultiHead and Layered: no law is implemented; simulate them.

    Notes
    -----
    Input convergence, angle convergence and rank collapse are the notions of
    arXiv 2401.04301; the boundary -2/(1+a), complex spectra, ties and rates
    are derived here.  A symmetric or reversible A has a real spectrum and is
    decomposed as such.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> law = linsim.predict(linsim.attention.uniform(4), np.diag([1.0, 0.5]))
    >>> law.regime, law.limit_rank, law.rates["token_diversity"]
    ('smoothing', 1, 0.25)
    """
    if H is not None:
        rule = Linear(rule, H)
    if isinstance(rule, MultiHead | Layered):
        raise NotCoveredError(
            f"rule: found {type(rule).__name__}; expected Linear. "
            "No law is implemented for it; use linsim.simulate to measure."
        )
    if not isinstance(rule, Linear):
        raise _validate.refusal(
            InvalidTypeError, "rule", type(rule).__name__, "Linear, or A and H", "Call predict(A, H)."
        )
    batch = rule.batch_shape
    A, W = to_host(rule.A), to_host(rule.H).astype(np.float64)
    if A.dtype != np.float64:
        # its rows sum to 1 in its own precision only
        A = A.astype(np.float64)
        A = A / np.sum(A, axis=-1, keepdims=True)
    X = None
    if x0 is not None:
        X = to_host(_validate.array(x0, "x0", ndim=2, shape="(..., n, d)")).astype(np.float64)
        if X.shape[-2:] != (rule.n, rule.d):
            raise _validate.refusal(
                ShapeError, "x0", f"shape {X.shape}", f"shape (..., {rule.n}, {rule.d})", "Rows are tokens."
            )
        if not np.all(np.any(X != 0, axis=(-1, -2))):
            raise _validate.refusal(
                InvalidValueError,
                "x0",
                "an all-zero system",
                "tokens that are not all zero",
                "Drop that system.",
            )
        batch = _validate.broadcast_batches(rule=batch, x0=X.shape[:-2])

    def flat(M: Any) -> Any:
        lead, tail = M.shape[:-2], M.shape[-2:]
        one = int(np.prod(lead, dtype=int)) == 1
        return M.reshape(1, *tail) if one else np.broadcast_to(M, (*batch, *tail)).reshape(-1, *tail)

    A, W = flat(A), flat(W)
    attention, weights = attention_eigensystem(A), weight_eigensystem(W)
    x = None if X is None else flat(X)
    return verdicts(A, W, x, attention, weights, dominance(attention, weights, x), batch)
