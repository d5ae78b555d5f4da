"""Random systems that shrink to readable ones, and a search for the system that refutes a claim.

Not imported by ``import linsim``: it needs Hypothesis.

>>> from linsim import testing
>>> def positive_weights_smooth(system):
...     return not (system.mu.real > 0).all() or system.generic_law.input_convergence
>>> systems = testing.systems(weights="normal")
>>> print(testing.falsify(positive_weights_smooth, systems, max_examples=50))
No counterexample to positive_weights_smooth in 50 systems.
"""

from ._falsify import Refuted, Supported, falsify, replay
from ._files import load
from ._strategies import attention_matrices, systems, token_matrices, weight_matrices
from ._system import System

__all__ = [
    "Refuted",
    "Supported",
    "System",
    "attention_matrices",
    "falsify",
    "load",
    "replay",
    "systems",
    "token_matrices",
    "weight_matrices",
]
