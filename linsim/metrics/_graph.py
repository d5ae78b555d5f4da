"""How smooth tokens are over all pairs, and over the graph of the attention that they go into."""

from __future__ import annotations

from .._namespace import Array, namespace
from .._state import add_log2, log2, norm
from ._angle import ANGLE
from ._arithmetic import by_part, exp, log, noise_share, rounding_of
from ._metric import Measured, Metric
from ._pairs import apart, heads, mean_distance, relative, squared_distances, sum_of
from ._view import View

__all__ = ["GRAPH"]


def _energies(view: View) -> dict[str, Measured]:
    """Dirichlet energies: 1/2 sum P_ij |x_i - x_j|^2, at the scale of the state."""
    state, _row, rest, full = view.at_own_scale()
    xp, split, w = namespace(state.R), state.split, view.weights
    constant = split.constant
    # a row that all tokens share makes no difference
    x = xp.astype(xp.where(constant, rest[0], full[0]), xp.float64)
    exponent = xp.where(constant, rest[1], full[1])
    n = x.shape[-2]
    count = float(n) if w is None else xp.sum(w, axis=-2, keepdims=True)
    mean = xp.mean(x, axis=-2, keepdims=True) if w is None else xp.sum(w * x, axis=-2, keepdims=True) / count
    x = x - mean
    noise_a, noise_r, noise_b, noise_R, _ = by_part(state.noise)
    noise_rest = add_log2(noise_b, noise_R)
    noise_full = add_log2(noise_rest, add_log2(noise_a, noise_r) + log2(norm(split.v)))
    noise = xp.where(constant, noise_rest, noise_full)
    off = noise_share(noise, log(xp.ones_like(exponent), exponent)) + rounding_of(state.R) * norm(x)
    if w is None:
        size = norm(x) ** 2
    else:
        size = xp.sum(w * xp.sum(x * x, axis=-1, keepdims=True), axis=-2, keepdims=True)
    error = 2 * xp.sqrt(size) * off + off * off
    out = _both("dirichlet_energy", view, exponent, size, error)
    graph = heads(view)
    if graph is None:
        return out | _unknown("attention_dirichlet_energy", size)
    P, off_P = graph
    squares, rounding = squared_distances(x)
    # all of the noise in the row with the most weight: the root of sum ends_i |noise_i|^2
    ends = xp.sum(xp.abs(P), axis=-1, keepdims=True) + xp.matrix_transpose(
        xp.sum(xp.abs(P), axis=-2, keepdims=True)
    )
    step = off * xp.sqrt(2 * xp.max(ends, axis=-2, keepdims=True))
    energy, rounded = sum_of(P, squares / 2, xp.zeros_like(x[:, :, :1]), rounding / 2)
    error = xp.sqrt(2 * xp.abs(energy)) * step + step * step / 2 + rounded + off_P * xp.abs(energy)
    return out | _both("attention_dirichlet_energy", view, exponent, energy, error)


def _both(name: str, view: View, exponent: Array, value: Array, error: Array) -> dict[str, Measured]:
    """An energy over 2**(2 exponent), with its logarithm; of weights the largest of which is not 1."""
    twice = 0.0 if view.ln_largest is None else view.ln_largest
    if name.startswith("attention"):
        twice = 2 * twice
    factor = 1.0 if view.ln_largest is None else exp(twice)
    return {
        name: Measured(value * factor, error * factor, 2 * exponent),
        f"log_{name}": Measured(log(value, 2 * exponent) + twice, relative(value, error)),
    }


def _unknown(name: str, like: Array) -> dict[str, Measured]:
    """No number, where tokens go into no attention that is known."""
    xp = namespace(like)
    nothing = Measured(xp.full_like(like, xp.nan), xp.zeros_like(like))
    return {name: nothing, f"log_{name}": nothing}


def _distances(view: View) -> dict[str, Measured]:
    """Mean cosine distance over all pairs, and over what tokens attend to."""
    angles = ANGLE[0].of(view)
    gap = angles["log_cosine_gap"]  # type: ignore[index]
    xp = namespace(gap.value)
    value = exp(gap.value)
    step = value * xp.expm1(xp.minimum(gap.error, 700.0 * xp.ones_like(gap.error)))
    of_cosine = angles["cosine"].error  # type: ignore[index]
    out = {
        "mad": Measured(value, xp.where(step < of_cosine, step, of_cosine)),
        "log_mad": Measured(gap.value, gap.error),
    }
    graph = heads(view)
    if graph is None:
        return out | _unknown("attention_mad", gap.value)
    P, off_P = graph
    share = P / xp.sum(P, axis=(-1, -2), keepdims=True)
    plain, logarithm = mean_distance(share, 2 * off_P, apart(view))
    return out | {"attention_mad": plain, "log_attention_mad": logarithm}


