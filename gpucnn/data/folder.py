"""Data sets as folders of pictures: one sub-folder for each class, named after it.

The classes lie in train/ and in test/, or, where there are not these two, in the folder itself;
then a fifth of each class, drawn by a seed, becomes the test split.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gpucnn.data.dataset import Bytes, Data, Split
from gpucnn.data.images import SUFFIXES, as_input, picture_shape, read_picture
from gpucnn.errors import DataError, SettingError
from gpucnn.rng import Stream, generator

# file and class number of each picture
_Items = list[tuple[Path, int]]

# of each class, one picture in so many is for testing
_TEST_SHARE = 5


def read_folder(
    folder: Path | str, *, resize: tuple[int, int] | None = None, seed: int = 0
) -> Data:
    """Read a folder of pictures.

    Grey if every picture is grey, red, green and blue otherwise. Hidden files, and files whose
    suffix is not that of a picture, are passed over.

    Args:
        folder: where train/ and test/, or the classes, lie.
        resize: (height, width) in pixels to which every picture is stretched; None: all must be
            of one size already.
        seed: where there are no train/ and test/, decides with the sorted names of the files,
            and with nothing else, which of them are for testing.

    Returns:
        Data named after the folder; classes are the sorted names of the sub-folders.

    Raises:
        DataError: no classes, an empty class, classes that differ between train/ and test/, a
            broken picture, or pictures of unequal size.
        SettingError: ``resize`` or ``seed`` out of range, or Pillow is not installed.
    """
    folder = Path(folder)
    if resize is not None and min(resize) < 1:
        raise SettingError(f"resize is {resize[0]}x{resize[1]}: both sides must be 1 or more")
    found = _folders(folder)
    if {"train", "test"} <= set(found):
        classes, train, test = _given_split(found["train"], found["test"])
    else:
        classes, train, test = _drawn_split(folder, seed)
    # Sorted by class no more: the first N training pictures are a fair share of every class.
    order = generator(0, Stream.SPLIT, len(train)).permutation(len(train))
    train = [train[index] for index in order]
    channels, size = _common_shape([path for path, _ in train + test], resize)
    return Data(
        _read(train, channels, size),
        _read(test, channels, size),
        tuple(classes),
        folder.resolve().name,
    )


def _given_split(train: Path, test: Path) -> tuple[list[str], _Items, _Items]:
    """List the classes and the pictures of train/ and test/."""
    train_classes, test_classes = _classes(train), _classes(test)
    for one, classes, other, others in (
        (train, train_classes, test, test_classes),
        (test, test_classes, train, train_classes),
    ):
        if missing := sorted(others.keys() - classes.keys()):
            raise DataError(
                f"{one} lacks the classes {', '.join(missing)}, which {other} has:"
                " both must have the same"
            )
    items = [
        [(path, number) for number, paths in enumerate(classes.values()) for path in paths]
        for classes in (train_classes, test_classes)
    ]
    return list(train_classes), items[0], items[1]


def _drawn_split(folder: Path, seed: int) -> tuple[list[str], _Items, _Items]:
    """List the classes and the pictures of a folder, with a fifth of each class for testing."""
    classes = _classes(folder)
    train: _Items = []
    test: _Items = []
    for number, paths in enumerate(classes.values()):
        share = max(1, len(paths) // _TEST_SHARE) if len(paths) > 1 else 0
        drawn = set(generator(seed, Stream.SPLIT, number).permutation(len(paths))[:share].tolist())
        for index, path in enumerate(paths):
            (test if index in drawn else train).append((path, number))
    if not test:
        raise DataError(f"{folder} has one picture for each class: none is left for testing")
    return list(classes), train, test


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures of each class, both in the order of their names."""
    classes = {}
    for name, sub_folder in _folders(folder).items():
        classes[name] = [path for path in _entries(sub_folder) if path.suffix.lower() in SUFFIXES]
        if not classes[name]:
            deeper = _folders(sub_folder)
            hint = f" (but folders: {', '.join(list(deeper)[:3])})" if deeper else ""
            raise DataError(
                f"{sub_folder} holds no pictures{hint}: every folder beside it is a class;"
                " wanted CLASS/PICTURE, or train/CLASS/PICTURE and test/CLASS/PICTURE"
            )
    if not classes:
        raise DataError(
            f"{folder} is no data set: it holds neither IDX files nor a folder for each class"
        )
    return classes


def _folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders that are not hidden by their names, sorted."""
    try:
        return {path.name: path for path in _entries(folder) if path.is_dir()}
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from None


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden, sorted by name."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from None
    # by the name alone: paths compare differently on different systems
    return sorted(found, key=lambda path: path.name)


def _common_shape(
    paths: Iterable[Path], resize: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """Return channels and (height, width) for pictures; DataError if their sizes differ."""
    channels, first, size = 1, None, (0, 0)
    for path in paths:
        shape = picture_shape(path)
        channels = max(channels, shape[0])
        if first is None:
            first, size = path, shape[1:]
        elif resize is None and shape[1:] != size:
            raise _unequal(first, size, path, shape[1:])
    return channels, resize or size


def _read(items: _Items, channels: int, size: tuple[int, int]) -> Split:
    """Read the pictures into one array."""
    shape = (len(items), channels, *size)
    try:
        images: Bytes = np.empty(shape, dtype=np.uint8)
    except MemoryError:
        sides = "x".join(str(side) for side in shape)
        raise DataError(f"{sides} bytes of pixels do not fit in memory: resize to less") from None
    for index, (path, _) in enumerate(items):
        images[index] = as_input(read_picture(path), channels, size)
    return Split(images, np.array([number for _, number in items], dtype=np.int64))


def _unequal(
    first: Path, size: tuple[int, int], other: Path, other_size: tuple[int, int]
) -> DataError:
    return DataError(
        f"{first} is {size[0]}x{size[1]} pixels (height x width), but {other} is"
        f" {other_size[0]}x{other_size[1]}: give all one size with --resize HxW"
    )
