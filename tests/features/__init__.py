"""The features that the emulator supports: small kernels and host programs with their results.

``gpucnn/emulator/README.md`` lists all of them, by the same names. Each works with CuPy too.

A ``.cu`` file holds kernels that have one parameter, the array of results. Comments before a kernel
name the feature, the launch (grid, block; by default one thread) and the results, in Python's
syntax with ``np`` for NumPy::

    // feature: `__popc`
    // launch: 1, 2
    // gives: [3] * 2
    extern "C" __global__ void popc(int* out) { out[threadIdx.x] = __popc(7); }

What comes before the first feature of a file, such as ``#include``, belongs to all of them.
"""

from features.kernels import KERNELS, KernelFeature
from features.programs import PROGRAMS, Program

__all__ = ["KERNELS", "PROGRAMS", "KernelFeature", "Program"]
