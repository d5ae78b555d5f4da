"""Predicted rates against slopes of arbitrary-precision truth, between layers 600 and 1,200."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracles.iterated import trajectory

from linsim import attention, predict, weights

FIRST, LAST = 600, 1200
#: a correction of relative size one has fallen below 1e-4 at layer 600
SETTLED = 1e-4 ** (1 / FIRST)


def reversible(rng, n):
    return attention.softmax(n, 2, symmetric=True, temperature=0.3, rng=rng), False


def symmetric(rng, n):
    """Mixtures of symmetrised permutations: eigenvalues of both signs, doubly stochastic."""
    A = np.zeros((n, n))
    for weight in rng.dirichlet(np.full(3, 0.7)):
        P = np.eye(n)[rng.permutation(n)]
        A += weight * (P + P.T) / 2
    return (A + 0.05 / n) / (A + 0.05 / n).sum(-1, keepdims=True), True


def general(rng, n):
    return attention.softmax(n, 2, temperature=0.3, rng=rng), False


def turning(rng, n):
    """Near a cyclic permutation: eigenvalues near a circle."""
    P = np.roll(np.eye(n), 1, axis=1) + 0.1 * rng.uniform(size=(n, n))
    return P / P.sum(-1, keepdims=True), False


def real(low, high, basis="random"):
    def draw(rng, d):
        condition = None if basis == "orthogonal" else rng.uniform(1, 8)
        return weights.from_spectrum(rng.uniform(low, high, d), basis=basis, condition=condition, rng=rng)

    return draw


def pairs(low, high):
    def draw(rng, d):
        z = rng.uniform(low, high) + 1j * rng.uniform(0.3, 1.5)
        values = np.array([z, z.conjugate(), *rng.uniform(low, high, d - 2)])
        return weights.from_spectrum(values, basis="random", condition=rng.uniform(1, 8), rng=rng)

    return draw


# name: (attention, weights, whether every mode is real)
FAMILIES = {
    "reversible, smoothing": (reversible, real(0.1, 2.0), True),
    "reversible, sharpening": (reversible, real(-1.0, -0.1), True),
    "reversible, below -1": (reversible, real(-5.0, -1.0), True),
    "reversible, any": (reversible, real(-4.0, 2.0), True),
    "symmetric, normal": (symmetric, real(-4.0, 2.0, "orthogonal"), True),
    "symmetric, any": (symmetric, real(-3.0, 1.0), True),
    "general, any": (general, real(-4.0, 2.0), False),
    "general, pairs": (general, pairs(-2.5, 1.0), False),
    "turning, pairs": (turning, pairs(-2.0, 1.5), False),
    "reversible, pairs": (reversible, pairs(-3.0, 1.0), False),
}


def metric_of(gap, law):
    if gap == "cosine_gap":
        return "log_cosine_gap" if law.input_convergence else "log_abs_cosine_gap"
    return f"log_{gap}"


def beats_are_seen(A, H):
    """Whether the phases of the leading modes turn by a dozen periods or more against each other.

    No line through layers 600 to 1,200 averages out a beat that is slow beside this window; the logarithm
    of a modulus that swings has harmonics, too.
    """
    rho = (1 + np.linalg.eigvals(A)[:, None] * np.linalg.eigvals(H)).ravel()
    rho = rho[np.argsort(-np.abs(rho), kind="stable")][:8]
    phase = np.angle(rho[rho.imag >= -1e-9])
    # squares of |.| hold the double phases, their cross terms sums and differences
    turns = np.concatenate(
        [(p + q).ravel() for p in (phase[:, None], -phase[:, None]) for q in (phase, -phase)]
    )
    turns = np.outer([1, 2, 3, 4], turns)
    turns = np.abs((turns + np.pi) % (2 * np.pi) - np.pi)
    return bool(np.all((turns < 1e-9) | (turns > 12 * 2 * np.pi / (LAST - FIRST))))


def drawn(name, index):
    """A system of the family whose three slopes have settled, and how many draws it took."""
    of_A, of_H, _ = FAMILIES[name]
    for attempt in range(1000):
        rng = np.random.default_rng([index, attempt, *name.encode()])
        n, d = int(rng.integers(2, 5)), int(rng.integers(2, 4))
        (A, exact), H = of_A(rng, n), of_H(rng, d)
        x0 = rng.normal(size=(n, d))
        law = predict(A, H, x0=x0)
        closing = {gap: rate for gap, rate in law.rates.items() if 0 < rate < 1}
        # 1e-3000 needs 3,000 digits
        deep = any(rate < 0.05 for rate in closing.values())
        settled = all(law.relaxations[gap] < SETTLED for gap in closing)
        # a tie, or a token that only rounding connects: the verdict is flagged, not a rate
        clear = all(assumption.holds for assumption in law.assumptions[1:])
        seen = FAMILIES[name][2] or beats_are_seen(A, H)
        if closing and settled and clear and seen and not deep:
            return A, H, x0, exact, law, closing
    raise AssertionError(f"no system of {name}")


def errors(name, index, step):
    """ln(measured slope) - ln(predicted rate) of every gap that closes, per layer."""
    A, H, x0, exact, law, closing = drawn(name, index)
    is_real = FAMILIES[name][2]
    layers = [FIRST, LAST] if is_real else list(range(FIRST, LAST + 1, step))
    digits = 100 + int(2.2 * LAST * -math.log10(min(closing.values())))
    true = trajectory(A, H, x0, layers, digits=digits, symmetric=exact)
    out = {}
    for gap, rate in closing.items():
        values = true[metric_of(gap, law)]
        assert np.all(np.isfinite(values)), (name, index, gap)
        slope = np.polyfit(layers, values, 1)[0]
        out[gap] = abs(slope - np.log(rate))
    return out


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", FAMILIES)
def test_rates_are_the_slopes_of_the_truth(name):
    bound = 1e-4 if FAMILIES[name][2] else 1e-3
    for index in range(2):
        assert max(errors(name, index, step=5).values()) < bound


@pytest.mark.full
@pytest.mark.parametrize("name", FAMILIES)
def test_rates_are_the_slopes_of_the_truth_in_two_hundred_systems(name, capsys):
    bound = 1e-4 if FAMILIES[name][2] else 1e-3
    worst = [errors(name, index, step=1) for index in range(22)]
    largest = {
        gap: max(w.get(gap, 0) for w in worst) for gap in ("token_diversity", "cosine_gap", "rank_gap")
    }
    counts = {gap: sum(gap in w for w in worst) for gap in largest}
    with capsys.disabled():
        print(f"\n{name:26}", {gap: f"{largest[gap]:.1e} ({counts[gap]})" for gap in largest})
    assert max(largest.values()) < bound


def test_a_rate_that_is_one_percent_off_is_seen():
    A, H, x0, exact, law, closing = drawn("reversible, any", 0)
    gap, rate = next(iter(closing.items()))
    true = trajectory(A, H, x0, [FIRST, LAST], digits=2000, symmetric=exact)[metric_of(gap, law)]
    assert abs((true[1] - true[0]) / (LAST - FIRST) - np.log(0.99 * rate)) > 1e-3
