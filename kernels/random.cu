// Random numbers by Philox (philox.cuh): uniform from [0, 1), and Bernoulli, which is 1 where the
// uniform number is less than the probability, else 0, and NaN where that is NaN.
//
// Arrays of n elements, any shape; step (1) is the number of the training step. A thread owns four
// elements: those of a block of Philox.

#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(256)
uniform_forward(const int64* __restrict__ step, real* __restrict__ output, int64 n, uint64 key) {
    const int64 block = thread_index();
    if (4 * block >= n) return;
    const Words words = philox(key, block, step[0]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (4 * block + i < n) output[4 * block + i] = uniform(words.at[i]);
    }
}

extern "C" __global__ void __launch_bounds__(256)
bernoulli_forward(const real* __restrict__ probabilities, const int64* __restrict__ step,
                  real* __restrict__ output, int64 n, uint64 key) {
    const int64 block = thread_index();
    if (4 * block >= n) return;
    const Words words = philox(key, block, step[0]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (4 * block + i >= n) return;
        const real p = probabilities[4 * block + i];
        output[4 * block + i] = is_nan(p) ? p : uniform(words.at[i]) < p ? 1 : 0;
    }
}
