"""How the time of each engine grows with the tokens n, features d, systems B and layers L.

Each engine runs a small grid of sizes around one point; ``t = c n^a d^b B^e L^g`` is fitted by least
squares in the logarithms.  The exponents are local: at small sizes fixed costs flatten them, and in
the limit the largest term alone decides.  The number of recorded layers is the same in all runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from linsim import progress as progress_bar

from . import runner
from .peers import LINSIM
from .report import duration
from .session import PeerFailure, Session
from .workloads import FIVE, Grid, Part, Workload
from .workloads import as_json as plain

__all__ = ["SIZES", "Fit", "Scaling", "Size", "Timed", "as_json", "engines", "fit", "lines", "measure"]


class Size(NamedTuple):
    """Tokens, features, systems, layers."""

    n: int
    d: int
    systems: int
    depth: int


#: --quick or not: a point, and what each of its sizes is varied to with the others kept
SIZES: dict[bool, tuple[Size, dict[str, tuple[int, ...]]]] = {
    False: (
        Size(32, 32, 16, 1024),
        {"n": (16, 64, 128), "d": (16, 64, 128), "systems": (4, 64), "depth": (256, 4096)},
    ),
    True: (Size(4, 4, 2, 16), {"n": (8,), "d": (8,), "systems": (4,), "depth": (32,)}),
}
RECORDED = 8


@dataclass(frozen=True)
class Timed:
    """One size, and the median time there."""

    size: Size
    seconds: float


@dataclass(frozen=True)
class Fit:
    """t = constant n^n d^d B^systems L^depth, and by which factor it is off at worst."""

    constant: float
    n: float
    d: float
    systems: float
    depth: float
    off: float


@dataclass(frozen=True)
class Scaling:
    """What one engine needs; ``error`` says why where it would not run."""

    engine: str
    points: tuple[Timed, ...] = ()
    fit: Fit | None = None
    error: str = ""


def engines() -> tuple[str, ...]:
    """Return what ``linsim.simulate`` takes as ``method``."""
    from linsim import METHODS

    return METHODS


def fit(points: Sequence[Timed]) -> Fit:
    """Fit a product of powers.

    >>> sizes = [(2, 2, 1, 8), (4, 2, 1, 8), (2, 4, 1, 8), (2, 2, 2, 8), (2, 2, 1, 16)]
    >>> found = fit([Timed(Size(*s), 1e-6 * s[0] ** 2 * s[1] * s[2]) for s in sizes])
    >>> print(f"{found.n:.2f} {found.d:.2f} {found.systems:.2f} {abs(found.depth):.2f} {found.off:.2f}")
    2.00 1.00 1.00 0.00 1.00
    """
    sizes = np.log([p.size for p in points])
    times = np.log([p.seconds for p in points])
    design = np.column_stack([np.ones(len(points)), sizes])
    powers = np.linalg.lstsq(design, times)[0]
    off = float(np.exp(np.max(np.abs(design @ powers - times))))
    constant, n, d, systems, depth = (float(power) for power in powers)
    return Fit(float(np.exp(constant)), n, d, systems, depth, off)


def _points(quick: bool) -> list[Size]:
    base, varied = SIZES[quick]
    return [base, *(base._replace(**{axis: v}) for axis, values in varied.items() for v in values)]


def measure(
    *,
    repeats: int = 5,
    threads: int | None = None,
    quick: bool = False,
    limit: float = 300.0,
    progress: bool = True,
) -> list[Scaling]:
    """Time every engine over the grid; arguments and errors as :func:`linsim.bench.runner.run`."""
    repeats, threads, limit = runner.choose_numbers(repeats, threads, limit)
    sizes = _points(quick)
    found = []
    with (
        Session(threads, limit) as session,
        progress_bar.bar(
            total=len(engines()) * len(sizes), shown=progress, desc="linsim bench", leave=False
        ) as bar,
    ):
        for engine in engines():
            points: list[Timed] = []
            try:
                for size in sizes:
                    bar.set_postfix_str(f"{engine} n={size.n} d={size.d} B={size.systems} L={size.depth}")
                    points.append(Timed(size, _seconds(session, engine, size, repeats)))
                    bar.update()
            except PeerFailure as failure:
                found.append(Scaling(engine, tuple(points), error=str(failure)))
            else:
                found.append(Scaling(engine, tuple(points), fit(points)))
    return found


def _seconds(session: Session, engine: str, size: Size, repeats: int) -> float:
    n, d, systems, depth = size
    workload = Workload(
        "scaling", "", n, d, depth, recorded=RECORDED, metrics=FIVE, strength=Grid(-0.5, 0.5, systems)
    )
    request: dict[str, Any] = {
        "workload": plain(workload),
        "make": "timed",
        "options": {"part": asdict(Part()), "method": engine},
    }
    session.ask(LINSIM.target, request)
    averaged = request | {"average": True}
    return float(np.median([session.ask(LINSIM.target, averaged)["seconds"] for _ in range(repeats)]))


def lines(found: Sequence[Scaling]) -> Iterator[str]:
    """Yield the fits and the times as two tables in Markdown."""
    yield "| engine | time ≈ | off by at most |"
    yield "|---|---|---|"
    for item in found:
        if item.fit is None:
            yield f"| `{item.engine}` | {item.error} | |"
            continue
        f = item.fit
        powers = f"n^{f.n:.2f} d^{f.d:.2f} B^{f.systems:.2f} L^{f.depth:.2f}"
        yield f"| `{item.engine}` | {f.constant:.2g} s × {powers} | ×{f.off:.2f} |"
    yield ""
    yield "| n | d | B | L |" + "".join(f" `{item.engine}` |" for item in found)
    yield "|---|---|---|---|" + "---|" * len(found)
    times = {(item.engine, p.size): p.seconds for item in found for p in item.points}
    for size in dict.fromkeys(size for _, size in times):
        cells = (times.get((item.engine, size)) for item in found)
        shown = "".join(f" {'' if seconds is None else duration(seconds)} |" for seconds in cells)
        yield "".join(f"| {extent} " for extent in size) + "|" + shown


def as_json(found: Sequence[Scaling]) -> dict[str, Any]:
    """Return fits and times as plain data."""
    return {"scaling": [asdict(item) for item in found]}
