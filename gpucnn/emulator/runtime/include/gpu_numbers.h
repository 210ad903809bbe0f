// Numbers of 16 bits: what cuda_fp16.h and cuda_bf16.h share.
//
// A result is the exact one, rounded once: operations are computed in double, and the bits of the
// result are rounded without the processor's help, so that subnormal numbers are always kept.
#pragma once

template <int exponent_bits, int fraction_bits> struct gpu_format {
    static constexpr int bias = (1 << (exponent_bits - 1)) - 1, least = 1 - bias;
    static constexpr unsigned infinity = ((1u << exponent_bits) - 1) << fraction_bits;
    static constexpr unsigned short nan = 0x7fff;

    GPU_INLINE unsigned short encode(double value, int mode = GPU_NEAREST)
    {
        uint64_t bits = gpu_bits<uint64_t>(value);
        unsigned sign = (unsigned)(bits >> 63);
        int biased = (int)(bits >> 52 & 0x7ff), exponent = biased - 1023;
        uint64_t digits = bits & ((1ull << 52) - 1);
        if (biased == 0x7ff) return digits ? nan : (unsigned short)(sign << 15 | infinity);
        if (!(bits << 1)) return (unsigned short)(sign << 15);
        if (biased) digits |= 1ull << 52;
        int drop = 52 - fraction_bits;
        if (exponent < least) drop = min(drop + least - exponent, 62);
        uint64_t kept = digits >> drop, rest = digits & ((1ull << drop) - 1);
        uint64_t half = 1ull << (drop - 1);
        bool up = mode == GPU_NEAREST ? rest > half || (rest == half && (kept & 1))
                                      : rest && mode == (sign ? GPU_DOWN : GPU_UP);
        kept += up;
        if (exponent > least) kept += (uint64_t)(exponent - least) << fraction_bits;
        if (kept >= infinity) {
            bool outwards = mode == GPU_NEAREST || mode == (sign ? GPU_DOWN : GPU_UP);
            kept = outwards ? infinity : infinity - 1;
        }
        return (unsigned short)(sign << 15 | kept);
    }
    GPU_INLINE double decode(unsigned short bits)
    {
        uint64_t sign = bits >> 15, exponent = (bits & 0x7fffu) >> fraction_bits;
        uint64_t fraction = bits & ((1u << fraction_bits) - 1);
        if (!exponent) {
            constexpr uint64_t unit = (uint64_t)(1023 + least - fraction_bits) << 52;
            double size = (double)(int)fraction * gpu_bits<double>(unit);
            return sign ? -size : size;
        }
        exponent = exponent == (1u << exponent_bits) - 1 ? 0x7ff : exponent - bias + 1023;
        return gpu_bits<double>(sign << 63 | exponent << 52 | fraction << (52 - fraction_bits));
    }
};

// A float as a double, also if it is subnormal.
GPU_INLINE double gpu_widen(float x)
{
    unsigned bits = gpu_bits<unsigned>(x), fraction = bits & 0x7fffff;
    if (bits & 0x7f800000) return x;
    double size = (double)(int)fraction * 0x1p-149;
    return bits >> 31 ? -size : size;
}

// An integer as a double whose last digit is 1 if other digits were lost, so that it can be rounded
// once more.
GPU_INLINE double gpu_odd(unsigned long long magnitude, bool negative)
{
    double value = gpu_from_integer<double, 53>(magnitude, negative, GPU_TO_ZERO);
    bool exact = magnitude < 1ull << 53 || (unsigned long long)fabs(value) == magnitude;
    return gpu_bits<double>(gpu_bits<uint64_t>(value) | !exact);
}
template <class T>
GPU_INLINE double gpu_odd_integer(T x)
{
    bool negative = x < (T)0;
    return gpu_odd(negative ? 0 - (unsigned long long)x : (unsigned long long)x, negative);
}

// a * b + c in the same way. The product is exact.
GPU_INLINE double gpu_odd_fma(double a, double b, double c)
{
    double product = a * b, sum = product + c, other = sum - product;
    double error = (product - (sum - other)) + (c - other);
    uint64_t bits = gpu_bits<uint64_t>(sum);
    if (!(fabs(sum) < INFINITY) || error == 0 || (bits & 1)) return sum;
    return gpu_bits<double>((error > 0) == (sum > 0) ? bits + 1 : bits - 1);
}

