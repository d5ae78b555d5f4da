"""Every kind of bad input is one clear error, before any work is done."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

import linsim
from linsim import Block, Layered, Linear, LinsimError, MultiHead, predict, simulate
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError
from linsim.metrics import measure

A2 = np.array([[0.5, 0.5], [0.25, 0.75]])
H3 = np.eye(3) / 2
X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
RULE = Linear(A2, H3)
NAN, INF = float("nan"), float("inf")


def strict(x):
    return array_api_strict.asarray(x)


def on_another_device(x):
    return array_api_strict.asarray(x, device=array_api_strict.Device("device1"))


def batch(x, k):
    return np.stack([np.asarray(x)] * k)


def sized(n, d):
    return Linear(np.full((n, n), 1 / n), np.zeros((d, d)))


def swept(grid, weights):
    """A sweep in which one point may be bad."""

    def make(point, rng):
        return Linear(A2, weights(point["mu"])[:, None, None] * H3), batch(X, len(point["mu"]))

    return linsim.sweep(make, grid, depth=2, metrics="log_norm", progress=False, on_error="raise")


def tokens_of(point, rng):
    """A make() that reads a size off its first point, as if all of a batch shared it."""
    n = int(point["n"][0])
    return sized(n, 3), linsim.tokens.gaussian(n, 3, size=len(point["n"]), rng=rng)


def run(*args, **kwargs):
    return lambda: simulate(*args, **kwargs)


SHORT = simulate(RULE, X, 4, metrics=["cosine", "log_norm"])
DEAD = simulate(Linear(A2, H3), np.ones((2, 3)), 2, metrics=["log_spread"])

# (what is wrong, call, error, text of the message: argument first, then what was found, then what to do)
BAD = [
    # --- one array, as A ---
    (
        "A NaN",
        lambda: Linear([[NAN, 1], [0, 1]], H3),
        InvalidValueError,
        ["A: found NaN or infinity", "finite"],
    ),
    (
        "A infinite",
        lambda: Linear([[INF, 1], [0, 1]], H3),
        InvalidValueError,
        ["A: found NaN or infinity", "finite"],
    ),
    ("A text", lambda: Linear("A.npy", H3), InvalidTypeError, ["A: found str", "numeric", "not text"]),
    ("A bytes", lambda: Linear(b"A", H3), InvalidTypeError, ["A: found bytes", "numeric"]),
    (
        "A list of text",
        lambda: Linear([["a", "b"], ["c", "d"]], H3),
        InvalidTypeError,
        ["A: found dtype <U1", "real numbers"],
    ),
    (
        "A ragged",
        lambda: Linear([[1.0], [0.5, 0.5]], H3),
        InvalidTypeError,
        ["A: found a ragged", "same length"],
    ),
    (
        "A complex",
        lambda: Linear(A2 + 0j, H3),
        InvalidTypeError,
        ["A: found dtype complex128", "real numbers", "imaginary parts are all 0: pass its real part"],
    ),
    (
        "A objects",
        lambda: Linear(A2.astype(object), H3),
        InvalidTypeError,
        ["A: found dtype object", "float64"],
    ),
    (
        "A dates",
        lambda: Linear(np.zeros((2, 2), "M8[s]"), H3),
        InvalidTypeError,
        ["A: found dtype datetime64", "float64"],
    ),
    (
        "A bool",
        lambda: Linear(np.eye(2, dtype=bool), H3),
        InvalidTypeError,
        ["A: found dtype bool", "real numbers"],
    ),
    ("A None", lambda: Linear(None, H3), InvalidTypeError, ["A: found NoneType", "numeric array"]),
    ("A dict", lambda: Linear({1: 2}, H3), InvalidTypeError, ["A: found dtype object", "real numbers"]),
    ("A a number", lambda: Linear(1.0, H3), ShapeError, ["A: found shape ()", "(..., n, n)"]),
    ("A a vector", lambda: Linear([1.0], H3), ShapeError, ["A: found shape (1,)", "(..., n, n)"]),
    (
        "A not square",
        lambda: Linear(np.full((2, 3), 1 / 3), H3),
        ShapeError,
        ["A: found shape (2, 3)", "equal"],
    ),
    (
        "A rows of 0.9",
        lambda: Linear(0.9 * A2, H3),
        InvalidValueError,
        ["A: found a row that sums to", "0.1", "Divide"],
    ),
    (
        "A rows of 1.1",
        lambda: Linear(1.1 * A2, H3),
        InvalidValueError,
        ["A: found a row that sums to 1 + 0.1", "Divide"],
    ),
    (
        "A rows of 1 + 1e-7",
        lambda: Linear((1 + 1e-7) * A2, H3),
        InvalidValueError,
        ["A: found a row", "within 1e-8"],
    ),
    (
        "A in float32, rows of 1 + 1e-4",
        lambda: Linear(np.float32((1 + 1e-4) * A2), H3.astype(np.float32)),
        InvalidValueError,
        ["A: found a row", "within 1e-5"],
    ),
    (
        "A in float16, rows of 0.9",
        lambda: Linear(np.float16(0.9 * A2), H3),
        InvalidValueError,
        ["A: found a row", "within 2.5", "Divide each row by its sum, in float32."],
    ),
    (
        "A in float16, a zero row among many",
        lambda: Linear(np.float16(np.diag([0.0] + [1.0] * 5000)), H3),
        InvalidValueError,
        ["A: found a row that sums to 1 - 1"],
    ),
    (
        "A zero row",
        lambda: Linear([[0.0, 0.0], [0.5, 0.5]], H3),
        InvalidValueError,
        ["A: found a row that sums to 1 - 1"],
    ),
    (
        "A scores",
        lambda: Linear([[1.5, -0.5], [0.5, 0.5]], H3),
        InvalidValueError,
        ["A: found a negative entry (-0.5)", "softmax"],
    ),
    ("A n = 0", lambda: Linear(np.zeros((0, 0)), H3), ShapeError, ["A: found shape (0, 0)", "no empty axis"]),
    (
        "A empty batch",
        lambda: Linear(np.zeros((0, 2, 2)), H3),
        ShapeError,
        ["A: found shape (0, 2, 2)", "one system"],
    ),
    # --- as H ---
    ("H NaN", lambda: Linear(A2, H3 * NAN), InvalidValueError, ["H: found NaN or infinity", "finite"]),
    ("H text", lambda: Linear(A2, "H"), InvalidTypeError, ["H: found str", "not text"]),
    ("H ragged", lambda: Linear(A2, [[1], [2, 3]]), InvalidTypeError, ["H: found a ragged", "same length"]),
    (
        "H complex",
        lambda: Linear(A2, 1j * H3),
        InvalidTypeError,
        ["H: found dtype complex128", "Imaginary parts would be lost"],
    ),
    ("H None", lambda: Linear(A2, None), InvalidTypeError, ["H: found NoneType", "numeric"]),
    ("H a number", lambda: Linear(A2, 0.5), ShapeError, ["H: found shape ()", "(..., d, d)"]),
    (
        "H not square",
        lambda: Linear(A2, np.ones((3, 2))),
        ShapeError,
        ["H: found shape (3, 2)", "(..., d, d)"],
    ),
    ("H d = 0", lambda: Linear(A2, np.zeros((0, 0))), ShapeError, ["H: found shape (0, 0)", "no empty axis"]),
    # --- A against H ---
    (
        "batches",
        lambda: Linear(batch(A2, 2), batch(H3, 3)),
        ShapeError,
        ["A and H: found batch shapes A (2,), H (3,)", "broadcast"],
    ),
    (
        "libraries",
        lambda: Linear(strict(A2), H3),
        InvalidTypeError,
        ["A and H: found", "one library", "Convert"],
    ),
    (
        "devices",
        lambda: Linear(strict(A2), on_another_device(H3)),
        InvalidValueError,
        ["A and H: found arrays of array_api_strict on", "one device", "Move"],
    ),
    # --- MultiHead ---
    (
        "heads differ",
        lambda: MultiHead(batch(A2, 2), batch(H3, 3)),
        ShapeError,
        ["A and H: found 2 and 3 heads", "same number"],
    ),
    (
        "A without heads",
        lambda: MultiHead(A2, batch(H3, 2)),
        ShapeError,
        ["A: found shape (2, 2)", "(..., h, n, n)"],
    ),
    (
        "H without heads",
        lambda: MultiHead(batch(A2, 2), H3),
        ShapeError,
        ["H: found shape (3, 3)", "(..., h, d, d)"],
    ),
    (
        "no heads",
        lambda: MultiHead(np.zeros((0, 2, 2)), np.zeros((0, 3, 3))),
        ShapeError,
        ["A: found shape (0, 2, 2)", "no empty"],
    ),
    (
        "head rows",
        lambda: MultiHead(np.stack([A2, 0.5 * A2]), batch(H3, 2)),
        InvalidValueError,
        ["A: found a row", "Divide"],
    ),
    (
        "head batches",
        lambda: MultiHead(batch(batch(A2, 2), 2), batch(batch(H3, 2), 3)),
        ShapeError,
        ["A and H: found batch shapes A (2,), H (3,)", "broadcast"],
    ),
    # --- Layered ---
    (
        "no rules",
        lambda: Layered([]),
        InvalidTypeError,
        ["rules: found an empty sequence", "one rule per layer"],
    ),
    (
        "matrices as rules",
        lambda: Layered([A2, H3]),
        InvalidTypeError,
        ["rules: found ndarray", "Linear, MultiHead or other rules"],
    ),
    (
        "one rule, no list",
        lambda: Layered(RULE),
        InvalidTypeError,
        ["rules: found Linear", "a sequence of Linear"],
    ),
    ("rules None", lambda: Layered(None), InvalidTypeError, ["rules: found NoneType", "a sequence"]),
    (
        "nested",
        lambda: Layered([Layered([RULE])]),
        InvalidTypeError,
        ["rules: found Layered", "a sequence of Linear"],
    ),
    (
        "mixed n",
        lambda: Layered([RULE, sized(3, 3)]),
        ShapeError,
        ["rules: found n in [2, 3]", "same n and d"],
    ),
    (
        "mixed d",
        lambda: Layered([RULE, sized(2, 2)]),
        ShapeError,
        ["rules: found d in [2, 3]", "same n and d"],
    ),
    (
        "rule batches",
        lambda: Layered([Linear(batch(A2, 2), H3), Linear(batch(A2, 3), H3)]),
        ShapeError,
        ["rules[0] and rules[1]: found batch shapes", "broadcast"],
    ),
    (
        "rule libraries",
        lambda: Layered([RULE, Linear(strict(A2), strict(H3))]),
        InvalidTypeError,
        ["rules: found", "one library", "Convert"],
    ),
    # --- simulate ---
    ("rule a matrix", run(A2, X, 2), InvalidTypeError, ["rule: found ndarray", "Linear(A, H)"]),
    ("rule None", run(None, X, 2), InvalidTypeError, ["rule: found NoneType", "Linear"]),
    ("rule a list", run([RULE], X, 2), InvalidTypeError, ["rule: found list", "Layered"]),
    ("x0 NaN", run(RULE, X * NAN, 2), InvalidValueError, ["x0: found NaN or infinity", "finite"]),
    ("x0 text", run(RULE, "x0.npy", 2), InvalidTypeError, ["x0: found str", "not text"]),
    ("x0 ragged", run(RULE, [[1, 2, 3], [1, 2]], 2), InvalidTypeError, ["x0: found a ragged", "same length"]),
    ("x0 complex", run(RULE, X + 1j, 2), InvalidTypeError, ["x0: found dtype complex128", "real"]),
    ("x0 None", run(RULE, None, 2), InvalidTypeError, ["x0: found NoneType", "numeric"]),
    ("x0 a vector", run(RULE, X[0], 2), ShapeError, ["x0: found shape (3,)", "(..., n, d)"]),
    (
        "x0 transposed",
        run(RULE, X.T, 2),
        ShapeError,
        ["x0: found shape (3, 2)", "(..., 2, 3)", "Rows are tokens"],
    ),
    ("x0 wrong n", run(RULE, np.ones((4, 3)), 2), ShapeError, ["x0: found shape (4, 3)", "(..., 2, 3)"]),
    ("x0 wrong d", run(RULE, np.ones((2, 5)), 2), ShapeError, ["x0: found shape (2, 5)", "(..., 2, 3)"]),
    (
        "x0 empty batch",
        run(RULE, np.ones((0, 2, 3)), 2),
        ShapeError,
        ["x0: found shape (0, 2, 3)", "one system"],
    ),
    ("x0 zero", run(RULE, 0 * X, 2), InvalidValueError, ["x0: found an all-zero system", "not all zero"]),
    (
        "x0 zero in a batch",
        run(RULE, np.stack([X, 0 * X]), 2),
        InvalidValueError,
        ["x0: found an all-zero system", "Drop"],
    ),
    (
        "x0 batch",
        run(Linear(batch(A2, 2), H3), batch(X, 3), 2),
        ShapeError,
        ["rule and x0: found batch shapes rule (2,), x0 (3,)", "broadcast"],
    ),
    (
        "x0 of another library",
        run(RULE, strict(X), 2),
        InvalidTypeError,
        ["x0: found an array of", "array_api_strict", "Convert"],
    ),
    (
        "x0 on another device",
        run(Linear(strict(A2), strict(H3)), on_another_device(X), 2),
        InvalidValueError,
        ["rule and x0: found arrays of array_api_strict on", "one device", "Move"],
    ),
    (
        "heads of a block",
        run(Block(batch(A2, 3), weights=batch(H3, 3)), X, 2),
        ShapeError,
        ["x0: found tokens without the axis of 3", "one head, not 3", "pass x0[None]", "linsim.MultiHead"],
    ),
    (
        "heads of a batch of blocks",
        run(Block(batch(batch(A2, 3), 2), weights=batch(batch(H3, 3), 2)), X, 2),
        ShapeError,
        ["x0: found tokens without the axis of 2", "pass x0[None, None]"],
    ),
    (
        "device of a gain",
        lambda: Block(strict(A2), gain=on_another_device(H3[0])),
        InvalidValueError,
        ["A and gain: found arrays of array_api_strict on", "one device"],
    ),
    (
        "library of a gain",
        lambda: Block(strict(A2), gain=H3[0]),
        InvalidTypeError,
        ["A and gain: found arrays of array_api_strict and numpy", "Convert"],
    ),
    (
        "depth 1.5",
        run(RULE, X, 1.5),
        InvalidTypeError,
        ["depth: found 1.5", "an integer >= 0", "whole number"],
    ),
    ("depth 2.0", run(RULE, X, 2.0), InvalidTypeError, ["depth: found 2.0", "an integer >= 0"]),
    ("depth text", run(RULE, X, "2"), InvalidTypeError, ["depth: found '2'", "an integer >= 0"]),
    ("depth bool", run(RULE, X, True), InvalidTypeError, ["depth: found True", "an integer >= 0"]),
    ("depth None", run(RULE, X, None), InvalidTypeError, ["depth: found None", "an integer >= 0"]),
    ("depth NaN", run(RULE, X, NAN), InvalidTypeError, ["depth: found nan", "an integer >= 0"]),
    ("depth negative", run(RULE, X, -1), InvalidValueError, ["depth: found -1", "an integer >= 0", "larger"]),
    (
        "depth beyond rules",
        run(Layered([RULE] * 3), X, 4),
        InvalidValueError,
        ["depth: found 4", "at most 3", "Add rules"],
    ),
    (
        "layers beyond depth",
        run(RULE, X, 3, layers=[0, 4]),
        InvalidValueError,
        ["layers: found layer 4", "depth = 3", "Raise depth"],
    ),
    (
        "layers negative",
        run(RULE, X, 3, layers=[-1]),
        InvalidValueError,
        ["layers: found -1", "an integer >= 0"],
    ),
    (
        "layers empty",
        run(RULE, X, 3, layers=[]),
        InvalidValueError,
        ["layers: found no layer", "depth = 3", "leave layers out"],
    ),
    (
        "layers floats",
        run(RULE, X, 3, layers=[0.0, 1.0]),
        InvalidTypeError,
        ["layers: found 0.0", "an integer"],
    ),
    ("layers bools", run(RULE, X, 3, layers=[True]), InvalidTypeError, ["layers: found True", "an integer"]),
    ("layers text", run(RULE, X, 3, layers="all"), InvalidTypeError, ["layers: found 'all'", "an integer"]),
    (
        "layers nested",
        run(RULE, X, 3, layers=[[0, 1]]),
        InvalidTypeError,
        ["layers: found [0, 1]", "an integer"],
    ),
    (
        "layers of two axes",
        run(RULE, X, 3, layers=np.zeros((2, 2), int)),
        InvalidTypeError,
        ["layers: found array", "an integer"],
    ),
    (
        "layers a 0-d array",
        run(RULE, X, 3, layers=np.array(1.5)),
        InvalidTypeError,
        ["layers: found", "an integer"],
    ),
    (
        "unknown metric",
        run(RULE, X, 3, metrics=["log_token_diversty"]),
        InvalidValueError,
        ["metrics: found 'log_token_diversty'", "Did you mean 'log_token_diversity'?"],
    ),
    ("metric a number", run(RULE, X, 3, metrics=[3]), InvalidValueError, ["metrics: found 3", "one of"]),
    ("metrics a number", run(RULE, X, 3, metrics=3), InvalidTypeError, ["metrics: found 3", "list of names"]),
    (
        "unknown method",
        run(RULE, X, 3, method="iterat"),
        InvalidValueError,
        ["method: found 'iterat'", "Did you mean 'iterate'?"],
    ),
    ("method None", run(RULE, X, 3, method=None), InvalidValueError, ["method: found None", "'auto'"]),
    (
        "unknown backend",
        run(RULE, X, 3, backend="numpi"),
        InvalidValueError,
        ["backend: found 'numpi'", "Did you mean 'numpy'?"],
    ),
    (
        "dtype int",
        run(RULE, X, 3, dtype="int64"),
        InvalidValueError,
        ["dtype: found 'int64'", "'float64'", "Did you mean"],
    ),
    (
        "dtype float16",
        run(RULE, X, 3, dtype=np.float16),
        InvalidValueError,
        ["dtype: found 'float16'", "'float32'"],
    ),
    ("rng text", run(RULE, X, 3, rng="seed"), InvalidTypeError, ["rng: found 'seed'", "a seed", "rng=0"]),
    ("rng negative", run(RULE, X, 3, rng=-1), InvalidTypeError, ["rng: found -1", "a seed"]),
    (
        "H too large",
        run(Linear(A2, 1e200 * H3), X, 3),
        InvalidValueError,
        ["H: found entries that let a layer grow", "2^400", "Scale H down"],
    ),
    (
        "H too large for float32",
        run(Linear(A2, 1e20 * H3), X, 3, dtype="float32"),
        InvalidValueError,
        ["H: found entries that let a layer grow", "2^50", "float64"],
    ),
    (
        "H near the end of the range",
        run(Linear(A2, np.full((3, 3), 1e308)), X, 3),
        InvalidValueError,
        ["H: found entries", "Scale"],
    ),
    # --- predict ---
    ("predict nothing useful", lambda: predict(None), LinsimError, ["rule", "found NoneType"]),
    ("predict text", lambda: predict("rule"), LinsimError, ["rule", "found str"]),
    ("predict A rows", lambda: predict(2 * A2, H3), InvalidValueError, ["A: found a row", "Divide"]),
    (
        "predict H NaN",
        lambda: predict(A2, NAN * H3),
        InvalidValueError,
        ["H: found NaN or infinity", "finite"],
    ),
    (
        "predict x0 shape",
        lambda: predict(RULE, x0=X.T),
        ShapeError,
        ["x0: found shape (3, 2)", "(..., 2, 3)"],
    ),
    (
        "predict x0 zero",
        lambda: predict(RULE, x0=0 * X),
        InvalidValueError,
        ["x0: found an all-zero system", "not all zero"],
    ),
    (
        "predict x0 NaN",
        lambda: predict(RULE, x0=NAN * X),
        InvalidValueError,
        ["x0: found NaN or infinity", "finite"],
    ),
    (
        "predict x0 batch",
        lambda: predict(batch(A2, 2), H3, x0=batch(X, 3)),
        ShapeError,
        ["x0", "batch shapes", "broadcast"],
    ),
    (
        "predict rule and H",
        lambda: predict(RULE, H3),
        InvalidTypeError,
        ["H: found ndarray beside a Linear", "x0="],
    ),
    # --- measure ---
    ("measure NaN", lambda: measure(X * NAN), InvalidValueError, ["x: found NaN or infinity", "finite"]),
    ("measure text", lambda: measure("x"), InvalidTypeError, ["x: found str", "not text"]),
    (
        "measure ragged",
        lambda: measure([[1.0], [1.0, 2.0]]),
        InvalidTypeError,
        ["x: found a ragged", "same length"],
    ),
    ("measure complex", lambda: measure(X + 1j), InvalidTypeError, ["x: found dtype complex128", "real"]),
    ("measure a vector", lambda: measure(X[0]), ShapeError, ["x: found shape (3,)", "(..., n, d)"]),
    (
        "measure no tokens",
        lambda: measure(np.zeros((0, 3))),
        ShapeError,
        ["x: found shape (0, 3)", "no empty axis"],
    ),
    (
        "measure no features",
        lambda: measure(np.zeros((3, 0))),
        ShapeError,
        ["x: found shape (3, 0)", "no empty axis"],
    ),
    (
        "measure unknown",
        lambda: measure(X, "cosin"),
        InvalidValueError,
        ["metrics: found 'cosin'", "Did you mean 'cosine'?"],
    ),
    (
        "measure metrics None in list",
        lambda: measure(X, [None]),
        InvalidValueError,
        ["metrics: found None", "one of"],
    ),
    # --- sweep: which point ---
    (
        "NaN in one point of a sweep",
        lambda: swept({"mu": [0.5, 1.0, 1.5], "nu": [1.0, 2.0]}, lambda mu: np.where(mu == 1.5, NAN, mu)),
        InvalidValueError,
        ["H: found NaN or infinity (at mu=1.5, nu=1, replicate 0); expected finite"],
    ),
    (
        "growth in one point of a sweep",
        lambda: swept({"mu": [0.5, 1e200]}, lambda mu: mu),
        InvalidValueError,
        ["H: found entries that let a layer grow by", "(at mu=1e+200, replicate 0); expected"],
    ),
    # --- Trajectory ---
    (
        "rate of no logarithm",
        lambda: SHORT.rate("cosine"),
        InvalidValueError,
        ["metric: found 'cosine'", "one of 'log_norm'", "Choose one of them."],
    ),
    (
        "rate not recorded",
        lambda: SHORT.rate("log_spread"),
        InvalidValueError,
        ["metric: found 'log_spread'", "one of 'log_norm'"],
    ),
    ("rate None", lambda: SHORT.rate(None), InvalidValueError, ["metric: found None", "one of"]),
    (
        "plot unknown",
        lambda: SHORT.plot("cosin"),
        InvalidValueError,
        ["metric: found 'cosin'", "Did you mean 'cosine'?"],
    ),
    (
        "plot nothing",
        lambda: DEAD.plot("log_spread"),
        InvalidValueError,
        ["metric: found no finite value", "another metric"],
    ),
    (
        "rate of no logarithm at all",
        lambda: simulate(RULE, X, 2, metrics="cosine").rate("cosine"),
        InvalidValueError,
        ["metric: found 'cosine'", "log"],
    ),
]


def test_names_are_unique():
    names = [name for name, *_ in BAD]
    assert len(names) == len(set(names))
    assert len(names) >= 40


@pytest.mark.parametrize(("call", "kind", "parts"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input(call, kind, parts):
    with pytest.raises(LinsimError) as caught:
        call()
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, ValueError | TypeError | OSError | NotImplementedError)
    message = str(caught.value)
    for part in parts:
        assert part in message, message
    # one line: argument: found ...; expected .... what to do.
    assert "\n" not in message
    assert len(message) < 700
    if not isinstance(caught.value, NotCoveredError):
        argument, rest = message.split(": found ", 1)
        assert len(argument) < 40
        found, remedy = rest.split("; expected ", 1)
        assert found
        assert ". " in remedy
        assert remedy.rstrip().endswith((".", "?"))


@pytest.mark.parametrize(
    "options",
    [
        {"depth": -1},
        {"layers": [10**9]},
        {"metrics": ["nothing"]},
        {"method": "nothing"},
        {"backend": "nothing"},
        {"dtype": "nothing"},
        {"rng": "nothing"},
        {"x0": 0 * X},
        {"backend": "cupy"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_refused_before_any_work(options, monkeypatch):
    """Neither an eigensystem nor a layer is computed for an input that will be refused."""

    def worked(*args, **kwargs):
        raise AssertionError("work was done before the refusal")

    if options.get("backend") == "cupy" and linsim._namespace.cupy_status() is None:
        options = {"backend": "cuda"}
    monkeypatch.setattr("linsim._engines.matrices.choose_split", worked)
    monkeypatch.setattr("linsim._engines.steps.states", worked)
    arguments = {"rule": RULE, "x0": X, "depth": 5} | options
    with pytest.raises(LinsimError):
        simulate(**arguments)


def test_good_input_beside_the_bad():
    """What is close to a refusal and allowed."""
    Linear((1 + 1e-9) * A2, H3)
    Linear(np.float32((1 + 1e-6) * A2), np.float32(H3))
    Linear(np.eye(2, dtype=int), np.eye(3, dtype=int))
    Linear(np.tril([[1.0, 0], [0.5, 0.5]]), H3)
    assert simulate(RULE, X, np.int32(2)).layers[-1] == 2
    assert simulate(RULE, X.astype(int), 2, layers=np.array([0, 2], dtype=np.uint8)).layers[-1] == 2
    assert simulate(RULE, X.tolist(), 0).layers[-1] == 0
    assert simulate(RULE, np.float16(X), 1, keep_states=True).states.dtype == np.float64
    with np.testing.assert_no_warnings():
        simulate(RULE, X, 1, rng=np.random.default_rng(0))


def test_normalised_once_and_exactly():
    rng = np.random.default_rng(0)
    A = rng.dirichlet(np.ones(5), size=5)
    rule = Linear(A * (1 + 5e-9 * rng.uniform(-1, 1, size=(5, 1))), H3)
    np.testing.assert_allclose(rule.A.sum(axis=1), 1, atol=1e-15)
    np.testing.assert_array_equal(Linear(rule.A, H3).A, rule.A)


def half(x):
    """Rows divided by their sums as the message says, kept in half precision."""
    return (x.astype(np.float32) / x.astype(np.float32).sum(axis=-1, keepdims=True)).astype(np.float16)


ROWS = np.random.default_rng(0)
SCORES = [ROWS.dirichlet(np.full(n, a), size=n) for n, a in [(2, 1.0), (64, 0.1), (64, 10.0), (1000, 1.0)]]
COMPLEX = np.diag([0.5, 0.25, 0.1]) + 0j

# what a message says to do, done
REMEDIES = {
    "divide, in float64": lambda: Linear(0.9 * A2 / (0.9 * A2).sum(axis=1, keepdims=True), H3),
    "divide, in float16": lambda: [Linear(half(np.float16(0.9 * A)), H3) for A in SCORES],
    "divide, all in float16": lambda: [
        # sums of halves, in float16 throughout
        Linear(A / A.sum(axis=1, keepdims=True), H3)
        for A in (np.float16(0.9 * A) for A in SCORES)
    ],
    "a softmax rounded to float16": lambda: [Linear(np.float16(A), H3) for A in SCORES],
    "the real part": lambda: Linear(A2, COMPLEX.real),
    "x0[None]": lambda: simulate(Block(batch(A2, 3), weights=batch(H3, 3)), X[None], 2),
    "MultiHead": lambda: simulate(MultiHead(batch(A2, 3), batch(H3, 3)), X, 2),
    "convert": lambda: simulate(Linear(strict(A2), strict(H3)), strict(X), 2),
    "move": lambda: Linear(on_another_device(A2), on_another_device(H3)),
    "float64": lambda: simulate(Linear(A2, 1e20 * H3), X, 3),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_the_remedy_works(name):
    REMEDIES[name]()


def test_blocks_side_by_side_are_as_many_blocks():
    rule = Block(np.stack([A2, np.eye(2)]), weights=np.stack([H3, 2 * H3]))
    both = simulate(rule, X[None], 3).metrics["log_spread"]
    alone = [
        simulate(Block(A, weights=W), X, 3).metrics["log_spread"] for A, W in ((A2, H3), (np.eye(2), 2 * H3))
    ]
    np.testing.assert_allclose(both, alone, rtol=1e-12)
    # one of them alone may have the axis, and so may a sweep's
    assert simulate(Block(batch(A2, 3), weights=H3), X, 2).metrics["cosine"].shape == (3, 3)
    assert simulate(Block(A2, weights=batch(H3, 3)), X, 2).metrics["cosine"].shape == (3, 3)


def test_half_precision_is_normalised_in_float32():
    A = np.float16(SCORES[1])
    rule = Linear(A, np.float16(H3))
    assert rule.A.dtype == rule.H.dtype == np.float32
    assert rule.spacing == 2.0**-10
    # sums that are 1 up to 64 roundings stay; others are known, and divided by, up to as many
    np.testing.assert_allclose(rule.A.sum(axis=1, dtype=float), 1, rtol=0, atol=64 * 2.0**-23)
    exact = A / A.astype(float).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rule.A, exact, rtol=64 * 2.0**-23)
    assert np.max(np.abs(A.astype(float).sum(axis=1) - 1)) > 64 * 2.0**-23


def test_sizes_of_a_sweep_are_labelled_point_by_point():
    ds = linsim.sweep(
        tokens_of, {"n": [2, 8]}, depth=0, metrics="token_similarity", replicates=300, progress=False, batch=1
    )
    # E t_sim = 1/n for Gaussian tokens; the mean of 300 numbers in [0, 1] deviates by .03 at most: four times
    np.testing.assert_allclose(
        ds.token_similarity.mean("replicate").values.ravel(), [1 / 2, 1 / 8], atol=0.12
    )
    # a whole number that is no size stays what it is
    grid = {"mu": [0, 1, 2]}
    assert swept(grid, lambda mu: 0.1 * mu).sizes["mu"] == 3
