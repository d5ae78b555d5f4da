"""Results as a table, as text, as LaTeX and as a page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from linsim import checks
from linsim.errors import InvalidValueError, MissingExtraError

from . import prose
from .statement import Claim
from .steps import Identity, Sign, Step, Tends

if TYPE_CHECKING:
    from .check import Need, Result

__all__ = [
    "CONVENTIONS",
    "as_fragment",
    "as_html",
    "as_json",
    "as_latex",
    "details",
    "fragment",
    "mathml",
    "table",
]

#: what every statement takes for granted
CONVENTIONS = (
    "Unless a statement says otherwise: attention A has rows that sum to 1, and |lambda| < 1 for all of its "
    "eigenvalues but a simple lambda = 1 (as where all entries are positive); A and the real weights H are "
    "diagonalizable; X_0 is generic, that is, holds every mode. Tokens converge where HFC/LFC -> 0, relative "
    "to their size. rho_ij = 1 + lambda_i mu_j, Pi is the mean over tokens, a the smallest eigenvalue of "
    "a real spectrum of A, l the layer."
)


def table(results: Sequence[Result], width: int = 110) -> list[str]:
    """Return one line for each result, and a summary.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> from proofs_check.check import check
    >>> print(table([check(STATEMENTS["dominance.boundary"])], width=90)[0])
    id                 statement                     verdict engines               s
    """
    rows = [
        (r.statement.id, r.statement.sentence, r.verdict, _engines(r), f"{r.seconds:.1f}") for r in results
    ]
    rows = [("id", "statement", "verdict", "engines", "s"), *rows]
    id_, _, verdict, engines, seconds = (max(map(len, column)) for column in zip(*rows, strict=True))
    room = max(28, width - id_ - verdict - engines - seconds - 4)
    shape = f"{{:<{id_}}} {{:<{room}}} {{:<{verdict}}} {{:<{engines}}} {{:>{seconds}}}"
    lines = [shape.format(row[0], _cut(row[1], room), *row[2:]) for row in rows]
    for result in results:
        lines += [f"FAILED {result.statement.id}: {problem}" for problem in result.problems]
    counts = {
        verdict: sum(r.verdict == verdict for r in results) for verdict in ("proved", "refuted", "open")
    }
    failed = sum(r.failed for r in results)
    total = sum(r.seconds for r in results)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return [*lines, f"{len(results)} statements: {summary}, {failed} failed; {total:.1f} s of work"]


def as_json(results: Iterable[Result]) -> dict[str, Any]:
    """Return what ``linsim prove --json`` prints.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> from proofs_check.check import check
    >>> found = as_json([check(STATEMENTS["dominance.boundary"])])["statements"][0]
    >>> found["id"], found["verdict"], found["engines"]
    ('dominance.boundary', 'proved', ['sympy', 'z3', 'cvc5'])
    """
    return {
        "statements": [
            {
                "id": r.statement.id,
                "statement": r.statement.sentence,
                "verdict": r.verdict,
                "engines": list(r.engines),
                "seconds": round(r.seconds, 3),
                "source": r.statement.source,
                "claims": len(r.statement.claims),
                "claims_decided": dict(r.decided),
                "enclosures": r.enclosures,
                "counterexample": r.statement.counterexample,
                "tried": list(r.statement.tried),
                "assumptions": [
                    {
                        "claim": need.claim,
                        "assumption": need.assumption,
                        "verdict": need.verdict,
                        "point": {name: str(value) for name, value in need.point.items()},
                        "why": need.why,
                    }
                    for need in r.needs
                ],
                "problems": list(r.problems),
            }
            for r in results
        ]
    }


def details(result: Result) -> list[str]:
    """Return the derivation as text.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> from proofs_check.check import check
    >>> lines = details(check(STATEMENTS["dominance.boundary"]))
    >>> print(lines[0][:68])
    dominance.boundary: proved by sympy, z3, cvc5
    """
    statement = result.statement
    lines = [
        f"{statement.id}: {_verdict(result)}",
        f"  {statement.sentence}",
        f"  Source: {statement.source}.",
    ]
    if statement.counterexample:
        lines.append(f"  Counterexample: {statement.counterexample}")
    lines += [f"  Tried: {what}" for what in statement.tried]
    for claim in statement.claims:
        lines.append(f"  [{claim.name}] " + "; ".join(map(str, claim.given.values())))
        lines += [f"    Reduction: {claim.reduction}"] if claim.reduction else []
        lines += [f"    {k}. {step.says}: {_plain(step)}" for k, step in enumerate(claim.steps, start=1)]
        lines += [f"    Shows: {_plain(c) if isinstance(c, Tends) else c}" for c in claim.shows]
        if claim.name in statement.only_symbolic:
            lines.append(f"    By SymPy alone: {statement.only_symbolic[claim.name]}")
    lines += [f"  Assumption {need}" for need in result.needs]
    return [*lines, *(f"  FAILED: {problem}" for problem in result.problems)]


def as_latex(results: Sequence[Result]) -> str:
    """Return a LaTeX document.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> from proofs_check.check import check
    >>> as_latex([check(STATEMENTS["dominance.boundary"])]).splitlines()[0]
    '\\\\documentclass{article}'
    """
    lines = [
        r"\documentclass{article}",
        r"\usepackage{amsmath,amssymb,adjustbox}",
        r"\newcommand{\fit}[1]{\begin{center}\begin{adjustbox}{max width=\linewidth}"
        r"$\displaystyle #1$\end{adjustbox}\end{center}}",
        r"\setlength{\parindent}{0pt}",
        r"\begin{document}",
        prose.as_latex(CONVENTIONS),
    ]
    for family, members in _families(results):
        lines.append(rf"\section*{{{prose.as_latex(family.capitalize())}}}")
        for r in members:
            lines += _latex_statement(r)
    return "\n".join([*lines, r"\end{document}", ""])


def as_html(results: Sequence[Result]) -> str:
    """Return a page with rendered mathematics, complete in itself.

    Raises
    ------
    MissingExtraError
        If latex2mathml is not installed.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> from proofs_check.check import check
    >>> as_html([check(STATEMENTS["dominance.boundary"])]).count("<h3")
    1
    """
    body = ["<h1>Statements and their proofs</h1>", fragment(results)]
    return _PAGE.replace("BODY", "\n".join(body))


def fragment(results: Sequence[Result]) -> str:
    """Return what :func:`as_html` shows, without the page around it, for a page of one's own.

    Raises
    ------
    MissingExtraError
        If latex2mathml is not installed.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> from proofs_check.check import check
    >>> fragment([check(STATEMENTS["dominance.boundary"])]).count("<section")
    1
    """
    mathml("x")  # is the converter there?
    counts = [sum(r.verdict == v for r in results) for v in ("proved", "refuted", "open")]
    body = [
        f"<p>{len(results)} statements: {counts[0]} proved, {counts[1]} refuted by an exact counterexample, "
        f"{counts[2]} open. Every step is checked by SymPy; z3 and cvc5 prove a second, separately "
        "written form of each claim; every assumption is shown to be needed, or marked.</p>",
        f"<p>{prose.as_html(CONVENTIONS)}</p>",
        f'<div class="wide">{_html_table(results)}</div>',
    ]
    for family, members in _families(results):
        body.append(f"<h2>{html.escape(family.capitalize())}</h2>")
        body += [_html_statement(r) for r in members]
    return "\n".join(body)


def as_fragment(result: Result) -> str:
    """Return one statement with its derivation as a part of a page, as notebooks show it.

    Raises
    ------
    MissingExtraError
        If latex2mathml is not installed.

    Examples
    --------
    >>> from proofs_check.catalogue import STATEMENTS
    >>> from proofs_check.check import check
    >>> as_fragment(check(STATEMENTS["dominance.boundary"])).count("<details>") > 4
    True
    """
    return _html_statement(result)


def _families(results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    names = dict.fromkeys(r.statement.id.partition(".")[0] for r in results)
    for family in names:
        yield family, [r for r in results if r.statement.id.partition(".")[0] == family]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3].rstrip() + "..."


def _engines(result: Result) -> str:
    total = len(result.statement.claims)
    parts = [e if n == total else f"{e} {n}/{total}" for e, n in result.decided.items() if n]
    return ", ".join([*parts, *([f"balls {result.enclosures}"] if result.enclosures else [])])


def _verdict(result: Result) -> str:
    by = {"proved": "proved by", "refuted": "refuted, checked by", "open": "open; partial results by"}
    engines = _engines(result)  # none: taken from the catalogue, not checked
    return f"{by[result.verdict]} {engines}" if engines else result.verdict


def _plain(step: Step) -> str:
    if isinstance(step, Identity):
        return f"{step.left} = {step.right}"
    if isinstance(step, Sign):
        by = "" if step.by is None else f" = {step.by}"
        return f"{step.expression}{by} {step.relation} 0"
    return f"{step.expression} -> {step.value} as {step.variable} -> {step.point}"


# --- LaTeX ----------------------------------------------------------------------------------------


def _latex_statement(r: Result) -> Iterator[str]:
    s = r.statement
    yield rf"\subsection*{{{prose.as_latex(s.id)}: {prose.as_latex(_verdict(r))}}}"
    yield prose.as_latex(s.sentence)
    yield rf"\fit{{{s.latex}}}"
    yield rf"\emph{{Source:}} {prose.as_latex(s.source)}.\par"
    if s.counterexample:
        yield rf"\emph{{Counterexample:}} \fit{{{s.counterexample}}}"
    for what in s.tried:
        yield rf"\emph{{Tried:}} {prose.as_latex(what)}\par"
    for claim in s.claims:
        yield rf"\medskip\textbf{{{prose.as_latex(claim.name)}.}} {prose.as_latex(claim.reduction)}"
        yield rf"\fit{{{claim.latex()}}}"
        yield r"\begin{enumerate}"
        for step in claim.steps:
            yield rf"\item {prose.as_latex(step.says)}: \fit{{{step.latex()}}}"
        if not claim.steps:
            yield r"\item by inspection."
        yield r"\end{enumerate}"
    for need in r.needs:
        yield rf"\emph{{Assumption}} {prose.as_latex(str(need))}.\par"


# --- HTML -----------------------------------------------------------------------------------------


#: commands that SymPy and the statements write and the converter does not know, by what it does
_COMMANDS = {r"\middle|": r"\mid ", r"\middle": ""}


def mathml(formula: str) -> str:
    """Return LaTeX as MathML, as a block, checked: well-formed, and no command left as it was.

    The converter passes ``<`` and ``&`` in text through as they are, and shows a command that it does
    not know as a word; neither is noticed by a browser.

    Raises
    ------
    MissingExtraError
        If latex2mathml is not installed.
    InvalidValueError
        If the formula holds a command that cannot be shown.

    Examples
    --------
    >>> mathml("x < 1").count("<math")
    1
    >>> mathml(r"\\nosuch{x}")
    Traceback (most recent call last):
    ...
    linsim.errors.InvalidValueError: formula: found \\nosuch in '\\\\nosuch{x}'; expected commands that
    MathML can show. Write it in other words.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name}: found it not installed; expected latex2mathml for a page with mathematics. "
            "Install it with: pip install 'linsim[proofs]'"
        ) from error
    text = formula
    for command, known in _COMMANDS.items():
        text = text.replace(command, known)
    shown: str = convert(text, display="block")
    try:
        tree = ElementTree.fromstring(shown)
    except ElementTree.ParseError:
        # what stands in text as it is: an ampersand that begins no entity, a sign less that begins no tag
        shown = re.sub(r"&(?!#?\w+;)", "&amp;", shown)
        shown = re.sub(r"<(?![/a-zA-Z])", "&lt;", shown)
        tree = ElementTree.fromstring(shown)
    left = re.search(r"\\[A-Za-z]+", " ".join(tree.itertext()))
    if left:
        raise checks.refusal(
            InvalidValueError,
            "formula",
            f"{left[0]} in {formula!r}",
            "commands that MathML can show",
            "Write it in other words.",
        )
    return shown


