"""Figures of the theory, each a module with ``compute`` (data) and ``draw`` (picture).

This folder is the package ``linsim.figures``: an installation puts it there, and in a checkout
``linsim/figures`` points to it.

>>> import linsim.figures
>>> figure = linsim.figures.load("regime_disk")  # compute(...) -> Dataset, draw(ds, axes=None) -> Figure
>>> ds = figure.compute(**figure.QUICK)
>>> figure.draw(ds).get_size_inches().round(1).tolist()
[3.5, 3.3]
"""

from .gallery import NAMES, dataset, load, make
from .style import medium

__all__ = ["NAMES", "dataset", "load", "make", "medium"]
