// Upsampling to the nearest pixel: y at (p, q) is x at (floor(p H / P), floor(q W / Q)), and dx the
// sum of dy over the copies of x. Where P < H or Q < W some pixels have no copy: their dx is 0.
//
// Shapes: input and input_grad (planes, H, W), output and grad (planes, P, Q). A plane is a
// sample's channel. Forward: a thread owns one of n output elements. Backward: a thread owns one
// of n input elements and adds its copies in row-major order, so that no two threads add to one
// element.

#include "resample.cuh"

extern "C" __global__ void __launch_bounds__(256)
upsample_nearest2d_forward(const real* __restrict__ input, real* __restrict__ output, int64 n,
                           int H, int W, int P, int Q) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Position at = locate(i, P, Q);
    const Resample rows = {H, P}, columns = {W, Q};
    const int index = rows.nearest(at.row) * W + columns.nearest(at.column);
    output[i] = input[at.plane * H * W + index];
}

extern "C" __global__ void __launch_bounds__(256)
upsample_nearest2d_backward(const real* __restrict__ grad, real* __restrict__ input_grad, int64 n,
                            int H, int W, int P, int Q) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Position at = locate(i, H, W);
    const Resample rows = {H, P}, columns = {W, Q};
    const real* outputs = grad + at.plane * P * Q;
    real sum = 0;
    for (int p = rows.first_copy(at.row); p < rows.end_of_copies(at.row); ++p) {
        for (int q = columns.first_copy(at.column); q < columns.end_of_copies(at.column); ++q) {
            sum += outputs[p * Q + q];
        }
    }
    input_grad[i] = sum;
}
