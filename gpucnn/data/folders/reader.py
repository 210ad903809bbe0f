"""Data sets as folders of image files: one sub-folder for each class, named after it.

The class folders lie in train/ and in test/, and perhaps in val/. If there are no such folders,
they lie in the folder itself, and about a fifth of the images becomes the test split, chosen by a
hash of each file's content.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from gpucnn.config import check_integer
from gpucnn.data.dataset import Bytes, Data, Split
from gpucnn.data.files import format_sides, open_file, unreadable
from gpucnn.data.folders.listing import Classes, Report, find_parts, list_classes
from gpucnn.data.folders.parallel import map_files
from gpucnn.data.images import as_input, check_size, decode, image_shape, is_grey, shrink
from gpucnn.data.opening import open_image, pillow, quiet
from gpucnn.data.sides import draw_test
from gpucnn.errors import DataError
from gpucnn.rng import Stream, generator

Item = TypeVar("Item")
Result = TypeVar("Result")

# Pixels of a large image; photos have 12 to 50 million before they are shrunk.
_LARGE = 1 << 24

OnProgress = Callable[[str, int, int], object]
"""Called with "examined" or "read", the number of files that were, and their total."""


@dataclass(frozen=True)
class _Image:
    """An image file: its split ("all" if that is drawn), class number and shape (C, H, W)."""

    path: Path
    part: str
    label: int
    shape: tuple[int, int, int] = (0, 0, 0)


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
    images = [
        _Image(path, part, names.index(name))
        for part, files in classes.items()
        for name, paths in files.items()
        for path in paths
    ]
    with quiet:
        images = _examine(images, resize, report, on_progress)
        _check_classes(images, parts, classes, report)
        pixels, digests = _read(images, resize, on_progress)
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
    images: Iterable[_Image], parts: dict[str, Path], classes: dict[str, Classes], report: Report
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


def _examine(
    images: Sequence[_Image],
    resize: tuple[int, int] | None,
    report: Report,
    on_progress: OnProgress | None,
) -> list[_Image]:
    """Return the files that are images, with their shapes; the others are reported."""

    def examine(image: _Image) -> tuple[int, int, int] | DataError:
        try:
            if resize is None:
                return image_shape(image.path)
            with open_image(image.path) as opened:  # the size is not needed
                return (1 if is_grey(opened) else 3), *resize
        except DataError as error:
            return error

    found = []
    for image, shape in zip(images, _mapped(examine, images, "examined", on_progress), strict=True):
        if isinstance(shape, DataError):
            report.add_error(image.path, shape)
        else:
            found.append(_Image(image.path, image.part, image.label, shape))
    return found


def _read(
    images: Sequence[_Image], resize: tuple[int, int] | None, on_progress: OnProgress | None
) -> tuple[Bytes, list[bytes | DataError]]:
    """Read all images into one array; return it, and for each the digest of the file's content.

    An image that cannot be read has the error in place of the digest.
    """
    channels, size = _common_shape(images)
    shape = (len(images), channels, *size)
    try:
        pixels: Bytes = np.empty(shape, dtype=np.uint8)
    except (MemoryError, ValueError):  # NumPy raises ValueError beyond 2**63 bytes
        raise DataError(
            f"{format_sides(shape)} bytes of pixels do not fit in memory: choose a smaller size"
            " with resize=(H, W) or --resize HxW"
        ) from None

    large = threading.Lock()

    def read(index: int) -> bytes | DataError:
        image = images[index]
        try:
            digest = _digest(image.path) if image.part == "all" else b""
            with open_image(image.path) as opened:
                if resize is not None:
                    shrink(opened, resize)
                # Decoding takes about ten bytes for a pixel: only one large image at a time.
                with large if opened.width * opened.height > _LARGE else nullcontext():
                    pixels[index] = as_input(decode(opened), channels, size)
        except DataError as error:
            return error
        return digest

    return pixels, _mapped(read, range(len(images)), "read", on_progress)


def _mapped(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    on_progress: OnProgress | None,
) -> list[Result]:
    """Return the results of ``function`` for all items, computed in threads."""
    if on_progress is None:
        return map_files(function, items)
    return map_files(function, items, lambda done, total: on_progress(what, done, total))


def _digest(path: Path) -> bytes:
    """Return the SHA-256 of a file's content."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise unreadable(path, error) from None


def _common_shape(images: Sequence[_Image]) -> tuple[int, tuple[int, int]]:
    """Return channels and (height, width) of the images; DataError if their sizes differ."""
    first = images[0]
    for image in images:
        if image.shape[1:] != first.shape[1:]:
            raise DataError(
                f"{first.path} is {format_sides(first.shape[1:])} pixels (height x width), but"
                f" {image.path} is {format_sides(image.shape[1:])}: scale all to one size with"
                " resize=(H, W) or --resize HxW"
            )
    return max(image.shape[0] for image in images), first.shape[1:]


def _splits(
    folder: Path,
    images: Sequence[_Image],
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


def _nested_note(images: Sequence[_Image], parts: dict[str, Path], report: Report) -> list[str]:
    """Return a line on the images that lie in sub-folders of a class, if there are some."""
    nested = [im.path for im in images if len(im.path.relative_to(parts[im.part]).parts) > 2]
    if not nested:
        return []
    return [
        f"{report.folder}: {len(nested)} images in sub-folders of a class belong to that class, for"
        f" example {report.name(nested[0])}"
    ]
