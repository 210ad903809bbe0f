"""Data sets in Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpucnn.data.arrays.build import build_of
from gpucnn.data.arrays.source import Source
from gpucnn.data.arrays.targets import Labelling
from gpucnn.data.dataset import Data
from gpucnn.data.files import format_sides
from gpucnn.data.images.inputs import check_size
from gpucnn.data.images.opening import pillow
from gpucnn.data.lazy import Images, LazyImages
from gpucnn.data.parquet.images import ParquetImages, examine
from gpucnn.data.parquet.table import Parts, find_columns, read_labels
from gpucnn.data.types import Bytes, OnProgress
from gpucnn.errors import DataError


def read_parquet(
    path: Path,
    parts: Parts,
    chosen: Labelling,
    resize: tuple[int, int] | None = None,
    on_progress: OnProgress | None = None,
    lazy: bool = False,
) -> Data:
    """Read the Parquet files of a data set.

    Args:
        path: the file or folder that was given.
        parts: the files, as ``find_files`` returns them. Without files for testing, a fifth of the
            images, chosen by their pixels, is held out.
        chosen: what the user says about the labels.
        resize: (height, width) to which images are scaled.
        on_progress: called with "examined" or "read", the number of images, and their total.
        lazy: whether images are decoded when they are needed.

    Returns:
        Data named after the folder or the file. Classes have the names in Hugging Face's metadata,
        or those that the labels are.

    Raises:
        DataError: a damaged file, columns that are not found, rows without an image or a label, or
            images of different sizes.
        SettingError: pyarrow or Pillow is not installed, or ``resize`` is out of range.
    """
    if resize is not None:
        check_size("resize", resize)
    pillow()
    files = [file for part in parts.values() for file in part]
    columns = find_columns((parts.get("train") or files)[0], chosen)
    common = examine(files, columns.image, resize, on_progress)
    source = Source(path, on_progress=on_progress)
    images: dict[str, Images] = {}
    labels, pairs = {}, {}
    for part, own in parts.items():
        x, y = (f"{what} of {part or own[0].name}" for what in (columns.image, columns.labels[0]))
        decoded = ParquetImages(own, columns.image, common, resize is not None)
        images[x] = decoded if lazy else _in_memory(decoded, on_progress)
        labels[y], pairs[part or "train"] = read_labels(own, columns), (x, y)
    folder = path if path.is_dir() else path.parent
    name = path.stem if "" in parts and path.is_file() else folder.resolve().name
    return build_of(source, name, pairs, images, labels, columns.classes, chosen)


def _in_memory(images: LazyImages, on_progress: OnProgress | None) -> Bytes:
    """Return images as an array."""
    try:
        pixels: Bytes = np.empty(images.shape, np.uint8)
    except (MemoryError, ValueError):  # NumPy raises ValueError beyond 2**63 bytes
        raise DataError(
            f"{format_sides(images.shape)} bytes of pixels do not fit in memory: choose a smaller"
            " size with resize=(H, W) or --resize HxW, or pack them: gpucnn pack SOURCE FOLDER"
        ) from None
    done = 0
    for chunk in images.chunks():
        pixels[done : done + len(chunk)] = chunk
        done += len(chunk)
        if on_progress is not None:
            on_progress("read", done, len(images))
    return pixels
