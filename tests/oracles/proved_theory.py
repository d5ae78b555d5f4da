"""What linsim.theory and linsim.weights compute, beside what is proved."""

import itertools
import math
from types import SimpleNamespace

import numpy as np

from linsim import Linear, theory, weights
from linsim._eigen import attention_eigensystem, weight_eigensystem
from linsim._types import EPS
from linsim.theory._henrici import growth
from linsim.theory.dominance import dominance
from linsim.theory.rates import rates
from oracles.proved_points import (
    CLOSE,
    attention_with,
    claims,
    equal,
    holds,
    number,
    pair,
    settled,
    side,
    tokens_of,
    true,
    winner,
)
from proofs_check.statements.dominance.boundary import BOUNDARY
from proofs_check.statements.dominance.shared import CENTRE, RADIUS


def circulant(p, q):
    """Three tokens that weigh themselves, the next and the one after next, and its eigenvalue u + iv."""
    A = np.array([[1 - p - q, p, q], [q, 1 - p - q, p], [p, q, 1 - p - q]])
    turn = np.exp(2j * np.pi / 3)
    value = 1 - p - q + p * turn + q * turn**2
    return A, value.real, value.imag


def weights_with(x, y):
    """Two features: eigenvalues x +- iy."""
    return np.array([[x, y], [-y, x]])


def other_regime(regime):
    return {"smoothing": "sharpening", "sharpening": "smoothing", "balanced": "smoothing"}[regime]


REAL = ("mu > 0", "below the boundary", "between")
PLANE = ("inside", "outside")


@pair("theory.boundary", "dominance.boundary", theory.boundary)
def _(formula, draw):
    a, mu = draw.uniform(-0.9, 0.9), draw.uniform(-3, 1)
    smooths = mu > 0 or mu < formula(a)
    assert smooths == (winner("dominance.boundary", REAL, a=a, mu=mu) == "smoothing")
    equal(formula(a), number(BOUNDARY, {"a": a}))
    holds("dominance.boundary", "on the boundary", a=a, mu=formula(a))


@pair("theory.disk", "dominance.disk", theory.disk, lambda found: (found[0], 1.01 * found[1]))
def _(formula, draw):
    a, x, y = draw.uniform(-0.9, 0.9), draw.uniform(-3, 1), draw.uniform(-2, 2)
    centre, radius = formula(a)
    inside = abs(complex(x, y) - centre) < radius
    assert inside == (winner("dominance.disk", PLANE, a=a, x=x, y=y) == "sharpening")
    equal((centre, radius), [number(e, {"a": a}) for e in (CENTRE, RADIUS)])
    angle = draw.uniform(0, 2 * math.pi)
    on = centre + radius * complex(math.cos(angle), math.sin(angle))
    holds("dominance.disk", "on the circle", a=a, x=on.real, y=on.imag)


@pair("theory.real_regime", "dominance.boundary", theory.real_regime, other_regime)
def _(formula, draw):
    a, mu = draw.uniform(-0.9, 0.9), draw.uniform(-3, 1)
    assert formula(mu, mu, a) == winner("dominance.boundary", REAL, a=a, mu=mu)


@pair("theory.real_regime", "layernorm.negative_gain", theory.real_regime, other_regime)
def _(formula, draw):
    a, gamma = draw.uniform(-0.9, 0.9), -draw.uniform(0.1, 5)
    mu = draw.uniform(0.01, 0.99) * number(BOUNDARY, {"a": a})
    holds("layernorm.negative_gain", "turned", a=a, mu=mu, gamma=gamma)
    relations = claims("layernorm.negative_gain")["turned"].shows
    shown = [{">": "smoothing", "<": "sharpening"}[relation.rel_op] for relation in relations]
    assert [formula(mu, mu, a), formula(gamma * mu, gamma * mu, a)] == shown


@pair("theory.real_regime", "layernorm.swap_back", theory.real_regime, other_regime)
def _(formula, draw):
    a, mu, gamma = draw.uniform(-0.9, 0.9), draw.uniform(0.1, 2), -draw.uniform(0.1, 4)
    claim = settled("layernorm.swap_back", ("sharpens", "otherwise"), a=a, mu=mu, gamma=gamma)
    holds("layernorm.swap_back", claim, a=a, mu=mu, gamma=gamma)
    assert (formula(gamma * mu, gamma * mu, a) == "sharpening") == (claim == "sharpens")


@pair("theory.mixture", "dominance.boundary", lambda *given: theory.mixture(*given).regime(1.0), other_regime)
def _(formula, draw):
    a, mu = draw.uniform(-0.9, 0.9), draw.uniform(-3, 1)
    found = formula(attention_with(a), [mu], [0.5])
    assert found == winner("dominance.boundary", REAL, a=a, mu=mu)


