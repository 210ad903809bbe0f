// What happens when the emulator itself gets no memory.
//
// The C++ library calls `on_exhausted` when `new` fails. It leaves the launch, or the function that
// Python called, as exceptions would.
static __thread sigjmp_buf *caller GPU_FIXED_TLS;   // where a function called by Python resumes
static std::new_handler earlier_handler;

static void on_exhausted()
{
    if (worker) exhausted(*worker, "no memory for the emulator itself");
    if (caller) siglongjmp(*caller, 1);
    if (earlier_handler) return earlier_handler();   // not ours
    std::set_new_handler(nullptr);   // `new` tries again, and throws
}

struct Caller {
    sigjmp_buf place, *before = caller;
    Caller()
    {
        std::new_handler now = std::set_new_handler(on_exhausted);
        if (now != on_exhausted) earlier_handler = now;
        caller = &place;
    }
    ~Caller() { caller = before; }
};
