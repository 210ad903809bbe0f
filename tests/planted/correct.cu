// Correct kernels: check mode must find nothing in them, in any order of the threads.

extern "C" __global__ void block_sum(const real *__restrict__ x, real *__restrict__ sums, int n)
{
    __shared__ real parts[32];
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    real sum = i < n ? x[i] : real(0);
    for (int delta = 16; delta > 0; delta /= 2) sum += __shfl_down_sync(0xffffffffu, sum, delta);
    if (lane == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    sum = lane < blockDim.x / 32 ? parts[lane] : real(0);
    for (int with = 16; with > 0; with /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, with);
    if (lane == 0) sums[blockIdx.x] = sum;
}

extern "C" __global__ void transpose(const real *__restrict__ x, real *__restrict__ y, int rows,
                                     int columns)
{
    __shared__ real tile[16][17];
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
    if (row < rows && column < columns)
        tile[threadIdx.y][threadIdx.x] = x[row * columns + column];
    __syncthreads();
    row = blockIdx.y * 16 + threadIdx.x;
    column = blockIdx.x * 16 + threadIdx.y;
    if (row < rows && column < columns) y[column * rows + row] = tile[threadIdx.x][threadIdx.y];
}

// c (m, n) = a (m, k) b (k, n), slab by slab, one buffer filled while the other is read.
template <int SIZE> struct Slab {
    real a[SIZE][SIZE], b[SIZE][SIZE];
};
extern "C" __global__ void __launch_bounds__(64)
matmul(const real *__restrict__ a, const real *__restrict__ b, real *__restrict__ c, int m, int n,
       int k)
{
    __shared__ Slab<8> slabs[2];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 8 + y, column = blockIdx.x * 8 + x;
    auto load = [&](int which, int from) {
        slabs[which].a[y][x] = row < m && from + x < k ? a[row * k + from + x] : real(0);
        slabs[which].b[y][x] = column < n && from + y < k ? b[(from + y) * n + column] : real(0);
    };
    real sum = 0;
    load(0, 0);
    __syncthreads();
    for (int from = 0, now = 0; from < k; from += 8, now ^= 1) {
        if (from + 8 < k) load(now ^ 1, from + 8);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum += slabs[now].a[y][i] * slabs[now].b[i][x];
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}

extern "C" __global__ void scale_in_place(real *x, real factor, long long n)
{
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        x[i] = x[i] * factor;
}

extern "C" __global__ void add(const real *x, const real *y, real *z, int n)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        z[i] = x[i] + y[i];
}

// Sums of 32 by shared memory within a warp, where __syncwarp is enough.
extern "C" __global__ void warp_sums(const real *x, real *sums)
{
    __shared__ real s[64];
    int t = threadIdx.x, lane = t % 32;
    s[t] = x[blockIdx.x * 64 + t];
    __syncwarp();
    for (int half = 16; half > 0; half /= 2) {
        real other = lane < half ? s[t + half] : real(0);
        __syncwarp();
        if (lane < half) s[t] += other;
        __syncwarp();
    }
    real sum = s[t - lane];
    __syncwarp();
    if (lane == 0) s[t] = 0;   // all lanes have read it
    if (lane == 1) sums[blockIdx.x * 2 + t / 32] = sum;
}

// The last block to finish adds what the others left.
extern "C" __global__ void last_block_sum(const real *x, real *partials, real *y, unsigned *tickets,
                                          int n)
{
    __shared__ bool last;
    __shared__ real sum;
    if (threadIdx.x == 0) sum = 0;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    partials[i] = i < n ? x[i] : real(0);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(tickets, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!last || threadIdx.x) return;
    for (int j = 0; j < gridDim.x * blockDim.x; ++j) sum += partials[j];
    y[0] = sum;
}

extern "C" __global__ void histogram(const int *x, int *counts, unsigned *most, int n)
{
    __shared__ int own[10];
    for (int i = threadIdx.x; i < 10; i += blockDim.x) own[i] = 0;
    __syncthreads();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(&own[x[i]], 1);
    if (i < n) atomicMax(most, (unsigned)x[i]);
    __syncthreads();
    for (int j = threadIdx.x; j < 10; j += blockDim.x) atomicAdd(counts + j, own[j]);
}

// Four threads write to the bytes of one word.
extern "C" __global__ void sign_bytes(const real *x, unsigned char *y, int n)
{
    __shared__ unsigned char bytes[64];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    bytes[threadIdx.x] = i < n && x[i] > 0;
    if (i < n) y[i] = bytes[threadIdx.x];
}

extern "C" __global__ void relu_quads(const float4 *x, float4 *y, int quads)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= quads) return;
    float4 v = __ldg(x + i);
    y[i] = make_float4(fmaxf(v.x, 0.0f), fmaxf(v.y, 0.0f), fmaxf(v.z, 0.0f), fmaxf(v.w, 0.0f));
}

