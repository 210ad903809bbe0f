"""The cache of compiled code: a folder that processes share; entries appear complete or not.

Code is loaded from it, so that it must belong to the user, and nobody else may write to it. An
entry has the checksums of its files; one that is damaged is built again.
"""

from __future__ import annotations

import ctypes
import errno
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
from gpucnn.files import open_to_append, sync_path

VARIABLE = "GPUCNN_CACHE_DIR"
KEPT_DAYS = 30  # since the last use
_SUMS = "sha256"  # the file of an entry that holds the checksums of the others


def folder() -> Path:
    """Return the folder of compiled code; create it if necessary.

    It is in $GPUCNN_CACHE_DIR, by default in the user's cache folder. If that is not writable, it
    is a temporary folder that belongs to this user. Raises BackendError if the folder belongs to
    another user, or if others may write to it.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _usable(Path(named) / "emulator")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return _usable(Path(base) / "gpucnn" / "emulator")


@lru_cache
def _usable(wanted: Path) -> Path:
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            pass
    except OSError:
        return _temporary()
    fault = _unsafe(wanted)
    if fault:
        raise BackendError(
            f"{wanted} {fault}, and code is loaded from there: set {VARIABLE} to a folder of your"
            f" own, or remove {wanted}"
        )
    wanted.chmod(stat.S_IMODE(wanted.stat().st_mode) & ~0o022)
    return wanted


def _unsafe(path: Path) -> str:
    """Return why others could change a folder, or "". The superuser can in any case."""
    if not hasattr(os, "getuid"):
        return ""
    found = path.stat()
    if found.st_uid not in (os.getuid(), 0):
        return f"belongs to another user (uid {found.st_uid})"
    # Under a umask of 002 each user has a group of their own, which may write.
    return "may be written by all users" if found.st_mode & 0o002 else ""


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
    after an interrupted build; one that was damaged is replaced. Each build removes folders that
    have not been used for KEPT_DAYS. Raises BackendError if the folder cannot be written, for
    example on a full disk.
    """
    base = folder()
    wanted = base / name
    if is_intact(wanted):
        _touch(wanted)
        return wanted
    try:
        with _lock(base / f"{name}.lock"):
            if not is_intact(wanted):
                _remove(wanted)
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
        (work / _SUMS).write_bytes(_checksums(work))
        for path in (*work.iterdir(), work):
            sync_path(path)
        os.rename(work, wanted)
        sync_path(wanted.parent)
    except OSError:
        if not is_intact(wanted):  # where locks do not work, another process was first
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _checksums(entry: Path) -> bytes:
    """Return the names of an entry's files with their SHA-256; OSError if one is not a file."""
    lines = []
    for path in sorted(entry.iterdir(), key=lambda path: path.name):
        if path.name == _SUMS:
            continue
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EINVAL, "not a file", os.fspath(path))
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}\n")
    return "".join(lines).encode()


def is_intact(entry: Path) -> bool:
    """Return whether an entry is there, belongs to the user, and has not changed since its build.

    Without that, loading a truncated library would end the process with SIGBUS.
    """
    try:
        mine = stat.S_ISDIR(entry.lstat().st_mode) and not _unsafe(entry)
        return mine and (entry / _SUMS).read_bytes() == _checksums(entry)
    except OSError:
        return False


def damaged() -> list[Path]:
    """Return the entries of the cache that are not intact; each is built again when it is used."""
    entries = [path for path in folder().iterdir() if re.fullmatch("[0-9a-f]{32}", path.name)]
    # Older versions wrote no checksums; their entries are not used any more.
    return [path for path in entries if (path / _SUMS).exists() and not is_intact(path)]


def load(library: Path, loader: type[ctypes.CDLL] = ctypes.CDLL) -> ctypes.CDLL:
    """Load a library of an entry; BackendError if the system refuses."""
    try:
        return loader(os.fspath(library))
    except OSError as error:
        raise BackendError(
            f"compiled kernels cannot be loaded: {error}; if programs may not run from this folder,"
            f" set {VARIABLE} to another one"
        ) from None


def _touch(wanted: Path) -> None:
    """Set the time of a folder's last use."""
    with suppress(OSError):  # a folder of the superuser may be read all the same
        os.utime(wanted)


def _remove(entry: Path) -> None:
    """Remove an entry, if there is one.

    It is renamed first, so that another process finds all of it or nothing. A process that uses it
    keeps its open files.
    """
    gone = entry.with_name(f"{entry.name[:32]}.{os.getpid()}.gone")
    try:
        os.rename(entry, gone)
    except FileNotFoundError:
        return
    if gone.is_dir() and not gone.is_symlink():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink()


def _remove_unused(base: Path) -> None:
    """Remove entries not used for KEPT_DAYS, and files of killed builds that are as old."""
    oldest = time.time() - KEPT_DAYS * 86400
    for path in base.iterdir():
        if not re.fullmatch(r"[0-9a-f]{32}(\..*)?", path.name):
            continue
        with suppress(OSError):  # another process may do the same
            if path.lstat().st_mtime < oldest:
                _remove(path)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock on a file inside the ``with``, if the file system supports locks."""
    import fcntl  # not on every system; the emulator as a whole is for Linux

    while True:
        with open_to_append(path) as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                # The process that had the lock has removed the file: others lock another one.
                if not os.path.samestat(os.fstat(file.fileno()), os.lstat(path)):
                    continue
            except FileNotFoundError:
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
