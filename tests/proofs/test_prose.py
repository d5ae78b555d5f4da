"""Formulas in sentences are typeset, and a proof page is printed whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

from proofs_check import STATEMENTS, prose, report
from proofs_check.check import Result

SENTENCES = {
    text
    for s in STATEMENTS.values()
    for text in (
        *(s.sentence, s.source, *s.tried, *s.only_symbolic.values()),
        *(witness for witness in s.witnesses.values() if isinstance(witness, str)),
        *(text for c in s.claims for text in (c.name, c.reduction, *c.given)),
        *(step.says for c in s.claims for step in c.steps),
    )
}


def test_there_are_sentences_to_look_at():
    assert len(SENTENCES) > 1000


def test_no_sentence_keeps_its_ascii_formulas():
    left = {}
    for text in SENTENCES:
        shown = re.sub("<code>.*?</code>", "", prose.as_html(text))
        if re.search(r"[_^]|<=|>=|-&gt;|[<>]=", re.sub(r"</?(?:i|sub|sup)>", "", shown)):
            left[text] = shown
        xml.etree.ElementTree.fromstring(f"<p>{prose.as_html(text)}</p>")  # well-formed, and escaped
    assert left == {}


def test_no_sentence_loses_a_letter():
    def words(text):
        return re.sub(r"[^A-Za-z0-9]", "", text)

    names = {sign: name for name, sign in prose.GREEK.items() if name != "eps"}
    for text in SENTENCES:
        plain = re.sub(r"</?(?:i|sub|sup|code)>", "", prose.as_html(text))
        plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        for sign, name in names.items():
            plain = plain.replace(sign, name)
        plain = plain.replace("⊥", "perp").replace("⊗", "x")
        assert words(plain) == words(re.sub(r"\beps\b", "epsilon", text)), text


def test_sentences_in_latex_are_balanced():
    for text in SENTENCES:
        shown = prose.as_latex(text)
        assert shown.isascii()
        bare = re.sub(r"\\[{}$_^]", "", shown)
        assert bare.count("{") == bare.count("}"), shown
        assert bare.count("$") % 2 == 0, shown
        outside = re.sub(r"\$[^$]*\$", "", bare)
        assert not re.search(r"[_^<>]", outside), shown


@pytest.mark.parametrize(
    ("text", "page", "latex"),
    [
        ("q_tok^2", "<i>q</i><sub>tok</sub><sup>2</sup>", r"$q_{\mathrm{tok}}^{2}$"),
        ("|X_(l+1)|_F", "|<i>X</i><sub><i>l</i>+1</sub>|<sub><i>F</i></sub>", r"$|X_{l+1}|_{F}$"),
        ("(1 + a)^(2l)", "(1 + <i>a</i>)<sup>2l</sup>", r"(1 + $a$)$^{2l}$"),
        ("rho_ij* is", "ρ<sub>ij*</sub> is", r"$\rho_{ij*}$ is"),
        ("a < b & c", "<i>a</i> &lt; <i>b</i> &amp; <i>c</i>", r"$a$ $<$ $b$ \& $c$"),
        ("a layer, A layer", "a layer, A layer", "a layer, A layer"),
        ("the rank_gap of <script>", "the <code>rank_gap</code> of &lt;script&gt;", None),
        ("unclosed x_(l+1", "unclosed <i>x</i><sub>(<i>l</i>+1</sub>", None),
        ("s^-2", "<i>s</i><sup>−2</sup>", "$s^{-2}$"),
    ],
)
def test_a_formula(text, page, latex):
    assert prose.as_html(text) == page
    if latex is not None:
        assert prose.as_latex(text) == latex


@pytest.fixture(scope="module")
def page():
    # how a page is printed does not depend on what was proved
    some = [s for s in STATEMENTS.values() if s.id.startswith("smooth")]
    found = {"engines": (), "decided": {}, "enclosures": 0, "needs": (), "problems": (), "seconds": 0.0}
    return report.as_html([Result(statement=s, verdict=s.aim, **found) for s in some])


def pages_of_print(folder, name, page):
    """How many pages Chromium prints, without script: the style alone must do."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no Chromium to print with; .ci/run installs it")
    (folder / f"{name}.html").write_text(re.sub("<script>.*?</script>", "", page, flags=re.DOTALL))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    command += [f"--print-to-pdf={folder}/{name}.pdf", f"file://{folder}/{name}.html"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return len(re.findall(rb"/Type\s*/Page\b", (folder / f"{name}.pdf").read_bytes()))


def test_proofs_are_printed_though_they_are_folded(tmp_path, page):
    folded = pages_of_print(tmp_path, "folded", page)
    unfolded = pages_of_print(tmp_path, "unfolded", page.replace("<details>", "<details open>"))
    assert folded == unfolded > 1


def test_older_browsers_unfold_by_script(page):
    assert "beforeprint" in page
    assert "afterprint" in page
