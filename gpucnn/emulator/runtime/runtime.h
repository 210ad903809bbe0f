// The structures of the runtime. One launch runs at a time; each host thread that runs blocks of it
// has a Worker. In check mode and in profile mode there is one worker, and the blocks run one
// after another.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <errno.h>
#include <link.h>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

#define GPU_RUNTIME
#include "abi.h"

// Declared in abi.h, or called by Python or by code that the compiler inserts.
#define GPU_API extern "C" __attribute__((visibility("default")))

typedef uintptr_t Address;

static const int max_threads = 1024, max_warps = 32;
static const size_t page = 4096;
static const size_t alignment = 16;   // of arrays, in bytes: that of float4 and double2
// Of the stack of one GPU thread, whose lowest page is a guard page. Not a power of two, or all
// stacks would compete for the same cache lines.
static const size_t stack_bytes = 33 * page;

// ------------------------------------------------------------------------------ faults.cpp
// Python gives each kind its name in messages: Kind in gpucnn/emulator/errors.py.
enum Kind {
    OUT_OF_BOUNDS, UNINITIALISED, RACE, BARRIER, WARP, MISALIGNED, OVERFLOW, DIVISION, BAD_SHIFT,
    READ_ONLY, STACK, ASSERTION, MEMORY, DEADLOCK, SAME_VALUE,
};

struct Where {   // the thread of an access or a wait, and its line or instruction
    uint3 block, thread;
    Address pc;   // relative to the module; see `line` if it is 0 or outside the kernel's source
    char file[256];
    int line;
};

struct Fault {
    int kind;
    int has_other;
    Where here, other;   // other: the second access of a race
    char text[512];
};

static const int max_faults = 8;   // reported for one launch
static const int max_notes = 3;    // of them of the kind SAME_VALUE, which is not a fault

// ------------------------------------------------------------------------------ memory.cpp
struct GlobalCell;

struct Allocation {
    Address low, high;           // the requested bytes
    Address map_low, map_high;   // its pages, before a guard page
    bool live;
    bool used;                   // was allocated before
    bool written;                // all of it; otherwise see the written-map
    GlobalCell *cells;           // check mode: the last accesses to each word, or null
};

struct Range {   // the array that is an argument of a launch
    Allocation *memory;
    Address low, high;
    uint32_t writable : 1, parameter : 31;
    uint32_t unused;
};

// ------------------------------------------------------------------------------ launch.cpp
struct SharedVariable {
    size_t offset, size;   // from the start of the module's thread-local storage
    const char *name;
    int dynamic;           // its size is set by the launch
};

struct ModuleVariable {   // a __device__ or __constant__ variable
    size_t offset, size;   // from the module's base
    std::string name;
    bool constant;
};

struct Module {
    void *(*shared_base)();   // returns this host thread's dynamic shared memory
    size_t dynamic_offset, shared_bytes;   // its offset, and the size of all shared memory
    std::vector<SharedVariable> shared;
    std::map<size_t, ModuleVariable> variables;   // by offset
    bool padded = false;      // a struct has padding of four bytes or more
    Address base, end;        // the loaded library
    Address code, code_end;   // its instructions
    Address data, data_end;   // its variables
    const Address *places = nullptr;   // profile mode: the return addresses of calls, by rank
    std::vector<uint32_t> ranks;       // and their ranks, by offset from `code`
};

enum Mode { FAST, CHECK, PROFILE };
enum Order { FORWARD, REVERSE, RANDOM };

struct Request {   // a launch: Python passes this, then the ranges, then the arguments
    const GpuKernel *kernel;
    Module *module;
    uint64_t seed;
    uint32_t grid[3], block[3];
    uint32_t dynamic_bytes;
    uint32_t mode, order, threads;
    uint32_t range_count;
    uint32_t unused;   // so that the size is a multiple of 8 bytes

    const Range *ranges() const { return (const Range *)(this + 1); }
    const char *arguments() const { return (const char *)(ranges() + range_count); }
};

