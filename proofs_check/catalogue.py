"""The catalogue: every statement, found in the folder ``statements``.

A statement is one file, and its path is its id: ``dominance.boundary`` is the variable
STATEMENT of ``statements/dominance/boundary.py``.  Nothing else needs to be told of a new one.

>>> len(STATEMENTS["dominance.boundary"].claims)
5
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from linsim.errors import InvalidValueError

from . import statements
from .statement import Statement

__all__ = ["STATEMENTS", "collect", "module_of"]

#: what the statements of a family share; no statement has this name
SHARED = "shared"


def module_of(identity: str) -> str:
    """Return the module of a statement, below ``statements``: the one rule of how ids become paths.

    Parameters
    ----------
    identity : str
        Family and name, as "dominance.global".

    Returns
    -------
    str
        The same, except that words which Python keeps for itself get an underscore at their end.

    Examples
    --------
    >>> module_of("dominance.boundary"), module_of("dominance.global")
    ('dominance.boundary', 'dominance.global_')
    """
    return ".".join(part + "_" if keyword.iskeyword(part) else part for part in identity.split("."))


def collect(package: ModuleType) -> dict[str, Statement]:
    """Return the statements of a package by their ids.

    Parameters
    ----------
    package : module
        A package of families, each a package of modules with a STATEMENT.

    Returns
    -------
    dict of str to Statement
        Families and their statements in the order of PLACE, a number that each module may
        set; those without one come last, by name.

    Raises
    ------
    InvalidValueError
        If a module holds no statement, or one whose id is not its path.

    Examples
    --------
    >>> from proofs_check import statements
    >>> list(collect(statements))[:2]
    ['dominance.endpoints', 'dominance.boundary']
    """
    found = {}
    for family in _in_order(package):
        for module in _in_order(family):
            path = module.__name__.removeprefix(package.__name__ + ".")
            statement = getattr(module, "STATEMENT", None)
            if not isinstance(statement, Statement) or module_of(statement.id) != path:
                holds = statement.id if isinstance(statement, Statement) else "no STATEMENT"
                raise InvalidValueError(
                    f"{module.__name__}: found {holds}; expected a STATEMENT whose id is its path ({path}). "
                    f"Set the id, or move what is only shared to {SHARED}.py."
                )
            found[statement.id] = statement
    return found


def _in_order(package: ModuleType) -> Iterator[ModuleType]:
    """Import the modules in a package, and give them in the order of PLACE."""
    names = [info.name for info in iter_modules(package.__path__) if info.name != SHARED]
    modules = [import_module(f"{package.__name__}.{name}") for name in names]
    yield from sorted(modules, key=lambda module: (getattr(module, "PLACE", math.inf), module.__name__))


#: every statement by its name
STATEMENTS: dict[str, Statement] = collect(statements)
