"""Tokens, angles and rank over depth: the same spectra with weights of three signs and sizes.

Measured in random systems down to 1e-300 and below; the dashed slopes are
predicted from spectra alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, sweep, tokens, weights
from linsim.rules import Linear
from linsim.theory import boundary

from .palette import ROLES, colour, line
from .style import below, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "factors", "message", "systems"]

TOKENS, FEATURES = 16, 8
LAMBDA_MIN = -0.4

QUICK = {"depth": 400, "step": 50, "shallow": 8, "draws": 2}

#: what is drawn, and its label
_LINES = {"tokens": "(HFC/LFC)$^2$", "rank": "eff. rank $-$ 1", "angles": "1 $-$ |cosine|"}

_READ = (
    "log_hfc_lfc",
    "log_effective_rank_gap",
    "log_abs_cosine_gap",
    "predicted_margin",
    "predicted_regime",
    "predicted_rank_gap_rate",
    "predicted_cosine_gap_rate",
    "scale",
    "shallow",
)


def systems(point: dict[str, Any], rng: Any) -> tuple[Linear, Any]:
    """Draw one system per point: fixed spectra, weights times ``scale``, random bases and tokens.

    Parameters
    ----------
    point : dict of (k,) arrays
        ``scale`` of the weight eigenvalues 1, 0.6, and six from 0.5 to 0.1.
        The attention eigenvalues are 1, -0.4, and 14 from 0 to 0.5.
    rng : numpy.random.Generator

    Returns
    -------
    (Linear, array)
        16 tokens, 8 features, leading axis k.

    Examples
    --------
    >>> rule, x0 = systems({"scale": np.array([-1.0])}, 0)
    >>> x0.shape
    (1, 16, 8)
    """
    scale = np.asarray(point["scale"])[:, None]
    lam = np.concatenate([[1, LAMBDA_MIN], np.linspace(0, 0.5, TOKENS - 2)])
    mu = np.concatenate([[1, 0.6], np.linspace(0.5, 0.1, FEATURES - 2)])
    rng = np.random.default_rng(rng)
    A = attention.from_spectrum(np.broadcast_to(lam, (len(scale), TOKENS)), rng=rng)
    H = weights.from_spectrum(scale * mu, rng=rng)
    return Linear(A, H), tokens.gaussian(TOKENS, FEATURES, size=len(scale), rng=rng)


def compute(
    *,
    seed: int = 0,
    scale: Sequence[float] = (1.0, -1.0, -4.0),
    depth: int = 800,
    step: int = 20,
    shallow: int = 32,
    draws: int = 8,
    progress: bool = False,
) -> xarray.Dataset:
    """Follow every draw of the three systems through depth.

    Parameters
    ----------
    scale : sequence of 3 floats
        The weights are this times a matrix with eigenvalues between 0.1 and 1.
    step, shallow : int
        Every so many layers are recorded, and all of the first ``shallow`` ones, for the insets.
    draws : int
        Systems a panel.
    """
    ds = sweep(
        systems,
        {"scale": tuple(scale)},
        depth=depth,
        layers=sorted({*range(min(shallow, depth)), *range(0, depth, step), depth}),
        metrics=["log_hfc_lfc", "log_abs_cosine_gap", "log_effective_rank_gap"],
        replicates=draws,
        seed=seed,
        progress=progress,
    )
    return ds.assign_attrs(shallow=shallow, tokens=TOKENS, features=FEATURES)


@reads(*_READ)
def factors(ds: xarray.Dataset) -> dict[str, tuple[Any, Any]]:
    """Return predicted and measured ln factor per layer of each line, dims (scale, replicate).

    Measured over the second half of the layers.  The effective rank gap is
    divided by ln(1/gap) first: it closes like l q^l, and q is predicted.
    """
    measured = _measured(ds)
    predicted = {
        "tokens": -2 * ds.predicted_margin,
        "rank": np.log(ds.predicted_rank_gap_rate),
        "angles": np.log(ds.predicted_cosine_gap_rate),
    }
    middle = int(np.searchsorted(ds.layer.values, ds.layer.values[-1] / 2))
    span = float(ds.layer[-1] - ds.layer[middle])
    out = {}
    for name, value in measured.items():
        if name == "rank":
            value = value - np.log(np.maximum(-value, 1))
        out[name] = (predicted[name], (value.isel(layer=-1) - value.isel(layer=middle)) / span)
    return out


def _measured(ds: xarray.Dataset) -> dict[str, Any]:
    """Natural logarithms of what is drawn; squared where the gap itself is quadratic in the rest."""
    return {"tokens": 2 * ds.log_hfc_lfc, "rank": ds.log_effective_rank_gap, "angles": ds.log_abs_cosine_gap}


def _errors(ds: xarray.Dataset) -> dict[str, float]:
    """Largest relative difference of measured and predicted factors, by line."""
    return {k: float(np.abs(np.expm1(m - p)).max()) for k, (p, m) in factors(ds).items()}


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    lowest = min(float(v.min()) for v in _measured(ds).values()) / np.log(10)
    if max(_errors(ds).values()) < 0.02 and lowest < -20:
        return f"Predicted rates hold down to 1e{lowest:.0f}: tokens, angles and rank each have their own"
    return "Tokens, angles and rank over depth, and the predicted slopes"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the three regimes on one scale, measured lines under predicted slopes, and the first layers."""
    measured, rates = _measured(ds), factors(ds)
    layer, depth = ds.layer.values, float(ds.layer[-1])
    middle, shallow = int(np.searchsorted(layer, depth / 2)), layer <= min(ds.attrs["shallow"], depth)
    ends = {
        k: [float(v.sel(scale=k).isel(layer=-1).median()) / np.log(10) for v in measured.values()]
        for k in ds.scale.values
    }
    bounds = [(1.08 * min(0.0, *end), max(25.0, 1.08 * max(end))) for end in ends.values()]
    ratios = [high - low for low, high in bounds]
    fig, found = panels(axes, len(bounds), title=message(ds), height=5.9, ratios=ratios)
    for k, (ax, scale) in enumerate(zip(found, ds.scale.values, strict=True)):
        down = max(ends[scale]) <= 0
        inset = ax.inset_axes((0.1, 0.13, 0.26, 0.36) if down else (0.1, 0.75, 0.26, 0.21))
        order = np.argsort(ends[scale])[::-1]
        close = ends[scale][order[0]] - ends[scale][order[1]] < 60
        for m, (name, label) in enumerate(_LINES.items()):
            lines = measured[name].sel(scale=scale).transpose("layer", "replicate").values / np.log(10)
            look = line(name, linestyle="solid", linewidth=1.8, marker=ROLES[name].marker, markersize=4)
            ax.plot(layer, lines, markevery=[middle], **look)
            inset.plot(layer[shallow], lines[shallow], **line(name, linewidth=0.6))
            slope = float(rates[name][0].sel(scale=scale).median())
            guide = np.median(lines[middle]) + slope / np.log(10) * (layer - layer[middle])
            ax.plot(layer, guide, color="white", linewidth=0.7, dashes=(3, 4))
            ax.annotate(
                f"{label}\n$\\times\\,${np.exp(slope):.3f}",
                (depth, ends[scale][m]),
                (4, 0),
                textcoords="offset points",
                va="bottom" if close and m == order[0] else "center",
                linespacing=1.1,
                color=colour(name),
                annotation_clip=False,
            )
        ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
        ax.set(xlim=(0, depth), ylim=bounds[k], ylabel="log$_{10}$ of measure")
        inset.set(xlim=(0, layer[shallow][-1]))
        inset.tick_params(labelsize=6, length=2, pad=1.5)
        ax.set_title(_title(ds, scale), loc="right")
    below(found, "layer")
    return fig


