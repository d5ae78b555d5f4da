"""What a notebook shows: every result as well-formed HTML that says what the text says, and a short repr."""

from __future__ import annotations

import html.parser
import xml.etree.ElementTree

import numpy as np
import pytest
import sympy

import linsim
from proofs_check import STATEMENTS, certify, check, dominance_condition

A, H = linsim.attention.softmax(6, 4, rng=0), linsim.weights.from_spectrum([-0.9, -0.5, -0.2], rng=0)
X = linsim.tokens.gaussian(6, 3, rng=0)
RULE = linsim.Linear(A, H)
BATCH = linsim.Linear(A, np.stack([H, -H]))
RUN = linsim.simulate(RULE, X, 400)
LAW = linsim.predict(RULE, x0=X)
TWO = linsim.simulate(BATCH, X, 400)

RESULTS = {
    "prediction": lambda: LAW,
    "prediction of a batch": lambda: linsim.predict(BATCH),
    "prediction of complex modes": lambda: linsim.predict(A, np.array([[-0.5, 3.0], [-3.0, -0.5]])),
    "prediction of zero": lambda: linsim.predict(np.full((2, 2), 0.5), -np.eye(1), x0=[[1.0], [1.0]]),
    "prediction of heads": lambda: linsim.predict(linsim.MultiHead(np.stack([A, A]), np.stack([H, H / 2]))),
    "prediction of weights": lambda: linsim.predict(None, H),
    "trajectory": lambda: RUN,
    "trajectory of a batch": lambda: TWO,
    "trajectory of one layer": lambda: linsim.simulate(RULE, X, 0),
    "trajectory of no metric": lambda: linsim.simulate(RULE, X, 3, metrics=[]),
    "comparison": lambda: linsim.compare(LAW, RUN),
    "comparison of a batch": lambda: linsim.compare(linsim.predict(BATCH), TWO),
    "comparison with advice": lambda: linsim.compare(LAW, linsim.simulate(RULE, X, 9)),
    "step": lambda: linsim.theory.step(RULE, X),
    "proof": lambda: check(STATEMENTS["smooth.interval"]),
    "certificate": lambda: certify(A, H),
    "condition": lambda: dominance_condition(sympy.symbols("lambda") * sympy.symbols("mu")),
}


class _Balanced(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.open += [tag] * (tag != "br")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", RESULTS)
def test_html_is_well_formed_and_the_repr_is_short(name):
    result = RESULTS[name]()
    shown = result._repr_html_()
    parser = _Balanced()
    parser.feed(shown)
    assert parser.open == []
    if name != "proof":
        assert len(repr(result)) < 1500
        assert "array(" not in repr(result)
        xml.etree.ElementTree.fromstring(f"<div>{shown.replace('<br>', '<br/>')}</div>")


def cells(result):
    table = xml.etree.ElementTree.fromstring(f"<div>{result._repr_html_()}</div>")
    return {
        row[0].text: ["".join(cell.itertext()) for cell in row[1:]]
        for row in table.iter("tr")
        if len(row) > 1
    }


def test_a_prediction_shows_its_numbers():
    shown = cells(LAW)
    assert shown["regime"][0] == "sharpening"
    assert shown["rank"][0] == "collapses to 1"
    assert shown["tokens"] == ["stay apart", f"HFC/LFC tends to {LAW.limit_hfc_lfc:.4g}"]
    assert float(shown["rank gap"][0]) == pytest.approx(LAW.rates["rank_gap"], rel=1e-5)
    assert shown["token diversity"][0] == "does not close geometrically"
    for assumption in LAW.assumptions:
        assert shown[assumption.name][0] == ("yes" if assumption.holds else "NO")


def test_a_trajectory_shows_its_first_and_last_layer():
    shown = cells(RUN)
    assert shown["metric"] == [*(f"layer {k}" for k in (0, 100, 200, 300, 400)), "error at the last"]
    for name, values in RUN.metrics.items():
        assert [float(cell) for cell in shown[name][:5]] == pytest.approx(
            [float(values[k]) for k in (0, 100, 200, 300, 400)], rel=1e-5, nan_ok=True
        )
    middle = np.median(TWO.metrics["log_norm"][:, -1])
    assert float(cells(TWO)["log_norm"][4]) == pytest.approx(middle, rel=1e-5)


def test_a_comparison_shows_what_it_prints():
    found = linsim.compare(LAW, RUN)
    for gap, row in found.rows.items():
        assert cells(found)[gap][-1] == row.verdict
        assert gap in str(found)
    shallow = linsim.compare(LAW, linsim.simulate(RULE, X, 9))
    assert "run to depth" in shallow._repr_html_()


def test_a_proof_is_typeset():
    shown = check(STATEMENTS["smooth.interval"])._repr_html_()
    assert "<math" in shown
    assert "<details>" in shown


def test_without_the_converter_the_text_is_left(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "latex2mathml.converter", None)
    assert check(STATEMENTS["smooth.interval"])._repr_html_() is None


def test_text_is_escaped():
    from linsim._html import table

    assert "<b>" not in table(["<b>"], [["<b>", "&"]], "<b>")
