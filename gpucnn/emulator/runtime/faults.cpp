// Records faults, and turns signals and the compiler's checks into faults.

static Where here(Worker &w, void *pc)
{
    Where where = {};
    where.block = blockIdx;
    where.thread = w.threads[w.current].index;
    where.pc = pc ? (Address)pc - w.launch->request->module->base : 0;
    return where;
}

static Where at_line(uint3 block, uint3 thread, const char *file, int line)
{
    Where where = {};
    where.block = block;
    where.thread = thread;
    where.line = line;
    snprintf(where.file, sizeof where.file, "%s", file);
    return where;
}

static void record(Worker &w, int kind, const Where &where, const Where *other, const char *format,
                   va_list values)
{
    Launch &launch = *w.launch;
    std::lock_guard<std::mutex> guard(launch.mutex);
    if (launch.fault_count == max_faults) return;
    if (kind == SAME_VALUE && launch.note_count++ >= max_notes) return;
    Fault &fault = launch.faults[launch.fault_count++];
    fault.kind = kind;
    fault.here = where;
    fault.has_other = other != nullptr;
    if (other) fault.other = *other;
    vsnprintf(fault.text, sizeof fault.text, format, values);
}

// Records a fault and continues: the results after a race are still worth checking.
static void note(Worker &w, int kind, const Where &where, const Where *other, const char *format,
                 ...)
{
    va_list values;
    va_start(values, format);
    record(w, kind, where, other, format, values);
    va_end(values);
}

// Records a fault and ends the launch. Does not return if called in a GPU thread.
static void stop(Worker &w, int kind, const Where &where, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    record(w, kind, where, nullptr, format, values);
    va_end(values);
    w.launch->stopped = true;
    w.aborted = true;
    if (w.inside) abandon_thread(w);
}

[[noreturn]] static void exhausted(Worker &w, const char *what)
{
    w.inside = false;
    stop(w, MEMORY, here(w, nullptr), "%s", what);
    siglongjmp(w.escape, 1);
}

GPU_API void gpu_stop(const char *what, const char *file, int line)
{
    Worker &w = *worker;
    stop(w, ASSERTION, at_line(blockIdx, w.threads[w.current].index, file, line), "%s", what);
    abort();   // not reached
}

// ---------------------------------------------------------------- the compiler's checks
// g++ -fsanitize=... calls these functions; the compiler's libraries are not linked.

struct SourceLine {
    const char *file;
    uint32_t line, column;
};

// `at` may be in a function of the emulator that the kernel calls; `pc` is in the kernel then.
static void undefined(int kind, const char *what, const SourceLine *at, void *pc)
{
    Worker *w = worker;
    if (!w || !w->inside) return;
    Where where = at_line(blockIdx, w->threads[w->current].index, at->file, (int)at->line);
    where.pc = here(*w, pc).pc;
    stop(*w, kind, where, "%s", what);
}

#define GPU_UNDEFINED(name, kind, what, ...)                            \
    GPU_API void __ubsan_handle_##name(SourceLine *at, ##__VA_ARGS__)   \
    {                                                                   \
        undefined(kind, what, at, __builtin_return_address(0));         \
    }
GPU_UNDEFINED(add_overflow, OVERFLOW, "signed integer overflow in +", Address, Address)
GPU_UNDEFINED(sub_overflow, OVERFLOW, "signed integer overflow in -", Address, Address)
GPU_UNDEFINED(mul_overflow, OVERFLOW, "signed integer overflow in *", Address, Address)
GPU_UNDEFINED(negate_overflow, OVERFLOW, "signed integer overflow in unary -", Address)
GPU_UNDEFINED(shift_out_of_bounds, BAD_SHIFT, "shift by a negative or too large count", Address,
              Address)
GPU_API void __ubsan_handle_divrem_overflow(SourceLine *at, Address, Address divisor)
{
    undefined(divisor ? OVERFLOW : DIVISION,
              divisor ? "signed integer overflow in /" : "integer division by zero", at,
              __builtin_return_address(0));
}

struct Type {   // the compiler's description of a type
    uint16_t kind, info;   // of integers: twice the logarithm of the bits, plus 1 if signed
    char name[1];
};
struct BadIndex {
    SourceLine at;
    const Type *array, *index;
};
GPU_API void __ubsan_handle_out_of_bounds(BadIndex *data, Address index)
{
    char what[160];
    bool narrow = data->index->info >> 1 < 6, is_signed = data->index->info & 1;   // 6: 64 bits
    long value = narrow && is_signed ? (long)(int32_t)index : (long)index;
    snprintf(what, sizeof what, "index %ld is outside %.100s", value, data->array->name);
    undefined(OUT_OF_BOUNDS, what, &data->at, __builtin_return_address(0));
}

