"""Where plain double precision stops seeing tokens converge, and how far a split state goes.

One smoothing system, iterated plainly and as invariant parts; the truth is
the same system in integers of thousands of bits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, tokens, weights
from linsim.rules import Linear
from linsim.streams import philox
from linsim.theory import predict

from .palette import ROLES, colour
from .style import below, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "closed_form", "compute", "draw", "exact", "message", "plain", "system"]

QUICK = {"depth": 400, "step": 40, "shallow": 60, "check": 40}
#: bits below the point of the integers; every mode that matters here grows, so this is ample
BITS = 1024
ATTENTION = (1.0, 0.7, *np.linspace(-0.2, 0.5, 10))
WEIGHTS = (2.0, 0.3, 0.1)

_NAMES = ("token_diversity", "cosine_gap", "rank_gap")
_LINES = {
    "token_diversity": ("token diversity", "tokens"),
    "cosine_gap": ("1 $-$ cosine", "angles"),
    "rank_gap": ("$\\sigma_2/\\sigma_1$", "rank"),
}

_READ = ("split", "naive", "careful", "exact", "closed_form", "measure", "layer", "check", "bits", "shallow")


def system(seed: int) -> tuple[Any, Any, Any]:
    """Draw A (12, 12), H (3, 3) and x0 (12, 3): symmetric, fixed spectra, random bases and tokens.

    Examples
    --------
    >>> A, H, x0 = system(0)
    >>> A.shape, H.shape, x0.shape
    ((12, 12), (3, 3), (12, 3))
    """
    rng = philox(seed, 0)
    A = attention.from_spectrum(ATTENTION, rng=rng)
    H = weights.from_spectrum(WEIGHTS, rng=rng)
    return A, H, tokens.gaussian(len(ATTENTION), len(WEIGHTS), rng=rng)


def plain(A: Any, H: Any, x0: Any, layers: Any) -> tuple[Any, Any]:
    """Iterate plainly, X / ||X|| at every layer; return naive and careful ln gaps, (3, k) each.

    Naive: 1 - similarity, 1 - mean cosine.  Careful: ||X - mean||^2 / ||X||^2
    and the variance of unit rows, which subtract vectors before they square.
    The ratio of singular values is the same in both.  A gap that comes out as
    0 or less is NaN.
    """
    n, X = len(A), np.array(x0)
    naive, careful = [], []
    wanted = set(map(int, layers))
    for layer in range(int(max(layers)) + 1):
        if layer in wanted:
            mean, units = X.mean(axis=0), X / np.linalg.norm(X, axis=1, keepdims=True)
            sigma = np.linalg.svd(X, compute_uv=False)
            cosines = units @ units.T
            rank = sigma[1] / sigma[0]
            similarity = n * np.sum(mean**2) / np.sum(X**2)
            naive.append((1 - similarity, 1 - cosines[np.triu_indices(n, 1)].mean(), rank))
            spread = np.sum((units - units.mean(axis=0)) ** 2) / (n - 1)
            careful.append((np.sum((X - mean) ** 2) / np.sum(X**2), spread, rank))
        X = X + A @ X @ H
        X /= np.linalg.norm(X)

    def logs(gaps: Any) -> Any:
        gaps = np.array(gaps).T
        return np.log(np.where(gaps > 0, gaps, np.nan))

    return logs(naive), logs(careful)


def exact(A: Any, H: Any, x0: Any, layers: Any, bits: int = BITS) -> Any:
    """Return ln gaps (3, k) from integers: X in units of 2**-bits, A with row sums of exactly 1.

    Python integers neither overflow nor round, but for one shift a layer.
    """
    unit = 1 << 80

    def integers(M: Any, scale: int) -> Any:
        return np.array(
            [[int(math.ldexp(x, 80)) * (scale // unit) for x in row] for row in M.tolist()], dtype=object
        )

    n = len(A)
    P, W, X = integers(A, unit), integers(H, unit), integers(x0, 1 << bits)
    for i in range(n):
        P[i, i] += unit - sum(P[i])
    out, wanted = [], set(map(int, layers))
    for layer in range(int(max(layers)) + 1):
        if layer in wanted:
            out.append(_gaps(X))
        X = X + (P @ X @ W >> 160)
    return np.array(out).T


def _gaps(X: Any) -> tuple[float, float, float]:
    """Natural logarithms of the gaps of one integer matrix of 3 columns."""
    n = len(X)
    total, column = int(np.sum(X * X)), X.sum(axis=0)
    diversity = math.log(n * total - int(column @ column)) - math.log(n * total)
    rows = X @ X.T
    logs = []
    for i in range(n):
        for k in range(i):
            product = rows[i, i] * rows[k, k]
            sine = math.log(product - rows[i, k] ** 2) - math.log(product)
            # 1 - cos = sin^2 / (1 + cos)
            cosine = math.sqrt(-math.expm1(sine)) * (1 if rows[i, k] > 0 else -1)
            logs.append(sine - math.log1p(cosine))
    angle = float(np.logaddexp.reduce(logs)) - math.log(len(logs))
    # squares of the singular values: roots of the cubic with coefficients e_k
    G = X.T @ X
    t1, t2, t3 = (int(np.trace(M)) for M in (G, G @ G, G @ G @ G))
    e2, e3 = (t1 * t1 - t2) // 2, (t1**3 - 3 * t1 * t2 + 2 * t3) // 6
    c2, c3 = math.log(e2) - 2 * math.log(t1), math.log(e3) - 3 * math.log(t1)
    # s_k = ln(sigma_k^2 / sum): fixed point of the three relations, written without cancellation;
    # converges fast once the singular values are apart, so not at layer 0
    s1, s2, s3 = 0.0, c2, c3 - c2
    for _ in range(200):
        s1 = math.log1p(-math.exp(s2) - math.exp(s3))
        s2 = c2 - s1 - math.log1p(math.exp(s3 - s2) + math.exp(s3 - s1))
        s3 = c3 - s1 - s2
    return diversity, angle, (s2 - s1) / 2


def closed_form(A: Any, H: Any, x0: Any, layers: Any) -> Any:
    """Return ln token diversity (k,) from the modes of symmetric A and H: sums of |rho|^2l |c|^2."""
    lam, v = np.linalg.eigh(A)
    mu, w = np.linalg.eigh(H)
    with np.errstate(divide="ignore"):
        terms = 2 * np.log(np.abs(v.T @ x0 @ w))
        steps = 2 * np.log(np.abs(1 + np.multiply.outer(lam, mu)))
    logs = terms + np.asarray(layers)[:, None, None] * steps
    everything = np.logaddexp.reduce(logs.reshape(len(logs), -1), axis=1)
    return np.logaddexp.reduce(logs[:, :-1].reshape(len(logs), -1), axis=1) - everything


def compute(
    *, seed: int = 0, depth: int = 1200, step: int = 10, shallow: int = 200, check: int = 25
) -> xarray.Dataset:
    """Run one system plainly, as invariant parts, and in integers.

    Parameters
    ----------
    depth : int
    step, shallow : int
        Every so many layers are recorded, and all of the first ``shallow`` ones.
    check : int
        Every so many layers the truth is evaluated.
    """
    import xarray as xr

    A, H, x0 = system(seed)
    layers = np.array(
        sorted({*range(min(shallow, depth)), *range(0, depth, step), *range(0, depth, check), depth})
    )
    checks = np.array(sorted({*range(check, depth, check), depth}))
    rule = Linear(A, H)
    run = simulate(rule, x0, depth, layers=layers, metrics=[f"log_{name}" for name in _NAMES])
    naive, careful = plain(A, H, x0, layers)
    law = predict(rule)
    dims = ("measure", "layer")
    return xr.Dataset(
        {
            "split": (dims, np.array([run.metrics[f"log_{name}"] for name in _NAMES])),
            "naive": (dims, naive),
            "careful": (dims, careful),
            "exact": (("measure", "check"), exact(A, H, x0, checks)),
            "closed_form": ("check", closed_form(A, H, x0, checks)),
            "predicted_rate": ("measure", [law.rates[name] for name in _NAMES]),
        },
        coords={"measure": list(_NAMES), "layer": layers, "check": checks},
        attrs={"seed": seed, "bits": BITS, "shallow": shallow, "quantities": "natural logarithms of gaps"},
    )


def _error(ds: xarray.Dataset) -> Any:
    """Relative error of the split against the integers, dims (measure, check)."""
    return np.expm1(ds.split.sel(layer=ds.check.values).rename(layer="check") - ds.exact)


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    lowest = float(ds.exact.min()) / np.log(10)
    if float(np.abs(_error(ds)).max()) < 1e-8 and min(_floors(ds).values()) > lowest + 20:
        floor = min(_floors(ds).values())
        return f"Plain arithmetic stops at 1e{floor:.0f}; split states go on to 1e{lowest:.0f}"
    return "Where plain double precision stops, and how far split states go"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the first layers, where plain arithmetic stops; the whole depth; and the error of the split."""
    fig, found = panels(axes, 3, title=message(ds), height=5.8, ratios=[1.25, 1.25, 0.65])
    first, whole, last = found
    layer, check, ten = ds.layer.values, ds.check.values, 1 / np.log(10)
    depth, shallow = int(layer[-1]), min(ds.attrs["shallow"], int(layer[-1]))
    error = _error(ds)
    power = int(np.floor(np.log10(max(float(np.abs(error).max()), 1e-16))))
    for name, (_, role) in _LINES.items():
        hue = colour(role)
        solid = {"color": hue, "linestyle": ROLES[role].dashes}
        split, naive, careful = (
            ds[kind].sel(measure=name).values * ten for kind in ("split", "naive", "careful")
        )
        for ax in (first, whole):
            ax.plot(layer, split, **solid)
            ax.plot(layer, careful, **solid, linewidth=0.6)
        lost = int(np.argmax(np.isnan(naive)))
        if lost > 0:
            first.plot(layer[lost - 1], naive[lost - 1], "x", color=hue, markersize=6, markeredgewidth=1.5)
        truth = ds.exact.sel(measure=name).values * ten
        whole.plot(
            check[::-4],
            truth[::-4],
            ROLES[role].marker,
            color=hue,
            markerfacecolor="white",
            markersize=3.5,
            clip_on=False,
        )
        relative = error.sel(measure=name).values / 10.0**power
        last.plot(check, relative, f"{ROLES[role].marker}-", color=hue, linewidth=0.5, markersize=2.5)
    floors = _floors(ds)
    note = "$\\times$  1 $-$ similarity, 1 $-$ mean cosine:\nonly rounding from here on"
    first.text(0.985 * shallow, 0.5, note, ha="right", va="top")
    note = f"$\\sigma_2/\\sigma_1$ by SVD stops at $10^{{{floors['rank_gap']:.0f}}}$"
    first.text(0.985 * shallow, floors["rank_gap"] + 1.2, note, ha="right")
    note = f"careful formulas\nstop at $10^{{{floors['cosine_gap']:.0f}}}$"
    first.text(0.985 * shallow, floors["cosine_gap"] - 9, note, ha="right", va="top")
    for name, x, y in (
        ("token_diversity", 0.985, -24.5),
        ("cosine_gap", 0.225, -45),
        ("rank_gap", 0.48, -45),
    ):
        first.text(x * shallow, y, _LINES[name][0], color=colour(_LINES[name][1]), ha="right")
    for name, (label, role) in _LINES.items():
        end = float(ds.split.sel(measure=name)[-1]) * ten
        height = 0.03 * float(ds.split.sel(measure="cosine_gap")[-1]) * ten
        whole.text(0.985 * depth, 0.8 * end - height, label, color=colour(role), ha="right", va="bottom")
    black: Any = {"color": "black"}
    handles = [
        whole.plot([], [], **black)[0],
        whole.plot([], [], "o", markerfacecolor="white", markersize=3.5, **black)[0],
        whole.plot([], [], **black, linewidth=0.6)[0],
    ]
    names = ["split, double precision", "truth, long integers", "plain double precision"]
    whole.legend(handles, names, loc="lower left", handlelength=1.6, borderaxespad=0.2)
    first.set(xlim=(0, shallow), ylim=(-51, 1), xlabel="layer", ylabel="log$_{10}$ of gap")
    whole.set(xlim=(0, depth), ylabel="log$_{10}$ of gap")
    last.set(xlim=(0, depth), ylabel=f"error of split\n($10^{{{power}}}$ of gap)")
    last.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    below([whole, last], "layer")
    return fig


