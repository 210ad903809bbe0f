// Barriers, fences and warp operations. The runtime waits for the threads (waiting.cpp).
#pragma once

#define GPU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

GPU_INLINE void __syncthreads(GPU_HERE) { gpu_barrier(GPU_PLAIN, 0, file, line); }
GPU_INLINE int __syncthreads_count(int predicate, GPU_HERE)
{
    return gpu_barrier(GPU_COUNT, predicate, file, line);
}
GPU_INLINE int __syncthreads_and(int predicate, GPU_HERE)
{
    return gpu_barrier(GPU_AND, predicate, file, line);
}
GPU_INLINE int __syncthreads_or(int predicate, GPU_HERE)
{
    return gpu_barrier(GPU_OR, predicate, file, line);
}

GPU_INLINE void __threadfence() { gpu_fence(); }
GPU_INLINE void __threadfence_system() { gpu_fence(); }
GPU_INLINE void __threadfence_block() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

GPU_INLINE void __syncwarp(unsigned mask = 0xffffffffu, GPU_HERE)
{
    gpu_warp(GPU_SYNC, mask, 0, 0, file, line);
}

// Sends `value` and returns the value of lane `source` of the warp.
template <class T>
GPU_INLINE T gpu_shuffle(unsigned mask, T value, unsigned source, const char *file, int line)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = gpu_warp(GPU_SHUFFLE, mask, bits, (int)source, file, line);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}

// `width` divides the warp into sections of a power of two lanes; a lane whose source is outside
// its section keeps its own value.
template <class T>
GPU_INLINE T __shfl_sync(unsigned mask, T value, int source, int width = 32, GPU_HERE)
{
    unsigned inside = (unsigned)width - 1, lane = gpu_lane();
    return gpu_shuffle(mask, value, (lane & ~inside) | ((unsigned)source & inside), file, line);
}
template <class T>
GPU_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, GPU_HERE)
{
    unsigned inside = (unsigned)width - 1, lane = gpu_lane();
    bool leaves = (lane & inside) + delta > inside;
    return gpu_shuffle(mask, value, leaves ? lane : lane + delta, file, line);
}
template <class T>
GPU_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, GPU_HERE)
{
    unsigned inside = (unsigned)width - 1, lane = gpu_lane();
    bool leaves = (lane & inside) < delta;
    return gpu_shuffle(mask, value, leaves ? lane : lane - delta, file, line);
}
template <class T>
GPU_INLINE T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, GPU_HERE)
{
    unsigned inside = (unsigned)width - 1, lane = gpu_lane(), source = lane ^ (unsigned)with;
    bool leaves = source > (lane | inside);   // an earlier section may be read, but not a later one
    return gpu_shuffle(mask, value, leaves ? lane : source, file, line);
}

GPU_INLINE unsigned __ballot_sync(unsigned mask, int predicate, GPU_HERE)
{
    return (unsigned)gpu_warp(GPU_BALLOT, mask, predicate != 0, 0, file, line);
}
GPU_INLINE int __any_sync(unsigned mask, int predicate, GPU_HERE)
{
    return gpu_warp(GPU_BALLOT, mask, predicate != 0, 0, file, line) != 0;
}
GPU_INLINE int __all_sync(unsigned mask, int predicate, GPU_HERE)
{
    return gpu_warp(GPU_BALLOT, mask, predicate == 0, 0, file, line) == 0;
}
GPU_INLINE unsigned __activemask() { return gpu_active_lanes(); }
