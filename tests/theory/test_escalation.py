"""The theory of escalation: closed forms against mpmath, laws against their brute-force iteration."""

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

import linsim
from linsim import attention, escalation
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, NotCoveredError, ShapeError
from linsim.escalation import OddsFactor

WIDTHS = (1, 2, 3, 4, 5, 8, 64, 768, 10**6)
SCALES = (1e-8, 1e-3, 0.3, 0.5, 1.0, 1.5, 2.0, 40.0, 1e4, 1e8)


@pytest.fixture(autouse=True)
def _digits():
    with mp.workdps(40):
        yield


def close(found, exact, rtol=3e-14):
    """Whether a double equals an mpmath number relatively (0 and infinities exactly)."""
    if exact == 0 or not mp.isfinite(exact):
        return found == exact
    return abs(found - exact) <= rtol * abs(exact)


# --- the textbook closed forms, in 40 digits ------------------------------------------------------


def textbook(kind, d, s):
    """E ln Q, E[1/Q] and the alignment by their hypergeometric forms."""
    S, b = mp.mpf(s) ** 2, mp.mpf(d) / 2
    if kind == "gaussian":
        log_mean = mp.log(2 * S / d) + mp.psi(0, b) + mp.hyp2f2(1, 1, 2, 1 + b, -b / S) / S
        inverse = d / (S * (d - 2)) * mp.hyp1f1(1, b, -b / S) if d > 2 else mp.inf
        return log_mean, inverse, mp.hyp1f1(1, b + 1, -b / S) / S
    z = 2 * mp.mpf(s) / (1 + S)
    if s == 1:  # Gauss: the series converge like a power there
        log_mean = mp.log(4) + mp.psi(0, mp.mpf(d - 1) / 2) - mp.psi(0, d - 1) if d > 1 else -mp.inf
        inverse = mp.mpf(d - 2) / (2 * (d - 3)) if d > 3 else mp.inf
        return log_mean, inverse, mp.mpf(1) / 2
    log_mean = mp.log(1 + S) - z**2 / (2 * d) * mp.hyp3f2(1, 1, 1.5, 2, b + 1, z**2)
    inverse = mp.hyp2f1(0.5, 1, b, z**2) / (1 + S)
    return log_mean, inverse, mp.mpf(1) / 2 + (1 - S) / 2 * inverse


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("d", WIDTHS)
def test_moments_are_the_textbook_ones(kind, d):
    for s in SCALES:
        law = OddsFactor(d, std=s, kind=kind)
        log_mean, inverse, alignment = textbook(kind, d, s)
        if d == 2 and kind == "orthogonal":  # harmonic in the plane; the series only come close
            assert law.log_mean == (2 * np.log(s) if s > 1 else 0)
            assert law.alignment == (1 if s < 1 else 0.5 if s == 1 else 0)
        elif d == 2:
            # E ln Q = E_1(1/s^2) exactly: ln|y|^2 is harmonic but for what lies below the unit circle
            assert close(law.log_mean, mp.e1(1 / mp.mpf(s) ** 2)) or law.log_mean < 1e-300
            assert close(law.alignment, alignment)
        else:
            # for d = 1 the two parts of E ln Q have opposite signs
            assert close(law.log_mean, log_mean, 1e-11 if d == 1 else 3e-14)
            if d > 1:
                assert close(law.alignment, alignment)
        assert close(law.inverse_mean, inverse)


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_mean_and_variance_are_those_of_the_law(kind):
    # from E exp(-x Q), or from the cosine, by mpmath
    d, s = 7, mp.mpf("0.75")
    law = OddsFactor(d, std=float(s), kind=kind)
    if kind == "gaussian":
        v = s**2 / d

        def log_transform(x):
            return -mp.mpf(d) / 2 * mp.log1p(2 * x * v) - x / (1 + 2 * x * v)

        first, second = -mp.diff(log_transform, 0), mp.diff(log_transform, 0, 2)
    else:

        def moment(k):
            return mp.quad(lambda a: mp.sin(a) ** (d - 2) * (1 + s**2 + 2 * s * mp.cos(a)) ** k, [0, mp.pi])

        first = moment(1) / moment(0)
        second = moment(2) / moment(0) - first**2
    assert close(law.mean, first, 1e-14)
    assert close(law.variance, second, 1e-14)


def test_the_values_of_the_paper_and_of_the_notes():
    widths = (8, 16, 32, 64, 192, 768)
    rates = [round(OddsFactor(d).expected_rate(), 4) for d in widths]
    assert rates == [0.3773, 0.4470, 0.4751, 0.4879, 0.4961, 0.4990]
    assert round(OddsFactor(8).expected_rate(0.9), 4) == 0.3653
    for d in widths:
        assert close(OddsFactor(d, kind="orthogonal").expected_rate(), mp.mpf(d - 4) / (2 * (d - 3)), 2e-14)
        # to first order 1/2 - 3/(4d) and ln 2 - 3/(4d), proved within 4 g^2/(m S^2), g = 2/d
        assert abs(OddsFactor(d).expected_rate() - (0.5 - 3 / (4 * d))) <= 2 * (2 / d) ** 2
    assert abs(OddsFactor(10**6).log_mean - (np.log(2) - 0.75e-6)) < 1e-11


@pytest.mark.parametrize(("d", "s"), [(1, 1.0), (2, 30.0), (3, 1e-3), (3, 0.5), (8, 1.0), (64, 2.0)])
def test_expected_rate_is_the_integral(d, s):
    similarities = (1e-3, 0.6, 1 - 1e-6)
    found = OddsFactor(d, std=s).expected_rate(list(similarities))
    S, b = mp.mpf(s) ** 2, mp.mpf(d) / 2
    with mp.workdps(25):
        for t, rate in zip(map(mp.mpf, similarities), found, strict=True):
            # 1 - E[1/(1 - t + tQ)] with E exp(-xQ), in the logarithm of x
            def inside(a, t=t):
                x = mp.exp(a)
                y = t * x * S / b
                return x * (mp.exp(-x) - mp.exp(-(1 - t) * x - b * mp.log1p(y) - t * x / (1 + y)))

            assert close(rate, mp.quad(inside, mp.linspace(-50, 40, 19)), 1e-12)


