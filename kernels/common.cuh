// Shared by every file in this folder: the loader puts this text in front of each of them.
//
// `real` is a macro, float or double, that the loader defines: one module a file and a type.
// A kernel's signature is its only registration. The loader reads from it what to check before a
// launch, and the number of threads in a block from __launch_bounds__. `NULLABLE` before a
// parameter's name says that the pointer may be null (None in Python).
// A second number in __launch_bounds__, blocks on a multiprocessor, is for the compiler alone:
// without it, ptxas keeps some kernels to so few registers that it spills (tests/test_compile.py).
//
// Determinism. No float atomics: whatever is added up is added by one thread in index order, or by
// the fixed tree of block_sum, or by partial sums whose number follows from the shapes alone. So a
// result depends on its inputs, and neither on the device nor on the order in which blocks run.

#define NULLABLE

typedef long long int64;
typedef unsigned char uint8;

// The thread's number in a one-dimensional grid; 64 bits, as arrays may pass 2^31 elements.
__device__ inline int64 thread_index() {
    return (int64)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ inline int64 threads_in_grid() {
    return (int64)gridDim.x * blockDim.x;
}

__device__ inline bool is_nan(real x) {
    return x != x;
}

__device__ inline bool is_finite(real x) {
    return x - x == 0;
}

// A quiet NaN: what a label or an index out of range turns into, so that a loss shows it.
__device__ inline real not_a_number() {
    const real zero = 0;
    return zero / zero;
}

// Notes that a training step failed, unless one before it has. Any number of threads may do so in a
// launch: all of them write the same.
__device__ inline void set_failed(int64* failed, int64 step) {
    atomicCAS((unsigned long long*)failed, 0ull, (unsigned long long)step);
}

// The end of a sum: plus the channel's bias, if there is one, and through ReLU if asked for. NaN
// stays NaN.
__device__ inline real finish(real sum, const real* bias, int channel, int relu) {
    if (bias) sum += bias[channel];
    return relu && sum <= 0 ? 0 : sum;
}

// a / b and a % b of numbers that are not negative. The compiler's own division of 64 bits calls a
// subroutine, for which registers are spilled; this one takes 32 bits where they do, and else goes
// bit by bit.
struct Division {
    int64 quotient, rest;
};

__device__ inline Division divide(int64 a, int64 b) {
    if (((a | b) >> 32) == 0) {
        const unsigned int quotient = (unsigned int)a / (unsigned int)b;
        return {quotient, (unsigned int)a - quotient * (unsigned int)b};
    }
    Division result = {0, 0};
#pragma unroll 1
    for (int bit = 62; bit >= 0; --bit) {
        // As unsigned numbers, in which twice a rest cannot overflow.
        const unsigned long long rest = (unsigned long long)result.rest * 2 + ((a >> bit) & 1);
        const bool fits = rest >= (unsigned long long)b;
        result.rest = (int64)(fits ? rest - b : rest);
        result.quotient = result.quotient * 2 + fits;
    }
    return result;
}

__device__ inline int64 ceil_divide(int64 a, int64 b) {
    return (a + b - 1) / b;
}

// 1 / (1 + exp(-x)); the exponential is taken of -|x| only, so that nothing overflows.
__device__ inline real sigmoid(real x) {
    const real small = exp(-fabs(x));
    return (x >= 0 ? 1 : small) / (1 + small);
}

// How a window slides along one axis of a plane (gpucnn/backends/window.py): it stops `stops`
// times, `stride` pixels apart, the first time with its first tap `before` pixels ahead of the
// plane; its taps are `dilation` pixels apart.
struct Axis {
    int taps, stride, before, dilation, size, stops;

    // The pixel under a tap at a stop; it may lie outside.
    __device__ int pixel(int stop, int tap) const {
        return stop * stride - before + tap * dilation;
    }

    __device__ bool inside(int pixel) const {
        return pixel >= 0 && pixel < size;
    }

    // The stop that has the tap on the pixel, or -1: the reverse of pixel().
    __device__ int stop(int pixel, int tap) const {
        int stop = pixel + before - tap * dilation;
        if (stop < 0) return -1;
        if (stride > 1) {  // most strides are 1, and a division costs more than a product's share
            if (stop % stride) return -1;
            stop /= stride;
        }
        return stop < stops ? stop : -1;
    }

    // The first and the last stop at which the window reaches over the pixel.
    __device__ int first_stop(int pixel) const {
        const int ahead = pixel + before - (taps - 1) * dilation;
        return ahead <= 0 ? 0 : (ahead - 1) / stride + 1;  // ahead + stride may pass 2^31
    }

    __device__ int last_stop(int pixel) const {
        const int stop = (pixel + before) / stride;
        return stop < stops ? stop : stops - 1;
    }
};

// How a pooling window slides over a plane. Both visits go in row-major order, in one thread: ties
// and the rounding of sums follow from it.
struct PoolWindow {
    Axis rows, columns;

    __device__ int64 area() const {
        return (int64)rows.size * columns.size;
    }

    __device__ int64 stops() const {
        return (int64)rows.stops * columns.stops;
    }

    // Calls visit(pixel of the flattened plane) for each tap that lies inside at a stop.
    template <class Visit>
    __device__ void each_tap(int oy, int ox, Visit visit) const {
        for (int i = 0; i < rows.taps; ++i) {
            const int y = rows.pixel(oy, i);
            if (!rows.inside(y)) continue;
            for (int j = 0; j < columns.taps; ++j) {
                const int x = columns.pixel(ox, j);
                if (columns.inside(x)) visit(y * columns.size + x);
            }
        }
    }

    // Calls visit(oy, ox) for each stop at which the window reaches over the pixel.
    template <class Visit>
    __device__ void each_stop(int pixel, Visit visit) const {
        const int y = pixel / columns.size, x = pixel % columns.size;
        for (int oy = rows.first_stop(y); oy <= rows.last_stop(y); ++oy) {
            for (int ox = columns.first_stop(x); ox <= columns.last_stop(x); ++ox) visit(oy, ox);
        }
    }
};

// The sum of every thread's value, given to every thread, by a tree that depends on nothing but the
// block's size: a power of two, at most 1024. T is real or int.
template <typename T>
__device__ T block_sum(T value) {
    __shared__ T tree[1024];
    tree[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) tree[threadIdx.x] += tree[threadIdx.x + half];
        __syncthreads();
    }
    const T total = tree[0];
    __syncthreads();  // so that the next call may write again
    return total;
}

