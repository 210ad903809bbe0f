// SiLU: y = x s, s the sigmoid of x, and dx = dy s (1 + x (1 - s)). Nothing overflows (common.cuh).
//
// Arrays of n elements, any shape. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
silu_forward(const real* __restrict__ input, real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i];
    output[i] = x * sigmoid(x);
}

extern "C" __global__ void __launch_bounds__(256)
silu_backward(const real* __restrict__ grad, const real* __restrict__ input,
              real* __restrict__ input_grad, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i], s = sigmoid(x);
    input_grad[i] = grad[i] * (s * (1 + x * (1 - s)));
}
