"""What is found for an update rule: the condition, and how it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy
from sympy.logic.boolalg import Boolean

from .. import prose, smt
from ..statement import Claim

__all__ = ["BETWEEN", "Condition"]

#: how the claim begins that only the ends of a real spectrum matter
BETWEEN = "nothing between a and 1 exceeds both"


@dataclass(frozen=True)
class Condition:
    """When the constant mode dominates, and how that is known.

    Attributes
    ----------
    update : SymPy expression
        The eigenvalue map g, its symbols real: ``lambda``, ``mu`` and the parameters.
    condition : SymPy Boolean
        For real mu, and attention with a real spectrum of which ``a`` is the smallest, -1 < a < 1:
        the mode lambda = 1 beats all others exactly where this holds. Where ``verdict``
        is "open" it may be only necessary: see ``undecided``.
    loses, ties : SymPy Boolean
        Where a beats lambda = 1, and where those two tie.
    condition_complex : SymPy relation or None
        The same condition for mu = x + iy; None where it was not found or not proved.
    verdict : str
        "proved" (every claim by at least two engines) or "open".
    claims : tuple of Claim
        What was to be proved, with SymPy derivations.
    engines : mapping of str to tuple of str
        Name of each claim -> the engines that proved it.
    undecided : tuple of str
        What could not be decided, in words.

    Examples
    --------
    >>> from proofs_check import dominance_condition
    >>> lam, mu = sympy.symbols("lambda mu")
    >>> print(dominance_condition(lam * mu))
    lambda*mu: lambda = 1 dominates iff Ne(mu, 0)
    a beats it never, and ties with it iff Eq(mu, 0)
    mu = x + iy: lambda = 1 dominates iff Ne(x**2 + y**2, 0)
    proved by sympy, z3, cvc5
    """

    update: sympy.Expr
    condition: Boolean
    loses: Boolean
    ties: Boolean
    condition_complex: Boolean | None
    verdict: str
    claims: tuple[Claim, ...]
    engines: Mapping[str, tuple[str, ...]]
    undecided: tuple[str, ...]

    def __str__(self) -> str:
        short = all(name.startswith(BETWEEN) for name, by in self.engines.items() if len(by) < 2)
        sure = "" if self.verdict == "proved" else "only (the rest is open) " if short else "(not proved) "
        lines = [
            f"{self.update}: lambda = 1 dominates {sure}{_when(self.condition)}",
            f"a beats it {_when(self.loses)}, and ties with it {_when(self.ties)}",
        ]
        if self.condition_complex is not None:
            lines.append(f"mu = x + iy: lambda = 1 dominates {_when(self.condition_complex)}")
        by = [e for e in ("sympy", *smt.SOLVERS) if any(e in found for found in self.engines.values())]
        lines.append(f"proved by {', '.join(by)}" if self.verdict == "proved" else "open")
        return "\n".join([*lines, *(f"not decided: {what}" for what in self.undecided)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "<br>".join(map(prose.as_html, str(self).splitlines()))


def _when(condition: Boolean) -> str:
    return {sympy.true: "always", sympy.false: "never"}.get(condition, f"iff {condition}")
