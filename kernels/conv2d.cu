// Convolution (a cross-correlation, as in PyTorch):
//   y[n, o, oy, ox] = b[o] + sum of x[n, c, oy s - p + i d, ox s - p + j d] w[o, c, i, j]
// over the channels c of o's group and the taps (i, j) whose pixel lies inside the plane, through
// ReLU if `relu` is not 0. Backward:
// dx gathers, for each pixel, dy w over the outputs of its group and the stops that have a tap on
// it; dw adds dy x over samples and stops; db adds dy over samples and stops.
//
// Shapes: input and input_grad (batch, channels, height, width), weight and weight_grad (outputs,
// channels / groups, kernel_h, kernel_w), bias and bias_grad (outputs), output and grad (batch,
// outputs, out_h, out_w).
//
// A transposed convolution is dx as an operation of its own (with a bias), its dx is y, and its dw
// is dw with the two arrays exchanged: these kernels serve both. db is made with dw, as if a pixel
// of each window were 1; a transposed convolution's is sum_channels (sum.cu).
//
// Variants, slow to fast:
//   *_naive     a thread owns an element of the result and adds its products in index order;
//   *_block     (dw) a block owns an element: for groups of few outputs, which would leave most of
//               a tile empty;
//   *_16x128 .. implicit matrix products: a block owns a tile of the result (conv2d.cuh). dx goes,
//               for each pixel, through the taps alone that the stride lets stop on it. dw adds
//               over samples and stops, a long sum with few results, so that it is split in
//               `splits` parts; sum_splits (sum.cu) adds them.
// Tiles of many rows are in conv2d_large.cu, and in conv2d_tf32.cu those that round their operands:
// a file is compiled when one of its kernels is first launched, and small networks need but this.
//
// Every element is added by one thread in order, by a fixed tree, or in parts that the shapes fix.

extern "C" __global__ void __launch_bounds__(256)
conv2d_forward_naive(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int channels, int outputs, int groups, int kernel_h, int kernel_w,
                     int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                     int height, int width, int out_h, int out_w, int relu) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int64 at = thread_index(), stops = (int64)out_h * out_w;
    if (at >= batch * (outputs * stops)) return;
    const Division part = divide(at, stops), channel = divide(part.quotient, outputs);
    const int stop = part.rest, oy = stop / out_w, ox = stop % out_w;
    const int o = channel.rest;
    const int64 n = channel.quotient;
    const int each = channels / groups, first = o / (outputs / groups) * each;
    const real* taps = weight + (int64)o * each * kernel_h * kernel_w;
    real sum = 0;
    for (int c = 0; c < each; ++c) {
        const real* plane = input + (n * channels + first + c) * height * width;
        for (int i = 0; i < kernel_h; ++i) {
            const int y = rows.pixel(oy, i);
            for (int j = 0; j < kernel_w; ++j, ++taps) {
                const int x = columns.pixel(ox, j);
                if (rows.inside(y) && columns.inside(x)) {
                    sum += plane[(int64)y * width + x] * *taps;
                }
            }
        }
    }
    output[at] = finish(sum, bias, o, relu);
}

extern "C" __global__ void __launch_bounds__(256, 4)
conv2d_backward_input_naive(const real* __restrict__ grad, const real* __restrict__ weight,
                            const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                            int batch, int channels, int outputs, int groups, int kernel_h,
                            int kernel_w, int stride_h, int stride_w, int top, int left,
                            int dilation_h, int dilation_w, int height, int width, int out_h,
                            int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int64 at = thread_index(), area = (int64)height * width;
    if (at >= batch * (channels * area)) return;
    const Division part = divide(at, area), channel = divide(part.quotient, channels);
    const int pixel = part.rest, y = pixel / width, x = pixel % width;
    const int c = channel.rest;
    const int64 n = channel.quotient;
    const int each = channels / groups, outs = outputs / groups, first = c / each * outs;
    real sum = 0;
    for (int o = first; o < first + outs; ++o) {
        const real* stops = grad + (n * outputs + o) * out_h * out_w;
        const real* taps = weight + ((int64)o * each + c % each) * kernel_h * kernel_w;
        for (int i = 0; i < kernel_h; ++i) {
            const int oy = rows.stop(y, i);
            for (int j = 0; j < kernel_w; ++j, ++taps) {
                const int ox = columns.stop(x, j);
                if (oy >= 0 && ox >= 0) sum += stops[(int64)oy * out_w + ox] * *taps;
            }
        }
    }
    input_grad[at] = finish(sum, bias, c, 0);
}

