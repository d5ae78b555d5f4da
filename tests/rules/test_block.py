"""Transformer blocks against the same blocks in arbitrary precision, and what each part must do."""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np
import pytest
from oracles import blocks as block_oracle

import linsim
from linsim import Block, Deescalation, RandomWeights, attention, simulate, tokens, weights
from linsim.attention import FromTokens

N, D = 4, 5
GENERAL = attention.softmax(N, 3, rng=1)
UNIFORM = attention.uniform(N)
CAUSAL = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]
MIXED = np.array([1.0, -0.7, 0.4, -1.3, 0.9])
BIAS = np.array([0.3, 0.0, -0.2, 0.1, 0.5])

GAPS = {
    "log_token_diversity": block_oracle.log_token_diversity,
    "log_cosine_gap": block_oracle.log_cosine_gap,
    "log_rank_gap": block_oracle.log_rank_gap,
}

# Every part on and off, alone and together: attention x norm x feed-forward x
# residual x de-escalation.
BLOCKS = {
    "plain": Block(GENERAL, norm=None),
    "uniform": Block(UNIFORM, norm=None),
    "orthogonal": Block(GENERAL, norm=None, weights="orthogonal", std=0.8),
    "fixed weights": Block(GENERAL, norm=None, weights=weights.gaussian(D, rng=5)),
    "post": Block(GENERAL),
    "pre": Block(GENERAL, norm="pre"),
    "gain": Block(GENERAL, gain=MIXED),
    "gain and bias": Block(GENERAL, gain=MIXED, bias=BIAS, norm="pre"),
    "no eps": Block(GENERAL, norm_eps=0.0, feed_forward="relu"),
    "large eps": Block(GENERAL, norm_eps=3.0),
    "causal": Block(CAUSAL, feed_forward="linear"),
    "tanh": Block(UNIFORM, feed_forward="tanh", norm="post"),
    "tanh, no norm": Block(UNIFORM, feed_forward="tanh", norm=None),
    "gelu": Block(GENERAL, feed_forward="gelu", width=7),
    "gelu, pre": Block(GENERAL, feed_forward="gelu", norm="pre"),
    "gelu, no norm": Block(GENERAL, feed_forward="gelu", norm=None),
    "relu": Block(GENERAL, feed_forward="relu"),
    "relu, no norm": Block(UNIFORM, feed_forward="relu", norm=None, feed_forward_std=0.5),
    "no residual": Block(GENERAL, residual=None, norm=None),
    "no residual, post": Block(GENERAL, residual=None, feed_forward="tanh"),
    "scaled": Block(GENERAL, residual=0.9, branch=0.3, std=1.5),
    "softmax": Block(FromTokens(3)),
    "softmax, sharp": Block(FromTokens(3, temperature=0.2), feed_forward="relu"),
    "softmax, no norm": Block(FromTokens(3), norm=None),
    "softmax, masked": Block(FromTokens(3, mask=np.tril(np.ones((N, N), dtype=bool)))),
    "softmax, true scale": Block(FromTokens(3, normalize=False, temperature=4.0), feed_forward="gelu"),
    "softmax alone": Block(FromTokens(3), residual=None, norm=None),
    "tau": Block(GENERAL, deescalation=Deescalation("attention", tau=0.4)),
    "tau 1": Block(GENERAL, deescalation=Deescalation("output", tau=1.0), feed_forward="gelu"),
    "tau 1, pre": Block(GENERAL, deescalation=Deescalation("branch", tau=1.0), norm="pre"),
    "similarity": Block(GENERAL, deescalation=Deescalation("attention", similarity=0.3)),
    "hook": Block(GENERAL, deescalation=Deescalation("norm", function=lambda x: x - 0.5 * np.tanh(x))),
    "two places": Block(
        GENERAL,
        feed_forward="gelu",
        deescalation=[Deescalation("norm", tau=0.2), Deescalation("feed_forward", similarity=0.8)],
    ),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", BLOCKS)
def test_against_arbitrary_precision(name):
    """Every gap, at every layer, is that of the textbook block; below 1e-16 as well."""
    block, depth, seed = BLOCKS[name], 12, 7
    x0 = tokens.gaussian(N, D, rng=2)
    run = simulate(block, x0, depth, rng=seed)
    with mp.workdps(60 if name != "softmax alone" else 400):
        truth = [{k: f(X) for k, f in GAPS.items()} for X in _some(block, x0, depth, seed, name)]
    for metric in GAPS:
        expected = np.array([t[metric] for t in truth])
        found = run.metrics[metric][: len(expected)]
        seen = np.isfinite(found)
        assert seen[:3].all()
        np.testing.assert_allclose(found[seen], expected[seen], rtol=0, atol=1e-9)
        if name not in ("softmax alone", "hook"):
            assert seen.all()


def _some(block, x0, depth, seed, name):
    # the doubly exponential case has 3**layer digits
    return block_oracle.states(block, x0, depth if name != "softmax alone" else 5, seed)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["post", "gelu", "tanh", "relu", "softmax", "causal"])
