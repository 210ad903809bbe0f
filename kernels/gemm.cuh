// Tiled matrix products: C (M, N) = A (M, K) B (N, K)^T. Both operands are seen as rows of K
// elements, so that C[m, n] = sum over k of A[m, k] B[n, k]: what follows holds for both.
//
// One tile of C, BM by BN elements, is the work of one block. It walks along K in slabs of BK:
//
//                         K                              BN
//                <------------------>               <---------->
//                +------+------+----      smem_b  k |          |      BK rows of BN elements
//            BM  | slab | slab | ..              +--+----------+
//   A            |  0   |  1   |          smem_a |  | TM x TN  |      each thread owns TM by TN
//                +------+------+----       (k)   |  | a thread |      sums, in registers
//                 BK     BK                      +--+----------+
//
//   1. load:   each thread reads its share of a slab of A and of B from global memory to registers;
//   2. store:  it writes its share to shared memory, smem_a and smem_b, and the block synchronises;
//   3. add:    for each k of the slab it reads TM elements of A and TN of B from shared memory and
//              adds their TM * TN products to its sums.
//
// Shared memory holds two slabs: while the block adds one, it loads the next into registers, so
// that the loads' latency overlaps with arithmetic, and one barrier a slab is enough.
//
// Where the elements come from is the operand's affair: a matrix in memory (Matrix, below), or
// images under a filter (conv2d.cuh). An operand has a type Share, which of a slab's elements a
// thread loads, and load(slab, values), which loads them; slabs are asked for once each, in order.
// Beyond the last k it must give zero. Beyond the last row it may give anything: those sums are not
// written. Each sum is one thread's, in order of k, so results do not depend on the device.

// Which elements of a slab, ROWS by BK, a thread loads: the r-th is at row(r), k(r). Neighbouring
// threads take neighbouring k if ALONG_K, and then several rows each; else neighbouring rows, and
// several k each. An operand chooses what lies together in memory, for coalesced loads.
template <int ROWS, int BK_, int THREADS, bool ALONG_K>
struct SlabShare {
    static_assert(THREADS % (ALONG_K ? BK_ : ROWS) == 0, "a thread must keep its k or its row");
    static_assert(ROWS * BK_ % THREADS == 0, "every thread must load the same number");
    static constexpr int BK = BK_, COUNT = ROWS * BK / THREADS;
    static constexpr bool along_k = ALONG_K;
    static constexpr int ROW_COUNT = ALONG_K ? COUNT : 1;  // rows that a thread loads from

    __device__ static int row(int r) {
        return ALONG_K ? threadIdx.x / BK + r * (THREADS / BK) : threadIdx.x % ROWS;
    }

    __device__ static int k(int r) {
        return ALONG_K ? threadIdx.x % BK : threadIdx.x / ROWS * COUNT + r;
    }
};

// A block's tile of C: BM by BN sums, TM by TN of them a thread's.
template <int BM_, int BN_, int BK_, int TM_, int TN_>
struct Tile {
    static constexpr int BM = BM_, BN = BN_, BK = BK_, TM = TM_, TN = TN_;
    static constexpr int THREADS_M = BM / TM, THREADS_N = BN / TN, THREADS = THREADS_M * THREADS_N;
    static constexpr int VECTOR_M = TM < 4 ? TM : 4, VECTOR_N = TN < 4 ? TN : 4;
    static_assert(BM % TM == 0 && BN % TN == 0, "threads must divide the tile");
    static_assert(THREADS_M % 2 == 0 && THREADS_N % 8 == 0, "half a warp has two rows");
    static_assert(TM % VECTOR_M == 0 && TN % VECTOR_N == 0, "vectors must divide a thread's part");
    template <bool ALONG_K>
    using ShareA = SlabShare<BM, BK, THREADS, ALONG_K>;
    template <bool ALONG_K>
    using ShareB = SlabShare<BN, BK, THREADS, ALONG_K>;

    real sum[TM][TN];

