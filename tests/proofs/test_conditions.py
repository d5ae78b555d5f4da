"""The condition for the constant mode, derived for other updates: right, proved, or not claimed."""

import dataclasses
import random

import pytest
import sympy

from linsim.errors import InvalidTypeError, InvalidValueError
from proofs_check import dominance_condition, smt
from proofs_check.conditions.derivation import Derivation
from proofs_check.statements.dominance.boundary import BOUNDARY
from proofs_check.statements.dominance.shared import CENTRE, RADIUS

lam, mu, nu, alpha, eps, z = sympy.symbols("lambda mu nu alpha epsilon z")
rate = sympy.Symbol("alpha", positive=True)
MU, A = sympy.Symbol("mu", real=True), sympy.Symbol("a", real=True)
X, Y = sympy.symbols("x y", real=True)
share = {eps: sympy.And(eps > 0, eps < 1)}


def test_the_layer_itself():
    found = dominance_condition(1 + lam * mu)
    assert found.verdict == "proved"
    assert found.condition == sympy.Or(MU > 0, MU < BOUNDARY)
    assert found.loses == sympy.And(MU < 0, MU > BOUNDARY)
    assert found.ties == sympy.Or(sympy.Eq(MU, 0), sympy.Eq(MU, BOUNDARY))
    circle = found.condition_complex
    assert sympy.simplify(circle.lhs - (X - CENTRE) ** 2 - Y**2) == 0
    assert sympy.simplify(circle.rhs - RADIUS**2) == 0
    assert circle.rel_op == ">"
    assert all(len(by) >= 2 for by in found.engines.values())
    for claim in found.claims:
        claim.check()


EXAMPLES = [
    (1 + rate * lam * mu, {}, "(mu > 0) | (mu < -2/(alpha*(a + 1)))"),
    (lam * mu, {}, "Ne(mu, 0)"),
    ((1 - eps) + eps * lam * mu, share, "(mu > 0) | (mu < 2*(epsilon - 1)/(epsilon*(a + 1)))"),
    ((1 + lam * mu) * (1 + nu), {}, "((mu > 0) & Ne(nu, -1)) | (Ne(nu, -1) & (mu < -2/(a + 1)))"),
    ((1 + lam * mu) ** 2, {}, "(mu > 0) | (mu < -2/(a + 1))"),
    (1 + lam * mu - mu, {}, "(mu > 0) & (mu < -2/(a - 1))"),
    (1 + mu, {}, "False"),
    (1 + lam / 2, {}, "True"),
    (sympy.Integer(2), {}, "False"),
    (1 + sympy.Float(0.5) * lam * mu, {}, "(mu > 0) | (mu < -4/(a + 1))"),
]


@pytest.mark.sample(2)
@pytest.mark.parametrize(("update", "parameters", "condition"), EXAMPLES)
def test_other_updates(update, parameters, condition):
    found = dominance_condition(update, parameters=parameters)
    assert found.verdict == "proved"
    assert found.undecided == ()
    assert str(found.condition) == condition
    assert "proved by" in str(found)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("update", "parameters"),
    [
        *((update, parameters) for update, parameters, _ in EXAMPLES),
        (1 + alpha * lam * mu, {}),
        ((1 - eps) + eps * lam * mu, {}),
        (1 + lam * mu + (lam * mu) ** 2 / 2, {}),
        (1 - lam * mu**2, {}),
        (1 + lam * mu + nu, {}),
        (1 + lam * mu**3 - lam * mu, {}),
    ],
)
def test_every_answer_against_numbers(update, parameters):
    """Exact values at random points, eigenvalues between a and 1 included."""
    found = dominance_condition(update, parameters=parameters)
    assert found.verdict == "proved"
    draw = random.Random(0)
    free = found.update.free_symbols - {sympy.Symbol("lambda", real=True)}
    between = sympy.Symbol("lambda", real=True)
    outcomes = set()
    for _ in range(30):
        point = {s: sympy.Rational(draw.randint(-12, 12), draw.choice([1, 2, 3])) for s in free}
        if parameters or rate in update.free_symbols:
            point |= {s: sympy.Rational(draw.randint(1, 9), 10) for s in free - {MU}}
        a = sympy.Rational(draw.randint(-9, 9), 10)
        sizes = [abs(found.update.subs(point).subs(between, v)) for v in (1, a, (1 + a) / 2, (1 + 3 * a) / 4)]
        wins = all(sizes[0] > other for other in sizes[1:])
        point[A] = a
        assert found.condition.subs(point) == wins, point
        assert found.loses.subs(point) == (sizes[1] > sizes[0]), point
        assert found.ties.subs(point) == (sizes[1] == sizes[0]), point
        outcomes.add(wins)
    assert outcomes


