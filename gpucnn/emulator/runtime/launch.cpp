// Modules and launches: the functions that Python calls. Workers take blocks one by one.

// Begins another block, or resumes one that waits for other blocks. Returns whether there is one.
static bool next_block(Worker &w, Launch &launch)
{
    bool check = launch.request->mode == CHECK, full = check && !can_suspend(w);
    uint64_t next = full ? launch.blocks : launch.next_block++;
    if (next < launch.blocks) {
        begin_block(w, launch.block_order.empty() ? next : launch.block_order[next]);
        return true;
    }
    if (!check || suspended.empty()) return false;
    resume(w);
    if (is_deadlock()) report_deadlock(w, full);
    return true;
}

static void work(Worker &w, Launch &launch)
{
    const uint32_t mode = launch.request->mode;
    worker = &w;
    w.launch = &launch;
    w.aborted = false;
    w.inside = false;
    provide_signal_stack();
    w.host_mxcsr = _mm_getcsr();
    _mm_setcsr(*launch.request->kernel->mxcsr);
    for (int i = 0; i < (int)launch.block_threads; ++i) {
        unsigned t = (unsigned)i;
        w.threads[i].index = {t % blockDim.x, t / blockDim.x % blockDim.y,
                              t / blockDim.x / blockDim.y};
    }
    if (!sigsetjmp(w.escape, 1)) {
        if (mode == CHECK) check_begin_launch(w);
        if (mode == PROFILE) profile_begin_launch(w);
        while (!launch.stopped) {
            if (w.ticked && is_interrupted(w)) break;
            if (!next_block(w, launch)) break;
            if (!run_block(w)) suspend(w);
        }
    }
    _mm_setcsr(w.host_mxcsr);   // also after a fault, which may have come from a signal handler
    drop_threads(w);
    if (mode == CHECK) check_end_launch(w);
    if (mode == PROFILE) profile_end_launch();
    worker = nullptr;
}

// Host threads in addition to the calling one. They wait for launches and never end.
struct Pool {
    std::vector<pthread_t> threads;
    std::mutex mutex;
    std::condition_variable begin, end;
    Launch *launch = nullptr;
    uint64_t turn = 0;
    unsigned wanted = 0, active = 0;

    struct Start {
        Pool *pool;
        unsigned number;
        Worker worker;
    };
    static void *begin_thread(void *start)
    {
        Start &own = *(Start *)start;
        own.pool->serve(own.number, &own.worker);
        return nullptr;
    }

    // Starts threads until there are `count`, or as many as the system provides.
    void grow(unsigned count)
    {
        while (threads.size() < count) {
            threads.reserve(count);
            Start *start = new (std::nothrow) Start;
            pthread_t made;
            if (!start) return;
            start->pool = this;
            start->number = (unsigned)threads.size();
            if (pthread_create(&made, nullptr, begin_thread, start)) {
                delete start;
                return;
            }
            pthread_detach(made);
            threads.push_back(made);
        }
    }

    void serve(unsigned number, Worker *mine)
    {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            begin.wait(lock, [&] { return turn != seen; });
            seen = turn;
            if (number >= wanted) continue;
            Launch *now = launch;
            lock.unlock();
            work(*mine, *now);
            lock.lock();
            if (--active == 0) end.notify_all();
        }
    }

    void start(Launch &next, unsigned helpers)
    {
        std::lock_guard<std::mutex> lock(mutex);
        launch = &next;
        wanted = active = helpers;
        ++turn;
        begin.notify_all();
    }

    // Waits for the other threads. `w` is the calling thread's worker, which has finished.
    void finish(Worker &w)
    {
        std::unique_lock<std::mutex> lock(mutex);
        auto done = [&] { return active == 0; };
        while (w.is_main && !launch->interrupted)
            if (end.wait_for(lock, std::chrono::nanoseconds(tick_ns), done)) break;
            else {
                lock.unlock();
                is_interrupted(w);
                lock.lock();
            }
        while (launch->interrupted && !end.wait_for(lock, std::chrono::nanoseconds(retry_ns), done))
            for (unsigned i = 0; i < wanted; ++i) pthread_kill(threads[i], SIGURG);
        end.wait(lock, done);
        wanted = 0;   // for threads that wake up late
    }
};

static Pool *pool;
static Worker *first_worker;
static pid_t pool_process;
static std::mutex launching;

static void order_blocks(Launch &launch)
{
    const Request &request = *launch.request;
    if (request.order == FORWARD || launch.blocks > 1u << 24) return;
    launch.block_order.resize(launch.blocks);
    for (size_t i = 0; i < launch.blocks; ++i)
        launch.block_order[i] = (uint32_t)(request.order == REVERSE ? launch.blocks - 1 - i : i);
    if (request.order != RANDOM) return;
    uint64_t state = request.seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = launch.blocks - 1; i; --i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(launch.block_order[i], launch.block_order[(state >> 33) % (i + 1)]);
    }
}

