"""What each layer of a model is: shapes, sizes, cost and what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpucnn.arithmetic import ReceptiveField
from gpucnn.nn.layers import Layer
from gpucnn.nn.layers.base import Fields, Shape


@dataclass(frozen=True)
class SummaryRow:
    """One layer; shapes leave out the batch, and a receptive field of None is the whole picture."""

    name: str
    type: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    receptive_field: Fields | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of ``Summary.headings``."""
        return (
            self.name,
            self.type,
            "x".join(map(str, self.output_shape)),
            f"{self.parameters:,}",
            f"{self.multiply_adds:,}",
            _field(self.receptive_field),
        )


@dataclass(frozen=True)
class Summary:
    """The rows of all layers and their sums; ``str`` makes a plain table."""

    input_shape: Shape
    rows: tuple[SummaryRow, ...]

    headings = ("layer", "type", "output", "parameters", "multiply-adds", "receptive field")

    @property
    def parameters(self) -> int:
        """Number of parameters of all layers."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one sample's forward pass."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def totals(self) -> tuple[str, ...]:
        """The last row of the table."""
        return ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", "")

    def __str__(self) -> str:
        table = [self.headings, *(row.cells for row in self.rows), self.totals]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        numeric = (False, False, True, True, True, True)
        lines = [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numeric, strict=True)
            ).rstrip()
            for row in table
        ]
        return "\n".join(lines)


def summarize(layers: Mapping[str, Layer], input_shape: Shape) -> Summary:
    """Return the summary of ``layers`` for pictures of ``input_shape`` (C, H, W)."""
    shape = input_shape
    fields: Fields | None = (ReceptiveField(), ReceptiveField())
    rows = []
    for name, layer in layers.items():
        parameters = sum(parameter.size for parameter in layer.parameters.values())
        multiply_adds = layer.multiply_adds(shape)
        shape = layer.output_shape(shape)
        fields = layer.receptive_fields(fields)
        row = SummaryRow(name, type(layer).__name__, shape, parameters, multiply_adds, fields)
        rows.append(row)
    return Summary(input_shape, tuple(rows))


def _field(fields: Fields | None) -> str:
    """Both sizes, and how far apart neighbouring fields are."""
    if fields is None:
        return "all"
    vertical, horizontal = fields
    size = f"{vertical.size}x{horizontal.size}"
    steps = sorted({vertical.stride, horizontal.stride})
    return size + " every " + "x".join(f"{step:g}" for step in steps)
