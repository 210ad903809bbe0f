"""Writing files: links, permissions, leftovers, and file systems that lack fsync or locks."""

from __future__ import annotations

import errno
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpucnn import files

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX links, permissions and locks")


@pytest.fixture(autouse=True)
def not_yet_warned() -> Iterator[None]:
    files._warn_once.cache_clear()
    yield
    files._warn_once.cache_clear()


def fails_with(number: int) -> Any:
    def function(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    return function


@pytest.mark.parametrize("name", [".a.npz.tmp", "a.npz"])
def test_a_link_at_a_name_that_is_written_is_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / name).symlink_to(victim)
    files.write_atomically(tmp_path / "a.npz", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "a.npz").read_bytes() == b"new"
    assert not (tmp_path / "a.npz").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "victim"]


def test_a_link_is_not_appended_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="log") as caught:
        files.open_to_append(tmp_path / "log")
    assert caught.value.errno == errno.ELOOP


def test_a_link_that_appears_in_between_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the removal of a leftover and the creation of the file."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / ".a.tmp").write_bytes(b"leftover")
    unlink = Path.unlink

    def replaced(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        path.symlink_to(tmp_path / "victim")

    monkeypatch.setattr(Path, "unlink", replaced)
    with pytest.raises(OSError, match=r"'.*a'"):
        files.write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_file_of_two_writers_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second writer removes the first one's temporary file: the first fails and says why."""
    sync, inside = files.sync, threading.Event()

    def interrupted(descriptor: int, path: Any) -> None:
        sync(descriptor, path)
        if not inside.is_set():
            inside.set()
            files._create(tmp_path / ".a.tmp")

    monkeypatch.setattr(files, "sync", interrupted)
    with pytest.raises(OSError, match="another process writes the same file"):
        files.write_atomically(tmp_path / "a", b"new")
    assert not (tmp_path / "a").exists()
    assert (tmp_path / ".a.tmp").exists(), "it belongs to the other writer"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write_atomically(tmp_path / "a", b"new")
        files.open_to_append(tmp_path / "b").close()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "b")]
    assert modes == [0o666 & ~mask] * 2


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_a_file_system_without_fsync_or_locks_warns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", fails_with(number))
    monkeypatch.setattr("fcntl.flock", fails_with(number))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for content in (b"1", b"2"):
            files.write_atomically(tmp_path / "a", content)
            files.lock(descriptor, tmp_path)
    os.close(descriptor)
    texts = [str(warning.message) for warning in found]
    assert [warning.category for warning in found] == [RuntimeWarning] * 2
    assert texts[0].startswith(f"the file system of {tmp_path} does not support fsync")
    assert texts[1].startswith(f"the file system of {tmp_path} does not support locks")
    assert (tmp_path / "a").read_bytes() == b"2"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_other_errors_of_fsync_fail_and_keep_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files.write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", fails_with(number))
    with pytest.raises(OSError, match=r"'.*a'") as caught:
        files.write_atomically(tmp_path / "a", b"new")
    assert caught.value.errno == number
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_other_errors_of_folders_and_locks_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", fails_with(errno.EIO))
    monkeypatch.setattr("fcntl.flock", fails_with(errno.EIO))
    for action in (files.sync_path, lambda path: files.lock(0, path)):
        with pytest.raises(OSError, match="error") as caught:
            action(tmp_path)
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(tmp_path))


def test_a_lock_of_another_is_reported(tmp_path: Path) -> None:
    one, other = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    files.lock(one, tmp_path)
    with pytest.raises(BlockingIOError):
        files.lock(other, tmp_path)
    os.close(one)
    files.lock(other, tmp_path)
    os.close(other)
