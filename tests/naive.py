"""Every operation of the contract as plain loops over numbers, in float64.

These are the references that backends are compared with, so they share nothing with gpucnn: each
is written from the operation's definition, for small arrays, one element at a time. A function has
the name and the arguments of the contract's method. Arguments may have any dtype; results are
float64, or int64 for indices and labels. Operations that work in place change their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Index = tuple[int, ...]
IntOrPair = int | tuple[int, int]


def pair(value: IntOrPair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


# --- convolution ------------------------------------------------------------------------------


def conv_sides(
    padding: IntOrPair | str, kernel: tuple[int, int], dilation: tuple[int, int]
) -> list[tuple[int, int]]:
    """The pixels added (above, below) and (left, right); "same" puts an odd one below or right."""
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding == "same":
        totals = [step * (taps - 1) for taps, step in zip(kernel, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    assert not isinstance(padding, str)
    return [(side, side) for side in pair(padding)]


def conv_connections(
    input_shape: Index,
    weight_shape: Index,
    stride: IntOrPair,
    padding: IntOrPair | str,
    dilation: IntOrPair,
    groups: int,
) -> tuple[Index, Iterator[tuple[Index, Index, Index]]]:
    """The output's shape, and (output, input, weight) elements: output += input * weight."""
    samples, channels, height, width = input_shape
    outs, _, kernel_h, kernel_w = weight_shape
    (step_y, step_x), (gap_y, gap_x) = pair(stride), pair(dilation)
    (above, below), (left, right) = conv_sides(padding, (kernel_h, kernel_w), (gap_y, gap_x))
    out_h = (above + height + below - gap_y * (kernel_h - 1) - 1) // step_y + 1
    out_w = (left + width + right - gap_x * (kernel_w - 1) - 1) // step_x + 1
    output_shape = (samples, outs, out_h, out_w)

    def connections() -> Iterator[tuple[Index, Index, Index]]:
        for n, o, y, x in np.ndindex(*output_shape):
            first_channel = o // (outs // groups) * (channels // groups)
            for c, i, j in np.ndindex(*weight_shape[1:]):
                row = y * step_y + i * gap_y - above
                column = x * step_x + j * gap_x - left
                if 0 <= row < height and 0 <= column < width:
                    yield (n, o, y, x), (n, first_channel + c, row, column), (o, c, i, j)

    return output_shape, connections()


def finished(output: Array, bias: Array | None, through_relu: bool) -> Array:
    output = output if bias is None else add_bias(output, bias)
    return relu(output) if through_relu else output


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    relu: bool = False,
) -> Array:
    shape, connections = conv_connections(
        input.shape, weight.shape, stride, padding, dilation, groups
    )
    output = np.zeros(shape)
    for out, source, tap in connections:
        output[out] += float(input[source]) * float(weight[tap])
    return finished(output, bias, relu)


