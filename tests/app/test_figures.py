"""Every figure: its data, its title and caption, its panels; and what `linsim figures` refuses."""

import struct

import numpy as np
import pytest
import xarray
from linsim.figures.style import COLUMN, write

from linsim import figures
from linsim.errors import InvalidTypeError, InvalidValueError, ShapeError
from linsim.escalation import OddsFactor
from linsim.figures import phase_diagram, regime_disk
from linsim.theory import boundary, disk, predict

#: whose data are cheap enough to be computed twice and with another seed
SEEDED = [
    name
    for name in figures.NAMES
    if name not in ("performance", "pure_attention", "real_model", "trained_layers")
]
#: titles that state something which small sizes do not show
NEUTRAL = ("models_over_depth", "random_attention", "sphere_clustering")


def test_there_are_at_least_twenty_figures_with_one_interface():
    assert len(figures.NAMES) == len(set(figures.NAMES)) >= 20
    for name in figures.NAMES:
        module = figures.load(name)
        assert {"QUICK", "caption", "compute", "draw", "message"} <= set(module.__all__)


@pytest.mark.parametrize("name", ["regime_disk", "escalation", "mixture"])
def test_a_seed_fixes_the_data(name, figure_data):
    module = figures.load(name)
    assert module.compute(**module.QUICK).identical(figure_data(name))
    assert not module.compute(**module.QUICK, seed=1).equals(figure_data(name))


@pytest.mark.full
@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_fixes_the_data_of_each(name, figure_data):
    test_a_seed_fixes_the_data(name, figure_data)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("name", "width"),
    [
        pytest.param(name, width, marks=[pytest.mark.full] * (width == "slide" and k % 4 != 0))
        for k, name in enumerate(figures.NAMES)
        for width in ("89mm", "slide")
    ],
)
def test_every_panel_is_labelled_and_every_word_is_on_the_page(name, width, figure_drawn):
    fig = figure_drawn(name, width)
    expected = {"89mm": 89, "slide": 25.4 * 20 / 3}[width]
    assert fig.get_size_inches()[0] * 25.4 == pytest.approx(expected)
    fig.canvas.draw()
    page = fig.bbox.padded(1)
    renderer = fig.canvas.get_renderer()
    for ax in fig.axes:
        assert ax.get_ylabel()
        hidden = not ax.xaxis.get_tick_params()["labelbottom"]
        assert ax.get_xlabel() or hidden or ax.get_label() == "<colorbar>"
        for text in (ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title, ax._right_title, *ax.texts):
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert page.x0 <= box.x0 <= box.x1 <= page.x1, text
                assert page.y0 <= box.y0 <= box.y1 <= page.y1, text
    title = fig._suptitle.get_window_extent(renderer)
    assert page.x0 <= title.x0 <= title.x1 <= page.x1
    sizes = [t.get_fontsize() for ax in fig.axes for t in (*ax.texts, ax.xaxis.label, *ax.get_xticklabels())]
    assert min(sizes) >= 6


def spoilt(variable):
    """Return other numbers of the same kind: with the other sign, or in the other order and larger."""
    if variable.dtype.kind not in "fi":
        return variable
    v = variable.values
    both = np.nanmin(v) < 0 < np.nanmax(v)
    return variable.dims, -v if both else 2 * np.flip(v)


@pytest.mark.parametrize("name", figures.NAMES)
def test_title_and_caption_say_what_the_data_show(name, figure_data):
    module, ds = figures.load(name), figure_data(name)
    assert module.caption(ds).startswith(module.message(ds))
    # the same variables with other numbers: the statement is not made, or made of other numbers
    others = [ds.assign({key: spoilt(v)}) for key, v in ds.data_vars.items()]
    with np.errstate(all="ignore"):
        assert any(module.caption(other) != module.caption(ds) for other in others)
        if name not in NEUTRAL:
            assert any(module.message(other) != module.message(ds) for other in others)


@pytest.mark.parametrize("name", figures.NAMES)
def test_a_foreign_dataset_and_too_few_axes_are_refused(name, figure_data, figure_drawn):
    module = figures.load(name)
    for function in (module.draw, module.caption, module.message):
        with pytest.raises(InvalidValueError, match=r"^dataset: found no .*compute"):
            function(xarray.Dataset({"nothing": 1}))
        with pytest.raises(InvalidTypeError, match="Dataset"):
            function([1, 2])
    with pytest.raises(ShapeError, match=r"^axes: found 9 objects"):
        module.draw(figure_data(name), axes=[figure_drawn(name).axes[0]] * 9)


def test_two_runs_on_the_axes_of_the_caller(figure_data):
    from matplotlib.figure import Figure

    home = Figure()
    axes = home.subplots(1, 2)
    module = figures.load("escalation")
    for ds in (figure_data("escalation"), module.compute(**module.QUICK, seed=1)):
        assert module.draw(ds, axes=axes) is home
    assert len(axes[0].lines) == 2 * 2 * len(module.QUICK["tokens"])
    assert home._suptitle is None


