"""The console: its width, its lines, and tables that fit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from gpucnn.cli.output import printable

MIN_COLUMNS = 20
"""A narrower terminal breaks the lines itself."""

UNLIMITED = 100_000
"""Columns of a file or a pipe."""

Cell = str | Text


class PlainConsole(Console):
    """The console of standard output.

    Lines are wrapped between words on a terminal, and written as they are elsewhere.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """The size of the terminal; rich would take 0 columns where COLUMNS says so."""
        if not self.is_terminal:
            return ConsoleDimensions(UNLIMITED, 25)
        columns, lines = shutil.get_terminal_size()
        return ConsoleDimensions(max(columns, MIN_COLUMNS), lines)

    @size.setter
    def size(self, dimensions: tuple[int, int]) -> None:
        raise AttributeError("the size is that of the terminal")

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError; rich would end the process."""
        raise BrokenPipeError

    def print_command(self, text: str, command: str) -> None:
        """Print a line that ends with a command, on a line of its own if both do not fit.

        The command is not wrapped: what is copied from the terminal must be one line.
        """
        line = Text(f"{text} {command}")
        if line.cell_len <= self.width:
            self.print(line)
        else:
            self.print(text)
            self.print(f"  {command}", soft_wrap=True)

    def print_report(self, figures: int, size: int, out: Path, png: str | None) -> None:
        """Print where a report of ``size`` bytes is; ``png`` is the folder of its figures."""
        many = "1 figure" if figures == 1 else f"{figures} figures"
        where = f"{out}" if png is None else f"{out}, and as images in {png}"
        self.print(printable(f"report with {many}, {size / 1000:,.0f} kB: {where}"))

    def print_indented(self, text: Cell, indent: int) -> None:
        """Print a line; on a terminal all its rows are indented."""
        text = Text(text) if isinstance(text, str) else text
        width = max(self.width - indent, 1)
        lines = text.wrap(self, width) if self.is_terminal else [text]
        for line in lines:
            self.print(Text(" " * indent) + line)


def make_console() -> PlainConsole:
    """Return the console of standard output."""
    return PlainConsole(highlight=False, markup=False)


def is_fancy(console: Console) -> bool:
    """Return whether the console is a terminal with cursor movement, colours and Unicode."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and "NO_COLOR" not in os.environ
        and console.encoding.lower().startswith("utf")
    )


def print_table(
    console: PlainConsole,
    rows: Sequence[Sequence[Cell]],
    headings: Sequence[str] = (),
    totals: Sequence[str] = (),
    left: int = 1,
) -> None:
    """Print a table whose first ``left`` columns are justified to the left.

    Where it does not fit, each row becomes lines of headings and values: nothing is cut off.
    """
    columns = list(zip(*(row for row in (headings, *rows, totals) if row), strict=True))
    widths = [max(map(_width, column)) for column in columns]
    least = [max(map(_longest_word, column)) for column in columns]
    room = console.width - 3 * len(columns) - 1
    if sum(least) > room:
        _print_list(console, [*rows, *([totals] if totals else [])], headings)
        return
    while sum(widths) > room:  # wrap the column with the most room to spare
        widest = max(range(len(columns)), key=lambda column: widths[column] - least[column])
        widths[widest] -= 1
    table = Table(
        box=box.ROUNDED if is_fancy(console) else box.ASCII,
        show_header=bool(headings),
        show_footer=bool(totals),
    )
    for column, width in enumerate(widths):
        table.add_column(
            headings[column] if headings else "",
            totals[column] if totals else "",
            justify="left" if column < left else "right",
            width=width,
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _width(cell: Cell) -> int:
    return cell_len(str(cell))


def _longest_word(cell: Cell) -> int:
    return max(map(cell_len, str(cell).split()), default=0)


def _print_list(
    console: PlainConsole, rows: Sequence[Sequence[Cell]], headings: Sequence[str]
) -> None:
    for first, *rest in rows:
        if not headings:
            console.print_indented(Text.assemble(first, ": ", *rest), 0)
            continue
        console.print_indented(Text.assemble(f"{headings[0]} ", first), 0)
        for heading, cell in zip(headings[1:], rest, strict=True):
            if _width(cell):
                console.print_indented(Text.assemble(f"{heading}: ".lstrip(": "), cell), 2)
