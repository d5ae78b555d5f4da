"""Where blocks are computed: here, in a pool of concurrent.futures, or by the workers of Dask.

Each way yields (task, result) as they finish.  A task whose worker dies is tried again by itself, since
an innocent task on the same worker dies with it; one that kills its worker alone is cut in halves, and a
single system that does so has failed.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _validate
from .._cuda.launch import own_stream
from .._parallel import workers as processors
from ..errors import BackendError, InvalidTypeError, MissingExtraError
from ._grid import Grid
from ._tasks import Task, shares
from ._variables import FAILED
from ._work import Job, Make, Result, Systems, compute, warm_up

__all__ = ["ready", "release", "results", "worker_count"]

_DIED = "the worker died (killed, out of memory, or a crash in compiled code)"


def worker_count(executor: Any) -> int:
    """Return how many tasks an executor computes at once, or refuse what is no executor."""
    if executor is None:
        return 1
    if isinstance(executor, int | np.integer) and not isinstance(executor, bool):
        return _validate.count(executor, "executor", minimum=1)
    if isinstance(executor, _Processes):
        return executor.count
    if isinstance(executor, concurrent.futures.Executor):
        return int(getattr(executor, "_max_workers", 0) or processors())
    if _is_dask(executor):
        return max(1, _dask_workers(executor))
    raise _validate.refusal(
        InvalidTypeError,
        "executor",
        type(executor).__name__,
        "None, a number of processes, an executor of concurrent.futures, or a dask.distributed.Client",
        "Pass executor=2 for two processes.",
    )


def results(
    job: Job, grid: Grid, tasks: Iterable[Task], executor: Any
) -> Generator[tuple[Task, Result], None, None]:
    """Yield every task with its result, in the order in which they finish."""
    if executor is None and job.backend == "cupy":
        # while the device works on one block the next one is made, and its vectors are chosen
        job = replace(job, make=_one_at_a_time(job.make), planner=os.getpid())
        with concurrent.futures.ThreadPoolExecutor(2, initializer=own_stream) as pool:
            yield from _Pool(job, grid, _Given(pool)).run(tasks)
        return
    if executor is None:
        for task in tasks:
            yield task, compute(job, Systems.of(grid, task.block, task.numbers))
        return
    job = replace(job, planner=os.getpid())
    if isinstance(executor, _Processes):
        yield from _Pool(job, grid, executor).run(tasks)
    elif isinstance(executor, int | np.integer):
        yield from _Pool(job, grid, _Processes(int(executor), job.metrics)).run(tasks)
    elif isinstance(executor, concurrent.futures.Executor):
        yield from _Pool(job, grid, _Given(executor)).run(tasks)
    else:
        from ._dask import DaskWorkers

        yield from _Pool(job, grid, DaskWorkers(executor)).run(tasks)


def ready(executor: Any, metrics: Sequence[str]) -> Any:
    """Return an executor whose processes, if it stands for processes of our own, are starting."""
    if not isinstance(executor, int | np.integer):
        return executor
    own = _Processes(int(executor), metrics)
    own.start()
    return own


def release(executor: Any) -> None:
    """End processes that :func:`ready` started."""
    if isinstance(executor, _Processes):
        executor.close(())


def _one_at_a_time(make: Make) -> Make:
    """What nobody promised that threads may call at the same time."""
    lock = threading.Lock()

    def locked(points: dict[str, Any], rng: Any) -> tuple[Any, Any]:
        with lock:
            return make(points, rng)

    return locked


# --- the ways to run one task ------------------------------------------------------------


class _Processes:
    """Processes of our own, which are replaced when one dies."""

    separate = True

    def __init__(self, count: int, metrics: Sequence[str] = ()) -> None:
        self.count, self.metrics = count, tuple(metrics)
        self.pool: Any = None
        self.first: Any = None
        self.stillborn = 0

    def start(self) -> None:
        """Start all of them: with their imports they take as long as a block of systems."""
        # forked children of a process with threads hang; a fresh one imports what it needs
        context = multiprocessing.get_context("spawn")
        self.pool = concurrent.futures.ProcessPoolExecutor(
            self.count, context, initializer=warm_up, initargs=(self.metrics,)
        )
        self.first = self.pool.submit(os.getpid)  # with the first task, all are started

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.pool is None:
            self.start()
        try:
            return self.pool.submit(function, *args)
        except BrokenProcessPool:  # it died between two tasks
            self.renew()
            return self.submit(function, *args)

    def renew(self) -> bool:
        """Replace what is broken; return whether that was possible."""
        lived = self.first is None or not self.first.done() or self.first.exception() is None
        self.stillborn = 0 if lived else self.stillborn + 1
        if self.stillborn > 2:  # not even what needs none of the user's systems was done
            raise _validate.refusal(
                BackendError,
                "executor",
                "processes that end before they begin",
                "a script that other processes can import",
                "Put what it does under: if __name__ == '__main__':",
            )
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        return True

    def wait(self, futures: Iterable[Any]) -> set[Any]:
        done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
        return done

    def died(self, error: BaseException) -> bool:
        return isinstance(error, BrokenProcessPool)

    def close(self, futures: Iterable[Any]) -> None:
        if self.pool is None:
            return
        processes = list((getattr(self.pool, "_processes", None) or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        if any(not future.done() for future in futures):  # stopped: nobody waits for these
            for process in processes:
                process.terminate()


class _Given(_Processes):
    """A pool of the user's, which is not ours to end or to replace."""

    def __init__(self, pool: concurrent.futures.Executor) -> None:
        super().__init__(worker_count(pool))
        self.pool: Any = pool
        self.separate = not isinstance(pool, concurrent.futures.ThreadPoolExecutor)

    def renew(self) -> bool:
        return False

    def close(self, futures: Iterable[Any]) -> None:
        for future in futures:
            future.cancel()


