"""The IDX format of MNIST and its relatives (Fashion-MNIST, KMNIST, EMNIST).

A file is a header of big-endian 32-bit integers, followed by the items in row-major order:

    magic    two zero bytes, the element type (8: unsigned byte), the number of axes
    count    the number of items
    rows     height of an image in pixels    (images only, whose magic number is 2051)
    columns  width of an image in pixels     (images only; the magic number of labels is 2049)

It may be compressed with gzip, which is recognised by the first bytes, whatever the file's name.

QMNIST's labels are rows of eight 32-bit integers, of which the first is the class of the digit
(Yadav, Bottou, "Cold case: the lost MNIST digits", NeurIPS 2019).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from gpucnn.data.files import check_packing, format_sides, open_file, unreadable
from gpucnn.data.types import Bytes
from gpucnn.errors import DataError

_TYPES = {
    0x08: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
_UNSIGNED_BYTES = 0x08
# QMNIST's labels: the magic number, and the integers of a row.
_LABEL_ROWS, _ROW = b"\0\0\x0c\x02", 8
_FIELDS = ("count", "rows", "columns")
# What a file holds, by its number of axes.
CONTENTS = {3: "images", 1: "labels"}
# A side of more pixels is a damaged header.
_MAX_SIDE = 16384
# How many bytes after the last item to count before giving up.
_MAX_EXTRA = 1 << 26
# Bytes to unpack at a time: memory follows the data, not what the header declares.
_BLOCK = 1 << 20


def read_idx(path: Path | str, ndim: int) -> Bytes:
    """Read one IDX file, plain or gzip.

    Args:
        path: the file.
        ndim: the number of axes: 3 for images (N, rows, columns), 1 for labels (N,).

    Returns:
        uint8 array of ``ndim`` axes, read-only.

    Raises:
        DataError: an unreadable or damaged file, or one that holds something else. Memory is
            bounded by the file's size.
    """
    shape, items = _read_file(Path(path), ndim)
    pixels = np.frombuffer(items, np.uint8).reshape(shape)
    pixels.flags.writeable = False
    return pixels


class _Content(NamedTuple):
    """The shape in the header of a file, and the bytes of its items."""

    shape: tuple[int, ...]
    items: bytes | bytearray


def read_labels(path: Path) -> npt.NDArray[Any]:
    """Return the labels (N,) of a file: unsigned bytes, or the first of each row of QMNIST's."""
    shape, items = _read_file(path, 1)
    if len(shape) == 1:
        return np.frombuffer(items, np.uint8)
    return np.frombuffer(items, ">i4").reshape(shape)[:, 0]


def _read_file(path: Path, ndim: int) -> _Content:
    """Read a file as ``read_idx`` does; labels may be rows of integers."""
    with open_idx(path, ndim) as opened:
        stream, shape, count = opened.stream, opened.shape, opened.bytes
        if not opened.packed:
            return _Content(shape, stream.read(count))
        data = bytearray()
        while len(data) < count and (block := stream.read(min(_BLOCK, count - len(data)))):
            data += block
        opened.expect_end(len(data))
    return _Content(shape, data)


class OpenIdx(NamedTuple):
    """An open IDX file: its items follow in ``stream``."""

    path: Path
    stream: BufferedIOBase
    shape: tuple[int, ...]
    bytes: int  # of all items
    packed: bool  # whether the file is gzip data

    def expect_end(self, count: int) -> None:
        """Raise DataError unless the stream ends after the ``count`` bytes that were read of it.

        Reaching the end also checks the CRC of gzip data.
        """
        extra = _count_remaining(self.stream) if count == self.bytes else 0
        if count != self.bytes or extra:
            _refuse_size(self.path, self.shape, self.bytes, count + extra)


@contextmanager
def open_idx(path: Path, ndim: int) -> Iterator[OpenIdx]:
    """Open an IDX file and read its header; every fault within the block becomes a DataError."""
    try:
        with open_file(path) as file, _opened(path, file, ndim) as opened:
            yield opened
    except OSError as error:
        raise unreadable(path, error) from None
    except MemoryError:
        raise DataError(f"{path} does not fit in memory") from None


@contextmanager
def _opened(path: Path, file: BufferedIOBase, ndim: int) -> Iterator[OpenIdx]:
    """Read the header of an open file, plain or gzip."""
    start = file.read(24)
    size = file.seek(0, 2)
    file.seek(0)
    if not start:
        raise DataError(f"{path} is empty: download it again")
    if start[:2] == b"\x1f\x8b":
        with _opened_gzip(path, file, ndim, size) as opened:
            yield opened
        return
    if start[:2] != b"\0\0" and not _is_little_endian(start):
        raise DataError(f"{path} is neither gzip data nor an IDX file: it begins with {start!r}")
    shape, count = _read_header(path, file, ndim)
    if (present := size - file.tell()) != count:
        _refuse_size(path, shape, count, present)
    yield OpenIdx(path, file, shape, count, packed=False)


