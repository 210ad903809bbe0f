// Planted faults of barriers, warps and arithmetic. The line to be found ends with "// fault".

extern "C" __global__ void barrier_in_branch(float *y)
{
    if (threadIdx.x < 32)
        __syncthreads();  // fault
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void barrier_after_return(float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __syncthreads();  // fault
    y[i] = 1.0f;
}

extern "C" __global__ void two_barriers(float *y)
{
    if (threadIdx.x < 32) {
        __syncthreads();  // fault
        y[threadIdx.x] = 1.0f;
    } else {
        y[threadIdx.x] = 2.0f;
        __syncthreads();
    }
}

extern "C" __global__ void barrier_in_loop(float *y)
{
    for (int i = 0; i <= threadIdx.x / 32; ++i)
        __syncthreads();  // fault
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void shuffle_from_exited(float *y, int n)
{
    int t = threadIdx.x;
    if (t >= n) return;
    float sum = y[t];
    for (int delta = 16; delta > 0; delta /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, delta);  // fault
    if (t == 0) y[0] = sum;
}

extern "C" __global__ void shuffle_in_branch(float *y)
{
    float value = y[threadIdx.x];
    if (threadIdx.x < 16)
        value += __shfl_xor_sync(0xffffffffu, value, 1);  // fault
    __syncthreads();
    y[threadIdx.x] = value;
}

extern "C" __global__ void mask_without_itself(unsigned *y)
{
    y[threadIdx.x] = __ballot_sync(0x0000ffffu, 1);  // fault
}

extern "C" __global__ void different_operations(int *y)
{
    int t = threadIdx.x;
    if (t == 0)
        y[t] = __any_sync(0xffffffffu, t);
    else
        y[t] = __all_sync(0xffffffffu, t);  // fault
}

extern "C" __global__ void product_overflows(int *y, int n)
{
    y[0] = n * n;  // fault
}

extern "C" __global__ void index_overflows(float *y, int i)
{
    int next = i + 1;  // fault
    y[0] = next;
}

extern "C" __global__ void divides_by_zero(int *y, int n)
{
    y[0] = 7 / n;  // fault
}

extern "C" __global__ void shifts_too_far(int *y, int n)
{
    y[0] = 1 << n;  // fault
}

extern "C" __global__ void asserts(int *y, int n)
{
    assert(n > 0);  // fault
    y[0] = n;
}

__device__ __noinline__ int deeper(int *y, int n)
{
    volatile int kept[64];
    kept[n % 64] = y[0];  // fault
    return n ? deeper(y, n - 1) + kept[n % 64] : 0;
}

extern "C" __global__ void recurses(int *y, int n)
{
    y[0] = deeper(y, n);
}

extern "C" __global__ void __launch_bounds__(8 * 16) bounded(float *y)
{
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void too_much_shared(float *y)
{
    __shared__ float large[96 * 128 + 1];
    for (int i = threadIdx.x; i < 96 * 128 + 1; i += blockDim.x) large[i] = i;
    __syncthreads();
    y[threadIdx.x] = large[threadIdx.x + 1];
}

extern "C" __global__ void dynamic_sum(const float *__restrict__ x, float *__restrict__ y, int n)
{
    extern __shared__ float values[];
    values[threadIdx.x] = threadIdx.x < n ? x[threadIdx.x] : 0.0f;
    __syncthreads();
    if (threadIdx.x) return;
    float sum = 0.0f;
    for (int i = 0; i < blockDim.x; ++i) sum += values[i];
    y[0] = sum;
}

extern "C" __global__ void quotient_overflows(int *y, int n)
{
    y[0] = n / (y[0] - 1);  // fault
}

extern "C" __global__ void waits_at_a_barrier(volatile int *flag)
{
    if (threadIdx.x == 0)
        while (*flag == 0) ;  // fault
    __syncthreads();
    if (threadIdx.x == 1) *flag = 1;
}
