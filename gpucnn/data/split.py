"""A split of a data set: checked images with their labels.

Labels are classes or, for regression, numbers to predict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpucnn.data.checks import (
    add_counts,
    check_array,
    check_targets,
    mean_std,
    read_only,
    target_statistics,
)
from gpucnn.data.lazy import Images, LazyImages, Recorded, Rows, chunks, part
from gpucnn.data.types import Array, Bytes
from gpucnn.errors import DataError, SettingError


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images and their labels, checked and read-only.

    Args:
        images: uint8 of shape (N, C, H, W), values 0 to 255; kept C-contiguous. Those of a packed
            data set are ``LazyImages``, which are read when they are needed.
        labels: int64 of shape (N,), the class index of each image; or, for regression, floats of
            shape (N,) or (N, K), the numbers to predict, kept as float64.

    Raises:
        DataError: wrong dtype or number of axes, an axis of length 0, N that differ, or a number
            to predict that is NaN or infinite.
    """

    images: Images
    labels: Array

    def __post_init__(self) -> None:
        if not isinstance(self.images, LazyImages):
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
        if not isinstance(self.images, LazyImages):
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
    def on_disk(self) -> bool:
        """Whether the images are on disk and are read when they are needed."""
        return isinstance(self.images, LazyImages)

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
        return self.subset(slice(n))

    def subset(self, rows: Rows) -> Split:
        """Return some of the items, in increasing order; images on disk are not read."""
        return Split(part(self.images, rows), self.labels[rows])

    def chunks(self) -> Iterator[Bytes]:
        """Yield all images in their order, in parts (n, C, H, W) of a few MiB."""
        return chunks(self.images)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (mean, std) of the pixels / 255, one float for each channel in both.

        They are computed from exact integer sums. A constant channel gets std 1.0.
        """
        recorded = self._recorded()
        if recorded is not None:
            return recorded.mean, recorded.std
        counts = np.zeros((self.images.shape[1], 256), np.int64)
        for images in self.chunks():
            add_counts(counts, images)
        pairs = [mean_std(levels) for levels in counts]
        return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of the labels (as <i8 or <f8), then the images."""
        recorded = self._recorded()
        if recorded is not None:
            return recorded.fingerprint
        digest = hashlib.sha256(self.label_bytes())
        for images in self.chunks():
            digest.update(images.data)
        return digest.hexdigest()

    def label_bytes(self) -> memoryview:
        """Return the labels as little-endian 64-bit numbers, as ``fingerprint`` hashes them."""
        return self.labels.astype("<f8" if self.is_regression else "<i8", copy=False).data

    def _recorded(self) -> Recorded | None:
        """Return what the files of the images record, if that was of these labels."""
        recorded = self.images.recorded if isinstance(self.images, LazyImages) else None
        if recorded and recorded.labels == hashlib.sha256(self.label_bytes()).hexdigest():
            return recorded
        return None
