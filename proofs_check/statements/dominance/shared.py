r"""Which eigenvalue of attention wins, for real and complex spectra, and what follows for the frequencies.

Eigenvalues of a layer are 1 + lambda mu, lambda of attention A and mu of the weights H. lambda = 1 belongs
to the constant vector, a is the smallest eigenvalue of a real spectrum, and |lambda| < 1 for all but
lambda = 1 (Perron). Complex numbers are written mu = x + iy and lambda = u + iv. "lambda = 1 wins" means
|1 + mu| > |1 + mu lambda|. HFC is the norm of the part of the tokens orthogonal to the constant vector, LFC
that of the part along it.

>>> BOUNDARY
-2/(a + 1)
>>> CENTRE, RADIUS
(-1/(a + 1), 1/(a + 1))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
from sympy import Eq, I, Matrix, Ne, Rational

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times

__all__ = [
    "BOUNDARY",
    "CENTRE",
    "COMPLEX_CENTRE",
    "COMPLEX_RADIUS",
    "RADIUS",
    "STATEMENTS",
    "a",
    "bernoulli",
    "bernoulli_second",
    "closing",
    "deep",
    "mu",
    "ratio",
    "ratio_second",
]

a, mu, x, y, u, v = sympy.symbols("a mu x y u v", real=True)
lam = sympy.Symbol("lambda", real=True)
left, right, t = sympy.symbols("left right t", real=True)
h, p, b, power, q, l = sympy.symbols("h p b power q l", real=True)  # noqa: E741
B, C, P, Q, R, g = sympy.symbols("B C P Q R g", real=True)

#: a real weight eigenvalue below this one smooths again
BOUNDARY = -2 / (1 + a)
#: the disk of complex weight eigenvalues that sharpen
CENTRE, RADIUS = -1 / (1 + a), 1 / (1 + a)
#: the same disk for an eigenvalue u + iv of attention: its centre (real part, imaginary part) and radius
COMPLEX_CENTRE = (-(1 - u) / (1 - u**2 - v**2), -v / (1 - u**2 - v**2))
COMPLEX_RADIUS = sympy.sqrt((1 - u) ** 2 + v**2) / (1 - u**2 - v**2)


def squared(value: Any) -> Any:
    """Return |1 + (x + iy) value|^2 for a real value.

    >>> squared(sympy.Integer(0))
    1
    """
    return (1 + x * value) ** 2 + (y * value) ** 2


# ---------------------------------------------------------------------------------------------------------
# shared with limits: a quotient of norms, and how fast it closes


def ratio(name: str, reduction: str) -> Claim:
    """Return the claim h / p <= B power / (P - Q B power), denominators cleared.

    >>> ratio("ratio", "h and p are norms").check()
    """
    rest = P - Q * B * power
    return Claim(
        name,
        {
            "h <= B power": h <= B * power,
            "p >= P - Q B power": p >= rest,
            "P > Q B power": rest > 0,
            "B >= 0": B >= 0,
            "power > 0": power > 0,
        },
        [p > 0, h * rest <= p * B * power],
        [
            Sign("the denominator is positive", p, ">", plus(p - rest, rest)),
            Sign(
                "each of the two bounds costs a term that is not negative",
                p * B * power - h * rest,
                ">=",
                plus(times(p - rest, B, power), times(rest, B * power - h)),
            ),
        ],
        reduction,
    )


def ratio_second(s: Any) -> Query:
    """Return the second form of :func:`ratio`.

    >>> from proofs_check.smt import load
    >>> sorted(ratio_second(load()).given)[:2]
    ['B >= 0', 'P > Q B power']
    """
    h, p, B, P, Q, power = s.Reals("h p B P Q power")
    bound = B * power
    given = {
        "h <= B power": bound - h >= 0,
        "p >= P - Q B power": p + Q * bound >= P,
        "P > Q B power": Q * bound < P,
        "B >= 0": B >= 0,
        "power > 0": power > 0,
    }
    return Query(given, s.And(p > 0, h * P <= bound * (p + Q * h)))


#: given of every claim about a geometric bound
GEOMETRIC = {"0 < q": q > 0, "q < 1": q < 1}


def deep(s: Any) -> tuple[dict[str, Any], list[Any], Any]:
    """Return 0 < q < 1, what a deep layer l > L is, and the symbols q, L, power, eps.

    A power q^l is known by Bernoulli's inequality (1/q)^l >= 1 + l (1/q - 1), denominators cleared.

    >>> from proofs_check.smt import load
    >>> given, layer, symbols = deep(load())
    >>> sorted(given), len(layer), len(symbols)
    (['0 < q', 'q < 1'], 5, 4)
    """
    q, l, L, power, eps = s.Reals("q l L power eps")  # noqa: E741
    given = {"0 < q": q > 0, "q < 1": q < 1}
    return given, [eps > 0, power > 0, power * (q + l * (1 - q)) <= q, l > L, l >= 0], (q, L, power, eps)


def closing(name: str, reduction: str = "") -> Claim:
    """Return the claim that B q^l / (P - Q B q^l) tends to zero with the depth l.

    >>> closing("limit").check()
    """
    bound = B * q**l / (P - Q * B * q**l)
    tends = Tends("a geometric bound closes", bound, l, sympy.oo, 0)
    positive = Sign("what the denominator tends to is positive", P, ">")
    return Claim(name, GEOMETRIC | {"P > 0": P > 0}, [tends], [positive, tends], reduction)


def closing_second(s: Any) -> Query:
    """Return the second form of :func:`closing`: from layer L on, the quotient is below eps.

    >>> from proofs_check.smt import load
    >>> closing_second(load()).same_symbols
    False
    """
    given, layer, (q, L, power, eps) = deep(s)
    B, P, Q = s.Reals("B P Q")
    layer += [B >= 0, Q >= 0, L * (1 - q) * eps * P == q * B * (1 + eps * Q)]
    small = s.And(Q * B * power < P, B * power < eps * (P - Q * B * power))
    return Query(given | {"P > 0": P > 0}, s.Implies(s.And(*layer), small), same_symbols=False)


def bernoulli() -> list[Claim]:
    """Return the two claims of the induction (1 + p)^l >= 1 + l p, with g for the power.

    >>> [claim.name for claim in bernoulli()]
    ['Bernoulli: layer 0', 'Bernoulli: one more layer']
    """
    return [
        Claim(
            "Bernoulli: layer 0",
            {"g = (1 + p)^0": Eq(g, 1), "l = 0": Eq(l, 0)},
            [g >= 1 + l * p],
            [Sign("both sides are 1", g - 1 - l * p, ">=", g - 1 - l * p)],
            "With p = 1/q - 1 this says how small q^l is: q^l <= 1 / (1 + l p), below any eps from a layer "
            "on that can be named. Induction on l; g stands for (1 + p)^l.",
        ),
        Claim(
            "Bernoulli: one more layer",
            {"g >= 1 + l p": g >= 1 + l * p, "p > 0": p > 0, "l >= 0": l >= 0},
            [g * (1 + p) >= 1 + (l + 1) * p],
            [
                Sign(
                    "what was known, times 1 + p, and a square left over",
                    g * (1 + p) - 1 - (l + 1) * p,
                    ">=",
                    plus(times(g - 1 - l * p, 1 + p), l * p**2),
                )
            ],
        ),
    ]


def bernoulli_second(s: Any) -> dict[str, Query]:
    """Return the second forms of :func:`bernoulli`.

    >>> from proofs_check.smt import load
    >>> len(bernoulli_second(load()))
    2
    """
    g, l, p = s.Reals("g l p")  # noqa: E741
    return {
        "Bernoulli: layer 0": Query({"g = (1 + p)^0": g == 1, "l = 0": l == 0}, g - p * l - 1 >= 0),
        "Bernoulli: one more layer": Query(
            {"g >= 1 + l p": g >= 1 + p * l, "p > 0": p > 0, "l >= 0": l >= 0}, g + g * p >= 1 + l * p + p
        ),
    }


# ---------------------------------------------------------------------------------------------------------
# real spectra of attention

INNER = t * left + (1 - t) * right
CHORD = t * squared(left) + (1 - t) * squared(right)
INSIDE = {"0 < t": t > 0, "t < 1": t < 1, "left < right": left < right, "mu != 0": x**2 + y**2 > 0}
f, f_left, f_right = sympy.symbols("f f_left f_right", real=True)
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


def _endpoints(s: Any) -> dict[str, Query]:
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


ENDPOINTS = Statement(
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
    _endpoints,
)

GAP = (1 + mu) ** 2 - (1 + mu * a) ** 2
LOWEST = {"-1 < a": a > -1, "a < 1": a < 1}
BETWEEN = {"a < 1": a < 1, "mu (1+a) > -2": mu * (1 + a) > -2, "mu < 0": mu < 0}
_factored = mu * (1 - a) * (2 + mu * (1 + a))
_factors = Sign("the factors of (1 + mu)^2 - (1 + mu a)^2", GAP, ">", _factored)


def _boundary(s: Any) -> dict[str, Query]:
    a, mu = s.Reals("a mu")
    lowest = {"-1 < a": a > -1, "a < 1": a < 1}
    constant, other = (1 + mu) * (1 + mu), (1 + mu * a) * (1 + mu * a)
    between = {"a < 1": a < 1, "mu (1+a) > -2": mu + mu * a > -2, "mu < 0": mu < 0}
    return {
        "mu > 0": Query(lowest | {"mu > 0": mu > 0}, constant > other),
        "below the boundary": Query(lowest | {"mu (1+a) < -2": mu + mu * a < -2}, constant > other),
        "between": Query(between, constant < other),
        "mu = 0": Query({"mu = 0": mu == 0}, constant == other),
        "on the boundary": Query({"mu (1+a) = -2": mu + mu * a == -2}, constant == other),
    }


REAL = Statement(
    "dominance.boundary",
    "With a the smallest eigenvalue of attention, -1 < a < 1: for real mu, lambda = 1 wins iff mu > 0 or "
    "mu < -2/(1+a), a wins iff -2/(1+a) < mu < 0, and they tie at mu = 0 and mu = -2/(1+a).",
    r"(1+\mu)^2 - (1+\mu a)^2 = \mu (1-a) (2 + \mu(1+a))",
    "mu > 0 and -1 <= mu < 0: arXiv 2401.04301; the rest derived here",
    (
        Claim(
            "mu > 0",
            LOWEST | {"mu > 0": mu > 0},
            [(1 + mu) ** 2 > (1 + mu * a) ** 2],
            [_factors],
            "Eigenvalues between a and 1 are settled by dominance.endpoints. The five claims cover the line, "
            "since 1 + a > 0, so each 'if' is also an 'only if'.",
        ),
        Claim(
            "below the boundary",
            LOWEST | {"mu (1+a) < -2": mu * (1 + a) < -2},
            [(1 + mu) ** 2 > (1 + mu * a) ** 2],
            [
                Sign("1 + a is positive", 1 + a, ">"),
                Sign("so mu is negative", mu, "<", plus(mu * (1 + a) + 2, -2) / (1 + a)),
                _factors,
            ],
        ),
        Claim(
            "between",
            BETWEEN,
            [(1 + mu) ** 2 < (1 + mu * a) ** 2],
            [Sign("one factor is negative", GAP, "<", _factored)],
        ),
        Claim(
            "mu = 0",
            {"mu = 0": Eq(mu, 0)},
            [Eq((1 + mu) ** 2, (1 + mu * a) ** 2)],
            [Sign("the first factor is zero", GAP, "==", _factored)],
        ),
        Claim(
            "on the boundary",
            {"mu (1+a) = -2": Eq(mu * (1 + a), -2)},
            [Eq((1 + mu) ** 2, (1 + mu * a) ** 2)],
            [Sign("the last factor is zero", GAP, "==", _factored)],
        ),
    ),
    _boundary,
)

#: (1 + a)^2 times the squared distance from the centre, against (1 + a)^2 times the squared radius
FAR = ((1 + a) * x + 1) ** 2 + ((1 + a) * y) ** 2
_from_centre = (x - CENTRE) ** 2 + y**2 - RADIUS**2
_cleared = Identity("the distance from the centre, cleared of 1 + a", _from_centre * (1 + a) ** 2, FAR - 1)


def _disk_sign(says: str, relation: str) -> Sign:
    return Sign(
        says, squared(1) - squared(a), relation, times(1 - a, 1 / (1 + a), plus(FAR, -sympy.Integer(1)))
    )


def _disk(s: Any) -> dict[str, Query]:
    a, x, y = s.Reals("a x y")
    lowest = {"-1 < a": a > -1, "a < 1": a < 1}
    # |mu + 1/(1+a)|^2 - 1/(1+a)^2 = |mu|^2 + 2 Re(mu)/(1+a), times (1+a)^2: a product of 1+a and
    reach = (1 + a) * (x * x + y * y) + 2 * x
    inside = s.Or(s.And(1 + a > 0, reach < 0), s.And(1 + a < 0, reach > 0))
    outside = s.Or(s.And(1 + a > 0, reach > 0), s.And(1 + a < 0, reach < 0))
    circle = s.Or(1 + a == 0, reach == 0)
    constant = (1 + x) * (1 + x) + y * y
    other = (1 + a * x) * (1 + a * x) + a * a * y * y
    return {
        "inside": Query(lowest | {"inside the disk": inside}, constant < other),
        "outside": Query(lowest | {"outside the disk": outside}, constant > other),
        "on the circle": Query({"-1 < a": a > -1, "on the circle": circle}, constant == other),
    }


DISK = Statement(
    "dominance.disk",
    "With a the smallest eigenvalue of a real spectrum, -1 < a < 1: for complex mu, a wins iff mu lies in "
    "the open disk with centre -1/(1+a) and radius 1/(1+a); outside it lambda = 1 wins; on the circle they "
    "tie.",
    r"|1+\mu a| > |1+\mu| \iff \left|\mu + \frac{1}{1+a}\right| < \frac{1}{1+a}",
    "derived here",
    (
        Claim(
            "inside",
            LOWEST | {"inside the disk": FAR < 1},
            [squared(1) < squared(a)],
            [_cleared, _disk_sign("one factor is negative", "<")],
            "mu = x + iy. The inequality |mu + 1/(1+a)| < 1/(1+a) is squared and multiplied by (1+a)^2 > 0. "
            "The three claims cover the plane, so each 'if' is also an 'only if'.",
        ),
        Claim(
            "outside",
            LOWEST | {"outside the disk": FAR > 1},
            [squared(1) > squared(a)],
            [_cleared, _disk_sign("all factors are positive", ">")],
        ),
        Claim(
            "on the circle",
            {"-1 < a": a > -1, "on the circle": Eq(FAR, 1)},
            [Eq(squared(1), squared(a))],
            [_cleared, _disk_sign("the last factor is zero", "==")],
        ),
    ),
    _disk,
)

# ---------------------------------------------------------------------------------------------------------
# complex spectra of attention

CONSTANT = (1 + x) ** 2 + y**2
OTHER = (1 + u * x - v * y) ** 2 + (u * y + v * x) ** 2
ROOM = 1 - u**2 - v**2
SMALLER = {"|lambda| < 1": u**2 + v**2 < 1}
#: (1 - |lambda|^2)^2 times the squared distance from the centre, less the squared radius
FAR_COMPLEX = (ROOM * x + 1 - u) ** 2 + (ROOM * y + v) ** 2
NEAR_COMPLEX = (1 - u) ** 2 + v**2
_room = Sign("1 - |lambda|^2 is positive", ROOM, ">")
_cleared_complex = Identity(
    "the distance from the centre, cleared of 1 - |lambda|^2",
    ((x - COMPLEX_CENTRE[0]) ** 2 + (y - COMPLEX_CENTRE[1]) ** 2 - COMPLEX_RADIUS**2) * ROOM**2,
    FAR_COMPLEX - NEAR_COMPLEX,
)


def _complex_sign(says: str, relation: str) -> Sign:
    return Sign(says, CONSTANT - OTHER, relation, times(1 / ROOM, plus(FAR_COMPLEX, -NEAR_COMPLEX)))


def _disk_complex(s: Any) -> dict[str, Query]:
    u, v, x, y = s.Reals("u v x y")
    room = 1 - u * u - v * v
    smaller = {"|lambda| < 1": room > 0}
    # |mu|^2 (1-|lambda|^2)^2 + 2 Re(mu (1-lambda)) (1-|lambda|^2): a product of 1-|lambda|^2 and
    reach = room * (x * x + y * y) + 2 * (x - u * x + v * y)
    inside = s.Or(s.And(room > 0, reach < 0), s.And(room < 0, reach > 0))
    outside = s.Or(s.And(room > 0, reach > 0), s.And(room < 0, reach < 0))
    circle = s.Or(room == 0, reach == 0)
    re, im = 1 + u * x - v * y, u * y + v * x
    constant, other = 1 + 2 * x + x * x + y * y, re * re + im * im
    own = room * room * (x * x + y * y) + 2 * room * (x - u * x)
    real = (1 + u) * (1 + u) * (x * x + y * y) + 2 * x * (1 + u)
    return {
        "inside": Query(smaller | {"inside the disk": inside}, constant < other),
        "outside": Query(smaller | {"outside the disk": outside}, constant > other),
        "on the circle": Query(smaller | {"on the circle": circle}, constant == other),
        "a real eigenvalue": Query({"v = 0": v == 0}, own == (1 - u) * (1 - u) * real),
    }


DISK_COMPLEX = Statement(
    "dominance.disk_complex",
    "A complex eigenvalue lambda of attention, |lambda| < 1, wins over lambda = 1 iff mu lies in the open "
    "disk with centre -(1 - conj(lambda))/(1 - |lambda|^2) and radius |1 - lambda|/(1 - |lambda|^2); outside "
    "it lambda = 1 wins, on the circle they tie. For a real lambda = a this is the disk of dominance.disk.",
    r"|1+\mu\lambda| > |1+\mu| \iff "
    r"\left|\mu + \frac{1-\bar\lambda}{1-|\lambda|^2}\right| < \frac{|1-\lambda|}{1-|\lambda|^2}",
    "derived here",
    (
        Claim(
            "inside",
            SMALLER | {"inside the disk": FAR_COMPLEX < NEAR_COMPLEX},
            [CONSTANT < OTHER],
            [_cleared_complex, _room, _complex_sign("one factor is negative", "<")],
            "mu = x + iy, lambda = u + iv. The inequality of the disk is squared and multiplied by "
            "(1 - |lambda|^2)^2 > 0. With several eigenvalues, lambda = 1 wins over all of them iff mu lies "
            "outside the union of their closed disks.",
        ),
        Claim(
            "outside",
            SMALLER | {"outside the disk": FAR_COMPLEX > NEAR_COMPLEX},
            [CONSTANT > OTHER],
            [_cleared_complex, _room, _complex_sign("both factors are positive", ">")],
        ),
        Claim(
            "on the circle",
            SMALLER | {"on the circle": Eq(FAR_COMPLEX, NEAR_COMPLEX)},
            [Eq(CONSTANT, OTHER)],
            [_cleared_complex, _room, _complex_sign("the last factor is zero", "==")],
        ),
        Claim(
            "a real eigenvalue",
            {"v = 0": Eq(v, 0)},
            [Eq(FAR_COMPLEX - NEAR_COMPLEX, (1 - u) ** 2 * (FAR.subs(a, u) - 1))],
            [
                Identity("the same centre", COMPLEX_CENTRE[0], CENTRE.subs(a, u)),
                Identity("the same radius, squared", COMPLEX_RADIUS**2, RADIUS.subs(a, u) ** 2),
            ],
            "For v = 0 the two conditions differ by the factor (1 - u)^2, positive for u < 1, so they are "
            "the same condition.",
        ),
    ),
    _disk_complex,
)

# ---------------------------------------------------------------------------------------------------------
# what winning does to the frequencies

_MODES = (
    "A and H diagonalizable, X_l the sum over i, j of (1 + lambda_i mu_j)^l c_ij v_i z_j^T, v_1 = 1 the "
    "constant vector. "
)
_IF = (
    _MODES + "R = max_j |1 + mu_j| > 0 is reached at j = k, and q is any number of (0, 1) with "
    "|1 + lambda_i mu_j| <= q R for all i other than 1. Z_l is the sum over these i, and the rest is 1 (pi^T "
    "X_l). Everything is divided by R^l, and power = q^l. By the triangle inequality |Z_l| <= B q^l with B "
    "the sum of |c_ij| |v_i| |z_j| over i other than 1, and h = HFC <= |Z_l| because HFC does not see the "
    "rest. As pi^T X_l w_k = (1 + mu_k)^l c_1k, the rest has norm at least P = sqrt(n) |c_1k| / |w_k|, "
    "positive for generic X_0, and p = LFC is at least P less the norm of the constant part of Z_l. That is "
    "at most |Z_l|, so p >= P - Q B q^l with Q = 1; since pi^T Z_l = 0 it is also at most sqrt(n) |pi - 1/n| "
    "h, so Q may be sqrt(n) |pi - 1/n|, zero for a doubly stochastic A. Then HFC/LFC = h/p is at most B q^l "
    "/ (P - Q B q^l) at every layer where this is positive. If A or H is not diagonalizable, the same holds "
    "for any larger q and some B, as a power of l times a geometric sequence is below a slower geometric "
    "one, and P needs only the eigenvector w_k: 'if' needs no eigenbasis."
)
_ONLY_IF = (
    _MODES
    + "Let power = R^l, where R = max |1 + lambda_i mu_j| over i other than 1 is at least max_j |1 + mu_j|; "
    "R > 0 because 1 + lambda mu_j cannot vanish for lambda = 1 and for a second lambda. Say it is reached "
    "at (i, j). The left eigenvector u_i has u_i^T 1 = 0, so u_i^T X_l w_j = (1 + lambda_i mu_j)^l c_ij sees "
    "only the non-constant part: h = HFC >= b R^l with b = |c_ij| / (|u_i| |w_j|), positive for generic X_0. "
    "And p = LFC <= |X_l| <= C R^l with C the sum of all |c_ij| |v_i| |z_j|. So HFC/LFC >= b/C > 0 at every "
    "layer."
)


def _global(s: Any) -> dict[str, Query]:
    h, p, b, C, power = s.Reals("h p b C power")
    given = {
        "h >= b power": h - b * power >= 0,
        "p <= C power": C * power - p >= 0,
        "b > 0": b > 0,
        "C > 0": C > 0,
    }
    return bernoulli_second(s) | {
        "if: the ratio": ratio_second(s),
        "if: the limit": closing_second(s),
        "only if": Query(given, C * h - b * p >= 0),
    }


GLOBAL = Statement(
    "dominance.global",
    "For diagonalizable A and H and generic X_0, HFC/LFC -> 0 if and only if max_j |1 + mu_j| is larger than "
    "|1 + lambda_i mu_j| for every lambda_i other than 1 and every j. At every depth "
    "HFC/LFC <= B q^l / (P - Q B q^l), wherever that is positive.",
    r"\max_j |1+\mu_j| > \max_{\lambda_i \ne 1,\, j} |1+\lambda_i\mu_j| \iff "
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \to 0,\qquad "
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \le \frac{B q^l}{P - Q B q^l}",
    "derived here",
    (
        ratio("if: the ratio", _IF),
        closing(
            "if: the limit",
            "HFC/LFC is not negative and at most this bound as soon as the denominator is positive. The "
            "second form names the layer from which the bound is below eps, by Bernoulli's inequality.",
        ),
        *bernoulli(),
        Claim(
            "only if",
            {
                "h >= b power": h >= b * power,
                "p <= C power": p <= C * power,
                "b > 0": b > 0,
                "C > 0": C > 0,
            },
            [h * C >= b * p],
            [
                Sign(
                    "neither term is negative",
                    h * C - b * p,
                    ">=",
                    plus(times(C, h - b * power), times(b, C * power - p)),
                )
            ],
            _ONLY_IF,
        ),
    ),
    _global,
)

c, D, m = sympy.symbols("c D m", real=True)
x11, x12, x21, x22 = sympy.symbols("x_11 x_12 x_21 x_22", real=True)
y11, y12, y21, y22 = sympy.symbols("y_11 y_12 y_21 y_22", real=True)
UNIFORM = Matrix([[Rational(1, 2), Rational(1, 2)], [Rational(1, 2), Rational(1, 2)]])
NILPOTENT = Matrix([[0, 1], [0, 0]])
_first = Matrix([[x11, x12], [x21, x22]])


def _after(depth: Any) -> Any:
    """Return the closed form of X_l of the defective example."""
    grown = depth * (x11 + x21) / 2
    return _first + Matrix([[0, grown], [0, grown]])


#: X_l, entry by entry, and the first column's mean c
_COLUMNS = {
    "y_11 = x_11": Eq(y11, x11),
    "y_21 = x_21": Eq(y21, x21),
    "y_12 = x_12 + l c": Eq(y12, x12 + l * (x11 + x21) / 2),
    "y_22 = x_22 + l c": Eq(y22, x22 + l * (x11 + x21) / 2),
}
_LAYER = {"c is the mean of the first column": Eq(c, (x11 + x21) / 2)} | _COLUMNS


def _defective(s: Any) -> dict[str, Query]:
    x11, x12, x21, x22, y11, y12, y21, y22 = s.Reals("x_11 x_12 x_21 x_22 y_11 y_12 y_21 y_22")
    c, l, u, mu, m, D = s.Reals("c l u mu m D")  # noqa: E741
    columns = {
        "y_11 = x_11": y11 == x11,
        "y_21 = x_21": y21 == x21,
        "y_12 = x_12 + l c": 2 * (y12 - x12) == l * (x11 + x21),
        "y_22 = x_22 + l c": 2 * (y22 - x22) == l * (x11 + x21),
    }
    layer = columns | {"c is the mean of the first column": 2 * c == x11 + x21}
    zero = {"l = 0": l == 0}
    # a layer adds the mean of the first column to the second
    step = s.And(
        2 * y12 + y11 + y21 == 2 * x12 + 2 * (l + 1) * c, 2 * y22 + y11 + y21 == 2 * x22 + 2 * (l + 1) * c
    )
    means = (y11 + y21, y12 + y22)  # twice the means of the columns
    low = 2 * (means[0] * means[0] + means[1] * means[1])  # 4 LFC^2 = 4 n |mean row|^2
    off = 2 * (y11 * y11 + y21 * y21 + y12 * y12 + y22 * y22) - (means[0] * means[0] + means[1] * means[1])
    size, root, eps = s.Reals("size root eps")
    far = s.And(
        eps > 0,
        D >= 0,
        size * size == c * c,
        size > 0,
        root > 0,
        4 * eps * root * root > D,
        l * size > root + m,
        l * size > root - m,
        l > 0,
    )
    end = m + l * c
    return {
        "all moduli tie": Query({"mu = 0": mu == 0}, (1 + mu) * (1 + mu) - (1 + mu * u) * (1 + mu * u) == 0),
        "layer 0": Query(
            columns | zero, s.And(y11 - x11 == 0, y12 - x12 == 0, y21 - x21 == 0, y22 - x22 == 0)
        ),
        "one more layer": Query(layer, step),
        "the frequencies": Query(
            layer,
            s.And(
                off == (x11 - x21) * (x11 - x21) + (x12 - x22) * (x12 - x22),
                low == 8 * c * c + 2 * (x12 + x22 + 2 * l * c) * (x12 + x22 + 2 * l * c),
            ),
        ),
        "HFC/LFC -> 0": Query(
            {"c != 0": c * c > 0},
            s.Implies(far, eps * 4 * (c * c + end * end) > D),
            same_symbols=False,
        ),
    }


_means = ((y11 + y21) / 2, (y12 + y22) / 2)
_high = ((y11 - y21) ** 2 + (y12 - y22) ** 2) / 2
_low = 2 * (_means[0] ** 2 + _means[1] ** 2)
_to_zero = Tends("the denominator grows like l^2", D / (4 * (c**2 + (m + l * c) ** 2)), l, sympy.oo, 0)

ONLY_IF_DEFECTIVE = Statement(
    "dominance.only_if_defective",
    "Input convergence (HFC/LFC -> 0) for generic X_0 implies that lambda = 1 strictly dominates, also for "
    "matrices that are not diagonalizable.",
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \to 0 \;\Longrightarrow\; "
    r"\max_j |1+\mu_j| > \max_{\lambda_i \ne 1,\, j} |1+\lambda_i\mu_j|",
    "derived here",
    (
        Claim(
            "all moduli tie",
            {"mu = 0": Eq(mu, 0)},
            [Eq((1 + mu) ** 2, (1 + mu * u) ** 2)],
            [
                Identity("lambda = 1 of A", UNIFORM * Matrix([1, 1]), Matrix([1, 1])),
                Identity("lambda = 0 of A", UNIFORM * Matrix([1, -1]) + Matrix([1, 1]), Matrix([1, 1])),
                Identity(
                    "the characteristic polynomial of H in t: mu = 0 twice",
                    (NILPOTENT - t * sympy.eye(2)).det(),
                    t**2,
                ),
                Identity("1 + mu lambda is 1", (1 + mu) ** 2 - (1 + mu * u) ** 2 + 1, 1),
            ],
            "lambda = u is 1 or 0 and both mu are 0: every 1 + lambda mu is 1, nothing dominates strictly.",
        ),
        Claim(
            "layer 0",
            {"l = 0": Eq(l, 0)} | _COLUMNS,
            [Eq(y11, x11), Eq(y12, x12), Eq(y21, x21), Eq(y22, x22)],
            [Identity("the closed form starts at X_0", _after(sympy.Integer(0)), _first)],
            "X_l has entries y_11, y_12, y_21, y_22 and X_0 has x_11, x_12, x_21, x_22, any real numbers. "
            "Induction on the depth l shows that X_l adds l c to both entries of the second column.",
        ),
        Claim(
            "one more layer",
            _LAYER,
            [
                Eq(y12 + (y11 + y21) / 2, x12 + (l + 1) * c),
                Eq(y22 + (y11 + y21) / 2, x22 + (l + 1) * c),
            ],
            [
                Identity(
                    "X + A X H is the closed form at l + 1",
                    _after(l) + UNIFORM * _after(l) * NILPOTENT,
                    _after(l + 1),
                ),
            ],
            "A X H has the mean of the first column of X in both entries of its second column; the first "
            "column does not change.",
        ),
        Claim(
            "the frequencies",
            _LAYER,
            [
                Eq(4 * _high, 2 * ((x11 - x21) ** 2 + (x12 - x22) ** 2)),
                Eq(_low, 2 * (c**2 + ((x12 + x22) / 2 + l * c) ** 2)),
            ],
            [
                Identity("HFC^2 keeps its value", _high, ((x11 - x21) ** 2 + (x12 - x22) ** 2) / 2),
                Identity(
                    "HFC^2 is what is off the mean row",
                    _high,
                    y11**2 + y12**2 + y21**2 + y22**2 - _low,
                ),
            ],
            "Two rows: LFC^2 is twice the squared norm of the mean row, HFC^2 half that of the difference.",
        ),
        Claim(
            "HFC/LFC -> 0",
            {"c != 0": Ne(c, 0)},
            [_to_zero],
            [Sign("the coefficient of l^2 is positive", c**2, ">"), _to_zero],
            "(HFC/LFC)^2 = D / (4 (c^2 + (m + l c)^2)), D = (x_11 - x_21)^2 + (x_12 - x_22)^2 and "
            "m = (x_12 + x_22)/2; c is not 0 for generic X_0. So t_div closes like l^-2.",
        ),
    ),
    _defective,
    counterexample=r"A = \begin{pmatrix} 1/2 & 1/2 \\ 1/2 & 1/2 \end{pmatrix},\quad "
    r"H = \begin{pmatrix} 0 & 1 \\ 0 & 0 \end{pmatrix},\quad X_0 \text{ generic}",
)

# ---------------------------------------------------------------------------------------------------------
# sharpening and smoothing


def _modulus(real: Any) -> Any:
    """Return |1 + real (u + iv)|^2."""
    return (1 + real * u) ** 2 + (real * v) ** 2


def _left_of_one() -> Sign:
    return Sign(
        "Re lambda < 1: 2 (1 - u) = (1 - u)^2 + v^2 + (1 - |lambda|^2)",
        1 - u,
        ">",
        plus((1 - u) ** 2, v**2, ROOM) / 2,
    )


def _beaten(value: Any) -> Any:
    """Return |1 + value lambda|^2 - (1 + value)^2 in factors."""
    return times(-value, plus((1 - u) ** 2, v**2, times(1 + value, ROOM)))


SHARPENING = {"mu >= -1": mu >= -1, "mu < 0": mu < 0} | SMALLER
mu1, mu2 = sympy.symbols("mu_1 mu_2", real=True)
SEVERAL = (
    {"mu_1 >= -1": mu1 >= -1, "mu_1 < 0": mu1 < 0, "mu_2 >= -1": mu2 >= -1, "mu_2 < 0": mu2 < 0}
    | SMALLER
    | {
        "R^2 >= |1 + mu_1 lambda|^2": _modulus(mu1) <= R**2,
        "R^2 >= |1 + mu_2 lambda|^2": _modulus(mu2) <= R**2,
    }
)


def _sharpen(s: Any) -> dict[str, Query]:
    mu, mu1, mu2, u, v, R = s.Reals("mu mu_1 mu_2 u v R")
    smaller = {"|lambda| < 1": u * u + v * v < 1}

    def modulus(value: Any) -> Any:  # 1 + 2 mu Re(lambda) + mu^2 |lambda|^2
        return 1 + 2 * value * u + value * value * (u * u + v * v)

    several = {
        "mu_1 >= -1": 1 + mu1 >= 0,
        "mu_1 < 0": mu1 < 0,
        "mu_2 >= -1": 1 + mu2 >= 0,
        "mu_2 < 0": mu2 < 0,
        "R^2 >= |1 + mu_1 lambda|^2": modulus(mu1) <= R * R,
        "R^2 >= |1 + mu_2 lambda|^2": modulus(mu2) <= R * R,
    }
    return {
        "one weight eigenvalue": Query(
            smaller | {"mu >= -1": 1 + mu >= 0, "mu < 0": mu < 0}, modulus(mu) > (1 + mu) * (1 + mu)
        ),
        "several weight eigenvalues": Query(
            smaller | several, s.And((1 + mu1) * (1 + mu1) < R * R, (1 + mu2) * (1 + mu2) < R * R)
        ),
    }


def _several(value: Any, name: str) -> Sequence[Sign]:
    return (
        Sign(f"lambda beats 1 for {name}", _modulus(value) - (1 + value) ** 2, ">", _beaten(value)),
        Sign(
            f"so R does, for {name}",
            R**2 - (1 + value) ** 2,
            ">",
            plus(R**2 - _modulus(value), _modulus(value) - (1 + value) ** 2),
        ),
    )


INTERVAL = Statement(
    "sharpen.interval",
    "If every weight eigenvalue is real and in [-1, 0), then every eigenvalue of attention other than 1, "
    "real or complex, beats lambda = 1: lambda = 1 never dominates, and generic X_0 does not converge to "
    "equal tokens.",
    r"-1 \le \mu < 0,\; |\lambda| < 1 \;\Longrightarrow\; |1+\mu\lambda| > 1+\mu \ge 0",
    "real spectra: arXiv 2401.04301; complex spectra derived here",
    (
        Claim(
            "one weight eigenvalue",
            SHARPENING,
            [_modulus(mu) > (1 + mu) ** 2],
            [
                _room,
                _left_of_one(),
                Sign(
                    "|1 + mu lambda|^2 - (1 + mu)^2, in factors",
                    _modulus(mu) - (1 + mu) ** 2,
                    ">",
                    _beaten(mu),
                ),
            ],
            "lambda = u + iv is any eigenvalue of attention other than 1; by Perron |lambda| < 1, and n >= 2 "
            "means there is one.",
        ),
        Claim(
            "several weight eigenvalues",
            SEVERAL,
            [(1 + mu1) ** 2 < R**2, (1 + mu2) ** 2 < R**2],
            [_room, _left_of_one(), *_several(mu1, "mu_1"), *_several(mu2, "mu_2")],
            "R = max_j |1 + mu_j lambda| is at least each of them, so above each 1 + mu_j, whichever is the "
            "largest at lambda = 1 (written for two, the same for d). By 'only if' of dominance.global "
            "HFC/LFC stays above a positive constant when A and H are diagonalizable.",
        ),
    ),
    _sharpen,
)


def _zero(s: Any) -> dict[str, Query]:
    mu, u, v = s.Reals("mu u v")
    re, im = 1 + mu * u, mu * v
    given = {"mu >= -1": mu + 1 >= 0, "mu <= 0": mu <= 0, "|lambda| < 1": u * u + v * v < 1}
    return {
        "not beaten": Query(given, re * re + im * im >= (1 + mu) * (1 + mu)),
        "mu = 0": Query({"mu = 0": mu == 0}, re * re + im * im == (1 + mu) * (1 + mu)),
    }


ZERO = Statement(
    "sharpen.zero",
    "If every weight eigenvalue is real and in [-1, 0], 0 allowed, then lambda = 1 beats no eigenvalue of "
    "attention; at mu = 0 all of them tie. With A and H diagonalizable, generic X_0 still does not converge "
    "to equal tokens.",
    r"-1 \le \mu \le 0,\; |\lambda| < 1 \;\Longrightarrow\; |1+\mu\lambda| \ge 1+\mu",
    "real spectra: arXiv 2401.04301; complex spectra and mu = 0 derived here",
    (
        Claim(
            "not beaten",
            {"mu >= -1": mu >= -1, "mu <= 0": mu <= 0} | SMALLER,
            [_modulus(mu) >= (1 + mu) ** 2],
            [
                _room,
                _left_of_one(),
                Sign("no factor is negative", _modulus(mu) - (1 + mu) ** 2, ">=", _beaten(mu)),
            ],
            "The largest modulus away from lambda = 1 is at least the largest at lambda = 1, which is all "
            "that 'only if' of dominance.global needs.",
        ),
        Claim(
            "mu = 0",
            {"mu = 0": Eq(mu, 0)},
            [Eq(_modulus(mu), (1 + mu) ** 2)],
            [Sign("the factor mu is zero", _modulus(mu) - (1 + mu) ** 2, "==", _beaten(mu))],
            "All eigenvalues of attention tie. An eigenbasis is needed here: dominance.only_if_defective has "
            "mu = 0 twice in one Jordan block, and converges.",
        ),
    ),
    _zero,
)


def _smooth(s: Any) -> dict[str, Query]:
    mu, u, v = s.Reals("mu u v")
    given = {"mu > 0": mu > 0, "|lambda| < 1": u * u + v * v < 1}
    return {
        "lambda = 1 wins": Query(
            given, (1 + mu) * (1 + mu) > 1 + 2 * mu * u + mu * mu * u * u + mu * mu * v * v
        )
    }


SMOOTH = Statement(
    "smooth.interval",
    "If every weight eigenvalue is real and positive, then lambda = 1 dominates strictly, whatever the real "
    "or complex spectrum of attention: generic X_0 converges to equal tokens.",
    r"\mu > 0,\; |\lambda| < 1 \;\Longrightarrow\; 1+\mu > |1+\mu\lambda|",
    "real spectra: arXiv 2401.04301; complex spectra derived here",
    (
        Claim(
            "lambda = 1 wins",
            {"mu > 0": mu > 0} | SMALLER,
            [(1 + mu) ** 2 > _modulus(mu)],
            [
                _room,
                _left_of_one(),
                Sign(
                    "both terms are positive",
                    (1 + mu) ** 2 - _modulus(mu),
                    ">",
                    plus(2 * mu * (1 - u), times(mu**2, ROOM)),
                ),
            ],
            "It holds for each mu_j, so for the largest over j on the right side; then dominance.global.",
        ),
    ),
    _smooth,
)


def _half_plane(s: Any) -> dict[str, Query]:
    x, y, lam = s.Reals("x y lambda")
    given = {"Re mu > 0": x > 0, "-1 < lambda": lam + 1 > 0, "lambda < 1": 1 - lam > 0}
    re, im = 1 + x * lam, y * lam
    return {"lambda = 1 wins": Query(given, (1 + x) * (1 + x) + y * y > re * re + im * im)}


HALF_PLANE = Statement(
    "smooth.right_half_plane",
    "If every weight eigenvalue has a positive real part and the spectrum of attention is real, then lambda "
    "= 1 dominates strictly: generic X_0 converges to equal tokens.",
    r"\Re\mu > 0,\; -1 < \lambda < 1 \;\Longrightarrow\; |1+\mu| > |1+\mu\lambda|",
    "real mu: arXiv 2401.04301; complex mu derived here",
    (
        Claim(
            "lambda = 1 wins",
            {"Re mu > 0": x > 0, "-1 < lambda": lam > -1, "lambda < 1": lam < 1},
            [squared(1) > squared(lam)],
            [
                Sign(
                    "both factors are positive",
                    squared(1) - squared(lam),
                    ">",
                    times(1 - lam, plus(2 * x, times(1 + lam, x**2 + y**2))),
                )
            ],
            "mu = x + iy. It holds for each mu_j, so for the largest over j on the right side; then "
            "dominance.global.",
        ),
    ),
    _half_plane,
)

_row = (Rational(1, 40), Rational(37, 40), Rational(1, 40), Rational(1, 40))
#: positive circulant attention with the eigenvalues 1, 9i/10, -9/10, -9i/10
CIRCULANT = Matrix(4, 4, lambda i, j: _row[(j - i) % 4])
#: weights with the eigenvalues 1 + 5i and 1 - 5i
TURNING = Matrix([[1, -5], [5, 1]])
c0, c1, c2, c3 = sympy.symbols("c_0 c_1 c_2 c_3", real=True)
_cos, _sin = (1, 0, -1, 0), (0, -1, 0, 1)
_entries = {f"c_{i} = {_row[i]}": Eq((c0, c1, c2, c3)[i], _row[i]) for i in range(4)}


def _times_circulant(entries: Sequence[Any], vector: Sequence[int]) -> list[Any]:
    return [sum(entries[(j - i) % 4] * vector[j] for j in range(4)) for i in range(4)]


def _pair(u_value: Any, v_value: Any) -> dict[str, Any]:
    given = {"x = 1": Eq(x, 1), "y = 5": Eq(y, 5)}
    return given | {f"u = {u_value}": Eq(u, u_value), f"v = {v_value}": Eq(v, v_value)}


def _complex(s: Any) -> dict[str, Query]:
    x, y, u, v = s.Reals("x y u v")
    c = s.Reals("c_0 c_1 c_2 c_3")
    entries = {f"c_{i} = {_row[i]}": 40 * c[i] == (37 if i == 1 else 1) for i in range(4)}
    # A (p + i s) = -(9/10) i (p + i s) with p = (1, 0, -1, 0), s = (0, -1, 0, 1)
    real = [c[0] - c[2] == 0, 10 * (c[3] - c[1]) == -9, c[2] - c[0] == 0, 10 * (c[1] - c[3]) == 9]
    imaginary = [10 * (c[3] - c[1]) == -9, c[2] - c[0] == 0, 10 * (c[1] - c[3]) == 9, c[0] - c[2] == 0]
    mu = {"x = 1": x == 1, "y = 5": y == 5}
    first = mu | {"u = 0": u == 0, "v = -9/10": 10 * v == -9}
    second = mu | {"u = -27/32": 32 * u == -27, "v = -1/2": 2 * v == -1}
    re, im = 1 + u * x - v * y, u * y + v * x
    loses = s.And(u * u + v * v < 1, x > 0, (1 + x) * (1 + x) + y * y < re * re + im * im)
    return {
        "a complex eigenvalue of attention": Query(entries, s.And(*real, *imaginary)),
        "lambda = 1 loses": Query(first, loses),
        "lambda = 1 loses to another": Query(second, loses),
    }


_vector = Matrix([p_ + I * s_ for p_, s_ in zip(_cos, _sin, strict=True)])
_loses = [u**2 + v**2 < 1, x > 0, CONSTANT < OTHER]
_wrong_way = [
    Sign("lambda is inside the unit circle", u**2 + v**2 - 1, "<"),
    Sign("mu is in the right half plane", x, ">"),
    Sign("and yet", CONSTANT - OTHER, "<"),
]

COMPLEX = Statement(
    "smooth.complex",
    "Weight eigenvalues with positive real parts smooth, whatever the spectrum of attention.",
    r"\Re\mu_j > 0 \;\Longrightarrow\; \max_j |1+\mu_j| > \max_{\lambda_i \ne 1,\, j} |1+\lambda_i\mu_j|",
    "derived here",
    (
        Claim(
            "a complex eigenvalue of attention",
            _entries,
            [
                *(
                    Eq(e, Rational(9, 10) * w)
                    for e, w in zip(_times_circulant((c0, c1, c2, c3), _cos), _sin, strict=True)
                ),
                *(
                    Eq(e, -Rational(9, 10) * w)
                    for e, w in zip(_times_circulant((c0, c1, c2, c3), _sin), _cos, strict=True)
                ),
            ],
            [
                Identity("the rows of A sum to one", CIRCULANT * sympy.ones(4, 1), sympy.ones(4, 1)),
                Identity("lambda = -9i/10", CIRCULANT * _vector, -Rational(9, 10) * I * _vector),
                Identity(
                    "lambda = -9/10",
                    CIRCULANT * Matrix([1, -1, 1, -1]),
                    -Rational(9, 10) * Matrix([1, -1, 1, -1]),
                ),
            ],
            "A is the positive circulant with first row (c_0, c_1, c_2, c_3); the real and imaginary parts "
            "of the eigenvector are (1, 0, -1, 0) and (0, -1, 0, 1). A circulant is normal, so A is "
            "diagonalizable; its eigenvalues are 1, -9/10 and the pair +-9i/10.",
        ),
        Claim(
            "lambda = 1 loses",
            _pair(sympy.Integer(0), -Rational(9, 10)),
            _loses,
            [
                Identity(
                    "mu = 1 + 5i is an eigenvalue of H",
                    TURNING * Matrix([1, -I]),
                    (1 + 5 * I) * Matrix([1, -I]),
                ),
                Identity("so is mu = 1 - 5i", TURNING * Matrix([1, I]), (1 - 5 * I) * Matrix([1, I])),
                *_wrong_way,
            ],
            "Both mu have |1 + mu|^2 = 29, but |1 + mu lambda|^2 = 31.06: lambda = 1 does not dominate, and "
            "by 'only if' of dominance.global generic X_0 does not converge to equal tokens.",
        ),
        Claim(
            "lambda = 1 loses to another",
            _pair(-Rational(27, 32), -Rational(1, 2)),
            _loses,
            _wrong_way,
            "The same with lambda = -27/32 - i/2: 30026/1024 against 29.",
        ),
    ),
    _complex,
    counterexample=r"A = \operatorname{circ}(1/40, 37/40, 1/40, 1/40),\quad "
    r"H = \begin{pmatrix} 1 & -5 \\ 5 & 1 \end{pmatrix},\quad \lambda = -9i/10,\; \mu = 1+5i",
)

# ---------------------------------------------------------------------------------------------------------
# no residual connection

PRODUCT = (u * x - v * y) ** 2 + (u * y + v * x) ** 2
_NO_RESIDUAL = (
    "X_l = A^l X_0 H^l = 1 (pi^T X_0 H^l) + Z_l with Z_l = (A - 1 pi^T)^l X_0 H^l, and A - 1 pi^T has the "
    "eigenvalues of A with 0 in place of 1. R = max_j |mu_j| > 0 as H is not nilpotent (if it is, X_l = 0 "
    "from some layer on and there is no ratio), and generic means pi^T X_0 w_k != 0 for some k with |mu_k| = "
    "R. Everything is divided by R^l and power = q^l, q any number of (0, 1) with |lambda_i| <= q for all i "
    "other than 1, so that |lambda_i mu_j| <= q R; B is the sum of |c_ij| |v_i| |z_j| over those i if A and "
    "H are diagonalizable, and otherwise q is slightly larger, to absorb powers of l in |Z_l|. Then h = HFC "
    "<= |Z_l| <= B q^l, and as pi^T X_0 H^l w_k = mu_k^l pi^T X_0 w_k, p = LFC >= P - Q B q^l with P = "
    "sqrt(n) |pi^T X_0 w_k| / |w_k| and Q = 1, as in dominance.global."
)


def _lowpass(s: Any) -> dict[str, Query]:
    u, v, x, y = s.Reals("u v x y")
    given = {"|lambda| < 1": u * u + v * v < 1, "mu != 0": x * x + y * y > 0}
    return {
        "every other eigenvalue shrinks": Query(
            given, u * u * x * x + v * v * y * y + u * u * y * y + v * v * x * x < x * x + y * y
        ),
        "the ratio": ratio_second(s),
        "the limit": closing_second(s),
    }


LOWPASS = Statement(
    "noresidual.lowpass",
    "Without the residual connection, X <- A X H, attention is a low-pass filter whatever the weights: "
    "HFC/LFC -> 0 for every H that is not nilpotent and generic X_0.",
    r"X_{l+1} = A X_l H:\quad |\lambda\mu| < |\mu|,\qquad "
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \le \frac{B q^l}{P - Q B q^l} \to 0",
    "derived here",
    (
        Claim(
            "every other eigenvalue shrinks",
            SMALLER | {"mu != 0": x**2 + y**2 > 0},
            [x**2 + y**2 > PRODUCT],
            [
                _room,
                Sign("|mu|^2 (1 - |lambda|^2)", x**2 + y**2 - PRODUCT, ">", times(x**2 + y**2, ROOM)),
            ],
            "The eigenvalues of a layer are lambda mu, those of lambda = 1 are mu. mu = 0 would tie, at "
            "zero.",
        ),
        ratio("the ratio", _NO_RESIDUAL),
        closing("the limit", "As in dominance.global, where Bernoulli's inequality is proved."),
    ),
    _lowpass,
)

STATEMENTS = (
    ENDPOINTS,
    REAL,
    DISK,
    DISK_COMPLEX,
    GLOBAL,
    ONLY_IF_DEFECTIVE,
    INTERVAL,
    ZERO,
    SMOOTH,
    HALF_PLANE,
    COMPLEX,
    LOWPASS,
)
