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
#define GPU_MIXED(T, A, B)                                              \
    GPU_INLINE T min(A a, B b) { return min((T)a, (T)b); }              \
    GPU_INLINE T max(A a, B b) { return max((T)a, (T)b); }              \
    GPU_INLINE T min(B a, A b) { return min((T)a, (T)b); }              \
    GPU_INLINE T max(B a, A b) { return max((T)a, (T)b); }
GPU_MIXED(unsigned, int, unsigned)
GPU_MIXED(unsigned long, long, unsigned long)
GPU_MIXED(unsigned long long, long long, unsigned long long)
GPU_MIXED(double, float, double)
GPU_INLINE unsigned umin(unsigned a, unsigned b) { return min(a, b); }
GPU_INLINE unsigned umax(unsigned a, unsigned b) { return max(a, b); }
GPU_INLINE long long llmin(long long a, long long b) { return min(a, b); }
GPU_INLINE long long llmax(long long a, long long b) { return max(a, b); }
GPU_INLINE unsigned long long ullmin(unsigned long long a, unsigned long long b) { return min(a, b); }
GPU_INLINE unsigned long long ullmax(unsigned long long a, unsigned long long b) { return max(a, b); }

// The C library reserves these names, so macros replace them in kernels.
#define __expf gpu_expf
#define __exp10f gpu_exp10f
#define __logf gpu_logf
#define __log2f gpu_log2f
#define __log10f gpu_log10f
#define __sinf gpu_sinf
#define __cosf gpu_cosf
#define __tanf gpu_tanf
#define __tanhf gpu_tanhf
#define __powf gpu_powf
#define __sincosf gpu_sincosf

#define GPU_UNARY(name, result) GPU_INLINE float name(float x) { return result; }
GPU_UNARY(__expf, expf(x))
GPU_UNARY(__exp10f, powf(10.0f, x))
GPU_UNARY(__logf, logf(x))
GPU_UNARY(__log2f, log2f(x))
GPU_UNARY(__log10f, log10f(x))
GPU_UNARY(__sinf, sinf(x))
GPU_UNARY(__cosf, cosf(x))
GPU_UNARY(__tanf, tanf(x))
GPU_UNARY(__tanhf, tanhf(x))
GPU_UNARY(rsqrtf, 1.0f / sqrtf(x))
GPU_UNARY(__saturatef, x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f)   // NaN becomes 0
GPU_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }
GPU_INLINE float rsqrt(float x) { return rsqrtf(x); }

GPU_INLINE float __powf(float a, float b) { return powf(a, b); }
GPU_INLINE float __fdividef(float a, float b) { return a / b; }
GPU_INLINE float fdividef(float a, float b) { return a / b; }
GPU_INLINE double fdivide(double a, double b) { return a / b; }
GPU_INLINE void __sincosf(float x, float *sine, float *cosine)
{
    *sine = sinf(x);
    *cosine = cosf(x);
}
