"""Count how many numbers of linsim are wrong, withheld, or carry a wrong error: a harness, not a test.

    python -m tests.reliability --count 1000 --seed 0 [--family NAME ...] [--dtype float32] [--method M]
                                [--metrics all|random|NAME,NAME] [--jobs 1] [--json FILE] [--index I] [--deep]

A system is drawn from (seed, index, family) alone: attention x weights x tokens x rule.  The truth is
the same layers in ball arithmetic (python-flint), with bits added until every metric is known; it shares
no line with linsim.  What balls cannot separate from zero even then is an interval, and a value outside of
it counts as wrong.  (Family "sizes", large and in float32 only: the truth is float64.)  Beside it stands
the plain formula, NumPy in the precision of the run: what it gets right must not be withheld.

What a float matrix of attention stands for: rows divided by their exact sums; where the columns sum to 1
as well, up to the rounding of the run's dtype, the doubly stochastic matrix Pi + (I - Pi) A (I - Pi).
A token that is zero and attends (entries other than 0) to none that is not stays zero.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx

import linsim
from linsim._kernels import first_use

if __package__:  # as a program
    from .oracles.iterated import general_attention
else:
    from oracles.iterated import general_attention

PLAIN = ("token_similarity", "hfc_lfc", "cosine", "abs_cosine", "effective_rank", "stable_rank")
GAPS = (
    "log_token_diversity",
    "log_hfc_lfc",
    "log_cosine_gap",
    "log_abs_cosine_gap",
    "log_effective_rank_gap",
    "log_rank_gap",
    "log_norm",
    "log_spread",
)
NAMES = PLAIN + GAPS

#: what a reported number may be off: (plain metrics absolute, relative; gaps in the logarithm)
TOLERANCE = {"float64": (1e-3, 1e-6, 1e-2), "float32": (1e-2, 1e-4, 1e-2)}
#: how close to the truth the plain formula is right
RIGHT = {"float64": 1e-6, "float32": 1e-4}


# --- balls --------------------------------------------------------------------------------


def exact(x: Any) -> arb_mat:
    """A matrix of floats as balls without radius."""
    return arb_mat([[arb(float(v)) for v in row] for row in np.asarray(x)])


def rows_of(X: arb_mat) -> list[list[arb]]:
    entries, d = X.entries(), X.ncols()
    return [entries[i * d : (i + 1) * d] for i in range(X.nrows())]


def meant(A: Any, dtype: str) -> arb_mat:
    """The stochastic matrix that floats stand for."""
    A = np.asarray(A, dtype=float)
    n = len(A)
    tolerance = 16 * n * float(np.finfo(dtype).eps)
    if np.max(np.abs(A.sum(0) - 1)) <= tolerance:
        rows = rows_of(exact(A))
        right = [sum(row, arb(0)) / n for row in rows]  # A 1 / n
        down = [sum(column, arb(0)) / n for column in zip(*rows, strict=True)]
        shift = (1 + sum(right, arb(0))) / n  # Pi + Pi A Pi
        return arb_mat(
            [[a - p - q + shift for a, q in zip(row, down, strict=True)]
             for row, p in zip(rows, right, strict=True)]
        )  # fmt: skip
    rows = []
    for row in rows_of(exact(A)):
        total = sum(row, arb(0))
        rows.append([a / total for a in row])
    return arb_mat(rows)


Interval = tuple[float, float]


def _plain(ball: arb) -> Interval:
    if not ball.is_finite():
        return -math.inf, math.inf
    return float(ball.lower()), float(ball.upper())


def _log(ball: arb, factor: float = 1.0) -> Interval:
    """factor ln of a ball of a number >= 0."""
    if not ball.is_finite():
        return -math.inf, math.inf
    top = ball.upper()
    if not top > 0:
        return -math.inf, -math.inf
    high = factor * float(top.log().mid())
    low = factor * float(ball.lower().log().mid()) if ball.lower() > 0 else -math.inf
    return low, high


def _exponent(entries: list[arb]) -> int | None:
    """log2 of the largest midpoint, rounded up; None where all are zero."""
    best = None
    for e in entries:
        man, power = e.mid().man_exp()
        if man != 0:
            size = int(power) + int(abs(man).bit_length())
            best = size if best is None or size > best else best
    return best


def _floats(entries: list[arb], shape: tuple[int, int]) -> tuple[np.ndarray, int, float]:
    """Midpoints scaled to at most 1, the exponent taken out, and the largest radius in that unit."""
    k = _exponent(entries)
    if k is None:
        k = 0
    unit = arb(2) ** (-k)
    scaled = [e * unit for e in entries]
    radius = max(float(e.rad()) for e in scaled)
    return np.array([float(e.mid()) for e in scaled]).reshape(shape), k, radius


def metrics(X: arb_mat) -> dict[str, Interval]:
    """Every metric of a state of balls, as the interval in which it lies."""
    n, d = X.nrows(), X.ncols()
    rows = rows_of(X)
    if not all(v.is_finite() for row in rows for v in row):
        return dict.fromkeys(NAMES, (-math.inf, math.inf))
    zero = arb(0)
    squares = [sum((v * v for v in row), zero) for row in rows]
    total = sum(squares, zero)
    sums = [sum(column, zero) for column in zip(*rows, strict=True)]
    centred = [[n * v - s for v, s in zip(row, sums, strict=True)] for row in rows]  # n times the rest
    flat = [v for row in centred for v in row]
    high, low = sum((v * v for v in flat), zero) / (n * n), sum((s * s for s in sums), zero) / n
    nothing = (-math.inf, math.inf)
    out: dict[str, Interval] = dict.fromkeys(NAMES, nothing)
    out["log_norm"] = _log(total, 0.5)
    if total.lower() > 0:
        out["token_similarity"] = _plain(low / total)
        out["log_token_diversity"] = _log(high / total)
        if low.lower() > 0:
            out["hfc_lfc"] = _plain((high / low).nonnegative_part().sqrt())
            out["log_hfc_lfc"] = _log(high / low, 0.5)
        elif high.lower() > 0:
            small, large = _log(low / high, -0.5), math.inf
            out["log_hfc_lfc"] = small[1], large
            out["hfc_lfc"] = math.exp(min(709.0, small[1])), large
    out["log_spread"] = _spread(flat, n, d)
    out |= _angles(rows, squares)
    if total.lower() > 0:
        out |= _ranks(X, rows)
    return out


def _spread(flat: list[arb], n: int, d: int) -> Interval:
    if _exponent(flat) is None:  # nothing but radii
        return _log(4 * sum((v * v for v in flat), arb(0)) / (n * n), 0.5)
    C, k, radius = _floats(flat, (n, d))
    most = max(float(np.max(np.linalg.norm(C - C[i], axis=1))) for i in range(n))
    shift = k * math.log(2) - math.log(n)
    error = 2 * radius * math.sqrt(d)
    low = math.log(most - error) + shift if most > error else -math.inf
    return low, math.log(most + error) + shift if most + error > 0 else -math.inf


def _angles(rows: list[list[arb]], squares: list[arb]) -> dict[str, Interval]:
    n = len(rows)
    absent = [all(v.is_zero() for v in row) for row in rows]
    if any(not a and not s.lower() > 0 for a, s in zip(absent, squares, strict=True)):
        unknown = {"cosine": (-1.0, 1.0), "abs_cosine": (0.0, 1.0)}
        return unknown | {"log_cosine_gap": (-math.inf, math.log(2)), "log_abs_cosine_gap": (-math.inf, 0.0)}
    units = [[v * (arb(0) if a else s.rsqrt()) for v in row]
             for row, s, a in zip(rows, squares, absent, strict=True)]  # fmt: skip
    U = arb_mat(units)
    G = rows_of(U * U.transpose())
    signed = absolute = arb(0)
    for i in range(n):
        for j in range(i):
            c = G[i][j]
            signed += 1 - c
            absolute += 1 - abs(c)
    pairs = n * (n - 1) // 2
    signed, absolute = (signed / pairs).nonnegative_part(), (absolute / pairs).nonnegative_part()
    return {
        "cosine": _plain(1 - signed),
        "log_cosine_gap": _log(signed),
        "abs_cosine": _plain(1 - absolute),
        "log_abs_cosine_gap": _log(absolute),
    }


def _ranks(X: arb_mat, rows: list[list[arb]]) -> dict[str, Interval]:
    """Ranks: float64 where the second value is not small, else behind the leading pair, taken off first."""
    n, d = X.nrows(), X.ncols()
    Xf, _, radius = _floats([v for row in rows for v in row], (n, d))
    sigma = np.linalg.svd(Xf, compute_uv=False)
    ratio = float(sigma[1] / sigma[0])
    if ratio > 0.1:
        sharp = radius * math.sqrt(n * d) <= 1e-15
        return _from_shares(sigma[1:] / sigma[0], 0.0) if sharp else {}
    # power iteration: each round multiplies what is wrong by ratio^2
    Y = X if n <= d else X.transpose()
    k, m = Y.nrows(), Y.ncols()
    Z = Y.mid()
    v = arb_mat(1, m, rows_of(Z)[int(np.argmax(np.linalg.norm(Xf if n <= d else Xf.T, axis=1)))])
    for _ in range(max(4, math.ceil(24 / -math.log10(max(ratio, 1e-12))))):
        u = Z * v.transpose()
        v = u.transpose() * Z
        scale = arb(2) ** (-(_exponent(v.entries()) or 0))
        v = arb_mat(1, m, [(e * scale).mid() for e in v.entries()])
    length = sum((e * e for e in v.entries()), arb(0))
    u = Y * v.transpose()  # sigma_1 |v| times the left vector
    rest = Y - arb_mat(k, m, [a * b / length for a in u.entries() for b in v.entries()])
    first = (sum((e * e for e in u.entries()), arb(0)) / length).sqrt()
    R, e_rest, rad = _floats(rest.entries(), (k, m))
    second = np.linalg.svd(R, compute_uv=False)
    if rad * math.sqrt(k * m) > 1e-15 * second[0]:
        bound = arb(2) ** e_rest * arb(float(second[0]) + rad * math.sqrt(k * m))
        top = _log(bound / first)[1]
        out = {"log_rank_gap": (-math.inf, top)}
        if top < -80:  # the plain ones are known nevertheless
            out |= {"stable_rank": (1.0, 1.0), "effective_rank": (1.0, 1.0)}
            out["log_effective_rank_gap"] = (-math.inf, top + math.log(min(n, d) * (1 - top)))
        return out
    unit = _log(arb(2) ** e_rest / first)
    return _from_shares(second[: min(n, d) - 1], (unit[0] + unit[1]) / 2)


def _from_shares(m: np.ndarray, shift: float) -> dict[str, Interval]:
    """Ranks from sigma_k / sigma_1 = m_k exp(shift), k >= 2."""
    if not m[0] > 0:  # exactly of rank 1
        gaps = dict.fromkeys(("log_effective_rank_gap", "log_rank_gap"), (-math.inf, -math.inf))
        return gaps | dict.fromkeys(("effective_rank", "stable_rank"), (1.0, 1.0))
    f = math.exp(shift) if shift > -700 else 0.0
    total = float(np.sum(m))
    here = m[m > 0]
    # entropy / f: -sum p ln p = log1p(T) - sum p_k ln m_k, in units of f
    lead = math.log1p(f * total) / f if f > 1e-300 else total
    entropy = lead - float(np.sum(here * (np.log(here) + shift))) / (1 + f * total)
    E = f * entropy
    grown = math.log(math.expm1(E) / E) if E > 1e-300 else 0.0
    values = {
        "effective_rank": math.exp(E),
        "log_effective_rank_gap": math.log(entropy) + shift + grown,
        "stable_rank": 1 + float(np.sum((f * m) ** 2)),
        "log_rank_gap": math.log(m[0]) + shift,
    }
    return {name: (v, v) for name, v in values.items()}


def known(interval: Interval) -> bool:
    low, high = interval
    if low == high == -math.inf:
        return True
    return math.isfinite(low) and math.isfinite(high) and high - low <= 1e-13 * max(1e-3, abs(high))


# --- what is drawn ------------------------------------------------------------------------


@dataclass
class System:
    """One system: how linsim is called, and its layers in balls and in plain NumPy."""

    family: str
    index: int
    rule: Any
    x0: np.ndarray
    layers: list[int]
    dtype: str
    kind: str
    heads: Callable[[int], list[tuple[np.ndarray, np.ndarray]]] | None = None
    block: dict[str, Any] | None = None
    drawn: dict[str, list[np.ndarray]] = field(default_factory=dict)  # by what: one matrix for each layer
    note: str = ""
    bias: Callable[[int], Any] | None = None  # by layer, what every token is given
    general: bool = False  # rows of attention are no probabilities

    @property
    def depth(self) -> int:
        return self.layers[-1]


#: what was drawn, by the state of the stream before: {key: (array, state after)}.  A dictionary here keeps
#: every draw, and hands it out again: draws go through BLAS, whose last bits depend on the processor.
memory: dict[str, tuple[np.ndarray, str]] | None = None


def _remembered(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    @functools.wraps(function)
    def wrapper(kind: str, rng: np.random.Generator, *args: Any) -> np.ndarray:
        if memory is None:
            return function(kind, rng, *args)
        sizes = [arg for arg in args if isinstance(arg, int)]
        before = f"{function.__name__} {kind} {sizes} {json.dumps(rng.bit_generator.state)}"
        key = hashlib.sha256(before.encode()).hexdigest()
        if key not in memory:
            drawn = function(kind, rng, *args)
            memory[key] = drawn, json.dumps(rng.bit_generator.state)
        drawn, after = memory[key]
        rng.bit_generator.state = json.loads(after)
        return drawn.copy()

    return wrapper


def _softmax(scores: np.ndarray) -> np.ndarray:
    W = np.exp(scores - scores.max(-1, keepdims=True))
    return W / W.sum(-1, keepdims=True)


def _scores(rng: np.random.Generator, n: int, temperature: float) -> np.ndarray:
    k = max(2, n // 2)
    return rng.normal(size=(n, k)) @ rng.normal(size=(k, n)) / math.sqrt(k) / temperature


def _symmetric(rng: np.random.Generator, n: int) -> np.ndarray:
    if n == 1:
        return np.ones((1, 1))
    off = np.eye(n) - 1 / n
    S = rng.normal(size=(n, n))
    S = off @ (S + S.T) @ off
    S *= rng.uniform(0.2, 0.95) / n / np.max(np.abs(S))
    return 1 / n + (S + S.T) / 2


@_remembered
def attention(kind: str, rng: np.random.Generator, n: int) -> np.ndarray:
    temperature = float(rng.choice([0.1, 0.3, 1.0, 3.0]))
    place = np.arange(n)
    if kind == "base":
        return _softmax(_scores(rng, n, float(rng.choice([0.5, 1.0, 2.0]))))
    if kind == "softmax":
        return _softmax(_scores(rng, n, temperature))
    if kind == "causal":
        return _softmax(np.where(place[:, None] >= place, _scores(rng, n, 1.0), -np.inf))
    if kind == "banded":
        near = np.abs(place[:, None] - place) <= rng.integers(1, max(2, n // 3) + 1)
        return _softmax(np.where(near, _scores(rng, n, 1.0), -np.inf))
    if kind == "sink":
        scores = _scores(rng, n, 1.0)
        scores[:, rng.integers(n)] += rng.uniform(3, 15)
        return _softmax(scores)
    if kind == "symmetric":
        return _symmetric(rng, n)
    if kind == "landmarks":
        return _softmax(_scores(rng, n, 1.0)[:, :2]) @ _softmax(_scores(rng, n, 1.0)[:2])
    if kind == "nearly reducible":
        half = max(1, n // 2)
        same = (place[:, None] < half) == (place < half)
        A = _softmax(np.where(same, _scores(rng, n, 1.0), -np.inf))
        share = 10.0 ** rng.uniform(-9, -2)
        A = A + share * _softmax(_scores(rng, n, 1.0))
        return A / A.sum(1, keepdims=True)
    raise ValueError(kind)


def _basis(rng: np.random.Generator, d: int, condition: float) -> np.ndarray:
    P, _ = np.linalg.qr(rng.normal(size=(d, d)))
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return P @ np.diag(np.geomspace(1, 1 / condition, d)) @ Q


@_remembered
def weights(kind: str, rng: np.random.Generator, d: int) -> np.ndarray:
    if kind in ("base", "gaussian"):
        return rng.normal(size=(d, d)) / math.sqrt(d) * rng.uniform(0.3, 1.5)
    if kind in ("low rank, float32", "low rank, float64"):
        r, t = max(1, d // 8), np.float32 if kind.endswith("32") else np.float64
        left, right = (rng.normal(size=s) / math.sqrt(d) for s in ((d, r), (r, d)))
        return np.asarray(left.astype(t) @ right.astype(t) * t(rng.uniform(1, 3)), dtype=float)
    if kind.startswith("non-normal"):
        if rng.random() < 0.2:
            H = np.diag(rng.uniform(-1, 1, size=d))
            return H + np.triu(rng.normal(size=(d, d)), 1) * 10.0 ** rng.uniform(1, 4)
        low, high = (4, 6) if kind.endswith("strong") else (1, 4)
        V = _basis(rng, d, 10.0 ** rng.uniform(low, high))
        return V @ np.diag(rng.uniform(-1, 1, size=d)) @ np.linalg.inv(V)
    if kind == "spectral radius":
        H = rng.normal(size=(d, d))
        return H / np.max(np.abs(np.linalg.eigvals(H))) * rng.uniform(0.1, 5)
    if kind == "reflections":
        Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
        signs = rng.choice([-1.0, 1.0], size=d)
        if rng.random() < 0.3:
            signs[0] += 2.0 ** -rng.integers(10, 30)
        return np.diag(signs) if rng.random() < 0.2 else Q @ np.diag(signs) @ Q.T
    if kind == "defective":
        mu, J = rng.uniform(-1.5, 1), np.diag(rng.uniform(-1, 1, size=d))
        size = int(rng.integers(2, min(d, 4) + 1))
        J[:size, :size] = mu * np.eye(size) + np.eye(size, k=1)
        V = _basis(rng, d, float(rng.choice([1.0, 3.0])))
        return J if rng.random() < 0.3 else V @ J @ np.linalg.inv(V)
    if kind == "complex pairs":
        D = np.diag(rng.uniform(-1, 1, size=d))
        for k in range(0, d - 1, 2):
            a, b = rng.uniform(-1, 1), rng.uniform(0.1, 1)
            D[k : k + 2, k : k + 2] = [[a, b], [-b, a]]
        V = _basis(rng, d, float(rng.choice([1.0, 5.0])))
        return V @ D @ np.linalg.inv(V)
    if kind == "sharpening":
        Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
        H = Q @ np.diag(-rng.uniform(0, 1, size=d)) @ Q.T
        return (H + H.T) / 2
    raise ValueError(kind)


@_remembered
def tokens(kind: str, rng: np.random.Generator, n: int, d: int, A: np.ndarray, H: np.ndarray) -> np.ndarray:
    x = rng.normal(size=(n, d))
    if kind == "base":
        return x + rng.choice([0.0, 0.0, 1.0, 3.0]) * rng.normal(size=d)
    if kind == "heavy-tailed":
        return rng.standard_t(1.2, size=(n, d))
    if kind == "massive feature":
        x[:, rng.integers(d)] *= 10.0 ** rng.uniform(1, 5)
    elif kind == "massive token":
        x[rng.integers(n)] *= 6 * 10.0 ** rng.uniform(0, 7.3)
    elif kind == "tiny tokens":
        few = rng.permutation(n)[: int(rng.integers(1, max(2, n // 2) + 1))]
        x[few] *= 10.0 ** -rng.uniform(0.5, 8)
    elif kind == "duplicates":
        x[rng.integers(n, size=max(1, n // 2))] = x[0]
    elif kind == "zero rows":
        x[rng.permutation(n)[: int(rng.integers(1, max(2, n // 2 + 1)))]] = 0
        x[0] = rng.normal(size=d)
    elif kind == "one mode":
        values, vectors = np.linalg.eig(H.T)  # rows z with z H = mu z
        real = np.flatnonzero(np.abs(values.imag) < 1e-9)
        z = vectors[:, rng.choice(real)].real if len(real) else rng.normal(size=d)
        a = rng.normal(size=n)
        if rng.random() < 0.5:
            lam, V = np.linalg.eig(A)
            real = np.flatnonzero(np.abs(lam.imag) < 1e-9)
            a = V[:, rng.choice(real)].real
        x = np.outer(a, z)
    return x


ATTENTION = ("softmax", "causal", "banded", "sink", "symmetric", "landmarks", "nearly reducible")
WEIGHTS = (
    "gaussian", "low rank, float32", "low rank, float64", "non-normal, mild", "non-normal, strong",
    "spectral radius", "reflections", "defective", "complex pairs", "sharpening",
)  # fmt: skip
TOKENS = (
    "heavy-tailed", "massive feature", "massive token", "tiny tokens", "duplicates", "zero rows", "one mode",
)  # fmt: skip
RULES = ("multihead", "layered", "random weights")
BLOCKS = (
    "block, post", "block, pre", "block, none", "block, feed-forward", "block, de-escalation",
    "block, hook", "block, no residual", "block, pure attention",
)  # fmt: skip
FAMILIES = (
    *(f"attention: {name}" for name in ATTENTION),
    *(f"weights: {name}" for name in WEIGHTS),
    *(f"tokens: {name}" for name in TOKENS),
    *(f"rule: {name}" for name in (*RULES, *BLOCKS)),
    *(["mixed"] * 4),
    "mixed blocks",
)
#: layers with a bias, with token scales, or with attention whose rows are no probabilities
AFFINE = ("bias", "bias that decides", "scale", "general", "general heads", "layered bias")
NAMED = (*dict.fromkeys(FAMILIES), "deep", "sizes", *(f"rule: {name}" for name in AFFINE))
#: tokens and features that people have, and how many layers: in float32, where float64 is truth enough
SIZES = ((197, 768, 12), (197, 768, 12), (128, 768, 12), (512, 1024, 4), (512, 4096, 0))


def _size(rng: np.random.Generator, largest: int) -> int:
    steps = [(2, 8), (9, 16), (17, 32), (33, 64)]
    low, high = steps[rng.choice(4, p=[0.74, 0.18, 0.06, 0.02])]
    return min(largest, int(rng.integers(low, high + 1)))


def draw(seed: int, index: int, family: str | None = None, dtype: str = "float64") -> System:
    """The system of (seed, index, family); without a family, that of the index."""
    family = FAMILIES[index % len(FAMILIES)] if family is None else family
    if family not in NAMED:
        raise SystemExit(f"--family: found {family!r}; expected one of {', '.join(NAMED)}")
    rng = np.random.default_rng([seed, index, zlib.crc32(family.encode())])
    factor, _, kind = family.partition(": ")
    kinds = {"attention": "base", "weights": "base", "tokens": "base", "rule": "linear"}
    if factor in kinds:
        kinds[factor] = kind
    elif factor == "sizes":
        kinds["tokens"] = str(
            rng.choice(["base", "massive token", "massive feature", "heavy-tailed", "tiny tokens"])
        )
        kinds["rule"] = str(rng.choice(["linear", "random weights", "block, post", "block, pre"]))
    elif factor != "deep":
        kinds = {
            "attention": str(rng.choice(ATTENTION)), "weights": str(rng.choice(WEIGHTS)),
            "tokens": str(rng.choice(("base", *TOKENS))),
            "rule": str(rng.choice(BLOCKS if factor == "mixed blocks" else ("linear", "linear", *RULES))),
        }  # fmt: skip
    else:
        kinds["attention"] = str(rng.choice(["symmetric", "softmax", "causal"]))
        kinds["weights"] = str(rng.choice(["gaussian", "sharpening", "reflections", "complex pairs"]))
    rule = kinds["rule"]
    if rule in AFFINE:
        kinds |= {
            "attention": str(rng.choice(ATTENTION)), "weights": str(rng.choice(WEIGHTS)),
            "tokens": str(rng.choice(("base", *TOKENS))),
        }  # fmt: skip
    blocks, deep = rule.startswith("block"), family == "deep"
    largest = 4 if deep else 6 if blocks else 64
    n, d = _size(rng, largest), _size(rng, largest)
    if family == "sizes":
        if dtype != "float32":
            raise SystemExit("--family sizes: found float64; expected float32, whose truth is float64")
        n, d, depth = SIZES[index % len(SIZES)]
        layers = sorted({0, min(1, depth), depth // 2, depth})
        if depth == 0:  # metrics only: rules without a matrix of d x d
            kinds["rule"], rule, blocks = "random weights", "random weights", False
    elif deep:
        layers = [0, 10, 100, 1000, 10**4, *rng.choice([10**5, 3 * 10**5, 10**6], size=1)]
        layers = [int(x) for x in layers]
    else:
        most = (
            60
            if "pure" in rule
            else 24
            if blocks
            else 100
            if max(n, d) <= 16
            else 30
            if max(n, d) <= 32
            else 12
        )
        depth = int(rng.integers(1, most + 1))
        middle = np.round(np.geomspace(1, depth, 6)).astype(int)
        layers = sorted({0, 1, min(2, depth), *(int(m) for m in middle), depth})

    def f(x: np.ndarray) -> np.ndarray:
        return np.asarray(x, dtype=dtype)

    count = {"multihead": 4, "general heads": 3}.get(rule, 1)
    different = layers[-1] if rule.startswith("layered") else 1
    stacks = [
        [(f(attention(kinds["attention"], rng, n)), f(weights(kinds["weights"], rng, d)))
         for _ in range(count)]
        for _ in range(different)
    ]  # fmt: skip
    if rule == "multihead":
        stacks = [[(A, f(H / 2)) for A, H in stack] for stack in stacks]
    A, H = stacks[0][0]
    x0 = tokens(kinds["tokens"], rng, n, d, A.astype(float), H.astype(float))
    x0 = f(x0 * 10.0 ** rng.choice([0, 0, 0, -3, 3]))
    if kinds["tokens"] == "zero rows" and rng.random() < 0.5:
        for stack in stacks:  # padding that attends to itself alone stays zero
            for a, _ in stack:
                a[~x0.any(1)] = np.eye(n, dtype=dtype)[~x0.any(1)]
    note = ", ".join(f"{key} {value}" for key, value in kinds.items()) + f", n {n}, d {d}, layers {layers}"
    system = System(family, index, None, x0, layers, dtype, rule, note=note)
    if blocks:
        _add_block(system, rng, A, kinds["weights"])
        return system
    system.heads = lambda layer: stacks[layer % different]
    if rule in AFFINE:
        _add_affine(system, rng, stacks)
    elif rule == "linear":
        system.rule = linsim.Linear(A, H)
    elif rule == "multihead":
        system.rule = linsim.MultiHead(
            np.stack([a for a, _ in stacks[0]]), np.stack([h for _, h in stacks[0]])
        )
    elif rule == "layered":
        system.rule = linsim.Layered([linsim.Linear(*stack[0]) for stack in stacks])
    else:
        system.rule = linsim.RandomWeights(A, kind=_sampler(system, kinds["weights"]))
        system.heads = lambda layer: [(A, system.drawn["W"][layer])]
    return system


def _beyond(rng: np.random.Generator, A: np.ndarray) -> np.ndarray:
    """Attention whose rows are no probabilities, most with one sum, made of some whose are."""
    n = len(A)
    other, kind = attention("softmax", rng, n), int(rng.integers(6))
    made = (
        np.eye(n) - A, A - 1 / n, A - 0.4 * other, A + np.eye(n) - 1 / n, A * rng.uniform(0.2, 2, (n, 1)),
        rng.normal(size=(n, n)) / n**0.5,
    )[kind]  # fmt: skip
    return np.asarray(made, dtype=A.dtype)


def _add_affine(system: System, rng: np.random.Generator, stacks: list[Any]) -> None:
    """Give a system a bias, token scales, or attention beyond probabilities."""
    (A, H), rule, dtype = stacks[0][0], system.kind, system.dtype
    row = np.asarray(rng.normal(size=H.shape[0]) * 10.0 ** rng.choice([0, 0, -6, 6]), dtype=dtype)
    if rule == "bias that decides":  # every mode shrinks
        H = np.asarray(-0.5 * np.eye(len(H)) + 0.2 * H / np.linalg.norm(H, 2), dtype=dtype)
        A = np.asarray((np.eye(len(A)) + A) / 2, dtype=dtype)
    if "bias" in rule or rng.random() < 0.3:
        system.bias = lambda layer: row * (1 + layer % 3) if rule == "layered bias" else row
    options = {} if system.bias is None else {"bias": row}
    if rule == "scale":
        scale = np.asarray(
            np.exp(rng.normal(size=len(A))) * rng.choice([1, 1, 1, -1], size=len(A)), dtype=dtype
        )
        system.rule = linsim.Linear(A, H, scale=scale, **options)
    elif rule == "general":
        system.rule = linsim.Linear(linsim.attention.general(_beyond(rng, A)), H, **options)
    elif rule == "general heads":
        heads = np.stack([_beyond(rng, a) for a, _ in stacks[0]])
        system.rule = linsim.MultiHead(
            linsim.attention.general(heads), np.stack([h / 2 for _, h in stacks[0]]), **options
        )
    elif rule == "layered bias":
        assert system.bias is not None
        system.rule = linsim.Layered(
            [linsim.Linear(*stack[0], bias=system.bias(layer)) for layer, stack in enumerate(stacks)]
        )
    else:
        system.rule = linsim.Linear(A, H, **options)
    system.general = not system.rule.stochastic
    if system.general:
        pairs = system.rule.checked_heads(0)
        system.heads = lambda layer: pairs
    elif rule != "layered bias":
        system.heads = lambda layer: [(A, H)]


def _sampler(system: System, kind: str) -> Callable[..., np.ndarray]:
    """Weights drawn from linsim's own streams, and written down; nobody asks a sampler twice."""

    def sample(d: int, size: int, rng: Any) -> np.ndarray:
        # one number from the stream of the system seeds the matrix
        seed = int(abs(float(np.ravel(rng.standard_normal((size, 1)))[0])) * 2**50)
        W = np.asarray(weights(kind, np.random.default_rng(seed), d), dtype=system.dtype)
        system.drawn.setdefault("W", []).append(W)
        return np.broadcast_to(W.astype(float), (size, d, d)).copy()

    return sample


