"""What joins the outputs of several layers."""

from __future__ import annotations

import math

import numpy as np

from gpucnn.testing.naive.common import Array


def add(input: Array, other: Array, relu: bool = False) -> Array:
    """Return the sum, and with relu the greater of it and 0; NaN stays NaN."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        total = float(input[index]) + float(other[index])
        output[index] = 0.0 if relu and not math.isnan(total) and total < 0 else total
    return output


def write_channels(output: Array, input: Array, start: int) -> None:
    """Write the input to the channels of the output from ``start``."""
    for sample, channel, *rest in np.ndindex(*input.shape):
        output[(sample, start + channel, *rest)] = input[(sample, channel, *rest)]


def read_channels(input: Array, start: int, channels: int) -> Array:
    """Return some channels of the input."""
    output = np.zeros((input.shape[0], channels, *input.shape[2:]))
    for sample, channel, *rest in np.ndindex(*output.shape):
        output[(sample, channel, *rest)] = input[(sample, start + channel, *rest)]
    return output
