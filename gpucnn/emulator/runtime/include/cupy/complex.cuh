// CuPy's header: complex<float> and complex<double>, with the functions of C++'s <complex>.
#pragma once
#include <complex>

namespace thrust {
using std::abs;
using std::arg;
using std::complex;
using std::conj;
using std::exp;
using std::log;
using std::norm;
using std::polar;
using std::pow;
using std::sqrt;
}   // namespace thrust
using thrust::arg;
using thrust::complex;
using thrust::conj;
using thrust::exp;
using thrust::log;
using thrust::norm;
using thrust::polar;
using thrust::pow;
using thrust::sqrt;
