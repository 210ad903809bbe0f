// Lets g++ compile CUDA C: included before the kernels' text (g++ -include), which stays as it is.
//
// The system's headers come first: some of CUDA's words below would break them.
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
