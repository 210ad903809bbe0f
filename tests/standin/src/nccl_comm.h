// Communicators: the ranks that belong together, and whether they are still there.
#pragma once
#include "nccl.h"
#include "nccl_shared.h"
#include "streams.h"

#include <chrono>
#include <string>
#include <vector>

typedef std::chrono::steady_clock::time_point Time;

struct Communicator {
    std::shared_ptr<Shared> shared;
    int rank, ranks, device;
    std::vector<int> processes;   // files that are readable when a rank's process has ended
    std::atomic<int> error{ncclSuccess};
    std::atomic<bool> aborted{false}, over{false};
    std::shared_ptr<Line> line = std::make_shared<Line>();   // the calls, in their order
    uint64_t arrived = 0;                                    // collective calls

    ~Communicator();
    Member &member(int of) const { return shared->control().members[of]; }
    Channel &channel(int from, int to) const { return shared->control().channels[from][to]; }
    // Whether a rank will take part in no more calls; says so, once, in what this one waits with.
    bool is_gone(int other, const std::string &call);
    void report(ncclResult_t result, const std::string &line);   // prints it if it is the first
};

// Joins the ranks of an id without waiting for them; prints why not.
ncclResult_t join(const char *id, int ranks, int rank, int device,
                  std::shared_ptr<Communicator> &made);
// Waits for all ranks, and begins to do the work that they wait for. Without the lock.
ncclResult_t await_ranks(const std::shared_ptr<Communicator> &comm, const char *id);
// Ends the part of this process; the work that waits then ends, without a result.
void leave(Communicator &comm, State how);

bool is_late(Time since);   // whether STANDIN_NCCL_SECONDS have passed
