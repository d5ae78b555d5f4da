"""How else one would simulate X <- X + A X H with metrics along the way: one function a way.

Each takes a :class:`~linsim.bench.workloads.Problem` and returns, for each metric, an array
(systems, recorded layers).  Each is written as somebody at home in that library would write it, and
computes the metrics from their definitions, in float64: token similarity ||PX||^2 / ||X||^2 and HFC/LFC
||X - PX|| / ||PX|| with P the mean over tokens, the mean cosine over pairs of tokens, the exponential of the
entropy of singular values over their sum, and ln ||X||.

To time code of your own beside them: ``linsim bench --peers plain,yours:run`` where yours.py, in the
current folder, has such a function ``run``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from .workloads import Problem

__all__ = ["LINSIM", "PEERS", "Peer", "installed", "own", "version"]

HostArray = np.ndarray[Any, Any]

Values = dict[str, HostArray]


@dataclass(frozen=True)
class Peer:
    """A way to simulate: ``target`` is ``module:function``, ``needs`` the package it cannot do without."""

    name: str
    label: str
    target: str
    needs: str = "numpy"
    loops: bool = False


LINSIM = Peer("linsim", "linsim", "linsim.bench.peers:linsim", "linsim")

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("plain", "NumPy, plain loop", "linsim.bench.peers:plain", loops=True),
        Peer("batched", "NumPy, batched", "linsim.bench.peers:batched"),
        Peer("torch", "torch.bmm", "linsim.bench.peers:torch", "torch"),
        Peer("jax", "JAX jit(scan(vmap))", "linsim.bench.peers:jax", "jax"),
        Peer("numba", "Numba prange + SVD", "linsim.bench.peers:numba", "numba"),
    )
}


def own(target: str) -> Peer:
    """Return the peer of a function of the user's, ``module:function``."""
    return Peer(target, target, target)


def installed(package: str) -> bool:
    """Whether ``package`` can be found; it is not imported."""
    return importlib.util.find_spec(package) is not None


def version(package: str) -> str:
    """Return the version of an installed package, or nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def linsim(problem: Problem) -> tuple[Values, dict[str, str]]:
    """Run linsim as a user does, from plain matrices; also say which engine ran."""
    from linsim import Linear, simulate

    run = simulate(
        Linear(problem.A, problem.H),
        problem.x0,
        problem.depth,
        layers=problem.layers,
        metrics=None if problem.everything else problem.metrics,
        method=problem.method,
        dtype=problem.dtype,
        resolution=problem.resolution,
    )
    asked = {name: run.metrics[name] for name in problem.metrics}
    return asked, {"method": str(run.info.method), "reason": str(run.info.reason)}


def _steps(problem: Problem) -> list[int]:
    """Layers to go before each record."""
    return [int(step) for step in np.diff(problem.layers, prepend=0)]


def plain(problem: Problem) -> Values:
    """One system after the other, metrics as in their formulas, an SVD at each recorded layer."""
    found = {name: np.empty((len(problem.x0), len(problem.layers))) for name in problem.metrics}
    n = problem.x0.shape[1]
    P = np.full((n, n), 1 / n)
    for b, (A, H, X) in enumerate(zip(problem.A, problem.H, problem.x0, strict=True)):
        log_scale = 0.0
        for t, step in enumerate(_steps(problem)):
            for _ in range(step):
                X = X + A @ X @ H
                if problem.rescale:
                    size = np.linalg.norm(X)
                    X = X / size
                    log_scale += np.log(size)
            size, mean = np.linalg.norm(X), P @ X
            low, high = np.linalg.norm(mean), np.linalg.norm(X - mean)
            unit = X / np.linalg.norm(X, axis=1, keepdims=True)
            p = np.linalg.svd(X, compute_uv=False)
            p = p / p.sum()
            p = p[p > 0]
            values = {
                "token_similarity": low**2 / size**2,
                "hfc_lfc": high / low,
                "cosine": ((unit @ unit.T).sum() - n) / (n * (n - 1)),
                "effective_rank": np.exp(-(p * np.log(p)).sum()),
                "log_norm": np.log(size) + log_scale,
            }
            for name in problem.metrics:
                found[name][b, t] = values[name]
    return found


def batched(problem: Problem) -> Values:
    """All systems at once by NumPy's stacked products and SVD."""
    A, H, X = problem.A, problem.H, problem.x0
    n = X.shape[1]
    log_scale = np.zeros(len(X))
    found: dict[str, list[HostArray]] = {name: [] for name in problem.metrics}
    for step in _steps(problem):
        for _ in range(step):
            X = X + A @ X @ H
            if problem.rescale:
                size = np.sqrt(np.einsum("bij,bij->b", X, X))
                X = X / size[:, None, None]
                log_scale = log_scale + np.log(size)
        mean = X.mean(axis=1)
        size2, low2 = np.einsum("bij,bij->b", X, X), n * np.einsum("bj,bj->b", mean, mean)
        apart = X - mean[:, None]
        unit = X / np.linalg.norm(X, axis=2, keepdims=True)
        p = np.linalg.svd(X, compute_uv=False)
        p = p / p.sum(axis=1, keepdims=True)
        values = {
            "token_similarity": low2 / size2,
            "hfc_lfc": np.sqrt(np.einsum("bij,bij->b", apart, apart) / low2),
            "cosine": ((unit @ unit.transpose(0, 2, 1)).sum(axis=(1, 2)) - n) / (n * (n - 1)),
            "effective_rank": np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)),
            "log_norm": np.log(size2) / 2 + log_scale,
        }
        for name in problem.metrics:
            found[name].append(values[name])
    return {name: np.stack(columns, axis=1) for name, columns in found.items()}


