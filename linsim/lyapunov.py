"""Lyapunov exponents of products of layers: how fast directions grow when layers change with depth.

The constant states 1 c^T are invariant whatever the layers, since attention
keeps 1.  So a product of layers is block triangular, as in
:mod:`linsim.theory.cycle`: the constant part, and the quotient by it.  Each is
iterated on orthonormal frames, re-orthonormalised at every layer, and the
logarithms of R's diagonal are averaged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import array_api_compat
import numpy as np

from . import _draws, _validate
from ._blas import on_one_thread
from ._callers import in_callers_library
from ._namespace import Array, hosted, namespace, on_device_of, to_host
from ._rule import Rule
from ._spectra import FloatArray
from .errors import InvalidTypeError, InvalidValueError, NotCoveredError
from .rules import RandomWeights

__all__ = ["LyapunovExponents", "lyapunov_exponents"]

#: layers are averaged in this many batches, whose scatter gives the standard errors
BATCHES = 32
#: a margin within this many of its standard errors decides nothing
DOUBT = 5.0
#: nor does one that rounding could have made
RESOLUTION = 1e-9

#: heads (b or 1, h, n, n) and (b or 1, h, d, d) of one layer
Layer = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class LyapunovExponents:
    """Growth of the constant part and of the rest, natural logarithms per layer.

    Attributes
    ----------
    constant : (..., d) float64, descending
        Exponents of the product of I + sum_h H_h; -inf where a layer erases.
    rest : (..., count) float64, descending
        The largest exponents of the quotient by the constant states.
    constant_error, rest_error : like them
        Standard errors by batch means: the layers are cut into 32 runs (fewer
        if there are fewer layers), the standard deviation of their means is
        divided by the square root of their number.  0 beside -inf.
    margin : (...) float64
        Top of ``constant`` minus top of ``rest``; +-inf where one side is
        erased or empty, 0 where both are.
    margin_error : (...) float64
        Its standard error, from the batch means of the difference: both parts
        see the same layers, so their errors largely cancel.
    depth : int
        Layers averaged.
    """

    constant: FloatArray
    rest: FloatArray
    constant_error: FloatArray
    rest_error: FloatArray
    margin: Any
    margin_error: Any
    depth: int

    @property
    def regime(self) -> Any:
        """ "smoothing", "sharpening" or "undecided", by the sign of ``margin``; str or array of str.

        "undecided" where the margin is within 5 of its standard errors of 0,
        or within 1e-9.  With 31 degrees of freedom and normal batch means a
        wrong verdict has a probability below 1.1e-5.
        """
        doubt = np.maximum(DOUBT * np.asarray(hosted(self.margin_error)), RESOLUTION)
        margin = np.asarray(hosted(self.margin))
        verdict = np.where(margin > doubt, "smoothing", np.where(margin < -doubt, "sharpening", "undecided"))
        return verdict.item() if verdict.ndim == 0 else verdict

    @property
    def input_convergence(self) -> Any:
        """Whether generic inputs converge to one vector: True only where that is beyond doubt."""
        return self.regime == "smoothing"

    def __str__(self) -> str:
        constant, constant_error = hosted(self.constant), hosted(self.constant_error)
        rest, rest_error = hosted(self.rest), hosted(self.rest_error)
        if constant.ndim > 1:
            names, counts = np.unique(self.input_convergence, return_counts=True)
            listed = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
            return f"{constant[..., 0].size} systems over {self.depth} layers; inputs converge: {listed}."
        top = f"{constant[0]:.6g} ± {constant_error[0]:.1g}"
        below = f"{rest[0]:.6g} ± {rest_error[0]:.1g}" if rest.size else "none"
        return (
            f"Per layer, over {self.depth} layers: constant part {top}, rest {below}, "
            f"difference {self.margin:.6g} ± {self.margin_error:.1g}: {self.regime}."
        )


@in_callers_library
@on_one_thread
def lyapunov_exponents(
    rule: Rule,
    depth: int,
    *,
    n: int | None = None,
    d: int | None = None,
    count: int = 1,
    burn_in: int = 100,
    rng: Any = None,
) -> LyapunovExponents:
    """Measure the Lyapunov exponents of a product of layers, by QR, in log scale.

    Parameters
    ----------
    rule : Linear, MultiHead, Layered or RandomWeights
        The k layers of a Layered are read as one cycle, repeated for ever, as
        :func:`linsim.predict` does.  Attention of RandomWeights may be fixed
        or redrawn, but not recomputed from the tokens (not a linear map).
    depth : int
        Layers to average over, >= 2; of a cycle, a multiple of its period.
    n, d : int, optional
        Tokens and features, for rules that leave them open: d of RandomWeights,
        n where attention is drawn.
    count : int
        How many exponents of the rest, at most (n - 1) d.
    burn_in : int
        Layers before these, which turn the frames to where they stay.  With 0
        the product of the first ``depth`` layers itself is measured.
    rng : None, seed or Generator
        For RandomWeights: each system has a stream of its own.

    Returns
    -------
    LyapunovExponents
        Natural logarithms per layer, float64, in the batch shape of the rule: arrays of
        PyTorch or JAX if the rule holds such (JAX without ``jax_enable_x64``: float32), else
        of NumPy.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If the rule is none of these, a count is out of range, n or d is
        missing or does not fit, or entries overflow.
    NotCoveredError
        For attention computed from the tokens, and for layers with a bias, a scale or attention
        that is not stochastic.

    Notes
    -----
    Source: the QR method, Benettin et al. 1980; the splitting derived here.
    Every A_h 1 = 1, so 1 c^T becomes 1 (c^T (I + sum_h H_h)): the constant part has
    the d exponents of the product of I + sum_h H_h.  With Q an orthonormal basis
    of the complement of 1 and X = 1 c^T + Q Z, Q^T (A X H) = (Q^T A Q) Z H: Z,
    the state modulo constants, becomes Z + sum_h Q^T A_h Q Z H_h, without c.
    These are the other (n - 1) d exponents of the product.  Generic inputs
    converge iff the top one of them is below that of the constant part: then
    ln t_div falls by twice the margin a layer.

    A diagonal entry of R that rounding cannot tell from 0 (at most
    4 eps (1 + sum_h |A_h| |H_h|), Frobenius norms) counts as 0: its exponent
    is -inf, which so stands for anything 34 below ln of the size of a layer.
    Exponents that lie close together separate slowly: like the quotient of
    their factors to the power ``burn_in``, and for complex pairs only on average.

    Examples
    --------
    Fresh Gaussian weights, a single feature: the odds of similarity double in
    the mean (E Q = 2), and yet inputs do not converge, since E ln Q < 0:

    >>> import linsim
    >>> rule = linsim.RandomWeights(linsim.attention.uniform(4))
    >>> found = lyapunov_exponents(rule, 2000, d=1, rng=0)
    >>> found.constant.round(1), found.rest, found.regime
    (array([-0.2]), array([0.]), 'sharpening')

    Two features are enough for it:

    >>> print(lyapunov_exponents(rule, 2000, d=2, rng=0))
    Per layer, over 2000 layers: constant part 0.11... ± 0.02, rest ... difference 0.11... ± 0.02: smoothing.
    """
    if not isinstance(rule, Rule) or rule.moves_by not in ("matrices", "draws"):
        raise _validate.refusal(
            InvalidTypeError,
            "rule",
            type(rule).__name__,
            "Linear, MultiHead, Layered, RandomWeights or another rule with heads(layer)",
            "Wrap A and H: Linear(A, H).",
        )
    if rule.moves_by == "matrices" and (not rule.stochastic or _drives(rule)):
        raise NotCoveredError(
            f"rule: found {type(rule).__name__} with a bias, a scale or attention that is not stochastic; "
            "expected X + sum_h A_h X H_h with rows that sum to 1. Use linsim.simulate to measure."
        )
    depth = _validate.count(depth, "depth", minimum=2)
    burn_in = _validate.count(burn_in, "burn_in")
    generator = _validate.generator(rng)
    if rule.moves_by == "draws":
        source = _random(cast(RandomWeights, rule), n, d, generator)
    else:
        source = _given(rule, n, d)
    count = _validate.count(count, "count", minimum=1)
    most = (source.n - 1) * source.d
    if count > max(most, 1):
        raise _validate.refusal(
            InvalidValueError, "count", count, f"at most (n - 1) d = {most}", "Pass a smaller one."
        )
    logs = _measured(source, depth, burn_in, min(count, most))
    if any(np.isnan(values).any() or np.isposinf(values).any() for values in logs):
        raise _validate.refusal(
            InvalidValueError, "H", "entries that overflow in one layer", "moderate entries", "Scale H down."
        )
    batch, found = rule.batch_shape, []
    for values in logs:
        mean, error = _averaged(values)
        order = np.argsort(-mean, axis=-1, kind="stable")
        found += [np.take_along_axis(x, order, axis=-1).reshape(*batch, -1) for x in (mean, error)]
    margin, margin_error = (x.reshape(batch) if batch else x.item() for x in _top_gap(*logs))
    return LyapunovExponents(found[0], found[2], found[1], found[3], margin, margin_error, depth)


def _drives(rule: Rule) -> bool:
    """Whether any layer that is looked at adds something to all tokens."""
    layers = range(1 if rule.repeats or rule.max_depth is None else rule.max_depth)
    return any(rule.checked_drive(layer) is not None for layer in layers)


def _measured(source: _Source, depth: int, burn_in: int, count: int) -> tuple[FloatArray, FloatArray]:
    """Logarithms of R's diagonal at each layer, (b, depth, d) and (b, depth, count)."""
    n, d = source.n, source.d
    eps = float(np.finfo(np.float64).eps)
    constant, flat = _generic((d, d), source.like), _generic(((n - 1) * d, count), source.like)
    xp = namespace(constant)
    kept: list[tuple[Array, Array]] = []
    for layer in range(burn_in + depth):
        A, H = source.layer(layer)
        rest = xp.reshape(xp.matrix_transpose(flat), (flat.shape[0], count, n - 1, d))
        # what overflows is refused in the end
        with np.errstate(over="ignore", invalid="ignore"):
            constant, rest = _through(A, H, constant, rest)
            flat = xp.matrix_transpose(xp.reshape(rest, (rest.shape[0], count, (n - 1) * d)))
            sizes = _sizes(H)
            constant, low = _grown(constant, 4 * eps * (1 + xp.sum(sizes, axis=-1)))
            flat, high = _grown(flat, 4 * eps * (1 + xp.sum(_sizes(A) * sizes, axis=-1)))
        if layer >= burn_in:
            kept.append((low, high))
    stacked = [to_host(xp.stack(parts, axis=1)) for parts in zip(*kept, strict=True)]
    first, second = (np.broadcast_to(x, (source.size, *x.shape[1:])) for x in stacked)
    return first, second


