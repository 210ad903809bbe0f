// NCCL's collective calls, sends and receives, and its questions about communicators.
#include "nccl_calls.h"

const char *ncclGetErrorString(ncclResult_t result)
{
    switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "a call of CUDA failed";
    case ncclSystemError: return "a call of the system failed";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "another rank failed or has ended";
    case ncclInProgress: return "in progress";
    }
    return "no result of NCCL";
}

ncclResult_t ncclGetVersion(int *version)
{
    return nccl_call(__func__, false, [&] {
        if (!version) return ncclInvalidArgument;
        *version = 22501;   // 2.25.1, with which the wheel of CuPy was built
        return ncclSuccess;
    });
}

template <class Value, class Get>
static ncclResult_t ask(const char *name, ncclComm_t handle, Value *answer, Get get)
{
    return nccl_call(name, false, [&] {
        Hold hold(state);
        auto comm = find(handle);
        if (!comm || !answer) return ncclInvalidArgument;
        *answer = get(*comm);
        return ncclSuccess;
    });
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    return ask(__func__, comm, error, [](auto &it) { return (ncclResult_t)it.error.load(); });
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    return ask(__func__, comm, count, [](auto &it) { return it.ranks; });
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
    return ask(__func__, comm, device, [](auto &it) { return it.device; });
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    return ask(__func__, comm, rank, [](auto &it) { return it.rank; });
}

ncclResult_t ncclCommSplit(ncclComm_t, int, int, ncclComm_t *, ncclConfig_t *)
{
    return nccl_call(__func__, false, [] {
        fprintf(stderr, "stand-in: ncclCommSplit is not written\n");
        return ncclInternalError;
    });
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return add_call(__func__, comm, {ALL_REDUCE, from, to, count, type, op, 0}, stream);
}

ncclResult_t ncclReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                        ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream)
{
    return add_call(__func__, comm, {REDUCE, from, to, count, type, op, root}, stream);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    return add_call(__func__, comm, {BROADCAST, from, to, count, type, ncclSum, root}, stream);
}

ncclResult_t ncclBcast(void *buffer, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                       cudaStream_t stream)
{
    return add_call(__func__, comm, {BROADCAST, buffer, buffer, count, type, ncclSum, root},
                    stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return add_call(__func__, comm, {ALL_GATHER, from, to, count, type, ncclSum, 0}, stream);
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return add_call(__func__, comm, {REDUCE_SCATTER, from, to, count, type, op, 0}, stream);
}

ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream)
{
    return add_call(__func__, comm, {SEND, from, nullptr, count, type, ncclSum, peer}, stream);
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return add_call(__func__, comm, {RECEIVE, nullptr, to, count, type, ncclSum, peer}, stream);
}
