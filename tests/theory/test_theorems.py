"""Every statement on dominance, limits and rates, attacked through its bound at all depths.

A claim returns a margin: how far the finite-depth inequality is from being
violated, the smallest over layers; ``falsify`` searches for a negative one.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from oracles.iterated import trajectory

from linsim import simulate, testing

EPS = np.finfo(float).eps
LAYERS = np.array([0, 1, 2, 3, 4, 5, 8, 13, 30, 100])
#: a simulated gap is reported only where its relative error is below this
ROUNDING = 1e-6
FAR = 10**9  # a closing bound must be far below zero here


def has_basis(system):
    """Both matrices have a basis of eigenvectors, and not a degenerate one."""
    return all(a.holds for a in system.law.assumptions if "diagonalizable" in a.name)


def holds_every_mode_it_may(system):
    """No mode is left out of x0 that rounding alone may have put there: a bound must count it in the end."""
    return all(a.holds for a in system.law.assumptions if "left out" in a.name)


def smallest(difference):
    """The smallest finite entry; infinite or unmeasured ones say nothing."""
    difference = difference[np.isfinite(difference)]
    return float(np.min(difference)) if difference.size else np.inf


def measured(system, metric):
    return system.run(int(LAYERS[-1]), layers=LAYERS, metrics=[metric]).metrics[metric]


def under_bound(system, gap, metric=None):
    """Bound minus measured gap plus rounding, the smallest over layers."""
    with np.errstate(invalid="ignore"):
        return smallest(
            system.law.log_bound(gap, LAYERS) - measured(system, metric or f"log_{gap}") + ROUNDING
        )


def closes(system, gap):
    """-10 minus the bound at a billion layers: negative if it has not closed though the rate says so."""
    assume(system.law.rates[gap] < 1 - 1e-6 and holds_every_mode_it_may(system))
    return -10 - system.law.log_bound(gap, FAR)


def modal_limit(system):
    """V C_l Z at each layer, and how far X_l / |rho|^l can be from it, from NumPy's eigenvalues alone."""
    lam, V = np.linalg.eig(system.A)
    mu, W = np.linalg.eig(system.H)
    conditions = np.linalg.cond(V), np.linalg.cond(W)
    assume(max(conditions) < 1e4)
    U, Z = np.linalg.inv(V), np.linalg.inv(W)
    c = U @ system.x0 @ W
    rho = 1 + lam[:, None] * mu
    rounding = 64 * EPS * conditions[0] * conditions[1]
    size = np.linalg.norm(system.x0)
    present = np.abs(c) > 16 * rounding * size
    top = np.max(np.where(present, np.abs(rho), 0))
    assume(top > 0.01)
    spread = np.abs(np.abs(rho) - top)
    dominant = present & (spread < 1e-9)
    assume(not np.any(present & ~dominant & (spread < 1e-4)))  # neither a tie nor apart
    lengths = np.linalg.norm(Z, axis=1)
    limits, distances = [], []
    phase, share = np.where(dominant, rho / top, 0), np.where(present, np.abs(rho) / top, 0)
    # what x0 holds of a mode by rounding alone grows as well, and the simulator sees it
    hidden = np.where(present, 0, 16 * rounding * size * lengths), np.where(present, 0, np.abs(rho) / top)
    for layer in LAYERS:
        limits.append(V @ np.where(dominant, c * phase**layer, 0) @ Z)
        rest = np.where(dominant, 0, np.abs(c) * share**layer)
        # rounding of rho and c, layer by layer, of all that is there
        distances.append(
            np.sum(rest * lengths)
            + rounding * (layer + 1) * size * conditions[0] * conditions[1]
            + np.sum(hidden[0] * hidden[1] ** layer)
        )
    return np.array(limits), np.array(distances), np.log(top), int(np.linalg.matrix_rank(dominant))


def normalised_states(system, log_top):
    """X_l / |rho|^l, and at which layers it is known."""
    run = simulate(
        system.rule,
        system.x0,
        int(LAYERS[-1]),
        layers=LAYERS,
        metrics=["log_norm"],
        keep_states=True,
        resolution=ROUNDING,
    )
    # beyond, a mode that x0 lacks has grown out of its rounding
    clean = np.isfinite(run.metrics["log_norm"])
    assume(clean[:3].all())
    return run.states[clean] * np.exp(run.state_log_scale - LAYERS * log_top)[clean, None, None], clean


