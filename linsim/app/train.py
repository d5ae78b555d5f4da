"""``linsim train``: the papers' claims on training, tried on small real data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import checks
from ..errors import InvalidValueError
from .output import one_line, print_json

if TYPE_CHECKING:
    import xarray

    from ..torch.experiments import Claim

__all__ = ["train"]


def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="filters: sharpening, smoothing, mixed and free layers on images of digits. norms: "
            "post-norm, pre-norm and de-escalated post-norm on characters.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="STORE", help="Zarr store; the same again goes on. Default: NAME.zarr."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A part of the grid, in two minutes on two cores.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Runs of each point; default: 5, with --quick 2.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of each training.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="AXIS=VALUES",
            help="Train this part of the grid now, as depth=4,12; may be repeated.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", metavar="FILE", help="Train nothing: write every run of the store to a CSV file."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only JSON on standard output; NaN and inf as null.")
    ] = False,
) -> None:
    """Train small models and say which of the papers' claims they confirm (extra: train)."""
    with one_line():
        from ..torch import experiments

        checks.choice(name, "NAME", experiments.EXPERIMENTS)
        part = _part(only or [])
        store = Path(f"{name}{'-quick' * quick}.zarr") if out is None else out
        if table is not None:
            _refuse_nothing(store, table)
            part = {"depth": []}  # no value of it
        ds = experiments.run(
            name,
            store,
            quick=quick,
            seeds=seeds,
            steps=steps,
            only=part,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
        if table is not None:
            experiments.write_table(name, ds, table)
        # what was not run says nothing
        claims = [one for one in experiments.EXPERIMENTS[name].claims(ds) if one.seeds]
    if as_json:
        print_json({"store": str(store), **ds.attrs, "claims": [_claim(one) for one in claims]})
        return
    print("\n".join(lines(ds, claims)))
    print(f"wrote {store if table is None else table}")


def _refuse_nothing(store: Path, table: Path) -> None:
    """Refuse a table of a store that is not there, and one that cannot be written."""
    if not store.exists():
        raise checks.refusal(
            InvalidValueError,
            "--out",
            f"no {store}",
            "a store that has runs",
            "Leave --table out to make one.",
        )
    if table.is_dir() or not table.absolute().parent.is_dir():
        raise checks.refusal(
            InvalidValueError,
            "--table",
            str(table),
            "a file in a folder that is there",
            "Choose another path.",
        )


def _part(only: list[str]) -> dict[str, list[str]]:
    part = {}
    for one in only:
        axis, equals, values = one.partition("=")
        if not equals or not values:
            raise checks.refusal(
                InvalidValueError, "--only", repr(one), "an axis and values of it", "Write --only depth=4,12."
            )
        part[axis.strip()] = [value.strip() for value in values.split(",")]
    return part


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "claim": claim.says,
        "verdict": claim.verdict,
        "mean": claim.mean,
        "half_width": claim.half_width,
        "seeds": claim.seeds,
    }


def lines(ds: xarray.Dataset, claims: list[Claim]) -> list[str]:
    """Return what was measured, and each claim with its verdict."""
    from ..torch.experiments import summary

    said = [
        *summary(ds),
        "",
        "claim: mean of what it says is positive, 95 % interval, seeds; for models of this size",
    ]
    for one in claims:
        if one.seeds:
            said.append(
                f"{one.verdict:>13}  {one.mean:+.3f} ± {one.half_width:.3f} ({one.seeds})  {one.says}"
            )
    return said
