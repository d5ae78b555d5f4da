"""Reading an update rule: its map in our own symbols, and what its parameters obey."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sympy
from sympy.core.relational import Relational

from linsim.checks import refusal
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError

from .. import smt
from .formulas import formula

__all__ = ["read"]

#: how the two eigenvalues and real parameters may be called
ATTENTION = ("lambda", "lam", "lamda", "\N{GREEK SMALL LETTER LAMDA}")
WEIGHTS = ("mu", "\N{GREEK SMALL LETTER MU}")
PARAMETERS = ("alpha", "beta", "gamma", "delta", "epsilon", "eps", "eta", "nu", "sigma", "tau", "omega")

#: symbols of the answer, and words of the solvers' language
RESERVED = (
    "a",
    "t",
    "x",
    "y",
    "and",
    "or",
    "not",
    "xor",
    "ite",
    "let",
    "true",
    "false",
    "distinct",
    "par",
    "as",
)


def read(update: Any, parameters: Mapping[Any, Any] | Iterable[Any]) -> tuple[sympy.Expr, list[Relational]]:
    """Return the map in our own symbols, and what its parameters obey."""
    if not isinstance(update, sympy.Expr):
        raise refusal(
            InvalidTypeError,
            "update",
            type(update).__name__,
            "a SymPy expression",
            'Write it with lam, mu = sympy.symbols("lambda mu").',
        )
    declared = _declared(parameters)
    names: dict[str, sympy.Symbol] = {}
    domain: list[Relational] = []
    values: dict[sympy.Symbol, sympy.Symbol] = {}
    for symbol in sorted(update.free_symbols | set(declared), key=str):
        name = "lambda" if symbol.name in ATTENTION else "mu" if symbol.name in WEIGHTS else symbol.name
        if name in names:
            raise refusal(
                InvalidValueError,
                "update",
                f"two symbols for {name}",
                "one symbol for each quantity",
                "Create each symbol once, with the same assumptions.",
            )
        if name not in ("lambda", "mu"):
            _check_parameter(symbol, declared)
            domain += _assumed(symbol, sympy.Symbol(name, real=True))
        names[name] = values[symbol] = sympy.Symbol(name, real=True)
    for condition in declared.values():
        for relation in _relations(condition):
            exact = _exact(relation)
            _check_relation(exact, values)
            told = exact.subs(values)
            if told == sympy.false:
                raise _impossible(relation)
            domain += [] if told == sympy.true else [told]
    g = sympy.expand(_exact(update).subs(values))
    _check_polynomial(update, g)
    _check_domain(domain)
    return g, domain


def _exact(expression: Any) -> Any:
    """Return an expression with each floating-point number as the decimal fraction it is written as."""
    return expression.xreplace({f: sympy.Rational(repr(float(f))) for f in expression.atoms(sympy.Float)})


def _declared(parameters: Any) -> dict[sympy.Symbol, Any]:
    if isinstance(parameters, str) or not isinstance(parameters, Iterable):
        found = [parameters]
    else:
        found = list(parameters)
    for symbol in found:
        if not isinstance(symbol, sympy.Symbol):
            raise refusal(
                InvalidTypeError, "parameters", repr(symbol), "SymPy symbols", "Use the symbols of update."
            )
    return dict(parameters) if isinstance(parameters, Mapping) else dict.fromkeys(found, sympy.true)


def _check_parameter(symbol: sympy.Symbol, declared: Mapping[sympy.Symbol, Any]) -> None:
    reserved = symbol.name in RESERVED or not symbol.name.isidentifier()
    if reserved or (symbol.name not in PARAMETERS and symbol not in declared):
        raise refusal(
            InvalidValueError,
            "update",
            f"the symbol {symbol}" + (", which has another meaning" if reserved else ""),
            f"lambda, mu, and parameters (declared, or one of {', '.join(PARAMETERS)})",
            "Rename it." if reserved else f"Declare it with parameters=[{symbol}].",
        )
    if symbol.is_real is False:
        raise refusal(
            InvalidValueError,
            "update",
            f"the complex parameter {symbol}",
            "real ones",
            "Use two real symbols.",
        )


def _assumed(symbol: sympy.Symbol, ours: sympy.Symbol) -> Iterator[Relational]:
    """Yield what a symbol was declared to be."""
    if symbol.is_positive:
        yield ours > 0
    elif symbol.is_negative:
        yield ours < 0
    elif symbol.is_nonnegative:
        yield ours >= 0
    elif symbol.is_nonpositive:
        yield ours <= 0
    elif symbol.is_zero is False and symbol.is_real:
        yield sympy.Ne(ours, 0)


def _relations(condition: Any) -> Iterator[Relational]:
    if condition in (True, sympy.true):
        return
    if condition in (False, sympy.false):
        raise _impossible(condition)
    parts = condition.args if isinstance(condition, sympy.And) else (condition,)
    for part in parts:
        if not isinstance(part, Relational):
            raise refusal(
                InvalidTypeError,
                "parameters",
                repr(condition),
                "relations joined by sympy.And",
                "Write {eps: sympy.And(eps > 0, eps < 1)}.",
            )
        yield part


def _check_polynomial(update: sympy.Expr, g: sympy.Expr) -> None:
    symbols = sorted(g.free_symbols, key=str)
    polynomial = sympy.Poly(g, *symbols) if symbols and g.is_polynomial(*symbols) else None
    if not symbols and g.is_Rational:
        return
    if polynomial is None or not all(c.is_Rational for c in polynomial.coeffs()):
        raise refusal(
            InvalidValueError,
            "update",
            str(update),
            "a polynomial with rational coefficients",
            "Other maps are out of reach; measure them with simulate.",
        )


def _check_relation(relation: Relational, known: Mapping[sympy.Symbol, sympy.Symbol]) -> None:
    symbols = relation.free_symbols
    eigenvalue = {known[s].name for s in symbols & set(known)} & {"lambda", "mu"}
    rational = all(
        side.is_polynomial(*symbols) and all(c.is_Rational for c in sympy.Poly(side, *symbols).coeffs())
        for side in (relation.args if symbols else ())
    )
    if eigenvalue or not symbols or symbols - set(known) or not rational:
        raise refusal(
            InvalidValueError,
            "parameters",
            str(relation),
            "polynomial relations between declared parameters, with rational coefficients",
            "Leave lambda and mu out: they are what the condition is about.",
        )


def _check_domain(domain: list[Relational]) -> None:
    if smt.ask("z3", [formula(r, smt.load()) for r in domain], False).verdict == "proved":
        raise _impossible(", ".join(map(str, domain)))


def _impossible(found: object) -> LinsimError:
    return refusal(
        InvalidValueError,
        "parameters",
        found,
        "relations that some value meets",
        "Correct them: nothing obeys all of these.",
    )
