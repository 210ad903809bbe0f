"""What the emulator adds to a CUDA source, and reads from its assembler text."""

from __future__ import annotations

import re

from gpucnn.emulator import abi
from gpucnn.emulator.signatures import Signature
from gpucnn.emulator.toolchain import OWN_CODE

PREDEFINED = tuple(f"-D{name}={value}" for name, value in abi.macros("language.h").items())
"""The macros that sources may test, as options of g++."""
DYNAMIC = "gpu_dynamic_shared"  # the memory of all `extern __shared__` arrays
EXPRESSIONS = "<name_expressions>"  # the file of errors in them
RED_ZONE = 1024  # bytes between shared arrays, so that overruns do not reach the next one


def find_dynamic_shared(code: str) -> list[str]:
    """Return the names declared as ``extern __shared__ T name[]``, with keywords in any order."""
    extern = r"\b(?:extern\b[^;{}]*?\b__shared__|__shared__\s+extern)\b"
    declared = re.findall(extern + r"[^;{}]*?(\w+)\s*\[\s*\]", code)
    return sorted(set(declared))


def layouts(structs: dict[str, tuple[str, ...]]) -> str:
    """Return the C++ code that describes the fields of structs: see runtime/export.h."""
    lines = ["", f'#line 1 "{OWN_CODE}"']
    for index, (struct, fields) in enumerate(structs.items()):
        helpers = [f"gpu_field_{index}_{number}" for number in range(len(fields))]
        lines += [
            f"GPU_FIELD({name}, {field})" for name, field in zip(helpers, fields, strict=True)
        ]
        values = "".join(f"{name}<{struct}>(0), " for name in helpers)
        lines.append(f"GPU_LAYOUT(({struct}), {values}GpuField())")
    return "\n".join(lines) + "\n"


def exports(kernels: dict[str, Signature], dynamic_bytes: int) -> str:
    """Return the C++ code that is appended to the source: descriptions of the kernels
    (runtime/export.h), by the names of their symbols, and the memory of the ``extern __shared__``
    arrays.
    """
    lines = [
        "",
        f'#line 1 "{OWN_CODE}"',
        '__attribute__((aligned(128), visibility("default")))',
        f'extern "C" thread_local unsigned char {DYNAMIC}[{dynamic_bytes}] = {{}};',
        f'extern "C" GPU_VISIBLE GPU_UNCHECKED void *gpu_shared_base() {{ return {DYNAMIC}; }}',
    ]
    for identifier, kernel in kernels.items():
        names = "".join(f'"{name}", ' for name in kernel.parameters)
        bounds = f"({kernel.bounds})"
        space, separator, _ = kernel.name.partition("<")[0].rpartition("::")
        if separator and kernel.bounds:  # its names may be those of the namespace
            constant = f"gpu_bounds_{identifier}"
            lines.append(f"namespace {space} {{ constexpr int {constant} = gpu_first{bounds}; }}")
            bounds = f"({space}::{constant})"
        # An error is one of the name expression.
        lines.append(f'#line 1 "{EXPRESSIONS if not kernel.is_c else OWN_CODE}"')
        lines.append(f"GPU_EXPORT({identifier}, ({kernel.name}), {bounds}, {names}nullptr)")
    return "\n".join(lines) + "\n"


def array_name(symbol: str) -> str:
    """Return the name of a shared array from its symbol: ``tile`` from ``_ZZ4kernE4tile``.

    It is empty for the compiler's note that an array of a class with constructors is initialised.
    """
    if symbol.startswith("_ZGV"):
        return ""
    for match in re.finditer(r"E(\d+)", symbol):
        start, end = match.end(), match.end() + int(match.group(1))
        if end <= len(symbol) and re.fullmatch(r"(_\d+)?", symbol[end:]):
            return symbol[start:end]
    return symbol


_LABEL = re.compile(r"([A-Za-z_$][\w.$]*):")
_FUNCTION = re.compile(r"\t\.type\t([\w.$]+), @function")
_SYMBOL = re.compile(r"[A-Za-z_$][\w.$]*")


def functions(assembler: str) -> set[str]:
    """Return the symbols of the functions in assembler text."""
    return set(_FUNCTION.findall(assembler))


class Calls:
    """The symbols that each function of an assembler text mentions.

    The text shows what is used; the source does not, because arrays may be declared in templates
    that several kernels instantiate.
    """

    def __init__(self, assembler: str) -> None:
        self._mentions: dict[str, set[str]] = {name: set() for name in functions(assembler)}
        inside: set[str] | None = None
        for line in assembler.splitlines():
            label = _LABEL.match(line)
            if label and not label.group(1).startswith(".L"):
                inside = self._mentions.get(label.group(1))
            elif inside is not None and not line.startswith("\t."):
                inside.update(_SYMBOL.findall(line))

    def reached(self, function: str) -> set[str]:
        """Return the symbols that a function, or one that it calls, mentions."""
        seen, reach = {function}, [function]
        while reach:
            found = self._mentions.get(reach.pop(), set()) - seen
            seen |= found
            reach += found & self._mentions.keys()
        return seen


def kernel_symbol(assembler: str, identifier: str) -> str:
    """Return the symbol of the kernel that an export describes."""
    found = re.search(rf"^gpu_address_{identifier}:\n\t\.quad\t(\S+)$", assembler, re.MULTILINE)
    assert found, identifier
    return found[1]


_SECTION = re.compile(r"\t\.(section|text|data|bss)\b(.*)")


def dynamic_symbols(assembler: str, names: list[str]) -> list[str]:
    """Return the symbols of arrays with these names; in namespaces they are mangled."""
    if not names:
        return []
    patterns = "|".join(rf"{name}|_ZN\w*?{len(name)}{name}E" for name in names)
    return sorted(set(re.findall(rf"(?<![\w.$])(?:{patterns})(?![\w.$])", assembler)))


def widen_shared(assembler: str, dynamic: list[str]) -> str:
    """Insert red zones after the shared arrays of assembler text, and define the dynamic ones."""
    lines, shared = [], False
    for line in assembler.splitlines():
        section = _SECTION.match(line)
        if section:
            shared = section.group(2).lstrip().startswith((".tbss", ".tdata"))
        lines.append(line)
        if shared and line.startswith("\t.zero\t"):
            lines.append(f"\t.zero\t{RED_ZONE}")
    for name in dynamic:
        lines += [
            f"\t.globl\t{name}",
            f"\t.hidden\t{name}",
            f"\t.type\t{name}, @tls_object",
            f"\t.set\t{name}, {DYNAMIC}",
        ]
    return "\n".join(lines) + "\n"
