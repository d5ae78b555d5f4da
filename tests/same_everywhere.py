"""One set of systems under another processor, thread count or version: the same verdicts, NaN and values.

    python tests/same_everywhere.py write OUT.npz --inputs IN.npz [--count 200] [--dtype float64]
    python tests/same_everywhere.py compare OUT.npz OTHER.npz ...

``write`` draws the systems of ``tests/reliability.py`` (or takes them from IN.npz, where it is there:
draws go through BLAS), runs and predicts them, and saves every value with its error, and every verdict.
``compare`` holds the others against the first, in the precisions that both have: verdicts equal, NaN in the
same places, values within the sum of their errors.

An error estimate that comes near the resolution may fall on either side of it.  Where one is within a factor
NEAR of it the NaN pattern is not compared but counted; more than a hundredth of all values is a failure.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import reliability as harness
else:
    from . import reliability as harness

import linsim
from linsim._kernels import first_use

# everything is to come about in one way
first_use.wait()

#: estimates this close to the resolution may fall on either side of it
NEAR = 3.0
#: largest share of such values
UNDECIDED = 0.01
#: bounds hold on every processor, but where eigenvalues repeat (the zeros of a low rank), their basis, and
#: with it the constant of a bound, is the processor's choice: how far the logarithms may lie apart,
#: (absolute, relative), at the depths from the third on; before, a constant is all there is
BOUNDS = (5.0, 0.01)
#: families whose verdicts are asked for
RULES = (linsim.Linear, linsim.MultiHead)
DTYPES = ("float64", "float32")
DEPTHS = [1, 10, 100, 1000]
BOUNDED = ("token_diversity", "cosine_gap", "rank_gap")


def observe(count: int, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Values, errors and verdicts of ``count`` systems."""
    out: dict[str, list[Any]] = {key: [] for key in ("name", "value", "error", "verdict", "bound")}

    def note(label: str, result: Any) -> None:
        for name, values in result.metrics.items():
            said = result.errors[name]
            for place in np.ndindex(*values.shape):
                at = f"layer {result.layers[place[-1]]}" + (f", system {place[:-1]}" if place[:-1] else "")
                out["name"].append(f"{dtype} {label}: {name} at {at}")
                out["value"].append(float(values[place]))
                out["error"].append(float(said[place]))

    for label, rule, x0, options in shared_out(seed, dtype):
        note(label, linsim.simulate(rule, x0, 24, layers=[0, 1, 4, 24], dtype=dtype, **options))
    for index in range(count):
        system = harness.draw(seed, index, dtype=dtype)
        note(f"{index} {system.family}", harness.run(system))
        if isinstance(system.rule, RULES):
            said, bounds = _verdicts(system)
            out["verdict"] += [f"{dtype} {index} {system.family}, {what}" for what in said]
            out["bound"].append(bounds)
    return {f"{dtype} {key}": np.array(column) for key, column in out.items()}


def shared_out(seed: int, dtype: str) -> Iterator[tuple[str, Any, np.ndarray, dict[str, Any]]]:
    """Work that is cut up among threads: many systems, and systems too large for a cache."""
    rng = np.random.default_rng([seed, 1])

    def parts(n: int, d: int, count: int) -> tuple[np.ndarray, ...]:
        A = [harness.attention("softmax", rng, n) for _ in range(count)]
        H = [harness.weights("gaussian", rng, d) for _ in range(count)]
        x0 = rng.normal(size=(count, n, d)) + rng.normal(size=(count, 1, d))
        return tuple(np.asarray(M, dtype=dtype) for M in (A, H, x0))

    A, H, x0 = parts(24, 24, 64)
    yield "a batch", linsim.Linear(A, H), x0, {}
    yield (
        "a batch, content",
        linsim.Linear(A, H),
        x0,
        {"metrics": ["token_similarity", "log_token_diversity"]},
    )
    A, H, x0 = parts(160, 192, 1)
    yield "a large system", linsim.Linear(A[0], H[0]), x0[0], {}
    names = ["log_token_diversity", "cosine", "effective_rank"]
    yield "a large system, three metrics", linsim.Linear(A[0], H[0]), x0[0], {"metrics": names}


def _verdicts(system: harness.System) -> tuple[list[str], np.ndarray]:
    """Verdicts for a generic input and for this one, and the bounds of this one (NaN: none)."""
    said, bounds = [], np.full((len(BOUNDED), len(DEPTHS)), math.nan)
    for x0 in (None, system.x0):
        try:
            law = linsim.predict(system.rule, x0=x0)
            verdicts = (
                law.regime,
                law.input_convergence,
                law.angle_convergence,
                law.rank_collapse,
                law.limit_rank,
            )
            rests_on = {a.name: bool(a.holds) for a in law.assumptions}
            said.append(f"{[str(v) for v in verdicts]} {rests_on}")
            if x0 is not None:
                bounds = np.array([law.log_bound(gap, DEPTHS) for gap in BOUNDED])
        except linsim.errors.NotCoveredError as refused:  # a verdict as well; several heads have no bounds
            if len(said) == (x0 is not None):
                said.append(f"refused: {refused}")
    return said, bounds


