"""Compiled kernels against NumPy, with bounds that follow from how often they round."""

from __future__ import annotations

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy.linalg.lapack import dgejsv

from linsim import _kernels

nb = pytest.importorskip("numba")

from linsim._kernels import drive, lanes, layer, linear, measure, products, rowwise, singular, walk  # noqa: E402

DTYPES = ("float64", "float32")
both = pytest.mark.parametrize("dtype", DTYPES)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """Say here, and once, that kernels are compiled."""
    for dtype in DTYPES:
        _kernels.announce(walk.walk, dtype)


def eps_of(dtype):
    return float(np.finfo(dtype).eps)


def width_of(dtype):
    return lanes.WIDTH // np.dtype(dtype).itemsize


def gamma(k, dtype):
    """Relative error of k roundings, one after the other (Higham 2002, lemma 3.1)."""
    u = k * eps_of(dtype) / 2
    return u / (1 - u)


def flat(size, dtype, value=0.0):
    """An aligned flat array."""
    out = products.aligned(size, np.zeros(1, dtype))
    out[:] = value
    return out


def packed(M, count):
    """``M`` in panels of ``count`` stored rows."""
    out = flat(count * products.columns(M.shape[1], M.itemsize), M.dtype)
    products.pack(M, count, out, 0)
    return out


def unpacked(a, o, count, shape):
    M = np.empty(shape, a.dtype)
    products.unpack(a, o, count, 0, M)
    return M


# --- lanes ---------------------------------------------------------------------------------


@nb.njit
def _all_of_lanes(x, y, out, flags):
    w = lanes.WIDTH // x.itemsize
    a, b = lanes.load(x, 0), lanes.load(y, 0)
    lanes.store(out, 0, a + b)
    lanes.store(out, w, a - b)
    lanes.store(out, 2 * w, a * b)
    lanes.store(out, 3 * w, a / b)
    lanes.store(out, 4 * w, 2.0 - a)
    lanes.store(out, 5 * w, a / 2.0)
    lanes.store(out, 6 * w, lanes.fma(a, b, lanes.splat(x, 1.0)))
    lanes.store(out, 7 * w, lanes.sqrt(lanes.magnitude(a)))
    lanes.store(out, 8 * w, lanes.copysign(a, b))
    lanes.store(out, 9 * w, lanes.minimum(a, b))
    lanes.store(out, 10 * w, lanes.maximum(a, b))
    lanes.store(out, 11 * w, lanes.where((a < b) | (b > 1.0), a, b))
    lanes.store(out, 12 * w, lanes.where((a <= b) & (b >= 1.0), a, b))
    lanes.store(out, 13 * w, lanes.gather(x, 1, 3))
    lanes.store(out, 14 * w, lanes.load(x, 3))
    flags[0], flags[1] = lanes.bits(a < b), lanes.bits(lanes.load_pair(x, 0) > lanes.splat_pair(x, 0.5))
    return lanes.total(a), lanes.largest(a)


@nb.njit
def _transposed(out, to, to_step, x, offset, step):
    lanes.transpose(out, to, to_step, x, offset, step)


@both
@hypothesis.given(seeds)
@hypothesis.settings(max_examples=10)
def test_lanes_do_what_numpy_does(dtype, seed):
    rng, w = np.random.default_rng(seed), width_of(dtype)
    x, y = flat(4 * w, dtype), flat(4 * w, dtype)
    x[:], y[:] = rng.normal(size=4 * w), rng.normal(size=4 * w)
    out, flags = flat(15 * w, dtype), np.zeros(2, np.int64)
    total, largest = _all_of_lanes(x, y, out, flags)
    a, b = x[:w], y[:w]
    wide = a.astype("float64") * b
    expected = [
        a + b, a - b, a * b, a / b, 2 - a, a / 2, wide + 1, np.sqrt(np.abs(a)), np.copysign(a, b),
        np.minimum(a, b), np.maximum(a, b), np.where((a < b) | (b > 1), a, b),
        np.where((a <= b) & (b >= 1), a, b), x[1 : 1 + 3 * w : 3], x[3 : 3 + w],
    ]  # fmt: skip
    for k, (found, true) in enumerate(zip(out.reshape(15, w), expected, strict=True)):
        # fma: the reference rounds twice, and 1 + ab may cancel
        error = gamma(3, dtype) * (1 + np.abs(wide)) if k == 6 else 0
        assert np.all(np.abs(found - true) <= error), k
    assert abs(total - a.sum(dtype="float64")) <= gamma(w, dtype) * np.abs(a).sum()
    assert largest == a.max()
    assert flags[0] == sum(1 << i for i in np.flatnonzero(a < b))
    assert flags[1] == sum(1 << i for i in np.flatnonzero(x[: 2 * w] > 0.5))


@both
def test_lanes_compare_nan_as_false(dtype):
    w = width_of(dtype)
    x, y, out, flags = (
        flat(4 * w, dtype, np.nan),
        flat(4 * w, dtype, 2.0),
        flat(15 * w, dtype),
        np.zeros(2, int),
    )
    _all_of_lanes(x, y, out, flags)
    assert not flags.any()
    # y where either is a NaN
    assert np.all(out.reshape(15, w)[[9, 10, 12]] == 2.0)
    assert np.all(np.isnan(out.reshape(15, w)[11]))  # b > 1 holds, so a is taken


@both
def test_transpose_swaps_rows_and_columns(dtype):
    w = width_of(dtype)
    step, to_step = w + 3, w + 5
    x, out = flat(w * step + 2, dtype), flat(w * to_step + 1, dtype, -1.0)
    x[:] = np.arange(x.size)
    _transposed(out, 1, to_step, x, 2, step)
    written = out[1:].reshape(w, to_step)
    np.testing.assert_array_equal(written[:, :w], x[2:].reshape(w, step)[:, :w].T)
    assert out[0] == -1
    assert np.all(written[:, w:] == -1)


# --- panels and products ---------------------------------------------------------------------


