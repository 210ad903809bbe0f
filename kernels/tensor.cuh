// Tiles of matrix products on tensor cores, in TF32: operands are rounded to 10 bits of mantissa
// (to the nearest, ties away from zero), products are exact, and sums are float32. float only.

#include "gemm.cuh"

// The bits of x rounded to TF32.
__device__ inline unsigned tf32(float x) {
    unsigned bits;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#else
    bits = __float_as_uint(x);
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;
    bits = (nan ? bits | 0x00400000 : bits + 0x1000) & 0xffffe000;
#endif
    return bits;
}

// Adds the product of a (16 rows, 8 k) and b (8 k, 8 columns) to the sums (16 rows, 8 columns), all
// distributed over the threads of a warp. By the PTX manual (mma.m16n8k8), thread 4 g + t holds
//   a[0..3]  row g, k t; row g + 8, k t; row g, k t + 4; row g + 8, k t + 4
//   b[0..1]  k t, column g; k t + 4, column g
//   sums     row g, columns 2 t and 2 t + 1; row g + 8, the same columns.
// Before compute capability 8.0, and in the emulator, threads shuffle the operands instead.
__device__ inline void add_product(float& low0, float& low1, float& high0, float& high1,
                                   const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(low0), "+f"(low1), "+f"(high0), "+f"(high1)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    const unsigned all = 0xffffffff;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int k = 0; k < 8; ++k) {
        const int owner = k % 4, half = k / 4;
        const float low = __uint_as_float(__shfl_sync(all, a[2 * half], 4 * g + owner));
        const float high = __uint_as_float(__shfl_sync(all, a[2 * half + 1], 4 * g + owner));
        const float b0 = __uint_as_float(__shfl_sync(all, b[half], 8 * t + owner));
        const float b1 = __uint_as_float(__shfl_sync(all, b[half], 8 * t + 4 + owner));
        low0 += low * b0;
        low1 += low * b1;
        high0 += high * b0;
        high1 += high * b1;
    }
#endif
}

// Has the members of Tile (gemm.cuh). A warp owns WARP_M by WARP_N sums.
template <int BM_, int BN_, int WARP_M, int WARP_N>
struct TensorTile {
    static constexpr int BM = BM_, BN = BN_, BK = 16;
    static constexpr int WARPS_N = BN / WARP_N, THREADS = 32 * (BM / WARP_M) * WARPS_N;
    static constexpr int TM = WARP_M / 8, TN = WARP_N / 4, VECTOR_N = 2;
    static_assert(WARP_M % 16 == 0 && WARP_N % 8 == 0, "a warp computes products of 16 by 8");
    static_assert(BM % WARP_M == 0 && BN % WARP_N == 0, "warps must divide the tile");
    template <bool ALONG_K>
    using ShareA = SlabShare<BM, BK, THREADS, ALONG_K>;
    template <bool ALONG_K>
    using ShareB = SlabShare<BN, BK, THREADS, ALONG_K>;

    float sum[TM][TN];

    // As add_product distributes them: row g and columns 2 t, 2 t + 1 of each 16 by 8.
    __device__ static int row(int i) {
        const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
        return warp / WARPS_N * WARP_M + i / 2 * 16 + i % 2 * 8 + g;
    }

    __device__ static int column(int j) {
        const int warp = threadIdx.x / 32, t = threadIdx.x % 4;
        return warp % WARPS_N * WARP_N + j / 2 * 8 + 2 * t + j % 2;
    }

    // Slabs in shared memory: rows of 16 k, in four vectors of four. Two rows cover all banks. The
    // vectors are swizzled within rows, so that neither eight threads that read vectors of two rows
    // each, nor eight that write one row each of eight, conflict in a bank.
    using SmemA = uint4[BM * 4];
    using SmemB = uint4[BN * 4];

    __device__ static int vector(int row, int k) { return row * 4 + (k / 4 ^ row / 2 % 4); }

    template <class Share, int LENGTH>
    __device__ static void store(uint4 (&smem)[LENGTH], const float (&values)[Share::COUNT]) {
        if constexpr (Share::along_k) {
            const int k = Share::k(0);
#pragma unroll
            for (int r = 0; r < Share::COUNT; ++r) {
                unsigned* at = &smem[vector(Share::row(r), k)].x;
                at[k % 4] = tf32(values[r]);
            }
        } else {
            static_assert(Share::COUNT % 4 == 0, "a thread must store complete vectors");
#pragma unroll
            for (int r = 0; r < Share::COUNT; r += 4) {
                smem[vector(Share::row(r), Share::k(r))] =
                    make_uint4(tf32(values[r]), tf32(values[r + 1]), tf32(values[r + 2]),
                               tf32(values[r + 3]));
            }
        }
    }

    // Adds the products of a slab, 8 k at a time. Any 8 will do, as long as a and b take the same:
    // a thread's vector has its two of the first 8, and its two of the others.
    template <class, class>
    __device__ void add(const SmemA& smem_a, const SmemB& smem_b) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        uint4 a[TM];
#pragma unroll
        for (int i = 0; i < TM; ++i) a[i] = smem_a[vector(row(i), 4 * t)];
#pragma unroll
        for (int j = 0; j < TN; j += 2) {
            const uint4 b = smem_b[vector(column(j) - 2 * t + g, 4 * t)];
#pragma unroll
            for (int i = 0; i < TM; i += 2) {
                float(&low)[TN] = sum[i], (&high)[TN] = sum[i + 1];
                add_product(low[j], low[j + 1], high[j], high[j + 1],
                            {a[i].x, a[i + 1].x, a[i].y, a[i + 1].y}, {b.x, b.y});
                add_product(low[j], low[j + 1], high[j], high[j + 1],
                            {a[i].z, a[i + 1].z, a[i].w, a[i + 1].w}, {b.z, b.w});
            }
        }
    }
};
