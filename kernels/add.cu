// Sum of two arrays, optionally followed by ReLU: y = a + b, or max(a + b, 0). NaN stays NaN. The
// gradient of both is dy, after that of the ReLU (relu.cu).
//
// Arrays of n elements, any shape. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
add_forward(const real* __restrict__ input, const real* __restrict__ other,
            real* __restrict__ output, int64 n, int with_relu) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = relu(input[i] + other[i], with_relu);
}
