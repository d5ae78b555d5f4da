"""Rules of a user's own, as the layers that laws are about."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._general_attention import general
from .._namespace import to_host
from .._rule import Rule
from ..errors import NotCoveredError
from ..rules import Layered, Linear, MultiHead

__all__ = ["as_layers"]


def as_layers(rule: Rule) -> Linear | MultiHead | Layered:
    """Return a rule with ``heads`` as Linear or MultiHead where it repeats, as Layered where it ends.

    Raises
    ------
    NotCoveredError
        Where its layers differ and never end, or are no matrices.
    """
    if isinstance(rule, Linear | MultiHead):
        return rule
    if isinstance(rule, Layered):
        once = {id(one): as_layers(one) for one in rule.rules}
        if all(once[id(one)] is one for one in rule.rules):
            return rule
        return Layered([once[id(one)] for one in rule.rules])
    if rule.moves_by != "matrices":
        raise NotCoveredError(
            f"rule: found {type(rule).__name__}, whose layers are no matrices known beforehand; expected "
            "one with heads(layer). Use linsim.simulate to measure."
        )
    if rule.max_depth is not None:
        return Layered([_layer(rule, layer) for layer in range(rule.max_depth)])
    if rule.repeats:
        return _layer(rule, 0)
    raise NotCoveredError(
        f"rule: found {type(rule).__name__}, whose layers may differ and never end; expected layers that "
        "repeat or end. Set repeats or max_depth, or use linsim.lyapunov_exponents."
    )


def _layer(rule: Rule, layer: int) -> Linear | MultiHead:
    pairs = [tuple(np.asarray(to_host(M)) for M in pair) for pair in rule.checked_heads(layer)]
    row = rule.checked_drive(layer)
    bias = None if row is None else np.asarray(to_host(row))

    def attention(A: Any) -> Any:
        return A if rule.stochastic else general(A)

    if len(pairs) == 1:
        ((A, H),) = pairs
        return Linear(attention(A), H, bias=bias)

    def together(side: int) -> Any:
        found = [pair[side] for pair in pairs]
        shape = np.broadcast_shapes(*(M.shape for M in found))
        return np.stack([np.broadcast_to(M, shape) for M in found], axis=-3)

    return MultiHead(attention(together(0)), together(1), bias=bias)
