// The beginning and the end of every call.
#include "call.h"

#include "emulator.h"
#include "knobs.h"

#include <atomic>
#include <cstdio>
#include <map>
#include <string>
#include <unistd.h>

std::mutex state;

static std::atomic<cudaError_t> current_fault{cudaSuccess};

cudaError_t fault() { return current_fault; }

void set_fault(cudaError_t error)
{
    cudaError_t none = cudaSuccess;
    current_fault.compare_exchange_strong(none, error);   // the first one stays
}

void trace_call(const char *name)
{
    if (knobs().trace) fprintf(stderr, "stand-in: %s\n", name);
}

// The error that STANDIN_FAIL gives to this call of a function, or cudaSuccess.
static cudaError_t planned_failure(const char *name)
{
    if (knobs().failures.empty()) return cudaSuccess;
    static std::mutex counting;
    static auto &calls = make_state<std::map<std::string, unsigned long>>();
    std::lock_guard<std::mutex> guard(counting);
    auto [first, last] = knobs().failures.equal_range(name);
    if (first == last) return cudaSuccess;
    unsigned long call = ++calls[name];
    for (; first != last; ++first) {
        const Failure &failure = first->second;
        if (call == failure.call || (failure.later && call > failure.call))
            return (cudaError_t)failure.error;
    }
    return cudaSuccess;
}

static cudaError_t check(Needs needs, bool of_runtime)
{
    // A runtime of CUDA 12 works with a driver of any CUDA 12, but with no older one.
    if (of_runtime && knobs().driver_version / 1000 < CUDA_VERSION / 1000)
        return cudaErrorInsufficientDriver;
    if (!knobs().devices) return cudaErrorNoDevice;
    // A process that was forked from one that uses CUDA cannot use it.
    static std::atomic<pid_t> process{0};
    if (process && process != getpid()) return cudaErrorInitializationError;
    if (needs == A_DEVICE) return cudaSuccess;
    process = getpid();
    if (fault()) return fault();
    return load_emulator() ? cudaSuccess : cudaErrorInitializationError;
}

cudaError_t begin_call(const char *name, Needs needs, bool of_runtime)
{
    trace_call(name);
    if (cudaError_t error = planned_failure(name)) {
        if (is_sticky(error)) set_fault(error);
        return error;
    }
    return needs == NOTHING ? cudaSuccess : check(needs, of_runtime);
}

cudaError_t check_context(bool of_runtime) { return check(CONTEXT, of_runtime); }

cudaError_t end_call(const char *name, cudaError_t error, bool of_runtime)
{
    report_faults();
    if (of_runtime) keep_last_error(error);
    if (error && knobs().trace)
        fprintf(stderr, "stand-in: %s: %s\n", name, cudaGetErrorName(error));
    return error;
}
