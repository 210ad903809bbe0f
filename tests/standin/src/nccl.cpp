// Groups of NCCL's calls, and the beginning and the end of communicators.
#include "nccl_calls.h"

#include "call.h"
#include "devices.h"
#include "memory.h"

#include <cstdio>
#include <map>

// Those that were made and neither destroyed nor aborted
static auto &comms = make_state<std::map<ncclComm_t, std::unique_ptr<ncclComm>>>();

std::shared_ptr<Communicator> find(ncclComm_t handle)
{
    auto found = comms.find(handle);
    return found == comms.end() ? nullptr : found->second->it;
}

namespace {

struct Pending {   // a call in a group
    std::shared_ptr<Communicator> comm;
    Call call;
    cudaStream_t stream;
};

struct Joining {
    std::shared_ptr<Communicator> comm;
    ncclUniqueId id;
};

// Of this thread, until the end of its outermost group
struct Group {
    int depth = 0;
    ncclResult_t error = ncclSuccess;
    std::vector<Pending> calls;
    std::vector<Joining> joining;
};
thread_local Group group;

ncclComm_t keep(std::shared_ptr<Communicator> comm)
{
    auto made = std::make_unique<ncclComm>(ncclComm{std::move(comm)});
    ncclComm_t handle = made.get();
    comms[handle] = std::move(made);
    return handle;
}

ncclResult_t forget(ncclComm_t handle, std::shared_ptr<Communicator> &comm)
{
    Hold hold(state);
    comm = find(handle);
    return comms.erase(handle) ? ncclSuccess : ncclInvalidArgument;
}

// --------------------------------------------------------------------------------- calls, groups
bool is_memory_of(const Communicator &comm, const void *pointer, size_t bytes, uint64_t &number)
{
    if (!bytes) return true;
    const Block *block = find_block(pointer, bytes);
    if (!block || block->device != comm.device) return false;
    number = block->number;
    return true;
}

// With the lock
ncclResult_t check(const Communicator &comm, Call &call, cudaStream_t handle)
{
    bool has_op = call.op >= ncclSum && call.op <= ncclAvg;
    bool has_rank = call.root >= 0 && call.root < comm.ranks;
    if (!has_op || !has_rank) return ncclInvalidArgument;
    if (!bytes_of(call.type)) {
        fprintf(stderr, "stand-in: %s of type %d is not written\n", name_of(call), call.type);
        return ncclInvalidArgument;
    }
    size_t read = bytes_read(call, comm), written = bytes_written(call, comm);
    if (std::max(read, written) > most_bytes) {
        fprintf(stderr, "stand-in: %s of more than 1 GiB is not written\n", name_of(call));
        return ncclInvalidArgument;
    }
    if (!is_memory_of(comm, call.from, read, call.from_block)
        || !is_memory_of(comm, call.to, written, call.to_block)) {
        fprintf(stderr, "stand-in: NCCL rank %d: %s needs memory of device %d\n", comm.rank,
                name_of(call), comm.device);
        return ncclInvalidArgument;
    }
    // Without a handle it is the legacy stream of the current device, which NCCL sets.
    Stream *stream = find_stream(handle);
    if (!stream) return ncclInvalidArgument;
    if (handle && stream->queue->device != comm.device) return ncclUnhandledCudaError;
    return comm.error ? ncclRemoteError : ncclSuccess;
}

ncclResult_t enqueue_in(const Pending &pending, Work work)
{
    int device = current_device();
    set_current_device(pending.comm->device);
    cudaError_t error = enqueue(*find_stream(pending.stream), std::move(work));
    set_current_device(device);
    return error ? ncclUnhandledCudaError : ncclSuccess;
}

// The collective calls of a group in their order, then the others of each communicator as one.
ncclResult_t enqueue_group(const std::vector<Pending> &calls)
{
    Hold hold(state);
    std::map<Communicator *, std::vector<Pending>> exchanges;
    for (const Pending &each : calls) {
        if (each.call.kind >= SEND) exchanges[each.comm.get()].push_back(each);
        else if (auto error = enqueue_in(each, collective_work(each.comm, each.call)))
            return error;
    }
    for (auto &[comm, those] : exchanges) {
        std::vector<Call> together;
        for (const Pending &each : those) {
            if (each.stream != those[0].stream) {
                fprintf(stderr, "stand-in: a group with sends in several streams is not written\n");
                return ncclInvalidUsage;
            }
            together.push_back(each.call);
        }
        if (auto error = enqueue_in(those[0], exchange_work(those[0].comm, together)))
            return error;
    }
    return ncclSuccess;
}

// -------------------------------------------------------------------------- joining communicators
ncclResult_t join_as(ncclComm_t *handle, int ranks, const ncclUniqueId &id, int rank, int device)
{
    std::shared_ptr<Communicator> comm;
    ncclResult_t result = join(id.internal, ranks, rank, device, comm);
    if (!result && !group.depth) result = await_ranks(comm, id.internal);
    if (result) {
        if (comm) leave(*comm, ABORTED);
        return result;
    }
    if (group.depth) group.joining.push_back({comm, id});
    Hold hold(state);
    *handle = keep(comm);
    return ncclSuccess;
}

}   // namespace

