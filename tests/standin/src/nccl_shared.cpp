// The files that ranks share, and the bell that wakes those who wait.
#include "nccl_shared.h"

#include "call.h"

#include <climits>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <linux/futex.h>
#include <map>
#include <string>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static_assert(std::atomic<uint64_t>::is_always_lock_free, "atomics work between processes");

namespace {

struct Id {
    char name[8];
    int process, file;
    char token[16];
};

const char own_name[8] = "standin";
const size_t control_bytes = (size_t)1 << 20;
static_assert(sizeof(Control) <= control_bytes && sizeof(Id) <= 128, "they fit");
// Two contributions of each rank and a message for each pair. Pages that are not used take nothing.
const size_t all_bytes = control_bytes + most_bytes * (2 * most_ranks + most_ranks * most_ranks);

// The files that this process made, by token, until all ranks have joined
auto &files = make_state<std::map<std::string, int>>();
auto &files_lock = make_state<std::mutex>();

bool read_id(const char *text, Id &id)
{
    memcpy(&id, text, sizeof id);
    return !memcmp(id.name, own_name, sizeof own_name);
}

std::string token_of(const Id &id) { return std::string(id.token, sizeof id.token); }

}   // namespace

bool make_shared_file(char *text)
{
    Id id = {{}, getpid(), memfd_create("standin-nccl", MFD_CLOEXEC), {}};
    memcpy(id.name, own_name, sizeof own_name);
    if (id.file < 0 || ftruncate(id.file, (off_t)all_bytes)
        || getrandom(id.token, sizeof id.token, 0) != sizeof id.token
        || pwrite(id.file, id.token, sizeof id.token, 0) != sizeof id.token)
        return false;
    memset(text, 0, 128);
    memcpy(text, &id, sizeof id);
    std::lock_guard<std::mutex> guard(files_lock);
    files[token_of(id)] = id.file;
    return true;
}

void close_shared_file(const char *text)
{
    Id id;
    if (!read_id(text, id)) return;
    std::lock_guard<std::mutex> guard(files_lock);
    auto found = files.find(token_of(id));
    if (found == files.end()) return;
    close(found->second);
    files.erase(found);
}

std::shared_ptr<Shared> open_shared(const char *text)
{
    Id id;
    if (!read_id(text, id)) return nullptr;
    std::string path = "/proc/" + std::to_string(id.process) + "/fd/" + std::to_string(id.file);
    int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) return nullptr;
    struct stat status;
    bool fits = !fstat(file, &status) && status.st_size == (off_t)all_bytes;
    void *start = MAP_FAILED;
    if (fits)
        start = mmap(nullptr, all_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                     file, 0);
    close(file);
    if (start == MAP_FAILED) return nullptr;
    auto shared = std::make_shared<Shared>();
    shared->start = (char *)start;
    bool same = !memcmp(shared->control().token, id.token, sizeof id.token);
    return same ? shared : nullptr;
}

Shared::~Shared() { munmap(start, all_bytes); }

char *Shared::contribution(int rank, uint64_t call) const
{
    return start + control_bytes + most_bytes * (2 * (size_t)rank + call % 2);
}

char *Shared::message(int from, int to) const
{
    size_t pair = (size_t)(from * most_ranks + to);
    return start + control_bytes + most_bytes * (2 * most_ranks + pair);
}

void Shared::ring() const
{
    ++control().bell;
    syscall(SYS_futex, &control().bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Shared::await_ring(uint32_t heard) const
{
    timespec time = {0, 50000000};
    syscall(SYS_futex, &control().bell, FUTEX_WAIT, heard, &time, nullptr, 0);
}