// The greatest of `size` elements that lie `step` apart, or NaN where one is, given to every
// thread.
__device__ inline real block_max(const real* elements, int size, int64 step) {
    __shared__ real tree[1024];
    real greatest = elements[0];
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        const real x = elements[i * step];
        if (x > greatest || is_nan(x)) greatest = x;
    }
    tree[threadIdx.x] = greatest;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) {
            const real other = tree[threadIdx.x + half];
            if (other > tree[threadIdx.x] || is_nan(other)) tree[threadIdx.x] = other;
        }
        __syncthreads();
    }
    greatest = tree[0];
    __syncthreads();  // so that the next call may write again
    return greatest;
}

// The first of two stages of a long sum: writes `scale` times the sum of the block's share of the
// n terms to partials[blockIdx.x]. With a grid of one block that is the whole sum; else
// sum_partials (sum.cu) adds the partial sums. The launcher sizes the grid by n alone.
template <typename Term>
__device__ void sum_terms(real* partials, int64 n, real scale, Term term) {
    real sum = 0;
    for (int64 i = thread_index(); i < n; i += threads_in_grid()) sum += term(i);
    sum = block_sum(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum * scale;
}

// --- tiled matrix products -----------------------------------------------------------------------
//
// C (row, column) = sum over k of A (row, k) B (column, k). A block owns a tile of C and goes along
// k in slabs: while its threads work on one slab in shared memory, they fetch the next one into
// registers. Each thread owns HIGH by WIDE sums, in registers, and adds its products in order of k.
//
// Where the operands' elements come from is the operands' affair. An operand has a Place, which is
// a Fetch, and load(slab, values), which gives the thread's elements of a slab: each slab once, in
// order. Beyond the last k it gives zero, beyond the last line anything: nobody takes those sums.

// COUNT numbers that travel together: one load from shared memory instead of COUNT.
template <int COUNT>
struct alignas(COUNT * sizeof(real)) Pack {
    real at[COUNT];
};

// Which elements of a slab, HEIGHT lines (rows of A or columns of B) by DEPTH values of k, a thread
// fetches. Neighbouring threads take neighbouring k if ALONG_K, and then several lines each; else
// neighbouring lines, and several k each: whichever lies together in memory.
template <int HEIGHT, int DEPTH, int THREADS, bool ALONG_K>
struct Fetch {
    static_assert(THREADS % (ALONG_K ? DEPTH : HEIGHT) == 0, "a thread must keep its k or line");
    static_assert(HEIGHT * DEPTH % THREADS == 0, "every thread must fetch the same number");
    static constexpr int COUNT = HEIGHT * DEPTH / THREADS, depth = DEPTH;
    static constexpr bool along_k = ALONG_K;
    static constexpr int LINES = ALONG_K ? COUNT : 1;  // that a thread fetches of

    // The line and the k, within the slab, of the thread's element r.
    __device__ static int line(int r) {
        return ALONG_K ? threadIdx.x / DEPTH + r * (THREADS / DEPTH) : threadIdx.x % HEIGHT;
    }

    __device__ static int k(int r) {
        return ALONG_K ? threadIdx.x % DEPTH : threadIdx.x / HEIGHT * COUNT + r;
    }
};

// Operands may need to know more of a k than its number, and what they need is the same for all
// threads. So one warp, a different one each time, works it out for AHEAD values of k at once: a
// plan is called with the first of them. This is one for operands that need nothing.
constexpr int AHEAD = 32;

struct NoPlan {
    static constexpr bool NEEDED = false;

    __device__ void operator()(int64) const {}
};

template <int ROWS, int COLUMNS, int DEPTH, int HIGH, int WIDE>
struct Tile {
    static constexpr int rows = ROWS, columns = COLUMNS, depth = DEPTH, high = HIGH, wide = WIDE;
    static constexpr int THREADS = (ROWS / HIGH) * (COLUMNS / WIDE);
    static constexpr int A_PACK = HIGH < 4 ? HIGH : 4, B_PACK = WIDE < 4 ? WIDE : 4;
    static_assert(ROWS % HIGH == 0 && COLUMNS % WIDE == 0, "threads must divide the tile");
    static_assert(HIGH % A_PACK == 0 && WIDE % B_PACK == 0, "packs must divide a thread's part");
    template <bool ALONG_K>
    using RowFetch = Fetch<ROWS, DEPTH, THREADS, ALONG_K>;
    template <bool ALONG_K>
    using ColumnFetch = Fetch<COLUMNS, DEPTH, THREADS, ALONG_K>;

    real sum[HIGH][WIDE];

    // The row and the column, within the tile, of the thread's sum[i][j]. Columns are neighbours
    // within each B_PACK of them.
    __device__ static int row(int i) {
        const int y = threadIdx.x / (COLUMNS / WIDE);
        return (i / A_PACK * (ROWS / HIGH) + y) * A_PACK + i % A_PACK;
    }

    __device__ static int column(int j) {
        const int x = threadIdx.x % (COLUMNS / WIDE);
        return (j / B_PACK * (COLUMNS / WIDE) + x) * B_PACK + j % B_PACK;
    }

    // The extra pack in a line spreads the banks that threads with neighbouring k write to.
    using Left = Pack<A_PACK>[DEPTH][ROWS / A_PACK + 1];
    using Right = Pack<B_PACK>[DEPTH][COLUMNS / B_PACK + 1];

    // Adds the products of a slab.
    __device__ void add(const Left& left, const Right& right) {
        const int y = threadIdx.x / (COLUMNS / WIDE), x = threadIdx.x % (COLUMNS / WIDE);
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            Pack<A_PACK> p[HIGH / A_PACK];
            Pack<B_PACK> q[WIDE / B_PACK];
#pragma unroll
            for (int i = 0; i < HIGH / A_PACK; ++i) p[i] = left[k][i * (ROWS / HIGH) + y];
#pragma unroll
            for (int j = 0; j < WIDE / B_PACK; ++j) q[j] = right[k][j * (COLUMNS / WIDE) + x];
#pragma unroll
            for (int i = 0; i < HIGH; ++i) {
#pragma unroll
                for (int j = 0; j < WIDE; ++j) {
                    sum[i][j] += p[i / A_PACK].at[i % A_PACK] * q[j / B_PACK].at[j % B_PACK];
                }
            }
        }
    }

    // Puts a thread's share of a slab, Left or Right, in its place.
    template <class Place, int PACK, int LENGTH>
    __device__ static void store(Pack<PACK> (&slab)[DEPTH][LENGTH],
                                 const real (&values)[Place::COUNT]) {
#pragma unroll
        for (int r = 0; r < Place::COUNT; ++r) {
            slab[Place::k(r)][Place::line(r) / PACK].at[Place::line(r) % PACK] = values[r];
        }
    }
};

