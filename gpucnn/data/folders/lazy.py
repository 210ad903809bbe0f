"""Image files of a folder that are decoded when they are needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpucnn import files
from gpucnn.data.files import changed, note_source, open_file, unreadable
from gpucnn.data.folders.decoding import (
    ImageFile,
    decode_file,
    different_sizes,
    remark_bits,
    turn,
)
from gpucnn.data.folders.listing import Report
from gpucnn.data.folders.parallel import map_files
from gpucnn.data.images.inputs import decode, find_bits, is_grey, shrink
from gpucnn.data.images.opening import open_image, upright_size
from gpucnn.data.lazy import LazyImages
from gpucnn.data.types import Bytes, OnProgress
from gpucnn.errors import DataError

_BLOCK = 1 << 14  # files whose examination is saved at a time
_AT_ONCE = 1 << 11  # files that are decoded between two reports of progress
_HEADER, _PIXELS = 1, 2  # faults: a file is no image, an image cannot be decoded

_NUMBERS = {"name": "<u8", "size": "<i8", "time": "<i8", "height": "<u4", "width": "<u4"}
_SMALL = {"channels": "u1", "bits": "u1", "fault": "u1", "digest": "V32"}
_RECORD = np.dtype([*_NUMBERS.items(), *_SMALL.items()])

Records = npt.NDArray[Any]
Cache = Callable[[int], str]
"""Returns the path of a file by its number."""


class Examined(NamedTuple):
    """The files of a folder that are images, and what is known of them."""

    images: list[ImageFile]
    contents: npt.NDArray[Any]  # SHA-256 of each file, void (N,)
    shape: tuple[int, int, int]  # (C, H, W) of all
    bits: int  # that 16-bit pixels take


class FileImages(LazyImages):
    """Images in files, decoded in threads: uint8 (N, C, H, W).

    Args:
        paths: the files.
        digests: SHA-256 of the content of each, void (N,).
        shape: (C, H, W) of the images.
        bits: that 16-bit pixels take.
        resize: whether images are scaled to the shape.
    """

    def __init__(
        self,
        paths: Sequence[str],
        digests: npt.NDArray[Any],
        shape: tuple[int, int, int],
        bits: int,
        resize: bool,
    ) -> None:
        super().__init__((len(paths), *shape))
        self.paths, self.contents, self.bits, self.resize = paths, digests, bits, resize

    def chunk_size(self) -> int:
        """Return the number of images that ``chunks`` decodes at a time by default."""
        return min(super().chunk_size(), _AT_ONCE)

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, as the base class says."""
        size = size or self.chunk_size()
        for first in range(start, len(self), size):
            yield self._decode(range(first, min(first + size, len(self))))

    def take(self, indices: npt.ArrayLike, out: Bytes | None = None) -> Bytes:
        """Return the images with some indices, as the base class says."""
        return self._decode(self.checked(indices).tolist(), out)

    def _decode(self, indices: Sequence[int], out: Bytes | None = None) -> Bytes:
        result = self.new(len(indices)) if out is None else out

        def decode_one(place: int) -> None:
            index = indices[place]
            path = self.paths[index]
            content = _content(path)
            if hashlib.sha256(content).digest() != self.contents[index].tobytes():
                raise changed(path)
            size = self.shape[2:] if self.resize else None
            result[place] = decode_file(content, path, self.shape[1:], self.bits, size)

        map_files(decode_one, range(len(indices)))
        return result


def _content(path: str) -> bytes:
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise unreadable(path, error) from None


def examine_files(
    images: list[ImageFile],
    resize: tuple[int, int] | None,
    report: Report,
    on_progress: OnProgress | None,
    cache: Cache | None,
) -> Examined:
    """Decode all files once, in threads; return those that are images. The others are reported.

    ``cache`` names the files where the results are kept: an interrupted call is continued. A file
    that has changed since is examined again.
    """
    blocks, errors = [], dict[int, DataError]()
    for number, start in enumerate(range(0, len(images), _BLOCK)):
        block = images[start : start + _BLOCK]
        file = cache and cache(number)
        records, missing = _known(block, report.folder, file)
        done = start + len(block) - len(missing)
        progress = partial(_report, on_progress, done, len(images))
        found = map_files(partial(_examine, block, records, resize), missing, progress)
        for place, error in zip(missing, found, strict=True):
            if error is not None:
                errors[start + place] = error
        if file and missing:
            buffer = BytesIO()
            np.lib.format.write_array(buffer, records)
            files.write_atomically(file, buffer.getvalue())
        blocks.append(records)
    records = np.concatenate(blocks) if blocks else np.zeros(0, _RECORD)
    note_source("files", _summary(records))
    for fault in (_HEADER, _PIXELS):
        for index in np.flatnonzero(records["fault"] == fault).tolist():
            report.add_error(Path(images[index].path), errors[index])
    opened = np.flatnonzero(records["fault"] != _HEADER)
    bits = int(records["bits"][opened].max(initial=0))
    remark_bits(bits, report)
    shape = _common_shape(images, records, opened)
    keep = np.flatnonzero(records["fault"] == 0)
    return Examined(
        [images[index] for index in keep.tolist()], records["digest"][keep], shape, bits
    )