def _note(system: System, what: str, W: np.ndarray) -> None:
    W = np.array(W, dtype=system.dtype)
    known_already = system.drawn.setdefault(what, [])
    if not any(np.array_equal(W, V) for V in known_already):
        known_already.append(W)


HOOKS: dict[str, tuple[Callable[[Any], Any], Callable[[arb], arb]]] = {
    "identity": (lambda X: X, lambda v: v),
    "half": (lambda X: X * 0.5, lambda v: v / 2),
    "tanh": (np.tanh, lambda v: v.tanh()),
}


def _add_block(system: System, rng: np.random.Generator, A: np.ndarray, kind: str) -> None:
    d = system.x0.shape[1]
    name = system.kind.partition(", ")[2]
    options: dict[str, Any] = {"norm": None}
    spec: dict[str, Any] = {"A": A, "residual": 1.0, "branch": 1.0, "norm": None, "eps": 1e-5, "places": {}}
    if name in ("post", "pre"):
        spec["norm"] = options["norm"] = name
    if name in ("feed-forward", "de-escalation", "hook"):
        spec["norm"] = options["norm"] = [None, "post", "pre"][int(rng.integers(3))]
    if options["norm"] and rng.random() < 0.3:
        spec["gain"] = options["gain"] = np.asarray(rng.normal(size=d), dtype=system.dtype)
        spec["bias"] = options["bias"] = np.asarray(0.3 * rng.normal(size=d), dtype=system.dtype)
    if rng.random() < 0.2 and name != "pure attention":
        spec["branch"] = options["branch"] = 0.25
    fixed: np.ndarray | None = None
    if name == "pure attention":
        fixed = np.eye(d, dtype=system.dtype)
        query_key = np.asarray(np.eye(d) * rng.choice([0.5, 1.0, 2.0]), dtype=system.dtype)
        spec["query_key"] = query_key
        options["A"] = linsim.attention.FromTokens(query_key=query_key)
        spec["residual"] = options["residual"] = None
    else:
        options["A"] = A
        if rng.random() < 0.5:
            fixed = np.asarray(weights(kind, rng, d) * rng.choice([0.1, 1.0]), dtype=system.dtype)
    options["weights"] = _sampler(system, kind) if fixed is None else fixed
    spec["W"] = fixed
    if name == "no residual":
        spec["residual"] = options["residual"] = None
        if rng.random() < 0.5:
            spec["norm"] = options["norm"] = "post"
    if name == "feed-forward":
        spec["feed_forward"] = options["feed_forward"] = str(rng.choice(["gelu", "gelu", "tanh", "relu"]))
        options["width"] = 2 * d
    places = ["branch", "attention", "output", *(["norm"] if options["norm"] == "post" else [])]
    if name == "de-escalation":
        place = str(rng.choice(places))
        key, value = [("tau", 1.0), ("tau", 0.5), ("similarity", 0.3)][int(rng.integers(3))]
        options["deescalation"] = linsim.Deescalation(place, **{key: value})
        spec["places"] = {place: (key, value)}
    if name == "hook":
        place, hook = str(rng.choice(places)), str(rng.choice(list(HOOKS)))
        options["deescalation"] = linsim.Deescalation(place, function=HOOKS[hook][0])
        spec["places"] = {place: ("function", hook)}
    system.block = spec
    attend = options.pop("A")
    shown = {key: value for key, value in options.items() if isinstance(value, str | float | int | None)}
    system.note += f", {shown}, places {spec['places']}"
    system.rule = linsim.Block(attend, **options)


