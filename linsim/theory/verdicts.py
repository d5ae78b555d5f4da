"""Verdicts for one attention and one weight matrix: from the dominant set to every limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .._eigen import Eigensystem
from .._types import EPS, BoolArray
from .bounds import Bounds
from .dominance import DOUBLE, TIE, Beyond, Dominance, Precision, tie
from .prediction import Assumption, Mode, Prediction
from .rates import beats, rates, silent_rate
from .rounding import known as known_coefficients

__all__ = ["verdicts", "with_caution"]

SILENT = 1e-10  # smaller entries, relatively, count as zero where rounding cannot be told from them


def verdicts(
    A: Any,
    H: Any,
    x0: Any,
    attention: Eigensystem,
    weights: Eigensystem,
    law: Dominance,
    batch: tuple[int, ...],
    precision: Precision = DOUBLE,
    beyond: Beyond | None = None,
    bounds: Any = None,
) -> Prediction:
    """Judge a stack of systems known to a ``precision``; the fields get the shape ``batch``.

    ``beyond``: what is known beside the spectra of stochastic attention; ``bounds``: in place of
    those of stochastic attention.
    """
    size, n = law.rho.shape[:2]
    close, quiet = tie(max(precision[:2])), tie(precision.coarsest, SILENT)
    D = law.dominant
    rows, columns = np.any(D, axis=2), np.any(D, axis=1)
    constant, others = (np.any(x, axis=(-1, -2)) for x in (law.tied[:, :1], law.tied[:, 1:]))
    uniform = np.ones(size, dtype=bool) if beyond is None else np.broadcast_to(beyond.constant, size)
    constant, others = constant & uniform, others | (constant & ~uniform)
    level = (constant & others) | law.vanishes
    regime = np.where(level, "balanced", np.where(constant, "smoothing", "sharpening"))
    # a tie of moduli may still be broken by a power of depth
    smooth = rows[:, 0] & ~np.any(rows[:, 1:], axis=-1) & ~law.vanishes & uniform

    entries = np.broadcast_to(_entries(attention, precision.attention), (size, n, n))
    rank = np.ones(size, dtype=int)
    several = (np.sum(rows, axis=-1) > 1) & (np.sum(columns, axis=-1) > 1)
    heard = np.any(entries & rows[:, None, :], axis=-1)
    # without a basis of eigenvectors coefficients mean nothing: a generic input stands for x0
    known = np.broadcast_to(attention.diagonalizable & weights.diagonalizable, size)
    if law.coefficients is not None:
        heard = np.where(known[:, None], _heard(law, attention.right, quiet), heard)
    for s in np.flatnonzero(several):
        if law.coefficients is not None and known[s]:
            rank[s] = _given_rank(law.coefficients[s], law.rho[s], D[s], quiet)
        else:
            rank[s] = _generic_rank(D[s])
    rank[law.vanishes] = 0
    collapse = rank == 1
    modulus = np.where(law.present, np.abs(law.rho), 0.0)
    if close > TIE:
        # what the entries cannot tell apart is one modulus
        modulus = np.where(law.tied, np.max(modulus, axis=(-1, -2), keepdims=True), modulus)
    q = rates(modulus)
    q_token, q_rank = (np.where(x > 1 - close, 1.0, x) for x in (q.token, q.rank))
    angle, q_angle = collapse & np.all(heard, axis=-1), np.array(q_rank)
    for s in np.flatnonzero(collapse & ~angle):
        q_angle[s], angle[s] = silent_rate(modulus[s], law.growth[s], D[s], entries[s], heard[s])
    factors = {
        "token_diversity": np.where(smooth, q_token**2, 1.0),
        "cosine_gap": np.where(angle, q_angle**2, 1.0),
        "rank_gap": np.where(collapse, q_rank, 1.0),
    }

    # Jordan chains bring powers of depth, and slopes that settle like 1/l
    chained = np.any(law.growth > 0, axis=(-1, -2))
    settling = {
        "token_diversity": np.where(chained, 1.0, q.token_relaxation),
        "cosine_gap": np.where(chained, 1.0, q.rank_relaxation),
        "rank_gap": np.where(chained, 1.0, q.rank_relaxation),
    }
    beat = dict(zip(("token_diversity", "rank_gap"), beats(law.rho, modulus), strict=True))
    beat["cosine_gap"] = beat["rank_gap"]
    polynomial = (smooth & (q_token == 1)) | (collapse & (q_rank == 1))

    def shaped(x: Any) -> Any:
        x = np.array(np.broadcast_to(np.asarray(x), size)).reshape(batch)
        return x.item() if batch == () else x

    positive, limit = np.min(A, axis=(-1, -2)), _limit_ratio(attention, rows, law.vanishes)
    silent = np.sum(~heard, axis=-1)
    declared = beyond is not None and not beyond.stochastic  # then entries of either sign are meant
    assumptions = [
        (
            "attention has positive entries",
            positive > (-np.inf if declared else 0),
            [f"smallest entry {x:.3g}" for x in positive],
        ),
        _basis("attention", attention),
        _basis("weights", weights),
        (
            "regime boundary is resolved",
            np.abs(law.margin) > np.maximum(TIE, law.resolution),
            [f"ln ratio of moduli {x:.3g}" for x in law.margin],
        ),
        (
            "every token is in the dominant modes",
            silent == 0,
            [f"{k} of {n} tokens follow weaker modes" for k in silent],
        ),
        (
            "gaps close geometrically, if at all",
            ~polynomial,
            [f"modes up to l^{k} |rho|^l" for k in np.max(np.where(law.tied, law.growth, 0), axis=(-1, -2))],
        ),
        *(
            []
            if law.coefficients is None
            else [
                ("x0 is judged by its own modes", known, ["else as a generic input"] * size),
                _left_out(A, H, x0, attention, weights, law, precision.tokens, beyond),
            ]
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
        rates={k: shaped(v) for k, v in factors.items()},
        relaxations={k: shaped(v) for k, v in settling.items()},
        beats={k: shaped(v) for k, v in beat.items()},
        assumptions=tuple(Assumption(name, each(holds), each(detail)) for name, holds, detail in assumptions),
        bounds=Bounds(attention, weights, law, x0, A, H, precision.tokens) if bounds is None else bounds,
        limit_hfc_lfc=shaped(np.where(smooth, 0.0, limit)),
    )


def _limit_ratio(attention: Eigensystem, rows: BoolArray, vanishes: BoolArray) -> Any:
    """HFC/LFC of the one real right vector that all dominant modes share, (b,); NaN where there is none."""
    right = np.broadcast_to(attention.right, (rows.shape[0], *attention.right.shape[1:]))
    values = np.broadcast_to(attention.values, rows.shape)
    index = np.argmax(rows, axis=-1)[:, None]
    alone = (np.sum(rows, axis=-1) == 1) & ~vanishes
    alone &= np.take_along_axis(values, index, axis=-1)[:, 0].imag == 0
    v = np.take_along_axis(right, index[:, None, :], axis=-1)[:, :, 0].real
    mean = np.mean(v, axis=-1, keepdims=True)
    low = np.sqrt(v.shape[-1]) * np.abs(mean[:, 0])
    high = np.linalg.norm(v - mean, axis=-1)
    # a mean of the size of rounding is none
    low = np.where(low > 64 * v.shape[-1] * EPS, low, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(alone, high / low, np.nan)


def _entries(attention: Eigensystem, eps: float = EPS) -> BoolArray:
    """Which entries of the eigenvectors are more than rounding, (b, n, n): token by mode.

    A perturbation E moves v_i by sum_k v_k (u_k^T E v_i) / (lambda_i - lambda_k).
    """
    apart = np.abs(attention.values[:, :, None] - attention.values[:, None, :])
    np.einsum("...ii->...i", apart)[...] = np.inf
    reach = np.linalg.norm(attention.left, axis=-1)[:, None, :] / np.maximum(apart, EPS)
    error = 16 * eps * attention.norm[:, None] * np.sum(reach, axis=-1)
    vectors = np.abs(attention.right)
    return vectors > np.minimum(error + 16 * eps, tie(eps, SILENT))[:, None, :] * np.max(
        vectors, axis=-2, keepdims=True
    )


def with_caution(law: Prediction, coarse: Prediction, seeming: Precision) -> Prediction:
    """``law`` with an assumption that fails where ``coarse``, the law at another precision, differs."""
    names = ("regime", "input_convergence", "angle_convergence", "rank_collapse", "limit_rank")
    differs = np.zeros(np.shape(law.regime), dtype=bool)
    details = np.full(np.shape(law.regime), f"entries look rounded to {seeming.coarsest:.2g}", dtype=object)
    for name in names:
        p, q = np.asarray(getattr(law, name)), np.asarray(getattr(coarse, name))
        new = (p != q) & ~differs
        for at in np.argwhere(new):
            index = tuple(at)
            details[index] += f", where {name.replace('_', ' ')} would be {q[index]}"
        differs = differs | new
    entry = Assumption(
        "verdicts do not rest on digits that the entries seem to lack",
        ~differs if np.ndim(differs) else not bool(differs),
        details.astype(str) if np.ndim(differs) else str(details[()]),
    )
    return replace(law, assumptions=(*law.assumptions, entry))


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


def _basis(name: str, system: Eigensystem) -> tuple[str, BoolArray, list[str]]:
    detail = [f"eigenvector condition {x:.3g}" for x in system.basis_condition]
    return f"{name} is diagonalizable", system.diagonalizable, detail


def _left_out(
    A: Any,
    H: Any,
    x0: Any,
    attention: Eigensystem,
    weights: Eigensystem,
    law: Dominance,
    eps: float,
    beyond: Beyond | None,
) -> tuple[str, BoolArray, list[str]]:
    """Coefficients that count as zero but may not be: their modes may take over in the end."""
    assert law.coefficients is not None
    count = np.zeros(law.rho.shape[0], dtype=int)
    present = law.present if beyond is None else law.present | beyond.absent
    s = np.flatnonzero(np.any(~present, axis=(-1, -2)))
    if s.size:
        A, H, x0 = (M[s] if M.shape[0] > 1 else M for M in (A, H, x0))
        attention, weights = (
            Eigensystem(*(x[s] if x.shape[0] > 1 else x for x in vars(system).values()))
            for system in (attention, weights)
        )
        constant = None if beyond is None or beyond.stochastic else beyond.constant
        if constant is not None:
            constant = np.broadcast_to(constant, law.rho.shape[0])[s]
        found = known_coefficients(A, H, x0, attention, weights, law.coefficients[s], eps, constant)
        count[s] = np.sum(~present[s] & ((found.size > 0) | (found.error > 0)), axis=(-1, -2))
    detail = [f"{k} of them within rounding of zero" for k in count]
    return "modes left out of x0 have coefficient zero", count == 0, detail


def _generic_rank(D: BoolArray) -> int:
    """Rank of a matrix with generic entries on D and zeros elsewhere."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import structural_rank

    return int(structural_rank(csr_array(D.astype(float))))


