// Streams and their queues.
#include "streams.h"

#include "call.h"
#include "captures.h"
#include "devices.h"
#include "knobs.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <map>

// Those that were created, by handle
static auto &streams = make_state<std::map<Stream *, std::unique_ptr<Stream>>>();
// By device
static auto &legacy_streams = make_state<std::map<int, Stream>>();
// Of all streams, also of destroyed ones that have pending work
static auto &queues = make_state<std::vector<std::shared_ptr<Queue>>>();

static std::shared_ptr<Queue> make_queue(int device, bool blocking)
{
    auto is_over = [](const std::shared_ptr<Queue> &queue) {
        return queue.use_count() == 1 && queue->pending.empty();
    };
    queues.erase(std::remove_if(queues.begin(), queues.end(), is_over), queues.end());
    queues.push_back(std::make_shared<Queue>(Queue{device, blocking, {}}));
    return queues.back();
}

static Stream &legacy_stream(int device)
{
    Stream &stream = legacy_streams[device];
    if (!stream.queue) stream.queue = make_queue(device, true);
    return stream;
}

bool is_legacy(const Stream &stream) { return &stream == &legacy_stream(stream.queue->device); }

Stream *find_stream(cudaStream_t handle)
{
    if (!handle || handle == cudaStreamLegacy) return &legacy_stream(current_device());
    auto found = streams.find(handle);
    return found == streams.end() ? nullptr : found->second.get();
}

// ------------------------------------------------------------------------------------------ work
bool Point::is_done() const { return !queue || queue->done >= count; }

// Returns false if the work waits for others.
static bool do_next(Queue &queue)
{
    cudaError_t error = fault() ? cudaSuccess : queue.pending.front().work.run();
    if (error == cudaErrorNotReady) return false;
    if (error) set_fault(error);
    queue.pending.pop_front();
    ++queue.done;
    return true;
}

// Whether the next work of a queue waits for the work before a point, the last of those it names.
static bool waits(Queue &queue)
{
    auto &after = queue.pending.front().after;
    while (!after.empty() && after.back().is_done()) after.pop_back();
    return !after.empty();
}

// Does one work of each queue in turn, so that work without an order between it is mixed.
static bool advance_in_turns(const Point &point)
{
    auto now = queues;
    bool moves = true;
    while (!point.is_done() && moves) {
        moves = false;
        for (auto queue : now) {
            while (!queue->pending.empty() && waits(*queue))
                queue = queue->pending.front().after.back().queue;
            if (!queue->pending.empty() && do_next(*queue)) moves = true;
        }
    }
    return point.is_done();
}

bool advance(const Point &point)
{
    if (knobs().mixed) return advance_in_turns(point);
    std::vector<Point> wanted = {point};
    while (!wanted.empty()) {
        Point last = wanted.back();
        if (last.is_done()) {
            wanted.pop_back();
            continue;
        }
        if (waits(*last.queue))
            wanted.push_back(last.queue->pending.front().after.back());
        else if (!do_next(*last.queue))
            return false;
    }
    return true;
}

void advance_all()
{
    auto now = queues;
    for (auto &queue : now) advance({queue, queue->enqueued});
}

static auto &others = make_state<std::condition_variable>();

void wake_waiting() { others.notify_all(); }

// Other threads use the state while this one waits.
void finish(Point point)
{
    while (!advance(point)) {
        std::unique_lock<std::mutex> held(state, std::adopt_lock);
        others.wait_for(held, std::chrono::milliseconds(50));
        held.release();
    }
}

// Finishes several queues. The one whose next work was enqueued last goes first: work of different
// streams that nothing orders is then not done in the order in which it was enqueued.
static void finish_those(const std::function<bool(const Queue &)> &is_wanted)
{
    std::vector<std::shared_ptr<Queue>> wanted;
    for (auto &queue : queues)
        if (!queue->pending.empty() && is_wanted(*queue)) wanted.push_back(queue);
    std::sort(wanted.begin(), wanted.end(), [](const auto &first, const auto &second) {
        return first->pending.front().number > second->pending.front().number;
    });
    for (auto &queue : wanted) finish({queue, queue->enqueued});
}

void finish_all()
{
    finish_those([](const Queue &) { return true; });
}

void finish_device(int device)
{
    finish_those([=](const Queue &queue) { return queue.device == device; });
}

