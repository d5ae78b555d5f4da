"""The arrows between modules: no circle, none from the library up, no private name from another package,
and none between what measures and what predicts but the one that picks a split.

Imports are read from the source, at the top of a module and inside functions alike: one put off until
a function runs is an arrow as well.  One under ``if TYPE_CHECKING`` binds nothing, and closes no circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: where the modules of each import name lie
FOLDERS = {"linsim": "linsim", "linsim.figures": "figures", "proofs_check": "proofs_check"}

#: who keeps private names to itself; a module is of the first that its name begins with
PACKAGES = ("linsim.app", "linsim.bench", "linsim.figures", "proofs_check", "linsim")

#: what each may import from, beside itself; the library, ``linsim``, from nobody
BELOW = {
    "linsim": set(),
    "proofs_check": {"linsim"},
    "linsim.figures": {"linsim"},
    "linsim.bench": {"linsim", "linsim.figures"},
    "linsim.app": {"linsim", "linsim.bench", "linsim.figures", "proofs_check"},
}

#: the side that predicts
PREDICTS = ("linsim.theory",)

#: what runs layers and measures states: nothing that predicts may look at it
MEASURES = (
    "linsim._engines",
    # of the kernels those that walk and measure; the rest is linear algebra across lanes
    "linsim._kernels.angles",
    "linsim._kernels.jump",
    "linsim._kernels.layer",
    "linsim._kernels.measure",
    "linsim._kernels.noise",
    "linsim._kernels.onward",
    "linsim._kernels.parts",
    "linsim._kernels.rounding",
    "linsim._kernels.rowwise",
    "linsim._kernels.shadows",
    "linsim._kernels.slots",
    "linsim._kernels.states",
    "linsim._kernels.sums",
    "linsim._kernels.walk",
    "linsim._recorded",
    "linsim._shadow",
    "linsim._simulate",
    "linsim._split",
    "linsim._state",
    "linsim.metrics",
    "linsim.trajectory",
)

#: where the two sides meet; everything else in the library must do without the one that predicts
MEETS = ("linsim._compare", "linsim._compile", "linsim.sweeps", "linsim.escalation", "linsim.testing")

#: the one place on the measuring side that asks which modes win: it picks what a state is split along
PICKS_A_SPLIT = ("linsim._split", "linsim.theory.dominance")

#: ``python -m linsim`` is a door of the application that has to lie in the library's folder
DOORS = {"linsim.__main__": "linsim.app"}


@dataclass(frozen=True, order=True)
class Arrow:
    """One module imports another, or a name of it, or reads an attribute of it (then ``name`` is that)."""

    importer: str
    imported: str
    name: str = ""
    typing: bool = False

    def __str__(self) -> str:
        return f"{self.importer} -> {self.imported}" + f".{self.name}" * bool(self.name)


# --- reading -----------------------------------------------------------------------------


def sources() -> dict[str, str]:
    """Return the source of every module by its name; a package goes by its own."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.is_relative_to(ROOT / "linsim" / "figures"):
                continue  # a stand-in, which runs nothing but what is in figures/
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = path.read_text(encoding="utf-8")
    return found


def package_of(module: str) -> str:
    """Return which of PACKAGES a module is in."""
    module = DOORS.get(module, module)
    return next(package for package in PACKAGES if f"{module}.".startswith(f"{package}."))


def arrows(modules: Mapping[str, str], only: str | None = None) -> Iterator[Arrow]:
    """Read every arrow between these modules, or those that leave one of them ``only``."""
    packages = {name.rpartition(".")[0] for name in modules} & modules.keys()
    for importer, source in modules.items() if only is None else [(only, modules[only])]:
        yield from _Reader(importer, importer in packages, modules).read(source)


