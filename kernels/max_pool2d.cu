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

// Whether each row of a window is a pair of elements, the 2 q-th and the next, as in the usual
// pooling of 2 by 2: two loads of 8 bytes instead of four of which each uses half of its sectors.
// Of other windows neighbouring threads read neighbouring or common elements.
__device__ inline bool windows_are_pairs(const Window& window) {
    return window.S == 2 && window.stride_w == 2 && window.dilation_w == 1 && window.pad_w == 0 &&
           window.W % 2 == 0 && window.Q <= window.W / 2;
}

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
    const auto add = [&](int index, real x) {
        if (argmax < 0 || exceeds(x, maximum)) {
            maximum = x;
            argmax = index;
        }
    };
    if (windows_are_pairs(window) && is_aligned<2>(input)) {
        const Axis rows = window.rows();
        for (int r = 0; r < window.R; ++r) {
            const int h = rows.input(p, r), index = h * window.W + 2 * q;
            if (!rows.contains(h)) continue;
            const Vector<2> x = *(const Vector<2>*)(plane + index);
            add(index, x.at[0]);
            add(index + 1, x.at[1]);
        }
    } else {
        window.each_input(p, q, [&](int index) { add(index, plane[index]); });
    }
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
