"""States of several systems as the CUDA kernel holds them, and the launches that take them through layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._cuda import layout
from .._cuda.launch import in_one_piece, kernel, launch
from .._namespace import Array, namespace, on_device_of
from .._shadow import BUDGET, COUNT, SAFETY, Shadows
from .._state import PARTS, Split, State, between_rescalings, norm
from .._types import HostArray
from .task import budget

__all__ = ["Batch", "Walked", "flat", "measured", "rescaled"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some systems of a task, on the device.

    ``A`` (layers or 1, m or 1, n, n), ``H`` (layers or 1, m or 1, d, d): their matrices; ``until`` (m, n)
    int64: the layer up to which a token is exactly zero; ``singular``: whether singular values are asked for.
    """

    m: int
    n: int
    d: int
    A: Array
    H: Array
    until: Array
    singular: bool


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


def measured(batch: Batch, state: State) -> Array:
    """What the kernel says of float64 states as they stand, whose noise is known: (m, 1, columns)."""
    xp, m = namespace(state.R), batch.m
    noise = xp.reshape(xp.broadcast_to(state.noise, (m, 1, len(PARTS))), (m, len(PARTS)))
    rows = xp.reshape(xp.broadcast_to(state.rows, (m, batch.n, 1)), (m, batch.n))
    ones = xp.ones((m,), dtype=xp.float64)
    known = {"noise": noise, "noise_rows": rows, "every": xp.ones((m, 2), dtype=xp.int64)}
    bytes_ = layout.shared_bytes(batch.n, batch.d, 8, 0, False)
    return _launched(batch, flat(state, m), state.split, ones, known, bytes_, 0, 0, [0])


class Walked:
    """States on their way through the layers: where they are, and their errors beside them."""

    def __init__(
        self, batch: Batch, state: State, shadows: Shadows, every: Array, bytes_: int, with_copies: bool
    ) -> None:
        xp, m = namespace(state.R), batch.m
        self.batch, self.split, self.bytes = batch, state.split, bytes_
        self.held = flat(state, m)
        condition = xp.broadcast_to(xp.reshape(shadows.condition, (-1,)), (m,))
        self.condition = xp.astype(condition, xp.float64)
        errors, exponents = flat(shadows.errors, m)
        self.known = {
            "copies": np.int32(COUNT),
            "with_copies": np.int32(with_copies),
            "every": every,
            "errors": errors,
            "error_exponents": exponents,
            "pool": _pattern(shadows.pools),
            "fixed": _pattern(shadows.fixed),
            "drift": _pattern(shadows.drift),
        }

    def to(self, first: int, last: int, wanted: Sequence[int]) -> Array:
        """Go from the first layer, where they are, to the last; return (m, wanted, columns)."""
        return _launched(
            self.batch, self.held, self.split, self.condition, self.known, self.bytes, first, last, wanted
        )


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
    bytes_: int,
    first: int,
    last: int,
    wanted: Sequence[int],
) -> Array:
    """Take m systems from one layer to another; return (m, wanted, columns).  ``held`` is changed."""
    parts, exponents = held
    xp, m, n, d = namespace(parts), batch.m, batch.n, batch.d
    vectors, facts = _facts(split, m, condition)
    out = xp.empty((m, max(len(wanted), 1), layout.width(n, d)), dtype=xp.float64)
    double, single = (
        xp.zeros((1,), dtype=xp.float64),
        xp.zeros((1,), dtype=xp.float32),
    )  # of what is not there

    def matrices(M: Array) -> Array:
        return xp.astype(xp.reshape(M, (-1,)), parts.dtype, copy=False)

    # in the order of ARGUMENTS in walk.cuh
    arguments = {
        "n": np.int32(n),
        "d": np.int32(d),
        "copies": np.int32(0),
        "with_copies": np.int32(0),
        "singular": np.int32(batch.singular),
        "several_A": np.int32(batch.A.shape[1] > 1),
        "several_H": np.int32(batch.H.shape[1] > 1),
        "changing": np.int32(batch.A.shape[0] > 1),
        "systems": np.int64(m),
        "first": np.int64(first),
        "last": np.int64(last),
        "recorded": np.int64(len(wanted)),
        "safety": np.float64(SAFETY),
        "A": matrices(batch.A),
        "H": matrices(batch.H),
        "vectors": xp.astype(vectors, parts.dtype, copy=False),
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
        "out": out,
    }
    precision = "float64" if parts.dtype == xp.float64 else "float32"
    launch(kernel(f"walk_{precision}"), m, bytes_, arguments | known)
    return out[:, : len(wanted), :]
