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

GPU_INLINE void __threadfence() { gpu_fence(1); }
GPU_INLINE void __threadfence_system() { gpu_fence(1); }
GPU_INLINE void __threadfence_block() { gpu_fence(0); }

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
GPU_INLINE unsigned __activemask(GPU_HERE) { return gpu_converged_lanes(file, line); }

// ----------------------------------------------------------------- operations of all lanes
// The runtime calls `run` once for all lanes. What it does is not checked: it reads and writes
// local variables of several threads.
template <class T> struct gpu_match : GpuTogether {
    T value;
    unsigned same = 0;   // the lanes with the same bits

    explicit gpu_match(T value) : GpuTogether{compare}, value(value) {}
    GPU_UNCHECKED static void compare(GpuTogether *const *all, unsigned lanes)
    {
        for (int i = 0; i < 32; ++i)
            for (int j = 0; j < 32; ++j)
                if (lanes >> i & lanes >> j & 1 &&
                    !__builtin_memcmp(&((gpu_match *)all[i])->value, &((gpu_match *)all[j])->value,
                                      sizeof(T)))
                    ((gpu_match *)all[i])->same |= 1u << j;
    }
};
template <class T>
GPU_INLINE unsigned __match_any_sync(unsigned mask, T value, GPU_HERE)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a match compares 4 or 8 bytes");
    gpu_match<T> own(value);
    gpu_warp(GPU_TOGETHER, mask, (uint64_t)&own, 0, file, line);
    return own.same;
}
template <class T>
GPU_INLINE unsigned __match_all_sync(unsigned mask, T value, int *all_equal, GPU_HERE)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a match compares 4 or 8 bytes");
    gpu_match<T> own(value);
    gpu_warp(GPU_TOGETHER, mask, (uint64_t)&own, 0, file, line);
    *all_equal = own.same == mask;
    return *all_equal ? mask : 0;
}

// Every lane gets the values of all: `all` by lane, and a bit for each lane in `lanes`.
template <class T> struct gpu_gathered : GpuTogether {
    T value, all[32] = {};
    unsigned lanes = 0;

    explicit gpu_gathered(T value) : GpuTogether{exchange}, value(value) {}
    GPU_UNCHECKED static void exchange(GpuTogether *const *all, unsigned lanes)
    {
        for (unsigned to = lanes; to; to &= to - 1) {
            gpu_gathered &own = *(gpu_gathered *)all[__builtin_ctz(to)];
            own.lanes = lanes;
            for (unsigned from = lanes; from; from &= from - 1) {
                int lane = __builtin_ctz(from);
                own.all[lane] = ((gpu_gathered *)all[lane])->value;
            }
        }
    }
};

// Combines the values of the lanes before `end` in their order.
template <class T, class Combine>
GPU_INLINE T gpu_combine(const gpu_gathered<T> &gathered, int end, Combine combine)
{
    unsigned rest = gathered.lanes;
    T result = gathered.all[__builtin_ctz(rest)];
    while ((rest &= rest - 1) && __builtin_ctz(rest) < end)
        result = combine(result, gathered.all[__builtin_ctz(rest)]);
    return result;
}
#define GPU_REDUCE(name, T, result)                                                     \
    GPU_INLINE T __reduce_##name##_sync(unsigned mask, T value, GPU_HERE)               \
    {                                                                                   \
        gpu_gathered<T> own(value);                                                     \
        gpu_warp(GPU_TOGETHER, mask, (uint64_t)&own, 0, file, line);                    \
        return gpu_combine(own, 32, [](T a, T b) -> T { return result; });              \
    }
GPU_REDUCE(add, unsigned, a + b)
GPU_REDUCE(add, int, (int)((unsigned)a + (unsigned)b))
GPU_REDUCE(min, unsigned, b < a ? b : a)
GPU_REDUCE(min, int, b < a ? b : a)
GPU_REDUCE(max, unsigned, a < b ? b : a)
GPU_REDUCE(max, int, a < b ? b : a)
GPU_REDUCE(and, unsigned, a &b)
GPU_REDUCE(or, unsigned, a | b)
GPU_REDUCE(xor, unsigned, a ^ b)
#undef GPU_REDUCE

// The number of threads of the block, and the number of this one.
GPU_INLINE unsigned gpu_block_size() { return blockDim.x * blockDim.y * blockDim.z; }
GPU_INLINE unsigned gpu_block_rank()
{
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}
