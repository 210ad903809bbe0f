"""Data sets: MNIST, which comes with the package, and those in your own files and folders."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gpucnn.data.dataset import Data, Split
from gpucnn.data.files import unreadable
from gpucnn.errors import DataError, DataWarning, SettingError

__all__ = ["Data", "Split", "load", "mnist"]


def mnist() -> Data:
    """Return MNIST: 60,000 training and 10,000 test digits, each 1 x 28 x 28.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86 (1998).

    >>> data = gpucnn.data.mnist()
    >>> data.train
    <Split: 60000 images of shape (1, 28, 28), labels 0 to 9>
    >>> data.test.images.shape, data.test.images.dtype
    ((10000, 1, 28, 28), dtype('uint8'))
    """
    from gpucnn.data.idx import read_idx_folder

    data = read_idx_folder(Path(__file__).parent / "mnist")
    return replace(data, builtin=True, preparation="digit")


def load(
    path: str | os.PathLike[str],
    *,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    transpose: bool | None = None,
    on_progress: Callable[[str, int, int], object] | None = None,
) -> Data:
    """Read a data set from a file or a folder.

    ``path`` is one of

    - an ``.npz`` file with the arrays x_train, y_train, x_test and y_test: images uint8
      (N, H, W), (N, H, W, C) or (N, C, H, W), labels of any integer dtype (N,);
    - a folder of the four IDX files that MNIST comes in, gzip or not; where a folder holds
      several such sets, the folder and the prefix of one: ``gzip/emnist-letters``;
    - a folder of image files with one sub-folder for each class, inside ``train/``, ``test/`` and
      perhaps ``val/``, or alone: then about a fifth of the images becomes the test split. A hash of
      its content decides whether an image is for testing, so it stays so when files are added,
      removed or renamed.

    Args:
        path: the file, the folder, or the folder and a prefix.
        resize: (height, width) in pixels to scale every image to; for folders of images only.
        seed: of a folder without train/ and test/; another seed selects other test images.
        transpose: whether to exchange rows and columns of the images. None: if they are digits
            that lie transposed, or the name is EMNIST's, whose classes are then named by their
            characters. False: images, labels and class names are read as they are stored.
        on_progress: called about ten times a second while image files are read, with "examined" or
            "read", the number of files that were, and their total.

    Raises:
        DataError: there is no such data set, or it is damaged.
        SettingError: ``resize`` below 1 or for a data set that is not a folder of images, a
            negative ``seed``, or a folder of images and Pillow is not installed.

    Warns:
        DataWarning: for each of the ``notes`` of the data set, such as files that were not read.

    >>> images = numpy.zeros((4, 28, 28), dtype=numpy.uint8)
    >>> labels = numpy.array([0, 1, 2, 1])
    >>> numpy.savez("shapes.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    >>> gpucnn.data.load("shapes.npz")
    <Data 'shapes': 4 training and 4 test images of shape (1, 28, 28), 3 classes ('0', '1', '2')>
    """
    from gpucnn.data.orientation import upright
    from gpucnn.data.preparation import recognise

    data = upright(_load(Path(path), resize, seed, on_progress), transpose)
    data = replace(data, preparation=data.preparation or recognise(data))
    for note in data.notes:
        warnings.warn(note, DataWarning, stacklevel=2)
    return data


def _load(
    path: Path,
    resize: tuple[int, int] | None,
    seed: int,
    on_progress: Callable[[str, int, int], object] | None,
) -> Data:
    """Read a data set with the reader for what ``path`` is."""
    # Each reader is imported when it is needed, so that importing gpucnn stays cheap.
    from gpucnn.data import idx

    kind = _kind(path)
    if kind == "folder":
        if not idx.idx_files(path):
            from gpucnn.data.folder import read_folder

            return read_folder(path, resize=resize, seed=seed, on_progress=on_progress)
        _refuse_resize(path, resize)
        return idx.read_idx_folder(path)
    if kind == "file":
        _refuse_resize(path, resize)
        return _load_file(path)
    siblings = idx.idx_files(path.parent) if _kind(path.parent) == "folder" else {}
    prefixes = {key.prefix for key in siblings}
    if path.name in prefixes:
        _refuse_resize(path, resize)
        return idx.read_idx_folder(path.parent, path.name)
    raise _does_not_exist(path, prefixes)


def _kind(path: Path) -> str:
    """Return "folder", "file" or, if nothing is there, ""; DataError if that cannot be found."""
    try:
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise unreadable(path, error) from None


def _load_file(path: Path) -> Data:
    """Read the data set in a single file."""
    from gpucnn.data.idx import is_idx_name

    if path.suffix.lower() == ".npz":
        from gpucnn.data.npz import read_npz

        return read_npz(path)
    if is_idx_name(path.name):
        raise DataError(f"{path} is one of the four IDX files: give their folder, {path.parent}")
    raise DataError(
        f"{path} is not a data set: expected an .npz file, a folder of IDX files or a folder of"
        " images"
    )


def _refuse_resize(path: Path, resize: tuple[int, int] | None) -> None:
    if resize is not None:
        raise SettingError(f"resize is for folders of images only: remove it to read {path}")


def _does_not_exist(path: Path, prefixes: set[str]) -> DataError:
    """Return the error for a path that does not exist, with the nearest name next to it."""
    import difflib  # needed only here

    try:
        names = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        return DataError(f"{path} does not exist, nor does the folder {path.parent}")
    close = difflib.get_close_matches(path.name, sorted({*names, *prefixes} - {""}), n=1)
    hint = f": did you mean {path.parent / close[0]}?" if close else ""
    return DataError(f"{path} does not exist{hint}")
