"""Check a statement with every engine, and each of its assumptions for being needed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from linsim import progress as progress_bar
from linsim.errors import MissingExtraError

from . import smt
from .statement import Claim, ProofError, Query, Statement
from .steps import Tends

__all__ = ["Need", "Result", "check", "check_all", "violated"]

#: a ball wider than this share of its middle encloses nothing worth the name
WIDEST_BALL = 1e-9
#: the two forms of a claim are compared at so many points
POINTS = 6
#: and a case that meets the assumptions is looked for among so many
MOST_POINTS = 400


@dataclass(frozen=True)
class Need:
    """Whether one assumption of one claim is needed.

    Attributes
    ----------
    claim, assumption : str
        Which.
    verdict : str
        "needed", "not needed", or "unsettled".
    point : mapping of str to Fraction
        Where everything else holds and the conclusion does not.
    why : str
        In words, where a point cannot say it.
    """

    claim: str
    assumption: str
    verdict: str
    point: Mapping[str, Fraction]
    why: str = ""

    def __str__(self) -> str:
        where = self.why or ", ".join(f"{name} = {value}" for name, value in self.point.items())
        return f"{self.claim}: {self.assumption}: {self.verdict}" + (f" ({where})" if where else "")


@dataclass(frozen=True)
class Result:
    """What was found for a statement.

    Attributes
    ----------
    statement : Statement
        The statement.
    verdict : str
        "proved", "refuted" (the counterexample was proved) or "open".
    engines : tuple of str
        Those that proved every claim: "sympy", "z3", "cvc5".
    decided : mapping of str to int
        How many claims each engine proved.
    enclosures : int
        How many pairs of balls were found to overlap.
    needs : tuple of Need
        Every assumption of every claim.
    problems : tuple of str
        What did not check. A statement that is not meant to be open fails if there is any.
    seconds : float
        Time taken.
    """

    statement: Statement
    verdict: str
    engines: tuple[str, ...]
    decided: Mapping[str, int]
    enclosures: int
    needs: tuple[Need, ...]
    problems: tuple[str, ...]
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether anything did not check."""
        return bool(self.problems)

    def __str__(self) -> str:
        from . import report  # which knows of results

        return "\n".join(report.details(self))

    __repr__ = __str__

    def _repr_html_(self) -> str | None:
        from . import report

        try:
            return report.as_fragment(self)
        except MissingExtraError:
            return None  # the text then


def check(statement: Statement, *, sharpness: bool = True, timeout: float = smt.TIMEOUT) -> Result:
    """Check a statement with SymPy, z3 and cvc5.

    Parameters
    ----------
    statement : Statement
        Which.
    sharpness : bool
        Also ask of every assumption whether it is needed.
    timeout : float
        Seconds for one question to one solver.

    Returns
    -------
    Result
        Never "proved" unless every step checks, every conclusion is reached,
        and a solver agrees on every claim that real arithmetic can express.

    Raises
    ------
    MissingExtraError
        If a solver is not installed.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> result = check(STATEMENTS["dominance.boundary"])
    >>> result.verdict, result.engines
    ('proved', ('sympy', 'z3', 'cvc5'))
    """
    start = time.perf_counter()
    queries = {} if statement.second is None else dict(statement.second(smt.load()))
    third = {name: smt.begin(q.given.values(), q.shows, timeout=timeout) for name, q in queries.items()}
    try:
        return _check(statement, queries, third, sharpness, timeout, start)
    except BaseException:
        for answer in third.values():
            answer.cancel()
        raise


def _check(
    statement: Statement,
    queries: Mapping[str, Query],
    third: Mapping[str, Future[smt.Answer]],
    sharpness: bool,
    timeout: float,
    start: float,
) -> Result:
    problems = list(_coverage(statement, queries))
    decided = {"sympy": 0} | dict.fromkeys(smt.SOLVERS, 0)
    try:
        statement.check()
        decided["sympy"] = len(statement.claims)
    except ProofError as error:
        problems.append(str(error))
    answers = {name: _ask(query, timeout) for name, query in queries.items()}
    for claim in statement.claims if not problems else ():
        problems += _compare(claim, queries.get(claim.name))
    enclosures = 0
    for words, one, other in statement.enclosures() if statement.enclosures else ():
        enclosures += 1
        if not (one.overlaps(other) and _narrow(one) and _narrow(other)):
            problems.append(
                f"{statement.id}, {words}: found {one} and {other}; expected narrow balls that overlap"
            )
    if sharpness and "unknown" in answers.values():
        problems.append(
            f"{statement.id}: found z3 undecided; expected it to say which assumptions are needed"
        )
    wanted = sharpness and not problems and set(answers.values()) <= {"proved"}
    needs = tuple(_needs(statement, queries, timeout)) if wanted else ()
    problems += [str(need) for need in needs if need.verdict == "unsettled"]
    for name, answer in answers.items():
        found = {"z3": answer, "cvc5": third[name].result().verdict}
        for solver, verdict in found.items():
            decided[solver] += verdict == "proved"
        problems += _judge(name, found, timeout)
    engines = tuple(e for e, count in decided.items() if count == len(statement.claims))
    return Result(
        statement,
        "open" if problems else statement.aim,
        engines,
        decided,
        enclosures,
        needs,
        tuple(problems),
        time.perf_counter() - start,
    )


