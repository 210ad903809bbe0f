"""Forged checkpoints: one entry or array altered, and the checksum made right again."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MISSING = object()
DEEP = "@deep@"
"""Stands for a list that is nested deeper than Python's stack."""

VALUES: tuple[Any, ...] = (
    MISSING, None, True, False, 0, 1, -1, 7, 2**31, 2**63, 10**300, 10**400, 0.5, -0.5, 1e300,
    float("nan"), float("inf"), "", "x", "a\0b", "\x1b[2J", "\ud800", "[/x]", "ReLU", "float64",
    [], {}, [[]], [1], [1, 1], [1, 8, 8], [-1, 2**40, 0.5], ["x"], {"type": "SGD"}, {"type": []},
    DEEP,
)  # fmt: skip
"""What an entry of the metadata is replaced by."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every entry in plain data."""
    if path:
        yield path
    entries = dict(enumerate(value)) if isinstance(value, list) else value
    for key, entry in entries.items() if isinstance(entries, dict) else ():
        yield from places(entry, (*path, key))


def alter(metadata: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return a copy in which the entry at ``path`` is ``value``."""
    forged: Any = copy.deepcopy(metadata)
    parent = forged
    for key in path[:-1]:
        parent = parent[key]
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    result: dict[str, Any] = forged
    return result


def altered_arrays(name: str, array: np.ndarray[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what an array is replaced by, each with a word for it."""
    for dtype in ("float16", "float64", "float32", ">f4", "int64", "bool", "complex64", "U3", "S0"):
        with np.errstate(all="ignore"):
            yield dtype, array.astype(dtype)
    yield "pickled", np.array([None, {}], dtype=object)
    yield "record", np.zeros(array.shape, [("a", "f4"), ("b", "i8")])
    yield "date", np.zeros(array.shape, "M8[s]")
    for shape in ((), (0,), (1,), (*array.shape, 1), array.shape[::-1], (array.size,)):
        yield f"shape {shape}", np.resize(array, shape)
    yield "shorter", array[:-1]
    values = (np.nan, np.inf, -np.inf, 1e38, 0.0) if array.dtype.kind == "f" else (0, 1)
    for value in values:
        yield str(value), np.full_like(array, value)
    yield "missing", None


def write(path: Path, metadata: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a checkpoint with a right checksum, whatever it holds."""
    text = json.dumps({"format": 1, **metadata})
    write_text(path, text.replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000), arrays)


def write_text(path: Path, text: str, arrays: dict[str, Any], pack: Any = np.savez) -> None:
    """Write a checkpoint whose metadata are ``text``, with a right checksum."""
    buffer = io.BytesIO()
    pack(buffer, metadata=np.frombuffer(text.encode(), np.uint8), **arrays)
    seal(path, buffer.getvalue())


def seal(path: Path, archive: bytes) -> None:
    """Write a zip archive with the comment that makes it a checkpoint."""
    body = archive[:-2] + (7 + 64).to_bytes(2, "little")
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
