// The functions of the C library, as lists for macros, that kernels call by way of the runtime
// (subnormals.cpp). gpucnn/emulator/subnormals.py reads the lists as well. `exp` stands for exp and
// expf. Not in the lists are functions of bits, such as copysign.
#pragma once

#define GPU_UNARY_FUNCTIONS(F)                                                               \
    F(acos) F(acosh) F(asin) F(asinh) F(atan) F(atanh) F(cbrt) F(ceil) F(cos) F(cosh) F(erf) \
    F(erfc) F(exp) F(exp10) F(exp2) F(expm1) F(floor) F(j0) F(j1) F(lgamma) F(log) F(log10)  \
    F(log1p) F(log2) F(nearbyint) F(rint) F(round) F(sin) F(sinh) F(sqrt) F(tan) F(tanh)     \
    F(tgamma) F(trunc) F(y0) F(y1)
#define GPU_BINARY_FUNCTIONS(F) \
    F(atan2) F(fdim) F(fmax) F(fmin) F(fmod) F(hypot) F(pow) F(remainder)
#define GPU_TERNARY_FUNCTIONS(F) F(fma)
#define GPU_SCALING_FUNCTIONS(F) F(ldexp) F(scalbn)
#define GPU_PAIR_FUNCTIONS(F) F(sincos)
