"""Nobody waits for a compiler where arrays are sooner done, and nothing compiled is done without."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from linsim import Linear, _compile, attention, simulate, weights
from linsim._kernels import first_use
from linsim.metrics import measure

pytest.importorskip("numba")


def system(n=6, d=4, batch=()):
    A = attention.softmax(n, 4, size=batch, rng=1)
    return Linear(A, 0.3 * weights.gaussian(d, rng=2)), np.random.default_rng(3).standard_normal((n, d))


@pytest.fixture
def cold(monkeypatch):
    """A machine on which nothing is compiled; returns what is asked to be."""
    asked = []
    monkeypatch.delenv("LINSIM_COMPILE")
    monkeypatch.setattr(first_use, "_found", set())
    monkeypatch.setattr(first_use, "_looked", {})
    monkeypatch.setattr(first_use, "kept", lambda kernel, dtype: False)
    monkeypatch.setattr(first_use, "_started", lambda *key: asked.append(key) or True)
    return asked


@pytest.mark.parametrize(("metrics", "engine"), [("plain", "lanes"), (None, "parts")])
def test_a_small_run_goes_through_arrays_meanwhile(cold, metrics, engine):
    rule, x0 = system()
    run = simulate(rule, x0, 5, metrics=metrics)
    assert run.info.method == "iterate"
    assert f"kernels of {engine} are being compiled" in run.info.reason
    assert cold[0] == (engine, "float64")
    compiled = simulate(rule, x0, 5, metrics=metrics, method=engine)  # who asks for it gets it
    assert compiled.info.method == engine
    for name, x in run.metrics.items():
        off = run.errors[name] + compiled.errors[name] + 1e-14
        assert np.all(np.abs(x - compiled.metrics[name]) <= off), name


def test_a_long_run_waits(cold):
    rule, x0 = system(32, 32, (600,))
    assert simulate(rule, x0, 64, metrics="plain").info.method == "lanes"


def test_what_is_compiled_is_used(cold, monkeypatch):
    monkeypatch.setattr(first_use, "kept", lambda kernel, dtype: dtype == "float64")
    rule, x0 = system()
    assert simulate(rule, x0, 5).info.method == "parts"
    assert simulate(rule, x0, 5, dtype="float32").info.method == "iterate"
    assert {dtype for _, dtype in cold} == {"float32"}


def test_where_no_process_can_be_started_kernels_are_waited_for(cold, monkeypatch):
    monkeypatch.setattr(first_use, "_started", lambda *key: False)
    rule, x0 = system()
    assert simulate(rule, x0, 5).info.method == "parts"


def test_measuring_does_not_wait_either(cold, monkeypatch):
    x = np.random.default_rng(0).standard_normal((3, 6, 4))
    by_arrays = measure(x)
    assert {group for group, _ in cold} == {"sums", "views", "singular"}
    monkeypatch.setenv("LINSIM_COMPILE", "wait")
    for name, value in measure(x).items():
        np.testing.assert_allclose(by_arrays[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


#: groups that are asked for by the dtype of states; what others measure is cast to float64
OF_STATES = ("lanes", "bands", "parts", "singular", "clouds", "elementary", "linear")


@pytest.mark.parametrize(
    ("group", "dtype"),
    [*((group, "float64") for group in first_use.GROUPS), *((group, "float32") for group in OF_STATES)],
)
def test_every_group_compiles_what_it_names(group, dtype):
    """The run that stands for a group compiles its functions for its dtype, or it would run for ever."""
    _compile.use(group, dtype)
    for kernel in first_use.kernels_of(group, dtype):
        assert any(dtype in str(signature) for signature in kernel.signatures), kernel


BATCHES = """
import numpy as np, linsim
from linsim._kernels import begin, probed, shadows, states, walk
A, H = linsim.attention.softmax(6, 4, size=(5,), rng=1), np.linspace(-0.3, 0.4, 80).reshape(5, 4, 4)
x0 = np.random.default_rng(0).standard_normal((5, 6, 4))
x0[1, :2] = 0
for shared in range(8):
    a, h, x = (M[0] if shared & bit else M for M, bit in ((A, 1), (H, 2), (x0, 4)))
    for options in ({"metrics": "plain"}, {}, {"keep_states": True}, {"metrics": ["log_hfc_lfc"]}):
        linsim.simulate(linsim.Linear(a, h), x, 6, layers=[0, 2, 6], **options)
        linsim.simulate(linsim.Linear(a, h), x, 6, **options)
kernels = walk.walk, shadows.walk, begin.begin, begin.given, states.measure, probed.measured, probed.probed
print([len(kernel.signatures) for kernel in kernels])
"""


def test_a_kernel_is_compiled_once_whatever_is_shared_in_a_batch():
    """Numba compiles for each layout of an array, which takes longer than most runs."""
    done = subprocess.run([sys.executable, "-c", BATCHES], capture_output=True, text=True, check=True)
    assert max(eval(done.stdout)) == 1, done.stdout


@pytest.mark.full
def test_a_new_machine_answers_first_and_compiles_then(tmp_path):
    code = """
        import numpy as np, linsim
        rule = linsim.Linear(linsim.attention.uniform(5), 0.3 * np.eye(3))
        print(linsim.simulate(rule, np.eye(5, 3), 4).info.method)
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    del environment["LINSIM_COMPILE"]

    def answer():
        command = [sys.executable, "-c", textwrap.dedent(code)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    first = answer()
    assert (first.stdout.strip(), first.stderr) == ("iterate", "")
    waited = time.monotonic() + 900
    while (found := answer().stdout.strip()) == "iterate" and time.monotonic() < waited:
        time.sleep(5)
    assert found == "parts"
    assert not list(tmp_path.rglob("linsim-compiling-*"))
