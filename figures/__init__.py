"""Figures of the theory, each a module with ``compute`` (data) and ``draw`` (picture).

This folder is the package ``linsim.figures``: an installation puts it there, and in a checkout
``linsim/figures`` points to it.
"""

from .gallery import NAMES, load, make

__all__ = ["NAMES", "load", "make"]
