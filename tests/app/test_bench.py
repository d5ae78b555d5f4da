"""The benchmark: that it compares like with like, and says so when it cannot.  Never how fast."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import linsim
from linsim.app.cli import main
from linsim.bench import blocks, machine, picture, report, runner, scaling
from linsim.bench.peers import LINSIM, PEERS, batched, plain
from linsim.bench.runner import Agreement, Entry, compare, run
from linsim.bench.session import WORKER, PeerFailure, Session
from linsim.bench.workloads import QUICK, WORKLOADS, Part, Workload, as_json, checked, floor, from_json, timed
from linsim.errors import MissingExtraError

OWN = """
import os, signal, sys, time
import numpy as np
from linsim.bench import peers

def good(problem):
    print("what a library prints")
    return peers.batched(problem)

def wrong(problem):
    return {name: values + 1e-3 for name, values in peers.batched(problem).items()}

def lost(problem):
    return {name: values * np.nan for name, values in peers.batched(problem).items()}

def turned(problem):
    return {name: values.T for name, values in peers.batched(problem).items()}

def silent(problem):
    return {}

def hungry(problem):
    raise MemoryError("no room for\\n(4096, 65)")

def crash(problem):
    print("double free", file=sys.stderr)
    os._exit(3)

def killed(problem):
    os.kill(os.getpid(), signal.SIGKILL)

def slow(problem):
    time.sleep(60)

