"""Laws of several heads and of cycles of layers: against dense operators, Linear, and exact slopes."""

import subprocess
import sys
import time

import numpy as np
import pytest
from oracles.iterated import trajectory
from scipy.optimize import linear_sum_assignment

from linsim import Layered, Linear, MultiHead, attention, predict, simulate, weights
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError
from linsim.theory import _cycle_inputs, cycle, cycle_verdicts

VERDICTS = ("regime", "input_convergence", "angle_convergence", "rank_collapse", "limit_rank")
GAPS = ("token_diversity", "cosine_gap", "rank_gap")


def layers_of(rule):
    """Per layer, stacked attentions and weights of the heads."""
    k = len(rule.rules) if isinstance(rule, Layered) else 1
    return [tuple(np.stack(M) for M in zip(*rule.heads(layer), strict=True)) for layer in range(k)]


def operator(rule):
    """The whole map on row-major states, by Kronecker products."""
    T = np.eye(rule.n * rule.d)
    for A, H in layers_of(rule):
        T = (np.eye(len(T)) + sum(np.kron(a, h.T) for a, h in zip(A, H, strict=True))) @ T
    return T


def heads(rng, n, d, h, shift=0.0, scale=0.7, temperature=0.3):
    A = attention.softmax(n, 4, size=(h,), rng=rng, temperature=temperature)
    return MultiHead(A, scale * weights.gaussian(d, size=(h,), rng=rng) + shift * np.eye(d))


def random_rules(seed):
    rng = np.random.default_rng(seed)
    n, d, shift = int(rng.integers(2, 6)), int(rng.integers(1, 4)), rng.choice([0, -0.9])
    several = heads(rng, n, d, int(rng.integers(2, 4)), shift)
    mixed = Layered([heads(rng, n, d, int(h), shift) for h in rng.integers(1, 3, size=rng.integers(2, 4))])
    return [several, mixed]


def causal(A):
    C = A * np.tri(A.shape[-1])
    return C / C.sum(axis=-1, keepdims=True)


def sharing_a_row(rng, h, d, mu, scale):
    """Weights with the common left eigenvector e_0: modes b e_0^T of rank 1."""
    H = scale * weights.gaussian(d, size=(h,), rng=rng)
    H[:, 0, :] = 0
    H[:, 0, 0] = mu
    return H


def assert_same_law(p, q, rtol=1e-9):
    assert [getattr(p, f) for f in VERDICTS] == [getattr(q, f) for f in VERDICTS]
    np.testing.assert_allclose(p.margin, q.margin, rtol=rtol, atol=1e-12)
    for name in GAPS:
        np.testing.assert_allclose(p.rates[name], q.rates[name], rtol=rtol)
        np.testing.assert_allclose(p.relaxations[name], q.relaxations[name], rtol=rtol)


# --- the spectrum ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_parts_hold_every_eigenvalue_and_eigenmatrix(seed):
    for rule in random_rules(seed):
        T = operator(rule)
        modes = cycle.modes_of(layers_of(rule))
        found = modes.values * np.exp(modes.cycle.log_scale)
        expected = np.linalg.eigvals(T)
        apart = np.abs(found[:, None] - expected[None, :])
        assert found.shape == expected.shape
        assert np.max(apart[linear_sum_assignment(apart)]) < 1e-10 * np.max(np.abs(expected))
        flat = modes.states.reshape(len(found), -1)
        # lifted with the coupling: eigenmatrices of the whole map
        np.testing.assert_allclose(flat @ T.T, found[:, None] * flat, atol=1e-9 * np.max(np.abs(found)))
        assert np.sum(modes.constant) == rule.d
        # and the left ones give every coefficient
        x0 = np.random.default_rng(seed).normal(size=(rule.n, rule.d))
        c = _cycle_inputs.coefficients(modes, range(len(found)), x0)
        np.testing.assert_allclose(np.tensordot(c, modes.states, axes=1), x0, atol=1e-8)


def test_a_law_without_the_coupling_would_be_noticed(monkeypatch):
    rule = random_rules(1)[0]
    monkeypatch.setattr(
        cycle, "_lift", lambda matrix, values, error, fed: (0 * fed, np.zeros(len(fed), bool))
    )
    modes = cycle.modes_of(layers_of(rule))
    flat = modes.states.reshape(len(modes.values), -1)
    assert np.max(np.abs(flat @ operator(rule).T - modes.values[:, None] * flat)) > 1e-3