    // The thread's position among THREADS_M by THREADS_N. Two rows are interleaved: threads 0, 2,
    // .. are in the first, and 1, 3, .. in the second. Shared memory serves 16 lanes that read
    // vectors of 16 bytes, or 32 that read 8 bytes, at once only if all pairs of lanes i, i ^ 1, or
    // all pairs i, i ^ 2, read the same vector. The former is so with B, and the latter with A.
    __device__ static int y() {
        return threadIdx.x / (2 * THREADS_N) * 2 + threadIdx.x % 2;
    }

    __device__ static int x() {
        return threadIdx.x / 2 % THREADS_N;
    }

    // The row and the column, within the tile, of the thread's sum[i][j]. Each VECTOR_M rows and
    // each VECTOR_N columns are neighbours; the next ones are THREADS_M or THREADS_N vectors away,
    // so that the threads of a warp read neighbouring vectors of shared memory.
    __device__ static int row(int i) {
        return (i / VECTOR_M * THREADS_M + y()) * VECTOR_M + i % VECTOR_M;
    }

    __device__ static int column(int j) {
        return (j / VECTOR_N * THREADS_N + x()) * VECTOR_N + j % VECTOR_N;
    }

    // Slabs in shared memory, indexed [k][vector of rows]. One vector more than needed in each k:
    // threads that store neighbouring k then write to different banks, until these repeat.
    using SmemA = Vector<VECTOR_M>[BK][BM / VECTOR_M + 1];
    using SmemB = Vector<VECTOR_N>[BK][BN / VECTOR_N + 1];

    // Where the i-th element of a vector of k lies in it: where the banks repeat, in another place.
    // Threads that store ROWS rows of all k at once then still write to different banks.
    template <class Share, int VECTOR>
    __device__ static constexpr int place(int k, int i) {
        constexpr int ALL_BANKS = 128 / sizeof(real), PERIOD = ALL_BANKS / VECTOR;
        constexpr int ROWS = BK < ALL_BANKS ? ALL_BANKS / BK : 1;
        return Share::along_k ? (i ^ k / PERIOD * ROWS) % VECTOR : i;
    }

    // Step 2: stores a thread's share of a slab.
    template <class Share, int VECTOR, int LENGTH>
    __device__ static void store(Vector<VECTOR> (&smem)[BK][LENGTH],
                                 const real (&values)[Share::COUNT]) {
#pragma unroll
        for (int r = 0; r < Share::COUNT; ++r) {
            const int k = Share::k(r), row = Share::row(r);
            smem[k][row / VECTOR].at[place<Share, VECTOR>(k, row % VECTOR)] = values[r];
        }
    }

    // Step 3: adds the products of a slab.
    template <class OfA, class OfB>
    __device__ void add(const SmemA& smem_a, const SmemB& smem_b) {
        const int y = Tile::y(), x = Tile::x();
#pragma unroll
        for (int k = 0; k < BK; ++k) {
            Vector<VECTOR_M> a[TM / VECTOR_M];
            Vector<VECTOR_N> b[TN / VECTOR_N];
#pragma unroll
            for (int i = 0; i < TM / VECTOR_M; ++i) a[i] = smem_a[k][i * THREADS_M + y];
#pragma unroll
            for (int j = 0; j < TN / VECTOR_N; ++j) b[j] = smem_b[k][j * THREADS_N + x];
#pragma unroll
            for (int i = 0; i < TM; ++i) {
                const real a_i = a[i / VECTOR_M].at[place<OfA, VECTOR_M>(k, i % VECTOR_M)];
#pragma unroll
                for (int j = 0; j < TN; ++j) {
                    const int at = place<OfB, VECTOR_N>(k, j % VECTOR_N);
                    sum[i][j] += a_i * b[j / VECTOR_N].at[at];
                }
            }
        }
    }
};

// An operand may need index arithmetic for each k that is the same for all its rows. One warp does
// it, for K_GROUP values of k at once, and leaves the results in shared memory: prepare(first k) is
// called by all threads of a warp, another one each time. This is for operands that need nothing.
constexpr int K_GROUP = 32;

struct NothingToPrepare {
    static constexpr bool NEEDED = false;

    __device__ void operator()(int64) const {}
};