@pair("theory.predict", "dominance.disk_complex", lambda A, H: theory.predict(A, H).regime, other_regime)
def _(formula, draw):
    p, q = draw.uniform(0.05, 0.9), draw.uniform(0.01, 0.04)
    A, u, v = circulant(p, q)
    x, y = draw.uniform(-2, 1), draw.uniform(-2, 2)
    # both eigenvalues of attention, u +- iv: lambda = 1 wins if it beats the two
    pairs = [winner("dominance.disk_complex", PLANE, u=u, v=s * v, x=x, y=y) for s in (1, -1)]
    assert formula(A, weights_with(x, y)) == ("smoothing" if set(pairs) == {"smoothing"} else "sharpening")


@pair(
    "theory.predict",
    "dominance.global",
    lambda A, H: theory.predict(A, H).input_convergence,
    lambda converges: not converges,
)
def _(formula, draw):
    a, mu = draw.uniform(-0.9, 0.9), [draw.uniform(-3, 1) for _ in range(2)]
    quotient = max(abs(1 + a * m) for m in mu) / max(abs(1 + m) for m in mu)
    given = claims("dominance.global")["if: the limit"].given.values()
    closes = all(true(relation, {"q": quotient, "P": 1.0}) for relation in given)
    assert formula(attention_with(a), np.diag(mu)) == closes


class TwoTokens:
    """Two tokens and two features, positive weights: every mode in closed form."""

    def __init__(self, draw):
        self.a, self.mu = draw.uniform(-0.9, 0.8), [draw.uniform(0.5, 2), draw.uniform(0.1, 0.4)]
        self.A, self.H = attention_with(self.a), np.diag(self.mu)
        self.c = np.array([[draw.uniform(0.5, 2) for _ in range(2)] for _ in range(2)])
        self.rho = np.abs(1 + np.outer([1, self.a], self.mu))
        self.depth = 300
        self.top = float(np.max(self.rho))
        self.modes = self.c * (self.rho / self.top) ** self.depth  # of X, divided by top^depth
        self.size = float(np.linalg.norm(self.modes))


def rate_of(gap):
    return lambda A, H: theory.predict(A, H).rates[gap]


@pair("theory.predict", "rates.token_diversity", rate_of("token_diversity"))
def _(formula, draw):
    case = TwoTokens(draw)
    diverse = float(np.linalg.norm(case.modes[1]))
    other = float(np.max(case.rho[1])) / case.top
    t = diverse**2 / case.size**2
    D, Q = diverse / other**case.depth, formula(case.A, case.H) ** (case.depth / 2)
    N = case.size
    holds("rates.token_diversity", "two sides", N=N, D=D, Q=Q, t=t, n1=N, n2=N, d1=D, d2=D)


@pair("theory.predict", "rates.rank_gap", rate_of("rank_gap"))
def _(formula, draw):
    case = TwoTokens(draw)
    products = case.rho[0, 0] * case.rho[1, 1], case.rho[0, 1] * case.rho[1, 0]
    lead = max(products) / case.top**2
    signs = case.c[0, 0] * case.c[1, 1], -case.c[0, 1] * case.c[1, 0]
    # the minor of the state over the leading product to the power of the depth
    D = abs(sum(s * (r / max(products)) ** case.depth for s, r in zip(signs, products, strict=True)))
    F, minor = case.size**2, D * lead**case.depth
    largest = (F + math.sqrt(F**2 - 4 * minor**2)) / 2
    Q = formula(case.A, case.H) ** case.depth
    D *= 1 - CLOSE  # F g = D Q where the smaller singular value vanishes beside the larger one
    point = {"F": F, "D": D, "Q": Q, "g": minor / largest, "m": 2.0, "N": case.size}
    holds("rates.rank_gap", "two sides", **point, n1=case.size, n2=case.size, d1=D, d2=D)


@pair("theory.predict", "limit.rank_one", lambda A, H: theory.predict(A, H).limit_rank, lambda rank: rank + 1)
def _(formula, draw):
    mu = draw.uniform(0.1, 2)
    v, g = np.ones(2), [draw.uniform(-1, 1) for _ in range(2)]
    leading = np.outer(v, g)  # both weights tie, in the row of lambda = 1
    x = {f"x_{i + 1}{j + 1}": leading[i, j] for i, j in itertools.product(range(2), repeat=2)}
    holds("limit.rank_one", "every minor", **x, v_1=1.0, v_2=1.0, g_1=g[0], g_2=g[1])
    assert formula(attention_with(draw.uniform(-0.9, 0.9)), mu * np.eye(2)) == np.linalg.matrix_rank(leading)


