"""The weights of a network as other programs get them, and ``.npz`` files of them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import DivergedError
from gpucnn.files import write_atomically
from gpucnn.nn.sequential import Sequential

State = dict[str, NDArray[Any]]


def finite_state(model: Sequential) -> State:
    """Return the ``state_dict`` of a model; DivergedError if it contains NaN or infinity."""
    state = model.state_dict()
    if (name := not_finite(state)) is not None:
        raise DivergedError(f"{name} contains NaN or infinity: train the network again")
    return state


def not_finite(state: Mapping[str, NDArray[Any]]) -> str | None:
    """Return the name of the first array with NaN or infinity, None if there is none."""
    return next((name for name, array in state.items() if not np.isfinite(array).all()), None)


def export_npz(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write the weights of a network as an ``.npz`` file, an array for each entry of state_dict.

    ``numpy.load`` reads it, and so do ``gpucnn.load_weights`` and ``gpucnn train --init``. An
    existing file is replaced. DivergedError if the weights contain NaN or infinity; OSError if the
    file cannot be written.

    >>> import gpucnn
    >>> gpucnn.exchange.export_npz(gpucnn.models.mlp(), "mlp.npz")
    >>> sorted(numpy.load("mlp.npz"))
    ['fc1.bias', 'fc1.weight', 'fc2.bias', 'fc2.weight']
    """
    buffer = io.BytesIO()
    arrays: Mapping[str, Any] = finite_state(model)
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
