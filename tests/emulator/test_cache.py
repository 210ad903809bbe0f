"""The cache of compiled code: damage, other users, links, and processes that build at once."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from available import backend_or_skip

import gpucnn
from gpucnn.emulator import cache
from gpucnn.errors import BackendError
from gpucnn.machine import doctor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulator is for Linux")

CODE = """
import sys
import numpy as np
from gpucnn import emulator
from gpucnn.emulator import toolchain
source = 'extern "C" __global__ void one(int *x) { x[blockIdx.x] = 1; }'
x = emulator.zeros(2, np.int32)
emulator.RawModule(code=source).get_function("one")((2,), (1,), (x,))
assert x.get().tolist() == [1, 1]
print(toolchain.compilations)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    root = str(Path(gpucnn.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**os.environ, "GPUCNN_CACHE_DIR": str(folder), "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def compilations(folder: Path) -> int:
    output, error = (process := start(folder)).communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    return int(output)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the runtime and a module, which two processes have built at once."""
    backend_or_skip("emulated")
    folder = tmp_path_factory.mktemp("filled")
    both = [start(folder) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [error for _, error in outputs] == ["", ""]
    assert sum(int(output) for output, _ in outputs) == 2, "each entry is built by one of them"
    assert compilations(folder) == 0
    return folder


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("runtime.so", truncate),
        ("module.so", truncate),
        ("module.so", flip_bit),
        ("module.so", empty),
        ("module.json", flip_bit),
        ("module.json", os.unlink),
        ("sha256", replace_by_folder),
    ],
)
def test_a_damaged_entry_is_reported_and_built_again(
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    folder = tmp_path / "cache"
    shutil.copytree(filled, folder)
    module = next(folder.rglob("module.so")).parent  # its entry is built again sooner
    path = module / name if (module / name).exists() else next(folder.rglob(name))
    damage(path)
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(folder))
    (finding,) = (f for f in doctor.examine() if f.name == "emulator cache")
    assert (finding.state, finding.found) == ("bad", f"{folder}/emulator has 1 damaged entry")
    assert compilations(folder) == 1
    assert cache.damaged() == []
    assert compilations(folder) == 0
    assert {path.suffix for path in (folder / "emulator").iterdir()} == {""}, "nothing is left over"


def test_every_bit_of_an_entry_is_checked(tmp_path: Path) -> None:
    entry = tmp_path / ("0" * 32)
    cache._make(entry, lambda folder: (folder / "a").write_bytes(b"code") and None)
    assert cache.is_intact(entry)
    for path in list(entry.iterdir()):
        before = path.read_bytes()
        for position in range(8 * len(before)):
            content = bytearray(before)
            content[position // 8] ^= 1 << position % 8
            path.write_bytes(content)
            assert not cache.is_intact(entry)
        path.write_bytes(before)
    (entry / "b").touch()
    assert not cache.is_intact(entry)


def test_only_the_user_may_read_or_write_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    mask = os.umask(0)
    try:
        entry = cache.cached("0" * 32, lambda folder: (folder / "a").touch())
    finally:
        os.umask(mask)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (entry.parent, entry, entry / "a")]
    assert modes == [0o700, 0o700, 0o666]


def test_a_folder_that_a_group_may_write_is_closed_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older versions made it under a umask of 002."""
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    (tmp_path / "emulator").mkdir()
    (tmp_path / "emulator").chmod(0o775)
    assert stat.S_IMODE(cache.folder().stat().st_mode) == 0o755


def test_a_folder_that_all_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    (tmp_path / "emulator").mkdir()
    (tmp_path / "emulator").chmod(0o777)
    message = rf"^{tmp_path}/emulator may be written by all users.*GPUCNN_CACHE_DIR"
    with pytest.raises(BackendError, match=message):
        cache.folder()
    (finding,) = (f for f in doctor.examine() if f.name == "emulator cache")
    assert finding.state == "bad"
    assert "may be written by all users" in finding.fix


def belongs_to(monkeypatch: pytest.MonkeyPatch, other: Path) -> None:
    """Have ``other`` belong to another user: only the superuser can really change that."""
    uid = os.getuid() or 1
    monkeypatch.setattr(os, "getuid", lambda: uid)

    method = Path.stat

    def changed(path: Path, **options: bool) -> os.stat_result:
        values = list(method(path, **options))
        values[stat.ST_UID] = uid + 1 if path == other else uid
        return os.stat_result(values)

    monkeypatch.setattr(Path, "stat", changed)
    monkeypatch.setattr(Path, "lstat", lambda path: changed(path, follow_symlinks=False))


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    (tmp_path / "emulator").mkdir()
    belongs_to(monkeypatch, tmp_path / "emulator")
    with pytest.raises(BackendError, match=r"emulator belongs to another user \(uid \d+\), and"):
        cache.folder()


def test_an_entry_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    entry = cache.cached("0" * 32, lambda folder: (folder / "a").touch())
    assert cache.is_intact(entry)
    belongs_to(monkeypatch, entry)
    assert not cache.is_intact(entry)
    assert cache.damaged() == [entry]


def test_a_link_in_place_of_an_entry_or_a_lock_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    planted = cache.cached("1" * 32, lambda folder: (folder / "a").write_text("planted") and None)
    planted = planted.rename(tmp_path / "planted")
    base = cache.folder()
    (base / ("0" * 32)).symlink_to(planted)
    (base / ("2" * 32 + ".lock")).symlink_to(tmp_path / "victim")
    entry = cache.cached("0" * 32, lambda folder: (folder / "a").write_text("own") and None)
    assert (entry / "a").read_text() == "own"
    assert (planted / "a").read_text() == "planted"
    with pytest.raises(BackendError, match="cannot store compiled kernels"):
        cache.cached("2" * 32, lambda folder: None)
    assert not (tmp_path / "victim").exists()


def test_a_lock_whose_file_was_removed_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait for a lock never hold it together."""
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(50):
            with cache._lock(tmp_path / "a.lock"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                os.sched_yield()
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not list(tmp_path.iterdir())


def test_a_library_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"")
    with pytest.raises(BackendError, match=r"cannot be loaded: .*a\.so.*GPUCNN_CACHE_DIR"):
        cache.load(tmp_path / "a.so")
