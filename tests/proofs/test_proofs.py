"""That nothing wrong passes for a proof, and how results are reported."""

import dataclasses
import json
import random
import re
import xml.etree.ElementTree

import pytest
import sympy
from typer.testing import CliRunner

from linsim.app.cli import app
from linsim.errors import InvalidValueError, LinsimError, MissingExtraError
from proofs_check import (
    STATEMENTS,
    Claim,
    Identity,
    ProofError,
    Query,
    Sign,
    Statement,
    Tends,
    check,
    report,
    smt,
)
from proofs_check.signs import Facts, is_zero

x, y = sympy.symbols("x y", real=True)
# --- what must not pass ------------------------------------------------------------------------------

SQUARES = Claim(
    "squares",
    {"x > 1": x > 1},
    [x**2 > 1],
    [Sign("factors", x**2 - 1, ">", (x - 1) * sympy.Add(x - 1, 2, evaluate=False))],
)


def squares(s):
    x = s.Real("x")
    return {"squares": Query({"x > 1": x > 1}, x * x > 1)}


GOOD = Statement("test.squares", "x > 1 has x^2 > 1", "x^2 > 1", "school", [SQUARES], squares)


def change(**claim):
    return dataclasses.replace(GOOD, claims=[dataclasses.replace(SQUARES, **claim)])


def second(given, shows):
    def queries(s):
        x = s.Real("x")
        return {"squares": Query(given(x), shows(x))}

    return dataclasses.replace(GOOD, second=queries)


def test_a_good_statement_is_proved():
    result = check(GOOD)
    assert (result.verdict, result.engines, result.problems) == ("proved", ("sympy", "z3", "cvc5"), ())
    assert [(need.verdict, dict(need.point)) for need in result.needs] == [("needed", {"x": 0})]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (change(steps=[]), "found no step that ends in"),
        (change(steps=[Sign("wrong sign", x**2 - 1, "<", (x - 1) * (x + 1))]), "found step 1"),
        (change(steps=[Sign("wrong form", x**2 - 1, ">", (x - 1) * (x + 2))]), "found step 1"),
        (change(steps=[Sign("no relation", x**2 - 1, "~")]), "found step 1"),
        (change(shows=[]), "shows nothing"),
        (change(shows=[x**2 > 2]), "found no step that ends in"),
        (change(given={"x >= 1": x >= 1}), "found step 1"),
        (change(given={}), "found step 1"),
        (dataclasses.replace(GOOD, claims=[]), "no claim"),
        (dataclasses.replace(GOOD, second=None), "reasons for none"),
        (
            dataclasses.replace(GOOD, only_symbolic={"squares": "and second form"}),
            "expected one or the other",
        ),
        (second(lambda x: {"x > 1": x < 1}, lambda x: x * x > 1), "a point where the second form fails"),
        (second(lambda x: {"x > 1": x > 1}, lambda x: x * x > 2), "a point where the second form fails"),
        (second(lambda x: {"x > 1": x * x < 0}, lambda x: x * x > 1), "contradict each other"),
        (second(lambda x: {}, lambda x: x * x > 1), "the assumptions"),
        (
            dataclasses.replace(GOOD, witnesses={("squares", "x > 1"): {"x": 3}}),
            "violates nothing",
        ),
    ],
)
def test_what_is_wrong_is_never_proved(wrong, says):
    result = check(wrong)
    assert result.verdict == "open"
    assert result.failed
    assert any(says in problem for problem in result.problems), result.problems


def test_balls_that_do_not_overlap_or_are_wide_fail():
    import flint

    def enclosures(one, other):
        return dataclasses.replace(GOOD, enclosures=lambda: [("values", one, other)])

    third = flint.arb(1) / 3
    assert check(enclosures(third, third)).verdict == "proved"
    assert check(enclosures(third, third)).enclosures == 1
    assert check(enclosures(third, flint.arb(1) / 4)).failed
    assert check(enclosures(third, flint.arb(0.3, 0.1))).failed


def test_a_solver_that_runs_out_of_time_proves_nothing(monkeypatch):
    monkeypatch.setattr(smt, "ask", lambda *args, **options: smt.Answer("unknown"))
    monkeypatch.setattr(smt, "THIRD", 0.0)  # cvc5 has no time at all
    result = check(GOOD)
    assert result.verdict == "open"
    assert result.engines == ("sympy",)
    assert any("no solver that decides" in problem for problem in result.problems)


