"""A mode divided by rho, and what a limit means to a solver."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix

from ...statement import Claim, Query
from ...steps import Sign

__all__ = ["INVERSE", "NILPOTENT", "RHO", "divided", "divided_second", "equal", "near", "quotient", "size"]

k, w, y, lam, mu = sympy.symbols("k w y lambda mu", real=True)

RHO = 1 + lam * mu


def equal(left: Any, right: Any) -> Any:
    """Return the relation left = right as it is written.

    >>> equal(w + w, 2 * w)
    Eq(2*w, 2*w)
    """
    return Eq(left, right, evaluate=False)


def size(s: Any, x: Any) -> Any:
    """Return \\|x\\| for a solver.

    >>> from proofs_check.smt import load, truth
    >>> truth(size(load(), load().RealVal(-2)) == 2, {})
    True
    """
    return s.If(x >= 0, x, -x)


def near(s: Any, x: Any, y: Any, eps: Any) -> Any:
    """Return \\|x - y\\| < eps for a solver.

    >>> from proofs_check.smt import load, truth
    >>> z3 = load()
    >>> truth(near(z3, z3.RealVal(1), z3.RealVal(2), z3.RealVal(1)), {})
    False
    """
    return s.And(x - y < eps, y - x < eps)


def quotient(s: Any) -> Any:
    """Return, for a solver: E = u/f is within eps of A where \\|u - A f\\| <= w < eps c and f >= c > 0.

    With f = G + t f', u = A G + t u', G > 0 and a t that tends to zero, f' and u' bounded,
    u - A f = t (u' - A f').

    >>> from proofs_check.smt import ask, load
    >>> ask("z3", [], quotient(load())).verdict
    'proved'
    """
    E, A, u, f, w, c, eps = s.Reals("E_ A_ u_ f_ w_ c_ eps_")
    premises = s.And(E * f == u, u - A * f <= w, A * f - u <= w, f >= c, c > 0, w < eps * c, eps > 0)
    return s.Implies(premises, near(s, E, A, eps))


INVERSE = {"k (1 + lambda mu) = 1": Eq(k * RHO, 1)}


def divided(reduction: str) -> Claim:
    """Return the claim that dividing by rho turns a gain w into k w."""
    return Claim(
        "divided by rho",
        INVERSE,
        [equal(RHO * y + w, RHO * (y + k * w))],
        [Sign("rho k = 1", RHO * y + w - RHO * (y + k * w), "==", w * (1 - k * RHO))],
        reduction,
    )


def divided_second(s: Any) -> dict[str, Query]:
    """Return the second form of :func:`divided`."""
    k, lam, mu, y, w = s.Reals("k lambda mu y w")
    rho = 1 + lam * mu
    return {
        "divided by rho": Query(
            {"k (1 + lambda mu) = 1": k + k * lam * mu == 1}, rho * y + w == rho * (y + k * w)
        )
    }


NILPOTENT = Matrix([[0, 1], [0, 0]])
