"""Vision Transformers: those of timm, and stand-ins with stages and tokens on a grid, as they come."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402

from linsim.errors import LinsimError  # noqa: E402
from linsim.metrics import measure  # noqa: E402
from linsim.torch import watch  # noqa: E402

# said by timm of Python's and PyTorch's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.attn(x)


class Channels(Block):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x):
        return self.blocks(x)


def staged():
    """As in Swin: stages of blocks, and tokens (batch, height, width, features)."""
    torch.manual_seed(0)
    return nn.Sequential(Stage(), Stage())


def grid(b=2):
    return torch.randn(b, 4, 6, 4, generator=torch.Generator().manual_seed(1))


def test_stages_are_no_blocks():
    with pytest.raises(LinsimError, match=r"2 stacks: '0.blocks.\*' \(2 blocks\), '1.blocks.\*'") as error:
        watch(staged())
    remedy = str(error.value).rpartition("blocks=")[2].rstrip(".").strip("'")
    assert len(watch(staged(), blocks=remedy).blocks) == 2


@pytest.mark.parametrize("second", [False, True])
def test_tokens_on_a_grid_are_refused_with_what_flattens_them(second):
    model, x = staged(), grid()
    if second:  # (batch, features, height, width): blocks that turn it round
        model = nn.Sequential(Channels(), Channels())
        x = x.permute(0, 3, 1, 2)
    named = {} if second else {"blocks": "1.blocks.*"}
    with pytest.raises(LinsimError, match="on a grid") as error, watch(model, **named):
        model(x)
    said = str(error.value).partition("Pass state=")[2]
    remedies = [part.partition(" for ")[0] for part in said.split("or state=")]
    with watch(model, state=eval(remedies[second]), **named) as seen:
        out = model(x)
    expected = measure((out.flatten(2).mT if second else out.flatten(1, 2)).detach().numpy())
    found = seen.dataset().sel(tokens="all").isel(layer=-1)
    assert found.n_tokens.values.tolist() == [24, 24]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-6, atol=2e-6)


# --- timm --------------------------------------------------------------------------------
# It imports torchvision, of which an index may hold no build that fits PyTorch's for CPUs: `pytest -m full`
# in an environment that has both


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason="timm is not installed")


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "options", "tokens"),
    [
        ("vit_tiny_patch16_224", {"img_size": 48}, 1 + 9),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 42}, 1 + 4 + 9),
        ("deit_tiny_distilled_patch16_224", {"img_size": 48}, 2 + 9),
    ],
)
def test_vision_transformers_of_timm_are_recognised(timm, name, options, tokens):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, depth=3, **options).eval()
    x, states = torch.randn(2, 3, options["img_size"], options["img_size"]), []
    handles = [
        block.register_forward_hook(lambda module, args, out: states.append(out)) for block in model.blocks
    ]
    with torch.no_grad():
        before = model(x)
    for handle in handles:
        handle.remove()
    patches = torch.arange(tokens) >= tokens - 9  # without class token and registers
    for mask in (None, patches):
        with torch.no_grad(), watch(model, mask=mask) as seen:
            assert torch.equal(model(x), before)
        ds = seen.dataset()
        assert ds.block.values.tolist() == ["input", "blocks.0", "blocks.1", "blocks.2"]
        found = ds.sel(tokens="all").isel(layer=slice(1, None))
        keep = torch.ones(tokens, dtype=torch.bool) if mask is None else mask
        for metric, value in measure(torch.stack(states)[:, :, keep].numpy()).items():
            np.testing.assert_allclose(found[metric], value, rtol=2e-6, atol=2e-6, err_msg=metric)


@pytest.mark.full
def test_swin_is_measured_by_image_or_by_window(timm):
    torch.manual_seed(0)
    options = {"img_size": 56, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 2)}
    model = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **options).eval()
    x = torch.randn(2, 3, 56, 56)
    with pytest.raises(LinsimError, match=r"2 stacks: 'layers.0.blocks.\*'"):
        watch(model)

    def windows(x):
        b, h, w, d = x.shape
        return x.reshape(b, h // 7, 7, w // 7, 7, d).transpose(2, 3).reshape(-1, 49, d)

    for state, count, sequences in ((lambda x: x.flatten(1, 2), 196, 2), (windows, 49, 8)):
        with torch.no_grad(), watch(model, blocks="layers.0.blocks.*", state=state) as seen:
            model(x)
        ds = seen.dataset()
        assert ds.n_tokens.isel(sequence=0).values.tolist() == [count] * 3
        assert ds.sizes["sequence"] == sequences
