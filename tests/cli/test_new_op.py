"""``gpucnn new-op``: the files that it writes pass as they are, and no file is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpucnn.cli import run
from gpucnn.testing import template

Capture = pytest.CaptureFixture[str]


def test_the_files_of_a_new_operation_are_written(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "my ops"
    assert run(["new-op", "soft_sign", "--out", str(folder)]) == 0
    names = ["soft_sign.cu", "soft_sign.py", "test_soft_sign.py"]
    assert sorted(path.name for path in folder.iterdir()) == names
    *_, check, test = capsys.readouterr().out.splitlines()
    assert check == f"check it with: gpucnn check '{folder}/soft_sign.py:SoftSign'"
    assert test == f"test it with:  pytest '{folder}/test_soft_sign.py'"
    for path in folder.iterdir():
        text = path.read_text()
        assert "$" not in text
        assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "LeakyReLU",
            "'LeakyReLU' cannot be the name of an operation: expected lower-case letters",
        ),
        ("2fast", "'2fast' cannot be the name"),
        ("a-b", "'a-b' cannot be the name"),
        ("../up", "'../up' cannot be the name"),
        ("lambda", "'lambda' cannot be the name"),
        ("soft__sign", "'soft__sign' cannot be the name"),
        ("random", "a file random.py would hide Python's module random: try my_random"),
        ("numpy", "a file numpy.py would hide Python's module numpy: try my_numpy"),
    ],
)
def test_names_are_checked(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["new-op", name]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", ["mine.py", "mine.cu", "test_mine.py"])
def test_no_file_is_replaced(existing: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / existing).write_text("precious")
    assert run(["new-op", "mine", "--out", str(tmp_path)]) == 2
    message = f"{tmp_path / existing} exists: give another name, or another folder with --out"
    assert message in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_all_files_are_written_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(template, "FILES", ("NAME.py", "NAME.missing"))
    assert run(["new-op", "mine", "--out", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    capsys.readouterr()
    assert run(["new-op", "mine", "--out", str(tmp_path / "file" / "folder")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]
