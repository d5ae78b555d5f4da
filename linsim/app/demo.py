"""The main job: a phase diagram, measured and predicted, and where the two disagree.

One call of :func:`linsim.sweep`, one figure, one table.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, simulate
from ..errors import FileFormatError
from ..streams import rows
from ..theory import REGIMES

if TYPE_CHECKING:
    import xarray

__all__ = ["Disagreement", "Report", "run"]

# A measure that changes by less than this over half of the layers stands still
STILL = 1e-6
# How deep a system is followed when the first depth does not settle it
DEEPEST = 4096

# question -> (metric whose trend answers it, prediction)
_QUESTIONS = {
    "regime": ("log_hfc_lfc", "predicted_regime"),
    "angle convergence": ("log_abs_cosine_gap", "predicted_angle_convergence"),
    "rank collapse": ("log_effective_rank_gap", "predicted_rank_collapse"),
}
_DECAY = {
    "regime": lambda ds: np.abs(ds.predicted_margin),
    # a token's angle turns once more as the constant mode and its rival cross in that token
    "angle convergence": lambda ds: np.minimum(
        -np.log(ds.predicted_cosine_gap_rate), np.abs(ds.predicted_margin)
    ),
    "rank collapse": lambda ds: -np.log(ds.predicted_rank_gap_rate),
}


@dataclass(frozen=True)
class Disagreement:
    """One system whose measured trend at depth is not the predicted one.

    ``distance`` is the smallest predicted change per layer, in ln, that the
    question rests on: how close to a boundary the system is.  ``settles_at`` is the depth from
    which on, up to 4,096 layers, measurement and prediction agree; None if
    they never do.
    """

    question: str
    mu_min: float
    lambda_min: float
    replicate: int
    predicted: str
    measured: str
    distance: float
    settles_at: int | None


@dataclass(frozen=True)
class Report:
    """What the demo found: agreement by question, and every disagreement."""

    systems: int
    depth: int
    agreement: dict[str, int]
    disagreements: tuple[Disagreement, ...]

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text."""
        yield f"{self.systems:,} systems, prediction from spectra against measurement at layer {self.depth}"
        yield f"{'question':<20}{'agree':>10}{'share':>10}"
        for question, agree in self.agreement.items():
            yield f"{question:<20}{agree:>10,}{agree / self.systems:>10.2%}"
        if not self.disagreements:
            yield "No system disagrees."
            return
        yield ""
        yield f"The {len(self.disagreements)} that disagree, and why:"
        yield f"{'question':<19}{'mu_min':>8}{'l_min':>9}{'rep':>4}  {'predicted':<11}{'measured':<11}reason"
        for item in self.disagreements:
            if item.settles_at is None:
                reason = (
                    f"UNEXPLAINED: does not settle by layer {DEEPEST}; distance {item.distance:.2g} per layer"
                )
            elif item.distance < 1e-9:
                reason = (
                    f"on the boundary (an exact tie); {self.depth} layers do not show it, "
                    f"{item.settles_at} do"
                )
            else:
                reason = (
                    f"too close to the boundary for {self.depth} layers "
                    f"({item.distance:.2g} per layer); agrees from layer {item.settles_at}"
                )
            yield (
                f"{item.question:<19}{item.mu_min:>8.4g}{item.lambda_min:>9.4g}{item.replicate:>4}  "
                f"{item.predicted:<11}{item.measured:<11}{reason}"
            )


def run(out: str | Path = "linsim-demo", *, seed: int = 0, progress: bool = True) -> Report:
    """Sweep, draw and compare; write the dataset, the figure and the table to ``out``.

    Parameters
    ----------
    out : path
        Directory for ``phase_diagram.zarr``, ``.pdf``, ``.png``, ``.txt`` and
        ``report.txt``; made if missing.  Results of an earlier demo there are
        replaced, anything else of those names is left alone and refused.
    seed : int
        Same seed, same numbers.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Report

    Raises
    ------
    FileFormatError
        If ``out`` cannot be written, before any work starts.
    """
    from ..figures import gallery
    from ..figures.style import write

    seed = checks.count(seed, "seed")
    phase_diagram = gallery.load("phase_diagram")
    directory = Path(out)
    store = directory / "phase_diagram.zarr"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "report.txt").touch()
    except OSError as error:
        raise checks.refusal(
            FileFormatError,
            "out",
            f"{directory} ({error.strerror})",
            "a directory to write in",
            "Choose another.",
        ) from error
    if store.exists() and not _ours(store):
        raise checks.refusal(
            FileFormatError, "out", f"{store}, not written by linsim demo", "a free name", "Move it away."
        )
    fresh = directory / "phase_diagram.new.zarr"
    shutil.rmtree(fresh, ignore_errors=True)
    ds = phase_diagram.compute(seed=seed, progress=progress, store=fresh)
    shutil.rmtree(store, ignore_errors=True)
    fresh.rename(store)
    report = compare(ds, phase_diagram.systems, seed)
    write(
        phase_diagram.draw(ds),
        phase_diagram.caption(ds),
        f"linsim demo --seed {seed} --out DIR",
        seed,
        directory,
        "phase_diagram",
    )
    (directory / "report.txt").write_text("\n".join(report.lines()) + "\n", encoding="utf-8")
    return report


