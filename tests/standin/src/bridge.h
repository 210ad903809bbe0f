// Calls python/standin_bridge.py, which calls the emulator of gpucnn.
#pragma once
#include <string>

struct Reply {
    bool succeeded;
    std::string text;   // the result, or the reason of the failure
};

// Takes Python's global lock: not to be called with the lock of the state held.
Reply call_bridge(const char *function, const std::string &first = "",
                  const std::string &second = "");
