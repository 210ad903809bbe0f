"""Parquet files: which make up a data set, and which of their columns hold images and labels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.config import import_extra
from gpucnn.data.arrays.targets import Labelling
from gpucnn.data.files import list_folder, open_file, unreadable
from gpucnn.data.types import Array
from gpucnn.errors import DataError

SUFFIX = ".parquet"

_PARTS = {"train": "train|training", "test": "test|testing", "val": "validation|valid|val|dev"}
_PART = re.compile(
    "(?:" + "|".join(f"(?P<{part}>{words})" for part, words in _PARTS.items()) + r")(?![a-z])",
    re.IGNORECASE,
)
_IMAGES = ("image", "img", "images", "pixels", "png", "jpg")
_LABELS = ("label", "labels", "class", "target", "y", "digit", "fine_label")

_LABEL_TYPES = re.compile("u?int|float|double|halffloat|bool|string|large_string|dictionary")
"""Types of pyarrow, by the beginnings of their names"""

Parts = dict[str, list[Path]]
"""The files by what they are for: "train", "test", "val", or "" if their names do not say it."""


def find_files(path: Path) -> Parts:
    """Return the Parquet files of a data set: of a folder, or next to the training file ``path``.

    They are named train-*, test-* and validation-*, lie in folders of these names, or are all of
    one kind. Without such files the result is empty.
    """
    if not os.path.isdir(path):
        part = _part(path.stem)
        return {"": [path]} if part is None else _named(_files(path.parent), path.parent)
    for folder in (path, path / "data"):
        if os.path.isdir(folder) and (files := _files(folder)):
            return _named(files, folder)
    inside: Parts = {}
    for folder in list_folder(path):
        part = _part(folder.name)
        if part is not None and os.path.isdir(folder) and (files := _files(folder)):
            inside.setdefault(part, []).extend(files)
    return inside


def _files(folder: Path) -> list[Path]:
    return [file for file in list_folder(folder) if file.suffix.lower() == SUFFIX]


def _part(name: str) -> str | None:
    """Return what a file is for by the first word of its name, None if that does not say it."""
    match = _PART.match(name)
    return next((part for part in _PARTS if match[part]), None) if match else None


def _named(files: list[Path], folder: Path) -> Parts:
    parts: Parts = {}
    for file in files:
        parts.setdefault(_part(file.stem) or "", []).append(file)
    if "" in parts and len(parts) > 1:
        raise DataError(
            f"{folder} holds {parts[''][0].name} next to files named train, test or validation:"
            " expected names such as train-00000-of-00002.parquet for all"
        )
    if "" not in parts and "train" not in parts:
        raise DataError(f"{folder} holds no training images: expected a file train-*.parquet")
    return parts


@contextmanager
def open_table(path: Path) -> Iterator[Any]:
    """Open a Parquet file; every fault within the block becomes a DataError.

    SettingError if pyarrow is not installed.
    """
    parquet = import_extra("pyarrow.parquet", "pyarrow", "reading Parquet files", "parquet")
    lib = import_extra("pyarrow", "pyarrow", "reading Parquet files", "parquet")
    try:
        with open_file(path) as file:
            yield parquet.ParquetFile(file, pre_buffer=False)
    except lib.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is not a Parquet file, or is damaged: {reason}") from None
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise unreadable(path, OSError(error.errno, reason)) from None


@dataclass(frozen=True)
class Columns:
    """The columns of images and labels, and the names of the classes if the file has them."""

    image: str
    labels: tuple[str, ...]
    classes: tuple[str, ...] | None


def find_columns(path: Path, chosen: Labelling) -> Columns:
    """Return the columns of a file; DataError if it does not show which they are."""
    with open_table(path) as table:
        schema = table.schema_arrow
    names = ", ".join(schema.names)
    images = [field.name for field in schema if _holds_images(field.type)]
    image = _choose(images, _IMAGES)
    if image is None:
        what = "several columns of images" if images else "no column of image files"
        raise DataError(
            f"{path} has {what} (columns: {names}): expected one named image, a struct with bytes"
        )
    if chosen.targets is not None:
        for name in chosen.targets:
            if name not in schema.names:
                raise DataError(f"{path} has no column named {name!r} (columns: {names})")
        return Columns(image, chosen.targets, None)
    features = _features(schema)
    coded = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    rest = [field.name for field in schema if field.name != image and _may_be_label(field.type)]
    label = _choose([name for name in rest if name in coded], _LABELS) or _choose(rest, _LABELS)
    if label is None:
        raise DataError(
            f"{path} has no column named label (columns: {names}): name columns of numbers to"
            " predict with --targets"
        )
    classes = features.get(label, {}).get("names")
    valid = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return Columns(image, (label,), tuple(classes) if valid and classes else None)


def _holds_images(kind: Any) -> bool:
    """Return whether a column of this type of pyarrow may hold image files."""
    text = str(kind)
    return text in ("binary", "large_binary") or (
        text.startswith("struct<") and re.search(r"\bbytes: (large_)?binary", text) is not None
    )


def _may_be_label(kind: Any) -> bool:
    """Return whether a column of this type of pyarrow may hold labels."""
    return _LABEL_TYPES.match(str(kind)) is not None


def _choose(names: list[str], known: tuple[str, ...]) -> str | None:
    """Return the first of the ``known`` names that is there, or the only name, else None."""
    found = [name for word in known for name in names if name.lower() == word]
    return found[0] if found else names[0] if len(names) == 1 else None


def _features(schema: Any) -> dict[str, Any]:
    """Return what Hugging Face's metadata have of each column, {} if there are none."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return {name: one for name, one in found.items() if isinstance(one, dict)}


def read_labels(paths: list[Path], columns: Columns) -> Array:
    """Return the labels of files, (N,), or (N, K) of several columns."""
    return np.concatenate([_labels(path, columns) for path in paths])


def _labels(path: Path, columns: Columns) -> Array:
    with open_table(path) as table:
        missing = [name for name in columns.labels if name not in table.schema_arrow.names]
        if missing:
            raise DataError(f"{path} has no column {missing[0]}, unlike the training file")
        content = table.read(columns=list(columns.labels))
    for name in columns.labels:
        if content.column(name).null_count:
            row = content.column(name).is_null().to_pylist().index(True)
            raise DataError(f"{path}, row {row} has no {name}: expected a label for each image")
    values = [np.array(content.column(name).to_pylist()) for name in columns.labels]
    return values[0] if len(values) == 1 else np.stack(values, axis=1)