def write(path: str, inputs: str | None, count: int, seed: int, dtypes: tuple[str, ...] = DTYPES) -> None:
    """Run the systems and save what was seen."""
    harness.memory = {}
    given = inputs is not None and os.path.exists(inputs)
    if given:
        with np.load(inputs) as stored:
            after = json.loads(str(stored["after"]))
            harness.memory = {key: (stored[key], state) for key, state in after.items()}
    seen = {}
    for dtype in dtypes:
        seen |= observe(count, seed, dtype)
    np.savez_compressed(path, **seen)
    if inputs is not None and not given:
        arrays = {key: drawn for key, (drawn, _) in harness.memory.items()}
        after = json.dumps({key: state for key, (_, state) in harness.memory.items()})
        np.savez_compressed(inputs, after=np.array(after), **arrays)


def differences(first: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """What differs by more than it may, in words; empty where the two agree."""
    found = []
    both = [dtype for dtype in DTYPES if f"{dtype} name" in first and f"{dtype} name" in other]
    if not both:
        return ["nothing in one precision"]
    for dtype in both:
        name, a, b = first[f"{dtype} name"], first[f"{dtype} value"], other[f"{dtype} value"]
        if not np.array_equal(name, other[f"{dtype} name"]):
            return [f"{dtype}: other systems"]
        e, f = first[f"{dtype} error"], other[f"{dtype} error"]
        gap = np.array([": log_" in n for n in name])
        absolute, _, logarithmic = harness.TOLERANCE[dtype]
        size = np.nan_to_num(np.fmax(np.abs(a), np.abs(b)), posinf=0.0)
        resolution = np.where(gap, logarithmic, absolute * np.maximum(1.0, size))
        near = _near(e, resolution) | _near(f, resolution)
        pattern = (np.isnan(a) != np.isnan(b)) & ~near
        found += [
            f"{n}: {x!r} and {y!r} (errors {p:.3g}, {q:.3g})"
            for n, x, y, p, q in _rows(pattern, name, a, b, e, f)
        ]
        share = float(np.mean(near))
        if share > UNDECIDED:
            found.append(
                f"{dtype}: {100 * share:.2f} % of the estimates lie within {NEAR:g} times of the resolution"
            )
        allowed = e + f + 4 * np.spacing(size)
        known = ~np.isnan(a) & ~np.isnan(b)
        with np.errstate(invalid="ignore"):
            apart = known & (a != b) & ~(np.abs(a - b) <= allowed)
        found += [
            f"{n}: {x!r} and {y!r} (errors {p:.3g}, {q:.3g})"
            for n, x, y, p, q in _rows(apart, name, a, b, e, f)
        ]
        v, w = first[f"{dtype} verdict"], other[f"{dtype} verdict"]
        found += [f"{x} and {y}" for x, y in zip(v, w, strict=True) if x != y]
        p, q = first[f"{dtype} bound"], other[f"{dtype} bound"]
        with np.errstate(invalid="ignore"):
            alike = (p == q) | (np.isnan(p) & np.isnan(q))
            off = ~alike & ~(np.abs(p - q) <= BOUNDS[0] + BOUNDS[1] * np.abs(p))
            off[..., :2] &= ~np.isfinite(p - q)[..., :2]
        for k in np.flatnonzero(off.any((-1, -2))):
            system = str(v[2 * k + 1]).split(", [")[0]
            found.append(f"bounds of {system}: {p[k][off[k]][:3]} and {q[k][off[k]][:3]}")
    return found


def _near(error: np.ndarray, resolution: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (error > resolution / NEAR) & (error < resolution * NEAR)


def _rows(where: np.ndarray, *columns: np.ndarray) -> list[tuple[Any, ...]]:
    return list(zip(*(column[where] for column in columns), strict=True))


def load(path: str) -> dict[str, np.ndarray]:
    """What ``write`` has saved."""
    with np.load(path) as stored:
        return dict(stored)


def main(arguments: list[str] | None = None) -> int:
    """Command line; 1 where something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("path")
    writing.add_argument("--inputs")
    writing.add_argument("--count", type=int, default=200)
    writing.add_argument("--seed", type=int, default=1)
    writing.add_argument("--dtype", choices=DTYPES, help="one precision alone")
    comparing = commands.add_parser("compare")
    comparing.add_argument("paths", nargs="+")
    asked = parser.parse_args(arguments)
    if asked.command == "write":
        write(asked.path, asked.inputs, asked.count, asked.seed, (asked.dtype,) if asked.dtype else DTYPES)
        return 0
    first, *others = asked.paths
    base, wrong = load(first), 0
    for path in others:
        found = differences(base, load(path))
        wrong += len(found)
        print(f"{path}: {len(found)} differences from {first}" if found else f"{path}: the same as {first}")
        print("".join(f"  {line}\n" for line in found[:20]), end="")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
