// What NCCL's functions share.
#pragma once
#include "call.h"
#include "knobs.h"
#include "nccl_work.h"

#include <cstdio>

struct ncclComm {
    std::shared_ptr<Communicator> it;
};

std::shared_ptr<Communicator> find(ncclComm_t handle);   // null: there is none. With the lock
// Enqueues a call, at once or at the end of the group of this thread.
ncclResult_t add_call(const char *name, ncclComm_t comm, Call call, cudaStream_t stream);

// The body runs without the lock.
template <class Body> ncclResult_t nccl_call(const char *name, bool needs_device, Body body)
{
    auto result = (ncclResult_t)standin_begin(name);
    if (!result && needs_device && check_context(false)) result = ncclUnhandledCudaError;
    if (!result) result = body();
    if (result && knobs().trace)
        fprintf(stderr, "stand-in: %s: %s\n", name, ncclGetErrorString(result));
    return result;
}
