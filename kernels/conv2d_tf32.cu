// Convolution in TF32: conv2d.cu has the shapes, conv2d.cuh the products, and tensor.cuh the tiles
// and how they round. float only.

#include "conv2d.cuh"
#include "tensor.cuh"

using Middle = TensorTile<64, 64, 32, 32>;
using Large = TensorTile<64, 128, 32, 64>;
using LargeWeight = TensorTile<64, 128, 32, 32>;  // as its operands take more registers
static_assert(Middle::THREADS == 128 && Large::THREADS == 128, "as __launch_bounds__ below");
static_assert(LargeWeight::THREADS == 256, "likewise");

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_tf32_64x64(const real* __restrict__ input, const real* __restrict__ weight,
                          const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                          const Conv2d conv, int with_relu) {
    forward<Middle>(conv, input, weight, bias, output, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_tf32_64x128(const real* __restrict__ input, const real* __restrict__ weight,
                           const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                           const Conv2d conv, int with_relu) {
    forward<Large>(conv, input, weight, bias, output, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_tf32_64x64(const real* __restrict__ grad, const real* __restrict__ weight,
                                 const real* __restrict__ NULLABLE bias,
                                 real* __restrict__ input_grad, const Conv2d conv) {
    backward_input<Middle>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_tf32_64x128(const real* __restrict__ grad, const real* __restrict__ weight,
                                  const real* __restrict__ NULLABLE bias,
                                  real* __restrict__ input_grad, const Conv2d conv) {
    backward_input<Large>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_weight_tf32_64x64(const real* __restrict__ grad, const real* __restrict__ input,
                                  real* __restrict__ partials,
                                  real* __restrict__ NULLABLE bias_grad, const Conv2d conv,
                                  int splits, int pitch) {
    backward_weight<Middle>(conv, grad, input, partials, bias_grad, splits, pitch);
}

extern "C" __global__ void __launch_bounds__(256, 1)
conv2d_backward_weight_tf32_64x128(const real* __restrict__ grad, const real* __restrict__ input,
                                   real* __restrict__ partials,
                                   real* __restrict__ NULLABLE bias_grad, const Conv2d conv,
                                   int splits, int pitch) {
    backward_weight<LargeWeight>(conv, grad, input, partials, bias_grad, splits, pitch);
}
