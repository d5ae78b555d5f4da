"""Eight doubles (or sixteen floats) as one value in Numba code: a cache line of lanes.

LLVM vectorises loops over one matrix; singular values are found fastest with
the same step taken on several matrices at once, one in each lane.  Inside a
compiled function ``load(a, i)`` reads :data:`WIDTH` bytes of the flat array
``a`` from index i on; values add, multiply and compare lane by lane, with each
other and with scalars; ``where`` selects; ``store`` writes back.  Everything is
generic over float64 and float32, and no function here is a closure, so that
Numba can cache what it compiles.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, config, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

__all__ = [
    "REGISTERS",
    "WIDTH",
    "LanesType",
    "alike",
    "bits",
    "copies",
    "copysign",
    "exponent",
    "fma",
    "gather",
    "largest",
    "load",
    "load_for",
    "load_pair",
    "magnitude",
    "mantissa",
    "maximum",
    "minimum",
    "narrow",
    "power_of_two",
    "splat",
    "splat_pair",
    "sqrt",
    "store",
    "total",
    "totals",
    "transpose",
    "two_to",
    "where",
    "widen",
]

#: bytes of one value: a cache line, which is also the widest vector register there is
WIDTH = 64


def _features() -> str:
    """What of the processor Numba compiles for."""
    given = config.CPU_FEATURES
    return str(given) if given is not None else str(binding.get_host_cpu_features().flatten())


#: vector registers, of a cache line with AVX-512 and of less elsewhere; nothing but speed may depend on it
REGISTERS = 32 if "+avx512f" in _features().split(",") else 16

_LLVM = {types.float64: ir.DoubleType(), types.float32: ir.FloatType()}
# a * b + c may be rounded once
_FLAGS = ("contract",)


class LanesType(types.Type):
    """The type of a vector of ``lines`` cache lines of numbers."""

    def __init__(self, dtype: Any, lines: int = 1) -> None:
        self.dtype = dtype
        self.count = lines * WIDTH * 8 // dtype.bitwidth
        super().__init__(name=f"Lanes({dtype}, {self.count})")


class MaskType(types.Type):
    """The type of a vector of truth values."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Mask({count})")


def _vector(lanes: LanesType) -> ir.VectorType:
    return ir.VectorType(_LLVM[lanes.dtype], lanes.count)


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: LanesType) -> None:
        super().__init__(manager, lanes, _vector(lanes))


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, mask: MaskType) -> None:
        super().__init__(manager, mask, ir.VectorType(ir.IntType(1), mask.count))


# --- memory -----------------------------------------------------------------------------


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, lanes: LanesType) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _vector(lanes).as_pointer())


