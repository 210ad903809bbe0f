// Max pooling: y is the greatest element under the window, the first of equal ones in row-major
// order; a NaN beats every number, and the first NaN wins. Indices say where it lies in the
// flattened plane; backward gives dy to that element, and where relu_output, y after a ReLU before
// the pooling, is not positive, to none: what a backward of that ReLU would come to.
//
// Shapes: input and input_grad (planes, height, width), output, indices, grad and relu_output
// (planes, out_h, out_w), a plane being a sample's channel. Forward: a thread owns an output and
// goes through its taps in order. Backward: a thread owns an input element and gathers, in
// row-major order, from the windows that reach over it, so that nothing is added by two threads.

extern "C" __global__ void __launch_bounds__(256)
max_pool2d_forward(const real* __restrict__ input, real* __restrict__ output,
                   int64* __restrict__ NULLABLE indices, int64 planes, int kernel_h, int kernel_w,
                   int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                   int height, int width, int out_h, int out_w) {
    const PoolWindow window = {{kernel_h, stride_h, top, dilation_h, height, out_h},
                               {kernel_w, stride_w, left, dilation_w, width, out_w}};
    const int64 at = thread_index();
    if (at >= planes * window.stops()) return;
    const Division part = divide(at, window.stops());
    const int oy = (int)part.rest / out_w, ox = (int)part.rest % out_w;
    const real* plane = input + part.quotient * window.area();
    real best = 0;
    int place = -1;
    window.each_tap(oy, ox, [&](int pixel) {
        const real value = plane[pixel];
        if (place < 0 || value > best || (is_nan(value) && !is_nan(best))) {
            best = value;
            place = pixel;
        }
    });
    output[at] = best;
    if (indices) indices[at] = place;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool2d_backward(const real* __restrict__ grad, const int64* __restrict__ indices,
                    const real* __restrict__ NULLABLE relu_output, real* __restrict__ input_grad,
                    int64 planes, int kernel_h, int kernel_w, int stride_h, int stride_w, int top,
                    int left, int dilation_h, int dilation_w, int height, int width, int out_h,
                    int out_w) {
    const PoolWindow window = {{kernel_h, stride_h, top, dilation_h, height, out_h},
                               {kernel_w, stride_w, left, dilation_w, width, out_w}};
    const int64 at = thread_index();
    if (at >= planes * window.area()) return;
    const Division part = divide(at, window.area());
    const int pixel = part.rest;
    const int64 first = part.quotient * window.stops();
    real sum = 0;
    window.each_stop(pixel, [&](int oy, int ox) {
        const int64 stop = first + oy * out_w + ox;
        const bool passes = !relu_output || relu_output[stop] > 0;
        if (passes && indices[stop] == pixel) sum += grad[stop];
    });
    input_grad[at] = sum;
}
