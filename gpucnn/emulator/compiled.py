"""A source compiled for one mode: by g++ once, then loaded from the cache."""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as cache_results
from pathlib import Path
from typing import Any

from gpucnn.emulator import (
    abi,
    blocks,
    cache,
    declarations,
    source,
    subnormals,
    toolchain,
    uninitialised,
)
from gpucnn.emulator.errors import CompileError
from gpucnn.emulator.layouts import find_structs
from gpucnn.emulator.limits import MAX_SHARED_BYTES
from gpucnn.emulator.native import runtime
from gpucnn.emulator.options import Options
from gpucnn.emulator.preprocessed import Preprocessed, preprocess
from gpucnn.emulator.signatures import Signature, find_kernels, instantiate

_LIBRARY, _NOTES = "module.so", "module.json"


@dataclass(frozen=True)
class Request:
    """What is compiled: a source, its options, and the names of kernels that CuPy is to find."""

    code: str
    options: Options
    expressions: tuple[str, ...] = ()


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
        for symbol, (offset, size) in self.notes["variables"].items():
            name = declarations.variable_name(source.array_name(symbol))
            constant = name in self.notes["constants"]
            native.add_variable(self.module, offset, size, name.encode(), constant)
        if self.notes["padded"]:
            native.set_padded(self.module)

    def describe(self, name: str) -> tuple[int, Any]:
        """Return the address of a kernel's description, struct GpuKernel, and the description."""
        export = self.notes["kernels"][name]["export"]
        found = abi.structure("GpuKernel").in_dll(self.library, f"gpu_export_{export}")
        return ctypes.addressof(found), found

    @property
    def variables(self) -> dict[str, tuple[int, int]]:
        """Address and bytes of the variables, by their symbols."""
        start = ctypes.cast(self.library["gpu_shared_base"], ctypes.c_void_p).value or 0
        base = start - self.notes["anchor"]
        return {name: (base + at, size) for name, (at, size) in self.notes["variables"].items()}

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


_SECTION = re.compile(r"\s*\[\s*(\d+)\] (\S+)")
_SYMBOL = re.compile(r"\s*\d+: (\w+)\s+(\w+) (FUNC|OBJECT)\s+\w+\s+\w+\s+(\d+) (\S+)")
_CONSTANTS = re.compile(r"\.(rodata|data\.rel\.ro|eh_frame|gcc_except)")


def _symbols(library: str, folder: Path) -> tuple[int, dict[str, tuple[int, int]]]:
    """Return the value of ``gpu_shared_base``, and value and bytes of the writable variables."""
    listing = toolchain.run(["readelf", "-SsW", library], folder)
    sections, anchor, variables = {}, 0, {}
    for line in listing.splitlines():
        if section := _SECTION.match(line):
            sections[section[1]] = section[2]
        elif symbol := _SYMBOL.match(line):
            value, size, kind, index, name = symbol.groups()
            if name == "gpu_shared_base":
                anchor = int(value, 16)
            elif kind == "OBJECT" and "gpu_" not in name and not _CONSTANTS.match(sections[index]):
                variables[name] = (int(value, 16), int(size, 0))
    return anchor, variables


def _exported(
    kernels: list[Signature], expressions: tuple[str, ...]
) -> tuple[dict[str, Signature], dict[str, str]]:
    """Return the kernels to export, by identifier, and the identifiers of name expressions."""
    functions = [kernel for kernel in kernels if kernel.template is None]
    found = {kernel.name.rpartition("::")[2]: kernel for kernel in functions if kernel.is_c}
    others = [kernel for kernel in functions if not kernel.is_c]
    found |= {f"gpu_{index}": kernel for index, kernel in enumerate(others)}
    names = {}
    for index, expression in enumerate(expressions):
        names[expression] = f"gpu_expression_{index}"
        found[names[expression]] = instantiate(expression, kernels)
    return found, names


def _translate_watched(code: str, compiler: str, translate: Callable[[str, list[str]], str]) -> str:
    """Return the assembler text of a source whose local variables are followed."""
    watched = uninitialised.watch(code)
    if watched != code:
        try:
            return translate(watched, toolchain.local_flags(compiler))
        except CompileError:
            pass  # an error of the source, or a variable cannot be followed where it is declared
    return translate(code, [])


