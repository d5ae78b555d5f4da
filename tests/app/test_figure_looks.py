"""Colours by meaning, styles beside colours, and pictures that stay as they were."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.ndimage import gaussian_filter

from linsim import figures
from linsim.figures import palette

REFERENCES = Path(__file__).parent / "figure_references"
#: figures with a reference: lines, maps, marks, several panels
REFERENCED = ("complex_disks", "transients", "escalation_rate", "tau_sweep", "bounds", "real_model")
#: pixels per inch of a reference
DPI = 50
#: what two pictures may differ by at most, of 1, after a blur over 1.5 pixels: edges that another version
#: smooths otherwise stay below; a curve that is not there does not (see the tests)
TOLERANCE = 0.08
#: what two colours must differ by in CIELAB to be told apart side by side
APART = 10.0


def artists(fig):
    # the pointed ends of a colour bar have the colours of its map
    for ax in [
        *(one for one in fig.axes if one.get_label() != "<colorbar>"),
        *(child for one in fig.axes for child in one.child_axes),
    ]:
        yield from (
            (ax, artist) for artist in (*ax.lines, *ax.collections, *ax.patches, *ax.texts, *ax.images)
        )


def colours(artist):
    """Return the colours of an artist that are no grey, and its colour map if it has one."""
    if isinstance(artist, mpl.contour.ContourSet) and artist.colors is not None:
        pass  # lines of given colours, which it holds as a map of its own
    elif isinstance(artist, mpl.collections.Collection) and artist.get_array() is not None:
        return [], artist.get_cmap().name
    found = []
    for getter in ("get_color", "get_facecolor", "get_edgecolor", "get_markerfacecolor"):
        if hasattr(artist, getter):
            value = getattr(artist, getter)()
            for one in (
                np.atleast_2d(mpl.colors.to_rgba_array(value))
                if not isinstance(value, str) or value != "none"
                else ()
            ):
                rgb, alpha = one[:3], one[3]
                if alpha > 0 and np.ptp(rgb) > 0.02:
                    found.append(mpl.colors.to_hex(rgb).upper())
    return found, None


def test_one_colour_has_one_meaning(figure_drawn):
    used = [role.colour for role in palette.ROLES.values()]
    assert len(set(used)) == len(used)
    known = {colour.upper() for colour in used}
    for name in figures.NAMES:
        for _, artist in artists(figure_drawn(name)):
            found, cmap = colours(artist)
            assert set(found) <= known, (name, artist, found)
            assert cmap is None or cmap in palette.MAPS, (name, artist, cmap)


def test_no_figure_names_a_colour_itself():
    folder = Path(palette.__file__).parent
    for path in folder.glob("*.py"):
        if path.name != "palette.py":
            text = path.read_text(encoding="utf-8")
            for word in ("COLOURS", "#0072", '"C0"', "orange", "vermilion", "tab:"):
                assert word not in text, (path.name, word)


def test_regimes_are_the_ends_of_their_map():
    cmap = mpl.colormaps[palette.REGIMES]
    for role, end in (("smoothing", 0.12), ("sharpening", 0.88)):
        rgb = np.array(to_rgb(palette.colour(role)))
        assert np.abs(rgb - cmap(end)[:3]).max() < 0.2, role


# simulation of the three dichromacies, linear RGB (Machado, Oliveira and Fernandes 2009, severity 1)
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(linear):
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    t = xyz / [0.9505, 1.0, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("kind", [None, *BLINDNESS])
def test_colours_of_one_panel_are_told_apart_under_colour_blindness(kind):
    matrix = np.eye(3) if kind is None else np.array(BLINDNESS[kind])
    seen = {name: lab(np.clip(matrix @ linear(role.colour), 0, 1)) for name, role in palette.ROLES.items()}
    together = [
        ("smoothing", "sharpening", "predicted"),
        ("tokens", "angles", "rank", "predicted"),
        ("attention", "post-norm", "pre-norm", "de-escalated", "predicted"),
        ("attention", "feed-forward"),
    ]
    for group in together:
        for k, one in enumerate(group):
            for other in group[:k]:
                assert np.linalg.norm(seen[one] - seen[other]) > APART, (kind, one, other)


@pytest.mark.parametrize("name", figures.NAMES)
def test_no_two_curves_differ_in_colour_alone(name, figure_drawn):
    for ax in figure_drawn(name).axes:
        styles = {}
        for line in ax.lines:
            if len(line.get_xdata()) > 1:
                # a marker at every point, or dashes: what a grey print shows
                dashes = str(line._unscaled_dash_pattern)
                key = (dashes, line.get_marker(), line.get_linestyle(), round(line.get_linewidth(), 2))
                styles.setdefault(key, set()).add(mpl.colors.to_hex(line.get_color()))
        for key, used in styles.items():
            assert len(used) == 1, (name, key, used)


# --- pictures --------------------------------------------------------------------------------------


def picture(fig):
    """Return what a figure shows beside words, (height, width, 3) numbers between 0 and 1, small.

    Words are rendered, and take room, as the version of a library likes; other tests read them.
    """
    for ax in [*fig.axes, *(child for one in fig.axes for child in one.child_axes)]:
        ax.tick_params(labelleft=False, labelright=False, labelbottom=False, which="both")
    for text in fig.findobj(mpl.text.Text):
        text.set_visible(False)
    fig.set_dpi(DPI)
    fig.canvas.draw()
    return np.asarray(fig.canvas.buffer_rgba())[..., :3] / 255


def difference(one, two):
    """Return how much two pictures differ where they differ most, between 0 and 1; 1 for other sizes."""
    if one.shape != two.shape:
        return 1.0
    blurred = gaussian_filter(one - two, (1.5, 1.5, 0))
    return float(np.abs(blurred).max())


def reference(name):
    return np.asarray(Image.open(REFERENCES / f"{name}.png").convert("RGB")) / 255


@pytest.mark.parametrize("name", REFERENCED)
def test_pictures_are_as_they_were(name, figure_data):
    """After a change that is meant: python tests/app/test_figure_looks.py, look at the files, commit them."""
    assert difference(picture(fresh(name, figure_data)), reference(name)) < TOLERANCE


def fresh(name, data):
    return figures.load(name).draw(data(name))


def swapped(fig):
    for ax in fig.axes:
        for line in ax.lines:
            line.set_data(line.get_ydata(), line.get_xdata())
        for mesh in ax.collections:
            if isinstance(mesh, mpl.collections.QuadMesh) and ax.get_label() != "<colorbar>":
                mesh.set_array(np.flip(mesh.get_array(), axis=1))


def without_a_curve(fig):
    # the thinnest of those that are in some picture alone
    line = max(fig.axes[0].lines, key=lambda one: len(np.unique(one.get_ydata())))
    line.remove()


def mirrored(fig):
    fig.axes[0].invert_xaxis()


CHANGES = [
    ("complex_disks", swapped),
    ("complex_disks", mirrored),
    ("transients", swapped),
    ("transients", without_a_curve),
    ("escalation_rate", without_a_curve),
    ("tau_sweep", mirrored),
    ("bounds", without_a_curve),
    ("real_model", without_a_curve),
]


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_the_tolerance_sees_a_swapped_axis_and_a_missing_curve(name, change, figure_data):
    fig = fresh(name, figure_data)
    before = picture(fig)
    assert difference(before, reference(name)) < TOLERANCE
    change(fig)
    assert difference(picture(fig), reference(name)) > 1.5 * TOLERANCE


if __name__ == "__main__":
    REFERENCES.mkdir(exist_ok=True)
    for one in REFERENCED:
        fig = fresh(one, lambda name: figures.dataset(name, quick=True))
        shown = Image.fromarray(np.round(picture(fig) * 255).astype(np.uint8))
        shown.save(REFERENCES / f"{one}.png", optimize=True)
