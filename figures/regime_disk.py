"""The sharpening disk: which complex weight eigenvalues keep tokens apart.

Each cell is one random system whose weights have one conjugate pair at mu;
the circle is predicted from the smallest attention eigenvalue alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, sweep, tokens, weights
from linsim.rules import Linear
from linsim.theory import disk

from .palette import REGIMES
from .style import below, inside, outlined, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["CONDITION", "QUICK", "caption", "compute", "draw", "message", "systems"]

TOKENS = 12
#: condition number of the basis of the weights: no normal matrices
CONDITION = 2.0
#: ends of the colour scale
LIMIT = 0.6

QUICK = {
    "lambda_min": (-0.4, 0.3),
    "re": tuple(np.linspace(-4.1, 1.1, 14).tolist()),
    "im": tuple(np.linspace(0.1, 2.2, 8).tolist()),
}

_READ = ("measured_rate", "predicted_margin", "lambda_min", "re", "im", "span", "tokens")


def systems(point: dict[str, Any], rng: Any) -> tuple[Linear, Any]:
    """Draw one system per point: prescribed spectra, random bases, random tokens.

    Parameters
    ----------
    point : dict of (k,) arrays
        ``lambda_min``, and ``re`` and ``im`` of the pair of weight
        eigenvalues.  The other attention eigenvalues are 1, and ten from 0.05 to
        0.25 above max(lambda_min, 0).
    rng : numpy.random.Generator

    Returns
    -------
    (Linear, array)
        12 tokens, 2 features, leading axis k.

    Examples
    --------
    >>> rule, x0 = systems({"lambda_min": np.array([0.0]), "re": np.array([-1.0]), "im": np.array([0.5])}, 0)
    >>> np.linalg.eigvals(rule.H).round(12).tolist()
    [[(-1+0.5j), (-1-0.5j)]]
    """
    low = np.asarray(point["lambda_min"])[:, None]
    mu = np.asarray(point["re"]) + 1j * np.asarray(point["im"])
    lam = np.concatenate(
        [np.ones_like(low), low, np.maximum(low, 0) + np.linspace(0.05, 0.25, TOKENS - 2)], axis=1
    )
    rng = np.random.default_rng(rng)
    A = attention.from_spectrum(lam, rng=rng)
    H = weights.from_spectrum(np.stack([mu, mu.conj()], axis=1), basis="random", condition=CONDITION, rng=rng)
    return Linear(A, H), tokens.gaussian(TOKENS, 2, size=len(mu), rng=rng)


def compute(
    *,
    seed: int = 0,
    lambda_min: Sequence[float] = (-0.4, 0.0, 0.3),
    re: Sequence[float] = tuple((-4.25 + 5.5 / 66 * (np.arange(66) + 0.5)).tolist()),
    im: Sequence[float] = tuple((2.25 / 27 * (np.arange(27) + 0.5)).tolist()),
    depth: int = 256,
    progress: bool = False,
) -> xarray.Dataset:
    """Sweep the half planes; ``measured_rate`` is the change of ln HFC/LFC per layer over the second half.

    Parameters
    ----------
    lambda_min : sequence of float
        Smallest eigenvalue of the attention, one a panel.
    re, im : sequences of float, evenly spaced
        Centres of the cells: real and imaginary part of the weights' pair of eigenvalues.
    """
    ds = sweep(
        systems,
        {"lambda_min": np.asarray(lambda_min), "re": np.asarray(re), "im": np.asarray(im)},
        depth=depth,
        layers=[depth // 2, depth],
        metrics=["log_hfc_lfc"],
        seed=seed,
        progress=progress,
    )
    span = float(ds.layer[1] - ds.layer[0])
    rate = ds.log_hfc_lfc.diff("layer").isel(layer=0, drop=True) / span
    return ds.assign(measured_rate=rate).assign_attrs(span=span, tokens=TOKENS)


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    wrong = (ds.measured_rate > 0) != _inside(ds)
    if bool((np.abs(ds.predicted_margin).where(wrong, 0) < _turning(ds)).all()):
        return "Complex weight eigenvalues sharpen inside a disk that the smallest attention eigenvalue sets"
    return "Where complex weight eigenvalues sharpen, and the predicted disk"


def _turning(ds: xarray.Dataset) -> float:
    """What turning in an oblique basis can add to a measured rate."""
    return 4 * float(np.log(CONDITION)) / ds.attrs["span"]


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the measured rates, one panel for each attention spectrum, the predicted circles on top."""
    lows, x, y = ds.lambda_min.values, ds.re.values, ds.im.values
    dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    fig, found = panels(axes, len(lows), title=message(ds), height=0.6 + 1.35 * len(lows))
    angle = np.linspace(0, np.pi, 361)
    for ax, low in zip(found, lows, strict=True):
        rate = ds.measured_rate.sel(lambda_min=low).mean("replicate").transpose("im", "re").values
        mesh = ax.pcolormesh(x, y, rate, cmap=REGIMES, vmin=-LIMIT, vmax=LIMIT, rasterized=True)
        centre, radius = disk(float(low))
        outlined(ax.plot(centre + radius * np.cos(angle), radius * np.sin(angle), color="black")[0])
        ax.set(xlim=(x[0] - dx, x[-1] + dx), ylim=(0, y[-1] + dy), aspect="equal", ylabel="Im $\\mu$")
        ax.set_title(f"$\\lambda_{{\\min}}={low:g}$, predicted radius {radius:.2f}", loc="right")
    centre, radius = disk(float(lows[0]))
    within = np.hypot(x[None, :] - centre, y[:, None]) < radius
    for text, where in (
        ("sharpening", within),
        ("smoothing", ~within & (x[None, :] > centre)),
        ("smoothing", ~within & (x[None, :] < centre)),
    ):
        place = inside(where, x, y)
        if place is not None:
            outlined(found[0].text(*place, text, ha="center", va="center"))
    below(found, "Re $\\mu$")
    fig.colorbar(
        mesh, ax=found, pad=0.02, aspect=40, extend="both", label="measured change of ln(HFC/LFC) per layer"
    )
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the counts of the dataset itself."""
    rate, margin = ds.measured_rate, ds.predicted_margin
    inside = _inside(ds)
    agree = (rate > 0) == inside
    wrong = int((~agree).sum())
    nearest = float(np.abs(margin).where(~agree).max()) if wrong else 0.0
    count = ds.measured_rate.size
    panels = ", ".join(f"{'abcdefgh'[k]}, lambda_min = {v:g}" for k, v in enumerate(ds.lambda_min.values))
    text = (
        f"{message(ds)}. Measured in {count:,} random systems ({ds.attrs['tokens']} tokens, 2 "
        "features, symmetric "
        "A with given lambda_min, H with the pair of eigenvalues mu and conj(mu), random bases of condition "
        f"{CONDITION:g} and random tokens). Colour: mean change of ln(HFC/LFC) per layer over layers "
        f"{int(ds.layer[0])} to {int(ds.layer[-1])}; positive where tokens stay apart, negative where they "
        "become alike. Circle: predicted from lambda_min alone, |mu + 1/(1 + lambda_min)| = 1/(1 + "
        f"lambda_min); it meets the real axis at 0 and -2/(1 + lambda_min). {panels}. The measured sign is "
        f"that of the disk in {count - wrong:,} systems"
    )
    if wrong:
        text += (
            f"; the predicted rate of the other {wrong} is at most {nearest:.1e} in size, less than the "
            f"{_turning(ds):.3f} that turning in an oblique basis can add"
        )
    return f"{text}. The lower half plane is the mirror image, as H is real."


def _inside(ds: xarray.Dataset) -> Any:
    """Whether mu lies in the open disk of its lambda_min."""
    radius = 1 / (1 + ds.lambda_min)
    return np.hypot(ds.re + radius, ds.im) < radius