def check_all(ids: Iterable[str] | None = None, *, progress: bool = True) -> list[Result]:
    """Check statements of the catalogue, all of them by default, with a progress bar on standard error.

    Parameters
    ----------
    ids : iterable of str, optional
        Names in ``STATEMENTS``.
    progress : bool
        Show the bar, where standard error is a terminal.

    Examples
    --------
    >>> [result.verdict for result in check_all(["dominance.boundary", "smooth.complex"], progress=False)]
    ['proved', 'refuted']
    """
    from .catalogue import STATEMENTS

    chosen = list(STATEMENTS if ids is None else ids)
    with progress_bar.bar(chosen, unit="statement", shown=progress) as bar:
        results = []
        for name in bar:
            bar.set_postfix_str(name)
            results.append(check(STATEMENTS[name]))
    return results


def _coverage(statement: Statement, queries: Mapping[str, Query]) -> Iterator[str]:
    names = [claim.name for claim in statement.claims]
    if len(set(names)) < len(names):
        yield f"{statement.id}: found two claims of one name; expected different names"
    if set(queries) | set(statement.only_symbolic) != set(names) or set(queries) & set(
        statement.only_symbolic
    ):
        yield (
            f"{statement.id}: found a second form of {sorted(queries)} and reasons for none of "
            f"{sorted(statement.only_symbolic)}; expected one or the other for each of {sorted(names)}"
        )
    for claim in statement.claims:
        if claim.name in queries and set(queries[claim.name].given) != set(claim.given):
            yield (
                f"{statement.id}, {claim.name}: found the assumptions {sorted(queries[claim.name].given)} "
                f"in the second form; expected {sorted(claim.given)}"
            )


def _ask(query: Query, timeout: float) -> str:
    """Return the verdict of z3, "vacuous" where the assumptions contradict each other."""
    if smt.ask("z3", query.given.values(), False, timeout=timeout).verdict == "proved":
        return "vacuous"
    return smt.ask("z3", query.given.values(), query.shows, timeout=timeout).verdict


def _judge(name: str, found: Mapping[str, str], timeout: float) -> Iterator[str]:
    if "vacuous" in found.values():
        yield f"{name}: found assumptions that contradict each other; expected some case to meet them"
    elif "refuted" in found.values():
        yield f"{name}: found a point where the second form fails; expected none ({found})"
    elif "proved" not in found.values():
        yield f"{name}: found no solver that decides the second form in {timeout:g} s; expected one"


def _compare(claim: Claim, query: Query | None) -> Iterator[str]:
    """Compare the two forms at random points, and look for a case that meets the assumptions."""
    draw = random.Random(claim.name)
    second = query if query is not None and query.same_symbols else None
    formulas = {} if second is None else {name: smt.compiled(f) for name, f in second.given.items()}
    shows = None if second is None else smt.compiled(second.shows)
    names = sorted(
        {s.name for r in (*claim.given.values(), *_relations(claim)) for s in r.free_symbols}
        | (set() if second is None else smt.symbols([second.shows, *second.given.values()]))
    )
    met = not claim.given
    for number in range(MOST_POINTS):
        point = {key: Fraction(draw.randint(-6, 6), draw.choice((1, 1, 2, 3))) for key in names}
        if number == 0 and query is not None:  # where the assumptions of the second form hold
            point |= {k: v for k, v in smt.ask("z3", query.given.values(), False).point.items() if k in names}
        elif number % 2:
            point = _put_in(claim, {key: abs(value) for key, value in point.items()})
        met = met or _all_true(claim.given.values(), point) is True
        if number < POINTS and second is not None and shows is not None:
            for name, relation in claim.given.items():
                if _all_true([relation], point) not in (None, formulas[name](point)):
                    yield f"{claim.name}: found two forms of the assumption {name}; expected one ({point})"
                    return
            relations = _relations(claim)
            if len(relations) == len(claim.shows) and _all_true(relations, point) not in (None, shows(point)):
                yield f"{claim.name}: found two forms that differ; expected them to say the same ({point})"
                return
        if met and number >= POINTS:
            return
    if not met:
        yield f"{claim.name}: found no case that meets the assumptions; expected one among simple fractions"


