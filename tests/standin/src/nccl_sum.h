// The arithmetic of reductions.
#pragma once
#include "nccl.h"

#include <algorithm>
#include <cstdint>
#include <vector>

// In the order of the ranks. NCCL promises no order.
template <class T>
void reduce_as(T *to, const std::vector<const char *> &all, size_t count, ncclRedOp_t op)
{
    for (size_t i = 0; i < count; ++i) {
        T found = ((const T *)all[0])[i];
        for (size_t rank = 1; rank < all.size(); ++rank) {
            T next = ((const T *)all[rank])[i];
            switch (op) {
            case ncclProd: found = (T)(found * next); break;
            case ncclMax: found = std::max(found, next); break;
            case ncclMin: found = std::min(found, next); break;
            default: found = (T)(found + next);
            }
        }
        to[i] = op == ncclAvg ? (T)(found / (T)all.size()) : found;
    }
}

inline void reduce_in_order(void *to, const std::vector<const char *> &all, size_t count,
                            ncclDataType_t type, ncclRedOp_t op)
{
    switch (type) {
    case ncclInt8: return reduce_as((int8_t *)to, all, count, op);
    case ncclUint8: return reduce_as((uint8_t *)to, all, count, op);
    case ncclInt32: return reduce_as((int32_t *)to, all, count, op);
    case ncclUint32: return reduce_as((uint32_t *)to, all, count, op);
    case ncclInt64: return reduce_as((int64_t *)to, all, count, op);
    case ncclUint64: return reduce_as((uint64_t *)to, all, count, op);
    case ncclFloat32: return reduce_as((float *)to, all, count, op);
    default: return reduce_as((double *)to, all, count, op);
    }
}
