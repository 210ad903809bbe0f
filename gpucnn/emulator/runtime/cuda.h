// Lets g++ compile CUDA C: included before the unchanged source of the kernels (g++ -include).
//
// The system's headers come first, since some of CUDA's macros below would break them.
#pragma once
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "abi.h"

#include "language.h"

#include "warp.h"

#include "atomic.h"

#include "arithmetic.h"

#include "export.h"
