"""The same result whoever computes it: pools of threads and of processes, Dask, workers that die."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import linsim
from linsim.errors import BackendError, MissingExtraError
from linsim.sweeps import _executors, _layout

MU = np.linspace(-1.5, 1.0, 8)
GRID = {"mu": MU, "s": [0.5, 2.0]}


def make(point, rng):
    k = len(point["mu"])
    H = point["mu"][:, None, None] * np.eye(3)
    return linsim.Linear(linsim.attention.dirichlet(4, size=k, rng=rng), H), linsim.tokens.gaussian(
        4, 3, size=k, rng=rng
    )


def threads(point, rng):
    """Tokens that tell what its worker may use: every entry of one system is a number of threads."""
    import numba
    from threadpoolctl import threadpool_info

    from linsim._parallel import workers

    most = max([1, *(entry["num_threads"] for entry in threadpool_info())])
    told = np.array([numba.get_num_threads(), most, workers(), 2.0])
    return linsim.Linear(np.eye(4), np.zeros((1, 1))), np.broadcast_to(
        told[:, None], (len(point["mu"]), 4, 1)
    )


def dies_once(point, rng):
    flag = os.environ["LINSIM_TEST_FLAG"]
    if np.any(point["mu"] == MU[2]) and os.getpid() != int(os.environ["LINSIM_TEST_PARENT"]):
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return make(point, rng)


def dies_always(point, rng):
    if np.any(point["mu"] == MU[2]) and os.getpid() != int(os.environ["LINSIM_TEST_PARENT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return make(point, rng)


def raises(point, rng):
    if np.any(point["mu"] == MU[2]):
        raise PeculiarError(1, 2)
    return make(point, rng)


class PeculiarError(Exception):
    """One that cannot be rebuilt from its text."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_layout, "_LARGEST_BLOCK", 6)
    monkeypatch.setenv("LINSIM_TEST_PARENT", str(os.getpid()))


def swept(make=make, grid=GRID, **options):
    options = {"depth": 5, "progress": False, "metrics": ["cosine", "log_norm"], "replicates": 2} | options
    return linsim.sweep(make, grid, **options)


def plain(ds):
    return ds.load().drop_attrs(deep=False)


@pytest.fixture(scope="module")
def whole():
    return plain(swept())


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


def test_threads_give_the_same(whole, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        xr.testing.assert_identical(plain(swept(executor=pool)), whole)
        xr.testing.assert_identical(plain(swept(executor=pool, store=tmp_path / "s.zarr")), whole)
        assert pool.submit(lambda: 1).result() == 1  # it is the user's to end


def test_processes_give_the_same(whole, processes, tmp_path):
    xr.testing.assert_identical(plain(swept(executor=processes, store=tmp_path / "s.zarr")), whole)
    assert processes.submit(abs, -1).result() == 1


def test_workers_have_one_thread_each(processes):
    ds = swept(threads, {"mu": MU}, executor=processes, metrics=["log_norm"], depth=0, replicates=1)
    # || (1, 1, 1, 2) ||
    np.testing.assert_allclose(ds.log_norm.values, np.log(np.sqrt(7.0)), rtol=1e-14)


def test_an_error_in_a_worker_is_recorded(processes):
    ds = swept(raises, executor=processes)
    assert (ds.status.sel(mu=MU[2]).values == 2).all()
    assert int((ds.status == 1).sum()) == 28
    assert "PeculiarError: 1 and 2" in ds.status.attrs["reasons"]


def test_a_make_that_cannot_be_imported(processes, monkeypatch):
    try:
        import cloudpickle  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match="make: found a function that other processes cannot"):
            swept(lambda point, rng: make(point, rng), executor=processes)
    else:
        ds = swept(lambda point, rng: make(point, rng), executor=processes)
        xr.testing.assert_identical(plain(ds), plain(swept()))


