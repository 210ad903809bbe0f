// ELU: y = x where x > 0, else alpha (exp(x) - 1). Its gradient is dx = dy where x > 0, else
// dy alpha exp(x). expm1 cancels nothing near 0, and the exponential of a positive x, which could
// overflow, is not taken. NaN stays NaN.
//
// Arrays of n elements, any shape. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
elu_forward(const real* __restrict__ input, real* __restrict__ output, int64 n, real alpha) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i];
    output[i] = x > 0 ? x : alpha * expm1(x);
}

extern "C" __global__ void __launch_bounds__(256)
elu_backward(const real* __restrict__ grad, const real* __restrict__ input,
             real* __restrict__ input_grad, int64 n, real alpha) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i];
    input_grad[i] = x > 0 ? grad[i] : grad[i] * (alpha * exp(x));
}
