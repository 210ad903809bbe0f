// Threads that wait for others in a loop: for a lock, a flag, or the blocks of a grid-wide barrier.
//
// In check mode a thread that polls a word, by atomic operations or volatile reads, makes way for the
// other threads of its block. If they can only poll as well, the block is suspended and others run.
// A launch in which no block can go on has a deadlock.

static const int polls_per_turn = 16;
static const int idle_turns = 1000;   // and so many for each thread, before a block is suspended
static const size_t most_suspended = 32 * max_threads;   // threads

struct Spin {
    uint64_t progress = 0;   // events that may end a wait
    Address address = 0;     // the word polled last, its contents, and the thread and line
    size_t size = 0;
    char before[16];
    int thread = -1;
    void *pc = nullptr;
    int polls = 0;           // in this turn
    int idle = 0;            // turns since the last progress
};

struct Suspended {
    uint3 block;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<int> ready;
    std::vector<char> shared;
    std::vector<SharedCell> cells;
    BlockHistory history;
    int exited, at_barrier, current, voted;
    uint64_t random;
    void *pc;
};

static Spin spin;
static std::deque<Suspended *> suspended;
static size_t suspended_threads;
static size_t fruitless;          // turns of suspended blocks since the last progress
static uint64_t progress_before;   // when the last block was suspended

static void made_progress()
{
    ++spin.progress;
    spin.polls = spin.idle = 0;
}

// Another access than a poll: reading the same words again is part of waiting.
static inline void note_access(bool is_new)
{
    if (spin.polls && is_new) made_progress();
}

static void make_way(Worker &w)
{
    Thread &thread = w.threads[w.current];
    if (!w.ready_count && w.at_mask) release_masks(w);
    bool stalls = ++spin.idle > idle_turns + 2 * w.count;
    if (!stalls && !w.ready_count) return;
    thread.state = READY;
    push_ready(w, w.current);
    if (!stalls) return give_way(w);
    spin.idle = 0;
    w.stalled = true;
    to_scheduler(w);
}

// Called before an atomic operation or a volatile access.
static void poll(Worker &w, Address address, size_t size, void *pc)
{
    if (spin.size && memcmp((const void *)spin.address, spin.before, spin.size)) made_progress();
    bool again = spin.thread == w.current && spin.address == address;
    spin.polls = again ? spin.polls + 1 : 1;
    spin.thread = w.current;
    spin.address = address;
    spin.size = std::min(size, sizeof spin.before);
    spin.pc = pc;
    memcpy(spin.before, (const void *)address, spin.size);
    if (spin.polls < polls_per_turn) return;
    spin.polls = 0;
    make_way(w);
}

static void forget_spins()
{
    spin = Spin();
    fruitless = 0;
}

// --------------------------------------------------------------------- suspended blocks
static void suspend(Worker &w)
{
    settle(w);
    Suspended *block = new Suspended;
    block->block = blockIdx;
    block->threads.assign(w.threads, w.threads + w.count);
    block->warps.assign(w.warps, w.warps + (w.count + 31) / 32);
    while (w.ready_count) {
        block->ready.push_back(w.ready[w.ready_first]);
        w.ready_first = (w.ready_first + 1) % max_threads;
        --w.ready_count;
    }
    block->shared.assign((char *)shared_low, (char *)shared_low + shared_bytes);
    block->cells = shared_cells;
    block->history = std::move(history.block);
    history.block = BlockHistory();
    history.block.fenced = true;   // so that all of it is set to zero
    block->exited = w.exited;
    block->at_barrier = w.at_barrier;
    block->current = w.current;
    block->voted = w.voted;
    block->random = w.random;
    block->pc = spin.pc;
    suspended.push_back(block);
    suspended_threads += w.count;
    for (int i = 0; i < w.count; ++i) w.threads[i].fiber = nullptr;
    fruitless = spin.progress == progress_before ? fruitless + 1 : 0;
    progress_before = spin.progress;
    spin.size = 0;
}

static void resume(Worker &w)
{
    std::unique_ptr<Suspended> block(suspended.front());
    suspended.pop_front();
    suspended_threads -= w.count;
    blockIdx = block->block;
    std::copy(block->threads.begin(), block->threads.end(), w.threads);
    std::copy(block->warps.begin(), block->warps.end(), w.warps);
    w.ready_first = 0;
    w.ready_count = (int)block->ready.size();
    std::copy(block->ready.begin(), block->ready.end(), w.ready);
    memcpy((char *)shared_low, block->shared.data(), shared_bytes);
    shared_cells = std::move(block->cells);
    history.block = std::move(block->history);
    w.exited = block->exited;
    w.at_barrier = block->at_barrier;
    w.current = block->current;
    w.voted = block->voted;
    w.random = block->random;
    spin.pc = block->pc;
    next_epoch();
    history.blocks.push_back({history.epoch, history.block.number});
    history.resumed = true;
}

static bool can_suspend(Worker &w)
{
    return suspended_threads + (size_t)w.count <= most_suspended;
}

// Whether all suspended blocks had a turn without progress.
static bool is_deadlock() { return fruitless > suspended.size() + 1; }

static void report_deadlock(Worker &w, bool full)
{
    std::string others;
    if (w.at_barrier || w.exited) others = ": " + whereabouts(w);
    stop(w, DEADLOCK, here(w, spin.pc), "waits in a loop for a value that no thread%s writes%s",
         full ? " of the blocks that fit the device at once" : "", others.c_str());
}

static void drop_suspended(Worker &w)
{
    for (Suspended *block : suspended) {
        std::copy(block->threads.begin(), block->threads.end(), w.threads);
        drop_threads(w);
        delete block;
    }
    suspended.clear();
    suspended_threads = 0;
}
