"""How long the same numbers take: linsim beside a plain loop and a batched one in NumPy, on this machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, weights
from linsim import tokens as token_matrices
from linsim.rules import Linear
from linsim.streams import philox

from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"systems": (4, 16), "repeats": 1}

_READ = ("seconds", "difference", "peer", "systems", "tokens", "features", "depth", "machine")
_LOOKS = {
    "linsim": ("linsim", "o", "solid", "0"),
    "batched": ("NumPy, batched", "s", (0, (4, 1.6)), "0.35"),
    "loop": ("NumPy, one by one", "^", (0, (1, 1.2)), "0.6"),
}


def compute(
    *,
    seed: int = 0,
    systems: Sequence[int] = (16, 64, 256),
    tokens: int = 16,
    features: int = 16,
    depth: int = 32,
    repeats: int = 2,
) -> xarray.Dataset:
    """Time three metrics at every layer of batches of systems, the least of a few runs."""
    import xarray

    seconds, difference = np.empty((2, len(_LOOKS), len(systems)))
    for j, count in enumerate(systems):
        rng = philox(seed, j)
        A = attention.softmax(tokens, 8, size=count, rng=rng)
        H = weights.gaussian(features, std=0.3 / np.sqrt(features), size=count, rng=rng)
        x0 = token_matrices.gaussian(tokens, features, size=count, rng=rng)
        reference = None
        for k, run in enumerate((_linsim, _batched, _loop)):
            taken = []
            for _ in range(repeats + (k == 0)):  # the first of linsim's compiles
                start = time.perf_counter()
                values = run(A, H, x0, depth)
                taken.append(time.perf_counter() - start)
            reference = values if reference is None else reference
            seconds[k, j] = min(taken)
            difference[k, j] = np.abs(values - reference).max()
    return xarray.Dataset(
        {
            "seconds": (("peer", "systems"), seconds),
            "difference": (("peer", "systems"), difference),
        },
        {"peer": list(_LOOKS), "systems": list(systems)},
        {
            "seed": seed,
            "tokens": tokens,
            "features": features,
            "depth": depth,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}",
        },
    )


def _linsim(A: Any, H: Any, x0: Any, depth: int) -> Any:
    names = ["token_similarity", "cosine", "effective_rank"]
    run = simulate(Linear(A, H), x0, depth, metrics=names)
    return np.stack([run.metrics[name] for name in names])


def _batched(A: Any, H: Any, x0: Any, depth: int) -> Any:
    out, X = [], x0
    pairs = np.triu_indices(x0.shape[-2], 1)
    for layer in range(depth + 1):
        if layer:
            X = X + A @ X @ H
            X = X / np.linalg.norm(X, axis=(-2, -1), keepdims=True)
        units = X / np.linalg.norm(X, axis=-1, keepdims=True)
        cosine = (units @ np.swapaxes(units, -1, -2))[..., pairs[0], pairs[1]].mean(axis=-1)
        share = np.linalg.svd(X, compute_uv=False)
        share = share / share.sum(axis=-1, keepdims=True)
        entropy = -np.sum(share * np.log(np.maximum(share, 1e-300)), axis=-1)
        similar = X.shape[-2] * np.sum(X.mean(axis=-2) ** 2, axis=-1) / np.sum(X**2, axis=(-2, -1))
        out.append([similar, cosine, np.exp(entropy)])
    return np.moveaxis(np.array(out), 0, -1)


def _loop(A: Any, H: Any, x0: Any, depth: int) -> Any:
    one: Callable[[int], Any] = lambda k: _batched(A[k : k + 1], H[k : k + 1], x0[k : k + 1], depth)  # noqa: E731
    return np.concatenate([one(k) for k in range(len(A))], axis=1)


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    times = ds.seconds.isel(systems=-1)
    ratio = float(times.sel(peer="batched") / times.sel(peer="linsim"))
    if ratio > 1.5:
        return f"Compiled layers take {ratio:.0f} times less time than batched NumPy, with more digits"
    return "Time for the same metrics in linsim and in NumPy"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw time per system against the number of systems."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=2.6)
    per = ds.seconds / ds.systems * 1e6
    for peer, (label, marker, dashes, grey) in _LOOKS.items():
        ax.plot(ds.systems, per.sel(peer=peer), marker=marker, linestyle=dashes, color=grey, label=label)
    ax.set(xscale="log", yscale="log", xlabel="systems", ylabel="time per system (µs)")
    ax.set_xticks(ds.systems.values, [str(k) for k in ds.systems.values])
    steps = [m * 10.0**k for k in range(-1, 7) for m in (1, 2, 5)]
    ticks = [t for t in steps if float(per.min()) * 0.8 < t < float(per.max()) * 1.2]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    last = ds.seconds.isel(systems=-1)
    said = ", ".join(f"{float(last.sel(peer=peer)):.3g} s ({look[0]})" for peer, look in _LOOKS.items())
    return (
        f"{message(ds)}. Token similarity, cosine and effective rank at each of {ds.attrs['depth']} "
        "layers of "
        f"X <- X + A X H ({ds.attrs['tokens']} tokens, {ds.attrs['features']} features), the least of a few "
        f"runs, measured on {ds.attrs['machine']}. {int(ds.systems[-1]):,} systems take {said}. The numbers "
        f"agree to {float(ds.difference.max()):.0e}; linsim also estimates the error of each. Other "
        "workloads "
        "and peers: linsim bench."
    )
