// The units of a layer of a restricted Boltzmann machine: their probabilities p = sigmoid(x + b),
// and samples, which are 1 where a uniform number (philox.cuh) is less than p, else 0, and NaN
// where p is NaN. That is one pass over memory instead of three.
//
// Shapes: input, probabilities and samples (rows, units) of n elements, bias (units), step (1), the
// number of the training step. A thread owns four elements: those of a block of Philox.

#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(256)
sample_units_forward(const real* __restrict__ input, const real* __restrict__ NULLABLE bias,
                     const int64* __restrict__ step, real* __restrict__ probabilities,
                     real* __restrict__ samples, int64 n, int units, uint64 key) {
    const int64 block = thread_index(), first = 4 * block;
    if (first >= n) return;
    const Words words = philox(key, block, step[0]);
    int unit = (int)divide(first, units).remainder;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (first + i >= n) return;
        const real p = sigmoid(input[first + i] + (bias ? bias[unit] : 0));
        probabilities[first + i] = p;
        samples[first + i] = is_nan(p) ? p : uniform(words.at[i]) < p ? 1 : 0;
        unit = unit + 1 == units ? 0 : unit + 1;
    }
}
