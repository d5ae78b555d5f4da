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

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import _kernels
from .._eigen import Eigensystem
from .._state import EMPTY, State, add_log2, combine, log2, norm, normalise
from .._types import EPS, BoolArray, FloatArray, HostArray, IntArray
from . import mode_states, modes
from .refine import Basis, basis_of
from .triangular import UNCUT, panels_of, product, reach_of

__all__ = ["Powers", "prepare", "states"]


#: log2 of how much more than between twins the error may be
SAFETY = 5.0
# bytes that the vectors of a block of layers may take, those of the systems that go together, and what is
# multiplied at a time, near the processor
VECTORS, FEW, MATRICES = 2**27, 2**25, 2**21
# squarings between two rescalings
_SQUARINGS = 3
# mean of |z| over |Re z| + |Im z|, which costs no root
_DIAMOND = 0.785


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


def prepare(
    A: FloatArray, H: FloatArray, start: State, weights: Eigensystem, shadowed: bool = True
) -> Powers:
    """Take apart (b, n, d) systems by the eigenvectors of H; A, H have leading axis b or 1.

    ``shadowed``: whether errors of the split-off row are followed mode by mode (:func:`.modes.prepare`).
    """
    b = start.R.shape[0]
    start = replace(start, split=start.split.map(lambda x: np.broadcast_to(x, (b, *x.shape[1:]))))
    split = start.split
    has_z = np.any(split.z != 0, axis=(-1, -2))
    nearest = np.argmin(np.abs(weights.values - split.mu[:, 0]), axis=-1)
    j = np.where(has_z, nearest, -1)
    sound = np.broadcast_to(modes.sound(weights), b)
    basis = basis_of(H, weights, j, split.w[:, :, 0], split.z[:, 0, :], sound)

    def alone(row: State, lam: FloatArray) -> modes.Modes:
        return modes.prepare(lam, H, row, _one_token(lam[:, 0, 0]), weights, shadowed)

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