@both
@hypothesis.given(st.integers(1, 140), st.integers(1, 70))
def test_index_fills_the_panels_once(dtype, d, n):
    size = np.dtype(dtype).itemsize
    count, stored, w = products.rows(n), products.columns(d, size), width_of(dtype)
    assert n <= count < n + products.ROWS
    assert count % products.ROWS == 0
    assert d <= stored < d + w
    assert stored % w == 0
    at = [products.index(i, j, count, d, size) for i in range(count) for j in range(stored)]
    assert sorted(at) == list(range(count * stored))
    base, stride = layer.places(d, count, size)
    for k, (first, step) in enumerate(zip(base, stride, strict=True)):
        for i in (0, n - 1):
            # a vector of a row lies in one piece
            whole = [products.index(i, k * w + c, count, d, size) for c in range(w)]
            assert whole == list(range(first + i * step, first + i * step + w))


@both
@hypothesis.given(st.integers(1, 140), st.integers(1, 70), st.integers(0, 40), seeds)
def test_pack_and_unpack(dtype, d, n, o, seed):
    M = np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)
    count = products.rows(n)
    size = count * products.columns(d, M.itemsize)
    out = flat(o + size + 5, dtype)
    out[:o] = out[o + size :] = 7.0
    products.pack(M, count, out, o)
    np.testing.assert_array_equal(unpacked(out, o, count, (n, d)), M)
    # nothing else is touched: neither the padding nor what is around
    assert np.all(out[:o] == 7)
    assert np.all(out[o + size :] == 7)
    assert np.count_nonzero(out[o : o + size]) == np.count_nonzero(M)


@both
def test_aligned_starts_at_a_cache_line(dtype):
    for size in (1, 7, 64, 1000):
        out = products.aligned(size, np.zeros(1, dtype))
        assert out.ctypes.data % lanes.WIDTH == 0
        assert out.shape == (size,)
        assert out.dtype == dtype
        assert not out.any()


@st.composite
def product_cases(draw):
    """Sizes, which rows are asked for, and where factors begin."""
    n = draw(st.one_of(st.integers(1, 70), st.sampled_from([1, 3, 4, 5, 33])))
    k = draw(st.one_of(st.integers(1, 70), st.sampled_from([1, 2, 3])))
    d = draw(st.one_of(st.integers(1, 140), st.sampled_from([1, 7, 8, 9, 16, 17, 24, 32, 33, 64, 65])))
    blocks = products.rows(n) // products.ROWS
    start = draw(st.integers(0, blocks - 1))
    stop = draw(st.integers(start + 1, blocks))
    return {
        "n": n, "k": k, "d": d, "start": 4 * start, "stop": 4 * stop,
        "first": draw(st.integers(0, 5)), "spare": draw(st.integers(0, 3)),
        "a": draw(st.integers(0, 9)), "fresh": draw(st.booleans()),
    }  # fmt: skip


def product(A, B, C, start, stop, first, spare, a, fresh):
    """Run the kernel among numbers it must not touch, and return C after it."""
    (height, k), d, dtype = A.shape, B.shape[1], A.dtype
    left = np.full(a + (stop - start) * (k + spare) + 1, np.nan, dtype)
    rows = left[a : a + (stop - start) * (k + spare)].reshape(stop - start, k + spare)
    rows[:, :k] = A[start:stop]
    above, below = np.full((first, d), np.nan, dtype), np.full((spare, d), np.nan, dtype)
    count = first + k + spare
    right = flat(3 + count * products.columns(d, B.itemsize), dtype)
    products.pack(np.concatenate([above, B, below]), count, right, 3)
    size = height * products.columns(d, B.itemsize)
    out = flat(2 + size + 1, dtype)
    products.pack(C, height, out, 2)
    out[:2] = out[2 + size :] = 7.0
    products.add_product(left, a, k + spare, right, 3, count, first, out, 2, height, start, stop, k, d, fresh)
    assert np.all(out[:2] == 7)
    assert np.all(out[2 + size :] == 7)
    # padding stays zero, or the next product would be wrong
    assert np.count_nonzero(out[2 : 2 + size]) <= height * d
    return unpacked(out, 2, height, (height, d))


def check_product(case, dtype, seed):
    rng = np.random.default_rng(seed)
    case = dict(case)
    n, k, d = (case.pop(name) for name in "nkd")
    height, start, stop = products.rows(n), case["start"], case["stop"]
    asked = np.arange(height)
    asked = (asked >= start) & (asked < stop)
    # small integers have no rounding: every wrong or missing term shows
    A, B, C = (rng.integers(-9, 10, size=s).astype(dtype) for s in ((height, k), (k, d), (height, d)))
    found = product(A, B, C, **case)
    np.testing.assert_array_equal(found[asked], (A @ B + (0 if case["fresh"] else C))[asked])
    np.testing.assert_array_equal(found[~asked], C[~asked])
    # k products and sums in some order, each rounded at most once
    A, B, C = (rng.normal(size=x.shape).astype(dtype) for x in (A, B, C))
    found = product(A, B, C, **case)
    a, b, c = (x.astype("float64") for x in (A, B, 0 * C if case["fresh"] else C))
    error = np.abs(found - (a @ b + c))[asked]
    # float64 has no better reference than NumPy, which rounds as often
    often = 2 if dtype == "float64" else 1
    assert np.all(error <= (often * gamma(k + 1, dtype) * (np.abs(a) @ np.abs(b) + np.abs(c)))[asked])


@both
@hypothesis.given(product_cases(), seeds)
@hypothesis.settings(max_examples=40)
def test_products_of_any_size(dtype, case, seed):
    check_product(case, dtype, seed)


@pytest.mark.full
@both
@hypothesis.given(product_cases(), seeds)
@hypothesis.settings(max_examples=20_000)
def test_products_of_any_size_full(dtype, case, seed):
    check_product(case, dtype, seed)


@nb.njit
def every_tile(wide, A, lda, B, C, width, count, k, fresh):
    if wide:
        products._wide(A, 0, lda, B, 0, C, 0, width, count, k, fresh)
    else:
        products._narrow(A, 0, lda, B, 0, C, 0, width, count, k, fresh)


