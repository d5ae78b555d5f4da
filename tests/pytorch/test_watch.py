"""What a watch records equals ``linsim.metrics.measure`` on the hidden states, and the model is as it was."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import linsim  # noqa: E402
from linsim.errors import LinsimError  # noqa: E402
from linsim.metrics import measure  # noqa: E402
from linsim.torch import watch  # noqa: E402
from linsim.torch._measure import MEANS, PAIRS, RANKS, measured  # noqa: E402

FOURTEEN = (*MEANS, *PAIRS, *RANKS)
#: entropies and logarithms that eigenvalues of a Gram matrix leave off by more go through an SVD
TOLERANCE = 2e-6

#: said by PyTorch of the nested tensors that it makes itself
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def encoder(layers=3, d=16, heads=2, **options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(d, heads, 2 * d, **{"batch_first": True, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that layers of this kind get no nested tensors
        made = nn.TransformerEncoder(layer, layers).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)  # PyTorch makes all layers equal
    return made


def tokens(b=3, n=7, d=16, dtype=torch.float32):
    return torch.randn(b, n, d, generator=torch.Generator().manual_seed(1)).to(dtype)


def padding(b, lengths, n=7):
    return torch.arange(n) >= torch.tensor(lengths)[:, None].expand(b, 1)


def by_hand(model, x, mask=None):
    """Hidden states, a layer at a time, without the fused path."""
    states = [x]
    with torch.enable_grad():
        for layer in model.layers:
            states.append(layer(states[-1], src_key_padding_mask=mask).detach())
    return torch.stack(states)


def same(found, x, keep=None, *, tolerance=TOLERANCE):
    """Whether metrics (layer, sequence) are those of states (layer, b, n, d) with the library's errors."""
    expected = measure(x.double().numpy(), tokens=None if keep is None else keep.numpy())
    assert set(expected) == set(FOURTEEN)
    for name, value in expected.items():
        np.testing.assert_allclose(
            np.asarray(found[name]), value, rtol=tolerance, atol=tolerance, err_msg=name
        )


# --- numbers -----------------------------------------------------------------------------


def rows(kind):
    g = torch.Generator().manual_seed(2)
    x = torch.randn(4, 6, 5, generator=g, dtype=torch.float64)
    one = torch.ones(4, 6, 5, dtype=torch.float64)
    return {
        "random": x,
        "long": x.transpose(1, 2),
        "one feature": x[..., :1],
        "one token": x[:, :1],
        "two tokens": x[:, :2],
        "close": one + 1e-3 * x,
        "closer": one + 1e-9 * x,
        "the same": one,
        "one line": x[..., :1] * one + 1e-7 * x,
        "a sink": x * torch.tensor([1.0, 1, 1e4, 1, 1, 1], dtype=torch.float64)[:, None],
        "a zero row": x * torch.tensor([1.0, 1, 0, 1, 1, 1], dtype=torch.float64)[:, None],
        "huge": x * 1e200,
        "tiny": x * 1e-200,
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["random", "long", "one feature", "one token", "two tokens", "close", "closer", "the same", "one line",
     "a sink", "a zero row", "huge", "tiny"],
)  # fmt: skip
def test_metrics_are_those_of_measure(kind):
    x = rows(kind)
    before = x.clone()
    found = measured(x, None, FOURTEEN)
    assert torch.equal(x, before)
    same({name: found[name][0] for name in FOURTEEN}, x)
    if x.shape[1] > 1:
        largest = torch.linalg.vector_norm(x / x.abs().max(), dim=-1).argmax(dim=-1)
        assert torch.equal(found["largest_token"], largest)
        rest = torch.ones(x.shape[:2], dtype=torch.bool).scatter(1, largest[:, None], False)
        same({name: found[name][1] for name in FOURTEEN}, x, rest)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_masked_tokens_of_any_width_count_for_nothing(dtype):
    x = tokens(dtype=getattr(torch, dtype))
    keep = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0, 1]]).bool()
    x[~keep] = 77.0
    found = measured(x, keep, FOURTEEN)
    same({name: found[name][0] for name in FOURTEEN}, x, keep)


