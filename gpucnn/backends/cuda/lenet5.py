"""LeNet-5's training step on the CUDA backend: gradients in four launches (kernels/lenet5.cuh)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.backends.contract.fused import LayerSpec, StepArrays, flat_offsets
from gpucnn.backends.contract.window import conv_window, pool_window
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.sources import constants, pack
from gpucnn.backends.cuda.structs import StructValue
from gpucnn.errors import ArrayError, ShapeError

MAX_PARTS = 128
"""The convolutions' gradients are summed in up to this many parts: a GPU has about as many
multiprocessors."""
LARGE_BATCH = 256
"""In larger batches a block of lenet5_fc computes four samples instead of two, so that the weights
are read half as often."""


def header() -> Mapping[str, int]:
    """Return the constants of kernels/lenet5.cuh, where each is explained."""
    return constants("lenet5.cuh")


@dataclass(frozen=True)
class LeNet5Sizes:
    """The sizes of a LeNet-5.

    Its images are ``channels`` by ``height`` by ``width``; ``channels1`` and ``channels2`` are the
    output channels of the convolutions, ``features1``, ``features2`` and ``classes`` the outputs
    of the fully connected layers.
    """

    channels: int
    height: int
    width: int
    channels1: int
    channels2: int
    features1: int
    features2: int
    classes: int

    def unsupported(self) -> str | None:
        """Return the reason why the kernels do not support these sizes, or None."""
        known = header()
        image = (1, known["IMAGE_SIZE"], known["IMAGE_SIZE"])
        if (self.channels, self.height, self.width) != image:
            return f"images must be {image}, got {(self.channels, self.height, self.width)}"
        multiples = {
            "channels1": known["CHANNELS_PER_BLOCK"],
            "channels2": known["PACK"],
            "features1": known["PACK"],
            "features2": known["PACK"],
            "classes": 1,
        }
        for name, multiple in multiples.items():
            size, limit = getattr(self, name), known[f"MAX_{name.upper()}"]
            if size % multiple or not 1 <= size <= limit:
                return f"{name} must be a multiple of {multiple} up to {limit}, got {size}"
        return None

    @cached_property
    def layers(self) -> dict[str, tuple[int, int]]:
        """The outputs of each layer, and the weights of one output."""
        area = header()["KERNEL_SIZE"] ** 2
        return {
            "conv1": (self.channels1, area),
            "conv2": (self.channels2, self.channels1 * area),
            "fc1": (self.features1, self.channels2 * header()["POOL2_SIZE"] ** 2),
            "fc2": (self.features2, self.features1),
            "fc3": (self.classes, self.features2),
        }

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The offset of each weight and bias in the flat parameters."""
        return dict(zip(self._sizes, flat_offsets(self._sizes.values()), strict=False))

    @property
    def conv_parameters(self) -> int:
        """Elements of the flat parameters up to fc1's: the convolutions', which come first."""
        return self.offsets["fc1_weight"]

    @property
    def flat_size(self) -> int:
        """Elements of the flat parameters."""
        return flat_offsets(self._sizes.values())[-1]

    @property
    def _sizes(self) -> dict[str, int]:
        """Elements of each weight and bias."""
        sizes: dict[str, int] = {}
        for name, (outputs, weights) in self.layers.items():
            sizes |= {f"{name}_weight": outputs * weights, f"{name}_bias": outputs}
        return sizes

    @property
    def fc3_pitch(self) -> int:
        """Elements of a row of fc3's gradient: the classes in whole packs."""
        return -(-self.classes // header()["PACK"]) * header()["PACK"]

    @property
    def tiles(self) -> int:
        """Blocks that compute the weight gradients of the fully connected layers."""
        rows, columns = header()["TILE_ROWS"], header()["TILE_COLUMNS"]
        shapes = (self.layers[name] for name in ("fc1", "fc2", "fc3"))
        return sum(-(-outputs // rows) * -(-inputs // columns) for outputs, inputs in shapes)

    def pack(self) -> StructValue:
        """Return the sizes and offsets as the kernels take them, struct LeNet5."""
        return pack(
            "LeNet5",
            channels1=self.channels1,
            channels2=self.channels2,
            features1=self.features1,
            features2=self.features2,
            classes=self.classes,
            fc3_pitch=self.fc3_pitch,
            conv_parameters=self.conv_parameters,
            **self.offsets,
        )


LENET5 = (
    "conv2d", "relu", "max_pool2d", "conv2d", "relu", "max_pool2d",
    "flatten", "linear", "relu", "linear", "relu", "linear",
)  # fmt: skip


def lenet5_sizes(layers: Sequence[LayerSpec]) -> LeNet5Sizes | None:
    """Return the sizes of a LeNet-5, or None if the layers are another network.

    Its convolutions are 5x5, the first padded by 2, its poolings 2x2, and every layer with weights
    has a bias. ``LeNet5Sizes.unsupported`` returns whether there are kernels for the sizes.
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
    """The gradients of a LeNet-5 for batches of ``batch`` samples.

    Its memory is allocated once, so ``set_grads`` allocates nothing and can be captured. Calls must
    follow each other on one stream. ShapeError if the kernels do not support ``sizes``.
    """

    def __init__(self, be: CudaArrays, sizes: LeNet5Sizes, batch: int) -> None:
        reason = sizes.unsupported()
        if reason is not None:
            raise ShapeError(f"LeNet5: {reason}")
        if batch < 1:
            raise ShapeError(f"LeNet5: the batch must have at least 1 sample, got {batch}")
        self.be, self.sizes, self.batch = be, sizes, batch
        self.parts = min(batch, MAX_PARTS)
        self.samples_per_block = 2 if batch <= LARGE_BATCH else 4  # of lenet5_fc
        known = header()
        conv_blocks = self.parts * (sizes.channels1 // known["CHANNELS_PER_BLOCK"])
        self.backward_blocks = conv_blocks + sizes.tiles
        self.finish_blocks = -(-sizes.conv_parameters // known["FINISH_COLUMNS"]) + 1
        self.net = sizes.pack()
        plane1, plane2 = (2 * (known[f"{name}_SIZE"],) for name in ("POOL1", "POOL2"))
        shape1, shape2 = (batch, sizes.channels1, *plane1), (batch, sizes.channels2, *plane2)
        self.pool1, self.argmax1 = be.empty(shape1), be.empty(shape1, np.uint8)
        self.pool2, self.argmax2 = be.empty(shape2), be.empty(shape2, np.uint8)
        self.pool2_grad = be.empty(shape2)
        self.fc1, self.fc1_grad = (be.empty((batch, sizes.features1)) for _ in range(2))
        self.fc2, self.fc2_grad = (be.empty((batch, sizes.features2)) for _ in range(2))
        self.fc3_grad = be.empty((batch, sizes.fc3_pitch))
        self.losses, self.correct = be.empty((batch,)), be.empty((batch,), np.int32)
        self.partials = be.zeros((self.parts, sizes.conv_parameters))  # padding stays zero

    def set_grads(self, arrays: StepArrays) -> None:
        """Write the gradients of the mean cross-entropy over a batch.

        Images are (M, 1, 28, 28); ``parameters`` starts at a multiple of 16 bytes. An index outside
        the images or a target outside the classes makes the loss NaN. Arrays of other shapes raise
        ShapeError, of other types or alignment ArrayError.
        """
        self._check(arrays)
        launch, batch, parts = self.be._kernels.launch, self.batch, self.parts
        items = arrays.images.shape[0]
        inputs = (
            arrays.images, arrays.indices, arrays.scale, arrays.shift, arrays.parameters,
        )  # fmt: skip
        pools = (self.pool1, self.argmax1, self.pool2, self.argmax2)
        fcs = (self.fc1, self.fc2, self.fc1_grad, self.fc2_grad, self.fc3_grad)
        launch("lenet5_conv_forward", batch, *inputs, *pools, self.net, items)
        launch(
            f"lenet5_fc_{self.samples_per_block}", -(-batch // self.samples_per_block),
            arrays.parameters, arrays.targets, self.pool2, self.pool2_grad, *fcs,
            self.losses, self.correct, self.net, batch,
        )  # fmt: skip
        launch(
            "lenet5_backward", self.backward_blocks,
            *inputs, *pools, self.pool2_grad, *fcs, self.partials,
            arrays.grads, arrays.failed_step, arrays.step, self.net, items, parts, batch,
        )  # fmt: skip
        launch(
            "lenet5_finish", self.finish_blocks,
            self.partials, self.losses, self.correct, arrays.grads, arrays.totals,
            arrays.failed_step, arrays.step, self.net, parts, batch,
        )  # fmt: skip

    def _check(self, arrays: StepArrays) -> None:
        sizes, batch, real = self.sizes, (self.batch,), self.be.dtype
        images = (None, sizes.channels, sizes.height, sizes.width)
        expected: dict[str, tuple[tuple[int | None, ...], DTypeLike]] = {
            "images": (images, np.uint8),
            "indices": (batch, np.int64),
            "targets": (batch, np.int64),
            "scale": ((1,), real),
            "shift": ((1,), real),
            "parameters": ((sizes.flat_size,), real),
            "grads": ((sizes.flat_size,), real),
            "totals": ((2,), np.float64),
            "failed_step": ((1,), np.int64),
            "step": ((1,), np.int64),
        }
        for name, (shape, dtype) in expected.items():
            self.be._check("LeNet5.set_grads", name, getattr(arrays, name), shape, dtype)
        alignment = header()["PACK_BYTES"]
        address = arrays.parameters.data.ptr
        if address % alignment:
            raise ArrayError(
                f"LeNet5.set_grads: parameters must start at a multiple of {alignment} bytes, "
                f"got address {address:#x}"
            )
