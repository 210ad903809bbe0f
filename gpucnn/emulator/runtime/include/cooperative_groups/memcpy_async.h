// Copies by all threads of a group, complete at wait().
#pragma once
#include "../cooperative_groups.h"

namespace cooperative_groups
{
template <class Group, class To, class From>
GPU_INLINE void memcpy_async(const Group &group, To *to, const From *from, size_t bytes)
{
    bool words = !(((size_t)to | (size_t)from | bytes) & 3);
    size_t first = group.thread_rank(), step = group.size();
    if (words)
        for (size_t i = first; i < bytes / 4; i += step) ((int *)to)[i] = ((const int *)from)[i];
    else
        for (size_t i = first; i < bytes; i += step) ((char *)to)[i] = ((const char *)from)[i];
}
template <class Group> GPU_INLINE void wait(const Group &group, GPU_HERE) { group.sync(file, line); }
}   // namespace cooperative_groups
