// Cross-entropy of scores x with classes: the loss of a row with class t is
// log(sum of exp(x)) - x[t], and dx = scale (softmax(x) - onehot(t)), where scale is the gradient
// of the reduced loss, divided by the number of rows if that is a mean.
//
// Nothing overflows and nothing cancels, however large the scores are and however certain the class
// is. The maximum is subtracted from the scores first. The sum of the exponentials is split into
// the target's, `power`, and `rest`, that of all other classes. If the target has the maximum,
// power is 1, the loss is log1p(rest), and the gradient of the target's score is
// -rest / (power + rest), which as probability - 1 would be a difference of nearly equal numbers.
//
// Shapes: input and input_grad (rows, classes), target (rows). Forward writes each row's loss;
// forward_sum is the first stage of their sum (sum_terms). The host does not wait to look at
// labels: a class out of range makes its row NaN, and a training run stops.
//
// Variants (rows.cuh): a thread owns a row; *_wide, for rows of many classes, a block owns a row.

#include "rows.cuh"

__device__ inline bool in_range(int64 target, int classes) {
    return target >= 0 && target < classes;
}

// The exponentials of a row, whose class is in range.
struct Powers {
    real maximum, power, rest;

    template <typename Owner>
    __device__ static Powers of(const real* row, int target, int classes) {
        const real maximum = Owner::maximum(row, classes, 1).value;
        real rest = 0;
        for (int c = Owner::first(); c < classes; c += Owner::step()) {
            rest += c == target ? 0 : exp(row[c] - maximum);
        }
        return {maximum, exp(row[target] - maximum), Owner::sum(rest)};
    }
};

template <typename Owner>
__device__ inline real row_loss(const real* row, int64 target, int classes) {
    if (!in_range(target, classes)) return not_a_number();
    const Powers of = Powers::of<Owner>(row, (int)target, classes);
    return log1p(of.rest + (of.power - 1)) - (row[target] - of.maximum);
}

template <typename Owner>
__device__ inline void row_grad(const real* row, int64 target, real* grad, int classes,
                                real scale) {
    const bool valid = in_range(target, classes);
    const Powers of = Powers::of<Owner>(row, valid ? (int)target : 0, classes);
    const real total = of.power + of.rest;
    for (int c = Owner::first(); c < classes; c += Owner::step()) {
        const real share = c == target ? -of.rest : exp(row[c] - of.maximum);
        grad[c] = valid ? scale * (share / total) : not_a_number();
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
cross_entropy_forward(const real* __restrict__ input, const int64* __restrict__ target,
                      real* __restrict__ output, int64 rows, int classes) {
    const int64 n = thread_index();
    if (n >= rows) return;
    output[n] = row_loss<ThreadOwner>(input + n * classes, target[n], classes);
}

extern "C" __global__ void __launch_bounds__(256, 4)
cross_entropy_forward_sum(const real* __restrict__ input, const int64* __restrict__ target,
                          real* __restrict__ partials, int64 rows, int classes, real scale) {
    sum_terms(partials, rows, scale, [&](int64 n) {
        return row_loss<ThreadOwner>(input + n * classes, target[n], classes);
    });
}

extern "C" __global__ void __launch_bounds__(256, 4)
cross_entropy_backward(const real* __restrict__ input, const int64* __restrict__ target,
                       real* __restrict__ input_grad, int64 rows, int classes, real scale) {
    const int64 n = thread_index();
    if (n >= rows) return;
    row_grad<ThreadOwner>(input + n * classes, target[n], input_grad + n * classes, classes, scale);
}

// The caller adds the losses for the other reductions: sum_partials (sum.cu).
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_forward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                           real* __restrict__ output, int classes, real scale) {
    const int64 n = blockIdx.x;
    const real loss = row_loss<BlockOwner>(input + n * classes, target[n], classes);
    if (threadIdx.x == 0) output[n] = loss * scale;
}

extern "C" __global__ void __launch_bounds__(256)
cross_entropy_backward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                            real* __restrict__ input_grad, int classes, real scale) {
    const int64 n = blockIdx.x;
    row_grad<BlockOwner>(input + n * classes, target[n], input_grad + n * classes, classes, scale);
}
