"""Data of figures are kept by what they were computed from, and by nothing else."""

import sys

import numpy as np
import pytest
import xarray

from linsim import figures
from linsim.errors import InvalidTypeError
from linsim.figures import cache, complex_disks, pure_attention

#: a figure of one's own: what it counts tells whether it ran
OWN = '''
"""A figure."""
import numpy as np
import xarray
from {sibling} import HEIGHT

SCALE = 2.0  # a comment
RUNS = []


def helper(x):
    """Words."""
    return SCALE * x


def compute(*, seed=0, layers=(1, 2), progress=False):
    RUNS.append(seed)
    values = helper(np.array(layers, dtype=float))
    return xarray.Dataset(
        {{"a": ("x", values), "flag": ("x", values > 2), "z": ("x", values * 1j), "one": ((), 3)}},
        {{"x": list(layers), "name": ("x", ["p", "q"][: len(layers)])}},
        {{"seed": seed, "layers": list(layers)}},
    )


def draw(ds):
    return HEIGHT
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Load a figure of one's own from changed text, as often as wanted."""
    monkeypatch.syspath_prepend(tmp_path)
    count = iter(range(100))

    def load(change=lambda text: text):
        name = f"own_figure_{next(count)}"
        (tmp_path / f"{name}.py").write_text(change(OWN.format(sibling="own_sibling")))
        (tmp_path / "own_sibling.py").write_text("HEIGHT = 3\n")
        module = __import__(name)
        module.__name__ = "own_figure"  # edited, not another one
        return module

    yield load
    for name in [n for n in sys.modules if n.startswith("own_")]:
        del sys.modules[name]


def test_data_come_back_as_they_were_and_compute_runs_once(own, tmp_path):
    module = own()
    first = cache.computed(module, keep=tmp_path / "keep", seed=3)
    again = cache.computed(module, keep=tmp_path / "keep", seed=3, progress=True)
    assert first.identical(again)
    assert [v.dtype for v in first.variables.values()] == [v.dtype for v in again.variables.values()]
    assert module.RUNS == [3]
    cache.computed(module, keep=tmp_path / "keep", seed=4)
    cache.computed(module, keep=tmp_path / "keep", seed=3, layers=[1])
    assert module.RUNS == [3, 4, 3]


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("return HEIGHT", "return 2 * HEIGHT", False),  # restyled
        ("# a comment", "# another", False),
        ('"""Words."""', '"""Other words."""', False),
        ("SCALE = 2.0", "SCALE = 3.0", True),
        ("SCALE * x", "SCALE + x", True),
        ("layers=(1, 2)", "layers=(1, 3)", True),
    ],
)
def test_what_is_computed_again(own, tmp_path, old, new, again):
    cache.computed(own(), keep=tmp_path / "keep")
    changed = own(lambda text: text.replace(old, new))
    assert old in OWN
    cache.computed(changed, keep=tmp_path / "keep")
    assert len(changed.RUNS) == again


def test_another_version_of_a_library_computes_again(own, tmp_path, monkeypatch):
    cache.computed(own(), keep=tmp_path)
    monkeypatch.setattr(cache, "_library", lambda: "another linsim")
    module = own()
    cache.computed(module, keep=tmp_path)
    assert module.RUNS


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_damaged_data_are_computed_again_with_a_note(own, tmp_path, damage):
    module, notes = own(), []
    first = cache.computed(module, keep=tmp_path / "keep")
    (path,) = (tmp_path / "keep").glob("*.npz")
    whole = bytearray(path.read_bytes())
    if damage == "flipped":
        for at in range(len(whole) // 3, len(whole) // 3 + 40):
            whole[at] ^= 0xFF
    path.write_bytes({"cut": whole[:-30], "flipped": whole, "empty": b"", "text": b"hello"}[damage])
    again = cache.computed(module, keep=tmp_path / "keep", note=notes.append)
    assert first.identical(again)
    assert len(notes) == 1
    assert "damaged" in notes[0]
    assert len(module.RUNS) == 2
    assert cache.computed(module, keep=tmp_path / "keep", note=notes.append).identical(first)
    assert (len(module.RUNS), len(notes)) == (2, 1), "mended"


def test_where_nothing_can_be_kept_the_figure_is_still_made(own, tmp_path):
    (tmp_path / "file").write_text("")
    notes = []
    assert cache.computed(own(), keep=tmp_path / "file" / "keep", note=notes.append).a.size == 2
    assert "cannot be kept" in notes[0]
    assert "LINSIM_CACHE" in notes[0]


def test_old_data_are_removed(own, tmp_path):
    module = own()
    for seed in range(12):
        cache.computed(module, keep=tmp_path, seed=seed)
    assert len(list(tmp_path.glob("*.npz"))) == 8
    assert list(tmp_path.glob("*.part")) == []


def test_unknown_arguments_and_objects_are_refused():
    with pytest.raises(InvalidTypeError, match=r"^arguments: .*cels.*cells"):
        figures.dataset("complex_disks", cels=3)
    with pytest.raises(InvalidTypeError, match=r"^arguments: found an object of type object"):
        figures.dataset("complex_disks", first_row=object())


def test_the_folder_is_where_one_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LINSIM_CACHE", str(tmp_path / "here"))
    assert cache.folder() == tmp_path / "here"
    monkeypatch.delenv("LINSIM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "linsim" / "figures"


@pytest.mark.parametrize("name", figures.NAMES)
def test_every_default_can_be_a_key_and_every_quick_argument_is_one(name):
    module = figures.load(name)
    assert cache.key(module, module.QUICK) != cache.key(module, {})
    source = cache.used_source(module, "compute")
    assert "def compute" in source
    assert "def draw" not in source
    assert "def caption" not in source


def test_style_is_not_part_of_what_computes():
    for module in (complex_disks, pure_attention):
        assert "COLUMN" not in cache.used_source(module, "compute")


def test_kept_data_draw_the_same_figure(tmp_path):
    first = figures.dataset("pure_attention", quick=True, keep=tmp_path)
    again = figures.dataset("pure_attention", quick=True, keep=tmp_path)
    assert isinstance(again, xarray.Dataset)
    pictures = []
    for ds in (first, again):
        fig = pure_attention.draw(ds)
        fig.canvas.draw()
        pictures.append(np.asarray(fig.canvas.buffer_rgba()))
    np.testing.assert_array_equal(*pictures)
