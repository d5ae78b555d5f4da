"""False and overstated claims are refuted by a small system; true ones are not.

Each counterexample is then confirmed without linsim: by iterating it in exact rational numbers
(and measuring it by :mod:`oracle`), by exact fractions, or by NumPy's eigenvalues.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from flint import arb_mat, ctx, fmpq, fmpq_mat
from hypothesis import assume
from oracles import iterated as oracle

from linsim.testing import Refuted, Supported, System, falsify, load, replay, systems
from linsim.theory.bounds import GAPS

# --- what claims are made of -----------------------------------------------------------


#: premises and violations closer than this are not counted, so that no rounding refutes anything
CLEAR = 0.01


def real(values):
    return not np.iscomplexobj(values)


def moduli(system):
    """|1 + lambda mu|, (n, d); the constant mode in row 0."""
    return np.abs(1 + system.lam[:, None] * system.mu)


def leader(system):
    """The only dominant mode of a generic x0, as indices; other systems are left out."""
    rho = moduli(system)
    assume(np.sum(rho >= (1 - 1e-9) * rho.max()) == 1)
    return np.unravel_index(np.argmax(rho), rho.shape)


def diagonalizable(system):
    """Whether A and H are diagonalizable."""
    return all(a.holds for a in system.generic_law.assumptions if "diagonalizable" in a.name)


def elsewhere(rho, i, j):
    """Modes in other rows and other columns than (i, j)."""
    return np.delete(np.delete(rho, i, axis=0), j, axis=1)


def measured(system, layers, *metrics):
    """Each metric over the layers."""
    layers = list(layers)
    run = system.run(max(layers), layers=layers, metrics=metrics)
    return [run.metrics[name] for name in metrics]


def smallest(margins):
    """The smallest finite margin, inf if there is none."""
    margins = np.asarray(margins)
    return float(np.min(margins[np.isfinite(margins)], initial=math.inf)) + 1e-6


class Early:
    """Logarithms of sizes in layers 0 to 6, and the effective rank, by plain iteration.

    Parts that may be rounding count as nothing.
    """

    def __init__(self, system):
        states = [system.x0]
        for _ in range(6):
            states.append(states[-1] + system.A @ states[-1] @ system.H)
        X = np.array(states)
        size = np.linalg.norm(X, axis=(1, 2))
        mean = np.mean(X, axis=1, keepdims=True)
        low, high = (
            np.sqrt(system.n) * np.linalg.norm(mean, axis=(1, 2)),
            np.linalg.norm(X - mean, axis=(1, 2)),
        )
        self.low, self.high = (log(np.where(part > 1e-9 * size, part, 0)) for part in (low, high))
        self.diversity = 2 * self.high - 2 * log(np.where(size > 0, size, 1))
        self.spread = log(np.max(np.linalg.norm(X[:, :, None] - X[:, None], axis=-1), axis=(1, 2)))
        sigma = np.linalg.svd(X, compute_uv=False)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = sigma / np.sum(sigma, axis=1, keepdims=True)
            self.effective_rank = np.exp(-np.sum(np.where(share > 1e-12, share * np.log(share), 0), axis=1))


def steps(values):
    """Differences from layer to layer, NaN where nothing is left to compare."""
    with np.errstate(invalid="ignore"):
        return np.diff(values)


def log(x):
    with np.errstate(divide="ignore"):
        return np.log(x)


# --- what confirms a counterexample ----------------------------------------------------


def exact(M, *, stochastic=False):
    """The simple fractions that doubles stand for; rows of a stochastic matrix sum to 1."""
    rows = [[_fraction(float(x)) for x in row] for row in np.asarray(M)]
    if stochastic:
        rows = [[x / sum(row) for x in row] for row in rows]
    return fmpq_mat([[fmpq(x.numerator, x.denominator) for x in row] for row in rows])


def _fraction(x):
    simple = Fraction(x).limit_denominator(10**6)
    return simple if abs(float(simple) - x) <= 1e-14 * abs(x) else Fraction(x)


def truth(system, layers, *, generic=True, digits=1200, svd=True):
    """Metrics of exact states, by their definitions; from a generic x0 or the system's own."""
    A, H = exact(system.A, stochastic=True), exact(system.H)
    x0 = np.random.default_rng(0).integers(-999, 1000, (system.n, system.d)) if generic else system.x0
    X, layer, out = exact(x0), 0, []
    old, ctx.dps = ctx.dps, digits
    try:
        for target in layers:
            while layer < target:
                X, layer = X + A * X * H, layer + 1
            out.append(oracle.metrics(arb_mat(X), svd))
    finally:
        ctx.dps = old
    return {name: np.array([m[name] for m in out]) for name in out[0]}


