"""Data sets as folders of image files: one sub-folder for each class, named after it.

The class folders are in train/ and test/, and perhaps in val/. If there are no such folders,
they are in the folder itself, and about a fifth of the images becomes the test split, chosen by a
hash of each file's content.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpucnn.config import check_integer
from gpucnn.data.dataset import Data
from gpucnn.data.folders.decoding import ImageFile, examine, read
from gpucnn.data.folders.lazy import Cache, FileImages, examine_files, identify
from gpucnn.data.folders.listing import Classes, Report, find_parts, list_classes
from gpucnn.data.images.inputs import check_size
from gpucnn.data.images.opening import pillow, quiet
from gpucnn.data.lazy import Images
from gpucnn.data.lazy import part as part_of
from gpucnn.data.sides import draw_test
from gpucnn.data.split import Split
from gpucnn.data.types import Bytes, OnProgress
from gpucnn.errors import DataError
from gpucnn.rng import Stream, generator


def read_folder(
    folder: Path | str,
    *,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    lazy: bool = False,
    cache: Cache | None = None,
) -> Data:
    """Read a folder of image files, in several threads.

    Every file that Pillow reads is an image, whatever its name; sub-folders of a class belong to
    it. The images are grey if every file is grey, else red, green and blue. What is not read is
    counted in the ``notes`` of the data set.

    Args:
        folder: the folder of train/, test/ and val/, or of the classes.
        resize: (height, width) in pixels to which every image is scaled; None: all must have
            the same size.
        seed: if there are no train/ and test/, it determines the test images, together with the
            content of each file and nothing else; see ``gpucnn.data.sides``.
        on_progress: see ``OnProgress``.
        lazy: whether images are decoded when they are needed; all are decoded once to find those
            that cannot be.
        cache: of lazy images, files where the results of that are kept: see ``examine_files``.

    Returns:
        Data named after the folder; classes are the sorted names of the sub-folders.

    Raises:
        DataError: no classes, a class without images, classes that differ between train/ and
            test/, or images of different sizes.
        SettingError: ``resize`` or ``seed`` out of range, or Pillow is not installed.
    """
    folder = Path(folder)
    if resize is not None:
        check_size("resize", resize)
    check_integer("seed", seed, 0)
    pillow()
    found = _list(folder)
    with quiet:
        if lazy:
            images, order, bounds, pixels = _lazily(found, resize, seed, on_progress, cache)
        else:
            images, order, bounds, pixels = _eagerly(found, resize, seed, on_progress)
    train, test, validation = _splits(images, order, bounds, pixels)
    assert train is not None
    assert test is not None
    notes = (*_nested_note(images, found), *found.report.notes())
    name = folder.resolve().name
    return Data(train, test, found.names, name, validation=validation, notes=notes)


def identify_files(folder: Path) -> dict[str, Any]:
    """Return what identifies the files of a folder of images, by a listing alone."""
    return identify(_list(folder).images, folder)


@dataclass(frozen=True)
class _Listed:
    """The files of a folder."""

    folder: Path
    parts: dict[str, Path]  # the folders of the splits
    classes: dict[str, Classes]  # of each split
    names: tuple[str, ...]  # of the classes
    images: list[ImageFile]
    report: Report


class _Ordered(NamedTuple):
    """Images of all splits."""

    images: Sequence[ImageFile]
    order: npt.NDArray[np.int64]  # by their splits
    bounds: list[int]  # where each split ends in it
    pixels: Images  # in this order


def _list(folder: Path) -> _Listed:
    """Find the splits, classes and files of a folder."""
    report = Report(folder)
    parts = find_parts(folder, report)
    classes = {part: list_classes(path, report) for part, path in parts.items()}
    names = _common_classes(parts, classes)
    labels = {name: label for label, name in enumerate(names)}
    images = [
        ImageFile(path, part, labels[name])
        for part, files in classes.items()
        for name, paths in files.items()
        for path in paths
    ]
    return _Listed(folder, parts, classes, tuple(names), images, report)


def _lazily(
    found: _Listed,
    resize: tuple[int, int] | None,
    seed: int,
    on_progress: OnProgress | None,
    cache: Cache | None,
) -> _Ordered:
    """Decode all images once to find those that cannot be; return images that are read later."""
    images, contents, shape, bits = examine_files(
        found.images, resize, found.report, on_progress, cache
    )
    _check_classes(images, found)
    order, bounds = _order(found.folder, images, [True] * len(images), contents, seed)
    paths = [images[index].path for index in order.tolist()]
    pixels = FileImages(paths, contents[order], shape, bits, resize is not None)
    return _Ordered(images, order, bounds, pixels)


def _eagerly(
    found: _Listed, resize: tuple[int, int] | None, seed: int, on_progress: OnProgress | None
) -> _Ordered:
    """Read all images into memory."""
    images = examine(found.images, resize, found.report, on_progress)
    _check_classes(images, found)
    pixels, digests = read(images, resize, on_progress)
    for image, result in zip(images, digests, strict=True):
        if isinstance(result, DataError):
            found.report.add_error(Path(image.path), result)
    present = [isinstance(digest, bytes) for digest in digests]
    _check_classes(compress(images, present), found)
    contents = [digest for digest in digests if isinstance(digest, bytes)]
    order, bounds = _order(found.folder, images, present, contents, seed)
    _rearrange(pixels, order.tolist())
    return _Ordered(images, order, bounds, pixels)


def _common_classes(parts: dict[str, Path], classes: dict[str, Classes]) -> list[str]:
    """Return the names of the classes; DataError if a split lacks some, but not the validation."""
    for other, found in classes.items():
        for one, wanted in classes.items():
            missing = sorted(wanted.keys() - found.keys())
            if missing and other != "validation":
                raise DataError(
                    f"{parts[other]} lacks the classes {', '.join(missing)} of {parts[one]}: both"
                    " need the same sub-folders"
                )
    return list(next(iter(classes.values())))


def _check_classes(images: Iterable[ImageFile], found: _Listed) -> None:
    """Raise DataError if a class has no images."""
    present, report = {(image.part, image.label) for image in images}, found.report
    for part, files in found.classes.items():
        for label, name in enumerate(files):
            if part == "validation" or (part, label) in present:
                continue
            folder = found.parts[part] / name
            lines = [line for line in report.unread if line.startswith(f"{report.name(folder)}/")]
            hint = f" that can be read ({lines[0]})" if lines else ""
            raise DataError(
                f"{folder} holds no images{hint}: every folder next to it is a class;"
                " expected CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
            )


def _order(
    folder: Path,
    images: Sequence[ImageFile],
    present: Sequence[bool],
    contents: Sequence[bytes] | npt.NDArray[Any],
    seed: int,
) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Return the order of the images, by their splits, and where each split ends.

    Those that are not ``present`` come last. ``contents`` are digests of those that are.
    """
    parts = np.array([image.part for image in images], "U10")
    there = np.array(present)
    parts[~there] = "none"
    drawn = np.flatnonzero(parts == "all")
    if len(drawn):
        labels = np.array([images[index].label for index in drawn.tolist()])
        chosen = contents
        if len(drawn) < len(contents):
            chosen = [contents[index] for index in np.flatnonzero(parts[there] == "all").tolist()]
        sides = draw_test(chosen, labels, seed)
        parts[drawn] = np.where(sides, "test", "train")
    order: list[npt.NDArray[np.int64]] = []
    for part in ("train", "test", "validation", "none"):
        members = np.flatnonzero(parts == part)
        if part == "train":
            # Shuffled, so that the first N training images contain every class in proportion.
            members = members[generator(0, Stream.SPLIT, len(members)).permutation(len(members))]
        if part in ("train", "test") and not len(members):
            alike = len(np.unique(np.asarray(contents))) < len(contents)
            raise DataError(
                f"{folder} has one{' different' * alike} image in each class: add more, some are"
                " for testing"
            )
        order.append(members)
    return np.concatenate(order), np.cumsum([0, *map(len, order)]).tolist()


