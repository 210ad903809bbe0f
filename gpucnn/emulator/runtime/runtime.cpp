// The runtime as one translation unit: it compiles in a second or two, and the checks of an access
// are inlined into the functions that the compiler calls.
#include "runtime.h"

__thread uint3 threadIdx, blockIdx;
uint3 blockDim, gridDim;

#include "shortage.cpp"

#include "memory.cpp"

#include "subnormals.cpp"

#include "rounding.cpp"

#include "special.cpp"

#include "faults.cpp"

#include "ordering.cpp"

#include "races.cpp"

#include "fibers.cpp"

#include "profile.cpp"

#include "waiting.cpp"

#include "interrupts.cpp"

#include "output.cpp"

#include "block.cpp"

#include "spinning.cpp"

#include "global.cpp"

#include "local.cpp"

#include "access.cpp"

#include "launch.cpp"
