"""Files of restricted Boltzmann machines: the format is that of the networks' checkpoints."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.backends import Backend, get_backend
from gpucnn.errors import CheckpointError, SettingError, ShapeError
from gpucnn.nn.parameters import check_state
from gpucnn.rbm.events import COLUMNS, EpochEnded
from gpucnn.rbm.model import RBM
from gpucnn.training.files.checkpoint import Checkpoint, is_rbm, locate, read, save
from gpucnn.training.files.metadata import (
    Schema,
    flag,
    integer,
    number,
    optional,
    record,
    sequence,
    text,
)
from gpucnn.training.records.folder import LOG_NAME
from gpucnn.training.records.log import read_log
from gpucnn.version import __version__

_MOST = 1 << 28
"""Weights of a machine, a gigabyte in float32."""

_FIGURES = record({name: number() for name in ("error", "pseudo_likelihood", "free_energy")})
_DESCRIPTION = record({"type": text()})

_MACHINE: Schema = record(
    {
        "rbm": record(
            {
                "input_shape": sequence(integer(1, 1 << 20), 3, 3),
                "hidden": integer(1, 1 << 20),
                "binary": flag,
            }
        )
    }
)

_RUN: Schema = record(
    {
        "settings": record(
            {
                **dict.fromkeys(("epochs", "batch_size", "gibbs_steps"), integer(1)),
                "persistent": flag,
                "seed": integer(0, 1 << 4096),
                "optimizer": _DESCRIPTION,
                "schedule": _DESCRIPTION,
            }
        ),
        "data": record(
            {
                "name": text(),
                "builtin": flag,
                "fingerprint": text(),
                "test_fingerprint": text(),
            }
        ),
        "dtype": text("float32", "float64"),
        "precision": text("ieee", "tf32"),
        "epoch": integer(0),
        "index": integer(0),
        "last": optional(_FIGURES),
    }
)


def save_rbm(rbm: RBM, path: str | os.PathLike[str]) -> None:
    """Save a machine: its sizes, weights and biases; an existing file is replaced.

    Raises OSError if the file cannot be written.

    >>> from gpucnn import rbm
    >>> rbm.save_rbm(rbm.RBM((1, 8, 8), hidden=16), "rbm.npz")
    >>> rbm.load_rbm("rbm.npz").hidden
    16
    """
    arrays = {f"parameters/{name}": array for name, array in rbm.state_dict().items()}
    save(path, Checkpoint({"gpucnn": __version__, "rbm": rbm.config()}, arrays))


def load_rbm(path: str | os.PathLike[str] | Checkpoint, backend: str | Backend = "auto") -> RBM:
    """Load a machine that ``save_rbm``, ``rbm.fit(checkpoint=...)`` or ``gpucnn train`` saved.

    Args:
        path: a file, or the folder of a run.
        backend: where the machine computes; with a name, it has the dtype of its weights.

    Raises:
        CheckpointError: no such file, it is damaged, or it holds something else.
        BackendError: the backend cannot be used on this machine.
    """
    saved = path if isinstance(path, Checkpoint) else load(path)
    parameters = saved.group("parameters")
    double = any(array.dtype == np.float64 for array in parameters.values())
    config: dict[str, Any] = saved.metadata["rbm"]
    pixels = int(np.prod(config["input_shape"], dtype=object))
    shape = np.shape(parameters.get("hidden.weight", ()))
    if shape != (config["hidden"], pixels) or pixels * config["hidden"] > _MOST:
        # Before memory is taken for what the file only declares.
        raise CheckpointError(
            f"parameters do not fit the machine: hidden.weight has shape {shape}, expected "
            f"{(config['hidden'], pixels)}"
        )
    try:
        dtype = "float64" if double else "float32"
        rbm = RBM(**config, backend=get_backend(backend, dtype))
    except (SettingError, ShapeError) as error:
        raise CheckpointError(f"the machine cannot be built: {error}") from None
    check_state(rbm.layers, parameters)
    rbm.load_state_dict(parameters)
    return rbm


def read_epochs(folder: Path) -> list[EpochEnded]:
    """Return the epochs in the log of a run; what is not valid is left out.

    Figures that were NaN or infinite, and that a log has null for, are NaN.
    """
    schema = record({name: optional(number()) for name in COLUMNS})
    counts = record({name: integer(0) for name in ("step", "epoch")})
    found: dict[int, EpochEnded] = {}
    for values, _ in read_log(folder / LOG_NAME):
        known = {name: values.get(name) for name in COLUMNS}
        try:
            schema("", known)
            counts("", known)
        except ValueError:
            continue
        if values["event"] == EpochEnded.name:
            figures: dict[str, Any] = {
                name: math.nan if value is None else value for name, value in known.items()
            }
            found[figures["epoch"]] = EpochEnded(**figures)
    return [found[epoch] for epoch in sorted(found)]


def find(path: str | os.PathLike[str]) -> Checkpoint | None:
    """Return the file of a machine or a run; None if it holds something else or cannot be read."""
    try:
        return load(path)
    except CheckpointError:
        return None


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the file of a machine or a run; CheckpointError if it holds something else."""
    file = locate(path)
    saved = read(file)
    if not is_rbm(saved):
        raise CheckpointError(f"{file} holds no restricted Boltzmann machine, but a network")
    try:
        _MACHINE("", saved.metadata)
        if "settings" in saved.metadata:
            _RUN("", saved.metadata)
            epoch, epochs = saved.metadata["epoch"], saved.metadata["settings"]["epochs"]
            if epoch > epochs:
                raise ValueError(f"epoch is {epoch}, but settings.epochs {epochs}")
    except ValueError as error:
        raise CheckpointError(f"{file} has contents that gpucnn does not write: {error}") from None
    for name, array in saved.group("parameters").items():
        if array.dtype not in ("float32", "float64"):
            raise CheckpointError(f"{file}: {name} is {array.dtype}, expected float32 or float64")
    return saved
