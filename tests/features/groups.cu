// Cooperative groups.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;

// feature: `cooperative_groups::this_thread_block` with `sync`, `thread_rank`, `size`, `group_index`
// launch: 2, 64
// gives: 63, 64, 1
extern "C" __global__ void block_groups(int* out)
{
    auto block = cg::this_thread_block();
    block.sync();
    cg::sync(block);
    if (block.group_index().x == 1 && block.thread_rank() == 63) {
        out[0] = block.thread_rank();
        out[1] = block.size();
        out[2] = block.group_index().x;
    }
}

// feature: `cooperative_groups::tiled_partition` with `shfl`, `any`, `all`, `ballot`, `match_any`
// launch: 1, 64
// gives: 1, 8, 5, 13, 1, 0, 0xaa, 0x33
extern "C" __global__ void tiles(int* out)
{
    auto tile = cg::tiled_partition<8>(cg::this_thread_block());
    const int lane = threadIdx.x, other = tile.shfl_xor(lane, 1), first = tile.shfl(lane, 5);
    const int any = tile.any(lane == 9), all = tile.all(lane == 9);
    const unsigned odd = tile.ballot(lane & 1), same = tile.match_any(lane & 2);
    tile.sync();
    if (lane != 12) return;
    out[0] = tile.meta_group_rank();
    out[1] = tile.size();
    out[2] = tile.thread_rank() + 1;
    out[3] = other * (first == 13);
    out[4] = any;
    out[5] = all;
    out[6] = odd;
    out[7] = same;
}

// feature: `cooperative_groups::coalesced_threads`
// launch: 1, 32
// gives: 11, 2, 3
extern "C" __global__ void coalesced(int* out)
{
    if (threadIdx.x % 3 != 0) return;
    auto group = cg::coalesced_threads();
    const int second = group.shfl((int)threadIdx.x, 1);
    if (threadIdx.x == 6) {
        out[0] = group.size();
        out[1] = group.thread_rank();
        out[2] = second;
    }
}

// feature: `cooperative_groups::reduce`, `inclusive_scan`, `exclusive_scan`
// launch: 1, 32
// gives: 120, 31, 21, 15
extern "C" __global__ void group_sums(int* out)
{
    auto tile = cg::tiled_partition<16>(cg::this_thread_block());
    const int lane = threadIdx.x, sum = cg::reduce(tile, lane % 16, cg::plus<int>());
    const int most = cg::reduce(tile, lane, cg::greater<int>());
    const int until = cg::inclusive_scan(tile, lane % 16, cg::plus<int>());
    const int before = cg::exclusive_scan(tile, lane % 16, cg::plus<int>());
    if (lane == 22) out[0] = sum, out[1] = most, out[2] = until, out[3] = before;
}

// feature: `cooperative_groups::binary_partition`, `labeled_partition`
// launch: 1, 32
// gives: 8, 3
extern "C" __global__ void partitions(int* out)
{
    auto warp = cg::tiled_partition<32>(cg::this_thread_block());
    auto part = cg::binary_partition(warp, threadIdx.x % 4 == 0);
    auto label = cg::labeled_partition(warp, (int)threadIdx.x / 5);
    if (threadIdx.x == 8) out[0] = part.size(), out[1] = label.thread_rank();
}

// feature: `cooperative_groups::this_grid` with `thread_rank`, `size`
// launch: 3, 32
// gives: 65, 96
extern "C" __global__ void grids(int* out)
{
    auto grid = cg::this_grid();
    if (blockIdx.x == 2 && threadIdx.x == 1) out[0] = grid.thread_rank(), out[1] = grid.size();
}
