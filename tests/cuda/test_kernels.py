"""CUDA kernels, run as plain C++, say what whole NumPy arrays say; and what is wrong with one would show."""

from __future__ import annotations

import ctypes
import zlib

import numpy as np
import pytest
import reliability as harness
from hypothesis import given, settings
from hypothesis import strategies as st

from linsim import Layered, Linear, MultiHead, _kernels, attention, simulate
from linsim._cuda import launch, layout
from linsim._kernels.normals import philox
from linsim.metrics._written import METRICS

from . import emulated, pretended

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

#: families of systems whose matrices are known beforehand
FAMILIES = [
    name
    for name in harness.NAMED
    if not name.startswith("rule: block")
    and name not in ("rule: random weights", "mixed blocks", "deep", "sizes")
]


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


#: share of values that may be further apart than their errors, and how many times these none may be: what
#: errors promise, and what the count of wrong values in tests/reliability.py allows them
BEYOND, FARTHEST = 1e-3, 10.0


def agree(found, expected, dtype, same_errors=True, many=False):
    """Values are as close as both say; in double precision, errors are the same.

    An error is told from three samples.  Where all that rounding does goes one way, as through weights far
    from normal, it divides by these as Student's t with three degrees of freedom, which is beyond 3 in one
    of seventeen, and beyond 30 in one of twelve thousand; of ``many`` systems a share of ``BEYOND`` may be.
    """
    eps, beyond, count = np.finfo(dtype).eps, 0, 0
    for name in expected.metrics:
        a, b = found.metrics[name], expected.metrics[name]
        off_a, off_b = found.errors[name], expected.errors[name]
        sure = (off_a < 1) & (off_b < 1)  # of others not even the first digit is known
        np.testing.assert_array_equal(np.isinf(a[sure]), np.isinf(b[sure]), err_msg=name)
        known = np.isfinite(a) & np.isfinite(b)
        # what measuring rounds, in another order: 16 eps in all, as for the kernels of CPUs
        size = 16 * eps * np.maximum(1, np.abs(b[known]))
        apart, said = np.abs(a[known] - b[known]), off_a[known] + off_b[known]
        assert np.all(apart <= (FARTHEST if many else 1.0) * said + size), name
        beyond, count = beyond + np.sum(apart > said + size), count + apart.size
        # errors are worked out from the same shadows: they differ by what single precision rounds, and by
        # a factor of two where a noise lies beside a power of two
        told = known & (off_b < 0.1) & (off_b > 64 * eps * np.maximum(1, np.abs(b)))
        if same_errors and np.any(told):
            ratio = off_a[told] / off_b[told]
            assert ratio.min() > 0.45, (name, ratio.min())
            assert ratio.max() < 2.2, (name, ratio.max())
    assert beyond <= BEYOND * count, (beyond, count)


def one_of(seed, index, family, dtype, deepest=32):
    drawn = harness.draw(seed, index, family, dtype)
    layers = [layer for layer in drawn.layers if layer <= deepest] or [0]
    return drawn.rule, drawn.x0, layers[-1], layers


def judge(seed, index, family, dtype):
    rule, x0, depth, layers = one_of(seed, index, family, dtype)
    found, expected = both(rule, x0, depth, layers=layers, dtype=dtype, resolution=1e300, metrics=METRICS)
    assert set(found.info.methods.ravel()) == {"device"}
    assert np.array_equal(found.info.split, expected.info.split)
    # where layers enlarge errors a thousandfold the first roundings decide; in single precision whole arrays
    # add samples of errors, and the kernel leaves it at their bounds
    agree(found, expected, dtype, dtype == "float64" and "non-normal" not in family)


@pytest.mark.sample(2)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family, card):
    judge(7, 1, family, "float64")


@given(st.integers(0, 10**6), st.sampled_from(FAMILIES), st.sampled_from(["float64", "float32"]))
@settings(max_examples=6)
def test_systems_of_all_kinds(index, family, dtype):
    with pretended.gpu():
        judge(11, index, family, dtype)


#: beside the families that name one factor: rules of which many systems are drawn at once
TOGETHER = ("rule: multihead", "rule: bias", "rule: scale", "rule: general", "rule: bias, scale and heads")


def many(family, index, dtype, count):
    """So many systems of a family and of one size, as a batch: a rule and tokens."""
    rng = np.random.default_rng([index, zlib.crc32(family.encode())])
    n, d = (int(rng.integers(1 + (family == "mixed"), 17)) for _ in range(2))  # of some kinds there is no 1
    kinds = {"attention": "base", "weights": "base", "tokens": "base"}
    factor, _, kind = family.partition(": ")
    heads = int(rng.integers(2, 5)) if "heads" in kind or kind == "multihead" else 1
    drawn = []
    for _ in range(count):
        if family == "mixed":
            named = ("attention", harness.ATTENTION), ("weights", harness.WEIGHTS), ("tokens", harness.TOKENS)
            kinds = {name: str(rng.choice(of)) for name, of in named}
        elif factor in kinds:
            kinds[factor] = kind
        A = np.stack([harness.attention(kinds["attention"], rng, n) for _ in range(heads)])
        H = np.stack([harness.weights(kinds["weights"], rng, d) for _ in range(heads)])
        tokens = harness.tokens(kinds["tokens"], rng, n, d, A[0].astype(float), H[0].astype(float))
        drawn.append((A, H / heads, tokens))
    A, H, x0 = (np.stack(x).astype(dtype) for x in zip(*drawn, strict=True))
    options = {}
    if "bias" in kind:
        size = 4.0 ** rng.integers(-6, 3, (count, 1))
        options["bias"] = (size * rng.standard_normal((count, d))).astype(dtype)
    if "scale" in kind:
        options["scale"] = rng.uniform(0.3, 1.7, (count, n)).astype(dtype)
    if kind == "general":
        A, options["general"] = (A * rng.uniform(-1, 1.5, A.shape)).astype(dtype), True
    if heads == 1:
        return Linear(A[:, 0], H[:, 0], **options), x0
    return MultiHead(A, H, **options), x0