# --- the truth ----------------------------------------------------------------------------


def states(system: System) -> Iterator[arb_mat]:
    """The recorded states at the present precision."""
    X, layer = exact(system.x0), 0
    zero = ~np.any(system.x0 != 0, axis=1)
    if system.family == "deep":
        yield from _powers(system)
        return
    cache: dict[int, arb_mat] = {}

    def stochastic(A: np.ndarray) -> arb_mat:
        if id(A) not in cache:
            if system.general:
                cache[id(A)] = general_attention(A, float(np.finfo(system.dtype).eps))
            else:
                cache[id(A)] = meant(A, system.dtype)
        return cache[id(A)]

    for target in system.layers:
        while layer < target:
            if system.block is not None:
                X = _block_layer(system, system.block, X, layer, stochastic)
            else:
                assert system.heads is not None
                step, pairs = X, system.heads(layer)
                for A, H in pairs:
                    step = step + stochastic(A) * X * exact(H)
                # zeros of attention are masks, whatever else its floats stand for
                zero &= ~np.any([(np.asarray(A) != 0) @ ~zero for A, _ in pairs], axis=0)
                if system.bias is not None:
                    step = step + exact(np.broadcast_to(system.bias(layer), system.x0.shape))
                    zero &= False
                X = arb_mat(
                    [
                        [0] * step.ncols() if gone else row
                        for row, gone in zip(rows_of(step), zero, strict=True)
                    ]
                )
            layer += 1
        yield X


