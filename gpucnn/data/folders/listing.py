"""What a folder of images holds: its splits, classes and files, and what is not read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpucnn.data.files import FOLDER, list_folder, other_kind, unreadable
from gpucnn.data.images.opening import NotAnImage, has_image_suffix
from gpucnn.data.names import normalize_name
from gpucnn.errors import DataError

Classes = dict[str, list[str]]
"""The files of each class, both sorted by name."""

# The names of the folders of the splits, in any case.
_PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}
# What operating systems and their tools leave in folders.
_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
# How many files a report names.
_NAMED = 3


@dataclass
class Report:
    """What is not read of a folder.

    Attributes:
        folder: paths are reported relative to it.
        unread: a line for every file that may have been meant to be read.
        others: the number of hidden files, files of the system, texts and the like.
        remarks: lines on how the folder was understood.
    """

    folder: Path
    unread: list[str] = field(default_factory=list)
    others: int = 0
    remarks: list[str] = field(default_factory=list)

    def add(self, path: Path, reason: str) -> None:
        """Report a file; ``reason`` follows its name: "is a named pipe, not a file"."""
        self.unread.append(f"{self.name(path)} {reason}")

    def add_error(self, path: Path, error: DataError) -> None:
        """Report the file whose reading failed; ``error`` begins with its path."""
        if isinstance(error, NotAnImage):
            self.others += 1
        else:
            self.add(path, str(error).removeprefix(str(path)).strip())

    def name(self, path: Path) -> str:
        """Return the path relative to the folder, printable."""
        name = path.relative_to(self.folder).as_posix()
        return name if name.isprintable() else repr(name)

    def notes(self) -> tuple[str, ...]:
        """Return the remarks, and one line on all that is not read, if there is something."""
        count, parts = len(self.unread), []
        if count:
            parts = [*self.unread[:_NAMED], *([f"{count - _NAMED} more"] if count > _NAMED else [])]
            parts = [f"{count} {_files(count)} not read: {'; '.join(parts)}"]
        if self.others:
            other = "other " if count else ""
            parts.append(f"{self.others} {other}{_files(self.others)} skipped: not images")
        unread = [f"{self.folder}: {'; '.join(parts)}"] if parts else []
        return (*self.remarks, *unread)


def _files(count: int) -> str:
    return "file was" if count == 1 else "files were"


def find_parts(folder: Path, report: Report) -> dict[str, Path]:
    """Return the folders of the splits, "train", "test" and "validation".

    If ``folder`` has no such folders, it holds the classes: the only split is "all". Without a
    folder for testing, the one for validation takes its place.
    """
    found = sub_folders(folder)
    parts = {}
    for part, names in _PARTS.items():
        matches = [name for name in found if name.casefold() in names]
        if len(matches) > 1:
            raise DataError(f"{folder} holds {' and '.join(matches)}: expected one of them")
        if matches:
            parts[part] = found[matches[0]]
    if "train" not in parts:
        return {"all": folder}
    if len(parts) == 1:
        if len(found) > 1 or any(path.is_file() for path in _visible(parts["train"])):
            return {"all": folder}
        raise DataError(
            f"{folder} holds {parts['train'].name}/ but no test/ or val/: give"
            f" {parts['train']} itself, then a fifth of it is held out for testing"
        )
    for path in list_folder(folder):
        if path not in parts.values():
            _skip(path, report, "is outside train/, test/ and val/")
    validation = parts.pop("validation", None)
    if validation is None:
        return parts
    use = "validation" if "test" in parts else "test"
    parts[use] = validation
    without = "" if use == "validation" else ", as there is no test/"
    report.remarks.append(f"{validation} holds the {use} images{without}")
    return parts


def list_classes(folder: Path, report: Report) -> Classes:
    """Return the files of each class of a split, those in sub-folders included."""
    classes: Classes = {}
    paths: dict[str, Path] = {}
    for path in list_folder(folder):
        if _is_hidden(path) or not path.is_dir():
            _skip(path, report, "is outside the folders of the classes")
            continue
        name = normalize_name(path.name)
        if name in paths:
            raise DataError(
                f"{paths[name]} and {path} have the same name in two Unicode forms,"
                f" {paths[name].name!a} and {path.name!a}: move their files into one"
            )
        paths[name] = path
        classes[name] = list(_files_in(os.fspath(path), report, ()))
    if not classes:
        raise DataError(
            f"{folder} is not a data set: it holds neither IDX files nor a folder for each class"
        )
    if len(classes) == 1:
        _refuse_wrapper(folder, *paths.values())
    return dict(sorted(classes.items()))


def _refuse_wrapper(folder: Path, only: Path) -> None:
    """Refuse a folder whose only folder holds what looks like the classes or the splits."""
    inside = sub_folders(only)
    if len(inside) > 1 and not any(path.is_file() for path in _visible(only)):
        raise DataError(
            f"{folder} holds one folder, {only.name}, which holds {len(inside)}"
            f" ({', '.join(list(inside)[:3])}): give {only}"
        )


def sub_folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders that are not hidden by name, sorted."""
    try:
        return {path.name: path for path in _visible(folder) if path.is_dir()}
    except OSError as error:
        raise unreadable(folder, error) from None


def _files_in(folder: str, report: Report, above: tuple[os.stat_result, ...]) -> Iterator[str]:
    """Yield the files in a folder and below, sorted; ``above`` are the folders that it is in."""
    here = os.stat(folder)
    if any(os.path.samestat(here, other) for other in above):
        report.add(Path(folder), "is a link to a folder that it is in")
        return
    names, plain = _list_names(folder)
    if not names and above:
        report.add(Path(folder), "is an empty folder, not a file")
    for name in names:
        path = os.path.join(folder, name)
        if _is_system(name):
            report.others += 1
            continue
        try:
            kind = "" if name in plain else other_kind(os.stat(path).st_mode)
        except OSError as error:
            report.add(Path(path), f"cannot be read: {error.strerror}")
            continue
        if not kind:
            yield path
        elif kind == FOLDER:
            yield from _files_in(path, report, (*above, here))
        else:
            report.add(Path(path), f"is {kind}, not a file")


def _list_names(folder: str) -> tuple[list[str], set[str]]:
    """Return the names in a folder, sorted as by ``list_folder``, and those of plain files."""
    plain = set()
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if entry.is_file(follow_symlinks=False):  # of most systems without a call
                    plain.add(entry.name)
    except OSError as error:
        raise unreadable(folder, error) from None
    if all(map(str.isascii, names)):
        return sorted(names), plain
    return sorted(names, key=lambda name: (normalize_name(name), name)), plain


def _skip(path: Path, report: Report, reason: str) -> None:
    """Report a file or folder in a place where none is read."""
    if not _is_hidden(path) and (path.is_dir() or has_image_suffix(path)):
        report.add(path, reason)
    else:
        report.others += 1


def _is_hidden(path: Path) -> bool:
    return _is_system(path.name)


def _is_system(name: str) -> bool:
    """Return whether a name is of a hidden file, or of one that the system has left."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def _visible(folder: Path) -> list[Path]:
    """Return the entries of a folder that are not hidden, sorted by name."""
    return [path for path in list_folder(folder) if not _is_hidden(path)]