def _loaded(lanes: LanesType, array: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        value = builder.load(_address(context, builder, sig.args[0], args[0], at, lanes))
        value.align = lanes.dtype.bitwidth // 8
        return value

    return lanes(array, offset), generate


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> Any:
    """Return the lanes that begin at ``offset`` of a flat array."""
    return _loaded(LanesType(array.dtype), array, offset)


@intrinsic
def load_pair(typing: Any, array: Any, offset: Any) -> Any:
    """Return twice as many lanes: two chains of steps that hide each other's latency."""
    return _loaded(LanesType(array.dtype, 2), array, offset)


@intrinsic
def load_for(typing: Any, like: Any, array: Any, offset: Any) -> Any:
    """Return as many numbers as :func:`load` does of ``like``, of an array of at least its precision."""
    lanes = LanesType(array.dtype, array.dtype.bitwidth // like.dtype.bitwidth)
    _, generate = _loaded(lanes, array, offset)

    def generate_it(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return generate(context, builder, lanes(*sig.args[1:]), args[1:])

    return lanes(like, array, offset), generate_it


@intrinsic
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write lanes to a flat array from ``offset`` on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        done = builder.store(args[2], _address(context, builder, sig.args[0], args[0], at, sig.args[2]))
        done.align = sig.args[2].dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, offset, value), generate


def _spread(builder: Any, scalar: Any, lanes: LanesType) -> Any:
    nothing = ir.Constant(_vector(lanes), ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
    )


def _splatted(lanes: LanesType, array: Any, scalar: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _spread(builder, context.cast(builder, args[1], sig.args[1], lanes.dtype), lanes)

    return lanes(array, scalar), generate


@intrinsic
def splat(typing: Any, array: Any, scalar: Any) -> Any:
    """Return lanes of the dtype of ``array`` that all hold ``scalar``."""
    return _splatted(LanesType(array.dtype), array, scalar)


@intrinsic
def alike(typing: Any, value: Any, scalar: Any) -> Any:
    """Return lanes of the kind of ``value`` that all hold ``scalar``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.cast(builder, args[1], sig.args[1], sig.args[0].dtype)
        return _spread(builder, number, sig.args[0])

    return value(value, scalar), generate


@intrinsic
def copies(typing: Any, array: Any, offset: Any) -> Any:
    """Return lanes that all hold the number at ``offset``, which is not counted from the end of the array."""
    lanes = LanesType(array.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _spread(builder, builder.load(builder.gep(data, [at])), lanes)

    return lanes(array, offset), generate


@intrinsic
def splat_pair(typing: Any, array: Any, scalar: Any) -> Any:
    """Return what :func:`splat` does, for :func:`load_pair`."""
    return _splatted(LanesType(array.dtype, 2), array, scalar)


@intrinsic
def gather(typing: Any, array: Any, offset: Any, step: Any) -> Any:
    """Return lanes read ``step`` numbers apart."""
    lanes = LanesType(array.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        apart = context.cast(builder, args[2], sig.args[2], types.intp)
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        value = ir.Constant(_vector(lanes), ir.Undefined)
        for lane in range(lanes.count):
            number = builder.load(builder.gep(data, [at]))
            value = builder.insert_element(value, number, ir.Constant(ir.IntType(32), lane))
            at = builder.add(at, apart)
        return value

    return lanes(array, offset, step), generate


@intrinsic
def transpose(typing: Any, out: Any, to: Any, to_step: Any, array: Any, offset: Any, step: Any) -> Any:
    """Write a square of numbers, read row by row ``step`` apart, column by column ``to_step`` apart."""
    lanes = LanesType(array.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at, apart = (context.cast(builder, args[k], sig.args[k], types.intp) for k in (4, 5))
        there, further = (context.cast(builder, args[k], sig.args[k], types.intp) for k in (1, 2))
        rows = []
        for _ in range(lanes.count):
            value = builder.load(_address(context, builder, sig.args[3], args[3], at, lanes))
            value.align = lanes.dtype.bitwidth // 8
            rows.append(value)
            at = builder.add(at, apart)
        block = lanes.count // 2
        while block:  # swap the off-diagonal blocks of ever smaller squares
            picked = list(range(lanes.count))
            upper = [c if c // block % 2 == 0 else lanes.count + c - block for c in picked]
            lower = [c + block if c // block % 2 == 0 else lanes.count + c for c in picked]
            for i in picked:
                if i // block % 2 == 0:
                    x, y = rows[i], rows[i + block]
                    index = ir.VectorType(ir.IntType(32), lanes.count)
                    rows[i] = builder.shuffle_vector(x, y, ir.Constant(index, upper))
                    rows[i + block] = builder.shuffle_vector(x, y, ir.Constant(index, lower))
            block //= 2
        for value in rows:
            done = builder.store(value, _address(context, builder, sig.args[0], args[0], there, lanes))
            done.align = lanes.dtype.bitwidth // 8
            there = builder.add(there, further)
        return context.get_dummy_value()

    return types.void(out, to, to_step, array, offset, step), generate


# --- arithmetic and comparison, through Python's own operators ----------------------------


def _operator(function: Any, result: Any, emit: Any) -> None:
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2:
                return None
            x, y = args
            if isinstance(x, LanesType) and x == y:
                return signature(result(x), x, x)
            if isinstance(x, LanesType) and isinstance(y, types.Number):
                return signature(result(x), x, x.dtype)
            if isinstance(y, LanesType) and isinstance(x, types.Number):
                return signature(result(y), y.dtype, y)
            return None

    infer_global(function)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = next(t for t in sig.args if isinstance(t, LanesType))
        pair = [
            value if isinstance(t, LanesType) else _spread(builder, value, lanes)
            for value, t in zip(args, sig.args, strict=True)
        ]
        return emit(builder, *pair)

    for left, right in ((LanesType, LanesType), (LanesType, types.Float), (types.Float, LanesType)):
        lower_builtin(function, left, right)(lower)


def _same(lanes: LanesType) -> Any:
    return lanes


def _mask(lanes: LanesType) -> Any:
    return MaskType(lanes.count)


_operator(operator.add, _same, lambda b, x, y: b.fadd(x, y, flags=_FLAGS))
_operator(operator.sub, _same, lambda b, x, y: b.fsub(x, y, flags=_FLAGS))
_operator(operator.mul, _same, lambda b, x, y: b.fmul(x, y, flags=_FLAGS))
_operator(operator.truediv, _same, lambda b, x, y: b.fdiv(x, y, flags=_FLAGS))
# ordered: false wherever a NaN is compared
_operator(operator.lt, _mask, lambda b, x, y: b.fcmp_ordered("<", x, y))
_operator(operator.le, _mask, lambda b, x, y: b.fcmp_ordered("<=", x, y))
_operator(operator.gt, _mask, lambda b, x, y: b.fcmp_ordered(">", x, y))
_operator(operator.ge, _mask, lambda b, x, y: b.fcmp_ordered(">=", x, y))


def _mask_operator(function: Any, emit: Any) -> None:
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], MaskType) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    infer_global(function)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit(builder, *args)

    lower_builtin(function, MaskType, MaskType)(lower)


_mask_operator(operator.and_, lambda b, x, y: b.and_(x, y))
_mask_operator(operator.or_, lambda b, x, y: b.or_(x, y))


@intrinsic
def where(typing: Any, mask: Any, yes: Any, no: Any) -> Any:
    """Select lane by lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return yes(mask, yes, no), generate


@intrinsic
def bits(typing: Any, mask: Any) -> Any:
    """Return a mask as an integer, lane 0 in the lowest bit."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        packed = builder.bitcast(args[0], ir.IntType(sig.args[0].count))
        return builder.zext(packed, ir.IntType(64))

    return types.int64(mask), generate


def _reduced(combine: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        v, width = args[0], sig.args[0].count
        while width > 1:  # half by half, so the order never depends on the machine
            half = width // 2
            nothing = ir.Constant(v.type, ir.Undefined)
            parts = [
                builder.shuffle_vector(
                    v, nothing, ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(k, k + half)))
                )
                for k in (0, half)
            ]
            v, width = combine(builder, *parts), half
        return builder.extract_element(v, ir.Constant(ir.IntType(32), 0))

    return generate


@intrinsic
def total(typing: Any, value: Any) -> Any:
    """Return the sum over the lanes, as a scalar."""
    return value.dtype(value), _reduced(lambda builder, x, y: builder.fadd(x, y))


@intrinsic
def largest(typing: Any, value: Any) -> Any:
    """Return the maximum over the lanes, as a scalar."""
    return value.dtype(value), _reduced(
        lambda builder, x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y)
    )


@intrinsic
def totals(typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """Return the sums over the lanes of eight values of as many lanes: far cheaper than one by one."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values, together = list(args), 1
        while len(values) > 1:  # lanes of two side by side, then of four, in the same order everywhere
            first = [k if not k & together else k - together + 8 for k in range(8)]
            second = [k + together for k in first]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), 8), m) for m in (first, second)]
            values = [
                builder.fadd(*(builder.shuffle_vector(values[k], values[k + 1], mask) for mask in masks))
                for k in range(0, len(values), 2)
            ]
            together *= 2
        return values[0]

    return a(a, b, c, d, e, f, g, h), generate


