"""The one place that imports Hypothesis, and says what to do where it is missing."""

from __future__ import annotations

from ..errors import MissingExtraError

try:
    import hypothesis
    from hypothesis import strategies
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "hypothesis":
        raise  # something that Hypothesis itself misses
    raise MissingExtraError(
        "linsim.testing: found no package hypothesis; expected it to be installed. "
        "Run `pip install hypothesis`."
    ) from error

__all__ = ["hypothesis", "strategies"]
