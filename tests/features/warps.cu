// Threads of a block and of a warp that work together.

// feature: `__syncthreads_count`, `__syncthreads_and`, `__syncthreads_or`
// launch: 1, 64
// gives: 10, 0, 1
extern "C" __global__ void counting_barriers(int* out)
{
    const int count = __syncthreads_count(threadIdx.x < 10);
    const int all = __syncthreads_and(threadIdx.x < 10), any = __syncthreads_or(threadIdx.x < 10);
    if (threadIdx.x == 0) out[0] = count, out[1] = all, out[2] = any != 0;
}

// feature: `__shfl_sync`, `__shfl_up_sync`, `__shfl_down_sync`, `__shfl_xor_sync`
// launch: 1, 32
// gives: 7, 7, 9, 9
extern "C" __global__ void shuffles(long long* out)
{
    const long long lane = threadIdx.x;
    const long long a = __shfl_sync(~0u, lane, 7), b = __shfl_up_sync(~0u, lane, 1);
    const double c = __shfl_down_sync(~0u, (double)lane, 1);
    const unsigned long long d = __shfl_xor_sync(~0u, (unsigned long long)lane, 1);
    if (lane == 8) out[0] = a, out[1] = b, out[2] = (long long)c, out[3] = d;
}

// feature: `__ballot_sync`, `__any_sync`, `__all_sync`, `__syncwarp`
// launch: 1, 32
// gives: 7, 1, 0
extern "C" __global__ void votes(unsigned* out)
{
    const unsigned ballot = __ballot_sync(~0u, threadIdx.x < 3);
    const int any = __any_sync(~0u, threadIdx.x == 3), all = __all_sync(~0u, threadIdx.x == 3);
    __syncwarp();
    if (threadIdx.x == 0) out[0] = ballot, out[1] = any, out[2] = all;
}

// feature: `__activemask`
// launch: 1, 32
// gives: 0x55555555, 0xaaaaaaaa
extern "C" __global__ void active_lanes(unsigned* out)
{
    if (threadIdx.x % 2 == 0) {
        const unsigned mask = __activemask();
        if (threadIdx.x == 0) out[0] = mask;
    } else {
        const unsigned mask = __activemask();
        if (threadIdx.x == 1) out[1] = mask;
    }
}

// feature: `__match_any_sync`, `__match_all_sync`
// launch: 1, 32
// gives: 0x11111111, 0xffffffff, 1, 0
extern "C" __global__ void matches(unsigned* out)
{
    int same, all;
    const unsigned any = __match_any_sync(~0u, threadIdx.x % 4);
    const unsigned equal = __match_all_sync(~0u, 2.5, &same);
    const unsigned unequal = __match_all_sync(~0u, (long long)threadIdx.x, &all);
    if (threadIdx.x == 0) out[0] = any, out[1] = equal, out[2] = same, out[3] = unequal + all;
}

// feature: `__nanosleep` lets the other threads of a block run
// launch: 1, 64
// gives: 64
extern "C" __global__ void waits(int* out)
{
    __shared__ int turn;
    if (threadIdx.x == 0) turn = 0;
    __syncthreads();
    while (atomicAdd(&turn, 0) != threadIdx.x) __nanosleep(20);
    atomicAdd(&turn, 1);
    __syncthreads();
    if (threadIdx.x == 0) out[0] = turn;
}
