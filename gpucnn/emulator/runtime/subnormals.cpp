// Subnormal numbers as on a GPU: what a kernel's code calls instead of the C library, and the
// processor's register that says what its instructions do. See gpucnn/emulator/subnormals.py.
#include <math.h>
#include <xmmintrin.h>

#include "functions.h"

static const unsigned flush_bits = 0x8040;   // of MXCSR: FTZ for results, DAZ for operands

// Sets MXCSR, and restores it when the scope ends.
struct Mxcsr {
    const unsigned before = _mm_getcsr();
    explicit Mxcsr(unsigned value) { _mm_setcsr(value); }
    ~Mxcsr() { _mm_setcsr(before); }
};

// Keeps subnormal numbers until the scope ends; most code does anyway.
struct Keep {
    const unsigned before = _mm_getcsr();
    Keep() { if (before & flush_bits) _mm_setcsr(before & ~flush_bits); }
    ~Keep() { if (before & flush_bits) _mm_setcsr(before); }
};

// Keeps the compiler from computing before or after MXCSR is changed, of which it does not know.
static inline float fixed(float x) { asm volatile("" : "+x"(x)); return x; }
static inline double fixed(double x) { asm volatile("" : "+x"(x)); return x; }

// Of bits, so that it does not depend on MXCSR.
static inline float flush(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return __builtin_expect(bits & 0x7f800000, 1) ? x : copysignf(0.0f, x);
}

#define GPU_UNARY(name)                                                                 \
    GPU_API float gpu_flush_##name(float x) { return flush(name##f(flush(x))); }        \
    GPU_API double gpu_keep_##name(double x)                                            \
    {                                                                                   \
        Keep keep;                                                                      \
        return fixed(name(fixed(x)));                                                   \
    }
#define GPU_BINARY(name)                                                                \
    GPU_API float gpu_flush_##name(float x, float y)                                    \
    {                                                                                   \
        return flush(name##f(flush(x), flush(y)));                                      \
    }                                                                                   \
    GPU_API double gpu_keep_##name(double x, double y)                                  \
    {                                                                                   \
        Keep keep;                                                                      \
        return fixed(name(fixed(x), fixed(y)));                                         \
    }
#define GPU_TERNARY(name)                                                               \
    GPU_API float gpu_flush_##name(float x, float y, float z)                           \
    {                                                                                   \
        return flush(name##f(flush(x), flush(y), flush(z)));                            \
    }                                                                                   \
    GPU_API double gpu_keep_##name(double x, double y, double z)                        \
    {                                                                                   \
        Keep keep;                                                                      \
        return fixed(name(fixed(x), fixed(y), fixed(z)));                               \
    }
#define GPU_SCALING(name)                                                               \
    GPU_API float gpu_flush_##name(float x, int n) { return flush(name##f(flush(x), n)); } \
    GPU_API double gpu_keep_##name(double x, int n)                                     \
    {                                                                                   \
        Keep keep;                                                                      \
        return fixed(name(fixed(x), n));                                                \
    }
#define GPU_PAIR(name)                                                                  \
    GPU_API void gpu_flush_##name(float x, float *first, float *second)                 \
    {                                                                                   \
        name##f(flush(x), first, second);                                               \
        *first = flush(*first), *second = flush(*second);                               \
    }                                                                                   \
    GPU_API void gpu_keep_##name(double x, double *first, double *second)               \
    {                                                                                   \
        Keep keep;                                                                      \
        name(fixed(x), first, second);                                                  \
    }
GPU_UNARY_FUNCTIONS(GPU_UNARY)
GPU_BINARY_FUNCTIONS(GPU_BINARY)
GPU_TERNARY_FUNCTIONS(GPU_TERNARY)
GPU_SCALING_FUNCTIONS(GPU_SCALING)
GPU_PAIR_FUNCTIONS(GPU_PAIR)

// The sum of atomicAdd: in global memory always flushed, in shared memory never.
GPU_API float gpu_atomic_sum(const void *address, float old, float value)
{
    Keep keep;
    bool global = (Address)address - arena.low < arena.size;
    if (global) return flush(fixed(flush(fixed(old)) + flush(fixed(value))));
    return fixed(fixed(old) + fixed(value));
}
