// Cooperative groups: blocks, tiles of a warp, and the lanes that run together. A grid cannot wait
// for all its blocks, which takes a cooperative launch.
#pragma once

namespace cooperative_groups
{
// Lanes of one warp, by a mask; a lane's rank is the number of the group's lanes before it.
class gpu_lanes
{
public:
    GPU_ALWAYS void sync(GPU_HERE) const { __syncwarp(lanes_, file, line); }
    GPU_ALWAYS unsigned thread_rank() const
    {
        return (unsigned)__builtin_popcount(lanes_ & ((1u << gpu_lane()) - 1));
    }
    GPU_ALWAYS unsigned size() const { return (unsigned)__builtin_popcount(lanes_); }
    GPU_ALWAYS unsigned num_threads() const { return size(); }

    template <class T>
    GPU_ALWAYS T shfl(T value, int source, GPU_HERE) const
    {
        return gpu_exchange(value, gpu_lane_of((unsigned)source % size()), file, line);
    }
    // A lane whose source is outside the group keeps its own value.
    template <class T>
    GPU_ALWAYS T shfl_down(T value, unsigned delta, GPU_HERE) const
    {
        unsigned rank = thread_rank();
        return gpu_exchange(value, gpu_lane_of(rank + delta < size() ? rank + delta : rank), file,
                            line);
    }
    template <class T>
    GPU_ALWAYS T shfl_up(T value, unsigned delta, GPU_HERE) const
    {
        unsigned rank = thread_rank();
        return gpu_exchange(value, gpu_lane_of(rank >= delta ? rank - delta : rank), file, line);
    }
    template <class T>
    GPU_ALWAYS T shfl_xor(T value, unsigned with, GPU_HERE) const
    {
        unsigned rank = thread_rank(), source = rank ^ with;
        return gpu_exchange(value, gpu_lane_of(source < size() ? source : rank), file, line);
    }
    GPU_ALWAYS int any(int predicate, GPU_HERE) const
    {
        return __any_sync(lanes_, predicate, file, line);
    }
    GPU_ALWAYS int all(int predicate, GPU_HERE) const
    {
        return __all_sync(lanes_, predicate, file, line);
    }
    GPU_ALWAYS unsigned ballot(int predicate, GPU_HERE) const
    {
        return gpu_ranks(__ballot_sync(lanes_, predicate, file, line));
    }
    template <class T>
    GPU_ALWAYS unsigned match_any(T value, GPU_HERE) const
    {
        return gpu_ranks(__match_any_sync(lanes_, value, file, line));
    }
    template <class T>
    GPU_ALWAYS unsigned match_all(T value, int &all_equal, GPU_HERE) const
    {
        return gpu_ranks(__match_all_sync(lanes_, value, &all_equal, file, line));
    }
    template <class T>
    GPU_ALWAYS gpu_gathered<T> gpu_gather(T value, const char *file, int line) const
    {
        gpu_gathered<T> own(value);
        gpu_warp(GPU_TOGETHER, lanes_, (uint64_t)&own, 0, file, line);
        return own;
    }
    GPU_ALWAYS unsigned gpu_mask() const { return lanes_; }

protected:
    unsigned lanes_;
    GPU_ALWAYS explicit gpu_lanes(unsigned lanes) : lanes_(lanes) {}

