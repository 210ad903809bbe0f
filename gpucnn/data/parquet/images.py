"""The images in a column of Parquet files, decoded when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.data.folders.decoding import decode_file, different_sizes
from gpucnn.data.folders.parallel import map_files
from gpucnn.data.images.inputs import find_bits, is_grey
from gpucnn.data.images.opening import open_image, upright_size
from gpucnn.data.lazy import LazyImages
from gpucnn.data.parquet.table import open_table
from gpucnn.data.types import Bytes, OnProgress
from gpucnn.errors import DataError

_ROWS = 512  # image files in memory at a time


class _Cell(NamedTuple):
    """An image file in a table."""

    name: str  # the table and the row, for messages
    content: bytes


class ParquetImages(LazyImages):
    """Images in a column of Parquet files, uint8 (N, C, H, W), decoded in threads.

    Args:
        paths: the files.
        column: the column.
        common: the shape and bits of all images, see ``examine``.
        resize: whether they are scaled to the shape.
    """

    def __init__(self, paths: list[Path], column: str, common: Common, resize: bool) -> None:
        self.paths, self.column, self.resize, self.bits = paths, column, resize, common.bits
        self.counts = [_count(path) for path in paths]
        super().__init__((sum(self.counts), *common.shape))

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, as the base class says."""
        size = min(size or self.chunk_size(), _ROWS)
        for path, count in zip(self.paths, self.counts, strict=True):
            if start >= count:
                start -= count
                continue
            for cells in _cells(path, self.column, size, start):
                yield self._decode(cells)
            start = 0

    def _decode(self, cells: list[_Cell]) -> Bytes:
        result = self.new(len(cells))
        size = self.shape[2:] if self.resize else None

        def decode_one(place: int) -> None:
            cell = cells[place]
            result[place] = decode_file(cell.content, cell.name, self.shape[1:], self.bits, size)

        map_files(decode_one, range(len(cells)))
        return result


class Common(NamedTuple):
    """What images have in common: their shape (C, H, W), and the bits that 16-bit pixels take."""

    shape: tuple[int, int, int]
    bits: int


def examine(
    paths: list[Path],
    column: str,
    resize: tuple[int, int] | None,
    on_progress: OnProgress | None,
) -> Common:
    """Return what all images in a column have in common; DataError if their sizes differ."""
    done, total = 0, sum(map(_count, paths))
    channels, bits, first = 1, 0, None
    for path in paths:
        for cells in _cells(path, column, _ROWS, 0):
            for cell, found in zip(cells, map_files(_examine, cells), strict=True):
                first = first or (cell.name, found[1])
                if resize is None and found[1] != first[1]:
                    raise different_sizes(*first, cell.name, found[1])
                channels, bits = max(channels, found[0]), max(bits, found[2])
            done += len(cells)
            if on_progress is not None:
                on_progress("examined", done, total)
    if first is None:
        raise DataError(f"{paths[0]} has no rows: expected a row for each image")
    return Common((channels, *(resize or first[1])), bits)


def _examine(cell: _Cell) -> tuple[int, tuple[int, int], int]:
    """Return channels, (height, width) and bits of an image."""
    with open_image(cell.content, cell.name) as opened:
        return 1 if is_grey(opened) else 3, upright_size(opened), find_bits(opened)


def _count(path: Path) -> int:
    with open_table(path) as table:
        return int(table.metadata.num_rows)


def _cells(path: Path, column: str, size: int, start: int) -> Iterator[list[_Cell]]:
    """Yield the image files of a table from row ``start`` on, in lists of at most ``size``."""
    with open_table(path) as table:
        if column not in table.schema_arrow.names:
            raise DataError(f"{path} has no column {column}, unlike the training file")
        groups = np.cumsum(
            [0, *(table.metadata.row_group(k).num_rows for k in range(table.num_row_groups))]
        )
        group = int(np.searchsorted(groups, start, "right")) - 1
        row = int(groups[group])
        chosen = range(group, table.num_row_groups)
        for batch in table.iter_batches(size, row_groups=chosen, columns=[column]):
            contents = _contents(batch.column(0))
            skipped = min(max(start - row, 0), len(contents))
            if skipped < len(contents):
                yield [
                    _cell(path, row + place, contents[place])
                    for place in range(skipped, len(contents))
                ]
            row += len(contents)


def _contents(cells: Any) -> list[Any]:
    """Return the bytes in the cells of a column, None where there are none."""
    values: list[Any] = cells.to_pylist()
    return [value.get("bytes") if isinstance(value, dict) else value for value in values]


def _cell(path: Path, row: int, content: Any) -> _Cell:
    name = f"{path}, row {row}"
    if not isinstance(content, bytes):
        raise DataError(f"{name} has no bytes of an image, only a path, or nothing")
    return _Cell(name, content)
