"""One check for each thing that can be wrong with an input, and its message.

Asked by every public function before work starts; asks nobody but the array
namespace.  Every message has the form
``argument: found ...; expected .... what to do.``
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import array_api_compat
import numpy as np

from ._namespace import Array, Home, at_home, home_of, namespace, native, plain, roundoff, to_host
from .errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError

__all__ = [
    "array",
    "attention_matrix",
    "backend",
    "broadcast_batches",
    "choice",
    "count",
    "generator",
    "kept",
    "mask",
    "method",
    "nearest",
    "number",
    "one_library",
    "refusal",
    "similar",
    "size",
    "square",
]


def refusal(kind: type[LinsimError], argument: str, found: object, expected: str, remedy: str) -> LinsimError:
    """Build the error; the caller raises it."""
    return kind(f"{argument}: found {found}; expected {expected}. {remedy}")


def array(
    value: Any,
    argument: str,
    *,
    ndim: int = 0,
    shape: str = "",
    allow_complex: bool = False,
    dtype: Any = None,
) -> Array:
    """Return ``value`` as a finite floating array with at least ``ndim`` axes.

    Arrays of another library stay there; everything else becomes NumPy, also
    tensors of PyTorch and arrays of JAX (see :mod:`linsim._namespace`).
    Integers become float64, float32 stays, half precision becomes float32.
    """
    if value is None or isinstance(value, str | bytes):
        raise refusal(
            InvalidTypeError,
            argument,
            f"{type(value).__name__}",
            "a numeric array",
            "Pass numbers, not text.",
        )
    value = _rectangular(value, argument)
    xp = namespace(value)
    is_complex = xp.isdtype(value.dtype, "complex floating") if _known_dtype(xp, value) else False
    if not _known_dtype(xp, value) or (is_complex and not allow_complex):
        raise refusal(
            InvalidTypeError,
            argument,
            f"dtype {value.dtype}",
            "real or complex numbers" if allow_complex else "real numbers",
            _only_the_real(xp, value) if is_complex else "Convert to float64 first.",
        )
    if xp is np and not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    if not is_complex:
        if xp.isdtype(value.dtype, "real floating"):
            target = xp.float64 if value.dtype == xp.float64 or dtype == "float64" else xp.float32
            if str(value.dtype) in ("longdouble", "float128"):
                target = xp.float64
        else:
            target = xp.float64
        value = xp.astype(value, target, copy=False)
    if value.ndim < ndim:
        raise refusal(
            ShapeError,
            argument,
            f"shape {tuple(value.shape)}",
            f"shape {shape}",
            f"Add axes: at least {ndim} needed.",
        )
    if any(extent == 0 for extent in value.shape):
        raise refusal(
            ShapeError,
            argument,
            f"shape {tuple(value.shape)}",
            f"no empty axis in {shape or 'the array'}",
            "Pass at least one row, one column and one system.",
        )
    if not bool(xp.all(xp.isfinite(value))):
        raise refusal(
            InvalidValueError,
            argument,
            "NaN or infinity",
            "finite entries",
            "Clean the array before passing it.",
        )
    return value


def _rectangular(value: Any, argument: str) -> Array:
    """Return ``value`` as an array that linsim computes with, lists as NumPy's."""
    value = _read(value, argument)
    if not array_api_compat.is_array_api_obj(value):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise refusal(
                InvalidTypeError,
                argument,
                "a ragged sequence",
                "a rectangular array",
                "Give every row the same length.",
            ) from error
    if isinstance(value, np.ma.MaskedArray):
        raise refusal(
            InvalidTypeError, argument, "a masked array", "a plain array", "Fill or drop what is masked."
        )
    return plain(value) if isinstance(value, np.ndarray) else value


