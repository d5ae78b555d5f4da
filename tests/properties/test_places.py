"""Strategies by sign and place of a spectrum, the first example's time, and numbers shown as fractions."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from linsim import testing
from linsim.errors import InvalidTypeError, InvalidValueError
from linsim.testing import System
from linsim.testing._weight_strategy import WEIGHTS

KINDS = [kind for kind in WEIGHTS if kind != "integer"]
SOME = hypothesis.settings(
    max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def spectrum(H):
    return np.linalg.eigvalsh(H) if (H == H.T).all() else np.linalg.eigvals(H)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("word", "sign"), [("positive", 1), ("negative", -1)])
def test_signs_hold_for_every_kind_as_computed(kind, word, sign):
    seen = set()

    @SOME
    @given(testing.weight_matrices((2, 3), kinds=kind, mu=word))
    def check(H):
        assert (sign * spectrum(H).real > 0).all()
        seen.add(len(set(np.round(spectrum(H).real, 6))) > 1)

    check()
    assert True in seen  # not all of them are multiples of the identity


@pytest.mark.parametrize("place", [(-2, 0), (0.01, 0.02), (7, 9), (None, -1), (0.5, None), (-1, -1)])
def test_intervals_hold_up_to_rounding(place):
    low, high = (-math.inf if place[0] is None else place[0], math.inf if place[1] is None else place[1])
    found = []

    @SOME
    @given(testing.weight_matrices((1, 3), kinds=["normal", "nonnormal"], mu=place))
    def check(H):
        real = spectrum(H).real
        assert (real >= low - 1e-9).all()
        assert (real <= high + 1e-9).all()
        found.extend(real)

    check()
    if low < high:
        assert max(found) > min(found) + 1e-3
        assert min(found) < low + 1e-9 or low == -math.inf  # the ends are drawn too
        assert max(found) > high - 1e-9 or high == math.inf


def test_near_keeps_to_its_side():
    near = []

    @SOME
    @given(testing.weight_matrices(1, kinds="normal", near=0, mu="negative"))
    def check(H):
        assert H[0, 0] < 0
        near.append(H[0, 0])

    check()
    assert max(near) > -1e-4


@pytest.mark.parametrize("kind", ["general", "symmetric", "reversible", "circulant", "causal", "masked"])
def test_positive_attention_keeps_its_kind(kind):
    @SOME
    @given(testing.attention_matrices((2, 4), kinds=kind, lam="positive"))
    def check(A):
        assert (np.linalg.eigvals(A).real > 0).all()
        np.testing.assert_allclose(A.sum(axis=1), 1, atol=1e-15)
        if kind == "symmetric":
            assert (A == A.T).all()
        if kind == "causal":
            assert (np.triu(A, 1) == 0).all()

    check()


def test_systems_by_sign_meet_the_theorem_of_their_side():
    @SOME
    @given(testing.systems(mu="positive", attention="reversible"))
    def smooth(system):
        assert (system.mu.real > 0).all()
        assert system.generic_law.input_convergence or system.law.regime == "balanced"

    @SOME
    @given(testing.systems(mu=(-1, 0), lam="positive", attention="symmetric", weights="normal"))
    def within(system):
        assert (system.lam > 0).all()
        assert (system.mu >= -1 - 1e-12).all()
        assert (system.mu <= 1e-12).all()

    smooth()
    within()


def test_the_simplest_of_each_side():
    assert hypothesis.find(testing.weight_matrices(mu="positive"), lambda H: True).tolist() == [[1.0]]
    assert hypothesis.find(testing.weight_matrices(mu="negative"), lambda H: True).tolist() == [[-1.0]]
    assert hypothesis.find(testing.weight_matrices(mu=(-2, 0)), lambda H: True).tolist() == [[0.0]]
    uniform = hypothesis.find(testing.attention_matrices(lam="positive"), lambda A: True)
    assert uniform.tolist() == [[0.75, 0.25], [0.25, 0.75]]


BAD = [
    (
        lambda: testing.weight_matrices(mu="postive"),
        InvalidValueError,
        "mu: found 'postive'.*Did you mean 'pos",
    ),
    (lambda: testing.weight_matrices(mu=(0, -1)), InvalidValueError, "mu: found .*Swap them"),
    (lambda: testing.weight_matrices(mu=3), InvalidTypeError, "mu: found 3.*two ends"),
    (lambda: testing.weight_matrices(mu=(0, math.nan)), InvalidValueError, "mu: found nan"),
    (lambda: testing.weight_matrices(mu=("a", 1)), InvalidTypeError, "mu: found 'a'"),
    (lambda: testing.weight_matrices(mu=(0, 1), near=3), InvalidValueError, "near: found .*Move it there"),
    (lambda: testing.weight_matrices(mu="positive", kinds="integer"), InvalidValueError, "with near or mu"),
    (lambda: testing.systems(mu="positive", weights="integer"), InvalidValueError, "with near or mu"),
    (lambda: testing.attention_matrices(lam="negative"), InvalidValueError, "lam: found 'negative'"),
    (lambda: testing.systems(lam=2), InvalidValueError, "lam: found 2"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_what_is_refused_before_anything_is_drawn(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()


# --- the first example -------------------------------------------------------------------------------

FIRST = """
from hypothesis import given
from linsim import testing

@given(testing.systems())
def test_law(system):
    assert system.law.limit_rank >= 0

@given(testing.systems())
def test_run(system):
    assert system.run(5, metrics=["cosine"]).layers[-1] == 5

test_law()
test_run()
print("done")
"""


def test_the_first_example_meets_the_deadline_of_hypothesis(tmp_path):
    done = subprocess.run([sys.executable, "-c", FIRST], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def test_settings_are_those_of_the_profile_but_for_time():
    own = testing.settings()
    assert own.deadline is None
    assert own.max_examples == hypothesis.settings().max_examples
    assert testing.settings(max_examples=7, deadline=100).deadline.total_seconds() == 0.1


# --- fractions ---------------------------------------------------------------------------------------


@SOME
@given(testing.systems())
def test_what_is_printed_makes_the_same_system(system):
    assert eval(repr(system), {"System": System}) == system


@hypothesis.settings(max_examples=500, database=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_printed_exactly(x):
    shown = repr(System(A=[[1]], H=[[x]], x0=[[1]])).partition("H=[[")[2].partition("]]")[0]
    again = float(eval(shown))
    assert again == x
    assert math.copysign(1, again) == math.copysign(1, x)


@pytest.mark.parametrize("text", ["1/6", "-1/6", "2/3", "999/1000", "7", "0", "-0.0", "1e-07", "0.123456789"])
def test_numbers_as_a_person_writes_them(text):
    x = float(Fraction(text)) if "/" in text else float(text)
    assert f"H=[[{text}]]" in repr(System(A=[[1]], H=[[x]], x0=[[1]]))


def test_hypothesis_prints_fractions_too():
    @hypothesis.settings(database=None, derandomize=True, report_multiple_bugs=False)
    @given(testing.systems(n=3, d=1))
    def fails(system):
        assert system.n < 3

    with pytest.raises(AssertionError) as caught:
        fails()
    notes = "\n".join(caught.value.__notes__)
    assert "A=[[1/3, 1/3, 1/3]" in notes
    assert "array(" not in notes


def test_a_saved_counterexample_shows_its_fractions(tmp_path):
    found = testing.falsify(lambda s: s.n < 3, testing.systems(n=3, d=1), path=tmp_path / "c.json")
    assert "System(A=[[1/3, 1/3, 1/3]" in found.path.read_text()
    assert testing.load(found.path) == found.system
