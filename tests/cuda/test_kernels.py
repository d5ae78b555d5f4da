"""CUDA kernels, run as plain C++, say what whole NumPy arrays say; and what is wrong with one would show."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import reliability as harness
from hypothesis import given, settings
from hypothesis import strategies as st

from linsim import Layered, Linear, _kernels, attention, simulate
from linsim._cuda import launch, layout
from linsim._kernels.normals import philox
from linsim.metrics._written import METRICS

from . import emulated, pretended

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

#: families of systems whose layers are one head
FAMILIES = [
    name
    for name in dict.fromkeys(harness.FAMILIES)
    if not name.startswith("rule: block")
    and name not in ("rule: random weights", "rule: multihead", "mixed blocks")
]


@pytest.fixture
def card():
    """A GPU that is not there: kernels run emulated, all else is NumPy."""
    with pretended.gpu() as card:
        yield card


def alone(patch):
    """Let nobody go again, with more digits, through what an engine found nothing of."""
    patch.setattr("linsim._simulate.rescued", lambda task, found: found)


def both(rule, x0, depth, **options):
    """The same run by the kernel and by whole NumPy arrays, nothing of which is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        alone(patch)
        found = simulate(rule, x0, depth, method="device", backend="cupy", **options)
        patch.setattr(_kernels, "usable", lambda: False)
        return found, simulate(rule, x0, depth, method="iterate", **options)


def agree(found, expected, dtype, same_errors=True):
    """Values are as close as both say; in double precision, errors are the same."""
    eps = np.finfo(dtype).eps
    for name in expected.metrics:
        a, b = found.metrics[name], expected.metrics[name]
        off_a, off_b = found.errors[name], expected.errors[name]
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b), err_msg=name)
        known = np.isfinite(a) & np.isfinite(b)
        # what measuring rounds, in another order: 16 eps in all, as for the kernels of CPUs
        size = 16 * eps * np.maximum(1, np.abs(b[known]))
        assert np.all(np.abs(a[known] - b[known]) <= off_a[known] + off_b[known] + size), name
        # errors are worked out from the same shadows: they differ by what single precision rounds, and by
        # a factor of two where a noise lies beside a power of two
        told = known & (off_b < 0.1) & (off_b > 64 * eps * np.maximum(1, np.abs(b)))
        if same_errors and np.any(told):
            ratio = off_a[told] / off_b[told]
            assert ratio.min() > 0.45, (name, ratio.min())
            assert ratio.max() < 2.2, (name, ratio.max())


def one_of(seed, index, family, dtype, deepest=32):
    drawn = harness.draw(seed, index, family, dtype)
    layers = [layer for layer in drawn.layers if layer <= deepest] or [0]
    return drawn.rule, drawn.x0, layers[-1], layers


def judge(seed, index, family, dtype):
    rule, x0, depth, layers = one_of(seed, index, family, dtype)
    heads = {len(rule.checked_heads(layer)) for layer in range(1 if rule.repeats else max(depth, 1))}
    if heads != {1}:
        return False  # a mixture may draw several heads, which go another way
    found, expected = both(rule, x0, depth, layers=layers, dtype=dtype, resolution=1e300, metrics=METRICS)
    assert set(found.info.methods.ravel()) == {"device"}
    assert np.array_equal(found.info.split, expected.info.split)
    # where layers enlarge errors a thousandfold the first roundings decide; in single precision whole arrays
    # add samples of errors, and the kernel leaves it at their bounds
    agree(found, expected, dtype, dtype == "float64" and "non-normal" not in family)
    return True


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family, card):
    judge(7, 1, family, "float64")


@given(st.integers(0, 10**6), st.sampled_from(FAMILIES), st.sampled_from(["float64", "float32"]))
@settings(max_examples=6)
def test_systems_of_all_kinds(index, family, dtype):
    with pretended.gpu():
        judge(11, index, family, dtype)


