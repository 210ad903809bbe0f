// The work of NCCL's calls in streams.
#pragma once
#include "nccl_comm.h"

enum Kind { ALL_REDUCE, REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER, SEND, RECEIVE };

struct Call {
    Kind kind;
    const void *from;
    void *to;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;   // or the peer
    uint64_t from_block = 0, to_block = 0;   // the memory at the time of the call
};

size_t bytes_of(ncclDataType_t type);   // 0: the stand-in does not have it
const char *name_of(const Call &call);
// Bytes that this rank reads and writes.
size_t bytes_read(const Call &call, const Communicator &comm);
size_t bytes_written(const Call &call, const Communicator &comm);

Work collective_work(std::shared_ptr<Communicator> comm, const Call &call);
// Sends and receives of one group, which go on side by side.
Work exchange_work(std::shared_ptr<Communicator> comm, const std::vector<Call> &calls);
