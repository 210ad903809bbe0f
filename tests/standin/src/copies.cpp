// Copies and sets of memory.
#include "call.h"
#include "captures.h"
#include "knobs.h"
#include "memory.h"
#include "streams.h"

#include <cstring>
#include <memory>

static bool is_on_device(const void *pointer, size_t bytes)
{
    const Block *block = find_block(pointer, bytes);
    return block && block->device != on_host;
}

// Whether the direction of a copy agrees with where its memory is; cudaMemcpyDefault always does.
static bool agrees(cudaMemcpyKind kind, const Block *to, const Block *from)
{
    if (kind == cudaMemcpyDefault) return true;
    bool to_device = to && to->device != on_host, from_device = from && from->device != on_host;
    bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return wants_to == to_device && wants_from == from_device;
}

// Whether memory begins in an allocation and ends outside it.
static bool overruns(const void *pointer, size_t bytes)
{
    return find_block(pointer) && !find_block(pointer, bytes);
}

static bool is_alive(const void *pointer, size_t bytes, uint64_t number)
{
    const Block *block = find_block(pointer, bytes);
    return block && block->number == number;
}

// Memory that CUDA did not allocate (pageable memory) is read before the call returns, and written
// before it returns, as CUDA does through buffers of its own. All other copies may happen later.
static cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                        Stream &stream)
{
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
        return cudaErrorInvalidMemcpyDirection;
    if (!bytes) return cudaSuccess;
    const Block *to_block = find_block(to, bytes), *from_block = find_block(from, bytes);
    if (!agrees(kind, to_block, from_block) || overruns(to, bytes) || overruns(from, bytes))
        return cudaErrorInvalidValue;
    if (stream.capture && (!to_block || !from_block))
        return invalidate(*stream.capture, cudaErrorStreamCaptureUnsupported);
    std::shared_ptr<std::vector<char>> staged;
    if (!from_block)
        staged = std::make_shared<std::vector<char>>((char *)from, (char *)from + bytes);
    uint64_t to_number = to_block ? to_block->number : 0;
    uint64_t from_number = from_block ? from_block->number : 0;
    auto run = [=] {
        if ((to_number && !is_alive(to, bytes, to_number))
            || (from_number && !is_alive(from, bytes, from_number)))
            return report_freed("a copy");
        memmove(to, staged ? staged->data() : from, bytes);
        mark_written(to, bytes);
        return cudaSuccess;
    };
    if (cudaError_t error = enqueue(stream, {"copy", run})) return error;
    if (!to_block) finish({stream.queue, stream.queue->enqueued});
    return cudaSuccess;
}

static cudaError_t set(void *to, int value, size_t bytes, Stream &stream)
{
    if (!bytes) return cudaSuccess;
    const Block *block = find_block(to, bytes);
    if (!block) return cudaErrorInvalidValue;
    uint64_t number = block->number;
    return enqueue(stream, {"set", [=] {
        if (!is_alive(to, bytes, number)) return report_freed("a memory set");
        memset(to, value, bytes);
        mark_written(to, bytes);
        return cudaSuccess;
    }});
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        return stream ? copy(to, from, bytes, kind, *stream) : cudaErrorInvalidResourceHandle;
    });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream &legacy = *find_stream(cudaStreamLegacy);
        cudaError_t error = copy(to, from, bytes, kind, legacy);
        bool waits = !is_on_device(to, bytes) || !is_on_device(from, bytes);
        return error || !waits ? error : finish_work_of(legacy);
    });
}

cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t bytes,
                                cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        return copy(to, from, bytes, cudaMemcpyDeviceToDevice, *stream);
    });
}

cudaError_t cudaMemcpyPeer(void *to, int, const void *from, int, size_t bytes)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream &legacy = *find_stream(cudaStreamLegacy);
        return copy(to, from, bytes, cudaMemcpyDeviceToDevice, legacy);
    });
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t handle)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream *stream = find_stream(handle);
        return stream ? set(to, value, bytes, *stream) : cudaErrorInvalidResourceHandle;
    });
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return runtime_call(__func__, CONTEXT, [&] {
        Stream &legacy = *find_stream(cudaStreamLegacy);
        cudaError_t error = set(to, value, bytes, legacy);
        return error || is_on_device(to, bytes) ? error : finish_work_of(legacy);
    });
}