def many(family, index, dtype, count):
    """So many systems of a family and of one size, as a batch: A, H and tokens."""
    rng = np.random.default_rng([index, zlib.crc32(family.encode())])
    n, d = (int(rng.integers(1, 17)) for _ in range(2))
    kinds = {"attention": "base", "weights": "base", "tokens": "base"}
    factor, _, kind = family.partition(": ")
    drawn = []
    for _ in range(count):
        if family == "mixed":
            named = ("attention", harness.ATTENTION), ("weights", harness.WEIGHTS), ("tokens", harness.TOKENS)
            kinds = {name: str(rng.choice(of)) for name, of in named}
        elif factor in kinds:
            kinds[factor] = kind
        A = harness.attention(kinds["attention"], rng, n)
        H = harness.weights(kinds["weights"], rng, d)
        drawn.append((A, H, harness.tokens(kinds["tokens"], rng, n, d, A.astype(float), H.astype(float))))
    return (np.stack(x).astype(dtype) for x in zip(*drawn, strict=True))


def judge_many(family, index, dtype, count):
    A, H, x0 = many(family, index, dtype, count)
    options = {"layers": [0, 1, 3, 8, 20], "dtype": dtype, "resolution": 1e300, "metrics": METRICS}
    found, expected = both(Linear(A, H), x0, 20, **options)
    assert set(found.info.methods) == {"device"}
    agree(found, expected, dtype, dtype == "float64" and family != "mixed" and "non-normal" not in family)


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "rule: layered"])
def test_ten_thousand_systems_of_every_family(family, dtype, card):
    for index in range(20):
        judge_many(family, index, dtype, 500)


