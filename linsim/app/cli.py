"""The command line: each command reads its arguments, calls the library, prints."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from . import complete
from .doctor import doctor
from .figures import figures
from .files import read_array
from .help import Grouped, with_examples
from .model import model
from .output import one_line, print_json
from .report import report
from .sweep import plot, sweep
from .train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="linsim",
    cls=Grouped,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(f"linsim {__version__}")
        raise typer.Exit


@app.callback()
def linsim_(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """What must happen in a deep linear Transformer X <- X + A X H, and what does."""


app.command()(sweep)
app.command()(plot)
app.command()(model)
app.command()(train)
app.command()(figures)
app.command()(report)
app.command()(doctor)

_A = Annotated[
    Path, typer.Option("--attention", metavar="FILE", help="A, (..., n, n): .npy, or .npz holding 'A'.")
]
_H = Annotated[
    Path, typer.Option("--weights", metavar="FILE", help="H, (..., d, d): .npy, or .npz holding 'H'.")
]
_JSON = Annotated[
    bool, typer.Option("--json", help="Print only JSON on standard output; NaN and inf as null.")
]
_SEED = Annotated[int, typer.Option("--seed", help="Same seed, same numbers.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path("linsim-demo"),
    seed: _SEED = 0,
) -> None:
    """Draw the phase diagram of oversmoothing: thousands of systems, measured and predicted."""
    from .demo import run

    _wait_for_kernels()
    with one_line():
        report = run(out, seed=seed)
    print("\n".join(report.lines()))
    print(f"""
Figure   {out / "phase_diagram.png"} (and .pdf; caption in .txt)
Dataset  {out / "phase_diagram.zarr"}   xarray.open_zarr(PATH, consolidated=False)

Try next: one cell of the picture, in three lines of Python
  import linsim; from linsim.figures.phase_diagram import systems
  ds = linsim.sweep(systems, {{"mu_min": [-3.0], "lambda_min": [-0.25]}}, depth=128, seed={seed})
  print(ds.log_hfc_lfc.item(), ds.predicted_regime.item())   # falls far below 0; 1 = smoothing
or  linsim figures            the other figures
or  linsim predict --attention A.npy --weights H.npy    your own matrices""")


@app.command()
def simulate(
    attention: _A,
    weights: _H,
    tokens: Annotated[
        Path, typer.Option("--tokens", metavar="FILE", help="X_0, (..., n, d): .npy, or .npz holding 'x0'.")
    ],
    depth: Annotated[int, typer.Option("--depth", help="Number of layers.")],
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="Layers to record, as 0,10,100; default: about ten, evenly spaced."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", help="Names, comma-separated; default: all.", autocompletion=complete.metrics
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="iterate, modal (any depth at one cost), or auto.",
            autocompletion=complete.engines,
        ),
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write all numbers to this .npz file.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Take your own matrices to a depth and print the metrics."""
    import linsim

    with one_line():
        rule = linsim.Linear(read_array(attention, "--attention", "A"), read_array(weights, "--weights", "H"))
        x0 = read_array(tokens, "--tokens", "x0")
        recorded = _layer_list(layers, depth)
        names = None if metrics is None else [name.strip() for name in metrics.split(",")]
        if out is not None:
            _check_output(out)
        run = linsim.simulate(rule, x0, depth, layers=recorded, metrics=names, method=method)
        if out is not None:
            with open(out, "wb") as file:  # savez would append a suffix to other names
                np.savez(file, layers=run.layers, **run.metrics)
    if as_json:
        print_json(
            {
                "layers": run.layers,
                "metrics": run.metrics,
                "method": run.info.method,
                "methods": run.info.methods,
                "reason": run.info.reason,
                "error_estimate": run.info.error_estimate,
                "fallbacks": dict(run.info.fallbacks),
                "split": run.info.split,
                "unmeasured_from": run.info.unmeasured_from,
            }
        )
        return
    batch = run.info.split.shape
    if batch:
        print(f"{int(np.prod(batch))} systems of batch shape {batch}: medians over systems")
    table = {name: np.median(v.reshape(-1, v.shape[-1]), axis=0) for name, v in run.metrics.items()}
    width = max(len(name) for name in table)
    print(" " * width + "".join(f"{layer:>12}" for layer in run.layers))
    for name, values in table.items():
        print(f"{name:<{width}}" + "".join(f"{value:>12.5g}" for value in values))
    if any(np.any(first >= 0) for first in run.info.unmeasured_from.values()):
        print("nan: the gap is below what can be measured there, or has no value (see linsim.metrics)")


