// Convolution: formulas and letters as in conv2d.cuh, which has the matrix products.
//
// Shapes: input and input_grad (N, C, H, W), weight and weight_grad (K, C / groups, R, S), bias and
// bias_grad (K), output and grad (N, K, P, Q).
//
// Variants, from slow to fast:
//   *_naive   a thread owns an element of the result and adds its products in index order;
//   *_block   (weight's gradient) a block owns an element: for groups of few outputs, which would
//             leave most of a tile empty;
//   *_16x64   and so on: implicit matrix products, a block owns a tile of the result, BM by BN. The
//             weight's gradient is a long sum with few results, so it is divided into `splits`
//             parts, which sum_splits (sum.cu) adds.
// Larger tiles are in conv2d_large.cu, and those that round their operands to TF32 in
// conv2d_tf32.cu: a file is compiled when one of its kernels is first launched, and small networks
// need only this one.
//
// The bias's gradient is computed with the weight's, as if one input were 1 everywhere. The same
// kernels serve transposed convolutions: y is the input's gradient with a bias, dx is forward, and
// the weight's gradient has the two arrays exchanged; the bias's gradient is sum_channels (sum.cu).
//
// Every element is added by one thread in order, by a fixed tree, or in parts that follow from the
// shapes, so results do not depend on the device.

#include "conv2d.cuh"

extern "C" __global__ void __launch_bounds__(256)
conv2d_forward_naive(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                     const Conv2d conv, int with_relu) {
    const Axis rows = conv.rows(), columns = conv.columns();
    const int64 i = thread_index();
    if (i >= conv.N * (conv.K * conv.output_size())) return;
    const Division nk_pq = divide(i, conv.output_size()), n_k = divide(nk_pq.quotient, conv.K);
    const int p = (int)nk_pq.remainder / conv.Q, q = (int)nk_pq.remainder % conv.Q;
    const int64 n = n_k.quotient;
    const int k = (int)n_k.remainder, channels = conv.group_channels();
    const int first_c = k / conv.group_outputs() * channels;
    const real* filter = weight + (int64)k * channels * conv.R * conv.S;
    real sum = 0;
    for (int c = 0; c < channels; ++c) {
        const real* plane = input + (n * conv.C + first_c + c) * conv.input_size();
        for (int r = 0; r < conv.R; ++r) {
            const int h = rows.input(p, r);
            for (int s = 0; s < conv.S; ++s, ++filter) {
                const int w = columns.input(q, s);
                if (rows.contains(h) && columns.contains(w)) {
                    sum += plane[(int64)h * conv.W + w] * *filter;
                }
            }
        }
    }
    output[i] = finish(sum, bias, k, with_relu);
}

extern "C" __global__ void __launch_bounds__(256, 4)
conv2d_backward_input_naive(const real* __restrict__ grad, const real* __restrict__ weight,
                            const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                            const Conv2d conv) {
    const Axis rows = conv.rows(), columns = conv.columns();
    const int64 i = thread_index();
    if (i >= conv.N * (conv.C * conv.input_size())) return;
    const Division nc_hw = divide(i, conv.input_size()), n_c = divide(nc_hw.quotient, conv.C);
    const int h = (int)nc_hw.remainder / conv.W, w = (int)nc_hw.remainder % conv.W;
    const int64 n = n_c.quotient;
    const int c = (int)n_c.remainder, channels = conv.group_channels();
    const int outputs = conv.group_outputs(), first_k = c / channels * outputs;
    real sum = 0;
    for (int k = first_k; k < first_k + outputs; ++k) {
        const real* plane = grad + (n * conv.K + k) * conv.output_size();
        const real* filter = weight + ((int64)k * channels + c % channels) * conv.R * conv.S;
        for (int r = 0; r < conv.R; ++r) {
            const int p = rows.output(h, r);
            for (int s = 0; s < conv.S; ++s, ++filter) {
                const int q = columns.output(w, s);
                if (p >= 0 && q >= 0) sum += plane[(int64)p * conv.Q + q] * *filter;
            }
        }
    }
    input_grad[i] = finish(sum, bias, c, 0);
}

// An element of the weight's gradient, or of the bias's if `ones`: output k and, of the weight,
// input channel c and element (r, s) of the filter. `index` counts the elements of k's filter, and
// after them is k's bias.
struct WeightElement {
    int k, c, r, s;
    bool ones;

