"""A sweep written down: in TOML, or as the same dataclass in Python."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from ..errors import FileFormatError, InvalidTypeError, InvalidValueError
from ._design import design
from ._families import FAMILIES, REQUIRED, built
from ._lines import located, refused_toml

if TYPE_CHECKING:
    import xarray

__all__ = ["Spec"]

_AXES: dict[str, tuple[int, Callable[..., Any]]] = {
    "values": (0, lambda *values: list(values)),
    "linspace": (3, lambda low, high, count: np.linspace(low, high, _whole(count))),
    "geomspace": (3, lambda low, high, count: np.geomspace(low, high, _whole(count))),
    "range": (3, lambda first, last, step: np.arange(first, last, step)),
}
_DISTRIBUTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "uniform": (2, lambda rng, k, low, high: rng.uniform(low, high, size=k)),
    "loguniform": (2, lambda rng, k, low, high: np.exp(rng.uniform(np.log(low), np.log(high), size=k))),
    "normal": (2, lambda rng, k, mean, std: rng.normal(mean, std, size=k)),
    "lognormal": (2, lambda rng, k, mean, std: rng.lognormal(mean, std, size=k)),
}
_DESIGNED = "between"
_PARTS = ("attention", "weights", "tokens", "rule")


def _whole(count: float) -> int:
    if count != int(count) or count < 1:
        raise ValueError("a number of values that is no whole number >= 1")
    return int(count)


@dataclass(frozen=True, eq=False)
class Spec:
    """What to sweep: families by name, and each parameter fixed, an axis, or a distribution.

    Parameters
    ----------
    depth, n, d : int
        Layers, tokens and features; n and d may be axes.
    attention, weights, tokens, rule : mapping
        ``family`` (of rule: ``kind``) and its parameters.  A parameter is a value; an axis,
        ``{"values": [...]}``, ``{"linspace": [low, high, count]}``, ``{"geomspace": [...]}`` or
        ``{"range": [first, last, step]}``, with a ``name`` of its own if wanted, and ``zip`` to vary
        it along one dim with others; ``{"between": [low, high]}``, an axis of the design; or a
        distribution, drawn for each system: ``{"uniform": [low, high]}``, ``{"loguniform": [low,
        high]}``, ``{"normal": [mean, std]}``, ``{"lognormal": [mean, std]}``.
    design : mapping, optional
        ``kind`` and ``count`` of the points for all axes with ``between``.
    metrics, layers, replicates, seed
        As for :func:`linsim.sweep`.

    Raises
    ------
    InvalidValueError, InvalidTypeError, FileFormatError
        For anything else; the message names the key, and the line of a file.

    Examples
    --------
    >>> spec = Spec(depth=8, n=4, d=2, attention={"family": "dirichlet"},
    ...             weights={"family": "identity", "scale": {"values": [-1.0, 1.0], "name": "h"}})
    >>> spec.grid
    {'h': [-1.0, 1.0]}
    >>> ds = spec.run(progress=False)
    >>> ds.predicted_regime.values[:, 0]
    array([-1,  1], dtype=int8)
    """

    depth: int
    n: Any
    d: Any
    attention: Mapping[str, Any]
    weights: Mapping[str, Any] = field(default_factory=lambda: {"family": "gaussian"})
    tokens: Mapping[str, Any] = field(default_factory=lambda: {"family": "gaussian"})
    rule: Mapping[str, Any] = field(default_factory=lambda: {"kind": "linear"})
    design: Mapping[str, Any] | None = None
    metrics: Any = None
    layers: Any = None
    replicates: int = 1
    seed: int = 0
    file: tuple[Path, str] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._parts()
        self.grid  # noqa: B018  refuses what is no axis

    @classmethod
    def from_toml(cls, path: Any) -> Spec:
        """Read a specification from a file, or refuse it with the line and the key."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            found = getattr(error, "strerror", None) or "no text"
            raise _validate.refusal(
                FileFormatError, "SPEC", f"{path} ({found})", "a readable TOML file", "Check the path."
            ) from error
        try:
            read = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise refused_toml(path, error) from error
        known = {one.name for one in fields(cls) if one.init}
        with located(path, text):
            for key in read:
                if key not in known:
                    _validate.choice(key, key, sorted(known))
            for key in ("depth", "n", "d", "attention"):
                if key not in read:
                    raise _validate.refusal(
                        InvalidValueError, key, "nothing", "a value", f"Write {key} = ... at the top."
                    )
            found = cls(**read)
        object.__setattr__(found, "file", (path, text))
        return found

    # --- what it says --------------------------------------------------------------------

    def _parts(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The family of each part, and all of its parameters as they are given."""
        out = {}
        for part in _PARTS:
            table = getattr(self, part)
            word = "kind" if part == "rule" else "family"
            if not isinstance(table, Mapping) or word not in table:
                raise _validate.refusal(
                    InvalidTypeError,
                    part,
                    "no " + word if isinstance(table, Mapping) else type(table).__name__,
                    f"a table with a {word}",
                    f"Write {word} = {next(iter(FAMILIES[part]))!r}.",
                )
            name = _validate.choice(table[word], f"{part}.{word}", FAMILIES[part])
            parameters = FAMILIES[part][name].parameters
            for key in table:
                if key != word and key not in parameters:
                    _validate.choice(key, f"{part}.{key}", parameters or [word])
            # in the order of the table, which is that of the axes
            given = {key: table[key] for key in table if key != word}
            given |= {key: default for key, default in parameters.items() if key not in given}
            for key, value in given.items():
                if value is REQUIRED:
                    raise _validate.refusal(
                        InvalidValueError, f"{part}.{key}", "nothing", "a value", "This family needs it."
                    )
            out[part] = (name, given)
        return out

    def _parameters(self) -> Iterable[tuple[str, Any, bool]]:
        """Yield (key, value, whether it may differ within a batch) of everything that may be an axis."""
        yield from (("n", self.n, False), ("d", self.d, False))
        for part, (name, given) in self._parts().items():
            if part == "weights" and self._parts()["rule"][0] in ("random", "block"):
                continue
            for key, value in given.items():
                yield f"{part}.{key}", value, key in FAMILIES[part][name].varying

    @property
    def grid(self) -> dict[str, Any]:
        """The axes, as :func:`linsim.sweep` takes them."""
        out: dict[str, Any] = {}
        box: dict[str, Any] = {}
        for key, value, varying in self._parameters():
            if not isinstance(value, Mapping):
                continue
            how, arguments, name, zipped = _read(key, value)
            if how in _DISTRIBUTIONS:
                if not varying:
                    raise _validate.refusal(
                        InvalidValueError,
                        key,
                        how,
                        "one value, or an axis",
                        "Sizes and options are not drawn.",
                    )
                continue
            if how == _DESIGNED:
                box[name] = arguments
                continue
            axis = _called(key, _AXES[how][1], arguments)
            where = out.setdefault(zipped, {}) if zipped is not None else out
            if not isinstance(where, dict) or name in where:
                raise _validate.refusal(
                    InvalidValueError, key, f"a second axis {name!r}", "names of their own", "Give it a name."
                )
            where[name] = axis
        if box:
            table = dict(self.design or {})
            count = table.pop("count", None)
            if count is None:
                raise _validate.refusal(
                    InvalidValueError, "design", "no count", "a number of points", "Write count = 64."
                )
            kind = table.pop("kind", "sobol")
            out["point"] = design(box, count, kind=kind, seed=self.seed)
        if not out:
            raise _validate.refusal(
                InvalidValueError,
                "attention",
                "no axis in any table",
                "at least one parameter that is an axis",
                "Write for example temperature = { linspace = [0.1, 2.0, 20] }.",
            )
        return out

    @property
    def batch_by(self) -> list[str]:
        """Axes with one value in each batch: sizes and options."""
        found = []
        for key, value, varying in self._parameters():
            if isinstance(value, Mapping) and not varying:
                found.append(_read(key, value)[2])
        return found

    @property
    def text(self) -> str:
        """All of it, as one line of JSON."""
        return json.dumps(
            {one.name: getattr(self, one.name) for one in fields(self) if one.init}, sort_keys=True
        )

    def options(self) -> dict[str, Any]:
        """What :func:`linsim.sweep` is given, beside ``make`` and ``grid``."""
        return {
            "depth": self.depth,
            "metrics": self.metrics,
            "layers": self.layers,
            "replicates": self.replicates,
            "seed": self.seed,
            "batch_by": self.batch_by,
        }

    def run(self, store: Any = None, **options: Any) -> xarray.Dataset:
        """Sweep it; ``options`` as for :func:`linsim.sweep`."""
        from ._run import carry_out

        progress = options.pop("progress", True)
        return carry_out(self.planned(store=store, start=True, **options), progress)

    def planned(self, **options: Any) -> Any:
        """Check everything, and choose what is left open; a refusal names the line of the file."""
        from ._plan import planned

        with located(*self.file) if self.file is not None else contextlib.nullcontext():
            return planned(SpecMaker(self), self.grid, **{**self.options(), **options})


class SpecMaker:
    """The ``make`` of a specification."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @property
    def spec_text(self) -> str:
        """What tells it from others: the families and how their parameters are drawn, not which points."""
        held = json.loads(self.spec.text)
        for part in (held, *(held[name] for name in _PARTS)):
            for key, value in part.items():
                if isinstance(value, dict) and key not in _PARTS and not set(value) & set(_DISTRIBUTIONS):
                    part[key] = {"axis": value.get("name", key)}
        kept = {name: held[name] for name in ("n", "d", *_PARTS)}
        return json.dumps(kept, sort_keys=True)

    def __call__(self, point: dict[str, Any], rng: Any) -> tuple[Any, Any]:
        """Build a batch of points."""
        k = len(next(iter(point.values())))
        parts = self.spec._parts()

        def value(key: str, given: Any, varying: bool) -> Any:
            if not isinstance(given, Mapping):
                return given
            how, arguments, name, _ = _read(key, given)
            if how in _DISTRIBUTIONS:
                return _DISTRIBUTIONS[how][1](rng, k, *arguments)
            column = point[name]
            if varying:
                return column
            one = column[0]
            return one.item() if isinstance(one, np.generic) else one

        n, d = (int(value(key, getattr(self.spec, key), False)) for key in ("n", "d"))
        given = {
            part: {
                key: value(f"{part}.{key}", x, key in FAMILIES[part][name].varying)
                for key, x in table.items()
            }
            for part, (name, table) in parts.items()
        }
        return built({part: name for part, (name, _) in parts.items()}, given, n, d, k, rng)


def _read(key: str, value: Mapping[str, Any]) -> tuple[str, list[Any], str, str | None]:
    """Return (how, its arguments, name of the axis, dim that it is zipped along) of a parameter's table."""
    known = {**_AXES, **_DISTRIBUTIONS, _DESIGNED: (2, None)}
    rest = dict(value)
    name, zipped = rest.pop("name", key.rpartition(".")[2]), rest.pop("zip", None)
    if len(rest) != 1 or next(iter(rest)) not in known:
        raise _validate.refusal(
            InvalidValueError,
            key,
            "a table with " + (", ".join(rest) or "nothing"),
            "one of " + ", ".join(known),
            "Write for example { linspace = [0.1, 2.0, 20] }, or one value.",
        )
    how, arguments = next(iter(rest.items()))
    count = known[how][0]
    if not isinstance(arguments, list | tuple) or (count and len(arguments) != count) or not arguments:
        raise _validate.refusal(
            InvalidTypeError,
            f"{key}.{how}",
            repr(arguments),
            f"a list of {count} numbers" if count else "a list of values",
            "Write { linspace = [low, high, count] }." if count == 3 else "Write it so.",
        )
    for what, text in (("name", name), ("zip", zipped)):
        if text is not None and not isinstance(text, str):
            raise _validate.refusal(
                InvalidTypeError, f"{key}.{what}", type(text).__name__, "text", "Put it in quotes."
            )
    if how != "values":
        numbers = [_validate.number(x, f"{key}.{how}") for x in arguments]
        arguments = list(arguments) if all(isinstance(x, int) for x in arguments) else numbers
    return how, list(arguments), name, zipped


def _called(key: str, function: Callable[..., Any], arguments: list[Any]) -> Any:
    try:
        return function(*arguments)
    except (ValueError, ZeroDivisionError) as error:
        raise _validate.refusal(
            InvalidValueError, key, f"{arguments} ({error})", "an axis that can be made", "Check its ends."
        ) from error
