// Dropout: y = x m, where m is 1 / (1 - p) with probability 1 - p, and else 0. The product keeps
// NaN. dx = dy m is computed by the same kernels, which draw the same mask.
//
// An element is kept if its word of Philox (philox.cuh) is at least `threshold`, p times 2^32: the
// comparison is of integers, so that the mask is the same on every backend. `step` (1) is read by
// the kernel: a captured step draws another mask at each replay.

#include "philox.cuh"

__device__ inline real factor(uint32 word, int64 threshold, real scale) {
    return (int64)word >= threshold ? scale : 0;
}

// Arrays of n elements, any shape. A thread owns four elements: those of a block of Philox.
extern "C" __global__ void __launch_bounds__(256)
dropout_forward(const real* __restrict__ input, const int64* __restrict__ step,
                real* __restrict__ output, int64 n, uint64 key, int64 threshold, real scale) {
    const int64 block = thread_index(), first = 4 * block;
    if (first >= n) return;
    const Words words = philox(key, block, step[0]);
    if (first + 4 <= n && is_aligned<4>(input) && is_aligned<4>(output)) {
        Vector<4> x = *(const Vector<4>*)(input + first);
#pragma unroll
        for (int i = 0; i < 4; ++i) x.at[i] *= factor(words.at[i], threshold, scale);
        *(Vector<4>*)(output + first) = x;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int64 at = first + i;
        if (at < n) output[at] = input[at] * factor(words.at[i], threshold, scale);
    }
}

// Shapes: input and output (planes, area), where a plane is a channel of a sample. A warp owns a
// plane, which is dropped or kept as a whole by the word of its index.
extern "C" __global__ void __launch_bounds__(256)
dropout2d_forward(const real* __restrict__ input, const int64* __restrict__ step,
                  real* __restrict__ output, int64 planes, int64 area, uint64 key, int64 threshold,
                  real scale) {
    const int64 plane = (int64)blockIdx.x * 8 + threadIdx.x / 32;
    if (plane >= planes) return;
    const Words words = philox(key, plane / 4, step[0]);
    // Selected, not indexed: an index would put the words into local memory.
    const int at = plane % 4;
    const uint32 word = at < 2 ? words.at[at == 0 ? 0 : 1] : words.at[at == 2 ? 2 : 3];
    const real m = factor(word, threshold, scale);
    for (int64 i = threadIdx.x % 32; i < area; i += 32) {
        output[plane * area + i] = input[plane * area + i] * m;
    }
}