@both
@pytest.mark.parametrize("lines", [1, 2, 3, 4])
def test_tiles_of_any_processor_give_the_same_bits(dtype, lines):
    """As many sums at a time as there are registers for, each in the same order."""
    rng = np.random.default_rng(lines)
    width = lines * width_of(dtype)
    for count, k, fresh in itertools.product((4, 8, 12, 16, 20, 28), (1, 2, 7, 32), (True, False)):
        A = rng.normal(size=count * (k + 1)).astype(dtype)
        B = flat(k * width, dtype)
        B[:] = rng.normal(size=B.size)
        begun = rng.normal(size=count * width).astype(dtype)
        wide, narrow = flat(begun.size, dtype), flat(begun.size, dtype)
        wide[:] = narrow[:] = begun
        every_tile(True, A, k + 1, B, wide, width, count, k, fresh)
        every_tile(False, A, k + 1, B, narrow, width, count, k, fresh)
        np.testing.assert_array_equal(wide, narrow)
        assert not np.array_equal(wide, begun)


@nb.njit
def every_panel(wide, A, rows, B, C, stride, terms, fresh):
    if wide:
        linear._wide(A, 0, terms, rows, B, 0, C, 0, stride, terms, fresh)
    else:
        linear._narrow(A, 0, terms, rows, B, 0, C, 0, stride, terms, fresh)


@both
def test_panels_of_any_processor_give_the_same_bits(dtype):
    rng = np.random.default_rng(5)
    stride = linear.PANEL * width_of(dtype)
    for rows, terms, fresh in itertools.product((1, 5, 6, 7, 8, 9, 17), (1, 3, 40), (True, False)):
        A, B = (rng.normal(size=size).astype(dtype) for size in (rows * terms, terms * stride))
        begun = rng.normal(size=rows * stride).astype(dtype)
        wide, narrow = begun.copy(), begun.copy()
        every_panel(True, A, rows, B, wide, stride, terms, fresh)
        every_panel(False, A, rows, B, narrow, stride, terms, fresh)
        np.testing.assert_array_equal(wide, narrow)
        whole = A.reshape(rows, terms).astype(float) @ B.reshape(terms, stride)
        whole += 0 if fresh else begun.reshape(rows, stride)
        size = terms * gamma(terms + 1, dtype) * 30
        np.testing.assert_allclose(wide.reshape(rows, stride), whole, rtol=0, atol=size)


@nb.njit
def products_of_rows(wide, X, stride, d, XT, height, out):
    for i in range(0, height, 8):
        for k in range(0, i + 1, 16):
            if wide:
                rowwise._wide_products(X, i, stride, d, XT, height, k, out, i * height)
            else:
                rowwise._narrow_products(X, i, stride, d, XT, height, k, out, i * height)


def test_products_of_rows_are_the_same_bits_on_any_processor():
    rng = np.random.default_rng(3)
    for n, d in ((16, 16), (48, 32)):
        X = rng.normal(size=(n, d))
        wide, narrow = flat(n * n, "float64"), flat(n * n, "float64")
        products_of_rows(True, X.ravel(), d, d, X.T.ravel(), n, wide)
        products_of_rows(False, X.ravel(), d, d, X.T.ravel(), n, narrow)
        np.testing.assert_array_equal(wide, narrow)
        below = np.tril(np.ones((n, n), dtype=bool))
        np.testing.assert_allclose(wide.reshape(n, n)[below], (X @ X.T)[below], rtol=0, atol=1e-13 * d)


# --- a layer -----------------------------------------------------------------------------------


def test_small_functions():
    values = [-1e9, -70.0, -3.5, 0.0, 0.25, 61.0, 1e6]
    for x in values:
        for y in values:
            assert layer.add_log2(x, y) == pytest.approx(np.logaddexp2(x, y), rel=1e-15, abs=1e-15)
    assert layer.add_log2(layer.ABSENT, layer.ABSENT) < layer.ABSENT / 2
    assert layer.add_log2(layer.ABSENT, 3.0) == 3.0
    for e in (-1074, -1022, -3, 0, 5, 1023):
        assert layer.power_of_two(float(e)) == np.ldexp(1.0, e)
    assert layer.power_of_two(layer.ABSENT) == 0
    assert layer.power_of_two(-1e6) == 0


class Parts:
    """One system placed where the kernels want it."""

    def __init__(self, x, A, H, compressed, rounding=None):
        (heads, n, _), d, dtype = A.shape, H.shape[-1], x.dtype
        self.dtype, self.heads, self.compressed = dtype, heads, compressed
        rounding = 2 * np.sqrt(n + d) * eps_of(dtype) if rounding is None else rounding
        self.lay = lay = layer.layout(n, d, compressed, x.itemsize)
        self.base, self.stride = layer.places(d, lay.height, x.itemsize)
        self.generic = np.random.default_rng(0).standard_normal((n + 1, max(n, d)))
        self.Y, self.T = flat(lay.stored, dtype), flat(heads * lay.stored, dtype)
        self.ledger = np.zeros(layer.LEDGER)
        self.ledger[layer.FEED] = -3.0
        self.left, self.right = (
            flat(heads * lay.probe * n, dtype),
            flat(heads * d * products.columns(d, x.itemsize), dtype),
        )
        self.small = flat(heads * products.rows(lay.m) * max(lay.m, 1), dtype)
        where = (lay, self.base, self.stride)
        layer.place_input(_kernels.frozen(x), self.generic, compressed, rounding, *where, self.Y, self.ledger)
        for h in range(heads):
            layer.place_attention(
                _kernels.frozen(A[h]), self.generic, compressed, True, lay, self.left, self.small, h
            )
            layer.place_weights(_kernels.frozen(H[h]), lay, self.right, h)

    def apply(self, bands=None):
        """Return the state after one layer, not finished; bands None: in place."""
        arguments = (self.lay, self.base, self.stride, self.heads, self.left, self.small, self.right)
        arguments = (*arguments, np.ones(self.heads), flat(0, self.dtype))  # rows of A sum to 1
        if bands is None:
            new = flat(self.Y.size, self.dtype)
            new[:] = self.Y
            layer.apply_layer(*arguments, new, self.T, new, True, 0, self.lay.height)
            return new
        new = flat(self.Y.size, self.dtype, 9.0)
        for start, stop in bands:
            layer.apply_layer(*arguments, self.Y, self.T, new, False, start, stop)
        return new

    def finish(self, Y, coupled):
        layer.finish_layer(self.lay, self.base, self.stride, self.compressed, coupled, Y, self.ledger)

    def matrix(self, Y=None):
        return unpacked(self.Y if Y is None else Y, 0, self.lay.height, (self.lay.height, self.lay.d))

    def state(self, Y=None):
        """Rest and mean row as they count, in float64."""
        M = self.matrix(Y).astype("float64")
        rest, mean = (max(int(self.ledger[k]), -5000) for k in (layer.E_REST, layer.E_MEAN))
        return np.ldexp(M[: self.lay.n], rest), np.ldexp(M[self.lay.mean], mean)


