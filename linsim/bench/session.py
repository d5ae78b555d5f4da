"""Worker processes, one a peer, and what to say when one of them fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .worker import THREAD_VARIABLES

__all__ = ["WORKER", "PeerFailure", "Session"]

#: what a worker process runs
WORKER = Path(__file__).with_name("worker.py")


class PeerFailure(Exception):  # noqa: N818 - it is a result, not an error of this program
    """A peer raised, crashed, or took too long; the message says which."""


class Session:
    """Worker processes, each from its first request on; all end with the ``with`` block.

    Parameters
    ----------
    threads : int
        For each process.
    limit : float
        Seconds after which a run is given up.
    """

    def __init__(self, threads: int, limit: float) -> None:
        self.threads, self.limit = threads, limit
        self._workers: dict[tuple[str, str], tuple[subprocess.Popen[str], IO[bytes]]] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key in list(self._workers):
            self._stop(key)

    def ask(self, target: str, request: Mapping[str, Any], name: str = "") -> dict[str, Any]:
        """Return the answer of the worker ``name`` of ``target``, or raise PeerFailure.

        It starts one if there is none, and ends one that failed: what it left behind must not
        meet the next request.
        """
        key = (target, name)
        process, errors = self._worker(key)
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.limit, give_up)
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            code, said = process.wait(), _last_line(errors)
            self._stop(key)
            raise PeerFailure(f"longer than {self.limit:g} s" if late.is_set() else _ended(code, said))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self._stop(key)
            raise PeerFailure(answer["error"])
        return answer

    def _worker(self, key: tuple[str, str]) -> tuple[subprocess.Popen[str], IO[bytes]]:
        if key not in self._workers:
            environment = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(self.threads))
            # this linsim first, whichever others there are; the user's own peers last
            paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""), os.getcwd()]
            environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
            environment["LINSIM_COMPILE"] = "wait"  # kernels are timed, not what goes on without them
            # no search for a GPU, whose absence it would report
            environment["JAX_PLATFORMS"] = "cpu"
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its process
            process = subprocess.Popen(
                [sys.executable, "-P", str(WORKER), key[0], str(self.threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
            self._workers[key] = (process, errors)
        return self._workers[key]

    def _stop(self, key: tuple[str, str]) -> None:
        process, errors = self._workers.pop(key)
        process.kill()
        process.communicate()  # closes the pipes
        errors.close()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _ended(code: int, said: str) -> str:
    how = f"killed by signal {-code} (out of memory?)" if code < 0 else f"its process ended with code {code}"
    return f"{how}: {said}" if said else how