# --- functions --------------------------------------------------------------------------


def _call(builder: Any, name: str, lanes: LanesType, args: Any) -> Any:
    vector = _vector(lanes)
    symbol = f"llvm.{name}.v{lanes.count}f{lanes.dtype.bitwidth}"
    kind = ir.FunctionType(vector, [vector] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), args)


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "fma", sig.return_type, args)

    return x(x, y, z), generate


@intrinsic
def sqrt(typing: Any, x: Any) -> Any:
    """Square root."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "sqrt", sig.return_type, args)

    return x(x), generate


@intrinsic
def magnitude(typing: Any, x: Any) -> Any:
    """|x|."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "fabs", sig.return_type, args)

    return x(x), generate


def _chosen(comparison: str) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y = args
        return builder.select(builder.fcmp_ordered(comparison, x, y), x, y)

    return generate


def _bits_of(dtype: Any) -> tuple[Any, int, int, int]:
    """Integer type, mantissa bits, mask of the mantissa and pattern of 1."""
    if dtype == types.float64:
        return ir.IntType(64), 52, 2**52 - 1, 1023
    return ir.IntType(32), 23, 2**23 - 1, 127


def _constant(lanes: LanesType, integer: Any, value: int) -> Any:
    return ir.Constant(ir.VectorType(integer, lanes.count), [value] * lanes.count)


