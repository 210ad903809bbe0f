// Average pooling: y is the sum under the window over a divisor, and dx the sum of dy / divisor
// over the windows that reach over x. The divisor is `divisor` unless that is 0; else it counts the
// window's elements inside the plane and, with count_pad, its padding (a window that ceil_mode lets
// hang over the padding's end is not counted there). A divisor of 1 makes it sum pooling.
//
// Shapes: input and input_grad (planes, height, width), output and grad (planes, out_h, out_w), a
// plane being a sample's channel; `bottom` and `right` are the padding at the far ends. Forward: a
// thread owns an output and adds its taps in row-major order. Backward: a thread owns an input
// element and gathers from the windows in row-major order, so that nothing is added by two threads.

__device__ inline int counted(const Axis& axis, int after, int stop, int count_pad) {
    int begin = axis.pixel(stop, 0), end = min(begin + axis.taps, axis.size + after);
    if (!count_pad) {
        begin = max(begin, 0);
        end = min(end, axis.size);
    }
    return end - begin;
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool2d_forward(const real* __restrict__ input, real* __restrict__ output, int64 planes,
                   int count_pad, int divisor, int bottom, int right, int kernel_h, int kernel_w,
                   int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                   int height, int width, int out_h, int out_w) {
    const Axis rows = {kernel_h, stride_h, top, dilation_h, height, out_h};
    const Axis columns = {kernel_w, stride_w, left, dilation_w, width, out_w};
    const int64 at = thread_index();
    const int64 stops = (int64)out_h * out_w;
    if (at >= planes * stops) return;
    const Division part = divide(at, stops);
    const int stop = part.rest, oy = stop / out_w, ox = stop % out_w;
    const real* plane = input + part.quotient * height * width;
    real sum = 0;
    for (int i = 0; i < kernel_h; ++i) {
        const int y = rows.pixel(oy, i);
        if (!rows.inside(y)) continue;
        for (int j = 0; j < kernel_w; ++j) {
            const int x = columns.pixel(ox, j);
            if (columns.inside(x)) sum += plane[(int64)y * width + x];
        }
    }
    const int64 count = (int64)counted(rows, bottom, oy, count_pad) *
                        counted(columns, right, ox, count_pad);
    output[at] = sum / (divisor ? divisor : count);
}

extern "C" __global__ void __launch_bounds__(256, 4)
avg_pool2d_backward(const real* __restrict__ grad, real* __restrict__ input_grad, int64 planes,
                    int count_pad, int divisor, int bottom, int right, int kernel_h, int kernel_w,
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
    const real* stops = grad + part.quotient * out_h * out_w;
    real sum = 0;
    for (int oy = rows.first_stop(y); oy <= rows.last_stop(y); ++oy) {
        const int64 counted_rows = counted(rows, bottom, oy, count_pad);
        for (int ox = columns.first_stop(x); ox <= columns.last_stop(x); ++ox) {
            const int64 count = counted_rows * counted(columns, right, ox, count_pad);
            sum += stops[(int64)oy * out_w + ox] / (divisor ? divisor : count);
        }
    }
    input_grad[at] = sum;
}
