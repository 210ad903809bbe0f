"""What a split checks of its arrays, and the figures of a training split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.errors import DataError

# Pixels counted at a time: bincount takes 8 bytes for each while it works.
_CHUNK = 1 << 18


def check_array(name: str, array: object, dtype: type, axes: str, ndim: int) -> None:
    """Raise DataError unless ``array`` is a NumPy array of this dtype, with ``ndim`` full axes."""
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} must be a NumPy array, got {type(array).__name__}")
    if array.dtype != dtype:
        raise DataError(f"{name} are {array.dtype}, expected {np.dtype(dtype)}")
    if array.ndim != ndim or 0 in array.shape:
        raise DataError(
            f"{name} have shape {array.shape}, expected {axes} with no axis of length 0"
        )


def check_targets(labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return numbers to predict as float64; DataError unless they are (N,) or (N, K) and finite."""
    if labels.ndim not in (1, 2) or 0 in labels.shape:
        raise DataError(
            f"labels have shape {labels.shape}, expected (N,) or (N, K) with no axis of length 0"
        )
    targets = labels.astype(np.float64, copy=False)
    if fault := not_finite("labels", targets):
        raise DataError(fault)
    return targets


def not_finite(name: str, array: npt.NDArray[np.float64]) -> str:
    """Return a message that names the first element that is NaN or infinite, "" if none is."""
    finite = np.isfinite(array)
    if finite.all():
        return ""
    index = tuple(int(axis) for axis in np.argwhere(~finite)[0])
    return f"{name}[{', '.join(map(str, index))}] is {array[index]}, expected a finite number"


def check_labels(split: str, labels: npt.NDArray[Any], classes: int) -> None:
    """Raise DataError naming the first label outside range(classes)."""
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{split} label {index} is {labels[index]}, expected 0 to {classes - 1}"
            f" ({classes} classes)"
        )


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a C-contiguous view (a copy if necessary) that cannot be written through."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def add_counts(counts: npt.NDArray[np.int64], images: npt.NDArray[np.uint8]) -> None:
    """Add to ``counts`` (C, 256) how often each value is in each channel of images (N, C, H, W)."""
    step = max(1, _CHUNK // images[0, 0].size)
    for channel, levels in enumerate(counts):
        for start in range(0, len(images), step):
            values = images[start : start + step, channel].ravel()
            levels += np.bincount(values, minlength=256)


def mean_std(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and std of pixels / 255, of which each value occurs ``counts`` (256,) times."""
    # Python's integers do not overflow; n * squares may exceed 64 bits.
    levels = [int(count) for count in counts]
    n = sum(levels)
    total = sum(level * count for level, count in enumerate(levels))
    squares = sum(level * level * count for level, count in enumerate(levels))
    spread = n * squares - total * total
    return total / (255 * n), (math.sqrt(spread) / (255 * n) if spread else 1.0)


def target_statistics(
    targets: npt.NDArray[np.float64],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of each target (N, K); a constant target gets std 1.0."""
    size = np.abs(targets).max(0)
    size[size == 0] = 1  # scaled, the squares do not overflow
    scaled = targets / size
    mean, std = scaled.mean(0) * size, scaled.std(0) * size
    std[std == 0] = 1  # exactly 0 for a constant target, which is scaled to 1 or -1
    return tuple(mean.tolist()), tuple(std.tolist())