@st.composite
def layer_cases(draw):
    rng = np.random.default_rng(draw(seeds))
    n, d = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    heads = draw(st.integers(1, 3))
    A = rng.uniform(0, 1, (heads, n, n)) ** 4 + 1e-3
    if draw(st.booleans()):
        A = np.broadcast_to(np.array([np.roll(A[0, 0], k) for k in range(n)]), A.shape)
    A = A / A.sum(axis=-1, keepdims=True)
    H = rng.normal(size=(heads, d, d)) / np.sqrt(d)
    x = rng.normal(size=(n, d)) + 3 * rng.normal(size=(1, d))
    return x * 2.0 ** draw(st.integers(-40, 40)), A, H, heads == 1 and draw(st.booleans())


@both
@hypothesis.given(layer_cases(), st.lists(st.integers(1, 20), max_size=3))
@hypothesis.settings(max_examples=60)
def test_a_layer_and_its_bands(dtype, case, cuts):
    x, A, H, compressed = (M.astype(dtype) if isinstance(M, np.ndarray) else M for M in case)
    parts, (n, d) = Parts(x, A, H, compressed), x.shape
    x, A, H = (M.astype("float64") for M in (x, A, H))
    rest, mean = parts.state()
    size = np.max(np.abs(x), axis=0)
    cutting = gamma(2 * n + 4, dtype) * 2 * size
    assert np.all(np.abs(rest + mean - x) <= cutting)
    assert np.all(np.abs(rest.mean(axis=0)) <= cutting)

    whole = parts.apply()
    edges = sorted({0, parts.lay.height, *(min(4 * k, parts.lay.height) for k in cuts)})
    bands = parts.apply(list(itertools.pairwise(edges))[::-1])
    np.testing.assert_array_equal(whole, bands)  # to the last bit, however the rows are cut

    columns_sum_to_one = np.max(np.abs(A.sum(axis=1) - 1)) < 1e-3
    parts.finish(whole, not columns_sum_to_one)
    expected = x + sum(a @ x @ h for a, h in zip(A, H, strict=True))
    # n + d products for each head, then the mean of n: all of the largest token that there may be
    most = size + sum(np.max(a @ np.abs(x) @ np.abs(h), axis=0) for a, h in zip(A, H, strict=True))
    most = most + size @ sum(np.abs(h) for h in H)
    bound = 2 * gamma(len(A) * (n + d + 2) + 4 * n + 8, dtype) * 2 * most
    new_rest, new_mean = parts.state(whole)
    assert np.all(np.abs(new_rest + new_mean - expected) <= bound)
    assert np.all(np.abs(new_mean - expected.mean(axis=0)) <= bound)
    # the probe is a state under the same layers
    before, after = parts.matrix().astype("float64"), parts.matrix(whole).astype("float64")
    row = parts.lay.probe_mean
    off = np.abs(after[row] - before[row] - sum(before[row] @ h for h in H))
    assert np.all(
        off <= 2 * gamma(len(A) * d + 2, dtype) * (np.abs(before[row]) @ (1 + sum(np.abs(h) for h in H)))
    )
    # what lies between the parts stays empty
    empty = [*range(n, parts.lay.probe), *range(row + 1, parts.lay.height)]
    assert not after[empty].any()


@both
@hypothesis.given(layer_cases(), st.booleans())
def test_rescaling_is_exact(dtype, case, coupled):
    x, A, H, compressed = (M.astype(dtype) if isinstance(M, np.ndarray) else M for M in case)
    parts = Parts(x, A, H, compressed)
    where = (parts.lay, parts.base, parts.stride)
    rounding, old, start = 2.0**-20, parts.ledger.copy(), parts.matrix()
    Y = parts.apply()
    parts.finish(Y, coupled)
    parts.ledger[layer.GAIN] = 3.0
    layer.settle(*where, coupled, 1, np.log2(rounding), Y, parts.ledger)
    end = parts.matrix(Y)
    n, probe = parts.lay.n, slice(parts.lay.probe, parts.lay.probe + parts.lay.m)
    # noise grows as the probe does; a layer adds its own, of terms larger by GAIN than the state, which the
    # next layer may enlarge likewise where the probe no longer grows; it feeds that of the rest into the mean
    noise, gain = [], 3.0
    for part, size, rows in (
        (layer.NOISE_REST, layer.SIZE_REST, probe),
        (layer.NOISE_MEAN, layer.SIZE_MEAN, parts.lay.probe_mean),
    ):
        had, has = (np.linalg.norm(M[rows].astype("float64")) for M in (start, end))
        pace = np.log2(has / had) if had > 1e-10 else 0.0
        added = np.log2(rounding) + gain + max(gain - pace - 2, 0.0) + old[size]
        noise.append(np.logaddexp2(pace + old[part], added))
    if n > 1 and np.linalg.norm(start[probe]) > 1e-10:
        assert parts.ledger[layer.NOISE_REST] == pytest.approx(noise[0], abs=1e-3)
    if coupled:
        noise[1] = np.logaddexp2(noise[1], old[layer.NOISE_REST] + parts.ledger[layer.FEED])
    assert parts.ledger[layer.NOISE_MEAN] == pytest.approx(noise[1], abs=1e-3)
    before, (high, low) = parts.state(Y), parts.ledger[[layer.HIGH, layer.LOW]]
    rest = np.linalg.norm(before[0])
    if rest > 0:
        assert parts.ledger[layer.SIZE_REST] == pytest.approx(np.log2(rest), abs=1e-5)
    assert parts.ledger[layer.SIZE_MEAN] == pytest.approx(np.log2(np.linalg.norm(before[1])), abs=1e-5)
    layer.rescale(*where, coupled, Y, parts.ledger)
    for found, expected in zip(parts.state(Y), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    M = parts.matrix(Y).astype("float64")
    if rest > 0:
        assert 1 - 1e-5 <= np.linalg.norm(M[: parts.lay.n]) < 2 + 1e-5
        assert parts.ledger[layer.HIGH] == pytest.approx(np.sum(M[: parts.lay.n] ** 2), rel=1e-5)
        assert high > 0
    assert parts.ledger[layer.LOW] == pytest.approx(np.sum(M[parts.lay.mean] ** 2), rel=1e-5)
    assert low > 0


@both
@pytest.mark.parametrize("mixing", [1.0, 1e-3, 1e-6])
@hypothesis.given(st.integers(2, layer.PROBE + 1), seeds)
@hypothesis.settings(max_examples=20)
def test_the_compressed_probe_keeps_the_spectrum(dtype, mixing, n, seed):
    """Nothing is lost of few tokens, nor does the basis tilt where A hardly mixes them."""
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.1, 1, (n, n))
    A = A + A.T
    for _ in range(400):
        A = A / A.sum(axis=1, keepdims=True)
        A = (A + A.T) / 2
    A = ((1 - mixing) * np.eye(n) + mixing * A).astype(dtype).astype("float64")
    parts = Parts(
        rng.normal(size=(n, 2)).astype(dtype), A[None].astype(dtype), np.eye(2, dtype=dtype)[None], True
    )
    m = parts.lay.m
    assert m == n - 1
    found = np.linalg.eigvals(parts.small[: m * m].reshape(m, m).astype("float64"))
    expected = np.sort(np.linalg.eigvalsh(A))[:-1]
    np.testing.assert_allclose(np.sort(found.real), expected, rtol=0, atol=100 * n * eps_of(dtype))


