"""Which of the arguments of ``gpucnn predict`` is a network, and which are images."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from gpucnn.cli.options import RUN_FILES
from gpucnn.data.files import list_folder
from gpucnn.data.images.opening import has_image_suffix
from gpucnn.errors import SettingError
from gpucnn.training.files.foreign import is_weights
from gpucnn.training.files.pretrained import DEFAULT, FILES, find

_SUFFIXES = (".npz", ".safetensors", ".onnx", ".pt", ".pth", ".h5", ".keras")


def split_arguments(first: str | None, others: Sequence[str]) -> tuple[str, list[str]]:
    """Return the checkpoint and the images in ``gpucnn predict [FIRST] OTHERS``.

    If no argument is a network, it is the ready-trained one, and a note is printed. SettingError if
    there are no images.
    """
    if first is None and is_network(others[0]):
        raise SettingError(
            "no image given: expected image files after the network: "
            f"gpucnn predict {shlex.quote(others[0])} IMAGE"
        )
    if first is not None and is_network(first, alone=False):
        return first, list(others)
    print(
        f"note: no network given, so the ready-trained {DEFAULT} reads the images as digits",
        file=sys.stderr,
    )
    return str(FILES[DEFAULT]), [*([] if first is None else [first]), *others]


def is_network(name: str, alone: bool = True) -> bool:
    """Return whether an argument means a network rather than an image or a folder of images.

    What could be either, such as a name that does not exist, means images if it stands ``alone``.
    """
    path = Path(name)
    if path.is_dir():
        if any((path / file).exists() for file in RUN_FILES):
            return True
        images = any(file.is_file() and file.name[0] != "." for file in list_folder(path))
        return not (alone or images)
    if path.is_file():
        return path.suffix.lower() in _SUFFIXES or is_weights(path)
    if path.exists() or has_image_suffix(path):
        return False
    return not alone or find(name) is not None or path.suffix.lower() in _SUFFIXES
