// Max pooling: y is the greatest element under the window, the first of equal ones in row-major
// order; a NaN beats every number, and the first NaN wins. Indices say where it lies in the
// flattened plane; backward gives dy to that element.
//
// Shapes: input and input_grad (planes, height, width), output, indices and grad (planes, out_h,
// out_w), a plane being a sample's channel. Forward: a thread owns an output and goes through its
// taps in order. Backward: a thread owns an input element and gathers, in row-major order, from the
// windows that reach over it, so that nothing is added by two threads.

extern "C" __global__ void __launch_bounds__(256)
max_pool2d_forward(const real* __restrict__ input, real* __restrict__ output,
                   int64* __restrict__ NULLABLE indices, int64 planes, int kernel_h, int kernel_w,
                   int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                   int height, int width, int out_h, int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int64 at = thread_index();
    const int64 stops = (int64)out_h * out_w;
    if (at >= planes * stops) return;
    const Division part = divide(at, stops);
    const int stop = part.rest;
    const real* plane = input + part.quotient * height * width;
    real best = 0;
    int64 place = -1;
    for (int i = 0; i < kernel_h; ++i) {
        const int y = rows.pixel(stop / out_w, i);
        if (!rows.inside(y)) continue;
        for (int j = 0; j < kernel_w; ++j) {
            const int x = columns.pixel(stop % out_w, j);
            if (!columns.inside(x)) continue;
            const real value = plane[(int64)y * width + x];
            if (place < 0 || value > best || (is_nan(value) && !is_nan(best))) {
                best = value;
                place = (int64)y * width + x;
            }
        }
    }
    output[at] = best;
    if (indices) indices[at] = place;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool2d_backward(const real* __restrict__ grad, const int64* __restrict__ indices,
                    real* __restrict__ input_grad, int64 planes, int kernel_h, int kernel_w,
                    int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                    int height, int width, int out_h, int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int64 at = thread_index();
    const int64 area = (int64)height * width;
    if (at >= planes * area) return;
    const Division part = divide(at, area);
    const int pixel = part.rest;
    const int y = pixel / width, x = pixel % width;
    const int64 first = part.quotient * out_h * out_w;
    real sum = 0;
    for (int oy = rows.first_stop(y); oy <= rows.last_stop(y); ++oy) {
        for (int ox = columns.first_stop(x); ox <= columns.last_stop(x); ++ox) {
            const int64 stop = first + (int64)oy * out_w + ox;
            if (indices[stop] == pixel) sum += grad[stop];
        }
    }
    input_grad[at] = sum;
}
