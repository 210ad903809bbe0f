"""Packing a data set into a folder: .npy files and dataset.json, which is written last.

Every file appears under its name when it is complete and on disk. What is complete is listed in
.packing.json with its checksum, so that packing can be continued after an interruption of any kind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from gpucnn import files
from gpucnn.data.dataset import Data
from gpucnn.data.lazy import LazyImages, chunks
from gpucnn.data.packed.arrays import Entry
from gpucnn.data.packed.figures import Figures, threads
from gpucnn.data.packed.manifest import (
    FILE_NAME,
    STATE_NAME,
    Manifest,
    PackedSplit,
    entry_of,
    read_json,
    shard_name,
)
from gpucnn.data.packed.state import EXAMINED_FILES, Values, save_state, to_json
from gpucnn.data.split import Split
from gpucnn.data.types import Array, Bytes, OnProgress
from gpucnn.errors import DataError

SHARD_BYTES = 1 << 26
"""The size of a file of images, unless they would be more than ``MOST_SHARDS``."""

MOST_SHARDS = 128
"""Files of images of a split: as many are open at the same time."""

_BLOCK = 1 << 22  # bytes that are read at a time


def write(
    data: Data,
    folder: Path,
    options: Values,
    sources: Values,
    *,
    shard_bytes: int = SHARD_BYTES,
    on_progress: OnProgress | None = None,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Write a data set to a folder that is ``opened``, or what is missing of it.

    Args:
        data: the data set; its images may be in memory or not.
        folder: where to.
        options: as for ``opened``.
        sources: the sizes and times of the files that it is read from, as JSON has them: what an
            interrupted call has written is kept only if they are the same.
        shard_bytes: the size of a file of images, unless they would be more than MOST_SHARDS.
        on_progress: called with "packed", the number of images that were, and their total.
        check: called at the end; it raises DataError if the source has changed.

    Raises:
        DataError: the files have changed since an interrupted call.
        OSError: a file cannot be written; it is named.
    """
    before = read_json(folder / STATE_NAME)
    sources = json.loads(json.dumps(sources))
    if before.get("sources", sources) != sources:
        changed = [name for name in sources if sources[name] != before["sources"].get(name)]
        raise DataError(
            f"{folder} was begun before {', '.join(changed) or 'a file'} changed: remove {folder},"
            " or give another folder"
        )
    state = {"options": options, "sources": sources, "files": before.get("files", {})}
    assert data.preparation is not None
    with threads() as pool:
        packer = _Packer(folder, state, shard_bytes, pool, on_progress, data)
        splits = {name: packer.write_split(name, split) for name, split in _splits(data).items()}
    check()
    manifest = Manifest(
        data.name,
        data.input_shape,
        data.classes,
        data.targets,
        data.preparation,
        data.transposed,
        data.notes,
        {"options": options, "files": sources},
        splits,
    )
    files.write_atomically(folder / FILE_NAME, to_json(manifest.to_json()))
    leftovers = *folder.glob(EXAMINED_FILES), *folder.glob(".*.tmp")
    for path in (folder / STATE_NAME, *leftovers):
        path.unlink(missing_ok=True)


def _splits(data: Data) -> dict[str, Split]:
    splits = {"train": data.train, "test": data.test, "validation": data.validation}
    return {name: split for name, split in splits.items() if split is not None}