def _html_table(results: Sequence[Result]) -> str:
    row = '<tr><td><a href="#{0}">{0}</a></td><td>{1}</td><td class="{2}">{2}</td><td>{3}</td></tr>'
    rows = "\n".join(
        row.format(r.statement.id, prose.as_html(r.statement.sentence), r.verdict, _engines(r))
        for r in results
    )
    head = "".join(f"<th>{title}</th>" for title in ("id", "statement", "verdict", "by"))
    return f"<table><thead><tr>{head}</tr></thead>{rows}</table>"


def _html_statement(r: Result) -> str:
    s = r.statement
    parts = [
        f'<section id="{s.id}"><h3>{s.id} <span class="{r.verdict}">{html.escape(_verdict(r))}</span></h3>',
        f"<p>{prose.as_html(s.sentence)}</p>",
        f'<div class="key">{mathml(s.latex)}</div>',
        f'<p class="source">Source: {prose.as_html(s.source)}.</p>',
    ]
    if s.counterexample:
        parts.append(f"<p>Counterexample:</p><div>{mathml(s.counterexample)}</div>")
    parts += [f"<p>Tried: {prose.as_html(what)}</p>" for what in s.tried]
    parts += [_html_claim(claim, s.only_symbolic.get(claim.name, "")) for claim in s.claims]
    if r.needs:
        parts.append(
            "<details><summary>Assumptions</summary><ul>"
            + "".join(map(_html_need, r.needs))
            + "</ul></details>"
        )
    parts += [f'<p class="open">FAILED: {prose.as_html(problem)}</p>' for problem in r.problems]
    return "\n".join([*parts, "</section>"])


