// Finds races. Time is divided into epochs, numbered in order: a new one starts with every block
// and at every barrier. As blocks run one after another in check mode, the epoch of an earlier
// access shows how it is ordered with the current one:
//
//   the same epoch                    unordered, except by one thread or with __syncwarp between;
//   an earlier epoch of this block    ordered by a barrier;
//   an earlier block of this launch   unordered, unless published (see Publication);
//   an earlier launch                 ordered.

struct Access {   // by lanes of one warp to one word, within the current epoch
    uint32_t next;         // index of the next access of the word, or 0
    uint32_t pc;
    uint32_t lanes;
    uint32_t step;         // the number of __syncwarp that the lanes had passed
    uint8_t warp, use, bytes;   // bytes: a bit for each byte of the word
};

struct Last {   // the last read or write of a word, for comparison with later blocks
    uint32_t epoch, pc;
    uint16_t thread : 10, bytes : 4, use : 2;
    uint16_t fences;   // the number that the thread had passed
};

struct Cell {   // the accesses of one word (4 bytes)
    uint32_t epoch, list;   // the epoch, and its first access
    uint32_t changed;       // one of them is a write or an atomic operation
};

struct GlobalCell : Cell {
    Last write, read;
    Last earlier_write, earlier_read;   // the last ones of an earlier block
};

struct SharedCell : Cell {
    uint32_t block;       // the first epoch of the block to which `written` refers
    uint8_t written;      // a bit for each byte
};

// A thread that executes __threadfence and then an atomic operation publishes what its block wrote
// before the fence. A block that later executes an atomic operation on the same address may access
// it.
struct Publication {
    uint32_t first, fence, last;   // epochs: the block's first, of the fence, of the operation
    uint16_t thread, fences;       // the publishing thread, and the number of its fences
};

struct History {
    uint32_t epoch = 1, launch = 1, block = 1;   // current; first of the launch, of the block
    std::vector<std::pair<uint32_t, uint64_t>> blocks;   // first epoch and number, in order
    std::vector<Access> accesses;                // of this epoch; entry 0 is unused
    uint32_t step[max_threads];
    uint32_t known[max_threads][32];   // by thread: the steps of its warp's lanes before it
    uint32_t fence[max_threads];       // the epoch of each thread's last fence, or 0
    uint16_t fences[max_threads];
    std::unordered_map<Address, std::vector<Publication>> published;
    std::unordered_map<uint32_t, Publication> acquired;   // by the first epoch of the other block
    std::vector<std::pair<uint32_t, uint32_t>> reported;  // pairs of instructions
};

static History history;

static void next_epoch()
{
    ++history.epoch;
    history.accesses.resize(1);
}

static size_t cell_bytes(const Allocation *memory)
{
    return (memory->map_high - memory->map_low) / 4 * sizeof(GlobalCell);
}

// Before the numbers of epochs overflow, all accesses are forgotten and the numbers restart.
static void forget_epochs()
{
    for (Allocation *memory : arena.all)
        if (memory->cells) madvise(memory->cells, cell_bytes(memory), MADV_DONTNEED);
    history.epoch = 1;
}

static uint32_t block_of(uint32_t epoch, uint64_t *number)
{
    size_t first = 0, last = history.blocks.size();
    while (last - first > 1) {
        size_t middle = (first + last) / 2;
        if (history.blocks[middle].first <= epoch) first = middle;
        else last = middle;
    }
    *number = history.blocks[first].second;
    return history.blocks[first].first;
}

static void check_begin_block(Worker &w, uint64_t number)
{
    next_epoch();
    history.block = history.epoch;
    history.blocks.push_back({history.epoch, number});
    memset(history.step, 0, w.count * sizeof history.step[0]);
    memset(history.known, 0, w.count * sizeof history.known[0]);
    memset(history.fence, 0, w.count * sizeof history.fence[0]);
    memset(history.fences, 0, w.count * sizeof history.fences[0]);
    history.acquired.clear();
}

static void check_barrier(Worker &) { next_epoch(); }

// __syncwarp: the steps ordered before any of the lanes are now ordered before all of them.
static void check_syncwarp(Worker &, int warp, unsigned lanes)
{
    uint32_t together[32] = {};
    for (int lane = 0; lane < 32; ++lane) {
        if (!(lanes >> lane & 1)) continue;
        const uint32_t *known = history.known[warp * 32 + lane];
        for (int other = 0; other < 32; ++other)
            if (known[other] > together[other]) together[other] = known[other];
    }
    for (int lane = 0; lane < 32; ++lane)
        if (lanes >> lane & 1) together[lane] = ++history.step[warp * 32 + lane];
    for (int lane = 0; lane < 32; ++lane)
        if (lanes >> lane & 1)
            memcpy(history.known[warp * 32 + lane], together, sizeof together);
}

// --------------------------------------------------------------------------- publication
GPU_API void gpu_fence()
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    Worker *w = worker;
    if (w->launch->request->mode != CHECK) return;
    history.fence[w->current] = history.epoch;
    ++history.fences[w->current];
}

