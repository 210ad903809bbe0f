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


def mean_std(planes: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and std of one channel (N, H, W), divided by 255."""
    counts = np.zeros(256, dtype=np.int64)
    step = max(1, _CHUNK // planes[0].size)
    for start in range(0, len(planes), step):
        counts += np.bincount(planes[start : start + step].ravel(), minlength=256)
    # Python's integers do not overflow; n * squares may exceed 64 bits.
    n, levels = planes.size, [int(count) for count in counts]
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
