// Average pooling: y is the sum under the window over a divisor, and dx the sum of dy / divisor
// over the windows over x. The divisor is `divisor` unless that is 0; else it is the number of
// the window's elements inside the plane and, with count_pad, in its padding (not beyond the
// padding's end, where ceil_mode lets a window reach). A divisor of 1 makes it sum pooling.
//
// Shapes: input and input_grad (planes, H, W), output and grad (planes, P, Q). A plane is a
// sample's channel. pad_bottom and pad_right are the padding at the far ends. Forward: a thread
// owns an output element and adds its window in row-major order. Backward: a thread owns an input
// element and gathers from the windows over it in row-major order, so that no two threads add to
// one element.

#include "window.cuh"

// The elements that count along an axis at output position p; pad_end is the far padding.
__device__ inline int counted(const Axis& axis, int pad_end, int p, int count_pad) {
    int begin = axis.input(p, 0), end = min(begin + axis.kernel, axis.size + pad_end);
    if (!count_pad) {
        begin = max(begin, 0);
        end = min(end, axis.size);
    }
    return end - begin;
}

__device__ inline int64 counted(const Window& window, int pad_bottom, int pad_right, int p, int q,
                                int count_pad) {
    return (int64)counted(window.rows(), pad_bottom, p, count_pad) *
           counted(window.columns(), pad_right, q, count_pad);
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool2d_forward(const real* __restrict__ input, real* __restrict__ output, const Window window,
                   int64 planes, int count_pad, int divisor, int pad_bottom, int pad_right) {
    const int64 i = thread_index();
    if (i >= planes * window.output_size()) return;
    const Division at = divide(i, window.output_size());
    const int p = (int)at.remainder / window.Q, q = (int)at.remainder % window.Q;
    const real* plane = input + at.quotient * window.input_size();
    real sum = 0;
    window.each_input(p, q, [&](int index) { sum += plane[index]; });
    output[i] = sum / (divisor ? divisor
                               : counted(window, pad_bottom, pad_right, p, q, count_pad));
}

extern "C" __global__ void __launch_bounds__(256, 4)
avg_pool2d_backward(const real* __restrict__ grad, real* __restrict__ input_grad,
                    const Window window, int64 planes, int count_pad, int divisor, int pad_bottom,
                    int pad_right) {
    const int64 i = thread_index();
    if (i >= planes * window.input_size()) return;
    const Division at = divide(i, window.input_size());
    const int h = (int)at.remainder / window.W, w = (int)at.remainder % window.W;
    const real* outputs = grad + at.quotient * window.output_size();
    real sum = 0;
    window.each_output(h, w, [&](int p, int q) {
        sum += outputs[p * window.Q + q] /
               (divisor ? divisor : counted(window, pad_bottom, pad_right, p, q, count_pad));
    });
    input_grad[i] = sum;
}
