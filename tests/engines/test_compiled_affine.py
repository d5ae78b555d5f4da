"""Biases, token scales and attention beyond the simplex: the compiled ways say what whole arrays say."""

from __future__ import annotations

import numpy as np
import pytest
from test_parts import agree, by_arrays

import linsim
from linsim import Layered, Linear, MultiHead, attention, simulate
from linsim._engines import affine, lanes
from linsim._kernels import drive, layer

pytest.importorskip("numba")

N, D = 6, 5


def drawn():
    """Rules by name, each with a batch of two systems, and tokens."""
    rng = np.random.default_rng(8)
    A, B = (attention.softmax(N, 4, size=(2,), rng=k) for k in (1, 2))
    S = attention.doubly_stochastic(N, rng=3)
    grows = 0.2 * rng.standard_normal((2, D, D)) + 0.4 * np.eye(D)
    shrinks = 0.1 * rng.standard_normal((2, D, D)) - 0.6 * np.eye(D)
    many = 0.2 * rng.standard_normal((2, 3, D, D))
    heads = attention.softmax(N, 4, size=(2, 3), rng=4)
    row, scale = rng.standard_normal((2, D)), np.exp(0.4 * rng.standard_normal((2, N)))
    beyond = {
        "general": attention.general(0.3 * rng.standard_normal((2, N, N))),
        "centred": attention.centred(A),
        "laplacian": attention.laplacian(A),
        "differential": attention.differential(A, B, 0.3),
        "sigmoid": attention.sigmoid(rng.standard_normal((2, N, N))),
        "laplacian of equal columns": attention.laplacian(S),
    }
    rules = {
        "bias": Linear(A, grows, bias=row),
        "bias of one in two systems": Linear(A[0], shrinks[0], bias=row * [[0.0], [1.0]]),
        "bias that decides": Linear((np.eye(N) + A) / 2, shrinks, bias=row),
        "small bias": Linear(A, grows, bias=1e-30 * row),
        "large bias": Linear(A, shrinks, bias=1e30 * row),
        "scale": Linear(A, grows, scale=scale),
        "scale and bias": Linear(A, grows, scale=scale, bias=row),
        "heads with a bias": MultiHead(heads, many, bias=row),
        "heads with scales": MultiHead(heads, many, scale=scale, bias=row),
        "heads of equal sums": MultiHead(attention.general(np.eye(N) - heads), many, bias=row),
        "layers of all kinds": Layered(
            [MultiHead(heads, many, bias=row if k % 3 else None) for k in range(12)]
        ),
        "layers with scales": Layered(
            [Linear(A, grows, bias=row if k % 2 else None, scale=scale**k) for k in range(12)]
        ),
    }
    for name, M in beyond.items():
        rules[name] = Linear(M, grows)
        rules[f"{name}, driven"] = Linear(M, shrinks, bias=row)
    return rules, rng.standard_normal((2, N, D))


RULES, X0 = drawn()


@pytest.mark.sample(2)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RULES)
def test_all_metrics_say_what_whole_arrays_say(name, dtype, monkeypatch):
    options = {"layers": [0, 1, 2, 5, 12], "dtype": dtype, "resolution": 1e300}
    found = simulate(RULES[name], X0, 12, method="parts", **options)
    expected = by_arrays(monkeypatch, RULES[name], X0, 12, **options)
    assert set(found.info.methods.ravel()) == {"parts"}
    assert np.array_equal(found.info.split, expected.info.split)
    agree(found, expected, dtype)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("method", "dtype"), [("lanes", "float64"), ("lanes", "float32"), ("bands", "float64")]
)
@pytest.mark.parametrize("name", RULES)
def test_plain_metrics_say_what_whole_arrays_say(name, method, dtype, monkeypatch):
    options = {"layers": [0, 1, 2, 5, 12], "dtype": dtype, "metrics": lanes.METRICS, "resolution": 1e300}
    found = simulate(RULES[name], X0, 12, method=method, **options)
    expected = by_arrays(monkeypatch, RULES[name], X0, 12, **options)
    assert set(found.info.methods.ravel()) == {method}
    for metric in lanes.METRICS:
        a, b = found.metrics[metric], expected.metrics[metric]
        off_a, off_b = found.errors[metric], expected.errors[metric]
        size = 16 * np.finfo(dtype).eps * np.maximum(1, np.abs(b))
        assert np.all(np.abs(a - b) <= off_a + off_b + size), metric
        # errors are bounded here and measured there; in single precision samples tell them far closer
        if dtype == "float64":
            assert np.median(off_a) <= 8 * np.median(off_b) + size.max(), metric


