// Memory that the functions of CUDA have allocated, on devices and on the host.
#pragma once
#include "emulator.h"
#include "exports.h"

#include <cstdint>

const int on_host = -1;

struct Block {
    char *start;
    size_t bytes;
    int device;           // or on_host
    uint64_t number;      // no two blocks have the same
    Allocation *memory;   // null on the host
};

// The block that holds all of `bytes` bytes (one, if 0) from an address, or null.
EXPORTED const Block *find_block(const void *pointer, size_t bytes = 0);
EXPORTED void mark_written(const void *pointer, size_t bytes);