def _advanced(bundle: _Bundle, powers: Powers, part: slice, steps: Sequence[int], twin: bool) -> _Bundle:
    """The vectors of some systems after each of ``steps`` more layers, each of them >= 0."""
    b, k, n, _ = bundle.x.shape
    t = len(steps)
    v, u, deflated = (
        np.broadcast_to(x, (len(powers.start.R), *x.shape[1:]))[part]
        for x in (powers.start.split.v, powers.start.split.u, powers.deflated)
    )
    x = np.repeat(bundle.x[:, :, :, -1:], t, axis=-1).reshape(b * k, n, t)
    e = np.repeat(bundle.e[:, :, :, -1:], t, axis=-1).reshape(b * k, 1, t)
    mu, used = bundle.mu.reshape(-1), np.flatnonzero(bundle.own.reshape(-1) >= 0)
    system = used // k
    width = max(1, MATRICES // (16 * n * (n + t)))
    drawn = _patterns(n, steps) if twin else None
    # large systems go one by one, along their zeros
    edges = np.flatnonzero(np.diff(system, prepend=-1)) if n > UNCUT else [0]
    for first, last in itertools.pairwise([*edges, len(used)]):
        for start in range(first, last, width):
            some = used[start : min(start + width, last)]
            own = system[start : start + len(some)]
            own = own[:1] if n > UNCUT else own
            through = v[own] * u[own]
            x[some], e[some] = _powered(mu[some], x[some], e[some], deflated[own], through, steps, drawn)
    return replace(bundle, x=x.reshape(b, k, n, t), e=e.reshape(b, k, 1, t))


def _patterns(n: int, steps: Sequence[int]) -> list[tuple[FloatArray, FloatArray]]:
    """Normal numbers for what each bit of the powers rounds: of a matrix, and of the vectors it moves."""
    generator = np.random.default_rng(1)
    counts = [sum(step >> bit & 1 for step in steps) for bit in range(max(steps).bit_length())]
    return [(generator.standard_normal((n, n)), generator.standard_normal((n, t))) for t in counts]


def _powered(
    mu: HostArray,
    x: HostArray,
    e: FloatArray,
    deflated: FloatArray,
    through: FloatArray,
    steps: Sequence[int],
    drawn: list[tuple[FloatArray, FloatArray]] | None,
) -> tuple[HostArray, FloatArray]:
    """Multiply column t of x (k, n, t) by I - ``through`` + mu ``deflated`` to the power ``steps[t]``.

    ``e`` (k, 1, t): exponents of the columns; ``drawn``: how a twin's products are off.
    """
    n, bits = x.shape[-2], max(steps).bit_length()
    panels = panels_of(np.any((deflated != 0) | (through != 0), axis=0))
    moved = mu[:, None, None] * deflated
    matrix = np.eye(n) - through + moved
    if drawn is not None and bits:
        matrix += _rounding(np.eye(n) + np.abs(through) + _size(moved), drawn[0][0])
    own = np.zeros((len(mu), 1, 1))
    for bit in range(bits):
        chosen = [k for k, step in enumerate(steps) if step >> bit & 1]
        size = _size(matrix) if drawn is not None else None
        if chosen:
            here = np.take(x, chosen, axis=-1)
            after = product(matrix, here, panels)
            if size is not None and drawn is not None:
                after += _rounding(product(size, _size(here), panels), drawn[bit][1])
            x[..., chosen] = after
            e[..., chosen] += own
        if bit + 1 == bits:
            break
        squared = product(matrix, matrix, panels)
        if size is not None and drawn is not None:
            squared += _rounding(product(size, size, panels), drawn[bit + 1][0])
        matrix, own = squared, 2 * own
        if bit % _SQUARINGS == 0:  # neither products nor what they leave of small numbers leave the range
            matrix, exponent = _lifted(matrix, (-1, -2))
            own = own + exponent
            x, exponent = _lifted(x, -2)
            e = e + exponent
    x, exponent = _lifted(x, -2)
    return x, np.where(np.any(x != 0, axis=-2, keepdims=True), e + exponent, EMPTY)


def _lifted(x: HostArray, axis: Any) -> tuple[HostArray, FloatArray]:
    """Bring the largest entries along ``axis`` to about 1, in place; return x and the exponents taken out."""
    top = np.max(np.abs(x.view(np.float64)), axis=axis, keepdims=True)
    if np.iscomplexobj(x) and top.shape[-1] > 1:
        top = np.maximum(top[..., ::2], top[..., 1::2])
    exponent = np.where(top > 0, np.frexp(np.where(top > 0, top, 1.0))[1] - 1.0, 0.0)
    x *= np.ldexp(1.0, -exponent.astype(np.int64))
    return x, exponent


def _size(z: HostArray) -> FloatArray:
    """About |z|, entry by entry."""
    if not np.iscomplexobj(z):
        return np.abs(z)
    sizes: FloatArray = _DIAMOND * (np.abs(z.real) + np.abs(z.imag))
    return sizes


def _rounding(terms: FloatArray, pattern: FloatArray) -> FloatArray:
    """One random rounding of sums of ``terms``, in place; of the same pattern for every system."""
    terms *= EPS * pattern
    return terms


# --- states ------------------------------------------------------------------------------


def states(powers: Powers, layers: Sequence[int]) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``.

    Layers go in blocks whose states, at 8 n d bytes for a layer and a system, fit into 128 MB; within a
    block a few systems at a time go through all of its layers, so that each power is found once.
    """
    b, n, d = powers.start.R.shape
    rows = mode_states.states(powers.row, layers)
    means = None if powers.mean is None else mode_states.states(powers.mean, layers)
    pair = [_bundles(powers, twin) for twin in (False, True)]
    width = max(1, VECTORS // (8 * b * n * d))
    base = 0
    for first in range(0, len(layers), width):
        block = layers[first : first + width]
        steps = [layer - base for layer in block]
        few = max(1, FEW // (32 * n * d * len(block)))
        parts = [
            _of_block(powers, pair, slice(s, min(s + few, b)), steps, first + width < len(layers))
            for s in range(0, b, few)
        ]
        R, e_R, tall, e_b, off = (np.concatenate(x) if len(x) > 1 else x[0] for x in zip(*parts, strict=True))
        base = block[-1]
        for t, layer in enumerate(block):
            row = _with_mean(next(rows), None if means is None else next(means))
            if layer == 0:
                yield powers.start
                continue
            yield _state(powers, row, (R[:, t], e_R[:, t], tall[:, t], e_b[:, t], off[:, t]))


def _of_block(
    powers: Powers, pair: list[list[_Bundle]], some: slice, steps: Sequence[int], goes_on: bool
) -> tuple[HostArray, ...]:
    """R, exponent, b, exponent, log2 of how far the twins' b and R are off, each (systems, layers, ...).

    Where more layers follow, the vectors of ``pair`` are left where these end.
    """
    found = []
    columns = _compiled_columns if _kernels.ready("powers", "float64") else _columns
    for twin in (False, True):
        found.append(_assembled(powers, *columns(powers, pair[twin], some, steps, twin, goes_on), some))
    (R, e_R, tall, e_b), (other_R, f_R, other_b, f_b) = found
    off = np.concatenate([_apart(tall, e_b, other_b, f_b), _apart(R, e_R, other_R, f_R)], axis=-1)
    return R, e_R, tall, e_b, off


def _apart(x: HostArray, e: FloatArray, y: HostArray, f: FloatArray) -> FloatArray:
    """log2 of the size of x 2**e - y 2**f."""
    top = np.maximum(e, f)
    return log2(norm(x * _power(e - top) - y * _power(f - top))) + top


def _with_mean(row: State, other: State | None) -> State:
    if other is None:
        return row
    mean, e_mean = combine(other.a * row.split.z, other.e_a, other.r, other.e_r)
    noise = np.array(row.noise)
    noise[:, :, 4:5] = add_log2(other.noise[:, :, :1], other.noise[:, :, 1:2])
    return replace(row, mean=mean, e_mean=e_mean, noise=noise)


def _state(powers: Powers, row: State, found: tuple[HostArray, ...]) -> State:
    """The state at a layer from its split-off row and from what :func:`_of_block` found there."""
    split = powers.start.split
    R, e_R, b, e_b, off = found
    noise = np.array(row.noise)
    rounding = np.sqrt(sum(R.shape[1:])) * EPS
    for k, (x, e) in enumerate(((b, e_b), (R, e_R))):
        reach = np.max(powers.basis.condition, axis=-1)[:, None, None] if x is R else 1.0
        own = add_log2(SAFETY + off[:, :, k : k + 1], log2(rounding * reach * norm(x)) + e)
        noise[:, :, 2 + k] = own[:, :, 0]
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


def _columns(
    powers: Powers, bundles: list[_Bundle], some: slice, steps: Sequence[int], twin: bool, goes_on: bool
) -> tuple[HostArray, FloatArray]:
    """Z (systems, d, n, layers) and exponents (systems, d, 1, layers), X = Z^T times the real block form."""
    n, d = powers.start.R.shape[1:]
    size, count = some.stop - some.start, len(steps)
    columns, e = np.zeros((size, d, n, count)), np.full((size, d, 1, count), EMPTY)
    for bundle in bundles:
        here = _Bundle(bundle.mu[some], bundle.x[some], bundle.e[some], bundle.own[some])
        after = _advanced(here, powers, some, steps, twin)
        if goes_on:
            bundle.x[some], bundle.e[some] = after.x[..., -1:], after.e[..., -1:]
        s, k = np.nonzero(after.own >= 0)
        own, x, exponent = after.own[s, k], after.x[s, k], after.e[s, k]
        e[s, own] = exponent
        if np.iscomplexobj(x):
            columns[s, own], columns[s, own + 1] = 2 * x.real, -2 * x.imag
            e[s, own + 1] = exponent
        else:
            columns[s, own] = x
    return columns, e


def _compiled_columns(
    powers: Powers, bundles: list[_Bundle], some: slice, steps: Sequence[int], twin: bool, goes_on: bool
) -> tuple[HostArray, FloatArray]:
    """:func:`_columns` by the kernel, one system after the other."""
    from .._kernels.powers import powered

    n, d = powers.start.R.shape[1:]
    size, count = some.stop - some.start, len(steps)
    drawn = _patterns(n, steps) if twin else []
    on_matrix = np.array([matrix for matrix, _ in drawn]) if drawn else np.empty((0, n, n))
    on_vectors = np.concatenate([x for _, x in drawn], axis=-1) if drawn else np.empty((n, 0))
    columns, e = np.zeros((size, d, n, count)), np.full((size, d, 1, count), EMPTY)
    split, powers_of = powers.start.split, np.asarray(steps)
    v, u, deflated = (
        np.broadcast_to(x, (len(powers.start.R), *x.shape[1:])) for x in (split.v, split.u, powers.deflated)
    )
    for s, number in enumerate(range(some.start, some.stop)):
        through = v[number] * u[number]
        own_deflated = np.array(deflated[number])
        reach = reach_of((own_deflated != 0) | (through != 0))
        for bundle in bundles:
            used = np.flatnonzero(bundle.own[number] >= 0)
            own, sizes = bundle.own[number, used], bundle.e[number, used, 0, -1]
            mu, x = (_apart_as_real(z[number, used]) for z in (bundle.mu, bundle.x[..., -1]))
            powered(
                mu, x, sizes, own_deflated, through, reach, powers_of, twin, on_matrix, on_vectors, own,
                columns[s], e[s, :, 0],
            )  # fmt: skip
            if goes_on:
                bundle.x[number, used, :, -1] = x[0] + 1j * x[1] if len(x) == 2 else x[0]
                bundle.e[number, used, 0, -1] = sizes
    return columns, e


def _apart_as_real(z: HostArray) -> HostArray:
    """Real and imaginary parts one behind the other, (2, ...); what is real alone, (1, ...)."""
    return np.stack([z.real, z.imag] if np.iscomplexobj(z) else [z])


def _assembled(
    powers: Powers, columns: HostArray, e: FloatArray, some: slice
) -> tuple[HostArray, FloatArray, HostArray, FloatArray]:
    """R, its exponent, b and its exponent, (systems, layers, ., .), of columns of some systems."""
    size, d, n, count = columns.shape
    j = powers.j[some]
    has = np.flatnonzero(j >= 0)
    b, e_b = np.zeros((size, count, n, 1)), np.full((size, count, 1, 1), EMPTY)
    b[has, :, :, 0] = np.swapaxes(columns[has, j[has]], -1, -2)
    e_b[has, :, 0, 0] = e[has, j[has], 0]
    e[has, j[has]] = EMPTY
    top = np.max(e, axis=1, keepdims=True)
    columns *= _power(e - top)
    columns[has, j[has]] = 0
    R = np.swapaxes(columns.reshape(size, d, n * count), -1, -2) @ powers.basis.block_left[some]
    R = np.swapaxes(R.reshape(size, n, count, d), 1, 2)
    return R, top[:, 0, 0, :, None, None], b, e_b


def _power(exponent: FloatArray) -> FloatArray:
    return np.ldexp(1.0, np.clip(exponent, -1100, 1000).astype(np.int64))
