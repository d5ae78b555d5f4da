"""States of several systems as the CUDA kernel holds them, and the launches that take them through layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .._cuda import layout
from .._cuda.launch import in_one_piece, kernel, launch, most_blocks, room_of_a_block
from .._namespace import Array, namespace, on_device_of
from .._shadow import BUDGET, COUNT, SAFETY, Shadows
from .._state import PARTS, Split, State, between_rescalings, norm
from .._types import HostArray
from .steps import cut_drive
from .task import budget

__all__ = ["Batch", "Drive", "Walked", "Written", "drive_of", "flat", "measured", "rescaled", "state_of"]


class Drive(NamedTuple):
    """What layers add to every token: (layers or 1, m or 1, numbers), and exponents (., ., 5)."""

    parts: Array
    exponents: Array


class Written(NamedTuple):
    """What a launch has written of m systems at some layers.

    ``numbers`` (m, layers, columns) where they were asked for; ``parts`` and ``exponents`` as of
    :func:`flat`, ``noise`` (m, layers, 5 + n), and those of ``errors`` (m, layers, copies, .), where states
    were.
    """

    numbers: Array | None
    parts: Array | None
    exponents: Array | None
    noise: Array | None
    errors: Array | None
    error_exponents: Array | None


@dataclass(frozen=True, eq=False)
class Batch:
    """Some systems of a task, on the device.

    ``A`` (layers or 1, heads, m or 1, n, n), ``H`` (layers or 1, heads, m or 1, d, d): their matrices, of
    layer ``given`` and the next ones, or of all;
    ``until`` (m, n) int64: the layer up to which a token is exactly zero; ``numbers``: whether metrics are
    worked out of what the kernel measures, ``singular``: of singular values among it; ``states``: whether
    states are written; ``drive``: what layers add to every token.
    """

    m: int
    n: int
    d: int
    A: Array
    H: Array
    until: Array
    numbers: bool
    singular: bool
    states: bool
    drive: Drive | None = None
    given: int = 0


def flat(state: State, m: int) -> tuple[Array, Array]:
    """Parts of m states, or of the errors of m, one behind the other as kernels hold them; and exponents."""
    xp = namespace(state.R)
    lead = (m, *state.R.shape[1:-2])

    def of(x: Array) -> Array:
        x = xp.broadcast_to(x, (*lead, *x.shape[-2:]))
        return xp.reshape(x, (*lead, -1))

    parts = xp.concat([of(x) for x in (state.R, state.r, state.b, state.mean, state.a)], axis=-1)
    exponents = xp.concat([of(getattr(state, f"e_{part}")) for part in PARTS], axis=-1)
    return in_one_piece(parts), in_one_piece(exponents)


def rescaled(growth: HostArray, m: int, state: State, shadows: Shadows) -> Array:
    """Layers between rescalings of the states and of their errors, (m, 2) int64."""
    room = {"state": (budget(state.R), state.R), "errors": (BUDGET, shadows.errors.R)}
    both = [
        np.clip(bits // np.maximum(growth, 1.0), 1, between_rescalings(x, 1)).astype(np.int64)
        for bits, x in room.values()
    ]
    columns = [np.broadcast_to(x, m) for x in both]
    return on_device_of(np.stack(columns, axis=-1), state.R, namespace(state.R).int64)


def drive_of(rows: Sequence[Array], split: Split) -> Drive:
    """Cut what layers add to every token, each of ``rows`` (b or 1, 1, d), as kernels take it."""
    parts, exponents = [], []
    for row in rows:
        xp, cut = namespace(row), cut_drive(row, split)
        b = max(x.shape[0] for x in (cut.R, cut.r, cut.a, cut.mean))
        # every token is given a multiple of the largest one's share
        size = xp.max(xp.abs(cut.R), axis=-1, keepdims=True)
        first = xp.argmax(size, axis=-2, keepdims=True)
        place = xp.reshape(xp.arange(size.shape[-2], dtype=first.dtype), (1, -1, 1))
        along = xp.sum(xp.where(place == first, cut.R, xp.zeros_like(cut.R)), axis=-2, keepdims=True)
        square = xp.sum(along * along, axis=-1, keepdims=True)
        column = xp.sum(cut.R * along, axis=-1, keepdims=True)
        column = column / xp.where(square > 0, square, xp.ones_like(square))

        held = [_rows(x, b) for x in (cut.r, cut.b, cut.a, cut.mean, column, along)]
        parts.append(xp.astype(xp.concat(held, axis=-1), row.dtype))
        exponents.append(xp.concat([_rows(getattr(cut, f"e_{name}"), b) for name in PARTS], axis=-1))
    b = max(x.shape[0] for x in parts)
    return Drive(*(xp.stack([_rows(x, b) for x in each]) for each in (parts, exponents)))


def _rows(x: Array, b: int) -> Array:
    """Arrays (b or 1, ...) as (b, numbers)."""
    xp = namespace(x)
    return xp.reshape(xp.broadcast_to(x, (b, *x.shape[1:])), (b, -1))


def measured(batch: Batch, state: State) -> Written:
    """What the kernel says of float64 states as they stand, whose noise is known, at one layer."""
    xp, m = namespace(state.R), batch.m
    noise = xp.reshape(xp.broadcast_to(state.noise, (m, 1, len(PARTS))), (m, len(PARTS)))
    rows = xp.reshape(xp.broadcast_to(state.rows, (m, batch.n, 1)), (m, batch.n))
    ones = xp.ones((m,), dtype=xp.float64)
    known = {"noise": noise, "noise_rows": rows, "every": xp.ones((m, 2), dtype=xp.int64)}
    return _launched(batch, flat(state, m), state.split, ones, known, 0, 0, 0, [0])


class Walked:
    """States on their way through the layers: where they are, and their errors beside them."""

    def __init__(self, batch: Batch, state: State, shadows: Shadows, every: Array) -> None:
        xp, m = namespace(state.R), batch.m
        self.batch, self.split, self.shadows = batch, state.split, shadows
        self.held = flat(state, m)
        condition = xp.broadcast_to(xp.reshape(shadows.condition, (-1,)), (m,))
        self.condition = xp.astype(condition, xp.float64)
        errors, exponents = flat(shadows.errors, m)
        self.known = {
            "every": every,
            "errors": errors,
            "error_exponents": exponents,
            "noise_rows": in_one_piece(
                xp.reshape(xp.broadcast_to(shadows.small.first, (m, batch.n, 1)), (m, batch.n))
            ),
            "pool": _pattern(shadows.pools),
            "fixed": _pattern(shadows.fixed),
            "drift": _pattern(shadows.drift),
        }

    def to(self, first: int, last: int, wanted: Sequence[int], drawn: tuple[Array, Array] | None) -> Written:
        """Go from the first layer, where they are, to the last; ``drawn``: its and the next ones' A and H."""
        if drawn is not None:
            self.batch = replace(self.batch, A=drawn[0], H=drawn[1], given=first)
        return _launched(
            self.batch, self.held, self.split, self.condition, self.known, COUNT, first, last, wanted
        )


