"""A source compiled for one mode: by g++ once, then loaded from the cache."""

from __future__ import annotations

import ctypes
import json
import re
from functools import cache as cache_results
from pathlib import Path
from typing import Any

from gpucnn.emulator import abi, blocks, cache, source, subnormals, toolchain
from gpucnn.emulator.limits import MAX_SHARED_BYTES
from gpucnn.emulator.native import runtime

_LIBRARY, _NOTES = "module.so", "module.json"


class Compiled:
    """A source that was compiled for one mode and loaded."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _LIBRARY
        self.notes: dict[str, Any] = json.loads((folder / _NOTES).read_text(encoding="utf-8"))
        native = runtime()  # loaded first, as the library refers to it by name
        self.library = cache.load(self.path)
        shared = self.notes["shared"]
        base = ctypes.cast(self.library["gpu_shared_base"], ctypes.c_void_p)
        dynamic = next(offset for offset, _, name in shared if name == source.DYNAMIC)
        end = max(offset + size for offset, size, _ in shared) + source.RED_ZONE
        self.module: int = native.open_module(base, dynamic, end)
        if not self.module:
            raise MemoryError("the emulator has no memory for another module")
        for offset, size, name in shared:
            is_dynamic = name == source.DYNAMIC
            native.add_shared(self.module, offset, size, name.encode(), is_dynamic)
        if self.notes["work"]:
            places = ctypes.addressof(ctypes.c_size_t.in_dll(self.library, blocks.PLACES))
            native.set_places(self.module, places, len(self.notes["work"]))

    def describe(self, name: str) -> tuple[int, Any]:
        """Return the address of a kernel's description, struct GpuKernel, and the description."""
        found = abi.structure("GpuKernel").in_dll(self.library, f"gpu_export_{name}")
        return ctypes.addressof(found), found

    def static_shared_bytes(self, name: str) -> int:
        """Return the bytes of the ``__shared__`` arrays of a kernel and the functions it calls."""
        return int(self.notes["kernels"][name]["shared_bytes"])


def _shared_variables(library: str, folder: Path) -> list[tuple[int, int, str]]:
    """Return offset, bytes and symbol of a library's shared arrays."""
    listing = toolchain.run(["readelf", "-sW", library], folder)
    found = {}
    for line in listing.splitlines():
        match = re.match(r"\s*\d+: (\w+)\s+(\w+) TLS\s+\w+\s+\w+\s+\w+ (\S+)", line)
        if match and int(match.group(2), 0):
            found[match.group(3)] = (int(match.group(1), 16), int(match.group(2), 0))
    return sorted((offset, size, name) for name, (offset, size) in found.items())


def _build(
    folder: Path, compiler: str, flags: list[str], code: str, options: source.Options, mode: str
) -> None:
    """Compile a source to a library in a folder, with notes on its kernels and shared memory."""
    unit, assembler = "kernels.cpp", "kernels.s"
    (folder / unit).write_text(options.text + code, encoding="utf-8")
    # Without the emulator's header CUDA's keywords are kept, and code excluded by #if is gone.
    plain = toolchain.run(
        [compiler, "-E", "-P", f"-I{toolchain.HEADERS}", *source.PREDEFINED, unit], folder
    )
    kernels, dynamic = source.find_kernels(plain), source.find_dynamic_shared(plain)
    exports = source.exports(kernels, MAX_SHARED_BYTES)
    (folder / unit).write_text(options.text + code + exports, encoding="utf-8")
    # The cached files must not contain the name of the temporary folder.
    here = f"-ffile-prefix-map={folder}=."
    toolchain.compile_code([compiler, *flags, here, unit, "-o", assembler], folder)
    text = (folder / assembler).read_text(encoding="utf-8")
    edited = subnormals.edit(source.widen_shared(text, dynamic), options.flush)
    work: list[blocks.Work] = []
    if mode == "profile":
        ranked = blocks.rank_calls(edited)
        edited, work = ranked.text, ranked.work
    (folder / assembler).write_text(edited, encoding="utf-8")
    link = [compiler, "-shared", "-pthread", assembler, str(runtime().path), "-o", _LIBRARY]
    toolchain.run(link, folder)
    # Dynamic arrays are aliases of one variable: see source.widen_shared.
    shared = [found for found in _shared_variables(_LIBRARY, folder) if found[2] not in dynamic]
    sizes = {
        symbol: size
        for _, size, symbol in shared
        if symbol != source.DYNAMIC and source.array_name(symbol)
    }
    names = [kernel.name for kernel in kernels]
    used = source.shared_use(text, names, sizes)
    notes = {
        "mangled": sorted(set(names) - source.functions(text)),
        "kernels": {
            kernel.name: {"restrict": kernel.restrict, "shared_bytes": used[kernel.name]}
            for kernel in kernels
        },
        "shared": [(offset, size, source.array_name(name)) for offset, size, name in shared],
        "work": work,
    }
    (folder / _NOTES).write_text(json.dumps(notes), encoding="utf-8")
    (folder / unit).unlink()
    (folder / assembler).unlink()


@cache_results  # libraries are never unloaded
def _load(folder: Path) -> Compiled:
    return Compiled(folder)


def compiled(code: str, options: source.Options, mode: str) -> Compiled:
    """Return a source compiled for a mode, from the cache if possible.

    Raises CompileError with file and line, or BackendError without a compiler.
    """
    compiler = toolchain.find_compiler()
    flags = toolchain.kernel_flags(mode, options.contract, options.flush)
    name = cache.key(
        code,
        options.text,
        toolchain.key_of_flags(flags),
        toolchain.compiler_version(compiler),
        toolchain.own_sources(),
    )
    folder = cache.cached(name, lambda made: _build(made, compiler, flags, code, options, mode))
    return _load(folder)
