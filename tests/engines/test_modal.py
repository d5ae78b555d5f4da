"""The closed form and squaring against truth at depths that no loop reaches."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import flint
import hypothesis
import mpmath
import numpy as np
import pytest
from oracles import closed_form as closed_form_oracle
from oracles import iterated as oracle
from oracles.contract import OF_TOKENS, beyond
from oracles.systems import (
    CASES,
    DYADIC,
    LOGS,
    STRUCTURED,
    block,
    causal,
    dyadic_columns,
    nearly_degenerate,
    softmax,
    systems,
    weights,
)

from linsim._eigen import attention_eigensystem, weight_eigensystem
from linsim._engines import modal, mode_states, modes, powers, refine, squaring
from linsim._split import choose_split
from linsim._state import decompose
from linsim.metrics._evaluate import evaluate
from linsim.metrics._registry import tolerances

BOUND = 1e-9
DEEP = (10**5, 10**9)
RESOLUTION = 1e-6  # where digits are the point: the largest error of what counts as reported
LINEAR = [case for case in CASES if not isinstance(case.A, list)]
named = pytest.mark.parametrize("case", LINEAR, ids=lambda case: case.name)


# --- running one engine --------------------------------------------------------------------


def batch(*arrays):
    return tuple(np.asarray(x, dtype=float)[None] for x in arrays)


def started(A, H, x0):
    return decompose(x0, choose_split(A, H, x0, 2.0**-52)[0])


def closed(A, H, x0):
    return modes.prepare(A, H, started(A, H, x0), attention_eigensystem(A), weight_eigensystem(H))


def squared(A, H, x0):
    return powers.prepare(A, H, started(A, H, x0), weight_eigensystem(H))


ENGINES = {"modal": (modal, closed), "squaring": (squaring, squared)}


class Found(dict):
    """{metric: values}, NaN where the error is too large to report a value; ``errors``: {metric: errors}."""

    def __init__(self, values, errors, resolution):
        for name, allowed in tolerances(values, False, resolution).items():
            size = 1.0 if name.startswith("log") else np.maximum(1, np.abs(np.nan_to_num(values[name])))
            self[name] = np.where(errors[name] <= allowed * size, values[name], np.nan)
        self.errors = errors


def measured(states, layers, x0, resolution=RESOLUTION):
    """{metric: (b, layers)}; ``resolution`` None: as ``simulate`` reports by default."""
    values, errors = {name: [] for name in OF_TOKENS}, {name: [] for name in OF_TOKENS}
    zero_rows = ~np.any(x0 != 0, axis=-1, keepdims=True)
    for layer, state in zip(layers, states, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            found, _ = evaluate(state, OF_TOKENS, zero_rows if layer == 0 else None)
        for name, metric in found.items():
            values[name].append(metric.value[:, 0, 0])
            errors[name].append(np.broadcast_to(metric.error, metric.value.shape)[:, 0, 0])
    joined = [{name: np.stack(x, axis=-1) for name, x in each.items()} for each in (values, errors)]
    return Found(*joined, resolution)


def solved(A, H, x0, layers, engine="modal", resolution=RESOLUTION):
    """Metrics over layers, and the verdict, of one system."""
    module, prepare = ENGINES[engine]
    A, H, x0 = batch(A, H, x0)
    prepared = prepare(A, H, x0)
    verdict = module.reliable(prepared, A, H, layers[-1])
    found = measured(module.states(prepared, layers), layers, x0, resolution)
    values, errors = ({name: x[0] for name, x in each.items()} for each in (found, found.errors))
    return Found(values, errors, resolution), verdict


# --- comparing -----------------------------------------------------------------------------


def worst(found, truth, names=LOGS, relative=False):
    """Largest error where there is a truth; NaN there is infinite."""
    largest = 0.0
    for name in names:
        finite = np.isfinite(truth[name])
        error = np.abs(found[name][finite] - truth[name][finite])
        if relative:
            error = error / np.maximum(1, np.abs(truth[name][finite]))
        largest = max(largest, np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))
        zero = truth[name] == -np.inf
        assert np.all(np.isnan(found[name][zero]) | (found[name][zero] == -np.inf)), name
    return largest


def lies(found, truth, digits):
    """Names of metrics with a value that is farther from the truth than its own error allows."""
    run = SimpleNamespace(metrics=found, errors=found.errors)
    return [name for name in found if np.any(beyond(run, truth, name, digits))]


# --- the oracle itself ----------------------------------------------------------------------


@pytest.mark.parametrize("case", LINEAR[::5], ids=lambda case: case.name)
def test_the_oracle_agrees_with_iteration(case):
    layers = (0, 1, 5, 300)
    truth = oracle.trajectory(case.A, case.H, case.x0, layers, digits=900, symmetric=case.symmetric)
    options = {"symmetric": case.symmetric}
    found = closed_form_oracle.trajectory(case.A, case.H, case.x0, layers, digits=900, **options)
    for name in truth:
        np.testing.assert_allclose(found[name], truth[name], rtol=1e-13, atol=1e-13, err_msg=name)
    if min(case.x0.shape) > 1:  # from far fewer digits than the gaps have
        found = closed_form_oracle.gaps(case.A, case.H, case.x0, layers, digits=100, **options)
        for name, values in found.items():
            np.testing.assert_allclose(values, truth[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_the_oracle_agrees_with_matrix_powers():
    rng = np.random.default_rng(3)
    A, H, x0 = softmax(rng, 3), block(0.5 + 0.7j), rng.normal(size=(3, 2))
    with mpmath.workdps(120):
        P = mpmath.matrix(A.tolist())
        for i in range(3):
            P[i, :] = P[i, :] / sum(P[i, :])
        # row-major vec: (A X H) = (A kron H^T) vec X
        M = mpmath.eye(6)
        for i, j, k, m in np.ndindex(3, 2, 3, 2):
            M[2 * i + j, 2 * k + m] += P[i, k] * mpmath.mpf(H[m, j])
        x = M ** (10**6) * mpmath.matrix(x0.ravel().tolist())
        expected = float(mpmath.log(mpmath.norm(x)))
    found = closed_form_oracle.gaps(A, H, x0, [10**6], digits=150)["log_norm"][0]
    assert found == pytest.approx(expected, rel=1e-15)


# --- the closed form ------------------------------------------------------------------------


@pytest.mark.sample(3)
@named
def test_every_gap_to_depth_1200(case):
    found, verdict = solved(case.A, case.H, case.x0, case.layers)
    truth = oracle.trajectory(
        case.A, case.H, case.x0, case.layers, digits=case.digits, symmetric=case.symmetric
    )
    assert verdict.ok[0], verdict.reason
    assert worst(found, truth) <= BOUND


@pytest.mark.parametrize(
    "case", [case for case in LINEAR if min(case.x0.shape) > 1], ids=lambda case: case.name
)
def test_every_gap_at_depths_that_no_loop_reaches(case):
    """A logarithm of 1e9 ends at 1e-7: relative to its size all digits are there."""
    found, verdict = solved(case.A, case.H, case.x0, DEEP, resolution=None)
    truth = closed_form_oracle.gaps(case.A, case.H, case.x0, DEEP, symmetric=case.symmetric)
    assert verdict.ok[0], verdict.reason
    assert worst(found, truth, truth, relative=True) <= 1e-14


# both A and H with complex dominant pairs: the state turns for ever, and so do its metrics
TURNING = 0.6 * np.roll(np.eye(5), 1, axis=0) + 0.1 * np.roll(np.eye(5), 2, axis=0)


def turning(seed):
    rng = np.random.default_rng(seed)
    H = weights(rng, -0.9 + 0.5j, -0.1, -0.5, condition=3)
    return TURNING + 0.3 * softmax(rng, 5), H, rng.normal(size=(5, 4))


def slow(seed):
    """All eigenvalues of A within 1e-7 of each other: nothing has decayed at 1e9."""
    rng = np.random.default_rng(seed)
    A = (1 - 1e-7) * np.eye(5) + 1e-7 * softmax(rng, 5)
    return A, weights(rng, 0.5, 0.3, 0.2, -0.1, condition=5), rng.normal(size=(5, 4))


def bounded(system):
    """Largest error of what is of size 1 at 1e9, and the verdict."""
    found, verdict = solved(*system, DEEP)
    truth = closed_form_oracle.trajectory(*system, DEEP, digits=300)
    names = [name for name in OF_TOKENS if np.all(np.abs(truth[name]) < 1000)]
    assert {"token_similarity", "log_hfc_lfc", "log_rank_gap"} & set(names)
    return worst(found, truth, names), verdict


LASTING = [turning(0), turning(1), turning(2), slow(0), slow(1)]


@pytest.mark.parametrize("system", LASTING, ids=["turning"] * 3 + ["slow"] * 2)
def test_phases_and_slow_gaps_are_true_at_1e9(system):
    error, verdict = bounded(system)
    assert verdict.ok[0], verdict.reason
    assert error <= 1e-9


def test_it_fails_without_refined_eigenvalues(monkeypatch):
    def unrefined(*arguments):
        basis = refine.basis_of(*arguments)
        return replace(basis, low=0 * basis.low)

    monkeypatch.setattr(modes, "basis_of", unrefined)
    assert max(bounded(system)[0] for system in LASTING) > 1e-8


def test_it_fails_with_half_a_pair(monkeypatch):
    filled = mode_states._filled
    monkeypatch.setattr(mode_states, "_filled", lambda q, *rest: filled(q.real + 0j, *rest))
    case = next(case for case in LINEAR if case.name == "smoothing-pair-general")
    found, verdict = solved(case.A, case.H, case.x0, (0, 1, 5, 20))
    assert not verdict.ok[0]
    truth = oracle.trajectory(case.A, case.H, case.x0, (0, 1, 5, 20), digits=300)
    assert worst(found, truth) > 0.01


def test_equal_eigenvalues_stay_equal():
    """lambda = -1/8 three times: diversity and rank follow from two scalars per feature."""
    values = np.array([0.25, 0.5, -0.5])
    x0 = np.random.default_rng(1).normal(size=(4, 3))
    found, verdict = solved(DYADIC, np.diag(values), x0, DEEP)
    assert verdict.ok[0], verdict.reason
    with mpmath.workdps(60):
        mean = [mpmath.fsum(map(mpmath.mpf, column)) / 4 for column in x0.T]
        rest = [mpmath.fsum((mpmath.mpf(x) - m) ** 2 for x in c) for c, m in zip(x0.T, mean, strict=True)]
        for k, layer in enumerate(DEEP):
            low = mpmath.fsum(
                4 * m**2 * (1 + mpmath.mpf(v)) ** (2 * layer) for m, v in zip(mean, values, strict=True)
            )
            high = mpmath.fsum(
                s * (1 - mpmath.mpf(v) / 8) ** (2 * layer) for s, v in zip(rest, values, strict=True)
            )
            expected = float(mpmath.log(high / (high + low)))
            assert found["log_token_diversity"][k] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (2, 2), (2, 5)])
def test_every_shape_at_1e9(shape):
    rng = np.random.default_rng(shape)
    n, d = shape
    H = np.diag(np.linspace(0.5, 0.1, d))
    A, x0 = (softmax(rng, n) if n > 1 else np.ones((1, 1))), rng.normal(size=(n, d))
    found, verdict = solved(A, H, x0, DEEP)
    assert verdict.ok[0], verdict.reason
    truth = closed_form_oracle.trajectory(A, H, x0, DEEP, digits=200)
    assert worst(found, truth, ["log_norm"], relative=True) <= 1e-15
    if min(shape) > 1:
        truth = closed_form_oracle.gaps(A, H, x0, DEEP)
        assert worst(found, truth, truth, relative=True) <= 1e-14


def test_deeper_than_phases_hold_is_refused():
    A, H, x0 = batch(*turning(0))
    form = closed(A, H, x0)
    next(modal.states(form, [modes.DEEPEST]))
    with pytest.raises(ValueError, match="beyond"):
        next(modal.states(form, [modes.DEEPEST + 1]))


def test_systems_of_a_batch_do_not_see_each_other():
    rng = np.random.default_rng(4)
    A = np.stack([softmax(rng, 4), causal(rng, 4), DYADIC])
    H = np.stack([weights(rng, 0.5 + 0.3j, 0.2), np.diag([0.5, 0.5, 0.25]), np.diag([1.0, 1.0], 1)])
    x0, layers = rng.normal(size=(3, 4, 3)), (0, 1, 7, 1000, 10**6)
    form = closed(A, H, x0)
    verdict = modal.reliable(form, A, H, layers[-1])
    together = measured(modal.states(form, layers), layers, x0)
    assert list(verdict.ok) == [True, True, False]
    for k in range(2):
        alone, own = solved(A[k], H[k], x0[k], layers)
        assert own.ok[0]
        for name in OF_TOKENS:
            np.testing.assert_allclose(together[name][k], alone[name], rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shared", ["A", "H", "x0"])
def test_systems_may_share_a_matrix(shared, engine):
    rng, layers = np.random.default_rng(8), (0, 1, 7, 1000)
    whole = {
        "A": np.stack([softmax(rng, 4) for _ in range(2)]),
        "H": np.stack([weights(rng, 0.5, 0.2, -0.3), weights(rng, 0.4 + 0.3j, 0.1)]),
        "x0": rng.normal(size=(2, 4, 3)),
    }
    whole[shared] = whole[shared][:1]
    module, prepare = ENGINES[engine]
    prepared = prepare(*whole.values())
    assert np.all(module.reliable(prepared, whole["A"], whole["H"], layers[-1]).ok)
    together = measured(module.states(prepared, layers), layers, whole["x0"])
    for k in range(2):
        alone, _ = solved(*(x[k % len(x)] for x in whole.values()), layers, engine)
        for name in OF_TOKENS:
            np.testing.assert_allclose(together[name][k], alone[name], rtol=1e-11, atol=1e-11, err_msg=name)


def test_layers_do_not_see_each_other():
    """Modes that are dropped as too small are too small at every later layer."""
    A, H, x0 = batch(*slow(1))
    form = closed(A, H, x0)
    layers = [1, 3, 50, 51, 10**3, 10**5, 10**8]
    together = measured(modal.states(form, layers), layers, x0)
    for k, layer in enumerate(layers):
        alone = measured(modal.states(form, [layer]), [layer], x0)
        for name in OF_TOKENS:
            np.testing.assert_allclose(together[name][:, k], alone[name][:, 0], rtol=1e-13, atol=1e-13)


def test_the_residual_keeps_all_its_digits():
    rng = np.random.default_rng(6)
    M = rng.normal(size=(1, 6, 6))
    basis = weight_eigensystem(M)
    tag = refine.tags(basis.values)
    assert np.any(tag)
    V = np.where((tag == 2)[:, None, :], -basis.right.imag, basis.right.real)
    found = refine.residual(M, V, basis.values, tag)[0]

    def exact(x):
        return flint.fmpq_mat([[flint.fmpq(*float(v).as_integer_ratio()) for v in row] for row in x])

    values, Lambda = basis.values[0], np.zeros((6, 6))
    for k in range(6):
        Lambda[k, k] = values[k].real
        if tag[0, k] == 1:
            Lambda[k, k + 1], Lambda[k + 1, k] = values[k].imag, -values[k].imag
    expected = exact(M[0]) * exact(V[0]) - exact(V[0]) * exact(Lambda)
    expected = np.array([float(e.p) / float(e.q) for e in expected.entries()]).reshape(6, 6)
    assert np.max(np.abs(expected)) > 0
    # what is left of both factors after two slices of 21 bits is rounded: three sums of 6 terms
    rounding = 3 * 6 * max(np.max(np.abs(M)), np.max(np.abs(values))) * 2.0 ** (-2 * 21 - 53)
    assert rounding < 1e-11 * np.max(np.abs(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=2 * rounding)
    plain = (M @ V - V @ Lambda)[0]
    assert not np.allclose(plain, expected, rtol=0.01, atol=0)


# --- never silently wrong ---------------------------------------------------------------------


def never_lies(system, engine, layers=(0, 1, 2, 5, 20, 60, 150), digits=600):
    found, verdict = solved(*system, layers, engine, None)
    if verdict.ok[0]:
        A = np.asarray(system[0])
        truth = oracle.trajectory(*system, layers, digits=digits, symmetric=dyadic_columns(A))
        assert not lies(found, truth, digits)
    return verdict


@pytest.mark.sample(3)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_systems_are_true_or_refused(name, engine):
    verdict = never_lies(STRUCTURED[name], engine)
    defective = {
        "modal": ("Jordan", "nilpotent", "J_2"),
        "squaring": ("Jordan H", "Jordan A and H", "nilpotent", "J_2"),
    }[engine]
    if name.startswith(defective):
        assert not verdict.ok[0]
        assert "defective" in verdict.reason[0]
    elif name != "ill-conditioned H":
        assert verdict.ok[0], verdict.reason
    assert (verdict.reason[0] == "") == verdict.ok[0]


@pytest.mark.parametrize("engine", ENGINES)
@hypothesis.settings(max_examples=40)
@hypothesis.given(system=systems())
def test_a_rounding_floor_is_never_a_value(engine, system):
    never_lies(system, engine)


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
@hypothesis.settings(max_examples=10_000)
@hypothesis.given(system=systems())
def test_a_rounding_floor_is_never_a_value_full(engine, system):
    never_lies(system, engine)


@pytest.mark.sample(3)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", [*range(8), 1077, 2241])
def test_nearly_degenerate_systems_are_true_or_refused(seed, engine):
    never_lies(nearly_degenerate(seed), engine, (0, 1, 2, 5, 20, 60, 200, 500), digits=1600)


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("hundred", range(10))
def test_nearly_degenerate_systems_are_true_or_refused_full(hundred, engine):
    for seed in range(1000 + 100 * hundred, 1100 + 100 * hundred):
        never_lies(nearly_degenerate(seed), engine, (0, 1, 2, 5, 20, 60, 200, 500), digits=1600)


def test_a_floor_would_show_without_noise(monkeypatch):
    """The property bites: with noise that is forgotten, rounding is reported as a value."""
    system, layers = STRUCTURED["no constant part, unequal tokens"], (0, 1, 60, 150)
    truth = oracle.trajectory(*system, layers, digits=600)
    assert not lies(solved(*system, layers, "modal", None)[0], truth, 600)
    prepare = modes.prepare

    def noiseless(*arguments):
        m = prepare(*arguments)
        return replace(m, missed=m.missed - 1e4, own=0 * m.own, shadows=0 * m.shadows)

    monkeypatch.setattr(modes, "prepare", noiseless)
    assert lies(solved(*system, layers, "modal", None)[0], truth, 600)


@pytest.mark.parametrize("n", [32, 64])
def test_causal_attention_is_refused_by_the_closed_form(n):
    rng = np.random.default_rng(n)
    _, verdict = solved(causal(rng, n), weights(rng, 0.9, 0.4, -0.5), rng.normal(size=(n, 3)), [0, 1])
    assert not verdict.ok[0]


@pytest.mark.parametrize("seed", range(6))
def test_ill_conditioned_causal_attention_is_true_or_refused(seed):
    """The condition of the basis passes through all powers of ten: 1e6 is still true, and told apart."""
    rng, layers = np.random.default_rng(seed), (1, 5, 20, 60, 1000, 10**5)
    n = 10 + 2 * seed
    A, H, x0 = causal(rng, n), weights(rng, 0.9, 0.4, -0.5, condition=4), rng.normal(size=(n, 3))
    found, verdict = solved(A, H, x0, layers)
    if verdict.ok[0]:
        truth = closed_form_oracle.gaps(A, H, x0, layers, digits=400)
        known = {k: np.where(np.isnan(found[k]), np.nan, v) for k, v in truth.items()}
        assert worst(found, known, known, relative=True) <= BOUND
    assert verdict.ok[0] or n > 10


# --- squaring -----------------------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "case", [*LINEAR[::4], next(c for c in LINEAR if "causal" in c.name)], ids=lambda c: c.name
)
def test_squaring_has_every_gap_to_depth_1200(case):
    found, verdict = solved(case.A, case.H, case.x0, case.layers, "squaring")
    truth = oracle.trajectory(
        case.A, case.H, case.x0, case.layers, digits=case.digits, symmetric=case.symmetric
    )
    assert verdict.ok[0], verdict.reason
    assert worst(found, truth) <= BOUND


@pytest.mark.sample(2)
@pytest.mark.parametrize("sharp", [False, True])
def test_squaring_holds_for_causal_attention_to_1e5(sharp):
    rng = np.random.default_rng(24 + sharp)
    n, layers = 24, (0, 1, 20, 10**3, 10**5)
    H = weights(rng, *((-0.9 + 0.3j, -0.4) if sharp else (0.6 + 0.5j, 0.3, -0.4)), condition=4)
    A, x0 = causal(rng, n), rng.normal(size=(n, len(H)))
    found, verdict = solved(A, H, x0, layers, "squaring")
    assert verdict.ok[0], verdict.reason
    truth = closed_form_oracle.gaps(A, H, x0, layers, digits=400)
    known = {k: np.where(np.isnan(found[k]), np.nan, v) for k, v in truth.items()}
    assert worst(found, known, known, relative=True) <= BOUND
    if not sharp:
        assert all(np.all(np.isfinite(found[name])) for name in truth)


def test_squaring_forgets_nothing_between_blocks(monkeypatch):
    A, H, x0 = batch(STRUCTURED["Jordan A, smoothing"][0], *STRUCTURED["Jordan A, smoothing"][1:])
    form, layers = squared(A, H, x0), (0, 1, 5, 6, 100, 10**4)
    whole = measured(squaring.states(form, layers), layers, x0)
    monkeypatch.setattr(powers, "VECTORS", 1)
    monkeypatch.setattr(powers, "MATRICES", 1)
    pieces = measured(squaring.states(form, layers), layers, x0)
    for name in OF_TOKENS:
        np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-11, atol=1e-11, err_msg=name)


def test_a_floor_would_show_without_a_twin(monkeypatch):
    system, layers = STRUCTURED["no constant part, unequal tokens"], (0, 1, 60, 150)
    truth = oracle.trajectory(*system, layers, digits=600)
    assert not lies(solved(*system, layers, "squaring", None)[0], truth, 600)
    monkeypatch.setattr(powers, "_shaken", lambda x, e, *_: (x, e))
    assert lies(solved(*system, layers, "squaring", None)[0], truth, 600)
