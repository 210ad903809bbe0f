"""Models in files: the format is that of checkpoints, without the state of a run."""

from __future__ import annotations

import os

from gpucnn.backends import Backend
from gpucnn.errors import CheckpointError, SettingError
from gpucnn.nn.losses import from_description
from gpucnn.nn.sequential import Sequential
from gpucnn.training.checkpoint import Checkpoint, load, save
from gpucnn.version import __version__


def save_model(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Save a model: its layers, weights, normalization and class names.

    Args:
        model: a network, trained or not.
        path: the file, usually ``*.npz``; an existing file is replaced. Damage is detected when it
            is loaded. Custom layers are saved by their names and arguments, not by their code.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import gpucnn
        >>> gpucnn.save_model(gpucnn.models.lenet5(seed=3), "model.npz")
        >>> gpucnn.load_model("model.npz").size
        61706
    """
    metadata = {
        "gpucnn": __version__,
        "model": model.config(),
        "normalization": model.normalization,
        "classes": model.classes,
        "output": model.output,
    }
    arrays = {f"parameters/{name}": values for name, values in model.state_dict().items()}
    save(path, Checkpoint(metadata, arrays))


def load_model(
    path: str | os.PathLike[str] | Checkpoint, backend: str | Backend = "auto"
) -> Sequential:
    """Load a model that ``save_model``, ``fit(checkpoint=...)`` or ``gpucnn train`` saved.

    Args:
        path: a model's file, a checkpoint, or the folder of a run.
        backend: where the model computes: "auto" (a GPU if there is one), "numpy", "cuda",
            "emulated", or a ``Backend``. A name means float32.

    Returns:
        The model, ready for ``predict``, ``evaluate`` and ``fit``. Of a run it has the weights of
        the last checkpoint.

    Raises:
        CheckpointError: no such file, it is damaged, or it has a layer that is not defined: import
            the module that defines it first.
        BackendError: the backend cannot be used on this machine.

    Example:
        >>> import gpucnn
        >>> data = gpucnn.data.mnist().limit(100)
        >>> _ = gpucnn.fit(gpucnn.models.mlp(), data, epochs=1, checkpoint="checkpoint.npz")
        >>> gpucnn.load_model("checkpoint.npz").predict(data.test.images[:3]).shape
        (3, 10)
    """
    saved = path if isinstance(path, Checkpoint) else load(path)
    metadata = saved.metadata
    try:
        model = Sequential.from_config(metadata["model"], backend)
    except SettingError as error:
        raise CheckpointError(
            f"the checkpoint's model cannot be built: {error}; import the module that defines "
            "custom layers first (command line: --model FILE.py:FUNCTION)"
        ) from None
    model.load_state_dict(saved.group("parameters"))
    if metadata["normalization"] is not None:
        mean, std = metadata["normalization"]
        model.normalization = (tuple(mean), tuple(std))
    if metadata["classes"] is not None:
        model.classes = tuple(metadata["classes"])
    settings = metadata.get("settings")  # of a run
    model.output = from_description(settings["loss"]).output if settings else metadata["output"]
    return model
