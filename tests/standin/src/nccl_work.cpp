// What calls of NCCL do when it is their turn in a stream: they arrive, so that other ranks see
// what they bring, and are done when those have arrived as well.
#include "nccl_work.h"

#include "knobs.h"
#include "memory.h"
#include "nccl_sum.h"

#include <cstring>

size_t bytes_of(ncclDataType_t type)
{
    static const size_t bytes[] = {1, 1, 4, 4, 8, 8, 0, 4, 8};
    return type >= 0 && type <= ncclFloat64 ? bytes[type] : 0;
}

const char *name_of(const Call &call)
{
    static const char *const names[] = {"ncclAllReduce", "ncclReduce", "ncclBroadcast",
                                        "ncclAllGather", "ncclReduceScatter", "ncclSend",
                                        "ncclRecv"};
    return names[call.kind];
}

size_t bytes_read(const Call &call, const Communicator &comm)
{
    size_t bytes = call.count * bytes_of(call.type);
    if (call.kind == REDUCE_SCATTER) return bytes * (size_t)comm.ranks;
    bool reads = call.kind != RECEIVE && (call.kind != BROADCAST || comm.rank == call.root);
    return reads ? bytes : 0;
}

size_t bytes_written(const Call &call, const Communicator &comm)
{
    size_t bytes = call.count * bytes_of(call.type);
    if (call.kind == ALL_GATHER) return bytes * (size_t)comm.ranks;
    bool writes = call.kind != SEND && (call.kind != REDUCE || comm.rank == call.root);
    return writes ? bytes : 0;
}

namespace {

bool is_alive(const void *pointer, size_t bytes, uint64_t number)
{
    const Block *block = find_block(pointer, bytes);
    return !bytes || (block && block->number == number);
}

bool has_memory(const Call &call, const Communicator &comm)
{
    return is_alive(call.from, bytes_read(call, comm), call.from_block)
           && is_alive(call.to, bytes_written(call, comm), call.to_block);
}

std::string describe(const Description &call)
{
    static const char *const ops[] = {"sum", "product", "maximum", "minimum", "average"};
    static const char *const types[] = {"int8", "uint8", "int32", "uint32", "int64", "uint64",
                                        "float16", "float32", "float64"};
    Call named = {};
    named.kind = (Kind)call.kind;
    std::string text = name_of(named);
    if (call.op >= 0) text += std::string(", ") + ops[call.op];
    text += " of " + std::to_string(call.count) + " " + types[call.type];
    if (call.root >= 0) text += ", root " + std::to_string(call.root);
    return text;
}

Description describe_call(const Call &call)
{
    bool reduces = call.kind == ALL_REDUCE || call.kind == REDUCE || call.kind == REDUCE_SCATTER;
    bool rooted = call.kind == REDUCE || call.kind == BROADCAST;
    return {call.kind, call.type, reduces ? call.op : -1, rooted ? call.root : -1, call.count};
}

// After an error that this rank reported
cudaError_t fail() { return cudaErrorLaunchFailure; }

cudaError_t too_late(Communicator &comm, const std::string &call, int missing)
{
    std::string text = call + ": rank " + std::to_string(missing) + " has not come in "
                       + std::to_string(knobs().nccl_seconds) + " s";
    comm.report(ncclRemoteError, text);
    return fail();
}

// ----------------------------------------------------------------------------------- collectives
struct Collective {
    std::shared_ptr<Communicator> comm;
    Call call;
    uint64_t number = 0;   // 0: it has not arrived
    Time begin = {};

    cudaError_t operator()()
    {
        if (comm->aborted) return cudaSuccess;
        if (!number)
            if (cudaError_t error = arrive()) return error;
        std::string name = describe(describe_call(call));
        for (int other = 0; other < comm->ranks; ++other) {
            if (comm->member(other).arrived >= number) continue;
            if (is_late(begin)) return too_late(*comm, name, other);
            comm->is_gone(other, name);
            return cudaErrorNotReady;
        }
        return complete();
    }

    // No rank reads the contribution of two calls ago any more: all have arrived at the last one.
    cudaError_t arrive()
    {
        if (!has_memory(call, *comm)) return report_freed(name_of(call));
        begin = std::chrono::steady_clock::now();
        number = ++comm->arrived;
        char *own = comm->shared->contribution(comm->rank, number);
        if (size_t bytes = bytes_read(call, *comm)) memcpy(own, call.from, bytes);
        comm->member(comm->rank).calls[number % 2] = describe_call(call);
        comm->member(comm->rank).arrived = number;
        comm->shared->ring();
        return cudaSuccess;
    }

