// Hyperbolic tangent: y = tanh(x), and dx = dy (1 - y) (1 + y): of y^2, rounded, nothing would be
// left near 1.
//
// Arrays of n elements, any shape. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
tanh_forward(const real* __restrict__ input, real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = tanh(input[i]);
}

extern "C" __global__ void __launch_bounds__(256)
tanh_backward(const real* __restrict__ grad, const real* __restrict__ output,
              real* __restrict__ input_grad, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real y = output[i];
    input_grad[i] = grad[i] * ((1 - y) * (1 + y));
}
