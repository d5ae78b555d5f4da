"""Masks: their entries, how they apply to attention, and which of them let tokens converge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from linsim import attention, masks
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from linsim.streams import RowGenerator

# --- entries -------------------------------------------------------------------------

#: name -> (build, may token i of n attend to token j)
PATTERNS = {
    "causal": (masks.causal, lambda n, i, j: j <= i),
    "local": (lambda n: masks.local(n, 2), lambda n, i, j: abs(i - j) <= 2),
    "local, causal": (lambda n: masks.local(n, 2, causal=True), lambda n, i, j: 0 <= i - j <= 2),
    "alone": (lambda n: masks.local(n, 0), lambda n, i, j: i == j),
    "wide": (lambda n: masks.local(n, 99), lambda n, i, j: True),
    "ring": (lambda n: masks.ring(n, 2), lambda n, i, j: min((i - j) % n, (j - i) % n) <= 2),
    "strided": (lambda n: masks.strided(n, 3), lambda n, i, j: abs(i - j) <= 3 or (i - j) % 3 == 0),
    "strided, causal": (
        lambda n: masks.strided(n, 3, causal=True),
        lambda n, i, j: j <= i and (i - j <= 3 or (i - j) % 3 == 0),
    ),
    "dense": (lambda n: masks.strided(n, 1), lambda n, i, j: True),
}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 11])
@pytest.mark.parametrize("name", PATTERNS)
def test_entries(name, n):
    build, sees = PATTERNS[name]
    expected = [[sees(n, i, j) for j in range(n)] for i in range(n)]
    mask = build(n)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (3, 1), (2, 3), (4, 3)])
def test_axial_sees_row_and_column(height, width):
    n = height * width
    expected = [[i // width == j // width or i % width == j % width for j in range(n)] for i in range(n)]
    mask = masks.axial(height, width)
    np.testing.assert_array_equal(mask, expected)
    assert (mask.sum(axis=1) == height + width - 1).all()


@pytest.mark.parametrize("degree", [1, 2, 5, 6])
def test_sparse_sees_itself_and_others(degree):
    mask = masks.sparse(6, degree, size=(4, 3), rng=0)
    assert mask.shape == (4, 3, 6, 6)
    assert (mask.sum(axis=-1) == degree).all()
    assert mask[..., np.arange(6), np.arange(6)].all()


def test_sparse_draws_every_set_of_others_equally_often():
    # 6 sets of two others; each count is Binomial(N, 1/6), and Hoeffding's bound
    # over 6 sets, two sides, puts the false-alarm probability at 1e-9
    draws = 40_000
    mask = masks.sparse(5, 3, size=draws, rng=1)[:, 2]
    others = np.packbits(np.delete(mask, 2, axis=1), axis=1, bitorder="little")[:, 0]
    sets, counts = np.unique(others, return_counts=True)
    assert len(sets) == 6
    assert np.abs(counts / draws - 1 / 6).max() <= np.sqrt(np.log(2 * 6 / 1e-9) / (2 * draws))


def test_sparse_rows_do_not_depend_on_the_batch():
    keys = [(i,) for i in range(5)]
    together = masks.sparse(7, 3, size=5, rng=RowGenerator(keys))
    for i in range(5):
        alone = masks.sparse(7, 3, size=1, rng=RowGenerator(keys[i : i + 1]))
        np.testing.assert_array_equal(alone[0], together[i])


# --- masked attention ----------------------------------------------------------------


def test_masked_is_the_softmax_of_the_kept_scores(xp):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 6, 6))
    mask = masks.sparse(6, 3, size=4, rng=rng)

    def softmax(s):
        e = np.exp(s - s.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    expected = softmax(np.where(mask, scores, -np.inf))
    for dtype, tolerance in (("float64", 1e-14), ("float32", 1e-6)):
        found = attention.masked(xp.array(softmax(scores), dtype=dtype), xp.array(mask, dtype="bool"))
        assert xp.owns(found)
        assert str(found.dtype).endswith(dtype)
        np.testing.assert_allclose(xp.host(found), expected, rtol=tolerance)
        assert (xp.host(found)[~mask] == 0).all()
        # a NumPy mask follows the attention to where it lives
        moved = attention.masked(xp.array(softmax(scores), dtype=dtype), mask)
        np.testing.assert_array_equal(xp.host(moved), xp.host(found))


def test_masked_broadcasts_and_keeps_full_rows():
    A = attention.dirichlet(5, size=(3, 1), rng=0)
    mask = masks.sparse(5, 2, size=4, rng=0)
    assert attention.masked(A, mask).shape == (3, 4, 5, 5)
    for i in range(3):
        for j in range(4):
            np.testing.assert_array_equal(attention.masked(A, mask)[i, j], attention.masked(A[i, 0], mask[j]))
    S = attention.from_spectrum([1, 0.3, -0.2, 0.1], rng=0)
    np.testing.assert_array_equal(attention.masked(S, np.ones((4, 4), dtype=bool)), S)
    np.testing.assert_array_equal(attention.masked(A, np.eye(5, dtype=bool))[0, 0], np.eye(5))


def test_the_row_that_keeps_nothing_is_named():
    mask = np.ones((2, 3, 4, 4), dtype=bool)
    mask[1, 0, 2] = False
    A = attention.uniform(4)
    with pytest.raises(
        InvalidValueError, match=r"^mask: found no True in row 2 of matrix \(1, 0\); expected"
    ):
        attention.masked(A, mask)
    with pytest.raises(InvalidValueError, match=r"^mask: found no True in row 2; expected"):
        attention.masked(A, mask[1, 0])
    onehot = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    with pytest.raises(InvalidValueError, match=r"^mask: found no weight left in row 2: .*; expected"):
        attention.masked(onehot, np.eye(3, dtype=bool))
    # subnormal numbers have lost their digits: their ratios would be noise
    tiny = np.array([[1.0, 3e-310, 4e-310], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    hide_first = np.array([[False, True, True]] * 3)
    with pytest.raises(InvalidValueError, match=r"no weight left in row 0"):
        attention.masked(tiny, hide_first)
    small = np.where(tiny < 1e-300, tiny * 1e60, tiny)
    np.testing.assert_allclose(attention.masked(small, hide_first)[0], [0, 3 / 7, 4 / 7], rtol=1e-12)


# --- which masks let tokens converge ---------------------------------------------------


def count_by_search(mask):
    """Closed classes by strongly connected components, independent of the closure."""
    count, group = connected_components(mask, directed=True, connection="strong")
    return sum(not mask[np.ix_(group == k, group != k)].any() for k in range(count))


@given(st.integers(1, 9), st.integers(0, 2**32))
def test_closed_groups_count_the_eigenvalue_one(n, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((20, n, n)) < rng.random((20, 1, 1)) ** 2
    mask |= np.eye(n, dtype=bool)
    groups = masks.closed_groups(mask)
    assert groups.dtype == np.int64
    assert groups.tolist() == [count_by_search(m) for m in mask]
    A = attention.masked(attention.dirichlet(n, 5.0, size=20, rng=rng), mask)
    # a block that is not closed loses weight; where it loses too little to see, the case is left out
    moduli = np.abs(np.linalg.eigvals(A))
    clear = ((moduli > 1 - 1e-12) | (moduli < 1 - 1e-6)).all(axis=-1)
    np.testing.assert_array_equal((moduli > 1 - 1e-9).sum(axis=-1)[clear], groups[clear])
    # and one group is what brings every start together
    power = np.linalg.matrix_power(A, 2**40)
    together = np.abs(power - power[:, :1]).max(axis=(-1, -2)) < 1e-3
    np.testing.assert_array_equal(together[clear], groups[clear] == 1)


def test_groups_are_closed_to_the_outside_not_from_it():
    # token 0 sees both others, who see themselves: two groups; seen by nobody is token 0 alone
    fork = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 1]], dtype=bool)
    assert masks.closed_groups(np.stack([fork, fork.T])).tolist() == [2, 1]


def test_a_group_without_self_loops_may_never_settle():
    follow = np.roll(np.eye(4, dtype=bool), 1, axis=1)
    assert masks.closed_groups(follow) == 1
    x = np.array([[1.0], [0], [0], [0]])
    assert np.ptp(np.linalg.matrix_power(attention.masked(attention.uniform(4), follow), 1001) @ x) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 17, 33, 64])
def test_closed_groups_follow_the_longest_chain(n):
    # a path needs all n - 1 steps to be closed transitively
    path = masks.local(n, 1, causal=True)
    assert masks.closed_groups(path) == 1
    cut = path.copy()
    if n > 1:
        cut[n // 2, n // 2 - 1] = False
        assert masks.closed_groups(cut) == 2
    assert masks.closed_groups(masks.local(n, 0)) == n


def test_closed_groups_of_the_masks_here(xp):
    stack = np.stack([masks.causal(12), masks.ring(12, 1), masks.axial(3, 4), masks.local(12, 0)])
    found = masks.closed_groups(xp.array(stack, dtype="bool"))
    assert xp.owns(found)
    assert xp.host(found).tolist() == [1, 1, 1, 12]


# --- bad input -----------------------------------------------------------------------

U = np.full((2, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: masks.causal(0), InvalidValueError, "n"),
        (lambda: masks.causal(2.0), InvalidTypeError, "n"),
        (lambda: masks.local(3, -1), InvalidValueError, "radius"),
        (lambda: masks.local(3, 1, causal="yes"), InvalidTypeError, "causal"),
        (lambda: masks.ring(3, 1.5), InvalidTypeError, "radius"),
        (lambda: masks.axial(0, 2), InvalidValueError, "height"),
        (lambda: masks.axial(2, None), InvalidTypeError, "width"),
        (lambda: masks.strided(3, 0), InvalidValueError, "stride"),
        (lambda: masks.strided(3, 1, causal=1), InvalidTypeError, "causal"),
        (lambda: masks.sparse(3, 4), InvalidValueError, "degree"),
        (lambda: masks.sparse(3, 0), InvalidValueError, "degree"),
        (lambda: masks.sparse(3, 2, size=0), InvalidValueError, "size"),
        (lambda: masks.sparse(3, 2, rng="x"), InvalidTypeError, "rng"),
        (lambda: masks.closed_groups(np.eye(2)), InvalidTypeError, "mask"),
        (lambda: masks.closed_groups(None), InvalidTypeError, "mask"),
        (lambda: masks.closed_groups([[True], [True, False]]), InvalidTypeError, "mask"),
        (lambda: masks.closed_groups(np.ones((2, 3), dtype=bool)), ShapeError, "mask"),
        (lambda: masks.closed_groups(True), ShapeError, "mask"),
        (lambda: masks.closed_groups(np.ones((0, 0), dtype=bool)), ShapeError, "mask"),
        (lambda: masks.closed_groups([[True, False], [False, False]]), InvalidValueError, "mask"),
        (lambda: attention.masked(U, np.eye(2)), InvalidTypeError, "mask"),
        (lambda: attention.masked(U, np.eye(3, dtype=bool)), ShapeError, "mask"),
        (lambda: attention.masked([[1.0, 1.0], [0.5, 0.5]], np.eye(2, dtype=bool)), InvalidValueError, "A"),
        (lambda: attention.masked(np.full((3, 2, 2), 0.5), np.ones((2, 2, 2), dtype=bool)), ShapeError, "A"),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}\b.*found .*expected ") as caught:
        call()
    assert isinstance(caught.value, LinsimError)


def test_a_mask_of_another_library_is_refused():
    import array_api_strict as strict

    with pytest.raises(InvalidTypeError, match=r"^mask: found an array of array_api_strict"):
        attention.masked(U, strict.asarray(np.eye(2, dtype=bool)))
