"""The second engine: solvers of real arithmetic, asked whether a claim's negation is impossible."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from linsim.errors import MissingExtraError

from . import _cvc5

__all__ = ["SOLVERS", "Answer", "ask", "begin", "load", "symbols", "truth"]

#: solvers by name, with the package each comes in
SOLVERS = {"z3": "z3-solver", "cvc5": "cvc5"}
#: seconds for one question; no question of the catalogue takes a tenth of z3's
TIMEOUT = 20.0
#: cvc5 is there for what it decides quickly
THIRD = 4.0


@dataclass(frozen=True)
class Answer:
    """What a solver found.

    Attributes
    ----------
    verdict : str
        "proved" (the negation is impossible), "refuted" (here is where it
        holds) or "unknown" (time ran out, or the solver gave up).
    point : mapping of str to Fraction
        Where the claim fails; values that are not rational are rounded.
    """

    verdict: str
    point: Mapping[str, Fraction] = field(default_factory=dict)


def load() -> Any:
    """Return the module z3, in which all questions are written, once both solvers are known to be there.

    Raises
    ------
    MissingExtraError
        If one is not installed.

    Examples
    --------
    >>> load().Real("x")
    x
    """
    for solver, package in SOLVERS.items():
        if importlib.util.find_spec(solver) is None:
            raise MissingExtraError(
                f"{package}: found it not installed; expected this solver of real arithmetic. "
                "Install it with: pip install 'linsim[proofs]'"
            )
    return importlib.import_module("z3")


def ask(solver: str, given: Iterable[Any], shows: Any, *, timeout: float = TIMEOUT) -> Answer:
    """Ask a solver whether ``given`` implies ``shows`` for all real numbers.

    Parameters
    ----------
    solver : str
        "z3", or "cvc5", which gets the same question as a text.
    given : iterable of z3 formulas
        The assumptions.
    shows : z3 formula
        The conclusion.
    timeout : float
        Seconds; cvc5 gets at most ``THIRD``.

    Examples
    --------
    >>> z3 = load()
    >>> x = z3.Real("x")
    >>> ask("z3", [x > 1], x * x > 1), ask("cvc5", [x > 1], x * x > 1)
    (Answer(verdict='proved', point={}), Answer(verdict='proved', point={}))
    >>> ask("z3", [x > 1], x * x > 2).verdict
    'refuted'
    """
    if solver == "cvc5":
        return begin(given, shows, timeout=timeout).result()
    z3 = load()
    task = _task(given, shows)
    task.set("timeout", int(1000 * timeout))
    answer = task.check()
    if answer == z3.unsat:
        return Answer("proved")
    return Answer("refuted", dict(_values(task.model()))) if answer == z3.sat else Answer("unknown")


def begin(given: Iterable[Any], shows: Any, *, timeout: float = TIMEOUT) -> Future[Answer]:
    """Ask cvc5, in its own process, and go on; questions are answered one after the other.

    Examples
    --------
    >>> x = load().Real("x")
    >>> begin([x > 1], x * x > 1).result().verdict
    'proved'
    """
    text = "(set-logic QF_NRA)\n" + _task(given, shows).to_smt2()
    verdicts = {"unsat": "proved", "sat": "refuted"}
    return _line.submit(
        lambda: Answer(verdicts.get(_cvc5.ask(text, min(timeout, THIRD)), "unknown")),
    )


# z3 must be used by one thread only: this one waits for cvc5 and nothing else
_line = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cvc5")


def _task(given: Iterable[Any], shows: Any) -> Any:
    z3 = load()
    task = z3.SolverFor("QF_NRA")
    task.add(*given, z3.Not(shows))
    return task


def truth(formula: Any, point: Mapping[str, Fraction]) -> bool:
    """Whether a z3 formula holds at a point that gives all of its symbols a value.

    Examples
    --------
    >>> x = load().Real("x")
    >>> truth(x * x < 2, {"x": Fraction(7, 5)})
    True
    """
    if isinstance(formula, bool):
        return formula
    z3 = load()
    values = [(z3.Real(name), z3.Q(v.numerator, v.denominator)) for name, v in point.items()]
    return bool(z3.is_true(z3.simplify(z3.substitute(formula, *values))))


def symbols(formulas: Iterable[Any]) -> set[str]:
    """Return the names of the symbols of z3 formulas.

    Examples
    --------
    >>> x, y = load().Reals("x y")
    >>> sorted(symbols([x + y > 0, x > 1]))
    ['x', 'y']
    """
    z3 = load()
    return {
        str(v) for formula in formulas if not isinstance(formula, bool) for v in z3.z3util.get_vars(formula)
    }


def _values(model: Any) -> Iterator[tuple[str, Fraction]]:
    for name in model.decls():
        value = model[name]
        if name.arity():  # what a division by zero was taken to be
            continue
        if not hasattr(value, "as_fraction"):  # an algebraic number
            value = value.approx(30)
        yield str(name), Fraction(value.as_fraction())
