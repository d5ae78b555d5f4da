"""Large systems, which whole arrays take: what is asked of the device, and what waits for it."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import Layered, Linear, MultiHead, attention, simulate

from . import pretended
from .test_kernels import agree

N, D, B = 6, 4, 3


def rule(kind, depth):
    rng = np.random.default_rng(0)
    A, H = attention.softmax(N, 4, size=(B,), rng=rng), 0.4 * rng.standard_normal((B, D, D))
    return {
        "of each system": lambda: Linear(A, H),
        "shared": lambda: Linear(A[0], H[0]),
        "A shared": lambda: Linear(A[0], H),
        "heads": lambda: MultiHead(A[:2], H[:2] / 2),
        "a bias": lambda: Linear(A, H, bias=rng.standard_normal(D)),
        "layers": lambda: Layered([Linear(A[0], (0.5 + k / depth) * H[0]) for k in range(depth)]),
    }[kind]()


KINDS = ["of each system", "shared", "A shared", "heads", "a bias", "layers"]


def run(kind, depth):
    x0 = np.random.default_rng(1).standard_normal((B, N, D))
    return simulate(rule(kind, depth), x0, depth, backend="cupy", method="iterate")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_waits_for_a_layer(card, kind):
    """As many numbers come to the host for eight layers as for forty; arrays, in one transfer of results."""
    assert linsim._namespace.cupy_status() is None  # asked once, by an array that comes back
    counts = []
    for depth in (8, 40):
        card.to_host = card.scalars = 0
        run(kind, depth)
        counts.append((card.to_host, card.scalars))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("kind", KINDS)
def test_no_product_has_a_broadcast_batch_axis(card, kind, monkeypatch):
    """CuPy makes a table of pointers of such a product; one with a shared matrix is a large plain one."""
    axes, product = [], pretended.ndarray.__matmul__

    def seen(one, other):
        axes.append((one.shape[:-2], other.shape[:-2]))
        return product(one, other)

    monkeypatch.setattr(pretended.ndarray, "__matmul__", seen)
    run(kind, 8)
    assert len(axes) > 8
    assert [pair for pair in axes if pair[0] != pair[1]] == []


def cancelling(n=5, d=3):
    """Layers that all but cancel the state, again and again: it leaves single precision in no time."""
    rng = np.random.default_rng(3)
    A = np.eye(n) + 1e-13 * (attention.softmax(n, 3, rng=rng) - np.eye(n))
    return Linear(A, -np.eye(d) + 1e-13 * rng.standard_normal((d, d))), rng.standard_normal((n, d))


def test_where_a_layer_cancels_the_state_it_is_gone_through_again(card, monkeypatch):
    """What nobody had hoped for: then ranges are kept at each layer, as on a CPU."""
    rule, x0 = cancelling()
    walks = []
    begin = linsim._engines.steps.begin
    monkeypatch.setattr(
        linsim._engines.steps, "begin", lambda *given: walks.append(given[2]) or begin(*given)
    )
    options = {"method": "iterate", "resolution": 1e300}
    found = simulate(rule, x0, 6, backend="cupy", **options)
    assert walks[:2] == [True, False]
    monkeypatch.setattr(linsim._kernels, "usable", lambda: False)
    expected = simulate(rule, x0, 6, **options)
    agree(found, expected, "float64")


def test_a_plain_run_is_gone_through_once(card, monkeypatch):
    walks = []
    begin = linsim._engines.steps.begin
    monkeypatch.setattr(
        linsim._engines.steps, "begin", lambda *given: walks.append(given[2]) or begin(*given)
    )
    run("shared", 8)
    assert walks == [True]


def test_memory_cuts_systems(card):
    whole = run("of each system", 8)
    card.free, card.freed = 12_000, 0
    cut = run("of each system", 8)
    assert card.freed == B  # a piece for each system
    for name in whole.metrics:
        # of one system a product is another call of BLAS
        np.testing.assert_allclose(cut.metrics[name], whole.metrics[name], rtol=1e-11, atol=1e-12)


def test_memory_that_others_took_is_one_line(card, monkeypatch):
    def full(*_):
        raise pretended.OutOfMemoryError("Out of memory allocating 8,388,608 bytes.\nand more")

    monkeypatch.setattr(pretended.ndarray, "__matmul__", full)
    with pytest.raises(
        linsim.errors.BackendError, match="backend: found a GPU whose memory is full"
    ) as caught:
        run("shared", 8)
    assert "\n" not in str(caught.value)
    assert card.freed == 1
