"""Data sets as tables of text (CSV): a row for each image, its label and its pixels.

So are Kaggle's digit recognizer and sign language sets, and MNIST, Fashion-MNIST and EMNIST in
CSV: with or without a header, separated by commas, semicolons or tabs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import chain, islice
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from gpucnn.data.arrays.build import Roles, build
from gpucnn.data.arrays.source import Source, literal
from gpucnn.data.dataset import Data
from gpucnn.data.files import list_folder, open_file, unreadable
from gpucnn.errors import DataError

SUFFIXES = (".csv", ".tsv")

Array = npt.NDArray[Any]

_BLOCK_LINES = 2048
# A line of more characters is not a row of pixels.
_MAX_LINE = 1 << 24
_LEAST_PIXELS = 16
_LABELS = ("label", "labels", "class", "target", "y", "digit")
_NUMBERS = ("", "id", "index", "imageid", "image_id", "unnamed: 0")
_VALIDATION = ("validation", "valid", "val")


class _Table(NamedTuple):
    """A table of images: labels (N,) of text; pixels (N, D), uint8 or float32."""

    labels: Array
    pixels: Array
    loading: str  # Python statements that read it, with PREFIX_ before the names of the arrays


class _Layout(NamedTuple):
    """Where things are in a table. ``label`` is a column, ``pixels`` are columns."""

    separator: str
    header: bool
    columns: int
    label: int | None
    pixels: list[int]


def find_table(folder: Path) -> Path | None:
    """Return the table of the training images in a folder, None if it holds no table of images.

    Each may lie in a folder of its own name, as in Kaggle's archives.
    """
    found = {path.stem: path for path in _tables(folder) if _has_images(path)}
    training = [path for name, path in found.items() if "train" in name.lower()]
    if len(training) == 1 or len(found) == 1:
        return (training or list(found.values()))[0]
    if found:
        names = ", ".join(path.name for path in training or found.values())
        raise DataError(f"{folder} holds several tables: {names}. Give the one of training images")
    return None


def _tables(folder: Path) -> Iterator[Path]:
    for path in list_folder(folder):
        if path.suffix.lower() in SUFFIXES and os.path.isfile(path):
            yield path
        elif os.path.isdir(path) and not path.name.startswith("."):
            names = [path.name, *(f"{path.name}{suffix}" for suffix in SUFFIXES)]
            inside = (path / name for name in names)
            yield from (
                one for one in inside if one.suffix.lower() in SUFFIXES and os.path.isfile(one)
            )


def _has_images(path: Path) -> bool:
    """Return whether the first line of a table has a column for each pixel of an image."""
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8-sig") as file:
            return bool(_layout(path, file.readline(_MAX_LINE)))
    except (OSError, UnicodeDecodeError, DataError):
        return False


def read_table(path: Path | str) -> Data:
    """Read the table of training images, and those of the test and validation images next to it.

    Returns:
        Data named after the file without "train", or after its folder.

    Raises:
        DataError: an unreadable or damaged table, one without labels, or rows that are not images.
    """
    path = Path(path)
    twin = next(_siblings(path, "test", ("train",)), None)
    if twin:
        raise DataError(f"{path} belongs to the training images in {twin}: give that")
    train = _read(path)
    if train is None:
        raise DataError(
            f"{path} has columns of pixels but none of labels, so it can neither train nor test a"
            " network: give the table with a column named label, such as train.csv"
        )
    tables, remarks = {"": train}, []
    for part, words in (("test", ("test",)), ("val", _VALIDATION)):
        other = next(_siblings(path, "train", words), None)
        table = _read(other) if other else None
        if table:
            tables[part] = table
        elif other:
            remarks.append(f"{other.name} has no labels and is not used")
    if len(tables) > 1:
        tables = {"train": tables.pop(""), **tables}
    arrays: dict[str, Array] = {}
    roles: Roles = {}
    loading = "d = {}; "
    for part, table in tables.items():
        prefix = f"{part}_" if part else ""
        images, labels = f"{prefix}pixels", f"{prefix}labels"
        arrays |= {images: table.pixels, labels: table.labels}
        roles |= {(part, "images"): images, (part, "labels"): labels}
        loading += table.loading.replace("PREFIX_", prefix)
    return build(Source(path, loading, typed=False, remarks=remarks), _name(path), arrays, roles)


def _name(path: Path) -> str:
    """Return the name of a data set: the file's without "train", or the folder's."""
    name = re.sub(r"[-_. ]?train(ing)?$|^train(ing)?[-_. ]?", "", path.stem, flags=re.IGNORECASE)
    return name or path.resolve().parent.name or path.stem


def _siblings(path: Path, word: str, others: Sequence[str]) -> Iterator[Path]:
    """Yield the files that are named as ``path`` with one of ``others`` in place of ``word``."""
    for other in others:
        for change in (str.lower, str.capitalize, str.upper):
            found = _sibling(path, change(word), change(other))
            if found and os.path.isfile(found):
                yield found


def _sibling(path: Path, word: str, other: str) -> Path | None:
    """Return the path with ``other`` for ``word`` in the file's name, and its folder's if there."""
    if word not in path.name:
        return None
    name = path.name.replace(word, other)
    own_folder = path.parent.name in (path.stem, path.name)
    parent = path.parent.with_name(path.parent.name.replace(word, other)) if own_folder else None
    nested = parent / name if parent else None
    return nested if nested and os.path.isfile(nested) else path.with_name(name)


# --- reading one table --------------------------------------------------------------------------


def _read(path: Path) -> _Table | None:
    """Read a table; None if it has no labels."""
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8-sig") as file:
            return _parse(path, file)
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8") from None
    except MemoryError:
        raise DataError(f"{path} does not fit in memory") from None


def _parse(path: Path, file: TextIO) -> _Table | None:
    rows = _rows(path, file)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty: expected a row for each image")
    layout = _layout(path, first[1])
    if layout.label is None:
        return None
    labels: list[str] = []
    blocks: list[Array] = []
    if not layout.header:
        rows = chain([first], rows)
    while block := list(islice(rows, _BLOCK_LINES)):
        for number, line in block:
            if (found := line.count(layout.separator) + 1) != layout.columns:
                raise DataError(
                    f"{path}, line {number} has {found} columns, expected {layout.columns} as in"
                    " the first line"
                )
            labels.append(_cell(line, layout.separator, layout.label))
        blocks.append(_numbers(path, block, layout))
    if not blocks:
        raise DataError(f"{path} has a header and no rows: expected a row for each image")
    return _Table(np.array(labels), np.concatenate(blocks), _loading(path, layout))


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, str]]:
    """Yield each line that is not blank, with its number."""
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE:
            raise DataError(f"{path}, line {number} has more than {_MAX_LINE} characters")
        if line.strip():
            yield number, line


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
    return len(cells) > _LEAST_PIXELS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _layout(path: Path, line: str) -> _Layout:
    """Find the label and the pixels by the first line; DataError if a row is not an image."""
    separator = max(",;\t", key=line.count)
    cells = [_unquoted(cell) for cell in line.split(separator)]
    header = _is_header(cells)
    columns, label = list(range(len(cells))), None
    if header:
        names = [cell.lower() for cell in cells]
        columns = [column for column in columns if names[column] not in _NUMBERS]
        known = [column for column in columns if names[column] in _LABELS]
        wordy = [column for column in columns if not re.search(r"\d", names[column])]
        label = next(iter(known or (wordy if len(wordy) == 1 else [])), None)
    if label is None and not _is_image(len(columns)) and _is_image(len(columns) - 1):
        label = columns[0]
    pixels = [column for column in columns if column != label]
    if not _is_image(len(pixels)):
        raise DataError(
            f"{path} has {len(cells)} columns, {len(pixels)} of them without the label: expected a"
            " column of labels and one for each pixel of square images, such as 1 + 28*28"
        )
    return _Layout(separator, header, len(cells), label, pixels)


def _is_image(count: int) -> bool:
    square, colour = isqrt(count) ** 2 == count, 3 * isqrt(count // 3) ** 2 == count
    return count >= _LEAST_PIXELS and (square or colour)


def _unquoted(cell: str) -> str:
    return cell.strip().strip('"').strip()


def _cell(line: str, separator: str, column: int) -> str:
    """Return one cell of a line, splitting no more of it than necessary."""
    return _unquoted(line.split(separator, column + 1)[column])


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
    first, last, label = layout.pixels[0], layout.pixels[-1], layout.label
    pixels = f"n.delete(a, {label}, 1)[:, {first}:{last}]"
    if label is None or not first < label < last:
        pixels = f"a[:, {first}:{last + 1}]"
    return (
        f"a = n.loadtxt({literal(str(path))}, {options}, comments=None, quotechar=chr(34)); "
        f"d.update(PREFIX_pixels={pixels}.astype(float), PREFIX_labels=a[:, {label}]); "
    )
