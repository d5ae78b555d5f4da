"""Where a law meets a measurement: each predicted rate beside the slope of a run, and a verdict.

Derived here.  The logarithm of a gap is c + s l + ln(1 + t_l) + e_l: s is the
predicted slope, e_l a bounded oscillation plus rounding, t_l the transient of
the neglected modes.  A fit over a window from layer l_1 on is turned

- by e_l, at most by the uncertainty of :meth:`linsim.Trajectory.slope`;
- by |t_l| <= k r^l, r the relaxation of the law, at most by
  sum |dx| / sum dx^2 * 2 ln 2 * k r^l_1 once k r^l_1 <= 1/2, since
  |ln(1 + t)| <= 2 ln 2 |t| there; k, a quotient of coefficients that the law
  does not know, is taken to be at most :data:`LARGEST_COEFFICIENT`;
- by what changes so slowly that the window sees only its slope, at most by the
  largest derivative there, because a fitted slope is a weighted mean of the
  slopes inside.  Its curvature is taken from the residuals: p ln l (the power
  that Jordan chains bring) leaves p times the residuals of ln l, and has a
  derivative of at most p / l_1; a beat ln |cos(w l + a)| (two modes of almost
  equal phase) has (derivative)^2 <= |second derivative|, and the curvature c
  leaves c times the residuals of l^2 / 2.  Twice that, as gaps are sums of
  such terms.  A window shorter than two periods of the slowest beat that the
  law knows of decides nothing against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _html, _validate
from ._callers import on_host
from ._named import named
from ._namespace import to_host
from ._types import HostArray
from .errors import InvalidTypeError, InvalidValueError
from .metrics._registry import measured_by
from .theory import Prediction
from .trajectory import Line, Trajectory, line, sharpest, worst

__all__ = ["Compared", "Comparison", "compare"]


#: the largest quotient of a neglected coefficient to a leading one that "disagrees" allows for
LARGEST_COEFFICIENT = 500.0
#: predict calls moduli equal within 1e-9, so the logarithm of a squared quotient is known to 2e-9
PREDICTED = 2e-9
#: what a slope must be known to where no closing is predicted that it could be told from
FLAT = 0.05
#: fewer values leave residuals that are small by chance
FEWEST = 5


@dataclass(frozen=True, eq=False)
class Compared:
    """One gap, predicted and measured: Python scalars for a single system, else arrays of batch shape.

    Attributes
    ----------
    metric : str
        The recorded metric that measures this gap.
    predicted, measured : float
        Factor per layer of the gap itself; 1 where it does not close (or only
        like a power of the layer), 0 where it is exactly zero.  Measured over
        the second half of the layers before the gap ends to be measurable; NaN
        where there is nothing to fit.
    difference : float
        ln measured - ln predicted, natural logarithm per layer.
    uncertainty : float
        What oscillations, rounding and powers of the layer may have turned the
        measured slope by, natural logarithm per layer.
    first, last : int
        The layers fitted; -1 where there are none.
    layers_needed : int
        A window that starts there decides: earlier, transients may outweigh
        what is to be told apart.  Run to twice this depth.
    verdict : str
        "agrees": the difference is within the uncertainty, and this is small
        enough to tell the predicted closing from none (half of ln predicted;
        0.05 where none is predicted).  "disagrees": nothing that is known can
        explain the difference.  "too shallow": a transient can, or the
        uncertainty is too large.  "not measured": fewer than five values to
        fit, or the gap ended to be measurable before its slope settled.  "not
        recorded": the run does not hold the metric.
    """

    metric: Any
    predicted: Any
    measured: Any
    difference: Any
    uncertainty: Any
    first: Any
    last: Any
    layers_needed: Any
    verdict: Any


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every predicted rate beside its measurement; print it for a table.

    Attributes
    ----------
    rows : dict of str to Compared
        By the names of ``law.rates``; ``comparison["rank_gap"]`` is a short cut.
    agrees : bool, or ndarray of bool of batch shape
        No row disagrees.  Rows that are too shallow or not measured do not
        count against the law; each row says so in its ``verdict``.
    """

    rows: Mapping[str, Compared]
    agrees: Any

    def __post_init__(self) -> None:
        named(self, "comparison", "rows")

    def __getitem__(self, gap: str) -> Compared:
        return self.rows[_validate.choice(gap, "gap", self.rows)]

    def as_table(self) -> tuple[list[str], list[list[str]], list[str]]:
        """Return the header, the rows and what to do about them, as text.

        Examples
        --------
        >>> Comparison({}, True).as_table()[0][:3]
        ['gap', 'predicted', 'measured']
        """
        single = np.ndim(self.agrees) == 0
        rows = [_cells(*item) if single else _counts(*item) for item in self.rows.items()]
        return _HEADERS[single], rows, [text for gap, row in self.rows.items() for text in _advice(gap, row)]

    def __str__(self) -> str:
        header, rows, advice = self.as_table()
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(w) if k else cell.ljust(w)
                for k, (cell, w) in enumerate(zip(cells, widths, strict=True))
            )
            for cells in (header, *rows)
        ]
        return "\n".join(lines + advice)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _html.comparison(self)


