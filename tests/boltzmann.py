"""A restricted Boltzmann machine that is small enough to enumerate all its states."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from gpucnn import rbm
from gpucnn.backends import Backend

Array = NDArray[np.float64]


def tiny(backend: str | Backend = "numpy", scale: float = 1.0) -> rbm.RBM:
    """A machine of 4 visible and 3 hidden units with large weights."""
    machine, rng = rbm.RBM((1, 2, 2), hidden=3, backend=backend), np.random.default_rng(5)
    state = {
        name: scale * rng.standard_normal(array.shape)
        for name, array in machine.state_dict().items()
    }
    machine.load_state_dict(state)
    return machine


def states(count: int) -> Array:
    """All states of ``count`` binary units, one in each row."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=count)))


def joint(machine: rbm.RBM) -> Array:
    """The probability of every state, (visible states, hidden states), from the energies."""
    state = {name: array.astype(np.float64) for name, array in machine.state_dict().items()}
    weight, c, b = (state[name] for name in ("hidden.weight", "hidden.bias", "visible.bias"))
    table = np.array(
        [
            [np.exp(h @ weight @ v + b @ v + c @ h) for h in states(machine.hidden)]
            for v in states(machine.visible)
        ]
    )
    return table / table.sum()
