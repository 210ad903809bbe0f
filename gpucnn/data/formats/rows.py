"""One table of images: its separator, header and columns, and its rows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from gpucnn.data.arrays.parts import EAGER, Lazy, Spooled
from gpucnn.data.arrays.pixels import AnyArray, square_side
from gpucnn.data.arrays.source import literal
from gpucnn.data.arrays.targets import AUTO, Labelling, finite_number
from gpucnn.data.files import open_file, unreadable
from gpucnn.data.types import Array
from gpucnn.errors import DataError

# Lines are converted in blocks of at most so many characters, unless a single one has more.
_BLOCK = 1 << 22
# A line of more characters is not a row of pixels, nor is a longer label the name of a class.
_MAX_LINE, _MAX_LABEL = 1 << 24, 256
# A first line of no more numbers is a row, even if they are all different.
_MOST_DIFFERENT = 16
_LABELS = ("label", "labels", "class", "target", "y", "digit")
_MOST_NAMED = 8  # columns that an error names
_NUMBERS = ("", "id", "index", "imageid", "image_id", "unnamed: 0")


class Table(NamedTuple):
    """A table of images: labels; pixels (N, D), uint8 or float32.

    Labels are text (N,) or numbers to predict, float64 (N, K); ``targets`` are the K headings of
    their columns, () if there is no header.
    """

    labels: Array
    pixels: AnyArray
    loading: str  # Python statements that read it, with PREFIX_ before the names of the arrays
    targets: tuple[str, ...] = ()


class _Layout(NamedTuple):
    """Where things are in a table. ``labels`` and ``pixels`` are columns.

    There is one column of labels, or none, or with ``headings`` one for each number to predict.
    """

    separator: str
    header: bool
    columns: int
    labels: list[int]
    pixels: list[int]
    headings: tuple[str, ...] = ()


def has_images(path: Path, chosen: Labelling = AUTO) -> bool:
    """Return whether the first line of a table has a column for each pixel of an image."""
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8-sig") as file:
            return bool(_layout(path, file.readline(_MAX_LINE), chosen.targets))
    except (OSError, UnicodeDecodeError, DataError):
        return False


def read_rows(path: Path, chosen: Labelling = AUTO, lazy: Lazy = EAGER) -> Table | None:
    """Read a table, if ``lazy`` with its pixels kept in a file; None if it has no labels."""
    with _opened(path) as file:
        return _parse(path, file, chosen, lazy)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open a table; every fault within the block becomes a DataError."""
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        if error.filename not in (None, os.fspath(path)):
            raise  # of the file that keeps the pixels
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8") from None
    except MemoryError:
        raise DataError(f"{path} does not fit in memory") from None


def _parse(path: Path, file: TextIO, chosen: Labelling, lazy: Lazy) -> Table | None:
    rows = _rows(path, file)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty: expected a row for each image")
    layout = _layout(path, first[1], chosen.targets)
    if not layout.labels:
        return None
    if not layout.header:
        rows = chain([first], rows)
    numbered, pixels = _read_blocks(path, file, _blocks(rows), layout, chosen, lazy)
    if not len(numbered):
        raise DataError(f"{path} has a header and no rows: expected a row for each image")
    return Table(numbered, pixels, _loading(path, layout), layout.headings)


def _read_blocks(
    path: Path,
    file: TextIO,
    blocks: Iterable[list[tuple[int, str]]],
    layout: _Layout,
    chosen: Labelling,
    lazy: Lazy,
) -> tuple[Array, AnyArray]:
    """Return the labels and the pixels of the lines in some blocks."""
    spooled = Spooled(len(layout.pixels), lazy.folder) if lazy.wanted else None
    read = _targets if chosen.regression else _label
    labels: list[Array] = []
    pixels: list[Array] = []
    size, done = os.fstat(file.fileno()).st_size, 0
    for block in blocks:
        labels.append(np.array([read(path, *line, layout) for line in block]))
        numbers = _numbers(path, block, layout)
        (pixels.append if spooled is None else spooled.add)(numbers)
        done += len(block)
        if lazy.on_progress is not None:
            position = file.buffer.tell()  # from which the number of all rows follows
            lazy.on_progress("examined", done, max(done, round(done * size / position)))
    if not labels:
        return np.empty(0), np.empty(0)
    return np.concatenate(labels), np.concatenate(pixels) if spooled is None else spooled


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, str]]:
    """Yield each line that is not blank, with its number."""
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE:
            raise DataError(f"{path}, line {number} has more than {_MAX_LINE} characters")
        if line.strip():
            yield number, line


