"""Random systems that shrink to readable ones, and a search for the system that refutes a claim.

Not imported by ``import linsim``: it needs Hypothesis.

>>> from linsim import testing
>>> def positive_weights_smooth(system):
...     return not (system.mu.real > 0).all() or system.generic_law.input_convergence
>>> systems = testing.systems(weights="normal")
>>> print(testing.falsify(positive_weights_smooth, systems, max_examples=50))
No counterexample to positive_weights_smooth in 50 systems.
"""

from ._attention_strategy import attention_matrices
from ._falsify import Refuted, Supported, falsify, replay
from ._files import load
from ._ready import settings
from ._system import System
from ._system_strategy import systems
from ._token_strategy import token_matrices
from ._weight_strategy import weight_matrices

__all__ = [
    "Refuted",
    "Supported",
    "System",
    "attention_matrices",
    "falsify",
    "load",
    "replay",
    "settings",
    "systems",
    "token_matrices",
    "weight_matrices",
]
