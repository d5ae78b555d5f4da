"""What linsim.escalation computes, beside what is proved."""

import itertools
import math
from types import SimpleNamespace

import numpy as np

import linsim
from linsim import escalation
from linsim.theory.scaled_residual import scaled_residual_odds
from oracles.proved_points import attention_with, claims, equal, holds, pair, side, tokens_of, true
from proofs_check.statements.exact.shared import gaussian_reciprocal

# token similarity escalation


@pair("escalation.local_rate", "escalation.local", escalation.local_rate)
def _(formula, draw):
    s, sigma = draw.uniform(0.1, 3), draw.uniform(0.2, 0.99)
    point = {"s": s, "sigma": sigma, "nu": draw.uniform(0, 0.19)}
    holds("escalation.local", "otherwise", **point)
    equal(formula(s, sigma), side("escalation.local", "otherwise", "rhs", **point))
    equal(formula(s, point["nu"]), side("escalation.local", "otherwise", "lhs", **point))


@pair("escalation.rate_bound", "escalation.bound", escalation.rate_bound)
def _(formula, draw):
    t, s, sigma = draw.uniform(0.05, 0.95), draw.uniform(0.1, 3), draw.uniform(0, 0.99)
    after = (1 - t) * (1 + s**2 * sigma**2)
    # the rate is put into what defines it, and into the conclusion
    holds("escalation.bound", "equality", t=t, s=s, sigma=sigma, D_next=after, r=formula(t, s, sigma))


@pair("escalation.similarity_after", "escalation.odds_law", escalation.similarity_after, lambda t: 0.99 * t)
def _(formula, draw):
    t, s, sigma, D = (
        draw.uniform(0.05, 0.9),
        draw.uniform(0.1, 2),
        draw.uniform(0, 0.99),
        draw.uniform(0.1, 2),
    )
    after = formula(1, t, s, sigma)
    u = t / (1 - t)
    point = {"D": D, "D_next": D * (1 + s**2 * sigma**2), "C": D * u, "s": s, "sigma": sigma}
    holds("escalation.odds_law", "exactly", **point, u=u, u_next=after / (1 - after))


@pair(
    "theory.scaled_residual_odds",
    "escalation.odds_law",
    lambda A, std, depth: scaled_residual_odds(A, std, depth)[0],
)
def _(formula, draw):
    a, s, depth = draw.uniform(-0.9, 0.9), draw.uniform(0.1, 2), draw.randint(1, 50)
    D, C = draw.uniform(0.1, 2), draw.uniform(0.1, 2)
    point = {"D": D, "C": C, "s": s / math.sqrt(depth), "sigma": abs(a)}
    point["D_next"] = D * (1 + point["s"] ** 2 * a**2)
    growth = math.exp(formula(attention_with(a), s, depth) / depth)
    holds("escalation.odds_law", "exactly", **point, u=C / D, u_next=growth * C / D)


@pair("escalation.deescalated_similarity", "escalation.deescalation", escalation.deescalated_similarity)
def _(formula, draw):
    t, tau, N = draw.uniform(0.05, 0.95), draw.uniform(-1, 3), draw.uniform(0.1, 5)
    after = formula(t, tau)
    holds("escalation.deescalation", "formula", t=t, tau=tau, N=N, C=N * t, D=N * (1 - t), t_next=after)


@pair("escalation.tau_for", "escalation.deescalation", escalation.tau_for)
def _(formula, draw):
    t, wanted = draw.uniform(0.05, 0.5), draw.uniform(0.05, 0.95)
    tau = formula(t, wanted)
    point = {"t": t, "wanted": wanted, "tau": tau, "t_next": wanted}
    holds("escalation.deescalation", "a wanted similarity", **point)


def next_energies(A, x0, s):
    found = escalation.expected_energy(A, x0, [1], std=s)
    return np.exp([found.log_low[0], found.log_high[0]])


