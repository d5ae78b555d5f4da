import contextlib
import functools
import struct

import numpy as np
import pytest
from linsim.figures.style import COLUMN, write

from linsim import figures
from linsim.escalation import OddsFactor
from linsim.theory import disk

SMALL = {
    "phase_diagram": {
        "GRID": {"mu_min": np.linspace(-4, 2, 13), "lambda_min": np.linspace(-0.5, 0, 6)},
        "DEPTH": 64,
        "REPLICATES": 1,
    },
    "depth_regimes": {"DEPTH": 400, "STEP": 50, "SHALLOW": 8, "DRAWS": 2},
    "regime_disk": {
        "GRID": {
            "lambda_min": np.array([-0.4, 0.3]),
            "re": np.linspace(-4.1, 1.1, 14),
            "im": np.linspace(0.1, 2.2, 8),
        }
    },
    "arithmetic_limit": {"DEPTH": 400, "STEP": 40, "SHALLOW": 60, "CHECK": 40},
    "feed_forward_claim": {"DEPTH": 4, "REPLICATES": 2, "SIMILARITY": (1 / 64, 0.5, 0.9)},
    "layer_norm_sign": {
        "LAMBDA_MIN": np.linspace(-0.9, 0.0, 4),
        "DRAWS": 60,
        "STACKS": 2,
        "DEPTH": 60,
        "SIMULATED": (-0.3,),
    },
    "escalation": {"REPLICAS": 3, "DEPTH": 16, "WIDTHS": (6, 12), "DRAWS": 400},
}


@contextlib.contextmanager
def small(name):
    module = figures.load(name)
    with pytest.MonkeyPatch.context() as patch:
        for constant, value in SMALL[name].items():
            assert hasattr(module, constant)
            patch.setattr(module, constant, value)
        yield module


def computed(name, seed=0):
    with small(name) as module:
        return module.compute(seed=seed, progress=False)


@pytest.fixture(scope="module")
def datasets():
    return {name: computed(name) for name in figures.NAMES}


@pytest.fixture(scope="module")
def drawn(datasets, tmp_path_factory):
    """Draw and write a figure once: name -> (figure, paths)."""
    out = tmp_path_factory.mktemp("figures") / "new"

    @functools.cache
    def once(name):
        module = figures.load(name)
        fig = module.draw(datasets[name])
        return fig, write(fig, module.caption(datasets[name]), "command", 0, out, name)

    return once


def test_every_figure_has_a_small_version():
    assert set(SMALL) == set(figures.NAMES)


@pytest.mark.parametrize("name", figures.NAMES)
def test_a_seed_fixes_the_data(name, datasets):
    assert computed(name).identical(datasets[name])
    assert not computed(name, seed=1).equals(datasets[name])


@pytest.mark.parametrize("name", figures.NAMES)
def test_figures_are_written_at_column_width_with_labelled_axes(name, datasets, drawn):
    module, ds = figures.load(name), datasets[name]
    fig, paths = drawn(name)
    assert [p.name for p in paths] == [f"{name}.pdf", f"{name}.png", f"{name}.txt"]
    assert paths[0].read_bytes().startswith(b"%PDF")
    header = paths[1].read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert struct.unpack(">I", header[16:20])[0] == int(COLUMN * 300)
    assert paths[2].read_text().startswith(module.caption(ds))
    assert fig.get_size_inches()[0] * 25.4 == pytest.approx(89)

    fig.set_dpi(300)  # as last laid out
    page = fig.bbox.padded(1)
    renderer = fig.canvas.get_renderer()
    for ax in fig.axes:
        assert ax.get_ylabel()
        hidden = not ax.xaxis.get_tick_params()["labelbottom"]
        assert ax.get_xlabel() or hidden or ax.get_label() == "<colorbar>"
        for text in (ax.xaxis.label, ax.yaxis.label, ax.title, *ax.texts):
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert page.x0 <= box.x0 <= box.x1 <= page.x1, text
                assert page.y0 <= box.y0 <= box.y1 <= page.y1, text


def test_make_writes_the_same_files_again(drawn, tmp_path):
    name = "regime_disk"
    with small(name):
        made = figures.make(name, tmp_path, progress=False)
    assert f"linsim figures {name} --seed 0" in made[-1].read_text()
    for path, before in zip(made[:2], drawn(name)[1][:2], strict=True):
        assert path.read_bytes() == before.read_bytes()


def test_phase_diagram_measures_the_predicted_regime(datasets):
    ds = datasets["phase_diagram"]
    clear = np.abs(ds.predicted_margin) > 0.1
    ratio = ds.log_hfc_lfc.isel(layer=-1)
    assert int(clear.sum()) > 50
    assert bool((np.sign(ratio) == -ds.predicted_regime).where(clear, True).all())
    assert f" {ds.predicted_margin.size:,} " in figures.load("phase_diagram").caption(ds)


