// Running sums over the lanes of a group, in their order.
#pragma once
#include "reduce.h"

namespace cooperative_groups
{
template <class Group, class T, class Operation = plus<T>>
GPU_INLINE T inclusive_scan(const Group &group, T value, Operation operation = Operation(), GPU_HERE)
{
    return gpu_combine(group.gpu_gather(value, file, line), (int)gpu_lane() + 1, operation);
}
template <class Group, class T, class Operation = plus<T>>
GPU_INLINE T exclusive_scan(const Group &group, T value, Operation operation = Operation(), GPU_HERE)
{
    auto gathered = group.gpu_gather(value, file, line);
    return group.thread_rank() ? gpu_combine(gathered, (int)gpu_lane(), operation) : T();
}
}   // namespace cooperative_groups
