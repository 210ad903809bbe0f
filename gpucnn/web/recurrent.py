"""The arithmetic of recurrent layers: a state from a step of the input and the state before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpucnn import nn
from gpucnn.web.arithmetic import Arithmetic, Unit, Values


def rnn(unit: Unit) -> Arithmetic:
    """Return tanh or ReLU of the products with the step's input and with the state before."""
    layer = unit.layer
    assert isinstance(layer, nn.RNN)
    x, before, at = _inputs(unit, layer, lambda *at: _rnn_state(unit, layer, *at))
    found = _products(unit, layer, x, before, at)
    found.formula = f"{layer.nonlinearity}({found.formula})"
    return found


def gru(unit: Unit) -> Arithmetic:
    """Return (1 - z) n + z h; the products listed are those of the update gate z."""
    layer = unit.layer
    assert isinstance(layer, nn.GRU)
    x, before, at = _inputs(unit, layer, lambda *at: _gru_state(unit, *at))
    found = _products(unit, layer, x, before, layer.hidden_size + at)
    r, z, n = (part[at] for part in _gates(unit, layer.num_layers - 1, x, before))
    found.formula = (
        f"(1 - z) n + z h = {1 - z:.3g} * {n:.3g} + {z:.3g} * {before[at]:.3g}, where z is the "
        f"sigmoid of {found.formula}; r is {r:.3g}"
    )
    return found


def _inputs(
    unit: Unit, layer: nn.RNN | nn.GRU, state: Callable[[int, Values, Values], Values]
) -> tuple[Values, Values, int]:
    """Return the input of a unit's step, the state before it, and the number of the hidden unit.

    ``state(index, x, before)`` is the state of recurrence ``index`` after a step.
    """
    sequence = unit.input
    step = unit.index[0] if layer.return_sequences else len(sequence) - 1
    before = np.zeros(layer.hidden_size)
    for index in range(layer.num_layers):
        states = [np.zeros(layer.hidden_size)]
        for x in sequence[: step + 1]:
            states.append(state(index, x, states[-1]))
        before = states[step]
        if index + 1 < layer.num_layers:
            sequence = np.array(states[1:])
    return sequence[step], before, unit.index[-1]


def _rnn_state(unit: Unit, layer: nn.RNN, index: int, x: Values, before: Values) -> Values:
    of_input, of_state = _rows(unit, index, x, before)
    total = of_input + of_state
    return np.tanh(total) if layer.nonlinearity == "tanh" else np.maximum(total, 0)


def _gru_state(unit: Unit, index: int, x: Values, before: Values) -> Values:
    _, z, n = _gates(unit, index, x, before)
    return (1 - z) * n + z * before


def _gates(unit: Unit, index: int, x: Values, before: Values) -> tuple[Values, Values, Values]:
    """Return r, z and n of every hidden unit."""
    of_input, of_state = (np.split(rows, 3) for rows in _rows(unit, index, x, before))
    r, z = (1 / (1 + np.exp(-of_input[gate] - of_state[gate])) for gate in (0, 1))
    return r, z, np.tanh(of_input[2] + r * of_state[2])


def _rows(unit: Unit, index: int, x: Values, before: Values) -> tuple[Values, Values]:
    """Return the products of the weights with the input and with the state, and their biases."""
    rows = []
    for of, values in (("ih", x), ("hh", before)):
        bias = unit.weights.get(f"bias_{of}_l{index}", 0.0)
        rows.append(unit.weights[f"weight_{of}_l{index}"] @ values + bias)
    return rows[0], rows[1]


def _products(
    unit: Unit, layer: nn.RNN | nn.GRU, x: Values, before: Values, row: int
) -> Arithmetic:
    """Return a row of the products, those with the input before those with the state."""
    last = layer.num_layers - 1
    weights = [unit.weights[f"weight_{of}_l{last}"][row] for of in ("ih", "hh")]
    inputs, weight = np.concatenate([x, before]), np.concatenate(weights)
    found = Arithmetic("other", "", inputs, weight, sum=float((inputs * weight).sum()))
    found.formula = f"the sum of {len(x)} + {len(before)} products"
    if layer.bias:
        found.bias = sum(float(unit.weights[f"bias_{of}_l{last}"][row]) for of in ("ih", "hh"))
        found.formula += " + the biases"
    return found
