"""That what linsim computes is what is proved: formula and statement, at random points.

A docstring says "Proved as ``family.name`` in proofs_check".  Each such pair is compared
in proved_theory.py or proved_escalation.py, or is in ELSEWHERE, with what stands in for it.
"""

import importlib
import inspect
import pkgutil
import random
import re

import pytest
from oracles import proved_escalation  # noqa: F401  its pairs
from oracles.proved_points import PAIRS
from oracles.proved_theory import ELSEWHERE

from linsim import escalation, theory
from proofs_check import STATEMENTS

POINTS = 20


def compare(key, formula):
    for seed in range(POINTS):
        PAIRS[key][2](formula, random.Random(f"{seed} {key}"))


@pytest.mark.sample(2)
@pytest.mark.parametrize("key", PAIRS, ids=" = ".join)
def test_the_formula_is_the_proved_one(key):
    compare(key, PAIRS[key][0])


@pytest.mark.parametrize("key", PAIRS, ids=" = ".join)
def test_another_formula_is_noticed(key):
    formula, wrong, _ = PAIRS[key]
    with pytest.raises(AssertionError):
        compare(key, lambda *arguments: wrong(formula(*arguments)))


PROVED = re.compile(r"[Pp]roved as ((?:``[\w.]+``(?:, | and )?)+)\s*in proofs_check")


def documented():
    """Every pair of a function and a statement that a docstring names."""
    names = ["linsim.weights"]
    for package in (theory, escalation):
        names += [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    for module in map(importlib.import_module, names):
        for thing in vars(module).values():
            if getattr(thing, "__module__", "") != module.__name__ or not callable(thing):
                continue
            methods = vars(thing).values() if inspect.isclass(thing) else ()
            for each in (thing, *filter(inspect.isfunction, methods)):
                text = " ".join((each.__doc__ or "").split())
                for found in PROVED.findall(text):
                    function = f"{module.__name__.split('.')[1]}.{each.__qualname__}"
                    yield from ((function, name) for name in re.findall("``(.*?)``", found))


def test_docstrings_and_pairs_name_the_same():
    named = set(documented())
    assert named == set(PAIRS) | set(ELSEWHERE)
    assert not set(PAIRS) & set(ELSEWHERE)
    assert len(PAIRS) >= 10
    for _, statement in named:
        assert STATEMENTS[statement].aim == "proved"


def test_no_docstring_names_a_statement_that_is_not_there():
    """Whatever looks like an id, in any docstring or comment of the theory."""
    families = {name.partition(".")[0] for name in STATEMENTS}
    pattern = re.compile(rf"\b(?:{'|'.join(families)})\.[a-z_]+\b")
    text = inspect.getdoc(importlib.import_module("linsim.theory.bounds"))
    found = set(pattern.findall(text))
    assert len(found) >= 10
    assert found <= set(STATEMENTS)
