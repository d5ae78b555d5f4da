"""Three columns kept apart: what the sublayer did, one exact step of the linear layer, the asymptotic law.

All are changes of ln HFC/LFC across the attention sublayer (before the norm that may follow): negative
smooths.  *Measured* is of the forward pass.  *Step* is the affine map of :mod:`linsim.models._step` on
the tokens that enter: heads apart, biases, each token's sigma; beside it the same without biases, and with
one sigma for all.  *Law* is what the spectra say of many equal layers: ln of the largest |1 + lambda mu|
over lambda != 1 less that at lambda = 1, with the heads' mean A and the effective H of all, at the mean
of 1/sigma.  It says where repetition leads, not what one layer does to tokens that are far from its modes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._namespace import to_host
from ._forward import Change, LayerRun
from ._parts import mapped
from ._spectra import LayerSpectra, Spectrum, of_path
from ._step import HostLayer, log_ratio
from ._tensors import Array

__all__ = ["LayerReport", "Observed", "observe", "report"]


@dataclass(frozen=True)
class LayerReport:
    """One layer, measured and predicted.

    Attributes
    ----------
    layer : int
    spectra : LayerSpectra
    effective : Spectrum
        The effective spectrum at the mean 1/sigma of the tokens.
    inverse_sigma : float
        That mean; 1 where no norm stands before attention.
    lambda_min, lambda_second : float
        Smallest real part, and largest modulus, of the eigenvalues of the heads' mean A beside 1.
    measured, step, step_without_bias, step_one_sigma, law : float
        Changes of ln HFC/LFC across attention.
    norm, feed_forward, whole : float
        Measured changes across the norm behind the sum (0 if none), what follows, and the layer.
    escalation_rate : float
        1 - t_div behind attention over t_div before it (arXiv 2312.06182).
    heads : array, shape (h,)
        How much lower ln HFC/LFC is with each head than without it.
    without_sink : dict
        ``measured`` and ``step`` without the token of the largest share.
    """

    layer: int
    spectra: LayerSpectra
    effective: Spectrum
    inverse_sigma: float
    lambda_min: float
    lambda_second: float
    measured: float
    step: float
    step_without_bias: float
    step_one_sigma: float
    law: float
    norm: float
    feed_forward: float
    whole: float
    escalation_rate: float
    heads: Array
    without_sink: dict[str, float]

    @property
    def verdict(self) -> str:
        """Return "smooths" or "sharpens", by what was measured; "neither" of tokens that are all alike."""
        if np.isnan(self.measured) or self.measured == 0:
            return "neither"
        return "smooths" if self.measured < 0 else "sharpens"

    @property
    def step_agrees(self) -> bool:
        """Whether one exact step has the sign of what was measured."""
        return bool(np.sign(self.step) == np.sign(self.measured))

    @property
    def law_agrees(self) -> bool:
        """Whether the law has."""
        return bool(np.sign(self.law) == np.sign(self.measured))


@dataclass(frozen=True)
class Observed:
    """What is kept of a layer that was run: its states, and what its weights made of them."""

    layer: int
    entering: Array
    attended: Array
    normed: Array
    leaving: Array
    step: Array
    step_without_bias: Array
    step_one_sigma: Array
    inverse_sigma: float
    others: Array
    heads: Array
    #: of the weights that were used, where they are not the checkpoint's
    spectra: LayerSpectra | None


def observe(run: LayerRun, keep: Array | None, change: Change | None) -> Observed:
    """Take from a layer what a report needs; its weights can then go.

    What is done to the states after attention is done to the predicted ones as well.
    """
    host = HostLayer(run)
    after = (change or Change()).attended
    tokens = np.arange(len(host.x)) if keep is None else np.flatnonzero(keep)
    entering, attended, normed, leaving = (
        to_host(x)[tokens] for x in (run.entering, run.attended, run.normed, run.leaving)
    )
    return Observed(
        run.layer,
        entering,
        attended,
        normed,
        leaving,
        after(host.step())[tokens],
        after(host.step(bias=False))[tokens],
        after(host.step(token_scales=False))[tokens],
        float(host.scale.mean()),
        host.other_eigenvalues(tokens),
        host.head_shares(tokens),
        None if change is None else of_path(run.layer, mapped(run.parts.attention.path, to_host)),
    )


def report(seen: Observed, spectra: LayerSpectra, sink: int) -> LayerReport:
    """Hold a layer against its spectra; ``sink``, a row of the states, is left out of ``without_sink``."""
    effective = spectra.effective.scaled(seen.inverse_sigma)
    some = seen.others.size > 0
    start, middle, after, end = map(log_ratio, (seen.entering, seen.attended, seen.normed, seen.leaving))
    rest = np.arange(len(seen.entering)) != sink
    if len(rest) < 3:  # one token alone has no HFC
        rest[:] = True
    before = log_ratio(seen.entering[rest])
    return LayerReport(
        seen.layer,
        spectra,
        effective,
        seen.inverse_sigma,
        float(seen.others.real.min()) if some else 1.0,
        float(np.abs(seen.others).max()) if some else 0.0,
        middle - start,
        log_ratio(seen.step) - start,
        log_ratio(seen.step_without_bias) - start,
        log_ratio(seen.step_one_sigma) - start,
        effective.log_rate(seen.others) if some else float("nan"),
        after - middle,
        end - after,
        end - start,
        1 - _diversity(middle) / _diversity(start) if start > -np.inf else float("nan"),
        seen.heads,
        {
            "measured": log_ratio(seen.attended[rest]) - before,
            "step": log_ratio(seen.step[rest]) - before,
        },
    )


def _diversity(log_of_ratio: float) -> float:
    """Return t_div from ln HFC/LFC: r^2/(1 + r^2)."""
    return float(1 / (1 + np.exp(-2 * log_of_ratio)))
