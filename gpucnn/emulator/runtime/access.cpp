// Checks every load and store of a kernel in check mode. g++ -fsanitize=thread inserts a call
// before each of them; the called functions are defined here, and its library is not linked.

static Worker *checking;   // the worker, while a launch in check mode runs
static Address shared_low;
static size_t shared_bytes;
static const Range *last_range;             // the range of the last access
static const SharedVariable *last_shared;
static std::vector<const Range *> tracked;   // ranges that overlap a writable argument
static std::vector<SharedCell> shared_cells;
static std::unordered_map<Address, GlobalCell> variable_cells;   // of __device__ variables, by word

static void check_begin_launch(Worker &w)
{
    const Request &request = *w.launch->request;
    if (history.epoch > 0xf0000000u) {
        forget_epochs();
        shared_cells.clear();
        variable_cells.clear();
    }
    next_epoch();
    history.launch = history.epoch;
    history.blocks.clear();
    history.published.clear();
    history.reported.clear();
    shared_low = (Address)request.module->shared_base() - request.module->dynamic_offset;
    shared_bytes = request.module->shared_bytes;
    // Cells of earlier launches may remain: their epochs have passed.
    if (shared_cells.size() <= shared_bytes / 4) shared_cells.resize(shared_bytes / 4 + 1);
    last_range = nullptr;
    last_shared = nullptr;
    tracked.clear();
    for (uint32_t i = 0; i < request.range_count; ++i) {
        const Range *range = &request.ranges()[i];
        for (uint32_t j = 0; j < request.range_count; ++j) {
            const Range &other = request.ranges()[j];
            if (!other.writable || other.low >= range->high || range->low >= other.high) continue;
            tracked.push_back(range);
            break;
        }
    }
    for (const Range *range : tracked)
        if (!range->memory->cells) {
            void *cells = mmap(nullptr, cell_bytes(range->memory), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (cells != MAP_FAILED) range->memory->cells = (GlobalCell *)cells;
        }
    checking = &w;
}

static void check_end_launch() { checking = nullptr; }

// Returns a bit for each byte of the word at `address` that an access up to `end` touches, and
// advances `address` to the next word.
static uint8_t take_word(Address &address, Address end)
{
    unsigned first = address & 3, count = (unsigned)std::min<Address>(4 - first, end - address);
    address += count;
    return (uint8_t)(((1u << count) - 1) << first);
}

// ------------------------------------------------------------------------- global memory
static const char *verb(Use use)
{
    return use == READ ? "reads" : use == WRITE ? "writes" : "updates";
}

static void __attribute__((noinline))
outside_arguments(Worker &w, Address address, size_t size, Use use, void *pc)
{
    const Request &request = *w.launch->request;
    const Range *nearest = nullptr;
    Address distance = ~(Address)0;
    bool after = false;
    for (uint32_t i = 0; i < request.range_count; ++i) {
        const Range &range = request.ranges()[i];
        bool before = address < range.low;
        Address gap = before ? range.low - address : address - range.high;
        if (!before && address < range.high) gap = 0;   // begins inside and ends outside
        if (gap >= distance) continue;
        nearest = &range;
        distance = gap;
        after = !before;
    }
    if (!nearest)
        return stop(w, OUT_OF_BOUNDS, here(w, pc), "%s %zu bytes that belong to no argument",
                    verb(use), size);
    stop(w, OUT_OF_BOUNDS, here(w, pc), "%s %zu bytes, %zu bytes %s %s of %zu bytes", verb(use),
         size, (size_t)distance, after ? "past the end of" : "before",
         request.kernel->parameter_names[nearest->parameter],
         (size_t)(nearest->high - nearest->low));
}

static bool holds(const Range &range, Address address, size_t size)
{
    return address >= range.low && address + size <= range.high;
}

static const Range *find_range(Worker &w, Address address, size_t size, bool writing)
{
    if (last_range && holds(*last_range, address, size) && (last_range->writable || !writing))
        return last_range;
    const Request &request = *w.launch->request;
    const Range *found = nullptr;
    for (uint32_t i = 0; i < request.range_count; ++i) {
        const Range &range = request.ranges()[i];
        if (holds(range, address, size) && (!found || range.writable)) found = &range;
    }
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

static void global_access(Worker &w, Address address, size_t size, Use use, void *pc)
{
    const Range *range = find_range(w, address, size, use != READ);
    if (!range) return outside_arguments(w, address, size, use, pc);
    const char *name = w.launch->request->kernel->parameter_names[range->parameter];
    if (use != READ && !range->writable)
        return stop(w, READ_ONLY, here(w, pc), "writes to %s, which is a pointer to const", name);
    Allocation &memory = *range->memory;
    if (!memory.written) {
        char *map = written_map(address);
        if (use != WRITE && memchr(map, 0, size))
            return stop(w, UNINITIALISED, here(w, pc),
                        "%s %zu bytes of %s that were never written", verb(use), size, name);
        memset(map, 1, size);
    }
    if (!memory.cells || !is_tracked(range)) return;
    for (Address next = address, end = address + size; next < end;) {
        GlobalCell &cell = memory.cells[(next - memory.map_low) / 4];
        uint8_t bytes = take_word(next, end);
        within_block(w, cell, bytes, use, pc, "global");
        across_blocks(w, cell, bytes, use, pc);
    }
}

// ------------------------------------------------------------------------- shared memory
static size_t size_of(const Request &request, const SharedVariable &variable)
{
    return variable.dynamic ? request.dynamic_bytes : variable.size;
}

static bool holds(const Request &request, const SharedVariable &variable, size_t offset,
                  size_t size)
{
    return offset >= variable.offset &&
           offset + size <= variable.offset + size_of(request, variable);
}

// The last variable that starts at or before an offset.
static const SharedVariable *nearest_shared(const Module &module, size_t offset)
{
    const SharedVariable *nearest = &module.shared.front();
    for (const SharedVariable &variable : module.shared)
        if (variable.offset <= offset && variable.offset >= nearest->offset) nearest = &variable;
    return nearest;
}

static void shared_access(Worker &w, Address address, size_t size, Use use, void *pc)
{
    const Request &request = *w.launch->request;
    size_t offset = address - shared_low;
    if (!last_shared || !holds(request, *last_shared, offset, size)) {
        const SharedVariable &near = *nearest_shared(*request.module, offset);
        if (!*near.name) return;   // the compiler's own: see array_name in source.py
        if (!holds(request, near, offset, size))
            return stop(w, OUT_OF_BOUNDS, here(w, pc),
                        "%s %zu bytes at offset %ld of %s%s, %zu bytes", verb(use), size,
                        (long)(offset - near.offset),
                        near.dynamic ? "the dynamic shared memory" : "shared ",
                        near.dynamic ? "" : near.name, size_of(request, near));
        last_shared = &near;
    }
    for (Address next = address, end = address + size; next < end;) {
        SharedCell &cell = shared_cells[(next - shared_low) / 4];
        uint8_t bytes = take_word(next, end);
        if (cell.block != history.block) {
            cell.block = history.block;
            cell.written = 0;
        }
        if (use != WRITE && (bytes & ~cell.written))
            return stop(w, UNINITIALISED, here(w, pc),
                        "%s %zu bytes of shared memory that were never written", verb(use), size);
        cell.written |= bytes;
        within_block(w, cell, bytes, use, pc, "shared");
    }
}

// --------------------------------------------------------------------------- other memory
static bool within(Address address, const void *start, size_t bytes)
{
    return address - (Address)start < bytes;
}

// __device__ variables: shared by all blocks, and initialised.
static void variable_access(Worker &w, Address address, size_t size, Use use, void *pc)
{
    for (Address next = address, end = address + size; next < end;) {
        GlobalCell &cell = variable_cells[next / 4];
        uint8_t bytes = take_word(next, end);
        within_block(w, cell, bytes, use, pc, "global");
        across_blocks(w, cell, bytes, use, pc);
    }
}

static void other_access(Worker &w, Address address, size_t size, Use use, void *pc)
{
    if (within(address, w.stacks, max_threads * stack_bytes)) return;   // local variables
    if (within(address, &threadIdx, sizeof threadIdx)) return;
    if (within(address, &blockIdx, sizeof blockIdx)) return;
    if (within(address, &blockDim, sizeof blockDim)) return;
    if (within(address, &gridDim, sizeof gridDim)) return;
    const Module &module = *w.launch->request->module;
    if (address - module.data < module.data_end - module.data)
        return variable_access(w, address, size, use, pc);
    if (address - module.base < module.end - module.base) return;   // literals, constant tables
    stop(w, OUT_OF_BOUNDS, here(w, pc), "%s %zu bytes through %s pointer", verb(use), size,
         address < page ? "a null" : "a host's or a wild");
}

static inline void check_access(void *pointer, size_t size, Use use, void *pc)
{
    Worker *w = checking;
    if (!w || !w->inside) return;
    Address address = (Address)pointer;
    if (address - arena.low < arena.size) global_access(*w, address, size, use, pc);
    else if (address - shared_low < shared_bytes) shared_access(*w, address, size, use, pc);
    else other_access(*w, address, size, use, pc);
}

GPU_API int gpu_space(const void *pointer)
{
    Worker &w = *worker;
    const Module &module = *w.launch->request->module;
    Address shared = (Address)module.shared_base() - module.dynamic_offset;
    if (within((Address)pointer, (void *)arena.low, arena.size)) return GPU_GLOBAL;
    if (within((Address)pointer, (void *)shared, module.shared_bytes)) return GPU_SHARED;
    if (within((Address)pointer, w.stacks, max_threads * stack_bytes)) return GPU_LOCAL;
    bool variable = (Address)pointer - module.data < module.data_end - module.data;
    return variable ? GPU_GLOBAL : GPU_GENERIC;
}

GPU_API void gpu_check_atomic(void *address, size_t size, void *caller)
{
    Worker *w = checking;
    if (w && w->inside && (Address)address % size)
        stop(*w, MISALIGNED, here(*w, caller),
             "atomic operation on %zu bytes at an address that is not a multiple of %zu", size,
             size);
    check_access(address, size, ATOMIC, caller);
    if (w && w->inside) publish_and_acquire(*w, (Address)address);
}

// ------------------------------------------------------------ functions the compiler calls
#define GPU_CALLER __builtin_return_address(0)
#define GPU_HOOKS(size)                                                                       \
    GPU_API void __tsan_read##size(void *p) { check_access(p, size, READ, GPU_CALLER); }      \
    GPU_API void __tsan_write##size(void *p) { check_access(p, size, WRITE, GPU_CALLER); }    \
    GPU_API void __tsan_unaligned_read##size(void *p)                                         \
    {                                                                                         \
        check_access(p, size, READ, GPU_CALLER);                                              \
    }                                                                                         \
    GPU_API void __tsan_unaligned_write##size(void *p)                                        \
    {                                                                                         \
        check_access(p, size, WRITE, GPU_CALLER);                                             \
    }
GPU_HOOKS(1)
GPU_HOOKS(2)
GPU_HOOKS(4)
GPU_HOOKS(8)
GPU_HOOKS(16)
GPU_API void __tsan_read_range(void *p, size_t size) { check_access(p, size, READ, GPU_CALLER); }
GPU_API void __tsan_write_range(void *p, size_t size) { check_access(p, size, WRITE, GPU_CALLER); }
GPU_API void __tsan_init() {}
GPU_API void __tsan_func_entry(void *) {}
GPU_API void __tsan_func_exit() {}
