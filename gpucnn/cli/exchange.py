"""``gpucnn export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from gpucnn.cli.console import make_console
from gpucnn.cli.output import printable
from gpucnn.cli.sources import read_model, scale_pixels
from gpucnn.errors import SettingError, unknown
from gpucnn.nn.sequential import Sequential
from gpucnn.training.files.checkpoint import load

FORMATS = (".onnx", ".safetensors", ".npz")


def export_command(arguments: argparse.Namespace) -> int:
    """Write a saved network as a file of the kind that its name asks for, and print what it is."""
    target = Path(arguments.file)
    kind = target.suffix.lower()
    if kind not in FORMATS:
        raise unknown("kind of file", kind or arguments.file, FORMATS)
    if arguments.raw and kind != ".onnx":
        raise SettingError(f"--raw is for *.onnx files, not for *{kind}")
    check_target(target, arguments.overwrite)
    model = read_model(load(arguments.checkpoint), "numpy", arguments.model)
    what = _write(model, target, kind, arguments)
    size = f"{target.stat().st_size / 1e3:,.0f} kB"
    make_console().print(printable(f"wrote {target}: {what}, {size}"), soft_wrap=True)
    return 0


def check_target(path: Path, overwrite: bool) -> None:
    """Raise SettingError if a new file would replace something, or has no folder to be in."""
    if path.is_dir():
        raise SettingError(f"{path} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise SettingError(f"{path}: there is no folder {path.parent}")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise SettingError(f"{path} exists: give another name, or add --overwrite to replace it")


def _write(model: Sequential, target: Path, kind: str, arguments: argparse.Namespace) -> str:
    """Write the file and return what it holds, for the user."""
    from gpucnn import exchange

    if kind == ".npz":
        exchange.export_npz(model, target)
        return f"{model.size:,} weights in {len(model.state_dict())} arrays"
    if kind == ".safetensors":
        exchange.export_safetensors(model, target)
        return f"{model.size:,} weights in {len(model.state_dict())} tensors with PyTorch's names"
    if not arguments.raw:
        scale_pixels(model, arguments.checkpoint)
    exchange.export_onnx(model, target, raw=arguments.raw)
    sides = ", ".join(map(str, model.input_shape))
    result = ", ".join(map(str, model.output_shape))
    if arguments.raw:
        return f"ONNX, input float32 (N, {sides}) to scores (N, {result})"
    values = exchange.result_name(model)
    return f"ONNX, images uint8 (N, {sides}) to {values} (N, {result})"