def test_gaps_far_below_rounding(name):
    """At layer 160 token diversity is far below what a difference of token means could show."""
    block, depth, seed = BLOCKS[name], 160, 3
    x0 = tokens.gaussian(N, D, rng=4)
    run = simulate(block, x0, depth, layers=[80, depth], rng=seed, metrics=list(GAPS))
    assert run.metrics["log_token_diversity"][-1] < np.log(1e-24)
    with mp.workdps(90):
        kept = {
            layer: X
            for layer, X in enumerate(block_oracle.states(block, x0, depth, seed))
            if layer in run.layers
        }
        truth = {metric: [f(kept[layer]) for layer in run.layers] for metric, f in GAPS.items()}
    for metric, expected in truth.items():
        np.testing.assert_allclose(run.metrics[metric], expected, rtol=0, atol=1e-6)


# --- what each part must do, whatever the draws -----------------------------------------------


def test_without_norm_and_feed_forward_it_is_the_linear_rule():
    """Two engines, one from invariant parts with a probe, one from clouds: the same numbers."""
    x0 = tokens.gaussian(8, 6, size=5, rng=0)
    A = attention.softmax(8, 4, rng=1)
    for kind in ("gaussian", "orthogonal"):
        a = simulate(RandomWeights(A, kind=kind, std=0.7), x0, 200, layers=[0, 1, 50, 200], rng=2)
        b = simulate(Block(A, norm=None, weights=kind, std=0.7), x0, 200, layers=[0, 1, 50, 200], rng=2)
        for name in a.metrics:
            np.testing.assert_allclose(a.metrics[name], b.metrics[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_rounding_floor_is_never_a_value():
    """Uniform attention without a residual makes all tokens equal, to the last bit of the truth."""
    x0 = tokens.gaussian(7, 6, rng=0)
    for block in (
        Block(attention.uniform(7), residual=None),
        Block(attention.uniform(7), residual=None, norm=None),
    ):
        run = simulate(block, x0, 5, rng=0)
        for name in ("log_token_diversity", "log_cosine_gap", "log_rank_gap", "log_hfc_lfc"):
            assert not np.isfinite(run.metrics[name][1:]).any(), name
        assert (run.metrics["token_similarity"][1:] == 1).all()


def test_a_hook_cannot_see_below_rounding():
    """Plain numbers lose differences below 1e-16: such gaps are NaN behind a hook, not 1e-32."""
    x0 = tokens.gaussian(5, 6, rng=0)
    hook = Deescalation("output", function=lambda x: 1.0 * x)
    run = simulate(
        Block(attention.uniform(5), deescalation=hook), x0, 200, rng=0, metrics="log_token_diversity"
    )
    plain = simulate(Block(attention.uniform(5)), x0, 200, rng=0, metrics="log_token_diversity")
    found, truth = run.metrics["log_token_diversity"], plain.metrics["log_token_diversity"]
    seen = np.isfinite(found)
    off = np.abs(found - truth)[seen]
    assert np.all(off <= 3 * run.errors["log_token_diversity"][seen])
    assert np.any(off > 1e-6)  # near its end a gap is known to a few digits, and says so
    assert seen[:12].all()
    assert not seen[-1]
    assert truth[-1] < -50


@pytest.mark.parametrize(
    "block", [Block(FromTokens()), Block(attention.uniform(6), feed_forward="gelu", norm="pre")]
)
def test_a_result_depends_on_neither_chunks_nor_what_is_recorded(block, monkeypatch):
    x0 = tokens.gaussian(6, 5, size=(2, 4), rng=0)
    whole = simulate(block, x0, 12, rng=3).metrics["log_token_diversity"]
    few = simulate(block, x0, 12, layers=[12], rng=3).metrics["log_token_diversity"]
    np.testing.assert_array_equal(whole[..., -1:], few)
    shorter = simulate(block, x0, 7, rng=3).metrics["log_token_diversity"]
    np.testing.assert_allclose(whole[..., :8], shorter, rtol=1e-12)
    monkeypatch.setattr("linsim._parallel._NUMBERS", 1)
    monkeypatch.setattr("linsim._parallel._WORTH_IT", 1)
    np.testing.assert_allclose(
        simulate(block, x0, 12, rng=3).metrics["log_token_diversity"], whole, rtol=1e-12
    )
    assert len(np.unique(whole[..., -1])) == 8  # every system draws for itself


def test_everything_may_have_batch_axes():
    rng = np.random.default_rng(0)
    gain, bias = rng.normal(size=(3, 1, 5)), rng.normal(size=(5,))
    std, tau = np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.0, 0.2, 0.4, 1.0])
    A = attention.softmax(6, 4, size=(3, 1), rng=1)
    block = Block(
        A, std=std, gain=gain, bias=bias, feed_forward="tanh", deescalation=Deescalation("output", tau=tau)
    )
    assert block.batch_shape == (3, 4)
    assert (block.n, block.d) == (6, 5)
    x0 = tokens.gaussian(6, 5, rng=2)
    run = simulate(block, x0, 4, rng=5)
    assert run.metrics["cosine"].shape == (3, 4, 5)
    # tau = 1 at the end of the block leaves no mean, in those systems only
    np.testing.assert_allclose(run.metrics["token_similarity"][:, 3, 1:], 0, atol=1e-25)
    assert (run.metrics["token_similarity"][:, :3, 1:] > 1e-4).all()
    # one system alone, with the stream that it has in the batch
    alone = Block(
        A[2, 0],
        std=1.5,
        gain=gain[2, 0],
        bias=bias,
        feed_forward="tanh",
        deescalation=Deescalation("output", tau=0.4),
    )
    seeds = np.random.default_rng(5).integers(2**63, size=12)

    class Same(np.random.Generator):
        def integers(self, *args, **kwargs):
            return seeds[[2 * 4 + 2]]

    again = simulate(alone, x0, 4, rng=Same(np.random.PCG64(0)))
    for name, value in again.metrics.items():
        np.testing.assert_allclose(value, run.metrics[name][2, 2], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "block",
    [
        Block(UNIFORM, feed_forward="gelu", gain=MIXED, bias=BIAS),
        Block(FromTokens(3), feed_forward="tanh", norm="pre"),
        Block(FromTokens(mask=np.tril(np.ones((N, N), dtype=bool))), norm=None),
        Block(GENERAL, feed_forward="relu", deescalation=Deescalation("norm", similarity=0.5)),
        RandomWeights(FromTokens(2)),
        RandomWeights(functools.partial(attention.softmax, N, 3), kind="orthogonal"),
    ],
)
def test_every_array_library_gives_the_same(xp, block):
    x0 = tokens.gaussian(N, D, size=3, rng=2)
    expected = simulate(block, x0, 9, rng=1, layers=[0, 3, 9], keep_states=True)
    moved = _moved(block, xp)
    run = simulate(moved, xp.array(x0), 9, rng=1, layers=[0, 3, 9], keep_states=True)
    for name, value in expected.metrics.items():
        assert xp.owns(run.metrics[name])
        np.testing.assert_allclose(xp.host(run.metrics[name]), value, rtol=1e-8, atol=1e-8, err_msg=name)
    assert xp.owns(run.states)
    np.testing.assert_allclose(xp.host(run.states), expected.states, rtol=1e-9, atol=1e-12)


