// Kernels whose counts are known on paper: known.py has them. A launch is one block.
#define KERNEL extern "C" __global__ void

KERNEL copy(const float* __restrict__ x, float* __restrict__ y) { y[threadIdx.x] = x[threadIdx.x]; }
KERNEL strided(const float* __restrict__ x, float* __restrict__ y, int step) {
    y[threadIdx.x] = x[threadIdx.x * step];
}
KERNEL shifted(const float* __restrict__ x, float* __restrict__ y, int by) {
    y[threadIdx.x + by] = x[threadIdx.x + by];
}
KERNEL copy_float4(const float4* __restrict__ x, float4* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];
}
KERNEL change_float4(const float4* __restrict__ x, float4* __restrict__ y) {
    const float4 v = x[threadIdx.x];
    y[threadIdx.x] = make_float4(v.x + 1, v.y * v.x, v.z, v.w - v.y);
}
KERNEL copy_double(const double* __restrict__ x, double* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];
}
KERNEL copy_bytes(const unsigned char* __restrict__ x, unsigned char* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];
}
struct Three {
    float x, y, z;
};
KERNEL copy_struct(const Three* __restrict__ x, Three* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];
}
struct Two {
    float x, y;
};
KERNEL copy_pair(const Two* __restrict__ x, Two* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];
}
KERNEL broadcast(const float* __restrict__ x, float* __restrict__ y) { y[threadIdx.x] = x[5]; }
KERNEL gather(const float* __restrict__ x, const int* __restrict__ at, float* __restrict__ y) {
    y[threadIdx.x] = x[at[threadIdx.x]];
}
KERNEL odd_lanes(const float* __restrict__ x, float* __restrict__ y) {
    if (threadIdx.x % 2) y[threadIdx.x] = x[threadIdx.x];
}
KERNEL if_else(const float* __restrict__ x, float* __restrict__ y) {
    float value;
    if (threadIdx.x % 2) value = x[threadIdx.x];
    else value = x[threadIdx.x + 32] * 3;
    y[threadIdx.x] = value;
}
KERNEL rounds_by_lane(const float* __restrict__ x, float* __restrict__ y) {
    float sum = 0;
    for (int i = 0; i <= threadIdx.x; ++i) sum += x[i * 32 + threadIdx.x];
    y[threadIdx.x] = sum;
}
// The n-th load of a lane is in another round than its neighbour's n-th load.
KERNEL skips_by_lane(const float* __restrict__ x, float* __restrict__ y) {
    float sum = 0;
    for (int i = 0; i < 16; ++i)
        if ((i + threadIdx.x) % 4 == 0) sum += x[i * 32 + threadIdx.x];
    y[threadIdx.x] = sum;
}
KERNEL break_by_lane(const float* __restrict__ x, float* __restrict__ y) {
    float sum = 0;
    for (int i = 0; i < 16; ++i) {
        if (i == threadIdx.x / 8) break;
        sum += x[i * 32 + threadIdx.x];
    }
    y[threadIdx.x] = sum;
}
KERNEL continue_by_lane(const float* __restrict__ x, float* __restrict__ y) {
    float sum = 0;
    for (int i = 0; i < 8; ++i) {
        const float a = x[i * 32 + threadIdx.x];
        if (i % 2 == threadIdx.x % 2) continue;
        sum += a * x[(i + 8) * 32 + threadIdx.x];
    }
    y[threadIdx.x] = sum;
}
__device__ __noinline__ float sum_rows(const float* x, int i) {
    float sum = 0;
    for (int j = 0; j < i % 4; ++j) sum += x[j * 32 + i];
    return sum + x[4 * 32 + i];
}
KERNEL calls(const float* __restrict__ x, float* __restrict__ y) {
    float value = 0;
    if (threadIdx.x < 16) value = sum_rows(x, threadIdx.x);
    else value = 2 * sum_rows(x, threadIdx.x);
    y[threadIdx.x] = value + sum_rows(x, threadIdx.x);
}
KERNEL local_array(const float* __restrict__ x, float* __restrict__ y, int n) {
    float kept[32];
    for (int i = 0; i < 32; ++i) kept[i] = i * 2.0f;
    kept[n] = x[threadIdx.x];
    y[threadIdx.x] = kept[(threadIdx.x + n) % 32];
}
KERNEL transpose_naive(const float* __restrict__ x, float* __restrict__ y) {
    y[threadIdx.x * 32 + threadIdx.y] = x[threadIdx.y * 32 + threadIdx.x];
}
template <int WIDTH>
__device__ void transpose(const float* __restrict__ x, float* __restrict__ y) {
    __shared__ float tile[32][WIDTH];
    tile[threadIdx.y][threadIdx.x] = x[threadIdx.y * 32 + threadIdx.x];
    __syncthreads();
    y[threadIdx.y * 32 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}
KERNEL transpose_32(const float* __restrict__ x, float* __restrict__ y) { transpose<32>(x, y); }
KERNEL transpose_33(const float* __restrict__ x, float* __restrict__ y) { transpose<33>(x, y); }
KERNEL shared_step(const float* __restrict__ x, float* __restrict__ y, int step) {
    extern __shared__ float words[];
    words[threadIdx.x * step] = x[threadIdx.x];
    __syncthreads();   // otherwise the compiler keeps the value and loads nothing
    y[threadIdx.x] = words[threadIdx.x * step];
}
KERNEL shared_broadcast(float* __restrict__ y, int at) {
    __shared__ float words[64];
    words[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = words[at];
}
// Two lanes read each word; the words of two rows are in the same banks.
KERNEL shared_pairs(float* __restrict__ y) {
    __shared__ float words[64];
    words[threadIdx.x] = words[threadIdx.x + 32] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = words[threadIdx.x / 2 % 8 + threadIdx.x / 16 * 32];
}
KERNEL shared_double(double* __restrict__ y, int step) {
    extern __shared__ double doubles[];
    doubles[threadIdx.x * step] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = doubles[threadIdx.x * step];
}
KERNEL shared_float4(float4* __restrict__ y, int step) {
    extern __shared__ float4 vectors[];
    vectors[threadIdx.x * step] = make_float4(threadIdx.x, 0, 0, 0);
    __syncthreads();
    y[threadIdx.x] = vectors[threadIdx.x * step];
}
// Groups of `by` lanes load the same words.
KERNEL shared_double_groups(double* __restrict__ y, int by) {
    __shared__ double doubles[32];
    doubles[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = doubles[threadIdx.x / by];
}
KERNEL shared_float4_groups(float4* __restrict__ y, int by) {
    __shared__ float4 vectors[32];
    vectors[threadIdx.x] = make_float4(threadIdx.x, 0, 0, 0);
    __syncthreads();
    y[threadIdx.x] = vectors[threadIdx.x / by];
}
KERNEL shared_float4_columns(float4* __restrict__ y) {   // lanes t and t ^ 2 load the same words
    __shared__ float4 vectors[32];
    vectors[threadIdx.x] = make_float4(threadIdx.x, 0, 0, 0);
    __syncthreads();
    y[threadIdx.x] = vectors[threadIdx.x % 2];
}
KERNEL shared_or_global(const float* __restrict__ x, float* __restrict__ y) {
    __shared__ float words[32];
    words[threadIdx.x] = threadIdx.x;
    __syncthreads();
    const volatile float* from = threadIdx.x < 8 ? words : x;
    y[threadIdx.x] = from[threadIdx.x];
}
KERNEL add_to_one(int* __restrict__ y) { atomicAdd(y, 1); }
KERNEL add_by_fours(int* __restrict__ y) { atomicAdd(y + threadIdx.x / 4, 1); }
KERNEL shared_histogram(int* __restrict__ y) {
    __shared__ int counts[8];
    if (threadIdx.x < 8) counts[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(counts + threadIdx.x / 4, 1);
    __syncthreads();
    if (threadIdx.x < 8) y[threadIdx.x] = counts[threadIdx.x];
}
KERNEL warp_sum(const float* __restrict__ x, float* __restrict__ y) {
    float value = x[threadIdx.x];
    for (int half = 16; half; half /= 2) value += __shfl_xor_sync(0xffffffffu, value, half);
    if (threadIdx.x == 0) *y = value;
}
KERNEL tree_sum(const float* __restrict__ x, float* __restrict__ y) {   // 256 threads
    __shared__ float tree[256];
    tree[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) tree[threadIdx.x] += tree[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) *y = tree[0];
}
// More events than a lane's trace holds. Lanes of odd number do half of the rounds.
KERNEL long_loop(const float* __restrict__ x, float* __restrict__ y, int rounds) {
    float sum = 0;
    for (int i = 0; i < rounds; ++i)
        if (threadIdx.x % 2 == 0 || i % 2) sum += x[i % 4 * 32 + threadIdx.x];
    y[threadIdx.x] = sum;
}
// The first lane loads alone, while the others wait for it at a warp operation.
KERNEL long_wait(const float* __restrict__ x, float* __restrict__ y, int rounds) {
    float sum = 0;
    if (threadIdx.x == 0)
        for (int i = 0; i < rounds; ++i) sum += x[i % 128];
    __syncwarp();
    y[threadIdx.x] = sum + x[threadIdx.x];
}
KERNEL arithmetic(float* __restrict__ y, double* __restrict__ z, float a, double b) {
    float sum = a;
    for (int i = 0; i < 10; ++i) sum = sum * a + 1.5f;   // 20
    y[threadIdx.x] = sum / a - sqrtf(sum);               // 3
    if (threadIdx.x % 2) z[threadIdx.x] = b * b + threadIdx.x;   // 2, of half the lanes
}
__device__ float table[64];
__constant__ float constants[64];
KERNEL constant_variable(float* __restrict__ y) { y[threadIdx.x] = constants[threadIdx.x * 2]; }
KERNEL device_variable(float* __restrict__ y) {
    y[threadIdx.x] = table[threadIdx.x * 2 % 64];
}
