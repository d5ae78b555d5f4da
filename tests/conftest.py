"""Fixtures that every test file shares: array backends, and reproducible random tests."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat
import array_api_strict
import hypothesis
import numpy as np
import pytest

from linsim import _kernels, figures
from linsim._kernels import first_use
from linsim._namespace import cupy_status

# what a test sees may not depend on what an earlier one compiled
first_use.wait()

hypothesis.settings.register_profile(
    "linsim",
    derandomize=True,
    deadline=None,
    max_examples=25,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("linsim")


@dataclass(frozen=True)
class Backend:
    """How tests make arrays of one library, and look at what comes back."""

    name: str
    array: Callable[..., Any]
    host: Callable[[Any], np.ndarray]
    device: Any = None

    def owns(self, x: Any) -> bool:
        """Whether ``x`` is of this library and lives on its device."""
        like = self.array([0.0])
        return array_api_compat.array_namespace(x) is array_api_compat.array_namespace(
            like
        ) and array_api_compat.device(x) == array_api_compat.device(like)


def _numpy() -> Backend:
    return Backend("numpy", lambda x, dtype="float64": np.array(x, dtype=dtype), np.asarray)


def _readonly() -> Backend:
    def array(x: Any, dtype: str = "float64") -> np.ndarray:
        out = np.array(x, dtype=dtype)
        out.flags.writeable = False
        return out

    return Backend("numpy, read-only", array, np.asarray)


def _strict() -> Backend:
    # this device refuses every transfer to the host that is not asked for
    device = array_api_strict.Device("device1")

    def array(x: Any, dtype: str = "float64") -> Any:
        return array_api_strict.asarray(np.asarray(x), dtype=getattr(array_api_strict, dtype), device=device)

    def host(x: Any) -> np.ndarray:
        cpu = array_api_strict.asarray(x, device=array_api_strict.Device("CPU_DEVICE"), copy=True)
        return np.from_dlpack(cpu).copy()

    return Backend("array-api-strict", array, host, device)


def _cupy() -> Backend:
    import cupy

    return Backend(
        "cupy", lambda x, dtype="float64": cupy.asarray(np.asarray(x), dtype=dtype), lambda x: x.get()
    )


_no_gpu = cupy_status()
_BACKENDS = [
    pytest.param(_numpy, id="numpy"),
    pytest.param(_readonly, id="readonly"),
    pytest.param(_strict, id="strict"),
    pytest.param(
        _cupy,
        id="cupy",
        marks=[pytest.mark.gpu, pytest.mark.skipif(_no_gpu is not None, reason=f"no GPU: {_no_gpu}")],
    ),
]


@pytest.fixture(params=_BACKENDS)
def xp(request: pytest.FixtureRequest) -> Backend:
    """An array backend; every array test runs once for each."""
    return request.param()


# --- data and drawings of all figures at their quick sizes, made once for the tests of a session ----


@pytest.fixture(scope="session")
def figure_data(tmp_path_factory):
    """Return a function, name -> dataset: computed once, by the process that needs it first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of the session, which its processes share

    @functools.cache
    def data(name):
        return figures.dataset(name, quick=True, keep=folder / "figure-data")

    return data


@pytest.fixture(scope="session")
def figure_drawn(figure_data):
    """Return a function: name, width -> figure; looked at by several tests, changed by none."""

    @functools.cache
    def drawn(name, width="89mm"):
        with figures.medium(width):
            return figures.load(name).draw(figure_data(name))

    return drawn


def pytest_configure(config: pytest.Config) -> None:
    """Compile every kernel once before the whole suite is shared out, not once in each process."""
    processes = getattr(config.option, "numprocesses", None)
    if processes and config.args == config.getini("testpaths") and _kernels.missing() is None:
        first_use.compile_all(processes)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave one case in k of a test marked `sample(k)`, and mark the others `full`."""
    if any("::" in argument for argument in config.args):
        return  # who names a test wants its cases
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample") and not item.get_closest_marker("full"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, found in cases.items():
        (k,) = found[0].get_closest_marker("sample").args
        # another remainder for each test, so that not all leave out the same parameters
        first = zlib.crc32(name.encode()) % min(k, len(found))
        for position, item in enumerate(found):
            if position % k != first:
                item.add_marker(pytest.mark.full)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Turn skips into failures where everything but a GPU is promised to be there."""
    report = yield
    strict = os.environ.get("LINSIM_SKIP_ONLY_GPU") and item.get_closest_marker("gpu") is None
    if strict and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