def test_complex_weights_against_numbers():
    found = dominance_condition((1 - eps) + eps * lam * mu, parameters=share)
    draw = random.Random(1)
    e = sympy.Symbol("epsilon", real=True)
    outcomes = set()
    for _ in range(60):
        a, x, y, s = (draw.uniform(low, high) for low, high in ((-0.9, 0.9), (-6, 6), (-3, 3), (0.1, 0.9)))
        sizes = [abs(1 - s + s * v * complex(x, y)) for v in (1, a)]
        wins = bool(found.condition_complex.subs({A: a, X: x, Y: y, e: s}))
        assert wins == (sizes[0] > sizes[1])
        outcomes.add(wins)
    assert outcomes == {True, False}


@pytest.mark.full
def test_two_attentions_are_only_decided_at_the_ends():
    """A product of two maps is not convex: an eigenvalue between the ends may exceed both."""
    found = dominance_condition((1 + lam * mu) * (1 + lam * nu))
    assert found.verdict == "open"
    assert found.condition_complex is None
    (why,) = found.undecided
    values = dict(part.split(" = ") for part in why.partition("false at ")[2].split(", "))
    point = {sympy.Symbol(k, real=True): sympy.Rational(v) for k, v in values.items()}
    between = sympy.Symbol("lambda", real=True)
    inside = found.update.subs(point) ** 2
    end = found.update.subs({**point, between: 1}) ** 2
    assert inside >= end > found.update.subs({**point, between: point[A]}) ** 2
    assert "the rest is open" in str(found)


def test_a_solver_that_knows_nothing_proves_nothing(monkeypatch):
    monkeypatch.setattr(smt, "ask", lambda *args, **options: smt.Answer("unknown"))
    assert dominance_condition(1 + lam * mu).verdict == "open"


@pytest.mark.parametrize("wrong", ["other sign", "half of it"])
def test_a_wrong_region_is_not_proved(monkeypatch, wrong):
    right = Derivation.regions

    def regions(self, gap, wanted):
        return right(self, gap, -wanted) if wrong == "other sign" else right(self, gap, wanted)[:1]

    monkeypatch.setattr(Derivation, "regions", regions)
    assert dominance_condition(1 + lam * mu).verdict == "open"


