// Products of small matrices by a warp.
#include <mma.h>
using namespace nvcuda;

// feature: WMMA (`mma.h`) of half, with sums in float
// launch: 1, 32
// gives: [16] * 256
extern "C" __global__ void matrix_product(float* out)
{
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> a;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> b;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(a, __float2half(1));
    wmma::fill_fragment(b, __float2half(1));
    wmma::fill_fragment(sum, 0.0f);
    wmma::mma_sync(sum, a, b, sum);
    wmma::store_matrix_sync(out, sum, 16, wmma::mem_row_major);
}

// feature: WMMA from shared memory, with sums in half
// launch: 1, 32
// gives: [np.float16(9)] * 256
extern "C" __global__ void shared_product(half* out)
{
    __shared__ __align__(32) half tile[256];
    for (int i = threadIdx.x; i < 256; i += 32) tile[i] = __int2half_rn(i / 16 == i % 16 ? 3 : 0);
    __syncthreads();
    wmma::fragment<wmma::matrix_a, 32, 8, 16, half, wmma::row_major> a;
    wmma::fragment<wmma::matrix_b, 32, 8, 16, half, wmma::row_major> b;
    wmma::fragment<wmma::accumulator, 32, 8, 16, half> sum;
    wmma::load_matrix_sync(b, tile, 16);
    for (int i = 0; i < b.num_elements; ++i) b.x[i] = __float2half(3);
    wmma::fill_fragment(a, __float2half(0.1875f));
    wmma::fill_fragment(sum, __float2half(0));
    wmma::mma_sync(sum, a, b, sum);
    wmma::store_matrix_sync(out, sum, 8, wmma::mem_row_major);
}
