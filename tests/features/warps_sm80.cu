// Reductions of a warp, which a GPU has from compute capability 8.0.

// feature: `__reduce_add_sync`, `__reduce_min_sync`, `__reduce_max_sync`
// launch: 1, 32
// gives: 496, -31, 31
extern "C" __global__ void reductions(int* out)
{
    const int lane = threadIdx.x, sum = __reduce_add_sync(~0u, lane);
    const int least = __reduce_min_sync(~0u, -lane);
    const unsigned most = __reduce_max_sync(~0u, (unsigned)lane);
    if (lane == 0) out[0] = sum, out[1] = least, out[2] = most;
}

// feature: `__reduce_and_sync`, `__reduce_or_sync`, `__reduce_xor_sync`
// launch: 1, 32
// gives: 0, 31, 0
extern "C" __global__ void reductions_of_bits(unsigned* out)
{
    const unsigned lane = threadIdx.x, both = __reduce_and_sync(~0u, lane);
    const unsigned either = __reduce_or_sync(~0u, lane), odd = __reduce_xor_sync(~0u, lane);
    if (lane == 0) out[0] = both, out[1] = either, out[2] = odd;
}