def rho(system):
    """1 + lambda mu by NumPy, (n, d), the constant mode in row 0; and lambda, mu."""
    lam, mu = np.linalg.eigvals(system.A), np.linalg.eigvals(system.H)
    lam = lam[np.argsort(np.abs(lam - 1))]
    return 1 + lam[:, None] * mu, lam, mu


def lead_of_constant(system):
    """ln of the largest constant modulus over the largest other one, per layer."""
    modulus = np.abs(rho(system)[0])
    return float(log(modulus[0].max()) - log(modulus[1:].max()))


def grows(values, least):
    return np.all(np.diff(values) > least)


def falls(values, least):
    """Down to nothing, maybe at once."""
    gone = np.isneginf(values)
    return np.all(steps(values)[~gone[1:]] < -least)


def stays(values, least):
    """Above ``least`` and no longer moving (much)."""
    return np.all(values > least) and np.ptp(values) < 1


# --- false claims ----------------------------------------------------------------------


def positive_real_part_smooths(system):
    """False: a rotation in H can follow one in A."""
    assume(np.all(system.mu.real > CLEAR))
    return system.generic_law.margin + CLEAR


def _never_smooths(system):
    lead = lead_of_constant(system)
    assert lead < -CLEAR
    depth = math.ceil(10 / -lead)
    assert grows(truth(system, [depth, 2 * depth, 3 * depth], svd=False)["log_hfc_lfc"], 5)


def confirm_positive_real_part(system):
    assert np.all(rho(system)[2].real > 1e-6)
    _never_smooths(system)


def smallest_lambda_sharpens(system):
    """False: with a complex spectrum of A another eigenvalue can win."""
    assume(real(system.mu) and np.all((system.mu >= -1) & (system.mu < 0)))
    leftmost = system.lam.real <= system.lam.real.min() + 1e-9
    assume(not np.all(leftmost[1:]))
    largest = moduli(system).max(axis=1)
    # small mu, where all moduli are nearly 1, is no success
    return float(log(largest[leftmost].max() / largest[~leftmost].max()) / np.abs(system.mu).max()) + CLEAR


def confirm_smallest_lambda(system):
    values, lam, mu = rho(system)
    assert real(mu)
    assert np.all((mu >= -1 - 1e-12) & (mu < 0))
    largest = np.abs(values).max(axis=1)
    leftmost = lam.real <= lam.real.min() + 1e-9
    assert log(largest[leftmost].max()) < log(largest.max()) - CLEAR * np.abs(mu).max()
    # the state grows like the winner, not like the leftmost
    norm = truth(system, [200, 400], svd=False)["log_norm"]
    slope = np.diff(norm)[0] / 200
    assert abs(slope - log(largest.max())) < abs(slope - log(largest[leftmost].max())) / 2


def defective_pairs_close_like_one_over_l(system):
    """False: a Jordan block of H alone, or of A alone, turns a direction but closes geometrically."""
    norm, gap = measured(system, [50, 100], "log_norm", "log_rank_gap")
    top = log(moduli(system).max())
    with np.errstate(invalid="ignore"):
        growth = norm[1] - norm[0] - 50 * top
    assume(abs(growth - math.log(2)) < 0.1)  # l |rho|^l: a chain of two leads
    assume(np.all(np.isfinite(gap)))
    return float(gap[1] - gap[0]) + math.log(2) + 0.1


def confirm_defective(system):
    values, _, _ = rho(system)
    now = truth(system, [100, 200], generic=False)
    growth = np.diff(now["log_norm"])[0] - 100 * log(np.abs(values).max())
    assert abs(growth - math.log(2)) < 0.1
    assert falls(now["log_rank_gap"], 3)  # by far more than ln 2