def _powers(system: System) -> Iterator[arb_mat]:
    """X_l from powers of I + H^T (x) A."""
    assert system.heads is not None
    (A, H), (n, d) = system.heads(0)[0], system.x0.shape
    rows, h = rows_of(meant(A, system.dtype)), np.asarray(H, dtype=float)
    one = arb(1)
    M = arb_mat([
        [rows[i][k] * arb(float(h[m, j])) + (one if i == k and j == m else arb(0))
         for m in range(d) for k in range(n)]
        for j in range(d) for i in range(n)
    ])  # fmt: skip
    x = arb_mat(n * d, 1, [arb(float(system.x0[i, j])) for j in range(d) for i in range(n)])
    squares = [M]
    for before, after in pairwise([0, *system.layers]):
        for bit in range((after - before).bit_length()):
            while len(squares) <= bit:
                squares.append(squares[-1] * squares[-1])
            if (after - before) >> bit & 1:
                x = squares[bit] * x
        entries = x.entries()
        yield arb_mat([[entries[j * n + i] for j in range(d)] for i in range(n)])


def _map(X: arb_mat, function: Callable[[arb], arb]) -> arb_mat:
    return arb_mat([[function(v) for v in row] for row in rows_of(X)])


def _gelu(v: arb) -> arb:
    return v * (1 + (v / arb(2).sqrt()).erf()) / 2