def cores(problem):
    return {"cores": np.array(len(os.sched_getaffinity(0)))}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with peers of the user's own, entered."""
    (tmp_path / "mine.py").write_text(OWN)
    # another package of this name in the current folder must not be taken for ours
    (tmp_path / "linsim").mkdir()
    (tmp_path / "linsim" / "__init__.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def found():
    return run(quick=True, peers=["plain", "batched"], repeats=2, progress=False)


def request_of(workload, **options):
    return {"workload": as_json(workload), "make": "timed", "options": options}


# --- workloads ---------------------------------------------------------------------------


def test_the_workloads_are_those_that_are_promised():
    sizes = {w.name: (w.n, w.d, w.systems, w.depth, len(w.layers())) for w in WORKLOADS.values()}
    assert sizes == {
        "W1": (197, 768, 1, 100, 101),
        "W1-all": (197, 768, 1, 100, 101),
        "W2": (32, 32, 4096, 64, 65),
        "W2-all": (32, 32, 4096, 64, 65),
        "W3": (64, 64, 64, 100_000, 200),
        "W3-causal": (64, 64, 64, 100_000, 200),
        "small": (32, 32, 1, 64, 65),
        "default": (32, 32, 1, 64, 65),
    }
    layers = WORKLOADS["W3"].layers()
    assert (layers[0], layers[-1]) == (1, 100_000)
    assert bool((np.diff(layers) > 0).all())
    assert list(QUICK) == list(WORKLOADS)
    assert all(QUICK[name].metrics == w.metrics for name, w in WORKLOADS.items())
    assert all(from_json(json.loads(json.dumps(as_json(w)))) == w for w in WORKLOADS.values())


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_part_is_a_part_of_the_whole_and_scales_in_proportion(name):
    workload = WORKLOADS[name]
    layers = len(workload.layers())
    for part in (workload.looped, workload.batched):
        factor = workload.scale(part)
        systems, depth = part.systems or workload.systems, part.depth or workload.depth
        assert factor * systems * depth == pytest.approx(workload.systems * workload.depth)
        if depth == workload.depth:
            continue
        problem = timed(workload, part)
        assert problem.depth == problem.layers[-1] == depth
        assert len(problem.layers) * workload.depth == layers * depth


def test_parts_and_checks_take_systems_of_the_grid():
    workload = QUICK["W2"]
    whole, part, check = timed(workload, Part()), timed(workload, Part(systems=4)), checked(workload)
    assert whole.A.shape == (16, 8, 8)
    for few in (part, check):
        rows = [np.flatnonzero((whole.x0 == x).all(axis=(1, 2)))[0] for x in few.x0]
        assert rows == [0, 5, 10, 15]
        for name in ("A", "H"):
            np.testing.assert_array_equal(getattr(few, name), getattr(whole, name)[rows])
    assert check.depth == workload.depth
    # flat attention and negative weights at one corner, sharp and positive at the other
    assert whole.A[-1].max() > 0.9 > 0.3 > whole.A[0].max()
    trace = np.trace(whole.H, axis1=-2, axis2=-1)
    assert trace[0] < 0 < trace[-1]


def test_causal_attention_is_causal():
    A = timed(QUICK["W3-causal"], Part()).A
    assert not np.triu(A, 1).any()
    np.testing.assert_allclose(A.sum(axis=-1), 1, rtol=1e-15)


def test_the_floor_counts_what_the_docstring_says():
    square = 4096 * (64 * 4 * 32**3 + 65 * 8 / 3 * 32**3)
    assert floor(WORKLOADS["W2"]).flops == pytest.approx(square)
    assert floor(WORKLOADS["W2"]).bytes == 8 * 4096 * (3 * 32**2 + 65 * 3)
    gram = 768 * 197**2 + 4 / 3 * 197**3
    deep = 100 * (2 * 197**2 * 768 + 2 * 197 * 768**2) + 101 * gram
    assert floor(WORKLOADS["W1"]).flops == pytest.approx(deep)
    asymptotic, causal = floor(WORKLOADS["W3"]), floor(WORKLOADS["W3-causal"])
    assert asymptotic.flops - causal.flops == 64 * 200 * 64**3
    assert floor(Workload("", "", 10, 12, 0, None, ())).flops == pytest.approx(4 * 12 * 100 - 4 / 3 * 1000)
    assert asymptotic.seconds(1e9, 1e30) == asymptotic.flops / 1e9
    assert (asymptotic.bound(1e9, 1e30), asymptotic.bound(1e30, 1e9)) == ("arithmetic", "memory")


# --- peers -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_plain_and_batched_compute_what_linsim_measures(name):
    problem = checked(QUICK[name])
    found = [plain(problem), batched(problem)]
    state = problem.x0
    for layer in range(problem.layers[3] + 1):
        if layer:
            state = state + problem.A @ state @ problem.H
        for t in np.flatnonzero(problem.layers == layer):
            expected = linsim.metrics.measure(state, problem.metrics)
            for values in found:
                for metric in problem.metrics:
                    np.testing.assert_allclose(values[metric][:, t], expected[metric], rtol=1e-11, atol=1e-12)


def test_every_installed_peer_agrees_with_linsim():
    # one workload in which states leave the range of doubles unless scaled, one at every layer
    result = run(["W3-causal", "W1"], quick=True, repeats=1, progress=False)
    assert result.sound
    for workload in result.results:
        assert {e.peer for e in workload.entries} == {LINSIM.name, *PEERS}
        for entry in workload.entries[1:]:
            there = runner.installed(PEERS[entry.peer].needs)
            assert entry.status == ("ok" if there else "not installed"), entry.error
            assert bool(entry.agreement) == there
            for agreement in entry.agreement.values():
                assert agreement.compared > 0
                assert agreement.difference < 1e-11


def test_compare_counts_what_each_side_lacks():
    reference = {"cosine": np.array([[0.5, np.nan, 1.0]]), "log_norm": np.array([[1e4, 2.0, 3.0]])}
    values = {"cosine": np.array([[0.25, 7.0, 1.0]]), "log_norm": np.array([[1e4 + 1, 2.0, 3.0]])}
    assert compare(values, reference) == {
        "cosine": Agreement(0.25, 2, 1),
        "log_norm": Agreement(pytest.approx(1e-4), 3, 0),
    }
    lost = compare(values | {"log_norm": np.array([[np.nan, 2.0, 3.0]])}, reference)
    assert lost["log_norm"].difference == math.inf
    assert Entry("x", "x", agreement=lost).disagrees
    # linsim itself, in float32, may say that rounding hides what float64 shows
    single = compare({"cosine": np.array([np.nan, 0.5])}, {"cosine": np.array([1.0, 0.5])}, abstains=True)
    assert single == {"cosine": Agreement(0.0, 1, 1)}
    # beyond 1e16 a ratio of doubles is rounding, and its angle is a right one
    large = compare({"hfc_lfc": np.array([1e16, 1.0])}, {"hfc_lfc": np.array([np.inf, 1.0])})
    assert large["hfc_lfc"].difference < 1e-15
    assert compare({"hfc_lfc": np.array([2.0])}, {"hfc_lfc": np.array([1.0])})["hfc_lfc"].difference > 0.3


def test_peers_that_fail_are_results(own):
    names = ["wrong", "lost", "turned", "silent", "hungry", "crash", "killed", "missing"]
    peers = ["plain", *(f"mine:{name}" for name in names), "absent:run"]
    result = run(["small"], peers=peers, quick=True, repeats=1, progress=False)
    entries = {entry.peer: entry for entry in result.results[0].entries}
    assert entries["plain"].status == entries["linsim"].status == "ok"
    assert entries["mine:wrong"].status == "ok"
    assert entries["mine:wrong"].agreement["cosine"].difference == pytest.approx(1e-3, rel=1e-9)
    assert {name for name, entry in entries.items() if entry.disagrees} == {"mine:wrong", "mine:lost"}
    errors = {name.partition(":")[2]: e.error for name, e in entries.items() if e.status == "failed"}
    assert "(13, 1)" in errors.pop("turned")
    assert "found no cosine" in errors.pop("silent")
    assert errors.pop("hungry") == "MemoryError: no room for (4096, 65)"
    assert errors.pop("crash") == "its process ended with code 3: double free"
    assert "signal 9" in errors.pop("killed")
    assert "missing" in errors.pop("missing")
    assert "absent" in errors.pop("run")
    assert errors == {}
    assert not result.sound
    text = "\n".join(report.lines(result))
    assert "failed: its process ended with code 3: double free" in text
    assert text.count("DISAGREES") == 2
    assert json.dumps(report.as_json(result)["workloads"][0]["entries"][0])
    assert [t.get_text() for t in picture.draw(result).axes[0].texts].count("failed") == 7


def test_a_run_that_takes_too_long_is_given_up_and_the_next_one_starts_again(own):
    request = request_of(QUICK["small"], part={})
    with Session(1, 0.5) as session:
        with pytest.raises(PeerFailure, match=r"longer than 0\.5 s"):
            session.ask("mine:slow", request)
        session.limit = 60.0
        assert session.ask("mine:good", request)["seconds"] > 0
        # once more: the same process, and the same problem
        assert session.ask("mine:good", request | {"average": True})["calls"] >= 1


def test_a_worker_keeps_to_its_threads(own):
    with Session(1, 60) as session:
        session.ask("mine:cores", request_of(QUICK["small"], part={}) | {"save": str(own / "cores.npz")})
    with np.load(own / "cores.npz") as saved:
        assert saved["cores"] == 1


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(runner, "installed", lambda package: package not in ("torch", "jax", "numba"))
    result = run(["small"], quick=True, repeats=1, progress=False)
    status = {entry.peer: entry.status for entry in result.results[0].entries}
    assert status == {"linsim": "ok", "plain": "ok", "batched": "ok"} | dict.fromkeys(
        ["torch", "jax", "numba"], "not installed"
    )
    assert result.sound
    text = "\n".join(report.lines(result))
    assert text.count("not installed") == 3
    assert len(picture.draw(result).axes[0].patches) == 3
    with pytest.raises(MissingExtraError, match="torch is not installed"):
        runner.choose_peers(["plain", "torch"])


def test_linsim_itself_failing_is_not_sound(found):
    entries = found.results[0].entries
    failed = runner.replace(entries[0], status="failed", seconds=(), error="broken")
    result = runner.replace(found.results[0], entries=(failed, *entries[1:]))
    broken = runner.replace(found, results=(result,))
    assert found.sound
    assert not broken.sound
    assert "failed: broken" in "\n".join(report.lines(broken))
    picture.draw(broken)


def test_the_time_of_a_part_is_scaled_to_the_whole(monkeypatch):
    def ask(self, target, request, name=""):
        if "machine" in request:
            return {"gemm": 1e9, "gemm_one": 1e9, "triad": 1e9}
        if "save" in request:
            np.savez(request["save"], **dict.fromkeys(request["workload"]["metrics"], np.ones(1)))
        return {"seconds": 2.0 if "average" in request else 7.0}

    monkeypatch.setattr(Session, "ask", ask)
    result = run(["W2"], quick=True, peers=["plain", "batched"], repeats=3, progress=False)
    entries = result.results[0].entries
    assert [entry.seconds for entry in entries] == [(2.0,) * 3, (2.0,) * 3, (8.0,) * 3, (4.0,) * 3]
    assert [entry.first for entry in entries] == [7.0] * 4
    least = result.results[0].floor.flops / 1e9
    shown = report.as_json(result)["workloads"][0]["entries"]
    assert [entry["over_linsim"] for entry in shown] == [1, 1, 4, 2]
    assert [entry["over_floor"] for entry in shown] == [2 / least, None, 8 / least, 4 / least]
    row = next(line for line in report.lines(result) if line.startswith(PEERS["plain"].label))
    assert row.split() == [
        *["NumPy,", "plain", "loop", "8.00", "s", "8.00", "s", "to", "8.00", "s", "4"],
        *[report.times(8, least), "7.00", "s", "1/4", "of", "it", "was", "timed"],
    ]


# --- reports -----------------------------------------------------------------------------


def test_the_report_holds_every_line(found):
    lines = {r.workload.name: [e.label for e in r.entries] for r in found.results}
    peers = [PEERS[name].label for name in ("plain", "batched")]
    assert lines == {
        "default": ["linsim", *peers],
        "W1": ["linsim", *peers],
        "W1-all": ["linsim", *peers],
        "W2": ["linsim", "linsim, float32", *peers],
        "W2-all": ["linsim", *peers],
        "W3": ["linsim", "linsim, to layer 2e3", *peers],
        "W3-causal": ["linsim", *peers],
        "small": ["linsim", *peers],
    }
    for result in found.results:
        for entry in result.entries:
            assert entry.status == "ok", entry.error
            assert len(entry.seconds) == found.repeats
            assert entry.first > 0
            assert bool(entry.method) == (entry.peer == "linsim")
            # linsim's own values are what the others are held against; nobody else goes as deep
            alone = entry.label == "linsim" or "layer" in entry.label
            assert set(entry.agreement) == set(() if alone else result.workload.metrics)
    of = {result.workload.name: result.entries for result in found.results}
    assert (of["W3"][1].depth, of["W3"][0].depth) == (2000, 200)
    assert of["W2"][2].scale == of["W3"][2].scale == 4


def test_the_table_names_everything_and_fits(found):
    text = "\n".join(report.lines(found))
    for result in found.results:
        assert f"{result.workload.name}  {result.workload.title}: {result.workload.describe()}" in text
        assert all(name in text for name in result.workload.metrics)
    assert text.count("1/2 of it was timed") == 4
    assert "NOTE: --quick" in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 130


def test_json_is_plain_and_complete(found):
    plain = report.as_json(found)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == {"linsim", "python", "machine", "repeats", "quick", "workloads"}
    assert plain["machine"]["threads"] == plain["machine"]["cores"] == machine.cores()
    rates = [k for k in plain["machine"] if "per_second" in k]
    assert len(rates) == 3
    assert all(plain["machine"][k] > 0 for k in rates)
    for workload in plain["workloads"]:
        first = workload["entries"][0]
        assert workload["floor"]["seconds"] > 0
        for entry in workload["entries"]:
            assert entry["over_linsim"] == entry["median"] / first["median"]
            single = entry["dtype"] == "float32"
            assert entry["over_floor"] == (None if single else entry["median"] / workload["floor"]["seconds"])


def test_the_figure_is_written_and_legible(found, tmp_path):
    fig = picture.draw(found)
    paths = picture.save(found, tmp_path / "bench.png", "linsim bench")
    assert [p.name for p in paths] == ["bench.pdf", "bench.png", "bench.txt"]
    assert all(p.stat().st_size for p in paths)
    assert paths[2].read_text().startswith(picture.caption(found))
    assert fig.get_size_inches()[0] * 25.4 == pytest.approx(89)
    assert [len(ax.patches) for ax in fig.axes] == [3, 3, 3, 4, 3, 4, 3, 3]
    fig.set_dpi(300)
    fig.canvas.draw()
    page, renderer = fig.bbox.padded(1), fig.canvas.get_renderer()
    for ax in fig.axes:
        assert ax.get_yticklabels()[0].get_text() == "linsim"
        for text in (ax.xaxis.label, ax._left_title, *ax.texts, *ax.get_yticklabels()):
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert page.x0 <= box.x0 <= box.x1 <= page.x1, text
                assert page.y0 <= box.y0 <= box.y1 <= page.y1, text


def test_durations_have_units():
    seconds = (0.0000025, 0.00015, 0.9994, 0.9996, 9.996, 1234.5)
    assert [report.duration(s) for s in seconds] == [
        "2.50 µs",
        "150 µs",
        "999 ms",
        "1.00 s",
        "10.0 s",
        "1234 s",
    ]


# --- the command -------------------------------------------------------------------------


def command(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *map(str, arguments)])
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


