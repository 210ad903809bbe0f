// Bfloat16.
#include <cuda_bf16.h>

// feature: `__nv_bfloat16` with its conversions, operators, comparisons and functions
// gives: 1, 3, 2, 0.5, 5, 1, 257.0 - 1
extern "C" __global__ void bfloat16_operators(float* out)
{
    const __nv_bfloat16 one = __float2bfloat16(1.0f), two = one + one;
    out[0] = __bfloat162float(one);
    out[1] = __bfloat162float(__hadd(one, two));
    out[2] = __bfloat162float(two * one);
    out[3] = __bfloat162float(one / two);
    out[4] = __bfloat162float(__hfma(two, two, one));
    out[5] = one < two;
    out[6] = __bfloat162float(__float2bfloat16_rn(257.0f));
}

// feature: `__nv_bfloat162` with `__hmul2`, `__bfloat1622float2` and the others
// gives: 3, 8
extern "C" __global__ void bfloat16_pairs(float* out)
{
    const __nv_bfloat162 x = __floats2bfloat162_rn(1, 2);
    *(float2*)out = __bfloat1622float2(__hmul2(x, __floats2bfloat162_rn(3, 4)));
}
