"""Examining and reading the image files of a folder, in threads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gpucnn.data.files import format_sides, open_file, unreadable
from gpucnn.data.folders.listing import Report
from gpucnn.data.folders.parallel import map_files
from gpucnn.data.images.inputs import as_input, decode, find_bits, is_grey, shrink
from gpucnn.data.images.opening import open_image, upright_size
from gpucnn.data.types import Bytes, OnProgress
from gpucnn.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Item = TypeVar("Item")
Result = TypeVar("Result")

# Pixels of a large image; photos have 12 to 50 million before they are shrunk.
_LARGE = 1 << 24
_large = threading.Lock()  # held while a large image is decoded


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file: its split ("all" if that is drawn), class number, shape (C, H, W) and bits.

    ``bits`` are those that its 16-bit pixels take; 0 for another file.
    """

    path: str
    part: str
    label: int
    shape: tuple[int, int, int] = (0, 0, 0)
    bits: int = 0


def examine(
    images: Sequence[ImageFile],
    resize: tuple[int, int] | None,
    report: Report,
    on_progress: OnProgress | None,
) -> list[ImageFile]:
    """Return the files that are images, with their shapes and bits; the others are reported."""

    def examined(image: ImageFile) -> ImageFile | DataError:
        try:
            with open_image(image.path) as opened:
                shape = (1 if is_grey(opened) else 3), *(resize or upright_size(opened))
                with turn(opened):
                    return replace(image, shape=shape, bits=find_bits(opened))
        except DataError as error:
            return error

    found = []
    for image, result in zip(
        images, mapped(examined, images, "examined", on_progress), strict=True
    ):
        if isinstance(result, DataError):
            report.add_error(Path(image.path), result)
        else:
            found.append(result)
    remark_bits(_common_bits(found), report)
    return found


def remark_bits(bits: int, report: Report) -> None:
    """Report how 16-bit files are read, which take so many ``bits``; 0: there are none."""
    if 0 < bits < 16:
        report.remarks.append(
            f"{report.folder}: the values of all 16-bit files are below {1 << bits:,}, so they are"
            f" read as {bits}-bit"
        )


def turn(image: Image) -> AbstractContextManager[object]:
    """Return the lock for a large image: decoding takes about ten bytes for a pixel.

    Of the large images of a process, one is decoded at a time.
    """
    return _large if image.width * image.height > _LARGE else nullcontext()


def _common_bits(images: Sequence[ImageFile]) -> int:
    """Return the bits of 16-bit images, the same for all: a dark one stays darker than others."""
    return max((image.bits for image in images), default=0)


def read(
    images: Sequence[ImageFile], resize: tuple[int, int] | None, on_progress: OnProgress | None
) -> tuple[Bytes, list[bytes | DataError]]:
    """Read all images into one array; return it, and for each the digest of the file's content.

    An image that cannot be read has the error in place of the digest.
    """
    channels, size = common_shape(images)
    shape = (len(images), channels, *size)
    try:
        pixels: Bytes = np.empty(shape, dtype=np.uint8)
    except (MemoryError, ValueError):  # NumPy raises ValueError beyond 2**63 bytes
        raise DataError(
            f"{format_sides(shape)} bytes of pixels do not fit in memory: choose a smaller size"
            " with resize=(H, W) or --resize HxW, or pack them: gpucnn pack SOURCE FOLDER"
        ) from None

    bits = _common_bits(images)

    def read_one(index: int) -> bytes | DataError:
        image = images[index]
        try:
            digest = _digest(image.path) if image.part == "all" else b""
            pixels[index] = decode_file(image.path, image.path, shape[1:], bits, resize)
        except DataError as error:
            return error
        return digest

    return pixels, mapped(read_one, range(len(images)), "read", on_progress)


def decode_file(
    source: str | bytes,
    name: str,
    shape: tuple[int, ...],
    bits: int,
    resize: tuple[int, int] | None,
) -> Bytes:
    """Return the image in a file, uint8 of ``shape`` (C, H, W).

    Args:
        source: its path or its bytes, which errors call ``name``.
        name: for errors.
        shape: to which it is scaled.
        bits: that its pixels take, if they are of 16 bits.
        resize: (height, width) if images are scaled; it may then be decoded to a smaller size.
    """
    with open_image(source, name) as opened:
        if resize is not None:
            shrink(opened, resize)
        with turn(opened):
            return as_input(decode(opened, bits), shape[0], (shape[1], shape[2]))


def mapped(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    on_progress: OnProgress | None,
) -> list[Result]:
    """Return the results of ``function`` for all items, computed in threads."""
    if on_progress is None:
        return map_files(function, items)
    return map_files(function, items, lambda done, total: on_progress(what, done, total))


def _digest(path: str) -> bytes:
    """Return the SHA-256 of a file's content."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise unreadable(path, error) from None


def common_shape(images: Sequence[ImageFile]) -> tuple[int, tuple[int, int]]:
    """Return channels and (height, width) of the images; DataError if their sizes differ."""
    first = images[0]
    for image in images:
        if image.shape[1:] != first.shape[1:]:
            raise different_sizes(first.path, first.shape[1:], image.path, image.shape[1:])
    return max(image.shape[0] for image in images), first.shape[1:]


def different_sizes(
    one: str, size: tuple[int, int], other: str, other_size: tuple[int, int]
) -> DataError:
    """Return the error for two images of different (height, width)."""
    return DataError(
        f"{one} is {format_sides(size)} pixels (height x width), but {other} is"
        f" {format_sides(other_size)}: scale all to one size with resize=(H, W) or --resize HxW"
    )
