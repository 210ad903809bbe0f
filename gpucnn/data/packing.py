"""Packing data sets of any size into folders of .npy files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpucnn.data.choice import Reading, read
from gpucnn.data.dataset import Data
from gpucnn.data.files import recording
from gpucnn.data.finishing import finished, read_mnist
from gpucnn.data.packed import state, writing
from gpucnn.data.packed.manifest import read_manifest
from gpucnn.errors import DataError, DataWarning, SettingError

BUILTIN = "mnist"


def pack_source(
    source: str | os.PathLike[str],
    folder: Path,
    how: Reading,
    shard_bytes: int = writing.SHARD_BYTES,
) -> tuple[str, ...]:
    """Pack a data set, as ``gpucnn.data.pack`` describes; return the notes on how it was read.

    ``how`` is lazy. ``shard_bytes`` is the size of a file of images; a split has at most 128.
    """
    name = os.fspath(source)
    options: dict[str, Any] = {
        "source": name if name == BUILTIN else os.path.abspath(name),
        "resize": how.resize,
        "seed": how.seed,
        "transpose": how.transpose,
        "regression": how.labels.regression,
        "targets": how.labels.targets,
    }
    _check_place(folder, name)
    with state.opened(folder, options) as is_complete:
        if is_complete:
            manifest = read_manifest(folder)
            _check_same(folder, options["source"], manifest.source.get("files", {}))
            return manifest.notes
        with recording() as opened:
            data = _read(name, how._replace(folder=os.fspath(folder)))
        parent = os.path.dirname(options["source"])
        sources = {
            os.path.relpath(path, parent): state for path, state in opened.files.items()
        } | opened.notes
        writing.write(
            data,
            folder,
            options,
            {} if name == BUILTIN else sources,
            shard_bytes=shard_bytes,
            on_progress=how.on_progress,
            check=opened.check,
        )
        return data.notes


def _read(source: str, how: Reading) -> Data:
    """Return the data set; what should be known about it is in its notes."""
    if source == BUILTIN:
        how.refuse_resize(Path(source))
        how.labels.refuse(source)
        if how.transpose:
            raise SettingError("transpose (--transpose yes) is for your own data, not for mnist")
        return read_mnist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return finished(read(Path(source), how), how.transpose)


def _check_same(folder: Path, source: str, sources: Mapping[str, Any]) -> None:
    """Raise DataError if one of the files that were packed in ``folder`` has changed since.

    ``sources`` are their sizes and times, of a folder of images a digest of those of all. Sources
    that are no longer there may be missed by nobody.
    """
    for name, packed in sources.items():
        path, same = os.path.join(os.path.dirname(source), name), True
        if isinstance(packed, dict):
            path, same = source, not os.path.isdir(source) or _has_files(source, packed)
        elif os.path.isfile(path):
            status = os.stat(path)
            same = [status.st_size, status.st_mtime_ns] == packed
        if not same:
            raise DataError(
                f"{path} has changed since it was packed in {folder}: remove {folder}, or give"
                " another folder"
            )


def _has_files(source: str, packed: Mapping[str, Any]) -> bool:
    """Return whether a folder of images has the files that were packed."""
    from gpucnn.data.folders.reader import identify_files

    try:
        return identify_files(Path(source)) == packed
    except DataError:  # it has no longer a folder for each class
        return False


def _check_place(folder: Path, source: str) -> None:
    """Raise DataError if ``folder`` is a file, or inside the source as a part of it."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give a new folder to pack into")
    if source != BUILTIN and Path(source).resolve() in folder.resolve().parents:
        raise DataError(f"{folder} is inside {source}: give a new folder outside it to pack into")
