// What compiled kernels, the runtime and Python say to each other: plain C data and functions.
//
// Python mirrors these structures in gpucnn/emulator/arguments.py; change them together.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct uint3 {
    unsigned x, y, z;
};

// One parameter of a kernel. Kinds: 'p' pointer, 'f' floating point, 'i' and 'u' signed and
// unsigned integer, 'b' bool, 'v' void (only what a pointer points to), 's' anything else.
struct GpuParameter {
    char kind, pointee;            // pointee: the kind of what a pointer points to
    uint8_t read_only;             // a pointer to const
    uint32_t size, pointee_size;   // bytes
    uint32_t offset;               // where the argument lies in the packed arguments, bytes
};

struct GpuKernel {
    const char *name;
    void (*run)(const char *arguments);   // one thread of the kernel
    const GpuParameter *parameters;
    const char *const *parameter_names;
    int parameter_count;
    int max_threads;                      // of __launch_bounds__, or 0
};

enum GpuVote { GPU_PLAIN, GPU_COUNT, GPU_AND, GPU_OR };
enum GpuWarpOperation { GPU_SYNC, GPU_SHUFFLE, GPU_BALLOT };

#pragma GCC visibility push(default)
extern "C" {
// Where the running thread stands. The scheduler sets them before it resumes a thread; to kernels,
// as on a GPU, they are constants, which also spares them the checks of other variables.
#ifdef GPU_RUNTIME
#define GPU_CONSTANT
#else
#define GPU_CONSTANT const
#endif
#define GPU_FIXED_TLS __attribute__((tls_model("initial-exec")))
extern GPU_CONSTANT __thread uint3 threadIdx GPU_FIXED_TLS;
extern GPU_CONSTANT __thread uint3 blockIdx GPU_FIXED_TLS;
extern GPU_CONSTANT uint3 blockDim, gridDim;

// Called by kernels. `file` and `line` say where: barriers are told apart by their line, since
// the compiler may copy one call to several places.
int gpu_barrier(int vote, int predicate, const char *file, int line);
uint64_t gpu_warp(int operation, unsigned mask, uint64_t value, int source, const char *file,
                  int line);
unsigned gpu_lane();
unsigned gpu_active_lanes();
void gpu_fence();
void gpu_check_atomic(void *address, size_t size, void *caller);   // check mode only
[[noreturn]] void gpu_stop(const char *what, const char *file, int line);
}
#pragma GCC visibility pop
