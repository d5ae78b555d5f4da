"""What a leading part of larger rank needs: ties on both sides."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Sign

PLACE = 20


_re = {name: sympy.Symbol(f"a_{name}", real=True) for name in ("11", "12", "21", "22")}
_im = {name: sympy.Symbol(f"b_{name}", real=True) for name in ("11", "12", "21", "22")}
#: real and imaginary part of the minor of four complex coefficients a + ib
_minor_re = (_re["11"] * _re["22"] - _im["11"] * _im["22"]) - (_re["12"] * _re["21"] - _im["12"] * _im["21"])
_minor_im = (_re["11"] * _im["22"] + _im["11"] * _re["22"]) - (_re["12"] * _im["21"] + _im["12"] * _re["21"])


def _empty(name: str, first: str, second: str, reduction: str = "") -> Claim:
    given = {f"c_{n} = 0, {w} part": Eq(part[n], 0) for n in (first, second) for w, part in _PARTS}
    return Claim(
        name,
        given,
        [Eq(_minor_re, 0), Eq(_minor_im, 0)],
        [
            Sign("the real part is zero", _minor_re, "==", _minor_re),
            Sign("the imaginary part is zero", _minor_im, "==", _minor_im),
        ],
        reduction,
    )


_PARTS = (("real", _re), ("imaginary", _im))


def second(z: Any) -> dict[str, Query]:
    names = ("11", "12", "21", "22")
    a = dict(zip(names, z.Reals("a_11 a_12 a_21 a_22"), strict=True))
    b = dict(zip(names, z.Reals("b_11 b_12 b_21 b_22"), strict=True))
    zero = z.And(
        a["11"] * a["22"] + b["12"] * b["21"] == b["11"] * b["22"] + a["12"] * a["21"],
        a["11"] * b["22"] + b["11"] * a["22"] == a["12"] * b["21"] + b["12"] * a["21"],
    )

    def empty(*pair: str) -> Query:
        given = {
            f"c_{n} = 0, {w} part": part[n] == 0 for n in pair for w, part in (("real", a), ("imaginary", b))
        }
        return Query(given, zero)

    return {
        "one row outside D": empty("21", "22"),
        "the other row outside D": empty("11", "12"),
        "one column outside D": empty("12", "22"),
        "the other column outside D": empty("11", "21"),
    }


STATEMENT = Statement(
    "limit.rank_needs",
    "A leading part of rank larger than 1 needs ties: at least two lambda and two mu, counted with "
    "multiplicity, in the dominant set.",
    r"\operatorname{rank} C_l > 1 \;\Longrightarrow\; \exists\, (i,j), (k,m) \in D:\; i \ne k,\; j \ne m",
    "derived here",
    (
        _empty(
            "one row outside D",
            "21",
            "22",
            "rank C_l > 1 means that some 2x2 minor, of rows 1, 2 and columns 1, 2 after renaming, is not "
            "zero. A coefficient off D is zero, phases included. If one of the rows or columns had no pair "
            "in D the minor would be zero: that is what the four claims say, with c = a + ib. So both rows "
            "and both columns have one. Rows are eigenvectors: a multiple lambda, as lambda = 0 of uniform "
            "attention, counts as often as it occurs.",
        ),
        _empty("the other row outside D", "11", "12"),
        _empty("one column outside D", "12", "22"),
        _empty("the other column outside D", "11", "21"),
    ),
    second,
)
