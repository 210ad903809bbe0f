// What orders the accesses of two threads. Time is divided into epochs, numbered in order: a new one
// starts with every block and at every barrier. As one thread runs at a time in check mode, the
// epoch of an earlier access shows how it is ordered with the current one:
//
//   the same epoch                    unordered, except by one thread, with __syncwarp between, or
//                                     by a release;
//   an earlier epoch of this block    ordered by a barrier;
//   an earlier block of this launch   unordered, except by a release;
//   an earlier launch                 ordered.
//
// A thread releases what it wrote before a fence by an atomic operation or a volatile write after
// it. Another thread acquires that by an atomic operation on the same address or a volatile read.

typedef std::vector<uint16_t> Clocks;   // by thread: accesses before so many fences are visible

struct Release {   // to other blocks
    uint64_t block;
    uint32_t fence, epoch;         // the epochs of the fence and of the release
    uint16_t thread, fences;       // the releasing thread, and the number of its fences
    std::shared_ptr<const Clocks> clocks;   // what it had acquired in `epoch`, or null
};

struct LocalRelease {   // to threads of the block, until the next barrier
    uint32_t epoch = 0;
    Clocks clocks;
};

// The current block.
struct BlockHistory {
    uint64_t number = 0;
    uint32_t first = 1;                 // its first epoch
    uint32_t step[max_threads];
    uint32_t known[max_threads][32];    // by thread: the steps of its warp's lanes before it
    uint16_t fences[max_threads];       // how many each thread has executed
    uint16_t device_fences[max_threads];   // `fences` after the last one for all blocks
    uint32_t fence[max_threads];        // the epoch of that one, or 0
    uint32_t any_fence[max_threads];    // the epoch of the last fence, or 0
    bool fenced = false;                // by any thread
    uint32_t seen_epoch[max_threads];
    Clocks seen[max_threads];           // what each thread has acquired in that epoch
    std::unordered_map<Address, LocalRelease> releases;
    std::unordered_map<uint64_t, std::vector<Release>> acquired;   // by block
    std::unordered_map<Address, uint64_t> versions;   // of the lists that were acquired
};

struct Releases {   // of one address
    std::vector<Release> list;
    uint64_t version = 0;   // how often it has changed
};

static const size_t most_releases = 4096;   // in one list

struct History {
    uint32_t epoch = 1, launch = 1;                      // current; first of the launch
    std::vector<std::pair<uint32_t, uint64_t>> blocks;   // first epoch and number, in order
    bool resumed = false;   // a block of this launch, so that `blocks` lists it more than once
    BlockHistory block;
    std::unordered_map<Address, Releases> released;
};

static History history;

static uint64_t block_of(uint32_t epoch)
{
    size_t first = 0, last = history.blocks.size();
    while (last - first > 1) {
        size_t middle = (first + last) / 2;
        if (history.blocks[middle].first <= epoch) first = middle;
        else last = middle;
    }
    return history.blocks[first].second;
}

static void forget_block(Worker &w)
{
    BlockHistory &block = history.block;
    memset(block.step, 0, w.count * sizeof block.step[0]);
    memset(block.known, 0, w.count * sizeof block.known[0]);
    if (!block.fenced && block.acquired.empty()) return;
    memset(block.fences, 0, sizeof block.fences);
    memset(block.device_fences, 0, sizeof block.device_fences);
    memset(block.fence, 0, sizeof block.fence);
    memset(block.any_fence, 0, sizeof block.any_fence);
    memset(block.seen_epoch, 0, sizeof block.seen_epoch);
    block.fenced = false;
    block.releases.clear();
    block.acquired.clear();
    block.versions.clear();
}

static void merge(Clocks &into, const Clocks &from)
{
    if (into.empty()) into.resize(max_threads);
    for (int i = 0; i < max_threads; ++i) into[i] = std::max(into[i], from[i]);
}

static bool has_seen(int t)
{
    const BlockHistory &block = history.block;
    return block.seen_epoch[t] == history.epoch && !block.seen[t].empty();
}

static void see(int t, const Clocks &clocks)
{
    BlockHistory &block = history.block;
    if (!has_seen(t)) block.seen[t].assign(max_threads, 0);
    block.seen_epoch[t] = history.epoch;
    merge(block.seen[t], clocks);
}

// What a lane has acquired, all of them have after __syncwarp.
static void share_seen(int warp, unsigned lanes)
{
    Clocks together;
    for (int lane = 0; lane < 32; ++lane)
        if ((lanes >> lane & 1) && has_seen(warp * 32 + lane))
            merge(together, history.block.seen[warp * 32 + lane]);
    if (together.empty()) return;
    for (int lane = 0; lane < 32; ++lane)
        if (lanes >> lane & 1) see(warp * 32 + lane, together);
}