static void publish_and_acquire(Worker &w, Address address)
{
    int t = w.current;
    if (!history.fence[t] && history.published.empty()) return;
    std::vector<Publication> &here = history.published[address];
    for (const Publication &publication : here)
        if (publication.first != history.block)
            history.acquired[publication.first] = publication;
    if (!history.fence[t]) return;
    for (const auto &acquired : history.acquired) here.push_back(acquired.second);
    here.push_back({history.block, history.fence[t], history.epoch, (uint16_t)t,
                    history.fences[t]});
}

static bool acquired(const Last &last)
{
    if (history.acquired.empty()) return false;
    uint64_t number;
    auto found = history.acquired.find(block_of(last.epoch, &number));
    if (found == history.acquired.end()) return false;
    const Publication &p = found->second;
    // The publishing operation itself: the other block may reset the counter.
    if (last.use == ATOMIC && last.thread == p.thread && last.epoch == p.last) return true;
    if (last.epoch != p.fence) return last.epoch < p.fence;
    // In the epoch of the fence: accesses of its own thread before the fence, and those of other
    // threads before their fences, if a barrier follows. Every thread of the block is assumed to
    // have passed as many fences as the publishing one.
    return last.fences < p.fences && (last.thread == p.thread || p.fence < p.last);
}

// ------------------------------------------------------------------------------- reports
static const char *const use_names[] = {"read", "write", "atomic operation"};

static void report_race(Worker &w, Where other, uint32_t other_pc, Use other_use, Use use,
                        void *pc, const char *space)
{
    uint32_t mine = (uint32_t)((Address)pc - w.launch->request->module->base);
    std::pair<uint32_t, uint32_t> both(std::min(mine, other_pc), std::max(mine, other_pc));
    for (const auto &seen : history.reported)
        if (seen == both) return;
    history.reported.push_back(both);
    other.pc = other_pc;
    note(w, RACE, here(w, pc), &other, "%s of %s memory races with %s %s", use_names[use], space,
         other_use == ATOMIC ? "an" : "a", use_names[other_use]);
}

static void race_with_thread(Worker &w, const Access &access, int lane, Use use, void *pc,
                             const char *space)
{
    Where other = {};
    other.block = blockIdx;
    other.thread = w.threads[access.warp * 32 + lane].index;
    report_race(w, other, access.pc, (Use)access.use, use, pc, space);
}

static void race_with_block(Worker &w, const Last &last, Use use, void *pc)
{
    Where other = {};
    uint64_t number;
    block_of(last.epoch, &number);
    unsigned across = gridDim.x, down = gridDim.y;
    other.block = {(unsigned)(number % across), (unsigned)(number / across % down),
                   (unsigned)(number / across / down)};
    other.thread = w.threads[last.thread].index;
    report_race(w, other, last.pc, (Use)last.use, use, pc, "global");
}

// --------------------------------------------------------------------------------- words
static bool conflict(uint8_t one, uint8_t other)
{
    return (one != READ || other != READ) && !(one == ATOMIC && other == ATOMIC);
}

// Compares an access with those of the same epoch, and adds it to the list of the word.
static void within_block(Worker &w, Cell &cell, uint8_t bytes, Use use, void *pc,
                         const char *space)
{
    if (cell.epoch != history.epoch) cell.epoch = history.epoch, cell.list = cell.changed = 0;
    cell.changed |= use != READ;
    int t = w.current, warp = t / 32;
    uint32_t self = 1u << t % 32;
    Access *same = nullptr;
    for (uint32_t i = cell.list; i; i = history.accesses[i].next) {
        Access &access = history.accesses[i];
        if (conflict(access.use, use) && (access.bytes & bytes)) {
            uint32_t others = access.warp == warp ? access.lanes & ~self : access.lanes;
            for (; others; others &= others - 1) {
                int lane = __builtin_ctz(others);
                if (access.warp == warp && access.step < history.known[t][lane]) continue;
                race_with_thread(w, access, lane, use, pc, space);
                break;
            }
        }
        if (access.warp == warp && access.step == history.step[t] && access.use == use &&
            access.bytes == bytes) {
            same = &access;
            if (!cell.changed) break;   // only reads: no conflict is possible
        }
    }
    if (same) {
        same->lanes |= self;
        return;
    }
    uint32_t at = (uint32_t)((Address)pc - w.launch->request->module->base);
    history.accesses.push_back({cell.list, at, self, history.step[t], (uint8_t)warp, use, bytes});
    cell.list = (uint32_t)history.accesses.size() - 1;
}

static bool of_earlier_block(const Last &last)
{
    return last.epoch >= history.launch && last.epoch < history.block;
}

static void across_blocks(Worker &w, GlobalCell &cell, uint8_t bytes, Use use, void *pc)
{
    const Last *others[] = {&cell.write, &cell.read, &cell.earlier_write, &cell.earlier_read};
    for (const Last *last : others)
        if (conflict(last->use, use) && of_earlier_block(*last) && (last->bytes & bytes) &&
            !acquired(*last)) {
            race_with_block(w, *last, use, pc);
            break;
        }
    Last &mine = use == READ ? cell.read : cell.write;
    if (of_earlier_block(mine)) (use == READ ? cell.earlier_read : cell.earlier_write) = mine;
    uint8_t before = mine.epoch >= history.launch ? mine.bytes : 0;
    uint32_t at = (uint32_t)((Address)pc - w.launch->request->module->base);
    mine = {history.epoch, at, (uint16_t)w.current, (uint16_t)(bytes | before), use,
            history.fences[w.current]};
}
