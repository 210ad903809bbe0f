"""Faults planted in the kernels: a text of a file of kernels/ and what replaces it.

``gpucnn check`` is to find each. ``kernels_run.py`` plants them one by one, in copies of the
folder; ``tests/testing/test_checking.py`` does so for some.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KernelFault:
    """A fault of a kernel; ``ops`` are the operations that run it, as for ``gpucnn check``."""

    name: str
    file: str
    old: str
    new: str
    ops: tuple[str, ...]

    def plant(self, folder: Path) -> None:
        """Change the file in a copy of kernels/; ValueError unless it has ``old`` once."""
        path = folder / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {self.old!r} {text.count(self.old)} times")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def fault(name: str, file: str, old: str, new: str, *ops: str) -> KernelFault:
    return KernelFault(name, file, old, new, ops)


CONVOLUTIONS = ("conv2d", "conv_transpose2d")
POOLINGS = ("max_pool2d", "avg_pool2d", "sum_pool2d", "lp_pool2d")
LENET5 = "lenet5_gradients"
GUARD = "    if (i >= n) return;\n"

ELEMENTWISE = (
    fault(
        "relu without a bounds check", "relu.cu",
        GUARD + "    const real x = input[i] + 0;", "    const real x = input[i] + 0;", "relu",
    ),
    fault(
        "relu's gradient checks one element too many", "relu.cu",
        GUARD + "    input_grad[i]", "    if (i > n) return;\n    input_grad[i]", "relu",
    ),
    fault("relu turns NaN into 0", "relu.cu", "x <= 0 ? 0 : x", "x > 0 ? x : 0", "relu"),
    fault(
        "relu passes the gradient at 0", "relu.cu", "output[i] > 0 ?", "output[i] >= 0 ?", "relu",
    ),
    fault(
        "leaky relu multiplies by minus the slope", "leaky_relu.cu",
        "x > 0 ? x : negative_slope * x", "x > 0 ? x : -negative_slope * x", "leaky_relu",
    ),
    fault(
        "leaky relu has a slope of -7", "leaky_relu.cu",
        "x > 0 ? x : negative_slope * x", "x > 0 ? x : -7 * x", "leaky_relu",
    ),
    fault(
        "leaky relu's gradient has the slope at all inputs", "leaky_relu.cu",
        "input[i] > 0 ? grad[i]", "input[i] > 1e9 ? grad[i]", "leaky_relu",
    ),
    fault(
        "elu cancels near 0", "elu.cu", "alpha * expm1(x)", "alpha * (exp(x) - 1)", "elu",
    ),
    fault(
        "elu's gradient lacks alpha", "elu.cu", "grad[i] * (alpha * exp(x))", "grad[i] * exp(x)",
        "elu",
    ),
    fault(
        "gelu's approximation lacks the cube", "gelu.cu",
        "real below = approximate ? sigmoid(TWICE_SCALE * x * (1 + CUBE * x * x))",
        "real below = approximate ? sigmoid(TWICE_SCALE * x)", "gelu",
    ),
    fault(
        "gelu's gradient multiplies zero by infinity", "gelu.cu", "CUBE * term * x * x",
        "CUBE * (x * x) * term", "gelu",
    ),
    fault(
        "gelu's gradient lacks the density", "gelu.cu", "/ 2 + x * (DENSITY * exp(-x * x / 2))",
        "/ 2", "gelu",
    ),
    fault("silu's gradient lacks a factor", "silu.cu", "x * (1 - s)", "x", "silu"),
    fault(
        "softplus loses small results", "softplus.cu", "log1p(exp(-fabs(z)))",
        "log(1 + exp(-fabs(z)))", "softplus",
    ),
    fault(
        "softplus ignores beta in the threshold", "softplus.cu", "z > threshold ? x",
        "x > threshold ? x", "softplus",
    ),
    fault(
        "sigmoid overflows for large negative inputs", "common.cuh",
        "    const real small = exp(-fabs(x));\n    return (x >= 0 ? 1 : small) / (1 + small);",
        "    const real large = exp(x);\n    return large / (1 + large);", "sigmoid",
    ),
    fault("sigmoid's gradient lacks a factor", "sigmoid.cu", "(y * (1 - y))", "(1 - y)", "sigmoid"),
    fault("tanh's gradient adds", "tanh.cu", "((1 - y) * (1 + y))", "((1 - y) + (1 + y))", "tanh"),
    fault(
        "dropout uses the same word for four elements", "dropout.cu", "*= factor(words.at[i]",
        "*= factor(words.at[0]", "dropout",
    ),
    fault(
        "the last element is not written", "dropout.cu", "if (at < n)",
        "if (at < n - 1)", "dropout",
    ),
    fault(
        "dropout keeps what it should drop", "dropout.cu", ">= threshold ? scale : 0",
        ">= threshold ? 0 : scale", "dropout",
    ),
    fault(
        "every step has the same mask", "dropout.cu", "philox(key, block, step[0])",
        "philox(key, block, 1)", "dropout",
    ),
    fault(
        "channels of dropout2d have the words of others", "dropout.cu", "at == 2 ? 2 : 3",
        "at == 2 ? 3 : 2", "dropout2d",
    ),
    fault(
        "dropout2d writes the first 32 pixels of a channel", "dropout.cu", "i < area; i += 32",
        "i < area && i < 32; i += 32", "dropout2d",
    ),
    fault(
        "images are rotated clockwise", "augment.cu", "s = sin(angle) / z", "s = -sin(angle) / z",
        "augment_images",
    ),
    fault(
        "the parts of a batch have the images of its beginning", "augment.cu", "16 * (first + n)",
        "16 * n", "augment_images",
    ),
    fault(
        "pixels outside an image are read", "augment.cu", "row >= 0 && row < height && ", "",
        "augment_images",
    ),
    fault("Philox has nine rounds", "philox.cuh", "round < 10", "round < 9", "uniform"),
    fault(
        "Philox ignores the high word of the step", "philox.cuh", "(uint32)(step >> 32)", "0",
        "uniform",
    ),
    fault(
        "uniform numbers lack their lower bits", "philox.cuh", "(real)(word >> 8)",
        "(real)(word >> 16 << 8)", "uniform",
    ),
    fault(
        "Bernoulli's probabilities of NaN are 0", "random.cu", "is_nan(p) ? p : ", "", "bernoulli",
    ),
    fault(
        "a sum of NaN becomes 0", "add.cu", "relu(input[i] + other[i], with_relu)",
        "with_relu && !(input[i] + other[i] > 0) ? 0 : input[i] + other[i]", "add",
    ),
    fault(
        "channels are written to those of the sample before", "channels.cu",
        "all[at.quotient * width + first + at.remainder] = some[i]",
        "all[at.quotient * part + first + at.remainder] = some[i]", "write_channels",
    ),
    fault(
        "the first channels are read", "channels.cu",
        "some[i] = all[at.quotient * width + first + at.remainder]",
        "some[i] = all[at.quotient * width + at.remainder]", "read_channels",
    ),
    fault(
        "only the first block of elements is written", "tanh.cu",
        GUARD + "    output[i]", "    if (i >= n || blockIdx.x > 0) return;\n    output[i]", "tanh",
    ),
)  # fmt: skip

BOLTZMANN = (
    fault(
        "units are drawn with the next unit's bias", "sample_units.cu",
        "unit = unit + 1 == units ? 0 : unit + 1;", "unit = unit + 1 > units ? 0 : unit + 1;",
        "sample_units",
    ),
    fault(
        "all units of a thread have the same random number", "sample_units.cu",
        "uniform(words.at[i])", "uniform(words.at[0])", "sample_units",
    ),
    fault(
        "the first rows have the factor of the others", "stack_rows.cu",
        "first_factor * first[i]", "second_factor * first[i]", "stack_rows",
    ),
)  # fmt: skip

POOLING = (
    fault(
        "the maximum starts at 0", "max_pool2d.cu",
        "if (argmax < 0 || exceeds(x, maximum)) {", "if (exceeds(x, maximum)) {", "max_pool2d",
    ),
    fault(
        "the last of equal elements is the maximum", "max_pool2d.cu",
        "exceeds(x, maximum)", "x >= maximum", "max_pool2d",
    ),
    fault(
        "NaN is never the maximum", "max_pool2d.cu",
        "argmax < 0 || exceeds(x, maximum)", "argmax < 0 || x > maximum", "max_pool2d",
    ),
    fault(
        "the second of a pair has the index of the first", "max_pool2d.cu",
        "add(index + 1, x.at[1]);", "add(index, x.at[1]);", "max_pool2d",
    ),
    fault(
        "the gradient ignores relu_output", "max_pool2d.cu",
        "!relu_output || relu_output[output] > 0", "true", "max_pool2d",
    ),
    fault(
        "the gradient overwrites instead of adding", "max_pool2d.cu",
        "sum += grad[output]", "sum = grad[output]", "max_pool2d",
    ),
    fault(
        "rows are taken for columns", "window.cuh", "visit(h * W + w)", "visit(h * H + w)",
        *POOLINGS,
    ),
    fault(
        "dilation is ignored", "window.cuh", "p * stride - pad + r * dilation",
        "p * stride - pad + r",
        *POOLINGS,
    ),
    fault(
        "windows reach one row past the input", "window.cuh", "h >= 0 && h < size",
        "h >= 0 && h <= size", *POOLINGS,
    ),
    fault(
        "the last output position is left out", "window.cuh",
        "return p < outputs ? p : outputs - 1;", "return p < outputs - 1 ? p : outputs - 2;",
        *POOLINGS,
    ),
    fault(
        "the mean always counts padding", "avg_pool2d.cu", "if (!count_pad) {", "if (false) {",
        "avg_pool2d",
    ),
    fault(
        "the divisor takes the padding of the wrong side", "avg_pool2d.cu",
        "counted(window.columns(), pad_right, q, count_pad)",
        "counted(window.columns(), pad_bottom, q, count_pad)", "avg_pool2d",
    ),
    fault(
        "Lp pooling lacks the root", "lp_pool2d.cu", "norm == 1 ? sum : sqrt(sum)", "sum",
        "lp_pool2d",
    ),
    fault(
        "Lp pooling's gradient divides by 0", "lp_pool2d.cu", "} else if (output[y] != 0) {",
        "} else {", "lp_pool2d",
    ),
)  # fmt: skip

RESAMPLING = (
    fault(
        "windows of adaptive pooling end a pixel early", "resample.cuh",
        "((p + 1) * size + outputs - 1) / outputs", "(p + 1) * size / outputs",
        "adaptive_avg_pool2d",
    ),
    fault(
        "the last window of a pixel is left out", "resample.cuh",
        "((h + 1) * outputs - 1) / size", "h * outputs / size", "adaptive_avg_pool2d",
    ),
    fault(
        "adaptive maxima have the index of their window", "adaptive_max_pool2d.cu",
        "argmax = h * W + w;", "argmax = h * Q + w;", "adaptive_max_pool2d",
    ),
    fault(
        "the last of equal elements is an adaptive maximum", "adaptive_max_pool2d.cu",
        "exceeds(x, maximum)", "x >= maximum", "adaptive_max_pool2d",
    ),
    fault(
        "one copy too many is added", "resample.cuh", "return first_copy(h + 1);",
        "return min(first_copy(h + 1) + 1, outputs);", "upsample_nearest2d",
    ),
    fault(
        "rows are copied as columns are", "upsample_nearest2d.cu", "rows.nearest(at.row)",
        "min(columns.nearest(at.row), H - 1)", "upsample_nearest2d",
    ),
)  # fmt: skip

PRODUCTS = (
    fault(
        "a barrier is missing between two slabs", "gemm.cuh",
        "            next.store(smem_a[1 - now], smem_b[1 - now]);\n            __syncthreads();",
        "            next.store(smem_a[1 - now], smem_b[1 - now]);", "conv2d", "linear",
    ),
    fault(
        "the barrier before the first slab is missing", "gemm.cuh",
        "    next.store(smem_a[0], smem_b[0]);\n    __syncthreads();",
        "    next.store(smem_a[0], smem_b[0]);", "linear",
    ),
    fault(
        "the last slab is left out", "gemm.cuh", "slab < slabs; ++slab", "slab < slabs - 1; ++slab",
        "linear",
    ),
    fault("sums are not set to zero", "gemm.cuh", "tile.sum[i][j] = 0;", ";", "linear"),
    fault(
        "a matrix is read beyond its last row", "gemm.cuh",
        "min(first_row + Share::row(r), rows - 1)", "first_row + Share::row(r)", "linear",
    ),
    fault(
        "elements beyond the last k are not 0", "gemm.cuh", "k < left ? at", "k <= left ? at",
        "linear",
    ),
    fault(
        "a result has one column too many", "linear.cuh", "if (first + v < N) {",
        "if (first + v <= N) {",
        "linear",
    ),
    fault(
        "the naive product swaps two indices", "linear.cu",
        "sum += grad[n * outputs + o] * weight[o * features + f];",
        "sum += grad[n * outputs + o] * weight[f * outputs + o];", "linear",
    ),
    fault(
        "the gradient of the bias misses the first row", "linear.cu",
        "for (int64 n = 0; n < batch; ++n) {", "for (int64 n = batch > 1; n < batch; ++n) {",
        "linear",
    ),
    fault(
        "the bias is added twice", "common.cuh", "sum += bias[channel];",
        "sum += 2 * bias[channel];", "linear",
    ),
    fault(
        "the fused relu is left out", "common.cuh", "return relu(sum, with_relu);", "return sum;",
        "linear", "conv2d",
    ),
    fault(
        "TF32 is not rounded", "tensor.cuh", "bits + 0x1000) & 0xffffe000", "bits) & 0xff800000",
        "linear",
    ),
    fault(
        "a tensor-core product reads the wrong half", "tensor.cuh",
        "__shfl_sync(all, b[half], 8 * t + owner)", "__shfl_sync(all, b[half], 8 * t + 4 + owner)",
        "linear",
    ),
    fault(
        "the vectors of shared memory are swizzled wrongly", "tensor.cuh",
        "smem[vector(Share::row(r), Share::k(r))] =",
        "smem[vector(Share::row(r) ^ 1, Share::k(r))] =",
        "linear", "conv2d",
    ),
)  # fmt: skip

CONVOLUTION = (
    fault(
        "the horizontal stride is the vertical one", "window.cuh",
        "return {W, S, Q, pad_w, stride_w, dilation_w};",
        "return {W, S, Q, pad_w, stride_h, dilation_w};",
        "conv2d",
    ),
    fault(
        "the left padding is the top one", "window.cuh",
        "return {W, S, Q, pad_w, stride_w, dilation_w};",
        "return {W, S, Q, pad_h, stride_w, dilation_w};",
        "conv2d",
    ),
    fault(
        "the naive convolution ignores groups", "conv2d.cu",
        "const int first_c = k / conv.group_outputs() * channels;", "const int first_c = 0;",
        "conv2d",
    ),
    fault(
        "the right edge is not checked", "conv2d.cuh",
        "(h[i] + offset.z < height) & (w[i] + offset.w < width)", "(h[i] + offset.z < height)",
        "conv2d",
    ),
    fault(
        "a wide filter is read with the wrong digit", "conv2d.cuh",
        "k.a = {conv.R * conv.S, conv.S, 1}; ", "k.a = {conv.R * conv.S, conv.R, 1}; ", "conv2d",
    ),
    fault(
        "the gradient of the input takes the next class of strides", "conv2d.cuh",
        "const int phase = (first + axis.pad) % stride;",
        "const int phase = (first + axis.pad + 1) % stride;", "conv2d",
    ),
    fault(
        "the first thread's class is read without a barrier", "conv2d.cuh",
        "    if (threadIdx.x == 0) part.set(conv, T::BN);\n    __syncthreads();",
        "    if (threadIdx.x == 0) part.set(conv, T::BN);", *CONVOLUTIONS,
    ),
    fault(
        "a split of the weight's gradient begins one slab late", "conv2d.cuh",
        "const int64 begin = min(split * length, K)",
        "const int64 begin = min(split * length + (split ? 1 : 0), K)", "conv2d",
    ),
    fault(
        "splits are added up without the last", "sum.cu", "if (first + part < count) sum",
        "if (first + part < count - 1) sum", "conv2d",
    ),
    fault(
        "a channel's sum misses the other images", "sum.cu", "k < (int64)batch * area",
        "k < (int64)area", "conv2d", "conv_transpose2d",
    ),
    fault(
        "the depthwise gradient of the weight takes the wrong output row", "conv2d.cu",
        "rows.input(pq / conv.Q, e.r)", "rows.input(pq / conv.P, e.r)", "conv2d",
    ),
)  # fmt: skip

LOSSES = (
    fault(
        "a reduction lacks its barrier", "common.cuh",
        "tree[threadIdx.x + half];\n        __syncthreads();", "tree[threadIdx.x + half];",
        "mse_loss",
    ),
    fault(
        "a reduction leaves out the last thread", "common.cuh",
        "tree[threadIdx.x] = value;", "tree[threadIdx.x] = threadIdx.x == 255 ? T(0) : value;",
        "mse_loss",
    ),
    fault(
        "a grid-stride loop runs over one block only", "common.cuh",
        "i < n; i += threads_in_grid()) sum += term(i);", "i < n; i += n) sum += term(i);",
        "mse_loss",
    ),
    fault(
        "softmax is not shifted by the maximum", "softmax.cu",
        "const real maximum = Owner::maximum(input, size, inner).value;", "const real maximum = 0;",
        "softmax",
    ),
    fault(
        "rows along an inner axis start one after another", "rows.cuh",
        "row / inner * inner * size + row % inner", "row * size", "softmax",
    ),
    fault(
        "a block's maximum leaves out its second half", "rows.cuh",
        "const Maximum other = tree[threadIdx.x + half];",
        "const Maximum other = tree[threadIdx.x];",
        "softmax", "cross_entropy",
    ),
    fault(
        "cross-entropy counts ignored rows", "cross_entropy.cu",
        "if (ignored(n)) return 0;\n        return valid(n)",
        "return valid(n)", "cross_entropy",
    ),
    fault(
        "label smoothing leaves out the number of classes", "cross_entropy.cu",
        "labels.smoothing / classes * Owner::sum(sum)", "labels.smoothing * Owner::sum(sum)",
        "cross_entropy",
    ),
    fault(
        "the logarithm is not limited to -100", "binary_cross_entropy.cu", "x < -100 ? -100 : x",
        "x",
        "binary_cross_entropy",
    ),
    fault(
        "the loss of logits overflows", "binary_cross_entropy_with_logits.cu",
        "const real tail = log1p(exp(-fabs(x)));", "const real tail = log1p(exp(-x));",
        "binary_cross_entropy_with_logits",
    ),
    fault(
        "the half squared error is not halved", "half_squared_error.cu", "d * d / 2", "d * d",
        "half_squared_error",
    ),
)  # fmt: skip

RECURRENT = (
    fault(
        "a state is read before it is written", "recurrent.cuh",
        "                __syncthreads();\n                if (unit < hidden) {\n",
        "                if (unit < hidden) {\n", "rnn",
    ),
    fault(
        "a state is overwritten while it is read", "recurrent.cuh",
        "            __syncthreads();  // the chunk is read\n", "", "rnn",
    ),
    fault(
        "the states of many units are read before they are written", "recurrent.cuh",
        "                    __syncthreads();  // rows are written, and the chunk is read\n", "",
        "rnn",
    ),
    fault(
        "products beyond the first chunk are left out", "recurrent.cuh", "from += CHUNK",
        "from += K", "gru",
    ),
    fault(
        "the gates of a unit are next to each other", "recurrent.cuh",
        "((int64)k * GATES + g) * hidden", "(int64)k * GATES * hidden + g", "gru",
    ),
    fault(
        "the weight's gradient takes the state after a step", "rnn.cu",
        "before[at] = t > 0 ? output[at - hidden] : 0;", "before[at] = output[at];", "rnn",
    ),
    fault(
        "the update gate lets the new state through", "gru.cu",
        "(1 - z) * fresh + z * old", "z * fresh + (1 - z) * old", "gru",
    ),
    fault(
        "no gradient goes through the update gate", "gru.cu", "*rest = dh * z;", "*rest = 0;",
        "gru",
    ),
    fault(
        "the gradient of a product lacks the reset gate", "gru.cu",
        "dp[2 * hidden] = d_n * r;", "dp[2 * hidden] = d_n;", "gru",
    ),
    fault(
        "rows are counted by the height", "rows.cu", "divide(by_row.quotient, channels)",
        "divide(by_row.quotient, height)", "rows",
    ),
    fault(
        "the first step is taken for the last", "last_step.cu", "(at.quotient + 1) * steps - 1",
        "at.quotient * steps", "last_step",
    ),
)  # fmt: skip

TRAINING = (
    fault(
        "the correction comes after eps", "adam.cu", "sqrt(square) / correction + eps",
        "(sqrt(square) + eps) / correction", "adam_step",
    ),
    fault(
        "weight decay of 0 turns an infinite weight's gradient into NaN", "sgd.cu",
        "weight_decay == 0 ? grad[i] : grad[i] + weight_decay * p", "grad[i] + weight_decay * p",
        "sgd_step",
    ),
    fault(
        "Nesterov is the other way round", "sgd.cu", "nesterov ? g + momentum * v : v",
        "nesterov ? v : g + momentum * v", "sgd_step",
    ),
    fault(
        "half of the squares are added", "clip_grad_norm.cu", "partials[gridDim.x + blockIdx.x]",
        "partials[blockIdx.x]", "clip_grad_norm",
    ),
    fault(
        "gradients are scaled up to the limit", "clip_grad_norm.cu", "if (factor >= 1) return;",
        "", "clip_grad_norm",
    ),
    fault(
        "the average becomes the difference", "ema.cu", "average[i] +=", "average[i] =", "ema_step",
    ),
    fault(
        "a failed step is taken", "adam.cu", "i >= n || (failed && failed[0] != 0)", "i >= n",
        "adam_step",
    ),
    fault(
        "an infinity is finite", "common.cuh", "return x - x == 0;", "return x == x;",
        "all_finite", "check_finite",
    ),
    fault(
        "the counter changes while it is read", "step.cu",
        "    __syncthreads();  // every thread has read the counter\n", "", "begin_step",
    ),
    fault(
        "the scale of the first channel is that of all", "gather.cu", "scale[channel]", "scale[0]",
        "gather_images",
    ),
    fault(
        "ties are predictions of the last class", "metrics.cu", "exceeds(row[c], row[argmax])",
        "row[c] >= row[argmax]", "add_metrics",
    ),
    fault(
        "the numbers of an image are those of its first target", "step.cu",
        "labels[item * columns + k]", "labels[item * columns]", "begin_step",
    ),
    fault(
        "numbers are gathered from another column", "gather.cu", "item * columns + i % columns",
        "item * columns", "gather_labels",
    ),
    fault(
        "absolute errors are added as they are", "metrics.cu", "sizes += fabs(error)",
        "sizes += error", "add_errors",
    ),
    fault(
        "errors are added to the first target's", "metrics.cu", "totals[1 + columns + k] += sizes",
        "totals[1 + columns] += sizes", "add_errors",
    ),
    fault(
        "a class is one too high", "one_hot.cu", "i % classes == label",
        "i % classes == label - 1", "one_hot",
    ),
    fault(
        "LeNet-5's pooling takes the last of equal outputs", "lenet5_conv_forward.cu",
        "if (value > best ||", "if (value >= best ||", LENET5,
    ),
    fault(
        "LeNet-5's second half of channels is read early", "lenet5_conv_forward.cu",
        "sum[i / 4][i % 4];\n        }\n    }\n    __syncthreads();",
        "sum[i / 4][i % 4];\n        }\n    }", LENET5,
    ),
    fault(
        "LeNet-5's shares of a gradient are added before they are written", "lenet5_fc.cu",
        "write_share(sum + sample, memory);\n            __syncthreads();",
        "write_share(sum + sample, memory);", LENET5,
    ),
    fault(
        "LeNet-5's samples beyond the batch are read", "lenet5_fc.cu",
        "if (n < samples) four =", "four =", LENET5,
    ),
    fault(
        "LeNet-5's gradients are those of the last warp", "lenet5_finish.cu",
        "for (int i = 1; i < WARPS; ++i) sum += sums[i][lane];", "", LENET5,
    ),
    fault(
        "LeNet-5 passes the gradient of a closed ReLU", "lenet5_conv_backward.cuh",
        "m.pool1_grad[at] = open ? sum[0] : 0;", "m.pool1_grad[at] = sum[0];", LENET5,
    ),
)  # fmt: skip

NORMALIZATION = (
    fault(
        "running variances are biased", "batch_norm.cu",
        "found.squares / (found.count - 1)", "found.squares / found.count", "batch_norm",
    ),
    fault(
        "running statistics become NaN", "batch_norm.cu",
        "if (!is_finite(new_mean) || !is_finite(new_var)) return;", "", "batch_norm",
    ),
    fault(
        "variances of parts are added without the distance of their means", "normalization.cuh",
        "other.squares + distance * distance * (count * share)", "other.squares",
        "batch_norm", "group_norm",
    ),
    fault(
        "a channel's next sample begins one late", "normalization.cuh",
        "if (rest >= maps.inner)", "if (rest > maps.inner)", "batch_norm",
    ),
    fault(
        "batch norm passes the gradient of a closed ReLU", "batch_norm.cu",
        "dx.at[j] = y.at[j] > 0 ? dx.at[j] : 0;", "dx.at[j] = y.at[j] > 0 ? dx.at[j] : dx.at[j];",
        "batch_norm",
    ),
    fault(
        "a folded weight has no factor of its channel", "batch_norm.cu",
        "output_weight[i] = input_weight[i] * factor;",
        "output_weight[i] = input_weight[i] * invstd;", "fold_batch_norm",
    ),
    fault(
        "a group's gradient keeps its mean", "group_norm.cu",
        "own - shift - z * slope", "own - z * slope", "group_norm",
    ),
    fault(
        "short rows of the last block are read beyond the array", "group_norm.cu",
        "end(number < count ? size : 0)", "end(size)", "layer_norm",
    ),
)  # fmt: skip

KERNEL_FAULTS = (
    *ELEMENTWISE, *BOLTZMANN, *POOLING, *RESAMPLING, *PRODUCTS, *CONVOLUTION, *RECURRENT, *LOSSES,
    *NORMALIZATION, *TRAINING,
)  # fmt: skip
