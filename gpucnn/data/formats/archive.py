"""Reading .npz archives of any origin.

The members are read here and not by numpy.load, so that a file with false sizes is refused before
it takes memory, and every fault is reported with the name of the array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpucnn.data.arrays.parts import LazyArray
from gpucnn.data.files import check_packing, open_file, unreadable
from gpucnn.errors import DataError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

# The zip methods that numpy.savez and numpy.savez_compressed write: stored, deflated.
_METHODS = (0, 8)


class Header(NamedTuple):
    """The header of a .npy file."""

    shape: tuple[int, ...]
    fortran: bool  # whether the first axis is the one that varies fastest
    dtype: np.dtype[Any]


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

    def lazy(self, key: str) -> LazyArray | None:
        """Return an array that is read in parts; None if that cannot be: it is in Fortran order."""
        member = self._member(key, packed=True)
        check_packing(str(self.path), member.file_size, self.size)
        with self._opened(key, member) as (_, header):
            return (
                None
                if header.fortran and len(header.shape) > 1
                else _Member(self.path, key, header)
            )

    def chunks(self, key: str, size: int, start: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the items of an array from ``start`` on, ``size`` at a time or fewer."""
        with self._opened(key, self._member(key, packed=True)) as (stream, header):
            item = prod(header.shape[1:]) * header.dtype.itemsize
            stream.seek(start * item, 1)
            for first in range(start, header.shape[0], size):
                count = min(size, header.shape[0] - first)
                data = self._exactly(key, stream, count * item)
                yield np.frombuffer(data, header.dtype).reshape(count, *header.shape[1:])

    def _read(self, key: str, info: ZipInfo) -> npt.NDArray[Any]:
        with self._opened(key, info) as (stream, header):
            count = prod(header.shape) * header.dtype.itemsize
            # zipfile checks the CRC with the last byte; without a count it might unpack more.
            data = self._exactly(key, stream, count)
        array = np.frombuffer(data, dtype=header.dtype)
        return array.reshape(header.shape, order="F" if header.fortran else "C")

    @contextmanager
    def _opened(self, key: str, info: ZipInfo) -> Iterator[tuple[IO[bytes], Header]]:
        """Open a member; return it at the first byte after its header, which is checked."""
        with self._archive.open(info) as stream:
            header = self._read_header(key, stream)
            shape, _, dtype = header
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
            yield stream, header

    def _exactly(self, key: str, stream: IO[bytes], count: int) -> bytes:
        data = stream.read(count)
        if len(data) != count:
            raise DataError(f"{self.path}: {key} is truncated: {len(data)} of {count} bytes")
        return data

    def _read_header(self, key: str, stream: IO[bytes]) -> Header:
        try:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                return Header(*np.lib.format.read_array_header_1_0(stream))
            if version == (2, 0):
                return Header(*np.lib.format.read_array_header_2_0(stream))
        except ValueError as error:
            raise DataError(
                f"{self.path}: {key} is not a NumPy array: {_first_line(error)}"
            ) from None
        raise DataError(
            f"{self.path}: {key} is of .npy version {version}, expected (1, 0) or (2, 0)"
        )


class _Member(LazyArray):
    """An array of an archive that is opened again each time it is read."""

    def __init__(self, path: Path | str, key: str, header: Header) -> None:
        super().__init__(header.shape, header.dtype)
        self.path, self.key = path, key

    def chunks(self, size: int, start: int = 0) -> Iterator[npt.NDArray[Any]]:
        """Yield all items from ``start`` on, ``size`` at a time or fewer."""
        try:
            with open_file(self.path) as file, open_npz(self.path, file) as archive:
                yield from archive.chunks(self.key, size, start)
        except OSError as error:
            raise unreadable(self.path, error) from None


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text; NumPy's texts have several."""
    return str(error).partition("\n")[0] or type(error).__name__
