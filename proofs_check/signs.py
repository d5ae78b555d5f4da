"""What is known of the signs of expressions, and what follows by the rules of sums and products.

The whole logic of a derivation is here, small enough to be read: a set of
possible signs for each expression, narrowed by what was given or shown before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import sympy
from sympy.core.relational import Relational

__all__ = ["RELATIONS", "Facts", "difference", "is_zero"]

Signs = frozenset[int]

ANY: Signs = frozenset({-1, 0, 1})
POSITIVE: Signs = frozenset({1})
#: the signs that ``expression RELATION 0`` allows
RELATIONS: dict[str, Signs] = {
    ">": POSITIVE,
    ">=": frozenset({0, 1}),
    "<": frozenset({-1}),
    "<=": frozenset({-1, 0}),
    "==": frozenset({0}),
    "!=": frozenset({-1, 1}),
}


def difference(relation: Relational) -> tuple[sympy.Expr, str]:
    """Return (e, r) such that the relation says ``e r 0``.

    Examples
    --------
    >>> x = sympy.Symbol("x", real=True)
    >>> difference(x < 2)
    (x - 2, '<')
    """
    return relation.lhs - relation.rhs, relation.rel_op


@lru_cache(maxsize=100_000)
def is_zero(expression: sympy.Expr) -> bool:
    """Whether an expression is zero for every value of its symbols, as far as SymPy can show.

    Examples
    --------
    >>> x = sympy.Symbol("x", positive=True)
    >>> is_zero((x + 1) ** 2 - x**2 - 2 * x - 1)
    True
    >>> is_zero(sympy.gamma(x + 1) - x * sympy.gamma(x))
    True
    >>> is_zero(x - 1)
    False
    """
    if isinstance(expression, sympy.MatrixBase):
        return all(is_zero(entry) for entry in expression)
    expression = sympy.sympify(expression)
    if expression.has(sympy.nan, sympy.zoo, sympy.oo):
        return False
    try:
        return _vanishes(expression)
    except (NotImplementedError, TypeError, ValueError):  # SymPy cannot say
        return False


def _vanishes(expression: sympy.Expr) -> bool:
    if expression.is_polynomial() and not expression.has(sympy.I):
        return bool(sympy.expand(expression.doit()) == 0)  # doit: sums written unevaluated
    if sympy.cancel(sympy.together(sympy.expand_complex(expression))) == 0:
        return True
    if not expression.has(sympy.Function, sympy.Pow):
        return False
    return bool(sympy.simplify(sympy.gammasimp(sympy.expand_func(expression))) == 0)


class Facts:
    """Relations between real expressions that are taken as true.

    Parameters
    ----------
    given : iterable of SymPy relations
        ``symbol == value`` is substituted wherever the symbol appears, any
        other relation narrows the sign of a difference.

    Examples
    --------
    >>> mu, a = sympy.symbols("mu a", real=True)
    >>> facts = Facts([mu > 0, a < 1, a > -1])
    >>> facts.holds(mu * (1 - a) * (2 + mu * (1 + a)), ">")
    True
    >>> Facts([a < 1]).holds(mu * (1 - a), ">")
    False
    """

    def __init__(self, given: Iterable[Relational] = ()) -> None:
        self._known: dict[sympy.Expr, Signs] = {}
        self._values: dict[sympy.Symbol, sympy.Expr] = {}
        given = tuple(given)
        solved = [r for r in given if isinstance(r, sympy.Eq) and r.lhs.is_Symbol]
        for _ in solved:  # a value may hold symbols whose values are given after it
            self._values = {r.lhs: self.put_in(r.rhs) for r in solved}
        for relation in given:
            if not (isinstance(relation, sympy.Eq) and relation.lhs.is_Symbol):
                self.learn(*difference(relation))

    def put_in(self, expression: sympy.Expr) -> sympy.Expr:
        """Replace the symbols whose values are given; sums and products stay as they are written."""
        if not self._values:
            return expression
        if isinstance(expression, sympy.MatrixBase):
            return expression.applyfunc(self.put_in)
        if expression in self._values:
            return self._values[expression]
        bound = set(getattr(expression, "bound_symbols", ())) | set(getattr(expression, "variables", ()))
        if bound & {s for pair in self._values.items() for part in pair for s in part.free_symbols}:
            return expression  # a symbol that is bound here means something else
        if not expression.free_symbols & set(self._values):
            return expression
        args = [self.put_in(part) for part in expression.args]
        as_written = (
            isinstance(expression, sympy.Add | sympy.Mul) and expression.func(*expression.args) != expression
        )
        return expression.func(*args, evaluate=False) if as_written else expression.func(*args)

    def learn(self, expression: sympy.Expr, relation: str) -> None:
        """Take ``expression relation 0`` as true."""
        key, turned = _key(self.put_in(expression))
        signs = frozenset(turned * s for s in RELATIONS[relation])
        self._known[key] = self._known.get(key, ANY) & signs

    def defined(self, expression: sympy.Expr, at: Mapping[Any, Any] | None = None) -> bool:
        """Whether it has a value: no denominator vanishes, logarithms are of positive numbers.

        ``at`` replaces symbols, part by part, so that nothing cancels before it is looked at.
        """
        parts = sympy.preorder_traversal(self.put_in(expression))
        return all(self._has_value(part, at or {}) for part in parts)

    def _has_value(self, part: sympy.Expr, at: Mapping[Any, Any]) -> bool:
        if isinstance(part, sympy.Function) and not isinstance(part, _ENTIRE):
            return self.signs(part.args[-1].subs(at)) == POSITIVE
        if not isinstance(part, sympy.Pow) or (part.exp.is_Integer and part.exp.is_nonnegative):
            return True
        signs = self.signs(part.base.subs(at))
        return signs == POSITIVE or (bool(signs) and 0 not in signs and bool(part.exp.is_Integer))

    def holds(self, expression: sympy.Expr, relation: str) -> bool:
        """Whether ``expression relation 0`` follows by the rules of sums and products.

        The rules are applied to the expression as it is written: a product of
        factors of known sign, a sum of terms that agree, and so on, down to
        what is given.
        """
        signs = self.signs(self.put_in(sympy.sympify(expression)))
        return bool(signs) and signs <= RELATIONS[relation]

    def signs(self, expression: sympy.Expr) -> Signs:
        """Return the signs that an expression may have; empty where it has no real value."""
        found = self._by_rule(expression)
        if expression.is_number or not found:
            return found
        key, turned = _key(expression)
        return found & frozenset(turned * s for s in self._known.get(key, ANY))

    def _by_rule(self, e: sympy.Expr) -> Signs:
        if e.is_number:
            return _of_number(e)
        if isinstance(e, sympy.Add):
            return _fold(_add, [self.signs(term) for term in e.args])
        if isinstance(e, sympy.Mul):
            return _fold(_multiply, [self.signs(factor) for factor in e.args])
        if isinstance(e, sympy.Pow):
            return self._of_power(e.base, e.exp)
        if isinstance(e, sympy.exp):  # of a real exponent that has a value
            return POSITIVE if self.signs(e.args[0]) else frozenset()
        if isinstance(e, sympy.log) and self.signs(e.args[0]) == POSITIVE:
            return self.signs(e.args[0] - 1)  # ln x has the sign of x - 1
        if isinstance(e, sympy.Abs):
            return frozenset(abs(s) for s in self.signs(e.args[0]))
        if isinstance(e, sympy.gamma) and self.signs(e.args[0]) == POSITIVE:
            return POSITIVE
        return _of_assumptions(e)

    def _of_power(self, base: sympy.Expr, exponent: sympy.Expr) -> Signs:
        signs = self.signs(base)
        if signs == POSITIVE:
            return POSITIVE if self.signs(exponent) else frozenset()
        if not exponent.is_number or not signs:
            return frozenset()
        if exponent.is_negative and 0 in signs:
            return frozenset()  # perhaps a division by zero: nothing may follow
        if exponent.is_even:
            return frozenset(s * s for s in signs)
        if exponent.is_odd:
            return signs
        return signs if signs <= RELATIONS[">="] and exponent.is_positive else frozenset()


#: functions with a value everywhere
_ENTIRE = (sympy.exp, sympy.sin, sympy.cos, sympy.Abs, sympy.Max, sympy.Min)


def _of_number(e: sympy.Expr) -> Signs:
    for sign, shown in ((0, e.is_zero), (1, e.is_positive), (-1, e.is_negative)):
        if shown:
            return frozenset({sign})
    return ANY if e.is_real else frozenset()


def _of_assumptions(e: sympy.Expr) -> Signs:
    if e.is_extended_real is not True:
        return frozenset()
    possible = ((1, e.is_positive), (0, e.is_zero), (-1, e.is_negative))
    return frozenset(sign for sign, shown in possible if shown is not False)


def _add(a: int, b: int) -> Signs:
    return ANY if a * b < 0 else frozenset({a or b})


def _multiply(a: int, b: int) -> Signs:
    return frozenset({a * b})


def _fold(rule: object, parts: list[Signs]) -> Signs:
    if not all(parts):
        return frozenset()
    total = parts[0]
    for part in parts[1:]:
        total = frozenset().union(*(rule(a, b) for a in total for b in part))  # type: ignore[operator]
    return total


@lru_cache(maxsize=100_000)
def _key(expression: sympy.Expr) -> tuple[sympy.Expr, int]:
    """Return a form that is the same for all positive multiples of an expression, and a sign."""
    if expression.is_polynomial():
        top, bottom = sympy.expand(expression.doit()), sympy.Integer(1)
    else:
        top, bottom = sympy.fraction(sympy.cancel(sympy.together(expression)))
    scale = sympy.Integer(1)
    parts = []
    for part in (top, bottom):
        symbols = sorted(part.free_symbols, key=lambda s: s.name)
        lead = sympy.Poly(part, *symbols).LC() if symbols and part.is_polynomial(*symbols) else _number(part)
        parts.append(sympy.expand(part / lead))
        scale *= sympy.sign(lead)
    return parts[0] / parts[1], int(scale)


def _number(part: sympy.Expr) -> sympy.Expr:
    """Return a real number that all positive multiples share the sign of."""
    lead = sympy.expand(part).as_ordered_terms()[0].as_coeff_Mul()[0]
    return lead if lead.is_real and lead != 0 else sympy.Integer(1)
