// Profile mode, part 2: replays the traces of a warp's lanes together and counts what each warp
// instruction asks of global and of shared memory.
//
// In each step, the lanes that go on together are those whose next event is deepest in calls, and of
// these first in the code. "First" means the ranks of gpucnn/emulator/order.py: lanes that are
// behind go first, so that lanes that diverged meet again where their paths join, as on a GPU.
#include "trace.cpp"

struct Step {   // what some lanes of a warp do at once
    Touch touches[32];
    uint8_t lane[32];
    unsigned lanes = 0;

    void add(const Touch &touch, int index)
    {
        touches[lanes] = touch;
        lane[lanes++] = (uint8_t)index;
    }
};

static const unsigned sector_bytes = 32, banks = 32;

static std::vector<Site> sites;          // by rank and space
static std::vector<uint32_t> sites_used; // their indices

// A small set of numbers; each has a value.
struct Few {
    static const unsigned size = 256;   // at least twice what 32 lanes can touch
    uint64_t keys[size];
    uint32_t values[size], stamps[size], now = 0;
    uint8_t used[size];   // the slots in use
    unsigned count;

    void clear()
    {
        count = 0;
        if (++now == 0) memset(stamps, 0, sizeof stamps), now = 1;
    }

    uint32_t &operator[](uint64_t key)
    {
        unsigned slot = (unsigned)((key * 0x9e3779b97f4a7c15u) >> 56);
        for (; stamps[slot] == now; slot = (slot + 1) % size)
            if (keys[slot] == key) return values[slot];
        stamps[slot] = now;
        keys[slot] = key;
        used[count++] = (uint8_t)slot;
        return values[slot] = 0;
    }
};
static Few few;

// The sectors that a launch touched, one bit each, by page: the least traffic that any cache allows.
struct Touched {
    static const unsigned per_page = page / sector_bytes, words = per_page / 64;
    struct Bits { uint64_t word[words]; };
    std::unordered_map<Address, Bits> pages;
    Address last = 0;
    uint64_t *bits = nullptr, count = 0;

    void clear()
    {
        pages.clear();
        last = count = 0;
        bits = nullptr;
    }

    void add(Address number)   // of a sector
    {
        Address at = number / per_page, bit = number % per_page;
        if (at != last || !bits) {
            bits = pages[at].word;
            last = at;
        }
        uint64_t mask = 1ull << bit % 64;
        count += !(bits[bit / 64] & mask);
        bits[bit / 64] |= mask;
    }
};
static Touched touched[2];   // read, written

static Site &site_of(uint32_t rank, unsigned space, unsigned use)
{
    uint32_t index = rank * 3 + space;
    if (index >= sites.size()) sites.resize(index + 256);
    Site &site = sites[index];
    if (!site.requests) {
        sites_used.push_back(index);
        site.rank = rank;
        site.place = (uint32_t)(profiled->places[rank] - profiled->base);
        site.space = (uint8_t)space;
        site.use = (uint8_t)use;
    }
    return site;
}

static void add_request(Site &site, unsigned lanes, unsigned moved, unsigned least)
{
    ++site.requests;
    site.lanes += lanes;
    site.moved += moved;
    site.least += least;
    site.worst = std::max<uint64_t>(site.worst, moved);
}

// Returns an address as if its array began at a multiple of a page. On a GPU arrays begin at
// multiples of 256 bytes, here at any multiple of 16.
static Address as_allocated(Address address)
{
    static const Allocation *last;
    if (address - arena.low >= arena.size) return address;   // of a __device__ variable
    if (!last || address - last->map_low >= last->map_high - last->map_low)
        last = arena.neighbour(address, -1);
    return address - (last->low - last->map_low);
}

static void global_request(Site &site, const Step &step)
{
    few.clear();
    for (unsigned i = 0; i < step.lanes; ++i) {
        Address address = as_allocated(step.touches[i].address);
        Address end = address + step.touches[i].size;
        while (address < end) {
            unsigned first = address % sector_bytes;
            unsigned bytes = (unsigned)std::min<Address>(sector_bytes - first, end - address);
            few[address / sector_bytes] |= (uint32_t)(((1ull << bytes) - 1) << first);
            address += bytes;
        }
    }
    unsigned bytes = 0;
    for (unsigned i = 0; i < few.count; ++i) {
        unsigned slot = few.used[i];
        bytes += __builtin_popcount(few.values[slot]);
        if (site.use != WRITE) touched[0].add(few.keys[slot]);
        if (site.use != READ) touched[1].add(few.keys[slot]);
    }
    add_request(site, step.lanes, few.count, (bytes + sector_bytes - 1) / sector_bytes);
}

