"""What the shell offers at the Tab key: names, each looked up only when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

__all__ = ["engines", "figures", "metrics", "statements", "workloads"]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def figures(incomplete: str) -> list[str]:
    """Names of figures."""
    from ..figures import gallery

    return _beginning(incomplete, gallery.NAMES)


def statements(incomplete: str) -> list[str]:
    """Families and statements of the theory."""
    # a statement is a file, and its path its name: the catalogue itself takes seconds to import
    found = find_spec("proofs_check")
    folders = found.submodule_search_locations if found is not None else None
    paths = [path for folder in folders or () for path in Path(folder).glob("statements/*/*.py")]
    ids = sorted(
        f"{path.parent.name}.{path.stem.rstrip('_')}"
        for path in paths
        if path.stem not in ("__init__", "shared")
    )
    return _beginning(incomplete, [*dict.fromkeys(name.partition(".")[0] for name in ids), *ids])


def engines(incomplete: str) -> list[str]:
    """What ``--method`` takes."""
    from .. import METHODS

    return _beginning(incomplete, METHODS)


def metrics(incomplete: str) -> list[str]:
    """The last of a list of metrics, with those before it."""
    from ..metrics import REGISTRY

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in _beginning(last, REGISTRY)]


def workloads(incomplete: str) -> list[str]:
    """Workloads of the benchmark."""
    from ..bench.workloads import WORKLOADS

    return _beginning(incomplete, WORKLOADS)
