"""What a layer draws on the device is what it draws on the CPU, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import Block, RandomWeights, attention, simulate
from linsim._kernels import box_muller
from linsim.attention import FromTokens

from . import emulated, pretended

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

KEYS = np.array([3, 2**63 + 11, 2**64 - 1], dtype=np.uint64)
SCALES, STREAM = np.array([1.0, 1e-3, 1e39]), 2**40 + 3


def drawn(width, dtype, blocks=3, threads=64, **options):
    out = np.full((3, width), np.nan, dtype=dtype)
    arguments = [KEYS, np.uint64(STREAM), SCALES, np.int64(3), np.int64(width), out]
    emulated.launch(f"normals_{dtype}", blocks, arguments, threads=threads, **options)
    return out


def expected(width, dtype):
    out = np.empty((3, width), dtype=dtype)
    with np.errstate(over="ignore"):
        box_muller.fill_normals(KEYS, STREAM, SCALES, out)
    return out


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("width", [1, 2, 7, 1000, 20_001])
def test_normal_numbers_are_those_of_the_cpu(width, dtype):
    np.testing.assert_array_equal(drawn(width, dtype), expected(width, dtype))


def test_they_depend_on_no_order_of_threads():
    for order, blocks, threads in ((1, 1, 32), (2, 7, 128)):
        found = drawn(300, "float64", blocks, threads, order=order)
        np.testing.assert_array_equal(found, expected(300, "float64"))


def with_another_order(source):
    old = "then(sum, z, -4.0)"
    assert source.count(old) == 1
    return source.replace(
        f"__dmul_rn(s, {old})", "__dadd_rn(__dmul_rn(s, __dmul_rn(sum, z)), __dmul_rn(s, -4.0))"
    )


def test_a_kernel_that_rounds_otherwise_is_told_apart():
    found = drawn(20_001, "float64", change=with_another_order)
    np.testing.assert_allclose(found, expected(20_001, "float64"), rtol=1e-15)
    assert not np.array_equal(found, expected(20_001, "float64"))


N, D = 6, 5
RULES = {
    "weights": (RandomWeights(attention.uniform(N)), 1),
    "of several sizes": (RandomWeights(attention.uniform(N), std=np.array([0.1, 1.0, 3.0])), 1),
    "orthogonal": (RandomWeights(attention.uniform(N), kind="orthogonal"), 0),  # LAPACK's, on the host
    "attention from the tokens": (RandomWeights(FromTokens(4)), 3),
    "block": (Block(attention.uniform(N), feed_forward="tanh"), 3),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RULES)
def test_a_seed_is_the_same_network_on_both(name, dtype):
    rule, matrices = RULES[name]
    x0 = linsim.tokens.gaussian(N, D, size=3, rng=0)
    options = {"rng": 3, "dtype": dtype, "keep_states": True, "resolution": 1e300}
    on_host = simulate(rule, x0, 4, method="iterate", backend="numpy", **options)
    with pretended.gpu() as card:
        on_device = simulate(rule, x0, 4, method="iterate", backend="cupy", **options)
        launched = [what for what, _ in card.launches if what.startswith("normals")]
        assert launched == [f"normals_{dtype}"] * (4 * matrices)
    # products with a matrix that systems share are one: the same network, but for what that rounds
    np.testing.assert_allclose(on_device.states, on_host.states, rtol=0, atol=64 * np.finfo(dtype).eps)


def test_a_card_that_compiles_no_kernel_is_given_the_same_numbers():
    rule, _ = RULES["weights"]
    x0 = linsim.tokens.gaussian(N, D, size=3, rng=0)
    on_host = simulate(rule, x0, 4, method="iterate", backend="numpy", rng=3, keep_states=True)
    with pretended.gpu(compiles=False) as card:
        run = simulate(rule, x0, 4, method="iterate", backend="cupy", rng=3, keep_states=True)
        assert not card.launches
    np.testing.assert_allclose(run.states, on_host.states, rtol=0, atol=64 * np.finfo(float).eps)
