"""Tokens, angles and rank over depth: the same spectra with weights of three signs and sizes.

Measured in random systems down to 1e-300 and below; the dashed slopes are
predicted from spectra alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, sweep, tokens, weights
from linsim.rules import Linear
from linsim.theory import boundary

from .style import COLOURS, figure, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["DEPTH", "DRAWS", "SCALES", "caption", "compute", "draw", "factors", "systems"]

TOKENS, FEATURES = 16, 8
DEPTH, STEP = 800, 20
#: shallow layers that are all recorded, for the insets
SHALLOW = 32
DRAWS = 8
#: the weights are this times a matrix with eigenvalues between 0.1 and 1
SCALES = (1.0, -1.0, -4.0)
LAMBDA_MIN = -0.4

#: what is drawn: its label and colour
_LINES = {
    "tokens": ("(HFC/LFC)$^2$", COLOURS["vermilion"]),
    "rank": ("eff. rank $-$ 1", COLOURS["black"]),
    "angles": ("1 $-$ |cosine|", COLOURS["blue"]),
}


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


def compute(*, seed: int = 0, progress: bool = True, store: Any = None) -> xarray.Dataset:
    """Follow every draw of the three systems through depth."""
    return sweep(
        systems,
        {"scale": SCALES},
        depth=DEPTH,
        layers=sorted({*range(min(SHALLOW, DEPTH)), *range(0, DEPTH, STEP), DEPTH}),
        metrics=["log_hfc_lfc", "log_abs_cosine_gap", "log_effective_rank_gap"],
        replicates=DRAWS,
        seed=seed,
        store=store,
        progress=progress,
    )


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


@styled
def draw(ds: xarray.Dataset) -> Figure:
    """Draw the three regimes on one scale, measured lines under predicted slopes, and the first layers."""
    measured, rates = _measured(ds), factors(ds)
    layer, depth = ds.layer.values, float(ds.layer[-1])
    middle, shallow = int(np.searchsorted(layer, depth / 2)), layer <= min(SHALLOW, depth)
    ends = {
        k: [float(v.sel(scale=k).isel(layer=-1).median()) / np.log(10) for v in measured.values()]
        for k in ds.scale.values
    }
    bounds = [(1.08 * min(0.0, *end), max(25.0, 1.08 * max(end))) for end in ends.values()]
    fig, axes = figure(5.6, nrows=3, sharex=True, height_ratios=[high - low for low, high in bounds])
    for k, (ax, scale) in enumerate(zip(axes, ds.scale.values, strict=True)):
        down = max(ends[scale]) <= 0
        inset = ax.inset_axes((0.1, 0.13, 0.26, 0.36) if down else (0.1, 0.75, 0.26, 0.21))
        order = np.argsort(ends[scale])[::-1]
        close = ends[scale][order[0]] - ends[scale][order[1]] < 60
        for m, (name, (label, colour)) in enumerate(_LINES.items()):
            lines = measured[name].sel(scale=scale).transpose("layer", "replicate").values / np.log(10)
            ax.plot(layer, lines, color=colour, linewidth=1.6)
            inset.plot(layer[shallow], lines[shallow], color=colour, linewidth=0.5)
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
                color=colour,
                annotation_clip=False,
            )
        ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
        ax.set(xlim=(0, depth), ylim=bounds[k], ylabel="log$_{10}$ of measure")
        ax.spines[["top", "right"]].set_visible(False)
        inset.set(xlim=(0, layer[shallow][-1]))
        inset.tick_params(labelsize=6, length=2, pad=1.5)
        ax.set_title("abc"[k], loc="left", fontweight="bold", pad=3)
        ax.set_title(_title(ds, scale), loc="right", pad=3)
    axes[-1].set_xlabel("layer")
    return fig


def _title(ds: xarray.Dataset, scale: float) -> str:
    verdict = {1: "smoothing", 0: "balanced", -1: "sharpening"}[int(ds.predicted_regime.sel(scale=scale)[0])]
    again = " again" if scale < boundary(LAMBDA_MIN) else ""
    return f"{verdict}{again}: $\\mu_j$ from {0.1 * scale:g} to {scale:g}".replace("-", "$-$")


def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    last = {k: v.isel(layer=-1) / np.log(10) for k, v in _measured(ds).items()}
    deepest = min(float(v.min()) for v in last.values())
    errors = {k: float(np.abs(np.expm1(m - p)).max()) for k, (p, m) in factors(ds).items()}
    apart = float(last["tokens"].max())
    return (
        f"Token diversity, rank and angles over {int(ds.layer[-1])} layers of X <- X + A X H: "
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
