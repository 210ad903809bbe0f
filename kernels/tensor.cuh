// Tiles of matrix products on tensor cores, in TF32: operands are rounded to 10 bits of mantissa
// (to the nearest, ties away from zero), products are exact, and sums are float32. float only.

// What is left of x, as bits.
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

// Adds the product of a (16 rows, 8 k) and b (8 k, 8 columns), which the warp's threads hold
// together, to the sums (16 rows, 8 columns), of which they hold four each. By the PTX manual
// (mma.m16n8k8), thread 4 g + t of the warp has
//   a[0..3]  row g, k t; row g + 8, k t; row g, k t + 4; row g + 8, k t + 4
//   b[0..1]  k t, column g; k t + 4, column g
//   sums     row g, columns 2 t and 2 t + 1; row g + 8, the same columns.
// The plain path asks the others for what they hold, so that it is right only where that is.
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
        const int holder = k % 4, later = k / 4;
        const float low = __uint_as_float(__shfl_sync(all, a[2 * later], 4 * g + holder));
        const float high = __uint_as_float(__shfl_sync(all, a[2 * later + 1], 4 * g + holder));
        const float b0 = __uint_as_float(__shfl_sync(all, b[later], 8 * t + holder));
        const float b1 = __uint_as_float(__shfl_sync(all, b[later], 8 * t + 4 + holder));
        low0 += low * b0;
        low1 += low * b1;
        high0 += high * b0;
        high1 += high * b1;
    }
#endif
}

// Has the members of Tile. A warp owns WARP_ROWS by WARP_COLUMNS sums.
template <int ROWS, int COLUMNS, int WARP_ROWS, int WARP_COLUMNS>
struct TensorTile {
    static constexpr int rows = ROWS, columns = COLUMNS, depth = 16;
    static constexpr int ACROSS = COLUMNS / WARP_COLUMNS;  // warps
    static constexpr int THREADS = 32 * (ROWS / WARP_ROWS) * ACROSS;
    static constexpr int high = WARP_ROWS / 8, wide = WARP_COLUMNS / 4, B_PACK = 2;
    static_assert(WARP_ROWS % 16 == 0 && WARP_COLUMNS % 8 == 0, "whole products of a warp");
    static_assert(ROWS % WARP_ROWS == 0 && COLUMNS % WARP_COLUMNS == 0, "whole warps");
    template <bool ALONG_K>
    using RowFetch = Fetch<ROWS, depth, THREADS, ALONG_K>;
    template <bool ALONG_K>
    using ColumnFetch = Fetch<COLUMNS, depth, THREADS, ALONG_K>;

    float sum[high][wide];

    // As add_product has them: g rows down and t pairs of columns across, within its 16 by 8.
    __device__ static int row(int i) {
        const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
        return warp / ACROSS * WARP_ROWS + i / 2 * 16 + i % 2 * 8 + g;
    }

    __device__ static int column(int j) {
        const int warp = threadIdx.x / 32, t = threadIdx.x % 4;
        return warp % ACROSS * WARP_COLUMNS + j / 2 * 8 + 2 * t + j % 2;
    }

    // A slab is lines of 16 k, which go in four packs of four. Two lines take all banks; packs are
    // swapped within lines so that neither eight threads that read a pack of two lines each, nor
    // eight that write one of eight lines, meet in a bank.
    using Left = uint4[ROWS * 4];
    using Right = uint4[COLUMNS * 4];

    __device__ static int pack(int line, int k) { return line * 4 + (k / 4 ^ line / 2 % 4); }

    // Adds the products of a slab, 8 k at a time. Which 8 is all the same, as long as a and b have
    // the same: a thread's pack has its two of the first 8, and its two of the others.
    __device__ void add(const Left& left, const Right& right) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        uint4 p[high];
#pragma unroll
        for (int i = 0; i < high; ++i) p[i] = left[pack(row(i), 4 * t)];
#pragma unroll
        for (int j = 0; j < wide; j += 2) {
            const uint4 q = right[pack(column(j) - 2 * t + g, 4 * t)];
#pragma unroll
            for (int i = 0; i < high; i += 2) {
                float(&low)[wide] = sum[i], (&above)[wide] = sum[i + 1];
                add_product(low[j], low[j + 1], above[j], above[j + 1],
                            {p[i].x, p[i + 1].x, p[i].y, p[i + 1].y}, {q.x, q.y});
                add_product(low[j], low[j + 1], above[j], above[j + 1],
                            {p[i].z, p[i + 1].z, p[i].w, p[i + 1].w}, {q.z, q.w});
            }
        }
    }

    template <class Place, int LENGTH>
    __device__ static void store(uint4 (&slab)[LENGTH], const float (&values)[Place::COUNT]) {
        if constexpr (Place::along_k) {
            const int k = Place::k(0);
#pragma unroll
            for (int r = 0; r < Place::COUNT; ++r) {
                unsigned* at = &slab[pack(Place::line(r), k)].x;
                at[k % 4] = tf32(values[r]);
            }
        } else {
            static_assert(Place::COUNT % 4 == 0, "whole packs");
#pragma unroll
            for (int r = 0; r < Place::COUNT; r += 4) {
                slab[pack(Place::line(r), Place::k(r))] =
                    make_uint4(tf32(values[r]), tf32(values[r + 1]), tf32(values[r + 2]),
                               tf32(values[r + 3]));
            }
        }
    }
};
