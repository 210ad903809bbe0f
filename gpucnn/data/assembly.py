"""Building a data set whose classes are numbers."""

from __future__ import annotations

import numpy as np

from gpucnn.data.checks import check_labels
from gpucnn.data.dataset import Data
from gpucnn.data.lazy import Images
from gpucnn.data.split import Split
from gpucnn.data.types import Array
from gpucnn.errors import DataError

# A greater class number is a damaged label, not a class.
_MAX_CLASSES = 1 << 16
# With at most this many classes any may be empty; with more, half must have training images.
_FEW_CLASSES = 10


def assemble(
    source: object,
    name: str,
    train: tuple[Images, Array],
    test: tuple[Images, Array],
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