ACTIVATIONS: dict[str, Callable[[arb], arb]] = {
    "gelu": _gelu,
    "tanh": lambda v: v.tanh(),
    "relu": lambda v: v.max(arb(0)),
}


def _layer_norm(X: arb_mat, spec: dict[str, Any]) -> arb_mat:
    d = X.ncols()
    gain = [arb(float(g)) for g in spec.get("gain", np.ones(d))]
    bias = [arb(float(b)) for b in spec.get("bias", np.zeros(d))]
    out = []
    for row in rows_of(X):
        mean = sum(row, arb(0)) / d
        c = [v - mean for v in row]
        factor = (sum((v * v for v in c), arb(0)) / d + arb(spec["eps"])).rsqrt()
        out.append([v * factor * g + b for v, g, b in zip(c, gain, bias, strict=True)])
    return arb_mat(out)


def _scored(X: arb_mat, query_key: np.ndarray) -> arb_mat:
    """Softmax of the tokens' own scores, rows scaled to root mean square 1."""
    d = X.ncols()
    rows = []
    for row in rows_of(X):
        if all(v.is_zero() for v in row):
            rows.append(row)
        else:
            factor = (sum((v * v for v in row), arb(0)) / d).rsqrt()
            rows.append([v * factor for v in row])
    Y = arb_mat(rows)
    out = []
    for row in rows_of(Y * exact(query_key) * Y.transpose()):
        raised = [v.exp() for v in row]
        total = sum(raised, arb(0))
        out.append([v / total for v in raised])
    return arb_mat(out)


def _deescalated(X: arb_mat, how: tuple[str, Any]) -> arb_mat:
    key, value = how
    if key == "function":
        return _map(X, HOOKS[value][1])
    n, rows = X.nrows(), rows_of(X)
    mean = [sum(column, arb(0)) / n for column in zip(*rows, strict=True)]
    rest = [[v - m for v, m in zip(row, mean, strict=True)] for row in rows]
    if key == "tau":
        keep = 1 - arb(value)
    else:
        high = sum((v * v for row in rest for v in row), arb(0))
        low = n * sum((m * m for m in mean), arb(0))
        t = arb(value)
        keep = (t / (1 - t) * high / low).sqrt()
    return arb_mat([[v + keep * m for v, m in zip(row, mean, strict=True)] for row in rest])


