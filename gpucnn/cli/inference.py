"""``gpucnn evaluate`` and ``summary``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from gpucnn.cli.console import make_console, print_table
from gpucnn.cli.display import plain_json
from gpucnn.cli.output import printable
from gpucnn.cli.overlap import check_fit, unseen_test_images
from gpucnn.cli.parsing import parse_shape
from gpucnn.cli.recorded import data_for, record_of
from gpucnn.cli.sources import (
    build_model,
    how_labelled,
    label_options,
    loss_for,
    read_data,
    read_model,
    scale_pixels,
    shape_for,
)
from gpucnn.errors import DivergedError, SettingError
from gpucnn.models import MODELS
from gpucnn.nn import Sequential
from gpucnn.nn.summary import Summary
from gpucnn.training.files.checkpoint import load
from gpucnn.training.results.evaluation import evaluate
from gpucnn.training.results.figures import HEADINGS, USELESS, Evaluation
from gpucnn.training.results.regression import TARGET_HEADINGS
from gpucnn.training.task import percent


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Print the loss and accuracy of a saved network on the test images, and of each class.

    Of a network for regression, the errors and R².
    """
    saved = load(arguments.checkpoint)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    record = record_of(arguments.checkpoint) if arguments.data is None else None
    data = data_for(saved, record, arguments, how_labelled(model, arguments))
    check_fit(model, data)
    test = unseen_test_images(saved, data, arguments.skip_trained)
    scale_pixels(model, arguments.checkpoint)
    result = evaluate(model, test, loss=loss_for(saved, model))
    if not math.isfinite(result.loss):
        raise DivergedError(f"{arguments.checkpoint}: {USELESS}")
    if arguments.json:
        plain = _plain(result) if isinstance(result, Evaluation) else result.plain()
        figures = {"checkpoint": arguments.checkpoint, "data": data.name, **plain}
        print(json.dumps(plain_json(figures)))
        return 0
    console, name = make_console(), printable(data.name)
    if isinstance(result, Evaluation):
        console.print(
            f"test accuracy {percent(result.accuracy)} ({result.correct:,} of {result.count:,} "
            f"images of {name}), loss {result.loss:.4f}"
        )
    else:
        console.print(f"test {result.line().replace('images', f'images of {name}')}")
    if arguments.per_class:
        rows = [[printable(cell) for cell in row] for row in result.rows()]
        headings = HEADINGS if isinstance(result, Evaluation) else TARGET_HEADINGS
        print_table(console, rows, headings)
    return 0


def _plain(result: Evaluation) -> dict[str, Any]:
    """Return an evaluation as plain data."""
    columns = {
        "precision": result.precision,
        "recall": result.recall,
        "f1": result.f1,
        "images": result.support,
    }
    return {
        "images": result.count,
        "correct": result.correct,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "classes": [
            {"class": name, **{column: values[k].item() for column, values in columns.items()}}
            for k, name in enumerate(result.classes)
        ],
        "confusion_matrix": result.confusion_matrix.tolist(),
        "labels": result.labels.tolist(),
        "predictions": result.predictions.tolist(),
    }


def read_network(arguments: argparse.Namespace) -> Sequential:
    """Return the network that the options of a command name, on NumPy: a new one, or a saved."""
    name = arguments.network
    shape = shape_options(arguments)
    saved = Path(name).is_dir() or (Path(name).is_file() and name not in MODELS)
    if not saved and not name.endswith(".npz"):
        return build_model(name, shape)
    if shape:
        raise SettingError(f"--data, --input and --classes are not for {name}: it has a shape")
    return read_model(load(name), "numpy", arguments.model)


def summary_command(arguments: argparse.Namespace) -> int:
    """Print the layers of a network."""
    summary = read_network(arguments).summary()
    if arguments.json:
        print(json.dumps({"input_shape": summary.input_shape, "layers": _plain_rows(summary)}))
    else:
        cells = [row.cells for row in summary.rows]
        print_table(make_console(), cells, summary.headings, summary.totals, left=2)
    return 0


def shape_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a model function that the options of a command give."""
    if arguments.data:
        if arguments.input or arguments.classes is not None:
            raise SettingError("--data has a shape: remove it, or --input and --classes")
        labels = label_options(arguments.regression, arguments.targets)
        return shape_for(read_data(arguments.data, arguments.resize, labels=labels))
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
