// Allocates and frees. Device memory is the emulator's; each device has STANDIN_MEMORY_MIB.
#include "memory.h"

#include "call.h"
#include "captures.h"
#include "devices.h"
#include "knobs.h"
#include "streams.h"

#include <cstdlib>

// What was allocated and not freed, by the address of the last byte
static auto &blocks = make_state<std::map<const char *, Block>>();
// Bytes in use, by device
static auto &used = make_state<std::map<int, size_t>>();
static const size_t alignment = 256;           // CUDA's smallest, which the sizes are rounded to
static const size_t page = 4096;

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

const Block *find_block(const void *pointer, size_t bytes)
{
    auto found = blocks.lower_bound((const char *)pointer);
    if (found == blocks.end() || found->second.start > pointer) return nullptr;
    const Block &block = found->second;
    return (size_t)((const char *)pointer - block.start) + bytes <= block.bytes ? &block : nullptr;
}

void mark_written(const void *pointer, size_t bytes)
{
    const Block *block = find_block(pointer, bytes);
    if (block && block->memory)
        emulator_mark_written(block->memory, (size_t)((const char *)pointer - block->start), bytes);
}

static cudaError_t allocate(void **pointer, size_t bytes, int device)
{
    static uint64_t made = 0;
    *pointer = nullptr;
    if (cudaError_t error = potentially_unsafe()) return error;
    if (!bytes) return cudaSuccess;
    Block block = {nullptr, bytes, device, ++made, nullptr};
    if (device == on_host) {
        block.start = (char *)aligned_alloc(page, round_up(bytes, page));
    } else {
        size_t rounded = round_up(bytes, alignment);
        if (rounded < bytes || rounded > knobs().memory_bytes - used[device])
            return cudaErrorMemoryAllocation;
        block.memory = emulator_allocate(rounded, &block.start);
        if (block.memory) used[device] += rounded;
        else block.start = nullptr;
    }
    if (!block.start) return cudaErrorMemoryAllocation;
    blocks[block.start + bytes - 1] = block;
    *pointer = block.start;
    return cudaSuccess;
}

// Frees after all work of the device: CUDA waits for it too.
static cudaError_t release(void *pointer, bool host)
{
    if (cudaError_t error = potentially_unsafe()) return error;
    if (!pointer) return cudaSuccess;
    const Block *found = find_block(pointer);
    if (!found || found->start != pointer || (found->device == on_host) != host)
        return cudaErrorInvalidValue;
    Block block = *found;
    if (host) finish_all();
    else finish_device(block.device);
    if (fault()) return fault();
    blocks.erase(block.start + block.bytes - 1);
    if (host) {
        free(block.start);
    } else {
        used[block.device] -= round_up(block.bytes, alignment);
        emulator_release(block.memory);
    }
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    return runtime_call(__func__, CONTEXT, [&] {
        if (!pointer) return cudaErrorInvalidValue;
        return allocate(pointer, bytes, current_device());
    });
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    return runtime_call(__func__, CONTEXT, [&] {
        unsigned known = cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
        if (!pointer || (flags & ~known)) return cudaErrorInvalidValue;
        return allocate(pointer, bytes, on_host);
    });
}

cudaError_t cudaFree(void *pointer)
{
    return runtime_call(__func__, CONTEXT, [&] { return release(pointer, false); });
}

cudaError_t cudaFreeHost(void *pointer)
{
    return runtime_call(__func__, CONTEXT, [&] { return release(pointer, true); });
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    return runtime_call(__func__, CONTEXT, [&] {
        *total = knobs().memory_bytes;
        *free = *total - used[current_device()];
        return cudaSuccess;
    });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *pointer)
{
    return runtime_call(__func__, CONTEXT, [&] {
        const Block *block = find_block(pointer);
        *attributes = {};
        attributes->type = cudaMemoryTypeUnregistered;
        attributes->device = cudaInvalidDeviceId;
        attributes->hostPointer = const_cast<void *>(pointer);
        if (!block) return cudaSuccess;
        attributes->devicePointer = const_cast<void *>(pointer);
        if (block->device == on_host) {
            attributes->type = cudaMemoryTypeHost;
            attributes->device = current_device();
        } else {
            attributes->type = cudaMemoryTypeDevice;
            attributes->device = block->device;
            attributes->hostPointer = nullptr;
        }
        return cudaSuccess;
    });
}