// The bits alone: __half_raw and __nv_bfloat16_raw.
template <int exponent_bits, int fraction_bits> struct gpu_raw_number { unsigned short x; };

template <int exponent_bits, int fraction_bits> struct gpu_number {
    typedef gpu_format<exponent_bits, fraction_bits> format;
    typedef gpu_raw_number<exponent_bits, fraction_bits> raw;
    unsigned short gpu_code;

    gpu_number() = default;
    GPU_ALWAYS gpu_number(const raw &bits) : gpu_code(bits.x) {}
    GPU_ALWAYS operator raw() const { return raw{gpu_code}; }
    GPU_ALWAYS gpu_number(float x) : gpu_code(format::encode(gpu_widen(x))) {}
    GPU_ALWAYS gpu_number(double x) : gpu_code(format::encode(x)) {}
    GPU_ALWAYS gpu_number(short x) : gpu_code(format::encode(x)) {}
    GPU_ALWAYS gpu_number(unsigned short x) : gpu_code(format::encode(x)) {}
    GPU_ALWAYS gpu_number(int x) : gpu_code(format::encode(x)) {}
    GPU_ALWAYS gpu_number(unsigned x) : gpu_code(format::encode(x)) {}
    GPU_ALWAYS gpu_number(long x) : gpu_code(format::encode(gpu_odd_integer(x))) {}
    GPU_ALWAYS gpu_number(unsigned long x) : gpu_code(format::encode(gpu_odd_integer(x))) {}
    GPU_ALWAYS gpu_number(long long x) : gpu_code(format::encode(gpu_odd_integer(x))) {}
    GPU_ALWAYS gpu_number(unsigned long long x) : gpu_code(format::encode(gpu_odd_integer(x))) {}

    GPU_INLINE gpu_number from_code(unsigned code)
    {
        gpu_number made;
        made.gpu_code = (unsigned short)code;
        return made;
    }
    GPU_ALWAYS double gpu_value() const { return format::decode(gpu_code); }
    GPU_ALWAYS bool is_nan() const { return (gpu_code & 0x7fff) > format::infinity; }
    GPU_ALWAYS operator float() const
    {
        if (exponent_bits == 8) return gpu_bits<float>((unsigned)gpu_code << 16);
        return (float)gpu_value();
    }
    GPU_ALWAYS operator bool() const { return gpu_code & 0x7fff; }
#define GPU_CAST(T) \
    GPU_ALWAYS operator T() const { return gpu_saturate<T>(gpu_value()); }
    GPU_CAST(signed char) GPU_CAST(unsigned char) GPU_CAST(char) GPU_CAST(short)
    GPU_CAST(unsigned short) GPU_CAST(int) GPU_CAST(unsigned) GPU_CAST(long)
    GPU_CAST(unsigned long) GPU_CAST(long long) GPU_CAST(unsigned long long)
#undef GPU_CAST
    template <class T>
    GPU_INLINE T gpu_saturate(double x)
    {
        if (x != x && sizeof(T) < 8) return 0;
        return gpu_to_integer<T>(trunc(x));
    }

    // ------------------------------------------------------------------------ arithmetic
    typedef gpu_number N;
#define GPU_PLAIN_AND_RN(name, result)                                  \
    friend GPU_ALWAYS N name(N a, N b) { return N(result); }            \
    friend GPU_ALWAYS N name##_rn(N a, N b) { return N(result); }       \
    friend GPU_ALWAYS N name##_sat(N a, N b) { return gpu_sat(result); }
    GPU_PLAIN_AND_RN(__hadd, a.gpu_value() + b.gpu_value())
    GPU_PLAIN_AND_RN(__hsub, a.gpu_value() - b.gpu_value())
    GPU_PLAIN_AND_RN(__hmul, a.gpu_value() * b.gpu_value())
#undef GPU_PLAIN_AND_RN
    friend GPU_ALWAYS N __hdiv(N a, N b) { return N(a.gpu_value() / b.gpu_value()); }
    friend GPU_ALWAYS N __hfma(N a, N b, N c)
    {
        return N(gpu_odd_fma(a.gpu_value(), b.gpu_value(), c.gpu_value()));
    }
    friend GPU_ALWAYS N fma(N a, N b, N c) { return __hfma(a, b, c); }
    friend GPU_ALWAYS N __hfma_sat(N a, N b, N c)
    {
        return gpu_sat(gpu_odd_fma(a.gpu_value(), b.gpu_value(), c.gpu_value()));
    }
    friend GPU_ALWAYS N __hfma_relu(N a, N b, N c)
    {
        N sum = __hfma(a, b, c);
        return !sum.is_nan() && sum.gpu_code >> 15 ? from_code(0) : sum;
    }
    GPU_INLINE N gpu_sat(double x) { return x > 0 ? N(x < 1 ? x : 1.0) : from_code(0); }
    friend GPU_ALWAYS N __hneg(N a)
    {
        return a.is_nan() ? from_code(format::nan) : from_code(a.gpu_code ^ 0x8000);
    }
    friend GPU_ALWAYS N __habs(N a)
    {
        return a.is_nan() ? from_code(format::nan) : from_code(a.gpu_code & 0x7fff);
    }
    friend GPU_ALWAYS N operator+(const N &a, const N &b) { return __hadd(a, b); }
    friend GPU_ALWAYS N operator-(const N &a, const N &b) { return __hsub(a, b); }
    friend GPU_ALWAYS N operator*(const N &a, const N &b) { return __hmul(a, b); }
    friend GPU_ALWAYS N operator/(const N &a, const N &b) { return __hdiv(a, b); }
    friend GPU_ALWAYS N &operator+=(N &a, const N &b) { return a = __hadd(a, b); }
    friend GPU_ALWAYS N &operator-=(N &a, const N &b) { return a = __hsub(a, b); }
    friend GPU_ALWAYS N &operator*=(N &a, const N &b) { return a = __hmul(a, b); }
    friend GPU_ALWAYS N &operator/=(N &a, const N &b) { return a = __hdiv(a, b); }
    friend GPU_ALWAYS N operator+(const N &a) { return a; }
    friend GPU_ALWAYS N operator-(const N &a) { return __hneg(a); }
    friend GPU_ALWAYS N &operator++(N &a) { return a = __hadd(a, N(1)); }
    friend GPU_ALWAYS N &operator--(N &a) { return a = __hsub(a, N(1)); }
    friend GPU_ALWAYS N operator++(N &a, int) { N before = a; ++a; return before; }
    friend GPU_ALWAYS N operator--(N &a, int) { N before = a; --a; return before; }

    // ------------------------------------------------------------------------ comparison
    // Of the functions, those with u are true if an operand is NaN, the others false.
#define GPU_COMPARE(name, op)                                                                   \
    friend GPU_ALWAYS bool __h##name(N a, N b)                                                  \
    {                                                                                           \
        return !a.is_nan() && !b.is_nan() && a.gpu_value() op b.gpu_value();                    \
    }                                                                                           \
    friend GPU_ALWAYS bool __h##name##u(N a, N b)                                               \
    {                                                                                           \
        return a.is_nan() || b.is_nan() || a.gpu_value() op b.gpu_value();                      \
    }                                                                                           \
    friend GPU_ALWAYS bool operator op(const N &a, const N &b)                                  \
    {                                                                                           \
        return a.gpu_value() op b.gpu_value();                                                  \
    }
    GPU_COMPARE(eq, ==)
    GPU_COMPARE(ne, !=)
    GPU_COMPARE(lt, <)
    GPU_COMPARE(le, <=)
    GPU_COMPARE(gt, >)
    GPU_COMPARE(ge, >=)
#undef GPU_COMPARE
    friend GPU_ALWAYS bool __hisnan(N a) { return a.is_nan(); }
    friend GPU_ALWAYS int __hisinf(N a)
    {
        return (a.gpu_code & 0x7fff) != format::infinity ? 0 : a.gpu_code >> 15 ? -1 : 1;
    }
    // -0 is less than +0. One operand that is NaN is ignored, except by the functions with nan.
    GPU_INLINE N gpu_choose(N a, N b, bool least, bool propagate)
    {
        if (a.is_nan() || b.is_nan()) {
            if (propagate || (a.is_nan() && b.is_nan())) return from_code(format::nan);
            return a.is_nan() ? b : a;
        }
        if (a.gpu_value() == b.gpu_value()) return (a.gpu_code >> 15) == least ? a : b;
        return (a.gpu_value() < b.gpu_value()) == least ? a : b;
    }
    friend GPU_ALWAYS N __hmin(N a, N b) { return gpu_choose(a, b, true, false); }
    friend GPU_ALWAYS N __hmax(N a, N b) { return gpu_choose(a, b, false, false); }
    friend GPU_ALWAYS N __hmin_nan(N a, N b) { return gpu_choose(a, b, true, true); }
    friend GPU_ALWAYS N __hmax_nan(N a, N b) { return gpu_choose(a, b, false, true); }

    // ------------------------------------------------------------------------- functions
#define GPU_FUNCTION(name, result) \
    friend GPU_ALWAYS N name(N a) { double x = a.gpu_value(); return N(result); }
    GPU_FUNCTION(hsqrt, sqrt(x))
    GPU_FUNCTION(hrsqrt, 1 / sqrt(x))
    GPU_FUNCTION(hrcp, 1 / x)
    GPU_FUNCTION(hexp, exp(x))
    GPU_FUNCTION(hexp2, exp2(x))
    GPU_FUNCTION(hexp10, ::exp10(x))
    GPU_FUNCTION(hlog, log(x))
    GPU_FUNCTION(hlog2, log2(x))
    GPU_FUNCTION(hlog10, log10(x))
    GPU_FUNCTION(hsin, sin(x))
    GPU_FUNCTION(hcos, cos(x))
    GPU_FUNCTION(htanh, tanh(x))
    GPU_FUNCTION(htanh_approx, tanh(x))
    GPU_FUNCTION(hfloor, floor(x))
    GPU_FUNCTION(hceil, ceil(x))
    GPU_FUNCTION(htrunc, trunc(x))
    GPU_FUNCTION(hrint, rint(x))
#undef GPU_FUNCTION
};

