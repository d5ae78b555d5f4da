"""A sweep on the disk: a Zarr v3 group that xarray opens as it is, one block committed at a time.

Each block is one chunk of every array.  Its chunks are written beside their places, synchronised, and
renamed; the chunk of ``status``, which says that the block is there, is written only after all others are on
the disk.  So whatever ends a sweep, a block is whole or absent.  Only one process writes (a lock sees to
that): two that write parts of one chunk lose data without an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import _validate
from ..errors import FileFormatError, InvalidTypeError
from ._blocks import Block, blocks_of
from ._durable import in_use, one_writer, rename, write
from ._grid import Grid
from ._memory import dims_of, flat_reasons, unfinished, variable_of
from ._variables import PREDICTED, status_attributes
from ._work import Result

if TYPE_CHECKING:
    import xarray

__all__ = ["SOURCE", "Store", "grid_of", "path_of", "read_attributes"]

#: what marks a store as ours, in its attributes
SOURCE = "linsim.sweep"
# bytes of a dataset that is kept in memory as well
_HELD = 2**28


def path_of(store: Any, argument: str = "store", *, writable: bool = True) -> Path | None:
    """Return a path, unless told otherwise in a directory that can be written to, or refuse."""
    if store is None:
        return None
    try:
        path = Path(os.fspath(store))
    except TypeError:
        raise _validate.refusal(
            InvalidTypeError, argument, type(store).__name__, "a path", "Pass a str or a Path."
        ) from None
    parent = path.absolute().parent
    if writable and not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise _validate.refusal(
            FileFormatError,
            argument,
            f"no writable directory {parent}",
            "a directory to write in",
            "Create it first.",
        )
    return path


def read_attributes(path: Path, argument: str = "store") -> dict[str, Any] | None:
    """Return the attributes of a store of ours, None where there is nothing, or refuse what is there."""
    _finish_extension(path)
    if not os.path.lexists(path):
        if _beside(path, "extended").is_dir():  # another sweep is putting it in this place
            raise in_use(str(path))
        return None
    try:
        root = json.loads((path / "zarr.json").read_bytes())
        attributes = {k: v for k, v in root["attributes"].items() if k != "coordinates"}
        if attributes["source"] != SOURCE or "spec" not in attributes:
            raise KeyError("source")
    except (OSError, ValueError, KeyError, TypeError):
        raise _validate.refusal(
            FileFormatError,
            argument,
            f"something at {path} that is no resumable sweep",
            "a path that is still free, or the store of a sweep",
            "Choose another, or remove it.",
        ) from None
    return attributes


def grid_of(path: Path, spec: Mapping[str, Any]) -> Grid:
    """Return the grid of a store, with labels for values."""
    import zarr

    group: Any = zarr.open_group(str(path), mode="r", zarr_format=3)
    return Grid.stored(spec["axes"], spec["replicates"], lambda name: np.asarray(group[name][...]))


class Store:
    """The arrays of one sweep, to be read, or written by this process alone."""

    def __init__(
        self, path: Path, grid: Grid, attributes: dict[str, Any], mode: Literal["r", "r+"] = "r+"
    ) -> None:
        import zarr

        self.path, self.grid, self.attributes = path, grid, dict(attributes)
        self.layout = json.loads(attributes["layout"])
        self.extents = tuple(self.layout["block"])
        self.methods = set(filter(None, attributes["methods"].split(", ")))
        self.group = zarr.open_group(str(path), mode=mode, zarr_format=3, use_consolidated=False)
        self.names = [name for name in self.layout["variables"] if (path / name).is_dir()]
        self.arrays: dict[str, Any] = {name: self.group[name] for name in self.names}
        self.reasons = _reasons(self.arrays["status"].attrs.asdict())
        self.status = self.read("status")

    # --- making one ----------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: Path, grid: Grid, metrics: Sequence[str], layers: Sequence[int], attributes: dict[str, Any]
    ) -> Store:
        """Make an empty store at a path that is free; it appears whole.  ``attributes`` hold its layout."""
        import zarr

        _remove_leftovers(path)
        partial = _beside(path, f"partial-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        group = zarr.create_group(str(partial), zarr_format=3)
        coordinates = [*grid.coordinates()]
        coordinates.append(("layer", "layer", np.asarray(layers), {}))
        for name, dim, values, attrs in coordinates:
            text = values.dtype.kind in "UT"
            array = group.create_array(
                name,
                shape=values.shape,
                dtype=str if text else values.dtype,
                chunks=values.shape,
                dimension_names=(dim,),
                attributes=attrs,
            )
            array[...] = values
        layout = json.loads(attributes["layout"])
        layout |= {
            "coordinates": [name for name, *_ in coordinates],
            "variables": [*metrics, *PREDICTED, "status"],
            "layers": len(layers),
        }
        attributes = {**attributes, "methods": "", "layout": json.dumps(layout)}
        _add_arrays(group, grid, [*metrics, "status"], layout)
        _write_root(partial, attributes)
        if os.path.lexists(path):  # another sweep was faster
            shutil.rmtree(partial)
            raise in_use(str(path))
        rename(partial, path)
        return cls(path, grid, attributes)

    @contextlib.contextmanager
    def alone(self) -> Iterator[Store]:
        """Hold the store: a second sweep that asks for it is refused."""
        with one_writer(self.path / "status", str(self.path)):
            # what another wrote before it let go
            self.status = self.read("status")
            yield self

    # --- blocks --------------------------------------------------------------------------

    def blocks(self) -> list[Block]:
        """Return all blocks, in the order of memory."""
        return list(blocks_of(self.grid.shape, self.extents))

    def missing(self, block: Block) -> np.ndarray[Any, Any]:
        """Return the numbers, in a block, of the systems that must be computed."""
        return np.flatnonzero(unfinished(self.status[block.slices]).ravel())

    def values_at(self, block: Block, number: int) -> dict[str, np.ndarray[Any, Any]]:
        """Return the metrics of one system."""
        inside = np.unravel_index(number, block.shape)
        at = tuple(int(k) + start for k, start in zip(inside, block.start, strict=True))
        names = [name for name in self.names if variable_of(name).layered]
        return {name: np.asarray(self.arrays[name][at]) for name in names}

    def set_attributes(self, changed: dict[str, Any]) -> None:
        """Change some of the attributes."""
        self.attributes |= changed
        _write_root(self.path, self.attributes)

    def counts(self) -> dict[int, int]:
        """Return how many systems have each status."""
        codes, counts = np.unique(self.status, return_counts=True)
        return dict(zip(codes.tolist(), counts.tolist(), strict=True))

    def write(self, block: Block, result: Result, computed: np.ndarray[Any, Any] | None = None) -> None:
        """Commit a block; ``computed``: the systems that ``result`` is about, where not all."""
        new = [name for name in PREDICTED if name in result.values and name not in self.arrays]
        if new:
            self.names = [*self.names[:-1], *new, "status"]
            _add_arrays(self.group, self.grid, new, self.layout)
            self.arrays |= {name: self.group[name] for name in new}
        if not result.methods <= self.methods or new:
            self.methods |= result.methods
            self.attributes["methods"] = ", ".join(sorted(self.methods))
            _write_root(self.path, self.attributes)
        values = {name: result.values[name] for name in self.names[:-1] if name in result.values}
        write(dict(self._chunk(name, block, x, computed) for name, x in values.items()))
        before = dict(self.reasons)
        for number in self._flat_numbers(block, computed):
            self.reasons.pop(number, None)
        self.reasons |= flat_reasons(block, result, self.grid)
        if self.reasons != before:
            self._write_reasons()
        # everything else is on the disk: from here on the block is done
        write(dict([self._chunk("status", block, result.status, computed)]))
        status = self.status[block.slices].reshape(-1).copy()
        which = slice(None) if computed is None else computed
        status[which] = result.status[which]
        self.status[block.slices] = status.reshape(block.shape)

    def _flat_numbers(self, block: Block, computed: np.ndarray[Any, Any] | None) -> list[int]:
        if not self.reasons:
            return []
        inside = np.unravel_index(np.arange(block.size) if computed is None else computed, block.shape)
        at = [a + b for a, b in zip(inside, block.start, strict=True)]
        return list(np.ravel_multi_index(at, self.grid.shape).tolist())

    def _chunk(
        self, name: str, block: Block, values: np.ndarray[Any, Any], computed: np.ndarray[Any, Any] | None
    ) -> tuple[Path, bytes]:
        """Return the file of a block's chunk, and what is to be in it."""
        array = self.arrays[name]
        if computed is not None and len(computed) < block.size:
            old = np.asarray(array[block.slices]).reshape(values.shape).copy()
            old[computed] = values[computed]
            values = old
        chunk = np.full(array.chunks, variable_of(name).missing, dtype=array.dtype)
        shaped = values.reshape(*block.shape, *values.shape[1:])
        chunk[tuple(slice(0, extent) for extent in shaped.shape)] = shaped
        return self._file(name, block), chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).tobytes()

    def _file(self, name: str, block: Block) -> Path:
        place = (*block.place, 0) if variable_of(name).layered else block.place
        return self.path / name / str(self.arrays[name].metadata.encode_chunk_key(place))

    def _write_reasons(self) -> None:
        path = self.path / "status" / "zarr.json"
        node = json.loads(path.read_bytes())
        node["attributes"] = status_attributes(self.reasons)
        write({path: _text(node)})
        _write_root(self.path, self.attributes)

    # --- reading and growing -------------------------------------------------------------

    def dataset(self, *, held: bool = False) -> xarray.Dataset:
        """Return everything, labelled; values are read when they are asked for.

        ``held``: now, if they are not too many.  A chunk that is not there is no error of Zarr's but stands
        for missing values, so a store that is moved or removed would leave NaN behind.
        """
        import xarray as xr

        ds = xr.open_zarr(self.path, chunks=None)
        if not held or ds.nbytes > _HELD:
            return ds
        # the files as they are: Zarr takes a millisecond for each of what may be thousands of chunks
        return ds.assign({name: ds[name].copy(data=self.read(name)) for name in self.names}).load()

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Return all values of a data variable; where a block is not there they are missing."""
        array = self.arrays[name]
        out = np.full(array.shape, variable_of(name).missing, dtype=array.dtype)
        stored = np.dtype(array.dtype).newbyteorder("<")
        for block in self.blocks():
            with contextlib.suppress(FileNotFoundError):
                chunk = np.fromfile(self._file(name, block), dtype=stored).reshape(array.chunks)
                out[block.slices] = chunk[tuple(slice(0, extent) for extent in block.shape)]
        return out

    @contextlib.contextmanager
    def extended(self, grid: Grid, attributes: dict[str, Any]) -> Iterator[Store]:
        """Hold a store over a larger grid, in the place of this one, with all that this one holds."""
        target, scratch = _beside(self.path, "extended"), _beside(self.path, "extending")
        for left in (target, scratch):
            shutil.rmtree(left, ignore_errors=True)
        metrics = [name for name in self.names[:-1] if name not in PREDICTED]
        layers = json.loads(attributes["spec"])["layers"]
        larger = Store.create(scratch, grid, metrics, layers, attributes)
        # held from here on: its lock moves with it, so that nobody is faster once it is in place
        with one_writer(scratch / "status", str(self.path)):
            self._copy(larger)
            rename(scratch, target)
            _put_in_place(self.path)
            yield Store(self.path, grid, larger.attributes)

    def _copy(self, larger: Store) -> None:
        """Write all that this store holds to one over a larger grid."""
        grid = larger.grid
        maps = _old_places(self.grid, grid)
        for block in larger.blocks():
            olds = [place[a:b] for place, a, b in zip(maps, block.start, block.stop, strict=True)]
            known = [np.flatnonzero(old >= 0) for old in olds]
            if not all(len(k) for k in known):
                continue
            result, chosen = (
                Result(methods=self.methods),
                tuple(old[k] for old, k in zip(olds, known, strict=True)),
            )
            for name in self.names:
                found = np.asarray(self.arrays[name].oindex[chosen])
                whole = np.full((*block.shape, *found.shape[len(block.shape) :]), variable_of(name).missing)
                whole = whole.astype(found.dtype)
                whole[np.ix_(*known)] = found
                whole = whole.reshape(block.size, *whole.shape[len(block.shape) :])
                if name == "status":
                    result.status = whole
                else:
                    result.values[name] = whole
            larger.write(block, result)
        for number, text in self.reasons.items():
            at = np.unravel_index(number, self.grid.shape)
            new = tuple(int(np.flatnonzero(place == k)[0]) for place, k in zip(maps, at, strict=True))
            larger.reasons[int(np.ravel_multi_index(new, grid.shape))] = text
        if larger.reasons:
            larger._write_reasons()


def _old_places(old: Grid, new: Grid) -> list[np.ndarray[Any, Any]]:
    """Return, for each dim of the new grid, the old index of each of its places, -1 for new ones."""
    places = []
    for dim, size in new.sizes.items():
        if dim == "replicate":
            index = np.arange(size)
            places.append(np.where(index < old.sizes[dim], index, -1))
            continue
        known = {row: k for k, row in enumerate(old.rows(dim))}
        places.append(np.asarray([known.get(row, -1) for row in new.rows(dim)]))
    return places


def _finish_extension(path: Path) -> None:
    """Put an extended store in the place of the one that it extends, if that was interrupted."""
    if not (extended := _beside(path, "extended")).is_dir():
        if path.is_dir():
            shutil.rmtree(_beside(path, "replaced"), ignore_errors=True)
        return
    try:
        with one_writer(extended / "status", str(path)):
            _put_in_place(path)
    except FileFormatError:
        if extended.is_dir() and not path.is_dir():
            raise
        # whoever holds it does it


def _put_in_place(path: Path) -> None:
    extended, replaced = _beside(path, "extended"), _beside(path, "replaced")
    if path.is_dir():
        shutil.rmtree(replaced, ignore_errors=True)
        rename(path, replaced)
    rename(extended, path)
    shutil.rmtree(replaced, ignore_errors=True)


def _beside(path: Path, what: str) -> Path:
    """Return a name beside a store that nobody else takes."""
    return path.with_name(f".{path.name}.linsim-{what}")


def _remove_leftovers(path: Path) -> None:
    """Remove what processes left behind that were killed while they made this store."""
    for left in path.absolute().parent.glob(f"{_beside(path, 'partial').name}-*"):
        number = left.name.rpartition("-")[2]
        if number.isdigit() and not _runs(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _add_arrays(group: Any, grid: Grid, names: Sequence[str], layout: dict[str, Any]) -> None:
    for name in names:
        about = variable_of(name)
        tail = (layout["layers"],) if about.layered else ()
        group.create_array(
            name,
            shape=(*grid.shape, *tail),
            chunks=(*layout["block"], *tail),
            dtype=about.dtype,
            fill_value=about.missing,
            dimension_names=dims_of(name, grid),
            # random numbers do not shrink, and what is not compressed can be written in one piece
            compressors=None,
            # all chunks in one folder: fewer names to bring to the disk
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes=status_attributes({}) if name == "status" else about.attributes(name),
        )


def _write_root(path: Path, attributes: dict[str, Any]) -> None:
    """Write the root with a copy of all metadata: it is opened in this order, and at once."""
    layout = json.loads(attributes["layout"])
    names = list(layout["coordinates"])
    names += [name for name in layout["variables"] if (path / name / "zarr.json").is_file()]
    metadata = {name: json.loads((path / name / "zarr.json").read_bytes()) for name in names}
    # those that are no dims of their own, which only this attribute tells from variables (CF conventions)
    apart = [name for name in layout["coordinates"] if metadata[name]["dimension_names"] != [name]]
    root = {
        "attributes": {**attributes, "coordinates": " ".join(apart)} if apart else attributes,
        "zarr_format": 3,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": metadata},
        "node_type": "group",
    }
    write({path / "zarr.json": _text(root)})


def _text(node: dict[str, Any]) -> bytes:
    return (json.dumps(node, indent=1) + "\n").encode()


def _reasons(attributes: dict[str, Any]) -> dict[int, str]:
    return {int(k): text for k, text in json.loads(attributes.get("reasons", "{}")).items()}