def _moved(block, xp):
    if isinstance(block, RandomWeights):
        return block if not block.fixed else RandomWeights(xp.array(block.A), std=block.std, kind=block.kind)
    names = ("std", "residual", "branch", "norm", "norm_eps", "feed_forward", "width", "deescalation")
    same = {name: getattr(block, name) for name in names}
    vectors = {
        k: None if getattr(block, k) is None else xp.array(getattr(block, k)) for k in ("gain", "bias")
    }
    A = xp.array(block.A) if block.attention_fixed else block.A
    return Block(A, weights=block.weights, **same, **vectors)


def test_single_precision():
    x0 = tokens.gaussian(6, 8, rng=0)
    for block in (Block(attention.uniform(6), feed_forward="gelu"), Block(FromTokens(), feed_forward="relu")):
        run = simulate(block, x0.astype(np.float32), 100, rng=0, dtype="float32")
        gap = run.metrics["log_token_diversity"]
        assert np.isfinite(gap).all()
        assert gap[-1] < np.log(1e-14)  # float32 squared: where plain iteration ends


@pytest.mark.full
def test_a_thousand_layers():
    """24 to 1,000 layers: no overflow, no NaN, and the gap goes on falling past 1e-300 where it must."""
    x0 = tokens.gaussian(8, 16, size=2, rng=0)
    for block in (
        Block(attention.uniform(8), feed_forward="gelu"),
        Block(attention.uniform(8), feed_forward="relu", norm=None),
        Block(FromTokens(), feed_forward="tanh"),
    ):
        run = simulate(block, x0, 1000, layers=[24, 500, 1000], rng=1)
        for name, value in run.metrics.items():
            assert not np.isnan(value).any(), name
        assert (run.metrics["log_token_diversity"][:, 2] < np.log(1e-200)).all()
    slow = simulate(Block(attention.uniform(8), norm="pre"), x0, 1000, layers=[24, 1000], rng=1)
    assert not any(np.isnan(value).any() for value in slow.metrics.values())


