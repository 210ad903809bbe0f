"""OpenBLAS, which does NumPy's matrix products: how many threads and which kernels it uses.

It reads its settings from the environment when NumPy is first imported, so this module imports
nothing that imports NumPy. Only the command line sets them: a library does not change its user's
process.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpucnn.machine import processor

THREADS, KERNELS = "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set what pays for networks of this size, unless the user has set it."""
    # A second thread gains nothing and takes a core, and with one the weights do not depend on how
    # many cores a machine has.
    environment.setdefault(THREADS, "1")
    # On AMD's processors OpenBLAS takes AVX2 kernels even where there is AVX-512.
    if processor.says("vendor_id") == "AuthenticAMD" and processor.has_avx512():
        environment.setdefault(KERNELS, "SkylakeX")


def in_use() -> tuple[str, int] | None:
    """Return the name of the kernels and the number of threads of the OpenBLAS in this process.

    None where NumPy is not imported, uses another library, or the system does not say.
    """
    functions = _find("get_corename", "get_num_threads")
    if functions is None:
        return None
    core, threads = functions
    core.restype = ctypes.c_char_p
    return core().decode(), threads()


def use_one_thread() -> None:
    """Have the OpenBLAS in this process use one thread from now on, if it is in use."""
    functions = _find("set_num_threads")
    if functions is not None:
        functions[0](1)


def _find(*names: str) -> list[Any] | None:
    """Return OpenBLAS's functions of these names, None where it is not in use."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    paths = {line.split(maxsplit=5)[5] for line in lines if "openblas" in line.lower()}
    # NumPy's wheels put a prefix and a suffix to all names.
    spellings = [(a, z) for a in ("", "scipy_") for z in ("", "64_", "_64")]
    for path, (prefix, suffix) in itertools.product(sorted(paths), spellings):
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(path)
            return [getattr(library, f"{prefix}openblas_{name}{suffix}") for name in names]
    return None
