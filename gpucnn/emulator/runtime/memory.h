// Loads and stores with cache hints, which are plain ones here; whether an address is in global,
// shared, local or constant memory; clocks; statements that end a kernel.
#pragma once

#define GPU_LOAD(name) \
    template <class T> GPU_INLINE T name(const T *address) { return *address; }
#define GPU_STORE(name)                                         \
    template <class T>                                          \
    GPU_INLINE void name(T *address, typename gpu_same<T>::type value) \
    {                                                           \
        *address = value;                                       \
    }
GPU_LOAD(__ldg)
GPU_LOAD(__ldca)
GPU_LOAD(__ldcg)
GPU_LOAD(__ldcs)
GPU_LOAD(__ldlu)
GPU_LOAD(__ldcv)
GPU_STORE(__stwb)
GPU_STORE(__stcg)
GPU_STORE(__stcs)
GPU_STORE(__stwt)
#undef GPU_LOAD
#undef GPU_STORE

GPU_INLINE unsigned __isGlobal(const void *address) { return gpu_space(address) == GPU_GLOBAL; }
GPU_INLINE unsigned __isShared(const void *address) { return gpu_space(address) == GPU_SHARED; }
GPU_INLINE unsigned __isLocal(const void *address) { return gpu_space(address) == GPU_LOCAL; }
GPU_INLINE unsigned __isConstant(const void *address)
{
    return gpu_space(address) == GPU_CONSTANT_SPACE;
}

GPU_INLINE long long clock64() { return (long long)__builtin_ia32_rdtsc(); }
#define clock gpu_clock   // the C library has a function of this name
GPU_INLINE long gpu_clock() { return (long)clock64(); }
GPU_INLINE void __nanosleep(unsigned) { gpu_yield(); }   // other threads run in the meantime
GPU_INLINE void __prof_trigger(int) {}

#define __trap() gpu_stop("__trap()", __FILE__, __LINE__)
#define __brkpt() gpu_stop("__brkpt()", __FILE__, __LINE__)
#ifdef GPU_CHECK
#define __builtin_assume(condition) \
    ((condition) ? (void)0 : gpu_stop("assumption is false: " #condition, __FILE__, __LINE__))
#else
#define __builtin_assume(condition) ((condition) ? (void)0 : __builtin_unreachable())
#endif
#define __assume(condition) __builtin_assume(condition)
#define GPU_ASSERT(condition, text) \
    ((condition) ? (void)0 : gpu_stop("cudaErrorAssert: assertion failed: " text, __FILE__, __LINE__))
#define assert(condition) GPU_ASSERT(condition, #condition)
