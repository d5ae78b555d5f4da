"""The one entrance to the theory: which law fits the rule, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from .._callers import in_callers_library
from .._eigen import SPACINGS, attention_eigensystem, meant, spacing, weight_eigensystem
from .._namespace import to_host
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..rules import Layered, Linear, MultiHead
from .cycle import Heads, simplest
from .cycle_verdicts import cycle_verdicts, repeated
from .dominance import Precision, dominance
from .prediction import Prediction
from .verdicts import verdicts, with_caution

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
        Moduli tie, and coefficients, entries and singular values count as
        zero, within what rounding to the dtype of A, H and x0 may do to them:
        pass float32 arrays as float32.  Where the entries of float64 arrays
        look like rounded ones, an assumption says whether a verdict rests on
        digits that these lack.
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
    decomposed as such.  Proved as ``dominance.global``, ``dominance.disk_complex``,
    ``limit.rank_one``, ``limit.angle``, ``rates.token_diversity``, ``rates.rank_gap`` and
    ``rates.cosine_gap`` in proofs_check.

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
    rules: Any = rule.rules if isinstance(rule, Layered) else [rule]
    given = _precision(rules, x0)
    layers = simplest([_heads(layer) for layer in rules])
    layers = tuple((_flat(A, batch, 3), _flat(W, batch, 3)) for A, W in layers)
    law = _judged(layers, X, batch, given)
    seeming = _seeming(layers, X, given)
    if seeming != given:
        law = with_caution(law, _judged(layers, X, batch, seeming), seeming)
    return repeated(law, len(layers), batch) if isinstance(rule, Layered) else law


def _judged(layers: tuple[Heads, ...], X: Any, batch: tuple[int, ...], precision: Precision) -> Prediction:
    """The law of layers that are known to a precision."""
    if len(layers) > 1 or layers[0][0].shape[1] > 1:
        return cycle_verdicts(layers, X, batch, precision)
    A, W = (M[:, 0] for M in layers[0])
    attention = attention_eigensystem(A, precision.attention)
    weights = weight_eigensystem(W, precision.weights)
    law = dominance(attention, weights, X, precision)
    return verdicts(A, W, X, attention, weights, law, batch, precision)


def _precision(rules: Any, x0: Any) -> Precision:
    """The relative spacing of the dtypes that a rule and x0 were given in."""
    A, H = (max(spacing(getattr(rule, name)) for rule in rules) for name in ("A", "H"))
    return Precision(A, H, spacing(x0))


def _seeming(layers: tuple[Heads, ...], X: Any, given: Precision) -> Precision:
    """``given``, or coarser where every entry fits into a shorter dtype, and some use most of its digits.

    Rows of attention were divided by their sums, which hides what they were.
    """
    weights = [W for _, W in layers]
    tokens = [] if X is None else [X]
    return Precision(given.attention, _digits(weights, given.weights), _digits(tokens, given.tokens))


def _digits(stacks: list[Any], given: float) -> float:
    """The spacing of the shortest dtype that holds all entries, if they look rounded to it."""
    for name, bits in (("float16", 11), ("float32", 24)):
        if SPACINGS[name] <= given or not stacks:
            continue
        # short dyadic numbers (halves, integers) are written exactly, in any dtype
        if all(_fits(M, bits) for M in stacks) and not all(_fits(M, bits // 2 + 1) for M in stacks):
            return SPACINGS[name]
    return given


def _fits(M: Any, bits: int) -> bool:
    """Whether all significands have at most some bits."""
    scaled = np.ldexp(np.frexp(M)[0], bits)
    return bool(np.all(scaled == np.rint(scaled)))


def _heads(rule: Linear | MultiHead) -> Heads:
    """Attentions (..., h, n, n) and weights (..., h, d, d) of one layer, on the host in float64."""
    A, H = to_host(rule.A), to_host(rule.H).astype(np.float64)
    if A.dtype != np.float64:
        # its rows (and columns, where they are meant to) sum to 1 in its own precision only
        stack = A.astype(np.float64).reshape(-1, *A.shape[-2:])
        A = meant(stack, spacing(A)).reshape(A.shape)
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