def test_each_solver_refutes_what_is_false():
    x = smt.load().Real("x")
    for solver in smt.SOLVERS:
        assert smt.ask(solver, [x > 1], x * x > 2).verdict == "refuted"


def test_a_long_search_is_stopped():
    """A question far beyond a tenth of a second: an answer in time, or none, and the next one works."""
    z3 = smt.load()
    v = z3.Reals("a b c d e f g h")
    hard = [sum(v[i] * v[(i * k + 1) % 8] ** 3 for i in range(8)) == k for k in range(1, 6)]
    for solver in smt.SOLVERS:
        assert smt.ask(solver, hard, v[0] ** 5 < v[1] ** 4 + v[2], timeout=0.1).verdict in (
            "unknown",
            "refuted",
        )
    assert smt.ask("cvc5", [v[0] > 1], v[0] * v[0] > 1).verdict == "proved"


def test_one_wrong_sign_inside_a_formula_is_caught():
    a, mu = sympy.symbols("a mu", real=True)
    right = mu * (1 - a) * (2 + mu * (1 + a))
    assert Identity("boundary", (1 + mu) ** 2 - (1 + mu * a) ** 2, right).holds()
    assert not Identity("boundary", (1 + mu) ** 2 - (1 + mu * a) ** 2, right.subs(mu, -mu)).holds()


@pytest.mark.parametrize(
    ("given", "expression", "relation"),
    [
        ([], x**2, ">"),
        ([x >= 0], x, ">"),
        ([x > 0], x - 1, ">"),
        ([x > 0, y < 0], x + y, "!="),
        ([x > 0], x * y, ">="),
        ([x >= 0], 1 / x, ">"),
        ([], sympy.sqrt(x), ">="),
        ([x < 0], sympy.log(x), "<"),
        ([], x / x * y, "=="),
        ([x > 0, x < 0], x + 1, ">"),
        ([], sympy.I, "!="),
        ([], sympy.zoo, "!="),
    ],
)
def test_signs_that_do_not_follow(given, expression, relation):
    assert not Facts(given).holds(expression, relation)


@pytest.mark.parametrize(
    ("given", "expression", "relation"),
    [
        ([], x**2 + y**2, ">="),
        ([sympy.Ne(x, 0)], x**2 + y**2, ">"),
        ([x > 0, x > 1], sympy.log(x), ">"),
        ([2 * x - 2 * y > 0], y / 3 - x / 3, "<"),
        ([x > 0], sympy.sqrt(x) * sympy.exp(y), ">"),
        ([sympy.Eq(x, 3)], x - 2, ">"),
        ([sympy.Eq(x - y, 0)], (x - y) * sympy.exp(x), "=="),
        ([x < y], (y - x) / (1 + x**2), ">"),
    ],
)
def test_signs_that_follow(given, expression, relation):
    assert Facts(given).holds(expression, relation)


def test_signs_agree_with_numbers():
    """Whatever the rules derive for random expressions is true at random points."""
    draw = random.Random(0)
    known = [x > 0, y < 1]
    facts = Facts(known)
    pieces = [x, 1 - y, y, x + 1, x * y, sympy.Integer(-2), x**2, 1 / x, y - 1, x - y]
    decided = 0
    for _ in range(300):
        first, second, third = draw.choices(pieces, k=3)
        expression = draw.choice([first * second + third, first + second * third**2, first * second * third])
        for relation, holds in (("> ", lambda v: v > 0), ("<", lambda v: v < 0), (">=", lambda v: v >= 0)):
            if facts.holds(expression, relation.strip()):
                decided += 1
                for _ in range(10):
                    point = {
                        x: sympy.Rational(draw.randint(1, 50), 7),
                        y: 1 - sympy.Rational(draw.randint(1, 50), 7),
                    }
                    assert holds(expression.subs(point))
    assert decided > 50


depth, q, r = sympy.symbols("l q r", real=True)
whole = sympy.Symbol("m", integer=True)
both = sympy.exp(sympy.I * x) / 2, sympy.exp(-sympy.I * x) / 2


@pytest.mark.parametrize(
    ("expression", "by"),
    [
        (sympy.cos(x), sympy.Add(*both, evaluate=False)),
        (sympy.exp(sympy.sqrt(x)) + sympy.exp(-sympy.sqrt(x)), None),
        (2 ** sympy.log(x), None),
        (sympy.exp(1 / x), None),
    ],
)
def test_what_is_not_real_or_has_no_value_has_no_sign(expression, by):
    assert not Sign("positive", expression, ">", by).holds()


