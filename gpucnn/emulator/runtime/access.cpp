// Checks every load and store of a kernel in check mode. g++ -fsanitize=thread inserts a call
// before each of them; the called functions are defined here, and its library is not linked.

static Worker *checking;   // the worker, while a launch in check mode runs
static const SharedVariable *last_shared, *earlier_shared;
static const ModuleVariable *last_variable;
static std::unordered_map<Address, GlobalCell> variable_cells;   // of __device__ variables, by word

static void check_begin_launch(Worker &w)
{
    const Request &request = *w.launch->request;
    if (history.epoch > 0xf0000000u) {
        forget_epochs();
        shared_cells.clear();
        variable_cells.clear();
    }
    begin_history();
    forget_spins();
    shared_low = (Address)request.module->shared_base() - request.module->dynamic_offset;
    shared_bytes = request.module->shared_bytes;
    // Cells of earlier launches may remain: their epochs have passed.
    if (shared_cells.size() <= shared_bytes / 4) shared_cells.resize(shared_bytes / 4 + 1);
    last_shared = earlier_shared = nullptr;
    last_variable = nullptr;
    begin_ranges(request);
    checking = &w;
}

static void check_end_launch(Worker &w)
{
    settle(w);
    drop_suspended(w);
    if (w.aborted) forget_locals(w);
    checking = nullptr;
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

// Finds the variable of an access. Returns whether it is one of the kernel's.
static bool __attribute__((noinline)) find_shared(Worker &w, const Now &now, size_t offset)
{
    const Request &request = *w.launch->request;
    const SharedVariable &near = *nearest_shared(*request.module, offset);
    if (!*near.name) return false;   // the compiler's own: see array_name in source.py
    if (!holds(request, near, offset, now.size)) {
        stop(w, OUT_OF_BOUNDS, here(w, now.pc), "%s %zu bytes at offset %ld of %s%s, %zu bytes",
             verb(now.use), now.size, (long)(offset - near.offset),
             near.dynamic ? "the dynamic shared memory" : "shared ", near.dynamic ? "" : near.name,
             size_of(request, near));
        return false;
    }
    last_shared = &near;
    return true;
}

static void shared_access(Worker &w, const Now &now)
{
    const Request &request = *w.launch->request;
    size_t offset = now.address - shared_low;
    if (!last_shared || !holds(request, *last_shared, offset, now.size)) {
        std::swap(last_shared, earlier_shared);   // kernels read two arrays in turns
        if (!last_shared || !holds(request, *last_shared, offset, now.size))
            if (!find_shared(w, now, offset)) return;
    }
    Gaps gaps(w, now.size);
    for (Address next = now.address, end = now.address + now.size; next < end;) {
        SharedCell &cell = shared_cells[(next - shared_low) / 4];
        Address word = next & ~(Address)3;
        uint8_t bytes = take_word(next, end);
        if (cell.block != history.block.first) {
            cell.block = history.block.first;
            cell.written = 0;
        }
        if (kind_of(now.use) == WRITE) cell.written |= bytes;
        else if (gaps.add(word, !(bytes & cell.written)))
            return stop(w, UNINITIALISED, here(w, now.pc),
                        "%s %zu bytes of shared memory that were never written", verb(now.use),
                        now.size);
        within_block(w, cell, bytes, now, word);
    }
}

// ------------------------------------------------------------------------------ variables
static const ModuleVariable *find_variable(const Module &module, Address address)
{
    size_t offset = address - module.base;
    auto after = module.variables.upper_bound(offset);
    return after == module.variables.begin() ? nullptr : &std::prev(after)->second;
}

// __device__ and __constant__ variables: shared by all blocks, and initialised.
static void variable_access(Worker &w, const Now &now)
{
    const Module &module = *w.launch->request->module;
    size_t offset = now.address - module.base;
    const ModuleVariable *variable = find_variable(module, now.address);
    if (variable && offset + now.size > variable->offset + variable->size)
        return stop(w, OUT_OF_BOUNDS, here(w, now.pc),
                    "%s %zu bytes at offset %zu of variable %s, %zu bytes", verb(now.use), now.size,
                    offset - variable->offset, variable->name.c_str(), variable->size);
    if (variable && variable->constant) {
        if (kind_of(now.use) != READ)
            stop(w, READ_ONLY, here(w, now.pc), "writes to %s, which is __constant__",
                 variable->name.c_str());
        return note_access(true);
    }
    for (Address next = now.address, end = now.address + now.size; next < end;) {
        GlobalCell &cell = variable_cells[next / 4];
        Address word = next & ~(Address)3;
        uint8_t bytes = take_word(next, end);
        within_block(w, cell, bytes, now, word);
        across_blocks(w, cell, bytes, now, word);
    }
}

// ----------------------------------------------------------------------------- dispatch
static void __attribute__((noinline)) other_access(Worker &w, const Now &now, Address frame)
{
    if (in_stacks(w, now.address)) return local_access(w, now, frame);   // of another region
    if (within(now.address, &threadIdx, sizeof threadIdx)) return;
    if (within(now.address, &blockIdx, sizeof blockIdx)) return;
    if (within(now.address, &blockDim, sizeof blockDim)) return;
    if (within(now.address, &gridDim, sizeof gridDim)) return;
    const Module &module = *w.launch->request->module;
    if (now.address - module.data < module.data_end - module.data) return variable_access(w, now);
    if (now.address - module.base < module.end - module.base) {   // literals, constant tables
        if (kind_of(now.use) != READ)
            stop(w, READ_ONLY, here(w, now.pc), "writes to a constant");
        return;
    }
    stop(w, OUT_OF_BOUNDS, here(w, now.pc), "%s %zu bytes through %s pointer", verb(now.use),
         now.size, now.address < page ? "a null" : "a host's or a wild");
}

GPU_API int gpu_space(const void *pointer)
{
    Worker &w = *worker;
    const Module &module = *w.launch->request->module;
    Address shared = (Address)module.shared_base() - module.dynamic_offset;
    if (within((Address)pointer, (void *)arena.low, arena.size)) return GPU_GLOBAL;
    if (within((Address)pointer, (void *)shared, module.shared_bytes)) return GPU_SHARED;
    if (in_stacks(w, (Address)pointer)) return GPU_LOCAL;
    if (!within((Address)pointer, (void *)module.base, module.end - module.base)) return GPU_GENERIC;
    const ModuleVariable *variable = find_variable(module, (Address)pointer);
    if (!variable || (Address)pointer - module.base >= variable->offset + variable->size)
        return GPU_GENERIC;
    return variable->constant ? GPU_CONSTANT_SPACE : GPU_GLOBAL;
}

static bool in_device_memory(Address address)
{
    return address - arena.low < arena.size || address - shared_low < shared_bytes;
}

__attribute__((always_inline)) static inline void
check_access(void *pointer, size_t size, Use use, void *pc)
{
    Worker *w = checking;
    if (!w || !w->inside) return;
    if (pending.active) resolve_pending(*w);
    Address address = (Address)pointer;
    if (address - arena.low < arena.size)
        global_access(*w, {address, size, use, pc, "global"});
    else if (address - shared_low < shared_bytes)
        shared_access(*w, {address, size, use, pc, "shared"});
    else if (within(address, w->stacks.front(), max_threads * stack_bytes))
        local_access(*w, {address, size, use, pc, "local"}, (Address)__builtin_dwarf_cfa());
    else
        other_access(*w, {address, size, use, pc, "global"}, (Address)__builtin_dwarf_cfa());
}

// ------------------------------------------------------ volatile and atomic accesses
static void check_volatile(void *pointer, size_t size, Use use, void *pc)
{
    Worker *w = checking;
    if (!w || !w->inside) return;
    bool signals = in_device_memory((Address)pointer);
    check_access(pointer, size, (Use)(use | VOLATILE), pc);
    if (!signals) return;
    poll(*w, (Address)pointer, size, pc);
    synchronise(*w, (Address)pointer, use == WRITE, use == READ);
}

static void excuse_guess(Worker &w, const Now &now)
{
    bool is_global = now.address - arena.low < arena.size;
    const Range *range = is_global ? find_range(w, now) : nullptr;
    for (Address word = now.address; word < now.address + now.size; word += 4) {
        GlobalCell *cell = nullptr;
        if (range && range->memory->cells)
            cell = &range->memory->cells[(word - range->memory->map_low) / 4];
        excuse_reads(w, is_global ? (Cell *)cell : &shared_cells[(word - shared_low) / 4], word);
        if (cell && cell->read.epoch == history.epoch && (int)cell->read.thread == w.current)
            cell->read.bytes = 0;
    }
}

// compares: the operation is an atomicCAS.
GPU_API void gpu_check_atomic(void *pointer, size_t size, int compares, void *caller)
{
    Worker *w = checking;
    if (!w || !w->inside) return;
    Address address = (Address)pointer;
    if (address % size)
        stop(*w, MISALIGNED, here(*w, caller),
             "atomic operation on %zu bytes at an address that is not a multiple of %zu", size,
             size);
    if (compares && in_device_memory(address)) {
        if (pending.active) resolve_pending(*w);
        excuse_guess(*w, {address, size, ATOMIC, caller, "global"});
    }
    check_access(pointer, size, ATOMIC, caller);
    poll(*w, address, size, caller);
    synchronise(*w, address, true, true);
}

// ------------------------------------------------------------ functions the compiler calls
#define GPU_CALLER __builtin_return_address(0)
#define GPU_HOOK(name, size, use)                                                            \
    GPU_API void __tsan_##name##size(void *p) { check_access(p, size, use, GPU_CALLER); }    \
    GPU_API void __tsan_unaligned_##name##size(void *p)                                      \
    {                                                                                        \
        check_access(p, size, use, GPU_CALLER);                                              \
    }                                                                                        \
    GPU_API void __tsan_volatile_##name##size(void *p)                                       \
    {                                                                                        \
        check_volatile(p, size, use, GPU_CALLER);                                            \
    }                                                                                        \
    GPU_API void __tsan_unaligned_volatile_##name##size(void *p)                             \
    {                                                                                        \
        check_volatile(p, size, use, GPU_CALLER);                                            \
    }
#define GPU_HOOKS(size) GPU_HOOK(read, size, READ) GPU_HOOK(write, size, WRITE)
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
