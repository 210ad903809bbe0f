// Cross-entropy of scores x with classes. The loss of a row with class t is
//   (1 - s) w[t] L[t] + s / C times the sum over c of w[c] L[c],
// where L[c] = log(sum of exp(x)) - x[c] is minus the logarithm of a class's probability, C the
// number of classes, w their weights and s the label smoothing: w[t] L[t] if s is 0.
// So dx[c] = (sum of q) softmax(x)[c] - q[c], where q[c] is the factor of L[c]. A row whose class
// is ignore_index has the loss and the gradient 0.
//
// A mean divides the sum of the losses by the sum of w[t] over the rows that are not ignored. If
// that is 0, the mean is NaN and its gradient 0.
//
// Nothing overflows and nothing cancels, however large the scores are and however certain the class
// is. The maximum is subtracted from the scores first. The sum of the exponentials is split into
// the target's, `power`, and `rest`, that of all other classes. If the target has the maximum,
// power is 1, L[t] is log1p(rest), and the gradient of the target's score is
// -rest / (power + rest), which as probability - 1 would be a difference of nearly equal numbers.
//
// Shapes: input and input_grad (outer, classes, inner), target (outer, inner): rows as in rows.cuh.
// weight (classes), or null for 1. Forward writes each row's loss; forward_sum is the first stage
// of their sum (sum_terms). The host does not wait to look at labels: a class out of range makes
// its row NaN, and a training run stops.
//
// Variants: a thread owns a row; *_wide, for rows of many classes, a block owns a row. Neighbouring
// threads then access elements that are `classes` apart: of a row of 10 floats, each access uses 4
// bytes of a sector of 32, and the next ones the others, from the L1 cache. The arrays are small.

#include "rows.cuh"

// The classes of all rows, and how much each counts.
struct Labels {
    const int64* target;
    const real* weight;
    int64 rows;
    int classes;
    int64 ignore_index;
    real smoothing;

    __device__ bool ignored(int64 n) const { return target[n] == ignore_index; }
    __device__ bool valid(int64 n) const { return target[n] >= 0 && target[n] < classes; }
    __device__ real weight_of(int64 c) const { return weight ? weight[c] : 1; }

    // How much row n adds to the divisor of a mean. One that is out of range makes the mean NaN by
    // its loss.
    __device__ real count(int64 n) const {
        if (ignored(n)) return 0;
        return valid(n) ? weight_of(target[n]) : 1;
    }

    // What the sum of the losses is divided by. weight_sum, if not null, holds the sum of all
    // counts; otherwise each block adds them itself. All threads of a block must call it.
    __device__ real divisor(const real* weight_sum, int mean) const {
        if (!mean) return 1;
        if (weight_sum) return weight_sum[0];
        real sum = 0;
        for (int64 n = threadIdx.x; n < rows; n += blockDim.x) sum += count(n);
        return block_sum(sum);
    }
};

// The exponentials of a row, whose class is in range.
struct Powers {
    real maximum, power, rest;

    template <typename Owner>
    __device__ static Powers of(const real* row, int target, int classes, int64 inner) {
        const real maximum = Owner::maximum(row, classes, inner).value;
        real rest = 0;
        for (int c = Owner::first(); c < classes; c += Owner::step()) {
            rest += c == target ? 0 : exp(row[c * inner] - maximum);
        }
        return {maximum, exp(row[target * inner] - maximum), Owner::sum(rest)};
    }
};

template <typename Owner>
__device__ inline real row_loss(const real* input, const Labels& labels, int64 n, int64 inner) {
    if (labels.ignored(n)) return 0;
    if (!labels.valid(n)) return not_a_number();
    const int classes = labels.classes, target = (int)labels.target[n];
    const real* row = input + row_start(n, classes, inner);
    const Powers of = Powers::of<Owner>(row, target, classes, inner);
    const real log_total = log1p(of.rest + (of.power - 1));
    const real own = labels.weight_of(target) * (log_total - (row[target * inner] - of.maximum));
    if (labels.smoothing == 0) return own;
    real sum = 0;
    for (int c = Owner::first(); c < classes; c += Owner::step()) {
        sum += labels.weight_of(c) * (log_total - (row[c * inner] - of.maximum));
    }
    return (1 - labels.smoothing) * own + labels.smoothing / classes * Owner::sum(sum);
}

