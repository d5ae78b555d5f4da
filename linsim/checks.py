"""Checks of arguments, for code beside the library: its commands, figures and proofs, and rules of your own.

Each returns the value that it checked or raises one of :mod:`linsim.errors`, with a message of the one
form that linsim has: ``argument: found ...; expected .... what to do.``  The library itself takes them
from where they are written; here is only what others may rely on.

>>> count(3, "depth")
3
>>> count(-1, "depth")
Traceback (most recent call last):
...
linsim.errors.InvalidValueError: depth: found -1; expected an integer >= 0. Pass a larger number.
"""

from ._namespace import to_host
from ._validate import attention_matrix, choice, count, nearest, number, refusal, square

__all__ = ["attention_matrix", "choice", "count", "nearest", "number", "refusal", "square", "to_host"]