@both
@pytest.mark.parametrize("kind", ["identity", "uniform", "two values"])
def test_the_compressed_probe_of_few_eigenvalues(dtype, kind):
    """The Krylov space is complete after a vector or two; generic ones take over."""
    n = 12
    A = {
        "identity": np.eye(n),
        "uniform": np.full((n, n), 1 / n),
        "two values": 0.5 * np.eye(n) + 0.5 / n,
    }[kind]
    parts = Parts(
        np.random.default_rng(0).normal(size=(n, 2)).astype(dtype), A[None].astype(dtype),
        np.eye(2, dtype=dtype)[None], True,
    )  # fmt: skip
    m = parts.lay.m
    found = np.linalg.eigvals(parts.small[: m * m].reshape(m, m).astype("float64"))
    value = {"identity": 1.0, "uniform": 0.0, "two values": 0.5}[kind]
    np.testing.assert_allclose(
        np.max(np.abs(found)), value, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13
    )


def test_the_compressed_probe_sees_how_fast_a_large_system_grows():
    rng = np.random.default_rng(3)
    near = np.exp(-0.5 * np.abs(np.subtract.outer(np.arange(60), np.arange(60))))
    A = near / near.sum(axis=1, keepdims=True)
    parts = Parts(rng.normal(size=(60, 2)), A[None], np.eye(2)[None], True)
    m = parts.lay.m
    found = np.max(np.abs(np.linalg.eigvals(parts.small[: m * m].reshape(m, m))))
    expected = np.sort(np.abs(np.linalg.eigvals(A)))[-2]
    assert 0.99 * expected <= found <= 1.001 * expected


@hypothesis.given(layer_cases())
@hypothesis.settings(max_examples=20)
def test_feed(case):
    _, A, H, _ = case
    mean_row = A[0].mean(axis=0) - 1 / len(A[0])
    expected = np.linalg.norm(mean_row) * np.linalg.norm(H[0])
    found = drive.feed(_kernels.frozen(A[0]), _kernels.frozen(H[0]), 1.0)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-14 * np.linalg.norm(H[0]))


# --- singular values ---------------------------------------------------------------------------

# A reflection moves the matrix by a few eps |X|; the errors of the 2 min(n, d) of them, and of as many
# deflations, add up like roots.
C = 8


def singular_bound(n, d, dtype, top):
    return C * np.sqrt(n + d) * eps_of(dtype) * top


def truth(X):
    """Singular values (b, min(n, d)) by Jacobi rotations.

    LAPACK's usual ways are no reference: its SVD drops couplings below 90 eps, its
    eigenvalues lose what is far smaller than the rest.
    """
    X = X.astype("float64")
    out = np.zeros((X.shape[0], min(X.shape[1:])))
    for k, x in enumerate(X):
        if x.any():
            tall = x if len(x) >= len(x.T) else x.T
            s, _, _, scale, _, failed = dgejsv(tall, joba=0, jobu=3, jobv=3, jobr=0, jobt=0, jobp=0)
            assert failed == 0
            out[k] = s * (scale[0] / scale[1])
    return out


def orthogonal(rng, n, k):
    return np.linalg.qr(rng.normal(size=(n, k)))[0]


def ordinary(rng, n, d):
    return rng.normal(size=(n, d))


def graded(rng, n, d):
    m = min(n, d)
    s = np.geomspace(1, 10.0 ** -rng.integers(1, 300), m)
    return orthogonal(rng, n, m) * s @ orthogonal(rng, d, m).T


def deficient(rng, n, d):
    r = rng.integers(0, min(n, d) + 1)
    return rng.normal(size=(n, r)) @ rng.normal(size=(r, d))


def equal(rng, n, d):
    m = min(n, d)
    s = rng.choice([1.0, 1e-5, 1e-8, 1e-16, 0.0], size=m)
    return orthogonal(rng, n, m) * s @ orthogonal(rng, d, m).T


def integers(rng, n, d):
    return rng.integers(-1, 2, size=(n, d)).astype(float)


def one_entry(rng, n, d):
    X = np.zeros((n, d))
    X[rng.integers(n), rng.integers(d)] = rng.normal()
    return X


def diagonal(rng, n, d):
    X = np.zeros((n, d))
    np.fill_diagonal(X, rng.normal(size=min(n, d)) * rng.choice([0, 1, 1e-9], size=min(n, d)))
    return X


