"""The command line: every command on a user's own files, and one clear line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import linsim
from linsim.app.cli import main


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    A = linsim.attention.softmax(5, 3, rng=rng)
    H = linsim.weights.gaussian(4, rng=rng)
    x0 = linsim.tokens.gaussian(5, 4, rng=rng)
    for name, value in {"A": A, "H": H, "x0": x0}.items():
        np.save(tmp_path / f"{name}.npy", value)
    np.savez(tmp_path / "all.npz", A=A, H=H, x0=x0)
    np.savez(tmp_path / "other.npz", P=A, Q=H)
    np.savez(tmp_path / "lone.npz", gains=A)
    np.savez(tmp_path / "unnamed.npz", A)
    np.savez(tmp_path / "batch.npz", A=A, H=np.stack([H, -H]), x0=x0)
    (tmp_path / "junk.npy").write_text("not an array")
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04 broken")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    np.save(tmp_path / "object.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan))
    np.save(tmp_path / "scores.npy", np.log(A))
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


def system(folder, name="all.npz"):
    return ["--attention", folder / name, "--weights", folder / name]


def test_predict_prints_the_law(files, capsys):
    code, out, err = run(capsys, "predict", "--attention", files / "A.npy", "--weights", files / "H.npy")
    law = linsim.predict(np.load(files / "A.npy"), np.load(files / "H.npy"))
    assert (code, err) == (0, "")
    assert out.strip() == str(law)


def test_predict_json_is_only_json(files, capsys):
    code, out, err = run(capsys, "predict", *system(files), "--tokens", files / "x0.npy", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["regime"] in ("smoothing", "sharpening")
    assert set(found["rates"]) == {"token_diversity", "cosine_gap", "rank_gap"}


def test_an_array_saved_without_a_name_is_taken(files, capsys):
    code, out, _ = run(capsys, "predict", "--attention", files / "unnamed.npz", "--weights", files / "H.npy")
    assert code == 0
    assert out.strip() == str(linsim.predict(np.load(files / "A.npy"), np.load(files / "H.npy")))


def test_simulate_agrees_with_the_library(files, capsys):
    code, out, _ = run(
        capsys,
        "simulate",
        *system(files),
        "--tokens",
        files / "all.npz",
        "--depth",
        50,
        "--json",
        "--layers",
        "0,50",
    )
    with np.load(files / "all.npz") as saved:
        data = dict(saved)
    expected = linsim.simulate(linsim.Linear(data["A"], data["H"]), data["x0"], 50, layers=[0, 50])
    found = json.loads(out)
    assert code == 0
    assert found["layers"] == [0, 50]
    np.testing.assert_allclose(
        found["metrics"]["log_cosine_gap"], expected.metrics["log_cosine_gap"], rtol=1e-13
    )


def test_simulate_table_and_file(files, capsys):
    out_file = files / "run.npz"
    code, out, _ = run(
        capsys,
        *["simulate", *system(files, "batch.npz"), "--tokens", files / "batch.npz"],
        *["--depth", 8, "--metrics", "cosine,log_norm", "--out", out_file],
    )
    assert code == 0
    assert "2 systems" in out
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["cosine", "log_norm"]
    with np.load(out_file) as saved:
        assert saved["cosine"].shape == (2, 9)


def test_simulate_shows_gaps_without_value_as_nan(tmp_path, capsys):
    np.savez(tmp_path / "s.npz", A=np.eye(2), H=-np.eye(2), x0=np.ones((2, 2)))
    code, out, _ = run(
        capsys, "simulate", *system(tmp_path, "s.npz"), "--tokens", tmp_path / "s.npz", "--depth", 1
    )
    assert code == 0
    assert "nan" in out


def simulated(more):
    return f"simulate --attention {{f}}/A.npy --weights {{f}}/H.npy --tokens {{f}}/x0.npy {more}".split()


BAD = {
    "missing file": (["predict", "--attention", "{f}/none.npy", "--weights", "{f}/H.npy"], "--attention"),
    "folder": (["predict", "--attention", "{f}", "--weights", "{f}/H.npy"], "--attention"),
    "junk": (["predict", "--attention", "{f}/junk.npy", "--weights", "{f}/H.npy"], "--attention"),
    "junk archive": (["predict", "--attention", "{f}/junk.npz", "--weights", "{f}/H.npy"], "--attention"),
    "empty": (["predict", "--attention", "{f}/empty.npy", "--weights", "{f}/H.npy"], "--attention"),
    "no such name": (["predict", "--attention", "{f}/other.npz", "--weights", "{f}/H.npy"], "P, Q"),
    "lone, of another name": (
        ["predict", "--attention", "{f}/lone.npz", "--weights", "{f}/H.npy"],
        "arrays gains in",
    ),
    "text": (["predict", "--attention", "{f}/text.npy", "--weights", "{f}/H.npy"], "A: found dtype"),
    "pickle": (["predict", "--attention", "{f}/object.npy", "--weights", "{f}/H.npy"], "--attention"),
    "nan": (["predict", "--attention", "{f}/A.npy", "--weights", "{f}/nan.npy"], "H: found NaN"),
    "scores": (["predict", "--attention", "{f}/scores.npy", "--weights", "{f}/H.npy"], "A: found a negative"),
    "no option": (["predict", "--weights", "{f}/H.npy"], "--attention"),
    "no command": (["predikt"], "predikt"),
    "unknown option": (["predict", "--attentoin", "x"], "--attentoin"),
    "tokens that do not fit": (
        ["predict", "--attention", "{f}/A.npy", "--weights", "{f}/H.npy", "--tokens", "{f}/A.npy"],
        "x0: found shape",
    ),
    "depth text": (simulated("--depth x"), "--depth"),
    "depth negative": (simulated("--depth -1"), "--depth"),
    "layers": (simulated("--depth 3 --layers 1;2"), "--layers"),
    "layers beyond": (simulated("--depth 3 --layers 9"), "layers: found layer 9"),
    "metric": (simulated("--depth 3 --metrics cosin"), "Did you mean 'cosine'"),
    "out folder": (simulated("--depth 3 --out {f}"), "--out"),
    "figure": (["figures", "phase_diagramm", "--out", "{f}/figs"], "The nearest are phase_diagram"),
    "figure place": (["figures", "regime_disk", "--out", "{f}/A.npy/figs"], "--out"),
    "figure format": (["figures", "regime_disk", "--format", "png,tif3", "--out", "{f}/figs"], "'tif'"),
    "figure width": (["figures", "regime_disk", "--width", "90mm", "--out", "{f}/figs"], "'89mm', 'slide'"),
    "report place": (["report", "--out", "{f}/A.npy/page"], "--out"),
    "report seed": (["report", "--seed", "-1", "--out", "{f}/page"], "--seed"),
    "figure seed": (["figures", "regime_disk", "--seed", "-1", "--out", "{f}/figs"], "--seed"),
    "demo place": (["demo", "--out", "{f}/A.npy/demo"], "out"),
    "demo seed": (["demo", "--seed", "-3", "--out", "{f}/demo"], "seed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_code_2(case, files, capsys):
    arguments, named = BAD[case]
    code, out, err = run(capsys, *[a.format(f=files) for a in arguments])
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert named in err


def test_demo_does_not_replace_what_is_not_its_own(files, capsys):
    (files / "demo" / "phase_diagram.zarr").mkdir(parents=True)
    code, _, err = run(capsys, "demo", "--out", files / "demo")
    assert code == 2
    assert "not written by linsim demo" in err


def test_help_names_every_command():
    shown = subprocess.run(
        [sys.executable, "-m", "linsim", "--help"], capture_output=True, text=True, check=True
    )
    assert [name for name in ("demo", "simulate", "predict", "figures") if name not in shown.stdout] == []


def test_no_arguments_show_help(capsys):
    code, _, err = run(capsys)
    assert code == 2
    assert "Your own matrices:" in err
