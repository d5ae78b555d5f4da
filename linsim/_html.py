"""How results look in a notebook: plain tables that take fonts and colours from the page around them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._namespace import hosted, to_host

if TYPE_CHECKING:
    from ._compare import Comparison
    from .trajectory import Trajectory

__all__ = ["comparison", "paragraph", "prediction", "table", "trajectory"]

# most rows of a table, and most layers of a run, before what lies between is left out
_LAYERS = 5


def paragraph(result: Any) -> str:
    """Return what a result prints, as HTML: for results whose text is short."""
    return f"<p>{html.escape(str(result))}</p>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Return a table; every cell is escaped, the first of each row names it.

    Examples
    --------
    >>> table(["gap", "rate"], [["a < b", "1"]]).count("<td>")
    1
    """
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    title = f'<caption style="text-align: left">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def prediction(law: Any) -> str:
    """Return the verdicts, rates and assumptions of a law; counts of them for a batch."""
    if np.ndim(law.regime):
        return paragraph(law) + table(
            ["gap", "smallest", "median", "largest"],
            ([_words(gap), *(_number(q) for q in _spread(rates))] for gap, rates in law.rates.items()),
            "Factor per layer",
        )
    if law.limit_rank:
        limit = "" if law.input_convergence else law._limit().removeprefix(", ")
        verdicts = [
            ["tokens", "converge to one vector" if law.input_convergence else "stay apart", limit],
            ["angles", "converge" if law.angle_convergence else "do not converge", ""],
            ["rank", "collapses to 1" if law.rank_collapse else f"stays {law.limit_rank}", ""],
        ]
    else:
        verdicts = [["state", "becomes zero", ""]]
    distance = f"ln of constant over other modulus {_number(law.margin)} per layer"
    rates = [
        [_words(gap), _number(rate) if rate < 1 else "does not close geometrically"]
        for gap, rate in law.rates.items()
    ]
    modes = [
        [_number(m.attention_eigenvalue), _number(m.weight_eigenvalue), _number(abs(m.value))]
        for m in law.dominant[:4]
    ]
    more = f", 4 of {len(law.dominant)}" if len(law.dominant) > 4 else ""
    assumed = [[a.name, "yes" if a.holds else "NO", str(a.detail)] for a in law.assumptions]
    return (
        table(["", "verdict", ""], [["regime", law.regime, distance], *verdicts])
        + table(["gap", "factor per layer"], rates)
        + table(["λ", "μ", "|1 + λμ|"], modes, f"Dominant modes{more}") * (not _unnamed(law))
        + f"<details><summary>Assumptions</summary>{table(['what', 'holds', 'seen'], assumed)}</details>"
    )


def _unnamed(law: Any) -> bool:
    """Whether modes have no eigenvalues of one attention: several heads, and cycles."""
    return any(np.isnan(mode.attention_eigenvalue) for mode in law.dominant)


def trajectory(run: Trajectory) -> str:
    """Return the metrics at the first layers, the last, and some between; medians for a batch."""
    count = run.layers.size
    places = sorted({round(k * (count - 1) / max(_LAYERS - 1, 1)) for k in range(_LAYERS)}) if count else []
    rows, batch = [], ()
    for name, values in run.metrics.items():
        host, errors = to_host(values), run.known_to(name)
        batch = host.shape[:-1]
        middle = [_median(host[..., k]) for k in places]
        rows.append(
            [name, *map(_number, middle), f"{np.max(errors[..., -1], initial=0):.1g}" if count else ""]
        )
    systems = f"medians over {int(np.prod(batch))} systems of batch shape {batch}; " if batch else ""
    left_out = f"{len(places)} of {count} recorded layers; " if count > len(places) else ""
    caption = f"{systems}{left_out}method {run.info.method} ({run.info.reason})"
    layers = [f"layer {run.layers[k]}" for k in places]
    hidden = any(np.any(first >= 0) for first in run.info.unmeasured_from.values())
    note = "nan: nobody knows the value, or there is none; run.info.unmeasured_from says from where on."
    return table(["metric", *layers, "error at the last"], rows, caption) + f"<p>{note}</p>" * hidden


def comparison(found: Comparison) -> str:
    """Return the table that :func:`linsim.compare` prints, with its advice."""
    header, rows, advice = found.as_table()
    return table(header, rows) + "".join(f"<p>{html.escape(text)}</p>" for text in advice)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> str:
    """Six digits; complex numbers as a + bi."""
    if isinstance(value, complex | np.complexfloating):
        return f"{value.real:.4g}{value.imag:+.4g}i"
    return f"{float(value):.6g}"


def _median(values: Any) -> float:
    return float(np.median(values)) if np.ndim(values) else float(values)


def _spread(values: Any) -> tuple[float, float, float]:
    host = np.asarray(hosted(values), dtype=float)
    return float(np.min(host)), float(np.median(host)), float(np.max(host))
