"""``gpucnn predict``: the classes of image files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.cli.console import make_console
from gpucnn.cli.display import plain_json
from gpucnn.cli.drawing import draw, draw_stages
from gpucnn.cli.networks import split_arguments
from gpucnn.cli.output import printable
from gpucnn.cli.sources import find_preparation, read_model, scale_pixels
from gpucnn.data.dataset import PREPARATIONS
from gpucnn.data.files import list_folder
from gpucnn.data.images.inputs import as_input, read_image, shifted
from gpucnn.data.images.opening import NotAnImage
from gpucnn.data.images.reading import Reading, read_digit
from gpucnn.errors import DataError, DivergedError, SettingError, unknown
from gpucnn.nn import Sequential
from gpucnn.training.checkpoint import load
from gpucnn.training.progress import percent

# Images that are classified and printed together.
_BATCH = 16

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class _Image:
    """An image file: what was read, or why it could not be read."""

    path: str
    reading: Reading | None
    pixels: NDArray[np.uint8] | None = None
    error: str = ""


def predict_command(arguments: argparse.Namespace) -> int:
    """Print the three most probable classes of each image.

    Returns:
        The exit status: 2 if a file cannot be read, else 1 if an image shows no single digit,
        else 0.
    """
    if arguments.prepare not in ("auto", *PREPARATIONS):
        raise unknown("--prepare", arguments.prepare, ("auto", *PREPARATIONS))
    checkpoint, images = split_arguments(arguments.checkpoint, arguments.images)
    saved = load(checkpoint)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    scale_pixels(model, checkpoint)
    how = arguments.prepare
    if how == "auto":
        how = find_preparation(saved, checkpoint)
    _check_shape(model.input_shape, how)
    status, results = 0, []
    for batch in _batches(_read_all(_expand(images), model, how)):
        rows = _classify(model, batch, checkpoint)
        for image, top in zip(batch, rows, strict=True):
            status = max(status, _status(image))
            results.append(_as_json(image, top))
            if not arguments.json:
                _print(image, top, arguments.show)
    if arguments.json:
        print(json.dumps(plain_json(results)))
    return status


def _check_shape(input_shape: tuple[int, ...], how: str) -> None:
    channels, height, width = input_shape
    if how == "digit" and (channels != 1 or height != width):
        raise SettingError(
            f"--prepare digit needs a network for square images of one channel, got {input_shape}: "
            "use --prepare plain"
        )


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
    channels, height, width = model.input_shape
    image = read_image(Path(path))
    if how == "plain":
        return _Image(path, None, as_input(image, channels, (height, width)))
    # Networks for letters have the same preparation.
    digits = model.classes is None or tuple(model.classes) == DIGITS
    reading = read_digit(image, height, judge=digits)
    return _Image(path, reading, None if reading.pixels is None else reading.pixels[None])


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
) -> list[list[dict[str, Any]]]:
    """Return for each image its three most probable classes; none where there are no pixels."""
    inputs = [image.pixels for image in images if image.pixels is not None]
    if not inputs:
        return [[] for _ in images]
    stacked = np.stack(inputs)
    are_digits = any(image.reading is not None for image in images)
    variants = shifted(stacked) if are_digits else [stacked]
    with np.errstate(all="ignore"):
        probabilities = np.mean([model.predict(variant) for variant in variants], axis=0)
    if not np.isfinite(probabilities).all():
        raise DivergedError(
            f"{checkpoint}: the outputs of the network contain NaN or infinity; train it again"
        )
    # Outputs without a class of the data have numbers.
    names = model.classes or ()
    classes = (*names, *map(str, range(len(names), probabilities.shape[1])))
    rows = iter(
        [
            [{"class": classes[k], "probability": float(row[k])} for k in np.argsort(-row)[:3]]
            for row in probabilities
        ]
    )
    return [[] if image.pixels is None else next(rows) for image in images]


def _status(image: _Image) -> int:
    if image.error:
        return 2
    return int(image.reading is not None and image.reading.status != "digit")


def _as_json(image: _Image, top: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result of an image; its class is None unless it shows one."""
    if image.error:
        found: dict[str, Any] = {"status": "unreadable", "reason": image.error}
    elif image.reading is None:
        found = {"status": "image", "reason": None}
    else:
        found = {"status": image.reading.status, "reason": image.reading.reason or None}
    best = top[0] if top and not _status(image) else {"class": None, "probability": None}
    return {"image": image.path, **found, **best, "top": top}


def _print(image: _Image, top: list[dict[str, Any]], show: bool) -> None:
    console = make_console()
    if image.error:
        print(printable(f"gpucnn: {image.error}"), file=sys.stderr)
        return
    text = ", ".join(f"{row['class']} {percent(row['probability'])}" for row in top)
    if image.reading is not None and image.reading.status != "digit":
        what = "no digit" if image.reading.status == "none" else "several digits"
        text = f"{what} ({image.reading.reason}{'; nearest class: ' * bool(text)}{text})"
    console.print(printable(f"{image.path}: {text}"))
    if show and image.reading is not None:
        last = {} if image.pixels is None else {"input": image.pixels[0] / 255}
        draw_stages(console, {**image.reading.stages, **last})
    elif show and image.pixels is not None:
        draw(console, image.pixels)
