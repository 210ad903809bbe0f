"""The data that a network or machine was trained on, as the folder of its run records them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpucnn.cli.sources import how_read, read_data
from gpucnn.data import Data
from gpucnn.data.arrays.targets import AUTO, Labelling
from gpucnn.errors import DataError, SettingError
from gpucnn.training.files.checkpoint import FILE_NAME, Checkpoint
from gpucnn.training.files.model_files import is_mnist
from gpucnn.training.records.folder import RunRecord, read_record

_GIVE = "give test data with --data PATH"


def record_of(name: str) -> RunRecord | None:
    """Return what the folder of a run records, None if ``name`` is another file."""
    path = Path(name)
    folder = path.parent if path.name == FILE_NAME else path
    return read_record(folder) if folder.is_dir() else None


def data_for(
    saved: Checkpoint,
    record: RunRecord | None,
    given: argparse.Namespace,
    labels: Labelling = AUTO,
    read: Callable[..., Data] = read_data,
) -> Data:
    """Return the data to evaluate a network or machine on, by ``read``.

    Where --data is not given, they are those in the options of the run, if they are still the
    same: the folder may come from somebody else. SettingError or DataError if there are none.
    """
    trained_on = saved.metadata.get("data")
    seed, transpose = how_read(saved, given.transpose)
    if given.data is not None:
        return read(given.data, given.resize, seed, transpose, labels)
    if trained_on is None:
        raise SettingError(f"the file does not name its data: {_GIVE}")
    if is_mnist(trained_on):
        return read("mnist", None, seed, None, labels)
    options = {key: v for key, v in (record.options if record else {}).items() if _is_text(v)}
    if "data" not in options:
        raise SettingError(f"it was trained on {trained_on['name']!r}: {_GIVE}")
    name, transpose = options["data"], transpose or options.get("transpose")
    try:
        data = read(name, given.resize or options.get("resize"), seed, transpose, labels)
    except DataError as error:
        raise DataError(f"the data of the run cannot be read, so {_GIVE}: {error}") from error
    older = "test_fingerprint" not in trained_on  # an older version: of all images
    expected = trained_on["fingerprint" if older else "test_fingerprint"]
    if (data if older else data.test).fingerprint() != expected:
        raise DataError(f"{name} no longer holds the data of the run: {_GIVE}")
    return data


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
