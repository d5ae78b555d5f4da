"""Deriving the condition under which the constant mode dominates, and proving it.

|g(1)|^2 - |g(a)|^2 is factored; factors of one sign are removed and the rest is
solved for mu.  The answer is then proved: by the factors, and by solvers that see
only the definition of the update and the answer.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from linsim import checks

from .. import smt
from ..signs import RELATIONS, Facts
from ..statement import Claim, ProofError
from ..steps import Sign, Step, plus, times
from .answer import BETWEEN, Condition
from .formulas import Atom, formula
from .update import read

__all__ = ["dominance_condition"]

lam, mu, a, t = sympy.symbols("lambda mu a t", real=True)
x, y = sympy.symbols("x y", real=True)
SPECTRUM = (a > -1, a < 1)


def dominance_condition(
    update: Any, *, parameters: Mapping[Any, Any] | Iterable[Any] = (), timeout: float = 10.0
) -> Condition:
    """Derive when the constant mode dominates, for a layer with its own eigenvalue map.

    Parameters
    ----------
    update : SymPy expression
        g, what one layer multiplies the mode (lambda, mu) by: a polynomial with real coefficients, as
        ``1 + alpha*lam*mu``, ``lam*mu``, ``(1 - eps) + eps*lam*mu`` or ``(1 + lam*mu)*(1 + nu)``.
        Symbols are known by their names: lambda, lam or lamda; mu; and the real
        parameters alpha, beta, gamma, delta, epsilon, eps, eta, nu, sigma, tau and omega.
    parameters : mapping of symbol to SymPy condition, or iterable of symbols
        Other parameters; with a mapping, what they obey, as
        ``{eps: sympy.And(eps > 0, eps < 1)}``. What a parameter is
        declared to be as a symbol (``positive=True``) is used as well.
    timeout : float
        Seconds for one question to one solver; after six times that, all that is left is open.

    Returns
    -------
    Condition
        The condition, where it fails, where it ties, and the proof.

    Raises
    ------
    InvalidTypeError
        If ``update`` is not a SymPy expression.
    InvalidValueError
        If it is not a real polynomial, or holds a symbol that is not declared.
    MissingExtraError
        If the solvers are not installed.

    Notes
    -----
    A floating-point number is read as the decimal fraction it is written as.
    Where g is affine in lambda, |g|^2 is convex in it and nothing between a and 1
    exceeds both ends; else the solvers must show that, or it is reported as undecided.
    Derived here; for 1 + lambda mu see ``dominance.boundary`` and ``dominance.disk``.

    Examples
    --------
    >>> lam, mu = sympy.symbols("lambda mu")
    >>> alpha = sympy.Symbol("alpha", positive=True)
    >>> found = dominance_condition(1 + alpha * lam * mu)
    >>> found.verdict, found.condition
    ('proved', (mu > 0) | (mu < -2/(alpha*(a + 1))))
    >>> found.condition_complex
    y**2 + (x + 1/(alpha*(a + 1)))**2 > 1/(alpha**2*(a + 1)**2)
    """
    g, domain = read(update, parameters)
    limit = checks.number(timeout, "timeout", low=0, low_open=True)
    smt.load()
    return Derivation(g, (*SPECTRUM, *domain), limit, time.monotonic() + 6 * limit).condition()


@dataclass(frozen=True)
class _Region:
    """Signs of factors that together give the gap its sign: those needed, and those that follow."""

    needed: tuple[Atom, ...]
    implied: tuple[Atom, ...] = ()


@dataclass(frozen=True)
class _Gap:
    """|g(1)|^2 - |g(a)|^2 in factors."""

    value: sympy.Expr
    scale: sympy.Expr
    factors: tuple[tuple[sympy.Expr, int], ...]


class _Decision(NamedTuple):
    """Where lambda = 1 wins, loses and ties, and the proof."""

    wins: Boolean
    loses: Boolean
    ties: Boolean
    claims: tuple[Claim, ...]
    engines: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Derivation:
    """What is asked of one update: its map, what its parameters obey, and the patience of the solvers."""

    g: sympy.Expr
    domain: tuple[Relational, ...]
    timeout: float
    deadline: float  # on the monotonic clock

    def condition(self) -> Condition:
        """Derive, prove and report."""
        found = self.decide(lambda value: value**2)
        undecided = [f"{name}: {self.why(name, by)}" for name, by in found.engines.items() if len(by) < 2]
        # an affine map of a real lambda: the same for complex mu
        answer, claims, engines = None, found.claims, found.engines
        if not self.g.diff(lam).has(lam):
            plane = self.decide(_square_of_modulus, " [mu = x + iy]")
            if all(len(by) >= 2 for by in plane.engines.values()):
                answer, claims, engines = plane.wins, (*claims, *plane.claims), {**engines, **plane.engines}
        return Condition(
            self.g,
            found.wins,
            found.loses,
            found.ties,
            answer,
            "open" if undecided else "proved",
            claims,
            engines,
            tuple(undecided),
        )

    def decide(self, square: Callable[[sympy.Expr], sympy.Expr], where: str = "") -> _Decision:
        """Find and prove where lambda = 1 wins, loses and ties, ``square`` being that of the modulus."""
        at_one, at_a = (square(self.g.subs(lam, end)) for end in (1, a))
        gap = _factored(at_one - at_a)
        wins, loses = self.regions(gap, 1), self.regions(gap, -1)
        ties = [_Region(((form, "=="),)) for form, _ in gap.factors if self.sign(form) not in (">", "<")]
        if gap.value == 0:
            ties = [_Region(())]
        claims: list[Claim] = []
        engines: dict[str, tuple[str, ...]] = {}
        for words, regions, relation in (
            ("lambda = 1 wins", wins, ">"),
            ("a wins", loses, "<"),
            ("tie", ties, "=="),
        ):
            for region in regions:
                claim = self.claim(
                    words, gap, region, _RELATION[relation](at_one, at_a, evaluate=False), where
                )
                claims.append(claim)
                shows = (at_one - at_a, relation)
                engines[claim.name] = self.engines(claim, [*self.facts(), *region.needed], [shows])
        every = [region.needed for region in (*wins, *loses, *ties)]
        engines["there is no other case" + where] = self.solvers(self.facts(), every)
        between = self.between(square, where)
        claims.append(between)
        inner, exceeds = self.inner(square)
        engines[between.name] = self.engines(between, inner, exceeds)
        answers = [sympy.Or(*(self.solved_all(r.needed) for r in regions)) for regions in (wins, loses, ties)]
        return _Decision(answers[0], answers[1], answers[2], tuple(claims), engines)

    def facts(self) -> list[Atom]:
        """Return the domain as atoms."""
        return [(r.lhs - r.rhs, r.rel_op) for r in self.domain]

    def sign(self, form: sympy.Expr) -> str:
        """Return the strongest relation to 0 that a form has everywhere, or ""."""
        known = Facts(self.domain)
        for relation in (">", "<", ">=", "<="):
            if known.holds(form, relation) or "z3" in self.solvers(
                self.facts(), [[(form, relation)]], ("z3",)
            ):
                return relation
        return ""

    def regions(self, gap: _Gap, wanted: int) -> list[_Region]:
        """Return the sign patterns of the factors under which the gap has the wanted sign."""
        if gap.value == 0:
            return []
        product = wanted * int(sympy.sign(gap.scale))
        options: list[list[tuple[int, Atom | None]]] = []
        for form, power in gap.factors:
            sign = self.sign(form)
            odd = power % 2
            if sign in (">", "<"):
                options.append([(-1 if sign == "<" and odd else 1, None)])
            elif sign or not odd:
                options.append([(-1 if sign == "<=" and odd else 1, (form, "!="))])
            else:
                options.append([(1, (form, ">")), (-1, (form, "<"))])
        found = []
        for pattern in itertools.product(*options):
            if sympy.prod([s for s, _ in pattern]) == product:
                atoms = [atom for _, atom in pattern if atom is not None]
                if "z3" not in self.solvers([*self.facts(), *atoms], [], ("z3",)):
                    found.append(self.pruned(atoms))
        return found

    def pruned(self, atoms: list[Atom]) -> _Region:
        """Leave out what follows from the rest, longest first."""
        needed = list(atoms)
        implied: list[Atom] = []
        for atom in sorted(atoms, key=lambda atom: -sympy.count_ops(atom[0])):
            rest = [other for other in needed if other != atom]
            if "z3" in self.solvers([*self.facts(), *rest], [[atom]], ("z3",)):
                needed, implied = rest, [*implied, atom]
        return _Region(tuple(needed), tuple(implied))

    def solved(self, atom: Atom) -> Relational:
        """Return an atom solved for mu, or for a parameter, where the sign of its factor is known."""
        form, relation = atom
        if {x, y} & form.free_symbols:
            return self.circle(atom)
        for symbol in (mu, *sorted(form.free_symbols - {mu, a}, key=str)):
            slope = form.diff(symbol)
            if symbol in form.free_symbols and not slope.has(symbol) and self.sign(slope) in (">", "<"):
                turned = _TURNED[relation] if self.sign(slope) == "<" else relation
                root = sympy.factor(sympy.cancel((form - slope * symbol).expand() / -slope))
                return _RELATION[turned](symbol, root)
        return _RELATION[relation](form, 0)

    def solved_all(self, atoms: Iterable[Atom]) -> Boolean:
        """Return a conjunction of solved atoms."""
        return sympy.And(*(self.solved(atom) for atom in atoms))

    def claim(self, words: str, gap: _Gap, region: _Region, shows: Relational, where: str) -> Claim:
        """Return the claim that a region gives the gap its sign, derived from the factors."""
        relation = shows.rel_op
        solved = [self.solved(atom) for atom in region.needed]
        given = [*self.domain, *solved]
        facts = Facts(given)
        steps: list[Step] = []
        for (form, sign), answer in zip(region.needed, solved, strict=True):
            distance = answer.lhs - answer.rhs
            put_in = sign == "==" and answer.lhs.is_Symbol
            if not put_in and sympy.expand(form - distance) != 0:
                factor = sympy.factor(sympy.cancel(form / distance))
                steps.append(Sign("clear the denominator", form, sign, times(factor, distance)))
        for form, sign in (*region.implied, *((f, self.sign(f)) for f, _ in gap.factors)):
            if sign in (">", "<") and not facts.holds(form, sign):
                steps.append(Sign("which settles another factor", form, sign, _by(form, region.needed)))
        product = times(gap.scale, *(sympy.Pow(form, k, evaluate=False) for form, k in gap.factors))
        if gap.value != 0:
            steps.append(Sign("the product of the factors", gap.value, relation, product))
        condition = sympy.And(*solved)
        name = f"{words}{where}" + ("" if condition == sympy.true else f": {condition}")
        return Claim(name, {str(r): r for r in given}, [shows], steps)

    def between(self, square: Callable[[sympy.Expr], sympy.Expr], where: str) -> Claim:
        """Return the claim that no eigenvalue between a and 1 does better than both."""
        at_one, at_a, inside = (square(self.g.subs(lam, end)) for end in (1, a, t * a + 1 - t))
        slope = self.g.diff(lam)
        steps: list[Step] = []
        if not slope.has(lam):
            form = plus(times(t, at_one - at_a), times(t, 1 - t, square(slope), (1 - a) ** 2))
            steps = [
                Sign("the slope has a square", square(slope), ">=", _squares(square, slope)),
                Sign("a chord lies above a convex function", at_one - inside, ">", form),
            ]
        given = [*self.domain, sympy.Gt(at_one, at_a, evaluate=False), t > 0, t <= 1]
        return Claim(
            BETWEEN + where,
            {str(r): r for r in given},
            [sympy.Gt(at_one, inside, evaluate=False)],
            steps,
            "Write lambda = t a + (1 - t).",
        )

    def inner(self, square: Callable[[sympy.Expr], sympy.Expr]) -> tuple[list[Atom], list[Atom]]:
        """Return the same for the solvers, in lambda."""
        at_one, at_a, inside = (square(self.g.subs(lam, end)) for end in (1, a, lam))
        given = [*self.facts(), (lam - a, ">="), (1 - lam, ">"), (at_one - at_a, ">")]
        return given, [(at_one - inside, ">")]

    def circle(self, atom: Atom) -> Relational:
        """Return an atom in x and y as a distance from a centre, where it is one."""
        form, relation = atom
        polynomial = sympy.Poly(form, x, y)
        lead = polynomial.coeff_monomial(x**2)
        even = polynomial.total_degree() == 2 and polynomial.coeff_monomial(x * y) == 0
        if not even or lead != polynomial.coeff_monomial(y**2) or self.sign(lead) not in (">", "<"):
            return _RELATION[relation](form, 0)
        left = sympy.Integer(0)
        square = -polynomial.coeff_monomial(1) / lead
        for symbol in (x, y):
            shift = sympy.factor(sympy.cancel(polynomial.coeff_monomial(symbol) / (2 * lead)))
            left, square = left + (symbol + shift) ** 2, square + shift**2
        turned = _TURNED[relation] if self.sign(lead) == "<" else relation
        return _RELATION[turned](left, sympy.factor(sympy.cancel(square)))

    # --- engines

    def engines(self, claim: Claim, given: list[Atom], shows: list[Atom]) -> tuple[str, ...]:
        """Return the engines that prove a claim."""
        try:
            claim.check()
        except ProofError:
            return self.solvers(given, [shows])
        # two are enough: the third is slow where the question is hard
        return ("sympy", *(self.solvers(given, [shows], ("z3",)) or self.solvers(given, [shows], ("cvc5",))))

    def solvers(
        self,
        given: Iterable[Atom],
        shows: Iterable[Iterable[Atom]],
        names: Iterable[str] = tuple(smt.SOLVERS),
    ) -> tuple[str, ...]:
        """Return the solvers that prove a disjunction of conjunctions."""
        question = list(given), [list(atoms) for atoms in shows]
        return tuple(name for name in names if self.answer(name, *question).verdict == "proved")

    def answer(self, name: str, given: list[Atom], shows: list[list[Atom]]) -> smt.Answer:
        """Ask one solver, while there is time."""
        if time.monotonic() > self.deadline:
            return smt.Answer("unknown")
        module = smt.load()
        false = module.BoolVal(False)
        disjuncts = [
            module.And(module.BoolVal(True), *(formula(c, module) for c in atoms)) for atoms in shows
        ]
        formulas = [formula(atom, module) for atom in given]
        return smt.ask(name, formulas, module.Or(false, *disjuncts), timeout=self.timeout)

    def why(self, name: str, found: tuple[str, ...]) -> str:
        """Say why a claim is not proved."""
        if found:
            return f"proved by {found[0]} only"
        if name.startswith(BETWEEN):
            given, exceeds = self.inner(lambda value: value**2)
            answer = self.answer("z3", given, [exceeds])
            if answer.verdict == "refuted":
                return "false at " + ", ".join(
                    f"{key} = {value}" for key, value in sorted(answer.point.items())
                )
        return f"no engine decides it within {self.timeout:g} s"


_RELATION = {">": sympy.Gt, ">=": sympy.Ge, "<": sympy.Lt, "<=": sympy.Le, "==": sympy.Eq, "!=": sympy.Ne}
_TURNED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
assert set(_RELATION) == set(RELATIONS)


def _factored(value: sympy.Expr) -> _Gap:
    """Return a polynomial in irreducible factors, those that are single symbols gathered into one product."""
    scale, factors = sympy.factor_list(sympy.expand(value))
    monomials: dict[int, sympy.Expr] = {}
    others = []
    for form, power in factors:
        if form.is_Symbol:
            monomials[power] = monomials.get(power, sympy.Integer(1)) * form
        else:
            grouped = sympy.collect(sympy.expand(form), mu, sympy.factor) if form.has(mu) else form
            others.append((grouped, power))
    return _Gap(sympy.expand(value), scale, (*((form, power) for power, form in monomials.items()), *others))


def _by(form: sympy.Expr, atoms: Iterable[Atom]) -> sympy.Expr | None:
    """Return a form as a multiple of one of the atoms and a rest, both affine in mu."""
    for given, _ in atoms:
        slopes = form.diff(mu), given.diff(mu)
        if 0 not in slopes and not any(slope.has(mu) for slope in slopes):
            ratio = sympy.factor(sympy.cancel(slopes[0] / slopes[1]))
            rest = sympy.factor(sympy.cancel(sympy.expand(form) - ratio * sympy.expand(given)))
            return plus(times(ratio, given), rest)
    return None


def _square_of_modulus(value: sympy.Expr) -> sympy.Expr:
    """Return |value|^2 as a real polynomial of x and y, mu = x + iy."""
    real, imaginary = sympy.expand(value.subs(mu, x + sympy.I * y)).as_real_imag()
    return sympy.expand(real**2 + imaginary**2)


def _squares(square: Callable[[sympy.Expr], sympy.Expr], value: sympy.Expr) -> sympy.Expr:
    """Return the square of a modulus as a sum of squares."""
    if square is not _square_of_modulus:
        return value**2
    real, imaginary = sympy.expand(value.subs(mu, x + sympy.I * y)).as_real_imag()
    return plus(sympy.factor(real) ** 2, sympy.factor(imaginary) ** 2)