// Step 1 for both operands: the thread's share of the next slab, in registers.
template <class T, class A, class B, class Prepare>
struct NextSlab {
    static constexpr int SLABS = Prepare::NEEDED ? K_GROUP / T::BK : 1;  // that a group of k covers
    static_assert(!Prepare::NEEDED || K_GROUP % T::BK == 0, "complete slabs");
    static_assert(T::THREADS % K_GROUP == 0, "complete warps");
    A a;
    B b;
    const Prepare& prepare;
    real from_a[A::Share::COUNT], from_b[B::Share::COUNT];

    // Prepares one group early: after the barrier that follows the last use of what it overwrites,
    // and before the barrier that precedes its own first use.
    __device__ void load(unsigned slab) {
        a.load(slab, from_a);
        b.load(slab, from_b);
        if (Prepare::NEEDED && slab % SLABS == 0) {
            const int64 group = slab / SLABS;
            if (threadIdx.x / K_GROUP == group % (T::THREADS / K_GROUP)) {
                prepare((group + 1) * K_GROUP);
            }
        }
    }

    __device__ void store(typename T::SmemA& smem_a, typename T::SmemB& smem_b) const {
        T::template store<typename A::Share>(smem_a, from_a);
        T::template store<typename B::Share>(smem_b, from_b);
    }
};

// Sets the tile's sums to the products of a and b over K values of k.
template <class T, class A, class B, class Prepare = NothingToPrepare>
__device__ void multiply(T& tile, const A& a, const B& b, int64 K, const Prepare& prepare = {}) {
    __shared__ typename T::SmemA smem_a[2];  // one slab is read while the other is written
    __shared__ typename T::SmemB smem_b[2];
    const int slabs = (int)ceil_divide(K, T::BK);
#pragma unroll
    for (int i = 0; i < T::TM; ++i) {
#pragma unroll
        for (int j = 0; j < T::TN; ++j) tile.sum[i][j] = 0;
    }
    if (Prepare::NEEDED) {
        if (threadIdx.x < K_GROUP) prepare(0);
        __syncthreads();
    }
    NextSlab<T, A, B, Prepare> next = {a, b, prepare};
    next.load(0);
    next.store(smem_a[0], smem_b[0]);
    __syncthreads();
#pragma unroll 1
    for (int slab = 0; slab < slabs; ++slab) {
        const int now = slab % 2;
        const bool more = slab + 1 < slabs;
        if (more) next.load(slab + 1);
        tile.template add<typename A::Share, typename B::Share>(smem_a[now], smem_b[now]);
        if (more) {
            next.store(smem_a[1 - now], smem_b[1 - now]);
            __syncthreads();
        }
    }
}

// An operand that is a matrix in memory: element (row, k) is data[row * row_stride + k * k_stride],
// for row < rows, from first_row on, and k < K. With ONES, the row after the last is all ones.
template <class Share_, bool ONES = false>
struct Matrix {
    using Share = Share_;
    const real* at[Share::ROW_COUNT];
    int k_stride, left;
    bool ones;  // whether the row that a thread has, if it has but one, is the row of ones

    __device__ Matrix(const real* data, int row_stride, int k_stride, int first_row, int rows,
                      int K)
        : k_stride(k_stride), left(K - Share::k(0)), ones(first_row + Share::row(0) == rows) {
        static_assert(!ONES || Share::ROW_COUNT == 1, "several rows would need a flag each");
#pragma unroll
        for (int r = 0; r < Share::ROW_COUNT; ++r) {  // beyond the last row, the last row again
            const int row = min(first_row + Share::row(r), rows - 1);
            at[r] = data + (int64)row * row_stride + (int64)Share::k(0) * k_stride;
        }
    }

    __device__ void load(unsigned, real (&values)[Share::COUNT]) {
#pragma unroll
        for (int r = 0; r < Share::COUNT; ++r) {
            const int k = Share::along_k ? 0 : r;  // from the thread's first
            values[r] = k < left ? at[Share::along_k ? r : 0][(int64)k * k_stride] : 0;
            if (ONES && ones && k < left) values[r] = 1;
        }
        left -= Share::BK;
#pragma unroll
        for (int r = 0; r < Share::ROW_COUNT; ++r) at[r] += (int64)Share::BK * k_stride;
    }
};
