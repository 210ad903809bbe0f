"""Packed data sets as ``Data``, and the check of all their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from gpucnn.data.dataset import Data
from gpucnn.data.files import open_file, unreadable
from gpucnn.data.packed.arrays import DigestFile, Entry, read_array
from gpucnn.data.packed.files import ShardFiles
from gpucnn.data.packed.manifest import (
    FILE_NAME,
    STATE_NAME,
    Manifest,
    PackedSplit,
    read_manifest,
    shard_name,
)
from gpucnn.data.packed.shards import Shards
from gpucnn.data.split import Split
from gpucnn.data.types import OnProgress
from gpucnn.errors import DataError, SettingError

_BLOCK = 1 << 22  # bytes that are hashed at a time


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds a packed data set; DataError if it is not complete."""
    if os.path.isfile(folder / FILE_NAME):
        return True
    if os.path.isfile(folder / STATE_NAME):
        raise DataError(
            f"{folder} is not packed completely: continue with gpucnn pack SOURCE {folder}"
        )
    if os.path.isfile(folder / shard_name("train", 0)):
        raise DataError(f"{folder} has lost its {FILE_NAME}: pack the data set again")
    return False


def read_packed(
    folder: Path,
    regression: bool | None = None,
    targets: tuple[str, ...] | None = None,
    transpose: bool | None = None,
) -> Data:
    """Return the data set in a folder, whose images are read when they are needed.

    The other arguments are those of ``gpucnn.data.load``.

    Raises:
        DataError: a file is missing or of another size, the labels were changed, or dataset.json
            is damaged; or the data set was packed with other arguments.
    """
    manifest = read_manifest(folder)
    _check_arguments(folder, manifest, regression, targets, transpose)
    _check_sizes(folder, manifest)
    splits = {name: _split(folder, split, manifest) for name, split in manifest.splits.items()}
    try:
        return Data(
            splits["train"],
            splits["test"],
            manifest.classes,
            manifest.name,
            validation=splits.get("validation"),
            preparation=manifest.preparation,
            targets=manifest.targets,
            transposed=manifest.transposed,
        )
    except (DataError, SettingError) as error:
        raise DataError(f"{folder}: {error}") from None


def _check_arguments(
    folder: Path,
    manifest: Manifest,
    regression: bool | None,
    targets: tuple[str, ...] | None,
    transpose: bool | None,
) -> None:
    """Raise DataError unless the data set was packed as it is to be read."""
    again = "to change that, pack the source again"
    if regression is not None and regression != bool(manifest.targets):
        kind = "numbers to predict" if manifest.targets else "classes"
        raise DataError(f"the labels that were packed in {folder} are {kind}: {again}")
    if targets is not None and targets != manifest.targets:
        packed, given = ", ".join(manifest.targets), ", ".join(targets)
        raise DataError(f"{folder} was packed with the targets {packed}, not {given}: {again}")
    if transpose is not None and transpose != manifest.transposed:
        how = "with rows and columns exchanged" if manifest.transposed else "as they were stored"
        raise DataError(f"the images in {folder} were packed {how}: {again} (--transpose)")


def _split(folder: Path, split: PackedSplit, manifest: Manifest) -> Split:
    labels = read_array(folder, split.labels, "<f8" if manifest.targets else "<i8")
    files = ShardFiles(folder, split.images, manifest.shape, DigestFile(folder, split.digests))
    return Split(Shards(files, split.recorded), labels)


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    """Raise DataError for the first file that is missing or has another size than was packed."""
    for split in manifest.splits.values():
        for entry in split.entries():
            path = folder / entry.file
            try:
                size = os.stat(path).st_size
            except OSError as error:
                raise unreadable(path, error) from None
            if size != entry.bytes:
                raise DataError(
                    f"{path} has {size} bytes, expected {entry.bytes}: it was cut or changed; pack"
                    " the data set again"
                )


def verify_files(folder: Path, on_progress: OnProgress | None = None) -> tuple[int, int]:
    """Compare all files with their SHA-256, as ``gpucnn.data.verify`` describes."""
    if not is_packed(folder):
        raise DataError(f"{folder} is not a packed data set: it has no {FILE_NAME}")
    manifest = read_manifest(folder)
    entries = [entry for split in manifest.splits.values() for entry in split.entries()]
    total, done, faults = sum(entry.bytes for entry in entries), 0, []
    for entry in entries:
        try:
            for size in _verify(folder, entry):
                done += size
                if on_progress is not None:
                    on_progress("verified", done, total)
        except DataError as error:
            faults.append(str(error))
    if faults:
        more = f" (and {len(faults) - 1} more of {len(entries)} files)" if faults[1:] else ""
        raise DataError(f"{faults[0]}{more}: pack the data set again")
    return len(entries), total


def _verify(folder: Path, entry: Entry) -> Iterator[int]:
    """Hash a file and yield the numbers of bytes; DataError if it is not the one recorded."""
    path, digest, size = folder / entry.file, hashlib.sha256(), 0
    try:
        with open_file(path) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
                yield len(block)
    except OSError as error:
        raise unreadable(path, error) from None
    if size != entry.bytes:
        raise DataError(f"{path} has {size} bytes, expected {entry.bytes}")
    if digest.hexdigest() != entry.sha256:
        raise DataError(f"{path} was changed: its SHA-256 is not the one in {FILE_NAME}")
