"""Data sets in one .npz file with the arrays x_train, y_train, x_test and y_test, as in Keras.

The members are read here and not by numpy.load, so that a file with false sizes is refused before
it takes memory, and every fault is reported with the name of the array.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.dataset import Bytes, Data, assemble
from gpucnn.data.files import check_packing, unreadable
from gpucnn.errors import DataError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_KEYS = ("x_train", "y_train", "x_test", "y_test")
# The zip methods that numpy.savez and numpy.savez_compressed write: stored, deflated.
_METHODS = (0, 8)


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
    import zipfile  # 10 ms, which only those who read such a file should pay

    path = Path(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            size = path.stat().st_size
            _check_keys(path, archive)
            arrays = {key: _read_member(path, archive, key, size) for key in _KEYS}
    except DataError:
        raise
    except OSError as error:
        raise unreadable(path, error) from None
    except MemoryError:
        raise DataError(f"{path} does not fit in memory") from None
    # zipfile and zlib have exceptions of their own for most faults only; others are ValueError,
    # struct.error, ...
    except Exception as error:
        raise DataError(
            f"{path} is not an .npz file, or is damaged: {_first_line(error)}"
        ) from None
    train, test = (
        (_images(path, f"x_{part}", arrays), _labels(path, f"y_{part}", arrays))
        for part in ("train", "test")
    )
    return assemble(path, path.stem, train, test)


def _check_keys(path: Path, archive: ZipFile) -> None:
    """Raise DataError if a key is missing."""
    found = {name.removesuffix(".npy") for name in archive.namelist()}
    if not found.issuperset(_KEYS):
        names = ", ".join(sorted(found)) or "(none)"
        raise DataError(f"{path} has the keys {names}: expected {', '.join(_KEYS)}")


def _read_member(path: Path, archive: ZipFile, key: str, size: int) -> npt.NDArray[Any]:
    """Read one array from an archive of ``size`` bytes."""
    try:
        info = archive.getinfo(f"{key}.npy")
    except KeyError:
        raise DataError(f"{path}: {key} is not an array: the member must be {key}.npy") from None
    _check_compression(path, key, info, size)
    with archive.open(info) as stream:
        shape, fortran, dtype = _read_header(path, key, stream)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {key} holds pickled objects, which are never loaded:"
                " save it as an array of numbers"
            )
        count, present = prod(shape) * dtype.itemsize, info.file_size - stream.tell()
        if count == 0:
            raise DataError(f"{path}: {key} has shape {shape}, dtype {dtype}: it is empty")
        if min(shape, default=1) < 0 or present != count:
            raise DataError(
                f"{path}: {key} has shape {shape}, dtype {dtype}: {count} bytes, but {present}"
                " follow its header"
            )
        # zipfile checks the CRC with the last byte; without a count it might unpack more.
        data = stream.read(count)
    if len(data) != count:
        raise DataError(f"{path}: {key} is truncated: {len(data)} of {count} bytes")
    array = np.frombuffer(data, dtype=dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _check_compression(path: Path, key: str, info: ZipInfo, size: int) -> None:
    """Refuse an unknown method, and a member that declares more than its bytes can hold."""
    if info.compress_type not in _METHODS:
        raise DataError(
            f"{path}: {key} is compressed by zip's method {info.compress_type}, expected 0"
            " (stored) or 8 (deflated), as numpy.savez writes"
        )
    check_packing(f"{path}: {key}", info.file_size, min(info.compress_size, size))


def _read_header(
    path: Path, key: str, stream: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read a .npy header: shape, whether the array is in Fortran order, dtype."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except ValueError as error:
        raise DataError(f"{path}: {key} is not a NumPy array: {_first_line(error)}") from None
    raise DataError(f"{path}: {key} is of .npy version {version}, expected (1, 0) or (2, 0)")


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


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text; NumPy's texts have several."""
    return str(error).partition("\n")[0] or type(error).__name__
