"""Specifications: families by name, axes and distributions, refusals that name line and key; the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import linsim
from linsim import attention, sweeps, tokens, weights
from linsim.app.cli import main
from linsim.errors import FileFormatError, LinsimError
from linsim.streams import rows
from linsim.sweeps import _layout
from linsim.sweeps._families import FAMILIES

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SPEC = """
depth = 6
n = 5
d = 3
metrics = ["cosine", "log_norm"]

[attention]
family = "softmax"
temperature = { linspace = [0.5, 2.0, 4] }

[weights]
family = "gaussian"
scale = { values = [-1.0, 0.5], name = "h" }

[tokens]
family = "gaussian"
similarity = { uniform = [0.2, 0.8] }
"""


@pytest.fixture
def spec(tmp_path):
    def write(text=SPEC):
        (tmp_path / "spec.toml").write_text(text)
        return tmp_path / "spec.toml"

    return write


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


# --- what a specification computes -------------------------------------------------------


def test_a_spec_is_what_one_would_write(spec):
    def make(point, rng):
        k = len(point["h"])
        A = attention.softmax(5, 3, temperature=point["temperature"], size=k, rng=rng)
        H = point["h"][:, None, None] * weights.gaussian(3, size=k, rng=rng)
        return linsim.Linear(A, H), tokens.gaussian(5, 3, similarity=similarities(point), size=k, rng=rng)

    def similarities(point):
        # drawn before anything else
        return rows(0, 0, point).uniform(0.2, 0.8, size=len(point["h"]))

    def made(point, rng):
        rng.uniform(0.2, 0.8, size=len(point["h"]))
        return make(point, rng)

    grid = {"temperature": np.linspace(0.5, 2.0, 4), "h": [-1.0, 0.5]}
    expected = linsim.sweep(made, grid, depth=6, metrics=["cosine", "log_norm"], progress=False)
    found = sweeps.Spec.from_toml(spec()).run(progress=False)
    xr.testing.assert_identical(found.drop_attrs(deep=False), expected.drop_attrs(deep=False))


def test_the_same_in_python(spec):
    read = sweeps.Spec.from_toml(spec())
    written = sweeps.Spec(
        depth=6,
        n=5,
        d=3,
        metrics=["cosine", "log_norm"],
        attention={"family": "softmax", "temperature": {"linspace": [0.5, 2.0, 4]}},
        weights={"family": "gaussian", "scale": {"values": [-1.0, 0.5], "name": "h"}},
        tokens={"family": "gaussian", "similarity": {"uniform": [0.2, 0.8]}},
    )
    assert read.text == written.text


GIVEN = {
    "attention": {"from_spectrum": {"lowest": -0.2}},
    "weights": {"from_spectrum": {"lowest": -0.5}},
    "tokens": {},
    "rule": {},
}


@pytest.mark.parametrize("part", FAMILIES)
def test_every_family_runs_with_every_parameter_as_an_axis(part):
    axes = {
        "temperature": [0.5, 1.0], "concentration": [0.5, 1.0], "lowest": [-0.3, -0.1], "std": [0.5, 1.0],
        "scale": [0.5, 1.0], "highest": [0.5, 1.0], "condition": [2.0, 3.0], "similarity": [0.2, 0.4],
        "tau": [0.0, 0.5], "d_key": [2, 3], "symmetric": [True, False], "basis": ["orthogonal", "random"],
        "heads": [1, 2], "kind": ["gaussian", "orthogonal"], "norm": ["post", "pre"], "residual": [0.0, 1.0],
        "branch": [0.5, 1.0], "feed_forward": ["tanh", "relu"], "place": ["attention", "output"],
        "weights": ["gaussian", "orthogonal"],
    }  # fmt: skip
    for name, family in FAMILIES[part].items():
        for key in family.parameters:
            if key == "others" or (part == "rule" and key == "kind"):
                continue  # a pair of numbers; and the word for the family of a rule
            base = {"attention": {"family": "dirichlet"}, "weights": {"family": "gaussian"}}
            word = "kind" if part == "rule" else "family"
            table = {word: name, **GIVEN[part].get(name, {}), key: {"values": axes[key]}}
            if key == "condition":
                table["basis"] = "random"
            if key == "place":
                table["tau"] = 0.5
            spec = sweeps.Spec(depth=2, n=4, d=3, metrics=["log_norm"], **{**base, part: table})
            ds = spec.run(progress=False)
            assert ds.sizes[key] == 2
            assert np.isfinite(ds.log_norm.values).all(), (part, name, key)
            alone = spec.run(progress=False, batch=1)
            xr.testing.assert_identical(ds.drop_attrs(deep=False), alone.drop_attrs(deep=False))


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("sweep_*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(example, capsys):
    code, out, err = run(capsys, "sweep", example, "--explain", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["systems"] >= 100
    assert "#" in example.read_text()


def but(old, new):
    """The specification with a mistake."""
    assert old in SPEC
    return SPEC.replace(old, new)


BAD = {
    "no toml": ("depth = = 3", "SPEC: found", "no TOML"),
    "unknown key": (but("depth", "dept"), "line 2, dept: found 'dept'", "Did you mean 'depth'"),
    "unknown table": (SPEC + "[rul]\n", "line 18, rul: found 'rul'", "Did you mean 'rule'"),
    "no depth": (but("depth = 6", ""), "depth: found nothing", "Write depth"),
    "family": (but('"softmax"', '"softmacks"'), "line 8, attention.family: found 'softmacks'", "softmax"),
    "no family": (but('family = "softmax"', ""), "line 7, attention: found no family", "Write family"),
    "parameter": (but("scale", "skale"), "line 13, weights.skale: found 'skale'", "Did you mean 'scale'"),
    "axis": (but("linspace", "linspce"), "line 9, attention.temperature: found a table with", "linspace"),
    "axis numbers": (but("[0.5, 2.0, 4]", "[0.5, 2.0]"), "line 9, attention.temperature", "3 numbers"),
    "axis text": (but("[0.5, 2.0, 4]", '[0.5, "a", 4]'), "line 9, attention.temperature", "a number"),
    "axis count": (but("2.0, 4]", "2.0, 2.5]"), "line 9, attention.temperature", "no whole number"),
    "axis twice": (but('name = "h"', 'name = "temperature"'), "line 13, weights.scale", "a second axis"),
    "name": (but('name = "h"', "name = 3"), "line 13, weights.scale.name", "Put it in quotes"),
    "size drawn": (but("n = 5", "n = { uniform = [2, 4] }"), "line 3, n: found uniform", "not drawn"),
    "missing parameter": (
        but('"softmax"', '"from_spectrum"').replace("temperature", "others"),
        "line 7, attention.lowest: found nothing",
        "needs it",
    ),
    "no axis": (
        but("{ linspace = [0.5, 2.0, 4] }", "1.0").replace('{ values = [-1.0, 0.5], name = "h" }', "1.0"),
        "found no axis",
        "linspace",
    ),
    "between without a design": (
        but("linspace = [0.5, 2.0, 4]", "between = [0.5, 2.0]"),
        "design: found no count",
        "count = 64",
    ),
    "metric": (but("cosine", "cosin"), "line 5, metrics: found 'cosin'", "Did you mean 'cosine'"),
    "depth": (but("depth = 6", "depth = -6"), "line 2, depth: found -6", ">= 0"),
    "axis name": (but('name = "h"', 'name = "layer"'), "grid: found an axis named 'layer'", "Rename it"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_spec_is_one_line_with_its_place(case, spec, capsys, tmp_path):
    text, where, what = BAD[case]
    code, out, err = run(capsys, "sweep", spec(text), "--out", tmp_path / "s.zarr")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert where in err
    assert what in err
    assert not (tmp_path / "s.zarr").exists()


# --- the commands ------------------------------------------------------------------------


def test_sweep_status_and_resume(spec, capsys, tmp_path):
    store = tmp_path / "s.zarr"
    code, out, _ = run(capsys, "sweep", spec(), "--out", store)
    assert code == 0
    assert "8 done (100 %), 0 failed, 0 pending" in out
    first = sweeps.open_store(store).load()
    for arguments in (("--status", store), (spec(), "--out", store, "--status"), (spec(), "--out", store)):
        code, out, err = run(capsys, "sweep", *arguments, "--json")
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert (found["done"], found["total"], found["complete"]) == (8, 8, True)
    # longer axes, and more replicates
    longer = SPEC.replace("values = [-1.0, 0.5]", "values = [-1.0, 0.25, 0.5]")
    code, _, _ = run(capsys, "sweep", spec(longer.replace("depth", "replicates = 2\ndepth")), "--out", store)
    assert code == 0
    ds = sweeps.open_store(store).load()
    assert ds.sizes["h"] == 3
    xr.testing.assert_equal(ds.sel(h=first.h, replicate=[0]).log_norm, first.log_norm)
    # and another sweep is refused
    code, _, err = run(
        capsys,
        "sweep",
        spec(SPEC.replace("softmax", "dirichlet").replace("temperature", "concentration")),
        "--out",
        store,
    )
    assert code == 2
    assert "of another sweep" in err


def test_explain_computes_nothing(spec, capsys, tmp_path):
    code, out, err = run(
        capsys, "sweep", spec(), "--out", tmp_path / "s.zarr", "--explain", "--memory", "1MiB"
    )
    assert (code, err) == (0, "")
    assert "with replicates 8 systems, 8 to compute" in out
    assert list(tmp_path.glob("*.zarr")) == []
    run(capsys, "sweep", spec(), "--out", tmp_path / "s.zarr")
    code, out, _ = run(capsys, "sweep", spec(), "--out", tmp_path / "s.zarr", "--explain", "--json")
    assert (code, json.loads(out)["left"]) == (0, 0)


def test_a_budget_makes_small_batches(spec):
    read = sweeps.Spec.from_toml(spec())
    small, large = (sweeps.explain(read, budget=size) for size in ("50KiB", "1GiB"))
    assert small.batch < large.batch
    assert small.memory <= 50 * 1024


COMMANDS = {
    "no spec": (["sweep"], "SPEC: found nothing"),
    "no file": (["sweep", "{f}/none.toml", "--out", "{f}/s.zarr"], "SPEC: found"),
    "no out": (["sweep", "{f}/spec.toml"], "--out: found nothing"),
    "status of nothing": (["sweep", "--status"], "--status: found no store"),
    "status of no store": (["sweep", "--status", "{f}/none.zarr"], "store: found nothing at"),
    "two executors": (
        ["sweep", "{f}/spec.toml", "--out", "{f}/s", "--workers", "2", "--dask", "x"],
        "--dask",
    ),
    "workers": (["sweep", "{f}/spec.toml", "--out", "{f}/s", "--workers", "0"], "executor: found 0"),
    "memory": (["sweep", "{f}/spec.toml", "--out", "{f}/s", "--memory", "much"], "budget: found 'much'"),
    "foreign store": (["sweep", "{f}/spec.toml", "--out", "{f}"], "no resumable sweep"),
    "no folder": (["sweep", "{f}/spec.toml", "--out", "{f}/a/b.zarr"], "no writable directory"),
    "plot of nothing": (["plot", "{f}/none.zarr", "--out", "{f}/a.png"], "store: found nothing at"),
    "plot format": (["plot", "{f}/none.zarr", "--out", "{f}/a.txt"], "out: found"),
    "plot place": (["plot", "{f}/none.zarr", "--out", "{f}/a/b.png"], "out: found"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_bad_commands_are_one_line(case, spec, capsys, tmp_path):
    arguments, said = COMMANDS[case]
    spec()
    code, out, err = run(capsys, *(a.format(f=tmp_path) for a in arguments))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


def test_failed_systems_are_listed_and_exit_with_1(spec, capsys, tmp_path):
    # eigenvalues that no attention has, in one corner
    text = """
