"""Data sets in one .npz file with the arrays x_train, y_train, x_test and y_test, as Keras has it.

The members are read here and not by numpy.load, so that a file which lies about its sizes is
refused before it takes memory, and so that every fault can be named.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.dataset import Bytes, Data, assemble, check_packing
from gpucnn.errors import DataError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path | str) -> Data:
    """Read an .npz file as numpy.savez or numpy.savez_compressed writes it.

    ``x_train`` and ``x_test`` are uint8: (N, H, W), (N, H, W, C) or (N, C, H, W), where C is 1 or
    3. ``y_train`` and ``y_test`` are of any integer dtype: (N,) or (N, 1).

    Returns:
        Data named after the file; its classes are "0" up to the greatest training label.

    Raises:
        DataError: an unreadable or damaged file; a key, dtype or shape other than those above;
            pickled objects, which are never loaded.
    """
    import zipfile  # 10 ms, which only those who read such a file should pay

    path = Path(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            size = path.stat().st_size
            arrays = {key: _member(path, archive, key, size) for key in _check_keys(path, archive)}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise DataError(f"{path} does not fit in memory") from None
    # zipfile and zlib have an exception for most faults, but not for all: ValueError, struct.error
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path} is no .npz file, or a damaged one: {reason}") from None
    train = (_images(path, "x_train", arrays), _labels(path, "y_train", arrays))
    test = (_images(path, "x_test", arrays), _labels(path, "y_test", arrays))
    return assemble(path, path.stem, train, test)


def _check_keys(path: Path, archive: ZipFile) -> tuple[str, ...]:
    """Return the keys to read; DataError where one is missing."""
    found = [name.removesuffix(".npy") for name in archive.namelist()]
    if not set(_KEYS) <= set(found):
        raise DataError(
            f"{path} has the keys {', '.join(sorted(found)) or '(none)'}: wanted {', '.join(_KEYS)}"
        )
    return _KEYS


def _member(path: Path, archive: ZipFile, key: str, size: int) -> npt.NDArray[Any]:
    """Read one array out of an archive of ``size`` bytes."""
    try:
        info = archive.getinfo(f"{key}.npy")
    except KeyError:
        raise DataError(f"{path}: {key} is not an array: no member {key}.npy") from None
    _check_ratio(path, key, info, size)
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(path, key, stream)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {key} holds pickled objects, which are never loaded:"
                " save it as an array of numbers"
            )
        count = prod(shape) * dtype.itemsize
        if count == 0:
            raise DataError(f"{path}: {key} has shape {shape} of {dtype}: there is nothing in it")
        if min(shape, default=1) < 0 or info.file_size - stream.tell() != count:
            raise DataError(
                f"{path}: {key} has shape {shape} of {dtype}, {count} bytes, but"
                f" {info.file_size - stream.tell()} are there"
            )
        # with its last byte zipfile checks the CRC; without a number it might unpack still more
        data = stream.read(count)
    if len(data) != count:
        raise DataError(f"{path}: {key} is truncated: {len(data)} of its {count} bytes are there")
    array = np.frombuffer(data, dtype=dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _check_ratio(path: Path, key: str, info: ZipInfo, size: int) -> None:
    """Refuse a member that says it unpacks to more than its bytes in the file can hold."""
    if info.compress_type not in (0, 8):
        raise DataError(
            f"{path}: {key} is packed by zip's method {info.compress_type},"
            " wanted 0 (stored) or 8 (deflated), which numpy.savez writes"
        )
    check_packing(f"{path}: {key}", info.file_size, min(info.compress_size, size))


def _header(path: Path, key: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read a .npy header: shape, whether the first axis varies fastest, dtype."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except ValueError as error:
        # NumPy's texts run over several lines; the first says what is wrong
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: {key} is not a NumPy array: {reason}") from None
    raise DataError(f"{path}: {key} is of .npy version {version}, wanted (1, 0) or (2, 0)")


def _images(path: Path, key: str, arrays: dict[str, npt.NDArray[Any]]) -> Bytes:
    """Return images as (N, C, H, W)."""
    array = arrays[key]
    if array.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {array.dtype}, wanted uint8 (pixels from 0 to 255)")
    if array.ndim == 3:
        return array[:, None]
    first, last = (array.ndim == 4 and array.shape[axis] in (1, 3) for axis in (1, -1))
    if first and last:
        raise DataError(
            f"{path}: {key} has shape {array.shape}, where the channels could be axis 1 or axis 3"
        )
    if first:
        return array
    if last:
        return array.transpose(0, 3, 1, 2)
    raise DataError(
        f"{path}: {key} has shape {array.shape}, wanted (N, H, W), (N, H, W, C) or (N, C, H, W)"
        " with C 1 or 3"
    )


def _labels(path: Path, key: str, arrays: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return labels as (N,)."""
    array = arrays[key]
    if array.dtype.kind not in "iu":
        raise DataError(f"{path}: {key} is {array.dtype}, wanted an integer dtype (class numbers)")
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{path}: {key} has shape {array.shape}, wanted (N,) or (N, 1)")
    return array