extern "C" __global__ void __launch_bounds__(256, 4)
conv2d_backward_weight_naive(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             int batch, int channels, int outputs, int groups, int kernel_h,
                             int kernel_w, int stride_h, int stride_w, int top, int left,
                             int dilation_h, int dilation_w, int height, int width, int out_h,
                             int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int each = channels / groups, taps = kernel_h * kernel_w, length = each * taps;
    const int64 at = thread_index(), line = length + (bias_grad ? 1 : 0);
    if (at >= (int64)outputs * line) return;
    const Division element = divide(at, line);
    const int o = (int)element.quotient, k = (int)element.rest;
    const bool ones = k == length;  // the bias's: as if the pixel were 1
    const int i = k % taps / kernel_w, j = k % kernel_w;
    const int c = o / (outputs / groups) * each + (ones ? 0 : k / taps);
    real sum = 0;
    for (int64 n = 0; n < batch; ++n) {
        const real* stops = grad + (n * outputs + o) * out_h * out_w;
        const real* plane = input + (n * channels + c) * height * width;
        for (int oy = 0; oy < out_h; ++oy) {
            const int y = rows.pixel(oy, i);
            if (!ones && !rows.inside(y)) continue;
            for (int ox = 0; ox < out_w; ++ox) {
                const int x = columns.pixel(ox, j);
                if (!ones && !columns.inside(x)) continue;
                sum += stops[(int64)oy * out_w + ox] * (ones ? 1 : plane[(int64)y * width + x]);
            }
        }
    }
    *(ones ? bias_grad + o : weight_grad + (int64)o * length + k) = sum;
}

// A block owns an element: its threads go through samples and stops, 256 apart, and a fixed tree
// adds them. For few outputs a group, which would leave most of a tile empty.
extern "C" __global__ void __launch_bounds__(256)
conv2d_backward_weight_block(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             int batch, int channels, int outputs, int groups, int kernel_h,
                             int kernel_w, int stride_h, int stride_w, int top, int left,
                             int dilation_h, int dilation_w, int height, int width, int out_h,
                             int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int each = channels / groups, taps = kernel_h * kernel_w, length = each * taps;
    const int line = length + (bias_grad ? 1 : 0);
    const int o = blockIdx.x / line, at = blockIdx.x % line;
    const bool ones = at == length;  // the bias's: as if the pixel were 1
    const int i = at % taps / kernel_w, j = at % kernel_w;
    const int c = o / (outputs / groups) * each + (ones ? 0 : at / taps);
    const int64 stops = (int64)out_h * out_w;
    real sum = 0;
    for (int64 k = threadIdx.x; k < batch * stops; k += blockDim.x) {
        const Division part = divide(k, stops);
        const int64 n = part.quotient;
        const int stop = part.rest, y = rows.pixel(stop / out_w, i);
        const int x = columns.pixel(stop % out_w, j);
        const real share = grad[(n * outputs + o) * stops + stop];
        if (ones) {
            sum += share;
        } else if (rows.inside(y) && columns.inside(x)) {
            sum += share * input[((n * channels + c) * height + y) * width + x];
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) *(ones ? bias_grad + o : weight_grad + (int64)o * length + at) = sum;
}

// --- tiled: implicit matrix products -------------------------------------------------------------

#include "conv2d.cuh"

using Narrow = Tile<16, 128, 8, 4, 4>;
using NarrowWeight = Tile<16, 64, 16, 2, 4>;
static_assert(Narrow::THREADS == 128 && NarrowWeight::THREADS == 128, "as __launch_bounds__");
// At most 96, 128 and 168 registers: no spill.
constexpr int INPUT_BLOCKS = sizeof(real) == 4 ? 5 : 4, WEIGHT_BLOCKS = sizeof(real) == 4 ? 4 : 3;

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_16x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                      int channels, int outputs, int groups, int kernel_h, int kernel_w,
                      int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                      int height, int width, int out_h, int out_w, int relu) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    forward<Narrow>(conv, input, weight, bias, output, relu);
}

extern "C" __global__ void __launch_bounds__(128, INPUT_BLOCKS)
conv2d_backward_input_16x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                             int batch, int channels, int outputs, int groups, int kernel_h,
                             int kernel_w, int stride_h, int stride_w, int top, int left,
                             int dilation_h, int dilation_w, int height, int width, int out_h,
                             int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_input<Narrow>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128, WEIGHT_BLOCKS)
conv2d_backward_weight_16x64(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ partials, real* __restrict__ NULLABLE bias_grad,
                             int splits, int batch, int channels, int outputs, int groups,
                             int kernel_h, int kernel_w, int stride_h, int stride_w, int top,
                             int left, int dilation_h, int dilation_w, int height, int width,
                             int out_h, int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_weight<NarrowWeight>(conv, grad, input, partials, bias_grad, splits);
}
