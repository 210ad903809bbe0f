// Adaptive max pooling: y is the maximum of the window of its output, whose size follows from those
// of the planes (resample.cuh); ties, NaN and indices are as in max_pool2d.cu. Backward adds dy to
// the input element at the index.
//
// Shapes: input and input_grad (planes, H, W); output, indices and grad (planes, P, Q). A plane is
// a sample's channel. Forward: a thread owns one of n output elements and goes through its window
// in row-major order. Backward: a thread owns one of n input elements and gathers, in row-major
// order, from the windows that have it, so that no two threads add to one element.

#include "resample.cuh"

extern "C" __global__ void __launch_bounds__(256)
adaptive_max_pool2d_forward(const real* __restrict__ input, real* __restrict__ output,
                            int64* __restrict__ NULLABLE indices, int64 n, int H, int W, int P,
                            int Q) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Position at = locate(i, P, Q);
    const Resample rows = {H, P}, columns = {W, Q};
    const real* plane = input + at.plane * H * W;
    real maximum = 0;
    int argmax = -1;
    for (int h = rows.begin(at.row); h < rows.end(at.row); ++h) {
        for (int w = columns.begin(at.column); w < columns.end(at.column); ++w) {
            const real x = plane[h * W + w];
            if (argmax < 0 || exceeds(x, maximum)) {
                maximum = x;
                argmax = h * W + w;
            }
        }
    }
    output[i] = maximum;
    if (indices) indices[i] = argmax;
}

extern "C" __global__ void __launch_bounds__(256)
adaptive_max_pool2d_backward(const real* __restrict__ grad, const int64* __restrict__ indices,
                             real* __restrict__ input_grad, int64 n, int H, int W, int P, int Q) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Position at = locate(i, H, W);
    const Resample rows = {H, P}, columns = {W, Q};
    const int64 first = at.plane * P * Q;
    const int index = at.row * W + at.column;
    real sum = 0;
    for (int p = rows.first_window(at.row); p <= rows.last_window(at.row); ++p) {
        for (int q = columns.first_window(at.column); q <= columns.last_window(at.column); ++q) {
            const int64 output = first + p * Q + q;
            if (indices[output] == index) sum += grad[output];
        }
    }
    input_grad[i] = sum;
}
