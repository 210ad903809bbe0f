// ReLU: y = max(x, 0), and dx = dy where y > 0, else 0. Forward, NaN stays NaN; backward, it passes
// no gradient. Nothing is multiplied, so an infinite dy does not turn a zero gradient into NaN.
//
// Arrays of n elements, any shape. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
relu_forward(const real* __restrict__ input, real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i] + 0;  // a subnormal float is zero from here on: kernels/README.md
    output[i] = x <= 0 ? 0 : x;
}

extern "C" __global__ void __launch_bounds__(256)
relu_backward(const real* __restrict__ grad, const real* __restrict__ output,
              real* __restrict__ input_grad, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    input_grad[i] = output[i] > 0 ? grad[i] : 0;
}
