"""Weights given by two factors, and weights of low rank: the same laws from a small core."""

import numpy as np
import pytest

from linsim import Layered, Linear, MultiHead, _eigen, _low_rank, attention, predict, simulate, weights
from linsim._eigen import weight_eigensystem
from linsim.block import Block
from linsim.errors import InvalidTypeError, InvalidValueError, ShapeError
from linsim.weights import Factored

VERDICTS = ("regime", "input_convergence", "angle_convergence", "rank_collapse", "limit_rank")


def factors(d, r, seed=0, lead=()):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*lead, d, r)) / np.sqrt(d), rng.normal(size=(*lead, r, d)) / np.sqrt(d)


def assert_same_law(p, q, rtol=1e-9):
    assert [getattr(p, f) for f in VERDICTS] == [getattr(q, f) for f in VERDICTS]
    np.testing.assert_allclose(p.margin, q.margin, rtol=rtol, atol=1e-11)
    for name in p.rates:
        np.testing.assert_allclose(p.rates[name], q.rates[name], rtol=rtol)
        np.testing.assert_allclose(p.relaxations[name], q.relaxations[name], rtol=1e-7)


# --- the spectrum of a product ---------------------------------------------------------------


def assert_decomposes(system, H, zeros):
    """Against definitions: unit vectors, duals, the matrix itself, and condition numbers from all of them."""
    right, left = system.right[0], system.left[0]
    size = np.linalg.norm(H)
    reach = float(system.basis_condition[0]) * len(H)
    np.testing.assert_allclose(np.linalg.norm(right, axis=0), 1, atol=1e-14 * len(H))
    np.testing.assert_allclose(left @ right, np.eye(len(H)), atol=1e-15 * reach)
    np.testing.assert_allclose((right * system.values[0]) @ left, H, atol=1e-15 * reach * size)
    np.testing.assert_allclose(system.basis_condition[0], np.linalg.cond(right), rtol=1e-10 * reach)
    np.testing.assert_allclose(system.condition[0], np.linalg.norm(left, axis=1), rtol=1e-12)
    assert system.norm[0] >= size * (1 - 1e-9)
    assert np.sum(system.values[0] == 0) == zeros


