// Profile mode, part 1: what each thread did, in order.
//
// The lanes of a warp run one after another, so each records a trace: the basic blocks that it
// enters (g++ -fsanitize-coverage=trace-pc) and its accesses (-fsanitize=thread, whose functions
// order.py renames). When all lanes of a warp wait at a barrier or have ended, their traces are
// replayed together (profile.cpp).

// An event as one number. The lowest goes first: the deepest in calls, then the first in the code.
static const uint32_t no_event = ~0u, most_depth = 30, most_ranks = 1u << 26;
static const size_t most_events = 8192;   // of a lane; then the other lanes run as far

static uint32_t event_at(uint32_t rank, uint32_t depth, bool access)
{
    return (most_depth - std::min(depth, most_depth)) << 27 | rank << 1 | access;
}
static bool is_access(uint32_t event) { return event & 1; }
static uint32_t rank_of(uint32_t event) { return event >> 1 & (most_ranks - 1); }

struct Touch {   // an access of one lane
    uint64_t address : 48, size : 8, use : 4, space : 4;
};

struct Trace {
    std::vector<uint32_t> events;
    std::vector<Touch> touches;   // of those events that are accesses
    size_t next_event = 0, next_touch = 0;
    uint32_t depth = 0;

    bool empty() const { return next_event == events.size(); }
    void drop_replayed()
    {
        events.erase(events.begin(), events.begin() + next_event);
        touches.erase(touches.begin(), touches.begin() + next_touch);
        next_event = next_touch = 0;
    }
};

static Worker *profiling;   // the worker, while a launch in profile mode runs
static const Module *profiled;
static Address traced_shared;   // where its shared memory begins on this thread
static Trace traces[max_threads];
static int running[max_warps];   // lanes that neither wait at a barrier nor have ended

static void replay(Worker &w, int warp);

static void clear_traces(Worker &w)
{
    for (int i = 0; i < (w.count + 31) / 32 * 32; ++i) {
        traces[i].events.clear();
        traces[i].touches.clear();
        traces[i].next_event = traces[i].next_touch = 0;
        traces[i].depth = 0;
    }
}

static void profile_begin_block(Worker &w)
{
    clear_traces(w);
    for (int i = 0; i * 32 < w.count; ++i) running[i] = std::min(32, w.count - i * 32);
}

// The current thread waits at a barrier, or has ended.
static void profile_wait(Worker &w)
{
    if (--running[w.current / 32] == 0) replay(w, w.current / 32);
}

static void profile_barrier(Worker &w)
{
    for (int i = 0; i * 32 < w.count; ++i) running[i] = __builtin_popcount(w.warps[i].alive);
}

// Replays what can be replayed before all lanes have arrived, so that a long loop needs no more
// memory than a short one. If the current thread's trace remains full, other lanes must run first.
static void __attribute__((noinline)) make_room(Worker &w)
{
    int self = w.current;
    replay(w, self / 32);
    while (traces[self].events.size() >= most_events && w.ready_count && !w.aborted) {
        Fiber *mine = w.threads[self].fiber, *next = begin_next(w);
        push_ready(w, self);
        gpu_switch(&mine->stack_pointer, next->stack_pointer);
        replay(w, self / 32);
    }
}

static inline Trace &trace_event(Worker &w, void *pc, bool access)
{
    Trace &trace = traces[w.current];
    if (trace.events.size() >= most_events) make_room(w);
    uint32_t rank = profiled->ranks[(Address)pc - profiled->code];
    trace.events.push_back(event_at(rank, trace.depth, access));
    return trace;
}

// Whether an address is of a __device__ variable. The constant cache serves __constant__ ones.
static bool of_device_variable(Address address)
{
    if (address - profiled->data >= profiled->data_end - profiled->data) return false;
    const ModuleVariable *variable = find_variable(*profiled, address);
    return !variable || !variable->constant;
}

static inline void trace_access(void *pointer, size_t size, Use use, void *pc)
{
    Worker *w = profiling;
    if (!w || !w->inside) return;
    Address address = (Address)pointer;
    Space space = address - traced_shared < profiled->shared_bytes ? SHARED : GLOBAL;
    if (space == SHARED || address - arena.low < arena.size || of_device_variable(address))
        trace_event(*w, pc, true).touches.push_back({address, size, use, space});
}

// A struct that is not a vector goes in pieces: as large as its size and its address allow.
static void trace_range(void *pointer, size_t size, Use use, void *pc)
{
    Address bits = (Address)pointer | size | 16;
    if (size <= 16 && !(size & (size - 1))) bits |= size / 2;   // aligned, it would be no range
    size_t piece = bits & -bits;
    for (size_t done = 0; done < size; done += piece)
        trace_access((char *)pointer + done, piece, use, pc);
}

// ------------------------------------------------------- functions that kernels' code calls
#define GPU_TRACE(size)                                                                        \
    GPU_API void gpu_trace_read##size(void *p)                                                 \
    {                                                                                          \
        trace_access(p, size, READ, __builtin_return_address(0));                              \
    }                                                                                          \
    GPU_API void gpu_trace_write##size(void *p)                                                \
    {                                                                                          \
        trace_access(p, size, WRITE, __builtin_return_address(0));                             \
    }                                                                                          \
    GPU_API void gpu_trace_unaligned_read##size(void *p)                                       \
    {                                                                                          \
        trace_access(p, size, READ, __builtin_return_address(0));                              \
    }                                                                                          \
    GPU_API void gpu_trace_unaligned_write##size(void *p)                                      \
    {                                                                                          \
        trace_access(p, size, WRITE, __builtin_return_address(0));                             \
    }
GPU_TRACE(1)
GPU_TRACE(2)
GPU_TRACE(4)
GPU_TRACE(8)
GPU_TRACE(16)
GPU_API void gpu_trace_read_range(void *p, size_t size)
{
    trace_range(p, size, READ, __builtin_return_address(0));
}
GPU_API void gpu_trace_write_range(void *p, size_t size)
{
    trace_range(p, size, WRITE, __builtin_return_address(0));
}
GPU_API void gpu_trace_atomic(void *p, size_t size, int, void *caller)
{
    trace_access(p, size, ATOMIC, caller);
}
GPU_API void gpu_trace_init() {}
GPU_API void gpu_trace_func_entry(void *)
{
    if (profiling && profiling->inside) ++traces[profiling->current].depth;
}
GPU_API void gpu_trace_func_exit()
{
    if (profiling && profiling->inside) --traces[profiling->current].depth;
}
GPU_API void __sanitizer_cov_trace_pc()
{
    if (profiling && profiling->inside)
        trace_event(*profiling, __builtin_return_address(0), false);
}