def compare(law: Prediction, run: Trajectory) -> Comparison:
    """Hold what a law predicts against what a run measured, gap by gap.

    Parameters
    ----------
    law : Prediction
        From :func:`linsim.predict`, of one system or a batch.
    run : Trajectory
        From :func:`linsim.simulate`, with at least one of the metrics
        "log_token_diversity", "log_rank_gap", and "log_cosine_gap" where the
        constant mode dominates ("log_abs_cosine_gap" elsewhere).  Batch axes
        broadcast with the law's.

    Returns
    -------
    Comparison
        One row for each of ``law.rates``: factors per layer, their difference
        and its uncertainty (natural logarithm per layer), and a verdict.

    Raises
    ------
    InvalidTypeError
        If ``law`` is no Prediction or ``run`` no Trajectory.
    ShapeError
        If their batch shapes do not broadcast.
    InvalidValueError
        If the run recorded none of the metrics.

    Notes
    -----
    The bounds are derived in :mod:`linsim._compare`.  How much oscillations turn
    a slope is proven from their size, which is estimated from residuals (see
    :meth:`linsim.Trajectory.slope`).  "disagrees" assumes that quotients of
    coefficients stay below 500, and that perturbations slower than the window
    bend the data there as a power or |cos| would.  Every rate is held to be
    exact, also where the law promises an upper bound only (a given x0 with
    related coefficients): a gap that closes faster disagrees.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> rule = linsim.Linear(linsim.attention.from_spectrum([1, 0.5, 0.25], rng=0), np.diag([1.0, 0.5]))
    >>> x0 = linsim.tokens.gaussian(3, 2, rng=0)
    >>> found = linsim.compare(linsim.predict(rule), linsim.simulate(rule, x0, 300))
    >>> found.agrees, found["token_diversity"].verdict, round(found["token_diversity"].measured, 6)
    (True, 'agrees', 0.5625)
    """
    if not isinstance(law, Prediction):
        raise _validate.refusal(
            InvalidTypeError, "law", type(law).__name__, "a Prediction", "Call linsim.predict(rule)."
        )
    if not isinstance(run, Trajectory):
        raise _validate.refusal(
            InvalidTypeError,
            "run",
            type(run).__name__,
            "a Trajectory",
            "Call linsim.simulate(rule, x0, depth).",
        )
    law = on_host(law)
    batch = _validate.broadcast_batches(
        law=np.shape(law.regime), run=next((tuple(v.shape[:-1]) for v in run.metrics.values()), ())
    )
    smooth = np.broadcast_to(law.input_convergence, batch)
    rows = {}
    for gap in law.rates:
        names = np.where(smooth, measured_by(gap, True), measured_by(gap, False))
        rows[gap] = _row(law, run, gap, names)
    if all(np.all(row.verdict == "not recorded") for row in rows.values()):
        wanted = sorted({str(name) for row in rows.values() for name in np.ravel(row.metric)})
        raise _validate.refusal(
            InvalidValueError,
            "run",
            f"metrics {', '.join(map(repr, run.metrics)) or 'none'}",
            f"one of {', '.join(map(repr, wanted))} at least",
            f"Simulate with metrics={wanted}.",
        )
    agrees = ~np.any([np.asarray(row.verdict) == "disagrees" for row in rows.values()], axis=0)
    return Comparison(rows, agrees.item() if batch == () else agrees)


