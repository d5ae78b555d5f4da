"""The effective rank approaches 1 like l q_rank^l."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..defective.shared import near, size

PLACE = 90

depth, mm, S, U, k, hh, E, C, sig, slope_q = sympy.symbols("l m S U k h E C s ln_q", real=True)

_ENTROPY = sympy.log(1 + sig) - sig * sympy.log(sig) / (1 + sig)
_ALONE = (sympy.exp(_ENTROPY) - 1) / (sig * (1 - sympy.log(sig)))


def second(s: Any) -> dict[str, Query]:
    S, U, k, h, E, m, C, sig, L, w, g, eps = s.Reals("S U k h E m C s L w g eps")
    depth, lnC, lnq = s.Reals("l k ln_q")
    return {
        "two sides": Query(
            {
                "S > 0": S > 0,
                "U >= 0": U >= 0,
                "S <= m - 1": m >= 1 + S,
                "k <= S": k <= S,
                "k (1+S) >= S": k + k * S >= S,
                "h (1+S) = k (1+S) + U": (h - k) + (h - k) * S == U,
                "E >= 1 + h": E - h >= 1,
                "E - 1 <= h E": E - h * E <= 1,
                "E <= m": m >= E,
            },
            s.And(m * E - m >= S + U, 1 + m * S + m * U >= E),
        ),
        # g = s (1 + L) with L = -ln s; w^2 = s, and L = -2 ln w <= 2 (1/w - 1)
        "two values": Query(
            {},
            s.And(
                s.Implies(
                    s.And(
                        sig > 0,
                        g > 0,
                        h + h * sig >= g,
                        h <= g,
                        1 + h <= E,
                        h * E >= E - 1,
                        eps > 0,
                        sig <= eps,
                        g + eps * g <= eps,
                    ),
                    s.And(g + eps * g >= E - 1, g <= (E - 1) + eps * (E - 1)),
                ),
                s.Implies(s.And(w > 0, w <= 1, L * w <= 2 - 2 * w), w * w * (1 + L) <= 2 * w),
            ),
            same_symbols=False,
        ),
        "in depth": Query(
            {"C > 0": C > 0, "ln q < 0": lnq < 0},
            s.And(
                C * lnq < 0,
                s.Implies(
                    s.And(eps > 0, depth > 0, depth * eps > size(s, C - C * lnC)),
                    near(s, C - C * lnC - depth * C * lnq, 0 - depth * C * lnq, eps * depth),
                ),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "rates.effective_rank",
    "If sigma_2/sigma_1 closes like q_rank^l, the effective rank exp(entropy of sigma/sum sigma) "
    "approaches 1 like l q_rank^l: the power of l comes from the logarithm in the entropy.",
    r"\tfrac{1}{m}\sum_{k\ge2} s_k (1 - \ln s_k) \le \mathrm{erank} - 1 \le m \sum_{k\ge2} s_k (1 - \ln "
    r"s_k),\quad s_k = \sigma_k/\sigma_1",
    "derived here; arXiv 2401.04301 leaves rates open",
    (
        Claim(
            "two sides",
            {
                "S > 0": S > 0,
                "U >= 0": U >= 0,
                "S <= m - 1": mm - 1 >= S,
                "k <= S": k <= S,
                "k (1+S) >= S": k * (1 + S) >= S,
                "h (1+S) = k (1+S) + U": Eq(hh * (1 + S), k * (1 + S) + U),
                "E >= 1 + h": 1 + hh <= E,
                "E - 1 <= h E": hh * E >= E - 1,
                "E <= m": mm >= E,
            },
            [mm * (E - 1) >= S + U, mm * (S + U) >= E - 1],
            [
                Sign("m is positive", mm, ">", plus(mm - 1 - S, 1, S)),
                Sign(
                    "the entropy from below",
                    hh * (1 + S) - S - U,
                    ">=",
                    plus(k * (1 + S) - S, hh * (1 + S) - k * (1 + S) - U),
                ),
                Sign("it is positive", hh, ">", plus(hh * (1 + S) - S - U, S, U) / (1 + S)),
                Sign(
                    "and from above",
                    S + U - hh,
                    ">=",
                    plus(times(S - k, 1 + S), times(S, U), -plus(hh * (1 + S), -k * (1 + S), -U)) / (1 + S),
                ),
                Sign(
                    "its exponential from below",
                    mm * (E - 1) - S - U,
                    ">=",
                    plus(times(mm, E - 1 - hh), times(hh, mm - 1 - S), hh * (1 + S) - S - U),
                ),
                Sign(
                    "and from above",
                    mm * (S + U) - (E - 1),
                    ">=",
                    plus(times(mm, S + U - hh), times(mm - E, hh), hh * E - E + 1),
                ),
            ],
            "m singular values, s_k = sigma_k/sigma_1 <= 1, S = sum_(k>=2) s_k, U = -sum_(k>=2) s_k ln "
            "s_k; the entropy is h = ln(1+S) + U/(1+S). k = ln(1+S) and E = e^h enter by S/(1+S) <= "
            "ln(1+S) <= S, e^h >= 1 + h, e^(-h) >= 1 - h and h <= ln m, all the tangent inequality ln x "
            "<= x - 1 (for the last one, sum_k p_k ln(1/(m p_k)) <= sum_k (1/m - p_k) = 0). s (1 - ln "
            "s) is increasing on (0, 1], so S + U is between s_2 (1 - ln s_2) and m - 1 times it.",
        ),
        Claim(
            "two values",
            {},
            [Tends("the constant is 1", _ALONE, sig, 0, 1)],
            [Tends("the constant is 1", _ALONE, sig, 0, 1)],
            "sigma = (1, s): erank - 1 is s (1 - ln s) to first order.",
        ),
        Claim(
            "in depth",
            {"C > 0": C > 0, "ln q < 0": slope_q < 0},
            [
                Tends("l q^l is left", C * (1 - k - depth * slope_q) / depth, depth, oo, -C * slope_q),
                -C * slope_q > 0,
            ],
            [
                Sign("the limit is positive", -C * slope_q, ">"),
                Identity(
                    "divide by l",
                    C * (1 - k - depth * slope_q) / depth,
                    plus(-C * slope_q, C * (1 - k) / depth),
                ),
                Tends("l q^l is left", C * (1 - k - depth * slope_q) / depth, depth, oo, -C * slope_q),
            ],
            "s = C q^l, k = ln C: s (1 - ln s)/(l q^l) = C (1 - ln C - l ln q)/l. With s between two "
            "multiples of q^l, as in rank_gap, erank - 1 is between two multiples of l q^l.",
        ),
    ),
    second,
)
