// The threads of a block are fibers of one host thread. Each has its own stack, and runs until it
// waits for other threads or ends. This file switches between them and chooses the next one.

// Saves the callee-saved registers and the stack pointer to `save`, and resumes at `to`. It jumps
// instead of returning: the processor would predict a return to the caller.
extern "C" void gpu_switch(void **save, void *to);
asm(".text\n"
    ".type gpu_switch, @function\n"
    "gpu_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  popq %rdx\n"
    "  jmp *%rdx\n"
    ".size gpu_switch, .-gpu_switch\n");

static void fiber_main();

// Resets a fiber to the start of fiber_main, at the top of its stack.
static void rewind_fiber(Fiber *fiber)
{
    // At different distances from the end of a page, or all stacks would share a few cache lines.
    Address top = (Address)fiber->low + stack_bytes - page - (fiber->index % 32) * 128;
    void **stack = (void **)(top & ~(Address)15);
    *--stack = nullptr;   // fiber_main's return address: it never returns
    *--stack = (void *)fiber_main;
    for (int saved = 0; saved < 6; ++saved) *--stack = nullptr;
    fiber->stack_pointer = stack;
}

static Fiber *take_fiber(Worker &w)
{
    if (!w.free_fibers.empty()) {
        Fiber *fiber = w.free_fibers.back();
        w.free_fibers.pop_back();
        return fiber;
    }
    if (w.fibers_made == (int)w.stacks.size() * max_threads) {
        void *start = mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED) exhausted(w, "no address space for the threads' stacks");
        w.stacks.push_back((char *)start);
        w.free_fibers.reserve(w.stacks.size() * max_threads);   // returning one needs no memory
    }
    Fiber *fiber = new Fiber;
    fiber->index = w.fibers_made++;
    fiber->low = w.stacks.back() + fiber->index % max_threads * stack_bytes;
    mprotect(fiber->low, page, PROT_NONE);
    fiber->low += page;
    rewind_fiber(fiber);
    return fiber;
}

static void to_scheduler(Worker &w)
{
    gpu_switch(&w.threads[w.current].fiber->stack_pointer, w.scheduler);
}

static void abandon_thread(Worker &w)
{
    w.inside = false;
    to_scheduler(w);
    abort();   // not reached: the scheduler resets the fiber
}

static uint64_t random_below(Worker &w, uint64_t bound)
{
    w.random ^= w.random << 13;
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return w.random % bound;
}

static void push_ready(Worker &w, int thread)
{
    w.ready[(w.ready_first + w.ready_count++) % max_threads] = thread;
}

static int pop_ready(Worker &w)
{
    int &first = w.ready[w.ready_first];
    if (w.launch->request->order == RANDOM)
        std::swap(first, w.ready[(w.ready_first + random_below(w, w.ready_count)) % max_threads]);
    int thread = first;
    w.ready_first = (w.ready_first + 1) % max_threads;
    --w.ready_count;
    return thread;
}

static void become(Worker &w, int thread)
{
    w.current = thread;
    threadIdx = w.threads[thread].index;
}

// Makes the next thread that can run the current one, and returns its fiber.
static Fiber *begin_next(Worker &w)
{
    int next = pop_ready(w);
    Thread &thread = w.threads[next];
    if (!thread.fiber) thread.fiber = take_fiber(w);
    thread.state = READY;
    become(w, next);
    return thread.fiber;
}

// Called by a thread that waits: switches to another one, or to the scheduler if none can run.
static void give_way(Worker &w)
{
    if (!w.ready_count || w.aborted) return to_scheduler(w);
    Fiber *mine = w.threads[w.current].fiber, *next = begin_next(w);
    if (next != mine) gpu_switch(&mine->stack_pointer, next->stack_pointer);
}
