// Threads that wait for each other: warp operations and the barriers of a block.

static Where waiting_place(const Thread &thread)
{
    return at_line(blockIdx, thread.index, thread.file, thread.line);
}

static bool same_line(const Thread &one, const Thread &other)
{
    return one.line == other.line && !strcmp(one.file, other.file);
}

// ----------------------------------------------------------------------- warp operations
// Returns whether the lanes wait with the same mask for the same operation.
static bool lanes_agree(Worker &w, int index, unsigned lanes)
{
    const Warp &warp = w.warps[index];
    int first = __builtin_ctz(lanes);
    const Thread &leader = w.threads[index * 32 + first];
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        const Thread &thread = w.threads[index * 32 + lane];
        if (warp.mask[lane] != warp.mask[first]) return false;   // more lanes will arrive
        if (warp.operation[lane] == warp.operation[first] && same_line(thread, leader)) continue;
        stop(w, WARP, waiting_place(thread),
             "warp operations differ: lane %d is here, lane %d at %s:%d", lane, first, leader.file,
             leader.line);
        return false;
    }
    return true;
}

// Replaces the value that each lane passed with the result that it receives.
static bool exchange(Worker &w, int index, unsigned lanes)
{
    Warp &warp = w.warps[index];
    int operation = warp.operation[__builtin_ctz(lanes)];
    if (operation == GPU_SYNC) {
        if (w.launch->request->mode == CHECK) check_syncwarp(w, index, lanes);
        return true;
    }
    if (operation == GPU_TOGETHER) {
        GpuTogether *all[32] = {};
        for (unsigned rest = lanes; rest; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            all[lane] = (GpuTogether *)warp.value[lane];
        }
        all[__builtin_ctz(lanes)]->run(all, lanes);
        return true;
    }
    uint64_t given[32], votes = 0;
    memcpy(given, warp.value, sizeof given);
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        votes |= (given[lane] & 1) << lane;
    }
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest), source = warp.source[lane];
        bool reachable = source >= 0 && source < 32 && (lanes >> source & 1);
        if (operation == GPU_SHUFFLE && !reachable) {
            stop(w, WARP, waiting_place(w.threads[index * 32 + lane]),
                 "shuffle: lane %d reads lane %d, which does not participate", lane, source);
            return false;
        }
        warp.value[lane] = operation == GPU_BALLOT ? votes : given[source];
    }
    return true;
}

// If all active lanes of `mask` have arrived, executes their operation and makes them ready, except
// `self`, which continues without a switch.
static bool finish_warp(Worker &w, int index, unsigned mask, int self)
{
    Warp &warp = w.warps[index];
    unsigned lanes = mask & warp.alive;
    if (!lanes || (warp.waiting & lanes) != lanes) return false;
    if (!lanes_agree(w, index, lanes) || !exchange(w, index, lanes)) return false;
    if (w.launch->request->mode == CHECK) made_progress();
    warp.waiting &= ~lanes;
    bool reverse = w.launch->request->order == REVERSE;
    for (int i = 0; i < 32; ++i) {
        int lane = reverse ? 31 - i : i, thread = index * 32 + lane;
        if (!(lanes >> lane & 1)) continue;
        w.threads[thread].state = READY;
        if (thread != self) push_ready(w, thread);
    }
    return true;
}

GPU_API uint64_t gpu_warp(int operation, unsigned mask, uint64_t value, int source,
                          const char *file, int line)
{
    Worker &w = *worker;
    int self = w.current, lane = self % 32;
    Warp &warp = w.warps[self / 32];
    Thread &thread = w.threads[self];
    if (!(mask >> lane & 1))
        stop(w, WARP, at_line(blockIdx, thread.index, file, line),
             "lane %d calls a warp operation whose mask %#x excludes it", lane, mask);
    warp.waiting |= 1u << lane;
    warp.operation[lane] = operation;
    warp.mask[lane] = mask;
    warp.value[lane] = value;
    warp.source[lane] = source;
    thread.state = AT_WARP;
    thread.file = file;
    thread.line = line;
    if (!finish_warp(w, self / 32, mask, self)) give_way(w);
    return warp.value[lane];
}

GPU_API unsigned gpu_lane() { return (unsigned)worker->current % 32; }

