"""Verdicts for given matrices: the limit of every measure, before any layer is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from .._namespace import to_host
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError
from ..rules import Layered, Linear, MultiHead
from .dominance import TIE, Dominance, dominance
from .spectra import B, Eigensystem, attention_eigensystem, weight_eigensystem

__all__ = ["Assumption", "Mode", "Prediction", "predict"]

SILENT = 1e-10  # entries of eigenvectors that are smaller, relatively, count as zero


class Mode(NamedTuple):
    """One dominant mode: its two eigenvalues and the layer's, 1 + lambda mu."""

    attention_eigenvalue: complex | float
    weight_eigenvalue: complex | float
    value: complex | float


class Assumption(NamedTuple):
    """Something a verdict rests on: whether it holds, and the number that shows it."""

    name: str
    holds: Any
    detail: Any


@dataclass(frozen=True, eq=False)
class Prediction:
    """What must happen to X_{l+1} = X_l + A X_l H as depth grows.

    Every field has the batch shape of the rule (and x0): Python scalars for a
    single system, NumPy arrays for a batch.

    Attributes
    ----------
    regime : str
        "smoothing": the constant mode alone wins; "sharpening": another one;
        "balanced": a tie, moduli equal within the error of the computed
        eigenvalues, never above 1e-9 relative.
    input_convergence : bool
        HFC/LFC -> 0: all tokens converge to one vector, relative to their size.
    angle_convergence : bool
        mean |cosine| -> 1.
    rank_collapse : bool
        sigma_2/sigma_1 -> 0.
    limit_rank : int
        Rank of the normalised limit (the larger one where it alternates); 0
        where the state itself becomes zero, and every verdict is then False.
    dominant : tuple of Mode
        The dominant set; an object array of tuples for a batch.
    margin : float
        ln(largest constant modulus / largest other modulus): the distance to
        the regime boundary, positive when smoothing.
    rates : dict of str to float
        Factor per layer of the gap itself for "token_diversity", "cosine_gap"
        and "rank_gap", for diagonalizable A and H, up to constants and powers
        of depth; 1 where the gap does not close.  Exact for generic x0; for a
        given x0 whose coefficients are related beyond vanishing (a rank-1 x0
        with repeated eigenvalues, say), an upper bound.
    assumptions : tuple of Assumption
        What the verdicts rest on.
    """

    regime: Any
    input_convergence: Any
    angle_convergence: Any
    rank_collapse: Any
    limit_rank: Any
    dominant: Any
    margin: Any
    rates: Mapping[str, Any]
    assumptions: tuple[Assumption, ...]

    def __str__(self) -> str:
        if np.ndim(self.regime):
            names, counts = np.unique(self.regime, return_counts=True)
            listed = ", ".join(f"{c} {name}" for name, c in zip(names, counts, strict=True))
            collapsed = int(np.sum(self.rank_collapse))
            return f"{np.size(self.regime)} systems: {listed}; rank collapse in {collapsed}."
        modes = "; ".join(
            f"lambda = {_show(m.attention_eigenvalue)}, mu = {_show(m.weight_eigenvalue)}, "
            f"|1 + lambda mu| = {abs(m.value):.6g}"
            for m in self.dominant[:4]
        )
        more = f" and {len(self.dominant) - 4} more" if len(self.dominant) > 4 else ""
        text = [
            f"Regime: {self.regime} (ln of constant over other modulus = {self.margin:.3g} per layer).",
            f"Dominant: {modes}{more}.",
            f"Tokens {'' if self.input_convergence else 'do not '}converge to one vector; "
            f"angles {'converge' if self.angle_convergence else 'do not converge'}; "
            f"rank {'collapses to 1' if self.rank_collapse else f'stays {self.limit_rank}'}."
            if self.limit_rank
            else "The state becomes zero.",
            "Per layer, "
            + ", ".join(f"{k.replace('_', ' ')} shrinks by {v:.6g}" for k, v in self.rates.items() if v < 1)
            + "."
            if any(v < 1 for v in self.rates.values())
            else "No gap closes geometrically.",
        ]
        failed = [f"{a.name} ({a.detail})" for a in self.assumptions if not a.holds]
        if failed:
            text.append("Careful, not satisfied: " + "; ".join(failed) + ".")
        return " ".join(text)


def _show(value: complex | float) -> str:
    if isinstance(value, complex):
        return f"{value.real:.4g}{value.imag:+.4g}i"
    return f"{value:.4g}"


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
    law = dominance(attention, weights, None if X is None else flat(X))
    return _verdicts(A, attention, weights, law, batch)


