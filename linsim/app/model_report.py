"""What ``linsim model`` prints: one table that fits a screen, and the same numbers as JSON or a page."""

from __future__ import annotations

import base64
import html
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..models import LayerReport, LayerSpectra, Model, ModelRun, Spectrum

__all__ = ["as_html", "as_json", "lines"]

_WIDTH = 110


# --- text ----------------------------------------------------------------------------------


def lines(
    model: Model, run: ModelRun | None, others: Sequence[ModelRun], lambda_min: float, heads: bool
) -> list[str]:
    """Return all that is printed."""
    found = [model.describe(), f"file   {model.path}"]
    if run is None:
        found += ["", *_spectra_table(model.spectra, lambda_min), *_spectra_words(model, lambda_min)]
    else:
        found += [*_input(run), "", *_run_table(run), *_run_words(model, run)]
    if heads:
        found += ["", *(_head_spectra(model.spectra) if run is None else _head_table(run))]
    if others and run is not None:
        found += ["", *_what_if_table(run, others)]
    return found


def _spectra_table(spectra: Sequence[LayerSpectra], lambda_min: float) -> list[str]:
    """One row a layer: the spectrum as stored, and beside it the one that the stream meets."""
    folded = any(one.effective is not one.raw for one in spectra)
    same = not folded
    head = f"{'layer':>5} | {'Re mu':^15} {'< 0':>4} {'[-1,0)':>6} {'beyond':>6} {'zeros':>5} "
    head += f"{'|1+mu|':>7} {'skew':>5}"
    title = " " * 5 + " | " + f"{'H as stored':<54}"
    if folded:
        title += " | effective: gain, scale, centring"
        head += f" | {'Re mu':^15} {'< 0':>4} {'zeros':>5} {'|1+mu|':>7} {'g<0':>4} {'s<0':>4}"
    else:
        head += f" {'regime':>11}"
    rows = [title.rstrip(), head]
    for one in spectra:
        raw = one.raw
        row = (
            f"{one.layer:>5} | {_span(raw)} {raw.fraction_negative:>4.0%} {raw.fraction_in_unit:>6.0%} "
            f"{raw.fraction_beyond(lambda_min):>6.0%} {raw.exact_zeros:>5} {raw.growth:>7.3g} "
            f"{raw.asymmetry:>5.2f}"
        )
        if same:
            row += f" {raw.regime(lambda_min):>11}"
        else:
            seen = one.effective
            row += (
                f" | {_span(seen)} {seen.fraction_negative:>4.0%} {seen.exact_zeros:>5} {seen.growth:>7.3g} "
                f"{one.negative_gains:>4} {one.negative_scales:>4}"
            )
        rows.append(row)
    return rows


def _span(spectrum: Spectrum) -> str:
    return f"{spectrum.real_min:>7.3g} {spectrum.real_max:>7.3g}"


def _spectra_words(model: Model, lambda_min: float) -> list[str]:
    spectra = model.spectra
    text = [
        "Shares are of the eigenvalues that are not exactly zero; beyond: Re mu < -2/(1+a), "
        f"a = {lambda_min:g}."
    ]
    if any(one.over_sigma for one in spectra):
        text.append(
            "The norm divides by each token's sigma, which only an input tells: effective mu are at "
            "sigma = 1, and their size says nothing yet, their signs do. g<0, s<0: negative gains of the "
            "norm and entries of the layer scale."
        )
        text.append(_regimes_by_sigma(spectra, lambda_min))
    elif model.order == "post":
        counts = _counted([one.effective.regime(lambda_min) for one in spectra])
        text.append(
            "The norm follows the sum, so H acts as stored. "
            f"Repeated for ever, with a real spectrum of A down to {lambda_min:g}: {counts}."
        )
    else:
        text.append("Norms and scales are not known here, so effective spectra are as stored.")
    wanted = {"text": "--text '...'", "image": "--image FILE", "features": "--features FILE.npy"}
    text.append(
        f"What the layers do to tokens: linsim model PATH {wanted.get(model.input, '--states FILE.npy')}"
    )
    return _wrapped(text)


def _regimes_by_sigma(spectra: Sequence[LayerSpectra], lambda_min: float) -> str:
    """Say for which sigma the layers sharpen, if any does."""
    some = [(one.layer, ranges) for one in spectra if (ranges := one.effective.sharpens_within(lambda_min))]
    if not some:
        return f"At lambda_min = {lambda_min:g} every layer smooths in the long run, whatever sigma is."
    said = [
        f"{layer} at sigma " + " or ".join(f"{low:.3g} to {high:.3g}" for low, high in ranges)
        for layer, ranges in some[:4]
    ]
    more = f" and {len(some) - 4} more" if len(some) > 4 else ""
    return (
        f"At lambda_min = {lambda_min:g} {len(some)} of {len(spectra)} layers sharpen in the long run for "
        f"some sigma: layer {'; layer '.join(said)}{more}. The others smooth, whatever it is."
    )


