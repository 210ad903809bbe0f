// CUDA's keywords and macros.
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
#define __maxnreg__(...)
#define __inline_hint__
#define __nv_pure__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __builtin_align__(bytes) __attribute__((aligned(bytes)))

// A host thread runs one block at a time, so memory that a block shares is local to the thread. In
// a function thread_local implies static; `extern __shared__ T name[]` becomes a declaration, which
// source.py defines in the assembler text.
#define __shared__ thread_local

#define GPU_UNCHECKED __attribute__((no_sanitize("thread", "undefined"), no_sanitize_coverage))
#define GPU_INLINE static inline __attribute__((always_inline))
#define GPU_ALWAYS inline __attribute__((always_inline))   // of members and friends

static constexpr int warpSize = 32;

// Called by its own name in the runtime, also where a header of the C library declares it.
extern "C" int printf(const char *format, ...) __asm__("gpu_printf");

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
