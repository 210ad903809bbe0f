// Binary cross-entropy of sigmoid(x) with targets t: the loss of an element is
// -t log sigmoid(x) - (1 - t) log sigmoid(-x), and
// dx = scale ((1 - t) sigmoid(x) - t sigmoid(-x)), where scale is the gradient of the reduced loss,
// divided by n if that is a mean.
//
// -log sigmoid(-x) is max(x, 0) + log1p(exp(-|x|)), which cannot overflow. The derivative is
// sigmoid(x) - t, but where both are nearly 1, their difference has no correct digit.
//
// Input and target are arrays of n elements, any shape. Forward writes each element's loss;
// forward_sum is the first stage of their sum (sum_terms).

__device__ inline real term(real x, real target) {
    const real tail = log1p(exp(-fabs(x)));
    return (x > 0 ? x * (1 - target) : -(x * target)) + tail;
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_with_logits_forward(const real* __restrict__ input,
                                         const real* __restrict__ target,
                                         real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = term(input[i], target[i]);
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_with_logits_forward_sum(const real* __restrict__ input,
                                             const real* __restrict__ target,
                                             real* __restrict__ partials, int64 n, real scale) {
    sum_terms(partials, n, scale, [&](int64 i) { return term(input[i], target[i]); });
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_with_logits_backward(const real* __restrict__ input,
                                          const real* __restrict__ target,
                                          real* __restrict__ input_grad, int64 n, real scale) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i], t = target[i];
    input_grad[i] = scale * ((1 - t) * sigmoid(x) - t * sigmoid(-x));
}
