"""Models in files: the format is that of checkpoints, without the state of a run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from gpucnn.backends import Backend, get_backend
from gpucnn.data.files import format_sides
from gpucnn.data.preparation import MNIST_FINGERPRINT
from gpucnn.errors import CheckpointError, SettingError, ShapeError
from gpucnn.nn.description import describe_network
from gpucnn.nn.layers import Layer
from gpucnn.nn.layers.base import Shape
from gpucnn.nn.layers.structure import output_shapes
from gpucnn.nn.losses import from_description
from gpucnn.nn.parameters import check_state
from gpucnn.nn.sequential import Sequential, layers_from_config
from gpucnn.nn.targets import Targets
from gpucnn.training.files.checkpoint import Checkpoint, load, save
from gpucnn.training.files.metadata import validate

_MAX_VALUES = 1 << 28
"""Values of an image between two layers, a gigabyte in float32: no real network has more."""


def save_model(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Save a model: its layers, weights, normalization, class names and preparation of images.

    Args:
        model: a network, trained or not.
        path: the file, usually ``*.npz``; an existing file is replaced. Damage is detected when it
            is loaded. Custom layers are saved by their names and arguments, not by their code.

    Raises:
        OSError: the file cannot be written.
        SettingError: ``normalization``, ``classes``, ``preparation`` or a layer's argument cannot
            be saved, or the model is of a class with a ``forward`` of its own.

    Example:
        >>> import gpucnn
        >>> gpucnn.save_model(gpucnn.models.lenet5(seed=3), "model.npz")
        >>> gpucnn.load_model("model.npz").size
        61706
    """
    metadata = describe_network(model)
    try:
        validate(json.loads(json.dumps(metadata)))
    except (TypeError, ValueError) as error:
        raise SettingError(f"the model cannot be saved: {error}") from None
    arrays = {f"parameters/{name}": values for name, values in model.state_dict().items()}
    if model.seen is not None:
        arrays["seen"] = model.seen
    save(path, Checkpoint(metadata, arrays))


def load_model(
    path: str | os.PathLike[str] | Checkpoint, backend: str | Backend = "auto"
) -> Sequential:
    """Load a model that ``save_model``, ``fit(checkpoint=...)`` or ``gpucnn train`` saved.

    Args:
        path: a model's file, a checkpoint, the folder of a run, or "lenet5": LeNet-5, trained on
            MNIST, which comes with gpucnn.
        backend: where the model computes: "auto" (a GPU if there is one), "numpy", "cuda",
            "emulated", or a ``Backend``. With a name, the model has the dtype of its weights in the
            file.

    Returns:
        The model, ready for ``predict``, ``evaluate`` and ``fit``. Of a run it has the weights of
        the last checkpoint.

    Raises:
        CheckpointError: no such file, it is damaged, it has a layer that is not defined (import
            the module that defines it first), or its model is of a class with a ``forward`` of its
            own (build it and use ``load_weights``).
        BackendError: the backend cannot be used on this machine.

    Example:
        >>> import gpucnn
        >>> data = gpucnn.data.mnist().limit(100)
        >>> _ = gpucnn.fit(gpucnn.models.mlp(), data, epochs=1, checkpoint="checkpoint.npz")
        >>> gpucnn.load_model("checkpoint.npz").predict(data.test.images[:3]).shape
        (3, 10)
        >>> int(gpucnn.load_model("lenet5").predict(data.test.images[:1]).argmax())
        7
    """
    saved = path if isinstance(path, Checkpoint) else load(path)
    if "class" in saved.metadata:
        raise CheckpointError(
            f"the checkpoint is of a model of class {saved.metadata['class']!r} with a forward or "
            "backward of its own, which no file holds: build the model and use "
            "gpucnn.load_weights(model, path) (command line: --model FILE.py:FUNCTION)"
        )
    layers = _layers(saved)
    # Before memory is taken for what the file only declares.
    check_state(layers, saved.group("parameters"))
    backend = get_backend(backend, dtype_of(saved))
    model = Sequential(layers, saved.metadata["model"]["input_shape"], backend=backend)
    return set_from(model, saved)


