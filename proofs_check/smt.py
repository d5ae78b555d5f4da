"""The second engine: solvers of real arithmetic, asked whether a claim's negation is impossible."""

from __future__ import annotations

import importlib
import importlib.util
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

from linsim.errors import MissingExtraError

from . import _cvc5

__all__ = ["SOLVERS", "Answer", "ask", "begin", "compiled", "load", "symbols", "truth"]

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
    return bool(compiled(formula)(point))


def symbols(formulas: Iterable[Any]) -> set[str]:
    """Return the names of the symbols of z3 formulas.

    Examples
    --------
    >>> x, y = load().Reals("x y")
    >>> sorted(symbols([x + y > 0, x > 1]))
    ['x', 'y']
    """
    z3 = load()
    found: set[str] = set()
    todo = [formula for formula in formulas if not isinstance(formula, bool)]
    while todo:
        part = todo.pop()
        if part.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            found.add(part.decl().name())
        todo += part.children()
    return found


def compiled(formula: Any) -> Callable[[Mapping[str, Fraction]], Any]:
    """Return a z3 formula as a function of a point, exact in fractions.

    A quotient by zero is taken for 0, one of the values that solvers may give it.

    Examples
    --------
    >>> x = load().Real("x")
    >>> compiled(x * x < 2)({"x": Fraction(3, 2)})
    False
    """
    return _compiled(load(), _rules(), formula)


def _compiled(z3: Any, rules: Mapping[int, Callable[..., Any]], formula: Any) -> Callable[[Any], Any]:
    if isinstance(formula, bool):
        return lambda point: formula
    if z3.is_rational_value(formula):
        value = Fraction(formula.as_fraction())
        return lambda point: value
    kind, name = formula.decl().kind(), formula.decl().name()
    if kind == z3.Z3_OP_UNINTERPRETED:
        return lambda point: point[name]
    if kind == z3.Z3_OP_TO_REAL or z3.is_int_value(formula):
        number = Fraction(formula.sexpr() if z3.is_int_value(formula) else formula.arg(0).sexpr())
        return lambda point: number
    rule, parts = rules[kind], [_compiled(z3, rules, child) for child in formula.children()]
    return lambda point: rule(*(part(point) for part in parts))


@cache
def _rules() -> Mapping[int, Callable[..., Any]]:
    z3 = load()
    return {
        z3.Z3_OP_ADD: lambda *v: sum(v),
        z3.Z3_OP_MUL: lambda *v: math.prod(v),
        z3.Z3_OP_SUB: lambda first, *v: first - sum(v),
        z3.Z3_OP_UMINUS: operator.neg,
        z3.Z3_OP_DIV: lambda a, b: a / b if b else Fraction(0),
        z3.Z3_OP_POWER: lambda a, b: a ** int(b),
        z3.Z3_OP_LT: operator.lt,
        z3.Z3_OP_LE: operator.le,
        z3.Z3_OP_GT: operator.gt,
        z3.Z3_OP_GE: operator.ge,
        z3.Z3_OP_EQ: operator.eq,
        z3.Z3_OP_DISTINCT: lambda *v: len(set(v)) == len(v),
        z3.Z3_OP_AND: lambda *v: all(v),
        z3.Z3_OP_OR: lambda *v: any(v),
        z3.Z3_OP_NOT: operator.not_,
        z3.Z3_OP_IMPLIES: lambda a, b: b or not a,
        z3.Z3_OP_ITE: lambda a, b, c: b if a else c,
        z3.Z3_OP_TRUE: lambda: True,
        z3.Z3_OP_FALSE: lambda: False,
    }


def _values(model: Any) -> Iterator[tuple[str, Fraction]]:
    for name in model.decls():
        value = model[name]
        if name.arity():  # what a division by zero was taken to be
            continue
        if not hasattr(value, "as_fraction"):  # an algebraic number
            value = value.approx(30)
        yield str(name), Fraction(value.as_fraction())
