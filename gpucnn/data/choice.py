"""Choosing the reader for a path: a file, or a folder in one of the usual layouts."""

from __future__ import annotations

import difflib
import os
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpucnn.data.arrays.parts import Lazy
from gpucnn.data.arrays.targets import AUTO, Labelling
from gpucnn.data.dataset import Data
from gpucnn.data.files import list_folder, unreadable
from gpucnn.data.formats import idx, tables
from gpucnn.data.packed.reading import is_packed, read_packed
from gpucnn.data.packed.state import examined_file
from gpucnn.data.parquet.table import SUFFIX, Parts, find_files
from gpucnn.errors import DataError, SettingError

if TYPE_CHECKING:
    from gpucnn.data.types import OnProgress

_EXPECTED = (
    "expected an .npz, .csv or .parquet file, a folder of IDX files or a folder of images with a"
    " sub-folder for each class"
)
_PACKED = (".zip", ".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar")


class Reading(NamedTuple):
    """How a data set is read: the arguments of ``gpucnn.data.load``."""

    resize: tuple[int, int] | None = None
    seed: int = 0
    on_progress: OnProgress | None = None
    labels: Labelling = AUTO
    transpose: bool | None = None
    lazy: bool = False
    """Whether images are read when they are needed, even if the data set is not packed."""
    folder: str | None = None
    """Where what is known of a lazy data set is kept."""

    def refuse_resize(self, path: Path) -> None:
        """Raise SettingError if images are to be scaled, which those of ``path`` cannot be."""
        if self.resize is not None:
            raise SettingError(
                f"resize is for folders of images and Parquet files only: remove it to read {path}"
            )

    def parts(self) -> Lazy:
        """Return how the formats for arrays are read."""
        return Lazy(self.lazy, self.on_progress, self.folder)


def read(path: Path, how: Reading) -> Data:
    """Read the data set at ``path``; see ``gpucnn.data.load``."""
    kind = _kind(path)
    if kind == "folder":
        return _read_folder(path, how)
    if kind == "file":
        return _read_file(path, how)
    prefixes: set[str] = set()
    if _kind(path.parent) == "folder":
        for folder in _idx_folders(path.parent):
            found = {key.prefix for key in idx.idx_files(folder)}
            if path.name in found:
                return _read_idx(folder, path.name, how)
            prefixes |= found
    raise _does_not_exist(path, prefixes)


def _kind(path: Path) -> str:
    """Return "folder", "file" or, if nothing is there, ""; DataError if that cannot be found."""
    try:
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except ValueError:  # a NUL in the path
        raise DataError(f"{path} cannot be read: it is not a path") from None
    except OSError as error:
        raise unreadable(path, error) from None


def _read_folder(path: Path, how: Reading) -> Data:
    """Read the data set in a folder."""
    from gpucnn.data.folders.reader import read_folder

    if os.path.isfile(path / "checkpoint.npz"):
        raise DataError(
            f"{path} is the folder of a run, which holds a network, not a data set: {_EXPECTED}"
        )
    if is_packed(path):
        how.refuse_resize(path)
        return read_packed(path, how.labels.regression, how.labels.targets, how.transpose)
    folders = _idx_folders(path)
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(path).parent) for folder in folders)
        raise DataError(f"{path} holds several data sets ({names}): give one as {folders[0]}")
    if folders:
        return _read_idx(folders[0], None, how)
    if table := tables.find_table(path, how.labels):
        return _read_file(table, how)
    files = list_folder(path)
    archives = [file for file in files if file.suffix.lower() == ".npz" and os.path.isfile(file)]
    if len(archives) == 1 and not any(map(os.path.isdir, files)):
        return _read_file(archives[0], how)
    if parquet := find_files(path):
        return _read_parquet(path, parquet, how)
    how.labels.refuse("folders of images")
    return read_folder(
        path,
        resize=how.resize,
        seed=how.seed,
        on_progress=how.on_progress,
        lazy=how.lazy,
        cache=None if how.folder is None else partial(examined_file, how.folder),
    )


def _read_idx(folder: Path, prefix: str | None, how: Reading) -> Data:
    how.refuse_resize(folder)
    how.labels.refuse("IDX files")
    return idx.read_idx_folder(folder, prefix, how.lazy)


def _idx_folders(path: Path) -> list[Path]:
    """Return where the IDX files of a folder are: there, or as torchvision puts them.

    torchvision keeps MNIST's files in MNIST/raw; the folder, MNIST or the folder around it is
    given.
    """
    if idx.idx_files(path):
        return [path]
    inside = [path / "raw", *(sub / "raw" for sub in list_folder(path))]
    found = [folder for folder in inside if os.path.isdir(folder) and idx.idx_files(folder)]
    return inside[:1] if inside[0] in found else found


def _read_file(path: Path, how: Reading) -> Data:
    """Read the data set in a single file."""
    if path.suffix.lower() == SUFFIX:
        return _read_parquet(path, find_files(path), how)
    how.refuse_resize(path)
    if path.suffix.lower() == ".npz":
        from gpucnn.data.formats.npz import read_npz

        return read_npz(path, how.labels, how.parts())
    if path.suffix.lower() in tables.SUFFIXES:
        return tables.read_table(path, how.labels, how.parts())
    if idx.is_idx_name(path.name):
        raise DataError(f"{path} is one of the four IDX files: give their folder, {path.parent}")
    hint = ". Unpack it first" if path.suffix.lower() in _PACKED else ""
    raise DataError(f"{path} is not a data set: {_EXPECTED}{hint}")


def _read_parquet(path: Path, parts: Parts, how: Reading) -> Data:
    from gpucnn.data.parquet.reader import read_parquet

    return read_parquet(path, parts, how.labels, how.resize, how.on_progress, how.lazy)


def _does_not_exist(path: Path, prefixes: set[str]) -> DataError:
    """Return the error for a path that does not exist, with the nearest name next to it."""
    try:
        names = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        return DataError(f"{path} does not exist, nor does the folder {path.parent}")
    close = difflib.get_close_matches(path.name, sorted({*names, *prefixes} - {""}), n=1)
    hint = f": did you mean {path.parent / close[0]}?" if close else ""
    return DataError(f"{path} does not exist{hint}")
