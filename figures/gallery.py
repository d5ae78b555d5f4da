"""Which figures there are, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from linsim.checks import nearest

from . import cache, style

if TYPE_CHECKING:
    import xarray

__all__ = ["NAMES", "NEED_A_MODEL", "dataset", "load", "make"]

#: every figure, in the order in which the story goes
NAMES = (
    "phase_diagram",
    "regime_disk",
    "complex_disks",
    "weight_spectra",
    "dominant_eigenvalue",
    "models_over_depth",
    "depth_regimes",
    "rates",
    "bounds",
    "limit_rank",
    "transients",
    "affine_layers",
    "mixture",
    "random_attention",
    "pure_attention",
    "escalation",
    "escalation_rate",
    "norm_placement",
    "tau_sweep",
    "feed_forward_claim",
    "layer_norm_sign",
    "sphere_clustering",
    "arithmetic_limit",
    "real_model",
    "trained_layers",
    "performance",
)

#: those about a trained model, whose files must be installed: left out with a note where they are not
NEED_A_MODEL = ("weight_spectra", "models_over_depth", "real_model")


def load(name: str) -> ModuleType:
    """Return the module of a figure: ``compute(seed=...)``, ``draw(ds)``, ``caption(ds)``, ``message(ds)``.

    >>> load("regime_disk").__name__
    'linsim.figures.regime_disk'
    """
    return import_module(f"linsim.figures.{nearest(name, 'NAME', NAMES)}")


def dataset(
    name: str,
    *,
    quick: bool = False,
    keep: Path | None = None,
    note: Callable[[str], None] | None = None,
    **arguments: Any,
) -> xarray.Dataset:
    """Return the data of a figure, kept on disk by its arguments and its code (:mod:`linsim.figures.cache`).

    Parameters
    ----------
    name : str
        One of ``linsim.figures.NAMES``.
    quick : bool
        Small sizes, in seconds: everything is there, with fewer systems and layers.
    keep : path, optional
        Where data are kept.
    note : callable, optional
        Told where kept data are damaged.
    **arguments
        Of ``compute`` of this figure; they go before those of ``quick``.
    """
    module: Any = load(name)
    return cache.computed(
        module, keep=keep, note=note, **({**module.QUICK, **arguments} if quick else arguments)
    )


def make(
    name: str,
    out: Path,
    *,
    seed: int = 0,
    formats: str | Sequence[str] = style.FORMATS,
    width: str = "89mm",
    quick: bool = False,
    keep: Path | None = None,
    note: Callable[[str], None] | None = None,
    progress: bool = True,
) -> list[Path]:
    """Compute, draw and write one figure; return the paths of its files, the caption last.

    Raises
    ------
    InvalidValueError
        If there is no figure of that name, no such width, or matplotlib writes no such format.
    MissingExtraError
        If the figure is about something that is not installed.
    """
    module: Any = load(name)
    chosen = style.formats(formats)
    with style.medium(width):
        ds = dataset(name, quick=quick, keep=keep, note=note, seed=seed, progress=progress)
        fig = module.draw(ds)
        command = f"linsim figures {name} --seed {seed}" + " --quick" * quick
        command += f" --format {','.join(chosen)}" * (chosen != style.FORMATS)
        command += f" --width {width}" * (width != "89mm") + " --out DIR"
        return style.write(fig, module.caption(ds), command, seed, Path(out), name, formats=chosen)
