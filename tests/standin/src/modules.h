// Modules and the kernels in them.
#pragma once
#include "emulator.h"

struct CUfunc_st {
    EmulatedKernel kernel;
    int device;
    int max_dynamic_shared;   // bytes
};

CUfunc_st *find_function(CUfunction handle);   // null: there is no such function
