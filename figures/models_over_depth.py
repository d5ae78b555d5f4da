"""HFC/LFC, cosine and effective rank over depth: smoothing, sharpening, mixed and trained stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, models, simulate, weights
from linsim import tokens as token_matrices
from linsim.rules import Layered, Linear
from linsim.streams import philox

from .palette import colour
from .style import below, panels, reads, styled
from .weight_spectra import MODEL

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "SENTENCE", "caption", "compute", "draw", "message"]

SENTENCE = (
    "In a very deep network every word of this sentence would end up looking the same, unless the "
    "spectrum of "
    "the weights forbids it."
)

QUICK = {"tokens": 8, "features": 6, "depth": 12}

_READ = ("log_hfc_lfc", "cosine", "effective_rank", "trained_log_hfc_lfc", "stack", "layer", "model")
_STACKS: dict[str, tuple[str, Any, str]] = {
    "smoothing": (colour("smoothing"), "solid", "o"),
    "mixed": ("0.35", (0, (5, 1.4, 1, 1.4)), "^"),
    "sharpening": (colour("sharpening"), (0, (4, 1.6)), "s"),
}
_METRICS = {
    "log_hfc_lfc": "log$_{10}$ HFC/LFC",
    "cosine": "mean cosine",
    "effective_rank": "effective rank",
}


def compute(
    *,
    seed: int = 0,
    model: str = MODEL,
    text: str = SENTENCE,
    tokens: int = 24,
    features: int = 24,
    depth: int = 24,
) -> xarray.Dataset:
    """Run stacks with reparameterized weights of each kind, another in each layer, and a trained model.

    Parameters
    ----------
    model : str
        As for :func:`linsim.models.load`; one that reads text.

    Raises
    ------
    MissingExtraError, FileFormatError
        If the model, or what reads it, is not installed.
    """
    import xarray

    run = models.load(model).run(text=text)
    rng = philox(seed, 0)
    x0 = token_matrices.gaussian(tokens, features, rng=rng)
    data: dict[str, Any] = {name: [] for name in _METRICS}
    for stack in _STACKS:
        layers = []
        for k in range(depth):
            kind = {"smoothing": "smooth", "sharpening": "sharpen"}.get(stack, ("smooth", "sharpen")[k % 2])
            psi = rng.uniform(-1, 1, features)
            H = weights.reparameterize(psi, weights.orthogonal(features, rng=rng), filter=kind)
            layers.append(Linear(attention.softmax(tokens, 8, rng=rng), H))
        found = simulate(Layered(layers), x0, depth, metrics=list(_METRICS))
        for name in _METRICS:
            data[name].append(found.metrics[name])
    curves = run.curves.all
    return xarray.Dataset(
        {name: (("stack", "layer"), np.array(values)) for name, values in data.items()}
        | {f"trained_{name}": ("trained_layer", np.asarray(curves[name])) for name in _METRICS},
        {
            "stack": list(_STACKS),
            "layer": np.arange(depth + 1),
            "trained_layer": np.arange(len(run.layers) + 1),
        },
        {
            "seed": seed,
            "model": model.partition(":")[0],
            "tokens": tokens,
            "features": features,
            "words": len(run.tokens),
        },
    )


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    change = ds.log_hfc_lfc.isel(layer=-1) - ds.log_hfc_lfc.isel(layer=0)
    if float(change.sel(stack="smoothing")) < -2 and float(change.sel(stack="sharpening")) > 0:
        return "The sign of the weights' spectrum decides whether a stack of layers smooths"
    return "HFC/LFC, cosine and effective rank over depth"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw each measure over depth, one line a stack; the trained model's layers are fewer."""
    fig, found = panels(axes, 3, title=message(ds), height=5.4)
    for ax, (name, label) in zip(found, _METRICS.items(), strict=True):
        factor = 1 / np.log(10) if name.startswith("log_") else 1.0
        for stack, (hue, dashes, marker) in _STACKS.items():
            values = ds[name].sel(stack=stack).values * factor
            every = max(len(values) // 6, 1)
            ax.plot(
                ds.layer, values, color=hue, linestyle=dashes, marker=marker, markevery=every, label=stack
            )
        trained = ds[f"trained_{name}"].values * factor
        ax.plot(ds.trained_layer, trained, "D-", color="0", linewidth=0.8, markersize=2.5, label="trained")
        ax.set(xlim=(0, ds.layer.values[-1]), ylabel=label)
    # beside the curves, where the first panel has room
    found[0].legend(loc="lower left")
    below(found, "layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    first, last = (ds.log_hfc_lfc.isel(layer=k) / np.log(10) for k in (0, -1))
    said = ", ".join(
        f"{stack} from {10 ** float(first.sel(stack=stack)):.2g} to {10 ** float(last.sel(stack=stack)):.2g}"
        for stack in _STACKS
    )
    trained = np.exp(ds.trained_log_hfc_lfc.values)
    return (
        f"{message(ds)}. Stacks of {int(ds.layer[-1])} layers X <- X + A X H with other random "
        "attention and other "
        f"weights in each layer ({ds.attrs['tokens']} tokens, {ds.attrs['features']} features): "
        "spectra clipped to "
        "[0, 1] (smoothing, circles), to [-1, 0] (sharpening, squares), or in turns (mixed, triangles); and "
        f"{ds.attrs['model']} on a sentence of {ds.attrs['words']} tokens (diamonds, "
        f"{ds.sizes['trained_layer'] - 1} "
        f"layers, with its norms, biases and feed-forward). HFC/LFC goes {said}; in the trained model from "
        f"{trained[0]:.2f} to {trained[-1]:.2f}."
    )
