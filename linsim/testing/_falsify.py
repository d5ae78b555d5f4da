"""Search for a system that refutes a claim; Hypothesis does the searching and the shrinking."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _validate
from ..errors import ClaimError, InvalidTypeError, LinsimError
from ._files import destination, load, save
from ._hypothesis import hypothesis
from ._hypothesis import strategies as st
from ._system import System

__all__ = ["Refuted", "Supported", "falsify", "replay"]

Claim = Callable[[System], Any]

_SEED = 0
_RESTARTS, _STRIDE, _EASY = 2, 2**32, 1000


@dataclass(frozen=True)
class Supported:
    """No counterexample was found; this is evidence, not proof.

    Attributes
    ----------
    tried : int
        Systems for which the claim gave an answer (those it filtered out are not counted).
    margin : float or None
        The smallest margin seen, of a claim that returns margins: how close it came to being
        refuted.  None if it only ever returned booleans.
    system : System or None
        Where that was; None without a margin.
    claim : str
        Its name.
    """

    tried: int
    margin: float | None
    system: System | None
    claim: str = "claim"

    def __str__(self) -> str:
        text = f"No counterexample to {self.claim} in {_count(self.tried, 'system')}"
        if self.margin is None:
            return text + "."
        return f"{text}; the tightest margin was {self.margin:.6g}, at {self.system!r}."


@dataclass(frozen=True)
class Refuted:
    """A counterexample, as small and as readable as could be found.

    Attributes
    ----------
    tried : int
        Systems for which the claim gave an answer until one refuted it, that one included; the
        search for a smaller one is not counted.
    system : System
        The minimal counterexample.
    path : Path
        Where it is saved; :func:`load` reads it, :func:`replay` asks the claim again.
    margin : float or None
        What the claim returned for it (negative); None if it returned False.
    claim : str
        Its name.
    """

    tried: int
    system: System
    path: Path
    margin: float | None = None
    claim: str = "claim"

    def __str__(self) -> str:
        violated = "" if self.margin is None else f" (margin {self.margin:.6g})"
        return (
            f"{self.claim} is false: refuted after {_count(self.tried, 'system')}. "
            f"The smallest counterexample found is {self.system!r}{violated}. "
            f"Saved as {self.path}; ask again with linsim.testing.replay."
        )


def falsify(
    claim: Claim,
    systems: st.SearchStrategy[System],
    *,
    max_examples: int = 1000,
    seed: int | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Supported | Refuted:
    """Look for a system that refutes a claim, and shrink it to a minimal one.

    Parameters
    ----------
    claim : callable
        ``claim(system)`` returns True or False; or a margin, any real number, negative where
        the claim is violated and the smaller the closer to it: the search then goes where it
        is small.  Systems on the very boundary are drawn on purpose, so allow for rounding.
        ``math.inf`` says that the claim holds vacuously there.  A premise is best
        stated with ``hypothesis.assume(premise)``, which leaves a system out and lets another
        take its place (systems that seldom meet it cost time).  ``return not premise or
        conclusion`` counts it as an answer instead, and such a claim can be supported without
        ever having been tested.
    systems : SearchStrategy of System
        :func:`systems`, or any Hypothesis strategy for :class:`System`.
    max_examples : int
        Systems to try before giving up, those the claim filters out not counted.  With a
        claim about :attr:`System.law`, 1000 take 5 to 10 seconds.
    seed : int, optional
        The same seed gives the same search with one version of Hypothesis; None stands for a
        fixed one (0), so that a call repeated gives the same result.  Pass others to look
        elsewhere.
    path : str or path, optional
        File for the counterexample, or a directory that exists; by default
        ``linsim-counterexamples/<claim>-<hash of the content>.json`` in the working directory.
        Nothing is written unless the claim is refuted.

    Returns
    -------
    Supported or Refuted

    Raises
    ------
    ClaimError
        If the claim raises, answers with anything but one boolean or number, answers NaN,
        answers differently when asked again, or was never tested: every system filtered out,
        or every margin infinite.  The message shows the smallest system where that happens.
    InvalidTypeError, InvalidValueError
        If ``claim`` is not callable, ``systems`` is no strategy or draws something else than a
        System, or a number is out of range.
    FileFormatError
        If nothing can be written to ``path`` (found before the search starts).

    Notes
    -----
    Hypothesis generates, aims at small margins and shrinks; its database is not used, and
    settings profiles do not matter.  If a counterexample turns up within 1000 systems, two
    shorter searches from other starts try for a smaller one: fewer tokens, fewer features,
    fewer digits.  Errors raised by ``systems`` itself pass through.

    Examples
    --------
    >>> import hypothesis, tempfile
    >>> from linsim import testing
    >>> def negative_weights_never_smooth(system):
    ...     hypothesis.assume((system.mu.real < 0).all())
    ...     return system.generic_law.regime != "smoothing"
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     found = testing.falsify(negative_weights_never_smooth, testing.systems(), path=directory)
    >>> type(found).__name__, found.system.generic_law.regime
    ('Refuted', 'smoothing')

    For example A = [[1/2, 1/2], [1/2, 1/2]] and H = [[-3]]: 1 + μ = -2 outgrows 1 + 0μ.
    """
    name = _name(claim)
    if not isinstance(systems, st.SearchStrategy):
        raise _validate.refusal(
            InvalidTypeError,
            "systems",
            type(systems).__name__,
            "a Hypothesis strategy",
            "Pass linsim.testing.systems(), with its parentheses.",
        )
    examples = _validate.count(max_examples, "max_examples", minimum=1)
    number = _SEED if seed is None else _validate.count(seed, "seed")
    target = destination(path)
    search = _explore(claim, name, systems, examples, number)
    if search.counterexample is not None:
        system, margin = _simplest(claim, name, systems, examples, number, search)
        saved = save(target, system, name, margin, default=path is None)
        return Refuted(search.tried, system, saved, margin, name)
    if not search.tried:
        raise _validate.refusal(
            ClaimError,
            f"claim {name}",
            "no system that it says anything about",
            "some that pass its hypothesis.assume",
            "Draw systems nearer to its premise.",
        )
    if search.vacuous == search.tried:
        raise _validate.refusal(
            ClaimError,
            f"claim {name}",
            f"an infinite margin in all {_count(search.tried, 'system')}",
            "some that it is tested on",
            "Draw systems nearer to its premise.",
        )
    return Supported(search.tried, search.tightest, search.tightest_system, name)


def replay(path: str | os.PathLike[str], claim: Claim) -> bool | float:
    """Ask a claim about a saved counterexample again.

    Parameters
    ----------
    path : str or path
        A file that :func:`falsify` wrote.
    claim : callable
        As in :func:`falsify`; it need not be the one that the file was written for.

    Returns
    -------
    bool or float
        What it answers: a boolean, or its margin.

    Raises
    ------
    InvalidTypeError
        If ``path`` is no file name or ``claim`` not callable.
    FileFormatError
        If the file holds no counterexample.
    ClaimError
        If the claim raises, leaves the system out, or answers with anything but one boolean or
        number.

    Examples
    --------
    >>> import tempfile
    >>> from linsim import testing
    >>> def weights_are_positive(system):
    ...     return system.mu.real.min()
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     refuted = testing.falsify(weights_are_positive, testing.systems(), path=directory)
    ...     testing.replay(refuted.path, weights_are_positive)
    -1.0
    """
    name = _name(claim)
    # Within Hypothesis, because the claim may call assume.
    search = _explore(claim, name, st.just(load(path)), 1, _SEED)
    if search.answer is None:
        raise _validate.refusal(
            ClaimError,
            f"claim {name}",
            f"that it leaves out the system in {path}",
            "an answer",
            "Its premise does not hold there.",
        )
    return search.answer


def _simplest(
    claim: Claim,
    name: str,
    systems: st.SearchStrategy[System],
    max_examples: int,
    seed: int,
    first: _Search,
) -> tuple[System, float | None]:
    """Search again from other starts, and return the smallest counterexample with its margin.

    Shrinking ends in a local minimum, often where a weight eigenvalue belongs to one attention.
    """
    found = [first]
    budget = min(max_examples, 4 * first.tried + 20)
    # a counterexample that was hard to find is not worth finding thrice
    for start in range(1, 1 + _RESTARTS if first.asked <= _EASY else 1):
        try:
            again = _explore(claim, name, systems, budget, seed + start * _STRIDE)
        except ClaimError:
            continue  # it is refuted all the same
        if again.counterexample is not None:
            found.append(again)
    best = min(found, key=lambda search: _size(search.counterexample))
    assert best.counterexample is not None
    return best.counterexample, best.violation


def _size(system: System | None) -> tuple[int, int, int]:
    assert system is not None
    return system.n, system.d, len(repr(system))


class _ViolatedError(Exception):
    """The claim is false for this system."""


class _FailedError(Exception):
    """The claim gave no verdict for this system."""


@dataclass
class _Search:
    """What one search saw."""

    asked: int = 0  # like tried, but with the systems that the claim filtered out
    tried: int = 0
    vacuous: int = 0
    answer: bool | float | None = None
    tightest: float | None = None
    tightest_system: System | None = None
    # The first thing found decides what is shrunk; the last one of its kind is the smallest.
    found: type[BaseException] | None = None
    counterexample: System | None = None
    violation: float | None = None
    error: Exception | None = None

    def shrinks(self, kind: type[BaseException]) -> bool:
        """Whether ``kind`` is what this search shrinks, which the first one found decides."""
        self.found = self.found or kind
        return self.found is kind


def _explore(
    claim: Claim, name: str, systems: st.SearchStrategy[System], max_examples: int, seed: int
) -> _Search:
    """Ask the claim about many systems; return what was seen, or raise what went wrong."""
    search = _Search()

    # Every setting that matters is given, so that no profile of the caller changes the search.
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=max_examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.target, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
        backend="hypothesis",
    )
    @hypothesis.given(systems)
    def examine(system: System) -> None:
        search.asked += search.found is None
        try:
            answer = _ask(claim, name, system)
        except hypothesis.errors.UnsatisfiedAssumption:
            raise
        except Exception as error:
            kind = type(error.__cause__ or error)
            if not search.shrinks(kind):
                hypothesis.reject()
            search.error = error
            raise _FailedError from error
        holds = answer if isinstance(answer, bool) else answer >= 0
        searching = search.found is None
        if searching:
            search.tried += 1
            search.answer = answer
        if not holds:
            if not search.shrinks(_ViolatedError):
                hypothesis.reject()
            search.counterexample, search.answer = system, answer
            search.violation = None if isinstance(answer, bool) else answer
            raise _ViolatedError
        if searching and not isinstance(answer, bool):
            if answer == math.inf:
                search.vacuous += 1
            else:
                # Rounded: Hypothesis climbs margins that differ in their last digits for ever.
                hypothesis.target(-float(f"{min(answer, 1e300):.6g}"), label="margin")
                if search.tightest is None or answer < search.tightest:
                    search.tightest, search.tightest_system = answer, system

    try:
        examine()
    except _ViolatedError:
        pass
    except _FailedError:
        assert search.error is not None
        raise search.error from search.error.__cause__
    except hypothesis.errors.Unsatisfiable:
        assert not search.tried
    except hypothesis.errors.Flaky as error:
        raise _refused(
            name,
            "answers that differ when it is asked again",
            search.counterexample,
            "Give whatever is random in it, or in the strategy, a fixed seed.",
        ) from error
    return search


def _ask(claim: Claim, name: str, system: object) -> bool | float:
    """Return the claim's answer as a bool or a float that is not NaN."""
    if not isinstance(system, System):
        raise _validate.refusal(
            InvalidTypeError,
            "systems",
            f"a strategy that draws {type(system).__name__}",
            "a strategy for System",
            "Map what it draws: strategy.map(lambda parts: System(*parts)).",
        )
    try:
        value = claim(system)
    except hypothesis.errors.UnsatisfiedAssumption:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise _refused(
            name,
            f"{type(error).__name__}{': ' if text else ''}{text}",
            system,
            "Leave such systems out with hypothesis.assume, or mend the claim.",
        ) from error
    if getattr(value, "size", None) == 1 and hasattr(value, "item"):
        value = value.item()  # NumPy, CuPy and xarray scalars
    if isinstance(value, bool):
        return value
    if not isinstance(value, numbers.Real):
        size = getattr(value, "size", None)
        found = type(value).__name__ + (f" of size {size}" if isinstance(size, int) else "")
        raise _refused(name, found, system, "Return one of these.")
    margin = float(value)
    if math.isnan(margin):
        raise _refused(name, "NaN", system, "Leave such systems out with hypothesis.assume.")
    return margin


def _refused(name: str, found: str, system: System | None, remedy: str) -> LinsimError:
    where = "" if system is None else f" for {system!r}"
    return _validate.refusal(
        ClaimError, f"claim {name}", f"{found}{where}", "True, False or a margin", remedy
    )


def _name(claim: Any) -> str:
    if not callable(claim):
        raise _validate.refusal(
            InvalidTypeError,
            "claim",
            type(claim).__name__,
            "a function of one System",
            "Pass it without calling it.",
        )
    function = getattr(claim, "func", claim)  # functools.partial
    return str(getattr(function, "__name__", type(function).__name__))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
