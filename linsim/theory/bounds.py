r"""Proven upper bounds of every gap, at every depth, with explicit constants.

Notation: X_l = V Y_l Z with unit columns v_i of V, rows z_j of Z, dual rows
u_i of U = V^-1 and unit columns w_j of W = Z^-1, and coefficients
Y_l = rho^l o (U X_0 W), entry by entry; ||.|| is Frobenius' norm unless a
vector's.  Only moduli |Y_ij| = |c_ij| |rho_ij|^l enter, so every bound is a
quotient of sums of exponentials.  Each step is proved as a statement of proofs_check,
whose name stands behind its heading.

**Norms** (bounds.norms, bounds.gram).  For any coefficients Y, with Gram matrices G = V^* V, K = Z Z^*:

    ||V Y Z||^2 <= min( sum_ij (|G| |Y|)_ij (|Y| |K|)_ij ,  ||G||_2 ||K||_2 ||Y||^2 ),

and with a projection P in front of V (or behind Z) its Gram matrix takes the
place of G (or K).  Both are identities for orthonormal V and Z.

**Row split** (bounds.row_split, bounds.lead, bounds.symmetric) at a mode i (the constant mode for token
diversity).  P projects on v_i.  With h = ||(I - P) X||, bounded as above over the other rows of Y, and

    p = ||P X|| >= ||y_i Z|| - ||P V' Y' Z||,
    ||y_i Z|| >= max( max_j |Y_ij| / ||w_j||,  ||y_i|| / ||W||_2,
                      |Y_ij| ||z_j|| - sum_{k != j} |Y_ik| ||z_k|| ):

t_div = h^2 / (h^2 + p^2) and HFC/LFC = h / p where v_i is constant; and always
sigma_2 <= h (P X has rank one) and sigma_1 >= p.  For symmetric A and symmetric H,
or normal H with simple eigenvalues, V and Z are orthonormal and all of these are
equalities: the bound of t_div *is* t_div.

**From below** (bounds.from_below).  u_i . 1 = 0 for every row but the constant one, so u_i X = u_i Pi_perp X:

    ||Pi_perp X|| >= max_{i > 1, j} |Y_ij| / (|u_i| |w_j|),   ||Pi X|| <= ||y_1 Z|| + ||Pi V' Y' Z||,

with the norms of above: t_div and HFC/LFC from below, which do not close where
another mode dominates.

**Minors** (bounds.minors, bounds.projections) at a pair (i, j).  Divide by Y_ij: X = alpha q^T + V' S Z' with
alpha = v_i + beta, q = z_j + gamma, S_kl = Y_kl - Y_kj Y_il (a 2x2 minor).  For
the rank-one matrix R = (alpha + S q / |q|^2)(q + (I - P_q) S^T alpha / |alpha|^2)^T,
S standing for V' S Z',

    sigma_2 <= ||X - R|| <= ||(I - P_alpha) S (I - P_q)|| + ||S||^2 / (2 |alpha| |q|),

the second term being (S q)(alpha^T S (I - P_q)) / (|alpha|^2 |q|^2), of which the one
factor is a column and the other a row of S that share no entry,

and exchanging P_alpha, P_q for the fixed projections on v_i and z_j costs at most
(|beta| + |gamma|/|z_j| + |beta| |gamma|/|z_j|) ||S||, because two lines whose sine
is s have projections at distance s.  sigma_1 >= |alpha| |q| - ||S||.

**Angles** (bounds.best_reference, bounds.tangent, bounds.angles).  Rows x_k = alpha_k (q + g_k).  For any
reference f, with f + e_k the vectors q + g_k, u_k their unit vectors, and theta_k the angle to f,

    mean over pairs of (1 - |cos|) <= sum_k |u_k - f/|f||^2 / (n - 1)
       <= sum_k tan^2 theta_k / (n - 1) <= ||E (I - P_f)||^2 / ((n - 1) (|f| - ||E||)^2),

E having the rows e_k; the first step because the mean of the u_k is their best
reference, the second because 2 (1 - cos) <= tan^2.  f = q + mean of T, T = S with
row k divided by v_k.  alpha_k > 0 for every k where v is the constant mode: then
the same bounds 1 - cos.

**Effective rank** (bounds.effective_rank).  If s is the mean of sigma_k / sigma_1 over k >= 2, then
(1, s, ..., s) is majorised by (1, sigma_2/sigma_1, ...), and entropy is
Schur-concave: erank <= exp(entropy of (1, s, ..., s) / sum), with
s <= ||X - R|| / (sigma_1 sqrt(m - 1)), m = min(n, d).

**No basis of eigenvectors**, Jordan blocks (bounds.quotient_layer, bounds.henrici).  Pi_perp X obeys the
layer with A' = Q^T A Q alone, Q an orthonormal basis of 1-perp, because Pi_perp A Pi = 0.  In
Schur form A' = D_A + N_A, H = D_H + N_H the operator is a diagonal, which keeps the
place of an entry, plus a part that raises it, so that n + d - 2 raisings vanish, of norm
nu <= ||D_A|| ||N_H|| + ||N_A|| ||D_H|| + ||N_A|| ||N_H||, so (Henrici 1962)

    ||Pi_perp X_l|| <= sum_{k < n+d-2} binom(l, k) max|rho|^(l-k) nu^k ||Pi_perp X_0||,

and ||Pi X_l|| >= sqrt(n) (max_j |rho_1j|^l |pi^T X_0 w_j| - |1/n - pi| ||Pi_perp X_l||)
over eigenvectors w_j.

**Rounding.**  The eigenvalues, eigenvectors and coefficients of the matrices as
given differ from the computed ones by first-order bounds (:mod:`linsim.theory.rounding`)
which move |rho|, |c|, the Gram matrices and the duals to the safe side, so that
the inequality holds for the numbers returned.  |c| is moved by what the rounding of
x0 to its own dtype may hide as well.  A coefficient that may be zero counts from
above with its possible size and from below as zero: a mode that x0 holds by
rounding alone takes over in the bound no later than in truth.  Coefficients and
means over tokens are zero where that is exact: no product of theirs is not zero, or
columns sum to 1, or a rank in exact arithmetic says so.  Without a basis of eigenvectors equal
eigenvalues are known by their mean, to some 1e-14: bounds deeper than 1e12 layers
mean little.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._eigen import Eigensystem
from .._general_eigen import column_sums
from .._types import EPS, BoolArray, ComplexArray, FloatArray, IntArray
from ._bound_frames import (
    TINY,
    Frame,
    Plan,
    gram,
    log_duals,
    norm,
    quotient,
    without,
)
from ._bound_minors import angle_bound, minors, row_angles, row_split
from ._henrici import growth, growth_of_rows
from ._logs import log, log_minus
from .dominance import Dominance
from .rounding import known, mean_free

__all__ = ["GAPS", "Bounds", "angle_bound", "effective"]

GAPS = ("token_diversity", "hfc_lfc", "cosine_gap", "rank_gap", "effective_rank_gap")

_CHUNK = 1 << 20  # coefficients held at once


@dataclass(frozen=True, eq=False)
class Bounds:
    """All that the bounds of a stack of systems need; see the module's docstring."""

    attention: Eigensystem
    weights: Eigensystem
    law: Dominance
    x0: FloatArray
    A: FloatArray
    H: FloatArray
    eps: float = EPS  # relative spacing of the numbers that x0 was given in
    constant: BoolArray | None = (
        None  # of attention that is not stochastic: whether mode 0 is the constant one
    )

    def log_bound(self, gap: str, layers: FloatArray) -> FloatArray:
        """Natural logarithm of the upper bound, (b, k), at (k,) layers."""
        return self._each(partial(_above, gap=gap), layers)

    def log_lower_bound(self, gap: str, layers: FloatArray) -> FloatArray:
        """Natural logarithm of the lower bound of token diversity or HFC/LFC, (b, k)."""
        return self._each(partial(_below, gap=gap), layers)

    def _each(self, bound: Any, layers: FloatArray) -> FloatArray:
        """Evaluate in chunks of layers: all coefficients of all layers need not fit in memory."""
        size, n, d = self.law.rho.shape
        out = np.empty((size, layers.size))
        step = max(1, _CHUNK // (size * n * d))
        plan = _plan(self)
        for begin in range(0, layers.size, step):
            chosen = layers[begin : begin + step]
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                out[:, begin : begin + step] = bound(self, plan, *_coefficients(plan, chosen), chosen)
        return out


def _plan(bounds: Bounds) -> Plan:
    attention, weights, law = bounds.attention, bounds.weights, bounds.law
    assert law.coefficients is not None
    size, n, d = law.rho.shape
    c, unsure, of_A, of_H = known(
        bounds.A, bounds.H, bounds.x0, attention, weights, law.coefficients, bounds.eps, bounds.constant
    )
    rho = np.abs(law.rho)
    moved = np.maximum(
        law.error,
        np.abs(weights.values)[:, None, :] * of_A.among[:, :, None]
        + np.abs(attention.values)[:, :, None] * of_H.among[:, None, :],
    )
    with np.errstate(divide="ignore"):
        # what may be rounding counts with its possible size from above, and as nothing from below
        log_c = (np.where(law.present, log(c - unsure), -np.inf), log(c + unsure))
        log_rho = [log(rho + sign * moved) for sign in (-1, 1)]
    first = np.argmax(law.dominant.reshape(size, -1), axis=-1)
    i, j = first // d, first % d
    take = np.arange(size)
    lam = np.broadcast_to(attention.values, (size, n))[take, i]
    mu = np.broadcast_to(weights.values, (size, d))[take, j]
    sick = np.broadcast_to(~(attention.diagonalizable & weights.diagonalizable), size)
    uniform = np.broadcast_to(True if bounds.constant is None else bounds.constant, size)
    rows = Frame(
        attention.right,
        attention.left,
        np.sum(of_A.turn, axis=-2),
        _relative(of_A.turn, np.linalg.norm(attention.left, axis=-1)),
    )
    lengths = np.linalg.norm(weights.left, axis=-1)
    # transposed: X^T = Z^T Y^T V^T
    columns = Frame(
        np.swapaxes(weights.left, -1, -2),
        np.swapaxes(weights.right, -1, -2),
        np.sum(of_H.turn * lengths[:, None, :], axis=-1),
        np.sum(of_H.turn, axis=-2),
    )
    return Plan(
        log_c,
        (log_rho[0], log_rho[1]),
        rows,
        columns,
        i,
        j,
        lam.imag == 0,
        (lam.imag == 0) & (mu.imag == 0),
        _mean_free(bounds, rows.error),
        ~np.any(law.dominant[:, 1:], axis=(-1, -2)) & uniform,
        sick,
        (of_A.turn, of_H.turn),
        uniform,
    )


def _mean_free(bounds: Bounds, error: FloatArray) -> BoolArray:
    """Which vectors have the mean 0 exactly: all of other eigenvalues than the sum of all columns."""
    if bounds.constant is None:
        return mean_free(bounds.A, bounds.attention, error)
    columns = column_sums(bounds.A)[:, None]
    apart = np.abs(bounds.attention.values - columns) > 1e-6 * bounds.attention.norm[:, None]
    return np.broadcast_to(apart & ~np.isnan(columns), error.shape)


def _relative(turn: FloatArray, lengths: FloatArray) -> FloatArray:
    """How much of its own length turns a vector at most, from T (b, m, m) and lengths (b, m)."""
    return np.sum(turn * lengths[:, None, :], axis=-1) / np.where(lengths > 0, lengths, 1.0)


def _means(plan: Plan) -> FloatArray:
    """Upper bounds of |Pi v_k|, (b, 1, n): the mean of each mode, 0 where it is 0 exactly."""
    vectors = plan.rows.vectors
    mean = np.abs(np.sum(vectors, axis=-2)) / np.sqrt(vectors.shape[-2]) + plan.rows.error
    return np.where(plan.free, 0.0, mean)[:, None, :]


def _coefficients(plan: Plan, layers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """ln|Y| from below and from above, (b, k, n, d); a mode of modulus 0 is there at layer 0 only."""
    depth = layers[:, None, None]
    low, high = (
        c[:, None] + np.where(depth > 0, depth * r[:, None], 0.0)
        for c, r in zip(plan.log_c, plan.log_rho, strict=True)
    )
    return low, high


def _above(
    bounds: Bounds, plan: Plan, low: FloatArray, high: FloatArray, layers: FloatArray, *, gap: str
) -> FloatArray:
    _, n, d = bounds.law.rho.shape
    h, p = row_split(plan.rows, plan.columns, low, high, np.zeros_like(plan.i), _means(plan))
    if np.any(plan.sick):
        h, p = _without_basis(bounds, plan, layers, h, p)
    if not np.all(plan.uniform):
        # the first mode is any other: its vector may still split off a row, but tells nothing of means
        h = np.where(plan.uniform[:, None], h, np.inf)
        p = np.where(plan.uniform[:, None], p, -np.inf)
    if gap == "diverse":
        return h
    if gap == "hfc_lfc":
        return quotient(h, p)
    if gap == "token_diversity":
        bound = quotient(2 * h, np.logaddexp(2 * h, 2 * p))
        return np.where(plan.uniform[:, None], bound, 0.0)
    if gap == "cosine_gap":
        return _cosine(plan, low, high, h, p, n)
    m = min(n, d)
    rest = _rest(plan, low, high, h, p)
    if gap == "rank_gap":
        return np.minimum(rest, 0.0 if m > 1 else -np.inf)
    return effective(np.minimum(rest - np.log(m - 1) / 2, 0.0), m) if m > 1 else np.full_like(h, -np.inf)


def _below(
    bounds: Bounds, plan: Plan, low: FloatArray, high: FloatArray, layers: FloatArray, *, gap: str
) -> FloatArray:
    duals, across = log_duals(plan.rows)[:, :, None], log_duals(plan.columns)[:, None, :]
    h = np.max(without(low - (duals + across)[:, None], np.zeros_like(plan.i), -2), axis=(-1, -2))
    if gap == "diverse":
        return np.where(plan.sick[:, None] | ~plan.uniform[:, None], -np.inf, h)
    K = gram(plan.columns.vectors)
    mean = _means(plan)  # the vector of the constant mode has length one
    others = without(high, np.zeros_like(plan.i), -2)
    constant = np.where(np.arange(high.shape[-2])[:, None] == 0, high, -np.inf)
    p = np.logaddexp(norm(constant, np.ones_like(gram(mean)), K), norm(others, gram(mean), K))
    value = quotient(h, p) if gap == "hfc_lfc" else quotient(2 * h, np.logaddexp(2 * h, 2 * p))
    return np.where(plan.sick[:, None] | ~plan.uniform[:, None], -np.inf, value)


def _rest(plan: Plan, low: FloatArray, high: FloatArray, h: FloatArray, p: FloatArray) -> FloatArray:
    """ln of the bound of ||X - R|| / sigma_1 for the best of four matrices R of rank one."""
    low_t, high_t = (np.swapaxes(x, -1, -2) for x in (low, high))
    modal = [
        quotient(*row_split(plan.rows, plan.columns, low, high, plan.i)),
        quotient(*row_split(plan.columns, plan.rows, low_t, high_t, plan.j)),
        minors(plan, low, high).rank,
    ]
    healthy = ~plan.sick[:, None]
    return np.min(np.stack([quotient(h, p), *(np.where(healthy, x, np.inf) for x in modal)]), axis=0)


def _cosine(
    plan: Plan, low: FloatArray, high: FloatArray, h: FloatArray, p: FloatArray, n: int
) -> FloatArray:
    """ln of the bound of 1 - cos where the constant mode dominates, else of 1 - mean |cos|."""
    if n == 1:
        return np.full_like(h, -np.inf)
    real_row, real = (~plan.sick & x for x in (plan.real_row, plan.real))
    candidates = [
        np.broadcast_to(np.where(plan.smooth, np.log(n / (n - 1)), 0.0)[:, None], h.shape),
        np.where(plan.smooth[:, None], angle_bound(h, p - np.log(n) / 2, h, n), np.inf),
        np.where(real_row[:, None], row_angles(plan, low, high), np.inf),
        np.where(real[:, None], minors(plan, low, high).angles, np.inf),
    ]
    return np.min(np.stack(candidates), axis=0)


def effective(log_s: FloatArray, m: int) -> FloatArray:
    """ln(erank - 1) of singular values (1, s, ..., s) of which there are ``m``."""
    s = np.exp(log_s)
    total = (m - 1) * s
    # entropy of the shares 1/(1+total) and s/(1+total): small terms as logarithms
    log_entropy = np.where(
        log_s > TINY,
        log(np.log1p(total) - total * np.where(np.isneginf(log_s), 0.0, log_s) / (1 + total)),
        np.log(m - 1) + log_s + np.log(1 - np.where(np.isneginf(log_s), 0.0, log_s)),
    )
    log_entropy = np.where(np.isneginf(log_s), -np.inf, log_entropy)
    entropy = np.exp(np.maximum(log_entropy, -40.0))
    return np.where(log_entropy > -40.0, np.log(np.expm1(entropy)), log_entropy + 1e-17)


def _without_basis(
    bounds: Bounds, plan: Plan, layers: FloatArray, h: FloatArray, p: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """h and p of token diversity where A or H has no basis of eigenvectors, by Schur forms."""
    h, p = np.array(h), np.array(p)
    n = bounds.law.rho.shape[1]
    Q = np.linalg.svd(np.ones((1, n)))[2][1:].T if n > 1 else np.zeros((1, 0))
    for s in np.flatnonzero(plan.sick):
        A, H, x0 = (M[s % M.shape[0]] for M in (bounds.A, bounds.H, bounds.x0))
        attention, weights = (_one(f, int(s)) for f in (bounds.attention, bounds.weights))
        pi = attention.left[0].real / np.sqrt(n)
        apart = Q.T @ x0
        # x0 was rounded, and so were the sums over it
        noise = (bounds.eps / 2 + (sum(x0.shape) + 8) * EPS) * _unshared(x0)
        if attention.diagonalizable:
            # one chain of layers I + lambda_i H for each row of U X_0
            turn = plan.turns[0][s % plan.turns[0].shape[0]][1:, 1:]
            start = np.linalg.norm(attention.left[1:] @ (x0 - x0[:1]), axis=-1)
            start = start + turn @ start + np.linalg.norm(attention.left[1:], axis=-1) * noise
            size = np.linalg.norm(Q.T @ attention.right[:, 1:], axis=0)
            h[s] = growth_of_rows(attention.values[1:], H, start, size, layers)
        elif weights.diagonalizable:
            turn = plan.turns[1][s % plan.turns[1].shape[0]]
            start = np.linalg.norm(Q.T @ (x0 - x0[:1]) @ weights.right, axis=0)
            start = start + start @ turn + np.linalg.norm(weights.right, axis=0) * noise
            size = np.linalg.norm(weights.left, axis=-1)
            h[s] = growth_of_rows(weights.values, Q.T @ A @ Q, start, size, layers)
        else:
            h[s] = growth(Q.T @ A @ Q, H, layers) + log(np.linalg.norm(apart) + noise)
        # H has an eigenvector at every eigenvalue, Jordan block or not; equal ones are known by their mean
        lam = attention.values[0].real  # 1 where rows sum to 1
        modulus = np.abs(1 + lam * weights.values) - 64 * EPS * (1 + np.linalg.norm(H))
        c = pi @ x0
        # the eigenvector of a p-chain is known to eps^(1/p)
        blur = 10 * EPS ** (1 / (1 + np.max(weights.growth))) * np.linalg.norm(c)
        # c itself is a sum over tokens, which may cancel
        blur = blur + (bounds.eps / 2 + (n + 8) * EPS) * np.linalg.norm(pi @ np.abs(x0))
        lead = np.max(log(np.abs(c @ weights.right) - blur)[:, None] + layers * log(modulus)[:, None], axis=0)
        p[s] = np.log(n) / 2 + log_minus(lead, log(np.linalg.norm(1 / n - pi)) + h[s])
    return h, p


def _unshared(x0: FloatArray) -> float:
    """Norm of the features that tokens do not share exactly."""
    return float(np.linalg.norm(x0[:, np.any(x0 != x0[:1], axis=0)]))


class _Side(NamedTuple):
    values: ComplexArray
    right: ComplexArray
    left: ComplexArray
    growth: IntArray
    diagonalizable: bool


def _one(system: Eigensystem, s: int) -> _Side:
    parts = (system.values, system.right, system.left, system.growth, system.diagonalizable)
    values, right, left, growth, good = (x[s % x.shape[0]] for x in parts)
    return _Side(values, right, left, growth, bool(good))
