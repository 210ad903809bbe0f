// Arithmetic and conversions with a rounding mode in their name: _rn to the nearest number, _rz
// towards zero, _ru upwards, _rd downwards. Each result is the exact one, rounded once. GPU_FLUSH is
// 1 if float32 arithmetic takes subnormal numbers as zero.
#pragma once

// The compiler may not merge what it computes before and after this into one operation (fma).
template <class T>
GPU_INLINE T gpu_fixed(T x)
{
    asm("" : "+x"(x));
    return x;
}

// The runtime computes with the processor's rounding mode (rounding.cpp).
#define GPU_MODES(F, ...) \
    F(rz, GPU_TO_ZERO, __VA_ARGS__) F(ru, GPU_UP, __VA_ARGS__) F(rd, GPU_DOWN, __VA_ARGS__)
#define GPU_ROUNDED1(suffix, mode, prefix, T, name, operation, ...)         \
    GPU_INLINE T prefix##name##_##suffix(T a)                               \
    {                                                                       \
        return gpu_round_##T(operation, mode, GPU_FLUSH, __VA_ARGS__);      \
    }
#define GPU_ROUNDED2(suffix, mode, prefix, T, name, operation)              \
    GPU_INLINE T prefix##name##_##suffix(T a, T b)                          \
    {                                                                       \
        return gpu_round_##T(operation, mode, GPU_FLUSH, a, b, 0);          \
    }
#define GPU_ROUNDED3(suffix, mode, prefix, T, name)                         \
    GPU_INLINE T prefix##name##_##suffix(T a, T b, T c)                     \
    {                                                                       \
        return gpu_round_##T(GPU_FMA, mode, GPU_FLUSH, a, b, c);            \
    }
#define GPU_ROUNDED(prefix, T, fma)                                                \
    GPU_MODES(GPU_ROUNDED2, prefix, T, add, GPU_ADD)                               \
    GPU_MODES(GPU_ROUNDED2, prefix, T, sub, GPU_SUBTRACT)                          \
    GPU_MODES(GPU_ROUNDED2, prefix, T, mul, GPU_MULTIPLY)                          \
    GPU_MODES(GPU_ROUNDED2, prefix, T, div, GPU_DIVIDE)                            \
    GPU_MODES(GPU_ROUNDED1, prefix, T, rcp, GPU_DIVIDE, 1, a, 0)                   \
    GPU_MODES(GPU_ROUNDED1, prefix, T, sqrt, GPU_SQUARE_ROOT, a, 0, 0)             \
    GPU_MODES(GPU_ROUNDED3, fma, T, )                                              \
    GPU_INLINE T prefix##add_rn(T a, T b) { return gpu_fixed(a) + gpu_fixed(b); }  \
    GPU_INLINE T prefix##sub_rn(T a, T b) { return gpu_fixed(a) - gpu_fixed(b); }  \
    GPU_INLINE T prefix##mul_rn(T a, T b) { return gpu_fixed(a * b); }             \
    GPU_INLINE T prefix##div_rn(T a, T b) { return a / b; }                        \
    GPU_INLINE T prefix##rcp_rn(T a) { return 1 / a; }
GPU_ROUNDED(__f, float, __fmaf)
GPU_ROUNDED(__d, double, __fma)
GPU_INLINE float __fsqrt_rn(float x) { return sqrtf(x); }
GPU_INLINE double __dsqrt_rn(double x) { return sqrt(x); }
GPU_INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
GPU_INLINE double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
GPU_INLINE float __frsqrt_rn(float x)
{
    return gpu_round_float(GPU_RECIPROCAL_ROOT, GPU_NEAREST, GPU_FLUSH, x, 0, 0);
}

#define GPU_NARROWED(suffix, mode, ...)                    \
    GPU_INLINE float __double2float_##suffix(double x)     \
    {                                                      \
        return gpu_narrow(mode, GPU_FLUSH, x);             \
    }
