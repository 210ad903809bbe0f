"""The data, models, backends and checkpoints that are named on the command line."""

from __future__ import annotations

import inspect
import json
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gpucnn.data
from gpucnn.backends import Backend, choose_backend, get_backend
from gpucnn.data import Data
from gpucnn.data.preparation import MNIST_FINGERPRINT
from gpucnn.errors import CheckpointError, DataWarning, GpucnnError, SettingError, unknown
from gpucnn.models import MODELS
from gpucnn.nn.losses import LOSSES, Loss, from_description
from gpucnn.nn.sequential import Sequential
from gpucnn.training.checkpoint import Checkpoint, differences
from gpucnn.training.imports import import_file
from gpucnn.training.model_files import load_model

TRANSPOSE = {None: None, "auto": None, "yes": True, "no": False}
"""Values of ``--transpose``, and what ``gpucnn.data.load`` takes for them."""


def read_data(name: str, resize: str | None, seed: int = 0, transpose: str | None = None) -> Data:
    """Return the data set ``name``, "mnist" or a path; its notes go to standard error."""
    size = None if resize is None else parse_size(resize)
    if transpose not in TRANSPOSE:
        raise unknown("--transpose", str(transpose), [word for word in TRANSPOSE if word])
    if name != "mnist":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # printed below, as lines of their own
            data = gpucnn.data.load(name, resize=size, seed=seed, transpose=TRANSPOSE[transpose])
        for note in data.notes:
            print(f"note: {note}", file=sys.stderr)
        return data
    if size is not None:
        raise SettingError("--resize is for folders of images, not for mnist")
    if TRANSPOSE[transpose] is not None:
        raise SettingError("--transpose is for your own data, not for mnist")
    return gpucnn.data.mnist()


def parse_size(text: str) -> tuple[int, int]:
    """Return "32x48" as (32, 48)."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or "0" in match.groups():
        raise SettingError(f"--resize must be HEIGHTxWIDTH, for example 32x48, got {text!r}")
    return int(match[1]), int(match[2])


def shape_for(data: Data) -> dict[str, Any]:
    """Return the arguments of a model function that match the shape of ``data``."""
    return {"channels": data.channels, "size": data.size, "classes": len(data.classes)}


def build_model(spec: str, shape: Mapping[str, Any], seed: int = 0) -> Sequential:
    """Return the model ``spec``, a name in ``MODELS`` or FILE.py:FUNCTION.

    The function is called with those of ``shape`` and ``seed`` that are among its parameters.
    """
    keywords = {**shape, "seed": seed}
    if spec in MODELS:
        return MODELS[spec](**keywords)
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise unknown("model", spec, MODELS)
    function = getattr(import_file(Path(path)), name, None)
    if not callable(function):
        raise SettingError(f"{path} has no function {name!r}")
    try:
        parameters = inspect.signature(function).parameters
        model = function(**{key: value for key, value in keywords.items() if key in parameters})
    except GpucnnError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError(f"{spec} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, Sequential):
        raise SettingError(f"{spec} must return a gpucnn.Sequential, got {type(model).__name__}")
    if "seed" not in parameters and model.seed is not None:  # loaded weights are kept
        model.initialize(seed)
    return model


def make_backend(name: str, dtype: str = "float32", precision: str = "ieee") -> tuple[Backend, str]:
    """Return the backend ``name`` and a note for the user, "" unless "auto" chose it."""

    def notify() -> None:
        print("compiling the kernels; later starts use the compiled ones", file=sys.stderr)

    if name == "auto":
        backend, _ = choose_backend(dtype, notify, precision)
        return backend, "auto" if backend.name == "cuda" else "auto; see gpucnn doctor"
    return get_backend(name, dtype, notify, precision), ""


def read_model(
    saved: Checkpoint, backend: str, source: str | None, precision: str = "ieee"
) -> Sequential:
    """Return the model of a checkpoint.

    ``source``, FILE.py:FUNCTION, defines its custom layers and must build the same architecture.
    """
    if source is not None:
        channels, *size = saved.metadata["model"]["input_shape"]
        shape = {"channels": channels, "size": tuple(size)}
        if saved.metadata["classes"] is not None:
            shape["classes"] = len(saved.metadata["classes"])
        built = json.loads(json.dumps(build_model(source, shape).config()))
        faults = list(differences(built, saved.metadata["model"], "model"))
        if faults:
            raise CheckpointError("the checkpoint is of another model: " + "; ".join(faults))
    return load_model(saved, make_backend(backend, precision=precision)[0])


def is_mnist(trained_on: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint's data, or a part of it, is MNIST, wherever it was read from."""
    return bool(trained_on["builtin"]) or trained_on["fingerprint"] == MNIST_FINGERPRINT


def find_preparation(saved: Checkpoint, name: str) -> str:
    """Return how images are prepared for a saved network: "digit" or "plain".

    Where that was recognised only because the training images resemble MNIST's, a note says so.
    """
    if "data" not in saved.metadata:
        raise SettingError(
            f"{name} does not name the data that the network was trained on: "
            "give --prepare digit or --prepare plain"
        )
    trained_on = saved.metadata["data"]
    # Checkpoints written before version 0.3 have no preparation.
    how: str = trained_on.get("preparation", "digit" if is_mnist(trained_on) else "plain")
    if how == "digit" and not is_mnist(trained_on):
        print(
            f"note: the training images of {trained_on['name']} look like MNIST's, so images are"
            " prepared as digits; --prepare plain only resizes them",
            file=sys.stderr,
        )
    return how


def loss_for(saved: Checkpoint, model: Sequential) -> Loss:
    """Return the loss that the model was trained with, or that fits its output if unknown."""
    if "settings" in saved.metadata:
        return from_description(saved.metadata["settings"]["loss"])
    return next(loss() for loss in LOSSES.values() if loss.output == model.output)
