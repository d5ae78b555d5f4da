"""Layers of two kinds that share their eigenvectors: which share of each makes which regime."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import _html, _validate
from .._blas import on_one_thread
from .._eigen import attention_eigensystem, meant, spacing
from .._namespace import to_host
from .._types import EPS, FloatArray
from ..errors import InvalidValueError, ShapeError
from .dominance import TIE, tie

__all__ = ["Mixture", "mixture"]


class Envelope(NamedTuple):
    """The largest of many straight lines over the share, system by system.

    ``zero`` and ``one``, (b, k): values at share 0 and 1 of the lines that are
    largest somewhere between, in that order, the last repeated.  ``slack``
    (b, k): what rounding may have added to them.  ``ends`` (b, 2): the largest
    values at share 0 and 1 themselves, where lines that are -inf at the other
    end count too.  ``cap``: no difference above it is called a tie.
    """

    zero: FloatArray
    one: FloatArray
    slack: FloatArray
    ends: FloatArray
    cap: float = TIE


@dataclass(frozen=True, eq=False)
class Mixture:
    """The regime of a mixture of two kinds of layers, as a function of the share of the first.

    Source: derived here; see :func:`mixture`.

    Attributes
    ----------
    flips : tuple of float, or object array of tuples in batch shape
        The shares, in (0, 1), at which the regime changes, increasing.
    """

    flips: Any
    constant: Envelope = field(repr=False)
    rest: Envelope = field(repr=False)
    batch: tuple[int, ...] = field(repr=False)

    def margin(self, share: Any) -> Any:
        """Return C(p) - D(p): ln of the largest constant over the largest other modulus, per layer.

        Parameters
        ----------
        share : float or array of any shape
            Share p of the first kind of layers, in [0, 1].

        Returns
        -------
        float or array, batch shape + shape of ``share``
            Positive: smoothing, negative: sharpening; +-inf where one side is
            erased, 0 where both are.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If ``share`` is not in [0, 1].

        Examples
        --------
        >>> import linsim
        >>> mix = linsim.theory.mixture([[0.2, 0.8], [0.8, 0.2]], [-0.5], [0.25])
        >>> mix.margin([0.0, 0.5, 1.0]).round(4)
        array([ 0.3857, -0.2849, -0.9555])
        """
        margin, _, shape = self._at(share)
        margin = margin.reshape((*self.batch, *shape))
        return margin.item() if margin.ndim == 0 else margin

    def regime(self, share: Any) -> Any:
        """Return "smoothing", "sharpening" or "balanced", by the sign of the margin.

        Parameters
        ----------
        share : float or array of any shape
            Share p of the first kind of layers, in [0, 1].

        Returns
        -------
        str or array of str, batch shape + shape of ``share``
            "balanced" where the margin is 0 up to the rounding of the
            eigenvalues and entries, and never beyond 1e-9 (float32: 1.2e-4).

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If ``share`` is not in [0, 1].

        Examples
        --------
        >>> import linsim
        >>> mix = linsim.theory.mixture([[0.2, 0.8], [0.8, 0.2]], [-0.5], [0.25])
        >>> mix.regime(0.1), mix.regime(0.9)
        ('smoothing', 'sharpening')
        """
        margin, slack, shape = self._at(share)
        level = np.abs(margin) <= np.minimum(slack, self.constant.cap)
        regime = np.where(level, "balanced", np.where(margin > 0, "smoothing", "sharpening"))
        regime = regime.reshape((*self.batch, *shape))
        return regime.item() if regime.ndim == 0 else regime

    def _at(self, share: Any) -> tuple[FloatArray, FloatArray, tuple[int, ...]]:
        """Margin and its rounding, (b, shares), and the shape of ``share``."""
        p = to_host(_validate.array(share, "share")).astype(np.float64)
        for value in (float(np.min(p)), float(np.max(p))):
            _validate.number(value, "share", low=0, high=1)
        flat = p.reshape(-1)
        constant, slack = _value(self.constant, flat)
        rest, other = _value(self.rest, flat)
        both = np.isneginf(constant) & np.isneginf(rest)
        margin = np.where(both, 0.0, constant) - np.where(both, 0.0, rest)
        return margin, slack + other, p.shape

    def __str__(self) -> str:
        if self.batch:
            counts = [len(flips) for flips in self.flips.flat]
            listed = ", ".join(f"{counts.count(k)} with {k} flips" for k in sorted(set(counts)))
            return f"{len(counts)} mixtures: {listed}."
        edges = [0.0, *self.flips, 1.0]
        middle = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
        between = [
            f"{self.regime(p)} from {low:.4g} to {high:.4g}"
            for p, (low, high) in zip(middle, itertools.pairwise(edges), strict=True)
        ]
        head = "Regime by the share of layers of the first kind: " + ", ".join(between) + "."
        ends = f"Pure layers: {self.regime(0.0)} without the first kind, {self.regime(1.0)} with it alone."
        return f"{head} {ends}"

    __repr__ = __str__
    _repr_html_ = _html.paragraph


@on_one_thread
def mixture(A: Any, sharpening: Any, smoothing: Any) -> Mixture:
    """Say which share of two kinds of layers gives which regime.

    Parameters
    ----------
    A : array, shape (..., n, n)
        Attention of every layer, of any spectrum; checked as in :class:`linsim.Linear`.
    sharpening : array, shape (..., d), real or complex
        Eigenvalues mu_j of the weights of the first kind of layers (any
        numbers: what they do alone is not assumed).
    smoothing : array, shape (..., d), real or complex
        Eigenvalues nu_j of the second kind, for the same eigenvectors in the
        same order.

    Returns
    -------
    Mixture
        ``regime(share)``, ``margin(share)`` and ``flips``, for the share p of
        layers of the first kind; generic inputs.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If A is no attention, a spectrum is not finite, or shapes do not fit.

    Notes
    -----
    Source: that layers may be mixed, arXiv 2401.04301; which share flips the
    regime, derived here.  Weights with common eigenvectors commute, and so do
    the layers: after m layers of the first kind and L - m of the second, in
    any order, the mode (i, j) is multiplied by
    (1 + lambda_i mu_j)^m (1 + lambda_i nu_j)^(L - m).  With p = m / L its
    exponent per layer is linear in p,

        E_ij(p) = p ln|1 + lambda_i mu_j| + (1 - p) ln|1 + lambda_i nu_j|.

    The constant part grows with C(p) = max_j E_1j(p), the rest with
    D(p) = max over i >= 2 and j of E_ij(p); inputs converge iff C(p) > D(p).
    Both are largest of straight lines, so convex and piecewise linear: C - D
    is linear between their corners, and each change of sign there is found
    in closed form.  Where one line of C and one of D lead, of difference t at
    p = 0 and s at p = 1, it is p* = t / (t - s).  A difference of two convex
    functions may change sign any number of times: one kind at both ends does
    not exclude the other between (see the example).  A factor that is exactly
    0 erases its mode as soon as its kind of layer occurs.  Layers of one kind alone are
    proved as ``dominance.boundary`` in proofs_check.

    Weights that do not commute have no such law: the order of layers matters
    then (:func:`linsim.predict` of a Layered knows a cycle,
    :func:`linsim.lyapunov_exponents` a random order).

    Examples
    --------
    >>> import linsim
    >>> mix = linsim.theory.mixture([[0.2, 0.8], [0.8, 0.2]], [-0.5], [0.25])
    >>> print(mix)
    Regime by the share of layers of the first kind: smoothing from 0 to 0.2876, sharpening from 0.2876 to 1.
    Pure layers: smoothing without the first kind, sharpening with it alone.

    Two kinds that smooth alone, and sharpen together (each amplifies a
    feature's common part that the other damps):

    >>> mix = linsim.theory.mixture([[0.5, 0.5], [0.5, 0.5]], [0.5, -0.6], [-0.6, 0.5])
    >>> [mix.regime(p) for p in (0, 0.5, 1)], [round(p, 4) for p in mix.flips]
    (['smoothing', 'sharpening', 'smoothing'], [0.3068, 0.6932])
    """
    attention = _validate.attention_matrix(A)
    eps, eps_mu = spacing(attention), spacing(sharpening, smoothing)
    attention = to_host(attention).astype(np.float64)
    mu, nu = _spectrum(sharpening, "sharpening"), _spectrum(smoothing, "smoothing")
    if mu.shape[-1] != nu.shape[-1]:
        raise _validate.refusal(
            ShapeError,
            "smoothing",
            f"shape {nu.shape} beside sharpening {mu.shape}",
            f"shape (..., {mu.shape[-1]})",
            "Give one eigenvalue of each kind to each eigenvector.",
        )
    batch = _validate.broadcast_batches(
        A=attention.shape[:-2], sharpening=mu.shape[:-1], smoothing=nu.shape[:-1]
    )
    n, d = attention.shape[-1], mu.shape[-1]
    system = attention_eigensystem(meant(attention.reshape(-1, n, n), eps), eps)
    lead = attention.shape[:-2]

    def each(x: Any) -> Any:
        return np.broadcast_to(x.reshape(*lead, n), (*batch, n)).reshape(-1, n, 1)

    values, condition = each(system.values), each(system.condition)
    scale = each(np.broadcast_to(system.norm[:, None], system.values.shape))

    def exponents(spectrum: Any) -> tuple[FloatArray, FloatArray]:
        """ln|1 + lambda mu|, (b, n, d), and what rounding may add to it."""
        flat = np.broadcast_to(spectrum, (*batch, d)).reshape(-1, 1, d)
        modulus = np.abs(1 + values * flat)
        error = 4 * EPS * np.sqrt(n + d) * (1 + condition * scale * np.abs(flat))
        # what the digits of the entries leave open; lambda = 1 is exact
        open_A = np.where(np.arange(n)[:, None] > 0, condition * scale * np.abs(flat), 0.0)
        error = error + (eps - EPS) * open_A + (eps_mu - EPS) * np.abs(values * flat)
        with np.errstate(divide="ignore"):
            return np.log(modulus), error / np.maximum(modulus, EPS)

    one, one_error = exponents(mu)
    zero, zero_error = exponents(nu)
    slack = np.maximum(one_error, zero_error)
    size = zero.shape[0]

    def part(rows: slice) -> Envelope:
        found = _envelope(*(x[:, rows].reshape(size, -1) for x in (zero, one, slack)))
        return found._replace(cap=tie(max(eps, eps_mu)))

    constant, rest = part(slice(0, 1)), part(slice(1, None))
    found = np.empty(size, dtype=object)
    found[:] = _flips(constant, rest)
    return Mixture(found.reshape(batch) if batch else found[0], constant, rest, batch)


def _spectrum(value: Any, argument: str) -> Any:
    spectrum = to_host(_validate.array(value, argument, ndim=1, shape="(..., d)", allow_complex=True))
    if float(np.max(np.abs(spectrum))) > 1e300:
        raise _validate.refusal(
            InvalidValueError, argument, "entries beyond 1e300", "smaller ones", "Products would overflow."
        )
    return spectrum.astype(np.complex128)


def _envelope(zero: FloatArray, one: FloatArray, slack: FloatArray) -> Envelope:
    """Walk along the upper envelope of (b, m) lines, all systems in step, from share 0 to 1."""
    size, count = zero.shape
    nothing = np.full((size, 2), -np.inf)
    ends = np.stack([np.max(zero, axis=-1), np.max(one, axis=-1)], axis=-1) if count else nothing
    # a mode that one kind erases leads nowhere between
    alive = np.isfinite(zero) & np.isfinite(one)
    x, y = np.where(alive, zero, -np.inf), np.where(alive, one, -np.inf)
    slope = np.where(alive, np.where(alive, one, 0) - np.where(alive, zero, 0), -np.inf)
    if not count:
        return Envelope(nothing[:, :1], nothing[:, :1], np.zeros((size, 1)), ends)
    rows = np.arange(size)
    # of lines that lead at 0, the steepest
    current = np.argmax(np.where(x == np.max(x, axis=-1, keepdims=True), slope, -np.inf), axis=-1)
    corners = [current]
    for _ in range(count):
        here, rise = x[rows, current][:, None], slope[rows, current][:, None]
        steeper = alive & (slope > rise)
        with np.errstate(invalid="ignore"):  # -inf: no line is left
            at = np.where(steeper, (here - x) / np.where(steeper, slope - rise, 1), np.inf)
        first = np.min(at, axis=-1, keepdims=True)
        moving = first[:, 0] < 1
        if not np.any(moving):
            break
        # several that meet there: the steepest
        following = np.argmax(np.where(at == first, slope, -np.inf), axis=-1)
        current = np.where(moving, following, current)
        corners.append(current)
    order = np.stack(corners, axis=-1)
    zero, one, slack = (np.take_along_axis(v, order, axis=-1) for v in (x, y, slack))
    return Envelope(zero, one, slack, ends)


def _value(envelope: Envelope, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Value of the envelope at (k,) shares, and its slack: both (b, k)."""
    p = share[None, None, :]
    with np.errstate(invalid="ignore"):
        lines = envelope.zero[:, :, None] * (1 - p) + envelope.one[:, :, None] * p
    lines = np.where(np.isnan(lines), -np.inf, lines)
    best = np.argmax(lines, axis=1)
    value = np.take_along_axis(lines, best[:, None, :], axis=1)[:, 0, :]
    slack = np.take_along_axis(envelope.slack, best, axis=-1)
    for end in (0, 1):
        value = np.where(share == end, envelope.ends[:, end, None], value)
    return value, slack


def _corners(envelope: Envelope) -> FloatArray:
    """Shares at which the leading line changes, (b, k - 1); nan where it does not."""
    with np.errstate(divide="ignore", invalid="ignore"):  # -inf: a part that is erased
        turn = np.diff(envelope.one - envelope.zero, axis=-1)
        return np.where(turn > 0, -np.diff(envelope.zero, axis=-1) / turn, np.nan)


def _flips(constant: Envelope, rest: Envelope) -> list[tuple[float, ...]]:
    """Shares in (0, 1) at which C - D changes sign, or becomes or ceases to be 0, system by system."""
    corners = np.concatenate([_corners(constant), _corners(rest)], axis=-1)
    size = corners.shape[0]
    corners = np.where(np.isfinite(corners), np.clip(corners, 0, 1), 1.0)
    edges = np.sort(np.concatenate([np.zeros((size, 1)), corners, np.ones((size, 1))], axis=-1), axis=-1)
    left, right = edges[:, :-1], edges[:, 1:]
    # C - D is one line, t at 0 and s at 1, between two corners
    t, s = _gap_line(constant, rest, (left + right) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = t / (t - s)
        roots = np.where((roots > left) & (roots < right), roots, 1.0)
    points = np.sort(np.concatenate([edges, roots], axis=-1), axis=-1)
    middle = (points[:, :-1] + points[:, 1:]) / 2
    t, s = _gap_line(constant, rest, middle)
    with np.errstate(invalid="ignore"):
        gap = t * (1 - middle) + s * middle
    slack = np.minimum(np.max(constant.slack, axis=-1) + np.max(rest.slack, axis=-1), constant.cap)[:, None]
    sign = np.where(np.abs(gap) <= slack, 0, np.sign(gap))
    # a root and a corner that rounding alone tells apart make no piece of their own
    wide = (points[:, 1:] - points[:, :-1] > constant.cap) & np.isfinite(gap)
    return [_changes(p[:-1][w], q[w]) for p, q, w in zip(points, sign, wide, strict=True)]


def _gap_line(constant: Envelope, rest: Envelope, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ends t and s of the line that C - D is at each of (b, k) shares."""
    zero, one = np.zeros(share.shape), np.zeros(share.shape)
    for envelope, sign in ((constant, 1), (rest, -1)):
        with np.errstate(invalid="ignore"):
            p = share[:, None, :]
            lines = envelope.zero[:, :, None] * (1 - p) + envelope.one[:, :, None] * p
            best = np.argmax(lines, axis=1)
            zero += sign * np.take_along_axis(envelope.zero, best, axis=-1)
            one += sign * np.take_along_axis(envelope.one, best, axis=-1)
    return zero, one


def _changes(start: FloatArray, sign: FloatArray) -> tuple[float, ...]:
    """Where the sign of a piece is not that of the piece before."""
    return tuple(start[1:][sign[1:] != sign[:-1]].tolist())
