"""Systems and helpers that several tests share."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np

from oracles.contract import OF_TOKENS

LOGS = tuple(name for name in OF_TOKENS if name.startswith("log_"))


LAYERS = (0, 1, 2, 3, 5, 20, 100, 400, 1200)


EPS = np.finfo(float).eps


BOUND = 1e-9  # relative error of a gap, that is, absolute error of its logarithm


def softmax(rng, n, sharpness=1.0):
    W = np.exp(sharpness * rng.normal(size=(n, n)))
    return W / W.sum(axis=1, keepdims=True)


def reversible(rng, n, sharpness=1.0):
    S = sharpness * rng.normal(size=(n, n))
    W = np.exp((S + S.T) / 2)
    return W / W.sum(axis=1, keepdims=True)


def symmetric(rng, n, spread=0.9):
    """Doubly stochastic with eigenvalues of both signs, entries > 0."""
    rest = np.eye(n) - 1 / n
    S = rng.normal(size=(n, n))
    S = rest @ (S + S.T) @ rest
    S *= spread / n / np.max(np.abs(S))
    return 1 / n + (S + S.T) / 2


def causal(rng, n):
    W = np.tril(np.exp(rng.normal(size=(n, n))))
    return W / W.sum(axis=1, keepdims=True)


def block(*values):
    """Diagonal of real numbers and of 2 by 2 blocks for conjugate pairs."""
    size = sum(1 if np.isreal(v) else 2 for v in values)
    out, k = np.zeros((size, size)), 0
    for v in values:
        if np.isreal(v):
            out[k, k] = np.real(v)
            k += 1
        else:
            out[k : k + 2, k : k + 2] = [[v.real, v.imag], [-v.imag, v.real]]
            k += 2
    return out


def weights(rng, *values, condition=1.0):
    """Matrix with these eigenvalues (one of each conjugate pair), in a basis of this condition."""
    D = block(*values)
    d = len(D)
    P, _ = np.linalg.qr(rng.normal(size=(d, d)))
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    V = P @ np.diag(np.geomspace(1, 1 / condition, d)) @ Q
    H = V @ D @ np.linalg.inv(V)
    return (H + H.T) / 2 if condition == 1 and np.all(np.isreal(values)) else H


@dataclass(frozen=True)
class Case:
    name: str
    A: object
    H: object
    x0: np.ndarray
    symmetric: bool = False
    layers: tuple[int, ...] = LAYERS
    digits: int = 1500


def case(name, A, H, seed=0, **options):
    n = (A[0] if isinstance(A, list) else A).shape[0]
    d = (H[0] if isinstance(H, list) else H).shape[0]
    return Case(name, A, H, np.random.default_rng([seed, n, d]).normal(size=(n, d)), **options)


def seeded(name):
    return np.random.default_rng(list(name.encode()))


KINDS = {"general": softmax, "symmetric": symmetric, "reversible": reversible}


SHAPES = [(5, 4), (3, 5), (5, 2), (2, 3), (4, 1), (2, 2)]


def _smoothing(kind, n, d, condition):
    name = f"smoothing-{kind}-{n}x{d}-condition{condition:g}"
    rng = seeded(name)
    values = [1.2, 0.7, -0.3, 0.2, -0.9][:d]
    return case(
        name, KINDS[kind](rng, n), weights(rng, *values, condition=condition), symmetric=kind == "symmetric"
    )


def _resmoothing(kind):
    # mu < -2 / (1 + a): below the sharpening interval the constant mode wins again
    name = f"resmoothing-{kind}"
    rng = seeded(name)
    H = weights(rng, -3.6, 0.5, -0.4, -1.0, condition=4)
    return case(name, KINDS[kind](rng, 5), H, symmetric=kind == "symmetric")


def _sharpening(kind, n, d, condition):
    name = f"sharpening-{kind}-{n}x{d}-condition{condition:g}"
    rng = seeded(name)
    values = [-0.95, -0.6, -0.4, -0.2][-d:] if d > 1 else [-0.8]
    # the spread of reversible attention's spectrum to negative values is chance: draw until it is wide
    A = next(A for A in (KINDS[kind](rng, n, 0.95) for _ in range(1000)) if _clear_minimum(A))
    return case(name, A, weights(rng, *values, condition=condition), symmetric=kind == "symmetric")


def _clear_minimum(A):
    values = np.linalg.eigvals(A)
    if np.max(np.abs(values.imag)) > 0:
        return False
    low = np.sort(values.real)
    return low[0] < -0.03 and (len(low) == 2 or low[1] - low[0] > 0.03)


def _pair(kind, sharp):
    name = f"{'sharpening' if sharp else 'smoothing'}-pair-{kind}"
    rng = seeded(name)
    values = (-0.9 + 0.3j, -0.2) if sharp else (0.9 + 0.8j, 0.3, -0.5)
    A = next(A for A in (KINDS[kind](rng, 5) for _ in range(1000)) if not sharp or _clear_minimum(A))
    return case(name, A, weights(rng, *values, condition=2), symmetric=kind == "symmetric")


CASES = [
    *(_smoothing(kind, n, d, 1) for kind in KINDS for n, d in SHAPES),
    *(_smoothing(kind, 5, 4, 10) for kind in KINDS),
    *(_resmoothing(kind) for kind in KINDS),
    *(
        _sharpening(kind, n, d, c)
        for kind in ("symmetric", "reversible")
        for n, d, c in [(5, 3, 1), (4, 4, 8), (3, 1, 1)]
    ),
    *(_pair(kind, False) for kind in KINDS),
    *(_pair(kind, True) for kind in ("symmetric", "reversible")),
    case("causal-smoothing", causal(seeded("c"), 5), weights(seeded("ch"), 0.9, 0.4, -0.5, condition=3)),
    case(
        "two-heads",
        [softmax(seeded("m1"), 4), softmax(seeded("m2"), 4)],
        [weights(seeded("mh"), 0.8, 0.3, -0.2), weights(seeded("mi"), 0.5, 0.3, 0.1)],
    ),
    case("one-token", np.ones((1, 1)), weights(seeded("1"), 0.9, 0.4, condition=3)),
    case("one-token-one-feature", np.ones((1, 1)), np.array([[0.3]])),
    case("two-tokens-one-feature", softmax(seeded("2"), 2), np.array([[0.3]])),
]


def worst_error(run, truth):
    """Largest error of a logarithm; NaN where there is a truth counts as infinite."""
    worst = 0.0
    for name in LOGS:
        found, expected = np.asarray(run.metrics[name]), truth[name]
        finite = np.isfinite(expected)
        error = np.abs(found[finite] - expected[finite])
        worst = max(worst, np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))
        # a gap of exactly zero is -inf, or not measurable
        zero = expected == -np.inf
        assert np.all(np.isnan(found[zero]) | (found[zero] == -np.inf)), name
    return worst


def assert_true_or_nan(run, truth, digits=np.inf, names=tuple(OF_TOKENS)):
    """Every finite value is true to its own error; where it is not there, info says from where on.

    Errors are estimates, exceeded once in a thousand times: three of them are allowed.
    """
    exists = truth["log_norm"] > -np.inf
    for name in set(names) - {"hfc_lfc"}:
        found, expected = np.asarray(run.metrics[name]), truth[name]
        finite = np.isfinite(found)
        with np.errstate(invalid="ignore"):
            error = np.abs(found - expected)
        # below its own digits the oracle sees an exact zero
        beyond = (expected == -np.inf) & (found < -2 * digits)
        allowed = 3 * np.asarray(run.errors[name]) + 4 * EPS * np.where(finite, np.abs(found), 0)
        wrong = finite & ~beyond & ~(error <= allowed)
        assert not np.any(wrong), (
            f"{name} at layers {run.layers[wrong]}: {found[wrong]}, true {expected[wrong]}, "
            f"error {np.asarray(run.errors[name])[wrong]}"
        )
        missing = np.flatnonzero(np.isnan(found) & exists)
        first = run.layers[missing[0]] if missing.size else -1
        assert run.info.unmeasured_from[name] == first, name


ONE_THIRD = np.full((3, 3), 1 / 3)


DYADIC = 1 / 4 - (np.eye(4) - 1 / 4) / 8  # eigenvalues 1 and -1/8, three times, exactly


NILPOTENT = np.outer([1, -1, 0, 0], [0, 0, 1, -1])


CIRCULANT = np.array([[np.roll([3, 1, 0, 2], i)[j] / 6 for j in range(4)] for i in range(4)])


SPLIT = np.kron(np.eye(2), [[0.75, 0.25], [0.25, 0.75]])


X43 = np.array([[2.0, -1, 1], [0, 3, 1], [1, 1, -2], [-1, 2, 3]])


RANDOM = np.random.default_rng(9)


GENERAL = softmax(RANDOM, 4)


STRUCTURED = {
    # ties across both factors
    "A = I": (np.eye(4), np.diag([0.5, -0.5, 1]), X43),
    "A = I, H = -I": (np.eye(4), -np.eye(3), X43),
    "A = I, H a rotation": (np.eye(4), block(0.3 + 0.4j, 0.1), X43),
    "uniform A, all |1 + mu| < 1": (np.full((4, 4), 0.25), np.diag([-0.5, -1, -1.25]), X43),
    "uniform A, H = diag(-2, 0)": (np.full((4, 4), 0.25), np.diag([-2.0, 0, 0]), X43),
    "A = 11'/2, H = diag(-2, 0)": (np.full((2, 2), 0.5), np.diag([-2.0, 0]), X43[:2, :2]),
    "uniform A, thirds": (ONE_THIRD, np.diag([-0.5, -1, -1.25]), X43[:3]),
    "boundary": (DYADIC, np.diag([-16 / 7, 0.25, -0.5]), X43),
    "boundary tied with another mu": (DYADIC, np.diag([-16 / 7, 9 / 7, -0.5]), X43),
    "boundary on both sides": (DYADIC, np.diag([-16 / 7, 9 / 7, 9 / 7]), X43),
    "repeated dominant mu": (GENERAL, np.diag([0.5, 0.5, 0.25]), X43),
    "opposite rho": (GENERAL, np.diag([1.0, -3.0, 0.25]), X43),
    "H = 0": (GENERAL, np.zeros((3, 3)), X43),
    "nilpotent H": (GENERAL, np.diag([1.0, 1.0], 1), X43),
    "lambda 1 and -1": (np.array([[0.0, 1], [1, 0]]), np.diag([-1.0, 1]), X43[:2, :2]),
    "permutation": (np.roll(np.eye(4), 1, axis=0), np.diag([0.5, -0.5, -1]), X43),
    "circulant": (CIRCULANT, np.diag([-0.9, -0.3, 0.2]), X43),
    # defective dominant pairs
    "Jordan H, smoothing": (GENERAL, np.array([[0.5, 1, 0], [0, 0.5, 0], [0, 0, 0.25]]), X43),
    "Jordan H of size 3": (GENERAL, 0.5 * np.eye(3) + np.diag([1.0, 1], 1), X43),
    "Jordan H, sharpening": (DYADIC, np.array([[-0.5, 1, 0], [0, -0.5, 0], [0, 0, -0.25]]), X43),
    "Jordan A, smoothing": (DYADIC + NILPOTENT / 8, np.diag([0.5, 0.25, -0.5]), X43),
    "Jordan A, sharpening": (DYADIC + NILPOTENT / 8, np.diag([-0.5, -0.25, -0.75]), X43),
    "Jordan A and H": (DYADIC + NILPOTENT / 8, np.array([[-0.5, 1, 0], [0, -0.5, 0], [0, 0, -0.25]]), X43),
    "Jordan A tied with a simple mode": (DYADIC + NILPOTENT / 8, np.diag([-16 / 7, -0.5, 0.25]), X43),
    "J_2(2) + (-4), lambda = -1/2": (
        np.array([[0.25, 0.75], [0.75, 0.25]]),
        np.array([[2.0, 1, 0], [0, 2, 0], [0, 0, -4]]),
        X43[:2],
    ),
    # x0 in an invariant subspace
    "no constant part": (DYADIC, np.diag([1.0, 0.5, -0.5]), X43 - [[0.5, 1.25, 0.75]]),
    "no constant part, thirds": (
        ONE_THIRD,
        np.diag([1.0, 0.5, -0.5]),
        np.array([[1.0, 2, 0], [-3, 1, 1], [2, -3, -1]]),
    ),
    "no constant part, circulant": (CIRCULANT, np.diag([0.9, 0.3, -0.2]), X43 - X43.mean(axis=0)),
    "no constant part, unequal tokens": (
        np.array([[0.4, 0.6], [0.4, 0.6]]),
        np.array([[0, 0.4, -0.4], [-0.4, 0, 0], [0, 0.4, 0.2]]),
        np.array([[9.0, 3, 0], [-6, -2, 0]]),
    ),
    "no dominant feature": (GENERAL, np.diag([1.0, 0.5, -0.5]), X43 * [0, 1, 1]),
    "no dominant feature, symmetric H": (
        GENERAL,
        np.array([[0.6, 0.4, 0], [0.4, 0.6, 0], [0, 0, 0.3]]),
        X43 * [1, 0, 1] - np.roll(X43 * [1, 0, 0], 1, axis=1),
    ),
    "one token mode": (SPLIT, np.diag([0.5, -0.25, -0.5]), np.outer([1.0, -1, 2, -2], [1, 2, 3])),
    "rank one": (GENERAL, np.diag([0.5, 0.25, -0.5]), np.outer([1.0, 2, -1, 3], [1, -2, 3])),
    "rank one, other features": (
        GENERAL,
        np.array([[0.5, 0.1, 0], [0.2, 0.3, 0], [0, 0.4, -0.5]]),
        np.outer([1.0, 2, -1, 3], [0.1, 0.7, 0.3]),
    ),
    "equal rows": (GENERAL, np.diag([0.5, 0.25, -0.5]), np.tile([0.1, 0.7, 0.3], (4, 1))),
    "two equal rows": (SPLIT, np.diag([0.5, 0.25, -0.5]), X43[[0, 0, 1, 2]]),
    "zero row": (GENERAL, np.diag([0.5, 0.25, -0.5]), X43 * np.array([[1], [0], [1], [1]])),
    "zero row that stays": (np.eye(4), np.diag([0.5, 0.25, -0.5]), X43 * np.array([[1], [0], [1], [1]])),
    "zero rows that stay": (SPLIT, np.diag([-0.5, -0.25, -0.75]), X43 * np.array([[1], [1], [0], [0]])),
    "nearly equal rows": (GENERAL, np.diag([0.5, 0.25, -0.5]), 1 + 1e-9 * X43),
    "one huge row": (GENERAL, np.diag([0.5, 0.25, -0.5]), X43 * np.array([[1e12], [1], [1], [1]])),
    "tiny dominant part": (GENERAL, np.diag([0.5, 0.25, -0.5]), X43 * [1e-14, 1, 1]),
    # v_* with zero entries, reducible and nearly reducible attention
    "v with zeros": (
        np.array(
            [[0.25, 0.75, 0, 0], [0.75, 0.25, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]
        ),
        np.diag([-0.9, -0.5, -0.2]),
        X43,
    ),
    "v with zeros, block": (
        np.kron(np.eye(2), [[0.25, 0.75], [0.75, 0.25]]),
        np.diag([-0.9, -0.5, -0.2]),
        X43,
    ),
    "block diagonal, smoothing": (SPLIT, np.diag([0.9, 0.5, -0.2]), X43),
    "block diagonal, unequal": (
        np.array([[0.5, 0.5, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0.9, 0.1], [0, 0, 0.3, 0.7]]),
        np.diag([0.9, 0.5, -0.2]),
        np.add(X43, [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]]),
    ),
    "two sinks and a source": (
        np.array([[1.0, 0, 0, 0], [0.3, 0.3, 0.2, 0.2], [0, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]]),
        np.diag([0.9, 0.5, -0.2]),
        X43,
    ),
    "causal": (causal(RANDOM, 4), np.diag([0.9, 0.5, -0.2]), X43),
    "causal, sharpening": (causal(RANDOM, 4), np.diag([-0.9, -0.5, -0.2]), X43),
    "causal, first token zero": (
        causal(RANDOM, 4),
        np.diag([0.9, 0.5, -0.2]),
        X43 * np.array([[0], [1], [1], [1]]),
    ),
    "anti-causal": (causal(RANDOM, 4)[::-1, ::-1], np.diag([0.9, 0.5, -0.2]), X43),
    "nearly reducible": (SPLIT * (1 - 1e-10) + 1e-10 / 4, np.diag([0.9, 0.5, -0.2]), X43),
    "nearly reducible, sharpening": (SPLIT * (1 - 1e-10) + 1e-10 / 4, np.diag([-0.9, -0.5, -0.2]), X43),
    "nearly identity": (np.eye(4) * (1 - 1e-13) + 1e-13 / 4, np.diag([0.9, 0.5, -0.2]), X43),
    "ill-conditioned H": (GENERAL, np.array([[0.5, 1e4, 0], [0, 0.3, 0], [0, 0, 0.2]]), X43),
}


def dyadic_columns(A):
    return bool(np.max(np.abs(A.sum(axis=0) - 1)) < 1e-13)


MANY_HEADS = {
    "centred": (
        [ONE_THIRD, np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])],
        [np.diag([0.9, 0.4]), np.diag([0.3, 0.2])],
        np.array([[0.1, 0.7], [0.2, -0.3], [-0.3, -0.4]]),
    ),
    "one shared feature only": (
        [GENERAL, GENERAL[::-1, ::-1]],
        [np.array([[0.5, 0.4], [0.4, 0.5]]), np.array([[0.3, 0.1], [0.1, 0.3]])],
        np.outer([1 / 3, 0.7, 0.1, -0.4], [1, -1]),
    ),
    "heads that cancel": ([GENERAL, GENERAL], [np.diag([0.5, -0.5]), np.diag([-0.5, 0.5])], X43[:, :2]),
    "identity and uniform": ([np.eye(4), np.full((4, 4), 0.25)], [-np.eye(3), np.diag([1.0, 2, 0.5])], X43),
    "equal rows": ([GENERAL, SPLIT], [np.diag([0.5, -0.5]), np.eye(2)], np.tile([0.1, 0.7], (4, 1))),
    "vanishing": ([SPLIT, SPLIT], [-np.eye(2) / 2, -np.eye(2) / 2], X43[:, :2]),
}


def nearly_degenerate(seed):
    """One system a small step away from a tie, a Jordan block, a split, or an invariant subspace."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    A, x0 = list(KINDS.values())[rng.integers(3)](rng, n), rng.normal(size=(n, d))
    values = rng.uniform(-1.5, 1.5, d)
    H = weights(rng, *values, condition=float(rng.choice([2.0, 10.0, 100.0])))
    step = 10.0 ** -rng.integers(4, 16)
    match int(rng.integers(8)):
        case 0:
            H = values[0] * np.eye(d) + np.diag(np.ones(d - 1), 1) + step * rng.normal(size=(d, d))
        case 1:
            values[-1] = values[0] * (1 + step)
            H = weights(rng, *values, condition=3.0)
        case 2:
            x0 = x0 * 10.0 ** -rng.integers(0, 18, size=(1, d)) @ H
        case 3:
            half = np.arange(n) < n // 2
            W = np.where(half[:, None] == half, np.exp(rng.normal(size=(n, n))), 0) + step
            A = W / W.sum(axis=1, keepdims=True)
        case 4:
            W = symmetric(rng, n) * (1 + step * rng.normal(size=(n, n)))
            A = W / W.sum(axis=1, keepdims=True)
        case 5:
            V = np.linalg.eig(A)[1].real
            x0 = np.outer(V[:, rng.integers(n)], x0[0]) + step * x0
        case 6:
            A = (1 - step) * np.eye(n) + step * A
        case 7:
            H = H * 10.0 ** rng.integers(-3, 3)
    return A, H, x0