class _Reader(ast.NodeVisitor):
    """Reads the arrows that leave one module."""

    def __init__(self, importer: str, is_package: bool, modules: Mapping[str, str]) -> None:
        self.importer, self.modules = importer, modules
        self.home = importer if is_package else importer.rpartition(".")[0]
        self.typing = False
        self.bound: dict[str, str] = {}  # local name -> module that it stands for
        self.found: list[Arrow] = []

    def read(self, source: str) -> list[Arrow]:
        tree = ast.parse(source)
        self.visit(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                self._attribute(node)
        return self.found

    def visit_If(self, node: ast.If) -> None:
        before = self.typing
        self.typing = before or ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in node.body:
            self.visit(child)
        self.typing = before
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._arrow(alias.name)
            whole = alias.name if alias.asname else alias.name.partition(".")[0]
            self.bound[alias.asname or whole] = whole

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            above = self.home.split(".")
            base = ".".join([*above[: len(above) - node.level + 1], *filter(None, [base])])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            if whole in self.modules:
                self._arrow(whole)
                self.bound[alias.asname or alias.name] = whole
            else:
                self._arrow(base, alias.name)

    def _attribute(self, node: ast.Attribute) -> None:
        """Read ``module.name``, where ``module`` was imported here."""
        parts = ast.unparse(node.value).split(".")
        whole = ".".join([self.bound.get(parts[0], ""), *parts[1:]])
        if whole in self.modules and f"{whole}.{node.attr}" not in self.modules:
            self.found.append(Arrow(self.importer, whole, node.attr))

    def _arrow(self, imported: str, name: str = "") -> None:
        """Record an import; it also runs each package on the way that does not hold the importer."""
        if imported not in self.modules:
            return
        parts = imported.split(".")
        for end in range(1, len(parts)):
            package = ".".join(parts[:end])
            if not f"{self.importer}.".startswith(f"{package}."):
                self.found.append(Arrow(self.importer, package, typing=self.typing))
        self.found.append(Arrow(self.importer, imported, name, self.typing))


# --- the four rules ----------------------------------------------------------------------


def circles(found: list[Arrow]) -> list[list[str]]:
    """Return every set of two or more modules that all reach each other."""
    ahead: dict[str, set[str]] = {}
    for arrow in found:
        ahead.setdefault(arrow.importer, set())
        if not arrow.typing and arrow.imported != arrow.importer:
            ahead[arrow.importer].add(arrow.imported)
    reached = {module: _reached(module, ahead) for module in ahead}
    groups = {
        tuple(sorted(n for n in reached[module] if module in reached.get(n, ())))
        for module in ahead
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def _reached(start: str, ahead: Mapping[str, set[str]]) -> set[str]:
    """Return what can be reached along one arrow or more."""
    reached: set[str] = set()
    waiting = list(ahead[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += ahead.get(module, ())
    return reached


def upward(found: list[Arrow]) -> list[str]:
    """Return every arrow to a package that lies not below."""
    return sorted(
        {
            str(arrow)
            for arrow in found
            if (home := package_of(arrow.importer)) != (there := package_of(arrow.imported))
            and there not in BELOW[home]
        }
    )


def private(found: list[Arrow]) -> list[str]:
    """Return every private name, module or attribute, that is taken across packages."""
    return sorted(
        {
            str(arrow)
            for arrow in found
            if package_of(arrow.importer) != package_of(arrow.imported)
            and any(_is_private(part) for part in (*arrow.imported.split("."), arrow.name))
        }
    )


def sides_crossed(found: list[Arrow]) -> list[str]:
    """Return every arrow between what measures and what predicts, but for the one that picks a split."""
    crossed = set()
    for arrow in found:
        here, there = arrow.importer, arrow.imported
        if package_of(here) != "linsim" or here == "linsim" or _within(here, MEETS):
            continue
        if _within(here, PREDICTS):
            wrong = _within(there, MEASURES + MEETS)
        else:
            package = PICKS_A_SPLIT[1].rpartition(".")[0]  # which an import of the module runs as well
            allowed = (here, there) == PICKS_A_SPLIT or arrow == Arrow(PICKS_A_SPLIT[0], package)
            wrong = _within(there, PREDICTS) and not allowed
        if wrong:
            crossed.add(str(arrow))
    return sorted(crossed)


def _within(module: str, places: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{place}.") for place in places)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


# --- what they find ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules():
    return sources()


@pytest.fixture(scope="module")
def found(modules):
    return list(arrows(modules))


def test_no_circle(found):
    assert circles(found) == []


def test_no_arrow_up_from_the_library(found):
    assert upward(found) == []


def test_no_private_name_from_another_package(found):
    assert private(found) == []


def test_what_measures_and_what_predicts_share_nothing_but_linear_algebra(found):
    assert sides_crossed(found) == []
    # the one arrow is there, and what it needs to be told apart from is not
    assert PICKS_A_SPLIT in {(arrow.importer, arrow.imported) for arrow in found}


# --- that they would find it -------------------------------------------------------------


def test_every_module_is_read(modules, found):
    assert {package_of(name) for name in modules} == set(PACKAGES)
    assert "linsim.figures.gallery" in modules
    shown = {(arrow.importer, arrow.imported) for arrow in found}
    assert ("linsim.sweeps._work", "linsim.streams") in shown  # from .module import name
    assert ("linsim.sweeps._work", "linsim._validate") in shown  # from . import module
    assert ("linsim.app.cli", "linsim.bench.runner") in shown  # inside a function
    assert ("linsim.app.demo", "linsim") in shown  # from .. import name
    assert ("proofs_check.certificates", "linsim.checks") in shown  # from package import module


# where a line is added, the line, and which of the rules must object, with what
WRONG = {
    "up, relative": ("linsim.tokens", "from .app import cli", upward, "linsim.tokens -> linsim.app.cli"),
    "up, by its whole name": (
        "linsim.theory.bounds",
        "import linsim.bench.report",
        upward,
        "linsim.theory.bounds -> linsim.bench.report",
    ),
    "up, inside a function": (
        "linsim.sweeps._run",
        "def later():\n    from linsim.figures import make",
        upward,
        "linsim.sweeps._run -> linsim.figures.make",
    ),
    "up, for its types": (
        "linsim.rules",
        "if TYPE_CHECKING:\n    import proofs_check",
        upward,
        "linsim.rules -> proofs_check",
    ),
    "sideways": ("linsim.figures.style", "from ..bench import peers", upward, "linsim.bench.peers"),
    "the proofs upward": ("proofs_check.steps", "import linsim.app.cli", upward, "linsim.app.cli"),
    "a metric that asks a law": (
        "linsim._recorded",
        "def later():\n    from .theory import predict",
        sides_crossed,
        "linsim._recorded -> linsim.theory.predict",
    ),
    "an engine that takes the law of a split": (
        "linsim._engines.modal",
        "from ..theory.dominance import dominance",
        sides_crossed,
        "linsim._engines.modal -> linsim.theory.dominance.dominance",
    ),
    "a split that asks for more than modes": (
        "linsim._split",
        "from .theory import predict",
        sides_crossed,
        "linsim._split -> linsim.theory.predict",
    ),
    "a law that measures": (
        "linsim.theory.rates",
        "from ..metrics import measure",
        sides_crossed,
        "linsim.theory.rates -> linsim.metrics",
    ),
    "a new module on the measuring side": (
        "linsim._cloud",
        "from .theory import bounds",
        sides_crossed,
        "linsim._cloud -> linsim.theory.bounds",
    ),
    "private module": ("linsim.bench.peers", "from linsim import _simulate", private, "linsim._simulate"),
    "private name": (
        "linsim.app.files",
        "from ..theory.rates import _log",
        private,
        "linsim.theory.rates._log",
    ),
    "private name of a private module": (
        "proofs_check.steps",
        "from linsim.sweeps._run import sweep",
        private,
        "linsim.sweeps._run.sweep",
    ),
    "private attribute": (
        "linsim.figures.style",
        "import linsim as ls\nls.theory.rates._log(1)",
        private,
        "linsim.theory.rates._log",
    ),
    "circle of two": ("linsim.errors", "from . import tokens", circles, "linsim.tokens"),
    "circle through a function": (
        "linsim.errors",
        "def later():\n    from .tokens import gaussian",
        circles,
        "linsim.errors",
    ),
    "circle through a package": ("linsim.theory.rates", "import linsim", circles, "linsim.theory.rates"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_arrow_is_found(case, modules, found):
    importer, line, rule, said = WRONG[case]
    before = rule(found)
    changed = modules | {importer: f"{modules[importer]}\n{line}\n"}
    after = rule([arrow for arrow in found if arrow.importer != importer] + list(arrows(changed, importer)))
    new = [item for item in after if item not in before]
    assert said in str(new)


def test_what_is_only_for_types_makes_no_circle(modules):
    line = "if TYPE_CHECKING:\n    from . import tokens\n"
    changed = modules | {"linsim.errors": modules["linsim.errors"] + line}
    assert circles(list(arrows(changed))) == []
