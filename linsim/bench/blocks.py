"""Transformer blocks beside a short NumPy script and PyTorch: what else one would write for them.

Two kinds of layers.  Clustering on a sphere: x + softmax(beta x x^T) x, every token back to length 1
(Geshkovski et al., arXiv 2312.10794), the mean cosine of pairs recorded at every layer.  A vision Transformer
of given weights: layer norm, attention of several heads and a feed-forward layer with GELU, in pre-norm
order, five plain metrics at every layer.  All compute in float64; all ways run in one process, in turn.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linsim import progress as progress_bar

from . import runner
from .report import duration

__all__ = ["WORKS", "Row", "Work", "as_json", "lines", "measure"]

HostArray = np.ndarray[Any, Any]
Values = dict[str, HostArray]

_BETA = 4.0
# what values of a way may be off by before it computes something else
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Work:
    """``systems`` systems of n tokens and d features through ``depth`` layers; 0 heads: on the sphere."""

    name: str
    n: int
    d: int
    systems: int
    depth: int
    heads: int = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is recorded at every layer."""
        return (
            ("token_similarity", "hfc_lfc", "cosine", "effective_rank", "log_norm")
            if self.heads
            else ("cosine",)
        )


#: --quick or not
WORKS: dict[bool, tuple[Work, ...]] = {
    False: (
        Work("sphere", 64, 4, 1, 200),
        Work("spheres", 64, 4, 256, 50),
        Work("vit", 197, 768, 1, 12, 12),
    ),
    True: (Work("sphere", 6, 3, 1, 4), Work("spheres", 6, 3, 3, 4), Work("vit", 6, 8, 1, 2, 2)),
}


@dataclass(frozen=True)
class Row:
    """Seconds of each way (median), by name, and by how much its values differ from linsim's."""

    work: Work
    seconds: dict[str, float]
    apart: dict[str, float]


def measure(
    *, repeats: int = 5, threads: int | None = None, quick: bool = False, progress: bool = True
) -> list[Row]:
    """Time each way in turn; arguments and errors as :func:`linsim.bench.runner.run`."""
    from threadpoolctl import threadpool_limits

    repeats, threads, _ = runner.choose_numbers(repeats, threads, 300.0)
    works, found = WORKS[quick], []
    with (
        threadpool_limits(threads),
        progress_bar.bar(total=len(works), shown=progress, desc="linsim bench", leave=False) as bar,
    ):
        for work in works:
            bar.set_postfix_str(work.name)
            ways = _ways(work, threads)
            values = {name: way() for name, way in ways.items()}
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(repeats):
                for name, way in ways.items():
                    start = time.perf_counter()
                    way()
                    taken[name].append(time.perf_counter() - start)
            apart = {name: _apart(values["linsim"], one) for name, one in values.items() if name != "linsim"}
            found.append(Row(work, {name: float(np.median(x)) for name, x in taken.items()}, apart))
            bar.update()
    return found


def _apart(ours: Values, others: Values) -> float:
    return max(
        float(np.nanmax(np.abs(others[name] - x) / np.maximum(np.abs(x), 1))) for name, x in ours.items()
    )


def _ways(work: Work, threads: int) -> dict[str, Callable[[], Values]]:
    """Each way to do the work, ready to run."""
    import linsim

    rng = np.random.default_rng(0)
    x0 = rng.standard_normal((work.systems, work.n, work.d))
    given: dict[str, Any] = {}
    if work.heads:
        d = work.d
        sizes = dict.fromkeys(("query", "key", "value", "output"), (d, d))
        sizes |= {"up": (d, 4 * d), "down": (4 * d, d)}
        given = {name: rng.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in sizes.items()}
        spec = linsim.attention.FromTokens()
        rule = linsim.Block(
            spec, heads=work.heads, norm="pre", norm_kind="layer", norm_eps=1e-6, feed_forward="gelu", **given
        )
    else:
        x0 /= np.linalg.norm(x0, axis=-1, keepdims=True)
        spec = linsim.attention.FromTokens(query_key=_BETA * np.eye(work.d), normalize=False)
        rule = linsim.Block(spec, weights=np.eye(work.d), norm="post", norm_kind="sphere", norm_eps=0.0)

    def linsim_way() -> Values:
        start = x0[0] if work.systems == 1 else x0
        run = linsim.simulate(rule, start, work.depth, metrics=work.metrics)
        return {name: np.reshape(x, (work.systems, -1)) for name, x in run.metrics.items()}

    ways: dict[str, Callable[[], Values]] = {"linsim": linsim_way}
    if not work.heads:
        ways["NumPy script"] = lambda: _sphere(x0, work.depth)
    if importlib.util.find_spec("torch") is not None:
        ways["PyTorch"] = lambda: _in_torch(x0, work, given, threads)
    return ways


