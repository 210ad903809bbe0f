"""The weights of a network as other programs get them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import DivergedError
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
