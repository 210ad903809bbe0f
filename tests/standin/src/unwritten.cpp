// Functions that CuPy's modules refer to and the stand-in does not have. Each prints its name.
#include "call.h"

#include <cstdio>
#include <cstring>

#define VISIBLE extern "C" __attribute__((visibility("default")))

static int refuse(const char *name)
{
    bool of_runtime = !strncmp(name, "cuda", 4);
    cudaError_t error = begin_call(name, NOTHING, of_runtime);
    if (!error) {
        fprintf(stderr, "stand-in: %s is not written\n", name);
        error = cudaErrorNotSupported;
    }
    return end_call(name, error, of_runtime);
}

// The function takes no parameters here, which is why its C++ name differs from its symbol; the
// headers of CUDA must declare one of that name.
#define UNWRITTEN(name)                                                     \
    namespace declared {                                                    \
    using ::name;                                                           \
    }                                                                       \
    VISIBLE int unwritten_##name() __asm__(#name);                          \
    int unwritten_##name()                                                  \
    {                                                                       \
        return refuse(#name);                                               \
    }

// Textures, surfaces and arrays
UNWRITTEN(cudaCreateSurfaceObject)
UNWRITTEN(cudaCreateTextureObject)
UNWRITTEN(cudaDestroySurfaceObject)
UNWRITTEN(cudaDestroyTextureObject)
UNWRITTEN(cudaFreeArray)
UNWRITTEN(cudaGetChannelDesc)
UNWRITTEN(cudaGetTextureObjectResourceDesc)
UNWRITTEN(cudaGetTextureObjectTextureDesc)
UNWRITTEN(cudaMalloc3DArray)
UNWRITTEN(cudaMallocArray)
UNWRITTEN(cudaMemcpy2D)
UNWRITTEN(cudaMemcpy2DAsync)
UNWRITTEN(cudaMemcpy2DFromArray)
UNWRITTEN(cudaMemcpy2DFromArrayAsync)
UNWRITTEN(cudaMemcpy2DToArray)
UNWRITTEN(cudaMemcpy2DToArrayAsync)
UNWRITTEN(cudaMemcpy3D)
UNWRITTEN(cudaMemcpy3DAsync)

// Managed memory, memory in the order of a stream, memory of the host's own
UNWRITTEN(cudaDeviceGetDefaultMemPool)
UNWRITTEN(cudaDeviceGetMemPool)
UNWRITTEN(cudaDeviceSetMemPool)
UNWRITTEN(cudaFreeAsync)
UNWRITTEN(cudaHostRegister)
UNWRITTEN(cudaHostUnregister)
UNWRITTEN(cudaMallocAsync)
UNWRITTEN(cudaMallocFromPoolAsync)
UNWRITTEN(cudaMallocManaged)
UNWRITTEN(cudaMemAdvise)
UNWRITTEN(cudaMemPoolCreate)
UNWRITTEN(cudaMemPoolDestroy)
UNWRITTEN(cudaMemPoolGetAttribute)
UNWRITTEN(cudaMemPoolSetAttribute)
UNWRITTEN(cudaMemPoolTrimTo)
UNWRITTEN(cudaMemPrefetchAsync)

// Other processes, functions of the host in a stream, limits
UNWRITTEN(cudaDeviceGetByPCIBusId)
UNWRITTEN(cudaDeviceGetLimit)
UNWRITTEN(cudaDeviceSetLimit)
UNWRITTEN(cudaGraphDebugDotPrint)
UNWRITTEN(cudaIpcCloseMemHandle)
UNWRITTEN(cudaIpcGetEventHandle)
UNWRITTEN(cudaIpcGetMemHandle)
UNWRITTEN(cudaIpcOpenEventHandle)
UNWRITTEN(cudaIpcOpenMemHandle)
UNWRITTEN(cudaLaunchHostFunc)
UNWRITTEN(cudaStreamAddCallback)

// The driver's
UNWRITTEN(cuCtxCreate_v2)
UNWRITTEN(cuCtxDestroy_v2)
UNWRITTEN(cuDevicePrimaryCtxRelease_v2)
UNWRITTEN(cuLaunchCooperativeKernel)
UNWRITTEN(cuLinkAddData_v2)
UNWRITTEN(cuLinkAddFile_v2)
UNWRITTEN(cuLinkComplete)
UNWRITTEN(cuLinkCreate_v2)
UNWRITTEN(cuLinkDestroy)
UNWRITTEN(cuModuleGetGlobal_v2)
UNWRITTEN(cuModuleLoad)
UNWRITTEN(cuOccupancyMaxActiveBlocksPerMultiprocessor)
UNWRITTEN(cuOccupancyMaxPotentialBlockSize)
