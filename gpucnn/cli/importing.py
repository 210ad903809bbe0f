"""``gpucnn import``: weights of other programs become a saved network."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.backends import get_backend
from gpucnn.cli.console import make_console
from gpucnn.cli.exchange import check_target
from gpucnn.cli.output import printable
from gpucnn.cli.parsing import parse_names, parse_shape
from gpucnn.cli.sources import build_model
from gpucnn.data.dataset import PREPARATIONS
from gpucnn.data.files import format_sides
from gpucnn.data.names import normalize_name
from gpucnn.errors import CheckpointError, SettingError, unknown
from gpucnn.nn.sequential import Sequential
from gpucnn.training.files.model_files import load_model, save_model
from gpucnn.training.files.weight_files import (
    State,
    network_in,
    other_outputs,
    read_weights,
    without_prefix,
)

OUTPUTS = ("softmax", "sigmoid", "none")


def import_command(arguments: argparse.Namespace) -> int:
    """Write the saved network that options and a file of weights describe."""
    target = Path(arguments.file)
    if target.suffix != ".npz":
        raise SettingError(f"the file of a saved network must be called *.npz, got {target}")
    check_target(target, arguments.overwrite)
    _check_names(arguments)
    model = _model(arguments)
    _set_classes(model, arguments.classes)
    _set_normalization(model, arguments.mean, arguments.std)
    if arguments.output is not None:
        model.output = arguments.output
    if arguments.prepare is not None:
        model.preparation = arguments.prepare
    save_model(model, target)
    images, classes = format_sides(model.input_shape), format_sides(model.output_shape)
    text = f"wrote {target}: {model.size:,} parameters, images {images}, outputs {classes}"
    make_console().print(printable(text), soft_wrap=True)
    return 0


def _check_names(arguments: argparse.Namespace) -> None:
    for option, known in (("output", OUTPUTS), ("prepare", PREPARATIONS)):
        value = getattr(arguments, option)
        if value is not None and value not in known:
            raise unknown(f"--{option}", value, known)


def _model(arguments: argparse.Namespace) -> Sequential:
    """Return the network with the weights of the file."""
    file = arguments.weights
    if arguments.model is not None:
        return _built(arguments, read_weights(file)[0])
    if arguments.input is not None:
        raise SettingError("--input is for networks that --model names: add --model")
    network = network_in(file)
    if network is None:
        raise SettingError(
            f"{file} has weights without the layers of a network: add --model, for example "
            "--model lenet5"
        )
    return load_model(network, "numpy")


def _built(arguments: argparse.Namespace, state: State) -> Sequential:
    """Return the network of --model, with as many classes as the weights have if not given."""
    shape: dict[str, Any] = parse_shape(arguments.input) if arguments.input else {}
    if arguments.classes is not None:
        shape["classes"] = len(_class_names(arguments.classes))
    model = build_model(arguments.model, shape)
    state = without_prefix(state, (name for name, _ in model.named_parameters()))
    last = other_outputs(model, state)
    if arguments.classes is None and last is not None:
        first = next(iter(model.layers[last].parameters))
        outputs = len(state[f"{last}.{first}"])
        model = build_model(arguments.model, shape | {"classes": outputs})
    if any(array.dtype == np.float64 for array in state.values()):
        model = model.to(get_backend("numpy", "float64"))
    try:
        model.load_state_dict(state)
    except CheckpointError as error:
        raise CheckpointError(f"{arguments.weights}: {error}") from None
    return model


def _class_names(text: str) -> tuple[str, ...]:
    """Return the names in "cat,dog", or of "3" the numbers 0, 1 and 2."""
    if text.isdecimal() and len(text) < 7:
        if int(text) < 1:
            raise SettingError(f"--classes must be 1 or more, got {text}")
        return tuple(str(number) for number in range(int(text)))
    return parse_names("--classes", normalize_name(text), "cat,dog")


def _set_classes(model: Sequential, text: str | None) -> None:
    if text is None:
        return
    names = _class_names(text)
    if len(names) > model.output_shape[0]:
        raise SettingError(
            f"--classes names {len(names)} classes, but the network has "
            f"{model.output_shape[0]} outputs"
        )
    model.classes = names


def _set_normalization(model: Sequential, mean: str | None, std: str | None) -> None:
    if (mean is None) != (std is None):
        raise SettingError("--mean and --std belong together: give both or none")
    channels = model.input_shape[0]
    if mean is not None and std is not None:
        model.normalization = (
            _numbers("--mean", mean, channels),
            _numbers("--std", std, channels),
        )
    elif model.normalization is None:
        model.normalization = ((0.0,) * channels, (1.0,) * channels)
        print(
            "note: no --mean and --std given, so pixels are scaled to 0 to 1, as PyTorch's "
            "ToTensor does",
            file=sys.stderr,
        )


def _numbers(option: str, text: str, channels: int) -> tuple[float, ...]:
    """Return one number for each channel from "0.1307" or "0.5,0.5,0.5"."""
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if len(values) == 1:
        values *= channels
    if len(values) != channels or not all(map(math.isfinite, values)):
        raise SettingError(
            f"{option} must be one number, or {channels} separated by commas, got {text!r}"
        )
    return values
