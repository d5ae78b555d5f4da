"""Predictions against exact spectra and against simulation."""

import time
from fractions import Fraction

import numpy as np
import pytest
import sympy
from oracles.iterated import trajectory
from oracles.spectra import make_attention, make_weights, random_mixed, random_spectrum, real_form, spectrum
from scipy.optimize import linprog

from linsim import Linear, attention, predict, simulate, weights
from linsim._eigen import weight_eigensystem
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from linsim.theory import boundary, disk

# --- systems with prescribed spectra ---------------------------------------------------


def random_systems(seed, count, n, d, complex_attention, complex_weights):
    """Stacked systems around every piece of the boundary, with their exact spectra."""
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < count:
        A, lam = make_attention(rng, random_spectrum(rng, n - 1, rng.normal, complex_attention))
        lam = np.append(spectrum(lam), 1)
        a = min(v.real for v in lam)
        edge = -2 / (1 + a)
        kind = rng.integers(6)
        mu = random_spectrum(rng, d, lambda: rng.uniform(-1, 1), complex_weights)
        if kind == 0:
            mu = [edge * (1 + rng.uniform(0, 1)) * (1 if isinstance(v, float) else v / abs(v)) for v in mu]
        elif kind == 1:
            mu = [-abs(v) for v in mu] if not complex_weights else [v * edge for v in mu]
        elif kind == 2:
            mu = [abs(v) if isinstance(v, float) else complex(abs(v.real), v.imag) for v in mu]
        elif kind == 3:
            # within 1e-5 .. 1e-2 of the boundary; others too small to matter
            mu = [0.1 * v for v in mu]
            position = int(rng.integers(len(mu)))
            close = 1 + rng.choice([-1, 1]) * 10 ** rng.uniform(-5, -2)
            centre, radius = disk(a)
            angle = rng.uniform(0.5, 3)
            edge_point = centre + radius * complex(np.cos(angle), np.sin(angle))
            mu[position] = edge * close if isinstance(mu[position], float) else edge_point * close
        elif kind == 4:
            mu = [3 * v for v in mu]
        else:
            # inside the disk
            centre, radius = disk(a)
            mu = [centre + 0.65 * radius * v for v in mu]
        H, _ = make_weights(rng, mu)
        mu = spectrum(mu)
        rho = np.abs(1 + np.multiply.outer(lam, mu))
        margin = np.log(rho[-1].max() / rho[:-1].max())
        if abs(margin) > 1e-6:
            out.append((A, H, margin, rho))
    return out


CASES = [
    (n, d, complex_attention, complex_weights)
    for n, d in ((2, 2), (3, 2), (4, 3), (6, 5))
    for complex_attention in (False, True)
    for complex_weights in (False, True)
]


def check_regimes(per_case, seed):
    smooth = []
    for case, (n, d, complex_attention, complex_weights) in enumerate(CASES):
        systems = random_systems((seed, case), per_case, n, d, complex_attention, complex_weights)
        law = predict(np.stack([s[0] for s in systems]), np.stack([s[1] for s in systems]))
        margin = np.array([s[2] for s in systems])
        expected = np.where(margin > 0, "smoothing", "sharpening")
        wrong = np.flatnonzero(law.regime != expected)
        assert wrong.size == 0, [(CASES[case], margin[i], law.margin[i]) for i in wrong]
        np.testing.assert_allclose(law.margin, margin, rtol=1e-6, atol=1e-10)
        np.testing.assert_array_equal(law.input_convergence, margin > 0)
        smooth.append(np.mean(margin > 0))
    return len(CASES) * per_case, np.mean(smooth)


def test_no_wrong_regime():
    count, smooth = check_regimes(32, 0)
    assert count >= 500
    assert 0.3 < smooth < 0.7  # both sides are tested


@pytest.mark.full
def test_no_wrong_regime_of_ten_thousand():
    assert check_regimes(640, 1)[0] >= 10_000


@pytest.mark.parametrize("lambda_min", [-0.45, -0.1, 0.2])
@pytest.mark.parametrize("side", [-1, 1])
def test_both_sides_of_the_boundary_at_a_relative_distance_of_1e_6(lambda_min, side):
    A = attention.from_spectrum([1, 0.3, lambda_min], rng=0)
    a = np.linalg.eigvalsh(A)[0]
    inside = {-1: "sharpening", 1: "smoothing"}[side]
    assert predict(A, [[boundary(a) * (1 + side * 1e-6)]]).regime == inside
    centre, radius = disk(a)
    for angle in (0.3, 1.5, 2.5):
        mu = centre + radius * (1 + side * 1e-6) * complex(np.cos(angle), np.sin(angle))
        assert predict(A, real_form([mu])).regime == inside


# --- exact enumeration -----------------------------------------------------------------


def rational_system(lam, mu, seed):
    """A and H with these rational eigenvalues (mu: numbers or (re, im)); exact |rho|^2 for each pair."""
    rng = np.random.default_rng(seed)
    n = len(lam)
    while True:
        V = sympy.Matrix(n, n, lambda i, j: 1 if j == 0 else int(rng.integers(-3, 4)))
        if V.det() != 0:
            A = V * sympy.diag(*lam) * V.inv()
            if min(A) > 0:
                break
    flat = [w for m in mu for w in ((m, (m[0], -m[1])) if isinstance(m, tuple) else ((m, 0),))]
    B = sympy.diag(*[sympy.Matrix([[m[0], m[1]], [-m[1], m[0]]]) if isinstance(m, tuple) else m for m in mu])
    while True:
        W = sympy.Matrix(len(flat), len(flat), lambda i, j: int(rng.integers(-3, 4)))
        if W.det() != 0:
            break
    H = W * B * W.inv()
    squares = {
        (i, j): (1 + lam[i] * m[0]) ** 2 + (lam[i] * m[1]) ** 2 for i in range(n) for j, m in enumerate(flat)
    }
    top = max(squares.values())
    D = {pair for pair, square in squares.items() if square == top}
    return np.array(A, dtype=float), np.array(H, dtype=float), D


