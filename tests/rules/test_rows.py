import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linsim.errors import InvalidTypeError, InvalidValueError, ShapeError
from linsim.streams import RowGenerator, rows

K = 5
KEYS = [(7, 0, float(i)) for i in range(K)]

# every distribution that NumPy draws with a size, and arguments that it accepts
ARGUMENTS = {
    "beta": (2.0, 3.0),
    "binomial": (5, 0.3),
    "chisquare": (2.0,),
    "exponential": (2.0,),
    "f": (3.0, 4.0),
    "gamma": (2.0, 1.5),
    "geometric": (0.4,),
    "gumbel": (0.0, 1.0),
    "hypergeometric": (5, 6, 4),
    "integers": (2**40,),
    "laplace": (0.0, 1.0),
    "logistic": (0.0, 1.0),
    "lognormal": (0.0, 1.0),
    "logseries": (0.5,),
    "negative_binomial": (3, 0.4),
    "noncentral_chisquare": (3.0, 1.0),
    "noncentral_f": (3.0, 4.0, 1.0),
    "normal": (1.0, 2.0),
    "pareto": (3.0,),
    "poisson": (4.0,),
    "power": (2.0,),
    "random": (),
    "rayleigh": (1.0,),
    "standard_cauchy": (),
    "standard_exponential": (),
    "standard_gamma": (2.0,),
    "standard_normal": (),
    "standard_t": (3.0,),
    "triangular": (0.0, 0.5, 1.0),
    "uniform": (1.0, 2.0),
    "vonmises": (0.0, 1.0),
    "wald": (1.0, 1.0),
    "weibull": (2.0,),
    "zipf": (2.0,),
    "dirichlet": ([1.0, 2.0, 3.0],),
    "choice": (10,),
    "multivariate_normal": ([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]),
    "multinomial": (10, [0.2, 0.3, 0.5]),
    "multivariate_hypergeometric": ([3, 4, 5], 6),
}
#: those without a size
ORDERS = ("permutation", "permuted", "shuffle", "spawn")
REFUSED = ("bytes",)


def test_every_public_draw_of_numpy_is_either_rowwise_or_refused():
    public = {name for name in dir(np.random.Generator) if not name.startswith("_")} - {"bit_generator"}
    assert set(ARGUMENTS) | set(ORDERS) | set(REFUSED) == public


@pytest.mark.parametrize("name", ARGUMENTS)
def test_rows_do_not_depend_on_the_batch(name):
    for rest in ((), (3,), (2, 2)):
        together = getattr(RowGenerator(KEYS), name)(*ARGUMENTS[name], size=(K, *rest))
        assert together.shape[: 1 + len(rest)] == (K, *rest)
        for i in range(K):
            alone = getattr(RowGenerator(KEYS[i : i + 1]), name)(*ARGUMENTS[name], size=(1, *rest))
            np.testing.assert_array_equal(together[i], alone[0])


def test_rows_are_a_plain_philox_stream_of_numpy():
    generator = RowGenerator(KEYS)
    assert generator._rows[0].bit_generator.__class__ is np.random.Philox
    drawn = RowGenerator(KEYS).normal(2.0, 3.0, size=(K, 4))
    expected = [stream.normal(2.0, 3.0, size=4) for stream in generator._rows]
    np.testing.assert_array_equal(drawn, expected)
    assert len(np.unique(drawn)) == drawn.size


def test_streams_advance_together():
    a, b = RowGenerator(KEYS), RowGenerator(KEYS)
    a.random(K)
    first = a.random((K, 2))
    assert not np.array_equal(first, b.random((K, 2)))


def test_array_parameters_give_each_row_its_slice():
    loc = np.arange(K) * 100.0
    rowwise = RowGenerator(KEYS).normal(loc, 1.0, size=K)
    by_name = RowGenerator(KEYS).normal(size=(K,), loc=loc, scale=1.0)
    alone = RowGenerator(KEYS[3:4]).normal(loc[3:4], 1.0, size=1)
    assert rowwise[3] == alone[0]
    np.testing.assert_array_equal(rowwise, by_name)
    columns = RowGenerator(KEYS).normal(loc[:, None], np.array([[1e-9, 1.0]]), size=(K, 2))
    np.testing.assert_allclose(columns[:, 0], loc, atol=1e-7)
    shared = RowGenerator(KEYS).uniform([0.0, 10.0], [1.0, 11.0], size=(K, 2))
    assert (shared[:, 0] < 1).all()
    assert (shared[:, 1] >= 10).all()


