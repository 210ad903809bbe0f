"""Data sets as folders of image files: one sub-folder for each class, named after it.

The class folders lie in train/ and in test/. If there are no such two, they lie in the folder
itself, and a fifth of each class, drawn with a seed, becomes the test split.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gpucnn.data.dataset import Bytes, Data, Split
from gpucnn.data.files import format_sides, list_folder, unreadable
from gpucnn.data.images import SUFFIXES, as_input, check_size, image_shape, read_image
from gpucnn.errors import DataError
from gpucnn.rng import Stream, generator

# Path and class number of each image.
_Items = list[tuple[Path, int]]

# One image of so many in each class is a test image.
_TEST_SHARE = 5


def read_folder(
    folder: Path | str, *, resize: tuple[int, int] | None = None, seed: int = 0
) -> Data:
    """Read a folder of image files.

    The images are grey if every file is grey, else red, green and blue. Hidden files, and files
    without the suffix of an image, are skipped.

    Args:
        folder: the folder of train/ and test/, or of the classes.
        resize: (height, width) in pixels to which every image is scaled; None: all must have
            the same size.
        seed: if there are no train/ and test/, it determines the test images, together with the
            sorted names of the files and nothing else.

    Returns:
        Data named after the folder; classes are the sorted names of the sub-folders.

    Raises:
        DataError: no classes, an empty class, classes that differ between train/ and test/, a
            damaged image, or images of different sizes.
        SettingError: ``resize`` or ``seed`` out of range, or Pillow is not installed.
    """
    folder = Path(folder)
    if resize is not None:
        check_size("resize", resize)
    found = _sub_folders(folder)
    if {"train", "test"} <= found.keys():
        classes, train, test = _given_split(found["train"], found["test"])
    else:
        classes, train, test = _drawn_split(folder, seed)
    # Shuffled, so that the first N training images contain every class in proportion.
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
    """List the classes and the images of train/ and test/."""
    train_classes, test_classes = _classes(train), _classes(test)
    for one, classes, other, others in (
        (train, train_classes, test, test_classes),
        (test, test_classes, train, train_classes),
    ):
        if missing := sorted(others.keys() - classes.keys()):
            raise DataError(
                f"{one} lacks the classes {', '.join(missing)} of {other}: both need the same"
                " sub-folders"
            )
    train_items, test_items = (
        [(path, number) for number, paths in enumerate(classes.values()) for path in paths]
        for classes in (train_classes, test_classes)
    )
    return list(train_classes), train_items, test_items


def _drawn_split(folder: Path, seed: int) -> tuple[list[str], _Items, _Items]:
    """List the classes and the images of a folder, a fifth of each class for testing."""
    classes = _classes(folder)
    train: _Items = []
    test: _Items = []
    for number, paths in enumerate(classes.values()):
        share = max(1, len(paths) // _TEST_SHARE) if len(paths) > 1 else 0
        drawn = set(generator(seed, Stream.SPLIT, number).permutation(len(paths))[:share].tolist())
        for index, path in enumerate(paths):
            (test if index in drawn else train).append((path, number))
    if not test:
        raise DataError(f"{folder} has one image in each class: add more, some are for testing")
    return list(classes), train, test


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class, both sorted by name."""
    classes = {}
    for name, sub_folder in _sub_folders(folder).items():
        classes[name] = [path for path in _visible(sub_folder) if path.suffix.lower() in SUFFIXES]
        if not classes[name]:
            deeper = _sub_folders(sub_folder)
            hint = f" (but folders: {', '.join(list(deeper)[:3])})" if deeper else ""
            raise DataError(
                f"{sub_folder} holds no images{hint}: every folder next to it is a class;"
                " expected CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
            )
    if not classes:
        raise DataError(
            f"{folder} is not a data set: it holds neither IDX files nor a folder for each class"
        )
    return classes


def _sub_folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders that are not hidden by name, sorted."""
    try:
        return {path.name: path for path in _visible(folder) if path.is_dir()}
    except OSError as error:
        raise unreadable(folder, error) from None


def _visible(folder: Path) -> list[Path]:
    """Return the entries of a folder that are not hidden, sorted by name."""
    return [path for path in list_folder(folder) if not path.name.startswith(".")]


def _common_shape(
    paths: Iterable[Path], resize: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """Return channels and (height, width) of the images; DataError if their sizes differ."""
    channels, first, size = 1, None, (0, 0)
    for path in paths:
        shape = image_shape(path)
        channels = max(channels, shape[0])
        if first is None:
            first, size = path, shape[1:]
        elif resize is None and shape[1:] != size:
            raise DataError(
                f"{first} is {format_sides(size)} pixels (height x width), but {path} is"
                f" {format_sides(shape[1:])}: scale all to one size with"
                " resize=(H, W) or --resize HxW"
            )
    return channels, resize or size


def _read(items: _Items, channels: int, size: tuple[int, int]) -> Split:
    """Read the images into one array."""
    shape = (len(items), channels, *size)
    try:
        images: Bytes = np.empty(shape, dtype=np.uint8)
    except (MemoryError, ValueError):  # NumPy raises ValueError beyond 2**63 bytes
        raise DataError(
            f"{format_sides(shape)} bytes of pixels do not fit in memory: choose a smaller size"
            " with resize=(H, W) or --resize HxW"
        ) from None
    for index, (path, _) in enumerate(items):
        images[index] = as_input(read_image(path), channels, size)
    return Split(images, np.array([number for _, number in items], dtype=np.int64))