@pytest.mark.parametrize(("d", "s"), [(2, 1.0), (2, 30.0), (3, 1e-3), (3, 0.5), (8, 1.0), (64, 2.0)])
def test_expected_rate_for_haar_weights_is_the_integral_over_angles(d, s):
    similarities = (1e-3, 0.3, 0.9, 1 - 1e-4)
    found = OddsFactor(d, std=s, kind="orthogonal").expected_rate(list(similarities))
    with mp.workdps(25):
        points = [0, 0.001, 0.02, 0.2, 1, 2, mp.pi - 0.2, mp.pi - 0.02, mp.pi - 0.001, mp.pi]
        whole = mp.quad(lambda a: mp.sin(a) ** (d - 2), points)
        for t, rate in zip(map(mp.mpf, similarities), found, strict=True):

            def inside(a, t=t):
                gain = t * (mp.mpf(s) ** 2 + 2 * mp.mpf(s) * mp.cos(a))
                return mp.sin(a) ** (d - 2) * gain / (1 + gain)

            assert close(rate, mp.quad(inside, points) / whole, 1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_the_local_limit_joins_what_lies_below(kind):
    for d in (6, 768, 10**6):
        for s in (1e-8, 0.5, 1.0, 2.0, 1e8):
            law = OddsFactor(d, std=s, kind=kind)
            assert abs(law.expected_rate() - (1 - law.inverse_mean)) < 1e-14
            assert abs(law.expected_rate(1 - 1e-13) - law.expected_rate()) <= 1e-11 * s**2 / (1 + s**2)
            assert law.expected_rate(0.0) == 0
    # no digit is lost where the rate is of the size of s^2: E[r] = s^2 (t - 4 t^2/d) + O(s^4)
    assert OddsFactor(8, std=1e-8, kind=kind).expected_rate(0.5) == pytest.approx(1e-16 * 0.375, rel=1e-12)
    # and below the grid of the quadrature it is that term alone
    tiny = OddsFactor(8, std=1e-20, kind=kind)
    assert tiny.expected_rate(0.5) == pytest.approx(1e-40 * 0.375, rel=1e-12)
    assert tiny.log_mean == pytest.approx(1e-40 * (1 - 2 / 8), rel=1e-12)


def test_where_moments_exist():
    assert [OddsFactor(d).inverse_mean for d in (1, 2)] == [np.inf, np.inf]
    assert [OddsFactor(d, kind="orthogonal").inverse_mean for d in (1, 2, 3)] == [np.inf] * 3
    assert OddsFactor(2).expected_rate([0.5, 1.0])[1] == -np.inf
    assert OddsFactor(3, kind="orthogonal").expected_rate() == -np.inf
    assert np.isfinite(OddsFactor(2).expected_rate(1 - 1e-15))
    assert OddsFactor(1, kind="orthogonal").log_mean == -np.inf
    finite = [OddsFactor(d).finite_variance for d in (3, 4, 5)]
    assert finite == [False, False, True]
    assert [OddsFactor(d, kind="orthogonal").finite_variance for d in (5, 6)] == [False, True]
    assert OddsFactor(2, std=0.99, kind="orthogonal").finite_variance
    for law in (OddsFactor(1), OddsFactor(1, kind="orthogonal")):
        with pytest.raises(InvalidValueError, match=r"^d: found 1 .*; expected d >= 2"):
            _ = law.alignment
    assert OddsFactor(1, std=0.5, kind="orthogonal").alignment == pytest.approx(4 / 3)


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_without_weights_nothing_moves(kind):
    for d in (1, 2, 9):
        law = OddsFactor(d, std=0, kind=kind)
        assert (law.mean, law.variance, law.log_mean) == (1, 0, 0)
        assert (law.inverse_mean, law.alignment, law.finite_variance) == (1, 1, True)
        assert law.expected_rate() == law.expected_rate(0.3) == 0
        np.testing.assert_array_equal(law.cdf([0.999, 1.0, 2.0]), [0, 1, 1])
        np.testing.assert_allclose(law.sample(3, rng=0), 1, rtol=1e-15)


def test_typical_growth_is_positive_from_two_features_on():
    # ln|y|^2 is subharmonic for d >= 2: its mean over e + W^T e is not below ln|e|^2 = 0
    scales = np.geomspace(1e-7, 1e7, 29)
    for d in (2, 3, 4, 17):
        growth = [OddsFactor(d, std=s).log_mean for s in scales]
        assert np.all(np.diff(growth) > 0) if d > 2 else np.all(np.diff(growth) >= 0)
        assert growth[0] >= 0
        assert all(OddsFactor(d, std=s, kind="orthogonal").log_mean >= 0 for s in scales)
    # with one feature it is not: E Q = 2, and yet ln Q falls on average
    assert OddsFactor(1).mean == 2
    assert round(OddsFactor(1).log_mean, 4) == -0.417
    assert OddsFactor(1, std=1.55).log_mean < 0 < OddsFactor(1, std=1.56).log_mean
    assert OddsFactor(1, std=1e-6).log_mean == pytest.approx(-1e-12, rel=1e-6)


# --- distribution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3, 8, 768, 10**6])
@pytest.mark.parametrize("s", [0.5, 1.0, 2.0, 100.0])
def test_cdf_is_noncentral_chi_squared(d, s):
    law = OddsFactor(d, std=s)
    q = law.mean + np.sqrt(law.variance) * np.linspace(-5, 6, 23)
    expected = stats.ncx2.cdf(np.maximum(q, 0) * d / s**2, d, d / s**2)
    np.testing.assert_allclose(law.cdf(q), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [1, 3, 9, 201])
@pytest.mark.parametrize("s", [1e-6, 1e-3, 0.1, 1.0, 1e4])
def test_cdf_has_a_finite_form_for_odd_widths(d, s):
    # P_d = P_(d-2) - 2 f_d, f_d the density of noncentral chi-squared, from the normal law at d = 1
    law = OddsFactor(d, std=s)
    for place in (-1.5, -0.4, 0.0, 0.02, 2.5):
        q = float(law.mean + place * np.sqrt(law.variance))
        if q <= 0:
            continue
        shift = d / mp.mpf(s) ** 2
        root, x = mp.sqrt(q * shift), q * shift
        exact = mp.ncdf(root - mp.sqrt(shift)) - mp.ncdf(-root - mp.sqrt(shift))
        for k in range(3, d + 1, 2):
            order = mp.mpf(k) / 2 - 1
            bessel = mp.besseli(order, mp.sqrt(shift * x)) * mp.exp(-(x + shift) / 2)
            exact -= bessel * mp.mpf(q) ** (order / 2)
        # what the last digit of q moves is not ours
        assert abs(law.cdf(q) - exact) < 1e-12 + 4e-16 * q / np.sqrt(law.variance)


def test_cdf_for_haar_weights_is_the_law_of_a_cosine():
    for d, s in ((2, 0.7), (3, 1.0), (9, 2.0)):
        law = OddsFactor(d, std=s, kind="orthogonal")
        for q in (1.2, 1.9, 2.4):
            cosine = (mp.mpf(q) - 1 - mp.mpf(s) ** 2) / (2 * mp.mpf(s))
            if abs(cosine) < 1:
                parts = [
                    mp.quad(lambda a, d=d: mp.sin(a) ** (d - 2), [start, mp.pi])
                    for start in (mp.acos(cosine), 0)
                ]
                assert close(law.cdf(q), parts[0] / parts[1], 1e-12)
    two = OddsFactor(1, std=0.5, kind="orthogonal")
    np.testing.assert_array_equal(two.cdf([0.2, 0.25, 1.0, 2.25]), [0, 0.5, 0.5, 1])
    three = OddsFactor(3, std=0.5, kind="orthogonal")  # uniform on [1/4, 9/4]
    np.testing.assert_allclose(three.cdf([0.1, 0.25, 1.25, 2.25, 3]), [0, 0, 0.5, 1, 1], atol=1e-15)


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("d", [1, 2, 3, 768, 10**6])
@pytest.mark.parametrize("s", [1e-6, 0.1, 1.0, 1e4])
def test_samples_follow_the_cdf(kind, d, s):
    # DKW-Massart: a p-value bound below 1e-8 comes up with probability 1e-8 at most
    law = OddsFactor(d, std=s, kind=kind)
    drawn = law.sample(4000, rng=d)
    if kind == "orthogonal" and d == 1:
        assert set(np.unique(drawn)) == {(1 - s) ** 2, (1 - s) ** 2 + 4 * s}
        return
    assert escalation.law_pvalue(drawn, law) > 1e-8
    assert escalation.law_pvalue(drawn + 0.2 * np.sqrt(law.variance), law) < 1e-8


def test_cdf_and_rates_stay_in_their_library(xp):
    law = OddsFactor(8)
    q = xp.array([[0.5, 1.0], [2.0, 3.0]], dtype="float32")
    for function in (law.cdf, law.expected_rate):
        given = q if function == law.cdf else q / 4
        found = function(given)
        assert xp.owns(found)
        assert str(found.dtype).endswith("float64")
        np.testing.assert_allclose(xp.host(found), function(xp.host(given)), rtol=1e-12)


# --- bounds and the law of odds -------------------------------------------------------------------


def test_local_rate_and_bound():
    assert escalation.local_rate(1.0, 0.0) == 0.5
    assert escalation.local_rate(0.5, 0.0) == pytest.approx(0.2, rel=1e-15)
    assert escalation.local_rate(2.0, 0.0) == pytest.approx(0.8, rel=1e-15)
    assert escalation.rate_bound(1.0, 2.0, 0.3) == pytest.approx(escalation.local_rate(2.0, 0.3), rel=1e-15)
    # at s = 1 at least half of (1 - sigma^2) t
    t, gap = np.linspace(0, 1, 11)[:, None], np.linspace(0, 1, 11)
    assert np.all(escalation.rate_bound(t, 1.0, gap) >= (1 - gap**2) * t / 2)
    tiny = 1 - 2.0**-52
    assert escalation.local_rate(1.0, tiny) == pytest.approx(2.0**-52, rel=1e-12)
    assert escalation.local_rate(1.0, 2.0) == -1.5


def test_odds_double():
    found = escalation.similarity_after(np.arange(14), 1 / 64, 1.0, 0.0)
    odds = 2.0 ** np.arange(14) / 63
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-14)
    assert found[[6, 12]].round(3).tolist() == [0.504, 0.985]
    energy = escalation.expected_energy(attention.uniform(64), np.eye(64), range(14))
    np.testing.assert_allclose(energy.similarity, found, rtol=1e-13)
    assert escalation.similarity_after(10**15, [0.0, 1e-300, 1.0], 2.0, 0.5).tolist() == [0, 1, 1]
    assert escalation.similarity_after(0, 0.3, 2.0, 0.5) == pytest.approx(0.3, rel=1e-15)


