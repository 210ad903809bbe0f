// The functions about devices. All devices are alike; their limits are those of the emulator.
#include "devices.h"

#include "call.h"
#include "knobs.h"
#include "memory.h"

#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

static thread_local int current = 0;
// Pairs of a device and the owner of the memory that its kernels may use
static auto &accesses = make_state<std::set<std::pair<int, int>>>();

int current_device() { return current; }

void set_current_device(int device) { current = device; }

bool has_access(int device, int owner)
{
    return device == owner || accesses.count({device, owner});
}

static bool is_device(int device) { return device >= 0 && device < knobs().devices; }

// -------------------------------------------------------------------------- numbers and versions
cudaError_t cudaDriverGetVersion(int *version)
{
    return runtime_call(__func__, NOTHING, [&] {
        *version = knobs().driver_version;
        return cudaSuccess;
    });
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    return runtime_call(__func__, NOTHING, [&] {
        *version = CUDA_VERSION;
        return cudaSuccess;
    });
}

cudaError_t cudaGetDeviceCount(int *count)
{
    return runtime_call(__func__, A_DEVICE, [&] {
        *count = knobs().devices;
        return cudaSuccess;
    });
}

cudaError_t cudaGetDevice(int *device)
{
    return runtime_call(__func__, A_DEVICE, [&] {
        *device = current;
        return cudaSuccess;
    });
}

cudaError_t cudaSetDevice(int device)
{
    return runtime_call(__func__, A_DEVICE, [&] {
        if (!is_device(device)) return cudaErrorInvalidDevice;
        current = device;
        return cudaSuccess;
    });
}

// ------------------------------------------------------------------------------------ properties
int attribute(int number)
{
    switch (number) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return knobs().major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return knobs().minor;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return max_shared_bytes;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return max_shared_bytes_opt_in;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return 100 << 10;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: return 64 << 10;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: return 65536;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return 65536;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: return 1000000;          // kHz
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return 1000000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return 256;   // bits
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return 4 << 20;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return 16;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return 2048;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH: return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: return 512;
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP: return 1;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 2;
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: return 1;
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY: return 1;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: return 1;
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED: return 1;
    default: return 0;
    }
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr number, int device)
{
    return runtime_call(__func__, A_DEVICE, [&] {
        if (!is_device(device)) return cudaErrorInvalidDevice;
        if (number < 1 || number >= cudaDevAttrMax) return cudaErrorInvalidValue;
        *value = attribute(number);
        return cudaSuccess;
    });
}

static void describe(cudaDeviceProp &p)
{
    snprintf(p.name, sizeof p.name, "stand-in");
    p.totalGlobalMem = knobs().memory_bytes;
    p.major = knobs().major;
    p.minor = knobs().minor;
    p.warpSize = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
    p.maxThreadsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    for (int i = 0; i < 3; ++i) {
        p.maxThreadsDim[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i);
        p.maxGridSize[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i);
    }
    p.multiProcessorCount = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    p.maxThreadsPerMultiProcessor = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
    p.sharedMemPerBlock = max_shared_bytes;
    p.sharedMemPerBlockOptin = max_shared_bytes_opt_in;
    p.totalConstMem = (size_t)attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY);
    p.regsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);
    p.l2CacheSize = attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
    p.clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
    p.memoryClockRate = attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
    p.memoryBusWidth = attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
    p.unifiedAddressing = p.canMapHostMemory = p.concurrentKernels = 1;
}

cudaError_t cudaGetDeviceProperties_v2(cudaDeviceProp *properties, int device)
{
    return runtime_call(__func__, A_DEVICE, [&] {
        if (!is_device(device)) return cudaErrorInvalidDevice;
        *properties = {};
        describe(*properties);
        properties->pciBusID = device;
        return cudaSuccess;
    });
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int length, int device)
{
    return runtime_call(__func__, A_DEVICE, [&] {
        if (!is_device(device)) return cudaErrorInvalidDevice;
        if (!text || length < 13) return cudaErrorInvalidValue;
        snprintf(text, (size_t)length, "0000:%02x:00.0", (unsigned)device);
        return cudaSuccess;
    });
}

// ----------------------------------------------------------------------------------------- peers
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    return runtime_call(__func__, A_DEVICE, [&] {
        if (!is_device(device) || !is_device(peer)) return cudaErrorInvalidDevice;
        *can = device != peer;
        return cudaSuccess;
    });
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags)
{
    return runtime_call(__func__, CONTEXT, [&] {
        if (!is_device(peer) || peer == current) return cudaErrorInvalidDevice;
        if (flags) return cudaErrorInvalidValue;
        bool fresh = accesses.insert({current, peer}).second;
        return fresh ? cudaSuccess : cudaErrorPeerAccessAlreadyEnabled;
    });
}

cudaError_t cudaDeviceDisablePeerAccess(int peer)
{
    return runtime_call(__func__, CONTEXT, [&] {
        if (!is_device(peer)) return cudaErrorInvalidDevice;
        return accesses.erase({current, peer}) ? cudaSuccess : cudaErrorPeerAccessNotEnabled;
    });
}

// -------------------------------------------------------------------------------------- profiler
cudaError_t cudaProfilerStart()
{
    return runtime_call(__func__, A_DEVICE, [] { return cudaSuccess; });
}

cudaError_t cudaProfilerStop()
{
    return runtime_call(__func__, A_DEVICE, [] { return cudaSuccess; });
}
