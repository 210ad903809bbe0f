"""A graph of ONNX operators under construction: its nodes, constants and names."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from gpucnn.config import import_extra


def onnx() -> ModuleType:
    """Return the module ``onnx``; SettingError if it is not installed."""
    import_extra("onnx.shape_inference", "onnx", "writing ONNX files", "export")
    return import_extra("onnx", "onnx", "writing ONNX files", "export")


class Graph:
    """Nodes and constants. Values are the outputs of nodes, known by their names.

    ``reserved`` are names that no value inside the graph gets.
    """

    def __init__(self, *reserved: str) -> None:
        self.onnx = onnx()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names = set(reserved)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant, such as a weight, and return its name."""
        name = self._unique(name)
        self.constants.append(self.onnx.numpy_helper.from_array(values, name))
        return name

    def add(self, operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node and return the name of its only output, ``name`` if that is free."""
        output = self._unique(name)
        node = self.onnx.helper.make_node(operator, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def rename(self, value: str, name: str) -> None:
        """Give a value that no node takes a reserved name; an Identity does, for an input."""
        producer = next((node for node in self.nodes if node.output[0] == value), None)
        if producer is None:
            producer = self.onnx.helper.make_node("Identity", [value], [value], name=name)
            self.nodes.append(producer)
        producer.output[0] = name

    def _unique(self, name: str) -> str:
        candidate, number = name or "layer", 1
        while candidate in self._names:
            number += 1
            candidate = f"{name}.{number}"
        self._names.add(candidate)
        return candidate
