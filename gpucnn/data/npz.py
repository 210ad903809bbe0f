"""Data sets in one .npz file with the arrays x_train, y_train, x_test and y_test, as in Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.archive import open_npz
from gpucnn.data.dataset import Bytes, Data, assemble
from gpucnn.data.files import open_file, unreadable
from gpucnn.errors import DataError

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path | str) -> Data:
    """Read an .npz file as numpy.savez or numpy.savez_compressed writes it.

    ``x_train`` and ``x_test`` are uint8 of shape (N, H, W), (N, H, W, C) or (N, C, H, W), where
    C is 1 or 3. ``y_train`` and ``y_test`` are of any integer dtype, of shape (N,) or (N, 1).

    Returns:
        Data named after the file; its classes are "0" up to the greatest training label.

    Raises:
        DataError: an unreadable or damaged file; a missing key, another dtype or shape; pickled
            objects, which are never loaded.
    """
    path = Path(path)
    try:
        with open_file(path) as file, open_npz(path, file) as archive:
            archive.expect(_KEYS)
            arrays = archive.read(_KEYS)
    except OSError as error:
        raise unreadable(path, error) from None
    for key, array in arrays.items():
        if not array.size:
            raise DataError(
                f"{path}: {key} has shape {array.shape}, dtype {array.dtype}: it is empty"
            )
    train, test = (
        (_images(path, f"x_{part}", arrays), _labels(path, f"y_{part}", arrays))
        for part in ("train", "test")
    )
    return assemble(path, path.stem, train, test)


def _images(path: Path, key: str, arrays: dict[str, npt.NDArray[Any]]) -> Bytes:
    """Return images as (N, C, H, W)."""
    array = arrays[key]
    if array.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {array.dtype}, expected uint8 (pixels from 0 to 255)")
    if array.ndim == 3:
        return array[:, None]
    first, last = (array.ndim == 4 and array.shape[axis] in (1, 3) for axis in (1, -1))
    if first and last:
        raise DataError(
            f"{path}: {key} has shape {array.shape}, where axis 1 and axis 3 could both be the"
            " channels"
        )
    if first:
        return array
    if last:
        return array.transpose(0, 3, 1, 2)
    raise DataError(
        f"{path}: {key} has shape {array.shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W)"
        " with C 1 or 3"
    )


def _labels(path: Path, key: str, arrays: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return labels as (N,)."""
    array = arrays[key]
    if array.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {key} is {array.dtype}, expected an integer dtype (class numbers)"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{path}: {key} has shape {array.shape}, expected (N,) or (N, 1)")
    return array
