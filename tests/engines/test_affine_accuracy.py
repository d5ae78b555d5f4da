"""Layers with a bias, token scales and attention beyond the simplex, against arbitrary-precision truth.

``oracle`` iterates the state as it stands with thousands of digits; it shares no line with linsim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from oracles import iterated as oracle
from oracles.systems import BOUND, assert_true_or_nan, seeded, softmax, symmetric, weights, worst_error

from linsim import Linear, attention, simulate

LAYERS = (0, 1, 2, 5, 20, 100, 400, 1000)


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    A: Any
    H: Any
    bias: Any = None
    scale: Any = None
    symmetric: bool = False

    def __str__(self):
        return self.name

    @property
    def x0(self):
        n, d = (np.shape(M)[-1] for M in (np.asarray(self.A), self.H))
        return seeded(self.name).normal(size=(n, d))

    @property
    def general(self):
        return isinstance(self.A, attention.General) or self.scale is not None


def _cases():
    rng = seeded("affine")
    grows, turns = weights(rng, 0.8, 0.3, -0.2, condition=3), weights(rng, 0.4 + 0.5j, -0.3)
    shrinks = weights(rng, -0.9, -0.5, -0.3, condition=3)
    row = rng.normal(size=3)
    A, S = softmax(rng, 4), symmetric(rng, 4)
    other = softmax(rng, 4)
    # the drive decides: all modes shrink, and X goes to 1 x*^T, x* = -b H^-1
    lazy, even = (np.eye(4) + A) / 2, (np.eye(4) + S) / 2  # no eigenvalue on the left
    yield Case("drive decides", lazy, shrinks, row)
    yield Case("drive decides, symmetric", even, shrinks, row, symmetric=True)
    yield Case("drive decides, complex pair", lazy, weights(rng, -0.6 + 0.5j, -0.2), row)
    yield Case("sharpening though driven", S, shrinks, row, symmetric=True)
    # a null vector of H that the bias is not orthogonal to: the constant part grows like l
    yield Case("a bias of zero", lazy, shrinks, 0 * row)
    yield Case("linear growth", lazy, weights(rng, 0.0, -0.5, -0.3, condition=2), row)
    yield Case("geometric growth", A, grows, row)
    yield Case("geometric growth, symmetric", S, grows, row, symmetric=True)
    yield Case("geometric growth, complex pair", A, turns, row)
    # another mode grows faster than the constant ones do: the bias changes no limit
    far = weights(rng, -2.4, -0.9, -0.5, condition=2)
    wide = 1 / 4 - 0.9 * (np.eye(4) - 1 / 4) + 0.2 * (np.diag([1.0, -1, 0, 0]) - 0)
    wide = attention.general(wide - (wide.sum(axis=1, keepdims=True) - 1) / 4)
    yield Case("sharpening", wide, far, row)
    for sign, H in (("smoothing", grows), ("sharpening", shrinks)):
        yield Case(f"centred, {sign}", attention.centred(A), H)
        yield Case(f"laplacian, {sign}", attention.laplacian(S), H)
        yield Case(f"laplacian of unequal tokens, {sign}", attention.laplacian(A), H)
        yield Case(f"shaped, {sign}", attention.shaped(A, alpha=0.5, gamma=0.7), H)
        yield Case(f"attnscale, {sign}", attention.attnscale(A, 0.6), H)
        yield Case(f"differential, {sign}", attention.differential(A, other, 0.3), H)
    yield Case("centred, driven", attention.centred(A), shrinks, row)
    yield Case("shaped, driven", attention.shaped(A, alpha=0.5, gamma=0.7), grows, row)
    yield Case("sigmoid", attention.sigmoid(rng.normal(size=(4, 4))), grows)
    graph = np.array([[0.0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]])
    yield Case("gcn", attention.gcn(graph), grows)
    yield Case("token scales", A, grows, scale=np.array([0.5, 1.5, 0.8, 2.0]))
    yield Case("one token", np.ones((1, 1)), weights(rng, 0.4, -0.3), rng.normal(size=2))
    yield Case("one feature", A, np.array([[-0.4]]), np.array([0.7]))


CASES = list(_cases())


def truth_of(case, layers=LAYERS, digits=1000):
    A = np.asarray(case.A) if case.scale is None else np.asarray(case.A) * case.scale
    return oracle.trajectory(
        A,
        case.H,
        case.x0,
        layers,
        digits=digits,
        bias=case.bias,
        general=case.general,
        symmetric=case.symmetric,
    )


#: one of each kind; the others at length
SHORT = {
    "drive decides",
    "drive decides, complex pair",
    "sharpening though driven",
    "linear growth",
    "a bias of zero",
    "geometric growth",
    "sharpening",
    "centred, sharpening",
    "laplacian, smoothing",
    "laplacian of unequal tokens, sharpening",
    "shaped, driven",
    "differential, smoothing",
    "sigmoid",
    "gcn",
    "token scales",
    "one token",
    "one feature",
}


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c.name in SHORT else pytest.mark.full, id=c.name) for c in CASES]
)
def test_every_gap_to_depth_1000(case):
    rule = Linear(case.A, case.H, bias=case.bias, scale=case.scale)
    run = simulate(rule, case.x0, LAYERS[-1], layers=LAYERS)
    truth = truth_of(case)
    assert_true_or_nan(run, truth, digits=1000)
    assert worst_error(run, truth) <= BOUND
