// Device memory: an arena of address space in which every allocation ends just before a guard page,
// so that a kernel that runs past an array stops even in fast mode.
//
// A second region of the same size, the written-map, has one byte for each byte of the arena: 1 if
// it was written. Check mode uses it to find uninitialised reads.

struct Arena {
    Address low = 0, size = 0, top = 0;
    std::vector<Allocation *> all;                          // in order of address
    std::map<size_t, std::vector<Allocation *>> released;   // by size in whole pages
    std::mutex mutex;

    bool reserve();
    Allocation *allocate(size_t bytes);
    void release(Allocation *memory);
    Allocation *neighbour(Address address, int which);
};

static Arena arena;

static const size_t kept_bytes = 1 << 20;   // allocations up to this size keep their pages
static const size_t kept_cells = 1 << 16;   // and up to this size the cells of check mode

static char *written_map(Address address) { return (char *)(address + arena.size); }

bool Arena::reserve()
{
    if (low) return true;
    rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    for (size_t bytes = (size_t)64 << 30; bytes >= (size_t)32 << 20; bytes /= 2) {
        if (bytes > limit.rlim_cur / 8) continue;   // leave three quarters to others
        void *start = mmap(nullptr, 2 * bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED) continue;
        if (mprotect((char *)start + bytes, bytes, PROT_READ | PROT_WRITE)) {
            munmap(start, 2 * bytes);
            continue;
        }
        low = (Address)start;
        size = bytes;
        top = low + page;
        return true;
    }
    return false;
}

Allocation *Arena::allocate(size_t bytes)
{
    if (!reserve() || bytes > size) return nullptr;
    size_t pages = bytes ? (bytes + page - 1) / page * page : page;
    std::vector<Allocation *> &same = released[pages];
    Allocation *memory;
    if (!same.empty()) {
        memory = same.back();
        same.pop_back();
    } else {
        if (pages + page > low + size - top) return nullptr;
        all.reserve(all.size() + 1);
        memory = new Allocation();
        memory->map_low = top;
        memory->map_high = top + pages;
        top += pages + page;
        all.push_back(memory);
    }
    bool mapped = memory->used && pages <= kept_bytes;
    if (!mapped && mprotect((void *)memory->map_low, pages, PROT_READ | PROT_WRITE)) {
        same.push_back(memory);
        return nullptr;
    }
    memory->low = (memory->map_high - bytes) & ~(Address)(alignment - 1);
    memory->high = memory->low + bytes;
    memory->live = true;
    memory->written = false;
    if (mapped) {
        memset((void *)memory->low, 0, bytes);
        memset(written_map(memory->low), 0, bytes);
    }
    memory->used = true;
    return memory;
}

static size_t cell_bytes(const Allocation *memory);

void Arena::release(Allocation *memory)
{
    size_t pages = memory->map_high - memory->map_low;
    memory->live = false;
    if (memory->cells && pages > kept_cells) {
        munmap(memory->cells, cell_bytes(memory));
        memory->cells = nullptr;
    }
    if (pages > kept_bytes) {
        // Return the pages to the system: the next allocation here, and its map, start as zeros.
        madvise((void *)memory->map_low, pages, MADV_DONTNEED);
        madvise(written_map(memory->map_low), pages, MADV_DONTNEED);
        mprotect((void *)memory->map_low, pages, PROT_NONE);
    }
    released[pages].push_back(memory);
}

// Returns the allocation that starts after an address (which = 0), or the one before (-1).
Allocation *Arena::neighbour(Address address, int which)
{
    size_t first = 0, last = all.size();
    while (first < last) {
        size_t middle = (first + last) / 2;
        if (all[middle]->map_low <= address) first = middle + 1;
        else last = middle;
    }
    first += which;
    return first < all.size() ? all[first] : nullptr;
}

// Makes the contents unset: bytes that read as NaN or as -1, none of them written.
GPU_API void gpu_poison(Allocation *memory)
{
    size_t bytes = memory->high - memory->low;
    memset(written_map(memory->low), 0, bytes);
    memset((void *)memory->low, 0xff, bytes);
    memory->written = false;
}

// Returns null if the arena is full. The contents are zeros, or unset.
GPU_API Allocation *gpu_allocate(size_t bytes, int poison, Address *address)
{
    std::lock_guard<std::mutex> guard(arena.mutex);
    Caller from;
    if (sigsetjmp(from.place, 0)) return nullptr;
    Allocation *memory = arena.allocate(bytes);
    if (!memory) return nullptr;
    *address = memory->low;
    if (poison) memset((void *)memory->low, 0xff, bytes);
    else memory->written = true;
    return memory;
}

// Makes an allocation of memory outside the arena that a module holds: a variable. Never released.
GPU_API Allocation *gpu_adopt(Address low, size_t bytes)
{
    Caller from;
    if (sigsetjmp(from.place, 0)) return nullptr;
    Allocation *memory = new Allocation();
    memory->low = low;
    memory->high = low + bytes;
    memory->map_low = memory->low & ~(Address)3;
    memory->map_high = (memory->high + 3) & ~(Address)3;
    memory->live = memory->used = memory->written = true;
    return memory;
}

GPU_API void gpu_release(Allocation *memory)
{
    std::lock_guard<std::mutex> guard(arena.mutex);
    Caller from;
    if (!sigsetjmp(from.place, 0)) arena.release(memory);   // else its address space is lost
}

// Records that the host has written `bytes` bytes of an allocation from `offset`.
GPU_API void gpu_mark_written(Allocation *memory, size_t offset, size_t bytes)
{
    if (memory->written) return;
    if (bytes == memory->high - memory->low) memory->written = true;
    else memset(written_map(memory->low + offset), 1, bytes);
}

GPU_API int gpu_all_written(Allocation *memory) { return memory->written; }

// The distance of an address of the arena to its byte in the written-map.
GPU_API size_t gpu_written_map_distance() { return arena.size; }