depth = 2
n = 3
d = 2
metrics = ["log_norm"]
[attention]
family = "from_spectrum"
lowest = { values = [-0.9, -0.1] }
others = [0.1, 0.1]
"""
    code, out, err = run(capsys, "sweep", spec(text), "--out", tmp_path / "s.zarr")
    assert code == 1
    assert "1 done (50 %), 1 failed" in out
    assert "lowest=-0.9, replicate 0: SpectrumError: eigenvalues: found" in out
    assert "lowest=-0.9" in err


STOPPED = """
import os, signal, sys
from linsim.sweeps import _layout, _spec
_layout._LARGEST_BLOCK = 2
real, left = _spec.SpecMaker.__call__, 6
def call(self, point, rng):
    global left
    left -= os.path.exists(sys.argv[2])
    if left == 0:
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))
    return real(self, point, rng)
_spec.SpecMaker.__call__ = call
from linsim.app.cli import main
main(["sweep", sys.argv[1], "--out", sys.argv[2]])
"""


@pytest.mark.parametrize(("how", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stopped_command_says_so_and_goes_on(spec, tmp_path, how, code, capsys):
    store = tmp_path / "s.zarr"
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stopped = subprocess.run(
        [sys.executable, script, spec(), store, how], capture_output=True, text=True, env=environment
    )
    assert stopped.returncode == code, stopped.stderr
    assert "systems are in" in stopped.stderr
    assert stopped.stderr.count("\n") == 1
    found = sweeps.status(store)
    assert 0 < found.done < found.total
    assert run(capsys, "sweep", spec(), "--out", store)[0] == 0
    ds = sweeps.Spec.from_toml(spec()).run(progress=False)
    xr.testing.assert_identical(
        sweeps.open_store(store).load().drop_attrs(deep=False), ds.drop_attrs(deep=False)
    )


def test_errors_of_the_library_have_no_place(spec):
    with pytest.raises(FileFormatError) as caught:
        sweeps.Spec.from_toml(spec().with_name("none.toml"))
    assert isinstance(caught.value, LinsimError)
    assert _layout.bytes_of("1.5KiB") == 1536
