// Binary cross-entropy of sigmoid(x) with targets t: the loss of an element is
// -p t log sigmoid(x) - (1 - t) log sigmoid(-x), where p is the weight of positive targets, and
// dx = scale ((1 - t) sigmoid(x) - p t sigmoid(-x)), where scale is the gradient of the reduced
// loss, divided by n if that is a mean.
//
// -log sigmoid(-x) is max(x, 0) + log1p(exp(-|x|)), which cannot overflow. Without weights the
// derivative is sigmoid(x) - t, but where both are nearly 1, their difference has no correct digit.
//
// Input and target are arrays of n elements, any shape. pos_weight holds p, or is null for 1: of
// `count` elements, each for `inner` consecutive elements of the input, over and over. Forward
// writes each element's loss; forward_sum is the first stage of their sum (sum_terms).

__device__ inline real weight_at(const real* pos_weight, int64 i, int64 count, int64 inner) {
    return pos_weight ? pos_weight[divide(divide(i, inner).quotient, count).remainder] : 1;
}

__device__ inline real term(real x, real target, real pos_weight) {
    const real positive = pos_weight * target, negative = 1 - target;
    const real tail = log1p(exp(-fabs(x)));
    return (x > 0 ? x * negative : -(x * positive)) + (positive + negative) * tail;
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_with_logits_forward(const real* __restrict__ input,
                                         const real* __restrict__ target,
                                         const real* __restrict__ NULLABLE pos_weight,
                                         real* __restrict__ output, int64 n, int64 count,
                                         int64 inner) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = term(input[i], target[i], weight_at(pos_weight, i, count, inner));
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_with_logits_forward_sum(const real* __restrict__ input,
                                             const real* __restrict__ target,
                                             const real* __restrict__ NULLABLE pos_weight,
                                             real* __restrict__ partials, int64 n, int64 count,
                                             int64 inner, real scale) {
    sum_terms(partials, n, scale, [&](int64 i) {
        return term(input[i], target[i], weight_at(pos_weight, i, count, inner));
    });
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_with_logits_backward(const real* __restrict__ input,
                                          const real* __restrict__ target,
                                          const real* __restrict__ NULLABLE pos_weight,
                                          real* __restrict__ input_grad, int64 n, int64 count,
                                          int64 inner, real scale) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i], t = target[i];
    const real positive = weight_at(pos_weight, i, count, inner) * t;
    input_grad[i] = scale * ((1 - t) * sigmoid(x) - positive * sigmoid(-x));
}
