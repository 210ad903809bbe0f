"""Data sets: MNIST, which comes with the package, and those in your own files and folders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy.typing as npt

from gpucnn.data.dataset import Data
from gpucnn.data.split import Split
from gpucnn.errors import DataWarning, SettingError

__all__ = ["Data", "Split", "from_arrays", "load", "mnist"]


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
    from gpucnn.data.formats.idx import read_idx_folder

    data = read_idx_folder(Path(__file__).parent / "mnist")
    return replace(data, builtin=True, preparation="digit")


def load(
    path: str | os.PathLike[str],
    *,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    transpose: bool | None = None,
    regression: bool | None = None,
    targets: Sequence[str] | None = None,
    on_progress: Callable[[str, int, int], object] | None = None,
) -> Data:
    """Read a data set from a file or a folder.

    ``path`` is one of

    - an ``.npz`` file with the arrays x_train, y_train, x_test and y_test, or names of the same
      meaning: images and labels as ``from_arrays`` takes them;
    - a ``.csv`` file with a row for each image, its label and its pixels; of ``train.csv`` and
      ``test.csv``, the first, or their folder;
    - a folder of the four IDX files that MNIST comes in, gzip or not, or torchvision's folder
      around them; where a folder holds several such sets, the folder and the prefix of one:
      ``gzip/emnist-letters``;
    - a folder of image files with one sub-folder for each class, inside ``train/``, ``test/`` and
      perhaps ``val/``, or alone: then about a fifth of the images becomes the test split. A hash of
      its content decides whether an image is for testing, so it stays so when files are added,
      removed or renamed;
    - a folder that ``gpucnn pack`` has made, whose images stay on disk: see ``Split.mapped``.

    Args:
        path: the file, the folder, or the folder and a prefix.
        resize: (height, width) in pixels to scale every image to; for folders of images only.
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
        SettingError: ``resize`` below 1 or for a data set that is not a folder of images, a
            negative ``seed``, or a folder of images and Pillow is not installed.

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
    from gpucnn.data.choice import read

    chosen = labelling(regression, targets)
    return _finished(read(Path(path), resize, seed, on_progress, chosen, transpose), transpose)


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
    return _finished(build(Source(), name, arrays, roles, classes, chosen), transpose)


def _finished(data: Data, transpose: bool | None) -> Data:
    """Return a data set upright and with its preparation; its notes become warnings."""
    from gpucnn.data.orientation import upright
    from gpucnn.data.preparation import recognise

    if data.preparation is None:  # else it was packed, and is finished
        data = upright(data, transpose)
        data = replace(data, preparation=recognise(data))
    for note in data.notes:
        warnings.warn(note, DataWarning, stacklevel=3)
    return data
