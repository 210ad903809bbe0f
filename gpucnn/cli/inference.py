"""``gpucnn evaluate``, ``predict`` and ``summary``: what becomes of a network once trained."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpucnn.cli.display import is_fancy, make_console, plain_json
from gpucnn.cli.sources import build_model, read_data, read_model, shape_for
from gpucnn.data.images import as_digit, as_input, read_image
from gpucnn.errors import DataError, DivergedError, SettingError, unknown
from gpucnn.nn.losses import from_description
from gpucnn.nn.summary import Summary
from gpucnn.training.checkpoint import load
from gpucnn.training.evaluation import evaluate
from gpucnn.training.progress import percent

SHADES = " .:-=+*#%@"


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Print how well a checkpoint's network does on the test images."""
    saved = load(arguments.checkpoint)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    trained_on, seed = saved.metadata["data"], saved.metadata["settings"]["seed"]
    if arguments.data is None and not trained_on["builtin"]:
        raise SettingError(
            f"this network was trained on {trained_on['name']!r}: give its place as --data"
        )
    data = read_data(arguments.data or "mnist", arguments.resize, seed)
    if data.classes != model.classes:
        raise DataError(
            f"{data.name} has the classes {', '.join(data.classes)}; the network knows "
            f"{', '.join(model.classes or ())}"
        )
    loss = from_description(saved.metadata["settings"]["loss"])
    result = evaluate(model, data.test, loss=loss)
    if not math.isfinite(result.loss):
        raise DivergedError("the network's outputs are not finite: its weights are useless")
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
            f"images of {data.name}), loss {result.loss:.4f}"
        )
    return 0


def predict_command(arguments: argparse.Namespace) -> int:
    """Print the three most probable classes of each picture."""
    if arguments.prepare not in ("auto", "digit", "plain"):
        raise unknown("way to prepare pictures", arguments.prepare, ("auto", "digit", "plain"))
    saved = load(arguments.checkpoint)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    channels, height, width = model.input_shape
    as_digits = arguments.prepare == "digit" or (
        arguments.prepare == "auto" and saved.metadata["data"]["builtin"]
    )
    if as_digits and (channels != 1 or height != width):
        raise SettingError("--prepare digit is for networks of square grey pictures")
    pictures = [read_image(Path(image)) for image in arguments.images]
    inputs = []
    for name, picture in zip(arguments.images, pictures, strict=True):
        try:
            inputs.append(
                as_digit(picture, height)[None]
                if as_digits
                else as_input(picture, channels, (height, width))
            )
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
    with np.errstate(all="ignore"):
        probabilities = model.predict(np.stack(inputs))
    if not np.isfinite(probabilities).all():
        raise DivergedError("the network's outputs are not finite: its weights are useless")
    classes = model.classes or tuple(map(str, range(probabilities.shape[1])))
    rows = [
        [{"class": classes[k], "probability": float(row[k])} for k in np.argsort(-row)[:3]]
        for row in probabilities
    ]
    if arguments.json:
        found = [
            {
                "image": image,
                "class": top[0]["class"],
                "probability": top[0]["probability"],
                "top": top,
            }
            for image, top in zip(arguments.images, rows, strict=True)
        ]
        print(json.dumps(plain_json(found)))
        return 0
    console = make_console()
    for image, top, pixels in zip(arguments.images, rows, inputs, strict=True):
        chances = ", ".join(f"{row['class']} {percent(row['probability'])}" for row in top)
        console.print(f"{image}: {chances}")
        if arguments.show:
            _draw(console, pixels)
    return 0


def summary_command(arguments: argparse.Namespace) -> int:
    """Print a network's layers."""
    name = arguments.network
    if Path(name).is_dir() or name.endswith(".npz"):
        summary = read_model(load(name), "numpy", arguments.model).summary()
    else:
        data = read_data(arguments.data, arguments.resize) if arguments.data else None
        summary = build_model(name, shape_for(data) if data else {}).summary()
    if arguments.json:
        print(json.dumps({"input_shape": summary.input_shape, "layers": _plain_rows(summary)}))
    else:
        console = make_console()
        console.print(_summary_table(summary, is_fancy(console)))
    return 0


def _plain_rows(summary: Summary) -> list[dict[str, Any]]:
    """Return the rows as plain data; a receptive field is vertical and horizontal, or None."""
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
    """Draw (C, H, W): two pixels a character with colours, else one in letters of more ink."""
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