def _read(value: Any, argument: str) -> Any:
    """Return the numbers of a tensor of PyTorch or an array of JAX; anything else as it is."""
    home = home_of(value)
    if home is None:
        return value
    try:
        return native(value)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        if home.library == "jax":
            remedy = "Call linsim outside jit, grad and vmap, with arrays of numbers."
        else:
            remedy = "Call .to_dense() on a sparse one; one on device 'meta' holds no numbers."
        raise refusal(
            InvalidTypeError,
            argument,
            f"an array of {home.library} without readable numbers ({type(error).__name__})",
            "a dense array that holds its values",
            remedy,
        ) from error


def _only_the_real(xp: Any, value: Array) -> str:
    """Say what to do with complex numbers where real ones are expected."""
    if bool(xp.all(xp.imag(value) == 0)):
        return "Its imaginary parts are all 0: pass its real part."
    return "Imaginary parts would be lost: pass the real part only if that is what you mean."


def kept(given: Any, checked: Array) -> Array:
    """Return what was checked, in the library that it was given in."""
    return at_home(checked, home_of(given))


def one_library(argument: str, *given: Any) -> None:
    """Refuse arrays of two libraries, or on two devices; NumPy's go with those of PyTorch and JAX."""
    if all(type(value) is np.ndarray for value in given):
        return
    homes = [_place(value) for value in given]
    guests = any(home_of(value) for value in given)
    if guests:
        homes = [home for home in homes if home.library != "numpy"]
    libraries = sorted({home.library for home in homes})
    if len(libraries) > 1:
        raise refusal(
            InvalidTypeError,
            argument,
            f"arrays of {' and '.join(libraries)}",
            "arrays of one library",
            "Convert one of them.",
        )
    devices = list(dict.fromkeys(str(home.device) for home in homes if home.device is not None))
    if len(devices) > 1:
        raise refusal(
            InvalidValueError,
            argument,
            f"arrays of {libraries[0]} on {' and '.join(devices)}",
            "arrays on one device",
            "Move one of them to the device of the other.",
        )


def _place(value: Any) -> Home:
    """Return library and device of any array; lists are NumPy's."""
    if type(value) is np.ndarray:
        return Home("numpy", None)
    home = home_of(value)
    if home is not None:
        return home
    if not array_api_compat.is_array_api_obj(value) or array_api_compat.is_numpy_array(value):
        return Home("numpy", None)
    return Home(type(value).__module__.partition(".")[0], array_api_compat.device(value))


def _known_dtype(xp: Any, value: Array) -> bool:
    try:
        return bool(xp.isdtype(value.dtype, "numeric"))
    except (TypeError, ValueError):
        return False


def square(value: Any, argument: str, *, ndim: int = 2, shape: str = "(..., n, n)") -> Array:
    """Return ``value`` as a finite floating stack of square matrices."""
    value = array(value, argument, ndim=ndim, shape=shape)
    if value.shape[-1] != value.shape[-2]:
        raise refusal(
            ShapeError,
            argument,
            f"shape {tuple(value.shape)}",
            f"shape {shape}",
            "The last two axes must be equal.",
        )
    return value


#: what is said where a rule would take any real matrix that is declared as such
_DECLARE = " Where any real matrix is meant, declare it: linsim.attention.general(A)."