def sparse(rng, n, d):
    return rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.2)


def far_rows(rng, n, d):
    return rng.normal(size=(n, d)) * 10.0 ** rng.integers(-150, 150, size=(n, 1))


def far_columns(rng, n, d):
    return rng.normal(size=(n, d)) * 10.0 ** rng.integers(-150, 150, size=(1, d))


def alike(rng, n, d):
    return rng.normal(size=(1, d)) + 10.0 ** -rng.integers(0, 20) * rng.normal(size=(n, d))


def coupled(rng, n, d):
    """Equal numbers coupled so weakly that what is deflated too early is wrong by the root of eps."""
    return np.eye(n, d) + rng.choice([1e-2, 1e-4, 1e-8, 1.0, 2.0]) * np.eye(n, d, k=1)


def empty(rng, n, d):
    X = rng.normal(size=(n, d)) * (rng.random((n, 1)) < 0.5) * (rng.random((1, d)) < 0.7)
    return X * rng.integers(0, 2)


def triangular(rng, n, d):
    return np.eye(n, d) - np.triu(np.ones((n, d)), 1)  # Kahan's: its smallest value hides


FAMILIES = (
    ordinary, graded, deficient, equal, integers, one_entry, diagonal, sparse, far_rows, far_columns, alike,
    coupled, empty, triangular,
)  # fmt: skip
SCALES = {"float64": (1.0, 1e-300, 1e300, 3e-7), "float32": (1.0, 1e-36, 1e36, 3e-7)}


def drawn(seed, n, d, b, dtype):
    """A stack of matrices of any kind whose largest entries are about 1, and a scale for each."""
    rng = np.random.default_rng(seed)
    X = np.stack([FAMILIES[rng.integers(len(FAMILIES))](rng, n, d) for _ in range(b)])
    top = np.max(np.abs(X), axis=(1, 2), keepdims=True)
    X = (X / np.where(top > 0, top, 1)).astype(dtype)
    scale = rng.choice(SCALES[dtype], size=(b, 1, 1)).astype(dtype)
    with np.errstate(under="ignore"):
        return X, scale, X * scale


def check_singular_values(seed, n, d, b, dtype):
    X, scale, scaled = drawn(seed, n, d, b, dtype)
    found, redone = _kernels.singular_values(scaled)
    assert 0 <= redone <= b
    assert found.dtype == dtype
    assert found.shape == (b, min(n, d))
    assert np.all(np.diff(found, axis=-1) <= 0)
    assert np.all(found >= 0)
    true = truth(X)
    # a matrix near the end of the range has lost digits when it was scaled: as many as its entries
    error = np.abs(found.astype("float64") / scale[:, 0].astype("float64") - true)
    lost = float(np.finfo(dtype).smallest_subnormal) / scale[:, 0].astype("float64")
    assert np.all(error <= singular_bound(n, d, dtype, true[:, :1]) + lost * np.sqrt(n * d))
    zero = ~X.any(axis=(1, 2))
    assert not found[zero].any()


shapes = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([(1, 1), (1, 9), (9, 1), (2, 70), (70, 2), (33, 17), (17, 33)]),
)


@both
@hypothesis.given(seeds, shapes, st.integers(1, 40))
@hypothesis.settings(max_examples=80)
def test_singular_values_of_any_matrix(dtype, seed, shape, b):
    check_singular_values(seed, *shape, b, dtype)


@pytest.mark.full
@both
@hypothesis.given(seeds, st.tuples(st.integers(1, 120), st.integers(1, 120)), st.integers(1, 40))
@hypothesis.settings(max_examples=3000)
def test_singular_values_of_any_matrix_full(dtype, seed, shape, b):
    check_singular_values(seed, *shape, b, dtype)


