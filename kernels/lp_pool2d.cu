// Lp pooling, p = 1 or 2: y is the sum of x under the window (p = 1; signs are kept) or the root of
// the sum of x^2 (p = 2). A window that ceil_mode lets hang over the edge counts as if its mean
// went on outside: its sum is multiplied by taps / (taps inside).
// Backward, f being that factor: dx is the sum over the windows that reach over x of dy f (p = 1),
// or of dy f x / y where y is not zero (p = 2).
//
// Shapes: input and input_grad (planes, height, width), output and grad (planes, out_h, out_w), a
// plane being a sample's channel. Forward: a thread owns an output and adds its taps in row-major
// order. Backward: a thread owns an input element and gathers from the windows in row-major order,
// so that nothing is added by two threads.

// The window's taps over those inside, of which there is at least one; there is no padding.
__device__ inline real outside_factor(const PoolWindow& window, int oy, int ox) {
    const Axis &rows = window.rows, &columns = window.columns;
    const int inside_h = min(rows.taps, rows.size - rows.pixel(oy, 0));
    const int inside_w = min(columns.taps, columns.size - columns.pixel(ox, 0));
    return (real)((int64)rows.taps * columns.taps) / (real)((int64)inside_h * inside_w);
}

extern "C" __global__ void __launch_bounds__(256)
lp_pool2d_forward(const real* __restrict__ input, real* __restrict__ output, int64 planes, int norm,
                  int kernel_h, int kernel_w, int stride_h, int stride_w, int top, int left,
                  int dilation_h, int dilation_w, int height, int width, int out_h, int out_w) {
    const PoolWindow window = {{kernel_h, stride_h, top, dilation_h, height, out_h},
                               {kernel_w, stride_w, left, dilation_w, width, out_w}};
    const int64 at = thread_index();
    if (at >= planes * window.stops()) return;
    const Division part = divide(at, window.stops());
    const int oy = (int)part.rest / out_w, ox = (int)part.rest % out_w;
    const real* plane = input + part.quotient * window.area();
    real sum = 0;
    window.each_tap(oy, ox, [&](int pixel) {
        const real value = plane[pixel];
        sum += norm == 1 ? value : value * value;
    });
    sum *= outside_factor(window, oy, ox);
    output[at] = norm == 1 ? sum : sqrt(sum);
}

extern "C" __global__ void __launch_bounds__(256, 4)
lp_pool2d_backward(const real* __restrict__ grad, const real* __restrict__ input,
                   const real* __restrict__ output, real* __restrict__ input_grad, int64 planes,
                   int norm, int kernel_h, int kernel_w, int stride_h, int stride_w, int top,
                   int left, int dilation_h, int dilation_w, int height, int width, int out_h,
                   int out_w) {
    const PoolWindow window = {{kernel_h, stride_h, top, dilation_h, height, out_h},
                               {kernel_w, stride_w, left, dilation_w, width, out_w}};
    const int64 at = thread_index();
    if (at >= planes * window.area()) return;
    const Division part = divide(at, window.area());
    const int64 first = part.quotient * window.stops();
    real sum = 0;
    window.each_stop(part.rest, [&](int oy, int ox) {
        const int64 stop = first + oy * out_w + ox;
        const real share = grad[stop] * outside_factor(window, oy, ox);
        if (norm == 1) {
            sum += share;
        } else if (output[stop] != 0) {
            sum += share / output[stop];
        }
    });
    input_grad[at] = norm == 1 ? sum : sum * input[at];
}
