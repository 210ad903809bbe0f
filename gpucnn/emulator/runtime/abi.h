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
// A field of a struct that is a parameter or the pointee of one. Its kind is that of a parameter, or
// '?' for a field that is not accessible.
struct GpuField {
    char kind;
    uint32_t offset, size, count;   // bytes; count: of elements, after each other
};

struct GpuParameter {
    char kind, pointee;            // pointee: the kind of the type that a pointer points to
    uint8_t read_only;             // a pointer to const
    uint32_t size, pointee_size;   // bytes
    uint32_t offset;               // of the argument in the packed arguments, in bytes
    const GpuField *fields;        // of the struct; the last has the size 0; null: not known
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
enum GpuWarpOperation { GPU_SYNC, GPU_SHUFFLE, GPU_BALLOT, GPU_TOGETHER };

// What a lane passes to GPU_TOGETHER, at the beginning of a structure: when all lanes of the mask
// have arrived, one of them calls `run` for all. `all` has 32 entries, null for the other lanes.
struct GpuTogether {
    void (*run)(GpuTogether *const *all, unsigned lanes);
};

enum GpuSpace { GPU_GENERIC, GPU_GLOBAL, GPU_SHARED, GPU_LOCAL, GPU_CONSTANT_SPACE };
enum GpuArithmetic {
    GPU_ADD, GPU_SUBTRACT, GPU_MULTIPLY, GPU_DIVIDE, GPU_FMA, GPU_SQUARE_ROOT, GPU_RECIPROCAL_ROOT,
};
// Bits of the processor's register MXCSR.
static const int GPU_NEAREST = 0, GPU_DOWN = 0x2000, GPU_UP = 0x4000, GPU_TO_ZERO = 0x6000;

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
unsigned gpu_converged_lanes(const char *file, int line);
void gpu_yield();
int gpu_space(const void *address);   // enum GpuSpace
void gpu_fence(int of_device);
void gpu_check_atomic(void *address, size_t size, int compares, void *caller);   // check mode only
void gpu_begin_local(void *guard, void *address, size_t size, const char *name);   // and these
void gpu_end_local(void *guard);
float gpu_atomic_sum(const void *address, float old, float value);
float gpu_round_float(int operation, int mode, int flushes, float a, float b, float c);
double gpu_round_double(int operation, int mode, int flushes, double a, double b, double c);
float gpu_narrow(int mode, int flushes, double x);
[[noreturn]] void gpu_stop(const char *what, const char *file, int line);
}
#pragma GCC visibility pop
