// The errors of CUDA, by NVIDIA's numbers. cudaError_t and CUresult agree on all that occur here
// but cudaErrorInsufficientDriver and cudaErrorInvalidMemcpyDirection, which only the runtime has.
#pragma once
#pragma GCC visibility push(default)   // of all functions that these headers declare
#include <cuda.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#pragma GCC visibility pop

// Whether all later calls of the process return this error, as after an illegal address.
bool is_sticky(cudaError_t error);

// Called at the end of every function of the runtime: cudaGetLastError returns what it keeps.
void keep_last_error(cudaError_t error);
