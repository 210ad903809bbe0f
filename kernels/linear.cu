// Linear layer: y = x w^T + b, through ReLU if `relu` is not 0; dx = dy w, dw = dy^T x, db = the
// sum of dy over the batch.
//
// Shapes: input and input_grad (batch, features), weight and weight_grad (outputs, features), bias
// and bias_grad (outputs), output and grad (batch, outputs).
//
// Variants, slow to fast: *_naive, a thread owns an element of the result and adds its products in
// index order; *_32x32 and *_64x128, a block owns a tile of the result (linear.cuh). Either way an
// element is one thread's sum in index order. db is made with dw.

extern "C" __global__ void __launch_bounds__(256)
linear_forward_naive(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int features, int outputs, int relu) {
    const int64 at = thread_index();
    if (at >= (int64)batch * outputs) return;
    const int64 n = at / outputs, o = at % outputs;
    real sum = 0;
    for (int64 f = 0; f < features; ++f) sum += input[n * features + f] * weight[o * features + f];
    output[at] = finish(sum, bias, o, relu);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_input_naive(const real* __restrict__ grad, const real* __restrict__ weight,
                            real* __restrict__ input_grad, int batch, int features, int outputs) {
    const int64 at = thread_index();
    if (at >= (int64)batch * features) return;
    const int64 n = at / features, f = at % features;
    real sum = 0;
    for (int64 o = 0; o < outputs; ++o) sum += grad[n * outputs + o] * weight[o * features + f];
    input_grad[at] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_weight_naive(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             int batch, int features, int outputs) {
    const int64 at = thread_index(), columns = features + (bias_grad ? 1 : 0);
    if (at >= outputs * columns) return;
    const int64 o = at / columns, f = at % columns;
    real sum = 0;
    for (int64 n = 0; n < batch; ++n) {
        sum += grad[n * outputs + o] * (f < features ? input[n * features + f] : 1);
    }
    *(f < features ? weight_grad + o * features + f : bias_grad + o) = sum;
}

// --- tiled: a matrix product each ----------------------------------------------------------------

#include "linear.cuh"

using Small = Tile<32, 32, 32, 2, 2>;
using Large = Tile<64, 128, 8, 8, 8>;
static_assert(Small::THREADS == 256 && Large::THREADS == 128, "as __launch_bounds__ below");

extern "C" __global__ void __launch_bounds__(256)
linear_forward_32x32(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int features, int outputs, int relu) {
    forward<Small>(input, weight, bias, output, batch, features, outputs, relu);
}

extern "C" __global__ void __launch_bounds__(128)
linear_forward_64x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                      int features, int outputs, int relu) {
    forward<Large>(input, weight, bias, output, batch, features, outputs, relu);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_input_32x32(const real* __restrict__ grad, const real* __restrict__ weight,
                            real* __restrict__ input_grad, int batch, int features,
                            int outputs) {
    backward_input<Small>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_input_64x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             real* __restrict__ input_grad, int batch, int features,
                             int outputs) {
    backward_input<Large>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_weight_32x32(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad,
                             real* __restrict__ NULLABLE bias_grad, int batch, int features,
                             int outputs) {
    backward_weight<Small>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_weight_64x128(const real* __restrict__ grad, const real* __restrict__ input,
                              real* __restrict__ weight_grad,
                              real* __restrict__ NULLABLE bias_grad, int batch, int features,
                              int outputs) {
    backward_weight<Large>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}
