// Launches of kernels.
#include "call.h"
#include "devices.h"
#include "memory.h"
#include "modules.h"
#include "streams.h"

#include <climits>
#include <cstdio>

namespace {

bool fits(const unsigned *sizes, unsigned x, unsigned y, unsigned z)
{
    const unsigned most[] = {x, y, z};
    for (int i = 0; i < 3; ++i)
        if (!sizes[i] || sizes[i] > most[i]) return false;
    return true;
}

bool is_valid(const CUfunc_st &function, const KernelArguments &arguments)
{
    const unsigned *block = arguments.block;
    return fits(arguments.grid, INT_MAX, 65535, 65535) && fits(block, 1024, 1024, 64)
           && block[0] * block[1] * block[2] <= (unsigned)function.kernel.max_threads
           && function.kernel.static_shared <= max_shared_bytes
           && arguments.shared <= (unsigned)function.max_dynamic_shared;
}

struct Pointee {   // the memory that an argument of a launch points into
    unsigned parameter;
    uint64_t block;   // 0: none
};

std::vector<Pointee> find_pointees(const EmulatedKernel &kernel, const KernelArguments &arguments)
{
    std::vector<Pointee> found;
    for (unsigned parameter : arguments.pointers) {
        const char *pointer = arguments.pointer(kernel, parameter);
        const Block *block = find_block(pointer);
        // An empty array has no address, or that of the end of another one.
        if (block) found.push_back({parameter, block->number});
        else if (pointer && !find_block(pointer - 1)) found.push_back({parameter, 0});
    }
    return found;
}

// Checks what the emulator cannot: memory that CUDA did not allocate, that was freed since, or that
// another device owns.
cudaError_t check_pointees(const EmulatedKernel &kernel, const KernelArguments &arguments,
                           const std::vector<Pointee> &pointees, int device)
{
    const char *name = kernel.name.c_str();
    for (const Pointee &pointee : pointees) {
        const Block *block = find_block(arguments.pointer(kernel, pointee.parameter));
        if (!pointee.block) {
            fprintf(stderr, "stand-in: kernel %s received a pointer to memory that CUDA did not"
                            " allocate\n", name);
            return cudaErrorIllegalAddress;
        }
        if (!block || block->number != pointee.block)
            return report_freed(("kernel " + kernel.name).c_str());
        if (block->device != on_host && !has_access(device, block->device)) {
            fprintf(stderr, "stand-in: kernel %s on device %d uses memory of device %d without"
                            " peer access\n", name, device, block->device);
            return cudaErrorIllegalAddress;
        }
    }
    return cudaSuccess;
}

cudaError_t launch(const CUfunc_st &function, KernelArguments arguments, Stream &stream)
{
    if (stream.queue->device != function.device) return cudaErrorInvalidResourceHandle;
    if (!is_valid(function, arguments)) return cudaErrorInvalidValue;
    EmulatedKernel kernel = function.kernel;
    int device = function.device;
    auto pointees = find_pointees(kernel, arguments);
    auto run = [=] {
        cudaError_t error = check_pointees(kernel, arguments, pointees, device);
        return error ? error : run_kernel(kernel, arguments);
    };
    return enqueue(stream, {"kernel", run});
}

}   // namespace

CUresult cuLaunchKernel(CUfunction handle, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                        CUstream on, void **parameters, void **extra)
{
    return driver_call(__func__, CONTEXT, [&] {
        CUfunc_st *function = find_function(handle);
        Stream *stream = find_stream(on);
        if (!function || !stream) return cudaErrorInvalidResourceHandle;
        if (extra) return cudaErrorNotSupported;
        KernelArguments arguments = pack_arguments(function->kernel, parameters);
        const unsigned sizes[] = {grid_x, grid_y, grid_z, block_x, block_y, block_z};
        std::copy(sizes, sizes + 3, arguments.grid);
        std::copy(sizes + 3, sizes + 6, arguments.block);
        arguments.shared = shared;
        return launch(*function, std::move(arguments), *stream);
    });
}
