// The variables STANDIN_* of the environment, which README.md describes.
#pragma once
#include "exports.h"

#include <cstddef>
#include <map>
#include <string>

struct Failure {   // one entry of STANDIN_FAIL
    unsigned long call;   // the number of the call that fails, from 1
    bool later;           // so do all calls after it
    int error;
};

struct Knobs {
    bool late = false;    // work is done when something waits for it
    bool mixed = false;   // late, and streams take turns
    bool trace = false;
    int major = 9, minor = 0;   // compute capability
    size_t memory_bytes = (size_t)8192 << 20;   // of each device
    int devices = 1;
    int driver_version;
    int nccl_seconds;   // that an operation waits for other ranks
    std::multimap<std::string, Failure> failures;
};

// The knobs, read once. The process ends with status 2 and one line if one has a bad value.
EXPORTED const Knobs &knobs();