def one_real_mode_aligns_angles(system):
    """False: a token where the eigenvector is zero follows its own next mode."""
    assume(np.all(system.A > 0))
    i, j = leader(system)
    assume(np.imag(system.lam[i]) == 0 and np.imag(system.mu[j]) == 0)
    return system.generic_law.angle_convergence


def confirm_angles_stay(system):
    values = np.sort(np.abs(rho(system)[0]).ravel())
    assert values[-2] < 0.999 * values[-1]
    now = truth(system, [150, 200, 250])
    assert falls(now["log_rank_gap"], 0.5)
    assert stays(now["log_abs_cosine_gap"], -5)


def escalation(P, X):
    """Escalation rate at s = 1 in expectation, similarity t, and sigma, of Y = X + P X W."""
    n = len(P)
    mean = np.full((n, n), 1 / n)
    rest = np.eye(n) - mean
    PX = P @ X
    low, high = np.sum((mean @ X) ** 2), np.sum((rest @ X) ** 2)
    low_next, high_next = low + np.sum((mean @ PX) ** 2), high + np.sum((rest @ PX) ** 2)
    diversity = high / (low + high)
    rate = 1 - high_next / (low_next + high_next) / diversity
    return rate, 1 - diversity, np.linalg.norm(rest @ P @ rest, 2)


def escalation_bound(system):
    """False unless P keeps token means: P X may have lost what tokens share."""
    # tokens that differ by rounding only have no diversity to speak of
    assume(np.linalg.norm(system.x0 - system.x0.mean(axis=0)) > 1e-6 * np.linalg.norm(system.x0))
    rate, t, sigma = escalation(system.A, system.x0)
    return rate - (1 - sigma**2) * t / (1 + sigma**2 + (1 - sigma**2) * t) + 1e-9


def confirm_escalation(system):
    n = system.n
    P, X = exact(system.A, stochastic=True), exact(system.x0)
    mean = fmpq_mat(n, n, [fmpq(1, n)] * n * n)
    rest = fmpq_mat([[int(i == j) for j in range(n)] for i in range(n)]) - mean

    def square(M):
        return sum((x * x for x in M.entries()), fmpq(0))

    low, high = square(mean * X), square(rest * X)
    low_next, high_next = low + square(mean * P * X), high + square(rest * P * X)
    rate = 1 - high_next / (low_next + high_next) * (low + high) / high
    sigma2 = square(rest * P * rest)  # at least that of the 2-norm, and the bound falls with it
    t = low / (low + high)
    assert rate < (1 - sigma2) * t / (1 + sigma2 + (1 - sigma2) * t)


def ties_prevent_rank_collapse(system):
    """False: ties within one row or one column leave rank 1."""
    assume(system.d > 1 and len(system.generic_law.dominant) > 1)
    return not system.generic_law.rank_collapse


def confirm_tie(system):
    values = np.abs(rho(system)[0])
    assert np.sum(values > (1 - 1e-12) * values.max()) > 1
    assert falls(truth(system, [50, 100, 200])["log_rank_gap"], 1)


def negative_weights_never_smooth(system):
    """False: below -2/(1 + a) the constant mode leads again."""
    assume(np.all(system.mu.real < -CLEAR))
    return CLEAR - system.generic_law.margin


def _smooths(system):
    lead = lead_of_constant(system)
    assert lead > CLEAR
    depth = math.ceil(10 / lead)
    assert falls(truth(system, [depth, 2 * depth, 3 * depth], svd=False)["log_hfc_lfc"], 5)


def confirm_negative(system):
    assert np.all(rho(system)[2].real < -1e-6)
    _smooths(system)


def nothing_above_minus_two_smooths(system):
    """False: a > 0 moves the boundary -2/(1 + a) above -2."""
    assume(real(system.mu) and np.all((system.mu > -2) & (system.mu < 0)))
    return CLEAR - system.generic_law.margin


def confirm_above_minus_two(system):
    mu = rho(system)[2]
    assert real(mu)
    assert np.all((mu > -2) & (mu < 0))
    _smooths(system)


