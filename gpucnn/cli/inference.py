"""``gpucnn evaluate``, ``predict`` and ``summary``."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpucnn.cli.display import is_fancy, make_console, plain_json
from gpucnn.cli.output import printable
from gpucnn.cli.overlap import unseen_test_images
from gpucnn.cli.sources import (
    build_model,
    find_preparation,
    is_mnist,
    loss_for,
    parse_shape,
    read_data,
    read_model,
    scale_pixels,
    shape_for,
)
from gpucnn.data.dataset import PREPARATIONS
from gpucnn.data.images import as_digit, as_input, read_image
from gpucnn.errors import DataError, DivergedError, SettingError, unknown
from gpucnn.models import MODELS
from gpucnn.nn.summary import Summary
from gpucnn.training.checkpoint import load
from gpucnn.training.evaluation import evaluate
from gpucnn.training.progress import percent

SHADES = " .:-=+*#%@"
"""Characters from dark to bright."""

USELESS = "the outputs of the network contain NaN or infinity; train it again"


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Print the loss and accuracy of a saved network on the test images."""
    saved = load(arguments.checkpoint)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    scale_pixels(model, arguments.checkpoint)
    trained_on, settings = saved.metadata.get("data"), saved.metadata.get("settings")
    if arguments.data is None and not (trained_on and is_mnist(trained_on)):
        name = repr(trained_on["name"]) if trained_on else "data that the file does not name"
        raise SettingError(f"the network was trained on {name}: give test data with --data PATH")
    seed = settings["seed"] if settings else 0
    transpose = arguments.transpose
    if transpose is None and trained_on and "preparation" not in trained_on:
        transpose = "no"  # versions before 0.3 read EMNIST's files as they are stored
    data = read_data(arguments.data or "mnist", arguments.resize, seed, transpose)
    if model.classes is not None and data.classes != model.classes:
        raise DataError(
            f"the classes of {data.name} are {', '.join(data.classes)}; those of the network are "
            f"{', '.join(model.classes)}"
        )
    test = unseen_test_images(saved, data, arguments.skip_trained)
    result = evaluate(model, test, loss=loss_for(saved, model))
    if not math.isfinite(result.loss):
        raise DivergedError(f"{arguments.checkpoint}: {USELESS}")
    if arguments.json:
        figures = {
            "checkpoint": arguments.checkpoint,
            "data": data.name,
            "images": result.count,
            "correct": result.correct,
            "accuracy": result.accuracy,
            "loss": result.loss,
        }
        print(json.dumps(plain_json(figures)))
    else:
        print(
            f"test accuracy {percent(result.accuracy)} ({result.correct:,} of {result.count:,} "
            f"images of {printable(data.name)}), loss {result.loss:.4f}"
        )
    return 0


def predict_command(arguments: argparse.Namespace) -> int:
    """Print the three most probable classes of each image."""
    if arguments.prepare not in ("auto", *PREPARATIONS):
        raise unknown("--prepare", arguments.prepare, ("auto", *PREPARATIONS))
    saved = load(arguments.checkpoint)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    scale_pixels(model, arguments.checkpoint)
    how = arguments.prepare
    if how == "auto":
        how = find_preparation(saved, arguments.checkpoint)
    as_digits = how == "digit"
    inputs = _read_inputs(arguments.images, model.input_shape, as_digits)
    with np.errstate(all="ignore"):
        probabilities = model.predict(np.stack(inputs))
    if not np.isfinite(probabilities).all():
        raise DivergedError(f"{arguments.checkpoint}: {USELESS}")
    # Outputs without a class of the data have numbers.
    names = model.classes or ()
    classes = (*names, *map(str, range(len(names), probabilities.shape[1])))
    rows = [
        [{"class": classes[k], "probability": float(row[k])} for k in np.argsort(-row)[:3]]
        for row in probabilities
    ]
    if arguments.json:
        results = [
            {"image": image, **top[0], "top": top}
            for image, top in zip(arguments.images, rows, strict=True)
        ]
        print(json.dumps(plain_json(results)))
        return 0
    console = make_console()
    for image, top, pixels in zip(arguments.images, rows, inputs, strict=True):
        text = ", ".join(f"{row['class']} {percent(row['probability'])}" for row in top)
        console.print(printable(f"{image}: {text}"))
        if arguments.show:
            _draw(console, pixels)
    return 0


