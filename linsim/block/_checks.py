"""What fits together in a block, looked at when it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _validate
from .._activations import ACTIVATIONS, GATED
from .._from_tokens import FromTokens
from .._namespace import Array
from ..errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from ._deescalation import PLACES
from ._dense import Dense, of_width

if TYPE_CHECKING:
    from ._block import Block

__all__ = ["check_attention", "check_feed_forward", "check_heads", "check_places", "check_widths"]

# matrices by the feature axis that they share with the tokens
_ROWS, _COLUMNS = ("query", "key", "value", "up", "gate"), ("output", "down")


def check_heads(A: Array, argument: str, heads: int, ndim: int) -> None:
    """Refuse arrays of which it is not clear, or not true, that one axis is that of the heads.

    ``ndim`` axes of one head; with several heads the axis before them is theirs.
    """
    lead = tuple(A.shape[:-ndim])
    if heads == 1 or (argument == "A" and not lead):
        return
    if not lead or lead[-1] != heads:
        tail = "n, n" if argument != "weights" else "d, d"
        raise _validate.refusal(
            ShapeError,
            argument,
            f"shape {tuple(A.shape)} with heads={heads}",
            f"shape (..., {heads}, {tail}): one matrix a head; axes before it are a batch",
            f"For a batch of {lead[-1]} that all heads share insert an axis: {argument}[:, None]."
            if lead
            else "Stack one for each head.",
        )


def check_attention(block: Block, d: int | None) -> None:
    """Refuse queries, keys, values and outputs that are not those of so many heads."""
    spec, h = block.A, block.head_count
    _together(block, "query", "key")
    _together(block, "value", "output")
    if isinstance(spec, FromTokens):
        if spec.query_key is not None and (h > 1 or block.query is not None):
            raise _validate.refusal(
                InvalidTypeError,
                "query_key",
                f"a product beside {'query and key' if block.query is not None else f'{h} heads'}",
                "query and key of all heads, or query_key for one head",
                "Leave one of them out.",
            )
        if spec.bias is not None and len(spec.bias.shape) > 2:
            _counted(spec.bias.shape[-3], "bias", h)
    if block.query is not None:
        if not isinstance(spec, FromTokens):
            raise _validate.refusal(
                InvalidTypeError,
                "query",
                "queries beside attention that is not made from the tokens",
                "linsim.attention.FromTokens as A",
                "Pass A=linsim.attention.FromTokens().",
            )
        if spec.d_key is not None:
            raise _validate.refusal(
                InvalidTypeError, "d_key", f"{spec.d_key} beside query", "one of the two", "Leave d_key out."
            )
        width = _divided(int(block.query.weight.shape[-1]), "query", h)
        _shared(block.key, "key", h, width)
    elif isinstance(spec, FromTokens) and spec.query_key is None and d is not None and h > 1:
        width = spec.d_key or _even_share(d, h)
    elif isinstance(spec, FromTokens) and d is not None:
        width = spec.d_key or d
    else:
        width = None
    if isinstance(spec, FromTokens) and spec.rotary is not None and width is not None:
        spec.rotary.width_of(width)
    if block.value is not None:
        if not (isinstance(block.weights, str) and block.weights == "gaussian"):
            raise _validate.refusal(
                InvalidTypeError,
                "weights",
                "weights beside value and output",
                "one of the two",
                "weights is the product of the two.",
            )
        if (block.std != 1).any():
            raise _validate.refusal(
                InvalidValueError,
                "std",
                "a value beside value and output",
                "1",
                "Scale the matrices themselves.",
            )
        width = _divided(int(block.output.weight.shape[-2]), "output", h)
        _shared(block.value, "value", h, width)
    elif h > 1:
        if callable(block.weights):
            raise _validate.refusal(
                InvalidTypeError,
                "weights",
                f"a sampler with {h} heads",
                "value and output, or one head",
                "Pass value and output, or weights='gaussian'.",
            )
        if not block.weights_fixed and d is not None:
            _even_share(d, h)


def check_feed_forward(block: Block) -> None:
    """Refuse parts of a feed-forward that do not make one."""
    name = block.feed_forward
    if name is None:
        given = ["width", "up", "gate", "down", "feed_forward_residual", "feed_forward_branch"]
        given += ["feed_forward_layer_scale", "feed_forward_gain", "feed_forward_bias"]
        for argument in given:
            value = getattr(block, argument)
            if value is not None:
                shown = value if isinstance(value, int | float) else "a value"
                raise _validate.refusal(
                    InvalidValueError, argument, shown, "None without feed_forward", "Choose an activation."
                )
        if block.parallel:
            raise _validate.refusal(
                InvalidValueError, "parallel", True, "False without feed_forward", "Choose an activation."
            )
        return
    _validate.choice(name, "feed_forward", (*ACTIVATIONS, *GATED))
    _together(block, "up", "down")
    if block.up is None:
        if block.gate is not None:
            raise _validate.refusal(
                InvalidTypeError,
                "gate",
                "a matrix",
                "None where up and down are drawn",
                f"Pass up and down as well, or draw all: feed_forward={_gated(name)!r}.",
            )
        return
    if name in GATED and block.gate is None:
        raise _validate.refusal(
            InvalidTypeError,
            "gate",
            f"none in a {name} feed-forward with given up and down",
            "its matrix (..., d, width)",
            f"Pass gate, or take feed_forward={GATED[name]!r} for a feed-forward without one.",
        )
    if block.width is not None:
        raise _validate.refusal(
            InvalidTypeError, "width", f"{block.width} beside up", "one of the two", "Leave width out."
        )
    if block.feed_forward_std != 1:
        raise _validate.refusal(
            InvalidTypeError, "feed_forward_std", "a value beside down", "1", "Scale the matrix itself."
        )


def check_widths(block: Block, d: int | None) -> None:
    """Refuse matrices and vectors that do not share the features, or the width of the feed-forward."""
    names = ("gain", "bias", "layer_scale")
    for name in (*names, *(f"feed_forward_{name}" for name in names)):
        if d is not None:
            of_width(getattr(block, name), name, d)
    for matrices, axis in ((_ROWS, -2), (_COLUMNS, -1)):
        for name in matrices:
            one = getattr(block, name)
            if one is not None and d is not None and one.weight.shape[axis] != d:
                raise _of_size(name, one, d, axis)
    if d is not None and isinstance(block.A, FromTokens):
        of_width(block.A.query_key, "query_key", d)
    if block.up is not None:
        width = int(block.up.weight.shape[-1])
        for name, axis in (("gate", -1), ("down", -2)):
            one = getattr(block, name)
            if one is not None and one.weight.shape[axis] != width:
                raise _of_size(name, one, width, axis)


def check_places(block: Block) -> None:
    """Refuse de-escalation at a place that the block does not have, or twice at one."""
    missing = [
        name
        for name, there in (
            ("norm", block.norm == "post"),
            ("feed_forward", block.feed_forward),
            ("attention", not block.parallel),
        )
        if not there
    ]
    steps: Any = block.deescalation
    places = [step.place for step in steps]
    for place in places:
        if place in missing:
            raise _validate.refusal(
                InvalidValueError,
                "deescalation",
                f"place {place!r} in a block without it",
                "one of " + ", ".join(repr(p) for p in PLACES if p not in missing),
                "Choose another place.",
            )
        if places.count(place) > 1:
            raise _validate.refusal(
                InvalidValueError,
                "deescalation",
                f"place {place!r} twice",
                "one de-escalation at each place",
                "Combine them.",
            )


def _gated(name: str) -> str:
    return next((gated for gated, activation in GATED.items() if activation == name), "swiglu")


def _together(block: Block, one: str, other: str) -> None:
    for there, missing in ((one, other), (other, one)):
        if getattr(block, there) is not None and getattr(block, missing) is None:
            raise _validate.refusal(
                InvalidTypeError, missing, f"nothing beside {there}", "both or neither", f"Pass {missing}."
            )


def _counted(found: int, argument: str, heads: int) -> None:
    if found not in (1, heads):
        raise _validate.refusal(
            ShapeError,
            argument,
            f"{found} on the axis of heads, of which there {'is 1' if heads == 1 else f'are {heads}'}",
            f"shape (n, n) or (..., {heads}, n, n)",
            f"Pass heads={found} if it is that of heads; for a batch insert an axis: {argument}[:, None].",
        )


def _even_share(d: int, heads: int) -> int:
    if d % heads:
        raise _indivisible("heads", heads, f"{d} features")
    return d // heads


def _divided(width: int, argument: str, heads: int) -> int:
    """Return the channels of one head."""
    if width % heads:
        raise _indivisible("heads", heads, f"{width} channels of {argument}")
    return width // heads


def _shared(one: Any, argument: str, heads: int, width: int) -> None:
    """Refuse channels that are not heads of that width, each shared by equally many of ``heads``."""
    own = int(one.weight.shape[-1])
    if own % width or own // width > heads or heads % (own // width):
        sizes = [width * k for k in range(1, heads + 1) if heads % k == 0]
        raise _validate.refusal(
            ShapeError,
            argument,
            f"{own} channels",
            f"one of {sizes}: heads of {width} channels, each its own or shared evenly by the {heads}",
            "Match its columns, or heads.",
        )


def _indivisible(argument: str, heads: int, of: str) -> LinsimError:
    return _validate.refusal(
        InvalidValueError,
        argument,
        f"{heads} heads over {of}",
        "a count that divides them",
        "Choose a divisor.",
    )


def _of_size(name: str, one: Dense, size: int, axis: int) -> LinsimError:
    found = tuple(one.weight.shape)
    expected = f"(..., {size}, {found[-1]})" if axis == -2 else f"(..., {found[-2]}, {size})"
    turned = found[-3 - axis] == size
    return _validate.refusal(
        ShapeError,
        name,
        f"shape {found}",
        f"shape {expected} to fit the other parts",
        "Transpose it: rows are inputs." if turned else "Match them.",
    )
