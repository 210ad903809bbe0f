// Half precision: __half, half, __half2 and half2 with their functions.
#pragma once
#include "gpu_numbers.h"

typedef gpu_number<5, 10> __half;
typedef __half half, __nv_half;
typedef __half::raw __half_raw;
typedef gpu_pair<__half> __half2;
typedef __half2 half2, __nv_half2;
template <> struct gpu_kind<__half> { static constexpr char value = 'f'; };   // NumPy's float16
GPU_NUMBER_CONVERSIONS(half, __half, __half2, half2)

#define CUDART_INF_FP16 __half::from_code(0x7c00)
#define CUDART_NAN_FP16 __half::from_code(0x7fff)
#define CUDART_MIN_DENORM_FP16 __half::from_code(0x0001)
#define CUDART_MAX_NORMAL_FP16 __half::from_code(0x7bff)
#define CUDART_NEG_ZERO_FP16 __half::from_code(0x8000)
#define CUDART_ZERO_FP16 __half::from_code(0x0000)
#define CUDART_ONE_FP16 __half::from_code(0x3c00)