def _read_inputs(
    paths: Sequence[str], input_shape: tuple[int, ...], as_digits: bool
) -> list[NDArray[np.uint8]]:
    """Return the image files as inputs of a network, uint8 (C, H, W)."""
    channels, height, width = input_shape
    if as_digits and (channels != 1 or height != width):
        raise SettingError(
            f"--prepare digit needs a network for square images of one channel, got {input_shape}: "
            "use --prepare plain"
        )
    images = [read_image(Path(path)) for path in paths]
    inputs = []
    for path, image in zip(paths, images, strict=True):
        try:
            if as_digits:
                inputs.append(as_digit(image, height)[None])
            else:
                inputs.append(as_input(image, channels, (height, width)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
    return inputs


def summary_command(arguments: argparse.Namespace) -> int:
    """Print the layers of a network."""
    name = arguments.network
    shape = _summary_shape(arguments)
    saved = Path(name).is_dir() or (Path(name).is_file() and name not in MODELS)
    if saved or name.endswith(".npz"):
        if shape:
            raise SettingError(f"--data, --input and --classes are not for {name}: it has a shape")
        summary = read_model(load(name), "numpy", arguments.model).summary()
    else:
        summary = build_model(name, shape).summary()
    if arguments.json:
        print(json.dumps({"input_shape": summary.input_shape, "layers": _plain_rows(summary)}))
    else:
        console = make_console()
        console.print(_summary_table(summary, is_fancy(console)))
    return 0


def _summary_shape(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a model function that the options give."""
    if arguments.data:
        if arguments.input or arguments.classes is not None:
            raise SettingError("--data has a shape: remove it, or --input and --classes")
        return shape_for(read_data(arguments.data, arguments.resize))
    shape = parse_shape(arguments.input) if arguments.input else {}
    if arguments.classes is not None:
        if arguments.classes < 1:
            raise SettingError(f"--classes must be 1 or more, got {arguments.classes}")
        shape["classes"] = arguments.classes
    return shape


def _plain_rows(summary: Summary) -> list[dict[str, Any]]:
    """Return the rows as plain data. A receptive field is None or [vertical, horizontal]."""
    names = ("size", "stride", "centre")
    return [
        {
            **vars(row),
            "receptive_field": row.receptive_field
            and [{name: getattr(field, name) for name in names} for field in row.receptive_field],
        }
        for row in summary.rows
    ]


def _summary_table(summary: Summary, fancy: bool) -> Table:
    table = Table(box=box.ROUNDED if fancy else box.ASCII, show_footer=True)
    for column, (heading, total) in enumerate(zip(summary.headings, summary.totals, strict=True)):
        table.add_column(heading, total, justify="left" if column < 2 else "right")
    for row in summary.rows:
        table.add_row(*row.cells)
    return table


def _draw(console: Console, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Draw an image (C, H, W), with colours where the console supports them, else in ASCII."""
    rgb = np.broadcast_to(pixels, (3, *pixels.shape[1:])) if len(pixels) == 1 else pixels
    if not is_fancy(console):
        shade = rgb.mean(0) * (len(SHADES) - 1) / 255
        for row in shade.round().astype(int):
            console.print("".join(2 * SHADES[level] for level in row).rstrip())
        return
    if rgb.shape[1] % 2:
        rgb = np.pad(rgb, ((0, 0), (0, 1), (0, 0)))
    for upper, lower in zip(
        rgb[:, 0::2].T.swapaxes(0, 1), rgb[:, 1::2].T.swapaxes(0, 1), strict=True
    ):
        line = Text()
        for top, bottom in zip(upper, lower, strict=True):
            colours = ["#" + "".join(f"{value:02x}" for value in pixel) for pixel in (top, bottom)]
            line.append("▀", style=f"{colours[0]} on {colours[1]}")
        console.print(line)
