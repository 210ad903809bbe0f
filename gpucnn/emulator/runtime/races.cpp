// Finds races: two accesses of one word, one of them a write, that nothing orders (ordering.cpp).

static Use kind_of(int use) { return (Use)(use & 3); }

struct Access {   // by lanes of one warp to one word, within the current epoch
    uint32_t next;         // index of the next access of the word, or 0
    uint32_t pc;
    uint32_t lanes;
    uint32_t step;         // the number of __syncwarp that the lanes had passed
    uint16_t warp : 5, use : 3, bytes : 4;   // bytes: a bit for each byte of the word
    uint16_t fences;       // the number that the lanes had passed
};

struct Last {   // the last read or write of a word, for comparison with later blocks
    uint32_t epoch, pc;
    uint32_t thread : 10, bytes : 4, use : 3, fences : 15;
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

static Address shared_low;   // the shared memory of the running block
static size_t shared_bytes;
static std::vector<SharedCell> shared_cells;

struct Now {   // the current access
    Address address;
    size_t size;
    Use use;
    void *pc;
    const char *space;
};

struct Race {
    Use use, other_use;
    const char *space;
    uint32_t pc, other_pc;
    int thread, other_thread;
    uint64_t block, other_block;
    Address word;
};

static const size_t most_compared = 4096;   // bytes

// A write that races: whether it matters is known when it has been executed. It does not if it
// changes nothing and the other thread writes (may_repeat) as well.
struct Pending {
    bool active = false, is_flag = false, may_repeat = false;
    Race race;
    Address address;
    size_t size;
    char before[most_compared];
};

typedef std::vector<std::pair<uint32_t, uint32_t>> Pairs;   // of instructions

static Access *accesses;   // of this epoch; entry 0 is unused
static uint32_t access_count, access_room;
static Pending pending;
static std::vector<Race> unconfirmed;  // reads that an atomicCAS on the same word makes harmless
static Pairs reported, noted;
static std::vector<uint32_t> guesses;   // instructions that read what an atomicCAS then compared

static size_t cell_bytes(const Allocation *memory)
{
    return (memory->map_high - memory->map_low) / 4 * sizeof(GlobalCell);
}

// ------------------------------------------------------------------------------- reports
static const char *const use_names[] = {"read", "write", "atomic operation"};

static bool is_new(Pairs &pairs, const Race &race)
{
    std::pair<uint32_t, uint32_t> both(std::min(race.pc, race.other_pc),
                                       std::max(race.pc, race.other_pc));
    for (const auto &seen : pairs)
        if (seen == both) return false;
    pairs.push_back(both);
    return true;
}

static uint3 block_index(uint64_t number)
{
    unsigned across = gridDim.x, down = gridDim.y;
    return {(unsigned)(number % across), (unsigned)(number / across % down),
            (unsigned)(number / across / down)};
}

static Where place(Worker &w, uint64_t block, int thread, uint32_t pc)
{
    Where where = {};
    where.block = block_index(block);
    where.thread = w.threads[thread].index;
    where.pc = pc;
    return where;
}

static void report_race(Worker &w, const Race &race, bool same_value)
{
    if (!is_new(same_value ? noted : reported, race)) return;
    Where here = place(w, race.block, race.thread, race.pc);
    Where other = place(w, race.other_block, race.other_thread, race.other_pc);
    Use one = kind_of(race.use), two = kind_of(race.other_use);
    if (same_value)
        return note(w, SAME_VALUE, here, &other,
                    "write of %s memory, of the value that another thread writes", race.space);
    note(w, RACE, here, &other, "%s of %s memory races with %s %s", use_names[one], race.space,
         two == ATOMIC ? "an" : "a", use_names[two]);
}

// Whether the bytes are a number from 0 to 3, as those of flags are.
static bool is_small(const void *value, size_t size)
{
    uint64_t number = 0;
    if (size > sizeof number) return false;
    memcpy(&number, value, size);
    return number < 4;
}

static void resolve_pending(Worker &w)
{
    pending.active = false;
    const void *after = (const void *)pending.address;
    if (pending.may_repeat && !memcmp(after, pending.before, pending.size)) {
        if (kind_of(pending.race.other_use) == WRITE) report_race(w, pending.race, true);
    } else if (!pending.is_flag || !is_small(after, pending.size) ||
               !is_small(pending.before, pending.size))
        report_race(w, pending.race, false);
}

static bool is_guess(uint32_t pc)
{
    for (uint32_t guess : guesses)
        if (guess == pc) return true;
    return false;
}

static void report_unconfirmed(Worker &w)
{
    for (const Race &race : unconfirmed)
        if (!is_guess(race.pc)) report_race(w, race, false);
    unconfirmed.clear();
}

static void settle(Worker &w)
{
    if (pending.active) resolve_pending(w);
    if (!unconfirmed.empty()) report_unconfirmed(w);
}

static void found_race(Worker &w, const Now &now, const Race &race, bool is_flag, bool may_repeat)
{
    Use use = kind_of(race.use), other = kind_of(race.other_use);
    if (use == WRITE && other != ATOMIC && now.size <= most_compared) {
        if (pending.active) return;   // one race of an access is enough
        pending.active = true;
        pending.is_flag = is_flag;
        pending.may_repeat = may_repeat;
        pending.race = race;
        pending.address = now.address;
        pending.size = now.size;
        memcpy(pending.before, (const void *)now.address, now.size);
        return;
    }
    if (is_flag && use == READ && is_small((const void *)now.address, now.size)) return;
    if (use == READ && other == ATOMIC) unconfirmed.push_back(race);
    else report_race(w, race, false);
}

// ------------------------------------------------------------------------ epochs and blocks
static void next_epoch()
{
    ++history.epoch;
    access_count = 1;
}

// Before the numbers of epochs overflow, all accesses are forgotten and the numbers restart.
static void forget_epochs()
{
    for (Allocation *memory : arena.all)
        if (memory->cells) madvise(memory->cells, cell_bytes(memory), MADV_DONTNEED);
    history.epoch = 1;
}

static void begin_history()
{
    next_epoch();
    history.launch = history.epoch;
    history.blocks.clear();
    history.resumed = false;
    history.released.clear();
    pending.active = false;
    unconfirmed.clear();
    reported.clear();
    noted.clear();
    guesses.clear();
}

static void check_begin_block(Worker &w, uint64_t number)
{
    settle(w);
    next_epoch();
    history.block.number = number;
    history.block.first = history.epoch;
    history.blocks.push_back({history.epoch, number});
    forget_block(w);
}

static void check_barrier(Worker &w)
{
    settle(w);
    next_epoch();
}

// --------------------------------------------------------------------------------- words
static bool conflict(int one, int other)
{
    Use a = kind_of(one), b = kind_of(other);
    return (a != READ || b != READ) && !(a == ATOMIC && b == ATOMIC);
}

// Whether two conflicting accesses are both of a kind that the hardware orders.
static bool are_strong(int one, int other)
{
    bool a = one & VOLATILE || kind_of(one) == ATOMIC;
    bool b = other & VOLATILE || kind_of(other) == ATOMIC;
    return a && b;
}

// Of two strong accesses: whether one is an atomic operation, or the writer, in another warp, has
// executed a fence, as for a flag.
static bool is_signal(int one, int other, bool writer_fenced)
{
    return kind_of(one) == ATOMIC || kind_of(other) == ATOMIC || writer_fenced;
}

static uint32_t offset_of(Worker &w, void *pc)
{
    return (uint32_t)((Address)pc - w.launch->request->module->base);
}

static bool has_written(const Cell &cell, int t, uint8_t bytes)
{
    for (uint32_t i = cell.list; i; i = accesses[i].next) {
        const Access &access = accesses[i];
        if (kind_of(access.use) == WRITE && access.warp == t / 32 &&
            (access.lanes >> t % 32 & 1) && !(bytes & ~access.bytes))
            return true;
    }
    return false;
}

// Compares an access with one of the same epoch. Returns whether there is a race.
static bool __attribute__((noinline))
compare(Worker &w, const Cell &cell, uint8_t bytes, const Now &now, const Access &access,
        Address word)
{
    const BlockHistory &block = history.block;
    int t = w.current, warp = t / 32;
    uint32_t self = 1u << t % 32;
    bool strong = are_strong(access.use, now.use);
    if (strong) {
        bool mine = kind_of(now.use) == WRITE;
        bool fenced = access.warp != warp && (mine ? block.fences[t] > 0 : access.fences > 0);
        if (is_signal(access.use, now.use, fenced)) return false;
    }
    if (now.use == ATOMIC && access.use == READ && is_guess(access.pc)) return false;
    uint32_t others = access.warp == warp ? access.lanes & ~self : access.lanes;
    for (; others; others &= others - 1) {
        int lane = __builtin_ctz(others), other = access.warp * 32 + lane;
        if (access.warp == warp && access.step < block.known[t][lane]) continue;
        if (has_acquired(t, other, access.fences)) continue;
        found_race(w, now,
                   {now.use, (Use)access.use, now.space, offset_of(w, now.pc), access.pc, t, other,
                    block.number, block.number, word},
                   strong, has_written(cell, other, bytes));
        return true;
    }
    return false;
}

static void __attribute__((noinline)) add_room(Worker &w)
{
    uint32_t room = access_room ? 2 * access_room : 1 << 16;
    void *moved = realloc(accesses, room * sizeof(Access));
    if (!moved) exhausted(w, "no memory for the emulator itself");
    accesses = (Access *)moved;
    access_room = room;
}

// Compares an access with those of the same epoch, and adds it to the list of the word.
static void within_block(Worker &w, Cell &cell, uint8_t bytes, const Now &now, Address word)
{
    if (cell.epoch != history.epoch) cell.epoch = history.epoch, cell.list = cell.changed = 0;
    Use use = now.use;
    cell.changed |= kind_of(use) != READ;
    int t = w.current, warp = t / 32;
    uint32_t self = 1u << t % 32, same = 0;
    uint16_t fences = history.block.fences[t];
    for (uint32_t i = cell.list; i; i = accesses[i].next) {
        const Access &access = accesses[i];
        if (conflict(access.use, use) && (access.bytes & bytes)) {
            // All threads write one value, or a race was reported, and each reads its own.
            bool own = use == READ && kind_of(access.use) == WRITE && has_written(cell, t, bytes);
            if (!own) compare(w, cell, bytes, now, access, word);
        }
        if (access.warp == warp && access.step == history.block.step[t] && access.use == use &&
            access.bytes == bytes && access.fences == fences) {
            same = i;
            if (!cell.changed) break;   // only reads: no conflict is possible
        }
    }
    if (same) {
        accesses[same].lanes |= self;
        return;
    }
    if (access_count >= access_room) add_room(w);
    accesses[access_count] = {cell.list, offset_of(w, now.pc), self, history.block.step[t],
                              (uint16_t)warp, use, bytes, fences};
    cell.list = access_count++;
}

static bool of_another_block(const Last &last)
{
    if (last.epoch < history.launch) return false;
    if (!history.resumed) return last.epoch < history.block.first;
    return block_of(last.epoch) != history.block.number;
}

static bool compare_block(Worker &w, const Now &now, const Last &last, Address word)
{
    bool strong = are_strong(last.use, now.use);
    uint64_t other = block_of(last.epoch);
    if (strong) {
        bool mine = kind_of(now.use) == WRITE;
        bool fenced = mine ? history.block.fences[w.current] > 0 : last.fences > 0;
        if (is_signal(last.use, now.use, fenced)) return false;
    }
    if (now.use == ATOMIC && last.use == READ && is_guess(last.pc)) return false;
    if (has_acquired_from(other, last.epoch, last.thread, last.fences,
                          kind_of(last.use) == ATOMIC || last.use & VOLATILE))
        return false;
    found_race(w, now,
               {now.use, (Use)last.use, now.space, offset_of(w, now.pc), last.pc, w.current,
                (int)last.thread, history.block.number, other, word},
               strong, kind_of(last.use) == WRITE);
    return true;
}

static void across_blocks(Worker &w, GlobalCell &cell, uint8_t bytes, const Now &now, Address word)
{
    const Last *others[] = {&cell.write, &cell.read, &cell.earlier_write, &cell.earlier_read};
    for (const Last *last : others)
        if (conflict(last->use, now.use) && (last->bytes & bytes) && of_another_block(*last) &&
            compare_block(w, now, *last, word))
            break;
    bool reads = kind_of(now.use) == READ;
    Last &mine = reads ? cell.read : cell.write;
    bool of_launch = mine.epoch >= history.launch;
    if (of_launch && of_another_block(mine)) (reads ? cell.earlier_read : cell.earlier_write) = mine;
    // An atomic operation conflicts with less than a write.
    else if (of_launch && kind_of(now.use) == ATOMIC && kind_of(mine.use) == WRITE &&
             !(bytes & ~mine.bytes))
        return;
    uint32_t before = of_launch ? mine.bytes : 0;
    mine = {history.epoch, offset_of(w, now.pc), (uint32_t)w.current, bytes | before, now.use,
            history.block.fences[w.current] & 0x7fffu};
}

static void add_guess(uint32_t pc)
{
    if (!is_guess(pc)) guesses.push_back(pc);
}

// An atomicCAS of this thread on a word: the reads of the word before it only guessed the value.
static void excuse_reads(Worker &w, Cell *cell, Address word)
{
    int t = w.current;
    for (size_t i = 0; i < unconfirmed.size();)
        if (unconfirmed[i].thread == t && unconfirmed[i].word == word) {
            add_guess(unconfirmed[i].pc);
            unconfirmed[i] = unconfirmed.back();
            unconfirmed.pop_back();
        } else ++i;
    if (!cell || cell->epoch != history.epoch) return;
    for (uint32_t i = cell->list; i; i = accesses[i].next) {
        Access &access = accesses[i];
        if (kind_of(access.use) != READ || access.warp != t / 32 || !(access.lanes >> t % 32 & 1))
            continue;
        add_guess(access.pc);
        access.lanes &= ~(1u << t % 32);
    }
}
