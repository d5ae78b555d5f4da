"""``linsim sweep`` and ``linsim plot``: a specification to a store, and a store to a picture."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidValueError
from .output import one_line, print_json

__all__ = ["plot", "sweep"]


def sweep(
    spec: Annotated[
        Path | None, typer.Argument(metavar="SPEC.toml", help="What to sweep; with --status, also a store.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="STORE", help="The Zarr store; one of this sweep is continued."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Processes, each on one thread.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="A running scheduler, tcp://HOST:PORT.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="What a batch may take, as 2GiB.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Compute nothing: say how much it is, and how long it takes.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say how far the store is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")] = False,
) -> None:
    """Sweep a grid of systems into a Zarr store; the same again continues what was stopped.

    Exits with 1 if some systems failed: they are listed, and tried again by the next run.
    """
    from .. import sweeps

    with one_line():
        if status:
            _print_status(sweeps.status(_one_store(spec, out)), as_json)
            return
        if spec is None:
            raise _refusal("SPEC", "nothing", "a TOML file", "Write one, or take one of examples/.")
        if workers is not None and dask is not None:
            raise _refusal("--dask", "it beside --workers", "one of the two", "Leave one out.")
        read = sweeps.Spec.from_toml(spec)
        if explain:
            executor = workers  # what a cluster has is not asked for
            cost = sweeps.explain(read, store=out, executor=executor, budget=memory)
            if as_json:
                print_json(vars(cost))
            else:
                print("\n".join(cost.lines()))
            return
        if out is None:
            raise _refusal("--out", "nothing", "where to write the store", "Write --out STORE.zarr.")
        with _client(dask) as client, _terminated_like_interrupted():
            try:
                read.run(out, executor=workers if client is None else client, budget=memory, progress=True)
            except KeyboardInterrupt as stop:
                _say_stopped(out)
                raise typer.Exit(143 if stop.args == ("terminated",) else 130) from None
        found = sweeps.status(out)
    _print_status(found, as_json)
    if found.failed:
        raise typer.Exit(1)


def plot(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A stored sweep.")],
    x: Annotated[str | None, typer.Option("--x", metavar="NAME", help="An axis, or any variable.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="NAME", help="An axis, or any variable.")] = None,
    color: Annotated[str | None, typer.Option("--color", metavar="NAME", help="A variable.")] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", help="The recorded layer; default: the last.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The picture: .png, .pdf or .svg.")
    ] = Path("sweep.png"),
) -> None:
    """Draw a stored sweep: a heat map, lines with a band over replicates, or a scatter."""
    from .. import sweeps

    with one_line():
        path = sweeps.save_plot(store, out, x=x, y=y, color=color, layer=layer)
    print(path)


def _one_store(spec: Path | None, out: Path | None) -> Path:
    given = [path for path in (out, spec) if path is not None]
    if not given:
        raise _refusal("--status", "no store", "STORE or --out STORE", "Name it.")
    return given[0]


def _print_status(found: Any, as_json: bool) -> None:
    if as_json:
        print_json({**vars(found), "complete": found.complete})
    else:
        print("\n".join(found.lines()))


def _refusal(argument: str, found: str, expected: str, remedy: str) -> Exception:
    from .. import checks

    return checks.refusal(InvalidValueError, argument, found, expected, remedy)


@contextlib.contextmanager
def _client(address: str | None) -> Iterator[Any]:
    if address is None:
        yield None
        return
    from ..sweeps import connect

    client = connect(address)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end the sweep as Ctrl-C does: what is computed is still written."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt("terminated")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say_stopped(out: Path) -> None:
    from .. import sweeps

    kept = "nothing is written yet"
    if os.path.lexists(out):
        found = sweeps.status(out)
        kept = f"{found.done:,} of {found.total:,} systems are in {out}"
    print(f"linsim: stopped; {kept}. The same command goes on from there.", file=sys.stderr)