@intrinsic
def mantissa(typing: Any, x: Any) -> Any:
    """The number in [1, 2) of a positive normal number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integer, bits_, mask, one = _bits_of(sig.args[0].dtype)
        pattern = builder.bitcast(args[0], ir.VectorType(integer, sig.args[0].count))
        pattern = builder.and_(pattern, _constant(sig.args[0], integer, mask))
        pattern = builder.or_(pattern, _constant(sig.args[0], integer, one << bits_))
        return builder.bitcast(pattern, _vector(sig.args[0]))

    return x(x), generate


@intrinsic
def exponent(typing: Any, x: Any) -> Any:
    """The power of two of a positive normal number, as a number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integer, bits_, _, one = _bits_of(sig.args[0].dtype)
        pattern = builder.bitcast(args[0], ir.VectorType(integer, sig.args[0].count))
        pattern = builder.lshr(pattern, _constant(sig.args[0], integer, bits_))
        pattern = builder.sub(pattern, _constant(sig.args[0], integer, one))
        return builder.sitofp(pattern, _vector(sig.args[0]))

    return x(x), generate


@intrinsic
def power_of_two(typing: Any, x: Any) -> Any:
    """2**x of whole numbers (what is behind the point is cut off), 0 below the normal range and of a NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = sig.args[0]
        integer, bits_, _, one = _bits_of(lanes.dtype)
        vector, whole = _vector(lanes), ir.VectorType(integer, lanes.count)
        low = ir.Constant(vector, [1.0 - one] * lanes.count)
        high = ir.Constant(vector, [float(one)] * lanes.count)
        fits = builder.fcmp_ordered(">=", args[0], low)
        e = builder.select(fits, args[0], low)
        e = builder.fptosi(builder.select(builder.fcmp_ordered("<", e, high), e, high), whole)
        pattern = builder.add(e, _constant(lanes, integer, one))
        pattern = builder.shl(pattern, _constant(lanes, integer, bits_))
        nothing = ir.Constant(vector, [0.0] * lanes.count)
        return builder.select(fits, builder.bitcast(pattern, vector), nothing)

    return x(x), generate


@intrinsic
def two_to(typing: Any, x: Any) -> Any:
    """2**k of lanes whose last bits are the integer k, where that is a normal number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = sig.args[0]
        integer, bits_, _, one = _bits_of(lanes.dtype)
        pattern = builder.bitcast(args[0], ir.VectorType(integer, lanes.count))
        pattern = builder.shl(pattern, _constant(lanes, integer, bits_))
        pattern = builder.add(pattern, _constant(lanes, integer, one << bits_))
        return builder.bitcast(pattern, _vector(lanes))

    return x(x), generate


@intrinsic
def minimum(typing: Any, x: Any, y: Any) -> Any:
    """The smaller one; y where either is a NaN (one instruction, unlike IEEE's minimum)."""
    return x(x, y), _chosen("<")


@intrinsic
def maximum(typing: Any, x: Any, y: Any) -> Any:
    """The larger one; y where either is a NaN."""
    return x(x, y), _chosen(">")


@intrinsic
def copysign(typing: Any, x: Any, y: Any) -> Any:
    """|x| with the sign of y."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "copysign", sig.return_type, args)

    return x(x, y), generate


@intrinsic
def widen(typing: Any, x: Any) -> Any:
    """Single precision as twice as many bytes of double precision."""
    out = LanesType(types.float64, 2)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fpext(args[0], _vector(out))

    return out(x), generate


@intrinsic
def narrow(typing: Any, like: Any, x: Any) -> Any:
    """What :func:`load_for` has returned, in the dtype of ``like``."""
    out = LanesType(like.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[1] if x == out else builder.fptrunc(args[1], _vector(out))

    return out(like, x), generate