def _block_layer(
    system: System, spec: dict[str, Any], X: arb_mat, layer: int, stochastic: Callable[[np.ndarray], arb_mat]
) -> arb_mat:
    def at(place: str, Y: arb_mat) -> arb_mat:
        return _deescalated(Y, spec["places"][place]) if place in spec["places"] else Y

    def normed(Y: arb_mat, where: str) -> arb_mat:
        return _layer_norm(Y, spec) if spec["norm"] == where else Y

    def summed(Y: arb_mat, Z: arb_mat) -> arb_mat:
        Z = Z * arb(spec["branch"]) if spec["branch"] != 1 else Z
        return Y + Z if spec["residual"] else Z

    Y = normed(X, "pre")
    A = _scored(Y, spec["query_key"]) if "query_key" in spec else stochastic(spec["A"])
    W = system.drawn["W"][layer] if spec["W"] is None else spec["W"]
    X = at("attention", summed(X, at("branch", A * Y * exact(W))))
    X = at("norm", normed(X, "post"))
    if "feed_forward" in spec:
        first, second = system.drawn["W_1"][layer], system.drawn["W_2"][layer]
        hidden = _map(normed(X, "pre") * exact(first), ACTIVATIONS[spec["feed_forward"]])
        X = normed(at("feed_forward", summed(X, hidden * exact(second))), "post")
    return at("output", X)


def _collapsing(system: System) -> Iterator[dict[str, Interval]]:
    """Metrics of pure attention, whose tokens become alike doubly exponentially: no state holds them.

    Tokens are c + r_i, their directions y_i = y_c + w_i, and scores w_i Q w_j up to what a row or a column
    shares, so that A = 1 q^T + D with D from exp(score) - 1: nothing cancels, and balls have any exponent.
    """
    assert system.block is not None
    n, d = system.x0.shape
    factor = arb(float(system.block["query_key"][0, 0]))
    rows, zero = rows_of(exact(system.x0)), arb(0)

    def dot(p: list[arb], q: list[arb]) -> arb:
        return sum((a * b for a, b in zip(p, q, strict=True)), zero)

    c = [sum(column, zero) / n for column in zip(*rows, strict=True)]
    R = [[v - m for v, m in zip(row, c, strict=True)] for row in rows]
    layer = 0
    for target in system.layers:
        while True:
            size = dot(c, c).sqrt()
            lengths = [(size * size + 2 * dot(c, r) + dot(r, r)).sqrt() for r in R]
            W = []
            for r, length in zip(R, lengths, strict=True):
                shorter = -(2 * dot(c, r) + dot(r, r)) / (length * size * (length + size))
                W.append([v / length + m * shorter for v, m in zip(r, c, strict=True)])
            if layer == target:
                break
            shared = [(factor * d * dot(c, w) / size).exp() for w in W]
            total = sum(shared, zero)
            q = [v / total for v in shared]
            new = []
            for w in W:
                excess = [(factor * d * dot(w, other)).expm1() for other in W]
                mean = dot(q, excess)
                row = [a * (e - mean) / (1 + mean) for a, e in zip(q, excess, strict=True)]
                new.append([dot(row, list(column)) for column in zip(*R, strict=True)])
            c = [m + dot(q, list(column)) for m, column in zip(c, zip(*R, strict=True), strict=True)]
            R, layer = new, layer + 1
        if all(v.is_finite() for row in (*R, *W) for v in row):
            yield _of_parts(c, R, W)
        else:
            yield dict.fromkeys(NAMES, (-math.inf, math.inf))


def _of_parts(c: list[arb], R: list[list[arb]], W: list[list[arb]]) -> dict[str, Interval]:
    """Metrics of tokens c + r_i whose unit vectors differ by those of w_i."""
    n, d, zero = len(R), len(c), arb(0)
    X = arb_mat([[m + v for m, v in zip(c, r, strict=True)] for r in R])
    out = metrics(X)
    drift = [sum(column, zero) / n for column in zip(*R, strict=True)]
    mean = [m + v for m, v in zip(c, drift, strict=True)]
    rest = [[v - m for v, m in zip(r, drift, strict=True)] for r in R]
    high = sum((v * v for r in rest for v in r), zero)
    low = n * sum((m * m for m in mean), zero)
    out["log_token_diversity"], out["log_hfc_lfc"] = _log(high / (high + low)), _log(high / low, 0.5)
    out["token_similarity"], out["hfc_lfc"] = _plain(low / (high + low)), _plain((high / low).sqrt())
    out["log_spread"] = _spread([n * v for r in rest for v in r], n, d)
    signed = absolute = zero
    for i in range(n):
        for j in range(i):
            less = sum(((a - b) * (a - b) for a, b in zip(W[i], W[j], strict=True)), zero) / 2
            signed += less
            absolute += less if less < 1 else 2 - less
    pairs = n * (n - 1) // 2
    out["log_cosine_gap"], out["log_abs_cosine_gap"] = _log(signed / pairs), _log(absolute / pairs)
    out["cosine"], out["abs_cosine"] = _plain(1 - signed / pairs), _plain(1 - absolute / pairs)
    if out["log_token_diversity"][1] < -100:  # beside the leading pair, up to e^-50 of what is left
        along = [sum((v * m for v, m in zip(r, mean, strict=True)), zero) * n / low for r in rest]
        minors = [v - a * m for r, a in zip(rest, along, strict=True) for v, m in zip(r, mean, strict=True)]
        S, k, radius = _floats(minors, (n, d))
        second = np.linalg.svd(S, compute_uv=False)
        if radius * math.sqrt(n * d) < 1e-15 * second[0]:
            shift = _log(arb(2) ** k / (high + low).sqrt())[0]
            out |= _from_shares(second[: min(n, d) - 1], shift)
    return out


def _sized(system: System) -> list[dict[str, Interval]]:
    """Metrics of a run in float32, from float64; gaps that are close to what it holds are not known."""

    def normalised(A: np.ndarray) -> np.ndarray:
        A = np.asarray(A, dtype=float)
        return A / A.sum(1, keepdims=True)

    heads, block = system.heads, system.block
    twin = replace(
        system,
        dtype="float64",
        x0=system.x0.astype(float),
        heads=None if heads is None else lambda layer: [(normalised(A), H) for A, H in heads(layer)],
        block=None if block is None else block | {"A": normalised(block["A"])},
    )
    found = plain(twin)
    assert found is not None
    nothing = (-math.inf, math.inf)
    return [
        {
            name: nothing if name in GAPS and at[name] < math.log(1e-9) else (at[name], at[name])
            for name in NAMES
        }
        for at in found
    ]


def truth(system: System) -> tuple[list[dict[str, Interval]], int]:
    """Metrics at the recorded layers as intervals, and the bits it took."""
    if system.family == "sizes":
        return _sized(system), 53
    old, size = ctx.prec, max(system.x0.shape)
    bits = 192 + 3 * system.depth if system.family != "deep" else 4096
    most = 16384 if size <= 4 else 8192 if size <= 8 else 3000 if size <= 16 else 1500
    if system.block is not None:
        bits, most = 256, 6000
    try:
        while True:
            ctx.prec = bits
            collapsing = "pure attention" in system.kind
            found = list(_collapsing(system)) if collapsing else [metrics(X) for X in states(system)]
            if bits >= most or all(known(v) for at in found for v in at.values()):
                return found, bits
            bits = min(most, 3 * bits)
    finally:
        ctx.prec = old


# --- the plain formula --------------------------------------------------------------------


