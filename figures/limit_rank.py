"""Which rank is left: it collapses to one except where two modes of different rows and columns tie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import simulate
from linsim import tokens as token_matrices
from linsim.rules import Linear
from linsim.streams import philox
from linsim.theory import predict

from .style import outlined, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"cells": 25, "depth": 64}

_READ = ("log_rank_gap", "predicted_rate", "tie", "mu_1", "mu_2", "depth", "lambda_2")


def compute(*, seed: int = 0, lambda_2: float = -0.5, cells: int = 91, depth: int = 128) -> xarray.Dataset:
    """Measure sigma_2/sigma_1 of two tokens with two features over the plane of the weights' eigenvalues.

    Parameters
    ----------
    lambda_2 : float in (-1, 1)
        The second eigenvalue of the attention of two tokens.
    cells : int
        Eigenvalues along each axis, from -5.5 to 2.
    """
    import xarray

    mu = np.linspace(-5.5, 2, cells) + 1e-6  # off the ties of round numbers
    one, two = (grid.ravel() for grid in np.meshgrid(mu, mu, indexing="ij"))
    a = (1 + lambda_2) / 2
    A = np.array([[a, 1 - a], [1 - a, a]])
    H = np.zeros((one.size, 2, 2))
    H[:, 0, 0], H[:, 1, 1] = one, two
    x0 = token_matrices.gaussian(2, 2, rng=philox(seed, 0))
    rule = Linear(A, H)
    run = simulate(
        rule, np.broadcast_to(x0, (one.size, 2, 2)), depth, layers=[depth], metrics=["log_rank_gap"]
    )
    law = predict(rule)
    # a tie of two modes that share neither row nor column, and are the largest two
    diagonal = np.stack([np.abs(1 + one), np.abs(1 + lambda_2 * two)])
    other = np.stack([np.abs(1 + two), np.abs(1 + lambda_2 * one)])
    ahead = diagonal.max(axis=0) > other.max(axis=0)
    lead = np.where(ahead, diagonal[0] - diagonal[1], other[0] - other[1])
    shape = (cells, cells)
    return xarray.Dataset(
        {
            "log_rank_gap": (("mu_1", "mu_2"), run.metrics["log_rank_gap"][:, 0].reshape(shape)),
            "predicted_rate": (("mu_1", "mu_2"), np.asarray(law.rates["rank_gap"]).reshape(shape)),
            "tie": (("mu_1", "mu_2"), lead.reshape(shape)),
            "ahead": (("mu_1", "mu_2"), ahead.reshape(shape)),
        },
        {"mu_1": mu, "mu_2": mu},
        {"seed": seed, "depth": depth, "lambda_2": lambda_2},
    )


def _left(ds: xarray.Dataset) -> Any:
    """Cells in which sigma_2/sigma_1 is above one tenth."""
    return ds.log_rank_gap > np.log(0.1)


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    far = ds.predicted_rate ** ds.attrs["depth"] < 1e-3
    if not bool(_left(ds).where(far, False).any()) and bool(_left(ds).any()):
        return "The rank collapses except along ties of modes that share neither token nor feature"
    return "The rank that is left, over the eigenvalues of the weights"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the measured gap, and the ties on top."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=3.2)
    x, y = ds.mu_1.values, ds.mu_2.values
    values = ds.log_rank_gap.transpose("mu_2", "mu_1").values / np.log(10)
    mesh = ax.pcolormesh(x, y, values, cmap="cividis_r", vmin=-12, vmax=0, rasterized=True)
    fig.colorbar(mesh, ax=ax, pad=0.02, extend="min", label="log$_{10}$ $\\sigma_2/\\sigma_1$")
    for part in (ds.ahead, ~ds.ahead):
        tie = ds.tie.where(part).transpose("mu_2", "mu_1").values
        outlined(ax.contour(x, y, tie, levels=[0], colors="black", linewidths=0.8, linestyles="--"), 1.8)
    ax.set(xlabel="weight eigenvalue $\\mu_1$", ylabel="weight eigenvalue $\\mu_2$", aspect="equal")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    share = float(_left(ds).mean())
    return (
        f"{message(ds)}. Two tokens, two features, attention with eigenvalues 1 and "
        f"{ds.attrs['lambda_2']:g}, "
        f"weights diag(mu_1, mu_2), {ds.log_rank_gap.size:,} systems with one input: sigma_2/sigma_1 "
        "at layer "
        f"{ds.attrs['depth']}. Dashed: |1 + mu_1| = |1 + {ds.attrs['lambda_2']:g} mu_2| and its "
        "mirror image, "
        "where these are the largest moduli: there the limit has rank two. Ties within one row or column of "
        "modes (the diagonal mu_1 = mu_2, say) leave no trace. sigma_2/sigma_1 is above 0.1 in "
        f"{share:.1%} of the systems, all near a tie."
    )
