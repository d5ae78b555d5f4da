"""One exact step: what each part of a layer does, from the definitions of the metrics alone."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import Layered, Linear, MultiHead, attention, simulate
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError
from linsim.metrics import measure
from linsim.theory import step
from linsim.theory.one_step import MEASURED

RNG = np.random.default_rng(5)
A = np.stack([attention.softmax(5, 4, rng=k) for k in range(3)])
H = RNG.normal(size=(3, 4, 4)) / 4
X = RNG.normal(size=(5, 4))
ROW, FACTORS = RNG.normal(size=4), RNG.uniform(0.5, 2, 5)
HEADS = MultiHead(A, H, bias=ROW, scale=FACTORS)


def by_hand(*terms):
    """Change of every metric by linsim.metrics, which shares nothing with linsim.theory."""
    before, after = measure(X), measure(X + sum(terms))
    return {name: after[name] - before[name] for name in MEASURED}


def same(found, expected):
    for name in MEASURED:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-12, err_msg=name)


def test_the_change_is_that_of_the_layer():
    parts = [A[k] * FACTORS @ X @ H[k] for k in range(3)]
    found = step(HEADS, X)
    same(found.change, by_hand(*parts, ROW))
    same(found.alone["head 1"], by_hand(parts[1]))
    same(found.alone["bias"], by_hand(np.tile(ROW, (5, 1))))
    same(found.without["head 1"], by_hand(parts[0], parts[2], ROW))
    same(found.without["bias"], by_hand(*parts))
    same(found.without["scale"], by_hand(*(A[k] @ X @ H[k] * FACTORS.mean() for k in range(3)), ROW))
    run = simulate(HEADS, X, 1)
    for name in MEASURED:
        np.testing.assert_allclose(found.after[name], run.metrics[name][1], atol=1e-11, err_msg=name)


def test_shares_are_what_a_part_adds_to_the_others():
    found = step(HEADS, X)
    shares = found.share("log_hfc_lfc")
    assert set(shares) == {"head 0", "head 1", "head 2", "bias", "scale"}
    expected = found.change["log_hfc_lfc"] - found.without["bias"]["log_hfc_lfc"]
    assert shares["bias"] == expected
    with pytest.raises(InvalidValueError, match="log_hfc_lfc"):
        found.share("log_hfc")


@pytest.mark.parametrize("build", [lambda a: a, attention.centred, attention.sigmoid])
def test_modes_add_up_to_the_layer(build):
    rule = Linear(build(A[0]), H[0], bias=ROW)
    by_modes, whole = step(rule, X, by="modes"), step(rule, X)
    same(by_modes.change, whole.change)
    values = np.linalg.eigvals(np.asarray(build(A[0])))
    pairs = np.sum(values.imag > 1e-12)
    assert len(by_modes.alone) == len(values) - pairs + 1  # with the bias


def test_the_constant_mode_adds_to_what_tokens_share():
    rule = Linear(attention.doubly_stochastic(5, rng=1), H[0])
    found = step(rule, X, by="modes")
    mean = X.mean(axis=0) @ H[0]
    same(found.alone["lambda = 1"], by_hand(np.tile(mean, (5, 1))))


def test_batches_layers_and_one_of_many():
    batch = np.stack([X, X[::-1], 2 * X])
    found = step(Linear(A[0], H[0]), batch)
    assert found.change["cosine"].shape == (3,)
    np.testing.assert_allclose(
        found.change["cosine"][2], step(Linear(A[0], H[0]), X).change["cosine"], atol=1e-12
    )
    layered = Layered([Linear(A[0], H[0]), Linear(A[1], H[1], bias=ROW)])
    same(step(layered, X, layer=1).change, step(Linear(A[1], H[1], bias=ROW), X).change)
    assert "bias" in str(step(layered, X, layer=1))
    assert "3 systems" in str(found)


def test_equal_tokens_have_no_gap_to_change():
    found = step(Linear(A[0], H[0]), np.ones((5, 4)))
    gaps = ("token_diversity", "hfc_lfc", "cosine_gap", "abs_cosine_gap", "effective_rank_gap", "rank_gap")
    for part in (found.change, found.alone["head 0"], found.without["head 0"]):
        assert np.isnan([part[f"log_{gap}"] for gap in gaps]).all()
    np.testing.assert_allclose(found.change["token_similarity"], 0, atol=1e-15)
    # attention whose rows have different sums tells them apart: that is a change
    apart = Linear(attention.general(np.diag(np.arange(5.0))), np.eye(4))
    assert step(apart, np.ones((5, 4))).change["log_token_diversity"] == np.inf


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: step(A[0], X), InvalidTypeError, "Linear"),
        (lambda: step(linsim.Block(A[0]), X), NotCoveredError, "simulate"),
        (lambda: step(HEADS, X[:, :3]), ShapeError, "x0"),
        (lambda: step(HEADS, 0 * X), InvalidValueError, "all-zero"),
        (lambda: step(Layered([HEADS]), X, layer=1), InvalidValueError, "layer"),
        (lambda: step(HEADS, X, by="mode"), InvalidValueError, "modes"),
        (lambda: step(HEADS, X, by="modes"), NotCoveredError, "heads"),
        (
            lambda: step(Linear(np.tri(5) / np.arange(1, 6)[:, None], H[0]), X, layer=-1),
            InvalidValueError,
            "layer",
        ),
    ],
)
def test_bad_input_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