def attention_matrix(
    value: Any,
    argument: str = "A",
    *,
    ndim: int = 2,
    shape: str = "(..., n, n)",
    declarable: bool = False,
) -> Array:
    """Return a row-stochastic stack: entries >= 0, rows summing to 1 after one normalisation.

    ``declarable``: whoever asks takes :func:`linsim.attention.general` as well, and refusals say so.
    """
    more = _DECLARE if declarable else ""
    spacing = roundoff(value)
    value = square(value, argument, ndim=ndim, shape=shape)
    xp = namespace(value)
    smallest = float(xp.min(value))
    if smallest < 0:
        raise refusal(
            InvalidValueError,
            argument,
            f"a negative entry ({smallest:.3g})",
            "entries >= 0",
            "Attention weights are probabilities; pass the softmax, not the scores." + more,
        )
    sums = xp.sum(value, axis=-1, keepdims=True)
    half = spacing > 1e-6
    tolerance = _half_rows(value.shape[-1], spacing) if half else 1e-5 if spacing > 1e-15 else 1e-8
    error = float(xp.max(xp.abs(sums - 1)))
    if error > tolerance:
        raise refusal(
            InvalidValueError,
            argument,
            f"a row that sums to 1 {'+' if float(xp.max(sums)) - 1 == error else '-'} {error:.3g}",
            f"rows that sum to 1 within {np.format_float_scientific(tolerance, 2, trim='-', exp_digits=1)}",
            "Divide each row by its sum" + (", in float32." if half else ".") + more,
        )
    # Sums that are 1 up to their own rounding stay as they are: dividing would
    # only destroy exact symmetry.
    off = xp.abs(sums - 1) > value.shape[-1] * float(xp.finfo(value.dtype).eps)
    if not bool(xp.any(off)):
        return xp.asarray(value, copy=True)  # a value of its own, like the normalised one
    return xp.where(off, value / sums, value)


def _half_rows(n: int, spacing: float) -> float:
    """How far from 1 rows of n entries in half precision may sum.

    Rounding an entry moves it by spacing/2 of itself, so the entries of a row by spacing/2
    together, once when they are divided by their sum.  The sum itself is off by up to
    spacing/2 for each addition that a number passes through: pairwise (NumPy) at most
    min(n, 128)/8 + 3 and one for each further halving; fewer in float32 (PyTorch, JAX).
    """
    additions = min(n, 128) / 8 + 3 + max(float(np.log2(n / 128)), 0.0)
    return min((additions + 2) * spacing / 2, 0.125)


def mask(value: Any, argument: str = "mask", *, ndim: int | None = None) -> Array:
    """Return ``value`` as a stack of boolean square matrices (a single one: ndim 2) without an empty row."""
    shape = "(n, n)" if ndim == 2 else "(..., n, n)"
    value = _rectangular(value, argument)
    xp = namespace(value)
    if value.dtype != xp.bool:
        raise refusal(
            InvalidTypeError,
            argument,
            f"dtype {value.dtype}",
            "booleans, True where a token may attend",
            "Compare it: mask > 0.",
        )
    wrong = value.ndim < 2 or (ndim is not None and value.ndim != ndim)
    if wrong or value.shape[-1] != value.shape[-2] or 0 in value.shape:
        raise refusal(
            ShapeError,
            argument,
            f"shape {tuple(value.shape)}",
            f"shape {shape}",
            "The last two axes must be equal, and none empty.",
        )
    empty = ~xp.any(value, axis=-1)
    if bool(xp.any(empty)):
        where = tuple(int(i) for i in np.argwhere(to_host(empty))[0])
        raise refusal(
            InvalidValueError,
            argument,
            f"no True in row {where[-1]}" + (f" of matrix {where[:-1]}" if where[:-1] else ""),
            "at least one True in each row",
            "Let each token attend to itself.",
        )
    return value


def broadcast_batches(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the broadcast of leading batch shapes, or refuse with all of them named."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise refusal(
            ShapeError,
            " and ".join(shapes),
            f"batch shapes {listed}",
            "batch shapes that broadcast",
            "Make the leading axes equal, or 1.",
        ) from None


def count(value: Any, argument: str, *, minimum: int = 0) -> int:
    """Return ``value`` as an int >= ``minimum``; floats and booleans are refused."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise refusal(
            InvalidTypeError, argument, repr(value), f"an integer >= {minimum}", "Pass a whole number."
        ) from None
    if result < minimum:
        raise refusal(
            InvalidValueError, argument, result, f"an integer >= {minimum}", "Pass a larger number."
        )
    return result


def number(
    value: Any,
    argument: str,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return ``value`` as a finite float inside the interval."""
    opening = "(" if low_open or low == -np.inf else "["
    interval = f"{opening}{low}, {high}{')' if high_open or high == np.inf else ']'}"
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        result = float(_read(value, argument))
    except (TypeError, ValueError):
        raise refusal(
            InvalidTypeError, argument, repr(value), f"a number in {interval}", "Pass one real number."
        ) from None
    inside = (result > low if low_open else result >= low) and (
        result < high if high_open else result <= high
    )
    if not np.isfinite(result) or not inside:
        raise refusal(
            InvalidValueError, argument, result, f"a number in {interval}", "Choose a value inside."
        )
    return result