def _verdicts(
    A: Any, attention: Eigensystem, weights: Eigensystem, law: Dominance, batch: tuple[int, ...]
) -> Prediction:
    size, n = law.rho.shape[:2]
    D = law.dominant
    rows, columns = np.any(D, axis=2), np.any(D, axis=1)
    constant, others = rows[:, 0], np.any(rows[:, 1:], axis=-1)
    tie = (constant & others) | law.vanishes
    regime = np.where(tie, "balanced", np.where(constant, "smoothing", "sharpening"))
    smooth = regime == "smoothing"

    vectors = np.abs(attention.right)
    entries = np.broadcast_to(vectors > SILENT * np.max(vectors, axis=-2, keepdims=True), (size, n, n))
    rank = np.ones(size, dtype=int)
    several = (np.sum(rows, axis=-1) > 1) & (np.sum(columns, axis=-1) > 1)
    if law.coefficients is None:
        heard = np.any(entries & rows[:, None, :], axis=-1)
        for s in np.flatnonzero(several):
            rank[s] = _generic_rank(D[s])
    else:
        heard = _heard(law, attention.right)
        for s in np.flatnonzero(several):
            rank[s] = _given_rank(law.coefficients[s], law.rho[s], D[s])
    rank[law.vanishes] = 0
    collapse = rank == 1
    modulus = np.where(law.present, np.abs(law.rho), 0.0)
    q_token, q_rank = _rates(modulus)
    angle, q_angle = collapse & np.all(heard, axis=-1), np.array(q_rank)
    for s in np.flatnonzero(collapse & ~angle):
        q_angle[s] = _silent_rows(modulus[s], D[s], entries[s], heard[s])
        angle[s] = q_angle[s] < 1
    rates = {
        "token_diversity": np.where(smooth, q_token**2, 1.0),
        "cosine_gap": np.where(angle, q_angle**2, 1.0),
        "rank_gap": np.where(collapse, q_rank, 1.0),
    }

    def shaped(x: Any) -> Any:
        x = np.array(np.broadcast_to(np.asarray(x), size)).reshape(batch)
        return x.item() if batch == () else x

    positive = np.min(A, axis=(-1, -2))
    silent = np.sum(~heard, axis=-1)
    assumptions = [
        ("attention has positive entries", positive > 0, [f"smallest entry {x:.3g}" for x in positive]),
        _basis("attention", attention),
        _basis("weights", weights),
        (
            "regime boundary is resolved",
            np.abs(law.margin) > TIE,
            [f"ln ratio of moduli {x:.3g}" for x in law.margin],
        ),
        (
            "every token is in the dominant modes",
            silent == 0,
            [f"{k} of {n} tokens follow weaker modes" for k in silent],
        ),
        ("state does not vanish", ~law.vanishes, [f"largest modulus {x:.3g}" for x in _top(law)]),
    ]

    def each(x: Any) -> Any:
        x = np.asarray(x)
        return shaped(np.broadcast_to(x, size) if x.size == 1 else x)

    modes = _modes(attention, weights, law)
    return Prediction(
        regime=shaped(regime),
        input_convergence=shaped(smooth),
        angle_convergence=shaped(angle),
        rank_collapse=shaped(collapse),
        limit_rank=shaped(rank),
        dominant=modes[0] if batch == () else modes.reshape(batch),
        margin=shaped(law.margin),
        rates={k: shaped(v) for k, v in rates.items()},
        assumptions=tuple(Assumption(name, each(holds), each(detail)) for name, holds, detail in assumptions),
    )


def _modes(attention: Eigensystem, weights: Eigensystem, law: Dominance) -> Any:
    """Object array of one tuple of dominant modes a system."""
    size = law.rho.shape[0]
    system, i, j = np.nonzero(law.dominant)
    lam = np.broadcast_to(attention.values, (size, attention.values.shape[-1]))[system, i]
    mu = np.broadcast_to(weights.values, (size, weights.values.shape[-1]))[system, j]
    triples = zip(lam.tolist(), mu.tolist(), law.rho[system, i, j].tolist(), strict=True)
    listed = [Mode(*map(_real, triple)) for triple in triples]
    ends = np.cumsum(np.sum(law.dominant, axis=(-1, -2))).tolist()
    modes = np.empty(size, dtype=object)
    for s, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        modes[s] = tuple(listed[begin:end])
    return modes


def _real(value: complex) -> complex | float:
    return value.real if value.imag == 0 else value


