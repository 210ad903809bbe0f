// Checks accesses of global memory: the arrays that are arguments, and those to which arguments point.

static const Range *last_range;             // the range of the last access
static std::vector<const Range *> tracked;   // ranges that overlap a writable argument
static std::deque<Range> indirect;           // allocations that no argument is, but points to
static Address last_untracked;

static void make_cells(Allocation *memory)
{
    if (memory->cells) return;
    void *cells = mmap(nullptr, cell_bytes(memory), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cells != MAP_FAILED) memory->cells = (GlobalCell *)cells;
}

static void begin_ranges(const Request &request)
{
    last_range = nullptr;
    tracked.clear();
    indirect.clear();
    for (uint32_t i = 0; i < request.range_count; ++i) {
        const Range *range = &request.ranges()[i];
        for (uint32_t j = 0; j < request.range_count; ++j) {
            const Range &other = request.ranges()[j];
            if (!other.writable || other.low >= range->high || range->low >= other.high) continue;
            tracked.push_back(range);
            break;
        }
    }
    for (const Range *range : tracked) make_cells(range->memory);
}

// Returns a bit for each byte of the word at `address` that an access up to `end` touches, and
// advances `address` to the next word.
static uint8_t take_word(Address &address, Address end)
{
    unsigned first = address & 3, count = (unsigned)std::min<Address>(4 - first, end - address);
    address += count;
    return (uint8_t)(((1u << count) - 1) << first);
}

// Finds out whether an access reads values that were never written, word by word. Bytes of a word
// that has others may be the padding of a struct; in a module with such structs, so may a word of
// eight bytes.
struct Gaps {
    bool wide, before = true;
    Gaps(Worker &w, size_t size) : wide(size > 8 && w.launch->request->module->padded) {}
    bool add(Address word, bool unset)
    {
        bool found = unset && (!wide || ((word & 4) && before));
        before = unset;
        return found;
    }
};

static const char *verb(Use use)
{
    return kind_of(use) == READ ? "reads" : kind_of(use) == WRITE ? "writes" : "updates";
}

// ------------------------------------------------------------ memory to which arguments point
static bool holds_pointer(Address from, Address to, const Allocation &memory)
{
    for (Address at = (from + 7) & ~(Address)7; at + 8 <= to; at += 8) {
        Address value = *(const Address *)at;
        if (value >= memory.low && value <= memory.high) return true;
    }
    return false;
}

static bool is_pointed_to(const Request &request, const Allocation &memory)
{
    const size_t most = 1 << 20;   // bytes of an array that are searched
    const GpuKernel &kernel = *request.kernel;
    Address arguments = (Address)request.arguments();
    for (int i = 0; i < kernel.parameter_count; ++i) {
        const GpuParameter &parameter = kernel.parameters[i];
        Address at = arguments + parameter.offset;
        if (parameter.kind != 'p' && holds_pointer(at, at + parameter.size, memory)) return true;
    }
    for (uint32_t i = 0; i < request.range_count; ++i) {
        const Range &range = request.ranges()[i];
        if (kernel.parameters[range.parameter].pointee_size % 8) continue;
        if (holds_pointer(range.low, std::min(range.high, range.low + most), memory)) return true;
    }
    for (const Range &range : indirect)
        if (holds_pointer(range.low, std::min(range.high, range.low + most), memory)) return true;
    const Module &module = *request.module;
    return holds_pointer(module.data, std::min(module.data_end, module.data + most), memory);
}

static const Range *find_indirect(const Request &request, Address address, size_t size)
{
    Allocation *memory = arena.neighbour(address, -1);
    if (!memory || !memory->live || address < memory->low || address + size > memory->high)
        return nullptr;
    if (!is_pointed_to(request, *memory)) return nullptr;
    make_cells(memory);
    indirect.push_back({memory, memory->low, memory->high, 1, 0, 0});
    return &indirect.back();
}

// ------------------------------------------------------------------------------- accesses
static bool is_freed(Address address)
{
    const Allocation *memory = arena.neighbour(address, -1);
    return memory && !memory->live && address < memory->map_high;
}