def _row(law: Prediction, run: Trajectory, gap: str, names: HostArray) -> Compared:
    batch = names.shape
    predicted = np.broadcast_to(np.asarray(law.rates[gap], dtype=float), batch)
    relaxation = np.broadcast_to(np.asarray(law.relaxations.get(gap, 1.0), dtype=float), batch)
    values = np.full((*batch, run.layers.size), np.nan)
    recorded = np.isin(names, list(run.metrics))
    errors = np.zeros(values.shape)
    for name in set(run.metrics) & set(np.ravel(names).tolist()):
        values = np.where((names == name)[..., None], to_host(run.metrics[name]), values)
        errors = np.where((names == name)[..., None], run.known_to(name), errors)

    finite = np.isfinite(values)
    reach = np.where(np.any(finite, axis=-1), run.layers[_last(finite)], run.layers[0])
    used = finite & (run.layers >= (run.layers[0] + reach[..., None]) / 2)
    used = sharpest(run.layers, errors, used)
    fit = line(run.layers, values, used)
    zero, hidden = values[..., -1] == -np.inf, np.isnan(values[..., -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        ln_predicted = np.log(predicted)
        difference = np.where(zero, -np.inf, fit.slope) - ln_predicted
        difference = np.where(zero & (predicted == 0), 0.0, difference)

    beat = np.broadcast_to(np.asarray(law.beats.get(gap, np.inf), dtype=float), batch)
    rounding = worst(errors, used)
    turned, transient = fit.uncertainty(rounding) + PREDICTED, _transient(fit, relaxation)
    two_periods = 4 * np.pi / beat
    transient = np.where(fit.last - fit.first < two_periods, np.inf, transient)
    bent = _bent(run, fit, used, rounding)
    # Jordan chains: powers of the layer turn every slope, and fade like 1/l only
    uncertainty = np.where(relaxation == 1, turned + bent, turned)
    telling = np.where(predicted == 1, FLAT, np.abs(ln_predicted) / 2)
    needed = _needed(fit, relaxation, np.abs(difference), (uncertainty, turned + bent), telling)
    slow = np.abs(difference) > uncertainty
    needed = np.where(slow, np.maximum(needed, np.ceil(two_periods).astype(np.int64)), needed)

    within = (np.abs(difference) <= uncertainty) & (uncertainty <= telling)
    beyond = np.abs(difference) > turned + bent + transient
    # an exact zero is not a slope: it has no uncertainty, and no transient unless a chain ends in it
    within = np.where(zero, predicted == 0, within & (predicted > 0))
    beyond = np.where(zero, predicted > 0, np.where(predicted == 0, relaxation < 1, beyond))
    verdict = np.select(
        [
            ~recorded,
            ~zero & (fit.count < FEWEST),
            within,
            hidden & (predicted == 0),
            beyond,
            hidden,  # no deeper run would see more of it
        ],
        ["not recorded", "not measured", "agrees", "not measured", "disagrees", "not measured"],
        "too shallow",
    )

    def shaped(x: Any) -> Any:
        x = np.array(np.broadcast_to(x, batch))
        return x.item() if batch == () else x

    return Compared(
        metric=shaped(names),
        predicted=shaped(predicted),
        measured=shaped(np.where(zero, 0.0, np.exp(fit.slope))),
        difference=shaped(difference),
        uncertainty=shaped(np.where(zero, 0.0, uncertainty)),
        first=shaped(fit.first),
        last=shaped(fit.last),
        layers_needed=shaped(needed),
        verdict=shaped(verdict),
    )


def _last(flags: HostArray) -> HostArray:
    return flags.shape[-1] - 1 - np.argmax(flags[..., ::-1], axis=-1)


def _transient(fit: Line, relaxation: HostArray) -> HostArray:
    """What neglected modes can turn the slope by; a chain's powers are left to :func:`_bent`."""
    left = LARGEST_COEFFICIENT * relaxation ** np.maximum(fit.first, 0)
    left = np.where(relaxation == 0, 0.0, left)
    bound = np.where(left <= 0.5, fit.leverage * 2 * np.log(2) * np.minimum(left, 0.5), np.inf)
    return np.where(relaxation == 1, 0.0, bound)


def _bent(run: Trajectory, fit: Line, used: HostArray, rounding: HostArray) -> HostArray:
    """Slope of the steepest slow perturbation that the curvature of the residuals leaves room for."""
    size = fit.perturbation(rounding)
    layers = np.broadcast_to(run.layers + 1.0, used.shape)  # so that the input has a logarithm too

    def amount(shape: HostArray) -> HostArray:
        bend = line(run.layers, shape, used).residual
        return np.where((fit.count > 2) & (bend > 0), size / np.where(bend > 0, bend, 1), np.inf)

    power = amount(np.log(layers)) / (fit.first + 1)
    # in units of the window: squares of deep layers would leave no digits
    width = np.maximum(fit.last - fit.first, 1)
    beat = 2 * np.sqrt(amount(((layers - fit.first[..., None]) / width[..., None]) ** 2 / 2)) / width
    return np.maximum(power, beat)


def _needed(
    fit: Line, relaxation: HostArray, size: HostArray, turned: tuple[HostArray, HostArray], telling: HostArray
) -> HostArray:
    """First layer of a window that decides.

    There transients have fallen to 1/2, and turn the slope by less than half of
    a difference to be explained (``size``); the rest of what turns it falls like
    1 / width, so like 1 / first.
    """
    first = np.maximum(fit.first, 1).astype(float)
    unexplained = (size > turned[0]) & np.isfinite(size)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(unexplained, size / (2 * np.log(2) * fit.leverage), 1.0)
        decay = np.log(np.minimum(share, 1) / (2 * LARGEST_COEFFICIENT)) / np.log(relaxation)
        decay = np.where((relaxation > 0) & (relaxation < 1), decay, 0.0)
        wanted = np.where(unexplained, np.minimum(telling, size / 2), telling)
        rest = np.where(unexplained, turned[1], turned[0])
        spread = np.where(rest > wanted, first * rest / wanted, 0.0)
    spread = np.where(np.isfinite(spread), spread, 0.0)
    # a chain that ends in zero is at most as long as there are modes: look a little further
    spread = np.where(np.isinf(size) & (relaxation == 1), 2 * first, spread)
    return np.ceil(np.clip(np.maximum(decay, spread), 0, 2.0**62)).astype(np.int64)


# --- for people -------------------------------------------------------------------------

_HEADERS = {
    True: ["gap", "predicted", "measured", "ln difference", "uncertainty", "layers", "verdict"],
    False: ["gap", "agrees", "disagrees", "too shallow", "not measured", "not recorded", "|ln difference|"],
}


def _cells(gap: str, row: Compared) -> list[str]:
    layers = f"{row.first}..{row.last}" if row.first >= 0 else "-"
    numbers = [
        f"{row.predicted:.8g}",
        f"{row.measured:.8g}",
        f"{row.difference:.2g}",
        f"{row.uncertainty:.2g}",
    ]
    return [gap, *numbers, layers, row.verdict]


def _counts(gap: str, row: Compared) -> list[str]:
    sizes = np.abs(row.difference[row.verdict == "agrees"])
    largest = f"{np.max(sizes):.2g}" if sizes.size else "-"
    return [gap, *(str(np.sum(row.verdict == name)) for name in _HEADERS[False][1:6]), f"{largest}"]


def _advice(gap: str, row: Compared) -> list[str]:
    """One sentence for each verdict but "agrees": what to do."""
    verdict, depth = np.ravel(row.verdict), 2 * np.ravel(row.layers_needed)
    names = " or ".join(sorted(set(np.ravel(row.metric)[verdict == "not recorded"].tolist())))
    remedies = {
        "disagrees": "neither transients nor rounding explain the difference. "
        "If the law is for a generic input, try predict(rule, x0=x0); check law.assumptions.",
        "too shallow": f"run to depth {np.max(depth[verdict == 'too shallow'], initial=0)} or deeper.",
        "not measured": "fewer than five finite values, or too small to measure before its slope settles. "
        "Record more layers there, or use float64.",
        "not recorded": f"simulate with metrics=[..., {names!r}].",
    }
    many = f" ({{}} of {verdict.size} systems)" if np.ndim(row.verdict) else ""
    return [
        f"{gap} {name}{many.format(np.sum(verdict == name))}: {text}"
        for name, text in remedies.items()
        if np.any(verdict == name)
    ]