def test_bounds_stay_in_their_library(xp):
    t = xp.array([0.1, 0.9])
    for call in (
        lambda t: escalation.rate_bound(t, 1.5, 0.25),
        lambda t: escalation.similarity_after(3, t, 1.5, [0.25, 0.5]),
        lambda t: escalation.local_rate(t, 0.5),
        lambda t: escalation.deescalated_similarity(t, [0.5, 1.5]),
        lambda t: escalation.tau_for(t, 0.05),
    ):
        found = call(t)
        assert xp.owns(found)
        np.testing.assert_allclose(xp.host(found), call(np.array([0.1, 0.9])), rtol=1e-14)


def test_the_bound_holds_where_the_mean_is_kept_and_only_there():
    rng = np.random.default_rng(0)
    for seed in range(40):
        n = 2 + seed % 6
        P = attention.doubly_stochastic(n, rng=seed)
        x0 = rng.standard_normal((n, 3)) + rng.standard_normal(3) * 10 ** rng.uniform(-2, 2)
        s = 10 ** rng.uniform(-1, 1)
        found = escalation.expected_energy(P, x0, range(5), std=s)
        bound = escalation.rate_bound(found.similarity[:-1], s, escalation.sigma(P))
        assert np.all(found.rate >= bound - 1e-12)
        growth = np.log1p(s**2) - np.log1p(s**2 * escalation.sigma(P) ** 2)
        assert np.all(np.diff(found.log_low - found.log_high) >= growth - 1e-12)
    P, x0 = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[1.0], [-9.0]])
    still = escalation.expected_energy(P, x0, range(4), std=1.0)  # P X = 0
    np.testing.assert_allclose(still.rate, 0, atol=1e-14)
    np.testing.assert_allclose(still.similarity, 16 / 41, rtol=1e-14)
    assert escalation.rate_bound(16 / 41, 1.0, escalation.sigma(P)) > 0.16