@pytest.mark.parametrize(("d", "r"), [(3, 1), (6, 2), (7, 5), (70, 3), (80, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_modes_of_a_product(d, r, seed):
    V, O = factors(d, r, seed)  # noqa: E741
    H = V @ O
    system = weight_eigensystem(H[None], factors=(V[None], O[None]))
    assert_decomposes(system, H, d - r)
    # another way: all of H by LAPACK
    apart = np.abs(np.linalg.eigvals(H)[:, None] - system.values[0][None, :])
    error = 4 * np.sqrt(d) * _eigen.EPS * system.norm[0] * np.max(system.condition[0])
    assert np.max(np.min(apart, axis=0)) <= error
    assert bool(system.diagonalizable[0])
    if d >= _low_rank.SMALLEST and r <= d // 4:  # found in the entries as well
        assert_decomposes(weight_eigensystem(H[None]), H, d - r)


def test_what_is_not_of_low_rank_is_not_taken_for_it():
    rng = np.random.default_rng(0)
    V, O = factors(80, 8)  # noqa: E741
    assert len(_low_rank.detected(V @ O).values) == 8
    assert _low_rank.detected(rng.normal(size=(80, 80))) is None
    # a remainder that is small, but not rounding, is part of H
    assert _low_rank.detected(V @ O + 1e-13 * rng.normal(size=(80, 80))) is None
    assert _low_rank.detected((V @ O).astype(np.float32).astype(float)) is None
    assert weight_eigensystem(np.zeros((1, 80, 80))).values.tolist() == [[0] * 80]


def test_factors_of_lower_rank_than_they_look():
    V, O = factors(20, 6)  # noqa: E741
    O[3:] = O[:3]
    V[:, 3:] = V[:, :3]
    system = weight_eigensystem((V @ O)[None], factors=(V[None], O[None]))
    assert_decomposes(system, V @ O, 17)


@pytest.mark.parametrize("d", [6, 64])
def test_a_jordan_block_at_zero_is_found(d):
    """W_O W_V = 0: H is nilpotent, and zero is no longer an eigenvalue with a full kernel."""
    V, O = factors(d, 2)  # noqa: E741
    O = O - O @ V @ np.linalg.pinv(V)  # noqa: E741
    for given in (None, (V[None], O[None])):
        system = weight_eigensystem((V @ O)[None], factors=given)
        assert np.max(system.growth) == 1
        assert not system.diagonalizable[0]
    law, dense = predict(attention.uniform(3), Factored(V, O)), predict(attention.uniform(3), V @ O)
    assert_same_law(law, dense)
    assert law.input_convergence  # the constant part gains a power of depth that the others lack


def test_a_core_that_is_exactly_zero():
    system = weight_eigensystem(
        np.eye(3, k=1)[None] * [1, 1, 0], factors=(np.eye(3, 1)[None], np.eye(1, 3, 1)[None])
    )
    assert sorted(system.growth[0].tolist()) == [0, 0, 1]


def test_a_jordan_block_elsewhere_is_found():
    rng = np.random.default_rng(0)
    Q = weights.orthogonal(8, rng=rng)
    J = np.array([[-0.5, 1.0], [0.0, -0.5]])
    law = predict(attention.softmax(4, 4, symmetric=True, rng=0), Factored(Q[:, :2] @ J, Q[:, :2].T))
    assert {a.name for a in law.assumptions if not a.holds} >= {"weights is diagonalizable"}


def test_cancelling_factors_are_known_to_cancel():
    """||W_V|| ||W_O|| is far above ||H||: what rounding does follows the factors."""
    rng = np.random.default_rng(0)
    V, O = factors(9, 2)  # noqa: E741
    W = np.concatenate([V, 1e8 * V[:, :1], V[:, :1]], axis=1)
    P = np.concatenate([O, rng.normal(size=(1, 9)), np.zeros((1, 9))])
    P[3] = -1e8 * P[2]
    system = weight_eigensystem((W @ P)[None], factors=(W[None], P[None]))
    true = np.linalg.eigvals(O @ V)
    error = 4 * 3 * _eigen.EPS * system.norm[0] * system.condition[0]
    largest = np.argmax(np.abs(system.values[0]))
    assert np.min(np.abs(true - system.values[0][largest])) <= error[largest]
    assert system.norm[0] >= 1e7 * np.linalg.norm(O @ V)


# --- laws ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [1.0, -0.6])
@pytest.mark.parametrize("seed", range(6))
def test_laws_are_those_of_the_whole_matrix(monkeypatch, seed, shift):
    V, O = factors(72, 5, seed)  # noqa: E741
    A = attention.softmax(6, 4, rng=seed, temperature=0.5)
    V = V if shift > 0 else -0.5 * np.linalg.pinv(O)
    x0 = np.random.default_rng(seed).normal(size=(6, 72))
    low = [predict(A, H, x0=x) for H in (Factored(V, O), V @ O) for x in (None, x0)]
    monkeypatch.setattr(_eigen, "detected", lambda H: None)
    whole = [predict(A, V @ O, x0=x) for x in (None, x0)]
    for law, expected in zip(low, whole * 2, strict=True):
        assert_same_law(law, expected)


def test_zeros_are_exact():
    V, _ = factors(12, 2)
    A = attention.from_spectrum([1, 0.5, -0.2], rng=0)
    # eigenvalues -0.1 and 0: lambda = -0.2 gives 1.02, and without it zero ties with itself
    law = predict(A, Factored(V, -0.1 * np.linalg.pinv(V)))
    assert (law.regime, law.input_convergence) == ("sharpening", False)
    law = predict(attention.from_spectrum([1, 0.5, 0.2], rng=0), Factored(V, -0.1 * np.linalg.pinv(V)))
    assert (law.regime, len(law.dominant)) == ("balanced", 30)
    assert {(mode.weight_eigenvalue, mode.value) for mode in law.dominant} == {(0.0, 1.0)}
    # of a symmetric product as well
    law = predict(A, Factored(V, V.T))
    symmetric = weight_eigensystem((V @ V.T)[None], factors=(V[None], V.T[None]))
    assert np.sum(symmetric.values == 0) == 10
    assert law.regime == "smoothing"


def test_single_precision_factors_keep_their_zeros():
    """Multiplied in float32 the zeros are gone; as factors they are still there."""
    V, O = (M.astype(np.float32) for M in factors(64, 8))  # noqa: E741
    rule = Linear(attention.uniform(4).astype(np.float32), Factored(V, O))
    assert rule.H.dtype == np.float32
    assert rule.spacing == 2.0**-23
    law = predict(rule, x0=np.ones((4, 64), dtype=np.float32) + np.eye(4, 64, dtype=np.float32))
    assert np.sum(law.bounds.weights.values == 0) == 56


def test_batches_and_heads():
    V, O = factors(7, 2, lead=(3,))  # noqa: E741
    A = attention.softmax(4, 4, size=(3,), rng=0)
    law, dense = predict(A, Factored(V, O)), predict(A, V @ O)
    assert law.regime.tolist() == dense.regime.tolist()
    np.testing.assert_allclose(law.margin, dense.margin, rtol=1e-10)
    one = predict(A, Factored(V[0], O))
    assert one.regime.shape == (3,)
    several = MultiHead(A, Factored(V, O))
    assert_same_law(predict(several), predict(MultiHead(A, V @ O)))
    # of unequal rank, as a list
    parts = [Factored(V[0], O[0]), Factored(V[1, :, :1], O[1, :1]), Factored(V[2], O[2])]
    listed = MultiHead(A, parts)
    np.testing.assert_allclose(listed.H, np.stack([p.W_V @ p.W_O for p in parts]), rtol=1e-14)
    single = MultiHead(A[:1], parts[:1])
    assert_same_law(predict(single), predict(A[0], parts[0]))
    assert_same_law(predict(Layered([Linear(A[0], parts[0])] * 2)), predict(A[0], parts[0]))


def test_accepted_wherever_weights_are():
    V, O = factors(5, 2)  # noqa: E741
    H, A = Factored(V, O), attention.softmax(4, 4, rng=0)
    x0 = np.random.default_rng(0).normal(size=(4, 5))
    run, dense = (simulate(Linear(A, M), x0, 20, metrics=["log_norm"]) for M in (H, V @ O))
    np.testing.assert_array_equal(run.metrics["log_norm"], dense.metrics["log_norm"])
    assert isinstance(Block(A, weights=H, norm=None).weights, np.ndarray)
    np.testing.assert_array_equal(np.asarray(H), V @ O)
    assert np.asarray(H, dtype=np.float32).dtype == np.float32
    assert (H.shape, H.dtype) == ((5, 5), np.float64)


def test_what_is_refused():
    V, O = factors(5, 2)  # noqa: E741
    A = attention.uniform(3)
    with pytest.raises(ShapeError, match=r"W_V and W_O: found shapes \(5, 2\) and \(5, 2\)"):
        Factored(V, V)
    with pytest.raises(InvalidTypeError, match="W_V"):
        Factored("V", O)
    with pytest.raises(InvalidValueError, match="W_O"):
        Factored(V, O * np.nan)
    with pytest.raises(ShapeError, match="W_V and W_O: found batch shapes"):
        Factored(np.stack([V] * 2), np.stack([O] * 3))
    with pytest.raises(InvalidValueError, match="H: found NaN or infinity"):
        Linear(A, Factored(1e300 * V, 1e300 * O))
    with pytest.raises(ShapeError, match="H: found factors of products"):
        MultiHead(np.stack([A, A]), [Factored(V, O), Factored(V[:4], O[:, :4])])
    with pytest.raises(ShapeError):
        MultiHead(np.stack([A, A]), [Factored(V, O)])


def test_a_stack_of_every_kind_is_its_matrices_one_by_one():
    rng = np.random.default_rng(0)
    (V, O), full = factors(64, 4), rng.normal(size=(64, 64)) / 8  # noqa: E741
    kinds = [V @ O, full, full + full.T, O.T @ V.T, -full, V @ V.T, 2 * V @ O]
    for chosen in (kinds, kinds[::-1], kinds[:1] + kinds[3:4], kinds[1:3], kinds[2:4]):
        stack = weight_eigensystem(np.stack(chosen))
        for k, H in enumerate(chosen):
            one = weight_eigensystem(H[None])
            for name, value in vars(one).items():
                np.testing.assert_allclose(getattr(stack, name)[k], value[0], err_msg=name, atol=1e-14)
