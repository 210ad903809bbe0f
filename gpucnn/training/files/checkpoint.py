"""Checkpoint files: one .npz, written completely or not at all, whose damage is detected.

The file is a plain NumPy archive: arrays, and one entry ``metadata`` of JSON text. Nothing in it is
pickled. The archive's comment, its last bytes, is the SHA-256 of everything before it. Equal
contents make equal files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.data.formats.archive import open_npz
from gpucnn.data.names import normalize_name
from gpucnn.errors import CheckpointError, DataError
from gpucnn.files import write_atomically
from gpucnn.nn.losses import complete
from gpucnn.training.files.foreign import describe_foreign
from gpucnn.training.files.metadata import parse_json, validate
from gpucnn.training.files.pretrained import find

FORMAT = 1
"""Version of the arrays and metadata. A file of a newer version is refused."""

FILE_NAME = "checkpoint.npz"
"""Name of the checkpoint in a run's folder."""

_LATER_SETTINGS = {"workers": 1, "clip_grad_norm": None, "ema": 0.0, "augment": None, "mixup": 0.0}
"""Settings that older versions did not have, with the values that they implied."""

_MARK = b"sha256:"
_COMMENT_SIZE = len(_MARK) + 64
# Longer values in messages are cut.
_MAX_TEXT = 200


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint: arrays by name, and everything else as plain data."""

    metadata: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def group(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the arrays whose names begin with ``prefix`` and a slash, without the prefix."""
        start = f"{prefix}/"
        return {name[len(start) :]: a for name, a in self.arrays.items() if name.startswith(start)}


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path``; raises OSError if it cannot be written."""
    write_atomically(path, _pack(checkpoint))


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the checkpoint of a model or a run: a file, or the one in a run's folder.

    ``path`` may also be the name of a ready-trained network.

    Settings that older versions of gpucnn did not have are added with the value that they implied,
    and the names of classes are in Unicode's composed form.

    Raises:
        CheckpointError: there is no file, it is damaged, it is not a checkpoint, its contents are
            not what they should be, or a newer version of gpucnn wrote it.
    """
    file = locate(path)
    saved = read(file)
    if is_rbm(saved):
        raise CheckpointError(
            f"{file} holds a restricted Boltzmann machine, not a network: train one that begins "
            f"with its weights (gpucnn train --model mlp --init {path}), or read it with "
            "gpucnn.rbm.load_rbm"
        )
    if isinstance(settings := saved.metadata.get("settings"), dict):
        for name, value in _LATER_SETTINGS.items():
            settings.setdefault(name, value)
        saved.metadata.setdefault("precision", "ieee")
    try:
        validate(saved.metadata)
    except ValueError as error:
        raise CheckpointError(f"{file} has contents that gpucnn does not write: {error}") from None
    _check_weights(file, saved)
    if "settings" in saved.metadata:
        complete(saved.metadata["settings"]["loss"])
    if saved.metadata["classes"]:
        saved.metadata["classes"] = [normalize_name(name) for name in saved.metadata["classes"]]
    return saved


def is_rbm(saved: Checkpoint) -> bool:
    """Return whether a file holds a restricted Boltzmann machine (``gpucnn.rbm``)."""
    return "rbm" in saved.metadata and "model" not in saved.metadata


def _check_weights(file: Path, saved: Checkpoint) -> None:
    """Raise CheckpointError if the arrays of a model are of a kind that no model has.

    The optimizer's are compared with the run that is resumed from them.
    """
    allowed: tuple[str, ...]
    for name, array in saved.arrays.items():
        if name.startswith(("parameters/", "raw/")):
            allowed, axes = ("float32", "float64", "int64"), array.ndim  # buffers may count
        elif name == "seen":
            allowed, axes = ("uint64",), 1
        else:
            continue
        if array.dtype not in allowed or array.ndim != axes:
            raise CheckpointError(
                f"{file} has contents that gpucnn does not write: {name} is {array.dtype} "
                f"{array.shape}, expected {' or '.join(allowed)} of {axes} axes"
            )


def locate(path: str | os.PathLike[str]) -> Path:
    """Return the file that ``path`` means: itself, or the checkpoint in a run's folder.

    The name of a ready-trained network means its file, unless there is a file of that name.
    """
    if os.path.isdir(path):
        return Path(path) / FILE_NAME
    return find(path) or Path(path)


def read(file: Path) -> Checkpoint:
    """Read a file whose checksum and format are right; its contents may be anything.

    Raises CheckpointError. The arrays take no more memory than the file, whatever it declares.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise CheckpointError(f"{file} is not a checkpoint: it is not a regular file")
        with file.open("rb") as stream:
            head = stream.read(9)
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _COMMENT_SIZE))
            if not head.startswith(b"PK") or not stream.read(len(_MARK)) == _MARK:
                raise CheckpointError(f"{file} {describe_foreign(file, head)}")
            stream.seek(0)
            content = stream.read()
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {file}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {file}: {error.strerror}") from None
    except MemoryError:
        raise CheckpointError(f"checkpoint {file} does not fit in memory") from None
    if content[-_COMMENT_SIZE:] != _mark(memoryview(content)[:-_COMMENT_SIZE]):
        raise CheckpointError(f"{file} is damaged or incomplete: its SHA-256 does not match")
    return _unpack(file, content)


def differences(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield where plain data ``wanted`` has another value than ``found``, by its path."""
    for place, now, before in compare(wanted, found, path):
        yield f"{place} was {before}, now {now}"


def compare(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield where plain data differ: the path, and both values as short text."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            yield from compare(one[key], other.get(key), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from compare(*pair, f"{path}[{index}]")
    elif isinstance(one, list) and isinstance(other, list):
        yield f"the number of {path}", str(len(one)), str(len(other))
    elif one != other:
        yield path, _shortened(one), _shortened(other)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _pack(checkpoint: Checkpoint) -> bytes:
    text = json.dumps({"format": FORMAT, **checkpoint.metadata}, sort_keys=True)
    arrays: Mapping[str, Any] = checkpoint.arrays
    buffer = io.BytesIO()
    np.savez(buffer, metadata=np.frombuffer(text.encode(), np.uint8), **arrays)
    # The last two bytes of an archive are the length of its comment, which follows them.
    body = buffer.getvalue()[:-2] + _COMMENT_SIZE.to_bytes(2, "little")
    return body + _mark(body)


def _unpack(file: Path, content: bytes) -> Checkpoint:
    try:
        with open_npz(file, io.BytesIO(content)) as archive:
            arrays = archive.read(archive.keys, packed=False)
        packed = arrays.pop("metadata", None)
        if packed is None:
            raise CheckpointError(f"{file} is not a checkpoint: it has no metadata")
        metadata = parse_json(packed.tobytes(), allow_nan=True)  # of a loss that was infinite
        if not isinstance(metadata, dict):
            raise ValueError("it is not an object")
        if not isinstance(metadata.get("format"), int):
            raise ValueError("it has no format")
    except DataError as error:
        raise CheckpointError(str(error)) from None
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(
            f"{file} is not a checkpoint: its metadata is wrong: {error}"
        ) from None
    if metadata["format"] > FORMAT:
        raise CheckpointError(
            f"{file} has format {metadata['format']}, this gpucnn reads up to {FORMAT}: "
            "update gpucnn"
        )
    return Checkpoint(metadata, arrays)


def _mark(body: bytes | memoryview) -> bytes:
    return _MARK + hashlib.sha256(body).hexdigest().encode()