def _title(ds: xarray.Dataset, scale: float) -> str:
    verdict = {1: "smoothing", 0: "balanced", -1: "sharpening"}[int(ds.predicted_regime.sel(scale=scale)[0])]
    again = " again" if scale < boundary(LAMBDA_MIN) else ""
    low, high = sorted((0.1 * scale, scale))
    return f"{verdict}{again}: $\\mu_j\\in[{low:g}, {high:g}]$"


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    last = {k: v.isel(layer=-1) / np.log(10) for k, v in _measured(ds).items()}
    deepest = min(float(v.min()) for v in last.values())
    errors = _errors(ds)
    apart = float(last["tokens"].max())
    return (
        f"{message(ds)}. Token diversity, rank and angles over {int(ds.layer[-1])} layers of X <- X + A X H: "
        f"{ds.sizes['replicate']} random draws a panel, coincident on this scale ({TOKENS} tokens, "
        f"{FEATURES} features, symmetric A with lambda_min = {LAMBDA_MIN:g}, symmetric H, prescribed "
        "spectra, random bases and tokens; mu_j: eigenvalues of H). White dashes, and numbers at the right: "
        "slope predicted from spectra alone, as a factor per layer. a, positive weights: tokens become "
        "alike, (HFC/LFC)^2 = t_div/t_sim -> 0, and angles close faster than token diversity. b, negative "
        f"weights: tokens stay apart, up to (HFC/LFC)^2 = 1e{apart:+.0f}, yet the rank collapses and all "
        "tokens become parallel or antiparallel. c, the largest below mu = -2/(1 + lambda_min) = "
        f"{boundary(LAMBDA_MIN):.3g}: smoothing again. Gaps are resolved down to 1e{deepest:.0f}. Measured "
        "factors per layer over the second half differ from the prediction by at most "
        f"{errors['tokens']:.1e} (tokens), {errors['rank']:.1e} (rank, its factor of depth divided out) and "
        f"{errors['angles']:.1e} (angles), relative. Insets: the first layers of every draw. One scale for "
        "all panels."
    )
