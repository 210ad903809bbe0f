"""The data set that every reader returns: two checked splits of uint8 images with their labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.errors import DataError, SettingError
from gpucnn.rng import Stream, generator

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

# a class number beyond this is a damaged label, not a class
_MOST_CLASSES = 1 << 16
# up to so many classes any may be empty; of more, half must have training images
_FEW_CLASSES = 10
# deflate, the method of .gz and .npz files, packs at most 258 bytes into 2 bits: 1032 to 1
_DEFLATE_RATIO = 1032
# what unpacks to more bytes than this is held to a ratio that pictures of something keep to
_LARGE, _LARGE_RATIO = 1 << 28, 200
# pixels counted at a time: bincount takes 8 bytes a pixel while it works
_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, read-only and checked.

    Args:
        images: uint8 of shape (N, C, H, W), 0 to 255; kept C-contiguous.
        labels: int64 of shape (N,), the class number of each image.

    Raises:
        DataError: wrong dtype or number of axes, an axis of length 0, or unequal numbers.
    """

    images: Bytes
    labels: Labels

    def __post_init__(self) -> None:
        _check_array("images", self.images, np.uint8, "(N, C, H, W)", 4)
        _check_array("labels", self.labels, np.int64, "(N,)", 1)
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{len(self.images)} images but {len(self.labels)} labels: there must be one each"
            )
        object.__setattr__(self, "images", _read_only(self.images))
        object.__setattr__(self, "labels", _read_only(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def limit(self, n: int) -> Split:
        """Return the first ``n`` items as views; SettingError unless 1 <= n <= len(self)."""
        if not 1 <= n <= len(self):
            raise SettingError(f"limit is {n}: it must be from 1 to {len(self)}, the images there")
        return Split(self.images[:n], self.labels[:n])


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: a training split and a test split of the same image shape and classes.

    Args:
        train: the images to learn from.
        test: the images to judge by.
        classes: name of each class; a label is an index into it.
        name: what to call the data set.
        builtin: whether it is the one that comes with the package.

    Raises:
        DataError: image shapes that differ, no classes, or a label outside the classes.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    name: str
    builtin: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            raise DataError(f"{self.name}: a data set needs at least one class")
        train, test = self.train.images.shape[1:], self.test.images.shape[1:]
        if train != test:
            raise DataError(
                f"training images are {_sides(train)}, test images {_sides(test)}"
                " (channels x height x width): they must be equal"
            )
        for split, labels in (("training", self.train.labels), ("test", self.test.labels)):
            _check_labels(split, labels, len(self.classes))

    @property
    def channels(self) -> int:
        """Channels of every image: 1 is grey, 3 is red, green and blue."""
        return int(self.train.images.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image in pixels."""
        return self.input_shape[1:]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image: what a model takes, without the batch."""
        channels, height, width = (int(side) for side in self.train.images.shape[1:])
        return channels, height, width

    def limit(self, n: int) -> Data:
        """Return the same data with the first ``n`` training images; the test split stays whole."""
        return replace(self, train=self.train.limit(n))

    def hold_out(self, n: int, seed: int) -> tuple[Data, Split]:
        """Set ``n`` training images aside for validation.

        Which ones is a function of ``seed`` (and of the number of training images) alone. Both
        parts keep the order that they had.

        Returns:
            The data without these images, and the validation split of ``n`` images.

        Raises:
            SettingError: unless 1 <= n < len(train), or for a negative seed.
        """
        total = len(self.train)
        if not 1 <= n < total:
            raise SettingError(
                f"cannot hold out {n} of {total} training images: from 1 to {total - 1} can be"
            )
        held = np.zeros(total, dtype=np.bool_)
        held[generator(seed, Stream.HOLD_OUT).permutation(total)[:n]] = True
        images, labels = self.train.images, self.train.labels
        rest = Split(images[~held], labels[~held])
        return replace(self, train=rest), Split(images[held], labels[held])

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (mean, std) of the training pixels / 255, one float a channel in each.

        They come from exact integer sums, so they depend on nothing but the pixels. A channel
        that is constant gets std 1.0, so that dividing by it does no harm.
        """
        pairs = [_mean_std(self.train.images[:, channel]) for channel in range(self.channels)]
        return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of the training labels (as <i8) and then images."""
        digest = hashlib.sha256(self.train.labels.astype("<i8", copy=False).data)
        digest.update(self.train.images.data)
        return digest.hexdigest()


def check_packing(what: str, unpacked: int, packed: int) -> None:
    """Raise DataError if ``packed`` bytes of deflated data cannot be ``unpacked`` of pictures.

    Such a file is damaged, or made to fill the memory; it is refused by its header alone.
    """
    ratio = _DEFLATE_RATIO if unpacked <= _LARGE else _LARGE_RATIO
    if unpacked > ratio * packed:
        raise DataError(
            f"{what} says that it unpacks to {unpacked} bytes:"
            f" not from its {packed} packed bytes, of which at most {ratio * packed} can come"
        )


def assemble(
    source: object,
    name: str,
    train: Sequence[npt.NDArray[Any]],
    test: Sequence[npt.NDArray[Any]],
    least: int = 1,
) -> Data:
    """Build the Data of a reader whose classes are numbers; every DataError names ``source``.

    Args:
        source: the file or folder that was read.
        name: the name of the data set.
        train: images uint8 (N, C, H, W) and labels of any integer dtype, (N,).
        test: the same for the test split.
        least: how many classes there are at least, whichever labels occur.

    The classes are "0" up to the greatest training label: a test label beyond it could never be
    predicted, so it is refused as damaged or mistaken. So is a training label so great that more
    than half of the classes below it would be empty.
    """
    most = max(int(train[1].max(initial=0)), 0)
    count = max(most + 1, least)
    if count > max(_FEW_CLASSES, least):
        distinct = len(np.unique(train[1]))
        if count > min(2 * distinct, _MOST_CLASSES):
            raise DataError(
                f"{source}: training label {int(train[1].argmax())} is {most}, but only {distinct}"
                f" different labels occur: they must number the classes from 0 to {distinct - 1}"
            )
    try:
        # before int64: a label of another dtype may not fit in it
        _check_labels("training", train[1], count)
        _check_labels("test", test[1], count)
        splits = [Split(images, labels.astype(np.int64)) for images, labels in (train, test)]
        return Data(splits[0], splits[1], tuple(str(label) for label in range(count)), name)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _check_array(name: str, array: object, dtype: type, axes: str, ndim: int) -> None:
    """Raise DataError unless ``array`` is a NumPy array of this dtype, with ``ndim`` full axes."""
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} must be a NumPy array, not {type(array).__name__}")
    if array.dtype != dtype:
        raise DataError(f"{name} are {array.dtype}, wanted {np.dtype(dtype)}")
    if array.ndim != ndim or 0 in array.shape:
        raise DataError(f"{name} have shape {array.shape}, wanted {axes} with no axis of length 0")


def _check_labels(split: str, labels: npt.NDArray[Any], classes: int) -> None:
    """Raise DataError naming the first label outside range(classes)."""
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{split} label {index} is {labels[index]}: outside the {classes} classes,"
            f" 0 to {classes - 1}"
        )


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a C-contiguous view (a copy where need be) that cannot be written through."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)


def _mean_std(planes: Bytes) -> tuple[float, float]:
    """Return mean and std of one channel (N, H, W), divided by 255."""
    counts = np.zeros(256, dtype=np.int64)
    step = max(1, _CHUNK // planes[0].size)
    for start in range(0, len(planes), step):
        counts += np.bincount(planes[start : start + step].ravel(), minlength=256)
    # Python's integers, which do not overflow: n * squares may pass 64 bits
    n, levels = planes.size, [int(count) for count in counts]
    total = sum(level * count for level, count in enumerate(levels))
    squares = sum(level * level * count for level, count in enumerate(levels))
    spread = n * squares - total * total
    return total / (255 * n), (math.sqrt(spread) / (255 * n) if spread else 1.0)
