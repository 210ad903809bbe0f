// Binary cross-entropy of probabilities x and targets t: the loss of an element is
// -t log x - (1 - t) log(1 - x), with logarithms clamped to -100, and
// dx = scale (x - t) / max(x (1 - x), 1e-12), where scale is the gradient of the reduced loss,
// divided by n if that is a mean.
//
// Input and target are arrays of n elements, any shape. Forward writes each element's loss;
// forward_sum is the first stage of their sum (sum_terms).

// NaN stays NaN.
__device__ inline real clamp_log(real x) {
    return x < -100 ? -100 : x;
}

__device__ inline real term(real x, real target) {
    return -(target * clamp_log(log(x)) + (1 - target) * clamp_log(log1p(-x)));
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_forward(const real* __restrict__ input, const real* __restrict__ target,
                             real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = term(input[i], target[i]);
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_forward_sum(const real* __restrict__ input, const real* __restrict__ target,
                                 real* __restrict__ partials, int64 n, real scale) {
    sum_terms(partials, n, scale, [&](int64 i) { return term(input[i], target[i]); });
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_backward(const real* __restrict__ input, const real* __restrict__ target,
                              real* __restrict__ input_grad, int64 n, real scale) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i], spread = x * (1 - x), least = real(1e-12);
    input_grad[i] = scale * (x - target[i]) / (spread < least ? least : spread);
}
