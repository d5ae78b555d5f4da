"""The directive ``statements``: every statement of the theory with its derivation, from the catalogue."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

__all__ = ["setup"]


class Statements(Directive):
    """One section for each family."""

    def run(self) -> list[nodes.Node]:
        """Return the sections as HTML; nothing is proved here, ``linsim prove`` does that."""
        from proofs_check import STATEMENTS, report
        from proofs_check.check import Result

        found = []
        for family in dict.fromkeys(name.partition(".")[0] for name in STATEMENTS):
            section = nodes.section(ids=[f"family-{family}"], names=[f"family-{family}"])
            section += nodes.title(text=family)
            for name, statement in STATEMENTS.items():
                if name.partition(".")[0] == family:
                    result = Result(statement, statement.aim, (), {}, 0, (), (), 0.0)
                    section += nodes.raw("", report.as_fragment(result), format="html")
            found.append(section)
        return found


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("statements", Statements)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
