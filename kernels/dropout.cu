// Dropout: y = x m, where the mask m is 0 or 1 / (1 - p) for each element. dx = dy m is computed by
// the same kernel.
//
// Arrays of n elements, any shape. The mask is drawn on the host, the same for every backend. A
// thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
dropout_forward(const real* __restrict__ input, const real* __restrict__ mask,
                real* __restrict__ output, int64 n) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = input[i] * mask[i];
}
