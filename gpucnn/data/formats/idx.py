"""Data sets of four IDX files: the images and labels for training and for testing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gpucnn.data.assembly import assemble
from gpucnn.data.dataset import Data
from gpucnn.data.files import list_folder
from gpucnn.data.formats.idx_file import CONTENTS, read_idx, read_labels
from gpucnn.data.formats.idx_lazy import IdxImages
from gpucnn.data.lazy import Images
from gpucnn.data.types import Array
from gpucnn.errors import DataError

# How the name begins for each split, the usual spelling first.
_TRAIN, _TEST = ("train",), ("t10k", "test")
_NAME = re.compile(
    rf"(?:(?P<prefix>.+)-)?(?P<part>{'|'.join((*_TRAIN, *_TEST))})-"
    r"(?:(?P<images>images)[-.]idx3-ubyte|labels[-.](?:idx1-ubyte|idx2-int))(?:\.gz)?"
)


class Key(NamedTuple):
    """The parts of an IDX file's name, such as emnist-letters-train-images-idx3-ubyte."""

    prefix: str  # "emnist-letters"; "" if there is none
    part: str  # "train", "t10k" or "test"
    content: str  # "images" or "labels"


def read_idx_folder(folder: Path, prefix: str | None = None, lazy: bool = False) -> Data:
    """Read the four files of an IDX set.

    Args:
        folder: the folder of the files.
        prefix: selects one of several sets in the folder ("emnist-letters"); None: the only
            set, or the one whose files have no prefix.
        lazy: whether images are read when they are needed.

    Returns:
        Data named after the prefix, or after the folder if there is none.

    Raises:
        DataError: a missing or damaged file, several sets to choose from, or files that do not
            belong together.
    """
    found = idx_files(folder)
    prefixes = sorted({key.prefix for key in found})
    if prefix is None:
        if len(prefixes) > 1 and "" not in prefixes:
            raise DataError(
                f"{folder} holds {len(prefixes)} data sets ({', '.join(prefixes)}):"
                f" give one as {folder / prefixes[0]}"
            )
        prefix = prefixes[0] if prefixes else ""
    train_files = _pair(folder, found, prefix, _TRAIN)
    test_files = _pair(folder, found, prefix, _TEST)
    train, test = (_read_pair(*files, lazy) for files in (train_files, test_files))
    # At least ten classes: a subset of the digits may lack the last ones.
    place = folder.resolve()
    name = prefix or (place.parent if place.name == "raw" else place).name
    return assemble(folder / prefix, name, train, test, min_classes=10)


def idx_files(folder: Path) -> dict[Key, Path]:
    """Return the files in ``folder`` that are named as IDX files; DataError if unreadable.

    In archives from Kaggle each may lie in a folder of its own name.
    """
    files: dict[Key, Path] = {}
    folders: dict[Key, Path] = {}
    # In reverse, so that of "x" and "x.gz" the unpacked file is the one to stay.
    for path in reversed(list_folder(folder)):
        if key := _key(path):
            (folders if os.path.isdir(path) else files)[key] = path
    for key, own in folders.items():
        inside = (file for file in list_folder(own) if _key(file) == key)
        files.setdefault(key, next(inside, own))
    return files


def _key(path: Path) -> Key | None:
    match = _NAME.fullmatch(path.name)
    if not match:
        return None
    return Key(match["prefix"] or "", match["part"], match["images"] or "labels")


def is_idx_name(name: str) -> bool:
    """Return whether a file of this name is one of an IDX set."""
    return _NAME.fullmatch(name) is not None


def _pair(
    folder: Path, found: dict[Key, Path], prefix: str, parts: Sequence[str]
) -> tuple[Path, Path]:
    """Return the image file and the label file of a split; ``parts`` are spellings of its name."""
    present = [part for part in parts if any(key[:2] == (prefix, part) for key in found)]
    part = (present or parts)[0]
    for axes, content in CONTENTS.items():
        if (prefix, part, content) not in found:
            name = "-".join(filter(None, (prefix, part, content, f"idx{axes}-ubyte")))
            others = "".join(f", or {other}-..." for other in parts if other != part)
            names = ", ".join(sorted(path.name for path in found.values())) or "none"
            raise DataError(f"{folder} lacks {name} (or .gz{others}); found: {names}")
    return found[Key(prefix, part, "images")], found[Key(prefix, part, "labels")]


def _read_pair(images: Path, labels: Path, lazy: bool) -> tuple[Images, Array]:
    """Read images (N, 1, H, W) and labels (N,) that belong together."""
    # Labels first: they are quick to read, and most mistakes show in them too.
    numbers = read_labels(labels)
    pixels: Images = IdxImages(images) if lazy else read_idx(images, 3)[:, None]
    if len(pixels) != len(numbers):
        raise DataError(
            f"{images} holds {len(pixels)} images but {labels.name} {len(numbers)} labels:"
            " expected one label for each image"
        )
    return pixels, numbers
