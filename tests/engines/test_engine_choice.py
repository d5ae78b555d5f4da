"""Which engine runs, why, and what is said about it before and after."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import attention, simulate, weights
from linsim._engines import choose, protocol
from linsim._recorded import Recorded
from linsim.errors import InvalidTypeError, InvalidValueError

A = attention.softmax(6, 4, rng=0)
H = weights.from_spectrum([-0.9, -0.4, 0.3], rng=1)
RULE = linsim.Linear(A, H)
X = np.random.default_rng(2).standard_normal((6, 3))
KERNEL = ["cosine", "log_norm"]


@pytest.mark.parametrize("method", [name for name in linsim.METHODS if name != "device"])  # see tests/cuda
def test_every_name_gets_that_engine(method):
    rule = linsim.Block(A, weights=H, norm=None) if method == "forward" else RULE  # the same dynamics
    found = simulate(rule, X, 40, layers=[0, 40], metrics=KERNEL, method=method)
    if method == "auto":
        assert found.info.method == linsim.engines(RULE, 40, layers=[0, 40], metrics=KERNEL).chosen
    else:
        assert set(found.info.methods.ravel()) == {method}
        assert found.info.reason == "asked for"
    for name in KERNEL:
        true = simulate(RULE, X, 40, layers=[0, 40], method="iterate")
        off = np.abs(found.metrics[name] - true.metrics[name])
        assert np.all(off <= found.errors[name] + true.errors[name]), name


REFUSED = {
    "metric": (RULE, "lanes", {"metrics": ["log_rank_gap"]}, "log_rank_gap"),
    "states": (RULE, "lanes", {"metrics": KERNEL, "keep_states": True}, "keep_states"),
    "size": (linsim.Linear(np.eye(300), np.eye(2)), "lanes", {"metrics": KERNEL}, "300"),
    "heads": (linsim.MultiHead([A, A], [H, -H]), "modal", {}, "MultiHead"),
    "drawn": (linsim.RandomWeights(A), "bands", {"metrics": KERNEL}, "RandomWeights"),
    "block": (linsim.Block(A), "squaring", {}, "Block"),
    "host": (RULE, "device", {}, "CuPy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_engine_that_cannot_says_why_and_following_its_advice_works(case):
    rule, method, options, words = REFUSED[case]
    x0 = np.random.default_rng(0).standard_normal((rule.n, rule.d or 3))
    with pytest.raises(InvalidValueError, match=method) as caught:
        simulate(rule, x0, 3, method=method, **options)
    assert words in str(caught.value)
    assert "Leave method out" in str(caught.value)
    simulate(rule, x0, 3, **options)
    offered = linsim.engines(rule, 3, x0=x0, **options)
    (mine,) = (offer for offer in offered.offers if offer.name == method)
    assert words in mine.obstacle
    assert np.isnan(mine.operations)
    able = [offer.name for offer in offered.offers if not offer.obstacle]
    assert all(repr(name) in str(caught.value) for name in able)


def test_the_reason_is_true_after_a_fallback():
    jordan = np.array([[-0.5, 1.0], [0.0, -0.5]])
    H = np.stack([np.diag([-0.5, -0.2]), jordan])
    causal = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
    found = simulate(linsim.Linear(causal, H), X[:, :2], 50, layers=[50], method="modal")
    methods = found.info.methods
    assert methods[1] == "parts"
    assert "1 of 2 systems by" in found.info.reason or "2 of 2 systems by" in found.info.reason
    assert "defective" in found.info.reason
    assert found.info.refused[1]


def test_the_cost_is_that_of_the_work():
    def cost(depth, **options):
        offers = linsim.engines(RULE, depth, **options).offers
        return {offer.name: offer.operations for offer in offers}

    one, ten = (cost(depth, metrics=KERNEL, layers=[depth]) for depth in (1000, 10_000))
    for name in ("lanes", "iterate"):
        assert ten[name] / one[name] == pytest.approx(10, rel=0.05)
    assert ten["modal"] == one["modal"]
    many = cost(1000, metrics=KERNEL, layers=[1000], x0=np.ones((7, 6, 3)))
    assert many["lanes"] == pytest.approx(7 * one["lanes"])


def test_nothing_runs_when_only_asked(monkeypatch):
    def worked(*args):
        raise AssertionError("work was done")

    for engine in choose.ENGINES:
        monkeypatch.setattr(engine, "jobs", worked)
    assert str(linsim.engines(RULE, 100, metrics=KERNEL)).startswith("lanes")
    with pytest.raises(InvalidTypeError, match="x0"):
        linsim.engines(linsim.RandomWeights(A), 5)
    with pytest.raises(InvalidValueError, match="metrics"):
        linsim.engines(RULE, 5, metrics="nothing")


class Loop:
    """A toy engine: plain products, and no claim to know any digit."""

    name = "loop"
    about = "plain products in a loop"
    kernels = ""

    def covers(self, task):
        return "" if task.names == ("log_norm",) else "measures the norm alone"

    def worthwhile(self, task):
        return "first in the list"

    def operations(self, task):
        return 1.0

    def jobs(self, task):
        def run():
            state, logs = task.start, []
            for layer in range(task.last + 1):
                if layer in task.at:
                    logs.append(np.log(np.linalg.norm(state, axis=(-1, -2))))
                for M, W in task.heads(layer):
                    state = state + M @ state @ W
            found = np.stack(logs, axis=-1)
            none = {"log_norm": np.full(found.shape, 1e-9)}
            given_up = np.array([0]) if len(found) > 1 else np.zeros(0, dtype=int)
            kept = np.setdiff1d(np.arange(len(found)), given_up)
            return Recorded(
                {"log_norm": found[kept]}, {"log_norm": none["log_norm"][kept]}, np.array(["loop"]),
                np.array(["none"]), np.zeros(1), {}, len(kept),
                refused=np.where(np.isin(np.arange(len(found)), given_up), "does not like it", ""),
                left=given_up,
            )  # fmt: skip

        return [protocol.Job(slice(0, task.size), run)]


def test_an_engine_is_one_more_in_the_list(monkeypatch):
    """What it gives up goes to the next, and the run says so."""
    toy = Loop()
    monkeypatch.setattr(choose, "ENGINES", (toy, *choose.ENGINES))
    monkeypatch.setattr(choose, "CLOSED", (toy, *choose.CLOSED))
    x0 = np.stack([X, 2 * X])
    found = simulate(RULE, x0, 5, metrics="log_norm")
    assert found.info.methods.tolist() == ["modal", "loop"] or found.info.methods.tolist() == [
        "lanes",
        "loop",
    ]
    assert "does not like it" in found.info.refused[0] + found.info.reason
    true = simulate(RULE, x0, 5, metrics="log_norm", method="iterate")
    np.testing.assert_allclose(found.metrics["log_norm"], true.metrics["log_norm"], rtol=1e-12)
    assert simulate(RULE, x0, 5, metrics="cosine").info.method == "lanes"
