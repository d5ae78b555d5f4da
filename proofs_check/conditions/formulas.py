"""Polynomial relations in the language of a solver."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.core.relational import Relational

__all__ = ["Atom", "formula"]

Atom = tuple[sympy.Expr, str]  # form, relation to 0


def formula(atom: Atom | Relational, module: Any) -> Any:
    """Return a relation of polynomials in the language of a solver."""
    form, relation = (atom.lhs - atom.rhs, atom.rel_op) if isinstance(atom, Relational) else atom
    value = _polynomial(form, module)
    zero = module.RealVal(0)
    comparisons = {
        ">": lambda: value > zero,
        ">=": lambda: value >= zero,
        "<": lambda: value < zero,
        "<=": lambda: value <= zero,
        "==": lambda: value == zero,
        "!=": lambda: value != zero,
    }
    return comparisons[relation]()


def _polynomial(form: sympy.Expr, module: Any) -> Any:
    if form.is_Symbol:
        return module.Real(form.name)
    if form.is_Rational:
        return module.Q(form.p, form.q)
    if form.is_Add or form.is_Mul:
        parts = [_polynomial(arg, module) for arg in form.args]
        total = parts[0]
        for part in parts[1:]:
            total = total + part if form.is_Add else total * part
        return total
    assert form.is_Pow
    assert form.exp.is_Integer
    assert form.exp > 0
    base = _polynomial(form.base, module)
    total = base
    for _ in range(int(form.exp) - 1):
        total = total * base
    return total
