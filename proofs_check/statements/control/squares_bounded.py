"""Negative squares sharpen while they are bounded."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import INSIDE, MODES, below_one, factors, gap, inside_second, length, modulus

PLACE = 40

a, psi, x, y = sympy.symbols("a psi x y", real=True)


def second(s: Any) -> dict[str, Query]:
    a, psi = s.Reals("a psi")
    x, y, inside = inside_second(s)
    square = psi * psi
    return {
        "small squares": Query(
            {"a < 1": a < 1, "psi^2 (1 + a) < 2": square + square * a < 2, "psi != 0": psi != 0},
            (1 - square) * (1 - square) < (1 - square * a) * (1 - square * a),
        ),
        "at most 1": Query(
            {"-1 < a": a > -1, "a < 1": a < 1, "psi^2 <= 1": s.And(psi >= -1, psi <= 1)},
            square + square * a < 2,
        ),
        "complex eigenvalues": Query(
            inside | {"psi^2 <= 1": s.And(psi >= -1, psi <= 1), "psi != 0": psi != 0},
            (1 - square) * (1 - square) < length(x, y, -square),
        ),
    }


STATEMENT = Statement(
    "control.squares_bounded",
    "Weights with the eigenvalue -psi^2 sharpen where psi != 0 and psi^2 (1 + a) < 2; psi^2 <= 1 is enough "
    "for every spectrum of attention, complex ones too.",
    r"0 < \psi^2 < \frac{2}{1+a} \;\Longrightarrow\; |1 - \psi^2| < |1 - \psi^2 a|",
    "derived here",
    (
        Claim(
            "small squares",
            {"a < 1": a < 1, "psi^2 (1 + a) < 2": psi**2 * (1 + a) < 2, "psi != 0": sympy.Ne(psi, 0)},
            [(1 - psi**2) ** 2 < (1 - psi**2 * a) ** 2],
            [
                Sign("a square that is not 0", psi**2, ">"),
                Sign("one factor is negative", gap(-(psi**2)), "<", factors(-(psi**2))),
            ],
            "Real spectrum: |1 + mu lambda|^2 is convex in lambda, so an end of the spectrum has "
            "the largest modulus, and with mu = -psi^2 for every eigenvalue of H it is a. " + MODES,
        ),
        Claim(
            "at most 1",
            {"-1 < a": a > -1, "a < 1": a < 1, "psi^2 <= 1": psi**2 <= 1},
            [psi**2 * (1 + a) < 2],
            [
                Sign(
                    "psi^2 (1 + a) <= 1 + a < 2",
                    2 - psi**2 * (1 + a),
                    ">",
                    plus(times(1 - psi**2, 1 + a), 1 - a),
                )
            ],
            "Every eigenvalue of attention but lambda = 1 lies in (-1, 1) if the spectrum is real.",
        ),
        Claim(
            "complex eigenvalues",
            INSIDE | {"psi^2 <= 1": psi**2 <= 1, "psi != 0": sympy.Ne(psi, 0)},
            [modulus(-(psi**2)) > (1 - psi**2) ** 2],
            [
                below_one,
                Sign("a square that is not 0", psi**2, ">"),
                Sign(
                    "the difference of the squares",
                    modulus(-(psi**2)) - (1 - psi**2) ** 2,
                    ">",
                    times(psi**2, plus(times(1 - psi**2, 1 - x**2 - y**2), (1 - x) ** 2, y**2)),
                ),
            ],
            MODES,
        ),
    ),
    second,
)
