// The emulator of gpucnn: it owns the memory of the devices, and compiles and runs the kernels.
#pragma once
#include "errors.h"

#include <map>
#include <string>
#include <vector>

struct Allocation;   // the emulator's
struct GpuKernel;
struct Module;

// Loads the emulator's library at the first call; false after a line on stderr if it cannot.
bool load_emulator();

// Memory whose bytes read as NaN and as -1; null if the emulator has no more.
Allocation *emulator_allocate(size_t bytes, char **start);
void emulator_release(Allocation *memory);
void emulator_mark_written(Allocation *memory, size_t offset, size_t bytes);   // for check mode

struct EmulatedKernel {
    std::string name, library;   // the library is a path
    const GpuKernel *kernel;
    Module *module;
    int static_shared;   // bytes
    int max_threads;     // of __launch_bounds__, or the device's limit
};

// Compiles and loads a source; an empty string if that succeeded. Asks Python.
std::string emulator_load(const std::string &source, const std::string &options,
                          std::map<std::string, EmulatedKernel> &kernels);

struct KernelArguments {
    unsigned grid[3], block[3], shared;
    std::vector<char> packed;          // as the emulator takes them
    std::vector<unsigned> pointers;    // the numbers of the parameters that are pointers
    const char *pointer(const EmulatedKernel &kernel, unsigned number) const;
};

KernelArguments pack_arguments(const EmulatedKernel &kernel, void *const *parameters);
cudaError_t run_kernel(const EmulatedKernel &kernel, const KernelArguments &arguments);

// Prints the faults of kernels since the last call, with file and line. Asks Python.
void report_faults();
