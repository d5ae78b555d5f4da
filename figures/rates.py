"""Measured slopes against predicted rates, in random systems, far below rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, weights
from linsim import tokens as token_matrices
from linsim.rules import Linear
from linsim.streams import philox
from linsim.theory import predict

from .palette import ROLES, colour, line
from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"systems": 12, "depth": 1024}

_READ = ("measured", "predicted", "gap", "regime", "measure", "tokens", "features", "layers")
_LINES = {
    "token_diversity": ("token diversity", "tokens"),
    "cosine_gap": ("1 $-$ |cosine|", "angles"),
    "rank_gap": ("$\\sigma_2/\\sigma_1$", "rank"),
}


def compute(
    *, seed: int = 0, systems: int = 120, tokens: int = 12, features: int = 6, depth: int = 2048
) -> xarray.Dataset:
    """Draw systems with real spectra of either sign, and measure slopes over the second half of the "
    "layers."""
    import xarray

    rng = philox(seed, 0)
    A = attention.softmax(tokens, 6, symmetric=True, size=systems, rng=rng)
    scale = np.where(rng.random(systems) < 0.5, 1.0, -1.0) * rng.uniform(0.3, 1.5, systems)
    mu = scale[:, None] * np.sort(rng.uniform(0.1, 1.0, (systems, features)), axis=1)
    H = weights.from_spectrum(mu, rng=rng)
    x0 = token_matrices.gaussian(tokens, features, size=systems, rng=rng)
    rule = Linear(A, H)
    law = predict(rule)
    half = depth // 2
    names = ["log_token_diversity", "log_abs_cosine_gap", "log_rank_gap"]
    run = simulate(rule, x0, depth, layers=[half, depth], metrics=names)
    ends = np.array([run.metrics[name] for name in names])
    return xarray.Dataset(
        {
            "measured": (("measure", "system"), (ends[..., 1] - ends[..., 0]) / (depth - half)),
            "predicted": (("measure", "system"), np.log([law.rates[gap] for gap in _LINES])),
            "gap": (("measure", "system"), ends[..., 1]),
            "regime": ("system", law.regime.astype("U10")),
        },
        {"measure": list(_LINES)},
        {
            "seed": seed,
            "tokens": tokens,
            "features": features,
            "layers": [half, depth],
            "quantities": "natural logarithms, per layer",
        },
    )


def _closing(ds: xarray.Dataset) -> Any:
    """Gaps that are predicted to close, by more than rounding over these layers."""
    return ds.predicted * (ds.attrs["layers"][1] - ds.attrs["layers"][0]) < -20


def _difference(ds: xarray.Dataset) -> Any:
    """Relative difference of exponents."""
    return np.abs(ds.measured / ds.predicted - 1).where(_closing(ds))


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    if bool((_difference(ds).median("system") < 0.01).all()):
        lowest = float(ds.gap.min()) / np.log(10)
        return f"Measured slopes are the predicted rates, with gaps down to 1e{lowest:.0f}"
    return "Measured slopes against predicted rates"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw measured against predicted exponents, and their difference over the depth of the gap."""
    fig, found = panels(axes, 2, title=message(ds), height=5.0, ratios=[1.35, 1])
    top, bottom = found
    difference, closing = _difference(ds), _closing(ds)
    low = float(ds.predicted.where(closing).min())
    top.plot([low, 0], [low, 0], **line("predicted", linewidth=0.8))
    for gap, (label, role) in _LINES.items():
        look: Any = {
            "marker": ROLES[role].marker,
            "linestyle": "none",
            "color": colour(role),
            "markerfacecolor": "none",
            "markeredgewidth": 0.7,
        }
        shown = closing.sel(measure=gap)
        top.plot(
            ds.predicted.sel(measure=gap)[shown], ds.measured.sel(measure=gap)[shown], label=label, **look
        )
        bottom.plot(
            -ds.gap.sel(measure=gap)[shown] / np.log(10),
            np.maximum(difference.sel(measure=gap)[shown], 1e-16),
            **look,
        )
    top.set(xlabel="predicted ln(rate) per layer", ylabel="measured slope per layer")
    top.legend(loc="upper left", handlelength=1)
    bottom.set(
        xscale="log",
        yscale="log",
        xlabel=f"$-$log$_{{10}}$ of gap at layer {ds.attrs['layers'][1]}",
        ylabel="relative difference",
    )
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    difference = _difference(ds)
    counts = {name: int((ds.regime == name).sum()) for name in ("smoothing", "sharpening")}
    worst = ", ".join(
        f"{float(difference.sel(measure=gap).median()):.1e} ({label.replace('$', '').replace(chr(92), '')})"
        for gap, (label, _) in _LINES.items()
    )
    first, last = ds.attrs["layers"]
    return (
        f"{message(ds)}. {ds.sizes['system']} random systems X <- X + A X H ({counts['smoothing']} "
        "smoothing, "
        f"{counts['sharpening']} sharpening; {ds.attrs['tokens']} tokens, {ds.attrs['features']} features, A "
        "softmax with K = Q, symmetric H). a, slope of ln(gap) between layers "
        f"{first} and {last} against the rate predicted from spectra alone (dashed: equal). Only gaps "
        "that are "
        f"predicted to close are shown, {int(_closing(ds).sum())} of {ds.predicted.size}. b, relative "
        f"difference of the two against the depth of the gap. Medians: {worst}. What is left is the "
        "next mode, "
        "which dies with depth where it is well apart, and lasts where two modes nearly tie."
    )
