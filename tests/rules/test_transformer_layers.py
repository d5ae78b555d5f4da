"""Blocks that are Transformer layers, against a textbook in float64 and in arbitrary precision."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from oracles import transformer
from oracles.checkpoints import FAMILIES, HERE, input_of

import linsim
from linsim import Block, attention, masks, models, simulate, tokens
from linsim.attention import FromTokens, Rotary

N, D, WIDTH = 6, 8, 12
KEEP = np.array([True, True, False, True, True, False])


def matrices(seed, heads=2, own=None, gate=False, biased=True, size=1.0, width=D):
    """The seven matrices of a layer, ``own`` heads of keys and values."""
    rng = np.random.default_rng(seed)
    share = width // heads * (own or heads)

    def pair(rows, columns):
        W = rng.standard_normal((rows, columns)) * size / rows**0.5
        return (W, 0.3 * rng.standard_normal(columns)) if biased else W

    p = {"heads": heads, "query": pair(D, width), "key": pair(D, share), "value": pair(D, share)}
    p |= {"output": pair(width, D), "up": pair(D, WIDTH), "down": pair(WIDTH, D)}
    return p | ({"gate": pair(D, WIDTH)} if gate else {})


def vectors(seed, *names):
    rng = np.random.default_rng(seed)
    return {name: 1 + 0.4 * rng.standard_normal(D) for name in names}


# what Block is given beside matrices, what scores are given, and the activation
LAYERS = {
    "BERT": (
        matrices(0) | vectors(1, "gain", "bias", "feed_forward_gain", "feed_forward_bias"),
        {"mask": masks.padding(KEEP)},
        "gelu",
    ),
    "GPT": (matrices(1) | {"norm": "pre", "norm_eps": 1e-6}, {"mask": masks.causal(N)}, "gelu_tanh"),
    "Llama": (
        matrices(2, 4, 2, gate=True, biased=False)
        | {"norm": "pre", "norm_kind": "rms"}
        | vectors(2, "gain", "feed_forward_gain"),
        {"mask": masks.causal(N), "rotary": Rotary(100.0)},
        "silu",
    ),
    "ViT": (
        matrices(3) | {"norm": "pre"} | vectors(3, "gain", "layer_scale", "feed_forward_layer_scale"),
        {},
        "quick_gelu",
    ),
    "NeoX": (
        matrices(4) | {"norm": "pre", "parallel": True} | vectors(4, "gain", "feed_forward_bias"),
        {"rotary": Rotary(50.0, width=2, interleaved=True)},
        "gelu",
    ),
    "ALiBi": (
        matrices(5, biased=False) | {"norm": None, "residual": 0.5, "feed_forward_branch": 0.3},
        {"bias": attention.alibi(N, 2), "temperature": 0.5},
        "tanh",
    ),
    "sphere": (
        matrices(6, biased=False) | {"norm_kind": "sphere", "branch": 0.2, "feed_forward_residual": 0.7},
        {"temperature": 0.25},
        "relu",
    ),
    "narrow": (matrices(7, width=4) | {"norm": "pre"}, {}, "linear"),
}


def textbook(name):
    options, scores, activation = LAYERS[name]
    p = {"norm": "post", "norm_kind": "layer"} | options | {"activation": activation}
    p.setdefault("norm_eps", 0.0 if p["norm_kind"] == "sphere" else 1e-5)
    p |= {key: scores.get(key) for key in ("mask",)} | {"scores": scores.get("bias")}
    p["temperature"] = scores.get("temperature", 1.0)
    turn = scores.get("rotary")
    if turn is not None:
        width = turn.width or p["query"][0].shape[-1] // p["heads"] if isinstance(p["query"], tuple) else None
        width = width or p["query"].shape[-1] // p["heads"]
        p["rotary"] = (turn.base, width, turn.interleaved)
    return p


def block(name, **changes):
    options, scores, activation = LAYERS[name]
    return Block(FromTokens(**scores), feed_forward=activation, **options | changes)


def states_of(run):
    return run.states * np.exp(run.state_log_scale)[..., None, None]


@pytest.mark.parametrize("name", LAYERS)
def test_states_are_those_of_a_textbook(name):
    x0 = tokens.gaussian(N, D, rng=0)
    run = simulate(block(name), x0, 4, keep_states=True, metrics=["cosine"])
    x, p, f = x0, textbook(name), transformer.Numbers(exact=False)
    for found in states_of(run):
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-13 * np.abs(x).max() + 1e-13)
        x = transformer.layer(x, p, f)


@pytest.mark.parametrize("name", LAYERS)
def test_gaps_are_those_of_arbitrary_precision(name):
    """Tokens 1e-7 and 1e-12 apart, whose differences doubles mostly lose; errors told are honest."""
    for apart in (1e-7, 1e-12):
        x0 = tokens.gaussian(1, D, rng=1) + apart * tokens.gaussian(N, D, rng=2)
        run = simulate(block(name), x0, 3, metrics=list(transformer.gaps(np.array([[mp.mpf(1)]] * 2))))
        with mp.workdps(50):
            f = transformer.Numbers(exact=True)
            x, p = f.array(x0), textbook(name)
            for layer in range(4):
                for metric, truth in transformer.gaps(x).items():
                    found, told = run.metrics[metric][layer], run.errors[metric][layer]
                    assert abs(found - truth) <= told
                    assert told < 1e-12
                x = transformer.layer(x, p, f)


@pytest.mark.parametrize("name", [*FAMILIES, "clip text"])
def test_layers_of_a_checkpoint_are_blocks(name):
    """Small checkpoints of every family: what the forward pass says, layer by layer, in one run."""
    folder, _, part = name.partition(" ")
    model, given = models.load(HERE / folder, part=part or None), input_of(folder, part or None)
    truth = model.run(**given).states
    rule = linsim.Layered(model.blocks(truth.shape[1], keep=given.get("keep")))
    run = simulate(rule, truth[0], model.layers, keep_states=True, metrics=["cosine"])
    np.testing.assert_allclose(states_of(run), truth, rtol=0, atol=1e-13 * np.abs(truth).max())


def test_options_with_a_batch_axis_are_many_runs_in_one():
    """A sweep of temperatures, factors, masks, slopes and matrices in one call: each system as alone."""
    rng = np.random.default_rng(0)
    scores = {
        "temperature": np.array([2.0, 1.0, 0.25]),
        "mask": masks.padding(np.arange(N) < np.array([[6], [4], [2]])),
        "bias": attention.alibi(N, 4) * np.array([1.0, 2.0, 0.0])[:, None, None, None],
    }
    options = {
        "residual": np.array([1.0, 0.0, 0.5]),
        "branch": np.array([0.1, 1.0, -0.3]),
        "feed_forward_branch": np.array([0.2, 0.4, 0.6]),
        "gain": 1 + 0.1 * rng.standard_normal((3, D)),
        "layer_scale": rng.standard_normal((3, D)),
        "up": rng.standard_normal((3, D, WIDTH)),
        "gate": rng.standard_normal((3, D, WIDTH)),
        "down": (rng.standard_normal((3, WIDTH, D)), rng.standard_normal((3, D))),
    }
    options |= {name: rng.standard_normal((3, D, D)) / 3 for name in ("query", "key", "value", "output")}
    tau = np.array([0.1, 0.5, 0.0])

    def built(i):
        own = {k: tuple(x[i] for x in v) if isinstance(v, tuple) else v[i] for k, v in options.items()}
        step = linsim.Deescalation("output", tau=tau[i])
        spec = FromTokens(**{k: v[i] for k, v in scores.items()})
        return Block(spec, heads=4, feed_forward="swiglu", deescalation=step, **own)

    x0 = tokens.gaussian(N, D, size=3, rng=0)
    whole = simulate(built(slice(None)), x0, 5)
    for i in range(3):
        alone = simulate(built(i), x0[i], 5)
        for metric, values in alone.metrics.items():
            np.testing.assert_allclose(whole.metrics[metric][i], values, rtol=1e-11, atol=1e-11)


def test_as_many_systems_as_tokens():
    """What the refusal of a row for each token says to do, and a batch that another option declares."""
    x0, bias = tokens.gaussian(N, D, rng=0), np.random.default_rng(0).standard_normal((N, D))
    rule = Block(np.ones((N, N)) / N, bias=bias, weights=np.eye(D))
    run = simulate(rule, x0[None], 2, metrics=["cosine"])
    assert run.metrics["cosine"].shape == (N, 3)
    alone = simulate(Block(np.ones((N, N)) / N, bias=bias[1], weights=np.eye(D)), x0, 2, metrics=["cosine"])
    np.testing.assert_allclose(run.metrics["cosine"][1], alone.metrics["cosine"], rtol=1e-12)
    declared = Block(np.ones((N, N)) / N, bias=bias, weights=np.eye(D), branch=np.ones(N))
    np.testing.assert_array_equal(
        simulate(declared, x0, 2, metrics=["cosine"]).metrics["cosine"], run.metrics["cosine"]
    )


def test_drawn_heads_keep_the_size_that_std_says():
    """E |A V W_O|^2 = s^2 |A X|^2 whatever the number of heads: here A = I, so s^2 |X|^2."""
    x0 = np.broadcast_to(tokens.gaussian(N, D, rng=0), (400, N, D))
    for kind in ("gaussian", "orthogonal"):
        rule = Block(np.eye(N), heads=4, weights=kind, std=0.5, residual=None, norm=None)
        found = simulate(rule, x0, 1, metrics=["log_norm"], rng=1).metrics["log_norm"]
        ratios = np.exp(2 * (found[:, 1] - found[:, 0]))
        assert abs(ratios.mean() - 0.25) < 5 * ratios.std() / 20 + 1e-12
        assert (ratios.std() < 1e-12) == (kind == "orthogonal")


def test_heads_of_given_attention_are_those_of_the_linear_rule():
    rng = np.random.default_rng(0)
    A, W = attention.softmax(N, 3, size=3, rng=1), rng.standard_normal((3, D, D)) / D
    x0 = tokens.gaussian(N, D, rng=0)
    heads = simulate(Block(A, weights=W, heads=3, norm=None), x0, 20)
    linear = simulate(linsim.MultiHead(A, W), x0, 20)
    for name, values in linear.metrics.items():
        np.testing.assert_allclose(heads.metrics[name], values, rtol=0, atol=1e-9)
    one = simulate(Block(A, weights=W, heads=1, norm=None), x0, 20)
    for h in range(3):
        alone = simulate(linsim.Linear(A[h], W[h]), x0, 20)
        np.testing.assert_allclose(one.metrics["cosine"][h], alone.metrics["cosine"], atol=1e-9)
    shared = simulate(Block(A[0], weights=W, heads=3, norm=None), x0, 20)
    same = simulate(linsim.Linear(A[0], W.sum(axis=0)), x0, 20)
    np.testing.assert_allclose(shared.metrics["log_cosine_gap"], same.metrics["log_cosine_gap"], atol=1e-9)


def test_layers_of_their_own():
    """Blocks with other matrices, one of them drawn, one after the other: as two runs."""
    first, second = block("BERT"), Block(FromTokens(), heads=2, feed_forward="geglu")
    x0 = tokens.gaussian(N, D, rng=0)
    both = simulate(linsim.Layered([first, second]), x0, 2, rng=4, keep_states=True)
    middle = states_of(simulate(first, x0, 1, keep_states=True))[1]
    with pytest.MonkeyPatch.context() as patch:  # what is drawn at layer 1, at layer 0
        stream = linsim._draws.stream
        patch.setattr(linsim._draws, "stream", lambda layer, matrix: stream(layer + 1, matrix))
        last = simulate(second, middle, 1, rng=4, keep_states=True)
    np.testing.assert_allclose(states_of(both)[2], states_of(last)[1], rtol=0, atol=1e-13)
    assert linsim.Layered([first, second]).n == N
    with pytest.raises(linsim.LinsimError, match="depth: found 3"):
        simulate(linsim.Layered([first, second]), x0, 3, rng=4)


def test_a_metric_of_attention_sees_every_head():
    x0, name = tokens.gaussian(N, D, rng=0), "Llama"
    run = simulate(block(name), x0, 1, metrics=["attention_entropy"])
    p, f = textbook(name), transformer.Numbers(exact=False)
    entropies = []
    fed = transformer.norm(x0, "rms", p["gain"], None, 1e-5, f)
    query, key = fed @ p["query"], fed @ p["key"]
    for head in range(4):
        q, k = query[:, 2 * head :][:, :2], key[:, 2 * (head // 2) :][:, :2]
        q, k = (transformer.rotated(y, *p["rotary"], f) for y in (q, k))
        scores = np.where(p["mask"], q @ k.T / 2**0.5, -np.inf)
        A = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        entropies.append(-(A * np.log(np.where(A > 0, A, 1))).sum(axis=1).mean())
    np.testing.assert_allclose(run.metrics["attention_entropy"][0], np.mean(entropies), rtol=1e-12)


W = {name: np.eye(D) for name in ("query", "key", "value", "output")}
F = {"up": np.ones((D, 5)), "down": np.ones((5, D))}
ROWS = np.ones((N, D))

BAD = {
    "heads of A": (lambda: Block(np.ones((3, N, N)) / N, heads=2), "A: found shape (3, 6, 6) with heads=2"),
    "heads of W": (
        lambda: Block(np.ones((N, N)) / N, weights=np.ones((3, D, D)), heads=2),
        "weights: found shape (3, 8, 8)",
    ),
    "heads that do not divide": (
        lambda: Block(FromTokens(), heads=3, **W),
        "heads: found 3 heads over 8 channels of query",
    ),
    "heads drawn": (lambda: Block(FromTokens(), heads=3, gain=np.ones(D)), "heads: found 3 heads over 8"),
    "heads of tokens": (
        lambda: simulate(Block(FromTokens(), heads=3), ROWS, 1),
        "heads: found 3 heads over 8 features",
    ),
    "std, too": (lambda: Block(FromTokens(), std=2.0, **W), "std: found a value beside value and output"),
    "branch none": (lambda: Block(FromTokens(), branch=None), "branch: found None"),
    "heads zero": (lambda: Block(FromTokens(), heads=0), "heads: found 0"),
    "key heads": (
        lambda: Block(FromTokens(), heads=4, **W | {"key": np.ones((D, 6))}),
        "key: found 6 channels",
    ),
    "odd rotation": (
        lambda: Block(FromTokens(rotary=Rotary()), heads=8, **W),
        "rotary: found rotation of 1 channels, an odd number",
    ),
    "wide rotation": (
        lambda: Block(FromTokens(rotary=Rotary(width=4)), heads=4, **W),
        "rotary: found width 4",
    ),
    "rotated product": (lambda: FromTokens(query_key=np.eye(2), rotary=Rotary()), "rotary: found a rotation"),
    "gate missing": (
        lambda: Block(FromTokens(), feed_forward="swiglu", **F),
        "gate: found none in a swiglu feed-forward",
    ),
    "gate alone": (lambda: Block(FromTokens(), feed_forward="silu", gate=F["up"]), "gate: found a matrix"),
    "down missing": (lambda: Block(FromTokens(), feed_forward="silu", up=F["up"]), "down: found nothing"),
    "up without": (lambda: Block(FromTokens(), **F), "up: found a value; expected None without feed_forward"),
    "key missing": (lambda: Block(FromTokens(), query=np.eye(D)), "key: found nothing beside query"),
    "query and A": (lambda: Block(np.eye(N), **W), "query: found queries beside attention"),
    "query_key, too": (
        lambda: Block(FromTokens(query_key=np.eye(D)), **W),
        "query_key: found a product beside query and key",
    ),
    "weights, too": (lambda: Block(FromTokens(), weights=np.eye(D), **W), "weights: found weights beside"),
    "bias by token": (
        lambda: Block(FromTokens(), **W | {"value": (np.eye(D), ROWS)}),
        "bias of value: found shape (6, 8); expected shape (8,), one number a column and the same for all",
    ),
    "transposed": (
        lambda: Block(FromTokens(), feed_forward="relu", up=F["up"], down=np.ones((D, 5))),
        "down: found shape (8, 5); expected shape (..., 8, 8)",
    ),
    "score bias": (
        lambda: Block(FromTokens(bias=np.zeros((3, N, N))), heads=2),
        "bias: found 3 on the axis of heads",
    ),
    "post parallel": (
        lambda: Block(FromTokens(), feed_forward="relu", parallel=True),
        "norm: found 'post' in a parallel block",
    ),
    "place": (
        lambda: Block(
            FromTokens(),
            feed_forward="relu",
            parallel=True,
            norm="pre",
            deescalation=linsim.Deescalation("attention", tau=1.0),
        ),
        "place 'attention' in a block without it",
    ),
    "norm_kind": (lambda: Block(FromTokens(), norm_kind="batch"), "norm_kind: found 'batch'"),
    "layered kinds": (
        lambda: linsim.Layered([Block(np.eye(N)), linsim.Linear(np.eye(N), np.eye(D))]),
        "or of Blocks alone",
    ),
    "layered sizes": (
        lambda: linsim.Layered([Block(np.eye(N)), Block(np.eye(N + 1))]),
        "rules: found n in [6, 7]",
    ),
    "padding alone": (lambda: masks.padding([[False, False]]), "keep: found a sequence of padding alone"),
    "padding of numbers": (lambda: masks.padding([1, 0]), "keep: found shape (2,), dtype int64"),
    "rotary type": (lambda: FromTokens(rotary=10000.0), "rotary: found float"),
    "keys of infinity": (lambda: FromTokens(bias=np.full((2, 2), 1e300)), "Use mask for tokens"),
    "ambiguous": (
        lambda: simulate(Block(np.ones((3, N, N)) / N, weights=np.ones((3, D, D))), ROWS, 1),
        "heads=3 (or linsim.MultiHead); for 3 separate blocks of one head heads=1",
    ),
    "bias of tokens": (
        lambda: simulate(Block(np.ones((N, N)) / N, bias=np.zeros((N, D))), ROWS, 1),
        f"bias: found shape ({N}, {D}), a row for each of {N} tokens or for each of {N} systems",
    ),
    "gain of tokens": (
        lambda: simulate(Block(FromTokens(), gain=np.ones((N, D))), ROWS, 1),
        f"expected one row ({D},) for all tokens, or x0 with a batch axis as well (1 will do)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_layers_are_refused(name):
    build, message = BAD[name]
    with pytest.raises(linsim.LinsimError) as caught:
        build()
    assert message in str(caught.value)
    assert "expected" in str(caught.value)