def plain(system: System) -> list[dict[str, float]] | None:
    """Every metric in the usual way, in the precision of the run; None where the loop would be too long."""
    if system.depth > 10**5:
        return None
    with np.errstate(all="ignore"):
        X, out, layer = np.array(system.x0), [], 0
        for target in system.layers:
            while layer < target:
                X = _plain_layer(system, X, layer)
                layer += 1
            out.append(_plain_metrics(X))
    return out


def _plain_layer(system: System, X: np.ndarray, layer: int) -> np.ndarray:
    if system.block is None:
        assert system.heads is not None
        after = X + sum(A @ X @ H for A, H in system.heads(layer))
        return after if system.bias is None else after + system.bias(layer)
    spec, t = system.block, X.dtype.type

    def at(place: str, Y: np.ndarray) -> np.ndarray:
        if place not in spec["places"]:
            return Y
        key, value = spec["places"][place]
        if key == "function":
            return HOOKS[value][0](Y)
        mean = Y.mean(0)
        keep = t(1 - value)
        if key == "similarity":
            keep = np.sqrt(t(value / (1 - value)) * ((Y - mean) ** 2).sum() / (len(Y) * (mean**2).sum()))
        return Y - mean + keep * mean

    def normed(Y: np.ndarray, where: str) -> np.ndarray:
        if spec["norm"] != where:
            return Y
        c = Y - Y.mean(1, keepdims=True)
        c = c / np.sqrt((c * c).mean(1, keepdims=True) + t(spec["eps"]))
        return c * spec.get("gain", t(1)) + spec.get("bias", t(0))

    def summed(Y: np.ndarray, Z: np.ndarray) -> np.ndarray:
        Z = t(spec["branch"]) * Z
        return Y + Z if spec["residual"] else Z

    Y = normed(X, "pre")
    A = spec["A"]
    if "query_key" in spec:
        U = Y / np.sqrt((Y * Y).mean(1, keepdims=True))
        A = _softmax(U @ spec["query_key"] @ U.T)
    W = system.drawn["W"][layer] if spec["W"] is None else spec["W"]
    X = at("norm", normed(at("attention", summed(X, at("branch", A @ Y @ W))), "post"))
    if "feed_forward" in spec:
        import scipy.special

        act = {
            "gelu": lambda v: v * scipy.special.ndtr(v),
            "tanh": np.tanh,
            "relu": lambda v: np.maximum(v, 0),
        }
        hidden = act[spec["feed_forward"]](normed(X, "pre") @ system.drawn["W_1"][layer])
        X = normed(at("feed_forward", summed(X, hidden @ system.drawn["W_2"][layer])), "post")
    return at("output", X)


def _plain_metrics(X: np.ndarray) -> dict[str, float]:
    n = len(X)
    if not np.all(np.isfinite(X)):
        return dict.fromkeys(NAMES, math.nan)
    mean = X.mean(0)
    rest = X - mean
    total, high, low = (X * X).sum(), (rest * rest).sum(), n * (mean * mean).sum()
    size = np.sqrt((X * X).sum(1, keepdims=True))
    U = np.divide(X, size, out=np.zeros_like(X), where=size > 0)
    C = (U @ U.T)[np.triu_indices(n, 1)]
    s = np.linalg.svd(X, compute_uv=False)
    p = s / s.sum()
    erank = np.exp(-(p * np.log(np.maximum(p, np.finfo(p.dtype).tiny))).sum())
    spread = max(np.sqrt(((X - x) ** 2).sum(1)).max() for x in X)
    out = {
        "token_similarity": low / total,
        "log_token_diversity": np.log(high / total),
        "hfc_lfc": np.sqrt(high / low),
        "log_hfc_lfc": np.log(high / low) / 2,
        "cosine": C.mean(),
        "log_cosine_gap": np.log(1 - C.mean()),
        "abs_cosine": np.abs(C).mean(),
        "log_abs_cosine_gap": np.log(1 - np.abs(C).mean()),
        "effective_rank": erank,
        "log_effective_rank_gap": np.log(erank - 1),
        "stable_rank": (s * s).sum() / s[0] ** 2,
        "log_rank_gap": np.log(s[1] / s[0]),
        "log_norm": np.log(total) / 2,
        "log_spread": np.log(spread),
    }
    return {name: float(v) for name, v in out.items()}


# --- counting -----------------------------------------------------------------------------


def run(system: System, method: str = "auto", names: list[str] | None = None) -> Any:
    """What linsim says; draws of feed-forward weights are written down on the way."""
    from linsim import _draws

    original = _draws.rectangle

    def noted(shape: Any, *args: Any, **kwargs: Any) -> Any:
        W = original(shape, *args, **kwargs)
        if system.block is not None:
            _note(system, "W_1" if shape[0] == system.x0.shape[1] else "W_2", W[0])
        return W

    _draws.rectangle = noted
    try:
        return linsim.simulate(
            system.rule, system.x0, system.depth, layers=system.layers, metrics=names,
            method=method if isinstance(system.rule, linsim.Linear) else "auto", dtype=system.dtype,
            rng=[system.index],
        )  # fmt: skip
    finally:
        _draws.rectangle = original


def judge(system: System, method: str = "auto", names: list[str] | None = None) -> dict[str, Any]:
    """Every value of one system against the truth: records of (metric, layer, verdict ...)."""
    start = time.perf_counter()
    result = run(system, method, names)
    spent = time.perf_counter() - start
    true, bits = truth(system)
    simple = plain(system)
    errors = getattr(result, "errors", None)
    absolute, relative, logarithmic = TOLERANCE[system.dtype]
    records = []
    for name in [name for name in NAMES if name in result.metrics]:
        values = np.asarray(result.metrics[name], dtype=float)
        said = None if errors is None or name not in errors else np.asarray(errors[name], dtype=float)
        for k, layer in enumerate(system.layers):
            low, high = true[k].get(name, (-math.inf, math.inf))
            value, is_known = float(values[k]), known((low, high))
            if math.isnan(value):
                off = math.nan
            elif math.isinf(value):
                off = 0.0 if low <= value <= high else math.inf
            else:
                off = max(low - value, value - high, 0.0)
            near = min(abs(low), abs(high))
            allowed = (
                logarithmic if name in GAPS else max(absolute, relative * (near if near < math.inf else 0))
            )
            one = {"metric": name, "layer": layer, "value": value, "low": low, "high": high}
            one["known"], one["off"] = is_known, off
            # a logarithm of 1e14 has no digits left for what is behind the point
            digits = name in GAPS and math.isfinite(value) and np.spacing(abs(value)) > logarithmic
            one["wrong"] = bool(off > allowed or (digits and not is_known))
            if said is not None:
                one["error"] = float(said[k])
                if not math.isnan(value) and not digits:
                    resolution = getattr(result.info, "resolutions", {}).get(name, allowed)
                    one["wrong"] = bool(off > max(10 * one["error"], resolution, allowed))
            floor = 2 * float(np.spacing(abs(value))) if math.isfinite(value) else 0.0
            if said is not None and is_known and math.isfinite(value):
                one["covered"] = bool(off <= one["error"] + floor)
                one["ratio"] = one["error"] / max(off, floor)
            right = False
            if simple is not None and is_known:
                there = simple[k][name]
                unit = 1.0 if name in GAPS else max(1.0, abs(low))
                right = bool(abs(there - low) <= RIGHT[system.dtype] * unit)
            one["plain right"] = right
            one["withheld"] = bool(math.isnan(value) and right)
            records.append(one)
    return {
        "family": system.family, "index": system.index, "kind": system.kind, "note": system.note,
        "bits": bits,
        "method": result.info.method, "seconds": spent, "total": time.perf_counter() - start,
        "records": records,
    }  # fmt: skip


