"""Every statement of the catalogue: that it is proved, that both its forms say the same, and where it is."""

import ast
import dataclasses
import inspect
import random
import re
import sys
from fractions import Fraction
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import sympy
from sympy.core.relational import Relational

from linsim.errors import InvalidValueError
from proofs_check import STATEMENTS, ProofError, Sign, Tends, check, smt, statements
from proofs_check.catalogue import collect, module_of
from proofs_check.check import _all_true
from proofs_check.signs import Facts

queries_of = cache(lambda name: dict(STATEMENTS[name].second(smt.load())) if STATEMENTS[name].second else {})
every_statement = pytest.mark.parametrize("name", STATEMENTS)


@pytest.mark.sample(4)
@every_statement
def test_it_is_what_it_says(name):
    """Everything checks, and what is said to be needed stops the derivation where it is dropped."""
    result = check(STATEMENTS[name])
    assert STATEMENTS[name].id == name
    assert result.problems == ()
    assert result.verdict == STATEMENTS[name].aim
    claims = {claim.name: claim for claim in STATEMENTS[name].claims}
    assert result.decided["sympy"] == len(claims)
    for claim in claims:
        assert claim in queries_of(name) or STATEMENTS[name].only_symbolic[claim]
    for need in result.needs:
        assert need.verdict in ("needed", "not needed")
        if need.verdict == "needed":
            with pytest.raises(ProofError):
                claims[need.claim].check(without=need.assumption)


def test_the_catalogue_is_large_enough_and_covers_the_theory():
    assert len(STATEMENTS) >= 30
    families = {name.partition(".")[0] for name in STATEMENTS}
    assert families >= {
        "dominance",
        "sharpen",
        "smooth",
        "noresidual",
        "limit",
        "defective",
        "rates",
        "bounds",
    }
    assert families >= {"control", "layernorm", "lyapunov", "similarity", "escalation", "exact"}
    aims = [statement.aim for statement in STATEMENTS.values()]
    assert aims.count("proved") > 30
    assert "refuted" in aims
    assert "open" in aims


@pytest.mark.sample(4)
@every_statement
def test_every_step_matters(name):
    """Each step with a wrong sign, a wrong side or a wrong limit is not accepted."""
    for claim in STATEMENTS[name].claims:
        facts = Facts(claim.given.values())
        for number, step in enumerate(claim.steps, start=1):
            for wrong in broken(step):
                assert not wrong.holds(facts), (claim.name, number, wrong)
            step.teach(facts)


OPPOSITE = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}


def broken(step):
    if isinstance(step, Sign):
        yield dataclasses.replace(step, relation=OPPOSITE[step.relation])
        if step.by is not None:
            yield dataclasses.replace(step, by=step.by + 1)
    elif isinstance(step, Tends):
        yield dataclasses.replace(step, value=0 if step.value == sympy.oo else step.value + 1)
    elif isinstance(step.right, sympy.MatrixBase):
        yield dataclasses.replace(step, right=step.right + sympy.ones(*step.right.shape))
    else:
        yield dataclasses.replace(step, right=step.right + 1)


@pytest.mark.sample(3)
@every_statement
def test_a_stronger_or_opposite_conclusion_is_not_derived(name):
    for claim in STATEMENTS[name].claims:
        facts = Facts(claim.given.values())
        for step in claim.steps:
            step.teach(facts)
        for conclusion in claim.shows:
            assert claim._reached(conclusion, facts)
            for wrong in stronger(conclusion):
                assert not claim._reached(wrong, facts), (claim.name, wrong)


def stronger(conclusion):
    if isinstance(conclusion, Tends):
        yield dataclasses.replace(
            conclusion, value=0 if conclusion.value == sympy.oo else conclusion.value + 1
        )
        return
    sides = conclusion.lhs, conclusion.rhs
    opposite = {">": sympy.Le, ">=": sympy.Lt, "<": sympy.Ge, "<=": sympy.Gt, "==": sympy.Ne, "!=": sympy.Eq}
    yield opposite[conclusion.rel_op](*sides, evaluate=False)
    if conclusion.rel_op in (">=", "<="):
        yield {">=": sympy.Gt, "<=": sympy.Lt}[conclusion.rel_op](*sides, evaluate=False)


@pytest.mark.sample(3)
@every_statement
def test_the_second_form_can_fail(name):
    """The opposite conclusion is refuted, and so is a strict one in place of one that allows equality."""
    z3 = smt.load()
    for claim, query in queries_of(name).items():
        given = list(query.given.values())
        assert smt.ask("z3", given, z3.Not(query.shows)).verdict == "refuted", claim
        for atom in atoms(query.shows):
            if atom.decl().kind() in (z3.Z3_OP_LE, z3.Z3_OP_GE):
                strict = atom.arg(0) != atom.arg(1)
                assert smt.ask("z3", given, strict).verdict == "refuted", (claim, atom)


def atoms(formula):
    if isinstance(formula, bool):
        return []
    if formula.decl().name() == "and":
        return [atom for child in formula.children() for atom in atoms(child)]
    return [formula]


