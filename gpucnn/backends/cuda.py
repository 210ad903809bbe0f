"""The CUDA backend: allocates outputs, sizes grids and launches the kernels of kernels/*.cu.

It is written against a namespace with CuPy's names (``ndarray``, ``empty``, ``zeros``,
``asarray``, ``asnumpy``, ``RawModule``, ``cuda``) and knows nothing of where it runs: given
``cupy``, that is a GPU; given ``gpucnn.emulator``, the CPU. Arrays are C-contiguous (N, C, H, W);
any other layout is refused rather than copied in silence. Computations launch this project's
kernels only, and wait for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends import tiles
from gpucnn.backends.base import Backend
from gpucnn.backends.checks import Array, ParameterGrads, Reduction, Shape, host_array
from gpucnn.backends.grids import (
    WIDE,
    average_sizes,
    conv_sizes,
    count_parts,
    count_phases,
    count_splits,
    window_sizes,
)
from gpucnn.backends.kernels import Kernels
from gpucnn.backends.lenet5 import LeNet5, LeNet5Sizes
from gpucnn.backends.repeated import Repeated, Repeating
from gpucnn.backends.tiles import Tile, Variant
from gpucnn.backends.window import Window
from gpucnn.errors import ArrayError, BackendError, SettingError


class CudaBackend(Backend):
    """The contract in CUDA C.

    ``precision`` is that of products' operands where that pays: "ieee", or "tf32" for the tensor
    cores of compute capability 8.0 and later. SettingError where the arrays or the GPU have none.
    ``variant`` says which kernels compute matrix products: "auto" chooses by shape (tiles.py);
    the others are for tests and timings, as are ``captures`` and ``fuses``, which may be set to
    False: no steps recorded, and no fused kernels for LeNet-5.
    """

    name = "cuda"
    captures = True
    work_at_once = 5e10

    def __init__(
        self,
        namespace: Any,
        dtype: DTypeLike = "float32",
        name: str = "cuda",
        notify: Callable[[], None] | None = None,
        precision: str = "ieee",
    ) -> None:
        super().__init__(dtype, precision)
        self._xp = namespace
        self._kernels = Kernels(namespace, self.dtype, notify=notify)
        self.tiles = tiles.load(self._kernels.signatures)
        self.variant: Variant = "auto"
        self.fuses = True
        self.repeating = Repeating()
        self.name = name
        if precision == "tf32" and name == "cuda":
            self._require_tensor_cores()
        self.array_type = namespace.ndarray

    def _require_tensor_cores(self) -> None:
        capability = str(self._xp.cuda.Device().compute_capability)
        if int(capability) < 80:
            raise SettingError(
                "precision tf32 needs a GPU of compute capability 8.0 or later, this one has "
                f"{capability[:-1]}.{capability[-1]}: use ieee"
            )

    # --- arrays ---------------------------------------------------------------------------------

    def asarray(self, data: Any, dtype: DTypeLike | None = None) -> Array:
        own = isinstance(data, self.array_type)
        if own and data.flags.c_contiguous and self._keeps_type(data, dtype):
            return data
        host = host_array(self._xp.asnumpy(data) if own else data, dtype, self.dtype)
        try:
            return self._xp.asarray(np.asarray(host, order="C"))
        except MemoryError as error:
            raise self._out_of_memory(host.nbytes) from error

    def _keeps_type(self, array: Array, dtype: DTypeLike | None) -> bool:
        """Return whether asarray keeps the type; no element is fetched, as that would wait."""
        nothing = host_array(np.empty(0, array.dtype), dtype, self.dtype)
        return bool(nothing.dtype == array.dtype)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.array(self._xp.asnumpy(array), order="C", copy=True)

    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        return self._allocate(self._xp.empty, tuple(shape), dtype)

    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        if self.repeating.workspace is None:
            return self._allocate(self._xp.zeros, tuple(shape), dtype)
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def _allocate(
        self, make: Callable[..., Array], shape: tuple[int, ...], dtype: DTypeLike | None
    ) -> Array:
        kind = self.dtype if dtype is None else np.dtype(dtype)

        def made(shape: tuple[int, ...]) -> Array:
            try:
                return make(shape, kind)
            except MemoryError as error:  # CuPy's OutOfMemoryError is one
                raise self._out_of_memory(math.prod(shape) * kind.itemsize) from error

        workspace = self.repeating.workspace
        return made(shape) if workspace is None else workspace.take(made, shape, kind)

    def _recorded(
        self, work: Callable[[], None], beside: Callable[[int], None] | None
    ) -> Callable[[int], None]:
        return Repeated(self, self._xp, work, beside if isinstance(beside, Repeated) else None)

    def _out_of_memory(self, asked: int) -> BackendError:
        runtime = getattr(self._xp.cuda, "runtime", None)
        free = f", {runtime.memGetInfo()[0] / 2**20:,.0f} MiB are free" if runtime else ""
        return BackendError(
            f"out of memory: {asked / 2**20:,.0f} MiB were asked for{free}; "
            "try half the batch size (--batch-size)"
        )

    def synchronize(self) -> None:
        self._xp.cuda.get_current_stream().synchronize()

    def _check(
        self,
        op: str,
        name: str,
        array: Array,
        shape: Shape | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super()._check(op, name, array, shape, dtype)
        if not array.flags.c_contiguous:
            raise ArrayError(f"{op}: {name} must be C-contiguous; use backend.asarray")

    # --- launching ------------------------------------------------------------------------------

    def _map(self, kernel: str, *inputs: Array) -> Array:
        """Return what an element-wise kernel makes of arrays of one shape."""
        output = self.empty(inputs[0].shape)
        self._kernels.launch_each(kernel, output.size, *inputs, output, output.size)
        return output

    def _sum(self, kernel: str, n: int, inputs: tuple[Array, ...], *sizes: Any) -> Array:
        """Return a sum of n terms as one number: by one block, or by parts that a second adds."""
        output = self.empty(())
        parts = count_parts(n)
        partials = output if parts == 1 else self.empty((parts,))
        self._kernels.launch(kernel, parts, *inputs, partials, *sizes)
        if parts > 1:
            self._kernels.launch("sum_partials", 1, partials, output, parts)
        return output

    def _pool(self, kernel: str, window: Window, inputs: tuple[Any, ...], *sizes: int) -> Array:
        """Return a pooling's output, or the gradient of its input."""
        plane = window.plane if kernel.endswith("backward") else window.output
        output = self.empty((*inputs[0].shape[:2], *plane))
        planes = output.shape[0] * output.shape[1]
        self._kernels.launch_each(
            kernel, output.size, *inputs, output, planes, *sizes, *window_sizes(window)
        )
        return output

    def _product(
        self,
        kernel: str,
        rows: int,
        columns: int,
        groups: int,
        *arguments: Any,
        phases: int = 1,
    ) -> None:
        """Launch a matrix product, one a group, in the variant that fits its result's shape.

        A product of several phases has ``columns`` columns in each, and each has its own tiles.
        """
        tile = self._tile(kernel, rows, columns * phases, groups)
        if tile is None:
            elements = rows * columns * phases * groups
            self._kernels.launch_each(f"{kernel}_naive", elements, *arguments)
        else:
            grid = (-(-columns // tile.columns) * phases, -(-rows // tile.rows), groups)
            self._kernels.launch(tile.kernel, grid, *arguments)

    def _tile(self, product: str, rows: int, columns: int, groups: int) -> Tile | None:
        return self.tiles.choose(product, rows, columns, groups, self.variant, self.precision)

    # --- convolution ----------------------------------------------------------------------------

    def _conv2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None,
        window: Window,
        groups: int,
        relu: bool,
    ) -> Array:
        batch, outputs = input.shape[0], weight.shape[0]
        output = self.empty((batch, outputs, *window.output))
        places = batch * math.prod(window.output)
        sizes = conv_sizes(batch, input.shape[1], outputs, groups, window)
        self._product(
            "conv2d_forward",
            outputs // groups, places, groups,
            input, weight, bias, output, *sizes, relu,
        )  # fmt: skip
        return output

    def _conv2d_input(
        self, grad: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array:
        """Return the gradient of a convolution's input, plus ``bias``: a convolution backwards."""
        batch, each = grad.shape[0], weight.shape[1]
        output = self.empty((batch, each * groups, *window.plane))
        phases, pixels = count_phases(window)
        sizes = conv_sizes(batch, each * groups, weight.shape[0], groups, window)
        self._product(
            "conv2d_backward_input",
            each, batch * pixels, groups,
            grad, weight, bias, output, *sizes, phases=phases,
        )  # fmt: skip
        return output

    def _conv2d_weight(
        self, grad: Array, input: Array, out: ParameterGrads, window: Window, groups: int
    ) -> None:
        """Write the gradients of a convolution's weight, and of its bias if any, to ``out``."""
        weight, bias = out
        batch, channels = input.shape[:2]
        outputs, biases = weight.shape[0], 0 if bias is None else 1
        rows, columns = outputs // groups, math.prod(weight.shape[1:]) + biases
        sizes = conv_sizes(batch, channels, outputs, groups, window)
        kernel, elements = "conv2d_backward_weight", outputs * columns
        tile = self._tile(kernel, rows, columns, groups)
        if self.variant == "naive":
            self._kernels.launch_each(f"{kernel}_naive", elements, grad, input, *out, *sizes)
        elif tile is None:
            self._kernels.launch(f"{kernel}_block", elements, grad, input, *out, *sizes)
        else:
            x, y = -(-columns // tile.columns), -(-rows // tile.rows)
            splits = count_splits(batch * math.prod(window.output), x * y * groups)
            partials = weight if splits == 1 else self.empty((splits, elements))
            self._kernels.launch(
                tile.kernel,
                (x, y, groups * splits), grad, input, partials, bias, splits, *sizes,
            )  # fmt: skip
            if splits > 1:
                self._kernels.launch_each(
                    "sum_splits", elements, partials, *out, splits, elements, weight.size
                )

    def _sum_channels(self, grad: Array, out: Array | None) -> None:
        """Write the sum of each of ``grad``'s channels, a bias's gradient, to ``out``."""
        if out is not None:
            batch, channels, *plane = grad.shape
            self._kernels.launch(
                "sum_channels", channels, grad, out, batch, channels, math.prod(plane)
            )

    def _conv2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        self._conv2d_weight(grad, input, out, window, groups)
        return self._conv2d_input(grad, weight, None, window, groups) if input_grad else None

    # A transposed convolution is the input gradient of a convolution, and the other way round.

    def _conv_transpose2d(
        self, input: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array:
        return self._conv2d_input(input, weight, bias, window, groups)

    def _conv_transpose2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        self._conv2d_weight(input, grad, (out[0], None), window, groups)
        self._sum_channels(grad, out[1])
        return self._conv2d(grad, weight, None, window, groups, False) if input_grad else None

    def _join_lenet5(self, sizes: LeNet5Sizes, batch: int) -> LeNet5 | None:
        return LeNet5(self, sizes, batch) if self.fuses and not sizes.fault() else None

    # --- pooling --------------------------------------------------------------------------------

    def _max_pool2d(
        self, input: Array, window: Window, return_indices: bool
    ) -> tuple[Array, Array | None]:
        shape = (*input.shape[:2], *window.output)
        output = self.empty(shape)
        indices = self.empty(shape, np.int64) if return_indices else None
        self._kernels.launch_each(
            "max_pool2d_forward",
            output.size, input, output, indices, shape[0] * shape[1], *window_sizes(window),
        )  # fmt: skip
        return output, indices

    def _max_pool2d_backward(
        self, grad: Array, indices: Array, relu_output: Array | None, window: Window
    ) -> Array:
        return self._pool("max_pool2d_backward", window, (grad, indices, relu_output))

    def _avg_pool2d(
        self, input: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        sizes = average_sizes(window, count_include_pad, divisor)
        return self._pool("avg_pool2d_forward", window, (input,), *sizes)

    def _avg_pool2d_backward(
        self, grad: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        sizes = average_sizes(window, count_include_pad, divisor)
        return self._pool("avg_pool2d_backward", window, (grad,), *sizes)

    def _lp_pool2d(self, input: Array, norm: int, window: Window) -> Array:
        return self._pool("lp_pool2d_forward", window, (input,), norm)

    def _lp_pool2d_backward(
        self, grad: Array, input: Array, output: Array, norm: int, window: Window
    ) -> Array:
        return self._pool("lp_pool2d_backward", window, (grad, input, output), norm)

    # --- activations ----------------------------------------------------------------------------

    def _activation(self, op: str, input: Array) -> Array:
        return self._map(f"{op}_forward", input)

    def _activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        return self._map(f"{op}_backward", grad, output)

    def _softmax(self, input: Array, dim: int) -> Array:
        return self._lines("softmax_forward", dim, input)

    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array:
        return self._lines("softmax_backward", dim, grad, output)

    def _lines(self, kernel: str, dim: int, *inputs: Array) -> Array:
        """Return what a kernel makes of arrays line by line along axis ``dim``."""
        shape = inputs[0].shape
        size, inner = shape[dim], math.prod(shape[dim + 1 :])
        output = self.empty(shape)
        lines = output.size // size
        if size < WIDE:
            self._kernels.launch_each(kernel, lines, *inputs, output, lines, size, inner)
        else:
            self._kernels.launch(f"{kernel}_wide", lines, *inputs, output, size, inner)
        return output

    def _dropout(self, input: Array, mask: Array) -> Array:
        return self._map("dropout_forward", input, mask)

    # --- linear ---------------------------------------------------------------------------------

    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
        (batch, features), outputs = input.shape, weight.shape[0]
        output = self.empty((batch, outputs))
        self._product(
            "linear_forward",
            batch, outputs, 1,
            input, weight, bias, output, batch, features, outputs, relu,
        )  # fmt: skip
        return output

    def _linear_backward(
        self, grad: Array, input: Array, weight: Array, input_grad: bool, out: ParameterGrads
    ) -> Array | None:
        (batch, features), outputs = input.shape, weight.shape[0]
        sizes = (batch, features, outputs)
        columns = features if out[1] is None else features + 1
        self._product(
            "linear_backward_weight",
            outputs, columns, 1,
            grad, input, *out, *sizes,
        )  # fmt: skip
        if not input_grad:
            return None
        result = self.empty(input.shape)
        self._product(
            "linear_backward_input",
            batch, features, 1,
            grad, weight, result, *sizes,
        )  # fmt: skip
        return result

    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        return input.reshape(shape)

    # --- losses ---------------------------------------------------------------------------------

    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        rows, classes = input.shape
        scale = 1 / rows if reduction == "mean" else 1.0
        arrays = (input, target)
        if classes < WIDE and reduction != "none":
            return self._sum("cross_entropy_forward_sum", rows, arrays, rows, classes, scale)
        losses = self.empty((rows,))
        if classes < WIDE:
            self._kernels.launch_each("cross_entropy_forward", rows, *arrays, losses, rows, classes)
            return losses
        self._kernels.launch("cross_entropy_forward_wide", rows, *arrays, losses, classes, scale)
        if reduction == "none":
            return losses
        output = self.empty(())
        self._kernels.launch("sum_partials", 1, losses, output, rows)
        return output

    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        rows, classes = input.shape
        output = self.empty(input.shape)
        arrays = (input, target, output)
        if classes < WIDE:
            self._kernels.launch_each("cross_entropy_backward", rows, *arrays, rows, classes, scale)
        else:
            self._kernels.launch("cross_entropy_backward_wide", rows, *arrays, classes, scale)
        return output

    def _pointwise_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        if reduction == "none":
            return self._map(f"{op}_forward", input, target)
        scale = 1 / input.size if reduction == "mean" else 1.0
        return self._sum(f"{op}_forward_sum", input.size, (input, target), input.size, scale)

    def _pointwise_loss_backward(self, op: str, input: Array, target: Array, scale: float) -> Array:
        output = self.empty(input.shape)
        self._kernels.launch_each(
            f"{op}_backward", output.size, input, target, output, output.size, scale
        )
        return output

    # --- training -------------------------------------------------------------------------------

    def _one_hot(self, target: Array, num_classes: int) -> Array:
        output = self.empty((target.size, num_classes))
        self._kernels.launch_each(
            "one_hot_forward", output.size, target, output, target.size, num_classes
        )
        return output

    def _begin_step(
        self,
        counter: Array,
        order: Array,
        labels: Array,
        table: Array,
        indices: Array,
        target: Array,
        rates: Array,
        batch_size: int,
    ) -> None:
        self._kernels.launch(
            "begin_step",
            1, counter, order, labels, table, indices, target, rates,
            order.size, labels.size, *table.shape, indices.size, batch_size,
        )  # fmt: skip

    def _gather_images(self, images: Array, indices: Array, scale: Array, shift: Array) -> Array:
        items, channels, height, width = images.shape
        output = self.empty((indices.size, channels, height, width))
        self._kernels.launch_each(
            "gather_images",
            output.size, images, indices, scale, shift, output,
            items, indices.size, channels, height * width,
        )  # fmt: skip
        return output

    def _gather_labels(self, labels: Array, indices: Array) -> Array:
        output = self.empty(indices.shape, np.int64)
        self._kernels.launch_each(
            "gather_labels", output.size, labels, indices, output, labels.size, output.size
        )
        return output

    def _add_metrics(self, totals: Array, loss: Array, scores: Array, target: Array) -> None:
        self._kernels.launch("add_metrics", 1, totals, loss, scores, target, *scores.shape)

    def _all_finite(self, array: Array) -> bool:
        parts = count_parts(array.size)
        flags = self.empty((parts,), np.int32)
        self._kernels.launch("finite_flags", parts, array, flags, array.size)
        return bool(self._xp.asnumpy(flags).all())

    def _check_finite(self, flag: Array, loss: Array, grads: Array, step: Array) -> None:
        parts = count_parts(grads.size)
        self._kernels.launch("check_finite", parts, flag, loss, grads, step, grads.size)

    def _sgd_step(
        self,
        param: Array,
        grad: Array,
        velocity: Array,
        rates: Array,
        momentum: float,
        weight_decay: float,
        nesterov: bool,
        flag: Array | None,
    ) -> None:
        self._kernels.launch_each(
            "sgd_step",
            param.size, param, grad, velocity, rates, flag, param.size,
            momentum, weight_decay, nesterov,
        )  # fmt: skip

    def _adam_step(
        self,
        param: Array,
        grad: Array,
        exp_avg: Array,
        exp_avg_sq: Array,
        rates: Array,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        flag: Array | None,
    ) -> None:
        first, second = betas
        self._kernels.launch_each(
            "adam_step",
            param.size, param, grad, exp_avg, exp_avg_sq, rates, flag, param.size,
            first, 1 - first, second, 1 - second, eps, weight_decay,
        )  # fmt: skip
