// Included by every file in this folder: the loader puts this text in front of each of them.
//
// `real` is a macro, float or double, that the loader defines: one module a file and a type.
// A kernel's signature is its only registration: from it the loader reads what to check before a
// launch, and from __launch_bounds__ the number of threads in a block. `NULLABLE` before a
// parameter's name means that the pointer may be null (None in Python).
// A second number in __launch_bounds__, blocks on a multiprocessor, is for the compiler alone:
// without it, ptxas gives some kernels so few registers that it spills (test_compile.py).
//
// Determinism. No float atomics: every sum is added by one thread in index order, or by the fixed
// tree of block_sum, or in partial sums whose number follows from the shapes alone. So a result
// depends on its inputs only, and not on the device or on the order in which blocks run.

#define NULLABLE

typedef long long int64;
typedef unsigned long long uint64;
typedef unsigned int uint32;
typedef unsigned char uint8;

// The thread's index in a one-dimensional grid; 64 bits, as arrays may have over 2^31 elements.
__device__ inline int64 thread_index() {
    return (int64)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ inline int64 threads_in_grid() {
    return (int64)gridDim.x * blockDim.x;
}

// --- numbers -------------------------------------------------------------------------------------

__device__ inline bool is_nan(real x) {
    return x != x;
}

__device__ inline bool is_finite(real x) {
    return x - x == 0;
}

// A quiet NaN: the result for a label or an index out of range, so that a loss shows it.
__device__ inline real not_a_number() {
    const real zero = 0;
    return zero / zero;
}

// Whether x takes the place of a maximum so far: it is greater, or it is the first NaN. Of equal
// numbers the first stays.
__device__ inline bool exceeds(real x, real maximum) {
    return x > maximum || (is_nan(x) && !is_nan(maximum));
}

// max(x, 0), or x itself where ReLU is not enabled. NaN stays NaN.
__device__ inline real relu(real x, int enabled = 1) {
    return enabled && x <= 0 ? 0 : x;
}

// The exponential is taken of -|x| only, so that nothing overflows.
__device__ inline real sigmoid(real x) {
    const real small = exp(-fabs(x));
    return (x >= 0 ? 1 : small) / (1 + small);
}

// What follows the sum of a product: the channel's bias, if there is one, and ReLU if asked for.
__device__ inline real finish(real sum, const real* bias, int channel, int with_relu) {
    if (bias) sum += bias[channel];
    return relu(sum, with_relu);
}

// a / b and a % b of numbers that are not negative. The compiler's own division of 64 bits calls a
// subroutine, for which registers are spilled; this one takes 32 bits where they suffice, and else
// divides bit by bit.
struct Division {
    int64 quotient, remainder;
};

__device__ inline Division divide(int64 a, int64 b) {
    if (((a | b) >> 32) == 0) {
        const unsigned int quotient = (unsigned int)a / (unsigned int)b;
        return {quotient, (unsigned int)a - quotient * (unsigned int)b};
    }
    Division result = {0, 0};
#pragma unroll 1
    for (int bit = 62; bit >= 0; --bit) {
        // Unsigned, so that twice a remainder cannot overflow.
        const unsigned long long rest = (unsigned long long)result.remainder * 2 + ((a >> bit) & 1);
        const bool fits = rest >= (unsigned long long)b;
        result.remainder = (int64)(fits ? rest - b : rest);
        result.quotient = result.quotient * 2 + fits;
    }
    return result;
}

__device__ inline int64 ceil_divide(int64 a, int64 b) {
    return (a + b - 1) / b;
}

// Records the number of the first training step that failed. Any number of threads may call it in a
// launch: all of them write the same number.
__device__ inline void set_failed(int64* failed, int64 step) {
    atomicCAS((unsigned long long*)failed, 0ull, (unsigned long long)step);
}

// --- several numbers at once ---------------------------------------------------------------------

// COUNT numbers that are read or written together, by one instruction for each 16 bytes.
template <int COUNT>
struct alignas(COUNT * sizeof(real)) Vector {
    real at[COUNT];
};

template <int COUNT>
__device__ inline bool is_aligned(const real* at) {
    return (unsigned long long)at % sizeof(Vector<COUNT>) == 0;
}

// COUNT numbers in complete vectors, each of which one instruction writes.
template <int COUNT>
struct Pack {
    static constexpr int MOST = 16 / sizeof(real), SIZE = COUNT < MOST ? COUNT : MOST;
    static_assert(COUNT % SIZE == 0, "complete vectors");

    __device__ static bool fits(const real* at) { return is_aligned<SIZE>(at); }

    // Writes the numbers to an address that fits.
    __device__ static void store(real* at, const real (&values)[COUNT]) {
#pragma unroll
        for (int first = 0; first < COUNT; first += SIZE) {
            Vector<SIZE> vector;
#pragma unroll
            for (int i = 0; i < SIZE; ++i) vector.at[i] = values[first + i];
            *(Vector<SIZE>*)(at + first) = vector;
        }
    }
};

// --- reductions ----------------------------------------------------------------------------------

// The sum of every thread's value, returned to every thread. The tree depends on the block's size
// alone: a power of two, at most 1024. T is real or int.
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
    __syncthreads();  // before the next call writes
    return total;
}

// The first of two stages of a long sum: writes `scale` times the sum of the block's share of n
// terms to partials[blockIdx.x]. With a grid of one block that is the whole sum; otherwise
// sum_partials (sum.cu) adds the partial sums. The launcher sizes the grid by n alone.
template <typename Term>
__device__ void sum_terms(real* partials, int64 n, real scale, Term term) {
    real sum = 0;
    for (int64 i = thread_index(); i < n; i += threads_in_grid()) sum += term(i);
    sum = block_sum(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum * scale;
}
