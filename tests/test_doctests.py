"""The examples in docstrings: they run, and print what they show."""

from __future__ import annotations

import doctest
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import gpucnn

PACKAGE = Path(gpucnn.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpucnn.data, "mnist", cache(gpucnn.data.mnist))
    # A layer of an example has the module of its docstring, as gpucnn's own layers have.
    monkeypatch.setattr(gpucnn.nn.Layer, "types", dict(gpucnn.nn.Layer.types))
    names = {"gpucnn": gpucnn, "numpy": np}
    result = doctest.testmod(import_module(name), extraglobs=names)
    assert result.attempted > 0
    assert result.failed == 0


def test_entry_points_have_examples() -> None:
    entry_points = [gpucnn.fit, gpucnn.evaluate, gpucnn.save_model, gpucnn.load_model]
    entry_points += [gpucnn.data.mnist, gpucnn.data.load, gpucnn.Data.limit, gpucnn.Data.hold_out]
    entry_points += [gpucnn.Sequential, gpucnn.nn.Layer]
    for entry in (*entry_points, gpucnn, gpucnn.training, gpucnn.training.events):
        assert ">>> " in str(entry.__doc__), entry
