"""The second eigenvalue of random attention: where it falls like 1/sqrt(n), and where it does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .. import _validate
from .._namespace import Array, to_host
from .._spectra import parameter
from .._types import FloatArray
from ..errors import InvalidValueError

__all__ = ["dirichlet_radius", "token_lambda2"]


def dirichlet_radius(n: int, concentration: float | ArrayLike = 1.0) -> FloatArray:
    """Return the radius of the spectrum, 1 left out, of :func:`linsim.attention.dirichlet` with many tokens.

    Parameters
    ----------
    n : int
        Tokens.
    concentration : float or (...) array
        Of the Dirichlet rows; positive.

    Returns
    -------
    (...) float64 array
        sqrt(n) * std(entry) = sqrt((1 - 1/n) / (n * concentration + 1)), about 1 / sqrt(n * concentration).

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer, or ``concentration`` not positive.

    Notes
    -----
    Circular law for random Markov matrices (Bordenave, Caputo and Chafai 2012): the eigenvalues
    other than 1 fill the disk of this radius evenly as n grows, |lambda_2| at its edge, so
    lambda_2 = O(1/sqrt(n)) as in Saada et al. 2024 (arXiv 2410.07799).  Exact at every n,
    derived here: with v the variance of an entry, rows have covariance v n/(n - 1) Pi_perp, so

        E sum_{i > 1} |lambda_i|^2 <= E ||Pi_perp A Pi_perp||_F^2 = (n - 1) radius^2   (Schur),

    and E det(A)^2 = (n! / n^n) (n concentration + 1)^(1 - n), the squared product of the
    eigenvalues (from the second moment of a determinant of independent Gamma variables).

    Examples
    --------
    >>> dirichlet_radius(100, [0.5, 1.0]).round(4)
    array([0.1393, 0.099 ])
    """
    n = _validate.count(n, "n", minimum=1)
    alpha, _ = parameter(concentration, "concentration", (), low=0, low_open=True)
    return np.asarray(np.sqrt((1 - 1 / n) / (n * alpha + 1)))[()]


def token_lambda2(M: Array) -> FloatArray:
    """Return the limit of |lambda_2| for softmax(X M X^T) of many Gaussian tokens: the spectral radius of M.

    Parameters
    ----------
    M : (..., d, d) array
        Scores are x_i M x_j^T, tokens have independent N(0, 1) entries.

    Returns
    -------
    (...) float64 array
        max |mu_k(M)|.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``M`` is not a finite stack of square matrices, or a spectral radius reaches 1: the
        autoregression below then never settles, and no limit is known.

    Notes
    -----
    Derived here.  As n grows, a row of A X -> E[f(x')] with x' of density e^(x M x'^T) relative to
    N(0, I), which is that of N(x M, I): attention becomes one step x' = x M + noise of an
    autoregression.  A polynomial of degree k goes to one of degree k, its leading part composed with
    M, so the eigenvalues are the products of those of M: 1, mu_k, mu_k mu_l, ...; the largest other
    than 1 is the spectral radius.

    The kernel is square integrable, and the eigenvalues of the matrices converge to those of the
    limit, where ||M||_2^2 < 1/2.  Beyond, these are the eigenvalues on polynomials; that matrices follow
    is not proved.

    So **lambda_2 falls like 1/sqrt(n) only until it meets the spectral radius of the scores**.
    Queries and keys that are independent of each other (:func:`linsim.attention.softmax` without
    ``symmetric``) give a limit of rank one, all of whose other eigenvalues vanish: there lambda_2 sqrt(n)
    has a limit law, if d_key temperature^2 > 2.  With ``symmetric=True``, M = I / (sqrt(d_key)
    temperature): there lambda_2 tends to 1 / (sqrt(d_key) temperature), for n far above
    e^(|x|^2 / (sqrt(d_key) temperature)).  Saada et al. 2024 (arXiv 2410.07799) take independent
    entries.

    Examples
    --------
    >>> token_lambda2([[0.3, 0.5], [0.0, -0.4]])
    np.float64(0.4)
    """
    M = _validate.square(M, "M", shape="(..., d, d)")
    radius = np.max(np.abs(np.linalg.eigvals(to_host(M).astype(np.float64))), axis=-1)
    if np.any(radius >= 1):
        raise _validate.refusal(
            InvalidValueError,
            "M",
            f"spectral radius {float(np.max(radius)):.6g}",
            "a spectral radius below 1",
            "Divide the scores by a higher temperature.",
        )
    return np.asarray(radius)[()]