def judge_many(family, index, dtype, count):
    rule, x0 = many(family, index, dtype, count)
    options = {"layers": [0, 1, 3, 8, 20], "dtype": dtype, "resolution": 1e300, "metrics": METRICS}
    found, expected = both(rule, x0, 20, **options)
    assert set(found.info.methods) == {"device"}
    # whole arrays rescale the errors of a batch together, the kernel those of each system: where they die out
    # they are not the same, but values are within both
    agree(found, expected, dtype, same_errors=False, many=True)


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("family", [*(name for name in FAMILIES if not name.startswith("rule")), *TOGETHER])
def test_ten_thousand_systems_of_every_family(family, dtype, card, monkeypatch):
    # of a single warp: a quarter of the work of an emulation, whose threads run one after the other
    monkeypatch.setattr(launch, "THREADS", 32)
    for index in range(10):
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
    whole = "inner);\n    __syncthreads();"
    assert source.count(whole) == 1
    return source.replace(whole, "inner);")


def test_a_missing_barrier_shows(card):
    broken = values(card, 0, without_a_barrier)
    # what nobody has written yet is no number
    assert (
        not np.array_equal(broken, values(card, 1, without_a_barrier), equal_nan=True)
        or np.isnan(broken).any()
    )
    assert not np.array_equal(broken, values(card, 0), equal_nan=True)


def with_a_barrier_for_some(source):
    last = "    at.state.store(t.held"
    assert source.count(last) == 1
    return source.replace(last, f"    if (threadIdx.x < 40) __syncthreads();\n{last}")


def test_a_barrier_that_only_some_threads_reach_is_an_error(card):
    with pytest.raises(AssertionError, match="only some threads reach"):
        values(card, 0, with_a_barrier_for_some)


@pytest.mark.parametrize("itemsize", [8, 4])
def test_python_and_kernels_count_the_same_bytes(itemsize):
    library, counted = emulated.library(), (ctypes.c_size_t * 2)()
    for n in (1, 7, 40, 64, 65, 97, 128):
        for d in (1, 8, 33, 64, 70, 128):
            for copies, heads, limit in ((0, 1, 2**30), (3, 1, 232448), (3, 4, 166912), (3, 2, 101376)):
                library.counted_bytes(
                    n, d, copies, heads, int(itemsize == 4), ctypes.c_size_t(limit), counted
                )
                assert layout.room(n, d, itemsize, copies, heads, limit) == tuple(counted), (n, d, limit)
                assert counted[0] <= limit


def test_uniform_numbers_are_those_of_the_cpu_to_the_bit():
    key, stream, first = np.uint64(2**63 + 12345), np.uint64(99), np.uint64(2**40)
    out = np.empty(1001)
    emulated.launch("uniforms", 3, [key, stream, first, np.int64(out.size), out], threads=64)
    words = [philox(key, first + np.uint64(k), stream) for k in range(501)]
    expected = (np.array(words, dtype=np.uint64).ravel() >> np.uint64(11)).astype(np.float64)[:1001]
    np.testing.assert_array_equal(out, (expected + 0.5) * 2.0**-53)


@pytest.mark.parametrize("room", [48 * 1024, 64 * 1024, 80 * 1024])
def test_what_does_not_fit_lies_elsewhere(card, room):
    """However little room a block has on the chip, numbers are the same, to the bit."""
    rng = np.random.default_rng(3)
    A, H = attention.softmax(40, 8, size=(3, 2), rng=rng), 0.1 * rng.standard_normal((3, 2, 36, 36))
    rule, x0 = MultiHead(A, H), rng.standard_normal((3, 40, 36))
    options = {"layers": [0, 1, 3], "method": "device", "backend": "cupy"}
    assert layout.room(40, 36, 8, 3, 2)[0] > 80 * 1024
    whole = simulate(rule, x0, 3, **options)
    # two processors: blocks take one system after the other
    card.room, card.processors = room, 1
    pretended.forget()
    less = simulate(rule, x0, 3, **options)
    assert card.launches[-1][1] == 2
    for name in whole.metrics:
        for held in ("metrics", "errors"):
            a, b = (getattr(run, held)[name] for run in (less, whole))
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_another_layer_at_each_depth(card):
    rng = np.random.default_rng(5)
    rules = [Linear(attention.softmax(6, 4, rng=rng), 0.3 * rng.standard_normal((4, 4))) for _ in range(9)]
    found, expected = both(
        Layered(rules), rng.standard_normal((3, 6, 4)), 9, metrics=METRICS, resolution=1e300
    )
    agree(found, expected, "float64")


@pytest.mark.parametrize("shape", [(64, 64), (64, 3), (3, 64), (33, 32), (128, 5), (5, 128), (70, 67)])
def test_the_largest_systems(card, shape):
    n, d = shape
    rng = np.random.default_rng(2)
    rule = Linear(attention.softmax(n, 8, rng=rng), rng.standard_normal((d, d)) / (2 * np.sqrt(d)))
    found, expected = both(
        rule, rng.standard_normal((n, d)), 6, layers=[0, 3, 6], metrics=METRICS, resolution=1e300
    )
    agree(found, expected, "float64")
