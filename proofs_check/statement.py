"""A statement is a sentence and the numbered steps that prove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from linsim.errors import LinsimError

__all__ = ["Identity", "ProofError", "Sign", "Statement", "Step"]


class ProofError(LinsimError, ValueError):
    """A step does not check: it is false, or SymPy cannot see that it is true."""


@dataclass(frozen=True)
class Identity:
    """The step ``left == right``, for every value of the symbols.

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

    def holds(self) -> bool:
        """Whether the difference is the zero rational function."""
        return bool(sympy.cancel(sympy.together(sympy.expand_complex(self.left - self.right))) == 0)


@dataclass(frozen=True)
class Sign:
    """The step "``expression`` is positive" (or another sign), by the assumptions on its symbols.

    Examples
    --------
    >>> p = sympy.Symbol("p", positive=True)
    >>> Sign("a product of positive factors", p * (1 + p), "positive").holds()
    True
    >>> Sign("undecided", p - 1, "positive").holds()
    False
    """

    says: str
    expression: Any
    sign: str

    def holds(self) -> bool:
        """Whether the factors show the sign."""
        factored = sympy.factor(sympy.cancel(sympy.together(self.expression)))
        return getattr(factored, f"is_{self.sign}") is True


Step = Identity | Sign


@dataclass(frozen=True)
class Statement:
    """Something proved.

    Attributes
    ----------
    id : str
        Its name.
    sentence : str
        What it says.
    source : str
        Where it comes from.
    steps : sequence of Identity or Sign
        The proof, each step checked by SymPy.

    Examples
    --------
    >>> x = sympy.Symbol("x", real=True)
    >>> steps = [Identity("complete the square", x**2 + 2 * x + 1, (x + 1) ** 2)]
    >>> Statement("square", "x^2 + 2x + 1 >= 0", "standard", steps).check()
    """

    id: str
    sentence: str
    source: str
    steps: Sequence[Step]

    def check(self) -> None:
        """Check every step.

        Raises
        ------
        ProofError
            At the first step that does not check; the message names it.
        """
        if not self.steps:
            raise ProofError(f"{self.id}: found no step; expected at least one. Write the proof.")
        for number, step in enumerate(self.steps, start=1):
            if not step.holds():
                raise ProofError(
                    f"{self.id}: found step {number} ({step.says}) not true for all values; "
                    "expected every step to check. Correct it, or split it into smaller ones."
                )