struct Launch {
    const Request *request;
    unsigned block_threads;
    uint64_t blocks;
    std::vector<uint32_t> block_order;   // empty: in order
    std::atomic<uint64_t> next_block{0};
    std::atomic<bool> stopped{false};
    std::atomic<bool> interrupted{false};   // by a Python signal handler that raised an exception
    std::mutex mutex;                    // guards the faults
    Fault *faults;
    int fault_count = 0, note_count = 0;
};

// ------------------------------------------------------ fibers.cpp, waiting.cpp, block.cpp
enum State : uint8_t { FRESH, READY, AT_BARRIER, AT_WARP, AT_MASK, EXITED };

struct Fiber {
    void *stack_pointer;
    char *low;   // the lowest usable byte of its stack
    int index;
};

struct Local {   // a local variable that check mode follows: gpu_local in check.h
    char *address;
    size_t size;
    const char *name;
    Local *before;   // of the same thread
};

struct Thread {
    Fiber *fiber;
    Local *locals;      // the last one
    State state;
    int vote;           // enum GpuVote: the kind of barrier at which it waits
    int line;           // where it waits
    const char *file;
    uint3 index;
};

struct Warp {
    unsigned alive, waiting;   // lanes
    int operation[32], source[32];
    unsigned mask[32];
    uint64_t value[32];        // passed by each lane, then the result of each lane
};

struct Worker {
    Launch *launch = nullptr;
    void *scheduler = nullptr;      // its saved stack pointer
    sigjmp_buf escape;              // returns to the scheduler from a signal handler
    volatile bool inside = false;   // a GPU thread is running
    bool is_main = false;           // runs in Python's main thread
    volatile bool preempted = false, ticked = false;   // see interrupts.cpp
    bool aborted = false;
    bool stalled = false;           // the block can only poll: see spinning.cpp
    unsigned host_mxcsr = 0;        // while blocks run

    Thread threads[max_threads];
    Warp warps[max_warps];
    int count = 0, exited = 0, at_barrier = 0, at_mask = 0, current = -1;
    int ready[max_threads], ready_first = 0, ready_count = 0;
    int voted = 0, vote_result = 0;
    uint64_t random = 1;

    std::vector<char *> stacks;     // regions, each of max_threads stacks
    std::vector<char *> unset;      // for each region a byte for each of its bytes, see local.cpp
    std::vector<Fiber *> free_fibers;
    int fibers_made = 0;
};

static __thread Worker *worker GPU_FIXED_TLS;

static void abandon_thread(Worker &w);
[[noreturn]] static void exhausted(Worker &w, const char *what);
static bool is_interrupted(Worker &w);

// ------------------------------------------------------------------------- profile.cpp
enum Use : uint8_t { READ, WRITE, ATOMIC };
static const int VOLATILE = 4;   // is added to a Use
enum Space : uint8_t { CODE, GLOBAL, SHARED };

struct Site {   // what one call of a kernel's code counted during a launch
    uint32_t rank, place;   // place: its return address, relative to the module
    uint8_t use, space, size;
    uint8_t unused[5];
    uint64_t requests;      // warp instructions; of code: times that a warp entered the block
    uint64_t lanes;         // that took part
    uint64_t moved;         // global memory: sectors; shared memory: wavefronts
    uint64_t least;         // how many would have been enough
    uint64_t worst;         // the most of one request
    uint64_t serial;        // atomic operations: the most lanes at one address
};

static void profile_begin_launch(Worker &w);
static void profile_begin_block(Worker &w);
static void profile_wait(Worker &w);
static void profile_barrier(Worker &w);
static void profile_end_launch();

// ------------------------------- ordering.cpp, races.cpp, access.cpp, spinning.cpp
static const ModuleVariable *find_variable(const Module &module, Address address);
static void check_begin_launch(Worker &w);
static void check_begin_block(Worker &w, uint64_t block);
static void check_barrier(Worker &w);
static void check_syncwarp(Worker &w, int warp, unsigned lanes);
static void check_end_launch(Worker &w);
static void made_progress();
