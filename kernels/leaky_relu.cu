// Leaky ReLU: y = x where x > 0, else negative_slope * x. Its gradient is dx = dy where x > 0, else
// negative_slope * dy. NaN stays NaN.
//
// Arrays of n elements, any shape. Each thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
leaky_relu_forward(const real* __restrict__ input, real* __restrict__ output, int64 n,
                   real negative_slope) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i];
    output[i] = x > 0 ? x : negative_slope * x;
}

extern "C" __global__ void __launch_bounds__(256)
leaky_relu_backward(const real* __restrict__ grad, const real* __restrict__ input,
                    real* __restrict__ input_grad, int64 n, real negative_slope) {
    const int64 i = thread_index();
    if (i >= n) return;
    input_grad[i] = input[i] > 0 ? grad[i] : negative_slope * grad[i];
}
