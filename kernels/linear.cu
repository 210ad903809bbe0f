// Linear layer: y = x w^T + b, then ReLU if with_relu is not 0; dx = dy w, dw = dy^T x, and db is
// the sum of dy over the batch, computed with dw.
//
// Shapes: input and input_grad (batch, features), weight and weight_grad (outputs, features), bias
// and bias_grad (outputs), output and grad (batch, outputs).
//
// Variants, from slow to fast: *_naive, a thread owns an element of the result and adds its
// products in index order; *_16x32, *_32x32 and *_64x128, a block owns a tile of the result
// (linear.cuh). In each, an element is one thread's sum in index order.

#include "linear.cuh"

extern "C" __global__ void __launch_bounds__(256)
linear_forward_naive(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int features, int outputs, int with_relu) {
    const int64 i = thread_index();
    if (i >= (int64)batch * outputs) return;
    const int64 n = i / outputs, o = i % outputs;
    real sum = 0;
    for (int64 f = 0; f < features; ++f) sum += input[n * features + f] * weight[o * features + f];
    output[i] = finish(sum, bias, o, with_relu);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_input_naive(const real* __restrict__ grad, const real* __restrict__ weight,
                            real* __restrict__ input_grad, int batch, int features, int outputs) {
    const int64 i = thread_index();
    if (i >= (int64)batch * features) return;
    const int64 n = i / features, f = i % features;
    real sum = 0;
    for (int64 o = 0; o < outputs; ++o) sum += grad[n * outputs + o] * weight[o * features + f];
    input_grad[i] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_weight_naive(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad, real* __restrict__ NULLABLE bias_grad,
                             int batch, int features, int outputs) {
    const int64 i = thread_index(), columns = features + (bias_grad ? 1 : 0);
    if (i >= outputs * columns) return;
    const int64 o = i / columns, f = i % columns;
    real sum = 0;
    for (int64 n = 0; n < batch; ++n) {
        sum += grad[n * outputs + o] * (f < features ? input[n * features + f] : 1);
    }
    *(f < features ? weight_grad + o * features + f : bias_grad + o) = sum;
}

// --- tiled: a matrix product each ----------------------------------------------------------------

constexpr int DEEP = sizeof(real) == 4 ? 64 : 32;  // doubles would take too much shared memory
using Small = Tile<16, 32, DEEP, 2, 2>;            // for few elements: more blocks, fewer slabs
using Middle = Tile<32, 32, 32, 2, 2>;
using Large = Tile<64, 128, 8, 8, 8>;
static_assert(Small::THREADS == 128 && Middle::THREADS == 256, "as __launch_bounds__ below");
static_assert(Large::THREADS == 128, "likewise");

extern "C" __global__ void __launch_bounds__(128)
linear_forward_16x32(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int features, int outputs, int with_relu) {
    forward<Small>(input, weight, bias, output, batch, features, outputs, with_relu);
}

extern "C" __global__ void __launch_bounds__(256)
linear_forward_32x32(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                     int features, int outputs, int with_relu) {
    forward<Middle>(input, weight, bias, output, batch, features, outputs, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
linear_forward_64x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output, int batch,
                      int features, int outputs, int with_relu) {
    forward<Large>(input, weight, bias, output, batch, features, outputs, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_input_16x32(const real* __restrict__ grad, const real* __restrict__ weight,
                            real* __restrict__ input_grad, int batch, int features,
                            int outputs) {
    backward_input<Small>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_input_32x32(const real* __restrict__ grad, const real* __restrict__ weight,
                            real* __restrict__ input_grad, int batch, int features,
                            int outputs) {
    backward_input<Middle>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_input_64x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             real* __restrict__ input_grad, int batch, int features,
                             int outputs) {
    backward_input<Large>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_weight_16x32(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad,
                             real* __restrict__ NULLABLE bias_grad, int batch, int features,
                             int outputs) {
    backward_weight<Small>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(256)
linear_backward_weight_32x32(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ weight_grad,
                             real* __restrict__ NULLABLE bias_grad, int batch, int features,
                             int outputs) {
    backward_weight<Middle>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_weight_64x128(const real* __restrict__ grad, const real* __restrict__ input,
                              real* __restrict__ weight_grad,
                              real* __restrict__ NULLABLE bias_grad, int batch, int features,
                              int outputs) {
    backward_weight<Large>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}