def factors(R, a, b, w):
    found = rates(np.array([[[R, a], [b, w]]]))
    return SimpleNamespace(token=float(found.token[0]), rank=float(found.rank[0]))


def slower(found):
    return SimpleNamespace(token=1.01 * found.token, rank=1.01 * found.rank)


def moduli(draw):
    """The dominant modulus, that of its row, that of its column, and the one across."""
    return 1.0, draw.uniform(0.05, 0.99), draw.uniform(0.05, 0.99), draw.uniform(0.05, 0.99)


@pair("theory.rates", "rates.angles_faster", factors, slower)
def _(formula, draw):
    R, a, b, w = moduli(draw)
    point = {"R": R, "a": a, "b": b, "w": w, "M": max(b, w)}
    holds("rates.angles_faster", "never slower", **point)
    found = formula(R, a, b, w)
    products = [side("rates.angles_faster", "never slower", "lhs", k, **point) for k in range(2)]
    equal(found.rank * R**2, max(products))
    equal(found.token * R**2, side("rates.angles_faster", "never slower", "rhs", **point))


@pair("theory.rates", "rates.token_diversity", factors, slower)
def _(formula, draw):
    R, a, b, w = moduli(draw)
    # one layer: D and N are the parts over their leading moduli, so t is the square of their quotient
    holds(
        "rates.token_diversity",
        "two sides",
        **dict.fromkeys(("N", "D", "n1", "n2", "d1", "d2"), 1.0),
        t=(max(b, w) / R) ** 2,
        Q=formula(R, a, b, w).token,
    )


@pair("theory.rates", "rates.rank_gap", factors, slower)
def _(formula, draw):
    l2, m1, m2 = draw.uniform(0.0, 0.9), draw.uniform(1, 2), draw.uniform(0.1, 0.9)
    point = {"lambda1": 1.0, "lambda2": l2, "mu1": m1, "mu2": m2}
    holds("rates.rank_gap", "products differ", **point)
    R, a, b, w = 1 + m1, 1 + m2, 1 + l2 * m1, 1 + l2 * m2
    # the conclusion is the one product less the other, and positive: the first is the larger
    difference = side("rates.rank_gap", "products differ", "rhs", 1, **point)
    equal(formula(R, a, b, w).rank * R**2, a * b + max(difference, 0.0))


# bounds


def bound_of(gap, below=False):
    def bound(A, H, x0, layers):
        law = theory.predict(A, H, x0=x0)
        return math.exp((law.log_lower_bound if below else law.log_bound)(gap, layers))

    return bound


@pair("theory.Prediction.log_bound", "bounds.symmetric", bound_of("token_diversity"))
def _(formula, draw):
    values = draw.uniform(0.3, 0.9), draw.uniform(-0.3, 0.2)
    vectors = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    A = vectors.T @ np.diag([1.0, 0.1 * values[0], 0.1 * values[1]]) @ vectors
    mu, depth, x0 = draw.uniform(0.1, 1), draw.randint(0, 9), tokens_of(draw, 3)
    rho = 1 + mu * np.array([1.0, 0.1 * values[0], 0.1 * values[1]])
    c, a, b = rho**depth * (vectors @ x0)[:, 0]
    point = {"a": a, "b": b, "c": c, "d": 0.0, "h": math.hypot(a, b), "p": abs(c)}
    holds("bounds.symmetric", "token diversity", **point)
    equal(formula(A, [[mu]], x0, depth), side("bounds.symmetric", "token diversity", "lhs", **point))


def two_tokens(draw):
    """Attention, weights, tokens, a depth, and the sizes of both parts of the state there."""
    a, mu, depth, x0 = draw.uniform(-0.9, 0.9), draw.uniform(-1, 1), draw.randint(0, 9), tokens_of(draw, 2)
    h = abs(1 + a * mu) ** depth * abs(x0[0, 0] - x0[1, 0]) / math.sqrt(2)
    p = abs(1 + mu) ** depth * abs(x0[0, 0] + x0[1, 0]) / math.sqrt(2)
    return attention_with(a), [[mu]], x0, depth, h, p


@pair("theory.Prediction.log_bound", "bounds.row_split", bound_of("hfc_lfc"))
def _(formula, draw):
    A, H, x0, depth, h, p = two_tokens(draw)
    point = {"h": h, "h_up": h * (1 + CLOSE), "p": p, "p_low": p * (1 - CLOSE)}
    holds("bounds.row_split", "quotient", **point)
    np.testing.assert_allclose(
        formula(A, H, x0, depth), side("bounds.row_split", "quotient", "rhs", **point), rtol=1e-7
    )


