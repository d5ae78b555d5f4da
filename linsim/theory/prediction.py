"""What a law says of a system: verdicts, rates, bounds, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import _html, _validate
from .._blas import on_one_thread
from .._named import named
from .._namespace import Home, at_home, hosted
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError
from .bounds import GAPS

__all__ = ["REGIMES", "Assumption", "Mode", "Prediction"]

#: every regime, with its integer code in a dataset of :func:`linsim.sweep` (``flag_meanings`` there)
REGIMES = {"sharpening": -1, "balanced": 0, "smoothing": 1}


class Mode(NamedTuple):
    """One dominant mode: its two eigenvalues and the layer's, 1 + lambda mu."""

    attention_eigenvalue: complex | float
    weight_eigenvalue: complex | float
    value: complex | float


class Assumption(NamedTuple):
    """Something a verdict rests on: whether it holds, and the number that shows it."""

    name: str
    holds: Any
    detail: Any


@dataclass(frozen=True, eq=False)
class Prediction:
    """What must happen to X_{l+1} = X_l + A X_l H as depth grows.

    Every field has the batch shape of the rule (and x0): Python scalars for a
    single system; for a batch arrays of PyTorch or JAX if the inputs were, else of NumPy
    (text and modes always NumPy's).

    Attributes
    ----------
    regime : str
        "smoothing": the constant mode alone wins; "sharpening": another one;
        "balanced": a tie, moduli equal within the error of the eigenvalues, by
        computing them and by the digits of the entries, never above 1e-9
        relative (float32: 1.2e-4).
    input_convergence : bool
        HFC/LFC -> 0: all tokens converge to one vector, relative to their size.
    angle_convergence : bool
        mean |cosine| -> 1.
    rank_collapse : bool
        sigma_2/sigma_1 -> 0.
    limit_rank : int
        Rank of the normalised limit (the larger one where it alternates); 0
        where the state itself becomes zero, and every verdict is then False.
    dominant : tuple of Mode
        The dominant set; an object array of tuples for a batch.
    margin : float
        ln(largest constant modulus / largest other modulus): the distance to
        the regime boundary, positive when smoothing.
    rates : dict of str to float
        Factor per layer of the gap itself for "token_diversity", "cosine_gap"
        and "rank_gap", for diagonalizable A and H, up to constants and powers
        of depth; 1 where the gap does not close.  Exact for generic x0; for a
        given x0 whose coefficients are related beyond vanishing (a rank-1 x0
        with repeated eigenvalues, say), an upper bound.
    relaxations : dict of str to float
        For the same gaps: how fast the slope of ln(gap) approaches ln(rate).
        After l layers the difference is of order relaxation^l; 1 where it
        only falls like 1/l (Jordan blocks).
    assumptions : tuple of Assumption
        What the verdicts rest on.
    beats : dict of str to float
        For the same gaps: the slowest beat, in radians per layer, of leading
        terms of equal modulus and different phase; inf where nothing swings.
        Empty for several heads and cycles of layers.
    bounds : object or None
        What :meth:`log_bound` needs.
    home : object or None
        Library and device that arrays are returned in; None: NumPy.
    limit_hfc_lfc : float
        What HFC/LFC tends to: 0 with input convergence, else that of the one real right vector of
        attention which all dominant modes share, inf where it has mean 0; NaN where several are
        dominant, and for several heads and cycles.
    """

    regime: Any
    input_convergence: Any
    angle_convergence: Any
    rank_collapse: Any
    limit_rank: Any
    dominant: Any
    margin: Any
    rates: Mapping[str, Any]
    relaxations: Mapping[str, Any]
    assumptions: tuple[Assumption, ...]
    beats: Mapping[str, Any] = field(default_factory=dict)
    bounds: Any = field(default=None, repr=False)
    home: Home | None = field(default=None, repr=False)
    limit_hfc_lfc: Any = None

    def __post_init__(self) -> None:
        named(self, "law", "rates", "relaxations", "beats")
        if self.limit_hfc_lfc is None:
            shape = np.shape(self.regime)
            object.__setattr__(self, "limit_hfc_lfc", np.full(shape, np.nan) if shape else float("nan"))

    @on_one_thread
    def log_bound(self, gap: str, layers: Any) -> Any:
        """Return a proven upper bound of ln(gap) at any depth, for the given x0.

        Parameters
        ----------
        gap : str
            "token_diversity", "hfc_lfc" (the ratio itself), "cosine_gap"
            (of 1 - cos where the constant mode dominates, else of
            1 - mean |cos|), "rank_gap" or "effective_rank_gap".
        layers : int, or array of int of any shape
            Depths >= 0.

        Returns
        -------
        float or ndarray, batch shape + shape of ``layers``
            Natural logarithm of the bound.  Where nothing is proven it is the
            trivial one: 0 (1 - cos: ln(n / (n - 1)); hfc_lfc: inf).

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For an unknown gap, layers that are not whole numbers >= 0, or a
            law made without x0.
        NotCoveredError
            For a rule without one attention and one weight matrix.

        Notes
        -----
        The constants and the proof are in :mod:`linsim.theory.bounds`; derived
        here.  For symmetric A and symmetric H, or normal H with simple
        eigenvalues, the bound of token diversity equals token diversity.  With
        a single dominant real pair and a single leading minor those of cosine
        and rank are attained as depth grows.  Bounds decay at the predicted
        rates, except: cosine where the dominant attention eigenvalue is
        complex or its vector has zero entries (the trivial bound); Jordan
        blocks (slower by powers of depth, or the trivial bound of cosine and
        rank where tokens do not converge).  Proved as ``bounds.symmetric``, ``bounds.row_split``,
        ``bounds.minors``, ``bounds.angles``, ``bounds.effective_rank``, ``bounds.henrici``,
        ``bounds.trivial`` and ``bounds.closes`` in proofs_check, with the lemmas that these name.

        Examples
        --------
        >>> import numpy as np, linsim
        >>> x0 = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        >>> law = linsim.predict(linsim.attention.uniform(3), np.diag([1.0, 0.5]), x0=x0)
        >>> run = linsim.simulate(linsim.Linear(linsim.attention.uniform(3), np.diag([1.0, 0.5])), x0, 9)
        >>> bound = law.log_bound("token_diversity", run.layers)
        >>> float(np.max(np.abs(bound - run.metrics["log_token_diversity"]))) < 1e-9
        True
        """
        return self._bounded("log_bound", gap, GAPS, layers)

    @on_one_thread
    def log_lower_bound(self, gap: str, layers: Any) -> Any:
        """Return a proven lower bound of ln(gap) at any depth, for the given x0.

        Parameters
        ----------
        gap : str
            "token_diversity" or "hfc_lfc".
        layers : int, or array of int of any shape
            Depths >= 0.

        Returns
        -------
        float or ndarray, batch shape + shape of ``layers``
            Natural logarithm of the bound; -inf where nothing is proven (no
            basis of eigenvectors).

        Raises
        ------
        InvalidValueError, InvalidTypeError, NotCoveredError
            As :meth:`log_bound`.

        Notes
        -----
        Derived in :mod:`linsim.theory.bounds`; proved as ``bounds.from_below`` in
        proofs_check.  Where a mode other than the constant one dominates it stays away from
        zero at every depth: the finite-depth form of "tokens do not converge".

        Examples
        --------
        >>> import numpy as np, linsim
        >>> A, x0 = np.array([[0.2, 0.8], [0.8, 0.2]]), np.array([[1.0], [2.0]])
        >>> law = linsim.predict(A, [[-0.5]], x0=x0)
        >>> np.exp(law.log_lower_bound("token_diversity", [0, 10, 1000])).round(6)
        array([0.1, 1. , 1. ])
        """
        return self._bounded("log_lower_bound", gap, ("token_diversity", "hfc_lfc"), layers)

    def _limit(self) -> str:
        if self.input_convergence or np.isnan(self.limit_hfc_lfc):
            return ""
        return f", HFC/LFC tends to {self.limit_hfc_lfc:.4g}"

    def _bounded(self, bound: str, gap: str, known: tuple[str, ...], layers: Any) -> Any:
        gap = _validate.choice(gap, "gap", known)
        try:
            layers = hosted(layers)
            depth = np.asarray(layers)
        except ValueError:
            depth = np.asarray(layers, dtype=object)
        if depth.dtype.kind not in "iu":
            raise _validate.refusal(
                InvalidTypeError,
                "layers",
                f"dtype {depth.dtype}",
                "integers >= 0",
                "Pass for example range(100).",
            )
        if np.any(depth < 0):
            raise _validate.refusal(
                InvalidValueError, "layers", int(np.min(depth)), "integers >= 0", "Layer 0 is the input."
            )
        if self.bounds is None:
            raise NotCoveredError(
                "gap: found a law without bounds; expected one of Linear layers. "
                "No bound is implemented for this rule; use linsim.simulate to measure."
            )
        if self.bounds.law.coefficients is None:
            remedy = "Call predict(..., x0=x0)."
            raise _validate.refusal(
                InvalidValueError, "x0", "none", "the input that the bound is for", remedy
            )
        value = getattr(self.bounds, bound)(gap, depth.reshape(-1).astype(float))
        value = value.reshape((*np.shape(self.regime), *depth.shape))
        return value.item() if value.ndim == 0 else at_home(value, self.home)

    def __str__(self) -> str:
        if np.ndim(self.regime):
            names, counts = np.unique(self.regime, return_counts=True)
            listed = ", ".join(f"{c} {name}" for name, c in zip(names, counts, strict=True))
            collapsed = int(np.sum(hosted(self.rank_collapse)))
            return f"{np.size(self.regime)} systems: {listed}; rank collapse in {collapsed}."
        modes = "; ".join(map(_describe, self.dominant[:4]))
        more = f" and {len(self.dominant) - 4} more" if len(self.dominant) > 4 else ""
        text = [
            f"Regime: {self.regime} (ln of constant over other modulus = {self.margin:.3g} per layer).",
            f"Dominant: {modes}{more}.",
            f"Tokens {'' if self.input_convergence else 'do not '}converge to one vector{self._limit()}; "
            f"angles {'converge' if self.angle_convergence else 'do not converge'}; "
            f"rank {'collapses to 1' if self.rank_collapse else f'stays {self.limit_rank}'}."
            if self.limit_rank
            else "The state becomes zero.",
            "Per layer, "
            + ", ".join(
                f"{k.replace('_', ' ')} is multiplied by {v:.6g}" for k, v in self.rates.items() if v < 1
            )
            + "."
            if any(v < 1 for v in self.rates.values())
            else "No gap closes geometrically.",
        ]
        failed = [f"{a.name} ({a.detail})" for a in self.assumptions if not a.holds]
        if failed:
            text.append("Careful, not satisfied: " + "; ".join(failed) + ".")
        return " ".join(text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _html.prediction(self)


def _describe(mode: Mode) -> str:
    if np.isnan(mode.attention_eigenvalue):  # several heads, or a cycle of layers
        return f"an eigenvalue of modulus {abs(mode.value):.6g}"
    pair = f"lambda = {_show(mode.attention_eigenvalue)}, mu = {_show(mode.weight_eigenvalue)}"
    return f"{pair}, |1 + lambda mu| = {abs(mode.value):.6g}"


def _show(value: complex | float) -> str:
    if isinstance(value, complex):
        return f"{value.real:.4g}{value.imag:+.4g}i"
    return f"{value:.4g}"
