// CUDA's SIMD instructions: a word holds two elements of 16 bits or four of 8 bits.
#pragma once

// T: the elements' type with its sign; x, y: one element of each operand, as an int.
template <class T, class Operation>
GPU_INLINE unsigned gpu_elements(unsigned a, unsigned b, Operation operation)
{
    constexpr int bits = 8 * sizeof(T);
    unsigned result = 0;
    for (int shift = 0; shift < 32; shift += bits) {
        int x = (T)(a >> shift), y = (T)(b >> shift);
        result |= ((unsigned)operation(x, y) & ((1u << bits) - 1)) << shift;
    }
    return result;
}
template <class T>
GPU_INLINE int gpu_clamp(int x)
{
    constexpr int most = T(-1) < T(0) ? (1 << (8 * sizeof(T) - 1)) - 1 : (1 << 8 * sizeof(T)) - 1;
    constexpr int least = T(-1) < T(0) ? -most - 1 : 0;
    return x < least ? least : x > most ? most : x;
}
GPU_INLINE int gpu_magnitude(int x) { return x < 0 ? -x : x; }

#define GPU_SIMD1(name, T, result)                                                      \
    GPU_INLINE unsigned name(unsigned a)                                                \
    {                                                                                   \
        return gpu_elements<T>(a, a, [](int x, int) { return (int)(result); });         \
    }
#define GPU_SIMD2(name, T, result)                                                      \
    GPU_INLINE unsigned name(unsigned a, unsigned b)                                    \
    {                                                                                   \
        return gpu_elements<T>(a, b, [](int x, int y) { return (int)(result); });       \
    }
#define GPU_SIMD_COMPARE(name, n, T, op)                       \
    GPU_SIMD2(__vcmp##name##n, T, x op y ? -1 : 0)             \
    GPU_SIMD2(__vset##name##n, T, x op y ? 1 : 0)
#define GPU_SIMD_SUM(name, T)                                                           \
    GPU_INLINE unsigned name(unsigned a, unsigned b)                                    \
    {                                                                                   \
        unsigned sum = 0;                                                               \
        for (int shift = 0; shift < 32; shift += 8 * sizeof(T))                         \
            sum += (unsigned)gpu_magnitude((int)(T)(a >> shift) - (int)(T)(b >> shift)); \
        return sum;                                                                     \
    }
#define GPU_SIMD(n, S, U)                                                               \
    GPU_SIMD1(__vabs##n, S, gpu_magnitude(x))                                           \
    GPU_SIMD1(__vabsss##n, S, gpu_clamp<S>(gpu_magnitude(x)))                           \
    GPU_SIMD1(__vneg##n, S, -x)                                                         \
    GPU_SIMD1(__vnegss##n, S, gpu_clamp<S>(-x))                                         \
    GPU_SIMD2(__vadd##n, U, x + y)                                                      \
    GPU_SIMD2(__vaddss##n, S, gpu_clamp<S>(x + y))                                      \
    GPU_SIMD2(__vaddus##n, U, gpu_clamp<U>(x + y))                                      \
    GPU_SIMD2(__vsub##n, U, x - y)                                                      \
    GPU_SIMD2(__vsubss##n, S, gpu_clamp<S>(x - y))                                      \
    GPU_SIMD2(__vsubus##n, U, gpu_clamp<U>(x - y))                                      \
    GPU_SIMD2(__vabsdiffs##n, S, gpu_magnitude(x - y))                                  \
    GPU_SIMD2(__vabsdiffu##n, U, gpu_magnitude(x - y))                                  \
    GPU_SIMD2(__vavgs##n, S, (x + y + (x + y >= 0)) >> 1)                               \
    GPU_SIMD2(__vavgu##n, U, (x + y + 1) >> 1)                                          \
    GPU_SIMD2(__vhaddu##n, U, (x + y) >> 1)                                             \
    GPU_SIMD2(__vmaxs##n, S, x > y ? x : y)                                             \
    GPU_SIMD2(__vmaxu##n, U, x > y ? x : y)                                             \
    GPU_SIMD2(__vmins##n, S, x < y ? x : y)                                             \
    GPU_SIMD2(__vminu##n, U, x < y ? x : y)                                             \
    GPU_SIMD_SUM(__vsads##n, S)                                                         \
    GPU_SIMD_SUM(__vsadu##n, U)                                                         \
    GPU_SIMD_COMPARE(eq, n, U, ==)                                                      \
    GPU_SIMD_COMPARE(ne, n, U, !=)                                                      \
    GPU_SIMD_COMPARE(ges, n, S, >=)                                                     \
    GPU_SIMD_COMPARE(geu, n, U, >=)                                                     \
    GPU_SIMD_COMPARE(gts, n, S, >)                                                      \
    GPU_SIMD_COMPARE(gtu, n, U, >)                                                      \
    GPU_SIMD_COMPARE(les, n, S, <=)                                                     \
    GPU_SIMD_COMPARE(leu, n, U, <=)                                                     \
    GPU_SIMD_COMPARE(lts, n, S, <)                                                      \
    GPU_SIMD_COMPARE(ltu, n, U, <)
GPU_SIMD(2, int16_t, uint16_t)
GPU_SIMD(4, int8_t, uint8_t)
#undef GPU_SIMD1
#undef GPU_SIMD2
#undef GPU_SIMD_COMPARE
#undef GPU_SIMD_SUM
#undef GPU_SIMD