def _counted(words: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(words))
    return ", ".join(f"{kind} in {words.count(kind)} of {len(words)} layers" for kind in kinds)


def _input(run: ModelRun) -> list[str]:
    n = run.states.shape[1]
    said = f"input  {n} tokens"
    if run.tokens:
        said = textwrap.shorten(f"{said}: {' '.join(run.tokens)}", _WIDTH, placeholder=" ...")
    return [said]


def _run_table(run: ModelRun) -> list[str]:
    """One row a layer: where the tokens are, and three columns of what attention does to them."""
    curves, layers = run.curves, run.layers
    rows = [
        f"{'':>5} | {'tokens that enter':^23} | {'change of ln HFC/LFC across attention':^50} | behind it",
        f"{'layer':>5} | {'HFC/LFC':>7} {'cosine':>7} {'rank':>7} | {'measured':>8} {'one step':>8} "
        f"{'law':>7} {'in short':<16} {'head':>7} | {'norm':>6} {'feed-f.':>7}",
    ]
    for one in layers:
        k = one.layer
        told = one.verdict + ("" if one.law_agrees else ", law not")
        if not one.step_agrees:
            told = one.verdict + ", step not"
        rows.append(
            f"{k:>5} | {curves.all['hfc_lfc'][k]:>7.3f} {curves.all['cosine'][k]:>7.3f} "
            f"{curves.all['effective_rank'][k]:>7.1f} | {one.measured:>+8.3f} {one.step:>+8.3f} "
            f"{one.law:>+7.2f} {told:<16} {_strongest(one):>7} | {_norm(one)} {one.feed_forward:>+7.2f}"
        )
    last = len(layers)
    rows.append(
        f"{'out':>5} | {curves.all['hfc_lfc'][last]:>7.3f} {curves.all['cosine'][last]:>7.3f} "
        f"{curves.all['effective_rank'][last]:>7.1f} |"
    )
    return rows


def _norm(one: LayerReport) -> str:
    """Return what the norm behind the sum did, if one is there."""
    return f"{one.norm:>+6.2f}" if one.norm else f"{'-':>6}"


def _strongest(one: LayerReport) -> str:
    """Return the head that does most of what the layer does, and its share of the change."""
    sign = -1 if one.measured < 0 else 1
    which = int(np.argmax(sign * one.heads))
    return f"{which}:{one.heads[which]:+.2f}"


def _run_words(model: Model, run: ModelRun) -> list[str]:
    layers = run.layers
    smooth = [one for one in layers if one.measured < 0]
    step, law = sum(one.step_agrees for one in layers), sum(one.law_agrees for one in layers)
    strongest = min(layers, key=lambda one: one.measured)
    curve = run.curves.all["hfc_lfc"]
    n = len(layers)
    text = [
        f"Attention smooths in {len(smooth)} of {n} layers"
        + (f", most in layer {strongest.layer} ({strongest.measured:+.2f})" if smooth else "")
        + f"; over the whole model HFC/LFC goes from {curve[0]:.3g} to {curve[-1]:.3g}.",
        f"One exact step of the linear layer has the sign of what was measured in {step} of {n} layers, "
        f"the law of its repetition in {law}.",
    ]
    share = run.curves.largest_share
    if share.max() > 0.5:
        rest = run.curves.others["hfc_lfc"]
        jump = int(np.argmax(share))
        who = f" ({run.tokens[run.curves.sink]})" if run.tokens else ""
        text.append(
            f"Token {run.curves.sink}{who} holds up to {share.max():.1%} of the squared norm (entering layer "
            f"{jump}), and these metrics measure little else: without it HFC/LFC there is {rest[jump]:.3g}, "
            f"not {curve[jump]:.3g}, and goes from {rest[0]:.3g} to {rest[-1]:.3g}."
        )
    text.append(
        "head: the one that does most of it, and ln HFC/LFC behind attention with it less that without it. "
        "norm and feed-f.: changes of ln HFC/LFC across the norm behind the sum and across what follows."
    )
    return _wrapped(text)


def _head_spectra(spectra: Sequence[LayerSpectra]) -> list[str]:
    rows = ["Each head, effective: largest Re mu / share of Re mu < 0 among those not exactly zero"]
    for one in spectra:
        parts = [f"{s.real_max:.2g}/{s.fraction_negative:.0%}" for s in one.effective_heads]
        rows += textwrap.wrap(f"{one.layer:>5} | " + " ".join(f"{p:>9}" for p in parts), _WIDTH + 20)
    return rows


def _head_table(run: ModelRun) -> list[str]:
    rows = ["Each head: ln HFC/LFC behind attention with it less that without it (negative smooths)"]
    for one in run.layers:
        cells = " ".join(f"{value:>+7.3f}" for value in one.heads)
        rows += textwrap.wrap(f"{one.layer:>5} | {cells}", _WIDTH + 20)
    return rows


