"""A real spectrum of attention: the largest modulus is at one of its two ends."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import squared

PLACE = 10

x, y, left, right, t, f, f_left, f_right = sympy.symbols("x y left right t f f_left f_right", real=True)

INNER = t * left + (1 - t) * right
CHORD = t * squared(left) + (1 - t) * squared(right)
INSIDE = {"0 < t": t > 0, "t < 1": t < 1, "left < right": left < right, "mu != 0": x**2 + y**2 > 0}
_chord = t * f_left + (1 - t) * f_right
_bow = times(t, 1 - t, (right - left) ** 2, x**2 + y**2)
RIGHT = {"0 <= t": t >= 0, "f(left) <= f(right)": f_left <= f_right}
LEFT = {"t <= 1": t <= 1, "f(right) <= f(left)": f_right <= f_left}


def _larger_end(name: str, end: Any, strict: bool, reduction: str = "") -> Claim:
    other = times(t, f_right - f_left) if end is f_right else times(1 - t, f_left - f_right)
    below = {"f < chord": f < _chord} if strict else {"f <= chord": f <= _chord}
    says = "the chord is not above its larger end, nor is f above the chord"
    return Claim(
        name,
        below | (RIGHT if end is f_right else LEFT),
        [f < end if strict else f <= end],
        [Sign(says, end - f, ">" if strict else ">=", plus(_chord - f, other))],
        reduction,
    )


def second(s: Any) -> dict[str, Query]:
    left, right, t, x, y, f, f_left, f_right = s.Reals("left right t x y f f_left f_right")
    inner = right - t * (right - left)

    def values(value: Any) -> Any:  # expanded: 1 + 2 Re(mu) lambda + |mu|^2 lambda^2
        return 1 + 2 * x * value + (x * x + y * y) * value * value

    chord = values(right) - t * (values(right) - values(left))
    line = f_right - t * (f_right - f_left)
    part = {"0 <= t": t >= 0, "t <= 1": 1 - t >= 0}
    inside = {"0 < t": t > 0, "t < 1": 1 - t > 0, "left < right": right - left > 0}
    inside |= {"mu != 0": s.Or(x < 0, x > 0, y < 0, y > 0)}
    to_right = {"0 <= t": t >= 0, "f(left) <= f(right)": f_right - f_left >= 0}
    to_left = {"t <= 1": 1 - t >= 0, "f(right) <= f(left)": f_left - f_right >= 0}
    below, strictly = {"f <= chord": line - f >= 0}, {"f < chord": line - f > 0}
    return {
        "chord": Query(part, values(inner) <= chord),
        "chord, strictly": Query(inside, values(inner) < chord),
        "the right end is the larger": Query(below | to_right, f_right - f >= 0),
        "the left end is the larger": Query(below | to_left, f_left - f >= 0),
        "the right end is the larger, strictly": Query(strictly | to_right, f_right - f > 0),
        "the left end is the larger, strictly": Query(strictly | to_left, f_left - f > 0),
    }


STATEMENT = Statement(
    "dominance.endpoints",
    "If the spectrum of attention is real, then for every complex weight eigenvalue mu the modulus of "
    "1 + mu lambda is largest at an end of the spectrum: at lambda = 1 or at the smallest eigenvalue a; if "
    "mu is not 0, strictly larger than at every eigenvalue in between.",
    r"|1+\mu\lambda|^2 \le \max\left(|1+\mu a|^2, |1+\mu|^2\right),\quad a \le \lambda \le 1",
    "derived here",
    (
        Claim(
            "chord",
            {"0 <= t": t >= 0, "t <= 1": t <= 1},
            [squared(INNER) <= CHORD],
            [
                Sign(
                    "the chord is above by t (1 - t) (right - left)^2 |mu|^2",
                    CHORD - squared(INNER),
                    ">=",
                    _bow,
                )
            ],
            "f(lambda) = |1 + mu lambda|^2 at a point lambda = t left + (1 - t) right between left = a and "
            "right = 1; every eigenvalue of a real spectrum is such a point, with 0 <= t <= 1. So f is "
            "convex.",
        ),
        Claim(
            "chord, strictly",
            INSIDE,
            [squared(INNER) < CHORD],
            [Sign("now all four factors are positive", CHORD - squared(INNER), ">", _bow)],
            "An eigenvalue strictly between the ends, mu not zero.",
        ),
        _larger_end(
            "the right end is the larger",
            f_right,
            False,
            "f, f_left and f_right are the values of f at lambda, left and right; f is not above the chord. "
            "One of the two ends is the larger; here the right one.",
        ),
        _larger_end("the left end is the larger", f_left, False, "The mirrored case."),
        _larger_end(
            "the right end is the larger, strictly",
            f_right,
            True,
            "Strictly between the ends f is below the chord, so it ties with neither end, even if the ends "
            "tie.",
        ),
        _larger_end("the left end is the larger, strictly", f_left, True, "The mirrored case."),
    ),
    second,
)
