"""Certified verdicts: never wrong, decided wherever the moduli differ, undecided at true ties."""

import math

import mpmath
import numpy as np
import pytest

import linsim
from linsim.errors import InvalidTypeError, InvalidValueError, MissingExtraError, ShapeError
from proofs_check import certificates, certify

UNIFORM = [[0.5, 0.5], [0.5, 0.5]]


def systems(count, seed):
    rng = np.random.default_rng(seed)
    for k in range(count):
        n, d = int(rng.integers(1, 9)), int(rng.integers(1, 7))
        A = linsim.attention.softmax(n, d, temperature=rng.choice([0.2, 1.0]), rng=rng)
        H = rng.standard_normal((d, d)) * rng.choice([0.3, 1.0, 2.0])
        yield A, np.round(H) if k % 5 == 0 else H


def agree(count, seed):
    decided = []
    for A, H in systems(count, seed):
        law, found = linsim.predict(A, H), certify(A, H)
        if min(found.constant[0], found.other[0]) > 1e-3:  # doubles see no margin to a modulus of 0
            assert found.margin[0] - 1e-6 <= float(law.margin) <= found.margin[1] + 1e-6
        if found.regime == "undecided":
            assert law.regime == "balanced"
            assert found.reason
        else:
            assert found.regime == law.regime
        decided.append(found.regime)
    return decided


def test_it_agrees_with_the_floating_point_verdict():
    assert {"smoothing", "sharpening"} <= set(agree(60, seed=0))


@pytest.mark.full
def test_it_agrees_with_the_floating_point_verdict_on_many():
    agree(5000, seed=1)


@pytest.mark.parametrize("seed", range(6))
def test_the_enclosures_hold_the_moduli(seed):
    """Against 60-digit eigenvalues of the exactly normalised matrix."""
    rng = np.random.default_rng(seed)
    A = linsim.attention.softmax(5, 3, temperature=0.3, rng=rng)
    H = rng.standard_normal((3, 3))
    found = certify(A, H)
    with mpmath.workdps(60):
        exact = mpmath.matrix(A.tolist())
        for i in range(5):
            total = sum(exact[i, j] for j in range(5))
            for j in range(5):
                exact[i, j] /= total
        lams = sorted(mpmath.eig(exact, left=False, right=False), key=lambda v: abs(v - 1))
        mus = mpmath.eig(mpmath.matrix(H.tolist()), left=False, right=False)
        constant = max(abs(1 + m) for m in mus)
        other = max(abs(1 + v * m) for v in lams[1:] for m in mus)
        assert found.constant[0] <= constant <= found.constant[1]
        assert found.other[0] <= other <= found.other[1]
        assert found.margin[0] <= mpmath.log(constant / other) <= found.margin[1]
    assert found.margin[1] - found.margin[0] < 1e-12


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_the_last_digit_decides(steps):
    """mu within some units in the last place of the boundary -2/(1+0): doubles cannot tell, balls can."""
    below = above = -2.0
    for _ in range(steps):
        below, above = math.nextafter(below, -9), math.nextafter(above, 0)
    assert certify(UNIFORM, [[below]]).regime == "smoothing"
    assert certify(UNIFORM, [[above]]).regime == "sharpening"
    found = certify(UNIFORM, [[above]])
    assert found.margin[0] <= found.margin[1] < 0


def test_more_bits_where_they_are_needed():
    """Moduli 1 + 1e-30 and 1, beyond 64 bits: the precision is doubled until they part."""
    found = certify(UNIFORM, [[1e-30]], precision=32)
    assert found.regime == "smoothing"
    assert found.precision == 128
    assert found.constant[0] == 1.0
    assert 0 < found.margin[0] <= 1e-30 <= found.margin[1] * (1 + 1e-9)
    assert certify(UNIFORM, [[1e-30]], precision=32, max_precision=64).regime == "undecided"


@pytest.mark.parametrize("offset", [-1e-12, 1e-12])
def test_too_few_bits_decide_nothing(offset):
    """An irrational eigenvalue at 24 bits: the enclosures overlap, on either side of the boundary."""
    A = np.array([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4], [0.2, 0.4, 0.4]])
    H = [[-2 / (1 + np.linalg.eigvalsh(A)[0]) + offset]]
    assert certify(A, H, precision=24, max_precision=24).regime == "undecided"
    assert certify(A, H).regime == ("sharpening" if offset > 0 else "smoothing")


