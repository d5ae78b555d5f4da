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

from .catalogue import STATEMENTS
from .certificates import Certificate, certify
from .check import Need, Result, check
from .conditions import Condition, dominance_condition
from .statement import Claim, ProofError, Query, Statement
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