def state_of(written: Written, split: Split, n: int, d: int, shadows: Shadows | None = None) -> State:
    """The states that a launch has written, those of all layers of a system one behind the other.

    ``shadows``: those that went along, whose errors say how far metrics are off in single precision.
    """
    parts, exponents, noise = written.parts, written.exponents, written.noise
    assert parts is not None
    assert exponents is not None
    assert noise is not None
    xp, (m, count) = namespace(parts), parts.shape[:2]

    def repeated(x: Array) -> Array:
        if x.shape[0] == 1:
            return x
        wide = xp.broadcast_to(x[:, None, ...], (m, count, *x.shape[1:]))
        return xp.reshape(wide, (m * count, *x.shape[1:]))

    def cut(split: Split, x: Array, e: Array, noise: Array) -> State:
        lead = (m * count, *x.shape[2:-1])

        def piece(first: int, *shape: int) -> Array:
            return xp.reshape(x[..., first : first + shape[0] * shape[1]], (*lead, *shape))

        e = xp.reshape(e, (*lead, 1, len(PARTS)))
        return State(
            split,
            R=piece(0, n, d),
            r=piece(n * d, 1, d),
            b=piece(n * d + d, n, 1),
            mean=piece(n * d + d + n, 1, d),
            a=piece(n * d + 2 * d + n, 1, 1),
            **{f"e_{name}": e[..., k : k + 1] for k, name in enumerate(PARTS)},
            noise=noise,
        )

    both = xp.reshape(noise, (m * count, 1, -1))
    rows = xp.matrix_transpose(both[:, :, len(PARTS) :])
    state = replace(cut(split.map(repeated), parts, exponents, both[:, :, : len(PARTS)]), rows=rows)
    if shadows is None or state.R.dtype == xp.float64:
        return state
    errors = cut(shadows.errors.split, written.errors, written.error_exponents, state.noise)
    splits = tuple(one.map(repeated) for one in shadows.splits)
    return replace(state, samples=replace(shadows, errors=errors, splits=splits).samples(state))


def _pattern(drawn: dict[str, Array]) -> Array:
    """Patterns of all parts, one part behind the other."""
    xp = namespace(drawn["R"])
    each = (drawn[k] for k in ("R", "r", "b", "mean", "a"))
    return xp.concat([xp.reshape(x, (*x.shape[:-2], -1)) for x in each], axis=-1)


