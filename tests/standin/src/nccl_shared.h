// Memory that the ranks of a communicator share, whatever their processes.
//
// It is a file without a name, which its maker keeps open and the others open through /proc: the
// system frees it when the last process that uses it has ended, however that ends.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

const int most_ranks = 16;   // each has a device of its own
const size_t most_bytes = (size_t)1 << 30;   // of a call

struct Description {   // of a call, which that of other ranks must agree with
    int kind, type, op, root;
    uint64_t count;
};

enum State : uint32_t { ABSENT, PRESENT, DESTROYED, ABORTED };

struct Member {
    std::atomic<uint32_t> state;
    int process, device;
    std::atomic<uint64_t> arrived;   // the collective calls that it has begun on the device
    Description calls[2];            // the latest two
};

struct Channel {   // from one rank to another
    std::atomic<uint64_t> sent, taken;   // messages
    std::atomic<uint32_t> wanted;        // the receiver waits for a message
    Description call;
};

struct Control {
    char token[16];               // of the unique id
    std::atomic<int> ranks;       // 0: nobody has joined
    std::atomic<uint32_t> bell;   // rung when anything has changed
    Member members[most_ranks];
    Channel channels[most_ranks][most_ranks];
};

class Shared {
public:
    ~Shared();
    Control &control() const { return *(Control *)start; }
    char *contribution(int rank, uint64_t call) const;   // to a collective call
    char *message(int from, int to) const;
    void ring() const;
    void await_ring(uint32_t heard) const;   // until the bell is past it, or 50 ms

private:
    friend std::shared_ptr<Shared> open_shared(const char *);
    char *start;
};

// Makes a file and writes what finds it into an id of 128 bytes; false if the system refuses.
bool make_shared_file(char *id);
// Maps the file of an id; null if there is none, as after the end of the process that made it.
std::shared_ptr<Shared> open_shared(const char *id);
// Closes the file that this process made for an id; those that are mapped stay.
void close_shared_file(const char *id);