def angles_converge_like_diversity(system):
    """False: where q_rank < q_tok angles converge faster."""
    law = system.generic_law
    assume(law.regime == "smoothing" and law.rates["cosine_gap"] > 0)
    return float(np.log(law.rates["cosine_gap"] / law.rates["token_diversity"])) + 1e-6


def confirm_angles_faster(system):
    now = truth(system, [100, 200])
    angle, diversity = (np.diff(now[f"log_{gap}"])[0] / 100 for gap in ("cosine_gap", "token_diversity"))
    assert angle < diversity - 0.05
    assert diversity < -1e-3


def reduced(gap):
    """Bound of a gap that closes, 30 percent smaller: false where the bound is tight."""

    def claim(system):
        rate = {"hfc_lfc": "token_diversity", "effective_rank_gap": "rank_gap"}.get(gap, gap)
        assume(0 < system.law.rates[rate] < 1)
        return bound_margin(system, [gap], math.log(0.7), (5, 20))

    claim.__name__ = f"reduced_bound_of_{gap}"
    return claim


def bound_margin(system, gaps, change, layers):
    """Least of bound + change - gap over gaps and layers."""
    law = system.law
    found = measured(system, layers, *(_name(gap, law) for gap in gaps))
    with np.errstate(invalid="ignore"):
        margins = [law.log_bound(g, list(layers)) + change - f for g, f in zip(gaps, found, strict=True)]
    return smallest(margins)


def _name(gap, law):
    """The metric that a bound is about."""
    absolute = gap == "cosine_gap" and not law.input_convergence
    return "log_abs_cosine_gap" if absolute else f"log_{gap}"


def confirm_reduced(gap):
    def confirm(system):
        layers = [5, 20]
        found = truth(system, layers, generic=False)[_name(gap, system.law)]
        bound = system.law.log_bound(gap, layers)
        there = np.isfinite(found)
        assert np.any(found[there] > bound[there] + math.log(0.7))
        assert np.all(found[there] <= bound[there] + 1e-9)

    return confirm


def rank_collapse_means_input_convergence(system):
    """False: any single real mode leaves rank 1."""
    assume(system.d > 1 and system.generic_law.rank_collapse)
    return system.generic_law.input_convergence


def confirm_rank_without_input(system):
    now = truth(system, [50, 100, 200])
    assert falls(now["log_rank_gap"], 1)
    assert np.all(now["log_token_diversity"] > -5)


def angle_convergence_means_input_convergence(system):
    """False: tokens can align with different lengths and signs."""
    assume(system.d > 1 and system.generic_law.angle_convergence)
    return system.generic_law.input_convergence


def confirm_angle_without_input(system):
    now = truth(system, [50, 100, 200])
    assert falls(now["log_abs_cosine_gap"], 1)
    assert np.all(now["log_token_diversity"] > -5)


def rank_collapse_means_angle_convergence(system):
    """False: a token where the eigenvector is zero keeps a direction of its own."""
    assume(system.generic_law.rank_collapse)
    return system.generic_law.angle_convergence


def confirm_rank_without_angle(system):
    now = truth(system, [50, 100, 200])
    assert falls(now["log_rank_gap"], 1)
    assert np.all(now["log_abs_cosine_gap"] > -5)


def largest_weight_eigenvalue_dominates(system):
    """False: |1 + lambda mu| decides, and mu = 1 beats mu = -3/2."""
    sizes = np.abs([m.weight_eigenvalue for m in system.generic_law.dominant])
    return float(sizes.max() - np.abs(system.mu).max()) + CLEAR


def confirm_largest_weight(system):
    values, _, mu = rho(system)
    values = np.abs(values)
    largest = np.abs(mu) >= np.abs(mu).max() - 1e-9
    top, claimed = values.max(), values[:, largest].max()
    assert claimed < top
    # the state grows like the winner
    slope = np.diff(truth(system, [200, 400], svd=False)["log_norm"])[0] / 200
    assert abs(slope - log(top)) < abs(slope - log(claimed)) / 2


def rank_closes_like_the_second_mode(system):
    """False: modes of the leader's own row or column do not raise the rank."""
    leader(system)
    assume(min(system.n, system.d) > 1)
    ordered = np.sort(moduli(system).ravel())
    rate = system.generic_law.rates["rank_gap"]
    assume(rate > 0 and diagonalizable(system))
    return float(np.log(rate * ordered[-1] / ordered[-2])) + 1e-6


