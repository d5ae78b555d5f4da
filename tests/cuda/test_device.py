"""What Python does around the kernels: transfers, memory, bad input; with a GPU that is not there."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import Linear, attention, simulate
from linsim._cuda import layout
from linsim._engines import device, device_part
from linsim.errors import BackendError, LinsimError

from . import emulated, pretended

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")


def systems(b=3, n=6, d=4, seed=0):
    rng = np.random.default_rng(seed)
    A, H = attention.softmax(n, 4, size=(b,), rng=rng), 0.4 * rng.standard_normal((b, d, d))
    return Linear(A, H), rng.standard_normal((b, n, d))


def same(one, other):
    for name in other.metrics:
        for held in ("metrics", "errors"):
            a, b = (np.asarray(getattr(run, held)[name]) for run in (one, other))
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_transfers_grow_with_nothing(card):
    assert linsim._namespace.cupy_status() is None  # asked once, by an array that comes back
    counts = []
    for b, depth in ((2, 4), (7, 4), (2, 30)):
        card.to_host = card.to_device = card.scalars = 0
        run = simulate(*systems(b), depth, backend="cupy")
        assert run.info.method == "device"
        assert type(run.metrics["cosine"]) is np.ndarray
        counts.append((card.to_host, card.to_device, card.scalars))
    assert counts[0] == counts[1] == counts[2]


def test_arrays_of_the_device_stay_there(card):
    import cupy

    rule, x0 = systems()
    expected = simulate(rule, x0, 5, backend="cupy")
    run = simulate(Linear(cupy.asarray(rule.A), cupy.asarray(rule.H)), cupy.asarray(x0), 5)
    assert run.info.method == "device"
    for name, value in run.metrics.items():
        assert isinstance(value, pretended.ndarray)
        np.testing.assert_array_equal(value.get(), expected.metrics[name])


def test_memory_cuts_systems_and_launches_cut_layers(card, monkeypatch):
    rule, x0 = systems(5)
    # rescued systems would go by other engines: every value as it came out
    whole = simulate(rule, x0, 20, backend="cupy", resolution=1e300)
    launches = len(card.launches)
    assert card.freed == 1
    card.free = 2**18
    same(simulate(rule, x0, 20, backend="cupy", resolution=1e300), whole)
    assert len(card.launches) > 2 * launches
    card.free = 2**33
    monkeypatch.setattr(device_part, "_LAUNCH", 1.0)  # a launch for each layer
    same(simulate(rule, x0, 20, backend="cupy", resolution=1e300), whole)


def test_too_little_memory_for_one_system(card):
    card.free = 1000
    with pytest.raises(
        BackendError, match=r"backend: found a GPU with 0 MiB free; expected .* MiB for one system"
    ):
        simulate(*systems(1), 20, backend="cupy")
    assert card.freed == 1


def test_memory_that_others_took_meanwhile(card):
    card.full = True
    with pytest.raises(BackendError, match="backend: found a GPU whose memory is full") as caught:
        simulate(*systems(1), 20, backend="cupy")
    assert "\n" not in str(caught.value)
    assert card.freed == 1


def test_a_closed_form_is_followed_by_whole_arrays_where_the_kernel_does_not_compile(card):
    """A defective H has no closed form: the kernel would have gone, and cannot."""
    rule, x0 = systems(2)
    H = np.broadcast_to(np.eye(4) * 0.5 + np.eye(4, k=1), (2, 4, 4))
    card.compiles = False
    run = simulate(Linear(rule.A, H), x0, 60, layers=[60], backend="cupy", method="modal")
    assert set(run.info.methods) <= {"modal", "squaring", "iterate"}


def test_a_kernel_that_does_not_compile_is_done_without(card):
    card.compiles = False
    expected = simulate(*systems(), 6, backend="cupy", method="iterate")
    run = simulate(*systems(), 6, backend="cupy")
    assert set(run.info.methods) == {"iterate"}
    assert run.info.fallbacks["iterate"] == 3
    assert (
        "does not compile here: CompileException: kernels.cu(7): error: no such thing" in run.info.refused[0]
    )
    assert "\n" not in run.info.refused[0]
    same(run, expected)


@pytest.mark.parametrize(
    ("change", "obstacle"),
    [
        ({"n": 129}, "above 128"),
        ({"metrics": ["attention_mad"]}, "attention_mad: attention stays in the kernel"),
        ({"room": 1000}, "a block of this card has less than 48 KiB"),
    ],
)
def test_what_the_kernel_does_not_take_goes_by_whole_arrays(card, change, obstacle):
    n, heads, room = change.pop("n", 6), change.pop("heads", 1), change.pop("room", card.room)
    rule, x0 = systems(2, n=n)
    if heads == 2:
        rule = linsim.MultiHead(rule.A, rule.H)
        x0 = x0[0]
    if "bias" in change:
        rule = Linear(rule.A, rule.H, bias=np.full(4, change.pop("bias")))
    card.room = room
    run = simulate(rule, x0, 2, backend="cupy", **change)
    assert run.info.method == "iterate"
    with pytest.raises(LinsimError, match=f"method: found 'device' for what it cannot do .*{obstacle}"):
        simulate(rule, x0, 2, backend="cupy", method="device", **change)


def test_metrics_without_modes_ask_for_no_eigenvectors(card, monkeypatch):
    def never(*_, **__):
        raise AssertionError("eigenvectors were looked for")

    monkeypatch.setattr(device, "split_of", never)
    assert simulate(*systems(), 5, backend="cupy", metrics="token_similarity").info.method == "device"


class TestAuto:
    def test_small_work_stays(self, card):
        run = simulate(*systems(), 2, backend="auto")
        assert run.info.method == "parts"
        assert "backend='auto': on the CPU" in run.info.reason
        assert "soon done" in run.info.reason
        assert not card.launches

    def test_large_work_moves(self, card, monkeypatch):
        monkeypatch.setattr(linsim._ask, "WORTH_A_GPU", 1.0)
        run = simulate(*systems(), 2, backend="auto")
        assert run.info.method == "device"
        assert "backend='auto': on the GPU" in run.info.reason
        assert type(run.metrics["cosine"]) is np.ndarray

    def test_inputs_on_the_device_stay(self, card):
        import cupy

        rule, x0 = systems()
        run = simulate(
            Linear(cupy.asarray(rule.A), cupy.asarray(rule.H)), cupy.asarray(x0), 2, backend="auto"
        )
        assert "backend='auto': where the inputs are" in run.info.reason


@pytest.mark.skipif(linsim._namespace.cupy_status() is None, reason="a GPU answers")
def test_auto_without_a_gpu_says_why(monkeypatch):
    monkeypatch.setattr(linsim._ask, "WORTH_A_GPU", 1.0)
    run = simulate(*systems(), 2, backend="auto")
    assert run.info.reason.endswith(f"backend='auto': on the CPU, {linsim._namespace.cupy_status()}")


def test_arrays_of_host_and_device_together(card):
    import cupy

    rule, x0 = systems()
    with pytest.raises(LinsimError, match=r"arrays? of") as caught:
        simulate(rule, cupy.asarray(x0), 2)
    assert "\n" not in str(caught.value)
    with pytest.raises(LinsimError, match=r"arrays? of") as caught:
        Linear(cupy.asarray(rule.A), rule.H)
    assert "\n" not in str(caught.value)


def test_a_dtype_that_nobody_computes_with(card):
    import cupy

    rule, x0 = systems()
    with pytest.raises(LinsimError, match="dtype"):
        simulate(Linear(cupy.asarray(rule.A), cupy.asarray(rule.H)), cupy.asarray(x0), 2, dtype="float16")


def test_columns_are_as_many_as_a_kernel_writes():
    from linsim._cuda import source

    enumeration = source().split("AT_NOISE = 0,")[1].split("AT_VALUES")[0]
    names = [name.strip() for name in enumeration.replace("AT_TOP = 5", "AT_TOP").split(",") if name.strip()]
    assert len(names) + 5 == len(layout.COLUMNS)
    order = [name.removeprefix("AT_").lower() for name in names]
    spelled = {"noise_s": "noise"}
    assert [spelled.get(name, name) for name in order] == list(layout.COLUMNS[5:])
