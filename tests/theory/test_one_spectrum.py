"""What one spectrum decides: against the laws of many partners, and at the edges of its conditions."""

import copy

import numpy as np
import pytest

from linsim import Linear, attention, predict, weights
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError
from linsim.theory import OneSpectrum
from linsim.weights import Factored


def random_weights(rng):
    """Real and complex spectra on every side of what decides."""
    kind, d = int(rng.integers(5)), int(rng.integers(1, 5))
    low, high = [(-1, 0), (0, 2), (-3, 1), (-0.6, 0.5), (-2, 2)][kind]
    mu = list(rng.uniform(low, high, d))
    if kind > 1 and d > 1:
        z = complex(rng.uniform(low, high), rng.uniform(0.05, 1))
        mu[:2] = [z, z.conjugate()]
    if kind == 3:
        mu.append(0.0)
    condition = 3 if len(mu) > 1 else None
    return weights.from_spectrum(mu, basis="random", condition=condition, rng=rng), np.array(mu)


def random_attention(rng):
    """Real spectra and complex ones, some with an eigenvalue near the circle."""
    n, kind = int(rng.integers(2, 6)), int(rng.integers(4))
    if kind == 0:
        return attention.softmax(n, 4, rng=rng, temperature=0.2)
    if kind == 1:
        return attention.softmax(n, 4, rng=rng, symmetric=True)
    shift = np.roll(np.eye(n), 1, axis=1) if kind == 2 else np.eye(n)
    mix = rng.uniform(0.001, 0.3)
    return mix / n + (1 - mix) * shift


@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", range(60))
def test_weights_alone_never_contradict_a_partner(seed):
    rng = np.random.default_rng(seed)
    H, mu = random_weights(rng)
    alone = predict(None, H)
    for _ in range(12):
        A = random_attention(rng)
        law, lam = predict(A, H), np.linalg.eigvals(A)
        others = np.delete(lam, np.argmin(np.abs(lam - 1)))
        real = bool(np.all(others.imag == 0))
        if alone.regime != "undecided":
            assert law.regime == alone.regime
        if real and alone.regime_if_real != "undecided":
            assert law.regime == alone.regime_if_real
        if alone.input_convergence is not None:
            assert law.input_convergence == alone.input_convergence
        a = np.min(others.real)
        if a < alone.threshold - 1e-6:
            assert law.regime == "sharpening"
        if real and a > alone.threshold + 1e-6 and np.min(np.abs(mu)) > 0:
            assert law.regime == "smoothing"


def test_every_outcome_of_weights_alone():
    found = {predict(None, random_weights(np.random.default_rng(seed))[0]).regime for seed in range(60)}
    assert found == {"smoothing", "sharpening", "undecided"}
    assert predict(None, np.zeros((2, 2))).regime == "balanced"


@pytest.mark.parametrize("mu", [[1.0, -2.5], [-3.0, 0.1], [0.5, -0.6], [-1.7], [-2.5, -0.5, 0.2]])
def test_both_sides_of_the_threshold(mu):
    law = predict(None, np.diag(mu))
    assert law.regime == law.regime_if_real == "undecided"
    assert law.input_convergence is None
    for side, regime in ((1e-6, "smoothing"), (-1e-6, "sharpening")):
        a = law.threshold + side
        A = np.array([[1 + a, 1 - a], [1 - a, 1 + a]]) / 2
        assert predict(A, np.diag(mu)).regime == regime
    assert f"{law.threshold:.6g}" in str(law)


def test_undecided_means_undecided():
    """For each undecided spectrum two tokens whose eigenvalue may be any of (-1, 1) show both regimes."""
    checked = 0
    for seed in range(60):
        H, _ = random_weights(np.random.default_rng(seed))
        alone = predict(None, H)
        if alone.regime_if_real == "undecided" and alone.input_convergence is None:
            values = np.linspace(-0.9999, 0.9999, 401)
            A = (1 + np.array([[1, -1], [-1, 1]]) * values[:, None, None]) / 2
            assert {"smoothing", "sharpening"} <= set(predict(A, H).regime.tolist())
            checked += 1
    assert checked > 5


def test_real_spectra_may_decide_where_complex_ones_do_not():
    """mu = 1 + 5i: |1 + mu| > |1 - mu|, but max |mu| is no eigenvalue."""
    H = np.array([[1.0, 5.0], [-5.0, 1.0]])
    law = predict(None, H)
    assert (law.regime, law.regime_if_real) == ("undecided", "smoothing")
    lam = complex(-27 / 32, -0.5)
    assert abs(1 + lam * (1 + 5j)) > abs(2 + 5j)
    assert "With every real spectrum: smoothing" in str(law)


