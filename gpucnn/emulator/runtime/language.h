// CUDA's keywords, built-in variables and vector types.
#pragma once

// Macros that sources may test. The architecture is an old one, so that code with inline PTX inside
// `#if __CUDA_ARCH__ >= 800` is replaced by its plain alternative.
#define GPUCNN_EMULATOR 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define __CUDA_ARCH__ 750

// If a kernel were inlined into its caller (export.h), its accesses would not be checked.
#define __global__ __attribute__((noinline, noclone))
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __builtin_align__(bytes) __attribute__((aligned(bytes)))

// A host thread runs one block at a time, so memory that a block shares is local to the thread. In
// a function thread_local implies static; `extern __shared__ T name[]` becomes a declaration, which
// source.py defines in the assembler text.
#define __shared__ thread_local

#define GPU_UNCHECKED __attribute__((no_sanitize("thread", "undefined"), no_sanitize_coverage))
#define GPU_INLINE static inline __attribute__((always_inline))

static constexpr int warpSize = 32;

#ifdef GPU_CHECK
// The C library's functions are not checked, so macros replace them in kernels.
extern "C" void __tsan_read_range(void *, size_t);
extern "C" void __tsan_write_range(void *, size_t);
GPU_INLINE void *gpu_memset(void *to, int value, size_t bytes)
{
    if (bytes) __tsan_write_range(to, bytes);
    return __builtin_memset(to, value, bytes);
}
GPU_INLINE void *gpu_memcpy(void *to, const void *from, size_t bytes)
{
    if (bytes) __tsan_read_range((void *)from, bytes);
    if (bytes) __tsan_write_range(to, bytes);
    return __builtin_memmove(to, from, bytes);
}
#define memset gpu_memset
#define memcpy gpu_memcpy
#define memmove gpu_memcpy
#endif

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 other) : x(other.x), y(other.y), z(other.z) {}
};

// As on a GPU, vectors of two and four elements are aligned to their size, at most 16 bytes.
#define GPU_VECTOR1(T, name)                                         \
    struct name##1 { T x; };                                         \
    GPU_INLINE name##1 make_##name##1(T x) { return name##1{x}; }
#define GPU_VECTOR2(T, name)                                         \
    struct __align__(2 * sizeof(T)) name##2 { T x, y; };             \
    GPU_INLINE name##2 make_##name##2(T x, T y) { return name##2{x, y}; }
#define GPU_VECTOR3(T, name)                                         \
    struct name##3 { T x, y, z; };                                   \
    GPU_MAKE3(T, name)
#define GPU_MAKE3(T, name)                                           \
    GPU_INLINE name##3 make_##name##3(T x, T y, T z) { return name##3{x, y, z}; }
#define GPU_VECTOR4(T, name)                                         \
    struct __align__(sizeof(T) == 8 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; }; \
    GPU_INLINE name##4 make_##name##4(T x, T y, T z, T w) { return name##4{x, y, z, w}; }
#define GPU_VECTORS(T, name) \
    GPU_VECTOR1(T, name) GPU_VECTOR2(T, name) GPU_VECTOR3(T, name) GPU_VECTOR4(T, name)

GPU_VECTORS(signed char, char)
GPU_VECTORS(unsigned char, uchar)
GPU_VECTORS(short, short)
GPU_VECTORS(unsigned short, ushort)
GPU_VECTORS(int, int)
GPU_VECTORS(float, float)
GPU_VECTORS(double, double)
GPU_VECTORS(long long, longlong)
GPU_VECTORS(unsigned long long, ulonglong)
GPU_VECTOR1(unsigned, uint)
GPU_VECTOR2(unsigned, uint)
GPU_MAKE3(unsigned, uint)   // uint3 itself is in abi.h
GPU_VECTOR4(unsigned, uint)
