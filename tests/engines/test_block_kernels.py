"""Compiled and single-precision forms of blocks: against arrays, arbitrary precision, on any threads."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from linsim import Block, _cloud_passes, _kernels, attention, masks, simulate, tokens
from linsim._engines import forward, forward_shards, forward_small, tangents
from linsim.attention import FromTokens
from linsim.metrics import _plainly

pytest.importorskip("numba")

N, D = 6, 8
PLAIN = ["token_similarity", "hfc_lfc", "cosine", "effective_rank", "log_norm"]


def _blocks(n, size):
    """Blocks for ``size`` systems of n tokens."""
    rng = np.random.default_rng(0)

    def given(*shape):
        return rng.standard_normal(shape) / np.sqrt(shape[-2])

    gain, bias = rng.standard_normal(D), rng.standard_normal(D)
    return {
        "uniform": Block(attention.uniform(n), feed_forward="gelu"),
        "causal": Block(
            FromTokens(mask=masks.causal(n)), heads=2, norm="pre", norm_kind="rms", gain=gain, bias=bias
        ),
        "alibi": Block(FromTokens(bias=attention.alibi(n, 4)), heads=4, feed_forward="relu", norm="pre"),
        "heads": Block(
            attention.softmax(n, 3, size=2, rng=0), weights=given(2, D, D), heads=2, norm_kind="sphere"
        ),
        "parallel": Block(FromTokens(), norm="pre", parallel=True, feed_forward="gelu", layer_scale=gain),
        "bare": Block(FromTokens(normalize=False), norm=None, residual=0.0, branch=0.7),
        "given": Block(
            FromTokens(),
            heads=4,
            query=(given(D, 8), bias),
            key=(given(D, 4), bias[:4]),
            value=(given(D, 4), bias[4:]),
            output=(given(8, D), bias),
            up=(given(D, 16), rng.standard_normal(16)),
            down=(given(16, D), bias),
            feed_forward="gelu",
            norm="pre",
            feed_forward_gain=gain,
            feed_forward_branch=0.5,
            feed_forward_residual=0.9,
            residual=np.array([0.5, 2.0][:size]),
        ),
        "linear": Block(
            FromTokens(temperature=np.array([0.5, 2.0][:size])),
            feed_forward="linear",
            std=np.array([0.5, 1.0][:size]),
        ),
    }


SMALL, LARGE = _blocks(N, 2), _blocks(100, 1)


def _run(block, x0, **options):
    run = simulate(block, x0, 12, metrics=PLAIN, keep_states=True, rng=3, method="forward", **options)
    return run, run.states * np.exp(run.state_log_scale)[..., None, None]


def _alike(one, other, errors):
    """The same states to rounding, and errors that differ by the part ``errors``."""
    (a, x), (b, y) = one, other
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-12 * np.abs(y).max())
    for name in PLAIN:
        off = np.abs(a.metrics[name] - b.metrics[name])
        assert (off <= a.errors[name] + b.errors[name]).all(), name
        # the told error of effective rank is mostly that of measuring it, which steps where rounding decides
        rtol = 2.0 if name == "effective_rank" else errors
        np.testing.assert_allclose(a.errors[name], b.errors[name], rtol=rtol, err_msg=name)


@pytest.mark.parametrize("name", SMALL)
def test_small_blocks_are_those_of_arrays(name, monkeypatch):
    x0 = tokens.gaussian(N, D, size=2, rng=1)
    asked = {"layers": [1, 2, 5, 12]}
    compiled = _run(SMALL[name], x0, **asked)
    monkeypatch.setattr(forward_small, "SMALL", -1)
    _alike(compiled, _run(SMALL[name], x0, **asked), 1e-6)


@pytest.mark.parametrize("name", LARGE)
def test_a_copy_in_single_precision_tells_the_same_errors(name, monkeypatch):
    """A copy that is 2^-14 off, beside 2^-24 that float32 rounds, tells errors to some hundredths."""
    x0 = tokens.gaussian(100, D, size=1, rng=1)
    monkeypatch.setattr(forward_small, "SMALL", -1)
    whole = _run(LARGE[name], x0)
    monkeypatch.setattr(forward, "LARGE", 0)
    monkeypatch.setattr(forward, "workers", lambda: 2)
    _alike(_run(LARGE[name], x0), whole, 0.05)


def test_threads_change_no_bit(monkeypatch):
    block, x0 = _blocks(150, 1)["given"], tokens.gaussian(150, D, size=1, rng=1)
    monkeypatch.setattr(forward, "LARGE", 0)
    runs, groups = [], []
    real = forward_shards.Shards.close
    monkeypatch.setattr(
        forward_shards.Shards, "close", lambda self: groups.append(len(self.rows)) or real(self)
    )
    for threads in (1, 3):
        monkeypatch.setattr(forward, "workers", lambda threads=threads: threads)
        runs.append(_run(block, x0))
    assert groups == [1, 3]
    for name in PLAIN:
        np.testing.assert_array_equal(runs[0][0].metrics[name], runs[1][0].metrics[name])
        np.testing.assert_array_equal(runs[0][0].errors[name], runs[1][0].errors[name])


@pytest.mark.parametrize("scale", [1.0, 1e20])
def test_a_copy_that_comes_too_far_away_goes_on_in_double_precision(scale, monkeypatch):
    """Where rounding grows, and where tokens leave float32: the errors of a copy that was always double."""
    # bare layers square the sizes of scores: cold softmax enlarges differences
    spec = FromTokens(temperature=0.02)
    block = Block(spec, norm="pre", feed_forward="tanh", feed_forward_std=6.0, width=6)
    x0 = scale * tokens.gaussian(20, 4, rng=1)
    doubled = []
    real = forward_shards.Shards._go_double
    monkeypatch.setattr(forward_shards.Shards, "_go_double", lambda self: doubled.append(1) or real(self))
    monkeypatch.setattr(forward_small, "SMALL", -1)
    names = ["cosine", "token_similarity"]
    whole = simulate(block, x0, 12, metrics=names, rng=1, method="forward")
    monkeypatch.setattr(forward, "LARGE", 0)
    run = simulate(block, x0, 12, metrics=names, rng=1, method="forward")
    assert doubled == [1]
    for name in names:
        np.testing.assert_array_equal(np.isnan(run.metrics[name]), np.isnan(whole.metrics[name]))
        seen = np.isfinite(run.metrics[name])
        assert seen[:3].all()
        off = np.abs(run.metrics[name] - whole.metrics[name])[seen]
        assert (off <= (run.errors[name] + whole.errors[name])[seen]).all()
        ratio = run.errors[name][seen] / whole.errors[name][seen]
        assert (np.abs(np.log2(ratio)) < 2).all()


def test_gelu_and_exponentials_by_their_definitions():
    """Relative errors in roundings: of GELU (8 + x^2) at most, of exponentials 3."""
    rng = np.random.default_rng(0)
    x = np.concatenate([3 * rng.standard_normal(300), np.linspace(-37, 37, 75), [0.0, 1e-300, -1e-300]])
    for dtype, reach in ((np.float64, 37.0), (np.float32, 12.0)):
        eps = float(np.finfo(dtype).eps)
        given = x.astype(dtype)
        given = given[np.abs(given) <= reach]
        with mp.workdps(40):
            for v, found in zip(given, _kernels.gelu(given), strict=True):
                truth = mp.mpf(float(v)) * mp.ncdf(mp.mpf(float(v)))
                assert abs(mp.mpf(float(found)) - truth) <= (8 + float(v) ** 2) * eps * abs(truth), v
            rows = np.sort(given)[None, ::-1].copy()
            rows[0, 3] = -np.inf
            expected = [mp.exp(mp.mpf(float(v)) - mp.mpf(float(rows[0, 0]))) for v in rows[0]]
            for truth, found in zip(expected, _kernels.exponentials(rows.copy())[0], strict=True):
                # what is rounded of the difference counts as much as it is large
                assert abs(mp.mpf(float(found)) - truth) <= (3 - mp.log(truth or 1)) * eps * truth
    assert np.isnan(_kernels.gelu(np.array([np.nan]))).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_clouds_are_those_of_arrays(dtype, norm, monkeypatch):
    """Tokens that lie apart and tokens that are nearly one: values to within errors, and the same errors."""
    x0 = tokens.gaussian(N, 24, size=2, rng=1)
    x0[1] = x0[1, :1] + 1e-5 * x0[1]
    x0 = x0.astype(dtype)
    rng = np.random.default_rng(0)
    gain, bias = (rng.standard_normal(24).astype(dtype) for _ in range(2))
    A = attention.softmax(N, 3, size=2, rng=0).astype(dtype)
    block = Block(A, norm=norm, gain=gain, bias=bias, feed_forward="gelu")
    monkeypatch.setattr(tangents, "covers", lambda task: False)
    compiled = simulate(block, x0, 6, rng=3, method="iterate", dtype=dtype)
    monkeypatch.setattr(_cloud_passes, "usable", lambda x: False)
    arrays = simulate(block, x0, 6, rng=3, method="iterate", dtype=dtype)
    for name, values in arrays.metrics.items():
        seen = np.isfinite(values)
        np.testing.assert_array_equal(seen, np.isfinite(compiled.metrics[name]), err_msg=name)
        off, told = np.abs(values - compiled.metrics[name])[seen], arrays.errors[name][seen]
        assert (off <= told + compiled.errors[name][seen]).all(), name
        np.testing.assert_allclose(compiled.errors[name][seen], told, rtol=0.3, atol=1e-13, err_msg=name)


def test_effective_rank_of_large_tokens_by_their_products():
    """Close to that of singular values where they are alike; left to those where products hide them."""
    x = tokens.gaussian(12, 300, size=2, rng=0)
    found = _plainly.plainly(x, 0 * x, ["effective_rank"])["effective_rank"]
    s = np.linalg.svd(x, compute_uv=False)
    p = s / s.sum(-1, keepdims=True)
    truth = np.exp(-(p * np.log(p)).sum(-1))
    off = np.abs(found.value[:, 0, 0] - truth)
    assert (off <= found.error[:, 0, 0]).all()
    assert (found.error < 1e-9).all()
    x[1] = x[1, :1] + 1e-6 * x[1]
    assert not _plainly.plainly(x, 0 * x, ["effective_rank"])
    error = 1e-7 * np.abs(x)
    told = _plainly.plainly(x[:1], error[:1], ["effective_rank"])["effective_rank"]
    moved = _plainly.plainly(x[:1] + error[:1], 0 * x[:1], ["effective_rank"])["effective_rank"]
    assert 0 < np.abs(moved.value - told.value).item() <= told.error.item() < 1e-3
