"""The sharpening disk: which complex weight eigenvalues keep tokens apart.

Each cell is one random system whose weights have one conjugate pair at mu;
the circle is predicted from the smallest attention eigenvalue alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, sweep, tokens, weights
from linsim.rules import Linear
from linsim.theory import disk

from .style import MAP, figure, outlined, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["DEPTH", "GRID", "caption", "compute", "draw", "systems"]

TOKENS = 12
DEPTH = 256
#: condition number of the basis of the weights: no normal matrices
CONDITION = 2.0
#: ends of the colour scale
LIMIT = 0.6
#: smallest eigenvalue of the attention, one a panel; real and imaginary part of the weights' pair
GRID = {
    "lambda_min": np.array([-0.4, 0.0, 0.3]),
    # cell centres; the cells reach from -4.25 to 1.25 and from 0 to 2.25
    "re": -4.25 + 5.5 / 88 * (np.arange(88) + 0.5),
    "im": 2.25 / 36 * (np.arange(36) + 0.5),
}


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


def compute(*, seed: int = 0, progress: bool = True, store: Any = None) -> xarray.Dataset:
    """Sweep the half planes; ``measured_rate`` is the change of ln HFC/LFC per layer over the second half."""
    ds = sweep(
        systems,
        GRID,
        depth=DEPTH,
        layers=[DEPTH // 2, DEPTH],
        metrics=["log_hfc_lfc"],
        seed=seed,
        store=store,
        progress=progress,
    )
    rate = ds.log_hfc_lfc.diff("layer").isel(layer=0, drop=True) / float(ds.layer[1] - ds.layer[0])
    return ds.assign(measured_rate=rate)


@styled
def draw(ds: xarray.Dataset) -> Figure:
    """Draw the measured rates, one panel for each attention spectrum, the predicted circles on top."""
    lows, x, y = ds.lambda_min.values, ds.re.values, ds.im.values
    dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    fig, axes = figure(4.35, nrows=len(lows), sharex=True, squeeze=False)
    angle = np.linspace(0, np.pi, 361)
    for label, ax, low in zip("abcdefgh", axes[:, 0], lows, strict=False):
        rate = ds.measured_rate.sel(lambda_min=low).mean("replicate").transpose("im", "re").values
        mesh = ax.pcolormesh(x, y, rate, cmap=MAP, vmin=-LIMIT, vmax=LIMIT, rasterized=True)
        centre, radius = disk(float(low))
        outlined(ax.plot(centre + radius * np.cos(angle), radius * np.sin(angle), color="black")[0])
        ax.set(xlim=(x[0] - dx, x[-1] + dx), ylim=(0, y[-1] + dy), aspect="equal", ylabel="Im $\\mu$")
        ax.set_title(label, loc="left", fontweight="bold", pad=3)
        ax.set_title(f"$\\lambda_{{\\min}}={low:g}$, predicted radius {radius:.2f}", loc="right", pad=3)
    for text, where in (
        ("sharpening", (-1.65, 0.6)),
        ("smoothing", (0.55, 1.2)),
        ("smoothing", (-3.5, 1.75)),
    ):
        outlined(axes[0, 0].text(*where, text, ha="center", va="center"))
    axes[-1, 0].set_xlabel("Re $\\mu$")
    fig.colorbar(
        mesh, ax=axes, pad=0.02, aspect=40, extend="both", label="measured change of ln(HFC/LFC) per layer"
    )
    return fig


def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the counts of the dataset itself."""
    rate, margin = ds.measured_rate, ds.predicted_margin
    inside = _inside(ds)
    agree = (rate > 0) == inside
    wrong = int((~agree).sum())
    nearest = float(np.abs(margin).where(~agree).max()) if wrong else 0.0
    count = ds.measured_rate.size
    panels = ", ".join(f"{'abcdefgh'[k]}, lambda_min = {v:g}" for k, v in enumerate(ds.lambda_min.values))
    turning = 4 * np.log(CONDITION) / float(ds.layer[1] - ds.layer[0])
    text = (
        f"The sharpening disk, measured in {count:,} random systems ({TOKENS} tokens, 2 features, symmetric "
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
            f"{turning:.3f} that turning in an oblique basis can add"
        )
    return f"{text}. The lower half plane is the mirror image, as H is real."


def _inside(ds: xarray.Dataset) -> Any:
    """Whether mu lies in the open disk of its lambda_min."""
    radius = 1 / (1 + ds.lambda_min)
    return np.hypot(ds.re + radius, ds.im) < radius
