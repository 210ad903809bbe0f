// Average pooling: y is the sum under the window over a divisor, and dx the sum of dy / divisor
// over the windows that reach over x. The divisor is `divisor` unless that is 0; else it counts the
// window's elements inside the plane and, with count_pad, its padding (a window that ceil_mode lets
// hang over the padding's end is not counted there). A divisor of 1 makes it sum pooling.
//
// Shapes: input and input_grad (planes, height, width), output and grad (planes, out_h, out_w), a
// plane being a sample's channel; `bottom` and `right` are the padding at the far ends. Forward: a
// thread owns an output and adds its taps in row-major order. Backward: a thread owns an input
// element and gathers from the windows in row-major order, so that nothing is added by two threads.

// The elements that a stop counts along an axis, `after` being the padding at its far end.
__device__ inline int counted(const Axis& axis, int after, int stop, int count_pad) {
    int begin = axis.pixel(stop, 0), end = min(begin + axis.taps, axis.size + after);
    if (!count_pad) {
        begin = max(begin, 0);
        end = min(end, axis.size);
    }
    return end - begin;
}

__device__ inline int64 counted(const PoolWindow& window, int bottom, int right, int oy, int ox,
                                int count_pad) {
    return (int64)counted(window.rows, bottom, oy, count_pad) *
           counted(window.columns, right, ox, count_pad);
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool2d_forward(const real* __restrict__ input, real* __restrict__ output, int64 planes,
                   int count_pad, int divisor, int bottom, int right, int kernel_h, int kernel_w,
                   int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                   int height, int width, int out_h, int out_w) {
    const PoolWindow window = {{kernel_h, stride_h, top, dilation_h, height, out_h},
                               {kernel_w, stride_w, left, dilation_w, width, out_w}};
    const int64 at = thread_index();
    if (at >= planes * window.stops()) return;
    const Division part = divide(at, window.stops());
    const int oy = (int)part.rest / out_w, ox = (int)part.rest % out_w;
    const real* plane = input + part.quotient * window.area();
    real sum = 0;
    window.each_tap(oy, ox, [&](int pixel) { sum += plane[pixel]; });
    output[at] = sum / (divisor ? divisor : counted(window, bottom, right, oy, ox, count_pad));
}

extern "C" __global__ void __launch_bounds__(256, 4)
avg_pool2d_backward(const real* __restrict__ grad, real* __restrict__ input_grad, int64 planes,
                    int count_pad, int divisor, int bottom, int right, int kernel_h, int kernel_w,
                    int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
                    int height, int width, int out_h, int out_w) {
    const PoolWindow window = {{kernel_h, stride_h, top, dilation_h, height, out_h},
                               {kernel_w, stride_w, left, dilation_w, width, out_w}};
    const int64 at = thread_index();
    if (at >= planes * window.area()) return;
    const Division part = divide(at, window.area());
    const real* stops = grad + part.quotient * window.stops();
    real sum = 0;
    window.each_stop(part.rest, [&](int oy, int ox) {
        sum += stops[oy * out_w + ox] /
               (divisor ? divisor : counted(window, bottom, right, oy, ox, count_pad));
    });
    input_grad[at] = sum;
}
