"""The steps of a derivation: an identity, a sign, a limit.

Each step says in a sentence what it shows, can be written as a formula, and
is checked against what was given or shown before it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import sympy

from .signs import RELATIONS, Facts, is_zero

__all__ = ["Identity", "Sign", "Step", "Tends", "plus", "times"]

#: combinations of signs that a limit is asked for
MOST_CASES = 81

_LATEX = {">": ">", ">=": r"\ge", "<": "<", "<=": r"\le", "==": "=", "!=": r"\ne"}


def latex(expression: Any) -> str:
    """Return LaTeX of an expression, powers and products as a person writes them."""
    return sympy.latex(expression, ln_notation=True, fold_short_frac=False)


def plus(*terms: Any) -> sympy.Expr:
    """Return a sum that stays as it is written, so that the sign of each term can be read.

    Examples
    --------
    >>> a, b = sympy.symbols("a b")
    >>> (a - b) + b, plus(a - b, b)
    (a, b + (a - b))
    """
    return sympy.Add(*terms, evaluate=False)


def times(*factors: Any) -> sympy.Expr:
    """Return a product that stays as it is written.

    Examples
    --------
    >>> a = sympy.Symbol("a")
    >>> (a - 1) / (a - 1), times(a - 1, 1 / (a - 1))
    (1, (a - 1)/(a - 1))
    """
    return sympy.Mul(*factors, evaluate=False)


@dataclass(frozen=True)
class Identity:
    """The step ``left = right``, wherever both sides are defined, the values that are given put in.

    Attributes
    ----------
    says : str
        The step in words.
    left, right : SymPy expressions, or matrices of one shape
        Two forms of one thing; derivatives, sums and integrals that SymPy can do may be unevaluated.

    Examples
    --------
    >>> x = sympy.Symbol("x")
    >>> Identity("square", (x + 1) ** 2, x**2 + 2 * x + 1).holds()
    True
    >>> Identity("square", (x + 1) ** 2, x**2 + 1).holds()
    False
    """

    says: str
    left: Any
    right: Any

    def holds(self, facts: Facts | None = None) -> bool:
        """Whether the difference is zero."""
        facts = facts or Facts()
        left, right = (facts.put_in(sympy.sympify(side)).doit() for side in (self.left, self.right))
        if isinstance(left, sympy.MatrixBase) and getattr(right, "shape", None) != left.shape:
            return False
        if isinstance(left, sympy.MatrixBase):
            return is_zero(sympy.ImmutableMatrix(left - right))
        return is_zero(left - right)

    def teach(self, facts: Facts) -> None:
        """Add to what is known: an identity is known already."""

    def latex(self) -> str:
        """Return the formula."""
        return f"{latex(self.left)} = {latex(self.right)}"


@dataclass(frozen=True)
class Sign:
    """The step ``expression > 0`` (or another relation), read off the form ``by``.

    Attributes
    ----------
    says : str
        The step in words.
    expression : SymPy expression
        What has the sign.
    relation : str
        One of > >= < <= == !=, always against 0.
    by : SymPy expression, optional
        An identical form from whose factors and terms the sign follows, by
        what was given or shown; default: the expression as it is written.

    Examples
    --------
    >>> p = sympy.Symbol("p", positive=True)
    >>> Sign("a sum of positive terms", (1 + p) ** 2 - 1, ">", p * (2 + p)).holds()
    True
    >>> Sign("undecided", p - 1, ">").holds()
    False
    """

    says: str
    expression: Any
    relation: str
    by: Any = None

    def holds(self, facts: Facts | None = None) -> bool:
        """Whether the two forms are identical and the rules show the sign."""
        facts = facts or Facts()
        form = self.expression if self.by is None else self.by
        same = self.by is None or is_zero(facts.put_in(sympy.sympify(self.expression - self.by)))
        return self.relation in RELATIONS and same and facts.holds(form, self.relation)

    def teach(self, facts: Facts) -> None:
        """Add the sign to what is known."""
        facts.learn(self.expression, self.relation)

    def latex(self) -> str:
        """Return the formula."""
        by = "" if self.by is None else f" = {latex(self.by)}"
        return f"{latex(self.expression)}{by} {_LATEX[self.relation]} 0"


@dataclass(frozen=True)
class Tends:
    """The step, or conclusion, that ``expression`` tends to ``value`` as ``variable`` goes to ``point``.

    It must hold for every sign that the symbols may have; those known to lie in (0, 1) are told as such.

    Attributes
    ----------
    says : str
        The step in words.
    expression : SymPy expression
        What has the limit.
    variable : SymPy symbol
        What moves, as ``l`` for the depth.
    point, value : SymPy expressions
        Where to (a finite point is approached from above), and the limit.

    Examples
    --------
    >>> q, l = sympy.symbols("q l", real=True)
    >>> step = Tends("geometric", l**2 * q**l, l, sympy.oo, 0)
    >>> step.holds(Facts([q > 0, q < 1])), step.holds(Facts([q > 0]))
    (True, False)
    """

    says: str
    expression: Any
    variable: sympy.Symbol
    point: Any
    value: Any

    def holds(self, facts: Facts | None = None) -> bool:
        """Whether SymPy finds this limit, for every sign that each symbol may have."""
        facts = facts or Facts()
        expression, value = (facts.put_in(sympy.sympify(e)) for e in (self.expression, self.value))
        if self.variable in value.free_symbols | sympy.sympify(self.point).free_symbols:
            return False
        if self._by_degrees(expression, facts) and self._found(expression, value, {}, careful=False):
            return True
        symbols = sorted(_decisive(expression, self.variable) | value.free_symbols, key=str)
        cases = [_cases(symbol, facts) for symbol in symbols]
        if not all(cases) or math.prod(map(len, cases)) > MOST_CASES:
            return False
        return all(
            self._found(expression, value, dict(zip(symbols, told, strict=True)), careful=True)
            for told in itertools.product(*cases)
        )

    def _by_degrees(self, expression: Any, facts: Facts) -> bool:
        """Whether it is continuous there, or a quotient of polynomials whose denominator keeps its degree."""
        if self.point is not sympy.oo and facts.defined(expression, {self.variable: self.point}):
            return True
        if not expression.is_rational_function(self.variable):
            return False
        bottom = sympy.expand(sympy.fraction(sympy.together(expression))[1])
        at_infinity = self.point is sympy.oo
        lead = sympy.LC(bottom, self.variable) if at_infinity else bottom.subs(self.variable, self.point)
        if not at_infinity and not facts.defined(expression):
            return False
        return facts.holds(lead, "!=") or facts.holds(sympy.factor(lead), "!=")

    def _found(
        self, expression: Any, value: Any, told: dict[sympy.Symbol, sympy.Expr], *, careful: bool
    ) -> bool:
        variable = self.variable
        if self.point is sympy.oo:  # what goes to infinity is positive in the end
            told[variable] = variable = sympy.Dummy(variable.name, positive=True)
        wanted, moving = value.subs(told), expression.subs(told)
        if careful and not _generic(moving, variable):
            return False
        try:
            limit = sympy.limit(moving, variable, self.point)
        except (NotImplementedError, ValueError):
            return False
        if limit.has(*_NO_VALUE) or wanted.has(*_NO_VALUE):
            return False
        return bool(limit == wanted) or (limit.is_finite is not False and is_zero(limit - wanted))

    def teach(self, facts: Facts) -> None:
        """Add to what is known: nothing about signs."""

    def latex(self) -> str:
        """Return the formula."""
        return f"{latex(sympy.Limit(self.expression, self.variable, self.point))} = {latex(self.value)}"

    def same_limit(self, other: Tends) -> bool:
        """Whether another one says the same, in other words perhaps."""
        return (
            self.variable == other.variable
            and self.point == other.point
            and is_zero(sympy.sympify(self.expression - other.expression))
            and (self.value == other.value or is_zero(sympy.sympify(self.value - other.value)))
        )


Step = Identity | Sign | Tends


_NO_VALUE = (sympy.nan, sympy.zoo, sympy.AccumBounds, sympy.Limit)


def _decisive(expression: Any, variable: sympy.Symbol) -> set[sympy.Symbol]:
    """Return the symbols whose signs may change a limit: all but plain coefficients of the numerator."""
    found = set(sympy.fraction(sympy.together(expression))[1].free_symbols)
    for part in expression.atoms(sympy.Function, sympy.Pow):
        if isinstance(part, sympy.Function) or not part.exp.is_Integer:
            found |= part.free_symbols
    return found - {variable}


def _generic(moving: Any, variable: sympy.Symbol) -> bool:
    """Whether no coefficient in a denominator or under a function may vanish for special parameters."""
    places = [sympy.fraction(sympy.together(moving))[1]]
    places += [
        part
        for part in moving.atoms(sympy.Function, sympy.Pow)
        if part.has(variable) and (isinstance(part, sympy.Function) or not part.exp.is_Integer)
    ]
    return all(
        not may_vanish.free_symbols or may_vanish.is_zero is False
        for place in places
        for part in sympy.preorder_traversal(place)
        if isinstance(part, sympy.Add)
        for may_vanish in _coefficients(part, variable)
    )


def _coefficients(total: sympy.Add, variable: sympy.Symbol) -> list[sympy.Expr]:
    """Return what stands beside each different function of the variable in a sum."""
    groups: dict[Any, Any] = {}
    for term in sympy.expand(total).as_ordered_terms():
        steady, moving = term.as_independent(variable, as_Add=False)
        groups[moving] = groups.get(moving, 0) + steady
    return [sympy.factor(coefficient) for coefficient in groups.values()]


def _cases(symbol: sympy.Symbol, facts: Facts) -> list[sympy.Expr]:
    """Return a symbol with each sign it may have, as SymPy knows it: 1/(1+p) for one in (0, 1)."""
    if symbol.is_integer:
        return [symbol] if symbol.is_positive else []
    positive = sympy.Dummy(symbol.name, positive=True)
    above = 1 / (1 + positive) if facts.holds(1 - symbol, ">") else positive
    return [{1: above, 0: sympy.Integer(0), -1: -positive}[sign] for sign in sorted(facts.signs(symbol))]
