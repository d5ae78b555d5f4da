"""Everything linsim refuses, as one tree under :class:`LinsimError`.

Each class is also the built-in exception that a caller would expect, so
``except ValueError`` keeps working.  A message always says which argument,
what was found, what was expected, and what to do.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "ClaimError",
    "FileFormatError",
    "InvalidTypeError",
    "InvalidValueError",
    "LinsimError",
    "MissingExtraError",
    "NotCoveredError",
    "ShapeError",
    "SpectrumError",
    "UnknownNameError",
]


class LinsimError(Exception):
    """Base of every error that linsim raises on purpose."""


class InvalidValueError(LinsimError, ValueError):
    """A value is out of range: not finite, negative attention, an unknown name.

    Remedy: the message names the argument and the values it accepts.
    """


class InvalidTypeError(LinsimError, TypeError):
    """An argument is of the wrong kind: text, a ragged list, a float for a count.

    Remedy: pass a rectangular numeric array, or the type the message names.
    """


class ShapeError(InvalidValueError):
    """Shapes do not fit together, or do not broadcast.

    Remedy: A is (..., n, n), H is (..., d, d), x0 is (..., n, d).
    """


class SpectrumError(InvalidValueError):
    """No matrix of the wanted kind with these eigenvalues was found, or exists.

    Remedy: the message says which condition the spectrum violates.
    """


class UnknownNameError(InvalidValueError, KeyError):
    """A result holds nothing of this name: a metric that was not recorded, a rate that no law gives.

    Remedy: the message names what there is, and how to get the rest.
    """

    # KeyError shows its message as a literal, in quotes
    __str__ = Exception.__str__


class FileFormatError(LinsimError, OSError):
    """A file is missing, unreadable, or holds something else than an array.

    Remedy: write it with ``numpy.save`` or ``numpy.savez``.
    """


class MissingExtraError(LinsimError, ImportError):
    """An optional dependency is not installed.

    Remedy: ``pip install 'linsim[EXTRA]'`` with the extra the message names.
    """


class BackendError(LinsimError, RuntimeError):
    """The wanted array backend cannot be used on this machine.

    Remedy: leave ``backend`` out to compute where the inputs live.
    """


class ClaimError(LinsimError, ValueError):
    """A claim gave no verdict: it raised, answered neither true, false nor a number, or was never asked.

    Remedy: return a bool or a margin, and leave out what the claim says nothing about
    with ``hypothesis.assume``, within reach of the systems that are drawn.
    """


class NotCoveredError(LinsimError, NotImplementedError):
    """No law is known, or implemented, for this layer rule.

    Remedy: ``simulate`` measures what ``predict`` cannot yet say.
    """
