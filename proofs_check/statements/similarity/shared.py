"""Equations as differences that vanish."""

from __future__ import annotations

from typing import Any

__all__ = ["zero"]


def zero(*relations: Any) -> list[Any]:
    """Return what the given equations say is 0."""
    return [relation.lhs - relation.rhs for relation in relations]
