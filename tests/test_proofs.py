import dataclasses

import numpy as np
import pytest
import sympy

from linsim.errors import LinsimError
from linsim.theory import boundary, disk
from proofs_check import STATEMENTS, Identity, ProofError, Sign, Statement
from proofs_check import dominance as proofs


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_checks(name):
    assert STATEMENTS[name].id == name
    STATEMENTS[name].check()


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_step_matters(name):
    """A wrong sign, anywhere, is caught."""
    statement = STATEMENTS[name]
    opposite = {"positive": "negative", "negative": "positive", "nonnegative": "negative"}
    for number, step in enumerate(statement.steps, start=1):
        if isinstance(step, Sign):
            wrong = dataclasses.replace(step, sign=opposite[step.sign])
        elif sympy.expand(step.right) == 0:
            wrong = dataclasses.replace(step, right=step.right + 1)
        else:
            wrong = dataclasses.replace(step, right=-step.right)
        steps = [*statement.steps]
        steps[number - 1] = wrong
        with pytest.raises(ProofError, match=rf"{name}: found step {number} \("):
            dataclasses.replace(statement, steps=steps).check()


def test_one_wrong_sign_inside_a_formula_is_caught():
    a, mu = proofs.a, proofs.mu
    step = Identity("boundary", (1 + mu) ** 2 - (1 + mu * a) ** 2, mu * (1 - a) * (2 - mu * (1 + a)))
    assert not step.holds()


def test_a_sign_that_holds_only_sometimes_is_not_accepted():
    p = sympy.Symbol("p", positive=True)
    assert not Sign("sometimes", p - 1, "positive").holds()
    assert not Sign("sometimes", 1 - p, "negative").holds()
    assert not Sign("zero at p = 1", (p - 1) ** 2, "positive").holds()


def test_a_statement_without_steps_proves_nothing():
    with pytest.raises(LinsimError, match="no step"):
        Statement("empty", "anything", "nowhere", ()).check()


@pytest.mark.parametrize("lambda_min", [-0.999, -0.5, -0.3, 0.0, 0.25, 0.9])
def test_numeric_functions_are_the_proved_expressions(lambda_min):
    exact = sympy.Rational(lambda_min)  # the double itself
    np.testing.assert_allclose(boundary(lambda_min), float(proofs.BOUNDARY.subs(proofs.a, exact)), rtol=4e-16)
    proved = [float(e.subs(proofs.a, exact)) for e in (proofs.CENTRE, proofs.RADIUS)]
    np.testing.assert_allclose(disk(lambda_min), proved, rtol=4e-16)


def test_the_proof_derives_the_boundary():
    """The only other zero of the difference, found by SymPy and not by us."""
    roots = sympy.solve(proofs.difference, proofs.mu)
    assert {sympy.simplify(root) for root in roots} == {0, sympy.simplify(proofs.BOUNDARY)}
