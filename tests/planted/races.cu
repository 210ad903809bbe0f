// Planted races. The line of the second access ends with "// fault".

extern "C" __global__ void missing_barrier(const float *x, float *y)
{
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = x[t];
    __syncthreads();
    s[t] = s[t] + 1.0f;  // fault
    y[t] = s[63 - t];
}

extern "C" __global__ void missing_second_barrier(const float *x, float *y, int rounds)
{
    __shared__ float s[64];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int round = 0; round < rounds; ++round) {
        s[t] = x[round * 64 + t];  // fault
        __syncthreads();
        sum += s[(t + 1) % 64];
    }
    y[t] = sum;
}

extern "C" __global__ void one_buffer_of_two(const float *x, float *y, int slabs)
{
    __shared__ float slab[2][64];
    int t = threadIdx.x;
    float sum = 0.0f;
    slab[0][t] = x[t];
    for (int k = 0; k < slabs; ++k) {
        __syncthreads();
        if (k + 1 < slabs)
            slab[0][t] = x[(k + 1) * 64 + t];  // fault
        sum += slab[0][63 - t];
    }
    y[t] = sum;
}

extern "C" __global__ void no_syncwarp(float *y)
{
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = t;
    s[t + 32] = t;
    __syncwarp();
    for (int half = 16; half > 0; half /= 2)
        if (t < half) s[t] += s[t + half];  // fault
    y[t] = s[0];
}

extern "C" __global__ void between_blocks(float *y)
{
    if (threadIdx.x == 0) y[0] += 1.0f;  // fault
}

extern "C" __global__ void neighbour_block(float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 1.0f;
    __syncthreads();
    if (i >= blockDim.x && i < n)
        y[i] += y[i - blockDim.x];  // fault
}

extern "C" __global__ void write_after_read(float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float next = i + 1 < n ? y[i + 1] : 0.0f;
    __syncthreads();
    y[i] = next;  // fault
}

extern "C" __global__ void within_block(float *scratch, float *y)
{
    int t = threadIdx.x;
    scratch[t] = 2 * t;  // fault
    y[t] = scratch[t ^ 32];
}

extern "C" __global__ void same_byte(unsigned char *flags)
{
    flags[threadIdx.x / 2] = threadIdx.x;  // fault
}

extern "C" __global__ void plain_and_atomic(int *count, int *y)
{
    atomicAdd(count, 1);  // fault
    y[threadIdx.x] = *count;
}

extern "C" __global__ void ticket_without_fence(float *partials, float *y, int *tickets)
{
    partials[blockIdx.x] = blockIdx.x;
    int ticket = atomicAdd(tickets, 1);
    if (ticket != gridDim.x - 1) return;
    float sum = 0.0f;
    for (int i = 0; i < gridDim.x; ++i)
        sum += partials[i];  // fault
    y[0] = sum;
}

extern "C" __global__ void ticket_without_barrier(float *partials, float *y, int *tickets)
{
    int t = threadIdx.x;
    partials[blockIdx.x * blockDim.x + t] = 1.0f;
    if (t != 31) return;
    __threadfence();
    int ticket = atomicAdd(tickets, 1);
    if (ticket != gridDim.x - 1) return;
    float sum = 0.0f;
    for (int i = 0; i < gridDim.x * blockDim.x; ++i)
        if (i / blockDim.x != blockIdx.x)
            sum += partials[i];  // fault
    y[0] = sum;
}

extern "C" __global__ void last_block_reads(int *count, int *y)
{
    atomicAdd(count, 1);
    __syncthreads();
    if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0)
        y[0] = *count;  // fault
}

extern "C" __global__ void bytes_of_a_word(unsigned char *flags, int *y)
{
    flags[blockIdx.x] = 1;
    if (blockIdx.x == 1)
        y[0] = flags[0];  // fault
}

extern "C" __global__ void fence_too_early(float *partials, float *y, int *tickets)
{
    __shared__ bool last;
    __threadfence();
    partials[blockIdx.x * blockDim.x + threadIdx.x] = 1.0f;
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(tickets, 1) == gridDim.x - 1;
    __syncthreads();
    if (!last || threadIdx.x) return;
    float sum = 0.0f;
    for (int i = 0; i < gridDim.x * blockDim.x; ++i)
        sum += partials[i];  // fault
    y[0] = sum;
}

__device__ int counter;
extern "C" __global__ void device_variable(int *y)
{
    int before = counter;  // fault
    counter = before + 1;
    y[threadIdx.x] = before;
}

extern "C" __global__ void copied_by_all(float *y, int n)
{
    float values[9];
    for (int i = 0; i < 9; ++i) values[i] = i + threadIdx.x;
    memcpy(y, values, n * sizeof(float));  // fault
}

extern "C" __global__ void atomic_after_write(int *count)
{
    if (blockIdx.x + threadIdx.x == 0) count[0] = -1;
    __syncthreads();
    atomicAdd(&count[0], 1);  // fault
}

extern "C" __global__ void lock_without_fence(int *lock, int *total)
{
    while (atomicCAS(lock, 0, 1) != 0) ;
    total[0] += 1;  // fault
    atomicExch(lock, 0);
}

extern "C" __global__ void volatile_instead_of_barrier(const float *x, float *y)
{
    __shared__ volatile float s[64];
    s[threadIdx.x] = 0.0f;
    __syncthreads();
    s[threadIdx.x] = x[threadIdx.x] + 5.0f;  // fault
    y[threadIdx.x] = s[63 - threadIdx.x];
}
