r"""The law of layers with a bias, of token scales, and of attention beyond the simplex.

**Attention that is not stochastic.**  X -> X + A X H has the modes 1 + lambda_i mu_j whatever A is.  Where
all rows sum to s, A 1 = s 1: the constant state is a mode with lambda = s and decides as lambda = 1 does for
stochastic A.  Where rows sum to different numbers no mode is constant: tokens do not converge to one vector,
HFC/LFC tends to that of the dominant right vector, angles and rank collapse as ever.

**A bias.**  1 b^T lies in the constant part: with u A = s u, u 1 = 1 the constant part m = u X obeys
m -> m (I + s H) + b and the rest of X does not see b.  Along w_j, with d_j = b w_j,

    m_l w_j = rho_j^l (m_0 w_j + f_j) - f_j,   f_j = d_j / (s mu_j),   rho_j = 1 + s mu_j    (s mu_j != 0)
    m_l w_j = m_0 w_j + l d_j                                                              (s mu_j = 0).

So b adds one constant mode of modulus 1, in the direction of the fixed point -sum_j f_j z_j, or, where some
s mu_j = 0 has d_j != 0, one that grows like l.  No other row has it: its minors with them make
sigma_2/sigma_1 close no faster than tokens converge where it dominates.  Statements ``affine.fixed_point``,
``affine.linear_growth``, ``affine.regime`` and ``affine.rest`` of proofs_check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from .._eigen import Eigensystem, attention_eigensystem, weight_eigensystem
from .._general_eigen import general_eigensystem, intended
from .._types import EPS, BoolArray, ComplexArray, FloatArray
from ..errors import NotCoveredError
from ._logs import log, log_minus
from .bounds import Bounds, angle_bound, effective
from .dominance import Beyond, Dominance, Precision, dominance
from .prediction import Assumption, Prediction
from .verdicts import verdicts

__all__ = ["DrivenBounds", "affine_verdicts", "bias_is_mixed", "driven_cycle"]

_ZERO = 1e3 * EPS  # a smaller lambda mu, relatively, or a smaller part of the bias, counts as zero


def affine_verdicts(
    A: FloatArray,
    H: FloatArray,
    bias: FloatArray | None,
    x0: FloatArray | None,
    batch: tuple[int, ...],
    precision: Precision,
    stochastic: bool,
) -> Prediction:
    """Judge b systems X + A X H + 1 b^T; A (b, n, n), H (b, d, d), bias (b, d) or None, x0 (b, n, d) or None.

    ``stochastic``: rows of A are probabilities.

    Raises
    ------
    NotCoveredError
        For a bias with attention whose rows sum to different numbers.

    Notes
    -----
    When a bias decides: proved as ``affine.regime`` in proofs_check.
    """
    if stochastic:
        attention = attention_eigensystem(A, precision.attention)
        constant = np.ones(A.shape[0], dtype=bool)
    else:
        A = intended(A, precision.attention)
        attention, constant = general_eigensystem(A, precision.attention)
    weights = weight_eigensystem(H, precision.weights)
    if bias is None or not np.any(bias):
        size = max(M.shape[0] for M in (A, H) if M is not None)
        shape = (size, A.shape[-1], H.shape[-1])
        none = Beyond(
            np.broadcast_to(constant, size),
            np.zeros(shape, dtype=bool),
            np.zeros(shape, dtype=int),
            stochastic,
        )
        law = dominance(attention, weights, x0, precision, none)
        marked = None if stochastic else np.broadcast_to(constant, law.rho.shape[0])
        bounds = Bounds(attention, weights, law, cast(FloatArray, x0), A, H, precision.tokens, marked)
        none = none._replace(constant=np.broadcast_to(constant, law.rho.shape[0]))
        return verdicts(A, H, x0, attention, weights, law, batch, precision, none, bounds)
    if not np.all(constant):
        raise bias_is_mixed()
    return _driven(A, H, bias, x0, attention, weights, batch, precision, stochastic)


def bias_is_mixed() -> NotCoveredError:
    """Return the refusal of a bias that does not stay in constant states."""
    return NotCoveredError(
        "bias: found attention whose rows sum to different numbers, which mixes a bias with other modes; "
        "expected rows that all sum to one number. Use linsim.simulate to measure."
    )


def _driven(
    A: FloatArray,
    H: FloatArray,
    bias: FloatArray,
    x0: FloatArray | None,
    attention: Eigensystem,
    weights: Eigensystem,
    batch: tuple[int, ...],
    precision: Precision,
    stochastic: bool,
) -> Prediction:
    size = max(M.shape[0] for M in (A, H, bias, *([] if x0 is None else [x0])))
    n, d = A.shape[-1], H.shape[-1]
    s = np.broadcast_to(attention.values[:, 0].real, size)
    unit = np.linalg.norm(bias, axis=-1)[:, None]
    unit = np.where(unit > 0, unit, 1.0)
    # tokens with one more feature, the number ``unit``, which no layer moves and which feeds bias / unit
    more, grows, still = _with_drive(weights, np.broadcast_to(bias / unit, (size, d)), s)
    below = np.where(s != 0, 1 / np.where(s != 0, s, 1.0), 0.0)[:, None] * (bias / unit)
    wide_H = np.zeros((size, d + 1, d + 1))
    wide_H[:, :d, :d], wide_H[:, d, :d] = H, below
    wide = None
    if x0 is not None:
        wide = np.concatenate(
            [np.broadcast_to(x0, (size, n, d)), np.ones((size, n, 1)) * unit[..., None]], axis=-1
        )
    absent = np.zeros((size, n, d + 1), dtype=bool)
    absent[:, 1:, d] = True
    absent[:, :, d] |= still[:, None]
    growth = np.zeros(absent.shape, dtype=int)
    growth[:, 0, d] = grows
    beyond = Beyond(np.ones(size, dtype=bool), absent, growth, stochastic)
    law = dominance(attention, more, wide, precision, beyond)
    bounds = None
    if x0 is not None:
        plain = dominance(attention, weights, x0, precision)
        mark = None if stochastic else np.ones(plain.rho.shape[0], dtype=bool)
        linear = Bounds(attention, weights, plain, x0, A, H, precision.tokens, mark)
        bounds = DrivenBounds(linear, np.broadcast_to(bias, (size, d)), s, law)
    return verdicts(
        A, wide_H, wide, attention, more, law, batch, precision, beyond, bounds or _Unbounded(law)
    )


def _with_drive(weights: Eigensystem, row: FloatArray, s: FloatArray) -> tuple[Eigensystem, Any, BoolArray]:
    """Eigensystem of [[H, 0], [row / s, 0]], the new mode last; its power of depth; whether it is no mode.

    Its left vector is the fixed point beside 1; along vectors with s mu = 0 it is what grows like l.
    """
    size, d = row.shape

    def wide(x: Any) -> Any:
        return np.broadcast_to(x, (size, *x.shape[1:]))

    values, condition, growth = wide(weights.values), wide(weights.condition), wide(weights.growth)
    right: ComplexArray = np.zeros((size, d + 1, d + 1), dtype=np.complex128)
    left: ComplexArray = np.zeros_like(right)
    right[:, :d, :d], left[:, :d, :d] = wide(weights.right), wide(weights.left)
    own = (row[:, None, :] @ right[:, :d, :d])[:, 0, :]  # d_j
    drift = s[:, None] * values
    noise = _ZERO * condition * np.maximum(wide(weights.norm)[:, None], 1e-300)
    zero = np.abs(drift) <= np.abs(s)[:, None] * noise
    moved = np.abs(own) > _ZERO * condition
    f = np.where(zero, 0.0, own / np.where(zero, 1.0, drift))
    right[:, d, :d], right[:, d, d] = f, 1
    # along z_j with s mu_j = 0 what grows: l d_j
    linear = np.any(zero & moved, axis=-1)
    toward = np.where(linear[:, None], np.where(zero, own, 0.0), -f)
    left[:, d, :d] = (toward[:, None, :] @ left[:, :d, :d])[:, 0, :]
    left[:, d, d] = 1
    power = np.where(linear, 1 + np.max(np.where(zero & moved, growth, 0), axis=-1), 0)
    more = Eigensystem(
        np.concatenate([values, np.zeros((size, 1))], axis=-1).astype(np.complex128),
        right,
        left,
        np.concatenate([condition, np.ones((size, 1))], axis=-1),
        wide(weights.basis_condition),
        wide(weights.norm),
        np.array(wide(weights.diagonalizable)) & ~linear,
        np.concatenate([growth, np.zeros((size, 1), dtype=int)], axis=-1),
    )
    return more, power, ~np.any(moved, axis=-1)


class _Unbounded:
    """What a law without an input holds in place of bounds."""

    def __init__(self, law: Dominance) -> None:
        self.law = law


@dataclass(frozen=True, eq=False)
class DrivenBounds:
    """Bounds of every gap of X + A X H + 1 b^T at every depth.

    Pi_perp X does not see b, so it is bounded as for the linear layer, h from above and g from below.
    The mean of tokens is m + (1/n - u) X, and (1/n - u) 1 = 0, so

        sqrt(n) (|m_l| - |1/n - u| h) <= ||Pi X|| <= sqrt(n) (|m_l| + |1/n - u| h),

    with |m_l| >= max_j |m_l w_j| / |w_j| and <= sum_j |m_l w_j| |z_j| from the closed form of m_l w_j.
    Then t_div <= h^2 / (h^2 + p^2), sigma_2/sigma_1 <= h / p, and the angles to the mean.
    Statement ``affine.rest`` of proofs_check.
    """

    linear: Bounds
    bias: FloatArray
    s: FloatArray
    law: Dominance

    def log_bound(self, gap: str, layers: FloatArray) -> FloatArray:
        """Natural logarithm of the upper bound, (b, k), at (k,) layers.

        Proved as ``affine.fixed_point``, ``affine.linear_growth`` and ``affine.rest`` in proofs_check.
        """
        n, d = self.linear.x0.shape[-2:]
        h = self.linear.log_bound("diverse", layers)
        p = self._common(layers, h)[0]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(np.isneginf(h), -np.inf, h - p)
            if gap == "hfc_lfc":
                return ratio
            if gap == "token_diversity":
                return np.where(np.isneginf(h), -np.inf, np.minimum(2 * h - np.logaddexp(2 * h, 2 * p), 0.0))
            if gap == "cosine_gap":
                return self._cosine(h, p, n)
            m = min(n, d)
            if gap == "rank_gap":
                return np.minimum(ratio, 0.0 if m > 1 else -np.inf)
            if m == 1:
                return np.full_like(h, -np.inf)
            return effective(np.minimum(ratio - np.log(m - 1) / 2, 0.0), m)

    def _cosine(self, h: FloatArray, p: FloatArray, n: int) -> FloatArray:
        if n == 1:
            return np.full_like(h, -np.inf)
        smooth = ~np.any(self.law.dominant[:, 1:], axis=(-1, -2))
        found = np.minimum(angle_bound(h, p - np.log(n) / 2, h, n), np.log(n / (n - 1)))
        return np.where(smooth[:, None], found, 0.0)

    def log_lower_bound(self, gap: str, layers: FloatArray) -> FloatArray:
        """Natural logarithm of the lower bound of token diversity or HFC/LFC, (b, k)."""
        h, g = self.linear.log_bound("diverse", layers), self.linear.log_lower_bound("diverse", layers)
        most = self._common(layers, h)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = g - most if gap == "hfc_lfc" else 2 * g - np.logaddexp(2 * g, 2 * most)
        return np.where(np.isneginf(g), -np.inf, value)

    def _common(self, layers: FloatArray, h: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ln of ||Pi X|| from below and from above, (b, k)."""
        linear, n = self.linear, self.linear.x0.shape[-2]
        size = h.shape[0]
        u = np.broadcast_to(linear.attention.left[:, 0, :].real / np.sqrt(n), (size, n))
        own, error = self._along(layers, u)
        lengths = np.linalg.norm(linear.weights.right, axis=-2)[:, None, :]
        duals = np.linalg.norm(linear.weights.left, axis=-1)[:, None, :]
        off = np.linalg.norm(1 / n - u, axis=-1)
        off = np.where(off > 16 * n * EPS, off, 0.0)[:, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            least = np.max(log_minus(own, error) - log(lengths), axis=-1)
            # far below 1e-10 of it nothing of what is computed here counts
            most = np.max(np.logaddexp(own, error) + log(duals), axis=-1) + np.log(duals.shape[-1])
            shift = log(off) + h
            low, high = log_minus(least, shift), np.logaddexp(most, shift)
        sick = ~np.broadcast_to(linear.weights.diagonalizable, size)[:, None]
        half = np.log(n) / 2
        return np.where(sick, -np.inf, low + half), np.where(sick, np.inf, high + half)

    def _along(self, layers: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ln |m_l w_j| and ln of a bound of its error, (b, k, d)."""
        linear, weights = self.linear, self.linear.weights
        size, d = self.bias.shape
        right = np.broadcast_to(weights.right, (size, d, d))
        c = (u[:, None, :] @ linear.x0 @ right)[:, 0, :]
        own = (self.bias[:, None, :] @ right)[:, 0, :]
        scale_c = (np.abs(u)[:, None, :] @ np.abs(linear.x0) @ np.abs(right))[:, 0, :]
        scale_d = (np.abs(self.bias)[:, None, :] @ np.abs(right))[:, 0, :]
        mu = np.broadcast_to(weights.values, (size, d))
        condition = np.broadcast_to(weights.condition, (size, d))
        norm = np.broadcast_to(weights.norm, size)[:, None]
        wide = 64 * (linear.x0.shape[-2] + d) * EPS * condition
        drift, unsure = self.s[:, None] * mu, np.abs(self.s)[:, None] * wide * norm
        still = np.abs(drift) <= 16 * unsure
        rho, safe = 1 + drift, np.where(still, 1.0, drift)
        f = np.where(still, 0.0, own / safe)
        # first-order: of sums, of vectors, of mu
        turned = wide * np.max(scale_c, axis=-1, keepdims=True)
        turned_d = wide * np.max(scale_d, axis=-1, keepdims=True)
        off_f = np.where(still, 0.0, turned_d / np.abs(safe) + np.abs(f) * unsure / np.abs(safe))
        depth = layers[None, :, None]
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            size_rho = log(np.abs(rho))[:, None, :]
            grown = np.where(depth > 0, depth * size_rho, 0.0)
            top = np.maximum(grown, 0.0)
            angle = depth * np.angle(rho)[:, None, :]
            power = np.exp(grown - top) * np.exp(1j * angle)
            less = np.exp(-top)
            value = power * (c + f)[:, None, :] - less * f[:, None, :]
            value = np.where(still[:, None, :], less * (c[:, None, :] + depth * own[:, None, :]), value)
            drifted = np.expm1(np.minimum(depth * (unsure / np.abs(rho))[:, None, :], 50.0))
            error = np.exp(grown - top) * (
                np.abs(c + f)[:, None, :] * drifted + ((turned + off_f) * 1.0)[:, None, :] * (1 + drifted)
            )
            error = error + less * (off_f + wide * np.abs(f))[:, None, :]
            # what counts as zero may be a drift of its own
            slow = np.expm1(np.minimum(depth * 32 * unsure[:, None, :], 50.0))
            lost = less * ((turned[:, None, :] + depth * turned_d[:, None, :]) * (1 + slow))
            lost = lost + less * slow * (np.abs(c)[:, None, :] + depth * np.abs(own)[:, None, :])
            error = np.where(still[:, None, :], lost, error) + 16 * EPS * np.abs(value)
            return log(np.abs(value)) + top, log(error) + top


def driven_cycle(law: Prediction, period: int, driven: Any) -> Prediction:
    """The law of several heads, or of a cycle, that add something to all tokens, from the law without that.

    The constant part c -> c M + e of a cycle gains the modulus 1 of its fixed point, and nothing else
    changes: the rest does not see it.  ``law``: of stochastic attention, its modes for ``period`` layers;
    ``driven``: bool, or one for each system.
    """
    shape = np.shape(law.regime)
    count = int(np.prod(shape, dtype=int))
    modes = [law.dominant] if shape == () else list(np.reshape(law.dominant, count))

    def flat(x: Any) -> FloatArray:
        return np.array(np.broadcast_to(np.asarray(x), shape).reshape(count))

    regime, margin, rank = flat(law.regime).astype("U12"), flat(law.margin), flat(law.limit_rank)
    smooth, angle, collapse = (
        flat(x) for x in (law.input_convergence, law.angle_convergence, law.rank_collapse)
    )
    rates = {name: flat(x) for name, x in law.rates.items()}
    settling = {name: flat(x) for name, x in law.relaxations.items()}
    limit = flat(law.limit_hfc_lfc)
    for s in np.flatnonzero(np.broadcast_to(np.asarray(driven), shape).reshape(count)):
        # ln of the largest constant modulus and of the largest other one, per layer
        top = float(np.log(max(abs(mode.value) for mode in modes[s]))) / period if rank[s] else -np.inf
        constant = top if margin[s] >= 0 else top + margin[s]
        other = top if margin[s] <= 0 else top - margin[s]
        if constant >= 0:
            continue
        margin[s] = -other if np.isfinite(other) else np.inf
        q = float(np.exp(other))
        for name in settling:
            settling[name][s] = max(settling[name][s], np.exp(constant), min(q, 1 / q) if q else 0.0)
        if abs(other) <= 1e-9:
            regime[s], smooth[s], angle[s], collapse[s] = "balanced", False, False, False
            rank[s], limit[s] = rank[s] + 1, np.nan
            for rate in rates.values():
                rate[s] = 1.0
        elif other < 0:
            regime[s], smooth[s], angle[s], collapse[s], rank[s], limit[s] = (
                "smoothing",
                True,
                True,
                True,
                1,
                0.0,
            )
            rates["token_diversity"][s] = rates["cosine_gap"][s] = q * q
            rates["rank_gap"][s] = q
        else:  # a minor of the leading mode and of the drive
            rates["rank_gap"][s] = max(rates["rank_gap"][s], 1 / q) if collapse[s] else 1.0
            rates["cosine_gap"][s] = max(rates["cosine_gap"][s], 1 / q**2) if angle[s] else 1.0

    def shaped(x: FloatArray) -> Any:
        return x.item() if shape == () else x.reshape(shape)

    entry = Assumption(
        "the bias leads to a fixed point that is not zero",
        shaped(np.ones(count, dtype=bool)),
        shaped(flat("generic")),
    )
    return replace(
        law,
        regime=shaped(regime),
        margin=shaped(margin),
        limit_rank=shaped(rank),
        input_convergence=shaped(smooth),
        angle_convergence=shaped(angle),
        rank_collapse=shaped(collapse),
        rates={name: shaped(x) for name, x in rates.items()},
        relaxations={name: shaped(x) for name, x in settling.items()},
        limit_hfc_lfc=shaped(limit),
        assumptions=(*law.assumptions, entry),
        bounds=None,
    )