def _splits(
    images: Sequence[ImageFile],
    order: npt.NDArray[np.int64],
    bounds: list[int],
    pixels: Images,
) -> list[Split | None]:
    """Return the training, test and validation split: parts of ``pixels``, which is in order."""
    labels = np.array([images[index].label for index in order.tolist()], dtype=np.int64)
    return [
        Split(part_of(pixels, slice(start, end)), labels[start:end]) if end > start else None
        for start, end in pairwise(bounds[:-1])
    ]


def _rearrange(rows: Bytes, order: list[int]) -> None:
    """Replace ``rows`` by ``rows[order]`` in place: a second array may not fit in memory."""
    done = [False] * len(order)
    for start in range(len(order)):
        if done[start] or order[start] == start:
            continue
        first, position = rows[start].copy(), start
        while order[position] != start:
            rows[position] = rows[order[position]]
            done[position] = True
            position = order[position]
        rows[position] = first
        done[position] = True


def _nested_note(images: Sequence[ImageFile], found: _Listed) -> list[str]:
    """Return a line on the images that lie in sub-folders of a class, if there are some."""
    depth = {part: len(folder.parts) for part, folder in found.parts.items()}
    nested = [im.path for im in images if im.path.count(os.sep) > depth[im.part] + 1]
    if not nested:
        return []
    return [
        f"{found.folder}: {len(nested)} images in sub-folders of a class belong to that class, for"
        f" example {found.report.name(Path(nested[0]))}"
    ]
