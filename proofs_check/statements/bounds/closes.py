"""Every upper bound closes where one mode dominates."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, Tends, plus

PLACE = 180

k, p, q, s, B, C, K, M, depth = sympy.symbols("k p q s B C K M l", real=True)

_FALLS = {"0 < q": q > 0, "q < 1": q < 1}
_QUOTIENT = C * q**depth / (1 - K * q**depth)
_BOTH = _QUOTIENT**2 / (1 + _QUOTIENT**2)
_ENTROPY = sympy.log(1 + M * s) - M * s * sympy.log(s) / (1 + M * s)


def second(z3: Any) -> dict[str, Query]:
    p, depth, B = z3.Reals("p l B")
    q, C, K, Q, eps, V, W = z3.Reals("q C K Q eps V W")
    M, r, L, P, H, E = z3.Reals("M r L P H E")
    falls = {"0 < q": q > 0, "q < 1": q < 1}
    # Q = q^l; l is the depth from which on the quotient h / low is below eps
    power = z3.And(eps > 0, Q > 0, Q * (q + depth * (1 - q)) <= q)
    deep = z3.And(C >= 0, K >= 0, depth * (1 - q) * eps > q * (C + eps * K))
    h, low = C * Q, 1 - K * Q
    # q here is a (k+1)-th root, Q = q^l: V = (l Q)^k, W = (q / (1 - q))^k, and V Q is the sequence
    chain = z3.And(V >= 0, V <= W, depth * (1 - q) * eps > q * W)
    # r = sqrt(s), L = -ln s <= 2 (1/r - 1), P = ln(1 + T) <= T = M s, H the entropy, E = e^H, e^-H >= 1 - H
    T = M * r * r
    logs = z3.And(r > 0, r <= 1, M >= 0, L >= 0, L * r <= 2 - 2 * r, P <= T)
    entropy = z3.And(H * (1 + T) == P * (1 + T) + T * L, E - H * E <= 1, E > 0)
    return {
        "Bernoulli": Query(
            {"p > 0": p > 0, "l >= 0": depth >= 0, "B >= 1 + l p": depth * p <= B - 1},
            B + B * p >= 1 + depth * p + p,
        ),
        "quotient": Query(
            falls,
            z3.Implies(z3.And(power, deep), z3.And(low > 0, h < eps * low)),
            same_symbols=False,
        ),
        "token diversity": Query(
            falls,
            z3.Implies(z3.And(power, deep, eps < 1), z3.And(low > 0, h * h < eps * (h * h + low * low))),
            same_symbols=False,
        ),
        "Jordan blocks": Query(falls, z3.Implies(z3.And(power, chain), V * Q - eps < 0), same_symbols=False),
        "effective rank": Query(
            {},
            z3.Implies(z3.And(logs, entropy, 4 * M * r <= 1, 4 * M * r < eps), eps > E - 1),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "bounds.closes",
    "Every upper bound closes as the depth grows when one mode dominates alone: token diversity and HFC/LFC "
    "when it is at lambda = 1, the angles and the rank at any real one (angles: v without zero entries); "
    "also, at lambda = 1, with Jordan blocks.",
    r"\frac{C q^l}{1 - K q^l} \to 0,\quad l^k q^l \to 0 \quad (0 < q < 1),\quad"
    r" \exp\Big(\ln(1 + Ms) - \frac{Ms \ln s}{1 + Ms}\Big) - 1 \to 0 \quad (s \to 0)",
    "derived here",
    (
        Claim(
            "Bernoulli",
            {"p > 0": p > 0, "l >= 0": depth >= 0, "B >= 1 + l p": 1 + depth * p <= B},
            [B * (1 + p) >= 1 + (depth + 1) * p],
            [
                Sign(
                    "one more factor",
                    B * (1 + p) - 1 - (depth + 1) * p,
                    ">=",
                    plus((1 + p) * (B - 1 - depth * p), depth * p**2),
                )
            ],
            "Induction on l: (1 + p)^l >= 1 + l p. With q = 1/(1 + p) this says q^l (q + l (1 - q)) <= q, "
            "which is all that the second forms of the limits use.",
        ),
        Claim(
            "quotient",
            _FALLS,
            [Tends("a geometric sequence", _QUOTIENT, depth, sympy.oo, 0)],
            [
                Sign("ln q is negative, so q^l tends to 0", sympy.log(q), "<"),
                Tends("a geometric sequence", _QUOTIENT, depth, sympy.oo, 0),
            ],
            "Divide by |rho|^l of the dominant mode. Every other |Y_km| is then at most a constant times "
            "q^l, q < 1 the largest quotient of moduli, and so are b, r and the minors (a product of two "
            "such is smaller still), hence h, ||S|| and ||E||. p, |alpha| |q| and |f| are at least a "
            "positive constant (from bounds.lead, for instance 1/|w_j|) less a constant times q^l. Divide "
            "by the first constant: bounds.row_split, bounds.minors and bounds.angles give quotients of "
            "this kind, and squares, products and sums of them.",
        ),
        Claim(
            "token diversity",
            _FALLS,
            [Tends("x^2/(1 + x^2) with x = h/p", _BOTH, depth, sympy.oo, 0)],
            [Tends("x^2/(1 + x^2) with x = h/p", _BOTH, depth, sympy.oo, 0)],
            "t_div <= h^2/(h^2 + p^2) = x^2/(1 + x^2) with the x = h/p of the claim before.",
        ),
        Claim(
            "Jordan blocks",
            _FALLS,
            [Tends("powers lose against geometric sequences", depth**k * q**depth, depth, sympy.oo, 0)],
            [Tends("powers lose against geometric sequences", depth**k * q**depth, depth, sympy.oo, 0)],
            "The bound of bounds.henrici over |rho|^l of the dominant mode of lambda = 1: finitely many "
            "terms binom(l, k) <= l^k times a constant times q^l. The lead is that of an eigenvector w_j of "
            "H, pi^T X_0 w_j != 0, as in bounds.condition.",
        ),
        Claim(
            "effective rank",
            {},
            [Tends("s ln s tends to 0", sympy.exp(_ENTROPY) - 1, s, 0, 0)],
            [Tends("s ln s tends to 0", sympy.exp(_ENTROPY) - 1, s, 0, 0)],
            "s is at most a quotient of the second claim, M = m - 1.",
        ),
    ),
    second,
    witnesses={
        (claim, name): why
        for claim in ("quotient", "token diversity", "Jordan blocks")
        for name, why in (
            ("0 < q", "q = -2: the terms grow and change sign"),
            ("q < 1", "q = 2: the terms grow, or tend to another limit"),
        )
    },
)
