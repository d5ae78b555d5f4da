"""Read .onnx: an exported graph, whose matrices have lost their names.

An exporter keeps the names of biases and gains, but folds ``x W^T`` into a product with a new,
unnamed constant.  Each is found again through the named bias that its product is added to, or, where
there is none, through the path of the module that the exporter wrote into the node's name.  Named
like that, and transposed back to (out, in), the tensors are those of the model that was exported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ._tensors import Array, Tensors, corrupt, extra

__all__ = ["Onnx"]


class Onnx(Tensors):
    """The constants of one ONNX graph."""

    kind = "ONNX"

    def __init__(self, file: Path) -> None:
        """Load the graph and name its matrices."""
        try:
            import onnx
        except ImportError:
            raise extra("onnx", "ONNX") from None
        self._path = file
        try:
            self._graph = onnx.load(str(file)).graph
            self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
            self._constants |= _constant_nodes(self._graph)
            self._alias = _names(self._graph, set(self._constants))
        except Exception as error:  # protobuf, onnx and missing side files each have their own kinds
            raise corrupt(file, "ONNX", error) from None
        self._to_array = onnx.numpy_helper.to_array
        # what is no text any more comes as bytes
        if not self._constants or not all(isinstance(name, str) for name in self._constants):
            raise corrupt(file, "ONNX", "no constants in it, or without names")
        self.metadata = {"from_onnx": True}
        taken = {constant for constant, _ in self._alias.values()}
        self.oriented = frozenset(self._alias)
        plain = {name: (name, False) for name in self._constants if name not in taken}
        self._alias = plain | self._alias
        self.shapes = {name: self._shape(*self._alias[name]) for name in self._alias}

    def _shape(self, constant: str, transposed: bool) -> tuple[int, ...]:
        shape = tuple(int(extent) for extent in self._constants[constant].dims)
        return shape[::-1] if transposed else shape

    def fetch(self, name: str) -> Array:
        """Return one constant, products' right factors as (out, in)."""
        constant, transposed = self._alias[name]
        try:
            value = np.asarray(self._to_array(self._constants[constant]))
        except Exception as error:
            raise corrupt(self._path, "ONNX", error) from None
        # a copy of its own order: writers of arrays have been seen to store a transposed view's
        # memory as if it were not transposed
        return np.ascontiguousarray(value.T) if transposed else value


def _constant_nodes(graph: Any) -> dict[str, Any]:
    """Return matrices and vectors that stand in nodes rather than among the initialisers."""
    found = {}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and len(attribute.t.dims) >= 1:
                    found[node.output[0]] = attribute.t
    return found


def _names(graph: Any, constants: set[str]) -> dict[str, tuple[str, bool]]:
    """Return for each name that was lost the constant that had it, and whether that is transposed."""
    added_to = {}  # output of a product -> the named bias that is added to it
    for node in graph.node:
        if node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                if bias in constants and bias.endswith(".bias"):
                    added_to[product] = bias
    found = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            transposed = True
        elif node.op_type == "Gemm" and node.input[1] in constants:
            transposed = not any(a.name == "transB" and a.i for a in node.attribute)
        else:
            continue
        matrix = node.input[1]
        bias = added_to.get(node.output[0]) or (node.input[2] if len(node.input) > 2 else "")
        if bias.endswith(".bias"):
            found[bias.removesuffix("bias") + "weight"] = (matrix, transposed)
        elif matrix.endswith(".weight"):
            found[matrix] = (matrix, transposed)
        elif node.name.count("/") >= 2:  # /encoder/layer.0/attention/value/MatMul
            path = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            found[f"{path}.weight"] = (matrix, transposed)
    return found
