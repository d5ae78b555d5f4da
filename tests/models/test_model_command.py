"""``linsim model`` as a user runs it, on small checkpoints of random weights."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from oracles.checkpoints import FAMILIES, HERE, config_of, input_of, tensors_of, write

from linsim import models
from linsim.app.cli import main

IDS = ",".join(str(number) for number in input_of("bert")["ids"])


@pytest.fixture
def linsim(capsys):
    """Run the command; return exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(["model", *(str(one) for one in arguments)])
        shown = capsys.readouterr()
        # the first run on a machine says that it compiles
        said = [one for one in shown.err.splitlines(True) if not one.startswith("linsim: compiling")]
        return stopped.value.code, shown.out, "".join(said)

    return run


def test_in_a_process_of_its_own():
    command = [sys.executable, "-m", "linsim", "model", str(HERE / "bert" / "model.safetensors"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["layers"]) == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_json_is_what_the_file_says(linsim, name):
    """The spectrum as stored lies at the top level of each layer's entry, under promised names."""
    code, out, err = linsim(HERE / name, "--json", "--lambda-min", "-0.2")
    assert (code, err) == (0, "")
    said = json.loads(out)
    model = models.load(HERE / name)
    assert said["model"]["family"] == FAMILIES[name][0]
    assert len(said["layers"]) == model.layers
    for entry, one in zip(said["layers"], model.spectra, strict=True):
        for shown, spectrum in ((entry, one.raw), (entry["effective"], one.effective)):
            assert shown["weight_eigenvalue_real_min"] == spectrum.real_min
            assert shown["weight_eigenvalue_real_max"] == spectrum.real_max
            assert shown["fraction_negative"] == spectrum.fraction_negative
            assert shown["exact_zeros"] == spectrum.exact_zeros
            assert shown["regime"] == spectrum.regime(-0.2)
        assert len(entry["heads"]) == 3
        assert entry["heads"][1]["effective"]["largest_growth"] == one.effective_heads[1].growth


def test_json_of_a_run(linsim):
    code, out, err = linsim(
        HERE / "bert", "--ids", IDS, "--json", "--what-if", "sharpen", "--what-if", "no-bias"
    )
    assert (code, err) == (0, "")
    said = json.loads(out)
    run = models.load(HERE / "bert").run(ids=input_of("bert")["ids"])
    for entry, one in zip(said["layers"], run.layers, strict=True):
        for name in ("measured", "step", "law", "escalation_rate"):
            assert entry["measured"][name] == getattr(one, name)
        assert entry["measured"]["verdict"] == ("smooths" if one.measured < 0 else "sharpens")
    assert said["run"]["curves"]["hfc_lfc"] == run.curves.all["hfc_lfc"].tolist()
    assert said["run"]["curves_without_sink"]["cosine"] == run.curves.others["cosine"].tolist()
    assert [one["what_if"] for one in said["what_if"]] == ["sharpen", "no-bias"]


def test_a_table_fits_a_screen(linsim):
    code, out, err = linsim(HERE / "albert", "--ids", IDS)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    assert lines[0].startswith(
        "ALBERT (safetensors): 2 stored layers run 4 times in all, 3 heads, width 24, post"
    )
    run = models.load(HERE / "albert").run(ids=input_of("bert")["ids"])
    rows = [line for line in lines if line.lstrip()[:1].isdigit() and "|" in line]
    assert len(rows) == 4
    for row, one in zip(rows, run.layers, strict=True):
        assert f"{one.measured:+.3f}" in row
        assert f"{one.step:+.3f}" in row
        assert one.verdict in row
        assert (", law not" in row) == (not one.law_agrees)
    smooth = sum(one.measured < 0 for one in run.layers)
    assert f"Attention smooths in {smooth} of 4 layers" in out
    assert "in 4 of 4 layers" in " ".join(out.split())


@pytest.mark.parametrize("name", ["bert", "gpt2", "dinov2"])
def test_spectra_alone(linsim, name):
    code, out, err = linsim(HERE / name)
    assert (code, err) == (0, "")
    folded = name != "bert"
    assert ("effective: gain, scale, centring" in out) == folded
    assert ("sigma" in out) == folded
    assert max(map(len, out.splitlines())) <= 110
    one = models.load(HERE / name).spectra[1]
    row = next(line for line in out.splitlines() if line.startswith("    1 |"))
    assert f"{one.raw.real_min:.3g}" in row
    assert f"{one.effective.real_max:.3g}" in row
    assert "--image" in out if name == "dinov2" else "--text" in out


def test_one_token_that_outweighs_the_rest_is_named(linsim, tmp_path):
    states = models.load(HERE / "gpt2").run(**input_of("gpt2")).states[0]
    states[3] *= 100
    np.save(tmp_path / "x.npy", states)
    code, out, _ = linsim(HERE / "gpt2", "--states", tmp_path / "x.npy")
    assert code == 0
    run = models.load(HERE / "gpt2").run(states=states)
    assert run.curves.sink == 3
    assert f"Token 3 holds up to {run.curves.largest_share.max():.1%} of the squared norm" in " ".join(
        out.split()
    )


def test_heads_and_changes(linsim):
    code, out, _ = linsim(
        HERE / "bert", "--ids", IDS, "--per-head", "--what-if", "smooth", "--what-if", "deescalate=0.5"
    )
    assert code == 0
    run = models.load(HERE / "bert").run(ids=input_of("bert")["ids"])
    assert " ".join(f"{value:+.3f}" for value in run.layers[1].heads) in " ".join(out.split())
    other = models.load(HERE / "bert").run(ids=input_of("bert")["ids"], what_if="deescalate=0.5")
    last = out.splitlines()[-1].split()
    assert last[0] == "out"
    assert float(last[2]) == pytest.approx(run.curves.all["hfc_lfc"][-1], rel=1e-3)
    assert float(last[-1]) == pytest.approx(other.curves.all["hfc_lfc"][-1], rel=1e-3)
    code, out, _ = linsim(HERE / "bert", "--per-head")
    one = models.load(HERE / "bert").spectra[0].effective_heads[0]
    assert f"{one.real_max:.2g}/{one.fraction_negative:.0%}" in out


def test_files_are_written(linsim, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = linsim(
        HERE / "vit", "--image", _pixels(tmp_path), "--out", tmp_path / "o", "--html", page
    )
    assert (code, err) == (0, "")
    names = ["curves.pdf", "curves.png", "curves.txt", "eigenvalues.npz", "model.json", "model.txt"]
    names += ["spectra.pdf", "spectra.png", "spectra.txt"]
    assert sorted(file.name for file in (tmp_path / "o").iterdir()) == names
    assert out.count("wrote ") == len(names) + 1
    model = models.load(HERE / "vit")
    with np.load(tmp_path / "o" / "eigenvalues.npz") as held:
        np.testing.assert_array_equal(held["effective_1"], model.spectra[1].effective.whole)
        assert held["raw_0"].shape == (24,)
    printed = out.split("wrote ")[0]
    assert (tmp_path / "o" / "model.txt").read_text() == printed
    assert json.loads((tmp_path / "o" / "model.json").read_text())["model"]["family"] == "ViT"
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "http" not in text
    assert "&lt;" in text  # the table's own signs are no tags


def _pixels(folder):
    np.save(folder / "image.npy", input_of("vit")["image"])
    return folder / "image.npy"


def test_json_beside_files_is_alone_on_standard_output(linsim, tmp_path):
    code, out, err = linsim(HERE / "bert", "--json", "--out", tmp_path / "o")
    assert code == 0
    json.loads(out)
    assert err.count("wrote ") == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "path: found nowhere, and nothing there"),
        ([HERE], "checkpoints"),
        ([HERE / "bert", "--ids", "1,x"], "--ids: found '1,x'"),
        ([HERE / "bert", "--ids", "1,99"], "ids: found 99; expected token ids from 0 to 29"),
        ([HERE / "bert", "--ids", IDS, "--text", "a"], "text and ids"),
        ([HERE / "bert", "--image", "x.png"], "x.png"),
        ([HERE / "vit", "--ids", "1,2"], "token ids"),
        ([HERE / "bert", "--heads", "5"], "heads: found 5 heads over 24 channels"),
        ([HERE / "bert", "--lambda-min", "1"], "--lambda-min"),
        ([HERE / "bert", "--lambda-min", "-1"], "--lambda-min"),
        ([HERE / "bert", "--what-if", "sharpen"], "--what-if: found no input"),
        ([HERE / "bert", "--ids", IDS, "--what-if", "sharpn"], "Did you mean 'sharpen'?"),
        ([HERE / "bert", "--part", "text"], "part: found 'text'"),
        ([HERE / "bert", "--states", "no.npy"], "--states: found no.npy"),
        ([HERE / "bert", "--out", HERE / "bert" / "config.json"], "--out"),
        ([HERE / "bert", "--html", HERE / "no" / "page.html"], "--html"),
        ([HERE / "bert", "--value-pattern", "x.{layer}"], "projection_pattern: found none"),
    ],
)
def test_bad_input_is_one_line(linsim, arguments, said):
    code, out, err = linsim(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("linsim: ")
    assert said in err
    assert "; expected " in err


def test_patterns(linsim, tmp_path):
    rng = np.random.default_rng(0)
    H = rng.standard_normal((5, 5))
    folder = write(tmp_path, {"x.0.v": np.eye(5), "x.0.o": H})
    patterns = ["--value-pattern", "x.{layer}.v", "--projection-pattern", "x.{layer}.o"]
    code, out, _ = linsim(folder, *patterns, "--json")
    assert code == 0
    mu = np.linalg.eigvals(H).real
    entry = json.loads(out)["layers"][0]
    assert entry["weight_eigenvalue_real_min"] == pytest.approx(mu.min(), abs=1e-12)
    assert entry["weight_eigenvalue_real_max"] == pytest.approx(mu.max(), abs=1e-12)
    assert entry["fraction_negative"] == np.mean(mu < 0)
    code, out, _ = linsim(folder, *patterns)
    assert code == 0
    assert "not known" in out


def test_memory_is_that_of_a_few_layers(tmp_path):
    """A checkpoint of 75 MiB is read within far less beside what Python and the libraries take."""
    d, layers = 512, 24
    one = np.eye(d, dtype=np.float32)
    tensors = {}
    for layer in range(layers):
        at = f"encoder.layer.{layer}.attention."
        for name in ("self.value", "output.dense"):
            tensors[f"{at}{name}.weight"] = one
        tensors[f"{at}output.LayerNorm.weight"] = one[0]
        tensors[f"{at}output.LayerNorm.bias"] = one[0]
        tensors[f"encoder.layer.{layer}.output.dense.weight"] = np.zeros((d, d), np.float32)
    folder = write(
        tmp_path, tensors, config_of("bert") | {"num_hidden_layers": layers, "num_attention_heads": 4}
    )
    size = (folder / "model.safetensors").stat().st_size
    code = (
        "import resource, sys, numpy as np, scipy.linalg, threadpoolctl, safetensors.numpy, linsim\n"
        "H = np.eye(512); np.linalg.eigvals(H)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"model = linsim.models.load({str(folder)!r})\n"
        "assert model.spectra[0].raw.real_max == 1\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # four layers at once at most, each of a few float64 matrices
    assert int(done.stdout) < 4 * 6 * 8 * d * d < size


def test_help_names_every_option(linsim):
    code, out, _ = linsim("--help")
    assert code == 0
    for option in ("--text", "--what-if", "--value-pattern", "--html", "--states", "--lambda-min"):
        assert option in out


def test_tensors_of_tests_are_small():
    assert sum(file.stat().st_size for file in HERE.rglob("*") if file.is_file()) < 2 * 2**20
    assert tensors_of("bert")["embeddings.word_embeddings.weight"].shape == (30, 24)