# --- rules that are simpler than they look -----------------------------------------------


def test_reductions_are_linear_laws():
    rng = np.random.default_rng(0)
    A, B = attention.softmax(4, 4, size=2, rng=rng)
    G, H = weights.gaussian(3, size=2, rng=rng)
    x0 = rng.normal(size=(4, 3))
    single = Linear(A, H)
    for rule, expected in [
        (MultiHead(A[None], H[None]), single),
        (MultiHead(np.stack([A, A]), np.stack([G, H])), Linear(A, G + H)),
        (MultiHead(np.stack([A, B]), np.stack([H, H])), Linear((A + B) / 2, 2 * H)),
        (Layered([single] * 3), single),
        (Layered([single, MultiHead(A[None], H[None])]), single),
    ]:
        for given in (None, x0):
            law, linear = predict(rule, x0=given), predict(expected, x0=given)
            assert_same_law(law, linear)
            assert law.dominant == linear.dominant
            names = [a.name for a in law.assumptions]
            assert ("layers repeat as a cycle" in names) == isinstance(rule, Layered)
    period = Layered([single, Linear(B, G)])
    assert_same_law(predict(Layered([*period.rules] * 3)), predict(period), rtol=0)
    detail = predict(Layered([*period.rules] * 3)).assumptions[-1].detail
    assert detail.startswith("2 layers repeated for ever")


def test_linear_rules_on_the_general_path():
    """The general law knows no lambda and no mu, and agrees in every verdict and rate."""
    regimes = set()
    for seed in range(120):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(2, 6)), int(rng.integers(1, 5))
        A = attention.softmax(n, 4, rng=rng, symmetric=bool(seed % 2), temperature=rng.choice([0.3, 1]))
        A = causal(A) if seed % 5 == 0 else A
        H = rng.choice([0.5, 1, 2]) * weights.gaussian(d, rng=rng) - rng.choice([0, 0.8]) * np.eye(d)
        law, general = predict(A, H), cycle_verdicts._judge([(A[None], H[None])]).law
        assert_same_law(general, law)
        assert len(general.dominant) == len(law.dominant)
        regimes.add((law.regime, law.limit_rank, law.angle_convergence))
    assert len(regimes) > 3


def test_a_cycle_of_equal_layers_has_the_rates_of_one():
    """Powers of one map on the general path: what the exponent 1/k is for."""
    for seed in range(20):
        (A, H) = layers_of(random_rules(seed)[0])[0]
        one, three = cycle_verdicts._judge([(A, H)]).law, cycle_verdicts._judge([(A, H)] * 3).law
        assert_same_law(three, one, rtol=1e-7)
        values = [np.sort_complex([m.value for m in law.dominant]) for law in (one, three)]
        np.testing.assert_allclose(np.sort_complex(values[0] ** 3), values[1], rtol=1e-9)


# --- exact slopes ------------------------------------------------------------------------


def slopes(rule, x0, regime, start, end, digits=1200):
    layers = layers_of(rule)
    k = len(layers)
    start, end = start // k * k, end // k * k

    def at(layer):
        return list(layers[layer % k][0]), list(layers[layer % k][1])

    run = trajectory(at, None, x0, [start, end], digits=digits)
    angle = "log_cosine_gap" if regime == "smoothing" else "log_abs_cosine_gap"
    names = ("log_token_diversity", angle, "log_rank_gap")
    return [(run[name][1] - run[name][0]) / (end - start) for name in names]


def layers(seed, k, shift):
    rng = np.random.default_rng((seed, k))
    count = 2 + seed % 2 if k == 1 else 1 + seed % 2
    rules = [heads(rng, 4, 3, count, shift / 2) for _ in range(k)]
    return rules[0] if k == 1 else Layered(rules)


def symmetric(seed, shift):
    rng = np.random.default_rng(seed)
    A = attention.from_spectrum([[1, 0.4, 0.1, -0.1], [1, 0.2, -0.2, -0.25]], rng=rng)
    W = weights.gaussian(3, size=2, rng=rng)
    return MultiHead(A, 0.4 * (W + np.swapaxes(W, -1, -2)) + shift * np.eye(3))


