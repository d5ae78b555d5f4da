"""What the spectrum of weights, or of attention, decides without the other.

With c = max_j |1 + mu_j| the constant part grows by c a layer, and the others by f(lambda_i), where
f(lambda) = max_j |1 + lambda mu_j| is convex and f(1) = c.  Real weights have conjugate pairs, so
f(lambda) >= f(Re lambda).  Everything here follows from these two lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _html
from .._eigen import Eigensystem
from .._types import EPS, FloatArray
from ..errors import NotCoveredError
from .dominance import TIE

__all__ = ["OneSpectrum", "of_attention", "of_weights"]

UNDECIDED = "undecided"
_NEEDS_BOTH = (
    "angle_convergence",
    "rank_collapse",
    "limit_rank",
    "dominant",
    "margin",
    "rates",
    "relaxations",
    "beats",
    "assumptions",
    "log_bound",
    "log_lower_bound",
)
_PARTNER = {"weights": ("A", "attention"), "attention": ("H", "weights")}


@dataclass(frozen=True, eq=False)
class OneSpectrum:
    """What holds for every partner of one spectrum, and the condition on the partner for the rest.

    Partners of weights are attentions of two or more tokens whose eigenvalues other than 1 lie inside the
    unit circle, as those of positive entries do; partners of attention are real weights.  Inputs
    are generic.  Every field has the batch shape of what was given.  What needs both spectra (rates, dominant
    modes, margin, rank and angle) raises NotCoveredError, which names the missing part.

    Attributes
    ----------
    given : str
        "weights" or "attention".
    regime : str
        "smoothing", "sharpening" or "balanced" where that holds for every partner, else "undecided".
    regime_if_real : str
        The same for partners with a real spectrum only (symmetric or reversible attention).
    input_convergence : bool or None
        Whether inputs converge, with every partner alike; None where it depends on the partner.
    threshold : float
        Of weights: attention with a real spectrum smooths if its smallest eigenvalue lies above, and any
        attention sharpens that has an eigenvalue with real part below.  nan of attention.
    boundary : float
        Of attention: a real weight eigenvalue sharpens by itself between this and 0, -2 / (1 + a) for a
        real spectrum with smallest eigenvalue a.  nan of weights.
    disks : tuple of two arrays (..., n - 1)
        Of attention: centres and radii of disks of weight eigenvalues that sharpen, one for
        each eigenvalue but 1; radius inf for one on the unit circle.  Empty of weights.
    condition : str
        The condition on the partner in words.

    Notes
    -----
    Derived here.  An eigenvalue mu of largest |1 + mu| sharpens with every attention iff |mu + 1/2| <= 1/2
    and mu is not 0: |1 + lambda mu|^2 then falls up to lambda = 1.  Weights smooth with every attention iff
    max |mu| is itself an eigenvalue (|1 + lambda mu| < 1 + |mu|, and positive attention of
    many tokens comes as close to any lambda inside the circle as one likes); with every real spectrum iff
    max |1 + mu| >= max |1 - mu|.  The disk of lambda is |mu + conj(1 - lambda) / (1 - |lambda|^2)|
    < |1 - lambda| / (1 - |lambda|^2), where |1 + lambda mu| > |1 + mu|.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> law = linsim.predict(None, np.diag([-0.9, -0.2]))
    >>> law.regime, law.input_convergence
    ('sharpening', False)
    >>> law = linsim.predict(None, np.diag([1.0, -2.5]))
    >>> law.regime, law.regime_if_real, law.threshold
    ('undecided', 'undecided', -0.4)
    >>> linsim.predict(linsim.attention.from_spectrum([1, 0.5, -0.25], rng=0), None).boundary
    -2.6666666666...
    """

    given: str
    regime: Any
    regime_if_real: Any
    input_convergence: Any
    threshold: Any
    boundary: Any
    disks: tuple[Any, ...]
    condition: Any

    def __getattr__(self, name: str) -> Any:
        if name not in _NEEDS_BOTH:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        argument, partner = _PARTNER[self.given]
        raise NotCoveredError(
            f"{argument}: found none; expected {partner}, on which {name} depends. Call predict(A, H)."
        )

    def __str__(self) -> str:
        if np.ndim(self.regime):
            names, counts = np.unique(self.regime, return_counts=True)
            listed = ", ".join(f"{c} {name}" for name, c in zip(names, counts, strict=True))
            return f"{np.size(self.regime)} spectra of {self.given}: {listed}."
        partner = _PARTNER[self.given][1]
        known = f"Regime with any {partner}: {self.regime}."
        if self.regime_if_real != self.regime:
            known += f" With every real spectrum: {self.regime_if_real}."
        return f"{known} {self.condition} Rates, rank and angles depend on the {partner}."

    __repr__ = __str__
    _repr_html_ = _html.paragraph


def _errors(system: Eigensystem, eps: float) -> FloatArray:
    """Bound of the error of each eigenvalue; 0 of those that low rank makes zero."""
    m = system.values.shape[-1]
    error = 4 * np.sqrt(m) * max(eps, EPS) * system.norm[:, None] * np.minimum(system.condition, 1 / EPS)
    return np.where(system.values == 0, 0.0, error)


def of_weights(system: Eigensystem, batch: tuple[int, ...], eps: float) -> OneSpectrum:
    """Judge (b, d) spectra of weights, given to a relative spacing of ``eps``."""
    errors = _errors(system, eps)
    rows = zip(system.values, errors, system.growth, strict=True)
    found = [
        _weights(mu, error, np.max(growth[np.abs(mu) <= error], initial=0)) for mu, error, growth in rows
    ]
    regime, real, converges, threshold, condition = zip(*found, strict=True)
    return OneSpectrum(
        "weights",
        _shaped(regime, batch),
        _shaped(real, batch),
        _shaped(converges, batch, dtype=object),
        _shaped(threshold, batch),
        _shaped([np.nan] * len(found), batch),
        (),
        _shaped(condition, batch),
    )


def _weights(mu: Any, error: FloatArray, chain: int) -> tuple[str, str, bool | None, float, str]:
    """Judge one spectrum; ``chain`` is the power of depth that Jordan blocks at mu = 0 bring."""
    size = np.abs(1 + mu)
    c, slack = float(np.max(size)), float(error[np.argmax(size)])
    here = np.abs(mu) > error
    # |1 + x mu| = c at the smaller x; at x = 1 it is c or less, so the root is real
    moving = mu[here]
    square = np.abs(moving) ** 2
    lower = (-moving.real - np.sqrt(np.maximum(square * c * c - moving.imag**2, 0.0))) / square
    threshold = float(np.max(lower, initial=-np.inf))
    # how far the root is known: d/dx |1 + x mu|^2 at x, of moduli known to ``slack``
    doubt = max(TIE, 4 * (slack + float(np.max(error))) / max(float(np.max(np.abs(mu))), EPS))
    if not np.all(here) and c <= 1 + slack + TIE:
        # what stays as it is leads, or ties: all attention eigenvalues do where mu = 0
        if threshold >= 1 - doubt:
            return "sharpening", "sharpening", False, threshold, "No condition."
        # beside a Jordan block only larger attention eigenvalues gain powers of depth
        converges = None if chain else False
        text = (
            "No constant mode outgrows those of weight eigenvalue 0, in which all attention eigenvalues tie: "
            "it never smooths. It sharpens iff an attention eigenvalue has |1 + lambda mu| > "
            f"{c:.6g} for some mu (of a real spectrum: below {threshold:.6g})."
        )
        if threshold <= -1:
            # |1 + lambda mu| <= 1 for every real lambda: only complex ones may do more
            every = "balanced" if not np.any(here) else UNDECIDED
            return every, "balanced", converges, threshold, text if np.any(here) else "No condition."
        return UNDECIDED, UNDECIDED, converges, threshold, text
    if threshold >= 1 - doubt:
        return "sharpening", "sharpening", False, threshold, "No condition."
    inside = np.max(1 + np.abs(mu)) <= c + slack + TIE
    if inside:
        return "smoothing", "smoothing", True, threshold, "No condition."
    real = "smoothing" if threshold <= -1 + doubt else UNDECIDED
    clause = (
        "a real spectrum always smooths"
        if real == "smoothing"
        else f"of a real spectrum the smallest eigenvalue above {threshold:.6g}"
    )
    text = (
        f"It smooths iff every attention eigenvalue but 1 has |1 + lambda mu| < {c:.6g} for all mu: "
        f"{clause}. "
        "It sharpens iff one has more."
    )
    return UNDECIDED, real, None, threshold, text


def of_attention(system: Eigensystem, batch: tuple[int, ...], eps: float) -> OneSpectrum:
    """Judge (b, n) spectra of attention, the constant mode first, given to a relative spacing of ``eps``."""
    lam, error = system.values[:, 1:], _errors(system, eps)[:, 1:]
    again = np.abs(1 - lam) <= np.maximum(error, TIE)
    space = 1 - np.abs(lam) ** 2
    rim = space <= np.maximum(2 * error, TIE)
    safe = np.where(rim, 1.0, space)
    centre = np.where(rim, -np.inf, -np.conj(1 - lam) / safe)
    radius = np.where(rim, np.inf, np.abs(1 - lam) / safe)
    centre, radius = np.where(again, 0.0, centre), np.where(again, 0.0, radius)
    reach = np.where(again, 0.0, np.where(rim, np.inf, 2 * (1 - lam.real) / safe))
    boundary = -np.max(reach, axis=-1, initial=0.0)
    shape = (*batch, lam.shape[-1])
    regimes, converges, conditions = [], [], []
    for tied, edge in zip(again, boundary, strict=True):
        alone, never = not tied.size, bool(np.any(tied))
        regimes.append("smoothing" if alone else "balanced" if np.all(tied) else UNDECIDED)
        converges.append(True if alone else False if never else None)
        if alone:
            conditions.append("One token: unless every weight eigenvalue is -1, and the state becomes zero.")
        elif np.all(tied):
            conditions.append("No condition.")
        else:
            first = "It never smooths: 1 is a multiple eigenvalue. " if never else ""
            smooth = "balanced" if never else "smoothing"
            conditions.append(
                f"{first}Weight eigenvalues inside a disk (real ones: between {edge:.6g} and 0) sharpen, "
                f"those outside do not: all outside is {smooth}; sharpening if that of largest "
                "|1 + mu| is inside."
            )
    return OneSpectrum(
        "attention",
        _shaped(regimes, batch),
        _shaped(regimes, batch),
        _shaped(converges, batch, dtype=object),
        _shaped([np.nan] * len(regimes), batch),
        _shaped(boundary, batch),
        (centre.reshape(shape), radius.reshape(shape)),
        _shaped(conditions, batch),
    )


def _shaped(values: Any, batch: tuple[int, ...], dtype: Any = None) -> Any:
    """Values of a stack in the shape of the batch; a single one as itself."""
    if batch == ():
        (value,) = values
        return value.item() if isinstance(value, np.generic) else value
    return np.array(values, dtype=dtype).reshape(batch)
