// Convolution in tiles of many rows: conv2d.cu has the shapes, conv2d.cuh the products.

#include "conv2d.cuh"

constexpr int DEEP = sizeof(real) == 4 ? 16 : 8;  // doubles would take too many registers
using Middle = Tile<64, 64, DEEP, 8, 4>;          // for few columns
using Large = Tile<64, 128, DEEP, 8, 8>;
using MiddleWeight = Tile<64, 64, 16, 8, 4>;
using LargeWeight = Tile<64, 128, 8, 8, 8>;
static_assert(Middle::THREADS == 128 && Large::THREADS == 128, "as __launch_bounds__ below");
static_assert(MiddleWeight::THREADS == 128 && LargeWeight::THREADS == 128, "likewise");

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_64x64(const real* __restrict__ input, const real* __restrict__ weight,
                     const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                     const Conv2d conv, int with_relu) {
    forward<Middle>(conv, input, weight, bias, output, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_64x128(const real* __restrict__ input, const real* __restrict__ weight,
                      const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                      const Conv2d conv, int with_relu) {
    forward<Large>(conv, input, weight, bias, output, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_64x64(const real* __restrict__ grad, const real* __restrict__ weight,
                            const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                            const Conv2d conv) {
    backward_input<Middle>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_64x128(const real* __restrict__ grad, const real* __restrict__ weight,
                             const real* __restrict__ NULLABLE bias, real* __restrict__ input_grad,
                             const Conv2d conv) {
    backward_input<Large>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_weight_64x64(const real* __restrict__ grad, const real* __restrict__ input,
                             real* __restrict__ partials, real* __restrict__ NULLABLE bias_grad,
                             const Conv2d conv, int splits, int pitch) {
    backward_weight<MiddleWeight>(conv, grad, input, partials, bias_grad, splits, pitch);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_weight_64x128(const real* __restrict__ grad, const real* __restrict__ input,
                              real* __restrict__ partials, real* __restrict__ NULLABLE bias_grad,
                              const Conv2d conv, int splits, int pitch) {
    backward_weight<LargeWeight>(conv, grad, input, partials, bias_grad, splits, pitch);
}
