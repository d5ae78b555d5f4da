"""Signs of layer norm gains: which share of negative ones turns sharpening weights into smoothing ones.

Weights H = -S with S symmetric positive definite sharpen; a gain gamma makes
diag(gamma) H of them.  Counts over random S and gains; the spectrum decides
exactly for the linear layer, and simulated pre-norm stacks stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, tokens, weights
from linsim.block import Block
from linsim.theory import pre_norm_ratio, real_regime, swap_ratios

from .palette import REGIMES
from .style import below, outlined, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message", "systems"]

TOKENS, FEATURES = 6, 8
#: condition numbers of S, one a map; its eigenvalues are log-spaced below LARGEST
CONDITIONS = (3.0, 30.0)
LARGEST = 0.5
#: gains are +-exp(SPREAD z), z standard normal
SPREAD = 0.25
QUICK = {"lambda_min": (-0.9, -0.6, -0.3, 0.0), "low": (-0.3,), "draws": 60, "stacks": 2, "depth": 60}

_READ = (
    "linear",
    "predicted",
    "simulated",
    "apart",
    "draws",
    "stacks",
    "depth",
    "negative",
    "lambda_min",
    "low",
)

#: factor of the weights of stacks: how fast they leave their start behind, which is all that their size does
STRENGTH = 10.0
#: probability with which any interval of the figure misses the truth
ERROR = 1e-3


def systems(negative: int, condition: float, size: int, rng: Any) -> tuple[Any, Any]:
    """Draw weights and gains.

    Parameters
    ----------
    negative : int
        How many of the 8 gains are negative.
    condition : float
        2-norm condition number of S.
    size : int
        Number of draws.
    rng : numpy.random.Generator

    Returns
    -------
    (gains (size, 8), weights (size, 8, 8))

    Examples
    --------
    >>> gains, H = systems(3, 10.0, 2, 0)
    >>> (gains < 0).sum(axis=-1).tolist(), np.linalg.eigvalsh(H).max(axis=-1).round(12).tolist()
    ([3, 3], [-0.05, -0.05])
    """
    rng = np.random.default_rng(rng)
    spectrum = LARGEST * condition ** np.linspace(0, -1, FEATURES)
    S = weights.from_spectrum(np.broadcast_to(spectrum, (size, FEATURES)), rng=rng)
    gains = np.exp(SPREAD * rng.standard_normal((size, FEATURES)))
    gains[:, :negative] *= -1
    return gains, -S


def compute(
    *,
    seed: int = 0,
    lambda_min: Sequence[float] = tuple(np.linspace(-0.95, 0.0, 39).tolist()),
    low: Sequence[float] = (-0.2, -0.4, -0.6),
    draws: int = 1200,
    stacks: int = 10,
    depth: int = 500,
) -> xarray.Dataset:
    """Count the draws that smooth: ``linear``, and of the pre-norm stacks ``predicted`` and ``simulated``.

    Parameters
    ----------
    lambda_min : sequence of float
        Smallest eigenvalues of the attention, of the maps.
    low : sequence of at most 3 floats
        Those of the simulated stacks.
    draws : int
        Draws of S and gains for each share and condition.
    stacks, depth : int
        Simulated stacks for each share, and their layers.
    """
    import xarray

    lows = np.asarray(lambda_min)
    rng = np.random.default_rng(seed)
    shares = np.arange(FEATURES + 1)
    linear = np.zeros((len(CONDITIONS), len(shares), len(lows)), dtype=int)
    predicted, simulated, apart = (np.zeros((len(low), len(shares)), dtype=int) for _ in range(3))
    for k in shares:
        for c, condition in enumerate(CONDITIONS):
            gains, H = systems(int(k), condition, draws, rng)
            # similar to the symmetric -L^T diag(gamma) L, where S = L L^T
            root = np.linalg.cholesky(-H)
            mu = np.linalg.eigvalsh(-np.swapaxes(root, -1, -2) @ (gains[:, :, None] * root))
            regime = real_regime(mu[:, :1], mu[:, -1:], lows)
            linear[c, k] = np.sum(regime == "smoothing", axis=0)
        for i, lowest in enumerate(low):
            A = attention.from_spectrum([1, 0.2, 0.1, 0, -0.1, lowest], rng=rng)
            gains, H = systems(int(k), CONDITIONS[-1], stacks, rng)
            x0 = tokens.gaussian(TOKENS, FEATURES, size=stacks, rng=rng)
            block = Block(A, weights=STRENGTH * H, norm="pre", gain=gains)
            run = simulate(block, x0, depth, layers=[depth // 2, depth], metrics=["log_hfc_lfc"])
            half, end = run.metrics["log_hfc_lfc"].T
            # what falls towards tokens at +-u stays above 1
            smooths = (end < half) & (end < 0)
            ratio = pre_norm_ratio(A, H, gains)
            predicted[i, k], simulated[i, k] = np.sum(ratio < 1), np.sum(smooths)
            apart[i, k] = np.sum((ratio < 1) != smooths)
    stack = ("low", "negative")
    return xarray.Dataset(
        {
            "linear": (("condition", "negative", "lambda_min"), linear),
            "predicted": (stack, predicted),
            "simulated": (stack, simulated),
            "apart": (stack, apart),
        },
        coords={
            "condition": np.array(CONDITIONS),
            "negative": shares,
            "lambda_min": lows,
            "low": np.array(low),
        },
        attrs={"draws": draws, "stacks": stacks, "depth": depth, "seed": seed},
    )


def _interval(count: Any, size: int) -> tuple[Any, Any]:
    """Clopper and Pearson's interval of a share, at 1 - ERROR."""
    from scipy.stats import beta

    count = np.asarray(count)
    low = beta.ppf(ERROR / 2, np.maximum(count, 1), size - count + 1)
    high = beta.ppf(1 - ERROR / 2, count + 1, np.maximum(size - count, 1))
    return np.where(count == 0, 0.0, low), np.where(count == size, 1.0, high)