@contextmanager
def _opened_gzip(path: Path, file: BufferedIOBase, ndim: int, size: int) -> Iterator[OpenIdx]:
    """Read the header of a gzip file of ``size`` bytes that cannot declare too many."""
    import gzip  # here, because most programs that import gpucnn never unpack a file
    import zlib

    try:
        with gzip.GzipFile(fileobj=file) as stream:
            shape, count = _read_header(path, stream, ndim)
            check_packing(f"{path} ({format_sides(shape)})", count, size)
            yield OpenIdx(path, stream, shape, count, packed=True)
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip data is incomplete") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}; download it again") from None


def _count_remaining(stream: BufferedIOBase) -> int:
    """Return the number of bytes left in the stream, counting to little more than _MAX_EXTRA."""
    count = 0
    while count <= _MAX_EXTRA and (block := stream.read(_BLOCK)):
        count += len(block)
    return count


def _read_header(path: Path, stream: BufferedIOBase, ndim: int) -> tuple[tuple[int, ...], int]:
    """Read a header; return the shape in it, and the number of bytes of the items."""
    magic = stream.read(4)
    if ndim == 1 and magic == _LABEL_ROWS:
        shape = _sides(path, magic + stream.read(8), 2)
        if shape[1] != _ROW:
            raise DataError(f"{path} has rows of {shape[1]} integers, expected {_ROW} as QMNIST's")
        return shape, 4 * prod(shape)
    shape = _shape(path, magic + stream.read(4 * ndim), ndim)
    return shape, prod(shape)


def _shape(path: Path, header: bytes, ndim: int) -> tuple[int, ...]:
    """Check a header and return the shape in it."""
    if len(header) < 4:
        raise DataError(f"{path} is truncated: {len(header)} bytes, expected an IDX header")
    if _is_little_endian(header):
        raise DataError(
            f"{path} has a little-endian header ({header[:4].hex(' ')}): IDX is big-endian"
        )
    element, axes = header[2], header[3]
    if header[:2] != b"\0\0" or element not in _TYPES:
        raise DataError(f"{path} is not an IDX file: it begins with {header!r}")
    if element != _UNSIGNED_BYTES:
        raise DataError(f"{path} holds {_type(element)}, expected {_type(_UNSIGNED_BYTES)}")
    if axes != ndim:
        raise DataError(
            f"{path} holds {_content(axes)}, expected {_content(ndim)}: are two files swapped?"
        )
    return _sides(path, header, ndim)


def _sides(path: Path, header: bytes, ndim: int) -> tuple[int, ...]:
    """Return the numbers of a header after its magic number."""
    if len(header) < 4 + 4 * ndim:
        raise DataError(f"{path} is truncated: its header ends after {len(header)} bytes")
    shape = tuple(int(side) for side in struct.unpack_from(f">{ndim}I", header, 4))
    _check_sides(path, shape)
    return shape


def _type(element: int) -> str:
    return f"{_TYPES[element]} (type {element:#04x})"


def _content(axes: int) -> str:
    return f"{CONTENTS.get(axes, f'items of {axes} axes')} (magic {_UNSIGNED_BYTES << 8 | axes})"


def _check_sides(path: Path, shape: Sequence[int]) -> None:
    """Refuse a side of 0, or one that only a damaged header has."""
    for field, side in zip(_FIELDS, shape, strict=False):
        if side == 0:
            raise DataError(f"{path} has {field} 0 in its header: it holds no items")
        if field != "count" and side > _MAX_SIDE:
            swapped = int.from_bytes(side.to_bytes(4, "big"), "little")
            hint = f" (is it little-endian, for {swapped}?)" if swapped <= _MAX_SIDE else ""
            raise DataError(f"{path} has {field} {side} in its header, more than {_MAX_SIDE}{hint}")


def _is_little_endian(header: bytes) -> bool:
    """Return whether a header begins with a magic number in the wrong byte order."""
    return header[2:4] == b"\0\0" and header[1] in _TYPES and 1 <= header[0] <= 8


def _refuse_size(path: Path, shape: Sequence[int], count: int, size: int) -> NoReturn:
    """Raise the DataError for ``size`` bytes of items where ``shape`` needs ``count``."""
    if size < count:
        sides = shape if prod(shape) == count else (*shape, count // prod(shape))
        raise DataError(
            f"{path} is truncated: its header declares {format_sides(sides)} = {count} bytes, but"
            f" only {size} follow"
        )
    # _count_remaining stops there.
    more = "more than " if size - count > _MAX_EXTRA else ""
    extra = min(size - count, _MAX_EXTRA)
    raise DataError(f"{path} has {more}{extra} bytes after the last of its {shape[0]} items")
