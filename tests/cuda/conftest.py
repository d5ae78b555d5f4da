"""What tests of CUDA kernels share."""

from __future__ import annotations

import pytest

from . import pretended


@pytest.fixture
def card():
    """A GPU that is not there: kernels run emulated, all else is NumPy."""
    with pretended.gpu() as card:
        yield card
