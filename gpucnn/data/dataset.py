"""The data set that every reader returns: two checked splits of uint8 images with their labels.

Labels are classes or, for regression, numbers to predict.
"""

from __future__ import annotations

import hashlib
import reprlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.checks import (
    check_array,
    check_labels,
    check_targets,
    mean_std,
    read_only,
    target_statistics,
)
from gpucnn.data.files import format_sides
from gpucnn.errors import DataError, SettingError, unknown
from gpucnn.rng import Stream, generator

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

PREPARATIONS = ("digit", "plain")
"""How an image file can be prepared as an input of a network."""

# A greater class number is a damaged label, not a class.
_MAX_CLASSES = 1 << 16
# With at most this many classes any may be empty; with more, half must have training images.
_FEW_CLASSES = 10


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images and their labels, checked and read-only.

    Args:
        images: uint8 of shape (N, C, H, W), values 0 to 255; kept C-contiguous.
        labels: int64 of shape (N,), the class index of each image; or, for regression, floats of
            shape (N,) or (N, K), the numbers to predict, kept as float64.

    Raises:
        DataError: wrong dtype or number of axes, an axis of length 0, N that differ, or a number
            to predict that is NaN or infinite.
    """

    images: Bytes
    labels: Array

    def __post_init__(self) -> None:
        check_array("images", self.images, np.uint8, "(N, C, H, W)", 4)
        if isinstance(self.labels, np.ndarray) and self.labels.dtype.kind == "f":
            object.__setattr__(self, "labels", check_targets(self.labels))
        else:
            check_array("labels", self.labels, np.int64, "(N,)", 1)
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{len(self.images)} images but {len(self.labels)} labels: expected one label"
                " for each image"
            )
        object.__setattr__(self, "images", read_only(self.images))
        object.__setattr__(self, "labels", read_only(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        numbers = f"targets {self.labels.min():g} to {self.labels.max():g}"
        labels = f"labels {self.labels.min()} to {self.labels.max()}"
        return (
            f"<{type(self).__name__}: {len(self)} images of shape {self.images.shape[1:]},"
            f" {numbers if self.is_regression else labels}>"
        )

    @property
    def is_regression(self) -> bool:
        """Whether the labels are numbers to predict, not classes."""
        return self.labels.dtype.kind == "f"

    @property
    def targets(self) -> npt.NDArray[np.float64]:
        """The numbers to predict, (N, K); DataError if the labels are classes."""
        if not self.is_regression:
            raise DataError("the labels are classes, not numbers to predict")
        return self.labels.reshape(len(self), -1)

    def target_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (mean, std) of the numbers to predict, K floats in both.

        A constant target gets std 1.0, so that it can be divided by.
        """
        return target_statistics(self.targets)

    def limit(self, n: int) -> Split:
        """Return the first ``n`` items as views; SettingError unless 1 <= n <= len(self)."""
        if not 1 <= n <= len(self):
            raise SettingError(f"limit is {n}, expected 1 to {len(self)}, the number of images")
        return Split(self.images[:n], self.labels[:n])

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of the labels (as <i8 or <f8), then the images."""
        kind = "<f8" if self.is_regression else "<i8"
        digest = hashlib.sha256(self.labels.astype(kind, copy=False).data)
        digest.update(self.images.data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: a training and a test split with the same image shape, and classes or targets.

    Args:
        train: the training images and labels.
        test: the test images and labels.
        classes: the name of each class; a label is an index into it. Empty for regression.
        name: the name of the data set.
        builtin: whether it is the data set that comes with the package.
        validation: images, not among the training images, that decide on early stopping and the
            best epoch; None: ``fit`` can hold out training images for that.
        notes: what the user should know about how it was read, one line each; ``gpucnn.data.load``
            warns with them, the command line prints them.
        preparation: how ``gpucnn predict`` prepares images for a network that is trained on it:
            "digit" (strokes located, scaled and centred as in MNIST) or "plain" (only resized).
            None: ``gpucnn.data.preparation.recognise`` finds out from the training images.
        targets: for regression, the name of each number to predict, K strings; by default "target",
            or "target 1" and so on. Empty for classes.

    Names are kept in Unicode's composed form (NFC), so that names that look equal are equal.

    Raises:
        DataError: image shapes that differ, no classes, or a label outside the classes; for
            regression, classes, or another number of targets than of names or than of training
            targets.
        SettingError: another preparation.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    name: str
    builtin: bool = False
    validation: Split | None = None
    notes: tuple[str, ...] = ()
    preparation: str | None = None
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.classes or self.is_regression):
            raise DataError(f"{self.name} has no classes: a data set needs at least one")
        if self.preparation not in (None, *PREPARATIONS):
            raise unknown("preparation", str(self.preparation), PREPARATIONS)
        object.__setattr__(self, "classes", tuple(normalize_name(name) for name in self.classes))
        if self.is_regression and not self.targets:
            count = self.train.targets.shape[1]
            object.__setattr__(self, "targets", default_targets(count))
        object.__setattr__(self, "targets", tuple(normalize_name(name) for name in self.targets))
        shape = self.train.images.shape[1:]
        self._check_labels("training", self.train)
        for name, split in (("test", self.test), ("validation", self.validation)):
            if split is None:
                continue
            if split.images.shape[1:] != shape:
                raise DataError(
                    f"training images are {format_sides(shape)}, {name} images"
                    f" {format_sides(split.images.shape[1:])} (channels x height x width):"
                    " they must be equal"
                )
            self._check_labels(name, split)

    def _check_labels(self, name: str, split: Split) -> None:
        """Raise DataError unless the labels of a split are those that the data set has."""
        if split.is_regression != self.is_regression:
            kinds = ("classes", "numbers to predict")
            raise DataError(
                f"training labels are {kinds[self.is_regression]}, {name} labels"
                f" {kinds[split.is_regression]}: they must be alike"
            )
        if not self.is_regression:
            if self.targets:
                raise DataError("targets are names of numbers to predict, but labels are classes")
            check_labels(name, split.labels, len(self.classes))
            return
        if self.classes:
            raise DataError(
                f"the labels are numbers to predict ({split.labels.dtype}), but there are"
                f" {len(self.classes)} classes: expected int64 labels, or no classes"
            )
        if len(set(self.targets)) < len(self.targets) or "" in self.targets:
            raise DataError(f"targets must be different names, got {', '.join(self.targets)}")
        if split.targets.shape[1] != len(self.targets):
            found = split.targets.shape[1]
            raise DataError(
                f"{name} labels have {found} number{'s' * (found > 1)} for each image, expected"
                f" {len(self.targets)}: {', '.join(self.targets)}"
            )

    def __repr__(self) -> str:
        short = reprlib.Repr()
        short.maxtuple = 4
        return (
            f"<{type(self).__name__} {short.repr(self.name)}: {len(self.train)} training and"
            f" {len(self.test)} test images of shape {self.input_shape}, "
            + (
                f"{len(self.targets)} {'target' if len(self.targets) == 1 else 'targets'} "
                f"{short.repr(self.targets)}>"
                if self.is_regression
                else f"{len(self.classes)} classes {short.repr(self.classes)}>"
            )
        )

    @property
    def is_regression(self) -> bool:
        """Whether the labels are numbers to predict, not classes."""
        return self.train.is_regression

    @property
    def outputs(self) -> int:
        """The least number of outputs of a network: one for each class or target."""
        return len(self.classes) or len(self.targets)

    @property
    def channels(self) -> int:
        """Channels C of every image: 1 for grey, 3 for red, green and blue."""
        return self.input_shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every image: height and width in pixels."""
        return self.input_shape[1:]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image: the input shape of a model, without the batch."""
        channels, height, width = (int(side) for side in self.train.images.shape[1:])
        return channels, height, width

    def limit(self, n: int) -> Data:
        """Return the data set with its first ``n`` training images; the test split is unchanged.

        Raises:
            SettingError: unless 1 <= n <= len(self.train).

        >>> gpucnn.data.mnist().limit(1000)
        <Data 'mnist': 1000 training and 10000 test images of shape (1, 28, 28), 10 classes \