def one(task: tuple[int, int, str | None, str, str, str]) -> dict[str, Any]:
    """Draw, run and judge one system; what raises is told, not swallowed."""
    seed, index, family, dtype, method, wanted = task
    try:
        system = draw(seed, index, family, dtype)
        names = None if wanted == "all" else wanted.split(",")
        if wanted == "random":
            rng = np.random.default_rng([seed, index])
            names = list(rng.permutation(NAMES)[: int(rng.integers(1, 4))])
        return judge(system, method, names)
    except Exception as error:
        name = family or FAMILIES[index % len(FAMILIES)]
        return {"family": name, "index": index, "records": [], "raised": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(), "note": "", "seconds": 0.0, "total": 0.0}  # fmt: skip


def count(
    number: int = 1000, seed: int = 0, *, families: list[str] | None = None, dtype: str = "float64",
    method: str = "auto", wanted: str = "all", jobs: int = 1, first: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Judge ``number`` systems, of all families in turn or ``number`` of each family named."""
    indices = range(first, first + number)
    tasks = [(seed, i, f, dtype, method, wanted) for f in (families or [None]) for i in indices]
    if jobs == 1:
        return [one(task) for task in tasks]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(one, tasks, chunksize=8))


def table(found: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """{family: {metric: counts}}, with the metrics summed up under 'plain' and 'gaps'."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    ratios: dict[tuple[str, str], list[float]] = {}
    for system in found:
        for r in system["records"]:
            for family in (system["family"], "all"):
                for name in (r["metric"], "plain" if r["metric"] in PLAIN else "gaps"):
                    c = out.setdefault(family, {}).setdefault(
                        name, dict.fromkeys(("values", "finite", "wrong", "right", "withheld", "unknown",
                                             "estimated", "covered"), 0.0)
                    )  # fmt: skip
                    c["values"] += 1
                    c["finite"] += not math.isnan(r["value"])
                    c["wrong"] += r["wrong"]
                    c["right"] += r["plain right"]
                    c["withheld"] += r["withheld"]
                    c["unknown"] += not r["known"]
                    if "covered" in r:
                        c["estimated"] += 1
                        c["covered"] += r["covered"]
                        ratios.setdefault((family, name), []).append(r["ratio"])
    for (family, name), several in ratios.items():
        out[family][name]["median ratio"] = float(np.median(several))
    return out


def show(found: list[dict[str, Any]], *, verbose: bool = False, worst: int = 10) -> str:
    """The table as text, and the worst offenders with what rebuilds them."""
    counted = table(found)
    lines = []
    lines.append(
        f"{'family':34s}{'systems':>8s}{'values':>8s}{'wrong':>6s} | withheld %: plain (worst metric)    "
        "gaps (worst metric)   | covered %  median ratio | unknown %"
    )
    for family in [*dict.fromkeys(s["family"] for s in found), "all"]:
        if family not in counted:
            continue
        c = counted[family]
        cells = []
        for group, members in (("plain", PLAIN), ("gaps", GAPS)):
            g = c.get(group)
            if g is None:
                cells.append(f"{'-':>28s}")
                continue
            share = {m: 100 * c[m]["withheld"] / c[m]["right"] for m in members if m in c and c[m]["right"]}
            most = max(share, key=lambda m: share[m], default="-")
            total = 100 * g["withheld"] / g["right"] if g["right"] else 0.0
            cells.append(f"{total:6.2f} ({share.get(most, 0.0):5.1f} {most.removeprefix('log_')[:20]:20s})")
        both = [c[g] for g in ("plain", "gaps") if g in c]
        values, wrong = (int(sum(g[k] for g in both)) for k in ("values", "wrong"))
        estimated, covered = (sum(g[k] for g in both) for k in ("estimated", "covered"))
        middle = [f"{g['median ratio']:.1f}" for g in both if "median ratio" in g]
        honest = (
            f"{100 * covered / estimated:9.3f}  {'/'.join(middle):>12s}"
            if estimated
            else f"{'-':>9s}  {'-':>12s}"
        )
        systems = sum(family in (s["family"], "all") for s in found)
        lines.append(
            f"{family:34s}{systems:8d}{values:8d}{wrong:6d} | {cells[0]} {cells[1]} | {honest} | "
            f"{100 * sum(g['unknown'] for g in both) / max(1, values):5.2f}"
        )
        if verbose:
            for name in [m for m in NAMES if m in c]:
                lines.append(f"    {name:30s}" + "  ".join(f"{k} {v:g}" for k, v in c[name].items()))
    raised = [s for s in found if "raised" in s]
    if raised:
        lines.append(f"raised: {len(raised)} systems")
        lines += [f"  {s['family']}, index {s['index']}: {s['raised'][:150]}" for s in raised[:worst]]
    bad = [(s, r) for s in found for r in s["records"] if r["wrong"]]
    bad.sort(key=lambda pair: -pair[1]["off"])
    if bad:
        systems = len({(s["family"], s["index"]) for s, _ in bad})
        lines.append(f"wrong: {len(bad)} values of {systems} systems; the worst:")
    for s, r in bad[:worst]:
        said = f", error said {r['error']:.3g}" if "error" in r else ""
        lines.append(
            f"{_place(s, r)} is {r['value']!r}, truth [{r['low']!r}, {r['high']!r}]{said}; {_how(s)}"
        )
    loose = [(s, r) for s in found for r in s["records"] if r.get("covered") is False]
    loose.sort(key=lambda pair: pair[1]["ratio"])
    if loose:
        lines.append(f"beyond their error: {len(loose)} values; the worst:")
    for s, r in loose[:worst]:
        lines.append(f"{_place(s, r)} is off by {r['off']:.3g}, error said {r['error']:.3g}; {_how(s)}")
    return "\n".join(lines)


def _place(system: dict[str, Any], record: dict[str, Any]) -> str:
    rebuilt = f"--family {system['family']!r} --index {system['index']}"
    return f"  {rebuilt}: {record['metric']} at layer {record['layer']}"


def _how(system: dict[str, Any]) -> str:
    return f"{system['method']}; {system['note']}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--count", type=int, default=1000, help="systems (of each family, where families are named)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", action="append", help="one of: " + "; ".join(NAMED))
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--method", default="auto", help="for Linear rules; others run as auto")
    parser.add_argument(
        "--metrics", default="all", help="all, random (one to three of them), or names with commas"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="write every record there")
    parser.add_argument("--index", type=int, help="this system alone, record by record")
    parser.add_argument("--first", type=int, default=0, help="index of the first system")
    parser.add_argument("--deep", action="store_true", help="the family of deep runs alone")
    parser.add_argument("--verbose", action="store_true", help="counts of every metric")
    parser.add_argument("--worst", type=int, default=10, help="how many offenders are listed")
    asked = parser.parse_args(arguments)
    families = ["deep"] if asked.deep else asked.family
    first, number = (asked.first, asked.count) if asked.index is None else (asked.index, 1)
    start = time.perf_counter()
    found = count(
        number, asked.seed, families=families, dtype=asked.dtype, method=asked.method, wanted=asked.metrics,
        jobs=asked.jobs, first=first,
    )  # fmt: skip
    if asked.index is not None:
        for system in found:
            print(system["note"] or system.get("traceback"))
            for r in system["records"]:
                print("  ", {k: v for k, v in r.items() if k not in ("known", "plain right") or not v})
    print(show(found, verbose=asked.verbose, worst=asked.worst))
    inside = sum(s["seconds"] for s in found)
    print(f"{len(found)} systems in {time.perf_counter() - start:.0f} s, {inside:.0f} s of them in linsim; "
          f"seed {asked.seed}, {asked.dtype}, method {asked.method}, metrics {asked.metrics}")  # fmt: skip
    if asked.json:
        with open(asked.json, "w") as file:
            json.dump(found, file)
    return int(any(r["wrong"] for s in found for r in s["records"]) or any("raised" in s for s in found))


if __name__ == "__main__":
    first_use.wait()  # every system in the same way
    sys.exit(main())
