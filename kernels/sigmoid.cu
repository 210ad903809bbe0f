// Sigmoid: y = 1 / (1 + exp(-x)), and dx = dy y (1 - y). Nothing overflows (common.cuh).
//
// Arrays of n elements, any shape. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
sigmoid_forward(const real* __restrict__ input, real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = sigmoid(input[i]);
}

extern "C" __global__ void __launch_bounds__(256)
sigmoid_backward(const real* __restrict__ grad, const real* __restrict__ output,
                 real* __restrict__ input_grad, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real y = output[i];
    input_grad[i] = grad[i] * (y * (1 - y));
}
