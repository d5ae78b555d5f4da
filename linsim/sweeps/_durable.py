"""Files that are whole or absent, and on the disk when a call returns; one writer for a folder."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .. import _validate
from ..errors import FileFormatError

__all__ = ["in_use", "one_writer", "put", "refused_by_disk", "rename", "write"]

_SIDE_BY_SIDE = 16


def write(files: Mapping[Path, bytes]) -> None:
    """Put data into files; each had other contents, or none, until its own is on the disk.

    A reader, and whoever comes after a crash, sees the old contents of a file or the new ones, and when this
    returns the new ones.  Several files are synchronised side by side: a disk does that as fast as with one.
    """
    # a dot in front: Zarr takes no such name for a chunk
    beside = {path: path.with_name(f".{path.name}.new") for path in files}
    try:
        for path, data in files.items():
            put(beside[path], data)
        _each(_sync, beside.values())
        for path, new in beside.items():
            os.replace(new, path)
        _each(_sync_folder, {path.parent for path in files})
    except OSError:
        for new in beside.values():
            with contextlib.suppress(OSError):
                new.unlink()
        raise


def put(path: Path, data: bytes) -> None:
    """Write a file, as far as the system's own memory."""
    with open(path, "wb") as file:
        file.write(data)


def _each(function: Callable[[Path], None], paths: Iterable[Path]) -> None:
    paths = list(paths)
    if len(paths) == 1:
        function(paths[0])
        return
    with ThreadPoolExecutor(min(len(paths), _SIDE_BY_SIDE)) as pool:
        for done in [pool.submit(function, path) for path in paths]:
            done.result()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Put on the disk which names a folder has, after files in it were renamed."""
    if os.name == "nt":  # has no handle of a folder, and orders renames by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems know no such thing
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """Rename a folder, for good."""
    os.rename(old, new)
    _sync_folder(new.absolute().parent)


@contextlib.contextmanager
def one_writer(folder: Path, store: str) -> Iterator[None]:
    """Hold ``folder`` alone while the block runs; the system lets go of it however this process ends."""
    with _refusals(store), open(folder / ".lock", "ab") as file:
        if not _locked(file) or not _still_there(file, folder / ".lock"):
            raise in_use(store)
        yield


def _still_there(file: Any, path: Path) -> bool:
    """Whether a name still stands for an open file: its folder may have been replaced meanwhile."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def in_use(store: str) -> FileFormatError:
    """Return the refusal of a store that another sweep writes to."""
    found = _validate.refusal(
        FileFormatError,
        "store",
        f"{store} in use by another sweep",
        "one writer at a time",
        "Wait for it, or stop it.",
    )
    assert isinstance(found, FileFormatError)
    return found


def _locked(file: Any) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


@contextlib.contextmanager
def _refusals(store: str) -> Iterator[None]:
    try:
        yield
    except FileFormatError:
        raise
    except OSError as error:
        raise refused_by_disk(error, store) from error


def refused_by_disk(error: OSError, store: str) -> FileFormatError:
    """Return the one line for a disk that is full, read-only, or gone."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    found = _validate.refusal(
        FileFormatError,
        "store",
        f"{store}, which cannot be written to ({error.strerror or error})",
        "room on the disk" if full else "a store that this process may write to",
        "All finished blocks are kept: make room, and run the same again."
        if full
        else "Check its permissions, or choose another.",
    )
    assert isinstance(found, FileFormatError)
    return found
