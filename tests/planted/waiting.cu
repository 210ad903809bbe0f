// Correct kernels whose threads wait for each other in loops, or guess what an atomicCAS compares:
// check mode must run them to their end and find nothing, in any order of the threads.

// The CUDA C++ Programming Guide's way to make an atomic operation from atomicCAS.
extern "C" __global__ void add_by_cas(const double *x, double *sum)
{
    unsigned long long *word = (unsigned long long *)sum, old = *word, assumed;
    double mine = x[blockIdx.x * blockDim.x + threadIdx.x];
    do {
        assumed = old;
        old = atomicCAS(word, assumed,
                        __double_as_longlong(mine + __longlong_as_double(assumed)));
    } while (assumed != old);
}

extern "C" __global__ void shared_lock(int *y)
{
    __shared__ int lock, count;
    if (threadIdx.x == 0) lock = count = 0;
    __syncthreads();
    while (atomicCAS(&lock, 0, 1) != 0) ;
    __threadfence_block();
    count = count + 1;
    __threadfence_block();
    atomicExch(&lock, 0);
    __syncthreads();
    if (threadIdx.x == 0) y[0] = count;
}

extern "C" __global__ void global_lock(int *lock, int *total)
{
    while (atomicCAS(lock, 0, 1) != 0) ;
    __threadfence();
    total[0] += 1;
    __threadfence();
    atomicExch(lock, 0);
}

// The blocks wait for each other between two phases, so that none may end before the last begins.
extern "C" __global__ void grid_barrier(int *arrived, int *a, int *b)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
    a[i] = i;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1);
        while (*(volatile int *)arrived < gridDim.x) ;
        __threadfence();
    }
    __syncthreads();
    b[i] = a[n - 1 - i];
}

// One warp fills a buffer that the other empties; the flag changes hands by volatile accesses.
extern "C" __global__ void two_warps(const float *x, float *y)
{
    __shared__ float buffer[32];
    __shared__ volatile int full;
    int lane = threadIdx.x % 32;
    if (threadIdx.x == 0) full = 0;
    __syncthreads();
    for (int round = 0; round < 4; ++round) {
        bool fills = threadIdx.x >= 32;
        while (full == fills) ;
        __threadfence_block();
        if (fills) buffer[lane] = x[round * 32 + lane];
        else y[round * 32 + lane] = 2 * buffer[lane];
        __threadfence_block();
        __syncwarp();
        if (lane == 0) full = fills;
        __syncwarp();
    }
}

// Decoupled look-back: each block adds up the totals of those before it until one has the sum.
extern "C" __global__ void look_back(const int *x, volatile int *total, volatile int *sum,
                                     volatile int *state, int *y)
{
    int block = blockIdx.x, before = 0;
    total[block] = x[block];
    __threadfence();
    state[block] = 1;
    for (int other = block - 1; other >= 0;) {
        int now = state[other];
        if (now == 0) continue;
        __threadfence();
        before += now == 2 ? sum[other] : total[other];
        other = now == 2 ? -1 : other - 1;
    }
    sum[block] = before + x[block];
    __threadfence();
    state[block] = 2;
    y[block] = before;
}

// A lane alone sets what a shuffle sends to all; the other lanes' value is not used.
extern "C" __global__ void set_by_one_lane(int *count, int *y)
{
    int first;
    if (threadIdx.x == 0) first = atomicAdd(count, 32);
    first = __shfl_sync(0xffffffffu, first, 0);
    y[first + threadIdx.x] = threadIdx.x;
}

struct Parameters {
    const float *x;
    int n;
};
struct Item {
    double value;
    int index;   // and padding
};
extern "C" __global__ void padded_items(Parameters from, float *y)
{
    __shared__ Item items[64];
    int t = threadIdx.x;
    items[t].value = from.x[t];
    items[t].index = t;
    __syncthreads();
    Item other = items[from.n - 1 - t];
    y[t] = other.value + other.index;
}

extern "C" __global__ void same_flag(const float *x, int *found)
{
    if (x[threadIdx.x] > 3.0f) found[0] = 1;
}
