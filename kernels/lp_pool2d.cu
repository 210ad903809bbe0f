// Lp pooling: y is the sum of x under the window (norm 1; signs are kept) or the root of the sum of
// x^2 (norm 2). A window that ceil_mode lets reach beyond the plane counts as if its mean continued
// outside: its sum is multiplied by a factor, its elements over its elements inside. Backward: dx
// is the sum over the windows over x of dy * factor (norm 1), or of dy * factor * x / y where y is
// not zero (norm 2).
//
// Shapes: input and input_grad (planes, H, W), output and grad (planes, P, Q). A plane is a
// sample's channel. Forward: a thread owns an output element and adds its window in row-major
// order. Backward: a thread owns an input element and gathers from the windows over it in row-major
// order, so that no two threads add to one element.

#include "window.cuh"

// The window's elements over those inside, of which there is at least one; there is no padding.
__device__ inline real outside_factor(const Window& window, int p, int q) {
    const int inside_h = min(window.R, window.H - window.rows().input(p, 0));
    const int inside_w = min(window.S, window.W - window.columns().input(q, 0));
    return (real)((int64)window.R * window.S) / (real)((int64)inside_h * inside_w);
}

extern "C" __global__ void __launch_bounds__(256, 4)
lp_pool2d_forward(const real* __restrict__ input, real* __restrict__ output, const Window window,
                  int64 planes, int norm) {
    const int64 i = thread_index();
    if (i >= planes * window.output_size()) return;
    const Division at = divide(i, window.output_size());
    const int p = (int)at.remainder / window.Q, q = (int)at.remainder % window.Q;
    const real* plane = input + at.quotient * window.input_size();
    real sum = 0;
    window.each_input(p, q, [&](int index) {
        const real x = plane[index];
        sum += norm == 1 ? x : x * x;
    });
    sum *= outside_factor(window, p, q);
    output[i] = norm == 1 ? sum : sqrt(sum);
}

extern "C" __global__ void __launch_bounds__(256, 4)
lp_pool2d_backward(const real* __restrict__ grad, const real* __restrict__ input,
                   const real* __restrict__ output, real* __restrict__ input_grad,
                   const Window window, int64 planes, int norm) {
    const int64 i = thread_index();
    if (i >= planes * window.input_size()) return;
    const Division at = divide(i, window.input_size());
    const int h = (int)at.remainder / window.W, w = (int)at.remainder % window.W;
    const int64 first = at.quotient * window.output_size();
    real sum = 0;
    window.each_output(h, w, [&](int p, int q) {
        const int64 y = first + p * window.Q + q;
        const real dy = grad[y] * outside_factor(window, p, q);
        if (norm == 1) {
            sum += dy;
        } else if (output[y] != 0) {
            sum += dy / output[y];
        }
    });
    input_grad[i] = norm == 1 ? sum : sum * input[i];
}
