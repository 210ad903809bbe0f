"""Writing files and locking folders: complete or not at all, and never through a link.

Some network and user-space file systems support neither fsync on folders nor locks. That is
reported once, as a RuntimeWarning, and the files are written all the same.
"""

from __future__ import annotations

import errno
import os
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TextIO

PathLike = str | os.PathLike[str]

_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


def write_atomically(path: PathLike, content: bytes) -> None:
    """Replace a file such that at every moment the old or the new one is there, complete.

    If ``path`` is a link, the link is replaced and what it points to stays as it is. The file gets
    the permissions that the umask allows. Raises OSError, naming the file, if it cannot be written;
    the old file then stays as it was.
    """
    target = Path(path)
    # Always the same name: what a killed process left there is removed.
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        descriptor = _create(temporary)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            sync(descriptor, target)
            if not os.path.samestat(os.fstat(descriptor), os.lstat(temporary)):
                raise FileExistsError(errno.EEXIST, "another process writes the same file")
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno != errno.EEXIST:  # else it is another process's
            with suppress(OSError):
                temporary.unlink()
        raise OSError(error.errno, error.strerror, os.fspath(target)) from error
    sync_path(target.parent)


def _create(path: Path) -> int:
    """Return a descriptor of a new file; a file or a link that has its name is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:
        path.unlink(missing_ok=True)
        return os.open(path, flags, 0o666)


def open_to_append(path: PathLike) -> TextIO:
    """Open a text file to append to it; OSError if ``path`` is a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NOFOLLOW
    return open(os.open(path, flags, 0o666), "a", encoding="utf-8")


def sync_path(path: PathLike) -> None:
    """Make a file, or what was renamed in a folder, survive a power failure.

    Does nothing on Windows, which does not allow opening a folder for that.
    """
    if os.name != "posix":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not listed
        return
    try:
        sync(descriptor, path)
    finally:
        os.close(descriptor)


def sync(descriptor: int, path: PathLike) -> None:
    """Wait until a file or a folder is on disk, where its file system supports that.

    Another OSError names it.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
        _warn_once(
            f"the file system of {os.fspath(folder)} does not support fsync ({error.strerror}): "
            "a power failure may undo the last changes"
        )


def lock(descriptor: int, path: PathLike) -> None:
    """Lock an open file or folder until it is closed; BlockingIOError if it is locked already.

    Does nothing where there are no locks: on Windows, and on file systems without them. Another
    OSError names it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED | {errno.ENOLCK}:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        _warn_once(
            f"the file system of {os.fspath(path)} does not support locks ({error.strerror}): "
            "do not start two runs in this folder"
        )


def is_locked(path: PathLike) -> bool:
    """Return whether another process has locked a folder; False if that is unknown."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
