"""The public interface: what is exported, documented, and cheap to import."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import subprocess
import sys

import pytest

import linsim

MODULES = [
    "linsim",
    *(
        f"linsim.{m}"
        for m in (
            "attention",
            "errors",
            "escalation",
            "masks",
            "metrics",
            "models",
            "sweeps",
            "testing",
            "theory",
            "theory.feed_forward",
            "theory.mask_laws",
            "theory.pure_attention",
            "theory.random_attention",
            "theory.scaled_residual",
            "tokens",
            *(["torch"] if importlib.util.find_spec("torch") else []),
            "weights",
        )
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_all_is_what_is_public(name):
    module = importlib.import_module(name)
    public = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and not (inspect.ismodule(value) and name != "linsim")
        and getattr(value, "__module__", name).startswith(name)
    }
    if name == "linsim":
        # importing a submodule binds its name; only the exported ones are promised
        public = {key for key in public if not inspect.ismodule(vars(module)[key]) or key in module.__all__}
    assert sorted(module.__all__) == sorted(set(module.__all__))
    missing = [key for key in module.__all__ if not hasattr(module, key)]
    assert missing == []
    functions = {
        key for key in public if callable(getattr(module, key)) and inspect.isroutine(getattr(module, key))
    }
    assert functions <= set(module.__all__)


def documented():
    for name in MODULES:
        module = importlib.import_module(name)
        for key in module.__all__:
            value = getattr(module, key)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield pytest.param(value, id=f"{name}.{key}")


@pytest.mark.parametrize("value", list(documented()))
def test_everything_public_is_documented(value):
    text = inspect.getdoc(value)
    assert text
    if inspect.isfunction(value):
        for parameter in inspect.signature(value).parameters:
            assert parameter in text, f"{value.__name__} does not document {parameter}"
        assert ">>>" in text, f"{value.__name__} has no example"
        assert "Raises" in text or not inspect.signature(value).parameters


def test_import_is_light():
    heavy = ("xarray", "sympy", "scipy.linalg", "matplotlib", "zarr", "hypothesis", "typer", "cupy")
    code = f"import sys, linsim; print([m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_version():
    from importlib.metadata import version

    assert version("linsim") == linsim.__version__
