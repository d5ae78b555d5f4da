"""A trained model's three columns: what attention did, what one exact step says, and the law of "
"repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import models

from .models_over_depth import SENTENCE
from .palette import colour, line
from .style import below, panels, reads, styled
from .weight_spectra import MODEL

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"text": "One two three."}

_READ = ("measured", "step", "law", "hfc_lfc", "layer", "model", "words")


def compute(*, model: str = MODEL, text: str = SENTENCE, seed: int = 0) -> xarray.Dataset:
    """Run the model on a sentence (no random numbers; ``seed`` is not used).

    Raises
    ------
    MissingExtraError, FileFormatError
        If the model, or what reads it, is not installed.
    """
    import xarray

    run = models.load(model).run(text=text)
    columns = {name: [getattr(one, name) for one in run.layers] for name in ("measured", "step", "law")}
    return xarray.Dataset(
        {name: ("layer", np.array(values)) for name, values in columns.items()}
        | {"hfc_lfc": ("state", np.asarray(run.curves.all["hfc_lfc"]))},
        {"layer": np.arange(len(run.layers)), "state": np.arange(len(run.layers) + 1)},
        {"model": model.partition(":")[0], "words": len(run.tokens), "seed": seed},
    )


def _signs(ds: xarray.Dataset) -> dict[str, int]:
    return {name: int((np.sign(ds[name]) == np.sign(ds.measured)).sum()) for name in ("step", "law")}


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    step, law = (float(np.abs(ds[name] - ds.measured).max()) for name in ("step", "law"))
    if _signs(ds)["law"] == ds.sizes["layer"] and law > 0.05 and step < 0.01:
        return "In a trained model the law has the right sign and the wrong size; one exact step has both"
    return "What attention does in a trained model: measured, one exact step, and the law"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw HFC/LFC through the model, and three columns of what attention does to it."""
    fig, found = panels(axes, 2, title=message(ds), height=4.1)
    top, bottom = found
    top.plot(ds.state, ds.hfc_lfc, marker="o", **line("tokens"))
    top.set(ylim=(0, 1.08 * float(ds.hfc_lfc.max())), ylabel="HFC/LFC")
    bottom.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    bottom.plot(ds.layer + 0.5, ds.law, marker="x", label="law of many equal layers", **line("predicted"))
    bottom.plot(ds.layer + 0.5, ds.measured, marker="o", label="measured", **line("tokens"))
    bottom.plot(
        ds.layer + 0.5, ds.step, "s", color="0", markersize=5, markerfacecolor="none", label="one exact step"
    )
    low, high = (float(f(*(f(ds[name]) for name in ("measured", "step", "law")))) for f in (min, max))
    bottom.set(ylim=(low - 0.45 * (high - low), max(high, 0) + 0.08 * (high - low)))
    bottom.set_ylabel("change across attention\nof ln(HFC/LFC)")
    bottom.legend(loc="lower left")
    for ax in found:
        ax.set_xlim(0, ds.sizes["layer"])
    top.annotate(
        "tokens that enter each layer",
        (0.98, 0.9),
        xycoords="axes fraction",
        ha="right",
        color=colour("tokens"),
    )
    below(found, "layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    signs, n = _signs(ds), ds.sizes["layer"]
    step, law = (float(np.abs(ds[name] - ds.measured).max()) for name in ("step", "law"))
    return (
        f"{message(ds)}. {ds.attrs['model']} on a sentence of {ds.attrs['words']} tokens. a, HFC/LFC of the "
        f"tokens between layers: from {float(ds.hfc_lfc[0]):.2f} to {float(ds.hfc_lfc[-1]):.2f}. b, "
        "change of "
        "ln(HFC/LFC) across the attention sublayer: measured (circles); one exact step of the linear "
        "layer with "
        "the model's own attention maps, heads apart, biases and each token's sigma (squares); and "
        "the law of "
        f"many equal layers (crosses). The step has the measured sign in {signs['step']} of {n} "
        "layers and is off "
        f"by {'rounding' if step < 1e-9 else f'{step:.1e}'} at most, the law in {signs['law']} of {n} "
        f"and by {law:.2f}."
    )
