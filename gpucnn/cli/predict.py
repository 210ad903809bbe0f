"""``gpucnn predict``: the classes of image files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpucnn.cli.console import make_console
from gpucnn.cli.display import plain_json
from gpucnn.cli.drawing import draw, draw_stages
from gpucnn.cli.networks import split_arguments
from gpucnn.cli.output import printable
from gpucnn.cli.sources import check_preparation, read_for_images
from gpucnn.data.files import list_folder
from gpucnn.data.images.inputs import read_image
from gpucnn.data.images.opening import NotAnImage
from gpucnn.data.images.preparing import Prepared, prepare_image
from gpucnn.errors import DataError, DivergedError
from gpucnn.nn import Sequential
from gpucnn.training.results.prediction import Prediction, classify

# Images that are classified and printed together.
_BATCH = 16


@dataclass(frozen=True)
class _Image:
    """An image file: the input that it became, or why it could not be read."""

    path: str
    prepared: Prepared | None
    error: str = ""


def predict_command(arguments: argparse.Namespace) -> int:
    """Print the three most probable classes of each image, or the predicted numbers.

    Returns:
        The exit status: 2 if a file cannot be read, else 1 if an image shows no single digit,
        else 0.
    """
    check_preparation(arguments.prepare)
    checkpoint, images = split_arguments(arguments.checkpoint, arguments.images)
    _, model, how = read_for_images(checkpoint, arguments)
    status, results = 0, []
    for batch in _batches(_read_all(_expand(images), model, how)):
        for image, prediction in zip(batch, _classify(model, batch, checkpoint), strict=True):
            status = max(status, _status(image))
            results.append(_as_json(image, prediction))
            if not arguments.json:
                _print(image, prediction, arguments.show)
    if arguments.json:
        print(json.dumps(plain_json(results)))
    return status


def _expand(names: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each file, and whether it was found in a folder; those of a folder sorted by name."""
    for name in names:
        path = Path(name)
        if not path.is_dir():
            yield name, False
            continue
        files = [file for file in list_folder(path) if file.name[0] != "." and file.is_file()]
        if not files:
            raise DataError(f"{name} contains no files: expected images, not folders of images")
        for file in files:
            yield str(file), True


def _read_all(files: Iterator[tuple[str, bool]], model: Sequential, how: str) -> Iterator[_Image]:
    """Yield each file as an input of the network; other files of a folder are left out.

    Raises DataError at the end if all files were left out.
    """
    left_out, count = [], 0
    for path, in_folder in files:
        count += 1
        try:
            yield _read(path, model, how)
        except NotAnImage as error:
            if in_folder:
                left_out.append(path)
            else:
                yield _Image(path, None, error=str(error))
        except DataError as error:
            yield _Image(path, None, error=str(error))
    if left_out and len(left_out) == count:
        raise DataError(f"none of {count} files is an image, for example {left_out[0]}")
    if left_out:
        files_were = "files were" if len(left_out) > 1 else "file was"
        text = f"gpucnn: {len(left_out)} other {files_were} left out, for example {left_out[0]}"
        print(printable(text), file=sys.stderr)


def _read(path: str, model: Sequential, how: str) -> _Image:
    image = read_image(Path(path))
    return _Image(path, prepare_image(image, model.input_shape, how, model.classes))


def _batches(images: Iterator[_Image]) -> Iterator[list[_Image]]:
    batch: list[_Image] = []
    for image in images:
        batch.append(image)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _classify(
    model: Sequential, images: Sequence[_Image], checkpoint: str
) -> list[Prediction | None]:
    """Return the prediction of each image; None for those that could not be read."""
    try:
        found = iter(classify(model, [image.prepared for image in images if image.prepared]))
    except DivergedError as error:
        raise DivergedError(f"{checkpoint}: {error}") from None
    return [next(found) if image.prepared else None for image in images]


def _status(image: _Image) -> int:
    if image.prepared is None:
        return 2
    return int(image.prepared.status in ("none", "several"))


def _as_json(image: _Image, prediction: Prediction | None) -> dict[str, Any]:
    """Return the result of an image; its class is None unless it shows one."""
    best: dict[str, Any] = {"class": None, "probability": None}
    if prediction is None:
        unread = {"status": "unreadable", "reason": image.error}
        return {"image": image.path, **unread, **best, "top": []}
    found = {"status": prediction.status, "reason": prediction.reason or None}
    if prediction.numbers is not None:
        return {"image": image.path, **found, "numbers": dict(prediction.numbers)}
    top = [{"class": name, "probability": value} for name, value in prediction.top()]
    if prediction.name is not None:
        best = top[0]
    return {"image": image.path, **found, **best, "top": top}


def _print(image: _Image, prediction: Prediction | None, show: bool) -> None:
    console, prepared = make_console(), image.prepared
    if prediction is None or prepared is None:
        print(printable(f"gpucnn: {image.error}"), file=sys.stderr)
        return
    text = prediction.text()
    if _status(image):
        what = "no digit" if prepared.status == "none" else "several digits"
        nearest = "" if prediction.numbers is not None else "nearest class: "
        text = f"{what} ({prepared.reason}{f'; {nearest}' * bool(text)}{text})"
    console.print(printable(f"{image.path}: {text}"))
    pixels = prepared.pixels
    if show and prepared.status != "image":
        last = {} if pixels is None else {"input": pixels[0] / 255}
        draw_stages(console, {**prepared.stages, **last})
    elif show and pixels is not None:
        draw(console, pixels)
