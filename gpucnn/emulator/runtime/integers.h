// CUDA's functions of integers: bits, products, sums of absolute differences, dot products.
#pragma once

GPU_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
GPU_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
GPU_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
GPU_INLINE int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
GPU_INLINE int __ffs(int x) { return __builtin_ffs(x); }
GPU_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
GPU_INLINE unsigned __brev(unsigned x)
{
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}
GPU_INLINE unsigned long long __brevll(unsigned long long x)
{
    return (unsigned long long)__brev((unsigned)x) << 32 | __brev((unsigned)(x >> 32));
}

// The bytes of x are numbers 0 to 3, those of y 4 to 7; three bits of each digit of s select one.
GPU_INLINE unsigned __byte_perm(unsigned x, unsigned y, unsigned s)
{
    unsigned long long bytes = (unsigned long long)y << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i)
        result |= (unsigned)(bytes >> 8 * (s >> 4 * i & 7) & 255) << 8 * i;
    return result;
}

// The upper (l) or the lower (r) word of high:low after a shift, of at most 31 or, with c, 32 bits.
GPU_INLINE unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
GPU_INLINE unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift)
{
    return shift < 32 ? __funnelshift_l(low, high, shift) : low;
}
GPU_INLINE unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((unsigned long long)high << 32 | low) >> (shift & 31));
}
GPU_INLINE unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift)
{
    return shift < 32 ? __funnelshift_r(low, high, shift) : high;
}

// Upper halves of products, and products of the lower 24 bits. Unsigned, since signed overflow
// would be reported.
GPU_INLINE unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((unsigned long long)a * b) >> 32);
}
GPU_INLINE int __mulhi(int a, int b) { return (int)(((long long)a * b) >> 32); }
GPU_INLINE unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
GPU_INLINE long long __mul64hi(long long a, long long b)
{
    return (long long)(((__int128)a * b) >> 64);
}
GPU_INLINE unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffffu) * (b & 0xffffffu); }
GPU_INLINE int __mul24(int a, int b)
{
    long long one = (int)((unsigned)a << 8) >> 8, other = (int)((unsigned)b << 8) >> 8;
    return (int)(one * other);
}

GPU_INLINE unsigned __usad(unsigned x, unsigned y, unsigned z) { return (x < y ? y - x : x - y) + z; }
GPU_INLINE unsigned __sad(int x, int y, unsigned z)
{
    return (x < y ? (unsigned)y - (unsigned)x : (unsigned)x - (unsigned)y) + z;
}
GPU_INLINE int __hadd(int x, int y) { return (int)(((long long)x + y) >> 1); }
GPU_INLINE int __rhadd(int x, int y) { return (int)(((long long)x + y + 1) >> 1); }
GPU_INLINE unsigned __uhadd(unsigned x, unsigned y)
{
    return (unsigned)(((unsigned long long)x + y) >> 1);
}
GPU_INLINE unsigned __urhadd(unsigned x, unsigned y)
{
    return (unsigned)(((unsigned long long)x + y + 1) >> 1);
}

// Dot products of two vectors within words, plus c, modulo 2^32: `Byte` and `Half` have the sign of
// the elements.
template <class Byte>
GPU_INLINE unsigned gpu_dp4a(unsigned a, unsigned b, unsigned c)
{
    for (int i = 0; i < 32; i += 8) c += (unsigned)((int)(Byte)(a >> i) * (int)(Byte)(b >> i));
    return c;
}
template <class Half, class Byte>
GPU_INLINE unsigned gpu_dp2a(unsigned a, unsigned b, unsigned c)
{
    return c + (unsigned)((int)(Half)a * (int)(Byte)b) +
           (unsigned)((int)(Half)(a >> 16) * (int)(Byte)(b >> 8));
}
GPU_INLINE int __dp4a(int a, int b, int c)
{
    return (int)gpu_dp4a<int8_t>((unsigned)a, (unsigned)b, (unsigned)c);
}
GPU_INLINE unsigned __dp4a(unsigned a, unsigned b, unsigned c) { return gpu_dp4a<uint8_t>(a, b, c); }
GPU_INLINE int __dp4a(char4 a, char4 b, int c)
{
    return __dp4a(gpu_bits<int>(a), gpu_bits<int>(b), c);
}
GPU_INLINE unsigned __dp4a(uchar4 a, uchar4 b, unsigned c)
{
    return __dp4a(gpu_bits<unsigned>(a), gpu_bits<unsigned>(b), c);
}
#define GPU_DP2A(name, shift)                                                               \
    GPU_INLINE int name(int a, int b, int c)                                                \
    {                                                                                       \
        return (int)gpu_dp2a<int16_t, int8_t>((unsigned)a, (unsigned)b >> shift, (unsigned)c); \
    }                                                                                       \
    GPU_INLINE unsigned name(unsigned a, unsigned b, unsigned c)                            \
    {                                                                                       \
        return gpu_dp2a<uint16_t, uint8_t>(a, b >> shift, c);                               \
    }                                                                                       \
    GPU_INLINE int name(short2 a, char4 b, int c)                                           \
    {                                                                                       \
        return name(gpu_bits<int>(a), gpu_bits<int>(b), c);                                 \
    }                                                                                       \
    GPU_INLINE unsigned name(ushort2 a, uchar4 b, unsigned c)                               \
    {                                                                                       \
        return name(gpu_bits<unsigned>(a), gpu_bits<unsigned>(b), c);                       \
    }
GPU_DP2A(__dp2a_lo, 0)
GPU_DP2A(__dp2a_hi, 16)
#undef GPU_DP2A
