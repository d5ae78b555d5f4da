"""A statement: a sentence, the claims about real numbers that it comes down to, and two ways to each.

A claim is an implication between relations of real numbers.  It carries a
derivation, whose steps SymPy checks, and beside it stands a second, separately
written form of the same claim for solvers of real arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sympy.core.relational import Relational

from linsim.errors import LinsimError

from .signs import Facts, difference, is_zero
from .steps import Step, Tends, latex

__all__ = ["Claim", "ProofError", "Query", "Statement"]

Conclusion: TypeAlias = Relational | Tends


class ProofError(LinsimError, ValueError):
    """A derivation does not check: a step is false, SymPy cannot see it, or the end is not reached.

    Remedy: the message names the step; correct it, or split it into smaller ones.
    """


@dataclass(frozen=True)
class Claim:
    """One implication between relations of real numbers, with its derivation.

    Attributes
    ----------
    name : str
        What tells it from the other claims of its statement, as "mu > 0".
    given : mapping of str to SymPy relation
        The assumptions, each by a name.
    shows : sequence of SymPy relation or Tends
        The conclusions.
    steps : sequence of Identity, Sign or Tends
        The derivation; its steps together with ``given`` must reach ``shows``.
    reduction : str
        How the statement about matrices comes down to this one, in words.

    Examples
    --------
    >>> import sympy
    >>> from proofs_check import Sign, plus
    >>> x, y = sympy.symbols("x y", real=True)
    >>> claim = Claim(
    ...     "squares",
    ...     given={"y > 0": y > 0, "x > y": x > y},
    ...     shows=[x**2 > y**2],
    ...     steps=[
    ...         Sign("their sum is positive", x + y, ">", plus(x - y, 2 * y)),
    ...         Sign("so is the product", x**2 - y**2, ">", (x - y) * (x + y)),
    ...     ],
    ... )
    >>> claim.check()
    """

    name: str
    given: Mapping[str, Relational]
    shows: Sequence[Conclusion]
    steps: Sequence[Step]
    reduction: str = ""

    def check(self, without: str | None = None) -> None:
        """Check every step, and that the conclusions are reached.

        Parameters
        ----------
        without : str, optional
            An assumption to leave out: what needs it must fail.

        Raises
        ------
        ProofError
            At the first step that does not check; the message names it.
        """
        for relation in (*self.given.values(), *self.shows):
            if not isinstance(relation, Relational | Tends):
                raise ProofError(
                    f"{self.name}: found {relation!r}; expected relations, and limits as conclusions. "
                    "Split a conjunction; SymPy has evaluated what is true or false for all values."
                )
        facts = Facts(relation for name, relation in self.given.items() if name != without)
        for number, step in enumerate(self.steps, start=1):
            if not step.holds(facts):
                raise ProofError(
                    f"{self.name}: found step {number} ({step.says}) not shown by what precedes it; "
                    "expected every step to check. Correct it, or split it into smaller ones."
                )
            step.teach(facts)
        for conclusion in self.shows:
            if not self._reached(conclusion, facts):
                raise ProofError(
                    f"{self.name}: found no step that ends in {conclusion}; "
                    "expected the derivation to reach it. Add the missing steps."
                )

    def _reached(self, conclusion: Conclusion, facts: Facts) -> bool:
        if isinstance(conclusion, Tends):
            return any(isinstance(step, Tends) and step.same_limit(conclusion) for step in self.steps)
        expression, relation = difference(conclusion)
        if relation == "==" and is_zero(facts.put_in(expression)):
            return facts.defined(conclusion.lhs) and facts.defined(conclusion.rhs)
        return facts.holds(expression, relation)

    def latex(self) -> str:
        """Return the implication as a formula."""
        given = r",\; ".join(latex(relation) for relation in self.given.values())
        shows = r",\; ".join(c.latex() if isinstance(c, Tends) else latex(c) for c in self.shows)
        return rf"{given} \;\Longrightarrow\; {shows}" if given else shows


@dataclass(frozen=True)
class Query:
    """A claim as solvers of real arithmetic read it, written without looking at the SymPy form.

    Attributes
    ----------
    given : mapping of str to z3 formula
        The same assumptions by the same names.
    shows : z3 formula
        The conclusion; a solver must find its negation impossible.
    same_symbols : bool
        Whether symbols and conclusion mean what those of the SymPy form mean,
        so that the two can be compared at points; False where, for instance,
        a limit is written with an epsilon.
    """

    given: Mapping[str, Any]
    shows: Any
    same_symbols: bool = True


@dataclass(frozen=True)
class Statement:
    """Something proved, refuted, or left open.

    Attributes
    ----------
    id : str
        Its name, as "dominance.boundary".
    sentence : str
        What it says, for a reader of the papers.
    latex : str
        The formula.
    source : str
        Where it comes from.
    claims : sequence of Claim
        What it comes down to between real numbers.
    second : callable, optional
        Given the module ``z3`` (Reals, And, Or, Not), returns a mapping from
        names of claims to :class:`Query`; cvc5 is asked the same as SMT-LIB text.
    only_symbolic : mapping of str to str
        Claims that real arithmetic cannot express, by name, each with the reason.
    witnesses : mapping
        (claim, assumption) -> values of symbols, or a sentence: why the
        assumption is needed, where a solver does not find it.
    counterexample : str
        For a sentence that is false: the system that refutes it, as LaTeX.
        The claims then prove what that system does.
    tried : sequence of str
        For an open question: what was tried, with the outcome. The claims are partial results.
    enclosures : callable, optional
        Returns (words, ball, ball) triples: two independent evaluations that must overlap.

    Examples
    --------
    >>> import sympy
    >>> from proofs_check import Sign
    >>> x = sympy.Symbol("x", real=True)
    >>> steps = [Sign("a square", x**2 + 2 * x + 1, ">=", (x + 1) ** 2)]
    >>> claim = Claim("square", {}, [x**2 + 2 * x + 1 >= 0], steps)
    >>> Statement("square", "A square is not negative.", "(x+1)^2 \\\\ge 0", "school", [claim]).check()
    """

    id: str
    sentence: str
    latex: str
    source: str
    claims: Sequence[Claim]
    second: Callable[[Any], Mapping[str, Query]] | None = None
    only_symbolic: Mapping[str, str] = field(default_factory=dict)
    witnesses: Mapping[tuple[str, str], Mapping[str, Any] | str] = field(default_factory=dict)
    counterexample: str = ""
    tried: Sequence[str] = ()
    enclosures: Callable[[], Any] | None = None

    @property
    def aim(self) -> str:
        """What it is when everything checks: "proved", "refuted" or "open"."""
        if self.tried:
            return "open"
        return "refuted" if self.counterexample else "proved"

    def check(self) -> None:
        """Check the derivation of every claim.

        Raises
        ------
        ProofError
            At the first step that does not check; the message names it.
        """
        if not self.claims or not all(claim.shows for claim in self.claims):
            raise ProofError(
                f"{self.id}: found no claim, or one that shows nothing; expected a proof. Write it."
            )
        for claim in self.claims:
            try:
                claim.check()
            except ProofError as error:
                raise ProofError(f"{self.id}, {error}") from None
