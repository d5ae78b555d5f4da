"""Three numbers called the escalation rate, near similarity 1, against the width: exact laws and draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, tokens
from linsim.escalation import OddsFactor, interval, odds_growth
from linsim.rules import RandomWeights

from .palette import colour
from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"widths": (6, 12, 24), "draws": 400}

_READ = (
    "mean_rate",
    "mean_rate_error",
    "typical",
    "typical_error",
    "mean_law",
    "typical_law",
    "d",
    "width",
    "draws",
)
#: how the law of a mean, and of a typical rate, is drawn
_MEAN: Any = {"linestyle": "solid"}
_TYPICAL: Any = {"linestyle": (0, (4, 1.6))}


def compute(
    *,
    seed: int = 0,
    widths: Sequence[int] = (5, 6, 8, 12, 16, 24, 32, 48, 64, 96),
    draws: int = 4000,
) -> xarray.Dataset:
    """Draw the factor Q of the odds at every width, by running layers; lay the exact laws beside it.

    Parameters
    ----------
    widths : sequence of ints >= 5
        Numbers of features d.
    draws : int
        Layers at each width.
    """
    import xarray

    layers = 40
    means, errors, logs, log_errors = [], [], [], []
    for d in widths:
        start = np.broadcast_to(tokens.gaussian(2, d, rng=seed), (max(draws // layers, 2), 2, d))
        rule = RandomWeights(attention.uniform(2))
        growth = odds_growth(simulate(rule, start, layers, metrics="log_hfc_lfc", rng=seed)).ravel()
        mean, typical = interval(-np.expm1(-growth)), interval(growth)
        means.append(mean.mean)
        errors.append(mean.high - mean.mean)
        logs.append(typical.mean)
        log_errors.append(typical.high - typical.mean)
    laws = [OddsFactor(int(d)) for d in widths]
    fine = np.unique(np.round(np.geomspace(widths[0], widths[-1], 40)).astype(int))
    curves = [OddsFactor(int(d)) for d in fine]
    return xarray.Dataset(
        {
            "mean_rate": ("d", np.asarray(means), {"long_name": "mean of 1 - 1/Q"}),
            "mean_rate_error": ("d", np.asarray(errors), {"long_name": "half of its 95 % interval"}),
            "typical": ("d", np.asarray(logs), {"long_name": "mean of ln Q"}),
            "typical_error": ("d", np.asarray(log_errors), {"long_name": "half of its 95 % interval"}),
            "mean_law": ("d", [law.expected_rate() for law in laws]),
            "typical_law": ("d", [law.log_mean for law in laws]),
            "mean_curve": ("width", [law.expected_rate() for law in curves]),
            "typical_curve": ("width", [law.log_mean for law in curves]),
        },
        coords={"d": list(widths), "width": fine},
        attrs={"seed": seed, "draws": growth.size},
    )


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    within = bool((np.abs(ds.mean_rate - ds.mean_law) < 2.55 * ds.mean_rate_error).all())
    if within and bool((ds.mean_law < 0.5).all()):
        return "The mean escalation rate is below 1/2 at every width, and reaches it in the limit"
    return "The escalation rate near similarity 1, by width"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw draws with their intervals on the exact laws, over the width."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=2.7)
    d, hue = ds.d.values, colour("tokens")
    ax.axhline(0.5, color="0.35", linestyle=(0, (1, 1.2)), linewidth=1.0)
    ax.plot(ds.width, -np.expm1(-ds.typical_curve), color=hue, **_TYPICAL)
    ax.plot(ds.width, ds.mean_curve, color=hue, **_MEAN)
    bars: Any = {"linewidth": 0.8, "color": hue, "linestyle": "none"}
    typical = -np.expm1(-ds.typical)
    ax.errorbar(d, typical, np.exp(-ds.typical) * ds.typical_error, marker="s", markerfacecolor="1", **bars)
    ax.errorbar(d, ds.mean_rate, ds.mean_rate_error, marker="o", **bars)
    offset: Any = {"textcoords": "offset points"}
    ax.annotate("ratio of expectations: 1/2", (d[-1], 0.5), (0, 3), ha="right", color="0.35", **offset)
    looks: tuple[Any, ...] = (
        {"marker": "s", "markerfacecolor": "1", **_TYPICAL},
        {"marker": "o", **_MEAN},
    )
    handles = [ax.plot([], [], color=hue, **look)[0] for look in looks]
    ax.legend(handles, ["typical rate", "mean of the ratio"], loc="lower right")
    low = float(ds.mean_law.min())
    ax.set(
        xscale="log",
        xlabel="features $d$",
        ylabel="escalation rate $r$ as $t\\to 1$",
        ylim=(low - 0.06, 0.55),
    )
    ticks = [int(t) for t in (5, 8, 16, 32, 64, 96, 192, 384, 768) if d[0] <= t <= d[-1]] or [int(d[0])]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    worst = float((np.abs(ds.mean_rate - ds.mean_law) / ds.mean_rate_error).max() * 1.96)
    worst_typical = float((np.abs(ds.typical - ds.typical_law) / ds.typical_error).max() * 1.96)
    last = ds.isel(d=-1)
    return (
        f"{message(ds)}. Uniform attention, fresh Gaussian weights (s = 1), token similarity t near "
        "1: a layer "
        "multiplies the odds of t by Q. Three numbers that are called the escalation rate: the mean of the "
        "ratio, 1 - E[1/Q] (solid, circles); the typical rate, 1 - exp(-E ln Q) (dashed, squares); the ratio "
        f"of expectations, 1 - 1/E[Q] = 1/2 (dotted). Lines: exact laws. Marks: {ds.attrs['draws']} "
        "simulated "
        f"layers at each width, 95 % intervals; the largest deviation is {worst:.1f} standard errors of the "
        f"mean ({worst_typical:.1f} of the typical rate). At d = {int(last.d)} the mean is exactly "
        f"{float(last.mean_law):.4f}; in general 1/2 - 3/(4 d) up to terms of order 1/d^2."
    )
