"""De-escalation (I - tau Pi) X: from which tau on token similarity no longer escalates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate
from linsim import tokens as token_matrices
from linsim.block import Block, Deescalation
from linsim.escalation import OddsFactor
from linsim.streams import philox

from .palette import colour, line
from .style import below, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"tau": (0.0, 0.2, 0.4, 0.8, 1.6, 1.9), "replicas": 8, "depth": 16}

_READ = ("growth", "growth_error", "law", "similarity", "tau", "typical", "layers", "tokens", "features")


def compute(
    *,
    seed: int = 0,
    tau: Sequence[float] = (*np.linspace(0, 0.96, 13).tolist(), *np.linspace(1.04, 2, 13).tolist()),
    tokens: int = 16,
    features: int = 32,
    replicas: int = 8,
    depth: int = 48,
) -> xarray.Dataset:
    """Run one block for each tau (not 1, where the odds are 0 after one layer) and measure how odds grow."""
    import xarray

    values = np.asarray(tau, dtype=float)
    x0 = token_matrices.gaussian(tokens, features, size=replicas, rng=philox(seed, 0))
    x0 = np.broadcast_to(x0, (len(values), *x0.shape))
    block = Block(
        attention.uniform(tokens), norm=None, deescalation=Deescalation("attention", tau=values[:, None])
    )
    names = ["log_hfc_lfc", "token_similarity"]
    run = simulate(block, x0, depth, metrics=names, rng=philox(seed, 1))
    odds = -2 * run.metrics["log_hfc_lfc"]
    # where tau is near 1 the mean soon is below what rounding leaves: up to there
    until = np.isfinite(odds).all(axis=1).cumprod(axis=-1).sum(axis=-1) - 1
    last = np.take_along_axis(odds, until[:, None, None], axis=-1)[..., 0]
    growth = (last - odds[..., 0]) / until[:, None]
    typical = OddsFactor(features).log_mean
    return xarray.Dataset(
        {
            "growth": ("tau", growth.mean(axis=1)),
            "growth_error": ("tau", growth.std(axis=1, ddof=1) / np.sqrt(replicas)),
            "law": ("tau", typical + 2 * np.log(np.abs(1 - values))),
            "until": ("tau", until, {"long_name": "layer up to which growth is measured"}),
            "similarity": (("tau", "replica"), run.metrics["token_similarity"][..., -1]),
        },
        {"tau": values},
        {
            "seed": seed,
            "typical": float(typical),
            "layers": depth,
            "tokens": tokens,
            "features": features,
        },
    )


def _threshold(ds: xarray.Dataset) -> float:
    return float(-np.expm1(-ds.attrs["typical"] / 2))


def _deviation(ds: xarray.Dataset) -> float:
    return float((np.abs(ds.growth - ds.law) / ds.growth_error).max())


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    if _deviation(ds) < 5:
        return f"De-escalation stops escalation from τ = {_threshold(ds):.2f} on, as its law says"
    return "How fast token similarity escalates, by the strength of de-escalation"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the growth of the odds per layer on its law, and the similarity in the end, over tau."""
    fig, found = panels(axes, 2, title=message(ds), height=4.0)
    top, bottom = found
    tau, hue, star = ds.tau.values, colour("de-escalated"), _threshold(ds)
    fine = np.linspace(tau[0], tau[-1], 801)
    with np.errstate(divide="ignore"):
        top.plot(fine, ds.attrs["typical"] + 2 * np.log(np.abs(1 - fine)), **line("predicted"))
    top.errorbar(tau, ds.growth, 2 * ds.growth_error, fmt="D", color=hue, linewidth=0.8)
    lowest = float(ds.growth.min())
    top.set(ylim=(lowest - 0.5, float(ds.growth.max()) + 0.5), ylabel="growth of ln odds per layer")
    top.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    bottom.plot(tau, ds.similarity.median("replica"), "D", color=hue)
    low, high = (ds.similarity.quantile(q, "replica") for q in (0.05, 0.95))
    bottom.vlines(tau, low, high, color=hue, linewidth=0.8)
    bottom.set(ylim=(-0.03, 1.03), ylabel=f"similarity $t$, layer {ds.attrs['layers']}")
    for ax in found:
        for x in (star, 2 - star):
            if tau[0] < x < tau[-1]:
                ax.axvline(x, **line("predicted", linewidth=0.7))
        ax.set_xlim(tau[0] - 0.04, tau[-1] + 0.04)
    if tau[0] < star < tau[-1]:
        note = f"$\\tau^*={star:.3f}$"
        top.annotate(note, (star, lowest), (3, 2), textcoords="offset points")
    below(found, "strength of de-escalation $\\tau$")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    star = _threshold(ds)
    return (
        f"{message(ds)}. X + A X W with uniform attention and fresh Gaussian weights, then (I - tau Pi) X "
        f"({ds.attrs['tokens']} tokens, {ds.attrs['features']} features, {ds.sizes['replica']} replicas). a, "
        f"mean growth of ln(t/(1 - t)) per layer, over {ds.attrs['layers']} layers or as long as the "
        "mean token is above rounding (two standard errors), on "
        "its exact law E ln Q + 2 ln|1 - tau| (dashed): largest deviation "
        f"{_deviation(ds):.1f} standard errors. b, similarity at layer {ds.attrs['layers']}, median and 5 to "
        f"95 %. Vertical lines: tau* = 1 - exp(-E ln Q/2) = {star:.4f} and 2 - tau*, between which tokens "
        "come apart; in the limit of many features tau* = 1 - 1/sqrt(2) = 0.2929. Taking away more than the "
        "mean (tau > 1) turns its sign, and from tau = 2 - tau* on similarity escalates again."
    )