def agreement(name, points, seed=0):
    """Compare the two forms, assumption by assumption, at random rational points."""
    compared = 0
    draw = random.Random(f"{seed} {name}")
    for claim in STATEMENTS[name].claims:
        query = queries_of(name).get(claim.name)
        if query is None or not query.same_symbols:
            continue
        pairs = [([relation], query.given[key]) for key, relation in claim.given.items()]
        relations = [c for c in claim.shows if isinstance(c, Relational)]
        if len(relations) == len(claim.shows):
            pairs.append((relations, query.shows))
        names = smt.symbols(formula for _, formula in pairs)
        names |= {s.name for relation, _ in pairs for r in relation for s in r.free_symbols}
        fixed = {
            r.lhs.name: r.rhs for r in claim.given.values() if isinstance(r, sympy.Eq) and r.lhs.is_Symbol
        }
        for number in range(points):
            point = {key: Fraction(draw.randint(-6, 6), draw.choice([1, 1, 2, 3])) for key in sorted(names)}
            if number % 2:  # where the values that are given hold
                values = {sympy.Symbol(k, real=True): sympy.Rational(v) for k, v in point.items()}
                for key, value in fixed.items():
                    exact = sympy.sympify(value).subs(values)
                    if exact.is_Rational:
                        point[key] = Fraction(int(exact.p), int(exact.q))
            for relation, formula in pairs:
                first = _all_true(relation, point)
                if first is not None:
                    assert first == smt.truth(formula, point), (claim.name, relation, formula, point)
                    compared += 1
    return compared


@pytest.mark.sample(4)
@every_statement
def test_the_two_forms_say_the_same(name):
    compared = agreement(name, points=8)
    comparable = [c for c, q in queries_of(name).items() if q.same_symbols]
    assert compared >= len(comparable)


@pytest.mark.full
@every_statement
def test_the_two_forms_say_the_same_at_many_points(name):
    agreement(name, points=400, seed=1)


# --- where they are --------------------------------------------------------------------------------


def test_the_page_on_proofs_counts_them():
    """The line that it shows is the one that `linsim prove` ends with."""
    aims = [statement.aim for statement in STATEMENTS.values()]
    counts = ", ".join(f"{aims.count(aim)} {aim}" for aim in ("proved", "refuted", "open"))
    page = (Path(__file__).parents[2] / "docs" / "theory" / "proofs.md").read_text(encoding="utf-8")
    line = f"{len(aims)} statements: {counts}, 0 failed"
    assert re.findall(r"\d+ statements: .* failed", page) == [line], (
        f"write into docs/theory/proofs.md: {line}"
    )


@every_statement
def test_its_file_is_its_id_and_its_symbols_are_its_own(name):
    module = import_module(f"{statements.__name__}.{module_of(name)}")
    assert module.STATEMENT is STATEMENTS[name]
    assert module.__doc__
    names = [key for key, value in vars(module).items() if isinstance(value, sympy.Symbol)]
    tree = ast.parse(inspect.getsource(module))
    imported = {a.name for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert not imported & set(names)


def test_every_place_is_given_once():
    """So that the order of the catalogue never depends on a name."""
    families = {name.partition(".")[0] for name in STATEMENTS}
    packages = [import_module(f"{statements.__name__}.{family}") for family in families]
    assert len({package.PLACE for package in packages}) == len(families)
    places = [
        (name.partition(".")[0], import_module(f"{statements.__name__}.{module_of(name)}").PLACE)
        for name in STATEMENTS
    ]
    assert len(set(places)) == len(places)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package of statements, and import it."""

    def write(**files):
        root = tmp_path / "written_statements"
        for path, text in {"__init__": "", "family/__init__": "", **files}.items():
            (root / f"{path}.py").parent.mkdir(parents=True, exist_ok=True)
            (root / f"{path}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [name for name in sys.modules if name.startswith("written_statements")]:
            monkeypatch.delitem(sys.modules, name)
        return import_module("written_statements")

    yield write
    for name in [name for name in sys.modules if name.startswith("written_statements")]:
        del sys.modules[name]


def one(identity, place=""):
    return (
        f"from proofs_check import Statement\n{place}\nSTATEMENT = Statement({identity!r}, 's', 'l', 'h', ())"
    )


def test_a_new_file_is_a_new_statement(package):
    found = collect(
        package(
            **{
                "family/late": one("family.late"),
                "family/early": one("family.early", "PLACE = 2"),
                "family/first": one("family.first", "PLACE = 1"),
                "family/lambda_": one("family.lambda", "PLACE = 3"),
                "family/shared": "nothing = 0",
            }
        )
    )
    assert list(found) == ["family.first", "family.early", "family.lambda", "family.late"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("STATEMENT = 1", "no STATEMENT"),
        ("", "no STATEMENT"),
        (one("family.other"), "found family.other; expected a STATEMENT whose id is its path (family.name)"),
    ],
)
def test_a_file_that_holds_no_statement_of_its_name_is_refused(package, text, says):
    with pytest.raises(InvalidValueError, match=re.escape(says)):
        collect(package(**{"family/name": text}))
