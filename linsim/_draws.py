"""Matrices drawn afresh at each layer: each from a key of its system, the layer, and which matrix it is.

So any layer of any system can be drawn alone, and a run depends neither on how its systems are cut into
chunks nor on the order, the threads or the device that draw.  Numbers are found in float64, the same to the
bit everywhere, and then rounded, so that one seed means one network in every precision.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from . import _kernels, _validate
from ._kernels import box_muller
from ._namespace import Array, home_of, to_host
from ._spectra import FloatArray, haar
from .errors import InvalidTypeError, InvalidValueError, ShapeError
from .streams import RowGenerator, philox, restore

__all__ = [
    "KINDS",
    "MATRICES",
    "Keys",
    "attention",
    "check_sampler",
    "keys",
    "normals",
    "rectangle",
    "stream",
    "weights",
]

KINDS = ("gaussian", "orthogonal")

#: what may be drawn at a layer; the place of a name decides its numbers
MATRICES = ("attention", "query", "key", "value", "output", "up", "gate", "down")

#: one key for each system
Keys = NDArray[np.uint64]

#: entries of drawn weights beyond this would leave the range of their dtype within a layer
LARGEST = {"float64": 1e100, "float32": 1e15}


def keys(rng: Any, count: int) -> Keys:
    """Return the keys (count,) of so many systems, seeded by one draw of ``rng``."""
    seeds = _validate.generator(rng).integers(2**63, size=count, dtype=np.int64)
    return seeds.astype(np.uint64)


def stream(layer: int, matrix: str) -> int:
    """Return the number of the stream that a matrix of a layer is drawn from.

    Small numbers are left to what else draws from the same seed: bases of prescribed spectra.

    >>> stream(0, "attention"), stream(1, "down")
    (256, 519)
    """
    return (layer + 1) << 8 | MATRICES.index(matrix)


def normals(
    keys: Keys,
    layer: int,
    matrix: str,
    shape: tuple[int, ...],
    dtype: str,
    scale: float | FloatArray = 1.0,
    like: Array = None,
) -> Array:
    """Draw (k, *shape) independent N(0, scale**2) numbers; ``scale`` is a number, or one a key.

    On the device of ``like`` where that is an array of CuPy's, else on the host: the same numbers.

    >>> one, two = np.array([1, 2], dtype=np.uint64), np.array([2], dtype=np.uint64)
    >>> both, alone = (normals(k, 3, "up", (4, 5), "float64") for k in (one, two))
    >>> bool((both[1] == alone[0]).all())
    True
    """
    k, which = len(keys), stream(layer, matrix)
    scales = np.broadcast_to(np.reshape(scale, -1), k).astype(np.float64)
    if like is not None and array_api_compat.is_cupy_array(like):
        from ._cuda.draws import normals as on_device

        found = on_device(keys, which, scales, (k, *shape), dtype)
        if found is not None:
            return found
    out = np.empty((k, math.prod(shape)), dtype=dtype)
    if _kernels.usable():
        from ._kernels.normals import fill_normals

        fill_normals(_kernels.frozen(keys), which, _kernels.frozen(scales), out)
    else:
        with np.errstate(over="ignore"):  # what is too large for the dtype is refused by who asks
            box_muller.fill_normals(keys, which, scales, out)
    return out.reshape(k, *shape)


def weights(
    kind: Any,
    d: int,
    std: float | FloatArray,
    keys: Keys,
    layer: int,
    matrix: str = "output",
    dtype: str = "float64",
    argument: str = "kind",
    like: Array = None,
) -> Array:
    """Draw (k, d, d) weights, E W W^T = std**2 I, one per key; ``std`` is a number or (k, 1, 1).

    Gaussian ones on the device of ``like``, as :func:`normals`.
    """
    k = len(keys)
    if callable(kind):
        own = _generator(keys, layer, matrix)
        drawn = _sampled(kind, argument, {"size": k, "rng": own}, (k, d, d), d)
        W = np.asarray(_validate.array(drawn, argument), dtype=np.float64) * np.asarray(std)
    elif kind == "orthogonal":
        W = haar(normals(keys, layer, matrix, (d, d), "float64")) * np.asarray(std)
    else:
        scale = np.asarray(std) / np.sqrt(d)
        W = normals(keys, layer, matrix, (d, d), dtype, scale, like)
        if float(np.max(scale)) * box_muller.MOST <= LARGEST[dtype]:  # and nothing can be beyond
            return W
        W = to_host(W)
    largest = float(max(np.max(W), -np.min(W)))
    if not largest <= LARGEST[dtype]:
        raise _validate.refusal(
            InvalidValueError,
            argument if callable(kind) else "std",
            f"weights as large as {largest:.3g}",
            f"at most {LARGEST[dtype]:g} in {dtype}",
            "Scale them down; the norm of tokens is free.",
        )
    return np.asarray(W, dtype=dtype)


def _generator(keys: Keys, layer: int, matrix: str) -> RowGenerator:
    """Return what a user's sampler draws from: generators that belong to this matrix alone."""
    which = stream(layer, matrix)
    return restore([philox(int(key), which) for key in keys])


def check_sampler(sampler: Any, argument: str, *args: Any) -> None:
    """Refuse a callable that cannot be called as ``sampler(*args, size=k, rng=rng)``."""
    try:
        inspect.signature(sampler).bind(*args, size=1, rng=None)
    except ValueError:  # built in, and says nothing of itself
        return
    except TypeError as error:
        called = ", ".join([*map(str, args), "size=k", "rng=rng"])
        raise _validate.refusal(
            InvalidTypeError,
            argument,
            f"a callable with other parameters ({error})",
            f"one that takes ({called})",
            "Wrap it in a function.",
        ) from None


def rectangle(
    shape: tuple[int, int],
    std: float,
    keys: Keys,
    layer: int,
    matrix: str,
    dtype: str = "float64",
    like: Array = None,
) -> Array:
    """Draw matrices (k, *shape) with independent N(0, std**2) entries."""
    return normals(keys, layer, matrix, shape, dtype, std, like)


def attention(sampler: Any, n: int, keys: Keys, layer: int, dtype: str = "float64") -> FloatArray:
    """Draw (k, n, n) attention matrices, checked and normalised."""
    k = len(keys)
    drawn = _sampled(sampler, "A", {"size": k, "rng": _generator(keys, layer, "attention")}, (k, n, n))
    return np.asarray(_validate.attention_matrix(drawn), dtype=dtype)


def _sampled(sampler: Any, argument: str, keywords: dict[str, Any], shape: Any, *args: Any) -> Any:
    drawn = sampler(*args, **keywords)
    drawn = to_host(drawn) if home_of(drawn) is not None else drawn
    found = getattr(drawn, "shape", None)
    if found is None or not isinstance(drawn, np.ndarray):
        raise _validate.refusal(
            InvalidTypeError,
            argument,
            f"a sampler that returns {type(drawn).__name__}",
            f"a NumPy array of shape {shape}",
            "Return what was drawn, one matrix per system.",
        )
    if tuple(found) != shape:
        raise _validate.refusal(
            ShapeError,
            argument,
            f"a sampler that returns shape {tuple(found)}",
            f"shape {shape}",
            "The leading axis is size, one matrix per system.",
        )
    return drawn