# --- the statements --------------------------------------------------------------------


def input_convergence(system):
    """dominance.global: where the constant mode dominates, t_div is below a bound that closes."""
    assume(system.law.input_convergence)
    return under_bound(system, "token_diversity")


def input_convergence_is_a_limit(system):
    assume(system.law.input_convergence and has_basis(system))
    return closes(system, "token_diversity")


def no_input_convergence(system):
    """dominance.global, "only if": elsewhere t_div is above a bound that does not close."""
    law = system.law
    assume(not law.input_convergence and has_basis(system) and law.limit_rank > 0)
    with np.errstate(invalid="ignore"):
        above = measured(system, "log_token_diversity") - law.log_lower_bound("token_diversity", LAYERS)
    if not holds_every_mode_it_may(system):
        return smallest(above + ROUNDING)
    # -100: no mode that counts is smaller at the start than 1e-13
    return min(smallest(above + ROUNDING), law.log_lower_bound("token_diversity", 10**7) + 100)


def sharpening_interval(system):
    """sharpen.interval: all mu in [-1, 0), any attention: t_div of a generic input does not close."""
    assume(np.isrealobj(system.mu) and np.all((system.mu >= -1) & (system.mu < 0)))
    return no_input_convergence(system)


def smoothing_interval(system):
    """smooth.interval: all mu > 0, any attention: t_div of a generic input closes."""
    assume(np.isrealobj(system.mu) and np.all(system.mu > 0) and has_basis(system))
    assume(system.generic_law.margin > 1e-6)  # A is not a permutation to rounding
    assume(np.linalg.norm(system.x0.sum(axis=0)) > 0 and system.law.input_convergence)
    return min(under_bound(system, "token_diversity"), closes(system, "token_diversity"))


def end_points(system):
    """dominance.endpoints: for a real spectrum the largest |1 + lambda mu| is at 1 or lambda_min."""
    assume(np.isrealobj(system.lam))
    modulus = np.abs(1 + system.lam[:, None] * system.mu)
    return float(np.min(np.maximum(modulus[0], modulus[-1]) - np.max(modulus, axis=0))) + 1e-12


def boundary(system):
    """dominance.boundary, the disk: a wins at mu iff |mu + 1/(1+a)| < 1/(1+a)."""
    assume(np.isrealobj(system.lam) and system.lam[-1] > -0.999)
    a = system.lam[-1]
    inside = 1 / (1 + a) - np.abs(system.mu + 1 / (1 + a))
    gain = np.abs(1 + a * system.mu) - np.abs(1 + system.mu)
    # both signs agree where they are not rounding
    clear = (np.abs(inside) > 1e-9) & (np.abs(gain) > 1e-9)
    return bool(np.all((inside > 0)[clear] == (gain > 0)[clear]))


def no_residual_lowpass(system):
    """noresidual.lowpass: X -> A X H loses t_div like |lambda_2|^l, for any H that is not nilpotent."""
    n = system.n
    lam, V = np.linalg.eig(system.A)
    mu, W = np.linalg.eig(system.H)
    first = np.argmin(np.abs(lam - 1))
    assume(np.sum(np.abs(lam - 1) < 1e-6) == 1 and max(np.linalg.cond(V), np.linalg.cond(W)) < 1e4)
    assume(np.max(np.abs(mu)) > 0.1)
    pi = np.linalg.inv(V)[first].real / np.sum(np.linalg.inv(V)[first]).real
    pi = pi / pi.sum()
    B = np.eye(n) - np.ones((n, 1)) * pi
    Z, c = B @ system.x0, pi @ system.x0
    lead = np.abs(c @ W)
    assume(np.max(np.where(np.abs(mu) == np.max(np.abs(mu)), lead, 0)) > 1e-6)
    kappa = np.linalg.cond(V) * np.linalg.cond(W)
    second = np.max(np.delete(np.abs(lam), first))
    margins, start = [], np.linalg.norm(Z)
    for layer in range(1, 40):
        Z, c = B @ system.A @ Z @ system.H, c @ system.H
        size = np.max(np.abs(mu))
        Z, c, lead = Z / size, c / size, lead * np.abs(mu) / size
        low = np.sqrt(n) * (np.max(lead / np.linalg.norm(W, axis=0)))
        high = kappa * second**layer * start
        slack = 1e-12 * (layer + 1) * kappa * (start + np.linalg.norm(system.x0))
        margins += [high - np.linalg.norm(Z) + slack, np.sqrt(n) * np.linalg.norm(c) - low + slack]
    return float(min(margins))


