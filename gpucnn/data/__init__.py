"""Data sets: MNIST, which comes with the package, and those in a user's files and folders."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

from gpucnn.data.dataset import Data, Split
from gpucnn.errors import DataError, SettingError

__all__ = ["Data", "Split", "load", "mnist"]


def mnist() -> Data:
    """Return MNIST: 60,000 training and 10,000 test digits, each 1 x 28 x 28.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86 (1998).
    """
    from gpucnn.data.idx import read_idx_folder

    return replace(read_idx_folder(Path(__file__).parent / "mnist"), builtin=True)


def load(
    path: str | os.PathLike[str], *, resize: tuple[int, int] | None = None, seed: int = 0
) -> Data:
    """Read a data set, whichever of three kinds ``path`` is.

    - an ``.npz`` file with x_train, y_train, x_test and y_test (see gpucnn.data.npz);
    - a folder of IDX files as MNIST has them, or such a folder and the prefix of one of its sets:
      ``gzip/emnist-letters`` (see gpucnn.data.idx);
    - a folder of images with a sub-folder for each class (see gpucnn.data.folder).

    Args:
        path: the file, the folder, or the folder and a prefix.
        resize: (height, width) in pixels to give to every image; for folders of images only.
        seed: decides which images of a folder without train/ and test/ become the test split.

    Raises:
        DataError: there is no such data set, or it is damaged.
        SettingError: ``resize`` for a data set that is no folder of images, or a bad ``resize``.
    """
    path = Path(path)
    # each reader is imported when it is needed: importing gpucnn stays cheap
    from gpucnn.data import idx

    kind = _kind(path)
    if kind == "folder":
        if not idx.idx_files(path):
            from gpucnn.data.folder import read_folder

            return read_folder(path, resize=resize, seed=seed)
        _no_resize(path, resize)
        return idx.read_idx_folder(path)
    if kind == "file":
        _no_resize(path, resize)
        return _load_file(path)
    siblings = idx.idx_files(path.parent) if _kind(path.parent) == "folder" else {}
    if any(prefix == path.name for prefix, _, _ in siblings):
        _no_resize(path, resize)
        return idx.read_idx_folder(path.parent, path.name)
    raise _nothing_there(path, {prefix for prefix, _, _ in siblings})


def _kind(path: Path) -> str:
    """Return "folder", "file" or, where there is nothing, ""; DataError if that cannot be seen."""
    try:
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _load_file(path: Path) -> Data:
    """Read the data set in a single file."""
    from gpucnn.data.idx import is_idx_name

    if path.suffix.lower() == ".npz":
        from gpucnn.data.npz import read_npz

        return read_npz(path)
    if is_idx_name(path.name):
        raise DataError(f"{path} is one file of an IDX set: give the folder, {path.parent}")
    raise DataError(
        f"{path} is no data set: wanted an .npz file, a folder of IDX files or a folder of images"
    )


def _no_resize(path: Path, resize: tuple[int, int] | None) -> None:
    if resize is not None:
        raise SettingError(f"resize is for folders of images: the images in {path} keep their size")


def _nothing_there(path: Path, prefixes: set[str]) -> DataError:
    """Return the error for a path that does not exist, with the nearest name beside it."""
    import difflib  # only ever needed on the way out

    try:
        names = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        return DataError(f"{path} does not exist, nor does the folder {path.parent}")
    close = difflib.get_close_matches(path.name, sorted({*names, *prefixes} - {""}), n=1)
    hint = f": did you mean {path.parent / close[0]}?" if close else ""
    return DataError(f"{path} does not exist{hint}")
