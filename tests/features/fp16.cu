// Half precision.
#include <cuda_fp16.h>

// feature: `__half` with its conversions, operators and comparisons
// gives: 1.5, 3, 2.25, -1.5, 1, 0.75, 2
extern "C" __global__ void half_operators(__half* out)
{
    const half x = __float2half(1.5f);
    half y = x;
    out[0] = x;
    out[1] = x + y;
    out[2] = x * y;
    out[3] = -x;
    out[4] = x / y;
    y += __int2half_rn(-1);
    out[5] = __hmul(x, y);
    out[6] = x > y && y != x ? __float2half(2.0f) : y;
}

// feature: `__hadd`, `__hmul`, `__hfma`, `__hdiv`, `__hmax`, `__habs`, `hexp`, `hsqrt` and the others
// gives: 3, 2, 3, 0.5, 2, 1, 1, 4
extern "C" __global__ void half_functions(half* out)
{
    const half one = __float2half(1), two = __double2half(2.0);
    out[0] = __hadd(one, two);
    out[1] = __hmul(one, two);
    out[2] = __hfma(one, two, one);
    out[3] = __hdiv(one, two);
    out[4] = __hmax(one, two);
    out[5] = __habs(__hneg(one));
    out[6] = hexp(__hsub(one, one));
    out[7] = hsqrt(__float2half(16));
}

// feature: `__half2` with `__hadd2`, `__hfma2`, `__low2float`, `__float22half2_rn` and the others
// gives: 4, 6, 2, 5, 3, 1
extern "C" __global__ void half_pairs(half* out)
{
    const half2 x = __floats2half2_rn(1, 2), y = __float22half2_rn(make_float2(3, 4));
    *(half2*)out = __hadd2(x, y);
    out[2] = __low2half(__hfma2(x, y, __float2half2_rn(-1)));
    out[3] = __float2half(__high2float(x) + __low2float(y));
    out[4] = __half22float2(y).x;
    out[5] = __hblt2(x, y);
}

// feature: `atomicAdd`, `__ldg` and `__shfl_sync` of `__half`; arrays of it in shared memory
// launch: 1, 32
// gives: 32, 7, 31
extern "C" __global__ void half_memory(half* out)
{
    __shared__ half shared[32];
    const half mine = __int2half_rn(threadIdx.x);
    shared[threadIdx.x] = mine;
    __syncthreads();
    atomicAdd(&out[0], __float2half(1));
    const half seven = __shfl_sync(~0u, mine, 7);
    if (threadIdx.x == 1) out[1] = seven;
    if (threadIdx.x == 2) out[2] = shared[31];
}