def _build(
    folder: Path,
    compiler: str,
    flags: list[str],
    request: Request,
    plain: Preprocessed,
    mode: str,
) -> None:
    """Compile a source to a library in a folder, with notes on its kernels and shared memory."""
    unit, assembler, code = "kernels.cpp", "kernels.s", request.options.text + request.code
    dynamic = source.find_dynamic_shared(plain.text)
    kernels, expressions = _exported(find_kernels(plain.text), request.expressions)
    mentioned = (text for kernel in kernels.values() for text in kernel.types)
    structs = find_structs(plain.text, mentioned)
    exports = source.layouts(structs) + source.exports(kernels, MAX_SHARED_BYTES)
    # The system's headers come first, since some of CUDA's macros would break them.
    first = [*plain.system, str(toolchain.RUNTIME / "cuda.h")]
    # The cached files must not contain the name of the temporary folder.
    here = f"-ffile-prefix-map={folder}=."
    command = [compiler, *flags, *toolchain.include_flags(request.options.folders), here]
    command += [part for name in first for part in ("-include", name)]

    def translate(code: str, more: list[str]) -> str:
        (folder / unit).write_text(code + exports, encoding="utf-8")
        toolchain.compile_code([*command, *more, unit, "-o", assembler], folder)
        return (folder / assembler).read_text(encoding="utf-8")

    text = _translate_watched(code, compiler, translate) if mode == "check" else translate(code, [])
    dynamic = source.dynamic_symbols(text, dynamic)
    edited = subnormals.edit(source.widen_shared(text, dynamic), request.options.flush)
    work: list[blocks.Work] = []
    if mode == "profile":
        ranked = blocks.rank_calls(edited)
        edited, work = ranked.text, ranked.work
    (folder / assembler).write_text(edited, encoding="utf-8")
    link = [compiler, "-shared", "-pthread", assembler, str(runtime().path), "-o", _LIBRARY]
    toolchain.run(link, folder)
    notes = {**_describe(text, kernels, expressions, dynamic, folder), "work": work}
    notes |= {
        "constants": declarations.find_constants(plain.text),
        "padded": declarations.has_padding(plain.text),
    }
    (folder / _NOTES).write_text(json.dumps(notes), encoding="utf-8")
    (folder / unit).unlink()
    (folder / assembler).unlink()


def _describe(
    assembler: str,
    kernels: dict[str, Signature],
    expressions: dict[str, str],
    dynamic: list[str],
    folder: Path,
) -> dict[str, Any]:
    """Return the notes on a library: its kernels by symbol, shared arrays and variables."""
    # Dynamic arrays are aliases of one variable: see source.widen_shared.
    shared = [found for found in _shared_variables(_LIBRARY, folder) if found[2] not in dynamic]
    calls = source.Calls(assembler)
    symbols = {identifier: source.kernel_symbol(assembler, identifier) for identifier in kernels}
    notes = {}
    for identifier, kernel in kernels.items():
        used = calls.reached(symbols[identifier])
        notes[symbols[identifier]] = {
            "export": identifier,
            "restrict": kernel.restrict,
            "shared_bytes": sum(
                size
                for _, size, name in shared
                if name in used and name != source.DYNAMIC and source.array_name(name)
            ),
        }
    anchor, variables = _symbols(_LIBRARY, folder)
    return {
        "kernels": notes,
        # By the name that the source has for it: not extern "C".
        "mangled": {
            kernel.name: symbols[identifier]
            for identifier, kernel in kernels.items()
            if symbols[identifier] != kernel.name.rpartition("::")[2]
        },
        "expressions": {text: symbols[name] for text, name in expressions.items()},
        "shared": [(offset, size, source.array_name(name)) for offset, size, name in shared],
        "anchor": anchor,
        "variables": variables,
    }


@cache_results  # libraries are never unloaded
def _load(folder: Path) -> Compiled:
    return Compiled(folder)


def compiled(request: Request, mode: str) -> Compiled:
    """Return a source compiled for a mode, from the cache if possible.

    Raises CompileError with file and line, or BackendError without a compiler.
    """
    compiler, options = toolchain.find_compiler(), request.options
    flags = toolchain.kernel_flags(mode, options.contract, options.flush, options.standard)

    def plain() -> Preprocessed:
        return preprocess(compiler, request.code, options)

    # Headers may have changed.
    early = plain() if re.search(r"#\s*include\b", options.text + request.code) else None
    name = cache.key(
        request.code,
        options.text,
        *request.expressions,
        early.digest() if early else "",
        toolchain.key_of_flags(flags),
        toolchain.compiler_version(compiler),
        toolchain.own_sources(),
    )
    folder = cache.cached(
        name, lambda made: _build(made, compiler, flags, request, early or plain(), mode)
    )
    return _load(folder)