    GPU_ALWAYS unsigned gpu_lane_of(unsigned rank) const
    {
        unsigned rest = lanes_;
        while (rank--) rest &= rest - 1;
        return (unsigned)__builtin_ctz(rest);
    }
    GPU_ALWAYS unsigned gpu_ranks(unsigned lanes) const
    {
        unsigned ranks = 0, rank = 0;
        for (unsigned rest = lanes_; rest; rest &= rest - 1, ++rank)
            ranks |= (lanes >> __builtin_ctz(rest) & 1) << rank;
        return ranks;
    }
    template <class T>
    GPU_ALWAYS T gpu_exchange(T value, unsigned lane, const char *file, int line) const
    {
        static_assert(sizeof(T) <= 32, "a shuffle of a group moves at most 32 bytes");
        uint64_t parts[(sizeof(T) + 7) / 8] = {};
        __builtin_memcpy(parts, &value, sizeof(T));
        for (uint64_t &part : parts)
            part = gpu_warp(GPU_SHUFFLE, lanes_, part, (int)lane, file, line);
        __builtin_memcpy(&value, parts, sizeof(T));
        return value;
    }
};

// The lanes of a warp that exist in this block.
GPU_INLINE unsigned gpu_existing_lanes()
{
    unsigned first = gpu_block_rank() & ~31u, count = gpu_block_size() - first;
    return count >= 32 ? ~0u : (1u << count) - 1;
}

class thread_block
{
public:
    GPU_INLINE void sync(GPU_HERE) { __syncthreads(file, line); }
    GPU_INLINE unsigned thread_rank() { return gpu_block_rank(); }
    GPU_INLINE unsigned size() { return gpu_block_size(); }
    GPU_INLINE unsigned num_threads() { return gpu_block_size(); }
    GPU_INLINE dim3 group_index() { return dim3(blockIdx); }
    GPU_INLINE dim3 thread_index() { return dim3(threadIdx); }
    GPU_INLINE dim3 group_dim() { return dim3(blockDim); }
    GPU_INLINE dim3 dim_threads() { return dim3(blockDim); }
    // Between the two, a thread may do what needs no other thread; here it waits at the second.
    struct arrival_token {};
    GPU_INLINE arrival_token barrier_arrive() { return {}; }
    GPU_INLINE void barrier_wait(arrival_token, GPU_HERE) { __syncthreads(file, line); }
};
GPU_INLINE thread_block this_thread_block() { return thread_block(); }

class grid_group
{
public:
    GPU_INLINE bool is_valid() { return false; }
    [[noreturn]] GPU_INLINE void sync(GPU_HERE)
    {
        gpu_stop("grid_group::sync() takes a cooperative launch, which the emulator does not have",
                 file, line);
    }
    GPU_INLINE unsigned long long size() { return num_blocks() * gpu_block_size(); }
    GPU_INLINE unsigned long long num_threads() { return size(); }
    GPU_INLINE unsigned long long num_blocks()
    {
        return (unsigned long long)gridDim.x * gridDim.y * gridDim.z;
    }
    GPU_INLINE unsigned long long block_rank()
    {
        return ((unsigned long long)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    }
    GPU_INLINE unsigned long long thread_rank()
    {
        return block_rank() * gpu_block_size() + gpu_block_rank();
    }
    GPU_INLINE dim3 group_dim() { return dim3(gridDim); }
    GPU_INLINE dim3 dim_blocks() { return dim3(gridDim); }
    GPU_INLINE dim3 block_index() { return dim3(blockIdx); }
};
GPU_INLINE grid_group this_grid() { return grid_group(); }

class coalesced_group : public gpu_lanes
{
public:
    GPU_ALWAYS explicit coalesced_group(unsigned lanes) : gpu_lanes(lanes) {}
    GPU_INLINE unsigned meta_group_rank() { return 0; }
    GPU_INLINE unsigned meta_group_size() { return 1; }
};
GPU_INLINE coalesced_group coalesced_threads(GPU_HERE)
{
    return coalesced_group(__activemask(file, line));
}

template <unsigned count, class Parent = void> class thread_block_tile : public gpu_lanes
{
    static_assert(count <= 32 && !(count & (count - 1)),
                  "the emulator has tiles of 1, 2, 4, 8, 16 and 32 threads");

public:
    GPU_ALWAYS thread_block_tile()
        : gpu_lanes((count == 32 ? ~0u : ((1u << count % 32) - 1) << (gpu_lane() & ~(count - 1))) &
                    gpu_existing_lanes())
    {
    }
    template <class Other>
    GPU_ALWAYS thread_block_tile(const thread_block_tile<count, Other> &other) : gpu_lanes(other)
    {
    }
    GPU_INLINE unsigned size() { return count; }
    GPU_INLINE unsigned num_threads() { return count; }
    GPU_ALWAYS unsigned meta_group_rank() const { return gpu_block_rank() / count; }
    GPU_ALWAYS unsigned meta_group_size() const { return (gpu_block_size() + count - 1) / count; }
};

// A block, or lanes of a warp: what functions take that do not care which.
class thread_group
{
    bool block_;
    unsigned lanes_;

public:
    GPU_ALWAYS thread_group(const thread_block &) : block_(true), lanes_(0) {}
    GPU_ALWAYS thread_group(const gpu_lanes &lanes) : block_(false), lanes_(lanes.gpu_mask()) {}
    GPU_ALWAYS void sync(GPU_HERE) const
    {
        if (block_) __syncthreads(file, line);
        else __syncwarp(lanes_, file, line);
    }
    GPU_ALWAYS unsigned size() const
    {
        return block_ ? gpu_block_size() : coalesced_group(lanes_).size();
    }
    GPU_ALWAYS unsigned num_threads() const { return size(); }
    GPU_ALWAYS unsigned thread_rank() const
    {
        return block_ ? gpu_block_rank() : coalesced_group(lanes_).thread_rank();
    }
    GPU_ALWAYS unsigned gpu_mask() const { return block_ ? gpu_existing_lanes() : lanes_; }
};

template <unsigned count, class Parent>
GPU_INLINE thread_block_tile<count, Parent> tiled_partition(const Parent &)
{
    return thread_block_tile<count, Parent>();
}
GPU_INLINE thread_group tiled_partition(const thread_group &parent, unsigned count)
{
    unsigned before = parent.thread_rank() / count * count, tile = 0;
    unsigned rest = parent.gpu_mask(), first = before % 32;
    if (parent.size() <= 32) first = before;
    for (unsigned rank = 0; rest; rest &= rest - 1, ++rank)
        if (rank >= first && rank < first + count) tile |= rest & -rest;
    return coalesced_group(tile);
}
template <class Group>
GPU_INLINE coalesced_group binary_partition(const Group &group, bool predicate, GPU_HERE)
{
    unsigned yes = __ballot_sync(group.gpu_mask(), predicate, file, line);
    return coalesced_group(predicate ? yes : group.gpu_mask() & ~yes);
}
template <class Group, class Label>
GPU_INLINE coalesced_group labeled_partition(const Group &group, Label label, GPU_HERE)
{
    return coalesced_group(__match_any_sync(group.gpu_mask(), label, file, line));
}

template <class Group> GPU_INLINE void sync(const Group &group, GPU_HERE) { group.sync(file, line); }
template <class Group> GPU_INLINE unsigned thread_rank(const Group &group)
{
    return (unsigned)group.thread_rank();
}
template <class Group> GPU_INLINE unsigned group_size(const Group &group)
{
    return (unsigned)group.size();
}
}   // namespace cooperative_groups
