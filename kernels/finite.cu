// Whether every element is finite, neither NaN nor infinite. finite_flags writes a flag for each
// block, 1 if its share of the array is finite, for the host to read. check_finite does not make
// the host wait: if a training step's loss or gradient is not finite, it records the step's number
// in failed, unless an earlier step is recorded there.
//
// Input of n elements, any shape; flags, one a block; gradients (n); loss, step and failed (1). The
// launcher sizes the grids by n alone.

extern "C" __global__ void __launch_bounds__(256)
finite_flags(const real* __restrict__ input, int* __restrict__ flags, int64 n) {
    int found = 0;
    for (int64 i = thread_index(); i < n; i += threads_in_grid()) {
        if (!is_finite(input[i])) found = 1;
    }
    found = block_sum(found);
    if (threadIdx.x == 0) flags[blockIdx.x] = found == 0;
}

extern "C" __global__ void __launch_bounds__(256)
check_finite(int64* __restrict__ failed, const real* __restrict__ loss,
             const real* __restrict__ grads, const int64* __restrict__ step, int64 n) {
    bool found = thread_index() == 0 && !is_finite(loss[0]);
    for (int64 i = thread_index(); i < n; i += threads_in_grid()) {
        if (!is_finite(grads[i])) found = true;
    }
    if (found) set_failed(failed, step[0]);
}
