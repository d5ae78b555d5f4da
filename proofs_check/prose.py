"""Formulas inside sentences: ``q_tok^2`` in the sources, typeset on a page and in LaTeX.

Statements are written so that they can be read in a terminal: Greek letters by name, ``_`` before an
index, ``^`` before an exponent, ``<=`` for a relation.  One grammar turns them into either form:

- an index or exponent is a run of letters, digits and stars, or what stands in brackets;
- it belongs to the letter, number, Greek name, function or bracket before it; words joined by ``_``
  are names of statements, metrics or functions, and are set as code.

>>> as_html("rate q_tok^2, |rho_ij|^l -> 0")
'rate <i>q</i><sub>tok</sub><sup>2</sup>, |ρ<sub>ij</sub>|<sup><i>l</i></sup> → 0'
>>> as_latex("rate q_tok^2 <= 1")
'rate $q_{\\\\mathrm{tok}}^{2}$ $\\\\le$ 1'
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["as_html", "as_latex"]

_NAMES = (
    "alpha beta gamma delta eps epsilon kappa lambda mu nu xi pi psi chi rho sigma tau theta Lambda Pi Sigma"
)
GREEK = dict(zip(_NAMES.split(), "αβγδεεκλμνξπψχρστθΛΠΣ", strict=True))
SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠", "->": "→", "<-": "←", "||": "‖", "-": "−", "^": "∧", "(x)": "⊗"}
_TEX_SIGNS = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", "->": r"\to", "<-": r"\leftarrow", "||": r"\|"}
_TEX_SIGNS |= {"<": "<", ">": ">", "|": "|", "*": "*", "-": "-", "^": r"\wedge", "(x)": r"\otimes"}

# words that carry indices and exponents like a letter; all others joined by "_" are names in code
_FUNCTIONS = "max|min|sum|cos|sin|tan|ln|exp|HFC|LFC"
_LETTERS = "|".join(sorted(GREEK, key=len, reverse=True))
_TOKEN = re.compile(
    rf"""
    (?P<code>   (?<![\w.]) (?:[A-Za-z]\w*\.)? (?!(?:{_LETTERS}|{_FUNCTIONS})_)
                [A-Za-z]{{2,}} (?:_[A-Za-z]{{2,}})+ \b (?!\() )
    |(?P<script> [_^] (?: \{{[^{{}}]*\}} | (?P<open>\() | -?(?:\d+|[A-Za-z][A-Za-z0-9]*)\*{{0,2}}(?:[a-z]\b)?
                      | -?\*{{1,2}} ) )
    |(?P<greek>  (?<![A-Za-z]) (?:{_LETTERS}) (?![A-Za-z]) )
    |(?P<sign>   <=|>=|!=|->|<-|\|\||[<>|*] | (?<=[ ]) (?:[-^]|\(x\)) (?=[ ]) )
    |(?P<letter> (?<![A-Za-z0-9'.]) (?<![A-Za-z]{{2}}-) [A-Za-z] (?!'?[A-Za-z0-9]|-[A-Za-z]{{2}}) )
    """,
    re.VERBOSE,
)
# "a" and "A" before one of these are letters of a formula, not articles
_VERBS = r"(?:and|or|is|has|in|of|to|on|with|itself|alone|that|whose|at|by|for|from|as|be|are|acts|x|the)\b"
_ARTICLE = re.compile(rf" (?!{_VERBS})[a-z]{{2,}}")


class _Piece(NamedTuple):
    """A part of a sentence: "text", "code", "greek", "sign", "letter", "sub" or "sup"."""

    kind: str
    text: str


def _pieces(text: str) -> Iterator[_Piece]:
    at = 0
    while match := _TOKEN.search(text, at):
        if match.start() > at:
            yield _Piece("text", text[at : match.start()])
        kind, found, at = str(match.lastgroup), match[0], match.end()
        if kind == "letter" and found in "aA" and _ARTICLE.match(text, at):
            kind = "text"
        if match["script"]:
            kind = "sub" if found[0] == "_" else "sup"
            if match["open"]:
                close = _closing(text, at - 1)
                found, at = text[match.start() : close + 1], close + 1
            inside = found[1:]
            wrapped = inside[0] in "({" and inside[-1] in ")}"
            found = inside[1:-1] if wrapped else inside
        yield _Piece(kind, found)
    if at < len(text):
        yield _Piece("text", text[at:])


def _closing(text: str, opening: int) -> int:
    """Return where the bracket at ``opening`` closes; the end of the text where it does not."""
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return len(text) - 1


def as_html(text: str) -> str:
    """Return a sentence as HTML, with real indices, exponents, Greek letters and relations.

    Parameters
    ----------
    text : str
        As statements are written; any character is allowed.

    Returns
    -------
    str
        Escaped: safe to put into a page.

    Examples
    --------
    >>> as_html("A token and A with X_(l+1) > 0; see bounds.row_split")
    'A token and <i>A</i> with <i>X</i><sub><i>l</i>+1</sub> &gt; 0; see <code>bounds.row_split</code>'
    """
    return "".join(map(_html_piece, _pieces(text)))


def _html_piece(piece: _Piece) -> str:
    kind, text = piece
    if (kind, text) == ("sub", "perp"):
        return "<sub>⊥</sub>"
    if kind in ("sub", "sup"):
        return f"<{kind}>{as_html(text).replace('-', '−')}</{kind}>"
    if kind == "greek":
        return GREEK[text]
    if kind == "sign":
        return SIGNS.get(text, html.escape(text))
    shown = html.escape(text, quote=False)
    return {"code": f"<code>{shown}</code>", "letter": f"<i>{shown}</i>"}.get(kind, shown)


_TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def as_latex(text: str) -> str:
    """Return a sentence as LaTeX text, its formulas in math mode.

    Parameters
    ----------
    text : str
        As statements are written; any character is allowed.

    Returns
    -------
    str
        Escaped, for text mode.

    Examples
    --------
    >>> as_latex("50 % of |rho_*|^(2l) in bounds.row_split")
    '50 \\\\% of $|\\\\rho_{*}|^{2l}$ in \\\\texttt{bounds.row\\\\_split}'
    """
    found, formula = "", ""
    for kind, piece in _pieces(text):
        if kind in ("text", "code"):
            found += _closed(formula)
            formula = ""
            escaped = "".join(_TEX.get(c, c) for c in piece)
            found += rf"\texttt{{{escaped}}}" if kind == "code" else escaped
        else:
            formula += _tex_piece(kind, piece)
    return found + _closed(formula)


def _closed(formula: str) -> str:
    return f"${formula}$" if formula else ""


def _tex_piece(kind: str, text: str) -> str:
    if (kind, text) == ("sub", "perp"):
        return r"_{\perp}"
    if kind in ("sub", "sup"):
        return ("_" if kind == "sub" else "^") + f"{{{_tex_script(text)}}}"
    if kind == "greek":
        return "\\" + ("varepsilon" if text in ("eps", "epsilon") else text)
    return _TEX_SIGNS[text] if kind == "sign" else text


def _tex_script(text: str) -> str:
    """Return an index or exponent in math mode: words upright, letters as variables."""
    inner = ""
    for kind, piece in _pieces(text):
        if kind in ("text", "code"):
            inner += re.sub(r"[A-Za-z]{3,}", lambda m: rf"\mathrm{{{m[0]}}}", piece)
        else:
            inner += _tex_piece(kind, piece) + (" " if kind in ("greek", "sign") else "")
    return inner.strip()
