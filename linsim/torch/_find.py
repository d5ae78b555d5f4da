"""Which modules of a model are its blocks: by name or class, or found where every library keeps them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

import torch.nn as nn

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError

__all__ = ["Blocks", "found_blocks", "tokens_first"]

#: a path (``encoder.layers.3``) and the module there
Blocks = list[tuple[str, nn.Module]]

_LOOKED_FOR = (
    "a list or nn.Sequential of modules of one class with attention inside, as nn.TransformerEncoder, timm "
    "and transformers have"
)
_HOW_TO_NAME = (
    "Name them: blocks='encoder.layers.*' (a pattern), blocks=MyBlock (their class), or a list of names or "
    "modules; model.named_modules() lists all names."
)


def found_blocks(model: Any, blocks: Any = None) -> Blocks:
    """Return the blocks of a model in the order of its modules.

    Raises
    ------
    NotCoveredError
        If there are none, or several stacks of them, and none is named.
    InvalidValueError, InvalidTypeError
        If nothing has the name or class asked for, or ``model`` is no module.
    """
    if not isinstance(model, nn.Module):
        raise _validate.refusal(
            InvalidTypeError, "model", type(model).__name__, "a torch.nn.Module", "Pass the model itself."
        )
    if hasattr(model, "_orig_mod"):
        raise _validate.refusal(
            InvalidTypeError,
            "model",
            "what torch.compile returned, in which hooks added later never run",
            "the module itself",
            "Watch and call model._orig_mod, or compile in place, with model.compile().",
        )
    return _found(model) if blocks is None else _named(model, blocks)


def _found(model: nn.Module) -> Blocks:
    stacks: list[Blocks] = []
    for path, module in model.named_modules():
        inside = any(f"{path}.".startswith(f"{name}.") for stack in stacks for name, _ in stack)
        if not inside and _is_stack(module) and not _are_stages(module):
            stacks.append([(f"{path}.{name}".lstrip("."), m) for name, m in module.named_children()])
    if len(stacks) > 1:
        several = ", ".join(f"{_pattern(stack)!r} ({len(stack)} blocks)" for stack in stacks[:4])
        raise _validate.refusal(
            NotCoveredError,
            "blocks",
            f"{len(stacks)} stacks: {several}{', ...' * (len(stacks) > 4)}",
            "one",
            f"Name it: blocks={_pattern(stacks[0])!r}.",
        )
    if stacks:
        return stacks[0]
    if isinstance(model, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        return [("", model)]
    raise _validate.refusal(
        NotCoveredError, "model", f"{type(model).__name__} without them", _LOOKED_FOR, _HOW_TO_NAME
    )


def _is_stack(module: nn.Module) -> bool:
    """Whether this is a list of modules of one class with attention inside."""
    children = list(module.children())
    return (
        isinstance(module, nn.ModuleList | nn.Sequential)
        and len({type(child) for child in children}) == 1
        and all(_attends(child) for child in children)
    )


def _are_stages(module: nn.Module) -> bool:
    """Whether modules of a stack hold stacks themselves, as the stages of a Swin Transformer do."""
    parts = [part for child in module.children() for part in child.modules()]
    return any(_is_stack(part) and len(list(part.children())) > 1 for part in parts)


def _attends(module: nn.Module) -> bool:
    return any("attention" in type(part).__name__.lower() or _called_attention(name)
               for name, part in module.named_modules() if name)  # fmt: skip


def _called_attention(name: str) -> bool:
    return name.rpartition(".")[2].lower() in ("attn", "self_attn", "attention", "mixer")


def _pattern(stack: Blocks) -> str:
    return f"{stack[0][0].rpartition('.')[0]}.*"


def _named(model: nn.Module, blocks: Any) -> Blocks:
    everything = dict(model.named_modules())
    if isinstance(blocks, type):
        found = [(path, m) for path, m in everything.items() if isinstance(m, blocks)]
        if not found:
            kinds = sorted({type(m).__name__ for m in everything.values()})
            raise _validate.refusal(
                InvalidValueError,
                "blocks",
                f"no {blocks.__name__} in the model",
                "a class that it has",
                f"It has {', '.join(kinds[:12])}.",
            )
        return found
    wanted = (
        [blocks] if isinstance(blocks, str | nn.Module) or not isinstance(blocks, Iterable) else list(blocks)
    )
    found = []
    for one in wanted:
        if isinstance(one, str):
            # one level for each star, so that a pattern never takes a block and what is inside of it
            depth = one.count(".")
            here = [
                (path, m)
                for path, m in everything.items()
                if path and path.count(".") == depth and fnmatch.fnmatchcase(path, one)
            ]
            if len(here) == 1 and isinstance(here[0][1], nn.ModuleList):
                here = [(f"{here[0][0]}.{name}", child) for name, child in here[0][1].named_children()]
            if not here:
                _validate.nearest(one, "blocks", [path for path in everything if path] or ["(none)"])
        elif isinstance(one, nn.Module):
            here = [(path, m) for path, m in everything.items() if m is one]
            if not here:
                raise _validate.refusal(
                    InvalidValueError,
                    "blocks",
                    f"a {type(one).__name__} that is not part of the model",
                    "modules of the model",
                    "Take them from the model that you watch.",
                )
        else:
            raise _validate.refusal(
                InvalidTypeError, "blocks", repr(one), "names, modules or a class", _HOW_TO_NAME
            )
        found += here
    if not found:
        raise _validate.refusal(InvalidValueError, "blocks", "none", "at least one", _HOW_TO_NAME)
    return list({id(m): (path, m) for path, m in found}.values())


def tokens_first(block: nn.Module) -> bool:
    """Whether a block takes (tokens, batch, features): PyTorch's attention without ``batch_first``."""
    return any(isinstance(m, nn.MultiheadAttention) and not m.batch_first for m in block.modules())
