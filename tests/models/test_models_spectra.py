"""Spectra against dense matrices, effective ones against the sublayer as it runs, regimes against predict."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.checkpoints import FAMILIES, HERE, config_of, input_of, tensors_of, write

import linsim
from linsim import models
from linsim.models._spectra import factors

PARTS = [(name, None) for name in FAMILIES] + [("clip", "text")]


def nearest(found, wanted):
    """Pair two lists of eigenvalues, each with the nearest that is left; return the largest distance."""
    left = list(wanted)
    worst = 0.0
    for value in found:
        k = int(np.argmin(np.abs(np.array(left) - value)))
        worst = max(worst, abs(left.pop(k) - value))
    assert left == []
    return worst


def sublayer(model, layer):
    """Return x -> what the sublayer adds for tokens that all attend to themselves, without biases."""
    from linsim.models._forward import normed

    path = model._blocks.value_path(layer)

    def added(x):
        if path.order == "pre":
            x = normed(x, path.norm) - (0 if path.norm.bias is None else path.norm.bias)
        values = (x @ path.value.weight).reshape(len(x), path.kv_heads, -1)
        values = np.repeat(values, path.heads // path.kv_heads, axis=1).reshape(len(x), -1)
        out = values @ path.output.weight
        return out if path.layer_scale is None else out * path.layer_scale

    return added, path


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_effective_is_what_the_sublayer_does(name, part):
    """The d x d matrix of x -> added(x) sigma(x), read off basis vectors: norm, gain, scale as they run."""
    model = models.load(HERE / name, part=part)
    from linsim.models._forward import deviation

    for one in model.spectra:
        added, path = sublayer(model, one.layer)
        basis = np.eye(model.width)
        H = added(basis)
        if path.order == "pre":
            H = H * deviation(basis, path.norm)[:, None]
        mu = np.linalg.eigvals(H)
        size = np.linalg.norm(H)
        assert len(one.effective.whole) == model.width
        # eigenvalues of a matrix of float32 numbers whose condition is not large
        assert nearest(one.effective.whole, mu) < 1e-6 * size
        skew = np.linalg.norm(H - H.T) / (2 * size)
        assert one.effective.asymmetry == pytest.approx(skew, abs=1e-6)
        raw = np.zeros_like(H)
        for h in range(path.heads):
            g = h // (path.heads // path.kv_heads)
            width = path.head_width
            value = path.value.weight[:, g * width : (g + 1) * width].astype(float)
            part_of_it = value @ path.output.weight[h * width : (h + 1) * width].astype(float)
            raw += part_of_it
            assert nearest(one.raw_heads[h].whole, np.linalg.eigvals(part_of_it)) < 1e-4 * size
        assert nearest(one.raw.whole, np.linalg.eigvals(raw)) < 1e-6 * np.linalg.norm(raw)


def test_exact_zeros_are_counted_apart():
    grouped = models.load(HERE / "llama").spectra[0]
    assert grouped.raw.exact_zeros == 24 - 8  # one value head of 8 channels
    assert grouped.raw.eigenvalues.size == 8
    assert {head.exact_zeros for head in grouped.raw_heads} == {16}
    centred = models.load(HERE / "gpt2").spectra[0]
    assert (centred.raw.exact_zeros, centred.effective.exact_zeros) == (0, 1)
    path = models.load(HERE / "gpt2")._blocks.value_path(0)
    assert (factors(path, effective=False).rank, factors(path, effective=True).rank) == (24, 23)
    one = centred.effective
    assert one.fraction_negative == np.mean(one.eigenvalues.real < 0)


def test_a_zero_is_counted_by_what_it_is_not_by_its_size(tmp_path):
    """Next to a defective matrix rounding moves the zero that centring makes by far more than itself.

    The vectors of that zero are 1 and D^-1 1, and their product, 12 - 11 - 1/(1 + 2^-20), is about 1e-6.
    """
    tensors, config = tensors_of("gpt2"), config_of("gpt2")
    far = np.diag([1.0] * 12 + [-1.0] * 11 + [-1 - 2.0**-20])
    tensors["h.0.attn.c_attn.weight"][:, 48:] = np.eye(24)
    tensors["h.0.attn.c_proj.weight"] = far.astype(np.float32)
    tensors["h.0.ln_1.weight"][:] = 1
    one = models.load(write(tmp_path, tensors, config)).spectra[0]
    centred = (np.eye(24) - 1 / 24) @ far
    smallest = np.abs(np.linalg.eigvals(centred)).min()
    assert smallest > 24 * np.finfo(float).eps * np.linalg.norm(centred)
    assert one.effective.exact_zeros == 1


def test_a_gain_of_zero_takes_a_mode_away(tmp_path):
    tensors, config = tensors_of("gpt2"), config_of("gpt2")
    gain = tensors["h.0.ln_1.weight"]
    for zeros, lost in ((1, 1), (3, 3)):
        gain[:zeros] = 0
        one = models.load(write(tmp_path / str(zeros), tensors, config)).spectra[0]
        assert one.effective.exact_zeros == lost


def test_a_head_that_was_pruned_has_zeros_only(tmp_path):
    tensors, config = tensors_of("bert"), config_of("bert")
    tensors["encoder.layer.0.attention.self.value.weight"][:8] = 0
    one = models.load(write(tmp_path, tensors, config)).spectra[0]
    assert one.raw_heads[0].exact_zeros == 24
    assert one.raw_heads[0].asymmetry == 0
    assert np.isnan(one.raw_heads[0].fraction_negative)
    assert one.raw_heads[0].regime(0.0) == "balanced"
    assert one.raw.exact_zeros == 8


def test_signs_of_gains_and_scales(tmp_path):
    tensors, config = tensors_of("dinov2"), config_of("dinov2")
    one = models.load(HERE / "dinov2").spectra[0]
    assert (one.negative_gains, one.gains) == (0, 24)
    tensors["encoder.layer.0.norm1.weight"][:5] *= -1
    assert models.load(write(tmp_path / "gains", tensors, config)).spectra[0].negative_gains == 5
    tensors["encoder.layer.0.norm1.weight"][:5] *= -1
    tensors["encoder.layer.0.layer_scale1.lambda1"] *= -1
    other = models.load(write(tmp_path, tensors, config)).spectra[0]
    assert other.negative_scales == 24 - one.negative_scales
    # a scale that turns every sign turns the spectrum
    assert nearest(-other.effective.eigenvalues, one.effective.eigenvalues) < 1e-10


@pytest.mark.parametrize("lambda_min", [-0.4, 0.0, 0.3])
def test_regimes_are_those_of_predict(lambda_min):
    lam = [1.0, lambda_min, 0.5 * lambda_min + 0.1]
    A = linsim.attention.from_spectrum(lam, rng=0)
    for name in ("bert", "gpt2", "llama"):
        for one in models.load(HERE / name).spectra:
            for scale in (0.05, 1.0):
                spectrum = one.effective.scaled(scale)
                H = linsim.weights.from_spectrum(spectrum.whole, rng=1)
                assert spectrum.regime(lambda_min) == linsim.predict(A, H).regime


def test_the_intervals_of_sigma_in_which_a_layer_sharpens():
    from linsim.models import Spectrum

    # 1 + lambda mu/sigma with mu in -[0.5, 2] and a = 0: sharpens while 2/sigma < 2
    spectrum = Spectrum(np.array([-2.0, -0.5], complex), 0, 0.0)
    ((low, high),) = spectrum.sharpens_within(0.0)
    assert (low, high) == pytest.approx((1.0, np.inf))
    assert spectrum.sharpens_within(-0.5) != spectrum.sharpens_within(0.0)
    # |1 - 4s| > 1 + 2s beyond s = 1, so smoothing for sigma < 1; smoothing by 1 + s for all others
    both = Spectrum(np.array([-4.0, 1.0], complex), 0, 0.0)
    assert both.sharpens_within(0.0) == []
    for low, high in spectrum.sharpens_within(-0.5):
        for sigma in (low * 1.01, min(high, 1e3) * 0.99):
            assert spectrum.scaled(1 / sigma).regime(-0.5) == "sharpening"
        assert spectrum.scaled(1 / (low * 0.99)).regime(-0.5) != "sharpening"


def test_shares():
    from linsim.models import Spectrum

    mu = np.array([-3.0, -1.5, -1.0, -0.5, -0.1 + 2j, -0.1 - 2j, 0.5, 2.0])
    spectrum = Spectrum(mu, 2, 0.0)
    assert (spectrum.real_min, spectrum.real_max) == (-3.0, 2.0)
    assert spectrum.fraction_negative == 6 / 8
    assert spectrum.fraction_in_unit == 4 / 8
    assert spectrum.fraction_beyond(0.0) == 1 / 8
    assert spectrum.fraction_beyond(-0.5) == 0
    # in the disk |mu + 1| < 1: -1.5, -1, -0.5; the pair has a negative real part and is outside
    assert spectrum.fraction_sharpening(0.0) == 3 / 8
    assert spectrum.growth == 3.0
    assert spectrum.dominant == 2.0
    assert Spectrum(np.array([-0.1 + 2.2j, -0.1 - 2.2j]), 0, 0.0).dominant == -0.1 + 2.2j


def test_a_run_divides_by_sigma():
    run = models.load(HERE / "llama").run(**input_of("llama"))
    for state, one in zip(run.states, run.layers, strict=False):
        inverse = 1 / np.sqrt((state**2).mean(axis=1) + 1e-6)
        assert one.inverse_sigma == pytest.approx(inverse.mean(), rel=1e-12)
        scaled = one.spectra.effective.eigenvalues * inverse.mean()
        np.testing.assert_allclose(one.effective.eigenvalues, scaled, rtol=1e-12)
