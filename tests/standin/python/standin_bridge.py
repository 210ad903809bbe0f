"""The functions of gpucnn's emulator that the stand-in's libraries call.

Each takes two texts and returns whether it succeeded, and the result or the reason of the failure.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from gpucnn.emulator import cache, native, settings, toolchain
from gpucnn.emulator import report as reports
from gpucnn.emulator.compiled import Compiled, Request, compiled
from gpucnn.emulator.options import parse
from gpucnn.errors import GpucnnError

_IGNORED_OPTIONS = re.compile(r"--?pch|--?arch=.*|-DCUPY_\w+(=.*)?")
"""Options that CuPy adds to those of a source and that change no result of the emulator."""

_CUPY_INCLUDE = re.compile(r"^#include <cupy/\w+\.(?:cuh|h)>$", re.MULTILINE)
_CUPY_HEADER = Path(__file__).with_name("cupy_kernels.h")


def _replies(function: Callable[[str, str], str]) -> Callable[[str, str], tuple[bool, bytes]]:
    @wraps(function)
    def reply(first: str, second: str) -> tuple[bool, bytes]:
        try:
            return True, function(first, second).encode()
        except GpucnnError as error:
            return False, str(error).encode()

    return reply


@_replies
def begin(*_: str) -> str:
    """Return the emulator's settings (mode, order, host threads) and its library's path."""
    now = settings.current()
    mode, order = settings.MODES.index(now.mode), settings.ORDERS.index(now.order)
    return f"{mode} {order} {now.threads} {native.runtime().path}"


def _compiled(code: str, options: str) -> Compiled:
    kept = [option for option in options.splitlines() if not _IGNORED_OPTIONS.fullmatch(option)]
    kept = [option for option in kept if not (option[:2] == "-I" and _has_cudas(option[2:]))]
    if _CUPY_INCLUDE.search(code):
        code = _CUPY_HEADER.read_text(encoding="utf-8") + _CUPY_INCLUDE.sub("", code)
    if not code.lstrip().startswith("#line"):
        code = f'#line 1 "<code>"\n{code}'
    return compiled(Request(code, parse(kept)), settings.current().mode)


def _has_cudas(folder: str) -> bool:
    """Return whether a folder has the headers of CUDA or of CuPy, which the emulator replaces."""
    found = Path(folder.strip())
    return any((found / name).exists() for name in ("cuda_runtime.h", "cupy", "cuda", "nv"))


@_replies
def compile(code: str, options: str) -> str:
    """Compile a source; a failure has NVRTC's form. Without code, return the emulator's version."""
    if not code:
        return cache.key(toolchain.own_sources())
    try:
        _compiled(code, options)
    except GpucnnError as error:
        text = re.sub(r"^([^:\n]+):(\d+): ", r"\1(\2): ", str(error))
        raise GpucnnError(f"{text}\n\n1 error detected in the compilation.\n") from error
    return ""


@_replies
def load(code: str, options: str) -> str:
    """Return a module's library, the emulator's handle, and each kernel: its symbol, the name of
    its description and its shared bytes.
    """
    found = _compiled(code, options)
    lines = [str(found.path), str(found.module)]
    for name, kernel in sorted(found.notes["kernels"].items()):
        lines.append(f"{name} {kernel['export']} {kernel['shared_bytes']}")
    return "\n".join(lines)


@_replies
def report(where: str, faults: str) -> str:
    """Describe faults. ``where`` is the kernel and its library, ``faults`` structures in hex."""
    kernel, library = where.splitlines()
    found = bytes.fromhex(faults)
    count = len(found) // ctypes.sizeof(native.Fault)
    structures = (native.Fault * count).from_buffer_copy(found)
    return str(reports.error(kernel, Path(library), list(structures)))
