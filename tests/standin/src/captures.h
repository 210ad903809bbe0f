// Captures: streams that record their work as the nodes of a graph instead of doing it.
#pragma once
#include "streams.h"

#include <thread>

struct Node {
    Work work;
    std::vector<size_t> after;   // numbers of earlier nodes
};

struct Capture {
    Stream *origin;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool invalid = false, ended = false;
    std::vector<Node> nodes;
    std::vector<Stream *> streams;   // the origin and those that joined
};

cudaError_t capture_work(Stream &stream, Work work);
cudaError_t join_capture(Stream &stream, const std::shared_ptr<Capture> &capture,
                         const std::vector<size_t> &tail);
void leave_capture(Stream &stream);   // before a stream is destroyed

cudaError_t invalidate(Capture &capture, cudaError_t error);   // returns the error
// Of all captures with a stream of a device; returns cudaSuccess if there are none.
cudaError_t invalidate_captures_of(int device, cudaError_t error);

// Called by functions that CUDA calls potentially unsafe while a stream captures.
cudaError_t potentially_unsafe();

// Called by work in the legacy stream: a blocking stream that captures cannot wait for it.
cudaError_t use_legacy(int device);
