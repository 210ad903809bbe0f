// Softmax along one axis: y = exp(x) / sum of exp(x). The maximum is subtracted before the
// exponentials, so that nothing overflows.
//
// dx_i = y_i (dy_i - sum over k of dy_k y_k), in which dy_m y_m of the greatest y_m, nearly 1,
// would cancel. With dy_m subtracted from both sides, that is
// dx_i = y_i ((dy_i - dy_m) - sum over k of dy_k (y_k - (k = m))).
//
// An array is seen as (outer, size, inner), where the middle axis is the one to sum along
// (rows.cuh). Variants: a thread owns a row; *_wide, for long rows, a block owns a row.

#include "rows.cuh"

template <typename Owner>
__device__ inline void softmax_row(const real* input, real* output, int size, int64 inner) {
    const real maximum = Owner::maximum(input, size, inner).value;
    real total = 0;
    for (int i = Owner::first(); i < size; i += Owner::step()) {
        total += exp(input[i * inner] - maximum);
    }
    total = Owner::sum(total);
    for (int i = Owner::first(); i < size; i += Owner::step()) {
        output[i * inner] = exp(input[i * inner] - maximum) / total;
    }
}

template <typename Owner>
__device__ inline void softmax_row_backward(const real* grad, const real* output, real* input_grad,
                                            int size, int64 inner) {
    const int greatest = Owner::maximum(output, size, inner).index;
    const real shift = grad[greatest * inner];
    real sum = 0;
    for (int i = Owner::first(); i < size; i += Owner::step()) {
        sum += grad[i * inner] * (output[i * inner] - (i == greatest ? 1 : 0));
    }
    sum = Owner::sum(sum);
    for (int i = Owner::first(); i < size; i += Owner::step()) {
        input_grad[i * inner] = output[i * inner] * (grad[i * inner] - shift - sum);
    }
}

extern "C" __global__ void __launch_bounds__(256)
softmax_forward(const real* __restrict__ input, real* __restrict__ output, int64 rows, int size,
                int64 inner) {
    const int64 row = thread_index();
    if (row >= rows) return;
    const int64 first = row_start(row, size, inner);
    softmax_row<ThreadOwner>(input + first, output + first, size, inner);
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward(const real* __restrict__ grad, const real* __restrict__ output,
                 real* __restrict__ input_grad, int64 rows, int size, int64 inner) {
    const int64 row = thread_index();
    if (row >= rows) return;
    const int64 first = row_start(row, size, inner);
    softmax_row_backward<ThreadOwner>(grad + first, output + first, input_grad + first, size,
                                      inner);
}

extern "C" __global__ void __launch_bounds__(256, 4)
softmax_forward_wide(const real* __restrict__ input, real* __restrict__ output, int size,
                     int64 inner) {
    const int64 first = row_start(blockIdx.x, size, inner);
    softmax_row<BlockOwner>(input + first, output + first, size, inner);
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward_wide(const real* __restrict__ grad, const real* __restrict__ output,
                      real* __restrict__ input_grad, int size, int64 inner) {
    const int64 first = row_start(blockIdx.x, size, inner);
    softmax_row_backward<BlockOwner>(grad + first, output + first, input_grad + first, size,
                                     inner);
}
