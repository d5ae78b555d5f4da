"""Counterexamples on disk: JSON that a person can read, with every number exact."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from .. import _validate
from ..errors import FileFormatError, InvalidTypeError, LinsimError
from ._system import System

__all__ = ["destination", "load", "save"]

_FORMAT = "linsim-counterexample"
_VERSION = 1
_DIRECTORY = "linsim-counterexamples"


def destination(path: str | os.PathLike[str] | None) -> Path:
    """Return where counterexamples go, a file or a directory, once it is sure that they can."""
    if path is None:
        target = Path(_DIRECTORY)
    else:
        if not isinstance(path, str | os.PathLike) or not str(os.fspath(path)):
            raise _validate.refusal(
                InvalidTypeError,
                "path",
                repr(path),
                "a file name or a directory",
                f"Leave it out to write into {_DIRECTORY}.",
            )
        target = Path(path)
    # the default directory is made when there is something to put into it
    directory = target if target.is_dir() else target.parent
    found = None
    if not directory.is_dir():
        found = f"{directory}, not a directory"
    elif target.exists() and not target.is_dir() and (path is None or not target.is_file()):
        found = f"{target}, not a {'directory' if path is None else 'file'}"
    else:
        try:
            # permissions alone do not tell of a read-only file system
            tempfile.TemporaryFile(dir=directory).close()
        except OSError as error:
            found = f"{directory} ({error.strerror})"
    if found is not None:
        raise _validate.refusal(
            FileFormatError, "path", found, "a place to write", "Choose another, or create the directory."
        )
    return target


def save(target: Path, system: System, claim: str, margin: float | None, *, default: bool) -> Path:
    """Write ``system`` to the file ``target``, or into it if it is a directory; return the file."""
    from .. import __version__

    matrices = {name: getattr(system, name).tolist() for name in ("A", "H", "x0")}
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "linsim": __version__,
        "claim": claim,
        # JSON has no infinity
        "margin": margin if margin is None or abs(margin) < float("inf") else str(margin),
        # for a person: fractions are shown as such; what is read back are the numbers below it
        "system": repr(system),
        **matrices,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in record.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    try:
        if default:
            target.mkdir(exist_ok=True)
        if target.is_dir():
            digest = hashlib.sha256(json.dumps([claim, matrices]).encode()).hexdigest()[:8]
            name = re.sub(r"[^\w-]+", "-", claim, flags=re.ASCII).strip("-")[:80] or "claim"
            target = target / f"{name}-{digest}.json"
        # a reader never sees half a file, and an older one survives a full disk
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:80]}-")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise _validate.refusal(
            FileFormatError,
            "path",
            f"{target} ({error.strerror})",
            "a place to write",
            f"The counterexample that could not be saved: {system!r}",
        ) from error
    return target


def load(path: str | os.PathLike[str]) -> System:
    """Read a counterexample that :func:`falsify` saved.

    Parameters
    ----------
    path : str or path
        A JSON file, as named by ``Refuted.path``.

    Returns
    -------
    System
        With every entry as it was, to the last bit.

    Raises
    ------
    InvalidTypeError
        If ``path`` is no file name.
    FileFormatError
        If the file is missing, unreadable, damaged, of another format, or from a later version.

    Examples
    --------
    >>> import tempfile
    >>> from linsim import testing
    >>> def tokens_converge(system):
    ...     return system.generic_law.input_convergence
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     refuted = testing.falsify(tokens_converge, testing.systems(), path=directory)
    ...     testing.load(refuted.path) == refuted.system
    True
    """
    if not isinstance(path, str | os.PathLike):
        raise _validate.refusal(
            InvalidTypeError, "path", repr(path), "a file name", "Pass Refuted.path, for example."
        )
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise _refused(f"{path} ({error.strerror or error})", "Check the path.") from error
    except (ValueError, RecursionError) as error:  # text, numbers and encodings that are broken
        raise _refused(f"{path}, not JSON") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise _refused(f"{path}, JSON of another kind")
    version = record.get("version")
    if version != _VERSION or isinstance(version, bool):
        raise _refused(f"{path}, format version {version!r}", f"This linsim reads version {_VERSION}.")
    matrices: dict[str, Any] = {}
    for name in ("A", "H", "x0"):
        if name not in record:
            raise _refused(f"{path} without {name}")
        matrices[name] = record[name]
    try:
        return System(**matrices)
    except LinsimError as error:
        raise _refused(f"{path}, whose {error}", "") from error


def _refused(found: str, remedy: str = "Save it anew with linsim.testing.falsify.") -> LinsimError:
    return _validate.refusal(FileFormatError, "path", found, "a saved counterexample", remedy)