def test_equality_when_all_modes_are_alike():
    P = np.full((5, 5), 0.1) + 0.5 * np.eye(5)  # lambda = 1, 1/2, 1/2, 1/2, 1/2
    x0 = np.random.default_rng(1).standard_normal((5, 2))
    found = escalation.expected_energy(P, x0, range(4), std=1.3)
    np.testing.assert_allclose(found.rate, escalation.rate_bound(found.similarity[:-1], 1.3, 0.5), rtol=1e-12)
    np.testing.assert_allclose(
        found.similarity, escalation.similarity_after(range(4), found.similarity[0], 1.3, 0.5), rtol=1e-12
    )


def test_sigma_and_means(xp):
    P = np.stack(
        [attention.uniform(4), attention.doubly_stochastic(4, rng=0), attention.softmax(4, 4, rng=0)]
    )
    centre = np.eye(4) - 1 / 4
    found = escalation.sigma(xp.array(P))
    assert xp.owns(found)
    np.testing.assert_allclose(
        xp.host(found), np.linalg.norm(centre @ P @ centre, ord=2, axis=(-2, -1)), atol=1e-14
    )
    kept = escalation.preserves_mean(xp.array(P))
    assert xp.owns(kept)
    assert xp.host(kept).tolist() == [True, True, False]
    wide = np.array([[0.0, 1, 0], [0, 0, 1], [0, 0, 1]])  # sigma may exceed 1 (and does: 1.1547)
    assert escalation.sigma(wide) == pytest.approx(
        np.linalg.norm((np.eye(3) - 1 / 3) @ wide @ (np.eye(3) - 1 / 3), 2)
    )
    assert escalation.sigma([[1.0]]) == 0


# --- expected energies ----------------------------------------------------------------------------


def exact_energies(P, x0, s, depth):
    """K <- K + s^2 P K P^T in high precision; P's rows sum to 1 in it."""
    n = len(P)
    P = mp.matrix(P.tolist())
    for i in range(n):
        total = mp.fsum(P[i, j] for j in range(n))
        for j in range(n):
            P[i, j] /= total
    x = mp.matrix(np.asarray(x0).tolist())
    K, one = x * x.T, mp.ones(n, 1)
    out = []
    for _ in range(depth + 1):
        low = (one.T * K * one)[0] / n
        high = mp.fsum(K[i, i] for i in range(n)) - low
        out.append((mp.log(low), mp.log(high)))
        K = K + mp.mpf(s) ** 2 * P * K * P.T
    return np.array(out, dtype=float).T


@pytest.mark.sample(2)
@pytest.mark.parametrize("s", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("build", ["softmax", "doubly", "reversible", "symmetric", "causal", "uniform"])
def test_expected_energies_keep_their_digits(build, s):
    n, depth = 5, 90
    P = {
        "softmax": lambda: attention.softmax(n, 4, rng=3),
        "doubly": lambda: attention.doubly_stochastic(n, rng=3),
        "reversible": lambda: attention.softmax(n, 4, symmetric=True, rng=3),
        "symmetric": lambda: attention.from_spectrum([1, 0.5, 0.2, -0.1, -0.3], rng=3),
        "causal": lambda: np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None],
        "uniform": lambda: attention.uniform(n),
    }[build]()
    x0 = np.random.default_rng(4).standard_normal((n, 3))
    found = escalation.expected_energy(P, x0, range(depth + 1), std=s)
    with mp.workdps(200):
        low, high = exact_energies(P, x0, s, depth)
    np.testing.assert_allclose(found.log_low, low, atol=1e-10)
    np.testing.assert_allclose(found.log_high, high, atol=1e-10)
    assert np.all(np.abs(found.log_diversity - (high - np.logaddexp(low, high))) < 1e-10)


def test_the_cross_term_is_in():
    # one layer by hand: E||Pi Y||^2 = ||Pi X||^2 + s^2 ||Pi P X||^2, E||Pi_perp Y||^2 likewise
    P, x0 = attention.softmax(6, 4, rng=0), np.random.default_rng(0).standard_normal((6, 4))
    s, mean = 1.7, np.full((6, 6), 1 / 6)
    found = escalation.expected_energy(P, x0, [0, 1], std=s)
    for projection, log in ((mean, found.log_low), (np.eye(6) - mean, found.log_high)):
        before, moved = np.sum((projection @ x0) ** 2), np.sum((projection @ P @ x0) ** 2)
        np.testing.assert_allclose(np.exp(log), [before, before + s**2 * moved], rtol=1e-13)


def test_energies_at_any_depth():
    P = attention.from_spectrum([1, 0.5, 0.25, -0.2], rng=0)
    x0 = np.random.default_rng(0).standard_normal((4, 3))
    deep = escalation.expected_energy(P, x0, [10**9, 10**9 + 1])
    # per layer ln 2 for the constant part and ln(1 + 1/4) for the slowest diverse one
    np.testing.assert_allclose(deep.rate, 1 - 1.25 / 2, rtol=1e-6)
    np.testing.assert_allclose(deep.log_diversity / 1e9, np.log(1.25 / 2), rtol=1e-8)
    general = escalation.expected_energy(attention.softmax(8, 4, rng=0), np.eye(8, 2), [9999, 10000])
    assert np.all(np.isfinite(general.log_diversity))
    assert general.log_diversity[-1] < -5000
    modes = np.abs(np.linalg.eigvals(attention.softmax(8, 4, rng=0)))
    second = np.sort(modes)[-2]
    assert general.rate[0] == pytest.approx(1 - (1 + second**2) / 2, rel=1e-9)


