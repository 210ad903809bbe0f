"""Data sets as tables of text (CSV): a row for each image, its label and its pixels.

So are Kaggle's digit recognizer and sign language sets, and MNIST, Fashion-MNIST and EMNIST in
CSV: with or without a header, separated by commas, semicolons or tabs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpucnn.data.arrays.build import Roles, build
from gpucnn.data.arrays.parts import EAGER, Lazy
from gpucnn.data.arrays.pixels import AnyArray
from gpucnn.data.arrays.source import Source
from gpucnn.data.arrays.targets import AUTO, Labelling
from gpucnn.data.dataset import Data
from gpucnn.data.files import list_folder
from gpucnn.data.formats.rows import has_images, read_rows
from gpucnn.errors import DataError

SUFFIXES = (".csv", ".tsv")

_VALIDATION = ("validation", "valid", "val")


def find_table(folder: Path, chosen: Labelling = AUTO) -> Path | None:
    """Return the table of the training images in a folder, None if it holds no table of images.

    Each may lie in a folder of its own name, as in Kaggle's archives.
    """
    found = [path for path in _tables(folder) if has_images(path, chosen)]
    found = [path for path in found if "train" in path.stem.lower()] or found
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder} holds several tables: {names}. Give the one of training images")
    return found[0] if found else None


def _tables(folder: Path) -> Iterator[Path]:
    for path in list_folder(folder):
        if path.suffix.lower() in SUFFIXES and os.path.isfile(path):
            yield path
        elif os.path.isdir(path) and not path.name.startswith("."):
            names = [path.name, *(f"{path.name}{suffix}" for suffix in SUFFIXES)]
            inside = (path / name for name in names)
            yield from (
                one for one in inside if one.suffix.lower() in SUFFIXES and os.path.isfile(one)
            )


def read_table(path: Path | str, chosen: Labelling = AUTO, lazy: Lazy = EAGER) -> Data:
    """Read the table of training images, and those of the test and validation images next to it.

    The columns that ``chosen.targets`` names, or with ``chosen.regression`` that of the labels, are
    numbers to predict. If ``lazy``, images are read when they are needed.

    Returns:
        Data named after the file without "train", or after its folder.

    Raises:
        DataError: an unreadable or damaged table, one without labels, or rows that are not images.
    """
    path = Path(path)
    training = next(_siblings(path, "test", ("train",)), None)
    if training:
        raise DataError(f"{path} belongs to the training images in {training}: give that")
    train = read_rows(path, chosen, lazy)
    if train is None:
        raise DataError(
            f"{path} has columns of pixels but none of labels, so it can neither train nor test a"
            " network: give the table with a column named label, such as train.csv, or name the"
            " columns of numbers to predict with --targets"
        )
    tables, remarks = {"": train}, []
    for part, words in (("test", ("test",)), ("val", _VALIDATION)):
        other = next(_siblings(path, "train", words), None)
        table = read_rows(other, chosen, lazy) if other else None
        if table:
            tables[part] = table
        elif other:
            remarks.append(f"{other.name} has no labels and is not used")
    if len(tables) > 1:
        tables = {"train": tables.pop(""), **tables}
    arrays: dict[str, AnyArray] = {}
    roles: Roles = {}
    loading = "d = {}; "
    for part, table in tables.items():
        prefix = f"{part}_" if part else ""
        images, labels = f"{prefix}pixels", f"{prefix}labels"
        arrays |= {images: table.pixels, labels: table.labels}
        roles |= {(part, "images"): images, (part, "labels"): labels}
        loading += table.loading.replace("PREFIX_", prefix)
    if not chosen.regression:  # without it a table has classes, whatever the labels look like
        chosen = Labelling(False)
    elif train.targets:
        chosen = chosen._replace(targets=train.targets)
    source = Source(path, loading, typed=False, remarks=remarks, on_progress=lazy.on_progress)
    return build(source, _name(path), arrays, roles, chosen=chosen)


def _name(path: Path) -> str:
    """Return the name of a data set: the file's without "train", or the folder's."""
    name = re.sub(r"[-_. ]?train(ing)?$|^train(ing)?[-_. ]?", "", path.stem, flags=re.IGNORECASE)
    return name or path.resolve().parent.name or path.stem


def _siblings(path: Path, word: str, others: Sequence[str]) -> Iterator[Path]:
    """Yield the files that are named as ``path`` with one of ``others`` in place of ``word``."""
    for other in others:
        for change in (str.lower, str.capitalize, str.upper):
            found = _sibling(path, change(word), change(other))
            if found and os.path.isfile(found):
                yield found


def _sibling(path: Path, word: str, other: str) -> Path | None:
    """Return the path with ``other`` for ``word`` in the file's name, and its folder's if there."""
    if word not in path.name:
        return None
    name = path.name.replace(word, other)
    own_folder = path.parent.name in (path.stem, path.name)
    parent = path.parent.with_name(path.parent.name.replace(word, other)) if own_folder else None
    nested = parent / name if parent else None
    return nested if nested and os.path.isfile(nested) else path.with_name(name)
