"""Token similarity escalation from one over n to 1: measured replicas beside the law of odds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate
from linsim import tokens as token_matrices
from linsim.rules import RandomWeights
from linsim.streams import philox

from .palette import colour, line
from .style import below, outlined, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"tokens": (8, 64), "features": 16, "replicas": 12, "depth": 12}

_READ = ("log_odds", "log_mean_odds", "log_mean_error", "law", "tokens", "layer", "features")
_DASHES = ("solid", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.4, 1, 1.4)))


def compute(
    *,
    seed: int = 0,
    tokens: Sequence[int] = (8, 48, 288),
    features: int = 64,
    replicas: int = 16,
    depth: int = 24,
) -> xarray.Dataset:
    """Run random tokens under uniform attention with fresh Gaussian weights, and average their odds.

    Parameters
    ----------
    tokens : sequence of at most 4 ints
        Numbers of tokens.
    features, replicas, depth : int
    """
    import xarray

    layers = np.arange(depth + 1)
    logs, means, errors, laws = [], [], [], []
    for k, n in enumerate(tokens):
        # replicas start from tokens whose odds are exactly those of the mean, 1 to n - 1
        x0 = token_matrices.gaussian(n, features, similarity=1 / n, size=replicas, rng=philox(seed, 2 * k))
        run = simulate(
            RandomWeights(attention.uniform(n)), x0, depth, metrics="log_hfc_lfc", rng=philox(seed, 2 * k + 1)
        )
        odds = -2 * run.metrics["log_hfc_lfc"]
        growth = np.exp(odds - odds[:, :1] - layers * np.log(2))
        logs.append(odds)
        means.append(np.log(growth.mean(axis=0)) + odds[:, 0].mean() + layers * np.log(2))
        errors.append(growth.std(axis=0, ddof=1) / np.sqrt(replicas) / growth.mean(axis=0))
        laws.append(-np.log(n - 1) + layers * np.log(2))
    shape = ("tokens", "layer")
    return xarray.Dataset(
        {
            "log_odds": (("tokens", "replica", "layer"), np.array(logs)),
            "log_mean_odds": (shape, np.array(means)),
            "log_mean_error": (shape, np.array(errors)),
            "law": (shape, np.array(laws)),
        },
        {"tokens": list(tokens), "layer": layers},
        {"seed": seed, "features": features, "quantities": "natural logarithms of t/(1 - t)"},
    )


def _deviation(ds: xarray.Dataset) -> float:
    """Largest difference of the mean odds from the law in the first half, in standard errors."""
    first = ds.isel(layer=slice(1, ds.sizes["layer"] // 2 + 1))
    return float((np.abs(np.expm1(first.log_mean_odds - first.law)) / first.log_mean_error).max())


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    if _deviation(ds) < 5:
        return "From 1/n to 1: the odds of token similarity double at every layer"
    return "Token similarity over depth under uniform attention, and the law of odds"


def _in_tens(logs: Any) -> Any:
    return logs / np.log(10)


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw similarity over depth, and the odds on a logarithmic scale, under the law."""
    fig, found = panels(axes, 2, title=message(ds), height=4.2)
    from scipy.special import expit

    top, bottom = found
    layer = ds.layer.values
    for n, dashes in zip(ds.tokens.values, _DASHES, strict=False):
        odds = ds.log_odds.sel(tokens=n).transpose("replica", "layer").values
        law = ds.law.sel(tokens=n).values
        low, mid, high = np.quantile(odds, [0.05, 0.5, 0.95], axis=0)
        for ax, shape in ((top, expit), (bottom, _in_tens)):
            ax.fill_between(layer, shape(low), shape(high), color=colour("tokens"), alpha=0.2, linewidth=0)
            ax.plot(layer, shape(mid), color=colour("tokens"), linestyle=dashes)
            ax.plot(layer, shape(law), **line("predicted", linewidth=0.7))
        # each name lower than the one before, so that they do not meet
        height = (0.85, 0.5, 0.15, 0.3)[_DASHES.index(dashes)]
        at = float(np.interp(np.log(height / (1 - height)), law, layer))
        outlined(top.text(at + 0.02 * layer[-1], height, f"$n={n}$", va="center", color=colour("tokens")))
        bottom.annotate(
            f"$n={n}$",
            (layer[-1], law[-1] / np.log(10)),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=colour("tokens"),
            annotation_clip=False,
        )
    top.set(xlim=(0, layer[-1]), ylim=(0, 1.02), ylabel="token similarity $t$")
    bottom.axhline(0, color="0.85", linewidth=0.5, zorder=0)
    bottom.set(xlim=(0, layer[-1]), ylabel="log$_{10}$ odds $t/(1-t)$")
    bottom.legend(
        [bottom.plot([], [], **line("predicted", linewidth=0.7))[0]],
        ["odds double at each layer"],
        loc="upper left",
    )
    below(found, "layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    ends = 1 / (1 + np.exp(-ds.log_odds.isel(layer=-1).median("replica")))
    said = ", ".join(f"{float(ends.sel(tokens=n)):.4f} for n = {n}" for n in ds.tokens.values)
    return (
        f"{message(ds)}. Uniform attention, fresh Gaussian weights with E W W^T = I at every layer, "
        f"{ds.attrs['features']} features, {ds.sizes['replica']} replicas from random tokens of similarity "
        "1/n (odds 1/(n - 1)). a, similarity t: median (thick) and 5 to 95 % (shaded). b, its odds "
        "t/(1 - t). Thin dashes: the law of odds, u_l = 2^l/(n - 1), exact for the mean of the odds. The "
        f"median after {int(ds.layer[-1])} layers is {said}. Over the first half of the layers the mean of "
        f"the odds is at most {_deviation(ds):.1f} standard errors from the law; the median falls behind it, "
        "as it must: E ln Q < ln E Q."
    )
