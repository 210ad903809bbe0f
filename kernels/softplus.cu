// Softplus: y = log(1 + exp(z)) / beta with z = beta x, and y = x where z > threshold; dx = dy
// sigmoid(z), and dx = dy where z > threshold.
//
// log(1 + exp(z)) is max(z, 0) + log1p(exp(-|z|)), which cannot overflow; for z far below 0 it is
// exp(z), and not the logarithm of a sum that is rounded to 1.
//
// Arrays of n elements, any shape. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
softplus_forward(const real* __restrict__ input, real* __restrict__ output, int64 n, real beta,
                 real threshold) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real x = input[i], z = beta * x;
    output[i] = z > threshold ? x : (relu(z) + log1p(exp(-fabs(z)))) / beta;
}

extern "C" __global__ void __launch_bounds__(256)
softplus_backward(const real* __restrict__ grad, const real* __restrict__ input,
                  real* __restrict__ input_grad, int64 n, real beta, real threshold) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real z = beta * input[i];
    input_grad[i] = z > threshold ? grad[i] : grad[i] * sigmoid(z);
}
