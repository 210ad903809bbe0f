"""Compiles the kernels for the emulator's check mode in a process of its own.

``gpucnn check`` starts it where all operations are checked, and runs the first cases meanwhile. It
compiles the files in reverse order: the last are needed last, and are in the cache by then.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from gpucnn.backends.cuda.loader import options
from gpucnn.backends.cuda.sources import kernel_folder, signatures, source
from gpucnn.errors import GpucnnError


@contextmanager
def compiling(dtype: str) -> Iterator[None]:
    """Compile all kernels in the background of the ``with``, and stop at its end."""
    command = [sys.executable, "-m", "gpucnn.testing.compiling", dtype]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def compile_all(dtype: str) -> None:
    """Compile each file of kernels/, the last first; one that does not compile is left out."""
    from gpucnn import emulator

    files = {signature.file for signature in signatures(kernel_folder()).values()}
    with emulator.checking():
        for file in sorted(files, reverse=True):
            with suppress(GpucnnError):  # which the first launch reports
                emulator.RawModule(code=source(file), options=options(np.dtype(dtype))).compile()


if __name__ == "__main__":
    compile_all(sys.argv[1])
