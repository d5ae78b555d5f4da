"""Predictions beside Monte Carlo, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import _validate
from .._namespace import to_host
from .._simulate import simulate
from .._types import FloatArray
from ..errors import InvalidValueError, ShapeError
from ..rules import RandomWeights
from ._arguments import MOST, kind_of
from ._energy import expected_energy
from ._estimate import Estimate, estimate, interval
from ._factor import OddsFactor
from ._measured import odds_growth, rate

__all__ = ["Experiment", "Row", "experiment"]


@dataclass(frozen=True, eq=False)
class Row:
    """One quantity: what is predicted for each layer and what was found.

    Attributes
    ----------
    name : str
    prediction : (depth,) float64 array
        NaN where no exact law is known.
    found : Estimate
        Arrays of shape (depth,).
    """

    name: str
    prediction: FloatArray
    found: Estimate

    @property
    def z(self) -> FloatArray:
        """Standard errors by which what was found lies above the prediction, (depth,); NaN without one."""
        return np.asarray(self.found.z(self.prediction))


@dataclass(frozen=True, eq=False)
class Experiment:
    """What :func:`experiment` found; ``print`` shows it as a table.

    Attributes
    ----------
    mean_rate : Row
        E[r] of each layer, the expectation of the ratio.
    rate_of_means : Row
        The rate with expectations of the energies in it.
    typical_growth : Row
        E of the growth of ln(t_sim/t_div) in each layer.
    replicas : int
    title : str
    """

    mean_rate: Row
    rate_of_means: Row
    typical_growth: Row
    replicas: int
    title: str

    def __str__(self) -> str:
        rows = (self.mean_rate, self.rate_of_means, self.typical_growth)
        width = 36
        lines = [f"{self.title}, {self.replicas} replicas"]
        lines.append("layer " + "".join(f"{row.name:^{width}}" for row in rows).rstrip())
        heading = f"{'exact':>10}{'found':>10}{'+-':>9}{'z':>6} "
        lines.append("      " + (heading * len(rows)).rstrip())
        for layer in range(len(self.mean_rate.prediction)):
            lines.append(f"{layer:>5} " + "".join(_cells(row, layer) for row in rows).rstrip())
        return "\n".join(lines)


def _cells(row: Row, layer: int) -> str:
    exact, z = row.prediction[layer], row.z[layer]
    shown = f"{exact:>10.5f}" if np.isfinite(exact) else f"{'-':>10}"
    scored = f"{z:>6.1f}" if np.isfinite(z) else f"{'-':>6}"
    found, error = row.found.mean[layer], row.found.standard_error[layer]
    return f"{shown}{found:>10.5f}{error:>9.1e}{scored} "


def experiment(
    A: Any,
    x0: Any,
    *,
    std: float = 1.0,
    kind: str = "gaussian",
    replicas: int = 1000,
    depth: int = 4,
    rng: Any = None,
) -> Experiment:
    """Simulate X + A X W many times and lay what was found beside what is exactly known.

    Parameters
    ----------
    A : (n, n) array
        Attention, n >= 2.
    x0 : (n, d) array
        Input tokens, not all alike and not of mean zero.
    std : float
        s in (0, 1e15], E W W^T = s^2 I.
    kind : "gaussian" or "orthogonal"
        Law of W.
    replicas : int
        Independent runs, >= 2.
    depth : int
        Layers, >= 1.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    Experiment
        Three rows, an entry a layer.  The rate of means is exact for every A.  The mean rate and the
        typical growth are known for uniform attention (NaN otherwise).  From the second layer on the
        similarity is random, so the mean rate is predicted *given* each replica's similarity: prediction
        and finding then share that randomness, and the standard error is that of their difference.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is out of range or shapes do not fit; also if the similarity or the diversity of a
        replica vanishes.

    Notes
    -----
    Escalation: arXiv 2312.06182; laws and errors are derived here.  Where 1/Q has no variance
    (``OddsFactor.finite_variance``) a mean of rates has no standard error as t -> 1, and none is predicted.
    Means of energies are carried by rare replicas at great depth: trust z of the rate of means
    while depth * ln(1 + Var Q / (E Q)^2) is below ln(replicas)/4 or so.

    Examples
    --------
    >>> import linsim
    >>> x0 = linsim.tokens.gaussian(4, 16, rng=0)
    >>> found = experiment(linsim.attention.uniform(4), x0, replicas=400, depth=2, rng=0)
    >>> bool(abs(found.mean_rate.z).max() < 4 and abs(found.rate_of_means.z).max() < 4)
    True
    >>> print(str(found).splitlines()[0])
    uniform attention, n = 4, d = 16, std = 1, gaussian weights, 400 replicas
    """
    A = np.asarray(to_host(_validate.attention_matrix(A)), dtype=np.float64)
    x0 = np.asarray(to_host(_validate.array(x0, "x0", ndim=2, shape="(n, d)")), dtype=np.float64)
    if A.ndim != 2 or x0.ndim != 2 or x0.shape[0] != A.shape[0]:
        raise _validate.refusal(
            ShapeError,
            "A and x0",
            f"shapes {A.shape} and {x0.shape}",
            "(n, n) and (n, d)",
            "Give one system.",
        )
    s = _validate.number(std, "std", low=0.0, high=MOST, low_open=True)
    law = OddsFactor(x0.shape[1], std=s, kind=kind_of(kind))
    replicas = _validate.count(replicas, "replicas", minimum=2)
    depth = _validate.count(depth, "depth", minimum=1)
    n, d = x0.shape
    uniform = bool(np.all(np.abs(A - 1 / n) <= 4 * np.finfo(float).eps))

    metrics = ["token_similarity", "log_token_diversity", "log_hfc_lfc", "log_norm"]
    tokens = np.broadcast_to(x0, (replicas, n, d))
    run = simulate(RandomWeights(A, std=s, kind=law.kind), tokens, depth, metrics=metrics, rng=rng)
    rates, growth = rate(run), odds_growth(run)
    if not np.all(np.isfinite(rates) & np.isfinite(growth)):
        raise _validate.refusal(
            InvalidValueError,
            "x0",
            "a replica whose similarity or diversity vanishes",
            "tokens that are neither all alike nor of mean zero",
            "Choose other tokens, another std, or fewer layers.",
        )
    unknown = np.full(depth, np.nan)
    mean_rate = Row("mean rate E[r]", unknown, interval(rates))
    if uniform and law.finite_variance:
        given = law.expected_rate(run.metrics["token_similarity"][:, :-1])
        mean_rate = Row(mean_rate.name, np.mean(given, axis=0), _around(rates, given))
    total = 2 * run.metrics["log_norm"]
    means = Row(
        "rate of expectations",
        expected_energy(A, x0, range(depth + 1), std=s).rate,
        _rate_of_means(total + run.metrics["log_token_diversity"], total),
    )
    typical = Row(
        "growth of ln(odds)", np.full(depth, law.log_mean) if uniform else unknown, interval(growth)
    )
    attention = "uniform attention" if uniform else "attention"
    title = f"{attention}, n = {n}, d = {d}, std = {s:g}, {law.kind} weights"
    return Experiment(mean_rate, means, typical, replicas, title)


def _around(rates: FloatArray, given: FloatArray) -> Estimate:
    """Return the estimate of E[r] with the standard error of (r - its conditional expectation)."""
    apart, centre = interval(rates - given), np.mean(given, axis=0)
    return replace(apart, mean=apart.mean + centre, low=apart.low + centre, high=apart.high + centre)


def _rate_of_means(log_high: FloatArray, log_total: FloatArray) -> Estimate:
    """Return 1 - (E high'/E total')/(E high/E total) of consecutive layers, by the delta method."""
    parts = []
    for logs in (log_high, log_total):
        top = np.max(logs, axis=0)
        share = np.exp(logs - top)
        mean = np.mean(share, axis=0)
        parts.append((top + np.log(mean), share / mean))
    log_diversity = parts[0][0] - parts[1][0]
    error = parts[0][1] - parts[1][1]
    kept = np.exp(np.diff(log_diversity))
    return estimate(1 - kept, -kept * np.diff(error, axis=-1), 0.95, "x0")