@both
@pytest.mark.parametrize("coupling", [1e-3, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("size", [2, 4, 5, 12])
def test_equal_values_coupled_weakly(dtype, coupling, size):
    """A squared coupling below eps moves equal singular values by the coupling itself."""
    X = (np.eye(size) + coupling * np.eye(size, k=1)).astype(dtype)
    found, _ = _kernels.singular_values(X[None])
    true = truth(X[None])[0]
    assert np.all(np.abs(found[0] - true) <= singular_bound(size, size, dtype, true[0]))


@both
@hypothesis.given(seeds, shapes, st.integers(2, 40))
@hypothesis.settings(max_examples=60)
def test_the_others_in_a_batch_change_no_bit(dtype, seed, shape, b):
    X, _, _ = drawn(seed, *shape, b, dtype)
    together, _ = _kernels.singular_values(X)
    rng = np.random.default_rng(seed)
    order = rng.permutation(b)
    np.testing.assert_array_equal(_kernels.singular_values(X[order])[0], together[order])
    for k in rng.integers(b, size=3):
        np.testing.assert_array_equal(_kernels.singular_values(X[k : k + 1])[0][0], together[k])
        # another company of a length that puts the last tile to a different use
        few = X[k : k + 1 + rng.integers(20)]
        np.testing.assert_array_equal(_kernels.singular_values(few)[0][0], together[k])


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_matrix_that_is_not_finite_is_alone(dtype, bad):
    X, _, _ = drawn(5, 9, 6, 33, dtype)
    expected, redone = _kernels.singular_values(X)
    spoilt = X.copy()
    spoilt[[0, 7, 16, 32], [0, 3, 8, 2], [0, 5, 1, 2]] = bad
    found, count = _kernels.singular_values(spoilt)
    gone = np.isin(np.arange(33), [0, 7, 16, 32])
    assert np.all(np.isnan(found[gone]))
    np.testing.assert_array_equal(found[~gone], expected[~gone])
    assert redone <= count <= redone + 4


@both
def test_strange_memory(dtype):
    """Read-only, not contiguous, transposed, empty: the values are those of the numbers."""
    X, _, _ = drawn(6, 7, 12, 20, dtype)
    expected, _ = _kernels.singular_values(X)
    readonly = X.copy()
    readonly.flags.writeable = False
    spread = np.zeros((20, 14, 24), dtype)
    spread[:, ::2, ::2] = X
    for other in (readonly, spread[:, ::2, ::2], np.asfortranarray(X)):
        np.testing.assert_array_equal(_kernels.singular_values(other)[0], expected)
    reverse, _ = _kernels.singular_values(np.swapaxes(X, 1, 2))
    assert np.all(np.abs(reverse - expected) <= 2 * singular_bound(7, 12, dtype, expected[:, :1]))
    assert _kernels.singular_values(X[:0])[0].shape == (0, 7)


@both
@pytest.mark.parametrize("shape", [(300, 3), (3, 300), (256, 2), (2, 256), (257, 2)])
def test_long_matrices_whichever_way(dtype, shape):
    X, _, _ = drawn(7, *shape, 5, dtype)
    found, _ = _kernels.singular_values(X)
    true = truth(X)
    assert np.all(np.abs(found - true) <= singular_bound(*shape, dtype, true[:, :1]))


@both
def test_what_did_not_converge_is_done_by_lapack(dtype, monkeypatch):
    X, _, scaled = drawn(8, 6, 6, 40, dtype)
    expected, _ = _kernels.singular_values(scaled)
    found_by_kernel = walk.tile_values
    asked = []

    def fails(x, first, last, out):
        found_by_kernel(x, first, last, out)
        out[[3, 17, 39]] = np.nan

    def lapack(x):
        asked.append(x.copy())
        return by_lapack(x)

    by_lapack = _kernels._by_lapack
    monkeypatch.setattr(walk, "tile_values", fails)
    monkeypatch.setattr(_kernels, "_by_lapack", lapack)
    found, redone = _kernels.singular_values(scaled)
    assert redone >= 3
    assert sum(len(x) for x in asked) == redone
    for k in (3, 17, 39):
        assert any(np.array_equal(x / np.max(np.abs(x)), X[k] / np.max(np.abs(X[k]))) for x in asked[0])
    n, d = X.shape[1:]
    assert np.all(np.abs(found - expected) <= 2 * singular_bound(n, d, dtype, expected[:, :1]))
    others = ~np.isin(np.arange(40), [3, 17, 39])
    np.testing.assert_array_equal(found[others], expected[others])


@both
def test_without_numba_lapack_does_all(dtype, monkeypatch):
    _, _, scaled = drawn(9, 6, 9, 40, dtype)
    expected, _ = _kernels.singular_values(scaled)
    monkeypatch.setattr(_kernels, "usable", lambda: False)
    monkeypatch.delattr(walk, "tile_values")
    found, redone = _kernels.singular_values(scaled)
    assert redone == 0
    assert found.dtype == dtype
    assert np.all(np.abs(found - expected) <= 2 * singular_bound(6, 9, dtype, expected[:, :1]))


# the two steps by themselves


def tiled(X):
    """Matrices (w, n, d), n >= d, interleaved."""
    return np.ascontiguousarray(np.moveaxis(X, 0, -1)).reshape(-1)


@both
@hypothesis.given(seeds, st.integers(1, 30), st.integers(0, 12))
@hypothesis.settings(max_examples=60)
def test_bidiagonal_matrices_keep_the_singular_values(dtype, seed, d, more):
    n, w = d + more, width_of(dtype)
    X, _, _ = drawn(seed, n, d, 2 * w, dtype)
    q, e = flat(2 * max(d, 2) * w, dtype), flat(2 * max(d, 2) * w, dtype)
    work = flat(singular.tile_work(n, d) * w, dtype)
    for half in range(2):
        tile = flat(n * d * w, dtype)
        tile[:] = tiled(X[half * w : (half + 1) * w])
        singular.bidiagonalise(tile, n, d, q, e, half, work)
    q, e = (x.reshape(-1, 2 * w).T.astype("float64") for x in (q, e))
    B = np.zeros((2 * w, d, d))
    at = np.arange(d)
    B[:, at, at] = q[:, :d]
    B[:, at[:-1], at[1:]] = e[:, : d - 1]
    assert np.all(B >= 0)
    Xd = X.astype("float64")
    bound = singular_bound(n, d, dtype, np.linalg.norm(Xd, axis=(1, 2)))
    assert np.all(np.abs(np.linalg.norm(B, axis=(1, 2)) - np.linalg.norm(Xd, axis=(1, 2))) <= bound)
    found, true = (truth(M) for M in (B, Xd))
    assert np.all(np.abs(found - true) <= singular_bound(n, d, dtype, true[:, :1]))


def bidiagonals(seed, d, dtype):
    rng, shape = np.random.default_rng(seed), (d, 2 * width_of(dtype))
    q = np.abs(rng.normal(size=shape)) * rng.choice([1.0, 1.0, 1e-3, 1e-12, 0.0], size=shape)
    e = np.abs(rng.normal(size=shape)) * rng.choice([1.0, 1.0, 1e-4, 1e-10, 0.0], size=shape)
    same = rng.random(shape[1]) < 0.3
    q[:, same] = 1.0
    e[:, same] = 10.0 ** -rng.integers(0, 17, size=np.count_nonzero(same))
    return q.astype(dtype), e.astype(dtype)


@both
@hypothesis.given(seeds, st.integers(1, 30))
@hypothesis.settings(max_examples=100)
def test_squares_of_singular_values_of_bidiagonal_matrices(dtype, seed, d):
    q, e = bidiagonals(seed, d, dtype)
    many = q.shape[1]

    def run(q, e):
        out, work = flat(d * many, dtype), flat(4 * d * many, dtype)
        a, b = flat(max(d, 2) * many, dtype), flat(max(d, 2) * many, dtype)
        a[: d * many], b[: d * many] = q.reshape(-1), e.reshape(-1)
        done = singular.squares(a, b, d, out, work)
        return out.reshape(d, many), done

    squared, done = run(q, e)
    lost = np.isnan(squared).any(axis=0)
    assert done == (not lost.any())
    assert np.all(np.isnan(squared[:, lost]))
    assert np.count_nonzero(lost) <= many // 2
    at = np.arange(d)
    B = np.zeros((many, d, d))
    B[:, at, at] = q.T
    B[:, at[:-1], at[1:]] = e.T[:, : d - 1]
    true = truth(B)[~lost]
    assert np.all(squared[:, ~lost] >= 0)
    found = -np.sort(-np.sqrt(squared[:, ~lost].T.astype("float64")), axis=-1)
    # sums are kept from 0 by d times this much
    far, tiny = (1e-60, 1e-290) if dtype == "float64" else (1e-24, 1e-30)
    added = np.sqrt(d * (far * np.sum(true**2, axis=-1, keepdims=True) + tiny))
    assert np.all(np.abs(found - true) <= singular_bound(d, d, dtype, true[:, :1]) + added)
    # a lane does not see its neighbours
    order = np.random.default_rng(0).permutation(many)
    np.testing.assert_array_equal(run(q[:, order], e[:, order])[0], squared[:, order])


@both
def test_lanes_that_fail_are_nan_and_the_others_are_not(dtype):
    many = 2 * width_of(dtype)
    q, e = flat(4 * many, dtype, 1.0), flat(4 * many, dtype, 0.5)
    q[2] = np.nan
    out, work = flat(4 * many, dtype), flat(16 * many, dtype)
    assert not singular.squares(q, e, 4, out, work)
    gone = np.isnan(out.reshape(4, many)).any(axis=0)
    np.testing.assert_array_equal(np.flatnonzero(gone), [2])


@both
@pytest.mark.parametrize("d", [1, 2, 30, 101, 256])
def test_zero_matrices_have_no_value_at_all(dtype, d):
    """Whatever keeps the sums of the method from 0 shows nowhere, in the largest matrices either."""
    X = np.zeros((5, d, d), dtype)
    X[3] = np.eye(d)
    found, redone = _kernels.singular_values(X)
    assert not found[[0, 1, 2, 4]].any()
    np.testing.assert_allclose(found[3], 1, rtol=8 * eps_of(dtype))
    assert redone == 0


@both
@hypothesis.given(seeds, st.integers(1, 20), st.integers(1, 20), st.integers(0, 3), st.data())
@hypothesis.settings(max_examples=40)
def test_a_tile_of_states_becomes_ranks(dtype, seed, n, d, spare, data):
    """Ranks of staged states, off by as much as noise moves them; states that are lost stay as they were."""
    w = width_of(dtype)
    filled = data.draw(st.integers(1, 2 * w))
    rng = np.random.default_rng(seed)
    X, _, _ = drawn(seed, n, d, filled, dtype)
    X[~X.any(axis=(1, 2)), 0, 0] = 1
    lost_lanes = rng.random(filled) < 0.2
    i, j = rng.integers(n, size=filled), rng.integers(d, size=filled)
    X[lost_lanes, i[lost_lanes], j[lost_lanes]] = np.nan
    held = n * products.columns(d, X.itemsize) + w
    stage = flat(2 * held * w, dtype, np.nan)
    for k in range(filled):
        part = flat(held - w, dtype)
        products.pack(X[k], n, part, 0)
        stage[k * held : (k + 1) * held - w] = part
    tall, wide = max(n, d), min(n, d)
    tile = flat(tall * wide * w, dtype)
    q, e = (flat(2 * max(wide, 2) * w, dtype) for _ in range(2))
    squared, work = flat(2 * wide * w, dtype), flat(singular.tile_work(tall, wide) * w, dtype)
    table = np.zeros((2 * w, 3))
    order, noise = rng.permutation(filled), 1e-4
    hidden = rng.random(filled) < 0.2
    table[:filled, 0], table[:filled, 1] = order % 5, order // 5
    table[:filled, 2] = np.where(hidden, 1.0 * tall * wide, noise)
    values, errors = (np.full((10, 5, 2 * w), -7.0) for _ in range(2))
    lost, counts = np.zeros((2, 3 + n * (d + spare))), np.zeros(1, np.int64)
    measure.flush(
        stage, held, tile, q, e, squared, work, n, d, d + spare, table, filled, np.arange(10), values,
        errors, lost, counts,
    )  # fmt: skip
    # some may not have converged, which is no error
    assert counts[0] >= np.count_nonzero(lost_lanes)
    for row in lost[: min(counts[0], 2)]:
        (k,) = np.flatnonzero((table[:filled, 0] == row[0]) & (table[:filled, 1] == row[1]))
        assert row[2] == table[k, 2]
        found = row[3:].reshape(n, d + spare)
        np.testing.assert_array_equal(found[:, :d], X[k])
        assert not found[:, d:].any()
    rank, stable = (_kernels.MEASURED.index(name) for name in ("effective_rank", "stable_rank"))
    others = np.delete(np.arange(10), [rank, stable])
    assert np.all(values[others] == -7)
    assert np.all(errors[others] == -7)
    written = 0
    for k in range(filled):
        at = int(table[k, 0]), int(table[k, 1])
        if values[(rank, *at)] == -7:
            assert values[(stable, *at)] == errors[(rank, *at)] == errors[(stable, *at)] == -7
            continue
        written += 1
        assert not lost_lanes[k]
        s = truth(X[k : k + 1])[0]
        p = s[s > 0] / s.sum()
        tolerance = singular_bound(n, d, dtype, 1.0) * wide * 40
        assert values[(rank, *at)] == pytest.approx(np.exp(-p @ np.log(p)), rel=tolerance)
        assert values[(stable, *at)] == pytest.approx(np.sum(s**2) / s[0] ** 2, rel=tolerance)
        off_rank, off_stable = errors[(rank, *at)], errors[(stable, *at)]
        if wide == 1:
            assert off_rank == off_stable == 0
        elif hidden[k]:  # nothing is known
            assert off_rank > wide - 1
            assert off_stable > wide - 1
        else:
            E = rng.normal(size=X[k].shape)
            moved = np.linalg.svd(X[k] + noise * E / np.linalg.norm(E), compute_uv=False)
            p = moved / moved.sum()
            assert abs(np.exp(-p @ np.log(p)) - values[(rank, *at)]) <= 3 * off_rank + tolerance * wide
            stable_then = np.sum(moved**2) / moved[0] ** 2
            assert abs(stable_then - values[(stable, *at)]) <= 3 * off_stable + tolerance * wide
            assert off_stable <= 4 * noise * wide
    assert written == filled - counts[0]
