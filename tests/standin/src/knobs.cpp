// Reads the environment and rejects what it does not understand.
#include "knobs.h"

#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <regex>
#include <unistd.h>

namespace {

const std::regex failure_pattern("([A-Za-z0-9_]+):([0-9]+)(\\+?)(=([0-9]+))?");

[[noreturn]] void reject(const char *name, const std::string &value, const char *expected)
{
    fprintf(stderr, "stand-in: %s=%s: expected %s\n", name, value.c_str(), expected);
    fflush(stderr);
    _exit(2);
}

int integer(const char *name, int fallback, int low, int high, const char *expected)
{
    const char *text = getenv(name);
    if (!text || !*text) return fallback;
    char *end = nullptr;
    long value = strtol(text, &end, 10);
    if (*end || value < low || value > high) reject(name, text, expected);
    return (int)value;
}

// The number of the choice in the environment, 0 for none.
int choice(const char *name, std::initializer_list<const char *> choices, const char *expected)
{
    const char *text = getenv(name);
    if (!text || !*text) return 0;
    int number = 0;
    for (const char *known : choices) {
        if (!strcmp(text, known)) return number;
        ++number;
    }
    reject(name, text, expected);
}

void read_capability(Knobs &knobs)
{
    const char *name = "STANDIN_CAPABILITY", *text = getenv(name);
    if (!text || !*text) return;
    std::cmatch parts;
    if (!std::regex_match(text, parts, std::regex("([0-9]{1,2})\\.([0-9])")))
        reject(name, text, "a compute capability such as 9.0");
    knobs.major = std::stoi(parts[1]);
    knobs.minor = std::stoi(parts[2]);
}

// Whether this library, or one of the stand-in's next to it, has a function of that name.
bool exists(const std::string &function)
{
    Dl_info own;
    dladdr((void *)&knobs, &own);
    std::string path = own.dli_fname, folder = path.substr(0, path.rfind('/') + 1);
    for (const std::string &library : {path, folder + "libnvrtc.so.12", folder + "libnccl.so.2"}) {
        void *handle = dlopen(library.c_str(), RTLD_LAZY);
        if (handle && dlsym(handle, function.c_str())) return true;
    }
    return false;
}

void read_failures(Knobs &knobs)
{
    const char *name = "STANDIN_FAIL", *text = getenv(name);
    std::string rest = text ? text : "";
    while (!rest.empty()) {
        size_t comma = std::min(rest.find(','), rest.size());
        std::string entry = rest.substr(0, comma);
        rest.erase(0, comma + 1);
        std::smatch parts;
        if (!std::regex_match(entry, parts, failure_pattern))
            reject(name, entry, "function:call=error, such as cudaMalloc:3=2; a + after the call"
                                " number makes later calls fail too");
        if (!exists(parts[1]))
            reject(name, entry, "a function of CUDA that the stand-in has: see"
                                " tests/standin/README.md");
        unsigned long call = strtoul(parts[2].str().c_str(), nullptr, 10);
        unsigned long error = CUDA_ERROR_UNKNOWN;
        if (parts[5].matched) error = strtoul(parts[5].str().c_str(), nullptr, 10);
        if (!call) reject(name, entry, "calls to be counted from 1");
        if (!error || error > 9999) reject(name, entry, "an error number of CUDA, not 0");
        knobs.failures.insert({parts[1], {call, parts[3].length() > 0, (int)error}});
    }
}

const char *const names[] = {"STANDIN_MODE", "STANDIN_TRACE", "STANDIN_DEVICES",
                             "STANDIN_DRIVER_VERSION", "STANDIN_MEMORY_MIB", "STANDIN_CAPABILITY",
                             "STANDIN_FAIL", "STANDIN_NCCL_SECONDS"};

void reject_unknown_names()
{
    for (char **variable = environ; *variable; ++variable) {
        std::string text = *variable, name = text.substr(0, text.find('='));
        if (name.compare(0, 8, "STANDIN_")) continue;
        auto is_it = [&](const char *known) { return name == known; };
        if (std::none_of(std::begin(names), std::end(names), is_it))
            reject(name.c_str(), text.substr(name.size() + 1),
                   "one of STANDIN_MODE, _TRACE, _DEVICES, _DRIVER_VERSION, _MEMORY_MIB,"
                   " _CAPABILITY, _FAIL, _NCCL_SECONDS");
    }
}

Knobs read_environment()
{
    reject_unknown_names();
    Knobs knobs;
    int mode = choice("STANDIN_MODE", {"eager", "late", "mixed"}, "eager, late or mixed");
    knobs.late = mode > 0;
    knobs.mixed = mode == 2;
    knobs.trace = choice("STANDIN_TRACE", {"0", "1"}, "0 or 1");
    knobs.devices = integer("STANDIN_DEVICES", 1, 0, 16, "a number of devices from 0 to 16");
    knobs.driver_version = integer("STANDIN_DRIVER_VERSION", CUDA_VERSION, 1000, 99999,
                                   "a version of CUDA such as 11040 for 11.4");
    knobs.memory_bytes = (size_t)integer("STANDIN_MEMORY_MIB", 8192, 1, 1 << 24,
                                         "a number of MiB, at least 1") << 20;
    knobs.nccl_seconds = integer("STANDIN_NCCL_SECONDS", 120, 1, 99999,
                                 "a number of seconds, at least 1");
    read_capability(knobs);
    read_failures(knobs);
    return knobs;
}

}   // namespace

const Knobs &knobs()
{
    static const Knobs &read = *new Knobs(read_environment());   // never destroyed
    return read;
}
