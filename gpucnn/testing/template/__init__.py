"""Writes the files of a new operation: ``gpucnn new-op NAME``."""

from __future__ import annotations

import keyword
import os
import re
import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path
from string import Template

from gpucnn.errors import SettingError

FILES = ("NAME.py", "NAME.cu", "test_NAME.py")
"""The files; each has its text in this folder, with the ending .txt."""

TAKEN = frozenset({"gpucnn", "numpy", "cupy", "pytest", "conftest"}) | sys.stdlib_module_names
"""Modules that a file of the same name would hide from Python."""


def class_name(name: str) -> str:
    """Return the class of the operation ``name``: LeakyRelu for leaky_relu."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def write_op(name: str, folder: Path) -> list[Path]:
    """Write the files of the operation ``name`` to ``folder``, and return their paths.

    All or none are written. SettingError if the name cannot be that of a module and of kernels, or
    a file exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise SettingError(
            f"{name!r} cannot be the name of an operation: expected lower-case letters, digits and "
            "underscores, such as leaky_relu"
        )
    if name in TAKEN:
        raise SettingError(f"a file {name}.py would hide Python's module {name}: try my_{name}")
    paths = [folder / file.replace("NAME", name) for file in FILES]
    for path in paths:
        if path.exists() or path.is_symlink():
            raise SettingError(f"{path} exists: give another name, or another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(paths, name)
    except OSError as error:
        raise SettingError(f"cannot write to {folder}: {error.strerror}") from None
    return paths


def _write(paths: list[Path], name: str) -> None:
    written: list[Path] = []
    try:
        for file, path in zip(FILES, paths, strict=True):
            text = (resources.files(__name__) / f"{file}.txt").read_text(encoding="utf-8")
            with path.open("x", encoding="utf-8") as stream:  # never over a file of the user
                written.append(path)
                stream.write(Template(text).substitute({"name": name, "class": class_name(name)}))
    except BaseException:
        for path in written:
            with suppress(OSError):
                os.remove(path)
        raise
