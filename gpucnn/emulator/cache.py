"""The cache of compiled code: a folder that processes share; entries appear complete or not."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from gpucnn.errors import BackendError

VARIABLE = "GPUCNN_CACHE_DIR"
KEPT_DAYS = 30  # since the last use


def folder() -> Path:
    """Return the folder of compiled code; create it if necessary.

    It is in $GPUCNN_CACHE_DIR, by default in the user's cache folder. If that is not writable, it
    is a temporary folder that belongs to this user.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _usable(Path(named) / "emulator")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return _usable(Path(base) / "gpucnn" / "emulator")


@lru_cache
def _usable(wanted: Path) -> Path:
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError:
        return _temporary()


def _temporary() -> Path:
    """Return a folder that only this user can write to: code is loaded from it."""
    if not hasattr(os, "getuid"):  # the emulator does not run there, but may be asked
        return Path(tempfile.gettempdir())
    own = Path(tempfile.gettempdir()) / f"gpucnn-emulator-{os.getuid()}"
    with suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
        mine = found.st_uid == os.getuid() and not found.st_mode & 0o022
        if stat.S_ISDIR(found.st_mode) and mine:
            return own
    return Path(tempfile.mkdtemp(prefix="gpucnn-emulator-"))


def key(*parts: str) -> str:
    """Return a name that identifies these texts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder ``name`` of the cache; if it does not exist, ``build`` fills it first.

    Processes that need the same folder wait for the first. A folder is complete or absent, also
    after an interrupted build. Each build removes folders that have not been used for KEPT_DAYS.
    Raises BackendError if the folder cannot be written, for example on a full disk.
    """
    base = folder()
    wanted = base / name
    if _touch(wanted):
        return wanted
    try:
        with _lock(base / f"{name}.lock"):
            if not _touch(wanted):
                _make(wanted, build)
                _remove_unused(base)
    except OSError as error:
        raise BackendError(
            f"cannot store compiled kernels in {base}: {error.strerror or error};"
            f" set {VARIABLE} to another folder"
        ) from error
    return wanted


def _make(wanted: Path, build: Callable[[Path], None]) -> None:
    work = Path(tempfile.mkdtemp(prefix=f"{wanted.name}.", dir=wanted.parent))
    try:
        build(work)
        os.rename(work, wanted)
    except OSError:
        if not wanted.is_dir():  # where locks do not work, another process was first
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _touch(wanted: Path) -> bool:
    """Set the time of a folder's last use; return whether it exists."""
    with suppress(OSError):  # a folder of another user may be read all the same
        os.utime(wanted)
    return wanted.is_dir()


def _remove_unused(base: Path) -> None:
    """Remove entries not used for KEPT_DAYS, and files of killed builds that are as old.

    A folder is renamed first, so that another process finds all of it or nothing. A process that
    uses it keeps its open files.
    """
    oldest = time.time() - KEPT_DAYS * 86400
    for path in base.iterdir():
        if not re.fullmatch(r"[0-9a-f]{32}(\..*)?", path.name):
            continue
        with suppress(OSError):  # another process may do the same
            if path.stat().st_mtime >= oldest:
                continue
            if path.is_dir():
                gone = path.with_name(f"{path.name[:32]}.{os.getpid()}.gone")
                os.rename(path, gone)
                shutil.rmtree(gone, ignore_errors=True)
            else:
                path.unlink()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock on a file inside the ``with``, if the file system supports locks."""
    import fcntl  # not on every system; the emulator as a whole is for Linux

    with open(path, "a") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
