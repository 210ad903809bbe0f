// Max pooling: y is the maximum under the window, the first of equal elements in row-major order; a
// NaN exceeds every number, and the first NaN stays. Indices are the positions of the maxima in the
// flattened plane. Backward adds dy to the input element at the index, except where relu_output, y
// after a ReLU before the pooling, is not positive: the result of that ReLU's backward.
//
// Shapes: input and input_grad (planes, H, W); output, indices, grad and relu_output (planes, P,
// Q). A plane is a sample's channel. Forward: a thread owns an output element and goes through its
// window in order. Backward: a thread owns an input element and gathers, in row-major order, from
// the windows over it, so that no two threads add to one element.

#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
max_pool2d_forward(const real* __restrict__ input, real* __restrict__ output,
                   int64* __restrict__ NULLABLE indices, const Window window, int64 planes) {
    const int64 i = thread_index();
    if (i >= planes * window.output_size()) return;
    const Division at = divide(i, window.output_size());
    const int p = (int)at.remainder / window.Q, q = (int)at.remainder % window.Q;
    const real* plane = input + at.quotient * window.input_size();
    real maximum = 0;
    int argmax = -1;
    window.each_input(p, q, [&](int index) {
        const real x = plane[index];
        if (argmax < 0 || exceeds(x, maximum)) {
            maximum = x;
            argmax = index;
        }
    });
    output[i] = maximum;
    if (indices) indices[i] = argmax;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool2d_backward(const real* __restrict__ grad, const int64* __restrict__ indices,
                    const real* __restrict__ NULLABLE relu_output, real* __restrict__ input_grad,
                    const Window window, int64 planes) {
    const int64 i = thread_index();
    if (i >= planes * window.input_size()) return;
    const Division at = divide(i, window.input_size());
    const int index = (int)at.remainder;
    const int64 first = at.quotient * window.output_size();
    real sum = 0;
    window.each_output(index / window.W, index % window.W, [&](int p, int q) {
        const int64 output = first + p * window.Q + q;
        const bool passes = !relu_output || relu_output[output] > 0;
        if (passes && indices[output] == index) sum += grad[output];
    });
    input_grad[i] = sum;
}
