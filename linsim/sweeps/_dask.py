"""The workers of a dask.distributed client, as a way to run tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .. import _validate
from ..errors import BackendError, MissingExtraError

__all__ = ["DaskWorkers", "alive", "connect"]

#: seconds in which a scheduler must answer
PATIENCE = 10.0


def connect(address: str) -> Any:
    """Return a client of a running dask scheduler, or refuse within seconds.

    Parameters
    ----------
    address : str
        As ``tcp://10.0.0.1:8786``.

    Returns
    -------
    distributed.Client
        For ``executor=`` of :func:`linsim.sweep`.

    Raises
    ------
    BackendError
        If no scheduler answers there.
    MissingExtraError
        Without the extra ``dask``.

    Examples
    --------
    >>> import linsim
    >>> try:
    ...     client = connect("no address at all")
    ... except linsim.LinsimError as error:  # or the extra is missing
    ...     print(str(error).partition(":")[0] in ("executor", "dask"))
    True
    """
    try:
        from distributed import Client
    except ImportError:
        raise _validate.refusal(
            MissingExtraError, "dask", "no distributed", "the extra", "pip install 'linsim[dask]'."
        ) from None
    try:
        return Client(address, timeout=PATIENCE)  # type: ignore[no-untyped-call,unused-ignore]
    except (OSError, ValueError, TypeError) as error:
        raise _unreachable(f"no scheduler at {address} ({type(error).__name__})") from error


def alive(client: Any) -> int:
    """Return how many threads the workers of a client have, or refuse one that does not answer."""
    if client.status != "running":
        raise _unreachable(f"a client that is {client.status}")
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    except TypeError:  # before distributed 2025.5 it told of all
        workers = client.scheduler_info()["workers"]
    return sum(int(worker["nthreads"]) for worker in workers.values())


def _unreachable(found: str) -> BackendError:
    error = _validate.refusal(
        BackendError,
        "executor",
        found,
        "a running dask scheduler",
        "Start one, and check its address. Finished blocks are kept.",
    )
    assert isinstance(error, BackendError)
    return error


class DaskWorkers:
    """Submits to a client; a worker that dies is replaced by its nanny."""

    separate = True

    def __init__(self, client: Any) -> None:
        self.pool, self.count = client, max(1, alive(client))

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a task."""
        # not pure: a result that is asked for again must be computed again
        return self.pool.submit(function, *args, pure=False)

    def renew(self) -> bool:
        """Nothing to do: the scheduler goes on."""
        return True

    def wait(self, futures: Iterable[Any]) -> set[Any]:
        """Return those that are done, as soon as there is one."""
        futures = list(futures)
        silent = 0.0
        while True:
            done = {future for future in futures if future.done()}
            if done:
                return done
            if self.pool.status != "running":
                silent += 0.05
                if silent > PATIENCE:
                    raise _unreachable("a scheduler that no longer answers")
            time.sleep(0.05)

    def died(self, error: BaseException) -> bool:
        """Whether an error says that the worker is gone, and nothing about the task."""
        return type(error).__name__ in ("KilledWorker", "FutureCancelledError", "CancelledError")

    def close(self, futures: Iterable[Any]) -> None:
        """Cancel what is left."""
        futures = list(futures)
        if futures and self.pool.status == "running":
            self.pool.cancel(futures)
