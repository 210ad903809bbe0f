// Calls the emulator's library, whose headers are gpucnn/emulator/runtime/*.h.
#include "emulator.h"

#include "bridge.h"
#include "call.h"
#include "memory.h"

#include <dlfcn.h>
#include <sstream>

#define GPU_RUNTIME
#define uint3 EmulatorIndex   // CUDA's headers have a uint3 of their own
#include "runtime/runtime.h"
#undef uint3

namespace {

struct Library {
    Allocation *(*allocate)(size_t, int, Address *);
    void (*release)(Allocation *);
    void (*mark_written)(Allocation *, size_t, size_t);
    int (*launch)(const Request *, Fault *);
    unsigned mode, order, threads;
} library;

bool fail(const std::string &what)
{
    fprintf(stderr, "stand-in: %s\n", what.c_str());
    return false;
}

template <class Function> bool find(void *handle, const char *name, Function &function)
{
    *(void **)&function = dlsym(handle, name);
    return function;
}

// The structures that this library was compiled with must be those of the emulator in use.
bool is_same_interface(void *handle)
{
    static const size_t sizes[] = {sizeof(Where), sizeof(Fault), sizeof(Request), sizeof(Range),
                                   sizeof(GpuKernel), sizeof(GpuParameter), sizeof(Site)};
    const void *theirs = dlsym(handle, "gpu_struct_sizes");
    return theirs && !memcmp(sizes, theirs, sizeof sizes);
}

bool open_library()
{
    Reply reply = call_bridge("begin");
    if (!reply.succeeded) return fail("the emulator cannot run: " + reply.text);
    std::istringstream words(reply.text);
    Library found = {};
    std::string path;
    words >> found.mode >> found.order >> found.threads >> std::ws;
    std::getline(words, path);
    void *handle = dlopen(path.c_str(), RTLD_NOW);
    if (!handle) return fail(std::string("the emulator cannot run: ") + dlerror());
    bool complete = find(handle, "gpu_allocate", found.allocate)
                    && find(handle, "gpu_release", found.release)
                    && find(handle, "gpu_mark_written", found.mark_written)
                    && find(handle, "gpu_launch", found.launch);
    if (!complete || !is_same_interface(handle))
        return fail("it was built for another version of gpucnn: run tests/standin/setup PYTHON"
                    " again");
    Hold hold(state);
    library = found;
    return true;
}

}   // namespace

// Two threads may open it at a time, which does no harm; a lock could wait for Python's.
bool load_emulator()
{
    static std::atomic<bool> loaded{false};
    if (!loaded && open_library()) loaded = true;
    return loaded;
}

Allocation *emulator_allocate(size_t bytes, char **start)
{
    Address address = 0;
    Allocation *memory = library.allocate(bytes, 1, &address);
    *start = (char *)address;
    return memory;
}

void emulator_release(Allocation *memory) { library.release(memory); }

void emulator_mark_written(Allocation *memory, size_t offset, size_t bytes)
{
    if (library.mode == CHECK) library.mark_written(memory, offset, bytes);
}

std::string emulator_load(const std::string &source, const std::string &options,
                          std::map<std::string, EmulatedKernel> &kernels)
{
    Reply reply = call_bridge("load", source, options);
    if (!reply.succeeded) return reply.text;
    std::istringstream words(reply.text);
    std::string path, name, exported;
    uintptr_t module = 0;
    int shared = 0;
    std::getline(words, path);
    words >> module;
    void *handle = dlopen(path.c_str(), RTLD_NOW);
    if (!handle) return dlerror();
    while (words >> name >> exported >> shared) {
        auto *kernel = (const GpuKernel *)dlsym(handle, ("gpu_export_" + exported).c_str());
        if (!kernel) continue;
        int most = kernel->max_threads ? kernel->max_threads : max_threads;
        kernels[name] = {name, path, kernel, (Module *)module, shared, most};
    }
    return "";
}

const char *KernelArguments::pointer(const EmulatedKernel &kernel, unsigned number) const
{
    return *(const char *const *)(packed.data() + kernel.kernel->parameters[number].offset);
}

