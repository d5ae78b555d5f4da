"""How every command refuses and answers: one line on standard error, or JSON and nothing else."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import typer

from ..errors import LinsimError

__all__ = ["one_line", "plain", "print_json"]


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turn every deliberate refusal into one line on standard error and exit code 2."""
    try:
        yield
    except LinsimError as error:
        print(f"linsim: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(plain(value), allow_nan=False))


def plain(value: Any) -> Any:
    """Arrays to lists, non-finite numbers to null."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