F = Fraction
HALF = sympy.Rational(1, 2)
S = sympy.Rational
ENUMERATED = {
    # name: lambda (1 first), mu, regime, limit_rank
    "smooth": ([1, S(1, 4), -S(1, 4)], [1, S(1, 2)], "smoothing", 1),
    "sharpen": ([1, S(1, 4), -S(1, 4)], [-S(1, 2), -1], "sharpening", 1),
    "far below the boundary": ([1, S(1, 4), -S(1, 4)], [-5, S(1, 2)], "smoothing", 1),
    "on the boundary, one column": ([1, S(1, 4), -S(1, 3)], [-3, -S(1, 5)], "balanced", 1),
    "on the disk, conjugate columns": ([1, S(1, 4), -S(1, 3)], [(-S(3, 2), S(3, 2))], "balanced", 2),
    "inside the disk": ([1, S(1, 4), -S(1, 3)], [(-S(3, 2), S(7, 5))], "sharpening", 1),
    "outside the disk": ([1, S(1, 4), -S(1, 3)], [(-S(3, 2), S(8, 5))], "smoothing", 1),
    "boundary twice": ([1, S(1, 4), -S(1, 3)], [-3, -3], "balanced", 2),
    "one row, two columns": ([1, S(1, 4), -S(1, 3)], [2, -4], "smoothing", 1),
    "rows and columns": ([1, S(1, 4), -S(1, 4)], [0, 0], "balanced", 2),
    "lambda twice, one column": ([1, -S(1, 5), -S(1, 5)], [-1, -S(1, 2)], "sharpening", 1),
    "lambda twice, mu twice": ([1, -S(1, 5), -S(1, 5)], [-1, -1], "sharpening", 2),
    "mu twice, one row": ([1, S(1, 5), -S(1, 5)], [-1, -1], "sharpening", 1),
}


@pytest.mark.parametrize("name", ENUMERATED)
def test_dominant_set_against_exact_enumeration(name):
    lam, mu, regime, rank = ENUMERATED[name]
    for seed in range(3):
        A, H, D = rational_system([S(v) for v in lam], mu, seed)
        law = predict(A, H)
        assert (law.regime, law.limit_rank, law.rank_collapse) == (regime, rank, rank == 1)
        assert len(law.dominant) == len(D)
        assert sorted({i for i, _ in D}) == [i for i in range(3) if i in {p for p, _ in D}]
        found = sorted(round(complex(m.attention_eigenvalue).real, 9) for m in law.dominant)
        assert found == sorted(round(float(lam[i]), 9) for i, _ in D)
        for mode in law.dominant:
            assert mode.value == pytest.approx(
                1 + mode.attention_eigenvalue * mode.weight_eigenvalue, rel=1e-13
            )


# --- dominance, against simulation -----------------------------------------------------


def modes(A, H):
    """Right vectors of A (the constant one first), left vectors of H, and their duals, by plain NumPy."""
    lam, V = np.linalg.eig(A)
    order = np.argsort(np.abs(lam - 1), kind="stable")
    V, lam = V[:, order], lam[order]
    V[:, 0] = 1
    mu, W = np.linalg.eig(H)
    return lam, V, np.linalg.inv(V), mu, np.linalg.inv(W), W


@pytest.mark.parametrize("complex_attention", [False, True])
@pytest.mark.parametrize("complex_weights", [False, True])
def test_diversity_obeys_the_finite_depth_bound_at_every_layer(complex_attention, complex_weights):
    """|P X_l| <= k(V_A) k(V_H) max|rho|^l |X_0 - 1 pi^T X_0|, P = 1 - 11^T/n."""
    systems = [
        random_mixed((7, k), complex_attention=complex_attention, complex_weights=complex_weights)
        for k in range(75)
    ]
    A, H, x0 = (np.stack([s[k] for s in systems]) for k in (0, 1, 4))
    run = simulate(Linear(A, H), x0, 200, metrics=["log_norm", "log_token_diversity"])
    diverse = run.metrics["log_norm"] + run.metrics["log_token_diversity"] / 2
    for s, (a, h, *_, x) in enumerate(systems):
        lam, V, U, mu, _, W = modes(a, h)
        V = V / np.linalg.norm(V, axis=0)
        rest = np.abs(1 + np.multiply.outer(lam[1:], mu)).max()
        start = np.linalg.norm(x - (U[0] @ x).real)
        bound = np.log(np.linalg.cond(V) * np.linalg.cond(W) * start) + run.layers * np.log(rest)
        assert np.all(diverse[s] <= bound + 1e-9)


def test_token_diversity_closes_at_the_predicted_rate():
    """The slope between two depths, within what the second largest moduli still contribute there."""
    checked, depths = 0, np.array([400, 800])
    systems_ = [random_mixed((11, seed)) for seed in range(100)]
    A, H, x0 = (np.stack([s[k] for s in systems_]) for k in (0, 1, 4))
    law = predict(A, H)
    run = simulate(Linear(A, H), x0, 800, layers=depths, metrics=["log_token_diversity"])
    slope = np.diff(run.metrics["log_token_diversity"])[:, 0] / 400
    for s in np.flatnonzero(law.regime == "smoothing"):
        lam, V, U, mu, Z, W = modes(A[s], H[s])
        c = np.abs(U @ x0[s] @ W)
        rho = np.abs(1 + np.multiply.outer(lam, mu))
        features = np.linalg.norm(Z, axis=1)
        diverse = (np.linalg.norm(V - V.mean(axis=0), axis=0)[:, None] * c * features)[1:].ravel()
        equal = c[0] * features * 2
        leak = 0.0
        for size, factor in ((diverse, rho[1:].ravel()), (equal, rho[0])):
            lead = np.argmax(factor)
            others = np.arange(factor.size) != lead
            leak += 2 * np.sum((size[others] / size[lead]) * (factor[others] / factor[lead]) ** depths[0])
        # the mean is pi^T X plus some of the diverse part
        shares = np.linalg.norm(V, axis=0)[1:, None] * c[1:] * features
        leak += 4 * np.sum(shares) / np.max(equal) * law.rates["token_diversity"][s] ** (depths[0] / 2)
        if leak < 0.1:
            assert abs(slope[s] - np.log(law.rates["token_diversity"][s])) <= 4 * leak / 400 + 1e-11
            checked += 1
    assert checked >= 20


