"""Data sets as folders of image files: one sub-folder for each class, named after it.

The class folders are in train/ and test/, and perhaps in val/. If there are no such folders,
they are in the folder itself, and about a fifth of the images becomes the test split, chosen by a
hash of each file's content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from gpucnn.config import check_integer
from gpucnn.data.dataset import Data
from gpucnn.data.folders.decoding import ImageFile, OnProgress, examine, read
from gpucnn.data.folders.listing import Classes, Report, find_parts, list_classes
from gpucnn.data.images.inputs import check_size
from gpucnn.data.images.opening import pillow, quiet
from gpucnn.data.sides import draw_test
from gpucnn.data.split import Split
from gpucnn.data.types import Bytes
from gpucnn.errors import DataError
from gpucnn.rng import Stream, generator

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_folder(
    folder: Path | str,
    *,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
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
    with quiet:
        images = examine(images, resize, report, on_progress)
        _check_classes(images, parts, classes, report)
        pixels, digests = read(images, resize, on_progress)
    for image, result in zip(images, digests, strict=True):
        if isinstance(result, DataError):
            report.add_error(image.path, result)
    _check_classes(
        [image for image, digest in zip(images, digests, strict=True) if isinstance(digest, bytes)],
        parts,
        classes,
        report,
    )
    train, test, validation = _splits(folder, images, digests, pixels, seed)
    assert train is not None
    assert test is not None
    notes = (*_nested_note(images, parts, report), *report.notes())
    name = folder.resolve().name
    return Data(train, test, tuple(names), name, validation=validation, notes=notes)


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


def _check_classes(
    images: Iterable[ImageFile], parts: dict[str, Path], classes: dict[str, Classes], report: Report
) -> None:
    """Raise DataError if a class has no images."""
    present = {(image.part, image.label) for image in images}
    for part, files in classes.items():
        for label, name in enumerate(files):
            if part == "validation" or (part, label) in present:
                continue
            folder = parts[part] / name
            lines = [line for line in report.unread if line.startswith(f"{report.name(folder)}/")]
            hint = f" that can be read ({lines[0]})" if lines else ""
            raise DataError(
                f"{folder} holds no images{hint}: every folder next to it is a class;"
                " expected CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
            )


def _splits(
    folder: Path,
    images: Sequence[ImageFile],
    digests: Sequence[bytes | DataError],
    pixels: Bytes,
    seed: int,
) -> list[Split | None]:
    """Return the training, test and validation split: parts of ``pixels``, which is rearranged."""
    parts = ["unread" if isinstance(digest, DataError) else "" for digest in digests]
    drawn = []
    for index, image in enumerate(images):
        if not parts[index]:
            parts[index] = image.part
            if image.part == "all":
                drawn.append(index)
    contents = [digest for digest in digests if isinstance(digest, bytes)]
    sides = draw_test(contents, [images[index].label for index in drawn], seed) if drawn else []
    for index, is_test in zip(drawn, sides, strict=True):
        parts[index] = "test" if is_test else "train"

    order: list[int] = []
    bounds = [0]
    for part in ("train", "test", "validation", "unread"):
        members = np.array([i for i, name in enumerate(parts) if name == part], dtype=np.int64)
        if part == "train":
            # Shuffled, so that the first N training images contain every class in proportion.
            members = members[generator(0, Stream.SPLIT, len(members)).permutation(len(members))]
        if part in ("train", "test") and not len(members):
            different = "" if len(set(contents)) == len(contents) else " different"
            raise DataError(
                f"{folder} has one{different} image in each class: add more, some are for testing"
            )
        order += members.tolist()
        bounds.append(len(order))
    _rearrange(pixels, order)
    labels = np.array([images[index].label for index in order], dtype=np.int64)
    return [
        Split(pixels[start:end], labels[start:end]) if end > start else None
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


def _nested_note(images: Sequence[ImageFile], parts: dict[str, Path], report: Report) -> list[str]:
    """Return a line on the images that lie in sub-folders of a class, if there are some."""
    nested = [im.path for im in images if len(im.path.relative_to(parts[im.part]).parts) > 2]
    if not nested:
        return []
    return [
        f"{report.folder}: {len(nested)} images in sub-folders of a class belong to that class, for"
        f" example {report.name(nested[0])}"
    ]