def test_json_is_all_that_is_printed(capsys, own):
    code, out, _ = command(
        capsys,
        *["--quick", "--json", "--repeats", 1, "--workload", "small", "--workload", "W1", "--threads", 1],
        *["--peers", "batched, mine:good", "--out", "times.png"],
    )
    assert code == 0
    shown = json.loads(out)
    assert [w["name"] for w in shown["workloads"]] == ["small", "W1"]
    assert [e["peer"] for e in shown["workloads"][0]["entries"]] == ["linsim", "batched", "mine:good"]
    assert shown["machine"]["threads"] == 1
    assert (own / "times.png").stat().st_size
    options = "--workload small --workload W1 --peers batched, mine:good --quick --repeats 1 --threads 1"
    assert f"linsim bench {options} --out times.png" in (own / "times.txt").read_text()


def test_disagreement_is_code_1(capsys, own):
    code, out, _ = command(
        capsys, "--quick", "--repeats", 1, "--workload", "small", "--peers", "linsim,mine:wrong"
    )
    assert code == 1
    assert "DISAGREES" in out


BAD = {
    "workload": (["--workload", "W9"], "--workload: found 'W9'"),
    "peer": (["--peers", "plain,numbaa"], "Did you mean 'numba'"),
    "peer of one's own": (["--peers", "mine:"], "--peers: found 'mine:'"),
    "no peer": (["--peers", ""], "--peers: found ''"),
    "repeats": (["--repeats", "0"], "--repeats: found 0"),
    "threads": (["--threads", "0"], "--threads: found 0"),
    "more threads than cores": (["--threads", "99999"], "--threads: found 99999"),
    "limit": (["--limit", "0"], "--limit: found 0"),
    "limit nan": (["--limit", "nan"], "--limit: found nan"),
    "limit text": (["--limit", "soon"], "--limit"),
    "kind of figure": (["--out", "times.jpg"], "--out: found times.jpg"),
    "place of figure": (["--out", "none/times.png"], "--out: found none/times.png"),
    "scaling of peers": (["--scaling", "--peers", "plain"], "--peers: found it beside --scaling"),
    "scaling figure": (["--scaling", "--out", "times.png"], "--out: found it beside --scaling"),
    "scaling repeats": (["--scaling", "--repeats", "-1"], "--repeats: found -1"),
    "blocks and scaling": (["--scaling", "--blocks"], "--blocks: found it beside --scaling"),
    "blocks of peers": (["--blocks", "--peers", "plain"], "--peers: found it beside --blocks"),
    "blocks repeats": (["--blocks", "--repeats", "0"], "--repeats: found 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_timed(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", None)
    arguments, named = BAD[case]
    code, out, err = command(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.full
def test_scaling_prints_markdown(capsys):
    code, out, _ = command(capsys, "--scaling", "--quick", "--repeats", 1)
    assert code == 0
    fits, times = out.strip().split("\n\n")
    assert [row.split("|")[1].strip(" `") for row in fits.splitlines()[2:]] == list(scaling.engines())
    assert len(times.splitlines()) == 2 + 5
    assert {row.count("|") for row in times.splitlines()} == {5 + len(scaling.engines())}


def test_blocks_are_computed_alike_by_all():
    found = blocks.measure(repeats=1, quick=True, threads=1, progress=False)
    assert [row.work.name for row in found] == ["sphere", "spheres", "vit"]
    for row in found:
        assert set(row.seconds) - {"linsim"} == set(row.apart)
        assert max(row.apart.values(), default=0.0) < 1e-10
    assert "NumPy script" in found[0].apart
    table = "\n".join(blocks.lines(found))
    assert "not the same" not in table
    far = replace(found[0], apart={"NumPy script": 1e-3})
    assert "not the same calculation" in "\n".join(blocks.lines([far]))
    assert json.dumps(blocks.as_json(found))


def test_an_engine_that_refuses_is_reported(monkeypatch):
    monkeypatch.setattr(scaling, "engines", lambda: ("iterate", "by magic"))
    grown = scaling.measure(repeats=1, quick=True, threads=1, progress=False)
    assert [bool(item.error) for item in grown] == [False, True]
    assert "by magic" in grown[1].error
    assert len(grown[0].points) == 5
    assert "by magic" in "\n".join(scaling.lines(grown))
    assert json.dumps(scaling.as_json(grown))


@pytest.mark.parametrize(
    ("run", "absent"),
    [
        ("import linsim.app.cli", ["linsim.bench", "linsim.figures", "proofs_check"]),
        # cores and threads are set before the first library that asks for them
        (f"import runpy; runpy.run_path({str(WORKER)!r})", ["linsim", "numpy"]),
    ],
)
def test_nothing_is_imported_too_early(run, absent):
    code = f"import sys; {run}; print([name for name in {absent!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_python_m_linsim_is_the_command():
    shown = subprocess.run(
        [sys.executable, "-m", "linsim", "bench", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--workload" in shown.stdout