@pytest.mark.parametrize(
    ("expression", "point", "value", "given"),
    [
        (sympy.gamma(2 * q) * depth / (sympy.gamma(q) * depth), 0, sympy.gamma(2 * q) / sympy.gamma(q), []),
        (sympy.sin(depth), sympy.oo, sympy.AccumBounds(-1, 1), []),
        (q / (q + depth), 0, 1, []),
        ((1 - q) * depth / ((1 - q) * depth + 1), sympy.oo, 1, []),
        (1 / (1 + (q - 1) ** 2 * depth), sympy.oo, 0, []),
        (1 / ((q - r) ** 2 * depth + 1), sympy.oo, 0, [q > 0, r > 0]),
        (q * depth / (q * depth + r * depth + 1), sympy.oo, q / (q + r), []),
        (whole * depth / (whole * depth + 1), sympy.oo, 1, []),
        (((1 - q) * depth + 1) / (depth * (1 - q) + sympy.exp(-depth)), sympy.oo, 1, [q > 0]),
        ((depth - q * depth + 1) / (depth - q * depth + sympy.exp(-depth)), sympy.oo, 1, [q > 0]),
        (sympy.sin((q - 1) * depth) / ((q - 1) * depth), 0, 1, []),
        (sympy.cos(1 / depth), 0, sympy.cos(1 / depth), []),
        (depth / (q - 1), 0, 0, []),
        (q**depth, sympy.oo, 0, [q > 0]),
        (r * q**depth / (y - x * q**depth), sympy.oo, 0, [q > 0, q < 1]),
    ],
)
def test_limits_that_fail_for_some_parameters_are_not_accepted(expression, point, value, given):
    assert not Tends("limit", expression, depth, point, value).holds(Facts(given))


@pytest.mark.parametrize(
    ("expression", "point", "value", "given"),
    [
        (r * q**depth / (y - x * q**depth), sympy.oo, 0, [q > 0, q < 1, y > 0]),
        (q * depth / (q * depth + r * depth + 1), sympy.oo, q / (q + r), [q > 0, r > 0]),
        (q / (q + depth), 0, 1, [q > 0]),
        (depth**3 * q**depth, sympy.oo, 0, [q > 0, q < 1]),
    ],
)
def test_limits_that_hold_for_all(expression, point, value, given):
    assert Tends("limit", expression, depth, point, value).holds(Facts(given))


@pytest.mark.parametrize(
    ("given", "shows"),
    [
        ([sympy.Eq(y, x)], sympy.Eq(sympy.Integral(y**2, (x, 0, 1)), sympy.Rational(1, 3), evaluate=False)),
        ([], sympy.Eq((x**2 - 1) / (x - 1), x + 1)),
        ([x**2 >= 0], x**2 >= 0),
        ([], sympy.And(x > 0, y > 0)),
    ],
)
def test_what_is_undefined_captured_or_no_relation_is_not_accepted(given, shows):
    claim = Claim("claim", {str(k): relation for k, relation in enumerate(given)}, [shows], [])
    with pytest.raises(ProofError):
        claim.check()


@pytest.mark.parametrize(
    ("second_form", "says"),
    [
        (lambda x: Query({"x > 1": x > 1}, x * x > -1), "two forms that differ"),
        (lambda x: Query({"x > 1": x > 4}, x * x > 1), "two forms of the assumption"),
    ],
)
def test_a_second_form_of_something_else_is_noticed(second_form, says):
    other = dataclasses.replace(GOOD, second=lambda s: {"squares": second_form(s.Real("x"))})
    result = check(other)
    assert result.verdict == "open"
    assert says in result.problems[0]


def test_assumptions_that_nothing_meets_are_noticed_in_the_first_form_too():
    given = {"x > y": x > y, "y > x + 1": y > x + 1}
    steps = [Sign("adding", x - y - 5, ">", sympy.Add(6 * (x - y), 5 * (y - x - 1), evaluate=False))]
    empty = Claim("empty", given, [x - y > 5], steps)
    statement = dataclasses.replace(
        GOOD,
        claims=[empty],
        second=None,
        only_symbolic={"empty": "to see"},
        witnesses={("empty", name): "because" for name in given},
    )
    assert any("no case that meets" in problem for problem in check(statement).problems)


