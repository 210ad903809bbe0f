"""Registers, shared memory and spills of kernels, from NVRTC, which needs no GPU.

NVRTC is CUDA's compiler as a library: ``pip install gpucnn[nvrtc]``, or a part of the toolkit.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gpucnn.errors import BackendError

VERBOSE = "--ptxas-options=-v"
"""The option by which the log has the resources of each kernel."""

_USAGE = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?:[^\n]*?, (?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)
# What CuPy adds to the options of a RawModule.
_CUPYS = ("-ftz=true", "--device-as-default-execution-space")


@dataclass(frozen=True)
class Resources:
    """registers: of a thread. shared: bytes of static shared memory of a block. spill_stores,
    spill_loads: bytes that a thread stores to and loads from local memory for lack of registers.
    """

    registers: int
    shared: int
    spill_stores: int
    spill_loads: int


def read_resources(log: str) -> dict[str, Resources]:
    """Return the resources of each kernel from the log of a compilation with ``VERBOSE``."""
    return {
        found["name"]: Resources(
            int(found["registers"]),
            int(found["shared"] or 0),
            int(found["stores"]),
            int(found["loads"]),
        )
        for found in _USAGE.finditer(log)
    }


@cache
def compile_resources(code: str, options: tuple[str, ...], capability: int) -> dict[str, Resources]:
    """Compile a source for a compute capability times 10; return the resources of its kernels.

    Raises BackendError if NVRTC is missing or does not compile the source.
    """
    library = _library()
    arguments = [*options, *_CUPYS, f"-arch=sm_{capability}", VERBOSE, *_includes()]
    program = ctypes.c_void_p()
    name = re.match(r'\s*#line \d+ "([^"]*)"', code)
    made = library.nvrtcCreateProgram(
        ctypes.byref(program), code.encode(), name[1].encode() if name else None, 0, None, None
    )
    if made:
        raise BackendError(f"NVRTC cannot create a program: error {made}")
    try:
        given = (ctypes.c_char_p * len(arguments))(*(text.encode() for text in arguments))
        failed = library.nvrtcCompileProgram(program, len(arguments), given)
        log = _log(library, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        first = next((line for line in log.splitlines() if "error" in line), log.strip())
        raise BackendError(f"NVRTC does not compile the source: {first}")
    return read_resources(log)


def _log(library: ctypes.CDLL, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value + 1)
    library.nvrtcGetProgramLog(program, text)
    return text.value.decode(errors="replace")


@cache
def _library() -> ctypes.CDLL:
    """Return NVRTC: of the package nvidia-cuda-nvrtc, or of a toolkit that the loader finds."""
    found = [*_package_files("nvidia.cuda_nvrtc", "lib/libnvrtc.so.*"),
             *_package_files("nvidia.cu13", "lib/libnvrtc.so.*")]  # fmt: skip
    named = ctypes.util.find_library("nvrtc")
    for path in [*map(str, found), *([named] if named else [])]:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise BackendError("NVRTC is not installed: pip install 'gpucnn[nvrtc]'")


def _includes() -> Iterable[str]:
    """Return options for the headers of CUDA's runtime, where they are installed."""
    folders = [*_package_files("nvidia.cuda_runtime", "include"),
               *_package_files("nvidia.cu13", "include")]  # fmt: skip
    return [f"-I{folder}" for folder in folders]


def _package_files(package: str, pattern: str) -> list[Path]:
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        return []
    places = spec.submodule_search_locations if spec else None
    return sorted(path for place in places or () for path in Path(place).glob(pattern))