// The next slab of a product: a thread's share of both operands, in registers.
template <class T, class A, class B, class Plan>
struct NextSlab {
    static constexpr int TOGETHER = AHEAD / T::depth;  // slabs that are planned at once
    static_assert(AHEAD % T::depth == 0 && T::THREADS % AHEAD == 0, "whole slabs, whole warps");
    A a;
    B b;
    const Plan& plan;
    real from_a[A::Place::COUNT], from_b[B::Place::COUNT];

    // The plan is made one group of slabs early: behind the barrier after the last slab that needed
    // what it writes over, and before the barrier ahead of the first that needs it.
    __device__ void fetch(unsigned slab) {
        a.load(slab, from_a);
        b.load(slab, from_b);
        if (Plan::NEEDED && slab % TOGETHER == 0) {
            const int64 group = slab / TOGETHER;
            if (threadIdx.x / AHEAD == group % (T::THREADS / AHEAD)) plan((group + 1) * AHEAD);
        }
    }

    __device__ void store(typename T::Left& left, typename T::Right& right) const {
        T::template store<typename A::Place>(left, from_a);
        T::template store<typename B::Place>(right, from_b);
    }
};

// Sets the tile's sums to the products of a and b over `count` values of k.
template <class T, class A, class B, class Plan = NoPlan>
__device__ void multiply(T& tile, const A& a, const B& b, int64 count, const Plan& plan = {}) {
    __shared__ typename T::Left left[2];  // two slabs of each: one is read, the other written
    __shared__ typename T::Right right[2];
    const int slabs = (int)ceil_divide(count, T::depth);
#pragma unroll
    for (int i = 0; i < T::high; ++i) {
#pragma unroll
        for (int j = 0; j < T::wide; ++j) tile.sum[i][j] = 0;
    }
    if (Plan::NEEDED) {
        if (threadIdx.x < AHEAD) plan(0);
        __syncthreads();
    }
    NextSlab<T, A, B, Plan> next = {a, b, plan};
    next.fetch(0);
    next.store(left[0], right[0]);
    __syncthreads();
#pragma unroll 1
    for (int slab = 0; slab < slabs; ++slab) {
        const int now = slab % 2;
        const bool more = slab + 1 < slabs;
        if (more) next.fetch(slab + 1);
        tile.add(left[now], right[now]);
        if (more) {
            next.store(left[1 - now], right[1 - now]);
            __syncthreads();
        }
    }
}

