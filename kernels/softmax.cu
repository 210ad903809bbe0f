// Softmax along one axis: y = exp(x) / sum of exp(x), and dx = y (dy - sum of dy y). The maximum is
// subtracted before the exponentials, so that nothing overflows.
//
// An array is seen as (outer, size, inner), where the middle axis is the one to sum along: a row is
// `size` elements that are `inner` apart, and there are outer * inner rows.
//
// Variants: a thread owns a row and adds in order; *_wide, for long rows, a block owns a row and
// adds by a fixed tree.

// The index of a row's first element.
__device__ inline int64 row_start(int64 row, int size, int64 inner) {
    return row / inner * inner * size + row % inner;
}

extern "C" __global__ void __launch_bounds__(256)
softmax_forward(const real* __restrict__ input, real* __restrict__ output, int64 rows, int size,
                int64 inner) {
    const int64 row = thread_index();
    if (row >= rows) return;
    const int64 first = row_start(row, size, inner);
    real maximum = input[first];
    for (int i = 1; i < size; ++i) {
        const real x = input[first + i * inner];
        if (exceeds(x, maximum)) maximum = x;
    }
    real total = 0;
    for (int i = 0; i < size; ++i) total += exp(input[first + i * inner] - maximum);
    for (int i = 0; i < size; ++i) {
        output[first + i * inner] = exp(input[first + i * inner] - maximum) / total;
    }
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward(const real* __restrict__ grad, const real* __restrict__ output,
                 real* __restrict__ input_grad, int64 rows, int size, int64 inner) {
    const int64 row = thread_index();
    if (row >= rows) return;
    const int64 first = row_start(row, size, inner);
    real sum = 0;  // of dy y
    for (int i = 0; i < size; ++i) sum += grad[first + i * inner] * output[first + i * inner];
    for (int i = 0; i < size; ++i) {
        const int64 at = first + i * inner;
        input_grad[at] = output[at] * (grad[at] - sum);
    }
}

extern "C" __global__ void __launch_bounds__(256)
softmax_forward_wide(const real* __restrict__ input, real* __restrict__ output, int size,
                     int64 inner) {
    const int64 first = row_start(blockIdx.x, size, inner);
    const real maximum = block_max(input + first, size, inner);
    real total = 0;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        total += exp(input[first + i * inner] - maximum);
    }
    total = block_sum(total);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        output[first + i * inner] = exp(input[first + i * inner] - maximum) / total;
    }
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward_wide(const real* __restrict__ grad, const real* __restrict__ output,
                      real* __restrict__ input_grad, int size, int64 inner) {
    const int64 first = row_start(blockIdx.x, size, inner);
    real sum = 0;  // of dy y
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        sum += grad[first + i * inner] * output[first + i * inner];
    }
    sum = block_sum(sum);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        const int64 at = first + i * inner;
        input_grad[at] = output[at] * (grad[at] - sum);
    }
}
