// Loads what nvrtc.cpp produced. Modules belong to a device.
#include "modules.h"

#include "call.h"
#include "captures.h"
#include "devices.h"
#include "images.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

struct CUmod_st {
    std::map<std::string, CUfunc_st> functions;
};

static auto &modules = make_state<std::map<CUmodule, std::unique_ptr<CUmod_st>>>();
static auto &functions = make_state<std::set<CUfunction>>();

CUfunc_st *find_function(CUfunction handle) { return functions.count(handle) ? handle : nullptr; }

static cudaError_t load(CUmodule *handle, const char *image)
{
    if (!handle || !image) return cudaErrorInvalidValue;
    {
        Hold hold(state);
        if (cudaError_t error = potentially_unsafe()) return error;
    }
    size_t start = strlen(image_start);
    if (strncmp(image, image_start, start)) return cudaErrorInvalidKernelImage;
    char *options = nullptr;
    size_t bytes = strtoul(image + start, &options, 10);
    ++options;   // after the end of the line
    std::map<std::string, EmulatedKernel> kernels;
    std::string wrong = emulator_load(options + bytes, std::string(options, bytes), kernels);
    if (!wrong.empty()) {
        fprintf(stderr, "stand-in: a module cannot be loaded: %s\n", wrong.c_str());
        return cudaErrorInvalidKernelImage;
    }
    auto module = std::make_unique<CUmod_st>();
    for (auto &[name, kernel] : kernels)
        module->functions[name] = {kernel, current_device(),
                                   max_shared_bytes - kernel.static_shared};
    Hold hold(state);
    *handle = module.get();
    modules[module.get()] = std::move(module);
    return cudaSuccess;
}

// Asks Python, and so holds the lock only in parts.
CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    cudaError_t error = begin_call(__func__, CONTEXT, false);
    if (!error) error = load(module, (const char *)image);
    return (CUresult)end_call(__func__, error, false);
}

CUresult cuModuleUnload(CUmodule handle)
{
    return driver_call(__func__, CONTEXT, [&] {
        auto found = modules.find(handle);
        if (found == modules.end()) return cudaErrorInvalidResourceHandle;
        if (cudaError_t error = potentially_unsafe()) return error;
        for (auto &[name, function] : found->second->functions) functions.erase(&function);
        modules.erase(found);
        return cudaSuccess;
    });
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule handle, const char *name)
{
    return driver_call(__func__, CONTEXT, [&] {
        auto module = modules.find(handle);
        if (module == modules.end()) return cudaErrorInvalidResourceHandle;
        auto found = module->second->functions.find(name);
        if (found == module->second->functions.end()) return cudaErrorSymbolNotFound;
        *function = &found->second;
        functions.insert(*function);
        return cudaSuccess;
    });
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute number, CUfunction handle)
{
    return driver_call(__func__, CONTEXT, [&] {
        CUfunc_st *function = find_function(handle);
        if (!function) return cudaErrorInvalidResourceHandle;
        switch (number) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
            *value = function->kernel.max_threads;
            break;
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
            *value = function->kernel.static_shared;
            break;
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
            *value = function->max_dynamic_shared;
            break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS:
            *value = 32;
            break;
        default:
            if (number < 0 || number >= CU_FUNC_ATTRIBUTE_MAX) return cudaErrorInvalidValue;
            *value = 0;
        }
        return cudaSuccess;
    });
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute number, int value)
{
    return driver_call(__func__, CONTEXT, [&] {
        CUfunc_st *function = find_function(handle);
        if (!function) return cudaErrorInvalidResourceHandle;
        if (number == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return cudaSuccess;
        if (number != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
            return cudaErrorInvalidValue;
        if (value < 0 || value + function->kernel.static_shared > max_shared_bytes_opt_in)
            return cudaErrorInvalidValue;
        function->max_dynamic_shared = value;
        return cudaSuccess;
    });
}
