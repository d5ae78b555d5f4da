"""What eigenvalues alone decide is what the full law says, or is left to it."""

import numpy as np
import pytest

import linsim
from linsim import _kernels
from linsim.sweeps._variables import PREDICTED
from linsim.theory._from_values import from_values

pytestmark = pytest.mark.skipif(not _kernels.usable(), reason="compiled kernels cannot be used")

COUNT = 12


@pytest.fixture(autouse=True)
def compiled_first(monkeypatch):
    """As a sweep does: no value may depend on what was compiled when its turn came."""
    monkeypatch.setenv("LINSIM_COMPILE", "wait")


def attentions(n, rng):
    some = linsim.attention.softmax(n, 8, size=COUNT, rng=rng)
    spectrum = np.concatenate([np.ones((COUNT, 1)), rng.uniform(-0.05, 0.3, (COUNT, n - 1))], axis=1)
    return {
        "symmetric": linsim.attention.from_spectrum(spectrum, rng=rng),
        "general": some,
        "reversible": linsim.attention.softmax(n, 8, symmetric=True, temperature=2, size=COUNT, rng=rng),
        "doubly stochastic": linsim.attention.doubly_stochastic(n, size=COUNT, rng=rng),
        "shared": some[0],
        "uniform": linsim.attention.uniform(n),
        "causal": linsim.attention.masked(some, linsim.masks.causal(n)),
        "in two groups": np.kron(np.eye(2), linsim.attention.uniform(n // 2)),
    }


def weights(d, rng):
    gaussian = linsim.weights.gaussian(d, size=COUNT, rng=rng)
    half = rng.uniform(-2.5, 0.5, (COUNT, d // 2)) + 1j * rng.uniform(0.05, 0.5, (COUNT, d // 2))
    # far inside: what it does to eigenvalues decides nothing
    inside = np.diag([2.0, 2.5, *np.full(d - 2, 0.3)]) + 0.1 * np.diag([0.0, *np.ones(d - 2)], 1)
    Q = linsim.weights.orthogonal(d, size=COUNT, rng=rng)
    jordan = np.eye(d) * np.linspace(-2.5, 1, COUNT)[:, None, None] + np.diag(np.ones(d - 1), 1)
    levels = np.linspace(-3.5, 1, COUNT)[:, None, None]
    return {
        "symmetric": linsim.weights.from_spectrum(rng.uniform(-3.5, 0.5, (COUNT, d)), rng=rng),
        "complex": linsim.weights.from_spectrum(np.concatenate([half, half.conj()], axis=1), rng=rng),
        "gaussian": 2 * gaussian,
        "shared": gaussian[0],
        "conditioned": linsim.weights.from_spectrum(
            rng.uniform(-3, 0.5, (COUNT, d)), basis="random", condition=10, rng=rng
        ),
        "one number": levels * np.eye(d),
        "low rank": gaussian[:, :, :1] @ gaussian[:, :1, :],
        "zero": np.zeros((d, d)),
        "a Jordan block": jordan,
        "a Jordan block that follows": Q @ inside @ np.swapaxes(Q, -1, -2),
        "badly scaled": gaussian * np.logspace(0, 6, d) / np.logspace(0, 6, d)[:, None],
        "nearly equal": levels * np.diag(1 + 1e-7 * np.arange(d)),
    }


def verdicts(law, size):
    return {name: np.broadcast_to(about.read(law), size) for name, about in PREDICTED.items()}


@pytest.mark.parametrize(("n", "d"), [(2, 2), (8, 8), (6, 4)])
def test_verdicts_and_rates_are_those_of_the_full_law(n, d):
    rng = np.random.default_rng(n)
    certain, regimes = {}, set()
    for (a, A), (h, H) in ((p, q) for p in attentions(n, rng).items() for q in weights(d, rng).items()):
        rule = linsim.Linear(A, H)
        brief, law = from_values(rule), linsim.predict(rule)
        size = len(brief.certain)
        certain[a, h] = np.mean(brief.certain)
        found, full = verdicts(brief, size), verdicts(law, size)
        where = brief.certain
        regimes |= set(np.asarray(brief.regime)[where])
        for name, values in found.items():
            if values.dtype.kind == "f":
                # moduli lose the digits that conditions up to 1e4 cost them
                np.testing.assert_allclose(
                    values[where], full[name][where], rtol=1e-10, atol=1e-11, err_msg=f"{a}, {h}: {name}"
                )
            else:
                np.testing.assert_array_equal(values[where], full[name][where], f"{a}, {h}: {name}")
    assert regimes == {"smoothing", "sharpening"}
    for a in ("symmetric", "reversible", "general", "shared"):
        for h in ("symmetric", "complex", "gaussian"):
            assert certain[a, h] > 0.5, (a, h)
        assert certain[a, "a Jordan block that follows"] > 0.5, a
    # nothing is certain of what eigenvalues cannot tell
    for a in ("symmetric", "general"):
        for h in ("zero", "a Jordan block", "badly scaled"):
            assert certain[a, h] == 0, (a, h)
    assert certain["in two groups", "gaussian"] == 0


def test_ties_and_their_neighbourhood_are_left_to_the_full_law():
    A = np.array([[0.25, 0.75], [0.75, 0.25]])  # eigenvalues 1 and -0.5: balanced at mu = -2 / 0.5
    edge = linsim.theory.boundary(-0.5)
    for step in (0.0, 1e-15, 1e-12, 1e-9, 1e-6):
        for sign in (-1, 1):
            assert not from_values(linsim.Linear(A, np.diag([edge * (1 + sign * step), -1.0]))).certain
    for sign, regime in ((-1, "sharpening"), (1, "smoothing")):
        brief = from_values(linsim.Linear(A, np.diag([edge * (1 + sign * 1e-3), -1.0])))
        assert brief.certain.all()
        assert brief.regime == regime


def test_a_token_outside_the_leading_vector_is_left_to_the_full_law():
    # the vector of eigenvalue -0.4 is (1, -1, 0): the third token follows another
    A = np.array([[0.2, 0.6, 0.2], [0.6, 0.2, 0.2], [0.2, 0.2, 0.6]])
    rule = linsim.Linear(A, np.diag([-0.8, -0.1]))
    silent = {entry.name: entry.holds for entry in linsim.predict(rule).assumptions}
    assert not silent["every token is in the dominant modes"]
    assert not from_values(rule).certain


def test_a_verdict_depends_on_its_own_system_alone():
    rng = np.random.default_rng(5)
    A, H = attentions(8, rng)["general"], weights(8, rng)["gaussian"]
    # among others of other kinds, so that batches are cut apart and put together again
    A[::3] = attentions(8, rng)["symmetric"][::3]
    H[::2] = weights(8, rng)["symmetric"][::2]
    together = verdicts(from_values(linsim.Linear(A, H)), COUNT)
    for k in range(COUNT):
        alone = verdicts(from_values(linsim.Linear(A[k : k + 1], H[k])), 1)
        for name, values in together.items():
            assert values[k] == alone[name][0], name
    shared = verdicts(from_values(linsim.Linear(A[1], H)), COUNT)
    each = verdicts(from_values(linsim.Linear(np.repeat(A[1:2], COUNT, axis=0), H)), COUNT)
    for name, values in shared.items():
        np.testing.assert_array_equal(values, each[name])


@pytest.mark.parametrize(
    "rule",
    [
        linsim.Linear(np.eye(2, dtype=np.float32) / 2 + 0.25, np.eye(2, dtype=np.float32)),
        linsim.Linear(np.eye(2), np.eye(2), bias=[1.0, 0.0]),
        linsim.Linear(np.eye(2), np.eye(2), scale=[1.0, 2.0]),
        linsim.Linear(linsim.attention.general([[1.0, 1.0], [0.0, 1.0]]), np.eye(2)),
        linsim.MultiHead([np.eye(2)], [np.eye(2)]),
        linsim.Layered([linsim.Linear(np.eye(2), np.eye(2))] * 2),
        linsim.Linear(np.eye(2), np.ones((2, 3, 2, 2))),
    ],
    ids=["float32", "bias", "scale", "general", "heads", "layers", "two batch axes"],
)
def test_other_rules_have_other_laws(rule):
    assert from_values(rule) is None