    __device__ WeightElement(const Conv2d& conv, int k, int index) : k(k) {
        const int channels = conv.group_channels(), filter = conv.R * conv.S;
        ones = index == channels * filter;
        c = k / conv.group_outputs() * channels + (ones ? 0 : index / filter);
        r = index % filter / conv.S;
        s = index % conv.S;
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
conv2d_backward_weight_naive(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             const Conv2d conv) {
    const Axis rows = conv.rows(), columns = conv.columns();
    const int filter = conv.group_channels() * conv.R * conv.S;
    const int64 i = thread_index(), elements = (int64)filter + (bias_grad ? 1 : 0);
    if (i >= conv.K * elements) return;
    const Division at = divide(i, elements);
    const int index = (int)at.remainder;
    const WeightElement e(conv, (int)at.quotient, index);
    real sum = 0;
    for (int64 n = 0; n < conv.N; ++n) {
        const real* outputs = grad + (n * conv.K + e.k) * conv.output_size();
        const real* plane = input + (n * conv.C + e.c) * conv.input_size();
        for (int p = 0; p < conv.P; ++p) {
            const int h = rows.input(p, e.r);
            if (!e.ones && !rows.contains(h)) continue;
            for (int q = 0; q < conv.Q; ++q) {
                const int w = columns.input(q, e.s);
                if (!e.ones && !columns.contains(w)) continue;
                const real x = e.ones ? 1 : plane[(int64)h * conv.W + w];
                sum += outputs[(int64)p * conv.Q + q] * x;
            }
        }
    }
    *(e.ones ? bias_grad + e.k : weight_grad + (int64)e.k * filter + index) = sum;
}

// A block owns an element: its threads go through (n, p, q), 256 apart, and a fixed tree adds them.
extern "C" __global__ void __launch_bounds__(256)
conv2d_backward_weight_block(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             const Conv2d conv) {
    const Axis rows = conv.rows(), columns = conv.columns();
    const int filter = conv.group_channels() * conv.R * conv.S;
    const int elements = filter + (bias_grad ? 1 : 0), index = blockIdx.x % elements;
    const WeightElement e(conv, blockIdx.x / elements, index);
    real sum = 0;
    for (int64 i = threadIdx.x; i < conv.N * conv.output_size(); i += blockDim.x) {
        const Division n_pq = divide(i, conv.output_size());
        const int64 n = n_pq.quotient;
        const int pq = (int)n_pq.remainder;
        const int h = rows.input(pq / conv.Q, e.r), w = columns.input(pq % conv.Q, e.s);
        const real dy = grad[(n * conv.K + e.k) * conv.output_size() + pq];
        if (e.ones) {
            sum += dy;
        } else if (rows.contains(h) && columns.contains(w)) {
            sum += dy * input[((n * conv.C + e.c) * conv.H + h) * conv.W + w];
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        *(e.ones ? bias_grad + e.k : weight_grad + (int64)e.k * filter + index) = sum;
    }
}

// --- tiled: implicit matrix products -------------------------------------------------------------

using Flat = Tile<8, 128, 16, 2, 4>;   // for few rows
using Small = Tile<16, 64, 32, 2, 4>;  // for few columns: more blocks, and a quarter of the slabs
using Narrow = Tile<16, 128, 8, 4, 4>;
using SmallWeight = Tile<16, 32, 32, 2, 2>;
using NarrowWeight = Tile<16, 64, 16, 2, 4>;
static_assert(Flat::THREADS == 128 && Small::THREADS == 128, "as __launch_bounds__ below");
static_assert(Narrow::THREADS == 128 && NarrowWeight::THREADS == 128, "likewise");
static_assert(SmallWeight::THREADS == 128, "likewise");
// At most 96, 128 and 168 registers: no spill.
constexpr int INPUT_BLOCKS = sizeof(real) == 4 ? 5 : 4, WEIGHT_BLOCKS = sizeof(real) == 4 ? 4 : 3;

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_8x128(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                     const Conv2d conv, int with_relu) {
    forward<Flat>(conv, input, weight, bias, output, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_16x64(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                     const Conv2d conv, int with_relu) {
    forward<Small>(conv, input, weight, bias, output, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_16x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                      const Conv2d conv, int with_relu) {
    forward<Narrow>(conv, input, weight, bias, output, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_8x128(const real* __restrict__ grad, const real* __restrict__ weight,
                            const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                            const Conv2d conv) {
    backward_input<Flat>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_16x64(const real* __restrict__ grad, const real* __restrict__ weight,
                            const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                            const Conv2d conv) {
    backward_input<Small>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128, INPUT_BLOCKS)
conv2d_backward_input_16x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                             const Conv2d conv) {
    backward_input<Narrow>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_weight_16x32(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ partials, real* __restrict__ NULLABLE bias_grad,
                             const Conv2d conv, int splits, int pitch) {
    backward_weight<SmallWeight>(conv, grad, input, partials, bias_grad, splits, pitch);
}

extern "C" __global__ void __launch_bounds__(128, WEIGHT_BLOCKS)
conv2d_backward_weight_16x64(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ partials, real* __restrict__ NULLABLE bias_grad,
                             const Conv2d conv, int splits, int pitch) {
    backward_weight<NarrowWeight>(conv, grad, input, partials, bias_grad, splits, pitch);
}