@pair("theory.Prediction.log_bound", "bounds.trivial", bound_of("cosine_gap"))
def _(formula, draw):
    A, _, _ = circulant(0.96, 0.02)
    x0 = np.array([[draw.uniform(-1, 1) for _ in range(2)] for _ in range(3)])
    # a complex eigenvalue of attention dominates: nothing better is proved of 1 - |cos|
    point = {"c": abs(draw.uniform(0, 1)), "d": abs(draw.uniform(0, 1))}
    holds("bounds.trivial", "absolute values", **point)
    found = formula(A, -0.5 * np.eye(2), x0, draw.randint(0, 9))
    equal(found, side("bounds.trivial", "absolute values", "rhs", **point))


@pair("theory.Prediction.log_lower_bound", "bounds.from_below", bound_of("token_diversity", below=True))
def _(formula, draw):
    A, H, x0, depth, h, p = two_tokens(draw)
    point = {"h": h, "h_low": h * (1 - CLOSE), "p": p, "p_up": p * (1 + CLOSE)}
    holds("bounds.from_below", "token diversity", **point)
    np.testing.assert_allclose(
        formula(A, H, x0, depth), side("bounds.from_below", "token diversity", "rhs", **point), rtol=1e-7
    )


@pair("theory.growth", "bounds.henrici", lambda A, H: math.exp(growth(A, H, np.array([1.0]))[0]))
def _(formula, draw):
    (lam, n_a), (mu, n_h) = ((draw.uniform(0.1, 0.9), draw.uniform(0.1, 2)) for _ in range(2))
    # Schur forms with equal entries on their diagonals: a, b are the norms of these, p, q of what is above
    point = {"a": lam, "b": mu, "p": n_a, "q": n_h}
    parts = {"u": lam * n_h, "v": mu * n_a, "w": n_a * n_h}  # of which the three norms are products
    point |= {key: (1 - CLOSE) * value for key, value in parts.items()}
    point["t"] = (1 - CLOSE) * sum(point[key] for key in parts)
    holds("bounds.henrici", "nilpotent part", **point)
    proved = 1 + lam * mu + side("bounds.henrici", "nilpotent part", "rhs", **point)
    equal(formula(np.array([[lam, n_a], [0, lam]]), np.array([[mu, n_h], [0, mu]])), proved)


def errors_of(A, H):
    systems = attention_eigensystem(A[None]), weight_eigensystem(H[None])
    return dominance(*systems).error[0], systems


@pair("theory.dominance", "bounds.rounding", errors_of, lambda found: (1.01 * found[0], found[1]))
def _(formula, draw):
    A, H = attention_with(draw.uniform(-0.9, 0.9)), np.diag([draw.uniform(-2, 2), draw.uniform(-2, 2)])
    error, (attention, values) = formula(A, H)
    for i, j in itertools.product(range(2), repeat=2):
        point = {
            "L": abs(attention.values[0, i]),
            "M": abs(values.values[0, j]),
            "g": attention.condition[0, i] * attention.norm[0],
            "h": values.condition[0, j] * values.norm[0],
            "u": 8 * EPS,  # of a matrix of n tokens and d features: 4 sqrt(n + d) roundings
        }
        point |= {"e": point["u"] * point["g"] * 0.9, "f": point["u"] * point["h"] * 0.9}
        point["D"] = 0.9 * (point["L"] * point["f"] + point["M"] * point["e"])
        holds("bounds.rounding", "error of rho", **point)
        equal(error[i, j], side("bounds.rounding", "error of rho", "lhs", **point))


# control of the spectrum


def eigenvalue(kind):
    return lambda psi: float(weights.reparameterize([psi], [[1.0]], filter=kind)[0, 0])


@pair("weights.reparameterize", "control.sharpen", eigenvalue("sharpen"))
def _(formula, draw):
    psi = -draw.uniform(0.01, 3)
    mu = formula(psi)
    holds("control.sharpen", "clip", psi=psi, mu=mu)
    holds("control.sharpen", "sharpens", mu=mu, x=draw.uniform(-0.7, 0.7), y=draw.uniform(-0.7, 0.7))


@pair("weights.reparameterize", "control.smooth", eigenvalue("smooth"))
def _(formula, draw):
    psi, x, y = draw.uniform(0.01, 3), draw.uniform(-0.7, 0.7), draw.uniform(-0.7, 0.7)
    mu = formula(psi)
    holds("control.smooth", "clip", psi=psi, mu=mu)
    holds("control.smooth", "smooths", mu=mu, mu_1=mu, x=x, y=y)