GPU_MODES(GPU_NARROWED)
GPU_INLINE float __double2float_rn(double x) { return (float)x; }

// ------------------------------------------------------------------- numbers to integers
// Numbers beyond the integer's range become its smallest or largest value; NaN becomes 0, or the
// largest power of two if one of the types has 64 bits. `x` has no fraction.
template <class To, class From>
GPU_INLINE To gpu_to_integer(From x)
{
    constexpr bool is_signed = To(-1) < To(0);
    constexpr int bits = 8 * sizeof(To) - is_signed;
    constexpr To least = is_signed ? To(To(1) << (bits - 1)) * -2 : To(0);
    constexpr From limit = From(2) * From(1ull << (bits - 1));
    if (x != x)
        return sizeof(To) + sizeof(From) == 8 ? To(0)
                                              : (is_signed ? least : To(To(1) << (bits - 1)));
    if (x >= limit) return To(~least);
    if (x <= From(least)) return least;
    return To(x);
}
#define GPU_TO_INTEGER(from, From, f, to, To)                                                   \
    GPU_INLINE To __##from##2##to##_rn(From x) { return gpu_to_integer<To>(rint##f(x)); }       \
    GPU_INLINE To __##from##2##to##_rz(From x) { return gpu_to_integer<To>(trunc##f(x)); }      \
    GPU_INLINE To __##from##2##to##_ru(From x) { return gpu_to_integer<To>(ceil##f(x)); }       \
    GPU_INLINE To __##from##2##to##_rd(From x) { return gpu_to_integer<To>(floor##f(x)); }
#define GPU_TO_INTEGERS(from, From, f)                        \
    GPU_TO_INTEGER(from, From, f, int, int)                   \
    GPU_TO_INTEGER(from, From, f, uint, unsigned)             \
    GPU_TO_INTEGER(from, From, f, ll, long long)              \
    GPU_TO_INTEGER(from, From, f, ull, unsigned long long)
GPU_TO_INTEGERS(float, float, f)
GPU_TO_INTEGERS(double, double, )

// ------------------------------------------------------------------- integers to numbers
template <class To, int digits>
GPU_INLINE To gpu_from_integer(unsigned long long magnitude, bool negative, int mode)
{
    int excess = 64 - __clzll((long long)magnitude) - digits;
    To result;
    if (excess <= 0) result = (To)magnitude;
    else {
        unsigned long long kept = magnitude >> excess;
        bool exact = kept << excess == magnitude;
        kept += !exact && mode == (negative ? GPU_DOWN : GPU_UP);
        result = (To)kept * (To)(1ull << excess);
    }
    return negative ? -result : result;
}
#define GPU_FROM_INTEGER_IN(suffix, mode, from, From, to, To, digits)                         \
    GPU_INLINE To __##from##2##to##_##suffix(From x)                                          \
    {                                                                                         \
        bool negative = x < (From)0;                                                          \
        unsigned long long value = (unsigned long long)x;                                     \
        return gpu_from_integer<To, digits>(negative ? 0 - value : value, negative, mode);    \
    }
#define GPU_FROM_INTEGER(from, From, to, To, digits)                        \
    GPU_MODES(GPU_FROM_INTEGER_IN, from, From, to, To, digits)              \
    GPU_INLINE To __##from##2##to##_rn(From x) { return (To)x; }
GPU_FROM_INTEGER(int, int, float, float, 24)
GPU_FROM_INTEGER(uint, unsigned, float, float, 24)
GPU_FROM_INTEGER(ll, long long, float, float, 24)
GPU_FROM_INTEGER(ull, unsigned long long, float, float, 24)
GPU_FROM_INTEGER(ll, long long, double, double, 53)
GPU_FROM_INTEGER(ull, unsigned long long, double, double, 53)
GPU_INLINE double __int2double_rn(int x) { return x; }
GPU_INLINE double __uint2double_rn(unsigned x) { return x; }