def _entropy(view: View) -> Measured:
    """Entropy of the rows of attention, a mean over heads and over the tokens that attend."""
    like = view.top
    xp = namespace(like)
    if view.layer.attention is None:
        return Measured(xp.full_like(like, xp.nan), xp.zeros_like(like))
    total, off = xp.zeros_like(like), xp.zeros_like(like)
    w = view.weights
    for head in view.layer.attention:
        A = xp.astype(head, xp.float64, copy=False)
        positive = A > 0
        logs = xp.log(xp.where(positive, A, xp.ones_like(A)))
        rows = -xp.sum(xp.where(positive, A * logs, xp.zeros_like(A)), axis=-1, keepdims=True)
        # of a matrix with entries below 0 there is no entropy
        rows = xp.where(xp.any(A < 0, axis=-1, keepdims=True), xp.full_like(rows, xp.nan), rows)
        changes = xp.sum(A * xp.abs(1 + logs), axis=-1, keepdims=True) * rounding_of(head)
        if w is None:
            total, off = (
                total + xp.mean(rows, axis=-2, keepdims=True),
                off + xp.max(changes, axis=-2, keepdims=True),
            )
        else:
            share = w / xp.sum(w, axis=-2, keepdims=True)
            rows = xp.where(w > 0, rows, xp.zeros_like(rows))
            total = total + xp.sum(share * rows, axis=-2, keepdims=True)
            off = off + xp.sum(share * changes, axis=-2, keepdims=True)
    count = len(view.layer.attention)
    return Measured(total / count, off / count)


_ATTENTION = ("states", "attention")

GRAPH = (
    Metric(
        "dirichlet_energy",
        "||X - mean part||_F^2, Dirichlet energy over all pairs, each 1/n",
        _energies,
        formula="‖X − ΠX‖² = ½ Σᵢⱼ ‖xᵢ − xⱼ‖² / n, over all pairs",
        group="smoothness",
        degree=2,
        limit=0.0,
        gap="log_dirichlet_energy",
    ),
    Metric("log_dirichlet_energy", "ln of dirichlet_energy", _energies, group="smoothness", degree=2),
    Metric(
        "attention_dirichlet_energy",
        "1/2 sum A_ij ||x_i - x_j||^2, mean over heads",
        _energies,
        formula="½ Σᵢⱼ Aᵢⱼ ‖xᵢ − xⱼ‖², mean over heads",
        group="smoothness",
        needs=_ATTENTION,
        degree=2,
        limit=0.0,
        gap="log_attention_dirichlet_energy",
    ),
    Metric(
        "log_attention_dirichlet_energy",
        "ln of attention_dirichlet_energy",
        _energies,
        group="smoothness",
        needs=_ATTENTION,
        degree=2,
    ),
    Metric(
        "mad",
        "mean cosine distance (MAD) over all pairs of tokens, 1 - cosine",
        _distances,
        group="smoothness",
        limit=0.0,
        gap="log_mad",
    ),
    Metric("log_mad", "ln of mad", _distances, group="smoothness"),
    Metric(
        "attention_mad",
        "mean cosine distance (MAD) of a token from what it attends to",
        _distances,
        formula="Σᵢⱼ Aᵢⱼ (1 − cos(xᵢ, xⱼ)) / Σᵢⱼ Aᵢⱼ",
        group="smoothness",
        needs=_ATTENTION,
        limit=0.0,
        gap="log_attention_mad",
    ),
    Metric("log_attention_mad", "ln of attention_mad", _distances, group="smoothness", needs=_ATTENTION),
    Metric(
        "attention_entropy",
        "mean entropy of a row of attention, in nats",
        _entropy,
        formula="−Σⱼ Aᵢⱼ ln Aᵢⱼ, mean over tokens i and heads",
        group="attention",
        needs=_ATTENTION,
    ),
)
