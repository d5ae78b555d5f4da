"""A random generator with one independent stream per row of a batch.

A sweep computes many systems at once, and which of them share a batch must not
change any of them.  So row i of every draw comes from its own Philox stream,
whose key is a hash of what row i *is* (seed, replicate, coordinates).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator, Philox
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import ArrayLike, NDArray

from . import _validate
from .errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError

__all__ = ["RowGenerator", "philox", "rows"]

Key = Sequence[Any]

# Parameters in NumPy's own positional order; those before "size" may be arrays.
_SIGNATURES = {
    "beta": "a b size",
    "binomial": "n p size",
    "chisquare": "df size",
    "exponential": "scale size",
    "f": "dfnum dfden size",
    "gamma": "shape scale size",
    "geometric": "p size",
    "gumbel": "loc scale size",
    "hypergeometric": "ngood nbad nsample size",
    "integers": "low high size dtype endpoint",
    "laplace": "loc scale size",
    "logistic": "loc scale size",
    "lognormal": "mean sigma size",
    "logseries": "p size",
    "negative_binomial": "n p size",
    "noncentral_chisquare": "df nonc size",
    "noncentral_f": "dfnum dfden nonc size",
    "normal": "loc scale size",
    "pareto": "a size",
    "poisson": "lam size",
    "power": "a size",
    "random": "size dtype out",
    "rayleigh": "scale size",
    "standard_cauchy": "size",
    "standard_exponential": "size dtype method out",
    "standard_gamma": "shape size dtype out",
    "standard_normal": "size dtype out",
    "standard_t": "df size",
    "triangular": "left mode right size",
    "uniform": "low high size",
    "vonmises": "mu kappa size",
    "wald": "mean scale size",
    "weibull": "a size",
    "zipf": "a size",
}


class _FixedKey(ISeedSequence):
    """Hands a ready key to Philox; ``Philox(key=...)`` would first read OS entropy, three times the cost."""

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        words: NDArray[Any] = self.words.view(dtype)
        return words[:n_words]


def philox(high: int, low: int) -> Generator:
    """Return a Generator on the Philox stream whose key is the two 64-bit words.

    >>> bool(philox(1, 2).random() == np.random.Generator(np.random.Philox(key=1 + 2**64 * 2)).random())
    True
    """
    return _keyed(np.array([high, low], dtype=np.uint64))


def _keyed(words: NDArray[np.uint64]) -> Generator:
    seed: Any = _FixedKey(words)  # NumPy takes any ISeedSequence; its stubs do not say so
    return Generator(Philox(seed))


def _pack(item: Any) -> bytes:
    """Return bytes that are equal exactly for equal items; every kind is tagged and self-delimiting."""
    if isinstance(item, np.generic):
        item = item.item()
    if isinstance(item, str):
        text = item.encode()
        return b"s" + struct.pack("<q", len(text)) + text
    if isinstance(item, int):
        # A grid of integers and the same grid as floats are the same points.
        try:
            exact = float(item) == item
        except OverflowError:
            exact = False
        if not exact:
            text = str(item).encode()
            return b"i" + struct.pack("<q", len(text)) + text
        item = float(item)
    if isinstance(item, complex):
        if item.imag != 0:
            return b"c" + struct.pack("<dd", item.real + 0.0, item.imag + 0.0)
        item = item.real
    if isinstance(item, float):
        # + 0.0 turns -0.0 into 0.0; NaNs have many bit patterns
        return b"f" + struct.pack("<d", math.nan if math.isnan(item) else item + 0.0)
    raise _validate.refusal(
        InvalidTypeError,
        "keys",
        f"an entry of type {type(item).__name__}",
        "numbers and text",
        "Use numbers or names as coordinates.",
    )


def _stream(packed: bytes) -> Generator:
    digest = hashlib.blake2b(packed, digest_size=16, person=b"linsim-rows").digest()
    return _keyed(np.frombuffer(digest, dtype="<u8").astype(np.uint64))


class RowGenerator(Generator):
    """A NumPy ``Generator`` whose every draw has a leading axis k, row i from stream i.

    Parameters
    ----------
    keys : iterable of k tuples of int, float, complex or str
        What each row is.  Equal keys give equal streams; 1 and 1.0, and 0.0 and -0.0,
        are equal.

    It offers what ``numpy.random.Generator`` offers, for each row by itself.  ``size`` is k or starts
    with k; left out, there is one draw for each row, (k,).  Array parameters broadcast against ``size``,
    and row i takes its slice; vectors and matrices (alpha, mean, cov, pvals, colors) are shared, or have
    a leading axis k.  ``permutation`` gives each row an order of its own, (k, n); ``permuted`` and
    ``shuffle`` take arrays with leading axis k, and axes count within a row; ``choice`` draws for
    each row from what all share, with or without replacement.

    Raises
    ------
    InvalidValueError
        For a draw with another leading axis than k, and for ``bytes`` and ``bit_generator``, which
        are not numbers of one row.
    InvalidTypeError
        If a key holds something other than numbers and text.

    Source: counter-based streams, standard (Philox 4x64, Salmon et al. 2011).

    >>> pair = RowGenerator([(0, 0.5), (0, 0.7)])
    >>> alone = RowGenerator([(0, 0.7)])
    >>> bool((pair.normal(size=(2, 3))[1] == alone.normal(size=(1, 3))[0]).all())
    True
    """

    _rows: list[Generator]

    def __init__(self, keys: Iterable[Key]) -> None:
        self._start([_stream(b"".join(map(_pack, key))) for key in keys])

    def _start(self, streams: list[Generator]) -> None:
        if not streams:
            raise _validate.refusal(
                InvalidValueError, "keys", "no rows", "one key for each row", "Pass at least one."
            )
        self._rows = streams
        # The base class needs some bit generator; nothing draws from it.
        super().__init__(streams[0].bit_generator)

    @property
    def streams(self) -> list[Generator]:
        """One generator per row."""
        return self._rows

    @property
    def k(self) -> int:
        """The number of rows."""
        return len(self._rows)

    @property
    def bit_generator(self) -> Any:
        """Refused: there are k bit generators, and drawing from one would skip the others."""
        raise self._refusal("the one bit generator")

    def _refusal(self, found: str) -> LinsimError:
        k = self.k
        return _validate.refusal(
            InvalidValueError,
            "size",
            found,
            f"size={k} or ({k}, ...)",
            f"draws in a sweep need leading axis k = {k}, so that row i depends on point i alone.",
        )

    def _rest(self, size: Any) -> tuple[int, ...]:
        """Return ``size`` without its leading axis k, or refuse; None is one draw for each row."""
        if size is None:
            return ()
        shape = tuple(size) if isinstance(size, Iterable) else (size,)
        if not shape or shape[0] != self.k:
            raise self._refusal(f"size={size!r}")
        return shape[1:]

    def _collect(self, draw: Callable[[int, Generator], Any]) -> NDArray[Any]:
        first = np.asarray(draw(0, self._rows[0]))
        out = np.empty((self.k, *first.shape), first.dtype)
        out[0] = first
        for i, stream in enumerate(self._rows[1:], start=1):
            out[i] = draw(i, stream)
        return out

    def dirichlet(self, alpha: ArrayLike, size: Any = None) -> NDArray[Any]:
        """Draw as ``Generator.dirichlet``; alpha is (m,) or (k, m), the result size + (m,)."""
        rest, rows = self._rest(size), self._each(alpha, "alpha", 1)
        return self._collect(lambda i, stream: stream.dirichlet(rows(i), size=rest))

    def multivariate_normal(  # type: ignore[override]
        self, mean: ArrayLike, cov: ArrayLike, size: Any = None, **options: Any
    ) -> NDArray[Any]:
        """Draw as ``Generator.multivariate_normal``; mean (m,) or (k, m), cov (m, m) or (k, m, m)."""
        rest, means, covs = self._rest(size), self._each(mean, "mean", 1), self._each(cov, "cov", 2)
        return self._collect(
            lambda i, stream: stream.multivariate_normal(means(i), covs(i), size=rest, **options)
        )

    def multinomial(self, n: Any, pvals: ArrayLike, size: Any = None) -> NDArray[Any]:
        """Draw as ``Generator.multinomial``; n is one number or (k,), pvals (m,) or (k, m)."""
        rest, counts, shares = self._rest(size), self._each(n, "n", 0), self._each(pvals, "pvals", 1)
        return self._collect(lambda i, stream: stream.multinomial(counts(i), shares(i), size=rest))

    def multivariate_hypergeometric(
        self, colors: ArrayLike, nsample: Any, size: Any = None, method: str = "marginals"
    ) -> NDArray[Any]:
        """Draw as ``Generator.multivariate_hypergeometric``; colors (m,) or (k, m)."""
        rest, urns = self._rest(size), self._each(colors, "colors", 1, np.int64)
        counts, options = self._each(nsample, "nsample", 0, np.int64), {"size": rest, "method": method}

        def draw(i: int, stream: Any) -> Any:
            return stream.multivariate_hypergeometric(urns(i), int(counts(i)), **options)

        return self._collect(draw)

    def permutation(self, x: Any, axis: int = 0) -> NDArray[Any]:
        """Give each row an order of its own of range(x), or of what all rows share: (k, *x.shape)."""
        return self._collect(lambda i, stream: stream.permutation(x, axis=axis))

    def permuted(self, x: Any, *, axis: int | None = None, out: Any = None) -> NDArray[Any]:
        """Permute x (k, ...) row by row, as ``Generator.permuted``; ``axis`` counts within a row."""
        values = self._own(x, "x")
        found = self._collect(lambda i, stream: stream.permuted(values[i], axis=axis))
        if out is None:
            return found
        out[...] = found
        return np.asarray(out)

    def shuffle(self, x: Any, axis: int = 0) -> None:
        """Shuffle x (k, ...) in place, row by row; ``axis`` counts within a row."""
        values = self._own(x, "x")
        for row, stream in zip(values, self._rows, strict=True):
            stream.shuffle(row, axis=axis)

    def spawn(self, n_children: int) -> list[RowGenerator]:  # type: ignore[override]
        """Return generators with rows of their own, keyed by draws of each row."""
        count = _validate.count(n_children, "n_children")
        children = []
        for _ in range(count):
            words = [stream.integers(2**64, size=2, dtype=np.uint64) for stream in self._rows]
            children.append(restore([_keyed(pair) for pair in words]))
        return children

    def _each(self, value: Any, argument: str, ndim: int, dtype: Any = None) -> Callable[[int], NDArray[Any]]:
        """Return what a parameter of ``ndim`` axes is for row i: its slice, or what all rows share."""
        array = np.asarray(value) if dtype is None else np.asarray(value, dtype=dtype)
        if array.ndim == ndim + 1 and array.shape[0] == self.k:
            return lambda i: array[i]
        if array.ndim != ndim:
            axes = ", ".join("m" * ndim)
            raise _validate.refusal(
                ShapeError,
                argument,
                f"shape {array.shape}",
                f"shape ({axes}{',' * (ndim == 1)}) or ({self.k}{', ' * bool(ndim)}{axes})",
                f"Give one {argument}, or one a row.",
            )
        return lambda i: array

    def _own(self, x: Any, argument: str) -> NDArray[Any]:
        if not isinstance(x, np.ndarray) or x.ndim < 2 or x.shape[0] != self.k:
            raise _validate.refusal(
                InvalidValueError,
                argument,
                f"shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__,
                f"a NumPy array with leading axis k = {self.k}",
                "permutation gives each row an order of what all share.",
            )
        return x

    def choice(  # type: ignore[override]
        self,
        a: Any,
        size: Any = None,
        replace: bool = True,
        p: Any = None,
        axis: int = 0,
        shuffle: bool = True,
    ) -> NDArray[Any]:
        """Draw as ``Generator.choice`` from the same ``a`` in each row; without replacement: within a row."""
        rest = self._rest(size)
        options: Any = {"p": p, "axis": axis} if replace else {"replace": False, "p": p, "axis": axis}
        if not replace:
            options["shuffle"] = shuffle
        return self._collect(lambda i, stream: stream.choice(a, size=rest, **options))

    def __repr__(self) -> str:
        return f"RowGenerator(k={self.k})"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return restore, (self._rows,)


def restore(streams: list[Generator]) -> RowGenerator:
    generator = RowGenerator.__new__(RowGenerator)
    generator._start(streams)
    return generator


def _drawing(name: str, order: tuple[str, ...]) -> Callable[..., NDArray[Any]]:
    parameters = order[: order.index("size")]
    draw = getattr(Generator, name)

    def method(self: RowGenerator, *args: Any, **kwargs: Any) -> NDArray[Any]:
        given = dict(zip(order, args, strict=False))
        unknown = kwargs.keys() - set(order)
        if len(args) > len(order) or unknown or given.keys() & kwargs.keys():
            raise _validate.refusal(
                InvalidTypeError,
                name,
                f"arguments {args!r} and {kwargs!r}",
                f"{name}({', '.join(order)})",
                "Give each argument once.",
            )
        given |= kwargs
        size = given.pop("size", None)
        rest = self._rest(size)
        if given.get("out") is not None:
            raise self._refusal("out=, which has no rows")
        shared: dict[str, Any] = {"size": rest}
        sliced: dict[str, NDArray[Any]] = {}
        for key, value in given.items():
            if key not in parameters or value is None or np.ndim(value) <= len(rest):
                shared[key] = value
                continue
            array = np.asarray(value)
            if array.ndim > 1 + len(rest) or array.shape[0] not in (1, self.k):
                raise _validate.refusal(
                    ShapeError,
                    key,
                    f"shape {array.shape}",
                    f"a shape that broadcasts to size {(self.k, *rest)}",
                    "Give one value, or one a row.",
                )
            sliced[key] = np.broadcast_to(array, (self.k, *array.shape[1:]))
        return self._collect(
            lambda i, stream: draw(stream, **shared, **{key: value[i] for key, value in sliced.items()})
        )

    method.__name__ = name
    method.__qualname__ = f"RowGenerator.{name}"
    method.__doc__ = f"Draw as ``Generator.{name}({', '.join(order)})``; ``size`` must be k or (k, ...)."
    return method


def _refusing(name: str) -> Callable[..., Any]:
    def method(self: RowGenerator, *args: Any, **kwargs: Any) -> Any:
        raise self._refusal(f"{name}(), which has no rows")

    method.__name__ = name
    method.__qualname__ = f"RowGenerator.{name}"
    method.__doc__ = f"Refused: ``Generator.{name}`` would mix the rows."
    return method


for _name in dir(Generator):
    if _name in _SIGNATURES:
        setattr(RowGenerator, _name, _drawing(_name, tuple(_SIGNATURES[_name].split())))
    elif not _name.startswith("_") and _name not in vars(RowGenerator):
        # Also what a later NumPy adds: unknown means refused, never silently shared.
        setattr(RowGenerator, _name, _refusing(_name))


def rows(seed: int, replicate: int, coordinates: Mapping[str, ArrayLike]) -> RowGenerator:
    """Return the streams of a batch of sweep points.

    Parameters
    ----------
    seed, replicate : int
        Shared by all rows.
    coordinates : dict of name to (k,) array of numbers or text
        Row i is the point with the i-th value of each; the order of names does not matter.

    Returns
    -------
    RowGenerator
        k rows, each keyed by (seed, replicate, names and values of its point) and nothing else.

    Raises
    ------
    ShapeError
        If a coordinate is not one-dimensional, or lengths differ.
    InvalidTypeError
        If ``seed`` or ``replicate`` is not an integer.

    >>> batch = rows(0, 0, {"a": [0.1, 0.2], "b": [1, 2]})
    >>> alone = rows(0, 0, {"b": [2.0], "a": [0.2]})
    >>> bool(batch.random(2)[1] == alone.random(1)[0])
    True
    """
    prefix = b"".join(
        _pack(_validate.count(value, name, minimum=0))
        for name, value in (("seed", seed), ("replicate", replicate))
    )
    names = sorted(coordinates)
    columns = [np.asarray(coordinates[name]) for name in names]
    k = columns[0].size if columns else 1
    for name, column in zip(names, columns, strict=True):
        if column.shape != (k,) or k == 0:
            raise _validate.refusal(
                ShapeError,
                f"coordinates[{name!r}]",
                f"shape {column.shape}",
                f"shape ({k or 'k'},)",
                "Give each coordinate one value for each point.",
            )
    heads = [_pack(name) for name in names]
    points = zip(*(column.tolist() for column in columns), strict=True) if columns else [()]
    streams = []
    for point in points:
        packed = [head + _pack(value) for head, value in zip(heads, point, strict=True)]
        streams.append(_stream(prefix + b"".join(packed)))
    return restore(streams)
