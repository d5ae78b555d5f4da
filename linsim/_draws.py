"""Matrices drawn afresh at each layer, from one random stream per system.

Row i of every draw comes from the stream of system i alone, so a run depends
neither on how its systems are cut into chunks nor on the backend: numbers are
drawn on the host and moved.  They are drawn in float64 and then rounded, so that
one seed means one network in every precision.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from . import _validate
from ._namespace import home_of, to_host
from ._spectra import FloatArray, haar
from .errors import InvalidTypeError, InvalidValueError, ShapeError
from .streams import RowGenerator, restore, sequential

__all__ = [
    "KINDS",
    "attention",
    "check_sampler",
    "copied",
    "normals",
    "piece",
    "rectangle",
    "streams",
    "weights",
]

KINDS = ("gaussian", "orthogonal")

#: entries of drawn weights beyond this would leave the range of their dtype within a layer
LARGEST = {"float64": 1e100, "float32": 1e15}


def streams(rng: Any, count: int) -> RowGenerator:
    """Return ``count`` independent streams, seeded by one draw of ``rng``."""
    seeds = _validate.generator(rng).integers(2**63, size=count, dtype=np.int64)
    return restore([sequential(int(seed)) for seed in seeds])


def copied(generator: RowGenerator, rows: Any = None) -> RowGenerator:
    """Return streams that go on from here by themselves, all or those of some rows."""
    streams = generator.streams if rows is None else [generator.streams[int(i)] for i in rows]
    return restore([copy.deepcopy(stream) for stream in streams])


def normals(
    shape: tuple[int, ...], generator: RowGenerator, dtype: str, scale: float | FloatArray = 1.0
) -> FloatArray:
    """Draw (k, *shape) independent N(0, scale**2) numbers; ``scale`` is a number, or one a row.

    One row of them is held in float64 at a time.
    """
    out = np.empty((generator.k, *shape), dtype=dtype)
    scales = np.broadcast_to(np.reshape(scale, -1), generator.k)
    with np.errstate(over="ignore"):  # what is too large for the dtype is refused by who asks
        for row, stream, factor in zip(out, generator.streams, scales, strict=True):
            if out.dtype == np.float64:
                stream.standard_normal(out=row)
                row *= factor
            else:
                row[...] = stream.standard_normal(shape) * factor
    return out


def piece(generator: RowGenerator, part: slice) -> RowGenerator:
    """Return the streams of some of the systems."""
    return restore(generator.streams[part])


def weights(
    kind: Any,
    d: int,
    std: float | FloatArray,
    generator: RowGenerator,
    dtype: str = "float64",
    argument: str = "kind",
) -> FloatArray:
    """Draw (k, d, d) weights, E W W^T = std**2 I, one per row; ``std`` is a number or (k, 1, 1)."""
    k = generator.k
    if callable(kind):
        drawn = _sampled(kind, argument, {"size": k, "rng": generator}, (k, d, d), d)
        W = np.asarray(_validate.array(drawn, argument), dtype=np.float64) * np.asarray(std)
    elif kind == "orthogonal":
        W = haar(normals((d, d), generator, "float64")) * np.asarray(std)
    else:
        W = normals((d, d), generator, dtype, np.asarray(std) / np.sqrt(d))
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
    shape: tuple[int, int], std: float, generator: RowGenerator, dtype: str = "float64"
) -> FloatArray:
    """Draw matrices (k, *shape) with independent N(0, std**2) entries."""
    return normals(shape, generator, dtype, std)


def attention(sampler: Any, n: int, generator: RowGenerator, dtype: str = "float64") -> FloatArray:
    """Draw (k, n, n) attention matrices, checked and normalised."""
    k = generator.k
    drawn = _sampled(sampler, "A", {"size": k, "rng": generator}, (k, n, n))
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
