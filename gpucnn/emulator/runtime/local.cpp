// Checks accesses of local memory, the stacks of the threads.
//
// A region of the same size as the stacks has a byte for each of theirs: 1 if it belongs to a
// variable that is followed (check.h) and was not written.

static bool within(Address address, const void *start, size_t bytes)
{
    return address - (Address)start < bytes;
}

static char *unset_map(Worker &w, Address address)
{
    for (size_t i = 0; i < w.stacks.size(); ++i) {
        if (!within(address, w.stacks[i], max_threads * stack_bytes)) continue;
        if (i >= w.unset.size()) w.unset.resize(i + 1);
        if (!w.unset[i]) {
            void *start = mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (start == MAP_FAILED) return nullptr;
            w.unset[i] = (char *)start;
        }
        return w.unset[i] + (address - (Address)w.stacks[i]);
    }
    return nullptr;   // a result that its function builds in the caller's memory
}

GPU_API void gpu_begin_local(void *guard, void *address, size_t size, const char *name)
{
    Local &local = *(Local *)guard;
    Worker &w = *worker;
    char *map = size && w.launch->request->mode == CHECK ? unset_map(w, (Address)address) : nullptr;
    local = {(char *)address, map ? size : 0, name, w.threads[w.current].locals};
    w.threads[w.current].locals = &local;
    if (map) memset(map, 1, size);
}

GPU_API void gpu_end_local(void *guard)
{
    const Local &local = *(const Local *)guard;
    Worker &w = *worker;
    w.threads[w.current].locals = local.before;
    if (local.size) memset(unset_map(w, (Address)local.address), 0, local.size);
}

// After a fault the threads do not leave their scopes.
static void forget_locals(Worker &w)
{
    for (char *map : w.unset)
        if (map) madvise(map, max_threads * stack_bytes, MADV_DONTNEED);
}

static void __attribute__((noinline)) followed_access(Worker &w, const Now &now, const char *name)
{
    char *map = unset_map(w, now.address);
    if (!memchr(map, 1, now.size)) return;
    if (kind_of(now.use) != WRITE) {
        Gaps gaps(w, now.size);
        for (Address next = now.address, end = now.address + now.size; next < end;) {
            Address from = next;
            take_word(next, end);
            if (gaps.add(from, !memchr(map + (from - now.address), 0, next - from)))
                return stop(w, UNINITIALISED, here(w, now.pc),
                            "%s %zu bytes of local variable %s that were never written",
                            verb(now.use), now.size, name);
        }
    }
    if (kind_of(now.use) != READ) memset(map, 0, now.size);
}

static void __attribute__((noinline)) foreign_access(Worker &w, const Now &now)
{
    const Fiber *own = w.threads[w.current].fiber;
    if (within(now.address, own->low, stack_bytes - page))
        return stop(w, OUT_OF_BOUNDS, here(w, now.pc),
                    "%s %zu bytes of a local variable of a function that has returned",
                    verb(now.use), now.size);
    for (int i = 0; i < w.count; ++i) {
        const Fiber *other = w.threads[i].fiber;
        if (!other || !within(now.address, other->low, stack_bytes - page)) continue;
        const uint3 &index = w.threads[i].index;
        return stop(w, OUT_OF_BOUNDS, here(w, now.pc),
                    "%s %zu bytes of a local variable of thread (%u, %u, %u)", verb(now.use),
                    now.size, index.x, index.y, index.z);
    }
    stop(w, OUT_OF_BOUNDS, here(w, now.pc), "%s %zu bytes of a local variable of another thread",
         verb(now.use), now.size);
}

// frame: where the frame of the running function begins; what lies below it is no longer used.
static void local_access(Worker &w, const Now &now, Address frame)
{
    const Thread &thread = w.threads[w.current];
    Address top = (Address)thread.fiber->low + stack_bytes - page;
    if (now.address < frame || now.address >= top) return foreign_access(w, now);
    for (const Local *local = thread.locals; local; local = local->before)
        if (within(now.address, local->address, local->size))
            return followed_access(w, now, local->name);
}
