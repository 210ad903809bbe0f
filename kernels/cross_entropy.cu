// Cross-entropy of scores with classes: the loss of a row x with class t is
// log(sum of exp(x)) - x[t], and dx = scale (softmax(x) - onehot(t)), where scale holds the
// gradient of the reduced loss and, for a mean, the division by the number of rows. The greatest
// score is taken off before the exponentials, so that nothing overflows.
//
// Shapes: input and input_grad (rows, classes), target (rows). A thread owns a row and goes through
// it in order; forward writes each row's loss, forward_sum is the first stage of their sum
// (common.cuh: fixed shares, a fixed tree). A class outside the row makes the row NaN, which stops
// a training run; the host does not wait to look at labels.
//
// Variants: a thread a row; *_wide, a block a row, for rows of many classes.

__device__ inline real greatest_of(const real* row, int classes) {
    real greatest = row[0];
    for (int c = 1; c < classes; ++c) {
        if (row[c] > greatest || is_nan(row[c])) greatest = row[c];
    }
    return greatest;
}

__device__ inline real row_loss(const real* row, int64 target, int classes) {
    if (target < 0 || target >= classes) return not_a_number();
    const real greatest = greatest_of(row, classes);
    real total = 0;
    for (int c = 0; c < classes; ++c) total += exp(row[c] - greatest);
    return log(total) + greatest - row[target];
}

extern "C" __global__ void __launch_bounds__(256)
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
    real* out = input_grad + n * classes;
    const int64 right = target[n];
    const bool known = right >= 0 && right < classes;
    const real greatest = greatest_of(row, classes);
    real total = 0;
    for (int c = 0; c < classes; ++c) total += exp(row[c] - greatest);
    for (int c = 0; c < classes; ++c) {
        const real share = exp(row[c] - greatest) / total;
        out[c] = known ? scale * (share - (c == right ? 1 : 0)) : not_a_number();
    }
}

// The loss of the block's row, given to thread 0.
__device__ inline real block_row_loss(const real* row, int64 target, int classes) {
    const real greatest = block_max(row, classes, 1);
    real total = 0;
    for (int c = threadIdx.x; c < classes; c += blockDim.x) total += exp(row[c] - greatest);
    total = block_sum(total);
    if (target < 0 || target >= classes) return not_a_number();
    return log(total) + greatest - row[target];
}

// A block owns a row: forward for any reduction, as sum_partials can add what this writes.
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_forward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                           real* __restrict__ output, int classes, real scale) {
    const int64 n = blockIdx.x;
    const real loss = block_row_loss(input + n * classes, target[n], classes);
    if (threadIdx.x == 0) output[n] = loss * scale;
}

extern "C" __global__ void __launch_bounds__(256)
cross_entropy_backward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                            real* __restrict__ input_grad, int classes, real scale) {
    const int64 n = blockIdx.x;
    const real* row = input + n * classes;
    const int64 right = target[n];
    const bool known = right >= 0 && right < classes;
    const real greatest = block_max(row, classes, 1);
    real total = 0;
    for (int c = threadIdx.x; c < classes; c += blockDim.x) total += exp(row[c] - greatest);
    total = block_sum(total);
    for (int c = threadIdx.x; c < classes; c += blockDim.x) {
        const real share = exp(row[c] - greatest) / total;
        input_grad[n * classes + c] =
            known ? scale * (share - (c == right ? 1 : 0)) : not_a_number();
    }
}
