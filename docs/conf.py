"""How the documentation site is built: ``sphinx-build -W docs OUT``, with the extra ``docs``; no network.

Three things are our own, each a few lines: formulas become MathML (so pages need no script and no font from
elsewhere), docstrings are read as plain text where they hold formulas such as |x| (``docstrings.py``), and
a build fails if a public name is missing from the reference.
"""

from __future__ import annotations

import inspect
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("MPLBACKEND", "agg")

import linsim

project = "linsim"
author = "the linsim authors"
version = release = linsim.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "mathml",
    "docstrings",
    "statements",
]
exclude_patterns = ["_build", "recipes/README.md", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = "linsim"
html_static_path = ["_static"]
html_css_files = ["linsim.css"]
html_math_renderer = "mathml"
html_copy_source = False
suppress_warnings = ["ref.python"]  # LinsimError is in two places on purpose: linsim, and linsim.errors

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

# notebooks are run at every build, so that what they show is what this version does
nb_execution_mode = os.environ.get("LINSIM_DOCS_NOTEBOOKS", "force")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and dtypes stand in the docstrings
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes once, where the class lists them
napoleon_use_param = False  # types are prose here ("array, shape (n, d)"), not names to link
napoleon_use_rtype = False

#: modules whose public names the reference must hold, each on a page of the same name in ``reference/``
PUBLIC = (
    "linsim",
    "linsim.attention",
    "linsim.checks",
    "linsim.errors",
    "linsim.escalation",
    "linsim.masks",
    "linsim.metrics",
    "linsim.models",
    "linsim.sweeps",
    "linsim.testing",
    "linsim.theory",
    "linsim.theory.feed_forward",
    "linsim.theory.mask_laws",
    "linsim.theory.pure_attention",
    "linsim.theory.random_attention",
    "linsim.theory.scaled_residual",
    "linsim.tokens",
    "linsim.weights",
    "proofs_check",
)


def public_names() -> dict[str, str]:
    """Return every public class and function, by "module.name", with where it must be found."""
    found = {}
    for name in PUBLIC:
        module = import_module(name)
        for key in module.__all__:
            if not inspect.ismodule(getattr(module, key)):
                found[f"{name}.{key}"] = name
    return found


def _complete(app: Any, exception: Exception | None) -> None:
    """Fail where a public name is in no page of the reference."""
    if exception is not None or app.builder.name != "html":
        return
    from sphinx.errors import ExtensionError

    held = {name for name, *_ in app.env.domains["py"].get_objects()}
    missing = sorted(name for name in public_names() if name not in held)
    if missing:
        raise ExtensionError(f"the reference lacks {len(missing)} public names: {', '.join(missing)}")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", _complete)