ncclResult_t add_call(const char *name, ncclComm_t handle, Call call, cudaStream_t stream)
{
    return nccl_call(name, true, [&] {
        Pending pending = {nullptr, call, stream};
        {
            Hold hold(state);
            pending.comm = find(handle);
            auto result = pending.comm ? check(*pending.comm, pending.call, stream)
                                       : ncclInvalidArgument;
            if (result) return group.depth ? group.error = result : result;
        }
        if (!group.depth) return enqueue_group({pending});
        group.calls.push_back(pending);
        return ncclSuccess;
    });
}

ncclResult_t ncclGroupStart()
{
    return nccl_call(__func__, false, [] {
        ++group.depth;
        return ncclSuccess;
    });
}

ncclResult_t ncclGroupEnd()
{
    return nccl_call(__func__, false, [] {
        if (!group.depth) return ncclInvalidUsage;
        if (--group.depth) return ncclSuccess;
        Group ended;
        std::swap(ended, group);
        if (!ended.error && !ended.calls.empty() && !ended.joining.empty())
            ended.error = ncclInvalidUsage;
        for (const Joining &each : ended.joining)
            if (!ended.error) ended.error = await_ranks(each.comm, each.id.internal);
        return ended.error ? ended.error : enqueue_group(ended.calls);
    });
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    return nccl_call(__func__, false, [&] {
        if (!id) return ncclInvalidArgument;
        return make_shared_file(id->internal) ? ncclSuccess : ncclSystemError;
    });
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    return nccl_call(__func__, true, [&] {
        if (!comm) return ncclInvalidArgument;
        if (config) fprintf(stderr, "stand-in: ncclConfig_t is not read\n");
        ncclResult_t result = join_as(comm, ranks, id, rank, current_device());
        return result && group.depth ? group.error = result : result;
    });
}

ncclResult_t ncclCommInitAll(ncclComm_t *handles, int count, const int *devices)
{
    return nccl_call(__func__, true, [&] {
        if (!handles || count < 1 || count > knobs().devices) return ncclInvalidArgument;
        ncclUniqueId id;
        if (group.depth) return ncclInvalidUsage;
        if (!make_shared_file(id.internal)) return ncclSystemError;
        ++group.depth;
        for (int rank = 0; rank < count && !group.error; ++rank) {
            int device = devices ? devices[rank] : rank;
            bool exists = device >= 0 && device < knobs().devices;
            group.error = exists ? join_as(&handles[rank], count, id, rank, device)
                                 : ncclInvalidArgument;
        }
        return ncclGroupEnd();
    });
}

// Waits for the calls that this rank has made.
ncclResult_t ncclCommDestroy(ncclComm_t handle)
{
    return nccl_call(__func__, false, [&] {
        std::shared_ptr<Communicator> comm;
        if (auto result = forget(handle, comm)) return result;
        {
            Hold hold(state);
            while (!comm->line->empty()) {
                finish(comm->line->back());
                while (!comm->line->empty() && comm->line->front().is_done())
                    comm->line->pop_front();
            }
        }
        leave(*comm, DESTROYED);
        return ncclSuccess;
    });
}

ncclResult_t ncclCommAbort(ncclComm_t handle)
{
    return nccl_call(__func__, false, [&] {
        std::shared_ptr<Communicator> comm;
        if (auto result = forget(handle, comm)) return result;
        leave(*comm, ABORTED);
        return ncclSuccess;
    });
}
