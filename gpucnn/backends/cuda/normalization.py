"""Normalisation over the batch, over groups of channels, and over the last axes."""

from __future__ import annotations

import math
from functools import lru_cache

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.group_normalization import Groups, Normalized
from gpucnn.backends.contract.normalization import Folded, Normalization, Running
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import ENOUGH_BLOCKS, INT_MAX
from gpucnn.backends.cuda.sources import pack
from gpucnn.backends.cuda.structs import StructValue
from gpucnn.errors import ShapeError

FEW = 16
"""Elements of a plane below which a block owns 32 channels (``*_columns``)."""

PART = 4096
"""Elements that a block adds up at least, if a channel is divided."""

SHARE = 2048
"""Elements that a block normalises."""

SHORT = 512
"""Elements of a row below which 32 threads own it (``*_short``)."""


class CudaNormalization(CudaArrays, Normalization):
    """Batch, group and layer normalisation."""

    def _batch_norm(
        self,
        input: Array,
        running: Running,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        relu: bool,
    ) -> Normalized:
        sizes = _Channels(tuple(input.shape))
        channels, parts = sizes.channels, sizes.parts
        mean, invstd = self.empty((channels,)), self.empty((channels,))
        partials = None if parts == 1 else self.empty((parts, channels, 3))
        arrays = (mean, invstd, running.mean, running.var, running.batches)
        momentum = 0.0 if running.momentum is None else running.momentum
        options = (eps, momentum, int(running.momentum is None))
        self._kernels.launch(
            sizes.kernel("batch_norm_statistics"),
            (sizes.blocks, parts),
            input, partials, *arrays, sizes.struct(), *options,
        )  # fmt: skip
        if partials is not None:
            given = (input, partials, *arrays, sizes.struct(), *options, parts)
            self._kernels.launch_each("batch_norm_finish", channels, *given)
        output = self.empty(input.shape)
        self._kernels.launch(
            sizes.kernel("batch_norm_forward"),
            (sizes.blocks, sizes.shares),
            input, mean, invstd, weight, bias, output, running.batches,
            sizes.struct(), eps, 0, relu,
        )  # fmt: skip
        return Normalized(output, mean, invstd)

    def _batch_norm_inference(
        self,
        input: Array,
        mean: Array,
        var: Array,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        relu: bool,
    ) -> Array:
        sizes, output = _Channels(tuple(input.shape)), self.empty(input.shape)
        self._kernels.launch(
            sizes.kernel("batch_norm_forward"),
            (sizes.blocks, sizes.shares),
            input, mean, var, weight, bias, output, None, sizes.struct(), eps, 1, relu,
        )  # fmt: skip
        return output

    def _fold_batch_norm(
        self,
        input_weight: Array,
        mean: Array,
        var: Array,
        input_bias: Array | None,
        weight: Array | None,
        bias: Array | None,
        eps: float,
    ) -> Folded:
        result = Folded(self.empty(input_weight.shape), self.empty(mean.shape))
        size = input_weight.size // mean.size
        given = (input_weight, mean, var, input_bias, weight, bias, *result)
        self._kernels.launch_each(
            "fold_batch_norm_forward", input_weight.size, *given, input_weight.size, size, eps
        )
        return result

    def _batch_norm_backward(
        self,
        grad: Array,
        input: Array,
        mean: Array,
        invstd: Array,
        weight: Array | None,
        relu_output: Array | None,
        input_grad: bool,
        out: tuple[Array, Array],
    ) -> Array | None:
        sizes = _Channels(tuple(input.shape))
        self._sum_products(
            "batch_norm_backward_weight", sizes, out, grad, input, mean, invstd, relu_output
        )
        if not input_grad:
            return None
        result = self.empty(input.shape)
        self._kernels.launch(
            sizes.kernel("batch_norm_backward_input"),
            (sizes.blocks, sizes.shares),
            grad, input, mean, invstd, weight, relu_output, *out, result, sizes.struct(),
        )  # fmt: skip
        return result

    def _sum_products(
        self,
        kernel: str,
        sizes: _Channels,
        out: tuple[Array, Array],
        *arrays: Array | None,
        groups: tuple[int, ...] = (),
    ) -> None:
        """Write the gradients of weight and bias to ``out``: sums over each channel."""
        parts, channels = sizes.parts, sizes.channels
        partials = None if parts == 1 else self.empty((parts, channels, 2))
        self._kernels.launch(
            sizes.kernel(kernel),
            (sizes.blocks, parts),
            *arrays, partials, *out, sizes.struct(), *groups,
        )  # fmt: skip
        if partials is not None:
            pitch, columns = 2, 1
            self._kernels.launch_each(
                "sum_splits", channels * pitch, partials, *out, parts, channels, pitch, columns
            )

    def _group_norm(
        self, input: Array, groups: Groups, weight: Array | None, bias: Array | None, eps: float
    ) -> Normalized:
        count = groups.samples * groups.groups
        mean, invstd, output = self.empty((count,)), self.empty((count,)), self.empty(input.shape)
        self._launch_rows(
            "group_norm_forward",
            groups, input, weight, bias, output, mean, invstd, count, _rows_struct(groups), eps,
        )  # fmt: skip
        return Normalized(output, mean, invstd)

    def _group_norm_backward(
        self,
        grad: Array,
        input: Array,
        groups: Groups,
        mean: Array,
        invstd: Array,
        weight: Array | None,
        input_grad: bool,
        out: tuple[Array, Array],
    ) -> Array | None:
        samples, number, channels, inner = groups
        sizes = _Channels((samples, number * channels, inner))
        kernel, arrays = "group_norm_backward_weight", (grad, input, mean, invstd)
        self._sum_products(kernel, sizes, out, *arrays, groups=(number,))
        if not input_grad:
            return None
        result = self.empty(input.shape)
        self._launch_rows(
            "group_norm_backward_input",
            groups, *arrays, weight, result, samples * number, _rows_struct(groups),
        )  # fmt: skip
        return result

    def _launch_rows(self, kernel: str, groups: Groups, *arguments: Array) -> None:
        """Launch a kernel in which a block owns a row, or eight short ones."""
        rows = groups.samples * groups.groups
        if groups.size < SHORT:
            self._kernels.launch(f"{kernel}_short", -(-rows // 8), *arguments)
        else:
            self._kernels.launch(kernel, rows, *arguments)


class _Channels:
    """How the channels of an array (N, C, ...) are divided among blocks, by the shape alone."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.batch, self.channels, self.inner = shape[0], shape[1], math.prod(shape[2:])
        self.columns = self.inner < FEW
        self.blocks = -(-self.channels // 32) if self.columns else self.channels
        terms = self.batch * self.inner * (32 if self.columns else 1)  # of a block
        most = max(1, 4 * ENOUGH_BLOCKS // self.blocks)
        self.parts = max(1, min(most, terms // PART))
        self.shares = min(-(-terms // SHARE), INT_MAX >> 15)

    def kernel(self, name: str) -> str:
        """Return the name of the variant for these sizes."""
        return f"{name}_columns" if self.columns else name

    def struct(self) -> StructValue:
        """Return the struct Maps of kernels/normalization.cuh."""
        return _maps_struct(self.batch, self.channels, self.inner)


@lru_cache(maxsize=512)
def _maps_struct(batch: int, channels: int, inner: int) -> StructValue:
    _check_sizes(batch, channels, inner)
    return pack("Maps", batch=batch, channels=channels, inner=inner)


@lru_cache(maxsize=512)
def _rows_struct(groups: Groups) -> StructValue:
    _check_sizes(groups.size)
    return pack("Rows", groups=groups.groups, channels=groups.channels, inner=groups.inner)


def _check_sizes(*sizes: int) -> None:
    if max(sizes) > INT_MAX:
        raise ShapeError(f"a normalisation over sizes {sizes} has one above {INT_MAX}")