@pytest.mark.parametrize(
    ("A", "H", "regime"),
    [
        (UNIFORM, [[-2.0]], "undecided"),
        (UNIFORM, [[0.0]], "undecided"),
        (UNIFORM, [[0.5, 1.0], [0.0, 0.5]], "smoothing"),
        (UNIFORM, [[-0.5, 1.0], [0.0, -0.5]], "sharpening"),
        (UNIFORM, [[0.0, 1.0], [-1.0, 0.0]], "smoothing"),
        (UNIFORM, [[-1.0, 0.5], [-0.5, -1.0]], "sharpening"),
        (np.full((6, 6), 1 / 6), -0.5 * np.eye(5), "sharpening"),
        (np.eye(3), -0.5 * np.eye(2), "undecided"),
        (np.kron(np.eye(2), [[0.25, 0.75], [0.5, 0.5]]), [[0.0, 2.0], [1.0, 0.0]], "undecided"),  # 1 + sqrt 2
        (np.eye(3), 2.0 * np.eye(2), "undecided"),
        ([[1.0]], [[1.0]], "smoothing"),
        ([[1.0]], [[-1.0]], "undecided"),
        ([[1.0, 0.0], [1.0, 0.0]], [[3.0]], "smoothing"),
        ([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]], [[-0.7]], "sharpening"),
    ],
)
def test_known_systems(A, H, regime):
    found = certify(A, H)
    assert found.regime == regime
    assert (found.reason == "") == (regime != "undecided")
    assert found.constant[0] <= found.constant[1]
    assert found.other[0] <= found.other[1]
    assert not any(map(math.isnan, (*found.constant, *found.other, *found.margin)))


def test_repeated_and_defective_attention_of_a_mask():
    """A causal A has its diagonal as spectrum; equal entries give eigenvalues that coincide."""
    n = 8
    A = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    assert certify(A, [[0.5]]).regime == "smoothing"
    assert certify(A, [[-0.5]]).regime == "sharpening"
    A = np.tril(np.full((n, n), 0.25 / 7), -1) + 0.25 * np.eye(n)
    A[:, 0] += 1 - A.sum(axis=1)
    found = certify(A, [[-0.5]])
    assert found.regime == "sharpening"
    np.testing.assert_allclose(found.other, 1 - 0.5 * 0.25, rtol=1e-12)


def test_inputs_are_taken_as_exact_and_rows_normalised():
    """Rows that sum to 1 - 1e-9 have no eigenvalue 1; the normalised ones do, exactly."""
    A = np.array(UNIFORM) * (1 - 1e-9)
    found = certify(A, [[-2.0 + 1e-12]])
    assert found.regime == "sharpening"
    assert certify(A, [[-2.0]]).regime == "undecided"
    single = np.array(UNIFORM, dtype=np.float32)
    assert certify(single, np.array([[0.1]], dtype=np.float32)).regime == "smoothing"


def test_arrays_of_any_library(xp):
    assert certify(xp.array(UNIFORM), xp.array([[-0.5]])).regime == "sharpening"


def test_a_failed_isolation_is_never_a_verdict(monkeypatch):
    """Balls without an end, as of eigenvalues that could not be isolated."""
    import flint

    def nowhere(flint_, M):
        return [flint.acb("nan")] * M.nrows()

    monkeypatch.setattr(certificates, "_eigenvalues", nowhere)
    found = certify(UNIFORM, [[0.5]], max_precision=64)
    assert found.regime == "undecided"
    assert "could not be enclosed" in found.reason
    assert (found.constant, found.other, found.margin) == (
        (0, math.inf),
        (0, math.inf),
        (-math.inf, math.inf),
    )


@pytest.mark.parametrize(
    ("A", "H", "options", "error", "says"),
    [
        (np.stack([UNIFORM, UNIFORM]), [[1.0]], {}, ShapeError, "one square matrix"),
        (UNIFORM, np.ones((2, 1, 1)), {}, ShapeError, "one by one"),
        (UNIFORM, [[1.0, 2.0]], {}, ShapeError, "H"),
        ([[0.5, 0.6], [0.5, 0.5]], [[1.0]], {}, InvalidValueError, "A"),
        ([[1.5, -0.5], [0.5, 0.5]], [[1.0]], {}, InvalidValueError, "negative"),
        (UNIFORM, [[math.nan]], {}, InvalidValueError, "H"),
        (UNIFORM, [[math.inf]], {}, InvalidValueError, "H"),
        (UNIFORM, [["x"]], {}, InvalidTypeError, "H"),
        (UNIFORM, [[1j]], {}, InvalidTypeError, "H"),
        (UNIFORM, [[1.0]], {"precision": 0}, InvalidValueError, "precision"),
        (UNIFORM, [[1.0]], {"precision": 64.0}, InvalidTypeError, "precision"),
        (UNIFORM, [[1.0]], {"max_precision": 32}, InvalidValueError, "max_precision"),
    ],
)
def test_bad_input(A, H, options, error, says):
    with pytest.raises(error, match=says):
        certify(A, H, **options)


def test_a_missing_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(MissingExtraError, match=r"linsim\[proofs\]"):
        certify(UNIFORM, [[1.0]])
