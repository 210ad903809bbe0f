// The linear layer in TF32: linear.cu has the shapes, linear.cuh the products, and tensor.cuh the
// tiles and how they round. float only.

#include "linear.cuh"
#include "tensor.cuh"

using Middle = TensorTile<64, 64, 32, 32>;
static_assert(Middle::THREADS == 128, "as __launch_bounds__ below");

extern "C" __global__ void __launch_bounds__(128)
linear_forward_tf32_64x64(const real* __restrict__ input, const real* __restrict__ weight,
                          const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                          int batch, int features, int outputs, int with_relu) {
    forward<Middle>(input, weight, bias, output, batch, features, outputs, with_relu);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_input_tf32_64x64(const real* __restrict__ grad, const real* __restrict__ weight,
                                 real* __restrict__ input_grad, int batch, int features,
                                 int outputs) {
    backward_input<Middle>(grad, weight, input_grad, batch, features, outputs);
}

extern "C" __global__ void __launch_bounds__(128)
linear_backward_weight_tf32_64x64(const real* __restrict__ grad, const real* __restrict__ input,
                                  real* __restrict__ weight_grad,
                                  real* __restrict__ NULLABLE bias_grad, int batch, int features,
                                  int outputs) {
    backward_weight<Middle>(grad, input, weight_grad, bias_grad, batch, features, outputs);
}
