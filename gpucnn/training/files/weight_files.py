"""Weights in files, those of gpucnn and a state_dict of others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpucnn.data
from gpucnn.data.digests import Digests, seen_digests
from gpucnn.data.formats.archive import open_npz
from gpucnn.data.preparation import MNIST_FINGERPRINT
from gpucnn.errors import CheckpointError, DataError
from gpucnn.nn.parameters import shown
from gpucnn.nn.sequential import Sequential
from gpucnn.training.files.checkpoint import Checkpoint, load, locate
from gpucnn.training.files.foreign import is_safetensors, is_state_archive
from gpucnn.training.files.metadata import parse_json, validate

State = dict[str, NDArray[Any]]

_KEPT = (np.dtype(np.float64), np.dtype(np.int64))
"""Types of arrays in safetensors files that a network is built with; others become float32."""


def load_weights(
    model: Sequential, path: str | os.PathLike[str], *, new_classes: bool = False
) -> str | None:
    """Copy weights from a file into a model, for training it further or on other data.

    Args:
        model: the network; its layers must have the names and shapes of the weights in the file.
        path: a model's file, a checkpoint, the folder of a run, "lenet5" as for ``load_model``, or
            a ``state_dict`` in a safetensors or an ``.npz`` file, which PyTorch's is written to by
            ``safetensors.torch.save_file(state_dict, path)`` or ``numpy.savez(path, **arrays)``.
            A prefix that all its names share, such as "module.", is left out.
        new_classes: leave the model's last layer as it is if the weights in the file are for
            another number of classes.

    Returns:
        The name of the layer that was left as it is, or None.

    Raises:
        CheckpointError: the file cannot be read, its weights do not fit the model, or a
            ``state_dict`` contains NaN or infinity; nothing has been changed.
        SettingError: the file is a safetensors file, and safetensors is not installed.

    Example:
        >>> import gpucnn
        >>> gpucnn.save_model(gpucnn.models.lenet5(classes=10), "digits.npz")
        >>> letters = gpucnn.models.lenet5(classes=26)
        >>> gpucnn.load_weights(letters, "digits.npz", new_classes=True)
        'fc3'
    """
    state, seen = read_weights(path)
    state = without_prefix(state, (name for name, _ in model.named_parameters()))
    fresh = None
    if new_classes and (fresh := other_outputs(model, state)):
        own = model.state_dict()
        state |= {name: own[name] for name in own if name.startswith(f"{fresh}.")}
    try:
        model.load_state_dict(state)
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    model.seen = seen
    return fresh


def read_weights(path: str | os.PathLike[str]) -> tuple[State, Digests | None]:
    """Return the parameters in a file of any kind, and digests of what they were trained on."""
    file = locate(path)
    if is_safetensors(file):
        from gpucnn.exchange.safetensors_file import read_safetensors

        return read_safetensors(file)[0], None
    if is_state_archive(file):
        return _read_archive(file), None
    saved = load(file)
    return saved.group("parameters"), seen_by(saved)


def _read_archive(file: Path) -> State:
    try:
        with file.open("rb") as stream, open_npz(file, stream) as archive:
            arrays = archive.read(archive.keys)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from None
    except DataError as error:
        raise CheckpointError(str(error)) from None
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise CheckpointError(f"{file}: {shown(name)} is {array.dtype}, expected numbers")
        if not np.isfinite(array).all():
            raise CheckpointError(f"{file}: {shown(name)} contains NaN or infinity")
    return arrays


def without_prefix(state: State, names: Iterable[str]) -> State:
    """Return arrays by their names in a model, if theirs only have a prefix such as "module.".

    ``names`` are those of the model's parameters. Otherwise, arrays are returned as they are.
    """
    own = set(names)
    if own and len({name.partition(".")[0] for name in state}) == 1:
        shorter = {name.partition(".")[2]: array for name, array in state.items()}
        if own <= shorter.keys():
            return shorter
    return state


def network_in(path: str | os.PathLike[str]) -> Checkpoint | None:
    """Return the network in a file, or in a run's folder, None if there are only weights in it.

    Besides checkpoints, safetensors files that gpucnn wrote describe their network.

    Raises:
        CheckpointError: as ``load``; or the description is damaged.
        SettingError: safetensors is not installed.
    """
    file = locate(path)
    if not is_safetensors(file):
        return None if is_state_archive(file) else load(file)
    from gpucnn.exchange.safetensors_file import DESCRIPTION, read_safetensors

    state, texts = read_safetensors(file)
    if DESCRIPTION not in texts:
        return None
    try:
        metadata = parse_json(texts[DESCRIPTION])
        validate(metadata)
    except ValueError as error:
        raise CheckpointError(f"{file} has metadata that gpucnn does not write: {error}") from None
    arrays = {
        f"parameters/{name}": array if array.dtype in _KEPT else array.astype(np.float32)
        for name, array in state.items()
    }
    return Checkpoint(metadata, arrays)


def other_outputs(model: Sequential, state: Mapping[str, Any]) -> str | None:
    """Return the name of the last layer with weights if ``state`` has another number of outputs."""
    names = [name for name, layer in model.layers.items() if layer.parameters]
    if not names or model.layers[names[-1]].paths:  # several layers inside it may be the last
        return None
    last = names[-1]
    own = {f"{last}.{key}": p.shape for key, p in model.layers[last].parameters.items()}
    saved = {name: np.shape(state[name]) for name in own if name in state}
    comparable = saved.keys() == own.keys() and all(
        len(saved[name]) == len(own[name]) and saved[name][1:] == own[name][1:] for name in own
    )
    return last if comparable and saved != own else None


def seen_by(saved: Checkpoint) -> Digests | None:
    """Return digests of the images that a network was trained on, None if they are unknown.

    Files of ready-trained networks leave out those of MNIST, which comes with the package.
    """
    if "seen" in saved.arrays or "settings" not in saved.metadata:
        return saved.arrays.get("seen")
    on_mnist = saved.metadata["data"]["fingerprint"] == MNIST_FINGERPRINT
    return seen_digests(gpucnn.data.mnist()) if on_mnist else None