def test_zero_is_zero_only():
    assert is_zero(sympy.expand((x + y) ** 3) - (x + y) ** 3)
    assert is_zero(sympy.Matrix([[x - x, 0]]).as_immutable())
    assert not is_zero(x - y)
    assert not is_zero(sympy.oo - 1)
    assert not Identity("shapes", sympy.zeros(2, 2), sympy.zeros(2, 1)).holds()
    assert not Identity("matrix and number", sympy.zeros(2, 2), sympy.Integer(0)).holds()


# --- reports -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    """As if all had been checked: how a report looks does not depend on it."""
    sample = check(STATEMENTS["dominance.boundary"])
    return [dataclasses.replace(sample, statement=s, verdict=s.aim) for s in STATEMENTS.values()]


def test_the_page_is_complete_and_its_formulas_are_well_formed(results):
    page = report.as_html(results)
    assert "http" not in page.replace("http://www.w3.org/1998/Math/MathML", "")
    formulas = re.findall(r"<math.*?</math>", page, flags=re.DOTALL)
    steps = sum(len(claim.steps) for r in results for claim in r.statement.claims)
    assert len(formulas) >= steps + len(results)
    for formula in formulas:
        xml.etree.ElementTree.fromstring(formula)
        text = "".join(xml.etree.ElementTree.fromstring(formula).itertext())
        assert "\\" not in text, text  # a command that was not understood
    for name in STATEMENTS:
        assert f'<section id="{name}">' in page


def test_the_latex_is_balanced(results):
    text = report.as_latex(results)
    assert text.count(r"\begin{") == text.count(r"\end{")
    plain = re.sub(r"\\[{}\\]", "", text)
    assert plain.count("{") == plain.count("}")
    assert len(re.findall(r"\\left(?![a-z])", text)) == len(re.findall(r"\\right(?![a-z])", text))
    assert text.isascii()


def test_the_table_has_a_line_each(results):
    lines = report.table(results, width=100)
    assert len(lines) == len(results) + 2
    assert "0 failed" in lines[-1]
    assert len({len(line) for line in lines[1:-1]}) == 1


# --- command line ------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, ["prove", *arguments])


def test_prove_prints_table_and_derivation():
    done = run("dominance.boundary")
    assert done.exit_code == 0
    assert "dominance.boundary: proved by sympy, z3" in done.stdout
    assert "1 proved, 0 refuted, 0 open, 0 failed" in done.stdout


def test_prove_a_family():
    done = run("smooth", "--json")
    assert done.exit_code == 0
    found = {s["id"]: s["verdict"] for s in json.loads(done.stdout)["statements"]}
    assert found == {
        "smooth.interval": "proved",
        "smooth.right_half_plane": "proved",
        "smooth.complex": "refuted",
    }
    one = json.loads(done.stdout)["statements"][0]
    assert {"id", "statement", "verdict", "engines", "seconds"} <= set(one)
    assert {"sympy", "z3"} <= set(one["engines"])


def test_prove_writes_files(tmp_path):
    done = run("dominance.disk", "--latex", str(tmp_path / "p.tex"), "--html", str(tmp_path / "p.html"))
    assert done.exit_code == 0
    assert (tmp_path / "p.tex").read_text().startswith("\\documentclass")
    assert "<math" in (tmp_path / "p.html").read_text()


def test_prove_exits_1_where_a_statement_fails(monkeypatch):
    monkeypatch.setitem(STATEMENTS, "test.squares", change(shows=[x**2 > 2]))
    done = run("test.squares")
    assert done.exit_code == 1
    assert "FAILED test.squares" in done.stdout
    done = run("test.squares", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["statements"][0]["verdict"] == "open"


def test_prove_refuses_unknown_ids_and_places(tmp_path):
    done = run("dominance.boundry")
    assert done.exit_code == 2
    assert "'dominance.boundry'" in done.stderr
    assert "dominance.boundary" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run("smooth", "--html", str(tmp_path / "no" / "p.html")).exit_code == 2


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(smt, "SOLVERS", {"no_such_solver": "no-such-solver"})
    with pytest.raises(MissingExtraError, match=r"no-such-solver.*linsim\[proofs\]"):
        check(GOOD)
    done = run("dominance.boundary")
    assert done.exit_code == 2
    assert "linsim[proofs]" in done.stderr
    assert issubclass(ProofError, LinsimError)
    assert issubclass(InvalidValueError, ValueError)