class _Source(NamedTuple):
    """Where layers come from: ``layer(l)`` gives the heads, without the constant direction."""

    layer: Callable[[int], Layer]
    n: int
    d: int
    size: int
    like: Array


def _given(rule: Rule, n: int | None, d: int | None) -> _Source:
    """The layers of a rule that knows its matrices; those of a rule that ends come round again."""
    for name, value, own in (("n", n, rule.n), ("d", d, rule.d)):
        if value is not None and _validate.count(value, name, minimum=1) != own:
            raise _validate.refusal(InvalidValueError, name, value, f"{own}, as in the rule", "Leave it out.")
    batch = rule.batch_shape
    period = 1 if rule.repeats else rule.max_depth

    def stacked(layer: int) -> Layer:
        pairs = [(_quotient(_flat(A, batch)), _flat(H, batch)) for A, H in rule.checked_heads(layer)]
        xp = namespace(pairs[0][0])
        return xp.stack([A for A, _ in pairs], axis=1), xp.stack([H for _, H in pairs], axis=1)

    kept = functools.cache(stacked)

    def at(layer: int) -> Layer:
        return stacked(layer) if period is None else kept(layer % period)

    A, H = stacked(0)
    tokens, features = int(A.shape[-1]) + 1, int(H.shape[-1])
    return _Source(at, tokens, features, int(np.prod(batch, dtype=int)), H)


