"""Programs as they are published: one algorithm each, with the kernels in a string."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.programs import feature

KERNELS = r"""
#define TILE 16
#define RADIUS 2

extern "C" {

__global__ void saxpy(float a, const float* x, float* y, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x)
        y[i] = a * x[i] + y[i];
}

__global__ void reduce_sum(const float* x, float* total, int n) {
    extern __shared__ float part[];
    unsigned tid = threadIdx.x;
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + tid; i < n; i += blockDim.x * gridDim.x) sum += x[i];
    part[tid] = sum;
    __syncthreads();
    for (unsigned s = blockDim.x / 2; s > 0; s >>= 1) {
        if (tid < s) part[tid] += part[tid + s];
        __syncthreads();
    }
    if (tid == 0) atomicAdd(total, part[0]);
}

__inline__ __device__ float warp_sum(float v) {
    for (int offset = warpSize / 2; offset > 0; offset /= 2)
        v += __shfl_down_sync(0xffffffff, v, offset);
    return v;
}
__global__ void row_means(const float* x, float* mean, int width) {
    __shared__ float parts[32];
    float v = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) v += x[blockIdx.x * width + i];
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0.0f;
        v = warp_sum(v);
        if (threadIdx.x == 0) mean[blockIdx.x] = v / width;
    }
}

__global__ void transpose(const float* in, float* out, int width, int height) {
    __shared__ float tile[TILE][TILE + 1];
    int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    if (x < width && y < height) tile[threadIdx.y][threadIdx.x] = in[y * width + x];
    __syncthreads();
    x = blockIdx.y * TILE + threadIdx.x, y = blockIdx.x * TILE + threadIdx.y;
    if (x < height && y < width) out[y * height + x] = tile[threadIdx.x][threadIdx.y];
}

