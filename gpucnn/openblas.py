"""OpenBLAS, which does NumPy's matrix products: how many threads and which kernels it uses.

It reads its settings from the environment when NumPy is first imported, so this module imports
nothing that imports NumPy. Only the command line sets them: a library does not change its user's
process.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import MutableMapping
from pathlib import Path

THREADS, KERNELS = "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"

# What the kernels called SkylakeX use: without one of these they end in an illegal instruction.
_SKYLAKEX = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "fma", "avx2"}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set what pays for networks of this size, unless the user has set it."""
    # A second thread gains nothing and takes a core, and with one the weights do not depend on how
    # many cores a machine has.
    environment.setdefault(THREADS, "1")
    # On AMD's processors OpenBLAS takes AVX2 kernels even where there is AVX-512.
    if processor("vendor_id") == "AuthenticAMD" and has_avx512():
        environment.setdefault(KERNELS, "SkylakeX")


def has_avx512() -> bool:
    """Return whether this processor runs OpenBLAS's AVX-512 kernels."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and set(processor("flags").split()) >= _SKYLAKEX


def processor(key: str) -> str:
    """Return what Linux says of the first processor under ``key``, elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.partition("\t")[0] == key)
    return next(found, "")


def processor_name() -> str:
    """Return what the processor is called."""
    return processor("model name") or platform.processor() or platform.machine()


def in_use() -> tuple[str, int] | None:
    """Return the name of the kernels and the number of threads of the OpenBLAS in this process.

    None where NumPy is not imported, uses another library, or the system does not say.
    """
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    paths = {line.split(maxsplit=5)[5] for line in lines if "openblas" in line.lower()}
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        # NumPy's wheels put a prefix and a suffix to all names.
        for prefix in ("", "scipy_"):
            for suffix in ("", "64_", "_64"):
                core = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
                threads = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
                if core is not None and threads is not None:
                    core.restype = ctypes.c_char_p
                    return core().decode(), threads()
    return None
