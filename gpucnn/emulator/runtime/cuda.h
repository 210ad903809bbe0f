// Lets g++ compile CUDA C: included before the unchanged source of the kernels (g++ -include).
//
// The system's headers come first, since some of CUDA's macros below would break them.
#pragma once
// Without the special functions of C++17, which kernels do not have, compiling takes less time.
#include <bits/c++config.h>
#undef _GLIBCXX_USE_STD_SPEC_FUNCS

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "abi.h"

#include "language.h"

#include "vectors.h"

#include "warp.h"

#include "bits.h"

#include "integers.h"

#include "video.h"

#include "rounding.h"

#include "arithmetic.h"

#include "special.h"

#include "atomic.h"

#include "memory.h"

#include "check.h"

#include "export.h"
