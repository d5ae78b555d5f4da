"""Figures of the theory: in a checkout, the folder ``figures/`` at the top of the repository.

That folder is installed in place of this one (``package-dir`` in ``pyproject.toml``), so that only
``linsim`` claims a name among a user's own files, where ``figures.py`` is a common one.  Without an
installation, and in an editable one, Python looks for ``linsim.figures`` in this folder; all that it
has to say is where the modules are.  A symbolic link would say it too, but not every system that
files are checked out on, or copied to, keeps one.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "figures")]

from .gallery import NAMES, dataset, load, make
from .style import medium

__all__ = ["NAMES", "dataset", "load", "make", "medium"]
