"""Leading modes of a map that is only applied: Arnoldi iteration in stages, within a number of products.

Eigenvalues of sums of random heads fill a disk, and its rim holds many of nearly the same modulus: digits
of the leading ones cost products with the map in proportion to one over their distance.  Each stage
starts from what the one before has found, and every answer comes with its residual, so that stopping
early costs digits that are known to be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import progress
from .._types import ComplexArray, FloatArray

__all__ = ["Ritz", "Work", "leading"]


WANTED = 4  # leading eigenvalues: two pairs, or one and what may tie with it
KRYLOV = 96  # vectors kept: more cost memory traffic, fewer cost products
# relative residual of a stage, and the dtype that is enough for it (half the memory traffic)
STAGES = ((1e-1, "f4"), (1e-2, "f4"), (1e-3, "f4"), (1e-4, "f4"), (1e-6, "f8"), (1e-8, "f8"), (1e-10, "f8"))


class Work:
    """What an iteration may spend: ``products`` with the map, shown on a bar where somebody watches."""

    def __init__(self, products: int, bar: bool) -> None:
        self.products, self.spent = products, 0
        self._bar = progress.bar(
            total=products, unit="product", desc="linsim predict", leave=False, shown=bar
        )

    def allow(self, products: int) -> None:
        """Let the bar end at so many products."""
        self._bar.total = products

    def step(self) -> None:
        """Count one product."""
        self.spent += 1
        self._bar.update()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Ritz(NamedTuple):
    """Approximate modes by falling modulus.

    values : (k,); vectors : (N, k), unit columns; images : what the map makes of these
    residual : (k,), |image - value vector|
    reached : the largest residual, relatively
    """

    values: ComplexArray
    vectors: ComplexArray
    images: ComplexArray
    residual: FloatArray
    reached: float


def leading(
    apply: Callable[[Any], Any], size: int, seed: int, work: Work, until: int, reach: float = 0.0
) -> Ritz | None:
    """Leading modes of a map on (size,) vectors; None where ARPACK finds none.

    The next stage is begun while ``until`` products would probably do, and ``reach`` is not reached.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

    start = np.random.default_rng(seed).standard_normal(size)
    found: Ritz | None = None
    ncv, began = min(KRYLOV, size), work.spent
    work.allow(until)
    for tolerance, dtype in STAGES:
        if found is not None:
            if found.reached <= tolerance:
                continue
            # a stage costs about as much as all before it
            if tolerance < reach or 2 * work.spent - began > until:
                break

        def counted(x: Any, dtype: str = dtype) -> Any:
            work.step()
            return apply(x.astype(dtype, copy=False)).astype(dtype, copy=False)

        operator = LinearOperator((size, size), matvec=counted, dtype=dtype)
        try:
            _, vectors = eigs(
                operator,
                k=min(WANTED, size - 2),
                v0=start.astype(dtype),
                ncv=ncv,
                maxiter=max(3, (until - work.spent) // max(ncv - WANTED, 1)),
                tol=tolerance,
            )
        except ArpackError:
            break
        found = _ritz(apply, vectors.astype(np.complex128), work)
        start = np.sum(found.vectors.real + found.vectors.imag, axis=1)
    return found


def _ritz(apply: Callable[[Any], Any], vectors: ComplexArray, work: Work) -> Ritz:
    """The best that a few vectors span, real ones in double precision."""
    basis, sizes, _ = np.linalg.svd(np.concatenate([vectors.real, vectors.imag], axis=1), full_matrices=False)
    basis = basis[:, sizes > 1e-5 * sizes[0]]
    images = []
    for k in range(basis.shape[1]):
        work.step()
        images.append(apply(np.ascontiguousarray(basis[:, k])))
    image = np.stack(images, axis=1)
    values, y = np.linalg.eig(basis.T @ image)
    order = np.argsort(-np.abs(values), kind="stable")
    values, y = values[order].astype(np.complex128), y[:, order].astype(np.complex128)
    right, moved = basis @ y, image @ y
    residual = np.linalg.norm(moved - right * values, axis=0)
    return Ritz(values, right, moved, residual, float(np.max(residual) / np.max(np.abs(values))))
