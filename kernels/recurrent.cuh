// Recurrent networks: all steps of a sequence in one launch.
//
// Samples do not depend on each other, so a block owns SAMPLES of them for all steps, and no blocks
// wait for one another. In each step the block multiplies what the step before left, rows (SAMPLES,
// K), with a matrix (K, GATES hidden): a thread owns a unit, which is GATES columns, and adds the
// products of all samples in the order of k. So results do not depend on the device.
//
// Rows are in shared memory: a thread reads the same k of all samples as one vector. The matrix is
// read from memory, in which neighbouring threads have neighbouring columns; it is read once for
// SAMPLES samples and stays in the caches from step to step: 64 KB for 128 hidden units in float.
// A launch for each step and a tiled product in it would read the matrix and the rows as often and
// add the latency of a launch to each of 28 steps, forward and backward.

constexpr int THREADS = 256, SAMPLES = 4, CHUNK = 3 * THREADS;
using Samples = Vector<SAMPLES>;  // one number of each sample

// Adds to sums the products of count rows with the columns of a thread, which are apart by hidden.
template <int GATES>
__device__ void add_products(real (&sums)[GATES][SAMPLES], const Samples* rows, int count,
                             const real* matrix, int hidden) {
    constexpr int LOADS = GATES == 1 ? 8 : 4;  // so many k at once
#pragma unroll LOADS
    for (int k = 0; k < count; ++k) {
        const Samples row = rows[k];
#pragma unroll
        for (int g = 0; g < GATES; ++g) {
            const real weight = matrix[((int64)k * GATES + g) * hidden];
#pragma unroll
            for (int s = 0; s < SAMPLES; ++s) sums[g][s] += row.at[s] * weight;
        }
    }
}

// Runs the block's samples through all steps, from the last to the first if BACKWARDS.
//
// cell(n, t, unit, sums, values) computes a unit of a sample from its GATES sums, zero in the first
// step that is run. It sets values to the ROWS numbers that the next step multiplies: K is
// ROWS * hidden. It also writes them to rows (batch, steps, K), from which they are read if they do
// not fit shared memory.
template <int GATES, int ROWS, bool BACKWARDS, class Cell>
__device__ void recur(int batch, int steps, int hidden, const real* matrix, const real* rows,
                      const Cell& cell) {
    __shared__ Samples chunk[CHUNK];
    const int K = ROWS * hidden, first_n = blockIdx.x * SAMPLES;
    const bool fits = hidden <= THREADS;  // and K <= CHUNK
    static_assert(ROWS * THREADS <= CHUNK, "a row of as many units as threads");
    for (int step = 0; step < steps; ++step) {
        const int t = BACKWARDS ? steps - 1 - step : step, before = BACKWARDS ? t + 1 : t - 1;
        for (int first = 0; first < hidden; first += THREADS) {
            const int unit = first + threadIdx.x;
            real sums[GATES][SAMPLES] = {};
            for (int from = 0; from < K && step > 0; from += CHUNK) {
                const int count = min(CHUNK, K - from);
                if (!fits) {
                    __syncthreads();  // rows are written, and the chunk is read
                    for (int k = threadIdx.x; k < count; k += THREADS) {
                        for (int s = 0; s < SAMPLES; ++s) {
                            const int64 n = min(first_n + s, batch - 1);
                            chunk[k].at[s] = rows[(n * steps + before) * K + from + k];
                        }
                    }
                }
                __syncthreads();
                if (unit < hidden) {
                    add_products<GATES>(sums, chunk, count,
                                        matrix + (int64)from * GATES * hidden + unit, hidden);
                }
            }
            Samples values[ROWS] = {};
            if (unit < hidden) {
#pragma unroll
                for (int s = 0; s < SAMPLES; ++s) {
                    if (first_n + s >= batch) break;
                    real of_sample[GATES], left[ROWS];
#pragma unroll
                    for (int g = 0; g < GATES; ++g) of_sample[g] = sums[g][s];
                    cell(first_n + s, t, unit, of_sample, left);
#pragma unroll
                    for (int r = 0; r < ROWS; ++r) values[r].at[s] = left[r];
                }
            }
            if (!fits) continue;
            __syncthreads();  // the chunk is read
            if (unit < hidden) {
#pragma unroll
                for (int r = 0; r < ROWS; ++r) chunk[r * hidden + unit] = values[r];
            }
        }
    }
}
