"""What a page is made of: sections of text, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpucnn.plots.style import Plot


@dataclass(frozen=True)
class Text:
    """A paragraph; a ``note``, on what is missing or unusual, is set off."""

    text: str
    note: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first ``left`` columns hold text and the others numbers.

    The first column names the row. ``marked`` are the numbers of rows to emphasise.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: Sequence[str] = ()
    left: int = 1
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A plot with a caption; ``name`` names its PNG file, ``alt`` is for screen readers."""

    name: str
    plot: Plot
    caption: str
    alt: str


Block = Text | Table | Figure


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; ``parts`` are the sections in it."""

    title: str
    blocks: Sequence[Block] = ()
    parts: Sequence[Section] = ()

    def figures(self) -> list[Figure]:
        """Return the figures of the section and of its parts, in their order."""
        own = [block for block in self.blocks if isinstance(block, Figure)]
        return own + [figure for part in self.parts for figure in part.figures()]