template <typename Owner>
__device__ inline void row_grad(const real* input, const Labels& labels, real* input_grad, int64 n,
                                int64 inner, real scale) {
    const int classes = labels.classes;
    const int64 first = row_start(n, classes, inner);
    const real* row = input + first;
    real* grad = input_grad + first;
    if (labels.ignored(n) || !labels.valid(n)) {
        const real value = labels.ignored(n) ? 0 : not_a_number();
        for (int c = Owner::first(); c < classes; c += Owner::step()) grad[c * inner] = value;
        return;
    }
    const int target = (int)labels.target[n];
    const real share = labels.smoothing / classes;
    real others = 0;  // q of the classes that are not the target; q of the target is `own`
    if (labels.smoothing != 0) {
        for (int c = Owner::first(); c < classes; c += Owner::step()) {
            others += c == target ? 0 : share * labels.weight_of(c);
        }
        others = Owner::sum(others);
    }
    const real own = (1 - labels.smoothing + share) * labels.weight_of(target);
    const Powers of = Powers::of<Owner>(row, target, classes, inner);
    const real factor = (own + others) / (of.power + of.rest);
    for (int c = Owner::first(); c < classes; c += Owner::step()) {
        real value;
        if (c == target && of.power > of.rest) {
            value = others - factor * of.rest;
        } else {
            const real q = c == target ? own : share * labels.weight_of(c);
            value = factor * exp(row[c * inner] - of.maximum) - q;
        }
        grad[c * inner] = scale * value;
    }
}

__device__ inline real loss_scale(real divisor) {
    return divisor == 0 ? not_a_number() : 1 / divisor;
}

__device__ inline real grad_scale(real grad, real divisor) {
    return divisor == 0 ? 0 : grad / divisor;
}

// The first stage of the sum of the targets' weights.
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_weight_sum(const int64* __restrict__ target, const real* __restrict__ NULLABLE weight,
                         real* __restrict__ partials, int64 rows, int classes,
                         int64 ignore_index) {
    const Labels labels = {target, weight, rows, classes, ignore_index, 0};
    sum_terms(partials, rows, 1, [&](int64 n) { return labels.count(n); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
cross_entropy_forward(const real* __restrict__ input, const int64* __restrict__ target,
                      const real* __restrict__ NULLABLE weight, real* __restrict__ output,
                      int64 rows, int classes, int64 inner, int64 ignore_index, real smoothing) {
    const int64 n = thread_index();
    if (n >= rows) return;
    const Labels labels = {target, weight, rows, classes, ignore_index, smoothing};
    output[n] = row_loss<ThreadOwner>(input, labels, n, inner);
}

extern "C" __global__ void __launch_bounds__(256, 4)
cross_entropy_forward_sum(const real* __restrict__ input, const int64* __restrict__ target,
                          const real* __restrict__ NULLABLE weight,
                          const real* __restrict__ NULLABLE weight_sum,
                          real* __restrict__ partials, int64 rows, int classes, int64 inner,
                          int64 ignore_index, int mean, real smoothing) {
    const Labels labels = {target, weight, rows, classes, ignore_index, smoothing};
    const real scale = loss_scale(labels.divisor(weight_sum, mean));
    sum_terms(partials, rows, scale, [&](int64 n) {
        return row_loss<ThreadOwner>(input, labels, n, inner);
    });
}

extern "C" __global__ void __launch_bounds__(256, 4)
cross_entropy_backward(const real* __restrict__ input, const int64* __restrict__ target,
                       const real* __restrict__ NULLABLE weight,
                       const real* __restrict__ NULLABLE weight_sum,
                       real* __restrict__ input_grad, int64 rows, int classes, int64 inner,
                       int64 ignore_index, int mean, real smoothing, real grad) {
    const Labels labels = {target, weight, rows, classes, ignore_index, smoothing};
    const real scale = grad_scale(grad, labels.divisor(weight_sum, mean));
    const int64 n = thread_index();
    if (n >= rows) return;
    row_grad<ThreadOwner>(input, labels, input_grad, n, inner, scale);
}

// The caller adds the losses for the other reductions: sum_partials (sum.cu).
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_forward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                           const real* __restrict__ NULLABLE weight,
                           const real* __restrict__ NULLABLE weight_sum,
                           real* __restrict__ output, int64 rows, int classes, int64 inner,
                           int64 ignore_index, int mean, real smoothing) {
    const Labels labels = {target, weight, rows, classes, ignore_index, smoothing};
    const real scale = loss_scale(labels.divisor(weight_sum, mean));
    const real loss = row_loss<BlockOwner>(input, labels, blockIdx.x, inner);
    if (threadIdx.x == 0) output[blockIdx.x] = loss * scale;
}

extern "C" __global__ void __launch_bounds__(256)
cross_entropy_backward_wide(const real* __restrict__ input, const int64* __restrict__ target,
                            const real* __restrict__ NULLABLE weight,
                            const real* __restrict__ NULLABLE weight_sum,
                            real* __restrict__ input_grad, int64 rows, int classes, int64 inner,
                            int64 ignore_index, int mean, real smoothing, real grad) {
    const Labels labels = {target, weight, rows, classes, ignore_index, smoothing};
    const real scale = grad_scale(grad, labels.divisor(weight_sum, mean));
    row_grad<BlockOwner>(input, labels, input_grad, blockIdx.x, inner, scale);
}