def _what_if_table(run: ModelRun, others: Sequence[ModelRun]) -> list[str]:
    names = [one.what_if for one in others]
    rows = [
        "What if: HFC/LFC of the tokens that enter each layer",
        f"{'layer':>5} | {'as it is':>9} " + " ".join(f"{name:>14}" for name in names),
    ]
    for k in range(len(run.layers) + 1):
        label = "out" if k == len(run.layers) else k
        cells = " ".join(f"{other.curves.all['hfc_lfc'][k]:>14.4g}" for other in others)
        rows.append(f"{label:>5} | {run.curves.all['hfc_lfc'][k]:>9.4g} {cells}")
    return rows


def _wrapped(text: Sequence[str]) -> list[str]:
    return [part for one in text for part in textwrap.wrap(one, _WIDTH)]


# --- JSON ----------------------------------------------------------------------------------


def as_json(
    model: Model, run: ModelRun | None, others: Sequence[ModelRun], lambda_min: float
) -> dict[str, Any]:
    """Return everything; of a layer, the spectrum as stored lies at the top level of its entry."""
    layers = [_layer(one, lambda_min) for one in model.spectra]
    found: dict[str, Any] = {
        "model": {
            "path": str(model.path),
            "kind": model.kind,
            "family": model.family,
            "part": model.part,
            "parts": model.parts,
            "layers": model.layers,
            "width": model.width,
            "heads": model.heads,
            "value_heads": model.kv_heads,
            "norm": model.order,
            "causal": model.causal,
        },
        "lambda_min": lambda_min,
        "layers": layers,
    }
    if run is not None:
        for entry, report in zip(layers, run.layers, strict=True):
            entry["measured"] = _measured(report)
        found["run"] = _run(run)
        found["what_if"] = [
            _run(other) | {"layers": [_measured(r) for r in other.layers]} for other in others
        ]
    return found


def _layer(one: LayerSpectra, lambda_min: float) -> dict[str, Any]:
    return {
        "layer": one.layer,
        **_spectrum(one.raw, lambda_min),
        "effective": _spectrum(one.effective, lambda_min) | {"over_sigma": one.over_sigma},
        "negative_gains": one.negative_gains,
        "gains": one.gains,
        "negative_layer_scales": one.negative_scales,
        "heads": [
            _spectrum(raw, lambda_min) | {"effective": _spectrum(seen, lambda_min)}
            for raw, seen in zip(one.raw_heads, one.effective_heads, strict=True)
        ],
    }


def _spectrum(spectrum: Spectrum, lambda_min: float) -> dict[str, Any]:
    return {
        "weight_eigenvalue_real_min": spectrum.real_min,
        "weight_eigenvalue_real_max": spectrum.real_max,
        "fraction_negative": spectrum.fraction_negative,
        "fraction_in_minus_one_to_zero": spectrum.fraction_in_unit,
        "fraction_beyond": spectrum.fraction_beyond(lambda_min),
        "fraction_sharpening": spectrum.fraction_sharpening(lambda_min),
        "exact_zeros": spectrum.exact_zeros,
        "largest_growth": spectrum.growth,
        "dominant": [spectrum.dominant.real, spectrum.dominant.imag],
        "asymmetry": spectrum.asymmetry,
        "regime": spectrum.regime(lambda_min),
    }


def _measured(report: LayerReport) -> dict[str, Any]:
    names = (
        "measured",
        "step",
        "step_without_bias",
        "step_one_sigma",
        "law",
        "norm",
        "feed_forward",
        "whole",
        "escalation_rate",
        "inverse_sigma",
        "lambda_min",
        "lambda_second",
        "verdict",
        "step_agrees",
        "law_agrees",
        "heads",
        "without_sink",
    )
    return {name: getattr(report, name) for name in names}


def _run(run: ModelRun) -> dict[str, Any]:
    curves = run.curves
    return {
        "what_if": run.what_if,
        "tokens": run.tokens or run.states.shape[1],
        "sink": curves.sink,
        "largest_token_share": curves.largest_share,
        "curves": dict(curves.all),
        "curves_without_sink": dict(curves.others),
    }


# --- a page ----------------------------------------------------------------------------------


def as_html(text: Sequence[str], pictures: Sequence[tuple[Path, str]]) -> str:
    """Return one page with the table and the figures in it: nothing to lose beside it."""
    body = [f"<pre>{html.escape(chr(10).join(text))}</pre>"]
    for path, caption in pictures:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        alt = html.escape(caption, quote=True)
        body.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{alt}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    return _PAGE.replace("TITLE", html.escape(text[0])).replace("BODY", "\n".join(body))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>TITLE</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
pre { font-size: 0.8rem; line-height: 1.35; overflow-x: auto; }
figure { margin: 2rem 0; } img { max-width: 100%; background: white; }
</style></head><body>
<h1>TITLE</h1>
BODY
</body></html>
"""
