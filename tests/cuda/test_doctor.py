"""What ``linsim doctor`` says where there is a GPU, none, or half of what one needs."""

from __future__ import annotations

import json
import subprocess
import types

import numpy as np
import pytest
from typer.testing import CliRunner

import linsim
from linsim._cuda import check
from linsim.app.cli import app

from . import emulated, pretended


def said(*options):
    result = CliRunner().invoke(app, ["doctor", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_nothing_is_there(monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda _: None)
    monkeypatch.setattr(check, "_installed", lambda: "")
    assert said() == (
        "GPU and driver       no nvidia-smi\n"
        "                     -> install a driver of NVIDIA, where there is a GPU of theirs\n"
        "CuPy                 not installed\n"
        "                     -> pip install 'linsim[cuda12]' (driver 525 or later)"
        " or 'linsim[cuda13]' (580 or later)\n"
        "Everything runs on the CPU, and nothing else is missing for that.\n"
    )
    assert json.loads(said("--json"))["usable"] is False


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("no GPU answers CuPy (the driver is of CUDA 12.4, CuPy of 13.0)", "newer driver"),
        ("no GPU answers CuPy (no NVIDIA driver is installed)", "install a driver"),
        ("cudaErrorNoDevice: no CUDA-capable device is detected", "CUDA_VISIBLE_DEVICES"),
        ("OutOfMemoryError: Out of memory allocating 512 bytes", "free memory"),
        ("something else", "show_config"),
    ],
)
def test_cupy_is_there_and_no_gpu_answers(monkeypatch, error, remedy):
    monkeypatch.setattr(check, "_installed", lambda: "cupy-cuda12x 14.2.0")
    monkeypatch.setattr(check, "missing_names", list)
    monkeypatch.setattr(check, "cupy_status", lambda: error)
    last = list(check.findings())[-1]
    assert last.found == error
    assert remedy in last.remedy


@pytest.mark.parametrize(
    ("version", "told", "remedy"),
    [
        (0, "no NVIDIA driver is installed", "install a driver"),
        (12040, "CUDA 12.4, CuPy of 13.2", "newer driver"),
    ],
)
def test_cuda_says_that_a_driver_is_too_old_where_there_is_none(monkeypatch, version, told, remedy):
    def refused(*_):
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient\nand more")

    runtime = types.SimpleNamespace(driverGetVersion=lambda: version, runtimeGetVersion=lambda: 13020)
    with pretended.gpu():
        import cupy

        monkeypatch.setitem(vars(cupy), "zeros", refused)
        monkeypatch.setitem(vars(cupy), "cuda", types.SimpleNamespace(runtime=runtime))
        with pytest.raises(linsim.errors.BackendError) as caught:
            linsim.simulate(
                linsim.Linear(linsim.attention.uniform(2), np.eye(1)), np.eye(2, 1), 1, backend="cupy"
            )
    assert told in str(caught.value)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_driver_that_is_broken(monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    failed = types.SimpleNamespace(stdout="", stderr="NVIDIA-SMI has failed\n", returncode=9)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert next(check.findings()) == check.Finding(
        "GPU and driver", "NVIDIA-SMI has failed", "repair the driver"
    )


@pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")
@pytest.mark.parametrize(
    "change", [None, lambda source: source.replace("out[AT_HIGH] = sqrt(high)", "out[AT_HIGH] = 2 * high")]
)
def test_the_kernel_is_held_against_the_cpu(monkeypatch, change):
    monkeypatch.setattr(check, "_installed", lambda: "cupy-cuda12x 14.2.0")
    with pretended.gpu(change=change):
        *before, last = check.findings()
    assert [one.found for one in before[1:]] == ["cupy-cuda12x 14.2.0", "allocated"]
    assert last.what == "the kernel"
    assert ("differs from the CPU" in last.found) == (change is not None)
    assert bool(last.remedy) == (change is not None)


def test_a_name_that_cupy_lacks_is_found(monkeypatch):
    with pretended.gpu():
        assert check.missing_names() == []
        import array_api_compat.cupy as space
        import cupy

        monkeypatch.setitem(vars(cupy), "RawModule", None)
        monkeypatch.setitem(vars(space), "permute_dims", None)
        assert check.missing_names() == ["cupy: RawModule", "array API: permute_dims"]


def benched(*options):
    return CliRunner().invoke(app, ["bench", "--backend", "cupy", *options])


@pytest.mark.skipif(check.cupy_status() is None, reason="a GPU answers")
def test_a_benchmark_without_a_gpu_is_one_line():
    result = benched("--quick")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("linsim: --backend: found 'cupy', but ")
    assert "linsim doctor" in line


@pytest.mark.parametrize(
    ("options", "refusal"),
    [(["--scaling"], "--scaling: found it beside --backend"), (["--repeats", "0"], "--repeats: found 0")],
)
def test_a_benchmark_of_a_gpu_takes_few_options(options, refusal):
    result = benched("--quick", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"linsim: {refusal}")


@pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")
def test_a_benchmark_has_the_cpu_and_the_prediction_beside():
    with pretended.gpu():
        result = benched("--quick", "--repeats", "1", "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["card"] == "no card at all"
        assert [row["engine"] for row in found["rows"]] == ["device"]
        assert all(
            min(row["gpu"], row["cpu"], row["predicted"], row["gemm_share"]) > 0 for row in found["rows"]
        )
