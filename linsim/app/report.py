"""``linsim report``: everything on one page, complete in itself: diagram, gallery, statements, findings."""

from __future__ import annotations

import base64
import html
import io
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LinsimError, MissingExtraError
from .figures import check_folder
from .output import one_line

__all__ = ["page", "report"]

_HERE = Path(__file__).resolve().parent
#: libraries that numbers and pictures come from
_LIBRARIES = ("numpy", "scipy", "numba", "sympy", "z3-solver", "cvc5", "xarray", "matplotlib", "latex2mathml")
#: the statements of a quick report, by the beginnings of their names
_FAMILIES = ("dominance.",)
#: pixels per inch of the pictures: sharp on a phone, small enough for a page
_DPI = 170


def report(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write index.html.")] = Path(
        "linsim-report"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Small figures, and the statements on dominance alone.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same numbers.")] = 0,
) -> None:
    """Write one page that needs no network: an interactive phase diagram, all figures, statements, findings.

    Data of figures are kept as by linsim figures.
    """
    from .. import checks

    os.environ["LINSIM_COMPILE"] = "wait"  # as for figures
    with one_line():
        checks.count(seed, "--seed")
        check_folder(out)
        path = out / "index.html"
        path.write_text(page(seed=seed, quick=quick), encoding="utf-8")
    print(f"{path}   {path.stat().st_size / 1e6:.1f} MB, open it in a browser")


def page(*, seed: int = 0, quick: bool = False) -> str:
    """Return the page.

    Raises
    ------
    MissingExtraError
        If what turns LaTeX or Markdown into a page, or a prover, is not installed.
    """
    parts = {
        "STYLE": _file("page.css"),
        "LAW": _file("law.js"),
        "EXPLORE": _file("explore.js"),
        "FINDINGS": _findings(),
        "STATEMENTS": _statements(quick),
        "GALLERY": _gallery(seed, quick),
        "PROVENANCE": _provenance(seed, quick),
    }
    # in one pass, so that no part is looked for in another
    return re.sub(r"^[A-Z]{3,}$", lambda match: parts[match[0]], _file("page.html"), flags=re.MULTILINE)


def _file(name: str) -> str:
    return (_HERE / "page" / name).read_text(encoding="utf-8")


def _gallery(seed: int, quick: bool) -> str:
    from ..figures import gallery

    shown = []
    for name in gallery.NAMES:
        try:
            ds = gallery.dataset(name, quick=quick, seed=seed, progress=True)
        except LinsimError as error:
            if name not in gallery.NEED_A_MODEL:
                raise
            print(f"linsim: {name} is left out: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        module: Any = gallery.load(name)
        picture = io.BytesIO()
        module.draw(ds).savefig(picture, format="webp", dpi=_DPI, pil_kwargs={"quality": 82, "method": 6})
        title, caption = html.escape(module.message(ds)), html.escape(module.caption(ds))
        said = caption.removeprefix(f"{title}. ")
        data = base64.b64encode(picture.getvalue()).decode("ascii")
        command = f"linsim figures {name} --seed {seed}" + " --quick" * quick
        shown.append(
            f'<figure id="figure-{name}">'
            f'<img src="data:image/webp;base64,{data}" alt="{title}" loading="lazy">'
            f"<figcaption><b>{title}</b><details><summary>What is shown, and how to make it</summary>"
            f"<p>{said}</p><p><code>{command}</code></p></details></figcaption></figure>"
        )
    return f'<div class="gallery">{"".join(shown)}</div>'


def _statements(quick: bool) -> str:
    from proofs_check import STATEMENTS
    from proofs_check import report as proofs
    from proofs_check.check import check_all

    proofs.fragment([])  # is what it needs there?
    names = [name for name in STATEMENTS if not quick or name.startswith(_FAMILIES)]
    # headings one step below those of the page
    text = proofs.fragment(check_all(names))
    return re.sub(r"<(/?)h([23])", lambda m: f"<{m[1]}h{int(m[2]) + 1}", text)


def _findings() -> str:
    """The findings, which are in a checkout and not in an installation, from Markdown."""
    source = _HERE.parents[1] / "docs" / "findings.md"
    if not source.is_file():
        return "<p>They are in <code>docs/findings.md</code> of the repository, each with a session.</p>"
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name}: found it not installed; expected markdown-it-py for a page with the findings. "
            "Install it with: pip install 'linsim[report]'"
        ) from error
    text = source.read_text(encoding="utf-8")
    text = text[text.index("\n") :]  # the page has its own heading
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return re.sub(r"<(/?)h([23])", lambda m: f"<{m[1]}h{int(m[2]) + 1}", shown)


def _provenance(seed: int, quick: bool) -> str:
    found = {"linsim": _version("linsim"), "Python": platform.python_version(), "machine": platform.machine()}
    found |= {name: _version(name) for name in _LIBRARIES}
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(value)}</td></tr>" for name, value in found.items())
    command = f"linsim report --seed {seed}" + " --quick" * quick
    return (
        f"<p>Made by <code>{command}</code>. Every number of a caption is computed from the data of "
        "its figure; "
        "the same seed gives the same numbers. Wall times in the table of statements and in the figure on "
        "performance are those of one run on one machine.</p>"
        f"<table><tbody>{rows}</tbody></table>"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