def test_hundreds_of_layers():
    x0 = tokens.gaussian(8, 16, size=2, rng=0)
    run = simulate(Block(attention.uniform(8), feed_forward="relu"), x0, 300, layers=[24, 300], rng=1)
    assert not any(np.isnan(value).any() for value in run.metrics.values())
    assert (run.metrics["log_token_diversity"][:, 1] < np.log(1e-70)).all()


def test_token_similarity_is_set_by_deescalation():
    x0 = tokens.gaussian(9, 12, size=4, rng=0)
    wanted = np.array([0.0, 1e-6, 0.5, 0.999])
    block = Block(attention.uniform(9), deescalation=Deescalation("output", similarity=wanted))
    run = simulate(block, x0, 5, rng=0)
    expected = wanted[:, None] * np.ones(5)
    np.testing.assert_allclose(run.metrics["token_similarity"][:, 1:], expected, rtol=1e-9, atol=1e-30)
    # t' = (1-tau)^2 t / ((1-tau)^2 t + 1 - t), exactly, also beyond tau = 1 and below 0
    for tau in (0.3, 1.0, 1.7, -0.5):
        after = simulate(
            Block(attention.uniform(9), norm=None, deescalation=Deescalation("output", tau=tau)), x0, 1, rng=4
        ).metrics["token_similarity"][:, 1]
        t = simulate(Block(attention.uniform(9), norm=None), x0, 1, rng=4).metrics["token_similarity"][:, 1]
        np.testing.assert_allclose(
            after, (1 - tau) ** 2 * t / ((1 - tau) ** 2 * t + 1 - t), rtol=1e-10, atol=1e-25
        )
    # equal tokens stay equal, a mean of exactly zero stays zero
    same = np.ones((3, 2)) * np.array([1.0, 2.0])
    run = simulate(
        Block(attention.uniform(3), norm=None, deescalation=Deescalation("output", similarity=0.5)),
        same,
        2,
        rng=0,
    )
    assert (run.metrics["token_similarity"] == 1).all()


def test_tokens_without_variance_become_the_bias():
    x0 = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [-1.0, 0.0, 4.0]])
    bias = np.array([0.5, -0.25, 2.0])
    block = Block(np.eye(3), weights=np.zeros((3, 3)), bias=bias, norm_eps=0.0)
    run = simulate(block, x0, 1, keep_states=True)
    states = run.states[1] * np.exp(run.state_log_scale[1])
    np.testing.assert_allclose(states[0], bias, rtol=1e-14)
    assert np.isfinite(states).all()
    one = simulate(Block(np.eye(2), weights=np.zeros((1, 1)), norm_eps=0.0, bias=[2.0]), [[1.0], [3.0]], 1)
    assert (
        one.metrics["token_similarity"][1] == 1
    )  # a single feature has no variance: both tokens are the bias


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("d", [1, 2])
def test_smallest_shapes(n, d):
    x0 = tokens.gaussian(n, d, rng=0)
    bias = np.ones(d)  # of a single feature, normed, nothing else is left
    for block in (
        Block(FromTokens(), feed_forward="gelu", width=1, bias=bias),
        Block(attention.uniform(n), norm="pre"),
    ):
        run = simulate(block, x0, 10, rng=0)
        assert np.isfinite(run.metrics["token_similarity"]).all()
        assert (run.metrics["token_similarity"] <= 1).all()


def test_norm_decides_how_fast_similarity_escalates():
    """Post-norm escalates like the linear rule, pre-norm slower, de-escalation holds it low (P2)."""
    n, d, replicas = 16, 48, 20
    x0 = np.broadcast_to(tokens.gaussian(n, d, rng=0), (replicas, n, d))
    A = attention.uniform(n)
    calm = Deescalation("attention", tau=1.0)
    final = {
        name: simulate(block, x0, 48, layers=[48], rng=1, metrics="token_similarity").metrics[
            "token_similarity"
        ]
        for name, block in {
            "post": Block(A, feed_forward="tanh"),
            "pre": Block(A, norm="pre", feed_forward="tanh"),
            "calm": Block(A, feed_forward="tanh", deescalation=calm),
        }.items()
    }
    assert final["post"].min() > 1 - 1e-6
    assert final["calm"].max() < 0.3
    assert final["calm"].max() < final["pre"].min() <= final["pre"].max() < final["post"].min()


