"""Reading .npz archives of any origin.

The members are read here and not by numpy.load, so that a file with false sizes is refused before
it takes memory, and every fault is reported with the name of the array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.files import check_packing
from gpucnn.errors import DataError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

# The zip methods that numpy.savez and numpy.savez_compressed write: stored, deflated.
_METHODS = (0, 8)


@contextmanager
def open_npz(path: Path | str, file: IO[bytes]) -> Iterator[Archive]:
    """Open the archive in ``file``, which errors call ``path``, for the time of the block.

    Every fault of the archive that shows within the block is raised as DataError; an OSError is
    not changed.
    """
    import zipfile  # 10 ms, which only those who read such a file should pay

    try:
        size = file.seek(0, 2)
        with zipfile.ZipFile(file) as archive:
            yield Archive(path, archive, size)
    except (DataError, OSError):
        raise
    except MemoryError:
        raise DataError(f"{path} does not fit in memory") from None
    # zipfile and zlib have exceptions of their own for most faults only; others are ValueError,
    # struct.error, ...
    except Exception as error:
        raise DataError(
            f"{path} is not an .npz file, or is damaged: {_first_line(error)}"
        ) from None


class Archive:
    """An open archive of ``size`` bytes; ``keys`` are the names of its arrays."""

    def __init__(self, path: Path | str, archive: ZipFile, size: int) -> None:
        self.path, self.size = path, size
        self._archive = archive
        self.keys = [name.removesuffix(".npy") for name in archive.namelist()]

    def expect(self, keys: Iterable[str]) -> None:
        """Raise DataError if a key is missing."""
        if not set(keys).issubset(self.keys):
            names = ", ".join(sorted(self.keys)) or "(none)"
            raise DataError(f"{self.path} has the keys {names}: expected {', '.join(keys)}")

    def read(self, keys: Iterable[str], packed: bool = True) -> dict[str, npt.NDArray[Any]]:
        """Return arrays by their keys.

        Unless ``packed``, compressed members are refused: they then take the file's size at most.
        """
        members = {key: self._member(key, packed) for key in keys}
        # Members that share their bytes could be more than the file.
        total = sum(member.file_size for member in members.values())
        if not packed and total > self.size:
            raise DataError(f"{self.path} declares {total} bytes, but has {self.size}")
        check_packing(str(self.path), total, self.size)
        return {key: self._read(key, member) for key, member in members.items()}

    def _member(self, key: str, packed: bool) -> ZipInfo:
        """Return what the archive declares of a member; DataError if that cannot be true."""
        if self.keys.count(key) > 1:
            raise DataError(f"{self.path}: {key} is there {self.keys.count(key)} times")
        try:
            info = self._archive.getinfo(f"{key}.npy")
        except KeyError:
            raise DataError(
                f"{self.path}: {key} is not an array: the member must be {key}.npy"
            ) from None
        if info.compress_type not in _METHODS:
            raise DataError(
                f"{self.path}: {key} is compressed by zip's method {info.compress_type}, expected"
                " 0 (stored) or 8 (deflated), as numpy.savez writes"
            )
        if info.compress_type and not packed:
            raise DataError(f"{self.path}: {key} is compressed, which gpucnn never does")
        what, present = f"{self.path}: {key}", min(info.compress_size, self.size)
        if not packed and info.file_size > present:
            raise DataError(f"{what} declares {info.file_size} bytes, but {present} are there")
        check_packing(what, info.file_size, present)
        return info

    def _read(self, key: str, info: ZipInfo) -> npt.NDArray[Any]:
        with self._archive.open(info) as stream:
            shape, fortran, dtype = self._read_header(key, stream)
            if dtype.hasobject:
                raise DataError(
                    f"{self.path}: {key} holds pickled objects, which are never loaded:"
                    " save it as an array of numbers"
                )
            count, present = prod(shape) * dtype.itemsize, info.file_size - stream.tell()
            if min(shape, default=1) < 0 or present != count:
                raise DataError(
                    f"{self.path}: {key} has shape {shape}, dtype {dtype}: {count} bytes, but"
                    f" {present} follow its header"
                )
            # zipfile checks the CRC with the last byte; without a count it might unpack more.
            data = stream.read(count)
        if len(data) != count:
            raise DataError(f"{self.path}: {key} is truncated: {len(data)} of {count} bytes")
        array = np.frombuffer(data, dtype=dtype)
        return array.reshape(shape, order="F" if fortran else "C")

    def _read_header(
        self, key: str, stream: IO[bytes]
    ) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        """Read a .npy header: shape, whether the array is in Fortran order, dtype."""
        try:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(stream)
            if version == (2, 0):
                return np.lib.format.read_array_header_2_0(stream)
        except ValueError as error:
            raise DataError(
                f"{self.path}: {key} is not a NumPy array: {_first_line(error)}"
            ) from None
        raise DataError(
            f"{self.path}: {key} is of .npy version {version}, expected (1, 0) or (2, 0)"
        )


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text; NumPy's texts have several."""
    return str(error).partition("\n")[0] or type(error).__name__