cudaError_t enqueue(Stream &stream, Work work, std::vector<Point> after)
{
    if (stream.capture) return capture_work(stream, std::move(work));
    Queue &queue = *stream.queue;
    if (is_legacy(stream)) {
        if (cudaError_t error = use_legacy(queue.device)) return error;
        for (auto &other : queues)
            if (other != stream.queue && other->device == queue.device && other->blocking
                && !other->pending.empty())
                after.push_back({other, other->enqueued});
    } else if (queue.blocking) {
        Stream &legacy = legacy_stream(queue.device);
        after.push_back({legacy.queue, legacy.queue->enqueued});
    }
    std::shared_ptr<Line> line = work.line;
    if (line && !line->empty()) after.push_back(line->back());
    static uint64_t last_number = 0;
    queue.pending.push_back({std::move(work), std::move(after), ++last_number});
    ++queue.enqueued;
    if (line) line->push_back({stream.queue, queue.enqueued});
    if (!knobs().late) advance({stream.queue, queue.enqueued});
    return cudaSuccess;   // later calls return what goes wrong in the work
}

cudaError_t report_freed(const char *what)
{
    fprintf(stderr, "stand-in: %s uses memory that was freed after it was enqueued or captured\n",
            what);
    return cudaErrorIllegalAddress;
}

// --------------------------------------------------------------------------------------- waiting
cudaError_t finish_work_of(Stream &stream)
{
    int device = stream.queue->device;
    if (is_legacy(stream))
        finish_those([=](const Queue &queue) { return queue.device == device && queue.blocking; });
    finish({stream.queue, stream.queue->enqueued});
    return fault();
}

cudaError_t synchronize(Stream &stream)
{
    if (stream.capture) return invalidate(*stream.capture, cudaErrorStreamCaptureUnsupported);
    if (is_legacy(stream))
        if (cudaError_t error = use_legacy(stream.queue->device)) return error;
    if (cudaError_t error = potentially_unsafe()) return error;
    return finish_work_of(stream);
}

// Queries do work, so that polling reaches the end. In late mode only every 64th does: CuPy queries
// the events of earlier copies at each copy from the host, which would then be early.
cudaError_t query(const Point &point)
{
    static unsigned queries;
    if (point.is_done()) return cudaSuccess;
    if (knobs().mixed || ++queries % 64 == 0) advance({point.queue, point.queue->done + 1});
    return fault() ? fault() : cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        return stream ? synchronize(*stream) : cudaErrorInvalidResourceHandle;
    });
}

cudaError_t cudaDeviceSynchronize()
{
    return runtime_call(__func__, CONTEXT, [&] {
        int device = current_device();
        if (cudaError_t error = invalidate_captures_of(device, cudaErrorStreamCaptureUnsupported))
            return error;
        finish_device(device);
        return fault();
    });
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        if (stream->capture)
            return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
        if (is_legacy(*stream))
            if (cudaError_t error = use_legacy(stream->queue->device)) return error;
        if (cudaError_t error = potentially_unsafe()) return error;
        return query({stream->queue, stream->queue->enqueued});
    });
}

// ------------------------------------------------------------------------- creation, destruction
static cudaError_t create(cudaStream_t *handle, unsigned flags, int priority)
{
    if (!handle || (flags & ~(unsigned)cudaStreamNonBlocking)) return cudaErrorInvalidValue;
    auto stream = std::make_unique<Stream>();
    stream->queue = make_queue(current_device(), !(flags & cudaStreamNonBlocking));
    stream->flags = flags;
    stream->priority = priority;
    *handle = stream.get();
    streams[stream.get()] = std::move(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *handle)
{
    return runtime_call(__func__, CONTEXT, [&] { return create(handle, 0, 0); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *handle, unsigned flags)
{
    return runtime_call(__func__, CONTEXT, [&] { return create(handle, flags, 0); });
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *handle, unsigned flags, int priority)
{
    return runtime_call(__func__, CONTEXT, [&] { return create(handle, flags, priority); });
}

// The work that is pending stays in its queue, and is done as that of any other.
cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        auto found = streams.find(handle);
        if (found == streams.end()) return cudaErrorInvalidResourceHandle;
        if (found->second->capture) leave_capture(*found->second);
        streams.erase(found);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned *flags)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        *flags = stream->flags;
        return cudaSuccess;
    });
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int *priority)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        *priority = stream->priority;
        return cudaSuccess;
    });
}