def test_a_sweep_over_blocks_does_not_depend_on_batches():
    def make(point, rng):
        k = len(point["std"])
        x0 = tokens.gaussian(5, 4, size=k, rng=rng)
        return Block(attention.uniform(5), std=point["std"], feed_forward="tanh"), x0

    def shared(point, rng):
        return RandomWeights(attention.uniform(3), std=1.0), tokens.gaussian(3, 4, rng=0)

    for maker in (make, shared):
        grid = {"std": [0.5, 1.0, 2.0]}
        one = linsim.sweep(maker, grid, depth=6, batch=1, progress=False, replicates=2)
        many = linsim.sweep(maker, grid, depth=6, batch=3, progress=False, replicates=2)
        np.testing.assert_allclose(one.token_similarity, many.token_similarity, rtol=1e-12)
        assert len(np.unique(many.token_similarity.values)) == 6


# --- bad input -----------------------------------------------------------------------------------

UNIT = attention.uniform(3)
BAD_BLOCKS = {
    "A negative": (lambda: Block([[2.0, -1.0], [0.0, 1.0]]), "A: found a negative entry"),
    "A text": (lambda: Block("softmax"), "A: found str"),
    "A empty row": (lambda: Block([[0.0, 0.0], [0.5, 0.5]]), "A: found a row that sums"),
    "weights name": (lambda: Block(UNIT, weights="uniform"), "weights: found 'uniform'"),
    "weights shape": (lambda: Block(UNIT, weights=np.ones((2, 3))), "weights: found shape"),
    "weights NaN": (lambda: Block(UNIT, weights=np.full((2, 2), np.nan)), "weights: found NaN"),
    "std infinite": (lambda: Block(UNIT, std=np.inf), "std: found inf"),
    "std negative": (lambda: Block(UNIT, std=-1.0), "std: found -1"),
    "std with fixed weights": (lambda: Block(UNIT, std=2.0, weights=np.eye(2)), "std: found"),
    "residual NaN": (lambda: Block(UNIT, residual=np.nan), "residual: found nan"),
    "branch text": (lambda: Block(UNIT, branch="1"), "branch: found '1'"),
    "norm": (lambda: Block(UNIT, norm="both"), "norm: found 'both'"),
    "gain without norm": (lambda: Block(UNIT, norm=None, gain=[1.0]), "gain: found"),
    "gain infinite": (lambda: Block(UNIT, gain=[1.0, np.inf]), "gain: found NaN or infinity"),
    "gain and bias": (lambda: Block(UNIT, gain=[1.0, 2.0], bias=[1.0]), "bias: found shape (1,)"),
    "gain and weights": (lambda: Block(UNIT, gain=[1.0], weights=np.eye(2)), "gain: found shape (1,)"),
    "eps negative": (lambda: Block(UNIT, norm_eps=-1e-5), "norm_eps: found"),
    "feed_forward": (lambda: Block(UNIT, feed_forward="gel"), "Did you mean 'gelu'"),
    "width": (lambda: Block(UNIT, feed_forward="relu", width=0), "width: found 0"),
    "width alone": (lambda: Block(UNIT, width=8), "width: found 8"),
    "ff std": (lambda: Block(UNIT, feed_forward="relu", feed_forward_std=-1), "feed_forward_std"),
    "deescalation": (lambda: Block(UNIT, deescalation=0.5), "deescalation: found float"),
    "place missing": (
        lambda: Block(UNIT, norm="pre", deescalation=Deescalation("norm", tau=1)),
        "place 'norm' in a block without it",
    ),
    "no feed-forward": (
        lambda: Block(UNIT, deescalation=Deescalation("feed_forward", tau=1)),
        "place 'feed_forward' in a block without it",
    ),
    "twice": (
        lambda: Block(UNIT, deescalation=[Deescalation("output", tau=1)] * 2),
        "place 'output' twice",
    ),
    "batches": (
        lambda: Block(attention.uniform(3)[None] * np.ones((2, 1, 1)), std=np.ones(3)),
        "batch shapes that broadcast",
    ),
    "tau NaN": (lambda: Deescalation("output", tau=np.nan), "tau: found nan"),
    "tau and similarity": (lambda: Deescalation("output", tau=1, similarity=0.5), "tau and similarity"),
    "nothing": (lambda: Deescalation("output"), "no strength"),
    "similarity 1": (lambda: Deescalation("output", similarity=1.0), "similarity: found 1"),
    "similarity 2": (lambda: Deescalation("output", similarity=2.0), "similarity: found 2"),
    "function": (lambda: Deescalation("output", function=3), "function: found int"),
    "place": (lambda: Deescalation("attn", tau=1), "Did you mean 'attention'"),
    "random std": (lambda: RandomWeights(UNIT, std=np.nan), "std: found nan"),
    "random kind": (lambda: RandomWeights(UNIT, kind="normal"), "kind: found 'normal'"),
    "random A": (lambda: RandomWeights([[1.0, 1.0]]), "A: found shape"),
    "d_key": (lambda: FromTokens(0), "d_key: found 0"),
    "temperature": (lambda: FromTokens(temperature=0.0), "temperature: found 0"),
    "normalize": (lambda: FromTokens(normalize="yes"), "normalize: found 'yes'"),
    "mask numbers": (lambda: FromTokens(mask=np.ones((3, 3))), "mask: found dtype"),
    "mask empty row": (
        lambda: FromTokens(mask=np.array([[True, False], [False, False]])),
        "mask: found no True in row 1",
    ),
    "mask shape": (lambda: FromTokens(mask=np.ones((3, 2), dtype=bool)), "mask: found shape (3, 2)"),
    "query_key": (lambda: FromTokens(4, query_key=np.eye(2)), "d_key: found 4 beside query_key"),
    "query_key shape": (lambda: FromTokens(query_key=np.ones((2, 3))), "query_key: found shape"),
}


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_bad_blocks_are_refused_when_they_are_built(name):
    build, message = BAD_BLOCKS[name]
    with pytest.raises(linsim.LinsimError) as caught:
        build()
    assert message in str(caught.value)
    assert "expected" in str(caught.value)


