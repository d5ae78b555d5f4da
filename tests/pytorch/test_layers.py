"""Layers with a controlled spectrum and de-escalation: equal to NumPy's, differentiable, at home in torch."""

from __future__ import annotations

import copy
import itertools
import pickle
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402
from torch.autograd import gradcheck  # noqa: E402

import linsim  # noqa: E402
from linsim.errors import LinsimError  # noqa: E402
from linsim.torch import (  # noqa: E402
    Deescalation,
    EncoderLayer,
    SpectralOV,
    TokenMeanCentre,
    as_model,
    spectra,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor is True"
)
FORMS = list(itertools.product(("sharpen", "smooth"), ("orthogonal", "free")))
D, HEADS = 6, 2


def double(**options):
    torch.manual_seed(0)
    module = SpectralOV(D, HEADS, batch_first=True, dtype=torch.float64, **options)
    for bias in (module.in_proj_bias, module.out_proj.bias):
        nn.init.normal_(bias)
    return module


def tokens(b=3, n=5, d=D, dtype=torch.float64):
    return torch.randn(b, n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


# --- SpectralOV --------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "basis"), FORMS)
def test_weight_is_that_of_reparameterize(kind, basis):
    module = double(filter=kind, basis=basis, condition=7.0, psi=np.linspace(-1.5, 1.5, D))
    V = module.basis_matrix().detach().numpy()
    expected = linsim.weights.reparameterize(module.psi.detach().numpy(), V, filter=kind)
    # to sharpen, that keeps eigenvalues a few rounding errors off 0
    np.testing.assert_allclose(module.weight().detach().numpy(), expected, rtol=0, atol=1e-13)
    assert np.linalg.cond(V) <= (7.0 if basis == "free" else 1.0) * (1 + 1e-12)
    assert basis == "orthogonal" or np.linalg.cond(V) > 1.1
    low, high = {"sharpen": (-1, 0), "smooth": (0, 1)}[kind]
    mu = np.linalg.eigvals(module.weight().detach().numpy())
    wanted = np.sort(np.clip(np.linspace(-1.5, 1.5, D), low, high))
    np.testing.assert_allclose(np.sort(mu.real), wanted, atol=1e-12)


@pytest.mark.parametrize("basis", ["orthogonal", "free"])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_attention_of_pytorch_with_these_weights(basis, masked):
    module, x = double(filter="free", basis=basis), tokens()
    usual = nn.MultiheadAttention(D, HEADS, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for name in ("in_proj_weight", "in_proj_bias"):
            getattr(usual, name).copy_(getattr(module, name))
        usual.out_proj.weight.copy_(module.out_proj.weight)
        usual.out_proj.bias.copy_(module.out_proj.bias)
    mask = torch.arange(5) >= torch.tensor([5, 3, 2])[:, None] if masked else None
    for weights in (True, False):
        found, expected = (m(x, x, x, mask, weights) for m in (module, usual))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # the sum over heads of W_V W_O, rows times matrices
    H = usual.in_proj_weight[2 * D :].T @ usual.out_proj.weight.T
    torch.testing.assert_close(H, module.weight(), rtol=0, atol=1e-13)
    sequence_first = SpectralOV(D, HEADS, filter="free", basis=basis, dtype=torch.float64)
    sequence_first.load_state_dict(module.state_dict())
    y = x.transpose(0, 1)
    turned = sequence_first(y, y, y)[0].transpose(0, 1)
    torch.testing.assert_close(turned, module(x, x, x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "basis"), FORMS)
def test_gradients(kind, basis):
    psi = [-1.4, -0.8, -0.3, 0.2, 0.7, 1.3]  # off the corners of the clip
    module, x = double(filter=kind, basis=basis, psi=psi), tokens(2, 3)
    names = [name for name, _ in module.named_parameters()]

    def attended(x, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, given, (x, x, x), {"need_weights": False})[0]

    values = [value.detach().clone().requires_grad_() for value in module.parameters()]
    assert gradcheck(attended, (x.requires_grad_(), *values), fast_mode=True)


@pytest.mark.parametrize("basis", ["orthogonal", "free"])
def test_in_place_of_an_encoders_attention_on_every_path(basis):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(D, HEADS, 8, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    model.layers[0].self_attn = SpectralOV.like(model.layers[0].self_attn, filter="sharpen", basis=basis)
    x, mask = tokens(dtype=torch.float32), torch.arange(5) >= torch.tensor([5, 3, 2])[:, None]
    expected = model.train()(x, src_key_padding_mask=mask)
    model.eval()
    with torch.no_grad():  # where PyTorch makes a nested tensor for its fused layers
        fused = model(x, src_key_padding_mask=mask)
    torch.testing.assert_close(fused[~mask], expected.detach()[~mask], rtol=1e-5, atol=1e-5)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        attention = twin.layers[0].self_attn
        again = twin(x, src_key_padding_mask=mask)
        torch.testing.assert_close(again[~mask], expected[~mask], rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            attention.psi.fill_(-0.25)
        product = attention.out_proj.weight @ attention.in_proj_weight[2 * D :]
        torch.testing.assert_close(product, -0.25 * torch.eye(D), rtol=0, atol=1e-6)
    narrow = copy.deepcopy(model).bfloat16()
    assert narrow(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(narrow(x.bfloat16()).float(), model(x), rtol=0.1, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(x).float(), narrow(x.bfloat16()).float(), rtol=0.1, atol=0.1)


def test_compiled():
    module, x = double(basis="free"), tokens()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    found = compiled(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(found, module(x, x, x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.full  # a minute each
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile's default backend needs a C++ compiler"
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "basis"), [("sharpen", "orthogonal"), ("smooth", "free")])
def test_compiled_by_the_default_backend(kind, basis, dtype):
    torch.manual_seed(0)
    less = [TokenMeanCentre("branch"), Deescalation("attention", similarity=0.3)]
    less += [Deescalation("output", tau=0.5, learn=True)]
    layer = EncoderLayer(D, HEADS, 8, 0.0, batch_first=True, norm_first=True, deescalation=less)
    layer.self_attn = SpectralOV.like(layer.self_attn, filter=kind, basis=basis)
    layer = layer.to(dtype)
    exact, compiled = copy.deepcopy(layer).double(), torch.compile(layer, fullgraph=True)

    def run(model, like):
        x = tokens().to(dtype).to(like).requires_grad_()  # the same numbers for all
        parameters = list(model.parameters())
        y = model(x)
        assert y.dtype == like
        return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]

    # held to double precision, the compiled layer is as good as the plain one
    truth = run(exact, torch.float64)
    for plain, found, true in zip(run(layer, dtype), run(compiled, dtype), truth, strict=True):
        scale = true.abs().max() * torch.finfo(dtype).eps
        assert (found - true).abs().max() <= 2 * (plain - true).abs().max() + 4 * scale


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"filter": "sharp"}, "Did you mean 'sharpen'"),
        ({"basis": "qr"}, "basis"),
        ({"condition": 0.5}, "condition"),
        ({"condition": float("inf")}, "condition"),
        ({"psi": [0.0] * 5 + [float("nan")]}, "psi: found NaN or infinity"),
        ({"psi": [0.0] * 5 + [float("inf")]}, "psi: found NaN or infinity"),
        ({"psi": [0.0]}, "one ψ for each feature"),
        ({"num_heads": 4}, "a divisor"),
        ({"embed_dim": 0}, "embed_dim"),
    ],
)
def test_bad_arguments(options, said):
    with pytest.raises(LinsimError) as error:
        SpectralOV(**{"embed_dim": D, "num_heads": HEADS, **options})
    assert said in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [nn.Linear(2, 2), nn.MultiheadAttention(D, 2, vdim=4), nn.MultiheadAttention(D, 2, add_bias_kv=True)],
)
def test_like_takes_what_it_can_stand_for(wrong):
    with pytest.raises(LinsimError, match="of one width"):
        SpectralOV.like(wrong)


