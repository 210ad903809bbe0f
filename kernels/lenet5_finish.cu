// The end of LeNet-5's gradients: see lenet5.cuh.

#include "lenet5.cuh"

constexpr int WARPS = 8;

// Adds the batch's losses and right answers to the totals.
__device__ inline void add_totals(const real* losses, const int* right, double* totals,
                                  int64* failed, const int64* step, int batch) {
    real loss = 0;
    int hits = 0;
    for (int n = threadIdx.x; n < batch; n += blockDim.x) {
        loss += losses[n];
        hits += right[n];
    }
    loss = block_sum(loss) * ((real)1 / batch);
    hits = block_sum(hits);
    if (threadIdx.x > 0) return;
    totals[0] += (double)loss * batch;
    totals[1] += hits;
    if (!is_finite(loss)) set_failed(failed, step[0]);
}

// A warp adds every eighth part of 32 gradients, in order, and then the block the warps. The last
// block adds up the losses.
extern "C" __global__ void __launch_bounds__(256)
lenet5_finish(const real* __restrict__ partials, const real* __restrict__ losses,
              const int* __restrict__ right, real* __restrict__ grads, double* __restrict__ totals,
              int64* __restrict__ failed, const int64* __restrict__ step, int parts, int count,
              int batch) {
    __shared__ real warps[WARPS][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = blockIdx.x * 32 + lane;
    if (blockIdx.x == gridDim.x - 1) {
        add_totals(losses, right, totals, failed, step, batch);
        return;
    }
    real sum = 0;
    if (at < count) {
#pragma unroll 8
        for (int part = warp; part < parts; part += WARPS) {
            sum += partials[(int64)part * count + at];
        }
    }
    warps[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || at >= count) return;
    for (int i = 1; i < WARPS; ++i) sum += warps[i][lane];
    grads[at] = sum;
    if (!is_finite(sum)) set_failed(failed, step[0]);
}
