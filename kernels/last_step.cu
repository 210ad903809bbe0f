// The last step of sequences: input and input_grad (batch, steps, features), output and grad
// (batch, features). The gradient of the other steps is zero.
//
// Each thread owns one of n elements of the output, or of the input's gradient.

extern "C" __global__ void __launch_bounds__(256)
last_step_forward(const real* __restrict__ input, real* __restrict__ output, int64 n, int steps,
                  int features) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Division at = divide(i, features);
    output[i] = input[((at.quotient + 1) * steps - 1) * features + at.remainder];
}

extern "C" __global__ void __launch_bounds__(256)
last_step_backward(const real* __restrict__ grad, real* __restrict__ input_grad, int64 n, int steps,
                   int features) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Division at = divide(i, features), step = divide(at.quotient, steps);
    const bool is_last = step.remainder == steps - 1;
    input_grad[i] = is_last ? grad[step.quotient * features + at.remainder] : 0;
}
