"""Watch the hidden states of a live model: hooks that measure, and what they found as a dataset."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError
from ..metrics import measure
from ..metrics._registry import choose, needing
from ._find import found_blocks, tokens_first
from ._measure import MEANS, PAIRS, RANKS, measured
from ._seen import Record, as_dataset, as_figure, as_table
from ._states import fitting, mask_among, padding, states_of

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["Watch", "watch"]

Tensor = Any
_HERE = frozenset((*MEANS, *PAIRS, *RANKS))


def watch(
    model: nn.Module,
    *,
    blocks: Any = None,
    metrics: Any = None,
    sample: int | None = 8,
    mask: Any = "auto",
    state: Callable[[Any], Any] | None = None,
    batch_first: bool | None = None,
    every: int = 1,
    log: Callable[[int, dict[str, float]], Any] | None = None,
) -> Watch:
    """Watch a model smooth its tokens: measure what enters its first block and what leaves each.

    Parameters
    ----------
    model : torch.nn.Module
        Blocks of ``transformers``, ``timm``, ``torch.nn.TransformerEncoder`` and their like are found.
    blocks : str, class, or list of names or modules, keyword-only
        Which modules to watch where they are not found: a pattern of names ("encoder.layers.*"), the class
        of a block, or a list.
    metrics : str, Metric, or list of them, keyword-only
        As :func:`linsim.metrics.measure` takes them, and "means" for those that need no pair of tokens
        and no singular value; None for the fourteen default ones.  Others than these are measured by
        ``measure`` on the host, which is slow.
    sample : int or None, keyword-only
        Of how many sequences of a call those metrics are measured that take all pairs of tokens or
        singular values (the first ones; NaN in the others); None: of all.
    mask : "auto", tensor (batch, tokens) or (tokens,), function or None, keyword-only
        Which tokens count (True or 1).  "auto" reads ``attention_mask``, ``src_key_padding_mask`` and
        nested tensors wherever they pass on the way to the blocks; a function gets args and kwargs of
        the model's call and returns the mask; None: all rows are tokens.
    state : function, keyword-only
        From what a block returns (or takes) to one tensor (batch, tokens, features), where that is not
        it nor what a tuple begins with.
    batch_first : bool, keyword-only
        Whether states are (batch, tokens, features); None asks the attention modules.
    every : int, keyword-only
        Measure at the first call of the model and at every ``every``-th.
    log : function, keyword-only
        Called after each measured call with its number and {"layer 3/cosine": mean over sequences, ...},
        for a logger: ``log=lambda step, values: wandb.log(values, step=step)``.

    Returns
    -------
    Watch
        A context manager: hooks are there inside its ``with`` block, and gone after it.

    Raises
    ------
    NotCoveredError
        If no blocks are found, or several stacks of them.
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is of no use; in a call of the model, if states or mask are none, or are packed.

    Notes
    -----
    Watching changes nothing that the model returns.  A forward hook on a ``nn.TransformerEncoderLayer``, or
    on anything inside it, would switch off its fused path (and change the type and the padded rows of what
    it returns), so these are watched by a hook common to all modules.  Modules *inside* such a layer can
    be watched by name; that switches the path off, and ``changed`` of the dataset says so.

    Compile before you watch, and in place (``model.compile()``): what ``torch.compile(model)`` returns
    never runs hooks that come later.

    Numbers are those of :func:`linsim.metrics.measure` on the hidden states, to 2e-6, worked out under
    ``no_grad`` on the model's device, in float64.  They take (ViT-S, 32 images, one thread of a CPU) 3
    percent of a forward pass for "means", 10 for the fourteen with ``sample=8``, and 22 with
    ``sample=None`` (about 30 until a kernel is compiled, in the background, once for a machine);
    ``seconds`` counts.

    Examples
    --------
    >>> import torch, linsim.torch
    >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    >>> model = torch.nn.TransformerEncoder(layer, 3).eval()
    >>> with linsim.torch.watch(model) as seen, torch.no_grad():
    ...     y = model(torch.randn(4, 10, 16))
    >>> seen.dataset().cosine.sel(tokens="all").mean("sequence").sizes["layer"]
    4
    """
    return Watch(model, blocks, metrics, sample, mask, state, batch_first, every, log)


class Watch:
    """What :func:`watch` returns: a context manager, and then what was seen.

    Attributes
    ----------
    blocks : tuple of str
        Names of the modules that are watched.
    calls : int
        Forward passes so far, measured or not.
    seconds, forward_seconds : float
        Wall time spent measuring, and the rest of that of the measured calls.  (On a GPU what waits for
        the device counts as measuring.)
    changed : str
        What watching changes in the model: "nothing", unless a module inside a fused layer is watched.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Any,
        metrics: Any,
        sample: int | None,
        mask: Any,
        state: Callable[[Any], Any] | None,
        batch_first: bool | None,
        every: int,
        log: Callable[[int, dict[str, float]], Any] | None,
    ) -> None:
        """Use :func:`watch`."""
        found = found_blocks(model, blocks)
        self._model = model
        self.blocks = tuple(name for name, _ in found)
        self._modules = [module for _, module in found]
        self._first = [tokens_first(m) if batch_first is None else not batch_first for m in self._modules]
        self._names = _chosen(metrics)
        self._sample = None if sample is None else _validate.count(sample, "sample")
        self._mask = _checked_mask(mask)
        self._state, self._log = _function(state, "state"), _function(log, "log")
        self._every = _validate.count(every, "every", minimum=1)
        self.calls, self.seconds, self.forward_seconds = 0, 0.0, 0.0
        self.changed = _change(model, self._modules)
        self._handles: list[Any] = []
        self._call: _Call | None = None
        self._records: list[Record] = []
        self._about: dict[str, str] = {}

    # --- hooks: closures that know their module, so that a deep copy of the model is not watched --------

    def __enter__(self) -> Watch:
        """Put the hooks in place."""
        if self._handles:
            raise _validate.refusal(
                InvalidValueError,
                "watch",
                "one that is running",
                "one with block at a time",
                "Leave it first.",
            )
        places = {id(m): i for i, m in enumerate(self._modules)}
        fused = {id(m): places[id(m)] for m in self._modules if _is_fused(m)}
        if fused:  # a hook of their own would switch the fused path off
            self._watch_fused(fused)
        for i, module in enumerate(self._modules):
            if not _is_fused(module):
                self._watch_one(i, module)
        for module in self._model.modules():  # masks pass there, and the outermost call is one step
            if id(module) not in places and any(id(m) in places for m in module.modules()):
                self._watch_above(module)
        return self

    def _watch_fused(self, fused: dict[int, int]) -> None:
        def before(module: nn.Module, args: Any) -> None:
            if id(module) in fused:
                self._enters(fused[id(module)], args, {})

        def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            if id(module) in fused:
                self._leaves(fused[id(module)], args, kwargs, out)

        hooks = torch.nn.modules.module
        self._handles += [
            hooks.register_module_forward_pre_hook(_untraced(before)),
            hooks.register_module_forward_hook(_untraced(after), with_kwargs=True),
        ]

    def _watch_one(self, i: int, watched: nn.Module) -> None:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if module is watched:
                self._enters(i, args, kwargs)

        def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            if module is watched:
                self._leaves(i, args, kwargs, out)

        self._handles += [
            watched.register_forward_pre_hook(_untraced(before), with_kwargs=True),
            watched.register_forward_hook(_untraced(after), with_kwargs=True),
        ]

    def _watch_above(self, watched: nn.Module) -> None:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if module is watched and not _replayed():
                self._begins(module, args, kwargs)

        def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            if module is watched and self._call is not None and self._call.owner is module:
                self._ends(raised=out is None)

        self._handles += [
            watched.register_forward_pre_hook(_untraced(before), with_kwargs=True),
            watched.register_forward_hook(_untraced(after), with_kwargs=True, always_call=True),
        ]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the hooks away.

        Raises
        ------
        InvalidValueError
            If nothing was seen.
        """
        kwargs = getattr(torch.nn.modules.module, "_global_forward_hooks_with_kwargs", {})
        for handle in self._handles:
            handle.remove()
            kwargs.pop(handle.id, None)  # which PyTorch 2.13 leaves behind, and then warns of
        self._handles = []
        self._ends(raised=kind is not None)
        if kind is None:
            self._something_seen()

    # --- one call ------------------------------------------------------------------------

    def _start(self, owner: nn.Module | None) -> _Call:
        keep = self._mask if isinstance(self._mask, torch.Tensor) else None
        self._call = _Call(owner, self.calls, self.calls % self._every == 0, keep)
        self.calls += 1
        return self._call

    def _begins(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """See a call pass a module above the blocks."""
        if self._call is not None and self._call.owner is None:  # of blocks that were called one by one
            self._ends()
        call = self._call or self._start(module)
        if not call.wanted:
            return
        if isinstance(self._mask, str):
            mask = mask_among(module, args, kwargs)
            call.keep = call.keep if mask is None else mask
        elif call.owner is module and callable(self._mask):
            call.keep = padding(torch.as_tensor(self._mask(args, kwargs)))

    def _enters(self, i: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """See what goes into a block: of the first one it is layer 0."""
        if _replayed():
            return
        if self._call is not None and self._call.owner is None and i in self._call.seen:
            self._ends()
        call = self._call or self._start(None)
        if call.wanted and not call.states:
            tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
            self._record(call, "input", i, tensors[0] if tensors else args, kwargs)

    def _leaves(self, i: int, args: Any, kwargs: Mapping[str, Any], out: Any) -> None:
        """See what a block returns."""
        call = self._call
        if _replayed() or call is None or not call.wanted:
            return
        call.seen[i] = times = call.seen.get(i, 0) + 1
        name = self.blocks[i] or type(self._modules[i]).__name__
        value = out if self._state is None else self._state(out)
        self._record(call, f"{name} #{times}" if times > 1 else name, i, value, kwargs)

    @torch.no_grad()
    def _record(self, call: _Call, name: str, i: int, value: Any, kwargs: Mapping[str, Any]) -> None:
        began = time.perf_counter()
        module, block = self._modules[i], self.blocks[i] or "the model"
        as_it_is = isinstance(value, torch.Tensor) and value.ndim == 3
        if name == "input" and self._state is not None and not as_it_is:
            value = self._state(value)
        x, nested = states_of(value, block, self._first[i], _is_fused(module))
        x = x.detach()
        if isinstance(self._mask, str):
            if nested is not None:
                call.keep = nested
            elif call.keep is None:
                call.keep = mask_among(module, (), kwargs)
        b, n, _ = x.shape
        keep = fitting(call.keep, b, n, block)
        values = measured(x, keep, [name for name in self._names if name in _HERE], self._sample)
        for other in (name for name in self._names if name not in _HERE):
            values[other] = _on_host(x, keep, values["largest_token"], other)
        everything = torch.ones(b, n, dtype=torch.bool, device=x.device)
        values["n_tokens"] = (everything if keep is None else keep).sum(dim=-1)
        call.states.append((name, values))
        self._about = {"dtype": str(x.dtype).removeprefix("torch."), "device": str(x.device)}
        call.seconds += time.perf_counter() - began

    def _ends(self, raised: bool = False) -> None:
        """Keep what a call left, if it came to its end."""
        call, self._call = self._call, None
        if raised or call is None or not call.states:
            return
        began = time.perf_counter()
        record = Record(
            call.step,
            [name for name, _ in call.states],
            [{key: value.cpu().numpy() for key, value in found.items()} for _, found in call.states],
        )
        self._records.append(record)
        ended = time.perf_counter()
        self.seconds += call.seconds + ended - began
        self.forward_seconds += began - call.began - call.seconds
        if self._log is not None:
            self._log(call.step, record.means(self._names))

    # --- what was seen -------------------------------------------------------------------

    def _something_seen(self) -> None:
        if self._records:
            return
        found, remedy = "no forward pass", "Call the model inside the with block."
        if self.calls:
            found = "no block running"
            remedy = "Name those that run with blocks=; code that torch.compile made before has no hooks."
        raise _validate.refusal(
            InvalidValueError, "watch", f"{found} of {type(self._model).__name__}", "at least one", remedy
        )

    def dataset(self) -> xarray.Dataset:
        """Return everything, with dims (tokens, layer, sequence).

        ``tokens`` is "all" (that count) or "without largest" (without the one of largest norm);
        layer 0 is what enters the first block; sequences of all measured calls follow each other, and
        ``step`` says of which call each is.  float64; names that begin with ``log`` are natural
        logarithms; NaN where there is no number.

        Raises
        ------
        InvalidValueError
            If nothing was seen.
        """
        self._something_seen()
        about = {
            "model": type(self._model).__name__,
            "torch": torch.__version__,
            "changed": self.changed,
            "measured_every": self._every,
            "sample": -1 if self._sample is None else self._sample,
            "seconds_measuring": self.seconds,
            "seconds_of_forward": self.forward_seconds,
        }
        return as_dataset(self._records, self._names, about | self._about)

    def plot(self, *metrics: str) -> Figure:
        """Draw metrics over layers: the mean over sequences, all of them as a band, and without the largest.

        Parameters
        ----------
        metrics : str
            Names of recorded ones; by default those of the table.

        Raises
        ------
        InvalidValueError
            If nothing was seen, or a metric was not recorded.
        """
        for name in metrics:
            _validate.choice(name, "metrics", self._names)
        return as_figure(self.dataset(), metrics)

    def __str__(self) -> str:
        """Return a table of layers, means over sequences."""
        return as_table(self.dataset()) if self._records else repr(self)

    def __repr__(self) -> str:
        """Say what is watched."""
        first, last = self.blocks[0] or "the model itself", self.blocks[-1]
        span = first if len(self.blocks) == 1 else f"{first} to {last}"
        return f"<Watch of {type(self._model).__name__}: {span}, {len(self._records)} calls measured>"


class _Call:
    """A forward pass under way."""

    def __init__(self, owner: nn.Module | None, step: int, wanted: bool, keep: Tensor | None) -> None:
        self.owner, self.step, self.wanted, self.keep = owner, step, wanted, keep
        self.states: list[tuple[str, dict[str, Tensor]]] = []
        self.seen: dict[int, int] = {}
        self.seconds, self.began = 0.0, time.perf_counter()


def _is_fused(module: nn.Module) -> bool:
    return isinstance(module, nn.TransformerEncoderLayer)


def _replayed() -> bool:
    """Whether this is the backward pass: gradient checkpointing runs blocks again there."""
    return int(torch._C._current_graph_task_id()) != -1


def _untraced(hook: Any) -> Any:
    """Keep the compiler out of a hook, if it is there at all: to load it takes seconds."""
    return torch.compiler.disable(hook) if "torch._dynamo" in sys.modules else hook


def _change(model: nn.Module, watched: list[nn.Module]) -> str:
    layers = [m for m in model.modules() if _is_fused(m)]
    off = sum(
        any(part is m for part in layer.modules() for m in watched if m is not layer) for layer in layers
    )
    if not off:
        return "nothing"
    return f"the fused path of {off} nn.TransformerEncoderLayer is off: modules inside are watched"


def _chosen(metrics: Any) -> tuple[str, ...]:
    if isinstance(metrics, str | None):
        metrics = [metrics]
    wanted: list[Any] = []
    for one in metrics if isinstance(metrics, Iterable) else [metrics]:
        wanted += MEANS if one == "means" else choose(one)
    names = choose(wanted)
    for name in needing("attention", names):
        raise _validate.refusal(
            InvalidValueError,
            "metrics",
            repr(name),
            "metrics of hidden states",
            "No hook sees attention maps.",
        )
    return names


def _checked_mask(mask: Any) -> Any:
    if mask is None or callable(mask) or (isinstance(mask, str) and mask == "auto"):
        return mask
    try:
        if isinstance(mask, str):
            raise TypeError
        keep = padding(torch.as_tensor(mask))
        if keep.ndim not in (1, 2):
            raise ValueError
        return keep
    except (TypeError, ValueError, RuntimeError):
        raise _validate.refusal(
            InvalidTypeError,
            "mask",
            repr(mask)[:60],
            "'auto', None, a function, or a tensor (batch, tokens) of booleans",
            "Pass mask='auto'.",
        ) from None


def _function(value: Any, argument: str) -> Any:
    if value is not None and not callable(value):
        raise _validate.refusal(
            InvalidTypeError, argument, type(value).__name__, "a function", "Leave it out, or pass one."
        )
    return value


def _on_host(x: Tensor, keep: Tensor | None, largest: Tensor, metric: str) -> Tensor:
    """Measure with the library's own metrics, (2, b); sequences without tokens or numbers are NaN."""
    b, n, _ = x.shape
    every = torch.ones(b, n, dtype=torch.bool, device=x.device) if keep is None else keep
    out = torch.full((2, b), float("nan"), dtype=torch.float64)
    for row, kept in enumerate((every, every.scatter(1, largest[:, None], False))):
        usable = torch.isfinite(x).all(dim=2).all(dim=1) & kept.any(dim=1)
        if bool(usable.any()):
            found = measure(x[usable], [metric], tokens=kept[usable])
            out[row, usable.cpu()] = torch.as_tensor(found[metric]).to("cpu", torch.float64)
    return out