def test_rank_and_angle_gaps_close_at_the_predicted_rates():
    systems_ = [
        random_mixed((13, seed), 3, 2, interval=((-3, 1.5), (-2, 0))[seed % 2]) for seed in range(200)
    ]
    A, H, x0 = (np.stack([s[k] for s in systems_]) for k in (0, 1, 4))
    law = predict(A, H)
    run = simulate(Linear(A, H), x0, 1000, layers=[500, 1000])
    checked, faster = {"smoothing": 0, "sharpening": 0}, 0
    for s, (_, _, lam, mu, _) in enumerate(systems_):
        rho = np.abs(1 + np.multiply.outer(lam, mu))
        minors = np.sort(
            [rho[i, j] * rho[k, m] for i, k in ((0, 1), (0, 2), (1, 2)) for j, m in ((0, 1), (1, 0))]
        )
        single = np.sort(rho.ravel())
        # what the second largest minor and the second largest mode still contribute
        if max(minors[-2] / minors[-1], single[-2] / single[-1]) ** 500 > 1e-10:
            continue
        regime = law.regime[s]
        angle = "log_cosine_gap" if regime == "smoothing" else "log_abs_cosine_gap"
        for metric, gap in (("log_rank_gap", "rank_gap"), (angle, "cosine_gap")):
            slope = np.diff(run.metrics[metric][s])[0] / 500
            if np.isfinite(slope):
                assert slope == pytest.approx(np.log(law.rates[gap][s]), abs=1e-8)
                checked[regime] += 1
        token, cosine = law.rates["token_diversity"][s], law.rates["cosine_gap"][s]
        faster += regime == "smoothing" and cosine < 0.999 * token
    assert checked["smoothing"] >= 20
    assert checked["sharpening"] >= 10
    assert faster >= 5  # angles close strictly faster than diversity


def test_product_of_two_modes_decides_the_rank():
    """lambda = {1, -1/2}, mu = {3, 2}: (3 * 1/2 / 16)^2 for the squared gap."""
    A, H = attention.from_spectrum([1, -0.5], rng=0), np.diag([3.0, 2.0])
    assert predict(A, H).rates["rank_gap"] ** 2 == pytest.approx((3 * 0.5 / 16) ** 2, rel=1e-12)
    truth = trajectory(A, H, [[1.0, 0.3], [-0.4, 2.0]], [100, 200], digits=600, symmetric=True)
    slope = np.diff(truth["log_rank_gap"])[0] / 100
    assert slope == pytest.approx(np.log(predict(A, H).rates["rank_gap"]), abs=1e-9)


# --- smooth.interval and sharpen.interval ----------------------------------------------


def circulant(eigenvalue, n):
    """The positive circulant of n tokens with this eigenvalue whose smallest entry is largest."""
    k = np.arange(n)
    root = np.exp(2j * np.pi * k / n)
    rows = [[*root.real, 0], [*root.imag, 0], [*np.ones(n), 0]]
    slack = np.hstack([-np.eye(n), np.ones((n, 1))])
    found = linprog(
        np.r_[np.zeros(n), -1],
        slack,
        np.zeros(n),
        rows,
        [eigenvalue.real, eigenvalue.imag, 1],
        bounds=(None, None),
    )
    assert found.x[-1] > 0
    return np.stack([np.roll(found.x[:n], i) for i in range(n)])


def test_a_positive_real_part_is_not_enough_with_complex_attention():
    A, mu = circulant(complex(-27 / 32, -0.5), 12), 1 + 5j
    H = real_form([mu])
    assert A.min() > 0
    assert np.abs(np.linalg.eigvals(A) - complex(-27 / 32, -0.5)).min() < 1e-12
    # exactly: |1 + lambda mu|^2 - |1 + mu|^2 = 29.3225... - 29
    lam = (F(-27, 32), F(-1, 2))
    re, im = 1 + lam[0] - 5 * lam[1], 5 * lam[0] + lam[1]
    assert re**2 + im**2 > 4 + 25
    law = predict(A, H)
    assert law.regime == "sharpening"
    x0 = np.random.default_rng(0).normal(size=(12, 2))
    run = simulate(Linear(A, H), x0, 4000, layers=[2000, 4000], metrics=["log_token_diversity"])
    # diverse part wins: the mean fades at the rate of the margin
    assert np.all(run.metrics["log_token_diversity"] > 2 * (law.margin * run.layers + 3))
    assert np.all(run.metrics["log_token_diversity"] > -0.01)
    # the same mu smooths wherever the spectrum is real
    for seed in range(20):
        assert predict(attention.softmax(6, 4, symmetric=True, rng=seed), H).regime == "smoothing"