def confirm_second_mode(system):
    ordered = np.sort(np.abs(rho(system)[0]).ravel())
    slope = np.diff(truth(system, [200, 300])["log_rank_gap"])[0] / 100
    assert slope < np.log(ordered[-2] / ordered[-1]) - 0.02


def rank_needs_no_product(system):
    """False: two modes beside the leader, one in its row and one in its column, make a minor too."""
    i, j = leader(system)
    assume(min(system.n, system.d) > 1)
    values = moduli(system)
    alone = elsewhere(values, i, j).max() / values[i, j]
    assume(alone > 0 and diagonalizable(system))
    return float(np.log(alone / system.generic_law.rates["rank_gap"])) + 1e-6


def confirm_product(system):
    values = np.abs(rho(system)[0])
    i, j = np.unravel_index(np.argmax(values), values.shape)
    alone = elsewhere(values, i, j).max() / values[i, j]
    slope = np.diff(truth(system, [200, 300])["log_rank_gap"])[0] / 100
    assert slope > np.log(alone) + 0.02


def positive_weights_lower_diversity(system):
    """False: H that is not normal, or A that is not doubly stochastic, lets it grow for a while."""
    assume(real(system.mu) and np.all(system.mu > CLEAR))
    return smallest(-steps(Early(system).diversity))


def confirm_diversity_rises(system):
    mu = rho(system)[2]
    assert real(mu)
    assert np.all(mu > 1e-6)
    assert np.any(np.diff(truth(system, range(7), generic=False)["log_token_diversity"]) > 1e-6)


def converging_tokens_lower_effective_rank(system):
    """False: a second direction can grow beside the first while tokens already approach each other."""
    assume(system.d > 1 and system.law.input_convergence)
    early = Early(system)
    return smallest(np.where(steps(early.diversity) < -1e-6, -steps(early.effective_rank), math.inf))


def confirm_effective_rank_rises(system):
    now = truth(system, range(7), generic=False)
    falling = np.diff(now["log_token_diversity"]) < 0
    assert np.any(falling & (np.diff(now["effective_rank"]) > 0))
    later = truth(system, [100, 200, 400], generic=False, svd=False)
    assert falls(later["log_token_diversity"], 1.2)  # 2 ln 2: at least like l^-2


def sharpening_makes_tokens_diverse(system):
    """False: diversity tends to |Pi_perp v|^2 / |v|^2, 1 only if v has mean 0."""
    assume(system.law.regime == system.generic_law.regime == "sharpening")
    assume(system.generic_law.margin < -0.5)
    (diversity,) = measured(system, [60], "log_token_diversity")
    assume(np.isfinite(diversity[0]))
    return float(diversity[0]) + CLEAR


def confirm_sharpening(system):
    now = truth(system, [100, 110, 120, 130], generic=False, svd=False)["log_token_diversity"]
    assert np.all(now < -CLEAR / 2)
    lam, V = np.linalg.eig(system.A)
    values = np.abs(1 + lam[:, None] * np.linalg.eigvals(system.H))
    v = V[:, np.unravel_index(np.argmax(values), values.shape)[0]]
    second, first = np.sort(values, axis=None)[-2:]
    if second < (1 - 1e-9) * first:
        # so deep that the second mode is gone, or as deep as is cheap
        depth = min(2000, 130 + int(25 / log(first / max(second, 1e-9))))
        now = truth(system, [depth], generic=False, svd=False)["log_token_diversity"]
        limit = 2 * log(np.linalg.norm(v - np.mean(v)) / np.linalg.norm(v))
        assert now[-1] == pytest.approx(limit, abs=1e-6 + 100 * (second / first) ** depth)


def every_x0_behaves_like_a_generic_one(system):
    """False: an x0 can lack the modes that would win."""
    return bool(system.law.input_convergence == system.generic_law.input_convergence)


def confirm_special_x0(system):
    own, generic = (
        truth(system, [100, 200], generic=g, svd=False)["log_token_diversity"] for g in (False, True)
    )
    converge = [(x[1] < -20) for x in (own, generic)]
    assert converge in ([True, False], [False, True])