def _facts(split: Split, m: int, condition: Array) -> tuple[Array, Array]:
    """The vectors of m systems, (m, 2n + 2d), and what else kernels are told of them."""
    xp = namespace(split.v)

    def of(x: Array) -> Array:
        x = xp.broadcast_to(x, (m, *x.shape[1:]))
        return xp.reshape(xp.astype(x, xp.float64), (m, -1))

    vectors = {name: of(getattr(split, name)) for name in "uvwz"}
    lengths = {f"length_{name}": of(norm(getattr(split, name))) for name in "uvwz"}
    known = lengths | {
        "lam": of(split.lam),
        "mu": of(split.mu),
        "condition": condition[:, None],
        "constant": of(split.constant),
        "coupled": of(split.coupled),
        "has_z": xp.astype(lengths["length_z"] > 0, xp.float64),
        "any_mean": xp.full((m, 1), float(split.any_mean), dtype=xp.float64),
        "means": of(split.means),
        "preserves": of(split.preserves_mean),
    }
    facts = xp.concat([known[fact] for fact in layout.FACTS], axis=-1)
    return xp.concat(list(vectors.values()), axis=-1), facts


def _launched(
    batch: Batch,
    held: tuple[Array, Array],
    split: Split,
    condition: Array,
    known: dict[str, Any],
    copies: int,
    first: int,
    last: int,
    wanted: Sequence[int],
) -> Written:
    """Take m systems from one layer to another.  ``held`` is changed."""
    parts, exponents = held
    xp, m, n, d, k = namespace(parts), batch.m, batch.n, batch.d, len(wanted)
    double_precision = parts.dtype == xp.float64
    vectors, facts = _facts(split, m, condition)
    double, single = (
        xp.zeros((1,), dtype=xp.float64),
        xp.zeros((1,), dtype=xp.float32),
    )  # of what is not there
    none = xp.astype(single, parts.dtype)
    heads = batch.A.shape[1]
    near, far = layout.room(n, d, 8 if double_precision else 4, copies, heads, room_of_a_block())
    # a block that needs more room than there is on the chip takes one system after the other
    blocks = min(m, most_blocks()) if far else m
    drive = batch.drive if copies else None
    # in single precision errors are samples, too
    states = int(batch.states) * (1 if double_precision else 2)
    size = layout.flat(n, d)

    def room(wanted: bool, shape: tuple[int, ...], dtype: Any = xp.float64) -> Array | None:
        return xp.empty((m, k, *shape), dtype=dtype) if wanted and k else None

    written = Written(
        numbers=room(batch.numbers, (layout.width(n, d),)),
        parts=room(states > 0, (size,), parts.dtype),
        exponents=room(states > 0, (5,)),
        noise=room(states > 0, (5 + n,)),
        errors=room(states > 1, (copies, size), xp.float32),
        error_exponents=room(states > 1, (copies, 5)),
    )

    def matrices(M: Array) -> Array:
        return xp.astype(xp.reshape(M, (-1,)), parts.dtype, copy=False)

    def or_none(x: Array | None, nothing: Array) -> Array:
        return nothing if x is None else x

    # in the order of ARGUMENTS in walk.cuh
    arguments = {
        "n": np.int32(n),
        "d": np.int32(d),
        "heads": np.int32(heads),
        "copies": np.int32(copies),
        "with_numbers": np.int32(batch.numbers),
        "with_values": np.int32(batch.singular),
        "with_states": np.int32(states),
        "several_A": np.int32(batch.A.shape[2] > 1),
        "several_H": np.int32(batch.H.shape[2] > 1),
        "several_drive": np.int32(drive is not None and drive.parts.shape[1] > 1),
        "changing_A": np.int32(batch.A.shape[0] > 1),
        "changing_H": np.int32(batch.H.shape[0] > 1),
        "changing_drive": np.int32(drive is not None and drive.parts.shape[0] > 1),
        "driven": np.int32(drive is not None),
        "systems": np.int64(m),
        "first": np.int64(first),
        "last": np.int64(last),
        "recorded": np.int64(k),
        "given": np.int64(batch.given),
        "bytes": np.int64(near),
        "bytes_far": np.int64(far),
        "safety": np.float64(SAFETY),
        "A": matrices(batch.A),
        "H": matrices(batch.H),
        "vectors": xp.astype(vectors, parts.dtype, copy=False),
        "drive": none if drive is None else drive.parts,
        "drive_exponents": double if drive is None else drive.exponents,
        "facts": facts,
        "wanted": on_device_of(np.asarray([*wanted, -1], dtype=np.int64), parts),
        "zero_until": batch.until,
        "every": None,
        "pool": single,
        "fixed": single,
        "drift": single,
        "held": parts,
        "exponents": exponents,
        "errors": single,
        "error_exponents": double,
        "noise": double,
        "noise_rows": double,
        "far": xp.empty((max(1, blocks * far // 8),), dtype=xp.float64),
        "out": or_none(written.numbers, double),
        "out_held": or_none(written.parts, none),
        "out_exponents": or_none(written.exponents, double),
        "out_noise": or_none(written.noise, double),
        "out_errors": or_none(written.errors, single),
        "out_error_exponents": or_none(written.error_exponents, double),
    }
    name = "walk_float64" if double_precision else "walk_float32"
    launch(kernel(name), blocks, near, arguments | known)
    return written
