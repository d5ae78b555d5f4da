"""Asking for a layer before the tokens go through it, though a rule may draw each only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["kept"]

T = TypeVar("T")


def kept(ask: Callable[[int], T]) -> Callable[[int], T]:
    """Return ``ask`` for who may ask for one layer several times: the answer for the last one is kept."""
    held: list[Any] = []

    def answer(layer: int) -> T:
        if not held or held[0] != layer:
            held[:] = layer, ask(layer)
        found: T = held[1]
        return found

    return answer
