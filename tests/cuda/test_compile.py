"""nvcc takes the kernels, for three architectures, and no thread keeps numbers in memory.

Runs where nvcc is installed (``pip install 'linsim[cuda-test]'``), else it is left to ``pytest -m full``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

from linsim import _cuda
from linsim._cuda import layout

ARCHITECTURES = ("80", "90", "100")


def nvcc():
    """The compiler from its wheels, or the one on the path; None where neither is."""
    try:
        found = importlib.util.find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        found = None
    for place in found.submodule_search_locations if found else ():
        if (Path(place) / "bin" / "nvcc").exists():
            return str(Path(place) / "bin" / "nvcc")
    return None


NVCC = nvcc()

pytestmark = [pytest.mark.skipif(NVCC is None, reason="no nvcc: pip install 'linsim[cuda-test]'")]
if NVCC is None:
    pytestmark.append(pytest.mark.full)


def compiled(folder, source, architectures):
    """What ptxas says of each kernel: its name, architecture, registers and bytes of spills."""
    (folder / "kernels.cu").write_text(source)
    targets = [f"-gencode=arch=compute_{x},code=sm_{x}" for x in architectures]
    # down to machine code: what stops at PTX hides errors, and so does all but the exit status
    command = [NVCC, "--fatbin", "-std=c++17", "--threads", "0", *targets, "-Xptxas", "-v", "kernels.cu"]
    path = f"{Path(NVCC).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pieces = re.split(r"Compiling entry function ", done.stderr)[1:]
    out = {}
    for piece in pieces:
        name, architecture = re.match(r"'(\w+)' for 'sm_(\d+)'", piece).groups()
        spills = [int(x) for x in re.findall(r"(\d+) bytes spill", piece)]
        assert spills
        out[name, architecture] = int(re.search(r"Used (\d+) registers", piece)[1]), sum(spills)
    return out


def test_three_architectures_without_spills(tmp_path):
    found = compiled(tmp_path, _cuda.source(), ARCHITECTURES)
    assert {(f"walk_{x}", y) for x in ("float64", "float32") for y in ARCHITECTURES} <= set(found)
    for registers, spills in found.values():
        assert spills == 0, found
        # three blocks must find their registers: 65536 on every card from sm_80 on
        assert registers * layout.THREADS * 3 <= 65536, found
