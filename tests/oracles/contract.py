"""What a run says, against the truth: every value within its own error, or NaN and said to be so."""

from __future__ import annotations

import numpy as np

from linsim.metrics import REGISTRY
from linsim.metrics._registry import DEFAULT

#: metrics that the tokens alone determine: without its attention a layer has no number for the others
OF_TOKENS = DEFAULT


def grown(name, value, ln_factor):
    """The value of a metric of a state that is exp(``ln_factor``) times as large."""
    growth = REGISTRY[name].degree * ln_factor
    return value + growth if REGISTRY[name].is_log else value * np.exp(growth)


#: errors are estimates that 99.9 % of true errors stay below; hardly one is beyond this many times
BEYOND = 3.0


def beyond(run, truth, name, digits=np.inf):
    """Layers (k,) bool at which a reported value is farther from the truth than BEYOND of its error.

    ``digits``: where the oracle sees no more of a logarithm, it says -inf.
    """
    found, error, expected = (np.asarray(x) for x in (run.metrics[name], run.errors[name], truth[name]))
    with np.errstate(invalid="ignore"):
        off = np.abs(found - expected)
    # the truth is rounded to a double: logarithms as differences of two that grow with the state
    size = np.abs(expected)
    if name.startswith("log"):
        size = np.maximum(1.0, np.maximum(size, np.abs(np.nan_to_num(truth["log_norm"], neginf=0.0))))
    known = np.where(np.isfinite(size), size, 1.0)
    wrong = np.isfinite(found) & ~(off <= BEYOND * error + 4 * np.spacing(known))
    wrong &= ~((expected == -np.inf) & (found < -2 * digits))
    return wrong | (np.isinf(found) & (found != expected))


def assert_within_errors(run, truth, digits=np.inf, names=None):
    """Every number is as close to the truth as it says, and says so closely enough to be reported.

    Where there is none, info says from which layer on.
    """
    exists = truth["log_norm"] > -np.inf
    for name in run.metrics if names is None else names:
        found, error = np.asarray(run.metrics[name]), np.asarray(run.errors[name])
        wrong = beyond(run, truth, name, digits)
        assert not np.any(wrong), (
            f"{name} at {run.layers[wrong]}: {found[wrong]} with errors {error[wrong]}, "
            f"true {truth[name][wrong]}"
        )
        finite = np.isfinite(found)
        largest = run.info.resolution * np.maximum(1.0, np.abs(found[finite]))
        assert np.all(error[finite] <= largest), f"{name}: reported with errors {error[finite]}"
        assert np.all(error >= 0), name
        missing = np.flatnonzero(np.isnan(found) & exists)
        first = run.layers[missing[0]] if missing.size else -1
        assert run.info.unmeasured_from[name] == first, name