def choice(value: Any, argument: str, options: Iterable[str], *, meant: Mapping[str, str] = {}) -> str:
    """Return ``value`` if it is one of ``options``; else name the nearest, where one is near.

    ``meant``: what to do about words that are no options and yet mean something.
    """
    options = tuple(options)
    if isinstance(value, str) and value in options:
        return value
    listed = ", ".join(repr(option) for option in options)
    short = len(listed) <= 500
    if near := similar(value, options):
        guess = f"Did you mean {' or '.join(map(repr, near))}?"
    elif short:
        guess = "Choose one of them."
    else:
        near = difflib.get_close_matches(str(value), options, n=3, cutoff=0.0)
        guess = f"The nearest are {', '.join(map(repr, near))}."
    raise refusal(
        InvalidValueError,
        argument,
        repr(value),
        f"one of {listed}" if short else f"one of {len(options)} names",
        meant.get(str(value).lower(), guess),
    )


#: words for a graphics card, as people ask for one
_GRAPHICS = ("gpu", "cuda", "cupy")


def backend(value: Any, auto: bool = False) -> str | None:
    """Return the name of an array library, or None for that of the inputs; ``auto``: "auto" is one, too."""
    if value is None:
        return None
    own = "Leave backend out: results come back in the library of the inputs."
    graphics = dict.fromkeys(_GRAPHICS, "For a GPU pass backend='cupy'.")
    meant = graphics | dict.fromkeys(("torch", "pytorch", "jax", "auto"), own)
    return choice(value, "backend", ("numpy", "cupy", "auto") if auto else ("numpy", "cupy"), meant=meant)


def method(value: Any, options: Iterable[str]) -> str:
    """Return the name of an engine."""
    graphics = "For a GPU leave method out, and pass backend='cupy' or arrays that live there."
    return choice(value, "method", options, meant=dict.fromkeys(_GRAPHICS, graphics))


def nearest(value: str, argument: str, options: Iterable[str]) -> str:
    """Return ``value`` if it is one of many ``options``; else name the nearest ones only."""
    options = tuple(options)
    if value in options:
        return value
    near = difflib.get_close_matches(value, options, n=3, cutoff=0.0)
    raise refusal(
        InvalidValueError,
        argument,
        repr(value),
        f"one of {len(options)} names",
        f"The nearest are {', '.join(near)}.",
    )


def similar(value: object, options: Iterable[str]) -> list[str]:
    """Return the option that is spelled most like ``value``, or up to three that it is a part of; or none.

    Half of the letters in common, in order, is what a slip leaves; less is another word, and
    offering something for it ('auto' for 'gpu') misleads.
    """
    options, word = tuple(options), str(value).lower()
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    part = [option for option in options if len(word) > 2 and word in option.split("_")][:3]
    return near or part or difflib.get_close_matches(word, options, n=1, cutoff=0.5)


def size(value: int | Sequence[int]) -> tuple[int, ...]:
    """Return a batch shape as a tuple, as NumPy's ``size`` argument does."""
    entries = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    return tuple(count(entry, "size", minimum=1) for entry in entries)


def generator(rng: Any) -> np.random.Generator:
    """Return ``numpy.random.default_rng(rng)``, refusing what it cannot take."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise refusal(
            InvalidTypeError,
            "rng",
            repr(rng),
            "None, a seed, a SeedSequence, a BitGenerator or a Generator",
            "Pass for example rng=0.",
        ) from error
