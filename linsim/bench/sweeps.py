"""What a sweep costs beside its arithmetic: ``python -m linsim.bench.sweeps [NAME ...] [--points N]``.

Each measurement alternates with what it is compared to, so that whatever else the machine does meets both,
and prints medians and the load.  CPU seconds are those of this process and of the processes it has ended.

overhead
    Storing, labelling and scheduling of batches of 1,024 systems (n = d = 32, 64 layers), as a share of
    the CPU seconds that the same batches take without a sweep.
predictions
    CPU seconds that predictions add, as a share of those of the simulation, for families of matrices.
workers
    How much faster two workers are than one, beside two processes of plain matrix products and one.
joblib
    Points per second of a sweep on two workers, beside joblib's on one point a job (n = d = 8).
million
    A million systems with n = d = 8: seconds, largest resident memory, and the seconds of the same call
    once all is there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import linsim
from linsim import attention, tokens, weights

__all__ = ["main"]

DEPTH, BATCH, REPEATS = 64, 1024, 5
METRICS = ("token_similarity", "cosine", "effective_rank")

FAMILIES: dict[str, Callable[[int, int, Any], tuple[Any, Any]]] = {
    "softmax x Gaussian": lambda n, k, rng: (
        attention.softmax(n, n, size=k, rng=rng),
        weights.gaussian(n, size=k, rng=rng),
    ),
    "symmetric x symmetric": lambda n, k, rng: (
        attention.from_spectrum(_spectrum(n, k), rng=rng),
        weights.from_spectrum(np.tile(np.linspace(-1.2, 0.3, n), (k, 1)), rng=rng),
    ),
    "reversible x symmetric": lambda n, k, rng: (
        attention.softmax(n, n, symmetric=True, size=k, rng=rng),
        weights.from_spectrum(np.tile(np.linspace(-1.2, 0.3, n), (k, 1)), rng=rng),
    ),
    "one softmax x Gaussian": lambda n, k, rng: (
        attention.softmax(n, n, rng=0),
        weights.gaussian(n, size=k, rng=rng),
    ),
}


def _spectrum(n: int, k: int) -> Any:
    return np.tile([1, -0.3, *np.linspace(0.05, 0.2, n - 2)], (k, 1))


def _systems(n: int, family: str, points: Any, rng: Any) -> tuple[Any, Any]:
    k = len(points["h"])
    A, H = FAMILIES[family](n, k, rng)
    return linsim.Linear(A, H * points["h"][:, None, None]), tokens.gaussian(n, n, size=k, rng=rng)


def large(points: Any, rng: Any) -> tuple[Any, Any]:
    """Systems with n = d = 32."""
    return _systems(32, "softmax x Gaussian", points, rng)


def small(points: Any, rng: Any) -> tuple[Any, Any]:
    """Systems with n = d = 8."""
    return _systems(8, "softmax x Gaussian", points, rng)


def _cpu() -> float:
    return sum(os.times()[:4])


def _spent(function: Callable[[], Any], clock: Callable[[], float] = _cpu) -> float:
    before = clock()
    function()
    return clock() - before


def _alternating(
    *functions: Callable[[], Any], repeats: int, clock: Callable[[], float] = _cpu
) -> list[list[float]]:
    """Seconds of each, in turn."""
    rounds = [[_spent(function, clock) for function in functions] for _ in range(repeats)]
    return [list(column) for column in zip(*rounds, strict=True)]


def _grid(points: int) -> dict[str, Any]:
    return {"h": np.linspace(-1.0, 1.0, points)}


def _say(name: str, text: str) -> None:
    print(f"{name:12s}{text} (load {os.getloadavg()[0]:.1f})", flush=True)


def overhead(points: int, repeats: int) -> None:
    """Compare a stored sweep with the same batches made and simulated by hand."""
    from linsim.streams import rows

    grid = _grid(points)

    def by_hand() -> None:
        for first in range(0, points, BATCH):
            batch = {"h": grid["h"][first : first + BATCH]}
            rng = rows(0, 0, batch)
            rule, x0 = large(batch, rng)
            linsim.simulate(rule, x0, DEPTH, layers=[DEPTH])

    def swept() -> None:
        with tempfile.TemporaryDirectory() as folder:
            linsim.sweep(
                large,
                grid,
                depth=DEPTH,
                batch=BATCH,
                store=Path(folder) / "s.zarr",
                predictions=False,
                progress=False,
            )

    by_hand()
    swept()
    hand, sweep = _alternating(by_hand, swept, repeats=repeats)
    shares = [100 * (b / a - 1) for a, b in zip(hand, sweep, strict=True)]
    seconds = statistics.median(hand)
    _say("overhead", f"{statistics.median(shares):.1f} % of {seconds:.2f} s ({points:,} systems)")


def predictions(points: int, repeats: int) -> None:
    """Compare what predicts with what simulates, on the same systems."""
    grid = _grid(points)
    for family in FAMILIES:
        rule, x0 = _systems(32, family, grid, np.random.default_rng(0))
        for metrics, name in ((None, "default metrics"), (METRICS, "three metrics")):

            def swept(
                predictions: bool, rule: Any = rule, x0: Any = x0, metrics: Any = metrics
            ) -> Callable[[], None]:
                def make(point: Any, rng: Any) -> tuple[Any, Any]:
                    at = np.searchsorted(grid["h"], point["h"])
                    A, H = (M[at] if M.ndim > 2 else M for M in (rule.A, rule.H))
                    return linsim.Linear(A, H), x0[at]

                def run() -> None:
                    linsim.sweep(
                        make, grid, depth=DEPTH, metrics=metrics, batch=points,
                        predictions=predictions, progress=False,
                    )  # fmt: skip

                return run

            without, beside = swept(False), swept(True)
            without()
            beside()
            times = _alternating(without, beside, repeats=repeats)
            share = statistics.median(b / a - 1 for a, b in zip(*times, strict=True))
            _say("predictions", f"{share:.2f} of the simulation: {family}, {name}")


def _products(count: int) -> None:
    """Multiply matrices that stay in a core's cache, on one thread."""
    from threadpoolctl import threadpool_limits

    a = np.full((192, 192), 1 / 192)
    b = a.copy()
    with threadpool_limits(limits=1):
        for _ in range(count):
            b = a @ b


