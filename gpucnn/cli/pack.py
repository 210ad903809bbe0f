"""``gpucnn pack``: a data set of any size as a folder of .npy files."""

from __future__ import annotations

import argparse
import errno
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import gpucnn.data
from gpucnn.cli.display import ReadingProgress
from gpucnn.cli.parsing import parse_size
from gpucnn.cli.sources import label_options, transpose_option
from gpucnn.data import Data
from gpucnn.data.packed.manifest import FILE_NAME
from gpucnn.errors import DataWarning, GpucnnError, SettingError

_OPTIONS = {"resize": "--resize", "transpose": "--transpose", "targets": "--targets"}


def pack_command(arguments: argparse.Namespace) -> int:
    """Pack a data set, or verify a packed one; return the exit status."""
    if arguments.verify:
        return _verify(arguments)
    if arguments.folder is None:
        raise SettingError(f"expected a folder to pack into: gpucnn pack {arguments.source} FOLDER")
    labels = label_options(arguments.regression, arguments.targets)
    folder, began = Path(arguments.folder), time.monotonic()
    was_complete = (folder / FILE_NAME).is_file()
    try:
        with warnings.catch_warnings(), ReadingProgress() as progress:
            warnings.simplefilter("ignore", DataWarning)  # printed below, as lines of their own
            data = gpucnn.data.pack(
                arguments.source,
                folder,
                resize=None if arguments.resize is None else parse_size(arguments.resize),
                seed=arguments.seed,
                transpose=transpose_option(arguments.transpose),
                regression=labels.regression,
                targets=labels.targets,
                on_progress=progress,
            )
    except KeyboardInterrupt:
        if folder.is_dir():
            print(f"stopped. Continue with: {_command(arguments)}", file=sys.stderr)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise GpucnnError(
            f"{error.filename or folder}: {error.strerror}: free some space, then continue with:"
            f" {_command(arguments)}"
        ) from None
    if was_complete:
        print(f"{folder} is complete already")
        return 0
    _print_summary(folder, data, time.monotonic() - began)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.folder is not None:
        raise SettingError(f"--verify takes one folder: gpucnn pack --verify {arguments.folder}")
    with ReadingProgress() as progress:
        files, size = gpucnn.data.verify(arguments.source, progress)
    print(f"{arguments.source}: all {files} files are intact ({_megabytes(size)})")
    return 0


def _print_summary(folder: Path, data: Data, seconds: float) -> None:
    """Print the notes on how the source was read, and what the folder holds."""
    for note in data.notes:
        print(f"note: {note}", file=sys.stderr)
    parts = {"training": data.train, "test": data.test, "validation": data.validation}
    counts = [f"{len(split):,} {name}" for name, split in parts.items() if split is not None]
    size = sum(file.stat().st_size for file in folder.glob("*.npy"))
    print(
        f"{folder}: {' + '.join(counts)} images of {'x'.join(map(str, data.input_shape))},"
        f" {_megabytes(size)}, in {seconds:.1f} s"
    )
    print(f"train with: gpucnn train --data {shlex.quote(str(folder))}")


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that continues."""
    words = ["gpucnn", "pack", arguments.source, arguments.folder]
    for name, option in _OPTIONS.items():
        value: Any = getattr(arguments, name)
        words += [] if value is None else [option, value]
    words += ["--regression"] if arguments.regression else []
    words += ["--seed", str(arguments.seed)] if arguments.seed else []
    return shlex.join(words)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
