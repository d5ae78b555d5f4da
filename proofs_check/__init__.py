"""Proofs of the theory that linsim validates, checked by computer algebra.

>>> STATEMENTS["dominance.boundary"].check()
"""

from . import dominance
from .statement import Identity, ProofError, Sign, Statement

__all__ = ["STATEMENTS", "Identity", "ProofError", "Sign", "Statement"]

#: every statement by its name
STATEMENTS: dict[str, Statement] = {statement.id: statement for statement in dominance.STATEMENTS}
