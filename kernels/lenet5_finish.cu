// The last launch of LeNet-5's gradients (lenet5.cuh): sums of the partial sums, and the metrics.

#include "lenet5.cuh"

constexpr int WARPS = 8;

// Adds the batch's losses and correct answers to the totals.
__device__ inline void add_totals(const real* losses, const int* correct, double* totals,
                                  int64* failed_step, const int64* step, int batch) {
    real loss = 0;
    int hits = 0;
    for (int n = threadIdx.x; n < batch; n += blockDim.x) {
        loss += losses[n];
        hits += correct[n];
    }
    loss = block_sum(loss) * ((real)1 / batch);
    hits = block_sum(hits);
    if (threadIdx.x > 0) return;
    totals[0] += (double)loss * batch;
    totals[1] += hits;
    if (!is_finite(loss)) set_failed(failed_step, step[0]);
}

// A block sums FINISH_COLUMNS gradients, a lane each: every warp an eighth of the parts, in order,
// then the first warp the warps' sums. The last block adds up losses and correct answers.
static_assert(FINISH_COLUMNS == 32, "a lane for each gradient");

extern "C" __global__ void __launch_bounds__(256)
lenet5_finish(const real* __restrict__ partials, const real* __restrict__ losses,
              const int* __restrict__ correct, real* __restrict__ grads,
              double* __restrict__ totals, int64* __restrict__ failed_step,
              const int64* __restrict__ step, LeNet5 net, int parts, int batch) {
    __shared__ real sums[WARPS][FINISH_COLUMNS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int count = net.conv_parameters, column = blockIdx.x * FINISH_COLUMNS + lane;
    if (blockIdx.x == gridDim.x - 1) {
        add_totals(losses, correct, totals, failed_step, step, batch);
        return;
    }
    real sum = 0;
    if (column < count) {
#pragma unroll 8
        for (int part = warp; part < parts; part += WARPS) {
            sum += partials[(int64)part * count + column];
        }
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= count) return;
    for (int i = 1; i < WARPS; ++i) sum += sums[i][lane];
    grads[column] = sum;
    if (!is_finite(sum)) set_failed(failed_step, step[0]);
}
