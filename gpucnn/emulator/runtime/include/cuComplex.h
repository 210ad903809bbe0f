// Complex numbers as CUDA's C interface has them: vectors of the real and the imaginary part.
#pragma once

typedef float2 cuFloatComplex;
typedef float2 cuComplex;
typedef double2 cuDoubleComplex;

#define GPU_COMPLEX(C, T, f, hypotenuse, fused)                                                  \
    GPU_INLINE C make_##C(T real, T imaginary) { return C{real, imaginary}; }                    \
    GPU_INLINE T cuCreal##f(C x) { return x.x; }                                                 \
    GPU_INLINE T cuCimag##f(C x) { return x.y; }                                                 \
    GPU_INLINE C cuConj##f(C x) { return C{x.x, -x.y}; }                                         \
    GPU_INLINE T cuCabs##f(C x) { return hypotenuse(x.x, x.y); }                                 \
    GPU_INLINE C cuCadd##f(C a, C b) { return C{a.x + b.x, a.y + b.y}; }                         \
    GPU_INLINE C cuCsub##f(C a, C b) { return C{a.x - b.x, a.y - b.y}; }                         \
    GPU_INLINE C cuCmul##f(C a, C b)                                                             \
    {                                                                                            \
        return C{a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x};                                  \
    }                                                                                            \
    GPU_INLINE C cuCdiv##f(C a, C b)                                                             \
    {                                                                                            \
        /* Scaled, so that the squares do not overflow. */                                       \
        T scale = 1 / ((b.x < 0 ? -b.x : b.x) + (b.y < 0 ? -b.y : b.y));                         \
        a = C{a.x * scale, a.y * scale}, b = C{b.x * scale, b.y * scale};                        \
        T inverse = 1 / (b.x * b.x + b.y * b.y);                                                 \
        return C{(a.x * b.x + a.y * b.y) * inverse, (a.y * b.x - a.x * b.y) * inverse};          \
    }                                                                                            \
    GPU_INLINE C cuCfma##f(C a, C b, C c)                                                        \
    {                                                                                            \
        T real = fused(a.x, b.x, c.x), imaginary = fused(a.x, b.y, c.y);                         \
        return C{fused(-a.y, b.y, real), fused(a.y, b.x, imaginary)};                            \
    }
GPU_COMPLEX(cuFloatComplex, float, f, hypotf, fmaf)
GPU_COMPLEX(cuDoubleComplex, double, , hypot, fma)

GPU_INLINE cuComplex make_cuComplex(float real, float imaginary)
{
    return make_cuFloatComplex(real, imaginary);
}
GPU_INLINE cuDoubleComplex cuComplexFloatToDouble(cuFloatComplex x)
{
    return cuDoubleComplex{x.x, x.y};
}
GPU_INLINE cuFloatComplex cuComplexDoubleToFloat(cuDoubleComplex x)
{
    return cuFloatComplex{(float)x.x, (float)x.y};
}