def test_energies_in_batches_and_at_every_scale():
    P = np.stack([attention.softmax(4, 4, rng=0), attention.uniform(4)])
    x0 = np.random.default_rng(0).standard_normal((3, 1, 4, 2))
    s = np.array([0.5, 2.0])
    found = escalation.expected_energy(P, x0, [0, 2, 5], std=s)
    assert found.log_low.shape == found.similarity.shape == (3, 2, 3)
    for i in range(3):
        for j in range(2):
            alone = escalation.expected_energy(P[j], x0[i, 0], [0, 2, 5], std=s[j])
            np.testing.assert_allclose(found.log_high[i, j], alone.log_high, rtol=1e-12, atol=1e-13)
    for scale in (1e-200, 1e200):
        shifted = escalation.expected_energy(P, x0 * scale, [0, 2, 5], std=s)
        np.testing.assert_allclose(shifted.log_low - 2 * np.log(scale), found.log_low, atol=1e-11)
    alike = escalation.expected_energy(P, np.ones((4, 2)), [0, 1])
    assert np.all(alike.log_high[1] == -np.inf)
    assert np.all(alike.similarity == 1)
    assert escalation.expected_energy(P[1], np.eye(4), 3).layers.tolist() == [3]


def test_groups_that_never_look_out_are_covered_where_columns_sum_to_one():
    P = np.zeros((6, 6))
    P[:3, :3], P[3:, 3:] = attention.doubly_stochastic(3, rng=0), attention.doubly_stochastic(3, rng=1)
    x0 = np.random.default_rng(0).standard_normal((6, 2))
    found = escalation.expected_energy(P, x0, range(41), std=1.4)
    with mp.workdps(60):
        low, high = exact_energies(P, x0, 1.4, 40)
    np.testing.assert_allclose(found.log_low, low, atol=1e-11)
    np.testing.assert_allclose(found.log_high, high, atol=1e-11)


def test_energies_take_arrays_of_any_library(xp):
    P, x0 = attention.softmax(4, 4, rng=0), np.random.default_rng(0).standard_normal((4, 2))
    found = escalation.expected_energy(xp.array(P), xp.array(x0), range(3))
    np.testing.assert_array_equal(found.log_high, escalation.expected_energy(P, x0, range(3)).log_high)


# --- typical rates --------------------------------------------------------------------------------


def test_exponents_are_those_of_scaled_factors():
    P = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.3, 0.9 - 0.3, 0.1]])  # triangular: 1, 1/2, 1/10
    for kind in ("gaussian", "orthogonal"):
        found = escalation.typical_exponents(P, 6, std=1.5, kind=kind)
        np.testing.assert_allclose(found.eigenvalues, [1, 0.5, 0.1], atol=1e-14)
        expected = [OddsFactor(6, std=1.5 * v, kind=kind).log_mean / 2 for v in (1, 0.5, 0.1)]
        np.testing.assert_allclose(found.exponents, expected, rtol=1e-12)
        assert escalation.typical_rate(P, 6, std=1.5, kind=kind) == pytest.approx(
            2 * (expected[0] - expected[1]), rel=1e-12
        )
    assert escalation.typical_rate(attention.uniform(5), 8) == pytest.approx(
        OddsFactor(8).log_mean, rel=1e-12
    )
    # negative eigenvalues count by modulus
    flip = np.array([[0.2, 0.8], [0.8, 0.2]])
    assert escalation.typical_rate(flip, 8) == pytest.approx(
        escalation.typical_rate(flip[::-1], 8), rel=1e-12
    )
    assert escalation.typical_rate(np.eye(3), 8) == 0
    batch = np.stack([attention.softmax(4, 4, symmetric=True, rng=i) for i in range(3)])
    assert escalation.typical_rate(batch, 8).shape == (3,)


def test_one_feature_comes_apart_typically():
    # the expected energy of the constant part doubles, and yet typically the constant part dies out
    P = attention.uniform(3)
    assert escalation.typical_rate(P, 1) == pytest.approx(OddsFactor(1).log_mean)
    assert escalation.typical_rate(P, 1) < 0 < escalation.typical_rate(P, 2)
    x0 = np.array([[1.0], [2.0], [4.0]])
    assert np.all(escalation.expected_energy(P, x0, range(5)).rate > 0)


def test_complex_spectra_are_not_covered():
    circle = np.array([[0, 0.9, 0.1], [0.1, 0, 0.9], [0.9, 0.1, 0]])
    with pytest.raises(NotCoveredError, match=r"^P: found a complex eigenvalue"):
        escalation.typical_exponents(circle, 4)
    # eigenvalues that only rounding makes complex are real: a Jordan block
    jordan = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(escalation.typical_exponents(jordan, 4).eigenvalues, [1, 0.5, 0.5], atol=1e-6)
    # attention through two landmarks has rank 2: a real spectrum, four zeros of it rounded to pairs
    # (of which draws depends on the processor: of 40, half are)
    first, second = (attention.dirichlet(6, size=40, rng=seed) for seed in (0, 1))
    landmarks = first[:, :, :2] / first[:, :, :2].sum(axis=-1, keepdims=True) @ second[:, :2]
    for kind, eps in ((np.float64, 2.0**-52), (np.float32, 2.0**-23)):
        P = landmarks.astype(kind)
        assert np.any(np.linalg.eigvals(P.astype(float)).imag != 0)
        found = escalation.typical_exponents(P, 4)
        # zero eigenvalues: eps times norm times condition, and the condition is below 1e3 here
        assert np.all(np.abs(found.eigenvalues[:, 2:]) < 1e3 * eps)
        # E ln Q is s^2 times a number below 1 for small s
        assert np.all(np.abs(found.exponents[:, 2:]) < (1e3 * eps) ** 2)


# --- the mean rate as t goes to 1 -----------------------------------------------------------------


def test_local_mean_rates_known_in_closed_form():
    rng = np.random.default_rng(0)
    for kind in ("gaussian", "orthogonal"):
        for s in (0.5, 1.0, 2.0):
            law, x = OddsFactor(7, std=s, kind=kind), rng.standard_normal((3, 5, 7))
            found = escalation.expected_local_rate(attention.uniform(5), x, std=s, kind=kind)
            np.testing.assert_allclose(found, 1 - law.inverse_mean, rtol=1e-12)
            # differences along the mean, each token to itself: the same factor above and below
            aligned = np.linspace(1, 2, 5)[:, None] * rng.standard_normal(7)
            found = escalation.expected_local_rate(np.eye(5), aligned, std=s, kind=kind)
            assert abs(found) < 1e-13
            # differences across the mean: E|e' + W^T e'|^2/Q with the two independent given Q (Gaussian)
            if kind == "gaussian":
                across = np.ones((2, 7)) * np.eye(7)[0] + np.array([[1.0], [-1.0]]) * np.eye(7)[1]
                found = escalation.expected_local_rate(np.eye(2), across, std=s, kind=kind)
                assert found == pytest.approx(1 - (1 + s**2) * law.inverse_mean, rel=1e-12)
    assert escalation.expected_local_rate(attention.uniform(3), np.eye(3, 2)) == -np.inf


