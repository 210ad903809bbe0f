"""Packed data sets for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gpucnn.data import Data, load
from gpucnn.data.packed.state import opened
from gpucnn.data.packed.writing import write


def pack_data(data: Data, folder: Path, shard_bytes: int = 640) -> Data:
    """Pack a data set into files of so many bytes, and return it as it is read from there."""
    options = {"made": "by a test"}
    with opened(folder, options):
        write(
            replace(data, preparation=data.preparation or "plain"),
            folder,
            options,
            {},
            shard_bytes=shard_bytes,
        )
    return load(folder)
