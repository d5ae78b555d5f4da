"""One layer rule and one input, as a frozen value that can be printed and pasted back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._eigen import attention_eigensystem
from .._namespace import Array, to_host
from .._simulate import simulate
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..rules import Linear
from ..theory import Prediction, predict
from ..trajectory import Trajectory

__all__ = ["System", "weight_eigenvalues"]


@dataclass(frozen=True, eq=False, repr=False)
class System:
    """A single linear Transformer: attention, weights and an input.

    All three are kept as read-only float64 NumPy copies, so that no claim can change the
    system it is asked about.  Printed, it is an expression that makes the same system again, to the bit:
    1/3 for the number nearest to a third.  Two systems are equal if all entries are.

    Parameters
    ----------
    A : array, shape (n, n)
        Attention: entries >= 0, rows summing to 1 within 1e-8 (float32: 1e-5); normalised
        once, here.
    H : array, shape (d, d)
        Value times projection.
    x0 : array, shape (n, d)
        Input tokens in rows, not all zero.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        What :class:`linsim.Linear` refuses, batch axes, and an x0 that is all zero or does
        not fit.

    Examples
    --------
    >>> system = System(A=[[0.5, 0.5], [0.25, 0.75]], H=[[-0.5]], x0=[[1], [0]])
    >>> system
    System(A=[[1/2, 1/2], [1/4, 3/4]], H=[[-1/2]], x0=[[1], [0]])
    >>> system.law.regime, system.lam.round(12)
    ('sharpening', array([1.  , 0.25]))
    >>> float(system.run(10, layers=[10]).metrics["log_norm"][0].round(3))
    -1.628
    """

    A: NDArray[np.float64]
    H: NDArray[np.float64]
    x0: NDArray[np.float64]

    def __post_init__(self) -> None:
        rule = Linear(self.A, self.H)
        if not rule.stochastic:
            raise _validate.refusal(
                InvalidTypeError,
                "A",
                "general attention",
                "a stochastic matrix",
                "Build that rule in the claim.",
            )
        single = str(rule.A.dtype).endswith("float32")
        A, H = (_single(_double(M), name) for M, name in ((rule.A, "A"), (rule.H, "H")))
        if single:  # its rows sum to 1 in its own precision only
            A = A / np.sum(A, axis=-1, keepdims=True)
        x0 = _single(_double(_validate.array(self.x0, "x0", ndim=2, shape="(n, d)")), "x0")
        if x0.shape != (len(A), len(H)):
            raise _validate.refusal(
                ShapeError,
                "x0",
                f"shape {x0.shape}",
                f"shape ({len(A)}, {len(H)}) to fit A and H",
                "Rows are tokens, columns features.",
            )
        if not x0.any():
            raise _validate.refusal(
                InvalidValueError, "x0", "all zeros", "tokens that are not all zero", "Change one entry."
            )
        for name, M in (("A", A), ("H", H), ("x0", x0)):
            M.setflags(write=False)
            object.__setattr__(self, name, M)

    @property
    def n(self) -> int:
        """Number of tokens."""
        return len(self.A)

    @property
    def d(self) -> int:
        """Number of features."""
        return len(self.H)

    @cached_property
    def rule(self) -> Linear:
        """The layer, :class:`linsim.Linear`."""
        return Linear(self.A, self.H)

    @cached_property
    def law(self) -> Prediction:
        """What :func:`linsim.predict` says of this very x0."""
        return predict(self.rule, x0=self.x0)

    @cached_property
    def generic_law(self) -> Prediction:
        """What :func:`linsim.predict` says of a generic input."""
        return predict(self.rule)

    @cached_property
    def lam(self) -> NDArray[Any]:
        """Eigenvalues of A, shape (n,): the 1 of the constant mode first, then by falling real part.

        float64 if all of them are real (always so for a reversible A), else complex128.
        """
        values = attention_eigensystem(self.A[None]).values[0]
        return _real_if_real(np.concatenate([values[:1], _falling(values[1:])]))

    @cached_property
    def mu(self) -> NDArray[Any]:
        """Eigenvalues of H, shape (d,), by falling real part; float64 if all are real, else complex128.

        As computed: those of a Jordan block of size 2 (3) are off by about 1e-8 (1e-5), so
        claims that compare eigenvalues need a tolerance, or weights of kind "normal".
        """
        return weight_eigenvalues(self.H)

    def run(self, depth: int, **simulate_options: Any) -> Trajectory:
        """Simulate this system.

        Parameters
        ----------
        depth : int
            Number of layers, >= 0.
        **simulate_options
            Whatever :func:`linsim.simulate` takes by keyword: layers, metrics, ...

        Returns
        -------
        Trajectory

        Raises
        ------
        InvalidValueError, InvalidTypeError
            As :func:`linsim.simulate`.
        """
        return simulate(self.rule, self.x0, depth, **simulate_options)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={_readable(getattr(self, name))}" for name in ("A", "H", "x0"))
        return f"System({parts})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # IPython, and Hypothesis, which would show rounded arrays in place of what can be pasted back
        printer.text(repr(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, System):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("A", "H", "x0"))

    def __hash__(self) -> int:
        # + 0.0: equal arrays may differ in the sign of a zero
        return hash(tuple((M.shape, (M + 0.0).tobytes()) for M in (self.A, self.H, self.x0)))


#: largest denominator of a fraction that is shown as one
_DENOMINATOR = 1000


def _readable(M: NDArray[np.float64]) -> str:
    """Show a matrix by expressions that Python evaluates to these very numbers: whole, p/q, or decimal."""
    return "[" + ", ".join("[" + ", ".join(map(_number, row)) + "]" for row in M.tolist()) + "]"


def _number(x: float) -> str:
    near = Fraction(x).limit_denominator(_DENOMINATOR)
    # division rounds once: the quotient is x itself, or it is not shown
    if near.numerator / near.denominator != x or (x == 0 and math.copysign(1, x) < 0) or abs(x) >= 2**53:
        return repr(x)
    whole = near.denominator == 1
    return str(near.numerator) if whole else f"{near.numerator}/{near.denominator}"


def weight_eigenvalues(H: NDArray[np.float64]) -> NDArray[Any]:
    """Return the eigenvalues of H as :attr:`System.mu` has them."""
    symmetric = bool((H == H.T).all())
    return _real_if_real(_falling(np.linalg.eigvalsh(H) if symmetric else np.linalg.eigvals(H)))


def _double(M: Array) -> NDArray[np.float64]:
    return np.array(to_host(M), dtype=np.float64)


def _single(M: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if M.ndim != 2:
        raise _validate.refusal(
            ShapeError,
            name,
            f"shape {M.shape}",
            "one matrix, without batch axes",
            "Build one System for each.",
        )
    return M


def _falling(values: NDArray[Any]) -> NDArray[Any]:
    return values[np.lexsort((values.imag, -values.real))]


def _real_if_real(values: NDArray[Any]) -> NDArray[Any]:
    return values if np.any(values.imag) else values.real