def test_local_mean_rate_by_quadrature_over_the_weights():
    # d = 3 Haar weights of std 0.6, P = [[.7,.3],[.2,.8]]: every rotation (and reflection) by Euler angles
    P, s = np.array([[0.7, 0.3], [0.2, 0.8]]), 0.6
    x = np.array([[1.0, 0.3, -0.2], [0.4, 1.1, 0.5]])
    nodes, weight = np.polynomial.legendre.leggauss(24)
    a = np.arange(24) * 2 * np.pi / 24
    alpha, cosine, gamma = np.meshgrid(a, nodes, a, indexing="ij")
    sine = np.sqrt(1 - cosine**2)
    zero, one = np.zeros_like(sine), np.ones_like(sine)

    def about(axis, c, si):
        rows = [[c, -si, zero], [si, c, zero], [zero, zero, one]]
        if axis == "y":
            rows = [[c, zero, si], [zero, one, zero], [-si, zero, c]]
        return np.moveaxis(np.array(rows), (0, 1), (-2, -1))

    turn = about("z", np.cos(alpha), np.sin(alpha)) @ about("y", cosine, sine)
    turn = turn @ about("z", np.cos(gamma), np.sin(gamma))
    centre = np.eye(2) - 0.5
    Z, c = centre @ x, x.mean(axis=0)
    total = 0.0
    for sign in (1, -1):
        W = sign * s * turn
        high = np.sum((Z + centre @ P @ Z @ W) ** 2, axis=(-1, -2)) / np.sum(Z**2)
        low = np.sum((c + c @ W) ** 2, axis=-1) / np.sum(c**2)
        total += np.sum(high / low * weight[:, None]) / (2 * 24 * 24) / 2
    found = escalation.expected_local_rate(P, x, std=s, kind="orthogonal")
    assert found == pytest.approx(1 - total, abs=1e-7)


def test_local_mean_rates_stay_in_their_library(xp):
    P, x = attention.softmax(4, 4, rng=0), np.random.default_rng(0).standard_normal((3, 4, 8))
    found = escalation.expected_local_rate(xp.array(P), xp.array(x))
    assert xp.owns(found)
    np.testing.assert_allclose(xp.host(found), escalation.expected_local_rate(P, 1e200 * x), rtol=1e-12)
    few = escalation.expected_local_rate(xp.array(P), xp.array(x[..., :2]))
    assert xp.owns(few)
    assert np.all(xp.host(few) == -np.inf)


# --- de-escalation --------------------------------------------------------------------------------


def similarity(x):
    mean = x.mean(axis=-2, keepdims=True)
    return x.shape[-2] * np.sum(mean**2, axis=(-1, -2)) / np.sum(x**2, axis=(-1, -2))


def test_deescalation_is_its_formula(xp):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 5, 3)) + rng.standard_normal((6, 1, 3))
    tau = np.array([0, 0.5, 1, 1.5, -2, 3])
    for given in (xp.array(tau), tau.tolist()):
        found = escalation.deescalate(xp.array(x), given)
        assert xp.owns(found)
        expected = x - tau[:, None, None] * x.mean(axis=-2, keepdims=True)
        np.testing.assert_allclose(xp.host(found), expected, atol=1e-14)
    np.testing.assert_allclose(
        similarity(xp.host(found)), escalation.deescalated_similarity(similarity(x), tau), atol=1e-14
    )
    single = escalation.deescalate(xp.array(x, dtype="float32"), 0.5)
    assert str(single.dtype).endswith("float32")


def test_deescalation_at_the_edges():
    assert escalation.deescalated_similarity(1.0, 1.0) == 0
    assert escalation.deescalated_similarity([0.0, 0.5, 1.0], 1.0).tolist() == [0, 0, 0]
    assert escalation.deescalated_similarity(1.0, 0.999) == 1
    far = 1e8 + np.array([[1.0], [2.0], [6.0]])  # tau = 1 leaves differences, not rounding
    np.testing.assert_array_equal(escalation.deescalate(far, 1.0).sum(), 0)


def test_tau_reaches_what_is_wanted():
    t, wanted = np.array([0.01, 0.5, 0.999])[:, None], np.array([0.0, 0.2, 0.7, 0.99])
    tau = escalation.tau_for(t, wanted)
    assert np.all(tau <= 1)
    assert np.all((tau >= 0) == (wanted <= t))
    np.testing.assert_allclose(
        escalation.deescalated_similarity(t, tau), np.broadcast_to(wanted, tau.shape), atol=1e-13
    )
    assert escalation.tau_for([0.0, 1.0, 1.0, 0.3], [0.0, 1.0, 0.0, 0.3]).tolist() == [0, 0, 1, 0]
    assert escalation.tau_for(1e-310, 1e-300) < -1e4
    for pair in ((0.0, 0.5), (1.0, 0.5), (0.5, 1.0), (0.0, 1.0)):
        with pytest.raises(InvalidValueError, match=r"^wanted: found .* cannot reach; expected 0 from t = 0"):
            escalation.tau_for(*pair)


# --- measured -------------------------------------------------------------------------------------


def test_rates_of_a_run_are_those_of_its_states():
    A, x0 = attention.softmax(5, 4, rng=0), np.random.default_rng(0).standard_normal((3, 5, 2))
    run = linsim.simulate(linsim.Linear(A, [[0.4, 0.3], [-0.2, 0.5]]), x0, 6, keep_states=True)
    t = similarity(run.states)
    np.testing.assert_allclose(escalation.rate(run), 1 - (1 - t[:, 1:]) / (1 - t[:, :-1]), rtol=1e-9)
    odds = t / (1 - t)
    np.testing.assert_allclose(escalation.odds_growth(run), np.diff(np.log(odds)), rtol=1e-8, atol=1e-11)


