// Functions of integers.

// feature: `__popc`, `__popcll`
// gives: 3, 33
extern "C" __global__ void population(int* out)
{
    out[0] = __popc(0x80000101u);
    out[1] = __popcll(0x1ffffffffull);
}

// feature: `__clz`, `__clzll`, `__ffs`, `__ffsll`
// gives: 27, 31, 5, 33, 0
extern "C" __global__ void first_bits(int* out)
{
    out[0] = __clz(16);
    out[1] = __clzll(1ll << 32);
    out[2] = __ffs(16);
    out[3] = __ffsll(1ll << 32);
    out[4] = __ffsll(0);
}

// feature: `__brev`, `__brevll`
// gives: 1 << 31, 1 << 62
extern "C" __global__ void reversed(unsigned long long* out)
{
    out[0] = __brev(1);
    out[1] = __brevll(2);
}

// feature: `__byte_perm`
// gives: 0x44114411
extern "C" __global__ void byte_permutation(unsigned* out)
{
    out[0] = __byte_perm(0x44332211, 0, 0x3030);
}

// feature: `__funnelshift_l`, `__funnelshift_lc`, `__funnelshift_r`, `__funnelshift_rc`
// gives: 3, 0x80000000, 0x80000001, 1
extern "C" __global__ void funnel_shifts(unsigned* out)
{
    out[0] = __funnelshift_l(0x80000000, 1, 1);
    out[1] = __funnelshift_lc(0x80000000, 1, 32);
    out[2] = __funnelshift_r(2, 1, 1);
    out[3] = __funnelshift_rc(2, 1, 40);
}

// feature: `__mulhi`, `__umulhi`
// gives: -1, 2
extern "C" __global__ void upper_halves(int* out)
{
    out[0] = __mulhi(-1, 5);
    out[1] = __umulhi(0xffffffffu, 3);
}

// feature: `__mul64hi`, `__umul64hi`
// gives: -1, 2
extern "C" __global__ void upper_words(long long* out)
{
    out[0] = __mul64hi(-1, 5);
    out[1] = __umul64hi(~0ull, 3);
}

// feature: `__mul24`, `__umul24`
// gives: -6, 0xfffffe
extern "C" __global__ void products24(int* out)
{
    out[0] = __mul24(-2, 3);
    out[1] = __umul24(0xff7fffff, 2);
}

// feature: `__sad`, `__usad`
// gives: 12, 7
extern "C" __global__ void absolute_differences(unsigned* out)
{
    out[0] = __sad(-3, 4, 5);
    out[1] = __usad(3, 5, 5);
}

// feature: `__hadd`, `__rhadd`, `__uhadd`, `__urhadd`
// gives: 2147483646, 2147483647, 2, 3
extern "C" __global__ void averages(int* out)
{
    out[0] = __hadd(2147483647, 2147483646);
    out[1] = __rhadd(2147483647, 2147483646);
    out[2] = __uhadd(2, 3);
    out[3] = __urhadd(2, 3);
}

// feature: `__dp4a`, `__dp2a_lo`, `__dp2a_hi`
// gives: 20, -2, 7, 5
extern "C" __global__ void dot_products(int* out)
{
    out[0] = __dp4a(0x01020304, 0x01020103, 0);
    out[1] = __dp4a(make_char4(-1, 0, 0, 0), make_char4(3, 0, 0, 0), 1);
    out[2] = __dp2a_lo(0x00020001, 0x00000301, 0);
    out[3] = __dp2a_hi(0x00020001, 0x02010000, 0);
}

// feature: `__vadd2`, `__vadd4` and the other SIMD instructions
// gives: 0x00020000, 0x7f020304, 0xff0000ff, 6
extern "C" __global__ void simd_instructions(unsigned* out)
{
    out[0] = __vadd2(0x0001ffff, 0x00010001);
    out[1] = __vaddss4(0x7f010203, 0x01010101);
    out[2] = __vcmpeq4(0x01020304, 0x01000004);
    out[3] = __vsadu4(0x01020304, 0x04030201) - 2;
}

// feature: `min` and `max` of all types of numbers
// gives: 3, 4294967295, 2.5
extern "C" __global__ void minima(double* out)
{
    out[0] = min(3, 4u);
    out[1] = max(-1, 3u);
    out[2] = max(2.5f, 1.0);
}
