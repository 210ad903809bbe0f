// Bfloat16, the upper half of a float: __nv_bfloat16 and __nv_bfloat162 with their functions.
#pragma once
#include "gpu_numbers.h"

typedef gpu_number<8, 7> __nv_bfloat16;
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat16::raw __nv_bfloat16_raw;
typedef gpu_pair<__nv_bfloat16> __nv_bfloat162;
typedef __nv_bfloat162 nv_bfloat162;
GPU_NUMBER_CONVERSIONS(bfloat16, __nv_bfloat16, __nv_bfloat162, bfloat162)

#define CUDART_INF_BF16 __nv_bfloat16::from_code(0x7f80)
#define CUDART_NAN_BF16 __nv_bfloat16::from_code(0x7fff)
#define CUDART_MIN_DENORM_BF16 __nv_bfloat16::from_code(0x0001)
#define CUDART_MAX_NORMAL_BF16 __nv_bfloat16::from_code(0x7f7f)
#define CUDART_NEG_ZERO_BF16 __nv_bfloat16::from_code(0x8000)
#define CUDART_ZERO_BF16 __nv_bfloat16::from_code(0x0000)
#define CUDART_ONE_BF16 __nv_bfloat16::from_code(0x3f80)