@pytest.mark.parametrize("interval", ["smooth", "sharpen"])
def test_intervals_hold_for_complex_attention(interval):
    rng = np.random.default_rng(3)
    for n, d in ((3, 2), (5, 3), (12, 4)):
        A = attention.softmax(n, 3, temperature=0.3, size=100, rng=rng)
        assert np.any(np.linalg.eigvals(A).imag != 0)
        mu = rng.uniform(0.01, 3, (100, d)) if interval == "smooth" else -rng.uniform(0.01, 1, (100, d))
        H = np.stack([make_weights(rng, list(map(float, m)))[0] for m in mu])
        law = predict(A, H)
        assert np.all(law.regime == ("smoothing" if interval == "smooth" else "sharpening"))
        if interval == "sharpen":
            # with some mu = 0 all lambda tie there
            H[:] = 0
            H[:, 0, 0] = -0.5
            assert not np.any(predict(A, H).input_convergence)


# --- limit.rank ------------------------------------------------------------------------


def test_rank_alternates_where_two_of_each_tie():
    A, H = np.full((2, 2), 0.5), np.diag([-2.0, 0.0])
    law = predict(A, H)
    assert (law.regime, law.limit_rank, law.rank_collapse, len(law.dominant)) == ("balanced", 2, False, 4)
    # rank-1 tokens: the minor is c11 c22 (rho11 rho22)^l - c12 c21 (rho12 rho21)^l = p ((-1)^l - 1)
    x0 = np.outer([1.0, 3.0], [1.0, 2.0])
    law = predict(A, H, x0=x0)
    assert (law.limit_rank, law.rank_collapse) == (2, False)
    step = lambda X: X + A @ X @ H  # noqa: E731
    assert [np.linalg.matrix_rank(X) for X in (x0, step(x0), step(step(x0)))] == [1, 2, 1]
    # and where p = 0 it is 1 at every layer
    law = predict(A, H, x0=np.outer([1.0, 3.0], [1.0, 0.0]))
    assert (law.limit_rank, law.rank_collapse) == (1, True)
    law = predict(A, H, x0=np.outer([1.0, 1.0], [1.0, 2.0]))
    assert (law.limit_rank, law.rank_collapse, law.input_convergence) == (1, True, True)


def test_phases_may_hide_the_rank_at_first():
    """Three lambda and three mu tie; a rank found at one layer need not be the largest."""
    A, H = np.eye(3), np.diag([0.0, -2.0, -2.0])
    law = predict(A, H, x0=np.eye(3) + np.ones((3, 3)))
    assert law.limit_rank == 3
    assert law.regime == "balanced"


@pytest.mark.parametrize(("n", "d"), [(3, 2), (4, 6), (5, 5)])
def test_uniform_attention_keeps_what_is_diverse(n, d):
    mu = [-0.5, complex(-1, 0.4), *[-1.5] * d][: d - 1]
    H, _ = make_weights(np.random.default_rng(0), [*mu[: (d - 1) - (1 if d > 2 else 0)]])
    d = H.shape[0]
    A = attention.uniform(n)
    x0 = np.random.default_rng(1).normal(size=(n, d))
    for law in (predict(A, H), predict(A, H, x0=x0)):
        assert law.regime == "sharpening"
        assert law.limit_rank == min(n - 1, d)
        assert law.rank_collapse == (min(n - 1, d) == 1)
        assert law.rates["token_diversity"] == 1
    run = simulate(Linear(A, H), x0, 2000, layers=[2000], keep_states=True)
    limit = run.states[0] * np.exp(run.state_log_scale[0])
    np.testing.assert_allclose(limit, x0 - x0.mean(axis=0), atol=1e-12)


def test_identity_attention_keeps_rows_apart():
    law = predict(np.eye(3), np.diag([0.5, 0.2]))
    assert (law.regime, law.limit_rank, law.rank_collapse) == ("balanced", 1, True)
    assert law.angle_convergence  # every row follows the same feature
    law = predict(np.eye(3), 0.5 * np.eye(2))
    assert (law.regime, law.limit_rank, law.angle_convergence) == ("balanced", 2, False)


@pytest.mark.parametrize(
    ("lam", "mu", "rank"),
    [
        ([0.1, complex(0.05, 0.3)], [-1.0, -0.1], 1),
        ([0.2, 0.1, -0.2], [complex(-1, 0.4)], 1),
        ([0.1, complex(0.02, 0.3)], [complex(-0.6, 0.8)], 2),
    ],
    ids=["pair of lambda", "pair of mu", "both"],
)
def test_complex_pairs(lam, mu, rank):
    rng = np.random.default_rng(4)
    A, lam = make_attention(rng, lam, share=0.95)
    H, _ = make_weights(rng, mu)
    law = predict(A, H)
    assert (law.regime, law.limit_rank, len(law.dominant)) == ("sharpening", rank, 2)
    assert law.angle_convergence == law.rank_collapse == (rank == 1)
    x0 = rng.normal(size=(4, H.shape[0]))
    run = simulate(Linear(A, H), x0, 400, metrics=["log_rank_gap"])
    measured = run.metrics["log_rank_gap"]
    if rank == 1:
        # rotating vectors make it wobble, so compare the envelope: q^l up to a constant that grows slower
        predicted = run.layers[50:] * np.log(law.rates["rank_gap"])
        deviation = measured[50:] - predicted
        assert np.ptp(deviation) < 12
        assert abs(deviation[-100:].mean() - deviation[:100].mean()) < 1
    else:
        assert measured[200:].max() > -1


# --- limit.angle -----------------------------------------------------------------------


def with_silent_token():
    """lambda = -1/4 on (1, -1, 0), 1/10 on (1, 1, -2)."""
    v = np.array([[1.0, -1, 0], [1, 1, -2]])
    A = 1 / 3 - 0.25 * np.outer(v[0], v[0]) / 2 + 0.1 * np.outer(v[1], v[1]) / 6
    return (A + A.T) / 2


X3 = np.array([[1.0, 0.5], [0.3, -1.2], [0.7, 0.9]])


