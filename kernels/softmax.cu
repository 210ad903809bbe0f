// Softmax along one axis: y = exp(x) / sum of exp(x), and dx = y (dy - sum of dy y). The greatest
// element is taken off before the exponentials, so that nothing overflows.
//
// An array is seen as (outer, size, inner), the middle axis being the one that is summed along: a
// line is `size` elements, `inner` apart, and there are outer * inner of them.
//
// Variants: a thread a line, in order; *_wide, a block a line and fixed trees, for long lines.

extern "C" __global__ void __launch_bounds__(256)
softmax_forward(const real* __restrict__ input, real* __restrict__ output, int64 lines, int size,
                int64 inner) {
    const int64 line = thread_index();
    if (line >= lines) return;
    const int64 first = line / inner * inner * size + line % inner;
    real greatest = input[first];
    for (int i = 1; i < size; ++i) {
        const real x = input[first + i * inner];
        if (x > greatest || is_nan(x)) greatest = x;
    }
    real total = 0;
    for (int i = 0; i < size; ++i) total += exp(input[first + i * inner] - greatest);
    for (int i = 0; i < size; ++i) {
        output[first + i * inner] = exp(input[first + i * inner] - greatest) / total;
    }
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward(const real* __restrict__ grad, const real* __restrict__ output,
                 real* __restrict__ input_grad, int64 lines, int size, int64 inner) {
    const int64 line = thread_index();
    if (line >= lines) return;
    const int64 first = line / inner * inner * size + line % inner;
    real along = 0;
    for (int i = 0; i < size; ++i) along += grad[first + i * inner] * output[first + i * inner];
    for (int i = 0; i < size; ++i) {
        const int64 at = first + i * inner;
        input_grad[at] = output[at] * (grad[at] - along);
    }
}

extern "C" __global__ void __launch_bounds__(256)
softmax_forward_wide(const real* __restrict__ input, real* __restrict__ output, int size,
                     int64 inner) {
    const int64 line = blockIdx.x;
    const int64 first = line / inner * inner * size + line % inner;
    const real greatest = block_max(input + first, size, inner);
    real total = 0;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        total += exp(input[first + i * inner] - greatest);
    }
    total = block_sum(total);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        output[first + i * inner] = exp(input[first + i * inner] - greatest) / total;
    }
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward_wide(const real* __restrict__ grad, const real* __restrict__ output,
                      real* __restrict__ input_grad, int size, int64 inner) {
    const int64 line = blockIdx.x;
    const int64 first = line / inner * inner * size + line % inner;
    real along = 0;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        along += grad[first + i * inner] * output[first + i * inner];
    }
    along = block_sum(along);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        const int64 at = first + i * inner;
        input_grad[at] = output[at] * (grad[at] - along);
    }
}