def balanced_moduli_prevent_input_convergence(system):
    """False: a Jordan block can break the tie."""
    assume(system.generic_law.regime == "balanced")
    return not system.generic_law.input_convergence


def confirm_broken_tie(system):
    assert abs(lead_of_constant(system)) < 1e-6
    now = truth(system, [200, 400, 800], svd=False)["log_token_diversity"]
    assert falls(now, 1.2)  # 2 ln 2 for l^-2


def complex_weights_prevent_rank_collapse(system):
    """False: a pair at one lambda is one row of modes, rank 1 in a rotating direction."""
    assume(any(np.imag(m.weight_eigenvalue) for m in system.generic_law.dominant))
    return not system.generic_law.rank_collapse


def confirm_complex_collapse(system):
    values, _, mu = rho(system)
    values = np.abs(values)
    assert np.any(np.abs(mu[np.any(values > (1 - 1e-12) * values.max(), axis=0)].imag) > 1e-6)
    assert falls(truth(system, [50, 100, 200])["log_rank_gap"], 1)


def one_dominant_pair_leaves_rank_one(system):
    """False: with lambda and mu both complex the real state needs two rows and two columns."""
    dominant = system.generic_law.dominant
    assume(len(dominant) == 2)
    p, q = (complex(m.value) for m in dominant)
    assume(abs(p.imag) > 1e-6 and abs(p - q.conjugate()) < 1e-9 * abs(p))
    return system.generic_law.limit_rank == 1


def confirm_rank_two(system):
    values, lam, mu = rho(system)
    top = np.argwhere(np.abs(values) > (1 - 1e-12) * np.abs(values).max())
    assert len(top) == 2
    assert np.all(np.abs(lam[top[:, 0]].imag) > 1e-6)
    assert np.all(np.abs(mu[top[:, 1]].imag) > 1e-6)
    for begin in (100, 200):  # it turns: sometimes flat, but never for long
        assert np.max(truth(system, range(begin, begin + 12))["log_rank_gap"]) > -4


def diverse_part_shrinks_at_once(system):
    """False without condition numbers: eigenvectors that are not orthogonal let it grow first."""
    high = Early(system).high
    factor = np.max(moduli(system)[1:])
    assume(factor > 1e-3)
    with np.errstate(invalid="ignore"):
        return smallest(high[0] + np.arange(7) * np.log(factor) - high)


def confirm_diverse_part(system):
    now = truth(system, range(7), generic=False, svd=False)
    high = now["log_norm"] + now["log_token_diversity"] / 2
    factor = np.log(np.max(np.abs(rho(system)[0][1:])))
    assert np.any(high > high[0] + np.arange(7) * factor + 1e-7)


def claimed_mean_part(system):
    """Return ln of sqrt(n) max_j |rho_1j|^l |pi^T X_0 w_j| / |w_j|, layers 0 to 6."""
    lam, left = np.linalg.eig(system.A.T)
    pi = left[:, np.argmin(np.abs(lam - 1))].real
    mu, W = np.linalg.eig(system.H)
    parts = log(np.abs(pi / pi.sum() @ system.x0 @ W) / np.linalg.norm(W, axis=0))
    size = np.maximum(log(np.abs(1 + mu)), -1e3)  # not -inf: layer 0 has every part
    return np.log(system.n) / 2 + np.max(parts + np.arange(7)[:, None] * size, axis=1)


def mean_part_needs_no_last_term(system):
    """False unless A is doubly stochastic: the diverse part has a mean too."""
    low = Early(system).low
    there = np.isfinite(low)
    return smallest(low[there] - claimed_mean_part(system)[there])


def confirm_mean_part(system):
    now = truth(system, range(7), generic=False, svd=False)
    low = now["log_norm"] + log(now["token_similarity"]) / 2
    assert np.any(low < claimed_mean_part(system) - 1e-7)


def small_diversity_means_close_tokens(system):
    """False: tokens can grow faster than they part."""
    early = Early(system)
    assume(early.diversity[6] < early.diversity[0] - 1)
    return smallest(early.spread[0] - early.spread[6])