def test_what_is_no_number_is_nan_and_nothing_else_is():
    x = tokens(b=4)
    x[0, 0, 0], x[1] = float("nan"), 0.0
    keep = torch.ones(4, 7, dtype=torch.bool)
    keep[2] = False
    found = measured(x, keep, FOURTEEN)
    for name in FOURTEEN:
        assert torch.isnan(found[name][0, :3]).all()
        assert torch.isfinite(found[name][0, 3])


def test_many_threads_and_chunks_change_nothing(monkeypatch):
    monkeypatch.setattr(linsim.torch._measure, "_CACHED", 4 * 8 * 100 * 100)
    x = torch.randn(9, 100, 90, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    parts = [measured(one[None], None, FOURTEEN) for one in x]
    whole = measured(x, None, FOURTEEN)
    for name in FOURTEEN:
        alone = torch.cat([part[name] for part in parts], dim=-1)
        torch.testing.assert_close(whole[name], alone, rtol=1e-12, atol=1e-12)


# --- watching changes nothing ------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_model_returns_what_it_did(norm_first, padded, grad, autocast):
    model, x = encoder(norm_first=norm_first), tokens()
    mask = padding(3, [7, 4, 2]) if padded else None

    def run():
        with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(x, src_key_padding_mask=mask)

    try:
        before = run()
    except RuntimeError:  # of a padded call under autocast, which a hook on a layer would let pass
        assert (norm_first, padded, grad, autocast) == (False, True, False, True)
        with pytest.raises(RuntimeError, match="BFloat16"), watch(model):
            run()
        return
    with watch(model) as seen:
        during = run()
    assert during.dtype == before.dtype
    assert torch.equal(before, during)
    assert seen.changed == "nothing"
    assert torch.equal(before, run())
    if not autocast:
        kept = torch.ones(3, 7, dtype=torch.bool) if mask is None else ~mask
        # the fused path rounds otherwise
        same(seen.dataset().sel(tokens="all"), by_hand(model, x, mask), kept, tolerance=2e-4)


def test_gradients_are_as_they_were_and_a_checkpoint_replayed_backwards_is_not_a_call():
    model, x = encoder(dropout=0.0).train(), tokens()
    plain = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))

    class Checkpointed(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            for layer in self.layers:
                x = checkpoint(layer, x, use_reentrant=False)
            return x

    with watch(Checkpointed(model.layers)) as seen:
        out = Checkpointed(model.layers)(x)
        replayed = torch.autograd.grad(out.square().sum(), list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(plain, replayed, strict=True))
    assert seen.dataset().sizes == {"tokens": 2, "layer": 4, "sequence": 3}


def _run_and_fail(seen, model, x):
    with seen:
        model(x)
        raise ZeroDivisionError


def test_hooks_are_gone_afterwards_also_after_an_error():
    model, x = encoder(), tokens()
    every = torch.nn.modules.module
    assert not every._has_any_global_hook()
    seen = watch(model)
    with pytest.raises(ZeroDivisionError):
        _run_and_fail(seen, model, x)
    assert seen.dataset().sizes["layer"] == 4
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert not every._has_any_global_hook()


def test_a_copy_made_meanwhile_is_not_watched():
    model = encoder(norm_first=True)
    with watch(model) as seen:
        twin = copy.deepcopy(model)
        model(tokens())
        twin(tokens(b=5))
    assert seen.calls == 1
    assert seen.dataset().sizes["sequence"] == 3


def test_a_module_inside_a_fused_layer_is_seen_and_said_to_switch_it_off():
    model, x = encoder(), tokens()
    with watch(model, blocks="layers.*.linear2") as seen, torch.no_grad():
        model(x)
    assert "fused path of 3" in seen.dataset().attrs["changed"]
    assert list(seen.dataset().block.values) == ["input", *(f"layers.{i}.linear2" for i in range(3))]


# --- which tokens ------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["right", "left"])
@pytest.mark.parametrize("grad", [False, True])
def test_padding_is_found_on_its_way(where, grad):
    model, x = encoder(), tokens()
    mask = padding(3, [7, 4, 2])
    mask = mask if where == "right" else mask.flip(-1)

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x, which):
            return self.inner(x, src_key_padding_mask=which).mean(dim=1)

    outer = Classifier().eval()
    with watch(outer) as seen, torch.set_grad_enabled(grad):
        outer(x, mask)
    ds = seen.dataset()
    assert ds.n_tokens.isel(layer=1).values.tolist() == [7, 4, 2]
    same(ds.sel(tokens="all"), by_hand(model, x, mask), ~mask, tolerance=2e-4)