#: what a test elsewhere stands in for: inequalities with room, and limits
# --- layers with a bias --------------------------------------------------------------------------


def driven(A, H, bias, x0=None):
    return theory.predict(Linear(A, H, bias=bias), x0=x0)


def driven_bound(A, H, bias, x0, depth):
    return math.exp(driven(A, H, bias, x0).log_bound("hfc_lfc", depth))


def of_differences(x0, common):
    """HFC/LFC of two tokens of one feature from their difference and what they share."""
    return abs(x0) / 2 / abs(common)


@pair("theory.affine_verdicts", "affine.regime", lambda *system: driven(*system).rates["token_diversity"])
def _(formula, draw):
    lam, mu = draw.uniform(0.05, 0.95), draw.uniform(-0.99, -0.05)
    point = {"lambda": lam, "mu": mu}
    holds("affine.regime", "sharpening that shrinks", **point)
    assert theory.predict(attention_with(lam), [[mu]]).regime == "sharpening"
    assert driven(attention_with(lam), [[mu]], [1.0]).regime == "smoothing"
    shrinks = side("affine.regime", "sharpening that shrinks", "lhs", 2, **point)
    equal(formula(attention_with(lam), [[mu]], [1.0]), shrinks**2)


@pair("theory.DrivenBounds.log_bound", "affine.fixed_point", driven_bound)
def _(formula, draw):
    lam, mu, d, depth = (
        draw.uniform(-0.9, 0.9),
        draw.uniform(-0.9, 0.5),
        draw.uniform(0.5, 2),
        draw.randint(1, 9),
    )
    x0 = tokens_of(draw, 2)
    rho, c, f = 1 + mu, float(np.mean(x0)), d / mu
    q = rho ** (depth - 1)
    point = {"s": 1.0, "mu": mu, "d": d, "f": f, "c": c, "q": q, "m": q * (c + f) - f}
    holds("affine.fixed_point", "all layers", **point)
    common = side("affine.fixed_point", "all layers", "rhs", **point)
    apart = float(x0[0, 0] - x0[1, 0]) * (1 + lam * mu) ** depth
    found = formula(attention_with(lam), [[mu]], [d], x0, depth)
    np.testing.assert_allclose(found, of_differences(apart, common), rtol=1e-7)


@pair("theory.DrivenBounds.log_bound", "affine.linear_growth", driven_bound)
def _(formula, draw):
    lam, d, depth = draw.uniform(-0.9, 0.9), draw.uniform(0.5, 2), draw.randint(1, 9)
    x0 = tokens_of(draw, 2)
    common = side("affine.linear_growth", "one layer", "rhs", m=float(np.mean(x0)), d=d, l=depth - 1)
    found = formula(attention_with(lam), [[0.0]], [d], x0, depth)
    np.testing.assert_allclose(found, of_differences(float(x0[0, 0] - x0[1, 0]), common), rtol=1e-7)


@pair("theory.DrivenBounds.log_bound", "affine.rest", driven_bound)
def _(formula, draw):
    lam, mu, b = draw.uniform(-0.9, 0.9), draw.uniform(-0.9, 0.5), draw.uniform(0.5, 2)
    x0, half = tokens_of(draw, 2), (1 - lam) / 2
    point = {"x1": float(x0[0, 0]), "x2": float(x0[1, 0]), "p": half, "q": half, "s": 1.0, "h": mu, "b": b}
    apart = side("affine.rest", "differences", "rhs", **point)
    share = {"a1": half, "a2": half, "a3": 1 - 2 * half, "s": 1.0, "c": float(np.mean(x0)), "h": mu, "b": b}
    holds("affine.rest", "constant states", **share)
    common = side("affine.rest", "constant states", "rhs", **share)
    np.testing.assert_allclose(
        formula(attention_with(lam), [[mu]], [b], x0, 1), of_differences(apart, common), rtol=1e-7
    )


ELSEWHERE = {
    (
        "theory.Prediction.log_bound",
        f"bounds.{name}",
    ): "gaps measured against it: tests/theory/test_bounds.py"
    for name in ("minors", "angles", "effective_rank", "henrici", "closes")
} | {
    ("theory.predict", "limit.angle"): "angles of simulated tokens: tests/theory/test_predict.py",
    ("theory.predict", "rates.cosine_gap"): "slopes of simulated gaps: tests/theory/test_rates.py",
}