def _relations(claim: Claim) -> list[Any]:
    return [c for c in claim.shows if not isinstance(c, Tends)]


def _narrow(ball: Any) -> bool:
    return bool(ball.rad() <= WIDEST_BALL * abs(ball.mid()))


def _needs(statement: Statement, queries: Mapping[str, Query], timeout: float) -> Iterator[Need]:
    if statement.aim == "refuted":
        return  # its assumptions are the counterexample
    for claim in statement.claims:
        for name in claim.given:
            witness = statement.witnesses.get((claim.name, name))
            if witness is not None:
                yield _of_witness(claim, name, witness)
            elif claim.name in queries:
                yield _ask_without(claim, queries[claim.name], name, timeout)
            else:
                yield Need(claim.name, name, "unsettled", {}, "no solver can say, and no witness is given")


def _of_witness(claim: Claim, name: str, witness: Mapping[str, Any] | str) -> Need:
    if isinstance(witness, str):
        return Need(claim.name, name, "needed", {}, witness)
    point = {key: Fraction(value) for key, value in witness.items()}
    if violated(claim, name, point):
        return Need(claim.name, name, "needed", point)
    return Need(claim.name, name, "unsettled", point, f"the witness {dict(witness)} violates nothing")


def _ask_without(claim: Claim, query: Query, name: str, timeout: float) -> Need:
    rest = [formula for key, formula in query.given.items() if key != name]
    answer = smt.ask("z3", rest, query.shows, timeout=timeout)
    if answer.verdict == "proved":
        return Need(claim.name, name, "not needed", {})
    if answer.verdict == "unknown":
        return Need(claim.name, name, "unsettled", {}, f"no answer in {timeout:g} s")
    used = sorted(smt.symbols([query.shows, *query.given.values()]))
    point = {key: answer.point.get(key, Fraction(0)) for key in used}
    shows, *others = (smt.compiled(formula) for formula in (query.shows, *rest))
    for simple in _simpler(point):
        in_second = not shows(simple) and all(formula(simple) for formula in others)
        if in_second and (not query.same_symbols or violated(claim, name, simple)):
            return Need(claim.name, name, "needed", simple)
    return Need(claim.name, name, "unsettled", point, "the solver's point violates nothing in the other form")


def _simpler(point: Mapping[str, Fraction]) -> Iterator[dict[str, Fraction]]:
    """Yield the point rounded to ever finer fractions, and last as it is."""
    for bottom in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 50, 100, 1000, 10**4, 10**6, 10**9):
        yield {name: Fraction(round(value * bottom), bottom) for name, value in point.items()}
    yield dict(point)


def violated(claim: Claim, without: str | None, point: Mapping[str, Fraction]) -> bool:
    """Whether a claim, less one assumption, is exactly false at a point.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> claim = STATEMENTS["dominance.boundary"].claims[0]
    >>> violated(claim, "mu > 0", {"a": Fraction(0), "mu": Fraction(-1)})
    True
    >>> violated(claim, "mu > 0", {"a": Fraction(0), "mu": Fraction(1)})
    False
    """
    rest = [relation for name, relation in claim.given.items() if name != without]
    return _all_true(rest, point) is True and _all_true(claim.shows, point) is False


def _put_in(claim: Claim, point: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Give the symbols whose values are assumed these values, where they are fractions."""
    values = {
        sympy.Symbol(k, real=True): sympy.Rational(v.numerator, v.denominator) for k, v in point.items()
    }
    out = dict(point)
    for relation in claim.given.values():
        if isinstance(relation, sympy.Eq) and relation.lhs.is_Symbol:
            exact = relation.rhs.subs(values)
            if exact.is_Rational:
                out[relation.lhs.name] = Fraction(int(exact.p), int(exact.q))
                values[relation.lhs] = exact
    return out


def _all_true(relations: Iterable[Any], point: Mapping[str, Fraction]) -> bool | None:
    """Whether all hold at a point; None where one has no value there."""
    found = []
    for relation in relations:
        if isinstance(relation, Tends):
            return None
        values = {
            s: sympy.Rational(point[s.name].numerator, point[s.name].denominator)
            for s in relation.free_symbols
            if s.name in point
        }
        # all at once: no 0/0 gets a value
        sides = [side.xreplace(values) for side in (relation.lhs, relation.rhs)]
        if not all(side.is_number and side.is_real and side.is_finite for side in sides):
            return None
        found.append(bool(relation.func(*sides)))
    return all(found)