def test_masks_of_ones_own():
    model, x = encoder(), tokens()
    keep = ~padding(3, [7, 4, 2])
    added = torch.zeros(3, 7).masked_fill(~keep, float("-inf"))  # to scores
    for mask in (keep, keep.int(), keep.float(), added, keep.tolist(), lambda args, kwargs: keep):
        with watch(model, mask=mask) as seen:
            model(x)
        assert seen.dataset().n_tokens.isel(layer=0).values.tolist() == [7, 4, 2]
    with watch(model, mask=None) as seen:
        model(x, src_key_padding_mask=~keep)
    assert seen.dataset().n_tokens.isel(layer=0).values.tolist() == [7, 7, 7]


@pytest.mark.parametrize("unbatched", [False, True])
def test_tokens_may_come_first(unbatched):
    model, x = encoder(batch_first=False), tokens(b=1 if unbatched else 3)
    with watch(model) as seen:
        model(x[0] if unbatched else x.transpose(0, 1))
    states = [x.transpose(0, 1)]
    for layer in model.layers:
        states.append(layer(states[-1]).detach())
    same(seen.dataset().sel(tokens="all"), torch.stack(states).transpose(1, 2))


# --- calls -------------------------------------------------------------------------------


def test_pairs_and_ranks_are_of_the_first_sequences():
    model, x = encoder(), tokens(b=5)
    with watch(model, sample=2) as seen:
        model(x)
    with watch(model, sample=None) as whole:
        model(x)
    some, every = seen.dataset(), whole.dataset()
    for name in FOURTEEN:
        known = 5 if name in MEANS else 2
        np.testing.assert_allclose(some[name][..., :known], every[name][..., :known], rtol=1e-9, atol=1e-12)
        assert np.isnan(some[name][..., known:]).all()


def test_every_second_call_goes_to_a_logger():
    model, logged = encoder(), []
    with watch(
        model, every=2, metrics=["cosine"], log=lambda step, values: logged.append((step, values))
    ) as seen:
        for b in (1, 2, 3, 4):
            model(tokens(b=b))
    ds = seen.dataset()
    assert [step for step, _ in logged] == [0, 2]
    assert ds.step.values.tolist() == [0, 2, 2, 2]
    assert seen.calls == 4
    last = ds.cosine.sel(tokens="all", layer=3).where(ds.step == 2).mean().item()
    assert logged[1][1]["layer 3/cosine"] == pytest.approx(last, abs=1e-12)
    assert set(logged[0][1]) == {f"layer {i}/cosine" for i in range(4)}
    assert seen.seconds > 0


class Looped(nn.Module):
    """One block run several times, or some of several."""

    def __init__(self, blocks, order):
        super().__init__()
        self.blocks, self.order = nn.ModuleList(blocks), order

    def forward(self, x):
        for i in self.order:
            x = self.blocks[i](x)
        return x


def test_a_shared_block_is_a_layer_each_time():
    model = Looped(encoder(1).layers, [0, 0, 0])
    with watch(model) as seen:
        model(tokens())
        model(tokens())
    assert seen.dataset().block.values.tolist() == ["input", "blocks.0", "blocks.0 #2", "blocks.0 #3"]
    assert seen.dataset().sizes["sequence"] == 6