@pytest.mark.parametrize(
    ("update", "options", "error", "says"),
    [
        (1 + lam * mu * z, {}, InvalidValueError, r"update: found the symbol z; .*parameters=\[z\]"),
        (1 + lam * mu * sympy.Symbol("a"), {}, InvalidValueError, "which has another meaning"),
        (sympy.exp(lam * mu), {}, InvalidValueError, "polynomial"),
        (1 / (1 - lam * mu), {}, InvalidValueError, "polynomial"),
        (sympy.sqrt(2) * lam * mu, {}, InvalidValueError, "rational coefficients"),
        (1 + sympy.I * lam * mu, {}, InvalidValueError, "rational coefficients"),
        (sympy.nan, {}, InvalidValueError, "polynomial"),
        (1 + sympy.oo * lam * mu, {}, InvalidValueError, "polynomial"),
        (lam**nu * mu, {}, InvalidValueError, "polynomial"),
        ("1 + lambda*mu", {}, InvalidTypeError, "SymPy expression"),
        (1.5, {}, InvalidTypeError, "SymPy expression"),
        (sympy.Matrix([lam]), {}, InvalidTypeError, "SymPy expression"),
        (lam > mu, {}, InvalidTypeError, "SymPy expression"),
        (lam * sympy.Symbol("lam"), {}, InvalidValueError, "two symbols for lambda"),
        (1 + lam * mu, {"timeout": 0}, InvalidValueError, "timeout"),
        (1 + lam * mu, {"parameters": ["z"]}, InvalidTypeError, "SymPy symbols"),
        (1 + lam * mu, {"parameters": 3}, InvalidTypeError, "parameters"),
        (1 + eps * lam * mu, {"parameters": {eps: "small"}}, InvalidTypeError, "relations"),
        (
            1 + eps * lam * mu,
            {"parameters": {eps: sympy.Or(eps > 1, eps < 0)}},
            InvalidTypeError,
            "relations",
        ),
        (1 + eps * lam * mu, {"parameters": {eps: eps > mu}}, InvalidValueError, "Leave lambda and mu out"),
        (1 + eps * lam * mu, {"parameters": {eps: sympy.exp(eps) > 1}}, InvalidValueError, "polynomial"),
        (1 + eps * lam * mu, {"parameters": {eps: eps > z}}, InvalidValueError, "z"),
        (
            1 + eps * lam * mu,
            {"parameters": {eps: sympy.And(eps > 1, eps < 0)}},
            InvalidValueError,
            "nothing obeys",
        ),
        (1 + eps * lam * mu, {"parameters": {eps: False}}, InvalidValueError, "nothing obeys"),
        (1 + eps * lam * mu, {"parameters": {eps: eps < sympy.pi}}, InvalidValueError, "rational"),
        (1 + eps * lam * mu, {"parameters": {eps: eps > sympy.sqrt(2)}}, InvalidValueError, "rational"),
        (
            1 + lam * mu * sympy.Symbol("p q"),
            {"parameters": [sympy.Symbol("p q")]},
            InvalidValueError,
            "Rename",
        ),
        (
            1 + lam * mu * sympy.Symbol("and"),
            {"parameters": [sympy.Symbol("and")]},
            InvalidValueError,
            "Rename",
        ),
    ],
)
def test_bad_input(update, options, error, says):
    with pytest.raises(error, match=says) as caught:
        dominance_condition(update, **options)
    assert "found" in str(caught.value)
    assert "expected" in str(caught.value)


def test_what_a_symbol_is_declared_to_be_is_used():
    negative = sympy.Symbol("alpha", negative=True)
    assert (
        str(dominance_condition(1 + negative * lam * mu).condition) == "(mu < 0) | (mu > -2/(alpha*(a + 1)))"
    )
    own = sympy.Symbol("strength", positive=True)
    assert dominance_condition(1 + own * lam * mu, parameters=[own]).verdict == "proved"


@pytest.mark.full
def test_domains_as_people_write_them():
    real = sympy.Symbol("epsilon", real=True)
    for domain in (sympy.And(eps > 0, eps < 0.5), sympy.And(real > 0, real < 1)):
        symbol = next(iter(domain.free_symbols))
        found = dominance_condition(1 + symbol * lam * mu, parameters={symbol: domain})
        assert str(found.condition) == "(mu > 0) | (mu < -2/(epsilon*(a + 1)))"
    assert dominance_condition(1 + real * lam * mu, parameters={real: real**2 >= 0}).verdict == "proved"
    assert dominance_condition(1 + 0.1 * lam * mu).update.coeff(sympy.Symbol("lambda", real=True)).coeff(
        MU
    ) == sympy.Rational(1, 10)


def test_there_is_an_end_to_patience():
    beta, tau = sympy.symbols("beta tau")
    found = dominance_condition(1 + lam * mu * (alpha + beta) * (nu + tau), timeout=0.5)
    assert found.verdict in ("open", "proved")


def test_the_result_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        dominance_condition(sympy.Integer(2)).verdict = "proved"
