// Whether no element is NaN or infinite. finite_flags writes a flag for each block, 1 if its share
// of the array is finite. The host reads and joins them, or check_finite does and nothing waits:
// it writes the number of a training step whose loss or gradient is not finite, unless one stands
// there already.
//
// Input of n elements, any shape; flags (count), one a block of the first kernel; loss and failed
// (1). The launcher sizes the first grid by n alone; the second is one block.

extern "C" __global__ void __launch_bounds__(256)
finite_flags(const real* __restrict__ input, int* __restrict__ flags, int64 n) {
    int strange = 0;
    for (int64 i = thread_index(); i < n; i += threads_in_grid()) {
        if (!is_finite(input[i])) strange = 1;
    }
    strange = block_sum(strange);
    if (threadIdx.x == 0) flags[blockIdx.x] = strange == 0;
}

extern "C" __global__ void __launch_bounds__(256)
check_finite(int64* __restrict__ failed, const int* __restrict__ flags,
             const real* __restrict__ loss, int count, int64 step) {
    int strange = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        if (!flags[i]) strange = 1;
    }
    strange = block_sum(strange);
    if (threadIdx.x == 0 && failed[0] == 0 && (strange || !is_finite(loss[0]))) failed[0] = step;
}
