"""The folder that a data set is packed into: its lock, and how far packing has come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpucnn import files
from gpucnn.data.packed.manifest import FILE_NAME, STATE_NAME, read_json, read_manifest
from gpucnn.errors import DataError

EXAMINED_FILES = ".examined-*.npy"

Values = Mapping[str, Any]


@contextmanager
def opened(folder: Path, options: Values) -> Iterator[bool]:
    """Prepare a folder for packing, and lock it for the time of the block.

    Args:
        folder: a new one, or that of an interrupted call with the same ``options``. Other options
            start over if nothing was packed, as after an error of the source.
        options: what is packed and how it is read, as JSON has it.

    Yields:
        Whether the data set is complete.

    Raises:
        DataError: the folder holds something else, was begun with other options, or is being
            packed by another process.
    """
    is_new = not os.path.isdir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if os.path.isfile(folder / FILE_NAME):
            _expect(folder, read_manifest(folder).source, options, "holds a data set, packed with")
            yield True
            return
        if os.path.isfile(folder / STATE_NAME):
            _continue(folder, options)
        elif os.listdir(folder):
            raise DataError(f"{folder} is not empty: give a new folder to pack into")
        else:
            save_state(folder, {"options": options})
        try:
            yield False
        except Exception:
            _forget(folder, is_new)
            raise


def _continue(folder: Path, options: Values) -> None:
    """Prepare a folder that an earlier call has begun; DataError if it packed something else."""
    state = read_json(folder / STATE_NAME)
    if "sources" not in state and state.get("options") != json.loads(json.dumps(options)):
        for path in folder.glob(EXAMINED_FILES):
            path.unlink()
        save_state(folder, {"options": options})
    else:
        _expect(folder, state, options, "was begun with")


def _expect(folder: Path, found: Values, options: Values, what: str) -> None:
    """Raise DataError unless a folder was begun with the same options."""
    before, now = found.get("options"), json.loads(json.dumps(options))
    if before == now:
        return
    before = before if isinstance(before, dict) else {}
    key = next((key for key in now if before.get(key) != now[key]), "options")
    raise DataError(
        f"{folder} {what} {key} {before.get(key)!r}, now it is {now.get(key)!r}: remove {folder},"
        " or give another folder"
    )


def _forget(folder: Path, is_new: bool) -> None:
    """Remove a folder's state if nothing is packed yet, so that other options can be tried."""
    if [path.name for path in folder.iterdir()] == [STATE_NAME]:
        state = read_json(folder / STATE_NAME)
        if not state.get("files"):
            (folder / STATE_NAME).unlink()
            if is_new:
                folder.rmdir()


def examined_file(folder: str, number: int) -> str:
    """Return where it is kept what is known of some files of a folder of images."""
    return os.path.join(folder, f".examined-{number:05}.npy")


def save_state(folder: Path, state: Values) -> None:
    """Write how far packing has come."""
    files.write_atomically(folder / STATE_NAME, to_json(state))


def to_json(values: Any) -> bytes:
    """Return the content of a JSON file."""
    return json.dumps(values, indent=1, ensure_ascii=False).encode() + b"\n"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder for the time of the block; DataError if another process writes to it."""
    if os.name != "posix":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        files.lock(descriptor, folder)
        yield
    except BlockingIOError:
        raise DataError(f"{folder} is being packed by another process") from None
    finally:
        os.close(descriptor)