KernelArguments pack_arguments(const EmulatedKernel &kernel, void *const *parameters)
{
    const GpuKernel &described = *kernel.kernel;
    KernelArguments arguments = {};
    size_t bytes = 0;
    for (int i = 0; i < described.parameter_count; ++i) {
        const GpuParameter &parameter = described.parameters[i];
        bytes = std::max<size_t>(bytes, parameter.offset + (parameter.size + 7) / 8 * 8);
        if (parameter.kind == 'p') arguments.pointers.push_back((unsigned)i);
    }
    arguments.packed.resize(bytes);
    for (int i = 0; i < described.parameter_count; ++i)
        memcpy(arguments.packed.data() + described.parameters[i].offset, parameters[i],
               described.parameters[i].size);
    return arguments;
}

// The memory that each pointer may reach, for check mode. A structure that begins with a pointer is
// an array of CuPy's own kernels: strides may be negative, so that it may reach all of its block.
static std::vector<Range> find_ranges(const EmulatedKernel &kernel,
                                      const KernelArguments &arguments)
{
    std::vector<Range> ranges;
    for (int i = 0; i < kernel.kernel->parameter_count; ++i) {
        const GpuParameter &parameter = kernel.kernel->parameters[i];
        if (parameter.kind != 's' || parameter.size < sizeof(char *)) continue;
        const Block *block = find_block(arguments.pointer(kernel, (unsigned)i));
        if (!block) continue;
        Range range = {};
        range.parameter = (unsigned)i & 0x7fffffffu;
        range.writable = true;
        range.memory = block->memory;
        range.low = (Address)block->start;
        range.high = range.low + block->bytes;
        ranges.push_back(range);
    }
    for (unsigned number : arguments.pointers) {
        Range range = {};
        range.parameter = number & 0x7fffffffu;
        range.writable = !kernel.kernel->parameters[number].read_only;
        const void *start = arguments.pointer(kernel, number);
        if (const Block *block = find_block(start)) {
            range.memory = block->memory;
            range.low = (Address)start;
            range.high = (Address)block->start + block->bytes;
        }
        ranges.push_back(range);
    }
    return ranges;
}

struct FaultyLaunch {
    std::string kernel, library;
    std::vector<Fault> faults;
};

static auto &unreported = make_state<std::vector<FaultyLaunch>>();
static std::atomic<bool> has_unreported{false};

void report_faults()
{
    if (!has_unreported) return;
    std::vector<FaultyLaunch> launches;
    {
        Hold hold(state);
        launches.swap(unreported);
        has_unreported = false;
    }
    for (const FaultyLaunch &launch : launches) {
        std::ostringstream bytes;
        for (const Fault &fault : launch.faults)
            for (size_t i = 0; i < sizeof fault; ++i)
                bytes << std::hex << (((const unsigned char *)&fault)[i] >> 4)
                      << (((const unsigned char *)&fault)[i] & 15);
        std::string where = launch.kernel + "\n" + launch.library;
        fprintf(stderr, "stand-in: %s\n", call_bridge("report", where, bytes.str()).text.c_str());
    }
}

cudaError_t run_kernel(const EmulatedKernel &kernel, const KernelArguments &arguments)
{
    std::vector<Range> ranges;
    if (library.mode == CHECK) ranges = find_ranges(kernel, arguments);
    Request request = {};
    request.kernel = kernel.kernel;
    request.module = kernel.module;
    memcpy(request.grid, arguments.grid, sizeof request.grid);
    memcpy(request.block, arguments.block, sizeof request.block);
    request.dynamic_bytes = arguments.shared;
    request.mode = library.mode;
    request.order = library.order;
    request.threads = library.threads;
    request.range_count = (uint32_t)ranges.size();
    std::vector<char> message(sizeof request + ranges.size() * sizeof(Range));
    memcpy(message.data(), &request, sizeof request);
    memcpy(message.data() + sizeof request, ranges.data(), ranges.size() * sizeof(Range));
    message.insert(message.end(), arguments.packed.begin(), arguments.packed.end());
    Fault faults[max_faults];
    int count = library.launch((const Request *)message.data(), faults);
    auto is_note = [](const Fault &fault) { return fault.kind == SAME_VALUE; };
    if (count > 0) count = (int)(std::remove_if(faults, faults + count, is_note) - faults);
    if (count > 0) {
        unreported.push_back({kernel.name, kernel.library, {faults, faults + count}});
        has_unreported = true;
    }
    if (count < 0) {
        fprintf(stderr, "stand-in: %s: the emulator has no memory for a launch\n",
                kernel.name.c_str());
        return cudaErrorLaunchFailure;
    }
    return count ? cudaErrorIllegalAddress : cudaSuccess;
}
