"""Several heads of many unknowns: leading modes by products with the layer, against all modes by LAPACK."""

import numpy as np
import pytest

from linsim import Layered, MultiHead, attention, predict, weights
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError
from linsim.theory import _arnoldi, _heads, cycle
from linsim.theory._cycle_map import Cycle
from linsim.weights import Factored

VERDICTS = ("regime", "input_convergence", "angle_convergence", "rank_collapse", "limit_rank")
KNOWN = "the modes that decide the rates are known"


def heads(n=6, d=64, h=3, r=6, seed=0, scale=3.0, shift=0.0):
    """Heads of low rank; a shift makes them full."""
    rng = np.random.default_rng(seed)
    A = attention.softmax(n, 4, size=(h,), rng=rng, temperature=0.4)
    V, O = rng.normal(size=(h, d, r)), rng.normal(size=(h, r, d))  # noqa: E741
    return MultiHead(A, scale / d * (V @ O) + shift * np.eye(d))


def operator(rule):
    """The whole map on row-major states, by Kronecker products."""
    return np.eye(rule.n * rule.d) + sum(np.kron(a, h.T) for a, h in rule.heads(0))


def holds(law):
    return {a.name: a.holds for a in law.assumptions}


@pytest.fixture
def few(monkeypatch):
    """As if a few unknowns were many, too many for the eigenmatrices of every constant mode."""
    monkeypatch.setattr(cycle, "DENSE", 50)
    monkeypatch.setattr(cycle, "LARGE", 50)
    monkeypatch.setattr(cycle, "STATES", 1)


@pytest.mark.parametrize(("r", "shift"), [(6, 0.0), (40, 0.0), (6, -0.3)])
@pytest.mark.parametrize("layers", [1, 2])
def test_products_and_lapack_agree(request, r, shift, layers):
    rules = [heads(4, 64, 2, r, seed, shift=shift) for seed in range(layers)]
    rule = rules[0] if layers == 1 else Layered(rules)
    x0 = np.random.default_rng(0).normal(size=(4, 64))
    expected = predict(rule, x0=x0)
    request.getfixturevalue("few")
    law = predict(rule, x0=x0)
    assert [getattr(law, f) for f in VERDICTS] == [getattr(expected, f) for f in VERDICTS]
    np.testing.assert_allclose(law.margin, expected.margin, rtol=1e-9)
    for name, rate in law.rates.items():
        np.testing.assert_allclose(rate, expected.rates[name], rtol=1e-9)
        if expected.relaxations[name] < 1:  # no chains, however weak
            assert law.relaxations[name] >= expected.relaxations[name] * (1 - 1e-6)
    assert holds(law)[KNOWN]
    assert "products" in {a.name: a.detail for a in law.assumptions}[KNOWN]
    assert predict(rule, x0=x0).margin == law.margin  # the same start, the same iteration


def test_moduli_lie_within_their_errors(few):
    for seed in range(2):
        rule = heads(4, 64, 2, 6, seed)
        layers = [(rule.A, rule.H)]
        exact = np.linalg.eigvals(operator(rule))
        for products in (None, 200):
            modes = cycle.modes_of(layers, effort=cycle.Effort(products))
            other = modes.blocks[1]
            apart = np.min(np.abs(other.values[:, None] - exact[None, :]), axis=1)
            assert np.all(apart <= other.error + 1e-12)
            assert other.products > 0
            left = np.abs(exact)[np.min(np.abs(exact[:, None] - modes.values[None, :]), axis=1) > 1e-6]
            assert np.max(left) <= modes.unknown * (1 + 1e-6)


def test_stopping_early_is_said(few, monkeypatch):
    """One short stage: digits are missing, the law knows how many, and its regime is still right."""
    monkeypatch.setattr(_arnoldi, "STAGES", ((1e-1, "f4"),))
    monkeypatch.setattr(_arnoldi, "KRYLOV", 12)
    rule = heads(8, 64, 3, 12, 1)
    law = predict(rule, products=1)
    assert not holds(law)[KNOWN]
    assert (
        "unsettled"
        in {a.name: a.detail for a in law.assumptions}["operator is diagonalizable near its leading modes"]
    )
    monkeypatch.undo()
    expected = predict(rule)
    assert holds(expected)[KNOWN]
    assert law.regime == expected.regime
    np.testing.assert_allclose(law.rates["token_diversity"], expected.rates["token_diversity"], rtol=0.1)
    assert law.rates["token_diversity"] != expected.rates["token_diversity"]


@pytest.mark.parametrize("r", [6, 40])
def test_sums_over_heads(monkeypatch, r):
    """Factored or not, in groups on threads or not, in either precision, transposed: one map."""
    monkeypatch.setattr(_heads, "WORTH_IT", 1)
    rule = heads(5, 64, 5, r)
    low = _heads.stacked(rule.H)
    assert (low is not None) == (r == 6)
    plain = Cycle(((rule.A, rule.H),), (2.0,))
    fast = Cycle(((rule.A, rule.H),), (2.0,), thin=(low,))
    X = np.random.default_rng(0).normal(size=(3, 5, 64))
    T = operator(rule) / 2
    for one in (plain, fast):
        expected = (X.reshape(3, -1) @ T.T).reshape(X.shape)
        np.testing.assert_allclose(one.apply(X), expected, atol=1e-13)
        np.testing.assert_allclose(one.transposed.apply(X).reshape(3, -1), X.reshape(3, -1) @ T, atol=1e-13)
        single = one.map(X[0].ravel().astype(np.float32))
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, expected[0].ravel(), atol=1e-4)


def test_what_products_cannot_tell_is_refused(few):
    H = weights.gaussian(64, size=2, rng=0)
    with pytest.raises(NotCoveredError, match="simulate"):
        predict(Layered([MultiHead(attention.uniform(4)[None], h[None]) for h in H]))
    for bad in (0, -1, 2.5, "many"):
        with pytest.raises((InvalidTypeError, InvalidValueError), match="products"):
            predict(heads(), products=bad)


def test_a_bar_is_shown_to_a_terminal_only(few, capsys, monkeypatch):
    predict(heads(4, 64, 2))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    predict(heads(4, 64, 2))
    assert "linsim predict" in capsys.readouterr().err
    predict(heads(4, 64, 2), progress=False)
    assert capsys.readouterr().err == ""


def test_factors_and_products_give_one_law(few):
    rng = np.random.default_rng(0)
    A = attention.softmax(4, 4, size=(2,), rng=rng, temperature=0.4)
    V, O = rng.normal(size=(2, 64, 4)), rng.normal(size=(2, 4, 64)) / 16  # noqa: E741
    law, dense = predict(MultiHead(A, Factored(V, O))), predict(MultiHead(A, V @ O))
    assert law.margin == pytest.approx(dense.margin, rel=1e-10)
    assert law.rates == pytest.approx(dense.rates, rel=1e-9)


def test_a_law_in_fewer_digits_costs_no_second_iteration(few, monkeypatch):
    """Weights that look like float32 in float64 are judged twice, from one iteration."""
    calls = []
    iterate = cycle._iterated
    monkeypatch.setattr(cycle, "_iterated", lambda *given: calls.append(1) or iterate(*given))
    rule = heads(4, 64, 2)
    rounded = MultiHead(rule.A, rule.H.astype(np.float32).astype(float))
    law = predict(rounded)
    assert "verdicts do not rest on digits that the entries seem to lack" in holds(law)
    assert len(calls) == 1