def test_a_layer_that_is_left_out_is_nan_and_shifts_none():
    model = Looped(encoder(3).layers, [0, 1, 2])
    with watch(model) as seen:
        model(tokens())
        model.order = [0, 2]
        model(tokens())
    ds = seen.dataset()
    assert ds.block.values.tolist() == ["input", "blocks.0", "blocks.1", "blocks.2"]
    assert np.isnan(ds.cosine.sel(tokens="all", layer=2).values).tolist() == [False] * 3 + [True] * 3
    assert ds.n_tokens.sel(layer=2).values.tolist() == [7, 7, 7, 0, 0, 0]


def test_blocks_called_by_themselves_are_calls_as_well():
    model = encoder(2)
    with watch(model) as seen, torch.no_grad():
        for _ in range(2):
            x = tokens()
            for layer in model.layers:
                x = layer(x)
    assert seen.calls == 2
    assert seen.dataset().sizes == {"tokens": 2, "layer": 3, "sequence": 6}


def test_compiling_in_place_keeps_the_hooks():
    model, x = encoder(2, norm_first=True).train(), tokens()
    model.compile(backend="eager")
    with watch(model, metrics="means") as seen:
        model(x)
        model.eval()(x)
    assert seen.calls == 2
    assert seen.dataset().sizes["layer"] == 3


# --- what blocks return ------------------------------------------------------------------


class Odd(nn.Module):
    """A block that returns what it is told to."""

    def __init__(self, form):
        super().__init__()
        self.attn, self.form = nn.Linear(16, 16), form

    def forward(self, x):
        return self.form(
            self.attn(x if torch.is_tensor(x) else x[0] if isinstance(x, tuple) else x["hidden_states"])
        )


@pytest.mark.parametrize(
    "form",
    [lambda x: (x, None), lambda x: {"hidden_states": x, "other": x[:, :1]}, lambda x: [x]],
    ids=["tuple", "dict", "list"],
)
def test_tuples_and_mappings(form):
    model = nn.Sequential(Odd(lambda x: x), Odd(form))
    with watch(model) as seen:
        out = model(tokens())
    last = out["hidden_states"] if isinstance(out, dict) else out[0]
    same(seen.dataset().sel(tokens="all").isel(layer=slice(2, 3)), last.detach()[None])


