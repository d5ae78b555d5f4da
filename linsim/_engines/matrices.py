"""Layer by layer on whole arrays, cut along the dominant modes: matrices that are known beforehand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from .._general_eigen import row_sums
from .._namespace import Array, namespace, on_device_of, to_host
from .._parallel import pieces
from .._recorded import Recorded, missing, record, sharper
from .._shadow import BUDGET
from .._split import KINDS, choose_split, no_split, row_split
from .._state import Split, State
from . import steps
from .protocol import Job
from .task import Task, budget, eps_of, go_on, in_one_transfer, placed, rounding, started

__all__ = ["FINE", "blunt", "gentle", "jobs", "plain_split", "split_of", "told_apart", "walked_heads"]

Heads = Sequence[tuple[Array, Array]]

# vectors far from orthogonal cost digits of what does not need them: where a cut enlarges roundings by more
# than this systems are cut along the mean alone, and again along modes if some error is more than FINE then
_ENLARGED = 20.0
FINE = 1e-11
_FINE = {"float64": FINE, "float32": 1e-6}


def jobs(task: Task) -> list[Job]:
    """Return the work, in any array library."""
    start, growth, n, d = task.start, task.growth, task.n, task.d
    heads, equal = walked_heads(task)
    repeats = task.different == 1
    error = rounding(start, task.layers)
    bits = budget(start)
    until = on_device_of(task.zero_until[:, :, None].astype(np.float64), start)

    def run(part: slice) -> Recorded:
        def own(M: Array) -> Array:
            return M if M.shape[0] == 1 else M[part, ...]

        here = own(start)
        split, kinds, enlarged = split_of(task, own, heads, equal)
        pace = float(np.max(growth if growth.size == 1 else growth[part]))

        @functools.cache
        def matrices(layer: int) -> Sequence[tuple[Array, Array]]:
            return [(own(A), own(H)) for A, H in heads(layer)]

        def asked(layer: int) -> Sequence[tuple[Array, Array]]:
            go_on(task.stop)
            return [] if task.ended(layer) else matrices(0 if repeats else layer)

        def walk(split: Split, kinds: np.ndarray[Any, Any]) -> Recorded:
            @functools.cache
            def cut(layer: int) -> State | None:
                row = task.drive(layer)
                return None if row is None else steps.cut_drive(own(row), split)

            def drive(layer: int) -> State | None:
                return None if task.ended(layer) else cut(0 if repeats else layer)

            added = drive if task.driven else None
            # rows of A that sum to 1 enlarge nothing: all entries are within the growth of a layer
            wide = False if task.rule.stochastic and pace <= BUDGET else None

            def recorded(hopes: list[Array] | None) -> Recorded:
                begun = started(here, split)
                walked = steps.states(begun, asked, task.at, pace, bits, drive=added, wide=wide, hopes=hopes)
                keep, tokens = task.keep_states, task.tokens_beside(here, part)
                names, zero = task.names, own(until)
                return record(walked, task.at, names, here, zero, keep, "iterate", kinds, error, tokens)

            hopes: list[Array] = []
            found = recorded(None if task.on_host else hopes)
            return found if all(map(bool, hopes)) else recorded(None)

        first, kinds_first = gentle(task, split, kinds, enlarged, own, heads)
        found = walk(first, kinds_first)
        rough = blunt(found, enlarged, task.precision)
        if not any(x.any() for x in rough.values()):
            return found
        return told_apart(found, walk(split, kinds), rough)

    parts = [slice(0, task.size)]
    if any(M.shape[0] > 1 for pair in heads(0) for M in pair) or start.shape[0] > 1:
        parts = pieces(task.size, 6 * n * d + 2 * n * n + 2 * d * d, start)
    return [Job(part, functools.partial(run, part)) for part in parts]


def blunt(found: Recorded, enlarged: np.ndarray[Any, Any], dtype: str) -> dict[str, np.ndarray[Any, Any]]:
    """Of which systems a cut along modes may measure a metric better by as much as anyone would see, (b,)."""
    if float(np.max(enlarged)) <= _ENLARGED:
        return {}
    gone = missing(found, dict.fromkeys(found.errors, _FINE[dtype]))
    rough = np.any(to_host(gone), axis=-1) & (enlarged > _ENLARGED)
    return dict(zip(found.errors, rough, strict=True))


def gentle(
    task: Task,
    split: Split,
    kinds: np.ndarray[Any, Any],
    enlarged: np.ndarray[Any, Any],
    own: Callable[[Array], Array],
    heads: Callable[[int], Heads],
) -> tuple[Split, np.ndarray[Any, Any]]:
    """The cut to begin with, and its kinds: along the mean alone where modes enlarge roundings."""
    far = enlarged > _ENLARGED
    if not far.any():
        return split, kinds
    xp, plain = namespace(task.start), plain_split(task, own, heads)
    here = on_device_of(far[:, None, None], task.start)

    def either(name: str) -> Any:
        careful, sharp = getattr(plain, name), getattr(split, name)
        return careful or sharp if isinstance(sharp, bool) else xp.where(here, careful, sharp)

    alone = KINDS[0] if task.rule.stochastic else KINDS[4]
    return Split(**{field.name: either(field.name) for field in fields(Split)}), np.where(far, alone, kinds)


def told_apart(found: Recorded, other: Recorded, rough: dict[str, np.ndarray[Any, Any]]) -> Recorded:
    """Of two ways the better one, where a metric of a system asks for it, whatever others do."""
    kinds = np.where(functools.reduce(np.logical_or, rough.values()), other.kinds, found.kinds)
    errors = {}
    for name, x in other.errors.items():
        xp = namespace(x)
        errors[name] = xp.where(on_device_of(rough[name][:, None], x), x, xp.full_like(x, xp.inf))
    return replace(sharper(found, replace(other, errors=errors)), kinds=kinds)


def plain_split(task: Task, own: Callable[[Array], Array], heads: Callable[[int], Heads]) -> Split:
    """The cut along the mean alone, or none where that is not carried along."""
    here = own(task.start)
    if task.rule.stochastic:
        A = [to_host(own(A)).astype(np.float64) for A, _ in heads(0)]
        return placed(row_split(A, task.d, eps_of(here)), here)
    return placed(no_split(task.n, task.d), here)


def walked_heads(task: Task) -> tuple[Callable[[int], Heads], bool]:
    """Return the pairs (A_h, H_h) of each layer as it is walked, and whether rows were made to sum to 1.

    They are where all rows of each A have one sum and no single head has modes of its own: then the
    constant direction is invariant.  One more head, at every layer, takes off again what that adds.
    """
    raw = functools.cache(task.heads)  # every matrix moves once
    if task.rule.stochastic or task.rule.single_head is not None:
        return raw, False
    eps = task.given_to
    less = {}
    for layer in range(task.different):
        less[layer] = [1 - row_sums(to_host(A).astype(np.float64), eps) for A, _ in raw(layer)]
    if not all(np.all(np.isfinite(x)) for own in less.values() for x in own):
        return raw, False
    away = any(np.any(x != 0) for own in less.values() for x in own)

    @functools.cache
    def heads(layer: int) -> Heads:
        pairs = raw(layer)
        if not away:
            return pairs
        sums = [
            on_device_of(x[:, None, None], A, A.dtype) for x, (A, _) in zip(less[layer], pairs, strict=True)
        ]
        return _as_if_stochastic(pairs, sums)

    return heads, True


def _as_if_stochastic(pairs: Heads, less: Sequence[Array]) -> Heads:
    """The same layer with rows that sum to 1: A X H = (A + (1 - s) Pi) X H - Pi X (1 - s) H."""
    A, H = pairs[0]
    mean = namespace(A).full_like(A[:1, ...], 1 / A.shape[-1])
    taken = -less[0] * H
    for x, (_, H) in zip(less[1:], pairs[1:], strict=True):
        taken = taken - x * H
    return [*((A + x * mean, H) for x, (A, H) in zip(less, pairs, strict=True)), (mean, taken)]


def _driven(task: Task, own: Callable[[Array], Array]) -> np.ndarray[Any, Any] | None:
    """Which systems have something that is not zero added to all tokens, None where nothing is."""
    row = task.drive(0)
    return None if row is None else np.any(to_host(own(row)) != 0, axis=(-1, -2))


def split_of(
    task: Task, own: Callable[[Array], Array], heads: Callable[[int], Heads], equal: bool = False
) -> tuple[Split, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Choose the split on the host, from the inputs where they are, and place it beside the states."""
    start, rule = task.start, task.rule
    eps = eps_of(start)

    def host(M: Array) -> np.ndarray[Any, Any]:
        return to_host(own(M)).astype(np.float64)

    if rule.single_head is not None:
        ((A, H),) = heads(0)
        eps = eps if rule.stochastic else task.given_to
        split, kinds, enlarged = choose_split(
            host(A), host(H), host(start), eps, stochastic=rule.stochastic, driven=_driven(task, own)
        )
    elif not (rule.stochastic or equal):
        split, kinds, enlarged = no_split(task.n, task.d), np.asarray([KINDS[4]]), np.ones(1)
    else:
        every = [own(A) for layer in range(task.different) for A, _ in heads(layer)]
        attentions = [A.astype(np.float64) for A in in_one_transfer(every)]
        split, kinds = row_split(attentions, int(start.shape[-1]), eps), np.asarray([KINDS[0]])
        enlarged = np.ones(1)
    return placed(split, start), kinds, enlarged