// An operand that lies in memory as a matrix: its element (line, k), k < count, is
// data[line * line_stride + k * k_stride]. With ONES, a line of ones is behind the last.
template <class F, bool ONES = false>
struct Matrix {
    using Place = F;
    const real* at[F::LINES];
    int k_stride, left;
    bool ones;  // for the line that a thread has if it has but one

    __device__ Matrix(const real* data, int line_stride, int k_stride, int first_line, int lines,
                      int count)
        : k_stride(k_stride), left(count - F::k(0)), ones(first_line + F::line(0) == lines) {
        static_assert(!ONES || F::LINES == 1, "several lines would need a flag each");
#pragma unroll
        for (int r = 0; r < F::LINES; ++r) {  // lines beyond the last are that one once more
            const int line = min(first_line + F::line(r), lines - 1);
            at[r] = data + (int64)line * line_stride + (int64)F::k(0) * k_stride;
        }
    }

    __device__ void load(unsigned, real (&values)[F::COUNT]) {
#pragma unroll
        for (int r = 0; r < F::COUNT; ++r) {
            const int behind = F::along_k ? 0 : r;
            values[r] = behind < left ? at[F::along_k ? r : 0][(int64)behind * k_stride] : 0;
            if (ONES && ones && behind < left) values[r] = 1;
        }
        left -= F::depth;
#pragma unroll
        for (int r = 0; r < F::LINES; ++r) at[r] += (int64)F::depth * k_stride;
    }
};
