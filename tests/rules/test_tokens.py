import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linsim import tokens
from linsim.errors import LinsimError
from linsim.streams import RowGenerator


def similarity_of(X):
    mean = X.mean(axis=-2)
    return X.shape[-2] * (mean**2).sum(axis=-1) / (X**2).sum(axis=(-2, -1))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(2, 40), st.integers(1, 9), st.floats(0, 1), st.integers(0, 2**32))
def test_similarity_is_exact(n, d, similarity, seed):
    X = tokens.gaussian(n, d, similarity=similarity, rng=seed)
    assert X.shape == (n, d)
    # tokens are rounded, by eps of their own size and not of the size of their mean, or of what differs
    eps = 16 * np.finfo(float).eps

    def rounding(part):
        return 1e-13 * part + 2 * eps * part**0.5 + eps**2

    assert abs(similarity_of(X) - similarity) <= rounding(similarity)
    centered = X - X.mean(axis=0)
    diversity = (centered**2).sum() / (X**2).sum()
    assert abs(diversity - (1 - similarity)) <= rounding(1 - similarity)
    np.testing.assert_allclose((X**2).sum(), (tokens.gaussian(n, d, rng=seed) ** 2).sum(), rtol=1e-13)


def test_end_points():
    same = tokens.gaussian(6, 4, similarity=1, size=3, rng=0)
    assert (same == same[:, :1]).all()
    assert (np.abs(same) > 0).all()
    zero = tokens.gaussian(6, 4, similarity=0, size=(2, 3), rng=0)
    assert np.abs(zero.sum(axis=-2)).max() < 1e-14
    assert tokens.gaussian(1, 4, similarity=1, rng=0).shape == (1, 4)
    assert tokens.gaussian(1, 4, rng=0).shape == (1, 4)


def test_a_similarity_for_each_system_and_batch_independence():
    wanted = np.linspace(0, 1, 7)
    keys = [(i,) for i in range(7)]
    X = tokens.gaussian(5, 3, similarity=wanted, size=7, rng=RowGenerator(keys))
    np.testing.assert_allclose(similarity_of(X), wanted, atol=1e-14)
    for k in (1, 2, 6):
        part = tokens.gaussian(5, 3, similarity=wanted[:k], size=(k,), rng=RowGenerator(keys[:k]))
        np.testing.assert_array_equal(part, X[:k])
    assert tokens.gaussian(5, 3, similarity=wanted, rng=0).shape == (7, 5, 3)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: tokens.gaussian(0, 3), "n"),
        (lambda: tokens.gaussian(3, 0), "d"),
        (lambda: tokens.gaussian(3, 3, similarity=1.5), "similarity"),
        (lambda: tokens.gaussian(3, 3, similarity=-0.1), "similarity"),
        (lambda: tokens.gaussian(3, 3, similarity=np.nan), "similarity"),
        (lambda: tokens.gaussian(3, 3, similarity="high"), "similarity"),
        (lambda: tokens.gaussian(3, 3, similarity=[0.1, 2]), "similarity"),
        (lambda: tokens.gaussian(3, 3, similarity=[0.1, 0.2], size=3), "similarity"),
        (lambda: tokens.gaussian(1, 3, similarity=0.5), "similarity"),
        (lambda: tokens.gaussian(1, 3, similarity=[1, 0]), "similarity"),
        (lambda: tokens.gaussian(3, 3, size=0), "size"),
        (lambda: tokens.gaussian(3, 3, rng="seed"), "rng"),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(LinsimError, match=rf"^{argument}\b.*found .*expected "):
        call()