def tokens_of(kind, n, d, rng):
    x = rng.standard_normal((n, d))
    u, s, v = np.linalg.svd(x, full_matrices=False)
    k = len(s)
    s = {
        "random": s,
        "graded": 10.0 ** -np.linspace(0, 30, k),
        "tied": np.ones(k),
        "rank-deficient": np.where(np.arange(k) < (k + 1) // 2, 1.0, 0.0),
        "tiny": 1e-300 * s,
        "huge": 1e300 * s,
        "close to one row": s * np.where(np.arange(k) == 0, 1.0, 1e-12),
    }[kind]
    return (u * s) @ v


@given(
    st.sampled_from(["random", "graded", "tied", "rank-deficient", "tiny", "huge", "close to one row"]),
    st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=20)
def test_tokens_as_they_are_given(kind, n, d, seed):
    """No layers: sums, the leading pair, angles and singular values alone, against LAPACK."""
    x = tokens_of(kind, n, d, np.random.default_rng(seed))
    with pretended.gpu():
        rule = Linear(attention.uniform(n), np.eye(d))
        found, expected = both(rule, x, 0, layers=[0], metrics=METRICS, resolution=1e300)
        agree(found, expected, "float64", same_errors=False)
        s = np.linalg.svd(x / np.max(np.abs(x)), compute_uv=False)
        rank = found.metrics["stable_rank"][0]
        np.testing.assert_allclose(rank, np.sum((s / s[0]) ** 2), rtol=100 * np.finfo(float).eps)


def small(dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    A, H = attention.softmax(7, 4, size=(2,), rng=rng), 0.4 * rng.standard_normal((2, 5, 5))
    return Linear(A.astype(dtype), H.astype(dtype)), rng.standard_normal((2, 7, 5)).astype(dtype)


def values(card, order, change=None, dtype="float64"):
    card.order, card.change = order, change
    with pytest.MonkeyPatch.context() as patch:
        alone(patch)
        run = simulate(*small(dtype), 20, method="device", backend="cupy", layers=[1, 9, 20], metrics=METRICS)
    return np.stack([*run.metrics.values(), *run.errors.values()])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_threads_may_run_in_any_order(card, dtype):
    forwards = values(card, 0, dtype=dtype)
    for order in (1, 2, 3):
        np.testing.assert_array_equal(values(card, order, dtype=dtype), forwards)


def without_a_barrier(source):
    """Let threads read the product between the two of a layer before all of it is there."""
    whole = "d, false, (float *)0);\n    __syncthreads();"
    assert source.count(whole) == 1
    return source.replace(whole, "d, false, (float *)0);")


def test_a_missing_barrier_shows(card):
    broken = values(card, 0, without_a_barrier)
    # what nobody has written yet is no number
    assert (
        not np.array_equal(broken, values(card, 1, without_a_barrier), equal_nan=True)
        or np.isnan(broken).any()
    )
    assert not np.array_equal(broken, values(card, 0), equal_nan=True)


def with_a_barrier_for_some(source):
    assert source.count("    at.state.store(") == 1
    return source.replace(
        "    at.state.store(", "    if (threadIdx.x < 40) __syncthreads();\n    at.state.store("
    )


def test_a_barrier_that_only_some_threads_reach_is_an_error(card):
    with pytest.raises(AssertionError, match="only some threads reach"):
        values(card, 0, with_a_barrier_for_some)


@pytest.mark.parametrize("itemsize", [8, 4])
def test_python_and_kernels_count_the_same_bytes(itemsize):
    library = emulated.library()
    for n in range(1, 65, 7):
        for d in range(1, 65, 9):
            for copies, with_copies in ((0, False), (3, False), (3, True)):
                counted = library.counted_bytes(n, d, copies, int(with_copies), int(itemsize == 4))
                assert layout.shared_bytes(n, d, itemsize, copies, with_copies) == counted


def test_uniform_numbers_are_those_of_the_cpu_to_the_bit():
    key, stream, first = np.uint64(2**63 + 12345), np.uint64(99), np.uint64(2**40)
    out = np.empty(1001)
    emulated.launch("uniforms", 3, [key, stream, first, np.int64(out.size), out], threads=64)
    words = [philox(key, first + np.uint64(k), stream) for k in range(501)]
    expected = (np.array(words, dtype=np.uint64).ravel() >> np.uint64(11)).astype(np.float64)[:1001]
    np.testing.assert_array_equal(out, (expected + 0.5) * 2.0**-53)


def test_matrices_that_do_not_fit_twice(card):
    """Where a block is too small for single-precision copies, shadows take the matrices as they are."""
    rule, x0 = small()
    whole = simulate(rule, x0, 20, method="device", backend="cupy")
    card.room = layout.shared_bytes(7, 5, 8, 3, True) - 1
    launch._room.cache_clear()
    less = simulate(rule, x0, 20, method="device", backend="cupy")
    for name in whole.metrics:
        np.testing.assert_array_equal(less.metrics[name], whole.metrics[name], err_msg=name)
        # errors are single precision, of a matrix that is rounded once or at each product: the same here
        np.testing.assert_allclose(less.errors[name], whole.errors[name], rtol=1e-4, err_msg=name)


def test_another_layer_at_each_depth(card):
    rng = np.random.default_rng(5)
    rules = [Linear(attention.softmax(6, 4, rng=rng), 0.3 * rng.standard_normal((4, 4))) for _ in range(9)]
    found, expected = both(
        Layered(rules), rng.standard_normal((3, 6, 4)), 9, metrics=METRICS, resolution=1e300
    )
    agree(found, expected, "float64")


@pytest.mark.parametrize("shape", [(64, 64), (64, 3), (3, 64), (33, 32)])
def test_the_largest_systems(card, shape):
    n, d = shape
    rng = np.random.default_rng(2)
    rule = Linear(attention.softmax(n, 8, rng=rng), rng.standard_normal((d, d)) / (2 * np.sqrt(d)))
    found, expected = both(
        rule, rng.standard_normal((n, d)), 6, layers=[0, 3, 6], metrics=METRICS, resolution=1e300
    )
    agree(found, expected, "float64")
