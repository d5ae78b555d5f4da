"""Products of large blocks: in panels and by BLAS, in any pieces, once."""

from __future__ import annotations

import numpy as np
import pytest

from linsim import Block, _kernels, simulate, tokens
from linsim._engines import forward, forward_products
from linsim._engines.forward_pieces import Threads
from linsim._engines.forward_products import Factor, Product, worked_out
from linsim.attention import FromTokens

pytestmark = pytest.mark.skipif(_kernels.missing() is not None, reason="no kernels without Numba")

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


@pytest.fixture(params=[True, False], ids=["panels", "BLAS"])
def panels(request, monkeypatch):
    """Panels, or none."""
    if not request.param:
        monkeypatch.setattr(_kernels, "columns_of_panels", lambda dtype: 0)
    return request.param


def _product(rng, n, c, e, bias, threads):
    x, W = rng.standard_normal((1, 1, n, c)), rng.standard_normal((1, c, e))
    b = rng.standard_normal((1, 1, e)) if bias else None
    factors = Factor(W, DOUBLE, threads), Factor(W, SINGLE, threads)
    both = x, x.astype(np.float32)
    biases = None if b is None else (b, b.astype(np.float32))
    return x, W, b, Product(both, factors, biases)


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 5, 50), (197, 300, 24), (50, 520, 97)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_definitions(shape, bias, panels):
    """Each sum of c products, rounded c times: to c roundings of the sum of their sizes."""
    threads = Threads(1)
    x, W, b, product = _product(np.random.default_rng(0), *shape, bias, threads)
    assert (product.W[0].panels is not None) == panels
    wide = x.astype(np.longdouble)
    added = 0 if b is None else b
    expected, size = wide @ W + added, np.abs(x) @ np.abs(W) + np.abs(added)
    found = worked_out([product], threads)[0]
    for one, dtype in zip(found, (DOUBLE, SINGLE), strict=True):
        assert one.dtype == dtype
        assert one.shape == expected.shape
        assert (np.abs(one - expected) <= (shape[1] + 4) * np.finfo(dtype).eps * size).all()
    plain = Product(product.x, product.W, product.bias, gelu=True)
    for one, linear in zip(worked_out([plain], threads)[0], found, strict=True):
        rounding = float(np.finfo(one.dtype).eps)
        told = 40 * rounding * np.abs(linear) * (1 + np.minimum(linear, 0) ** 2)
        assert (np.abs(one - _kernels.gelu(np.ascontiguousarray(linear))) <= told).all()


def test_no_more_is_written_than_asked_for():
    """Rows 3 to 14 and the second panel of 60 columns."""
    from linsim._kernels.linear import linear

    threads, rng = Threads(1), np.random.default_rng(1)
    x, W = rng.standard_normal((20, 30)), rng.standard_normal((30, 60))
    factor = Factor.__new__(Factor)
    factor.dtype, factor.shape, factor.width, factor.stride = DOUBLE, W.shape, 24, 72
    factor._to_panels(_kernels.frozen(W), threads)
    out = np.full((20, 72), np.nan)
    linear(_kernels.frozen(x), factor.panels, np.empty(0), False, out, 3, 14, 1, 2)
    np.testing.assert_allclose(out[3:14, 24:48], x[3:14] @ W[:, 24:48], rtol=0, atol=1e-12)
    out[3:14, 24:48] = np.nan
    assert np.isnan(out).all()


@pytest.mark.parametrize(("n", "d"), [(60, 384), (400, 96)], ids=["columns", "rows"])
def test_pieces_change_no_bit(n, d, panels, monkeypatch):
    """Of many features columns are shared out, of many tokens rows: the same on one thread and on three."""
    rng = np.random.default_rng(2)
    sizes = {"up": (d, 2 * d), "down": (2 * d, d)}
    sizes |= dict.fromkeys(("query", "key", "value", "output"), (d, d))
    weights = {name: rng.standard_normal(size) / np.sqrt(size[0]) for name, size in sizes.items()}
    block = Block(FromTokens(), heads=2, norm="pre", feed_forward="gelu", **weights)
    monkeypatch.setattr(forward, "LARGE", 0)
    runs, pieces, real = [], set(), forward_products.cut
    monkeypatch.setattr(forward_products, "cut", lambda *asked: pieces.add(len(real(*asked))) or real(*asked))
    for threads in (1, 3):
        monkeypatch.setattr(forward, "workers", lambda threads=threads: threads)
        runs.append(simulate(block, tokens.gaussian(n, d, rng=3), 2, metrics="plain", method="forward"))
    assert 1 in pieces
    assert max(pieces) > 1
    for name, values in runs[0].metrics.items():
        np.testing.assert_array_equal(values, runs[1].metrics[name])
        np.testing.assert_array_equal(runs[0].errors[name], runs[1].errors[name])


def test_a_product_is_worked_out_once(monkeypatch):
    threads = Threads(1)
    *_, product = _product(np.random.default_rng(4), 6, 5, 4, True, threads)
    first = worked_out([product, product], threads)
    calls = []
    monkeypatch.setattr(Product, "work_out", lambda *args: calls.append(args))
    again = worked_out([product], threads)
    assert not calls
    assert all(x is y is z for x, y, z in zip(*first, again[0], strict=True))
    doubled = product.then(lambda y, which, piece: np.multiply(y, 2, out=y))
    worked_out([doubled], threads)
    assert len(calls) == 1