@pair("escalation.expected_energy", "escalation.expectation", next_energies)
def _(formula, draw):
    a, s = draw.uniform(-0.9, 0.9), draw.uniform(0.1, 2)
    x0 = np.array([[draw.uniform(-1, 1) for _ in range(2)] for _ in range(2)])
    low, high = formula(attention_with(a), x0, s)
    for value, energy, z in ((1.0, low, x0[0] + x0[1]), (a, high, x0[0] - x0[1])):
        z_1, z_2 = z / math.sqrt(2)
        none = dict.fromkeys(("e_11", "e_12", "e_21", "e_22", "g_12"), 0.0)
        point = {"g_11": s**2, "g_22": s**2, "s": s, "lambda": value, "z_1": z_1, "z_2": z_2, "M": energy}
        holds("escalation.expectation", "one mode", **none, **point)


def measured_rate(A, H, x0):
    run = linsim.simulate(linsim.Linear(A, H), x0, 1, metrics=["log_token_diversity"])
    return float(escalation.rate(run)[0]), np.exp(run.metrics["log_token_diversity"])


@pair("escalation.rate", "similarity.odds", measured_rate, lambda found: (1.01 * found[0], found[1]))
def _(formula, draw):
    A, x0 = attention_with(draw.uniform(-0.9, 0.9)), tokens_of(draw, 2)
    r, (before, after) = formula(A, [[draw.uniform(0.1, 1)]], x0)
    odds = {"u": 1 / before - 1, "u_next": 1 / after - 1}
    holds("similarity.odds", "rate", t_div=before, t_div_next=after, r=r, **odds)


# the law of the odds factor


def law(**attributes):
    """What an OddsFactor says, as plain numbers."""

    def ask(d, s=1.0, kind="gaussian"):
        factor = escalation.OddsFactor(d, s, kind)
        return SimpleNamespace(**{key: getattr(factor, name) for key, name in attributes.items()})

    return ask


def scaled(by):
    return lambda found: SimpleNamespace(**{key: by * value for key, value in vars(found).items()})


@pair("escalation.OddsFactor", "exact.moments", law(mean="mean", variance="variance"), scaled(1.01))
def _(formula, draw):
    d, s = draw.randint(1, 99), draw.uniform(0.1, 3)
    point = {"total": 1.0, "d": d, "v": s**2 / d, "s": s, **vars(formula(d, s))}
    holds("exact.moments", "all coordinates", **point)


@pair("escalation.OddsFactor", "exact.gaussian_rate", law(E="inverse_mean"), scaled(1 + 1e-6))
def _(formula, draw):
    d = draw.randint(3, 600)  # the ball of larger odd numbers is wide
    equal(formula(d).E, float(gaussian_reciprocal(d).mid()))


@pair("escalation.OddsFactor", "exact.gaussian_expansion", law(E="inverse_mean"), scaled(1.01))
def _(formula, draw):
    d, s = draw.randint(400, 4000), draw.uniform(1, 2)
    S, g = s**2, 2 * s**2 / d
    point = {"S": S, "g": g, "c": 1 / (S - 2 * g + 1), "E": formula(d, s).E}
    holds("exact.gaussian_expansion", "upper bound", **point)
    holds("exact.gaussian_expansion", "lower bound", **point)


@pair("escalation.OddsFactor", "exact.haar_rate", law(E="inverse_mean"), scaled(1.01))
def _(formula, draw):
    d = draw.randint(4, 300)
    a, E = (d - 1) / 2, formula(d, 1.0, "orthogonal").E
    holds("exact.haar_rate", "s = 1", d=d, a=a, E=E, U=4 * E, V=1.0, r=1 - E)


@pair("escalation.OddsFactor", "exact.haar_typical", law(log="log_mean"), scaled(1.01))
def _(formula, draw):
    d = draw.randint(4, 300)
    limit = side("exact.haar_typical", "logarithm", None, a=(d - 1) / 2)
    equal(formula(d, 1.0, "orthogonal").log, math.log(4) + limit)


