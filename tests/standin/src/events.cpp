// Events: points of a stream, or places in a capture.
#include "call.h"
#include "captures.h"
#include "devices.h"
#include "streams.h"

#include <chrono>
#include <map>

struct CUevent_st {
    int device;
    unsigned flags;
    Point point;                       // where it was recorded
    std::shared_ptr<double> seconds;   // when that was reached
    std::shared_ptr<Capture> capture;
    std::vector<size_t> tail;          // nodes of the capture that it follows
};
typedef CUevent_st Event;

static auto &events = make_state<std::map<Event *, std::unique_ptr<Event>>>();

static Event *find_event(cudaEvent_t handle)
{
    auto found = events.find(handle);
    return found == events.end() ? nullptr : found->second.get();
}

static cudaError_t create(cudaEvent_t *handle, unsigned flags)
{
    unsigned known = cudaEventBlockingSync | cudaEventDisableTiming;
    if (flags & cudaEventInterprocess) return cudaErrorNotSupported;
    if (!handle || (flags & ~known)) return cudaErrorInvalidValue;
    auto event = std::make_unique<Event>();
    event->device = current_device();
    event->flags = flags;
    *handle = event.get();
    events[event.get()] = std::move(event);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *handle)
{
    return runtime_call(__func__, CONTEXT, [&] { return create(handle, cudaEventDefault); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *handle, unsigned flags)
{
    return runtime_call(__func__, CONTEXT, [&] { return create(handle, flags); });
}

cudaError_t cudaEventDestroy(cudaEvent_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        return events.erase(handle) ? cudaSuccess : cudaErrorInvalidResourceHandle;
    });
}

static double now()
{
    auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(time).count();
}

static cudaError_t record(Event &event, Stream &stream)
{
    if (stream.capture) {   // a place in the graph, where nothing is done
        if (stream.capture->invalid) return cudaErrorStreamCaptureInvalidated;
        event.tail = stream.tail;
        event.seconds = nullptr;
        event.point = {};
    } else {
        auto seconds = std::make_shared<double>(0);
        auto reach = [seconds] { return *seconds = now(), cudaSuccess; };
        if (cudaError_t error = enqueue(stream, {"event", reach})) return error;
        event.seconds = seconds;
        event.point = {stream.queue, stream.queue->enqueued};
    }
    event.capture = stream.capture;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t on)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Event *event = find_event(handle);
        Stream *stream = find_stream(on);
        if (!event || !stream || event->device != stream->queue->device)
            return cudaErrorInvalidResourceHandle;
        return record(*event, *stream);
    });
}

// The error for an event that was recorded in a capture: it is not a point of time. No document
// names the one for captures that have ended or failed; this is what CUDA 13.0 returns on an H200.
static cudaError_t captured_error(const Event &event)
{
    if (!event.capture) return cudaSuccess;
    bool is_over = event.capture->ended || event.capture->invalid;
    return is_over ? cudaErrorInvalidValue : cudaErrorCapturedEvent;
}

static cudaError_t refuse_captured(Event &event)
{
    cudaError_t error = captured_error(event);
    if (error) invalidate(*event.capture, error);
    return error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Event *event = find_event(handle);
        if (!event) return cudaErrorInvalidResourceHandle;
        if (cudaError_t error = refuse_captured(*event)) return error;
        if (cudaError_t error = potentially_unsafe()) return error;
        finish(event->point);
        return fault();
    });
}

cudaError_t cudaEventQuery(cudaEvent_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Event *event = find_event(handle);
        if (!event) return cudaErrorInvalidResourceHandle;
        if (cudaError_t error = refuse_captured(*event)) return error;
        if (cudaError_t error = potentially_unsafe()) return error;
        return query(event->point);
    });
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first, cudaEvent_t last)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Event *start = find_event(first), *end = find_event(last);
        if (!start || !end || start->device != end->device)
            return cudaErrorInvalidResourceHandle;
        for (Event *event : {start, end}) {
            if (event->flags & cudaEventDisableTiming) return cudaErrorInvalidResourceHandle;
            if (cudaError_t error = captured_error(*event)) return error;
            if (!event->seconds) return cudaErrorInvalidResourceHandle;
        }
        if (!start->point.is_done() || !end->point.is_done()) return cudaErrorNotReady;
        *milliseconds = (float)((*end->seconds - *start->seconds) * 1e3);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t which, unsigned flags)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        Event *event = find_event(which);
        if (!stream || !event) return cudaErrorInvalidResourceHandle;
        if (flags) return flags == cudaEventWaitExternal ? cudaErrorNotSupported
                                                         : cudaErrorInvalidValue;
        if (event->capture) return join_capture(*stream, event->capture, event->tail);
        if (stream->capture)
            return invalidate(*stream->capture, cudaErrorStreamCaptureIsolation);
        if (!event->point.queue) return cudaSuccess;   // never recorded
        return enqueue(*stream, {"wait", [] { return cudaSuccess; }}, {event->point});
    });
}