# --- de-escalation -----------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0, 1.7, -0.5])
def test_tau_is_that_of_numpy(tau):
    x = tokens()
    found = Deescalation(tau=tau)(x)
    np.testing.assert_allclose(found, linsim.escalation.deescalate(x.numpy(), tau), rtol=0, atol=1e-14)
    name = "token_similarity"
    before, after = (linsim.metrics.measure(one.numpy(), name)[name] for one in (x, found))
    np.testing.assert_allclose(after, linsim.escalation.deescalated_similarity(before, tau), atol=1e-12)


@pytest.mark.parametrize("wanted", [0.0, 0.2, 0.95])
def test_a_similarity_is_reached_among_tokens_that_count(wanted):
    x, padding = tokens(), torch.arange(5) >= torch.tensor([5, 3, 2])[:, None]
    floating = torch.zeros(3, 5).masked_fill(padding, float("-inf"))
    for mask in (padding, floating):
        found = Deescalation(similarity=wanted)(x, mask)
        measured = linsim.metrics.measure(found.numpy(), "token_similarity", tokens=(~padding).numpy())
        np.testing.assert_allclose(measured["token_similarity"], wanted, atol=1e-12)
        assert torch.equal(found[padding], x[padding])


def test_alike_tokens_and_those_without_a_mean_stay_as_they_are():
    alike = torch.ones(1, 4, 3)
    opposite = torch.tensor([[[1.0, 2.0], [-1.0, -2.0]]])
    for x in (alike, opposite):
        x = x.requires_grad_()
        found = Deescalation(similarity=0.5)(x)
        assert torch.equal(found, x)
        found.sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("module", [Deescalation(tau=0.4), Deescalation(similarity=0.3), TokenMeanCentre()])
