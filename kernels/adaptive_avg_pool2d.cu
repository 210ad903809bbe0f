// Adaptive average pooling: y is the mean of the window of its output, whose size follows from
// those of the planes (resample.cuh), and dx the sum of dy over the elements of the window, over
// the windows that have x.
//
// Shapes: input and input_grad (planes, H, W), output and grad (planes, P, Q). A plane is a
// sample's channel. Forward: a thread owns one of n output elements and adds its window in
// row-major order. Backward: a thread owns one of n input elements and gathers from its windows in
// row-major order, so that no two threads add to one element.

#include "resample.cuh"

extern "C" __global__ void __launch_bounds__(256)
adaptive_avg_pool2d_forward(const real* __restrict__ input, real* __restrict__ output, int64 n,
                            int H, int W, int P, int Q) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Position at = locate(i, P, Q);
    const Resample rows = {H, P}, columns = {W, Q};
    const real* plane = input + at.plane * H * W;
    real sum = 0;
    for (int h = rows.begin(at.row); h < rows.end(at.row); ++h) {
        for (int w = columns.begin(at.column); w < columns.end(at.column); ++w) {
            sum += plane[h * W + w];
        }
    }
    output[i] = sum / (rows.length(at.row) * columns.length(at.column));
}

extern "C" __global__ void __launch_bounds__(256)
adaptive_avg_pool2d_backward(const real* __restrict__ grad, real* __restrict__ input_grad, int64 n,
                             int H, int W, int P, int Q) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Position at = locate(i, H, W);
    const Resample rows = {H, P}, columns = {W, Q};
    const real* outputs = grad + at.plane * P * Q;
    real sum = 0;
    for (int p = rows.first_window(at.row); p <= rows.last_window(at.row); ++p) {
        for (int q = columns.first_window(at.column); q <= columns.last_window(at.column); ++q) {
            sum += outputs[p * Q + q] / (rows.length(p) * columns.length(q));
        }
    }
    input_grad[i] = sum;
}