// __syncwarp: the steps ordered before any of the lanes are now ordered before all of them.
static void check_syncwarp(Worker &, int warp, unsigned lanes)
{
    BlockHistory &block = history.block;
    uint32_t together[32] = {};
    for (int lane = 0; lane < 32; ++lane) {
        if (!(lanes >> lane & 1)) continue;
        const uint32_t *known = block.known[warp * 32 + lane];
        for (int other = 0; other < 32; ++other)
            if (known[other] > together[other]) together[other] = known[other];
    }
    for (int lane = 0; lane < 32; ++lane)
        if (lanes >> lane & 1) together[lane] = ++block.step[warp * 32 + lane];
    for (int lane = 0; lane < 32; ++lane)
        if (lanes >> lane & 1) memcpy(block.known[warp * 32 + lane], together, sizeof together);
    if (block.fenced) share_seen(warp, lanes);
}

// ----------------------------------------------------------------- fences and releases
// of_device: a fence for all blocks, not only for the threads of this one.
GPU_API void gpu_fence(int of_device)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    Worker *w = worker;
    if (w->launch->request->mode != CHECK) return;
    BlockHistory &block = history.block;
    int t = w->current;
    block.fenced = true;
    block.any_fence[t] = history.epoch;
    ++block.fences[t];
    if (!of_device) return;
    block.fence[t] = history.epoch;
    block.device_fences[t] = block.fences[t];
}

static void add_release(std::vector<Release> &here, const Release &release)
{
    for (Release &old : here)
        if (old.block == release.block && old.thread == release.thread) {
            if (old.epoch <= release.epoch) old = release;
            return;
        }
    if (here.size() == most_releases) here.erase(here.begin());
    here.push_back(release);
}

static void acquire(int t, Address address)
{
    BlockHistory &block = history.block;
    auto local = block.releases.find(address);
    if (local != block.releases.end() && local->second.epoch == history.epoch)
        see(t, local->second.clocks);
    auto found = history.released.find(address);
    if (found == history.released.end()) return;
    uint64_t &version = block.versions[address];
    if (version == found->second.version) return;
    version = found->second.version;
    for (const Release &release : found->second.list)
        if (release.block != block.number) add_release(block.acquired[release.block], release);
}

// Adds what a thread's lanes did before the last __syncwarp that it has passed.
static void add_lanes(int t, Clocks &clocks)
{
    const BlockHistory &block = history.block;
    for (int lane = 0; lane < 32; ++lane) {
        int other = t / 32 * 32 + lane;
        if (other == t || !block.known[t][lane]) continue;
        clocks[other] = std::max<uint16_t>(clocks[other], block.fences[other] + 1);
    }
}

static void release(int t, Address address)
{
    BlockHistory &block = history.block;
    bool fenced = block.any_fence[t] == history.epoch;
    if (!fenced && !has_seen(t) && !block.fence[t]) return;
    Clocks clocks(max_threads);
    if (has_seen(t)) clocks = block.seen[t];
    if (block.step[t]) add_lanes(t, clocks);
    if (fenced) clocks[t] = block.fences[t];
    LocalRelease &local = block.releases[address];
    if (local.epoch != history.epoch) local.clocks.clear();
    local.epoch = history.epoch;
    merge(local.clocks, clocks);
    if (!block.fence[t]) return;
    Releases &here = history.released[address];
    ++here.version;
    for (const auto &acquired : block.acquired)
        for (const Release &other : acquired.second) add_release(here.list, other);
    bool shares = has_seen(t) || block.step[t];
    add_release(here.list, {block.number, block.fence[t], history.epoch, (uint16_t)t,
                            block.device_fences[t],
                            shares ? std::make_shared<const Clocks>(clocks) : nullptr});
}

// Called for an atomic operation, a volatile read or a volatile write.
static void synchronise(Worker &w, Address address, bool writes, bool reads)
{
    if (!history.block.fenced && history.released.empty()) return;
    if (reads) acquire(w.current, address);
    if (writes) release(w.current, address);
}

// Whether thread `other` of this block made an access, after so many fences, before what thread t
// has acquired.
static bool has_acquired(int t, int other, uint16_t fences)
{
    return history.block.fenced && has_seen(t) && history.block.seen[t][other] > fences;
}

// Whether a release makes an access of its block visible.
static bool makes_visible(const Release &r, uint32_t epoch, int thread, uint16_t fences,
                          bool is_atomic)
{
    // The releasing operation itself: the other block may reset the counter.
    if (is_atomic && thread == r.thread && epoch == r.epoch) return true;
    if (epoch < r.fence) return true;
    if (r.clocks && epoch == r.epoch && (*r.clocks)[thread] > fences) return true;
    if (epoch > r.fence) return false;
    // In the epoch of the fence: accesses of its own thread before the fence, and those of other
    // threads before their fences, if a barrier follows. Every thread of the block is assumed to
    // have executed as many fences as the releasing one.
    return fences < r.fences && (thread == r.thread || r.fence < r.epoch);
}

static bool has_acquired_from(uint64_t block, uint32_t epoch, int thread, uint16_t fences,
                              bool is_atomic)
{
    auto found = history.block.acquired.find(block);
    if (found == history.block.acquired.end()) return false;
    for (const Release &release : found->second)
        if (makes_visible(release, epoch, thread, fences, is_atomic)) return true;
    return false;
}