def test_a_silent_token_follows_its_own_mode_to_another_direction():
    A, H = with_silent_token(), np.diag([-1.5, -0.1])
    law = predict(A, H)
    assert (law.regime, law.limit_rank, law.rank_collapse, law.angle_convergence) == (
        "sharpening",
        1,
        True,
        False,
    )
    assert law.rates["cosine_gap"] == 1
    assert [a.name for a in law.assumptions if not a.holds] == ["every token is in the dominant modes"]
    truth = trajectory(A, H, X3, [200, 400], digits=300, symmetric=True)
    # tokens 1 and 2 end along (1, 0), token 3 along (0, 1): one of three pairs is parallel
    np.testing.assert_allclose(truth["abs_cosine"], 1 / 3, atol=1e-6)
    assert truth["log_rank_gap"][1] < truth["log_rank_gap"][0] - 30


def test_a_silent_token_may_still_take_the_same_direction():
    A, H = with_silent_token(), np.diag([-2.5, -0.5])
    law = predict(A, H)
    assert (law.regime, law.angle_convergence, law.rank_collapse) == ("sharpening", True, True)
    # own modes 1.5 along, 0.95 across; the others 1.625 and 1.125
    assert law.rates["cosine_gap"] == pytest.approx((1.125 / 1.625) ** 2, rel=1e-12)
    truth = trajectory(A, H, X3, [300, 600], digits=600, symmetric=True)
    slope = np.diff(truth["log_abs_cosine_gap"])[0] / 300
    assert slope == pytest.approx(np.log(law.rates["cosine_gap"]), abs=1e-9)


def test_one_feature_has_one_angle():
    assert predict(with_silent_token(), [[-1.0]]).angle_convergence


def test_signs_of_the_dominant_vector_decide_the_sign_of_the_cosine():
    rng = np.random.default_rng(0)
    A, _ = make_attention(rng, [-0.3, 0.1, 0.2], share=0.95)
    H = np.diag([-1.0, -0.4])
    law = predict(A, H)
    lam, V = np.linalg.eig(A)
    v = np.sign(V[:, np.argmin(lam)])
    pairs = np.triu_indices(4, 1)
    run = simulate(
        Linear(A, H),
        rng.normal(size=(4, 2)),
        2000,
        layers=[2000],
        metrics=["cosine", "abs_cosine", "hfc_lfc"],
    )
    assert law.angle_convergence
    assert run.metrics["abs_cosine"][0] == pytest.approx(1, abs=1e-12)
    assert run.metrics["cosine"][0] == pytest.approx(np.mean(np.outer(v, v)[pairs]), abs=1e-12)
    w = V[:, np.argmin(lam)]
    expected = np.linalg.norm(w - w.mean()) / (abs(w.mean()) * 2)
    assert run.metrics["hfc_lfc"][0] == pytest.approx(expected, rel=1e-10)


# --- a given x0 ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [0.5, -0.5])
def test_tokens_that_are_all_equal_stay_equal(seed, factor):
    A, H = attention.softmax(6, 4, rng=seed), factor * weights.orthogonal(3, rng=seed)
    x0 = np.ones((6, 1)) * np.array([0.1, 1e6, -3.0])
    law = predict(A, H, x0=x0)
    assert law.regime == "smoothing"
    assert law.input_convergence
    assert law.margin == np.inf
    assert law.rates["token_diversity"] == law.rates["rank_gap"] == 0
    assert "converge to one vector" in str(law)


def test_equal_tokens_with_groups_and_with_defective_weights():
    A = np.kron(np.eye(2), [[0.5, 0.5], [0.2, 0.8]])
    x0 = np.ones((4, 2))
    assert predict(A, np.diag([0.5, 0.2])).regime == "balanced"
    assert predict(A, np.diag([0.5, 0.2]), x0=x0).regime == "smoothing"
    assert predict(A, [[-0.5, 1.0], [0.0, -0.5]], x0=x0).regime == "smoothing"


@pytest.mark.parametrize("seed", range(20))
def test_a_single_mode_stays_alone(seed):
    A, H, lam, mu, _ = random_mixed((17, seed), n=6, d=5)
    lam, V, _, mu, Z, _ = modes(A, H)
    rng = np.random.default_rng(seed)
    i, j = int(rng.integers(6)), int(rng.integers(5))
    if np.iscomplexobj(mu) or np.iscomplexobj(lam):
        pytest.skip("rounding made a pair")
    law = predict(A, H, x0=np.outer(V[:, i], Z[j]))
    assert len(law.dominant) == 1
    assert law.dominant[0].attention_eigenvalue == pytest.approx(lam[i], abs=1e-10)
    assert law.dominant[0].weight_eigenvalue == pytest.approx(mu[j], abs=1e-10)
    assert law.regime == ("smoothing" if i == 0 else "sharpening")
    assert (law.limit_rank, law.rates["rank_gap"]) == (1, 0)


@pytest.mark.parametrize("size", [1.0, 1e8])
def test_tokens_orthogonal_to_pi_never_smooth(size):
    A, H = attention.softmax(6, 4, rng=1), np.diag([1.0, 0.5, 0.2])
    U = modes(A, H)[2]
    pi = U[0].real / U[0].real.sum()
    x0 = np.random.default_rng(0).normal(size=(6, 3)) * size
    assert predict(A, H, x0=x0).regime == "smoothing"
    x0 = x0 - pi @ x0
    law = predict(A, H, x0=x0)
    assert law.regime == "sharpening"
    assert not law.input_convergence
    assert law.margin == -np.inf


def test_tokens_that_are_nearly_equal_keep_their_differences():
    """Differences of 1e-14 of the tokens are data, not rounding."""
    A, H = attention.softmax(5, 4, rng=0), -0.5 * np.diag([1.0, 0.3])
    x0 = 1e14 + np.random.default_rng(0).integers(-9, 9, (5, 2))
    assert predict(A, H, x0=x0).regime == "sharpening"