def shared(seed, mu, scale, shift=0.0, mask=False):
    A = attention.softmax(5, 4, size=2, rng=np.random.default_rng(seed), temperature=0.3)
    H = sharing_a_row(np.random.default_rng(seed), 2, 3, mu, scale)
    return MultiHead(causal(A) if mask else A, H + shift * np.diag([0, 1, 1]))


def one_attention(seed):
    A = attention.softmax(5, 4, size=2, rng=np.random.default_rng(seed), temperature=0.3)[0]
    rngs = [np.random.default_rng((seed, i)) for i in (0, 1)]
    return Layered([Linear(A, 0.3 * weights.gaussian(3, rng=rng) - 0.8 * np.eye(3)) for rng in rngs])


def exchangeable(along=(-0.9, -0.8), seed=0):
    """Tokens 0 and 1 may be exchanged: (1, -1, 0) leads, and token 2 follows its own modes."""
    A = [
        [[p, q, 1 - p - q], [q, p, 1 - p - q], [s, s, 1 - 2 * s]]
        for p, q, s in [(0.1, 0.7, 0.05), (0.15, 0.65, 0.1)]
    ]
    return MultiHead(
        A, sharing_a_row(np.random.default_rng(seed), 2, 3, along, 0.02) - 0.4 * np.diag([0, 1, 1])
    )