def rows(n, entries):
    return st.lists(st.lists(entries, min_size=n, max_size=n), min_size=n, max_size=n)


@st.composite
def attention_matrices(draw, n):
    W = np.array(draw(rows(n, st.integers(0, 3))), dtype=float)
    kind = draw(st.sampled_from(["any", "causal", "anti-causal", "circulant", "positive", "block"]))
    if kind == "causal":
        W = np.tril(W + 1)
    elif kind == "anti-causal":
        W = np.triu(W + 1)
    elif kind == "circulant":
        W = np.array([np.roll(W[0], k) for k in range(n)])
    elif kind == "positive":
        W = W + 1
    elif kind == "block":
        half = np.arange(n) < n // 2
        W = np.where(half[:, None] == half[None, :], W, 0)
    empty = W.sum(axis=1) == 0
    W[empty, np.flatnonzero(empty)] = 1
    return W / W.sum(axis=1, keepdims=True)


@st.composite
def weight_matrices(draw, d):
    M = np.array(draw(rows(d, st.integers(-2, 2))), dtype=float)
    kind = draw(st.sampled_from(["any", "diagonal", "triangular", "symmetric", "scalar", "Jordan"]))
    if kind == "diagonal":
        M = np.diag(np.diag(M))
    elif kind == "triangular":
        M = np.triu(M)
    elif kind == "symmetric":
        M = M + M.T
    elif kind == "scalar":
        M = M[0, 0] * np.eye(d)
    elif kind == "Jordan":
        M = M[0, 0] * np.eye(d) + np.diag(np.ones(d - 1), 1)
    return M / draw(st.sampled_from([1, 2, 3, 5]))


@st.composite
def token_matrices(draw, n, d):
    entries = st.integers(-3, 3)
    X = np.array(
        draw(st.lists(st.lists(entries, min_size=d, max_size=d), min_size=n, max_size=n)), dtype=float
    )
    kind = draw(st.sampled_from(["any", "rank one", "equal rows", "zero row", "centred", "thirds"]))
    if kind == "rank one":
        X = np.outer(X[:, 0], X[0])
    elif kind == "equal rows":
        X = np.tile(X[:1], (n, 1))
    elif kind == "zero row":
        X[0] = 0
    elif kind == "centred":
        X[0] -= X.sum(axis=0)
    elif kind == "thirds":
        X = X / 3
    if not np.any(X):
        X[-1, -1] = 1
    return X


@st.composite
def systems(draw):
    n, d = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    return draw(attention_matrices(n)), draw(weight_matrices(d)), draw(token_matrices(n, d))
