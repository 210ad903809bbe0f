// The rules of captures. An error that invalidates a capture makes cudaStreamEndCapture fail.
#include "captures.h"

#include "call.h"
#include "graphs.h"

#include <algorithm>

// Those that have not ended
static auto &captures = make_state<std::vector<std::shared_ptr<Capture>>>();

cudaError_t invalidate(Capture &capture, cudaError_t error)
{
    capture.invalid = true;
    return error;
}

cudaError_t invalidate_captures_of(int device, cudaError_t error)
{
    cudaError_t found = cudaSuccess;
    for (auto &capture : captures)
        for (const Stream *stream : capture->streams)
            if (stream->queue->device == device) found = invalidate(*capture, error);
    return found;
}

cudaError_t potentially_unsafe()
{
    cudaError_t error = cudaSuccess;
    for (auto &capture : captures) {
        bool own = capture->thread == std::this_thread::get_id();
        if (capture->mode == cudaStreamCaptureModeGlobal
            || (own && capture->mode == cudaStreamCaptureModeThreadLocal))
            error = invalidate(*capture, cudaErrorStreamCaptureUnsupported);
    }
    return error;
}

static bool holds_legacy(const Capture &capture, int device)
{
    auto holds = [=](const Stream *stream) {
        return stream->queue->blocking && stream->queue->device == device;
    };
    return std::any_of(capture.streams.begin(), capture.streams.end(), holds);
}

cudaError_t use_legacy(int device)
{
    cudaError_t error = cudaSuccess;
    for (auto &capture : captures)
        if (holds_legacy(*capture, device))
            error = invalidate(*capture, cudaErrorStreamCaptureImplicit);
    return error;
}

cudaError_t capture_work(Stream &stream, Work work)
{
    Capture &capture = *stream.capture;
    if (capture.invalid) return cudaErrorStreamCaptureInvalidated;
    std::vector<size_t> after = stream.tail;
    for (size_t node = capture.nodes.size(); work.line && node--;)
        if (capture.nodes[node].work.line == work.line) {
            after.push_back(node);
            break;
        }
    capture.nodes.push_back({std::move(work), std::move(after)});
    stream.tail = {capture.nodes.size() - 1};
    return cudaSuccess;
}

cudaError_t join_capture(Stream &stream, const std::shared_ptr<Capture> &capture,
                         const std::vector<size_t> &tail)
{
    if (capture->ended)
        return stream.capture ? invalidate(*stream.capture, cudaErrorInvalidValue)
                              : cudaErrorInvalidValue;
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    if (is_legacy(stream)) return invalidate(*capture, cudaErrorStreamCaptureImplicit);
    if (stream.capture && stream.capture != capture) {
        invalidate(*stream.capture, cudaErrorStreamCaptureMerge);
        return invalidate(*capture, cudaErrorStreamCaptureMerge);
    }
    if (!stream.capture) {
        stream.capture = capture;
        capture->streams.push_back(&stream);
        stream.tail = tail;
        return cudaSuccess;
    }
    for (size_t node : tail)
        if (std::find(stream.tail.begin(), stream.tail.end(), node) == stream.tail.end())
            stream.tail.push_back(node);
    return cudaSuccess;
}

static void end(Capture &capture)
{
    for (Stream *stream : capture.streams) {
        stream->capture = nullptr;
        stream->tail.clear();
    }
    capture.ended = true;
    auto is_it = [&](const std::shared_ptr<Capture> &other) { return other.get() == &capture; };
    captures.erase(std::remove_if(captures.begin(), captures.end(), is_it), captures.end());
}

void leave_capture(Stream &stream)
{
    auto capture = stream.capture;
    capture->invalid = true;
    if (&stream == capture->origin) return end(*capture);
    auto &members = capture->streams;
    members.erase(std::find(members.begin(), members.end(), &stream));
}

// Whether the end of the origin depends on every node.
static bool is_joined(const Capture &capture)
{
    std::vector<bool> reached(capture.nodes.size(), false);
    for (size_t node : capture.origin->tail) reached[node] = true;
    for (size_t node = reached.size(); node--;)
        if (reached[node])
            for (size_t before : capture.nodes[node].after) reached[before] = true;
    return std::find(reached.begin(), reached.end(), false) == reached.end();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        if (mode < cudaStreamCaptureModeGlobal || mode > cudaStreamCaptureModeRelaxed)
            return cudaErrorInvalidValue;
        if (is_legacy(*stream)) return cudaErrorStreamCaptureUnsupported;
        if (stream->capture) return cudaErrorIllegalState;
        Capture begun = {stream, mode, std::this_thread::get_id(), false, false, {}, {stream}};
        stream->capture = std::make_shared<Capture>(begun);
        stream->tail.clear();
        captures.push_back(stream->capture);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph)
{
    return runtime_call(__func__, CONTEXT, [&] {
        if (!graph) return cudaErrorInvalidValue;
        *graph = nullptr;
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        auto capture = stream->capture;
        if (!capture) return cudaErrorIllegalState;
        if (stream != capture->origin)
            return invalidate(*capture, cudaErrorStreamCaptureUnmatched);
        if (capture->mode != cudaStreamCaptureModeRelaxed
            && capture->thread != std::this_thread::get_id()) {
            end(*capture);   // no document says so; CUDA 13.0 does it on an H200
            return cudaErrorStreamCaptureWrongThread;
        }
        bool joined = is_joined(*capture);
        end(*capture);
        if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
        if (!joined) return cudaErrorStreamCaptureUnjoined;
        *graph = make_graph(std::move(capture->nodes));
        return cudaSuccess;
    });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        if (is_legacy(*stream))
            for (auto &capture : captures)   // which this call does not invalidate
                if (holds_legacy(*capture, stream->queue->device))
                    return cudaErrorStreamCaptureImplicit;
        *status = !stream->capture          ? cudaStreamCaptureStatusNone
                  : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                             : cudaStreamCaptureStatusActive;
        return cudaSuccess;
    });
}
