"""Strategies that draw what they promise, and a search that refutes false claims and no others."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError

import hypothesis
import numpy as np
import pytest
import sympy
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import linsim
from linsim import testing
from linsim._eigen import perron_vector
from linsim.errors import (
    ClaimError,
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    LinsimError,
    ShapeError,
)
from linsim.testing import Refuted, Supported, System, falsify

EPS = np.finfo(float).eps
ATTENTION = (
    "general",
    "symmetric",
    "reversible",
    "circulant",
    "near_permutation",
    "near_reducible",
    "causal",
    "masked",
)
WEIGHTS = ("normal", "integer", "nonnormal", "complex", "defective")
TOKENS = ("generic", "aligned", "invariant")


def drawn(strategy, count=120):
    """Values of a strategy, always the same ones."""
    values = []

    @hypothesis.seed(5)
    @settings(
        max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def collect(value):
        values.append(value)

    collect()
    return values


def simplest(strategy, condition=lambda value: True):
    options = settings(max_examples=2000, database=None, derandomize=True)
    return hypothesis.find(strategy, condition, settings=options)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run in an empty directory, where counterexamples go by default."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- attention -------------------------------------------------------------------------


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_of_every_kind(kind):
    matrices = drawn(testing.attention_matrices((2, 5), kinds=kind))
    assert {len(A) for A in matrices} == {2, 3, 4, 5}
    for A in matrices:
        n = len(A)
        assert A.shape == (n, n)
        assert A.dtype == np.float64
        assert np.abs(A.sum(axis=1) - 1).max() <= n * EPS
        assert (A >= 0).all()
        assert (A > 0).all() or kind in ("causal", "masked")
        np.testing.assert_array_equal(linsim.Linear(A, np.eye(1)).A, A)  # taken as it is
        pi = perron_vector(A[None])[0][0]
        if kind == "symmetric":
            assert (A == A.T).all()
            assert np.abs(A.sum(axis=0) - 1).max() <= n * EPS
        if kind == "reversible":
            flow = pi[:, None] * A
            np.testing.assert_allclose(flow, flow.T, rtol=1e-13)
        if kind == "circulant":
            assert all((A[i] == np.roll(A[0], i)).all() for i in range(n))
        if kind == "near_permutation":
            assert (A.max(axis=1) > 0.45).all()
            assert sorted(A.argmax(axis=1)) == list(range(n))
        if kind == "causal":
            assert (np.tril(A) == A).all()
            assert (A[np.tril_indices(n)] > 0).all()
        if kind == "masked":
            assert (np.linalg.matrix_power(A, 2 * n) > 0).all()  # irreducible and aperiodic


def test_attention_reaches_what_theory_turns_on():
    spectra = {
        kind: [np.linalg.eigvals(A) for A in drawn(testing.attention_matrices(kinds=kind))]
        for kind in ATTENTION
    }
    for kind in ("general", "circulant", "near_permutation", "masked"):
        assert np.mean([np.abs(lam.imag).max() > 1e-6 for lam in spectra[kind]]) > 0.25, kind
    for kind in ("symmetric", "reversible", "causal"):
        assert max(np.abs(lam.imag).max() for lam in spectra[kind]) < 1e-6
    assert min(lam.real.min() for lam in spectra["symmetric"]) < -0.5
    assert max(np.sort(np.abs(lam))[-2] for lam in spectra["near_reducible"]) > 0.999
    masked = drawn(testing.attention_matrices(kinds="masked"))
    assert any((A == 0).any() for A in masked)


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_shrinks_to_two_equal_tokens(kind):
    A = simplest(testing.attention_matrices(kinds=kind))
    assert A.shape == (2, 2)
    if kind not in ("near_permutation", "near_reducible", "circulant", "causal"):
        assert (A == 0.5).all()


def test_a_wanted_property_shrinks_to_a_readable_matrix():
    A = simplest(testing.attention_matrices(), lambda A: np.abs(np.linalg.eigvals(A).imag).max() > 0.3)
    assert len(A) == 3
    scores = A / A.min(axis=1, keepdims=True) if A.min() > 0 else A * 12
    np.testing.assert_allclose(scores, np.round(scores), atol=1e-9)


# --- weights ---------------------------------------------------------------------------


def exact(M):
    return sympy.Matrix([[sympy.Rational(float(x)) for x in row] for row in M])


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_of_every_kind(kind):
    matrices = drawn(testing.weight_matrices((1 if kind in WEIGHTS[:2] else 2, 4), kinds=kind))
    assert {len(H) for H in matrices} >= {2, 3, 4}
    for H in matrices:
        d = len(H)
        assert H.shape == (d, d)
        assert H.dtype == np.float64
        assert np.isfinite(H).all()
        mu = np.linalg.eigvals(H)
        if kind != "integer":
            assert np.abs(mu.real).max() < 6.1
        if kind == "normal":
            assert (H == H.T).all()
            np.testing.assert_allclose(np.sort(mu.real) * 8, np.round(np.sort(mu.real) * 8), atol=1e-9)
        if kind == "integer":
            assert (np.round(H) == H).all()
        if kind == "complex":
            assert np.abs(mu.imag).max() > 0.1
            assert sum(mu).imag == 0


def test_defective_weights_are_exactly_defective():
    sheared = 0
    for H in drawn(testing.weight_matrices((2, 3), kinds="defective"), 25):
        M = exact(H)
        assert not M.is_diagonalizable()
        assert all(root.is_rational and abs(root) <= 6 for root in M.eigenvals())
        sheared += bool(np.tril(H, -1).any())
    assert sheared > 3  # not only in the standard basis


def test_defective_weights_near_a_point_that_no_fraction_meets():
    point = -2 / 1.3
    for H in drawn(testing.weight_matrices(2, kinds="defective", near=point), 25):
        assert not exact(H).is_diagonalizable()
        assert H[0, 0] == H[1, 1]


def test_near_places_eigenvalues_on_and_beside_the_points():
    points = (-2.5, 0.0, -2 / 1.3)
    seen = set()
    for H in drawn(testing.weight_matrices(1, near=points), 300):
        k = int(np.argmin([abs(H[0, 0] - p) for p in points]))
        distance = H[0, 0] - points[k]
        if distance == 0:
            seen.add((k, 0))
            continue
        power = round(math.log10(abs(distance)))
        assert 0.949 <= abs(distance) / 10.0**power <= 1.051
        assert -6 <= power <= -1
        seen.add((k, power if distance > 0 else -power))
    assert {side for k, side in seen} == set(range(-6, 7))
    assert {k for k, _ in seen} == {0, 1, 2}
    for kind in ("normal", "nonnormal", "complex", "defective"):
        for H in drawn(testing.weight_matrices((2, 3), kinds=kind, near=5), 30):
            loose = 0.1001 if kind != "defective" else 0.11
            assert np.abs(np.linalg.eigvals(H).real - 5).min() < loose


def test_condition_bounds_the_basis():
    # H = S diag(mu) S⁻¹ with eigenvalue condition numbers below cond(S)
    def worst(condition):
        matrices = drawn(testing.weight_matrices((2, 3), kinds="nonnormal", condition=condition), 300)
        found = [1.0]
        for H in matrices:
            mu, right = np.linalg.eig(H)
            if np.abs(np.subtract.outer(mu, mu) + np.eye(len(mu))).min() > 1e-6:
                left = np.linalg.inv(right)
                found.append(float((np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=0)).max()))
        return max(found)

    assert worst(1) == pytest.approx(1)
    assert 1.02 < worst(1.5) < 1.5
    assert 10 < worst(1000) < 1000
    assert all(
        (np.diag(np.diag(H)) == H).all()
        for H in drawn(testing.weight_matrices(2, kinds="nonnormal", condition=1))
    )


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("kind", "H"),
    [
        ("normal", [[0]]),
        ("integer", [[0]]),
        ("nonnormal", [[0, 0], [0, 0]]),
        ("complex", [[0, 1], [-1, 0]]),
        ("defective", [[0, 1], [0, 0]]),
    ],
)
def test_weights_shrink_to_whole_numbers(kind, H):
    np.testing.assert_array_equal(simplest(testing.weight_matrices(kinds=kind)), H)


# --- tokens ----------------------------------------------------------------------------


def test_tokens_of_every_kind():
    A = np.array([[0.25, 0.75], [0.5, 0.5]])
    H = np.array([[1.0, 1.0], [0.0, -2.0]])
    for kind in TOKENS:
        for x0 in drawn(testing.token_matrices(2, 2, A=A, H=H, kinds=kind), 60):
            assert x0.shape == (2, 2)
            assert x0.dtype == np.float64
            assert x0.any()
            assert (x0 == np.round(x0)).all()  # this A and H have modes in whole numbers
            rank = np.linalg.matrix_rank(np.stack([x0.ravel(), (A @ x0 @ H).ravel()]))
            assert kind != "aligned" or rank == 1
    modes = {x0.tobytes() for x0 in drawn(testing.token_matrices(2, 2, A=A, H=H, kinds="aligned"), 60)}
    assert len(modes) == 4


def test_real_parts_of_complex_modes_stay_in_a_plane():
    for system in drawn(
        testing.systems((3, 4), 2, attention="circulant", weights="normal", tokens="aligned")
    ):
        A, H, x = system.A, system.H, system.x0
        powers = [x, A @ x @ H, A @ A @ x @ H @ H]
        scale = np.abs(powers[0]).max() + np.abs(powers[1]).max() + np.abs(powers[2]).max()
        values = np.linalg.svd(np.stack([p.ravel() / scale for p in powers]), compute_uv=False)
        assert values[2] < 1e-9


def test_invariant_tokens_stay_in_their_subspace():
    spaces = set()
    for system in drawn(testing.systems(tokens="invariant", attention="general")):
        pi = perron_vector(system.A[None])[0][0]
        equal = (system.x0 == system.x0[0]).all()
        silent = np.abs(pi @ system.x0).max() < 1e-12 * np.abs(system.x0).max()
        spaces.add("equal" if equal else "silent" if silent else "modes")
        assert not (equal and silent)
    assert spaces == {"equal", "silent", "modes"}


def test_tokens_without_matrices():
    assert simplest(testing.token_matrices(3, 2)).tolist() == [[1, 0], [0, 1], [0, 0]]
    rows = drawn(testing.token_matrices((2, 4), (1, 2), kinds="invariant"), 40)
    assert all((x == x[0]).all() for x in rows)
    assert {x.shape for x in rows} == {(n, d) for n in (2, 3, 4) for d in (1, 2)}


# --- systems ---------------------------------------------------------------------------


def test_systems_are_valid_and_varied():
    found = drawn(testing.systems(), 400)
    assert {(s.n, s.d) for s in found} == {(n, d) for n in (2, 3, 4) for d in (1, 2, 3)}
    assert any(np.iscomplexobj(s.lam) and np.iscomplexobj(s.mu) for s in found)
    # on the boundary and on both sides of it, and not by accident
    gaps = [s.generic_law.margin for s in found]
    assert sum(abs(g) < 1e-12 for g in gaps) > 5
    assert sum(1e-12 < g < 1e-3 for g in gaps) > 2
    assert sum(1e-12 < -g < 1e-3 for g in gaps) > 2


def test_systems_take_sizes_and_kinds():
    for system in drawn(
        testing.systems(3, 2, attention="symmetric", weights=["normal"], tokens="generic"), 20
    ):
        assert (system.n, system.d) == (3, 2)
        assert (system.A == system.A.T).all()
        assert (system.H == system.H.T).all()
    assert simplest(testing.systems()) == System([[0.5, 0.5], [0.5, 0.5]], [[0]], [[1], [0]])


def test_a_system_is_what_it_was_built_from():
    system = System(A=[[1, 2**-40], [0.5, 0.5]], H=[[0.1, 2], [3, -0.0]], x0=[[1, 2], [3, 4]])
    again = eval(repr(system), {"System": System})
    assert again == system
    assert hash(again) == hash(system)
    for name in ("A", "H", "x0"):
        M = getattr(system, name)
        assert M.tobytes() == getattr(again, name).tobytes()
        assert M.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            M[0, 0] = 7
        with pytest.raises(FrozenInstanceError):
            setattr(system, name, M)
    assert system != System(A=system.A, H=system.H, x0=[[1, 2], [3, 5]])
    assert system != System(A=np.eye(3), H=[[1]], x0=np.ones((3, 1)))
    assert system != "system"
    x0 = np.ones((2, 2))
    copied = System(system.A, system.H, x0)
    x0[:] = 9
    assert (copied.x0 == 1).all()
    single = System(
        np.array([[0.1, 0.9], [0.3, 0.7]], dtype=np.float32), np.eye(1, dtype=np.float32), [[1], [0]]
    )
    assert np.abs(single.A.sum(axis=1) - 1).max() < 4 * EPS


def test_a_system_knows_its_law_and_runs():
    system = System(A=[[0.25, 0.75], [0.75, 0.25]], H=[[0, 1], [-1, 0]], x0=[[1, 1], [1, 1]])
    np.testing.assert_allclose(system.lam, [1, -0.5], atol=1e-15)
    assert not np.iscomplexobj(system.lam)
    np.testing.assert_allclose(system.mu, [-1j, 1j])
    assert isinstance(system.rule, linsim.Linear)
    assert system.law is system.law
    assert system.law.rates["rank_gap"] == 0 != system.generic_law.rates["rank_gap"]
    run = system.run(5, layers=[5], metrics=["log_norm"])
    assert run.layers.tolist() == [5]
    assert run.metrics["log_norm"][0] == pytest.approx(math.log(2) + 2.5 * math.log(2))


def test_what_a_system_refuses():
    good = {"A": np.eye(2), "H": np.eye(1), "x0": np.ones((2, 1))}
    cases = [
        (
            {"A": np.ones((2, 2))},
            InvalidValueError,
            r"A: found a row that sums to 1 \+ 1; expected rows that",
        ),
        ({"A": [[0.5, 0.5]]}, ShapeError, r"A: found shape \(1, 2\)"),
        ({"H": [[np.nan]]}, InvalidValueError, "H: found NaN or infinity"),
        ({"H": "text"}, InvalidTypeError, "H: found str"),
        ({"A": np.stack([np.eye(2)] * 3)}, ShapeError, r"A: found shape \(3, 2, 2\); expected one matrix"),
        ({"H": np.ones((2, 1, 1))}, ShapeError, r"H: found shape \(2, 1, 1\); expected one matrix"),
        ({"x0": np.ones((1, 2, 1))}, ShapeError, r"x0: found shape \(1, 2, 1\); expected one matrix"),
        ({"x0": np.ones((2, 2))}, ShapeError, r"x0: found shape \(2, 2\); expected shape \(2, 1\) to fit"),
        ({"x0": np.zeros((2, 1))}, InvalidValueError, "x0: found all zeros"),
        ({"x0": [[np.inf], [1]]}, InvalidValueError, "x0: found NaN or infinity"),
    ]
    for changed, kind, message in cases:
        with pytest.raises(kind, match=message):
            System(**{**good, **changed})


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: testing.attention_matrices(1), InvalidValueError, "n: found 1; expected an integer >= 2"),
        (lambda: testing.attention_matrices((4, 2)), InvalidValueError, r"n: found \(4, 2\); expected the"),
        (lambda: testing.attention_matrices((2, 3, 4)), InvalidValueError, "n: found 3 numbers"),
        (lambda: testing.attention_matrices(True), InvalidTypeError, "n: found True"),
        (lambda: testing.attention_matrices(2.0), InvalidTypeError, "n: found 2.0"),
        (lambda: testing.attention_matrices(kinds="symetric"), InvalidValueError, "mean 'symmetric'"),
        (lambda: testing.attention_matrices(kinds=[]), InvalidValueError, "kinds: found no kind"),
        (lambda: testing.attention_matrices(kinds=3), InvalidValueError, "kinds: found 3"),
        (lambda: testing.weight_matrices(0), InvalidValueError, "d: found 0"),
        (
            lambda: testing.weight_matrices(1, kinds="complex"),
            InvalidValueError,
            "'complex' with d = 1; .*d >= 2",
        ),
        (lambda: testing.weight_matrices(kinds="integer", near=0), InvalidValueError, "'integer' with near"),
        (lambda: testing.weight_matrices(near="0"), InvalidTypeError, "near: found '0'"),
        (lambda: testing.weight_matrices(near=[0, np.inf]), InvalidValueError, "near: found inf"),
        (lambda: testing.weight_matrices(near=[]), InvalidTypeError, "near: found no point"),
        (lambda: testing.weight_matrices(condition=0.5), InvalidValueError, "condition: found 0.5"),
        (lambda: testing.token_matrices(2, 1, kinds="aligned"), InvalidValueError, "'aligned' without A"),
        (
            lambda: testing.token_matrices(2, 1, A=np.eye(3)),
            ShapeError,
            r"A: found shape \(3, 3\); .* \(2, 2\)",
        ),
        (lambda: testing.token_matrices((2, 3), 1, A=np.eye(3)), ShapeError, r"\(2 to 3, 2 to 3\)"),
        (lambda: testing.token_matrices(2, 1, A=np.ones((2, 2))), InvalidValueError, "A: found a row"),
        (lambda: testing.systems(d=1, weights="defective"), InvalidValueError, "weights: found 'defective'"),
        (lambda: testing.systems(attention="x"), InvalidValueError, "attention: found 'x'"),
        (lambda: testing.systems(tokens="x"), InvalidValueError, "tokens: found 'x'"),
        (lambda: testing.systems(condition=0), InvalidValueError, "condition: found 0"),
    ],
)
def test_what_strategies_refuse(call, kind, message):
    """At once, not when the first example is drawn."""
    with pytest.raises(kind, match=message):
        call()


# --- falsify ---------------------------------------------------------------------------

ONE = testing.systems(2, 1, attention="symmetric", weights="normal", tokens="generic")


def few_tokens(system):
    return system.n < 3


def test_a_true_claim_is_supported(here):
    def rows_sum_to_one(system):
        return np.abs(system.A.sum(axis=1) - 1).max() < 1e-12  # np.bool

    result = falsify(rows_sum_to_one, testing.systems(), max_examples=60)
    assert result == Supported(60, None, None, "rows_sum_to_one")
    assert str(result) == "No counterexample to rows_sum_to_one in 60 systems."
    assert list(here.glob("*.json")) == list(here.glob("linsim*")) == []


def test_a_false_claim_is_refuted_minimally(here):
    result = falsify(few_tokens, testing.systems(weights="normal"), max_examples=200)
    assert isinstance(result, Refuted)
    system = result.system
    assert (system.n, system.d) == (3, 1)
    assert system.H.tolist() == [[0]]
    assert system.x0.tolist() == [[1], [0], [0]]
    np.testing.assert_array_equal(system.A, np.full((3, 3), 1 / 3))
    assert 1 <= result.tried <= 20
    assert result.margin is None
    assert result.claim == "few_tokens"
    assert re.fullmatch(r"linsim-counterexamples/few_tokens-[0-9a-f]{8}\.json", str(result.path))
    text = str(result)
    assert text.startswith("few_tokens is false: refuted after ")
    assert repr(system) in text
    assert str(result.path) in text
    assert "\n" not in text


def test_margins(here):
    several = testing.systems((2, 3), weights="normal", tokens="generic")

    def above(system):
        return float(system.mu.min() + 8)

    supported = falsify(above, several, max_examples=200)
    assert isinstance(supported, Supported)
    assert supported.margin == above(supported.system) <= 3  # eigenvalues lie above -6.1
    assert f"tightest margin was {supported.margin:.6g}, at System(A=" in str(supported)
    refuted = falsify(lambda system: system.mu.min() + 3, several, max_examples=200)
    assert refuted.margin == refuted.system.mu.min() + 3 < 0
    assert refuted.system.d == 1
    assert f"(margin {refuted.margin:.6g})" in str(refuted)
    assert refuted.path.name.startswith("lambda-")
    # a margin of zero is no violation, of minus infinity is one
    assert isinstance(falsify(lambda system: 0, ONE, max_examples=20), Supported)
    assert falsify(lambda system: -math.inf, ONE, max_examples=20).margin == -math.inf
    assert testing.replay(falsify(lambda s: -math.inf, ONE, path=here / "x.json").path, lambda s: 2.5) == 2.5


@pytest.mark.parametrize("answer", [1, 2.5, np.float32(1), np.array([3.0]), np.array(True), sympy.Float(2.0)])
def test_answers_that_are_one_boolean_or_number(answer):
    assert isinstance(falsify(lambda system: answer, ONE, max_examples=5), Supported)


@pytest.mark.full
def test_target_finds_what_blind_search_misses(here):
    """One matrix of whole numbers among 7^9, which blind search misses and margins lead to."""

    def needle(system):
        return float(np.sum((system.H - np.array([[1, -2, 3], [-1, 2, 0], [3, 1, -3]])) ** 2)) - 0.5

    weights = testing.weight_matrices(3, kinds="integer")
    systems = st.builds(System, st.just(np.full((2, 2), 0.5)), weights, st.just(np.eye(2, 3)))
    assert isinstance(falsify(lambda system: needle(system) >= 0, systems), Supported)
    found = falsify(needle, systems)
    assert isinstance(found, Refuted)
    assert found.margin == -0.5


def test_the_same_seed_gives_the_same_result(here):
    def sharpens(system):
        return not -3 < system.H[0, 0] < -1

    runs = [falsify(sharpens, ONE, seed=seed) for seed in (None, None, 0, 1, 2, 3)]
    assert runs[0] == runs[1] == runs[2]
    assert len({run.tried for run in runs}) > 1
    counts = []
    falsify(lambda system: counts.append(repr(system)) or True, ONE, max_examples=20, seed=3)
    first, counts[:] = counts[:], []
    with settings_profile(max_examples=3, derandomize=True):
        falsify(lambda system: counts.append(repr(system)) or True, ONE, max_examples=20, seed=3)
    assert counts == first


class settings_profile:  # noqa: N801
    """A profile of the caller, which must not matter."""

    def __init__(self, **options):
        settings.register_profile("other", **options)

    def __enter__(self):
        settings.load_profile("other")

    def __exit__(self, *exception):
        settings.load_profile("linsim")


def test_assume_filters(here):
    seen = []

    def positive(system):
        assume(system.H[0, 0] > 0)
        seen.append(system.H[0, 0])
        return True

    result = falsify(positive, ONE, max_examples=50)
    assert result.tried == len(seen) <= 50
    assert min(seen) > 0


def test_a_claim_that_is_never_tested_is_not_supported(here):
    def impossible(system):
        assume(False)

    with pytest.raises(ClaimError, match="claim impossible: found no system that it says anything about"):
        falsify(impossible, ONE, max_examples=5)
    with pytest.raises(ClaimError, match="found no system that"):
        falsify(few_tokens, ONE.filter(lambda system: False), max_examples=2)
    with pytest.raises(ClaimError, match=r"found an infinite margin in all \d+ systems"):
        falsify(lambda system: math.inf, ONE, max_examples=5)
    partly = falsify(lambda system: math.inf if system.H[0, 0] > 0 else 1.0, ONE, max_examples=40)
    assert partly.margin == 1.0


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (None, "NoneType"),
        ("yes", "str"),
        (np.ones(3), "ndarray of size 3"),
        (np.array([]), "ndarray of size 0"),
        (1j, "complex"),
        ([True], "list"),
        (math.nan, "NaN"),
        (np.float64("nan"), "NaN"),
    ],
)
def test_answers_that_are_no_verdict(answer, found):
    def odd(system):
        return answer

    with pytest.raises(
        ClaimError, match=rf"claim odd: found {found} for System\(A=.*; expected True, False or a"
    ):
        falsify(odd, ONE, max_examples=5)


def test_a_claim_that_raises():
    def fragile(system):
        if system.n > 2:
            raise ZeroDivisionError("three\ntokens")
        return True

    with pytest.raises(ClaimError) as caught:
        falsify(fragile, testing.systems(weights="normal"))
    message = str(caught.value)
    assert "claim fragile: found ZeroDivisionError: three tokens for System(A=[[1/3, " in message
    assert "H=[[0]]" in message  # shrunk
    assert "\n" not in message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert isinstance(caught.value, ValueError)


def test_a_violation_is_not_hidden_by_an_error_elsewhere(here):
    def mixed(system):
        if system.H[0, 0] > 2:
            raise RuntimeError
        return system.H[0, 0] > -1

    def outcome(seed):
        try:
            return falsify(mixed, ONE, seed=seed).system.H[0, 0] <= -1
        except ClaimError as error:
            return str(error)

    outcomes = [outcome(seed) for seed in range(4)]
    assert any(result is np.True_ for result in outcomes)
    # what was found first is what was shrunk
    raised = next(result for result in outcomes if isinstance(result, str))
    assert "found RuntimeError for System" in raised
    assert float(re.search(r"H=\[\[(.*?)\]\]", raised)[1]) > 2


def test_a_claim_that_changes_its_mind(here):
    answers = iter([True] * 5 + [False] + [True] * 10_000)
    with pytest.raises(ClaimError, match="claim <lambda>: found answers that differ when it is asked again"):
        falsify(lambda system: next(answers), ONE)


def test_interrupts_pass_through():
    def stop(system):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        falsify(stop, ONE)


def test_errors_of_the_strategy_pass_through():
    def broken(system):
        raise RuntimeError("drawn badly")

    with pytest.raises(RuntimeError, match="drawn badly"):
        falsify(few_tokens, ONE.map(broken))
    with pytest.raises(
        InvalidTypeError, match="systems: found a strategy that draws int; expected a strategy"
    ):
        falsify(few_tokens, st.integers())


def test_what_falsify_refuses(here):
    cases = [
        ((3, ONE), {}, InvalidTypeError, "claim: found int"),
        (
            (few_tokens, testing.systems),
            {},
            InvalidTypeError,
            "systems: found function; .* with its parenthe",
        ),
        ((few_tokens, [1]), {}, InvalidTypeError, "systems: found list"),
        ((few_tokens, ONE), {"max_examples": 0}, InvalidValueError, "max_examples: found 0"),
        ((few_tokens, ONE), {"max_examples": True}, InvalidTypeError, "max_examples: found True"),
        ((few_tokens, ONE), {"max_examples": 1.5}, InvalidTypeError, "max_examples: found 1.5"),
        ((few_tokens, ONE), {"seed": -1}, InvalidValueError, "seed: found -1"),
        ((few_tokens, ONE), {"seed": "a"}, InvalidTypeError, "seed: found 'a'"),
        ((few_tokens, ONE), {"path": 3}, InvalidTypeError, "path: found 3"),
        ((few_tokens, ONE), {"path": ""}, InvalidTypeError, "path: found ''"),
    ]
    for arguments, options, kind, message in cases:
        with pytest.raises(kind, match=message):
            falsify(*arguments, **options)


def test_a_place_that_cannot_be_written_is_refused_before_the_search(here):
    def never(system):
        raise AssertionError("the search started")

    (here / "file").write_text("")
    with pytest.raises(
        FileFormatError, match="path: found missing, not a directory; expected a place to write"
    ):
        falsify(never, ONE, path="missing/x.json")
    with pytest.raises(FileFormatError, match="path: found file, not a directory"):
        falsify(never, ONE, path="file/x.json")
    os.mkfifo(here / "pipe")
    with pytest.raises(FileFormatError, match="path: found pipe, not a file"):
        falsify(never, ONE, path="pipe")
    (here / "linsim-counterexamples").write_text("")
    with pytest.raises(FileFormatError, match="path: found linsim-counterexamples, not a directory"):
        falsify(never, ONE)
    if os.geteuid():
        (here / "locked").mkdir(mode=0o500)
        with pytest.raises(FileFormatError, match="Permission denied"):
            falsify(never, ONE, path="locked/x.json")


def test_names_of_claims(here):
    class Claim:
        def __call__(self, system):
            return False

    def plain(system, bound):
        return False

    assert falsify(Claim(), ONE, max_examples=5).claim == "Claim"
    assert falsify(functools.partial(plain, bound=3), ONE, max_examples=5).claim == "plain"


# --- files -----------------------------------------------------------------------------


def test_files_hold_every_bit(here):
    def never(system):
        return False

    A, H = linsim.attention.softmax(3, 2, rng=0), linsim.weights.gaussian(3, rng=1)
    systems = st.just(System(A, H, np.random.default_rng(2).normal(size=(3, 3))))
    result = falsify(never, systems, path=here)
    assert result.path.parent == here
    again = testing.load(result.path)
    assert repr(again) == repr(result.system)
    assert all(getattr(again, k).tobytes() == getattr(result.system, k).tobytes() for k in ("A", "H", "x0"))
    record = json.loads(result.path.read_text())
    assert record["format"] == "linsim-counterexample"
    assert (record["version"], record["linsim"]) == (1, linsim.__version__)
    assert (record["claim"], record["margin"]) == ("never", None)
    # the same content has the same name, and nothing else is left behind
    assert falsify(never, systems, path=here).path == result.path
    assert [p.name for p in here.iterdir() if p.name != ".hypothesis"] == [result.path.name]


def test_a_named_file_is_replaced_in_one_piece(here, monkeypatch):
    target = here / "found.json"
    assert falsify(few_tokens, testing.systems(3), path=str(target)).path == target
    before = target.read_text()

    def fail(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileFormatError, match=r"No space left .* could not be saved: System\(A="):
        falsify(lambda system: False, testing.systems(), path=target)
    assert target.read_text() == before
    assert [p.name for p in here.iterdir() if p.name != ".hypothesis"] == ["found.json"]


def test_replay_asks_again(here):
    found = falsify(lambda system: system.H[0, 0] + 3, ONE)
    path = found.path
    assert testing.replay(path, lambda system: system.H[0, 0] + 3) == found.margin
    assert testing.replay(path, few_tokens) is True
    assert testing.replay(path, lambda system: np.bool_(False)) is False
    with pytest.raises(ClaimError, match="leaves out the system in"):
        testing.replay(path, lambda system: assume(False))
    with pytest.raises(ClaimError, match="found KeyError: 3"):
        testing.replay(path, lambda system: {}[3])
    with pytest.raises(ClaimError, match="found NaN"):
        testing.replay(path, lambda system: math.nan)
    with pytest.raises(InvalidTypeError, match="claim: found str"):
        testing.replay(path, "claim")
    with pytest.raises(InvalidTypeError, match="path: found 3"):
        testing.replay(3, few_tokens)


def test_damaged_files(here):
    path = here / "x.json"
    good = json.loads(falsify(lambda system: False, ONE, path=path).path.read_text())
    text = json.dumps(good)

    def without(name):
        return json.dumps({k: v for k, v in good.items() if k != name})

    cases = [
        (text[:-9], "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1, 2]", "JSON of another kind"),
        ("{}", "JSON of another kind"),
        (json.dumps({**good, "format": "other"}), "JSON of another kind"),
        (json.dumps({**good, "version": 2}), "format version 2; .* This linsim reads version 1"),
        (without("version"), "format version None"),
        (without("H"), "without H"),
        (json.dumps({**good, "A": [[1, 1], [0, 1]]}), r"whose A: found a row that sums to 1 \+ 1"),
        (json.dumps({**good, "x0": [[0], [0]]}), "whose x0: found all zeros"),
        (json.dumps({**good, "x0": "abc"}), "whose x0: found str"),
        (json.dumps({**good, "x0": [[1], [1, 2]]}), "whose x0: found a ragged"),
        (json.dumps({**good, "H": [[math.nan]]}), "whose H: found NaN"),
    ]
    for content, message in cases:
        path.write_text(content)
        with pytest.raises(FileFormatError, match=message) as caught:
            testing.load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, OSError)
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FileFormatError, match="not JSON"):
        testing.load(path)
    with pytest.raises(FileFormatError, match="No such file"):
        testing.load(here / "missing.json")
    with pytest.raises(FileFormatError, match="Is a directory"):
        testing.load(here)


def test_hypothesis_is_asked_for_where_it_is_missing():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import linsim\n"
        "try:\n    from linsim import testing\n"
        "except linsim.errors.MissingExtraError as error:\n    print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install hypothesis" in shown.stdout


# --- quality: false statements are refuted, by systems that can be read ------------------


def real(values):
    return not np.iscomplexobj(values)


def positive_real_part_is_enough(system):
    assume((system.mu.real > 1e-6).all())
    return system.generic_law.regime == "smoothing"


def any_tie_prevents_rank_collapse(system):
    return len(system.generic_law.dominant) == 1 or not system.generic_law.rank_collapse


def negative_weights_never_smooth(system):
    assume((system.mu.real < 0).all())
    return system.generic_law.regime != "smoothing"


def one_real_mode_makes_angles_converge(system):
    dominant = system.generic_law.dominant
    assume(len(dominant) == 1 and dominant[0].value != 0)
    return system.generic_law.angle_convergence


def angles_converge_like_diversity(system):
    law = system.generic_law
    assume(law.regime == "smoothing" and law.rates["token_diversity"] > 0)
    return law.rates["cosine_gap"] > 0.99 * law.rates["token_diversity"]


def jordan_blocks_close_no_gap_geometrically(system):
    assume(system.generic_law.rank_collapse)
    return system.generic_law.rates["rank_gap"] > 0.999


def collapse_needs_input_convergence(system):
    return not system.generic_law.rank_collapse or system.generic_law.input_convergence


def generic_laws_hold_for_every_input(system):
    return system.law.regime == system.generic_law.regime


FALSE = [
    (positive_real_part_is_enough, {"weights": "complex"}),
    (any_tie_prevents_rank_collapse, {}),
    (negative_weights_never_smooth, {}),
    (one_real_mode_makes_angles_converge, {}),
    (angles_converge_like_diversity, {}),
    (jordan_blocks_close_no_gap_geometrically, {"weights": "defective"}),
    (collapse_needs_input_convergence, {}),
    (generic_laws_hold_for_every_input, {}),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("claim", "options"), FALSE, ids=lambda value: getattr(value, "__name__", ""))
def test_false_statements_are_refuted(claim, options, here):
    result = falsify(claim, testing.systems(**options))
    assert isinstance(result, Refuted)
    assert result.system.n <= 4
    assert result.system.d <= 2
    answer = testing.replay(result.path, claim)
    assert answer is False or answer < 0


def test_a_true_statement_is_supported():
    def positive_weights_smooth(system):
        assume(real(system.mu) and (system.mu > 1e-3).all())
        return system.generic_law.margin

    result = falsify(positive_weights_smooth, testing.systems(), max_examples=100)
    assert isinstance(result, Supported)
    assert result.margin < 0.05


def test_every_error_is_of_the_tree():
    assert issubclass(ClaimError, LinsimError)
    assert issubclass(ClaimError, ValueError)