def _random(rule: RandomWeights, n: int | None, d: int | None, generator: Any) -> _Source:
    """Fresh weights, and fresh attention where it is drawn."""
    if d is None:
        raise _validate.refusal(
            InvalidTypeError, "d", "nothing", "a number of features", "RandomWeights leaves it open: pass d."
        )
    d = _validate.count(d, "d", minimum=1)
    batch, size = rule.batch_shape, int(np.prod(rule.batch_shape, dtype=int))
    keys = _draws.keys(generator, size)
    std = np.broadcast_to(rule.std, batch).reshape(-1, 1, 1)
    if rule.fixed:
        tokens = int(rule.A.shape[-1])  # type: ignore[union-attr]
        if n is not None and _validate.count(n, "n", minimum=1) != tokens:
            raise _validate.refusal(InvalidValueError, "n", n, f"{tokens}, as in A", "Leave it out.")
        like, kept = rule.A, _quotient(_flat(rule.A, batch))[:, None, :, :]
    elif not callable(rule.A):
        raise NotCoveredError(
            f"rule: found attention computed from the tokens ({type(rule.A).__name__}); expected one that is "
            "given or drawn. Layers that depend on the state are no product; use linsim.simulate to measure."
        )
    else:
        if n is None:
            raise _validate.refusal(
                InvalidTypeError,
                "n",
                "nothing",
                "a number of tokens",
                "Drawn attention leaves it open: pass n.",
            )
        tokens, like, kept = _validate.count(n, "n", minimum=1), np.zeros(1), None

    def layer(number: int) -> Layer:
        W = on_device_of(_draws.weights(rule.kind, d, std, keys, number)[:, None, :, :], like)
        if kept is not None:
            return kept, W
        return _quotient(_draws.attention(rule.A, tokens, keys, number))[:, None, :, :], W

    return _Source(layer, tokens, d, size, on_device_of(np.zeros(1), like))


