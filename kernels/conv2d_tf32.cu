// Convolution in TF32: see conv2d.cu for what it computes, conv2d.cuh for how, and tensor.cuh for
// how exactly. float only.

#include "tensor.cuh"
#include "conv2d.cuh"

using Middle = TensorTile<64, 64, 32, 32>;
using Large = TensorTile<64, 128, 32, 64>;
using LargeWeight = TensorTile<64, 128, 32, 32>;  // as its operands take more registers
static_assert(Middle::THREADS == 128 && Large::THREADS == 128, "as __launch_bounds__ below");
static_assert(LargeWeight::THREADS == 256, "likewise");

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_tf32_64x64(const real* __restrict__ input, const real* __restrict__ weight,
                          const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                          int batch, int channels, int outputs, int groups, int kernel_h,
                          int kernel_w, int stride_h, int stride_w, int top, int left,
                          int dilation_h, int dilation_w, int height, int width, int out_h,
                          int out_w, int relu) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    forward<Middle>(conv, input, weight, bias, output, relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_forward_tf32_64x128(const real* __restrict__ input, const real* __restrict__ weight,
                           const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                           int batch, int channels, int outputs, int groups, int kernel_h,
                           int kernel_w, int stride_h, int stride_w, int top, int left,
                           int dilation_h, int dilation_w, int height, int width, int out_h,
                           int out_w, int relu) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    forward<Large>(conv, input, weight, bias, output, relu);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_tf32_64x64(const real* __restrict__ grad, const real* __restrict__ weight,
                                 const real* __restrict__ NULLABLE bias,
                                 real* __restrict__ input_grad, int batch, int channels,
                                 int outputs, int groups, int kernel_h, int kernel_w, int stride_h,
                                 int stride_w, int top, int left, int dilation_h, int dilation_w,
                                 int height, int width, int out_h, int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_input<Middle>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_input_tf32_64x128(const real* __restrict__ grad, const real* __restrict__ weight,
                                  const real* __restrict__ NULLABLE bias,
                                  real* __restrict__ input_grad, int batch, int channels,
                                  int outputs, int groups, int kernel_h, int kernel_w, int stride_h,
                                  int stride_w, int top, int left, int dilation_h, int dilation_w,
                                  int height, int width, int out_h, int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_input<Large>(conv, grad, weight, bias, input_grad);
}

extern "C" __global__ void __launch_bounds__(128)
conv2d_backward_weight_tf32_64x64(const real* __restrict__ grad, const real* __restrict__ input,
                                  real* __restrict__ partials,
                                  real* __restrict__ NULLABLE bias_grad, int splits, int batch,
                                  int channels, int outputs, int groups, int kernel_h, int kernel_w,
                                  int stride_h, int stride_w, int top, int left, int dilation_h,
                                  int dilation_w, int height, int width, int out_h, int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_weight<Middle>(conv, grad, input, partials, bias_grad, splits);
}

extern "C" __global__ void __launch_bounds__(256, 1)
conv2d_backward_weight_tf32_64x128(const real* __restrict__ grad, const real* __restrict__ input,
                                   real* __restrict__ partials,
                                   real* __restrict__ NULLABLE bias_grad, int splits, int batch,
                                   int channels, int outputs, int groups, int kernel_h,
                                   int kernel_w, int stride_h, int stride_w, int top, int left,
                                   int dilation_h, int dilation_w, int height, int width, int out_h,
                                   int out_w) {
    const Conv conv = {batch, channels, outputs, groups,
                       {kernel_h, stride_h, top, dilation_h, height, out_h},
                       {kernel_w, stride_w, left, dilation_w, width, out_w}};
    backward_weight<LargeWeight>(conv, grad, input, partials, bias_grad, splits);
}
