"""Layers with a bias, and with a factor for each token: what they change in the regime."""

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

QUICK = {"depth": 60, "draws": 2}

_READ = ("log_hfc_lfc", "limit", "regime", "system", "layer", "tokens", "features")
_PLAIN: Any = {"linestyle": (0, (1, 1.2))}
_SYSTEMS = {
    "sharpening": ("sharpening", "$X+AXH$", _PLAIN),
    "sharpening, bias": ("sharpening", "$+\\,1b^{\\mathsf{T}}$", {"linestyle": "solid"}),
    "smoothing": ("smoothing", "$X+AXH$", _PLAIN),
    "smoothing, scale": ("smoothing", "$A\\,$diag$(s)$", {"linestyle": "solid"}),
}


def compute(
    *, seed: int = 0, tokens: int = 10, features: int = 4, draws: int = 6, depth: int = 200
) -> xarray.Dataset:
    """Run sharpening weights without and with a bias, smoothing ones without and with token scales."""
    import xarray

    rng = philox(seed, 0)
    lam = np.broadcast_to(np.concatenate([[1], np.linspace(0.05, 0.4, tokens - 1)]), (draws, tokens))
    A = attention.from_spectrum(lam, rng=rng)
    mu = np.broadcast_to(np.linspace(0.3, 0.9, features), (draws, features))
    H = weights.from_spectrum(mu, rng=rng)
    x0 = token_matrices.gaussian(tokens, features, size=draws, rng=rng)
    bias = 0.1 * rng.standard_normal((draws, features))
    scale = np.exp(0.2 * rng.standard_normal((draws, tokens)))
    rules = {
        "sharpening": Linear(A, -H),
        "sharpening, bias": Linear(A, -H, bias=bias),
        "smoothing": Linear(A, H),
        "smoothing, scale": Linear(A, H, scale=scale),
    }
    layers = sorted({*range(min(20, depth)), *range(0, depth, 4), depth})
    measured, limit, regime = [], [], []
    for rule in rules.values():
        law = predict(rule, x0=x0)
        measured.append(
            simulate(rule, x0, depth, layers=layers, metrics=["log_hfc_lfc"]).metrics["log_hfc_lfc"]
        )
        limit.append(np.broadcast_to(law.limit_hfc_lfc, draws))
        regime.append(law.regime.astype("U10"))
    return xarray.Dataset(
        {
            "log_hfc_lfc": (("system", "draw", "layer"), np.array(measured)),
            "limit": (("system", "draw"), np.array(limit)),
            "regime": (("system", "draw"), np.array(regime)),
        },
        {"system": list(rules), "layer": layers},
        {"seed": seed, "tokens": tokens, "features": features},
    )


def _off(ds: xarray.Dataset) -> float:
    """Relative distance of HFC/LFC with token scales from its predicted limit, at the last layer."""
    last = np.exp(ds.log_hfc_lfc.sel(system="smoothing, scale").isel(layer=-1))
    return float(np.abs(last / ds.limit.sel(system="smoothing, scale") - 1).max())


def _ends(ds: xarray.Dataset) -> dict[str, float]:
    last = ds.log_hfc_lfc.isel(layer=-1).median("draw") / np.log(10)
    return {str(s): float(last.sel(system=s)) for s in ds.system.values}


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    end = _ends(ds)
    holds = end["sharpening"] > 2 and end["smoothing"] < -2
    if holds and -1.5 < end["smoothing, scale"] < 0.5 and end["sharpening, bias"] < end["sharpening"] - 2:
        return "A bias ends the growth of differences; token scales keep tokens from becoming one vector"
    return "HFC/LFC over depth with a bias and with token scales"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw sharpening weights without and with a bias, and smoothing ones without and with token scales."""
    fig, found = panels(axes, 2, title=message(ds), height=4.4)
    layer, end = ds.layer.values, _ends(ds)
    for name, (role, label, look) in _SYSTEMS.items():
        ax = found[0 if role == "sharpening" else 1]
        lines = ds.log_hfc_lfc.sel(system=name).transpose("layer", "draw").values / np.log(10)
        ax.plot(layer, lines, **{**line(role, linewidth=0.9), **look})
        ax.annotate(
            label,
            (layer[-1], end[name]),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=colour(role),
            annotation_clip=False,
        )
    limits = np.log10(ds.limit.sel(system="smoothing, scale").values)
    found[1].hlines(limits, 0.5 * layer[-1], layer[-1], colors="0", linestyles=(0, (3, 1.5)), linewidth=0.6)
    for ax, title in zip(
        found, ("sharpening weights, a bias", "smoothing weights, token scales"), strict=True
    ):
        ax.axhline(0, color="0.85", linewidth=0.5, zorder=0)
        ax.set(xlim=(0, layer[-1]), ylabel="log$_{10}$ HFC/LFC")
        ax.set_title(title, loc="right")
    below(found, "layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    end = _ends(ds)
    same = "; ".join(
        f"{name}: {', '.join(sorted(set(ds.regime.sel(system=name).values.tolist())))}" for name in _SYSTEMS
    )
    return (
        f"{message(ds)}. {ds.sizes['draw']} draws each ({ds.attrs['tokens']} tokens, {ds.attrs['features']} "
        "features, symmetric A and H). a, weights with eigenvalues in [-1, 0), without a bias "
        "(dotted) and in "
        f"X + A X H + 1 b^T (solid): at layer {int(ds.layer[-1])} HFC/LFC is 1e{end['sharpening']:.0f} "
        f"and 1e{end['sharpening, bias']:.1f}. The bias feeds the constant part alone, and all else shrinks. "
        "b, positive weights, plain (dotted) and in X + A diag(s) X H with a factor for each token, s = "
        f"exp(0.2 z) (solid): 1e{end['smoothing']:.0f} and 1e{end['smoothing, scale']:.2f}. Rows of A "
        "diag(s) no longer sum to one number, so the constant vector is no mode; dashed: the limit predicted "
        f"for each draw, {_off(ds):.1e} off at most. Predicted regimes, of the mode that is constant: {same}."
    )