// The sizes of the structures that Python reads from the headers; SHARED in abi.py has their order.
extern "C" __attribute__((visibility("default"))) const size_t gpu_struct_sizes[] = {
    sizeof(Where), sizeof(Fault), sizeof(Request), sizeof(Range), sizeof(GpuKernel),
    sizeof(GpuParameter), sizeof(Site), sizeof(GpuField)};

static int run_launch(const Request *request, Fault *faults, bool is_main)
{
    std::lock_guard<std::mutex> guard(launching);
    Caller from;
    if (sigsetjmp(from.place, 0)) return -1;
    if (pool_process != getpid()) {   // the first launch, or a fork copied no threads
        if (!first_worker) first_worker = new Worker;
        pool = new Pool;
        has_timer = false;
        pool_process = getpid();
    }
    if (is_main && !has_timer) make_timer();
    first_worker->is_main = is_main;
    memcpy(&gridDim, request->grid, sizeof gridDim);
    memcpy(&blockDim, request->block, sizeof blockDim);
    Launch launch;
    launch.request = request;
    launch.faults = faults;
    launch.block_threads = blockDim.x * blockDim.y * blockDim.z;
    launch.blocks = (uint64_t)gridDim.x * gridDim.y * gridDim.z;
    order_blocks(launch);
    catch_signals();
    unsigned helpers = request->mode == FAST ? request->threads - 1 : 0;
    if (helpers >= launch.blocks) helpers = (unsigned)launch.blocks - 1;
    pool->grow(helpers);
    helpers = std::min(helpers, (unsigned)pool->threads.size());
    if (is_main) begin_ticks();
    if (helpers) pool->start(launch, helpers);
    work(*first_worker, launch);
    if (helpers) pool->finish(*first_worker);
    if (request->mode != CHECK)   // writes were not observed: assume that all was written
        for (uint32_t i = 0; i < request->range_count; ++i)
            if (request->ranges()[i].writable) request->ranges()[i].memory->written = true;
    return launch.fault_count;
}

// Runs a launch until it ends. Returns the number of faults, and fills in `faults` (max_faults); -1
// if memory is short. For callers without Python's global lock: no signal handler ends the launch.
GPU_API int gpu_launch(const Request *request, Fault *faults)
{
    int count = run_launch(request, faults, false);
    show_output();
    return count;
}

// As gpu_launch, for Python, which calls with its global lock and must look for an exception.
GPU_API int gpu_launch_from_python(const Request *request, Fault *faults)
{
    bool is_main = in_main_thread();
    void *state = python.release_gil();
    if (is_main) python.state = state;
    int count = run_launch(request, faults, is_main);
    python.take_gil(is_main ? python.state : state);
    return count;
}

// Called for each loaded library; finds the one with the module's functions.
static int find_image(dl_phdr_info *info, size_t, void *wanted)
{
    Module &module = *(Module *)wanted;
    Address inside = (Address)module.shared_base;
    Address end = 0, code = 0, code_end = 0, data = 0, data_end = 0;
    bool found = false;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto &part = info->dlpi_phdr[i];
        if (part.p_type != PT_LOAD) continue;
        Address low = info->dlpi_addr + part.p_vaddr, high = low + part.p_memsz;
        end = std::max(end, high);
        if (part.p_flags & PF_X) code = low, code_end = high;
        if (part.p_flags & PF_W) data = low, data_end = high;
        found = found || (inside >= low && inside < high);
    }
    if (!found) return 0;
    module.base = info->dlpi_addr;
    module.end = end;
    module.code = code;
    module.code_end = code_end;
    module.data = data;
    module.data_end = data_end;
    return 1;
}

// Modules are never closed. `shared_base` is a function of the module that returns its dynamic
// shared memory, which lies `dynamic_offset` bytes after the start of all its shared memory.
GPU_API Module *gpu_open_module(void *(*shared_base)(), size_t dynamic_offset, size_t shared_bytes)
{
    Module *module = new (std::nothrow) Module();
    if (!module) return nullptr;
    module->shared_base = shared_base;
    module->dynamic_offset = dynamic_offset;
    module->shared_bytes = shared_bytes;
    dl_iterate_phdr(find_image, module);
    return module;
}

GPU_API void gpu_add_shared(Module *module, size_t offset, size_t size, const char *name,
                            int dynamic)
{
    module->shared.push_back({offset, size, strdup(name), dynamic});
}

// Of a module compiled for profile mode: the return addresses of its calls, by rank.
GPU_API void gpu_set_places(Module *module, const Address *places, size_t count)
{
    module->places = places;
    module->ranks.assign(module->code_end - module->code + 1, 0);
    for (size_t rank = 0; rank < count; ++rank)
        module->ranks[places[rank] - module->code] = (uint32_t)rank;
}
GPU_API void gpu_add_variable(Module *module, size_t offset, size_t size, const char *name,
                              int constant)
{
    module->variables[offset] = {offset, size, name, constant != 0};
}

// A struct of the module has padding of four bytes or more.
GPU_API void gpu_set_padded(Module *module) { module->padded = true; }
