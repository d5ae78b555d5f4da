"""The tables of docs/training.md are those of the runs that are kept beside the figures."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
#: columns of the page with those of the runs, behind the ones that say which runs a row is about
COLUMNS = {
    "accuracy": "accuracy",
    "loss": "loss",
    "train_loss": "train_loss",
    "t_sim before": "token_similarity_at_start",
    "after": "token_similarity",
    "ln HFC/LFC": "log_hfc_lfc",
    "measured": "measured",
    "one step": "step",
    "law": "law",
    "law's sign": "law_has_the_sign",
}
KEYS = {"filters": ("depth", "fraction", "corruption", "filter"), "norms": ("depth", "norm")}


def runs(name):
    with open(ROOT / "figures" / f"training_{name}.csv", encoding="utf-8") as file:
        file.readline()  # versions
        return list(csv.DictReader(file))


def table(name):
    """Rows of the page's table as dictionaries; columns are parted by two spaces."""
    for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        head, *rows = ([x.strip() for x in re.split(r" {2,}", line.strip())] for line in block.splitlines())
        if KEYS[name][-1] in head and name == ("filters" if "filter" in head else "norms"):
            return [dict(zip(head, row, strict=True)) for row in rows]
    raise AssertionError(f"no table of {name}")


def same(x, y):
    try:
        return float(x) == float(y)
    except ValueError:
        return x == y


@pytest.mark.parametrize("name", KEYS)
def test_every_mean_and_interval_follows_from_the_runs(name):
    made, left = runs(name), len(runs(name))
    for row in table(name):
        of = [r for r in made if all(same(r[key], row[key]) for key in KEYS[name])]
        assert len(of) == int(row["seeds"]), row
        left -= len(of)
        for shown, column in COLUMNS.items():
            if shown not in row:
                continue
            values = np.array([float(r[column]) for r in of])
            mean, _, half = row[shown].rstrip("%").partition("±")
            scale, places = (100 if "%" in row[shown] else 1), len(mean.partition(".")[2])
            # both are rounded, the runs to four places or more
            assert abs(float(mean) - scale * values.mean()) <= 0.5 * 10**-places + 0.5e-4 * scale, (
                row,
                shown,
            )
            if half:
                error = t.ppf(0.975, len(of) - 1) * values.std(ddof=1) / len(of) ** 0.5
                assert abs(float(half) - error) <= 0.5 * 10**-places + 1e-4, (row, shown)
    assert left == 0  # every run is in the table


def test_the_page_says_how_many_runs_there_are():
    counts = [len(runs(name)) for name in KEYS]
    assert f"{counts[0]} of 360 and {counts[1]} of 60 runs" in PAGE
