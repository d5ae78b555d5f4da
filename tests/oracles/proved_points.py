"""A statement at a point, and the pairs of formula and statement that are compared there.

A check draws a point, asks a formula of linsim, and puts both into the relations of the statement.
"""

import math

import numpy as np
from sympy.core.relational import Equality

from proofs_check import STATEMENTS, Tends

CLOSE = 1e-9
#: (function, statement) -> the formula, what makes a wrong one of it, and the check
PAIRS = {}


def pair(function, statement, formula, wrong=lambda value: 1.01 * value):
    """Register a check; ``wrong`` turns what the formula returns into what must be noticed."""

    def register(check):
        assert (function, statement) not in PAIRS
        PAIRS[function, statement] = (formula, wrong, check)
        return check

    return register


def number(expression, point):
    """Return an expression of a statement in doubles, its symbols known by their names."""
    return float(expression.subs({s: point[s.name] for s in expression.free_symbols}))


def true(relation, point):
    """Whether a relation holds; equalities up to rounding."""
    left, right = number(relation.lhs, point), number(relation.rhs, point)
    if isinstance(relation, Equality):
        return math.isclose(left, right, rel_tol=CLOSE, abs_tol=CLOSE * 1e-3)
    return bool(relation.func(left, right))


def claims(name):
    return {claim.name: claim for claim in STATEMENTS[name].claims}


def settled(name, among, **point):
    """Return the one claim, of some that exclude each other, whose assumptions hold."""
    found = [key for key in among if all(true(r, point) for r in claims(name)[key].given.values())]
    assert len(found) == 1, (name, found, point)
    return found[0]


def winner(name, among, **point):
    """Return the regime that the settled claim shows: it compares lambda = 1 with another eigenvalue."""
    [shows] = claims(name)[settled(name, among, **point)].shows
    assert true(shows, point)
    return {">": "smoothing", "<": "sharpening", "==": "balanced"}[shows.rel_op]


def holds(name, claim, **point):
    """A claim at a point: its assumptions are met, and so are its conclusions."""
    for words, relation in claims(name)[claim].given.items():
        assert true(relation, point), (name, claim, words, point)
    for conclusion in claims(name)[claim].shows:
        assert true(conclusion, point), (name, claim, conclusion, point)


def side(name, claim, which, conclusion=0, **point):
    """Return the value of the left or right side of a conclusion, or of a limit."""
    shown = claims(name)[claim].shows[conclusion]
    return number(shown.value if isinstance(shown, Tends) else getattr(shown, which), point)


def equal(found, proved):
    np.testing.assert_allclose(found, proved, rtol=CLOSE)


def attention_with(a):
    """Two tokens: eigenvalues 1 and a."""
    return np.array([[1 + a, 1 - a], [1 - a, 1 + a]]) / 2


def tokens_of(draw, n):
    return np.array([[draw.uniform(0.5, 2)] for _ in range(n)])