def _top(law: Dominance) -> Any:
    return np.max(np.where(law.dominant, np.abs(law.rho), 0), axis=(-1, -2))


def _basis(name: str, system: Eigensystem) -> tuple[str, B, list[str]]:
    detail = [f"eigenvector condition {x:.3g}" for x in system.basis_condition]
    return f"{name} is diagonalizable", system.diagonalizable, detail


def _generic_rank(D: B) -> int:
    """Rank of a matrix with generic entries on D and zeros elsewhere."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import structural_rank

    return int(structural_rank(csr_array(D.astype(float))))


def _phases(rho: Any, D: B) -> Any:
    """rho / |rho| on D, where all moduli are equal, 0 elsewhere."""
    modulus = np.abs(rho)
    return np.where(D & (modulus > 0), rho / np.where(modulus > 0, modulus, 1), 0)


def _given_rank(c: Any, rho: Any, D: B) -> int:
    """Rank of C_l = (c_ij (rho_ij / |rho|)^l) on D, phases included; the largest over l.

    A 2x2 minor of C_l is a sum of two exponentials in l, so it vanishes at
    every l iff it does at l = 0 and 1: these two tell a rank of 1 from a
    larger one.  The others find the largest, which phases may hide at first.
    """
    phases = _phases(rho, D)
    ranks = []
    for layer in (0, 1, 2, 3, 5, 8, 13, 21):
        values = np.linalg.svd(np.where(D, c, 0) * phases**layer, compute_uv=False)
        ranks.append(int(np.sum(values > SILENT * values[0])))
    return max(ranks)


def _heard(law: Dominance, vectors: Any) -> B:
    """Which tokens of a given x0 the dominant modes reach at every layer, (b, n)."""
    assert law.coefficients is not None
    phases = _phases(law.rho, law.dominant)
    leading = np.where(law.dominant, law.coefficients, 0)
    heard = np.ones(law.rho.shape[:-1], dtype=bool)
    for layer in (0, 1):
        norms = np.linalg.norm(vectors @ (leading * phases**layer), axis=-1)
        heard &= norms > SILENT * np.max(norms, axis=-1, keepdims=True)
    return heard


def _silent_rows(modulus: Any, D: B, entries: B, heard: B) -> float:
    """Factor per layer of the angle between tokens where the dominant modes miss some tokens.

    Such a token follows the strongest mode that has an entry for it.  It ends
    up along the others' direction iff all of these modes share one weight
    eigenvalue, that of the dominant modes; 1 where it does not.
    """
    columns = np.flatnonzero(np.any(D, axis=0))
    if columns.size > 1:
        return 1.0
    others = np.arange(D.shape[1]) != columns[0]
    leading = np.any(D, axis=1)
    factors = [np.max(modulus[leading][:, others], initial=0.0) / np.max(modulus)]
    for token in np.flatnonzero(~heard):
        own = np.where(D, 0, modulus)[entries[token]]
        along, across = np.max(own[:, columns[0]], initial=0.0), np.max(own[:, others], initial=0.0)
        # a token that is zero for ever has no direction
        factors.append(across / along if across < (1 - TIE) * along else 1.0)
    return float(max(factors))


def _rates(modulus: Any) -> tuple[Any, Any]:
    """Factor per layer of sqrt(token diversity) and of sigma_2/sigma_1.

    sigma_1 sigma_2 grows like the largest product of two modes in different
    rows and columns; the largest such product holds either the leading mode
    or one mode of its row and one of its column.
    """
    size, n, d = modulus.shape
    top = np.max(modulus, axis=(-1, -2))
    safe = np.where(top > 0, top, 1)
    constant = np.max(modulus[:, 0, :], axis=-1)
    other = np.max(modulus[:, 1:, :], axis=(-1, -2), initial=0.0)
    q_token = other / np.where(constant > 0, constant, 1)
    best = np.argmax(modulus.reshape(size, -1), axis=-1)
    i, j = best // d, best % d
    off_row = np.arange(n)[None, :, None] != i[:, None, None]
    off_column = np.arange(d)[None, None, :] != j[:, None, None]
    rest = np.max(np.where(off_row & off_column, modulus, 0), axis=(-1, -2))
    in_row = np.max(np.where(~off_row & off_column, modulus, 0), axis=(-1, -2))
    in_column = np.max(np.where(off_row & ~off_column, modulus, 0), axis=(-1, -2))
    return q_token, np.maximum(top * rest, in_row * in_column) / safe**2
