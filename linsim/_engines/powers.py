"""Any layer from the eigenvalues of H alone, for an A without a usable eigenbasis.

Along each right eigenvector w_j of H a state moves by one matrix,

    X_l w_j = (I + mu_j A)^l X_0 w_j,

so its powers 2^t, t = 0, 1, ..., lead to layer l in log2(l) products, and no
eigenvector of A enters.  The split-off row (v, u) is taken out of the matrix,
P (I + mu_j A) P with P = I - v u, and moves by its own closed form.

The error of a power of a matrix that is far from normal has no useful bound
beforehand.  It is measured: a twin runs along whose every product is perturbed
by one rounding of its terms, and whose start by its noise; where twin and state
part, there are no digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._eigen import Eigensystem
from .._state import EMPTY, State, add_log2, combine, log2, norm, normalise
from .._types import EPS, BoolArray, FloatArray, HostArray, IntArray
from . import mode_states, modes
from .refine import Basis, basis_of

__all__ = ["Powers", "prepare", "states"]


#: log2 of how much more than between twins the error may be
SAFETY = 5.0
# bytes that the vectors of a block of layers, and the powers of a chunk of systems, may take
VECTORS, MATRICES = 2**27, 2**25


@dataclass(frozen=True, eq=False)
class Powers:
    """What b systems need to reach any layer.

    ``start`` (b, n, d): the state at layer 0; ``row`` and ``mean``: the modes of the
    split-off row and, where it has to be carried, of the token mean, as systems
    with one token; ``deflated`` (b, n, n): A - lambda v u; ``basis``
    of H; ``j`` (b,): the split's own weight mode or -1; ``sound`` (b,).
    """

    start: State
    row: modes.Modes
    mean: modes.Modes | None
    deflated: FloatArray
    basis: Basis
    j: IntArray
    sound: BoolArray


def prepare(A: FloatArray, H: FloatArray, start: State, weights: Eigensystem) -> Powers:
    """Take apart (b, n, d) systems by the eigenvectors of H; A, H have leading axis b or 1."""
    b = start.R.shape[0]
    start = replace(start, split=start.split.map(lambda x: np.broadcast_to(x, (b, *x.shape[1:]))))
    split = start.split
    has_z = np.any(split.z != 0, axis=(-1, -2))
    nearest = np.argmin(np.abs(weights.values - split.mu[:, 0]), axis=-1)
    j = np.where(has_z, nearest, -1)
    sound = np.broadcast_to(modes.sound(weights), b)
    basis = basis_of(H, weights, j, split.w[:, :, 0], split.z[:, 0, :], sound)

    def alone(row: State, lam: FloatArray) -> modes.Modes:
        return modes.prepare(lam, H, row, _one_token(lam[:, 0, 0]), weights)

    return Powers(
        start,
        alone(_row(start), split.lam),
        alone(_row(_mean_as_row(start)), np.ones_like(split.lam)) if split.any_mean else None,
        A - split.v * (split.lam * split.u),
        basis,
        j,
        np.asarray(sound),
    )


def _row(start: State) -> State:
    """The split-off row as the state of systems with one token."""
    split, one = start.split, np.ones((start.R.shape[0], 1, 1))
    yes = one > 0
    alone = replace(split, v=one, u=one, constant=yes, preserves_mean=yes, any_mean=False)
    nothing = np.full_like(one, EMPTY)
    return replace(start, split=alone, b=0 * one, R=0 * start.r, mean=start.mean, e_b=nothing, e_R=nothing)


def _mean_as_row(start: State) -> State:
    a = start.mean @ start.split.w
    noise = np.array(start.noise)
    noise[:, :, :2] = noise[:, :, 4:5]
    r = start.mean - a * start.split.z
    return replace(start, a=a, r=r, e_a=start.e_mean, e_r=start.e_mean, noise=noise)


def _one_token(lam: FloatArray) -> Eigensystem:
    one = np.ones((lam.size, 1))
    square = np.ones((lam.size, 1, 1), dtype=np.complex128)
    return Eigensystem(
        values=lam[:, None].astype(np.complex128),
        right=square,
        left=square,
        condition=one,
        basis_condition=one[:, 0],
        norm=np.abs(lam),
        diagonalizable=one[:, 0] > 0,
        growth=np.zeros(one.shape, dtype=np.int64),
    )


# --- vectors along the eigenvectors of H -------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Bundle:
    """(b, k) vectors in R^n or C^n on their way, each with its own eigenvalue of H.

    ``mu`` (b, k); ``x`` (b, k, n, t) for t layers, of size 2**``e`` (b, k, 1, t); ``own``
    (b, k) index of the eigenvalue, -1 for padding.
    """

    mu: HostArray
    x: HostArray
    e: FloatArray
    own: IntArray


def _bundles(powers: Powers, twin: bool) -> list[_Bundle]:
    """Real eigenvalues and first halves of pairs, each kind together."""
    start, basis = powers.start, powers.basis
    R, tall, e_R, e_b, mu = start.R, start.b, start.e_R, start.e_b, basis.values + basis.low
    generator = np.random.default_rng(0)
    if twin:
        R, e_R = _shaken(R, e_R, start.noise[:, :, 3:4], generator)
        tall, e_b = _shaken(tall, e_b, start.noise[:, :, 2:3], generator)
        mu = mu + (basis.error + EPS * np.abs(mu)) * generator.standard_normal(mu.shape[-1:])
    columns = R @ basis.right
    if twin:
        mixed = np.abs(columns) @ np.swapaxes(basis.leak, -1, -2)
        rounded = EPS * np.abs(R) @ np.abs(basis.right)
        columns = columns + generator.standard_normal(columns.shape[1:]) * (mixed + rounded)
    e = np.array(np.broadcast_to(e_R[:, 0], mu.shape))
    has = np.flatnonzero(powers.j >= 0)  # this one moves alone
    columns[has, :, powers.j[has]] = tall[has, :, 0]
    e[has, powers.j[has]] = e_b[has, 0, 0]
    out = []
    for kind in (0, 1):
        wanted = basis.tag == kind
        if not np.any(wanted):
            continue
        width = int(np.max(np.sum(wanted, axis=-1)))
        order = np.argsort(~wanted, axis=-1, kind="stable")[:, :width]
        own = np.where(np.take_along_axis(wanted, order, axis=-1), order, -1)
        x = np.swapaxes(np.take_along_axis(columns, order[:, None, :], axis=-1), -1, -2)
        value = np.where(own >= 0, np.take_along_axis(mu, order, axis=-1), 0)
        x = np.where((own >= 0)[:, :, None], x, 0)[:, :, :, None]
        if kind == 0:
            x, value = x.real, value.real
        exponent = np.where(own >= 0, np.take_along_axis(e, order, axis=-1), EMPTY)
        out.append(_normalised(_Bundle(value, x, exponent[:, :, None, None], own)))
    return out


def _shaken(x: FloatArray, e: FloatArray, noise: FloatArray, generator: Any) -> tuple[FloatArray, FloatArray]:
    """Move a part by its noise; one that is exactly zero takes the scale of its noise."""
    above = np.maximum(e, np.floor(noise))
    size = np.exp2(np.clip(noise - above, -1000, 0)) / np.sqrt(x.shape[-1] * x.shape[-2])
    return x * _power(e - above) + size * generator.standard_normal(x.shape[1:]), above


def _normalised(bundle: _Bundle) -> _Bundle:
    top = np.max(np.abs(bundle.x), axis=-2, keepdims=True)
    exponent = np.where(top > 0, np.frexp(np.where(top > 0, top, 1.0))[1] - 1.0, 0.0)
    e = np.where(top > 0, bundle.e + exponent, EMPTY)
    return replace(bundle, x=bundle.x * np.ldexp(1.0, -exponent.astype(np.int64)), e=e)


def _advanced(bundle: _Bundle, powers: Powers, steps: Sequence[int], twin: bool) -> _Bundle:
    """The last vectors of ``bundle`` after each of ``steps`` more layers, each of them >= 0."""
    b, k, n, _ = bundle.x.shape
    t = len(steps)
    x = np.repeat(bundle.x[:, :, :, -1:], t, axis=-1)
    e = np.repeat(bundle.e[:, :, :, -1:], t, axis=-1)
    width = max(1, MATRICES // max(1, k * n * n * 16))
    for first in range(0, b, width):
        piece = slice(first, first + width)
        part = _Bundle(bundle.mu[piece], x[piece], e[piece], bundle.own[piece])
        part = _powered(part, powers, piece, steps, np.random.default_rng(1) if twin else None)
        x[piece], e[piece] = part.x, part.e
    return replace(bundle, x=x, e=e)


def _powered(bundle: _Bundle, powers: Powers, piece: slice, steps: Sequence[int], generator: Any) -> _Bundle:
    """Multiply column t by the matrix to the power ``steps[t]``, bit by bit."""
    split = powers.start.split
    n = bundle.x.shape[-2]
    u, v = split.u[piece, None], split.v[piece, None]
    moved = bundle.mu[:, :, None, None] * powers.deflated[piece, None]
    matrix = np.eye(n) - v * u + moved
    if generator is not None:
        matrix = matrix + _rounding(np.eye(n) + np.abs(v * u) + np.abs(moved), generator)
    e = np.zeros((*bundle.mu.shape, 1, 1))
    for bit in range(max(steps).bit_length()):
        chosen = [k for k, step in enumerate(steps) if step >> bit & 1]
        if chosen:
            x = matrix @ bundle.x[..., chosen]
            if generator is not None:
                x = x + _rounding(np.abs(matrix) @ np.abs(bundle.x[..., chosen]), generator)
            new = _normalised(_Bundle(bundle.mu, x, bundle.e[..., chosen] + e, bundle.own))
            bundle.x[..., chosen], bundle.e[..., chosen] = new.x, new.e
        if max(steps) >> bit > 1:
            terms = None if generator is None else np.abs(matrix) @ np.abs(matrix)
            matrix = matrix @ matrix
            if terms is not None:
                matrix = matrix + _rounding(terms, generator)
            top = np.max(np.abs(matrix), axis=(-1, -2), keepdims=True)
            exponent = np.where(top > 0, np.frexp(np.where(top > 0, top, 1.0))[1], 0)
            matrix = matrix * np.ldexp(1.0, -exponent)
            e = 2 * e + exponent
    return bundle


def _rounding(terms: FloatArray, generator: Any) -> FloatArray:
    """One random rounding of sums of ``terms``; the same pattern for every system, whatever its batch."""
    return EPS * terms * generator.standard_normal(terms.shape[-2:])


# --- states ------------------------------------------------------------------------------


def states(powers: Powers, layers: Sequence[int]) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``.

    Layers go in blocks whose vectors, at 16 n d bytes for a layer and a system,
    fit into 128 MB.
    """
    b, n, d = powers.start.R.shape
    rows = mode_states.states(powers.row, layers)
    means = None if powers.mean is None else mode_states.states(powers.mean, layers)
    pair = [_bundles(powers, twin) for twin in (False, True)]
    width = max(1, VECTORS // (16 * b * n * d))
    base = 0
    for first in range(0, len(layers), width):
        block = layers[first : first + width]
        steps = [layer - base for layer in block]
        pair = [
            [_advanced(bundle, powers, steps, twin) for bundle in bundles]
            for twin, bundles in zip((False, True), pair, strict=True)
        ]
        base = block[-1]
        for t, layer in enumerate(block):
            row = _with_mean(next(rows), None if means is None else next(means))
            yield powers.start if layer == 0 else _state(powers, row, pair, t)


def _with_mean(row: State, other: State | None) -> State:
    if other is None:
        return row
    mean, e_mean = combine(other.a * row.split.z, other.e_a, other.r, other.e_r)
    noise = np.array(row.noise)
    noise[:, :, 4:5] = add_log2(other.noise[:, :, :1], other.noise[:, :, 1:2])
    return replace(row, mean=mean, e_mean=e_mean, noise=noise)


def _state(powers: Powers, row: State, pair: list[list[_Bundle]], t: int) -> State:
    split = powers.start.split
    mine, other = (_assembled(powers, bundles, t) for bundles in pair)
    R, e_R = mine[0]
    b, e_b = mine[1]
    noise = np.array(row.noise)
    rounding = np.sqrt(sum(R.shape[1:])) * EPS
    for k, (name, scale) in enumerate((("b", 1), ("R", 0))):
        (x, e), (y, f) = mine[scale], other[scale]
        top = np.maximum(e, f)
        off = x * _power(e - top) - y * _power(f - top)
        reach = np.max(powers.basis.condition, axis=-1)[:, None, None] if name == "R" else 1.0
        found = add_log2(SAFETY + log2(norm(off)) + top, log2(rounding * reach * norm(x)) + e)
        noise[:, :, 2 + k] = found[:, :, 0]
    R = R - split.v * (split.u @ R)
    R = R - (R @ split.w) * split.z
    b = b - split.v * (split.u @ b)
    return normalise(
        State(
            split,
            a=row.a,
            r=row.r,
            b=b,
            R=R,
            mean=row.mean,
            e_a=row.e_a,
            e_r=row.e_r,
            e_b=e_b,
            e_R=e_R,
            e_mean=row.e_mean,
            noise=noise,
        )
    )


def _assembled(
    powers: Powers, bundles: list[_Bundle], t: int
) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """(R, exponent) and (b, exponent) from the vectors of layer number t."""
    size, n, d = powers.start.R.shape
    columns = np.zeros((size, d, n))  # real block form: X = columns^T Z
    e = np.full((size, d), EMPTY)
    for bundle in bundles:
        s, k = np.nonzero(bundle.own >= 0)
        own = bundle.own[s, k]
        x, exponent = bundle.x[s, k, :, t], bundle.e[s, k, 0, t]
        e[s, own] = exponent
        if np.iscomplexobj(x):
            columns[s, own], columns[s, own + 1] = 2 * x.real, -2 * x.imag
            e[s, own + 1] = exponent
        else:
            columns[s, own] = x
    has = np.flatnonzero(powers.j >= 0)
    b, e_b = np.zeros((size, n, 1)), np.full((size, 1, 1), EMPTY)
    b[has, :, 0], e_b[has, 0, 0] = columns[has, powers.j[has]], e[has, powers.j[has]]
    e[has, powers.j[has]] = EMPTY
    top = np.max(e, axis=-1, keepdims=True)
    columns = columns * _power(e - top)[:, :, None]
    columns[has, powers.j[has]] = 0
    return (np.swapaxes(columns, -1, -2) @ powers.basis.block_left, top[:, :, None]), (b, e_b)


def _power(exponent: FloatArray) -> FloatArray:
    return np.ldexp(1.0, np.clip(exponent, -1100, 1000).astype(np.int64))