// Two numbers, which operations treat one by one.
template <class N> struct __align__(4) gpu_pair {
    N x, y;

    gpu_pair() = default;
    GPU_ALWAYS gpu_pair(N x, N y) : x(x), y(y) {}
    typedef gpu_pair P;
#define GPU_UNARY_PAIR(name, scalar) \
    friend GPU_ALWAYS P name(P a) { return P(scalar(a.x), scalar(a.y)); }
#define GPU_BINARY_PAIR(name, scalar) \
    friend GPU_ALWAYS P name(P a, P b) { return P(scalar(a.x, b.x), scalar(a.y, b.y)); }
#define GPU_TERNARY_PAIR(name, scalar)                                          \
    friend GPU_ALWAYS P name(P a, P b, P c)                                     \
    {                                                                           \
        return P(scalar(a.x, b.x, c.x), scalar(a.y, b.y, c.y));                 \
    }
    GPU_BINARY_PAIR(__hadd2, __hadd)
    GPU_BINARY_PAIR(__hsub2, __hsub)
    GPU_BINARY_PAIR(__hmul2, __hmul)
    GPU_BINARY_PAIR(__hadd2_rn, __hadd)
    GPU_BINARY_PAIR(__hsub2_rn, __hsub)
    GPU_BINARY_PAIR(__hmul2_rn, __hmul)
    GPU_BINARY_PAIR(__hadd2_sat, __hadd_sat)
    GPU_BINARY_PAIR(__hsub2_sat, __hsub_sat)
    GPU_BINARY_PAIR(__hmul2_sat, __hmul_sat)
    GPU_BINARY_PAIR(__h2div, __hdiv)
    GPU_BINARY_PAIR(__hmin2, __hmin)
    GPU_BINARY_PAIR(__hmax2, __hmax)
    GPU_BINARY_PAIR(__hmin2_nan, __hmin_nan)
    GPU_BINARY_PAIR(__hmax2_nan, __hmax_nan)
    GPU_TERNARY_PAIR(__hfma2, __hfma)
    GPU_TERNARY_PAIR(__hfma2_sat, __hfma_sat)
    GPU_TERNARY_PAIR(__hfma2_relu, __hfma_relu)
    GPU_UNARY_PAIR(__hneg2, __hneg)
    GPU_UNARY_PAIR(__habs2, __habs)
    GPU_UNARY_PAIR(h2sqrt, hsqrt)
    GPU_UNARY_PAIR(h2rsqrt, hrsqrt)
    GPU_UNARY_PAIR(h2rcp, hrcp)
    GPU_UNARY_PAIR(h2exp, hexp)
    GPU_UNARY_PAIR(h2exp2, hexp2)
    GPU_UNARY_PAIR(h2exp10, hexp10)
    GPU_UNARY_PAIR(h2log, hlog)
    GPU_UNARY_PAIR(h2log2, hlog2)
    GPU_UNARY_PAIR(h2log10, hlog10)
    GPU_UNARY_PAIR(h2sin, hsin)
    GPU_UNARY_PAIR(h2cos, hcos)
    GPU_UNARY_PAIR(h2tanh, htanh)
    GPU_UNARY_PAIR(h2floor, hfloor)
    GPU_UNARY_PAIR(h2ceil, hceil)
    GPU_UNARY_PAIR(h2trunc, htrunc)
    GPU_UNARY_PAIR(h2rint, hrint)
    friend GPU_ALWAYS P operator+(const P &a, const P &b) { return __hadd2(a, b); }
    friend GPU_ALWAYS P operator-(const P &a, const P &b) { return __hsub2(a, b); }
    friend GPU_ALWAYS P operator*(const P &a, const P &b) { return __hmul2(a, b); }
    friend GPU_ALWAYS P operator/(const P &a, const P &b) { return __h2div(a, b); }
    friend GPU_ALWAYS P &operator+=(P &a, const P &b) { return a = __hadd2(a, b); }
    friend GPU_ALWAYS P &operator-=(P &a, const P &b) { return a = __hsub2(a, b); }
    friend GPU_ALWAYS P &operator*=(P &a, const P &b) { return a = __hmul2(a, b); }
    friend GPU_ALWAYS P &operator/=(P &a, const P &b) { return a = __h2div(a, b); }
    friend GPU_ALWAYS P operator-(const P &a) { return __hneg2(a); }
    friend GPU_ALWAYS bool operator==(const P &a, const P &b) { return a.x == b.x && a.y == b.y; }
    friend GPU_ALWAYS bool operator!=(const P &a, const P &b) { return !(a == b); }
#define GPU_COMPARE_PAIRS(name)                                                              \
    friend GPU_ALWAYS P __h##name##2(P a, P b)                                               \
    {                                                                                        \
        return P(N((int)__h##name(a.x, b.x)), N((int)__h##name(a.y, b.y)));                  \
    }                                                                                        \
    friend GPU_ALWAYS bool __hb##name##2(P a, P b)                                           \
    {                                                                                        \
        return __h##name(a.x, b.x) && __h##name(a.y, b.y);                                   \
    }                                                                                        \
    friend GPU_ALWAYS unsigned __h##name##2_mask(P a, P b)                                   \
    {                                                                                        \
        return (__h##name(a.x, b.x) ? 0xffffu : 0) | (__h##name(a.y, b.y) ? 0xffff0000u : 0); \
    }
    GPU_COMPARE_PAIRS(eq) GPU_COMPARE_PAIRS(ne) GPU_COMPARE_PAIRS(lt)
    GPU_COMPARE_PAIRS(le) GPU_COMPARE_PAIRS(gt) GPU_COMPARE_PAIRS(ge)
    GPU_COMPARE_PAIRS(equ) GPU_COMPARE_PAIRS(neu) GPU_COMPARE_PAIRS(ltu)
    GPU_COMPARE_PAIRS(leu) GPU_COMPARE_PAIRS(gtu) GPU_COMPARE_PAIRS(geu)
    friend GPU_ALWAYS P __hisnan2(P a) { return P(N((int)a.x.is_nan()), N((int)a.y.is_nan())); }
};

// Conversions, whose names contain `half` or `bfloat16`.
#define GPU_NUMBER_TO(type, N, to, To)                                                      \
    GPU_INLINE To __##type##2##to##_rn(N x) { return gpu_to_integer<To>(rint(x.gpu_value())); }  \
    GPU_INLINE To __##type##2##to##_rz(N x) { return (To)x; }                               \
    GPU_INLINE To __##type##2##to##_ru(N x) { return gpu_to_integer<To>(ceil(x.gpu_value())); }  \
    GPU_INLINE To __##type##2##to##_rd(N x) { return gpu_to_integer<To>(floor(x.gpu_value())); }
#define GPU_NUMBER_FROM(type, N, from, From, value)                                         \
    GPU_INLINE N __##from##2##type##_rn(From x) { return N::from_code(N::format::encode(value)); } \
    GPU_INLINE N __##from##2##type##_rz(From x)                                             \
    {                                                                                       \
        return N::from_code(N::format::encode(value, GPU_TO_ZERO));                         \
    }                                                                                       \
    GPU_INLINE N __##from##2##type##_ru(From x)                                             \
    {                                                                                       \
        return N::from_code(N::format::encode(value, GPU_UP));                              \
    }                                                                                       \
    GPU_INLINE N __##from##2##type##_rd(From x)                                             \
    {                                                                                       \
        return N::from_code(N::format::encode(value, GPU_DOWN));                            \
    }
#define GPU_NUMBER_INTEGER(type, N, name, T) \
    GPU_NUMBER_TO(type, N, name, T)          \
    GPU_NUMBER_FROM(type, N, name, T, gpu_odd_integer(x))
#define GPU_NUMBER_CONVERSIONS(type, N, P, type2)                                           \
    GPU_NUMBER_INTEGER(type, N, int, int)                                                   \
    GPU_NUMBER_INTEGER(type, N, uint, unsigned)                                             \
    GPU_NUMBER_INTEGER(type, N, short, short)                                               \
    GPU_NUMBER_INTEGER(type, N, ushort, unsigned short)                                     \
    GPU_NUMBER_INTEGER(type, N, ll, long long)                                              \
    GPU_NUMBER_INTEGER(type, N, ull, unsigned long long)                                    \
    GPU_NUMBER_FROM(type, N, float, float, gpu_widen(x))                                    \
    GPU_INLINE N __float2##type(float x) { return N(x); }                                   \
    GPU_INLINE N __double2##type(double x) { return N(x); }                                 \
    GPU_INLINE float __##type##2float(N x) { return (float)x; }                             \
    GPU_INLINE short __##type##_as_short(N x) { return (short)x.gpu_code; }                 \
    GPU_INLINE unsigned short __##type##_as_ushort(N x) { return x.gpu_code; }              \
    GPU_INLINE N __short_as_##type(short x) { return N::from_code((unsigned short)x); }     \
    GPU_INLINE N __ushort_as_##type(unsigned short x) { return N::from_code(x); }           \
    GPU_INLINE P make_##type2(N x, N y) { return P(x, y); }                                 \
    GPU_INLINE P __halves2##type2(N x, N y) { return P(x, y); }                             \
    GPU_INLINE P __##type##2##type2(N x) { return P(x, x); }                                \
    GPU_INLINE P __float2##type2##_rn(float x) { return P(N(x), N(x)); }                    \
    GPU_INLINE P __floats2##type2##_rn(float x, float y) { return P(N(x), N(y)); }          \
    GPU_INLINE P __float22##type2##_rn(float2 x) { return P(N(x.x), N(x.y)); }              \
    GPU_INLINE float2 __##type2##2float2(P x) { return float2{(float)x.x, (float)x.y}; }    \
    GPU_INLINE N __low2##type(P x) { return x.x; }                                          \
    GPU_INLINE N __high2##type(P x) { return x.y; }                                         \
    GPU_INLINE float __low2float(P x) { return (float)x.x; }                                \
    GPU_INLINE float __high2float(P x) { return (float)x.y; }                               \
    GPU_INLINE P __low2##type2(P x) { return P(x.x, x.x); }                                 \
    GPU_INLINE P __high2##type2(P x) { return P(x.y, x.y); }                                \
    GPU_INLINE P __lows2##type2(P x, P y) { return P(x.x, y.x); }                           \
    GPU_INLINE P __highs2##type2(P x, P y) { return P(x.y, y.y); }                          \
    GPU_INLINE P __lowhigh2highlow(P x) { return P(x.y, x.x); }
