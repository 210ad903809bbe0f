// The interface between compiled kernels, the runtime and Python: plain C data and functions.
//
// Python reads the structures, enumerations and constants of this file and of runtime.h from their
// text (gpucnn/emulator/abi.py), in the forms that occur here.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct uint3 {
    unsigned x, y, z;
};

// One parameter of a kernel. Kinds: 'p' pointer, 'f' floating point, 'i' signed and 'u' unsigned
// integer, 'b' bool, 'v' void (only of a pointee), 's' anything else, such as a struct.
struct GpuParameter {
    char kind, pointee;            // pointee: the kind of the type that a pointer points to
    uint8_t read_only;             // a pointer to const
    uint32_t size, pointee_size;   // bytes
    uint32_t offset;               // of the argument in the packed arguments, in bytes
};

struct GpuKernel {
    const char *name;
    void (*run)(const char *arguments);   // one thread of the kernel
    const GpuParameter *parameters;
    const char *const *parameter_names;
    int parameter_count;
    int max_threads;                      // of __launch_bounds__, or 0
    const uint32_t *mxcsr;                // the processor's register MXCSR for its code
};

enum GpuVote { GPU_PLAIN, GPU_COUNT, GPU_AND, GPU_OR };
enum GpuWarpOperation { GPU_SYNC, GPU_SHUFFLE, GPU_BALLOT };

#pragma GCC visibility push(default)
extern "C" {
// The built-in variables of the running thread. The scheduler sets them before it resumes a thread.
// For kernels they are constants, as on a GPU, so that accesses to them are not checked.
#ifdef GPU_RUNTIME
#define GPU_CONSTANT
#else
#define GPU_CONSTANT const
#endif
#define GPU_FIXED_TLS __attribute__((tls_model("initial-exec")))
extern GPU_CONSTANT __thread uint3 threadIdx GPU_FIXED_TLS;
extern GPU_CONSTANT __thread uint3 blockIdx GPU_FIXED_TLS;
extern GPU_CONSTANT uint3 blockDim, gridDim;

// Called by kernels. Barriers are identified by `file` and `line`, since the compiler may duplicate
// a call.
int gpu_barrier(int vote, int predicate, const char *file, int line);
uint64_t gpu_warp(int operation, unsigned mask, uint64_t value, int source, const char *file,
                  int line);
unsigned gpu_lane();
unsigned gpu_active_lanes();
void gpu_fence();
void gpu_check_atomic(void *address, size_t size, void *caller);   // check mode only
float gpu_atomic_sum(const void *address, float old, float value);
[[noreturn]] void gpu_stop(const char *what, const char *file, int line);
}
#pragma GCC visibility pop