def test_depth_regimes_shows_who_converges_and_how_fast(datasets):
    module, ds = figures.load("depth_regimes"), datasets["depth_regimes"]
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
    text = module.caption(ds)
    assert f"over {int(ds.layer[-1])} layers" in text
    assert f"1e{float(2 * tokens.max()) / np.log(10):+.0f}" in text
    assert f"down to 1e{float(angles.min()) / np.log(10):.0f}" in text


def test_regime_disk_measures_the_predicted_disk(datasets):
    module, ds = figures.load("regime_disk"), datasets["regime_disk"]
    radius = np.array([disk(a)[1] for a in ds.lambda_min.values])[:, None, None]
    inside = np.abs(ds.re.values[:, None] + 1j * ds.im.values + radius) < radius
    measured, margin = ds.measured_rate.values[..., 0], ds.predicted_margin.values[..., 0]
    np.testing.assert_array_equal(inside, margin < 0)
    span = float(ds.layer[1] - ds.layer[0])
    # a basis of condition 2 moves either norm by at most that factor between the two layers
    bound = 4 * np.log(module.CONDITION) / span
    clear = np.abs(margin) > bound
    assert clear.sum() > 0.9 * clear.size
    np.testing.assert_array_equal((measured > 0)[clear], inside[clear])
    np.testing.assert_allclose(measured, -margin, rtol=0, atol=bound)
    text = module.caption(ds)
    assert f"in {margin.size:,} random systems" in text
    assert f"in {((measured > 0) == inside).sum():,} systems" in text


def test_arithmetic_limit_plain_stops_and_split_goes_on(datasets):
    module, ds = figures.load("arithmetic_limit"), datasets["arithmetic_limit"]
    ten = np.log(10)
    assert float(ds.careful.min()) > -33 * ten
    assert float(ds.naive.min()) > -17 * ten
    at = ds.split.sel(layer=ds.check.values).values
    assert at.min() < -300 * ten
    np.testing.assert_allclose(np.expm1(at - ds.exact.values), 0, atol=1e-9)
    np.testing.assert_allclose(np.expm1(at[0] - ds.closed_form.values), 0, atol=1e-9)
    # slope against the rate predicted from spectra
    slope = (at[:, -1] - at[:, at.shape[1] // 2]) / float(ds.check[-1] - ds.check[at.shape[1] // 2])
    np.testing.assert_allclose(np.exp(slope), ds.predicted_rate, rtol=1e-4)
    text = module.caption(ds)
    for value in ds.exact.values[:, -1] / ten:
        assert f"1e{value:.0f}" in text
    assert f"at most {np.abs(np.expm1(at - ds.exact.values)).max():.1e}" in text


def test_integer_truth_agrees_with_direct_measures_and_more_bits():
    module = figures.load("arithmetic_limit")
    A, H, x0 = module.system(5)
    layers = [8, 60]
    truth = module.exact(A, H, x0, layers)
    np.testing.assert_allclose(truth, module.exact(A, H, x0, layers, bits=3000), rtol=0, atol=1e-12)
    _, careful = module.plain(A, H, x0, [8])
    np.testing.assert_allclose(truth[:, 0], careful[:, 0], rtol=0, atol=1e-6)


def test_escalation_shows_what_drives_it_and_three_rates(datasets):
    module, ds = figures.load("escalation"), datasets["escalation"]
    last = ds.log_odds.isel(layer=-1)
    high = last.sel(block=["linear", "post"])
    pre, calm = last.sel(block="pre"), last.sel(block="deescalated")
    assert float(high.min()) > float(pre.max()) > float(pre.min()) > float(calm.max())
    laws = [OddsFactor(int(d)) for d in ds.d.values]
    # half a 95 % interval is 1.97 standard errors; five of them fail once in a million
    assert (np.abs(ds.mean_rate - [law.expected_rate() for law in laws]) < 2.55 * ds.mean_rate_error).all()
    assert (np.abs(ds.typical - [law.log_mean for law in laws]) < 2.55 * ds.typical_error).all()
    assert f"over {ds.layer.values[-1]} layers" in module.caption(ds)


def test_layer_norm_sign_swaps_with_the_share(datasets):
    ds = datasets["layer_norm_sign"]
    share = ds.linear / ds.attrs["draws"]
    assert (share.sel(negative=0) == 0).all(), "no negative gain: it sharpens"
    assert (share.isel(negative=-1) == 1).all(), "all negative: it smooths"
    at_zero = share.sel(negative=ds.negative > 0).sel(lambda_min=0)
    assert (at_zero == 1).all(), "with lambda_min = 0 one negative gain is enough"
    # smoother with every further negative gain, within the band that holds for all curves at once
    band = figures.load("layer_norm_sign")._band(ds)
    assert (share.diff("negative") > -2 * band).all()
