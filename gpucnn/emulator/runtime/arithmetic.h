// CUDA's arithmetic functions that the C library does not have, and its fast variants, which are as
// accurate here as the ordinary ones.
#pragma once

#define GPU_MIN_MAX(T)                                        \
    GPU_INLINE T min(T a, T b) { return b < a ? b : a; }      \
    GPU_INLINE T max(T a, T b) { return a < b ? b : a; }
GPU_MIN_MAX(int)
GPU_MIN_MAX(unsigned)
GPU_MIN_MAX(long)
GPU_MIN_MAX(unsigned long)
GPU_MIN_MAX(long long)
GPU_MIN_MAX(unsigned long long)
GPU_INLINE float min(float a, float b) { return fminf(a, b); }
GPU_INLINE float max(float a, float b) { return fmaxf(a, b); }
GPU_INLINE double min(double a, double b) { return fmin(a, b); }
GPU_INLINE double max(double a, double b) { return fmax(a, b); }

// The C library reserves these names, so macros replace them in kernels.
#define __expf gpu_expf
#define __exp10f gpu_exp10f
#define __logf gpu_logf
#define __log2f gpu_log2f
#define __log10f gpu_log10f
#define __sinf gpu_sinf
#define __cosf gpu_cosf
#define __tanf gpu_tanf
#define __powf gpu_powf

#define GPU_UNARY(name, result) GPU_INLINE float name(float x) { return result; }
GPU_UNARY(__expf, expf(x))
GPU_UNARY(__exp10f, powf(10.0f, x))
GPU_UNARY(__logf, logf(x))
GPU_UNARY(__log2f, log2f(x))
GPU_UNARY(__log10f, log10f(x))
GPU_UNARY(__sinf, sinf(x))
GPU_UNARY(__cosf, cosf(x))
GPU_UNARY(__tanf, tanf(x))
GPU_UNARY(rsqrtf, 1.0f / sqrtf(x))
GPU_UNARY(__frsqrt_rn, 1.0f / sqrtf(x))
GPU_UNARY(__fsqrt_rn, sqrtf(x))
GPU_UNARY(__frcp_rn, 1.0f / x)
GPU_UNARY(__saturatef, x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f)   // NaN becomes 0
GPU_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }

#define GPU_BINARY(T, name, result) GPU_INLINE T name(T a, T b) { return result; }
GPU_BINARY(float, __powf, powf(a, b))
GPU_BINARY(float, __fdividef, a / b)
GPU_BINARY(float, __fdiv_rn, a / b)
GPU_BINARY(float, __fadd_rn, a + b)
GPU_BINARY(float, __fsub_rn, a - b)
GPU_BINARY(float, __fmul_rn, a *b)
GPU_BINARY(double, __ddiv_rn, a / b)
GPU_BINARY(double, __dadd_rn, a + b)
GPU_BINARY(double, __dsub_rn, a - b)
GPU_BINARY(double, __dmul_rn, a *b)
GPU_INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
GPU_INLINE double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

template <class To, class From>
GPU_INLINE To gpu_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "the sizes must be equal");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}
GPU_INLINE int __float_as_int(float x) { return gpu_bits<int>(x); }
GPU_INLINE unsigned __float_as_uint(float x) { return gpu_bits<unsigned>(x); }
GPU_INLINE float __int_as_float(int x) { return gpu_bits<float>(x); }
GPU_INLINE float __uint_as_float(unsigned x) { return gpu_bits<float>(x); }
GPU_INLINE long long __double_as_longlong(double x) { return gpu_bits<long long>(x); }
GPU_INLINE double __longlong_as_double(long long x) { return gpu_bits<double>(x); }

GPU_INLINE int __float2int_rn(float x) { return (int)rintf(x); }
GPU_INLINE int __float2int_rz(float x) { return (int)x; }
GPU_INLINE int __float2int_rd(float x) { return (int)floorf(x); }
GPU_INLINE int __float2int_ru(float x) { return (int)ceilf(x); }
GPU_INLINE float __int2float_rn(int x) { return (float)x; }
GPU_INLINE float __uint2float_rn(unsigned x) { return (float)x; }

GPU_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
GPU_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
GPU_INLINE int __ffs(int x) { return __builtin_ffs(x); }
GPU_INLINE unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((unsigned long long)a * b) >> 32);
}
GPU_INLINE int __mulhi(int a, int b) { return (int)(((long long)a * b) >> 32); }

// Cache hints: plain loads and stores here.
template <class T> GPU_INLINE T __ldg(const T *address) { return *address; }
template <class T> GPU_INLINE T __ldcg(const T *address) { return *address; }
template <class T> GPU_INLINE T __ldcs(const T *address) { return *address; }
template <class T> GPU_INLINE void __stcg(T *address, T value) { *address = value; }
template <class T> GPU_INLINE void __stcs(T *address, T value) { *address = value; }

#define assert(condition) \
    ((condition) ? (void)0 : gpu_stop("assertion failed: " #condition, __FILE__, __LINE__))
#define __trap() gpu_stop("__trap()", __FILE__, __LINE__)