def _html_claim(claim: Claim, alone: str) -> str:
    steps = "".join(
        f"<li>{prose.as_html(step.says)}<div>{mathml(step.latex())}</div></li>" for step in claim.steps
    )
    return (
        f"<details><summary>{prose.as_html(claim.name)}</summary>"
        + (f"<p>{prose.as_html(claim.reduction)}</p>" if claim.reduction else "")
        + f'<div class="claim">{mathml(claim.latex())}</div><ol>{steps}</ol>'
        + (f"<p>By SymPy alone: {prose.as_html(alone)}</p>" if alone else "")
        + "</details>"
    )


def _html_need(need: Need) -> str:
    return f"<li>{prose.as_html(str(need))}</li>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>linsim: statements and their proofs</title>
<style>
body { font: 16px/1.5 Georgia, serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1, h2, h3, th { font-family: system-ui, sans-serif; }
h2 { border-bottom: 2px solid #444; margin-top: 3rem; }
h3 { margin: 2.2rem 0 .3rem; } h3 span { font-weight: normal; font-size: .8em; }
table { border-collapse: collapse; font-size: .85em; } td, th { text-align: left; padding: .25em .6em; }
td { border-top: 1px solid #ccc; vertical-align: top; }
.proved { color: #00548a; } .refuted { color: #a33a00; } .open { color: #6a3d9a; }
.refuted::before { content: "\\2717  "; } .proved::before { content: "\\2713  "; }
.open::before { content: "?  "; }
.source { font-size: .85em; color: #555; margin-top: 0; }
.key, .claim { background: #f4f4f4; padding: .4em .6em; }
/* what is folded on the screen is there on paper */
@media print {
  details::details-content { content-visibility: visible; block-size: auto; display: block; }
  summary { font-weight: bold; list-style: none; } body { max-width: none; font-size: 11pt; }
  math { break-inside: avoid; } h2, h3, summary { break-after: avoid; } section div { overflow: visible; }
}
section div { overflow-x: auto; } summary { cursor: pointer; margin: .4em 0; }
math[display=block] { display: block; text-align: left; margin: .35em 0; }
</style></head><body>
BODY
<script>
// Browsers that cannot unfold by style alone, and back again after printing
const folds = document.querySelectorAll("details:not([open])");
addEventListener("beforeprint", () => folds.forEach(fold => { fold.open = true; }));
addEventListener("afterprint", () => folds.forEach(fold => { fold.open = false; }));
</script>
</body></html>
"""
