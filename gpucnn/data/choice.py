"""Choosing the reader for a path: a file, or a folder in one of the usual layouts."""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from gpucnn.data.arrays.targets import AUTO, Labelling
from gpucnn.data.dataset import Data
from gpucnn.data.files import list_folder, unreadable
from gpucnn.data.formats import idx, tables
from gpucnn.data.packed.reading import is_packed, read_packed
from gpucnn.errors import DataError, SettingError

if TYPE_CHECKING:
    from gpucnn.data.folders.decoding import OnProgress

_EXPECTED = (
    "expected an .npz or .csv file, a folder of IDX files or a folder of images with a sub-folder"
    " for each class"
)
_PACKED = (".zip", ".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def read(
    path: Path,
    resize: tuple[int, int] | None,
    seed: int,
    on_progress: OnProgress | None,
    chosen: Labelling = AUTO,
    transpose: bool | None = None,
) -> Data:
    """Read the data set at ``path``; see ``gpucnn.data.load``."""
    kind = _kind(path)
    if kind == "folder":
        if is_packed(path):
            _refuse_resize(path, resize)
            return read_packed(path, chosen.regression, chosen.targets, transpose)
        return _read_folder(path, resize, seed, on_progress, chosen)
    if kind == "file":
        _refuse_resize(path, resize)
        return _read_file(path, chosen)
    prefixes: set[str] = set()
    if _kind(path.parent) == "folder":
        for folder in _idx_folders(path.parent):
            found = {key.prefix for key in idx.idx_files(folder)}
            if path.name in found:
                _refuse_resize(path, resize)
                chosen.refuse("IDX files")
                return idx.read_idx_folder(folder, path.name)
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


def _read_folder(
    path: Path,
    resize: tuple[int, int] | None,
    seed: int,
    on_progress: OnProgress | None,
    chosen: Labelling,
) -> Data:
    """Read the data set in a folder."""
    from gpucnn.data.folders.reader import read_folder

    if os.path.isfile(path / "checkpoint.npz"):
        raise DataError(
            f"{path} is the folder of a run, which holds a network, not a data set: {_EXPECTED}"
        )
    folders = _idx_folders(path)
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(path).parent) for folder in folders)
        raise DataError(f"{path} holds several data sets ({names}): give one as {folders[0]}")
    if folders:
        _refuse_resize(path, resize)
        chosen.refuse("IDX files")
        return idx.read_idx_folder(folders[0])
    if table := tables.find_table(path, chosen):
        _refuse_resize(path, resize)
        return tables.read_table(table, chosen)
    files = list_folder(path)
    archives = [file for file in files if file.suffix.lower() == ".npz" and os.path.isfile(file)]
    if len(archives) == 1 and not any(map(os.path.isdir, files)):
        _refuse_resize(path, resize)
        return _read_file(archives[0], chosen)
    chosen.refuse("folders of images")
    return read_folder(path, resize=resize, seed=seed, on_progress=on_progress)


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


def _read_file(path: Path, chosen: Labelling) -> Data:
    """Read the data set in a single file."""
    if path.suffix.lower() == ".npz":
        from gpucnn.data.formats.npz import read_npz

        return read_npz(path, chosen)
    if path.suffix.lower() in tables.SUFFIXES:
        return tables.read_table(path, chosen)
    if idx.is_idx_name(path.name):
        raise DataError(f"{path} is one of the four IDX files: give their folder, {path.parent}")
    hint = ". Unpack it first" if path.suffix.lower() in _PACKED else ""
    raise DataError(f"{path} is not a data set: {_EXPECTED}{hint}")


def _refuse_resize(path: Path, resize: tuple[int, int] | None) -> None:
    if resize is not None:
        raise SettingError(f"resize is for folders of images only: remove it to read {path}")


def _does_not_exist(path: Path, prefixes: set[str]) -> DataError:
    """Return the error for a path that does not exist, with the nearest name next to it."""
    try:
        names = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        return DataError(f"{path} does not exist, nor does the folder {path.parent}")
    close = difflib.get_close_matches(path.name, sorted({*names, *prefixes} - {""}), n=1)
    hint = f": did you mean {path.parent / close[0]}?" if close else ""
    return DataError(f"{path} does not exist{hint}")