def confirm_spread(system):
    now = truth(system, [0, 6], generic=False, svd=False)
    assert falls(now["log_token_diversity"], 0.9)
    assert grows(now["log_spread"], 1e-7)


ALL = systems(n=(2, 5), d=(1, 4))

#: claim, where to look (everywhere, or near a premise that is rare there), what confirms it
FALSE = [
    (
        positive_real_part_smooths,
        systems(n=3, d=2, weights="complex", attention=["circulant", "general"]),
        confirm_positive_real_part,
    ),
    (
        smallest_lambda_sharpens,
        systems(n=(3, 4), d=1, weights="normal", attention="circulant"),
        confirm_smallest_lambda,
    ),
    (defective_pairs_close_like_one_over_l, systems(n=(2, 3), d=2, weights="defective"), confirm_defective),
    (one_real_mode_aligns_angles, systems(d=2, weights="normal", attention="symmetric"), confirm_angles_stay),
    (escalation_bound, ALL, confirm_escalation),
    (ties_prevent_rank_collapse, ALL, confirm_tie),
    (negative_weights_never_smooth, ALL, confirm_negative),
    (angles_converge_like_diversity, ALL, confirm_angles_faster),
    *((reduced(gap), ALL, confirm_reduced(gap)) for gap in GAPS),
    (rank_collapse_means_input_convergence, ALL, confirm_rank_without_input),
    (angle_convergence_means_input_convergence, ALL, confirm_angle_without_input),
    (rank_collapse_means_angle_convergence, ALL, confirm_rank_without_angle),
    (nothing_above_minus_two_smooths, systems(d=1, weights="normal"), confirm_above_minus_two),
    (largest_weight_eigenvalue_dominates, ALL, confirm_largest_weight),
    (rank_closes_like_the_second_mode, ALL, confirm_second_mode),
    (rank_needs_no_product, systems(d=2), confirm_product),
    (positive_weights_lower_diversity, systems(d=(1, 2)), confirm_diversity_rises),
    (converging_tokens_lower_effective_rank, ALL, confirm_effective_rank_rises),
    (sharpening_makes_tokens_diverse, systems(d=1), confirm_sharpening),
    (every_x0_behaves_like_a_generic_one, ALL, confirm_special_x0),
    (balanced_moduli_prevent_input_convergence, systems(weights="defective"), confirm_broken_tie),
    (complex_weights_prevent_rank_collapse, ALL, confirm_complex_collapse),
    (
        one_dominant_pair_leaves_rank_one,
        systems(n=(2, 5), attention="circulant", weights="complex"),
        confirm_rank_two,
    ),
    (diverse_part_shrinks_at_once, ALL, confirm_diverse_part),
    (mean_part_needs_no_last_term, ALL, confirm_mean_part),
    (small_diversity_means_close_tokens, ALL, confirm_spread),
]


def refute(claim, strategy, confirm, directory, seed, examples=1000):
    """Search with the default budget; the counterexample must be small, saved, and confirmed."""
    found = falsify(claim, strategy, seed=seed, path=directory, max_examples=examples)
    assert isinstance(found, Refuted), str(found)
    assert found.system.n <= 4
    assert found.system.d <= 3
    assert load(found.path) == found.system
    assert replay(found.path, claim) < (1 if found.margin is None else 0)
    confirm(found.system)
    return found


FALSE_CLAIMS = pytest.mark.parametrize(
    ("claim", "strategy", "confirm"), [pytest.param(*row, id=row[0].__name__) for row in FALSE]
)


@pytest.mark.sample(5)
@pytest.mark.parametrize("seed", [None, pytest.param(1, marks=pytest.mark.full)])
@FALSE_CLAIMS
def test_false_claims_are_refuted(claim, strategy, confirm, seed, tmp_path):
    refute(claim, strategy, confirm, tmp_path, seed)


#: unremarkable systems: each false claim holds for some of them
PLAIN = [
    System([[0.75, 0.25], [0.25, 0.75]], np.diag([1, 0.5]), [[1, 1], [0, 2]]),
    System([[0.75, 0.25], [0.25, 0.75]], np.diag([-0.5, -0.25]), [[1, 1], [0, 2]]),
    System([[0.25, 0.75], [0.75, 0.25]], np.diag([1, -1.5]), [[1, 1], [0, 2]]),
    System(np.full((3, 3), 1 / 3), [[0, 1], [-2, -1]], np.eye(3, 2)),  # whose bounds are not tight
]


