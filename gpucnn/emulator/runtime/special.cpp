// CUDA's special functions (special.h), computed with the 64 binary digits of long double and
// rounded once to float64.
#include "special.h"

typedef long double Real;
static const Real pi = 3.14159265358979323846264338327950288L;

// sin(pi x + quarter pi / 2): the reduction to |r| <= 1/4 is exact.
static double sine_of_pi(double x, int quarter)
{
    if (!(fabs(x) < INFINITY)) return NAN;
    double turns = fmod(x, 2);   // exact
    double nearest = rint(turns * 2);
    Real r = (Real)turns - (Real)nearest / 2;
    int quadrant = ((int)nearest + quarter) & 3;
    Real value = quadrant & 1 ? cosl(pi * r) : sinl(pi * r);
    if (value == 0) return quarter ? 0 : copysign(0.0, x);
    return (double)(quadrant & 2 ? -value : value);
}
GPU_API double gpu_special_sinpi(double x) { return sine_of_pi(x, 0); }
GPU_API double gpu_special_cospi(double x) { return sine_of_pi(fabs(x), 1); }
GPU_API double gpu_special_rcbrt(double x) { return (double)(1 / cbrtl(x)); }

// Solves erfc(x) = y for 0 < y <= 1, or erf(x) = y for |y| < 1/2, with Halley's method.
static Real inverse_erf(Real y, bool complement)
{
    Real x, slope = 2 / sqrtl(pi);
    if (complement) {
        Real t = sqrtl(-2 * logl(y / 2));   // Abramowitz and Stegun 26.2.23
        x = (t - (2.515517L + t * (0.802853L + t * 0.010328L)) /
                     (1 + t * (1.432788L + t * (0.189269L + t * 0.001308L)))) / sqrtl(2);
    } else x = y / slope;
    for (int turn = 0; turn < 6; ++turn) {
        Real error = complement ? y - erfcl(x) : erfl(x) - y;
        Real step = error / (slope * expl(-x * x));
        x -= step / (1 + x * step);
    }
    return x;
}
static Real erfc_inverse(Real y)   // 0 < y < 2
{
    if (y > 0.5L && y < 1.5L) return -inverse_erf(y - 1, false);   // exact: y has 53 digits
    return y < 1 ? inverse_erf(y, true) : -inverse_erf(2 - y, true);
}
GPU_API double gpu_special_erfcinv(double y)
{
    if (!(y > 0 && y < 2)) return y == 0 ? INFINITY : y == 2 ? -INFINITY : NAN;
    return y == 1 ? 0.0 : (double)erfc_inverse(y);
}
GPU_API double gpu_special_erfinv(double y)
{
    if (!(fabs(y) < 1)) return fabs(y) == 1 ? copysign(INFINITY, y) : NAN;
    if (fabs(y) < 0x1p-60) return (double)(y * sqrtl(pi) / 2);   // also zero, with its sign
    if (fabs(y) < 0.5) return (double)inverse_erf(y, false);
    return copysign((double)inverse_erf(1 - fabs(y), true), y);
}
GPU_API double gpu_special_normcdfinv(double p)
{
    if (!(p > 0 && p < 1)) return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
    return p == 0.5 ? 0.0 : (double)(-sqrtl(2) * erfc_inverse(2 * (Real)p));
}
GPU_API double gpu_special_normcdf(double x) { return (double)(erfcl(-x / sqrtl(2)) / 2); }

// exp(x x) erfc(x).
GPU_API double gpu_special_erfcx(double x)
{
    if (x < 20) return (double)(expl((Real)x * x) * erfcl(x));
    Real term = 1, sum = 1, square = 2 * (Real)x * x;
    for (int k = 1; k < 30; ++k) sum += term *= -(2 * k - 1) / square;
    return (double)(sum / (x * sqrtl(pi)));
}

// The modified Bessel functions of order 0 and 1.
static double bessel_i(int order, double x)
{
    Real a = fabsl(x), term, sum;
    if (!(a < 800)) return x != x ? x : order && x < 0 ? -INFINITY : INFINITY;
    if (a < 40) {   // the power series, whose terms have one sign
        sum = term = order ? a / 2 : 1;
        for (int k = 1; term > sum * 0x1p-70L; ++k) sum += term *= a * a / 4 / k / (k + order);
    } else {        // the asymptotic series
        sum = term = 1;
        for (int k = 1; k < 40; ++k)
            sum += term *= ((2 * k - 1) * (2 * k - 1) - 4 * order) / (8 * a * k);
        sum *= expl(a) / sqrtl(2 * pi * a);
    }
    return (double)(order && x < 0 ? -sum : sum);
}
GPU_API double gpu_special_cyl_bessel_i0(double x) { return bessel_i(0, x); }
GPU_API double gpu_special_cyl_bessel_i1(double x) { return bessel_i(1, x); }