def test_gradients_of_deescalation(module):
    assert gradcheck(module, (tokens(2, 3).requires_grad_(),))


def test_a_learned_tau_learns():
    module = Deescalation(tau=0.5, learn=True)
    x = tokens(dtype=torch.float32)
    module(x).square().sum().backward()
    # d/dtau of (1 - tau)^2 ||Pi X||^2
    common = 5 * x.mean(dim=1).square().sum()
    assert module.tau.grad.item() == pytest.approx(-common.item(), rel=1e-5)
    assert [name for name, _ in module.named_parameters()] == ["tau"]


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_each_place_of_a_block(norm_first, batch_first):
    options = {"dropout": 0.0, "batch_first": batch_first, "norm_first": norm_first}
    torch.manual_seed(0)
    plain = nn.TransformerEncoderLayer(D, HEADS, 8, **options).double()
    x = tokens()
    given = x if batch_first else x.transpose(0, 1)

    def run(place, padding=None):
        layer = EncoderLayer(D, HEADS, 8, **options, deescalation=Deescalation(place, tau=1.0)).double()
        layer.load_state_dict(plain.state_dict(), strict=False)
        out = layer(given, src_key_padding_mask=padding)
        return out if batch_first else out.transpose(0, 1)

    def less(x):
        return x - x.mean(dim=1, keepdim=True)

    def attend(x):
        y = x if batch_first else x.transpose(0, 1)
        out = plain.self_attn(y, y, y, need_weights=False)[0]
        return out if batch_first else out.transpose(0, 1)

    def by_hand(place):
        at = {name: less if name == place else (lambda x: x) for name in linsim.block.PLACES}
        h = x + at["branch"](attend(plain.norm1(x) if norm_first else x))
        h = at["attention"](h)
        h = h if norm_first else at["norm"](plain.norm1(h))
        fed = plain.norm2(h) if norm_first else h
        h = at["feed_forward"](h + plain.linear2(torch.relu(plain.linear1(fed))))
        return at["output"](h if norm_first else plain.norm2(h))

    places = [place for place in linsim.block.PLACES if not (norm_first and place == "norm")]
    for place in places:
        torch.testing.assert_close(run(place), by_hand(place), rtol=1e-10, atol=1e-12)
    none = EncoderLayer(D, HEADS, 8, **options).double()
    none.load_state_dict(plain.state_dict())
    assert torch.equal(none(given), plain(given))


