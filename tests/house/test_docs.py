"""The documentation without Sphinx: public names have a page, links lead somewhere, what is shown runs."""

from __future__ import annotations

import ast
import inspect
import json
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import linsim
import proofs_check
from linsim.app.help import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def public_modules():
    """What the configuration of the site promises, read without running it."""
    for node in ast.parse((DOCS / "conf.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "PUBLIC":
            return ast.literal_eval(node.value)
    raise AssertionError("docs/conf.py has no PUBLIC")


def described(module):
    """The names on the page of a module: all of its ``__all__`` but data, and the data that it adds."""
    page = (DOCS / "reference" / f"{module}.md").read_text()
    names = set(re.findall(r"^\.\. py:data:: (\w+)$", page, re.MULTILINE))
    if f".. automodule:: {module}\n   :members:\n   :imported-members:\n" in page:
        held = import_module(module)
        things = {name: getattr(held, name) for name in held.__all__}
        names |= {name for name, x in things.items() if inspect.isclass(x) or inspect.isroutine(x)}
    return names


@pytest.mark.parametrize("module", public_modules())
def test_every_public_name_is_in_the_reference(module):
    held = import_module(module)
    wanted = {name for name in held.__all__ if not inspect.ismodule(getattr(held, name))}
    assert wanted - described(module) == set()
    undocumented = [
        name
        for name in wanted
        if (inspect.isclass(x := getattr(held, name)) or inspect.isroutine(x)) and not inspect.getdoc(x)
    ]
    assert undocumented == []  # Sphinx leaves them out


def test_every_public_module_is_in_the_reference():
    """Modules that linsim exports, and those that are imported apart."""
    exported = {f"linsim.{name}" for name in linsim.__all__ if inspect.ismodule(getattr(linsim, name))}
    listed = (DOCS / "reference" / "index.md").read_text().split()
    assert exported | {"linsim", "linsim.testing", "linsim.sweeps", proofs_check.__name__} <= set(
        public_modules()
    )
    assert set(public_modules()) <= set(listed)
    for module in public_modules():
        assert module in listed
    known = {info.name for info in iter_modules(linsim.__path__)}
    assert {m.split(".")[1] for m in public_modules() if m.startswith("linsim.")} <= known


def test_every_command_is_in_the_reference():
    page = (DOCS / "reference" / "commands.md").read_text()
    for name, example in EXAMPLES.items():
        assert re.search(rf"^\| `{name}` \| .+ \| `{re.escape(example)}` \|$", page, re.MULTILINE)


LINK = re.compile(r"(?<!`)\[[^\]\n]+\]\(([^)\s#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=str)
def test_links_lead_to_files(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


def test_every_page_is_reached_from_the_first():
    def entries(path):
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            yield from (line for line in block.split() if not line.startswith(":") and not line.isdigit())

    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        path = waiting.pop()
        reached.add(path)
        for entry in entries(path):
            found = [path.parent / f"{entry}{end}" for end in (".md", ".ipynb")]
            found = [f.resolve() for f in found if f.is_file()]
            assert found, f"{path.name} lists {entry}"
            waiting += [f for f in found if f.suffix == ".md" and f not in reached]
            reached.update(found)
    assert set(PAGES) | set(NOTEBOOKS) == reached


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_as_they_ran(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"execute_result", "stream", "display_data"}
    assert not [o for o in outputs if o.get("name") == "stderr"]  # no warning
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert "text/html" in shown or "image/svg+xml" in shown
    assert "/home/" not in json.dumps(outputs)


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3


def test_the_tutorial_ends_with_a_picture(tmp_path, monkeypatch):
    text = (DOCS / "tutorial.md").read_text()
    (code,) = re.findall(r"<!-- run by .*? -->\n```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "mine.py", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "mine.svg").read_text().startswith("<?xml")


def test_the_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {linsim.__version__}\n" in text
    assert "cff-version: 1.2.0" in text
    for paper in ("2401.04301", "2312.06182"):
        assert paper in text


def test_the_readme_is_short():
    """Two screens: what does not fit has a page of its own."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110
