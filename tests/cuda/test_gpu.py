"""On a machine with a GPU, ``pytest -m gpu``: the kernel itself, not its emulation, against the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from linsim import Linear, RandomWeights, _draws, attention, simulate
from linsim._cuda.check import findings
from linsim._namespace import cupy_status

from . import test_kernels as emulation

_NO_GPU = cupy_status()

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(_NO_GPU is not None, reason=f"no GPU: {_NO_GPU}")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("family", emulation.FAMILIES)
def test_systems_of_every_family(family, dtype):
    # nvcc fuses products and sums, so roundings differ; errors are still those of the same shadows
    for index in range(8):
        emulation.judge(17, index, family, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ten_thousand_systems(dtype):
    rng = np.random.default_rng(0)
    for n, d, b in ((32, 32, 4096), (16, 24, 4096), (64, 64, 1024), (5, 3, 784)):
        A, H = attention.softmax(n, 8, size=(b,), rng=rng), rng.standard_normal((b, d, d)) / (2 * np.sqrt(d))
        rule, x0 = Linear(A, H), rng.standard_normal((b, n, d))
        options = {"layers": [0, 1, 16, 64], "dtype": dtype, "resolution": 1e300}
        found = simulate(rule, x0, 64, backend="cupy", **options)
        assert set(found.info.methods) == {"device"}
        emulation.agree(found, simulate(rule, x0, 64, backend="numpy", **options), dtype, same_errors=False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layers_that_are_drawn_and_large_systems(dtype):
    rng = np.random.default_rng(1)
    drawn = RandomWeights(attention.softmax(24, 8, size=(512,), rng=rng), std=0.5)
    large = Linear(attention.softmax(200, 8, rng=rng), rng.standard_normal((160, 160)) / 26)
    for rule, shape, engine in ((drawn, (512, 24, 16), "device"), (large, (4, 200, 160), "iterate")):
        options = {"layers": [0, 1, 8, 32], "dtype": dtype, "resolution": 1e300, "rng": 5}
        x0 = rng.standard_normal(shape)
        found = simulate(rule, x0, 32, backend="cupy", **options)
        assert set(found.info.methods.ravel()) == {engine}
        expected = simulate(rule, x0, 32, backend="numpy", **options)
        emulation.agree(found, expected, dtype, same_errors=False, many=True)


def test_the_doctor_finds_nothing():
    found = list(findings())
    assert found[-1].what == "the kernel"
    assert not any(one.remedy for one in found), found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layers_are_drawn_as_on_the_cpu_to_the_bit(dtype):
    import cupy

    keys = np.arange(64, dtype=np.uint64) * np.uint64(2**57 + 1)
    drawn = [_draws.normals(keys, 5, "up", (333, 101), dtype, 0.7, like) for like in (None, cupy.zeros(1))]
    np.testing.assert_array_equal(drawn[1].get(), drawn[0])