@FALSE_CLAIMS
def test_confirmations_can_fail(claim, strategy, confirm):
    rejected = 0
    for system in PLAIN:
        try:
            confirm(system)
        except AssertionError:
            rejected += 1
    assert rejected


# --- true claims -----------------------------------------------------------------------


def smooth_interval(system):
    """Real mu > 0 smooth, whatever the spectrum of A."""
    assume(real(system.mu) and np.all(system.mu > 1e-9))
    return system.generic_law.margin + 1e-9


def smooth_half_plane(system):
    """Re mu > 0 smooths where the spectrum of A is real."""
    assume(real(system.lam) and np.all(system.mu.real > 1e-9))
    return system.generic_law.margin + 1e-9


def sharpen_interval(system):
    """Mu in [-1, 0) never smooths, whatever the spectrum of A."""
    assume(real(system.mu) and np.all((system.mu >= -1) & (system.mu < 0)))
    law = system.generic_law
    return -math.inf if law.input_convergence or law.regime == "smoothing" else 1e-9 - law.margin


def end_points_dominate(system):
    """A real spectrum of A: one of lambda = 1 and lambda = lambda_min dominates."""
    assume(real(system.lam))
    values = [m.attention_eigenvalue for m in system.generic_law.dominant]
    return 1e-6 - min(abs(value - end) for value in values for end in (1, system.lam.min()))


def one_audible_real_mode_aligns_angles(system):
    """A single real mode without zero entries aligns every pair of tokens."""
    i, j = leader(system)
    assume(np.imag(system.lam[i]) == 0 and np.imag(system.mu[j]) == 0)
    lam, V = np.linalg.eig(system.A)
    v = np.abs(V[:, np.argmin(np.abs(lam - system.lam[i]))])
    assume(v.min() > 1e-3 * v.max())
    return system.generic_law.angle_convergence


def convergences_are_nested(system):
    """Input convergence aligns angles, and aligned angles are rank 1."""
    law = system.law
    return law.input_convergence <= law.angle_convergence <= law.rank_collapse


def bounds_hold(system):
    """Every proven bound, at every depth."""
    return bound_margin(system, GAPS, 0.0, (0, 1, 2, 3, 5, 8, 20, 100, 400))


TRUE = [
    (smooth_interval, systems(d=(1, 2), weights=["normal", "nonnormal", "defective"]), 120),
    (smooth_half_plane, systems(d=(1, 2), attention=["symmetric", "reversible", "causal"]), 120),
    (sharpen_interval, systems(d=(1, 2), weights=["normal", "nonnormal", "defective"]), 120),
    (end_points_dominate, ALL, 120),
    (one_audible_real_mode_aligns_angles, ALL, 120),
    (convergences_are_nested, ALL, 120),
    (bounds_hold, ALL, 30),
    (escalation_bound, systems(attention=["symmetric", "circulant"]), 300),
]


def support(claim, strategy, examples, directory, seed=None):
    found = falsify(claim, strategy, max_examples=examples, seed=seed, path=directory)
    assert isinstance(found, Supported), str(found)
    assert found.tried >= examples / 2


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("claim", "strategy", "examples"), [pytest.param(*row, id=row[0].__name__) for row in TRUE]
)
def test_true_claims_are_supported(claim, strategy, examples, tmp_path):
    support(claim, strategy, examples, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize(
    ("claim", "strategy", "examples"), [pytest.param(*row, id=row[0].__name__) for row in TRUE]
)
def test_true_claims_are_supported_at_length(claim, strategy, examples, seed, tmp_path):
    support(claim, strategy, 10 * examples, tmp_path, seed)


def test_the_harness_tells_true_from_false(tmp_path):
    with pytest.raises(AssertionError, match="No counterexample to smooth_interval"):
        refute(smooth_interval, ALL, _smooths, tmp_path, None, 20)
    with pytest.raises(AssertionError, match="negative_weights_never_smooth is false"):
        support(negative_weights_never_smooth, ALL, 300, tmp_path)
