// Linear interpolation: y = (1 - w) a + w b, with one weight w for all elements, which is read on
// the device. With a weight of 1 the result is b, and with 0 it is a, unless the other is NaN or
// infinite.
//
// Arrays of n elements, any shape; weight (1). Each thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
lerp_forward(const real* __restrict__ input, const real* __restrict__ end,
             const real* __restrict__ weight, real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    const real w = weight[0];
    output[i] = (1 - w) * input[i] + w * end[i];
}
