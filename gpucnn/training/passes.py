"""What is timed of a network: forward and backward of each layer, repeated and sampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import median, quantiles

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import is_builtin
from gpucnn.nn.chain import Chain
from gpucnn.nn.layers import Layer, TrainingPass
from gpucnn.nn.layers.custom import can_be_captured
from gpucnn.nn.sequential import Sequential

SAMPLE_SECONDS = 2e-3
"""Least seconds of a sample: short work is repeated within it."""

MAX_REPEATS = 200


class Work:
    """Something to be timed: done often enough for a sample that lasts SAMPLE_SECONDS."""

    def __init__(self, be: Backend, function: Callable[[], object], record: bool = False) -> None:
        """With ``record``, a device that can captures the calls of a sample and replays them."""
        function()  # compiles and loads what must be there
        once = be.elapsed(function)
        self.repeats = min(max(1, math.ceil(SAMPLE_SECONDS / max(once, 1e-9))), MAX_REPEATS)
        self.samples: list[float] = []
        self._backend, self._function = be, function
        self._replay = be.capture(self._repeat, record)
        for _ in range(2):  # the first run is not captured yet
            self._replay(1)

    def _repeat(self) -> None:
        for _ in range(self.repeats):
            self._function()

    def sample(self) -> None:
        """Measure once more."""
        self.samples.append(self._backend.elapsed(lambda: self._replay(1)) / self.repeats)

    @property
    def seconds(self) -> float:
        """The median of the samples."""
        return median(self.samples)

    @property
    def spread(self) -> float:
        """Their interquartile range as a fraction of the median."""
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / self.seconds


class _Rest(Work):
    """What work takes besides a part of it: ``part`` is timed as well."""

    def __init__(
        self, be: Backend, function: Callable[[], object], record: bool, part: Work
    ) -> None:
        super().__init__(be, function, record)
        self._part = part

    @property
    def seconds(self) -> float:
        """The difference of the medians."""
        return max(median(self.samples) - self._part.seconds, 1e-9)


def make_passes(model: Sequential, batch_size: int) -> tuple[list[tuple[Work, Work]], Work]:
    """Return forward and backward of each layer, in the order of places, and both of the network.

    Layers inside others get gradients of another size than in training, which cost the same.
    """
    be, layers = model.backend, list(model.layers.values())
    x = _images(model, batch_size)
    inputs, kept, training = [x], [], TrainingPass(0, be.asarray(np.array([1])))
    for index, layer in enumerate(layers):
        output, saved = layer.forward(be, inputs[-1], training.inside(index))
        inputs.append(output)
        kept.append(saved)
    shape = tuple(inputs[-1].shape)
    last = grad = be.asarray(np.random.default_rng(2).standard_normal(shape) / batch_size)
    passes: list[list[tuple[Work, Work]]] = []
    for index, layer in reversed(list(enumerate(layers))):
        found = _layer_passes(be, layer, inputs[index], grad, training.inside(index), index > 0)
        passes.append(found)
        grad = layer.backward(be, grad, kept.pop(), index > 0)
    record = all(map(can_be_replayed, layers))
    both = Work(be, partial(_both, model.chain, be, x, last, training, False), record)
    return [each for found in reversed(passes) for each in found], both


def _layer_passes(
    be: Backend, layer: Layer, x: Array, grad: Array, training: TrainingPass, input_grad: bool
) -> list[tuple[Work, Work]]:
    """Return forward and backward of a layer, given its input and a gradient of its output.

    Those of the layers inside it follow.
    """
    record = can_be_replayed(layer)
    forward = Work(be, partial(layer.forward, be, x, training), record)
    if not layer.paths:
        saved = layer.forward(be, x, training)[1]
        backward = partial(layer.backward, be, grad, saved, input_grad)
        return [(forward, Work(be, backward, record))]
    # What such a layer saves serves one backward.
    both = partial(_both, layer, be, x, grad, training, input_grad)
    found: list[tuple[Work, Work]] = [(forward, _Rest(be, both, record, forward))]
    for index, path in enumerate(layer.paths):
        source = x
        for number, inner in enumerate(path.values()):
            inside = training.inside(index).inside(number)
            output = inner.forward(be, source, inside)[0]
            grads = be.add(output, output)
            found += _layer_passes(be, inner, source, grads, inside, input_grad or number > 0)
            source = output
    return found


def _images(model: Sequential, batch_size: int) -> Array:
    """Return a normalised batch of random images, as training gathers it."""
    be, channels = model.backend, model.input_shape[0]
    shape = (batch_size, *model.input_shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    scale, shift = np.full(channels, 4 / 255), np.full(channels, -2.0)
    order = be.asarray(np.arange(batch_size))
    return be.gather_images(
        be.asarray(pixels, np.uint8), order, be.asarray(scale), be.asarray(shift)
    )


def _both(
    layers: Layer | Chain,
    be: Backend,
    x: Array,
    grad: Array,
    training: TrainingPass,
    input_grad: bool,
) -> None:
    """Compute forward and backward; a model's own passes are not counted."""
    _, saved = layers.forward(be, x, training)
    layers.backward(be, grad, saved, input_grad)


def can_be_replayed(layer: Layer) -> bool:
    """Return whether a layer needs nothing from the host, nor any inside it."""
    own = is_builtin(layer) or can_be_captured(layer)
    return own and all(map(can_be_replayed, layer.children.values()))