@pair("escalation.OddsFactor", "exact.gaussian_typical", law(log="log_mean", m="mean"), scaled(1.01))
def _(formula, draw):
    d, s = draw.randint(400, 4000), draw.uniform(1, 2)
    found, S = formula(d, s), s**2
    third = (8 * S**3 + 24 * S**2) / (1 + S) ** 3
    # what is left of E ln Q behind its two leading terms
    left = found.log - (math.log1p(S) - (S**2 + 2 * S) / (d * (1 + S) ** 2))
    point = {"third": third, "d": d, "lam": left, "F": third / (3 * d**2) - left, "ratio": 0.0}
    point["ratio"] = max(0.0, (3 * point["F"] * d**2 - third) / d**2) * (1 + 1e-6)
    holds("exact.gaussian_typical", "remainder", **point)


@pair("escalation.OddsFactor", "exact.jensen", law(log="log_mean", m="mean", A="inverse_mean"), scaled(0.5))
def _(formula, draw):
    found = formula(draw.randint(3, 99), draw.uniform(0.5, 2))
    holds("exact.jensen", "three rates", G=math.exp(found.log), m=found.m, A=found.A)


@pair(
    "escalation.OddsFactor",
    "exact.infinite_variance",
    law(finite="finite_variance"),
    lambda found: SimpleNamespace(finite=not found.finite),
)
def _(formula, draw):
    d = draw.randint(1, 9)
    point = {"d": d, "b": d / 2, "c": (d - 4) / 2, "u": 2.0, "v": 0.5, "x": 1.0}
    holds("exact.infinite_variance", "exponents", **point)
    [positive] = claims("exact.infinite_variance")["Gaussian, d > 4"].given.values()
    assert formula(d).finite == true(positive, point)


@pair("escalation.OddsFactor", "escalation.uniform", law(mean="mean"), scaled(1.01))
def _(formula, draw):
    angle, s = draw.uniform(0, 2 * math.pi), draw.uniform(0.1, 2)
    e, R = (math.cos(angle), math.sin(angle)), draw.uniform(0.5, 2)
    total = 0.0
    # four matrices W with E W = 0 and E W W^T = s^2 I: the mean of their Q
    for turn, sign in itertools.product((0.0, math.pi / 2), (1, -1)):
        W = sign * s * np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        m = R * (np.array(e) + W.T @ np.array(e))
        Q = float(m @ m) / R**2
        point = {f"w_{i + 1}{j + 1}": W[i, j] for i, j in itertools.product(range(2), repeat=2)}
        point |= {"e_1": e[0], "e_2": e[1], "m_1": m[0], "m_2": m[1]}
        holds("escalation.uniform", "constant part", R=R, Q=Q, **point)
        total += Q / 4
    equal(formula(2, s).mean, total)


def rate_on_a_line(s, t):
    return escalation.OddsFactor(1, s, "orthogonal").expected_rate(t)


@pair("escalation.OddsFactor.expected_rate", "escalation.uniform", rate_on_a_line)
def _(formula, draw):
    s, t = draw.uniform(0.1, 0.9), draw.uniform(0.05, 0.95)
    each = []
    for Q in ((1 + s) ** 2, (1 - s) ** 2):  # one feature: W is s or -s
        after = (1 - t) / (1 + t * (Q - 1))
        each.append(1 - after / (1 - t))
        holds("escalation.uniform", "rate", t=t, Q=Q, t_div_next=after, r=each[-1])
    equal(formula(s, t), sum(each) / 2)


@pair("escalation.OddsFactor.expected_rate", "exact.any_t", rate_on_a_line)
def _(formula, draw):
    s, t = draw.uniform(0.1, 0.9), draw.uniform(0.05, 0.95)
    first, second = (1 / (1 - t + t * Q) for Q in ((1 + s) ** 2, (1 - s) ** 2))
    mean = formula(s, t)
    # the rates of the two values of Q have this mean: one is given, the other follows
    holds("exact.any_t", "reciprocal", t=t, Q=(1 + s) ** 2, r=1 - first)
    holds("exact.any_t", "reciprocal", t=t, Q=(1 - s) ** 2, r=2 * mean - (1 - first))
    equal(2 * mean, 2 - first - second)
