r"""What the weights alone say about each layer: the spectrum of H, raw and effective.

The law is about X -> X + A X H.  *Raw* is H = W_V W_O as stored.  *Effective* is the H that the
residual stream meets.  Where a norm stands before attention, x W_V W_O is fed with

    N(x) = (x - mean(x)) diag(g) / sigma + b,   so   H = C diag(g) W_V W_O diag(s) / sigma,

C the centring (none in an RMS norm), g the gain, s the layer scale (derived from the definition of the
norm; b only moves all tokens alike).  The factor 1/sigma is that of a token: without an input it is not
known, and eigenvalues are those at sigma = 1.  Where the norm follows the sum, it acts on stream and
branch alike, and H is as stored but for the layer scale.

No d x d product is formed.  W_V W_O has the nonzero eigenvalues of W_O W_V, which is as small as the
heads are narrow; what is left of d is exactly zero, and is counted apart: rounding would give it signs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from ._blocks import Blocks
from ._parts import ValuePath
from ._tensors import Array

__all__ = ["Factors", "LayerSpectra", "Spectrum", "factors", "of_path", "spectra"]


@dataclass(frozen=True)
class Factors:
    """H of head h as left[h // group], (d, w), times right[h], (w, d), and the largest rank it can have.

    ``left`` is float64, (k, d, w): heads of a group share their values.  ``right`` keeps the stored dtype
    where nothing is folded in, (h, w, d): a float64 copy of every projection would be most of the memory.
    """

    left: Array
    right: Array
    head_rank: int
    rank: int

    @property
    def group(self) -> int:
        """How many heads share one left factor."""
        return len(self.right) // len(self.left)

    def head(self, h: int) -> tuple[Array, Array]:
        """Return the factors of one head, float64."""
        return self.left[h // self.group], self.right[h].astype(np.float64)

    def each(self) -> tuple[Array, Array]:
        """Return the factors of every head, (h, d, w) and (h, w, d), float64."""
        return np.repeat(self.left, self.group, axis=0), self.right.astype(np.float64)

    def together(self) -> tuple[Array, Array]:
        """Return the sum over heads as (d, k w) times (k w, d), float64: projections of a group add up."""
        kv_heads, d, width = self.left.shape
        right = self.right.reshape(kv_heads, self.group, width, d).sum(axis=1, dtype=np.float64)
        return self.left.swapaxes(0, 1).reshape(d, kv_heads * width), right.reshape(kv_heads * width, d)


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one H.

    Attributes
    ----------
    eigenvalues : complex array
        Those that are not exactly zero, by real part.
    exact_zeros : int
        How many of the d eigenvalues are zero whatever the numbers.
    asymmetry : float
        ||H - H^T||_F / (2 ||H||_F): 0 for a symmetric, 1 for a skew H.
    """

    eigenvalues: Array
    exact_zeros: int
    asymmetry: float

    def scaled(self, factor: float) -> Spectrum:
        """Return the spectrum of ``factor`` times H."""
        return Spectrum(self.eigenvalues * factor, self.exact_zeros, self.asymmetry)

    @property
    def whole(self) -> Array:
        """All d eigenvalues, the exact zeros behind the others."""
        return np.concatenate([self.eigenvalues, np.zeros(self.exact_zeros)])

    def _share(self, chosen: Array) -> float:
        return float(np.mean(chosen)) if self.eigenvalues.size else float("nan")

    @property
    def real_min(self) -> float:
        """Smallest real part of all d eigenvalues."""
        return float(self.whole.real.min())

    @property
    def real_max(self) -> float:
        """Largest real part of all d eigenvalues."""
        return float(self.whole.real.max())

    @property
    def fraction_negative(self) -> float:
        """Share with negative real part among those that are not exactly zero."""
        return self._share(self.eigenvalues.real < 0)

    @property
    def fraction_in_unit(self) -> float:
        """Share with real part in [-1, 0), likewise."""
        return self._share((self.eigenvalues.real >= -1) & (self.eigenvalues.real < 0))

    def fraction_beyond(self, lambda_min: float) -> float:
        """Share with real part below -2/(1 + lambda_min), where the constant mode wins again."""
        return self._share(self.eigenvalues.real < -2 / (1 + lambda_min))

    def fraction_sharpening(self, lambda_min: float) -> float:
        """Share at which lambda_min beats 1: the open disk |mu + 1/(1+a)| < 1/(1+a) (dominance.boundary)."""
        radius = 1 / (1 + lambda_min)
        return self._share(np.abs(self.eigenvalues + radius) < radius)

    @property
    def dominant(self) -> complex:
        """The eigenvalue with the largest |1 + mu|, of a pair the upper one."""
        growth = np.abs(1 + self.whole)
        ties = self.whole[growth >= growth.max() * (1 - 1e-9)]
        return complex(ties[np.argmax(ties.imag)])

    @property
    def growth(self) -> float:
        """Largest |1 + mu|: what one layer does to the constant mode."""
        return float(np.abs(1 + self.whole).max())

    def log_rate(self, others: Array) -> float:
        """Return ln of max |1 + lambda mu| over these lambda, less that of max |1 + mu|.

        Negative: the constant mode wins, and ln HFC/LFC falls by this much a layer in the long run
        (rates of dominance.global); positive: the others win.
        """
        best = np.abs(1 + np.asarray(others)[:, None] * self.whole).max()
        return float(np.log(best) - np.log(self.growth))

    def regime(self, lambda_min: float) -> str:
        """Return "smoothing", "sharpening" or "balanced", for a real spectrum of A down to lambda_min.

        Eigenvalues are known to about 1e-9 of the largest, so what differs by less is balanced.
        """
        rate = self.log_rate(np.array([lambda_min]))
        return "balanced" if abs(rate) < 1e-9 else "smoothing" if rate < 0 else "sharpening"

    def sharpens_within(self, lambda_min: float) -> list[tuple[float, float]]:
        """Return the intervals of sigma in which H/sigma sharpens, from 0 to infinity.

        |1 + mu/sigma| grows like 1/sigma for small sigma, so there the constant mode wins.
        """
        scale = max(float(np.abs(self.whole).max()), 1e-300)
        inverse = np.concatenate([[1e-6], np.logspace(-4, 2, 241), [1e6]]) / scale
        a = np.array([lambda_min])

        def rate(s: float) -> float:
            return self.scaled(s).log_rate(a)

        rates = np.array([rate(s) for s in inverse])
        rates[np.abs(rates) < 1e-12] = 0.0
        ends = []
        inside = rates[0] > 0
        edges = [np.inf] if inside else []
        for low, high, after in zip(inverse[:-1], inverse[1:], rates[1:] > 0, strict=True):
            if after != inside:
                for _ in range(40):  # bisection, in the logarithm
                    middle = float(np.sqrt(low * high))
                    low, high = (middle, high) if (rate(middle) > 0) == inside else (low, middle)
                edges.append(1 / high)
                inside = bool(after)
        if inside:
            edges.append(0.0)
        for upper, lower in zip(edges[::2], edges[1::2], strict=True):
            ends.append((float(lower), float(upper)))
        return ends[::-1]


@dataclass(frozen=True)
class LayerSpectra:
    """One layer: all heads together and each apart, raw and effective."""

    layer: int
    raw: Spectrum
    effective: Spectrum
    raw_heads: tuple[Spectrum, ...]
    effective_heads: tuple[Spectrum, ...]
    #: gains of the norm of this sublayer: how many are negative, and how many there are
    negative_gains: int
    gains: int
    #: entries of the layer scale that are negative; each turns the sign of a row of what is added
    negative_scales: int
    #: whether the effective spectrum still has to be divided by a token's sigma
    over_sigma: bool


def factors(path: ValuePath, *, effective: bool) -> Factors:
    """Return H of every head in two factors, float64, sigma = 1.

    Parameters
    ----------
    path : ValuePath
    effective : bool
        Whether the norm before it and the layer scale are folded in.
    """
    heads, width, d = path.heads, path.head_width, path.output.weight.shape[1]
    value = path.value.weight.astype(np.float64).reshape(d, path.kv_heads, width)
    right = path.output.weight.reshape(heads, width, d)
    feed = d  # how many features of a token reach the values
    if effective:
        if path.order == "pre" and path.norm is not None:
            value = path.norm.gain.astype(np.float64)[:, None, None] * value
            lost = int(np.sum(path.norm.gain == 0))
            if path.norm.centred:
                value = value - value.mean(axis=0)
                lost = max(lost, 1)  # a gain of 0 loses a feature, and the mean is lost with it
            feed -= lost
        if path.layer_scale is not None:
            right = right * path.layer_scale.astype(np.float64)
    rank = min(path.kv_heads * width, feed)
    return Factors(value.swapaxes(0, 1), right, min(width, feed), rank)


def _spectrum(left: Array, right: Array, rank: int) -> Spectrum:
    """Return the spectrum of left @ right, (d, w) times (w, d), of a rank that is known from outside."""
    d, width = left.shape
    small = right @ left if width < d else left @ right
    mu = np.linalg.eigvals(small).astype(complex)
    # Some are singular by their numbers, as of a head that was pruned.  Singular values are known to
    # rounding of the largest; how far a zero eigenvalue is moved has no such bound.
    sizes = np.linalg.svd(small, compute_uv=False)
    rank = min(rank, int(np.sum(sizes > len(small) * np.finfo(np.float64).eps * sizes[0])))
    mu = mu[np.argsort(np.abs(mu))][max(mu.size - rank, 0) :]
    square = float(np.sum((left.T @ left) * (right @ right.T)))  # ||H||_F^2
    trace = float(np.sum(small * small.T))  # trace of H^2
    skew = np.sqrt(max(square - trace, 0.0) / (2 * square)) if square > 0 else 0.0
    return Spectrum(mu[np.lexsort([mu.imag, mu.real])], d - mu.size, float(skew))


def _all(path: ValuePath, *, effective: bool) -> tuple[Spectrum, tuple[Spectrum, ...]]:
    parts = factors(path, effective=effective)
    heads: tuple[Spectrum, ...] = ()
    if path.heads > 1:
        heads = tuple(_spectrum(*parts.head(h), parts.head_rank) for h in range(path.heads))
    return _spectrum(*parts.together(), parts.rank), heads


def of_path(layer: int, path: ValuePath) -> LayerSpectra:
    """Return the spectra of one layer."""
    raw, raw_heads = _all(path, effective=False)
    folded = (path.order == "pre" and path.norm is not None) or path.layer_scale is not None
    effective, heads = _all(path, effective=True) if folded else (raw, raw_heads)
    gain = None if path.norm is None else path.norm.gain
    return LayerSpectra(
        layer,
        raw,
        effective,
        raw_heads,
        heads,
        0 if gain is None else int(np.sum(gain < 0)),
        0 if gain is None else gain.size,
        0 if path.layer_scale is None else int(np.sum(path.layer_scale < 0)),
        path.order == "pre" and path.norm is not None,
    )


@on_one_thread
def spectra(blocks: Blocks, *, workers: int | None = None) -> list[LayerSpectra]:
    """Return the spectra of every layer; a shared block is computed once.

    Layers go to threads: LAPACK computes eigenvalues on one core, however many there are.  Each holds
    its own two matrices only, so memory stays at a few layers however large the file is.
    """
    import os

    workers = workers or min(os.cpu_count() or 1, 4)
    _validate.count(workers, "workers", minimum=1)
    first = {blocks.stored(layer): layer for layer in reversed(range(blocks.count))}
    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(lambda layer: of_path(layer, blocks.value_path(layer)), first.values()))
    found = dict(zip(first, done, strict=True))
    return [replace(found[blocks.stored(layer)], layer=layer) for layer in range(blocks.count)]
