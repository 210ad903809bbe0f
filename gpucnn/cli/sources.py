"""The data, models, backends and checkpoints that are named on the command line."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import gpucnn.data
from gpucnn.backends import Backend, choose_backend, get_backend, has_nvidia_driver
from gpucnn.cli.builders import MNIST_SHAPE, call_builder, takes_seed
from gpucnn.cli.display import ReadingProgress
from gpucnn.cli.parsing import parse_names, parse_size
from gpucnn.data import Data
from gpucnn.data.arrays.targets import AUTO, Labelling
from gpucnn.data.dataset import PREPARATIONS
from gpucnn.data.names import default_targets
from gpucnn.errors import CheckpointError, DataWarning, GpucnnError, SettingError, unknown
from gpucnn.models import MODELS
from gpucnn.nn.imports import import_file
from gpucnn.nn.losses import LOSSES, Loss, from_description
from gpucnn.nn.sequential import Sequential
from gpucnn.training.files.checkpoint import FILE_NAME, Checkpoint, differences, load
from gpucnn.training.files.model_files import dtype_of, is_mnist, load_model, set_from
from gpucnn.training.files.weight_files import load_weights, network_in
from gpucnn.training.results.prediction import preparation

TRANSPOSE = {None: None, "auto": None, "yes": True, "no": False}
"""Values of ``--transpose``, and what ``gpucnn.data.load`` takes for them."""


def transpose_option(word: str | None) -> bool | None:
    """Return what ``gpucnn.data.load`` takes for --transpose; SettingError if there is none."""
    if word not in TRANSPOSE:
        raise unknown("--transpose", str(word), [word for word in TRANSPOSE if word])
    return TRANSPOSE[word]


def label_options(regression: bool | None, targets: str | None) -> Labelling:
    """Return what --regression and --targets mean; SettingError unless --targets are names."""
    if targets is None:
        return Labelling(regression or None)
    return Labelling(True, parse_names("--targets", targets, "x,y"))


def read_data(
    name: str,
    resize: str | None,
    seed: int = 0,
    transpose: str | None = None,
    labels: Labelling = AUTO,
) -> Data:
    """Return the data set ``name``, "mnist" or a path; its notes go to standard error."""
    size = None if resize is None else parse_size(resize)
    turn = transpose_option(transpose)
    if name != "mnist":
        with warnings.catch_warnings(), ReadingProgress() as progress:
            warnings.simplefilter("ignore", DataWarning)  # printed below, as lines of their own
            data = gpucnn.data.load(
                name,
                resize=size,
                seed=seed,
                transpose=turn,
                regression=labels.regression,
                targets=labels.targets,
                on_progress=progress,
            )
        for note in data.notes:
            print(f"note: {note}", file=sys.stderr)
        return data
    if size is not None:
        raise SettingError("--resize is for folders of images, not for mnist")
    if labels.regression:
        raise SettingError(
            "--regression and --targets are for --data PATH, an .npz, .csv or .parquet file"
        )
    if turn:
        raise SettingError("--transpose yes is for your own data, not for mnist")
    return gpucnn.data.mnist()


def shape_for(data: Data) -> dict[str, Any]:
    """Return the arguments of a model function that match the shape of ``data``."""
    return {"channels": data.channels, "size": data.size, "classes": data.outputs}


def build_model(spec: str, shape: Mapping[str, Any], seed: int = 0) -> Sequential:
    """Return the model ``spec``, a name in ``MODELS`` or FILE.py:FUNCTION.

    The function is called with those of ``shape`` and ``seed`` that are among its parameters. What
    it requires and ``shape`` lacks is as for MNIST, and a note says so.
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
        model, assumed = call_builder(spec, function, keywords)
    except GpucnnError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError(f"{spec} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, Sequential):
        raise SettingError(f"{spec} must return a gpucnn.Sequential, got {type(model).__name__}")
    if assumed:
        values = ", ".join(f"{name}={MNIST_SHAPE[name]}" for name in assumed)
        print(
            f"note: {spec} is built as for MNIST, with {values}; gpucnn summary --input CxHxW"
            " --classes N, or --data PATH, sets other values",
            file=sys.stderr,
        )
    if not takes_seed(function) and model.seed is not None:  # loaded weights are kept
        model.initialize(seed)
    return model


def model_name(options: Mapping[str, Any]) -> str:
    """Return what the model of a run is called: by --model, or by the weights that it began with.

    FILE.py:FUNCTION is called by the name of the file.
    """
    if "model" not in options and "init" in options:
        path = Path(options["init"])
        return path.parent.name if path.name == FILE_NAME else path.stem
    return Path(options.get("model", "lenet5")).name


def first_model(
    options: Mapping[str, Any], data: Data, seed: int, saved: Checkpoint | None = None
) -> Sequential:
    """Return the model of a run as ``options`` describe it.

    With "init", it has the weights of that file or run and, without "model", its layers as well;
    the last layer is newly initialised if the data have another number of classes. ``saved`` is the
    checkpoint of a resumed run, whose weights replace those of the model.
    """
    spec, init = options.get("model"), options.get("init")
    shape = shape_for(data) | ({"hidden": options["hidden"]} if "hidden" in options else {})
    if init is None or (saved and spec):
        return build_model(spec or "lenet5", shape, seed)
    if saved:
        return load_model(saved, "numpy")
    network = None if spec else network_in(init)
    if network is None:
        model = build_model(spec or "lenet5", shape, seed)
    else:
        model = _model_for_classes(network, data.outputs, seed)
    fresh = load_weights(model, init, new_classes=True)
    kind = "numbers to predict" if data.is_regression else "classes"
    what = "a number to predict" if len(data.targets) == 1 else f"{data.outputs} {kind}"
    note = f"; layer {fresh} is newly initialised for {what}" if fresh else ""
    print(f"weights from {init}{note}", file=sys.stderr)
    return model


def _model_for_classes(saved: Checkpoint, classes: int, seed: int) -> Sequential:
    """Return the model of a checkpoint with as many outputs as ``classes``, and new weights."""
    model = load_model(saved, "numpy")
    config = model.config()
    if len(model.classes or range(model.output_shape[-1])) != classes:
        sizes = {"Linear": "out_features", "Conv2d": "out_channels"}
        rows = [row for row in config["layers"] if model.layers[row["name"]].parameters]
        if not rows or rows[-1]["type"] not in sizes:
            raise SettingError(
                f"--init: the last layer cannot be replaced by one for {classes} classes: give the "
                "network with --model"
            )
        rows[-1][sizes[rows[-1]["type"]]] = classes
    model = Sequential.from_config(config)
    model.initialize(seed)
    return model


def print_compiling() -> None:
    """Print why a first start takes seconds."""
    print("compiling the kernels; later starts use the compiled ones", file=sys.stderr)


def make_backend(name: str, dtype: str = "float32", precision: str = "ieee") -> tuple[Backend, str]:
    """Return the backend ``name`` and a note for the user, "" unless "auto" chose it."""
    if name == "auto":
        backend, _ = choose_backend(dtype, print_compiling, precision)
        # Where there is no driver nobody expects CUDA.
        surprising = backend.name != "cuda" and has_nvidia_driver()
        return backend, "auto; no CUDA, see gpucnn doctor" if surprising else "auto"
    return get_backend(name, dtype, print_compiling, precision), ""


def emulator_mode(backend: Backend, check: bool) -> tuple[AbstractContextManager[None], str]:
    """Return a context in which kernels run as --check asks for, and a note for the user.

    SettingError if ``check`` is set for a backend other than "emulated".
    """
    if backend.name != "emulated":
        if check:
            raise SettingError(f"--check is for --backend emulated, not for {backend.name}")
        return nullcontext(), ""
    from gpucnn import emulator

    if check:
        return emulator.checking(), "check mode"
    mode = emulator.configure().mode
    hint = "" if mode == "check" else "; --check finds invalid accesses and races"
    return nullcontext(), f"{mode} mode{hint}"


def read_model(
    saved: Checkpoint, backend: str, source: str | None, precision: str = "ieee"
) -> Sequential:
    """Return the model of a checkpoint.

    ``source``, FILE.py:FUNCTION, builds the model where the file does not hold its code: that of
    custom layers, or of a class of its own. The layers must be those of the checkpoint.
    """
    if source is not None:
        channels, *size = saved.metadata["model"]["input_shape"]
        classes, weights = saved.metadata["classes"], list(saved.group("parameters").values())
        shape = {"channels": channels, "size": tuple(size)}
        if classes is not None or "targets" in saved.metadata:
            shape["classes"] = len(classes or saved.metadata["targets"]["names"])
        elif weights and weights[-1].ndim:  # never trained: one for each output
            shape["classes"] = len(weights[-1])
        model = build_model(source, shape)
        built = json.loads(json.dumps(model.config()))
        faults = list(differences(built, saved.metadata["model"], "model"))
        if faults:
            raise CheckpointError("the checkpoint is of another model: " + "; ".join(faults))
        return set_from(model.to(make_backend(backend, dtype_of(saved), precision)[0]), saved)
    return load_model(saved, make_backend(backend, dtype_of(saved), precision)[0])


def scale_pixels(model: Sequential, name: str) -> None:
    """Have a model that was never trained take pixels from 0 to 1, and say so."""
    if model.normalization is None:
        channels = model.input_shape[0]
        model.normalization = ((0.0,) * channels, (1.0,) * channels)
        print(
            f"note: {name} has no normalization, so pixels are scaled to 0 to 1: set "
            "model.normalization before gpucnn.save_model for another",
            file=sys.stderr,
        )


def find_preparation(model: Sequential, saved: Checkpoint, name: str) -> str:
    """Return how images are prepared for a saved network: "digit" or "plain".

    Where that was recognised only because the training images resemble MNIST's, a note says so.
    """
    how, trained_on = model.preparation, saved.metadata.get("data")
    if how is None:
        raise SettingError(
            f"{name} does not record how its training images were prepared: "
            "give --prepare digit or --prepare plain"
        )
    if how == "digit" and trained_on and not is_mnist(trained_on):
        print(
            f"note: the training images of {trained_on['name']} look like MNIST's, so images are"
            " prepared as digits; --prepare plain only resizes them",
            file=sys.stderr,
        )
    return how


def check_preparation(how: str) -> None:
    """Raise SettingError for a value of --prepare that is none."""
    if how not in ("auto", *PREPARATIONS):
        raise unknown("--prepare", how, ("auto", *PREPARATIONS))


def read_for_images(name: str, arguments: argparse.Namespace) -> tuple[Checkpoint, Sequential, str]:
    """Return a checkpoint, its model and how images are prepared for it, by a command's options."""
    saved = load(name)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    scale_pixels(model, name)
    how = arguments.prepare
    if how == "auto":
        how = find_preparation(model, saved, name)
    preparation(model, how)  # raises if it does not fit the model
    return saved, model, how


def how_read(saved: Checkpoint, transpose: str | None) -> tuple[int, str | None]:
    """Return the seed and --transpose with which ``read_data`` gives the test images of a run."""
    trained_on, settings = saved.metadata.get("data"), saved.metadata.get("settings")
    if transpose is None and trained_on and "preparation" not in trained_on:
        transpose = "no"  # versions before 0.3 read EMNIST's files as they are stored
    return settings["seed"] if settings else 0, transpose


def how_labelled(model: Sequential, arguments: argparse.Namespace) -> Labelling:
    """Return what the labels of data for a saved network are, unless the command says it.

    A network for regression takes numbers, from the columns that it was trained to predict.
    """
    given = label_options(arguments.regression, arguments.targets)
    if given.regression or model.targets is None:
        return given
    names = model.targets.names
    return Labelling(True, None if names == default_targets(len(names)) else names)


def loss_for(saved: Checkpoint, model: Sequential) -> Loss:
    """Return the loss that the model was trained with, or that fits its output if unknown."""
    if "settings" in saved.metadata:
        return from_description(saved.metadata["settings"]["loss"])
    return next(loss() for loss in LOSSES.values() if loss.output == model.output)
