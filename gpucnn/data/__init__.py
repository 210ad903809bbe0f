"""Data sets: MNIST, which comes with the package, and those in your own files and folders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy.typing as npt

from gpucnn.data.dataset import Data
from gpucnn.data.split import Split
from gpucnn.data.types import OnProgress
from gpucnn.errors import DataWarning, SettingError

__all__ = ["Data", "Split", "from_arrays", "load", "mnist", "pack", "verify"]


def mnist() -> Data:
    """Return MNIST: 60,000 training and 10,000 test digits, each 1 x 28 x 28.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86 (1998).

    >>> data = gpucnn.data.mnist()
    >>> data.train
    <Split: 60000 images of shape (1, 28, 28), labels 0 to 9>
    >>> data.test.images.shape, data.test.images.dtype
    ((10000, 1, 28, 28), dtype('uint8'))
    """
    from gpucnn.data.finishing import read_mnist

    return read_mnist()


def load(
    path: str | os.PathLike[str],
    *,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    transpose: bool | None = None,
    regression: bool | None = None,
    targets: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Data:
    """Read a data set from a file or a folder.

    ``path`` is one of

    - an ``.npz`` file with the arrays x_train, y_train, x_test and y_test, or names of the same
      meaning: images and labels as ``from_arrays`` takes them;
    - a ``.csv`` file with a row for each image, its label and its pixels; of ``train.csv`` and
      ``test.csv``, the first, or their folder;
    - a ``.parquet`` file with a column of image files and one of labels, or a folder of files such
      as ``train-00000-of-00001.parquet`` and ``test-...``, as Hugging Face publishes them;
    - a folder of the four IDX files that MNIST comes in, gzip or not, or torchvision's folder
      around them; where a folder holds several such sets, the folder and the prefix of one:
      ``gzip/emnist-letters``;
    - a folder of image files with one sub-folder for each class, inside ``train/``, ``test/`` and
      perhaps ``val/``, or alone: then about a fifth of the images becomes the test split. A hash of
      its content decides whether an image is for testing, so it stays so when files are added,
      removed or renamed;
    - a folder that ``gpucnn pack`` has made, whose images stay on disk: see ``Split.on_disk``.

    Args:
        path: the file, the folder, or the folder and a prefix.
        resize: (height, width) in pixels to scale every image to; for image files only, in a folder
            or in Parquet.
        seed: of a folder without train/ and test/; another seed selects other test images.
        transpose: whether to exchange rows and columns of the images. None: if they are digits
            that are stored transposed, or the name is EMNIST's, whose classes are then named by
            their characters. False: images, labels and class names are read as they are stored.
        regression: whether the labels of an ``.npz`` file or a table are numbers to predict. None:
            those of an ``.npz`` file are if they are floats with fractions.
        targets: the columns of a table that are numbers to predict, by their headings; of an
            ``.npz`` file, names for them.
        on_progress: called about ten times a second while image files are read, with "examined" or
            "read", the number of files that were, and their total.

    Raises:
        DataError: there is no such data set, or it is damaged.
        SettingError: ``resize`` below 1 or for a data set without image files, a negative
            ``seed``, or Pillow or pyarrow is needed and not installed.

    Warns:
        DataWarning: for each of the ``notes`` of the data set, such as files that were not read.

    >>> images = numpy.zeros((4, 28, 28), dtype=numpy.uint8)
    >>> labels = numpy.array([0, 1, 2, 1])
    >>> numpy.savez("shapes.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    >>> gpucnn.data.load("shapes.npz")
    <Data 'shapes': 4 training and 4 test images of shape (1, 28, 28), 3 classes ('0', '1', '2')>
    """
    # The readers are imported when they are needed, so that importing gpucnn stays cheap.
    from gpucnn.data.arrays.targets import labelling
    from gpucnn.data.choice import Reading, read
    from gpucnn.data.finishing import finished

    labels = labelling(regression, targets)
    how = Reading(resize, seed, on_progress, labels, transpose)
    return finished(read(Path(path), how), transpose)


def pack(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    transpose: bool | None = None,
    regression: bool | None = None,
    targets: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Data:
    """Write a data set of any size to a folder of .npy files, to train from there.

    Images are read in parts, so memory is bounded; those of ``load(folder)`` then stay on disk.
    The folder holds the images of each split in files such as ``train-images-00000.npy``, uint8
    (n, C, H, W), its labels, a digest of each image, and ``dataset.json``. If a call is
    interrupted, the same call continues it.

    Args:
        source: as the path of ``load``, or "mnist".
        folder: a new folder.
        resize: as for ``load``.
        seed: as for ``load``.
        transpose: as for ``load``.
        regression: as for ``load``.
        targets: as for ``load``.
        on_progress: called with "examined" or "packed", the number of images, and their total.

    Returns:
        The packed data set, as ``load(folder)`` returns it.

    Raises:
        DataError: as ``load``; or the folder holds something else, or what was packed of another
            source or of files that have changed since.
        SettingError: as ``load``.
        OSError: a file cannot be written, for example as the disk is full.

    Warns:
        DataWarning: as ``load``.

    >>> packed = gpucnn.data.pack("mnist", "packed")
    >>> packed.train.images
    <Shards: uint8 (60000, 1, 28, 28)>
    >>> numpy.load("packed/test-images-00000.npy", mmap_mode="r").shape
    (10000, 1, 28, 28)
    """
    from gpucnn.data.arrays.targets import labelling
    from gpucnn.data.choice import Reading
    from gpucnn.data.packing import pack_source

    labels = labelling(regression, targets)
    how = Reading(resize, seed, on_progress, labels, transpose, lazy=True)
    notes = pack_source(source, Path(folder), how)
    for note in notes:
        warnings.warn(note, DataWarning, stacklevel=2)
    return replace(load(folder), notes=notes)


def verify(
    folder: str | os.PathLike[str], on_progress: OnProgress | None = None
) -> tuple[int, int]:
    """Compare every file of a packed data set with its SHA-256.

    ``on_progress`` is called with "verified", the bytes that were, and their total.

    Returns:
        The number of files and of bytes.

    Raises:
        DataError: a file is missing or differs; the message names it.
    """
    from gpucnn.data.packed.reading import verify_files

    return verify_files(Path(folder), on_progress)


def from_arrays(
    x_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    *,
    x_val: npt.ArrayLike | None = None,
    y_val: npt.ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    transpose: bool | None = None,
    regression: bool | None = None,
    targets: Sequence[str] | None = None,
) -> Data:
    """Build a data set from arrays, in the forms that an ``.npz`` file may have, too.

    Args:
        x_train: images (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1 or 3, or (N, H*W) of
            square grey images; numbers from 0 to 255, 0 to 1 or -1 to 1.
        y_train: labels (N,) or (N, 1), class numbers or names, or one-hot rows (N, classes); or
            numbers to predict, (N,) or (N, K).
        x_test: test images; None holds a fifth of the training images out, chosen by content.
        y_test: their labels.
        x_val: validation images, if there are any.
        y_val: their labels.
        classes: the names of the classes in the order of their numbers.
        name: the name of the data set.
        transpose: as for ``load``.
        regression: whether the labels are numbers to predict; None: if they are floats with
            fractions.
        targets: names of the numbers to predict, K strings.

    Raises:
        DataError: arrays that cannot be understood for certain; the message gives the line that
            converts them.
        SettingError: images without labels, or labels without images.

    Warns:
        DataWarning: what was understood, in one line.

    >>> images = numpy.linspace(0, 255, 2 * 16).reshape(2, 4, 4).astype("uint8")
    >>> gpucnn.data.from_arrays(images, [0, 1], images, [0, 1], classes=["cat", "dog"])
    <Data 'arrays': 2 training and 2 test images of shape (1, 4, 4), 2 classes ('cat', 'dog')>
    >>> gpucnn.data.from_arrays(images, [0.5, 12], images, [0.5, 12], targets=["angle"])
    <Data 'arrays': 2 training and 2 test images of shape (1, 4, 4), 1 target ('angle',)>
    """
    from gpucnn.data.arrays.build import as_array, build
    from gpucnn.data.arrays.source import Source
    from gpucnn.data.arrays.targets import labelling
    from gpucnn.data.finishing import finished

    pairs = {"train": (x_train, y_train), "test": (x_test, y_test), "val": (x_val, y_val)}
    arrays, roles = {}, {}
    for part, pair in pairs.items():
        given = [values is not None for values in pair]
        if given[0] != given[1]:
            raise SettingError(f"x_{part} and y_{part} belong together: give both or none")
        if all(given):
            for letter, kind, values in zip("xy", ("images", "labels"), pair, strict=True):
                roles[part, kind] = f"{letter}_{part}"
                arrays[f"{letter}_{part}"] = as_array(f"{letter}_{part}", values)
    chosen = labelling(regression, targets)
    if classes is not None and chosen.regression:
        raise SettingError("numbers to predict have no classes: remove classes, or regression")
    return finished(build(Source(), name, arrays, roles, classes, chosen), transpose)