def torch(problem: Problem) -> Values:
    """All systems at once by torch.baddbmm and svdvals."""
    torch: Any = import_module("torch")
    n = problem.x0.shape[1]
    found: dict[str, list[Any]] = {name: [] for name in problem.metrics}
    with torch.inference_mode():
        A, H, X = (torch.from_numpy(x) for x in (problem.A, problem.H, problem.x0))
        log_scale = torch.zeros(len(X), dtype=torch.float64)
        for step in _steps(problem):
            for _ in range(step):
                X = torch.baddbmm(X, torch.bmm(A, X), H)
                if problem.rescale:
                    size = torch.linalg.vector_norm(X, dim=(1, 2))
                    X = X / size[:, None, None]
                    log_scale = log_scale + size.log()
            mean = X.mean(1)
            size = torch.linalg.vector_norm(X, dim=(1, 2))
            low = n**0.5 * torch.linalg.vector_norm(mean, dim=1)
            unit = torch.nn.functional.normalize(X, dim=2, eps=0)
            p = torch.linalg.svdvals(X)
            p = p / p.sum(1, keepdim=True)
            values = {
                "token_similarity": (low / size) ** 2,
                "hfc_lfc": torch.linalg.vector_norm(X - mean[:, None], dim=(1, 2)) / low,
                "cosine": (torch.bmm(unit, unit.transpose(1, 2)).sum((1, 2)) - n) / (n * (n - 1)),
                "effective_rank": torch.special.entr(p).sum(1).exp(),
                "log_norm": size.log() + log_scale,
            }
            for name in problem.metrics:
                found[name].append(values[name])
    return {name: np.asarray(torch.stack(columns, dim=1)) for name, columns in found.items()}


def jax(problem: Problem) -> Values:
    """One compiled program: a scan over recorded layers, vmapped over systems."""
    run = _jax_program(tuple(_steps(problem)), problem.metrics, problem.rescale)
    found = run(problem.A, problem.H, problem.x0)
    return {name: np.asarray(values).T for name, values in found.items()}


