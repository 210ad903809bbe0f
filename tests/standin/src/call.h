// What every function of the runtime and of the driver does first and last: the trace, failures
// of STANDIN_FAIL, a missing device, an old driver, an earlier fault, the last error.
#pragma once
#include "errors.h"
#include "exports.h"

#include <mutex>

// Held by everything that uses the state of devices, streams, events, graphs and memory. A thread
// that holds it must never wait for Python's global lock, since the owner of that may wait for it.
EXPORTED extern std::mutex state;
typedef std::lock_guard<std::mutex> Hold;

// State is never destroyed: threads may use it until the process has ended.
template <class T> T &make_state() { return *new T; }

// The fault that every later call returns, such as an illegal address, or cudaSuccess.
cudaError_t fault();
void set_fault(cudaError_t error);

enum Needs {
    NOTHING,   // works without a device and after a fault
    A_DEVICE,  // works after a fault
    CONTEXT,   // needs the emulator and a process without fault
};

extern "C" {
void trace_call(const char *name);
// Whether a call that needs a device without fault can go on: cudaSuccess, or its error.
EXPORTED cudaError_t check_context(bool of_runtime);
// Returns the error with which the call fails before it does anything, or cudaSuccess.
cudaError_t begin_call(const char *name, Needs needs, bool of_runtime);
cudaError_t end_call(const char *name, cudaError_t error, bool of_runtime);
}

// A function of the runtime. Its body runs with the lock held.
template <class Body> cudaError_t runtime_call(const char *name, Needs needs, Body body)
{
    cudaError_t error = begin_call(name, needs, true);
    if (!error) {
        Hold hold(state);
        error = body();
    }
    return end_call(name, error, true);
}

// A function of the driver, likewise.
template <class Body> CUresult driver_call(const char *name, Needs needs, Body body)
{
    cudaError_t error = begin_call(name, needs, false);
    if (!error) {
        Hold hold(state);
        error = body();
    }
    return (CUresult)end_call(name, error, false);
}