# rule, regime, limit rank, angles converge, tolerance (of complex pairs: slopes wave like 1/l)
EXACT = {
    "symmetric heads": (symmetric(1, 0.2), "smoothing", 1, True, 1e-10),
    "symmetric heads, sharpening": (symmetric(0, -0.6), "sharpening", 3, False, 1e-8),
    "three heads": (layers(7, 1, 0), "sharpening", 3, False, 1e-7),
    "two heads": (layers(6, 1, 0), "smoothing", 1, True, 1e-10),
    "three heads, a pair leads": (layers(1, 1, 0), "smoothing", 1, True, 1e-2),
    "two layers": (layers(2, 2, 0), "smoothing", 1, True, 2e-2),
    "two layers, sharpening": (layers(3, 2, -0.9), "sharpening", 3, False, 1e-9),
    "three layers of one head": (layers(4, 3, 0), "smoothing", 1, True, 1e-10),
    "three layers of two heads": (layers(7, 3, 0), "smoothing", 1, True, 1e-8),
    "leading modes of one row": (shared(4, [1.0, 1.5], 0.3), "smoothing", 1, True, 1e-10),
    "one token mode leads": (shared(2, [-0.9, -0.8], 0.2), "sharpening", 1, True, 1e-10),
    "one token leads": (shared(3, [-0.9, -0.8], 0.2, -0.3, True), "sharpening", 1, False, 1e-7),
    "one attention": (one_attention(0), "sharpening", 1, True, 1e-4),
    "a silent token": (exchangeable(seed=4), "sharpening", 1, True, 2e-5),
    "a silent token that turns away": (exchangeable((-0.7, -0.6), 4), "sharpening", 1, False, 1e-9),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", EXACT)
def test_rates_are_the_slopes_of_exact_runs(name):
    rule, regime, rank, angle, tolerance = EXACT[name]
    x0 = np.random.default_rng(5).normal(size=(rule.n, rule.d))
    law = predict(rule, x0=x0)
    assert (law.regime, law.limit_rank, law.angle_convergence) == (regime, rank, angle)
    assert (law.input_convergence, law.rank_collapse) == (regime == "smoothing", rank == 1)
    assert_same_law(predict(rule), law)
    measured = slopes(rule, x0, regime, 300, 600)
    expected = [np.log(law.rates[gap]) for gap in GAPS]
    np.testing.assert_allclose(measured, expected, atol=tolerance)
    if rank == 1:
        assert law.rates["rank_gap"] < 0.99
        assert tolerance < -0.1 * np.log(law.rates["rank_gap"])
    np.testing.assert_allclose(
        law.margin,
        _margin(rule),
        rtol=1e-9,
    )


def _margin(rule):
    """From the whole operator: constant eigenvalues by their own product, the others are what is left."""
    constant, k = np.eye(rule.d), 0
    for _, H in layers_of(rule):
        constant, k = constant @ (np.eye(rule.d) + H.sum(axis=0)), k + 1
    every, own = np.linalg.eigvals(operator(rule)), np.linalg.eigvals(constant)
    _, taken = linear_sum_assignment(np.abs(own[:, None] - every[None, :]))
    return np.log(np.max(np.abs(own)) / np.max(np.abs(np.delete(every, taken)))) / k


def test_long_cycles():
    """300 layers whose product overflows and whose parts differ by e^-400: a finite run shows the rate."""
    rng = np.random.default_rng(3)
    A = attention.softmax(4, 4, size=450, rng=rng)
    H = 2 * weights.gaussian(3, size=450, rng=rng) + 12 * np.eye(3)
    rules = [Linear(a, h) for a, h in zip(A, H, strict=True)]
    law = predict(Layered(rules[:300]))
    assert (law.regime, abs(law.dominant[0].value)) == ("smoothing", np.inf)
    run = simulate(Layered(rules[:300] * 3), rng.normal(size=(4, 3)), 900, layers=[600, 900])
    for gap in GAPS:
        slope = np.diff(run.metrics[f"log_{gap}"])[0] / 300
        np.testing.assert_allclose(slope, np.log(law.rates[gap]), rtol=1e-5)
    # modes that rounding hides bound what they could do
    modes = cycle.modes_of(layers_of(Layered(rules[:300])))
    assert np.sum(~modes.constant) < 9
    assert 0 < modes.unknown < 1e-10 * np.max(np.abs(modes.values[~modes.constant]))
    with pytest.raises(NotCoveredError, match="450 layers"):
        predict(Layered(rules))


# --- ties, chains, and what vanishes -------------------------------------------------------


def small(numbers, mu):
    """Two tokens, one feature: heads with the eigenvalues 1 and b."""
    A = [[[(1 + b) / 2 + t, (1 - b) / 2 - t], [(1 - b) / 2 + t, (1 + b) / 2 - t]] for b, t in numbers]
    return MultiHead(A, np.reshape(mu, (-1, 1, 1)))


def test_ties_and_chains():
    law = predict(small([(0.5, 0), (-0.5, 0)], [-2.0, 2.0]))  # eigenvalues 1 and -1
    assert (law.regime, law.margin, law.limit_rank, law.input_convergence) == ("balanced", 0, 1, False)
    assert not {a.name: a.holds for a in law.assumptions}["regime boundary is resolved"]
    # 1 and 1: not coupled, all inputs stay; coupled, the mean grows like the depth
    law = predict(small([(0.5, 0), (0.5, 0)], [1.0, -1.0]))
    assert (law.regime, law.input_convergence) == ("balanced", False)
    with pytest.raises(NotCoveredError, match="constant modes share"):
        predict(small([(0.5, 0), (0.5, 0.1)], [1.0, -1.0]))
    # the state is zero after one layer of the cycle
    gone = Layered([Linear(np.eye(3), -np.eye(2)), heads(np.random.default_rng(0), 3, 2, 2)])
    law = predict(gone)
    assert (law.regime, law.limit_rank, law.dominant, law.rank_collapse) == ("balanced", 0, (), False)
    assert "becomes zero" in str(law)
    # I + H_1 + H_2 is zero up to rounding: only what is not constant remains
    A = attention.softmax(3, 4, size=2, rng=0)
    law = predict(MultiHead(A, [-0.7 * np.eye(2), -0.3 * np.eye(2) - 1e-17]))
    assert (law.regime, law.margin, law.limit_rank) == ("sharpening", -np.inf, 1)
    # a Jordan chain of the leading modes: two equal layers of a defective weight
    J = np.array([[1.0, 1.0], [0.0, 1.0]])
    law = predict(MultiHead(A, [J, J + 1e-3 * J]))
    assert law.regime == "smoothing"
    assert law.relaxations["token_diversity"] == 1
    holds = {a.name: a.holds for a in law.assumptions}
    assert not holds["operator is diagonalizable near its leading modes"]


def test_one_token_and_one_feature():
    rng = np.random.default_rng(0)
    one_token = Layered([Linear([[1.0]], weights.gaussian(3, rng=rng)) for _ in range(2)])
    law = predict(one_token, x0=rng.normal(size=(1, 3)))
    assert (law.regime, law.margin, law.limit_rank) == ("smoothing", np.inf, 1)
    assert law.rates == {"token_diversity": 0, "cosine_gap": 0, "rank_gap": 0}
    law = predict(heads(rng, 4, 1, 2))
    assert (law.limit_rank, law.rates["rank_gap"]) == (1, 0)


# --- large operators -----------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, -0.45])
@pytest.mark.parametrize("mask", [False, True])
def test_arpack_and_lapack_agree(monkeypatch, shift, mask):
    rng = np.random.default_rng(0)
    several = heads(rng, 10, 8, 2, shift, scale=0.5)
    if mask:
        several = MultiHead(causal(several.A), several.H)
    shared_row = MultiHead(several.A, sharing_a_row(rng, 2, 8, [-0.9, -0.8], 0.1))
    rules = [several, shared_row, Layered([several, heads(rng, 10, 8, 1, shift)])]
    x0 = rng.normal(size=(10, 8))
    dense = [predict(rule, x0=x0) for rule in rules]
    monkeypatch.setattr(cycle, "DENSE", 50)
    for rule, law in zip(rules, dense, strict=True):
        known = predict(rule, x0=x0)
        assert [getattr(known, f) for f in VERDICTS] == [getattr(law, f) for f in VERDICTS]
        np.testing.assert_allclose(known.margin, law.margin, rtol=1e-9)
        for name in GAPS:  # where weaker modes decide, nan instead of a guess
            if not np.isnan(known.rates[name]):
                np.testing.assert_allclose(known.rates[name], law.rates[name], rtol=1e-9)
            if law.relaxations[name] < 1:  # no chains, however weak
                assert known.relaxations[name] >= law.relaxations[name] * (1 - 1e-9)
        undecided = not {a.name: a.holds for a in known.assumptions}[
            "the modes that decide the rates are known"
        ]
        assert undecided == any(np.isnan(v) for v in known.rates.values())


def test_large_systems_take_seconds():
    rng = np.random.default_rng(1)
    rule = heads(rng, 64, 64, 4, scale=0.5, temperature=1.0)
    start = time.process_time()
    law = predict(rule, x0=rng.normal(size=(64, 64)))
    assert time.process_time() - start < 20  # about 1.5 s alone
    run = simulate(rule, rng.normal(size=(64, 64)), 600, layers=[300, 600], metrics=["log_token_diversity"])
    slope = np.diff(run.metrics["log_token_diversity"])[0] / 300
    assert law.regime == "smoothing"
    np.testing.assert_allclose(slope, np.log(law.rates["token_diversity"]), atol=0.01)


def test_what_arpack_cannot_tell_is_refused(monkeypatch):
    H = weights.gaussian(8, size=2, rng=0)
    copies = Layered([Linear(attention.uniform(10), h) for h in H])
    law = predict(copies)  # every other mode has the eigenvalue 1
    assert law.regime in ("smoothing", "sharpening")
    monkeypatch.setattr(cycle, "DENSE", 50)
    with pytest.raises(NotCoveredError, match="simulate"):
        predict(copies)
    monkeypatch.setattr(cycle, "RESTARTS", 1)
    with pytest.raises(NotCoveredError, match="ARPACK"):
        predict(heads(np.random.default_rng(0), 30, 30, 2, scale=0.1))


# --- given inputs, batches, refusals -------------------------------------------------------


def test_inputs_in_an_invariant_subspace_are_refused():
    rng = np.random.default_rng(0)
    rule = symmetric(1, 0.2)
    x0 = rng.normal(size=(4, 3))
    predict(rule, x0=x0)
    for bad in (np.ones((4, 1)) * x0[0], x0 - x0.mean(axis=0)):
        with pytest.raises(NotCoveredError, match="invariant subspace"):
            predict(rule, x0=bad)
    # the mean of a general attention moves: a centred input is generic there
    assert predict(heads(rng, 4, 3, 2), x0=x0 - x0.mean(axis=0)).limit_rank
    # uniform attention keeps all that is not constant, so an input of rank 1 stays one
    keeps = Layered([Linear(attention.uniform(4), -np.diag(mu)) for mu in ([1, 0.9, 0.7], [0.8, 0.9, 1])])
    assert predict(keeps, x0=x0).limit_rank == 3
    with pytest.raises(NotCoveredError, match="invariant subspace"):
        predict(keeps, x0=np.outer(x0[:, 0], x0[0]))
    # a leading token mode, the coefficient of which is taken away
    led = shared(2, [-0.9, -0.8], 0.2)
    modes = cycle.modes_of(layers_of(led))
    x0 = rng.normal(size=(5, 3))
    c = _cycle_inputs.coefficients(modes, [0], x0)[0]
    with pytest.raises(NotCoveredError, match="invariant subspace"):
        predict(led, x0=x0 - (c * modes.states[0]).real)


def test_batches():
    rng = np.random.default_rng(0)
    A, H = attention.softmax(3, 4, size=(2, 3, 2), rng=rng), weights.gaussian(2, size=(3, 2), rng=rng)
    law = predict(MultiHead(A, H))
    cyclic = predict(Layered([MultiHead(A, H), Linear(A[:, :, 0], H[0, 0])]))
    for batch in (law, cyclic):
        for name in (*VERDICTS, "margin", "dominant"):
            assert getattr(batch, name).shape == (2, 3)
        assert all(v.shape == (2, 3) for m in (batch.rates, batch.relaxations) for v in m.values())
        assert all(np.shape(a.holds) == np.shape(a.detail) == (2, 3) for a in batch.assumptions)
        assert str(batch).startswith("6 systems: ")
    one = predict(MultiHead(A[1, 2], H[2]))
    assert one.margin == law.margin[1, 2]
    assert one.dominant == law.dominant[1, 2]
    assert one.rates == {k: v[1, 2] for k, v in law.rates.items()}
    assert [type(getattr(one, f)) for f in (*VERDICTS, "margin")] == [str, bool, bool, bool, int, float]
    assert all(type(a.holds) is bool and type(a.detail) is str for a in one.assumptions)
    given = predict(MultiHead(A[0, 0], H[0]), x0=rng.normal(size=(5, 3, 2)))
    assert given.margin.shape == (5,)
    same = predict(Layered([Linear(A[:, :, 0], H[0, 0])] * 2))
    assert same.assumptions[-1].holds.shape == (2, 3)


def test_dominant_modes_and_text():
    rng = np.random.default_rng(0)
    law = predict(symmetric(1, 0.2))
    (mode,) = law.dominant
    assert (mode.attention_eigenvalue, mode.weight_eigenvalue) == (1, mode.value - 1)
    assert "Regime: smoothing" in str(law)
    (mode,) = predict(symmetric(0, -0.6)).dominant
    assert np.isnan(mode.attention_eigenvalue)
    assert np.isnan(mode.weight_eigenvalue)
    modes = predict(layers(7, 3, 0)).dominant
    assert all(m.attention_eigenvalue == 1 and np.isnan(m.weight_eigenvalue) for m in modes)
    single = heads(rng, 4, 3, 2)
    narrow = MultiHead(single.A.astype(np.float32), single.H.astype(np.float32))
    np.testing.assert_allclose(predict(narrow).margin, predict(single).margin, rtol=1e-5)


def test_what_is_refused():
    rule = heads(np.random.default_rng(0), 3, 2, 2)
    for several in (rule, Layered([rule, rule]), Layered([rule, Linear(rule.A[0], rule.H[0])])):
        with pytest.raises(ShapeError, match="x0"):
            predict(several, x0=np.ones((2, 3)))
        with pytest.raises(InvalidValueError, match="x0: found an all-zero"):
            predict(several, x0=np.zeros((3, 2)))
        with pytest.raises(NotCoveredError):
            predict(several).log_bound("token_diversity", 3)
    with pytest.raises(InvalidTypeError, match="MultiHead"):
        predict([rule, rule])


def test_scipy_stays_lazy():
    code = "import sys, linsim; assert 'scipy.linalg' not in sys.modules, 'scipy.linalg'"
    subprocess.run([sys.executable, "-c", code], check=True)
