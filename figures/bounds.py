"""Proven bounds at finite depth around measured trajectories: tokens, angles and rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, weights
from linsim import tokens as token_matrices
from linsim.rules import Linear
from linsim.streams import philox
from linsim.theory import predict

from .palette import colour, line
from .style import below, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"depth": 30}

_READ = ("measured", "upper", "lower", "system", "measure", "layer", "tokens", "features")
#: gap: label and meaning of its colour
_LINES = {
    "token_diversity": ("token diversity", "tokens"),
    "cosine_gap": ("1 $-$ |cosine|", "angles"),
    "rank_gap": ("$\\sigma_2/\\sigma_1$", "rank"),
}
_TITLES = {
    "symmetric": "symmetric $A$ and $H$",
    "general": "softmax $A$, oblique $H$",
}


def compute(*, seed: int = 0, tokens: int = 10, features: int = 5, depth: int = 60) -> xarray.Dataset:
    """Run two smoothing systems, one symmetric, one general, and bound every gap at every layer."""
    import xarray

    rng = philox(seed, 0)
    spectrum = [1, *np.linspace(-0.2, 0.5, tokens - 1)]
    mu = np.linspace(0.15, 0.6, features)
    rules = {
        "symmetric": Linear(attention.from_spectrum(spectrum, rng=rng), weights.from_spectrum(mu, rng=rng)),
        "general": Linear(
            attention.softmax(tokens, 4, rng=rng),
            weights.from_spectrum(mu, basis="random", condition=10.0, rng=rng),
        ),
    }
    layers = np.unique(np.concatenate([np.arange(min(20, depth)), np.linspace(0, depth, 61).astype(int)]))
    measured, upper, lower = [], [], []
    for rule in rules.values():
        x0 = token_matrices.gaussian(tokens, features, rng=rng)
        law = predict(rule, x0=x0)
        metrics = {"token_diversity": "log_token_diversity", "rank_gap": "log_rank_gap"}
        metrics["cosine_gap"] = "log_cosine_gap" if law.regime == "smoothing" else "log_abs_cosine_gap"
        run = simulate(rule, x0, depth, layers=layers, metrics=[*metrics.values()])
        measured.append([run.metrics[metrics[gap]] for gap in _LINES])
        upper.append([law.log_bound(gap, layers) for gap in _LINES])
        lower.append(law.log_lower_bound("token_diversity", layers))
    shape = ("system", "measure", "layer")
    return xarray.Dataset(
        {
            "measured": (shape, np.array(measured)),
            "upper": (shape, np.array(upper)),
            "lower": (("system", "layer"), np.array(lower)),
        },
        {"system": list(rules), "measure": list(_LINES), "layer": layers},
        {"seed": seed, "tokens": tokens, "features": features},
    )


def _excess(ds: xarray.Dataset) -> float:
    """How far a measured gap is above its bound at most, natural logarithm (negative: nowhere)."""
    return float((ds.measured - ds.upper).max())


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    if _excess(ds) < 1e-9:
        return "Proven bounds hold at every depth, and have the right slope"
    return "Gaps over depth, and their bounds"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw measured gaps as lines and bounds as the edges of shaded regions."""
    fig, found = panels(axes, ds.sizes["system"], title=message(ds), height=4.8)
    layer, ten = ds.layer.values, 1 / np.log(10)
    for ax, system in zip(found, ds.system.values, strict=True):
        chosen = ds.sel(system=system)
        lowest = float(chosen.measured.min()) * ten
        heights: list[float] = []
        for gap in sorted(_LINES, key=lambda g: float(chosen.measured.sel(measure=g)[-1])):
            label, role = _LINES[gap]
            values, bound = (chosen[k].sel(measure=gap).values * ten for k in ("measured", "upper"))
            ax.plot(layer, bound, **line(role, linewidth=0.5))
            ax.fill_between(layer, bound, values, color=colour(role), alpha=0.2, linewidth=0)
            ax.plot(layer, values, **line(role))
            heights.append(max([values[-1], *(h - 0.09 * lowest for h in heights)]))
            ax.annotate(
                label,
                (layer[-1], heights[-1]),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=colour(role),
                annotation_clip=False,
            )
        if float((chosen.measured.sel(measure="token_diversity") - chosen.lower).max()) > 1e-6:
            ax.plot(layer, chosen.lower * ten, **line("tokens", linewidth=0.5))
        ax.set(
            xlim=(0, layer[-1]), ylim=(1.05 * lowest, max(2.0, -0.02 * lowest)), ylabel="log$_{10}$ of gap"
        )
        ax.set_title(_TITLES.get(str(system), str(system)), loc="right")
    below(found, "layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    slack = (ds.upper - ds.measured).isel(layer=-1) / np.log(10)
    said = "; ".join(
        f"{system}: " + ", ".join(f"{float(slack.sel(system=system, measure=gap)):.2g}" for gap in _LINES)
        for system in ds.system.values
    )
    excess = _excess(ds)
    held = "never above it" if excess <= 0 else f"above it by {excess:.1e} of the logarithm at most, rounding"
    return (
        f"{message(ds)}. Gaps of token diversity (solid), 1 - |cosine| (dashed) and sigma_2/sigma_1 "
        f"(dash-dotted) of single systems X <- X + A X H ({ds.attrs['tokens']} tokens, "
        f"{ds.attrs['features']} features), and the proven upper bound of each for this very X_0 (thin line; "
        f"shaded: the slack). Measured gaps are {held}. At layer {int(ds.layer[-1])} bounds are above "
        "the gaps "
        f"by these many powers of ten (diversity, angle, rank) {said}. For symmetric A and H the bound of "
        "diversity is an identity."
    )
