// CUDA's special functions that the C library does not have, and float variants of its others. The
// runtime computes them (special.cpp); those of float32 are rounded results of float64.
#pragma once

#define GPU_SPECIAL_FUNCTIONS(F)                                                     \
    F(cospi) F(cyl_bessel_i0) F(cyl_bessel_i1) F(erfcinv) F(erfcx) F(erfinv)         \
    F(normcdf) F(normcdfinv) F(rcbrt) F(sinpi)
#define GPU_DECLARE(name) extern "C" __attribute__((visibility("default"))) \
    double gpu_special_##name(double x);
GPU_SPECIAL_FUNCTIONS(GPU_DECLARE)
#undef GPU_DECLARE

#ifndef GPU_RUNTIME
#define GPU_DEFINE(name)                                                              \
    GPU_INLINE double name(double x) { return gpu_special_##name(x); }                \
    GPU_INLINE float name##f(float x) { return (float)gpu_special_##name(x); }        \
    GPU_INLINE float name(float x) { return name##f(x); }
GPU_SPECIAL_FUNCTIONS(GPU_DEFINE)
#undef GPU_DEFINE

GPU_INLINE void sincospi(double x, double *sine, double *cosine)
{
    *sine = sinpi(x);
    *cosine = cospi(x);
}
GPU_INLINE void sincospif(float x, float *sine, float *cosine)
{
    *sine = sinpif(x);
    *cosine = cospif(x);
}
GPU_INLINE void sincospi(float x, float *sine, float *cosine) { sincospif(x, sine, cosine); }
GPU_INLINE void sincos(float x, float *sine, float *cosine) { sincosf(x, sine, cosine); }

#define GPU_FLOAT(name) GPU_INLINE float name(float x) { return name##f(x); }
GPU_FLOAT(exp10)
GPU_FLOAT(j0)
GPU_FLOAT(j1)
GPU_FLOAT(y0)
GPU_FLOAT(y1)
#undef GPU_FLOAT
GPU_INLINE float jn(int order, float x) { return jnf(order, x); }
GPU_INLINE float yn(int order, float x) { return ynf(order, x); }

// The square root of a sum of squares, and its reciprocal. The sum has a type of more range, so
// that it does not overflow.
template <class T>
GPU_INLINE T gpu_norm(int count, const T *x, bool inverse)
{
    long double sum = 0;
    bool infinite = false;
    for (int i = 0; i < count; ++i) {
        T value = x[i];
        infinite = infinite || isinf(value);
        sum += (long double)value * value;
    }
    if (infinite) return inverse ? T(0) : T(INFINITY);
    long double root = __builtin_sqrtl(sum);
    return (T)(double)(inverse ? 1 / root : root);
}
#define GPU_NORM(T, f)                                                                    \
    GPU_INLINE T norm##f(int count, const T *x) { return gpu_norm(count, x, false); }      \
    GPU_INLINE T rnorm##f(int count, const T *x) { return gpu_norm(count, x, true); }      \
    GPU_INLINE T rhypot##f(T a, T b) { T x[] = {a, b}; return gpu_norm(2, x, true); }      \
    GPU_INLINE T norm3d##f(T a, T b, T c) { T x[] = {a, b, c}; return gpu_norm(3, x, false); } \
    GPU_INLINE T rnorm3d##f(T a, T b, T c) { T x[] = {a, b, c}; return gpu_norm(3, x, true); } \
    GPU_INLINE T norm4d##f(T a, T b, T c, T d)                                            \
    {                                                                                     \
        T x[] = {a, b, c, d};                                                             \
        return gpu_norm(4, x, false);                                                     \
    }                                                                                     \
    GPU_INLINE T rnorm4d##f(T a, T b, T c, T d)                                           \
    {                                                                                     \
        T x[] = {a, b, c, d};                                                             \
        return gpu_norm(4, x, true);                                                      \
    }
GPU_NORM(double, )
GPU_NORM(float, f)
#undef GPU_NORM
GPU_INLINE float rhypot(float a, float b) { return rhypotf(a, b); }
#endif
