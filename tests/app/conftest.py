"""Data and drawings of all figures at their quick sizes, made once for the tests of a session."""

from __future__ import annotations

import functools
import os

import pytest

from linsim import figures


@pytest.fixture(scope="session")
def figure_data(tmp_path_factory):
    """Return a function, name -> dataset: computed once, by the process that needs it first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of the session, which its processes share

    @functools.cache
    def data(name):
        return figures.dataset(name, quick=True, keep=folder / "figure-data")

    return data


@pytest.fixture(scope="session")
def figure_drawn(figure_data):
    """Return a function: name, width -> figure; looked at by several tests, changed by none."""

    @functools.cache
    def drawn(name, width="89mm"):
        with figures.medium(width):
            return figures.load(name).draw(figure_data(name))

    return drawn
