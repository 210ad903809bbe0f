// What libcuda.so.1 of the stand-in exports for its libnvrtc.so.12 and its libnccl.so.2.
#pragma once
#include <string>

// Of functions and variables that libnccl.so.2 uses
#define EXPORTED __attribute__((visibility("default")))

#pragma GCC visibility push(default)
extern "C" {
// Traces a call; returns the error number that STANDIN_FAIL gives to it, or 0.
int standin_begin(const char *function);
int standin_capability();   // 90 for 9.0
// As call_bridge; returns whether it succeeded.
bool standin_call_bridge(const char *function, const char *first, const char *second,
                         std::string *text);
}
#pragma GCC visibility pop
