// Names and texts of errors, and the last error of each host thread.
#include "errors.h"

#include "call.h"

#include <cstring>

namespace {

struct Row {
    int number;
    const char *runtime_name, *driver_name, *text;
};

constexpr int same(int runtime, int driver) { return runtime == driver ? runtime : throw runtime; }

#define BOTH(runtime, driver, text) {same(runtime, driver), #runtime, #driver, text}
#define RUNTIME(name, text) {name, #name, nullptr, text}

constexpr Row rows[] = {
    BOTH(cudaSuccess, CUDA_SUCCESS, "no error"),
    BOTH(cudaErrorInvalidValue, CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    BOTH(cudaErrorMemoryAllocation, CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    BOTH(cudaErrorInitializationError, CUDA_ERROR_NOT_INITIALIZED, "initialization failed"),
    RUNTIME(cudaErrorInvalidMemcpyDirection, "invalid direction of a copy"),
    RUNTIME(cudaErrorInsufficientDriver, "the driver is older than the runtime requires"),
    BOTH(cudaErrorNoDevice, CUDA_ERROR_NO_DEVICE, "no CUDA device was found"),
    BOTH(cudaErrorInvalidDevice, CUDA_ERROR_INVALID_DEVICE, "no device has this number"),
    BOTH(cudaErrorInvalidKernelImage, CUDA_ERROR_INVALID_IMAGE, "invalid kernel image"),
    BOTH(cudaErrorDeviceUninitialized, CUDA_ERROR_INVALID_CONTEXT, "invalid context"),
    BOTH(cudaErrorPeerAccessUnsupported, CUDA_ERROR_PEER_ACCESS_UNSUPPORTED,
         "peer access between these devices is not supported"),
    BOTH(cudaErrorInvalidResourceHandle, CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    BOTH(cudaErrorIllegalState, CUDA_ERROR_ILLEGAL_STATE, "not allowed in the present state"),
    BOTH(cudaErrorSymbolNotFound, CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    BOTH(cudaErrorNotReady, CUDA_ERROR_NOT_READY, "work has not completed"),
    BOTH(cudaErrorIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS, "illegal memory access in a kernel"),
    BOTH(cudaErrorLaunchOutOfResources, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
         "the launch needs more resources than the device has"),
    BOTH(cudaErrorPeerAccessAlreadyEnabled, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED,
         "peer access is enabled already"),
    BOTH(cudaErrorPeerAccessNotEnabled, CUDA_ERROR_PEER_ACCESS_NOT_ENABLED,
         "peer access is not enabled"),
    BOTH(cudaErrorAssert, CUDA_ERROR_ASSERT, "an assertion of a kernel failed"),
    BOTH(cudaErrorHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR, "stack error in a kernel"),
    BOTH(cudaErrorIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION, "illegal instruction"),
    BOTH(cudaErrorMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned memory access"),
    BOTH(cudaErrorInvalidAddressSpace, CUDA_ERROR_INVALID_ADDRESS_SPACE, "invalid address space"),
    BOTH(cudaErrorInvalidPc, CUDA_ERROR_INVALID_PC, "invalid program counter"),
    BOTH(cudaErrorLaunchFailure, CUDA_ERROR_LAUNCH_FAILED, "a kernel failed"),
    BOTH(cudaErrorNotPermitted, CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    BOTH(cudaErrorNotSupported, CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    BOTH(cudaErrorStreamCaptureUnsupported, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
         "not allowed while a stream captures"),
    BOTH(cudaErrorStreamCaptureInvalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
         "an earlier error invalidated the capture"),
    BOTH(cudaErrorStreamCaptureMerge, CUDA_ERROR_STREAM_CAPTURE_MERGE,
         "this would merge two captures"),
    BOTH(cudaErrorStreamCaptureUnmatched, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
         "the capture did not begin in this stream"),
    BOTH(cudaErrorStreamCaptureUnjoined, CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
         "a forked stream was not joined before the end of the capture"),
    BOTH(cudaErrorStreamCaptureIsolation, CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
         "captured work would depend on work that is not captured"),
    BOTH(cudaErrorStreamCaptureImplicit, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
         "the legacy stream would depend on a blocking stream that captures"),
    BOTH(cudaErrorCapturedEvent, CUDA_ERROR_CAPTURED_EVENT,
         "not allowed for an event that was recorded in a capture"),
    BOTH(cudaErrorStreamCaptureWrongThread, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
         "another thread began the capture"),
    BOTH(cudaErrorUnknown, CUDA_ERROR_UNKNOWN, "unknown error"),
};

const Row *find(int number)
{
    for (const Row &row : rows)
        if (row.number == number) return &row;
    return nullptr;
}

thread_local cudaError_t last_error = cudaSuccess;

}   // namespace

bool is_sticky(cudaError_t error)
{
    switch (error) {
    case cudaErrorIllegalAddress: case cudaErrorAssert: case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction: case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace: case cudaErrorInvalidPc: case cudaErrorLaunchFailure:
        return true;
    default:
        return false;
    }
}

void keep_last_error(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
}

cudaError_t cudaGetLastError()
{
    trace_call("cudaGetLastError");
    cudaError_t error = cudaPeekAtLastError();
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError()
{
    cudaError_t sticky = fault();
    return sticky ? sticky : last_error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    const Row *row = find(error);
    return row ? row->runtime_name : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    const Row *row = find(error);
    return row ? row->text : "unrecognized error code";
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    const Row *row = find(error);
    *name = row ? row->driver_name : nullptr;
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    const Row *row = find(error);
    *text = row && row->driver_name ? row->text : nullptr;
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