def _band(ds: xarray.Dataset) -> float:
    """Half width of a band around all shares of the maps at once (Dvoretzky, Kiefer, Wolfowitz; Massart)."""
    curves = ds.sizes["condition"] * ds.sizes["negative"]
    return float(np.sqrt(np.log(2 * curves / ERROR) / (2 * ds.attrs["draws"])))


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    share = ds.linear / ds.attrs["draws"]
    at_zero = share.sel(negative=ds.negative > 0, lambda_min=ds.lambda_min == 0)
    if at_zero.size and bool((at_zero == 1).all()) and bool((share.sel(negative=0) == 0).all()):
        return "One negative layer-norm gain is enough to turn sharpening into smoothing, if λ_min = 0"
    return "Which share of negative layer-norm gains turns sharpening into smoothing"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw one map for each condition number, and the simulated stacks below."""
    count = ds.sizes["condition"]
    fig, found = panels(axes, count + 1, title=message(ds), height=1.55 * count + 2.3)
    share = ds.negative.values / FEATURES
    half = 0.5 / FEATURES
    for ax, condition in zip(found, ds.condition.values, strict=False):
        value = (
            ds.linear.sel(condition=condition).transpose("lambda_min", "negative").values / ds.attrs["draws"]
        )
        # from sharpening to smoothing, as the map has them
        mesh = ax.pcolormesh(
            share, ds.lambda_min.values, value, cmap=f"{REGIMES}_r", vmin=0, vmax=1, rasterized=True
        )
        # one negative gain of the size of the others is enough above this
        sure = -1 / swap_ratios(-1 + 1e-9, condition)[1]
        outlined(ax.axhline(sure, color="black", linestyle="--", linewidth=1))
        ax.set(xlim=(-half, 1 + half), ylabel=r"attention $\lambda_{\min}$")
        ax.set_title(f"linear layer, condition of $S$: {condition:g}", loc="right")
    fig.colorbar(mesh, ax=found[:count], pad=0.02, aspect=30, label="share of draws that smooth")
    ax = found[-1]
    size = ds.attrs["stacks"]
    looks = (("solid", "o", "0"), ((0, (4, 1.6)), "s", "0.35"), ((0, (1, 1.2)), "^", "0.6"))
    for i, (low, (dashes, marker, grey)) in enumerate(zip(ds.low.values, looks, strict=False)):
        chosen = ds.sel(low=low)
        shown = chosen.simulated.values / size
        least, most = _interval(chosen.simulated.values, size)
        ax.plot(share, chosen.predicted.values / size, color=grey, linestyle=dashes)
        ax.errorbar(
            share + (i - 1) * 0.008,
            shown,
            yerr=[shown - least, most - shown],
            fmt=marker,
            linewidth=0.8,
            color=grey,
            label=rf"$\lambda_{{\min}}={low:g}$",
        )
    ax.set(xlim=(-half, 1 + half), ylabel="share that smooths")
    ax.legend(loc="lower right")
    ax.set_title(f"pre-norm stacks, condition {ds.condition.values[-1]:g}", loc="right")
    below(found, "share of negative gains")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the counts of the dataset itself."""
    maps = "; ".join(f"{'abcdef'[k]}, S of condition number {c:g}" for k, c in enumerate(ds.condition.values))
    draws, sizes = ds.attrs["draws"], ds.sizes
    stacks = int(sizes["low"] * sizes["negative"] * ds.attrs["stacks"])
    at_zero = ds.linear.sel(negative=ds.negative > 0).isel(lambda_min=-1).values.min() / draws
    return (
        f"{message(ds)}. Layer norm gains of mixed signs in front of sharpening weights H = -S "
        f"({FEATURES} features, S "
        "symmetric with log-spaced eigenvalues and Haar eigenvectors, gains +-exp"
        f"({SPREAD:g} z)). {maps}: share of {draws:,} draws in which diag(gamma) H smooths, by the share of "
        "negative gains and the smallest eigenvalue of the attention; every value is within "
        f"{_band(ds):.3f} of the truth, with probability {1 - ERROR:g} for all at once. Above the dashed "
        "line, -1/condition, a single negative gain swaps the regime of any S if all gains have one size. At "
        f"lambda_min = {float(ds.lambda_min[-1]):g} the least share with a negative gain is {at_zero:.1%}. "
        f"{'abcdef'[sizes['condition']]}: {stacks:,} stacks with a true layer norm ({TOKENS} tokens, "
        f"{ds.attrs['depth']} layers; counted as smoothing: HFC/LFC falls over the second half, and ends "
        f"below 1), {1 - ERROR:.1%} intervals; lines: the share in which tokens that are alike are stable, "
        "by the spectrum of the centred diag(gamma) H alone. The two verdicts differ in "
        f"{int(ds.apart.sum())} stacks."
    )
