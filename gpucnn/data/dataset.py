"""The data set that every reader returns: training and test images, and what the labels mean."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace

import numpy as np

from gpucnn.data.checks import check_labels
from gpucnn.data.files import format_sides
from gpucnn.data.names import default_targets, normalize_name
from gpucnn.data.split import Split
from gpucnn.errors import DataError, SettingError, unknown
from gpucnn.rng import Stream, generator

PREPARATIONS = ("digit", "plain")
"""How an image file can be prepared as an input of a network."""


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
        transposed: whether rows and columns of its images were exchanged when they were read.

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
    transposed: bool = False

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
        return replace(self, train=self.train.subset(~held)), self.train.subset(held)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (mean, std) of the training pixels / 255, one float for each channel in both.

        They are computed from exact integer sums. A constant channel gets std 1.0, so that it
        can be divided by.
        """
        return self.train.statistics()

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
