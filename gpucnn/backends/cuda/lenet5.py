"""LeNet-5's training step on the CUDA backend: gradients in four launches (kernels/lenet5*.cu)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.backends.contract.fused import LayerSpec, StepArrays
from gpucnn.backends.contract.window import conv_window, pool_window
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.errors import ArrayError, ShapeError

TAPS = 25
WARP = 32
ALIGNMENT = 16  # the kernels read four numbers at a time
POOLED1, POOLED2 = (14, 14), (5, 5)
CHANNELS_A_BLOCK = 2  # of conv1, in lenet5_backward
TILE = (16, 32)  # of the linear layers' gradients, in lenet5_backward
MOST_PARTS = 128
"""In at most so many parts the convolutions' gradients are summed: about a GPU's processors."""
LARGE_BATCH = 256
"""Above it, eight samples share a reading of the linear layers' weights, and not four."""


@dataclass(frozen=True)
class LeNet5Sizes:
    """The numbers that make a LeNet-5, by default the one for MNIST.

    ``height`` and ``width`` of pictures with ``channels``; ``channels1`` and ``channels2`` of the
    two convolutions, ``features1`` and ``features2`` of the linear layers between them and the
    ``classes``.
    """

    channels: int = 1
    height: int = 28
    width: int = 28
    channels1: int = 6
    channels2: int = 16
    features1: int = 120
    features2: int = 84
    classes: int = 10

    def fault(self) -> str | None:
        """Return why the kernels cannot do these sizes, None if they can."""
        if (self.channels, self.height, self.width) != (1, 28, 28):
            return f"pictures of {(self.channels, self.height, self.width)}, not (1, 28, 28)"
        limits = {
            "channels1": (2, 6),
            "channels2": (4, 16),
            "features1": (4, 128),
            "features2": (4, 96),
            "classes": (1, 32),
        }
        for name, (step, most) in limits.items():
            size = getattr(self, name)
            if size % step or not 1 <= size <= most:
                return f"{name} {size}, not a multiple of {step} up to {most}"
        return None

    @property
    def inputs(self) -> int:
        """Features of the first linear layer."""
        return self.channels2 * POOLED2[0] * POOLED2[1]

    @property
    def convolutions(self) -> int:
        """Parameters of the two convolutions."""
        return (TAPS + 1) * self.channels1 + (TAPS * self.channels1 + 1) * self.channels2

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of the linear layers."""
        sizes = (self.inputs, self.features1, self.features2, self.classes)
        return tuple(zip(sizes[1:], sizes[:-1], strict=True))

    @property
    def parameters(self) -> int:
        """Number of parameters, all elements counted."""
        return self.convolutions + sum(rows * (columns + 1) for rows, columns in self.layers)

    @property
    def tiles(self) -> int:
        """Blocks that compute the gradients of the linear layers' parameters."""
        high, wide = TILE
        return sum(-(-rows // high) * -(-columns // wide) for rows, columns in self.layers)


LENET5 = (
    "conv2d", "relu", "max_pool2d", "conv2d", "relu", "max_pool2d",
    "flatten", "linear", "relu", "linear", "relu", "linear",
)  # fmt: skip


def lenet5_sizes(layers: Sequence[LayerSpec]) -> LeNet5Sizes | None:
    """Return the sizes of a LeNet-5, None where the layers are anything else.

    Its convolutions are 5x5, the first padded by 2, its poolings 2x2, and all its weights have a
    bias. Whether there are kernels for the sizes, ``LeNet5Sizes.fault`` says.
    """
    if tuple(layer.op for layer in layers) != LENET5:
        return None
    conv1, _, pool1, conv2, _, pool2, _, fc1, _, fc2, _, fc3 = layers
    for conv, pool, padding in ((conv1, pool1, 2), (conv2, pool2, 0)):
        plane = (conv.input_shape[1], conv.input_shape[2])
        if conv.window != conv_window(plane, (5, 5), padding=padding) or conv.groups > 1:
            return None
        plane = (pool.input_shape[1], pool.input_shape[2])
        if pool.window != pool_window(plane, 2):
            return None
    if not all(layer.bias for layer in (conv1, conv2, fc1, fc2, fc3)):
        return None
    channels, height, width = conv1.input_shape
    outputs = (layer.output_shape[0] for layer in (conv1, conv2, fc1, fc2, fc3))
    return LeNet5Sizes(channels, height, width, *outputs)


class LeNet5:
    """The gradients of a LeNet-5 of ``sizes`` for batches of ``batch`` samples, on ``be``.

    It has memory of its own, allocated once: ``set_grads`` allocates nothing and can be captured.
    One call after the other; no two streams share it.
    """

    def __init__(self, be: CudaArrays, sizes: LeNet5Sizes, batch: int) -> None:
        fault = sizes.fault()
        if fault or batch < 1:
            raise ShapeError(f"LeNet5: {fault or f'a batch of {batch}'}")
        self.be, self.sizes, self.batch = be, sizes, batch
        self.parts = min(batch, MOST_PARTS)
        self.samples = 4 if batch <= LARGE_BATCH else 8  # of a block in lenet5_linear_…
        first, second = (batch, sizes.channels1, *POOLED1), (batch, sizes.channels2, *POOLED2)
        self.pooled1, self.places1 = be.empty(first), be.empty(first, np.uint8)
        self.pooled2, self.places2 = be.empty(second), be.empty(second, np.uint8)
        self.pooled2_grad = be.empty(second)
        self.hidden1, self.grads1 = (be.empty((batch, sizes.features1)) for _ in range(2))
        self.hidden2, self.grads2 = (be.empty((batch, sizes.features2)) for _ in range(2))
        self.grads3 = be.empty((batch, -(-sizes.classes // 4) * 4))
        self.losses, self.right = be.empty((batch,)), be.empty((batch,), np.int32)
        self.partials = be.empty((self.parts, sizes.convolutions))

    def set_grads(self, arrays: StepArrays) -> None:
        """Write the gradients of the mean cross-entropy over a batch.

        The images are (M, 1, 28, 28), and the parameters lie at a multiple of 16 bytes. An index
        outside the images and a target outside the classes make the loss NaN. Arrays of other
        shapes raise ShapeError, of other types or alignment ArrayError.
        """
        self._check(arrays)
        launch, sizes, batch = self.be._kernels.launch, self.sizes, self.batch
        channels = (sizes.channels1, sizes.channels2)
        widths = (*channels, sizes.features1, sizes.features2, sizes.classes)
        picture = (
            arrays.images, arrays.indices, arrays.scale, arrays.shift, arrays.parameters,
        )  # fmt: skip
        grads, totals = arrays.grads, arrays.totals
        failed, step = arrays.failed_step, arrays.step
        pooled = (self.pooled1, self.places1, self.pooled2, self.places2)
        hidden = (self.hidden1, self.hidden2, self.grads1, self.grads2, self.grads3)
        items, parts = arrays.images.shape[0], self.parts
        launch("lenet5_convolve", batch, *picture, *pooled, items, *channels)
        launch(
            f"lenet5_linear_{self.samples}", -(-batch // self.samples),
            arrays.parameters, arrays.targets, self.pooled2, self.pooled2_grad, *hidden,
            self.losses, self.right, batch, *widths,
        )  # fmt: skip
        blocks = parts * (sizes.channels1 // CHANNELS_A_BLOCK) + sizes.tiles
        launch(
            "lenet5_backward", blocks,
            *picture, *pooled, self.pooled2_grad, *hidden,
            self.partials, grads, failed, step, items, parts, batch, *widths,
        )  # fmt: skip
        launch(
            "lenet5_finish", -(-sizes.convolutions // WARP) + 1,
            self.partials, self.losses, self.right, grads, totals, failed, step,
            parts, sizes.convolutions, batch,
        )  # fmt: skip

    def _check(self, arrays: StepArrays) -> None:
        sizes, batch, real = self.sizes, (self.batch,), self.be.dtype
        pictures = (None, sizes.channels, sizes.height, sizes.width)
        wanted: dict[str, tuple[tuple[int | None, ...], DTypeLike]] = {
            "images": (pictures, np.uint8),
            "indices": (batch, np.int64),
            "targets": (batch, np.int64),
            "scale": ((1,), real),
            "shift": ((1,), real),
            "parameters": ((sizes.parameters,), real),
            "grads": ((sizes.parameters,), real),
            "totals": ((2,), np.float64),
            "failed_step": ((1,), np.int64),
            "step": ((1,), np.int64),
        }
        for name, (shape, dtype) in wanted.items():
            self.be._check("LeNet5.set_grads", name, getattr(arrays, name), shape, dtype)
        if arrays.parameters.data.ptr % ALIGNMENT:
            raise ArrayError(
                f"LeNet5.set_grads: parameters must begin at a multiple of {ALIGNMENT} bytes"
            )