def test_rounding_does_not_decide():
    for H in (-np.eye(3), np.diag([-1 - 1e-16, -0.3]), np.diag([-1 + 1e-16, -0.3])):
        Q = weights.orthogonal(len(H), rng=0)
        assert predict(None, Q @ H @ Q.T).regime == "sharpening"
    for mu in ([-0.5, 0.0], [-1.0, 0.0]):
        law = predict(None, np.diag(mu))
        assert (law.regime, law.input_convergence, law.threshold) == ("undecided", False, 0)
    # nilpotent: moduli tie with every partner, and a power of depth may still decide
    law = predict(None, [[0.0, 1.0], [0.0, 0.0]])
    assert (law.regime, law.input_convergence) == ("balanced", None)
    assert predict(attention.uniform(2), [[0.0, 1.0], [0.0, 0.0]]).input_convergence
    # zeros of low rank are zeros
    V = np.random.default_rng(0).normal(size=(9, 2))
    law = predict(None, Factored(V, -0.4 * np.linalg.pinv(V)))
    assert (law.input_convergence, law.threshold) == (False, 0)


@pytest.mark.parametrize("seed", range(30))
def test_attention_alone(seed):
    rng = np.random.default_rng(seed)
    A = random_attention(rng)
    law = predict(A, None)
    assert (law.given, law.regime, law.input_convergence) == ("attention", "undecided", None)
    edge = law.boundary
    assert predict(A, [[edge * (1 + 1e-6)]]).regime == "smoothing"
    assert predict(A, [[edge * (1 - 1e-6)]]).regime == "sharpening"
    centres, radii = law.disks
    assert centres.shape == radii.shape == (len(A) - 1,)
    for _ in range(10):
        mu = complex(rng.uniform(-4, 1), rng.uniform(0.01, 3))
        depth = np.max(radii - np.minimum(np.abs(mu - centres), np.abs(mu.conjugate() - centres)))
        H = np.array([[mu.real, -mu.imag], [mu.imag, mu.real]])
        if abs(depth) > 1e-9:
            assert predict(A, H).regime == ("sharpening" if depth > 0 else "smoothing")


def test_attention_that_never_smooths():
    law = predict(np.eye(3), None)
    assert (law.regime, law.input_convergence) == ("balanced", False)
    law = predict(np.kron(np.eye(2), attention.uniform(2)), None)
    assert (law.regime, law.input_convergence) == ("undecided", False)
    assert "never smooths" in str(law)
    assert predict([[1.0]], None).regime == "smoothing"
    swap = predict([[0.0, 1.0], [1.0, 0.0]], None)
    assert (swap.boundary, swap.disks[1].tolist()) == (-np.inf, [np.inf])
    assert predict([[0.0, 1.0], [1.0, 0.0]], [[-1e6]]).regime == "sharpening"


def test_batches():
    H = np.stack([np.diag([-0.5, -0.2]), np.diag([1.0, 0.2]), np.diag([1.0, -2.5])])
    law = predict(None, H)
    assert law.regime.tolist() == ["sharpening", "smoothing", "undecided"]
    assert law.input_convergence.tolist() == [False, True, None]
    assert str(law) == "3 spectra of weights: 1 sharpening, 1 smoothing, 1 undecided."
    law = predict(attention.softmax(4, 4, size=(2, 3), rng=0), None)
    assert law.boundary.shape == (2, 3)
    assert law.disks[0].shape == (2, 3, 3)


def test_what_needs_both_names_the_missing_part():
    A, H = attention.uniform(3), np.diag([1.0, 0.5])
    for name in ("rates", "dominant", "margin", "rank_collapse", "log_bound"):
        with pytest.raises(NotCoveredError, match=rf"A: found none; expected attention, .*{name}"):
            getattr(predict(None, H), name)
        with pytest.raises(NotCoveredError, match=rf"H: found none; expected weights, .*{name}"):
            getattr(predict(A, None), name)
    with pytest.raises(AttributeError):
        getattr(predict(None, H), "rate")  # noqa: B009
    assert isinstance(copy.copy(predict(None, H)), OneSpectrum)
    for nothing in ((None,), (None, None)):
        with pytest.raises(InvalidTypeError, match=r"predict\(A, H\)"):
            predict(*nothing)
    with pytest.raises(InvalidTypeError, match=r"predict\(A, None\)"):
        predict(A)
    with pytest.raises(InvalidValueError, match="x0"):
        predict(None, H, x0=np.ones((3, 2)))
    with pytest.raises(InvalidValueError, match="A: found"):
        predict(1.1 * A, None)
    # a rule has both
    assert predict(Linear(A, H), None).regime == "smoothing"