def _bad(shape):
    return lambda *args, size, rng: np.full(shape, 0.5)


BAD_RUNS = {
    "features": (Block(UNIT, gain=np.ones(4)), np.ones((3, 5)), "x0: found shape (3, 5)"),
    "tokens": (Block(UNIT), np.ones((4, 5)), "x0: found shape (4, 5)"),
    "mask size": (Block(FromTokens(mask=np.eye(3, dtype=bool))), np.ones((4, 5)), "x0: found shape (4, 5)"),
    "query_key size": (Block(FromTokens(query_key=np.eye(3))), np.ones((4, 5)), "x0: found shape (4, 5)"),
    "mask, linear": (
        RandomWeights(FromTokens(mask=np.eye(3, dtype=bool))),
        np.ones((4, 5)),
        "x0: found shape",
    ),
    "sampler shape": (RandomWeights(UNIT, kind=_bad((2, 2))), np.ones((3, 5)), "kind: found a sampler"),
    "sampler list": (RandomWeights(UNIT, kind=lambda d, size, rng: [1]), np.ones((3, 5)), "returns list"),
    "sampler NaN": (
        RandomWeights(UNIT, kind=lambda d, size, rng: np.full((size, d, d), np.nan)),
        np.eye(3),
        "NaN",
    ),
    "attention sampler": (RandomWeights(_bad((1, 3, 3))), np.eye(3), "A: found a row that sums"),
    "attention shape": (Block(_bad((3, 3))), np.eye(3), "A: found a sampler that returns shape (3, 3)"),
    "weights too large": (
        RandomWeights(UNIT, std=1e200),
        np.eye(3),
        "std: found weights as large as",
    ),
    "hook shape": (
        Block(UNIT, deescalation=Deescalation("output", function=lambda x: x[:, :1])),
        np.eye(3),
        "function: found a result of shape (1, 1, 3) at layer 1",
    ),
    "hook list": (
        Block(UNIT, deescalation=Deescalation("output", function=lambda x: 1)),
        np.eye(3),
        "function: found a result of shape None",
    ),
    "hook NaN": (
        Block(UNIT, deescalation=Deescalation("output", function=lambda x: x * np.nan)),
        np.eye(3),
        "function: found NaN or infinity",
    ),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_bad_runs_are_refused(name):
    rule, x0, message = BAD_RUNS[name]
    with pytest.raises(linsim.LinsimError) as caught:
        simulate(rule, x0, 2, rng=0)
    assert message in str(caught.value)


def test_predict_and_layered_name_what_they_cannot_take():
    for use in (
        lambda: linsim.predict(Block(UNIT, weights="orthogonal", std=[1.0, 2.0])),
        lambda: linsim.Layered([RandomWeights(UNIT)]),
    ):
        with pytest.raises(linsim.LinsimError, match=r"rule.*: found"):
            use()


# --- where rounding could pass for a value ------------------------------------------------------


def test_a_token_lost_in_rounding_is_no_token():
    """Cancelled tokens are enlarged by norms and by softmax: what they become is the truth, or NaN."""
    small = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [1e-18, 2e-18, -1e-18]])
    eye = tokens.gaussian(4, 3, rng=0) * np.array([1.0, 1.0, 1e-18, 1.0])[:, None]
    for block, x0 in ((Block(FromTokens()), small), (Block(np.eye(4), norm_eps=0.0), eye)):
        found = simulate(block, x0, 1, rng=0).metrics["log_token_diversity"][1]
        with mp.workdps(60):
            truth = [block_oracle.log_token_diversity(X) for X in block_oracle.states(block, x0, 1, 0)][1]
        assert np.isnan(found) or abs(found - truth) < 1e-9
    linear = simulate(RandomWeights(FromTokens()), small, 1, rng=0).metrics["log_token_diversity"][1]
    with mp.workdps(60):
        bare = Block(FromTokens(), norm=None)
        truth = [block_oracle.log_token_diversity(X) for X in block_oracle.states(bare, small, 1, 0)][1]
    assert np.isnan(linear) or abs(linear - truth) < 1e-9
    # tokens that differ by 1e-12 of their size are nothing of the kind
    assert np.isfinite(
        simulate(Block(FromTokens()), 1 + 1e-12 * small, 1, rng=0).metrics["log_token_diversity"]
    ).all()


