"""Compiled kernels are found by every environment that would compile the same, and by no other."""

from __future__ import annotations

import importlib
import os
import shutil
import time

import pytest

pytest.importorskip("numba")

from linsim._kernels import first_use, kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a function: sources -> the folder of their kernels; nothing of it is remembered."""
    monkeypatch.setattr(kept.numba.config, "CACHE_DIR", str(tmp_path / "cache"))

    def of(here=kept._HERE):
        monkeypatch.setattr(kept, "_HERE", here)
        kept.folder.cache_clear()
        return kept.folder()

    yield of
    kept.folder.cache_clear()


def test_another_environment_finds_the_same(folder, tmp_path, monkeypatch):
    shutil.copytree(kept._HERE, tmp_path / "theirs", ignore=shutil.ignore_patterns("__pycache__"))
    theirs = tmp_path / "theirs"
    ours = folder()
    assert folder(theirs) == ours
    # any source counts: one may be compiled into the functions of another
    source = theirs / "slots.py"
    source.write_text(source.read_text() + "\n")
    assert folder(theirs) != ours
    monkeypatch.setattr(kept.np, "__version__", "0.0")
    assert folder() not in (ours, folder(theirs))


def test_every_kernel_is_kept_there():
    for names in first_use.GROUPS.values():
        for name in names:
            module, function = name.split(".")
            kernel = getattr(importlib.import_module(f"linsim._kernels.{module}"), function)
            assert kernel.stats.cache_path == str(kept.folder()), name


def test_what_belongs_to_others_is_left_to_numba():
    def theirs(x):
        return x + 1

    assert kept._Locator.from_function(theirs, __file__) is None


def test_where_it_cannot_be_written_another_place_is_taken(folder, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(kept.sys, "platform", "linux")
    assert folder().is_relative_to(tmp_path / "home" / "linsim")
    monkeypatch.setattr(kept, "_places", lambda: iter([tmp_path / "cache"]))
    assert folder() is None
    assert not kept._registered()  # then nothing is kept, and kernels are compiled for a process


def test_what_nobody_used_for_long_is_removed(folder, tmp_path):
    beside = tmp_path / "cache" / "linsim"
    for name, days in (("kernels-old", 40), ("kernels-recent", 20), ("others", 40)):
        (beside / name).mkdir(parents=True)
        (beside / name / "file").touch()
        used = time.time() - 86400 * days
        os.utime(beside / name, (used, used))
    ours = folder()
    assert sorted(path.name for path in beside.iterdir()) == sorted([ours.name, "kernels-recent", "others"])