class _Pool:
    """Keeps a few tasks in flight; those whose worker died go one at a time."""

    def __init__(self, job: Job, grid: Grid, ways: Any) -> None:
        self.ways, self.grid = ways, grid
        self.job = _sent(job) if ways.separate else job
        self.flying: dict[Any, Task] = {}
        self.suspects: deque[Task] = deque()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        count = self.ways.count
        waiting = shares(tasks, count)
        try:
            while True:
                # two in hand for each worker: none waits for us, and little is in memory
                while not self.suspects and len(self.flying) < 2 * count:
                    task = next(waiting, None)
                    if task is None:
                        break
                    self._submit(task)
                if not self.flying and self.suspects:
                    self._submit(self.suspects.popleft())
                if not self.flying:
                    return
                yield from self._finished()
        finally:
            self.ways.close(list(self.flying))

    def _submit(self, task: Task) -> None:
        systems = Systems.of(self.grid, task.block, task.numbers)
        self.flying[self.ways.submit(compute, self.job, systems)] = task

    def _finished(self) -> Iterator[tuple[Task, Result]]:
        alone = len(self.flying) == 1
        dead: list[Task] = []
        for future in self.ways.wait(list(self.flying)):
            task = self.flying.pop(future)
            error = future.exception()
            if error is None:
                yield task, future.result()
            elif self.ways.died(error):
                dead.append(task)
            else:
                raise error
        if not dead:
            return
        # a broken pool has lost all that it held
        for future in [f for f in self.flying if f.done() and self.ways.died(f.exception())]:
            dead.append(self.flying.pop(future))
        if not self.ways.renew():
            raise _validate.refusal(
                BackendError,
                "executor",
                f"a pool whose worker died ({_DIED})",
                "workers that live",
                "Finished blocks are kept: run again with a new pool, or executor=2, which replaces workers.",
            )
        for task in dead:
            task.deaths += 1
            yield from self._suspected(task, alone)

    def _suspected(self, task: Task, alone: bool) -> Iterator[tuple[Task, Result]]:
        if not alone or task.deaths < 2:
            self.suspects.append(task)
        elif task.size > 1:
            for half in np.array_split(task.chosen, 2):
                self.suspects.appendleft(Task(task.block, half, deaths=1))
        else:
            yield task, _failed(task, self.job)


def _failed(task: Task, job: Job) -> Result:
    out = Result(status=np.zeros(task.block.size, dtype=np.int8))
    for name in job.metrics:
        out.values[name] = np.full((task.block.size, len(job.layers)), np.nan)
    out.status[task.chosen] = FAILED
    out.reasons = {int(number): _DIED for number in task.chosen}
    out.error = BackendError(f"executor: {_DIED}")
    return out


# --- sending make ------------------------------------------------------------------------


class _ByValue:
    """A ``make`` that other processes cannot import, sent as it is."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.make: Any = None

    def __call__(self, points: Any, rng: Any) -> Any:
        if self.make is None:
            self.make = pickle.loads(self.data)
        return self.make(points, rng)

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data, "make": None}


def _sent(job: Job) -> Job:
    """Return a job that can be sent to another process, or refuse its ``make``."""
    if getattr(job.make, "__module__", None) != "__main__":
        try:
            pickle.dumps(job.make)
            return job
        except Exception:  # a lambda, a function in a function
            pass
    try:
        import cloudpickle
    except ImportError:
        if getattr(job.make, "__module__", None) == "__main__" and "<locals>" not in job.make.__qualname__:
            return job  # a script is imported by its workers
        raise _validate.refusal(
            MissingExtraError,
            "make",
            "a function that other processes cannot import",
            "one at the top of a module",
            "Put it there, or pip install 'linsim[dask]', which brings cloudpickle.",
        ) from None
    return replace(job, make=_ByValue(cloudpickle.dumps(job.make)))


def _is_dask(executor: Any) -> bool:
    return any(kind.__module__.startswith("distributed.") for kind in type(executor).__mro__)


def _dask_workers(client: Any) -> int:
    from ._dask import alive

    return alive(client)
