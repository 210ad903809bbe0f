// Cross-entropy of scores with classes: the loss of a row x with class t is
// log(sum of exp(x)) - x[t], and dx = scale (softmax(x) - onehot(t)), where scale is the gradient
// of the reduced loss, divided by the number of rows if that is a mean. The maximum is subtracted
// before the exponentials, so that nothing overflows.
//
// Shapes: input and input_grad (rows, classes), target (rows). Forward writes each row's loss;
// forward_sum is the first stage of their sum (sum_terms). The host does not wait to look at
// labels: a class out of range makes its row NaN, and a training run stops.
//
// Variants: a thread owns a row and adds in order; *_wide, for rows of many classes, a block owns a
// row and adds by a fixed tree.

__device__ inline bool in_range(int64 target, int classes) {
    return target >= 0 && target < classes;
}

__device__ inline real row_max(const real* row, int classes) {
    real maximum = row[0];
    for (int c = 1; c < classes; ++c) {
        if (exceeds(row[c], maximum)) maximum = row[c];
    }
    return maximum;
}

__device__ inline real row_loss(const real* row, int64 target, int classes) {
    if (!in_range(target, classes)) return not_a_number();
    const real maximum = row_max(row, classes);
    real total = 0;
    for (int c = 0; c < classes; ++c) total += exp(row[c] - maximum);
    return log(total) + maximum - row[target];
}

extern "C" __global__ void __launch_bounds__(256, 4)
cross_entropy_forward(const real* __restrict__ input, const int64* __restrict__ target,
                      real* __restrict__ output, int64 rows, int classes) {
    const int64 n = thread_index();
    if (n >= rows) return;
    output[n] = row_loss(input + n * classes, target[n], classes);
}

extern "C" __global__ void __launch_bounds__(256)
cross_entropy_forward_sum(const real* __restrict__ input, const int64* __restrict__ target,
                          real* __restrict__ partials, int64 rows, int classes, real scale) {
    sum_terms(partials, rows, scale, [&](int64 n) {
        return row_loss(input + n * classes, target[n], classes);
    });
}

extern "C" __global__ void __launch_bounds__(256)
cross_entropy_backward(const real* __restrict__ input, const int64* __restrict__ target,
                       real* __restrict__ input_grad, int64 rows, int classes, real scale) {
    const int64 n = thread_index();
    if (n >= rows) return;
    const real* row = input + n * classes;
    real* grad = input_grad + n * classes;
    const int64 label = target[n];
    const bool valid = in_range(label, classes);
    const real maximum = row_max(row, classes);
    real total = 0;
    for (int c = 0; c < classes; ++c) total += exp(row[c] - maximum);
    for (int c = 0; c < classes; ++c) {
        const real probability = exp(row[c] - maximum) / total;
        grad[c] = valid ? scale * (probability - (c == label ? 1 : 0)) : not_a_number();
    }
}

// The caller adds the losses for the other reductions: sum_partials (sum.cu).
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_forward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                           real* __restrict__ output, int classes, real scale) {
    const int64 n = blockIdx.x;
    const real* row = input + n * classes;
    const real maximum = block_max(row, classes, 1);
    real total = 0;
    for (int c = threadIdx.x; c < classes; c += blockDim.x) total += exp(row[c] - maximum);
    total = block_sum(total);
    if (threadIdx.x > 0) return;
    const bool valid = in_range(target[n], classes);
    const real loss = valid ? log(total) + maximum - row[target[n]] : not_a_number();
    output[n] = loss * scale;
}

extern "C" __global__ void __launch_bounds__(256)
cross_entropy_backward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                            real* __restrict__ input_grad, int classes, real scale) {
    const int64 n = blockIdx.x;
    const real* row = input + n * classes;
    const int64 label = target[n];
    const bool valid = in_range(label, classes);
    const real maximum = block_max(row, classes, 1);
    real total = 0;
    for (int c = threadIdx.x; c < classes; c += blockDim.x) total += exp(row[c] - maximum);
    total = block_sum(total);
    for (int c = threadIdx.x; c < classes; c += blockDim.x) {
        const real probability = exp(row[c] - maximum) / total;
        input_grad[n * classes + c] =
            valid ? scale * (probability - (c == label ? 1 : 0)) : not_a_number();
    }
}
