"""The IDX format of MNIST and its kin (Fashion-MNIST, KMNIST, EMNIST), read by hand.

A file is a header of big-endian 32-bit words and then the items, row by row:

    magic    two zero bytes, the element type (8: unsigned byte), the number of axes
    count    how many items follow
    rows     height of an image in pixels    (images only: magic 2051)
    columns  width of an image in pixels     (labels stop after count: magic 2049)

It may be compressed with gzip, which its first bytes tell, whatever its name says.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from gpucnn.data.dataset import Bytes, Data, assemble, check_packing
from gpucnn.errors import DataError

_NAME = re.compile(
    r"(?:(?P<prefix>.+)-)?(?P<part>train|t10k|test)-"
    r"(?P<kind>images[-.]idx3|labels[-.]idx1)-ubyte(?:\.gz)?"
)
_TYPES = {
    0x08: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
_FIELDS = ("count", "rows", "columns")
_WANTED = {1: "labels (magic 2049)", 3: "images (magic 2051)"}
# a picture of more pixels a side is a damaged header
_LONGEST_SIDE = 16384
# how far to count what lies behind the last item before giving up
_MOST_EXTRA = 1 << 26
# how much to unpack at a time: the memory follows what is there, not what the header promises
_BLOCK = 1 << 20

# (prefix, part, kind): ("emnist-letters", "train", "images"), the prefix "" where there is none
_Key = tuple[str, str, str]


def read_idx(path: Path | str, ndim: int) -> Bytes:
    """Read one IDX file, plain or gzip.

    Args:
        path: the file.
        ndim: axes wanted: 3 for images (N, rows, columns), 1 for labels (N,).

    Returns:
        uint8 array of ``ndim`` axes, read-only.

    Raises:
        DataError: an unreadable or damaged file, or one that holds something else. Never takes
            more memory than the file's size allows for.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(path, file, ndim)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise DataError(f"{path} does not fit in memory") from None


def read_idx_folder(folder: Path, prefix: str | None = None) -> Data:
    """Read the four files of an IDX set.

    Args:
        folder: where they lie.
        prefix: which set, where the folder holds several ("emnist-letters"); None: the only one,
            or the one whose files have no prefix.

    Returns:
        Data named after the folder, or after the prefix where there is one.

    Raises:
        DataError: a missing or bad file, several sets to choose from, or files that do not fit
            together.
    """
    found = idx_files(folder)
    sets = sorted({key[0] for key in found})
    if prefix is None:
        if len(sets) > 1 and "" not in sets:
            raise DataError(
                f"{folder} holds {len(sets)} sets ({', '.join(sets)}):"
                f" choose one as in {folder / sets[0]}"
            )
        prefix = sets[0] if sets else ""
    train_files = _pair(folder, found, prefix, ("train",))
    test_files = _pair(folder, found, prefix, ("t10k", "test"))
    splits = [_read_pair(*files) for files in (train_files, test_files)]
    # the classes are ten at least: the set of some digits may lack the last ones
    source = folder / prefix
    return assemble(source, prefix or folder.resolve().name, splits[0], splits[1], least=10)


def idx_files(folder: Path) -> dict[_Key, Path]:
    """Return the files in ``folder`` that are named like an IDX set's; DataError if unreadable."""
    try:
        # backwards, so that of "x" and "x.gz" the one already unpacked stays
        paths = sorted(folder.iterdir(), reverse=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from None
    found = {}
    for path in paths:
        if match := _NAME.fullmatch(path.name):
            found[match["prefix"] or "", match["part"], match["kind"][:6]] = path
    return found


def is_idx_name(name: str) -> bool:
    """Tell whether a file of this name is one of an IDX set."""
    return _NAME.fullmatch(name) is not None


def _pair(
    folder: Path, found: dict[_Key, Path], prefix: str, parts: Sequence[str]
) -> tuple[Path, Path]:
    """Return the image file and the label file of a part that goes by one of these names."""
    names = [part for part in parts if any(key[:2] == (prefix, part) for key in found)]
    part = (names or parts)[0]
    for kind, wanted in (("images", "images-idx3"), ("labels", "labels-idx1")):
        if (prefix, part, kind) not in found:
            name = f"{prefix}-{part}-{wanted}" if prefix else f"{part}-{wanted}"
            others = " or ".join(f"{other}-..." for other in parts if other != part)
            raise DataError(
                f"{folder} lacks {name}-ubyte (or .gz{', or ' + others if others else ''});"
                f" found: {', '.join(sorted(path.name for path in found.values())) or 'none'}"
            )
    return found[prefix, part, "images"], found[prefix, part, "labels"]


def _read_pair(images: Path, labels: Path) -> tuple[Bytes, Bytes]:
    """Read images (N, 1, H, W) and labels (N,) that belong together."""
    # labels first: they are quick to read, and most mistakes show in them too
    numbers, pixels = read_idx(labels, 1), read_idx(images, 3)
    if len(pixels) != len(numbers):
        raise DataError(
            f"{images} holds {len(pixels)} images but {labels.name} {len(numbers)} labels:"
            " they must be equal in number"
        )
    return pixels[:, None], numbers


def _read(path: Path, file: IO[bytes], ndim: int) -> Bytes:
    """Read an open IDX file: its header first, then no more than the header's promise."""
    start = file.read(24)
    size = file.seek(0, 2)
    file.seek(0)
    if not start:
        raise DataError(f"{path} is empty: download it again")
    if start[:2] == b"\x1f\x8b":
        return _read_gzip(path, file, ndim, size)
    if start[:2] != b"\0\0" and not _is_little_endian(start):
        raise DataError(f"{path} is neither gzip data nor an IDX file: it begins with {start!r}")
    header = 4 + 4 * ndim
    shape = _shape(path, file.read(header), ndim)
    extra = size - header - prod(shape)
    if extra:
        _refuse_size(path, shape, size - header)
    return np.frombuffer(file.read(prod(shape)), dtype=np.uint8).reshape(shape)


def _read_gzip(path: Path, file: IO[bytes], ndim: int, size: int) -> Bytes:
    """Read a compressed IDX file of ``size`` bytes without unpacking more than it promises."""
    import gzip  # here, because most programs that import gpucnn never unpack a file
    import zlib

    try:
        with gzip.GzipFile(fileobj=file) as stream:
            shape = _shape(path, stream.read(4 + 4 * ndim), ndim)
            count = prod(shape)
            check_packing(f"{path} ({_product(shape)})", count, size)
            data = bytearray()
            # one byte more, which must not be there: reaching the end also checks the CRC
            while block := stream.read(min(_BLOCK, count + 1 - len(data))):
                data += block
            if len(data) != count:
                _refuse_size(path, shape, len(data) + _remaining(stream))
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip data stops short of the end") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}; download it again") from None
    pixels = np.frombuffer(data, dtype=np.uint8).reshape(shape)
    pixels.flags.writeable = False
    return pixels


