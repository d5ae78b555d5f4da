"""Strategies for input tokens: generic ones, single modes, and what no layer leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._eigen import perron_vector
from .._factored import dense
from .._namespace import to_host
from ..errors import InvalidValueError, ShapeError
from ._arguments import SMALL, Draw, FloatArray, Sizes, integers, kinds_of, sizes
from ._hypothesis import strategies as st
from ._ready import ready

__all__ = ["TOKENS", "token_matrices"]


def _generic(draw: Draw, n: int, d: int, A: FloatArray | None, H: FloatArray | None) -> FloatArray:
    if draw(st.integers(0, 3)) == 0:
        return np.eye(n, d)  # readable, and fewer draws than any other: what examples shrink to
    return _some(integers(draw, SMALL, n, d).astype(np.float64))


def _aligned(draw: Draw, n: int, d: int, A: FloatArray | None, H: FloatArray | None) -> FloatArray:
    assert A is not None
    assert H is not None
    return _mode(draw, A, H)


def _invariant(draw: Draw, n: int, d: int, A: FloatArray | None, H: FloatArray | None) -> FloatArray:
    spaces = ["equal rows"] + ["no constant part"] * (A is not None)
    spaces += ["few modes"] * (A is not None and H is not None)
    space = draw(st.sampled_from(spaces))
    if space == "few modes":
        assert A is not None
        assert H is not None
        one = _mode(draw, A, H)
        several = one + draw(SMALL) * _mode(draw, A, H)
        return several if np.max(np.abs(several)) > 1e-6 else one
    if space == "equal rows":
        return np.tile(_some(integers(draw, SMALL, 1, d).astype(np.float64)), (n, 1))
    assert A is not None
    pi = _snapped(perron_vector(A[None])[0][0])
    x = integers(draw, SMALL, n, d).astype(np.float64)
    if (x == x[0]).all():
        x[0, 0] += 1  # the constant part was all there was
    return np.asarray(x * np.sum(pi) - pi @ x)


_Tokens = Callable[[Draw, int, int, FloatArray | None, FloatArray | None], FloatArray]
TOKENS: dict[str, _Tokens] = {"generic": _generic, "aligned": _aligned, "invariant": _invariant}


def token_matrices(
    n: Sizes,
    d: Sizes,
    *,
    A: Any = None,
    H: Any = None,
    kinds: str | Iterable[str] | None = None,
) -> st.SearchStrategy[FloatArray]:
    """Strategy for input tokens (n, d), float64, never all zero.

    Parameters
    ----------
    n, d : int or (int, int)
        Tokens (at least 2) and features (at least 1); a pair is the smallest and the largest
        number of them.  With A or H given, exactly theirs.
    A : array, shape (n, n), optional
        Attention whose modes serve "aligned" and "invariant" tokens.
    H : array, shape (d, d), optional
        Weights, likewise.
    kinds : str or iterable of str, optional
        Which of these to draw; all that A and H allow if left out.  Shrinks to the first one
        named here.

        - "generic": integers from -3 to 3, or ones on the diagonal;
        - "aligned": one mode v_i z_jᵀ of A and H (the real part of a complex one), in whole
          numbers where it has them; needs both;
        - "invariant": in a subspace that no layer leaves: all rows equal; or, with A, no
          constant part (πᵀx0 = 0 to rounding); or, with both, a sum of two modes.

    Returns
    -------
    SearchStrategy of (n, d) float64 arrays

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For sizes that are too small, out of order or not those of A and H, for what
        :class:`linsim.Linear` refuses in these, and for an unknown kind or one that lacks them.

    Examples
    --------
    >>> import hypothesis
    >>> A, H = [[0.25, 0.75], [0.5, 0.5]], [[1.0]]
    >>> tokens = token_matrices(2, 1, A=A, H=H, kinds="aligned")
    >>> hypothesis.find(tokens, lambda x0: x0[0, 0] != x0[1, 0])  # the mode of lambda = -1/4
    array([[ 3.],
           [-2.]])
    """
    tokens, features = sizes(n, "n", minimum=2), sizes(d, "d", minimum=1)
    attention = None if A is None else _double(_validate.attention_matrix(A, "A", shape="(n, n)"))
    weights = None if H is None else _double(_validate.square(dense(H), "H", shape="(d, d)"))
    for name, given, own in (("A", attention, tokens), ("H", weights, features)):
        if given is not None and (given.ndim != 2 or own != (len(given), len(given))):
            size = own[0] if own[0] == own[1] else f"{own[0]} to {own[1]}"
            raise _validate.refusal(
                ShapeError, name, f"shape {given.shape}", f"shape ({size}, {size})", "Pass its own size."
            )
    possible = [k for k in TOKENS if k != "aligned" or (attention is not None and weights is not None)]
    chosen = possible if kinds is None else kinds_of(kinds, "kinds", TOKENS)
    if missing := [k for k in chosen if k not in possible]:
        raise _validate.refusal(
            InvalidValueError,
            "kinds",
            f"{missing[0]!r} without {'A' if attention is None else 'H'}",
            "both A and H for it",
            "Pass them, or leave that kind out.",
        )
    return ready(_tokens(tokens, features, attention, weights, tuple(chosen)))


@st.composite
def _tokens(
    draw: Draw,
    n: tuple[int, int],
    d: tuple[int, int],
    A: FloatArray | None,
    H: FloatArray | None,
    kinds: Sequence[str],
) -> FloatArray:
    kind = draw(st.sampled_from(kinds))
    return TOKENS[kind](draw, draw(st.integers(*n)), draw(st.integers(*d)), A, H)


def _some(x: FloatArray) -> FloatArray:
    """Put a one where everything is zero."""
    if not x.any():
        x[0, 0] = 1
    return x


def _mode(draw: Draw, A: FloatArray, H: FloatArray) -> FloatArray:
    v, z = (draw(st.sampled_from(_vectors(M))) for M in (A, H.T))
    mode = np.real(np.outer(v, z))
    return np.asarray(mode if mode.any() else np.imag(np.outer(v, z)))


def _vectors(M: FloatArray) -> list[NDArray[Any]]:
    """Eigenvectors, one of each conjugate pair, in whole numbers where possible."""
    values, vectors = np.linalg.eig(M)
    order = np.argsort(-values.real, kind="stable")
    return [_snapped(vectors[:, k]) for k in order if values[k].imag >= 0]


def _snapped(v: NDArray[Any]) -> NDArray[Any]:
    """Scale ``v`` to its largest entry 1, or to whole numbers up to 60 if it is a multiple of them."""
    v = v / v[np.argmax(np.abs(v))]
    scales = np.arange(1, 61)[:, None]
    error = np.max(np.abs(v * scales - np.round(v * scales)), axis=1)
    whole = np.flatnonzero(error < 1e-11)
    return np.asarray(np.round(v * scales[whole[0]]) + 0.0 if whole.size else v)


def _double(M: Any) -> FloatArray:
    return np.asarray(to_host(M), dtype=np.float64)
