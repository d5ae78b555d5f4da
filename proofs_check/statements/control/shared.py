"""Steering the spectrum of the weights: clipped and squared eigenvalues, the sign of a layer norm's gain.

A layer X + A X H has the eigenvalues 1 + lambda mu, lambda of the attention A
and mu of the weights H.  The constant direction has lambda = 1, every other
lambda = x + iy lies inside the unit disk; a is the smallest eigenvalue of a
real spectrum.  Tokens *smooth* where lambda = 1 alone has the largest modulus,
they *sharpen* where another eigenvalue of attention has; a gain gamma of a
layer norm in front of the weights makes gamma mu of mu.

>>> SMALLEST_SQUARE_THAT_SMOOTHS
2/(a + 1)
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times

__all__ = ["SMALLEST_SQUARE_THAT_SMOOTHS", "STATEMENTS"]

a, mu, psi, gamma, x, y = sympy.symbols("a mu psi gamma x y", real=True)
mu_1, mu_2, lamda, layer, W, k = sympy.symbols("mu_1 mu_2 lambda l W k", real=True)
x_1, x_2, y_1, y_2 = sympy.symbols("x_1 x_2 y_1 y_2", real=True)
h, gamma_1, gamma_2, h_11, h_12, h_21, h_22 = sympy.symbols(
    "h gamma_1 gamma_2 h_11 h_12 h_21 h_22", real=True
)

#: weights with the eigenvalue -psi^2 smooth again where psi^2 exceeds this
SMALLEST_SQUARE_THAT_SMOOTHS = 2 / (1 + a)

INSIDE = {"|lambda| < 1": x**2 + y**2 < 1}
_below_one = Sign(
    "the real part of lambda is below 1", 1 - x, ">", plus((1 - x) ** 2, 1 - x**2 - y**2, y**2) / 2
)

_MODES = (
    "A and H diagonalizable, X_0 generic: X_l is the sum of rho^l c v z^T over the pairs of eigenvalues "
    "lambda of A and mu of H, with rho = 1 + lambda mu, so the largest |rho| decides."
)


def _modulus(value: sympy.Expr) -> sympy.Expr:
    """Return |1 + value lambda|^2."""
    return (1 + value * x) ** 2 + (value * y) ** 2


def _gap(value: sympy.Expr) -> sympy.Expr:
    """Return what lambda = 1 is ahead of a by, and its factors."""
    return (1 + value) ** 2 - (1 + value * a) ** 2


def _factors(value: sympy.Expr) -> sympy.Expr:
    return times(value, 1 - a, 2 + value * (1 + a))


def _powers(growth: sympy.Expr) -> Claim:
    """Return the induction step of growth^l >= 1 + l (growth - 1)."""
    extra = growth - 1
    return Claim(
        "powers",
        {"l >= 0": layer >= 0, "W >= 1 + l (g - 1)": 1 + layer * extra <= W},
        [growth * W >= 1 + (layer + 1) * extra],
        [
            Sign(
                "g times what was assumed, and a square",
                growth * W - 1 - (layer + 1) * extra,
                ">=",
                plus(times(growth, W - 1 - layer * extra), times(layer, extra**2)),
            )
        ],
        f"Induction on l, with g = {growth} and W = g^l: true at l = 0, where W = 1; the claim goes from l "
        "to l + 1. So g^l grows without bound.",
    )


def _vanishes(growth: sympy.Expr, reduction: str) -> Claim:
    """Return the claim that the diverse part loses against the constant one."""
    ratio = Tends("a geometric sequence", k / growth**layer, layer, sympy.oo, 0)
    return Claim("in the end", {}, [ratio], [ratio], reduction)


def _decay(s: Any, top: int, bottom: int) -> dict[str, Query]:
    """Return the second form of the two claims for growth = top / bottom."""
    depth, W, k, eps = s.Reals("l W k eps")
    extra = top - bottom
    return {
        "powers": Query(
            {"l >= 0": depth >= 0, "W >= 1 + l (g - 1)": bottom * W >= bottom + extra * depth},
            top * W >= bottom + extra * (depth + 1),
        ),
        "in the end": Query(
            {},
            s.Or(
                eps <= 0,
                bottom * W < bottom + extra * depth,
                bottom * k > extra * depth * eps,
                depth < 0,
                k < eps * W,
            ),
            same_symbols=False,
        ),
    }


def _inside(s: Any) -> tuple[Any, Any, dict[str, Any]]:
    x, y = s.Reals("x y")
    return x, y, {"|lambda| < 1": x * x + y * y < 1}


def _length(x: Any, y: Any, mu: Any) -> Any:
    """Return |1 + mu (x + iy)|^2, multiplied out."""
    return 1 + 2 * mu * x + mu * mu * (x * x + y * y)


# ---------------------------------------------------------------- clipped eigenvalues

_SHARPER = _modulus(mu) - (1 + mu) ** 2


def _sharpen(s: Any) -> dict[str, Query]:
    mu, psi = s.Reals("mu psi")
    x, y, inside = _inside(s)
    other, constant = _length(x, y, mu), (1 + mu) * (1 + mu)
    return {
        "clip": Query({"psi < 0": psi < 0, "mu = psi or mu = -1": s.Or(mu == psi, mu == -1)}, mu < 0),
        "sharpens": Query(inside | {"mu >= -1": mu + 1 >= 0, "mu < 0": mu < 0}, constant < other),
        "never smooths": Query(
            inside | {"mu >= -1": mu + 1 >= 0, "mu <= 0": mu <= 0}, s.Not(constant > other)
        ),
        "tie": Query({"mu = 0": mu == 0}, constant == other),
    }


_SHARPEN = Statement(
    "control.sharpen",
    "Weights H = V Lambda V^-1 with the eigenvalues mu = clip(psi, -1, 0) never smooth: for every eigenvalue "
    "lambda of attention other than 1, complex too, |1 + mu lambda| >= |1 + mu|, strictly iff psi < 0. If "
    "all psi_j < 0 the tokens sharpen.",
    r"\mu = \min(0, \max(-1, \psi)):\quad |1+\mu\lambda| \ge |1+\mu|, \quad \text{strictly iff } \psi < 0",
    "arXiv 2401.04301; complex eigenvalues and the tie derived here",
    (
        Claim(
            "clip",
            {"psi < 0": psi < 0, "mu = psi or mu = -1": sympy.Eq((mu - psi) * (mu + 1), 0)},
            [mu < 0],
            [
                Sign(
                    "from 0 = (mu - psi)(mu + 1): mu (1 - psi) = psi - mu^2",
                    mu,
                    "<",
                    plus(psi, -(mu**2), (mu - psi) * (mu + 1)) / (1 - psi),
                )
            ],
            "The clip of a negative psi is psi itself or -1, the clip of any other is 0, and all lie in "
            "[-1, 0]. So the clip is negative iff psi is.",
        ),
        Claim(
            "sharpens",
            INSIDE | {"mu >= -1": mu >= -1, "mu < 0": mu < 0},
            [_modulus(mu) > (1 + mu) ** 2],
            [
                _below_one,
                Sign(
                    "the difference of the squares, for 0 < -mu <= 1",
                    _SHARPER,
                    ">",
                    times(-mu, plus(times(1 + mu, 1 - x**2 - y**2), (1 - x) ** 2, y**2)),
                ),
            ],
            _MODES
            + " If every mu_j lies in [-1, 0), then the mu_j with the largest |1 + mu_j| has at any other "
            "lambda a larger modulus still, so lambda = 1 is not in the dominant set: the tokens sharpen.",
        ),
        Claim(
            "never smooths",
            INSIDE | {"mu >= -1": mu >= -1, "mu <= 0": mu <= 0},
            [_modulus(mu) >= (1 + mu) ** 2],
            [
                Sign(
                    "no factor is negative",
                    _SHARPER,
                    ">=",
                    times(-mu, plus(times(1 + mu, 1 - x**2 - y**2), (1 - x) ** 2, y**2)),
                )
            ],
            _MODES
            + " The mu_j with the largest |1 + mu_j| has at least that modulus at every other lambda, so "
            "lambda = 1 never dominates alone, and the diverse part does not vanish beside the constant one.",
        ),
        Claim(
            "tie",
            {"mu = 0": sympy.Eq(mu, 0)},
            [sympy.Eq(_modulus(mu), (1 + mu) ** 2)],
            [Identity("both are 1", _modulus(mu), 1)],
            "Where psi >= 0 the clip is 0 and all eigenvalues of attention tie.",
        ),
    ),
    _sharpen,
)

_AHEAD = (1 + mu_1) ** 2 - _modulus(mu)


def _smooth(s: Any) -> dict[str, Query]:
    mu, psi, mu_1 = s.Reals("mu psi mu_1")
    x, y, inside = _inside(s)
    return {
        "clip": Query({"psi > 0": psi > 0, "mu = psi or mu = 1": s.Or(mu == psi, mu == 1)}, mu > 0),
        "smooths": Query(
            inside | {"mu_1 > 0": mu_1 > 0, "mu >= 0": mu >= 0, "mu <= mu_1": mu <= mu_1},
            1 + 2 * mu_1 + mu_1 * mu_1 > _length(x, y, mu),
        ),
        "tie": Query({"mu = 0": mu == 0}, _length(x, y, mu) == (1 + mu) * (1 + mu)),
    }


_SMOOTH = Statement(
    "control.smooth",
    "Weights with the eigenvalues mu_j = clip(psi_j, 0, 1) smooth iff some psi_j > 0: the largest mu_j "
    "decides, for complex eigenvalues of attention too. If all psi_j <= 0 then H = V Lambda V^-1 = 0 and "
    "nothing moves.",
    r"\mu_1 = \max_j \mu_j > 0,\; \mu_j \ge 0,\; |\lambda| < 1:\quad 1 + \mu_1 > |1 + \mu_j\lambda|",
    "arXiv 2401.04301; complex eigenvalues and the tie derived here",
    (
        Claim(
            "clip",
            {"psi > 0": psi > 0, "mu = psi or mu = 1": sympy.Eq((mu - psi) * (mu - 1), 0)},
            [mu > 0],
            [
                Sign(
                    "from 0 = (mu - psi)(mu - 1): mu (1 + psi) = psi + mu^2",
                    mu,
                    ">",
                    plus(psi, mu**2, -(mu - psi) * (mu - 1)) / (1 + psi),
                )
            ],
            "The clip of a positive psi is psi itself or 1, the clip of any other is 0, and none is "
            "negative. So the largest clip is positive iff some psi_j is.",
        ),
        Claim(
            "smooths",
            INSIDE | {"mu_1 > 0": mu_1 > 0, "mu >= 0": mu >= 0, "mu <= mu_1": mu <= mu_1},
            [(1 + mu_1) ** 2 > _modulus(mu)],
            [
                _below_one,
                Sign("nor is it below -1", 1 + x, ">", plus((1 + x) ** 2, 1 - x**2 - y**2, y**2) / 2),
                Sign(
                    "a sum of products, the first positive and none negative",
                    _AHEAD,
                    ">",
                    plus(
                        times(1 - x, mu_1 + mu),
                        times(1 + x, mu_1 - mu),
                        times(mu_1 - mu, mu_1 + mu),
                        times(mu**2, 1 - x**2 - y**2),
                    ),
                ),
            ],
            _MODES + " mu is any of the mu_j and mu_1 the largest: every pair with lambda other than 1 has a "
            "smaller modulus than (1, mu_1), so the diverse part vanishes beside the constant one.",
        ),
        Claim(
            "tie",
            {"mu = 0": sympy.Eq(mu, 0)},
            [sympy.Eq(_modulus(mu), (1 + mu) ** 2)],
            [Identity("both are 1", _modulus(mu), 1)],
            "If no psi_j is positive, all mu_j are 0, H = 0 and X_l = X_0: no smoothing.",
        ),
    ),
    _smooth,
)

# ---------------------------------------------------------------- squares


def _squares(s: Any) -> dict[str, Query]:
    a, mu, psi, x_1, x_2, y_1, y_2 = s.Reals("a mu psi x_1 x_2 y_1 y_2")
    values = {"psi = 2": psi == 2, "a = 0": a == 0, "mu = -psi^2": mu + psi * psi == 0}
    layer = {
        "mu = -4": mu == -4,
        "first token": 2 * y_1 == 2 * x_1 + mu * (x_1 + x_2),
        "second token": 2 * y_2 == 2 * x_2 + mu * (x_1 + x_2),
    }
    return {
        "below the boundary": Query(
            values,
            s.And(2 + mu + mu * a < 0, (1 + mu * a) * (1 + mu * a) < (1 + mu) * (1 + mu)),
        ),
        "one layer": Query(layer, s.And(y_1 + y_2 + 3 * x_1 + 3 * x_2 == 0, y_1 + x_2 == y_2 + x_1)),
        **_decay(s, 3, 1),
    }


_half = (x_1 + x_2) / 2
_LAYER: dict[str, Any] = {
    "mu = -4": sympy.Eq(mu, -4),
    "first token": sympy.Eq(y_1, x_1 + mu * _half),
    "second token": sympy.Eq(y_2, x_2 + mu * _half),
}

_SQUARES = Statement(
    "control.squares",
    "Symmetric weights with the eigenvalues -psi^2 always sharpen.",
    r"\Lambda = -\psi^2 \;\Longrightarrow\; \text{sharpening}",
    "the parametrisation: arXiv 2401.04301; the sentence and its refutation derived here",
    (
        Claim(
            "below the boundary",
            {"psi = 2": sympy.Eq(psi, 2), "a = 0": sympy.Eq(a, 0), "mu = -psi^2": sympy.Eq(mu, -(psi**2))},
            [mu * (1 + a) < -2, (1 + mu) ** 2 > (1 + mu * a) ** 2],
            [
                Identity("mu = -4, so mu (1 + a) + 2 = -2", mu * (1 + a) + 2, -2),
                Identity("|1 - 4|^2 is ahead of 1 by 8", (1 + mu) ** 2 - (1 + mu * a) ** 2, 8),
            ],
            "Uniform attention between two tokens has the eigenvalues 1 and a = 0.",
        ),
        Claim(
            "one layer",
            _LAYER,
            [sympy.Eq(y_1 + y_2, -3 * (x_1 + x_2)), sympy.Eq(y_1 - y_2, x_1 - x_2)],
            [
                Identity("the sum of the tokens", y_1 + y_2, -3 * (x_1 + x_2)),
                Identity("their difference", y_1 - y_2, x_1 - x_2),
            ],
            "X + A X H for two tokens of one feature. By induction the sum is (-3)^l times what it was, and "
            "the difference stays.",
        ),
        _powers(sympy.Integer(3)),
        _vanishes(
            sympy.Integer(3),
            "HFC/LFC is |x_1 - x_2| / |x_1 + x_2|, so k / 3^l for k at the start (x_1 + x_2 not 0): it "
            "vanishes, the tokens smooth. In the second form W = 3^l and the ratio is below eps once l >= k "
            "/ (2 eps).",
        ),
    ),
    _squares,
    counterexample=r"A = \tfrac12\begin{pmatrix}1&1\\1&1\end{pmatrix},\; H = (-4),\; \psi = 2",
)


def _squares_bounded(s: Any) -> dict[str, Query]:
    a, psi = s.Reals("a psi")
    x, y, inside = _inside(s)
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
            (1 - square) * (1 - square) < _length(x, y, -square),
        ),
    }


_SQUARES_BOUNDED = Statement(
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
                Sign("one factor is negative", _gap(-(psi**2)), "<", _factors(-(psi**2))),
            ],
            "Real spectrum: |1 + mu lambda|^2 is convex in lambda, so an end of the spectrum has "
            "the largest modulus, and with mu = -psi^2 for every eigenvalue of H it is a. " + _MODES,
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
            [_modulus(-(psi**2)) > (1 - psi**2) ** 2],
            [
                _below_one,
                Sign("a square that is not 0", psi**2, ">"),
                Sign(
                    "the difference of the squares",
                    _modulus(-(psi**2)) - (1 - psi**2) ** 2,
                    ">",
                    times(psi**2, plus(times(1 - psi**2, 1 - x**2 - y**2), (1 - x) ** 2, y**2)),
                ),
            ],
            _MODES,
        ),
    ),
    _squares_bounded,
)

# ---------------------------------------------------------------- the gain of a layer norm

_GAIN = (
    "With one gain gamma for all features the weights act on gamma times the normalised tokens, as gamma H "
    "does on these: the eigenvalues are gamma mu_j. "
)


def _wins(s: Any, mu: Any, a: Any, relation: str) -> Any:
    one, other = (1 + mu) * (1 + mu), (1 + mu * a) * (1 + mu * a)
    return {">": one > other, "<": one < other, ">=": s.Not(one < other)}[relation]


def _negative_gain(s: Any) -> dict[str, Query]:
    a, mu, gamma = s.Reals("a mu gamma")
    x, y, inside = _inside(s)
    return {
        "turned": Query(
            {
                "-1 < a": 1 + a > 0,
                "a < 1": a < 1,
                "mu (1 + a) > -2": mu + mu * a > -2,
                "mu < 0": mu < 0,
                "gamma < 0": gamma < 0,
            },
            s.And(_wins(s, mu, a, "<"), _wins(s, gamma * mu, a, ">")),
        ),
        "complex eigenvalues": Query(
            inside | {"mu < 0": mu < 0, "gamma < 0": gamma < 0},
            (1 + gamma * mu) * (1 + gamma * mu) > _length(x, y, gamma * mu),
        ),
    }


_NEGATIVE_GAIN = Statement(
    "layernorm.negative_gain",
    "A negative gain turns sharpening into smoothing, whatever its size: if mu lies between -2/(1+a) and 0, "
    "then gamma mu > 0 for every gamma < 0.",
    r"-\frac{2}{1+a} < \mu < 0,\; \gamma < 0:\quad |1+\mu| < |1+\mu a|,\quad |1+\gamma\mu| > |1+\gamma\mu a|",
    "that a negative layer norm weight can reverse the regime: arXiv 2401.04301; for which: derived here",
    (
        Claim(
            "turned",
            {
                "-1 < a": a > -1,
                "a < 1": a < 1,
                "mu (1 + a) > -2": mu * (1 + a) > -2,
                "mu < 0": mu < 0,
                "gamma < 0": gamma < 0,
            },
            [(1 + mu) ** 2 < (1 + mu * a) ** 2, (1 + gamma * mu) ** 2 > (1 + gamma * mu * a) ** 2],
            [
                Sign("before: one factor is negative", _gap(mu), "<", _factors(mu)),
                Sign("after: gamma mu is positive", gamma * mu, ">"),
                Sign(
                    "so are the other factors",
                    _gap(gamma * mu),
                    ">",
                    times(gamma * mu, 1 - a, plus(2, times(gamma * mu, 1 + a))),
                ),
            ],
            _GAIN
            + "Real spectrum of attention: by convexity in lambda an end has the largest modulus. "
            + _MODES,
        ),
        Claim(
            "complex eigenvalues",
            INSIDE | {"mu < 0": mu < 0, "gamma < 0": gamma < 0},
            [(1 + gamma * mu) ** 2 > _modulus(gamma * mu)],
            [
                _below_one,
                Sign("gamma mu is positive", gamma * mu, ">"),
                Sign(
                    "a sum of a positive product and one that is not negative",
                    (1 + gamma * mu) ** 2 - _modulus(gamma * mu),
                    ">",
                    plus(times(2, gamma * mu, 1 - x), times((gamma * mu) ** 2, 1 - x**2 - y**2)),
                ),
            ],
            _GAIN + _MODES,
        ),
    ),
    _negative_gain,
)


def _swap_back(s: Any) -> dict[str, Query]:
    a, mu, gamma = s.Reals("a mu gamma")
    signs = {"a < 1": a < 1, "mu > 0": mu > 0, "gamma < 0": gamma < 0}
    pull = -(gamma * mu + gamma * mu * a)
    return {
        "sharpens": Query(signs | {"|gamma| mu (1 + a) < 2": pull < 2}, _wins(s, gamma * mu, a, "<")),
        "otherwise": Query(signs | {"|gamma| mu (1 + a) >= 2": pull >= 2}, _wins(s, gamma * mu, a, ">=")),
    }


_SIGNS: dict[str, Any] = {"a < 1": a < 1, "mu > 0": mu > 0, "gamma < 0": gamma < 0}
_TURNED = times(gamma * mu, 1 - a, plus(2, gamma * mu * (1 + a)))

_SWAP_BACK = Statement(
    "layernorm.swap_back",
    "A negative gain turns smoothing with mu > 0 into sharpening iff |gamma| mu (1 + a) < 2: a strong "
    "enough one of either size overshoots and smooths again.",
    r"\mu > 0 > \gamma:\quad |1+\gamma\mu| < |1+\gamma\mu a| \iff |\gamma|\,\mu\,(1+a) < 2",
    "derived here",
    (
        Claim(
            "sharpens",
            _SIGNS | {"|gamma| mu (1 + a) < 2": -gamma * mu * (1 + a) < 2},
            [(1 + gamma * mu) ** 2 < (1 + gamma * mu * a) ** 2],
            [
                Sign("gamma mu is negative", gamma * mu, "<"),
                Sign("one factor is negative", _gap(gamma * mu), "<", _TURNED),
            ],
            _GAIN + "Real spectrum of attention; |gamma| = -gamma. If this holds for every mu_j, a pair "
            "with another lambda than 1 has the largest modulus. " + _MODES,
        ),
        Claim(
            "otherwise",
            _SIGNS | {"|gamma| mu (1 + a) >= 2": -gamma * mu * (1 + a) >= 2},
            [(1 + gamma * mu) ** 2 >= (1 + gamma * mu * a) ** 2],
            [
                Sign("gamma mu is negative", gamma * mu, "<"),
                Sign("a negative factor, and one that is not positive", _gap(gamma * mu), ">=", _TURNED),
            ],
            "The other direction: at equality the ends tie, beyond it lambda = 1 wins.",
        ),
    ),
    _swap_back,
)


def _always_swaps(s: Any) -> dict[str, Query]:
    a, mu, gamma, x_1, x_2, y_1, y_2 = s.Reals("a mu gamma x_1 x_2 y_1 y_2")
    values = {"a = -3/10": 10 * a == -3, "mu = 5": mu == 5, "gamma = -1": gamma == -1}
    strength = gamma * mu
    first, second = 7 * x_1 + 13 * x_2, 13 * x_1 + 7 * x_2
    return {
        "both smooth": Query(values, s.And(_wins(s, mu, a, ">"), _wins(s, strength, a, ">"))),
        "one layer": Query(
            {
                "mu = 5": mu == 5,
                "gamma = -1": gamma == -1,
                "first token": 20 * y_1 == 20 * x_1 + strength * first,
                "second token": 20 * y_2 == 20 * x_2 + strength * second,
            },
            s.And(y_1 + y_2 == -4 * (x_1 + x_2), 2 * (y_1 - y_2) == 5 * (x_1 - x_2)),
        ),
        **_decay(s, 8, 5),
    }


_near, _far = sympy.Rational(7, 20), sympy.Rational(13, 20)

_ALWAYS_SWAPS = Statement(
    "layernorm.always_swaps",
    "A gain of -1 always swaps smoothing and sharpening.",
    r"\gamma = -1 \;\Longrightarrow\; \text{smoothing} \leftrightarrow \text{sharpening}",
    "derived here, from the remark of arXiv 2401.04301 that negative layer norm weights can reverse the "
    "regime",
    (
        Claim(
            "both smooth",
            {
                "a = -3/10": sympy.Eq(a, sympy.Rational(-3, 10)),
                "mu = 5": sympy.Eq(mu, 5),
                "gamma = -1": sympy.Eq(gamma, -1),
            },
            [(1 + mu) ** 2 > (1 + mu * a) ** 2, (1 + gamma * mu) ** 2 > (1 + gamma * mu * a) ** 2],
            [
                Identity("without the gain: 6^2 against (1/2)^2", _gap(mu), 36 - sympy.Rational(1, 4)),
                Identity("with it: 4^2 against (5/2)^2", _gap(gamma * mu), 16 - sympy.Rational(25, 4)),
            ],
            "The attention of the counterexample has the eigenvalues 1 and a = 7/20 - 13/20.",
        ),
        Claim(
            "one layer",
            {
                "mu = 5": sympy.Eq(mu, 5),
                "gamma = -1": sympy.Eq(gamma, -1),
                "first token": sympy.Eq(y_1, x_1 + gamma * mu * (_near * x_1 + _far * x_2)),
                "second token": sympy.Eq(y_2, x_2 + gamma * mu * (_far * x_1 + _near * x_2)),
            },
            [
                sympy.Eq(y_1 + y_2, -4 * (x_1 + x_2)),
                sympy.Eq(y_1 - y_2, sympy.Rational(5, 2) * (x_1 - x_2)),
            ],
            [
                Identity("the sum of the tokens", y_1 + y_2, -4 * (x_1 + x_2)),
                Identity("their difference", y_1 - y_2, sympy.Rational(5, 2) * (x_1 - x_2)),
            ],
            "X + A (gamma X) H for two tokens of one feature: by induction the sum is (-4)^l and the "
            "difference (5/2)^l times what it was.",
        ),
        _powers(sympy.Rational(8, 5)),
        _vanishes(
            sympy.Rational(8, 5),
            "HFC/LFC is |x_1 - x_2| / |x_1 + x_2| and shrinks by 5/8 in every layer, from k: the tokens "
            "smooth. In the second form W = (8/5)^l and the ratio is below eps once l >= 5 k / (3 eps).",
        ),
    ),
    _always_swaps,
    counterexample=(
        r"A = \tfrac1{20}\begin{pmatrix}7&13\\13&7\end{pmatrix}\ (a = -\tfrac3{10}),\; H = (5),\; \gamma = -1"
    ),
)


def _share(s: Any) -> dict[str, Query]:
    x_1, x_2, y_1, y_2, gamma_1, gamma_2, h_11, h_22, mu_1, mu_2 = s.Reals(
        "x_1 x_2 y_1 y_2 gamma_1 gamma_2 h_11 h_22 mu_1 mu_2"
    )
    weights = {"h_11 = 1": h_11 == 1, "h_22 = -1": h_22 == -1}
    eigenvalues = {
        "mu_1 = gamma_1 h_11": gamma_1 * h_11 - mu_1 == 0,
        "mu_2 = gamma_2 h_22": gamma_2 * h_22 - mu_2 == 0,
    }
    first = {"gamma_1 = -1": gamma_1 == -1, "gamma_2 = 1": gamma_2 == 1}
    second = {"gamma_1 = 1": gamma_1 == 1, "gamma_2 = -1": gamma_2 == -1}

    def layer(factor: int) -> dict[str, Any]:
        return {
            "first token": 2 * y_1 - 2 * x_1 == factor * (x_1 + x_2),
            "second token": 2 * y_2 - 2 * x_2 == factor * (x_1 + x_2),
        }

    return {
        "first gain negative": Query(weights | first | eigenvalues, s.And(mu_1 == -1, mu_2 == -1)),
        "it sharpens": Query(layer(-1), s.And(y_1 == -y_2, y_1 - y_2 == x_1 - x_2)),
        "second gain negative": Query(weights | second | eigenvalues, s.And(mu_1 == 1, mu_2 == 1)),
        "it smooths": Query(layer(1), s.And(y_1 + y_2 == 2 * x_1 + 2 * x_2, y_1 - y_2 == x_1 - x_2)),
        **_decay(s, 2, 1),
    }


_WEIGHTS: dict[str, Any] = {"h_11 = 1": sympy.Eq(h_11, 1), "h_22 = -1": sympy.Eq(h_22, -1)}
_EIGENVALUES: dict[str, Any] = {
    "mu_1 = gamma_1 h_11": sympy.Eq(mu_1, gamma_1 * h_11),
    "mu_2 = gamma_2 h_22": sympy.Eq(mu_2, gamma_2 * h_22),
}


def _one_layer(factor: int) -> dict[str, Any]:
    return {
        "first token": sympy.Eq(y_1, x_1 + factor * _half),
        "second token": sympy.Eq(y_2, x_2 + factor * _half),
    }


_SHARE = Statement(
    "layernorm.share",
    "The share of negative gains decides whether tokens smooth or sharpen.",
    r"\#\{j : \gamma_j < 0\}/d \;\text{decides the regime of}\; \mathrm{diag}(\gamma) H",
    "derived here, from the question that arXiv 2401.04301 leaves for gains of mixed signs",
    (
        Claim(
            "first gain negative",
            _WEIGHTS
            | {"gamma_1 = -1": sympy.Eq(gamma_1, -1), "gamma_2 = 1": sympy.Eq(gamma_2, 1)}
            | _EIGENVALUES,
            [sympy.Eq(mu_1, -1), sympy.Eq(mu_2, -1)],
            [Identity("-1 times 1", mu_1, -1), Identity("1 times -1", mu_2, -1)],
            "H is diagonal, so diag(gamma) H = -I.",
        ),
        Claim(
            "it sharpens",
            _one_layer(-1),
            [sympy.Eq(y_1 + y_2, 0), sympy.Eq(y_1 - y_2, x_1 - x_2)],
            [
                Identity("the mean is gone after one layer", y_1 + y_2, 0),
                Identity("the difference stays", y_1 - y_2, x_1 - x_2),
            ],
            "Each feature moves alone, as X - A X with uniform A. From layer 1 on X_l = X_0 - A X_0: LFC is "
            "0, HFC is what it was; tokens that differ never converge.",
        ),
        Claim(
            "second gain negative",
            _WEIGHTS
            | {"gamma_1 = 1": sympy.Eq(gamma_1, 1), "gamma_2 = -1": sympy.Eq(gamma_2, -1)}
            | _EIGENVALUES,
            [sympy.Eq(mu_1, 1), sympy.Eq(mu_2, 1)],
            [Identity("1 times 1", mu_1, 1), Identity("-1 times -1", mu_2, 1)],
            "The same A, H and share; diag(gamma) H = I.",
        ),
        Claim(
            "it smooths",
            _one_layer(1),
            [sympy.Eq(y_1 + y_2, 2 * (x_1 + x_2)), sympy.Eq(y_1 - y_2, x_1 - x_2)],
            [
                Identity("the sum of the tokens doubles", y_1 + y_2, 2 * (x_1 + x_2)),
                Identity("the difference stays", y_1 - y_2, x_1 - x_2),
            ],
            "Each feature moves alone, as X + A X with uniform A; by induction the sum is 2^l times what it "
            "was.",
        ),
        _powers(sympy.Integer(2)),
        _vanishes(
            sympy.Integer(2),
            "HFC/LFC halves in every layer, from k: the tokens smooth. In the second form W = 2^l and the "
            "ratio is below eps once l >= k / eps.",
        ),
    ),
    _share,
    counterexample=(
        r"A = \tfrac12\begin{pmatrix}1&1\\1&1\end{pmatrix},\; H = \mathrm{diag}(1, -1),\;"
        r" \gamma = (-1, 1) \text{ against } \gamma = (1, -1)"
    ),
)

_DET = gamma_1 * gamma_2 * (h_11 * h_22 - h_12 * h_21)
_TRACE = gamma_1 * h_11 + gamma_2 * h_22


def _mixed(s: Any) -> dict[str, Query]:
    a, gamma, h, mu, mu_1, mu_2, lamda = s.Reals("a gamma h mu mu_1 mu_2 lambda")
    gamma_1, gamma_2, h_11, h_12, h_21, h_22 = s.Reals("gamma_1 gamma_2 h_11 h_12 h_21 h_22")
    value = gamma * h
    factor = 2 * value + value * value * (1 + a)
    inner = {"lambda >= 0": lamda >= 0, "lambda < 1": lamda < 1}
    bound = mu + lamda * mu
    other = (1 + lamda * mu) * (1 + lamda * mu)
    determinant = (gamma_1 * h_11) * (gamma_2 * h_22) - (gamma_1 * h_12) * (gamma_2 * h_21)
    trace = gamma_1 * h_11 + gamma_2 * h_22
    return {
        "a column smooths": Query(
            {"a < 1": a < 1, "gamma h (2 + gamma h (1 + a)) > 0": factor > 0}, _wins(s, value, a, ">")
        ),
        "a column sharpens": Query(
            {"a < 1": a < 1, "gamma h (2 + gamma h (1 + a)) < 0": factor < 0}, _wins(s, value, a, "<")
        ),
        "opposite signs": Query(
            {
                "gamma_1 gamma_2 < 0": gamma_1 * gamma_2 < 0,
                "det H > 0": h_11 * h_22 > h_12 * h_21,
            },
            s.And(determinant < 0, trace * trace > 4 * determinant),
        ),
        "one sign": Query({"mu_1 mu_2 > 0": mu_1 * mu_2 > 0, "mu_1 + mu_2 < 0": mu_1 < -mu_2}, mu_1 < 0),
        "a positive eigenvalue": Query(
            {"mu_1 > 0": mu_1 > 0, "mu <= mu_1": mu_1 - mu >= 0, "mu (1 + lambda) >= -2": bound >= -2}
            | inner,
            other < 1 + 2 * mu_1 + mu_1 * mu_1,
        ),
        "a very negative one": Query(
            {"mu (1 + lambda) < -2": bound < -2} | inner,
            other < 1 + 2 * mu + mu * mu,
        ),
    }


_column = gamma * h
_MIXED = Statement(
    "layernorm.mixed",
    "Where do gains of mixed signs swap smoothing and sharpening?",
    r"\mathrm{diag}(\gamma) H,\quad \min_j \gamma_j < 0 < \max_j \gamma_j",
    "open after arXiv 2401.04301; the partial results derived here",
    (
        Claim(
            "a column smooths",
            {
                "a < 1": a < 1,
                "gamma h (2 + gamma h (1 + a)) > 0": _column * (2 + _column * (1 + a)) > 0,
            },
            [(1 + _column) ** 2 > (1 + _column * a) ** 2],
            [
                Sign(
                    "the factors of the difference",
                    _gap(_column),
                    ">",
                    times(1 - a, _column * (2 + _column * (1 + a))),
                )
            ],
            "Diagonal H = diag(h_j): feature j moves alone, X_j + gamma_j h_j A X_j, and its regime is that "
            "of gamma_j h_j: it swaps where gamma_j h_j passes 0 or -2/(1+a), whatever the other gains are.",
        ),
        Claim(
            "a column sharpens",
            {
                "a < 1": a < 1,
                "gamma h (2 + gamma h (1 + a)) < 0": _column * (2 + _column * (1 + a)) < 0,
            },
            [(1 + _column) ** 2 < (1 + _column * a) ** 2],
            [
                Sign(
                    "the factors of the difference",
                    _gap(_column),
                    "<",
                    times(1 - a, _column * (2 + _column * (1 + a))),
                )
            ],
            "The same, in the other direction.",
        ),
        Claim(
            "opposite signs",
            {"gamma_1 gamma_2 < 0": gamma_1 * gamma_2 < 0, "det H > 0": h_11 * h_22 - h_12 * h_21 > 0},
            [_DET < 0, _TRACE**2 > 4 * _DET],
            [
                Sign(
                    "the determinant of diag(gamma) H",
                    _DET,
                    "<",
                    times(gamma_1 * gamma_2, h_11 * h_22 - h_12 * h_21),
                ),
                Sign("the discriminant", _TRACE**2 - 4 * _DET, ">", plus(_TRACE**2, -4 * _DET)),
            ],
            "Two features, one negative gain: the eigenvalues of diag(gamma) H are the roots of z^2 - trace "
            "z + det. If det H > 0 they are real, one positive and one negative, whatever H was before. In "
            "d features the same follows for definite symmetric H from Sylvester's law of inertia.",
        ),
        Claim(
            "one sign",
            {"mu_1 mu_2 > 0": mu_1 * mu_2 > 0, "mu_1 + mu_2 < 0": mu_1 + mu_2 < 0},
            [mu_1 < 0],
            [Sign("mu_1 (mu_1 + mu_2) is positive", mu_1, "<", plus(mu_1**2, mu_1 * mu_2) / (mu_1 + mu_2))],
            "If det H < 0, one negative gain of two makes the product of the eigenvalues positive; when "
            "they are real both have the sign of the trace gamma_1 h_11 + gamma_2 h_22 (here: negative; "
            "mu_2 by symmetry). So it matters which gain is negative.",
        ),
        Claim(
            "a positive eigenvalue",
            {
                "mu_1 > 0": mu_1 > 0,
                "mu <= mu_1": mu <= mu_1,
                "lambda >= 0": lamda >= 0,
                "lambda < 1": lamda < 1,
                "mu (1 + lambda) >= -2": mu * (1 + lamda) >= -2,
            },
            [(1 + mu_1) ** 2 > (1 + mu * lamda) ** 2],
            [
                Sign(
                    "mu lambda < mu_1", mu_1 - mu * lamda, ">", plus(mu_1 * (1 - lamda), lamda * (mu_1 - mu))
                ),
                Sign(
                    "and mu lambda > -2",
                    2 + mu * lamda,
                    ">",
                    plus(times(lamda, 2 + mu * (1 + lamda)), 2) / (1 + lamda),
                ),
                Sign(
                    "so both factors of the difference are positive",
                    (1 + mu_1) ** 2 - (1 + mu * lamda) ** 2,
                    ">",
                    times(mu_1 - mu * lamda, plus(2 + mu * lamda, mu_1)),
                ),
            ],
            "Attention without negative eigenvalues, real eigenvalues of diag(gamma) H of which mu_1 > 0 is "
            "the largest: with the next claim every pair with lambda < 1 has a smaller modulus than a pair "
            "at 1. So a single positive eigenvalue smooths. With negative definite H the swap is at the "
            "first negative gain, with positive definite H it is not before the last positive one is gone.",
        ),
        Claim(
            "a very negative one",
            {
                "lambda >= 0": lamda >= 0,
                "lambda < 1": lamda < 1,
                "mu (1 + lambda) < -2": mu * (1 + lamda) < -2,
            },
            [(1 + mu) ** 2 > (1 + mu * lamda) ** 2],
            [
                Sign("mu is negative", mu, "<", plus(mu * (1 + lamda) + 2, -2) / (1 + lamda)),
                Sign(
                    "two of three factors are negative",
                    (1 + mu) ** 2 - (1 + mu * lamda) ** 2,
                    ">",
                    times(mu, 1 - lamda, mu * (1 + lamda) + 2),
                ),
            ],
            "The other eigenvalues of diag(gamma) H, beyond the boundary of this lambda.",
        ),
    ),
    _mixed,
    tried=(
        "The share of negative gains: it does not decide (layernorm.share).",
        "Diagonal H: solved, each feature swaps alone where gamma_j h_j passes 0 or -2/(1+a).",
        "Two features: the signs of det H and of gamma_1 h_11 + gamma_2 h_22 give the signs of real "
        "eigenvalues; a complex pair is left to the disk of dominance.boundary.",
        "Symmetric definite H, any number of features: by Sylvester's law of inertia diag(gamma) H has as "
        "many positive eigenvalues as there are gains of the sign of H, so for attention without negative "
        "eigenvalues the tokens smooth as soon as one gain has that sign: a threshold at the first or the "
        "last, not at a share.",
        "H with independent symmetric entries: diag of signs times H has the law of H, so signs alone shift "
        "no odds.",
        "Open: symmetric definite H with a < 0, where 1 + mu_max competes with |1 + a mu_min|, and H that "
        "is neither diagonal nor definite, where signs of the gains fix no signs of the eigenvalues.",
    ),
)

# ---------------------------------------------------------------- layers that differ

_A = sympy.symbols("a_11 a_12 a_21 a_22", real=True)
_H = sympy.symbols("h_11 h_12 h_21 h_22", real=True)
_X = sympy.symbols("x_11 x_12 x_21 x_22", real=True)
_Y = sympy.symbols("y_11 y_12 y_21 y_22", real=True)
c_1, c_2 = sympy.symbols("c_1 c_2", real=True)

_ROWS: dict[str, Any] = {
    "first row of A sums to 1": sympy.Eq(_A[1], 1 - _A[0]),
    "second row of A sums to 1": sympy.Eq(_A[3], 1 - _A[2]),
}


def _square(entries: Any) -> sympy.Matrix:
    return sympy.Matrix(2, 2, list(entries))


def _through(tokens: sympy.Matrix) -> dict[str, Any]:
    """Return Y = X + A X H, entry by entry."""
    layer = tokens + _square(_A) * tokens * _square(_H)
    return {f"layer, {symbol.name}": sympy.Eq(symbol, layer[i]) for i, symbol in enumerate(_Y)}


def _lyapunov(s: Any) -> dict[str, Query]:
    A, H = s.Reals("a_11 a_12 a_21 a_22"), s.Reals("h_11 h_12 h_21 h_22")
    X, Y, (c_1, c_2) = s.Reals("x_11 x_12 x_21 x_22"), s.Reals("y_11 y_12 y_21 y_22"), s.Reals("c_1 c_2")
    rows = {"first row of A sums to 1": A[0] + A[1] == 1, "second row of A sums to 1": A[2] + A[3] == 1}

    def layer(tokens: Any) -> dict[str, Any]:
        formulas = {}
        for n, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            mixed = [A[2 * i] * tokens[q] + A[2 * i + 1] * tokens[2 + q] for q in (0, 1)]
            formulas[f"layer, {Y[n]}"] = Y[n] - tokens[n] == mixed[0] * H[j] + mixed[1] * H[2 + j]
        return formulas

    moved_1, moved_2 = c_1 + H[0] * c_1 + H[2] * c_2, c_2 + H[1] * c_1 + H[3] * c_2
    u_1, u_2, shrink = X[0] - X[2], X[1] - X[3], A[0] - A[2]
    return {
        "equal tokens": Query(
            rows | layer((c_1, c_2, c_1, c_2)),
            s.And(Y[0] == moved_1, Y[2] == moved_1, Y[1] == moved_2, Y[3] == moved_2),
        ),
        "differences": Query(
            rows | layer(X),
            s.And(
                Y[0] - Y[2] == u_1 + shrink * (H[0] * u_1 + H[2] * u_2),
                Y[1] - Y[3] == u_2 + shrink * (H[1] * u_1 + H[3] * u_2),
            ),
        ),
    }


_alike = sympy.Matrix([[c_1, c_2], [c_1, c_2]])
_moved = (_alike * (sympy.eye(2) + _square(_H))).expand()
_apart = sympy.Matrix([[_X[0] - _X[2], _X[1] - _X[3]]])
_apart_next = (_apart * (sympy.eye(2) + (_A[0] - _A[2]) * _square(_H))).expand()

_LYAPUNOV = Statement(
    "lyapunov.constant",
    "With other attention and other weights in every layer, the constant direction stays invariant for "
    "every attention with rows that sum to 1: the product of the layers is block triangular, tokens that "
    "are all alike move by the product of I + H_l alone, and what tells tokens apart moves without them.",
    r"(I + H_l^\top \otimes A_l)(c \otimes 1) = (c + H_l^\top c) \otimes 1",
    "derived here",
    (
        Claim(
            "equal tokens",
            _ROWS | _through(_alike),
            [sympy.Eq(symbol, moved) for symbol, moved in zip(_Y, _moved, strict=True)],
            [Identity("each token becomes c^T (I + H)", _square(_Y), _moved)],
            "Two tokens, two features, X = 1 c^T; no entry of A need be positive. In general A 1 = 1 gives "
            "1 c^T + A 1 c^T H = 1 (c + H^T c)^T for any number of tokens and features. By induction over "
            "layers with any A_l and H_l equal tokens stay equal, with c^T (I + H_1)(I + H_2)... at layer "
            "l: the span of all 1 c^T is invariant under every layer, which is what block triangular means.",
        ),
        Claim(
            "differences",
            _ROWS | _through(_square(_X)),
            [sympy.Eq(_Y[0] - _Y[2], _apart_next[0]), sympy.Eq(_Y[1] - _Y[3], _apart_next[1])],
            [
                Identity(
                    "the difference of the tokens, times I + (a_11 - a_21) H",
                    sympy.Matrix([[_Y[0] - _Y[2], _Y[1] - _Y[3]]]),
                    _apart_next,
                )
            ],
            "Differences of tokens are what X is up to the constant part. For any number of tokens let the "
            "rows of D be a basis of the row vectors orthogonal to 1; D A 1 = D 1 = 0, so D A = B D with a "
            "smaller matrix B, and D X moves by D X + B (D X) H: a closed system. The exponents of this and "
            "those of the product of I + H_l are together those of the whole.",
        ),
    ),
    _lyapunov,
)

STATEMENTS = (
    _SHARPEN,
    _SMOOTH,
    _SQUARES,
    _SQUARES_BOUNDED,
    _NEGATIVE_GAIN,
    _SWAP_BACK,
    _ALWAYS_SWAPS,
    _SHARE,
    _MIXED,
    _LYAPUNOV,
)