def _remaining(stream: BufferedIOBase) -> int:
    """Return how many bytes follow in the stream, or _MOST_EXTRA where there are more."""
    count = 0
    while count < _MOST_EXTRA and (block := stream.read(_BLOCK)):
        count += len(block)
    return count


def _shape(path: Path, header: bytes, ndim: int) -> tuple[int, ...]:
    """Check a header and return the shape in it."""
    if len(header) < 4:
        raise DataError(f"{path} is truncated: {len(header)} bytes are no IDX header")
    if _is_little_endian(header):
        raise DataError(
            f"{path} has a little-endian header ({header[:4].hex(' ')}): IDX is big-endian"
        )
    magic = int(struct.unpack_from(">I", header)[0])
    kind, axes = header[2], header[3]
    if header[:2] != b"\0\0" or kind not in _TYPES:
        raise DataError(f"{path} is not an IDX file: it begins with {header!r}")
    if kind != 0x08:
        raise DataError(
            f"{path} holds {_TYPES[kind]} (type {kind:#04x}), wanted unsigned bytes (type 0x08)"
        )
    if axes != ndim:
        holds = _WANTED.get(axes, f"items of {axes} axes (magic {magic})")
        raise DataError(f"{path} holds {holds}, wanted {_WANTED[ndim]}: are two files swapped?")
    if len(header) < 4 + 4 * ndim:
        raise DataError(f"{path} is truncated: its header stops after {len(header)} bytes")
    shape = tuple(int(side) for side in struct.unpack_from(f">{ndim}I", header, 4))
    _check_sides(path, shape)
    return shape


def _check_sides(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse a side of 0, or one that only a damaged header has."""
    for field, side in zip(_FIELDS, shape, strict=False):
        if side == 0:
            raise DataError(f"{path} has {field} 0 in its header: there is nothing in it")
        if field != "count" and side > _LONGEST_SIDE:
            swapped = int.from_bytes(side.to_bytes(4, "big"), "little")
            hint = f" (is it little-endian, for {swapped}?)" if swapped <= _LONGEST_SIDE else ""
            raise DataError(
                f"{path} has {field} {side} in its header, more than {_LONGEST_SIDE}{hint}"
            )


def _is_little_endian(header: bytes) -> bool:
    """Tell whether the magic number is there, but back to front."""
    return header[2:4] == b"\0\0" and header[1] in _TYPES and 1 <= header[0] <= 8


def _refuse_size(path: Path, shape: tuple[int, ...], size: int) -> NoReturn:
    """Raise the DataError for ``size`` bytes where ``shape`` asks for others."""
    count = prod(shape)
    if size < count:
        raise DataError(
            f"{path} is too short: its header says {_product(shape)} = {count} bytes,"
            f" {size} are there"
        )
    # beyond that, nobody counted
    more = "more than " if size - count > _MOST_EXTRA else ""
    extra = min(size - count, _MOST_EXTRA)
    raise DataError(f"{path} has {more}{extra} bytes after the last of its {shape[0]} items")


def _product(shape: Iterable[int]) -> str:
    return " x ".join(str(side) for side in shape)
