"""The theory that linsim validates, derived step by step and proved twice.

Each statement carries a derivation whose steps SymPy checks, and a second,
separately written form that solvers of real arithmetic (z3, cvc5) prove; what is
false comes with an exact counterexample.  :func:`dominance_condition` derives
the condition for a layer of your own, :func:`certify` proves the regime of one
concrete system by ball arithmetic.  ``pip install 'linsim[proofs]'`` brings the engines.

>>> result = check(STATEMENTS["dominance.boundary"])
>>> result.verdict, result.engines
('proved', ('sympy', 'z3', 'cvc5'))
"""

from .certificates import Certificate, certify
from .check import Need, Result, check
from .conditions import Condition, dominance_condition
from .statement import Claim, ProofError, Query, Statement
from .statements.bounds import shared as bounds
from .statements.control import shared as control
from .statements.defective import shared as defective
from .statements.dominance import shared as dominance
from .statements.escalation import shared as escalation
from .statements.exact import shared as exact
from .statements.limit import shared as limit
from .statements.rates import shared as rates
from .steps import Identity, Sign, Tends, plus, times

__all__ = [
    "STATEMENTS",
    "Certificate",
    "Claim",
    "Condition",
    "Identity",
    "Need",
    "ProofError",
    "Query",
    "Result",
    "Sign",
    "Statement",
    "Tends",
    "certify",
    "check",
    "dominance_condition",
    "plus",
    "times",
]

#: every statement by its name
STATEMENTS: dict[str, Statement] = {
    statement.id: statement
    for family in (dominance, limit, defective, rates, bounds, control, escalation, exact)
    for statement in family.STATEMENTS
}