// __activemask(): waits until no thread can run, and returns the lanes of the warp that wait here.
// So all lanes that take a branch get one mask, as on a GPU, where they run together.
GPU_API unsigned gpu_converged_lanes(const char *file, int line)
{
    Worker &w = *worker;
    int self = w.current;
    Thread &thread = w.threads[self];
    thread.state = AT_MASK;
    thread.file = file;
    thread.line = line;
    ++w.at_mask;
    give_way(w);
    return (unsigned)w.warps[self / 32].value[self % 32];
}

static void release_masks(Worker &w)
{
    w.at_mask = 0;
    for (int first = 0; first < w.count; ++first) {
        if (w.threads[first].state != AT_MASK) continue;
        int end = std::min(w.count, first / 32 * 32 + 32);
        unsigned lanes = 0;
        for (int t = first; t < end; ++t)
            if (w.threads[t].state == AT_MASK && same_line(w.threads[t], w.threads[first]))
                lanes |= 1u << t % 32;
        for (unsigned rest = lanes; rest; rest &= rest - 1) {
            int lane = __builtin_ctz(rest), thread = first / 32 * 32 + lane;
            w.warps[first / 32].value[lane] = lanes;
            w.threads[thread].state = READY;
            push_ready(w, thread);
        }
    }
}

// Lets other threads of the block run.
GPU_API void gpu_yield()
{
    Worker &w = *worker;
    Fiber *mine = w.threads[w.current].fiber;
    push_ready(w, w.current);
    Fiber *next = begin_next(w);
    if (next != mine) gpu_switch(&mine->stack_pointer, next->stack_pointer);
}

// ------------------------------------------------------------------------------ barriers
GPU_API int gpu_barrier(int vote, int predicate, const char *file, int line)
{
    Worker &w = *worker;
    Thread &thread = w.threads[w.current];
    if (w.launch->request->mode == CHECK) made_progress();
    w.voted += predicate != 0;
    ++w.at_barrier;
    thread.state = AT_BARRIER;
    thread.vote = vote;
    thread.file = file;
    thread.line = line;
    if (w.launch->request->mode == PROFILE) profile_wait(w);
    give_way(w);
    if (vote == GPU_COUNT) return w.vote_result;
    return vote == GPU_AND ? w.vote_result == w.count : w.vote_result != 0;
}

// "threads 0-31 wait at the barrier relu.cu:12; threads 32-63 have exited"
static std::string whereabouts(Worker &w)
{
    std::string text;
    for (int first = 0, runs = 0; first < w.count && runs < 4; ++runs) {
        const Thread &thread = w.threads[first];
        int last = first;
        while (last + 1 < w.count && w.threads[last + 1].state == thread.state &&
               (thread.state == EXITED || same_line(w.threads[last + 1], thread)))
            ++last;
        char part[400];
        snprintf(part, sizeof part, "%sthreads %d-%d ", runs ? "; " : "", first, last);
        text += part;
        if (thread.state == EXITED) text += "have exited";
        else {
            snprintf(part, sizeof part, "wait at %s %s:%d",
                     thread.state == AT_WARP ? "the warp operation" : "the barrier", thread.file,
                     thread.line);
            text += part;
        }
        first = last + 1;
    }
    return text;
}

static void report_stall(Worker &w, int kind, State waiting, const char *what)
{
    int first = 0;
    while (w.threads[first].state != waiting) ++first;
    const Thread &thread = w.threads[first];
    std::string all = whereabouts(w);
    stop(w, kind, waiting_place(thread), "%s: %s", what, all.c_str());
}

// No thread can run: threads wait for masks, the barrier is complete, or there is a fault.
static void release_barrier(Worker &w)
{
    if (w.at_mask) return release_masks(w);
    if (w.at_barrier + w.exited < w.count)
        return report_stall(w, WARP, AT_WARP, "not all of its lanes reach it");
    if (w.exited) return report_stall(w, BARRIER, AT_BARRIER, "not all threads reach it");
    for (int t = 1; t < w.count; ++t)
        if (!same_line(w.threads[t], w.threads[0]) || w.threads[t].vote != w.threads[0].vote)
            return report_stall(w, BARRIER, AT_BARRIER, "threads wait at different barriers");
    w.vote_result = w.voted;
    w.voted = w.at_barrier = 0;
    bool reverse = w.launch->request->order == REVERSE;
    for (int i = 0; i < w.count; ++i) {
        int thread = reverse ? w.count - 1 - i : i;
        w.threads[thread].state = READY;
        push_ready(w, thread);
    }
    if (w.launch->request->mode == CHECK) check_barrier(w);
    if (w.launch->request->mode == PROFILE) profile_barrier(w);
}
