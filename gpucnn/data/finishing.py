"""What follows the reading of a data set of any format: images upright, notes as warnings."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from gpucnn.data.dataset import Data
from gpucnn.data.formats.idx import read_idx_folder
from gpucnn.data.orientation import upright
from gpucnn.data.preparation import recognise
from gpucnn.errors import DataWarning


def read_mnist() -> Data:
    """Return MNIST, which comes with the package."""
    data = read_idx_folder(Path(__file__).parent / "mnist")
    return replace(data, builtin=True, preparation="digit")


def finished(data: Data, transpose: bool | None) -> Data:
    """Return a data set upright and with its preparation; its notes become warnings."""
    if data.preparation is None:  # else it was packed, and is finished
        data = upright(data, transpose)
        data = replace(data, preparation=data.preparation or recognise(data))
    for note in data.notes:
        warnings.warn(note, DataWarning, stacklevel=3)
    return data
