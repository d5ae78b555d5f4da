"""Where a key of a TOML file stands, so that a refusal can name its line."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from .. import _validate
from ..errors import FileFormatError, LinsimError

__all__ = ["lines_of", "located", "refused_toml"]


def lines_of(text: str) -> dict[str, int]:
    """Return the line of every key and table, by its path with dots.

    >>> lines_of('depth = 3\\n[attention]\\nfamily = "softmax"\\n')
    {'depth': 1, 'attention': 2, 'attention.family': 3}
    """
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([\w.\-\s\"']+?)\s*\]", line)
        if header:
            table = ".".join(part.strip(" \"'") for part in header[1].split("."))
            found.setdefault(table, number)
            continue
        key = re.match(r"\s*([\w\-\"'.]+(?:\s*\.\s*[\w\-\"']+)*)\s*=", line)
        if key:
            path = ".".join(part.strip(" \"'") for part in key[1].split("."))
            found.setdefault(f"{table}.{path}" if table else path, number)
    return found


@contextlib.contextmanager
def located(path: Path, text: str) -> Iterator[None]:
    """Put file and line before the refusal of a key that stands in the file."""
    try:
        yield
    except LinsimError as error:
        key, colon, rest = str(error).partition(":")
        lines, place = lines_of(text), key.replace("[", ".").replace("]", "").replace("'", "")
        # the table that holds it, where the key itself is missing
        while place and place not in lines:
            place = place.rpartition(".")[0]
        if not colon or not place:
            raise type(error)(f"{path}: {error}") from error
        raise type(error)(f"{path}, line {lines[place]}, {key}:{rest}") from error


def refused_toml(path: Path, error: tomllib.TOMLDecodeError) -> FileFormatError:
    """Return the refusal of a file that is no TOML; the parser says where."""
    found = _validate.refusal(
        FileFormatError, "SPEC", f"{path}, which is no TOML ({error})", "TOML", "Put that line right."
    )
    assert isinstance(found, FileFormatError)
    return found