def test_dirichlet_takes_an_alpha_for_each_row():
    alpha = np.geomspace(0.5, 50, K)[:, None] * np.ones(3)
    together = RowGenerator(KEYS).dirichlet(alpha, size=(K, 2))
    assert together.shape == (K, 2, 3)
    np.testing.assert_array_equal(together[2:3], RowGenerator(KEYS[2:3]).dirichlet(alpha[2:3], size=(1, 2)))
    with pytest.raises(ShapeError, match="alpha"):
        RowGenerator(KEYS).dirichlet(np.ones((2, 3)), size=K)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_one_draw_a_row_without_a_size(name):
    drawn = getattr(RowGenerator(KEYS), name)(*ARGUMENTS[name])
    np.testing.assert_array_equal(drawn, getattr(RowGenerator(KEYS), name)(*ARGUMENTS[name], size=K))
    # and it is what the row's own generator gives
    own = getattr(RowGenerator(KEYS).streams[2], name)(*ARGUMENTS[name])
    np.testing.assert_array_equal(drawn[2], own)


def test_orders_are_those_of_each_row():
    orders = RowGenerator(KEYS).permutation(7)
    assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(7), (K, 1)))
    assert len({tuple(row) for row in orders}) == K
    np.testing.assert_array_equal(orders[3], RowGenerator(KEYS).streams[3].permutation(7))
    table = np.arange(K * 6).reshape(K, 3, 2)
    mixed = RowGenerator(KEYS).permuted(table, axis=0)
    np.testing.assert_array_equal(mixed[3], RowGenerator(KEYS).streams[3].permuted(table[3], axis=0))
    np.testing.assert_array_equal(np.sort(mixed, axis=1), table)
    out = np.empty_like(table)
    assert RowGenerator(KEYS).permuted(table, axis=0, out=out) is out
    np.testing.assert_array_equal(out, mixed)
    shuffled = table.copy()
    RowGenerator(KEYS).shuffle(shuffled)
    expected = table[3].copy()
    RowGenerator(KEYS).streams[3].shuffle(expected)
    np.testing.assert_array_equal(shuffled[3], expected)
    for bad in (np.arange(K), np.ones((K + 1, 2)), [[1, 2]] * K, 3):
        for name in ("shuffle", "permuted"):
            with pytest.raises(InvalidValueError, match=f"leading axis k = {K}"):
                getattr(RowGenerator(KEYS), name)(bad)


def test_choices_without_replacement_are_within_a_row():
    drawn = RowGenerator(KEYS).choice(6, size=(K, 6), replace=False)
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.tile(np.arange(6), (K, 1)))
    alone = RowGenerator(KEYS[2:3]).choice(6, size=(1, 6), replace=False)
    np.testing.assert_array_equal(drawn[2], alone[0])


def test_children_have_rows_of_their_own():
    children = RowGenerator(KEYS).spawn(2)
    again = RowGenerator(KEYS[3:4]).spawn(2)
    drawn = [child.random(K) for child in children]
    assert len(np.unique(drawn)) == 2 * K
    for child, found in zip(again, drawn, strict=True):
        assert child.random(1)[0] == found[3]


def test_vectors_and_matrices_are_shared_or_one_a_row():
    means = np.arange(2.0 * K).reshape(K, 2) * 100
    cov = np.stack([np.eye(2) * (i + 1) for i in range(K)])
    drawn = RowGenerator(KEYS).multivariate_normal(means, cov, size=(K, 4))
    expected = RowGenerator(KEYS).streams[4].multivariate_normal(means[4], cov[4], size=4)
    np.testing.assert_array_equal(drawn[4], expected)
    counts = RowGenerator(KEYS).multinomial(np.arange(K), [0.5, 0.5])
    np.testing.assert_array_equal(counts.sum(axis=1), np.arange(K))
    for name, arguments in (
        ("multivariate_normal", (np.zeros((3, 2)), np.eye(2))),
        ("multivariate_normal", (np.zeros(2), np.zeros((3, 2, 2)))),
        ("multinomial", (np.ones((2, 2), dtype=int), [0.5, 0.5])),
        ("multivariate_hypergeometric", ([[1, 2]] * 3, 1)),
    ):
        with pytest.raises(ShapeError, match="or one a row"):
            getattr(RowGenerator(KEYS), name)(*arguments)


