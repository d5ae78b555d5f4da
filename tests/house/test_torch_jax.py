"""Tensors of PyTorch and arrays of JAX: the numbers that NumPy's inputs give, where the inputs came from.

Runs where PyTorch or JAX is installed (extra ``arrays-test``); what is missing is left out.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from oracles.contract import OF_TOKENS

import linsim
from linsim import Block, Deescalation, Layered, Linear, LinsimError, MultiHead, RandomWeights, simulate
from linsim._callers import native_rule, on_host
from linsim._namespace import home_of
from linsim.attention import FromTokens
from linsim.metrics import measure

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # read when JAX is first used
HAVE = [name for name in ("torch", "jax") if importlib.util.find_spec(name) is not None]
if not HAVE:
    pytest.skip("neither PyTorch nor JAX is installed", allow_module_level=True)
ONLY_TORCH = pytest.mark.skipif("torch" not in HAVE, reason="PyTorch is not installed")
ONLY_JAX = pytest.mark.skipif("jax" not in HAVE, reason="JAX is not installed")

N, D = 5, 3
A = linsim.attention.softmax(N, 4, size=2, rng=0)
H = 0.5 * linsim.weights.gaussian(D, size=2, rng=1)
X = linsim.tokens.gaussian(N, D, size=2, rng=2)


class Library:
    """How tests make arrays of a library, and read them."""

    def __init__(self, name, dtype, x64=False):
        self.name, self.dtype, self.x64 = name, dtype, x64

    def context(self):
        if self.name == "torch":
            return contextlib.nullcontext()
        import jax

        return jax.enable_x64(self.x64)

    def array(self, x):
        """A parameter that wants gradients, not contiguous in memory; or an array of JAX."""
        x = np.asarray(x)
        dtype = {"f": self.dtype, "i": "int32", "b": "bool"}[x.dtype.kind]
        if self.name == "torch":
            import torch

            dtype = getattr(torch, dtype)
            back = torch.tensor(x.T.copy(), dtype=dtype).permute(tuple(range(x.ndim))[::-1])
            return back.requires_grad_() if x.dtype.kind == "f" else back
        import jax.numpy as jnp

        return jnp.asarray(x, dtype=dtype)

    def numpy(self, x):
        """The same numbers for NumPy: float32 where it lacks the dtype."""
        x = np.asarray(x)
        if x.dtype.kind != "f" or self.dtype != "bfloat16":
            return x.astype(self.dtype) if x.dtype.kind == "f" else x
        # the upper half of a float32, rounded to even
        bits = x.astype(np.float32).view(np.uint32)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        return bits.astype(np.uint32).view(np.float32)

    def attention(self, x):
        """What attention of half precision is normalised to."""
        x = self.numpy(x)
        if self.dtype in ("float64", "float32"):
            return x
        x = x.astype(np.float32)
        return x / x.sum(axis=-1, keepdims=True)

    def same(self, found, expected):
        """Whether ``found`` is of this library and holds ``expected``, to the last bit it can hold."""
        expected = np.asarray(expected)
        if self.name == "torch":
            import torch

            assert isinstance(found, torch.Tensor)
            assert found.device.type == "cpu"
            assert not found.requires_grad
            found = found.numpy()
        else:
            import jax

            assert isinstance(found, jax.Array)
            found = np.asarray(found)
            if not self.x64:
                narrow = {"float64": "float32", "int64": "int32"}
                expected = expected.astype(narrow.get(str(expected.dtype), expected.dtype))
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        return True


LIBRARIES = [
    Library(name, dtype, x64)
    for name, dtype, x64 in [
        ("torch", "float64", False),
        ("torch", "float32", False),
        ("torch", "float16", False),
        ("torch", "bfloat16", False),
        ("jax", "float64", True),
        ("jax", "float32", True),
        ("jax", "float32", False),
        ("jax", "bfloat16", False),
    ]
    if name in HAVE
]


@pytest.fixture(params=LIBRARIES, ids=lambda one: f"{one.name}-{one.dtype}{'-x64' if one.x64 else ''}")
def library(request):
    with request.param.context():
        yield request.param


def rules(att, arr):
    """One rule of each kind, its matrices made by ``att`` (attention) and ``arr`` (the rest)."""
    mask = linsim.masks.causal(N)
    query_key = np.linspace(-1, 1, D * D).reshape(D, D)
    block = {"weights": arr(H[0]), "gain": arr(np.array([1.0, -0.5, 2.0])), "bias": arr(np.ones(D) / 4)}
    return {
        "Linear": Linear(att(A), arr(H)),
        "MultiHead": MultiHead(att(A), arr(H)),
        "Layered": Layered([Linear(att(A[0]), arr(H[0])), Linear(att(A[1]), arr(H[1]))] * 6),
        "RandomWeights": RandomWeights(att(A[0])),
        "FromTokens": RandomWeights(FromTokens(mask=arr(mask), query_key=arr(query_key))),
        "Block": Block(att(A[0]), norm="post", feed_forward="gelu", **block),
        "BlockFromTokens": Block(FromTokens(mask=arr(mask)), norm="pre", **block),
    }


@pytest.mark.parametrize(
    "name",
    ["Linear", "MultiHead", "Layered", "RandomWeights", "FromTokens", "Block", "BlockFromTokens"],
)
@pytest.mark.parametrize("x0_too", [True, False], ids=["x0", "numpy x0"])
def test_simulate_gives_the_same_numbers_at_home(library, name, x0_too):
    plain = rules(library.attention, library.numpy)[name]
    guest = rules(library.array, library.array)[name]
    tokens = library.numpy(X)
    options = {"keep_states": True, "rng": 3, "layers": [0, 1, 12]}
    if not x0_too and name == "FromTokens":  # nothing but the tokens has a precision here
        options["dtype"] = "float64"
    expected = simulate(plain, tokens, 12, **options)
    found = simulate(guest, library.array(X) if x0_too else tokens, 12, **options)
    for metric in OF_TOKENS:
        assert library.same(found.metrics[metric], expected.metrics[metric])
    for metric, error in getattr(expected, "errors", {}).items():
        assert library.same(found.errors[metric], error)
    assert library.same(found.states, expected.states)
    assert library.same(found.state_log_scale, expected.state_log_scale)
    # labels and notes are NumPy's
    assert isinstance(found.layers, np.ndarray)
    assert isinstance(found.info.methods, np.ndarray)
    assert found.info.methods.tolist() == expected.info.methods.tolist()
    np.testing.assert_array_equal(found.rate("log_norm"), _rate(library, expected))


def _rate(library, run):
    """The rate of what a run recorded, as the library holds it."""
    from dataclasses import replace

    values = np.asarray(run.metrics["log_norm"])
    if library.name == "jax" and not library.x64:
        values = values.astype(np.float32)
    return replace(run, metrics={"log_norm": values}).rate("log_norm")


def test_rules_hold_what_they_were_given(library):
    rule = Linear(library.array(A), library.array(H))
    assert library.same(rule.A, Linear(library.attention(A), library.numpy(H)).A)
    assert library.same(rule.H, Linear(library.attention(A), library.numpy(H)).H)
    spacing = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
    assert rule.spacing == spacing[library.dtype]
    assert rule.batch_shape == (2,)
    mixed = Linear(A, library.array(H))
    assert mixed.A is not A
    np.testing.assert_array_equal(mixed.A, A)
    assert library.same(
        simulate(mixed, X, 1).metrics["cosine"], simulate(mixed, X, 1, backend="numpy").metrics["cosine"]
    )


def test_predict_at_home(library):
    a, h, x = library.attention(A), library.numpy(H), library.numpy(X)
    expected = linsim.predict(a, h, x0=x)
    found = linsim.predict(library.array(A), library.array(H), x0=library.array(X))
    names = ("input_convergence", "angle_convergence", "rank_collapse", "limit_rank", "margin")
    # NumPy has no bfloat16: its float32 is believed to more digits, and verdicts may be surer
    for name in names if library.dtype != "bfloat16" else ("margin",):
        assert library.same(getattr(found, name), getattr(expected, name))
    for group in ("rates", "relaxations", "beats"):
        for gap, value in getattr(expected, group).items():
            assert library.same(getattr(found, group)[gap], value)
    for one, other in zip(found.assumptions, expected.assumptions, strict=True):
        assert one.name == other.name
        assert library.same(one.holds, other.holds)
    assert found.regime.tolist() == expected.regime.tolist()
    assert library.same(
        found.log_bound("rank_gap", library.array(np.array([1, 5]))), expected.log_bound("rank_gap", [1, 5])
    )
    lower, sharper = found.log_lower_bound("hfc_lfc", [3]), expected.log_lower_bound("hfc_lfc", [3])
    if library.dtype == "bfloat16":  # what an x0 of fewer digits may hide is counted
        assert np.all(np.isfinite(np.asarray(lower)) & (np.asarray(lower) <= sharper))
    else:
        assert library.same(lower, sharper)
    assert str(found) == str(expected)
    alone = linsim.predict(Linear(library.array(A[0]), library.array(H[0])))
    assert isinstance(alone.rank_collapse, bool)  # a single system has Python's numbers
    assert str(alone) == str(linsim.predict(a[0], h[0]))


def test_compare_takes_both_from_there(library):
    rule = Linear(library.array(A), library.array(H))
    law, run = linsim.predict(rule), simulate(rule, library.array(X), 200)
    plain = Linear(library.attention(A), library.numpy(H))
    expected = linsim.compare(linsim.predict(plain), simulate(plain, library.numpy(X), 200))
    found = linsim.compare(law, run)
    assert found.agrees.tolist() == expected.agrees.tolist()
    assert found["token_diversity"].verdict.tolist() == expected["token_diversity"].verdict.tolist()


def test_measure_at_home(library):
    found, expected = (
        measure(library.array(X)),
        measure(library.numpy(X).astype(np.result_type(library.numpy(X), np.float32))),
    )
    assert set(found) == set(OF_TOKENS)
    assert all(library.same(found[name], expected[name]) for name in OF_TOKENS)


def test_lyapunov_exponents_at_home(library):
    rule = Layered([Linear(library.array(A), library.array(H))])
    plain = Layered([Linear(library.attention(A), library.numpy(H))])
    found = linsim.lyapunov_exponents(rule, 64, burn_in=8)
    expected = linsim.lyapunov_exponents(plain, 64, burn_in=8)
    for name in ("constant", "rest", "constant_error", "rest_error", "margin", "margin_error"):
        assert library.same(getattr(found, name), getattr(expected, name))
    assert found.regime.tolist() == expected.regime.tolist()
    assert str(found) == str(expected)


def test_builders_take_them(library):
    causal = linsim.masks.causal(N)
    for mask in (causal, library.array(causal)):
        found = linsim.attention.masked(library.array(A), mask)
        assert library.same(found, linsim.attention.masked(library.attention(A), causal))
    groups = linsim.masks.closed_groups(library.array(causal[None]))
    assert library.same(groups, linsim.masks.closed_groups(causal[None]))
    psi, basis = np.array([-1.5, 0.5, -0.25]), np.array([[2.0, 1, 0], [0, 1, 0.5], [1, 0, 3]])
    for form in (None, "orthogonal"):
        keywords = {"filter": "sharpen", "form": form, "return_condition": True}
        wide = basis if library.name == "torch" or library.x64 else basis.astype(np.float32)
        for given, same in (
            (library.array(basis), library.numpy(basis)),
            (basis, wide),
            (basis.tolist(), wide),
        ):
            found = linsim.weights.reparameterize(library.array(psi), given, **keywords)
            expected = linsim.weights.reparameterize(library.numpy(psi), same, **keywords)
            assert all(library.same(*pair) for pair in zip(found, expected, strict=True))
    values = np.array([1, 0.5, -0.25])
    np.testing.assert_array_equal(
        linsim.attention.from_spectrum(library.array(values), rng=0),
        linsim.attention.from_spectrum(values, rng=0),
    )
    np.testing.assert_array_equal(
        linsim.tokens.gaussian(4, 2, similarity=library.array(values[1:2]), size=1, rng=0),
        linsim.tokens.gaussian(4, 2, similarity=values[1:2], size=1, rng=0),
    )


def test_lists_of_arrays(library):
    heads = MultiHead([library.array(M) for M in A], [library.array(M) for M in H])
    together = MultiHead(library.array(A), library.array(H))
    assert library.same(heads.A, simple(together.A))
    found = simulate(heads, library.array(X[0]), 3).metrics["cosine"]
    assert library.same(found, simple(simulate(together, library.array(X[0]), 3).metrics["cosine"]))


def simple(x):
    return x.numpy() if hasattr(x, "numpy") else np.asarray(x)


def test_a_hook_sees_tokens_of_the_caller(library):
    seen = []

    def hook(tokens):
        seen.append(tokens)
        return 2 * tokens

    rule = Block(
        library.array(A[0]), weights=library.array(H[0]), deescalation=Deescalation("output", function=hook)
    )
    simulate(rule, library.array(X[0]), 2)
    assert len(seen) >= 2  # of two layers, with copies that tell how far rounding goes
    assert {type(one).__module__.partition(".")[0] for one in seen} == {
        type(library.array(X)).__module__.partition(".")[0]
    }


def test_a_sampler_may_draw_there(library):
    def drawn(wrap):
        return RandomWeights(
            A[0], kind=lambda d, size, rng: wrap(linsim.weights.gaussian(d, size=size, rng=rng))
        )

    expected = simulate(drawn(lambda W: library.numpy(W).astype(float)), X[0], 3, rng=0)
    found = simulate(drawn(library.array), X[0], 3, rng=0)
    np.testing.assert_array_equal(found.metrics["log_norm"], expected.metrics["log_norm"])


def test_a_sweep_labels_numpy_arrays(library):
    def make(wrap):
        def made(point, rng):
            h = point["mu"][:, None, None] * np.eye(D)
            return Linear(wrap(A[0]), wrap(h)), wrap(linsim.tokens.gaussian(N, D, size=len(h), rng=rng))

        return made

    def rounded(x):  # attention is (n, n), unlike all else here
        return library.attention(x) if x.shape == (N, N) else library.numpy(x)

    options = {"depth": 4, "progress": False, "metrics": "log_norm"}
    found = linsim.sweep(make(library.array), {"mu": [-0.5, 0.25]}, **options)
    expected = linsim.sweep(make(rounded), {"mu": [-0.5, 0.25]}, **options)
    np.testing.assert_allclose(
        found.log_norm, expected.log_norm, rtol=0, atol=1e-6 if library.dtype != "float64" else 0
    )
    assert found.predicted_regime.values.tolist() == expected.predicted_regime.values.tolist()


def test_options_in_the_callers_terms(library):
    rule = Linear(library.array(A), library.array(H))
    run = simulate(
        rule, library.array(X), 4, layers=library.array(np.array([0, 4])), backend="numpy", keep_states=True
    )
    assert isinstance(run.metrics["cosine"], np.ndarray)  # as for every library
    assert isinstance(run.states, np.ndarray)
    assert run.layers.tolist() == [0, 4]
    kind = (
        __import__("torch").float32
        if library.name == "torch"
        else __import__("jax.numpy", fromlist=["_"]).float32
    )
    assert simulate(rule, library.array(X), 1, dtype=kind, keep_states=True).states.dtype == kind


def test_hooks_in_a_sweep_see_tokens_of_the_caller(library):
    seen = []

    def hook(tokens):
        seen.append(tokens)
        return tokens

    def make(point, rng):
        tokens = linsim.tokens.gaussian(N, D, size=len(point["p"]), rng=rng)
        return Block(A[0], deescalation=Deescalation("output", function=hook)), library.array(tokens)

    linsim.sweep(make, {"p": [0.5, 1.5]}, depth=1, progress=False, metrics="log_norm")
    assert {type(one) for one in seen} == {type(library.array(X).sum())}


def test_a_law_and_a_rule_are_made_numpys_whole(library):
    rule = Linear(library.array(A), library.array(H))
    inside = native_rule(rule, home_of(rule.A))
    assert type(inside.A) is type(inside.H) is np.ndarray
    assert inside.spacing == rule.spacing  # how coarse the inputs were is not forgotten
    law = on_host(linsim.predict(rule))
    parts = [
        law.margin,
        law.rank_collapse,
        law.rates["rank_gap"],
        law.relaxations["rank_gap"],
        law.beats["rank_gap"],
    ]
    assert {type(part) for part in parts + [one.holds for one in law.assumptions]} == {np.ndarray}


@ONLY_JAX
def test_beyond_float32_plain_ratios_are_infinite_and_logarithms_there():
    import jax.numpy as jnp

    a = linsim.attention.from_spectrum([1, 0.5, -0.25], rng=0).astype(np.float32)
    h, x = np.float32(np.diag([-0.9, -0.8])), linsim.tokens.gaussian(3, 2, rng=0).astype(np.float32)
    metrics = ["hfc_lfc", "log_hfc_lfc"]
    wide = simulate(Linear(a, h), x, 300, metrics=metrics).metrics
    found = simulate(Linear(jnp.asarray(a), jnp.asarray(h)), jnp.asarray(x), 300, metrics=metrics).metrics
    assert 1e39 < wide["hfc_lfc"][-1] < np.inf
    assert float(found["hfc_lfc"][-1]) == np.inf
    assert float(found["log_hfc_lfc"][-1]) == np.float32(wide["log_hfc_lfc"][-1])


def test_numbers_of_parameters(library):
    """One number, or one a system, may be a tensor as well."""
    two = library.array(np.float64(2))
    np.testing.assert_array_equal(
        linsim.attention.softmax(4, 2, temperature=two, rng=0),
        linsim.attention.softmax(4, 2, temperature=2, rng=0),
    )
    several = library.array(np.array([1.0, 2.0]))
    assert RandomWeights(A[0], std=several).std.tolist() == [1.0, 2.0]
    steps = [
        Deescalation("branch", tau=library.array(np.float64(0.5))),
        Deescalation("output", similarity=several / 4),
    ]
    rule = Block(A[0], std=several, branch=two, deescalation=steps)
    assert rule.batch_shape == (2,)
    assert rule.branch == 2.0


@ONLY_TORCH
def test_a_rule_keeps_its_own_attention():
    import torch

    given = torch.tensor(A[0])
    rule = Linear(given, torch.tensor(H[0]))
    given.fill_(7.0)
    np.testing.assert_array_equal(rule.A.numpy(), A[0])


def traced():
    import jax

    return jax.jit(measure)(np.eye(2, dtype=np.float32))


def torch_of(make):
    return make(__import__("torch"))


REFUSED = {
    # name: (libraries that it takes, the call with their namespaces, parts of the message)
    "sparse": ("torch", lambda t: Linear(t.eye(2).to_sparse(), t.eye(2)), ["A: found", ".to_dense()"]),
    "meta": ("torch", lambda t: measure(t.ones(2, 2, device="meta")), ["x: found", "'meta'"]),
    "complex": (
        "torch",
        lambda t: Linear(t.eye(2) + 0j, t.eye(2)),
        ["A: found dtype complex64", "real part"],
    ),
    "NaN": ("torch", lambda t: Linear(t.eye(2), t.nan * t.eye(2)), ["H: found NaN"]),
    "bool": ("torch", lambda t: Linear(t.eye(2).bool(), t.eye(2)), ["A: found dtype bool"]),
    "half rows": (
        "torch",
        lambda t: Linear((0.9 * t.eye(4)).half(), t.eye(2)),
        ["A: found a row", "in float32"],
    ),
    "batches": (
        "torch",
        lambda t: Linear(t.eye(2).expand(2, 2, 2), t.eye(2).expand(3, 2, 2)),
        ["batch shapes A (2,), H (3,)"],
    ),
    "x0 batch": (
        "torch",
        lambda t: simulate(Linear(t.eye(2).expand(2, 2, 2), t.eye(2)), t.ones(3, 2, 2), 1),
        ["batch shapes rule (2,), x0 (3,)"],
    ),
    "traced": ("jax", lambda j: jitted(measure)(j.eye(2)), ["x: found an array of jax", "outside jit"]),
    "libraries": (
        "torch jax",
        lambda t, j: Linear(t.eye(2), j.eye(2)),
        ["A and H: found arrays of jax and torch", "Convert"],
    ),
    "library of x0": (
        "torch jax",
        lambda t, j: simulate(Linear(t.eye(2), t.eye(2)), j.eye(2), 1),
        ["rule and x0: found arrays of jax and torch", "Convert"],
    ),
    "libraries of rules": (
        "torch jax",
        lambda t, j: Layered([Linear(t.eye(2), np.eye(2)), Linear(j.eye(2), np.eye(2))]),
        ["rules: found arrays of jax and torch"],
    ),
    "libraries in a block": (
        "torch jax",
        lambda t, j: Block(t.eye(2), gain=j.ones(2)),
        ["A and gain: found arrays of jax and torch"],
    ),
    "libraries of a mask": (
        "torch jax",
        lambda t, j: linsim.attention.masked(t.eye(2), j.ones((2, 2), dtype=bool)),
        ["A and mask: found arrays of jax and torch"],
    ),
}


def jitted(function):
    import jax

    return jax.jit(function)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    libraries, call, parts = REFUSED[name]
    missing = [library for library in libraries.split() if library not in HAVE]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    modules = [importlib.import_module({"jax": "jax.numpy"}.get(one, one)) for one in libraries.split()]
    with pytest.raises(LinsimError) as caught:
        call(*modules)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert message.index(": found ") < message.index("; expected ")


@ONLY_JAX
def test_two_devices_are_refused():
    """JAX shows two devices on one processor, if asked before it starts."""
    code = """
        import jax, numpy as np, linsim
        one, other = jax.devices("cpu")
        A, H, x = np.full((2, 2), 0.5, "f"), np.eye(2, dtype="f"), np.eye(2, dtype="f")
        put = jax.device_put
        def refused(call):
            try:
                call()
            except linsim.LinsimError as error:
                print(error)
        refused(lambda: linsim.Linear(put(A, one), put(H, other)))
        rule = linsim.Linear(put(A, other), put(H, other))
        refused(lambda: linsim.simulate(rule, put(x, one), 2))
        refused(lambda: linsim.predict(rule, x0=put(x, one)))
        found = linsim.metrics.measure(put(x, other), "cosine")["cosine"]
        print(found.devices() == {other})
    """
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment
    )
    lines = done.stdout.splitlines()
    assert lines[3:] == ["True"], done.stdout + done.stderr
    for line, argument in zip(lines[:3], ["A and H", "rule and x0", "rule and x0"], strict=True):
        assert line.startswith(f"{argument}: found arrays of jax on ")
        assert "expected arrays on one device" in line
