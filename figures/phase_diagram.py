"""The phase diagram of oversmoothing: lowest weight eigenvalue against the attention's lowest.

Measured in thousands of random systems at one depth; the lines are predicted
from spectra alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, sweep, weights
from linsim import tokens as token_matrices
from linsim.rules import Linear
from linsim.theory import boundary

from .palette import REGIMES
from .style import below, inside, outlined, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message", "systems"]

QUICK = {
    "mu_min": tuple(np.linspace(-4, 2, 25).tolist()),
    "lambda_min": tuple(np.linspace(-0.5, 0, 9).tolist()),
    "depth": 64,
    "replicates": 1,
}

_READ = ("log_hfc_lfc", "cosine", "effective_rank", "predicted_rank_gap_rate", "mu_min", "lambda_min")


def systems(point: dict[str, Any], rng: Any, *, tokens: int = 16, features: int = 8) -> tuple[Linear, Any]:
    """Draw one system per point: prescribed spectra, random bases, random tokens.

    Parameters
    ----------
    point : dict of (k,) arrays
        ``mu_min`` and ``lambda_min``.  The other weight eigenvalues lie within
        25 percent of ``mu_min`` above it, the other attention eigenvalues
        between 0.05 and 0.2, besides the eigenvalue 1.
    rng : numpy.random.Generator
    tokens, features : int
        n >= 2 and d.

    Returns
    -------
    (Linear, array)
        n tokens, d features, leading axis k.

    Examples
    --------
    >>> rule, x0 = systems({"mu_min": np.array([-3.0]), "lambda_min": np.array([-0.25])}, 0)
    >>> x0.shape
    (1, 16, 8)
    """
    mu, low = np.asarray(point["mu_min"])[:, None], np.asarray(point["lambda_min"])[:, None]
    ones = np.ones_like(low)
    lam = np.concatenate([ones, low, ones * np.linspace(0.05, 0.2, tokens - 2)], axis=1)
    rng = np.random.default_rng(rng)
    A = attention.from_spectrum(lam, rng=rng)
    H = weights.from_spectrum(mu + 0.25 * np.abs(mu) * np.linspace(0, 1, features), rng=rng)
    return Linear(A, H), token_matrices.gaussian(tokens, features, size=len(mu), rng=rng)


def compute(
    *,
    seed: int = 0,
    mu_min: Sequence[float] = tuple(np.linspace(-4, 2, 97).tolist()),
    lambda_min: Sequence[float] = tuple(np.linspace(-0.5, 0, 41).tolist()),
    depth: int = 128,
    replicates: int = 2,
    tokens: int = 16,
    features: int = 8,
    progress: bool = False,
    store: Any = None,
) -> xarray.Dataset:
    """Sweep the whole grid: the input, half depth and full depth of every system.

    Parameters
    ----------
    mu_min, lambda_min : sequences of float
        The two axes: lowest eigenvalues of the weights, and of the attention.
    depth, replicates, tokens, features : int
    """
    own = (tokens, features) != (16, 8)
    ds = sweep(
        functools.partial(systems, tokens=tokens, features=features) if own else systems,
        {"mu_min": np.asarray(mu_min), "lambda_min": np.asarray(lambda_min)},
        depth=depth,
        layers=[0, depth // 2, depth],
        metrics=[
            "hfc_lfc",
            "log_hfc_lfc",
            "cosine",
            "log_abs_cosine_gap",
            "effective_rank",
            "log_effective_rank_gap",
        ],
        replicates=replicates,
        seed=seed,
        store=store,
        progress=progress,
    )
    return ds.assign_attrs(tokens=tokens, features=features)


def _cells(variable: Any) -> Any:
    return variable.mean("replicate").transpose("lambda_min", "mu_min").values


def _edge(ds: xarray.Dataset) -> Any:
    """The predicted boundary -2/(1 + lambda_min) at each lambda_min."""
    return np.array([boundary(a) for a in ds.lambda_min.values])


def _again(ds: xarray.Dataset) -> bool:
    """Whether everything measured left of the predicted boundary smooths, and there is something."""
    ratio = _cells(ds.isel(layer=-1).log_hfc_lfc)
    width = np.diff(ds.mu_min.values).max() if ds.sizes["mu_min"] > 1 else 0.0
    left = ds.mu_min.values < _edge(ds)[:, None] - 2 * width
    return bool(left.any() and (ratio[left] < 0).all())


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    if _again(ds):
        return "Very negative weights smooth again: the boundary is known from two eigenvalues"
    return "Where tokens become alike, by the lowest eigenvalues of weights and attention"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw measured HFC/LFC, cosine and effective rank, the predictions on top."""
    fig, found = panels(axes, 3, title=message(ds), height=5.6, ratios=[1.4, 1, 1])
    x, y = ds.mu_min.values, ds.lambda_min.values
    last = ds.isel(layer=-1)
    ratio = _cells(last.log_hfc_lfc) / np.log(10)
    parts = [
        (ratio, REGIMES, (-30, 30), "log$_{10}$ HFC/LFC", "both"),
        (_cells(last.cosine), "cividis", (-0.1, 1), "mean cosine", "neither"),
        (_cells(last.effective_rank), "cividis_r", (1, 4), "effective rank", "max"),
    ]
    curve = _edge(ds)
    for ax, (values, cmap, limits, name, extend) in zip(found, parts, strict=True):
        mesh = ax.pcolormesh(x, y, values, cmap=cmap, vmin=limits[0], vmax=limits[1], rasterized=True)
        fig.colorbar(mesh, ax=ax, pad=0.02, extend=extend, label=name)
        outlined(ax.plot(curve, y, color="black")[0])
        outlined(ax.plot([0, 0], [y[0], y[-1]], color="black")[0])
        ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), ylabel="attention $\\lambda_{\\min}$")
    # where the predicted sigma_2/sigma_1 at this depth is one tenth
    closed = float(ds.layer[-1]) * np.log(_cells(ds.predicted_rank_gap_rate)) / np.log(10)
    if closed.min() < -1 < closed.max():
        contour = found[2].contour(x, y, closed, levels=[-1], colors="black", linewidths=1, linestyles="--")
        outlined(contour, 2.2)
    left = x[None, :] < curve[:, None]
    for text, where in (
        ("sharpening:\ntokens stay apart", (x[None, :] < 0) & ~left),
        ("smoothing", np.broadcast_to(x > 0, left.shape)),
        ("smoothing\nagain", left),
    ):
        place = inside(where, x, y)
        if place is not None:
            outlined(found[0].text(*place, text, ha="center", va="center"))
    if x[0] < curve[-1] < x[-1]:
        beside = (curve[-1] + 0.03 * (x[-1] - x[0]), y[-1] - 0.07 * (y[-1] - y[0]))
        outlined(found[0].text(*beside, "$-2/(1+\\lambda_{\\min})$", va="center"))
    if closed.min() < -1 < closed.max():
        note = "within the dashes:\npredicted $\\sigma_2/\\sigma_1>0.1$"
        outlined(found[2].text(0.03, 0.06, note, transform=found[2].transAxes))
    below(found, "lowest weight eigenvalue $\\mu_{\\min}$")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the counts of the dataset itself."""
    count = ds.sizes["mu_min"] * ds.sizes["lambda_min"] * ds.sizes["replicate"]
    sizes = "".join(f"{ds.attrs[k]} {k}, " for k in ("tokens", "features") if k in ds.attrs)
    replicates = ds.sizes["replicate"]
    text = (
        f"{message(ds)}. X <- X + A X H, measured at layer {int(ds.layer[-1])} in {count:,} random systems "
        f"({sizes}symmetric A and H with prescribed spectra, random bases and tokens; "
        f"{f'mean of {replicates} systems' if replicates > 1 else 'one system'} a cell). "
        "a, HFC/LFC: low where tokens become alike. b, mean cosine between tokens. c, effective rank. "
        "Lines: regime boundary predicted from spectra alone, mu = 0 and mu = -2/(1 + lambda_min); dashed: "
        "where the predicted sigma_2/sigma_1 = q^depth is 0.1."
    )
    regime = ds.predicted_regime
    clear = np.abs(ds.predicted_margin) * float(ds.layer[-1]) > np.log(100)
    agree = int((np.sign(ds.isel(layer=-1).log_hfc_lfc) == -regime).where(clear, False).sum())
    return (
        f"{text} Of {int(clear.sum()):,} systems whose constant and other modes are predicted to differ by a "
        f"factor of more than 100 at this depth, {agree:,} measure the predicted regime."
    )
