// The driver's functions about itself, devices and contexts. A device has one context, its primary.
#include "call.h"
#include "devices.h"
#include "knobs.h"
#include "streams.h"

struct CUctx_st {
    int device;
};

static CUcontext context_of(int device)
{
    static CUctx_st contexts[64];
    contexts[device].device = device;
    return &contexts[device];
}

CUresult cuInit(unsigned flags)
{
    return driver_call(__func__, A_DEVICE, [&] {
        return flags ? cudaErrorInvalidValue : cudaSuccess;
    });
}

CUresult cuDriverGetVersion(int *version)
{
    return driver_call(__func__, NOTHING, [&] {
        *version = knobs().driver_version;
        return cudaSuccess;
    });
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    return driver_call(__func__, A_DEVICE, [&] {
        *context = context_of(current_device());
        return cudaSuccess;
    });
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    return driver_call(__func__, A_DEVICE, [&] {
        if (!context) return cudaErrorNotSupported;
        set_current_device(context->device);
        return cudaSuccess;
    });
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    return driver_call(__func__, A_DEVICE, [&] {
        *device = current_device();
        return cudaSuccess;
    });
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    return driver_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        *context = context_of(stream->queue->device);
        return cudaSuccess;
    });
}
