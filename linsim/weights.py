"""Weight matrices H (..., d, d): from a spectrum, a distribution, two factors, or with a clipped spectrum."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _kernels, _spectra, _validate
from ._callers import in_callers_library
from ._factored import Factored
from ._namespace import Array, at_home, exponent_of, home_of, namespace, on_device_of, power_of_two, to_host
from ._parallel import in_parallel, pieces
from ._spectra import FloatArray
from .errors import InvalidValueError, ShapeError, SpectrumError
from .streams import philox

__all__ = ["Factored", "from_spectrum", "gaussian", "orthogonal", "reparameterize"]

# Gaussian similarity transforms worse than this times d are drawn again: they
# would cost more than 4 digits beyond what size alone costs.
_WORST_CONDITION = 100.0
_REDRAWS = 50


def from_spectrum(
    eigenvalues: ArrayLike,
    *,
    basis: str = "orthogonal",
    condition: float | ArrayLike | None = None,
    rng: Any = None,
) -> FloatArray:
    """Draw real weight matrices with given eigenvalues.

    Parameters
    ----------
    eigenvalues : (..., d) array of real or complex numbers
        In any order; complex ones come in conjugate pairs.  Imaginary parts below 64
        rounding errors of the largest modulus count as zero.  Dimensionless.
    basis : "orthogonal" or "random"
        "orthogonal": H = Q B Qᵀ with Q Haar orthogonal, a normal matrix, exactly symmetric
        if all eigenvalues are real.  "random": H = S B S⁻¹.  B holds the real eigenvalues and
        a block [[x, y], [-y, x]] for each pair x ± iy.
    condition : float >= 1 or array that broadcasts with the batch, optional
        2-norm condition number of S, with log-spaced singular values, and so of a matrix of
        eigenvectors.  Left out, S is Gaussian, drawn again while ‖S‖ ‖S⁻¹‖ exceeds 100 d in
        the Frobenius norm.  Only 1 fits basis="orthogonal".
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (..., d, d) float64 array

    Raises
    ------
    SpectrumError
        If a complex eigenvalue lacks its conjugate.
    InvalidValueError, InvalidTypeError
        For NaN, text, an unknown basis, or a condition that does not fit.
    ShapeError
        If ``condition`` does not broadcast with the batch.

    Source: standard (real normal form).

    Examples
    --------
    >>> import numpy as np
    >>> H = from_spectrum([-1, 0.5, 2], rng=0)
    >>> bool((H == H.T).all()), np.linalg.eigvalsh(H).round(12)
    (True, array([-1. ,  0.5,  2. ]))
    >>> H = from_spectrum([1 + 2j, 1 - 2j, 3], basis="random", condition=10, rng=0)
    >>> np.linalg.eigvals(H).real.round(10).tolist().count(1.0)
    2
    """
    values = np.asarray(
        to_host(_validate.array(eigenvalues, "eigenvalues", ndim=1, shape="(..., d)", allow_complex=True))
    ).astype(np.complex128)
    basis = _validate.choice(basis, "basis", ("orthogonal", "random"))
    *batch, d = values.shape
    shape = tuple(batch)
    if condition is not None:
        bound, shape = _spectra.parameter(condition, "condition", shape, low=1)
        values = np.broadcast_to(values, (*shape, d))
        if bool((bound > 1).any()) and (basis == "orthogonal" or d == 1):
            with_what = "basis='orthogonal'" if basis == "orthogonal" else "d = 1"
            raise _validate.refusal(
                InvalidValueError,
                "condition",
                f"{float(bound.max()):.6g} with {with_what}",
                "None or 1",
                "Pass basis='random' and d >= 2, or leave condition out.",
            )
    generator = _validate.generator(rng)
    diagonal, coupling = _normal_form(values)
    if basis == "orthogonal" or condition is None:
        seeds = np.asarray(generator.integers(2**63, size=shape, dtype=np.int64))
    if basis == "orthogonal":
        return _spectra.turned(diagonal, coupling, seeds)
    if condition is None:
        flat = _gaussian_similar(diagonal.reshape(-1, d), coupling.reshape(seeds.size, -1), seeds.reshape(-1))
        return flat.reshape(*shape, d, d)
    block = _block(diagonal, coupling)
    pair = _spectra.haar(np.asarray(generator.standard_normal((*shape, 2, d, d))))
    u, v = pair[..., 0, :, :], pair[..., 1, :, :]
    exponents = np.linspace(0.5, -0.5, d) if d > 1 else np.zeros(1)
    sigma = np.broadcast_to(bound, shape)[..., None] ** exponents
    core = (sigma[..., :, None] / sigma[..., None, :]) * (v @ block @ np.swapaxes(v, -1, -2))
    return np.asarray(u @ core @ np.swapaxes(u, -1, -2))


def _normal_form(values: NDArray[np.complex128]) -> tuple[FloatArray, FloatArray]:
    """Return the diagonal (..., d) of B and its first superdiagonal (..., d-1); pairs come first."""
    d = values.shape[-1]
    if not values.imag.any():  # nothing to pair
        return np.sort(values.real, axis=-1), np.zeros((*values.shape[:-1], max(d - 1, 0)))
    flat = values.reshape(-1, d)
    scale = np.abs(flat).max(axis=-1, keepdims=True)
    tolerance = 64 * np.finfo(float).eps * scale
    x = flat.real.copy()
    y = np.where(np.abs(flat.imag) <= tolerance, 0.0, flat.imag)
    # upper halves first, then lower ones in the same order, then real numbers
    kind = np.where(y > 0, 0, np.where(y < 0, 1, 2))
    order = np.lexsort((np.abs(y), x, kind), axis=-1)
    x, y = np.take_along_axis(x, order, -1), np.take_along_axis(y, order, -1)
    pairs = (y > 0).sum(axis=-1)
    diagonal, coupling = x.copy(), np.zeros((len(flat), max(d - 1, 0)))
    for p in np.unique(pairs[(pairs > 0) | (y < 0).any(axis=-1)]):
        chosen = np.flatnonzero((pairs == p) & ((y != 0).any(axis=-1)))
        upper = x[chosen, :p] + 1j * y[chosen, :p]
        lower = x[chosen] - 1j * y[chosen]
        unequal = (y[chosen] < 0).sum(axis=-1) != p
        for row in np.flatnonzero(unequal):
            _refuse_half(flat, int(chosen[row]), values.shape[:-1])
        lower = lower[:, p : 2 * p]
        apart = (np.abs(upper - lower) > tolerance[chosen]).any(axis=-1)
        for row in np.flatnonzero(apart):
            # sorting by real part can cross pairs whose real parts differ only by rounding
            cost = np.abs(upper[row][:, None] - lower[row][None, :])
            from scipy.optimize import linear_sum_assignment  # imports half of SciPy

            match = linear_sum_assignment(cost)[1]
            if cost[np.arange(p), match].max() > tolerance[chosen[row], 0]:
                _refuse_half(flat, int(chosen[row]), values.shape[:-1])
            lower[row] = lower[row][match]
        mean = (upper + lower) / 2
        rows = chosen[:, None]
        diagonal[rows, np.arange(0, 2 * p, 2)] = mean.real
        diagonal[rows, np.arange(1, 2 * p, 2)] = mean.real
        coupling[rows, np.arange(0, 2 * p, 2)] = mean.imag
    return diagonal.reshape(values.shape), coupling.reshape(*values.shape[:-1], max(d - 1, 0))


def _refuse_half(flat: NDArray[np.complex128], row: int, batch: tuple[int, ...]) -> None:
    """Name the eigenvalue that lacks its conjugate."""
    z = flat[row]
    tolerance = 64 * np.finfo(float).eps * np.abs(z).max()
    z = z[np.abs(z.imag) > tolerance]
    left = list(z)
    for value in z:
        near = [other for other in left if abs(other - value.conjugate()) <= tolerance]
        if value in left and near:
            left.remove(value)
            left.remove(near[0])
    where = f" in spectrum {tuple(int(i) for i in np.unravel_index(row, batch))}" if batch else ""
    lone = left[0] if left else z[0]
    raise _validate.refusal(
        SpectrumError,
        "eigenvalues",
        f"{lone:.6g} without its conjugate {lone.conjugate():.6g}{where}",
        "conjugate pairs, or real numbers",
        "A real matrix has both or neither: add the conjugate, or drop the imaginary part.",
    )


def _block(diagonal: FloatArray, coupling: FloatArray) -> FloatArray:
    """Return B (..., d, d) with ``diagonal``, ``coupling`` above it, and minus that below."""
    d = diagonal.shape[-1]
    block = np.zeros((*diagonal.shape, d))
    i = np.arange(d)
    block[..., i, i] = diagonal
    block[..., i[:-1], i[1:]] = coupling
    block[..., i[1:], i[:-1]] = -coupling
    return block


def _gaussian_similar(diagonal: FloatArray, coupling: FloatArray, seeds: NDArray[np.int64]) -> FloatArray:
    """Return S B S⁻¹ (b, d, d), each Gaussian S drawn from its own seed (b,) until it is well-conditioned."""
    d = diagonal.shape[-1]
    rows = np.arange(len(seeds))
    for attempt in range(_REDRAWS):
        if attempt == 0:
            out, condition = _similar(diagonal, coupling, seeds, attempt)
        else:
            out[rows], condition = _similar(diagonal[rows], coupling[rows], seeds[rows], attempt)
        rows = rows[~(condition <= _WORST_CONDITION * d)]
        if not rows.size:
            return out
    raise _validate.refusal(
        InvalidValueError,
        "basis",
        f"{_REDRAWS} badly conditioned Gaussian matrices in a row",
        f"a condition number up to {_WORST_CONDITION * d:g}",
        "Pass condition.",
    )


def _similar(
    diagonal: FloatArray, coupling: FloatArray, seeds: NDArray[np.int64], attempt: int
) -> tuple[FloatArray, FloatArray]:
    """Return S B S⁻¹ (b, d, d), and the condition number of each S in the Frobenius norm (b,)."""
    b, d = diagonal.shape
    if d <= _spectra.TURNED and _kernels.importable():
        from ._kernels.similar import similar

        _kernels.announce(similar, "float64")
        out, condition = np.empty((b, d, d)), np.empty(b)

        def draw(part: slice) -> None:
            similar(diagonal[part], coupling[part], seeds[part], attempt, out[part], condition[part])

        in_parallel(draw, pieces(b, 8 * d * d, diagonal))
        return out, condition
    S = np.stack([philox(int(seed), attempt).standard_normal((d, d)) for seed in seeds])
    norms = [np.linalg.norm(M, axis=(-1, -2)) for M in (S, np.linalg.inv(S))]
    # H = (S B) S⁻¹ solves Sᵀ Hᵀ = (S B)ᵀ
    right = np.swapaxes(S @ _block(diagonal, coupling), -1, -2)
    return np.swapaxes(np.linalg.solve(np.swapaxes(S, -1, -2), right), -1, -2), norms[0] * norms[1]


def gaussian(
    d: int,
    *,
    std: float | ArrayLike | None = None,
    size: int | tuple[int, ...] = (),
    rng: Any = None,
) -> FloatArray:
    """Draw weights with independent N(0, std²) entries.

    Parameters
    ----------
    d : int
        Features.
    std : float or array that broadcasts with ``size``, optional
        Standard deviation of an entry, 1/sqrt(d) if left out (spectral radius near 1).
    size : int or tuple
        Batch shape.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (*size, d, d) float64 array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``d`` or ``size`` is not a positive integer, or ``std`` is negative.
    ShapeError
        If ``std`` does not broadcast with ``size``.

    Source: standard.

    Examples
    --------
    >>> gaussian(4, size=(2, 3), rng=0).shape
    (2, 3, 4, 4)
    """
    d = _validate.count(d, "d", minimum=1)
    std = 1 / np.sqrt(d) if std is None else std
    scale, batch = _spectra.parameter(std, "std", _validate.size(size), low=0)
    return np.asarray(_validate.generator(rng).standard_normal((*batch, d, d)) * scale[..., None, None])


def orthogonal(d: int, *, size: int | tuple[int, ...] = (), rng: Any = None) -> FloatArray:
    """Draw Haar-distributed orthogonal weights.

    Parameters
    ----------
    d : int
        Features.
    size : int or tuple
        Batch shape.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (*size, d, d) float64 array
        H Hᵀ = I to rounding.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``d`` or ``size`` is not a positive integer.

    Source: standard (QR of a Gaussian matrix with the signs of R made positive, Mezzadri 2007).

    Examples
    --------
    >>> import numpy as np
    >>> Q = orthogonal(3, rng=0)
    >>> bool(np.allclose(Q @ Q.T, np.eye(3)))
    True
    """
    d = _validate.count(d, "d", minimum=1)
    shape = (*_validate.size(size), d, d)
    return _spectra.haar(np.asarray(_validate.generator(rng).standard_normal(shape)))


@in_callers_library
def reparameterize(
    psi: ArrayLike,
    basis: ArrayLike,
    *,
    filter: str,  # noqa: A002
    form: str | None = None,
    condition: float | ArrayLike | None = None,
    return_condition: bool = False,
) -> Array | tuple[Array, Array]:
    """Build H = V clip(ψ) V⁻¹, whose spectrum decides between sharpening and smoothing.

    ``filter="sharpen"`` clips ψ to [-1, 0]: inputs then never converge, for generic tokens and
    any attention.  ``filter="smooth"`` clips it to [0, 1]: inputs converge only if some ψ_j > 0
    (with none, H = 0 and nothing moves).

    Parameters
    ----------
    psi : (..., d) array of real numbers
        Free parameters; clipped, they are the eigenvalues of H.
    basis : (..., d, d) array of real numbers
        V, eigenvectors as columns; their lengths do not matter.  If it is orthogonal to
        rounding, Vᵀ serves as its inverse and H is exactly symmetric.
    filter : "sharpen" or "smooth"
    form : "orthogonal", optional
        V is Q of the QR decomposition of ``basis``, a free matrix: H is exactly symmetric, and
        does not depend on the signs that QR gives Q's columns.  Left out, V is ``basis``.
    condition : float >= 1 or array that broadcasts with the batch of ``basis``, optional
        Singular values of V below σ₁/condition are raised to it, which turns eigenvectors that
        are nearly parallel apart; columns are first scaled by powers of two to lengths near 1.
        Bases within the bound stay as they are.  A singular basis (not zero) is mended too.
    return_condition : bool
        Also return the 2-norm condition number of V, so scaled and bounded.

    Returns
    -------
    (..., d, d) array
        Of the library, device and dtype of the inputs (NumPy, CuPy, ...).
    (...) array
        Only with ``return_condition``: κ₂(V), of the batch shape of ``basis``.

    Raises
    ------
    InvalidValueError
        If ``basis`` is singular, or so ill-conditioned that the dtype cannot hold the spectrum
        (δ, below, exceeds the largest clipped eigenvalue); if an entry is not finite, ``filter``
        or ``form`` unknown, or ``condition`` below 1 or beside form="orthogonal".
    InvalidTypeError
        If an argument is not a number or an array of numbers.
    ShapeError
        If ``basis`` is not square, or does not fit ``psi`` or ``condition``.

    Notes
    -----
    Source: the spectral parameterisation of arXiv 2401.04301 (its section on controlling the
    filter); the clip, there, makes H symmetric or not by the choice of V.  The paper's symmetric
    Λ = -ψ² is ``psi=-psi**2``: without the clip it would smooth again wherever ψ² > 2/(1+a), a the
    smallest eigenvalue of the attention.  Proved as ``control.sharpen`` and
    ``control.smooth`` in proofs_check.

    The sign survives rounding (derived here).  Rounding H moves its eigenvalues by at most
    κ₂(V) ‖E‖, ‖E‖ near eps ‖H‖ (Bauer and Fike), so a zero may come out positive and, in the
    end, smooth.  To sharpen, eigenvalues are therefore clipped at -δ instead of 0, with
    δ = 4 eps κ₂(V) ‖H‖_F, except where H is diagonal.  With κ₂(V) = 10³ in float64 that is 1e-12 ‖H‖_F;
    it reaches the largest |Λ_j|, where the guarantee ends and the basis is refused, near
    κ₂(V) ‖H‖_F = 10¹⁵ max |Λ_j| (float32: 2·10⁶).

    Examples
    --------
    >>> import numpy as np
    >>> H = reparameterize([-2.0, -0.3, 0.7], np.eye(3), filter="sharpen")
    >>> np.diag(H)
    array([-1. , -0.3,  0. ])

    A free matrix, once through its Q, once bounded:

    >>> free = [[1.0, 1.0], [0.0, 1e-3]]
    >>> reparameterize([-0.5, -0.2], free, filter="sharpen", form="orthogonal").tolist()
    [[-0.5, 0.0], [0.0, -0.2]]
    >>> H, bound = reparameterize([-0.5, -0.2], free, filter="sharpen", condition=20, return_condition=True)
    >>> np.linalg.eigvals(H).round(12).tolist(), round(float(bound), 9)
    ([-0.5, -0.2], 20.0)
    """
    kind = _validate.choice(filter, "filter", ("sharpen", "smooth"))
    if form is not None:
        _validate.choice(form, "form", ("orthogonal",))
    psi_array, v = _together(psi, basis)
    psi_array = _validate.array(psi_array, "psi", ndim=1, shape="(..., d)")
    v = _validate.square(v, "basis", shape="(..., d, d)")
    xp = namespace(psi_array, v)
    d = v.shape[-1]
    if psi_array.shape[-1] != d:
        raise _validate.refusal(
            ShapeError,
            "psi",
            f"shape {tuple(psi_array.shape)} with basis {tuple(v.shape)}",
            f"shape (..., {d})",
            "Give one ψ for each column of basis.",
        )
    _validate.broadcast_batches(psi=tuple(psi_array.shape[:-1]), basis=tuple(v.shape[:-2]))
    dtype = xp.result_type(psi_array.dtype, v.dtype)
    psi_array, v = xp.astype(psi_array, dtype, copy=False), xp.astype(v, dtype, copy=False)
    v = _unit_columns(v)
    if condition is not None:
        v = _bounded(v, condition, form)
    sigma = xp.linalg.svdvals(v)
    eps = float(xp.finfo(dtype).eps)
    if bool(xp.any(sigma[..., -1] <= d * eps * sigma[..., 0])):
        raise _validate.refusal(
            InvalidValueError,
            "basis",
            "a singular matrix (to rounding)",
            "linearly independent columns",
            "Add a multiple of the identity, or pass for example condition=100.",
        )
    if form == "orthogonal":
        v = xp.linalg.qr(v)[0]
        sigma = xp.linalg.svdvals(v)
    worst = sigma[..., 0] / sigma[..., -1]
    # + 0.0: clipping gives -0.0, which prints oddly
    low, high = (-1.0, 0.0) if kind == "sharpen" else (0.0, 1.0)
    values = xp.clip(psi_array, low, high) + 0.0
    H = _with_eigenvalues(values, v)
    # a diagonal H shows its eigenvalues, zeros included
    diagonal = xp.eye(d, dtype=xp.bool, device=array_api_compat.device(v))
    inexact = xp.any((H != 0) & ~diagonal, axis=(-2, -1))
    reach = 4 * eps * worst * xp.sqrt(xp.sum(H * H, axis=(-2, -1)))
    reach = xp.where(inexact, reach, xp.zeros_like(reach))
    if bool(xp.any(inexact & ~(reach < xp.max(xp.abs(values), axis=-1)))):
        raise _validate.refusal(
            InvalidValueError,
            "basis",
            f"condition number {float(xp.max(worst)):.3g}",
            f"one with which {str(dtype).split('.')[-1]} can hold the signs of the eigenvalues",
            "Bound it, for example condition=100, or pass form='orthogonal'.",
        )
    if kind == "sharpen":
        H = _with_eigenvalues(xp.minimum(values, -reach[..., None]) + 0.0, v)
    return (H, worst) if return_condition else H


def _unit_columns(v: Array) -> Array:
    """Scale columns by powers of two, which round nothing, to lengths from 0.7 to 1.5."""
    xp = namespace(v)
    top = exponent_of(xp.max(xp.abs(v), axis=-2, keepdims=True))
    limit = 1022.0 if v.dtype == xp.float64 else 126.0

    def scaled(exponent: Array) -> Array:
        return v * xp.astype(power_of_two(xp.clip(-exponent, -limit, limit)), v.dtype)

    top = xp.where(top == -xp.inf, xp.zeros_like(top), top)
    near = scaled(top)
    length = xp.astype(xp.sqrt(xp.sum(near * near, axis=-2, keepdims=True)), xp.float64)
    return scaled(top + xp.round(xp.log2(xp.where(length > 0, length, xp.ones_like(length)))))


def _bounded(v: Array, condition: Any, form: str | None) -> Array:
    """Raise small singular values, where there are any, to the largest over ``condition``."""
    xp = namespace(v)
    if form is not None:
        raise _validate.refusal(
            InvalidValueError,
            "condition",
            f"{condition!r} with form={form!r}",
            "None",
            "An orthogonal basis has condition number 1.",
        )
    batch = tuple(v.shape[:-2])
    bound, shape = _spectra.parameter(condition, "condition", batch, low=1)
    if shape != batch:
        raise _validate.refusal(
            ShapeError,
            "condition",
            f"shape {bound.shape} with basis {tuple(v.shape)}",
            f"a shape that broadcasts to {batch}",
            "Give one bound, or one a basis.",
        )
    u, sigma, vh = xp.linalg.svd(v, full_matrices=False)
    least = sigma[..., :1] / on_device_of(np.broadcast_to(bound, batch)[..., None].copy(), v, v.dtype)
    raised = (u * xp.maximum(sigma, least)[..., None, :]) @ vh
    return xp.where(xp.all(sigma >= least, axis=-1)[..., None, None], v, raised)


def _with_eigenvalues(values: Array, v: Array) -> Array:
    """Return V diag(values) V⁻¹, exactly symmetric where V is orthogonal."""
    xp = namespace(v)
    d = v.shape[-1]
    transposed = xp.matrix_transpose(v)
    scaled = v * values[..., None, :]
    defect = xp.abs(transposed @ v - xp.eye(d, dtype=v.dtype, device=array_api_compat.device(v)))
    is_orthogonal = xp.max(defect, axis=(-2, -1)) <= 16 * d * float(xp.finfo(v.dtype).eps)
    symmetric = scaled @ transposed
    symmetric = (symmetric + xp.matrix_transpose(symmetric)) / 2
    if bool(xp.all(is_orthogonal)):
        return symmetric
    # H = (V ψ) V⁻¹ solves Vᵀ Hᵀ = (V ψ)ᵀ
    shape = scaled.shape
    general = xp.matrix_transpose(
        xp.linalg.solve(xp.broadcast_to(transposed, shape), xp.matrix_transpose(scaled))
    )
    return xp.where(is_orthogonal[..., None, None], symmetric, general)


def _together(psi: Any, basis: Any) -> tuple[Any, Any]:
    """Move a plain sequence to where the other argument lives, and NumPy arrays to PyTorch or JAX."""
    psi, basis = at_home(psi, home_of(basis)), at_home(basis, home_of(psi))
    is_array = array_api_compat.is_array_api_obj
    if is_array(basis) and not is_array(psi):
        psi = on_device_of(_validate.array(psi, "psi"), basis)
    elif is_array(psi) and not is_array(basis):
        basis = on_device_of(_validate.array(basis, "basis"), psi)
    return psi, basis
