// Lets Python handle signals while a launch runs, however long a kernel takes.
//
// Python runs signal handlers only in its main thread. While a launch runs there, a timer sends this
// thread SIGURG twenty times a second, which is ignored by default. If it arrives in a kernel's own
// code, the GPU thread is preempted: it switches to the scheduler, which runs Python's handlers and
// resumes the thread, or ends the launch if one of them raised an exception. In the runtime and in
// libraries, which may hold locks, a thread is not preempted; the scheduler looks at `ticked`, and
// the timer tries again soon.

static const long tick_ns = 50000000, retry_ns = 1000000;

static struct {
    void *(*release_gil)();
    void (*take_gil)(void *);
    int (*run_handlers)();   // returns -1 and sets an exception if a handler raised one
    void *state;             // of the main thread, while it has released the lock
} python;

// Python passes PyEval_SaveThread, PyEval_RestoreThread and PyErr_CheckSignals.
GPU_API void gpu_set_python(void *(*release_gil)(), void (*take_gil)(void *), int (*run_handlers)())
{
    python.release_gil = release_gil;
    python.take_gil = take_gil;
    python.run_handlers = run_handlers;
}

static bool in_main_thread() { return syscall(SYS_gettid) == getpid(); }

static timer_t timer;
static bool has_timer;
static volatile bool armed;   // the timer will send a signal

static void arm(long nanoseconds)
{
    itimerspec once = {{0, 0}, {0, nanoseconds}};
    armed = timer_settime(timer, 0, &once, nullptr) == 0;
}

// Runs Python's signal handlers; returns whether one raised an exception, which ends the launch.
static bool is_interrupted(Worker &w)
{
    w.ticked = false;
    if (!w.is_main) return false;
    Worker *before = worker;
    sigjmp_buf *caller_before = caller;
    worker = nullptr;   // what the handlers do is not part of the launch
    caller = nullptr;
    Mxcsr host(w.host_mxcsr);
    python.take_gil(python.state);
    bool failed = python.run_handlers() != 0;
    python.state = python.release_gil();
    worker = before;
    caller = caller_before;
    if (has_timer) arm(tick_ns);
    if (failed) {
        w.launch->interrupted = w.launch->stopped = true;
        w.aborted = true;
    }
    return failed;
}

static struct sigaction earlier_urg;

static bool in_kernel(Worker &w, ucontext_t *context)
{
    const Module &module = *w.launch->request->module;
    Address pc = (Address)context->uc_mcontext.gregs[REG_RIP];
    return w.inside && pc >= module.code && pc < module.code_end;
}

static void on_urgent(int number, siginfo_t *info, void *context)
{
    Worker *w = worker;
    bool tick = info->si_code == SI_TIMER;
    if (!tick && !(info->si_code == SI_TKILL && w && !w->is_main)) {   // not ours
        if (earlier_urg.sa_flags & SA_SIGINFO) earlier_urg.sa_sigaction(number, info, context);
        else if (earlier_urg.sa_handler != SIG_DFL && earlier_urg.sa_handler != SIG_IGN)
            earlier_urg.sa_handler(number);
        return;
    }
    int error = errno;
    if (!tick) {   // from Pool::finish
        if (w->launch->interrupted && in_kernel(*w, (ucontext_t *)context)) {
            w->inside = false;
            siglongjmp(w->escape, 1);
        }
    } else if (!w) armed = false;   // no launch runs, or handlers do
    else if (in_kernel(*w, (ucontext_t *)context)) {
        w->preempted = true;
        w->inside = false;
        gpu_switch(&w->threads[w->current].fiber->stack_pointer, w->scheduler);
    } else {
        w->ticked = true;
        arm(retry_ns);
    }
    errno = error;
}

static void catch_urgent()
{
    struct sigaction now;
    sigaction(SIGURG, nullptr, &now);
    if (now.sa_sigaction == on_urgent) return;
    earlier_urg = now;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_urgent;
    // Not on the signal stack: the frame stays on the stack of the preempted thread.
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
    sigaction(SIGURG, &action, nullptr);
}

static void make_timer()
{
    sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGURG;
#ifdef sigev_notify_thread_id
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
#else
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
#endif
    has_timer = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    armed = false;
}

// At the beginning of a launch in the main thread. One that ends within a tick leaves the timer
// armed, so that a series of short launches rarely calls the system.
static void begin_ticks()
{
    if (!has_timer || armed) return;
    catch_urgent();
    arm(tick_ns);
}