def test_a_token_that_starts_at_zero_is_heard_from_the_first_layer_on():
    A, x0 = attention.softmax(4, 4, rng=0), np.random.default_rng(0).normal(size=(4, 3))
    x0[3] = 0
    for H in (0.5 * weights.orthogonal(3, rng=0), -0.5 * np.eye(3), np.diag([1.0, 0.5, 0.2])):
        law, generic = predict(A, H, x0=x0), predict(A, H)
        for field in ("regime", "angle_convergence", "rank_collapse", "limit_rank"):
            assert getattr(law, field) == getattr(generic, field)


def test_anticausal_tokens_keep_their_own_directions():
    """Token k looks at later ones only: a mode of token k is silent at the tokens after it."""
    W = np.triu(np.random.default_rng(0).uniform(0.1, 1, (4, 4)))
    A, H = W / W.sum(axis=1, keepdims=True), -0.5 * np.eye(3)
    x0 = np.random.default_rng(1).normal(size=(4, 3))
    for law in (predict(A, H), predict(A, H, x0=x0)):
        assert (law.regime, law.rank_collapse, law.angle_convergence) == ("sharpening", True, False)
    truth = trajectory(A, H, x0, [100, 200], digits=300)
    assert np.ptp(truth["abs_cosine"]) < 1e-4
    assert truth["abs_cosine"][0] < 0.9
    slope = np.diff(truth["log_rank_gap"])[0] / 100
    assert slope == pytest.approx(np.log(law.rates["rank_gap"]), abs=1e-3)


def test_rates_of_a_given_x0_leave_out_absent_modes():
    A = attention.from_spectrum([1, 0.4, 0.1, -0.3], rng=0)
    V = np.linalg.eigh(A)[1]
    H = np.diag([1.0, 0.1])
    # the strongest diverse mode (0.4, 1.0) is absent
    x0 = np.outer(np.ones(4), [1, 1]) + np.outer(V[:, 1], [1, -1]) + np.outer(V[:, 0], [0.5, 1])
    law = predict(A, H, x0=x0)
    assert law.rates["token_diversity"] == pytest.approx((1.1 / 2) ** 2, rel=1e-12)
    assert predict(A, H).rates["token_diversity"] == pytest.approx((1.4 / 2) ** 2, rel=1e-12)
    # doubles leave 1e-16 of the absent mode, which is not yet seen
    truth = trajectory(A, H, x0, [60, 90], digits=300, symmetric=True, svd=False)
    assert np.diff(truth["log_token_diversity"])[0] / 30 == pytest.approx(2 * np.log(1.1 / 2), abs=1e-5)


# --- corners ---------------------------------------------------------------------------


def flags(law):
    return {a.name for a in law.assumptions if not a.holds}


def test_zero_weights_change_nothing():
    law = predict(attention.softmax(4, 4, rng=0), np.zeros((3, 3)))
    assert (law.regime, law.limit_rank, law.rank_collapse, len(law.dominant)) == ("balanced", 3, False, 12)
    assert set(law.rates.values()) == {1.0}
    assert "No gap closes" in str(law)
    assert (
        predict(attention.uniform(4), np.zeros((3, 3)), x0=np.outer([1, 2, 3, 4], [1, 0, 1])).limit_rank == 1
    )


@pytest.mark.parametrize(
    ("A", "H", "x0"),
    [
        (np.eye(3), -np.eye(2), None),
        ([[1.0]], [[-1.0]], None),
        (np.eye(2), [[-1.0, 0.0], [0.0, -1.0]], [[1.0, 2.0], [3.0, 4.0]]),
        (attention.softmax(4, 4, rng=0), -np.eye(2), np.ones((4, 2))),
    ],
    ids=["identity", "one number", "given", "equal tokens"],
)
def test_a_state_that_vanishes_has_no_limit(A, H, x0):
    law = predict(A, H, x0=x0)
    assert (law.regime, law.limit_rank) == ("balanced", 0)
    assert (law.input_convergence, law.angle_convergence, law.rank_collapse) == (False, False, False)
    assert "state does not vanish" in flags(law)
    assert set(law.rates.values()) == {1.0}
    assert "becomes zero" in str(law)


def test_one_token_and_one_feature():
    law = predict([[1.0]], np.diag([0.5, 0.2]))
    assert (law.regime, law.input_convergence, law.rank_collapse, law.limit_rank) == (
        "smoothing",
        True,
        True,
        1,
    )
    assert law.margin == np.inf
    assert law.rates["token_diversity"] == law.rates["rank_gap"] == 0
    law = predict(attention.softmax(5, 4, rng=0), [[0.5]])
    assert (law.regime, law.rates["rank_gap"], law.rates["cosine_gap"]) == ("smoothing", 0, 0)
    assert 0 < law.rates["token_diversity"] < 1


def test_masked_attention_is_judged_and_flagged():
    W = np.tril(np.random.default_rng(0).uniform(0.1, 1, (5, 5)))
    W[4, 4] = 3
    A = W / W.sum(axis=1, keepdims=True)
    law = predict(A, np.diag([0.5, 0.2]))
    assert flags(law) == {"attention has positive entries"}
    assert law.regime == "smoothing"
    # triangular: the eigenvalues are the diagonal
    largest = np.sort(np.diag(A))[-2]
    assert law.rates["token_diversity"] == pytest.approx(((1 + 0.5 * largest) / 1.5) ** 2, rel=1e-12)
    apart = np.kron(np.eye(2), attention.uniform(2))
    law = predict(apart, np.diag([0.5, 0.2]))
    # each group converges by itself: one direction, two lengths
    assert (law.regime, law.input_convergence, law.angle_convergence, law.limit_rank) == (
        "balanced",
        False,
        True,
        1,
    )
    run = simulate(Linear(apart, np.diag([0.5, 0.2])), np.arange(8.0).reshape(4, 2) + 1, 300, layers=[300])
    assert run.metrics["abs_cosine"][0] == pytest.approx(1, abs=1e-12)
    assert run.metrics["log_token_diversity"][0] > -5