// Inclusive sums within a warp, and votes.
extern "C" __global__ void warp_scan(const int *x, int *sums, unsigned *odd, int *votes)
{
    int t = threadIdx.x, value = x[t], sum = value;
    for (int delta = 1; delta < 32; delta *= 2) {
        int left = __shfl_up_sync(0xffffffffu, sum, delta);
        if (t % 32 >= delta) sum += left;
    }
    sums[t] = sum;
    odd[t] = __ballot_sync(0xffffffffu, value & 1);
    int any = __any_sync(0xffffffffu, value == 3), all = __all_sync(0xffffffffu, value < 100);
    int first = __shfl_sync(0xffffffffu, value, 0, 8);   // of each eight lanes
    int count = __syncthreads_count(value & 1);
    int every = __syncthreads_and(value < 100), some = __syncthreads_or(value > 99);
    votes[t] = any + 2 * all + 4 * every + 8 * some + 16 * count + 4096 * first;
}

__constant__ real weights[3] = {1, 2, 3};
extern __shared__ unsigned char raw[];
extern "C" __global__ void stencil(const real *__restrict__ x, const real *__restrict__ bias,
                                   real *__restrict__ y, int n)
{
    real *window = reinterpret_cast<real *>(raw);
    int i = blockIdx.x * blockDim.x + threadIdx.x, t = threadIdx.x;
    window[t + 1] = i < n ? x[i] : real(0);
    if (t == 0) window[0] = i > 0 ? x[i - 1] : real(0);
    if (t == blockDim.x - 1) window[t + 2] = i + 1 < n ? x[i + 1] : real(0);
    __syncthreads();
    if (i >= n) return;
    real sum = bias ? bias[0] : real(0);
    for (int k = 0; k < 3; ++k) sum += weights[k] * window[t + k];
    y[i] = sum;
}

extern "C" __global__ void functions(const float *x, float *y, int n)
{
    int i = threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[i] = v;
    y[n + i] = fmaf(v, v, 1.0f) + rsqrtf(v) + sqrtf(v) + fabsf(-v);
    y[2 * n + i] = expf(v) + logf(v) + tanhf(v) + __expf(v) + __logf(v) + powf(v, 2.0f);
    y[3 * n + i] = min(v, 1.0f) + max(i, 3) + __fdividef(v, 2.0f) + __int_as_float(0x3f800000);
}

struct Size {
    int width, height;
};
extern "C" __global__ void by_value(Size size, bool flip, double factor, double *y)
{
    int i = threadIdx.y * blockDim.x + threadIdx.x;
    if (i < size.width * size.height) y[i] = (flip ? -1 : 1) * factor * size.width;
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void newer_only(float *y) { asm("no such instruction;"); }
#endif

// The same, with the counter and the blocks' sums in variables; the last block resets the counter.
__device__ unsigned finished;
__device__ real block_sums[16];
extern "C" __global__ void reset_ticket_sum(const real *x, real *y)
{
    extern __align__(16) __shared__ real values[];
    __shared__ bool last;
    int t = threadIdx.x;
    values[t] = x[blockIdx.x * blockDim.x + t];
    __syncthreads();
    if (t == 0) {
        real sum = 0;
        for (int i = 0; i < blockDim.x; ++i) sum += values[i];
        block_sums[blockIdx.x] = sum;
        __threadfence();
        last = atomicAdd(&finished, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    if (t < gridDim.x) memcpy(values + t, block_sums + t, sizeof(real));
    __syncthreads();
    if (t) return;
    real sum = 0;
    for (int i = 0; i < gridDim.x; ++i) sum += values[i];
    y[0] = sum;
    finished = 0;
}
