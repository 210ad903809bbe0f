// Joins ranks, watches their processes, and does the work that they wait for.
#include "nccl_comm.h"

#include "call.h"
#include "knobs.h"

#include <cstdio>
#include <poll.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

bool is_late(Time since)
{
    auto waited = std::chrono::steady_clock::now() - since;
    return waited >= std::chrono::seconds(knobs().nccl_seconds);
}

static bool has_ended(int process)
{
    pollfd wanted = {process, POLLIN, 0};
    return process >= 0 && poll(&wanted, 1, 0) > 0;
}

void Communicator::report(ncclResult_t result, const std::string &text)
{
    int none = ncclSuccess;
    if (error.compare_exchange_strong(none, result))
        fprintf(stderr, "stand-in: NCCL rank %d: %s\n", rank, text.c_str());
}

bool Communicator::is_gone(int other, const std::string &call)
{
    uint32_t now = member(other).state;
    const char *how = now == DESTROYED ? "has destroyed its communicator"
                      : now == ABORTED ? "has aborted its communicator"
                      : has_ended(processes[(size_t)other]) ? "has ended" : nullptr;
    if (how) report(ncclRemoteError, call + ": rank " + std::to_string(other) + " " + how);
    return how;
}

Communicator::~Communicator()
{
    for (int process : processes)
        if (process >= 0) close(process);
}

static ncclResult_t refuse(ncclResult_t result, int rank, const std::string &text)
{
    fprintf(stderr, "stand-in: NCCL rank %d: %s\n", rank, text.c_str());
    return result;
}

ncclResult_t join(const char *id, int ranks, int rank, int device,
                  std::shared_ptr<Communicator> &made)
{
    if (ranks < 1 || rank < 0 || rank >= ranks)
        return refuse(ncclInvalidArgument, rank, "it is not one of " + std::to_string(ranks));
    if (ranks > most_ranks)
        return refuse(ncclInvalidArgument, rank, "the stand-in has 16 ranks at most");
    auto shared = open_shared(id);
    if (!shared)
        return refuse(ncclSystemError, rank,
                      "no process has this unique id: that which made it must live");
    Control &control = shared->control();
    int first = 0;
    if (!control.ranks.compare_exchange_strong(first, ranks) && first != ranks)
        return refuse(ncclInvalidUsage, rank, "it expects " + std::to_string(ranks)
                                                  + " ranks, another " + std::to_string(first));
    Member &own = control.members[rank];
    int nobody = 0;
    // The process is set first and makes the place taken; PRESENT publishes the rest.
    if (!__atomic_compare_exchange_n(&own.process, &nobody, getpid(), false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return refuse(ncclInvalidUsage, rank, "another has joined as this rank");
    own.device = device;
    own.state = PRESENT;
    shared->ring();
    made = std::make_shared<Communicator>();
    made->shared = shared;
    made->rank = rank;
    made->ranks = ranks;
    made->device = device;
    made->processes.assign((size_t)ranks, -1);
    return ncclSuccess;
}

// Does what other ranks wait for, as a device does by itself: what was enqueued before in eager
// mode, in the others only the calls at which another rank has arrived.
static void serve(Communicator &comm)
{
    Hold hold(state);
    Line &line = *comm.line;
    while (!line.empty() && line.front().is_done()) line.pop_front();
    if (!knobs().late) advance_all();
    else if (!line.empty()) {
        bool wanted = comm.aborted;
        for (int other = 0; other < comm.ranks; ++other) {
            const Channel &from = comm.channel(other, comm.rank);
            wanted |= comm.member(other).arrived > comm.arrived || from.sent > from.taken
                      || comm.channel(comm.rank, other).wanted;
        }
        if (wanted) advance(line.front());
    }
    wake_waiting();
}

static void serve_until_over(std::shared_ptr<Communicator> comm)
{
    while (!comm->over) {
        uint32_t heard = comm->shared->control().bell;
        serve(*comm);
        comm->shared->await_ring(heard);
    }
    serve(*comm);   // the work that ended with it
}

// Two ranks of one communicator cannot share a device.
static ncclResult_t check_devices(const Communicator &comm)
{
    for (int other = 0; other < comm.ranks; ++other)
        if (other != comm.rank && comm.member(other).device == comm.device)
            return refuse(ncclInvalidUsage, comm.rank,
                          "rank " + std::to_string(other) + " uses device "
                              + std::to_string(comm.device) + " as well");
    return ncclSuccess;
}

ncclResult_t await_ranks(const std::shared_ptr<Communicator> &comm, const char *id)
{
    Time begin = std::chrono::steady_clock::now();
    for (int other = 0; other < comm->ranks; ++other) {
        Member &member = comm->member(other);
        while (member.state == ABSENT) {
            if (is_late(begin))
                return refuse(ncclRemoteError, comm->rank,
                              "rank " + std::to_string(other) + " has not joined in "
                                  + std::to_string(knobs().nccl_seconds) + " s");
            uint32_t heard = comm->shared->control().bell;
            if (member.state == ABSENT) comm->shared->await_ring(heard);
        }
        if (member.process != getpid())
            comm->processes[(size_t)other] = (int)syscall(SYS_pidfd_open, member.process, 0);
    }
    close_shared_file(id);
    if (ncclResult_t result = check_devices(*comm)) return result;
    std::thread(serve_until_over, comm).detach();
    return ncclSuccess;
}

void leave(Communicator &comm, State how)
{
    comm.aborted = how == ABORTED;
    comm.member(comm.rank).state = how;
    comm.over = true;
    comm.shared->ring();
}