__global__ void histogram(const unsigned char* data, unsigned int* bins, int n) {
    __shared__ unsigned int local[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x)
        atomicAdd(&local[data[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&bins[i], local[i]);
}

__global__ void matmul(const float* A, const float* B, float* C, int M, int N, int K) {
    __shared__ float As[TILE][TILE], Bs[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    float acc = 0.0f;
    for (int t = 0; t < (K + TILE - 1) / TILE; ++t) {
        int k = t * TILE;
        As[threadIdx.y][threadIdx.x] =
            row < M && k + threadIdx.x < K ? A[row * K + k + threadIdx.x] : 0.0f;
        Bs[threadIdx.y][threadIdx.x] =
            col < N && k + threadIdx.y < K ? B[(k + threadIdx.y) * N + col] : 0.0f;
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < TILE; ++i) acc += As[threadIdx.y][i] * Bs[i][threadIdx.x];
        __syncthreads();
    }
    if (row < M && col < N) C[row * N + col] = acc;
}

__constant__ float weights[2 * RADIUS + 1];
__global__ void stencil(const float* in, float* out, int n) {
    __shared__ float s[128 + 2 * RADIUS];
    int g = blockIdx.x * blockDim.x + threadIdx.x, l = threadIdx.x + RADIUS;
    s[l] = g < n ? in[g] : 0.0f;
    if (threadIdx.x < RADIUS) {
        s[l - RADIUS] = g >= RADIUS ? in[g - RADIUS] : 0.0f;
        s[l + blockDim.x] = g + blockDim.x < n ? in[g + blockDim.x] : 0.0f;
    }
    __syncthreads();
    if (g >= n) return;
    float sum = 0.0f;
    for (int k = -RADIUS; k <= RADIUS; ++k) sum += s[l + k] * weights[k + RADIUS];
    out[g] = sum;
}

__global__ void inclusive_scan(const int* in, int* out, int n) {
    extern __shared__ int t[];
    int i = threadIdx.x;
    t[i] = i < n ? in[i] : 0;
    __syncthreads();
    for (int d = 1; d < blockDim.x; d *= 2) {
        int v = i >= d ? t[i - d] : 0;
        __syncthreads();
        t[i] += v;
        __syncthreads();
    }
    if (i < n) out[i] = t[i];
}

__global__ void bitonic_step(float* x, int j, int k) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, ixj = i ^ j;
    if (ixj > i) {
        bool ascending = (i & k) == 0;
        if ((x[i] > x[ixj]) == ascending) { float t = x[i]; x[i] = x[ixj]; x[ixj] = t; }
    }
}

__global__ void mandelbrot(int* out, int width, int height, int max_iter) {
    int px = blockIdx.x * blockDim.x + threadIdx.x, py = blockIdx.y * blockDim.y + threadIdx.y;
    if (px >= width || py >= height) return;
    double cr = -2.0 + 3.0 * px / width, ci = -1.0 + 2.0 * py / height, zr = 0, zi = 0;
    int k = 0;
    while (k < max_iter && zr * zr + zi * zi <= 4.0) {
        double t = zr * zr - zi * zi + cr;
        zi = 2 * zr * zi + ci;
        zr = t;
        ++k;
    }
    out[py * width + px] = k;
}

__global__ void softmax_rows(const float* x, float* y, int cols) {
    __shared__ float red[64];
    const float* row = x + blockIdx.x * cols;
    float m = -INFINITY_F, s = 0.0f;
    for (int i = threadIdx.x; i < cols; i += blockDim.x) m = fmaxf(m, row[i]);
    red[threadIdx.x] = m;
    __syncthreads();
    for (int k = blockDim.x / 2; k; k /= 2) {
        if (threadIdx.x < k) red[threadIdx.x] = fmaxf(red[threadIdx.x], red[threadIdx.x + k]);
        __syncthreads();
    }
    m = red[0];
    __syncthreads();
    for (int i = threadIdx.x; i < cols; i += blockDim.x) s += __expf(row[i] - m);
    red[threadIdx.x] = s;
    __syncthreads();
    for (int k = blockDim.x / 2; k; k /= 2) {
        if (threadIdx.x < k) red[threadIdx.x] += red[threadIdx.x + k];
        __syncthreads();
    }
    for (int i = threadIdx.x; i < cols; i += blockDim.x)
        y[blockIdx.x * cols + i] = __expf(row[i] - m) / red[0];
}

__global__ void nbody(const float4* body, float3* force, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float4 me = body[i];
    float3 f = make_float3(0.0f, 0.0f, 0.0f);
    for (int j = 0; j < n; ++j) {
        float4 b = body[j];
        float dx = b.x - me.x, dy = b.y - me.y, dz = b.z - me.z;
        float inv = rsqrtf(dx * dx + dy * dy + dz * dz + 0.01f);
        float s = b.w * inv * inv * inv;
        f.x += dx * s; f.y += dy * s; f.z += dz * s;
    }
    force[i] = f;
}

__global__ void julia_complex(const float2* z, float* r, int n) {
    int i = threadIdx.x;
    if (i < n) r[i] = hypotf(z[i].x, z[i].y);
}

}
"""
OPTIONS = ("-std=c++14", "-DINFINITY_F=__int_as_float(0x7f800000)")


def kernel(cp: Any, name: str) -> Any:
    return cp.RawKernel(KERNELS, name, options=OPTIONS)


def close(cp: Any, found: Any, wanted: Any, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(cp.asnumpy(found), wanted, rtol=rtol, atol=1e-5)


@feature("saxpy with a grid-stride loop")
def saxpy(cp: Any) -> None:
    n = 1000
    x, y = cp.arange(n, dtype=cp.float32), cp.ones(n, dtype=cp.float32)
    kernel(cp, "saxpy")((4,), (64,), (cp.float32(2.5), x, y, cp.int32(n)))
    close(cp, y, 2.5 * np.arange(n) + 1)


@feature("reduction in dynamic shared memory with `atomicAdd`")
def reduction(cp: Any) -> None:
    x = cp.asarray(np.random.default_rng(0).random(3000, dtype=np.float32))
    total = cp.zeros(1, dtype=cp.float32)
    kernel(cp, "reduce_sum")((3,), (256,), (x, total, np.int32(x.size)), shared_mem=256 * 4)
    close(cp, total, [x.get().sum()], rtol=1e-4)


@feature("means of rows by warp shuffles")
def row_means(cp: Any) -> None:
    x = np.random.default_rng(1).random((5, 100), dtype=np.float32)
    mean = cp.empty(5, dtype=cp.float32)
    kernel(cp, "row_means")((5,), (64,), (cp.array(x), mean, np.int32(100)))
    close(cp, mean, x.mean(1))


@feature("transpose in tiles")
def transpose(cp: Any) -> None:
    x = np.arange(20 * 33, dtype=np.float32).reshape(20, 33)
    out = cp.empty((33, 20), dtype=cp.float32)
    kernel(cp, "transpose")((3, 2), (16, 16), (cp.asarray(x), out, np.int32(33), np.int32(20)))
    assert (out.get() == x.T).all()


@feature("histogram with shared atomics")
def histogram(cp: Any) -> None:
    data = np.random.default_rng(2).integers(0, 256, 5000, dtype=np.uint8)
    bins = cp.zeros(256, dtype=cp.uint32)
    kernel(cp, "histogram")((4,), (128,), (cp.asarray(data), bins, np.int32(data.size)))
    assert (bins.get() == np.bincount(data, minlength=256)).all()


@feature("matrix product in tiles")
def matmul(cp: Any) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.random(shape, dtype=np.float32) for shape in ((20, 35), (35, 18)))
    c = cp.zeros((20, 18), dtype=cp.float32)
    sizes = [np.int32(n) for n in (20, 18, 35)]
    kernel(cp, "matmul")((2, 2), (16, 16), (cp.asarray(a), cp.asarray(b), c, *sizes))
    close(cp, c, a @ b)


@feature("stencil with `__constant__` weights set by `get_global`", emulated=True)
def stencil(cp: Any) -> None:
    module = cp.RawModule(code=KERNELS, options=OPTIONS)
    weights = cp.ndarray((5,), cp.float32, module.get_global("weights"))
    weights[...] = cp.asarray(np.array([1, 2, 3, 2, 1], np.float32))
    x = np.random.default_rng(4).random(200, dtype=np.float32)
    y = cp.empty(200, dtype=cp.float32)
    module.get_function("stencil")((2,), (128,), (cp.asarray(x), y, np.int32(200)))
    close(cp, y, np.convolve(x, [1, 2, 3, 2, 1], "same"))


@feature("inclusive scan of a block")
def scan(cp: Any) -> None:
    x = cp.arange(100, dtype=cp.int32)
    out = cp.empty_like(x)
    kernel(cp, "inclusive_scan")((1,), (128,), (x, out, np.int32(100)), shared_mem=128 * 4)
    assert (out.get() == np.arange(100).cumsum()).all()


@feature("bitonic sort in many launches")
def bitonic_sort(cp: Any) -> None:
    x = cp.asarray(np.random.default_rng(5).random(64, dtype=np.float32))
    wanted, step, k = np.sort(x.get()), kernel(cp, "bitonic_step"), 2
    while k <= x.size:
        j = k // 2
        while j:
            step((2,), (32,), (x, np.int32(j), np.int32(k)))
            j //= 2
        k *= 2
    assert (x.get() == wanted).all()


@feature("Mandelbrot set on a 2-D grid in float64")
def mandelbrot(cp: Any) -> None:
    out = cp.zeros((10, 15), dtype=cp.int32)
    sizes = [np.int32(n) for n in (15, 10, 50)]
    kernel(cp, "mandelbrot")((2, 2), (8, 8), (out, *sizes))
    c = (-2 + 3 * np.arange(15) / 15) + 1j * (-1 + 2 * np.arange(10) / 10)[:, None]
    z, count = np.zeros_like(c), np.zeros(c.shape, int)
    for _ in range(50):
        inside = np.abs(z) <= 2
        count += inside
        z = np.where(inside, z * z + c, z)
    assert (out.get() == count).mean() > 0.98  # of points at the border roundings decide


@feature("softmax of rows with `__expf`")
def softmax(cp: Any) -> None:
    x = np.random.default_rng(6).standard_normal((3, 90)).astype(np.float32)
    y = cp.empty((3, 90), dtype=cp.float32)
    kernel(cp, "softmax_rows")((3,), (64,), (cp.asarray(x), y, np.int32(90)))
    e = np.exp(x - x.max(1, keepdims=True))
    close(cp, y, e / e.sum(1, keepdims=True))


@feature("n-body forces with `float4` and `float3`")
def nbody(cp: Any) -> None:
    body = np.random.default_rng(7).random((40, 4), dtype=np.float32)
    force = cp.zeros((40, 3), dtype=cp.float32)
    kernel(cp, "nbody")((1,), (64,), (cp.asarray(body), force, np.int32(40)))
    d = body[None, :, :3] - body[:, None, :3]
    s = body[None, :, 3] * ((d * d).sum(-1) + 0.01) ** -1.5
    close(cp, force, (d * s[..., None]).sum(1), rtol=1e-3)


@feature("complex arrays as `float2`")
def complex_arrays(cp: Any) -> None:
    z = np.array([3 + 4j, 1j, -2], np.complex64)
    r = cp.zeros(3, dtype=cp.float32)
    kernel(cp, "julia_complex")((1,), (32,), (cp.asarray(z), r, np.int32(3)))
    close(cp, r, np.abs(z))
