"""The NumPy backend: every operation on the CPU, with nothing but NumPy.

Feature maps lie in memory with the batch innermost, as (C, H, W, N), and are handed out as
(N, C, H, W) views: a shifted window is then made of long contiguous runs, whatever the kernel's
size. Any strides are read rightly; arrays that this backend made are read without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.backends.base import Backend, JoinedConvolution
from gpucnn.backends.checks import Array, ParameterGrads, Reduction, host_array
from gpucnn.backends.numpy_fused import ConvReLUMaxPool
from gpucnn.backends.numpy_windows import (
    as_map,
    batch_first,
    batch_last,
    correlate,
    correlate_input_grad,
    correlate_weight_grad,
    divisors,
    group_rows,
    masked,
    matrices,
    max_with_index,
    rectify,
    reduce_taps,
    spread,
)
from gpucnn.backends.window import Window
from gpucnn.errors import DataError, SettingError, ShapeError


class NumpyBackend(Backend):
    """The contract in NumPy."""

    name = "numpy"
    waits = False
    side_by_side = True  # NumPy lets other threads go on while it computes
    array_type = np.ndarray

    def __init__(self, dtype: DTypeLike = "float32", precision: str = "ieee") -> None:
        if precision == "tf32":
            raise SettingError(
                "precision tf32 is for the backends cuda and emulated, not for numpy"
            )
        super().__init__(dtype, precision)
        _keep_freed_memory()

    # --- arrays ---------------------------------------------------------------------------------

    def asarray(self, data: Any, dtype: DTypeLike | None = None) -> Array:
        return host_array(data, dtype, self.dtype)

    def to_numpy(self, array: Array) -> Array:
        return np.array(array, order="C", copy=True)

    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        return np.empty(tuple(shape), self.dtype if dtype is None else dtype)

    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        return np.zeros(tuple(shape), self.dtype if dtype is None else dtype)

    def synchronize(self) -> None:
        pass

    # --- convolution: matrix products with columns that hold a window each ----------------------

    def _conv2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None,
        window: Window,
        groups: int,
        relu: bool,
    ) -> Array:
        output = correlate(batch_last(input), matrices(weight, groups), window)
        maps = as_map(output, input.shape[0], bias)
        return rectify(maps, maps) if relu else maps

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
        rows = group_rows(grad, groups)
        out[0][...] = correlate_weight_grad(batch_last(input), rows, window)
        _sum_channels(rows, out[1])
        if not input_grad:
            return None
        matrix = matrices(weight, groups)
        return batch_first(correlate_input_grad(rows, matrix, window, input.shape[0]))

    # A transposed convolution is the input gradient of a convolution, and the other way round.

    def _conv_transpose2d(
        self, input: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array:
        rows, matrix = group_rows(input, groups), matrices(weight, groups)
        output = correlate_input_grad(rows, matrix, window, input.shape[0])
        if bias is not None:
            output += bias[:, None, None, None]
        return batch_first(output)

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
        grads = batch_last(grad)
        rows = group_rows(input, groups)
        out[0][...] = correlate_weight_grad(grads, rows, window)
        _sum_channels(grads, out[1])
        if not input_grad:
            return None
        matrix = matrices(weight, groups)
        return as_map(correlate(grads, matrix, window), input.shape[0])

    def _join_conv_relu_max_pool(
        self,
        conv: Window,
        pool: Window,
        channels: int,
        outputs: int,
        groups: int,
        samples: int,
        training: bool,
    ) -> JoinedConvolution | None:
        fits = conv.stride == conv.dilation == (1, 1) and groups == 1
        halves = pool.output == (conv.output[0] // 2, conv.output[1] // 2)
        plain = pool.kernel == pool.stride == (2, 2) and pool.padding == ((0, 0), (0, 0))
        if fits and plain and halves and pool.dilation == (1, 1):
            return ConvReLUMaxPool(self, conv, channels, outputs, samples, training)
        return None

    # --- pooling: a loop over the few taps of the window, each a pass over whole maps -----------

    def _max_pool2d(
        self, input: Array, window: Window, return_indices: bool
    ) -> tuple[Array, Array | None]:
        x = batch_last(input)
        if not return_indices:
            return batch_first(reduce_taps(np.maximum, x, window, -np.inf)), None
        best, indices = max_with_index(x, window)
        return batch_first(best), batch_first(indices)

    def _max_pool2d_backward(
        self, grad: Array, indices: Array, relu_output: Array | None, window: Window
    ) -> Array:
        if relu_output is not None:
            grad = masked(grad, relu_output > 0)
        samples, channels = grad.shape[:2]
        plane = np.zeros((channels, *window.plane, samples), self.dtype)
        # Where each gradient goes in flat memory: windows may share an element, so they add up.
        first = np.arange(0, plane.size, plane[0].size)[:, None, None, None] + np.arange(samples)
        places = batch_last(indices) * samples
        places += first
        np.add.at(plane.reshape(-1), places.reshape(-1), batch_last(grad).reshape(-1))
        return batch_first(plane)

    def _avg_pool2d(
        self, input: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        total = reduce_taps(np.add, batch_last(input), window, 0.0)
        total /= divisors(window, count_include_pad, divisor, self.dtype)
        return batch_first(total)

    def _avg_pool2d_backward(
        self, grad: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        share = batch_last(grad) / divisors(window, count_include_pad, divisor, self.dtype)
        return batch_first(spread(share, window))

    def _lp_pool2d(self, input: Array, norm: int, window: Window) -> Array:
        x = batch_last(input)
        total = reduce_taps(np.add, x if norm == 1 else x * x, window, 0.0)
        total *= window.taps / divisors(window, True, None, self.dtype)
        return batch_first(total if norm == 1 else np.sqrt(total))

    def _lp_pool2d_backward(
        self, grad: Array, input: Array, output: Array, norm: int, window: Window
    ) -> Array:
        share = batch_last(grad) * (window.taps / divisors(window, True, None, self.dtype))
        if norm == 1:
            return batch_first(spread(share, window))
        lengths = batch_last(output)
        share = np.divide(share, lengths, out=np.zeros_like(share), where=lengths != 0)
        return batch_first(spread(share, window) * batch_last(input))

    # --- activations ----------------------------------------------------------------------------

    def _activation(self, op: str, input: Array) -> Array:
        if op == "relu":
            return rectify(input)
        return np.tanh(input) if op == "tanh" else _sigmoid(input)

    def _activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        if op == "relu":
            return masked(grad, output > 0)
        return grad * (1 - output * output if op == "tanh" else output * (1 - output))

    def _softmax(self, input: Array, dim: int) -> Array:
        exponentials = input - np.maximum.reduce(input, dim, keepdims=True)
        np.exp(exponentials, out=exponentials)
        exponentials /= np.add.reduce(exponentials, dim, keepdims=True)
        return exponentials

    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array:
        return output * (grad - (grad * output).sum(dim, keepdims=True))

    def _dropout(self, input: Array, mask: Array) -> Array:
        return input * mask

    # --- linear ---------------------------------------------------------------------------------

    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
        output = weight @ batch_last(input)
        if bias is not None:
            output += bias[:, None]
        return rectify(output, output).T if relu else output.T

    def _linear_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        grads = batch_last(grad)
        np.matmul(grads, batch_last(input).T, out=out[0])
        _sum_channels(grads, out[1])
        return (weight.T @ grads).T if input_grad else None

    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        return batch_first(batch_last(input).reshape(*shape[1:], shape[0]))

    # --- losses ---------------------------------------------------------------------------------

    def _check_labels(self, op: str, target: Array, classes: int) -> None:
        self._check_within(op, "target", target, classes, "classes")

    def _check_within(self, op: str, name: str, indices: Array, count: int, what: str) -> None:
        unsigned = indices.view(np.uint64)  # where what is negative is greater than any index
        if np.maximum.reduce(unsigned) >= count:
            where = int((unsigned >= count).argmax())
            raise DataError(
                f"{op}: {name}[{where}] is {indices[where]}, outside the {count} {what}"
            )

    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        scores = batch_last(input)
        scores = scores - np.maximum.reduce(scores, 0)
        picked = scores[target, np.arange(target.size)]
        losses = np.log(np.add.reduce(np.exp(scores, out=scores), 0))
        losses -= picked
        return self._reduce(losses, reduction)

    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        grad = self._softmax(input, 1)
        grad[np.arange(target.size), target] -= 1
        grad *= scale
        return grad

    def _pointwise_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        if op == "binary_cross_entropy":
            with np.errstate(divide="ignore"):
                hit = np.maximum(np.log(input), -100) * target
                miss = np.maximum(np.log1p(-input), -100) * (1 - target)
            return self._reduce(-(hit + miss), reduction)
        if op == "binary_cross_entropy_with_logits":
            tail = np.log1p(np.exp(-np.abs(input)))
            return self._reduce(np.maximum(input, 0) - input * target + tail, reduction)
        factor = 1.0 if op == "mse_loss" else 0.5
        return self._reduce(factor * (input - target) ** 2, reduction)

    def _pointwise_loss_backward(self, op: str, input: Array, target: Array, scale: float) -> Array:
        if op == "binary_cross_entropy":
            return scale * (input - target) / np.maximum(input * (1 - input), 1e-12)
        if op == "binary_cross_entropy_with_logits":
            return scale * (_sigmoid(input) - target)
        return (2.0 * scale if op == "mse_loss" else scale) * (input - target)

    def _reduce(self, values: Array, reduction: Reduction) -> Array:
        if reduction == "none":
            return values
        # The ufunc itself: the methods ``mean`` and ``sum`` take longer than a batch's losses.
        total = np.add.reduce(values, axis=None)
        return np.asarray(total / values.size if reduction == "mean" else total, self.dtype)

    # --- training -------------------------------------------------------------------------------

    def _one_hot(self, target: Array, num_classes: int) -> Array:
        self._check_labels("one_hot", target, num_classes)
        return np.equal(np.arange(num_classes)[:, None], target).astype(self.dtype).T

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
        batch = int(counter[0])
        picked = order[max(batch, 0) * batch_size :][: indices.size]
        if not 0 <= batch < len(table) or picked.size < indices.size:
            raise ShapeError(
                f"begin_step: counter[0] is {batch}: {indices.size} images from "
                f"{batch * batch_size} on are not within an order of {order.size}, or the table of "
                f"{len(table)} has no such row"
            )
        rates[...] = table[batch]
        indices[...] = picked
        self._check_within("begin_step", "indices", indices, labels.size, "labels")
        np.take(labels, indices, out=target)
        counter += 1

    def _gather_images(self, images: Array, indices: Array, scale: Array, shift: Array) -> Array:
        self._check_within("gather_images", "indices", indices, len(images), "images")
        # Bytes are turned batch innermost before they become floats: a quarter of the traffic.
        picked = batch_last(images[indices])
        batch = np.multiply(picked, scale[:, None, None, None], dtype=self.dtype)
        batch += shift[:, None, None, None]
        return batch_first(batch)

    def _gather_labels(self, labels: Array, indices: Array) -> Array:
        self._check_within("gather_labels", "indices", indices, len(labels), "labels")
        return labels[indices]

    def _add_metrics(self, totals: Array, loss: Array, scores: Array, target: Array) -> None:
        chosen = scores.argmax(1)  # the first NaN, where there is one
        right = (chosen == target) & ~np.isnan(scores[np.arange(target.size), chosen])
        totals += float(loss) * target.size, np.count_nonzero(right)

    def _all_finite(self, array: Array) -> bool:
        return bool(np.isfinite(array).all())

    def _check_finite(self, flag: Array, loss: Array, grads: Array, step: Array) -> None:
        if not flag[0] and not (np.isfinite(loss) and np.isfinite(grads).all()):
            flag[0] = step[0]

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
        if flag is not None and flag[0]:
            return
        if weight_decay:
            grad = grad + weight_decay * param
        velocity *= momentum
        velocity += grad
        _flush(velocity)
        param -= rates[0] * (grad + momentum * velocity if nesterov else velocity)

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
        if flag is not None and flag[0]:
            return
        step_size, correction, shrink = map(float, rates)
        if weight_decay:
            grad = grad + weight_decay * param
        if shrink != 1:
            param *= shrink
        first, second = betas
        work = grad - exp_avg  # one array for whatever is worked out on the way
        work *= 1 - first
        exp_avg += work
        _flush(exp_avg)
        np.multiply(grad, grad, out=work)
        work *= 1 - second
        exp_avg_sq *= second
        exp_avg_sq += work
        # step_size m over (sqrt(v) / correction + eps), both multiplied by ``correction``.
        np.sqrt(exp_avg_sq, out=work)
        work += eps * correction
        np.divide(exp_avg, work, out=work)
        work *= step_size * correction
        param -= work


def _keep_freed_memory() -> None:
    """Have up to 64 MiB of freed memory serve the next arrays, and not go back to the system.

    The GNU C library learns this from the greatest block that it has seen freed, of 32 MiB at
    most: here one that is never touched. Without it the pages of some arrays, depending on what
    came before, are made anew at every call, which can take twice as long as the operation.
    """
    with suppress(MemoryError):
        np.empty((32 << 20) - (1 << 16), np.uint8)


def _sum_channels(rows: Array, out: Array | None) -> None:
    """Write the sum of each of ``out``'s channels, the leading axes of ``rows``, to ``out``."""
    if out is not None:
        np.sum(rows.reshape(out.size, -1), axis=1, out=out)


def _flush(state: Array) -> None:
    """Keep a state whose gradient stays zero from decaying to what is too small to be normal.

    Processors are slow with such numbers. What is small against 1e-25 is rounded to a multiple of
    its precision, far below anything that could change a weight.
    """
    tiny = state.dtype.type(1e-25 if state.dtype == np.float32 else 1e-280)
    state += tiny
    state -= tiny


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)): where the exponential overflows to infinity, 0 is the right result."""
    result = np.negative(x, out=np.empty_like(x))
    with np.errstate(over="ignore"):
        np.exp(result, out=result)
    result += 1
    return np.divide(1, result, out=result)