@pytest.mark.parametrize("delta", [1.0, 1e-3, 1e-6])
def test_defective_weights_are_flagged(delta):
    Q = weights.orthogonal(3, rng=0)
    J = np.diag([-0.5, -0.5, -0.1])
    J[0, 1] = delta
    law = predict(attention.softmax(4, 4, symmetric=True, rng=0), Q @ J @ Q.T)
    assert flags(law) == {"weights is diagonalizable"}
    # one Jordan block at the dominant pair: the limit still has rank 1
    assert (law.regime, law.rank_collapse) == ("sharpening", True)
    assert "Careful" in str(law)


def test_defective_attention_is_flagged():
    # eigenvalues 1 and 1/4 twice, one eigenvector; entries > 0
    A = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
    A = A + 0.05 * np.outer([1, 1, -2], [1, -1, 0])
    law = predict(A, np.diag([-0.5, -0.2]))
    assert any("attention" in name and "diagonalizable" in name for name in flags(law))


@pytest.mark.parametrize(
    "H",
    [
        [[3, 1, -2, 0], [-9, -3, 7, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        [[-4, 1, 0, 0], [-16, 4, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ],
)
def test_jordan_chains_are_as_long_as_exact_ranks_say(H):
    exact = sympy.Matrix(H)
    ranks = [(exact**k).rank() for k in range(6)]
    chains = [ranks[k - 1] - 2 * ranks[k] + ranks[k + 1] for k in range(1, 5)]  # of length k, each
    expected = sorted(
        p for length, count in enumerate(chains, 1) for _ in range(count) for p in range(length)
    )
    assert sorted(weight_eigensystem(np.array([H], dtype=float)).growth[0].tolist()) == expected
    assert predict(np.full((2, 2), 0.5), H).input_convergence == (max(expected) > 0)


def test_equal_tokens_in_the_kernel_of_a_jordan_block_are_equal():
    law = predict(np.full((2, 2), 0.5), [[0, 1], [0, 0]], x0=[[0, 1], [0, 1]])
    assert law.input_convergence
    assert law.angle_convergence
    assert not {a.name: a.holds for a in law.assumptions}["x0 is judged by its own modes"]


def test_a_silent_token_follows_a_jordan_chain_to_the_same_direction():
    A = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.25, 0.5, 0.25]])  # (0, 1, -1) at lambda = -1/4
    x0 = np.eye(3, 2)
    law = predict(A, [[-1, 1], [0, -1]], x0=x0)
    assert law.angle_convergence
    assert law.rates["cosine_gap"] == 1
    gaps = trajectory(A, np.array([[-1, 1], [0, -1]]), x0, [250, 500, 1000], digits=900)["log_abs_cosine_gap"]
    powers = np.diff(gaps) / np.log(2)
    assert 2 * powers[1] - powers[0] == pytest.approx(-2, abs=0.02)
    # with two eigenvectors at the same mu the silent token keeps its own direction
    assert not predict(A, [[-1, 0], [0, -1]], x0=x0).angle_convergence


def test_balanced_only_within_1e_9():
    a = -0.3
    A = attention.from_spectrum([1, 0.2, a], rng=0)
    exact = np.linalg.eigvalsh(A)[0]
    for relative in (1e-6, 1e-8, 3e-9):
        for sign in (-1, 1):
            mu = boundary(exact) * (1 + sign * relative)
            law = predict(A, [[mu]])
            assert law.regime == ("smoothing" if sign > 0 else "sharpening")
            assert ("regime boundary is resolved" in flags(law)) == (abs(law.margin) <= 1e-9)
    law = predict(A, [[boundary(exact)]])
    assert law.regime == "balanced"
    assert flags(law) == {"regime boundary is resolved"}
    # ill-conditioned eigenvalues widen the band, but never beyond 1e-9
    V = np.array([[1.0, 1.0, 0.3], [0.0, 1e-6, 1.0], [0.0, 0.0, 1.0]])
    for relative in (-1e-7, 3e-8, 1e-6):
        H = V @ np.diag([boundary(exact) * (1 + relative), -0.1, -0.2]) @ np.linalg.inv(V)
        law = predict(A, H)
        assert law.regime != "balanced" or abs(law.margin) <= 1e-9


def test_ties_are_found_with_weights_far_from_normal():
    """The error of an eigenvalue scales with the norm of the matrix, not with its eigenvalues."""
    A = attention.from_spectrum([1, 0.2, -1 / 3], rng=0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        T = np.array([[-3.0, 300.0], [0.0, -0.1]])
        Q = weights.orthogonal(2, rng=rng)
        assert predict(A, Q @ T @ Q.T).regime == "balanced"


def test_single_precision_attention_is_normalised_again():
    A = attention.softmax(6, 4, symmetric=True, size=3, rng=0)
    H = weights.gaussian(4, size=3, rng=0)
    single, double = predict(A.astype(np.float32), H.astype(np.float32)), predict(A, H)
    np.testing.assert_array_equal(single.regime, double.regime)
    np.testing.assert_allclose(single.margin, double.margin, atol=1e-5)
    for modes_ in single.dominant:
        assert all(isinstance(m.attention_eigenvalue, float) for m in modes_)


# --- batches ---------------------------------------------------------------------------

FIELDS = ("regime", "input_convergence", "angle_convergence", "rank_collapse", "limit_rank", "margin")


def assert_same(batched, single, index):
    for field in FIELDS:
        found, expected = np.asarray(getattr(batched, field))[index], getattr(single, field)
        assert found == expected or found == pytest.approx(expected, rel=1e-9, abs=1e-12), field
    for name in single.rates:
        assert batched.rates[name][index] == pytest.approx(single.rates[name], rel=1e-9, abs=1e-12)
    found = batched.dominant[index]
    assert len(found) == len(single.dominant)
    for p, q in zip(found, single.dominant, strict=True):
        np.testing.assert_allclose(np.array(p), np.array(q), atol=1e-11)
    for p, q in zip(batched.assumptions, single.assumptions, strict=True):
        assert p.name == q.name
        assert p.holds[index] == q.holds


@pytest.mark.parametrize(
    ("of_A", "of_H", "of_x0"),
    [
        ((4,), (4,), None),
        ((4,), (), None),
        ((), (4,), None),
        ((), (), (4,)),
        ((4,), (), (4,)),
        ((), (4,), (4,)),
        ((2, 1), (3,), None),
        ((2, 1), (1, 3), (2, 3)),
        ((), (), (2, 3)),
        ((1,), (), None),
        ((1, 1), (1,), (1,)),
    ],
    ids=str,
)
def test_a_batch_is_its_systems_one_by_one(of_A, of_H, of_x0):
    rng = np.random.default_rng(0)
    A = attention.softmax(5, 4, size=of_A, rng=rng)
    H = weights.gaussian(3, size=of_H, rng=rng) - 0.5 * np.eye(3)
    x0 = None if of_x0 is None else rng.normal(size=(*of_x0, 5, 3))
    law = predict(A, H, x0=x0)
    batch = np.broadcast_shapes(of_A, of_H, of_x0 or ())
    for field in (*FIELDS, "dominant"):
        assert np.shape(getattr(law, field)) == batch
    A, H = np.broadcast_to(A, (*batch, 5, 5)), np.broadcast_to(H, (*batch, 3, 3))
    for index in np.ndindex(batch):
        assert_same(
            law,
            predict(
                A[index], H[index], x0=None if x0 is None else np.broadcast_to(x0, (*batch, 5, 3))[index]
            ),
            index,
        )


def test_unlike_systems_in_one_batch():
    H = np.stack(
        [np.zeros((2, 2)), -np.eye(2), np.diag([1.0, 0.5]), [[-0.5, 1.0], [0.0, -0.5]], np.diag([-2.0, 0.0])]
    )
    A = np.stack([np.eye(2), np.eye(2), attention.uniform(2), attention.uniform(2), attention.uniform(2)])
    x0 = np.stack([np.eye(2), np.eye(2), np.ones((2, 2)), np.eye(2), np.outer([1, 3], [1, 2])])
    for given_x0 in (None, x0):
        law = predict(A, H, x0=given_x0)
        for k in range(5):
            assert_same(law, predict(A[k], H[k], x0=None if given_x0 is None else x0[k]), k)


def test_types_of_one_system():
    law = predict(attention.softmax(3, 4, rng=0), [[0.5]])
    assert [type(getattr(law, f)) for f in FIELDS] == [str, bool, bool, bool, int, float]
    assert all(type(v) is float for v in law.rates.values())
    assert isinstance(law.dominant, tuple)
    assert all(type(a.holds) is bool and type(a.detail) is str for a in law.assumptions)
    mode = law.dominant[0]
    assert (type(mode.attention_eigenvalue), mode.value) == (float, pytest.approx(1.5))


def test_text():
    A = attention.softmax(4, 4, symmetric=True, size=6, rng=0)
    H = np.stack([np.diag([s, -0.2, -0.1]) for s in (-0.9, -0.5, 0.5, 1, 2, 3)])
    one = str(predict(A[0], H[0]))
    for words in (
        "Regime: sharpening",
        "lambda = ",
        "do not converge to one vector",
        "collapses to 1",
        "Per layer",
    ):
        assert words in one
    assert len(one) < 600
    assert "\n" not in one
    many = str(predict(A, H))
    assert many.startswith("6 systems: ")
    assert "rank collapse in 6" in many
    assert "array" not in one + many
    assert "3 + 0" not in str(predict(attention.softmax(4, 4, rng=3), np.diag([3.0, 1.0])))


def test_what_is_refused():
    A, H = attention.uniform(3), np.eye(2)
    with pytest.raises(InvalidTypeError, match=r"predict\(A, H\)"):
        predict(A)
    with pytest.raises(ShapeError, match="x0"):
        predict(A, H, x0=np.ones((2, 3)))
    with pytest.raises(ShapeError, match="x0"):
        predict(np.stack([A] * 2), H, x0=np.ones((3, 3, 2)))
    with pytest.raises(InvalidValueError, match="x0"):
        predict(A, H, x0=np.zeros((3, 2)))
    with pytest.raises(InvalidValueError, match="x0"):
        predict(A, H, x0=np.full((3, 2), np.nan))
    with pytest.raises(InvalidValueError, match="A: found"):
        predict(A * 1.1, H)
    for bad in (-1, 1, 2, np.nan, "a"):
        with pytest.raises(LinsimError, match="lambda_min"):
            boundary(bad)


@pytest.mark.parametrize("given_x0", [False, True])
def test_a_batch_of_five_thousand_takes_seconds(given_x0):
    A, H = attention.softmax(12, 8, size=5000, rng=0), weights.gaussian(12, size=5000, rng=1)
    x0 = np.random.default_rng(2).normal(size=(5000, 12, 12)) if given_x0 else None
    start = time.process_time()
    law = predict(A, H, x0=x0)
    assert time.process_time() - start < 10  # about 1.5 s alone
    assert law.regime.shape == (5000,)
