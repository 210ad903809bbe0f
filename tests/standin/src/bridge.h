// Asks python/standin_bridge.py, which asks the emulator of gpucnn.
#pragma once
#include <string>

struct Answer {
    bool good;
    std::string text;   // what was asked for, or what went wrong
};

// Takes Python's global lock: not to be called with the lock of the state held.
Answer ask_bridge(const char *function, const std::string &first = "",
                  const std::string &second = "");
