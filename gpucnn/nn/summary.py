"""The table of a model's layers: shapes, parameters, cost and receptive fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpucnn.nn.layers import Layer
from gpucnn.nn.layers.base import Fields, Shape
from gpucnn.nn.layers.structure import places
from gpucnn.nn.tables import html_table, text_table


@dataclass(frozen=True)
class SummaryRow:
    """One layer. Shapes leave out the batch; a receptive field of None is the whole image.

    ``level`` is the number of layers around it, and ``label`` its name there. A layer with layers
    inside has the parameters and multiply-adds of all of these; their rows follow its own.
    """

    name: str
    type: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    receptive_field: Fields | None
    level: int = 0
    label: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of ``Summary.headings``."""
        return (
            "  " * self.level + self.label,
            self.type,
            "x".join(map(str, self.output_shape)),
            f"{self.parameters:,}",
            f"{self.multiply_adds:,}",
            _field_text(self.receptive_field),
        )


@dataclass(frozen=True, repr=False)
class Summary:
    """The rows of all layers and their sums; printed, or in a notebook, a table."""

    input_shape: Shape
    rows: tuple[SummaryRow, ...]

    headings = ("layer", "type", "output", "parameters", "multiply-adds", "receptive field")

    @property
    def outermost(self) -> list[SummaryRow]:
        """The rows of layers that are in no other."""
        return [row for row in self.rows if not row.level]

    @property
    def parameters(self) -> int:
        """Number of parameters of all layers."""
        return sum(row.parameters for row in self.outermost)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one sample's forward pass."""
        return sum(row.multiply_adds for row in self.outermost)

    @property
    def totals(self) -> tuple[str, ...]:
        """The last row of the table."""
        return ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", "")

    def __repr__(self) -> str:
        cells = [row.cells for row in self.rows]
        return text_table(self.headings, [*cells, self.totals], left=2)

    def _repr_html_(self) -> str:
        return html_table(self.headings, [row.cells for row in self.rows], self.totals)


def summarize(layers: Mapping[str, Layer], input_shape: Shape) -> Summary:
    """Return the summary of ``layers`` for images of ``input_shape`` (C, H, W)."""
    rows = [
        SummaryRow(
            place.name,
            type(place.layer).__name__,
            place.output_shape,
            sum(parameter.size for parameter in place.layer.parameters.values()),
            place.layer.multiply_adds(place.input_shape),
            place.fields,
            place.level,
            place.label,
        )
        for place in places(layers, input_shape)
    ]
    return Summary(input_shape, tuple(rows))


def _field_text(fields: Fields | None) -> str:
    """Return height and width of a receptive field, and the distance between neighbours'."""
    if fields is None:
        return "whole image"
    vertical, horizontal = fields
    stride = f"{vertical.stride:g}"
    if horizontal.stride != vertical.stride:
        stride += f"x{horizontal.stride:g}"
    return f"{vertical.size}x{horizontal.size}, stride {stride}"
