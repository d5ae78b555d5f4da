"""One import name: what linsim needs is found beside a user's own files of every likely name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: the block of Python in the README that imports one of our own folders
CELL = next(
    block
    for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    if "linsim.figures" in block
)

# What a folder of a paper may hold; whoever imports one of them instead of ours sees it raise
MODULES = (
    "figures",
    "demo",
    "cli",
    "files",
    "bench",
    "app",
    "gallery",
    "style",
    "report",
    "checks",
    "streams",
)
PACKAGES = ("benchmarks", "proofs", "examples", "tests")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A folder full of names that linsim uses inside, or once used outside."""
    folder = tmp_path_factory.mktemp("paper")
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"raise ImportError('the {name} of the user')\n")
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise ImportError('the {name} of the user')\n")
    return folder


def python(folder, *arguments, path=None):
    """Run this Python in a folder, which comes first where it looks for modules, then ``path``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def installed_at():
    """Where ``import linsim`` leads without any help from here, or what it says instead."""
    shown = python(Path(sys.prefix), "-c", "import linsim; print(linsim.__file__)")
    return shown.stdout.strip() or shown.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module", params=["checkout", "installed"])
def path(request):
    """The checkout on PYTHONPATH and nothing else; and what pip installed (a wheel, or editable)."""
    if request.param == "checkout":
        return ROOT
    found = installed_at()
    if not found.startswith((sys.prefix, str(ROOT))):
        pytest.skip(f"this environment has not installed this checkout: {found}")
    return None


COMMANDS = {
    "figures": (["figures", "regime_disk", "--out", "drawn"], 0, "regime_disk.txt"),
    "bench": (["bench", "--quick", "--workload", "small", "--peers", "linsim", "--repeats", 1], 0, "small"),
    "prove": (["prove", "dominance.boundary"], 0, "dominance.boundary"),
    # the arguments are read after the figures have been imported
    "demo": (["demo", "--seed", -1], 2, "seed"),
    "predict": (["predict", "--attention", "none.npy", "--weights", "none.npy"], 2, "none.npy"),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_work_beside_the_users_own_files(name, theirs, path):
    arguments, code, said = COMMANDS[name]
    shown = python(theirs, "-m", "linsim", *arguments, path=path)
    assert "Traceback" not in shown.stderr, shown.stderr
    assert shown.returncode == code, shown.stderr
    assert said in (shown.stderr if code else shown.stdout)


def test_the_readme_works_beside_the_users_own_files(theirs, path):
    (theirs / "cell.py").write_text(CELL)
    shown = python(theirs, "cell.py", path=path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip().endswith("[1 1]")


def test_figures_are_those_of_this_installation(theirs, path):
    code = """
import linsim, linsim.figures, linsim.figures.style
from pathlib import Path
home = Path(linsim.__file__).parent
print(linsim.figures.style.__name__, *(Path(p).relative_to(home.parent) for p in linsim.figures.__path__))
"""
    shown = python(theirs, "-c", code, path=path)
    name, where = shown.stdout.split()
    assert name == "linsim.figures.style"
    # beside the package in a checkout, also an editable one; inside it in a wheel
    in_checkout = path is not None or installed_at().startswith(str(ROOT / "linsim"))
    assert Path(where) == (Path("figures") if in_checkout else Path("linsim/figures"))


def test_the_current_folder_is_enough():
    shown = python(ROOT, "-c", "from linsim.figures import phase_diagram; print(phase_diagram.__file__)")
    assert shown.stdout.strip() == str(ROOT / "figures" / "phase_diagram.py"), shown.stderr


def test_the_users_own_files_would_be_seen(theirs):
    """The test can fail: a bare import finds what the user has."""
    for name in (*MODULES, *PACKAGES):
        shown = python(theirs, "-c", f"import {name}", path=ROOT)
        assert f"the {name} of the user" in shown.stderr
