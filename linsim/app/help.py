"""What ``linsim --help`` shows: the commands by what one wants, each with a line to copy."""

from __future__ import annotations

import shlex
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["EXAMPLES", "GROUPS", "Grouped", "with_examples"]

#: by group, an example of each command; a command that is in none of them is listed last
GROUPS = {
    "Look": {
        "demo": "linsim demo --out linsim-demo",
        "figures": "linsim figures regime_disk --format svg --width slide",
        "report": "linsim report --out linsim-report",
    },
    "Your own matrices": {
        "predict": "linsim predict --attention A.npy --weights H.npy",
        "simulate": "linsim simulate --attention A.npy --weights H.npy --tokens X.npy --depth 1000",
    },
    "Many systems": {
        "sweep": "linsim sweep h.toml --out h.zarr --workers 2",
        "plot": "linsim plot h.zarr --x h --y T --color log_token_diversity --out h.png",
    },
    "Trained models": {
        "model": "linsim model model.safetensors --out model-report",
        "train": "linsim train filters --quick",
    },
    "Check the theory and the machine": {
        "prove": "linsim prove dominance rates --html proofs.html",
        "bench": "linsim bench --quick",
        "doctor": "linsim doctor",
    },
}

#: an example of each command, by its name
EXAMPLES = {name: line for group in GROUPS.values() for name, line in group.items()}

_NOT_GROUPED = "More"


class Grouped(TyperGroup):
    """The group of all commands, which lists them under headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with what it does and an example."""
        headings = {name: heading for heading, group in GROUPS.items() for name in group}
        under: dict[str, list[str]] = {heading: [] for heading in (*GROUPS, _NOT_GROUPED)}
        for name in self.list_commands(ctx):
            under[headings.get(name, _NOT_GROUPED)].append(name)
        width = max(map(len, self.commands))
        for heading, names in under.items():
            order = [*GROUPS.get(heading, {}), *names]
            shown = [(name, self.commands[name]) for name in sorted(names, key=order.index)]
            if not shown:
                continue
            with formatter.section(heading):
                for name, command in shown:
                    formatter.write_dl([(name.ljust(width), command.get_short_help_str(200))])
                    if name in EXAMPLES:  # in one piece, for copying
                        formatter.write(f"{'':{formatter.current_indent + width}}  $ {EXAMPLES[name]}\n")


def with_examples(app: typer.Typer) -> None:
    """Let the help of each command end with its example."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        if name in EXAMPLES:
            assert shlex.split(EXAMPLES[name])[:2] == ["linsim", name]
            command.epilog = f"\b\nExample:\n  {EXAMPLES[name]}"