def test_equal_rows_of_attention_make_equal_tokens():
    """De-escalation by similarity leaves tokens alone that uniform attention makes exactly alike."""
    for n in (3, 5, 6, 7):
        x0 = tokens.gaussian(n, 4, rng=n)
        same = Deescalation("branch", similarity=0.5)
        with_it = simulate(Block(attention.uniform(n), norm=None, deescalation=same), x0, 1, rng=0)
        without = simulate(Block(attention.uniform(n), norm=None), x0, 1, rng=0)
        np.testing.assert_array_equal(with_it.metrics["log_norm"], without.metrics["log_norm"])


def test_a_mean_that_is_rounding_sets_no_similarity():
    x0 = tokens.gaussian(6, 4, similarity=0, rng=0)
    wanted = Deescalation("attention", similarity=0.5)
    for last in ([], [Deescalation("output", tau=1.0)]):
        block = Block(np.eye(6), norm=None, feed_forward="gelu", deescalation=[wanted, *last])
        metrics = simulate(block, x0, 2, rng=0).metrics
        assert np.isnan(metrics["log_norm"][1:]).all()
        assert np.isnan(metrics["log_spread"][1:]).all()


@pytest.mark.parametrize("offset", [3, 5, 8, 12])
def test_the_tail_of_gelu(offset):
    """x Phi(x) at -30 is 1e-197, not zero: nothing cancels in the tail."""
    x0 = offset + np.random.default_rng(0).random((3, 1))
    block = Block(np.eye(3), weights=np.eye(1), residual=None, norm=None, feed_forward="gelu", width=1)
    run = simulate(block, x0, 2, rng=2)
    with mp.workdps(400):
        states = list(block_oracle.states(block, x0, 2, 2))
        norms = [float(mp.log(mp.norm(list(X)))) for X in states]
        gaps = [block_oracle.log_token_diversity(X) for X in states]
    np.testing.assert_allclose(run.metrics["log_norm"], norms, rtol=0, atol=1e-9)
    np.testing.assert_allclose(run.metrics["log_token_diversity"], gaps, rtol=0, atol=1e-9)


def test_a_hook_does_not_turn_rounding_into_tokens():
    block = Block(
        attention.uniform(7),
        residual=None,
        norm_eps=0.0,
        deescalation=[Deescalation("branch", tau=1.0), Deescalation("output", function=lambda x: x)],
    )
    assert not np.isfinite(simulate(block, tokens.gaussian(7, 4, rng=0), 1, rng=0).metrics["log_norm"][1])


@pytest.mark.parametrize("scale", [1e-170, 1e160, 1e300])
def test_a_hook_at_any_size(scale):
    hook = Deescalation("output", function=lambda x: 2.0 * x)
    x0 = tokens.gaussian(3, 4, rng=0)
    block = Block(attention.uniform(3), norm=None, deescalation=hook)
    expected = simulate(block, x0, 2, rng=0).metrics["log_token_diversity"]
    found = simulate(block, scale * x0, 2, rng=0).metrics["log_token_diversity"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "result", [lambda x: x * 1j, lambda x: x > 0, lambda x: x.astype(str), np.ma.masked_array]
)
def test_a_hook_returns_real_numbers(result):
    block = Block(attention.uniform(3), deescalation=Deescalation("output", function=result))
    with pytest.raises(linsim.LinsimError, match=r"function: found"):
        simulate(block, np.eye(3), 1, rng=0)


def test_two_features_have_one_norm():
    """With d = 2 layer norm leaves +-(1, -1): the norm of the state is known exactly at every depth."""
    run = simulate(Block(attention.uniform(3), norm_eps=0.0), tokens.gaussian(3, 2, rng=0), 60, rng=0)
    np.testing.assert_allclose(run.metrics["log_norm"][1:], np.log(6) / 2, rtol=1e-12)


