"""Progress bars: in a terminal or a notebook, on standard error; nothing anywhere else."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["bar"]


def bar(*items: Any, shown: bool, **options: Any) -> Any:
    """Return a tqdm bar that a log file does not see; other arguments are tqdm's.

    Examples
    --------
    >>> with bar(total=2, shown=False) as steps:
    ...     _ = steps.update(2)
    """
    with warnings.catch_warnings():
        # a notebook without ipywidgets gets no bar; that is no reason to warn of it at every first use
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm

    # None: tqdm itself is quiet where standard error is no terminal
    return tqdm(*items, disable=None if shown else True, **options)