class _Packer:
    """Writes the files of one data set, as ``write`` describes."""

    def __init__(
        self,
        folder: Path,
        state: dict[str, Any],
        shard_bytes: int,
        pool: ThreadPoolExecutor,
        on_progress: OnProgress | None,
        data: Data,
    ) -> None:
        self.folder, self.state, self.shard_bytes = folder, state, shard_bytes
        self.pool, self.on_progress = pool, on_progress
        self.done, self.total = 0, sum(map(len, _splits(data).values()))
        save_state(folder, state)

    def write_split(self, name: str, split: Split) -> PackedSplit:
        """Write the files of a split."""
        figures = Figures(split.images.shape[1], split.label_bytes(), self.pool)
        entries = self._write_images(name, split, figures)
        recorded = figures.recorded()
        kind = "<f8" if split.is_regression else "<i8"
        labels = self._write_array(f"{name}-labels.npy", split.labels.astype(kind))
        digests = self._write_array(f"{name}-digests.npy", figures.digests().astype("<u8"))
        return PackedSplit(entries, labels, digests, recorded)

    def _write_images(self, name: str, split: Split, figures: Figures) -> list[Entry]:
        count, shape = len(split), tuple(int(side) for side in split.images.shape[1:])
        size = int(np.prod(shape))
        rows = max(1, self.shard_bytes // size, -(-count // MOST_SHARDS))
        bounds = [(start, min(start + rows, count)) for start in range(0, count, rows)]
        names = [shard_name(name, index) for index in range(len(bounds))]
        entries: list[Entry] = []
        for file, (start, stop) in zip(names, bounds, strict=True):
            entry = self._complete(file, stop - start)
            if entry is None:
                break
            self._add_complete(entry, figures)
            entries.append(entry)
        rest = zip(names[len(entries) :], bounds[len(entries) :], strict=True)
        parts = _Parts(split, bounds[len(entries)][0] if len(entries) < len(bounds) else count)
        for file, (start, stop) in rest:
            entries.append(self._write_shard(file, stop - start, shape, parts, figures))
        return entries

    def _complete(self, file: str, count: int) -> Entry | None:
        """Return a file that an interrupted call has written, if it is intact."""
        try:
            entry = entry_of(self.state["files"][file])
            content = hashlib.sha256()
            with open(self.folder / file, "rb") as opened:
                while block := opened.read(_BLOCK):
                    content.update(block)
        except (KeyError, TypeError, ValueError, OSError):
            return None
        is_same = content.hexdigest() == entry.sha256 and entry.count == count
        return entry if is_same and entry.file == file else None

    def _add_complete(self, entry: Entry, figures: Figures) -> None:
        """Add the images of a file that is complete."""
        images: Bytes = np.load(self.folder / entry.file, mmap_mode="r")
        for part in chunks(images):
            figures.add(np.array(part))
            self._progress(len(part))

    def _write_shard(
        self, file: str, count: int, shape: tuple[int, ...], parts: _Parts, figures: Figures
    ) -> Entry:
        """Write a file of ``count`` images, the next of ``parts``."""
        path, digest = self.folder / file, hashlib.sha256()
        temporary = path.with_name(f".{file}.tmp")
        header = _header((count, *shape))
        try:
            with open(temporary, "wb", buffering=0) as opened:

                def write(images: Bytes) -> None:
                    view = memoryview(cast(Any, images)).cast("B")
                    while view:
                        view = view[opened.write(view) :]

                def hash_file(images: Bytes) -> None:
                    digest.update(images.data)

                opened.write(header)
                digest.update(header)
                for images in parts.take(count):
                    figures.add(images, write, hash_file)
                    self._progress(len(images))
                figures.finish()
                files.sync(opened.fileno(), temporary)
            os.replace(temporary, path)
        except OSError as error:
            if error.filename not in (None, os.fspath(temporary)):
                raise  # of the source
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        size = len(header) + count * int(np.prod(shape))
        entry = Entry(file, count, size, digest.hexdigest())
        files.sync_path(self.folder)
        self.state["files"][file] = asdict(entry)
        save_state(self.folder, self.state)
        return entry

    def _write_array(self, file: str, array: Array) -> Entry:
        buffer = BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
        content = buffer.getvalue()
        files.write_atomically(self.folder / file, content)
        return Entry(file, len(array), len(content), hashlib.sha256(content).hexdigest())

    def _progress(self, count: int) -> None:
        self.done += count
        if self.on_progress is not None:
            self.on_progress("packed", self.done, self.total)


class _Parts:
    """The images of a split from ``start`` on, in parts that end where a file does."""

    def __init__(self, split: Split, start: int) -> None:
        images = split.images
        if isinstance(images, LazyImages):
            self._chunks = images.chunks(start=start)
        else:
            self._chunks = chunks(images[start:])
        self._rest: Bytes | None = None

    def take(self, count: int) -> Iterator[Bytes]:
        """Yield the next ``count`` images in parts."""
        while count:
            part = next(self._chunks) if self._rest is None else self._rest
            now, rest = part[:count], part[count:]
            self._rest = rest if len(rest) else None
            count -= len(now)
            yield now


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a .npy file of uint8 in C order."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()