def test_differences_below_the_range_of_doubles():
    run = simulate(
        Block(np.eye(2), weights=np.eye(1), norm="pre", bias=[1.0], residual=2.0**-10), [[1.0], [2.0]], 120
    )
    # one feature: the normed token is the bias, so X <- X / 1024 + 1
    np.testing.assert_allclose(run.metrics["log_norm"][-1], np.log(np.sqrt(2) / (1 - 2.0**-10)), rtol=1e-12)


def test_std_scales_what_a_sampler_returns():
    def identity(d, size, rng):
        return np.broadcast_to(np.eye(d), (size, d, d))

    for s in (0.0, 1.0, 3.0):  # equal tokens: X <- (1 + s) X
        for rule in (
            RandomWeights(attention.uniform(3), std=s, kind=identity),
            Block(attention.uniform(3), std=s, weights=identity, norm=None),
        ):
            norms = simulate(rule, np.ones((3, 2)), 1, rng=0).metrics["log_norm"]
            np.testing.assert_allclose(norms[1] - norms[0], np.log1p(s), atol=1e-14)


def test_what_is_built_does_not_change_from_outside():
    mask, gain, H = np.eye(3, dtype=bool), np.ones(2), np.eye(2)
    spec = FromTokens(mask=mask)
    block = Block(attention.uniform(3), gain=gain, weights=H)
    mask[:], gain[:], H[:] = False, np.nan, np.nan
    assert spec.mask.diagonal().all()
    assert np.isfinite(block.gain).all()
    assert np.isfinite(block.weights).all()


LARGE = {
    "std": {"std": 1e308},
    "residual": {"residual": 1e308},
    "branch": {"branch": -1e308},
    "weights": {"weights": 1e308 * np.eye(3)},
    "gain": {"gain": [1e308] * 3},
    "bias": {"bias": [1e308] * 3},
    "feed_forward_std": {"feed_forward": "relu", "feed_forward_std": 1e200},
    "norm_eps": {"norm_eps": 1e300},
    "sampled weights": {"weights": lambda d, size, rng: np.full((size, d, d), 1e300)},
    "parameters": {"weights": lambda d: np.eye(d)},
}


@pytest.mark.parametrize("name", LARGE)
def test_numbers_that_leave_the_range_are_refused(name):
    with pytest.raises(linsim.LinsimError) as caught:
        simulate(Block(attention.uniform(3), **LARGE[name]), np.eye(3), 2, rng=0)
    assert str(caught.value).startswith(name.split()[-1] if name != "parameters" else "weights")
    for scale in (1e39, 1e-50):
        with pytest.raises(linsim.LinsimError, match=r"x0: found tokens outside the range of float32"):
            simulate(Block(attention.uniform(3)), scale * np.eye(3), 1, dtype="float32")
    with pytest.raises(linsim.LinsimError, match=r"query_key: found an entry of size 1e\+308"):
        FromTokens(query_key=np.full((2, 2), 1e308))


@pytest.mark.parametrize("where", ["norm", "softmax"])
def test_a_token_that_cancels_is_no_token(where):
    """0.3 x - (0.1 + 0.2) x is rounding; a norm, or queries and keys, would make a full token of it."""
    self_only = np.array([[1.0, 0, 0, 0], [0.5, 0.25, 0.25, 0], [0.2, 0.3, 0.4, 0.1], [0.1, 0.2, 0.3, 0.4]])
    common = {"residual": 0.3, "weights": -(0.1 + 0.2) * np.eye(3), "norm_eps": 0.0}
    if where == "norm":
        block = Block(self_only, **common)
    else:
        causal = np.tril(np.ones((4, 4), dtype=bool))  # the first token attends to itself alone
        block = Block(FromTokens(3, mask=causal), norm=None, **common)
    for seed in range(4):
        x0 = tokens.gaussian(4, 3, rng=seed)
        run = simulate(block, x0, 2, rng=seed)
        with mp.workdps(60):
            states = list(block_oracle.states(block, x0, 2, seed))
            gaps = {**GAPS, "log_spread": block_oracle.log_spread}
            truth = {name: [f(X) for X in states] for name, f in gaps.items()}
        for name, expected in truth.items():
            found = run.metrics[name]
            seen = np.isfinite(found)
            np.testing.assert_allclose(found[seen], np.array(expected)[seen], rtol=0, atol=1e-6)


def test_tanh_is_bounded_at_any_size():
    """Without a residual the feed-forward sees signs only, whatever the size of what comes in."""
    x0 = 1e300 * tokens.gaussian(3, 4, rng=0)
    for A in (np.eye(3), attention.uniform(3)):
        block = Block(A, norm=None, residual=None, feed_forward="tanh")
        small = simulate(block, 1e-200 * x0, 1, rng=0).metrics["log_norm"][1]
        assert np.isfinite(small)
        np.testing.assert_allclose(simulate(block, x0, 1, rng=0).metrics["log_norm"][1], small, rtol=1e-9)
