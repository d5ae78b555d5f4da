"""Write the tables of metrics in docs/metrics.md and docs/performance.md anew: ``python docs/tables.py``.

They lie between two comments that name them, and come from ``linsim.metrics.REGISTRY``.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from linsim.metrics import REGISTRY, Metric

ROOT = Path(__file__).resolve().parents[1]


def metrics() -> str:
    """Return the table of all metrics, each gap beside the metric whose gap it is."""
    gaps = {metric.gap for metric in REGISTRY.values()}
    rows = ["| metric | meaning | all tokens alike | its gap, as a logarithm |", "|---|---|---|---|"]
    for metric in REGISTRY.values():
        if metric.name in gaps:
            continue
        limit = "" if metric.limit is None else f"{metric.limit:g}"
        gap = "" if metric.gap is None else f"`{metric.gap}`: {_text(REGISTRY[metric.gap])}"
        rows.append(f"| `{metric.name}` | {_text(metric)} | {limit} | {gap} |")
    return "\n".join(rows)


def compiled() -> str:
    """Return the sentence that lists what the compiled kernels measure."""
    *names, last = [f"`{metric.name}`" for metric in REGISTRY.values() if metric.slot is not None]
    text = f"*Metrics that need no eigenvectors* are {', '.join(names)} and {last}."
    return "\n".join(textwrap.wrap(text, 130, break_long_words=False, break_on_hyphens=False))


def _text(metric: Metric) -> str:
    return (metric.formula or metric.meaning).replace("|", "\\|")


#: which file each lies in
TABLES = {"metrics": ("docs/metrics.md", metrics), "compiled metrics": ("docs/performance.md", compiled)}


def renewed(text: str, name: str, table: str) -> str:
    """Return a file's text with the table of this name in it."""
    found = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)"
    out, count = re.subn(found, lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{count} places for a table of the name {name!r}; expected one")
    return out


if __name__ == "__main__":
    for name, (file, table) in TABLES.items():
        path = ROOT / file
        path.write_text(renewed(path.read_text(encoding="utf-8"), name, table()), encoding="utf-8")
