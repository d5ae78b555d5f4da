"""Data of figures, kept on disk: computed again only where arguments, or code that computes, have changed."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import inspect
import io
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

import linsim
from linsim import checks
from linsim.errors import InvalidTypeError

if TYPE_CHECKING:
    import xarray

__all__ = ["computed", "folder", "key", "used_source"]

#: arguments of compute that change nothing in what it returns
_SILENT = ("progress", "store")
#: files kept for one figure: the newest
_KEPT = 8
#: parts of linsim that no number comes from
_NO_NUMBERS = ("app", "bench", "figures")


def folder() -> Path:
    """Return the directory of kept data: LINSIM_CACHE, or linsim/figures in the user's cache directory."""
    given = os.environ.get("LINSIM_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "linsim" / "figures"


def computed(
    module: ModuleType,
    *,
    keep: Path | None = None,
    note: Callable[[str], None] | None = None,
    **arguments: Any,
) -> xarray.Dataset:
    """Return ``module.compute(**arguments)``, from a file where there is one of the same arguments and code.

    Parameters
    ----------
    module : module
        One of the figures: :func:`linsim.figures.load`.
    keep : path, optional
        Directory of the files; default :func:`folder`.
    note : callable, optional
        Told in one line where a kept file is damaged or none can be kept; nothing fails for that.
    **arguments
        Of ``compute``.

    Raises
    ------
    InvalidTypeError
        If ``compute`` does not take the arguments.
    """
    if "progress" not in inspect.signature(module.compute).parameters:
        arguments.pop("progress", None)
    tell = note or (lambda text: print(f"linsim: {text}", file=sys.stderr))
    name = module.__name__.rpartition(".")[2]
    directory = folder() if keep is None else Path(keep)
    path = directory / f"{name}-{key(module, arguments)}.npz"
    if path.exists():
        try:
            return _read(path)
        except Exception as error:  # whatever is wrong with it, it can be computed again
            tell(f"{path}: the kept data are damaged ({type(error).__name__}); computing them again")
    with _compiled():
        ds: xarray.Dataset = module.compute(**arguments)
    try:
        _write(ds, path)
        mine = sorted(directory.glob(f"{name}-*.npz"), key=lambda file: file.stat().st_mtime)
        for old in mine[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        tell(f"{directory}: the data of {name} cannot be kept ({error.strerror}); set LINSIM_CACHE")
    return ds


@contextlib.contextmanager
def _compiled() -> Iterator[None]:
    """Wait for kernels rather than go without them: kept values shall come about in one way."""
    before = os.environ.get("LINSIM_COMPILE")
    os.environ["LINSIM_COMPILE"] = "wait"
    try:
        yield
    finally:
        if before is None:
            del os.environ["LINSIM_COMPILE"]
        else:
            os.environ["LINSIM_COMPILE"] = before


def key(module: ModuleType, arguments: Mapping[str, Any]) -> str:
    """Return what names the data: a hash of the arguments, the code that computes, and versions.

    Examples
    --------
    >>> from linsim.figures import load
    >>> disk = load("regime_disk")
    >>> key(disk, {"seed": 0}) == key(disk, {}), key(disk, {"seed": 1}) == key(disk, {})
    (True, False)
    """
    signature = inspect.signature(module.compute)
    try:
        bound = signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(name for name in signature.parameters if name not in _SILENT)
        raise checks.refusal(
            InvalidTypeError, "arguments", str(error), f"those of compute: {known}", "Leave others out."
        ) from None
    bound.apply_defaults()
    given = {name: value for name, value in bound.arguments.items() if name not in _SILENT}
    text = json.dumps(given, sort_keys=True, default=_jsonable)
    whole = "\n".join([module.__name__, text, used_source(module, "compute"), _library()])
    return hashlib.blake2b(whole.encode(), digest_size=12).hexdigest()


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, Path):
        return str(value)
    raise checks.refusal(
        InvalidTypeError,
        "arguments",
        f"an object of type {type(value).__name__}",
        "numbers, text, lists and arrays",
        "Call compute itself, which keeps nothing.",
    )


@functools.cache
def used_source(module: ModuleType, start: str) -> str:
    """Return the definitions of a module that ``start`` reaches, without comments, in the order of the file.

    What only ``draw`` and ``caption`` use is left out: a new look computes nothing again.

    Examples
    --------
    >>> from linsim.figures import load
    >>> text = used_source(load("regime_disk"), "compute")
    >>> "def systems" in text, "def draw" in text
    (True, False)
    """
    body = ast.parse(inspect.getsource(module)).body
    defines: dict[str, ast.stmt] = {}
    for node in body:
        for name in _defined(node):
            defines[name] = node
    reached, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in defines:
            continue
        reached.add(name)
        waiting += [child.id for child in ast.walk(defines[name]) if isinstance(child, ast.Name)]
    chosen = [node for node in body if any(defines.get(name) is node for name in reached)]
    more = "".join(_sibling(module, node) for node in chosen)
    return "\n".join(ast.unparse(_bare(node)) for node in chosen) + more


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    return [child.id for child in ast.walk(node) if isinstance(child, ast.Name)] if _assigns(node) else []


def _assigns(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign)


def _bare(node: ast.stmt) -> ast.stmt:
    """Drop a docstring: words about code change no number."""
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None and len(node.body) > 1:
        node.body = node.body[1:]
    return node


def _sibling(module: ModuleType, node: ast.stmt) -> str:
    """What a definition that counts takes from another module of figures/, and that needs in turn."""
    if not (isinstance(node, ast.ImportFrom) and node.level == 1 and node.module):
        return ""
    other = import_module(f"{module.__package__}.{node.module}")
    return "\n".join(used_source(other, alias.name) for alias in node.names)


@functools.cache
def _library() -> str:
    """Hash of all of linsim that computes, and the versions of what it computes with."""
    home = Path(linsim.__file__).parent
    found = hashlib.blake2b(digest_size=12)
    for path in sorted(home.rglob("*.py")):
        inner = path.relative_to(home)
        if inner.parts[0] not in _NO_NUMBERS:
            found.update(f"{inner.as_posix()}\0".encode() + path.read_bytes())
    versions = [f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "xarray")]
    return "\n".join([found.hexdigest(), platform.machine(), platform.python_version(), *versions])


# --- files -----------------------------------------------------------------------------------------


def _write(ds: xarray.Dataset, path: Path) -> None:
    """Write a dataset as one .npz, whose archive carries checksums; all of it or nothing."""
    arrays, header = {}, {}
    for k, (name, variable) in enumerate(ds.variables.items()):
        arrays[f"v{k}"] = np.asarray(variable.values)
        header[str(name)] = [f"v{k}", list(variable.dims), name in ds.coords, dict(variable.attrs)]
    text = json.dumps({"variables": header, "attrs": dict(ds.attrs)}, default=_plain)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, header=np.array(text), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(buffer.getvalue())
    Path(file.name).replace(path)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _read(path: Path) -> xarray.Dataset:
    import xarray

    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        data: dict[str, Any] = {}
        coords: dict[str, Any] = {}
        for name, (where, dims, is_coord, attrs) in header["variables"].items():
            (coords if is_coord else data)[name] = (dims, file[where], attrs)
    return xarray.Dataset(data, coords, header["attrs"])
