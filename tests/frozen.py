"""Record two thousand small runs, and compare two recordings to the last bit: for moves that change no value.

    python -m tests.frozen record FILE [--count 2040]
    python -m tests.frozen compare OLD NEW

Every rule, engine, dtype and way to ask takes part; a run is drawn from its number alone.  Both files must
come from the same processor, library versions and number of threads.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import linsim
from linsim._kernels import first_use
from linsim.attention import FromTokens

KERNEL_METRICS = ("token_similarity", "hfc_lfc", "cosine", "effective_rank", "log_norm", "log_spread")
GAPS = ("log_token_diversity", "log_hfc_lfc", "log_cosine_gap", "log_abs_cosine_gap", "log_rank_gap")
NAMES = (*KERNEL_METRICS, *GAPS, "log_effective_rank_gap", "abs_cosine", "stable_rank")


def _attention(rng: np.random.Generator, n: int, lead: tuple[int, ...]) -> Any:
    kind = rng.integers(5)
    if kind == 0:
        return linsim.attention.softmax(n, 8, size=lead, rng=rng)
    if kind == 1:
        return linsim.attention.doubly_stochastic(n, size=lead, rng=rng)
    if kind == 2:
        return linsim.attention.masked(
            linsim.attention.dirichlet(n, size=lead, rng=rng), linsim.masks.causal(n)
        )
    if kind == 3:
        return linsim.attention.softmax(n, 8, symmetric=True, size=lead, rng=rng)
    return linsim.attention.dirichlet(n, 0.3, size=lead, rng=rng)


def _weights(rng: np.random.Generator, d: int, lead: tuple[int, ...]) -> Any:
    kind = rng.integers(4)
    if kind == 0:
        return linsim.weights.gaussian(d, size=lead, rng=rng)
    if kind == 1:
        return linsim.weights.orthogonal(d, size=lead, rng=rng)
    if kind == 2:
        return linsim.weights.from_spectrum(rng.uniform(-1.2, 0.8, (*lead, d)), rng=rng)
    H = linsim.weights.gaussian(d, size=lead, rng=rng)
    H[..., -1] = 0
    return H


def drawn(number: int) -> tuple[Any, Any, int, dict[str, Any]]:
    """Rule, x0, depth and options of run ``number``."""
    rng = np.random.default_rng([20261129, number])
    n, d = int(rng.integers(2, 14)), int(rng.integers(1, 12))
    if number >= 2000:  # what leaves the cache
        n = int(rng.integers(257, 300))
    lead: tuple[int, ...] = [(), (2,), (3,), (2, 2)][rng.integers(4)]
    depth = int(rng.choice([0, 1, 3, 7, 20, 60]))
    single = rng.random() < 0.35
    dtype = np.float32 if single else np.float64
    x0 = rng.standard_normal((*lead, n, d))
    if rng.random() < 0.15:
        x0[..., rng.integers(n), :] *= 10.0 ** rng.integers(-8, 8)
    if rng.random() < 0.1 and n > 2:
        x0[..., 0, :] = 0
    if rng.random() < 0.15:
        x0 += 10.0 ** rng.integers(0, 6)
    x0 = x0.astype(dtype)
    options: dict[str, Any] = {}
    asked = rng.integers(5) if number < 2000 else 0
    if asked == 0:
        options["metrics"] = [str(x) for x in rng.choice(KERNEL_METRICS, rng.integers(1, 5), replace=False)]
    elif asked == 1:
        options["metrics"] = [str(x) for x in rng.choice(NAMES, rng.integers(1, 6), replace=False)]
    elif asked == 2:
        options["metrics"] = "plain"
    if rng.random() < 0.15:
        options["keep_states"] = True
    if rng.random() < 0.1:
        options["resolution"] = float(10.0 ** rng.integers(-9, 0))
    if rng.random() < 0.4 and depth:
        options["layers"] = sorted({int(k) for k in rng.integers(0, depth + 1, 4)})
    kind = number % 8 if number < 2000 else 3 * (number % 2)
    if kind in (0, 1, 2):
        A, H = _attention(rng, n, lead), _weights(rng, d, lead if rng.random() < 0.7 else ())
        rule: Any = linsim.Linear(A.astype(dtype), H.astype(dtype))
        way = rng.integers(4)
        if way == 0:
            options["method"] = "modal"
        elif way == 1:
            options["method"] = "iterate"
        if kind == 2 and way != 1:
            depth = int(10 ** rng.integers(2, 7))
            options["layers"] = sorted({0, depth, *(int(k) for k in rng.integers(0, depth, 3))})
    elif kind == 3:
        h = int(rng.integers(1, 4))
        rule = linsim.MultiHead(
            _attention(rng, n, (*lead, h)).astype(dtype), _weights(rng, d, (*lead, h)).astype(dtype)
        )
    elif kind == 4:
        rule = linsim.Layered(
            [
                linsim.Linear(_attention(rng, n, ()).astype(dtype), _weights(rng, d, ()).astype(dtype))
                for _ in range(max(depth, 1))
            ]
        )
    elif kind == 5:
        rule = linsim.RandomWeights(
            _attention(rng, n, lead).astype(dtype), kind=str(rng.choice(["gaussian", "orthogonal"]))
        )
        options["rng"] = number
    else:
        attention: Any = _attention(rng, n, ()).astype(dtype)
        if rng.random() < 0.4:
            attention = FromTokens()
        norm = [None, "pre", "post"][rng.integers(3)]
        options["rng"] = number
        steps = ()
        if rng.random() < 0.3:
            steps = (linsim.Deescalation("attention", tau=float(rng.uniform(0, 1))),)
        rule = linsim.Block(
            attention,
            norm=norm,
            weights=str(rng.choice(["gaussian", "orthogonal"])),
            residual=float(rng.choice([1.0, 0.5])) if rng.random() < 0.9 else None,
            feed_forward=[None, "linear", "tanh", "relu", "gelu"][rng.integers(5)],
            deescalation=steps,
        )
        depth = min(depth, 20)
        if "layers" in options:
            options["layers"] = sorted({min(k, depth) for k in options["layers"]})
    if kind >= 3:
        options.pop("method", None)
    return rule, x0, depth, options


def run(number: int) -> dict[str, Any]:
    """Everything a run hands back, as arrays and plain values."""
    try:
        rule, x0, depth, options = drawn(number)
        found = linsim.simulate(rule, x0, depth, **options)
    except linsim.LinsimError as error:
        return {"refused": str(error)}
    return {
        "methods": np.asarray(found.info.methods),
        "split": np.asarray(found.info.split),
        "fallbacks": {k: v for k, v in found.info.fallbacks.items() if v},
        "layers": found.layers,
        **{f"value {name}": x for name, x in found.metrics.items()},
        **{f"error {name}": x for name, x in found.errors.items()},
        "states": found.states,
        "log_scale": found.state_log_scale,
    }


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit, NaN at the same places."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        equal_nan = a.dtype.kind == "f"
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=equal_nan)
    return type(a) is type(b) and bool(a == b)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where two recordings differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record")
    record.add_argument("file", type=Path)
    record.add_argument("--count", type=int, default=2040)
    compare = commands.add_parser("compare")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    given = parser.parse_args(arguments)
    if given.command == "record":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runs = [run(number) for number in range(given.count)]
        given.file.write_bytes(pickle.dumps(runs))
        engines = Counter(str(m) for r in runs for m in np.unique(r.get("methods", ["refused"])))
        print(f"{len(runs)} runs; engines {dict(engines)}")
        return 0
    old, new = (pickle.loads(path.read_bytes()) for path in (given.old, given.new))
    different = 0
    for number, (a, b) in enumerate(zip(old, new, strict=False)):
        keys = [key for key in a if key not in b or not same(a[key], b[key])]  # new metrics may be there
        if keys:
            different += 1
            print(f"run {number}: {', '.join(sorted(keys))}")
    print(f"{min(len(old), len(new))} runs compared, {different} differ")
    return int(different > 0 or len(old) != len(new))


if __name__ == "__main__":
    first_use.wait()  # every system in the same way
    sys.exit(main())
