"""What kernels do in one pass to states too large for a block, and that passes are as many as predicted."""

from __future__ import annotations

import numpy as np
import pytest

from linsim import Linear, MultiHead, attention, simulate
from linsim._cuda.large import lengths, moved, without_product
from linsim.bench import predicted

from . import emulated, pretended

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

B, N, D, COPIES = 3, 7, 5, 3


def drawn(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("heads", "b"), [(1, B), (1, 1), (2, B), (2, 1)])
def test_errors_are_moved_by_the_formula(card, dtype, heads, b):
    """``b``: of H, and of the state before the layer, which all systems may share."""
    errors, before, after = drawn(B, COPIES, N, D, dtype="float32"), drawn(b, N, D), drawn(B, N, D, seed=1)
    before, after = before.astype(dtype), after.astype(dtype)
    plain = np.abs(drawn(B, N, 1, dtype=dtype))
    turned = [np.abs(drawn(B, N, 1, dtype=dtype, seed=h)) for h in range(heads)]
    columns = [np.abs(drawn(b, 1, D, dtype=dtype, seed=h)) for h in range(heads)]
    patterns = [drawn(COPIES, N, D, dtype="float32", seed=k) for k in range(3)]
    keep, add = (2.0 ** drawn(B, COPIES, 1, 1, seed=k).astype(int).astype("float32") for k in (4, 5))
    size = np.sqrt(plain**2 + sum((t * c) ** 2 for t, c in zip(turned, columns, strict=True)))
    off = size[:, None] * (patterns[1] - patterns[0]) + (after - before)[:, None] * patterns[2]
    expected = errors * keep + off * add
    on = pretended.outer
    found = moved(
        *map(on, (errors.copy(), before, after, plain)), on(turned), on(columns), on(patterns), -1.0,
        on(keep), on(add),
    )  # fmt: skip
    np.testing.assert_allclose(found.get(), expected, rtol=0, atol=2e-6 * np.max(np.abs(expected)))
    assert [what for what, _ in card.launches] == [f"move_large_{dtype}"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lead", [(B,), (B, COPIES)])
def test_a_product_is_taken_off(card, dtype, lead):
    X, column, row = drawn(*lead, N, D), drawn(*[1] * len(lead), N, 1), drawn(*lead, 1, D)
    X, column, row = (x.astype(dtype) for x in (X, column, row))
    expected = X - column * row
    found = without_product(*map(pretended.outer, (X.copy(), column, row)))
    np.testing.assert_array_equal(found.get(), expected)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_have_lengths(card, dtype):
    X = drawn(B, COPIES, 5, 200, dtype=dtype)
    for order in (0, 1, 2):
        card.order = order
        found = lengths(pretended.outer(X)).get()
        np.testing.assert_allclose(found[..., 0], np.linalg.norm(X, axis=-1), rtol=4 * np.finfo(dtype).eps)


def rules():
    rng = np.random.default_rng(0)
    A, H = attention.softmax(N, 4, size=(2,), rng=rng), 0.4 * rng.standard_normal((2, D, D))
    return {
        "of each system": Linear(A, H),
        "shared": Linear(A[0], H[0]),
        "heads": MultiHead(A, H / 2),
        "a mode": Linear(A[0], np.diag([0.9, 0.3, 0.2, -0.1, -0.4])),
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", rules())
def test_runs_and_their_errors_are_those_of_whole_arrays(name, dtype):
    x0 = drawn(2, N, D)[0] if name == "heads" else drawn(2, N, D)
    options = {"method": "iterate", "backend": "cupy", "dtype": dtype, "resolution": 1e300}
    runs = []
    for compiles in (True, False):
        with pretended.gpu(compiles=compiles) as card:
            runs.append(simulate(rules()[name], x0, 20, layers=[0, 4, 20], **options))
            assert any(what.startswith("move_large") for what, _ in card.launches) == compiles
    found, expected = runs
    for metric, value in expected.metrics.items():
        both = found.errors[metric] + expected.errors[metric]
        assert np.all(np.abs(found.metrics[metric] - value) <= both + 16 * np.finfo(dtype).eps)
        known = expected.errors[metric] < 0.1
        np.testing.assert_allclose(found.errors[metric][known], expected.errors[metric][known], rtol=1e-2)


def test_a_kernel_that_forgets_half_of_it_is_told_apart():
    def forgetful(source):
        whole = "errors[place] * keep[copy]"
        assert source.count(whole) == 1
        return source.replace(whole, f"0 * {whole}")

    runs = []
    for change in (None, forgetful):
        with pretended.gpu(change=change):
            runs.append(simulate(rules()["shared"], drawn(N, D), 20, method="iterate", backend="cupy"))
    assert not np.allclose(runs[0].errors["log_norm"], runs[1].errors["log_norm"], rtol=1e-2, atol=0)


class Counted:
    """Calls that launch something, and bytes that those of arrays as large as a state read and write."""

    def __init__(self, patch, large):
        self.calls, self.bytes, self.large = 0, 0, large
        for name in f"{pretended._OPERATORS} {pretended._OTHERS}".split():
            method = f"__{name}__"
            patch.setattr(pretended.ndarray, method, self.counting(getattr(pretended.ndarray, method), name))
        plain, run = pretended.wrapped, pretended.RawKernel.__call__
        patch.setattr(pretended, "wrapped", lambda function: self.counting(plain(function), "function"))

        def launched(kernel, grid, block, args, **options):
            self.calls += 1
            self.bytes += sum(map(self.size, args)) + self.size(args[-1])  # the last is read and written
            return run(kernel, grid, block, args, **options)

        patch.setattr(pretended.RawKernel, "__call__", launched)

    def size(self, x):
        held = getattr(x, "held", x)
        return held.nbytes if isinstance(held, np.ndarray) and held.size >= self.large else 0

    def counting(self, function, name):
        def counted(*args, **kwargs):
            out = function(*args, **kwargs)
            arrays = [x.held for x in args if isinstance(x, pretended.ndarray)]
            view = not isinstance(out, pretended.ndarray) or any(
                np.shares_memory(out.held, x) for x in arrays
            )
            if not view:
                self.calls += 1
                if name not in ("matmul", "rmatmul"):
                    self.bytes += sum(map(self.size, args)) + self.size(out)
            return out

        return counted


def test_they_are_as_many_as_predicted():
    """What linsim.bench.predicted assumes of a layer in whole arrays, of the most that a cut asks for."""
    n, b = 24, 2
    rule = Linear(attention.softmax(n, 8, size=(b,), rng=0), drawn(b, n, n) / 10)
    counts = []
    for depth in (10, 40):
        with pytest.MonkeyPatch.context() as patch:
            counted = Counted(patch, b * n * n)
            with pretended.gpu():
                simulate(rule, drawn(b, n, n), depth, layers=[depth], method="iterate", backend="cupy",
                         metrics=["token_similarity", "log_rank_gap"], resolution=1e300)  # fmt: skip
            counts.append((counted.calls, counted.bytes))
    calls, traffic = (np.subtract(counts[1], counts[0]) / 30).tolist()
    assert 0.8 * predicted._CALLS < calls <= predicted._CALLS
    passes = traffic / (b * n * n * (8 + 3 * 4))
    assert 0.8 * predicted._PASSES < passes <= predicted._PASSES
