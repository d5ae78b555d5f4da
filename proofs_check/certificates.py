"""Certified verdicts for one concrete system, by ball arithmetic.

Eigenvalues of floating-point matrices carry rounding; a verdict close to the
boundary may be wrong.  Here every number is a ball that provably holds the
true one, and the precision is doubled until the competing balls part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from linsim import checks
from linsim.checks import refusal, to_host
from linsim.errors import MissingExtraError, ShapeError

from . import prose

__all__ = ["Certificate", "certify"]

#: exact characteristic polynomials are computed up to this size: seconds
EXACT = 64


@dataclass(frozen=True)
class Certificate:
    """What is proved of one system.

    Attributes
    ----------
    regime : str
        "smoothing" (the constant mode dominates strictly), "sharpening"
        (another mode does) or "undecided".
    precision : int
        Bits of the balls that decided, or of the last try.
    constant, other : tuple of float
        Enclosures (lower, upper) of max_j |1 + mu_j| and of the largest
        |1 + lambda_i mu_j| over the other lambda_i; rounded outwards.
    margin : tuple of float
        Enclosure of ln(constant / other): it keeps digits where the two
        moduli agree to double precision.
    constant_mode, other_mode : tuple of complex
        The competing (lambda, mu), rounded; empty where there is none.
    reason : str
        Why it is undecided, else "".

    Examples
    --------
    >>> print(certify([[0.5, 0.5], [0.5, 0.5]], [[-1.0]]))
    sharpening, proved with 64 bits: |1 + mu| in [0, 0], |1 + lambda mu| in [1, 1]
    """

    regime: str
    precision: int
    constant: tuple[float, float]
    other: tuple[float, float]
    margin: tuple[float, float]
    constant_mode: tuple[complex, ...]
    other_mode: tuple[complex, ...]
    reason: str = ""

    def __str__(self) -> str:
        how = f"proved with {self.precision} bits" if not self.reason else self.reason
        (a, b), (c, d) = self.constant, self.other
        return (
            f"{self.regime}, {how}: |1 + mu| in [{a:.17g}, {b:.17g}], |1 + lambda mu| in [{c:.17g}, {d:.17g}]"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{prose.as_html(str(self))}</p>"


def certify(A: Any, H: Any, *, precision: int = 64, max_precision: int = 1024) -> Certificate:
    """Prove which mode of X <- X + A X H dominates, for exactly these numbers.

    Parameters
    ----------
    A : (n, n) array, of any library
        Attention: entries >= 0, rows that sum to 1 within 1e-8. Each number is
        taken as exactly what its bits say, and the rows are then divided by their exact sums.
    H : (d, d) array
        Value times projection, real, likewise exact.
    precision : int
        Bits of the first try, at least 16.
    max_precision : int
        The precision is doubled up to this while the balls overlap.

    Returns
    -------
    Certificate
        "smoothing" or "sharpening" only with proof, for generic inputs: the
        statement is about moduli, so it needs no diagonalizable matrices.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For the inputs that :class:`linsim.Linear` refuses, and batches.
    MissingExtraError
        If python-flint is not installed.

    Notes
    -----
    The eigenvalue 1 of A is split off exactly: the differences x_i - x_n of a
    vector x are mapped by the (n-1) x (n-1) matrix A_ij - A_nj, whose
    eigenvalues are the others.  A real H has conjugate pairs, each with its own ball;
    eigenvalues that coincide are found as roots of the exact characteristic
    polynomial (matrices up to 64; larger ones with such eigenvalues may stay undecided).
    A true tie stays "undecided" at every precision.  Derived here; ball arithmetic by FLINT.

    Examples
    --------
    One unit in the last place on either side of the boundary -2/(1+lambda_min) = -2:

    >>> import math
    >>> A = [[0.5, 0.5], [0.5, 0.5]]
    >>> [certify(A, [[math.nextafter(-2.0, to)]]).regime for to in (-3.0, -1.0)]
    ['smoothing', 'sharpening']
    >>> certify(A, [[-2.0]]).regime
    'undecided'
    """
    flint = _flint()
    A, H = _one(checks.square(A, "A"), "A"), _one(checks.square(H, "H"), "H")
    checks.attention_matrix(A, "A")
    checks.count(precision, "precision", minimum=16)
    checks.count(max_precision, "max_precision", minimum=precision)
    attention, weights = _apart(flint, A), _exact(flint, H)
    for bits in _doubled(precision, max_precision):
        with flint.ctx.workprec(bits):
            found = _decide(flint, attention, weights, bits)
        if found.regime != "undecided":
            return found
    return found


def _flint() -> Any:
    try:
        import flint
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name}: found it not installed; expected python-flint for ball arithmetic. "
            "Install it with: pip install 'linsim[proofs]'"
        ) from error
    return flint


def _one(value: Any, argument: str) -> np.ndarray[Any, Any]:
    if value.ndim != 2:
        raise refusal(
            ShapeError,
            argument,
            f"shape {tuple(value.shape)}",
            "one square matrix",
            "Certify the systems of a batch one by one.",
        )
    return to_host(value)


def _doubled(first: int, last: int) -> Iterator[int]:
    while first < last:
        yield first
        first *= 2
    yield last


def _exact(flint: Any, M: np.ndarray[Any, Any]) -> Any:
    """Return the rational matrix of exactly these floating-point numbers."""
    return flint.fmpq_mat([[flint.fmpq(*map(int, float(x).as_integer_ratio())) for x in row] for row in M])


def _apart(flint: Any, A: np.ndarray[Any, Any]) -> Any:
    """Return the rational matrix of A, rows normalised, on the differences to the last token."""
    exact = _exact(flint, A)
    n = exact.nrows()
    rows = [[exact[i, j] for j in range(n)] for i in range(n)]
    sums = [sum(row, flint.fmpq(0)) for row in rows]
    last = [x / sums[-1] for x in rows[-1]]
    return flint.fmpq_mat(
        n - 1, n - 1, [rows[i][j] / sums[i] - last[j] for i in range(n - 1) for j in range(n - 1)]
    )


def _eigenvalues(flint: Any, M: Any) -> list[Any]:
    """Return a ball for each eigenvalue of a rational matrix, repeated ones repeated."""
    if M.nrows() == 0:
        return []
    balls = flint.acb_mat(flint.arb_mat(M))
    try:
        return list(balls.eig())
    except ValueError:  # some balls overlap: too few bits, or eigenvalues that coincide
        pass
    if M.nrows() <= EXACT:
        return [root for root, times in M.charpoly().complex_roots() for _ in range(times)]
    return list(balls.eig(multiple=True, nonstop=True))


def _decide(flint: Any, attention: Any, weights: Any, bits: int) -> Certificate:
    lams, mus = _eigenvalues(flint, attention), _eigenvalues(flint, weights)
    constants = [((1.0 + 0j, complex(mu.mid())), abs(1 + mu)) for mu in mus]
    others = [((complex(lam.mid()), complex(mu.mid())), abs(1 + lam * mu)) for lam in lams for mu in mus]
    constant_mode, c_low, c_high = _largest(constants)
    other_mode, o_low, o_high = _largest(others) if others else ((), flint.arb(0), flint.arb(0))
    regime, reason = (
        "undecided",
        f"not decided with {bits} bits: the enclosures overlap, or the two moduli are equal",
    )
    if not all(x.is_finite() for x in (c_low, c_high, o_low, o_high)):
        reason = f"not decided with {bits} bits: eigenvalues that (nearly) coincide could not be enclosed"
    elif c_low > o_high:
        regime, reason = "smoothing", ""
    elif o_low > c_high:
        regime, reason = "sharpening", ""
    return Certificate(
        regime,
        bits,
        (max(0.0, _below(c_low)), _above(c_high)),
        (max(0.0, _below(o_low)), _above(o_high)),
        _margin(c_low, c_high, o_low, o_high),
        constant_mode,
        other_mode,
        reason,
    )


def _largest(modes: list[tuple[tuple[complex, complex], Any]]) -> tuple[tuple[complex, complex], Any, Any]:
    """Return the mode of largest modulus, and what the largest modulus is at least and at most."""
    low = [(modulus.lower(), mode) for mode, modulus in modes]
    best = low[0]
    for candidate in low[1:]:
        if candidate[0] > best[0]:
            best = candidate
    high = modes[0][1].upper()
    for _, modulus in modes[1:]:
        high = high.max(modulus.upper())
    zero = 0 * high
    return best[1], best[0].max(zero), high


def _margin(c_low: Any, c_high: Any, o_low: Any, o_high: Any) -> tuple[float, float]:
    """Enclose ln(constant / other), infinite where one may be zero."""
    low = -math.inf
    if c_low > 0:
        low = _below(c_low.log() - o_high.log()) if o_high > 0 else math.inf
    high = math.inf
    if o_low > 0:
        high = _above(c_high.log() - o_low.log()) if c_high > 0 else -math.inf
    return low, high


def _below(ball: Any) -> float:
    """Return a double that is not above anything in the ball, -inf where it has no end."""
    if not ball.is_finite():
        return -math.inf
    value = float(ball.lower())
    return (value if ball.lower() >= value else math.nextafter(value, -math.inf)) + 0.0


def _above(ball: Any) -> float:
    return -_below(-ball) + 0.0
