"""One layer exactly: the change of every metric, and which part of the layer did it.

A law says what many equal layers do in the end.  The layers of a trained model differ, and what one of them
does to its own tokens is no limit: it is the metric after less the metric before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _html, _validate
from .._callers import in_callers_library
from .._eigen import attention_eigensystem
from .._general_eigen import general_eigensystem
from .._named import named
from .._namespace import to_host
from .._rule import Rule
from .._types import EPS, FloatArray
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError

__all__ = ["MEASURED", "Step", "step"]


@dataclass(frozen=True, eq=False)
class Step:
    """What one layer does to the metrics of its tokens; every number has the batch shape of rule and x0.

    Attributes
    ----------
    before, after, change : dict of str to float64
        Each metric of :data:`linsim.theory.one_step.MEASURED` before the layer and after it, and the
        difference: of logarithms (names that begin with ``log``) the logarithm of the factor.
    alone : dict of str to dict
        By part: the change if the layer were X plus this part and nothing else.
    without : dict of str to dict
        By part: the change if the layer lacked this part.  ``change`` less that is what the part
        does in the company of the others.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    change: Mapping[str, Any]
    alone: Mapping[str, Mapping[str, Any]]
    without: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        named(self, "step", "before", "after", "change", "alone", "without")

    def share(self, metric: str) -> dict[str, Any]:
        """Return by part what the whole layer changes in a metric beyond what it would without the part.

        Parameters
        ----------
        metric : str
            One of those measured.

        Raises
        ------
        InvalidValueError
            If it is none of them.

        Examples
        --------
        >>> import linsim
        >>> rule = linsim.Linear([[0.5, 0.5], [0.5, 0.5]], [[1.0]], bias=[3.0])
        >>> linsim.theory.step(rule, [[1.0], [2.0]]).share("hfc_lfc")["bias"].round(6)
        np.float64(-0.083333)
        """
        _validate.choice(metric, "metric", MEASURED)
        return {part: self.change[metric] - found[metric] for part, found in self.without.items()}

    def __str__(self) -> str:
        if np.ndim(self.change["log_hfc_lfc"]):
            return f"One layer of {np.size(self.change['log_hfc_lfc'])} systems, {len(self.without)} parts."
        lines = [
            f"ln HFC/LFC changes by {self.change['log_hfc_lfc']:.4g}, ln(1 - cos) by "
            f"{self.change['log_cosine_gap']:.4g}, effective rank by {self.change['effective_rank']:.4g}."
        ]
        for part, found in self.without.items():
            lines.append(f"Without {part} ln HFC/LFC would change by {found['log_hfc_lfc']:.4g}.")
        return " ".join(lines)

    __repr__ = __str__
    _repr_html_ = _html.paragraph


@in_callers_library
def step(rule: Rule, x0: Any, *, layer: int = 0, by: str = "heads") -> Step:
    """Return the exact change of every metric through one layer, and of each of its parts.

    Parameters
    ----------
    rule : Linear, MultiHead, Layered, or another rule with ``heads(layer)``
        Its layer ``layer`` is taken.
    x0 : array, shape (..., n, d)
        Tokens that go into it, not all zero in any system.
    layer : int, keyword-only
        Which layer, from 0.
    by : {"heads", "modes"}, keyword-only
        Parts: heads by number ("head 0", ...), "bias" and "scale"; or the modes of the one head's
        attention, by falling modulus ("lambda = 1", conjugate pairs together), and "bias".  What is
        left out with "scale" is that tokens are scaled apart: each then gets the mean factor.

    Returns
    -------
    Step
        Computed in float64 from the definitions of the metrics; exact to rounding, about 1e-15 of a
        plain metric, and of a logarithm 1e-15 over what it is the logarithm of.  The change of a gap
        that is closed before and after, or that rounding hides, is NaN.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If the tokens do not fit the rule, or there is no such layer.
    NotCoveredError
        For rules without matrices (simulate these to depth 1), and for modes of several heads or of
        attention without a basis of eigenvectors.

    Notes
    -----
    Derived here: X + U with U the sum of its parts; every metric is a function of the state, so its
    change is a difference and needs no expansion.

    Examples
    --------
    A bias that all tokens share turns a step that sharpens into one that smooths:

    >>> import linsim
    >>> A, x0 = [[0.75, 0.25], [0.25, 0.75]], [[2.0], [1.0]]
    >>> found = linsim.theory.step(linsim.Linear(A, [[-0.5]], bias=[2.0]), x0)
    >>> found.change["log_hfc_lfc"].round(4), found.without["bias"]["log_hfc_lfc"].round(4)
    (np.float64(-0.8938), np.float64(0.4055))
    """
    if not isinstance(rule, Rule):
        raise _validate.refusal(
            InvalidTypeError, "rule", type(rule).__name__, "a rule", "Wrap A and H: Linear(A, H)."
        )
    if rule.moves_by != "matrices":
        raise NotCoveredError(
            f"rule: found {type(rule).__name__}, whose layer has no matrices known beforehand; expected "
            "heads. Measure it: simulate(rule, x0, 1)."
        )
    _validate.choice(by, "by", ("heads", "modes"))
    layer = _validate.count(layer, "layer")
    if rule.max_depth is not None and layer >= rule.max_depth:
        raise _validate.refusal(
            InvalidValueError, "layer", layer, f"below {rule.max_depth}, one rule per layer", "Count from 0."
        )
    X = to_host(_validate.array(x0, "x0", ndim=2, shape="(..., n, d)")).astype(np.float64)
    if X.shape[-2:] != (rule.n, rule.d):
        raise _validate.refusal(
            ShapeError, "x0", f"shape {X.shape}", f"shape (..., {rule.n}, {rule.d})", "Rows are tokens."
        )
    if not np.all(np.any(X != 0, axis=(-1, -2))):
        raise _validate.refusal(
            InvalidValueError, "x0", "an all-zero system", "tokens that are not all zero", "Drop that system."
        )
    _validate.broadcast_batches(rule=tuple(rule.batch_shape), x0=X.shape[:-2])
    parts, changed = _parts(rule, X, layer, by)
    total = _sum(parts.values(), X)
    before, after = measure(X), measure(X + total)

    def changes(update: FloatArray) -> dict[str, Any]:
        return _less(measure(X + update), before, X)

    alone = {name: changes(own) for name, own in parts.items()}
    # left out by adding up the others: nothing cancels
    without = {
        name: changes(_sum([own for other, own in parts.items() if other != name], X)) for name in parts
    }
    without |= {name: changes(update) for name, update in changed.items()}
    return Step(before, after, _less(after, before, X), alone, without)


