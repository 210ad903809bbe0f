// Half the squared error: the loss of an element is (x - t)^2 / 2, and dx = scale times (x - t),
// where scale is the gradient of the reduced loss, divided by n if that is a mean.
//
// Input and target are arrays of n elements, any shape. Forward writes each element's loss;
// forward_sum is the first stage of their sum (sum_terms).

__device__ inline real term(real x, real target) {
    const real d = x - target;
    return d * d / 2;
}

extern "C" __global__ void __launch_bounds__(256)
half_squared_error_forward(const real* __restrict__ input, const real* __restrict__ target,
                           real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = term(input[i], target[i]);
}

extern "C" __global__ void __launch_bounds__(256)
half_squared_error_forward_sum(const real* __restrict__ input, const real* __restrict__ target,
                               real* __restrict__ partials, int64 n, real scale) {
    sum_terms(partials, n, scale, [&](int64 i) { return term(input[i], target[i]); });
}

extern "C" __global__ void __launch_bounds__(256)
half_squared_error_backward(const real* __restrict__ input, const real* __restrict__ target,
                            real* __restrict__ input_grad, int64 n, real scale) {
    const int64 i = thread_index();
    if (i >= n) return;
    input_grad[i] = scale * (input[i] - target[i]);
}
