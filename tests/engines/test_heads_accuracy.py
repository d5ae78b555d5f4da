"""Several heads with biases, token scales and general attention, against arbitrary-precision truth.

``oracle`` iterates the state as it stands with a thousand digits; it shares no line with linsim.
"""

from __future__ import annotations

import numpy as np
import pytest
from oracles import iterated as oracle
from oracles.systems import BOUND, assert_true_or_nan, seeded, softmax, weights, worst_error

from linsim import MultiHead, attention, simulate

LAYERS = (0, 1, 2, 5, 20, 100, 400, 1000)


def heads(*made):
    return attention.general(np.stack([np.asarray(A) for A in made]))


def cases():
    """Name: attention of each head, weights, bias and scale."""
    rng = seeded("heads, affine")
    A, B = softmax(rng, 4), softmax(rng, 4)
    lazy = np.stack([(np.eye(4) + M) / 2 for M in (A, B)])
    grows = np.stack([weights(rng, 0.8, 0.3, -0.2, condition=3), weights(rng, 0.1, 0.2, -0.1)])
    shrinks = np.stack([weights(rng, -0.5, -0.3, -0.2, condition=3), weights(rng, -0.2, -0.1, -0.1)])
    row = rng.normal(size=3)
    return {
        "bias, growing": (np.stack([A, B]), grows, row, None),
        "bias that decides": (lazy, shrinks, row, None),
        "centred and shaped": (
            heads(attention.centred(A), attention.shaped(B, alpha=0.5, gamma=0.7)),
            grows,
            None,
            None,
        ),
        "differential, driven": (
            heads(attention.differential(A, B, 0.3), attention.laplacian(A)),
            shrinks,
            row,
            None,
        ),
        "rows of other sums": (heads(attention.sigmoid(rng.normal(size=(4, 4))), A), grows, None, None),
        "scales": (np.stack([A, B]), grows, None, np.array([0.5, 1.5, 0.8, 2.0])),
        "scales, driven": (np.stack([A, B]), grows, row, np.array([0.5, 1.5, 0.8, 2.0])),
    }


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_every_gap_to_depth_1000(name):
    A, H, bias, scale = CASES[name]
    x0 = seeded(name).normal(size=(4, 3))
    run = simulate(MultiHead(A, H, bias=bias, scale=scale), x0, LAYERS[-1], layers=LAYERS)
    general = isinstance(A, attention.General) or scale is not None
    given = [np.asarray(a) * (1 if scale is None else scale) for a in np.asarray(A)]
    truth = oracle.trajectory(given, list(H), x0, LAYERS, digits=1000, bias=bias, general=general)
    assert_true_or_nan(run, truth, digits=1000)
    assert worst_error(run, truth) <= BOUND