// Whether each active lane t loads from the same address as lane t ^ with, unless that is inactive.
static bool pairs_agree(const Step &step, unsigned with)
{
    Address of[32] = {};
    for (unsigned i = 0; i < step.lanes; ++i) of[step.lane[i]] = step.touches[i].address;
    for (unsigned t = 0; t < 32; ++t) {
        Address one = of[t], other = of[t ^ with];
        if (one && other && one != other) return false;
    }
    return true;
}

// A wavefront serves each bank once; lanes that access the same word share it. 8 bytes are served
// to half a warp at a time, 16 bytes to a quarter; loads in which pairs of lanes agree, to twice as
// many (NVIDIA, forums.developer.nvidia.com/t/77228; counted alike by a GPU of compute
// capability 9.0).
static void shared_request(Site &site, const Step &step)
{
    unsigned together = 128 / std::max<unsigned>(site.size, 4), moved = 0, least = 0;
    if (together < 32 && site.use == READ && (pairs_agree(step, 1) || pairs_agree(step, 2)))
        together *= 2;
    for (unsigned i = 0; i < step.lanes;) {
        unsigned part = step.lane[i] / together;
        uint8_t words[banks] = {}, most = 0;
        few.clear();
        for (; i < step.lanes && step.lane[i] / together == part; ++i) {
            Address first = step.touches[i].address, last = first + step.touches[i].size - 1;
            for (Address word = first / 4; word <= last / 4; ++word) {
                unsigned before = few.count;
                few[word];
                if (few.count == before) continue;
                most = std::max(most, ++words[word % banks]);
            }
        }
        moved += most;
        ++least;
    }
    add_request(site, step.lanes, moved, least);
}

static void count_serial(Site &site, const Step &step)
{
    uint32_t most = 0;
    few.clear();
    for (unsigned i = 0; i < step.lanes; ++i)
        most = std::max(most, ++few[step.touches[i].address]);
    site.serial += most;
}

static void count_accesses(uint32_t rank, const Step &step)
{
    unsigned space = step.touches[0].space, use = step.touches[0].use;
    bool mixed = false;
    for (unsigned i = 1; i < step.lanes; ++i) mixed |= step.touches[i].space != space;
    if (mixed) {   // through one pointer, some lanes access shared and some global memory
        Step parts[3];
        for (unsigned i = 0; i < step.lanes; ++i)
            parts[step.touches[i].space].add(step.touches[i], step.lane[i]);
        for (const Step &part : parts)
            if (part.lanes) count_accesses(rank, part);
        return;
    }
    Site &site = site_of(rank, space, use);
    site.size = std::max<uint8_t>(site.size, step.touches[0].size);
    if (space == GLOBAL) global_request(site, step);
    else shared_request(site, step);
    if (use == ATOMIC) count_serial(site, step);
}

// Whether a lane without further events will have some before the warp can continue.
static bool will_continue(State state) { return state == FRESH || state == READY; }

// Replays the traces of a warp, up to where a lane has not arrived yet.
static void replay(Worker &w, int warp)
{
    Trace *all = traces + warp * 32;
    const int count = std::min(32, w.count - warp * 32);
    uint32_t next[32];
    bool missing = false;
    auto look = [&](int lane) {
        const Trace &trace = all[lane];
        bool empty = trace.empty();
        next[lane] = empty ? no_event : trace.events[trace.next_event];
        missing |= empty && running[warp] && will_continue(w.threads[warp * 32 + lane].state);
    };
    for (int lane = 0; lane < count; ++lane) look(lane);
    while (!missing) {
        const uint32_t first = *std::min_element(next, next + count);
        if (first == no_event) break;
        Step step;
        unsigned lanes = 0;
        for (int lane = 0; lane < count; ++lane) {
            if (next[lane] != first) continue;
            Trace &trace = all[lane];
            if (is_access(first)) step.add(trace.touches[trace.next_touch++], lane);
            ++trace.next_event;
            ++lanes;
            look(lane);
        }
        if (is_access(first)) count_accesses(rank_of(first), step);
        else add_request(site_of(rank_of(first), CODE, READ), lanes, 0, 0);
    }
    for (int lane = 0; lane < count; ++lane) all[lane].drop_replayed();
}

static void profile_begin_launch(Worker &w)
{
    for (uint32_t index : sites_used) sites[index] = Site();
    sites_used.clear();
    for (Touched &each : touched) each.clear();
    profiled = w.launch->request->module;
    traced_shared = (Address)profiled->shared_base() - profiled->dynamic_offset;
    profiling = &w;
}

static void profile_end_launch() { profiling = nullptr; }

// Returns the number of sites of the last launch, and copies at most `room` of them. `once`: the
// sectors of global memory that it read, and that it wrote, each counted once.
GPU_API size_t gpu_profile(Site *found, size_t room, uint64_t *once)
{
    for (int i = 0; i < 2; ++i) once[i] = touched[i].count;
    for (size_t i = 0; i < std::min(room, sites_used.size()); ++i)
        found[i] = sites[sites_used[i]];
    return sites_used.size();
}