    cudaError_t complete()
    {
        if (!has_memory(call, *comm)) return report_freed(name_of(call));
        Description own = describe_call(call);
        for (int other = 0; other < comm->ranks; ++other) {
            const Description &their = comm->member(other).calls[number % 2];
            if (!memcmp(&own, &their, sizeof own)) continue;
            comm->report(ncclInvalidUsage, "its call is " + describe(own) + ", that of rank "
                                               + std::to_string(other) + " is " + describe(their));
            return fail();
        }
        write();
        mark_written(call.to, bytes_written(call, *comm));
        return cudaSuccess;
    }

    void write()
    {
        std::vector<const char *> all;
        for (int other = 0; other < comm->ranks; ++other)
            all.push_back(comm->shared->contribution(other, number));
        char *to = (char *)call.to;
        size_t bytes = call.count * bytes_of(call.type);
        if (call.kind == ALL_GATHER)
            for (size_t rank = 0; rank < all.size(); ++rank)
                memcpy(to + rank * bytes, all[rank], bytes);
        else if (call.kind == BROADCAST)
            memcpy(to, all[(size_t)call.root], bytes);
        else if (bytes_written(call, *comm)) {
            if (call.kind == REDUCE_SCATTER)
                for (const char *&each : all) each += (size_t)comm->rank * bytes;
            reduce_in_order(to, all, call.count, call.type, call.op);
        }
    }
};

// ------------------------------------------------------------------------------- sends, receives
struct Exchange {
    std::shared_ptr<Communicator> comm;
    std::vector<Call> calls;
    std::vector<uint64_t> numbers;   // of the messages that were sent; 0: not yet
    std::vector<bool> done;
    Time begin = {};

    cudaError_t operator()()
    {
        if (comm->aborted) return cudaSuccess;
        if (done.empty()) {
            begin = std::chrono::steady_clock::now();
            numbers.assign(calls.size(), 0);
            done.assign(calls.size(), false);
        }
        int waiting = -1;
        for (size_t i = 0; i < calls.size(); ++i) {
            if (done[i] || waits_for_earlier(i)) continue;
            if (!has_memory(calls[i], *comm)) return report_freed(name_of(calls[i]));
            cudaError_t error = calls[i].kind == SEND ? send(i) : receive(i);
            if (error == cudaErrorNotReady) waiting = (int)i;
            else if (error) return error;
            else done[i] = true;
        }
        return waiting < 0 ? cudaSuccess : wait_for((size_t)waiting);
    }

    bool waits_for_earlier(size_t i) const
    {
        for (size_t j = 0; j < i; ++j)
            if (!done[j] && calls[j].kind == calls[i].kind && calls[j].root == calls[i].root)
                return true;
        return false;
    }

    cudaError_t wait_for(size_t i)
    {
        std::string name = describe(describe_call(calls[i]));
        if (is_late(begin)) return too_late(*comm, name, calls[i].root);
        comm->is_gone(calls[i].root, name);
        return cudaErrorNotReady;
    }

    // A send is done when its message was taken.
    cudaError_t send(size_t i)
    {
        const Call &call = calls[i];
        Channel &channel = comm->channel(comm->rank, call.root);
        if (numbers[i]) return channel.taken >= numbers[i] ? cudaSuccess : cudaErrorNotReady;
        if (channel.sent != channel.taken) return cudaErrorNotReady;
        if (size_t bytes = bytes_read(call, *comm))
            memcpy(comm->shared->message(comm->rank, call.root), call.from, bytes);
        channel.call = describe_call(call);
        channel.wanted = 0;
        numbers[i] = ++channel.sent;
        comm->shared->ring();
        return cudaErrorNotReady;
    }

    cudaError_t receive(size_t i)
    {
        const Call &call = calls[i];
        Channel &channel = comm->channel(call.root, comm->rank);
        if (channel.sent == channel.taken) {
            if (!channel.wanted.exchange(1)) comm->shared->ring();
            return channel.sent == channel.taken ? cudaErrorNotReady : receive(i);
        }
        Description own = describe_call(call), their = channel.call;
        if (own.count != their.count || own.type != their.type) {
            comm->report(ncclInvalidUsage, "its call is " + describe(own) + ", that of rank "
                                               + std::to_string(call.root) + " is "
                                               + describe(their));
            return fail();
        }
        size_t bytes = bytes_written(call, *comm);
        if (bytes) memcpy(call.to, comm->shared->message(call.root, comm->rank), bytes);
        mark_written(call.to, bytes);
        ++channel.taken;
        comm->shared->ring();
        return cudaSuccess;
    }
};

}   // namespace

// Each launch of a graph copies its work, and with it a state that has not begun.
Work collective_work(std::shared_ptr<Communicator> comm, const Call &call)
{
    auto line = comm->line;
    return {name_of(call), Collective{std::move(comm), call}, line};
}

Work exchange_work(std::shared_ptr<Communicator> comm, const std::vector<Call> &calls)
{
    auto line = comm->line;
    return {"ncclSend and ncclRecv", Exchange{std::move(comm), calls, {}, {}}, line};
}
