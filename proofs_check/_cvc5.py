"""cvc5 in a process of its own, which can be stopped: its search does not always heed a clock.

The process reads questions, one JSON list [number, SMT-LIB text] a line, and answers
"number sat", "number unsat" or "number unknown" on a line; what else is printed is ignored.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import time
from typing import Any

__all__ = ["ask"]

_STARTING = 60.0  # seconds that the first answer of a process may take longer

_worker: subprocess.Popen[bytes] | None = None
_asked = 0


def ask(question: str, timeout: float) -> str:
    """Return "sat", "unsat" or "unknown" for one SMT-LIB text.

    Examples
    --------
    >>> ask("(set-logic QF_NRA)(declare-fun x () Real)(assert (< (* x x) 0))(check-sat)", 10.0)
    'unsat'
    """
    global _worker, _asked
    if _worker is None:
        command = [sys.executable, "-c", "from proofs_check._cvc5 import answer_all; answer_all()"]
        _worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _send(_worker, [0, ""])
        _answer(_worker, 0, _STARTING)
    _asked += 1
    try:
        _send(_worker, [_asked, question])
        found = _answer(_worker, _asked, timeout)
    except BaseException:
        stop()  # an answer to this question must not be read as one to the next
        raise
    if not found:
        stop()
    return found or "unknown"


def _send(worker: subprocess.Popen[bytes], message: list[Any]) -> None:
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(message).encode() + b"\n")
    worker.stdin.flush()


def _answer(worker: subprocess.Popen[bytes], number: int, timeout: float) -> str:
    """Return the answer to a question, "" where it takes longer or the process ends."""
    assert worker.stdout is not None
    end = time.monotonic() + timeout
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            part = os.read(worker.stdout.fileno(), 4096)
            if not part:
                break
            *lines, text = (text + part).split(b"\n")
            for line in lines:
                if line.startswith(b"%d " % number):
                    return line.split()[1].decode()
    return ""


@atexit.register
def stop() -> None:
    """End the worker; the next question starts another.

    Examples
    --------
    >>> stop()
    """
    global _worker
    if _worker is not None:
        _worker.kill()
        _worker.communicate()
        _worker = None


def answer_all() -> None:
    """Answer each line of standard input."""
    import cvc5

    for line in sys.stdin:
        number, question = json.loads(line)
        try:
            found = _solve(cvc5, question)
        except RuntimeError:  # it does not understand the question
            found = "unknown"
        print(number, found, flush=True)


def _solve(cvc5: Any, question: str) -> str:
    solver = cvc5.Solver(cvc5.TermManager())
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, question, "question")
    found = "unknown"
    while not (command := parser.nextCommand()).isNull():
        found = command.invoke(solver, parser.getSymbolManager()).strip() or found
    return found if found in ("sat", "unsat") else "unknown"