struct BadPointer {
    SourceLine at;
    const Type *type;
    uint8_t log2_alignment, use;
};
GPU_API void __ubsan_handle_type_mismatch_v1(BadPointer *data, Address pointer)
{
    if (!pointer) return;   // the access itself is reported as out of bounds
    char what[200];
    snprintf(what, sizeof what, "address is not a multiple of %u, the alignment of %.100s",
             1u << data->log2_alignment, data->type->name);
    undefined(MISALIGNED, what, &data->at, __builtin_return_address(0));
}

// ---------------------------------------------------------------------------- signals
static struct sigaction earlier_segv, earlier_bus, earlier_fpe;

static bool in_stacks(const Worker &w, Address address)
{
    for (char *stacks : w.stacks)
        if (address - (Address)stacks < max_threads * stack_bytes) return true;
    return false;
}

static const char *describe_segv(Worker &w, Address address, char *text, size_t size, int *kind)
{
    *kind = OUT_OF_BOUNDS;
    if (in_stacks(w, address)) {
        *kind = STACK;
        return "the thread's stack is full";
    }
    if (address - arena.low >= arena.size) return "accesses memory that is not on the device";
    Allocation *before = arena.neighbour(address, -1), *after = arena.neighbour(address, 0);
    bool near_after = after && after->live &&
                      (!before || !before->live || after->low - address < address - before->high);
    Allocation *memory = near_after ? after : before;
    if (!memory || !memory->live) return "accesses device memory that is not allocated";
    snprintf(text, size, "accesses memory %zu bytes %s an array of %zu bytes",
             (size_t)(near_after ? after->low - address : address - before->high),
             near_after ? "before" : "past the end of", (size_t)(memory->high - memory->low));
    return text;
}

// Returns the address after the kernel's instruction that caused a signal. If a function that the
// kernel called caused it, the stack holds its return address.
static Address kernel_pc(Worker &w, ucontext_t *context)
{
    const Module &module = *w.launch->request->module;
    auto inside = [&](Address pc) { return pc > module.code && pc <= module.code_end; };
    Address pc = (Address)context->uc_mcontext.gregs[REG_RIP] + 1;
    if (inside(pc)) return pc;
    const Fiber &fiber = *w.threads[w.current].fiber;
    Address top = (Address)fiber.low + stack_bytes - page;
    Address word = std::max((Address)context->uc_mcontext.gregs[REG_RSP], (Address)fiber.low);
    for (word = (word + 7) & ~(Address)7; word < top; word += 8)
        if (inside(*(Address *)word)) return *(Address *)word;
    return module.base;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    Worker *w = worker;
    if (!w || !w->inside) {   // not ours: the instruction is retried with the earlier handler
        struct sigaction *earlier = number == SIGSEGV   ? &earlier_segv
                                    : number == SIGBUS ? &earlier_bus
                                                       : &earlier_fpe;
        sigaction(number, earlier, nullptr);
        return;
    }
    w->inside = false;
    char text[160];
    int kind = DIVISION;
    const char *what = "integer division by zero";
    if (number == SIGSEGV && info->si_code == SI_KERNEL) {   // the processor reports no address
        kind = MISALIGNED;
        what = "vector access at a misaligned address, or an address that no memory can have";
    } else if (number != SIGFPE)
        what = describe_segv(*w, (Address)info->si_addr, text, sizeof text, &kind);
    stop(*w, kind, here(*w, (void *)kernel_pc(*w, (ucontext_t *)context)), "%s", what);
    siglongjmp(w->escape, 1);
}

// Installs the signal handlers, at each launch, since others may have replaced them.
static void catch_signals()
{
    struct sigaction now;
    sigaction(SIGSEGV, nullptr, &now);
    if (now.sa_sigaction == on_signal) return;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &earlier_segv);
    sigaction(SIGBUS, &action, &earlier_bus);
    sigaction(SIGFPE, &action, &earlier_fpe);
}

// A signal handler needs its own stack when that of the thread is full.
static void provide_signal_stack()
{
    static __thread bool done;
    if (done) return;
    done = true;
    stack_t stack;
    sigaltstack(nullptr, &stack);
    if (!(stack.ss_flags & SS_DISABLE)) return;
    stack.ss_flags = 0;
    stack.ss_size = 64 << 10;
    stack.ss_sp = malloc(stack.ss_size);
    if (!stack.ss_sp) return;
    sigaltstack(&stack, nullptr);
}
