// What CUDA declares here, as far as the emulator supports it, is always declared.
