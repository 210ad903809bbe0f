"""Event files of ``gpucnn train --tensorboard``."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from gpucnn.cli.runs import Values
from gpucnn.cli.sources import model_name
from gpucnn.data import Data
from gpucnn.errors import SettingError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.records.tensorboard import TensorBoard

RUN_FOLDER = "run"
"""Saved as the value of --tensorboard without a folder; those that are given are absolute."""


def make_board(
    options: Values, folder: Path, model: Sequential, data: Data, resumed: bool
) -> AbstractContextManager[TensorBoard | None]:
    """Return what writes the event files of the run in ``folder``, or nothing.

    SettingError if another run has written to the same place.
    """
    given = options.get("tensorboard")
    if given is None:
        return nullcontext()
    place = folder if given == RUN_FOLDER else Path(given, folder.resolve().name)
    if not resumed and any(place.glob("events.out.tfevents.*")):
        raise SettingError(
            f"{place} holds event files of another run: choose another --tensorboard or --out"
        )
    return TensorBoard(place, model, data.test.images, {"model": model_name(options)})