def test_measured_rates_do_not_cancel():
    # the energy of the constant part grows by 4 per layer, similarity from 1e-16 to 1 - 1e-160
    x0 = np.array([[1.0, 1e-8], [-1.0, 1e-8]])
    run = linsim.simulate(
        linsim.Linear(attention.uniform(2), np.eye(2)),
        x0,
        300,
        metrics=["log_token_diversity", "log_hfc_lfc"],
    )
    np.testing.assert_allclose(escalation.odds_growth(run), np.log(4), rtol=1e-10)
    np.testing.assert_allclose(escalation.rate(run)[-200:], 0.75, rtol=1e-10)
    exact = linsim.simulate(linsim.Linear(attention.uniform(2), [[1.0]]), [[1.0], [1.0]], 2)
    assert np.isnan(escalation.rate(exact)).all()


def test_measured_rates_stay_in_their_library(xp):
    rule = linsim.Linear(xp.array(attention.uniform(4)), xp.array(np.eye(2)))
    run = linsim.simulate(rule, xp.array(np.eye(4, 2)), 3)
    assert xp.owns(escalation.rate(run))
    assert xp.owns(escalation.odds_growth(run))


# --- estimates ------------------------------------------------------------------------------------


def test_intervals_are_students(xp):
    x = np.random.default_rng(0).standard_normal((3, 20, 2))
    found = escalation.interval(xp.array(x), axis=1, confidence=0.9)
    assert xp.owns(found.mean)
    low, high = stats.t.interval(0.9, 19, loc=x.mean(axis=1), scale=stats.sem(x, axis=1))
    np.testing.assert_allclose(xp.host(found.low), low, rtol=1e-12)
    np.testing.assert_allclose(xp.host(found.high), high, rtol=1e-12)
    np.testing.assert_allclose(xp.host(found.standard_error), stats.sem(x, axis=1), rtol=1e-12)
    assert (found.count, found.confidence) == (20, 0.9)
    assert escalation.interval(x[0, :, 0]).z(0.25) == pytest.approx(
        stats.ttest_1samp(x[0, :, 0], 0.25).statistic, rel=1e-12
    )
    huge = escalation.interval(1e300 * np.array([1.0, 2.0, 3.0]))
    assert huge.standard_error == pytest.approx(1e300 / np.sqrt(3))


def test_ratio_of_expectations(xp):
    rng = np.random.default_rng(0)
    bottom = 3 + rng.standard_normal((50, 2))
    top = 2 * bottom + rng.standard_normal((50, 2))
    found = escalation.ratio_interval(xp.array(top), xp.array(bottom))
    assert xp.owns(found.mean)
    ratio = top.mean(axis=0) / bottom.mean(axis=0)
    np.testing.assert_allclose(xp.host(found.mean), ratio, rtol=1e-13)
    error = np.std(top - ratio * bottom, axis=0, ddof=1) / np.sqrt(50) / bottom.mean(axis=0)
    np.testing.assert_allclose(xp.host(found.standard_error), error, rtol=1e-12)
    assert "50 samples" in str(found)


def test_pvalues_bound_the_distance():
    law = OddsFactor(4, kind="orthogonal")
    single = 2.0  # the cosine is symmetric about 0
    assert law.cdf(single) == pytest.approx(0.5)
    assert escalation.law_pvalue([single], law) == 1.0
    assert escalation.law_pvalue([0.0] * 20, law) == pytest.approx(2 * np.exp(-40), abs=0)
    assert escalation.law_pvalue([4.0] * 20, law) == pytest.approx(2 * np.exp(-40), abs=0)


# --- bad input ------------------------------------------------------------------------------------

