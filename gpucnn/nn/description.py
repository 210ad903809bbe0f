"""A network as plain data, without its weights: as files hold it."""

from __future__ import annotations

from typing import Any

from gpucnn.errors import SettingError
from gpucnn.nn.sequential import Sequential, custom_class
from gpucnn.version import __version__


def describe_network(model: Sequential) -> dict[str, Any]:
    """Return the description of a network, without its weights, as plain data for JSON.

    Raises SettingError if the model is of a class with a ``forward`` of its own.
    """
    if (custom := custom_class(model)) is not None:
        raise SettingError(
            f"the model ({custom}) has a forward or backward of its own, which no file holds: save "
            "its weights with numpy.savez(path, **model.state_dict()), and load them with "
            "gpucnn.load_weights(model, path)"
        )
    normalization, classes = model.normalization, model.classes
    description = {
        "gpucnn": __version__,
        "model": model.config(),
        "normalization": normalization and [list(map(float, values)) for values in normalization],
        "classes": classes and list(map(str, classes)),
        "output": model.output,
    }
    if model.targets is not None:
        description["targets"] = model.targets.describe()
    if model.preparation is not None:
        description["preparation"] = model.preparation
    return description