def rank_collapse(system):
    """limit.rank and its rate: where rank collapses, sigma_2/sigma_1 is below a bound that closes."""
    assume(system.law.rank_collapse)
    return under_bound(system, "rank_gap")


def rank_collapse_is_a_limit(system):
    assume(system.law.rank_collapse and has_basis(system))
    return closes(system, "rank_gap")


def effective_rank(system):
    assume(system.law.rank_collapse)
    return under_bound(system, "effective_rank_gap")


def limit_rank(system):
    """limit.rank, limit.complex: X_l / |rho|^l is as near to V C_l Z as the other modes allow.

    So are its singular values (Weyl), and the largest rank of V C_l Z over layers is the predicted one.
    """
    limits, distances, log_top, _ = modal_limit(system)
    states, clean = normalised_states(system, log_top)
    expected = np.linalg.svd(limits, compute_uv=False)
    found = np.linalg.svd(states, compute_uv=False)
    ranks = np.sum(expected > 1e-9 * np.max(expected), axis=-1)
    assume(np.all((expected < 1e-9 * np.max(expected)) | (expected > 1e-6 * np.max(expected))))
    if np.max(ranks) != system.law.limit_rank:
        return -1.0
    known = ROUNDING * np.linalg.norm(states, axis=(-1, -2))
    return float(np.min(distances[clean] + known - np.max(np.abs(expected[clean] - found), axis=-1)))


def angles(system):
    """limit.angle and its rate: where angles converge, the cosine gap is below a bound."""
    law = system.law
    assume(law.angle_convergence)
    return under_bound(
        system, "cosine_gap", "log_cosine_gap" if law.input_convergence else "log_abs_cosine_gap"
    )


def angles_are_a_limit(system):
    """The bound closes, unless a complex attention eigenvalue turns the tokens."""
    law = system.law
    assume(law.angle_convergence and has_basis(system))
    assume(all(np.isreal(mode.attention_eigenvalue) for mode in law.dominant))
    # a silent token has no bound of its own; equal eigenvalues of A share a column
    assume(all(a.holds for a in law.assumptions if "token" in a.name))
    assume(len({mode.attention_eigenvalue for mode in law.dominant}) == 1)
    return closes(system, "cosine_gap")


def token_similarity_of_the_limit(system):
    """limit.angle: t_div tends to |Pi_perp v|^2 / |v|^2 as fast as the other modes fade."""
    limits, distances, log_top, _ = modal_limit(system)
    states, clean = normalised_states(system, log_top)
    limits, distances = limits[clean], distances[clean]
    size = np.linalg.norm(limits, axis=(-1, -2))
    assume(np.all(size > 1e-3 * np.max(size)))

    def share(x):
        return np.linalg.norm(x - x.mean(axis=-2, keepdims=True), axis=(-1, -2)) / np.linalg.norm(
            x, axis=(-1, -2)
        )

    # |Pi_perp X|/|X| moves by at most 2 |X - Y| / |Y|
    return float(np.min(2 * (distances / size + ROUNDING) - np.abs(share(states) - share(limits))))


# --- where ties are found --------------------------------------------------------------

HALVES = [
    np.full((2, 2), 0.5),
    np.full((3, 3), 1 / 3),
    np.array([[0.25, 0.75], [0.75, 0.25]]),
    np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]),
    np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
    np.eye(3),
    np.roll(np.eye(4), 1, axis=0) / 2 + np.roll(np.eye(4), -1, axis=0) / 2,
]
TIED = [
    np.diag([-2.0, 0.0]),
    np.zeros((2, 2)),
    np.diag([-0.5, -0.7, -1.2]),
    np.eye(2),
    -np.eye(2),
    np.diag([1.0, -3.0]),
    np.diag([2.0, -4.0, 0.5]),
    np.array([[0.0, 1.0], [-1.0, 0.0]]),
    np.array([[-1.0, 2.0], [-2.0, -1.0]]),
    np.diag([-2.0, -1.0, 0.0]),
]