P2, X2 = attention.uniform(2), np.array([[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: OddsFactor(0), InvalidValueError, "d"),
        (lambda: OddsFactor(8.0), InvalidTypeError, "d"),
        (lambda: OddsFactor(8, std=-1), InvalidValueError, "std"),
        (lambda: OddsFactor(8, std=np.nan), InvalidValueError, "std"),
        (lambda: OddsFactor(8, std=1e16), InvalidValueError, "std"),
        (lambda: OddsFactor(8, std=[1.0, 2.0]), InvalidTypeError, "std"),
        (lambda: OddsFactor(8, kind="haar"), InvalidValueError, "kind"),
        (lambda: OddsFactor(8).cdf(np.nan), InvalidValueError, "q"),
        (lambda: OddsFactor(8).cdf("1"), InvalidTypeError, "q"),
        (lambda: OddsFactor(8).sample(-1), InvalidValueError, "size"),
        (lambda: OddsFactor(8).sample(2, rng="x"), InvalidTypeError, "rng"),
        (lambda: OddsFactor(8).expected_rate(1.1), InvalidValueError, "similarity"),
        (lambda: OddsFactor(8).expected_rate([0.5, -1e-9]), InvalidValueError, "similarity"),
        (lambda: OddsFactor(8).expected_rate(None), InvalidTypeError, "similarity"),
        (lambda: escalation.local_rate(-1, 0), InvalidValueError, "std"),
        (lambda: escalation.local_rate(1, -0.1), InvalidValueError, "sigma"),
        (lambda: escalation.local_rate("1", 0), InvalidTypeError, "std"),
        (lambda: escalation.local_rate([1, 2], [0, 0, 0]), ShapeError, "std"),
        (lambda: escalation.rate_bound(2, 1, 0), InvalidValueError, "similarity"),
        (lambda: escalation.rate_bound(0.5, np.inf, 0), InvalidValueError, "std"),
        (lambda: escalation.rate_bound(0.5, 1, 1.5), InvalidValueError, "sigma"),
        (lambda: escalation.similarity_after(-1, 0.5, 1, 0), InvalidValueError, "layers"),
        (lambda: escalation.similarity_after(1, np.nan, 1, 0), InvalidValueError, "similarity"),
        (lambda: escalation.similarity_after(1, 0.5, 1, 2), InvalidValueError, "sigma"),
        (lambda: escalation.sigma(np.ones((2, 2))), InvalidValueError, "P"),
        (lambda: escalation.sigma([1.0]), ShapeError, "P"),
        (lambda: escalation.preserves_mean(np.eye(3)[:2]), ShapeError, "P"),
        (lambda: escalation.expected_energy(P2, np.ones((3, 2)), 2), ShapeError, "x0"),
        (lambda: escalation.expected_energy(P2, np.zeros((2, 2)), 2), InvalidValueError, "x0"),
        (lambda: escalation.expected_energy(P2, X2, -1), InvalidValueError, "layers"),
        (lambda: escalation.expected_energy(P2, X2, None), InvalidTypeError, "layers"),
        (lambda: escalation.expected_energy(P2, X2, 1.5), InvalidTypeError, "layers"),
        (lambda: escalation.expected_energy(P2, X2, True), InvalidTypeError, "layers"),
        (lambda: escalation.expected_energy(P2, X2, 2, std=-1), InvalidValueError, "std"),
        (lambda: escalation.expected_energy(P2, X2, 2, std=[1, np.nan]), InvalidValueError, "std"),
        (
            lambda: escalation.expected_energy([[0.9, 0.1], [0.8, 0.2]], X2, 10**7),
            InvalidValueError,
            "layers",
        ),
        (lambda: escalation.expected_energy(P2, X2, [0, 2]).rate, InvalidValueError, "layers"),
        (lambda: escalation.expected_energy(P2, X2, 3).rate, InvalidValueError, "layers"),
        (
            lambda: escalation.expected_energy([[1, 0, 0], [0, 1, 0], [0.5, 0.2, 0.3]], np.eye(3), 2),
            NotCoveredError,
            "P",
        ),
        (lambda: escalation.typical_rate(P2, 0), InvalidValueError, "d"),
        (lambda: escalation.typical_rate([[1.0]], 4), InvalidValueError, "P"),
        (lambda: escalation.typical_rate(P2, 4, std=-1), InvalidValueError, "std"),
        (lambda: escalation.typical_exponents(P2, 4, kind=lambda d: d), InvalidValueError, "kind"),
        (lambda: escalation.expected_local_rate(P2, np.ones((3, 2))), ShapeError, "x"),
        (lambda: escalation.expected_local_rate(P2, np.ones((2, 8))), InvalidValueError, "x"),
        (lambda: escalation.expected_local_rate(P2, [[1.0, 2], [-1, -2]]), InvalidValueError, "x"),
        (lambda: escalation.expected_local_rate(P2, X2 * np.nan), InvalidValueError, "x"),
        (lambda: escalation.expected_local_rate(P2, X2, std=np.inf), InvalidValueError, "std"),
        (lambda: escalation.deescalate([1.0], 1), ShapeError, "x"),
        (lambda: escalation.deescalate(X2, np.nan), InvalidValueError, "tau"),
        (lambda: escalation.deescalate(np.ones((3, 2, 2)), [1, 2]), ShapeError, "x"),
        (lambda: escalation.deescalate(X2, "1"), InvalidTypeError, "tau"),
        (lambda: escalation.deescalated_similarity(-0.1, 1), InvalidValueError, "similarity"),
        (lambda: escalation.deescalated_similarity(0.1, np.inf), InvalidValueError, "tau"),
        (lambda: escalation.tau_for(0.5, 1.2), InvalidValueError, "wanted"),
        (lambda: escalation.tau_for(None, 0.2), InvalidTypeError, "similarity"),
        (lambda: escalation.rate("run"), InvalidTypeError, "run"),
        (
            lambda: escalation.rate(linsim.simulate(linsim.Linear(P2, np.eye(2)), X2, 0)),
            InvalidValueError,
            "run",
        ),
        (
            lambda: escalation.rate(linsim.simulate(linsim.Linear(P2, np.eye(2)), X2, 4, layers=[0, 2])),
            InvalidValueError,
            "run",
        ),
        (
            lambda: escalation.odds_growth(
                linsim.simulate(linsim.Linear(P2, np.eye(2)), X2, 2, metrics="log_norm")
            ),
            InvalidValueError,
            "run",
        ),
        (lambda: escalation.interval([1.0]), InvalidValueError, "samples"),
        (lambda: escalation.interval([1.0, np.nan]), InvalidValueError, "samples"),
        (lambda: escalation.interval([0.1, 0.1, 0.1]), InvalidValueError, "samples"),
        (lambda: escalation.interval(np.c_[[1.0, 2], [3, 3]]), InvalidValueError, "samples"),
        (lambda: escalation.interval([1.0, 2.0], confidence=1.0), InvalidValueError, "confidence"),
        (lambda: escalation.interval([1.0, 2.0], axis=1), InvalidValueError, "axis"),
        (lambda: escalation.interval([1.0, 2.0], axis=0.0), InvalidTypeError, "axis"),
        (lambda: escalation.interval(3.0), ShapeError, "samples"),
        (lambda: escalation.ratio_interval([1.0, 2.0], [1.0, 2.0, 3.0]), ShapeError, "denominator"),
        (lambda: escalation.ratio_interval([1.0, 2.0], [1.0, -1.0]), InvalidValueError, "denominator"),
        (
            lambda: escalation.ratio_interval([2.0, 4.0], [5.0, 5.1], confidence=0),
            InvalidValueError,
            "confidence",
        ),
        (lambda: escalation.law_pvalue([1.0], "law"), InvalidTypeError, "factor"),
        (lambda: escalation.law_pvalue([1.0], OddsFactor(8, std=0)), InvalidValueError, "factor"),
        (
            lambda: escalation.law_pvalue([1.0], OddsFactor(1, kind="orthogonal")),
            InvalidValueError,
            "factor",
        ),
        (lambda: escalation.law_pvalue([[1.0]], OddsFactor(8)), ShapeError, "samples"),
        (lambda: escalation.law_pvalue([np.nan], OddsFactor(8)), InvalidValueError, "samples"),
        (lambda: escalation.experiment(P2, np.ones((3, 2))), ShapeError, "A and x0"),
        (lambda: escalation.experiment(P2, X2, std=0), InvalidValueError, "std"),
        (lambda: escalation.experiment(P2, X2, replicas=1), InvalidValueError, "replicas"),
        (lambda: escalation.experiment(P2, X2, depth=0), InvalidValueError, "depth"),
        (lambda: escalation.experiment(P2, X2, kind="h"), InvalidValueError, "kind"),
        (lambda: escalation.experiment(P2, np.ones((2, 2)), replicas=3), InvalidValueError, "x0"),
        (lambda: escalation.experiment(P2, X2, replicas=3, rng="x"), InvalidTypeError, "rng"),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}\b.*found .*expected ") as caught:
        call()
    assert isinstance(caught.value, LinsimError)
