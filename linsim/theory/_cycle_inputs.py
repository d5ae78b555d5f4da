"""What an input has of the modes of a cycle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._types import EPS, ComplexArray, FloatArray
from ..errors import NotCoveredError
from .cycle import DENSE, KRYLOV, Modes

__all__ = ["coefficients"]


def coefficients(modes: Modes, wanted: Sequence[int], x0: FloatArray) -> ComplexArray:
    """Coefficients of x0 in some modes, 0 where rounding alone could have put them there."""
    turned, shared = modes.reflection @ x0, x0[:1] * modes.first
    # what all tokens share must leave no rounding in the others
    turned[1:] = (modes.reflection @ (x0 - shared))[1:]
    rest, apart = turned[modes.first :].ravel(), np.linalg.norm(x0 - shared)
    out = np.zeros(len(wanted), dtype=np.complex128)
    for at, p in enumerate(wanted):
        constant, other = modes.blocks
        if modes.constant[p]:
            low, high = constant.left[modes.index[p]], _left_of_rest(modes, p)
        else:
            low, high = np.zeros(turned.shape[1]), other.left[modes.index[p]]
        value = low @ turned[0] + high @ rest
        noise = np.linalg.norm(low) * np.linalg.norm(x0) + np.linalg.norm(high) * apart
        out[at] = value * modes.stretch[p] if abs(value) > modes.noise * noise else 0
    return out


def _left_of_rest(modes: Modes, p: int) -> ComplexArray:
    """How a constant mode reads the other rows: b with b (value - T_rest) = a T_coupling."""
    row = np.zeros(modes.cycle.shape, dtype=np.complex128)
    row[0] = modes.blocks[0].left[modes.index[p]]
    fed = modes.cycle.transposed.apply(row)[1:].ravel()
    block, value = modes.rest.transposed, modes.values[p]
    if not np.any(fed):
        return fed
    if block.size <= DENSE:
        return np.linalg.lstsq(value * np.eye(block.size) - block.matrix()[0], fed, rcond=EPS)[0]
    from scipy.sparse.linalg import LinearOperator, gmres

    def apply(y: ComplexArray) -> ComplexArray:
        return value * y.ravel() - block.apply(y.reshape(block.shape)).ravel()

    operator = LinearOperator((block.size, block.size), matvec=apply, dtype=np.complex128)
    solution, failed = gmres(operator, fed, rtol=1e-11, restart=KRYLOV, maxiter=20)
    if failed:
        raise NotCoveredError(
            "x0: found an input whose share of the constant modes cannot be computed; expected a rule with "
            "better separated eigenvalues. Leave x0 out for a generic one."
        )
    return solution
