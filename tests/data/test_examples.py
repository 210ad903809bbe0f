"""The examples in the docstrings of gpucnn.data print what they show."""

import doctest
from functools import cache
from importlib import import_module

import numpy
import pytest

import gpucnn


@pytest.mark.parametrize("module", ["gpucnn.data", "gpucnn.data.dataset"])
def test_examples(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpucnn.data, "mnist", cache(gpucnn.data.mnist))
    names = {"gpucnn": gpucnn, "numpy": numpy}
    result = doctest.testmod(import_module(module), extraglobs=names)
    assert result.attempted > 2
    assert result.failed == 0