REFUSED = {
    "nothing in it": (lambda x: (), "Pass state="),
    "several in a dict": (lambda x: {"a": x, "b": x}, "Pass state="),
    "packed": (lambda x: x.reshape(-1, 16), "packed"),
    "packed sequence": (lambda x: nn.utils.rnn.pack_sequence(list(x)), "pad_packed_sequence"),
    "integers": (lambda x: x.long(), "floating"),
    "four axes": (lambda x: x[None], "shape (1, 3, 7, 16)"),
    "sparse": (lambda x: x.to_sparse(), "sparse"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_outputs_are_refused_with_a_way_out(case):
    form, said = REFUSED[case]
    model = nn.Sequential(Odd(lambda x: x), Odd(form))
    with pytest.raises(LinsimError, match=r"expected .*\. ") as error, watch(model):
        model(tokens())
    assert said in str(error.value)


def test_a_function_takes_the_states_out():
    model = nn.Sequential(Odd(lambda x: x), Odd(lambda x: x[None]))
    with watch(model, state=lambda out: out.reshape(3, 7, 16)) as seen:
        out = model(tokens())
    same(seen.dataset().sel(tokens="all").isel(layer=slice(2, 3)), out.detach())


def test_packed_rows_are_refused_where_positions_tell():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = encoder(1)

        def forward(self, x, position_ids=None, cu_seqlens=None):
            return self.inner(x)

    model = Packed()
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    for given in ({"position_ids": positions}, {"cu_seqlens": torch.tensor([0, 3, 7])}):
        with pytest.raises(LinsimError, match="packed"), watch(model):
            model(tokens(b=1), **given)


# --- refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: watch(nn.Linear(3, 3)), "Name them: blocks="),
        (lambda: watch("model"), "torch.nn.Module"),
        (lambda: watch(nn.Transformer(8, 2, 2, 2, 8, batch_first=True)), "'encoder.layers.*' (2 blocks)"),
        (lambda: watch(encoder(), blocks="layer.*"), "nearest"),
        (lambda: watch(encoder(), blocks=nn.Conv2d), "no Conv2d"),
        (lambda: watch(encoder(), blocks=[nn.Linear(2, 2)]), "not part of the model"),
        (lambda: watch(encoder(), blocks=[]), "at least one"),
        (lambda: watch(encoder(), blocks=3), "names, modules or a class"),
        (lambda: watch(encoder(), metrics="cosinus"), "Did you mean 'cosine'"),
        (lambda: watch(encoder(), metrics="attention_entropy"), "No hook sees attention"),
        (lambda: watch(encoder(), every=0), "every"),
        (lambda: watch(encoder(), sample=-1), "sample"),
        (lambda: watch(encoder(), log="wandb"), "a function"),
        (lambda: watch(encoder(), state=3), "a function"),
        (lambda: watch(encoder(), mask="left"), "'auto'"),
        (lambda: watch(encoder(), mask=torch.ones(1, 1, 1)), "(batch, tokens)"),
        (lambda: watch(torch.compile(encoder(1), backend="eager")), "model._orig_mod"),
    ],
)
def test_bad_arguments_are_refused_before_work_starts(call, said):
    with pytest.raises(LinsimError) as error:
        call()
    assert said in str(error.value)


def test_a_mask_that_does_not_fit_is_refused():
    model = encoder()
    with pytest.raises(LinsimError, match=r"\(3, 7\), True for tokens"), watch(model, mask=torch.ones(3, 5)):
        model(tokens())


def test_nothing_seen_is_an_error_that_says_why():
    model = encoder()
    with pytest.raises(LinsimError, match="no forward pass"), watch(model):
        pass

    class Bypassed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = model.layers

        def forward(self, x):
            return x

    with pytest.raises(LinsimError, match="no block running"), watch(Bypassed()) as seen:
        seen._model(tokens())


# --- what is shown -----------------------------------------------------------------------


def test_table_and_figure():
    model = encoder()
    with watch(model) as seen:
        assert "0 calls" in repr(seen)
        model(tokens())
    lines = str(seen).splitlines()
    assert len(lines) == 3 + 4
    shown = [float(cell) for cell in lines[-1].replace("|", " ").split()[2:6]]
    ds = seen.dataset()
    for value, name in zip(shown, ("token_similarity", "hfc_lfc", "cosine", "effective_rank"), strict=True):
        assert value == pytest.approx(ds[name].sel(tokens="all", layer=3).mean().item(), rel=1e-3)
    figure = seen.plot("cosine", "log_cosine_gap")
    drawn = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, ds.log_cosine_gap.sel(tokens="all").mean("sequence"))
    assert [axes.get_title() for axes in seen.plot().axes] == list(linsim.torch._seen.SHOWN)
    with pytest.raises(LinsimError, match="metrics"):
        seen.plot("cosinus")


def test_metrics_of_ones_own_and_others_of_the_library():
    own = linsim.metrics.of_states("first", "first entry", lambda x: x[..., 0, 0])
    model, x = encoder(1), tokens()
    keep = ~padding(3, [7, 4, 2])
    with watch(model, metrics=[own, "clusters", "cosine"], mask=keep) as seen:
        model(x)
    ds = seen.dataset()
    expected = measure(by_hand(model, x).numpy(), [own, "clusters"], tokens=keep.numpy())
    for name in ("first", "clusters"):
        np.testing.assert_allclose(ds[name].sel(tokens="all"), expected[name], rtol=1e-5)