def _phases(rho: Any, D: BoolArray) -> Any:
    """rho / |rho| on D, where all moduli are equal, 0 elsewhere."""
    modulus = np.abs(rho)
    return np.where(D & (modulus > 0), rho / np.where(modulus > 0, modulus, 1), 0)


def _given_rank(c: Any, rho: Any, D: BoolArray, quiet: float = SILENT) -> int:
    """Rank of C_l = (c_ij (rho_ij / |rho|)^l) on D, phases included; the largest over l.

    A 2x2 minor of C_l is a sum of two exponentials in l, so it vanishes at
    every l iff it does at l = 0 and 1: these two tell a rank of 1 from a
    larger one.  The others find the largest, which phases may hide at first.
    """
    phases = _phases(rho, D)
    ranks = []
    for layer in (0, 1, 2, 3, 5, 8, 13, 21):
        values = np.linalg.svd(np.where(D, c, 0) * phases**layer, compute_uv=False)
        ranks.append(int(np.sum(values > quiet * values[0])))
    return max(ranks)


def _heard(law: Dominance, vectors: Any, quiet: float = SILENT) -> BoolArray:
    """Which tokens of a given x0 the dominant modes reach at every layer, (b, n)."""
    assert law.coefficients is not None
    phases = _phases(law.rho, law.dominant)
    leading = np.where(law.dominant, law.coefficients, 0)
    heard = np.ones(law.rho.shape[:-1], dtype=bool)
    for layer in (0, 1):
        norms = np.linalg.norm(vectors @ (leading * phases**layer), axis=-1)
        heard &= norms > quiet * np.max(norms, axis=-1, keepdims=True)
    return heard