def test_padding_and_nested_tensors_reach_deescalation():
    torch.manual_seed(0)
    less = Deescalation("norm", tau=1.0)
    layer = EncoderLayer(D, HEADS, 8, dropout=0.0, batch_first=True, deescalation=less)
    model = nn.TransformerEncoder(layer, 2)
    x, mask = tokens(dtype=torch.float32), torch.arange(5) >= torch.tensor([5, 3, 2])[:, None]
    expected = model.train()(x, src_key_padding_mask=mask)
    alone = model(x[1:2, :3])
    torch.testing.assert_close(expected[1:2, :3], alone, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        fused = model.eval()(x, src_key_padding_mask=mask)
    torch.testing.assert_close(fused[~mask], expected.detach()[~mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Deescalation("nirm", tau=1.0), "Did you mean 'norm'"),
        (lambda: Deescalation(tau=float("nan")), "tau: found nan"),
        (lambda: Deescalation(tau=float("inf")), "tau: found inf"),
        (lambda: Deescalation(similarity=float("nan")), "similarity: found nan"),
        (lambda: Deescalation(similarity=1.0), "similarity"),
        (lambda: Deescalation(tau=[1.0, 2.0]), "one number"),
        (lambda: Deescalation(), "exactly one"),
        (lambda: Deescalation(tau=1.0, similarity=0.5), "exactly one"),
        (lambda: Deescalation(similarity=0.5, learn=True), "learn without tau"),
        (lambda: EncoderLayer(D, HEADS, 8, deescalation=1.0), "linsim.torch.Deescalation"),
        (lambda: EncoderLayer(D, HEADS, 8, deescalation=[TokenMeanCentre(), TokenMeanCentre()]), "twice"),
        (
            lambda: EncoderLayer(D, HEADS, 8, norm_first=True, deescalation=TokenMeanCentre("norm")),
            "pre-norm",
        ),
    ],
)
def test_bad_deescalation(call, said):
    with pytest.raises(LinsimError) as error:
        call()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("x", "mask", "said"),
    [
        (torch.ones(1, 3, 2, dtype=torch.int64), None, "Pass x.float()"),
        (torch.ones(4), None, "shape (4,)"),
        (torch.ones(2, 3, 4), torch.zeros(2, 4, dtype=torch.bool), "a mask (2, 4)"),
        (torch.ones(2, 3, 4), torch.zeros(3, dtype=torch.bool), "a mask (3,)"),
    ],
)
def test_tokens_that_are_none_are_refused(x, mask, said):
    with pytest.raises(LinsimError) as error:
        Deescalation(tau=0.5)(x, mask)
    assert said in str(error.value)


def test_a_causal_mask_is_refused():
    layer = EncoderLayer(D, HEADS, 8, batch_first=True, deescalation=TokenMeanCentre())
    model, x = nn.TransformerEncoder(layer, 1), tokens(dtype=torch.float32)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    with pytest.raises(LinsimError, match="causal"):
        model(x, mask=causal)


# --- spectra of a live model -------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_live_stack_is_read_as_it_runs(norm_first):
    torch.manual_seed(0)
    options = {"activation": "gelu", "batch_first": True, "norm_first": norm_first}
    layer = nn.TransformerEncoderLayer(D, HEADS, 8, **options)
    model = nn.TransformerEncoder(layer, 3).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    model.layers[1].self_attn = SpectralOV.like(model.layers[1].self_attn, filter="sharpen", basis="free")
    x = tokens(1, dtype=torch.float32)
    states = [x]
    for block in model.layers:
        states.append(block(states[-1]))
    states = torch.cat(states).double().detach().numpy()
    opened = as_model(model)
    # a forward pass written elsewhere, from these weights
    np.testing.assert_allclose(opened.run(states=states[0]).states, states, rtol=1e-4, atol=1e-5)
    run = opened.run(states=states)
    for report in run.layers:
        assert report.step == pytest.approx(report.measured, abs=1e-5)
    found = spectra(model)
    assert len(found) == 3
    weights = model.layers[1].self_attn.weight().detach().double().numpy()
    gain = np.diag(model.layers[1].norm1.weight.detach().double().numpy())
    centre = np.eye(D) - 1 / D if norm_first else np.eye(D)
    effective = centre @ gain @ weights if norm_first else weights
    for spectrum, H in ((found[1].raw, weights), (found[1].effective, effective)):
        expected = np.linalg.eigvals(H)
        np.testing.assert_allclose(np.sort(spectrum.whole.real), np.sort(expected.real), atol=1e-5)
    assert found[1].raw.real_max < 1e-5
    assert len(found[1].raw_heads) == HEADS
    assert found[1].raw_heads[0].exact_zeros == D - D // HEADS


def test_models_of_no_known_family_are_refused():
    with pytest.raises(LinsimError, match="no known family"):
        spectra(nn.Linear(3, 3))
    layer = nn.TransformerEncoderLayer(D, HEADS, 8, activation=torch.tanh, batch_first=True)
    odd = nn.TransformerEncoder(layer, 1)
    with pytest.raises(LinsimError, match="relu or gelu"):
        spectra(odd)