def _sum(terms: Any, X: FloatArray) -> FloatArray:
    return np.asarray(sum(terms, np.zeros_like(X)))


def _less(after: dict[str, Any], before: dict[str, Any], X: FloatArray) -> dict[str, Any]:
    """The changes: NaN where a gap is closed before and after, or is no more than rounding."""
    with np.errstate(invalid="ignore"):  # two gaps that are both closed
        change = {name: after[name] - before[name] for name in MEASURED}
    rounding = np.log(4 * max(X.shape[-2:]) * EPS)
    for name, power in _GAPS.items():
        lowest = power * rounding
        if name == "log_effective_rank_gap":
            lowest += np.log(-rounding)  # entropy of a share p: about p ln(1/p)
        small, was_small = (
            found[name] < lowest + (found["log_norm"] if name == "log_spread" else 0.0)
            for found in (after, before)
        )
        open_still, was_open = (found[name] > -np.inf for found in (after, before))
        # tokens are given exactly, and so are their differences; their singular values are not
        doubtful = was_small & was_open & (name in ("log_effective_rank_gap", "log_rank_gap"))
        unknown = (small & open_still) | doubtful | (small & was_small)
        change[name] = np.where(unknown, np.nan, change[name])[()]
    return change


def _parts(
    rule: Rule, X: FloatArray, layer: int, by: str
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Updates that add up to that of the layer, and updates of the layer without what is no summand."""
    pairs = [tuple(to_host(M).astype(np.float64) for M in pair) for pair in rule.checked_heads(layer)]
    own: Any = rule.rules[layer] if hasattr(rule, "rules") else rule
    changed: dict[str, FloatArray] = {}
    if by == "modes":
        parts = _modes(rule, pairs, X)
    else:
        parts = {f"head {k}": A @ X @ H for k, (A, H) in enumerate(pairs)}
    row = rule.checked_drive(layer)
    if row is not None:
        bias = to_host(row).astype(np.float64)[..., None, :]
        parts["bias"] = np.broadcast_to(bias, np.broadcast_shapes(bias.shape, X.shape))
    scale = getattr(own, "scale", None)
    if scale is not None and by == "heads":
        factors = to_host(scale).astype(np.float64)
        even = np.mean(factors, axis=-1)[..., None, None]
        # the same attention, whatever the factors: some may be zero
        plain = to_host(own.A).astype(np.float64)
        bare = [plain[..., k, :, :] for k in range(len(pairs))] if _several(own) else [plain]
        update = _sum((A @ X @ H * even for A, (_, H) in zip(bare, pairs, strict=True)), X)
        changed["scale"] = update + parts.get("bias", 0.0)
    return parts, changed


def _several(rule: Any) -> bool:
    return type(rule).__name__ == "MultiHead"


def _modes(rule: Rule, pairs: list[Any], X: FloatArray) -> dict[str, FloatArray]:
    if len(pairs) > 1 or pairs[0][0].ndim > 2:
        raise NotCoveredError(
            f"by: found modes of {len(pairs)} heads, attention {pairs[0][0].shape}; expected attention "
            '(n, n) of one head. Use by="heads".'
        )
    ((A, H),) = pairs
    system = attention_eigensystem(A[None]) if rule.stochastic else general_eigensystem(A[None])[0]
    if not system.diagonalizable[0]:
        raise NotCoveredError(
            'by: found attention without a basis of eigenvectors; expected one. Use by="heads".'
        )
    values, right, left = system.values[0], system.right[0], system.left[0]
    parts: dict[str, FloatArray] = {}
    for k in np.argsort(-np.abs(values), kind="stable"):
        value = values[k]
        if value.imag < 0:
            continue  # with the other one of its pair
        share = (value * np.outer(right[:, k], left[k])).real * (2 if value.imag > 0 else 1)
        name = f"lambda = {value.real:.6g}" + (f" +- {value.imag:.6g}i" if value.imag else "")
        parts[name] = parts.get(name, 0.0) + share @ X @ H
    return parts


# --- metrics by their definitions ---------------------------------------------------------------


def measure(X: FloatArray) -> dict[str, Any]:
    """Return every metric of tokens (..., n, d), float64."""
    X = np.asarray(X, dtype=np.float64)
    scale = np.max(np.abs(X), axis=(-1, -2), keepdims=True)
    X = X / np.where(scale > 0, scale, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: dict[str, Any] = {}
        for group in (_content, _angles, _ranks):
            found |= group(X)
        found["log_norm"] = np.log(np.sqrt(np.sum(X * X, axis=(-1, -2)))) + np.log(scale[..., 0, 0])
        found["log_spread"] = _spread(X) + np.log(scale[..., 0, 0])
    return {name: found[name] for name in MEASURED}


def _content(X: FloatArray) -> dict[str, Any]:
    mean = np.mean(X, axis=-2, keepdims=True)
    low = np.sqrt(X.shape[-2] * np.sum(mean * mean, axis=(-1, -2)))
    apart = X - X[..., :1, :]
    apart = apart - np.mean(apart, axis=-2, keepdims=True)  # what tokens share leaves no rounding
    high = np.sqrt(np.sum(apart * apart, axis=(-1, -2)))
    whole = low * low + high * high
    return {
        "token_similarity": low * low / whole,
        "log_token_diversity": np.log(high * high / whole),
        "hfc_lfc": high / low,
        "log_hfc_lfc": np.log(high) - np.log(low),
    }


def _angles(X: FloatArray) -> dict[str, Any]:
    """1 - cos = |u - v|^2 / 2 of unit tokens: no digits are lost where they are alike."""
    n = X.shape[-2]
    lengths = np.linalg.norm(X, axis=-1, keepdims=True)
    u = X / np.where(lengths > 0, lengths, 1.0)
    first, second = np.triu_indices(n, 1)
    less = np.sum((u[..., first, :] - u[..., second, :]) ** 2, axis=-1) / 2
    more = np.sum((u[..., first, :] + u[..., second, :]) ** 2, axis=-1) / 2
    there = (lengths[..., first, 0] > 0) & (lengths[..., second, 0] > 0)
    gap, absolute = (np.where(there, x, 1.0) for x in (less, np.minimum(less, more)))
    count = max(n * (n - 1) // 2, 1)
    gap, absolute = (np.sum(x, axis=-1) / count for x in (gap, absolute))
    return {
        "cosine": 1 - gap,
        "log_cosine_gap": np.log(gap),
        "abs_cosine": 1 - absolute,
        "log_abs_cosine_gap": np.log(absolute),
    }


def _ranks(X: FloatArray) -> dict[str, Any]:
    s = np.linalg.svd(X, compute_uv=False)
    p = s / np.sum(s, axis=-1, keepdims=True)
    entropy = -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0), axis=-1)
    second = s[..., 1] if s.shape[-1] > 1 else 0.0 * s[..., 0]
    return {
        "effective_rank": np.exp(entropy),
        "log_effective_rank_gap": np.log(np.expm1(entropy)),
        "stable_rank": np.sum(s * s, axis=-1) / s[..., 0] ** 2,
        "log_rank_gap": np.log(second) - np.log(s[..., 0]),
    }


def _spread(X: FloatArray) -> Any:
    first, second = np.triu_indices(X.shape[-2], 1)
    square = np.sum((X[..., first, :] - X[..., second, :]) ** 2, axis=-1)
    return np.log(np.max(square, axis=-1, initial=0.0)) / 2


#: the metrics of a step, in the order in which runs report them
MEASURED = (
    "token_similarity",
    "log_token_diversity",
    "hfc_lfc",
    "log_hfc_lfc",
    "cosine",
    "log_cosine_gap",
    "abs_cosine",
    "log_abs_cosine_gap",
    "effective_rank",
    "log_effective_rank_gap",
    "stable_rank",
    "log_rank_gap",
    "log_norm",
    "log_spread",
)

#: logarithms of what vanishes, and of which power of a distance: between tokens, angles, or to a lower rank
_GAPS = {
    "log_token_diversity": 2,
    "log_hfc_lfc": 1,
    "log_cosine_gap": 2,
    "log_abs_cosine_gap": 2,
    "log_effective_rank_gap": 1,
    "log_rank_gap": 1,
    "log_spread": 1,
}
