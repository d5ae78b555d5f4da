"""A checkpoint that is changed does what the change says."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.checkpoints import HERE, config_of, input_of, tensors_of, write

from linsim import models
from linsim.errors import LinsimError
from linsim.models._forward import deviation, walk
from linsim.models._spectra import factors
from linsim.models._whatif import change_of


def walked(name, what):
    model = models.load(HERE / name)
    x = model.run(**input_of(name)).states[0]
    return list(walk(model._blocks, x, change=change_of(what)))


@pytest.mark.parametrize("name", ["bert", "llama", "dinov2"])
@pytest.mark.parametrize(("what", "low", "high"), [("sharpen", -1, 0), ("smooth", 0, 1)])
def test_spectra_are_clipped(name, what, low, high):
    model = models.load(HERE / name)
    for run in walked(name, what):
        path = run.parts.attention.path
        scale = 1.0 if run.inverse_sigma is None else run.inverse_sigma.mean()
        before = factors(model._blocks.value_path(run.layer), effective=True)
        after = factors(path, effective=True)
        for h in range(path.heads):
            dense = after.head(h)[0] @ after.head(h)[1] * scale
            mu = np.linalg.eigvals(dense)
            assert mu.real.min() > low - 1e-6
            assert mu.real.max() < high + 1e-6
            assert np.abs(mu.imag).max() < 1e-5
            # the nearest points of the interval, and the right eigenvectors stay
            left, right = before.head(h)
            old, vectors = np.linalg.eig(left @ right * scale)
            keep = np.abs(old) > 1e-6 * np.abs(old).max()
            wanted = vectors[:, keep] * np.clip(old[keep].real, low, high)
            np.testing.assert_allclose(dense @ vectors[:, keep], wanted, atol=1e-6 * np.abs(dense).max())


def test_deescalation_takes_the_mean_off():
    for run in walked("bert", "deescalate=1"):
        np.testing.assert_allclose(run.attended.mean(axis=0), 0, atol=1e-12)
    for run in walked("gpt2", "deescalate=0.25"):
        plain = run.entering
        assert run.attended.shape == plain.shape
    nothing = walked("gpt2", "deescalate=0")
    model = models.load(HERE / "gpt2")
    plain = model.run(**input_of("gpt2"))
    np.testing.assert_array_equal(nothing[-1].leaving, plain.states[-1])
    some = walked("gpt2", "deescalate=0.25")[0]
    np.testing.assert_allclose(
        some.attended.mean(axis=0), 0.75 * nothing[0].attended.mean(axis=0), atol=1e-13
    )


def test_a_gain_of_the_other_sign(tmp_path):
    """The same as turning it in the file."""
    tensors, config = tensors_of("gpt2"), config_of("gpt2")
    for layer in range(2):
        tensors[f"h.{layer}.ln_1.weight"] *= -1
    turned = models.load(write(tmp_path, tensors, config)).run(**input_of("gpt2"))
    run = models.load(HERE / "gpt2").run(**input_of("gpt2"), what_if="flip-gain")
    np.testing.assert_array_equal(run.states, turned.states)
    assert run.what_if == "flip-gain"


def test_without_biases(tmp_path):
    """The same as writing zeros into the file, in every block."""
    tensors, config = tensors_of("bert"), config_of("bert")
    for name in tensors:
        if name.startswith("encoder") and name.endswith("bias"):
            tensors[name] = np.zeros_like(tensors[name])
    bare = models.load(write(tmp_path, tensors, config)).run(**input_of("bert"))
    run = models.load(HERE / "bert").run(**input_of("bert"), what_if="no-bias")
    np.testing.assert_allclose(run.states, bare.states, atol=1e-13)
    assert all(one.step_without_bias == pytest.approx(one.step, abs=1e-12) for one in run.layers)


def test_laws_of_a_changed_model_are_its_own():
    """The report of a changed model is about the changed weights."""
    run = models.load(HERE / "dinov2").run(**input_of("dinov2"), what_if="sharpen")
    assert all(one.step == pytest.approx(one.measured, abs=1e-10) for one in run.layers)
    for one in run.layers:
        for head in one.spectra.effective_heads:
            assert head.scaled(one.inverse_sigma).eigenvalues.real.max() < 1e-6


def test_the_step_is_de_escalated_too():
    run = models.load(HERE / "dinov2").run(**input_of("dinov2"), what_if="deescalate=0.7")
    assert all(one.step == pytest.approx(one.measured, abs=1e-10) for one in run.layers)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("sharpn", "Did you mean 'sharpen'"),
        ("deescalate", "deescalate=TAU"),
        ("deescalate=x", "found nan; expected a number in [0.0, 1.0]"),
        ("deescalate=1.5", "found 1.5; expected a number in [0.0, 1.0]"),
        ("sharpen=1", "deescalate=TAU"),
    ],
)
def test_unknown_changes(what, said):
    with pytest.raises(LinsimError) as caught:
        models.load(HERE / "bert").run(**input_of("bert"), what_if=what)
    assert said in str(caught.value)


def test_sigma_is_of_the_state_that_enters():
    for run in walked("gpt2", "no-bias"):
        model = models.load(HERE / "gpt2")
        sigma = deviation(run.entering, model._blocks.value_path(run.layer).norm)
        np.testing.assert_allclose(run.inverse_sigma, 1 / sigma, rtol=1e-14)