def test_own_sizes_and_spectra_are_in_the_caption_and_in_the_lines():
    grid = {"mu_min": (-3.0, -1.0, 1.0), "lambda_min": (-0.2, -0.1), "tokens": 6, "features": 3}
    ds = phase_diagram.compute(**grid, depth=32, replicates=1)
    assert "6 tokens, 3 features" in phase_diagram.caption(ds)
    assert "one system a cell" in phase_diagram.caption(ds)
    line = phase_diagram.draw(ds).axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [boundary(-0.2), boundary(-0.1)])


def test_files_are_the_same_again_and_of_the_wanted_width(tmp_path):
    made = []
    for k in range(2):
        keep = tmp_path / f"keep{k}"  # computed twice
        out = tmp_path / str(k)
        made.append(
            figures.make("complex_disks", out, quick=True, formats="png,pdf,svg", keep=keep, progress=False)
        )
    assert [path.suffix for path in made[0]] == [".png", ".pdf", ".svg", ".txt"]
    for one, two in zip(*made, strict=True):
        assert one.read_bytes() == two.read_bytes()
    header = made[0][0].read_bytes()[:24]
    assert struct.unpack(">I", header[16:20])[0] == int(COLUMN * 300)
    assert (
        "linsim figures complex_disks --seed 0 --quick --format png,pdf,svg --out DIR"
        in made[0][-1].read_text()
    )
    slide = figures.make(
        "complex_disks", tmp_path, quick=True, formats=["png"], width="slide", keep=tmp_path / "keep0"
    )
    assert struct.unpack(">II", slide[0].read_bytes()[16:24]) == (1920, 1080)
    ds = figures.dataset("complex_disks", quick=True, keep=tmp_path / "keep0")
    fig = figures.load("complex_disks").draw(ds)
    text = write(fig, "words", "command", None, tmp_path, "own", formats=["svg"])[-1]
    assert text.read_text() == "words\n\nCommand: command\nNo random numbers.\n"


def test_the_style_sheet_is_one_that_matplotlib_finds():
    import matplotlib.style as mpl_style
    from linsim.figures.style import SHEET
    from matplotlib import rcParams

    with mpl_style.context("linsim.paper"):
        there = dict(rcParams)
    with mpl_style.context(SHEET):
        assert dict(rcParams) == there
    assert there["font.size"] == 7.5


# --- what the data say -----------------------------------------------------------------------------


def test_phase_diagram_measures_the_predicted_regime(figure_data):
    ds = figure_data("phase_diagram")
    clear = np.abs(ds.predicted_margin) > 0.1
    ratio = ds.log_hfc_lfc.isel(layer=-1)
    assert int(clear.sum()) > 100
    assert bool((np.sign(ratio) == -ds.predicted_regime).where(clear, True).all())
    assert f" {ds.predicted_margin.size:,} " in phase_diagram.caption(ds)


def test_depth_regimes_shows_who_converges_and_how_fast(figure_data):
    module, ds = figures.load("depth_regimes"), figure_data("depth_regimes")
    assert ds.predicted_regime.values.tolist() == [[1, 1], [-1, -1], [1, 1]]
    for name, (predicted, measured) in module.factors(ds).items():
        # what is left at 400 layers: the next mode, and the logarithm of the logarithm in the rank gap
        np.testing.assert_allclose(measured, predicted, rtol=0, atol=0.01 if name != "tokens" else 2e-3)
    tokens, rank, angles = (
        ds[name].isel(layer=-1) for name in ("log_hfc_lfc", "log_effective_rank_gap", "log_abs_cosine_gap")
    )
    smooth = ds.scale != -1
    assert bool((angles < 2 * tokens).where(smooth, True).all()), "angles close faster than token diversity"
    assert bool((2 * tokens.where(smooth, -99) < -80).all())
    assert bool((tokens.where(~smooth, 99) > 80).all()), "sharpening keeps tokens apart"
    assert bool((rank < -80).all()), "the rank collapses in every regime"


def test_regime_disk_measures_the_predicted_disk(figure_data):
    ds = figure_data("regime_disk")
    radius = np.array([disk(a)[1] for a in ds.lambda_min.values])[:, None, None]
    inside = np.abs(ds.re.values[:, None] + 1j * ds.im.values + radius) < radius
    measured, margin = ds.measured_rate.values[..., 0], ds.predicted_margin.values[..., 0]
    np.testing.assert_array_equal(inside, margin < 0)
    # a basis of condition 2 moves either norm by at most that factor between the two layers
    bound = 4 * np.log(regime_disk.CONDITION) / ds.attrs["span"]
    clear = np.abs(margin) > bound
    assert clear.sum() > 0.9 * clear.size
    np.testing.assert_array_equal((measured > 0)[clear], inside[clear])
    np.testing.assert_allclose(measured, -margin, rtol=0, atol=bound)


def test_complex_disks_are_those_that_predict_finds(figure_data):
    ds = figure_data("complex_disks")
    A = np.stack([np.roll([0.05, 0.85, 0.1], k) for k in range(3)])
    x, y = (v.ravel() for v in np.meshgrid(ds.re.values, ds.im.values, indexing="ij"))
    H = np.stack([np.stack([x, y], axis=-1), np.stack([-y, x], axis=-1)], axis=-2)
    law = predict(A, H)
    np.testing.assert_array_equal(law.margin < 0, ds.inside.values.ravel())
    np.testing.assert_allclose(ds.measured_rate.values.ravel(), -law.margin, atol=0.05)


