// Reductions over the lanes of a group. Values are combined in the order of the lanes.
#pragma once
#include "../cooperative_groups.h"

namespace cooperative_groups
{
#define GPU_OPERATION(name, result)                                     \
    template <class T = void> struct name {                             \
        GPU_ALWAYS T operator()(T a, T b) const { return result; }      \
    };                                                                  \
    template <> struct name<void> {                                     \
        template <class T> GPU_ALWAYS T operator()(T a, T b) const { return result; } \
    };
GPU_OPERATION(plus, a + b)
GPU_OPERATION(less, b < a ? b : a)
GPU_OPERATION(greater, a < b ? b : a)
GPU_OPERATION(bit_and, a &b)
GPU_OPERATION(bit_or, a | b)
GPU_OPERATION(bit_xor, a ^ b)
#undef GPU_OPERATION

template <class Group, class T, class Operation>
GPU_INLINE T reduce(const Group &group, T value, Operation operation, GPU_HERE)
{
    return gpu_combine(group.gpu_gather(value, file, line), 32, operation);
}
}   // namespace cooperative_groups
