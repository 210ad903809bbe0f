// Functions of floating-point numbers.

// feature: `__fadd_rn`, `__fmul_rz`, `__fdiv_ru`, `__fsqrt_rd`, `__fmaf_rn` and the others that round
// gives: 1, 1, 1, 1, 1, 0
extern "C" __global__ void rounded_floats(int* out)
{
    out[0] = __float_as_int(__fdiv_ru(1, 3)) - __float_as_int(__fdiv_rd(1, 3));
    out[1] = __float_as_int(__fadd_ru(1, 1e-20f)) - __float_as_int(__fadd_rn(1, 1e-20f));
    out[2] = __float_as_int(__fsqrt_ru(2)) - __float_as_int(__fsqrt_rz(2));
    out[3] = __float_as_int(__fmul_ru(1.1f, 1.1f)) - __float_as_int(__fmul_rd(1.1f, 1.1f));
    out[4] = __float_as_int(__fmaf_ru(1, 1, 1e-20f)) - __float_as_int(__fmaf_rz(1, 1, 1e-20f));
    out[5] = __float_as_int(__frcp_rn(3)) - __float_as_int(__fdiv_rn(1, 3));
}

// feature: `__dadd_rn`, `__dmul_rz`, `__ddiv_ru`, `__dsqrt_rd`, `__fma_rn` and the others that round
// gives: 1, 1, 1, 1
extern "C" __global__ void rounded_doubles(long long* out)
{
    out[0] = __double_as_longlong(__ddiv_ru(1, 3)) - __double_as_longlong(__ddiv_rd(1, 3));
    out[1] = __double_as_longlong(__dadd_ru(1, 1e-40)) - __double_as_longlong(__dadd_rn(1, 1e-40));
    out[2] = __double_as_longlong(__dsqrt_ru(2)) - __double_as_longlong(__dsqrt_rz(2));
    out[3] = __double_as_longlong(__fma_ru(1, 1, 1e-40)) - __double_as_longlong(__drcp_rn(1));
}

// feature: `__float2int_rn`, `__double2ll_rz`, `__float2uint_ru` and the other conversions to integers
// gives: 2, -2, 3, 2147483647, 0
extern "C" __global__ void to_integers(long long* out)
{
    out[0] = __float2int_rn(2.5f);
    out[1] = __double2ll_rz(-2.9);
    out[2] = __float2uint_ru(2.1f);
    out[3] = __double2int_rd(1e20);
    out[4] = __float2int_rz(nanf(""));
}

// feature: `__int2float_rz`, `__ull2double_ru`, `__double2float_rd` and the other conversions
// gives: 16777216, 16777220, 1 << 53, 0
extern "C" __global__ void from_integers(double* out)
{
    out[0] = __int2float_rz(16777217);
    out[1] = __uint2float_ru(16777218 + 1);
    out[2] = __ull2double_rd((1ull << 53) + 1);
    out[3] = __double2float_rz(1e-60);
}

// feature: `__float_as_int`, `__longlong_as_double`, `__hiloint2double` and the other casts of bits
// gives: 0x3f800000, 0x3ff00000, 0, 1
extern "C" __global__ void casts(int* out)
{
    out[0] = __float_as_int(1);
    out[1] = __double2hiint(1);
    out[2] = __double2loint(1);
    out[3] = (int)__longlong_as_double(__double_as_longlong(__hiloint2double(0x3ff00000, 0)));
}

// feature: `__expf`, `__sinf`, `__powf`, `__fdividef`, `__saturatef` and the other fast functions
// gives: np.exp(np.float32(0.5)), np.sin(np.float32(0.5)), 8, 2.5, 1
extern "C" __global__ void fast_functions(float* out)
{
    out[0] = __expf(0.5f);
    out[1] = __sinf(0.5f);
    out[2] = __powf(2, 3);
    out[3] = __fdividef(5, 2);
    out[4] = __saturatef(3);
}

// feature: `rsqrt`, `rcbrt`, `rhypot`, `norm3d`, `rnorm4d`, `normf` and their variants
// gives: 0.5, 0.5, 0.2, 3, 0.5, 5
extern "C" __global__ void norms(double* out)
{
    const float sides[] = {3, 4};
    out[0] = rsqrt(4.0);
    out[1] = rcbrt(8.0);
    out[2] = rhypot(3.0, 4.0);
    out[3] = norm3d(1, 2, 2);
    out[4] = rnorm4df(1, 1, 1, 1);
    out[5] = normf(2, sides);
}

// feature: `sinpi`, `cospi`, `sincospi`, `exp10`, `sincos`
// gives: 1, -1, 0, -1, 100, 1
extern "C" __global__ void circles(double* out)
{
    float sine, cosine;
    out[0] = sinpi(0.5);
    out[1] = cospif(1);
    sincospif(1, &sine, &cosine);
    out[2] = sine;
    out[3] = cosine;
    out[4] = exp10f(2);
    sincosf(0, &sine, &cosine);
    out[5] = cosine;
}

// feature: `erf`, `erfinv`, `erfcinv`, `erfcx`, `normcdf`, `normcdfinv`
// gives: 0.8427007929497149, 0.4769362762044699, 0.4769362762044699, 0.427583576155807, 0.5, 0
extern "C" __global__ void error_functions(double* out)
{
    out[0] = erf(1.0);
    out[1] = erfinv(0.5);
    out[2] = erfcinv(0.5);
    out[3] = erfcx(1.0);
    out[4] = normcdf(0.0);
    out[5] = normcdfinv(0.5);
}

// feature: `j0`, `jn`, `y1`, `cyl_bessel_i0`, `cyl_bessel_i1`, `lgamma`, `tgamma`, `cbrt`
// gives: 1, 1, 1, 1.2660658777520084, 0.5651591039924851, np.log(24), 24, 3
extern "C" __global__ void bessel_functions(double* out)
{
    // CUDA's guide gives an absolute error for functions of the first and the second kind.
    out[0] = fabs(j0(1.0) - 0.7651976865579666) < 5e-12;
    out[1] = fabs(jn(2, 1.0) - 0.1149034849319005) < 5e-12;
    out[2] = fabs(y1(1.0) - -0.7812128213002887) < 5e-12;
    out[3] = cyl_bessel_i0(1.0);
    out[4] = cyl_bessel_i1(1.0);
    out[5] = lgamma(5.0);
    out[6] = tgamma(5.0);
    out[7] = cbrt(27.0);
}
