"""Results of a sweep without a store: arrays in memory, labelled like a stored sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._blocks import Block
from ._grid import Grid
from ._variables import FAILED, PENDING, PREDICTED, RESERVED, STATUS, Variable, measured, status_attributes
from ._work import Result

if TYPE_CHECKING:
    import xarray

__all__ = ["InMemory", "dims_of", "variable_of"]


def variable_of(name: str) -> Variable:
    """Return what is known of a data variable."""
    assert name in RESERVED
    if name == "status":
        return STATUS
    return PREDICTED[name] if name in PREDICTED else measured(name)


def dims_of(name: str, grid: Grid) -> tuple[str, ...]:
    """Return the dims of a data variable: those of the grid, replicates, and layers where it has them."""
    return (*grid.sizes, "layer") if variable_of(name).layered else tuple(grid.sizes)


class InMemory:
    """Holds what was found, block by block."""

    def __init__(self, grid: Grid, layers: tuple[int, ...], attributes: dict[str, Any]) -> None:
        self.grid, self.layers, self.attributes = grid, layers, attributes
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.reasons: dict[int, str] = {}
        self.methods: set[str] = set()

    def write(self, block: Block, result: Result, computed: np.ndarray[Any, Any] | None = None) -> None:
        """Keep the result of a block; ``computed``: the systems that it is about, where not all."""
        for name, values in {**result.values, "status": result.status}.items():
            if name not in self.arrays:
                shape = (*self.grid.shape, *values.shape[1:])
                self.arrays[name] = np.full(shape, variable_of(name).missing, dtype=values.dtype)
            if computed is None:
                self.arrays[name][block.slices] = values.reshape(*block.shape, *values.shape[1:])
                continue
            inside = np.unravel_index(computed, block.shape)
            at = tuple(k + start for k, start in zip(inside, block.start, strict=True))
            self.arrays[name][at] = values[computed]
        self.reasons |= flat_reasons(block, result, self.grid)
        self.methods |= result.methods

    def counts(self) -> dict[int, int]:
        """Return how many systems have each status."""
        codes, counts = np.unique(self.arrays["status"], return_counts=True)
        return dict(zip(codes.tolist(), counts.tolist(), strict=True))

    def dataset(self) -> xarray.Dataset:
        """Return everything, labelled."""
        import xarray as xr

        variables: dict[str, Any] = {}
        order = [*(name for name in self.arrays if name not in PREDICTED and name != "status")]
        order += [name for name in PREDICTED if name in self.arrays]
        for name in [*order, "status"]:
            about = variable_of(name)
            attrs = status_attributes(self.reasons) if name == "status" else about.attributes(name)
            variables[name] = (dims_of(name, self.grid), self.arrays[name], attrs)
        coordinates = {name: (dim, x, attrs) for name, dim, x, attrs in self.grid.coordinates()}
        layers: Any = ("layer", np.asarray(self.layers), {})
        attributes = {**self.attributes, "methods": ", ".join(sorted(self.methods))}
        return xr.Dataset(variables, coords={**coordinates, "layer": layers}, attrs=attributes)


def flat_reasons(block: Block, result: Result, grid: Grid) -> dict[int, str]:
    """Return the reasons of a block's failures by the flat number of the system in the grid."""
    out = {}
    for number, text in result.reasons.items():
        inside = np.unravel_index(number, block.shape)
        at = tuple(int(a) + b for a, b in zip(inside, block.start, strict=True))
        out[int(np.ravel_multi_index(at, grid.shape))] = text
    return out


def unfinished(status: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which systems must be computed: those that were not, and those that failed."""
    return (status == PENDING) | (status == FAILED)