def _report(on_progress: OnProgress | None, before: int, total: int, done: int, _: int) -> None:
    """Report that ``done`` files are examined, besides those ``before``."""
    if on_progress is not None:
        on_progress("examined", before + done, total)


def _common_shape(
    images: list[ImageFile], records: Records, opened: npt.NDArray[np.int64]
) -> tuple[int, int, int]:
    """Return (C, H, W) of the images ``opened``; DataError if their sizes differ."""
    if not len(opened):
        return (1, 1, 1)  # there is a class without images, which is reported
    first = records[opened[0]]
    different = (records["height"] != first["height"]) | (records["width"] != first["width"])
    wrong = opened[different[opened]]
    for index in wrong[:1].tolist():
        sizes = [(int(one["height"]), int(one["width"])) for one in (first, records[index])]
        raise different_sizes(images[opened[0]].path, sizes[0], images[index].path, sizes[1])
    return int(records["channels"][opened].max()), int(first["height"]), int(first["width"])


def _summary(records: Records) -> dict[str, Any]:
    """Return what identifies the files: their number, and a digest of names, sizes and times."""
    content = hashlib.sha256()
    for field in ("name", "size", "time"):
        content.update(np.ascontiguousarray(records[field]).data)
    return {"count": len(records), "sha256": content.hexdigest()}


def identify(images: list[ImageFile], folder: Path) -> dict[str, Any]:
    """Return what identifies the files of a folder: what is noted of them when they are read."""
    return _summary(_listed(images, folder))


def _listed(images: list[ImageFile], folder: Path) -> Records:
    """Return records with names, sizes and times."""
    records = np.zeros(len(images), _RECORD)
    root = os.path.join(folder, "")  # paths in Path(".") do not begin with it
    for index, image in enumerate(images):
        name = os.fsencode(image.path.removeprefix(root))
        digest = hashlib.blake2b(name, digest_size=8).digest()
        status = os.stat(image.path)
        records[index]["name"] = int.from_bytes(digest, "little")
        records[index]["size"], records[index]["time"] = status.st_size, status.st_mtime_ns
    return records


def _known(block: list[ImageFile], folder: Path, cache: str | None) -> tuple[Records, list[int]]:
    """Return records with names, sizes and times, and the files that are not examined yet."""
    records = _listed(block, folder)
    try:
        before = np.load(cache or "", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return records, list(range(len(block)))
    if before.dtype != _RECORD or len(before) != len(block):
        return records, list(range(len(block)))
    same = before["fault"] == 0
    for field in ("name", "size", "time"):
        same &= before[field] == records[field]
    records[same] = before[same]
    return records, np.flatnonzero(~same).tolist()


def _examine(
    block: list[ImageFile], records: Records, resize: tuple[int, int] | None, place: int
) -> DataError | None:
    """Fill the record of a file; return why it cannot be read, if it cannot."""
    path, record = block[place].path, records[place : place + 1]
    record["fault"] = _HEADER
    try:
        content = _content(path)
        record["digest"] = np.frombuffer(hashlib.sha256(content).digest(), "V32")
        with open_image(content, path) as opened:
            record["channels"] = 1 if is_grey(opened) else 3
            record["height"], record["width"] = resize or upright_size(opened)
            with turn(opened):
                record["bits"] = find_bits(opened)
        record["fault"] = _PIXELS
        with open_image(content, path) as opened:
            if resize is not None:
                shrink(opened, resize)
            with turn(opened):
                decode(opened, int(record["bits"][0]))
    except DataError as error:
        return error
    record["fault"] = 0
    return None