@app.command()
def predict(
    attention: _A,
    weights: _H,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", metavar="FILE", help="Judge this X_0; default: a generic one.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Predict from spectra what must happen to your own matrices."""
    import linsim

    with one_line():
        rule = linsim.Linear(read_array(attention, "--attention", "A"), read_array(weights, "--weights", "H"))
        x0 = None if tokens is None else read_array(tokens, "--tokens", "x0")
        law = linsim.predict(rule, x0=x0)
    if as_json:
        print_json(
            {
                name: getattr(law, name)
                for name in (
                    "regime",
                    "input_convergence",
                    "angle_convergence",
                    "rank_collapse",
                    "limit_rank",
                    "margin",
                    "rates",
                    "relaxations",
                )
            }
            | {
                "assumptions": [
                    {"name": a.name, "holds": a.holds, "detail": a.detail} for a in law.assumptions
                ]
            }
        )
        return
    print(law)


@app.command()
def prove(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...",
            help="Statements or families, as dominance.boundary or rates; default: all.",
            autocompletion=complete.statements,
        ),
    ] = None,
    latex: Annotated[
        Path | None, typer.Option("--latex", metavar="FILE", help="Also write the derivations as LaTeX.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write them as a page.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Check every statement of the theory: derivations by SymPy, second forms by z3 and cvc5."""
    with one_line():
        from proofs_check import STATEMENTS
        from proofs_check import report as proofs
        from proofs_check.check import check_all

        chosen = _statements(ids, STATEMENTS)
        for path in (latex, page):
            if path is not None:
                _check_output(path)
        if page is not None:
            proofs.as_html([])  # is what it needs there?
        results = check_all(chosen)
        if latex is not None:
            latex.write_text(proofs.as_latex(results), encoding="utf-8")
        if page is not None:
            page.write_text(proofs.as_html(results), encoding="utf-8")
    if as_json:
        print_json(proofs.as_json(results))
    else:
        if ids:
            print("\n".join([*textwrap.wrap(proofs.CONVENTIONS, width=110), ""]))
        for result in results if ids else ():
            print("\n".join([*proofs.details(result), ""]))
        print("\n".join(proofs.table(results, shutil.get_terminal_size((110, 24)).columns)))
    if any(result.failed for result in results):
        raise typer.Exit(1)


@app.command()
def bench(
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            metavar="NAME",
            help="default, W1, W1-all, W2, W2-all, W3, W3-causal or small; may be repeated; default: all.",
            autocompletion=complete.workloads,
        ),
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            "--peers",
            metavar="NAMES",
            help="Beside linsim, comma-separated: plain, batched, torch, jax, numba, MODULE:FUNCTION "
            "(yours); linsim for it alone; default: all that are installed.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", help="Runs of each, behind one to warm up.")] = 5,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads of each; default: all cores.")
    ] = None,
    limit: Annotated[float, typer.Option("--limit", help="Seconds after which a run is given up.")] = 300.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: shows that everything works, not how fast.")
    ] = False,
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="cupy: instead, the GPU, beside the CPU and what was predicted."),
    ] = None,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Instead: how linsim's own time grows with the sizes.")
    ] = False,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="Instead: Transformer blocks, beside NumPy and PyTorch.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FIGURE.png", help="Also draw it (with .pdf and caption).")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Time linsim beside NumPy, PyTorch, JAX and Numba on this machine, and compare the numbers.

    Exits with 1 if linsim fails somewhere, or if somebody's numbers contradict it.
    """
    from .. import checks
    from ..bench import blocks as layers
    from ..bench import picture, report, runner
    from ..bench import scaling as growth

    with one_line():
        if backend is not None:
            from ..bench import gpu

            others = {"--workload": workload, "--peers": peers, "--threads": threads, "--out": out}
            _without({**others, "--scaling": scaling or None, "--blocks": blocks or None}, "--backend")
            checks.choice(backend, "--backend", ("cupy",))
            timed = gpu.run(repeats=repeats, quick=quick)
            if as_json:
                print_json(gpu.as_json(timed))
            else:
                print("\n".join(gpu.lines(timed)))
            return
        if scaling:
            _without(
                {"--workload": workload, "--peers": peers, "--out": out, "--blocks": blocks}, "--scaling"
            )
            grown = growth.measure(repeats=repeats, threads=threads, quick=quick, limit=limit)
            if as_json:
                print_json(growth.as_json(grown))
            else:
                print("\n".join(growth.lines(grown)))
            return
        if blocks:
            _without({"--workload": workload, "--peers": peers, "--out": out}, "--blocks")
            of_blocks = layers.measure(repeats=repeats, threads=threads, quick=quick)
            if as_json:
                print_json(layers.as_json(of_blocks))
            else:
                print("\n".join(layers.lines(of_blocks)))
            return
        if out is not None:
            picture.check_path(out)
        names = None if peers is None else [name.strip() for name in peers.split(",")]
        found = runner.run(workload, peers=names, repeats=repeats, threads=threads, quick=quick, limit=limit)
    if as_json:
        print_json(report.as_json(found))
    else:
        print("\n".join(report.lines(found)))
    if out is not None:
        options = [f"--workload {name}" for name in workload or ()]
        options += [f"--peers {peers}"] * (peers is not None) + ["--quick"] * quick
        options += [f"--repeats {repeats} --threads {found.machine.threads} --out {out}"]
        for path in picture.save(found, out, " ".join(["linsim bench", *options])):
            print(path, file=sys.stderr if as_json else sys.stdout)
    if not found.sound:
        raise typer.Exit(1)


with_examples(app)


def _wait_for_kernels() -> None:
    """Compile before the first result: a picture shall not depend on what this machine has compiled."""
    os.environ["LINSIM_COMPILE"] = "wait"


def _without(options: Mapping[str, Any], other: str) -> None:
    from .. import checks
    from ..errors import InvalidValueError

    for name, value in options.items():
        if value:
            raise checks.refusal(
                InvalidValueError, name, f"it beside {other}", "one of the two", f"Leave {name} out."
            )


def _statements(ids: list[str] | None, known: Mapping[str, Any]) -> list[str]:
    """Return the names of statements; the name of a family stands for all of its statements."""
    from .. import checks

    families = dict.fromkeys(name.partition(".")[0] for name in known)
    chosen = []
    for wanted in ids or families:
        if wanted in families:
            chosen += [name for name in known if name.partition(".")[0] == wanted]
        else:
            chosen.append(checks.nearest(wanted, "ID", known))
    return list(dict.fromkeys(chosen))


def _layer_list(layers: str | None, depth: int) -> list[int]:
    from .. import checks
    from ..errors import InvalidValueError

    checks.count(depth, "--depth")
    if layers is None:
        return sorted({round(k * depth / 8) for k in range(9)})
    try:
        return [int(part) for part in layers.split(",")]
    except ValueError:
        raise checks.refusal(
            InvalidValueError,
            "--layers",
            repr(layers),
            "whole numbers separated by commas",
            "Write --layers 0,10,100.",
        ) from None


def _check_output(path: Path) -> None:
    from .. import checks
    from ..errors import FileFormatError

    try:
        if path.is_dir() or not path.parent.is_dir():
            raise NotADirectoryError(20, "not a place for a file")
    except OSError as error:
        raise checks.refusal(
            FileFormatError, "--out", f"{path} ({error.strerror})", "a place to write", "Choose another."
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; usage errors are one line and exit code 2, like every other bad input."""
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        code = command(args=arguments, prog_name="linsim", standalone_mode=False)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message(), file=sys.stderr)
        else:
            print(f"linsim: {' '.join(message().split())} See linsim --help.", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
