r"""Docstrings are written to be read in a terminal; reStructuredText takes some of their formulas for markup.

``|x|`` would be a substitution, ``sigma_`` a link, a single ``*`` emphasis.  Before Sphinx reads a docstring
these are escaped, outside of code, roles and sessions.

>>> escaped("ln |X| of ``a|b`` and :func:`simulate`, c_ and 2*m")
'ln \\|X\\| of ``a|b`` and :func:`simulate`, c\\_ and 2\\*m'
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["escaped", "setup"]

_KEPT = re.compile(
    r"``.+?``|:[\w:]+:`[^`]+`|`[^`]+`_?"  # code, roles, links
    r"|\*\*[^*\s][^*]*\*\*|(?<![\w*])\*[^*\s][^*]*[^*\s]\*(?![\w*])"  # strong, emphasis
)
_MARKUP = re.compile(r"\||(?<![\\*])\*(?![\s*])|(?<=\w)_(?![\w])")


def escaped(line: str) -> str:
    """Return a line of a docstring with what only looks like markup escaped."""
    parts, at = [], 0
    for kept in _KEPT.finditer(line):
        parts += [_MARKUP.sub(r"\\\g<0>", line[at : kept.start()]), kept[0]]
        at = kept.end()
    return "".join([*parts, _MARKUP.sub(r"\\\g<0>", line[at:])])


def _without_types(lines: list[str]) -> list[str]:
    """Return fields with types as prose: "array, shape (n, d)" names nothing to link to."""
    types = {m[1]: m[2] for line in lines if (m := re.match(r":vartype (\w+): (.*)", line))}
    kept = [line for line in lines if not line.startswith(":vartype ")]
    field = re.compile(r":ivar (\w+): ")
    return [
        field.sub(lambda m: f":ivar {m[1]}: {types[m[1]]}. " if m[1] in types else m[0], line)
        for line in kept
    ]


# napoleon reads "Eigenvalues, shape (n,): those of A" of a property as a type and a description
_SENTENCES = ("property", "attribute", "data")
_untouched: dict[str, list[str]] = {}


def with_formulas(lines: list[str]) -> list[str]:
    """Return a text whose indented formulas are literal blocks, each behind a line "::".

    >>> with_formulas(["With p = q,", "", "    a|b| =", "      c", "", "and so on."])
    ['With p = q,', '', '::', '', '    a|b| =', '      c', '', 'and so on.']
    """
    found: list[str] = []
    for line in lines:
        before = [text for text in found if text.strip()]
        begins = line.startswith("    ") and (not found or not found[-1].strip())
        if begins and before and before[-1][0] not in " -:" and not before[-1].endswith("::"):
            found += ["::", ""]
        found.append(line)
    return found


def _before(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what in _SENTENCES:
        _untouched[name] = list(lines)


def _after(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = _untouched.pop(name, None) or _without_types(lines)
    if what == "module":
        lines[:] = with_formulas(lines)
    literal: int | None = None  # how far a literal block is indented beyond
    session = False
    for k, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        session = bool(line.strip()) and (session or line.lstrip().startswith(">>>"))
        if literal is None and not session:
            ends = line.rstrip().endswith("::")
            lines[k] = escaped(line)
            if ends:
                literal = indent


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx; napoleon, in between, makes fields of the sections of a docstring."""
    app.connect("autodoc-process-docstring", _before, priority=100)
    app.connect("autodoc-process-docstring", _after, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
