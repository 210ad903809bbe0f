"""``gpucnn filter``: a fixed filter applied to an image file."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.cli.console import make_console
from gpucnn.cli.drawing import draw_row, fitted
from gpucnn.cli.output import printable
from gpucnn.cli.sources import make_backend
from gpucnn.data.files import open_file
from gpucnn.data.images.inputs import as_input, read_image
from gpucnn.data.images.opening import pillow
from gpucnn.errors import DataError, SettingError, unknown
from gpucnn.files import write_atomically
from gpucnn.nn.filters import SIZED, apply_filter, filter_matrix, magnitude

SCALINGS = ("auto", "clip", "abs", "normalize", "signed")

_MAX_TEXT = 1 << 20  # bytes of a file with a matrix
_MAX_SUM = 1e15  # of absolute elements: squares of the results are finite in float32
_ROWS = r"[-+\d.eE/\s,;]"  # what rows of numbers consist of


@dataclass(frozen=True)
class _Result:
    """A result: its name, values (C, H, W), levels uint8 (C, H, W) and the file it goes to."""

    name: str
    values: NDArray[Any]
    levels: NDArray[np.uint8]
    file: Path | None


def filter_command(arguments: argparse.Namespace) -> int:
    """Filter an image; save the results, draw them, or both."""
    if arguments.scaling not in SCALINGS:
        raise unknown("--scaling", arguments.scaling, SCALINGS)
    name, matrix = _matrix(arguments)
    out = None if arguments.out is None else _check_out(Path(arguments.out), arguments.image)
    image = read_image(Path(arguments.image))
    grey = arguments.grey or image.ndim == 2
    pixels = as_input(image, 1 if grey else 3, (image.shape[0], image.shape[1]))
    values = apply_filter(
        pixels,
        matrix,
        stride=arguments.stride,
        dilation=arguments.dilation,
        padding=arguments.padding,
        border=arguments.border,
        flip=arguments.flip,
        backend=make_backend(arguments.backend)[0],
    )
    results = _results(values, matrix, arguments.scaling, out)
    for result in results:
        if result.file is not None:
            write_atomically(result.file, _encode(result.levels, result.file))
    if arguments.json:
        print(json.dumps(_as_json(arguments.image, name, matrix, results)))
        return 0
    console = make_console()
    height, width = pixels.shape[1:]
    colour = "grey" if grey else "colour"
    console.print(f"{printable(arguments.image)}: {width} x {height} pixels, {colour}; {name}")
    for result in results:
        height, width = result.values.shape[1:]
        low, high = (float(limit) for limit in (result.values.min(), result.values.max()))
        text = f"{result.name}: {width} x {height}, values {low:.4g} to {high:.4g}"
        console.print(text + ("" if result.file is None else f", saved to {result.file}"))
    if arguments.show or out is None:
        images = {"input": pixels, **{result.name: result.levels for result in results}}
        draw_row(console, {key: fitted(console, image) for key, image in images.items()})
    return 0


# --- the matrix ---------------------------------------------------------------------------------


def _matrix(arguments: argparse.Namespace) -> tuple[str, NDArray[Any]]:
    """Return the name and the matrix, (kh, kw) or (M, kh, kw), that the options ask for."""
    if arguments.matrix is not None and arguments.filter is not None:
        raise SettingError(f"give either the filter {arguments.filter!r} or --matrix")
    name = arguments.filter or "sobel"
    for option in ("size", "sigma"):
        if getattr(arguments, option) is not None:
            fitting = SIZED if option == "size" else SIZED[1:]
            if arguments.matrix is not None or name not in fitting:
                raise SettingError(f"--{option} is for {' and '.join(fitting)}")
    if arguments.matrix is not None:
        rows = parse_matrix(_matrix_text(arguments.matrix))
        if _MAX_SUM < np.abs(rows).sum() < np.inf:
            raise SettingError(
                f"--matrix: the absolute values of its elements add up to {np.abs(rows).sum():.4g},"
                f" at most {_MAX_SUM:g} is possible"
            )
        return f"matrix of {rows.shape[0]} x {rows.shape[1]}", rows
    if re.fullmatch(f"{_ROWS}+", name) and any(map(str.isdigit, name)):
        raise SettingError(
            f"unknown filter {name[:80]!r}: give a matrix with --matrix, as in "
            '--matrix "0 1 0; 1 -4 1; 0 1 0"'
        )
    size = 5 if arguments.size is None else arguments.size
    matrix = filter_matrix(name, size, arguments.sigma)
    return f"{name}, {matrix.shape[-2]} x {matrix.shape[-1]}", matrix


def _matrix_text(text: str) -> str:
    """Return the rows themselves, or those in the file or standard input that ``text`` means."""
    if text == "-":
        content = sys.stdin.buffer.read(_MAX_TEXT + 1)
    elif re.fullmatch(f"{_ROWS}*", text):
        return text
    elif not os.path.exists(text):
        raise SettingError(
            f"--matrix {text[:80]!r} is neither a file nor rows of numbers such as "
            '"0 1 0; 1 -4 1; 0 1 0"'
        )
    else:
        with open_file(text) as file:
            content = file.read(_MAX_TEXT + 1)
    if len(content) > _MAX_TEXT:
        raise SettingError(f"--matrix: {text} has more than {_MAX_TEXT:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SettingError(f"--matrix: {text} is not a text file") from None


def parse_matrix(text: str) -> NDArray[np.float64]:
    """Return "1 2; 3 4", whose rows may also be lines, as an array (2, 2); SettingError."""
    lines = [line for line in re.split(r"[;\n]", text) if line.strip()]
    rows = [[_number(word) for word in line.replace(",", " ").split()] for line in lines]
    if not rows or not rows[0]:
        raise SettingError('--matrix has no numbers: expected rows such as "0 1 0; 1 -4 1; 0 1 0"')
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise SettingError(
                f"--matrix: row {number} has {len(row)} numbers and row 1 has {len(rows[0])}"
            )
    return np.array(rows)


def _number(word: str) -> float:
    """Return "0.5" or "1/9" as a float."""
    try:
        return float(Fraction(word)) if "/" in word else float(word)
    except (ValueError, ArithmeticError):
        raise SettingError(f"--matrix: {word[:40]!r} is not a number") from None


# --- the results --------------------------------------------------------------------------------


def _results(
    values: NDArray[Any], matrix: NDArray[Any], scaling: str, out: Path | None
) -> list[_Result]:
    """Return the results of a matrix, or of the two of a gradient and its magnitude."""
    is_edge = abs(matrix.sum()) <= 1e-6 * abs(matrix).sum()
    parts = [("x", values[0]), ("y", values[1])] if matrix.ndim == 3 else [("result", values)]
    if is_edge:
        size = magnitude(values if matrix.ndim == 3 else values[None])
        parts.append(("magnitude", size))
    main = "magnitude" if matrix.ndim == 3 else "result"
    results = []
    for name, part in parts:
        auto = "normalize" if name == "magnitude" else "signed" if is_edge else "clip"
        levels = to_levels(part, auto if scaling == "auto" else scaling)
        file = out and (out if name == main else out.with_stem(f"{out.stem}-{name}"))
        results.append(_Result(name, part, levels, file))
    return results


def to_levels(values: NDArray[Any], scaling: str) -> NDArray[np.uint8]:
    """Return values of any sign as levels from 0 to 255; the scalings are those of --scaling."""
    if scaling == "abs":
        values = abs(values)
    elif scaling == "normalize":
        low, high = values.min(), values.max()
        values = (values - low) * (255 / (high - low) if high > low else 0)
    elif scaling == "signed":
        most = abs(values).max()
        values = 128 + values * (127 / most if most else 0)
    levels: NDArray[np.uint8] = np.rint(values).clip(0, 255).astype(np.uint8)
    return levels


def _as_json(image: str, name: str, matrix: NDArray[Any], results: list[_Result]) -> dict[str, Any]:
    return {
        "image": image,
        "filter": name,
        "matrix": matrix.tolist(),
        "results": [
            {
                "name": result.name,
                "shape": result.values.shape,
                "least": float(result.values.min()),
                "greatest": float(result.values.max()),
                "file": None if result.file is None else str(result.file),
            }
            for result in results
        ],
    }


# --- files --------------------------------------------------------------------------------------


def _check_out(out: Path, image: str) -> Path:
    """Return the file of the result; SettingError if it cannot be one."""
    _format(out)
    if os.path.exists(image) and out.exists() and os.path.samefile(image, out):
        raise SettingError(f"--out {out} is the image that is read: give another file")
    if out.is_dir() or not out.parent.is_dir():
        what = "is a folder" if out.is_dir() else f"is in {out.parent}, which is not a folder"
        raise SettingError(f"--out {out} {what}: give a file")
    return out


def _format(out: Path) -> str:
    """Return Pillow's name of the format that the suffix of a file means."""
    module = pillow()
    module.init()
    name: str | None = module.registered_extensions().get(out.suffix.lower())
    if name not in module.SAVE or name == "PDF":
        found = f"{out.suffix!r}" if out.suffix else "none"
        raise SettingError(f"--out needs the suffix of an image, such as .png or .jpg, got {found}")
    return str(name)


def _encode(levels: NDArray[np.uint8], file: Path) -> bytes:
    """Return the contents of an image file for levels (C, H, W)."""
    module, buffer = pillow(), io.BytesIO()
    pixels = levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0))
    options = {"quality": 95} if _format(file) in ("JPEG", "WEBP") else {}
    try:
        module.fromarray(pixels).save(buffer, _format(file), **options)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be written: {error}; use .png") from None
    return buffer.getvalue()
