"""How hidden states are measured: sums or differences, one reduction or two, kernel or LAPACK: one number."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from linsim.metrics import measure  # noqa: E402
from linsim.torch import _gram  # noqa: E402
from linsim.torch._differences import by_differences  # noqa: E402
from linsim.torch._gram import gram_of, with_and_without_first  # noqa: E402
from linsim.torch._measure import MEANS, PAIRS, RANKS, measured  # noqa: E402
from linsim.torch._ranks import _GRAM  # noqa: E402
from linsim.torch._sums import by_sums  # noqa: E402

FOURTEEN = (*MEANS, *PAIRS, *RANKS)
EPS = 2.0**-52


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def rows(kind, b=9, n=40, d=60):
    x = random(b, n, d)
    return {
        "random": x,
        "graded": x * torch.logspace(0, -7, n, dtype=torch.float64)[:, None],
        "of rank three": x[:, :, :3] @ random(b, 3, d),
        "a sink": x * torch.where(torch.arange(n) == 0, 1e5, 1.0)[:, None],
        "with rows of zeros": x * (torch.arange(n) % 3 > 0)[:, None],
        "zero": x * 0,
        "one token": x[:, :1],
        "two tokens": x[:, :2],
    }[kind]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "kind",
    ["random", "graded", "of rank three", "a sink", "with rows of zeros", "zero", "one token", "two tokens"],
)
def test_one_reduction_has_the_eigenvalues_of_both_matrices(kind, compiled, monkeypatch):
    monkeypatch.setattr(_gram, "ready", lambda group, dtype: compiled)
    X = rows(kind)
    G = gram_of(X)
    b, n, d = X.shape
    squares = torch.linalg.vecdot(X, X)
    # a sum of d products, and each rounded
    rounding = d * EPS * (squares[:, :, None] * squares[:, None, :]).sqrt()
    assert ((G - X @ X.mT).abs() <= rounding).all()
    expected = np.zeros((2, b, n))
    expected[0] = np.linalg.eigvalsh(G.numpy())[:, ::-1]
    expected[1, :, : n - 1] = np.linalg.eigvalsh(G[:, 1:, 1:].numpy())[:, ::-1]
    found = with_and_without_first(G.clone()).reshape(2, b, n).numpy()
    # what a sequence is trusted for, with the same for the other way
    for one, other, top in zip(found, expected, expected[:, :, :1], strict=True):
        # without the first row the error is that of the reduction of the whole
        assert (np.abs(one - other) <= 2 * _GRAM * np.maximum(top, expected[0][:, :1])).all()


def test_devices_and_types_without_such_a_reduction_take_two():
    G = gram_of(rows("random")).float()
    found = with_and_without_first(G.clone()).double()
    wide = with_and_without_first(G.double())
    assert ((found - wide).abs() <= 40 * 2.0**-23 * wide[:, :1]).all()


@pytest.mark.parametrize("masked", [False, True])
def test_sums_and_differences_agree_where_sums_say_they_are_enough(masked):
    apart = torch.logspace(0, -7, 15, dtype=torch.float64)[:, None, None]
    X = 1 + apart * random(15, 12, 8)
    keep = torch.arange(12) < torch.arange(15).remainder(5)[:, None] + 6 if masked else None
    if keep is not None:
        X = X * keep[..., None]
    given = X, torch.linalg.vecdot(X, X), X @ X.mT, keep
    found, sure = by_sums(*given, True)
    expected = by_differences(*given)
    assert sure[:3].all()
    assert not sure[9:].any()
    assert set(found) == set(expected) == {*MEANS, *PAIRS}
    for name, value in found.items():
        torch.testing.assert_close(value[:, sure], expected[name][:, sure], rtol=1e-6, atol=1e-7)
    # and where they do not say so they are not
    wrong = (found["log_token_diversity"] - expected["log_token_diversity"]).abs().amax(dim=0)
    assert (wrong[-1] > 1e-4) | ~torch.isfinite(wrong[-1])


@pytest.mark.parametrize("masked", [False, True])
def test_sequences_of_one_batch_do_not_meet(masked):
    same, plain = torch.ones(1, 6, 9, dtype=torch.float64), random(1, 6, 9)
    X = torch.cat([plain, same, same + 1e-6 * plain, same + 1e-11 * plain, 0 * same, plain])
    X[5, 2] *= 1e6
    keep = torch.arange(6) != torch.tensor([1, 1, 2, 3, 3, 4])[:, None] if masked else None
    found = measured(X, keep, FOURTEEN)
    usable = [0, 1, 2, 3, 5]
    for row, without in enumerate((False, True)):
        kept = torch.ones(6, 6, dtype=torch.bool) if keep is None else keep.clone()
        if without:
            kept[torch.arange(6), found["largest_token"]] = False
        expected = measure(X[usable].numpy(), tokens=kept[usable].numpy())
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][row, usable], value, rtol=2e-6, atol=2e-6, err_msg=name)
            assert torch.isnan(found[name][row, 4])
