"""The one entrance to the theory: which law fits the rule, and what it says."""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from .._callers import in_callers_library
from .._eigen import SPACINGS, attention_eigensystem, meant, spacing, weight_eigensystem
from .._general_eigen import intended, row_sums
from .._namespace import to_host
from .._rule import Rule
from ..block import Block
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..rules import Layered, Linear, MultiHead
from ._as_layers import as_layers
from ._cycle_map import Heads, simplest
from .affine import affine_verdicts, bias_is_mixed, driven_cycle
from .cycle import Effort
from .cycle_verdicts import cycle_verdicts, repeated
from .dominance import Precision, dominance
from .initialisation import at_initialisation
from .one_spectrum import OneSpectrum, of_attention, of_weights
from .prediction import Prediction
from .verdicts import verdicts, with_caution

__all__ = ["predict"]


class _Nothing:
    """An argument that was left out, where None says something."""

    def __repr__(self) -> str:
        return "left out"


_NOTHING = _Nothing()


@overload
def predict(
    rule: None, H: Any, *, x0: None = None, products: Any = None, progress: Any = True
) -> OneSpectrum: ...
@overload
def predict(
    rule: Any, H: None, *, x0: None = None, products: Any = None, progress: Any = True
) -> OneSpectrum: ...
@overload
def predict(
    rule: Any, H: Any = ..., *, x0: Any = None, products: int | None = None, progress: bool = True
) -> Prediction: ...
@in_callers_library
@on_one_thread
def predict(
    rule: Any, H: Any = _NOTHING, *, x0: Any = None, products: int | None = None, progress: bool = True
) -> Any:
    """Predict the limit behaviour of linear layers from their spectra alone.

    Parameters
    ----------
    rule : Linear, MultiHead, Layered, or array (..., n, n), or None
        The layer, or its attention A with ``H`` given.  The k layers of a
        Layered are read as one cycle, repeated for ever.  Of a Block, whose weights are drawn, the
        curve of its mean cosine is predicted (:class:`linsim.theory.BlockPrediction`).  None: attention is
        unknown, and ``H`` alone has to decide.
    H : array, shape (..., d, d), or :class:`linsim.weights.Factored`, or None, optional
        Weights, when ``rule`` is an array.  None: weights are unknown, and
        attention alone has to decide.
    x0 : array, shape (..., n, d), optional
        Judge this input; by default a generic one, which misses no mode (of
        Linear: no coefficient c_ij = u_i^T x0 w_j vanishes).
    products : int, optional
        Of several heads or a cycle with more than 5,000 unknowns n d: after how
        many products with the layer no further digits of the leading
        eigenvalues are looked for (twice as many with x0).  By default as many
        as take some ten seconds on two processors.  An assumption says how
        many were spent, and to how many digits the moduli are known.
    progress : bool
        Count these products on a bar, where standard error is a terminal.

    Returns
    -------
    Prediction, or OneSpectrum where ``rule`` or ``H`` is None
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
        For a bias beside attention whose rows sum to different numbers.
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

    With a scale, or attention that is not stochastic, the same holds where the rows of each A_h sum to one
    number s_h, with I + sum_h s_h H_h for constant states.  Where they do not there is no constant mode: the
    margin is -inf, and all n d modes are those of one block.

    Cost.  One head: an eigendecomposition each of A and H; of low rank r, found
    or given as :class:`linsim.weights.Factored`, that of an r x r matrix for H.
    Several heads or a cycle: of all n d modes up to 400, of the 10 leading ones
    up to 5,000 (ARPACK), seconds at most.  Beyond, of the leading four,
    from products with the layer, 2 n R (2 d + n) operations each for heads of ranks
    that add up to R: some ten seconds on two processors, and some
    hundred megabytes at n = 197, d = 768.  ARPACK looks for right and, where
    these have settled, for left vectors; moduli that it cannot settle
    in time come with their residual as the error.

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
    if products is not None:
        products = _validate.count(products, "products", minimum=1)
    if (rule is None or H is None) and not isinstance(rule, Rule):
        return _one_spectrum(rule, H, x0)
    if H is _NOTHING or H is None:
        H = None
    if H is not None and isinstance(rule, Rule):
        raise _validate.refusal(
            InvalidTypeError,
            "H",
            f"{type(H).__name__} beside a {type(rule).__name__}",
            "nothing: the rule holds its weights",
            "An input goes by keyword, x0=...",
        )
    if H is not None:
        rule = Linear(rule, H)
    if isinstance(rule, Block) and H is None:
        return at_initialisation(rule, x0)  # the one other law
    if not isinstance(rule, Rule):
        raise _validate.refusal(
            InvalidTypeError,
            "rule",
            type(rule).__name__,
            "Linear, MultiHead, Layered or another rule with heads(layer), or A and H",
            "Call predict(A, H), or predict(A, None) for what A alone decides.",
        )
    rule = as_layers(rule)
    batch, X = rule.batch_shape, None
    if x0 is not None:
        X = _tokens(x0, rule)
        batch = _validate.broadcast_batches(rule=batch, x0=X.shape[:-2])
        X = _flat(X, batch, 2)
    rules: Any = rule.rules if isinstance(rule, Layered) else [rule]
    given = _precision(rules, x0)
    stochastic = all(one.stochastic for one in rules)
    special = any(getattr(one, "bias", None) is not None for one in rules)
    if isinstance(rule, Linear) and (special or not stochastic):
        return _affine(rule, X, batch, given)
    layers = simplest([_heads(layer) for layer in rules])
    layers = tuple((_flat(A, batch, 3), _flat(W, batch, 3)) for A, W in layers)
    if special and not all(np.all(np.isfinite(_sums(A, given.attention))) for A, _ in layers):
        raise bias_is_mixed()
    factors = _factors(rules, batch) if len(layers) == 1 else None
    effort = Effort(products, bool(progress), X is not None, {})

    def judged(precision: Precision) -> Prediction:
        return _judged(layers, X, batch, precision, factors, effort, stochastic, special)

    law, seeming = judged(given), _seeming(layers, X, given)
    if seeming != given:
        law = with_caution(law, judged(seeming), seeming)
    if special:
        law = driven_cycle(law, len(layers), _driven(rules, batch))
    return repeated(law, len(layers), batch) if isinstance(rule, Layered) else law


def _sums(A: Any, eps: float) -> Any:
    """What the rows of each head sum to, NaN where they differ."""
    return row_sums(A.reshape(-1, *A.shape[-2:]), eps)


def _driven(rules: Any, batch: tuple[int, ...]) -> Any:
    """Whether each system has a bias in some layer that is not zero."""
    rows = [to_host(one.bias) for one in rules if getattr(one, "bias", None) is not None]
    return np.any([np.broadcast_to(np.any(row != 0, axis=-1), batch) for row in rows], axis=0)


def _affine(rule: Any, X: Any, batch: tuple[int, ...], precision: Precision) -> Prediction:
    """The law of one head with a bias, a scale, or attention that is not stochastic."""
    ((A, H),) = (tuple(to_host(M).astype(np.float64) for M in pair) for pair in rule.heads(0))
    row = None if rule.bias is None else to_host(rule.bias).astype(np.float64)
    A, H = (_flat(M, batch, 2) for M in (A, H))
    if rule.stochastic:
        A = meant(A, precision.attention)
    return affine_verdicts(
        A, H, None if row is None else _flat(row, batch, 1), X, batch, precision, rule.stochastic
    )


def _one_spectrum(A: Any, H: Any, x0: Any) -> Any:
    """What attention or weights alone decide."""
    if x0 is not None:
        raise _validate.refusal(
            InvalidValueError,
            "x0",
            "an input beside one spectrum",
            "A and H, of which it is judged by the modes of both",
            "Leave x0 out, or call predict(A, H, x0=x0).",
        )
    if A is None and (H is None or H is _NOTHING):
        raise _validate.refusal(
            InvalidTypeError, "rule", "NoneType, and no H", "a rule, A, or H", "Call predict(A, H)."
        )
    if A is None:
        rule = Linear([[1.0]], H)
        (_, W), eps = _heads(rule), spacing(rule.H)
        factors = _factors([rule], rule.batch_shape)
        W = W[..., 0, :, :]
        system = weight_eigensystem(W.reshape(-1, *W.shape[-2:]), eps, factors)
        return of_weights(system, rule.batch_shape, eps)
    rule = Linear(A, [[0.0]])
    (M, _), eps = _heads(rule), spacing(rule.A)
    M = M[..., 0, :, :]
    system = attention_eigensystem(M.reshape(-1, *M.shape[-2:]), eps)
    return of_attention(system, rule.batch_shape, eps)


def _judged(
    layers: tuple[Heads, ...],
    X: Any,
    batch: tuple[int, ...],
    precision: Precision,
    factors: tuple[Any, Any] | None,
    effort: Effort,
    stochastic: bool,
    special: bool,
) -> Prediction:
    """The law of layers that are known to a precision, without the bias that ``special`` ones have."""
    if len(layers) > 1 or layers[0][0].shape[1] > 1 or (special and not stochastic):
        return cycle_verdicts(layers, X, batch, precision, effort, stochastic)
    A, W = (M[:, 0] for M in layers[0])
    if not stochastic:
        return affine_verdicts(A, W, None, X, batch, precision, stochastic)
    attention = attention_eigensystem(A, precision.attention)
    weights = weight_eigensystem(W, precision.weights, factors)
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
    if not rule.stochastic:  # the scale is within A
        pairs = rule.heads(0)
        A, H = (
            np.stack(np.broadcast_arrays(*(to_host(pair[k]).astype(np.float64) for pair in pairs)), axis=-3)
            for k in (0, 1)
        )
        stack = intended(A.reshape(-1, *A.shape[-2:]), spacing(rule.A))
        return stack.reshape(A.shape), H
    A, H = to_host(rule.A), to_host(rule.H).astype(np.float64)
    if rule.factors is not None:  # single precision holds the factors, and not their product
        V, O = (to_host(M).astype(np.float64) for M in (rule.factors.W_V, rule.factors.W_O))  # noqa: E741
        H = V @ O
    if A.dtype != np.float64:
        # its rows (and columns, where they are meant to) sum to 1 in its own precision only
        stack = A.astype(np.float64).reshape(-1, *A.shape[-2:])
        A = meant(stack, spacing(A)).reshape(A.shape)
    return (A, H) if isinstance(rule, MultiHead) else (A[..., None, :, :], H[..., None, :, :])


def _factors(rules: Any, batch: tuple[int, ...]) -> tuple[Any, Any] | None:
    """The factors (b, d, r) and (b, r, d) of a layer of one head, or of layers equal to it."""
    rule = rules[0]
    given = rule.factors
    if given is None or (isinstance(rule, MultiHead) and rule.H.shape[-3] > 1):
        return None
    V, O = (to_host(M).astype(np.float64) for M in (given.W_V, given.W_O))  # noqa: E741
    if isinstance(rule, MultiHead):
        V, O = V[..., 0, :, :], O[..., 0, :, :]  # noqa: E741
    lead = np.broadcast_shapes(V.shape[:-2], O.shape[:-2])
    return tuple(_flat(np.broadcast_to(M, (*lead, *M.shape[-2:])), batch, 2) for M in (V, O))


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
