// Runs one block: starts its threads, runs them in turns, and ends them.

static void end_thread(Worker &w)
{
    int self = w.current, index = self / 32;
    Warp &warp = w.warps[index];
    if (w.launch->request->mode == CHECK) made_progress();
    w.threads[self].state = EXITED;
    ++w.exited;
    warp.alive &= ~(1u << self % 32);
    if (w.launch->request->mode == PROFILE) profile_wait(w);
    // Lanes that waited for this one may be complete now.
    for (int lane = 0; lane < 32 && warp.waiting; ++lane)
        if (warp.waiting >> lane & 1) finish_warp(w, index, warp.mask[lane], -1);
}

// Called by a thread that has ended. Its fiber is reused for another thread.
static void leave_fiber(Worker &w)
{
    if (!w.ready_count || w.aborted) return to_scheduler(w);
    Thread &ended = w.threads[w.current];
    Fiber *mine = ended.fiber, *next = begin_next(w);   // before `mine` is released
    ended.fiber = nullptr;
    w.free_fibers.push_back(mine);
    gpu_switch(&mine->stack_pointer, next->stack_pointer);
}

static void fiber_main()
{
    Worker &w = *worker;
    for (;;) {
        const Request *request = w.launch->request;   // differs from launch to launch
        request->kernel->run(request->arguments());
        int self = w.current;
        w.inside = false;   // a fault found in end_thread returns instead of switching
        end_thread(w);
        w.inside = true;
        // A thread that has not started can use this stack at once, without a switch.
        if (!w.aborted && w.ready_count && w.launch->request->order != RANDOM &&
            w.threads[w.ready[w.ready_first]].state == FRESH) {
            int next = pop_ready(w);
            w.threads[next].fiber = w.threads[self].fiber;
            w.threads[self].fiber = nullptr;
            w.threads[next].state = READY;
            become(w, next);
            continue;
        }
        leave_fiber(w);
    }
}

static void begin_block(Worker &w, uint64_t number)
{
    Launch &launch = *w.launch;
    unsigned across = gridDim.x, down = gridDim.y;
    blockIdx = {(unsigned)(number % across), (unsigned)(number / across % down),
                (unsigned)(number / across / down)};
    w.count = (int)launch.block_threads;
    w.exited = w.at_barrier = w.at_mask = w.voted = 0;
    w.ready_first = w.ready_count = 0;
    w.random = (launch.request->seed * 0x9e3779b97f4a7c15u + number + 1) * 0xd1b54a32d192ed03u | 1;
    bool reverse = launch.request->order == REVERSE;
    for (int i = 0; i < w.count; ++i) {
        w.threads[i].state = FRESH;
        w.threads[i].fiber = nullptr;
        w.threads[i].locals = nullptr;
        push_ready(w, reverse ? w.count - 1 - i : i);
    }
    for (int i = 0; i * 32 < w.count; ++i) {
        int lanes = w.count - i * 32;
        w.warps[i].waiting = 0;
        w.warps[i].alive = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    }
    if (launch.request->mode == CHECK) check_begin_block(w, number);
    if (launch.request->mode == PROFILE) profile_begin_block(w);
}

// Returns whether the block has ended: false if its threads wait for other blocks.
static bool run_block(Worker &w)
{
    while (!w.aborted) {
        if (w.ticked && is_interrupted(w)) return true;
        if (!w.ready_count) {
            if (w.exited == w.count) return true;
            release_barrier(w);
            continue;
        }
        Fiber *next = begin_next(w);
        do {
            w.preempted = false;
            w.inside = true;
            gpu_switch(&w.scheduler, next->stack_pointer);
            w.inside = false;
            next = w.threads[w.current].fiber;
        } while (w.preempted && !is_interrupted(w));
        if (w.stalled) {
            w.stalled = false;
            return false;
        }
        Thread &stopped = w.threads[w.current];   // possibly another thread than `next`
        if (stopped.state == EXITED && !w.aborted) {
            w.free_fibers.push_back(stopped.fiber);
            stopped.fiber = nullptr;
        }
    }
    return true;
}

// After a fault: abandons the threads that have not ended.
static void drop_threads(Worker &w)
{
    for (int i = 0; i < w.count; ++i) {
        Fiber *fiber = w.threads[i].fiber;
        if (!fiber) continue;
        rewind_fiber(fiber);
        w.free_fibers.push_back(fiber);
        w.threads[i].fiber = nullptr;
    }
}
