"""Mappings that results hold: dictionaries that say what they hold when asked for something else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from . import _validate
from .errors import UnknownNameError

__all__ = ["Named", "named"]


class Named(dict[str, Any]):
    """A dictionary by name whose missing keys are explained.

    Parameters
    ----------
    items : mapping
        What it holds.
    title : str
        What the error calls it, as "run.metrics".
    others : iterable of str
        Names that it could hold and does not.
    how : str
        How to get one of those, "{}" in place of its name.

    Raises
    ------
    UnknownNameError
        On access to a missing name; it is a KeyError too.

    Examples
    --------
    >>> found = Named({"cosine": 1.0, "log_norm": 2.0}, "run.metrics")
    >>> found["cosin"]
    Traceback (most recent call last):
    ...
    linsim.errors.UnknownNameError: run.metrics: found 'cosin'; expected one of 'cosine', 'log_norm'. ...
    """

    def __init__(
        self, items: Mapping[str, Any], title: str, others: Iterable[str] = (), how: str = ""
    ) -> None:
        super().__init__(items)
        self.title, self.others, self.how = title, tuple(others), how

    def __missing__(self, name: object) -> NoReturn:
        near, wanted = _validate.similar(name, self), _validate.similar(name, self.others)
        if name in self.others or (wanted and not near):
            remedy = self.how.format(repr(name if name in self.others else wanted[0]))
        elif near:
            remedy = f"Did you mean {' or '.join(map(repr, near))}?"
        else:
            remedy = "Choose one of them." if self else "There is none."
        held = f"one of {', '.join(map(repr, self))}" if self else "nothing: it is empty"
        raise _validate.refusal(UnknownNameError, self.title, repr(name), held, remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        return Named, (dict(self), self.title, self.others, self.how)


def named(owner: object, title: str, *fields: str, others: Iterable[str] = (), how: str = "") -> None:
    """Turn fields of a frozen dataclass into :class:`Named` mappings, once it is made."""
    for field in fields:
        items = getattr(owner, field)
        if not isinstance(items, Named):
            object.__setattr__(owner, field, Named(items, f"{title}.{field}", others, how))