@st.composite
def ties(draw):
    """Exactly tied spectra, and tokens of every rank."""
    A, H = draw(st.sampled_from(HALVES)), draw(st.sampled_from(TIED))
    numbers = st.integers(-3, 3)
    x0 = np.array([[draw(numbers) for _ in H] for _ in A], dtype=float)
    if draw(st.booleans()):
        x0 = np.outer(x0[:, 0], x0[0])
    assume(np.any(x0))
    return testing.System(A, H, x0)


ANY = testing.systems()
REAL = testing.systems(weights=["normal", "nonnormal"])
CLAIMS = [
    (input_convergence, ANY),
    (input_convergence, testing.systems(weights="defective")),
    (input_convergence_is_a_limit, ANY),
    (no_input_convergence, ANY),
    (sharpening_interval, REAL),
    (smoothing_interval, REAL),
    (end_points, ANY),
    (boundary, ANY),
    (no_residual_lowpass, ANY),
    (rank_collapse, ANY),
    (rank_collapse, ties()),
    (rank_collapse, testing.systems(weights="defective")),
    (rank_collapse_is_a_limit, ANY),
    (effective_rank, ANY),
    (limit_rank, ANY),
    (limit_rank, ties()),
    (angles, ANY),
    (angles, ties()),
    (angles_are_a_limit, ANY),
    (token_similarity_of_the_limit, ANY),
]


def names(pairs):
    return [f"{claim.__name__}-{i}" for i, (claim, _) in enumerate(pairs)]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("claim", "systems"), CLAIMS, ids=names(CLAIMS))
def test_statement(claim, systems, tmp_path):
    found = testing.falsify(claim, systems, max_examples=40, path=tmp_path)
    assert isinstance(found, testing.Supported), found


@pytest.mark.full
@pytest.mark.parametrize(("claim", "systems"), CLAIMS, ids=names(CLAIMS))
def test_statement_in_full(claim, systems, tmp_path, capsys):
    found = testing.falsify(claim, systems, max_examples=1000, path=tmp_path)
    with capsys.disabled():
        print(f"\n{claim.__name__:32} {found}")
    assert isinstance(found, testing.Supported), found


def overstated(claim, amount):
    """The same claim with its inequality moved by ``amount`` (bounds from above: see test_false_claims)."""

    def tighter(system):
        return claim(system) - amount

    return tighter


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("claim", "amount"),
    [
        (no_input_convergence, 0.36),
        (limit_rank, 1e-3),
        (token_similarity_of_the_limit, 1e-3),
        (no_residual_lowpass, 1e-3),
        (end_points, 1e-6),
    ],
)
def test_every_margin_can_become_negative(claim, amount, tmp_path):
    found = testing.falsify(overstated(claim, amount), ANY, path=tmp_path)
    assert isinstance(found, testing.Refuted)


def defective_attention():
    """Positive, with a block of size two at lambda = -1/4."""
    P = np.array([[1, 1, 0], [1, 0, 1], [1, -1, -1.0]])
    return P @ np.array([[1, 0, 0], [0, -0.25, 0.15], [0, 0, -0.25]]) @ np.linalg.inv(P)


POWERS = {
    # attention, weights, metric, power of depth: what Jordan blocks at the dominant pair do
    "blocks in both": (defective_attention(), [[-0.5, 1], [0, -0.5]], "log_rank_gap", -3),
    "a block of H at mu = 0": (HALVES[3], [[0, 1], [0, 0]], "log_rank_gap", -1),
    "a block of H against a tie": (
        HALVES[2],
        [[2, 1, 0], [0, 2, 0], [0, 0, -4]],
        "log_token_diversity",
        -2,
    ),
}


@pytest.mark.parametrize("name", POWERS)
def test_jordan_blocks_close_gaps_like_a_power_of_depth(name):
    A, H, metric, power = POWERS[name]
    system = testing.System(A, H, np.random.default_rng(1).normal(size=(len(A), len(H))))
    values = trajectory(system.A, system.H, system.x0, [1000, 2000, 4000], digits=300)[metric]
    powers = np.diff(values) / np.log(2)
    # what is missing falls like 1/l: extrapolate
    assert 2 * powers[1] - powers[0] == pytest.approx(power, abs=0.01)
    assert system.law.rates[metric.removeprefix("log_")] == 1
    assert system.law.rank_collapse
