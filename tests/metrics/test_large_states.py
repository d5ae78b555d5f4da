"""States too large for lanes: singular values from Gram matrices where an error bound allows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from linsim import _gram, _kernels
from linsim._state import State, of_plain_tokens
from linsim.metrics import _compiled, _evaluate
from linsim.metrics._registry import DEFAULT

EPS = 2.0**-52


def with_values(s: np.ndarray, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """An (n, d) matrix of these singular values."""
    u, v = (np.linalg.qr(rng.standard_normal((k, len(s))))[0] for k in (n, d))
    return (u * s) @ v.T


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (12, 12)])
@pytest.mark.parametrize(("least", "squared"), [(0.1, True), (0.02, True), (1e-9, False)])
def test_values_of_minors_are_within_their_bound(shape, least, squared):
    rng = np.random.default_rng(4)
    s = np.append(np.geomspace(1.0, least, min(shape) - 1), 0.0)
    found, by_svd, blurred = _gram.values_of_minors(with_values(s, *shape, rng))
    assert by_svd != squared
    # the matrix itself is rounded: some eps of its norm in each
    off = 8 * EPS + (np.minimum(2 * EPS / np.maximum(s, 1e-300), 4 * EPS**0.5) if squared else 0.0)
    assert (np.abs(found - s) <= off).all()
    p, q = (x / x.sum() for x in (found[:-1], s[:-1]))
    rank, expected = (np.exp(-np.sum(x * np.log(x))) for x in (p, q))
    assert abs(rank - expected) <= (blurred + 100 * EPS) * expected


def of_large(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> State:
    n, d = shape
    x = rng.standard_normal((3, n, d))
    if kind == "nearly alike":
        x = 1 + 1e-6 * x
    elif kind == "steep":
        x = 1 + np.stack([with_values(0.1 ** np.arange(min(shape)), n, d, rng)] * 3) * 1e-4
    elif kind == "of rank one":
        x = x[:, :1] * x[:, :, :1]
    elif kind == "nothing":
        x = np.zeros_like(x)
    elif kind == "two in line":  # far above the others, and neither ahead
        x = with_values(np.array([1.0, 0.9, *np.full(min(shape) - 2, 1e-5)]), n, d, rng)[None]
    elif kind == "rows of all sizes":
        x *= np.logspace(-250, 0, n)[:, None]
    elif kind == "not finite":
        return replace(of_plain_tokens(x), noise=np.full((3, 1, 5), -40.0), R=np.full_like(x, np.nan))
    return of_plain_tokens(x)


KINDS = ("drawn", "nearly alike", "steep", "of rank one", "nothing", "two in line", "rows of all sizes")


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7), (2, 9), (261, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_large_states_are_measured_as_by_whole_arrays(kind, shape, monkeypatch):
    monkeypatch.setattr(_kernels, "LARGEST", 1)
    state = of_large(kind, shape, np.random.default_rng(2))
    with np.errstate(all="ignore"):
        found, _ = _evaluate.evaluate(state, DEFAULT)
        monkeypatch.setattr(_evaluate, "in_kernels", lambda *_: None)
        expected, _ = _evaluate.evaluate(state, DEFAULT)
    for name in DEFAULT:
        value, other = np.broadcast_arrays(found[name].value, expected[name].value)
        np.testing.assert_array_equal(np.isnan(value), np.isnan(other), err_msg=name)
        error, by_arrays = np.broadcast_arrays(found[name].error, expected[name].error)
        np.testing.assert_array_equal(np.isinf(error), np.isinf(by_arrays), err_msg=name)
        told = np.isfinite(error) & np.isfinite(value)
        assert (np.abs(value[told] - other[told]) <= (error + by_arrays)[told]).all(), name
        # what squaring adds is bounded, whichever the state
        assert (error[told] <= 2 * by_arrays[told] + 1e-12 * (1 + np.abs(value[told]))).all(), name


def test_what_is_not_finite_has_no_ranks(monkeypatch):
    monkeypatch.setattr(_kernels, "LARGEST", 1)
    with np.errstate(all="ignore"):
        found, redone = _compiled.in_kernels(
            of_large("not finite", (5, 6), np.random.default_rng(1)), ("effective_rank", "log_rank_gap"), None
        )
    assert redone == 0
    for name in ("effective_rank", "log_rank_gap"):
        usable = np.isfinite(found[name].value) & np.isfinite(found[name].error)
        assert not usable.any()


def test_eight_sums_over_lanes_are_those_of_each():
    import numba as nb

    from linsim._kernels.lanes import load, store, totals

    @nb.njit
    def summed(x, out):
        a, b, c, d = load(x, 0), load(x, 8), load(x, 16), load(x, 24)
        e, f, g, h = load(x, 32), load(x, 40), load(x, 48), load(x, 56)
        store(out, 0, totals(a, b, c, d, e, f, g, h))

    x, out = 2.0 ** np.arange(64) % 8191.0, np.zeros(8)
    summed(x, out)
    np.testing.assert_array_equal(out, x.reshape(8, 8).sum(axis=1))


@pytest.mark.parametrize("apart", [True, False])
def test_what_squaring_may_have_rounded_is_told(apart, monkeypatch):
    """Eigenvalues of the Gram matrix off by as much as its bound says, in either direction."""
    monkeypatch.setattr(_kernels, "LARGEST", 1)
    rng = np.random.default_rng(5)
    s = np.append(np.geomspace(1.0, 0.01, 149), 0.0 if apart else 0.009)
    x = with_values(s, 150, 180, rng)
    state = of_plain_tokens((1e3 if apart else 0.0) + x[None])
    roots, calls = _gram._roots, []

    def off(G):
        calls.append(len(G))
        found = roots(G)
        signs = np.random.default_rng(6).choice([-1.0, 1.0], len(found))
        return np.sqrt(np.maximum(found**2 + 4 * EPS * signs * found[0] ** 2, 0))

    names = ("effective_rank", "log_effective_rank_gap", "stable_rank", "log_rank_gap")
    exact, _ = _compiled.in_kernels(state, names, None)
    monkeypatch.setattr(_gram, "_roots", off)
    found, by_svd = _compiled.in_kernels(state, names, None)
    assert calls
    assert not by_svd
    for name in names:
        assert np.abs(found[name].value - exact[name].value) <= found[name].error, name
