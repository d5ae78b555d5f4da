"""What a specification can name: families of attention, weights and tokens, and layer rules.

Each family says which parameters it has.  Some may differ from point to point of a batch (a temperature);
the others, sizes and options, have one value in each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import attention, tokens, weights
from ..block import Block, Deescalation
from ..rules import Linear, MultiHead, RandomWeights

__all__ = ["FAMILIES", "REQUIRED", "Family", "built"]

#: a parameter that must be given
REQUIRED = object()


@dataclass(frozen=True)
class Family:
    """``varying``: parameters with a value for each point; ``fixed``: with one for a batch; by default value.

    ``build(parameters, n, d, size, rng)`` returns the array, (*size, n, n) or alike.
    """

    build: Callable[..., Any]
    varying: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """All of them, by default value."""
        return {**self.varying, **self.fixed}


def _column(values: Any, size: tuple[int, ...]) -> Any:
    """A parameter of each point beside heads and the like: (k,) as it broadcasts against ``size``."""
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(values.shape + (1,) * (len(size) - 1)) if values.ndim else values


def _given(p: Mapping[str, Any], size: tuple[int, ...], *names: str) -> dict[str, Any]:
    return {name: _column(p[name], size) for name in names if p[name] is not None}


def _softmax(p: Mapping[str, Any], n: int, d: int, size: Any, rng: Any) -> Any:
    key = d if p["d_key"] is None else p["d_key"]
    given = _given(p, size, "temperature")
    return attention.softmax(n, key, symmetric=bool(p["symmetric"]), size=size, rng=rng, **given)


def _dirichlet(p: Mapping[str, Any], n: int, d: int, size: Any, rng: Any) -> Any:
    return attention.dirichlet(n, _column(p["concentration"], size), size=size, rng=rng)


def _attention_spectrum(p: Mapping[str, Any], n: int, d: int, size: Any, rng: Any) -> Any:
    low = np.broadcast_to(_column(p["lowest"], size), size)[..., None]
    first, last = np.broadcast_to(p["others"], 2)
    between = np.linspace(first, last, max(n - 2, 0))
    spectrum = np.concatenate([np.ones_like(low), low, np.ones_like(low) * between], axis=-1)[..., :n]
    return attention.from_spectrum(spectrum, rng=rng)


def _weight_spectrum(p: Mapping[str, Any], n: int, d: int, size: Any, rng: Any) -> Any:
    low = np.broadcast_to(_column(p["lowest"], size), size)[..., None]
    if p["highest"] is None:  # as in the phase diagram: a quarter of the modulus above
        high = low + 0.25 * np.abs(low)
    else:
        high = np.broadcast_to(_column(p["highest"], size), size)[..., None]
    spectrum = low + (high - low) * np.linspace(0, 1, d)
    return weights.from_spectrum(spectrum, basis=p["basis"], rng=rng, **_given(p, size, "condition"))


def _scaled(build: Callable[..., Any]) -> Callable[..., Any]:
    def scaled(p: Mapping[str, Any], n: int, d: int, size: Any, rng: Any) -> Any:
        H = build(p, n, d, size, rng)
        factor = _column(p["scale"], size)
        return H * (factor[..., None, None] if np.ndim(factor) else factor)

    return scaled


def _tokens(p: Mapping[str, Any], n: int, d: int, size: Any, rng: Any) -> Any:
    return tokens.gaussian(n, d, size=size, rng=rng, **_given(p, size, "similarity"))


FAMILIES: dict[str, dict[str, Family]] = {
    "attention": {
        "softmax": Family(_softmax, {"temperature": 1.0}, {"d_key": None, "symmetric": False}),
        "dirichlet": Family(_dirichlet, {"concentration": 1.0}),
        "doubly_stochastic": Family(
            lambda p, n, d, size, rng: attention.doubly_stochastic(n, size=size, rng=rng)
        ),
        "uniform": Family(lambda p, n, d, size, rng: attention.uniform(n)),
        "from_spectrum": Family(_attention_spectrum, {"lowest": REQUIRED}, {"others": [0.05, 0.2]}),
    },
    "weights": {
        "gaussian": Family(
            _scaled(
                lambda p, n, d, size, rng: weights.gaussian(d, size=size, rng=rng, **_given(p, size, "std"))
            ),
            {"std": None, "scale": 1.0},
        ),
        "orthogonal": Family(
            _scaled(lambda p, n, d, size, rng: weights.orthogonal(d, size=size, rng=rng)), {"scale": 1.0}
        ),
        "identity": Family(
            _scaled(lambda p, n, d, size, rng: np.broadcast_to(np.eye(d), (*size, d, d))), {"scale": 1.0}
        ),
        "from_spectrum": Family(
            _scaled(_weight_spectrum),
            {"lowest": REQUIRED, "highest": None, "condition": None, "scale": 1.0},
            {"basis": "orthogonal"},
        ),
    },
    "tokens": {"gaussian": Family(_tokens, {"similarity": None})},
    "rule": {
        "linear": Family(Linear),
        "multihead": Family(MultiHead, {}, {"heads": 2}),
        "random": Family(RandomWeights, {"std": 1.0}, {"kind": "gaussian"}),
        "block": Family(
            Block,
            {"std": 1.0, "tau": None},
            {
                "norm": "post",
                "residual": 1.0,
                "branch": 1.0,
                "feed_forward": None,
                "place": "attention",
                "weights": "gaussian",
            },
        ),
    },
}


def built(
    kinds: Mapping[str, str], given: Mapping[str, Mapping[str, Any]], n: int, d: int, k: int, rng: Any
) -> Any:
    """Return (rule, x0) of k points: ``kinds`` name the families, ``given`` holds all parameters."""
    kind, p = kinds["rule"], given["rule"]
    size = (k, p["heads"]) if kind == "multihead" else (k,)

    def draw(part: str, size: tuple[int, ...]) -> Any:
        return FAMILIES[part][kinds[part]].build(given[part], n, d, size, rng)

    A = draw("attention", size)
    if kind == "random":
        rule: Any = RandomWeights(A, std=p["std"], kind=p["kind"])
    elif kind == "block":
        step = () if p["tau"] is None else Deescalation(p["place"], tau=p["tau"])
        rule = Block(
            A,
            std=p["std"],
            weights=p["weights"],
            norm=p["norm"],
            residual=p["residual"],
            branch=p["branch"],
            feed_forward=p["feed_forward"],
            deescalation=step,
        )
    else:
        H = draw("weights", size)
        if kind == "multihead":
            A = np.broadcast_to(A, (*size, n, n))
        rule = MultiHead(A, H) if kind == "multihead" else Linear(A, H)
    return rule, draw("tokens", (k,))