('0', '1', '2', '3', ...)>
        """
        return replace(self, train=self.train.limit(n))

    def hold_out(self, n: int, seed: int) -> tuple[Data, Split]:
        """Set ``n`` training images aside for validation.

        The choice depends on ``seed`` and on the number of training images, and on nothing else.
        Both parts keep the original order.

        Returns:
            The data set without these images, and the validation split of ``n`` images.

        Raises:
            SettingError: unless 1 <= n < len(self.train), or a negative seed.

        >>> data, validation = gpucnn.data.mnist().hold_out(5000, seed=0)
        >>> len(data.train), len(validation)
        (55000, 5000)
        """
        total = len(self.train)
        if not 1 <= n < total:
            raise SettingError(
                f"cannot hold out {n} of {total} training images, expected 1 to {total - 1}"
            )
        held = np.zeros(total, dtype=np.bool_)
        held[generator(seed, Stream.HOLD_OUT).permutation(total)[:n]] = True
        images, labels = self.train.images, self.train.labels
        rest = Split(images[~held], labels[~held])
        return replace(self, train=rest), Split(images[held], labels[held])

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (mean, std) of the training pixels / 255, one float for each channel in both.

        They are computed from exact integer sums. A constant channel gets std 1.0, so that it
        can be divided by.
        """
        pairs = [mean_std(self.train.images[:, channel]) for channel in range(self.channels)]
        return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)

    def class_weights(self) -> tuple[float, ...]:
        """Return a weight for each class with which all classes count alike in training.

        It is images / (classes * images of the class), of training images and of the classes that
        have any, as "balanced" is in scikit-learn; 1 for a class that has none.

        >>> data = gpucnn.data.mnist().limit(100)
        >>> loss = gpucnn.nn.CrossEntropyLoss(weight=data.class_weights())
        >>> [round(weight, 2) for weight in loss.weight[:3]]
        [0.77, 0.71, 1.67]
        """
        if self.is_regression:
            raise DataError("the labels are numbers to predict, so there are no class weights")
        counts = np.bincount(self.train.labels, minlength=len(self.classes))
        share = len(self.train) / int(np.count_nonzero(counts))
        return tuple(share / int(count) if count else 1.0 for count in counts)

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of the training labels, then images: see Split."""
        return self.train.fingerprint()


def normalize_name(name: str) -> str:
    """Return the name of a class in Unicode's composed form (NFC).

    macOS stores "é" in file names as two characters, other systems as one.
    """
    return unicodedata.normalize("NFC", name)


def default_targets(count: int) -> tuple[str, ...]:
    """Return names for so many numbers to predict: "target", or "target 1" and so on."""
    return ("target",) if count == 1 else tuple(f"target {k}" for k in range(1, count + 1))


def assemble(
    source: object,
    name: str,
    train: Sequence[npt.NDArray[Any]],
    test: Sequence[npt.NDArray[Any]],
    min_classes: int = 1,
) -> Data:
    """Build the Data of a format whose classes are numbers; every DataError names ``source``.

    Args:
        source: the file or folder that was read.
        name: the name of the data set.
        train: images uint8 (N, C, H, W) and labels (N,) of any integer dtype.
        test: the same for the test split.
        min_classes: the number of classes if the labels do not need more.

    The classes are "0" up to the greatest training label. A test label beyond it could never be
    predicted, so it is refused as an error. So is a training label so great that more than half
    of the classes below it would be empty.
    """
    greatest = max(int(train[1].max(initial=0)), 0)
    count = max(greatest + 1, min_classes)
    if count > max(_FEW_CLASSES, min_classes):
        distinct = len(np.unique(train[1]))
        if count > min(2 * distinct, _MAX_CLASSES):
            raise DataError(
                f"{source}: training label {int(train[1].argmax())} is {greatest}, but only"
                f" {distinct} different labels occur: number the classes from 0 to {distinct - 1}"
            )
    try:
        # Before the cast to int64: a uint64 label may not fit.
        check_labels("training", train[1], count)
        check_labels("test", test[1], count)
        splits = [Split(images, labels.astype(np.int64)) for images, labels in (train, test)]
        return Data(splits[0], splits[1], tuple(str(label) for label in range(count)), name)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
