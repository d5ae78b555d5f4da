"""When does the constant mode dominate?  Derived, and proved, for an update rule of one's own."""

from .answer import Condition
from .derivation import dominance_condition

__all__ = ["Condition", "dominance_condition"]