def _flat(M: Array, batch: tuple[int, ...]) -> Array:
    """Reshape (..., p, q) to (b, p, q) in float64; b is 1 where one serves the whole batch."""
    xp = namespace(M)
    M = xp.astype(M, xp.float64, copy=False)
    lead, tail = tuple(M.shape[:-2]), tuple(M.shape[-2:])
    if all(extent == 1 for extent in lead):
        return xp.reshape(M, (1, *tail))
    return xp.reshape(xp.broadcast_to(M, (*batch, *tail)), (-1, *tail))


def _quotient(A: Array) -> Array:
    """Q^T A Q, (b, n - 1, n - 1): Q is an orthonormal basis of the complement of 1, from a reflection."""
    n = A.shape[-1]
    normal = np.full((n, 1), 1 / np.sqrt(n))
    normal[0] += 1
    reflection = np.eye(n) - normal @ normal.T / float(normal[0, 0])
    Q = on_device_of(np.ascontiguousarray(reflection[:, 1:]), A)
    return namespace(A).matrix_transpose(Q) @ A @ Q


def _generic(shape: tuple[int, int], like: Array) -> Array:
    """Return orthonormal columns (1, *shape) that lie in no invariant subspace."""
    Q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((1, *shape)))
    return on_device_of(Q, like)


def _grown(images: Array, rounding: Array) -> tuple[Array, Array]:
    """Orthonormalise columns (b, m, k); return ln of what each adds in length, too, (b, k)."""
    xp = namespace(images)
    if images.shape[-1] == 0:
        return images, xp.zeros(
            (images.shape[0], 0), dtype=images.dtype, device=array_api_compat.device(images)
        )
    Q, R = xp.linalg.qr(images)
    added = xp.abs(xp.linalg.diagonal(R))
    seen = ~(added <= rounding[:, None])
    return Q, xp.where(seen, xp.log(xp.where(seen, added, xp.ones_like(added))), -xp.inf)


def _sizes(M: Array) -> Array:
    """Frobenius norms of a stack of matrices."""
    xp = namespace(M)
    return xp.sqrt(xp.sum(M * M, axis=(-2, -1)))


def _through(A: Array, H: Array, constant: Array, rest: Array) -> tuple[Array, Array]:
    """Send frames of c (b, d, d), one a column, and of Z (b, k, n - 1, d) through a layer."""
    xp = namespace(H)
    moved = xp.matrix_transpose(xp.sum(H, axis=1)) @ constant
    turned = xp.sum(A[:, None, ...] @ rest[:, :, None, :, :] @ H[:, None, ...], axis=2)
    return constant + moved, rest + turned


def _averaged(logs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of (b, depth, k) over layers, and its standard error by batch means; (b, k) each."""
    depth = logs.shape[1]
    mean = np.mean(logs, axis=1)
    finite = np.where((mean == -np.inf)[:, None], 0.0, logs)
    batches = min(BATCHES, depth)
    length = depth // batches
    runs = finite[:, : batches * length].reshape(len(logs), batches, length, -1).mean(axis=2)
    return mean, np.std(runs, axis=1, ddof=1) / np.sqrt(batches)


def _top_gap(constant: FloatArray, rest: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Difference of the two top exponents and its standard error, (b,) each."""
    tops = []
    for logs in (constant, rest):
        if logs.shape[-1]:
            best = np.argmax(np.mean(logs, axis=1), axis=-1)
            tops.append(np.take_along_axis(logs, best[:, None, None], axis=-1)[..., 0])
        else:
            tops.append(np.full(logs.shape[:2], -np.inf))
    low = [np.mean(top, axis=1) == -np.inf for top in tops]
    alive = ~(low[0] | low[1])
    difference, error = _averaged(
        np.where(alive[:, None], tops[0], 0.0)[..., None] - np.where(alive[:, None], tops[1], 0.0)[..., None]
    )
    erased = np.where(low[0] & low[1], 0.0, np.where(low[0], -np.inf, np.inf))
    return np.where(alive, difference[:, 0], erased), error[:, 0]
