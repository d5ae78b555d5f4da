"""Token similarity escalation: which parts of a block drive it, and at which of three rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, tokens
from linsim.block import Block, Deescalation
from linsim.escalation import OddsFactor, interval, odds_growth
from linsim.rules import RandomWeights

from .style import COLOURS, figure, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["BLOCKS", "caption", "compute", "draw"]

TOKENS, FEATURES, REPLICAS, DEPTH = 32, 64, 24, 48
#: widths at which the three rates are measured, and draws of the factor Q at each
WIDTHS, DRAWS = (5, 6, 8, 12, 16, 24, 32, 48, 64, 96), 4000

_A = attention.uniform(TOKENS)
#: name: block, label, colour
BLOCKS: dict[str, tuple[Any, str, str]] = {
    "linear": (Block(_A, norm=None), "no norm", COLOURS["black"]),
    "post": (Block(_A, feed_forward="gelu"), "post-norm", COLOURS["vermilion"]),
    "pre": (Block(_A, norm="pre", feed_forward="gelu"), "pre-norm", COLOURS["blue"]),
    "deescalated": (
        Block(_A, feed_forward="gelu", deescalation=Deescalation("attention", tau=1.0)),
        "post-norm,\nde-escalated",
        COLOURS["green"],
    ),
}


def compute(*, seed: int = 0, progress: bool = True) -> xarray.Dataset:
    """Run every block from the same tokens, and draw the factor of the odds at every width."""
    import xarray as xr
    from tqdm.auto import tqdm

    x0 = np.broadcast_to(tokens.gaussian(TOKENS, FEATURES, rng=seed), (REPLICAS, TOKENS, FEATURES))
    odds = []
    steps = [*BLOCKS, *WIDTHS]
    with tqdm(steps, disable=not progress, desc="linsim figures escalation") as bar:
        for name in BLOCKS:
            run = simulate(BLOCKS[name][0], x0, DEPTH, metrics="log_hfc_lfc", rng=seed)
            odds.append(-2 * run.metrics["log_hfc_lfc"] / np.log(10))
            bar.update()
        means, errors, logs, log_errors = [], [], [], []
        for d in WIDTHS:
            layers = 40
            start = np.broadcast_to(tokens.gaussian(2, d, rng=seed), (DRAWS // layers, 2, d))
            rule = RandomWeights(attention.uniform(2))
            growth = odds_growth(simulate(rule, start, layers, metrics="log_hfc_lfc", rng=seed)).ravel()
            mean, typical = interval(-np.expm1(-growth)), interval(growth)
            means.append(mean.mean)
            errors.append(mean.high - mean.mean)
            logs.append(typical.mean)
            log_errors.append(typical.high - typical.mean)
            bar.update()
    return xr.Dataset(
        {
            "log_odds": (("block", "replica", "layer"), np.stack(odds), {"long_name": "log10 t/(1-t)"}),
            "mean_rate": ("d", np.asarray(means), {"long_name": "mean of 1 - 1/Q"}),
            "mean_rate_error": ("d", np.asarray(errors), {"long_name": "half of its 95 % interval"}),
            "typical": ("d", np.asarray(logs), {"long_name": "mean of ln Q"}),
            "typical_error": ("d", np.asarray(log_errors), {"long_name": "half of its 95 % interval"}),
        },
        coords={"block": list(BLOCKS), "layer": np.arange(DEPTH + 1), "d": list(WIDTHS)},
        attrs={"seed": seed, "draws": DRAWS, "source": "linsim figures escalation"},
    )


@styled
def draw(ds: xarray.Dataset) -> Figure:
    """Draw the odds over depth under the law of expectations, and the three rates over width."""
    fig, (top, bottom) = figure(4.6, nrows=2, height_ratios=[1.25, 1])
    layer = ds.layer.values
    start = float(ds.log_odds.sel(block="linear", layer=0).mean())
    doubling = start + layer * np.log10(2)
    top.plot(layer, doubling, color="white", dashes=(2, 3), linewidth=0.7, zorder=5)
    middle = int(0.56 * layer[-1])
    top.annotate(
        "dashes: doubling\neach layer",
        (layer[middle], doubling[middle]),
        (10, -16),
        textcoords="offset points",
        color="0.35",
    )
    shifts = {"post": 6, "linear": -6}
    for name, (_, label, colour) in BLOCKS.items():
        lines = ds.log_odds.sel(block=name).transpose("replica", "layer").values
        low, mid, high = np.quantile(lines, [0.05, 0.5, 0.95], axis=0)
        top.fill_between(layer, low, high, color=colour, alpha=0.25, linewidth=0)
        top.plot(layer, mid, color=colour)
        top.annotate(
            label,
            (layer[-1], mid[-1]),
            (4, shifts.get(name, 0)),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )
    top.axhline(0, color="0.8", linewidth=0.5, zorder=0)
    top.set(xlim=(0, layer[-1]), xlabel="layer", ylabel="log$_{10}$ odds of similarity")
    top.set_title("a", loc="left", fontweight="bold", pad=3)

    d = ds.d.values
    fine = np.unique(np.round(np.geomspace(d[0], d[-1], 60)).astype(int))
    laws = [OddsFactor(int(width)) for width in fine]
    bottom.axhline(0.5, color="0.55", dashes=(3, 2), linewidth=1.0)
    bottom.plot(fine, [-np.expm1(-law.log_mean) for law in laws], color=COLOURS["sky"])
    bottom.plot(fine, [law.expected_rate() for law in laws], color=COLOURS["purple"])
    typical = -np.expm1(-ds.typical)
    bars: Any = {"fmt": "o", "markersize": 2.6, "linewidth": 0.8}
    bottom.errorbar(d, typical, np.exp(-ds.typical) * ds.typical_error, color=COLOURS["sky"], **bars)
    bottom.errorbar(d, ds.mean_rate, ds.mean_rate_error, color=COLOURS["purple"], **bars)
    bottom.annotate(
        "ratio of expectations: 1/2",
        (d[-1], 0.5),
        (0, 3),
        textcoords="offset points",
        ha="right",
        color="0.35",
    )
    bottom.annotate("typical", (5.0, 0.468), color=COLOURS["blue"])
    bottom.annotate(
        "mean of the ratio",
        (16, OddsFactor(16).expected_rate()),
        (6, -8),
        textcoords="offset points",
        color=COLOURS["purple"],
    )
    bottom.set(
        xscale="log", xlabel="features $d$", ylabel="escalation rate $r$, $t \\to 1$", ylim=(0.2, 0.55)
    )
    ticks = [5, 8, 16, 32, 64, 96]
    bottom.set_xticks(ticks, [str(t) for t in ticks])
    bottom.minorticks_off()
    bottom.set_title("b", loc="left", fontweight="bold", pad=3)
    for ax in (top, bottom):
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    last = ds.log_odds.isel(layer=-1).median("replica")
    exact = np.array([OddsFactor(int(d)).expected_rate() for d in ds.d.values])
    typical = np.array([OddsFactor(int(d)).log_mean for d in ds.d.values])
    worst = float(np.max(np.abs(ds.mean_rate - exact) / ds.mean_rate_error) * 1.96)
    worst_typical = float(np.max(np.abs(ds.typical - typical) / ds.typical_error) * 1.96)
    similarity = {str(b): 1 / (1 + 10 ** -float(last.sel(block=b))) for b in ds.block.values}
    odds = {str(b): float(last.sel(block=b)) for b in ds.block.values}
    return (
        "Token similarity t under uniform attention with fresh Gaussian weights (s = 1). a, odds t/(1-t) "
        f"of {ds.sizes['replica']} replicas over {int(ds.layer[-1])} layers ({TOKENS} tokens, {FEATURES} "
        "features, GELU feed-forward where there is a norm): median and 5 to 95 %. White dashes: the odds of "
        f"expectations double. At the end t = {similarity['pre']:.3f} with pre-norm and "
        f"{similarity['deescalated']:.3f} with de-escalation (tau = 1 behind each attention); without "
        f"either the odds are 1e{odds['linear']:.0f} (no norm) and 1e{odds['post']:.0f} (post-norm). b, "
        "three numbers that are called the escalation rate, as t goes to 1: the mean of the ratio, "
        "1 - E[1/Q]; the typical rate, 1 - exp(-E ln Q); the ratio of expectations, 1/2. Lines: exact laws. "
        "Dots: "
        f"{ds.attrs['draws']} draws at each width, with 95 % intervals; the largest deviation is {worst:.1f} "
        f"standard errors of the mean ({worst_typical:.1f} of the typical rate)."
    )