def _sphere(x: HostArray, depth: int) -> Values:
    """Clustering on a sphere, as one writes it down."""
    n, out = x.shape[-2], []
    for _ in range(depth + 1):
        gram = x @ x.mT
        out.append((gram.sum(axis=(-1, -2)) - n) / (n * (n - 1)))
        attention = np.exp(_BETA * gram)
        x = x + attention @ x / attention.sum(axis=-1, keepdims=True)
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return {"cosine": np.stack(out, axis=-1)}


def _in_torch(x0: HostArray, work: Work, given: dict[str, HostArray], threads: int) -> Values:
    """The same layers and metrics in PyTorch."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    x = torch.from_numpy(x0)
    W = {name: torch.from_numpy(M) for name, M in given.items()}
    k, n, d = x.shape
    out: list[list[Any]] = []

    def cut(y: Any) -> Any:
        return y.reshape(k, n, work.heads, -1).transpose(1, 2)

    with torch.no_grad():
        for layer in range(work.depth + 1):
            unit = functional.normalize(x, dim=-1)
            cosine = ((unit.sum(-2) ** 2).sum(-1) - n) / (n * (n - 1))
            if work.heads:
                mean = x.mean(-2, keepdim=True)
                low, high = n**0.5 * mean.norm(dim=(-1, -2)), (x - mean).norm(dim=(-1, -2))
                s = torch.linalg.svdvals(x)
                share = s / s.sum(-1, keepdim=True)
                rank = torch.exp(torch.special.entr(share).sum(-1))
                whole = low**2 + high**2
                out.append([low**2 / whole, high / low, cosine, rank, 0.5 * torch.log(whole)])
            else:
                out.append([cosine])
            if layer == work.depth:
                break
            if work.heads:
                y = functional.layer_norm(x, (d,), eps=1e-6)
                mixed = functional.scaled_dot_product_attention(
                    *(cut(y @ W[name]) for name in ("query", "key", "value"))
                )
                x = x + mixed.transpose(1, 2).reshape(k, n, d) @ W["output"]
                x = x + functional.gelu(functional.layer_norm(x, (d,), eps=1e-6) @ W["up"]) @ W["down"]
            else:
                x = functional.normalize(x + torch.softmax(_BETA * (x @ x.mT), -1) @ x, dim=-1)
    names = work.metrics
    return {name: torch.stack([row[i] for row in out], -1).numpy() for i, name in enumerate(names)}


def lines(found: Sequence[Row]) -> Iterator[str]:
    """Yield a table in Markdown: seconds of linsim, and how many times longer others take."""
    names = list(dict.fromkeys(name for row in found for name in row.seconds if name != "linsim"))
    yield "| blocks | linsim |" + "".join(f" {name} |" for name in names) + " largest difference |"
    yield "|---|---|" + "---|" * (len(names) + 1)
    for row in found:
        w, ours = row.work, row.seconds["linsim"]
        heads = f", {w.heads} heads" if w.heads else ""
        what = f"{w.name}: {w.systems} of {w.n} × {w.d}{heads}, {w.depth} layers"
        others = (f"{row.seconds[name] / ours:.2f}" if name in row.seconds else "" for name in names)
        apart = max(row.apart.values(), default=0.0)
        note = f"{apart:.0e}" + ("" if apart <= _TOLERANCE else ", not the same calculation")
        yield f"| {what} | {duration(ours)} |" + "".join(f" {x} |" for x in others) + f" {note} |"


def as_json(found: Sequence[Row]) -> dict[str, Any]:
    """Return the times as plain data."""
    return {"blocks": [asdict(row) for row in found]}