@pytest.mark.parametrize("name", RULES)
def test_what_the_plain_way_hides_is_measured_again(name, monkeypatch):
    """A run that is asked for nothing but plain metrics withholds nothing that whole arrays know."""
    options = {"layers": [1, 12], "metrics": lanes.METRICS}
    found = simulate(RULES[name], X0, 12, **options)
    expected = by_arrays(monkeypatch, RULES[name], X0, 12, **options)
    assert "iterate" not in found.info.methods
    for metric in lanes.METRICS:
        assert not np.any(np.isnan(found.metrics[metric]) & ~np.isnan(expected.metrics[metric])), metric


@pytest.mark.parametrize("depth", [layer.SIGNED, layer.SIGNED + 1])
def test_errors_grow_as_signed_attention_lets_them(depth):
    """The probe is compressed up to a depth, and whole beyond: either bounds what rounding becomes."""
    rng = np.random.default_rng(5)
    n = d = 24
    A, H, x0 = (rng.standard_normal((6, *shape)).astype("float32") for shape in ((n, n), (d, d), (n, d)))
    rule = Linear(attention.general(A / np.float32(n**0.5)), H / np.float32(d**0.5))
    options = {"layers": [1, 8, depth], "metrics": lanes.METRICS, "resolution": 1e300}
    rough = simulate(rule, x0, depth, method="lanes", **options)
    exact = simulate(rule, x0, depth, method="parts", dtype="float64", **options)
    for metric in lanes.METRICS:
        off = np.abs(rough.metrics[metric] - exact.metrics[metric])
        assert np.all(off <= rough.errors[metric] + exact.errors[metric] + 1e-6), metric


def test_biases_of_any_size_one_after_the_other():
    """The scale of the mean follows what is added, from 1e-200 to 1e200 and back."""
    A, H = attention.softmax(5, 4, rng=1), 0.1 * np.random.default_rng(2).standard_normal((3, 3))
    sizes = [1e-200, 1.0, 1e200, 0.0, 1e-200, 1e200]
    rules = [Linear(A, H, bias=size * np.array([1.0, -2.0, 0.5])) for size in sizes]
    x0 = 1e-200 * np.random.default_rng(3).standard_normal((5, 3))
    layers = range(len(sizes) + 1)
    ways = {
        method: simulate(Layered(rules), x0, len(sizes), layers=layers, method=method, metrics=lanes.METRICS)
        for method in ("lanes", "bands", "parts", "iterate")
    }
    for metric in lanes.METRICS:
        for method in ("lanes", "bands", "parts"):
            np.testing.assert_allclose(
                ways[method].metrics[metric], ways["iterate"].metrics[metric], rtol=1e-10, atol=1e-12,
                err_msg=f"{metric} by {method}",
            )  # fmt: skip


def test_a_system_does_not_see_its_batch():
    for method in ("lanes", "bands", "parts"):
        for name in ("scale and bias", "layers with scales", "heads of equal sums", "general, driven"):
            rule = RULES[name]
            both = simulate(rule, X0, 12, method=method, metrics=lanes.METRICS)
            alone = simulate(_system(rule, 1), X0[1], 12, method=method, metrics=lanes.METRICS)
            for metric in lanes.METRICS:
                np.testing.assert_array_equal(both.metrics[metric][1], alone.metrics[metric], err_msg=name)


def _system(rule, k):
    if isinstance(rule, Layered):
        return Layered([_system(one, k) for one in rule.rules])
    own = {name: None if x is None else x[k] for name, x in ((n, getattr(rule, n)) for n in rule.held)}
    A, H = own.pop("A"), own.pop("H")
    return type(rule)(attention.general(A) if rule.general else A, H, **own)


def test_engines_say_that_they_take_them():
    for rule in RULES.values():
        offers = {offer.name: offer.obstacle for offer in linsim.engines(rule, 12, x0=X0).offers}
        assert offers["parts"] == ""
    plain = linsim.engines(RULES["scale and bias"], 12, x0=X0, metrics="plain")
    assert {offer.name: offer.obstacle for offer in plain.offers}["lanes"] == ""


def test_a_bias_as_the_kernels_take_it():
    rows = [np.array([[[3.0, -0.25]]]), np.zeros((2, 1, 2))]
    packed, sizes = affine.packed_drive(rows, 2, "float64")
    np.testing.assert_array_equal(packed[:, 0, :2], [[1.5, -0.125]] * 2)
    np.testing.assert_allclose(sizes[:, 0], [[1.0, np.log2(np.hypot(3, 0.25))]] * 2)
    assert np.all(sizes[:, 1] == layer.ABSENT)
    assert not packed[:, 1].any()
    assert not packed[..., 2:].any()


def test_bounds_on_what_a_layer_reaches():
    """``reach`` is at least ||A|| ||H||, whatever the signs of A."""
    for k in range(20):
        rng = np.random.default_rng(k)
        A, H = rng.standard_normal((7, 7)), rng.standard_normal((5, 5))
        assert drive.reach(A, H) >= np.linalg.norm(A, 2) * np.linalg.norm(H, 2)
