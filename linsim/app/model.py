"""``linsim model``: what a checkpoint's spectra say, and whether it is true of its tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from .. import checks
from ..errors import FileFormatError, InvalidValueError
from .files import read_array
from .output import one_line, plain, print_json

if TYPE_CHECKING:
    from ..models import Model, ModelRun

__all__ = ["model"]


def model(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A directory with config.json and weights, one file (.safetensors, .gguf, .onnx; PyTorch's "
            "where torch is installed), or PACKAGE:PATH in an installed package.",
        ),
    ],
    text: Annotated[str | None, typer.Option("--text", help="Run it on this text.")] = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="LIST", help="Run it on token ids, as 101,2023,102.")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="FILE", help="Run it on an image, or pixels (3, h, w) in a .npy."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FILE", help="Run it on log-mel features (bins, frames), .npy."),
    ] = None,
    states: Annotated[
        Path | None,
        typer.Option(
            "--states",
            metavar="FILE",
            help="Run it on your hidden states (n, d) or (layers + 1, n, d), .npy.",
        ),
    ] = None,
    lambda_min: Annotated[
        float,
        typer.Option("--lambda-min", help="Smallest eigenvalue of A that regimes without input assume."),
    ] = 0.0,
    per_head: Annotated[bool, typer.Option("--per-head", help="Also say it of each head.")] = False,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="CHANGE",
            help="Also run it changed: sharpen, smooth, deescalate=TAU, flip-gain, no-bias; may be repeated.",
        ),
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="Which tower: text or vision, encoder or decoder.")
    ] = None,
    heads: Annotated[int | None, typer.Option("--heads", help="Head count, where no file says it.")] = None,
    value_pattern: Annotated[
        str | None,
        typer.Option("--value-pattern", metavar="NAME", help="Value matrices, as enc.{layer}.v.weight."),
    ] = None,
    projection_pattern: Annotated[
        str | None, typer.Option("--projection-pattern", metavar="NAME", help="Output projections likewise.")
    ] = None,
    conv1d: Annotated[
        bool, typer.Option("--conv1d", help="Matrices named by patterns are stored (in, out).")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Also write table, JSON, eigenvalues and figures there."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write it all as one page.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only JSON on standard output; NaN and inf as null.")
    ] = False,
) -> None:
    """Say which layers of a checkpoint smooth, by how much, and whether the theory said so."""
    from .. import models
    from . import model_report

    with one_line():
        checks.number(lambda_min, "--lambda-min", low=-1.0, high=1.0, low_open=True, high_open=True)
        _check_places(out, page)
        opened = models.load(
            path,
            part=part,
            heads=heads,
            value_pattern=value_pattern,
            projection_pattern=projection_pattern,
            conv1d=conv1d,
        )
        given = _input(text, ids, image, features, states)
        run, others = None, []
        if given:
            run = opened.run(**given)
            others = [opened.run(**given, what_if=change) for change in what_if or ()]
        elif what_if:
            raise checks.refusal(
                InvalidValueError,
                "--what-if",
                "no input",
                "an input",
                "Add --text, --ids, --image or --states.",
            )
        result = model_report.as_json(opened, run, others, lambda_min)
        printed = model_report.lines(opened, run, others, lambda_min, per_head)
        written = _write(opened, run, lambda_min, printed, result, out, page)
    if as_json:
        print_json(result)
    else:
        print("\n".join(printed))
    for file in written:
        print(f"wrote {file}", file=sys.stderr if as_json else sys.stdout)


def _input(
    text: str | None, ids: str | None, image: Path | None, features: Path | None, states: Path | None
) -> dict[str, Any]:
    """Return the inputs that were given; that there is one only is checked where they are used."""
    given: dict[str, Any] = {"text": text, "image": image, "features": features}
    if ids is not None:
        try:
            given["ids"] = np.array([int(part) for part in ids.split(",")])
        except (ValueError, OverflowError):
            raise checks.refusal(
                InvalidValueError,
                "--ids",
                repr(ids),
                "whole numbers separated by commas",
                "Write --ids 101,2023,102.",
            ) from None
    if states is not None:
        given["states"] = read_array(states, "--states", "states")
    return {name: value for name, value in given.items() if value is not None}


def _check_places(out: Path | None, page: Path | None) -> None:
    """Refuse a place that cannot be written to before work starts."""
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        if page is not None and (page.is_dir() or not page.parent.is_dir()):
            raise NotADirectoryError(20, "not a place for a file")
    except OSError as error:
        which = ("--out", out) if page is None or (out is not None and not out.is_dir()) else ("--html", page)
        raise checks.refusal(
            FileFormatError, which[0], f"{which[1]} ({error.strerror})", "a place to write", "Choose another."
        ) from None


def _write(
    opened: Model,
    run: ModelRun | None,
    lambda_min: float,
    printed: list[str],
    result: dict[str, Any],
    out: Path | None,
    page: Path | None,
) -> list[Path]:
    """Write what was asked for; return the paths."""
    import tempfile

    from . import model_report

    if out is None and page is None:
        return []
    written: list[Path] = []
    with tempfile.TemporaryDirectory() as folder:
        pictures = _pictures(opened, run, lambda_min, Path(folder) if out is None else out)
        if out is not None:
            (out / "model.txt").write_text("\n".join(printed) + "\n", encoding="utf-8")
            (out / "model.json").write_text(json.dumps(plain(result), allow_nan=False), encoding="utf-8")
            arrays: Any = {f"raw_{one.layer}": one.raw.whole for one in opened.spectra}
            arrays |= {f"effective_{one.layer}": one.effective.whole for one in opened.spectra}
            with open(out / "eigenvalues.npz", "wb") as file:
                np.savez(file, **arrays)
            written += [out / name for name in ("model.txt", "model.json", "eigenvalues.npz")]
            written += [path for paths, _ in pictures for path in paths]
        if page is not None:
            shown = [(path, text) for paths, text in pictures for path in paths if path.suffix == ".png"]
            page.write_text(model_report.as_html(printed, shown), encoding="utf-8")
            written.append(page)
    return written


def _pictures(
    opened: Model, run: ModelRun | None, lambda_min: float, folder: Path
) -> list[tuple[list[Path], str]]:
    from ..figures.checkpoint import curves, curves_caption, spectra, spectra_caption
    from ..figures.style import write

    name = f"{opened.family} ({opened.path.name})"
    layers = opened.spectra if run is None else run.layers
    low = lambda_min if run is None else float(np.median([one.lambda_min for one in run.layers]))
    drawn = [("spectra", spectra(layers, low), spectra_caption(layers, low, name))]
    if run is not None:
        drawn.append(("curves", curves(run), curves_caption(run, name)))
    command = f"linsim model {opened.path.name} --out DIR"
    return [(write(picture, text, command, None, folder, stem), text) for stem, picture, text in drawn]