def test_a_worker_that_dies_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("LINSIM_TEST_FLAG", str(tmp_path / "died"))
    grid = {"mu": MU[1:4], "s": [0.5]}
    ds = swept(dies_once, grid, executor=1, store=tmp_path / "s.zarr")
    assert (tmp_path / "died").exists()
    xr.testing.assert_identical(plain(ds), plain(swept(grid=grid)))


def test_a_system_that_kills_its_worker_has_failed(whole, tmp_path):
    # every death costs the start of a process: two systems would do but for the one behind
    grid = {"mu": MU[1:4], "s": [0.5]}
    ds = swept(dies_always, grid, executor=1, store=tmp_path / "s.zarr", replicates=1).load()
    assert ds.status.values.ravel().tolist() == [1, 2, 1]
    assert "the worker died" in ds.status.attrs["reasons"]
    expected = whole.sel(mu=ds.mu, s=[0.5], replicate=[0]).log_norm.values
    np.testing.assert_array_equal(ds.log_norm.values[[0, 2]], expected[[0, 2]])


def test_a_pool_of_the_user_that_breaks_is_said(tmp_path):
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(BackendError, match=r"executor: found a pool whose worker died .* run again"),
    ):
        swept(dies_always, executor=pool, store=tmp_path / "s.zarr")


# --- Dask --------------------------------------------------------------------------------

try:
    import distributed
except ImportError:
    distributed = None

needs_dask = pytest.mark.skipif(distributed is None, reason="distributed is not installed (extra dask)")


@pytest.fixture(scope="module")
def cluster():
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


# what distributed itself leaves open when it ends
dask_is_noisy = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"
)


@needs_dask
@dask_is_noisy
def test_dask_gives_the_same_with_a_worker_that_is_killed(whole, tmp_path, monkeypatch, cluster):
    xr.testing.assert_identical(plain(swept(executor=cluster)), whole)
    told = swept(threads, {"mu": MU}, executor=cluster, metrics=["log_norm"], depth=0, replicates=1)
    np.testing.assert_allclose(told.log_norm.values, np.log(np.sqrt(7.0)), rtol=1e-14)
    # one of the workers, in the middle of it
    seen = []
    real = _executors._Pool._submit

    def submit(pool, task):
        seen.append(task)
        if len(seen) == 4:
            pids = cluster.run(os.getpid)
            os.kill(next(iter(pids.values())), signal.SIGKILL)
        real(pool, task)

    monkeypatch.setattr(_executors._Pool, "_submit", submit)
    xr.testing.assert_identical(plain(swept(executor=cluster, store=tmp_path / "s.zarr")), whole)


@needs_dask
@dask_is_noisy
def test_an_unreachable_scheduler_is_said(monkeypatch):
    from linsim.sweeps import _dask

    monkeypatch.setattr(_dask, "PATIENCE", 1.0)
    with pytest.raises(BackendError, match=r"executor: found no scheduler at tcp://127\.0\.0\.1:1 "):
        _dask.connect("tcp://127.0.0.1:1")


@needs_dask
@dask_is_noisy
def test_a_closed_client_is_refused(cluster):
    other = distributed.Client(cluster.scheduler.address)
    other.close()
    with pytest.raises(BackendError, match="executor: found a client that is closed"):
        swept(executor=other)


@pytest.mark.sample(2)
def test_a_script_that_its_workers_cannot_import_is_said(tmp_path):
    """Each worker would begin the sweep again; nothing is to be blamed on the points."""
    script = tmp_path / "script.py"
    script.write_text(
        "import linsim, numpy as np\n"
        "def make(point, rng):\n"
        "    H = point['h'][:, None, None] * np.eye(2)\n"
        "    return linsim.Linear(linsim.attention.uniform(3), H), np.ones((len(H), 3, 2))\n"
        "linsim.sweep(make, {'h': np.arange(100.0)}, depth=2, executor=2, progress=False)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "if __name__ == '__main__'" in done.stderr.splitlines()[-1]