def _blocks(rows: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Yield the lines in lists of about _BLOCK characters."""
    block, size = [], 0
    for number, line in rows:
        block.append((number, line))
        size += len(line)
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _cells(path: Path, number: int, line: str, layout: _Layout) -> list[str]:
    """Return the cells of a line up to the last of its labels; its columns are counted."""
    if (found := line.count(layout.separator) + 1) != layout.columns:
        raise DataError(
            f"{path}, line {number} has {found} columns, expected {layout.columns} as in the first"
            " line"
        )
    # No more of the line is split than necessary.
    return line.split(layout.separator, max(layout.labels) + 1)


def _targets(path: Path, number: int, line: str, layout: _Layout) -> list[float]:
    """Return the numbers to predict of a line."""
    cells = _cells(path, number, line, layout)
    names = layout.headings or [str(column + 1) for column in layout.labels]
    return [
        finite_number(_unquoted(cells[column]), f"{path}, line {number}, column {name}")
        for column, name in zip(layout.labels, names, strict=True)
    ]


def _label(path: Path, number: int, line: str, layout: _Layout) -> str:
    """Return the label of a line."""
    label = _unquoted(_cells(path, number, line, layout)[layout.labels[0]])
    if len(label) > _MAX_LABEL:  # an array of text takes this for every row
        raise DataError(
            f"{path}, line {number} has a label of {len(label)} characters, expected at most"
            f" {_MAX_LABEL}"
        )
    return label


def _is_header(cells: list[str]) -> bool:
    """Return whether the first line holds names, or numbers that are all different as names are.

    pandas names columns 0, 1, 2, ..., or by the first row: 0, 0.1, 0.2, 255, 0.3, ...
    """
    words = sum(not _is_number(cell) for cell in cells)
    if words > 1 or len(cells) == 1:
        return words > 1
    seen: dict[str, int] = {}
    for cell in cells:
        base = cell.partition(".")[0]
        times = seen.get(base, 0)
        if cell != (f"{base}.{times}" if times else base):
            return False
        seen[base] = times + 1
    return len(cells) > _MOST_DIFFERENT


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _layout(path: Path, line: str, targets: tuple[str, ...] | None = None) -> _Layout:
    """Find the label and the pixels by the first line; DataError if a row is not an image.

    ``targets`` are the headings of columns to take as labels, if the user gave some.
    """
    separator = max(",;\t", key=line.count)
    cells = [_unquoted(cell) for cell in line.split(separator)]
    header = _is_header(cells)
    if targets is not None:
        return _target_layout(path, cells, header, separator, targets)
    columns, label = list(range(len(cells))), None
    if header:
        names = [cell.lower() for cell in cells]
        columns = [column for column in columns if names[column] not in _NUMBERS]
        known = [column for column in columns if names[column] in _LABELS]
        unnumbered = [column for column in columns if not re.search(r"\d", names[column])]
        label = next(iter(known or (unnumbered if len(unnumbered) == 1 else [])), None)
    if label is None and not _is_image(len(columns)) and _is_image(len(columns) - 1):
        label = columns[0]
    pixels = [column for column in columns if column != label]
    if not _is_image(len(pixels)):
        raise DataError(
            f"{path} has {len(cells)} columns, {len(pixels)} of them without the label: expected a"
            " column of labels and one for each pixel of square images, such as 1 + 28*28"
        )
    labels = [] if label is None else [label]
    headings = tuple(cells[column] for column in labels) if header else ()
    return _Layout(separator, header, len(cells), labels, pixels, headings)


def _target_layout(
    path: Path, cells: list[str], header: bool, separator: str, targets: tuple[str, ...]
) -> _Layout:
    """Return the layout of a table of which the user names the columns of numbers to predict."""
    if not header:
        raise DataError(f"{path} has no header, so no column is named {targets[0]!r}")
    for name in targets:
        if cells.count(name) != 1:
            known = [cell for cell in cells if not re.search(r"\d", cell)][:_MOST_NAMED]
            if name in cells:
                raise DataError(
                    f"{path} has {cells.count(name)} columns named {name!r}: give each column a "
                    "name of its own in the first line"
                )
            hint = f": the names without a number are {', '.join(known)}" if known else ""
            raise DataError(f"{path} has no column named {name!r}{hint}")
    labels = [cells.index(name) for name in targets]
    rest = [k for k, cell in enumerate(cells) if k not in labels and cell.lower() not in _NUMBERS]
    pixels = rest
    if not _is_image(len(rest)):  # other labels are left out
        pixels = [k for k in rest if re.search(r"\d", cells[k]) and cells[k].lower() not in _LABELS]
    if not _is_image(len(pixels)):
        raise DataError(
            f"{path} has {len(cells)} columns, {len(rest)} of them without {', '.join(targets)}:"
            " expected one for each pixel of square images, such as 28*28"
        )
    return _Layout(separator, header, len(cells), labels, pixels, targets)


def _is_image(count: int) -> bool:
    return bool(square_side(count) or square_side(count, channels=3))


def _unquoted(cell: str) -> str:
    return cell.strip().strip('"').strip()


def _numbers(path: Path, block: list[tuple[int, str]], layout: _Layout) -> Array:
    """Return the pixels of some lines, uint8 where all fit and float32 otherwise."""
    lines = [line for _, line in block]
    options: dict[str, Any] = {"comments": None, "quotechar": '"', "ndmin": 2}
    options |= {"delimiter": layout.separator, "usecols": layout.pixels}
    for dtype in (np.uint8, np.float32):
        try:
            return np.loadtxt(lines, dtype, **options)
        except ValueError as error:
            found = str(error)
    match = re.search(r"string (.*) to float32 at row (\d+), column (\d+)", found)
    if not match:
        raise DataError(f"{path}: {found.partition(chr(10))[0]}")
    line = block[int(match[2])][0]
    raise DataError(f"{path}, line {line}, column {match[3]}: {match[1]} is not a number")


def _loading(path: Path, layout: _Layout) -> str:
    """Return the Python statements that read the table with NumPy; see ``Source``."""
    options = f"str, delimiter={literal(layout.separator)}, skiprows={int(layout.header)}"
    first, last, labels = layout.pixels[0], layout.pixels[-1], layout.labels
    pixels = f"n.delete(a, {labels[0]}, 1)[:, {first}:{last}]"
    if not first < labels[0] < last:
        pixels = f"a[:, {first}:{last + 1}]"
    chosen = f"a[:, {labels[0]}]"
    if len(labels) > 1 or len(layout.pixels) not in (last - first, last - first + 1):
        pixels, chosen = f"a[:, {layout.pixels}]", f"a[:, {labels}].astype(float)"
    return (
        f"a = n.loadtxt({literal(str(path))}, {options}, comments=None, quotechar=chr(34)); "
        f"d.update(PREFIX_pixels={pixels}.astype(float), PREFIX_labels={chosen}); "
    )