@functools.lru_cache(maxsize=1)
def _jax_program(steps: tuple[int, ...], metrics: tuple[str, ...], rescale: bool) -> Callable[..., Any]:
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    entr: Any = import_module("jax.scipy.special").entr
    jax.config.update("jax_enable_x64", True)

    def measure(X: Any, log_scale: Any) -> dict[str, Any]:
        n, mean = X.shape[0], X.mean(0)
        size2, low2 = (X * X).sum(), n * (mean @ mean)
        unit = X / jnp.linalg.norm(X, axis=1, keepdims=True)
        p = jnp.linalg.svd(X, compute_uv=False)
        values = {
            "token_similarity": low2 / size2,
            "hfc_lfc": jnp.sqrt(((X - mean) ** 2).sum() / low2),
            "cosine": ((unit @ unit.T).sum() - n) / (n * (n - 1)),
            "effective_rank": jnp.exp(entr(p / p.sum()).sum()),
            "log_norm": jnp.log(size2) / 2 + log_scale,
        }
        return {name: values[name] for name in metrics}

    def layer(A: Any, H: Any, X: Any, log_scale: Any) -> tuple[Any, Any]:
        X = X + A @ X @ H
        if not rescale:
            return X, log_scale
        size = jnp.linalg.norm(X)
        return X / size, log_scale + jnp.log(size)

    layers, measures = jax.vmap(layer), jax.vmap(measure)
    one_by_one = set(steps[1:]) <= {1}

    def run(A: Any, H: Any, x0: Any) -> Any:
        def go(step: Any, state: Any) -> Any:
            return jax.lax.fori_loop(0, step, lambda _, state: layers(A, H, *state), state)

        def record(state: Any, step: Any) -> Any:
            # a loop of one layer would cost what the compiler makes of layers in a row
            state = layers(A, H, *state) if one_by_one else go(step, state)
            return state, measures(*state)

        state = go(steps[0], (x0, jnp.zeros(len(x0))))
        first = measures(*state)
        rest = jax.lax.scan(record, state, jnp.asarray(steps[1:], dtype=int))[1]
        return {name: jnp.concatenate([first[name][None], rest[name]]) for name in metrics}

    program: Callable[..., Any] = jax.jit(run)
    return program


def numba(problem: Problem) -> Values:
    """Compiled loops, systems in parallel; LAPACK's SVD inside."""
    from threadpoolctl import threadpool_limits

    found = np.empty((5, len(problem.x0), len(problem.layers)))
    # systems side by side want one BLAS thread each; a single one wants them all
    with threadpool_limits(1 if len(problem.x0) > 1 else None, "blas"):
        _numba_program()(
            problem.A,
            problem.H,
            problem.x0,
            problem.layers,
            problem.rescale,
            "effective_rank" in problem.metrics,
            found,
        )
    names = ("token_similarity", "hfc_lfc", "cosine", "effective_rank", "log_norm")
    return {name: values for name, values in zip(names, found, strict=True) if name in problem.metrics}


@functools.cache
def _numba_program() -> Callable[..., None]:
    nb: Any = import_module("numba")

    def run(
        A: HostArray,
        H: HostArray,
        x0: HostArray,
        layers: HostArray,
        rescale: bool,
        ranks: bool,
        found: HostArray,
    ) -> None:
        n, d = x0.shape[1:]
        for b in nb.prange(x0.shape[0]):
            X, log_scale, layer = x0[b].copy(), 0.0, 0
            for t in range(layers.shape[0]):
                while layer < layers[t]:
                    X = X + np.dot(np.dot(A[b], X), H[b])
                    layer += 1
                    if rescale:
                        size = np.sqrt((X * X).sum())
                        X = X / size
                        log_scale += np.log(size)
                mean, direction, size2, high2 = np.zeros(d), np.zeros(d), 0.0, 0.0
                for i in range(n):
                    row2 = 0.0
                    for j in range(d):
                        row2 += X[i, j] * X[i, j]
                        mean[j] += X[i, j] / n
                    size2 += row2
                    for j in range(d):
                        direction[j] += X[i, j] / np.sqrt(row2)
                for i in range(n):
                    for j in range(d):
                        high2 += (X[i, j] - mean[j]) ** 2
                low2 = n * (mean * mean).sum()
                found[0, b, t] = low2 / size2
                found[1, b, t] = np.sqrt(high2 / low2)
                found[2, b, t] = ((direction * direction).sum() - n) / (n * (n - 1))
                if ranks:
                    p = np.linalg.svd(X, False)[1]
                    p = p / p.sum()
                    entropy = 0.0
                    for k in range(p.shape[0]):
                        if p[k] > 0:
                            entropy -= p[k] * np.log(p[k])
                    found[3, b, t] = np.exp(entropy)
                found[4, b, t] = np.log(size2) / 2 + log_scale

    program: Callable[..., None] = nb.njit(parallel=True)(run)
    return program