static void __attribute__((noinline))
outside_arguments(Worker &w, const Now &now)
{
    const Request &request = *w.launch->request;
    const Range *nearest = nullptr;
    Address distance = ~(Address)0;
    bool after = false, pointed = false;
    auto consider = [&](const Range &range, bool is_indirect) {
        bool before = now.address < range.low;
        Address gap = before ? range.low - now.address : now.address - range.high;
        if (!before && now.address < range.high) gap = 0;   // begins inside and ends outside
        if (gap >= distance) return;
        nearest = &range;
        distance = gap;
        after = !before;
        pointed = is_indirect;
    };
    for (uint32_t i = 0; i < request.range_count; ++i) consider(request.ranges()[i], false);
    for (const Range &range : indirect) consider(range, true);
    const char *does = verb(now.use);
    if (is_freed(now.address))
        return stop(w, OUT_OF_BOUNDS, here(w, now.pc), "%s %zu bytes of memory that was freed", does,
                    now.size);
    if (!nearest)
        return stop(w, OUT_OF_BOUNDS, here(w, now.pc), "%s %zu bytes that belong to no argument",
                    does, now.size);
    stop(w, OUT_OF_BOUNDS, here(w, now.pc), "%s %zu bytes, %zu bytes %s %s of %zu bytes", does,
         now.size, (size_t)distance, after ? "past the end of" : "before",
         pointed ? "an array to which an argument points,"
                 : request.kernel->parameter_names[nearest->parameter],
         (size_t)(nearest->high - nearest->low));
}

static bool holds(const Range &range, Address address, size_t size)
{
    return address >= range.low && address + size <= range.high;
}

static const Range *find_range(Worker &w, const Now &now)
{
    bool writing = kind_of(now.use) != READ;
    if (last_range && holds(*last_range, now.address, now.size) &&
        (last_range->writable || !writing))
        return last_range;
    const Request &request = *w.launch->request;
    const Range *found = nullptr;
    for (uint32_t i = 0; i < request.range_count; ++i) {
        const Range &range = request.ranges()[i];
        if (holds(range, now.address, now.size) && (!found || range.writable)) found = &range;
    }
    for (size_t i = 0; i < indirect.size() && !found; ++i)
        if (holds(indirect[i], now.address, now.size)) found = &indirect[i];
    if (!found) found = find_indirect(request, now.address, now.size);
    if (found) last_range = found;
    return found;
}

static bool is_tracked(const Range *range)
{
    if (range->writable) return true;
    for (const Range *other : tracked)
        if (other == range) return true;
    return false;
}

static bool is_indirect(const Range *range)
{
    for (const Range &other : indirect)
        if (&other == range) return true;
    return false;
}

// Whether the access reads a word of which nothing was ever written.
static bool __attribute__((noinline))
reads_unset(Worker &w, const Now &now, const Range *range)
{
    if (is_indirect(range)) return false;   // kernels in fast mode may have written it
    Gaps gaps(w, now.size);
    const char *map = written_map(0);
    for (Address next = now.address, end = now.address + now.size; next < end;) {
        Address word = next;
        take_word(next, end);
        if (gaps.add(word, !memchr(map + word, 1, next - word))) return true;
    }
    return false;
}

static void global_access(Worker &w, const Now &now)
{
    const Range *range = find_range(w, now);
    if (!range) return outside_arguments(w, now);
    const char *name = w.launch->request->kernel->parameter_names[range->parameter];
    Use use = kind_of(now.use);
    if (use != READ && !range->writable)
        return stop(w, READ_ONLY, here(w, now.pc), "writes to %s, which is a pointer to const",
                    name);
    Allocation &memory = *range->memory;
    if (!memory.written) {
        char *map = written_map(now.address);
        if (use != WRITE && memchr(map, 0, now.size) && reads_unset(w, now, range))
            return stop(w, UNINITIALISED, here(w, now.pc),
                        "%s %zu bytes of %s that were never written", verb(use), now.size, name);
        if (use != READ) memset(map, 1, now.size);
    }
    if (!memory.cells || !is_tracked(range)) {
        note_access(last_untracked != now.address);
        last_untracked = now.address;
        return;
    }
    for (Address next = now.address, end = now.address + now.size; next < end;) {
        GlobalCell &cell = memory.cells[(next - memory.map_low) / 4];
        Address word = next & ~(Address)3;
        uint8_t bytes = take_word(next, end);
        within_block(w, cell, bytes, now, word);
        across_blocks(w, cell, bytes, now, word);
    }
}