def _ours(store: Path) -> bool:
    import zarr

    try:
        return str(zarr.open_group(store, mode="r").attrs.get("source")) == "linsim.sweep"
    except Exception:  # whatever it is, it is not a dataset of ours
        return False


def compare(ds: xarray.Dataset, make: Any, seed: int) -> Report:
    """Hold the trend over the last half of the layers against the prediction, system by system."""
    found: list[Disagreement] = []
    agreement = {}
    total = int(np.prod([ds.sizes[k] for k in ("mu_min", "lambda_min", "replicate")]))
    for question, (metric, prediction) in _QUESTIONS.items():
        values = ds[metric].transpose("mu_min", "lambda_min", "replicate", "layer").values
        measured = _trend(question, values[..., -2], values[..., -1])
        predicted = ds[prediction].transpose("mu_min", "lambda_min", "replicate").values.astype(int)
        wrong = np.argwhere(measured != predicted)
        agreement[question] = total - len(wrong)
        distance = _DECAY[question](ds).transpose("mu_min", "lambda_min", "replicate").values
        settled = _settles(ds, make, seed, question, wrong, predicted)
        for index, settles_at in zip(wrong, settled, strict=True):
            here = tuple(index)
            found.append(
                Disagreement(
                    question,
                    float(ds.mu_min[here[0]]),
                    float(ds.lambda_min[here[1]]),
                    int(ds.replicate[here[2]]),
                    _word(question, predicted[here]),
                    _word(question, measured[here]),
                    float(distance[here]),
                    settles_at,
                )
            )
    return Report(total, int(ds.layer[-1]), agreement, tuple(found))


def _trend(question: str, half: Any, full: Any) -> Any:
    """-1, 0 or 1 for the regime (rising, still, falling HFC/LFC); 1 where a gap falls, else 0."""
    with np.errstate(invalid="ignore"):  # -inf - -inf: a gap that is exactly closed
        change = np.where(np.isneginf(full), -np.inf, full - half)
    falls = (change < -STILL).astype(int)
    return falls - (change > STILL) if question == "regime" else falls


def _word(question: str, value: int) -> str:
    if question == "regime":
        return {code: name for name, code in REGIMES.items()}[int(value)]
    return "yes" if value else "no"


def _settles(ds: Any, make: Any, seed: int, question: str, wrong: Any, predicted: Any) -> list[int | None]:
    """Follow the systems at ``wrong`` deeper: the depth from which their trend is the predicted one."""
    if len(wrong) == 0:
        return []
    first = int(ds.layer[-1])
    layers = [first // 2 * 2**k for k in range(int(np.log2(DEEPEST / first)) + 2)]
    result: list[int | None] = [None] * len(wrong)
    for replicate in np.unique(wrong[:, 2]):
        chosen = np.flatnonzero(wrong[:, 2] == replicate)
        point = {
            "mu_min": ds.mu_min.values[wrong[chosen, 0]],
            "lambda_min": ds.lambda_min.values[wrong[chosen, 1]],
        }
        rule, x0 = make(point, rows(seed, int(replicate), point))
        metric = _QUESTIONS[question][0]
        values = simulate(rule, x0, layers[-1], layers=layers, metrics=[metric]).metrics[metric]
        trend = _trend(question, values[:, :-1], values[:, 1:])
        for row, s in enumerate(chosen):
            right = trend[row] == predicted[tuple(wrong[s])]
            if right[-1]:
                wrong_at = np.flatnonzero(~right)
                result[s] = layers[int(wrong_at[-1]) + 2] if wrong_at.size else layers[1]
    return result