@pytest.mark.parametrize("size", [3, (3, K), (), (K + 1, 2)])
@pytest.mark.parametrize("name", ["standard_normal", "random", "standard_cauchy"])
def test_a_draw_without_the_leading_axis_is_refused(name, size):
    with pytest.raises(InvalidValueError, match="draws in a sweep need leading axis k = 5"):
        getattr(RowGenerator(KEYS), name)(size=size)


@pytest.mark.parametrize("name", REFUSED)
def test_draws_that_mix_rows_are_refused(name):
    with pytest.raises(InvalidValueError, match="leading axis k = 5"):
        getattr(RowGenerator(KEYS), name)(3)


def test_other_ways_round_the_rows_are_refused():
    generator = RowGenerator(KEYS)
    with pytest.raises(InvalidValueError, match="leading axis"):
        generator.random(K, out=np.empty(K))
    with pytest.raises(InvalidValueError, match="leading axis"):
        _ = generator.bit_generator
    with pytest.raises(InvalidTypeError, match="normal"):
        generator.normal(0.0, size=K, loc=1.0)
    with pytest.raises(InvalidTypeError, match="normal"):
        generator.normal(mean=0.0, size=K)
    with pytest.raises(ShapeError, match="loc"):
        generator.normal(np.zeros(3), size=K)


def test_default_rng_returns_it_unchanged_and_copies_keep_the_state():
    generator = RowGenerator(KEYS)
    assert np.random.default_rng(generator) is generator
    assert repr(generator) == str(generator) == "RowGenerator(k=5)"
    generator.random(K)
    copies = [pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)]
    expected = generator.random(K)
    for other in copies:
        np.testing.assert_array_equal(other.random(K), expected)


@pytest.mark.parametrize("keys", [[], [(None,)], [([1],)]])
def test_bad_keys_are_refused(keys):
    with pytest.raises((InvalidTypeError, InvalidValueError), match="keys"):
        RowGenerator(keys)


scalars = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(max_size=4),
    st.booleans(),
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(scalars, max_size=4), st.lists(scalars, max_size=4))
def test_keys_are_equal_exactly_when_their_items_are(a, b):
    draws = [RowGenerator([tuple(key)]).integers(2**62, size=1)[0] for key in (a, b)]
    assert (draws[0] == draws[1]) == (a == b)


def test_keys_are_delimited():
    generator = RowGenerator([("a", "bc"), ("ab", "c"), (1, 2), (12,), ("1", "2"), ()])
    assert len(np.unique(generator.random(6))) == 6


def test_sweep_rows_are_keyed_by_what_they_are():
    a, b = np.array([0.1, 0.2, -0.0]), np.array([1, 2, 3])
    base = rows(3, 1, {"a": a, "b": b}).random(3)
    np.testing.assert_array_equal(rows(3, 1, {"b": b.astype(float), "a": a + 0.0}).random(3), base)
    np.testing.assert_array_equal(rows(3, 1, {"a": a[::-1], "b": b[::-1]}).random(3), base[::-1])
    assert rows(3, 1, {"a": a[1:2], "b": b[1:2]}).random(1)[0] == base[1]
    for other in (
        rows(4, 1, {"a": a, "b": b}),
        rows(3, 0, {"a": a, "b": b}),
        rows(3, 1, {"a": b, "b": a}),
        rows(3, 1, {"a": a, "c": b}),
    ):
        assert not np.isin(other.random(3), base).any()
    assert rows(0, 0, {"mode": np.array(["x", "y"])}).random(2).shape == (2,)
    assert rows(0, 0, {}).random(1).shape == (1,)


def test_sweep_rows_refuse_ragged_coordinates():
    for bad in ({"a": [1, 2], "b": [1]}, {"a": [[1, 2]]}, {"a": []}, {"a": 1.0}):
        with pytest.raises(ShapeError, match="coordinates"):
            rows(0, 0, bad)
    with pytest.raises(InvalidTypeError, match="seed"):
        rows(0.5, 0, {"a": [1]})


def test_streams_are_the_same_in_another_process():
    code = "from linsim.streams import rows; "
    code += "print(rows(1, 2, {'a': [0.25], 'm': ['x']}).integers(2**62, size=1)[0])"
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in "ab"
    }
    assert runs == {b"%d\n" % rows(1, 2, {"a": [0.25], "m": ["x"]}).integers(2**62, size=1)[0]}