def _floors(ds: xarray.Dataset) -> dict[str, float]:
    """Log10 of the level at which careful plain arithmetic stays, over the last half of the layers."""
    half = ds.careful.where(ds.layer >= ds.layer[-1] / 2, drop=True).median("layer") / np.log(10)
    return {name: float(half.sel(measure=name)) for name in _NAMES}


def _lost(ds: xarray.Dataset, kind: str, name: str) -> int:
    """First recorded layer at which a plain gap is off by 10 percent, or not positive."""
    row = ds.sel(measure=name)
    off = ~(np.abs(np.expm1(np.clip(row[kind] - row.split, -700, 700))) < 0.1)
    return int(ds.layer[int(np.argmax(off.values))])


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    floors, depth = _floors(ds), int(ds.layer[-1])
    ends = {name: float(ds.exact.sel(measure=name)[-1]) / np.log(10) for name in _NAMES}
    split = float(np.abs(_error(ds)).max())
    diversity = ds.split.sel(measure="token_diversity", layer=ds.check.values).values
    modes = float(np.abs(np.expm1(diversity - ds.closed_form)).max())
    return (
        f"{message(ds)}. One smoothing system X <- X + A X H ({len(ATTENTION)} tokens, "
        f"{len(WEIGHTS)} features, symmetric A and H with prescribed spectra, random bases and tokens). "
        "Gaps: token diversity 1 - t_sim (solid), 1 - mean cosine (dashed), sigma_2/sigma_1 "
        "(dash-dotted). a, "
        "the first layers. Plain iteration, renormalised at every layer: the usual formulas are 10 percent "
        f"off at layer {_lost(ds, 'naive', 'cosine_gap')} (1 - mean cosine) and "
        f"{_lost(ds, 'naive', 'token_diversity')} (1 - t_sim), and soon give 0 or less (crosses: the last "
        "layer before). Careful formulas, which subtract before they square (thin), stay at "
        f"1e{floors['token_diversity']:.1f} and 1e{floors['cosine_gap']:.1f}, 10 percent off from layers "
        f"{_lost(ds, 'careful', 'token_diversity')} and {_lost(ds, 'careful', 'cosine_gap')} on; singular "
        f"values stay at 1e{floors['rank_gap']:.1f}, from layer {_lost(ds, 'careful', 'rank_gap')} on. b, "
        "the state split into invariant parts, in the same double precision (lines), follows the truth from "
        f"integers with {ds.attrs['bits']} bits below the point (circles) to layer {depth}: "
        f"1e{ends['token_diversity']:.0f}, 1e{ends['cosine_gap']:.0f} and 1e{ends['rank_gap']:.0f}. c, "
        f"relative error of the split: at most {split:.1e}, and {modes:.1e} against the closed form of the "
        "token diversity, sums of |rho|^(2l) |c|^2. The natural logarithm of 1e-900, rounded to double "
        "precision, alone carries 2e-13."
    )
