"""`linsim report`: the page in a real browser, its numbers beside Python's."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import chromium
import numpy as np
import pytest

import linsim
from linsim import attention, weights
from linsim.app import report

pytestmark = pytest.mark.skipif(chromium.path() is None, reason="no Chromium in PATH (.ci/run installs it)")

GAPS = ("token_diversity", "cosine_gap", "rank_gap")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page with two figures and few statements: the rest is more of the same."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linsim.figures.gallery.NAMES", ("pure_attention", "complex_disks"))
        patch.setattr(report, "_FAMILIES", ("sharpen.", "smooth."))
        patch.setenv("LINSIM_CACHE", str(folder / "cache"))
        path = folder / "index.html"
        path.write_text(report.page(quick=True), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(written, tmp_path_factory):
    with chromium.page(tmp_path_factory.mktemp("profile")) as opened:
        opened.emulate(1200, 900)
        opened.open(written.as_uri())
        yield opened


def test_nothing_goes_wrong_and_nothing_is_asked_of_the_network(browser, written):
    assert browser.run("document.querySelectorAll('figure img').length") == 2
    assert browser.run("[...document.images].every((i) => (i.loading = 'eager') && i.decode())")
    assert browser.errors == []
    text = written.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert not re.search(r"@import|url\(", text)


def test_every_part_is_there(browser):
    for part in ("diagram", "gallery", "statements", "findings", "provenance"):
        assert browser.run(f"document.getElementById('{part}').tagName") == "H2"
    assert browser.run("document.querySelectorAll('math').length") > 10
    assert "1/(1+a)" in browser.run("document.body.innerText").replace(" ", "")
    # all anchors lead somewhere
    assert browser.run(
        "[...document.querySelectorAll('a[href^=\"#\"]')].every((a) => "
        "document.getElementById(a.hash.slice(1)))"
    )


def law_in_page(browser, n, lowest, re_, im, second):
    script = f"""(() => {{ const L = linsimLaw;
        const s = L.spectrum({n}, {lowest}), w = L.weights({re_}, {im}, {second});
        return {{ lambdas: s, mus: w, law: L.law(s, w), path: L.logHfcLfc(s, w, [0, 1, 2, 40]) }}; }})()"""
    return browser.run(script)


def test_the_law_of_the_page_is_that_of_python(browser):
    rng = np.random.default_rng(0)
    seen = set()
    for k in range(40):
        n = int(rng.integers(2, 20))
        lowest = round(float(rng.uniform(-0.5, 0.04)), 2)
        re_, second = (round(float(x), 2) for x in rng.uniform(-5, 3, 2))
        im = 0 if k % 3 == 0 else round(float(rng.uniform(0, 3)), 2)
        if k % 10 == 9:
            second, im = re_, 0  # a tie of two weight eigenvalues
        found = law_in_page(browser, n, lowest, re_, im, second)
        A = attention.from_spectrum(found["lambdas"], rng=k)
        mus = np.array(found["mus"]) @ [1, 1j]
        H = weights.from_spectrum(mus.real if np.all(mus.imag == 0) else mus, rng=k)
        law = linsim.predict(A, H)
        at = (n, lowest, re_, im, second)
        assert found["law"]["regime"] == law.regime, at
        assert found["law"]["limit_rank"] == law.limit_rank, at
        np.testing.assert_allclose(found["law"]["margin"], law.margin, rtol=0, atol=1e-9, err_msg=str(at))
        for gap in GAPS:
            np.testing.assert_allclose(found["law"]["rates"][gap], law.rates[gap], rtol=1e-9, err_msg=str(at))
        seen.add((law.regime, law.limit_rank))
    assert {("smoothing", 1), ("sharpening", 1)} <= seen


@pytest.mark.parametrize(
    ("lambdas", "mus", "regime", "rank"),
    [
        ([1, 0, 0, 0], [-0.5, -0.7, -1.2], "sharpening", 3),  # lambda = 0 ties every mu
        ([1, 0], [-2.0, 0.0], "balanced", 2),
        ([1, -0.5], [2.0, -4.0], "balanced", 2),
        ([1, 0.5], [1.0, 1.0], "smoothing", 1),
    ],
)
def test_ties_in_the_page_are_ties_in_python(browser, lambdas, mus, regime, rank):
    pairs = [[mu, 0] for mu in mus]
    found = browser.run(f"linsimLaw.law({lambdas}, {pairs})")
    law = linsim.predict(attention.from_spectrum(lambdas, rng=0), np.diag(mus))
    assert (found["regime"], found["limit_rank"]) == (regime, rank) == (law.regime, law.limit_rank)
    for gap in GAPS:
        np.testing.assert_allclose(found["rates"][gap], law.rates[gap], rtol=1e-9)


def test_the_curve_of_the_page_is_a_simulation(browser):
    found = law_in_page(browser, 8, -0.3, -0.8, 0.7, 0.4)
    rng = np.random.default_rng(0)
    n, d = 8, 3
    # symmetric and normal matrices of which the eigenvectors are known, and tokens with all coefficients 1
    V = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, n - 1))]))[0]
    A = (V * found["lambdas"]) @ V.T
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    H = Q @ np.array([[-0.8, -0.7, 0], [0.7, -0.8, 0], [0, 0, 0.4]]) @ Q.T
    # a conjugate pair of coefficients of modulus 1 is a real plane vector of length sqrt(2)
    x0 = V @ np.ones((n, 1)) @ np.array([[2**0.5, 0, 1]]) @ Q.T
    rule = linsim.Linear(attention.general(A), H)
    run = linsim.simulate(rule, x0, 40, layers=[0, 1, 2, 40], metrics=["log_hfc_lfc"])
    np.testing.assert_allclose(found["path"], run.metrics["log_hfc_lfc"], rtol=0, atol=1e-9)


def test_a_control_is_moved_by_keyboard_and_its_number_is_pythons(browser):
    browser.run("document.getElementById('re').focus()")
    before = float(browser.run("document.getElementById('re').value"))
    for _ in range(3):
        browser.press("ArrowRight", 39)
    assert float(browser.run("document.getElementById('re').value")) == pytest.approx(before + 0.03)
    values = browser.run(
        "Object.fromEntries(['re', 'im', 'second', 'lowest', 'n', 'depth'].map((i) => [i, "
        "+document.getElementById(i).value]))"
    )
    shown = browser.run(
        "Object.fromEntries([...document.querySelectorAll('dd')].map((d) => [d.id, d.dataset.value]))"
    )
    lambdas = browser.run(f"linsimLaw.spectrum({values['n']}, {values['lowest']})")
    mu = complex(values["re"], values["im"])
    A = attention.from_spectrum(lambdas, rng=1)
    law = linsim.predict(A, weights.from_spectrum([mu, mu.conjugate(), values["second"]], rng=1))
    assert shown["regime"] == law.regime
    assert int(shown["limit-rank"]) == law.limit_rank
    assert float(shown["margin"]) == pytest.approx(law.margin, abs=1e-9)
    for gap in GAPS:
        assert float(shown[f"rate-{gap}"]) == pytest.approx(law.rates[gap], rel=1e-9)
    # a click in the plane moves mu there
    browser.run("document.getElementById('plane').scrollIntoView()")
    box = browser.run(
        "(({x, y, width, height}) => "
        "({x, y, width, height}))(document.getElementById('plane').getBoundingClientRect())"
    )
    at = {
        "x": box["x"] + box["width"] / 2,
        "y": box["y"] + box["height"] / 2,
        "button": "left",
        "clickCount": 1,
    }
    for kind in ("mousePressed", "mouseReleased"):
        browser.send("Input.dispatchMouseEvent", type=kind, **at)
    assert float(browser.run("document.getElementById('re').value")) == pytest.approx(-1, abs=0.02)
    assert float(browser.run("document.getElementById('im').value")) == pytest.approx(1.5, abs=0.02)
    assert browser.errors == []


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_screen_and_text_is_legible_in_both_themes(browser, width):
    for dark in (False, True):
        browser.emulate(width, 800, dark=dark)
        assert browser.run("document.documentElement.scrollWidth") <= width
        ground, ink = (
            np.array(
                [
                    int(x)
                    for x in re.findall(r"\d+", browser.run(f"getComputedStyle(document.body).{what}"))[:3]
                ]
            )
            for what in ("backgroundColor", "color")
        )
        assert (ground.mean() < 80) == dark
        assert abs(ground.mean() - ink.mean()) > 150
    browser.emulate(1200, 900)


def test_every_control_has_a_name_and_can_be_reached_by_tab(browser):
    assert browser.run("[...document.querySelectorAll('input')].every((i) => i.labels.length === 1)")
    assert browser.run("[...document.querySelectorAll('input')].every((i) => i.tabIndex >= 0)")
    assert browser.run("[...document.images].every((i) => i.alt.length > 10)")


def test_the_mathematics_is_well_formed(written):
    text = written.read_text(encoding="utf-8")
    formulas = re.findall(r"<math.*?</math>", text, flags=re.DOTALL)
    assert len(formulas) > 10
    for formula in formulas:
        assert "\\" not in "".join(ElementTree.fromstring(formula).itertext())


def test_what_is_folded_is_printed(browser, written):
    folds = browser.run("document.querySelectorAll('details').length")
    assert folds > 5
    whole = len(re.findall(rb"/Type\s*/Page\b", browser.pdf()))
    # the same page without what is folded away
    browser.run("document.querySelectorAll('details > :not(summary)').forEach((e) => e.remove())")
    assert len(re.findall(rb"/Type\s*/Page\b", browser.pdf())) < whole
    browser.open(Path(written).as_uri())
