// Kernels as a course has them: C's types, two-dimensional blocks, a header next to the file.
#include "clamp.h"

extern "C" __global__ void leaky(const real *x, real *y, const unsigned int n, float slope) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] > 0 ? x[i] : (real)slope * x[i];
}

extern "C" __global__ void leaky_backward(const real *__restrict__ dy, const real *__restrict__ x,
                                          real *__restrict__ dx, size_t n, double slope) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) dx[i] = x[i] > 0 ? dy[i] : (real)slope * dy[i];
}

extern "C" __global__ void __launch_bounds__(256) clamped(const real *x, real *y, real *kept, int n,
                                                          real limit, bool both) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = clamp_to(x[i], limit, both);
    if (kept) kept[i] = y[i] == x[i];
}

extern "C" __global__ void multiply(const real *a, const real *b, real *y, long long n) {
    const long long i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a[i] * b[i];
}

// y = w[c] x, a block for a plane of 8 by 4 threads.
extern "C" __global__ void scale_channels(const real *x, const real *weight, real *y, int channels,
                                          int height, int width) {
    const int c = blockIdx.z % channels;
    const int h = blockIdx.y * blockDim.y + threadIdx.y, w = blockIdx.x * blockDim.x + threadIdx.x;
    if (h >= height || w >= width) return;
    const int i = (blockIdx.z * height + h) * width + w;
    y[i] = weight[c] * x[i];
}

// dw[c] = sum of dy x: a block for a channel; its threads' sums lie in dynamic shared memory.
extern "C" __global__ void scale_channels_weight(const real *dy, const real *x, real *dw, int batch,
                                                 int channels, int plane) {
    extern __shared__ char memory[];
    real *sums = (real *)memory;
    const int c = blockIdx.x;
    real sum = 0;
    for (int n = 0; n < batch; ++n)
        for (int i = threadIdx.x; i < plane; i += blockDim.x) {
            const int at = (n * channels + c) * plane + i;
            sum += dy[at] * x[at];
        }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int t = 1; t < blockDim.x; ++t) sum += sums[t];
    dw[c] = sum;
}

extern "C" __global__ void only_float(float *x, int n) {
    if (threadIdx.x < n) x[threadIdx.x] = 1;
}
