"""What a system may have beside one head, and what may be asked of it: the kernel against NumPy arrays."""

from __future__ import annotations

import numpy as np
import pytest

from linsim import Layered, Linear, MultiHead, _kernels, attention, simulate
from linsim.metrics._registry import REGISTRY, needing
from linsim.metrics._written import METRICS

from . import emulated, pretended
from .test_kernels import agree, alone, both

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

N, D, B = 7, 5, 3


def matrices(heads=2, n=N, d=D, seed=0):
    rng = np.random.default_rng(seed)
    A = attention.softmax(n, 4, size=(B, heads), rng=rng)
    return rng, A, 0.6 / heads * rng.standard_normal((B, heads, d, d)), rng.standard_normal((B, n, d))


def held_against_arrays(rule, x0, dtype="float64", **options):
    options = {"layers": [0, 1, 5, 20], "resolution": 1e300, "metrics": METRICS, "dtype": dtype} | options
    found, expected = both(rule, x0, 20, **options)
    assert set(found.info.methods.ravel()) == {"device"}
    agree(found, expected, dtype, same_errors=dtype == "float64")
    return found, expected


def rules(kind):
    rng, A, H, x0 = matrices(3 if kind == "three heads" else 2)
    row, scale = rng.standard_normal(D), rng.uniform(0.5, 1.5, (B, N))
    one = A[:, 0], H[:, 0]
    general = rng.standard_normal((N, N)) / N
    layers = [Linear(a[0], h[0], bias=added) for a, h, added in zip(A, H, (row, None, -row), strict=True)]
    return {
        "two heads": lambda: MultiHead(A, H),
        "three heads": lambda: MultiHead(A, H),
        "heads that systems share": lambda: MultiHead(A[0], H[0]),
        "a bias": lambda: Linear(*one, bias=row),
        "a bias of each system": lambda: Linear(*one, bias=rng.standard_normal((B, D))),
        "a bias alone": lambda: Linear(A[0, 0], 0 * H[0, 0], bias=row),
        "heads and a bias": lambda: MultiHead(A, H, bias=row),
        "a token scale": lambda: Linear(*one, scale=scale),
        "heads and a scale": lambda: MultiHead(A, H, scale=scale),
        "rows that sum to no one number": lambda: Linear(general, H[:, 0], general=True),
        "such rows and a bias": lambda: Linear(general, H[:, 0], general=True, bias=row),
        "a bias at some layers": lambda: Layered([layers[k % 3] for k in range(20)]),
    }[kind](), x0  # fmt: skip


KINDS = [
    "two heads", "three heads", "heads that systems share", "a bias", "a bias of each system", "a bias alone",
    "heads and a bias", "a token scale", "heads and a scale", "rows that sum to no one number",
    "such rows and a bias", "a bias at some layers",
]  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_rules(card, kind, dtype):
    held_against_arrays(*rules(kind), dtype)


@pytest.mark.parametrize("kind", ["heads and a bias", "a token scale"])
def test_threads_may_run_in_any_order(card, kind):
    runs = []
    for card.order in (0, 1, 2):
        with pytest.MonkeyPatch.context() as patch:
            alone(patch)
            rule, x0 = rules(kind)
            runs.append(simulate(rule, x0, 20, method="device", backend="cupy", metrics=METRICS))
    for name in METRICS:
        for other in runs[1:]:
            np.testing.assert_array_equal(other.metrics[name], runs[0].metrics[name], err_msg=name)
            np.testing.assert_array_equal(other.errors[name], runs[0].errors[name], err_msg=name)


def heads_one_after_the_other(source):
    assert source.count("from = shop.before;") == 1
    return source.replace("from = shop.before;", "from = p.R;")


def no_rest_of_a_row(source):
    assert source.count("p.R[at] += own;") == 1
    return source.replace("p.R[at] += own;", "")


@pytest.mark.parametrize(
    ("change", "kind"),
    [(heads_one_after_the_other, "heads and a bias"), (no_rest_of_a_row, "such rows and a bias")],
)
def test_a_kernel_that_forgets_something_shows(change, kind):
    expected = simulate(*rules(kind), 3)
    with pretended.gpu(change=change), pytest.MonkeyPatch.context() as patch:
        alone(patch)
        found = simulate(*rules(kind), 3, method="device", backend="cupy")
    assert np.nanmax(np.abs(found.metrics["log_norm"] - expected.metrics["log_norm"])) > 1e-3


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("weights", ["a mask", "one token", "of each system"])
def test_weights_of_tokens(card, weights, dtype):
    rng, A, H, x0 = matrices()
    of = {
        "a mask": [1, 1, 0, 1, 1, 0, 1],
        "one token": [0, 0, 1, 0, 0, 0, 0],
        "of each system": rng.uniform(0.1, 1, (B, N)),
    }
    held_against_arrays(Linear(A[:, 0], H[:, 0]), x0, dtype, tokens=of[weights])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_states_are_kept(card, dtype):
    rule, x0 = rules("heads and a bias")
    x0[0, 2] = 0
    found, expected = held_against_arrays(rule, x0, dtype, keep_states=True)
    eps = 64 * np.finfo(dtype).eps
    states, scale = found.states, found.state_log_scale
    assert states.dtype == expected.states.dtype
    np.testing.assert_allclose(scale, expected.state_log_scale, rtol=0, atol=eps)
    np.testing.assert_allclose(states, expected.states, rtol=0, atol=eps)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_metrics_that_the_kernel_does_not_measure(card, dtype):
    names = [name for name in REGISTRY if not needing("attention", [name])]
    assert set(names) > set(METRICS)
    held_against_arrays(*rules("two heads"), dtype, metrics=names)


def test_memory_cuts_states_by_layers(card):
    rule, x0 = rules("two heads")
    options = {"backend": "cupy", "keep_states": True, "tokens": [1, 1, 0, 1, 1, 1, 1], "resolution": 1e300}
    whole = simulate(rule, x0, 20, **options)
    launches = len(card.launches)
    card.free = 2**18
    cut = simulate(rule, x0, 20, **options)
    assert len(card.launches) > 2 * launches
    # arrays put states together and measure them: how many at a time decides in which order BLAS adds up
    np.testing.assert_allclose(cut.states, whole.states, rtol=1e-14, atol=1e-14)
    for name in whole.metrics:
        off = np.abs(cut.metrics[name] - whole.metrics[name])
        assert np.all(off <= cut.errors[name] + whole.errors[name]), name
        np.testing.assert_allclose(cut.errors[name], whole.errors[name], rtol=1e-3, atol=1e-18, err_msg=name)


@pytest.mark.parametrize("shape", [(70, 9), (9, 70)])
def test_tiles(card, shape):
    """Beyond 64 matrices are read in tiles from the memory of the device: with heads, and a bias."""
    n, d = shape
    rng, A, H, x0 = matrices(2, n, d, 4)
    rule = MultiHead(A, H, bias=rng.standard_normal(d))
    held_against_arrays(rule, x0, layers=[0, 2, 4])
    held_against_arrays(rule, x0, "float32", layers=[0, 2, 4])


def test_the_reference_runs_no_kernel(card, monkeypatch):
    """What is compared with is whole arrays alone."""
    monkeypatch.setattr(_kernels, "announce", lambda *_: pytest.fail("a kernel"))
    both(*rules("two heads"), 3)
