"""The report of the machine: that its advice fits what was found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpucnn.machine.doctor import _caches


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("name", ["own", "own/absent", "others"])
def test_permissions_are_to_be_changed_only_for_ones_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.parent.mkdir(exist_ok=True)
    if name != "own/absent":
        folder.mkdir()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(folder))
    monkeypatch.setattr(os, "access", lambda *_: False)
    if name == "others":
        owner = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    finding = next(_caches())
    assert (finding.state, finding.found) == ("bad", f"{folder} is not writable")
    expected = f"chmod u+w {folder}" if name == "own" else "set CUPY_CACHE_DIR to another folder"
    assert finding.fix == expected
