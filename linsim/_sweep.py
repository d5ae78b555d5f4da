"""Many systems over a grid, computed in batches, labelled, beside their predictions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _validate
from ._ask import recorded_layers
from ._callers import home_within, native_rule
from ._namespace import namespace, native, to_host
from ._simulate import simulate
from .block import Block
from .errors import (
    BackendError,
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    LinsimError,
    MissingExtraError,
    ShapeError,
)
from .metrics._registry import METRICS, choose, metric_of
from .rules import Linear, RandomWeights, Rule
from .streams import rows
from .theory import REGIMES, Prediction, predict

if TYPE_CHECKING:
    import xarray

    from .trajectory import Trajectory

__all__ = ["sweep"]

# What a prediction adds to a dataset: name, dtype, meaning, and how to read it off
_PREDICTED: dict[str, tuple[Any, str, Callable[[Prediction], Any]]] = {
    "predicted_regime": (np.int8, "regime", lambda law: np.vectorize(REGIMES.get)(law.regime)),
    "predicted_input_convergence": (np.bool_, "HFC/LFC -> 0", lambda law: law.input_convergence),
    "predicted_angle_convergence": (np.bool_, "mean |cosine| -> 1", lambda law: law.angle_convergence),
    "predicted_rank_collapse": (np.bool_, "sigma_2/sigma_1 -> 0", lambda law: law.rank_collapse),
    "predicted_limit_rank": (np.int64, "rank of the normalised limit", lambda law: law.limit_rank),
    "predicted_margin": (
        np.float64,
        "ln(constant / largest other modulus), per layer",
        lambda law: law.margin,
    ),
    "predicted_token_diversity_rate": (
        np.float64,
        "factor per layer",
        lambda law: law.rates["token_diversity"],
    ),
    "predicted_cosine_gap_rate": (np.float64, "factor per layer", lambda law: law.rates["cosine_gap"]),
    "predicted_rank_gap_rate": (np.float64, "factor per layer", lambda law: law.rates["rank_gap"]),
}
_RESERVED = {"replicate", "layer", *METRICS, *_PREDICTED}

Make = Callable[[dict[str, Any], Any], tuple[Any, Any]]


def sweep(
    make: Make,
    grid: Mapping[str, Any],
    *,
    depth: int,
    metrics: str | Iterable[str] | None = None,
    layers: Iterable[int] | None = None,
    replicates: int = 1,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    batch: int | None = None,
    backend: str | None = None,
    progress: bool = True,
) -> xarray.Dataset:
    """Simulate and predict every point of a grid.

    Parameters
    ----------
    make : callable
        ``make(point_arrays, rng) -> (rule, x0)`` for a batch of k points:
        ``point_arrays[name]`` is (k,), the rule and x0 have leading axis k (or
        none, to share one), of NumPy or any library that :func:`linsim.simulate` takes.
        ``rng`` is a Generator whose draws have leading
        axis k; row i comes from a stream keyed by (seed, replicate, the
        coordinates of point i), so a result depends neither on the batch nor
        on the order of work.  The points of a batch share one n and one d: where an
        axis is itself a size, pass ``batch=1``.  (Whole-numbered axes are tried: the
        points at both ends of such an axis are made once more, alone.)
    grid : mapping of str to 1-d array
        Distinct finite coordinates along each axis.
    depth : int
        Number of layers.
    metrics : str or iterable of str, optional
        Names from ``linsim.metrics.METRICS``; None records all.
    layers : iterable of int, optional
        Layers to record; None records only the last.
    replicates : int
        Independent draws per point.
    seed : int
        Same seed, same result.
    store : path, optional
        A Zarr store to write, which must not exist yet.  It appears only when
        it is complete.
    batch : int, optional
        Points per batch; 512 by default.
    backend : {None, "numpy", "cupy"}
        As in :func:`linsim.simulate`.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    xarray.Dataset
        Dims (grid names..., replicate, layer): every metric, float64, NaN
        where a gap is below what can be measured; beside it, for Linear rules,
        ``predicted_*`` with dims (grid names..., replicate).  Regimes are
        coded -1 sharpening, 0 balanced, 1 smoothing.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError, FileFormatError
        Before any work starts; what ``make`` returns is checked at its first
        batch.  What is refused of one point only (a NaN, say) is refused with
        the coordinates of the first such point.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> def make(point, rng):
    ...     k = len(point["mu"])
    ...     H = point["mu"][:, None, None] * np.eye(3)
    ...     x0 = linsim.tokens.gaussian(4, 3, size=k, rng=rng)
    ...     return linsim.Linear(linsim.attention.uniform(4), H), x0
    >>> ds = linsim.sweep(make, {"mu": [-1.0, 1.0]}, depth=20, progress=False)
    >>> ds.predicted_regime.values[:, 0]
    array([-1,  1], dtype=int8)
    >>> bool(ds.token_similarity.sel(mu=1.0).item() > 0.999)
    True
    """
    import xarray as xr
    from tqdm.auto import tqdm

    if not callable(make):
        raise _validate.refusal(
            InvalidTypeError,
            "make",
            type(make).__name__,
            "a callable (point_arrays, rng) -> (rule, x0)",
            "Pass one.",
        )
    axes = _axes(grid)
    depth = _validate.count(depth, "depth")
    names = choose(metrics)
    wanted = recorded_layers([depth] if layers is None else layers, depth)
    replicates = _validate.count(replicates, "replicates", minimum=1)
    seed = _validate.count(seed, "seed")
    size = 512 if batch is None else _validate.count(batch, "batch", minimum=1)
    if backend is not None:
        _validate.choice(backend, "backend", ("numpy", "cupy"))
    path = _new_store(store)

    points = {k: m.ravel() for k, m in zip(axes, np.meshgrid(*axes.values(), indexing="ij"), strict=True)}
    total = int(np.prod([len(axis) for axis in axes.values()]))
    measured = {name: np.empty((total, replicates, len(wanted))) for name in names}
    predicted: dict[str, np.ndarray[Any, Any]] = {}
    covered = True
    with tqdm(total=total * replicates, unit="system", disable=not progress, desc="linsim sweep") as bar:
        for replicate, chunk in _chunks(total, replicates, size):
            here = {k: v[chunk] for k, v in points.items()}
            count = chunk.stop - chunk.start

            def work(
                points: dict[str, Any], replicate: int = replicate, predicting: bool = covered
            ) -> tuple[Any, Trajectory, Prediction | None]:
                size, streams = len(next(iter(points.values()))), rows(seed, replicate, points)
                rule, x0 = _made(make, points, streams, size)
                if isinstance(rule, RandomWeights | Block):
                    # each point draws for itself, even where all share the rule and x0
                    x0 = _each(x0, size)
                run = simulate(rule, x0, depth, layers=wanted, metrics=names, backend=backend, rng=streams)
                return x0, run, predict(rule) if predicting and isinstance(rule, Linear) else None

            try:
                x0, run, law = work(here)
            except (BackendError, MissingExtraError):
                raise
            except LinsimError as error:
                raise _located(error, work, here, replicate) from error
            if replicate == 0:
                _one_shape(make, here, seed, x0)
            for name in names:
                measured[name][chunk, replicate] = to_host(run.metrics[name])
            covered &= law is not None
            if law is not None:
                for name, (kind, _, read) in _PREDICTED.items():
                    if name not in predicted:
                        predicted[name] = np.empty((total, replicates), dtype=kind)
                    predicted[name][chunk, replicate] = read(law)
            bar.update(count)

    shape = tuple(len(axis) for axis in axes.values())
    dims = (*axes, "replicate")
    variables: dict[str, Any] = {}
    for name, value in measured.items():
        variables[name] = (
            (*dims, "layer"),
            value.reshape(*shape, *value.shape[1:]),
            {"long_name": metric_of(name).meaning},
        )
    for name, value in predicted.items() if covered else ():
        attrs: dict[str, Any] = {"long_name": _PREDICTED[name][1]}
        if name == "predicted_regime":
            attrs |= {"flag_values": list(REGIMES.values()), "flag_meanings": " ".join(REGIMES)}
        variables[name] = (dims, value.reshape(*shape, replicates), attrs)
    coordinates = {**axes, "replicate": np.arange(replicates), "layer": wanted}
    ds = xr.Dataset(
        variables, coords=coordinates, attrs={"seed": seed, "depth": depth, "source": "linsim.sweep"}
    )
    if path is not None:
        _write(ds, path)
    return ds


def _axes(grid: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    if not isinstance(grid, Mapping) or not grid:
        raise _validate.refusal(
            InvalidTypeError if not isinstance(grid, Mapping) else InvalidValueError,
            "grid",
            repr(grid) if grid == {} else type(grid).__name__,
            "a non-empty mapping of names to 1-d arrays",
            "Name at least one axis.",
        )
    axes = {}
    for name, axis in grid.items():
        if not isinstance(name, str) or name in _RESERVED:
            raise _validate.refusal(
                InvalidValueError,
                "grid",
                f"an axis named {name!r}",
                "a name that is no dim or variable",
                "Rename it.",
            )
        values = _validate.array(axis, f"grid[{name!r}]", ndim=1, shape="(k,)", dtype="float64")
        if values.ndim != 1 or len(np.unique(values)) != len(values):
            raise _validate.refusal(
                ShapeError,
                f"grid[{name!r}]",
                f"shape {values.shape}" if values.ndim != 1 else "a coordinate twice",
                "a 1-d array of distinct coordinates",
                "Use replicates for repeats.",
            )
        axes[name] = np.asarray(to_host(values), dtype=np.float64)
    return axes


def _chunks(total: int, replicates: int, size: int) -> Iterator[tuple[int, slice]]:
    for replicate in range(replicates):
        for start in range(0, total, size):
            yield replicate, slice(start, min(start + size, total))


def _made(make: Make, points: dict[str, Any], rng: Any, count: int) -> tuple[Any, Any]:
    made = make(points, rng)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Rule)):
        raise _validate.refusal(
            InvalidTypeError,
            "make",
            f"a return value of {type(made).__name__}",
            "a tuple (rule, x0)",
            "Return both.",
        )
    rule, x0 = made
    home = home_within(rule) or home_within(x0)
    if home is not None:
        # labels and predictions are NumPy's in the end
        rule, x0 = native_rule(rule, home), native(x0)
    for what, shape in (
        ("the rule", rule.batch_shape),
        ("x0", tuple(getattr(x0, "shape", np.shape(x0))[:-2])),
    ):
        if shape not in ((), (1,), (count,)):
            raise _validate.refusal(
                ShapeError,
                "make",
                f"batch shape {shape} in {what}",
                f"({count},), one entry per point, or () to share one",
                "Build one system per point.",
            )
    return rule, x0


def _one_shape(make: Make, points: dict[str, Any], seed: int, x0: Any) -> None:
    """Refuse a batch whose points, made alone, have other sizes than they have together.

    A batch has one n and one d, so where they hang on a coordinate, all but some of
    its points would be systems of another size than their labels say.  Sizes are whole
    numbers: only axes of such can be sizes, and the least and the largest tell.
    """
    count = len(next(iter(points.values())))
    sizes = [values for values in points.values() if np.all(values == np.round(values))]
    ends = sorted({int(end) for values in sizes for end in (np.argmin(values), np.argmax(values))})
    if count == 1 or not any(np.ptp(values) for values in sizes):
        return

    together = _size_of(x0)
    for k in ends:
        point = {name: values[k : k + 1] for name, values in points.items()}
        alone = _size_of(make(point, rows(seed, 0, point))[1])
        if alone != together:
            raise _validate.refusal(
                ShapeError,
                "make",
                f"tokens {together} in a batch, but {alone} for the point {_named(points, k)} alone",
                "one n and one d for all points of a batch",
                "Pass batch=1, so that each point is made alone.",
            )


def _size_of(x0: Any) -> tuple[int, ...]:
    return tuple(getattr(x0, "shape", None) or np.shape(x0))[-2:]


def _named(points: dict[str, Any], k: int) -> str:
    return ", ".join(f"{name}={values[k]:g}" for name, values in points.items())


def _located(
    error: LinsimError, work: Callable[[dict[str, Any]], Any], points: dict[str, Any], replicate: int
) -> LinsimError:
    """Return the refusal of the first point that is refused alone, with its coordinates.

    A point does not depend on its batch, so a batch that is refused has one; what is
    wrong with all of them is wrong with the first.
    """
    low, high = 0, len(next(iter(points.values())))
    while high - low > 1:  # there is one in [low, high)
        middle = (low + high) // 2
        try:
            work({name: values[low:middle] for name, values in points.items()})
        except LinsimError:
            high = middle
        else:
            low = middle
    try:
        work({name: values[low:high] for name, values in points.items()})
    except LinsimError as found:
        where = f" (at {_named(points, low)}, replicate {replicate})"
        before, expected, after = str(found).partition("; expected ")
        return type(found)(before + where + expected + after)
    return error  # only together: nothing of one point


def _each(x0: Any, count: int) -> Any:
    x0 = _validate.array(x0, "x0", ndim=2, shape="(..., n, d)")
    return namespace(x0).broadcast_to(x0, (count, *x0.shape[-2:]))


def _new_store(store: str | os.PathLike[str] | None) -> str | None:
    if store is None:
        return None
    try:
        path = os.fspath(store)
    except TypeError:
        raise _validate.refusal(
            InvalidTypeError, "store", type(store).__name__, "a path", "Pass a str or a Path."
        ) from None
    if os.path.lexists(path):
        raise _validate.refusal(
            FileFormatError,
            "store",
            f"something at {path}",
            "a path that is still free",
            "Choose another, or remove it.",
        )
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK):
        raise _validate.refusal(
            FileFormatError,
            "store",
            f"no writable directory {parent}",
            "a directory to write in",
            "Create it first.",
        )
    return path


def _write(ds: xarray.Dataset, path: str) -> None:
    """Write beside the target, then rename: a killed run leaves no half-written store."""
    partial = f"{path}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    ds.to_zarr(partial, mode="w", consolidated=False)
    os.rename(partial, path)