def workers(points: int, repeats: int) -> None:
    """Compare the gain of a second worker with that of a second process of matrix products."""
    context, count = multiprocessing.get_context("spawn"), 40_000

    def products(processes: int) -> Callable[[], None]:
        def run() -> None:
            with context.Pool(processes) as pool:
                pool.map(_products, [count // processes] * processes, 1)

        return run

    def swept(number: int) -> Callable[[], None]:
        def run() -> None:
            linsim.sweep(large, _grid(points), depth=DEPTH, batch=BATCH // 4, executor=number, progress=False)

        return run

    rounds = (products(1), products(2), swept(1), swept(2))
    times = _alternating(*rounds, repeats=repeats, clock=time.perf_counter)
    plain, sweep = (
        statistics.median(a / b for a, b in zip(one, two, strict=True)) for one, two in (times[:2], times[2:])
    )
    _say("workers", f"gain {sweep:.2f}, of products {plain:.2f}: {sweep / plain:.2f} of that")


def _one_point(h: float) -> Any:
    points = {"h": np.array([h])}
    rule, x0 = small(points, np.random.default_rng(0))
    run = linsim.simulate(rule, x0, DEPTH, layers=[DEPTH], metrics=METRICS)
    return [run.metrics[name] for name in METRICS]


def joblib(points: int, repeats: int) -> None:
    """Compare with joblib on one point a job, of the same systems and metrics."""
    from joblib import Parallel, delayed  # type: ignore[import-not-found, import-untyped, unused-ignore]

    few = max(1, points // 20)

    def jobs() -> None:
        Parallel(n_jobs=2)(delayed(_one_point)(h) for h in np.linspace(-1, 1, few))

    def swept() -> None:
        linsim.sweep(
            small, _grid(points), depth=DEPTH, metrics=METRICS, executor=2, predictions=False, progress=False
        )

    jobs()
    times = _alternating(jobs, swept, repeats=repeats, clock=time.perf_counter)
    ratio = statistics.median(points / b / (few / a) for a, b in zip(*times, strict=True))
    rate = points / statistics.median(times[1])
    _say(
        "joblib",
        f"{ratio:.0f} times the points per second ({rate:,.0f} a second; starting the pool included)",
    )


def _million(store: str, points: int) -> None:
    before, cpu = time.perf_counter(), _cpu()
    ds = linsim.sweep(small, _grid(points), depth=8, store=store, progress=False)
    assert int(ds.status.min()) > 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    took = f"{time.perf_counter() - before:.2f} s, {_cpu() - cpu:.2f} s of CPU"
    _say("million", f"{points:,} systems: {took}, at most {most:.2f} GiB resident")


def million(points: int, repeats: int) -> None:
    """Sweep many small systems in a process of its own, and call again for what is there."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"from linsim.bench import sweeps; sweeps._million({folder + '/s.zarr'!r}, {points})"
        for _ in range(1 + min(repeats, 3)):
            subprocess.run([sys.executable, "-c", code], check=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure what is named, or everything."""
    # how many systems each takes where nobody says
    known = {overhead: 8 * BATCH, predictions: BATCH, workers: 16 * BATCH, joblib: 100_000, million: 10**6}
    names = {function.__name__: function for function in known}
    parser = argparse.ArgumentParser(prog="python -m linsim.bench.sweeps")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--points", type=int, help="systems of each")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.names if name not in names]:
        parser.error(f"found {unknown[0]!r}; expected one of {', '.join(names)}")
    for name in chosen.names or names:
        function = names[name]
        function(chosen.points or known[function], chosen.repeats)


if __name__ == "__main__":
    main()
