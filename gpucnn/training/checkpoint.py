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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import CheckpointError
from gpucnn.files import write_atomically

FORMAT = 1
"""Version of the arrays and metadata. A file of a newer version is refused."""

FILE_NAME = "checkpoint.npz"
"""Name of the checkpoint in a run's folder."""

_MARK = b"sha256:"
_COMMENT_SIZE = len(_MARK) + 64


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
    """Read a checkpoint: a file, or the one in a run's folder.

    Settings that older versions of gpucnn did not have are added with the value that they implied.

    Raises:
        CheckpointError: there is no file, it is damaged, it is not a checkpoint, or a newer
            version of gpucnn wrote it.
    """
    file = Path(path) / FILE_NAME if os.path.isdir(path) else Path(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {file}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {file}: {error.strerror}") from None
    metadata, arrays = _unpack(file, content)
    if "settings" in metadata:
        metadata["settings"].setdefault("workers", 1)
        metadata.setdefault("precision", "ieee")
    return Checkpoint(metadata, arrays)


def differences(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield where plain data ``wanted`` has another value than ``found``, by its path."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in wanted:
            yield from differences(wanted[key], found.get(key), f"{path}.{key}" if path else key)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif isinstance(wanted, list) and isinstance(found, list):
        yield f"{path} had {len(found)} entries, now {len(wanted)}"
    elif wanted != found:
        yield f"{path} was {found!r}, now {wanted!r}"


def _pack(checkpoint: Checkpoint) -> bytes:
    text = json.dumps({"format": FORMAT, **checkpoint.metadata}, sort_keys=True)
    arrays: Mapping[str, Any] = checkpoint.arrays
    buffer = io.BytesIO()
    np.savez(buffer, metadata=np.frombuffer(text.encode(), np.uint8), **arrays)
    # The last two bytes of an archive are the length of its comment, which follows them.
    body = buffer.getvalue()[:-2] + _COMMENT_SIZE.to_bytes(2, "little")
    return body + _mark(body)


def _unpack(file: Path, content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    body, comment = content[:-_COMMENT_SIZE], content[-_COMMENT_SIZE:]
    if not content.startswith(b"PK"):
        raise CheckpointError(f"{file} is not a checkpoint: it begins with {content[:8]!r}")
    if comment != _mark(body):
        raise CheckpointError(f"{file} is damaged or incomplete: its SHA-256 does not match")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if "metadata" not in arrays:
        raise CheckpointError(f"{file} is not a checkpoint: it has no metadata")
    metadata = json.loads(bytes(arrays.pop("metadata")))
    if metadata["format"] > FORMAT:
        raise CheckpointError(
            f"{file} has format {metadata['format']}, this gpucnn reads up to {FORMAT}: "
            "update gpucnn"
        )
    return metadata, arrays


def _mark(body: bytes) -> bytes:
    return _MARK + hashlib.sha256(body).hexdigest().encode()
