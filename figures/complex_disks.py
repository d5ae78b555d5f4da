"""Attention with complex eigenvalues: each has a disk of its own, and some reach to the right of 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import simulate
from linsim import tokens as token_matrices
from linsim.rules import Linear
from linsim.streams import philox

from .palette import REGIMES
from .style import inside, outlined, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"cells": 16, "depth": 128}

_READ = ("measured_rate", "inside", "eigenvalue_real", "eigenvalue_imag", "re", "im", "layers")


def compute(
    *,
    seed: int = 0,
    first_row: Sequence[float] = (0.05, 0.85, 0.1),
    cells: int = 48,
    depth: int = 384,
) -> xarray.Dataset:
    """Measure the change of ln HFC/LFC for tokens that look at each other in a circle.

    Parameters
    ----------
    first_row : sequence of float >= 0 that sums to 1
        First row of the attention, whose other rows are its rotations.
    cells : int
        Cells along the imaginary axis; as many times 1.7 along the real one.
    """
    import xarray

    row = np.asarray(first_row, dtype=float)
    n = len(row)
    A = np.stack([np.roll(row, k) for k in range(n)])
    re = np.linspace(-8.5, 1.5, int(1.7 * cells))
    im = np.linspace(0.02, 6.0, cells)
    x, y = (grid.ravel() for grid in np.meshgrid(re, im, indexing="ij"))
    H = np.stack([np.stack([x, y], axis=-1), np.stack([-y, x], axis=-1)], axis=-2)
    x0 = np.broadcast_to(token_matrices.gaussian(n, 2, rng=philox(seed, 0)), (x.size, n, 2))
    layers = [depth // 2, depth]
    run = simulate(Linear(A, H), x0, depth, layers=layers, metrics=["log_hfc_lfc"])
    rate = np.diff(run.metrics["log_hfc_lfc"], axis=1)[:, 0] / (layers[1] - layers[0])
    eigenvalues = np.fft.fft(row)[1:]  # of a circulant: the transform of its row
    mu = x + 1j * y
    within = np.zeros(mu.size, dtype=bool)
    for lam in eigenvalues:
        centre, radius = _disk(lam)
        within |= np.abs(mu - centre) < radius
    shape = (len(re), len(im))
    return xarray.Dataset(
        {
            "measured_rate": (("re", "im"), rate.reshape(shape)),
            "inside": (("re", "im"), within.reshape(shape)),
            "eigenvalue_real": ("mode", eigenvalues.real),
            "eigenvalue_imag": ("mode", eigenvalues.imag),
        },
        {"re": re, "im": im},
        {"seed": seed, "layers": layers, "tokens": n},
    )


def _disk(lam: complex) -> tuple[complex, float]:
    """Centre and radius of the mu with which lambda beats the constant mode (dominance.disk_complex)."""
    room = 1 - abs(lam) ** 2
    return -(1 - np.conj(lam)) / room, abs(1 - lam) / room


def _right(ds: xarray.Dataset) -> int:
    """Measured systems that sharpen with Re mu > 0."""
    return int(((ds.measured_rate > 0) & (ds.re > 0)).sum())


def _agree(ds: xarray.Dataset) -> float:
    return float(((ds.measured_rate > 0) == ds.inside).mean())


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    if _right(ds) and _agree(ds) > 0.97:
        return "A positive real part is not enough: complex attention eigenvalues sharpen to the right of 0"
    return "Where weights sharpen if attention has complex eigenvalues"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the measured rate over the plane, the disk of each attention eigenvalue on top."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=2.9)
    x, y = ds.re.values, ds.im.values
    values = ds.measured_rate.transpose("im", "re").values
    mesh = ax.pcolormesh(x, y, values, cmap=REGIMES, vmin=-0.6, vmax=0.6, rasterized=True)
    fig.colorbar(mesh, ax=ax, pad=0.02, extend="both", label="measured change of\nln(HFC/LFC) per layer")
    angle = np.linspace(0, 2 * np.pi, 721)
    for lam in ds.eigenvalue_real.values + 1j * ds.eigenvalue_imag.values:
        centre, radius = _disk(lam)
        circle = centre + radius * np.exp(1j * angle)
        outlined(ax.plot(circle.real, circle.imag, color="black", linewidth=1)[0])
    outlined(ax.axvline(0, color="black", linewidth=0.8, linestyle=(0, (3, 1.5))), 1.8)
    ax.set(xlim=(x[0], x[-1]), ylim=(0, y[-1]), xlabel="Re $\\mu$", ylabel="Im $\\mu$", aspect="equal")
    for text, where in (("sharpening", values > 0.3), ("smoothing", values < 0)):
        place = inside(where, x, y)
        if place is not None:
            outlined(ax.text(*place, text, ha="center", va="center"))
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    pairs = zip(ds.eigenvalue_real.values, ds.eigenvalue_imag.values, strict=True)
    said = ", ".join(f"{a:.3g} {'+' if b >= 0 else '-'} {abs(b):.3g}i" for a, b in pairs)
    first, last = ds.attrs["layers"]
    return (
        f"{message(ds)}. {ds.attrs['tokens']} tokens that look at each other in a circle (eigenvalues of A "
        f"beside 1: {said}), weights [[x, y], [-y, x]] with eigenvalues mu = x +- iy: "
        f"{ds.measured_rate.size:,} "
        f"systems, mean change of ln(HFC/LFC) per layer over layers {first} to {last}. Circles: the disk of "
        "each attention eigenvalue, |mu + (1 - conj(lambda))/(1 - |lambda|^2)| < |1 - lambda|/(1 - "
        f"|lambda|^2), inside which it beats the constant mode. {_right(ds)} of the systems sharpen "
        "with Re mu "
        f"> 0 (right of the dashes); the measured sign is that of the disks in {_agree(ds):.2%}."
    )