def test_arithmetic_limit_plain_stops_and_split_goes_on(figure_data):
    ds = figure_data("arithmetic_limit")
    ten = np.log(10)
    # squares of roundings, summed over the tokens: a thousandth of eps^2 is luck, which some layers have
    deep = ds.careful.isel(layer=slice(ds.sizes["layer"] // 2, None))
    assert float(deep.median("layer").min()) > 2 * np.log(np.finfo(float).eps) - 3 * ten
    # what is left of 1 is a multiple of half its rounding, and a ratio of singular values a rounding
    assert float(ds.naive[:2].min()) >= np.log(np.finfo(float).eps / 2)
    assert float(ds.naive[2].min()) > np.log(np.finfo(float).eps) - 3 * ten
    at = ds.split.sel(layer=ds.check.values).values
    assert at.min() < -300 * ten
    np.testing.assert_allclose(np.expm1(at - ds.exact.values), 0, atol=1e-9)
    np.testing.assert_allclose(np.expm1(at[0] - ds.closed_form.values), 0, atol=1e-9)
    # slope against the rate predicted from spectra
    slope = (at[:, -1] - at[:, at.shape[1] // 2]) / float(ds.check[-1] - ds.check[at.shape[1] // 2])
    np.testing.assert_allclose(np.exp(slope), ds.predicted_rate, rtol=1e-4)


def test_integer_truth_agrees_with_direct_measures_and_more_bits():
    module = figures.load("arithmetic_limit")
    A, H, x0 = module.system(5)
    layers = [8, 60]
    truth = module.exact(A, H, x0, layers)
    # a gap is a difference of logarithms of integers of up to six factors of so many bits, each rounded
    rounding = 4 * 6 * 3000 * np.log(2) * np.finfo(float).eps
    np.testing.assert_allclose(truth, module.exact(A, H, x0, layers, bits=3000), rtol=0, atol=rounding)
    _, careful = module.plain(A, H, x0, [8])
    np.testing.assert_allclose(truth[:, 0], careful[:, 0], rtol=0, atol=1e-6)


def test_plain_iteration_on_the_sphere_is_the_same_layer(figure_data):
    ds = figure_data("sphere_clustering").isel(layer=slice(0, 12))
    np.testing.assert_allclose(ds.plain, ds.log_cosine_gap, rtol=0, atol=1e-9)


def test_escalation_rates_are_the_exact_laws(figure_data):
    ds = figure_data("escalation_rate")
    laws = [OddsFactor(int(d)) for d in ds.d.values]
    # half a 95 % interval is 1.97 standard errors; five of them fail once in a million
    assert (np.abs(ds.mean_rate - [law.expected_rate() for law in laws]) < 2.55 * ds.mean_rate_error).all()
    assert (np.abs(ds.typical - [law.log_mean for law in laws]) < 2.55 * ds.typical_error).all()


def test_norm_placement_orders_the_blocks(figure_data):
    last = figure_data("norm_placement").log_odds.isel(layer=-1)
    high = last.sel(block=["attention", "post-norm"])
    pre, calm = last.sel(block="pre-norm"), last.sel(block="de-escalated")
    assert float(high.min()) > float(pre.max()) > float(pre.min()) > float(calm.max())


def test_layer_norm_sign_swaps_with_the_share(figure_data):
    ds = figure_data("layer_norm_sign")
    share = ds.linear / ds.attrs["draws"]
    assert (share.sel(negative=0) == 0).all(), "no negative gain: it sharpens"
    assert (share.isel(negative=-1) == 1).all(), "all negative: it smooths"
    at_zero = share.sel(negative=ds.negative > 0).sel(lambda_min=0)
    assert (at_zero == 1).all(), "with lambda_min = 0 one negative gain is enough"
    # smoother with every further negative gain, within the band that holds for all curves at once
    band = figures.load("layer_norm_sign")._band(ds)
    assert (share.diff("negative") > -2 * band).all()


def test_other_claims_in_titles(figure_data):
    assert float((figure_data("bounds").measured - figure_data("bounds").upper).max()) < 1e-9
    assert float((figure_data("transients").log_hfc_lfc - figure_data("transients").log_bound).max()) < 1e-9
    assert (
        float((figure_data("pure_attention").log_spread - figure_data("pure_attention").log_bound).max())
        < 1e-9
    )
    dominant = figure_data("dominant_eigenvalue")
    np.testing.assert_array_equal(dominant.smoothing, dominant.by_moduli)
    mixed = figure_data("mixture")
    np.testing.assert_allclose(mixed.measured, mixed.predicted, atol=0.05)
    scaled = figure_data("affine_layers").sel(system="smoothing, scale")
    np.testing.assert_allclose(np.exp(scaled.log_hfc_lfc.isel(layer=-1)), scaled.limit, rtol=1e-2)
    assert float(figure_data("performance").difference.max()) < 1e-10