def set_from(model: Sequential, saved: Checkpoint) -> Sequential:
    """Set the weights of a model and all that its training set from a checkpoint of its layers.

    Returns the model. Raises CheckpointError if its outputs are fewer than the classes.
    """
    metadata = saved.metadata
    if metadata["classes"] is not None and len(metadata["classes"]) > model.output_shape[0]:
        raise CheckpointError(
            f"the checkpoint has {len(metadata['classes'])} classes, but its model's output is "
            f"{model.output_shape}"
        )
    if "targets" in metadata:
        model.targets = Targets.from_description(metadata["targets"])
        if model.output_shape != (len(model.targets),):
            raise CheckpointError(
                f"the checkpoint has {len(model.targets)} targets, but its model's output is "
                f"{model.output_shape}"
            )
    model.load_state_dict(saved.group("parameters"))
    model.seen = saved.arrays.get("seen")
    if metadata["normalization"] is not None:
        mean, std = metadata["normalization"]
        model.normalization = (tuple(mean), tuple(std))
    if metadata["classes"] is not None:
        model.classes = tuple(metadata["classes"])
    if "output" in metadata:
        model.output = metadata["output"]
    else:  # a run of an older version
        model.output = from_description(metadata["settings"]["loss"]).output
    model.preparation = _preparation(metadata)
    return model


def is_mnist(trained_on: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint's data, or a part of it, is MNIST, wherever it was read from."""
    return bool(trained_on["builtin"]) or trained_on["fingerprint"] == MNIST_FINGERPRINT


def _preparation(metadata: Mapping[str, Any]) -> str | None:
    """Return how image files become inputs of a saved network; None if it does not record that."""
    trained_on = metadata.get("data")
    if trained_on is None:
        found: str | None = metadata.get("preparation")
        return found
    # Runs of versions before 0.3 have no preparation.
    how: str = trained_on.get("preparation", "digit" if is_mnist(trained_on) else "plain")
    return how


def dtype_of(saved: Checkpoint) -> str:
    """Return the dtype of the weights in a checkpoint: "float32" or "float64"."""
    dtypes = {str(array.dtype) for array in saved.group("parameters").values()}
    return "float64" if "float64" in dtypes else "float32"


def _layers(saved: Checkpoint) -> dict[str, Layer]:
    """Return the layers of the model in a checkpoint, whose sizes must be those of a network."""
    config = saved.metadata["model"]
    try:
        layers = layers_from_config(config)
        output_shapes(layers, tuple(config["input_shape"]))
    except (SettingError, ShapeError) as error:
        custom = any(kind not in Layer.types for kind in _types(config["layers"]))
        hint = (
            "; import the module that defines custom layers first "
            "(command line: --model FILE.py:FUNCTION)"
        )
        raise CheckpointError(
            f"the checkpoint's model cannot be built: {error}{hint if custom else ''}"
        ) from None
    for name, shape in _shapes(layers, tuple(config["input_shape"])):
        if math.prod(shape) > _MAX_VALUES:
            raise CheckpointError(
                f"the checkpoint's model cannot be used: {name!r} is {format_sides(shape)}, more "
                f"than {_MAX_VALUES:,} values for one image"
            )
    return layers


def _shapes(layers: Mapping[str, Layer], shape: Shape, prefix: str = "") -> Iterator[Any]:
    """Yield (name, shape) of the input and of the outputs of all layers, also inside others."""
    yield f"{prefix}input", shape
    for name, layer in layers.items():
        for path in layer.paths:
            yield from _shapes(path, shape, f"{prefix}{name}.")
        shape = layer.output_shape(shape)
        yield f"{prefix}{name}", shape


def _types(description: Any) -> Iterator[str]:
    """Yield the types of the layers in a description, also of those inside others."""
    if isinstance(description, dict):
        if isinstance(description.get("type"), str):
            yield description["type"]
        description = list(description.values())
    if isinstance(description, list):
        for value in description:
            yield from _types(value)