def conv2d_backward(
    grad: Array,
    input: Array,
    weight: Array,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    _, connections = conv_connections(input.shape, weight.shape, stride, padding, dilation, groups)
    input_grad, weight_grad = np.zeros(input.shape), np.zeros(weight.shape)
    for out, source, tap in connections:
        input_grad[source] += float(grad[out]) * float(weight[tap])
        weight_grad[tap] += float(grad[out]) * float(input[source])
    return input_grad, weight_grad, sum_per_channel(grad)


def stamps(
    input_shape: Index,
    weight_shape: Index,
    stride: IntOrPair,
    padding: IntOrPair,
    output_padding: IntOrPair,
    groups: int,
    dilation: IntOrPair,
) -> tuple[Index, Iterator[tuple[Index, Index, Index]]]:
    """The output's shape, and (output, input, weight) elements of a transposed convolution.

    Each input pixel stamps the kernel, times its value, onto a canvas; neighbours stamp ``stride``
    pixels apart, and ``padding`` pixels are cut off the canvas all round.
    """
    samples, channels, height, width = input_shape
    _, outs_per_group, kernel_h, kernel_w = weight_shape
    (step_y, step_x), (gap_y, gap_x) = pair(stride), pair(dilation)
    (cut_y, cut_x), (extra_y, extra_x) = pair(padding), pair(output_padding)
    canvas_h = (height - 1) * step_y + (kernel_h - 1) * gap_y + 1 + extra_y
    canvas_w = (width - 1) * step_x + (kernel_w - 1) * gap_x + 1 + extra_x
    out_h, out_w = canvas_h - 2 * cut_y, canvas_w - 2 * cut_x

    def connections() -> Iterator[tuple[Index, Index, Index]]:
        for n, c, row, column in np.ndindex(*input_shape):
            first_out = c // (channels // groups) * outs_per_group
            for o, i, j in np.ndindex(*weight_shape[1:]):
                y, x = row * step_y + i * gap_y - cut_y, column * step_x + j * gap_x - cut_x
                if 0 <= y < out_h and 0 <= x < out_w:
                    yield (n, first_out + o, y, x), (n, c, row, column), (c, o, i, j)

    return (samples, outs_per_group * groups, out_h, out_w), connections()


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Array:
    shape, connections = stamps(
        input.shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    output = np.zeros(shape)
    for out, source, tap in connections:
        output[out] += float(input[source]) * float(weight[tap])
    return output if bias is None else add_bias(output, bias)


def conv_transpose2d_backward(
    grad: Array,
    input: Array,
    weight: Array,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> tuple[Array, Array, Array]:
    _, connections = stamps(
        input.shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    input_grad, weight_grad = np.zeros(input.shape), np.zeros(weight.shape)
    for out, source, tap in connections:
        input_grad[source] += float(grad[out]) * float(weight[tap])
        weight_grad[tap] += float(grad[out]) * float(input[source])
    return input_grad, weight_grad, sum_per_channel(grad)


def add_bias(output: Array, bias: Array) -> Array:
    for index in np.ndindex(*output.shape):
        output[index] += float(bias[index[1]])
    return output


def sum_per_channel(grad: Array) -> Array:
    sums = np.zeros(grad.shape[1])
    for index in np.ndindex(*grad.shape):
        sums[index[1]] += float(grad[index])
    return sums


# --- pooling ----------------------------------------------------------------------------------


def stops(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> range:
    """Where along one axis each window begins, found by sliding it.

    With ``ceil`` one more window follows a last one that ended before the padded edge, as long as
    it begins before the far end of the input.
    """
    span, start = dilation * (kernel - 1) + 1, -padding
    while start + span <= size + padding:
        start += stride
    reached = start - stride + span
    if ceil and reached < size + padding and start < size:
        start += stride
    return range(-padding, start, stride)


def pool_windows(
    input_shape: Index,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> tuple[Index, list[tuple[Index, list[Index], int]]]:
    """The output's shape, and for each of its elements the index, the input elements under the
    window in row-major order, and how many of its taps lie on the input or its padding.
    """
    samples, channels, *size = input_shape
    kernel, gap, side = pair(kernel_size), pair(dilation), pair(padding)
    step = kernel if stride is None else pair(stride)
    starts = [
        stops(size[axis], kernel[axis], step[axis], side[axis], gap[axis], ceil_mode)
        for axis in (0, 1)
    ]
    shape = (samples, channels, len(starts[0]), len(starts[1]))
    windows = []
    for n, c, y, x in np.ndindex(*shape):
        inside, padded = [], 0
        for i, j in np.ndindex(*kernel):
            row, column = starts[0][y] + i * gap[0], starts[1][x] + j * gap[1]
            if 0 <= row < size[0] and 0 <= column < size[1]:
                inside.append((n, c, row, column))
            if row < size[0] + side[0] and column < size[1] + side[1]:
                padded += 1
        windows.append(((n, c, y, x), inside, padded))
    return shape, windows


def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> tuple[Array, Array]:
    """The greatest of each window and its index in the plane; the first of equals or of NaNs."""
    del return_indices  # it is part of the contract's signature; both are always wanted here
    shape, windows = pool_windows(input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    output, indices = np.zeros(shape), np.zeros(shape, np.int64)
    for out, inside, _ in windows:
        best = inside[0]
        for source in inside[1:]:
            value, greatest = float(input[source]), float(input[best])
            if value > greatest or (math.isnan(value) and not math.isnan(greatest)):
                best = source
        output[out] = float(input[best])
        indices[out] = best[2] * input.shape[3] + best[3]
    return output, indices


def max_pool2d_backward(
    grad: Array,
    indices: Array,
    input_shape: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    *,
    relu_output: Array | None = None,
) -> Array:
    del kernel_size, stride, padding, dilation, ceil_mode  # the indices say it all
    input_grad = np.zeros(tuple(input_shape))
    for n, c, y, x in np.ndindex(*grad.shape):
        if relu_output is not None and not relu_output[n, c, y, x] > 0:
            continue
        row, column = divmod(int(indices[n, c, y, x]), input_shape[3])
        input_grad[n, c, row, column] += float(grad[n, c, y, x])
    return input_grad


def avg_divisor(inside: int, padded: int, count_include_pad: bool, override: int | None) -> int:
    if override is not None:
        return override
    return padded if count_include_pad else inside


def avg_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    shape, windows = pool_windows(input.shape, kernel_size, stride, padding, 1, ceil_mode)
    output = np.zeros(shape)
    for out, inside, padded in windows:
        for source in inside:
            output[out] += float(input[source])
        output[out] /= avg_divisor(len(inside), padded, count_include_pad, divisor_override)
    return output


def avg_pool2d_backward(
    grad: Array,
    input_shape: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    shape = tuple(input_shape)
    input_grad = np.zeros(shape)
    _, windows = pool_windows(shape, kernel_size, stride, padding, 1, ceil_mode)
    for out, inside, padded in windows:
        divisor = avg_divisor(len(inside), padded, count_include_pad, divisor_override)
        for source in inside:
            input_grad[source] += float(grad[out]) / divisor
    return input_grad


def sum_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
) -> Array:
    shape, windows = pool_windows(input.shape, kernel_size, stride, padding, 1, ceil_mode)
    output = np.zeros(shape)
    for out, inside, _ in windows:
        for source in inside:
            output[out] += float(input[source])
    return output


def sum_pool2d_backward(
    grad: Array,
    input_shape: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
) -> Array:
    shape = tuple(input_shape)
    input_grad = np.zeros(shape)
    _, windows = pool_windows(shape, kernel_size, stride, padding, 1, ceil_mode)
    for out, inside, _ in windows:
        for source in inside:
            input_grad[source] += float(grad[out])
    return input_grad


def lp_pool2d(
    input: Array,
    norm_type: int,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The mean of x^p over a window's elements inside, times the taps it has, to the power 1/p."""
    shape, windows = pool_windows(input.shape, kernel_size, stride, ceil_mode=ceil_mode)
    output = np.zeros(shape)
    for out, inside, _ in windows:
        total = 0.0
        for source in inside:
            total += float(input[source]) ** norm_type
        total *= math.prod(pair(kernel_size)) / len(inside)
        output[out] = total if norm_type == 1 else math.sqrt(total)
    return output


def lp_pool2d_backward(
    grad: Array,
    input: Array,
    output: Array,
    norm_type: int,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """d output / d x = share x^(p-1) / output^(p-1), share being taps / elements inside."""
    input_grad = np.zeros(input.shape)
    _, windows = pool_windows(input.shape, kernel_size, stride, ceil_mode=ceil_mode)
    for out, inside, _ in windows:
        share = math.prod(pair(kernel_size)) / len(inside)
        for source in inside:
            if norm_type == 1:
                input_grad[source] += float(grad[out]) * share
            elif output[out] != 0:
                slope = float(input[source]) / float(output[out])
                input_grad[source] += float(grad[out]) * share * slope
    return input_grad


# --- activations ------------------------------------------------------------------------------


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), exponentiating only what is at most zero."""
    small = math.exp(-abs(x))
    return small / (1 + small) if x < 0 else 1 / (1 + small)


def relu(input: Array) -> Array:
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x = float(input[index])
        output[index] = x if x > 0 or math.isnan(x) else 0.0
    return output


def relu_backward(grad: Array, output: Array) -> Array:
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        if output[index] > 0:
            input_grad[index] = grad[index]
    return input_grad


def sigmoid(input: Array) -> Array:
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        output[index] = logistic(float(input[index]))
    return output


def sigmoid_backward(grad: Array, output: Array) -> Array:
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        y = float(output[index])
        input_grad[index] = float(grad[index]) * y * (1 - y)
    return input_grad


def tanh(input: Array) -> Array:
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        output[index] = math.tanh(float(input[index]))
    return output


def tanh_backward(grad: Array, output: Array) -> Array:
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        y = float(output[index])
        input_grad[index] = float(grad[index]) * (1 - y * y)
    return input_grad


def lines(shape: Index, dim: int) -> Iterator[list[Index]]:
    """The elements of each line of an array along axis ``dim``."""
    axis = dim % len(shape)
    for rest in np.ndindex(*shape[:axis], *shape[axis + 1 :]):
        yield [(*rest[:axis], place, *rest[axis:]) for place in range(shape[axis])]


def softmax(input: Array, dim: int = 1) -> Array:
    output = np.zeros(input.shape)
    for line in lines(input.shape, dim):
        greatest = max(float(input[index]) for index in line)
        total = sum(math.exp(float(input[index]) - greatest) for index in line)
        for index in line:
            output[index] = math.exp(float(input[index]) - greatest) / total
    return output


def softmax_backward(grad: Array, output: Array, dim: int = 1) -> Array:
    """Sum over k of grad_k d y_k / d x_i, the Jacobian being y_k ((i = k) - y_i)."""
    input_grad = np.zeros(grad.shape)
    for line in lines(grad.shape, dim):
        for i in line:
            for k in line:
                slope = float(output[k]) * ((i == k) - float(output[i]))
                input_grad[i] += float(grad[k]) * slope
    return input_grad


def dropout(input: Array, mask: Array) -> Array:
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        output[index] = float(input[index]) * float(mask[index])
    return output


def dropout_backward(grad: Array, mask: Array) -> Array:
    return dropout(grad, mask)


# --- linear -----------------------------------------------------------------------------------


def linear(input: Array, weight: Array, bias: Array | None = None, *, relu: bool = False) -> Array:
    output = np.zeros((input.shape[0], weight.shape[0]))
    for n, o in np.ndindex(*output.shape):
        for f in range(input.shape[1]):
            output[n, o] += float(input[n, f]) * float(weight[o, f])
    return finished(output, bias, relu)


def linear_backward(grad: Array, input: Array, weight: Array) -> tuple[Array, Array, Array]:
    input_grad, weight_grad = np.zeros(input.shape), np.zeros(weight.shape)
    for n, o in np.ndindex(*grad.shape):
        for f in range(input.shape[1]):
            input_grad[n, f] += float(grad[n, o]) * float(weight[o, f])
            weight_grad[o, f] += float(grad[n, o]) * float(input[n, f])
    return input_grad, weight_grad, sum_per_channel(grad)


def flatten(input: Array) -> Array:
    rest = input.shape[1:]
    output = np.zeros((input.shape[0], math.prod(rest)))
    for n in range(input.shape[0]):
        for place, index in enumerate(np.ndindex(*rest)):
            output[n, place] = input[(n, *index)]
    return output


def flatten_backward(grad: Array, input_shape: Sequence[int]) -> Array:
    input_grad = np.zeros(tuple(input_shape))
    for n in range(input_shape[0]):
        for place, index in enumerate(np.ndindex(*input_shape[1:])):
            input_grad[(n, *index)] = grad[n, place]
    return input_grad


# --- losses -----------------------------------------------------------------------------------


def reduced(losses: Array, reduction: str) -> Array:
    if reduction == "none":
        return losses
    total = math.fsum(losses.flat)
    return np.array(total / losses.size if reduction == "mean" else total)


def share(reduction: str, grad: float, count: int) -> float:
    """What one element's derivative is multiplied by."""
    return grad / count if reduction == "mean" else grad


def cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape[0])
    for n, row in enumerate(input):
        greatest = max(float(x) for x in row)
        total = math.fsum(math.exp(float(x) - greatest) for x in row)
        losses[n] = math.log(total) + greatest - float(row[target[n]])
    return reduced(losses, reduction)


def cross_entropy_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = softmax(input, 1)
    for n in range(input.shape[0]):
        input_grad[n, target[n]] -= 1
    for index in np.ndindex(*input.shape):
        input_grad[index] *= share(reduction, grad, input.shape[0])
    return input_grad


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        losses[index] = (float(input[index]) - float(target[index])) ** 2
    return reduced(losses, reduction)


def mse_loss_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        difference = float(input[index]) - float(target[index])
        input_grad[index] = 2 * difference * share(reduction, grad, input.size)
    return input_grad


def half_squared_error(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        losses[index] = (float(input[index]) - float(target[index])) ** 2 / 2
    return reduced(losses, reduction)


def half_squared_error_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        difference = float(input[index]) - float(target[index])
        input_grad[index] = difference * share(reduction, grad, input.size)
    return input_grad


def binary_cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x, t = float(input[index]), float(target[index])
        log_x = max(math.log(x), -100) if x > 0 else -100
        log_rest = max(math.log1p(-x), -100) if x < 1 else -100
        losses[index] = -t * log_x - (1 - t) * log_rest
    return reduced(losses, reduction)


def binary_cross_entropy_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x, t = float(input[index]), float(target[index])
        slope = (x - t) / max(x * (1 - x), 1e-12)
        input_grad[index] = slope * share(reduction, grad, input.size)
    return input_grad


def binary_cross_entropy_with_logits(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x, t = float(input[index]), float(target[index])
        # -t log s(x) - (1 - t) log s(-x), with -log s(x) = log(1 + exp(-x)) = softplus(-x)
        losses[index] = t * softplus(-x) + (1 - t) * softplus(x)
    return reduced(losses, reduction)


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def binary_cross_entropy_with_logits_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        slope = logistic(float(input[index])) - float(target[index])
        input_grad[index] = slope * share(reduction, grad, input.size)
    return input_grad


# --- training ---------------------------------------------------------------------------------


def one_hot(target: Array, num_classes: int) -> Array:
    output = np.zeros((target.shape[0], num_classes))
    for n, c in np.ndindex(*output.shape):
        output[n, c] = 1.0 if target[n] == c else 0.0
    return output


def begin_step(
    counter: Array,
    order: Array,
    labels: Array,
    table: Array,
    indices: Array,
    target: Array,
    rates: Array,
    batch_size: int,
) -> None:
    first = int(counter[0]) * batch_size
    for n in range(len(indices)):
        indices[n] = order[first + n]
        target[n] = labels[order[first + n]]
    for k in range(len(rates)):
        rates[k] = table[counter[0], k]
    counter[0] += 1
    counter[1] += 1


def gather_images(images: Array, indices: Array, scale: Array, shift: Array) -> Array:
    batch = np.zeros((len(indices), *images.shape[1:]))
    for n, c, y, x in np.ndindex(*batch.shape):
        pixel = float(images[indices[n], c, y, x])
        batch[n, c, y, x] = pixel * float(scale[c]) + float(shift[c])
    return batch


def gather_labels(labels: Array, indices: Array) -> Array:
    batch = np.zeros(len(indices), np.int64)
    for n in range(len(indices)):
        batch[n] = labels[indices[n]]
    return batch


def add_metrics(totals: Array, loss: Array, scores: Array, target: Array) -> None:
    right = 0
    for n, row in enumerate(scores):
        best = 0
        for c in range(len(row)):
            if row[c] > row[best]:
                best = c
        if best == target[n] and not any(math.isnan(score) for score in row):
            right += 1
    totals[0] += float(loss) * scores.shape[0]
    totals[1] += right


def all_finite(array: Array) -> bool:
    return all(math.isfinite(value) for value in array.flat)


def check_finite(failed_step: Array, loss: Array, grads: Array, step: Array) -> None:
    if failed_step[0] == 0 and not (math.isfinite(float(loss)) and all_finite(grads)):
        failed_step[0] = step[0]


def sgd_step(
    param: Array,
    grad: Array,
    velocity: Array,
    rates: Array,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    failed_step: Array | None = None,
) -> None:
    if failed_step is not None and failed_step[0] != 0:
        return
    for index in np.ndindex(*param.shape):
        slope = float(grad[index]) + weight_decay * float(param[index])
        speed = momentum * float(velocity[index]) + slope
        velocity[index] = speed
        param[index] -= float(rates[0]) * (slope + momentum * speed if nesterov else speed)


def adam_step(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    rates: Array,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    failed_step: Array | None = None,
) -> None:
    if failed_step is not None and failed_step[0] != 0:
        return
    (first, second), (step_size, correction, shrink) = betas, map(float, rates)
    for index in np.ndindex(*param.shape):
        value, slope = float(param[index]), float(grad[index])
        slope += weight_decay * value
        exp_avg[index] = first * float(exp_avg[index]) + (1 - first) * slope
        exp_avg_sq[index] = second * float(exp_avg_sq[index]) + (1 - second) * slope**2
        spread = math.sqrt(float(exp_avg_sq[index])) / correction
        param[index] = value * shrink - step_size * float(exp_avg[index]) / (spread + eps)
