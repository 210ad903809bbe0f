"""Weights in safetensors files, with PyTorch's names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.config import import_extra
from gpucnn.errors import CheckpointError, SettingError
from gpucnn.exchange.weights import State, finite_state, not_finite
from gpucnn.files import write_atomically
from gpucnn.nn.description import describe_network
from gpucnn.nn.parameters import shown
from gpucnn.nn.sequential import Sequential

DESCRIPTION = "gpucnn"
"""The key of a safetensors file's metadata under which ``describe_network`` is, as JSON."""

_MAX_BYTES = 1 << 32
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
}
"""Types of numbers in safetensors files; BF16 is the upper half of a float32."""


def export_safetensors(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write the weights of a network as a safetensors file, with PyTorch's names and shapes.

    A PyTorch module with the same names loads it by ``load_state_dict(load_file(path))``, with
    ``load_file`` of ``safetensors.torch``. The metadata have the layers, the classes and the
    normalisation, so that ``gpucnn import`` needs nothing else.

    Args:
        model: a network; custom layers and classes are allowed.
        path: the file, usually ``*.safetensors``; an existing file is replaced.

    Raises:
        SettingError: safetensors is not installed.
        DivergedError: the weights contain NaN or infinity.
        OSError: the file cannot be written.
    """
    library = _safetensors("safetensors.numpy", "writing")
    metadata = {"format": "pt"}
    with suppress(SettingError, TypeError):  # where it has code or arguments that no file holds
        metadata[DESCRIPTION] = json.dumps(describe_network(model))
    write_atomically(path, library.save(finite_state(model), metadata))


def read_safetensors(file: Path) -> tuple[State, dict[str, str]]:
    """Return the arrays and the metadata of a safetensors file.

    Arrays of 16-bit floats become float32, others keep their types. Nothing is mapped to memory:
    the file may change or be removed at any time.

    Raises:
        CheckpointError: there is no file, it is damaged, or an array is not one of finite numbers.
        SettingError: safetensors is not installed.
    """
    library = _safetensors("safetensors", "reading")
    if not file.is_file():
        what = "not a regular file" if file.exists() else "no such file"
        raise CheckpointError(f"{file} cannot be read: {what}")
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{file} is larger than 4 GiB, expected one network's weights")
        content = file.read_bytes()
        tensors = library.deserialize(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise CheckpointError(f"{file} does not fit in memory") from None
    except Exception as error:  # safetensors' own, and json's for what only safetensors accepts
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{file} is not a safetensors file, or is damaged: {reason}"
        ) from None
    state = {name: _array(file, name, tensor) for name, tensor in tensors}
    if (name := not_finite(state)) is not None:
        raise CheckpointError(f"{file}: {shown(name)} contains NaN or infinity")
    return state, header.get("__metadata__") or {}


def _safetensors(module: str, what: str) -> ModuleType:
    return import_extra(module, "safetensors", f"{what} safetensors files", "export")


def _array(file: Path, name: str, tensor: Mapping[str, Any]) -> NDArray[Any]:
    kind = tensor["dtype"]
    if kind not in _DTYPES:
        raise CheckpointError(
            f"{file}: {shown(name)} is {kind}, expected numbers of 64, 32 or 16 bits: F64, F32, "
            "F16, BF16 or integers"
        )
    values = np.frombuffer(tensor["data"], _DTYPES[kind]).reshape(tensor["shape"])
    if kind == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if kind == "F16" else values
